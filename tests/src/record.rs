//! What a pool tells, kept in order.

use crate::WATCHDOG;
use crossbeam_channel::{Receiver, unbounded};
use hirelings::{Event, EventKind, Job, JobId, PoolBuilder};
use std::time::Instant;

/// Every event of one pool, in the order in which its hook was called.
#[derive(Debug)]
pub struct Record {
    coming: Receiver<Event>,
    seen: Vec<Event>,
}

impl Record {
    pub fn of<J: Job>(pool: PoolBuilder<J>) -> (PoolBuilder<J>, Self) {
        let (told, coming) = unbounded();
        let pool = pool.on_event(move |event| drop(told.send(event.clone())));
        (pool, Record { coming, seen: Vec::new() })
    }

    /// Blocks until an event that was not waited for yet matches.
    ///
    /// # Panics
    ///
    /// Where it does not come within [`WATCHDOG`].
    pub fn until(&mut self, mut matches: impl FnMut(&Event) -> bool) -> Event {
        let deadline = Instant::now() + WATCHDOG;
        loop {
            let Ok(event) = self.coming.recv_deadline(deadline) else {
                panic!("the event did not come; what came was {:#?}", self.lines());
            };
            self.seen.push(event.clone());
            if matches(&event) {
                return event;
            }
        }
    }

    pub fn until_kind(&mut self, kind: EventKind) -> Event {
        self.until(|event| event.kind() == kind)
    }

    /// All that have come; after the pool's exit these are all there are.
    pub fn all(&mut self) -> &[Event] {
        self.seen.extend(self.coming.try_iter());
        &self.seen
    }

    /// How many of this kind have come.
    pub fn count(&mut self, kind: EventKind) -> usize {
        self.all().iter().filter(|event| event.kind() == kind).count()
    }

    /// The kinds that came of one job, its workers' left out.
    pub fn of_job(&mut self, job: JobId) -> Vec<EventKind> {
        let events = self.all().iter().filter(|event| event.job() == Some(job));
        events.filter(|event| !matches!(event, Event::Worker(_))).map(Event::kind).collect()
    }

    /// As lines, for a message.
    pub fn lines(&self) -> Vec<String> {
        self.seen.iter().map(ToString::to_string).collect()
    }
}
