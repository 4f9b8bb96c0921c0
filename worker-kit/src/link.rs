//! The input and the output of the worker's end of the protocol, shared by the thread that runs handlers and the guard.
//!
//! Two locks, always taken inbox first. The main thread may block in a read or a write while it holds one. The guard never
//! blocks: it only tries the locks, and writes only where there is room, since the worker's end is its doing where the pool
//! cannot be reached any more.

use crate::clock;
use crate::ended::Ended;
use crate::fork::Generation;
use crate::group;
use crate::outbox::Outbox;
use crate::pace::Pace;
use crate::queue::{JobQueue, QueuedJob};
use crate::silence::Silence;
use crate::wire::{self, BufferPool, Codec, Frame, FrameBuffer, FromWorker, ToWorker, truncate};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::backtrace::Backtrace;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::mem;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Whose process it is: it decides what the end of the parent means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    /// A worker process: it ends, and its group with it.
    Process,
    /// A thread of a test: it returns.
    Thread,
}

/// What has arrived from the pool.
#[derive(Debug)]
pub(crate) struct Inbox {
    buffer: FrameBuffer,
    jobs: JobQueue,
    /// What the pool is to be told about what it has sent, and has not been told yet. No job begins before it is told.
    replies: VecDeque<FromWorker>,
    /// Whether the worker is to leave once there is no job.
    leave: bool,
    /// The moment of the worker's first Ready, where nothing was read between it and what has been read last.
    nothing_since: Option<u64>,
}

/// The worker's end of the protocol.
#[derive(Debug)]
pub(crate) struct Link {
    host: Host,
    /// The process whose link this is. A child that user code forks has a copy of it.
    owner: Generation,
    pub(crate) input: OwnedFd,
    /// Buffers for large jobs and large answers.
    pub(crate) buffers: Arc<BufferPool>,
    inbox: Mutex<Inbox>,
    outbox: Mutex<Outbox>,
    /// Whether the current job was cancelled. It changes under the inbox's lock.
    cancelled: AtomicBool,
    silence: Silence,
    started: Instant,
    pub(crate) pace: Pace,
    /// The guard is being replaced: it is to end. It is set before the guard is woken, and looked at after what woke the
    /// guard has been taken: by this wake, or by the next one.
    guard_ends: AtomicBool,
    /// Set once, in the handshake, before there is a job. The guard never looks at it.
    max_frame: AtomicUsize,
    wake: os_pipe::PipeWriter,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whatever panicked has left whole frames behind: both sides change their box only between frames.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    mutex.try_lock().ok()
}

impl Link {
    pub(crate) fn new(host: Host, input: OwnedFd, output: OwnedFd, wake: os_pipe::PipeWriter) -> Self {
        let buffers = Arc::<BufferPool>::default();
        Link {
            host,
            owner: Generation::current(),
            input,
            inbox: Mutex::new(Inbox {
                buffer: FrameBuffer::with_pool(u32::MAX as usize, Arc::clone(&buffers)),
                jobs: JobQueue::default(),
                replies: VecDeque::new(),
                leave: false,
                nothing_since: None,
            }),
            outbox: Mutex::new(Outbox::new(output)),
            cancelled: AtomicBool::new(false),
            silence: Silence::new(),
            started: clock::now(),
            pace: Pace::new(),
            guard_ends: AtomicBool::new(false),
            max_frame: AtomicUsize::new(u32::MAX as usize),
            wake,
            buffers,
        }
    }

    /// The handshake is done: the worker is the pool's.
    pub(crate) fn handshake_done(&self) {
        if self.host == Host::Process {
            group::claim();
        }
    }

    /// The parent is gone: nobody is left to work for. In the process of a worker whose handshake is done this ends the whole group.
    pub(crate) fn orphaned(&self) {
        if self.host == Host::Process {
            group::end();
        }
    }

    // ------------------------------------------------------------ reading

