//! What callers ask of the supervisor's thread.

use super::Driver;
use super::callers::{Admission, NewJob};
use super::context::Context;
use super::waiter::Waiter;
use crate::error::{ReadyError, StartFailure};
use crate::record::{JobRecord, Ticket};
use crate::stats::{KeyStats, Stats, WorkerInfo};
use crate::supervisor::{Input, JobSettings, Submitted, WhenFull};
use crossbeam_channel::Sender;
use std::sync::Arc;
use std::time::Duration;

/// A caller's command. What is asked is answered through its channel; a channel that is dropped says that the pool has
/// ended.
pub(crate) enum Command {
    Enqueue(Ticket, JobSettings),
    /// The same where the backlog is limited. Boxed: a burst of jobs waits as commands, whose size is that of the largest.
    Submit(Box<PendingSubmit>, WhenFull),
    Abort(Arc<JobRecord>),
    /// Ask the job to come to its end within so much time; answered once that is under way.
    Cancel(Box<PendingCancel>),
    /// Abort what no worker has begun; says how many jobs that were, once it is known.
    AbortQueued(Box<PendingAbort>),
    SpawnWorkers,
    SetMaxProcesses(usize),
    Recycle,
    Pause,
    Resume,
    IsPaused(Sender<bool>),
    WaitReady(Waiter<Result<(), ReadyError>>),
    /// The last start failure, for a wait that was too long.
    Trouble(Sender<Option<StartFailure>>),
    WaitIdle(Waiter<()>),
    /// The figures, and those of each key, of which there may be many: whoever asks puts them in their place.
    Stats(Sender<(Stats, KeyFigures)>),
    Workers(Sender<Vec<WorkerInfo>>),
    /// Take no new jobs; says how many are not settled.
    Close(Sender<u64>),
    /// End everything.
    Exit,
}

/// The figures of each key, in no order.
pub(crate) type KeyFigures = Vec<(Arc<str>, KeyStats)>;

/// A job whose caller waits to hear whether it was admitted.
pub(crate) struct PendingSubmit {
    pub(crate) ticket: Ticket,
    pub(crate) settings: JobSettings,
    pub(crate) reply: Sender<Admission>,
}

/// A job that is to come to its end within the grace time, and who waits to hear that this is under way.
pub(crate) struct PendingCancel {
    pub(crate) record: Arc<JobRecord>,
    pub(crate) grace: Duration,
    pub(crate) reply: Sender<()>,
}

/// One job, or all, that are to be aborted if no worker has begun them, and who waits to hear how many were.
pub(crate) struct PendingAbort {
    pub(crate) only: Option<Arc<JobRecord>>,
    pub(crate) reply: Sender<usize>,
}

impl Driver {
    pub(super) fn command(&mut self, command: Command) {
        // Whoever asked may have gone: then the reply goes nowhere.
        match command {
            Command::Enqueue(ticket, settings) => {
                self.enqueue(NewJob { ticket, reply: None }, settings, WhenFull::Exceed);
            }
            Command::Submit(submit, when_full) => {
                let PendingSubmit { ticket, settings, reply } = *submit;
                self.enqueue(NewJob { ticket, reply: Some(reply) }, settings, when_full);
            }
            Command::Abort(record) => {
                // One without a key has been refused, and is settled.
                if let Some(key) = record.key() {
                    self.input(Input::Abort(key));
                }
            }
            Command::Cancel(cancel) => {
                let PendingCancel { record, grace, reply } = *cancel;
                if let Some(key) = record.key() {
                    self.input(Input::Cancel { key, grace });
                }
                let _ = reply.send(());
            }
            Command::AbortQueued(abort) => self.abort_queued(*abort),
            Command::SpawnWorkers => self.input(Input::SpawnWorkers),
            Command::SetMaxProcesses(most) => {
                self.workers.grow(most);
                self.input(Input::SetMaxProcesses(most));
            }
            Command::Recycle => self.input(Input::Recycle),
            Command::Pause => self.input(Input::Pause),
            Command::Resume => self.input(Input::Resume),
            Command::IsPaused(reply) => drop(reply.send(self.machine.is_paused())),
            Command::WaitReady(waiter) => {
                if self.machine.is_open() {
                    self.callers.wait_until_ready(waiter);
                    self.input(Input::SpawnWorkers);
                } else {
                    waiter.answer(Err(self.start_failures.not_ready("the pool takes no jobs any more")));
                }
            }
            Command::Trouble(reply) => drop(reply.send(self.start_failures.last().cloned())),
            Command::WaitIdle(waiter) => self.callers.wait_until_idle(waiter),
            Command::Stats(reply) => drop(reply.send((self.stats(), self.key_stats()))),
            Command::Workers(reply) => drop(reply.send(self.worker_infos())),
            Command::Close(reply) => {
                let unsettled = self.machine.unsettled() as u64;
                self.input(Input::Close);
                let _ = reply.send(unsettled);
            }
            Command::Exit => {
                // Only the first counts.
                let _ = self.settings.given_up.set(self.machine.unsettled() as u64);
                self.figures.pool_ends();
                self.input(Input::Exit);
                self.spawner.close();
                // What the spawner waits for there does not come.
                self.forks.close();
                // Those that were started before that are known from here on, so that they are ended.
                self.take_in_reports(self.inbox.reports.len());
                for worker_key in self.spawner.given_up() {
                    self.input(Input::SpawnFailed(worker_key));
                }
            }
        }
    }

    /// Brings the machine a job. One that is neither admitted nor refused at once has a caller that waits for room.
    fn enqueue(&mut self, job: NewJob, mut settings: JobSettings, when_full: WhenFull) {
        let record = job.ticket.record();
        let id = record.id;
        settings.number_key(|text| self.keys.number(text));
        let submitted = Submitted::new(id, record.payload_len(), settings);
        let mut context = Context::Job(job);
        self.input_with(Input::Enqueue { job: submitted, when_full }, &mut context);
        if let Some(job) = context.take_job(id) {
            self.callers.wait_for_room(job);
        }
    }

    fn abort_queued(&mut self, PendingAbort { only, reply }: PendingAbort) {
        let key = only.as_ref().map(|record| record.key());
        if key == Some(None) {
            // It has been refused, and is settled.
            let _ = reply.send(0);
            return;
        }
        let call = self.callers.wait_for_abort(reply);
        self.input(Input::AbortQueued { call, only: key.flatten() });
    }
}
