//! Who leaves because of its age, or because it has nothing to do: not before its time, and not after it.

use super::{Checker, Found, ensure};
use crate::supervisor::worker::Worker;
use crate::supervisor::{Supervisor, WorkerKey};
use std::time::Duration;

impl Checker {
    /// How many workers stay however long they have nothing to do.
    fn minimum(&self) -> usize {
        if self.admission.is_closed() { 0 } else { self.min_processes.min(self.max_processes) }
    }

    /// Whether the worker, which is told to leave, has had no job for as long as one may, and enough others stay.
    pub(super) fn is_idle_for_long(&self, worker_key: WorkerKey) -> bool {
        let since = self.processes.get(&worker_key).and_then(|process| process.idle_since);
        let over = self.idle_timeout.zip(since).is_some_and(|(limit, since)| self.now >= since + limit);
        let lasts = |of: WorkerKey| of != worker_key && !self.announced.is_exiting(of) && !self.is_dismissed(of);
        let others = self.processes.iter().filter(|(of, process)| process.alive && !process.ending && lasts(**of));
        over && others.count() >= self.minimum()
    }

    /// Whether the worker may be as old as one may be.
    pub(super) fn may_be_old(&self, worker_key: WorkerKey) -> bool {
        let ready_at = self.processes.get(&worker_key).and_then(|process| process.ready_at);
        self.max_age.zip(ready_at).is_some_and(|(limit, at)| self.now >= at + limit * 9 / 10)
    }

    /// Whether the worker is as old as one may be at `now`.
    pub(super) fn is_old(&self, now: Duration, worker_key: WorkerKey) -> bool {
        let ready_at = self.processes.get(&worker_key).and_then(|process| process.ready_at);
        self.max_age.zip(ready_at).is_some_and(|(limit, at)| now > at + limit)
    }

    pub(super) fn note_idle(&mut self, machine: &Supervisor) {
        let now = self.now;
        for (worker_key, process) in &mut self.processes {
            let is_free = machine.worker(*worker_key).is_some_and(Worker::is_free);
            process.idle_since = is_free.then(|| process.idle_since.unwrap_or(now));
        }
    }

    /// At `now` nobody is free who is old; and of those who are free, where they are more than are to stay, one at least has
    /// not been so for long.
    pub(super) fn nobody_stays_too_long(&self, now: Duration, machine: &Supervisor) -> Found {
        let free = || machine.workers().filter(|(_, worker)| worker.is_free()).map(|(worker_key, _)| worker_key);
        let old = free().find(|&worker_key| self.is_old(now, worker_key));
        ensure(old.is_none(), || format!("{old:?} stays at {now:?}, and is old"))?;
        let Some(limit) = self.idle_timeout else { return Ok(()) };
        let since = |worker_key| self.processes.get(&worker_key).and_then(|process| process.idle_since).unwrap_or(now);
        // While somebody waits until all are ready nobody leaves, and then each anew.
        let Some(all_ready) = self.announced.all_ready_at() else { return Ok(()) };
        let stays = |worker_key| now <= since(worker_key).max(all_ready) + limit;
        let some_stay = free().count() <= self.minimum() || free().any(stays);
        ensure(self.admission.is_closed() || some_stay, || format!("nobody leaves at {now:?}, though all are idle"))
    }
}
