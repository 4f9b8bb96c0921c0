//! The end of a worker's process: its signs, and what becomes of the jobs that it held.
//!
//! **A death is judged when the exit is known and the output has been read to its end**, never by a time: what was answered
//! counts. The first job that is not answered has used its attempt; those behind it had not begun, since each answer is
//! written before the next job begins. A job that the worker had not read whole had not begun either.

use super::jobs::JobState;
use super::lifecycle::{Awaited, Course, End, Process};
use super::timers::Timer;
use super::{
    Action, CrashCause, DEATH_WAIT, EXIT_WAIT, JobKey, Notice, Outcome, STATUS_WAIT, StartFailed, Step, Undelivered,
    WorkerKey,
};

/// How many workers may die while they read a job, before that costs it an attempt.
const READERS: u8 = 2;

impl Step<'_> {
    /// The worker is dead, and its fork server has not said how it ended.
    pub(super) fn ended(&mut self, worker_key: WorkerKey) {
        if self.worker(worker_key).is_dead() {
            return;
        }
        self.worker(worker_key).process = Process::Ended;
        self.past_limits(worker_key);
        self.sign_of_death(worker_key);
        self.await_status(worker_key);
    }

    pub(super) fn exited(&mut self, worker_key: WorkerKey, undelivered: Option<Undelivered>) {
        self.may_go_on(worker_key);
        self.worker(worker_key).process = Process::Reaped { undelivered };
        self.past_limits(worker_key);
        let worker = self.worker(worker_key);
        worker.timers.clear(Timer::Status);
        worker.timers.clear(Timer::Death);
        self.sign_of_death(worker_key);
        self.handle_death_if_complete(worker_key);
    }

    /// It is dead: past killing, and past its limits.
    fn past_limits(&mut self, worker_key: WorkerKey) {
        let worker = self.worker(worker_key);
        worker.awaited = Awaited::Nothing;
        worker.stop_draining();
        worker.cancel = None;
        for timer in
            [Timer::Limit, Timer::SoftLimit, Timer::Cancel, Timer::Measure, Timer::PendingKill, Timer::Unanswered]
                .into_iter()
                .chain([Timer::Heartbeat, Timer::Silence])
        {
            worker.timers.clear(timer);
        }
    }

    /// The worker is dead, or will be at once: how it ended is to be known soon.
    pub(super) fn await_status(&mut self, worker_key: WorkerKey) {
        let due = self.after(Some(STATUS_WAIT));
        self.worker(worker_key).timers.set(Timer::Status, due);
    }

    /// Its fork server may be stopped: that is waited for no longer, if the worker is dead.
    pub(super) fn status_due(&mut self, worker_key: WorkerKey) {
        self.act(Action::GiveUpStatus(worker_key));
        self.await_status(worker_key);
    }

    pub(super) fn stdout_closed(&mut self, worker_key: WorkerKey) {
        self.worker(worker_key).stdout_closed = true;
        self.sign_of_death(worker_key);
        self.handle_death_if_complete(worker_key);
    }

    /// The worker has closed the end from which it would read its jobs.
    pub(super) fn stdin_broken(&mut self, worker_key: WorkerKey) {
        self.sign_of_death(worker_key);
    }

    pub(super) fn stderr_closed(&mut self, worker_key: WorkerKey) {
        self.worker(worker_key).stderr_closed = true;
        self.handle_death_if_complete(worker_key);
    }

    fn sign_of_death(&mut self, worker_key: WorkerKey) {
        self.no_longer_free(worker_key);
        let wait = if self.worker(worker_key).is_reaped() { DEATH_WAIT } else { EXIT_WAIT };
        let due = self.after(Some(wait));
        let worker = self.worker(worker_key);
        for timer in [Timer::Recall, Timer::Idle, Timer::Age] {
            worker.timers.clear(timer);
        }
        if worker.timers.get(Timer::Death).is_none() {
            worker.timers.set(Timer::Death, due);
        }
    }

    fn handle_death_if_complete(&mut self, worker_key: WorkerKey) {
        let worker = self.worker(worker_key);
        if worker.is_reaped() && worker.stdout_closed && worker.stderr_closed {
            self.handle_death(worker_key);
        }
    }

    /// The wait for the other signs of a death is over.
    pub(super) fn death_due(&mut self, worker_key: WorkerKey) {
        let worker = self.worker(worker_key);
        if worker.is_reaped() {
            // A grandchild may hold standard error for as long as it likes: it is waited for no longer. The end of the output
            // is sure to come.
            worker.stderr_closed = true;
            return self.handle_death_if_complete(worker_key);
        }
        // A new wait starts with the exit.
        if worker.is_exiting() || worker.is_dead() {
            return;
        }
        // What becomes of its jobs is judged at its death: it may have read none of them.
        self.emit(Notice::PipeClosed(worker_key));
        self.kill(worker_key, End::PipeClosed);
    }

    /// The process is reaped, and all that it wrote has been read.
    fn handle_death(&mut self, worker_key: WorkerKey) {
        if self.worker(worker_key).gone_at().is_some() {
            self.keep_permits(worker_key);
        }
        self.judge(worker_key);
        if !self.worker(worker_key).is_exiting() {
            self.enter_exit(worker_key, None, Course::Over);
        }
        self.machine.counters.exited += 1;
        if !self.worker(worker_key).was_asked() {
            self.machine.counters.crashed += 1;
        }
        self.vacate(worker_key);
    }

    /// What becomes of the first job that the dead worker has not answered.
    fn judge(&mut self, worker_key: WorkerKey) {
        let worker = self.worker(worker_key);
        let Some(current) = worker.current else { return self.judge_prefetched(worker_key) };
        if let Some(undelivered) = worker.undelivered().filter(|of| of.job == current.id && !current.started) {
            if undelivered.in_part {
                worker.note_attempt();
            }
            if !undelivered.in_part || !self.killed_readers(current.key) {
                return self.not_begun(worker_key);
            }
        }
        self.charge(worker_key);
        self.judge_prefetched(worker_key);
    }

    /// The job that the dead worker is presumed to have begun has used its attempt.
    fn charge(&mut self, worker_key: WorkerKey) {
        let worker = self.worker(worker_key);
        let is_far = worker.is_far();
        let cause = match worker.end() {
            _ if is_far => CrashCause::ConnectionLost,
            Some(End::PipeClosed) => CrashCause::PipeClosed,
            _ => CrashCause::Exited,
        };
        self.announce(worker_key);
        self.attempt_over(worker_key, Outcome::Crashed(cause), is_far);
        self.end_current(worker_key);
    }

    /// A far worker may have answered the first job, and begun those behind it, though nothing of that has come. Those that
    /// it was not sent whole it has not begun.
    fn judge_prefetched(&mut self, worker_key: WorkerKey) {
        let worker = self.worker(worker_key);
        if !worker.is_far() || worker.failed_terminally() {
            return;
        }
        let undelivered = worker.undelivered().map(|of| of.job);
        while let Some(front) = self.worker(worker_key).prefetched.pop_front() {
            if undelivered == Some(front.id) {
                return self.worker(worker_key).prefetched.push_front(front);
            }
            self.hold(worker_key, front);
            self.charge(worker_key);
        }
    }

    /// Counts a worker that died while it read this job: after a few it is taken for the reason, and costs an attempt.
    fn killed_readers(&mut self, key: Option<JobKey>) -> bool {
        let Some(key) = key else { return false };
        let entry = self.machine.jobs.entry(key.place);
        entry.readers = entry.readers.saturating_add(1);
        entry.readers > READERS
    }

    /// The slot is empty again: whether that was a start failure is decided, and what was left in it goes back.
    pub(super) fn vacate(&mut self, worker_key: WorkerKey) {
        self.no_longer_free(worker_key);
        self.touch(worker_key.slot);
        let Some(worker) = self.machine.slots[worker_key.slot].take() else { return };
        self.machine.live.retain(|&slot| slot != worker_key.slot);
        self.machine.busy -= usize::from(worker.counted_busy);
        if self.machine.awaiting_ready {
            self.machine.restarts.want(worker_key.slot);
        }
        let decision = if worker.failed_to_start() {
            let ready = self.machine.alive().filter(|(_, other)| other.phase.has_been_ready());
            let others: Vec<usize> = ready.map(|(other, _)| other.slot).collect();
            Some(self.machine.restarts.one_has_failed(worker_key.slot, self.now, &others))
        } else {
            self.machine.restarts.one_has_ended(worker_key.slot, worker.has_used_attempt());
            None
        };
        let start_failed = decision.as_ref().map(|decision| StartFailed {
            wait: decision.wait,
            in_a_row: decision.in_a_row,
            was_ready: worker.phase.has_been_ready(),
            breaks: decision.breaks,
        });
        if worker.is_spawned() {
            self.emit(Notice::Died { worker_key, start_failed });
            self.act(Action::Release(worker_key));
        } else if let Some(start_failed) = start_failed {
            self.emit(Notice::SpawnFailed { worker_key, start_failed });
        }
        let gone_at = worker.gone_at();
        for permit in worker.permits() {
            self.give_back_after(permit, gone_at);
        }
        for key in worker.prefetched.iter().filter_map(|prefetched| prefetched.key) {
            self.requeue(key);
        }
        for &key in &worker.retry_at_death {
            self.retry_after(key, gone_at);
        }
        let Some(decision) = decision else { return };
        if decision.breaks {
            // Those that were asked for before tell nothing about the jobs that come from now on.
            self.machine.slots.iter_mut().flatten().for_each(|other| other.probe = false);
        }
        if decision.breaks || (self.machine.is_circuit_open() && worker.probe) {
            self.settle_all(Outcome::NoWorker, |state| state == JobState::Queued);
        }
    }
}