    /// Blocks until a frame of the handshake is here.
    pub(crate) fn read_frame<M: wire::WireMessage>(&self) -> Result<Frame<M>, Ended> {
        let mut inbox = lock(&self.inbox);
        loop {
            if let Some(frame) = inbox.buffer.next_frame().map_err(Ended::Protocol)? {
                return Ok(frame);
            }
            self.fill(&mut inbox)?;
        }
    }

    /// From now on no frame may be longer, either way, and payloads are in this codec.
    pub(crate) fn set_framing(&self, max_frame: usize, codec: Codec) {
        self.max_frame.store(max_frame, SeqCst);
        let mut inbox = lock(&self.inbox);
        inbox.buffer.set_max(max_frame);
        inbox.buffer.set_codec(codec);
    }

    /// Blocks until there is a job to start; `None` means leave. All that has arrived is read first.
    pub(crate) fn next_job(&self) -> Result<Option<QueuedJob>, Ended> {
        let mut inbox = lock(&self.inbox);
        let mut may_be_more = !inbox.jobs.is_empty();
        loop {
            self.sort(&mut inbox)?;
            self.reply(&mut inbox)?;
            if may_be_more && self.readable() {
                may_be_more = self.fill(&mut inbox)?;
                continue;
            }
            if self.is_silent() {
                // This process was stopped meanwhile: the pool has given it up.
                self.orphaned();
                return Err(Ended::Orphaned);
            }
            if let Some(queued) = inbox.jobs.take(clock::now) {
                self.cancelled.store(queued.is_cancelled(), SeqCst);
                return Ok(Some(queued));
            }
            if inbox.leave {
                return Ok(None);
            }
            self.trim();
            // A process that is killed while it is blocked in a read may still take a job out of the pipe, and nobody could know
            // that it has not begun. One that is killed while it waits takes nothing.
            self.wait();
            may_be_more = self.fill(&mut inbox)?;
        }
    }

    /// Gives spare buffers back where nothing comes for a while; blocks for no longer than that.
    fn trim(&self) {
        while let Some(left) = self.buffers.trim()
            && !self.readable_within(left)
        {}
    }

    /// Says that the worker wants to be replaced, and skips what it has not begun.
    pub(crate) fn retire(&self) -> Result<(), Ended> {
        // A pool that has recalled the job that runs is to know first that it does.
        self.start()?;
        let mut inbox = lock(&self.inbox);
        let skipped = inbox.jobs.retire();
        inbox.replies.push_back(FromWorker::Retire);
        inbox.replies.extend(skipped.map(|job| FromWorker::Skipped { job }));
        self.reply(&mut inbox)
    }

    /// Moves whole frames from the buffer to where they belong; writes nothing.
    fn sort(&self, inbox: &mut Inbox) -> Result<(), Ended> {
        while let Some(frame) = inbox.buffer.next_frame::<ToWorker>().map_err(Ended::Protocol)? {
            match frame.message {
                ToWorker::Job { job, attempt } => {
                    queue(inbox, QueuedJob::new(job, attempt, None, frame.payload));
                }
                ToWorker::TimedJob { job, attempt, limit_ms } => {
                    let limit = Some(Duration::from_millis(limit_ms));
                    queue(inbox, QueuedJob::new(job, attempt, limit, frame.payload));
                }
                ToWorker::Skip { job } => {
                    if inbox.jobs.skip(job) {
                        inbox.replies.push_back(FromWorker::Skipped { job });
                    }
                }
                ToWorker::Leave => inbox.leave = true,
                ToWorker::Cancel { job, within_ms } => self.cancel(inbox, job, within_ms),
                ToWorker::Heartbeat { silence_ms } => {
                    let (limit, since) = (silence_ms.saturating_mul(1000), inbox.nothing_since);
                    if self.silence.set(limit, since, self.micros()) {
                        self.wake_guard();
                    }
                    inbox.replies.push_back(FromWorker::Alive);
                }
                ToWorker::Init { .. } => {}
            }
        }
        Ok(())
    }

    /// The pool asks the job to come to an end. One that is answered is nobody's any more.
    fn cancel(&self, inbox: &mut Inbox, job: u64, within_ms: u64) {
        let within = (within_ms != u64::MAX).then(|| Duration::from_millis(within_ms));
        let until = within.and_then(|within| clock::now().checked_add(within));
        if inbox.jobs.cancel(job, until) {
            self.cancelled.store(true, SeqCst);
        }
    }

