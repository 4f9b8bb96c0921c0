//! Moves time and messages between the machine, its workers and its callers.

mod workers;

use super::actor::{Actor, FromActor, Phase, Rates, ToActor, delay};
use super::checker::Checker;
use super::saboteur::{Sabotage, Saboteur};
use super::{Rng, Tally};
use crate::supervisor::worker::Worker;
use crate::supervisor::{
    Action, Config, Effect, Input, JobErrorKind, JobKey, JobSettings, MaxMemory, Notice, RetryPolicy, SHORT, Signal,
    Submitted, Supervisor, Undelivered, Violation, WhenFull, WorkerKey,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// Something that is due at some time.
#[derive(Clone, Copy, Debug)]
enum Due {
    /// A caller calls.
    Call,
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
    /// It is seen that the process has ended, before or after that is told by who knows how.
    Ended(WorkerKey),
    Reap(WorkerKey),
    /// The pool's reader waits no longer for the end of a pipe that somebody else holds.
    GivesUp(WorkerKey),
    StderrCloses(WorkerKey),
    StdinBreaks(WorkerKey),
    /// What a dead worker has left behind writes to the worker's output.
    GrandchildWrites(WorkerKey),
    /// The fork server of all workers dies.
    ForkServerDies,
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
    /// Whether all is quick and many jobs come at once, so that many are prefetched.
    brisk: bool,
    next_job: u64,
    abort_calls: u64,
    limits: Vec<Duration>,
    max_jobs: u64,
    /// Whether every hang ends by a limit.
    all_limited: bool,
    exiting: bool,
    /// Whether callers pause the pool, change its size, or have all workers replaced.
    steers: bool,
    /// Whether a job may have no limit though the pool has.
    endless: bool,
    /// How many jobs of each key may run at once, and whether requests name other numbers too.
    keys: Vec<u32>,
    keys_vary: bool,
    /// The keys of the jobs that have one.
    keyed: BTreeMap<u64, u32>,
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
        let mut config = Config {
            max_processes,
            min_processes: rng.below(max_processes as u64 + 1) as usize,
            max_jobs_per_process: rng.pick(&[Some(1), Some(2), Some(3), Some(5), Some(64), None]),
            idle_timeout: rng.pick(&[None, None, None, Some(4 * MILLI), Some(50 * MILLI)]),
            max_age: rng.pick(&[None, None, None, Some(10 * MILLI), Some(100 * MILLI)]),
            max_backlog: rng.pick(&[None, None, Some(1), Some(2), Some(5)]),
            retry: policy(&mut rng, &[0, 0, 1, 2, 5]),
            expires: rng.chance(15).then(|| rng.pick(&[5 * MILLI, 30 * MILLI])),
            seed,
            timeout_initializing: limit(&mut rng),
            timeout_working: limit(&mut rng),
            timeout_recovering: limit(&mut rng),
            soft_timeout: None,
            kill_grace: rng.pick(&[Duration::ZERO, 5 * MILLI, 30 * MILLI]),
            start_failures: rng.pick(&[1, 2, 3, 5]),
            prefetch: rng.pick(&[0, 1, 2, 4, 16]),
            cores: rng.pick(&[1, 2, 4]),
            max_memory: MaxMemory {
                soft: rng.pick(&[None, None, Some(SOFT)]),
                hard: rng.pick(&[None, None, Some(HARD)]),
            },
            sites: Vec::new(),
        };
        let of = [config.timeout_initializing, config.timeout_working, config.timeout_recovering];
        let all_limited = of.iter().all(Option::is_some);
        let mut limits: Vec<Duration> = of.into_iter().flatten().collect();
        limits.extend([config.kill_grace, SHORT, crate::supervisor::DEATH_WAIT, crate::supervisor::EXIT_WAIT]);
        limits.extend(config.idle_timeout.into_iter().chain(config.max_age));
        if config.max_memory.hard.is_some() {
            limits.push(crate::supervisor::MEASURE_EVERY);
        }
        let hard = config.timeout_working.unwrap_or(Duration::MAX);
        config.soft_timeout = rng.pick(&[None, None, Some(2 * MILLI), Some(10 * MILLI)]).filter(|&soft| soft < hard);
        if trace {
            println!("{config:#?}\n{rates:?}");
        }
        let (tells_undelivered, endless) = (rng.chance(70), rng.chance(10));
        let brisk = rng.chance(30);
        let unreadable = rng.chance(10).then_some(7);
        // As where the program was stopped, or has much to do.
        let lateness = rng.pick(&[Duration::ZERO, Duration::ZERO, Duration::ZERO, 2 * MILLI, 60 * MILLI]);
        let (calls, burst) = (1 + rng.below(60), if brisk { 40 } else { rng.pick(&[1, 4, 4, 40]) });
        let steers = rng.chance(30);
        let keys =
            if rng.chance(40) { (0..1 + rng.below(3)).map(|_| rng.pick(&[1, 1, 2, 3])).collect() } else { vec![] };
        let keys_vary = rng.chance(20);
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
            abort_calls: 0,
            limits,
            all_limited,
            exiting: false,
            steers,
            endless,
            keys,
            keys_vary,
            keyed: BTreeMap::new(),
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
        let Checker { retried, killed, prefetched, came_back, .. } = self.checker;
        Ok(Tally { steps, jobs: self.checker.job_count(), retried, killed, prefetched, came_back })
    }

    /// Whoever hangs for ever does so by leave; no slot is lost, and nobody waits behind those where another could do it.
    fn nothing_is_lost(&mut self) -> Result<(), String> {
        if self.due.values().any(|due| !matches!(due, Due::Call)) || self.now < self.called + PATIENCE {
            return Ok(());
        }
        let lost = self.actors.iter().find(|(worker_key, actor)| {
            let hangs =
                actor.phase == Phase::Hung && actor.unanswered.is_none_or(|job| self.checker.is_at(job, **worker_key));
            // One that is known to end is waited for: the checker looks at how long.
            let waits = |worker: &Worker| worker.is_free() || worker.is_ending();
            actor.alive && !hangs && self.machine.worker(**worker_key).is_some_and(|worker| !waits(worker))
        });
        match lost {
            Some((worker_key, actor)) => {
                Err(format!("{worker_key:?} is lost: {actor:?} {:?}", self.machine.worker(*worker_key)))
            }
            None if self.machine.has_free_worker() => self.checker.none_is_prefetched(),
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
            Due::Call => self.call(),
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
                    if self.rng.chance(self.rates.orphans) {
                        let after = Duration::from_micros(self.rng.below(15_000));
                        self.plan(after, Due::ForkServerDies);
                    }
                    self.send(worker_key, ToActor::Init);
                    self.input(Input::Spawned(worker_key));
                }
            }
            Due::ForkServerDies => {
                // Those that are dead, and not known to be, are told of as well.
                let workers: Vec<WorkerKey> = self.actors.keys().copied().collect();
                for worker_key in workers {
                    self.input(Input::Orphaned(worker_key));
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
            Due::Ended(worker_key) => self.input(Input::Ended(worker_key)),
            Due::Reap(worker_key) => {
                if let Some(actor) = self.actors.get_mut(&worker_key) {
                    actor.reaped = true;
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
            Due::GivesUp(worker_key) => self.report(worker_key, FromActor::StdoutClosed),
            Due::StderrCloses(worker_key) => self.input(Input::StderrClosed(worker_key)),
            Due::StdinBreaks(worker_key) => self.input(Input::StdinBroken(worker_key)),
            Due::GrandchildWrites(worker_key) => {
                if let Some(actor) = self.actors.get_mut(&worker_key) {
                    // What it says is taken for the worker's own.
                    actor.lied |= !actor.pipe_closed;
                }
                self.report(worker_key, FromActor::Malformed);
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
        match self.rng.below(if self.steers { 29 } else { 22 }) {
            0..=12 => {
                for _ in 0..1 + self.rng.below(self.burst) {
                    self.enqueue();
                }
            }
            13..=14 => {
                let open: Vec<_> = self.checker.unsettled().collect();
                if !open.is_empty() {
                    let key = self.rng.pick(&open);
                    self.input(Input::Abort(key));
                }
            }
            15..=16 => {
                let open: Vec<_> = self.checker.unsettled().collect();
                if !open.is_empty() {
                    let key = self.rng.pick(&open);
                    let grace = self.rng.pick(&[Duration::ZERO, 3 * MILLI, 20 * MILLI, 100 * MILLI, Duration::MAX]);
                    self.input(Input::Cancel { key, grace });
                }
            }
            17 => self.input(Input::SpawnWorkers),
            18 if self.rng.chance(20) => self.input(Input::Close),
            19 if self.rng.chance(10) => self.exit(),
            20 | 21 => {
                let open: Vec<_> = self.checker.unsettled().collect();
                let only = (!open.is_empty() && self.rng.chance(80)).then(|| self.rng.pick(&open));
                self.abort_calls += 1;
                self.input(Input::AbortQueued { call: self.abort_calls, only });
            }
            22 | 23 => self.input(Input::Pause),
            24 => self.input(Input::Resume),
            25..=27 => {
                let most = 1 + self.rng.below(4) as usize;
                self.input(Input::SetMaxProcesses(most));
            }
            28 => self.input(Input::Recycle),
            _ => {}
        }
        if self.calls == 0 && self.machine.is_paused() {
            // The last call of all: nobody waits for ever.
            self.input(Input::Resume);
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
        let retry = self.rng.chance(10).then(|| policy(&mut self.rng, &[0, 1, 2]));
        if let Some(policy) = retry {
            settings.set_retry(policy);
        }
        let last = if self.endless { None } else { Some(25 * MILLI) };
        let own = self.rng.pick(&[Some(Duration::ZERO), Some(7 * MILLI), Some(7 * MILLI), Some(25 * MILLI), last]);
        let limit = self.rng.chance(10).then_some(own);
        self.all_limited &= limit != Some(None);
        if let Some(limit) = limit {
            settings.set_timeout(limit);
        }
        let delay = if self.rng.chance(8) { self.rng.pick(&[1, 5, 30]) * MILLI } else { Duration::ZERO };
        if !delay.is_zero() {
            settings.set_delay(delay);
        }
        let expires = self.rng.chance(10).then(|| self.rng.pick(&[Some(Duration::ZERO), Some(3 * MILLI), None]));
        if let Some(after) = expires {
            settings.set_expires(after);
        }
        if !self.keys.is_empty() && self.rng.chance(70) {
            let key = self.rng.below(self.keys.len() as u64) as u32;
            let permits = if self.keys_vary { self.rng.pick(&[1, 2, 3]) } else { self.keys[key as usize] };
            settings.set_numbered_limit(key, permits);
            self.keyed.insert(id, key);
        }
        let when_full = self.rng.pick(&[WhenFull::Wait, WhenFull::Wait, WhenFull::Refuse, WhenFull::Exceed]);
        self.checker.new_job(id, priority, retry, limit);
        if self.rng.chance(10) {
            let soft = self.rng.pick(&[None, Some(Duration::ZERO), Some(4 * MILLI), Some(30 * MILLI)]);
            settings.set_soft_timeout(soft);
            self.checker.new_soft_limit(id, soft);
        }
        self.checker.timed(id, delay, expires);
        if self.rng.chance(15) {
            settings.set_idempotent(true);
            self.checker.idempotent(id);
        }
        let kib = self.rng.pick(&[0, 0, 0, 0, 300, 700, 2000]);
        self.checker.new_size(id, kib);
        self.input(Input::Enqueue { job: Submitted { id, kib, settings }, when_full });
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
            if let (
                Effect::Do(Action::Signal(worker_key, _)),
                Input::Abort(JobKey { id, .. }) | Input::Cancel { key: JobKey { id, .. }, .. },
            ) = (&effect, &input)
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
            Effect::Do(Action::SendJob { worker_key, key, attempt, .. }) => {
                self.send(worker_key, ToActor::Job { job: key.id, attempt });
            }
            Effect::Do(Action::SendSkip { worker_key, id }) => self.send(worker_key, ToActor::Skip(id)),
            Effect::Do(Action::SendCancel { worker_key, id, .. }) => self.send(worker_key, ToActor::Cancel(id)),
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
            Effect::Do(Action::GiveUpStatus(worker_key)) => {
                if let Some(actor) = self.actors.get_mut(&worker_key).filter(|actor| !actor.alive)
                    && std::mem::take(&mut actor.unreported)
                {
                    self.soon(Due::Reap(worker_key));
                }
            }
            Effect::Announce(Notice::Violated(worker_key, Violation::RecallUnanswered))
                if self.actors.get(&worker_key).is_some_and(|actor| !actor.guarded) => {}
            Effect::Announce(Notice::Violated(worker_key, violation))
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
            let due = if actor.alive { Due::Arrive(worker_key) } else { Due::StdinBreaks(worker_key) };
            self.soon(due);
        }
    }
}

/// How often, after what and when is tried again: in most cases at once, whatever has failed.
fn policy(rng: &mut Rng, retries: &[u32]) -> RetryPolicy {
    let mut policy = RetryPolicy::new(rng.pick(retries));
    if rng.chance(30) {
        let (first, most) = (rng.pick(&[1, 3, 20, 100]), rng.pick(&[1, 7, 20, 300]));
        policy = policy.backoff(first * MILLI, most * MILLI).jitter(rng.pick(&[0.0, 0.1, 1.0]));
    }
    if rng.chance(20) {
        let kinds = [JobErrorKind::Failed, JobErrorKind::Panicked, JobErrorKind::Crashed, JobErrorKind::TimedOut];
        let first = rng.below(kinds.len() as u64) as usize;
        policy = policy.on(&kinds[first..]);
    }
    policy
}

fn is_unreadable(unreadable: Option<u64>, job: u64) -> bool {
    unreadable.is_some_and(|of| job.is_multiple_of(of))
}
