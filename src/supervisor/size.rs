//! Whether anything is begun, and how many workers there are: what a caller may change while the pool runs.

use super::{Admits, Step, Supervisor};

impl Supervisor {
    /// Whether nothing is begun until the pool is resumed.
    pub(crate) fn is_paused(&self) -> bool {
        self.paused
    }

    /// Takes the free worker that is next, where one may be given a job.
    pub(super) fn next_free(&mut self) -> Option<usize> {
        if self.paused { None } else { self.free.pop() }
    }
}

impl Step<'_> {
    /// Nothing more is begun: what lies ahead at workers is recalled, what they run goes on. A pool that is closed is not
    /// paused, since its jobs are to come to their end.
    pub(super) fn pause(&mut self) {
        if self.machine.admits != Admits::All {
            return;
        }
        self.machine.paused = true;
        for worker_key in self.machine.alive().map(|(worker_key, _)| worker_key).collect::<Vec<_>>() {
            self.recall(worker_key);
        }
    }

    /// Jobs are begun again; the free workers get theirs at the end of the step.
    pub(super) fn resume(&mut self) {
        self.machine.paused = false;
    }
}
