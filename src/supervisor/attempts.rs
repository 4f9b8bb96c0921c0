//! Where attempts at jobs lead: settled, or back into the backlog.

use super::jobs::Place;
use super::planted::planted;
use super::{Effect, JobKey, Outcome, Seat, Supervisor, Turn};

impl<T> Turn<'_, T> {
    /// Puts a job that is in no place at the back of the backlog.
    pub(super) fn queue_at_back(&mut self, key: JobKey) {
        let Supervisor { backlog, jobs, .. } = &mut *self.machine;
        backlog.push_back(jobs, key);
        self.say(Effect::Backlogged(key));
        self.call_back_lower(key);
    }

    /// The job is over: its entry is gone from here on, wherever it was.
    pub(super) fn settle(&mut self, key: JobKey, outcome: Outcome) {
        let Some(entry) = self.machine.jobs.get(key) else { return };
        let seat = match entry.place {
            Place::Held(slot) => Some(self.seat(slot)),
            _ => None,
        };
        match entry.place {
            Place::Nowhere | Place::Settled => {}
            Place::Queued => {
                let Supervisor { backlog, jobs, .. } = &mut *self.machine;
                backlog.remove(jobs, key);
            }
            Place::Held(slot) => self.let_go(self.seat(slot)),
            Place::Ahead(slot) => self.disown(self.seat(slot), key),
            Place::Dying(slot) => {
                let seat = self.seat(slot);
                self.worker(seat).retry_at_death = None;
            }
        }
        let pools = self.machine.config.retries;
        let entry = self.machine.jobs.settle(key);
        let (attempt, attempts) = (entry.attempt, entry.settings.retries(pools).saturating_add(1));
        let counters = &mut self.machine.counters;
        match outcome {
            Outcome::Success => counters.succeeded += 1,
            Outcome::Aborted => counters.aborted += 1,
            _ => counters.failed += 1,
        }
        self.say(Effect::Settled { key, attempt, attempts, outcome, seat });
    }

    pub(super) fn settle_all(&mut self, outcome: Outcome, which: impl Fn(Place) -> bool) {
        for key in self.machine.jobs.keys_in_order(|entry| which(entry.place)) {
            self.settle(key, outcome);
        }
    }

    /// The attempt that the worker holds is over, with `outcome`: the job settles, or goes back to be retried; where
    /// the worker is `dying`, only once it has been reaped.
    pub(super) fn attempt_over(&mut self, seat: Seat, outcome: Outcome, dying: bool) {
        let Some(current) = self.worker(seat).current else { return };
        let key = current.key;
        let retries = self.machine.config.retries;
        let Some(entry) = self.machine.jobs.get(key) else { return };
        let (attempt, attempts) = (entry.attempt, entry.settings.retries(retries).saturating_add(1));
        if !outcome.may_be_retried() || attempt >= attempts + u32::from(planted!(OneRetryTooMany)) {
            return self.settle(key, outcome);
        }
        self.let_go(seat);
        self.machine.counters.retried += 1;
        self.say(Effect::Retried { key, attempt, attempts, outcome, seat });
        if dying && !planted!(RetryBeforeReap) {
            self.machine.jobs.place(key, Place::Dying(seat.slot as u32));
            self.worker(seat).retry_at_death = Some(key);
        } else {
            self.machine.jobs.place(key, Place::Nowhere);
            self.queue_at_back(key);
        }
    }

    /// The worker holds its job no more.
    fn let_go(&mut self, seat: Seat) {
        if self.worker(seat).current.take().is_some() && !planted!(HeldIsMiscounted) {
            self.machine.held -= 1;
        }
    }
}
