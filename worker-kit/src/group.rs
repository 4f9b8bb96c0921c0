//! The worker's process group: what the handler has started in it ends with the worker. The crate's only unsafe code
//! beside `mark`.
//!
//! The pool kills the group when it learns that the worker has ended. Three things can keep it from doing so, and are
//! dealt with here: the pool's process is gone while the worker lives ([`end`]), or it is killed between the worker's
//! exit and its reaping, or it is on another machine ([`at_exit`]).

// Not rustix's: a group or a session outside of this process's namespace has the number 0.
use nix::unistd::{getpgrp, getsid};
use rustix::process::{Signal, getpid, kill_current_process_group, kill_process_group, setpgid};
use std::mem;
use std::os::unix::process::CommandExt;
use std::process::{self, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// The process that serves a pool, once its handshake is done. Until then the group may be the shell's, with a whole pipeline in it.
/// A child that is forked from a worker inherits the number, and is not that process.
///
/// It is locked while the group is being ended: a group that is ended by both threads at once is ended whole.
static CLAIMED: Mutex<Option<i32>> = Mutex::new(None);

/// Whether this process may do what [`at_exit`] takes.
static ENDS_AT_EXIT: AtomicBool = AtomicBool::new(true);

/// As this process exits, it leaves its group to the pool: it is being confined, and to end a group at an exit takes a new
/// process, which it may not have.
pub fn leave_group_to_pool() {
    ENDS_AT_EXIT.store(false, Relaxed);
}

fn this_process() -> i32 {
    getpid().as_raw_nonzero().get()
}

/// The handshake is done: from here on this process and its group are the pool's.
#[allow(unsafe_code)]
pub(crate) fn claim() {
    let mut claimed = CLAIMED.lock().unwrap_or_else(PoisonError::into_inner);
    let before = claimed.replace(this_process());
    // One that was forked from a fork server has its handler from there.
    if before.is_none() {
        // Handlers run in the reverse order of their registration: this one after all that user code registers from
        // here on. Where there is no memory for it, the pool is the only one that ends the group.
        // SAFETY: `at_exit` may be called at any time, from any thread, and does not unwind.
        let _ = unsafe { libc::atexit(at_exit) };
    }
}

/// Ends this process and its group, if they are a pool's: that pool is gone.
pub(crate) fn end() {
    let claimed = CLAIMED.lock().unwrap_or_else(PoisonError::into_inner);
    if claimed.is_none() {
        return;
    }
    // By its number, where this process leads the group: a worker that is confined may signal no other, since the group that
    // it is in may be one that it has gone to. Otherwise, behind a wrapper, whatever its group is.
    let _ = kill_process_group(getpid(), Signal::KILL).or_else(|_| kill_current_process_group(Signal::KILL));
    drop(claimed);
    process::exit(1);
}

/// Ends what the handler has left in the group; this process is about to exit.
///
/// A group can be killed without this process only once that has left it. It goes into a new group and not into the
/// parent's: code that runs later in the exit may signal its own group, which must not be the program's that has the
/// pool.
extern "C" fn at_exit() {
    let claimed = CLAIMED.lock().unwrap_or_else(PoisonError::into_inner);
    let this = this_process();
    // In a child that was forked from the worker, or where a launcher leads the group, it is not this process's to end.
    if *claimed == Some(this) && ENDS_AT_EXIT.load(Relaxed) && getpgrp().as_raw() == this && may_have_descendants() {
        if getsid(None).is_ok_and(|session| session.as_raw() == this) {
            return end_afterwards();
        }
        let _ = leader::with(|leader| {
            setpgid(None, Some(leader))?;
            kill_process_group(getpid(), Signal::KILL)
        });
    }
}

/// Ends the group once this process has ended: it leads its session, as a worker that sshd has started does, and cannot
/// leave its group. A shell in a group of its own waits for the end of its input, which this process holds open. Whatever
/// signals it has blocked: it is sent none.
#[allow(clippy::disallowed_methods)]
fn end_afterwards() {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "read -r _; kill -s KILL -- \"-$0\"", &this_process().to_string()]);
    shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    mem::forget(shell.spawn());
}

