//! One worker process in the driver's table.

use super::Driver;
use super::outbox::{Flush, Outbox};
use super::output::Output;
use super::poller::{StderrTail, Watched};
use super::report::Started;
use crate::budget::Budget;
use crate::process::{Process, Reaped};
use crate::supervisor::{Input, Undelivered, WorkerKey};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// How much standard error may wait for those who listen to it.
const STDERR_UNREAD: usize = 1024 * 1024;

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
    reader: JoinHandle<()>,
}

/// Which fork server has forked a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ForkedBy {
    pub(super) number: u64,
    pub(super) pid: u32,
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

impl Driver {
    pub(super) fn child(&mut self, worker_key: WorkerKey) -> Option<&mut Child> {
        self.children.get_mut(worker_key.slot)?.as_mut().filter(|child| child.worker_key == worker_key)
    }

    /// Takes a new worker into the table, and has it watched.
    pub(super) fn insert(&mut self, started: Started) {
        let worker_key = started.worker_key;
        let pipe = started.outbox.pipe();
        let child = Child {
            worker_key,
            pid: started.process.pid(),
            program: started.program,
            process: started.process,
            outbox: Arc::new(Mutex::new(started.outbox)),
            sent: VecDeque::new(),
            output: started.output,
            draining: None,
            stderr: StderrTail::new(started.stderr),
            preamble: Vec::new(),
            reaped: None,
            stderr_closed: false,
            reason: None,
            closed_pipe: false,
            since: self.now,
            version: 0,
            budget: started.budget,
            fork_server: started.fork_server.map(|number| self.forked_by(number)),
            reader: started.reader,
        };
        self.poller.watch(Watched {
            worker_key,
            process: Arc::clone(&child.process),
            stderr: Arc::clone(&child.stderr),
            budget: Budget::new(STDERR_UNREAD, Some(Box::new(self.poller.waker()))),
            outbox: Arc::clone(&child.outbox),
            pipe,
        });
        self.children[worker_key.slot] = Some(child);
        // The part of the handshake that the pipe did not take.
        self.mark_dirty(worker_key);
    }

    /// Lets go of a worker that is no more: its descriptors close as the last of the threads lets go of them.
    pub(super) fn remove(&mut self, child: Child) {
        if child.reaped.is_none() || !child.stderr_closed {
            self.poller.forget(child.worker_key);
        }
        child.budget.close();
        self.readers.retain(|reader| !reader.is_finished());
        self.readers.push(child.reader);
    }

    pub(super) fn preamble(&mut self, worker_key: WorkerKey, preamble: &[u8]) {
        let Some(child) = self.child(worker_key) else { return };
        let room = PREAMBLE_QUOTED - child.preamble.len();
        child.preamble.extend_from_slice(&preamble[..preamble.len().min(room)]);
        let quoted = String::from_utf8_lossy(&preamble[..preamble.len().min(PREAMBLE_QUOTED)]).into_owned();
        self.log(log::Level::Warn, || {
            format!("{} wrote {} bytes before its hello: {quoted:?}", self.named(worker_key), preamble.len())
        });
    }

    // ------------------------------------------------------------ draining a worker's output

    /// Asks for all that the worker has written until now; its limit is over.
    pub(super) fn drain(&mut self, worker_key: WorkerKey) {
        self.questions += 1;
        let number = self.questions;
        if let Some(child) = self.child(worker_key) {
            child.draining = Some(Draining::Limit(number));
            child.output.ask(number);
            self.draining.push(worker_key);
        }
    }

    /// The same once a worker that was sent SIGSTOP has stopped.
    pub(super) fn drain_when_stopped(&mut self, worker_key: WorkerKey) {
        if let Some(child) = self.child(worker_key) {
            child.draining = Some(Draining::Stopping);
            self.draining.push(worker_key);
        }
    }

    pub(super) fn stop_draining(&mut self, worker_key: WorkerKey) {
        if let Some(child) = self.child(worker_key) {
            child.draining = None;
            child.budget.restore();
        }
    }

    /// Looks of which draining workers all output has been read.
    pub(super) fn drain_all(&mut self) {
        for worker_key in std::mem::take(&mut self.draining) {
            let number = self.questions + 1;
            let Some(child) = self.child(worker_key) else { continue };
            if child.draining == Some(Draining::Stopping) && child.process.is_stopped() {
                // It is stopped, so what lies in its pipe is little, and is read whether or not there is room.
                child.budget.lift();
                child.draining = Some(Draining::Stopped(number));
                child.output.ask(number);
                self.questions = number;
            }
            let Some(child) = self.child(worker_key) else { continue };
            let Some(draining) = child.draining else { continue };
            let drained = match draining {
                Draining::Limit(_) => child.output.is_drained(true),
                Draining::Stopping => false,
                Draining::Stopped(_) => child.output.is_drained(false),
            };
            if drained {
                // All has been reported: take it in before the machine decides.
                self.take_in(self.inbox.reports.len());
                self.drain_done(worker_key, draining);
            } else {
                self.draining.push(worker_key);
            }
        }
    }

    pub(super) fn drained(&mut self, worker_key: WorkerKey, number: u64) {
        let Some(child) = self.child(worker_key) else { return };
        match child.draining {
            Some(draining @ (Draining::Limit(asked) | Draining::Stopped(asked))) if asked == number => {
                self.drain_done(worker_key, draining);
            }
            _ => {}
        }
    }

    fn drain_done(&mut self, worker_key: WorkerKey, draining: Draining) {
        let Some(child) = self.child(worker_key).filter(|child| child.draining == Some(draining)) else { return };
        child.draining = None;
        match draining {
            Draining::Limit(_) => self.input(Input::Drained(worker_key)),
            Draining::Stopping => {}
            Draining::Stopped(_) => self.input(Input::Stopped(worker_key)),
        }
    }

    /// Whether a worker is about to stop: nothing reports a stop, so the driver has to look again soon.
    pub(super) fn awaits_stop(&self) -> bool {
        let child = |worker_key: &WorkerKey| {
            self.children[worker_key.slot].as_ref().filter(|child| child.worker_key == *worker_key)
        };
        self.draining
            .iter()
            .any(|worker_key| child(worker_key).is_some_and(|child| child.draining == Some(Draining::Stopping)))
    }

    /// Marks the worker as one to be written to at the end of the iteration.
    pub(super) fn mark_dirty(&mut self, worker_key: WorkerKey) {
        if !self.dirty.contains(&worker_key.slot) {
            self.dirty.push(worker_key.slot);
        }
    }

    /// Writes what this iteration has put into the outboxes: one write for each worker.
    pub(super) fn write_all(&mut self) {
        while let Some(slot) = self.dirty.pop() {
            let Some(child) = &self.children[slot] else { continue };
            let worker_key = child.worker_key;
            let flush = {
                let mut outbox = child.outbox.lock();
                if outbox.waiting {
                    continue;
                }
                let flush = outbox.flush();
                outbox.waiting = flush == Flush::Full;
                flush
            };
            match flush {
                Flush::Done => {}
                Flush::Full => self.poller.wait_for_room(worker_key),
                Flush::Broken => self.input(Input::StdinBroken(worker_key)),
            }
        }
    }
}
