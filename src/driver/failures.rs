//! Builds the failures that jobs and starts end with, of all that is known of the worker.

use super::Driver;
use super::child::Child;
use super::context::Context;
use crate::error::{Crash, OutOfMemory, ProtocolError, StartFailure, Timeout, Who, Work, WorkerPanic, what_it_did};
use crate::exit_status::{ORPHANED, ended, ended_with};
use crate::failure::{Failure, Settled};
use crate::id::JobId;
use crate::process::Reaped;
use crate::record::JobRecord;
use crate::supervisor::{Begun, CrashCause, Outcome, WorkerKey};
use hirelings_worker_kit::wire::FromWorker;
use std::sync::Arc;

/// How often a job has been tried, and may be; and whether that had begun.
#[derive(Clone, Copy)]
pub(super) struct Tried {
    pub(super) attempt: u32,
    pub(super) attempts: u32,
    pub(super) begun: Begun,
}

impl Driver {
    /// The outcome, with all that is known here of how it came about.
    pub(super) fn outcome(
        &mut self,
        record: &Arc<JobRecord>,
        Tried { attempt, attempts, begun }: Tried,
        outcome: Outcome,
        worker_key: Option<WorkerKey>,
        context: &mut Context,
    ) -> Settled {
        let child = worker_key.and_then(|worker_key| self.workers.get(worker_key));
        let pid = child.map_or(0, |child| child.pid);
        let who = || {
            let work = Some(Work { job: JobId(record.id), label: record.label(), attempt, attempts, begun });
            let site = worker_key.and_then(|worker_key| self.site(worker_key.slot));
            Box::new(Who { pid, pool: Arc::clone(&self.settings.name), site, work })
        };
        let words = || child.map(|child| child.stderr_of(record.id)).unwrap_or_default();
        let failure = match outcome {
            Outcome::Success => return Ok(context.take_payload()),
            Outcome::Failed | Outcome::FinalFailure => Failure::Failed(context.take_payload()),
            Outcome::Undecodable | Outcome::Unencodable => {
                let Context::Message { message: FromWorker::Unusable { fault, message, .. }, .. } = context else {
                    unreachable!("an answer comes with its message");
                };
                Failure::Unusable { fault: *fault, message: message.clone(), who: who() }
            }
            Outcome::Panicked => {
                let Context::Message { message: FromWorker::Terminal { message, location, backtrace, .. }, .. } =
                    context
                else {
                    unreachable!("a terminal failure comes with its message");
                };
                let (message, location, backtrace) = (message.clone(), location.clone(), backtrace.clone());
                let (stderr, who) = (words(), who());
                Failure::Panicked(WorkerPanic { message, location, backtrace, pid, stderr, attempts: attempt, who })
            }
            Outcome::Crashed(cause) => {
                let reaped = child.and_then(|child| child.reaped);
                let status = reaped.and_then(|reaped| reaped.status);
                let orphaned = cause == CrashCause::Exited && reaped.is_some_and(|reaped| reaped.orphaned);
                let cause = if orphaned { CrashCause::Orphaned } else { cause };
                Failure::Crashed(Crash { pid, cause, status, stderr: words(), attempts: attempt, who: who() })
            }
            Outcome::TimedOut { state, limit } => {
                Failure::TimedOut(Timeout { state, limit, pid, stderr: words(), attempts: attempt, who: who() })
            }
            Outcome::OutOfMemory { bytes, limit } => {
                let (stderr, who) = (words(), who());
                Failure::OutOfMemory(OutOfMemory { resident: bytes, limit, pid, stderr, attempts: attempt, who })
            }
            Outcome::Protocol(violation) => {
                let reason = child.and_then(|child| child.reason.clone()).unwrap_or_else(|| violation.to_string());
                Failure::Protocol(ProtocolError { pid, reason: what_it_did(&reason), attempts: attempt, who: who() })
            }
            Outcome::Aborted => Failure::Aborted,
            Outcome::Closed => Failure::Closed,
            Outcome::Expired => Failure::Expired,
            Outcome::NoWorker => return Err(self.start_failures.no_worker(begun)),
        };
        Err(Arc::new(failure))
    }
}

/// Why a worker that is dead never got to work.
pub(super) fn start_failure_of(child: &Child, was_ready: bool) -> StartFailure {
    let status = child.reaped.and_then(|reaped| reaped.status);
    let stderr = child.stderr_or_preamble();
    let before = if was_ready { "before it began a job" } else { "before it was ready" };
    // One that the machine took for alive may have been at its end already: how it ended tells more.
    let reason = match &child.reason {
        Some(reason) => reason.clone(),
        None if child.closed_pipe => {
            format!("closed its pipe, so that it could say nothing more, and {}", how_it_ended(child.reaped))
        }
        None if child.reaped.is_some_and(|reaped| reaped.orphaned) => format!("{ORPHANED}, {before}"),
        None => format!("{} {before}", ended_with(status, &stderr)),
    };
    StartFailure { program: child.program.clone(), site: None, status, stderr, reason, attempts: 0, begun: Begun::No }
}

/// How a worker ended that the pool did not end, as far as is known.
pub(super) fn how_it_ended(reaped: Option<Reaped>) -> String {
    match reaped {
        Some(Reaped { orphaned: true, .. }) => ORPHANED.into(),
        other => ended(other.and_then(|reaped| reaped.status)),
    }
}
