//! The supervisor's two channels, commands and reports, over which it selects.
//!
//! It blocks until one of them has a message, and then takes from both what it likes: [`Select::ready`], not `select!`, which
//! takes a message as it wakes, and for that a lock that the thread which woke it may still hold.

use crossbeam_channel::{Receiver, Select, Sender, unbounded};
use std::time::Duration;

/// The supervisor's half of both channels.
pub(super) struct Inbox<C, R> {
    pub(super) commands: Receiver<C>,
    pub(super) reports: Receiver<R>,
    /// A channel without senders would be ready for ever.
    _senders: (Sender<C>, Sender<R>),
}

/// Makes the two channels.
pub(super) fn inbox<C, R>() -> (Sender<C>, Sender<R>, Inbox<C, R>) {
    let ((command_sender, commands), (report_sender, reports)) = (unbounded(), unbounded());
    let _senders = (command_sender.clone(), report_sender.clone());
    (command_sender, report_sender, Inbox { commands, reports, _senders })
}

impl<C, R> Inbox<C, R> {
    /// Blocks until there is a message, for at most `limit`, which is called only where there is none.
    pub(super) fn wait(&self, limit: impl FnOnce() -> Option<Duration>) {
        // What the last iteration has left.
        if !self.commands.is_empty() || !self.reports.is_empty() {
            return;
        }
        let mut select = Select::new();
        select.recv(&self.commands);
        select.recv(&self.reports);
        match limit() {
            None => drop(select.ready()),
            // Whether the time is over is seen by whoever looks at the clock.
            Some(limit) => drop(select.ready_timeout(limit)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
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

    #[test]
    fn a_pool_that_nobody_has_any_more_is_waited_for_without_a_busy_loop() {
        let (numbers, words, inbox) = inbox::<u32, &str>();
        drop((numbers, words));
        let (start, limit) = (clock::now(), Duration::from_millis(20));
        inbox.wait(|| Some(limit));
        let waited = clock::now() - start;
        assert!(waited >= limit, "{waited:?}");
    }
}
