//! Signals, as the pool's threads and what they start see them. The crate's only unsafe code.
//!
//! All threads of a pool block every signal: no handler of the program runs on them, and a write to a worker that has
//! died is an error rather than SIGPIPE. A thread starts with the mask of the thread that creates it, so the creator
//! blocks them around the creation. A thread that blocked them first thing itself would run unblocked until then.
//!
//! A child process starts with the mask of the thread that spawns it, and is to start with an empty one. [`Unblock`]
//! says how.

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use std::io;
use std::marker::PhantomData;
#[cfg(any(target_os = "linux", target_os = "android"))]
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

/// What a thread's own fault raises. If these were blocked, the program's handler of them (Rust's own tells of a stack
/// that has overflowed) could not run, and the system would kill the program without a word.
const FAULTS: [Signal; 6] =
    [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGILL, Signal::SIGFPE, Signal::SIGTRAP, Signal::SIGSYS];

/// A signal mask of the calling thread, which has the one from before again when this is dropped.
#[derive(Debug)]
pub(crate) struct Mask {
    before: Option<SigSet>,
    /// It is of one thread.
    not_send: PhantomData<*const ()>,
}

impl Mask {
    /// Blocks everything but faults.
    pub(crate) fn full() -> Self {
        let mut all = SigSet::all();
        FAULTS.into_iter().for_each(|fault| all.remove(fault));
        Self::set(&all)
    }

    fn empty() -> Self {
        Self::set(&SigSet::empty())
    }

    fn set(mask: &SigSet) -> Self {
        // It fails only where it is asked for what it does not know.
        Mask { before: mask.thread_swap_mask(SigmaskHow::SIG_SETMASK).ok(), not_send: PhantomData }
    }

    /// How children of a pool that this thread builds get an empty mask.
    pub(crate) fn unblock(&self) -> Unblock {
        if self.before.is_some_and(|before| is_empty(&before)) { Unblock::InParent } else { Unblock::InChild }
    }
}

impl Drop for Mask {
    fn drop(&mut self) {
        if let Some(before) = self.before {
            let _ = before.thread_set_mask();
        }
    }
}

/// Whether it has no signal in it, those without a name included.
#[allow(unsafe_code)]
fn is_empty(mask: &SigSet) -> bool {
    /// Linux has this many; where there are fewer, the others are in no mask.
    const SIGNALS: i32 = 64;
    // SAFETY: the pointer is to a mask that lives as long as the call; any number may be asked for.
    (1..=SIGNALS).all(|signal| unsafe { libc::sigismember(mask.as_ref(), signal) } != 1)
}

/// How a child gets an empty signal mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unblock {
    /// The spawner's mask is empty while it spawns. The thread that built the pool had blocked nothing, so that what
    /// comes in this moment is what could have come to that thread.
    InParent,
    /// The child empties its mask before it executes the program. The thread that built the pool had blocked something:
    /// the program may wait for that signal by sigwait or signalfd, with its default action in place, which would kill
    /// the program if a thread of the pool unblocked it for a moment.
    ///
    /// Code between fork and exec costs std's fast way to spawn: the time then grows with the program's memory.
    InChild,
}

impl Unblock {
    /// Prepares a command, once.
    #[allow(unsafe_code)]
    pub(crate) fn prepare(self, command: &mut Command) {
        if self == Unblock::InChild {
            let unblock = || SigSet::empty().thread_set_mask().map_err(io::Error::from);
            // SAFETY: `unblock` calls sigemptyset and pthread_sigmask, which are async-signal-safe, and allocates nothing.
            unsafe { command.pre_exec(unblock) };
        }
    }

    /// Spawns a command that was prepared.
    #[allow(clippy::disallowed_methods)]
    pub(crate) fn spawn(self, command: &mut Command) -> io::Result<Child> {
        let _mask = (self == Unblock::InParent).then(Mask::empty);
        command.spawn()
    }
}

/// Signals the process group of the process that a pidfd is of. The group is certain, whoever has its number by now: also
/// where that process has been reaped. (Linux 6.9 and later; elsewhere an error, and nothing is sent.)
#[cfg(any(target_os = "linux", target_os = "android"))]
#[allow(unsafe_code)]
pub(crate) fn signal_group(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    const PROCESS_GROUP: libc::c_uint = 1 << 2;
    // SAFETY: the descriptor is open as long as the call; no information is given with the signal.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            PROCESS_GROUP,
        )
    };
    if sent == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn the_thread_that_builds_decides_who_unblocks() {
        let unblock = |blocked: Option<Signal>| {
            let build = move || {
                SigSet::from_iter(blocked).thread_set_mask().unwrap();
                Mask::full().unblock()
            };
            thread::spawn(build).join().unwrap()
        };
        assert_eq!(unblock(None), Unblock::InParent);
        assert!(Signal::iterator().all(|signal| {
            let can_be_blocked = !matches!(signal, Signal::SIGKILL | Signal::SIGSTOP);
            (unblock(Some(signal)) == Unblock::InChild) == can_be_blocked
        }));
    }

    #[test]
    fn the_mask_from_before_comes_back() {
        let before = SigSet::thread_get_mask().unwrap();
        let full = Mask::full();
        let blocked = SigSet::thread_get_mask().unwrap();
        assert!(blocked.contains(Signal::SIGPIPE) && blocked.contains(Signal::SIGUSR1));
        assert!(!FAULTS.iter().any(|&fault| blocked.contains(fault)));
        drop(full);
        let after = SigSet::thread_get_mask().unwrap();
        assert!(Signal::iterator().all(|signal| before.contains(signal) == after.contains(signal)));
    }
}
