//! The end of a worker's process: its signs, and what becomes of the jobs that it held.
//!
//! **A death is judged when the exit is known and the output has been read to its end**, never by a time: what was answered
//! counts. The first job that is not answered has used its attempt; those behind it had not begun, since each answer is
//! written before the next job begins. A job that the worker had not read whole had not begun either.

use super::jobs::Place;
use super::timers::Timer;
use super::worker::End;
use super::{CrashCause, DEATH_WAIT, Effect, JobKey, Outcome, Seat, Step, Undelivered, WorkerState};

/// How many workers may die while they read a job, before that costs it an attempt.
const READERS: u8 = 2;

impl<T> Step<'_, T> {
    pub(super) fn exited(&mut self, seat: Seat, undelivered: Option<Undelivered>) {
        let worker = self.worker(seat);
        worker.exited = true;
        worker.undelivered = undelivered;
        // It is past killing, and past its limits.
        (worker.condemned, worker.hearing) = (None, false);
        for timer in [Timer::Limit, Timer::Measure, Timer::Condemned, Timer::Unanswered] {
            worker.timers.clear(timer);
        }
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
        let due = self.after(Some(DEATH_WAIT));
        self.no_longer_free(seat);
        let worker = self.worker(seat);
        worker.timers.clear(Timer::Recall);
        if worker.timers.get(Timer::Death).is_none() {
            worker.timers.set(Timer::Death, due);
        }
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
        if worker.exited {
            // A grandchild may hold standard error for as long as it likes: it is waited for no longer. The end of the output
            // is sure to come.
            worker.errors_ended = true;
            return self.handle_death_if_complete(seat);
        }
        // A new wait starts with the exit.
        if worker.state == WorkerState::Exiting {
            return;
        }
        worker.end(End::PipeClosed);
        self.emit(Effect::OutputClosed(seat));
        if self.worker(seat).output_ended {
            // It can answer nothing more, whenever it dies.
            self.announce(seat);
            self.attempt_over(seat, Outcome::Crashed(CrashCause::PipeClosed), true);
        }
        self.kill(seat, End::PipeClosed);
    }

    /// The process is reaped, and all that it wrote has been read.
    fn handle_death(&mut self, seat: Seat) {
        self.judge(seat);
        if self.worker(seat).state != WorkerState::Exiting {
            self.enter(seat, WorkerState::Exiting);
        }
        self.machine.counters.exited += 1;
        if !self.worker(seat).was_asked() {
            self.machine.counters.crashed += 1;
        }
        self.emit(Effect::Died(seat));
        self.vacate(seat);
    }

    /// What becomes of the first job that the dead worker has not answered.
    fn judge(&mut self, seat: Seat) {
        let worker = self.worker(seat);
        let Some(current) = worker.current else { return };
        if let Some(undelivered) = worker.undelivered.filter(|of| of.job == current.id && !current.started) {
            worker.had_job |= undelivered.in_part;
            if !undelivered.in_part || !self.killed_readers(current.key) {
                return self.not_begun(seat);
            }
        }
        let worker = self.worker(seat);
        let cause = if worker.end == Some(End::PipeClosed) { CrashCause::PipeClosed } else { CrashCause::Exited };
        self.announce(seat);
        self.attempt_over(seat, Outcome::Crashed(cause), false);
        self.worker(seat).current = None;
    }

    /// Counts a worker that died while it read this job: after a few it is taken for the reason, and costs an attempt.
    fn killed_readers(&mut self, key: Option<JobKey>) -> bool {
        let Some(key) = key else { return false };
        let entry = self.machine.jobs.entry(key.0);
        entry.readers = entry.readers.saturating_add(1);
        entry.readers > READERS
    }

    /// The slot is empty again: what was left in it goes back, and whether it was a start failure is decided.
    pub(super) fn vacate(&mut self, seat: Seat) {
        self.no_longer_free(seat);
        let Some(worker) = self.machine.slots[seat.slot].take() else { return };
        self.machine.live.retain(|&slot| slot != seat.slot);
        self.machine.busy -= usize::from(worker.counted_busy);
        for key in worker.ahead.iter().filter_map(|ahead| ahead.key) {
            self.requeue(key);
        }
        for &key in &worker.retry_at_death {
            self.machine.jobs.place(key, Place::Nowhere);
            self.queue_at_back(key);
        }
        if !worker.failed_to_start() {
            return self.machine.starts.one_has_ended(seat.slot, worker.had_job);
        }
        let others_ready = self.machine.alive().any(|(_, other)| other.been_ready);
        let verdict = self.machine.starts.one_has_failed(seat.slot, self.now, others_ready);
        self.emit(Effect::StartFailed { seat, wait: verdict.wait, in_a_row: verdict.in_a_row });
        if verdict.breaks {
            // Those that were asked for before say nothing of the jobs that come from now on.
            self.machine.slots.iter_mut().flatten().for_each(|other| other.probe = false);
        }
        if verdict.breaks || (self.machine.is_broken() && worker.probe) {
            self.settle_all(Outcome::NoWorker, |place| place == Place::Queued);
        }
    }
}
