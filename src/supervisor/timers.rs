//! When something about a worker or a job is due.

use super::JobKey;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Timer {
    /// The limit of the worker's state, or the next signal to one that is exiting.
    Limit,
    /// The soft limit of the job that it runs.
    SoftLimit,
    /// The grace time of the cancelled job that it runs.
    Cancel,
    /// The running job is not short: what lies behind it is recalled.
    Recall,
    /// A recall has not been answered.
    Unanswered,
    /// A worker that is to be killed for one job's sake has not answered what lies behind that job.
    PendingKill,
    /// Its memory is to be measured.
    Measure,
    /// A far worker is to be told that the pool is there.
    Heartbeat,
    /// Nothing has come from a far worker for its limit of silence.
    Silence,
    /// The wait for the other signs of its death is over.
    Death,
    /// The wait for how it ended is over.
    Status,
    /// It has been without a job for long.
    Idle,
    /// It is old.
    Age,
}

impl Timer {
    pub(super) const ALL: [Timer; 13] = [
        Timer::Recall,
        Timer::Unanswered,
        Timer::PendingKill,
        Timer::SoftLimit,
        Timer::Limit,
        Timer::Cancel,
        Timer::Measure,
        Timer::Heartbeat,
        Timer::Silence,
        Timer::Death,
        Timer::Status,
        Timer::Idle,
        Timer::Age,
    ];

    /// What is due no more once the worker is on its way out.
    pub(super) const ENDED_BY_EXIT: [Timer; 8] = [
        Timer::Recall,
        Timer::Unanswered,
        Timer::PendingKill,
        Timer::Measure,
        Timer::Heartbeat,
        Timer::Silence,
        Timer::Idle,
        Timer::Age,
    ];
}

/// The times at which a worker's timers are due: none where a timer is not set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Timers([Option<Duration>; Timer::ALL.len()]);

impl Timers {
    pub(super) fn set(&mut self, timer: Timer, at: Option<Duration>) {
        self.0[timer as usize] = at;
    }

    pub(super) fn clear(&mut self, timer: Timer) {
        self.set(timer, None);
    }

    pub(super) fn get(&self, timer: Timer) -> Option<Duration> {
        self.0[timer as usize]
    }

    /// Whether the timer is due; it is then no longer set.
    pub(super) fn take_due(&mut self, timer: Timer, now: Duration) -> bool {
        let due = self.get(timer).is_some_and(|at| at <= now);
        if due {
            self.clear(timer);
        }
        due
    }

    /// The first of them. It is asked for once a step, and [`Deadlines`] keeps it.
    pub(super) fn next(&self) -> Option<Duration> {
        self.0.iter().flatten().min().copied()
    }
}

/// Of each slot, when the first timer of its worker is due, as a tournament (Knuth, The Art of Computer Programming, 5.2.3): so
/// that the search for the next one takes no longer where there are a thousand workers, and a change is cheap where there are
/// a few.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Deadlines {
    /// The root at 1, the children of `n` at `2n` and `2n + 1`; the second half are the slots. Each is the earlier of its
    /// children.
    tree: Vec<Option<Duration>>,
}

impl Deadlines {
    pub(super) fn set(&mut self, slot: usize, at: Option<Duration>) {
        if slot >= self.slots() {
            self.grow(slot + 1);
        }
        let mut node = self.slots() + slot;
        let mut earliest = at;
        // Further up nothing has changed where a node has not.
        while node > 0 && std::mem::replace(&mut self.tree[node], earliest) != earliest {
            earliest = earlier(earliest, self.tree[node ^ 1]);
            node /= 2;
        }
    }

    pub(super) fn next(&self) -> Option<Duration> {
        self.tree.get(1).copied().flatten()
    }

    /// The slots whose workers have a timer that is due, in their order.
    pub(super) fn due(&self, now: Duration) -> Vec<usize> {
        let (mut slots, mut nodes) = (Vec::new(), vec![1]);
        while let Some(node) = nodes.pop() {
            if self.tree.get(node).copied().flatten().is_none_or(|at| at > now) {
                continue;
            }
            match node.checked_sub(self.slots()) {
                Some(slot) => slots.push(slot),
                None => nodes.extend([2 * node + 1, 2 * node]),
            }
        }
        slots
    }

