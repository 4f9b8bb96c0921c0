//! Carries out what the machine asks for.

use super::Driver;
use crate::supervisor::{Action, Input, JobKey, Signal, WorkerKey};
use hirelings_worker_kit::wire::ToWorker;
use std::time::Duration;

/// How much may lie before a worker's answer to a recall: what its pipe holds, up to 1 MiB, and what is under way from a
/// far one, which is 2 MiB over OpenSSH (the window of a channel). One frame more is always read.
const BEFORE_AN_ANSWER: usize = 4 * 1024 * 1024;

impl Driver {
    /// Carries out an action. Gives its answer, where that is known at once.
    pub(super) fn carry_out(&mut self, action: &Action) -> Option<Input> {
        match *action {
            Action::Spawn(worker_key) => self.spawner.spawn(worker_key),
            Action::SendJob { worker_key, key, attempt, limit } => self.send_job(worker_key, key, attempt, limit),
            Action::SendSkip { worker_key, id } => self.send_skip(worker_key, id),
            Action::SendCancel { worker_key, id, within } => self.send_cancel(worker_key, id, within),
            Action::SendHeartbeat { worker_key, silence } => {
                self.workers.send(worker_key, &ToWorker::Heartbeat { silence_ms: millis(silence) });
            }
            Action::SendLeave(worker_key) => {
                self.figures.told_to_leave(worker_key);
                self.workers.send(worker_key, &ToWorker::Leave);
                self.log(log::Level::Debug, || format!("{} has done its jobs and leaves", self.named(worker_key)));
            }
            Action::Drain(worker_key) => self.workers.drain(worker_key),
            Action::Signal(worker_key, signal) => self.signal(worker_key, signal),
            Action::GiveUpStatus(worker_key) => {
                if let Some(child) = self.workers.get(worker_key) {
                    child.process.give_up_status();
                }
            }
            Action::Measure(worker_key) => {
                return self.resident(worker_key).map(|bytes| Input::Resident { worker_key, bytes });
            }
            Action::Release(worker_key) => self.workers.remove(worker_key),
        }
        None
    }

    fn send_job(&mut self, worker_key: WorkerKey, key: JobKey, attempt: u32, limit: Option<Duration>) {
        let Some(payload) = self.tickets.record(key).map(|record| record.payload()) else { return };
        if let Some(child) = self.workers.get_mut(worker_key) {
            let job = key.id;
            let message = match limit {
                // A worker of version 1 does not know this message.
                Some(limit) if child.version >= 2 => ToWorker::TimedJob { job, attempt, limit_ms: millis(limit) },
                _ => ToWorker::Job { job, attempt },
            };
            let frame = child.outbox.lock().push(&message, &payload);
            child.sends(key.id, frame);
            self.workers.mark_dirty(worker_key);
        }
    }

    fn send_skip(&mut self, worker_key: WorkerKey, job: u64) {
        self.workers.send(worker_key, &ToWorker::Skip { job });
        if let Some(child) = self.workers.get(worker_key) {
            child.budget.lend(BEFORE_AN_ANSWER);
        }
    }

    fn send_cancel(&mut self, worker_key: WorkerKey, job: u64, within: Option<Duration>) {
        // A worker of version 1 does not know this message: its job has just the grace time.
        if self.workers.get(worker_key).is_some_and(|child| child.version >= 2) {
            self.workers.send(worker_key, &ToWorker::Cancel { job, within_ms: within.map_or(u64::MAX, millis) });
            self.log(log::Level::Debug, || {
                format!("{} is asked to come to an end with job {job}", self.named(worker_key))
            });
        }
    }

    fn signal(&mut self, worker_key: WorkerKey, signal: Signal) {
        let Some(child) = self.workers.get_mut(worker_key) else { return };
        child.process.signal(signal);
        match signal {
            Signal::Stop => self.workers.drain_when_stopped(worker_key),
            Signal::Continue => self.workers.stop_draining(worker_key),
            Signal::Terminate | Signal::Kill => {}
        }
        self.log(log::Level::Debug, || format!("{} is sent {signal:?}", self.named(worker_key)));
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
