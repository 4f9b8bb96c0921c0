//! Carries out what the machine says, and tells it to whoever listens.

use super::budget::Charge;
use super::child::{Child, Sent};
use super::{Driver, Incoming};
use crate::error::{
    Crash, Failure, Mebibytes, OutOfMemory, ProtocolError, Settled, StartFailure, Timeout, Who, Work, WorkerPanic,
    ended, ended_with, what_it_did,
};
use crate::event::{EventFields, EventKind, JobId, More, Slot, WorkerId};
use crate::events::EncodedProgress;
use crate::hooks::Call;
use crate::pool::Stderr;
use crate::record::{JobHappening, JobRecord, Ticket};
use crate::supervisor::{Begun, Effect, JobKey, Outcome, Seat, Signal, WorkerState};
use hirelings_worker_kit::wire::{Fault, FromWorker, ToWorker};
use std::mem;
use std::ops::Range;
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
    seat: Option<Seat>,
}

impl<'a> About<'a> {
    fn job(record: &'a Arc<JobRecord>) -> Self {
        About { job: Some(record), ..About::default() }
    }

    fn worker(seat: Seat) -> Self {
        About { seat: Some(seat), ..About::default() }
    }

    fn held(held: &'a Option<(Arc<JobRecord>, u32)>, seat: Seat) -> Self {
        match held {
            Some((record, attempt)) => About::attempt(record, *attempt, Some(seat)),
            None => About::worker(seat),
        }
    }

    fn attempt(record: &'a Arc<JobRecord>, attempt: u32, seat: Option<Seat>) -> Self {
        About { job: Some(record), attempt: (attempt > 0).then_some(attempt), seat }
    }
}

