//! The state machine: what happened and the time in, what to do about it out.
//!
//! There is no clock, thread, process, pipe or channel in here, and no payload: the driver (or the simulator) carries
//! those. Every rule of the pool that can go wrong by interleaving is decided in this module and nowhere else.
//!
//! Read [`Input`] and [`Effect`] first, then [`Supervisor::handle`] from top to bottom. What can be asked is in `ask`.
//! A step goes on in the modules beside: `admission` (which jobs are accepted), `abort`, `messages` (what a worker
//! says), `attempts` (what becomes of its job), `dispatch` and `prefetch` (which worker gets which job), `delays`
//! (which are not to be given to one yet, or no more), `permits` (how many of a key are), `limits`, `kill`, `death`,
//! `spawning`, `size`.

mod abort;
mod admission;
mod ask;
mod attempts;
mod backlog;
mod cancel;
mod config;
mod death;
mod delays;
mod dispatch;
mod effect;
mod far;
mod input;
mod jobs;
mod kill;
mod lifecycle;
mod limits;
mod messages;
mod outcome;
mod permits;
mod prefetch;
mod queue;
#[cfg(debug_assertions)]
mod recount;
mod restart;
mod retry;
mod size;
mod spawning;
mod state;
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

#[cfg(any(test, fuzzing))]
pub(crate) use config::Limit;
pub(crate) use config::{
    ADAPTIVE, Config, JobSettings, LimitKey, MaxMemory, SiteRules, Submitted, check_max_processes,
};
pub(crate) use effect::{Action, Effect, Notice, Refusal, Signal, StartFailed};
pub(crate) use input::{Input, Message, Undelivered, WhenFull};
pub(crate) use jobs::JobKey;
pub use outcome::{Begun, CrashCause, JobErrorKind};
pub(crate) use outcome::{Outcome, Violation};
pub use retry::RetryPolicy;
pub(crate) use state::WorkerKey;
pub use state::WorkerState;

use abort::AbortCall;
use backlog::Backlog;
use jobs::Jobs;
use lifecycle::{Course, End, Phase};
use restart::RestartPolicy;
use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::time::Duration;
use timers::{Deadlines, JobTimers, Timer};
use worker::Worker;

/// A death is handled when the exit is known and both pipes are read to their end, or are read no longer: this long after
/// the exit.
pub(crate) const DEATH_WAIT: Duration = Duration::from_millis(100);

/// How long a worker that has closed a pipe may take to exit before it is killed. A process closes its pipes as it dies, and
/// on a busy machine some hundred milliseconds may pass from there to its exit.
pub(crate) const EXIT_WAIT: Duration = Duration::from_millis(500);

/// How long a fork server may take to say how a worker has ended. It may be forking another, which takes 38 µs for each MiB
/// that it has written.
pub(crate) const STATUS_WAIT: Duration = Duration::from_secs(2);

/// How often the memory of a worker that has something to do is looked at, where it has a hard limit.
pub(crate) const MEASURE_EVERY: Duration = Duration::from_millis(100);

/// Only a job this short has others prefetched behind it.
pub(crate) const SHORT: Duration = Duration::from_millis(1);

/// Which new work the pool takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Admits {
    All,
    /// No new jobs; those that were accepted are done.
    Unsettled,
    /// No jobs at all; the workers are on their way out.
    Nothing,
}

/// What has been counted since the pool was built. It decides nothing, so it is no part of the state that is hashed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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

impl Hash for Counters {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// The pool's state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Supervisor {
    config: Config,
    admits: Admits,
    /// Whether nothing is begun for now.
    paused: bool,
    jobs: Jobs,
    backlog: Backlog,
    /// The jobs that are not to be queued before a time, and when.
    delays: JobTimers,
    /// The jobs that are over at a time, unless a worker has begun them.
    expiries: JobTimers,
    /// The jobs whose callers wait for room in the backlog.
    pending: VecDeque<Submitted>,
    /// Those that have asked to abort what is queued, and wait for workers, in order.
    abort_calls: VecDeque<AbortCall>,
    /// One place a worker; the dying ones keep theirs until they are reaped, so there are never too many. Those past
    /// `max_processes` are of a time when there were more.
    slots: Vec<Option<Worker>>,
    /// The slots that have one, in order.
    live: Vec<usize>,
    deadlines: Deadlines,
    /// The slots whose workers this step may have changed: none between two steps.
    touched: Vec<usize>,
    /// How long the last start took, from the spawn to ready.
    init_took: Duration,
    restarts: RestartPolicy,
    /// The slots of the workers that can take a job. The next job goes to the last of them. A worker that becomes free
    /// is put at the end, so that the one that did a job last gets the next; one that has answered none yet, at the
    /// front.
    free: Vec<usize>,
    next_worker: u64,
    /// The lowest priority that any job had.
    lowest_priority: i32,
    counters: Counters,
    /// Workers whose handler or recovery may run.
    busy: usize,
    /// The jobs that workers are announced to run.
    held: usize,
    /// Whether there was work since the last `Idle`.
    worked: bool,
    /// Whether `AllReady` is still to be emitted.
    awaiting_ready: bool,
    /// When the far workers that were lost have come to their end for certain; none: there are none.
    far_gone_at: Option<Duration>,
    /// The permits of far workers that were lost, each until its worker has come to its end for certain.
    far_permits: Vec<(Duration, LimitKey)>,
}

