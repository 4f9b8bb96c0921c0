//! What a pool does now, as its events tell: for the views and the metrics, which all look at the same things.

use crate::clock::Origin;
use crate::recorder::outcome_of;
use crate::recording::Outcome;
use hirelings::{Event, EventKind, Job, Pool, WorkerId};
use parking_lot::{Condvar, Mutex};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::mem;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// How many failures are remembered.
const FAILURES: usize = 8;
/// Over how many seconds the rate is taken.
const SECONDS: usize = 10;

/// One worker process.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) slot: usize,
    pub(crate) site: Option<Arc<str>>,
    pub(crate) pid: u32,
    pub(crate) state: &'static str,
    pub(crate) since: Duration,
    pub(crate) job: Option<u64>,
    pub(crate) label: Option<Arc<str>>,
    pub(crate) done: u64,
}

/// What a pool does.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) pool: Arc<str>,
    /// The pool's; times are since then.
    pub(crate) origin: Origin,
    /// When it was attached.
    pub(crate) since: Duration,
    pub(crate) enqueued: u64,
    pub(crate) backlog: u64,
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    pub(crate) aborted: u64,
    pub(crate) retries: u64,
    /// By number.
    pub(crate) workers: BTreeMap<u64, Seen>,
    /// The last ones, the oldest first: the job and why.
    pub(crate) failures: VecDeque<(String, String)>,
    /// How many have ended in each of the last seconds, the newest last, and which second that is.
    ended: VecDeque<u64>,
    second: u64,
    pub(crate) over: bool,
    /// Whether a job that has not ended is with a worker.
    at_work: HashMap<u64, bool>,
}

/// The state, and a bell for what waits for the end.
pub(crate) struct Watch {
    pub(crate) state: Mutex<State>,
    pub(crate) over: Condvar,
}

impl Watch {
    /// Follows the pool from now on; `also` is called with each event that is followed, after the state has it.
    pub(crate) fn attach<J: Job>(
        pool: &Pool<J>,
        also: impl Fn(&State, &Event, Option<Outcome>) + Send + Sync + 'static,
    ) -> Arc<Watch> {
        let watch = Arc::new(Watch { state: Mutex::new(State::new(Origin::of(pool))), over: Condvar::new() });
        watch.state.lock().start_from(pool);
        let end = Arc::new(End(Arc::downgrade(&watch)));
        let also = Arc::new(also);
        for kind in KINDS {
            let (end, also) = (Arc::clone(&end), Arc::clone(&also));
            pool.on(kind, move |event| {
                if let Some(watch) = end.0.upgrade() {
                    let mut state = watch.state.lock();
                    let outcome = state.note::<J>(event);
                    also(&state, event, outcome);
                }
            });
        }
        watch
    }

    /// The state as it is, without what is only for counting.
    pub(crate) fn look(&self) -> State {
        let mut state = self.state.lock();
        let at_work = mem::take(&mut state.at_work);
        let copy = state.clone();
        state.at_work = at_work;
        copy
    }

    /// Waits so long, or until the pool has ended; whether it has.
    pub(crate) fn wait(&self, limit: Duration) -> bool {
        let mut state = self.state.lock();
        if !state.over {
            self.over.wait_for(&mut state, limit);
        }
        state.over
    }

    pub(crate) fn end(&self) {
        self.state.lock().over = true;
        self.over.notify_all();
    }
}

/// Dropped with the last hook: when the pool has ended.
struct End(Weak<Watch>);

impl Drop for End {
    fn drop(&mut self) {
        if let Some(watch) = self.0.upgrade() {
            watch.end();
        }
    }
}

const KINDS: [EventKind; 13] = [
    EventKind::Enqueue,
    EventKind::Task,
    EventKind::JobSuccess,
    EventKind::JobFailure,
    EventKind::JobRetry,
    EventKind::JobAbort,
    EventKind::Spawn,
    EventKind::WorkerReady,
    EventKind::WorkerWorking,
    EventKind::WorkerRecovering,
    EventKind::WorkerExiting,
    EventKind::WorkerTimeout,
    EventKind::Exit,
];

impl State {
    fn new(origin: Origin) -> State {
        State {
            origin,
            pool: "".into(),
            since: origin.now(),
            enqueued: 0,
            backlog: 0,
            succeeded: 0,
            failed: 0,
            aborted: 0,
            retries: 0,
            workers: BTreeMap::new(),
            failures: VecDeque::new(),
            ended: VecDeque::from([0]),
            second: 0,
            over: false,
            at_work: HashMap::new(),
        }
    }

    /// The workers that the pool has already.
    fn start_from<J: Job>(&mut self, pool: &Pool<J>) {
        let now = self.origin.now();
        for worker in pool.workers() {
            let (slot, pid, job) = (worker.slot.index(), worker.pid, worker.job.map(|job| job.get()));
            let state = if job.is_some() { "working" } else { "ready" };
            let since = now.saturating_sub(worker.state_for);
            let (site, done) = (worker.site.as_deref().map(Arc::from), worker.jobs_done);
            let seen = Seen { slot, site, pid, state, since, job, label: None, done };
            self.workers.insert(worker.id.get(), seen);
        }
    }

