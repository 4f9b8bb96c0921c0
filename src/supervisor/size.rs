//! Whether anything is begun, and how many workers there are: what a caller may change while the pool runs.

use super::{Admits, Step, Supervisor, WorkerKey};

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
        for worker_key in self.all_lasting() {
            self.recall(worker_key);
        }
    }

    /// At most so many workers from here on. More are started as jobs need them; those in slots past that leave after their
    /// jobs, and until they have left no other is started in their place.
    pub(super) fn set_max_processes(&mut self, most: usize) {
        let machine = &mut *self.machine;
        if machine.admits == Admits::Nothing {
            return;
        }
        machine.config.max_processes = most;
        if machine.slots.len() < most {
            machine.slots.resize_with(most, || None);
        }
        machine.restarts.set_slots(most);
        if machine.awaiting_ready {
            machine.restarts.want_all();
        }
        for worker_key in self.all_lasting() {
            // One that was not told to leave yet stays where there is room for it again.
            let surplus = worker_key.slot >= most;
            self.worker(worker_key).surplus = surplus;
            if surplus {
                self.let_go(worker_key);
            }
        }
        self.announce_all_ready();
    }

    /// Every worker that there is now is replaced after its job, as one is that has done its number of jobs.
    pub(super) fn recycle(&mut self) {
        if self.machine.admits == Admits::Nothing {
            return;
        }
        for worker_key in self.all_lasting() {
            self.worker(worker_key).dismissed = true;
            self.let_go(worker_key);
        }
    }

    /// The workers that are not on their way out.
    fn all_lasting(&self) -> Vec<WorkerKey> {
        let lasting = self.machine.alive().filter(|(_, worker)| !worker.is_exiting());
        lasting.map(|(worker_key, _)| worker_key).collect()
    }

    /// The worker does no more jobs than the one that it has: what lies ahead is recalled, and one that is free leaves.
    fn let_go(&mut self, worker_key: WorkerKey) {
        self.of_worker(worker_key, |step| {
            step.recall(worker_key);
            if step.worker(worker_key).is_free() {
                step.next_for(worker_key);
            }
        });
    }

    /// Jobs are begun again; the free workers get theirs at the end of the step.
    pub(super) fn resume(&mut self) {
        self.machine.paused = false;
    }
}
