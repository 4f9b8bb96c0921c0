//! Jobs that are sent to a worker before it has answered the one before, and how they come back.
//!
//! Such a job is still queued to everybody, and is given to another worker only once the one that holds it has skipped it.

use super::jobs::JobState;
use super::lifecycle::{Awaited, KillCause};
use super::timers::Timer;
use super::{Action, JobKey, Notice, SHORT, Step, Supervisor, WorkerKey};
use std::time::Duration;

/// No jobs are prefetched any more to a worker that has not answered a recall for this long, where its jobs could be done
/// elsewhere.
const RECALL_PATIENCE: Duration = Duration::from_secs(1);

/// A worker that has not answered a recall for this long has broken the protocol.
const RECALL_LIMIT: Duration = Duration::from_secs(10);

/// A far worker's job that runs longer than this has others recalled from behind it, where another worker is free: a recall takes
/// the way there and back.
pub(super) const FAR_SHORT: Duration = Duration::from_millis(100);

/// One job may be prefetched whatever its size, but several only up to so many KiB: as many are read in about a
/// [short while](SHORT), and a worker reads them all before it sees a recall.
const MOST_KIB: u32 = 1024;

impl Step<'_> {
    /// Prefetches jobs to a worker whose jobs are short, while no worker is free.
    pub(super) fn refill(&mut self, worker_key: WorkerKey) {
        let config = &self.machine.config;
        let most = config.prefetch_at(worker_key.slot);
        if most == 0 || !self.machine.free.is_empty() || self.machine.paused {
            return;
        }
        let workers = config.max_processes;
        let share = self.machine.backlog.permitted().div_ceil(workers);
        let Some(worker) = &self.machine.slots[worker_key.slot] else { return };
        // A job was just begun at it, and was not recalled: all that such a worker has prefetched is.
        debug_assert!(!worker.takes_no_more() && !worker.is_ending() && worker.pending_kill().is_none(), "{worker:?}");
        if !worker.recalls {
            return;
        }
        // Over a connection, a prefetched job is on its way for longer than a short job takes.
        let (depth, most_kib) = if worker.is_far() { (most, u32::MAX) } else { (worker.depth(most), MOST_KIB) };
        let room = self.jobs_left(worker_key.slot).min(u64::from(depth));
        let room = usize::try_from(room).unwrap_or(usize::MAX).min(share);
        // Several at once: each write may wake the worker.
        let mut kib = worker.prefetched_kib();
        let room = if worker.prefetched.len() > room / 2 || kib > most_kib / 2 { 0 } else { room };
        loop {
            let worker = self.worker(worker_key);
            let (held, prefetched) = (worker.held(), worker.prefetched.len());
            if prefetched >= room {
                break;
            }
            let Supervisor { backlog, jobs, config, .. } = &mut *self.machine;
            // Behind a job of its own priority only: one that is retried must still find its place before lower ones.
            let priority = held.and_then(|(key, _)| jobs.get(key)).map(|entry| entry.settings.priority());
            let Some(key) = backlog.front(jobs) else { break };
            let Some(entry) = jobs.get(key).filter(|entry| Some(entry.settings.priority()) == priority) else { break };
            let of_job = entry.kib;
            kib = kib.saturating_add(u32::from(of_job));
            if kib > most_kib && prefetched > 0 {
                break;
            }
            let (id, attempt) = (entry.id, entry.attempt + 1);
            let limit = entry.settings.timeout(config.timeout_working);
            backlog.remove(jobs, key);
            jobs.set_state(key, JobState::Prefetched(worker_key.slot as u16));
            self.act(Action::SendJob { worker_key, key, attempt, limit });
            let permit = self.take_permit(key);
            self.worker(worker_key).push_prefetched(id, key, permit, of_job);
        }
        let patience = SHORT * self.oversubscription();
        let worker = self.worker(worker_key);
        if worker.is_far() {
            // Only where another worker has nothing to do.
            return;
        }
        let at = worker.current.filter(|_| worker.has_unrecalled()).and_then(|of| of.since.checked_add(patience));
        worker.timers.set(Timer::Recall, at);
    }

    /// How many workers share a core: as many times longer than its work takes each waits for an answer.
    pub(super) fn oversubscription(&self) -> u32 {
        let workers = self.machine.live.len().div_ceil(self.machine.config.cores);
        u32::try_from(workers).unwrap_or(u32::MAX).max(1)
    }

    /// What lies behind the job that has run `since` is recalled as soon as that is no short one, however many workers share
    /// the cores.
    pub(super) fn recall_behind(&mut self, worker_key: WorkerKey, since: Duration) {
        let others_are_free = !self.machine.free.is_empty();
        let worker = self.worker(worker_key);
        let is_far = worker.is_far();
        let Some(at) = since.checked_add(if is_far { FAR_SHORT } else { SHORT }) else { return };
        if worker.has_unrecalled() && (others_are_free || !is_far) {
            let before = worker.timers.get(Timer::Recall);
            worker.timers.set(Timer::Recall, Some(before.map_or(at, |before| before.min(at))));
            if at <= self.now {
                self.recall(worker_key);
            }
        }
    }

    /// No job waits behind a long one while another worker is free, nor behind many that turn out longer than those before.
    pub(super) fn recall_for_the_free(&mut self) {
        if self.machine.free.is_empty() || self.machine.backlog_len() == 0 {
            return;
        }
        // Where nobody waits for a core, a long job is found in time anyway.
        let workers = self.machine.config.max_processes.max(self.machine.live.len());
        let never_oversubscribed = workers <= self.machine.config.cores;
        for at in 0..self.machine.live.len() {
            let slot = self.machine.live[at];
            let Some(worker) = self.machine.slots[slot].as_ref().filter(|worker| worker.has_unrecalled()) else {
                continue;
            };
            let worker_key = WorkerKey { slot, worker: worker.id };
            if !worker.is_far()
                && worker.prefetched.len() / 2 > worker.depth_known(self.machine.config.prefetch_at(slot)) as usize
            {
                self.recall(worker_key);
            } else if let Some(current) = worker.current.filter(|_| worker.is_far() || !never_oversubscribed) {
                self.recall_behind(worker_key, current.since);
            }
        }
    }

    /// The running job is long, or the worker is to do no more: its prefetched jobs are recalled.
    pub(super) fn recall(&mut self, worker_key: WorkerKey) {
        let worker = self.worker(worker_key);
        worker.timers.clear(Timer::Recall);
        let asked: Vec<u64> = worker.recall().collect();
        for id in asked {
            self.act(Action::SendSkip { worker_key, id });
        }
        self.await_recall(worker_key);
    }

    /// One prefetched job is recalled, and those around it stay.
    pub(super) fn recall_one(&mut self, worker_key: WorkerKey, key: JobKey) {
        if let Some(id) = self.worker(worker_key).recall_one(key) {
            self.act(Action::SendSkip { worker_key, id });
            self.await_recall(worker_key);
        }
    }

    /// A prefetched job is settled: the worker must not begin it.
    pub(super) fn cancel_prefetched(&mut self, worker_key: WorkerKey, key: JobKey) {
        if let Some(id) = self.worker(worker_key).cancel_prefetched(key) {
            self.act(Action::SendSkip { worker_key, id });
            self.await_recall(worker_key);
        }
    }

    /// Looks in time whether the recall has been answered.
    pub(super) fn await_recall(&mut self, worker_key: WorkerKey) {
        let now = self.now;
        let worker = self.worker(worker_key);
        let is_awaited = worker.awaited != Awaited::Nothing;
        if worker.owes_an_answer() && !is_awaited && !worker.is_ending() {
            worker.awaited = Awaited::Recall { since: now };
            worker.timers.set(Timer::Unanswered, now.checked_add(RECALL_PATIENCE));
        }
    }

    /// The worker has answered a recall, or begun a prefetched job: the wait for the other answers starts anew.
    pub(super) fn recall_was_answered(&mut self, worker_key: WorkerKey) {
        let worker = self.worker(worker_key);
        if let Awaited::Recall { .. } = worker.awaited {
            worker.awaited = Awaited::Nothing;
            worker.timers.clear(Timer::Unanswered);
            self.await_recall(worker_key);
        }
    }

    /// A recall has not been answered. That harms somebody only where its jobs could be done elsewhere.
    pub(super) fn recall_unanswered(&mut self, worker_key: WorkerKey) {
        let has_other = !self.machine.free.is_empty() || self.machine.live.len() < self.machine.config.max_processes;
        let elsewhere = has_other && !self.machine.paused;
        let now = self.now;
        let worker = self.worker(worker_key);
        let Awaited::Recall { since } = worker.awaited else { return };
        if !elsewhere {
            return worker.timers.set(Timer::Unanswered, now.checked_add(RECALL_PATIENCE));
        }
        if now >= since.saturating_add(RECALL_LIMIT) {
            return self.prepare_kill(worker_key, KillCause::RecallUnanswered);
        }
        worker.timers.set(Timer::Unanswered, since.checked_add(RECALL_LIMIT));
        if std::mem::replace(&mut worker.recalls, false) {
            self.emit(Notice::RecallIgnored(worker_key));
        }
    }
}
