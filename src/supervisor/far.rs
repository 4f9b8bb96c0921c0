//! Workers on other machines: their connection can be lost while they go on.
//!
//! **A lost connection proves nothing.** The end of the local ssh, the end of its output, silence: none says what the worker has
//! begun, since answers are lost on the way, and jobs may still arrive. So a loss charges every job that was sent and neither
//! answered nor skipped, and a job that is tried again waits until the worker's end is certain.
//!
//! **Why its end is certain.** The worker's guard ends its whole group once nothing has come to it for the limit of silence, by
//! its own clock; the first heartbeat, which sets that limit, goes before the first job, and where the guard reads it late, the
//! limit counts from the worker's first Ready. Nothing is sent any more once the local process is reaped: it alone holds the
//! other end. So the last byte that may reach the worker was sent before that, and the worker ends within the limit of silence
//! after that byte has come. Half that limit is added, for the byte's way, for clocks that do not run alike, and for a guard that
//! is not scheduled at once. That is an assumption, and the one that is made: what the network has taken arrives within half the
//! limit or never, and the far machine's clock runs (one that is suspended takes up its jobs where it left them).

use super::config::LimitKey;
use super::jobs::JobState;
use super::lifecycle::{End, Far};
use super::timers::Timer;
use super::{Action, JobKey, Notice, Step, WorkerKey};
use std::mem;
use std::time::Duration;

/// A heartbeat is sent so many times within the limit of silence.
const HEARTBEATS: u32 = 3;

/// How long after the local process was reaped the end of a far worker is certain.
pub(super) fn certain_end(silence: Duration) -> Duration {
    silence.saturating_add(silence / 2)
}

impl Step<'_> {
    /// The worker's hello is here: from now on neither side is silent.
    pub(super) fn hello(&mut self, worker_key: WorkerKey, recalls: bool) {
        self.worker(worker_key).recalls = recalls;
        if self.worker(worker_key).is_far() && !self.worker(worker_key).is_exiting() {
            self.heartbeat(worker_key);
            self.heard(worker_key);
        }
    }

    /// Something has come from the worker.
    pub(super) fn heard(&mut self, worker_key: WorkerKey) {
        let now = self.now;
        let worker = self.worker(worker_key);
        if let Some(far) = worker.far
            && !worker.is_exiting()
            && !worker.is_reaped()
        {
            let silent_at = now.checked_add(far.silence);
            worker.timers.set(Timer::Silence, silent_at);
        }
    }

    pub(super) fn heartbeat(&mut self, worker_key: WorkerKey) {
        let Some(Far { silence, .. }) = self.worker(worker_key).far else { return };
        let next_at = self.after(Some(silence / HEARTBEATS));
        self.worker(worker_key).timers.set(Timer::Heartbeat, next_at);
        self.act(Action::SendHeartbeat { worker_key, silence });
    }

    /// Nothing has been heard for the limit of silence. What has come and was not read counts: this program may have been
    /// stopped, or nobody takes the worker's progress.
    pub(super) fn silence_is_over(&mut self, worker_key: WorkerKey) {
        if let Some(far) = &mut self.worker(worker_key).far {
            far.draining = true;
        }
        self.act(Action::Drain(worker_key));
    }

    /// All that had come has been reported. Gives whether it was nothing, so that the worker is lost.
    pub(super) fn silence_drained(&mut self, worker_key: WorkerKey) -> bool {
        let worker = self.worker(worker_key);
        let is_lost = worker.far.as_mut().is_some_and(|far| mem::take(&mut far.draining))
            && worker.timers.get(Timer::Silence).is_none()
            && !worker.is_exiting()
            && !worker.is_reaped();
        if is_lost {
            self.emit(Notice::Silent(worker_key));
            self.kill(worker_key, End::Silent);
        }
        is_lost
    }

    /// The local process of a far worker is reaped: the worker itself may go on for a while, unless it has written a terminal
    /// failure or had nothing to do.
    pub(super) fn may_go_on(&mut self, worker_key: WorkerKey) {
        let now = self.now;
        let worker = self.worker(worker_key);
        let had_jobs = worker.current.is_some() || !worker.prefetched.is_empty() || !worker.retry_at_death.is_empty();
        let failed_terminally = worker.failed_terminally();
        let Some(far) = &mut worker.far else { return };
        if had_jobs && !failed_terminally {
            let end = now.saturating_add(certain_end(far.silence));
            far.gone_at = Some(end);
            let all = self.machine.far_gone_at.max(Some(end));
            self.machine.far_gone_at = all;
        }
    }

    /// Forgets the far workers whose end is certain by now.
    pub(super) fn far_are_gone(&mut self) {
        let now = self.now;
        self.machine.far_gone_at = self.machine.far_gone_at.filter(|&at| at > now);
        for (_, permit) in self.machine.far_permits.extract_if(.., |(at, _)| *at <= now).collect::<Vec<_>>() {
            self.give_back(Some(permit));
        }
    }

    /// The permit of a worker that is reaped is free: at once, or once the worker has an end for certain.
    pub(super) fn give_back_after(&mut self, permit: LimitKey, gone_at: Option<Duration>) {
        match gone_at {
            Some(gone_at) => self.machine.far_permits.push((gone_at, permit)),
            None => self.give_back(Some(permit)),
        }
    }

    /// A job whose worker is reaped is tried again: at once, or, where its worker may go on, once that has an end for certain.
    pub(super) fn retry_after(&mut self, key: JobKey, gone_at: Option<Duration>) {
        self.machine.jobs.set_state(key, JobState::Nowhere);
        if let Some(gone_at) = gone_at
            && self.machine.delays.get(key).is_none_or(|at| at < gone_at)
        {
            self.delay(key, gone_at.saturating_sub(self.now));
        }
        self.queue_in_time(key);
    }
}
