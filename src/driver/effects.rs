//! Carries out what the machine says, and tells it to whoever listens.

use super::{Driver, Incoming};
use crate::budget::Charge;
use crate::dispatcher::Notification;
use crate::error::{
    Crash, Mebibytes, OutOfMemory, ProtocolError, StartFailure, Timeout, Who, Work, WorkerPanic, what_it_did,
};
use crate::event::{EventFields, EventKind, More};
use crate::exit_status::{ended, ended_with};
use crate::failure::{Failure, Settled};
use crate::id::{JobId, Slot, WorkerId};
use crate::options::Stderr;
use crate::progress::EncodedProgress;
use crate::record::{JobRecord, JobUpdate, Ticket};
use crate::supervisor::{Begun, Effect, JobKey, Outcome, Signal, WorkerKey, WorkerState};
use hirelings_worker_kit::wire::{Fault, FromWorker, ToWorker};
use std::mem;
use std::sync::Arc;
use std::time::Duration;

/// How often a job has been tried, and may be; and whether that had begun.
#[derive(Clone, Copy)]
struct Tried {
    attempt: u32,
    attempts: u32,
    begun: Begun,
}

/// What an event is about.
#[derive(Clone, Copy, Default)]
struct About<'a> {
    job: Option<&'a Arc<JobRecord>>,
    attempt: Option<u32>,
    worker_key: Option<WorkerKey>,
}

impl<'a> About<'a> {
    fn job(record: &'a Arc<JobRecord>) -> Self {
        About { job: Some(record), ..About::default() }
    }

    fn worker(worker_key: WorkerKey) -> Self {
        About { worker_key: Some(worker_key), ..About::default() }
    }

    fn held(held: &'a Option<(Arc<JobRecord>, u32)>, worker_key: WorkerKey) -> Self {
        match held {
            Some((record, attempt)) => About::attempt(record, *attempt, Some(worker_key)),
            None => About::worker(worker_key),
        }
    }

    fn attempt(record: &'a Arc<JobRecord>, attempt: u32, worker_key: Option<WorkerKey>) -> Self {
        About { job: Some(record), attempt: (attempt > 0).then_some(attempt), worker_key }
    }
}

