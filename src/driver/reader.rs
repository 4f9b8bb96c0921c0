//! One thread a worker: its standard output, from bytes to messages.

use super::budget::Budget;
use super::line::Line;
use super::process::Process;
use super::report::Report;
use crate::supervisor::{DEATH_WAIT, Seat};
use crate::sys::Enlarged;
use crossbeam_channel::Receiver;
use hirelings_worker_kit::wire::{FROM_WORKER, FrameBuffer, FromWorker, Hello, NOISE_LIMIT, Spares, split_hello};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// From this on what is missing of a frame is worth a larger pipe.
const LARGE: usize = 128 * 1024;

/// What a frame costs beside its bytes, while it waits as the event and the call that tell of it.
const FRAME_COST: usize = 512;

/// What a reader needs, once there is a process.
pub(crate) struct Reading {
    pub(crate) seat: Seat,
    pub(crate) output: OwnedFd,
    pub(crate) process: Arc<dyn Process>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) max_frame: usize,
    pub(crate) spares: Arc<Spares>,
    pub(crate) job_type: &'static str,
}

/// Starts a reader, which is told afterwards what to read.
pub(crate) fn start(readings: Receiver<Reading>, reports: Line<Report>) -> io::Result<JoinHandle<()>> {
    let read = move || {
        if let Ok(reading) = readings.recv() {
            drop(readings);
            Reader::new(reading, reports).run();
        }
    };
    thread::Builder::new().name("hirelings-reader".into()).stack_size(256 * 1024).spawn(read)
}

/// How far the worker's output has come.
enum Stage {
    /// No hello yet; there may be noise before it.
    Noise,
    Messages,
    /// It wrote what makes no sense: the rest is thrown away, so that it does not block on it.
    Deaf,
}

struct Reader {
    reading: Reading,
    reports: Line<Report>,
    buffer: FrameBuffer,
    stage: Stage,
    enlarged: Option<Enlarged>,
}

impl Reader {
    fn new(reading: Reading, reports: Line<Report>) -> Self {
        let buffer = FrameBuffer::with_spares(reading.max_frame, Arc::clone(&reading.spares));
        Reader { reading, reports, buffer, stage: Stage::Noise, enlarged: None }
    }

    fn run(mut self) {
        self.read_all();
        if matches!(self.stage, Stage::Noise) && !self.buffer.pending().is_empty() {
            self.noise(self.buffer.pending().len());
        }
    }

    /// Reads to the end of the output; or, once the process has ended, for as long as a death waits: a grandchild may
    /// hold the pipe for ever, and write to it.
    fn read_all(&mut self) {
        let mut until = None;
        while self.reading.budget.wait_for_room() {
            let Ok(found) = self.wait(until) else { return };
            if found.output {
                match self.buffer.fill(&self.reading.output) {
                    Ok(0) | Err(_) => return,
                    Ok(_) => self.take_in(),
                }
                if self.buffer.missing() >= LARGE && self.enlarged.is_none() {
                    self.enlarged = Enlarged::new(&self.reading.output);
                }
            }
            if found.exit {
                until = Some(now() + DEATH_WAIT);
            } else if until.is_some_and(|until| now() >= until) {
                return;
            }
        }
    }

    /// Blocks until there is output, or the exit, or, where the exit has been found, `until`.
    fn wait(&self, until: Option<Instant>) -> Result<Found, Errno> {
        let output = PollFd::new(&self.reading.output, PollFlags::IN);
        let exit = PollFd::from_borrowed_fd(self.reading.process.exit_fd(), PollFlags::IN);
        let mut fds = [output, exit];
        let (fds, left) = match until {
            None => (&mut fds[..], None),
            Some(until) => (&mut fds[..1], Some(timespec(until.saturating_duration_since(now())))),
        };
        loop {
            match poll(fds, left.as_ref()) {
                Err(Errno::INTR) => {}
                other => break other.map(drop)?,
            }
        }
        let found = |at: usize| fds.get(at).is_some_and(|fd| !fd.revents().is_empty());
        Ok(Found { output: found(0), exit: found(1) })
    }

    /// Makes of what has arrived what it is.
    fn take_in(&mut self) {
        loop {
            match self.stage {
                Stage::Deaf => {
                    let all = self.buffer.pending().len();
                    return self.buffer.skip(all);
                }
                Stage::Noise => match split_hello(self.buffer.pending()) {
                    Some(noise) => {
                        if noise > 0 {
                            self.noise(noise);
                        }
                        if !self.greeted() {
                            return;
                        }
                    }
                    // A hello may have begun just before the limit.
                    None if self.buffer.pending().len() > NOISE_LIMIT + Hello::LEN => {
                        let limit = NOISE_LIMIT / 1024;
                        self.noise(NOISE_LIMIT);
                        self.garbled(format!("wrote {limit} KiB and no hello: it is no worker"));
                    }
                    None => return,
                },
                Stage::Messages => match self.buffer.next_frame::<FromWorker>() {
                    Ok(Some(frame)) => {
                        let charge = self.reading.budget.charge(frame.len + FRAME_COST);
                        let _ = self.reports.send(Report::Said(self.reading.seat, frame, charge));
                    }
                    Ok(None) => return,
                    Err(fault) => self.garbled(format!("wrote {fault}")),
                },
            }
        }
    }

    /// Reads the worker's hello, which is at the front of the buffer; `false` until it has arrived whole.
    fn greeted(&mut self) -> bool {
        match self.buffer.next_frame::<Hello>() {
            Ok(Some(frame)) => {
                let hello = frame.message;
                let (ours, theirs) = (self.reading.job_type, String::from_utf8_lossy(frame.payload.as_slice()));
                if hello.flags & FROM_WORKER == 0 {
                    self.garbled("writes back what it reads: it is no worker".into());
                } else if hello.common_version().is_none() {
                    let ours = hirelings_worker_kit::wire::VERSION;
                    self.garbled(format!(
                        "speaks versions {} to {} of the protocol, this pool speaks {ours}",
                        hello.lowest, hello.highest
                    ));
                } else if !theirs.is_empty() && theirs != ours {
                    self.garbled(format!("does jobs of type {theirs}, this pool has {ours}"));
                } else {
                    self.stage = Stage::Messages;
                }
                true
            }
            Ok(None) => false,
            Err(fault) => {
                self.garbled(format!("wrote {fault}"));
                true
            }
        }
    }

    fn noise(&mut self, len: usize) {
        let noise = self.buffer.pending()[..len].to_vec();
        self.buffer.skip(len);
        let _ = self.reports.send(Report::Noise(self.reading.seat, noise));
    }

    fn garbled(&mut self, reason: String) {
        self.stage = Stage::Deaf;
        let _ = self.reports.send(Report::Garbled(self.reading.seat, reason));
    }
}

/// The end of the output is told however the reader ends: a death waits for it.
impl Drop for Reader {
    fn drop(&mut self) {
        // The supervisor may have gone; then there is nobody to tell.
        let _ = self.reports.send(Report::OutputEnded(self.reading.seat));
    }
}

struct Found {
    output: bool,
    exit: bool,
}

#[allow(clippy::disallowed_methods)]
fn now() -> Instant {
    Instant::now()
}

pub(super) fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: duration.subsec_nanos().into() }
}
