//! What the threads around the supervisor report to it.

use super::budget::Charge;
use super::process::Reaped;
use super::spawner::Started;
use crate::error::StartFailure;
use crate::supervisor::Seat;
use hirelings_worker_kit::wire::{Frame, FromWorker};

/// What happened outside, to the worker in a seat.
pub(crate) enum Report {
    /// From the spawner: a process is there.
    Spawned(Box<Started>),
    /// From the spawner: there will be none.
    SpawnFailed(Seat, StartFailure),
    /// From the reader: bytes before the hello.
    Noise(Seat, Vec<u8>),
    /// From the reader: its hello, with the flags.
    Greeted(Seat, u32),
    /// From the reader: a message.
    Said(Seat, Frame<FromWorker>, Charge),
    /// From the reader: bytes that are no message, and what is wrong with them.
    Garbled(Seat, String),
    /// From the reader: what was in the pipe when this was asked for has been reported.
    Drained(Seat, u64),
    /// From the reader: the end.
    OutputEnded(Seat),
    /// From the poller: whole lines of standard error.
    Stderr(Seat, Vec<u8>, Charge),
    /// From the poller: the end of standard error.
    ErrorsEnded(Seat),
    /// From the poller: a write failed.
    InputBroken(Seat),
    /// From the poller: the process is no more.
    Exited(Seat, Reaped),
}
