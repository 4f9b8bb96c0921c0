//! The fork server: a process that is started once, makes the worker's state once, and forks a worker at each request.
//!
//! Its standard input is a socket of the type SEQPACKET, and thereby it knows what it is. Over that it performs the
//! handshake with the pool, is given options and says that it is ready, in the same messages as a worker. After that each
//! packet from the pool asks for a worker, and brings four descriptors: its standard input, output and error, and the leash,
//! one end of a pair of sockets of the same type. The fork server answers through the leash:
//!
//! * with the child's number and a descriptor of its process (a pidfd), or with why there is none;
//! * when the child has ended, with its status, after it has ended the child's process group. The child stays a zombie
//!   until the pool closes its end, so that its number is nobody else's for as long as the pool may use it. Where the pool
//!   closes its end before, the child is killed.
//!
//! The end of the socket to the pool means that the pool is gone, or needs the fork server no more. It ends at once then,
//! with its process group, by SIGKILL: its copy of the worker's state is never dropped. It has no guard thread, since a
//! process that forks has to have one thread only; only while the worker's state is made, one waits for that end.

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) use elsewhere::{is_asked, serve};
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) use linux::{is_asked, serve};

use crate::BoxError;
use std::fmt;

/// Why a fork server, or a worker that it has forked, ends before it serves.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The pool has been sent the reason.
    Reported(String),
    /// A worker could not complete the handshake with the pool, or was refused by it.
    Unconnected(BoxError),
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stop::Reported(message) => f.write_str(message),
            Stop::Unconnected(error) => error.fmt(f),
        }
    }
}
impl std::error::Error for Stop {}

