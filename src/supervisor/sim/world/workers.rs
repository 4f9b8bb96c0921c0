//! What the workers of the world do, and what arrives at them and of them.

use super::super::actor::{Actor, Fate, FromActor, Phase, Start, ToActor, delay};
use super::{Due, MILLI, World, is_unreadable};
use crate::supervisor::{Begun, DEATH_WAIT, EXIT_WAIT, Effect, Input, Message, Notice, Outcome, WorkerKey};
use std::mem;
use std::time::Duration;

impl World {
    pub(super) fn arrive(&mut self, worker_key: WorkerKey) {
        let Some(actor) = self.actors.get_mut(&worker_key).filter(|actor| actor.alive) else { return };
        if actor.stopped {
            // It reads it once it goes on.
            self.plan(MILLI, Due::Arrive(worker_key));
            return;
        }
        if let Some(&ToActor::Job { job, .. }) = actor.coming.front()
            && is_unreadable(self.unreadable, job)
        {
            return self.die(worker_key, false);
        }
        let Some(message) = actor.coming.pop_front() else { return };
        if let ToActor::Cancel(job) = message {
            return self.cancelled(worker_key, job);
        }
        actor.inbox.push_back(message);
        match actor.phase {
            Phase::Booting if message == ToActor::Init => {
                actor.inbox.clear();
                let epoch = actor.epoch;
                self.soon(Due::Act(worker_key, epoch));
            }
            Phase::Idle => self.go_on(worker_key),
            Phase::Running { .. } | Phase::Recovering | Phase::Hung if matches!(message, ToActor::Skip(_)) => {
                self.soon(Due::Guard(worker_key));
            }
            _ => {}
        }
    }

    /// The handler of this job is asked to come to its end, and does so or does not. One that hangs may hear of it too.
    fn cancelled(&mut self, worker_key: WorkerKey, job: u64) {
        let heeds = self.rng.chance(self.rates.heeds);
        let outcome = self.rng.pick(&[Outcome::Success, Outcome::Failed, Outcome::FinalFailure]);
        let Some(actor) = self.actors.get(&worker_key).filter(|actor| actor.runs() == Some(job)) else { return };
        let attempt = match actor.phase {
            Phase::Running { attempt, .. } => attempt,
            Phase::Hung if actor.guarded => 0,
            _ => return,
        };
        if heeds && !actor.lied && !actor.pipe_closed && !actor.input_closed {
            self.set(worker_key, Phase::Running { job, attempt, fate: Fate::Answer(outcome) });
            let epoch = self.actors[&worker_key].epoch;
            self.soon(Due::Act(worker_key, epoch));
        }
    }

    /// The worker says something; it arrives in order.
    pub(super) fn report(&mut self, worker_key: WorkerKey, sent: FromActor) {
        let Some(actor) = self.actors.get_mut(&worker_key) else { return };
        if !actor.pipe_closed {
            actor.pipe_closed = sent == FromActor::StdoutClosed;
            actor.going.push_back(sent);
            self.soon(Due::Deliver(worker_key));
        }
    }

    pub(super) fn report_message(&mut self, worker_key: WorkerKey, message: Message) {
        if let Some(actor) = self.actors.get_mut(&worker_key) {
            match message {
                Message::Ready => actor.is_ready = true,
                Message::Answer { job, ready, .. } => {
                    if actor.unanswered == Some(job) && !actor.lied {
                        self.checker.written(self.now, job, worker_key);
                    }
                    (actor.unanswered, actor.is_ready) = (None, ready);
                }
                Message::Terminal { .. } => (actor.is_ready, actor.terminal) = (false, true),
                _ => {}
            }
        }
        self.report(worker_key, FromActor::Message(message));
    }

