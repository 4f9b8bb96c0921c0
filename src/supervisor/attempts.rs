//! Where attempts at jobs lead: settled, or back into the backlog.

use super::jobs::JobState;
use super::lifecycle::{KillCause, Phase};
use super::retry::spread;
use super::timers::Timer;
use super::worker::{Current, Prefetched};
use super::{Action, Begun, JobKey, Notice, Outcome, Step, Supervisor, WorkerKey};

/// How many attempts of an idempotent job that may not have begun are not counted: one that always ends its worker comes to
/// an end.
const IN_DOUBT: u8 = 2;

impl Step<'_> {
    // ------------------------------------------------------------ an attempt begins

    /// A job is sent to a free worker, which holds it from here on; its clock runs.
    pub(super) fn begin(&mut self, worker_key: WorkerKey, key: JobKey) {
        let entry = self.machine.jobs.begin(key, worker_key.slot as u16);
        let (id, attempt, limit) =
            (entry.id, entry.attempt, entry.settings.timeout(self.machine.config.timeout_working));
        let since = self.now;
        self.act(Action::SendJob { worker_key, key, attempt, limit });
        let permit = self.take_permit(key);
        let key = Some(key);
        let current = Current { id, key, attempt, announced: false, started: false, recalled: false, permit, since };
        let worker = self.worker(worker_key);
        worker.taken += 1;
        worker.first_job_at.get_or_insert(since);
        worker.current = Some(current);
        worker.timers.clear(Timer::Idle);
        self.start_own_limit(worker_key);
        self.announce(worker_key);
    }

    /// The worker is ready, and the first of what it holds was sent before that: it is presumed begun, limited and blamed
    /// as if it had. Only a skip by the worker itself takes that back.
    pub(super) fn presume_begun(&mut self, worker_key: WorkerKey, front: Prefetched) {
        self.hold(worker_key, front);
        self.recall_was_answered(worker_key);
        let worker = self.worker(worker_key);
        if worker.is_exiting() {
            return;
        }
        if worker.is_ending() {
            // It is asked for nothing more, but the limit of a job that it has skipped is not this one's.
            return self.start_own_limit(worker_key);
        }
        if front.key.is_none() {
            return self.prepare_kill(worker_key, KillCause::Aborted);
        }
        self.start_own_limit(worker_key);
        if !front.recalled {
            self.announce(worker_key);
            self.refill(worker_key);
        }
    }

    /// From here on `front` is what the worker is presumed to do.
    pub(super) fn hold(&mut self, worker_key: WorkerKey, front: Prefetched) {
        let since = self.now;
        let attempt = front.key.map_or(0, |key| self.machine.jobs.begin(key, worker_key.slot as u16).attempt);
        let Prefetched { id, key, recalled, permit, .. } = front;
        self.worker(worker_key).current =
            Some(Current { id, key, attempt, announced: false, started: false, recalled, permit, since });
    }

    fn start_own_limit(&mut self, worker_key: WorkerKey) {
        let (pools, soft) = (self.machine.config.timeout_working, self.machine.config.soft_timeout);
        let Some(key) = self.worker(worker_key).current.and_then(|current| current.key) else { return };
        let Some(entry) = self.machine.jobs.get(key) else { return };
        let (limit, soft) = (entry.settings.timeout(pools), entry.settings.soft_timeout(soft));
        self.start_limit(worker_key, limit);
        if soft.is_some() {
            let soft_limit_at = self.after(soft);
            self.worker(worker_key).timers.set(Timer::SoftLimit, soft_limit_at);
        }
    }

    /// Announces that the worker runs the job which is presumed begun, unless that was announced.
    pub(super) fn announce(&mut self, worker_key: WorkerKey) {
        let Some(current) = &mut self.worker(worker_key).current else { return };
        let Some(key) = current.key.filter(|_| !current.announced) else { return };
        current.announced = true;
        let (attempt, in_doubt) = (current.attempt, current.recalled);
        self.machine.held += 1;
        self.emit(Notice::Task { worker_key, key, attempt });
        self.is_no_longer_awaited(key);
        if in_doubt {
            self.restart_soft_limit(worker_key, key);
        }
        if self.worker(worker_key).phase == Phase::Ready {
            self.enter(worker_key, Phase::Working);
        }
    }

    /// The job that was presumed begun is known not to have begun: it is where it was before it was sent.
    pub(super) fn not_begun(&mut self, worker_key: WorkerKey) {
        let worker = self.worker(worker_key);
        let Some(current) = worker.current.take() else { return };
        worker.taken -= 1;
        if !worker.is_exiting() {
            self.clear_limit(worker_key);
        }
        self.cancel_is_over(worker_key);
        self.give_back(current.permit);
        let Some(key) = current.key else { return };
        self.machine.jobs.unbegin(key);
        if current.announced {
            self.machine.held -= 1;
            let begun = self.machine.jobs.entry(key.place).begun;
            self.emit(Notice::Returned { key, begun, worker_key });
        }
        self.requeue(key);
    }

    // ------------------------------------------------------------ and ends

    /// Puts a job that is in no place at the back of the backlog.
    pub(super) fn queue_at_back(&mut self, key: JobKey) {
        let Supervisor { backlog, jobs, .. } = &mut *self.machine;
        backlog.push_back(jobs, key);
        self.emit(Notice::Backlogged(key));
        self.recall_lower(key);
    }

    /// A job that was sent and has not begun is back: it goes to its old place in the backlog, with no attempt used; or it is
    /// over, where its caller does not want it any more, or it has expired meanwhile.
    pub(super) fn requeue(&mut self, key: JobKey) {
        let is_unwanted = self.is_aborted_by_call(key);
        let Supervisor { backlog, jobs, .. } = &mut *self.machine;
        let entry = jobs.entry(key.place);
        let outcome = if is_unwanted || entry.cancelled {
            Outcome::Aborted
        } else if entry.overdue && entry.attempt == 0 {
            Outcome::Expired
        } else {
            return backlog.put_back(jobs, key);
        };
        entry.state = JobState::Nowhere;
        self.settle(key, outcome);
    }

    /// The job is over: its entry is gone from here on, wherever it was.
    pub(super) fn settle(&mut self, key: JobKey, outcome: Outcome) {
        let Some(entry) = self.machine.jobs.get(key) else { return };
        let mut begun = entry.begun;
        let mut by = None;
        match entry.state {
            JobState::Nowhere | JobState::Delayed => {}
            JobState::Queued => {
                let Supervisor { backlog, jobs, .. } = &mut *self.machine;
                backlog.remove(jobs, key);
            }
            JobState::Running(slot) => {
                let worker_key = self.worker_key(slot);
                by = self.worker(worker_key).held().map(|_| worker_key);
                begun = begun.max(self.release(worker_key, outcome));
            }
            JobState::Prefetched(slot) => {
                begun = begun.max(Begun::Perhaps);
                self.cancel_prefetched(self.worker_key(slot), key);
            }
            JobState::AwaitingReap(slot) => {
                let worker_key = self.worker_key(slot);
                self.worker(worker_key).retry_at_death.retain(|&dying| dying != key);
            }
        }
        self.machine.delays.clear(key);
        self.machine.expiries.clear(key);
        let pools = self.machine.config.retry;
        let Some(entry) = self.machine.jobs.remove(key) else { return };
        let (attempt, attempts) = (entry.attempt, entry.attempts(pools));
        let limit_key = entry.settings.limit().map(|limit| limit.key);
        let counters = &mut self.machine.counters;
        match outcome {
            Outcome::Success => counters.succeeded += 1,
            Outcome::Aborted => counters.aborted += 1,
            _ => counters.failed += 1,
        }
        self.emit(Notice::Settled { key, attempt, attempts, outcome, begun, worker_key: by });
        self.remove_job_of(limit_key);
        self.is_no_longer_awaited(key);
    }

    pub(super) fn settle_all(&mut self, outcome: Outcome, which: impl Fn(JobState) -> bool) {
        for key in self.machine.jobs.keys_in_order(|entry| which(entry.state)) {
            self.settle(key, outcome);
        }
    }

    /// The attempt at the worker's first job, which has been announced, is over with `outcome`: the job settles, or goes
    /// back to be retried; where the worker is `dying`, only once it has been reaped, so that attempts never overlap.
    pub(super) fn attempt_over(&mut self, worker_key: WorkerKey, outcome: Outcome, dying: bool) {
        let Some((key, attempt)) = self.worker(worker_key).held() else { return };
        let pools = self.machine.config.retry;
        let Some(entry) = self.machine.jobs.get(key) else { return };
        let (policy, attempts) = (entry.settings.retry(pools), entry.attempts(pools));
        let cancelled = entry.cancelled;
        let may_be_free = entry.settings.is_idempotent() && entry.in_doubt < IN_DOUBT && outcome.leaves_doubt();
        let counts = !may_be_free || self.had_begun(worker_key, outcome) != Begun::Perhaps;
        if cancelled || (counts && (!policy.covers(outcome) || attempt >= attempts)) {
            return self.settle(key, outcome);
        }
        let begun = self.release(worker_key, outcome);
        let entry = self.machine.jobs.entry(key.place);
        entry.begun = entry.begun.max(begun);
        entry.in_doubt += u8::from(!counts);
        let (begun, attempts) = (entry.begun, entry.attempts(pools));
        // The attempts that count have made it wait.
        let counted = attempt - u32::from(entry.in_doubt);
        self.machine.counters.retried += 1;
        self.emit(Notice::Retried { key, attempt, attempts, outcome, begun, worker_key });
        if counts {
            self.delay(key, policy.wait(counted, spread(self.machine.config.seed, key.id, attempt)));
        }
        if dying {
            self.machine.jobs.set_state(key, JobState::AwaitingReap(worker_key.slot as u16));
            self.worker(worker_key).retry_at_death.push(key);
        } else {
            self.machine.jobs.set_state(key, JobState::Nowhere);
            self.queue_in_time(key);
        }
    }

    /// Nothing can be proven of what the worker holds: an attempt of each job is over.
    pub(super) fn all_attempts_over(&mut self, worker_key: WorkerKey, outcome: Outcome) {
        self.keep_permits(worker_key);
        self.announce(worker_key);
        self.attempt_over(worker_key, outcome, true);
        let worker = self.worker(worker_key);
        let first = worker.current;
        for prefetched in std::mem::take(&mut worker.prefetched) {
            self.hold(worker_key, prefetched);
            self.announce(worker_key);
            self.attempt_over(worker_key, outcome, true);
        }
        // Its handler may still run, and is the first one's if any is.
        self.worker(worker_key).current = first.map(|first| Current { key: None, ..first });
    }

    /// Whether the job that the worker is presumed to have begun had begun.
    fn had_begun(&mut self, worker_key: WorkerKey, outcome: Outcome) -> Begun {
        let worker = self.worker(worker_key);
        let undelivered = worker.undelivered().map(|of| of.job);
        let Some(current) = &worker.current else { return Begun::No };
        match outcome {
            // It could not be given to the handler.
            Outcome::Undecodable => Begun::No,
            _ if current.started => Begun::Yes,
            _ if undelivered == Some(current.id) => Begun::No,
            _ => Begun::Perhaps,
        }
    }

    /// The worker has come to an end with the job that it was presumed to have begun.
    pub(super) fn end_current(&mut self, worker_key: WorkerKey) {
        let ended = self.worker(worker_key).current.take();
        self.give_back(ended.and_then(|current| current.permit));
    }

    /// The worker has nothing more to do with the job that it is presumed to have begun. Gives whether it had begun.
    fn release(&mut self, worker_key: WorkerKey, outcome: Outcome) -> Begun {
        let begun = self.had_begun(worker_key, outcome);
        self.cancel_is_over(worker_key);
        let worker = self.worker(worker_key);
        worker.note_attempt();
        let Some(current) = &mut worker.current else { return begun };
        if current.key.take().is_some() && current.announced {
            self.machine.held -= 1;
        }
        begun
    }
}
