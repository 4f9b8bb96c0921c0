//! One thread a pool: standard errors, exits, and pipes that are full.

use super::outbox::{Flush, Outbox};
use super::reader::timespec;
use super::report::Report;
use super::stderr::StderrTail;
use crate::budget::Budget;
use crate::clock;
use crate::process::Process;
use crate::supervisor::{DEATH_WAIT, WorkerKey};
use crossbeam_channel::{Receiver, Sender, TryRecvError, unbounded};
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// What a line costs beside its bytes, once it is an event.
const LINE_COST: usize = 512;
/// A line longer than this is reported in pieces.
const LONGEST_LINE: usize = 64 * 1024;

/// What the poller watches of one worker.
pub(crate) struct Watched {
    pub(crate) worker_key: WorkerKey,
    pub(crate) process: Arc<dyn Process>,
    pub(crate) stderr: Arc<StderrTail>,
    /// Room for lines that nobody has taken yet.
    pub(crate) budget: Arc<Budget>,
    pub(crate) outbox: Arc<Mutex<Outbox>>,
    /// The outbox's pipe.
    pub(crate) pipe: Arc<OwnedFd>,
    /// How long nothing may come from it; none: it is on this machine.
    pub(crate) silence: Option<Duration>,
}

enum Request {
    Watch(Box<Watched>),
    /// The worker's pipe is full.
    WaitForRoom(WorkerKey),
    /// The worker's death is handled, though its standard error is open: whoever still holds that may keep it.
    Forget(WorkerKey),
}

/// The supervisor's end of the poller.
pub(crate) struct Poller {
    requests: Sender<Request>,
    wake: Arc<os_pipe::PipeWriter>,
}

impl Poller {
    /// Starts the thread, which ends when this end is gone. `wanted`: whether anybody wants lines of standard error.
    pub(crate) fn start(
        reports: Sender<Report>,
        wanted: impl Fn() -> bool + Send + 'static,
    ) -> io::Result<(Self, JoinHandle<()>)> {
        let (woken, wake) = os_pipe::pipe()?;
        for end in [woken.as_fd(), wake.as_fd()] {
            rustix::fs::fcntl_setfl(end, rustix::fs::OFlags::NONBLOCK)?;
        }
        let (requests, asked) = unbounded();
        let polling =
            Polling { workers: BTreeMap::new(), asked, woken: woken.into(), reports, wanted: Box::new(wanted) };
        let thread = thread::Builder::new().name("hirelings-poller".into()).stack_size(256 * 1024);
        let thread = thread.spawn(move || polling.run())?;
        Ok((Poller { requests, wake: Arc::new(wake) }, thread))
    }

    pub(crate) fn watch(&self, watched: Watched) {
        self.ask(Request::Watch(Box::new(watched)));
    }

    pub(crate) fn wait_for_room(&self, worker_key: WorkerKey) {
        self.ask(Request::WaitForRoom(worker_key));
    }

    pub(crate) fn forget(&self, worker_key: WorkerKey) {
        self.ask(Request::Forget(worker_key));
    }

    /// Lets the poller look again at what it does not wait for.
    pub(crate) fn waker(&self) -> impl Fn() + Send + Sync + 'static {
        // Not the requests' sender: what wakes the poller must not keep it alive.
        let wake = Arc::downgrade(&self.wake);
        move || {
            if let Some(wake) = wake.upgrade() {
                let _ = (&*wake).write(&[1]);
            }
        }
    }

    fn ask(&self, request: Request) {
        // A pipe that is full of wakes wakes too.
        let _ = self.requests.send(request);
        let _ = (&*self.wake).write(&[1]);
    }
}

/// Its last wake: the thread finds that nobody can ask it any more.
impl Drop for Poller {
    fn drop(&mut self) {
        let (nobody, _) = unbounded();
        self.requests = nobody;
        let _ = (&*self.wake).write(&[1]);
    }
}

struct Polled {
    watched: Watched,
    /// The start of a line whose end has not come.
    line: Vec<u8>,
    stderr_open: bool,
    end: End,
    exited: bool,
    wants_room: bool,
    /// When it was last reported that something is on its way to a far worker.
    heard: Option<Instant>,
}

