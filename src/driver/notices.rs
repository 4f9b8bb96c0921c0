//! Announces what the machine says has happened: in events, in the log, and to the callers.

use super::Driver;
use super::callers::{Admission, NewJob};
use super::context::Context;
use super::emit::About;
use super::failures::{Tried, how_it_ended, start_failure_of};
use super::figures::Cause;
use crate::dispatcher::Notification;
use crate::error::{Mebibytes, StartFailure, what_it_did};
use crate::event::{EventKind, More};
use crate::failure::{Failure, Settled};
use crate::progress::EncodedProgress;
use crate::record::{JobRecord, JobUpdate, Ticket};
use crate::report::PackedReport;
use crate::supervisor::{Begun, JobKey, Notice, Outcome, Refusal, StartFailed, WorkerKey, WorkerState};
use hirelings_worker_kit::wire::FromWorker;
use std::sync::Arc;
use std::time::Duration;

/// The events of a job that succeeds, in their order.
const SUCCESS: &[EventKind] =
    &[EventKind::WorkerSuccess, EventKind::WorkerDone, EventKind::JobSuccess, EventKind::Done];

impl Driver {
    /// Announces it to whoever listens, and to the callers. `context` is what came with the input that led to the notice.
    pub(super) fn announce(&mut self, notice: &Notice, context: &mut Context) {
        match *notice {
            // Each job has several of these.
            Notice::State { worker_key, state, job } => {
                self.figures.entered(self.now, worker_key);
                self.state(worker_key, state, job);
            }
            Notice::Refused { id, refusal } => {
                if let Some(job) = context.take_job(id).or_else(|| self.callers.take_waiting(id)) {
                    self.refused(job, refusal);
                }
            }
            Notice::Enqueued(key) => {
                if let Some(job) = context.take_job(key.id).or_else(|| self.callers.take_waiting(key.id)) {
                    self.figures.enqueued(self.now, key);
                    self.enqueued(key, job);
                }
            }
            Notice::Backlogged(key) => {
                if self.hooks.wants(&[EventKind::Backlog])
                    && let Some(record) = self.tickets.record(key)
                {
                    self.emit_event(EventKind::Backlog, About::job(record), || More::Nothing);
                }
            }
            Notice::Delayed { key, until } => self.figures.delayed(key, until),
            Notice::KeyForgotten(key) => self.keys.forget(key),
            Notice::Task { worker_key, key, attempt } => {
                self.figures.given(self.now, worker_key, key);
                let Some(record) = self.tickets.record(key) else { return };
                record.set_running(self.workers.pid(worker_key), attempt);
                self.emit_event(EventKind::Task, About::attempt(record, attempt, Some(worker_key)), || More::Nothing);
            }
            Notice::Started { worker_key, key, attempt } => self.started(worker_key, key, attempt),
            Notice::Progressed { worker_key, key, attempt } => self.progressed(worker_key, key, attempt, context),
            Notice::Retried { key, attempt, attempts, outcome, begun, worker_key } => {
                self.figures.retried(self.now, key, outcome, worker_key);
                let tried = Tried { attempt, attempts, begun };
                self.retried(key, tried, outcome, worker_key, context);
            }
            Notice::Returned { key, begun, worker_key } => {
                self.figures.returned(worker_key);
                let Some(record) = self.tickets.record(key) else { return };
                record.set_returned(begun);
                self.emit_event(EventKind::Backlog, About::job(record), || More::Nothing);
                self.log(log::Level::Debug, || {
                    format!("{} died before it had read job {}", self.named(worker_key), record.id)
                });
            }
            Notice::Settled { key, attempt, attempts, outcome, begun, worker_key } => {
                let report = self.figures.settled(self.now, key, attempt, outcome, worker_key);
                let Some(ticket) = self.tickets.take(key) else { return };
                let tried = Tried { attempt, attempts, begun };
                self.settled(ticket, tried, report, outcome, worker_key, context);
            }
            Notice::QueuedAborted { call, aborted } => self.callers.answer_abort(call, aborted),
            _ => self.announce_of_worker(notice, context),
        }
    }