impl Driver {
    pub(super) fn carry_out(&mut self, effect: Effect<Ticket>) {
        match effect {
            Effect::Spawn(seat) => {
                self.spawning.insert(seat);
                self.spawner.spawn(seat);
            }
            Effect::Spawned(seat) => {
                self.tell(EventKind::Spawn, About::worker(seat), || More::Nothing);
                if let Some(child) = self.child(seat) {
                    let (pid, program) = (child.pid, child.program.clone());
                    self.log(log::Level::Debug, || {
                        format!("worker {pid} was spawned in slot {}: {program}", seat.slot)
                    });
                }
            }
            Effect::SendJob { seat, key, attempt } => self.send_job(seat, key, attempt),
            Effect::Measure(seat) => self.to_measure.push(seat),
            Effect::SendSkip { seat, id } => self.send(seat, &ToWorker::Skip { job: id }),
            Effect::Hear(seat) => self.hear(seat),
            Effect::SendLeave(seat) => {
                self.send(seat, &ToWorker::Leave);
                let pid = self.pid(seat);
                self.log(log::Level::Debug, || format!("worker {pid} has done its jobs and leaves"));
            }
            Effect::Signal(seat, signal) => {
                if let Some(child) = self.child(seat) {
                    child.process.signal(signal);
                    let pid = child.pid;
                    match signal {
                        Signal::Stop => self.hear_when_stopped(seat),
                        Signal::Continue => self.hear_no_more(seat),
                        Signal::Terminate | Signal::Kill => {}
                    }
                    self.log(log::Level::Debug, || format!("worker {pid} is sent {signal:?}"));
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
                self.tell(EventKind::Enqueue, About::job(&record), || More::Nothing);
            }
            Effect::Backlogged(key) => {
                if self.plan.hooks.wants(EventKind::Backlog)
                    && let Some(record) = self.record(key)
                {
                    self.tell(EventKind::Backlog, About::job(&record), || More::Nothing);
                }
            }
            Effect::Task { seat, key, attempt } => {
                let Some(record) = self.record(key) else { return };
                record.set_running(self.pid(seat), attempt);
                self.tell(EventKind::Task, About::attempt(&record, attempt, Some(seat)), || More::Nothing);
            }
            Effect::Started { seat, key, attempt } => self.started(seat, key, attempt),
            Effect::Progressed { seat, key, attempt } => self.progressed(seat, key, attempt),
            Effect::Retried { key, attempt, attempts, outcome, begun, seat } => {
                let tried = Tried { attempt, attempts, begun };
                self.retried(key, tried, outcome, seat);
            }
            Effect::Returned { key, begun, seat } => {
                let Some(record) = self.record(key) else { return };
                record.set_queued_again(begun);
                self.tell(EventKind::Backlog, About::job(&record), || More::Nothing);
                let pid = self.pid(seat);
                self.log(log::Level::Debug, || format!("worker {pid} died before it had read job {}", record.id));
            }
            Effect::Settled { key, attempt, attempts, outcome, begun, seat } => {
                let ticket = self.machine.take(key);
                let tried = Tried { attempt, attempts, begun };
                self.settled(ticket, tried, outcome, seat);
            }

            Effect::State { seat, state, job } => self.state(seat, state, job),
            Effect::OverLimit { seat, state, limit, job } => self.over_limit(seat, state, limit, job),
            Effect::Outgrown { seat, bytes } => {
                let (pid, held) = (self.pid(seat), Mebibytes(bytes));
                self.log(log::Level::Info, || format!("worker {pid} holds {held}, and is replaced after its job"));
            }
            Effect::OverMemory { seat, bytes, limit } => {
                if let Some(child) = self.child(seat) {
                    let (pid, held, limit) = (child.pid, Mebibytes(bytes), Mebibytes(limit));
                    child.reason = Some(format!("held {held}, over its limit of {limit}, and was killed"));
                    self.log(log::Level::Warn, || {
                        format!("worker {pid} holds {held}, more than {limit}, and is killed")
                    });
                }
            }
            Effect::RecallIgnored(seat) => {
                let pid = self.pid(seat);
                self.log(log::Level::Warn, || {
                    format!("worker {pid} was asked to skip jobs and does not answer; it is sent no more jobs ahead")
                });
            }
            Effect::OutputClosed(seat) => {
                if let Some(child) = self.child(seat) {
                    child.closed_pipe = true;
                    let pid = child.pid;
                    self.log(log::Level::Warn, || format!("worker {pid} closed its pipe and lives, and is killed"));
                }
            }
            Effect::Violated(seat, violation) => {
                let Some(child) = self.child(seat) else { return };
                let reason = child.reason.get_or_insert_with(|| violation.to_string()).clone();
                let pid = child.pid;
                self.log(log::Level::Warn, || {
                    format!("worker {pid} broke the protocol and is killed: {}", what_it_did(&reason))
                });
            }
            Effect::LastWords(seat) => self.last_words(seat),
            Effect::Died(seat) => self.died(seat),
            Effect::StartFailed { seat, wait, in_a_row } => self.start_failed(seat, wait, in_a_row),
            Effect::AllReady => self.tell(EventKind::Ready, About::default(), || More::Nothing),
            Effect::Idle => self.tell(EventKind::Idle, About::default(), || More::Nothing),
        }
    }

    fn record(&self, key: JobKey) -> Option<Arc<JobRecord>> {
        Some(Arc::clone(self.machine.job(key)?.0.record()))
    }

    fn pid(&self, seat: Seat) -> u32 {
        self.children[seat.slot].as_ref().filter(|child| child.seat == seat).map_or(0, |child| child.pid)
    }

    // ------------------------------------------------------------ to the worker

    fn send(&mut self, seat: Seat, message: &ToWorker) {
        if let Some(child) = self.child(seat) {
            child.outbox.lock().push(message, &Default::default());
            self.mark_dirty(seat);
        }
    }

    fn send_job(&mut self, seat: Seat, key: JobKey, attempt: u32) {
        let Some((ticket, job)) = self.machine.job(key) else { return };
        let payload = ticket.record().payload();
        if let Some(child) = self.child(seat) {
            let Range { start, end } = child.outbox.lock().push(&ToWorker::Job { job, attempt }, &payload);
            child.sent.push_back(Sent { job, start, end });
            self.mark_dirty(seat);
        }
    }

    // ------------------------------------------------------------ of jobs

    fn started(&mut self, seat: Seat, key: JobKey, attempt: u32) {
        let Some(record) = self.record(key) else { return };
        if record.set_started(attempt) {
            self.plan.hooks.queue(Call::Job(Arc::clone(&record), JobHappening::Start(attempt)));
        }
        let about = About::attempt(&record, attempt, Some(seat));
        self.tell(EventKind::JobStart, about, || More::Nothing);
        self.tell(EventKind::WorkerStart, about, || More::Nothing);
    }

    fn progressed(&mut self, seat: Seat, key: JobKey, attempt: u32) {
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
            hooks.queue(Call::Job(Arc::clone(&record), JobHappening::Progress(progress.clone())));
        }
        let job_type = self.plan.job_type;
        for kind in [EventKind::JobProgress, EventKind::WorkerProgress] {
            let about = About::attempt(&record, attempt, Some(seat));
            let payload = progress.payload.clone();
            self.tell_charged(kind, about, || More::Progress { payload, job_type }, Some(&charge));
        }
    }

    fn retried(&mut self, key: JobKey, tried: Tried, outcome: Outcome, seat: Seat) {
        let Some(record) = self.record(key) else { return };
        let Err(failure) = self.outcome(&record, tried, outcome, Some(seat)) else { return };
        self.worker_answered(&record, tried.attempt, outcome, seat);
        if record.set_queued_again(tried.begun) {
            self.plan.hooks.queue(Call::Job(Arc::clone(&record), JobHappening::Retry(Arc::clone(&failure))));
        }
        let job_type = self.plan.job_type;
        let about = About::attempt(&record, tried.attempt, Some(seat));
        self.tell(EventKind::JobRetry, about, || More::Failure { failure, job_type });
    }

