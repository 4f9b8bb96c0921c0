//! The thread that minds a fork server: it reads what that prints, ends it once nobody needs it, and reaps it.

use crate::budget::Budget;
use crate::clock;
use crate::launch::{News, ReportNews};
use crate::process::{OsProcess, Process};
use crate::supervisor::{DEATH_WAIT, Signal};
use crate::sys;
use hirelings_worker_kit::wire::{PREAMBLE_LIMIT, split_hello};
use parking_lot::{Condvar, Mutex};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How much of what it printed is kept for errors.
const TAIL: usize = 8 * 1024;
/// How much of what it printed may wait for those who listen.
pub(super) const UNREPORTED: usize = 1024 * 1024;
/// A line longer than this is reported in pieces.
const LONGEST_LINE: usize = 64 * 1024;
/// What a line costs beside its bytes, once it is an event.
const LINE_COST: usize = 512;

/// What the minder shares.
pub(super) struct Minded {
    pub(super) program: String,
    pub(super) process: OsProcess,
    pub(super) printed: Mutex<VecDeque<u8>>,
    /// Whether the pool lets it end, since nobody needs it any more.
    pub(super) asked: AtomicBool,
    /// What it did wrong, in words.
    pub(super) reason: Mutex<Option<String>>,
    pub(super) ended: Mutex<Option<Ended>>,
    pub(super) is_over: Condvar,
}

#[derive(Clone, Copy)]
pub(super) struct Ended {
    pub(super) status: Option<ExitStatus>,
}

/// One of the streams to which a fork server prints.
pub(super) struct Stream {
    pub(super) pipe: Option<OwnedFd>,
    /// The start of a line whose end has not come.
    pub(super) line: Vec<u8>,
}

impl Stream {
    pub(super) fn of(pipe: OwnedFd) -> Self {
        sys::never_block(&pipe);
        Stream { pipe: Some(pipe), line: Vec::new() }
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }
}

