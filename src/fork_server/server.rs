//! One fork server: its process, and the socket to it.

use super::minder::{Minded, Minder, Stream, UNREPORTED, timespec};
use crate::budget::Budget;
use crate::clock;
use crate::error::StartFailure;
use crate::exit_status::ended;
use crate::launch::{Attendance, Launcher, News, Spawned, no_pipe, not_started};
use crate::process::Process;
use crate::supervisor::Begun;
use crate::sys;
use hirelings_worker_kit::wire::{FORKS, FrameBuffer, FrameFault, FromWorker, Hello};
use parking_lot::{Condvar, Mutex};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, Shutdown, SocketFlags, SocketType, send, shutdown, socketpair};
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How much of the handshake goes into one packet.
const PACKET: usize = 16 * 1024;
/// How long a fork server that has closed its socket may take to be found dead.
const EXIT_WAIT: Duration = Duration::from_millis(500);

/// A fork server, as its workers and the launcher share it. It is ended when nobody needs it any more.
pub(crate) struct Server {
    number: u64,
    control: Arc<OwnedFd>,
    minded: Arc<Minded>,
}

/// What came of a wait.
pub(super) enum Waited {
    Ready,
    /// The pool has ended.
    Closed,
    TimedOut,
}

impl Server {
    /// Starts a fork server with the launcher's command, and waits until it is ready. `keep` is given it before that, with
    /// its minder.
    ///
    /// # Errors
    ///
    /// Why there is none; it has been ended then.
    pub(super) fn start(
        number: u64,
        launcher: &mut Launcher,
        attendance: &Attendance,
        closed: BorrowedFd<'_>,
        keep: impl FnOnce(&Arc<Self>, JoinHandle<()>),
    ) -> Result<Arc<Self>, StartFailure> {
        let program = launcher.program();
        let (control, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(|errno| not_started(&program, format!("could not be given a socket: {errno}")))?;
        let pipe = || os_pipe::pipe().map_err(|error| no_pipe(&program, &error));
        let ((woken, wake), (stdout, their_stdout)) = (pipe()?, pipe()?);
        let Spawned { process, stderr } = launcher.spawn(theirs, their_stdout.into())?;
        let control = Arc::new(control);
        let minded = Arc::new(Minded {
            program: program.clone(),
            process,
            printed: Mutex::default(),
            asked: AtomicBool::new(false),
            reason: Mutex::default(),
            ended: Mutex::default(),
            is_over: Condvar::new(),
        });
        let wake = Box::new(move || drop((&wake).write(&[1])));
        let minder = Minder {
            number,
            minded: Arc::clone(&minded),
            control: Arc::clone(&control),
            woken: woken.into(),
            stdout: Stream::of(stdout.into()),
            stderr: Stream::of(stderr),
            budget: Budget::new(UNREPORTED, Some(wake)),
            grace: attendance.grace,
            report: Arc::clone(&attendance.report),
            wants_stderr: Arc::clone(&attendance.wants_stderr),
        };
        let thread = thread::Builder::new().name("hirelings-forks".into()).stack_size(256 * 1024);
        // Reported before anything that it, or a worker of it, does.
        (attendance.report)(News::Spawned { number, pid: minded.process.pid(), program: program.clone() });
        let report = Arc::clone(&attendance.report);
        let mind = move || {
            // Whatever happens, the pool hears of its end, for which it waits.
            if catch_unwind(AssertUnwindSafe(|| minder.run())).is_err() {
                report(News::Exited { number, status: None, was_asked: false });
            }
        };
        let thread = thread.spawn(mind).map_err(|error| {
            (attendance.report)(News::Exited { number, status: None, was_asked: false });
            not_started(&program, format!("was started, but a thread to mind it could not be: {error}"))
        })?;
        let server = Arc::new(Server { number, control, minded });
        keep(&server, thread);
        match server.handshake(attendance, closed) {
            Ok(()) => Ok(server),
            Err(reason) => {
                server.end();
                Err(server.failure(reason))
            }
        }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn program(&self) -> &str {
        &self.minded.program
    }

    pub(super) fn control(&self) -> BorrowedFd<'_> {
        self.control.as_fd()
    }

    /// Whether it is known to have ended.
    pub(super) fn has_ended(&self) -> bool {
        self.minded.ended.lock().is_some()
    }

    /// Whether it still has its memory: a process that ends gives that back before it is found to have ended.
    pub(super) fn holds_memory(&self) -> bool {
        let process = &self.minded.process;
        // Its number is its own where it lives after the look.
        sys::resident(process.pid()).is_some_and(|bytes| bytes > 0) && !process.has_exited()
    }

    /// Lets the fork server end, with its group.
    pub(super) fn end(&self) {
        self.minded.asked.store(true, Ordering::Relaxed);
        let _ = shutdown(&*self.control, Shutdown::Both);
    }

    /// Ends a fork server that did something wrong.
    pub(super) fn end_for(&self, reason: &str) {
        self.minded.reason.lock().get_or_insert_with(|| reason.to_owned());
        self.end();
    }

    /// A start that failed. Where the fork server is about to be found dead, how it ended is in it.
    pub(super) fn failure(&self, reason: String) -> StartFailure {
        let minded = &self.minded;
        let mut found = minded.ended.lock();
        if found.is_none() {
            let _ = minded.is_over.wait_for(&mut found, EXIT_WAIT);
        }
        let status = found.and_then(|ended| ended.status);
        drop(found);
        let printed: Vec<u8> = minded.printed.lock().iter().copied().collect();
        StartFailure {
            program: minded.program.clone(),
            site: None,
            status,
            stderr: String::from_utf8_lossy(&printed).trim_end().to_owned(),
            reason,
            attempts: 0,
            begun: Begun::No,
        }
    }

    /// Why a fork server whose socket has hung up did not do what it was asked: how it ended.
    pub(super) fn lost(&self, before: &str) -> StartFailure {
        let mut failure = self.failure(String::new());
        let reason = self.minded.reason.lock().clone();
        failure.reason = match (reason, self.has_ended()) {
            (Some(reason), _) => format!("is a fork server that {reason}"),
            (None, true) => format!("is a fork server that {} before {before}", ended(failure.status)),
            (None, false) => format!("is a fork server that closed its socket before {before}"),
        };
        failure
    }

    /// Hello and init there, hello and ready back.
    fn handshake(&self, attendance: &Attendance, closed: BorrowedFd<'_>) -> Result<(), String> {
        let deadline = attendance.limit.and_then(|limit| clock::now().checked_add(limit));
        let mut packets = attendance.handshake.chunks(PACKET).peekable();
        let mut arrived = FrameBuffer::new(64 * 1024);
        let mut has_said_hello = false;
        loop {
            let events = if packets.peek().is_some() { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
            match wait(&self.control, events, deadline, closed) {
                Waited::Ready => {}
                Waited::Closed => return Err("was not started: the pool has ended".into()),
                Waited::TimedOut => {
                    let limit = attendance.limit.unwrap_or_default();
                    let hint = if has_said_hello { "" } else { ": is it built on a worker kit that can fork?" };
                    let reason = format!("was initializing for more than {limit:?} and was killed{hint}");
                    self.end_for(&reason);
                    return Err(format!("is a fork server that {reason}"));
                }
            }
            if let Some(packet) = packets.peek() {
                match send(&*self.control, packet, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                    Ok(_) => drop(packets.next()),
                    Err(Errno::INTR | Errno::AGAIN) => {}
                    // What it has said before is still to be read.
                    Err(_) => packets = [].chunks(PACKET).peekable(),
                }
            }
            if !wait_is_readable(&self.control) {
                continue;
            }
            if !matches!(arrived.fill(&*self.control), Ok(1..)) {
                return Err(self.lost("it was ready").reason);
            }
            if let Some(answer) = answer_in(&mut arrived, &mut has_said_hello) {
                return answer;
            }
        }
    }
}

/// What a fork server has said that ends the wait for it.
fn answer_in(arrived: &mut FrameBuffer, has_said_hello: &mut bool) -> Option<Result<(), String>> {
    let strange = |fault: FrameFault| Some(Err(format!("is no fork server: it wrote {fault}")));
    loop {
        if !*has_said_hello {
            match arrived.next_frame::<Hello>() {
                Ok(Some(frame)) if frame.message.flags & FORKS != 0 && frame.message.common_version().is_some() => {
                    *has_said_hello = true;
                }
                Ok(Some(_)) => return Some(Err("is no fork server: its hello does not say that it forks".into())),
                Ok(None) => return None,
                Err(fault) => return strange(fault),
            }
            continue;
        }
        match arrived.next_frame::<FromWorker>() {
            Ok(Some(frame)) => match frame.message {
                FromWorker::Ready => return Some(Ok(())),
                FromWorker::Terminal { message, .. } => return Some(Err(format!("said: {message}"))),
                other => return Some(Err(format!("is no fork server: it wrote {other:?} before it was ready"))),
            },
            Ok(None) => return None,
            Err(fault) => return strange(fault),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// Waits for one of `events` on `fd`, or its hang-up; `closed` hangs up once the pool has ended.
pub(super) fn wait(fd: impl AsFd, events: PollFlags, deadline: Option<Instant>, closed: BorrowedFd<'_>) -> Waited {
    let mut fds = [PollFd::new(&fd, events), PollFd::from_borrowed_fd(closed, PollFlags::IN)];
    loop {
        let left = deadline.map(|at| timespec(at.saturating_duration_since(clock::now())));
        match poll(&mut fds, left.as_ref()) {
            Err(Errno::INTR) => {}
            Ok(0) => return Waited::TimedOut,
            Ok(_) if !fds[0].revents().is_empty() => return Waited::Ready,
            _ => return Waited::Closed,
        }
    }
}

fn wait_is_readable(fd: impl AsFd) -> bool {
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    poll(&mut fds, Some(&timespec(Duration::ZERO))) == Ok(1)
}
