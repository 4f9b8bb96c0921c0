//! Which worker gets which job: each free worker gets the next job of the backlog.

use super::config::{USUAL_AGE, USUAL_JOBS};
use super::worker::Worker;
use super::{JobKey, Step, Supervisor, WorkerKey};

impl Step<'_> {
    /// Gives queued jobs to the workers that are free.
    pub(super) fn dispatch_all(&mut self) {
        while !self.machine.free.is_empty() && !self.machine.paused {
            let Supervisor { backlog, jobs, .. } = &mut *self.machine;
            let Some(key) = backlog.pop_front(jobs) else { return };
            let Some(slot) = self.machine.free.pop() else { return };
            self.dispatch(slot, key);
        }
    }

    /// Sends a job to the free worker in `slot`, and prefetches others behind it.
    pub(super) fn dispatch(&mut self, slot: usize, key: JobKey) {
        let Some(worker) = &self.machine.slots[slot] else { return };
        let worker_key = WorkerKey { slot, worker: worker.id };
        self.begin(worker_key, key);
        self.refill(worker_key);
        self.recount(worker_key);
    }

    /// How many jobs the worker in `slot` may still be sent.
    pub(super) fn jobs_left(&self, slot: usize) -> u64 {
        let Some(worker) = &self.machine.slots[slot] else { return 0 };
        match self.machine.config.max_jobs_per_process {
            Some(most) => most - worker.taken,
            None if self.now.saturating_sub(worker.since) < USUAL_AGE => u64::MAX,
            None => USUAL_JOBS.saturating_sub(worker.taken),
        }
    }

    /// A queued job goes before prefetched jobs of a lower priority: those are recalled.
    pub(super) fn recall_lower(&mut self, key: JobKey) {
        let machine = &*self.machine;
        let priority_of = |key| machine.jobs.get(key).map_or(0, |entry| entry.settings.priority());
        let priority = priority_of(key);
        if priority <= machine.lowest_priority {
            return;
        }
        let lower = |worker: &Worker| worker.prefetched_keys().any(|prefetched| priority_of(prefetched) < priority);
        let worker_keys = machine.alive().filter(|(_, worker)| lower(worker)).map(|(worker_key, _)| worker_key);
        for worker_key in worker_keys.collect::<Vec<_>>() {
            self.recall(worker_key);
        }
    }
}
