//! One worker process: its signals, its exit, and the order in which they may happen.

use crate::supervisor::Signal;
use crate::sys;
use nix::unistd;
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{self, Pid, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Child, ExitStatus};

/// What the driver does with a worker's process. A test may put a thread in its place.
pub(crate) trait Process: Send + Sync {
    fn pid(&self) -> u32;

    /// Readable, or hung up, once the process has ended.
    fn exit_fd(&self) -> BorrowedFd<'_>;

    /// Readable, or hung up, once [`reap`](Process::reap) is worth a call.
    fn reap_fd(&self) -> BorrowedFd<'_> {
        self.exit_fd()
    }

    /// Whether the process has ended, reaped or not.
    fn has_exited(&self) -> bool {
        let exit = self.exit_fd();
        let mut fds = [PollFd::new(&exit, PollFlags::IN)];
        loop {
            match poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
                Err(Errno::INTR) => {}
                polled => return polled.is_ok_and(|ready| ready > 0),
            }
        }
    }

    /// How many bytes of memory the process holds, where that is known. Where it is no more than `limit`, what is given may be
    /// any number from that to `limit`.
    fn resident(&self, limit: u64) -> Option<u64> {
        let _ = limit;
        sys::resident(self.pid())
    }

    /// Signals the whole group, if it has not been reaped.
    fn signal(&self, signal: Signal);

    /// Whether [`Signal::Stop`] has taken effect: no thread of it runs.
    fn is_stopped(&self) -> bool;

    /// If the process has ended: ends what is left of its group. It is not reaped by this.
    fn end_group(&self);

    /// Whether somebody else is to say how the process ends.
    fn awaits_status(&self) -> bool {
        false
    }

    /// If the process has ended, and somebody else is to say how: that is waited for no longer.
    fn give_up_status(&self) {}

    /// If the process has ended: ends what is left of its group, and reaps it. Never blocks.
    fn reap(&self) -> Option<Reaped>;
}

/// A process that is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reaped {
    /// None where somebody else reaped it: the program ignores SIGCHLD, or the fork server is gone.
    pub(crate) status: Option<ExitStatus>,
    /// Whether its fork server could have told the status, and did not.
    pub(crate) orphaned: bool,
}

impl Reaped {
    pub(crate) fn with(status: Option<ExitStatus>) -> Self {
        Reaped { status, orphaned: false }
    }
}

/// A child process that leads a group of its own.
///
/// The process id names the process and its group only until it is reaped: then it may be anybody's. So each signal is
/// sent under the lock under which the process is reaped, and the group's last signal goes out while the leader is a
/// zombie that still holds the number.
#[derive(Debug)]
pub(crate) struct OsProcess {
    pid: Pid,
    exit: OwnedFd,
    child: Mutex<Option<Child>>,
}

impl OsProcess {
    /// # Errors
    ///
    /// Where its exit cannot be watched; it is then killed and reaped.
    pub(crate) fn new(mut child: Child) -> io::Result<Self> {
        let pid = Pid::from_child(&child);
        match sys::exit_fd(pid) {
            Ok(exit) => Ok(OsProcess { pid, exit, child: Mutex::new(Some(child)) }),
            Err(error) => {
                let _ = kill_process_group(pid, process::Signal::KILL);
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// To the group, and to the process where it has left its group: the kit does so when it exits.
    fn send(&self, signal: process::Signal) {
        let _ = kill_process_group(self.pid, signal);
        // Where it leaves just now, SIGKILL still reaches it.
        if signal == process::Signal::KILL || !self.leads_its_group() {
            let _ = kill_process(self.pid, signal);
        }
    }

    fn leads_its_group(&self) -> bool {
        let pid = unistd::Pid::from_raw(self.pid.as_raw_nonzero().get());
        unistd::getpgid(Some(pid)) == Ok(pid)
    }

    /// Whether the process has ended. It is not reaped by this.
    fn has_ended(&self) -> Result<bool, Errno> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        loop {
            match waitid(WaitId::Pid(self.pid), options) {
                Err(Errno::INTR) => {}
                other => return other.map(|status| status.is_some()),
            }
        }
    }
}

impl Process for OsProcess {
    fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    fn exit_fd(&self) -> BorrowedFd<'_> {
        self.exit.as_fd()
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.lock();
        // Where the program ignores SIGCHLD the kernel reaps, and only it knows when: a look is as near as one can get.
        if child.is_some() && self.has_ended().is_ok() {
            match signal {
                Signal::Terminate => self.send(process::Signal::TERM),
                Signal::Kill => self.send(process::Signal::KILL),
                // What the handler has started is not what is asked.
                Signal::Stop => drop(kill_process(self.pid, process::Signal::STOP)),
                Signal::Continue => drop(kill_process(self.pid, process::Signal::CONT)),
            }
        }
    }

    fn is_stopped(&self) -> bool {
        let child = self.child.lock();
        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        child.is_some() && matches!(waitid(WaitId::Pid(self.pid), options), Ok(Some(status)) if status.stopped())
    }

    fn end_group(&self) {
        let child = self.child.lock();
        if child.is_some() && self.has_ended() == Ok(true) {
            self.send(process::Signal::KILL);
        }
    }

    fn reap(&self) -> Option<Reaped> {
        let mut child = self.child.lock();
        match self.has_ended() {
            Ok(false) => None,
            Ok(true) => {
                self.send(process::Signal::KILL);
                let status = child.take()?.wait().ok();
                Some(Reaped::with(status))
            }
            Err(_) => {
                child.take()?;
                Some(Reaped::with(None))
            }
        }
    }
}

/// A process that nobody waits for any more is ended here: the supervisor died, or the pool ended while it was spawned.
impl Drop for OsProcess {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.get_mut().take() {
            if self.has_ended().is_ok() {
                self.send(process::Signal::KILL);
            }
            let _ = child.wait();
        }
    }
}
