//! A copy of this process: one that the fork server makes, or one that user code has made.

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use rustix::process::Pid;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

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

/// What the child is told that [`Generation::end_copy`] ends.
const COPY: &[u8] = b"hirelings worker: this process is a child that the worker's own code has forked, and has come back to the \
    kit: it ends here, since the worker itself answers its jobs. End such a child where its work is done, with _exit.\n";

/// How many forks lie between the process that asked first and this one.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// This process and its threads, among all that it was forked from or forks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Generation(u32);

impl Generation {
    /// That of this process. The C library counts from here on: to ask the system for the process's number would cost each job
    /// a call. What forks without the library is not seen.
    #[allow(unsafe_code)]
    pub(crate) fn current() -> Self {
        extern "C" fn count() {
            FORKS.fetch_add(1, Ordering::Relaxed);
        }
        static COUNTED: Once = Once::new();
        COUNTED.call_once(|| {
            // Where there is no memory for it, nothing is counted.
            // SAFETY: `count` may run in the copy of a process with several threads, and does not unwind.
            let _ = unsafe { libc::pthread_atfork(None, None, Some(count)) };
        });
        Generation(FORKS.load(Ordering::Relaxed))
    }

    /// Ends this process where it is a later one: user code has forked it, and what it goes on with is its parent's. What the
    /// parent has registered for its exit does not run.
    #[allow(unsafe_code)]
    pub(crate) fn end_copy(self) {
        if FORKS.load(Ordering::Relaxed) != self.0 {
            // Another thread may have held the lock of Rust's standard error in the fork.
            let _ = rustix::io::write(io::stderr().as_fd(), COPY);
            // SAFETY: it may be called at any time, and ends the process.
            unsafe { libc::_exit(1) }
        }
    }
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