    fn settled(&mut self, ticket: Ticket, tried: Tried, outcome: Outcome, seat: Option<Seat>) {
        let record = Arc::clone(ticket.record());
        let settled = self.outcome(&record, tried, outcome, seat);
        let failure = settled.as_ref().err().cloned();
        // Told before the handle is released: a hook that is added after a wait gets nothing of what was waited for.
        if let Some(seat) = seat {
            self.worker_answered(&record, tried.attempt, outcome, seat);
        }
        let about = About::attempt(&record, tried.attempt, seat);
        let job_type = self.plan.job_type;
        match (outcome, failure) {
            (Outcome::Aborted, _) => self.tell(EventKind::JobAbort, about, || More::Nothing),
            (_, Some(failure)) => self.tell(EventKind::JobFailure, about, || More::Failure { failure, job_type }),
            (_, None) => self.tell(EventKind::JobSuccess, about, || More::Nothing),
        }
        self.tell(EventKind::Done, about, || More::Nothing);
        self.released.extend(record.settle(settled, tried.begun));
        if record.is_hooked() {
            self.plan.hooks.queue(Call::Job(record, JobHappening::Done));
        }
    }

    /// The worker's own events of an answer.
    fn worker_answered(&mut self, record: &Arc<JobRecord>, attempt: u32, outcome: Outcome, seat: Seat) {
        let kind = match outcome {
            Outcome::Success => EventKind::WorkerSuccess,
            Outcome::Failed | Outcome::Undecodable | Outcome::Unencodable | Outcome::Panicked => {
                EventKind::WorkerFailure
            }
            _ => return,
        };
        let about = About::attempt(record, attempt, Some(seat));
        self.tell(kind, about, || More::Nothing);
        self.tell(EventKind::WorkerDone, about, || More::Nothing);
    }

