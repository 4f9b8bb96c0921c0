//! Moves time and messages between the machine, its workers and its callers.

use super::actor::{Actor, Fate, FromActor, Phase, Rates, Start, ToActor, delay};
use super::checker::Checker;
use super::saboteur::{Sabotage, Saboteur};
use super::{Rng, Tally};
use crate::supervisor::worker::Worker;
use crate::supervisor::{
    Action, Begun, Config, Effect, Input, JobKey, JobSettings, MaxMemory, Message, Notice, Outcome, SHORT, Signal,
    Supervisor, Undelivered, Violation, WhenFull, WorkerKey, WorkerState,
};
use std::collections::BTreeMap;
use std::mem;
use std::time::Duration;

/// Something that is due at some time.
#[derive(Clone, Copy, Debug)]
enum Due {
    Notification,
    Spawned(WorkerKey),
    /// The next message of the pool's arrives at the worker.
    Arrive(WorkerKey),
    /// The next message of the worker's arrives at the pool.
    Deliver(WorkerKey),
    /// What the worker had planned, if its epoch still holds.
    Act(WorkerKey, u64),
    /// The worker's guard reads while a handler runs.
    Guard(WorkerKey),
    Signalled(WorkerKey, Signal),
    /// SIGSTOP takes effect, if it is still to.
    Stops(WorkerKey),
    /// The process ends; `true` where the pool has killed it.
    Dies(WorkerKey, bool),
    Reap(WorkerKey),
    /// The pool's reader waits no longer for the end of a pipe that somebody else holds.
    GivesUp(WorkerKey),
    ErrorsEnd(WorkerKey),
    InputBreaks(WorkerKey),
    /// What a dead worker has left behind writes to the worker's output.
    GrandchildWrites(WorkerKey),
}

pub(super) struct World {
    rng: Rng,
    rates: Rates,
    now: Duration,
    /// How late a tick may come, and when the one for this deadline does.
    lateness: Duration,
    tick: Option<(Duration, Duration)>,
    machine: Supervisor,
    saboteur: Saboteur,
    checker: Checker,
    actors: BTreeMap<WorkerKey, Actor>,
    /// By time, then shuffled, then in order.
    due: BTreeMap<(Duration, u64, u64), Due>,
    next: u64,
    calls: u64,
    /// How many jobs come at once, at most.
    burst: u64,
    /// Whether all is quick and many jobs come at once, so that many are sent ahead.
    brisk: bool,
    next_job: u64,
    limits: Vec<Duration>,
    max_jobs: u64,
    /// Whether every hang ends by a limit.
    all_limited: bool,
    exiting: bool,
    /// Whether a job may have no limit though the pool has.
    endless: bool,
    /// When the callers called last.
    called: Duration,
    tells_undelivered: bool,
    /// Workers die while they read each job whose number is a multiple of this.
    unreadable: Option<u64>,
    /// Whose memory is to be measured.
    measured: Vec<WorkerKey>,
    /// Which worker began which attempt at which job, and whether the job got as far as the handler.
    begun: BTreeMap<(u64, u32), (WorkerKey, bool)>,
    found: Option<String>,
    trace: bool,
}

/// Limits of memory, in a world where a worker may hold anything.
const SOFT: u64 = 100;
const HARD: u64 = 200;

const MILLI: Duration = Duration::from_millis(1);

/// What is not over so long after the last call will not be: a recall may take ten seconds to be given up.
const PATIENCE: Duration = Duration::from_secs(15);