    /// Announces what is not of a job.
    fn announce_of_worker(&mut self, notice: &Notice, context: &mut Context) {
        match *notice {
            Notice::Spawned(worker_key) => {
                self.figures.entered(self.now, worker_key);
                self.emit_event(EventKind::Spawn, About::worker(worker_key), || More::Nothing);
                if let Some(child) = self.workers.get_mut(worker_key) {
                    let (pid, program) = (child.pid, child.program.clone());
                    self.figures.spawned(worker_key, pid);
                    self.log(log::Level::Debug, || {
                        format!("{} was spawned in slot {}: {program}", self.named(worker_key), worker_key.slot)
                    });
                }
            }
            Notice::TimedOut { worker_key, state, limit, job } => {
                self.figures.because(worker_key, Cause::TimedOut);
                self.timed_out(worker_key, state, limit, job);
            }
            Notice::OverSoftLimit { worker_key, bytes } => {
                let held = Mebibytes(bytes);
                self.log(log::Level::Info, || {
                    format!("{} holds {held}, and is replaced after its job", self.named(worker_key))
                });
            }
            Notice::OverHardLimit { worker_key, bytes, limit } => {
                self.figures.because(worker_key, Cause::OutOfMemory);
                if let Some(child) = self.workers.get_mut(worker_key) {
                    let (held, limit) = (Mebibytes(bytes), Mebibytes(limit));
                    child.reason = Some(format!("held {held}, over its limit of {limit}, and was killed"));
                    self.log(log::Level::Warn, || {
                        format!("{} holds {held}, more than {limit}, and is killed", self.named(worker_key))
                    });
                }
            }
            Notice::RecallIgnored(worker_key) => {
                self.log(log::Level::Warn, || {
                    format!(
                        "{} was asked to skip jobs and does not answer; no more jobs are prefetched to it",
                        self.named(worker_key)
                    )
                });
            }
            Notice::PipeClosed(worker_key) => {
                self.figures.because(worker_key, Cause::Crashed);
                if let Some(child) = self.workers.get_mut(worker_key) {
                    child.closed_pipe = true;
                    self.log(log::Level::Warn, || {
                        format!("{} closed its pipe and lives, and is killed", self.named(worker_key))
                    });
                }
            }
            Notice::Silent(worker_key) => {
                if let Some(child) = self.workers.get_mut(worker_key) {
                    child.reason = Some("was silent for too long, so that its connection is lost".into());
                    self.log(log::Level::Warn, || {
                        format!(
                            "nothing comes from {} any more: its connection is taken for lost",
                            self.named(worker_key)
                        )
                    });
                }
            }
            Notice::Violated(worker_key, violation) => {
                self.figures.because(worker_key, Cause::Protocol);
                let Some(child) = self.workers.get_mut(worker_key) else { return };
                let reason = child.reason.get_or_insert_with(|| violation.to_string()).clone();
                self.log(log::Level::Warn, || {
                    format!("{} broke the protocol and is killed: {}", self.named(worker_key), what_it_did(&reason))
                });
            }
            Notice::TerminalFailure(worker_key) => {
                self.figures.because(worker_key, Cause::Panicked);
                self.terminal_failure(worker_key, context);
            }
            Notice::Died { worker_key, start_failed } => {
                self.figures.died(worker_key);
                self.died(worker_key, start_failed);
            }
            Notice::SpawnFailed { worker_key, start_failed } => {
                let failure = context.take_spawn_failure();
                self.start_failed(worker_key, start_failed, failure);
            }
            Notice::AllReady => {
                self.emit_event(EventKind::Ready, About::default(), || More::Nothing);
                self.callers.decide_ready(&Ok(()));
            }
            Notice::Idle => self.emit_event(EventKind::Idle, About::default(), || More::Nothing),
            Notice::State { .. }
            | Notice::Refused { .. }
            | Notice::Enqueued(_)
            | Notice::Backlogged(_)
            | Notice::Delayed { .. }
            | Notice::KeyForgotten(_)
            | Notice::Task { .. }
            | Notice::Started { .. }
            | Notice::Progressed { .. }
            | Notice::Retried { .. }
            | Notice::Returned { .. }
            | Notice::Settled { .. }
            | Notice::QueuedAborted { .. } => unreachable!("it is announced above"),
        }
    }

    // ------------------------------------------------------------ of jobs