pub(super) struct Minder {
    pub(super) number: u64,
    pub(super) minded: Arc<Minded>,
    pub(super) control: Arc<OwnedFd>,
    pub(super) woken: OwnedFd,
    pub(super) stdout: Stream,
    pub(super) stderr: Stream,
    pub(super) budget: Arc<Budget>,
    pub(super) grace: Duration,
    pub(super) report: ReportNews,
    pub(super) wants_stderr: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl Minder {
    pub(super) fn run(mut self) {
        // When SIGKILL is due, once it has been asked to end.
        let mut kill_at = None;
        let mut is_ending = false;
        loop {
            let found = self.wait(is_ending, kill_at);
            if found.stdout {
                self.read_stdout();
            }
            if found.stderr {
                self.read_stderr();
            }
            if found.exit
                && let Some(reaped) = self.minded.process.reap()
            {
                // Where it did something wrong, the pool has ended it for that.
                let was_asked = self.minded.asked.load(Ordering::Relaxed) && self.minded.reason.lock().is_none();
                return self.finish(reaped.status, was_asked);
            }
            if found.hung_up && !is_ending {
                is_ending = true;
                kill_at = clock::now().checked_add(self.grace);
                self.minded.process.signal(if self.grace.is_zero() { Signal::Kill } else { Signal::Terminate });
                // One that is stopped takes SIGTERM only once it goes on.
                self.minded.process.signal(Signal::Continue);
            }
            if kill_at.is_some_and(|at| clock::now() >= at) {
                kill_at = None;
                self.minded.process.signal(Signal::Kill);
            }
        }
    }

    fn wait(&self, is_ending: bool, until: Option<Instant>) -> Found {
        let room = self.budget.has_room() || is_ending;
        let nothing = self.woken.as_fd();
        // What is not to be looked at is the wake-up pipe, with nothing asked.
        let of = |pipe: Option<BorrowedFd<'_>>| pipe.filter(|_| room).is_some();
        let (stdout, stderr) = (of(self.stdout.fd()), of(self.stderr.fd()));
        let asked = |open: bool| if open { PollFlags::IN } else { PollFlags::empty() };
        let control = if is_ending { nothing } else { self.control.as_fd() };
        let mut fds = [
            PollFd::from_borrowed_fd(self.stdout.fd().filter(|_| stdout).unwrap_or(nothing), asked(stdout)),
            PollFd::from_borrowed_fd(self.stderr.fd().filter(|_| stderr).unwrap_or(nothing), asked(stderr)),
            PollFd::from_borrowed_fd(self.minded.process.exit_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(control, PollFlags::empty()),
            PollFd::from_borrowed_fd(nothing, PollFlags::IN),
        ];
        let left = until.map(|at| timespec(at.saturating_duration_since(clock::now())));
        if poll(&mut fds, left.as_ref()).is_err() {
            // Interrupted: nothing is known, and the next look finds out.
            return Found::default();
        }
        let is_set = |at: usize| !fds[at].revents().is_empty();
        if is_set(4) {
            let mut wakes = [0u8; 64];
            let _ = rustix::io::read(&self.woken, &mut wakes);
        }
        Found { stdout: stdout && is_set(0), stderr: stderr && is_set(1), exit: is_set(2), hung_up: is_set(3) }
    }

    /// What it prints before its kit has taken standard output away; or the hello of a worker that cannot fork.
    fn read_stdout(&mut self) {
        let before = self.stdout.line.len();
        if self.read(|minder| &mut minder.stdout)
            && before <= PREAMBLE_LIMIT
            && split_hello(&self.stdout.line).is_some()
        {
            let reason = "speaks the protocol on its standard output, as a worker that is not forked: it is not built on a \
                          worker kit that can fork, or something stands in between";
            *self.minded.reason.lock() = Some(reason.into());
            self.minded.process.signal(Signal::Kill);
        }
        self.report_lines(|minder| &mut minder.stdout);
    }

    fn read_stderr(&mut self) {
        self.read(|minder| &mut minder.stderr);
        self.report_lines(|minder| &mut minder.stderr);
    }

    /// Reads once. `false` where there was nothing.
    fn read(&mut self, of: impl Fn(&mut Self) -> &mut Stream) -> bool {
        let mut chunk = [0u8; 16 * 1024];
        let stream = of(self);
        let Some(pipe) = &stream.pipe else { return false };
        let read = match rustix::io::read(pipe, &mut chunk) {
            Err(Errno::AGAIN | Errno::INTR) => return false,
            other => other.unwrap_or(0),
        };
        if read == 0 {
            stream.pipe = None;
            return false;
        }
        stream.line.extend_from_slice(&chunk[..read]);
        let mut printed = self.minded.printed.lock();
        printed.extend(&chunk[..read]);
        let over = printed.len().saturating_sub(TAIL);
        printed.drain(..over);
        true
    }

    /// Reports whole lines, if anybody wants them.
    fn report_lines(&mut self, of: impl Fn(&mut Self) -> &mut Stream) {
        let wanted = (self.wants_stderr)();
        let stream = of(self);
        let end = stream.line.iter().rposition(|&byte| byte == b'\n').map(|at| at + 1);
        let cut = stream.pipe.is_none() || stream.line.len() > LONGEST_LINE;
        let Some(end) = end.or(cut.then_some(stream.line.len())).filter(|&end| end > 0) else { return };
        let rest = stream.line.split_off(end);
        let mut lines = std::mem::replace(&mut stream.line, rest);
        if !lines.ends_with(b"\n") {
            lines.push(b'\n');
        }
        if wanted {
            let count = lines.iter().filter(|&&byte| byte == b'\n').count();
            let charge = self.budget.charge(lines.len() + count * LINE_COST);
            (self.report)(News::Stderr { number: self.number, lines, charge });
        }
    }

    /// It has been reaped: what it has left in its pipes is read, which whoever holds them cannot make last for ever.
    fn finish(mut self, status: Option<ExitStatus>, was_asked: bool) {
        let until = clock::now() + DEATH_WAIT;
        while (self.stdout.pipe.is_some() || self.stderr.pipe.is_some()) && clock::now() < until {
            let found = self.wait_for_rest(until);
            if found.stdout {
                self.read_stdout();
            }
            if found.stderr {
                self.read_stderr();
            }
        }
        (self.stdout.pipe, self.stderr.pipe) = (None, None);
        self.report_lines(|minder| &mut minder.stdout);
        self.report_lines(|minder| &mut minder.stderr);
        *self.minded.ended.lock() = Some(Ended { status });
        self.minded.is_over.notify_all();
        // Requests that it has not answered find that it is gone.
        let _ = shutdown(&*self.control, Shutdown::Both);
        (self.report)(News::Exited { number: self.number, status, was_asked });
    }

    fn wait_for_rest(&self, until: Instant) -> Found {
        let open: Vec<_> = [&self.stdout, &self.stderr].map(|stream| stream.pipe.as_ref()).into_iter().collect();
        let mut fds: Vec<_> = open.iter().flatten().map(|pipe| PollFd::new(*pipe, PollFlags::IN)).collect();
        let left = timespec(until.saturating_duration_since(clock::now()));
        if poll(&mut fds, Some(&left)).is_err() {
            return Found::default();
        }
        let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
        let mut is_ready = |at: usize| open[at].is_some() && ready.next().unwrap_or(false);
        Found { stdout: is_ready(0), stderr: is_ready(1), ..Found::default() }
    }
}

#[derive(Clone, Copy, Default)]
struct Found {
    stdout: bool,
    stderr: bool,
    exit: bool,
    hung_up: bool,
}

pub(super) fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: duration.subsec_nanos().into() }
}
