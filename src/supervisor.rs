//! The state machine: what happened and the time in, what to do about it out.
//!
//! There is no clock, thread, process, pipe or channel in here, and no payload: the driver (or the simulator) carries
//! those. Every rule of the pool that can go wrong by interleaving is decided in this module and nowhere else.
//!
//! Read [`Input`] and [`Effect`](effect::Effect) first, then [`Supervisor::handle`] from top to bottom. A step goes on in
//! the modules beside: `messages` (what a worker says), `attempts` (what becomes of its job), `dispatch` and `prefetch` (which
//! worker gets which job), `limits`, `kill`, `death`, `spawning`.

mod attempts;
mod backlog;
mod config;
mod death;
mod dispatch;
mod effect;
mod input;
mod jobs;
mod kill;
mod limits;
mod messages;
mod prefetch;
mod restart;
mod spawning;
mod timers;
mod worker;

#[cfg(test)]
pub(crate) mod sim;
/// As much of it as fuzzing takes.
#[cfg(all(fuzzing, not(test)))]
pub(crate) mod sim {
    #[allow(dead_code)]
    mod checker;
    pub(crate) mod fuzz;
    #[allow(dead_code)]
    mod saboteur;
}
#[cfg(test)]
mod transcripts;

pub(crate) use config::{Config, JobSettings, MaxMemory};
pub use effect::{Begun, CrashCause};
pub(crate) use effect::{Effect, Outcome, Signal, Violation};
pub(crate) use input::{Input, Message, Undelivered};
pub(crate) use jobs::JobKey;
pub(crate) use worker::WorkerKey;
pub use worker::WorkerState;

use backlog::Backlog;
use jobs::{JobState, Jobs};
use restart::RestartPolicy;
use std::time::Duration;
use timers::Timer;
use worker::{End, KillCause, Worker};

/// A death is handled when the exit is known and both pipes are read to their end, or are read no longer: this long after
/// the first sign.
pub(crate) const DEATH_WAIT: Duration = Duration::from_millis(100);

/// How often the memory of a worker that has something to do is looked at, where it has a hard limit.
pub(crate) const MEASURE_EVERY: Duration = Duration::from_millis(100);