    fn enqueued(&mut self, key: JobKey, job: NewJob) {
        job.ticket.record().set_key(key);
        self.emit_event(EventKind::Enqueue, About::job(job.ticket.record()), || More::Nothing);
        self.tickets.insert(key, job.ticket);
        if let Some(reply) = job.reply {
            let _ = reply.send(Admission::Accepted);
        }
    }

    /// The caller that waits for the answer makes an error of it; a job without one settles as closed.
    fn refused(&mut self, job: NewJob, refusal: Refusal) {
        match job.reply {
            Some(reply) => {
                // The caller has the job's hooks called, after what came before.
                self.hooks.put();
                let admission = match refusal {
                    Refusal::Full => Admission::Full,
                    Refusal::Closed => Admission::Closed,
                };
                let _ = reply.send(admission);
            }
            None => self.settle(job.ticket, Err(Arc::new(Failure::Closed)), Begun::No, PackedReport::default()),
        }
    }

    /// Settles a job, and keeps who waits for it until the end of the iteration.
    fn settle(&mut self, ticket: Ticket, settled: Settled, begun: Begun, report: PackedReport) {
        // Others see that it is settled from here on. A hook that they add is called after what came before.
        self.hooks.put();
        if let Some(released) = ticket.settle(settled, begun, report) {
            if let Some(record) = released.hooked() {
                self.hooks.queue(Notification::Job(Arc::clone(record), JobUpdate::Done));
            }
            self.callers.release(released);
        }
    }

    fn started(&self, worker_key: WorkerKey, key: JobKey, attempt: u32) {
        let Some(record) = self.tickets.record(key) else { return };
        if record.set_started(attempt) {
            self.hooks.queue(Notification::Job(Arc::clone(record), JobUpdate::Start(attempt)));
        }
        let about = About::attempt(record, attempt, Some(worker_key));
        self.emit_events(&[EventKind::JobStart, EventKind::WorkerStart], about);
    }

    fn progressed(&mut self, worker_key: WorkerKey, key: JobKey, attempt: u32, context: &mut Context) {
        let Some(record) = self.tickets.record(key) else { return };
        const KINDS: &[EventKind] = &[EventKind::JobProgress, EventKind::WorkerProgress];
        if !self.hooks.wants(KINDS) && !record.wants_progress() {
            return;
        }
        let Some((payload, charge)) = context.take_progress() else { return };
        let charge = Arc::new(charge);
        let progress = EncodedProgress::new(payload, Arc::clone(&charge));
        if record.progressed(&progress) {
            self.hooks.queue(Notification::Job(Arc::clone(record), JobUpdate::Progress(progress.clone())));
        }
        let (payload, job_type) = (progress.payload, self.settings.job_type);
        let about = About::attempt(record, attempt, Some(worker_key));
        self.emit_charged(KINDS, about, || More::Progress { payload, job_type }, Some(&charge));
    }

    fn retried(&mut self, key: JobKey, tried: Tried, outcome: Outcome, worker_key: WorkerKey, context: &mut Context) {
        let Some(record) = self.tickets.record(key).cloned() else { return };
        let Err(failure) = self.outcome(&record, tried, outcome, Some(worker_key), context) else { return };
        self.worker_answered(&record, tried.attempt, outcome, worker_key);
        if record.set_retried(tried.begun) {
            self.hooks.queue(Notification::Job(
                Arc::clone(&record),
                JobUpdate::Retry { failure: Arc::clone(&failure), attempt: tried.attempt },
            ));
        }
        let job_type = self.settings.job_type;
        let about = About::attempt(&record, tried.attempt, Some(worker_key));
        self.emit_event(EventKind::JobRetry, about, || More::Failure { failure, job_type });
    }