    /// Whether the pool has asked the current job to come to an end.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(SeqCst)
    }

    /// When the worker is killed if the current job is not answered, as far as the pool has said so.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        lock(&self.inbox).jobs.deadline()
    }

    /// Reads once. Gives whether there may be more: a read that gives less than it has room for has emptied the pipe.
    fn fill(&self, inbox: &mut Inbox) -> Result<bool, Ended> {
        // Once there is a limit, this is called only where there is something to read.
        if !self.silence.hear(|| self.micros()) {
            self.orphaned();
            return Err(Ended::Orphaned);
        }
        inbox.nothing_since = self.silence.take_first_ready();
        match inbox.buffer.fill(&self.input) {
            Ok(0) => {
                self.orphaned();
                Err(Ended::Orphaned)
            }
            Ok(_) => Ok(inbox.buffer.is_full()),
            Err(error) => Err(Ended::Io(error)),
        }
    }

    pub(crate) fn readable(&self) -> bool {
        self.readable_within(Duration::ZERO)
    }

    /// Blocks until there is something to read, or an end; whatever signals come meanwhile.
    fn wait(&self) {
        while poll(&mut [PollFd::new(&self.input, PollFlags::IN)], None) == Err(Errno::INTR) {}
    }

    /// Whether the input has, within `limit`, something to read, or an end.
    fn readable_within(&self, limit: Duration) -> bool {
        let mut fds = [PollFd::new(&self.input, PollFlags::IN)];
        let limit = Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: limit.subsec_nanos().into() };
        poll(&mut fds, Some(&limit)) == Ok(1)
    }

    // ------------------------------------------------------------ writing

    /// Writes a message without a payload.
    pub(crate) fn send(&self, message: &FromWorker) -> Result<(), Ended> {
        let mut frame = Vec::with_capacity(64);
        wire::frame_into(message, &[], &mut frame);
        self.write(&mut self.outbox(), &frame)
    }

    /// Says that the worker can take a job. The first time, the moment is kept.
    pub(crate) fn send_ready(&self) -> Result<(), Ended> {
        self.silence.ready(|| self.micros());
        self.send(&FromWorker::Ready)
    }

    /// Writes the replies that are due.
    fn reply(&self, inbox: &mut Inbox) -> Result<(), Ended> {
        while let Some(reply) = inbox.replies.pop_front() {
            self.send(&reply)?;
        }
        Ok(())
    }

    /// Writes frames that were put together by the caller.
    pub(crate) fn send_frame(&self, frame: &[u8]) -> Result<(), Ended> {
        self.write(&mut self.outbox(), frame)
    }

    /// Writes a frame that says that the running handler has begun, whatever else it says.
    pub(crate) fn send_running(&self, frame: &[u8]) -> Result<(), Ended> {
        // Where one progress follows another, the guard may never find room.
        let replies = try_lock(&self.inbox).map(|mut inbox| mem::take(&mut inbox.replies));
        replies.into_iter().flatten().try_for_each(|reply| self.send(&reply))?;
        let mut outbox = self.outbox();
        if let Some((_, announced)) = &mut outbox.running {
            *announced = true;
        }
        self.write(&mut outbox, frame)
    }

    /// A handler starts.
    pub(crate) fn begin(&self, job: u64) {
        self.outbox().running = Some((job, false));
    }

    /// A handler's answer: after it, nothing is said of its job.
    pub(crate) fn finish(&self, frame: &[u8]) -> Result<(), Ended> {
        let mut outbox = self.outbox();
        outbox.running = None;
        self.write(&mut outbox, frame)
    }

    /// Says that the running handler has begun, where that is not known.
    pub(crate) fn start(&self) -> Result<(), Ended> {
        self.write_start(&mut self.outbox())
    }

    fn write_start(&self, outbox: &mut Outbox) -> Result<(), Ended> {
        let Some((job, false)) = outbox.running else { return Ok(()) };
        outbox.running = Some((job, true));
        let mut frame = Vec::with_capacity(16);
        wire::frame_into(&FromWorker::Start { job }, &[], &mut frame);
        self.write(outbox, &frame)
    }

    /// Sends the terminal failure: a panic, or why the worker does not start or go on. After it, nothing is said of the job:
    /// the guard may look at the handler once more before the process is at its end.
    pub(crate) fn send_terminal(&self, message: String, location: Option<String>, backtrace: Option<Backtrace>) {
        let room = self.max_frame.load(SeqCst) / 4;
        let mut outbox = self.outbox();
        let terminal = FromWorker::Terminal {
            job: outbox.running.take().map(|(job, _)| job),
            message: truncate(message, room),
            location: location.map(|place| truncate(place, room)),
            backtrace: backtrace.map(|frames| truncate(frames.to_string(), room)),
        };
        let mut frame = Vec::with_capacity(256);
        wire::frame_into(&terminal, &[], &mut frame);
        outbox.ended = true;
        // If the pool is gone there is nobody to tell, and the process is about to end.
        let _ = self.write(&mut outbox, &frame);
    }

    /// The output, for the main thread. In a child that user code has forked the guard's lock may never be given back, so such a
    /// child ends before it asks.
    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.owner.end_copy();
        lock(&self.outbox)
    }

    fn write(&self, outbox: &mut Outbox, frame: &[u8]) -> Result<(), Ended> {
        outbox.pipe.write_all(frame).map_err(|error| {
            if error.kind() == io::ErrorKind::BrokenPipe {
                self.orphaned();
                return Ended::Orphaned;
            }
            Ended::Io(error)
        })
    }

    // ------------------------------------------------------------ the guard

    /// Whether this is the link of a worker process.
    pub(crate) fn is_of_process(&self) -> bool {
        self.host == Host::Process
    }

    /// Tells the guard to end, and wakes it.
    pub(crate) fn end_guard(&self) {
        self.guard_ends.store(true, SeqCst);
        self.wake_guard();
    }

    /// The guard has ended, and its successor may begin.
    pub(crate) fn guard_ended(&self) {
        self.guard_ends.store(false, SeqCst);
    }

    pub(crate) fn guard_is_ending(&self) -> bool {
        self.guard_ends.load(SeqCst)
    }

    /// Does for the main thread, while its handler runs, what does not block: reads what has arrived, replies, and says that
    /// the handler has begun where `announces_start`. Gives whether all is done: if not, there was no room, or the main thread
    /// was at it.
    pub(crate) fn stand_in(&self, announces_start: bool) -> bool {
        self.read_ahead() && (!announces_start || self.start_if_free())
    }

    /// Reads, and replies. Faults are left for the main thread to find.
    fn read_ahead(&self) -> bool {
        let Some(mut inbox) = try_lock(&self.inbox) else { return false };
        if self.readable() && self.fill(&mut inbox).is_err() {
            return false;
        }
        // Something may have come together with what the main thread has read.
        let _ = self.sort(&mut inbox);
        while let Some(reply) = inbox.replies.front() {
            let free = try_lock(&self.outbox).filter(|outbox| !outbox.ended && outbox.has_room());
            let Some(mut outbox) = free else { return false };
            let mut frame = Vec::with_capacity(16);
            wire::frame_into(reply, &[], &mut frame);
            let _ = self.write(&mut outbox, &frame);
            inbox.replies.pop_front();
        }
        true
    }

    fn start_if_free(&self) -> bool {
        let Some(mut outbox) = try_lock(&self.outbox) else { return false };
        let is_due = matches!(outbox.running, Some((_, false)));
        if is_due && outbox.has_room() {
            let _ = self.write_start(&mut outbox);
            return true;
        }
        !is_due
    }

    /// A handler or a recovery starts or ends; the guard ticks again.
    pub(crate) fn next_epoch(&self) {
        if self.pace.next_epoch() {
            self.wake_guard();
        }
    }

    fn wake_guard(&self) {
        let _ = (&self.wake).write(&[1]);
    }

    fn micros(&self) -> u64 {
        u64::try_from(clock::now().duration_since(self.started).as_micros()).unwrap_or(u64::MAX)
    }

    /// How long the pool may still be silent; none where it has set no limit.
    pub(crate) fn silence_left(&self) -> Option<Duration> {
        self.silence.left(|| self.micros())
    }

    /// Whether the pool has been silent for too long.
    pub(crate) fn is_silent(&self) -> bool {
        self.silence.is_over(|| self.micros())
    }

    /// Blocks the guard until the parent is gone (`true`), it is woken, `limit` is over, or, where it asked for that,
    /// there is something to read.
    pub(crate) fn parent_gone(&self, wake: impl AsFd, reading: bool, limit: Option<&Timespec>) -> bool {
        let asked = if reading { PollFlags::IN } else { PollFlags::empty() };
        let mut fds = [PollFd::new(&self.input, asked), PollFd::from_borrowed_fd(wake.as_fd(), PollFlags::IN)];
        match poll(&mut fds, limit) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return true,
        }
        if fds[1].revents().contains(PollFlags::IN) {
            let mut drained = [0u8; 64];
            let _ = rustix::io::read(&wake, &mut drained);
        }
        fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL)
    }
}

