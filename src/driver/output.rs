//! A worker's standard output, as its reader and the supervisor share it.

use crate::sys;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::SeqCst};

/// A worker's output, as its reader and the supervisor share it: the supervisor can learn whether all that the worker has
/// written until now has been reported.
///
/// The supervisor asks first and looks at the reader's state second; the reader says that it waits first, and looks whether
/// it is asked second. So one of the two always notices the other: either the supervisor sees that the reader waits at an
/// empty pipe, which means that it has reported all, or the reader sees that it is asked, and answers with
/// `Report::Drained`.
#[derive(Debug)]
pub(crate) struct Output {
    pub(super) pipe: OwnedFd,
    pub(super) state: AtomicU8,
    /// The number of the last question.
    pub(super) asked: AtomicU64,
}

/// The reader has read bytes that it has not reported, or may have.
pub(super) const READING: u8 = 0;
/// All that was read has been reported; the reader waits for more.
pub(super) const WAITING: u8 = 1;
/// The same, but the reader waits for room, and what lies in the pipe is not read.
pub(super) const PAUSED: u8 = 2;
pub(super) const ENDED: u8 = 3;

impl Output {
    /// Reads do not block from here on: the worker may read from its pipe itself, after it is seen that there is something.
    pub(crate) fn new(pipe: OwnedFd) -> Arc<Self> {
        sys::never_block(&pipe);
        Arc::new(Output { pipe, state: AtomicU8::new(READING), asked: AtomicU64::new(0) })
    }

    /// Asks for a `Report::Drained` with this number. It is not sent where [`is_drained`](Output::is_drained) is found to
    /// be true before the reader notices.
    pub(crate) fn ask(&self, number: u64) {
        self.asked.store(number, SeqCst);
    }

    /// Whether all that was written to the pipe has been reported. The pipe is looked at first and the reader's state second:
    /// what the reader had taken out of the pipe by then has been reported if it says afterwards that it waits. A reader that
    /// waits for room reads nothing until there is some; `paused` says whether that is enough.
    pub(crate) fn is_drained(&self, paused: bool) -> bool {
        let unread = sys::unread(&self.pipe).unwrap_or(0);
        match self.state.load(SeqCst) {
            WAITING => unread == 0,
            PAUSED => paused,
            ENDED => true,
            _ => false,
        }
    }

    /// Whether something is in the pipe that the reader has not read, for want of room, or is reading just now.
    pub(crate) fn has_unread(&self) -> bool {
        sys::unread(&self.pipe).unwrap_or(0) > 0 || self.state.load(SeqCst) == READING
    }
}