    pub(super) fn deliver(&mut self, worker_key: WorkerKey) {
        let Some(sent) = self.actors.get_mut(&worker_key).and_then(|actor| actor.going.pop_front()) else { return };
        let input = match sent {
            FromActor::Hello { recalls } => Input::Hello { worker_key, recalls },
            FromActor::Message(message) => {
                let wanted = self.machine.wants_resident(worker_key, &message);
                Input::Message { worker_key, message, resident: wanted.then(|| self.resident()) }
            }
            FromActor::Malformed => Input::Malformed(worker_key),
            FromActor::StdoutClosed => Input::StdoutClosed(worker_key),
            FromActor::Drained => Input::Drained(worker_key),
            FromActor::Stopped => Input::Stopped(worker_key),
        };
        self.input(input);
    }

    pub(super) fn die(&mut self, worker_key: WorkerKey, killed: bool) {
        let Some(actor) = self.actors.get_mut(&worker_key).filter(|actor| actor.alive) else { return };
        actor.die();
        let bystander = actor.unanswered.filter(|_| killed && !(actor.lied || actor.pipe_closed || actor.input_closed));
        if let Some(job) = bystander.filter(|&job| self.checker.is_at(job, worker_key)) {
            self.found.get_or_insert(format!("job {job} is killed with {worker_key:?} for the sake of another"));
        }
        let Some(actor) = self.actors.get_mut(&worker_key) else { return };
        let (holds_pipes, unreported) = (actor.holds_pipes, actor.unreported);
        let late = delay(&mut self.rng, &self.limits);
        if holds_pipes {
            // A grandchild has them, and holds them for ever.
            self.plan(DEATH_WAIT + late, Due::GivesUp(worker_key));
            if self.rng.chance(20) {
                self.soon(Due::GrandchildWrites(worker_key));
            }
        } else {
            self.report(worker_key, FromActor::StdoutClosed);
            self.soon(Due::StderrCloses(worker_key));
        }
        if unreported {
            // A reader that waits for room does not see it. Then only a kill leads on.
            if !killed || self.rng.chance(50) {
                self.soon(Due::Ended(worker_key));
            }
            return;
        }
        if self.rng.chance(20) {
            self.soon(Due::Ended(worker_key));
        }
        if !holds_pipes && self.rng.chance(self.rates.dies_slowly) {
            self.plan(EXIT_WAIT + late, Due::Reap(worker_key));
        } else {
            self.soon(Due::Reap(worker_key));
        }
    }

    /// SIGCONT: what it would have done meanwhile it does now.
    pub(super) fn go_on_after_stop(&mut self, worker_key: WorkerKey) {
        let Some(actor) = self.actors.get_mut(&worker_key) else { return };
        actor.ask_no_more();
        (actor.to_stop, actor.stopped) = (false, false);
        let epoch = actor.epoch;
        if mem::take(&mut actor.to_die) {
            self.soon(Due::Dies(worker_key, true));
        } else if mem::take(&mut actor.deferred) {
            self.soon(Due::Act(worker_key, epoch));
        }
        self.soon(Due::Guard(worker_key));
    }

    /// What is said of a job agrees with what its handler did.
    pub(super) fn is_true(&self, effect: &Effect) -> Result<(), String> {
        let (key, attempt, outcome, begun, worker_key) = match *effect {
            Effect::Announce(Notice::Settled { key, attempt, outcome, begun, worker_key, .. }) => {
                (key, attempt, outcome, begun, worker_key)
            }
            Effect::Announce(Notice::Retried { key, attempt, outcome, begun, worker_key, .. }) => {
                (key, attempt, outcome, begun, Some(worker_key))
            }
            Effect::Announce(Notice::Idle) => {
                let runs = self.actors.iter().find(|(_, actor)| actor.runs().is_some() && !actor.lied);
                return runs
                    .map_or(Ok(()), |(worker_key, _)| Err(format!("idle, while a handler runs in {worker_key:?}")));
            }
            _ => return Ok(()),
        };
        let job = key.id;
        // The attempt that the caller was told not to have begun.
        let next = attempt + 1;
        if self.checker.is_given_up(job, next) && self.begun.contains_key(&(job, next)) {
            return Err(format!("attempt {next} at job {job} has begun, and its caller is told that it has not"));
        }
        let mut known = self.begun.range((job, 0)..=(job, u32::MAX)).map(|(_, (_, handled))| *handled);
        match begun {
            Begun::No if known.any(|handled| handled) => return Err(format!("job {job} had begun")),
            Begun::Yes if known.next().is_none() => return Err(format!("job {job} had not begun")),
            _ => {}
        }
        let Some(actor) = worker_key.and_then(|worker_key| self.actors.get(&worker_key)) else { return Ok(()) };
        let timed_out = matches!(outcome, Outcome::TimedOut { .. });
        if timed_out && actor.has_skipped(job) {
            return Err(format!("job {job} (attempt {attempt}) is charged, and was skipped"));
        }
        if actor.lied || !matches!(outcome, Outcome::Crashed(_) | Outcome::Panicked) {
            return Ok(());
        }
        // The one that it ran; or, where it ran none, the first that it was about to.
        let blamed = actor.unanswered.or_else(|| actor.not_begun().next().filter(|_| actor.is_ready));
        if blamed == Some(job) {
            Ok(())
        } else {
            Err(format!("job {job} (attempt {attempt}) is blamed for {blamed:?}"))
        }
    }

