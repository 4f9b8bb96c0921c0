//! Moves time and messages between the machine, its workers and its callers.

use super::actor::{Actor, Fate, FromActor, Phase, Rates, Start, ToActor, delay};
use super::checker::Checker;
use super::{Rng, Tally};
use crate::supervisor::planted::planted;
use crate::supervisor::{
    Config, Effect, Input, JobSettings, MaxMemory, Outcome, SHORT, Said, Seat, Signal, Supervisor,
};
use std::collections::BTreeMap;
use std::mem;
use std::time::Duration;

/// Something that is due at some time.
#[derive(Clone, Copy, Debug)]
enum Due {
    Call,
    Spawned(Seat),
    /// The next message of the pool's arrives at the worker.
    Arrive(Seat),
    /// The next message of the worker's arrives at the pool.
    Deliver(Seat),
    /// What the worker had planned, if its epoch still holds.
    Act(Seat, u64),
    /// The worker's guard reads while a handler runs.
    Guard(Seat),
    Signalled(Seat, Signal),
    Dies(Seat),
    Reap(Seat),
    /// The pool's reader waits no longer for the end of a pipe that somebody else holds.
    GivesUp(Seat),
    ErrorsEnd(Seat),
    InputBreaks(Seat),
}

pub(super) struct World {
    rng: Rng,
    rates: Rates,
    now: Duration,
    machine: Supervisor<u64>,
    checker: Checker,
    actors: BTreeMap<Seat, Actor>,
    /// By time, then shuffled, then in order.
    due: BTreeMap<(Duration, u64, u64), Due>,
    next: u64,
    calls: u64,
    /// How many jobs come at once, at most.
    burst: u64,
    next_job: u64,
    limits: Vec<Duration>,
    max_jobs: u64,
    /// Whether every hang ends by a limit.
    all_limited: bool,
    exiting: bool,
    /// Whether the memory of workers is looked at, and whose is to be.
    measures: bool,
    measured: Vec<Seat>,
    found: Option<String>,
    trace: bool,
}

/// Limits of memory, in a world where a worker may hold anything.
const SOFT: u64 = 100;
const HARD: u64 = 200;

const MILLI: Duration = Duration::from_millis(1);

impl World {
    pub(super) fn new(seed: u64, trace: bool) -> Self {
        let mut rng = Rng::new(seed);
        let rates = Rates::draw(&mut rng);
        let limit = |rng: &mut Rng| rng.pick(&[Some(20 * MILLI), Some(20 * MILLI), Some(3 * MILLI), None]);
        let max_processes = rng.pick(&[1, 1, 2, 2, 3, 4]);
        let config = Config {
            max_processes,
            min_processes: rng.below(max_processes as u64 + 1) as usize,
            max_jobs_per_process: rng.pick(&[1, 2, 3, 5, 64]),
            retries: rng.pick(&[0, 0, 1, 2, 5]),
            timeout_initializing: limit(&mut rng),
            timeout_working: limit(&mut rng),
            timeout_recovering: limit(&mut rng),
            kill_grace: rng.pick(&[Duration::ZERO, 5 * MILLI, 30 * MILLI]),
            start_failures: rng.pick(&[1, 2, 3, 5]),
            hand_ahead: rng.pick(&[0, 1, 2, 4, 16]),
            cores: rng.pick(&[1, 2, 4]),
            max_memory: MaxMemory {
                soft: rng.pick(&[None, None, Some(SOFT)]),
                hard: rng.pick(&[None, None, Some(HARD)]),
            },
        };
        let of = [config.timeout_initializing, config.timeout_working, config.timeout_recovering];
        let all_limited = of.iter().all(Option::is_some);
        let mut limits: Vec<Duration> = of.into_iter().flatten().collect();
        limits.extend([config.kill_grace, SHORT, crate::supervisor::DEATH_WAIT]);
        if config.max_memory.hard.is_some() {
            limits.push(crate::supervisor::MEASURE_EVERY);
        }
        if trace {
            println!("{config:#?}\n{rates:?}");
        }
        let (calls, burst) = (1 + rng.below(60), rng.pick(&[1, 4, 4, 40]));
        World {
            checker: Checker::new(&config),
            max_jobs: config.max_jobs_per_process,
            measures: config.max_memory.is_limited(),
            machine: Supervisor::new(config),
            rng,
            rates,
            now: Duration::ZERO,
            actors: BTreeMap::new(),
            due: BTreeMap::new(),
            next: 0,
            calls,
            burst,
            next_job: 1,
            limits,
            all_limited,
            exiting: false,
            measured: Vec::new(),
            found: None,
            trace,
        }
    }

