//! Why a worker's work is over.

use crate::wire::FrameFault;
use std::{fmt, io};

/// Why the worker's loop is over.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The pool's end of the pipe is gone.
    Orphaned,
    /// The pool said something that makes no sense.
    Protocol(FrameFault),
    /// A system call failed.
    Io(io::Error),
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ended::Orphaned => f.write_str("the pool is gone"),
            Ended::Protocol(fault) => write!(f, "the pool wrote {fault}"),
            Ended::Io(error) => write!(f, "the pool cannot be reached: {error}"),
        }
    }
}

impl std::error::Error for Ended {}