    fn settled(
        &mut self,
        ticket: Ticket,
        tried: Tried,
        report: PackedReport,
        outcome: Outcome,
        worker_key: Option<WorkerKey>,
        context: &mut Context,
    ) {
        let record = ticket.record();
        let settled = self.outcome(record, tried, outcome, worker_key, context);
        let failure = settled.as_ref().err().cloned();
        // Announced before the handle is released: a hook that is added after a wait gets nothing of what was waited for.
        let about = About::attempt(record, tried.attempt, worker_key);
        let job_type = self.settings.job_type;
        match (outcome, failure) {
            (_, None) => self.emit_events(SUCCESS, about),
            (_, Some(failure)) => {
                if let Some(worker_key) = worker_key {
                    self.worker_answered(record, tried.attempt, outcome, worker_key);
                }
                match outcome {
                    Outcome::Aborted => self.emit_event(EventKind::JobAbort, about, || More::Nothing),
                    _ => self.emit_event(EventKind::JobFailure, about, || More::Failure { failure, job_type }),
                }
                self.emit_event(EventKind::Done, about, || More::Nothing);
            }
        }
        self.settle(ticket, settled, tried.begun, report);
    }

    /// The worker's own events of an answer that is a failure.
    fn worker_answered(&self, record: &Arc<JobRecord>, attempt: u32, outcome: Outcome, worker_key: WorkerKey) {
        if let Outcome::Failed
        | Outcome::FinalFailure
        | Outcome::Undecodable
        | Outcome::Unencodable
        | Outcome::Panicked = outcome
        {
            let about = About::attempt(record, attempt, Some(worker_key));
            self.emit_events(&[EventKind::WorkerFailure, EventKind::WorkerDone], about);
        }
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
        if self.hooks.wants(kind.alone()) {
            let held = job.and_then(|(key, attempt)| Some((self.tickets.record(key)?, attempt)));
            let about = held.map_or_else(
                || About::worker(worker_key),
                |(record, attempt)| About::attempt(record, attempt, Some(worker_key)),
            );
            self.emit_event(kind, about, || More::Nothing);
        }
    }

    fn timed_out(&mut self, worker_key: WorkerKey, state: WorkerState, limit: Duration, job: Option<(JobKey, u32)>) {
        let held = self.tickets.held(job);
        self.emit_event(EventKind::WorkerTimeout, About::held(&held, worker_key), || More::TimedOut { state, limit });
        if let Some(child) = self.workers.get_mut(worker_key) {
            child.reason = Some(format!("was {state} for more than {limit:?} and was killed"));
            self.log(log::Level::Warn, || {
                format!("{} was {state} for more than {limit:?} and is killed", self.named(worker_key))
            });
        }
    }

    fn terminal_failure(&mut self, worker_key: WorkerKey, context: &Context) {
        let Context::Message { message: FromWorker::Terminal { job, message, .. }, .. } = context else {
            unreachable!("a terminal failure comes with its message");
        };
        let (message, own) = (message.clone(), job.is_none());
        if own {
            self.emit_event(EventKind::WorkerFailure, About::worker(worker_key), || More::Nothing);
        }
        if let Some(child) = self.workers.get_mut(worker_key) {
            child.reason = Some(format!("said: {message}"));
            self.log(log::Level::Warn, || format!("{} ends: {message}", self.named(worker_key)));
        }
    }

    fn died(&mut self, worker_key: WorkerKey, start_failed: Option<StartFailed>) {
        let reaped = self.workers.get(worker_key).and_then(|child| child.reaped);
        let status = reaped.and_then(|reaped| reaped.status);
        for kind in [EventKind::WorkerExit, EventKind::Exit] {
            self.emit_event(kind, About::worker(worker_key), || More::Ended { status });
        }
        self.log(log::Level::Debug, || format!("{} {}", self.named(worker_key), how_it_ended(reaped)));
        if let Some(start_failed) = start_failed
            && let Some(failure) =
                self.workers.get(worker_key).map(|child| start_failure_of(child, start_failed.was_ready))
        {
            self.start_failed(worker_key, start_failed, failure);
        }
    }

    fn start_failed(
        &mut self,
        worker_key: WorkerKey,
        StartFailed { wait, in_a_row, breaks, .. }: StartFailed,
        mut failure: StartFailure,
    ) {
        let slot = worker_key.slot;
        failure.site = self.site(slot);
        self.log(log::Level::Warn, || {
            format!("slot {slot} has no worker, {in_a_row} failures in a row; the next start waits {wait:?}: {failure}")
        });
        self.start_failures.keep(failure);
        if breaks {
            self.callers.decide_ready(&Err(self.start_failures.not_ready("the workers do not start")));
        }
    }
}
