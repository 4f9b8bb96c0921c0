//! The supervisor's side of the hook thread: calls are collected here, and handed over at the end of an iteration.

use crate::budget::Charge;
use crate::dispatcher::{Dispatcher, Notification};
use crate::event::EventKind;
use crate::happening::Happening;
use std::cell::RefCell;
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
}

impl HookQueue {
    pub(super) fn new(dispatcher: Arc<Dispatcher>, name: Arc<str>) -> Self {
        HookQueue { dispatcher, name, queued: RefCell::default() }
    }

    /// Whether anybody listens to events of one of these kinds.
    pub(super) fn wants(&self, kinds: &[EventKind]) -> bool {
        self.dispatcher.wants(kinds)
    }

    /// Emits the events of what has happened: to subscribers at once, to hooks at the next [`HookQueue::hand_over`].
    pub(super) fn emit(&self, happening: Happening, charge: Option<Arc<Charge>>) {
        self.dispatcher.emit(happening, charge, &self.name, &mut self.queued.borrow_mut());
    }

    /// Queues a call for the next [`HookQueue::hand_over`].
    pub(super) fn queue(&self, notification: Notification) {
        self.queued.borrow_mut().push_back(notification);
    }

    /// Hands over what is queued, and wakes the hook thread for it.
    pub(super) fn hand_over(&self) {
        let mut queued = self.queued.borrow_mut();
        if !queued.is_empty() {
            self.dispatcher.hand_over(&mut queued);
            // In exchange it may have got the buffer of a thread that had much to do.
            queued.shrink_to(KEPT);
        }
    }
}
