//! One thread a worker: its standard output, from bytes to messages.

use super::output::{ENDED, Output, PAUSED, READING, WAITING};
use super::report::Report;
use crate::budget::Budget;
use crate::clock;
use crate::process::Process;
use crate::supervisor::{DEATH_WAIT, WorkerKey};
use crate::sys::{self, Enlarged};
use crossbeam_channel::{Receiver, Sender};
use hirelings_worker_kit::wire::{
    ANSWERS_RECALLS, BufferPool, Codec, FROM_WORKER, FrameBuffer, FromWorker, Hello, LOWEST_VERSION, PREAMBLE_LIMIT,
    VERSION, split_hello,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// From this on a frame that has not come in one piece is worth a larger pipe.
const LARGE: usize = 32 * 1024;

/// What a frame costs beside its bytes, as the event and the notification that wait for the hook thread.
const FRAME_COST: usize = 512;

/// A yield that takes longer than this has given the processor to somebody who needs all of it.
const LONG_YIELD: Duration = Duration::from_millis(2);

/// For how long the reader does not yield after a long one.
const PAUSE: Duration = Duration::from_millis(20);

/// What a reader needs, once there is a process.
pub(crate) struct Reading {
    pub(crate) worker_key: WorkerKey,
    pub(crate) output: Arc<Output>,
    pub(crate) process: Arc<dyn Process>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) max_frame: usize,
    pub(crate) codec: Codec,
    pub(crate) buffers: Arc<BufferPool>,
    pub(crate) job_type: &'static str,
    /// How long nothing may come from it; none: it is on this machine.
    pub(crate) silence: Option<Duration>,
}

/// Starts a reader, which receives afterwards what to read.
pub(crate) fn start(readings: Receiver<Reading>, reports: Sender<Report>) -> io::Result<JoinHandle<()>> {
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
    /// No hello yet; other bytes may come before it.
    Preamble,
    Messages,
    /// It wrote what makes no sense: the rest is thrown away, so that it does not block on it.
    Discarding,
}

struct Reader {
    reading: Reading,
    reports: Sender<Report>,
    buffer: FrameBuffer,
    stage: Stage,
    enlarged: Option<Enlarged>,
    /// The last question, and the last that was answered.
    asked: u64,
    answered: u64,
    /// How much of what was in the pipe, when the question or the exit was noticed, is still to be read.
    left: u64,
    /// Whether the process has ended.
    ended: bool,
    /// When it was last reported that a far worker is there.
    heard: Option<Instant>,
    coalescing: Coalescing,
}

impl Reader {
    fn new(reading: Reading, reports: Sender<Report>) -> Self {
        let mut buffer = FrameBuffer::with_pool(reading.max_frame, Arc::clone(&reading.buffers));
        buffer.set_codec(reading.codec);
        Reader {
            reading,
            reports,
            buffer,
            stage: Stage::Preamble,
            enlarged: None,
            asked: 0,
            answered: 0,
            left: 0,
            ended: false,
            heard: None,
            coalescing: Coalescing::default(),
        }
    }

    fn run(mut self) {
        self.read_all();
        if matches!(self.stage, Stage::Preamble) && !self.buffer.pending().is_empty() {
            self.preamble(self.buffer.pending().len());
        }
    }

    /// Reads to the end of the output. Once the process has ended, that is at least what was in the pipe then; after it, for as
    /// long as a death waits, since a grandchild may hold the pipe for ever, and write to it.
    fn read_all(&mut self) {
        let mut until = None;
        while self.wait_for_room() {
            self.publish_state(WAITING);
            let found = self.wait(until);
            self.reading.output.state.store(READING, SeqCst);
            let Ok(found) = found else { return };
            if found.output {
                self.coalescing.before_read();
                match self.buffer.fill(&self.reading.output.pipe) {
                    Ok(read @ 1..) => {
                        self.coalescing.messages = 0;
                        self.reading.budget.note_read(read);
                        self.take_in();
                        self.report_heard();
                        self.left = self.left.saturating_sub(read as u64);
                    }
                    // The worker has read it itself.
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.left = 0,
                    _ => return,
                }
                self.answer();
                if self.enlarged.is_none() && self.buffer.incomplete() >= LARGE {
                    self.enlarged = Enlarged::new(&self.reading.output.pipe);
                }
            }
            if found.exit {
                // What is left of its group can write no more either, or not for long.
                self.reading.process.end_group();
                if self.reading.process.awaits_status() {
                    let _ = self.reports.send(Report::Ended(self.reading.worker_key));
                }
                self.ended = true;
                self.left = sys::unread(&self.reading.output.pipe).unwrap_or(0);
                until = Some(clock::now() + DEATH_WAIT);
            } else if self.left == 0 && until.is_some_and(|until| clock::now() >= until) {
                return;
            }
        }
    }

