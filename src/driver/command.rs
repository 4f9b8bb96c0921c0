//! What callers ask of the supervisor's thread.

use super::{Context, Driver};
use crate::error::{ReadyError, StartFailure};
use crate::id::{JobId, Slot, WorkerId};
use crate::record::{JobRecord, Ticket};
use crate::stats::{KeyStats, SiteStats, Stats, WorkerInfo};
use crate::supervisor::{Input, JobSettings, WhenFull};
use crossbeam_channel::Sender;
use std::collections::BTreeMap;
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
    WaitReady(Sender<Result<(), ReadyError>>),
    /// The last start failure, for a wait that was too long.
    Trouble(Sender<Option<StartFailure>>),
    WaitIdle(Sender<()>),
    /// The figures, and those of each key, of which there may be many: whoever asks puts them in their place.
    Stats(Sender<(Stats, KeyFigures)>),
    Workers(Sender<Vec<WorkerInfo>>),
    /// Take no new jobs; says how many are not settled.
    Close(Sender<u64>),
    /// End everything; says how many jobs that left undone.
    Exit(Option<Sender<u64>>),
}

/// The figures of each key, in no order.
pub(crate) type KeyFigures = Vec<(Arc<str>, KeyStats)>;

/// Whether a job was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Accepted,
    Full,
    Closed,
}

/// A job whose caller waits to hear whether it was let in.
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

