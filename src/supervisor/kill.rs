//! How the pool ends a worker: it leaves, it is killed, or it is killed for the sake of one job.
//!
//! **A kill for one job's sake must not touch those behind it.** What lies behind is recalled first. Where all of it comes
//! back, the worker is killed. Where the job's answer comes first, nobody is. Where neither comes, the worker is stopped,
//! and what it has written is read: if the job is not answered by then, nothing behind it has begun, and the worker is
//! killed before it can; else it goes on.

use super::lifecycle::{Awaited, Course, End, KillCause, PendingKill, Phase, RetireReason};
use super::timers::Timer;
use super::{Action, Notice, Outcome, Signal, Step, Violation, WorkerKey};
use std::time::Duration;

/// How long a worker may take to answer a recall before it is stopped.
const ANSWER_WITHIN: Duration = Duration::from_millis(10);

/// How long a far worker may take to answer one, before its connection is closed.
const FAR_ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// How long a worker without a job may take to leave when the pool ends. The grace time may be shorter.
const LEAVE_AT_EXIT: Duration = Duration::from_millis(100);

/// How long a worker may take to stop: SIGSTOP is not held up for long by anything but the kernel.
const STOP: Duration = Duration::from_secs(1);

impl Step<'_> {
    /// The worker takes no more jobs: those that it has prefetched are recalled, and one that is free leaves.
    pub(super) fn retire(&mut self, worker_key: WorkerKey, reason: RetireReason) {
        self.of_worker(worker_key, |step| {
            step.worker(worker_key).retires_for.insert(reason);
            step.recall(worker_key);
            if step.worker(worker_key).is_free() {
                step.next_for(worker_key);
            }
        });
    }

    /// The worker has done its jobs, and is told to leave.
    pub(super) fn leave(&mut self, worker_key: WorkerKey) {
        self.act(Action::SendLeave(worker_key));
        self.on_its_way(worker_key, End::Left);
    }

    /// The pool ends, and the worker has nothing to do: it is told to leave, so that what it holds is dropped in order.
    pub(super) fn leave_at_exit(&mut self, worker_key: WorkerKey) {
        self.act(Action::SendLeave(worker_key));
        self.on_its_way(worker_key, End::PoolExit);
        let grace = self.machine.config.kill_grace;
        self.start_limit(worker_key, Some(grace.min(LEAVE_AT_EXIT)));
    }

    /// The worker will end by itself; if it does not within the grace time, it is sent SIGTERM.
    pub(super) fn on_its_way(&mut self, worker_key: WorkerKey, end: End) {
        let grace = self.machine.config.kill_grace;
        self.enter_exit(worker_key, Some(end), Course::Leaving);
        self.start_limit(worker_key, Some(grace));
    }

    /// SIGTERM to the worker's group now, SIGKILL after the grace time.
    pub(super) fn kill(&mut self, worker_key: WorkerKey, end: End) {
        let first = if self.machine.config.kill_grace.is_zero() { Signal::Kill } else { Signal::Terminate };
        self.kill_with(worker_key, end, first);
    }

    fn kill_with(&mut self, worker_key: WorkerKey, end: End, first: Signal) {
        let worker = self.worker(worker_key);
        if let Phase::Exiting(exit) = worker.phase
            && exit.course.next_signal() != Some(Signal::Terminate)
        {
            // It is being killed already.
            return;
        }
        let stopped = worker.take_pending_kill().is_some_and(|pending_kill| pending_kill.stopped);
        self.enter_exit(worker_key, Some(end), Course::Due(first));
        if self.worker(worker_key).is_spawned() {
            self.signal(worker_key);
        }
        if stopped && first != Signal::Kill {
            self.act(Action::Signal(worker_key, Signal::Continue));
        }
    }

    /// Sends the signal that is next, and sets the time of the one after it.
    pub(super) fn signal(&mut self, worker_key: WorkerKey) {
        let grace = self.machine.config.kill_grace;
        let worker = self.worker(worker_key);
        let is_dead = worker.is_dead();
        let Phase::Exiting(exit) = &mut worker.phase else { return };
        let Some(signal) = exit.course.next_signal().filter(|_| !is_dead) else {
            if is_dead && matches!(exit.course, Course::Due(_)) {
                exit.course = Course::Over;
            }
            return self.clear_limit(worker_key);
        };
        exit.course = if signal == Signal::Terminate { Course::Terminated } else { Course::Killed };
        let next = exit.course.next_signal().map(|_| grace);
        self.start_limit(worker_key, next);
        self.act(Action::Signal(worker_key, signal));
        if signal == Signal::Kill {
            self.await_status(worker_key);
        }
    }

    // ------------------------------------------------------------ for one job's sake

    /// The worker is to be killed for the sake of the job that it runs, or of its recovery.
    pub(super) fn prepare_kill(&mut self, worker_key: WorkerKey, cause: KillCause) {
        let now = self.now;
        let worker = self.worker(worker_key);
        if worker.is_dead() || worker.is_exiting() || worker.pending_kill().is_some() {
            return;
        }
        worker.awaited = Awaited::Kill(PendingKill { cause, stopped: false });
        worker.timers.clear(Timer::Unanswered);
        if worker.can_be_killed_alone() {
            return self.carry_out_kill(worker_key, None);
        }
        // A worker that owes an answer for long is given no more time.
        let within = if worker.is_far() { FAR_ANSWER_WITHIN } else { ANSWER_WITHIN };
        let patience = if cause == KillCause::RecallUnanswered { Duration::ZERO } else { within };
        worker.timers.set(Timer::PendingKill, now.checked_add(patience));
        self.clear_limit(worker_key);
        self.recall(worker_key);
    }

    /// What the worker was to be killed for has come to its end by itself.
    pub(super) fn cancel_kill(&mut self, worker_key: WorkerKey) {
        let worker = self.worker(worker_key);
        worker.timers.clear(Timer::PendingKill);
        let Some(pending_kill) = worker.take_pending_kill() else { return };
        if pending_kill.stopped {
            self.act(Action::Signal(worker_key, Signal::Continue));
        }
        self.await_recall(worker_key);
    }

    /// Kills a condemned worker if nothing lies behind the job any more. Of one that is stopped, the output is read first.
    pub(super) fn kill_if_alone(&mut self, worker_key: WorkerKey) {
        let worker = self.worker(worker_key);
        if worker.can_be_killed_alone() && worker.pending_kill().is_some_and(|pending_kill| !pending_kill.stopped) {
            self.carry_out_kill(worker_key, None);
        }
    }

    /// The condemned worker has not answered in time: it is stopped; or it does not stop, and is killed.
    pub(super) fn pending_kill_is_due(&mut self, worker_key: WorkerKey) {
        let now = self.now;
        let worker = self.worker(worker_key);
        if worker.is_far() {
            // No signal reaches it. What lies behind the job is charged with it.
            return self.carry_out_kill(worker_key, None);
        }
        let Awaited::Kill(pending_kill) = &mut worker.awaited else { return };
        if std::mem::replace(&mut pending_kill.stopped, true) {
            return self.carry_out_kill(worker_key, Some(Signal::Kill));
        }
        worker.timers.set(Timer::PendingKill, now.checked_add(STOP));
        self.act(Action::Signal(worker_key, Signal::Stop));
    }

    /// The condemned worker is stopped, and all that it wrote has been read: its job is not answered, so nothing behind it
    /// has begun, and nothing will.
    pub(super) fn stopped(&mut self, worker_key: WorkerKey) {
        let worker = self.worker(worker_key);
        if let Some(PendingKill { cause, stopped: true }) = worker.pending_kill() {
            if cause == KillCause::RecallUnanswered && !worker.owes_an_answer() {
                // Its answer lay behind what nobody took.
                return self.cancel_kill(worker_key);
            }
            let alone = worker.can_be_killed_alone();
            self.carry_out_kill(worker_key, (!alone).then_some(Signal::Kill));
        }
    }

    /// The attempt ends here, and the worker is killed: by `signal`, or as others are.
    fn carry_out_kill(&mut self, worker_key: WorkerKey, signal: Option<Signal>) {
        let Some(PendingKill { cause, .. }) = self.worker(worker_key).pending_kill() else { return };
        self.worker(worker_key).timers.clear(Timer::PendingKill);
        self.announce(worker_key);
        let worker = self.worker(worker_key);
        let (state, job) = (worker.state(), worker.held());
        let (end, outcome) = match cause {
            KillCause::Aborted => (End::Aborted, None),
            KillCause::TimedOut { limit } => {
                self.machine.counters.timed_out += 1;
                self.emit(Notice::TimedOut { worker_key, state, limit, job });
                (End::TimedOut, Some(Outcome::TimedOut { state, limit }))
            }
            KillCause::OverHardLimit { bytes, limit } => {
                self.emit(Notice::OverHardLimit { worker_key, bytes, limit });
                (End::OverHardLimit, Some(Outcome::OutOfMemory { bytes, limit }))
            }
            KillCause::RecallUnanswered => {
                self.emit(Notice::Violated(worker_key, Violation::RecallUnanswered));
                (End::Violation, Some(Outcome::Protocol(Violation::RecallUnanswered)))
            }
        };
        if let Some(outcome) = outcome {
            self.attempt_over(worker_key, outcome, true);
        }
        match signal {
            Some(signal) => self.kill_with(worker_key, end, signal),
            None => self.kill(worker_key, end),
        }
    }
}
