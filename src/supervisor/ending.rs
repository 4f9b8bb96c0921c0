//! How workers end: limits, leaving, killing, and the death itself.

use super::jobs::Place;
use super::planted::planted;
use super::worker::End;
use super::{CrashCause, DEATH_WAIT, Effect, MEASURE_EVERY, MaxMemory, Outcome, Seat, Signal, Turn, WorkerState};
use std::time::Duration;

impl<T> Turn<'_, T> {
    /// From now on the state has this limit. What a dead worker has left to say is not timed any more.
    pub(super) fn start_limit(&mut self, seat: Seat, limit: Option<Duration>) {
        let limit_at = self.after(limit);
        let worker = self.worker(seat);
        let times = !worker.exited || planted!(DeadAreTimed);
        (worker.limit, worker.limit_at) = (limit, limit_at.filter(|_| times));
    }

    /// The state's limit is over, or that of an exit that does not come.
    pub(super) fn over_limit(&mut self, seat: Seat) {
        let worker = self.worker(seat);
        let (state, limit) = (worker.state, worker.limit.unwrap_or_default());
        match state {
            WorkerState::Exiting => self.signal(seat),
            WorkerState::Initializing | WorkerState::Ready | WorkerState::Working | WorkerState::Recovering => {
                worker.end(End::TimedOut);
                self.machine.counters.timed_out += 1;
                let job = self.worker(seat).held();
                self.say(Effect::OverLimit { seat, state, limit, job });
                self.attempt_over(seat, Outcome::TimedOut { state, limit }, true);
                self.kill(seat, End::TimedOut);
            }
        }
    }

    /// The memory of the worker is looked at again after a while, if it has a hard limit.
    pub(super) fn measure_later(&mut self, seat: Seat) {
        let limited = self.machine.config.max_memory.hard.is_some() && !self.worker(seat).exited;
        let measure_at = self.after(limited.then_some(MEASURE_EVERY));
        self.worker(seat).measure_at = measure_at;
    }

    pub(super) fn resident(&mut self, seat: Seat, bytes: u64, at_rest: bool) {
        let MaxMemory { soft, hard } = self.machine.config.max_memory;
        let worker = self.worker(seat);
        if worker.state == WorkerState::Exiting {
            return;
        }
        let over = |limit: Option<u64>| limit.filter(|&limit| bytes > limit && !planted!(MemoryIsFree));
        if let Some(limit) = over(hard)
            && !at_rest
        {
            worker.end(End::OverMemory);
            self.say(Effect::OverMemory { seat, bytes, limit });
            self.attempt_over(seat, Outcome::OutOfMemory { bytes, limit }, true);
            return self.kill(seat, End::OverMemory);
        }
        // One that is large from its start on does a job all the same.
        let has_job = matches!(worker.state, WorkerState::Working | WorkerState::Recovering);
        if over(soft.or(hard)).is_some() && has_job && !worker.outgrown {
            worker.outgrown = true;
            self.say(Effect::Outgrown { seat, bytes });
            self.call_back(seat);
        }
    }

    /// The worker is let go: it has done its jobs.
    pub(super) fn leave(&mut self, seat: Seat) {
        self.worker(seat).end(End::Left);
        self.say(Effect::SendLeave(seat));
        self.on_its_way(seat);
    }

    /// The worker will end by itself; if it does not within the grace time, it is told to.
    pub(super) fn on_its_way(&mut self, seat: Seat) {
        let grace = self.machine.config.kill_grace;
        let limit_at = self.after(Some(grace));
        let worker = self.worker(seat);
        (worker.limit, worker.limit_at) = (Some(grace), limit_at);
        worker.next_signal = Some(Signal::Terminate);
        self.enter(seat, WorkerState::Exiting);
    }

    /// SIGTERM to the worker's group now, SIGKILL after the grace time.
    pub(super) fn kill(&mut self, seat: Seat, end: End) {
        let grace = self.machine.config.kill_grace;
        let worker = self.worker(seat);
        worker.end(end);
        let told_to_leave = worker.next_signal == Some(Signal::Terminate);
        if worker.state == WorkerState::Exiting && !told_to_leave {
            // It is being killed already.
            return;
        }
        worker.next_signal = Some(if grace.is_zero() { Signal::Kill } else { Signal::Terminate });
        self.enter(seat, WorkerState::Exiting);
        if self.worker(seat).spawned {
            self.signal(seat);
            if planted!(DyingDoNotCount) {
                self.vacate(seat);
            }
        }
    }

    /// Sends the signal that is next, and sets the time of the one after it.
    pub(super) fn signal(&mut self, seat: Seat) {
        let grace = self.machine.config.kill_grace;
        let after_grace = self.after(Some(grace));
        let worker = self.worker(seat);
        (worker.limit, worker.limit_at) = (None, None);
        let Some(signal) = worker.next_signal.filter(|_| !worker.exited || planted!(SignalToTheReaped)) else { return };
        worker.asked = true;
        worker.next_signal = (signal == Signal::Terminate && !planted!(NoSigkill)).then_some(Signal::Kill);
        (worker.limit, worker.limit_at) = (Some(grace), worker.next_signal.and(after_grace));
        self.say(Effect::Signal(seat, signal));
    }

    pub(super) fn enter(&mut self, seat: Seat, state: WorkerState) {
        let worker = self.worker(seat);
        let before = std::mem::replace(&mut worker.state, state);
        if before == state {
            return;
        }
        let is_busy = |state| matches!(state, WorkerState::Working | WorkerState::Recovering);
        self.machine.busy -= usize::from(is_busy(before));
        self.machine.busy += usize::from(is_busy(state));
        match state {
            WorkerState::Exiting => {
                let worker = self.worker(seat);
                (worker.call_back_at, worker.measure_at) = (None, None);
                self.no_longer_free(seat);
            }
            WorkerState::Ready => self.worker(seat).measure_at = None,
            WorkerState::Working => self.measure_later(seat),
            WorkerState::Initializing | WorkerState::Recovering => {}
        }
        self.tell_state(seat, state);
    }

    pub(super) fn tell_state(&mut self, seat: Seat, state: WorkerState) {
        let job = self.worker(seat).held();
        self.say(Effect::State { seat, state, job });
    }

    fn no_longer_free(&mut self, seat: Seat) {
        self.machine.free.retain(|&slot| slot != seat.slot);
    }

    // ------------------------------------------------------------ death

    pub(super) fn exited(&mut self, seat: Seat) {
        self.worker(seat).exited = true;
        self.sign_of_death(seat);
        self.handle_death_if_complete(seat);
    }

    pub(super) fn output_ended(&mut self, seat: Seat) {
        self.worker(seat).output_ended = true;
        self.sign_of_death(seat);
        self.handle_death_if_complete(seat);
    }

    /// The worker has closed the end from which it would read its jobs.
    pub(super) fn input_broken(&mut self, seat: Seat) {
        self.sign_of_death(seat);
    }

    pub(super) fn errors_ended(&mut self, seat: Seat) {
        self.worker(seat).errors_ended = true;
        self.handle_death_if_complete(seat);
    }

    fn sign_of_death(&mut self, seat: Seat) {
        let due = self.now + DEATH_WAIT;
        if !planted!(HandedToTheDead) {
            self.no_longer_free(seat);
        }
        let worker = self.worker(seat);
        if worker.exited {
            // A limit cannot be passed any more, and nothing is left to be signalled or measured.
            (worker.limit, worker.limit_at, worker.measure_at) = (None, None, None);
        }
        worker.call_back_at = None;
        worker.death_at.get_or_insert(due);
    }

    fn handle_death_if_complete(&mut self, seat: Seat) {
        let worker = self.worker(seat);
        if worker.exited && worker.output_ended && worker.errors_ended {
            self.handle_death(seat);
        }
    }

    /// The wait for the other signs of a death is over.
    pub(super) fn death_due(&mut self, seat: Seat) {
        let worker = self.worker(seat);
        worker.death_at = None;
        if worker.exited {
            // A grandchild may hold the pipes for as long as it likes. Standard error is waited for no longer. The end of
            // the output is sure to come, since its reader gives up as well; what it still says was written before the
            // death and counts.
            worker.errors_ended = true;
            return self.handle_death_if_complete(seat);
        }
        // A new wait starts with the exit.
        if worker.state != WorkerState::Exiting && !planted!(ClosedPipeIsNothing) {
            worker.end(End::PipeClosed);
            self.say(Effect::OutputClosed(seat));
            self.attempt_over(seat, Outcome::Crashed(CrashCause::PipeClosed), true);
            self.kill(seat, End::PipeClosed);
        }
    }

    /// The process is reaped, and all that it wrote has been read.
    fn handle_death(&mut self, seat: Seat) {
        let worker = self.worker(seat);
        worker.had_job |= worker.current.is_some() && !planted!(CrashIsNoStart);
        self.attempt_over(seat, Outcome::Crashed(CrashCause::Exited), false);
        if self.worker(seat).state != WorkerState::Exiting {
            self.enter(seat, WorkerState::Exiting);
        }
        self.machine.counters.exited += 1;
        if !self.worker(seat).was_asked() {
            self.machine.counters.crashed += 1;
        }
        self.say(Effect::Died(seat));
        self.vacate(seat);
    }

    /// The slot is empty again: what was left in it goes back, and whether it was a start failure is decided.
    pub(super) fn vacate(&mut self, seat: Seat) {
        if !planted!(AheadDiesToo) {
            self.take_all_back(seat);
        }
        self.no_longer_free(seat);
        let Some(worker) = self.machine.slots[seat.slot].take() else { return };
        self.machine.occupied -= 1;
        if let Some(key) = worker.retry_at_death {
            self.machine.jobs.place(key, Place::Nowhere);
            self.queue_at_back(key);
        }
        if !worker.failed_to_start() {
            return self.machine.starts.one_has_ended(seat.slot, worker.had_job);
        }
        let others_ready = self.machine.slots.iter().flatten().any(|other| other.been_ready);
        let verdict = self.machine.starts.one_has_failed(seat.slot, self.now, others_ready);
        self.say(Effect::StartFailed { seat, wait: verdict.wait, in_a_row: verdict.in_a_row });
        if verdict.breaks {
            // Those that were asked for before say nothing of the jobs that come from now on.
            self.machine.slots.iter_mut().flatten().for_each(|other| other.probe = false);
        }
        let told = verdict.breaks || (self.machine.is_broken() && (worker.probe || planted!(OldStartsCount)));
        if told && !planted!(NoWorkerIsNotTold) {
            self.settle_all(Outcome::NoWorker, |place| place == Place::Queued);
        }
    }
}