impl Driver {
    pub(super) fn carry_out(&mut self, effect: Effect<Ticket>) {
        match effect {
            Effect::Spawn(worker_key) => {
                self.spawning.insert(worker_key);
                self.spawner.spawn(worker_key);
            }
            Effect::Spawned(worker_key) => {
                self.emit_event(EventKind::Spawn, About::worker(worker_key), || More::Nothing);
                if let Some(child) = self.child(worker_key) {
                    let (pid, program) = (child.pid, child.program.clone());
                    self.log(log::Level::Debug, || {
                        format!("worker process {pid} was spawned in slot {}: {program}", worker_key.slot)
                    });
                }
            }
            Effect::SendJob { worker_key, key, attempt } => self.send_job(worker_key, key, attempt),
            Effect::Measure(worker_key) => self.to_measure.push(worker_key),
            Effect::SendSkip { worker_key, id } => self.send(worker_key, &ToWorker::Skip { job: id }),
            Effect::Drain(worker_key) => self.drain(worker_key),
            Effect::SendLeave(worker_key) => {
                self.send(worker_key, &ToWorker::Leave);
                let pid = self.pid(worker_key);
                self.log(log::Level::Debug, || format!("worker process {pid} has done its jobs and leaves"));
            }
            Effect::Signal(worker_key, signal) => {
                if let Some(child) = self.child(worker_key) {
                    child.process.signal(signal);
                    let pid = child.pid;
                    match signal {
                        Signal::Stop => self.drain_when_stopped(worker_key),
                        Signal::Continue => self.stop_draining(worker_key),
                        Signal::Terminate | Signal::Kill => {}
                    }
                    self.log(log::Level::Debug, || format!("worker process {pid} is sent {signal:?}"));
                }
            }

            Effect::Refused(ticket) => {
                let record = Arc::clone(ticket.record());
                drop(ticket);
                self.plan.hooks.settled_outside(&record);
            }
            Effect::Enqueued(key) => {
                let Some(record) = self.record(key) else { return };
                record.set_key(key);
                self.emit_event(EventKind::Enqueue, About::job(&record), || More::Nothing);
            }
            Effect::Backlogged(key) => {
                if self.plan.hooks.wants(EventKind::Backlog)
                    && let Some(record) = self.record(key)
                {
                    self.emit_event(EventKind::Backlog, About::job(&record), || More::Nothing);
                }
            }
            Effect::Task { worker_key, key, attempt } => {
                let Some(record) = self.record(key) else { return };
                record.set_running(self.pid(worker_key), attempt);
                self.emit_event(EventKind::Task, About::attempt(&record, attempt, Some(worker_key)), || More::Nothing);
            }
            Effect::Started { worker_key, key, attempt } => self.started(worker_key, key, attempt),
            Effect::Progressed { worker_key, key, attempt } => self.progressed(worker_key, key, attempt),
            Effect::Retried { key, attempt, attempts, outcome, begun, worker_key } => {
                let tried = Tried { attempt, attempts, begun };
                self.retried(key, tried, outcome, worker_key);
            }
            Effect::Returned { key, begun, worker_key } => {
                let Some(record) = self.record(key) else { return };
                record.set_queued_again(begun);
                self.emit_event(EventKind::Backlog, About::job(&record), || More::Nothing);
                let pid = self.pid(worker_key);
                self.log(log::Level::Debug, || {
                    format!("worker process {pid} died before it had read job {}", record.id)
                });
            }
            Effect::Settled { key, attempt, attempts, outcome, begun, worker_key } => {
                let ticket = self.machine.take(key);
                let tried = Tried { attempt, attempts, begun };
                self.settled(ticket, tried, outcome, worker_key);
            }

            Effect::State { worker_key, state, job } => self.state(worker_key, state, job),
            Effect::TimedOut { worker_key, state, limit, job } => self.timed_out(worker_key, state, limit, job),
            Effect::OverSoftLimit { worker_key, bytes } => {
                let (pid, held) = (self.pid(worker_key), Mebibytes(bytes));
                self.log(log::Level::Info, || {
                    format!("worker process {pid} holds {held}, and is replaced after its job")
                });
            }
            Effect::OverHardLimit { worker_key, bytes, limit } => {
                if let Some(child) = self.child(worker_key) {
                    let (pid, held, limit) = (child.pid, Mebibytes(bytes), Mebibytes(limit));
                    child.reason = Some(format!("held {held}, over its limit of {limit}, and was killed"));
                    self.log(log::Level::Warn, || {
                        format!("worker process {pid} holds {held}, more than {limit}, and is killed")
                    });
                }
            }
            Effect::RecallIgnored(worker_key) => {
                let pid = self.pid(worker_key);
                self.log(log::Level::Warn, || {
                    format!(
                        "worker process {pid} was asked to skip jobs and does not answer; it is sent no more jobs ahead"
                    )
                });
            }
            Effect::PipeClosed(worker_key) => {
                if let Some(child) = self.child(worker_key) {
                    child.closed_pipe = true;
                    let pid = child.pid;
                    self.log(log::Level::Warn, || {
                        format!("worker process {pid} closed its pipe and lives, and is killed")
                    });
                }
            }
            Effect::Violated(worker_key, violation) => {
                let Some(child) = self.child(worker_key) else { return };
                let reason = child.reason.get_or_insert_with(|| violation.to_string()).clone();
                let pid = child.pid;
                self.log(log::Level::Warn, || {
                    format!("worker process {pid} broke the protocol and is killed: {}", what_it_did(&reason))
                });
            }
            Effect::TerminalFailure(worker_key) => self.terminal_failure(worker_key),
            Effect::Died(worker_key) => self.died(worker_key),
            Effect::StartFailed { worker_key, wait, in_a_row } => self.start_failed(worker_key, wait, in_a_row),
            Effect::AllReady => self.emit_event(EventKind::Ready, About::default(), || More::Nothing),
            Effect::Idle => self.emit_event(EventKind::Idle, About::default(), || More::Nothing),
        }
    }

    fn record(&self, key: JobKey) -> Option<Arc<JobRecord>> {
        Some(Arc::clone(self.machine.job(key)?.0.record()))
    }

    fn pid(&self, worker_key: WorkerKey) -> u32 {
        self.children[worker_key.slot]
            .as_ref()
            .filter(|child| child.worker_key == worker_key)
            .map_or(0, |child| child.pid)
    }

    // ------------------------------------------------------------ to the worker

    fn send(&mut self, worker_key: WorkerKey, message: &ToWorker) {
        if let Some(child) = self.child(worker_key) {
            child.outbox.lock().push(message, &Default::default());
            self.mark_dirty(worker_key);
        }
    }

