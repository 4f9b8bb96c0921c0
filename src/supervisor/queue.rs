//! Queued jobs in their order: for each priority a list through the table, so that enqueue, abort and return cost the same
//! however many there are.

use super::JobKey;
use super::jobs::{Entry, JobState, Jobs, NONE};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// A job's place in the order of dispatch: higher priorities first, then the order in which they were queued.
pub(super) type Rank = (Reverse<i32>, u64);

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Queue {
    /// Higher priorities first; a list that is empty is taken out.
    lists: BTreeMap<Reverse<i32>, List>,
    len: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct List {
    head: u32,
    tail: u32,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Behind all others of its priority.
    pub(super) fn push_back(&mut self, jobs: &mut Jobs, key: JobKey) {
        let seq = jobs.next_seq();
        let entry = jobs.entry(key.place);
        entry.seq = seq;
        let priority = priority_of(entry);
        let tail = self.lists.get(&priority).map_or(NONE, |list| list.tail);
        self.link(jobs, key.place, priority, tail);
    }

    /// To where it was before it was taken out: behind those that come before it. It is near the front, and so are the
    /// others that were taken out with it, so the walk is short.
    pub(super) fn put_back(&mut self, jobs: &mut Jobs, key: JobKey) {
        let entry = jobs.entry(key.place);
        let (seq, priority) = (entry.seq, priority_of(entry));
        let (mut before, mut at) = (NONE, self.lists.get(&priority).map_or(NONE, |list| list.head));
        while at != NONE && jobs.entry(at).seq < seq {
            (before, at) = (at, jobs.entry(at).next);
        }
        self.link(jobs, key.place, priority, before);
    }

    /// The job that is next, and its rank.
    pub(super) fn front(&self, jobs: &Jobs) -> Option<(Rank, JobKey)> {
        let (&priority, list) = self.lists.first_key_value()?;
        let key = jobs.key_at(list.head);
        Some(((priority, jobs.get(key)?.seq), key))
    }

    pub(super) fn remove(&mut self, jobs: &mut Jobs, key: JobKey) {
        let entry = jobs.entry(key.place);
        let (prev, next) = (std::mem::replace(&mut entry.prev, NONE), std::mem::replace(&mut entry.next, NONE));
        let priority = priority_of(entry);
        entry.state = JobState::Nowhere;
        if prev != NONE {
            jobs.entry(prev).next = next;
        }
        if next != NONE {
            jobs.entry(next).prev = prev;
        }
        self.len -= 1;
        if prev == NONE && next == NONE {
            self.lists.remove(&priority);
        } else if let Some(list) = self.lists.get_mut(&priority) {
            if prev == NONE {
                list.head = next;
            }
            if next == NONE {
                list.tail = prev;
            }
        }
    }

    /// Links `key` in behind `before`, or at the front.
    fn link(&mut self, jobs: &mut Jobs, key: u32, priority: Reverse<i32>, before: u32) {
        let list = self.lists.entry(priority).or_insert(List { head: NONE, tail: NONE });
        let after = if before == NONE { list.head } else { jobs.entry(before).next };
        let entry = jobs.entry(key);
        (entry.prev, entry.next, entry.state) = (before, after, JobState::Queued);
        if before == NONE {
            list.head = key;
        } else {
            jobs.entry(before).next = key;
        }
        if after == NONE {
            list.tail = key;
        } else {
            jobs.entry(after).prev = key;
        }
        self.len += 1;
    }
}

fn priority_of(entry: &Entry) -> Reverse<i32> {
    Reverse(entry.settings.priority())
}
