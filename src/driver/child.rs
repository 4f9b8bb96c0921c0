//! One worker process, as the driver keeps it.

use super::Driver;
use super::budget::Budget;
use super::outbox::{Flush, Outbox};
use super::poller::{LastWords, Watched};
use super::process::{Process, Reaped};
use super::reader::Output;
use super::spawner::Started;
use crate::supervisor::{Input, Seat, Undelivered};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// How much standard error may wait for those who listen to it.
const UNTOLD: usize = 1024 * 1024;

/// How much of the noise before a hello is quoted.
const NOISE_QUOTED: usize = 1024;

pub(super) struct Child {
    pub(super) seat: Seat,
    pub(super) pid: u32,
    pub(super) program: String,
    pub(super) process: Arc<dyn Process>,
    pub(super) outbox: Arc<Mutex<Outbox>>,
    /// The jobs that it was sent and has neither answered nor skipped, and where their frames end.
    pub(super) sent: VecDeque<Sent>,
    pub(super) output: Arc<Output>,
    pub(super) hearing: Option<Hearing>,
    pub(super) words: Arc<Mutex<LastWords>>,
    /// What it wrote before its hello.
    pub(super) noise: Vec<u8>,
    pub(super) reaped: Option<Reaped>,
    pub(super) errors_ended: bool,
    /// What it did wrong, or said last, in words.
    pub(super) reason: Option<String>,
    /// Whether it is killed because it can say nothing more.
    pub(super) closed_pipe: bool,
    pub(super) since: Duration,
    pub(super) budget: Arc<Budget>,
    reader: JoinHandle<()>,
}

/// Where a job's frame is in all that was written to a worker.
pub(super) struct Sent {
    pub(super) job: u64,
    pub(super) start: u64,
    pub(super) end: u64,
}

/// What the worker has written until now is to be reported before the machine decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hearing {
    /// Its limit is over. The number is that of the question to its reader.
    Limit(u64),
    /// It has been sent SIGSTOP, and may still run.
    Stopping,
    /// It is stopped.
    Stopped(u64),
}

impl Child {
    /// The first job that it has not read whole, now that it is dead.
    pub(super) fn undelivered(&self) -> Option<Undelivered> {
        let read = self.outbox.lock().read_by_worker();
        let sent = self.sent.iter().find(|sent| sent.end > read)?;
        Some(Undelivered { job: sent.job, in_part: sent.start < read })
    }

    /// The worker has said its last of this job.
    pub(super) fn no_longer_sent(&mut self, job: u64) {
        if let Some(at) = self.sent.iter().position(|sent| sent.job == job) {
            self.sent.remove(at);
        }
    }

    /// What it wrote to standard error last, or, where that is nothing, before its hello.
    pub(super) fn last_words(&self) -> String {
        let words = self.words.lock().to_text();
        if words.is_empty() { String::from_utf8_lossy(&self.noise).trim_end().to_owned() } else { words }
    }
}

impl Driver {
    pub(super) fn child(&mut self, seat: Seat) -> Option<&mut Child> {
        self.children.get_mut(seat.slot)?.as_mut().filter(|child| child.seat == seat)
    }

    /// Takes a new worker into the table, and has it watched.
    pub(super) fn adopt(&mut self, started: Started) {
        let seat = started.seat;
        let pipe = started.outbox.pipe();
        let child = Child {
            seat,
            pid: started.process.pid(),
            program: started.program,
            process: started.process,
            outbox: Arc::new(Mutex::new(started.outbox)),
            sent: VecDeque::new(),
            output: started.output,
            hearing: None,
            words: Arc::default(),
            noise: Vec::new(),
            reaped: None,
            errors_ended: false,
            reason: None,
            closed_pipe: false,
            since: self.now,
            budget: started.budget,
            reader: started.reader,
        };
        self.poller.watch(Watched {
            seat,
            process: Arc::clone(&child.process),
            errors: started.errors,
            words: Arc::clone(&child.words),
            budget: Budget::new(UNTOLD, Some(Box::new(self.poller.waker()))),
            outbox: Arc::clone(&child.outbox),
            pipe,
        });
        self.children[seat.slot] = Some(child);
        // What the pipe did not take of its greeting.
        self.mark_dirty(seat);
    }

    /// Lets go of a worker that is no more: its descriptors close as the last of the threads lets go of them.
    pub(super) fn bury(&mut self, child: Child) {
        if child.reaped.is_none() || !child.errors_ended {
            self.poller.forget(child.seat);
        }
        child.budget.close();
        self.readers.retain(|reader| !reader.is_finished());
        self.readers.push(child.reader);
    }

