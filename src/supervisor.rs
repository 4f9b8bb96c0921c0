//! The state machine: what happened and the time in, what to do about it out.
//!
//! There is no clock, thread, process, pipe or channel in here, and no payload: the driver (or the simulator) carries
//! those. Every rule of the pool that can go wrong by interleaving is decided in this module and nowhere else.
//!
//! Read [`Input`] and [`Effect`](effect::Effect) first, then [`Supervisor::handle`] from top to bottom. A turn goes on in
//! the modules beside: `said` (what a worker says), `attempts` (what becomes of its job), `hand_out`, `spawning`, `ending`.

mod attempts;
mod backlog;
mod config;
mod effect;
mod ending;
mod hand_out;
mod input;
mod jobs;
mod planted;
mod said;
mod spawning;
mod starts;
mod worker;

#[cfg(test)]
pub(crate) mod sim;
/// As much of it as fuzzing takes.
#[cfg(all(fuzzing, not(test)))]
pub(crate) mod sim {
    #[allow(dead_code)]
    mod checker;
    pub(crate) mod fuzz;
}
#[cfg(test)]
mod transcripts;

pub(crate) use config::{Config, JobSettings, MaxMemory};
pub use effect::CrashCause;
pub(crate) use effect::{Effect, Outcome, Signal, Violation};
pub(crate) use input::{Input, Said};
pub(crate) use jobs::JobKey;
pub(crate) use worker::Seat;
pub use worker::WorkerState;

use backlog::Backlog;
use jobs::{Jobs, Place};
use planted::planted;
use starts::Starts;
use std::time::Duration;
use worker::{End, Worker};

/// A death is handled when the exit is known and both pipes are read to their end, or are read no longer: this long after
/// the first sign.
pub(crate) const DEATH_WAIT: Duration = Duration::from_millis(100);

/// How often the memory of a worker that has something to do is looked at, where it has a hard limit.
pub(crate) const MEASURE_EVERY: Duration = Duration::from_millis(100);

/// What counts as a short job: only behind such is another sent ahead.
pub(crate) const SHORT: Duration = Duration::from_millis(1);

/// Which new work the pool takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Open,
    /// No new jobs; those accepted are done.
    Draining,
    /// No jobs at all; the workers are on their way out.
    Exiting,
}

/// What has been counted since the pool was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Counters {
    pub(crate) enqueued: u64,
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    pub(crate) aborted: u64,
    pub(crate) retried: u64,
    pub(crate) timed_out: u64,
    pub(crate) spawned: u64,
    pub(crate) exited: u64,
    pub(crate) crashed: u64,
}

/// The pool's state. `T` is whatever the driver needs to find a job again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Supervisor<T> {
    config: Config,
    phase: Phase,
    jobs: Jobs<T>,
    backlog: Backlog,
    /// One place a worker; the dying ones keep theirs until they are reaped, so there are never too many.
    slots: Vec<Option<Worker>>,
    /// How many slots have one.
    occupied: usize,
    starts: Starts,
    /// The slots of the workers that can take a job; the one used last is used next.
    free: Vec<usize>,
    next_worker: u64,
    /// The lowest priority that any job had.
    lowest_priority: i32,
    counters: Counters,
    /// Workers that are Working or Recovering.
    busy: usize,
    /// Workers that hold a job.
    held: usize,
    /// Whether there was work since the last `Idle`.
    worked: bool,
    /// Whether `AllReady` is still to be said.
    awaiting_ready: bool,
}

impl<T> Supervisor<T> {
    pub(crate) fn new(config: Config) -> Self {
        let slots = (0..config.max_processes).map(|_| None).collect();
        Supervisor {
            starts: Starts::new(config.max_processes, config.start_failures),
            config,
            phase: Phase::Open,
            jobs: Jobs::new(),
            backlog: Backlog::default(),
            slots,
            occupied: 0,
            free: Vec::new(),
            next_worker: 1,
            lowest_priority: 0,
            counters: Counters::default(),
            busy: 0,
            held: 0,
            worked: false,
            awaiting_ready: false,
        }
    }

    // ------------------------------------------------------------ what can be asked