    fn wait_for_room(&mut self) -> bool {
        if !self.reading.budget.has_room() {
            self.publish_state(PAUSED);
        }
        let room = self.reading.budget.wait_for_room();
        self.reading.output.state.store(READING, SeqCst);
        room
    }

    /// Publishes that all that was read has been reported, and then looks whether the supervisor has asked for that.
    fn publish_state(&mut self, state: u8) {
        let Output { pipe, asked, .. } = &*self.reading.output;
        self.reading.output.state.store(state, SeqCst);
        let asked = asked.load(SeqCst);
        if asked != self.answered && !self.ended {
            // The supervisor lifts the limit of room before it asks about a worker that is stopped: then all is read.
            let waits_for_room = state == PAUSED && !self.reading.budget.has_room();
            self.left = sys::unread(pipe).unwrap_or(0);
            if waits_for_room && self.left > 0 {
                self.report_heard();
                self.left = 0;
            }
            self.asked = asked;
            self.answer();
        }
    }

    /// Answers the supervisor's question, once all has been reported that was in the pipe when it was noticed.
    fn answer(&mut self) {
        if self.asked != self.answered && self.left == 0 {
            self.answered = self.asked;
            let _ = self.reports.send(Report::Drained(self.reading.worker_key, self.asked));
        }
    }