    /// Callers call until they have no more to say; then everything must settle; then the pool exits.
    pub(super) fn run(mut self) -> Result<Tally, String> {
        self.plan(Duration::ZERO, Due::Call);
        self.input(Input::Tick);
        let mut steps = 0;
        while self.step() {
            steps += 1;
            self.check()?;
            if steps > 200_000 || self.now > Duration::from_secs(3600) {
                return Err(format!("it never ends: {steps} steps, {:?}", self.now));
            }
            let quiet = self.calls == 0 && (self.machine.unsettled() == 0 || !self.all_limited);
            if quiet && !self.exiting && self.rng.chance(20) {
                self.exit();
            }
        }
        if !self.exiting {
            if self.all_limited && self.machine.unsettled() > 0 {
                return Err(format!("{} jobs wait for nothing", self.machine.unsettled()));
            }
            self.exit();
            while self.step() {
                self.check()?;
            }
        }
        self.check()?;
        self.checker.at_the_end(&self.machine).map_err(|found| format!("at the end: {found}"))?;
        let Checker { retried, killed, ahead, came_back, .. } = self.checker;
        Ok(Tally { steps, jobs: self.checker.job_count(), retried, killed, ahead, came_back })
    }

    fn check(&mut self) -> Result<(), String> {
        let found = match self.found.take() {
            Some(found) => Err(found),
            None => {
                self.checker.settled_down(&self.machine).and_then(|()| self.checker.overdue(self.now, &self.machine))
            }
        };
        found.map_err(|found| format!("at {:?}: {found}", self.now))
    }

    fn exit(&mut self) {
        self.exiting = true;
        self.calls = 0;
        self.input(Input::Exit);
    }

    // ------------------------------------------------------------ time

    fn plan(&mut self, after: Duration, due: Due) {
        // Ties are shuffled; what must keep its order keeps it in a queue of its own.
        let tie = self.rng.below(4);
        self.next += 1;
        self.due.insert((self.now + after, tie, self.next), due);
    }

    fn soon(&mut self, due: Due) {
        let after = delay(&mut self.rng, &self.limits.clone());
        self.plan(after, due);
    }