/// Whether this process has had a child: all others in its group descend from it. Finding out costs less than leaving
/// a group in which there is nobody else.
#[allow(unsafe_code)]
fn may_have_descendants() -> bool {
    use rustix::io::Errno;
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    use std::mem::MaybeUninit;

    #[cfg(any(target_os = "linux", target_os = "android"))]
    let all = WaitIdOptions::from_bits_retain(libc::__WALL as u32);
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let all = WaitIdOptions::empty();
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG | all;
    if waitid(WaitId::All, look).err() != Some(Errno::CHILD) {
        return true;
    }
    // It has no child now. One that it has waited for was counted; one that the system has reaped by itself was not.
    let mut used = MaybeUninit::<libc::rusage>::uninit();
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: each pointer is to room for what the call writes there, and is read only where it has succeeded.
    unsafe {
        if libc::getrusage(libc::RUSAGE_CHILDREN, used.as_mut_ptr()) != 0
            || libc::sigaction(libc::SIGCHLD, std::ptr::null(), action.as_mut_ptr()) != 0
        {
            return true;
        }
        let (used, action) = (used.assume_init(), action.assume_init());
        used.ru_maxrss != 0 || action.sa_sigaction == libc::SIG_IGN || action.sa_flags & libc::SA_NOCLDWAIT != 0
    }
}

/// A process that exists only to lead a group: a process can join a group of its session, but not found a second one.
mod leader {
    use nix::sys::signal::{SigSet, SigmaskHow};
    use rustix::io;
    use rustix::process::Pid;

    /// Calls `f` with the leader of a new group. The leader has ended when this returns; the group stays if `f` has
    /// joined it.
    #[allow(unsafe_code)]
    pub(super) fn with(f: impl FnOnce(Pid) -> io::Result<()>) -> io::Result<()> {
        // In a leader that shares this process's memory no handler of this process may run.
        let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK);
        let leader = start();
        if let Ok(before) = before {
            let _ = before.thread_set_mask();
        }
        let Some(pid) = Pid::from_raw(leader.max(0)) else { return Err(io::Errno::AGAIN) };
        let done = f(pid);
        // SAFETY: the leader is a child of this process that nobody has waited for; no status is asked for.
        unsafe {
            libc::kill(leader, libc::SIGKILL);
            libc::waitpid(leader, std::ptr::null_mut(), OWN);
        }
        done
    }

    /// Linux: it shares this process's memory, which otherwise would have to be prepared for a copy, and has ended when
    /// `clone` returns. It announces its end by no signal, so that it stays a zombie, and its group one that can be
    /// joined, whatever this process does with SIGCHLD.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[allow(unsafe_code)]
    fn start() -> i32 {
        use std::ffi::{c_int, c_void};

        extern "C" fn lead(_: *mut c_void) -> c_int {
            // SAFETY: a system call without pointers.
            unsafe { libc::setpgid(0, 0) }
        }
        let mut stack = vec![0u128; 1024];
        let (flags, top) = (libc::CLONE_VM | libc::CLONE_VFORK, stack.as_mut_ptr_range().end);
        // SAFETY: the child has a stack of its own, large enough for one system call and aligned; this thread, with the
        // memory that both share, stands still until the child has ended.
        unsafe { libc::clone(lead, top.cast(), flags, std::ptr::null_mut()) }
    }
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const OWN: i32 = libc::__WALL;

    /// Elsewhere: a copy of this process that waits to be killed, for a while.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    #[allow(unsafe_code)]
    fn start() -> i32 {
        // SAFETY: setpgid, sleep and _exit are async-signal-safe, so that the copy of a process with several threads may
        // call them.
        unsafe {
            let leader = libc::fork();
            if leader == 0 {
                libc::setpgid(0, 0);
                libc::sleep(10);
                libc::_exit(0);
            }
            libc::setpgid(leader, leader);
            leader
        }
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    const OWN: i32 = 0;
}
