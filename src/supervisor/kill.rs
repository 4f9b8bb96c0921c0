//! How the pool ends a worker: it leaves, it is killed, or it is killed for the sake of one job.
//!
//! **A kill for one job's sake must not touch those behind it.** What lies behind is recalled first. Where all of it comes
//! back, the worker is killed. Where the job's answer comes first, nobody is. Where neither comes, the worker is stopped,
//! and what it has written is read: if the job is not answered by then, nothing behind it has begun, and the worker is
//! killed before it can; else it goes on.

use super::timers::Timer;
use super::worker::{Condemned, Doom, End};
use super::{Effect, Outcome, Seat, Signal, Step, Violation, WorkerState};
use std::time::Duration;

/// How long a worker may take to answer a recall before it is stopped.
const WORD: Duration = Duration::from_millis(10);

/// How long a worker without a job may take to leave when the pool ends. The grace time may be shorter.
const LEAVE_AT_EXIT: Duration = Duration::from_millis(100);

/// How long a worker may take to stop: SIGSTOP is not held up for long by anything but the kernel.
const STOP: Duration = Duration::from_secs(1);

impl<T> Step<'_, T> {
    /// The worker is let go: it has done its jobs.
    pub(super) fn leave(&mut self, seat: Seat) {
        self.worker(seat).end(End::Left);
        self.emit(Effect::SendLeave(seat));
        self.on_its_way(seat);
    }

    /// The pool ends, and the worker has nothing to do: it is let go, so that what it holds is dropped in order.
    pub(super) fn leave_at_exit(&mut self, seat: Seat) {
        self.worker(seat).end(End::PoolExit);
        self.emit(Effect::SendLeave(seat));
        self.on_its_way(seat);
        let grace = self.machine.config.kill_grace;
        self.start_limit(seat, Some(grace.min(LEAVE_AT_EXIT)));
    }

    /// The worker will end by itself; if it does not within the grace time, it is told to.
    pub(super) fn on_its_way(&mut self, seat: Seat) {
        let grace = self.machine.config.kill_grace;
        self.worker(seat).next_signal = Some(Signal::Terminate);
        self.enter(seat, WorkerState::Exiting);
        self.start_limit(seat, Some(grace));
    }

    /// SIGTERM to the worker's group now, SIGKILL after the grace time.
    pub(super) fn kill(&mut self, seat: Seat, end: End) {
        let first = if self.machine.config.kill_grace.is_zero() { Signal::Kill } else { Signal::Terminate };
        self.kill_with(seat, end, first);
    }

    fn kill_with(&mut self, seat: Seat, end: End, first: Signal) {
        let worker = self.worker(seat);
        worker.end(end);
        let told_to_leave = worker.next_signal == Some(Signal::Terminate);
        if worker.state == WorkerState::Exiting && !told_to_leave {
            // It is being killed already.
            return;
        }
        worker.next_signal = Some(first);
        let stopped = worker.condemned.take().is_some_and(|condemned| condemned.stopped);
        self.enter(seat, WorkerState::Exiting);
        if self.worker(seat).spawned {
            self.signal(seat);
        }
        if stopped && first != Signal::Kill {
            self.emit(Effect::Signal(seat, Signal::Continue));
        }
    }

    /// Sends the signal that is next, and sets the time of the one after it.
    pub(super) fn signal(&mut self, seat: Seat) {
        let grace = self.machine.config.kill_grace;
        let worker = self.worker(seat);
        let Some(signal) = worker.next_signal.filter(|_| !worker.exited) else { return self.clear_limit(seat) };
        worker.asked = true;
        worker.next_signal = (signal == Signal::Terminate).then_some(Signal::Kill);
        let next = worker.next_signal.map(|_| grace);
        self.start_limit(seat, next);
        self.emit(Effect::Signal(seat, signal));
    }

    // ------------------------------------------------------------ for one job's sake

    /// The worker is to be killed for the sake of the job that it runs, or of its recovery.
    pub(super) fn condemn(&mut self, seat: Seat, doom: Doom) {
        let now = self.now;
        let worker = self.worker(seat);
        if worker.exited || worker.state == WorkerState::Exiting || worker.condemned.is_some() {
            return;
        }
        worker.condemned = Some(Condemned { doom, stopped: false });
        worker.recalled_at = None;
        worker.timers.clear(Timer::Unanswered);
        if worker.can_be_killed_alone() {
            return self.execute(seat, None);
        }
        // A worker that owes an answer for long is given no more time.
        let patience = if doom == Doom::RecallUnanswered { Duration::ZERO } else { WORD };
        worker.timers.set(Timer::Condemned, now.checked_add(patience));
        self.clear_limit(seat);
        self.recall(seat);
    }

    /// What the worker was to be killed for has come to its end by itself.
    pub(super) fn pardon(&mut self, seat: Seat) {
        let worker = self.worker(seat);
        worker.timers.clear(Timer::Condemned);
        let Some(condemned) = worker.condemned.take() else { return };
        if condemned.stopped {
            self.emit(Effect::Signal(seat, Signal::Continue));
        }
        self.await_recall(seat);
    }

    /// Kills a condemned worker if nothing lies behind the job any more. One that is stopped is heard first.
    pub(super) fn kill_if_alone(&mut self, seat: Seat) {
        let worker = self.worker(seat);
        if worker.can_be_killed_alone() && worker.condemned.is_some_and(|condemned| !condemned.stopped) {
            self.execute(seat, None);
        }
    }

    /// The condemned worker has not answered in time: it is stopped; or it does not stop, and is killed.
    pub(super) fn condemned_is_due(&mut self, seat: Seat) {
        let now = self.now;
        let worker = self.worker(seat);
        let Some(condemned) = &mut worker.condemned else { return };
        if std::mem::replace(&mut condemned.stopped, true) {
            return self.execute(seat, Some(Signal::Kill));
        }
        worker.timers.set(Timer::Condemned, now.checked_add(STOP));
        self.emit(Effect::Signal(seat, Signal::Stop));
    }

    /// The condemned worker is stopped, and all that it wrote has been heard: its job is not answered, so nothing behind it
    /// has begun, and nothing will.
    pub(super) fn stopped(&mut self, seat: Seat) {
        let worker = self.worker(seat);
        if worker.condemned.is_some_and(|condemned| condemned.stopped) {
            let alone = worker.can_be_killed_alone();
            self.execute(seat, (!alone).then_some(Signal::Kill));
        }
    }

    /// The attempt ends here, and the worker is killed: by `signal`, or as others are.
    fn execute(&mut self, seat: Seat, signal: Option<Signal>) {
        let Some(Condemned { doom, .. }) = self.worker(seat).condemned else { return };
        self.worker(seat).timers.clear(Timer::Condemned);
        self.announce(seat);
        let worker = self.worker(seat);
        let (state, job) = (worker.state, worker.held());
        let (end, outcome) = match doom {
            Doom::Aborted => (End::Aborted, None),
            Doom::TimedOut { limit } => {
                self.machine.counters.timed_out += 1;
                self.emit(Effect::OverLimit { seat, state, limit, job });
                (End::TimedOut, Some(Outcome::TimedOut { state, limit }))
            }
            Doom::OverMemory { bytes, limit } => {
                self.emit(Effect::OverMemory { seat, bytes, limit });
                (End::OverMemory, Some(Outcome::OutOfMemory { bytes, limit }))
            }
            Doom::RecallUnanswered => {
                self.emit(Effect::Violated(seat, Violation::RecallUnanswered));
                (End::Violation, Some(Outcome::Protocol(Violation::RecallUnanswered)))
            }
        };
        self.worker(seat).end(end);
        if let Some(outcome) = outcome {
            self.attempt_over(seat, outcome, true);
        }
        match signal {
            Some(signal) => self.kill_with(seat, end, signal),
            None => self.kill(seat, end),
        }
    }
}