/// Whether the end of a process is looked for, of which its fork server is to say how it ended. That comes a moment after the
/// process has closed its standard error: so its end is looked for only where it does not come, which spares a wake.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// It is not.
    Unexpected,
    /// It will be from then on.
    ExpectedAt(Instant),
    Watched,
    Reported,
}

struct Polling {
    workers: BTreeMap<WorkerKey, Polled>,
    asked: Receiver<Request>,
    woken: OwnedFd,
    reports: Sender<Report>,
    wanted: Box<dyn Fn() -> bool + Send>,
}

/// Which of a worker's descriptors an entry of the poll is.
#[derive(Clone, Copy)]
enum What {
    Stderr,
    /// It has ended, and its fork server has not said how.
    End,
    Exit,
    Room,
}

impl Polling {
    fn run(mut self) {
        while self.take_requests() {
            for (worker_key, what) in self.wait() {
                let Some(polled) = self.workers.get_mut(&worker_key) else { continue };
                match what {
                    What::Stderr => polled.read_stderr(&self.reports, (self.wanted)()),
                    What::End => polled.report_end(&self.reports),
                    What::Exit => polled.reap(&self.reports),
                    What::Room => polled.write(&self.reports),
                }
                if polled.exited && !polled.stderr_open {
                    // Nothing more comes of it.
                    self.workers.remove(&worker_key);
                }
            }
            for polled in self.workers.values_mut() {
                if matches!(polled.end, End::ExpectedAt(at) if clock::now() >= at) {
                    polled.end = End::Watched;
                }
            }
        }
    }

