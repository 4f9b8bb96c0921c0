//! The supervisor's side of the hook thread: calls are collected here, and handed over at the end of an iteration, or before
//! somebody else can see what they tell of: whoever adds a hook then is called after them.

use crate::budget::Charge;
use crate::dispatcher::{Dispatcher, Notification};
use crate::event::EventKind;
use crate::occurrence::Occurrence;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Arc;

/// A buffer of more notifications than this is not kept.
const KEPT: usize = 4096;

pub(super) struct HookQueue {
    dispatcher: Arc<Dispatcher>,
    /// The pool's name.
    name: Arc<str>,
    /// What the hook thread has not been given yet.
    queued: RefCell<VecDeque<Notification>>,
    /// Whether it has been given some for which it was not woken.
    unwoken: Cell<bool>,
}

impl HookQueue {
    pub(super) fn new(dispatcher: Arc<Dispatcher>, name: Arc<str>) -> Self {
        HookQueue { dispatcher, name, queued: RefCell::default(), unwoken: Cell::new(false) }
    }

    /// Whether anybody listens to events of one of these kinds.
    pub(super) fn wants(&self, kinds: &[EventKind]) -> bool {
        self.dispatcher.wants(kinds)
    }

    /// Emits the events of what has happened: to subscribers at once, to hooks at the next [`HookQueue::hand_over`].
    pub(super) fn emit(&self, occurrence: Occurrence, charge: Option<Arc<Charge>>) {
        if self.dispatcher.has_subscribers() {
            self.put();
        }
        self.dispatcher.emit(occurrence, charge, &self.name, &mut self.queued.borrow_mut());
    }

    /// Queues a call for the next [`HookQueue::hand_over`].
    pub(super) fn queue(&self, notification: Notification) {
        self.queued.borrow_mut().push_back(notification);
    }

    /// Gives the hook thread what is queued, without waking it: what another thread adds from now on comes after that.
    pub(super) fn put(&self) {
        let mut queued = self.queued.borrow_mut();
        if !queued.is_empty() {
            self.dispatcher.put(&mut queued);
            // In exchange it may have got the buffer of a thread that had much to do.
            queued.shrink_to(KEPT);
            self.unwoken.set(true);
        }
    }

    /// Hands over what is queued, and wakes the hook thread for it.
    pub(super) fn hand_over(&self) {
        self.put();
        if self.unwoken.take() {
            self.dispatcher.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::More;
    use crate::subscription::Events;

    fn occurrence() -> Occurrence {
        Occurrence {
            kinds: &[EventKind::Idle],
            job: None,
            label: None,
            worker: None,
            slot: None,
            site: None,
            pid: None,
            attempt: None,
            at: 0,
            more: More::Nothing,
        }
    }

    /// A subscriber may add a hook as soon as it has the event.
    #[test]
    fn what_is_queued_is_put_before_a_subscriber_gets_the_next_event() {
        let hooks = HookQueue::new(Dispatcher::new(None), "pool".into());
        let queued = || hooks.queued.borrow().len();
        hooks.queue(Notification::Log(log::Level::Debug, String::new()));
        hooks.emit(occurrence(), None);
        assert_eq!(queued(), 1, "nobody gets an event");
        let (events, subscriber) = Events::new();
        hooks.dispatcher.subscribe(subscriber);
        hooks.emit(occurrence(), None);
        assert_eq!((queued(), hooks.unwoken.get()), (0, true));
        drop(events);
    }
}
