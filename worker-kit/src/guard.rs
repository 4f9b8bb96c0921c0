//! The guard: one thread beside the one that runs handlers.
//!
//! It waits for the hang-up of the protocol's input, which means that the pool's process is gone, and ends the worker's
//! process group. While handlers run it also ticks, once a millisecond: a handler that is still running at the second
//! tick is announced as started, and what arrives meanwhile is read, so that jobs sent ahead can be taken back. A
//! worker without work is back asleep after a tick or two and costs nothing.

use crate::link::{ASLEEP, Link, TICKING, WATCHING};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use rustix::event::Timespec;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::{io, thread};

const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };

/// Starts the guard of `link`, which is woken through `wake`.
///
/// `tells_start`: whether the guard announces handlers that run on.
pub(crate) fn start(link: Arc<Link>, wake: OwnedFd, tells_start: bool) -> io::Result<()> {
    wake_when_the_parent_ends();
    let watch = move || {
        let mut seen = 0;
        loop {
            let mode = link.guard.load(SeqCst);
            let limit = (mode == TICKING).then_some(&TICK);
            if link.parent_gone(&wake, mode == WATCHING, limit) {
                link.orphaned();
                return;
            }
            if mode == WATCHING {
                link.read_ahead();
                continue;
            }
            let turn = link.turn.load(SeqCst);
            let (running, same) = (turn % 2 == 1, turn == seen);
            seen = turn;
            let next = match (running, same) {
                (_, false) => continue,
                (false, true) => ASLEEP,
                (true, true) => WATCHING,
            };
            if next == WATCHING && tells_start {
                link.start_if_free();
            }
            // The main thread moves on by changing the turn first and the mode second; the guard looks the other way
            // round, so one of the two always notices the other.
            link.guard.store(next, SeqCst);
            if link.turn.load(SeqCst) != turn {
                link.guard.store(TICKING, SeqCst);
            }
        }
    };
    // A thread starts with the mask of its creator. The guard blocks everything but faults: the user's handlers are to
    // run on the user's threads.
    let mut all = SigSet::all();
    for fault in [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGILL, Signal::SIGFPE, Signal::SIGTRAP, Signal::SIGSYS] {
        all.remove(fault);
    }
    let before = all.thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    let started = thread::Builder::new().name("hireling-guard".into()).stack_size(64 * 1024).spawn(watch);
    before.thread_set_mask()?;
    started.map(drop)
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