/// A job has arrived.
fn queue(inbox: &mut Inbox, queued: QueuedJob) {
    let job = queued.job;
    if !inbox.jobs.push(queued) {
        inbox.replies.push_back(FromWorker::Skipped { job });
    }
}

#[cfg(test)]
mod tests {
    use super::{Host, Link};
    use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
    use std::io::{Read, Write};
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::sync::mpsc;
    use std::thread;

    /// A worker that is killed in a read may take a job with it that it has not begun; one that waits takes none.
    #[test]
    #[allow(unsafe_code)]
    fn a_signal_does_not_end_the_wait_for_the_pool() {
        static HANDLED: AtomicUsize = AtomicUsize::new(0);
        extern "C" fn handle(_: i32) {
            HANDLED.fetch_add(1, SeqCst);
        }
        let handler = SigAction::new(SigHandler::Handler(handle), SaFlags::SA_RESTART, SigSet::empty());
        // SAFETY: the handler does nothing but count.
        unsafe { sigaction(Signal::SIGUSR2, &handler) }.unwrap();
        let [(input, mut pool), (_said, output), (_wakes, wake)] = [(); 3].map(|()| os_pipe::pipe().unwrap());
        let link = Link::new(Host::Thread, input.into(), output.into(), wake);
        let (tell, told) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        let waits = thread::spawn(move || {
            // SAFETY: it may be called at any time.
            tell.send(unsafe { libc::pthread_self() }).unwrap();
            link.wait();
            let is_readable = link.readable();
            // It is there for as long as signals are sent to it.
            let _ = ended.recv();
            is_readable
        });
        let waiting = told.recv().unwrap();
        // The first may come before it waits, and each has been handled before the next is sent.
        for sent in 1..=200 {
            // SAFETY: the thread has not been joined.
            assert_eq!(unsafe { libc::pthread_kill(waiting, libc::SIGUSR2) }, 0);
            while HANDLED.load(SeqCst) < sent {
                thread::yield_now();
            }
        }
        pool.write_all(b"x").unwrap();
        drop(end);
        assert!(waits.join().unwrap(), "it has waited until there was something to read");
    }

    #[test]
    fn nothing_is_said_of_a_job_after_the_terminal_failure() {
        let [(input, _pool), (mut said, output), (_wakes, wake)] = [(); 3].map(|()| os_pipe::pipe().unwrap());
        let link = Link::new(Host::Thread, input.into(), output.into(), wake);
        link.begin(7);
        link.send_terminal("it is over".into(), None, None);
        // As the guard does, which finds the handler still there.
        link.stand_in(true);
        drop(link);
        let mut bytes = Vec::new();
        said.read_to_end(&mut bytes).unwrap();
        let first = u32::from_le_bytes(bytes[..4].try_into().unwrap()) as usize;
        assert_eq!(bytes.len(), 4 + first, "one frame: {bytes:?}");
    }
}
