//! The workers of a pool, by slot: what is written to each, whose output is drained, and what remains of the dead.

use super::child::{Child, Draining, ForkedBy};
use super::outbox::Flush;
use super::poller::{Poller, Watched};
use super::report::Started;
use super::stderr::StderrTail;
use crate::budget::Budget;
use crate::supervisor::{Signal, WorkerKey};
use hirelings_worker_kit::wire::ToWorker;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// How much standard error may wait for those who listen to it.
const STDERR_UNREAD: usize = 1024 * 1024;

pub(super) struct Workers {
    by_slot: Vec<Option<Child>>,
    poller: Poller,
    poller_thread: JoinHandle<()>,
    /// Slots with something to write.
    dirty: Vec<usize>,
    /// Workers whose output is to be read before the machine decides about them, and how many questions were asked.
    draining: Vec<WorkerKey>,
    questions: u64,
    /// Readers of workers that are no more, to be joined.
    readers: Vec<JoinHandle<()>>,
}

impl Workers {
    pub(super) fn new(slots: usize, (poller, poller_thread): (Poller, JoinHandle<()>)) -> Self {
        Workers {
            by_slot: (0..slots).map(|_| None).collect(),
            poller,
            poller_thread,
            dirty: Vec::new(),
            draining: Vec::new(),
            questions: 0,
            readers: Vec::new(),
        }
    }

    // ------------------------------------------------------------ the table

    /// Makes room for more of them. The slots that there were stay: a worker may still be in them.
    pub(super) fn grow(&mut self, slots: usize) {
        if slots > self.by_slot.len() {
            self.by_slot.resize_with(slots, || None);
        }
    }

    pub(super) fn get(&self, worker_key: WorkerKey) -> Option<&Child> {
        self.by_slot.get(worker_key.slot)?.as_ref().filter(|child| child.worker_key == worker_key)
    }

    pub(super) fn get_mut(&mut self, worker_key: WorkerKey) -> Option<&mut Child> {
        self.by_slot.get_mut(worker_key.slot)?.as_mut().filter(|child| child.worker_key == worker_key)
    }

    /// The process id, 0 where it is not known.
    pub(super) fn pid(&self, worker_key: WorkerKey) -> u32 {
        self.get(worker_key).map_or(0, |child| child.pid)
    }

    /// Those that a fork server has forked.
    pub(super) fn forked_by(&self, number: u64) -> Vec<WorkerKey> {
        let is_its_own = |child: &&Child| child.fork_server.is_some_and(|of| of.number == number);
        self.by_slot.iter().flatten().filter(is_its_own).map(|child| child.worker_key).collect()
    }