/// A job that the machine has not let in yet, and who waits to hear of it.
pub(super) struct NewJob {
    pub(super) ticket: Ticket,
    pub(super) reply: Option<Sender<Admission>>,
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
                // The slots that there were stay: a worker may still be in them.
                let slots = self.children.len().max(most);
                self.children.resize_with(slots, || None);
                self.input(Input::SetMaxProcesses(most));
            }
            Command::Recycle => self.input(Input::Recycle),
            Command::Pause => self.input(Input::Pause),
            Command::Resume => self.input(Input::Resume),
            Command::IsPaused(reply) => drop(reply.send(self.machine.is_paused())),
            Command::WaitReady(reply) => {
                if self.machine.is_open() {
                    self.ready_waiters.push(reply);
                    self.input(Input::SpawnWorkers);
                } else {
                    let _ = reply.send(Err(self.not_ready("the pool takes no jobs any more")));
                }
            }
            Command::Trouble(reply) => drop(reply.send(self.last_failure.as_deref().cloned())),
            Command::WaitIdle(reply) => self.idle_waiters.push(reply),
            Command::Stats(reply) => drop(reply.send((self.stats(), self.key_stats()))),
            Command::Workers(reply) => drop(reply.send(self.workers())),
            Command::Close(reply) => {
                let unsettled = self.machine.unsettled() as u64;
                self.input(Input::Close);
                let _ = reply.send(unsettled);
            }
            Command::Exit(reply) => {
                let unsettled = self.machine.unsettled() as u64;
                self.figures.pool_ends();
                self.input(Input::Exit);
                let stuck = self.spawner.close();
                if let Some(servers) = &self.servers {
                    // What the spawner waits for there does not come.
                    servers.close();
                }
                if stuck {
                    // No report will come for those.
                    for worker_key in std::mem::take(&mut self.spawning) {
                        self.input(Input::SpawnFailed(worker_key));
                    }
                }
                if let Some(reply) = reply {
                    let _ = reply.send(unsettled);
                }
            }
        }
    }

    /// Brings the machine a job. One that is neither let in nor refused at once has a caller that waits for room.
    fn enqueue(&mut self, job: NewJob, mut settings: JobSettings, when_full: WhenFull) {
        let id = job.ticket.record().id;
        settings.number_key(|text| self.keys.number(text));
        let mut context = Context::Job(job);
        self.input_with(Input::Enqueue { id, settings, when_full }, &mut context);
        if let Some(job) = context.take_job(id) {
            self.waiting.insert(id, job);
        }
    }

    fn abort_queued(&mut self, PendingAbort { only, reply }: PendingAbort) {
        let key = only.as_ref().map(|record| record.key());
        if key == Some(None) {
            // It has been refused, and is settled.
            let _ = reply.send(0);
            return;
        }
        self.abort_calls += 1;
        let call = self.abort_calls;
        self.abort_waiters.insert(call, reply);
        self.input(Input::AbortQueued { call, only: key.flatten() });
    }

    // ------------------------------------------------------------ answering

    /// Answers those who wait for what may have come about in this iteration.
    pub(super) fn release_waiters(&mut self) {
        if !self.idle_waiters.is_empty() && self.machine.is_idle() {
            for waiter in self.idle_waiters.drain(..) {
                let _ = waiter.send(());
            }
        }
        if self.ready_waiters.is_empty() {
            return;
        }
        let decision = if self.machine.all_ready() {
            Ok(())
        } else if !self.machine.is_open() {
            Err(self.not_ready("the pool was closed before its workers were ready"))
        } else if self.machine.is_circuit_open() {
            Err(self.not_ready("the workers do not start"))
        } else {
            return;
        };
        for waiter in self.ready_waiters.drain(..) {
            let _ = waiter.send(decision.clone());
        }
    }

    fn not_ready(&self, why: &str) -> ReadyError {
        ReadyError { message: why.into(), failure: self.last_failure.as_deref().cloned().map(Box::new) }
    }

    /// All of them but those of keys.
    pub(super) fn stats(&self) -> Stats {
        let counters = self.machine.counters();
        Stats {
            jobs: counters.succeeded + counters.failed,
            backlog: self.machine.backlog_len(),
            delayed: self.machine.delayed(),
            workers: self.machine.workers().count(),
            busy: self.machine.busy(),
            enqueued: counters.enqueued,
            succeeded: counters.succeeded,
            failed: counters.failed,
            aborted: counters.aborted,
            retried: counters.retried,
            timed_out: counters.timed_out,
            spawned: counters.spawned,
            exited: counters.exited,
            crashed: counters.crashed,
            fork_servers: self.fork_servers.len(),
            fork_servers_spawned: self.fork_servers_spawned,
            restarts: self.figures.restarts(),
            waiting: self.figures.waiting(),
            running: self.figures.running(),
            rate: self.figures.rate(self.now),
            keys: BTreeMap::new(),
            sites: self.sites(),
        }
    }

    fn key_stats(&self) -> KeyFigures {
        let keys = self.machine.keys().filter_map(|(key, permits, taken, queued)| {
            let of = KeyStats { limit: permits as usize, running: taken as usize, queued };
            Some((Arc::clone(self.keys.text(key)?), of))
        });
        keys.collect()
    }

    fn sites(&self) -> Vec<SiteStats> {
        let of = |(at, name): (usize, &Arc<str>)| {
            let at_site = |slot| self.machine.site_of(slot) == Some(at);
            let workers = || self.machine.workers().filter(|(worker_key, _)| at_site(worker_key.slot));
            SiteStats {
                name: Arc::clone(name),
                slots: self.machine.site_slots(at),
                is_down: self.machine.is_site_down(at),
                workers: workers().count(),
                busy: workers().filter(|(_, worker)| worker.is_busy()).count(),
            }
        };
        self.plan.sites.iter().enumerate().map(of).collect()
    }

    fn workers(&self) -> Vec<WorkerInfo> {
        let workers = self.machine.workers().filter_map(|(worker_key, worker)| {
            let child = self.children[worker_key.slot].as_ref().filter(|child| child.worker_key == worker_key)?;
            Some(WorkerInfo {
                id: WorkerId(worker_key.worker),
                slot: Slot(worker_key.slot),
                site: self.site(worker_key.slot),
                is_far: worker.is_far(),
                pid: child.pid,
                state: worker.state(),
                jobs_done: worker.jobs_done(),
                job: worker.job().map(JobId),
                age: self.now.saturating_sub(child.since),
                fork_server: child.fork_server.map(|of| of.pid),
                state_for: self.figures.state_for(self.now, worker_key),
                // Looked at by the caller's thread.
                resident: None,
            })
        });
        workers.collect()
    }
}
