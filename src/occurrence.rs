//! Something that has happened in a pool, before events are made of it.

use crate::event::{Event, EventFields, EventKind, More};
use crate::id::{JobId, Slot, WorkerId};
use std::sync::Arc;

/// Something that has happened, of which one event is made, or several at once.
#[derive(Clone)]
pub(crate) struct Occurrence {
    /// The events' kinds, in their order.
    pub(crate) kinds: &'static [EventKind],
    pub(crate) job: Option<JobId>,
    pub(crate) label: Option<Arc<str>>,
    pub(crate) worker: Option<WorkerId>,
    pub(crate) slot: Option<Slot>,
    pub(crate) site: Option<Arc<str>>,
    pub(crate) pid: Option<u32>,
    pub(crate) attempt: Option<u32>,
    /// Nanoseconds since the pool was built.
    pub(crate) at: u64,
    pub(crate) more: More,
}

impl Occurrence {
    /// The event of one of its kinds, in the pool of that name.
    pub(crate) fn event(&self, kind: EventKind, pool: &Arc<str>) -> Event {
        Event::new(EventFields {
            kind,
            pool: Arc::clone(pool),
            job: self.job,
            label: self.label.clone(),
            worker: self.worker,
            slot: self.slot,
            site: self.site.clone(),
            pid: self.pid,
            attempt: self.attempt,
            at: self.at,
            more: self.more.clone(),
        })
    }
}