/// Only a job this short has others prefetched behind it.
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
    /// The slots that have one, in order.
    live: Vec<usize>,
    /// How long the last start took, from the spawn to ready.
    init_took: Duration,
    restarts: RestartPolicy,
    /// The slots of the workers that can take a job; the last is used next: the one used last, and one never used at the end.
    free: Vec<usize>,
    next_worker: u64,
    /// The lowest priority that any job had.
    lowest_priority: i32,
    counters: Counters,
    /// Workers whose handler or recovery may run.
    busy: usize,
    /// Jobs that a worker was handed.
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
            restarts: RestartPolicy::new(config.max_processes, config.start_failures),
            config,
            phase: Phase::Open,
            jobs: Jobs::new(),
            backlog: Backlog::default(),
            slots,
            live: Vec::new(),
            init_took: Duration::ZERO,
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
        self.phase == Phase::Exiting && self.live.is_empty()
    }

    /// Whether there is no job, and no handler can run any more.
    pub(crate) fn is_idle(&self) -> bool {
        self.jobs.is_empty() && self.busy == 0
    }

    /// Whether no worker would start, and none has since.
    pub(crate) fn is_circuit_open(&self) -> bool {
        self.restarts.is_circuit_open()
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
        self.live.len() == self.slots.len() && self.alive().all(|(_, worker)| worker.been_ready)
    }

    pub(crate) fn worker(&self, worker_key: WorkerKey) -> Option<&Worker> {
        self.slots.get(worker_key.slot)?.as_ref().filter(|worker| worker.id == worker_key.worker)
    }

    /// The workers that have a process, in the order of their slots.
    pub(crate) fn workers(&self) -> impl Iterator<Item = (WorkerKey, &Worker)> {
        self.alive().filter(|(_, worker)| worker.spawned)
    }

    /// The workers, those included that are being spawned, in the order of their slots.
    fn alive(&self) -> impl Iterator<Item = (WorkerKey, &Worker)> {
        self.live.iter().filter_map(|&slot| {
            let worker = self.slots[slot].as_ref()?;
            Some((WorkerKey { slot, worker: worker.id }, worker))
        })
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
        let workers = self.alive().filter_map(|(_, worker)| worker.timers.next());
        workers.chain(self.restarts.next_deadline()).min()
    }

    // ------------------------------------------------------------ what happened

    /// Takes in what happened, and appends what is to be done about it, in order.
    ///
    /// `now` never goes back. What is said of a worker that is no more is ignored.
    pub(crate) fn handle(&mut self, now: Duration, input: Input<T>, effects: &mut Vec<Effect<T>>) {
        let mut step = Step { machine: self, now, effects };
        match input {
            Input::Enqueue { id, job, settings } => step.enqueue(id, job, settings),
            Input::Abort { key, id } => step.abort(key, id),
            Input::SpawnWorkers => step.spawn_workers(),
            Input::Close => step.close(),
            Input::Exit => step.exit(),
            Input::Tick => step.tick(),
            Input::Spawned(worker_key) => step.of_worker(worker_key, |step| step.spawned(worker_key)),
            Input::SpawnFailed(worker_key) => step.of_worker(worker_key, |step| step.vacate(worker_key)),
            Input::Greeted { worker_key, recalls } => {
                step.of_worker(worker_key, |step| step.worker(worker_key).recalls = recalls)
            }
            Input::Message(worker_key, message) => step.of_worker(worker_key, |step| step.message(worker_key, message)),
            Input::Drained(worker_key) => step.of_worker(worker_key, |step| step.drained(worker_key)),
            Input::Stopped(worker_key) => step.of_worker(worker_key, |step| step.stopped(worker_key)),
            Input::Resident { worker_key, bytes, at_rest } => {
                step.of_worker(worker_key, |step| step.resident(worker_key, bytes, at_rest));
            }
            Input::Malformed(worker_key) => {
                step.of_worker(worker_key, |step| step.violated(worker_key, Violation::Malformed))
            }
            Input::StdoutClosed(worker_key) => step.of_worker(worker_key, |step| step.stdout_closed(worker_key)),
            Input::StdinBroken(worker_key) => step.of_worker(worker_key, |step| step.stdin_broken(worker_key)),
            Input::StderrClosed(worker_key) => step.of_worker(worker_key, |step| step.stderr_closed(worker_key)),
            Input::Exited { worker_key, undelivered } => {
                step.of_worker(worker_key, |step| step.exited(worker_key, undelivered))
            }
        }
        step.finish();
    }

    /// Counts again what is counted by hand: in pools that are small enough for that to cost little beside the step.
    #[cfg(debug_assertions)]
    fn check_counts(&self) {
        if self.slots.len() > 64 {
            return;
        }
        let workers = || self.slots.iter().flatten();
        debug_assert!(self.live.is_sorted() && self.live.iter().all(|&slot| self.slots[slot].is_some()), "live");
        debug_assert_eq!(self.live.len(), workers().count(), "live");
        debug_assert_eq!(self.busy, workers().filter(|worker| worker.is_busy()).count(), "busy");
        debug_assert_eq!(self.held, workers().filter(|worker| worker.held().is_some()).count(), "held");
        let mut free: Vec<usize> = self.free.clone();
        free.sort_unstable();
        let is_free = |slot: &usize| self.slots[*slot].as_ref().is_some_and(Worker::is_free);
        debug_assert_eq!(free, (0..self.slots.len()).filter(is_free).collect::<Vec<_>>(), "free");
    }
}

/// One call of [`Supervisor::handle`]: the machine, the time, and where effects go.
struct Step<'s, T> {
    machine: &'s mut Supervisor<T>,
    now: Duration,
    effects: &'s mut Vec<Effect<T>>,
}

