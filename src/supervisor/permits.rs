//! Permits: how many jobs of a key run at once.
//!
//! **A permit belongs to what a worker holds**: a job takes it when it is sent, prefetched or not, and the worker gives it
//! back when it has answered or skipped the job, or is dead. So a job that is aborted, or over its limit, keeps its permit
//! until its handler can no longer run. Of a worker that broke the protocol only its death is believed.

use super::config::LimitKey;
use super::{JobKey, Notice, Step, Supervisor, WorkerKey};

impl Step<'_> {
    /// The job is sent to a worker.
    pub(super) fn take_permit(&mut self, key: JobKey) -> Option<LimitKey> {
        let Supervisor { backlog, jobs, .. } = &mut *self.machine;
        let limit_key = jobs.get(key)?.settings.limit()?.key;
        backlog.take_permit(jobs, limit_key);
        Some(limit_key)
    }

    /// A worker has come to an end with a job.
    pub(super) fn give_back(&mut self, permit: Option<LimitKey>) {
        let Some(limit_key) = permit else { return };
        let Supervisor { backlog, jobs, .. } = &mut *self.machine;
        if backlog.give_back(jobs, limit_key) {
            self.emit(Notice::KeyForgotten(limit_key));
        }
    }

    /// Whatever the worker says from here on, its permits are taken until it is dead.
    pub(super) fn keep_permits(&mut self, worker_key: WorkerKey) {
        let worker = self.worker(worker_key);
        let current = worker.current.iter_mut().filter_map(|current| current.permit.take());
        let prefetched = worker.prefetched.iter_mut().filter_map(|prefetched| prefetched.permit.take());
        worker.kept_permits.extend(current.chain(prefetched));
    }

    /// A job of the key is settled, or was not accepted.
    pub(super) fn remove_job_of(&mut self, limit_key: Option<LimitKey>) {
        if let Some(limit_key) = limit_key
            && self.machine.backlog.remove_job(limit_key)
        {
            self.emit(Notice::KeyForgotten(limit_key));
        }
    }

    /// A job that waited for a permit goes before prefetched jobs of a lower priority, from when there is one.
    pub(super) fn recall_for_the_permitted(&mut self) {
        let Supervisor { backlog, jobs, .. } = &mut *self.machine;
        if backlog.take_opened()
            && let Some(key) = backlog.front(jobs)
        {
            self.recall_lower(key);
        }
    }
}