    /// How many jobs a second have ended of late.
    pub(crate) fn rate(&self, now: Duration) -> f64 {
        let age = now.saturating_sub(self.since).as_secs_f64();
        let quiet = (age as u64).saturating_sub(self.second) as usize;
        // The second that goes on counts for as much of it as has passed.
        let all: u64 = self.ended.iter().rev().take((SECONDS + 1).saturating_sub(quiet)).sum();
        all as f64 / age.clamp(0.1, SECONDS as f64 + age.fract())
    }

    fn count_end(&mut self, now: Duration) {
        let second = now.saturating_sub(self.since).as_secs();
        let passed = second.saturating_sub(self.second).min(SECONDS as u64 + 1);
        (0..passed).for_each(|_| self.ended.push_back(0));
        while self.ended.len() > SECONDS + 1 {
            self.ended.pop_front();
        }
        self.second = self.second.max(second);
        if let Some(newest) = self.ended.back_mut() {
            *newest += 1;
        }
    }

    /// Takes one event in; how the job ended where it has.
    fn note<J: Job>(&mut self, event: &Event) -> Option<Outcome> {
        let fields = event.fields()?;
        let now = event.at();
        if self.pool.is_empty() {
            self.pool = Arc::clone(&fields.pool);
        }
        let job = fields.job.map(|job| job.get());
        match (fields.kind, job) {
            (EventKind::Enqueue, Some(job)) => {
                self.enqueued += 1;
                self.at_work.insert(job, false);
                self.backlog += 1;
            }
            (EventKind::Task, Some(job)) => {
                if self.at_work.insert(job, true) != Some(true) {
                    self.backlog = self.backlog.saturating_sub(1);
                }
                if let Some(seen) = fields.worker.and_then(|id| self.workers.get_mut(&id.get())) {
                    (seen.job, seen.label) = (Some(job), fields.label.clone());
                    (seen.state, seen.since) = ("working", now);
                }
            }
            (EventKind::JobRetry, Some(job)) => {
                self.retries += 1;
                self.at_work.insert(job, false);
                self.backlog += 1;
                self.leave(fields.worker, job);
                return Some(event.error::<J>().as_ref().map_or(Outcome::Failed, outcome_of));
            }
            (EventKind::JobSuccess | EventKind::JobFailure | EventKind::JobAbort, Some(job)) => {
                if self.at_work.remove(&job) == Some(false) {
                    self.backlog = self.backlog.saturating_sub(1);
                }
                self.count_end(now);
                self.leave(fields.worker, job);
                return Some(match fields.kind {
                    EventKind::JobSuccess => {
                        self.succeeded += 1;
                        Outcome::Succeeded
                    }
                    EventKind::JobAbort => {
                        self.aborted += 1;
                        Outcome::Aborted
                    }
                    _ => {
                        self.failed += 1;
                        let error = event.error::<J>();
                        let name = fields.label.as_ref().map_or_else(|| format!("job {job}"), ToString::to_string);
                        let why = error.as_ref().map_or_else(String::new, ToString::to_string);
                        self.failures.push_back((name, why.lines().next().unwrap_or_default().to_owned()));
                        if self.failures.len() > FAILURES {
                            self.failures.pop_front();
                        }
                        error.as_ref().map_or(Outcome::Failed, outcome_of)
                    }
                });
            }
            (EventKind::Exit, _) => {
                if let Some(id) = fields.worker {
                    self.workers.remove(&id.get());
                }
            }
            _ => {
                let (Some(id), Some(slot)) = (fields.worker, fields.slot) else { return None };
                let (slot, pid) = (slot.index(), fields.pid.unwrap_or(0));
                let (since, site) = (now, fields.site.clone());
                let seen = Seen { slot, site, pid, state: "starting", since, job: None, label: None, done: 0 };
                let seen = self.workers.entry(id.get()).or_insert(seen);
                let state = match fields.kind {
                    EventKind::WorkerReady => "ready",
                    EventKind::WorkerWorking => "working",
                    EventKind::WorkerRecovering => "recovering",
                    EventKind::WorkerExiting => "exiting",
                    _ => seen.state,
                };
                if seen.state != state {
                    (seen.state, seen.since) = (state, now);
                }
            }
        }
        None
    }

    /// A worker no longer has the job.
    fn leave(&mut self, worker: Option<WorkerId>, job: u64) {
        if let Some(seen) = worker.and_then(|id| self.workers.get_mut(&id.get()))
            && seen.job == Some(job)
        {
            (seen.job, seen.label) = (None, None);
            seen.done += 1;
        }
    }
}