    #[cfg(debug_assertions)]
    pub(super) fn check(&self, all: impl Iterator<Item = (usize, Duration)>) {
        let mut expected = Deadlines { tree: vec![None; self.tree.len()] };
        all.for_each(|(slot, at)| expected.set(slot, Some(at)));
        debug_assert_eq!(*self, expected, "the workers' deadlines");
    }

    fn slots(&self) -> usize {
        self.tree.len() / 2
    }

    fn grow(&mut self, slots: usize) {
        let before = self.tree.split_off(self.slots());
        self.tree = vec![None; 2 * slots.next_power_of_two()];
        for (slot, at) in before.into_iter().enumerate() {
            self.set(slot, at);
        }
    }
}

/// The first of two times; none is never.
fn earlier(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        _ => one.or(other),
    }
}

/// The times at which jobs are due: of the few that wait for a time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct JobTimers {
    /// The job's number before its place: what is due at the same time is due in the order of enqueueing.
    due: BTreeSet<(Duration, u64, u32)>,
    at: BTreeMap<u32, Duration>,
}

impl JobTimers {
    pub(super) fn len(&self) -> usize {
        self.due.len()
    }

    pub(super) fn next(&self) -> Option<Duration> {
        self.due.first().map(|&(at, ..)| at)
    }

    pub(super) fn is_set(&self, key: JobKey) -> bool {
        self.at.contains_key(&key.place)
    }

    pub(super) fn get(&self, key: JobKey) -> Option<Duration> {
        self.at.get(&key.place).copied()
    }

    pub(super) fn set(&mut self, key: JobKey, at: Duration) {
        self.clear(key);
        self.due.insert((at, key.id, key.place));
        self.at.insert(key.place, at);
    }

    pub(super) fn clear(&mut self, key: JobKey) {
        if let Some(at) = self.at.remove(&key.place) {
            self.due.remove(&(at, key.id, key.place));
        }
    }

    /// The first job that is due, whose timer is then no longer set.
    pub(super) fn take_due(&mut self, now: Duration) -> Option<JobKey> {
        let &(_, id, place) = self.due.first().filter(|&&(at, ..)| at <= now)?;
        let key = JobKey { place, id };
        self.clear(key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_due_in_the_order_of_their_times() {
        let milli = Duration::from_millis;
        let mut timers = JobTimers::default();
        let keys = [(0, 9), (1, 7), (2, 8), (3, 5)].map(|(place, id)| JobKey { place, id });
        for (key, at) in keys.into_iter().zip([3, 2, 2, 1]) {
            timers.set(key, milli(at));
        }
        timers.set(keys[3], milli(4));
        assert_eq!((timers.next(), timers.len()), (Some(milli(2)), 4));
        timers.clear(keys[0]);
        assert!(!timers.is_set(keys[0]) && timers.is_set(keys[3]));
        assert_eq!(timers.take_due(milli(1)), None);
        let due: Vec<_> = std::iter::from_fn(|| timers.take_due(milli(4))).collect();
        assert_eq!(due, [keys[1], keys[2], keys[3]]);
        assert_eq!(timers, JobTimers::default());
    }

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
    }

    #[test]
    fn the_slots_that_are_due_come_in_their_order() {
        let milli = Duration::from_millis;
        let mut deadlines = Deadlines::default();
        for (slot, at) in [(7, 1), (2, 3), (5, 3), (0, 9), (2, 2)] {
            deadlines.set(slot, Some(milli(at)));
        }
        assert_eq!((deadlines.next(), deadlines.due(milli(0))), (Some(milli(1)), vec![]));
        assert_eq!(deadlines.due(milli(3)), [2, 5, 7]);
        deadlines.set(7, None);
        deadlines.set(9, None);
        assert_eq!((deadlines.next(), deadlines.due(milli(2))), (Some(milli(2)), vec![2]));
    }
}