    /// Blocks until there is output, or the exit, or, where the exit has been found, `until`.
    fn wait(&self, until: Option<Instant>) -> Result<Found, Errno> {
        let output = PollFd::new(&self.reading.output.pipe, PollFlags::IN);
        let exit = PollFd::from_borrowed_fd(self.reading.process.exit_fd(), PollFlags::IN);
        let mut fds = [output, exit];
        let (fds, left) = match until {
            None => (&mut fds[..], None),
            Some(until) => (&mut fds[..1], Some(timespec(until.saturating_duration_since(clock::now())))),
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

    /// Reports now and then that something comes from a far worker: a long answer over a slow connection is no silence.
    fn report_heard(&mut self) {
        let Some(silence) = self.reading.silence.filter(|_| matches!(self.stage, Stage::Messages)) else { return };
        let now = clock::now();
        if self.heard.is_none_or(|heard| now >= heard + silence / 8) {
            self.heard = Some(now);
            let _ = self.reports.send(Report::Heard(self.reading.worker_key));
        }
    }

    /// Makes of what has arrived what it is.
    fn take_in(&mut self) {
        loop {
            match self.stage {
                Stage::Discarding => {
                    let all = self.buffer.pending().len();
                    return self.buffer.skip(all);
                }
                Stage::Preamble => match split_hello(self.buffer.pending()) {
                    Some(preamble) => {
                        if preamble > 0 {
                            self.preamble(preamble);
                        }
                        if !self.hello() {
                            return;
                        }
                    }
                    // A hello may have begun just before the limit.
                    None if self.buffer.pending().len() > PREAMBLE_LIMIT + Hello::LEN => {
                        let limit = PREAMBLE_LIMIT / 1024;
                        self.preamble(PREAMBLE_LIMIT);
                        self.malformed(format!("wrote {limit} KiB and no hello: it is no worker"));
                    }
                    None => return,
                },
                Stage::Messages => match self.buffer.next_frame::<FromWorker>() {
                    Ok(Some(frame)) => {
                        self.coalescing.messages += 1;
                        let charge = self.reading.budget.charge(frame.len + FRAME_COST);
                        let _ = self.reports.send(Report::Message(self.reading.worker_key, frame, charge));
                    }
                    Ok(None) => return,
                    Err(fault) => self.malformed(format!("wrote {fault}")),
                },
            }
        }
    }

    /// Reads the worker's hello, which is at the front of the buffer; `false` until it has arrived whole.
    fn hello(&mut self) -> bool {
        match self.buffer.next_frame::<Hello>() {
            Ok(Some(frame)) => {
                let hello = frame.message;
                let (ours, theirs) = (self.reading.job_type, String::from_utf8_lossy(frame.payload.as_slice()));
                if hello.flags & FROM_WORKER == 0 {
                    self.malformed("writes back what it reads: it is no worker".into());
                    return true;
                }
                let Some(version) = hello.common_version() else {
                    let (lowest, highest) = (LOWEST_VERSION, VERSION);
                    self.malformed(format!(
                        "speaks versions {} to {} of the protocol, this pool speaks {lowest} to {highest}",
                        hello.lowest, hello.highest
                    ));
                    return true;
                };
                if !theirs.is_empty() && theirs != ours {
                    self.malformed(format!("does jobs of type {theirs}, this pool has {ours}"));
                } else if let Some(why) = self.is_unfit(&hello, version) {
                    self.malformed(why);
                } else {
                    self.stage = Stage::Messages;
                    let _ = self.reports.send(Report::Hello(self.reading.worker_key, hello.flags, version));
                }
                true
            }
            Ok(None) => false,
            Err(fault) => {
                self.malformed(format!("wrote {fault}"));
                true
            }
        }
    }

    /// Why the worker cannot be used where its connection may be lost.
    fn is_unfit(&self, hello: &Hello, version: u16) -> Option<String> {
        self.reading.silence?;
        if version < 2 {
            return Some(format!(
                "speaks version {version} of the protocol, and a worker on another machine needs version 2, to end itself \
                 where its connection is lost: build it with a newer kit"
            ));
        }
        (hello.flags & ANSWERS_RECALLS == 0).then(|| {
            "does not answer the pool while a job runs, which a worker on another machine must, to end itself where its \
             connection is lost"
                .into()
        })
    }

    fn preamble(&mut self, len: usize) {
        let preamble = self.buffer.pending()[..len].to_vec();
        self.buffer.skip(len);
        let _ = self.reports.send(Report::Preamble(self.reading.worker_key, preamble));
    }

    fn malformed(&mut self, reason: String) {
        self.stage = Stage::Discarding;
        let _ = self.reports.send(Report::Malformed(self.reading.worker_key, reason));
    }
}

/// Reports the end of the output however the reader ends: a death is handled only after it.
impl Drop for Reader {
    fn drop(&mut self) {
        // The supervisor may have ended; then the report goes nowhere.
        let _ = self.reports.send(Report::StdoutClosed(self.reading.worker_key));
        self.reading.output.state.store(ENDED, SeqCst);
    }
}

/// Lets the worker write more before its output is read, where several messages come at once: the reader then wakes for many
/// messages, not for each. Network cards delay their interrupts for the same reason, and call it coalescing.
///
/// Where other programs take the processor, a yield may take several milliseconds: after such a one there is no other for a
/// while. docs/performance.md has the figures.
#[derive(Default)]
struct Coalescing {
    /// How many messages the last read has given.
    messages: usize,
    paused_until: Option<Instant>,
}

impl Coalescing {
    fn before_read(&mut self) {
        if self.messages > 1 {
            let before = clock::now();
            if self.may_yield(before) {
                thread::yield_now();
                self.yielded(before, clock::now());
            }
        }
    }

    fn may_yield(&self, now: Instant) -> bool {
        self.paused_until.is_none_or(|until| now >= until)
    }

    fn yielded(&mut self, before: Instant, after: Instant) {
        self.paused_until = (after - before > LONG_YIELD).then(|| after + PAUSE);
    }
}

struct Found {
    output: bool,
    exit: bool,
}

pub(super) fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: duration.subsec_nanos().into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_long_yield_there_is_none_for_a_while() {
        let mut coalescing = Coalescing::default();
        let start = clock::now();
        assert!(coalescing.may_yield(start));
        coalescing.yielded(start, start + LONG_YIELD);
        assert!(coalescing.may_yield(start + LONG_YIELD), "that was no long one");
        let after = start + LONG_YIELD + Duration::from_nanos(1);
        coalescing.yielded(start, after);
        assert!(!coalescing.may_yield(after));
        assert!(!coalescing.may_yield(after + PAUSE - Duration::from_nanos(1)));
        assert!(coalescing.may_yield(after + PAUSE));
        coalescing.yielded(after + PAUSE, after + PAUSE);
        assert!(coalescing.may_yield(after + PAUSE), "a short one ends the pause");
    }
}
