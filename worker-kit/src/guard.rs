//! The guard: one thread beside the one that runs handlers.
//!
//! It waits for the hang-up of the protocol's input, which means that the pool's process is gone, and ends the worker's
//! process group. While handlers run it also ticks, once a millisecond: a handler that is still running at the second
//! tick is announced as started, and what arrives meanwhile is read, so that prefetched jobs can be recalled. A
//! worker without work is back asleep after a tick or two and costs nothing. Where the pool has set a limit of silence, the
//! guard also wakes once that is over.

use crate::link::Link;
use crate::pace::{TICKING, WATCHING};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use rustix::event::Timespec;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, mpsc};
use std::thread::{self, JoinHandle};
use std::{io, process};

const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };

/// The guard of this process, where it has one.
static GUARD: Mutex<Option<Guard>> = Mutex::new(None);

struct Guard {
    link: Weak<Link>,
    announces_start: bool,
    /// Gives the reading end of the wake pipe back.
    thread: JoinHandle<OwnedFd>,
}

/// Starts the guard of `link`, which is woken through `wake`.
///
/// `announces_start`: whether the guard announces handlers that run on.
pub(crate) fn start(link: &Arc<Link>, wake: OwnedFd, announces_start: bool) -> io::Result<()> {
    wake_when_the_parent_ends();
    let watched = Arc::clone(link);
    let thread = spawn(move || watch(&watched, wake, announces_start))?;
    if link.is_of_process() {
        *lock() = Some(Guard { link: Arc::downgrade(link), announces_start, thread });
    }
    Ok(())
}

/// Whether this process has a guard.
pub fn has_guard() -> bool {
    lock().is_some()
}

/// Replaces the guard of this process, if it has one, by a thread that the calling thread starts. What the kernel keeps
/// for each thread, such as a Landlock domain, a thread has from the one that started it.
///
/// # Errors
///
/// Where no thread can be started; the guard that there was goes on then.
pub fn replace_guard() -> io::Result<()> {
    let mut guard = lock();
    let Some(before) = guard.take() else { return Ok(()) };
    let Some(link) = before.link.upgrade() else { return Ok(()) };
    let (hand_over, handed_over) = mpsc::channel::<OwnedFd>();
    let (watched, announces_start) = (Arc::clone(&link), before.announces_start);
    // The successor is started before the guard is asked to end: if there is no thread for it, the guard stays.
    let successor = spawn(move || match handed_over.recv() {
        Ok(wake) => watch(&watched, wake, announces_start),
        // The guard before it has panicked: nobody would end this process with its parent.
        Err(_) => process::abort(),
    });
    let thread = match successor {
        Ok(thread) => thread,
        Err(error) => {
            *guard = Some(before);
            return Err(error);
        }
    };
    link.end_guard();
    let wake = before.thread.join().map_err(|_| io::Error::other("the guard thread has panicked"))?;
    link.guard_ended();
    // Nothing that is missed meanwhile is lost: the end of the input stays to be seen.
    let _ = hand_over.send(wake);
    *guard = Some(Guard { link: Arc::downgrade(&link), announces_start, thread });
    Ok(())
}

/// Ends the guard of this process, if it has one: a fork server has one thread.
pub(crate) fn end() -> io::Result<()> {
    let Some(guard) = lock().take() else { return Ok(()) };
    let Some(link) = guard.link.upgrade() else { return Ok(()) };
    link.end_guard();
    guard.thread.join().map_err(|_| io::Error::other("the guard thread has panicked"))?;
    link.guard_ended();
    Ok(())
}

fn lock() -> MutexGuard<'static, Option<Guard>> {
    GUARD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts the thread. It has the mask of its creator from its start on, and blocks everything but faults: the user's
/// handlers are to run on the user's threads.
fn spawn(run: impl FnOnce() -> OwnedFd + Send + 'static) -> io::Result<JoinHandle<OwnedFd>> {
    let mut all = SigSet::all();
    for fault in [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGILL, Signal::SIGFPE, Signal::SIGTRAP, Signal::SIGSYS] {
        all.remove(fault);
    }
    let before = all.thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    let started = thread::Builder::new().name("hireling-guard".into()).stack_size(64 * 1024).spawn(run);
    before.thread_set_mask()?;
    started
}

/// The guard's thread. It ends with the process, where the parent is gone, or where it is replaced.
fn watch(link: &Link, wake: OwnedFd, announces_start: bool) -> OwnedFd {
    let mut seen = 0;
    loop {
        let mode = link.pace.mode();
        let silence = link.silence_left().and_then(|left| Timespec::try_from(left).ok());
        let limit = if mode == TICKING { Some(&TICK) } else { silence.as_ref() };
        if link.parent_gone(&wake, mode == WATCHING, limit) || link.is_silent() {
            link.orphaned();
            return wake;
        }
        if link.guard_is_ending() {
            return wake;
        }
        if mode == WATCHING {
            link.read_ahead();
            continue;
        }
        let Some(next) = link.pace.decide(&mut seen) else { continue };
        if next == WATCHING && announces_start {
            link.start_if_free();
        }
        link.pace.enter(next, seen);
    }
}

/// A stopped process can guard nothing. Most that lose their parent are woken by the kernel, which hangs up on groups
/// that are orphaned; those of a parent in the same session are not. So the parent's death sends this process SIGCONT,
/// which does nothing to one that runs. (SIGKILL in its place would take the worker and leave its children.)
fn wake_when_the_parent_ends() {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        use rustix::process::{Signal, set_parent_process_death_signal};
        // Where it is refused, the kernel's own hang-up is what there is.
        let _ = set_parent_process_death_signal(Some(Signal::CONT));
    }
}
