//! When something about a worker is due.

use std::time::Duration;

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Timer {
    /// The limit of the worker's state, or the next signal to one that is exiting.
    Limit,
    /// The running job is not short: what lies behind it is recalled.
    Recall,
    /// A recall has not been answered.
    Unanswered,
    /// A worker that is to be killed for one job's sake has not answered what lies behind that job.
    PendingKill,
    /// Its memory is to be measured.
    Measure,
    /// The wait for the other signs of its death is over.
    Death,
    /// It has been without a job for long.
    Idle,
    /// It is old.
    Age,
}

impl Timer {
    pub(super) const ALL: [Timer; 8] = [
        Timer::Recall,
        Timer::Unanswered,
        Timer::PendingKill,
        Timer::Limit,
        Timer::Measure,
        Timer::Death,
        Timer::Idle,
        Timer::Age,
    ];

    /// What is due no more once the worker is on its way out.
    pub(super) const ENDED_BY_EXIT: [Timer; 6] =
        [Timer::Recall, Timer::Unanswered, Timer::PendingKill, Timer::Measure, Timer::Idle, Timer::Age];
}

/// The times at which a worker's timers are due: none where a timer is not set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Timers {
    at: [Option<Duration>; Timer::ALL.len()],
    /// The first of them: it is asked for far more often than any is set.
    next: Option<Duration>,
}

impl Timers {
    pub(super) fn set(&mut self, timer: Timer, at: Option<Duration>) {
        let before = std::mem::replace(&mut self.at[timer as usize], at);
        if before == at {
            return;
        }
        if before.is_some() && before == self.next {
            self.next = self.at.iter().flatten().min().copied();
        } else if let Some(at) = at {
            self.next = Some(self.next.map_or(at, |next| next.min(at)));
        }
    }

    pub(super) fn clear(&mut self, timer: Timer) {
        self.set(timer, None);
    }

    pub(super) fn get(&self, timer: Timer) -> Option<Duration> {
        self.at[timer as usize]
    }

    /// Whether the timer is due; it is then no longer set.
    pub(super) fn take_due(&mut self, timer: Timer, now: Duration) -> bool {
        let due = self.get(timer).is_some_and(|at| at <= now);
        if due {
            self.clear(timer);
        }
        due
    }

    #[cfg(debug_assertions)]
    pub(super) fn check(&self) {
        debug_assert_eq!(self.next, self.at.iter().flatten().min().copied(), "the next timer");
    }

    pub(super) fn next(&self) -> Option<Duration> {
        self.next
    }

    pub(super) fn is_any_due(&self, now: Duration) -> bool {
        self.next.is_some_and(|at| at <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_timer_is_due_once() {
        let milli = Duration::from_millis;
        let mut timers = Timers::default();
        for (at, &timer) in Timer::ALL.iter().enumerate() {
            timers.set(timer, Some(milli(10 + at as u64)));
        }
        assert_eq!(timers.next(), Some(milli(10)));
        for (at, &timer) in Timer::ALL.iter().enumerate() {
            assert!(!timers.take_due(timer, milli(9 + at as u64)), "{timer:?}");
            assert!(timers.take_due(timer, milli(10 + at as u64)), "{timer:?}");
            assert!(!timers.take_due(timer, milli(100)), "{timer:?}");
        }
        assert_eq!(timers, Timers::default());
    }

    #[test]
    fn the_next_is_the_first_of_those_that_are_set() {
        let milli = Duration::from_millis;
        let mut timers = Timers::default();
        timers.set(Timer::Limit, Some(milli(5)));
        timers.set(Timer::Death, Some(milli(3)));
        timers.set(Timer::Recall, Some(milli(4)));
        assert_eq!(timers.next(), Some(milli(3)));
        timers.clear(Timer::Death);
        assert_eq!(timers.next(), Some(milli(4)));
        timers.set(Timer::Recall, Some(milli(9)));
        assert_eq!(timers.next(), Some(milli(5)));
        assert!(timers.is_any_due(milli(5)) && !timers.is_any_due(milli(4)));
    }
}