impl World {
    pub(super) fn new(seed: u64, sabotage: Option<Sabotage>, trace: bool) -> Self {
        let mut rng = Rng::new(seed);
        let rates = Rates::draw(&mut rng);
        let limit = |rng: &mut Rng| rng.pick(&[Some(20 * MILLI), Some(20 * MILLI), Some(3 * MILLI), None]);
        let max_processes = rng.pick(&[1, 1, 2, 2, 3, 4]);
        let config = Config {
            max_processes,
            min_processes: rng.below(max_processes as u64 + 1) as usize,
            max_jobs_per_process: rng.pick(&[Some(1), Some(2), Some(3), Some(5), Some(64), None]),
            max_backlog: rng.pick(&[None, None, Some(1), Some(2), Some(5)]),
            retries: rng.pick(&[0, 0, 1, 2, 5]),
            timeout_initializing: limit(&mut rng),
            timeout_working: limit(&mut rng),
            timeout_recovering: limit(&mut rng),
            kill_grace: rng.pick(&[Duration::ZERO, 5 * MILLI, 30 * MILLI]),
            start_failures: rng.pick(&[1, 2, 3, 5]),
            prefetch: rng.pick(&[0, 1, 2, 4, 16]),
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
        let (tells_undelivered, endless) = (rng.chance(70), rng.chance(10));
        let brisk = rng.chance(30);
        let unreadable = rng.chance(10).then_some(7);
        // As where the program was stopped, or has much to do.
        let lateness = rng.pick(&[Duration::ZERO, Duration::ZERO, Duration::ZERO, 2 * MILLI, 60 * MILLI]);
        let (calls, burst) = (1 + rng.below(60), if brisk { 40 } else { rng.pick(&[1, 4, 4, 40]) });
        let saboteur = Saboteur::new(sabotage);
        World {
            checker: Checker::new(&config),
            max_jobs: config.max_jobs_per_process.unwrap_or(u64::MAX),
            machine: saboteur.machine(config),
            saboteur,
            rng,
            rates,
            now: Duration::ZERO,
            lateness,
            tick: None,
            actors: BTreeMap::new(),
            due: BTreeMap::new(),
            next: 0,
            calls,
            burst,
            brisk,
            next_job: 1,
            limits,
            all_limited,
            exiting: false,
            endless,
            called: Duration::ZERO,
            tells_undelivered,
            unreadable,
            measured: Vec::new(),
            begun: BTreeMap::new(),
            found: None,
            trace,
        }
    }

    /// Callers call until they have no more to say; then everything must settle; then the pool exits.
    pub(super) fn run(mut self) -> Result<Tally, String> {
        self.plan(Duration::ZERO, Due::Notification);
        self.input(Input::Tick);
        let mut steps = 0;
        while self.step() {
            steps += 1;
            self.check()?;
            if steps > 200_000 || self.now > Duration::from_secs(3600) {
                return Err(format!("it never ends: {steps} steps, {:?}", self.now));
            }
            let stuck = !self.all_limited && self.now > self.called + PATIENCE;
            let quiet = self.calls == 0 && (self.machine.unsettled() == 0 || stuck);
            if quiet && !self.exiting {
                self.nothing_is_lost()?;
            }
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
        let Checker { retried, killed, prefetched, came_back, .. } = self.checker;
        Ok(Tally { steps, jobs: self.checker.job_count(), retried, killed, prefetched, came_back })
    }

    /// Whoever hangs for ever does so by leave; no slot is lost, and nobody waits behind those where another could do it.
    fn nothing_is_lost(&mut self) -> Result<(), String> {
        if self.due.values().any(|due| !matches!(due, Due::Notification)) || self.now < self.called + PATIENCE {
            return Ok(());
        }
        let lost = self.actors.iter().find(|(worker_key, actor)| {
            let hangs =
                actor.phase == Phase::Hung && actor.unanswered.is_none_or(|job| self.checker.is_at(job, **worker_key));
            let waits = |worker: &Worker| worker.is_free() || worker.state() == WorkerState::Exiting;
            actor.alive && !hangs && self.machine.worker(**worker_key).is_some_and(|worker| !waits(worker))
        });
        match lost {
            Some((worker_key, actor)) => {
                Err(format!("{worker_key:?} is lost: {actor:?} {:?}", self.machine.worker(*worker_key)))
            }
            None if self.machine.has_free_worker() => self.checker.none_is_ahead(),
            None => Ok(()),
        }
    }

    fn check(&mut self) -> Result<(), String> {
        let found = match self.found.take() {
            Some(found) => Err(found),
            None => {
                let in_time = self.now.saturating_sub(self.lateness);
                self.checker.settled_down(&self.machine).and_then(|()| self.checker.overdue(in_time, &self.machine))
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
        let after = if self.brisk && self.rng.chance(95) {
            Duration::from_micros(self.rng.pick(&[0, 1, 5, 20, 50]))
        } else {
            delay(&mut self.rng, &self.limits)
        };
        self.plan(after, due);
    }

    /// Lets the next thing happen; `false` when nothing will any more.
    fn step(&mut self) -> bool {
        let event = self.due.first_key_value().map(|(key, _)| *key);
        let tick_at = self.machine.next_deadline().map(|deadline| self.tick_for(deadline));
        let tick_first = match (event, tick_at) {
            (None, None) => return false,
            (Some((at, ..)), Some(tick_at)) => tick_at < at || (tick_at == at && self.rng.chance(50)),
            (event, _) => event.is_none(),
        };
        if tick_first {
            self.tick = None;
            self.now = self.now.max(tick_at.unwrap_or_default());
            self.input(Input::Tick);
        } else if let Some(key) = event
            && let Some(due) = self.due.remove(&key)
        {
            self.now = key.0;
            self.happen(due);
        }
        true
    }

    /// When the tick comes that is due at `deadline`.
    fn tick_for(&mut self, deadline: Duration) -> Duration {
        match self.tick {
            Some((of, at)) if of == deadline => at,
            _ => {
                let late = !self.lateness.is_zero() && self.rng.chance(50);
                let parts = if late { self.rng.below(5) as u32 } else { 0 };
                let at = deadline + self.lateness * parts / 4;
                self.tick = Some((deadline, at));
                at
            }
        }
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Notification => self.call(),
            Due::Spawned(worker_key) => {
                if self.rng.chance(self.rates.spawn) {
                    self.input(Input::SpawnFailed(worker_key));
                } else {
                    let actor = Actor::draw(&mut self.rng, &self.rates);
                    self.actors.insert(worker_key, actor);
                    if self.rng.chance(self.rates.dies) {
                        let after = Duration::from_micros(self.rng.below(15_000));
                        self.plan(after, Due::Dies(worker_key, false));
                    }
                    self.send(worker_key, ToActor::Init);
                    self.input(Input::Spawned(worker_key));
                }
            }
            Due::Arrive(worker_key) => self.arrive(worker_key),
            Due::Deliver(worker_key) => self.deliver(worker_key),
            Due::Act(worker_key, epoch) => {
                let Some(actor) = self.actors.get_mut(&worker_key).filter(|of| of.alive && of.epoch == epoch) else {
                    return;
                };
                if actor.stopped {
                    actor.deferred = true;
                } else {
                    self.act(worker_key);
                }
            }
            Due::Guard(worker_key) => self.skip(worker_key),
            Due::Signalled(worker_key, signal) => {
                let Some(actor) = self.actors.get_mut(&worker_key) else { return };
                if actor.alive && (signal == Signal::Kill || !actor.ignores_term) {
                    if actor.stopped && signal == Signal::Terminate {
                        actor.to_die = true;
                    } else {
                        self.soon(Due::Dies(worker_key, true));
                    }
                }
            }
            Due::Stops(worker_key) => {
                let Some(actor) = self.actors.get_mut(&worker_key) else { return };
                if actor.to_stop && actor.alive {
                    (actor.to_stop, actor.stopped) = (false, true);
                    actor.going.push_back(FromActor::Stopped);
                    self.soon(Due::Deliver(worker_key));
                }
            }
            Due::Dies(worker_key, killed) => self.die(worker_key, killed),
            Due::Reap(worker_key) => {
                if let Some(actor) = self.actors.get_mut(&worker_key) {
                    actor.reaped = true;
                    if actor.holds_pipes {
                        let late = delay(&mut self.rng, &self.limits);
                        self.plan(crate::supervisor::DEATH_WAIT + late, Due::GivesUp(worker_key));
                    }
                }
                let undelivered = self.actors.get(&worker_key).and_then(|actor| actor.undelivered);
                // Not every system tells.
                let undelivered = undelivered.filter(|_| self.tells_undelivered);
                let undelivered = undelivered.map(|job| Undelivered {
                    job,
                    in_part: is_unreadable(self.unreadable, job) || self.rng.chance(30),
                });
                self.input(Input::Exited { worker_key, undelivered });
            }
            Due::GivesUp(worker_key) => self.say(worker_key, FromActor::OutputEnd),
            Due::ErrorsEnd(worker_key) => self.input(Input::StderrClosed(worker_key)),
            Due::InputBreaks(worker_key) => self.input(Input::StdinBroken(worker_key)),
            Due::GrandchildWrites(worker_key) => {
                if let Some(actor) = self.actors.get_mut(&worker_key) {
                    // What it says is taken for the worker's own.
                    actor.lied |= !actor.pipe_closed;
                }
                self.say(worker_key, FromActor::Malformed);
            }
        }
    }

    // ------------------------------------------------------------ the callers

    fn call(&mut self) {
        if self.calls == 0 {
            return;
        }
        self.called = self.now;
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
                    let key = self.rng.pick(&open);
                    self.input(Input::Abort(key));
                }
            }
            17 => self.input(Input::SpawnWorkers),
            18 if self.rng.chance(20) => self.input(Input::Close),
            19 if self.rng.chance(10) => self.exit(),
            _ => {}
        }
        self.soon(Due::Notification);
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
        let last = if self.endless { None } else { Some(25 * MILLI) };
        let own = self.rng.pick(&[Some(Duration::ZERO), Some(7 * MILLI), Some(7 * MILLI), Some(25 * MILLI), last]);
        let limit = self.rng.chance(10).then_some(own);
        self.all_limited &= limit != Some(None);
        if let Some(limit) = limit {
            settings.set_timeout(limit);
        }
        let when_full = self.rng.pick(&[WhenFull::Wait, WhenFull::Wait, WhenFull::Refuse, WhenFull::Exceed]);
        self.checker.new_job(id, priority, retries, limit);
        self.input(Input::Enqueue { id, settings, when_full });
    }