/// Elsewhere no pool asks for it: its builder refuses.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod elsewhere {
    use super::Stop;
    use crate::{Job, Session};

    pub(crate) fn is_asked() -> bool {
        false
    }

    pub(crate) fn serve<J: Job>(session: Session<J>) -> Result<Session<J>, Stop> {
        Ok(session)
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux {
    use super::Stop;
    use crate::fork::{ChildSignal, fork, keep_children};
    use crate::wire::{FORK_REQUEST, FromWorker, LeashMessage};
    use crate::{Job, Session, guard, stdio};
    use rustix::event::{Timespec, epoll, poll};
    use rustix::io::Errno;
    use rustix::net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
        SendFlags, SocketType, recvmsg, send, sendmsg, sockopt,
    };
    use rustix::process::{
        Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, getpid, kill_process, kill_process_group, pidfd_open, setpgid,
        waitid,
    };
    use std::collections::BTreeMap;
    use std::fs;
    use std::io::{self, IoSlice, IoSliceMut};
    use std::mem::MaybeUninit;
    use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
    use std::os::unix::fs::MetadataExt;

    /// Whether the pool wants this process to be a fork server.
    pub(crate) fn is_asked() -> bool {
        sockopt::socket_type(io::stdin()) == Ok(SocketType::SEQPACKET)
    }

    /// How long a thread that has ended may still be listed, in milliseconds.
    const LISTED: u32 = 100;

    /// How many threads are named.
    const NAMED: usize = 8;

    /// Forks workers until the pool is gone. Returns in each worker, with its session.
    pub(crate) fn serve<J: Job>(session: Session<J>) -> Result<Session<J>, Stop> {
        let control = session.link.input.as_fd();
        let started = guard::end().map_err(|error| error.to_string()).and_then(|()| alone()).and_then(|()| {
            let cannot = |error| format!("a fork server cannot wait for its workers: {error}");
            Ok((Children::new(control).map_err(cannot)?, keep_children().map_err(cannot)?))
        });
        let (mut children, signal) = match started {
            Ok(started) => started,
            Err(why) => return Err(report(&session, why)),
        };
        // It takes no job itself, and has no guard any more.
        session.link.send(&FromWorker::Ready).map_err(|ended| Stop::Unconnected(ended.into()))?;
        loop {
            match children.wait().map_err(|error| report(&session, format!("cannot wait for its workers: {error}")))? {
                Some(Happened::Asked) => match receive(&session.link.input) {
                    Ok(Packet::Request(request)) => {
                        if let Some(ends) = fork_one(&mut children, request) {
                            // The leashes of others are closed with them.
                            drop(children);
                            return become_worker(session, ends, signal);
                        }
                    }
                    // Whoever asked sees that the leash is closed.
                    Ok(Packet::Cut) => {}
                    Ok(Packet::End) => session.link.orphaned(),
                    Err(error) => return Err(report(&session, format!("a request cannot be received: {error}"))),
                },
                Some(Happened::Ended(key)) => children.ended(key),
                Some(Happened::Released(key)) => children.released(key),
                None => {}
            }
        }
    }

    fn report<J: Job>(session: &Session<J>, why: String) -> Stop {
        session.link.send_terminal(why.clone(), None, None);
        Stop::Reported(why)
    }

    // ------------------------------------------------------------ requests

    enum Packet {
        Request(Request),
        /// Its descriptors did not all find room.
        Cut,
        End,
    }

    /// What a worker is made of.
    struct Request {
        stdin: OwnedFd,
        stdout: OwnedFd,
        stderr: OwnedFd,
        leash: OwnedFd,
    }

    fn receive(control: &OwnedFd) -> io::Result<Packet> {
        let mut kind = [0u8; 16];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let mut into = [IoSliceMut::new(&mut kind)];
            match recvmsg(control, &mut into, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
                Err(Errno::INTR) => {}
                other => break other?,
            }
        };
        // Those that did arrive are closed where they are not all.
        let mut descriptors = Vec::with_capacity(4);
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        if received.bytes == 0 {
            return Ok(Packet::End);
        }
        let is_whole = kind[..received.bytes] == FORK_REQUEST && !received.flags.contains(ReturnFlags::CTRUNC);
        match <[OwnedFd; 4]>::try_from(descriptors) {
            Ok([stdin, stdout, stderr, leash]) if is_whole => {
                Ok(Packet::Request(Request { stdin, stdout, stderr, leash }))
            }
            _ => Ok(Packet::Cut),
        }
    }

    /// Forks a worker. Gives the worker its ends; in the fork server, nothing.
    fn fork_one(children: &mut Children, request: Request) -> Option<Request> {
        if let Err(why) = alone() {
            refuse(&request.leash, &why);
            return None;
        }
        match fork() {
            Ok(None) => Some(request),
            Ok(Some(pid)) => {
                // The child does the same: whoever comes first.
                let _ = setpgid(Some(pid), Some(pid));
                // The child's ends of its pipes are the child's alone from here on.
                let Request { leash, .. } = request;
                children.insert(pid, leash);
                None
            }
            Err(error) => {
                let hint = match error.kind() {
                    io::ErrorKind::WouldBlock => " (no more processes may be started now)",
                    io::ErrorKind::OutOfMemory => " (a fork needs as much memory as the fork server may write to)",
                    _ => "",
                };
                refuse(&request.leash, &format!("could not be forked: {error}{hint}"));
                None
            }
        }
    }

    fn refuse(leash: &OwnedFd, why: &str) {
        // If the pool is gone there is nobody to tell.
        let _ = send(leash, &LeashMessage::Failed(why.to_owned()).encode(), SendFlags::NOSIGNAL);
    }

    /// The child: from here on it is a worker like any other.
    fn become_worker<J: Job>(session: Session<J>, ends: Request, signal: ChildSignal) -> Result<Session<J>, Stop> {
        let Request { stdin, stdout, stderr, leash } = ends;
        drop(leash);
        signal.restore();
        let _ = setpgid(None, None);
        stdio::print_to(&stderr).map_err(|error| Stop::Unconnected(error.into()))?;
        drop(stderr);
        session.forked(stdin, stdout).map_err(Stop::Unconnected)
    }

    // ------------------------------------------------------------ threads

    /// Makes sure that this process has one thread: others would not be there in the child, with whatever they hold locked.
    fn alone() -> Result<(), String> {
        let mut others = Vec::new();
        for _ in 0..LISTED {
            // One link for each thread, and two that any directory has.
            if fs::metadata("/proc/self/task").is_ok_and(|task| task.nlink() == 3) {
                return Ok(());
            }
            others = other_threads().map_err(|error| format!("a fork server cannot see its own threads: {error}"))?;
            if others.is_empty() {
                return Ok(());
            }
            // It may have ended, and not be gone: it has been joined, but nothing says when it is listed no more.
            let _ = poll(&mut [], Some(&Timespec { tv_sec: 0, tv_nsec: 1_000_000 }));
        }
        let count = others.len() + 1;
        let mut names = others.iter().take(NAMED).map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
        if others.len() > NAMED {
            names += &format!(" and {} more", others.len() - NAMED);
        }
        Err(format!(
            "has {count} threads, of which a fork copies only one: end {names} before the worker serves, start threads in \
             Worker::after_fork, or use StartMethod::Exec"
        ))
    }

    /// The names of all threads but this one.
    fn other_threads() -> io::Result<Vec<String>> {
        let own = getpid().as_raw_nonzero().to_string();
        let mut names = Vec::new();
        for task in fs::read_dir("/proc/self/task")? {
            let task = task?;
            // This process has forked nobody but from its first thread.
            if task.file_name().to_str() != Some(&own)
                && let Ok(name) = fs::read_to_string(task.path().join("comm"))
            {
                names.push(name.trim_end().to_owned());
            }
        }
        Ok(names)
    }

    // ------------------------------------------------------------ children

    /// What has happened.
    enum Happened {
        Asked,
        Ended(u64),
        Released(u64),
    }

    struct Child {
        pid: Pid,
        exit: OwnedFd,
        leash: OwnedFd,
        ended: bool,
        /// The pool has closed its end.
        is_released: bool,
    }

    /// The children that are not reaped.
    struct Children {
        epoll: OwnedFd,
        by_key: BTreeMap<u64, Child>,
        next_key: u64,
    }

    const CONTROL: u64 = u64::MAX;

    impl Children {
        fn new(control: BorrowedFd<'_>) -> io::Result<Self> {
            let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
            epoll::add(&epoll, control, epoll::EventData::new_u64(CONTROL), epoll::EventFlags::IN)?;
            Ok(Children { epoll, by_key: BTreeMap::new(), next_key: 0 })
        }

        /// Blocks until something happens. One at a time: what it leads to may make the next one void.
        fn wait(&self) -> io::Result<Option<Happened>> {
            let mut events = Vec::with_capacity(1);
            loop {
                match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), None) {
                    Err(Errno::INTR) => {}
                    other => {
                        other?;
                        break;
                    }
                };
            }
            Ok(events.first().map(|event: &epoll::Event| match { event.data }.u64() {
                CONTROL => Happened::Asked,
                data if data % 2 == 0 => Happened::Ended(data / 2),
                data => Happened::Released(data / 2),
            }))
        }

        /// Takes a child that was just forked, and says so to the pool.
        fn insert(&mut self, pid: Pid, leash: OwnedFd) {
            let key = self.next_key;
            self.next_key += 1;
            let exit = match self.watch(key, pid, &leash) {
                Ok(exit) => exit,
                Err(error) => {
                    refuse(&leash, &format!("was forked, but its exit cannot be watched: {error}"));
                    let _ = kill_process_group(pid, Signal::KILL);
                    let _ = kill_process(pid, Signal::KILL);
                    while let Err(Errno::INTR) = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED) {}
                    return;
                }
            };
            let words = LeashMessage::Forked(pid.as_raw_nonzero().get().unsigned_abs()).encode();
            let descriptors = [exit.as_fd()];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
            // Where the pool has closed its end meanwhile, that is what happens next.
            let _ = sendmsg(&leash, &[IoSlice::new(&words)], &mut ancillary, SendFlags::NOSIGNAL);
            self.by_key.insert(key, Child { pid, exit, leash, ended: false, is_released: false });
        }

        fn watch(&self, key: u64, pid: Pid, leash: &OwnedFd) -> io::Result<OwnedFd> {
            let exit = pidfd_open(pid, PidfdFlags::empty())?;
            epoll::add(&self.epoll, &exit, epoll::EventData::new_u64(2 * key), epoll::EventFlags::IN)?;
            // Only its hang-up, which is always told.
            epoll::add(&self.epoll, leash, epoll::EventData::new_u64(2 * key + 1), epoll::EventFlags::empty())?;
            Ok(exit)
        }

        /// A child has ended: so does its group, while its number is still its own, and the pool is told.
        fn ended(&mut self, key: u64) {
            let Some(child) = self.by_key.get_mut(&key) else { return };
            let _ = kill_process_group(child.pid, Signal::KILL);
            child.ended = true;
            if child.is_released {
                return self.reap(key);
            }
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
            let status = loop {
                match waitid(WaitId::Pid(child.pid), options) {
                    Err(Errno::INTR) => {}
                    other => break other.ok().flatten(),
                }
            };
            // None where something that main has left in this process has reaped it: a handler of another signal, say.
            let status = status.map(|status| {
                let code = |code: i32| (code & 0xff) << 8;
                let core = if status.dumped() { 0x80 } else { 0 };
                status.terminating_signal().map(|signal| signal | core).or(status.exit_status().map(code)).unwrap_or(0)
            });
            let _ = send(&child.leash, &LeashMessage::Ended(status).encode(), SendFlags::NOSIGNAL);
            // It stays readable for as long as the child is a zombie.
            let _ = epoll::delete(&self.epoll, &child.exit);
        }

        /// The pool needs the child no more.
        fn released(&mut self, key: u64) {
            let Some(child) = self.by_key.get_mut(&key) else { return };
            if child.ended {
                return self.reap(key);
            }
            child.is_released = true;
            let _ = epoll::delete(&self.epoll, &child.leash);
            let _ = kill_process_group(child.pid, Signal::KILL);
            let _ = kill_process(child.pid, Signal::KILL);
        }

        fn reap(&mut self, key: u64) {
            let Some(child) = self.by_key.remove(&key) else { return };
            while let Err(Errno::INTR) = waitid(WaitId::Pid(child.pid), WaitIdOptions::EXITED) {}
            // A descriptor that a child has inherited would be found for as long as that child has it.
            let _ = epoll::delete(&self.epoll, &child.exit);
            let _ = epoll::delete(&self.epoll, &child.leash);
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn threads_are_named() {
            let (hold, held) = std::sync::mpsc::channel::<()>();
            let thread = std::thread::Builder::new().name("a helper".into()).spawn(move || held.recv()).unwrap();
            let why = alone().unwrap_err();
            assert!(why.contains("\"a helper\"") && why.contains("StartMethod::Exec"), "{why}");
            drop(hold);
            let _ = thread.join();
        }
    }
}