    /// Takes a new worker into the table, and has it watched.
    pub(super) fn insert(&mut self, started: Started, now: Duration, fork_server: Option<ForkedBy>) {
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
            since: now,
            version: 0,
            budget: started.budget,
            fork_server,
            reader: started.reader,
        };
        self.poller.watch(Watched {
            worker_key,
            process: Arc::clone(&child.process),
            stderr: Arc::clone(&child.stderr),
            budget: Budget::new(STDERR_UNREAD, Some(Box::new(self.poller.waker()))),
            outbox: Arc::clone(&child.outbox),
            pipe,
            silence: started.silence,
        });
        self.by_slot[worker_key.slot] = Some(child);
        // The part of the handshake that the pipe did not take.
        self.mark_dirty(worker_key);
    }

    /// Takes out a worker that is no more: its descriptors close as the last of the threads drops them.
    pub(super) fn remove(&mut self, worker_key: WorkerKey) {
        if self.get(worker_key).is_some()
            && let Some(child) = self.by_slot[worker_key.slot].take()
        {
            self.retire(child);
        }
    }

    fn retire(&mut self, child: Child) {
        if child.reaped.is_none() || !child.stderr_closed {
            self.poller.forget(child.worker_key);
        }
        child.budget.close();
        self.readers.retain(|reader| !reader.is_finished());
        self.readers.push(child.reader);
    }

    // ------------------------------------------------------------ writing

    /// Puts a message without a payload into the worker's outbox.
    pub(super) fn send(&mut self, worker_key: WorkerKey, message: &ToWorker) {
        if let Some(child) = self.get_mut(worker_key) {
            child.outbox.lock().push(message, &Default::default());
            self.mark_dirty(worker_key);
        }
    }

    /// Marks the worker as one to be written to at the end of the iteration.
    pub(super) fn mark_dirty(&mut self, worker_key: WorkerKey) {
        if !self.dirty.contains(&worker_key.slot) {
            self.dirty.push(worker_key.slot);
        }
    }

    /// Writes what this iteration has put into the outboxes: one write for each worker. Stops at a worker that has closed its
    /// end, and gives that; nothing once all is written.
    pub(super) fn write_dirty(&mut self) -> Option<WorkerKey> {
        while let Some(slot) = self.dirty.pop() {
            let Some(child) = &self.by_slot[slot] else { continue };
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
                Flush::Broken => return Some(worker_key),
            }
        }
        None
    }

    // ------------------------------------------------------------ draining

    /// Asks for all that the worker has written until now; its limit is over.
    pub(super) fn drain(&mut self, worker_key: WorkerKey) {
        self.questions += 1;
        let number = self.questions;
        if let Some(child) = self.get_mut(worker_key) {
            child.draining = Some(Draining::Limit(number));
            child.output.ask(number);
            self.draining.push(worker_key);
        }
    }

    /// The same once a worker that was sent SIGSTOP has stopped.
    pub(super) fn drain_when_stopped(&mut self, worker_key: WorkerKey) {
        if let Some(child) = self.get_mut(worker_key) {
            child.draining = Some(Draining::Stopping);
            self.draining.push(worker_key);
        }
    }

    pub(super) fn stop_draining(&mut self, worker_key: WorkerKey) {
        if let Some(child) = self.get_mut(worker_key) {
            child.draining = None;
            child.budget.restore();
        }
    }

    /// Takes the list of those that are drained, each of which [`is_read`](Workers::is_read) is then asked about.
    pub(super) fn take_draining(&mut self) -> Vec<WorkerKey> {
        mem::take(&mut self.draining)
    }

    /// Looks whether all that the worker has written has been reported, and gives what it was drained for. One of which
    /// that is not known stays on the list.
    pub(super) fn is_read(&mut self, worker_key: WorkerKey) -> Option<Draining> {
        let number = self.questions + 1;
        let child = self.get_mut(worker_key)?;
        let is_stopped = child.draining == Some(Draining::Stopping) && child.process.is_stopped();
        if is_stopped {
            // What lies in its pipe is little, and is read whether or not there is room.
            child.budget.lift();
            child.draining = Some(Draining::Stopped(number));
            child.output.ask(number);
        }
        let draining = child.draining?;
        let is_read = match draining {
            Draining::Limit(_) => child.output.is_drained(true),
            Draining::Stopping => false,
            Draining::Stopped(_) => child.output.is_drained(false),
        };
        self.questions += u64::from(is_stopped);
        if !is_read {
            self.draining.push(worker_key);
        }
        is_read.then_some(draining)
    }

    /// Whether the worker has written what is not read, or not reported yet. It is not silent.
    pub(super) fn has_unread(&self, worker_key: WorkerKey) -> bool {
        self.get(worker_key).is_some_and(|child| child.output.has_unread())
    }

    /// What the worker is drained for, where that is the question with this number.
    pub(super) fn asked(&self, worker_key: WorkerKey, number: u64) -> Option<Draining> {
        match self.get(worker_key)?.draining {
            Some(draining @ (Draining::Limit(asked) | Draining::Stopped(asked))) if asked == number => Some(draining),
            _ => None,
        }
    }

    /// Whether the worker is still drained for this, which is over now.
    pub(super) fn end_draining(&mut self, worker_key: WorkerKey, draining: Draining) -> bool {
        match self.get_mut(worker_key) {
            Some(child) if child.draining == Some(draining) => {
                child.draining = None;
                true
            }
            _ => false,
        }
    }

    /// Whether a worker is about to stop: nothing reports a stop, so the driver has to look again soon.
    pub(super) fn awaits_stop(&self) -> bool {
        let is_stopping =
            |&worker_key| self.get(worker_key).is_some_and(|child| child.draining == Some(Draining::Stopping));
        self.draining.iter().any(is_stopping)
    }

    // ------------------------------------------------------------ the end

    /// Kills what there is of them.
    pub(super) fn kill_all(&mut self) {
        for slot in 0..self.by_slot.len() {
            if let Some(child) = self.by_slot[slot].take() {
                child.process.signal(Signal::Kill);
                self.retire(child);
            }
        }
    }

    /// Waits for the readers, and then for the poller.
    pub(super) fn join(self) {
        for reader in self.readers {
            let _ = reader.join();
        }
        drop(self.poller);
        let _ = self.poller_thread.join();
    }
}