    fn send_job(&mut self, worker_key: WorkerKey, key: JobKey, attempt: u32) {
        let Some((ticket, job)) = self.machine.job(key) else { return };
        let payload = ticket.record().payload();
        if let Some(child) = self.child(worker_key) {
            let frame = child.outbox.lock().push(&ToWorker::Job { job, attempt }, &payload);
            child.sends(job, frame);
            self.mark_dirty(worker_key);
        }
    }

    // ------------------------------------------------------------ of jobs

    fn started(&mut self, worker_key: WorkerKey, key: JobKey, attempt: u32) {
        let Some(record) = self.record(key) else { return };
        if record.set_started(attempt) {
            self.plan.hooks.queue(Notification::Job(Arc::clone(&record), JobUpdate::Start(attempt)));
        }
        let about = About::attempt(&record, attempt, Some(worker_key));
        self.emit_event(EventKind::JobStart, about, || More::Nothing);
        self.emit_event(EventKind::WorkerStart, about, || More::Nothing);
    }

    fn progressed(&mut self, worker_key: WorkerKey, key: JobKey, attempt: u32) {
        let Some(record) = self.record(key) else { return };
        let Some(Incoming { payload, charge, .. }) = &mut self.incoming else { return };
        let hooks = &self.plan.hooks;
        let told = hooks.wants(EventKind::JobProgress) || hooks.wants(EventKind::WorkerProgress);
        if !told && !record.wants_progress() {
            return;
        }
        let Some(charge) = charge.take().map(Arc::new) else { return };
        let progress = EncodedProgress::new(mem::take(payload), Arc::clone(&charge));
        if record.progressed(&progress) {
            hooks.queue(Notification::Job(Arc::clone(&record), JobUpdate::Progress(progress.clone())));
        }
        let job_type = self.plan.job_type;
        for kind in [EventKind::JobProgress, EventKind::WorkerProgress] {
            let about = About::attempt(&record, attempt, Some(worker_key));
            let payload = progress.payload.clone();
            self.emit_charged(kind, about, || More::Progress { payload, job_type }, Some(&charge));
        }
    }

    fn retried(&mut self, key: JobKey, tried: Tried, outcome: Outcome, worker_key: WorkerKey) {
        let Some(record) = self.record(key) else { return };
        let Err(failure) = self.outcome(&record, tried, outcome, Some(worker_key)) else { return };
        self.worker_answered(&record, tried.attempt, outcome, worker_key);
        if record.set_queued_again(tried.begun) {
            self.plan.hooks.queue(Notification::Job(Arc::clone(&record), JobUpdate::Retry(Arc::clone(&failure))));
        }
        let job_type = self.plan.job_type;
        let about = About::attempt(&record, tried.attempt, Some(worker_key));
        self.emit_event(EventKind::JobRetry, about, || More::Failure { failure, job_type });
    }

    fn settled(&mut self, ticket: Ticket, tried: Tried, outcome: Outcome, worker_key: Option<WorkerKey>) {
        let record = Arc::clone(ticket.record());
        let settled = self.outcome(&record, tried, outcome, worker_key);
        let failure = settled.as_ref().err().cloned();
        // Told before the handle is released: a hook that is added after a wait gets nothing of what was waited for.
        if let Some(worker_key) = worker_key {
            self.worker_answered(&record, tried.attempt, outcome, worker_key);
        }
        let about = About::attempt(&record, tried.attempt, worker_key);
        let job_type = self.plan.job_type;
        match (outcome, failure) {
            (Outcome::Aborted, _) => self.emit_event(EventKind::JobAbort, about, || More::Nothing),
            (_, Some(failure)) => self.emit_event(EventKind::JobFailure, about, || More::Failure { failure, job_type }),
            (_, None) => self.emit_event(EventKind::JobSuccess, about, || More::Nothing),
        }
        self.emit_event(EventKind::Done, about, || More::Nothing);
        self.released.extend(record.settle(settled, tried.begun));
        if record.is_hooked() {
            self.plan.hooks.queue(Notification::Job(record, JobUpdate::Done));
        }
    }

    /// The worker's own events of an answer.
    fn worker_answered(&mut self, record: &Arc<JobRecord>, attempt: u32, outcome: Outcome, worker_key: WorkerKey) {
        let kind = match outcome {
            Outcome::Success => EventKind::WorkerSuccess,
            Outcome::Failed | Outcome::Undecodable | Outcome::Unencodable | Outcome::Panicked => {
                EventKind::WorkerFailure
            }
            _ => return,
        };
        let about = About::attempt(record, attempt, Some(worker_key));
        self.emit_event(kind, about, || More::Nothing);
        self.emit_event(EventKind::WorkerDone, about, || More::Nothing);
    }

