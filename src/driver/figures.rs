//! Figures that need a clock: how long jobs waited and ran, how many ended of late, and why workers ended.
//!
//! All is taken from what the machine says has happened, with the time of the input that led to it: no clock is read for it, and
//! a job costs some ten nanoseconds. Times are kept as nanoseconds.

use crate::histogram::{Distribution, Histogram};
use crate::report::PackedReport;
use crate::stats::{Rate, Restarts};
use crate::supervisor::{JobKey, Outcome, WorkerKey};
use std::collections::HashMap;
use std::time::Duration;

/// Over how many whole seconds the rate is taken, with the one that goes on beside them.
const SECONDS: usize = 10;
/// An empty table longer than this gives its memory back.
const KEPT: usize = 1024;

pub(super) struct Figures {
    waiting: Histogram,
    running: Histogram,
    restarts: Restarts,
    /// Since when each job waits, by its place in the machine's table.
    queued: Vec<u64>,
    /// Of the jobs that were retried, or wait for a time, by number: when each was enqueued, and its earlier attempts.
    past: HashMap<u64, Past>,
    jobs: usize,
    slots: Vec<Slot>,
    /// What was enqueued and finished in the last seconds, by the second's number.
    recent: [(u64, u64); SECONDS + 1],
    second: u64,
    ending: bool,
}

/// Of the worker that is in a slot.
#[derive(Clone, Copy, Default)]
struct Slot {
    worker: u64,
    pid: u32,
    /// Since when it is in its state.
    since: u64,
    /// The job that it runs, and since when.
    job: Option<(u64, u64)>,
    cause: Option<Cause>,
}

/// Of a job.
#[derive(Clone, Copy, Default)]
struct Past {
    enqueued: u64,
    /// How long its attempts have run that are over.
    running: u64,
    /// The last one's worker, and its process id; 0 is none.
    worker: u64,
    pid: u32,
}

/// Why a worker ends.
#[derive(Clone, Copy)]
pub(super) enum Cause {
    Recycled,
    Crashed,
    Panicked,
    TimedOut,
    OutOfMemory,
    Aborted,
    Protocol,
}

impl Figures {
    pub(super) fn new() -> Self {
        Figures {
            waiting: Histogram::new(),
            running: Histogram::new(),
            restarts: Restarts::default(),
            queued: Vec::new(),
            past: HashMap::new(),
            jobs: 0,
            slots: Vec::new(),
            recent: [(0, 0); SECONDS + 1],
            second: 0,
            ending: false,
        }
    }

    pub(super) fn enqueued(&mut self, now: Duration, key: JobKey) {
        self.jobs += 1;
        self.queue(key, nanos(now));
        self.this_second(now).0 += 1;
    }

    /// The job waits for a worker only from `until` on.
    pub(super) fn delayed(&mut self, key: JobKey, until: Duration) {
        let past = self.past(key);
        self.past.insert(key.id, past);
        self.queue(key, nanos(until));
    }

    /// The worker has been given the job.
    pub(super) fn given(&mut self, now: Duration, worker_key: WorkerKey, key: JobKey) {
        let now = nanos(now);
        if let Some(&queued) = self.queued.get(key.place as usize) {
            self.waiting.count(now.saturating_sub(queued));
        }
        self.slot(worker_key).job = Some((key.id, now));
    }

    /// The worker has not begun the job that it was given.
    pub(super) fn returned(&mut self, worker_key: WorkerKey) {
        self.slot(worker_key).job = None;
    }

    pub(super) fn retried(&mut self, now: Duration, key: JobKey, outcome: Outcome, worker_key: WorkerKey) {
        let past = self.past(key);
        let past = self.attempt_over(nanos(now), key, outcome, worker_key, past);
        self.past.insert(key.id, past);
        self.queue(key, nanos(now));
    }

    /// Gives what the job has taken.
    pub(super) fn settled(
        &mut self,
        now: Duration,
        key: JobKey,
        attempts: u32,
        outcome: Outcome,
        worker_key: Option<WorkerKey>,
    ) -> PackedReport {
        let mut past = self.past(key);
        if !self.past.is_empty() {
            self.past.remove(&key.id);
        }
        if let Some(worker_key) = worker_key {
            past = self.attempt_over(nanos(now), key, outcome, worker_key, past);
        }
        self.this_second(now).1 += 1;
        self.jobs = self.jobs.saturating_sub(1);
        if self.jobs == 0 && self.queued.len() > KEPT {
            self.queued = Vec::new();
        }
        PackedReport {
            queued: nanos(now).saturating_sub(past.enqueued).saturating_sub(past.running),
            running: past.running,
            worker: past.worker,
            pid: past.pid,
            attempts,
        }
    }

