//! What came with an input and is not the machine's.

use super::callers::NewJob;
use crate::budget::Charge;
use crate::error::StartFailure;
use hirelings_worker_kit::wire::{FromWorker, Payload};
use std::mem;

/// What came with an input and is not the machine's: whoever carries out its effects takes it from here.
pub(super) enum Context {
    Nothing,
    /// A message from a worker. The payload is empty and the charge is none once they are taken.
    Message {
        message: FromWorker,
        payload: Payload,
        charge: Option<Charge>,
    },
    /// A new job, until it is admitted or refused.
    Job(NewJob),
    /// Why a process could not be started.
    SpawnFailure(StartFailure),
}

impl Context {
    pub(super) fn take_job(&mut self, id: u64) -> Option<NewJob> {
        match mem::replace(self, Context::Nothing) {
            Context::Job(job) if job.ticket.record().id == id => Some(job),
            other => {
                *self = other;
                None
            }
        }
    }

    /// The payload of an answer.
    pub(super) fn take_payload(&mut self) -> Payload {
        match self {
            Context::Message { payload, .. } => mem::take(payload),
            _ => unreachable!("an answer comes with its message"),
        }
    }

    /// The payload of a progress message and its charge, once.
    pub(super) fn take_progress(&mut self) -> Option<(Payload, Charge)> {
        match self {
            Context::Message { payload, charge, .. } => Some((mem::take(payload), charge.take()?)),
            _ => unreachable!("progress comes with its message"),
        }
    }

    pub(super) fn take_spawn_failure(&mut self) -> StartFailure {
        match mem::replace(self, Context::Nothing) {
            Context::SpawnFailure(failure) => failure,
            _ => unreachable!("a failed spawn comes with its failure"),
        }
    }
}