impl Supervisor {
    pub(crate) fn new(config: Config) -> Self {
        let slots = (0..config.max_processes).map(|_| None).collect();
        Supervisor {
            restarts: {
                let sites = config.sites.iter().map(|site| site.slots);
                RestartPolicy::new(config.max_processes, config.start_failures, sites)
            },
            config,
            admits: Admits::All,
            paused: false,
            jobs: Jobs::default(),
            backlog: Backlog::default(),
            delays: JobTimers::default(),
            expiries: JobTimers::default(),
            pending: VecDeque::new(),
            abort_calls: VecDeque::new(),
            slots,
            live: Vec::new(),
            deadlines: Deadlines::default(),
            touched: Vec::new(),
            init_took: Duration::ZERO,
            free: Vec::new(),
            next_worker: 1,
            lowest_priority: 0,
            counters: Counters::default(),
            busy: 0,
            held: 0,
            worked: false,
            awaiting_ready: false,
            far_gone_at: None,
            far_permits: Vec::new(),
        }
    }

    /// Takes in what happened, and appends what is to be done about it, in order.
    ///
    /// `now` never goes back. What is said of a worker that is no more is ignored.
    pub(crate) fn handle(&mut self, now: Duration, input: Input, effects: &mut Vec<Effect>) {
        let mut step = Step { machine: self, now, effects, last_touched: None };
        match input {
            Input::Enqueue { job, when_full } => step.enqueue(job, when_full),
            Input::Abort(key) => step.abort(key),
            Input::Cancel { key, grace } => step.cancel(key, grace),
            Input::AbortQueued { call, only } => step.abort_queued(call, only),
            Input::SpawnWorkers => step.spawn_workers(),
            Input::SetMaxProcesses(most) => step.set_max_processes(most),
            Input::Recycle => step.recycle(),
            Input::Pause => step.pause(),
            Input::Resume => step.resume(),
            Input::Close => step.close(),
            Input::Exit => step.exit(),
            Input::Tick => step.tick(),
            Input::Spawned(worker_key) => step.of_worker(worker_key, |step| step.spawned(worker_key)),
            Input::SpawnFailed(worker_key) => step.of_worker(worker_key, |step| step.vacate(worker_key)),
            Input::Hello { worker_key, recalls } => step.of_worker(worker_key, |step| step.hello(worker_key, recalls)),
            Input::Heard(worker_key) => step.of_worker(worker_key, |step| step.heard(worker_key)),
            Input::Message { worker_key, message, resident } => {
                step.of_worker(worker_key, |step| step.message(worker_key, message, resident));
            }
            Input::Drained(worker_key) => step.of_worker(worker_key, |step| step.drained(worker_key)),
            Input::Stopped(worker_key) => step.of_worker(worker_key, |step| step.stopped(worker_key)),
            Input::Resident { worker_key, bytes } => {
                step.of_worker(worker_key, |step| step.resident(worker_key, bytes));
            }
            Input::Malformed(worker_key) => {
                step.of_worker(worker_key, |step| step.violated(worker_key, Violation::Malformed))
            }
            Input::StdoutClosed(worker_key) => step.of_worker(worker_key, |step| step.stdout_closed(worker_key)),
            Input::StdinBroken(worker_key) => step.of_worker(worker_key, |step| step.stdin_broken(worker_key)),
            Input::StderrClosed(worker_key) => step.of_worker(worker_key, |step| step.stderr_closed(worker_key)),
            Input::Orphaned(worker_key) => step.of_worker(worker_key, |step| step.orphaned(worker_key)),
            Input::Ended(worker_key) => step.of_worker(worker_key, |step| step.ended(worker_key)),
            Input::Exited { worker_key, undelivered } => {
                step.of_worker(worker_key, |step| step.exited(worker_key, undelivered))
            }
        }
        step.finish();
    }
}

/// One call of [`Supervisor::handle`]: the machine, the time, and where effects go.
struct Step<'s> {
    machine: &'s mut Supervisor,
    now: Duration,
    effects: &'s mut Vec<Effect>,
    /// The last of the machine's touched slots: most steps are about one worker.
    last_touched: Option<usize>,
}