    /// The outcome, with all that is known here of how it came about.
    fn outcome(
        &mut self,
        record: &Arc<JobRecord>,
        Tried { attempt, attempts, begun }: Tried,
        outcome: Outcome,
        seat: Option<Seat>,
    ) -> Settled {
        let child = seat.and_then(|seat| self.children[seat.slot].as_ref().filter(|child| child.seat == seat));
        let pid = child.map_or(0, |child| child.pid);
        let who = || {
            let work = Some(Work { job: JobId(record.id), label: record.label(), attempt, attempts, begun });
            Box::new(Who { pid, pool: Arc::clone(&self.plan.pool), work })
        };
        let words = || child.map(Child::last_words).unwrap_or_default();
        let failure = match outcome {
            Outcome::Success => {
                return Ok(self.incoming.as_mut().map(|incoming| mem::take(&mut incoming.payload)).unwrap_or_default());
            }
            Outcome::Failed => {
                Failure::Failed(self.incoming.as_mut().map(|said| mem::take(&mut said.payload)).unwrap_or_default())
            }
            Outcome::Undecodable | Outcome::Unencodable => {
                let (fault, message) = match self.incoming.as_ref().map(|said| &said.message) {
                    Some(FromWorker::Unusable { fault, message, .. }) => (*fault, message.clone()),
                    _ => (Fault::DecodeJob, String::new()),
                };
                Failure::Unusable { fault, message, who: who() }
            }
            Outcome::Panicked => {
                let (message, location, backtrace) = match self.incoming.as_ref().map(|said| &said.message) {
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

    fn state(&self, seat: Seat, state: WorkerState, job: Option<(JobKey, u32)>) {
        let kind = match state {
            WorkerState::Initializing => EventKind::WorkerInitializing,
            WorkerState::Ready => EventKind::WorkerReady,
            WorkerState::Working => EventKind::WorkerWorking,
            WorkerState::Recovering => EventKind::WorkerRecovering,
            WorkerState::Exiting => EventKind::WorkerExiting,
        };
        if self.plan.hooks.wants(kind) {
            let held = self.held(job);
            self.tell(kind, About::held(&held, seat), || More::Nothing);
        }
    }

    fn held(&self, job: Option<(JobKey, u32)>) -> Option<(Arc<JobRecord>, u32)> {
        let (key, attempt) = job?;
        Some((self.record(key)?, attempt))
    }

    fn over_limit(&mut self, seat: Seat, state: WorkerState, limit: Duration, job: Option<(JobKey, u32)>) {
        let held = self.held(job);
        self.tell(EventKind::WorkerTimeout, About::held(&held, seat), || More::OverLimit { state, limit });
        if let Some(child) = self.child(seat) {
            child.reason = Some(format!("was {state} for more than {limit:?} and was killed"));
            let pid = child.pid;
            self.log(log::Level::Warn, || format!("worker {pid} was {state} for more than {limit:?} and is killed"));
        }
    }

    fn last_words(&mut self, seat: Seat) {
        let Some(Incoming { message: FromWorker::Terminal { job, message, .. }, .. }) = &self.incoming else { return };
        let (message, own) = (message.clone(), job.is_none());
        if own {
            self.tell(EventKind::WorkerFailure, About::worker(seat), || More::Nothing);
        }
        if let Some(child) = self.child(seat) {
            child.reason = Some(format!("said: {message}"));
            let pid = child.pid;
            self.log(log::Level::Warn, || format!("worker {pid} ends: {message}"));
        }
    }

    fn died(&mut self, seat: Seat) {
        let status = self.child(seat).and_then(|child| child.reaped).and_then(|reaped| reaped.status);
        for kind in [EventKind::WorkerExit, EventKind::Exit] {
            self.tell(kind, About::worker(seat), || More::Ended { status });
        }
        let Some(child) = self.children[seat.slot].take() else { return };
        self.log(log::Level::Debug, || format!("worker {} {}", child.pid, ended(status)));
        // One that the machine took for alive may have been at its end already: how it ended tells more.
        let reason = match &child.reason {
            Some(reason) => reason.clone(),
            None if child.closed_pipe => {
                format!("closed its pipe, so that it could say nothing more, and {}", ended(status))
            }
            None => format!("{} before it was ready", ended_with(status, &child.last_words())),
        };
        // Kept in case this death is a start failure, of which the machine speaks next.
        self.last_death = Some(StartFailure {
            program: child.program.clone(),
            status,
            stderr: child.last_words(),
            reason,
            begun: Begun::No,
        });
        self.bury(child);
    }

    pub(super) fn failed_to_start(&mut self, failure: StartFailure) {
        let failure = Arc::new(failure);
        self.no_worker = Some(Arc::new(Failure::NoWorker(Arc::clone(&failure), Begun::No)));
        self.last_failure = Some(failure);
    }

    fn start_failed(&mut self, seat: Seat, wait: Duration, in_a_row: u32) {
        if let Some(failure) = self.last_death.take() {
            self.failed_to_start(failure);
        }
        let why = self.last_failure.as_ref().map(ToString::to_string).unwrap_or_default();
        let slot = seat.slot;
        self.log(log::Level::Warn, || {
            format!("slot {slot} has no worker, {in_a_row} failures in a row; the next start waits {wait:?}: {why}")
        });
    }

    pub(super) fn stderr_lines(&mut self, seat: Seat, lines: Vec<u8>, charge: Charge) {
        let charge = Arc::new(charge);
        let hooks = Arc::clone(&self.plan.hooks);
        if self.plan.stderr == Stderr::Forward {
            hooks.queue(Call::Forward(lines.as_slice().into(), Some(Arc::clone(&charge))));
        }
        if self.plan.stderr != Stderr::Log && !hooks.wants(EventKind::WorkerStderr) {
            return;
        }
        let held = self.held(self.machine.worker(seat).and_then(|worker| worker.held()));
        let pid = self.pid(seat);
        let lines = lines.strip_suffix(b"\n").unwrap_or(&lines);
        for line in lines.split(|&byte| byte == b'\n') {
            let line = String::from_utf8_lossy(line).into_owned();
            if self.plan.stderr == Stderr::Log {
                self.log(log::Level::Info, || format!("worker {pid}: {line}"));
            }
            let about = About::held(&held, seat);
            self.tell_charged(EventKind::WorkerStderr, about, || More::Stderr(line), Some(&charge));
        }
    }

    // ------------------------------------------------------------ telling

    fn tell(&self, kind: EventKind, about: About<'_>, more: impl FnOnce() -> More) {
        self.tell_charged(kind, about, more, None);
    }

    fn tell_charged(
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
            worker: about.seat.map(|seat| WorkerId(seat.worker)),
            slot: about.seat.map(|seat| Slot(seat.slot)),
            pid: about.seat.map(|seat| self.pid(seat)).filter(|&pid| pid != 0),
            attempt: about.attempt,
            more: more(),
        };
        self.plan.hooks.emit(fields, charge.cloned());
    }

    /// A line for the program's log, written by the hook thread: a logger is the user's code.
    pub(super) fn log(&self, level: log::Level, line: impl FnOnce() -> String) {
        if level <= log::max_level() {
            self.plan.hooks.queue(Call::Log(level, format!("{:?}: {}", self.plan.pool, line())));
        }
    }
}
