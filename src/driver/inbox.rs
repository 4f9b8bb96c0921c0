//! The supervisor's two channels, commands and reports, and the wake-up that it sleeps on.
//!
//! A sender puts its message into its channel and then sends a wake-up. The supervisor takes the wake-up first and looks
//! into both channels afterwards, so it misses nothing that was sent before. It blocks on one channel rather than selecting
//! over two, because a thread that wakes from a select locks each channel, and the thread that woke it may still hold such a
//! lock.

use crossbeam_channel::{Receiver, RecvTimeoutError, SendError, Sender, bounded, unbounded};
use std::time::Duration;

/// The sending half of one of the two channels.
pub(crate) struct InboxSender<T> {
    queue: Sender<T>,
    wake: Sender<()>,
}

impl<T> Clone for InboxSender<T> {
    fn clone(&self) -> Self {
        InboxSender { queue: self.queue.clone(), wake: self.wake.clone() }
    }
}

impl<T> InboxSender<T> {
    /// Sends a message, and wakes the supervisor if it sleeps.
    ///
    /// # Errors
    ///
    /// The message, where the supervisor has ended.
    pub(crate) fn send(&self, message: T) -> Result<(), SendError<T>> {
        self.queue.send(message)?;
        self.wake();
        Ok(())
    }

    /// Sends one of several messages, after the last of which [`wake`](InboxSender::wake) follows.
    ///
    /// # Errors
    ///
    /// The message, where the supervisor has ended.
    pub(crate) fn queue(&self, message: T) -> Result<(), SendError<T>> {
        self.queue.send(message)
    }

    /// Wakes the supervisor if it sleeps.
    pub(crate) fn wake(&self) {
        // One wake-up that is already waiting is enough.
        let _ = self.wake.try_send(());
    }
}

/// The supervisor's half of both channels.
pub(super) struct Inbox<C, R> {
    pub(super) commands: Receiver<C>,
    pub(super) reports: Receiver<R>,
    woken: Receiver<()>,
}

/// Makes the two channels.
pub(super) fn inbox<C, R>() -> (InboxSender<C>, InboxSender<R>, Inbox<C, R>) {
    let (wake, woken) = bounded(1);
    let ((command_queue, commands), (report_queue, reports)) = (unbounded(), unbounded());
    let command_sender = InboxSender { queue: command_queue, wake: wake.clone() };
    let report_sender = InboxSender { queue: report_queue, wake };
    (command_sender, report_sender, Inbox { commands, reports, woken })
}

impl<C, R> Inbox<C, R> {
    /// Blocks until a message has arrived, for at most `limit`, which is called only where none has.
    pub(super) fn wait(&self, limit: impl FnOnce() -> Option<Duration>) {
        // What the last iteration has left comes without a wake-up.
        if !self.commands.is_empty() || !self.reports.is_empty() {
            return;
        }
        match limit() {
            None => drop(self.woken.recv()),
            Some(limit) => match self.woken.recv_timeout(limit) {
                Ok(()) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn no_message_is_missed() {
        const EACH: u32 = 20_000;
        let (numbers, words, inbox) = inbox::<u32, &str>();
        let senders = [
            thread::spawn(move || (0..EACH).for_each(|number| numbers.send(number).unwrap())),
            thread::spawn(move || (0..EACH).for_each(|_| words.send("word").unwrap())),
        ];
        let mut drained = 0;
        while drained < 2 * EACH {
            inbox.wait(|| None);
            drained += inbox.commands.try_iter().count() as u32 + inbox.reports.try_iter().count() as u32;
        }
        for sender in senders {
            sender.join().unwrap();
        }
    }

    #[test]
    fn a_supervisor_that_has_ended_gives_the_message_back() {
        let (numbers, _words, inbox) = inbox::<u32, ()>();
        drop(inbox);
        assert_eq!(numbers.send(7).unwrap_err().0, 7);
    }
}
