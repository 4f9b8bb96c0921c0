//! New workers, from the decision to the handshake.

use super::lifecycle::{Phase, Process, RetireReason};
use super::restart::Need;
use super::size::minimum;
use super::worker::Worker;
use super::{Action, Admits, Notice, SHORT, Step, Supervisor, WorkerKey, WorkerState};
use std::time::Duration;

impl Step<'_> {
    pub(super) fn spawn_missing(&mut self) {
        let successors = self.successors();
        let Supervisor { config, admits, paused, backlog, slots, live, restarts, .. } = &mut *self.machine;
        if *admits == Admits::Nothing {
            return restarts.want_none();
        }
        let minimum = minimum(config, *admits);
        // No worker is needed for a job that is not to be begun.
        let queued = if *paused { 0 } else { backlog.permitted() };
        // Most steps end here: there is no room for a worker, or no need of one.
        let needed = queued > 0 || live.len() < minimum || restarts.are_wanted() || successors > 0;
        if live.len() >= config.max_processes || !needed {
            return restarts.want_none();
        }
        let due = restarts.due(self.now, slots, live, Need { queued, minimum, successors });
        for slot in due {
            let worker = self.machine.next_worker;
            self.machine.next_worker += 1;
            let probe = self.machine.is_circuit_open();
            let silence = self.machine.config.site(slot).and_then(|site| site.silence);
            self.machine.slots[slot] = Some(Worker::new(worker, probe, silence));
            let at = self.machine.live.partition_point(|&before| before < slot);
            self.machine.live.insert(at, slot);
            self.act(Action::Spawn(WorkerKey { slot, worker }));
        }
    }

    /// How many workers are to be started before others have done their last jobs, so that no job waits for a start: where a
    /// slot and a core are free for them.
    fn successors(&self) -> usize {
        let machine = &*self.machine;
        if machine.admits != Admits::All
            || machine.paused
            || machine.live.len() >= machine.config.max_processes
            || machine.busy >= machine.config.cores
        {
            return 0;
        }
        let (mut leaving, mut spare) = (0usize, 0);
        for (worker_key, worker) in machine.alive() {
            match worker.phase {
                Phase::Working | Phase::Recovering if self.leaves_soon(worker_key.slot, worker) => {
                    leaving += self.starts_in_a_life(worker);
                }
                Phase::Initializing => spare += 1,
                Phase::Ready if !self.leaves_soon(worker_key.slot, worker) => spare += 1,
                _ => {}
            }
        }
        leaving.saturating_sub(spare)
    }

    /// How many workers come and go while one starts: where they do their jobs faster than another starts, as many must
    /// be on their way at once.
    fn starts_in_a_life(&self, worker: &Worker) -> usize {
        let (Some(most), Some(first)) = (self.machine.config.max_jobs_per_process, worker.first_job_at) else {
            return 1;
        };
        // From the first of its jobs to the newest.
        let apart = self.now.saturating_sub(first).as_nanos() / u128::from(worker.taken.saturating_sub(1).max(1));
        let life = apart * u128::from(most);
        let starts = self.machine.init_took.as_nanos().div_ceil(life.max(1));
        usize::try_from(starts).unwrap_or(usize::MAX).clamp(1, self.machine.config.max_processes)
    }

    /// Whether the worker will have done its last job before another could be ready. One that has done none says nothing of
    /// whether more will come, and one that is too many has no successor.
    fn leaves_soon(&self, slot: usize, worker: &Worker) -> bool {
        if worker.jobs_done() == 0 || worker.is_surplus() {
            return false;
        }
        if worker.takes_no_more() {
            return true;
        }
        // The job that it does now is among those that it was sent.
        let left = u32::try_from(self.jobs_left(slot).saturating_add(1)).unwrap_or(u32::MAX);
        worker.pace().map_or(SHORT, Duration::from_nanos).saturating_mul(left) <= 2 * self.machine.init_took
            || left == 1
    }

    pub(super) fn spawned(&mut self, worker_key: WorkerKey) {
        self.machine.counters.spawned += 1;
        let config = &self.machine.config;
        let own = config.site(worker_key.slot).and_then(|site| site.timeout_initializing);
        let limit = own.unwrap_or(config.timeout_initializing);
        self.emit(Notice::Spawned(worker_key));
        let now = self.now;
        let worker = self.worker(worker_key);
        worker.process = Process::Running;
        worker.since = now;
        if worker.is_exiting() {
            // The pool has ended while it was being spawned.
            return self.signal(worker_key);
        }
        self.start_limit(worker_key, limit);
        self.measure_later(worker_key);
        self.emit_state(worker_key, WorkerState::Initializing);
    }

    /// The worker's fork server is gone: its jobs are elsewhere from here on, but for the one that it does.
    pub(super) fn orphaned(&mut self, worker_key: WorkerKey) {
        if !self.worker(worker_key).is_exiting() {
            self.retire(worker_key, RetireReason::Orphaned);
        }
    }

    pub(super) fn announce_all_ready(&mut self) {
        if self.machine.awaiting_ready && self.machine.all_ready() {
            self.machine.awaiting_ready = false;
            self.emit(Notice::AllReady);
        }
    }
}
