//! Counts again, at the end of every step of a debug build, what the machine counts by hand, and looks whether its tables
//! say the same of a job or a worker.

use super::jobs::{Entry, JobState};
use super::lifecycle::{Awaited, Course, Phase, Process};
use super::timers::Timer;
use super::worker::Worker;
use super::{Admits, JobKey, Supervisor};
use std::collections::BTreeMap;

/// With more jobs than this their table is not walked at every step.
const WALKED: usize = 256;

impl Supervisor {
    pub(super) fn check_counts(&self) {
        // In pools that are small enough for that to cost little beside the step.
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
        let counters = &self.counters;
        let settled = counters.succeeded + counters.failed + counters.aborted;
        debug_assert_eq!(counters.enqueued, settled + self.jobs.len() as u64, "enqueued");
        debug_assert_eq!(
            counters.spawned,
            counters.exited + workers().filter(|worker| worker.is_spawned()).count() as u64,
            "spawned"
        );
        debug_assert!(
            self.pending.is_empty() || (self.admits == Admits::All && !self.has_room_for_pending()),
            "pending"
        );
        let slots = self.slots.iter().enumerate();
        let deadline = |(slot, worker): (usize, &Option<Worker>)| Some((slot, worker.as_ref()?.timers.next()?));
        self.deadlines.check(slots.filter_map(deadline));
        self.restarts.check_counts();
        workers().for_each(check_worker);
        let most = self.config.max_jobs_per_process.unwrap_or(u64::MAX);
        debug_assert!(workers().all(|worker| worker.taken <= most), "taken");
        self.backlog.check_counts(&self.jobs);
        if self.jobs.len() <= WALKED {
            self.check_jobs();
        }
    }

    /// Of each key there are as many jobs and permits as jobs have it and workers have them.
    fn check_keys(&self) {
        let mut uses = BTreeMap::<_, (usize, usize)>::new();
        let waiting = self.pending.iter().map(|job| &job.settings);
        let jobs = self.jobs.iter().map(|(_, entry)| &entry.settings).chain(waiting);
        jobs.filter_map(|settings| settings.limit()).for_each(|limit| uses.entry(limit.key).or_default().0 += 1);
        let of_the_lost = self.far_permits.iter().map(|&(_, limit_key)| limit_key);
        let permits = self.slots.iter().flatten().flat_map(Worker::permits).chain(of_the_lost);
        permits.for_each(|limit_key| uses.entry(limit_key).or_default().1 += 1);
        debug_assert_eq!(self.backlog.uses().collect::<BTreeMap<_, _>>(), uses, "keys");
    }

    /// Each job is where its state says, and nowhere else.
    fn check_jobs(&self) {
        self.check_keys();
        let mut queued = 0;
        let mut at_workers = 0;
        for (key, entry) in self.jobs.iter() {
            match entry.state {
                JobState::Nowhere => debug_assert!(false, "{key:?} is nowhere"),
                JobState::Queued => queued += 1,
                JobState::Delayed => debug_assert!(self.delays.is_set(key), "{key:?} waits for no time"),
                JobState::Running(slot) | JobState::Prefetched(slot) | JobState::AwaitingReap(slot) => {
                    at_workers += 1;
                    let worker = self.slots[slot as usize].as_ref();
                    debug_assert!(
                        worker.is_some_and(|worker| has(worker, key, entry)),
                        "{key:?}: {entry:?}, {worker:?}"
                    );
                }
            }
        }
        debug_assert_eq!(self.backlog.len(), queued, "queued");
        for key in self.abort_calls.iter().flat_map(|call| &call.awaited) {
            let state = self.jobs.get(*key).map(|entry| entry.state);
            let at_worker = matches!(state, Some(JobState::Running(_) | JobState::Prefetched(_)));
            debug_assert!(at_worker, "{key:?} is awaited, and at no worker");
        }
        let of_worker = |worker: &Worker| {
            let current = worker.current.iter().filter(|current| current.key.is_some()).count();
            let prefetched = worker.prefetched.iter().filter(|prefetched| prefetched.key.is_some()).count();
            current + prefetched + worker.retry_at_death.len()
        };
        debug_assert_eq!(at_workers, self.slots.iter().flatten().map(of_worker).sum::<usize>(), "at workers");
    }
}

fn has(worker: &Worker, key: JobKey, entry: &Entry) -> bool {
    match entry.state {
        JobState::Running(_) => worker.current.is_some_and(|current| current.key == Some(key)),
        JobState::Prefetched(_) => worker.prefetched.iter().any(|prefetched| prefetched.key == Some(key)),
        JobState::AwaitingReap(_) => worker.retry_at_death.contains(&key),
        JobState::Nowhere | JobState::Queued | JobState::Delayed => false,
    }
}

/// What is there only in some parts of a worker's life is there only then.
fn check_worker(worker: &Worker) {
    let awaits = worker.owes_an_answer() && worker.pending_kill().is_none();
    debug_assert!(
        worker.is_ending() || awaits == matches!(worker.awaited, Awaited::Recall { .. }),
        "awaited: {worker:?}"
    );
    let keeps = worker.takes_no_more() && worker.has_unrecalled();
    debug_assert!(worker.is_ending() || !keeps, "takes_no_more: {worker:?}");
    let condemned = worker.pending_kill().is_some();
    debug_assert!(!condemned || !(worker.is_exiting() || worker.is_reaped()), "pending_kill: {worker:?}");
    let draining = worker.limit.is_some_and(|limit| limit.draining);
    debug_assert!(!draining || !(worker.is_exiting() || worker.is_reaped()), "draining: {worker:?}");
    if let Phase::Exiting(exit) = worker.phase {
        let awaits_spawn = matches!(exit.course, Course::Due(_));
        debug_assert_eq!(awaits_spawn, worker.process == Process::Requested, "course: {worker:?}");
    }
    let holds = usize::from(worker.current.is_some()) + worker.prefetched.len();
    debug_assert!(worker.taken >= worker.jobs_done() + holds as u64, "taken: {worker:?}");
    debug_assert_eq!(worker.counted_busy, worker.is_busy(), "counted_busy: {worker:?}");
    let cancels = worker.cancel.is_some();
    debug_assert!(!cancels || (worker.held().is_some() && !worker.is_reaped()), "cancel: {worker:?}");
    let until = worker.cancel.filter(|cancel| !cancel.draining).map(|cancel| cancel.until);
    let at = worker.timers.get(Timer::Cancel);
    debug_assert!(at.is_none() || at == until, "cancel: {worker:?}");
}