    /// Whether new jobs are taken.
    pub(crate) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Whether everything is over: no job, no worker, and none to come.
    pub(crate) fn is_finished(&self) -> bool {
        self.phase == Phase::Exiting && self.slots.iter().all(Option::is_none)
    }

    /// Whether there is no job and no worker is busy.
    pub(crate) fn is_idle(&self) -> bool {
        self.jobs.is_empty() && self.busy == 0
    }

    /// Whether no worker would start, and none has since.
    pub(crate) fn is_broken(&self) -> bool {
        self.starts.is_broken()
    }

    /// Whether a worker waits for a job.
    pub(crate) fn has_free_worker(&self) -> bool {
        !self.free.is_empty()
    }

    /// Jobs that no worker has begun: queued, sent ahead, or waiting to be retried.
    pub(crate) fn backlog_len(&self) -> usize {
        self.jobs.len() - self.held
    }

    pub(crate) fn unsettled(&self) -> usize {
        self.jobs.len()
    }

    pub(crate) fn busy(&self) -> usize {
        self.busy
    }

    pub(crate) fn counters(&self) -> Counters {
        self.counters
    }

    /// Whether every slot has a worker that has been ready.
    pub(crate) fn all_ready(&self) -> bool {
        self.slots.iter().all(|slot| slot.as_ref().is_some_and(|worker| worker.been_ready))
    }

    pub(crate) fn worker(&self, seat: Seat) -> Option<&Worker> {
        self.slots.get(seat.slot)?.as_ref().filter(|worker| worker.id == seat.worker || planted!(NamesakesAreOne))
    }

    /// The workers that have a process, in the order of their slots.
    pub(crate) fn workers(&self) -> impl Iterator<Item = (Seat, &Worker)> {
        let occupied = self.slots.iter().enumerate().filter_map(|(slot, worker)| Some((slot, worker.as_ref()?)));
        occupied.filter(|(_, worker)| worker.spawned).map(|(slot, worker)| (Seat { slot, worker: worker.id }, worker))
    }

    /// What the driver calls this job, and its number.
    pub(crate) fn job(&self, key: JobKey) -> Option<(&T, u64)> {
        let entry = self.jobs.get(key)?;
        Some((&entry.job, entry.id))
    }

    /// Takes out a job that [`Effect::Settled`] was said of, which is due before the next input.
    pub(crate) fn take(&mut self, key: JobKey) -> T {
        self.jobs.take(key)
    }

    /// When [`Input::Tick`] is due, if nothing happens before.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        let workers = self.slots.iter().flatten().filter_map(Worker::next_deadline);
        workers.chain(self.starts.next_deadline()).min()
    }

    // ------------------------------------------------------------ what happened

    /// Takes in what happened, and appends what is to be done about it, in order.
    ///
    /// `now` never goes back. What is said of a worker that is no more is ignored.
    pub(crate) fn handle(&mut self, now: Duration, input: Input<T>, effects: &mut Vec<Effect<T>>) {
        let mut turn = Turn { machine: self, now, effects };
        match input {
            Input::Enqueue { id, job, settings } => turn.enqueue(id, job, settings),
            Input::Abort { key, id } => turn.abort(key, id),
            Input::SpawnWorkers => turn.spawn_workers(),
            Input::Close => turn.close(),
            Input::Exit => turn.exit(),
            Input::Tick => turn.tick(),
            Input::Spawned(seat) => turn.if_known(seat, |turn| turn.spawned(seat)),
            Input::SpawnFailed(seat) => turn.if_known(seat, |turn| turn.spawn_failed(seat)),
            Input::Said(seat, said) => turn.if_known(seat, |turn| turn.said(seat, said)),
            Input::Resident { seat, bytes, at_rest } => {
                turn.if_known(seat, |turn| turn.resident(seat, bytes, at_rest));
            }
            Input::Garbled(seat) => turn.if_known(seat, |turn| turn.violated(seat, Violation::Garbled)),
            Input::OutputEnded(seat) => turn.if_known(seat, |turn| turn.output_ended(seat)),
            Input::InputBroken(seat) => turn.if_known(seat, |turn| turn.input_broken(seat)),
            Input::ErrorsEnded(seat) => turn.if_known(seat, |turn| turn.errors_ended(seat)),
            Input::Exited(seat) => turn.if_known(seat, |turn| turn.exited(seat)),
        }
        turn.settle_down();
    }
}

