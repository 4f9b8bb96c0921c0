//! A worker that a fork server has forked: its signals, its exit, and what is known of how it ended.

use super::server::Server;
use crate::clock;
use crate::process::{Process, Reaped};
use crate::signals::signal_group;
use crate::supervisor::Signal;
use crate::sys;
use hirelings_worker_kit::wire::{LONGEST_LEASH_MESSAGE, LeashMessage};
use parking_lot::Mutex;
use rustix::io::Errno;
use rustix::net::{RecvFlags, Shutdown, recv, shutdown};
use rustix::process::{self, pidfd_send_signal};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A process that is the fork server's child, and leads a group of its own.
///
/// It is signalled by a descriptor of the process, never by its number: if the fork server is gone, somebody else may reap
/// it at any time. Its number is used to look at it and its group and to set its limits. It is its own as long as the fork
/// server lives and the leash is held, since the fork server does not reap it until then. Once the fork server is dead, the
/// number may be somebody else's.
pub(crate) struct ForkedProcess {
    pid: u32,
    /// A pidfd.
    exit: OwnedFd,
    leash: OwnedFd,
    state: Mutex<State>,
    counted: Mutex<Option<Counted>>,
    /// Kept, since the fork server lives as long as its workers do.
    server: Arc<Server>,
}

/// What of a worker's memory was its own when the kernel last counted that.
///
/// The kernel goes through all pages, some 24 µs for each MiB, and the supervisor waits for it.
#[derive(Clone, Copy)]
struct Counted {
    at: Instant,
    took: Duration,
    whole: u64,
    private: u64,
}

/// How many times as long as a count takes, the next is put off; and for how long at most, since a count that is interrupted
/// seems to take long.
const PUT_OFF: u32 = 200;
const LONGEST_PUT_OFF: Duration = Duration::from_secs(10);

impl Counted {
    /// What is its own at `now`, as far as the whole says: of what it shared, what it has written to since is left out. None
    /// where it is time to count again.
    fn estimate(self, whole: u64, now: Instant) -> Option<u64> {
        let put_off = self.took.saturating_mul(PUT_OFF).min(LONGEST_PUT_OFF);
        (now < self.at + put_off).then(|| self.private + whole.saturating_sub(self.whole))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The fork server will report how it ends.
    Held,
    /// The fork server is gone, or does not answer: how it ends is not known.
    Orphaned,
    Reaped,
}

impl ForkedProcess {
    pub(super) fn new(pid: u32, exit: OwnedFd, leash: OwnedFd, server: Arc<Server>) -> Self {
        ForkedProcess { pid, exit, leash, state: Mutex::new(State::Held), counted: Mutex::default(), server }
    }

    /// To the group, and to the process where it has left its group: the kit does so when it exits.
    fn send(&self, signal: process::Signal) {
        let group = signal_group(self.exit.as_fd(), signal.as_raw());
        // Before Linux 6.9 only the process is signalled; its group ends with it, by the fork server or by the guard.
        if group.is_err() || signal == process::Signal::KILL || !self.leads_its_group() {
            let _ = pidfd_send_signal(&self.exit, signal);
        }
    }

    /// A look only: if the number is somebody else's by now, what follows is sent to the process of the descriptor.
    fn leads_its_group(&self) -> bool {
        let pid = nix::unistd::Pid::from_raw(self.pid.cast_signed());
        nix::unistd::getpgid(Some(pid)) == Ok(pid)
    }

    /// The fork server may reap it, and its number may become somebody else's.
    fn release(&self, state: &mut State) {
        *state = State::Reaped;
        let _ = shutdown(&self.leash, Shutdown::Both);
    }

    /// The status that the fork server has reported.
    fn reported(&self) -> Result<Option<ExitStatus>, Errno> {
        let mut packet = [0u8; LONGEST_LEASH_MESSAGE];
        loop {
            match recv(&self.leash, &mut packet, RecvFlags::DONTWAIT) {
                Err(Errno::INTR) => {}
                Ok((_, 0)) => return Err(Errno::PIPE),
                Ok((_, len)) => match LeashMessage::decode(&packet[..len]) {
                    Some(LeashMessage::Ended(status)) => return Ok(status.map(ExitStatus::from_raw)),
                    _ => return Err(Errno::PROTO),
                },
                Err(errno) => return Err(errno),
            }
        }
    }
}

impl Process for ForkedProcess {
    fn pid(&self) -> u32 {
        self.pid
    }

    fn exit_fd(&self) -> BorrowedFd<'_> {
        self.exit.as_fd()
    }

    fn reap_fd(&self) -> BorrowedFd<'_> {
        if *self.state.lock() == State::Held { self.leash.as_fd() } else { self.exit.as_fd() }
    }

    /// What it does not share. Once the fork server has ended, nothing says what the worker has from it: then it is not known.
    fn resident(&self, limit: u64) -> Option<u64> {
        let whole = sys::resident(self.pid)?;
        if whole <= limit {
            return Some(whole);
        }
        if !self.server.holds_memory() {
            return None;
        }
        let mut counted = self.counted.lock();
        let before = clock::now();
        if let Some(estimate) = counted.and_then(|counted| counted.estimate(whole, before)).filter(|&own| own <= limit)
        {
            return Some(estimate);
        }
        let private = sys::private(self.pid)?;
        *counted = Some(Counted { at: before, took: clock::now() - before, whole, private });
        self.server.holds_memory().then_some(private)
    }

    fn signal(&self, signal: Signal) {
        let state = self.state.lock();
        if *state == State::Reaped || self.has_exited() {
            return;
        }
        match signal {
            Signal::Terminate => self.send(process::Signal::TERM),
            Signal::Kill => self.send(process::Signal::KILL),
            // What the handler has started is not what is asked.
            Signal::Stop => drop(pidfd_send_signal(&self.exit, process::Signal::STOP)),
            Signal::Continue => drop(pidfd_send_signal(&self.exit, process::Signal::CONT)),
        }
    }

    fn is_stopped(&self) -> bool {
        let state = self.state.lock();
        // The number is the process's own if the process lives after the look.
        *state != State::Reaped && sys::is_stopped(self.pid) && !self.has_exited()
    }

    fn end_group(&self) {
        let state = self.state.lock();
        if *state != State::Reaped && self.has_exited() {
            let _ = signal_group(self.exit.as_fd(), process::Signal::KILL.as_raw());
        }
    }

    fn awaits_status(&self) -> bool {
        *self.state.lock() == State::Held
    }

    fn give_up_status(&self) {
        let state = self.state.lock();
        if *state == State::Held && self.has_exited() {
            let _ = shutdown(&self.leash, Shutdown::Read);
        }
    }

    fn reap(&self) -> Option<Reaped> {
        let mut state = self.state.lock();
        if *state == State::Held {
            match self.reported() {
                Ok(status) => {
                    self.release(&mut state);
                    return Some(Reaped::with(status));
                }
                Err(Errno::AGAIN) => return None,
                Err(_) => *state = State::Orphaned,
            }
        }
        if *state == State::Orphaned && self.has_exited() {
            let _ = signal_group(self.exit.as_fd(), process::Signal::KILL.as_raw());
            self.release(&mut state);
            return Some(Reaped { status: None, orphaned: true });
        }
        None
    }
}

/// A process that nobody waits for any more is ended here: the supervisor died, or the pool ended while it was forked.
impl Drop for ForkedProcess {
    fn drop(&mut self) {
        if *self.state.get_mut() != State::Reaped {
            // The fork server does the rest, when it sees that the leash is closed.
            self.send(process::Signal::KILL);
        }
    }
}
