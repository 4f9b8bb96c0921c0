//! A copy of this process.

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use rustix::process::Pid;
use std::io::{self, Write};

/// Forks. Gives the child's number in this process, and none in the child.
///
/// The caller has made sure that this process has one thread. What standard output holds unwritten, in Rust or in C, is
/// written before: the child would write it a second time.
///
/// # Errors
///
/// Where there is no room for another process.
#[allow(unsafe_code)]
pub(crate) fn fork() -> io::Result<Option<Pid>> {
    let _ = io::stdout().flush();
    // SAFETY: a null pointer stands for all streams of C.
    unsafe { libc::fflush(std::ptr::null_mut()) };
    // SAFETY: this process has one thread, so that no lock is held by one that the child does not have, and the child may do
    // whatever this process may.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Pid::from_raw(pid))
}

/// What this process did about SIGCHLD before [`keep_children`].
pub(crate) struct ChildSignal(SigAction);

/// From here on a child that has ended keeps its number until this process reaps it: where SIGCHLD is ignored, or a handler
/// of main's reaps, the number may be somebody else's at any time.
///
/// # Errors
///
/// None that the system should give.
#[allow(unsafe_code)]
pub(crate) fn keep_children() -> io::Result<ChildSignal> {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: no handler is installed.
    let before = unsafe { sigaction(Signal::SIGCHLD, &default) }?;
    Ok(ChildSignal(before))
}

impl ChildSignal {
    /// In a child: what main has set holds again.
    #[allow(unsafe_code)]
    pub(crate) fn restore(self) {
        // SAFETY: whoever installed it first has seen to it that it may run.
        let _ = unsafe { sigaction(Signal::SIGCHLD, &self.0) };
    }
}