impl<T> Step<'_, T> {
    fn emit(&mut self, effect: Effect<T>) {
        self.effects.push(effect);
    }

    /// Does something about a worker, unless it is no more.
    fn of_worker(&mut self, worker_key: WorkerKey, then: impl FnOnce(&mut Self)) {
        if self.machine.worker(worker_key).is_some() {
            then(self);
            self.recount(worker_key);
        }
    }

    /// Counts the worker among the busy, or no longer.
    fn recount(&mut self, worker_key: WorkerKey) {
        let Some(worker) = self.machine.slots[worker_key.slot].as_mut().filter(|worker| worker.id == worker_key.worker)
        else {
            return;
        };
        let busy = worker.is_busy();
        let before = std::mem::replace(&mut worker.counted_busy, busy);
        self.machine.busy += usize::from(busy);
        self.machine.busy -= usize::from(before);
    }

    /// The worker in `worker_key`, which is known to be there.
    fn worker(&mut self, worker_key: WorkerKey) -> &mut Worker {
        match &mut self.machine.slots[worker_key.slot] {
            Some(worker) if worker.id == worker_key.worker => worker,
            _ => unreachable!("a seat is used only while its worker is in it"),
        }
    }

    /// The seat of the worker that is in `slot`.
    fn worker_key(&self, slot: u32) -> WorkerKey {
        let slot = slot as usize;
        let worker = self.machine.slots[slot].as_ref().map_or(0, |worker| worker.id);
        WorkerKey { slot, worker }
    }

    fn after(&self, limit: Option<Duration>) -> Option<Duration> {
        limit.and_then(|limit| self.now.checked_add(limit))
    }

    /// What is done at the end of every step: free workers get work, missing ones are spawned, idleness is told.
    fn finish(&mut self) {
        self.dispatch_all();
        self.recall_for_the_free();
        self.spawn_missing();
        let machine = &mut *self.machine;
        if machine.worked && machine.is_idle() {
            machine.worked = false;
            self.emit(Effect::Idle);
        }
        #[cfg(debug_assertions)]
        self.machine.check_counts();
    }

    fn tick(&mut self) {
        let now = self.now;
        let due = self.machine.alive().filter(|(_, worker)| worker.timers.is_any_due(now));
        for worker_key in due.map(|(worker_key, _)| worker_key).collect::<Vec<_>>() {
            for timer in Timer::ALL {
                // One that was due first may have ended the worker.
                if self.machine.worker(worker_key).is_some() && self.worker(worker_key).timers.take_due(timer, now) {
                    self.of_worker(worker_key, |step| step.due(worker_key, timer));
                }
            }
        }
    }

    fn due(&mut self, worker_key: WorkerKey, timer: Timer) {
        match timer {
            Timer::Recall => self.recall(worker_key),
            Timer::Unanswered => self.recall_unanswered(worker_key),
            Timer::PendingKill => self.pending_kill_is_due(worker_key),
            Timer::Limit => self.timed_out(worker_key),
            Timer::Measure => {
                self.measure_later(worker_key);
                self.emit(Effect::Measure(worker_key));
            }
            Timer::Death => self.death_due(worker_key),
        }
    }

    /// The only place where a worker's state changes.
    fn enter(&mut self, worker_key: WorkerKey, state: WorkerState) {
        let worker = self.worker(worker_key);
        if std::mem::replace(&mut worker.state, state) == state {
            return;
        }
        match state {
            WorkerState::Exiting => {
                worker.draining = false;
                for timer in [Timer::Recall, Timer::Unanswered, Timer::PendingKill, Timer::Measure] {
                    worker.timers.clear(timer);
                }
                self.no_longer_free(worker_key);
            }
            WorkerState::Ready => worker.timers.clear(Timer::Measure),
            WorkerState::Working => self.measure_later(worker_key),
            WorkerState::Initializing | WorkerState::Recovering => {}
        }
        self.emit_state(worker_key, state);
    }

    fn emit_state(&mut self, worker_key: WorkerKey, state: WorkerState) {
        let job = self.worker(worker_key).held();
        self.emit(Effect::State { worker_key, state, job });
    }

    fn no_longer_free(&mut self, worker_key: WorkerKey) {
        self.machine.free.retain(|&slot| slot != worker_key.slot);
    }

    // ------------------------------------------------------------ the callers

    fn enqueue(&mut self, id: u64, job: T, settings: JobSettings) {
        if !self.machine.is_open() {
            return self.emit(Effect::Refused(job));
        }
        self.machine.lowest_priority = self.machine.lowest_priority.min(settings.priority());
        let key = self.machine.jobs.insert(id, job, settings);
        self.machine.counters.enqueued += 1;
        self.machine.worked = true;
        self.emit(Effect::Enqueued(key));
        match self.machine.free.pop() {
            Some(slot) => self.dispatch(slot, key),
            None => self.queue_at_back(key),
        }
    }

    fn abort(&mut self, key: JobKey, id: u64) {
        let Some(entry) = self.machine.jobs.get(key).filter(|entry| entry.id == id) else { return };
        let place = entry.place;
        self.settle(key, Outcome::Aborted);
        if let JobState::Running(slot) = place {
            let worker_key = self.worker_key(slot);
            self.of_worker(worker_key, |step| step.prepare_kill(worker_key, KillCause::Aborted));
        }
    }

    fn spawn_workers(&mut self) {
        if self.machine.phase == Phase::Open {
            self.machine.awaiting_ready = true;
            self.machine.restarts.want_all();
            self.announce_all_ready();
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
        let workers: Vec<_> = self.machine.alive().map(|(worker_key, worker)| (worker_key, worker.is_free())).collect();
        for (worker_key, free) in workers {
            self.of_worker(worker_key, |step| {
                if free { step.leave_at_exit(worker_key) } else { step.kill(worker_key, End::PoolExit) }
            });
        }
    }
}
