//! A caller that waits for an answer which may come late, or never.

use crossbeam_channel::{Receiver, Sender, bounded};
use std::sync::{Arc, Weak};

/// A caller that waits for something that may never come about, and may give up before.
pub(crate) struct Waiter<A> {
    reply: Sender<A>,
    caller: Weak<()>,
}

impl<A> Waiter<A> {
    /// For a caller that waits as long as it has `caller`, and where its answer comes.
    pub(crate) fn new(caller: &Arc<()>) -> (Self, Receiver<A>) {
        let (reply, answer) = bounded(1);
        (Waiter { reply, caller: Arc::downgrade(caller) }, answer)
    }

    pub(super) fn answer(self, answer: A) {
        let _ = self.reply.send(answer);
    }

    pub(super) fn has_given_up(&self) -> bool {
        self.caller.strong_count() == 0
    }
}
