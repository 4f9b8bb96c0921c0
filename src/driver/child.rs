//! One worker process in the driver's table.

use super::outbox::Outbox;
use super::output::Output;
use super::stderr::StderrTail;
use crate::budget::Budget;
use crate::process::{Process, Reaped};
use crate::supervisor::{Undelivered, WorkerKey};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// How much of the preamble, the bytes before a hello, is quoted.
const PREAMBLE_QUOTED: usize = 1024;

pub(super) struct Child {
    pub(super) worker_key: WorkerKey,
    pub(super) pid: u32,
    pub(super) program: String,
    pub(super) process: Arc<dyn Process>,
    pub(super) outbox: Arc<Mutex<Outbox>>,
    /// The jobs that it was sent and has neither answered nor skipped, and where their frames end.
    pub(super) sent: VecDeque<Sent>,
    pub(super) output: Arc<Output>,
    pub(super) draining: Option<Draining>,
    pub(super) stderr: Arc<StderrTail>,
    /// What it wrote before its hello.
    pub(super) preamble: Vec<u8>,
    pub(super) reaped: Option<Reaped>,
    pub(super) stderr_closed: bool,
    /// What it did wrong, or its terminal failure.
    pub(super) reason: Option<String>,
    /// Whether it is killed because it can say nothing more.
    pub(super) closed_pipe: bool,
    pub(super) since: Duration,
    /// The version of the protocol that holds with it; 0 until its hello is here.
    pub(super) version: u16,
    pub(super) budget: Arc<Budget>,
    /// The fork server that has forked it.
    pub(super) fork_server: Option<ForkedBy>,
    pub(super) reader: JoinHandle<()>,
}

/// Which fork server has forked a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ForkedBy {
    pub(super) number: u64,
    /// None where it had ended before the worker was known.
    pub(super) pid: Option<u32>,
}

/// A job that was sent.
pub(super) struct Sent {
    pub(super) job: u64,
    /// Where its frame is in all that was written to the worker.
    pub(super) frame: Range<u64>,
    /// How much the worker had written to standard error before: that is not quoted with this job.
    pub(super) stderr: u64,
}

/// What the worker has written until now is to be reported before the machine decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Draining {
    /// Its limit is over. The number is that of the question to its reader.
    Limit(u64),
    /// It has been sent SIGSTOP, and may still run.
    Stopping,
    /// It is stopped.
    Stopped(u64),
}

impl Child {
    /// The first job that it has not read whole, now that it is dead. What was written for a far one may be on its way, though
    /// what carries it is dead.
    pub(super) fn undelivered(&self, is_far: bool) -> Option<Undelivered> {
        let outbox = self.outbox.lock();
        let read = if is_far { outbox.written() } else { outbox.read_by_worker() };
        let sent = self.sent.iter().find(|sent| sent.frame.end > read)?;
        Some(Undelivered { job: sent.job, in_part: sent.frame.start < read })
    }

    /// How much memory it holds, in bytes: exactly where that is more than `limit`.
    pub(super) fn resident(&self, limit: u64) -> Option<u64> {
        self.process.resident(limit)
    }

    /// No more messages about this job are expected.
    pub(super) fn no_longer_sent(&mut self, job: u64) {
        if let Some(at) = self.sent.iter().position(|sent| sent.job == job) {
            self.sent.remove(at);
        }
    }

    /// A job is sent whose frame lies there.
    pub(super) fn sends(&mut self, job: u64, frame: Range<u64>) {
        // Behind others it is not worth a system call: a few lines of the job before may be taken for its own.
        let stderr = if self.sent.is_empty() { self.stderr.written() } else { self.stderr.read() };
        self.sent.push_back(Sent { job, frame, stderr });
    }

    /// Keeps what it wrote before its hello, as far as it is quoted, and gives what of it is quoted.
    pub(super) fn keep_preamble(&mut self, preamble: &[u8]) -> String {
        let room = PREAMBLE_QUOTED - self.preamble.len();
        self.preamble.extend_from_slice(&preamble[..preamble.len().min(room)]);
        String::from_utf8_lossy(&preamble[..preamble.len().min(PREAMBLE_QUOTED)]).into_owned()
    }

    /// What it wrote to standard error last, since this job was sent.
    pub(super) fn stderr_of(&self, job: u64) -> String {
        let sent = self.sent.iter().find(|sent| sent.job == job);
        self.stderr.text(sent.map_or(0, |sent| sent.stderr))
    }

    /// What it wrote to standard error last, or, where that is nothing, before its hello.
    pub(super) fn stderr_or_preamble(&self) -> String {
        let stderr = self.stderr.text(0);
        if stderr.is_empty() { String::from_utf8_lossy(&self.preamble).trim_end().to_owned() } else { stderr }
    }
}
