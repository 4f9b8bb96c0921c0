//! How long the pool may be silent, and when it was heard last: shared by the main thread, which reads, and the guard, which
//! ends the worker. Without a lock, since the main thread holds the input's while it waits.
//!
//! The danger is a guard that takes a pool for silent whose words the main thread has just taken out of the pipe. So the
//! reader notes that it has heard something (N) before it reads it (R), and the guard looks at the note (L), at the pipe
//! (P), and at the note again (A):
//!
//! - R after P: P finds the words in the pipe.
//! - R before P: N, which is before R, is before A, which is after P; A finds the pool not silent. (The pipe is the
//!   system's: what was done before a read is seen after a look at what the read has left.)
//!
//! L alone saves the look at the pipe. A note after the reading, or no look at the note after the pipe, would let the
//! guard end a worker that was stopped, continued, and read at once. `tests/loom` tries this file in every interleaving,
//! and finds both of these faults.

use crate::sync::{AtomicU64, Ordering};
use std::time::Duration;

/// Times are milliseconds since any one moment.
#[derive(Debug)]
pub(crate) struct Silence {
    /// 0 until the pool has set one.
    limit: AtomicU64,
    heard: AtomicU64,
}

impl Silence {
    pub(crate) fn new() -> Self {
        Silence { limit: AtomicU64::new(0), heard: AtomicU64::new(0) }
    }

    /// The pool has set a limit, now. Gives whether it is another one, and the guard has a new time to keep: it is to be woken,
    /// and looks at the limit after it has been. A guard that sees the limit sees when it began.
    pub(crate) fn set(&self, limit: u64, now: u64) -> bool {
        self.heard.store(now, Ordering::Release);
        self.limit.swap(limit, Ordering::AcqRel) != limit
    }

    /// Something has arrived and is about to be read.
    pub(crate) fn note(&self, now: impl FnOnce() -> u64) {
        // No clock where nobody looks at it.
        if self.limit.load(Ordering::Acquire) != 0 {
            self.heard.store(now(), Ordering::Release);
        }
    }

    /// How long the pool may still be silent; none where it has set no limit.
    pub(crate) fn left(&self, now: impl FnOnce() -> u64) -> Option<Duration> {
        let limit = self.limit.load(Ordering::Acquire);
        let until = self.heard.load(Ordering::Acquire).saturating_add(limit);
        (limit != 0).then(|| Duration::from_millis(until.saturating_sub(now())))
    }

    /// Whether the pool has been silent for too long. What has arrived and is `unread` is no silence: this process may have
    /// been stopped.
    pub(crate) fn is_over(&self, now: impl Fn() -> u64, unread: impl FnOnce() -> bool) -> bool {
        let over = || self.left(&now) == Some(Duration::ZERO);
        over() && !unread() && over()
    }
}
