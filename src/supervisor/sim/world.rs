//! Moves time and messages between the machine, its workers and its callers.

use super::actor::{Actor, Fate, FromActor, Phase, Rates, Start, ToActor, delay};
use super::checker::Checker;
use super::saboteur::{Sabotage, Saboteur};
use super::{Rng, Tally};
use crate::supervisor::worker::Worker;
use crate::supervisor::{
    Begun, Config, Effect, Input, JobSettings, MaxMemory, Outcome, SHORT, Said, Seat, Signal, Supervisor, Undelivered,
    Violation, WorkerState,
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
    /// SIGSTOP takes effect, if it is still to.
    Stops(Seat),
    /// The process ends; `true` where the pool has killed it.
    Dies(Seat, bool),
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
    saboteur: Saboteur,
    checker: Checker,
    actors: BTreeMap<Seat, Actor>,
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
    /// Whether the memory of workers is looked at, and whose is to be.
    measures: bool,
    measured: Vec<Seat>,
    /// Which worker began which attempt at which job, and whether the job got as far as the handler.
    begun: BTreeMap<(u64, u32), (Seat, bool)>,
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
        let (tells_undelivered, endless) = (rng.chance(70), rng.chance(10));
        let brisk = rng.chance(30);
        let unreadable = rng.chance(10).then_some(7);
        let (calls, burst) = (1 + rng.below(60), if brisk { 40 } else { rng.pick(&[1, 4, 4, 40]) });
        let saboteur = Saboteur::new(sabotage);
        World {
            checker: Checker::new(&config),
            max_jobs: config.max_jobs_per_process.unwrap_or(u64::MAX),
            measures: config.max_memory.is_limited(),
            machine: saboteur.machine(config),
            saboteur,
            rng,
            rates,
            now: Duration::ZERO,
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
        self.plan(Duration::ZERO, Due::Call);
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
        let Checker { retried, killed, ahead, came_back, .. } = self.checker;
        Ok(Tally { steps, jobs: self.checker.job_count(), retried, killed, ahead, came_back })
    }

    /// Whoever hangs for ever does so by leave; no slot is lost, and nobody waits behind those where another could do it.
    fn nothing_is_lost(&mut self) -> Result<(), String> {
        if self.due.values().any(|due| !matches!(due, Due::Call)) || self.now < self.called + PATIENCE {
            return Ok(());
        }
        let lost = self.actors.iter().find(|(seat, actor)| {
            let hangs =
                actor.phase == Phase::Hung && actor.unanswered.is_none_or(|job| self.checker.is_at(job, **seat));
            let waits = |worker: &Worker| worker.is_free() || worker.state() == WorkerState::Exiting;
            actor.alive && !hangs && self.machine.worker(**seat).is_some_and(|worker| !waits(worker))
        });
        match lost {
            Some((seat, actor)) => Err(format!("{seat:?} is lost: {actor:?} {:?}", self.machine.worker(*seat))),
            None if self.machine.has_free_worker() => self.checker.none_is_ahead(),
            None => Ok(()),
        }
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
                    if self.rng.chance(self.rates.dies) {
                        let after = Duration::from_micros(self.rng.below(15_000));
                        self.plan(after, Due::Dies(seat, false));
                    }
                    self.send(seat, ToActor::Init);
                    self.input(Input::Spawned(seat));
                }
            }
            Due::Arrive(seat) => self.arrive(seat),
            Due::Deliver(seat) => self.deliver(seat),
            Due::Act(seat, epoch) => {
                let Some(actor) = self.actors.get_mut(&seat).filter(|of| of.alive && of.epoch == epoch) else { return };
                if actor.stopped {
                    actor.deferred = true;
                } else {
                    self.act(seat);
                }
            }
            Due::Guard(seat) => self.skip(seat),
            Due::Signalled(seat, signal) => {
                let Some(actor) = self.actors.get_mut(&seat) else { return };
                if actor.alive && (signal == Signal::Kill || !actor.ignores_term) {
                    if actor.stopped && signal == Signal::Terminate {
                        actor.to_die = true;
                    } else {
                        self.soon(Due::Dies(seat, true));
                    }
                }
            }
            Due::Stops(seat) => {
                let Some(actor) = self.actors.get_mut(&seat) else { return };
                if actor.to_stop && actor.alive {
                    (actor.to_stop, actor.stopped) = (false, true);
                    actor.going.push_back(FromActor::Stopped);
                    self.soon(Due::Deliver(seat));
                }
            }
            Due::Dies(seat, killed) => self.die(seat, killed),
            Due::Reap(seat) => {
                if let Some(actor) = self.actors.get_mut(&seat) {
                    actor.reaped = true;
                    if actor.holds_pipes {
                        let late = delay(&mut self.rng, &self.limits);
                        self.plan(crate::supervisor::DEATH_WAIT + late, Due::GivesUp(seat));
                    }
                }
                let undelivered = self.actors.get(&seat).and_then(|actor| actor.undelivered);
                // Not every system tells.
                let undelivered = undelivered.filter(|_| self.tells_undelivered);
                let undelivered = undelivered.map(|job| Undelivered {
                    job,
                    in_part: is_unreadable(self.unreadable, job) || self.rng.chance(30),
                });
                self.input(Input::Exited { seat, undelivered });
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
        let last = if self.endless { None } else { Some(25 * MILLI) };
        let own = self.rng.pick(&[Some(Duration::ZERO), Some(7 * MILLI), Some(7 * MILLI), Some(25 * MILLI), last]);
        let limit = self.rng.chance(10).then_some(own);
        self.all_limited &= limit != Some(None);
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
        let honest = |seat: &Seat| self.actors.get(seat).is_some_and(|actor| !actor.lied);
        let awaited = matches!(&input, Input::Said(seat, _) if honest(seat)) && self.checker.is_awaited(&input);
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
            if let (Effect::Signal(seat, _), Input::Abort { id, .. }) = (&effect, &input)
                && self.actors.get(seat).is_some_and(|actor| actor.has_skipped(*id))
            {
                self.found.get_or_insert(format!("{seat:?} is killed for job {id}, which it has skipped"));
            }
            if let Err(found) = self.is_true(&effect) {
                self.found.get_or_insert(format!("{found} ({effect:?} at {input:?})"));
            }
            self.carry_out(effect);
        }
        if awaited && let Err(found) = self.checker.answer_counts(&input) {
            self.found.get_or_insert(found);
        }
        if let Err(found) = self.checker.is_complete(&input) {
            self.found.get_or_insert(found);
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
            Effect::Hear(seat) => {
                if let Some(actor) = self.actors.get_mut(&seat) {
                    actor.ask_to_hear();
                    self.soon(Due::Deliver(seat));
                }
            }
            Effect::Signal(seat, Signal::Stop) => {
                if let Some(actor) = self.actors.get_mut(&seat) {
                    actor.ask_no_more();
                    actor.to_stop = true;
                    // Now and then it does not stop for long, as one that waits for a disk.
                    let after = if self.rng.chance(2) { 3 * MILLI * 1000 } else { Duration::ZERO };
                    let late = delay(&mut self.rng, &self.limits);
                    self.plan(after + late, Due::Stops(seat));
                }
            }
            Effect::Signal(seat, Signal::Continue) => self.go_on_after_stop(seat),
            Effect::Signal(seat, signal) => self.plan(Duration::ZERO, Due::Signalled(seat, signal)),
            Effect::Settled { key, .. } => drop(self.machine.take(key)),
            Effect::Violated(seat, Violation::RecallUnanswered)
                if self.actors.get(&seat).is_some_and(|actor| !actor.guarded) => {}
            Effect::Violated(seat, violation) if self.actors.get(&seat).is_some_and(|actor| !actor.lied) => {
                self.found.get_or_insert(format!("{seat:?} did nothing wrong: {violation}"));
            }
            _ => {}
        }
    }

    fn send(&mut self, seat: Seat, message: ToActor) {
        if let Some(actor) = self.actors.get_mut(&seat) {
            actor.send(message);
            let due = if actor.alive { Due::Arrive(seat) } else { Due::InputBreaks(seat) };
            self.soon(due);
        }
    }

    // ------------------------------------------------------------ the workers

    fn arrive(&mut self, seat: Seat) {
        let Some(actor) = self.actors.get_mut(&seat).filter(|actor| actor.alive) else { return };
        if actor.stopped {
            // It reads it once it goes on.
            self.plan(MILLI, Due::Arrive(seat));
            return;
        }
        if let Some(&ToActor::Job { job, .. }) = actor.coming.front()
            && is_unreadable(self.unreadable, job)
        {
            return self.die(seat, false);
        }
        let Some(message) = actor.coming.pop_front() else { return };
        actor.inbox.push_back(message);
        match actor.phase {
            Phase::Booting if message == ToActor::Init => {
                actor.inbox.clear();
                let epoch = actor.epoch;
                self.soon(Due::Act(seat, epoch));
            }
            Phase::Idle => self.go_on(seat),
            Phase::Running { .. } | Phase::Recovering | Phase::Hung if matches!(message, ToActor::Skip(_)) => {
                self.soon(Due::Guard(seat));
            }
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
        if let Some(actor) = self.actors.get_mut(&seat) {
            match said {
                Said::Ready => actor.is_ready = true,
                Said::Answer { job, ready, .. } => {
                    if actor.unanswered == Some(job) && !actor.lied {
                        self.checker.written(self.now, job, seat);
                    }
                    (actor.unanswered, actor.is_ready) = (None, ready);
                }
                Said::Terminal { .. } => (actor.is_ready, actor.terminal) = (false, true),
                _ => {}
            }
        }
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
            FromActor::Greeted { recalls } => Input::Greeted { seat, recalls },
            FromActor::Said(said) => Input::Said(seat, said),
            FromActor::Garbled => Input::Garbled(seat),
            FromActor::OutputEnd => Input::OutputEnded(seat),
            FromActor::Heard => Input::Heard(seat),
            FromActor::Stopped => Input::Stopped(seat),
        });
    }

    fn die(&mut self, seat: Seat, killed: bool) {
        let Some(actor) = self.actors.get_mut(&seat).filter(|actor| actor.alive) else { return };
        actor.die();
        let bystander =
            actor.unanswered.filter(|_| killed && !(actor.lied || actor.output_closed || actor.input_closed));
        if let Some(job) = bystander.filter(|&job| self.checker.is_at(job, seat)) {
            self.found.get_or_insert(format!("job {job} is killed with {seat:?} for the sake of another"));
        }
        let Some(actor) = self.actors.get_mut(&seat) else { return };
        if actor.holds_pipes {
            // A grandchild has them, and holds them for ever.
            self.soon(Due::Reap(seat));
            return;
        }
        self.say(seat, FromActor::OutputEnd);
        self.soon(Due::ErrorsEnd(seat));
        self.soon(Due::Reap(seat));
    }

    /// SIGCONT: what it would have done meanwhile it does now.
    fn go_on_after_stop(&mut self, seat: Seat) {
        let Some(actor) = self.actors.get_mut(&seat) else { return };
        actor.ask_no_more();
        (actor.to_stop, actor.stopped) = (false, false);
        let epoch = actor.epoch;
        if mem::take(&mut actor.to_die) {
            self.soon(Due::Dies(seat, true));
        } else if mem::take(&mut actor.deferred) {
            self.soon(Due::Act(seat, epoch));
        }
        self.soon(Due::Guard(seat));
    }

    /// What is said of a job agrees with what its handler did.
    fn is_true(&self, effect: &Effect<u64>) -> Result<(), String> {
        let (key, attempt, outcome, begun, seat) = match *effect {
            Effect::Settled { key, attempt, outcome, begun, seat, .. } => (key, attempt, outcome, begun, seat),
            Effect::Retried { key, attempt, outcome, begun, seat, .. } => (key, attempt, outcome, begun, Some(seat)),
            Effect::Idle => {
                let runs = self.actors.iter().find(|(_, actor)| actor.runs().is_some() && !actor.lied);
                return runs.map_or(Ok(()), |(seat, _)| Err(format!("idle, while a handler runs in {seat:?}")));
            }
            _ => return Ok(()),
        };
        let Some((&job, _)) = self.machine.job(key) else { return Ok(()) };
        let mut known = self.begun.range((job, 0)..=(job, u32::MAX)).map(|(_, (_, handled))| *handled);
        match begun {
            Begun::No if known.any(|handled| handled) => return Err(format!("job {job} had begun")),
            Begun::Yes if known.next().is_none() => return Err(format!("job {job} had not begun")),
            _ => {}
        }
        let Some(actor) = seat.and_then(|seat| self.actors.get(&seat)) else { return Ok(()) };
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

    fn set(&mut self, seat: Seat, phase: Phase) {
        if let Some(actor) = self.actors.get_mut(&seat) {
            actor.phase = phase;
            actor.epoch += 1;
        }
    }

    /// The skips that have arrived are read.
    fn skip(&mut self, seat: Seat) {
        let Some(actor) = self.actors.get_mut(&seat) else { return };
        let answers = match actor.phase {
            Phase::Hung | Phase::Running { .. } | Phase::Recovering => actor.guarded && actor.recalls,
            Phase::Booting | Phase::Idle => true,
        };
        if actor.alive && !actor.stopped && answers {
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
            let held: Vec<u64> = actor.inbox_jobs();
            actor.inbox.retain(|message| *message == ToActor::Leave);
            for job in held {
                self.says(seat, Said::Skipped { job });
            }
        }
        let Some(actor) = self.actors.get_mut(&seat) else { return };
        match actor.inbox.pop_front() {
            Some(ToActor::Job { job, attempt }) => self.begin(seat, job, attempt),
            Some(ToActor::Leave) => {
                if self.rng.chance(self.rates.leaves_late) {
                    self.set(seat, Phase::Hung);
                } else {
                    self.soon(Due::Dies(seat, false));
                }
            }
            Some(ToActor::Init | ToActor::Skip(_)) | None => {}
        }
    }

    /// A handler begins: the moment at which a job must be nowhere else.
    fn begin(&mut self, seat: Seat, job: u64, attempt: u32) {
        let fate = Actor::draw_fate(&mut self.rng, &self.rates);
        let handled = fate != Fate::Answer(Outcome::Undecodable);
        if let Some((before, _)) = self.begun.insert((job, attempt), (seat, handled)) {
            self.found.get_or_insert(format!("attempt {attempt} at job {job} is begun by {before:?} and {seat:?}"));
        }
        let elsewhere = self.actors.iter().find(|(_, other)| other.runs() == Some(job));
        if let Some((other, _)) = elsewhere {
            self.found.get_or_insert(format!("job {job} runs on {other:?} and {seat:?}"));
        }
        let Some(actor) = self.actors.get_mut(&seat) else { return };
        actor.begun += 1;
        actor.unanswered = Some(job);
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
            // Some end about when a worker that is over its limit has not answered the recall, and is stopped; some have
            // kept a recall waiting for long.
            let long = self.rng.pick(&[2, 5, 10, 13, 17, 19, 20, 21, 30, 35, 1500]) * MILLI;
            let late = Duration::from_micros(self.rng.pick(&[0, 20, 100, 1000]));
            self.plan(long + late, Due::Act(seat, epoch));
        } else {
            self.soon(Due::Act(seat, epoch));
        }
    }

    /// What the worker had planned comes about.
    fn act(&mut self, seat: Seat) {
        match self.actors[&seat].phase {
            Phase::Booting => self.start(seat),
            Phase::Running { job, attempt, fate } => self.finish(seat, job, attempt, fate),
            Phase::Recovering => self.recovered(seat),
            Phase::Idle if self.actors[&seat].start == Start::DiesIdle => self.die(seat, false),
            Phase::Idle | Phase::Hung => {}
        }
    }

    fn start(&mut self, seat: Seat) {
        let recalls = self.actors[&seat].recalls;
        self.say(seat, FromActor::Greeted { recalls });
        match self.actors[&seat].start {
            Start::Dies => self.die(seat, false),
            Start::Hangs => self.set(seat, Phase::Hung),
            Start::Refuses => {
                self.says(seat, Said::Terminal { job: None });
                self.soon(Due::Dies(seat, false));
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
        if let Some(job) = self.actors.get(&seat).and_then(Actor::runs) {
            self.says(seat, Said::Start { job });
        }
        self.says(seat, Said::Retire);
        let Some(actor) = self.actors.get_mut(&seat) else { return };
        actor.retired = true;
        let held = actor.inbox_jobs();
        actor.inbox.retain(|message| !matches!(message, ToActor::Job { .. }));
        for job in held {
            self.says(seat, Said::Skipped { job });
        }
    }

    fn finish(&mut self, seat: Seat, job: u64, attempt: u32, fate: Fate) {
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
                self.soon(Due::Dies(seat, false));
            }
            Fate::PanicUnnamed => {
                self.says(seat, Said::Terminal { job: None });
                self.set(seat, Phase::Hung);
                self.soon(Due::Dies(seat, false));
            }
            Fate::Crash => self.die(seat, false),
            Fate::AnswerAndCrash => {
                self.answer(seat, job, success);
                self.die(seat, false);
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
            Fate::CloseInput => {
                if let Some(actor) = self.actors.get_mut(&seat) {
                    actor.input_closed = true;
                }
                self.soon(Due::InputBreaks(seat));
                self.set(seat, Phase::Running { job, attempt, fate: Fate::Answer(success) });
                let epoch = self.actors[&seat].epoch;
                let late = delay(&mut self.rng, &self.limits);
                self.plan(crate::supervisor::DEATH_WAIT + late, Due::Act(seat, epoch));
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
                1 => self.die(seat, false),
                _ => {
                    self.says(seat, Said::Terminal { job: None });
                    self.set(seat, Phase::Hung);
                    self.soon(Due::Dies(seat, false));
                }
            }
        } else {
            self.says(seat, Said::Ready);
            self.set(seat, Phase::Idle);
            self.go_on(seat);
        }
    }
}

fn is_unreadable(unreadable: Option<u64>, job: u64) -> bool {
    unreadable.is_some_and(|of| job.is_multiple_of(of))
}
