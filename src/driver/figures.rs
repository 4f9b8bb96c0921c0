//! Figures that need a clock: how long jobs waited and ran, how many ended of late, and why workers ended.
//!
//! All is taken from what the machine says has happened, with the time of the input that led to it: no clock is read for it, and
//! a job costs some ten nanoseconds.

use crate::histogram::{Distribution, Histogram};
use crate::id::WorkerId;
use crate::report::JobReport;
use crate::stats::{Rate, Restarts};
use crate::supervisor::{JobKey, Notice, Outcome, WorkerKey};
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
    queued: Vec<Duration>,
    /// What has been of the jobs that were retried, or wait for a time, by number.
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
    since: Duration,
    /// The job that it runs, and since when.
    job: Option<(u64, Duration)>,
    cause: Option<Cause>,
}

/// Of a job.
#[derive(Clone, Copy, Default)]
struct Past {
    enqueued: Duration,
    /// How long its attempts have run that are over.
    running: Duration,
    /// The last one's worker, and its process id.
    worker: Option<(u64, u32)>,
}

/// Why a worker ends.
#[derive(Clone, Copy)]
enum Cause {
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

    /// Counts what has happened. Gives what the job has taken, where it is over.
    pub(super) fn note(&mut self, now: Duration, notice: &Notice) -> Option<JobReport> {
        match *notice {
            Notice::Enqueued(key) => {
                self.jobs += 1;
                self.queue(key, now);
                self.this_second(now).0 += 1;
            }
            Notice::Task { worker_key, key, .. } => {
                if let Some(&queued) = self.queued.get(key.place as usize) {
                    self.waiting.count(now.saturating_sub(queued));
                }
                self.slot(worker_key).job = Some((key.id, now));
            }
            Notice::Retried { key, outcome, worker_key, .. } => {
                let past = self.past(key);
                let past = self.attempt_over(now, key, outcome, worker_key, past);
                self.past.insert(key.id, past);
                self.queue(key, now);
            }
            Notice::Delayed { key, until } => {
                let past = self.past(key);
                self.past.insert(key.id, past);
                // It waits for a worker from then on.
                self.queue(key, until);
            }
            Notice::Settled { key, attempt, outcome, worker_key, .. } => {
                let mut past = self.past(key);
                if !self.past.is_empty() {
                    self.past.remove(&key.id);
                }
                if let Some(worker_key) = worker_key {
                    past = self.attempt_over(now, key, outcome, worker_key, past);
                }
                self.this_second(now).1 += 1;
                self.jobs = self.jobs.saturating_sub(1);
                if self.jobs == 0 && self.queued.len() > KEPT {
                    self.queued = Vec::new();
                }
                return Some(JobReport {
                    attempts: attempt,
                    queued: now.saturating_sub(past.enqueued).saturating_sub(past.running),
                    running: past.running,
                    worker: past.worker.map(|(worker, _)| WorkerId(worker)),
                    pid: past.worker.map(|(_, pid)| pid),
                });
            }
            Notice::Returned { worker_key, .. } => self.slot(worker_key).job = None,
            Notice::Spawned(worker_key) | Notice::State { worker_key, .. } => self.slot(worker_key).since = now,
            Notice::TimedOut { worker_key, .. } => self.because(worker_key, Cause::TimedOut),
            Notice::OverHardLimit { worker_key, .. } => self.because(worker_key, Cause::OutOfMemory),
            Notice::PipeClosed(worker_key) => self.because(worker_key, Cause::Crashed),
            Notice::Violated(worker_key, _) => self.because(worker_key, Cause::Protocol),
            Notice::TerminalFailure(worker_key) => self.because(worker_key, Cause::Panicked),
            Notice::Died { worker_key, .. } => self.died(worker_key),
            _ => {}
        }
        None
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
        slot.map_or(Duration::ZERO, |slot| now.saturating_sub(slot.since))
    }

