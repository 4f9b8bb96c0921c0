//! Limits of time and of memory.

use super::timers::Timer;
use super::worker::Doom;
use super::{Effect, MEASURE_EVERY, MaxMemory, Seat, Step, WorkerState};
use std::time::Duration;

impl<T> Step<'_, T> {
    /// From now on the state has this limit. What a dead worker has left to say is not timed any more.
    pub(super) fn start_limit(&mut self, seat: Seat, limit: Option<Duration>) {
        let limit_at = self.after(limit);
        let worker = self.worker(seat);
        (worker.limit, worker.hearing) = (limit, false);
        worker.timers.set(Timer::Limit, limit_at.filter(|_| !worker.exited));
    }

    pub(super) fn clear_limit(&mut self, seat: Seat) {
        self.start_limit(seat, None);
    }

    /// The state's limit is over, or that of an exit that does not come.
    pub(super) fn over_limit(&mut self, seat: Seat) {
        let worker = self.worker(seat);
        if worker.state == WorkerState::Exiting {
            return self.signal(seat);
        }
        // What it has written in time counts, though this program may not have read it: it may have been stopped.
        worker.hearing = true;
        self.emit(Effect::Hear(seat));
    }

    /// All that the worker wrote before its limit was found to be over has been told.
    pub(super) fn heard(&mut self, seat: Seat) {
        let worker = self.worker(seat);
        if std::mem::take(&mut worker.hearing) {
            let limit = worker.limit.unwrap_or_default();
            self.condemn(seat, Doom::TimedOut { limit });
        }
    }

    /// The memory of the worker is looked at again after a while, if it has a hard limit.
    pub(super) fn measure_later(&mut self, seat: Seat) {
        let limited = self.machine.config.max_memory.hard.is_some() && !self.worker(seat).exited;
        let measure_at = self.after(limited.then_some(MEASURE_EVERY));
        self.worker(seat).timers.set(Timer::Measure, measure_at);
    }

    pub(super) fn resident(&mut self, seat: Seat, bytes: u64, at_rest: bool) {
        let MaxMemory { soft, hard } = self.machine.config.max_memory;
        let worker = self.worker(seat);
        if worker.state == WorkerState::Exiting {
            return;
        }
        let over = |limit: Option<u64>| limit.filter(|&limit| bytes > limit);
        if let Some(limit) = over(hard)
            && !at_rest
        {
            // If its job is done before it can be killed, it does no other.
            worker.outgrown = true;
            return self.condemn(seat, Doom::OverMemory { bytes, limit });
        }
        // One that is large from its start on does a job all the same.
        let has_job =
            matches!(worker.state, WorkerState::Working | WorkerState::Recovering) || worker.current.is_some();
        if over(soft.or(hard)).is_some() && has_job && !worker.outgrown {
            worker.outgrown = true;
            self.emit(Effect::Outgrown { seat, bytes });
            self.recall(seat);
        }
    }
}
