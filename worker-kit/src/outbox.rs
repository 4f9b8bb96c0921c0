//! The output of the worker's end of the protocol, and what has been said of the job that runs.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs::File;
use std::os::fd::OwnedFd;

/// The way to the pool.
#[derive(Debug)]
pub(crate) struct Outbox {
    pub(crate) pipe: File,
    /// The job whose handler runs, and whether its start has been announced.
    pub(crate) running: Option<(u64, bool)>,
    /// Whether the terminal failure has been written: nothing follows it.
    pub(crate) ended: bool,
}

impl Outbox {
    pub(crate) fn new(output: OwnedFd) -> Self {
        Outbox { pipe: output.into(), running: None, ended: false }
    }

    /// Whether a frame of a few bytes can be written without blocking. An output that nobody reads any more does not block.
    pub(crate) fn has_room(&self) -> bool {
        poll(&mut [PollFd::new(&self.pipe, PollFlags::OUT)], Some(&Timespec::default())) == Ok(1)
    }
}
