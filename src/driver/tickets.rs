//! The tickets of the jobs that are in the machine, by their places in its table.

use crate::record::{JobRecord, Ticket};
use crate::supervisor::JobKey;
use std::mem;
use std::sync::Arc;

/// An empty table longer than this gives its memory back.
const KEPT: usize = 1024;

#[derive(Default)]
pub(super) struct Tickets {
    by_place: Vec<Ticket>,
    len: usize,
}

impl Tickets {
    pub(super) fn insert(&mut self, key: JobKey, ticket: Ticket) {
        let place = key.place as usize;
        if place >= self.by_place.len() {
            self.by_place.resize_with(place + 1, Ticket::default);
        }
        self.by_place[place] = ticket;
        self.len += 1;
    }

    pub(super) fn record(&self, key: JobKey) -> Option<&Arc<JobRecord>> {
        self.by_place.get(key.place as usize)?.record_of(key.id)
    }

    /// The job that a worker has, and its attempt.
    pub(super) fn held(&self, job: Option<(JobKey, u32)>) -> Option<(Arc<JobRecord>, u32)> {
        let (key, attempt) = job?;
        Some((Arc::clone(self.record(key)?), attempt))
    }

    /// Takes out the ticket of a job that is over.
    pub(super) fn take(&mut self, key: JobKey) -> Option<Ticket> {
        self.record(key)?;
        let ticket = mem::take(&mut self.by_place[key.place as usize]);
        self.len -= 1;
        if self.len == 0 && self.by_place.len() > KEPT {
            self.by_place = Vec::new();
        }
        Some(ticket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hirelings_worker_kit::wire::Payload;

    fn ticket(id: u64) -> Ticket {
        Ticket::new(JobRecord::new(id, Payload::Empty, None))
    }

    #[test]
    fn a_place_that_is_used_again_is_another_jobs() {
        let mut tickets = Tickets::default();
        let (first, second) = (JobKey { place: 3, id: 1 }, JobKey { place: 3, id: 2 });
        tickets.insert(first, ticket(1));
        assert!(tickets.record(second).is_none() && tickets.take(second).is_none());
        assert!(tickets.take(first).is_some());
        tickets.insert(second, ticket(2));
        assert!(tickets.record(first).is_none());
        assert_eq!(tickets.record(second).map(|record| record.id), Some(2));
    }

    #[test]
    fn only_a_long_table_gives_its_memory_back() {
        for (jobs, kept) in [(KEPT, KEPT), (KEPT + 1, 0)] {
            let mut tickets = Tickets::default();
            let keys = |id: usize| JobKey { place: id as u32, id: id as u64 };
            (0..jobs).for_each(|id| tickets.insert(keys(id), ticket(id as u64)));
            (0..jobs).for_each(|id| assert!(tickets.take(keys(id)).is_some()));
            assert_eq!(tickets.by_place.len(), kept, "{jobs} jobs");
        }
    }
}