    // ------------------------------------------------------------ the machine

    fn input(&mut self, input: Input) {
        if self.trace {
            println!("{:>12?} {input:?}", self.now);
        }
        let honest = |worker_key: &WorkerKey| self.actors.get(worker_key).is_some_and(|actor| !actor.lied);
        let awaited = matches!(&input, Input::Message { worker_key, .. } if honest(worker_key))
            && self.checker.is_awaited(&input);
        self.checker.input(self.now, &input, Checker::too_late(&self.machine, &input));
        let mut effects = Vec::new();
        self.saboteur.handle(&mut self.machine, self.now, input.clone(), &mut effects);
        if let Err(found) = Checker::distinct(&effects) {
            self.found.get_or_insert(found);
        }
        for effect in effects {
            if self.trace {
                println!("{:>14} {effect:?}", "");
            }
            if let Err(found) = self.checker.effect(self.now, &effect, &input) {
                self.found.get_or_insert(format!("{found} ({effect:?} at {input:?})"));
            }
            if let (Effect::Do(Action::Signal(worker_key, _)), Input::Abort(JobKey { id, .. })) = (&effect, &input)
                && self.actors.get(worker_key).is_some_and(|actor| actor.has_skipped(*id))
            {
                self.found.get_or_insert(format!("{worker_key:?} is killed for job {id}, which it has skipped"));
            }
            if let Err(found) = self.is_true(&effect) {
                self.found.get_or_insert(format!("{found} ({effect:?} at {input:?})"));
            }
            self.carry_out(effect);
        }
        if awaited && let Err(found) = self.checker.answer_counts(&input) {
            self.found.get_or_insert(found);
        }
        let complete = self.checker.is_complete(&input);
        if let Err(found) = complete.and_then(|()| self.checker.settled_down(&self.machine)) {
            self.found.get_or_insert(found);
        }
        while let Some(worker_key) = self.measured.pop() {
            let bytes = self.resident();
            self.input(Input::Resident { worker_key, bytes });
        }
    }

