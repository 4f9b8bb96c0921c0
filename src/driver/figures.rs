//! Figures that need a clock: how long jobs waited and ran, how many ended of late, and why workers ended.
//!
//! All is taken from what the machine says has happened, with the time of the input that led to it: no clock is read for it, and
//! a job costs some ten nanoseconds.

use crate::histogram::{Distribution, Histogram};
use crate::stats::{Rate, Restarts};
use crate::supervisor::{JobKey, Notice, Outcome, WorkerKey};
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
    /// Since when it is in its state.
    since: Duration,
    /// The job that it runs, and since when.
    job: Option<(u64, Duration)>,
    cause: Option<Cause>,
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
            jobs: 0,
            slots: Vec::new(),
            recent: [(0, 0); SECONDS + 1],
            second: 0,
            ending: false,
        }
    }

    pub(super) fn note(&mut self, now: Duration, notice: &Notice) {
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
                self.attempt_over(now, key, outcome, worker_key);
                self.queue(key, now);
            }
            // It waits for a worker from then on.
            Notice::Delayed { key, until } => self.queue(key, until),
            Notice::Settled { key, outcome, worker_key, .. } => {
                if let Some(worker_key) = worker_key {
                    self.attempt_over(now, key, outcome, worker_key);
                }
                self.this_second(now).1 += 1;
                self.jobs = self.jobs.saturating_sub(1);
                if self.jobs == 0 && self.queued.len() > KEPT {
                    self.queued = Vec::new();
                }
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

    fn attempt_over(&mut self, now: Duration, key: JobKey, outcome: Outcome, worker_key: WorkerKey) {
        let slot = self.slot(worker_key);
        if let Some((_, since)) = slot.job.take_if(|(job, _)| *job == key.id) {
            self.running.count(now.saturating_sub(since));
            if outcome == Outcome::Aborted {
                self.because(worker_key, Cause::Aborted);
            }
        }
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