    pub(super) fn set(&mut self, worker_key: WorkerKey, phase: Phase) {
        if let Some(actor) = self.actors.get_mut(&worker_key) {
            actor.phase = phase;
            actor.epoch += 1;
        }
    }

    /// The skips that have arrived are read.
    pub(super) fn skip(&mut self, worker_key: WorkerKey) {
        let Some(actor) = self.actors.get_mut(&worker_key) else { return };
        let answers = match actor.phase {
            Phase::Hung | Phase::Running { .. } | Phase::Recovering => actor.guarded && actor.recalls,
            Phase::Booting | Phase::Idle => true,
        };
        if actor.alive && !actor.stopped && answers {
            for job in actor.read_skips() {
                self.report_message(worker_key, Message::Skipped { job });
            }
        }
    }

    /// The worker looks for what to do next.
    pub(super) fn go_on(&mut self, worker_key: WorkerKey) {
        self.skip(worker_key);
        let Some(actor) = self.actors.get_mut(&worker_key) else { return };
        if actor.retired {
            let held: Vec<u64> = actor.inbox_jobs();
            actor.inbox.retain(|message| *message == ToActor::Leave);
            for job in held {
                self.report_message(worker_key, Message::Skipped { job });
            }
        }
        let Some(actor) = self.actors.get_mut(&worker_key) else { return };
        match actor.inbox.pop_front() {
            Some(ToActor::Job { job, attempt }) => self.begin(worker_key, job, attempt),
            Some(ToActor::Leave) => {
                if self.rng.chance(self.rates.leaves_late) {
                    self.set(worker_key, Phase::Hung);
                } else {
                    self.soon(Due::Dies(worker_key, false));
                }
            }
            Some(ToActor::Init | ToActor::Skip(_) | ToActor::Cancel(_)) | None => {}
        }
    }

    /// A handler of a job begins: with it no more of the key run than may.
    fn few_of_its_key_run(&mut self, job: u64) {
        let Some(&key) = self.keyed.get(&job) else { return };
        let runs = |actor: &&Actor| !actor.lied && actor.runs().is_some_and(|job| self.keyed.get(&job) == Some(&key));
        let (running, most) = (self.actors.values().filter(runs).count(), self.keys[key as usize]);
        if !self.keys_vary && running >= most as usize {
            self.found.get_or_insert(format!("job {job} is begun while {running} others of key {key} run, of {most}"));
        }
    }

