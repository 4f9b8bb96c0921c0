//! What the machine can be asked: nothing in here changes it.

use super::worker::Worker;
use super::{Admits, Counters, LimitKey, Message, Supervisor, WorkerKey};
use std::time::Duration;

impl Supervisor {
    /// Whether new jobs are taken.
    pub(crate) fn is_open(&self) -> bool {
        self.admits == Admits::All
    }

    /// Whether everything is over: no job, no worker, and none to come.
    pub(crate) fn is_finished(&self) -> bool {
        self.admits == Admits::Nothing && self.live.is_empty()
    }

    /// Whether there is no job, nobody waits to bring one, and no handler can run any more.
    pub(crate) fn is_idle(&self) -> bool {
        self.jobs.is_empty() && self.pending.is_empty() && self.busy == 0 && self.far_gone_at.is_none()
    }

    /// Whether no worker would start, and none has since.
    pub(crate) fn is_circuit_open(&self) -> bool {
        self.restarts.is_circuit_open()
    }

    /// Whether a worker waits for a job.
    pub(crate) fn has_free_worker(&self) -> bool {
        !self.free.is_empty()
    }

    /// Jobs that no worker has begun: queued, prefetched, or waiting to be retried.
    pub(crate) fn backlog_len(&self) -> usize {
        self.jobs.len() - self.held
    }

    /// Those of the backlog that wait for a time.
    pub(crate) fn delayed(&self) -> usize {
        self.delays.len()
    }

    /// The keys of jobs: each with its permits, how many of them are taken, and how many jobs are queued.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (LimitKey, u32, u32, usize)> {
        self.backlog.keys()
    }

    pub(crate) fn unsettled(&self) -> usize {
        self.jobs.len()
    }

    pub(crate) fn busy(&self) -> usize {
        self.busy
    }

    pub(crate) fn counters(&self) -> Counters {
        self.counters
    }

    /// Whether every slot has a worker that has been ready.
    pub(crate) fn all_ready(&self) -> bool {
        let slots = self.config.max_processes;
        let filled = self.live.partition_point(|&slot| slot < slots);
        filled == slots && self.alive().take(filled).all(|(_, worker)| worker.phase.has_been_ready())
    }

    pub(crate) fn worker(&self, worker_key: WorkerKey) -> Option<&Worker> {
        self.slots.get(worker_key.slot)?.as_ref().filter(|worker| worker.id == worker_key.worker)
    }

    /// In which of the sites a slot is.
    pub(crate) fn site_of(&self, slot: usize) -> Option<usize> {
        self.config.site_of(slot)
    }

    /// Whether no worker would start at the site, and none has since.
    pub(crate) fn is_site_down(&self, site: usize) -> bool {
        self.restarts.is_down(site)
    }

    pub(crate) fn site_slots(&self, site: usize) -> usize {
        self.config.sites[site].slots
    }

    /// The workers that have a process, in the order of their slots.
    pub(crate) fn workers(&self) -> impl Iterator<Item = (WorkerKey, &Worker)> {
        self.alive().filter(|(_, worker)| worker.is_spawned())
    }

    /// The workers, those included that are being spawned, in the order of their slots.
    pub(super) fn alive(&self) -> impl Iterator<Item = (WorkerKey, &Worker)> {
        self.live.iter().filter_map(|&slot| {
            let worker = self.slots[slot].as_ref()?;
            Some((WorkerKey { slot, worker: worker.id }, worker))
        })
    }

    /// Whether the worker's resident memory is to be measured when this message of its comes: it has no job then, so what it
    /// holds it keeps.
    pub(crate) fn wants_resident(&self, worker_key: WorkerKey, message: &Message) -> bool {
        self.config.max_memory.is_limited()
            && matches!(message, Message::Ready | Message::Answer { ready: true, .. })
            && self.worker(worker_key).is_some_and(|worker| !worker.is_exiting())
    }

    /// When [`Input::Tick`] is due, if nothing happens before.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        let abort_calls = self.abort_calls.front().map(|call| call.until);
        let jobs = [self.delays.next(), self.expiries.next(), abort_calls, self.far_gone_at];
        let permits = self.far_permits.iter().map(|&(at, _)| at);
        let workers = [self.deadlines.next(), self.restarts.next_deadline()];
        workers.into_iter().chain(jobs).flatten().chain(permits).min()
    }
}
