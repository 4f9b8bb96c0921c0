//! Limits of time and of memory.

use super::lifecycle::{KillCause, Limit, Phase, RetireReason};
use super::timers::Timer;
use super::worker::Worker;
use super::{Action, MEASURE_EVERY, MaxMemory, Notice, Step, Supervisor, WorkerKey};
use std::time::Duration;

impl Supervisor {
    /// The lowest limit of memory that the worker is not known to have passed, in bytes.
    pub(crate) fn next_memory_limit(&self, worker_key: WorkerKey) -> u64 {
        let MaxMemory { soft, hard } = self.config.max_memory;
        let over = |worker: &Worker| worker.retires_for.contains(RetireReason::OverSoftLimit);
        let soft = soft.filter(|_| !self.worker(worker_key).is_some_and(over));
        soft.or(hard).unwrap_or(u64::MAX)
    }
}

impl Step<'_> {
    /// From now on the state has this limit. What a dead worker has left to say is not timed any more.
    pub(super) fn start_limit(&mut self, worker_key: WorkerKey, limit: Option<Duration>) {
        let limit_at = self.after(limit);
        let worker = self.worker(worker_key);
        worker.limit = limit.map(|after| Limit { after, draining: false });
        worker.timers.set(Timer::Limit, limit_at.filter(|_| !worker.is_dead()));
    }

    pub(super) fn clear_limit(&mut self, worker_key: WorkerKey) {
        self.start_limit(worker_key, None);
    }

    /// The state's limit is over, or that of an exit that does not come.
    pub(super) fn timed_out(&mut self, worker_key: WorkerKey) {
        let worker = self.worker(worker_key);
        if worker.is_exiting() {
            return self.signal(worker_key);
        }
        if worker.is_cancel_draining() {
            // The job ends anyway.
            return;
        }
        // What it has written in time counts, though this program may not have read it: it may have been stopped.
        if let Some(limit) = &mut worker.limit {
            limit.draining = true;
        }
        self.act(Action::Drain(worker_key));
    }

    /// All that the worker wrote before its limit was found to be over has been reported.
    pub(super) fn drained(&mut self, worker_key: WorkerKey) {
        if self.silence_drained(worker_key) {
            return;
        }
        let worker = self.worker(worker_key);
        if worker.cancel.as_mut().is_some_and(|cancel| std::mem::take(&mut cancel.draining)) {
            return self.cancel_drained(worker_key);
        }
        if let Some(Limit { after: limit, .. }) = worker.limit.filter(|limit| limit.draining) {
            worker.stop_draining();
            self.prepare_kill(worker_key, KillCause::TimedOut { limit });
        }
    }

    /// The memory of the worker is looked at again after a while, if it has a hard limit.
    pub(super) fn measure_later(&mut self, worker_key: WorkerKey) {
        let limited = self.machine.config.max_memory.hard.is_some() && !self.worker(worker_key).is_dead();
        let measure_at = self.after(limited.then_some(MEASURE_EVERY));
        self.worker(worker_key).timers.set(Timer::Measure, measure_at);
    }

    /// So much memory the worker holds while its handler may run.
    pub(super) fn resident(&mut self, worker_key: WorkerKey, bytes: u64) {
        let hard = self.machine.config.max_memory.hard;
        let worker = self.worker(worker_key);
        if worker.is_exiting() {
            return;
        }
        let Some(limit) = hard.filter(|&limit| bytes > limit) else {
            return self.check_soft_limit(worker_key, bytes);
        };
        // If its job is done before it can be killed, it does no other.
        worker.retires_for.insert(RetireReason::OverSoftLimit);
        self.prepare_kill(worker_key, KillCause::OverHardLimit { bytes, limit });
    }

    /// A worker over its soft limit does no more jobs. One that is as large from its start on does one all the same.
    pub(super) fn check_soft_limit(&mut self, worker_key: WorkerKey, bytes: u64) {
        let MaxMemory { soft, hard } = self.machine.config.max_memory;
        let worker = self.worker(worker_key);
        let has_job = matches!(worker.phase, Phase::Working | Phase::Recovering) || worker.current.is_some();
        let is_over = soft.or(hard).is_some_and(|limit| bytes > limit);
        if is_over && has_job && !worker.is_exiting() && !worker.retires_for.contains(RetireReason::OverSoftLimit) {
            self.emit(Notice::OverSoftLimit { worker_key, bytes });
            self.retire(worker_key, RetireReason::OverSoftLimit);
        }
    }
}