    /// A handler begins: the moment at which a job must be nowhere else.
    pub(super) fn begin(&mut self, worker_key: WorkerKey, job: u64, attempt: u32) {
        let fate = Actor::draw_fate(&mut self.rng, &self.rates);
        let handled = fate != Fate::Answer(Outcome::Undecodable);
        if let Some((before, _)) = self.begun.insert((job, attempt), (worker_key, handled)) {
            self.found
                .get_or_insert(format!("attempt {attempt} at job {job} is begun by {before:?} and {worker_key:?}"));
        }
        if self.checker.is_given_up(job, attempt) {
            self.found.get_or_insert(format!("job {job} is begun, and its caller was told that it is not"));
        }
        let elsewhere = self.actors.iter().find(|(_, other)| other.runs() == Some(job));
        if let Some((other, _)) = elsewhere {
            self.found.get_or_insert(format!("job {job} runs on {other:?} and {worker_key:?}"));
        }
        self.few_of_its_key_run(job);
        let Some(actor) = self.actors.get_mut(&worker_key) else { return };
        actor.begun += 1;
        actor.unanswered = Some(job);
        if actor.begun > self.max_jobs {
            self.found.get_or_insert(format!("{worker_key:?} begins its job number {}", actor.begun));
        }
        self.set(worker_key, Phase::Running { job, attempt, fate });
        if self.rng.chance(30) {
            self.report_message(worker_key, Message::Start { job });
        }
        if fate == Fate::Retire && self.rng.chance(50) {
            self.retire(worker_key);
        }
        if self.rng.chance(20) {
            for _ in 0..1 + self.rng.below(3) {
                self.report_message(worker_key, Message::Progress { job });
            }
        }
        let epoch = self.actors[&worker_key].epoch;
        if self.rng.chance(self.rates.long) {
            // Some end about when a worker that is over its limit has not answered the recall, and is stopped; some have
            // kept a recall waiting for long.
            let long = self.rng.pick(&[2, 5, 10, 13, 17, 19, 20, 21, 30, 35, 1500]) * MILLI;
            let late = Duration::from_micros(self.rng.pick(&[0, 20, 100, 1000]));
            self.plan(long + late, Due::Act(worker_key, epoch));
        } else {
            self.soon(Due::Act(worker_key, epoch));
        }
    }

    /// What the worker had planned comes about.
    pub(super) fn act(&mut self, worker_key: WorkerKey) {
        match self.actors[&worker_key].phase {
            Phase::Booting => self.start(worker_key),
            Phase::Running { job, attempt, fate } => self.finish(worker_key, job, attempt, fate),
            Phase::Recovering => self.recovered(worker_key),
            Phase::Idle if self.actors[&worker_key].start == Start::DiesIdle => self.die(worker_key, false),
            Phase::Idle | Phase::Hung => {}
        }
    }

    pub(super) fn start(&mut self, worker_key: WorkerKey) {
        let recalls = self.actors[&worker_key].recalls;
        self.report(worker_key, FromActor::Hello { recalls });
        match self.actors[&worker_key].start {
            Start::Dies => self.die(worker_key, false),
            Start::Hangs => self.set(worker_key, Phase::Hung),
            Start::Refuses => {
                self.report_message(worker_key, Message::Terminal { job: None });
                self.soon(Due::Dies(worker_key, false));
            }
            Start::SpeaksTooSoon => {
                self.report_message(worker_key, Message::Progress { job: 1 });
                self.set(worker_key, Phase::Hung);
            }
            Start::ClosesPipe => {
                self.report(worker_key, FromActor::StdoutClosed);
                self.set(worker_key, Phase::Hung);
            }
            start @ (Start::Fine | Start::DiesIdle | Start::Retires) => {
                if start == Start::Retires {
                    self.retire(worker_key);
                }
                self.report_message(worker_key, Message::Ready);
                self.set(worker_key, Phase::Idle);
                if start == Start::DiesIdle {
                    let epoch = self.actors[&worker_key].epoch;
                    self.soon(Due::Act(worker_key, epoch));
                }
                self.go_on(worker_key);
            }
        }
    }

    pub(super) fn retire(&mut self, worker_key: WorkerKey) {
        if let Some(job) = self.actors.get(&worker_key).and_then(Actor::runs) {
            self.report_message(worker_key, Message::Start { job });
        }
        self.report_message(worker_key, Message::Retire);
        let Some(actor) = self.actors.get_mut(&worker_key) else { return };
        actor.retired = true;
        let held = actor.inbox_jobs();
        actor.inbox.retain(|message| !matches!(message, ToActor::Job { .. }));
        for job in held {
            self.report_message(worker_key, Message::Skipped { job });
        }
    }

