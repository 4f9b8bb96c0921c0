//! Limits of time and of memory.

use super::timers::Timer;
use super::worker::KillCause;
use super::{Effect, MEASURE_EVERY, MaxMemory, Step, WorkerKey, WorkerState};
use std::time::Duration;

impl<T> Step<'_, T> {
    /// From now on the state has this limit. What a dead worker has left to say is not timed any more.
    pub(super) fn start_limit(&mut self, worker_key: WorkerKey, limit: Option<Duration>) {
        let limit_at = self.after(limit);
        let worker = self.worker(worker_key);
        (worker.limit, worker.draining) = (limit, false);
        worker.timers.set(Timer::Limit, limit_at.filter(|_| !worker.exited));
    }

    pub(super) fn clear_limit(&mut self, worker_key: WorkerKey) {
        self.start_limit(worker_key, None);
    }

    /// The state's limit is over, or that of an exit that does not come.
    pub(super) fn timed_out(&mut self, worker_key: WorkerKey) {
        let worker = self.worker(worker_key);
        if worker.state == WorkerState::Exiting {
            return self.signal(worker_key);
        }
        // What it has written in time counts, though this program may not have read it: it may have been stopped.
        worker.draining = true;
        self.emit(Effect::Drain(worker_key));
    }

    /// All that the worker wrote before its limit was found to be over has been told.
    pub(super) fn drained(&mut self, worker_key: WorkerKey) {
        let worker = self.worker(worker_key);
        if std::mem::take(&mut worker.draining) {
            let limit = worker.limit.unwrap_or_default();
            self.prepare_kill(worker_key, KillCause::TimedOut { limit });
        }
    }

    /// The memory of the worker is looked at again after a while, if it has a hard limit.
    pub(super) fn measure_later(&mut self, worker_key: WorkerKey) {
        let limited = self.machine.config.max_memory.hard.is_some() && !self.worker(worker_key).exited;
        let measure_at = self.after(limited.then_some(MEASURE_EVERY));
        self.worker(worker_key).timers.set(Timer::Measure, measure_at);
    }

    pub(super) fn resident(&mut self, worker_key: WorkerKey, bytes: u64, at_rest: bool) {
        let MaxMemory { soft, hard } = self.machine.config.max_memory;
        let worker = self.worker(worker_key);
        if worker.state == WorkerState::Exiting {
            return;
        }
        let over = |limit: Option<u64>| limit.filter(|&limit| bytes > limit);
        if let Some(limit) = over(hard)
            && !at_rest
        {
            // If its job is done before it can be killed, it does no other.
            worker.over_soft_limit = true;
            return self.prepare_kill(worker_key, KillCause::OverHardLimit { bytes, limit });
        }
        // One that is large from its start on does a job all the same.
        let has_job =
            matches!(worker.state, WorkerState::Working | WorkerState::Recovering) || worker.current.is_some();
        if over(soft.or(hard)).is_some() && has_job && !worker.over_soft_limit {
            worker.over_soft_limit = true;
            self.emit(Effect::OverSoftLimit { worker_key, bytes });
            self.recall(worker_key);
        }
    }
}
