//! Starts fork servers, and asks them for workers.

use super::process::ForkedProcess;
use super::server::{Server, Waited, wait};
use super::servers::Servers;
use crate::clock;
use crate::error::StartFailure;
use crate::id::Slot;
use crate::launch::{Attendance, ForkServers, Identity, Launch, Launched, Launcher, no_pipe, not_started};
use crate::signals::Unblock;
use crate::transport::Transport;
use hirelings_worker_kit::wire::{FORK_REQUEST, LONGEST_LEASH_MESSAGE, LeashMessage};
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use std::collections::BTreeMap;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// Starts workers by fork servers: one for each command that differs from others.
pub(crate) struct ForkLauncher {
    commands: Launcher,
    attendance: Option<Attendance>,
    /// None where it could not be made.
    servers: Option<Arc<Servers>>,
    /// What each slot's last worker was forked from. A fork server that is no slot's any more ends with its workers.
    by_slot: BTreeMap<usize, Kept>,
    next_number: u64,
}

#[derive(Clone)]
struct Kept {
    identity: Option<Identity>,
    server: Arc<Server>,
}

impl ForkLauncher {
    pub(crate) fn new(commands: Launcher) -> Self {
        let servers = Servers::new().ok().map(Arc::new);
        ForkLauncher { commands, attendance: None, servers, by_slot: BTreeMap::new(), next_number: 1 }
    }
}

impl Launch for ForkLauncher {
    fn unblock(&mut self, unblock: Unblock) {
        self.commands.unblock(unblock);
    }

    fn attend(&mut self, attendance: Attendance) -> Option<Arc<dyn ForkServers>> {
        self.attendance = Some(attendance);
        self.servers.clone().map(|servers| servers as Arc<dyn ForkServers>)
    }

    fn prepare(&mut self, slot: Slot) {
        self.commands.prepare(slot);
    }

    fn launch(&mut self, slot: Slot) -> Result<Launched, StartFailure> {
        let program = self.commands.program();
        let (Some(servers), Some(attendance)) = (&self.servers, &self.attendance) else {
            return Err(not_started(&program, "was not started: the pool has no pipe left for its fork server"));
        };
        if servers.is_closed() {
            return Err(not_started(&program, "was not started: the pool has ended"));
        }
        let identity = self.commands.identity();
        // One that has ended since is found out by the request; then it has forked nobody, and another is started.
        for _ in 0..2 {
            let same = |kept: &&Kept| kept.identity == identity && !kept.server.has_ended();
            let kept = match self.by_slot.values().find(same) {
                Some(kept) => kept.clone(),
                None => {
                    let number = self.next_number;
                    self.next_number += 1;
                    let server =
                        Server::start(number, &mut self.commands, attendance, servers.closed(), |server, minder| {
                            servers.add(server, minder);
                        })?;
                    Kept { identity: identity.clone(), server }
                }
            };
            self.by_slot.insert(slot.index(), kept.clone());
            match fork(&kept.server, self.commands.transport(), attendance, servers) {
                Forked::Worker(launched) => return Ok(launched),
                Forked::Failed(failure) => return Err(failure),
                // Every slot that has it is given another.
                Forked::Gone => self.by_slot.retain(|_, other| !Arc::ptr_eq(&other.server, &kept.server)),
            }
        }
        Err(not_started(&program, "is a fork server that ends as soon as it is ready"))
    }
}

enum Forked {
    Worker(Launched),
    Failed(StartFailure),
    /// The fork server had ended before it was asked.
    Gone,
}

/// Asks for one worker.
fn fork(server: &Arc<Server>, transport: Transport, attendance: &Attendance, servers: &Servers) -> Forked {
    let failed = |reason: String| Forked::Failed(not_started(server.program(), reason));
    let no_pipe = |error: std::io::Error| Forked::Failed(no_pipe(server.program(), &error));
    let pairs = (transport.pair(), transport.pair(), Transport::Pipes.pair());
    let ((their_stdin, stdin), (stdout, their_stdout), (stderr, their_stderr)) = match pairs {
        (Ok(stdin), Ok(stdout), Ok(stderr)) => (stdin, stdout, stderr),
        (Err(error), ..) | (_, Err(error), _) | (.., Err(error)) => return no_pipe(error),
    };
    let pair = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
    let (leash, their_leash) = match pair {
        Ok(pair) => pair,
        Err(errno) => return no_pipe(errno.into()),
    };
    let deadline = attendance.limit.and_then(|limit| clock::now().checked_add(limit));
    let unanswered = || {
        let limit = attendance.limit.unwrap_or_default();
        server.end_for(&format!("did not answer for more than {limit:?} and was killed"));
        Forked::Failed(server.lost("it answered"))
    };

    let theirs = [&their_stdin, &their_stdout, &their_stderr, &their_leash].map(AsFd::as_fd);
    loop {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        ancillary.push(SendAncillaryMessage::ScmRights(&theirs));
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match sendmsg(server.control(), &[IoSlice::new(&FORK_REQUEST)], &mut ancillary, flags) {
            Ok(_) => break,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => match wait(server.control(), PollFlags::OUT, deadline, servers.closed()) {
                Waited::Ready => {}
                Waited::Closed => return failed("was not forked: the pool has ended".into()),
                Waited::TimedOut => return unanswered(),
            },
            Err(Errno::PIPE | Errno::CONNRESET) => return Forked::Gone,
            Err(errno) => return failed(format!("could not be asked for: {errno}")),
        }
    }
    drop((their_stdin, their_stdout, their_stderr, their_leash));
    match wait(&leash, PollFlags::IN, deadline, servers.closed()) {
        Waited::Ready => {}
        // The leash is closed, and the fork server ends what it forks.
        Waited::Closed => return failed("was not forked: the pool has ended".into()),
        Waited::TimedOut => return unanswered(),
    }
    match answer(&leash) {
        Some((LeashMessage::Forked(pid), Some(exit))) => Forked::Worker(Launched {
            program: server.program().to_owned(),
            process: Arc::new(ForkedProcess::new(pid, exit, leash, Arc::clone(server))),
            stdin,
            stdout,
            stderr,
            fork_server: Some(server.number()),
        }),
        Some((LeashMessage::Failed(reason), _)) => failed(reason),
        Some(_) => failed("was forked, but the pool has no descriptor left for its process".into()),
        None => {
            // Where it lives, the request's descriptors found no room.
            let failure = server.lost("it had forked a worker");
            if server.has_ended() {
                return Forked::Failed(failure);
            }
            failed(
                "was not forked: the fork server has no room for its descriptors (has it too many files open?)".into(),
            )
        }
    }
}

/// What the fork server has answered. None where it has closed the leash.
fn answer(leash: &OwnedFd) -> Option<(LeashMessage, Option<OwnedFd>)> {
    let mut packet = [0u8; LONGEST_LEASH_MESSAGE];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut into = [IoSliceMut::new(&mut packet)];
        match recvmsg(leash, &mut into, &mut ancillary, RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT) {
            Err(Errno::INTR) => {}
            other => break other.ok()?,
        }
    };
    let whole = !received.flags.contains(ReturnFlags::CTRUNC);
    let mut exit = None;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(mut rights) = message {
            exit = rights.next().filter(|_| whole);
        }
    }
    Some((LeashMessage::decode(&packet[..received.bytes])?, exit))
}
