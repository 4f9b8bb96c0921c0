//! One thread a pool: standard errors, exits, and pipes that are full.

use super::budget::Budget;
use super::line::Line;
use super::outbox::{Flush, Outbox};
use super::process::Process;
use super::report::Report;
use crate::supervisor::Seat;
use crossbeam_channel::{Receiver, Sender, TryRecvError, unbounded};
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// How much of each worker's standard error is kept for errors.
pub(crate) const WORDS_KEPT: usize = 8 * 1024;
/// What a line costs beside its bytes, once it is an event.
const LINE_COST: usize = 512;
/// A line longer than this is told in pieces.
const LONGEST_LINE: usize = 64 * 1024;

/// The last that a worker wrote to standard error.
#[derive(Debug, Default)]
pub(crate) struct LastWords(VecDeque<u8>);

impl LastWords {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let new = &bytes[bytes.len().saturating_sub(WORDS_KEPT)..];
        let over = (self.0.len() + new.len()).saturating_sub(WORDS_KEPT);
        self.0.drain(..over);
        self.0.extend(new);
    }

    pub(crate) fn to_text(&self) -> String {
        let (front, back) = self.0.as_slices();
        String::from_utf8_lossy(&[front, back].concat()).trim_end().to_owned()
    }
}

/// What the poller watches of one worker.
pub(crate) struct Watched {
    pub(crate) seat: Seat,
    pub(crate) process: Arc<dyn Process>,
    pub(crate) errors: OwnedFd,
    pub(crate) words: Arc<Mutex<LastWords>>,
    /// Room for lines that nobody has taken yet.
    pub(crate) budget: Arc<Budget>,
    pub(crate) outbox: Arc<Mutex<Outbox>>,
    /// The outbox's pipe.
    pub(crate) pipe: Arc<OwnedFd>,
}

enum Request {
    Watch(Box<Watched>),
    /// The worker's pipe is full.
    WaitForRoom(Seat),
    /// The worker's death is handled, though its standard error is open: whoever still holds that may keep it.
    Forget(Seat),
}

/// The supervisor's end of the poller.
pub(crate) struct Poller {
    requests: Sender<Request>,
    wake: Arc<os_pipe::PipeWriter>,
}

impl Poller {
    /// Starts the thread, which ends when this end is gone. `told`: whether anybody wants lines of standard error.
    pub(crate) fn start(
        reports: Line<Report>,
        told: impl Fn() -> bool + Send + 'static,
    ) -> io::Result<(Self, JoinHandle<()>)> {
        let (woken, wake) = os_pipe::pipe()?;
        for end in [woken.as_fd(), wake.as_fd()] {
            rustix::fs::fcntl_setfl(end, rustix::fs::OFlags::NONBLOCK)?;
        }
        let (requests, asked) = unbounded();
        let polling = Polling { workers: BTreeMap::new(), asked, woken: woken.into(), reports, told: Box::new(told) };
        let thread = thread::Builder::new().name("hirelings-poller".into()).stack_size(256 * 1024);
        let thread = thread.spawn(move || polling.run())?;
        Ok((Poller { requests, wake: Arc::new(wake) }, thread))
    }

    pub(crate) fn watch(&self, watched: Watched) {
        self.ask(Request::Watch(Box::new(watched)));
    }

    pub(crate) fn wait_for_room(&self, seat: Seat) {
        self.ask(Request::WaitForRoom(seat));
    }

    pub(crate) fn forget(&self, seat: Seat) {
        self.ask(Request::Forget(seat));
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
    errors_open: bool,
    exited: bool,
    wants_room: bool,
}

struct Polling {
    workers: BTreeMap<Seat, Polled>,
    asked: Receiver<Request>,
    woken: OwnedFd,
    reports: Line<Report>,
    told: Box<dyn Fn() -> bool + Send>,
}

/// Which of a worker's descriptors an entry of the poll is.
#[derive(Clone, Copy)]
enum What {
    Errors,
    Exit,
    Room,
}

impl Polling {
    fn run(mut self) {
        while self.take_requests() {
            for (seat, what) in self.wait() {
                let Some(polled) = self.workers.get_mut(&seat) else { continue };
                match what {
                    What::Errors => polled.read_errors(&self.reports, (self.told)()),
                    What::Exit => polled.reap(&self.reports),
                    What::Room => polled.write(&self.reports),
                }
                if polled.exited && !polled.errors_open {
                    // Nothing more comes of it.
                    self.workers.remove(&seat);
                }
            }
        }
    }