    /// The outcome, with all that is known here of how it came about.
    fn outcome(
        &mut self,
        record: &Arc<JobRecord>,
        Tried { attempt, attempts, begun }: Tried,
        outcome: Outcome,
        worker_key: Option<WorkerKey>,
    ) -> Settled {
        let child = worker_key.and_then(|worker_key| {
            self.children[worker_key.slot].as_ref().filter(|child| child.worker_key == worker_key)
        });
        let pid = child.map_or(0, |child| child.pid);
        let who = || {
            let work = Some(Work { job: JobId(record.id), label: record.label(), attempt, attempts, begun });
            Box::new(Who { pid, pool: Arc::clone(&self.plan.pool), work })
        };
        let words = || child.map(|child| child.stderr_of(record.id)).unwrap_or_default();
        let failure = match outcome {
            Outcome::Success => {
                return Ok(self.incoming.as_mut().map(|incoming| mem::take(&mut incoming.payload)).unwrap_or_default());
            }
            Outcome::Failed => Failure::Failed(
                self.incoming.as_mut().map(|message| mem::take(&mut message.payload)).unwrap_or_default(),
            ),
            Outcome::Undecodable | Outcome::Unencodable => {
                let (fault, message) = match self.incoming.as_ref().map(|message| &message.message) {
                    Some(FromWorker::Unusable { fault, message, .. }) => (*fault, message.clone()),
                    _ => (Fault::DecodeJob, String::new()),
                };
                Failure::Unusable { fault, message, who: who() }
            }
            Outcome::Panicked => {
                let (message, location, backtrace) = match self.incoming.as_ref().map(|message| &message.message) {
                    Some(FromWorker::Terminal { message, location, backtrace, .. }) => {
                        (message.clone(), location.clone(), backtrace.clone())
                    }
                    _ => Default::default(),
                };
                let (stderr, who) = (words(), who());
                Failure::Panicked(WorkerPanic { message, location, backtrace, pid, stderr, attempts: attempt, who })
            }
            Outcome::Crashed(cause) => {
                let status = child.and_then(|child| child.reaped).and_then(|reaped| reaped.status);
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
            Outcome::NoWorker => match (&self.last_failure, &self.no_worker) {
                (_, Some(failure)) if begun == Begun::No => return Err(Arc::clone(failure)),
                (Some(failure), _) => Failure::NoWorker(Arc::clone(failure), begun),
                (None, _) => Failure::Closed,
            },
        };
        Err(Arc::new(failure))
    }

    // ------------------------------------------------------------ of workers

    fn state(&self, worker_key: WorkerKey, state: WorkerState, job: Option<(JobKey, u32)>) {
        let kind = match state {
            WorkerState::Initializing => EventKind::WorkerInitializing,
            WorkerState::Ready => EventKind::WorkerReady,
            WorkerState::Working => EventKind::WorkerWorking,
            WorkerState::Recovering => EventKind::WorkerRecovering,
            WorkerState::Exiting => EventKind::WorkerExiting,
        };
        if self.plan.hooks.wants(kind) {
            let held = self.held(job);
            self.emit_event(kind, About::held(&held, worker_key), || More::Nothing);
        }
    }

    fn held(&self, job: Option<(JobKey, u32)>) -> Option<(Arc<JobRecord>, u32)> {
        let (key, attempt) = job?;
        Some((self.record(key)?, attempt))
    }

    fn timed_out(&mut self, worker_key: WorkerKey, state: WorkerState, limit: Duration, job: Option<(JobKey, u32)>) {
        let held = self.held(job);
        self.emit_event(EventKind::WorkerTimeout, About::held(&held, worker_key), || More::TimedOut { state, limit });
        if let Some(child) = self.child(worker_key) {
            child.reason = Some(format!("was {state} for more than {limit:?} and was killed"));
            let pid = child.pid;
            self.log(log::Level::Warn, || {
                format!("worker process {pid} was {state} for more than {limit:?} and is killed")
            });
        }
    }

    fn terminal_failure(&mut self, worker_key: WorkerKey) {
        let Some(Incoming { message: FromWorker::Terminal { job, message, .. }, .. }) = &self.incoming else { return };
        let (message, own) = (message.clone(), job.is_none());
        if own {
            self.emit_event(EventKind::WorkerFailure, About::worker(worker_key), || More::Nothing);
        }
        if let Some(child) = self.child(worker_key) {
            child.reason = Some(format!("said: {message}"));
            let pid = child.pid;
            self.log(log::Level::Warn, || format!("worker process {pid} ends: {message}"));
        }
    }

    fn died(&mut self, worker_key: WorkerKey) {
        let status = self.child(worker_key).and_then(|child| child.reaped).and_then(|reaped| reaped.status);
        for kind in [EventKind::WorkerExit, EventKind::Exit] {
            self.emit_event(kind, About::worker(worker_key), || More::Ended { status });
        }
        let Some(child) = self.children[worker_key.slot].take() else { return };
        self.log(log::Level::Debug, || format!("worker process {} {}", child.pid, ended(status)));
        // One that the machine took for alive may have been at its end already: how it ended tells more.
        let reason = match &child.reason {
            Some(reason) => reason.clone(),
            None if child.closed_pipe => {
                format!("closed its pipe, so that it could say nothing more, and {}", ended(status))
            }
            None => format!("{} before it was ready", ended_with(status, &child.stderr_or_preamble())),
        };
        // Kept in case this death is a start failure, of which the machine speaks next.
        self.last_death = Some(StartFailure {
            program: child.program.clone(),
            status,
            stderr: child.stderr_or_preamble(),
            reason,
            begun: Begun::No,
        });
        self.remove(child);
    }

    pub(super) fn failed_to_start(&mut self, failure: StartFailure) {
        let failure = Arc::new(failure);
        self.no_worker = Some(Arc::new(Failure::NoWorker(Arc::clone(&failure), Begun::No)));
        self.last_failure = Some(failure);
    }

    fn start_failed(&mut self, worker_key: WorkerKey, wait: Duration, in_a_row: u32) {
        if let Some(failure) = self.last_death.take() {
            self.failed_to_start(failure);
        }
        let why = self.last_failure.as_ref().map(ToString::to_string).unwrap_or_default();
        let slot = worker_key.slot;
        self.log(log::Level::Warn, || {
            format!("slot {slot} has no worker, {in_a_row} failures in a row; the next start waits {wait:?}: {why}")
        });
    }

    pub(super) fn stderr_lines(&mut self, worker_key: WorkerKey, lines: Vec<u8>, charge: Charge) {
        let charge = Arc::new(charge);
        let hooks = Arc::clone(&self.plan.hooks);
        if self.plan.stderr == Stderr::Forward {
            hooks.queue(Notification::Forward(lines.as_slice().into(), Some(Arc::clone(&charge))));
        }
        if self.plan.stderr != Stderr::Log && !hooks.wants(EventKind::WorkerStderr) {
            return;
        }
        let held = self.held(self.machine.worker(worker_key).and_then(|worker| worker.held()));
        let pid = self.pid(worker_key);
        let lines = lines.strip_suffix(b"\n").unwrap_or(&lines);
        for line in lines.split(|&byte| byte == b'\n') {
            let line = String::from_utf8_lossy(line).into_owned();
            if self.plan.stderr == Stderr::Log {
                self.log(log::Level::Info, || format!("worker process {pid}: {line}"));
            }
            let about = About::held(&held, worker_key);
            self.emit_charged(EventKind::WorkerStderr, about, || More::Stderr(line), Some(&charge));
        }
    }

    // ------------------------------------------------------------ telling

    fn emit_event(&self, kind: EventKind, about: About<'_>, more: impl FnOnce() -> More) {
        self.emit_charged(kind, about, more, None);
    }

    fn emit_charged(
        &self,
        kind: EventKind,
        about: About<'_>,
        more: impl FnOnce() -> More,
        charge: Option<&Arc<Charge>>,
    ) {
        if !self.plan.hooks.wants(kind) {
            return;
        }
        let fields = EventFields {
            kind,
            pool: Arc::clone(&self.plan.pool),
            job: about.job.map(|record| JobId(record.id)),
            label: about.job.and_then(|record| record.label()),
            worker: about.worker_key.map(|worker_key| WorkerId(worker_key.worker)),
            slot: about.worker_key.map(|worker_key| Slot(worker_key.slot)),
            pid: about.worker_key.map(|worker_key| self.pid(worker_key)).filter(|&pid| pid != 0),
            attempt: about.attempt,
            more: more(),
        };
        self.plan.hooks.emit(fields, charge.cloned());
    }

    /// A line for the program's log, written by the hook thread: a logger is the user's code.
    pub(super) fn log(&self, level: log::Level, line: impl FnOnce() -> String) {
        if level <= log::max_level() {
            self.plan.hooks.queue(Notification::Log(level, format!("{:?}: {}", self.plan.pool, line())));
        }
    }
}
