//! The supervisor's two channels, and the bell that it sleeps by.
//!
//! Whoever has something to say puts it into its channel and rings. The supervisor takes the ring first and looks into
//! both channels after, so nothing that was said before is missed. It blocks on one channel rather than selecting over two,
//! because a thread that was woken from a select asks each channel for a lock that its waker may still hold.

use crossbeam_channel::{Receiver, RecvTimeoutError, SendError, Sender, bounded, unbounded};
use std::time::Duration;

/// A sender's end of one of the channels.
pub(crate) struct Line<T> {
    queue: Sender<T>,
    bell: Sender<()>,
}

impl<T> Clone for Line<T> {
    fn clone(&self) -> Self {
        Line { queue: self.queue.clone(), bell: self.bell.clone() }
    }
}

impl<T> Line<T> {
    /// Says it, and wakes the supervisor if it sleeps.
    ///
    /// # Errors
    ///
    /// What was said, where the supervisor has ended.
    pub(crate) fn send(&self, message: T) -> Result<(), SendError<T>> {
        self.queue.send(message)?;
        // A bell that has rung already will do.
        let _ = self.bell.try_send(());
        Ok(())
    }
}

/// The supervisor's end of both.
pub(super) struct Ears<A, B> {
    pub(super) first: Receiver<A>,
    pub(super) second: Receiver<B>,
    bell: Receiver<()>,
}

/// Makes the two channels.
pub(super) fn lines<A, B>() -> (Line<A>, Line<B>, Ears<A, B>) {
    let (bell, rung) = bounded(1);
    let ((first_queue, first), (second_queue, second)) = (unbounded(), unbounded());
    let (one, other) = (Line { queue: first_queue, bell: bell.clone() }, Line { queue: second_queue, bell });
    (one, other, Ears { first, second, bell: rung })
}

impl<A, B> Ears<A, B> {
    /// Blocks until something was said, for at most `limit`, which is asked for only where nothing was.
    pub(super) fn listen(&self, limit: impl FnOnce() -> Option<Duration>) {
        // What a turn has left is there without a ring.
        if !self.first.is_empty() || !self.second.is_empty() {
            return;
        }
        match limit() {
            None => drop(self.bell.recv()),
            Some(limit) => match self.bell.recv_timeout(limit) {
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
    fn nothing_that_is_said_is_missed() {
        const EACH: u32 = 20_000;
        let (numbers, words, ears) = lines::<u32, &str>();
        let speakers = [
            thread::spawn(move || (0..EACH).for_each(|number| numbers.send(number).unwrap())),
            thread::spawn(move || (0..EACH).for_each(|_| words.send("word").unwrap())),
        ];
        let mut heard = 0;
        while heard < 2 * EACH {
            ears.listen(|| None);
            heard += ears.first.try_iter().count() as u32 + ears.second.try_iter().count() as u32;
        }
        for speaker in speakers {
            speaker.join().unwrap();
        }
    }

    #[test]
    fn a_supervisor_that_has_ended_gives_back_what_it_is_told() {
        let (numbers, _words, ears) = lines::<u32, ()>();
        drop(ears);
        assert_eq!(numbers.send(7).unwrap_err().0, 7);
    }
}