    /// A worker holds any amount of memory, whatever it held before.
    fn resident(&mut self) -> u64 {
        self.rng.pick(&[1, 1, 1, SOFT, SOFT + 1, HARD, HARD + 1])
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Do(Action::Spawn(worker_key)) => self.soon(Due::Spawned(worker_key)),
            Effect::Do(Action::SendJob { worker_key, key, attempt }) => {
                self.send(worker_key, ToActor::Job { job: key.id, attempt });
            }
            Effect::Do(Action::SendSkip { worker_key, id }) => self.send(worker_key, ToActor::Skip(id)),
            Effect::Do(Action::Measure(worker_key)) => self.measured.push(worker_key),
            Effect::Do(Action::SendLeave(worker_key)) => self.send(worker_key, ToActor::Leave),
            Effect::Do(Action::Drain(worker_key)) => {
                if let Some(actor) = self.actors.get_mut(&worker_key) {
                    actor.ask_to_hear();
                    self.soon(Due::Deliver(worker_key));
                }
            }
            Effect::Do(Action::Signal(worker_key, Signal::Stop)) => {
                if let Some(actor) = self.actors.get_mut(&worker_key) {
                    actor.ask_no_more();
                    actor.to_stop = true;
                    // Now and then it does not stop for long, as one that waits for a disk.
                    let after = if self.rng.chance(2) { 3 * MILLI * 1000 } else { Duration::ZERO };
                    let late = delay(&mut self.rng, &self.limits);
                    self.plan(after + late, Due::Stops(worker_key));
                }
            }
            Effect::Do(Action::Signal(worker_key, Signal::Continue)) => self.go_on_after_stop(worker_key),
            Effect::Do(Action::Signal(worker_key, signal)) => {
                self.plan(Duration::ZERO, Due::Signalled(worker_key, signal))
            }
            Effect::Tell(Notice::Violated(worker_key, Violation::RecallUnanswered))
                if self.actors.get(&worker_key).is_some_and(|actor| !actor.guarded) => {}
            Effect::Tell(Notice::Violated(worker_key, violation))
                if self.actors.get(&worker_key).is_some_and(|actor| !actor.lied) =>
            {
                self.found.get_or_insert(format!("{worker_key:?} did nothing wrong: {violation}"));
            }
            _ => {}
        }
    }

    fn send(&mut self, worker_key: WorkerKey, message: ToActor) {
        if let Some(actor) = self.actors.get_mut(&worker_key) {
            actor.send(message);
            let due = if actor.alive { Due::Arrive(worker_key) } else { Due::InputBreaks(worker_key) };
            self.soon(due);
        }
    }

    // ------------------------------------------------------------ the workers

    fn arrive(&mut self, worker_key: WorkerKey) {
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

    /// The worker says something; it arrives in order.
    fn say(&mut self, worker_key: WorkerKey, word: FromActor) {
        let Some(actor) = self.actors.get_mut(&worker_key) else { return };
        if !actor.pipe_closed {
            actor.pipe_closed = word == FromActor::OutputEnd;
            actor.going.push_back(word);
            self.soon(Due::Deliver(worker_key));
        }
    }

    fn says(&mut self, worker_key: WorkerKey, message: Message) {
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
        self.say(worker_key, FromActor::Message(message));
    }

    fn deliver(&mut self, worker_key: WorkerKey) {
        let Some(word) = self.actors.get_mut(&worker_key).and_then(|actor| actor.going.pop_front()) else { return };
        let input = match word {
            FromActor::Greeted { recalls } => Input::Greeted { worker_key, recalls },
            FromActor::Message(message) => {
                let wanted = self.machine.wants_resident(worker_key, &message);
                Input::Message { worker_key, message, resident: wanted.then(|| self.resident()) }
            }
            FromActor::Malformed => Input::Malformed(worker_key),
            FromActor::OutputEnd => Input::StdoutClosed(worker_key),
            FromActor::Drained => Input::Drained(worker_key),
            FromActor::Stopped => Input::Stopped(worker_key),
        };
        self.input(input);
    }

    fn die(&mut self, worker_key: WorkerKey, killed: bool) {
        let Some(actor) = self.actors.get_mut(&worker_key).filter(|actor| actor.alive) else { return };
        actor.die();
        let bystander = actor.unanswered.filter(|_| killed && !(actor.lied || actor.pipe_closed || actor.input_closed));
        if let Some(job) = bystander.filter(|&job| self.checker.is_at(job, worker_key)) {
            self.found.get_or_insert(format!("job {job} is killed with {worker_key:?} for the sake of another"));
        }
        let Some(actor) = self.actors.get_mut(&worker_key) else { return };
        if actor.holds_pipes {
            // A grandchild has them, and holds them for ever.
            self.soon(Due::Reap(worker_key));
            if self.rng.chance(20) {
                self.soon(Due::GrandchildWrites(worker_key));
            }
            return;
        }
        self.say(worker_key, FromActor::OutputEnd);
        self.soon(Due::ErrorsEnd(worker_key));
        self.soon(Due::Reap(worker_key));
    }

    /// SIGCONT: what it would have done meanwhile it does now.
    fn go_on_after_stop(&mut self, worker_key: WorkerKey) {
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
    fn is_true(&self, effect: &Effect) -> Result<(), String> {
        let (key, attempt, outcome, begun, worker_key) = match *effect {
            Effect::Tell(Notice::Settled { key, attempt, outcome, begun, worker_key, .. }) => {
                (key, attempt, outcome, begun, worker_key)
            }
            Effect::Tell(Notice::Retried { key, attempt, outcome, begun, worker_key, .. }) => {
                (key, attempt, outcome, begun, Some(worker_key))
            }
            Effect::Tell(Notice::Idle) => {
                let runs = self.actors.iter().find(|(_, actor)| actor.runs().is_some() && !actor.lied);
                return runs
                    .map_or(Ok(()), |(worker_key, _)| Err(format!("idle, while a handler runs in {worker_key:?}")));
            }
            _ => return Ok(()),
        };
        let job = key.id;
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

    fn set(&mut self, worker_key: WorkerKey, phase: Phase) {
        if let Some(actor) = self.actors.get_mut(&worker_key) {
            actor.phase = phase;
            actor.epoch += 1;
        }
    }

    /// The skips that have arrived are read.
    fn skip(&mut self, worker_key: WorkerKey) {
        let Some(actor) = self.actors.get_mut(&worker_key) else { return };
        let answers = match actor.phase {
            Phase::Hung | Phase::Running { .. } | Phase::Recovering => actor.guarded && actor.recalls,
            Phase::Booting | Phase::Idle => true,
        };
        if actor.alive && !actor.stopped && answers {
            for job in actor.read_skips() {
                self.says(worker_key, Message::Skipped { job });
            }
        }
    }

    /// The worker looks for what to do next.
    fn go_on(&mut self, worker_key: WorkerKey) {
        self.skip(worker_key);
        let Some(actor) = self.actors.get_mut(&worker_key) else { return };
        if actor.retired {
            let held: Vec<u64> = actor.inbox_jobs();
            actor.inbox.retain(|message| *message == ToActor::Leave);
            for job in held {
                self.says(worker_key, Message::Skipped { job });
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
            Some(ToActor::Init | ToActor::Skip(_)) | None => {}
        }
    }

    /// A handler begins: the moment at which a job must be nowhere else.
    fn begin(&mut self, worker_key: WorkerKey, job: u64, attempt: u32) {
        let fate = Actor::draw_fate(&mut self.rng, &self.rates);
        let handled = fate != Fate::Answer(Outcome::Undecodable);
        if let Some((before, _)) = self.begun.insert((job, attempt), (worker_key, handled)) {
            self.found
                .get_or_insert(format!("attempt {attempt} at job {job} is begun by {before:?} and {worker_key:?}"));
        }
        let elsewhere = self.actors.iter().find(|(_, other)| other.runs() == Some(job));
        if let Some((other, _)) = elsewhere {
            self.found.get_or_insert(format!("job {job} runs on {other:?} and {worker_key:?}"));
        }
        let Some(actor) = self.actors.get_mut(&worker_key) else { return };
        actor.begun += 1;
        actor.unanswered = Some(job);
        if actor.begun > self.max_jobs {
            self.found.get_or_insert(format!("{worker_key:?} begins its job number {}", actor.begun));
        }
        self.set(worker_key, Phase::Running { job, attempt, fate });
        if self.rng.chance(30) {
            self.says(worker_key, Message::Start { job });
        }
        if fate == Fate::Retire && self.rng.chance(50) {
            self.retire(worker_key);
        }
        if self.rng.chance(20) {
            for _ in 0..1 + self.rng.below(3) {
                self.says(worker_key, Message::Progress { job });
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
    fn act(&mut self, worker_key: WorkerKey) {
        match self.actors[&worker_key].phase {
            Phase::Booting => self.start(worker_key),
            Phase::Running { job, attempt, fate } => self.finish(worker_key, job, attempt, fate),
            Phase::Recovering => self.recovered(worker_key),
            Phase::Idle if self.actors[&worker_key].start == Start::DiesIdle => self.die(worker_key, false),
            Phase::Idle | Phase::Hung => {}
        }
    }

    fn start(&mut self, worker_key: WorkerKey) {
        let recalls = self.actors[&worker_key].recalls;
        self.say(worker_key, FromActor::Greeted { recalls });
        match self.actors[&worker_key].start {
            Start::Dies => self.die(worker_key, false),
            Start::Hangs => self.set(worker_key, Phase::Hung),
            Start::Refuses => {
                self.says(worker_key, Message::Terminal { job: None });
                self.soon(Due::Dies(worker_key, false));
            }
            Start::SpeaksTooSoon => {
                self.says(worker_key, Message::Progress { job: 1 });
                self.set(worker_key, Phase::Hung);
            }
            Start::ClosesPipe => {
                self.say(worker_key, FromActor::OutputEnd);
                self.set(worker_key, Phase::Hung);
            }
            start @ (Start::Fine | Start::DiesIdle | Start::Retires) => {
                if start == Start::Retires {
                    self.retire(worker_key);
                }
                self.says(worker_key, Message::Ready);
                self.set(worker_key, Phase::Idle);
                if start == Start::DiesIdle {
                    let epoch = self.actors[&worker_key].epoch;
                    self.soon(Due::Act(worker_key, epoch));
                }
                self.go_on(worker_key);
            }
        }
    }

    fn retire(&mut self, worker_key: WorkerKey) {
        if let Some(job) = self.actors.get(&worker_key).and_then(Actor::runs) {
            self.says(worker_key, Message::Start { job });
        }
        self.says(worker_key, Message::Retire);
        let Some(actor) = self.actors.get_mut(&worker_key) else { return };
        actor.retired = true;
        let held = actor.inbox_jobs();
        actor.inbox.retain(|message| !matches!(message, ToActor::Job { .. }));
        for job in held {
            self.says(worker_key, Message::Skipped { job });
        }
    }

    fn finish(&mut self, worker_key: WorkerKey, job: u64, attempt: u32, fate: Fate) {
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
                self.says(worker_key, Message::Terminal { job: Some(job) });
                self.set(worker_key, Phase::Hung);
                self.soon(Due::Dies(worker_key, false));
            }
            Fate::PanicUnnamed => {
                self.says(worker_key, Message::Terminal { job: None });
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
                self.says(worker_key, Message::Answer { job, outcome: success, ready: false });
                self.answer(worker_key, job, Outcome::Failed);
            }
            Fate::WrongJob => {
                let other = self.rng.below(self.next_job + 1);
                self.answer(worker_key, if other == job { u64::MAX } else { other }, success);
            }
            Fate::ReadyWhileWorking => {
                self.says(worker_key, Message::Ready);
                self.answer(worker_key, job, success);
            }
            Fate::Garble => {
                self.say(worker_key, FromActor::Malformed);
                self.set(worker_key, Phase::Hung);
            }
            Fate::CloseInput => {
                if let Some(actor) = self.actors.get_mut(&worker_key) {
                    actor.input_closed = true;
                }
                self.soon(Due::InputBreaks(worker_key));
                self.set(worker_key, Phase::Running { job, attempt, fate: Fate::Answer(success) });
                let epoch = self.actors[&worker_key].epoch;
                let late = delay(&mut self.rng, &self.limits);
                self.plan(crate::supervisor::DEATH_WAIT + late, Due::Act(worker_key, epoch));
            }
            Fate::ClosePipe => {
                self.say(worker_key, FromActor::OutputEnd);
                self.set(worker_key, Phase::Hung);
                if self.rng.chance(50) {
                    self.soon(Due::InputBreaks(worker_key));
                }
            }
        }
    }

    fn answer(&mut self, worker_key: WorkerKey, job: u64, outcome: Outcome) {
        let ready = self.actors[&worker_key].in_one_frame;
        self.says(worker_key, Message::Answer { job, outcome, ready });
        if ready {
            self.set(worker_key, Phase::Idle);
            self.go_on(worker_key);
        } else {
            self.set(worker_key, Phase::Recovering);
            let epoch = self.actors[&worker_key].epoch;
            self.soon(Due::Act(worker_key, epoch));
        }
    }

    fn recovered(&mut self, worker_key: WorkerKey) {
        if self.rng.chance(self.rates.recover) {
            match self.rng.below(3) {
                0 => self.set(worker_key, Phase::Hung),
                1 => self.die(worker_key, false),
                _ => {
                    self.says(worker_key, Message::Terminal { job: None });
                    self.set(worker_key, Phase::Hung);
                    self.soon(Due::Dies(worker_key, false));
                }
            }
        } else {
            self.says(worker_key, Message::Ready);
            self.set(worker_key, Phase::Idle);
            self.go_on(worker_key);
        }
    }
}

fn is_unreadable(unreadable: Option<u64>, job: u64) -> bool {
    unreadable.is_some_and(|of| job.is_multiple_of(of))
}
