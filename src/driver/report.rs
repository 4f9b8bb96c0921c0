//! What the threads around the supervisor report to it.

use super::outbox::Outbox;
use super::output::Output;
use crate::budget::{Budget, Charge};
use crate::error::StartFailure;
use crate::launch::News;
use crate::process::{Process, Reaped};
use crate::supervisor::WorkerKey;
use hirelings_worker_kit::wire::{Frame, FromWorker};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// What happened to a worker, from the thread that has seen it.
pub(crate) enum Report {
    /// From the spawner: a process is there.
    Spawned(Box<Started>),
    /// From the spawner: there will be none.
    SpawnFailed(WorkerKey, StartFailure),
    /// From the reader: bytes before the hello.
    Preamble(WorkerKey, Vec<u8>),
    /// From the reader: its hello, with the flags and the version of the protocol that holds.
    Hello(WorkerKey, u32, u16),
    /// From the reader of a far worker: something has come.
    Heard(WorkerKey),
    /// From the reader: a message.
    Message(WorkerKey, Frame<FromWorker>, Charge),
    /// From the reader: bytes that are no message, and what is wrong with them.
    Malformed(WorkerKey, String),
    /// From the reader: what was in the pipe when this was asked for has been reported.
    Drained(WorkerKey, u64),
    /// From the reader: the end.
    StdoutClosed(WorkerKey),
    /// From the poller: whole lines of standard error.
    Stderr(WorkerKey, Vec<u8>, Charge),
    /// From the poller: the end of standard error.
    StderrClosed(WorkerKey),
    /// From the poller: a write failed.
    StdinBroken(WorkerKey),
    /// From the poller or the reader: the process has ended, and its fork server has not said how.
    Ended(WorkerKey),
    /// From the poller: the process is no more.
    Exited(WorkerKey, Reaped),
    /// From a fork server's minder.
    ForkServer(News),
}

/// A worker for the supervisor's table.
pub(crate) struct Started {
    pub(crate) worker_key: WorkerKey,
    pub(crate) program: String,
    pub(crate) process: Arc<dyn Process>,
    pub(crate) outbox: Outbox,
    pub(crate) output: Arc<Output>,
    pub(crate) stderr: OwnedFd,
    pub(crate) budget: Arc<Budget>,
    pub(crate) reader: JoinHandle<()>,
    /// The fork server that has forked it.
    pub(crate) fork_server: Option<u64>,
    /// How long nothing may come from it; none: it is on this machine.
    pub(crate) silence: Option<Duration>,
}