    /// `false` once the supervisor is gone.
    fn take_requests(&mut self) -> bool {
        loop {
            match self.asked.try_recv() {
                Ok(Request::Watch(watched)) => {
                    let worker_key = watched.worker_key;
                    let polled = Polled {
                        watched: *watched,
                        line: Vec::new(),
                        stderr_open: true,
                        end: End::Unexpected,
                        exited: false,
                        wants_room: false,
                        heard: None,
                    };
                    self.workers.insert(worker_key, polled);
                }
                Ok(Request::WaitForRoom(worker_key)) => {
                    if let Some(polled) = self.workers.get_mut(&worker_key) {
                        polled.wants_room = true;
                    }
                }
                Ok(Request::Forget(worker_key)) => drop(self.workers.remove(&worker_key)),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    /// Blocks until something can be done, and says what.
    fn wait(&self) -> Vec<(WorkerKey, What)> {
        let mut fds = vec![PollFd::new(&self.woken, PollFlags::IN)];
        let mut of = Vec::new();
        for (&worker_key, polled) in &self.workers {
            let watched = &polled.watched;
            if polled.stderr_open && watched.budget.has_room() {
                fds.push(PollFd::new(watched.stderr.pipe(), PollFlags::IN));
                of.push((worker_key, What::Stderr));
            }
            if !polled.exited && polled.end == End::Watched {
                fds.push(PollFd::from_borrowed_fd(watched.process.exit_fd(), PollFlags::IN));
                of.push((worker_key, What::End));
            }
            if !polled.exited {
                fds.push(PollFd::from_borrowed_fd(watched.process.reap_fd(), PollFlags::IN));
                of.push((worker_key, What::Exit));
            }
            if polled.wants_room {
                fds.push(PollFd::new(&*watched.pipe, PollFlags::OUT));
                of.push((worker_key, What::Room));
            }
        }
        let expected = self.workers.values().filter_map(|polled| match polled.end {
            End::ExpectedAt(at) if !polled.exited => Some(at),
            _ => None,
        });
        let until = expected.min();
        if !poll_all(&mut fds, until) {
            // Interrupted: nothing is known, and the next poll finds out.
            return Vec::new();
        }
        if !fds[0].revents().is_empty() {
            let mut wakes = [0u8; 256];
            let _ = rustix::io::read(&self.woken, &mut wakes);
        }
        let ready = fds[1..].iter().zip(of).filter(|(fd, _)| !fd.revents().is_empty());
        ready.map(|(_, of)| of).collect()
    }
}

/// Blocks until one of them is ready, or that time has come. `false` where nothing is known: the wait was interrupted.
fn poll_all(fds: &mut [PollFd<'_>], until: Option<Instant>) -> bool {
    const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
    let left = until.map(|until| timespec(until.saturating_duration_since(clock::now())));
    let mut polled = poll(fds, left.as_ref());
    let mut size = fds.len();
    while polled == Err(Errno::INVAL) && size > 1 {
        // More than the program may have open: it has lowered its own limit. They are looked at in parts.
        size = size.div_ceil(2);
        polled = fds.chunks_mut(size).try_fold(0, |ready, part| Ok(ready + poll(part, Some(&PAUSE))?));
    }
    polled.is_ok()
}

impl Polled {
    /// Reads once; whole lines go on, if anybody wants them.
    fn read_stderr(&mut self, reports: &Sender<Report>, wanted: bool) {
        let mut chunk = [0u8; 16 * 1024];
        let Some(chunk) = self.watched.stderr.read_into(&mut chunk) else { return };
        let worker_key = self.watched.worker_key;
        if chunk.is_empty() {
            self.stderr_open = false;
            if self.watched.process.awaits_status() {
                self.end = End::ExpectedAt(clock::now() + DEATH_WAIT);
            }
            if !self.line.is_empty() {
                self.line.push(b'\n');
                let last = std::mem::take(&mut self.line);
                self.report_lines(reports, last);
            }
            let _ = reports.send(Report::StderrClosed(worker_key));
            return;
        }
        if !wanted {
            self.line.clear();
            return;
        }
        self.line.extend_from_slice(chunk);
        if let Some(end) = self.line.iter().rposition(|&byte| byte == b'\n') {
            let rest = self.line.split_off(end + 1);
            let lines = std::mem::replace(&mut self.line, rest);
            self.report_lines(reports, lines);
        } else if self.line.len() > LONGEST_LINE {
            self.line.push(b'\n');
            let piece = std::mem::take(&mut self.line);
            self.report_lines(reports, piece);
        }
    }

    fn report_lines(&self, reports: &Sender<Report>, lines: Vec<u8>) {
        // A line is an event of its own, which is larger than a short line.
        let count = lines.iter().filter(|&&byte| byte == b'\n').count();
        let charge = self.watched.budget.charge(lines.len() + count * LINE_COST);
        let _ = reports.send(Report::Stderr(self.watched.worker_key, lines, charge));
    }

    fn report_end(&mut self, reports: &Sender<Report>) {
        self.end = End::Reported;
        let _ = reports.send(Report::Ended(self.watched.worker_key));
    }

    fn reap(&mut self, reports: &Sender<Report>) {
        if let Some(reaped) = self.watched.process.reap() {
            self.exited = true;
            self.wants_room = false;
            let _ = reports.send(Report::Exited(self.watched.worker_key, reaped));
        }
    }

    /// Goes on with what the supervisor could not write; once, so that it is never kept waiting for the lock.
    fn write(&mut self, reports: &Sender<Report>) {
        let outbox = Arc::clone(&self.watched.outbox);
        let mut outbox = outbox.lock();
        let before = outbox.written();
        let flush = outbox.write_once();
        if outbox.written() > before {
            self.report_heard(reports);
        }
        if flush == Flush::Broken {
            let _ = reports.send(Report::StdinBroken(self.watched.worker_key));
        }
        if outbox.is_empty() {
            outbox.waiting = false;
            self.wants_room = false;
        }
    }

    /// Reports now and then that a far worker's connection takes what is written. A large job may be on its way for longer than
    /// nothing may come from the worker, which has nothing to say before the job is there.
    fn report_heard(&mut self, reports: &Sender<Report>) {
        let Some(silence) = self.watched.silence else { return };
        let now = clock::now();
        if self.heard.is_none_or(|heard| now >= heard + silence / 8) {
            self.heard = Some(now);
            let _ = reports.send(Report::Heard(self.watched.worker_key));
        }
    }
}