    pub(super) fn finish(&mut self, worker_key: WorkerKey, job: u64, attempt: u32, fate: Fate) {
        let success = Outcome::Success;
        if let Some(actor) = self.actors.get_mut(&worker_key) {
            actor.lied |= matches!(fate, Fate::SecondAnswer | Fate::WrongJob | Fate::ReadyWhileWorking | Fate::Garble);
        }
        match fate {
            Fate::Answer(outcome) => self.answer(worker_key, job, outcome),
            Fate::Retire => {
                if !self.actors[&worker_key].retired {
                    self.retire(worker_key);
                }
                self.answer(worker_key, job, success);
            }
            Fate::Panic => {
                self.report_message(worker_key, Message::Terminal { job: Some(job) });
                self.set(worker_key, Phase::Hung);
                self.soon(Due::Dies(worker_key, false));
            }
            Fate::PanicUnnamed => {
                self.report_message(worker_key, Message::Terminal { job: None });
                self.set(worker_key, Phase::Hung);
                self.soon(Due::Dies(worker_key, false));
            }
            Fate::Crash => self.die(worker_key, false),
            Fate::AnswerAndCrash => {
                self.answer(worker_key, job, success);
                self.die(worker_key, false);
            }
            Fate::Hang => self.set(worker_key, Phase::Hung),
            Fate::SecondAnswer => {
                self.report_message(worker_key, Message::Answer { job, outcome: success, ready: false });
                self.answer(worker_key, job, Outcome::Failed);
            }
            Fate::WrongJob => {
                let other = self.rng.below(self.next_job + 1);
                self.answer(worker_key, if other == job { u64::MAX } else { other }, success);
            }
            Fate::ReadyWhileWorking => {
                self.report_message(worker_key, Message::Ready);
                self.answer(worker_key, job, success);
            }
            Fate::Garble => {
                self.report(worker_key, FromActor::Malformed);
                self.set(worker_key, Phase::Hung);
            }
            Fate::CloseInput => {
                if let Some(actor) = self.actors.get_mut(&worker_key) {
                    actor.input_closed = true;
                }
                self.soon(Due::StdinBreaks(worker_key));
                self.set(worker_key, Phase::Running { job, attempt, fate: Fate::Answer(success) });
                let epoch = self.actors[&worker_key].epoch;
                let late = delay(&mut self.rng, &self.limits);
                self.plan(EXIT_WAIT + late, Due::Act(worker_key, epoch));
            }
            Fate::ClosePipe => {
                self.report(worker_key, FromActor::StdoutClosed);
                self.set(worker_key, Phase::Hung);
                if self.rng.chance(50) {
                    self.soon(Due::StdinBreaks(worker_key));
                }
            }
        }
    }

    pub(super) fn answer(&mut self, worker_key: WorkerKey, job: u64, outcome: Outcome) {
        let ready = self.actors[&worker_key].in_one_frame;
        self.report_message(worker_key, Message::Answer { job, outcome, ready });
        if ready {
            self.set(worker_key, Phase::Idle);
            self.go_on(worker_key);
        } else {
            self.set(worker_key, Phase::Recovering);
            let epoch = self.actors[&worker_key].epoch;
            self.soon(Due::Act(worker_key, epoch));
        }
    }

    pub(super) fn recovered(&mut self, worker_key: WorkerKey) {
        if self.rng.chance(self.rates.recover) {
            match self.rng.below(3) {
                0 => self.set(worker_key, Phase::Hung),
                1 => self.die(worker_key, false),
                _ => {
                    self.report_message(worker_key, Message::Terminal { job: None });
                    self.set(worker_key, Phase::Hung);
                    self.soon(Due::Dies(worker_key, false));
                }
            }
        } else {
            self.report_message(worker_key, Message::Ready);
            self.set(worker_key, Phase::Idle);
            self.go_on(worker_key);
        }
    }
}