    /// `false` once the supervisor is gone.
    fn take_requests(&mut self) -> bool {
        loop {
            match self.asked.try_recv() {
                Ok(Request::Watch(watched)) => {
                    let seat = watched.seat;
                    let polled = Polled {
                        watched: *watched,
                        line: Vec::new(),
                        errors_open: true,
                        exited: false,
                        wants_room: false,
                    };
                    self.workers.insert(seat, polled);
                }
                Ok(Request::WaitForRoom(seat)) => {
                    if let Some(polled) = self.workers.get_mut(&seat) {
                        polled.wants_room = true;
                    }
                }
                Ok(Request::Forget(seat)) => drop(self.workers.remove(&seat)),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    /// Blocks until something can be done, and says what.
    fn wait(&self) -> Vec<(Seat, What)> {
        let mut fds = vec![PollFd::new(&self.woken, PollFlags::IN)];
        let mut of = Vec::new();
        for (&seat, polled) in &self.workers {
            let watched = &polled.watched;
            if polled.errors_open && watched.budget.has_room() {
                fds.push(PollFd::new(&watched.errors, PollFlags::IN));
                of.push((seat, What::Errors));
            }
            if !polled.exited {
                fds.push(PollFd::from_borrowed_fd(watched.process.exit_fd(), PollFlags::IN));
                of.push((seat, What::Exit));
            }
            if polled.wants_room {
                fds.push(PollFd::new(&*watched.pipe, PollFlags::OUT));
                of.push((seat, What::Room));
            }
        }
        if !poll_all(&mut fds) {
            // Interrupted: nothing is known, and the next look will tell.
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

/// Blocks until one of them is ready. `false` where nothing is known: the wait was interrupted.
fn poll_all(fds: &mut [PollFd<'_>]) -> bool {
    const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
    let mut polled = poll(fds, None);
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
    fn read_errors(&mut self, reports: &Line<Report>, told: bool) {
        let mut chunk = [0u8; 16 * 1024];
        let read = rustix::io::read(&self.watched.errors, &mut chunk).unwrap_or(0);
        let seat = self.watched.seat;
        if read == 0 {
            self.errors_open = false;
            if !self.line.is_empty() {
                self.line.push(b'\n');
                let last = std::mem::take(&mut self.line);
                self.tell(reports, last);
            }
            let _ = reports.send(Report::ErrorsEnded(seat));
            return;
        }
        let chunk = &chunk[..read];
        self.watched.words.lock().push(chunk);
        if !told {
            self.line.clear();
            return;
        }
        self.line.extend_from_slice(chunk);
        if let Some(end) = self.line.iter().rposition(|&byte| byte == b'\n') {
            let rest = self.line.split_off(end + 1);
            let lines = std::mem::replace(&mut self.line, rest);
            self.tell(reports, lines);
        } else if self.line.len() > LONGEST_LINE {
            self.line.push(b'\n');
            let piece = std::mem::take(&mut self.line);
            self.tell(reports, piece);
        }
    }

    fn tell(&self, reports: &Line<Report>, lines: Vec<u8>) {
        // A line is an event of its own, which is larger than a short line.
        let count = lines.iter().filter(|&&byte| byte == b'\n').count();
        let charge = self.watched.budget.charge(lines.len() + count * LINE_COST);
        let _ = reports.send(Report::Stderr(self.watched.seat, lines, charge));
    }

    fn reap(&mut self, reports: &Line<Report>) {
        if let Some(reaped) = self.watched.process.reap() {
            self.exited = true;
            self.wants_room = false;
            let _ = reports.send(Report::Exited(self.watched.seat, reaped));
        }
    }

    /// Goes on with what the supervisor could not write; once, so that it is never kept waiting for the lock.
    fn write(&mut self, reports: &Line<Report>) {
        let mut outbox = self.watched.outbox.lock();
        let flush = outbox.write_once();
        if flush == Flush::Broken {
            let _ = reports.send(Report::InputBroken(self.watched.seat));
        }
        if outbox.is_empty() {
            outbox.waiting = false;
            self.wants_room = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_are_the_last() {
        let mut words = LastWords::default();
        words.push(b"first\n");
        words.push(&[b'x'; WORDS_KEPT - 5]);
        words.push(b"end\n");
        let text = words.to_text();
        assert!(!text.contains("first") && text.ends_with("xend"), "{} bytes", text.len());
        words.push(&[b'y'; 3 * WORDS_KEPT]);
        assert_eq!(words.to_text(), "y".repeat(WORDS_KEPT));
    }
}