    pub(super) fn noise(&mut self, seat: Seat, noise: &[u8]) {
        let Some(child) = self.child(seat) else { return };
        let room = NOISE_QUOTED - child.noise.len();
        child.noise.extend_from_slice(&noise[..noise.len().min(room)]);
        let pid = child.pid;
        let quoted = String::from_utf8_lossy(&noise[..noise.len().min(NOISE_QUOTED)]).into_owned();
        self.log(log::Level::Warn, || format!("worker {pid} wrote {} bytes before its hello: {quoted:?}", noise.len()));
    }

    // ------------------------------------------------------------ hearing a worker out

    /// Asks for all that the worker has written until now; its limit is over.
    pub(super) fn hear(&mut self, seat: Seat) {
        self.questions += 1;
        let number = self.questions;
        if let Some(child) = self.child(seat) {
            child.hearing = Some(Hearing::Limit(number));
            child.output.ask(number);
            self.hearing.push(seat);
        }
    }

    /// The same once a worker that was sent SIGSTOP has stopped.
    pub(super) fn hear_when_stopped(&mut self, seat: Seat) {
        if let Some(child) = self.child(seat) {
            child.hearing = Some(Hearing::Stopping);
            self.hearing.push(seat);
        }
    }

    pub(super) fn hear_no_more(&mut self, seat: Seat) {
        if let Some(child) = self.child(seat) {
            child.hearing = None;
            child.budget.restore();
        }
    }

    /// Looks which of the workers that are to be heard out have been.
    pub(super) fn hear_all(&mut self) {
        for seat in std::mem::take(&mut self.hearing) {
            let number = self.questions + 1;
            let Some(child) = self.child(seat) else { continue };
            if child.hearing == Some(Hearing::Stopping) && child.process.is_stopped() {
                // It is stopped, so what lies in its pipe is little, and is read whether or not there is room.
                child.budget.lift();
                child.hearing = Some(Hearing::Stopped(number));
                child.output.ask(number);
                self.questions = number;
            }
            let Some(child) = self.child(seat) else { continue };
            let Some(hearing) = child.hearing else { continue };
            let drained = match hearing {
                Hearing::Limit(_) => child.output.is_drained(true),
                Hearing::Stopping => false,
                Hearing::Stopped(_) => child.output.is_drained(false),
            };
            if drained {
                // All has been reported: take it in before the machine decides.
                self.take_in(self.ears.second.len());
                self.heard_out(seat, hearing);
            } else {
                self.hearing.push(seat);
            }
        }
    }

    pub(super) fn drained(&mut self, seat: Seat, number: u64) {
        let Some(child) = self.child(seat) else { return };
        match child.hearing {
            Some(hearing @ (Hearing::Limit(asked) | Hearing::Stopped(asked))) if asked == number => {
                self.heard_out(seat, hearing);
            }
            _ => {}
        }
    }

    fn heard_out(&mut self, seat: Seat, hearing: Hearing) {
        let Some(child) = self.child(seat).filter(|child| child.hearing == Some(hearing)) else { return };
        child.hearing = None;
        match hearing {
            Hearing::Limit(_) => self.input(Input::Heard(seat)),
            Hearing::Stopping => {}
            Hearing::Stopped(_) => self.input(Input::Stopped(seat)),
        }
    }

    /// Whether it is to be looked soon whether a worker has stopped: nothing tells of that.
    pub(super) fn awaits_stop(&self) -> bool {
        let child = |seat: &Seat| self.children[seat.slot].as_ref().filter(|child| child.seat == *seat);
        self.hearing.iter().any(|seat| child(seat).is_some_and(|child| child.hearing == Some(Hearing::Stopping)))
    }

    /// Something is to be written to this worker at the end of the turn.
    pub(super) fn mark_dirty(&mut self, seat: Seat) {
        if !self.dirty.contains(&seat.slot) {
            self.dirty.push(seat.slot);
        }
    }

    /// Writes what the turn has put into the outboxes: one write a worker.
    pub(super) fn write_all(&mut self) {
        while let Some(slot) = self.dirty.pop() {
            let Some(child) = &self.children[slot] else { continue };
            let seat = child.seat;
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
                Flush::Full => self.poller.wait_for_room(seat),
                Flush::Broken => self.input(Input::InputBroken(seat)),
            }
        }
    }
}