    /// The worker is in another state.
    pub(super) fn entered(&mut self, now: Duration, worker_key: WorkerKey) {
        self.slot(worker_key).since = nanos(now);
    }

    /// The worker's process has this number.
    pub(super) fn spawned(&mut self, worker_key: WorkerKey, pid: u32) {
        self.slot(worker_key).pid = pid;
    }

    /// The worker was asked to leave, after its jobs.
    pub(super) fn told_to_leave(&mut self, worker_key: WorkerKey) {
        if !self.ending {
            self.because(worker_key, Cause::Recycled);
        }
    }

    /// Workers that end from here on without a cause of their own end with the pool.
    pub(super) fn pool_ends(&mut self) {
        self.ending = true;
    }

    pub(super) fn waiting(&self) -> Distribution {
        self.waiting.distribution()
    }

    pub(super) fn running(&self) -> Distribution {
        self.running.distribution()
    }

    pub(super) fn restarts(&self) -> Restarts {
        self.restarts
    }

    pub(super) fn rate(&self, now: Duration) -> Rate {
        let quiet = now.as_secs().saturating_sub(self.second);
        // Of the seconds that are counted, those that are not too long ago by now.
        let seconds = (self.second + quiet).saturating_sub(SECONDS as u64)..=self.second;
        let counted = seconds.map(|second| self.recent[second as usize % self.recent.len()]);
        let (enqueued, finished) = counted.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
        let whole = Duration::from_secs(SECONDS as u64) + Duration::from_nanos(u64::from(now.subsec_nanos()));
        Rate { enqueued, finished, over: now.min(whole) }
    }

    pub(super) fn state_for(&self, now: Duration, worker_key: WorkerKey) -> Duration {
        let slot = self.slots.get(worker_key.slot).filter(|slot| slot.worker == worker_key.worker);
        slot.map_or(Duration::ZERO, |slot| now.saturating_sub(Duration::from_nanos(slot.since)))
    }

    fn queue(&mut self, key: JobKey, now: u64) {
        let place = key.place as usize;
        if place >= self.queued.len() {
            self.queued.resize(place + 1, 0);
        }
        self.queued[place] = now;
    }

    /// What has been of the job, but for the attempt that it is in.
    fn past(&self, key: JobKey) -> Past {
        let enqueued = || self.queued.get(key.place as usize).copied().unwrap_or_default();
        // Of most jobs there is none.
        let past = if self.past.is_empty() { None } else { self.past.get(&key.id).copied() };
        past.unwrap_or_else(|| Past { enqueued: enqueued(), ..Past::default() })
    }

    /// Counts an attempt that is over, and adds it to the job's past.
    fn attempt_over(&mut self, now: u64, key: JobKey, outcome: Outcome, worker_key: WorkerKey, mut past: Past) -> Past {
        let slot = self.slot(worker_key);
        (past.worker, past.pid) = (worker_key.worker, slot.pid);
        if let Some((_, since)) = slot.job.take_if(|(job, _)| *job == key.id) {
            let took = now.saturating_sub(since);
            past.running += took;
            self.running.count(took);
            if outcome == Outcome::Aborted {
                self.because(worker_key, Cause::Aborted);
            }
        }
        past
    }

    fn slot(&mut self, worker_key: WorkerKey) -> &mut Slot {
        if worker_key.slot >= self.slots.len() {
            self.slots.resize(worker_key.slot + 1, Slot::default());
        }
        let slot = &mut self.slots[worker_key.slot];
        if slot.worker != worker_key.worker {
            *slot = Slot { worker: worker_key.worker, ..Slot::default() };
        }
        slot
    }

    /// The first cause counts: what follows comes of it. But one that was asked to leave may do something else instead.
    pub(super) fn because(&mut self, worker_key: WorkerKey, cause: Cause) {
        let known = &mut self.slot(worker_key).cause;
        if matches!(known, None | Some(Cause::Recycled)) {
            *known = Some(cause);
        }
    }

    pub(super) fn died(&mut self, worker_key: WorkerKey) {
        let cause = self.slot(worker_key).cause;
        let restarts = &mut self.restarts;
        *match cause {
            Some(Cause::Recycled) => &mut restarts.recycled,
            Some(Cause::Crashed) => &mut restarts.crashed,
            Some(Cause::Panicked) => &mut restarts.panicked,
            Some(Cause::TimedOut) => &mut restarts.timed_out,
            Some(Cause::OutOfMemory) => &mut restarts.out_of_memory,
            Some(Cause::Aborted) => &mut restarts.aborted,
            Some(Cause::Protocol) => &mut restarts.protocol,
            None if self.ending => &mut restarts.closed,
            None => &mut restarts.crashed,
        } += 1;
    }

