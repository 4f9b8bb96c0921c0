//! What callers ask to see of the pool: its figures, and its workers.

use super::Driver;
use super::command::KeyFigures;
use crate::id::{JobId, Slot, WorkerId};
use crate::stats::{KeyStats, SiteStats, Stats, WorkerInfo};
use std::collections::BTreeMap;
use std::sync::Arc;

impl Driver {
    /// All of them but those of keys.
    pub(super) fn stats(&self) -> Stats {
        let counters = self.machine.counters();
        Stats {
            jobs: counters.succeeded + counters.failed,
            backlog: self.machine.backlog_len(),
            delayed: self.machine.delayed(),
            workers: self.machine.workers().count(),
            busy: self.machine.busy(),
            enqueued: counters.enqueued,
            succeeded: counters.succeeded,
            failed: counters.failed,
            aborted: counters.aborted,
            retried: counters.retried,
            timed_out: counters.timed_out,
            spawned: counters.spawned,
            exited: counters.exited,
            crashed: counters.crashed,
            fork_servers: self.forks.count(),
            fork_servers_spawned: self.forks.spawned(),
            restarts: self.figures.restarts(),
            waiting: self.figures.waiting(),
            running: self.figures.running(),
            rate: self.figures.rate(self.now),
            keys: BTreeMap::new(),
            sites: self.sites(),
        }
    }

    pub(super) fn key_stats(&self) -> KeyFigures {
        let keys = self.machine.keys().filter_map(|(key, permits, taken, queued)| {
            let of = KeyStats { limit: permits as usize, running: taken as usize, queued };
            Some((Arc::clone(self.keys.text(key)?), of))
        });
        keys.collect()
    }

    fn sites(&self) -> Vec<SiteStats> {
        let of = |(at, name): (usize, &Arc<str>)| {
            let at_site = |slot| self.machine.site_of(slot) == Some(at);
            let workers = || self.machine.workers().filter(|(worker_key, _)| at_site(worker_key.slot));
            SiteStats {
                name: Arc::clone(name),
                slots: self.machine.site_slots(at),
                is_down: self.machine.is_site_down(at),
                workers: workers().count(),
                busy: workers().filter(|(_, worker)| worker.is_busy()).count(),
            }
        };
        self.settings.sites.iter().enumerate().map(of).collect()
    }

    pub(super) fn worker_infos(&self) -> Vec<WorkerInfo> {
        let workers = self.machine.workers().filter_map(|(worker_key, worker)| {
            let child = self.workers.get(worker_key)?;
            Some(WorkerInfo {
                id: WorkerId(worker_key.worker),
                slot: Slot(worker_key.slot),
                site: self.site(worker_key.slot),
                is_far: worker.is_far(),
                pid: child.pid,
                state: worker.state(),
                jobs_done: worker.jobs_done(),
                job: worker.job().map(JobId),
                age: self.now.saturating_sub(child.since),
                fork_server: child.fork_server.and_then(|of| of.pid),
                state_for: self.figures.state_for(self.now, worker_key),
                // Looked at by the caller's thread.
                resident: None,
            })
        });
        workers.collect()
    }
}