    /// Lets the next thing happen; `false` when nothing will any more.
    fn step(&mut self) -> bool {
        let event = self.due.first_key_value().map(|(key, _)| *key);
        let deadline = self.machine.next_deadline();
        let tick_first = match (event, deadline) {
            (None, None) => return false,
            (Some((at, ..)), Some(deadline)) => deadline < at || (deadline == at && self.rng.chance(50)),
            (event, _) => event.is_none(),
        };
        if tick_first {
            self.now = self.now.max(deadline.unwrap_or_default());
            self.input(Input::Tick);
        } else if let Some(key) = event
            && let Some(due) = self.due.remove(&key)
        {
            self.now = key.0;
            self.happen(due);
        }
        true
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Call => self.call(),
            Due::Spawned(seat) => {
                if self.rng.chance(self.rates.spawn) {
                    self.input(Input::SpawnFailed(seat));
                } else {
                    let actor = Actor::draw(&mut self.rng, &self.rates);
                    self.actors.insert(seat, actor);
                    self.send(seat, ToActor::Init);
                    self.input(Input::Spawned(seat));
                }
            }
            Due::Arrive(seat) => self.arrive(seat),
            Due::Deliver(seat) => self.deliver(seat),
            Due::Act(seat, epoch) => {
                if self.actors.get(&seat).is_some_and(|actor| actor.alive && actor.epoch == epoch) {
                    self.act(seat);
                }
            }
            Due::Guard(seat) => self.skip(seat),
            Due::Signalled(seat, signal) => {
                let Some(actor) = self.actors.get(&seat) else { return };
                if actor.alive && (signal == Signal::Kill || !actor.ignores_term) {
                    self.soon(Due::Dies(seat));
                }
            }
            Due::Dies(seat) => self.die(seat),
            Due::Reap(seat) => {
                if let Some(actor) = self.actors.get_mut(&seat) {
                    actor.reaped = true;
                    if actor.holds_pipes {
                        let late = delay(&mut self.rng, &self.limits);
                        self.plan(crate::supervisor::DEATH_WAIT + late, Due::GivesUp(seat));
                    }
                }
                self.input(Input::Exited(seat));
            }
            Due::GivesUp(seat) => self.say(seat, FromActor::OutputEnd),
            Due::ErrorsEnd(seat) => self.input(Input::ErrorsEnded(seat)),
            Due::InputBreaks(seat) => self.input(Input::InputBroken(seat)),
        }
    }

    // ------------------------------------------------------------ the callers

    fn call(&mut self) {
        if self.calls == 0 {
            return;
        }
        self.calls -= 1;
        match self.rng.below(20) {
            0..=12 => {
                for _ in 0..1 + self.rng.below(self.burst) {
                    self.enqueue();
                }
            }
            13..=16 => {
                let open: Vec<_> = self.checker.unsettled().collect();
                if !open.is_empty() {
                    let (id, key) = self.rng.pick(&open);
                    self.input(Input::Abort { key, id });
                }
            }
            17 => self.input(Input::SpawnWorkers),
            18 if self.rng.chance(20) => self.input(Input::Close),
            19 if self.rng.chance(10) => self.exit(),
            _ => {}
        }
        self.soon(Due::Call);
    }

    fn enqueue(&mut self) {
        let id = self.next_job;
        self.next_job += 1;
        let mut settings = JobSettings::default();
        let priority = self.rng.pick(&[0, 0, 0, 1, -1]);
        if priority != 0 {
            settings.set_priority(priority);
        }
        let retries = self.rng.chance(10).then(|| self.rng.below(3) as u32);
        if let Some(retries) = retries {
            settings.set_retries(retries);
        }
        let limit = self.rng.chance(10).then_some(Some(7 * MILLI));
        if let Some(limit) = limit {
            settings.set_timeout(limit);
        }
        self.checker.new_job(id, priority, retries, limit);
        self.input(Input::Enqueue { id, job: id, settings });
    }

    // ------------------------------------------------------------ the machine

    fn input(&mut self, input: Input<u64>) {
        if self.trace {
            println!("{:>12?} {input:?}", self.now);
        }
        if let Input::Said(seat, _) = input
            && self.actors.get(&seat).is_some_and(|actor| !actor.lied)
            && let Err(found) = self.checker.answer_is_lost(&self.machine, &input)
        {
            self.found.get_or_insert(found);
        }
        self.checker.input(self.now, &input, Checker::too_late(&self.machine, &input));
        let mut effects = Vec::new();
        self.machine.handle(self.now, input.clone(), &mut effects);
        for effect in effects {
            if self.trace {
                println!("{:>14} {effect:?}", "");
            }
            if let Err(found) = self.checker.effect(self.now, &effect, &input) {
                self.found.get_or_insert(format!("{found} ({effect:?} at {input:?})"));
            }
            self.carry_out(effect);
        }
        while let Some(seat) = self.measured.pop() {
            self.measure(seat, false);
        }
    }

    /// A worker holds any amount of memory, whatever it held before.
    fn measure(&mut self, seat: Seat, at_rest: bool) {
        let bytes = self.rng.pick(&[1, 1, 1, SOFT, SOFT + 1, HARD, HARD + 1]);
        self.input(Input::Resident { seat, bytes, at_rest });
    }

    fn carry_out(&mut self, effect: Effect<u64>) {
        match effect {
            Effect::Spawn(seat) => self.soon(Due::Spawned(seat)),
            Effect::SendJob { seat, key, attempt } => {
                if let Some((&job, _)) = self.machine.job(key) {
                    self.send(seat, ToActor::Job { job, attempt });
                }
            }
            Effect::SendSkip { seat, id } => self.send(seat, ToActor::Skip(id)),
            Effect::Measure(seat) => self.measured.push(seat),
            Effect::SendLeave(seat) => self.send(seat, ToActor::Leave),
            Effect::Signal(seat, signal) => self.plan(Duration::ZERO, Due::Signalled(seat, signal)),
            Effect::Settled { key, .. } => drop(self.machine.take(key)),
            Effect::Violated(seat, violation) if self.actors.get(&seat).is_some_and(|actor| !actor.lied) => {
                self.found.get_or_insert(format!("{seat:?} did nothing wrong: {violation}"));
            }
            _ => {}
        }
    }

    fn send(&mut self, seat: Seat, message: ToActor) {
        if let Some(actor) = self.actors.get_mut(&seat) {
            actor.coming.push_back(message);
            self.soon(Due::Arrive(seat));
        }
    }

    // ------------------------------------------------------------ the workers

    fn arrive(&mut self, seat: Seat) {
        let Some(actor) = self.actors.get_mut(&seat) else { return };
        let Some(message) = actor.coming.pop_front() else { return };
        if !actor.alive {
            return;
        }
        actor.inbox.push_back(message);
        match actor.phase {
            Phase::Booting if message == ToActor::Init => {
                actor.inbox.clear();
                let epoch = actor.epoch;
                self.soon(Due::Act(seat, epoch));
            }
            Phase::Idle => self.go_on(seat),
            Phase::Running { .. } if matches!(message, ToActor::Skip(_)) => self.soon(Due::Guard(seat)),
            _ => {}
        }
    }

    /// The worker says something; it arrives in order.
    fn say(&mut self, seat: Seat, word: FromActor) {
        let Some(actor) = self.actors.get_mut(&seat) else { return };
        if !actor.output_closed {
            actor.output_closed = word == FromActor::OutputEnd;
            actor.going.push_back(word);
            self.soon(Due::Deliver(seat));
        }
    }

    fn says(&mut self, seat: Seat, said: Said) {
        self.say(seat, FromActor::Said(said));
    }

    fn deliver(&mut self, seat: Seat) {
        let Some(word) = self.actors.get_mut(&seat).and_then(|actor| actor.going.pop_front()) else { return };
        if self.measures
            && let FromActor::Said(Said::Ready | Said::Answer { ready: true, .. }) = word
        {
            self.measure(seat, true);
        }
        self.input(match word {
            FromActor::Said(said) => Input::Said(seat, said),
            FromActor::Garbled => Input::Garbled(seat),
            FromActor::OutputEnd => Input::OutputEnded(seat),
        });
    }

    fn die(&mut self, seat: Seat) {
        let Some(actor) = self.actors.get_mut(&seat) else { return };
        if !mem::replace(&mut actor.alive, false) {
            return;
        }
        if actor.holds_pipes {
            // A grandchild has them, and holds them for ever.
            self.soon(Due::Reap(seat));
            return;
        }
        self.say(seat, FromActor::OutputEnd);
        self.soon(Due::ErrorsEnd(seat));
        self.soon(Due::Reap(seat));
    }

    fn set(&mut self, seat: Seat, phase: Phase) {
        if let Some(actor) = self.actors.get_mut(&seat) {
            actor.phase = phase;
            actor.epoch += 1;
        }
    }

    /// The skips that have arrived are read.
    fn skip(&mut self, seat: Seat) {
        let Some(actor) = self.actors.get_mut(&seat) else { return };
        if actor.alive && actor.phase != Phase::Hung {
            for job in actor.read_skips() {
                self.says(seat, Said::Skipped { job });
            }
        }
    }

    /// The worker looks for what to do next.
    fn go_on(&mut self, seat: Seat) {
        self.skip(seat);
        let Some(actor) = self.actors.get_mut(&seat) else { return };
        if actor.retired {
            actor.inbox.retain(|message| *message == ToActor::Leave);
        }
        match actor.inbox.pop_front() {
            Some(ToActor::Job { job, attempt }) => self.begin(seat, job, attempt),
            Some(ToActor::Leave) => {
                if self.rng.chance(self.rates.leaves_late) {
                    self.set(seat, Phase::Hung);
                } else {
                    self.soon(Due::Dies(seat));
                }
            }
            Some(ToActor::Init | ToActor::Skip(_)) | None => {}
        }
    }

    /// A handler begins: the moment at which a job must be nowhere else.
    fn begin(&mut self, seat: Seat, job: u64, attempt: u32) {
        let elsewhere = self.actors.iter().find(|(_, other)| other.runs() == Some(job));
        if let Some((other, _)) = elsewhere {
            self.found.get_or_insert(format!("job {job} runs on {other:?} and {seat:?}"));
        }
        let fate = Actor::draw_fate(&mut self.rng, &self.rates);
        let Some(actor) = self.actors.get_mut(&seat) else { return };
        actor.begun += 1;
        if actor.begun > self.max_jobs {
            self.found.get_or_insert(format!("{seat:?} begins its job number {}", actor.begun));
        }
        self.set(seat, Phase::Running { job, attempt, fate });
        if self.rng.chance(30) {
            self.says(seat, Said::Start { job });
        }
        if fate == Fate::Retire && self.rng.chance(50) {
            self.retire(seat);
        }
        if self.rng.chance(20) {
            for _ in 0..1 + self.rng.below(3) {
                self.says(seat, Said::Progress { job });
            }
        }
        let epoch = self.actors[&seat].epoch;
        if self.rng.chance(self.rates.long) {
            let long = self.rng.pick(&[2, 5, 19, 20, 21]) * MILLI;
            self.plan(long, Due::Act(seat, epoch));
        } else {
            self.soon(Due::Act(seat, epoch));
        }
    }

    /// What the worker had planned comes about.
    fn act(&mut self, seat: Seat) {
        match self.actors[&seat].phase {
            Phase::Booting => self.start(seat),
            Phase::Running { job, fate, .. } => self.finish(seat, job, fate),
            Phase::Recovering => self.recovered(seat),
            Phase::Idle if self.actors[&seat].start == Start::DiesIdle => self.die(seat),
            Phase::Idle | Phase::Hung => {}
        }
    }

    fn start(&mut self, seat: Seat) {
        match self.actors[&seat].start {
            Start::Dies => self.die(seat),
            Start::Hangs => self.set(seat, Phase::Hung),
            Start::Refuses => {
                self.says(seat, Said::Terminal { job: None });
                self.soon(Due::Dies(seat));
            }
            Start::SpeaksTooSoon => {
                self.says(seat, Said::Progress { job: 1 });
                self.set(seat, Phase::Hung);
            }
            Start::ClosesPipe => {
                self.say(seat, FromActor::OutputEnd);
                self.set(seat, Phase::Hung);
            }
            start @ (Start::Fine | Start::DiesIdle | Start::Retires) => {
                if start == Start::Retires {
                    self.retire(seat);
                }
                self.says(seat, Said::Ready);
                self.set(seat, Phase::Idle);
                if start == Start::DiesIdle {
                    let epoch = self.actors[&seat].epoch;
                    self.soon(Due::Act(seat, epoch));
                }
                self.go_on(seat);
            }
        }
    }

    fn retire(&mut self, seat: Seat) {
        if let Some(job) = self.actors.get(&seat).and_then(Actor::runs)
            && !planted!(RetireHidesItsJob)
        {
            self.says(seat, Said::Start { job });
        }
        self.says(seat, Said::Retire);
        if let Some(actor) = self.actors.get_mut(&seat) {
            actor.retired = true;
        }
    }

    fn finish(&mut self, seat: Seat, job: u64, fate: Fate) {
        let success = Outcome::Success;
        if let Some(actor) = self.actors.get_mut(&seat) {
            actor.lied |= matches!(fate, Fate::SecondAnswer | Fate::WrongJob | Fate::ReadyWhileWorking | Fate::Garble);
        }
        match fate {
            Fate::Answer(outcome) => self.answer(seat, job, outcome),
            Fate::Retire => {
                if !self.actors[&seat].retired {
                    self.retire(seat);
                }
                self.answer(seat, job, success);
            }
            Fate::Panic => {
                self.says(seat, Said::Terminal { job: Some(job) });
                self.set(seat, Phase::Hung);
                self.soon(Due::Dies(seat));
            }
            Fate::Crash => self.die(seat),
            Fate::AnswerAndCrash => {
                self.answer(seat, job, success);
                self.die(seat);
            }
            Fate::Hang => self.set(seat, Phase::Hung),
            Fate::SecondAnswer => {
                self.says(seat, Said::Answer { job, outcome: success, ready: false });
                self.answer(seat, job, Outcome::Failed);
            }
            Fate::WrongJob => {
                let other = self.rng.below(self.next_job + 1);
                self.answer(seat, if other == job { u64::MAX } else { other }, success);
            }
            Fate::ReadyWhileWorking => {
                self.says(seat, Said::Ready);
                self.answer(seat, job, success);
            }
            Fate::Garble => {
                self.say(seat, FromActor::Garbled);
                self.set(seat, Phase::Hung);
            }
            Fate::ClosePipe => {
                self.say(seat, FromActor::OutputEnd);
                self.set(seat, Phase::Hung);
                if self.rng.chance(50) {
                    self.soon(Due::InputBreaks(seat));
                }
            }
        }
    }

    fn answer(&mut self, seat: Seat, job: u64, outcome: Outcome) {
        let ready = self.actors[&seat].in_one_frame;
        self.says(seat, Said::Answer { job, outcome, ready });
        if ready {
            self.set(seat, Phase::Idle);
            self.go_on(seat);
        } else {
            self.set(seat, Phase::Recovering);
            let epoch = self.actors[&seat].epoch;
            self.soon(Due::Act(seat, epoch));
        }
    }

    fn recovered(&mut self, seat: Seat) {
        if self.rng.chance(self.rates.recover) {
            match self.rng.below(3) {
                0 => self.set(seat, Phase::Hung),
                1 => self.die(seat),
                _ => {
                    self.says(seat, Said::Terminal { job: None });
                    self.set(seat, Phase::Hung);
                    self.soon(Due::Dies(seat));
                }
            }
        } else {
            self.says(seat, Said::Ready);
            self.set(seat, Phase::Idle);
            self.go_on(seat);
        }
    }
}
