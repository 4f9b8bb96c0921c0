//! One worker process, as the driver keeps it.

use super::Driver;
use super::budget::Budget;
use super::outbox::{Flush, Outbox};
use super::poller::{LastWords, Watched};
use super::process::{Process, Reaped};
use super::spawner::Started;
use crate::supervisor::{Input, Seat};
use parking_lot::Mutex;
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

impl Child {
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