    /// What is counted in the second that goes on.
    #[inline]
    fn this_second(&mut self, now: Duration) -> &mut (u64, u64) {
        let second = now.as_secs();
        let passed = (second - self.second).min(self.recent.len() as u64);
        for n in 1..=passed {
            let at = (second + 1 - n) as usize % self.recent.len();
            self.recent[at] = (0, 0);
        }
        self.second = second;
        &mut self.recent[second as usize % self.recent.len()]
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::id::WorkerId;
    use crate::report::JobReport;

    #[test]
    fn a_report_is_of_all_attempts() {
        let mut figures = Figures::new();
        let at = |millis: u64| Duration::from_millis(millis);
        let (key, worker_key) = (JobKey { place: 0, id: 7 }, WorkerKey { slot: 1, worker: 5 });
        figures.entered(at(0), worker_key);
        figures.spawned(worker_key, 4711);
        for round in [0u64, 1] {
            let at = |millis: u64| at(100 * round + millis);
            figures.enqueued(at(1), key);
            figures.delayed(key, at(3));
            figures.given(at(4), worker_key, key);
            figures.retried(at(10), key, Outcome::Failed, worker_key);
            figures.delayed(key, at(20));
            let over = match round {
                // It is aborted while it waits.
                0 => figures.settled(at(15), key, 1, Outcome::Aborted, None),
                _ => {
                    figures.given(at(20), worker_key, key);
                    figures.settled(at(50), key, 2, Outcome::Success, Some(worker_key))
                }
            };
            let (attempts, queued, running) = [(1, 8, 6), (2, 13, 36)][round as usize];
            let (queued, running) = (Duration::from_millis(queued), Duration::from_millis(running));
            let (worker, pid) = (Some(WorkerId(5)), Some(4711));
            assert_eq!(JobReport::from(over), JobReport { attempts, queued, running, worker, pid });
            assert!(figures.past.is_empty());
        }
        figures.enqueued(at(300), key);
        let over = figures.settled(at(307), key, 0, Outcome::Closed, None);
        assert_eq!(JobReport::from(over), JobReport { queued: at(7), ..JobReport::default() });
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let mut figures = Figures::new();
        let at = |millis: u64| Duration::from_millis(millis);
        for n in 0..5u64 {
            figures.enqueued(at(500 + n), JobKey { place: 0, id: n });
        }
        assert_eq!(figures.rate(at(700)), Rate { enqueued: 5, finished: 0, over: at(700) });
        figures.enqueued(at(3_200), JobKey { place: 0, id: 9 });
        assert_eq!(figures.rate(at(3_300)), Rate { enqueued: 6, finished: 0, over: at(3_300) });
        // The first second is forgotten, whether anything has happened since or not.
        assert_eq!(figures.rate(at(10_900)), Rate { enqueued: 6, finished: 0, over: at(10_900) });
        assert_eq!(figures.rate(at(11_100)), Rate { enqueued: 1, finished: 0, over: at(10_100) });
        assert_eq!(figures.rate(at(60_000)), Rate { enqueued: 0, finished: 0, over: at(10_000) });
        figures.enqueued(at(60_500), JobKey { place: 0, id: 10 });
        assert_eq!(figures.rate(at(60_600)), Rate { enqueued: 1, finished: 0, over: at(10_600) });
    }

    /// `-- figures --nocapture` shows what a job costs; the bound is for a busy machine.
    #[test]
    fn a_job_costs_less_than_a_microsecond() {
        const JOBS: u64 = 100_000;
        let mut figures = Figures::new();
        let worker_key = WorkerKey { slot: 0, worker: 1 };
        let round = |figures: &mut Figures| {
            let before = clock::now();
            for id in 0..JOBS {
                let (now, key) = (Duration::from_micros(id), JobKey { place: id as u32 % 64, id });
                figures.enqueued(now, key);
                figures.given(now, worker_key, key);
                figures.settled(now, key, 1, Outcome::Success, Some(worker_key));
            }
            (clock::now() - before) / JOBS as u32
        };
        let best = (0..5).map(|_| round(&mut figures)).min().unwrap_or_default();
        eprintln!("{best:?} a job");
        assert!(best < Duration::from_micros(1), "{best:?}");
        assert_eq!((figures.waiting().count, figures.running().count), (5 * JOBS, 5 * JOBS));
    }
}