    fn queue(&mut self, key: JobKey, now: Duration) {
        let place = key.place as usize;
        if place >= self.queued.len() {
            self.queued.resize(place + 1, Duration::ZERO);
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
    fn attempt_over(
        &mut self,
        now: Duration,
        key: JobKey,
        outcome: Outcome,
        worker_key: WorkerKey,
        mut past: Past,
    ) -> Past {
        let slot = self.slot(worker_key);
        past.worker = Some((worker_key.worker, slot.pid));
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
    fn because(&mut self, worker_key: WorkerKey, cause: Cause) {
        let known = &mut self.slot(worker_key).cause;
        if matches!(known, None | Some(Cause::Recycled)) {
            *known = Some(cause);
        }
    }

    fn died(&mut self, worker_key: WorkerKey) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::Begun;

    #[test]
    fn a_report_is_of_all_attempts() {
        let mut figures = Figures::new();
        let at = |millis: u64| Duration::from_millis(millis);
        let (key, worker_key) = (JobKey { place: 0, id: 7 }, WorkerKey { slot: 1, worker: 5 });
        let (attempts, begun) = (3, Begun::Yes);
        let retried = |attempt| Notice::Retried { key, attempt, attempts, outcome: Outcome::Failed, begun, worker_key };
        let settled =
            |attempt, outcome, worker_key| Notice::Settled { key, attempt, attempts, outcome, begun, worker_key };
        figures.note(at(0), &Notice::Spawned(worker_key));
        figures.spawned(worker_key, 4711);
        for round in [0u64, 1] {
            let at = |millis: u64| at(100 * round + millis);
            figures.note(at(1), &Notice::Enqueued(key));
            figures.note(at(1), &Notice::Delayed { key, until: at(3) });
            figures.note(at(4), &Notice::Task { worker_key, key, attempt: 1 });
            figures.note(at(10), &retried(1));
            figures.note(at(10), &Notice::Delayed { key, until: at(20) });
            let over = match round {
                // It is aborted while it waits.
                0 => figures.note(at(15), &settled(1, Outcome::Aborted, None)),
                _ => {
                    figures.note(at(20), &Notice::Task { worker_key, key, attempt: 2 });
                    figures.note(at(50), &settled(2, Outcome::Success, Some(worker_key)))
                }
            };
            let (attempts, queued, running) = [(1, 8, 6), (2, 13, 36)][round as usize];
            let (queued, running) = (Duration::from_millis(queued), Duration::from_millis(running));
            let (worker, pid) = (Some(WorkerId(5)), Some(4711));
            assert_eq!(over, Some(JobReport { attempts, queued, running, worker, pid }));
            assert!(figures.past.is_empty());
        }
        figures.note(at(300), &Notice::Enqueued(key));
        let over = figures.note(at(307), &settled(0, Outcome::Closed, None));
        assert_eq!(over, Some(JobReport { queued: at(7), ..JobReport::default() }));
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let mut figures = Figures::new();
        let at = |millis: u64| Duration::from_millis(millis);
        for n in 0..5u64 {
            figures.note(at(500 + n), &Notice::Enqueued(JobKey { place: 0, id: n }));
        }
        assert_eq!(figures.rate(at(700)), Rate { enqueued: 5, finished: 0, over: at(700) });
        figures.note(at(3_200), &Notice::Enqueued(JobKey { place: 0, id: 9 }));
        assert_eq!(figures.rate(at(3_300)), Rate { enqueued: 6, finished: 0, over: at(3_300) });
        // The first second is forgotten, whether anything has happened since or not.
        assert_eq!(figures.rate(at(10_900)), Rate { enqueued: 6, finished: 0, over: at(10_900) });
        assert_eq!(figures.rate(at(11_100)), Rate { enqueued: 1, finished: 0, over: at(10_100) });
        assert_eq!(figures.rate(at(60_000)), Rate { enqueued: 0, finished: 0, over: at(10_000) });
        figures.note(at(60_500), &Notice::Enqueued(JobKey { place: 0, id: 10 }));
        assert_eq!(figures.rate(at(60_600)), Rate { enqueued: 1, finished: 0, over: at(10_600) });
    }

    /// `-- figures --nocapture` shows what a job costs; the bound is for a busy machine.
    #[test]
    #[allow(clippy::disallowed_methods)]
    fn a_job_costs_less_than_a_microsecond() {
        const JOBS: u64 = 100_000;
        let mut figures = Figures::new();
        let worker_key = WorkerKey { slot: 0, worker: 1 };
        let (attempt, attempts, outcome, begun) = (1, 1, Outcome::Success, Begun::Yes);
        let round = |figures: &mut Figures| {
            let before = std::time::Instant::now();
            for id in 0..JOBS {
                let (now, key) = (Duration::from_micros(id), JobKey { place: id as u32 % 64, id });
                let worker_key_of = Some(worker_key);
                figures.note(now, &Notice::Enqueued(key));
                figures.note(now, &Notice::Task { worker_key, key, attempt });
                figures
                    .note(now, &Notice::Settled { key, attempt, attempts, outcome, begun, worker_key: worker_key_of });
            }
            before.elapsed() / JOBS as u32
        };
        let best = (0..5).map(|_| round(&mut figures)).min().unwrap_or_default();
        eprintln!("{best:?} a job");
        assert!(best < Duration::from_micros(1), "{best:?}");
        assert_eq!((figures.waiting().count, figures.running().count), (5 * JOBS, 5 * JOBS));
    }
}
