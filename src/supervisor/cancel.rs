//! Cancelling: the handler of a job is asked to come to its end, and its worker is killed only where it does not. A soft limit
//! asks in the same way; the hard limit is what kills.
//!
//! A cancelled job is not retried, and what its handler still answers counts. It is one job's: the timers and the flag end with
//! the attempt, and the worker goes on with the next job.

use super::jobs::JobState;
use super::lifecycle::Cancel;
use super::timers::Timer;
use super::{Action, JobKey, Step, WorkerKey};
use std::time::Duration;

impl Step<'_> {
    /// A caller no longer wants the job. The handler that runs may take so much longer; whatever has not begun is aborted.
    pub(super) fn cancel(&mut self, key: JobKey, grace: Duration) {
        let Some(JobState::Running(slot)) = self.machine.jobs.get(key).map(|entry| entry.state) else {
            return self.abort(key);
        };
        let worker_key = self.worker_key(slot);
        if self.worker(worker_key).held().is_none() {
            // The worker was asked to skip it and has not said that it began it: to everybody it is still queued.
            return self.abort(key);
        }
        let until = self.now.checked_add(grace).filter(|_| grace != Duration::MAX);
        let again = std::mem::replace(&mut self.machine.jobs.entry(key.place).cancelled, true);
        let worker = self.worker(worker_key);
        let is_earlier = until.is_some_and(|until| worker.cancel.is_none_or(|before| until < before.until));
        if worker.is_dead() || (again && (worker.is_cancel_draining() || !is_earlier)) {
            return;
        }
        worker.cancel = until.map(|until| Cancel { until, draining: false });
        worker.timers.set(Timer::Cancel, until);
        worker.timers.clear(Timer::SoftLimit);
        self.ask_to_end(worker_key, key, until.map(|_| grace));
    }

    /// Sends Cancel, unless the worker is on its way out. It is killed `within` so much time; never, where that is none.
    fn ask_to_end(&mut self, worker_key: WorkerKey, key: JobKey, within: Option<Duration>) {
        let worker = self.worker(worker_key);
        if !worker.is_ending() && worker.pending_kill().is_none() {
            self.act(Action::SendCancel { worker_key, id: key.id, within });
        }
    }

    /// The running job has taken longer than its soft limit. The hard one ends it, if there is one.
    pub(super) fn soft_limit_is_over(&mut self, worker_key: WorkerKey) {
        let now = self.now;
        let worker = self.worker(worker_key);
        let within = worker.timers.get(Timer::Limit).map(|at| at.saturating_sub(now));
        // One that the worker was asked to skip, and may have skipped, is not held; it is once the worker speaks of it.
        let is_over = worker.limit.is_some_and(|limit| limit.draining);
        if let Some((key, _)) = worker.held().filter(|_| !is_over) {
            self.ask_to_end(worker_key, key, within);
        }
    }

    /// A job that the worker was asked to skip has begun all the same: its soft limit may be over.
    pub(super) fn restart_soft_limit(&mut self, worker_key: WorkerKey, key: JobKey) {
        let pools = self.machine.config.soft_timeout;
        let soft = self.machine.jobs.get(key).and_then(|entry| entry.settings.soft_timeout(pools));
        let worker = self.worker(worker_key);
        if let (Some(soft), Some(current), false) = (soft, worker.current, worker.is_dead()) {
            worker.timers.set(Timer::SoftLimit, current.since.checked_add(soft));
        }
    }

    /// The grace time of a cancelled job is over.
    pub(super) fn cancel_is_due(&mut self, worker_key: WorkerKey) {
        let worker = self.worker(worker_key);
        if worker.pending_kill().is_some() || worker.limit.is_some_and(|limit| limit.draining) {
            // The job is about to end, for another reason.
            return;
        }
        // What the worker has answered in time counts, though this program may not have read it.
        if let Some(cancel) = &mut worker.cancel {
            cancel.draining = true;
        }
        self.act(Action::Drain(worker_key));
    }

    /// All that the worker wrote before the grace time was found to be over has been reported, and the job is not answered.
    pub(super) fn cancel_drained(&mut self, worker_key: WorkerKey) {
        if let Some((key, _)) = self.worker(worker_key).held() {
            self.abort(key);
        }
    }

    /// The attempt is over: nothing of its cancellation concerns the next one.
    pub(super) fn cancel_is_over(&mut self, worker_key: WorkerKey) {
        let worker = self.worker(worker_key);
        worker.timers.clear(Timer::Cancel);
        worker.timers.clear(Timer::SoftLimit);
        worker.cancel = None;
    }
}
