//! Whether anything is begun, and how many workers there are: what a caller may change while the pool runs.

use super::lifecycle::RetireReason;
use super::timers::Timer;
use super::worker::Worker;
use super::{Admits, Config, Step, Supervisor, WorkerKey};
use std::time::Duration;

/// How many workers are to be there whether there is work or not.
pub(super) fn minimum(config: &Config, admits: Admits) -> usize {
    if admits == Admits::All { config.min_processes.min(config.max_processes) } else { 0 }
}

/// How old this worker may be: up to a tenth less than the pool's limit, so that those that were started together do not
/// all leave at once. The multiples of the golden ratio lie far apart from those before them.
fn own_max_age(limit: Duration, worker: u64) -> Duration {
    let part = worker.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54;
    limit - limit / 10 / 1024 * part as u32
}

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
    /// Nothing more is begun: prefetched jobs are recalled, what they run goes on. A pool that is closed is not
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
            if worker_key.slot < most {
                self.worker(worker_key).retires_for.remove(RetireReason::Surplus);
            } else {
                self.retire(worker_key, RetireReason::Surplus);
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
            self.retire(worker_key, RetireReason::Dismissed);
        }
    }

    /// The worker has been without a job for as long as one may be. It leaves where there are more than are to stay.
    pub(super) fn idle_for_long(&mut self, worker_key: WorkerKey) {
        let machine = &*self.machine;
        if machine.awaiting_ready {
            // Somebody waits until all are there at once.
            return self.start_idle(worker_key);
        }
        let lasts = |(_, worker): &(WorkerKey, &Worker)| !worker.is_ending() && !worker.takes_no_more();
        let lasting = machine.alive().filter(lasts).count();
        if lasting > minimum(&machine.config, machine.admits) && self.worker(worker_key).is_free() {
            self.retire(worker_key, RetireReason::Dismissed);
        }
    }

    /// From here on the worker has no job.
    pub(super) fn start_idle(&mut self, worker_key: WorkerKey) {
        let idle_at = self.after(self.machine.config.idle_timeout);
        self.worker(worker_key).timers.set(Timer::Idle, idle_at);
    }

    /// The worker is ready, and grows old from here on: so it does a job first, however long its start took.
    pub(super) fn start_age(&mut self, worker_key: WorkerKey) {
        let limit = self.machine.config.max_age.map(|limit| own_max_age(limit, worker_key.worker));
        let old_at = self.after(limit);
        self.worker(worker_key).timers.set(Timer::Age, old_at);
    }

    /// The worker is as old as it may be, and leaves after its job.
    pub(super) fn is_old(&mut self, worker_key: WorkerKey) {
        self.retire(worker_key, RetireReason::Dismissed);
    }

    /// The workers that are not on their way out.
    fn all_lasting(&self) -> Vec<WorkerKey> {
        let lasting = self.machine.alive().filter(|(_, worker)| !worker.is_exiting());
        lasting.map(|(worker_key, _)| worker_key).collect()
    }

    /// Jobs are begun again; the free workers get theirs at the end of the step.
    pub(super) fn resume(&mut self) {
        self.machine.paused = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_that_start_together_grow_old_one_after_the_other() {
        let limit = Duration::from_secs(3600);
        let mut ages: Vec<Duration> = (1..=16).map(|worker| own_max_age(limit, worker)).collect();
        ages.sort_unstable();
        assert!(ages[0] > limit - limit / 10 && ages[15] <= limit, "{ages:?}");
        // A tenth of an hour is 360 s: none is within 8 s of another.
        assert!(ages.windows(2).all(|two| two[1] - two[0] > Duration::from_secs(8)), "{ages:?}");
        assert!(own_max_age(Duration::MAX, 7) <= Duration::MAX);
    }
}
