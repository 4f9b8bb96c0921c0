//! Jobs that are not to be queued before a time. They are in the backlog, and hold no worker.

use super::jobs::JobState;
use super::{JobKey, Notice, Step};
use std::time::Duration;

impl Step<'_> {
    /// The job is not to be queued before so long a time is over.
    pub(super) fn delay(&mut self, key: JobKey, wait: Duration) {
        if wait.is_zero() {
            return;
        }
        let until = self.now.saturating_add(wait);
        self.machine.delays.set(key, until);
        self.tell(Notice::Delayed { key, until });
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
}