/// One call of [`Supervisor::handle`]: the machine, the time, and where effects go.
struct Turn<'t, T> {
    machine: &'t mut Supervisor<T>,
    now: Duration,
    effects: &'t mut Vec<Effect<T>>,
}

impl<T> Turn<'_, T> {
    fn say(&mut self, effect: Effect<T>) {
        self.effects.push(effect);
    }

    fn if_known(&mut self, seat: Seat, then: impl FnOnce(&mut Self)) {
        if self.machine.worker(seat).is_some() {
            then(self);
        }
    }

    /// The worker in `seat`, which is known to be there.
    fn worker(&mut self, seat: Seat) -> &mut Worker {
        match &mut self.machine.slots[seat.slot] {
            Some(worker) if worker.id == seat.worker || planted!(NamesakesAreOne) => worker,
            _ => unreachable!("a seat is used only while its worker is in it"),
        }
    }

    /// The seat of the worker that is in `slot`.
    fn seat(&self, slot: u32) -> Seat {
        let slot = slot as usize;
        let worker = self.machine.slots[slot].as_ref().map_or(0, |worker| worker.id);
        Seat { slot, worker }
    }

    fn after(&self, limit: Option<Duration>) -> Option<Duration> {
        limit.and_then(|limit| self.now.checked_add(limit))
    }

    /// What is done at the end of every turn: free workers get work, missing ones are spawned, idleness is told.
    fn settle_down(&mut self) {
        self.hand_out();
        self.call_back_for_the_free();
        self.spawn_missing();
        let machine = &mut *self.machine;
        if machine.worked && machine.is_idle() {
            machine.worked = planted!(IdleAgain);
            self.say(Effect::Idle);
        }
    }

    fn tick(&mut self) {
        for slot in 0..self.machine.slots.len() {
            let Some(worker) = &self.machine.slots[slot] else { continue };
            let seat = Seat { slot, worker: worker.id };
            if worker.call_back_at.is_some_and(|at| at <= self.now) {
                self.call_back(seat);
            }
            if self.worker(seat).limit_at.is_some_and(|at| at <= self.now) {
                self.over_limit(seat);
            }
            if self.worker(seat).measure_at.is_some_and(|at| at <= self.now) {
                self.measure_later(seat);
                self.say(Effect::Measure(seat));
            }
            if self.worker(seat).death_at.is_some_and(|at| at <= self.now) {
                self.death_due(seat);
            }
        }
    }

    // ------------------------------------------------------------ the callers

    fn enqueue(&mut self, id: u64, job: T, settings: JobSettings) {
        if !self.machine.is_open() {
            return self.say(Effect::Refused(job));
        }
        self.machine.lowest_priority = self.machine.lowest_priority.min(settings.priority());
        let key = self.machine.jobs.insert(id, job, settings);
        self.machine.counters.enqueued += 1;
        self.machine.worked = true;
        self.say(Effect::Enqueued(key));
        match self.machine.free.pop() {
            Some(slot) => self.hand(slot, key),
            None => self.queue_at_back(key),
        }
    }

    fn abort(&mut self, key: JobKey, id: u64) {
        let Some(entry) = self.machine.jobs.get(key).filter(|entry| entry.id == id) else { return };
        let place = entry.place;
        self.settle(key, Outcome::Aborted);
        if let Place::Held(slot) = place
            && !planted!(AbortedWorkerLives)
        {
            self.kill(self.seat(slot), End::Aborted);
        }
    }

    fn spawn_workers(&mut self) {
        if self.machine.phase == Phase::Open {
            self.machine.awaiting_ready = true;
            self.machine.starts.want_all();
            self.tell_all_ready();
        }
    }

    fn close(&mut self) {
        if self.machine.phase == Phase::Open {
            self.machine.phase = Phase::Draining;
        }
    }

    fn exit(&mut self) {
        self.machine.phase = Phase::Exiting;
        self.settle_all(Outcome::Closed, |_| true);
        for slot in 0..self.machine.slots.len() {
            if let Some(worker) = &self.machine.slots[slot] {
                self.kill(Seat { slot, worker: worker.id }, End::PoolExit);
            }
        }
    }
}
