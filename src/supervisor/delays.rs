//! Jobs that are not to be queued before a time, and jobs that are over at one.
//!
//! Those that wait for a time are in the backlog, and hold no worker. A job expires where no worker has begun it in time. One
//! that a worker was sent in time is recalled, and expires once it is skipped: only that worker can say that it has not
//! begun.

use super::jobs::JobState;
use super::{JobKey, Notice, Outcome, Step};
use std::time::Duration;

impl Step<'_> {
    /// The job is not to be queued before so long a time is over.
    pub(super) fn delay(&mut self, key: JobKey, wait: Duration) {
        if wait.is_zero() {
            return;
        }
        let until = self.now.saturating_add(wait);
        self.machine.delays.set(key, until);
        self.emit(Notice::Delayed { key, until });
    }

    /// A job that is in no place is queued, now or at its time.
    pub(super) fn queue_in_time(&mut self, key: JobKey) {
        if self.machine.delays.is_set(key) {
            self.machine.jobs.set_state(key, JobState::Delayed);
        } else {
            self.queue_at_back(key);
        }
    }

    /// Queues the jobs whose time has come. One whose worker is still to be reaped waits for that.
    pub(super) fn end_delays(&mut self) {
        while let Some(key) = self.machine.delays.take_due(self.now) {
            if self.machine.jobs.get(key).is_some_and(|entry| entry.state == JobState::Delayed) {
                self.machine.jobs.set_state(key, JobState::Nowhere);
                self.queue_at_back(key);
            }
        }
    }

    /// The jobs whose time is over are settled, unless a worker has begun them.
    pub(super) fn expire_due(&mut self) {
        while let Some(key) = self.machine.expiries.take_due(self.now) {
            let Some(entry) = self.machine.jobs.get(key) else { continue };
            let (state, attempt) = (entry.state, entry.attempt);
            match state {
                JobState::Queued | JobState::Delayed if attempt == 0 => self.settle(key, Outcome::Expired),
                JobState::Prefetched(slot) if attempt == 0 => {
                    self.machine.jobs.entry(key.place).overdue = true;
                    let worker_key = self.worker_key(slot);
                    self.of_worker(worker_key, |step| step.recall_one(worker_key, key));
                }
                // It is presumed begun, and may come back as not begun.
                JobState::Running(_) if attempt == 1 => self.machine.jobs.entry(key.place).overdue = true,
                _ => {}
            }
        }
    }
}