impl Step<'_> {
    fn act(&mut self, action: Action) {
        self.effects.push(Effect::Do(action));
    }

    fn emit(&mut self, notice: Notice) {
        self.effects.push(Effect::Announce(notice));
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
        self.touch(worker_key.slot);
        match &mut self.machine.slots[worker_key.slot] {
            Some(worker) if worker.id == worker_key.worker => worker,
            _ => unreachable!("a worker key is used only while its worker is in its slot"),
        }
    }

    /// Notes that the worker in `slot` may change.
    fn touch(&mut self, slot: usize) {
        if self.last_touched != Some(slot) {
            self.last_touched = Some(slot);
            self.machine.touched.push(slot);
        }
    }

    /// The worker that is in `slot`.
    fn worker_key(&self, slot: u16) -> WorkerKey {
        let slot = usize::from(slot);
        let worker = self.machine.slots[slot].as_ref().map_or(0, |worker| worker.id);
        WorkerKey { slot, worker }
    }

    fn after(&self, limit: Option<Duration>) -> Option<Duration> {
        limit.and_then(|limit| self.now.checked_add(limit))
    }

    /// What is done at the end of every step: free workers get work, missing ones are spawned, idleness is announced.
    fn finish(&mut self) {
        self.dispatch_all();
        self.admit_pending();
        self.recall_for_the_permitted();
        self.recall_for_the_free();
        self.spawn_missing();
        let machine = &mut *self.machine;
        if machine.worked && machine.is_idle() {
            machine.worked = false;
            self.emit(Notice::Idle);
        }
        let Supervisor { touched, deadlines, slots, .. } = &mut *self.machine;
        for slot in touched.drain(..) {
            deadlines.set(slot, slots[slot].as_ref().and_then(|worker| worker.timers.next()));
        }
        #[cfg(debug_assertions)]
        self.machine.check_counts();
    }

    fn tick(&mut self) {
        let now = self.now;
        for slot in self.machine.deadlines.due(now) {
            let Some(worker) = &self.machine.slots[slot] else { continue };
            let worker_key = WorkerKey { slot, worker: worker.id };
            for timer in Timer::ALL {
                // One that was due first may have ended the worker.
                if self.machine.worker(worker_key).is_some() && self.worker(worker_key).timers.take_due(timer, now) {
                    self.of_worker(worker_key, |step| step.due(worker_key, timer));
                }
            }
        }
        self.far_are_gone();
        self.expire_due();
        self.end_abort_calls();
        self.end_delays();
    }

    fn due(&mut self, worker_key: WorkerKey, timer: Timer) {
        match timer {
            Timer::Recall => self.recall(worker_key),
            Timer::Unanswered => self.recall_unanswered(worker_key),
            Timer::PendingKill => self.pending_kill_is_due(worker_key),
            Timer::Limit => self.timed_out(worker_key),
            Timer::SoftLimit => self.soft_limit_is_over(worker_key),
            Timer::Cancel => self.cancel_is_due(worker_key),
            Timer::Measure => {
                self.measure_later(worker_key);
                self.act(Action::Measure(worker_key));
            }
            Timer::Heartbeat => self.heartbeat(worker_key),
            Timer::Silence => self.silence_is_over(worker_key),
            Timer::Death => self.death_due(worker_key),
            Timer::Status => self.status_due(worker_key),
            Timer::Idle => self.idle_for_long(worker_key),
            Timer::Age => self.is_old(worker_key),
        }
    }

    /// The only place where a worker's state changes.
    fn enter(&mut self, worker_key: WorkerKey, phase: Phase) {
        let worker = self.worker(worker_key);
        worker.phase = phase;
        match phase {
            Phase::Exiting(_) => {
                worker.stop_draining();
                for timer in Timer::ENDED_BY_EXIT {
                    worker.timers.clear(timer);
                }
                self.no_longer_free(worker_key);
            }
            Phase::Ready => worker.timers.clear(Timer::Measure),
            Phase::Working => self.measure_later(worker_key),
            Phase::Initializing | Phase::Recovering => {}
        }
        self.emit_state(worker_key, phase.state());
    }

    /// The worker is on its way out from here on; or its exit, whose first reason counts, takes another course.
    fn enter_exit(&mut self, worker_key: WorkerKey, end: Option<End>, course: Course) {
        let worker = self.worker(worker_key);
        match &mut worker.phase {
            Phase::Exiting(exit) => exit.course = course,
            phase => {
                let exit = phase.exit(end, course);
                self.enter(worker_key, Phase::Exiting(exit));
            }
        }
    }

    fn emit_state(&mut self, worker_key: WorkerKey, state: WorkerState) {
        let job = self.worker(worker_key).held();
        self.emit(Notice::State { worker_key, state, job });
    }

    fn no_longer_free(&mut self, worker_key: WorkerKey) {
        self.machine.free.retain(|&slot| slot != worker_key.slot);
    }

    // ------------------------------------------------------------ the callers

    fn spawn_workers(&mut self) {
        if self.machine.admits == Admits::All {
            self.machine.awaiting_ready = true;
            self.machine.restarts.want_all();
            self.announce_all_ready();
        }
    }

    fn close(&mut self) {
        if self.machine.admits == Admits::All {
            self.machine.admits = Admits::Unsettled;
            self.resume();
            self.refuse_pending();
        }
    }

    fn exit(&mut self) {
        self.machine.admits = Admits::Nothing;
        self.resume();
        self.refuse_pending();
        self.settle_all(Outcome::Closed, |_| true);
        let workers: Vec<_> = self.machine.alive().map(|(worker_key, worker)| (worker_key, worker.is_free())).collect();
        for (worker_key, free) in workers {
            self.of_worker(worker_key, |step| {
                if free { step.leave_at_exit(worker_key) } else { step.kill(worker_key, End::PoolExit) }
            });
        }
    }
}
