//! The world around the state machine: it reads the clock, and starts, signals, reads and writes for the machine.
//!
//! One thread, the supervisor's, runs [`Driver::run`]: it waits for commands from callers and reports from the other
//! threads, gives them to the machine as inputs, and carries the effects out. Until the pool has ended it blocks on nothing
//! but its own two channels; then it joins the threads that it has started. It never decodes a user's payload, and never runs
//! a user's code.

mod actions;
mod callers;
mod child;
mod command;
mod context;
mod emit;
mod failures;
mod figures;
mod forks;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod handshake;
mod hook_queue;
mod inbox;
mod keys;
mod notices;
mod outbox;
mod output;
mod poller;
mod reader;
mod report;
mod spawner;
mod start_failures;
mod stats;
mod stderr;
#[cfg(test)]
mod tests;
mod tickets;
mod waiter;
mod workers;

pub(crate) use crate::supervisor::WhenFull;
pub(crate) use callers::Admission;
pub(crate) use command::{Command, PendingAbort, PendingCancel, PendingSubmit};
use figures::Figures;
pub(crate) use waiter::Waiter;

use crate::budget::Charge;
use crate::clock;
use crate::dispatcher::Notification;
use crate::error::StartFailure;
use crate::event::EventKind;
use crate::launch::{Attendance, Launch};
use crate::limits::Limits;
use crate::options::Stderr;
use crate::panic::text_of;
use crate::settings::Settings;
use crate::supervisor::{Config, Effect, Input, Message, Outcome, Supervisor, WorkerKey};
use callers::Callers;
use child::{Child, Draining};
use context::Context;
use crossbeam_channel::Sender;
use emit::About;
use forks::Forks;
use handshake::handshake;
use hirelings_worker_kit::wire::{ANSWERS_RECALLS, Fault, Frame, FromWorker, Payload};
use hook_queue::HookQueue;
use inbox::{Inbox, inbox};
use keys::Keys;
use poller::Poller;
use report::Report;
use spawner::Spawner;
use start_failures::StartFailures;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{io, mem};
use tickets::Tickets;
use workers::Workers;

/// What a pool is built from. All but the settings is used up at the start.
pub(crate) struct Plan {
    pub(crate) settings: Settings,
    pub(crate) config: Config,
    pub(crate) options: Option<Payload>,
    pub(crate) limits: Limits,
    pub(crate) launch: Box<dyn Launch>,
    /// Told once the first worker is spawned, or is not.
    pub(crate) first: Sender<Result<(), StartFailure>>,
}

/// A pool whose threads run.
pub(crate) struct Running {
    pub(crate) commands: Sender<Command>,
    pub(crate) supervisor: JoinHandle<()>,
    /// From when the times of events are counted.
    pub(crate) started: Instant,
}

/// The most that is taken from each channel before what came of it is written, so that neither starves the other. Many
/// commands, because what waits in their channel is in no backlog yet, and cannot be prefetched.
const COMMANDS_PER_ITERATION: usize = 1024;
const REPORTS_PER_ITERATION: usize = 128;

/// How often it is looked whether a worker that was sent SIGSTOP has stopped.
const STOP_LOOK: Duration = Duration::from_micros(200);

/// The supervisor's thread.
pub(crate) struct Driver {
    settings: Settings,
    machine: Supervisor,
    effects: Vec<Effect>,
    started: Instant,
    now: Duration,
    inbox: Inbox<Command, Report>,
    callers: Callers,
    /// The jobs that are in the machine.
    tickets: Tickets,
    /// The keys of the jobs that are in the machine.
    keys: Keys,
    workers: Workers,
    spawner: Spawner,
    forks: Forks,
    start_failures: StartFailures,
    figures: Figures,
    hooks: HookQueue,
}

impl Driver {
    /// Starts the threads of a pool, which have the signal mask of the calling one. The supervisor's ends once all is
    /// over, and the others before it.
    ///
    /// # Errors
    ///
    /// Where a thread or the poller's pipe cannot be had.
    pub(crate) fn start(plan: Plan) -> io::Result<Running> {
        let (driver, commands, _) = Driver::new(plan)?;
        let started = driver.started;
        let supervisor = thread::Builder::new().name("hirelings".into()).spawn(move || driver.supervise())?;
        Ok(Running { commands, supervisor, started })
    }

    /// All of it but the supervisor's thread, and what is said to that.
    fn new(plan: Plan) -> io::Result<(Self, Sender<Command>, Sender<Report>)> {
        let Plan { settings, config, options, limits, mut launch, first } = plan;
        let (commands, reports, inbox) = inbox();
        let wants_stderr: Arc<dyn Fn() -> bool + Send + Sync> = {
            let (dispatcher, quiet) = (Arc::clone(&settings.dispatcher), settings.stderr == Stderr::Null);
            Arc::new(move || !quiet || dispatcher.wants(&[EventKind::WorkerStderr]))
        };
        let poller = Poller::start(reports.clone(), {
            let wants_stderr = Arc::clone(&wants_stderr);
            move || wants_stderr()
        })?;
        let handshake = handshake(&settings, options);
        let servers = launch.attend(Attendance {
            handshake: handshake.clone(),
            limit: config.timeout_initializing,
            grace: config.kill_grace,
            report: {
                let reports = reports.clone();
                Arc::new(move |news| drop(reports.send(Report::ForkServer(news))))
            },
            wants_stderr,
        });
        let sites = config.sites.clone();
        let spawner = Spawner::start(launch, limits, settings.clone(), sites, handshake, reports.clone())?;
        let driver = Driver {
            callers: Callers::new(first),
            workers: Workers::new(config.max_processes, poller),
            machine: Supervisor::new(config),
            effects: Vec::new(),
            started: clock::now(),
            now: Duration::ZERO,
            inbox,
            tickets: Tickets::default(),
            keys: Keys::default(),
            spawner,
            forks: Forks::new(servers),
            start_failures: StartFailures::default(),
            figures: Figures::new(),
            hooks: HookQueue::new(Arc::clone(&settings.dispatcher), Arc::clone(&settings.name)),
            settings,
        };
        Ok((driver, commands, reports))
    }

    /// The thread: runs until all is over, and leaves nothing behind even where the supervisor itself fails.
    fn supervise(mut self) {
        let dispatcher = Arc::clone(&self.settings.dispatcher);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.run())) {
            let why = text_of(&*panic).to_owned();
            let line = format!("the supervisor failed, which is a bug: {why}");
            self.hooks.queue(Notification::Log(log::Level::Error, line));
            self.hooks.hand_over();
        }
        self.tear_down();
        dispatcher.end();
    }

    fn run(&mut self) {
        self.input(Input::Tick);
        self.write_all();
        self.callers.wake_released(&self.hooks);
        while !self.is_over() {
            self.wait();
            self.iterate(clock::now().duration_since(self.started));
        }
    }

    /// One round: what has come goes in, and what that leads to is done.
    fn iterate(&mut self, now: Duration) {
        self.now = now;
        let is_due = self.machine.next_deadline().is_some_and(|at| at <= now);
        // Before a limit is found to be over, all is read that was there in time.
        let reports = if is_due { self.inbox.reports.len().max(REPORTS_PER_ITERATION) } else { REPORTS_PER_ITERATION };
        self.take_in(reports);
        if is_due {
            self.input(Input::Tick);
        }
        self.drain_all();
        // A hook that somebody adds once this has answered comes after what is queued.
        self.hooks.put();
        self.callers.answer(&self.machine, &self.start_failures);
        self.write_all();
        self.callers.wake_released(&self.hooks);
    }

    /// Whether nothing of the pool is left. Fork servers are ended once no worker is.
    fn is_over(&self) -> bool {
        self.machine.is_finished() && self.forks.end()
    }

    /// Blocks until something happens.
    fn wait(&self) {
        let left = |at: Duration| at.saturating_sub(clock::now().duration_since(self.started));
        let until_due = || self.machine.next_deadline().map(left);
        let until_stopped = || self.workers.awaits_stop().then_some(STOP_LOOK);
        self.inbox.wait(|| [until_due(), until_stopped(), self.settings.buffers.trim()].into_iter().flatten().min());
    }

    /// Takes what has come, up to an iteration's measure. Commands first: a worker that is free takes the best of all jobs that
    /// were enqueued before it was.
    fn take_in(&mut self, reports: usize) {
        for _ in 0..COMMANDS_PER_ITERATION {
            match self.inbox.commands.try_recv() {
                Ok(command) => self.command(command),
                Err(_) => break,
            }
        }
        self.take_in_reports(reports);
    }

    fn take_in_reports(&mut self, most: usize) {
        for _ in 0..most {
            match self.inbox.reports.try_recv() {
                Ok(report) => self.report(report),
                Err(_) => break,
            }
        }
    }

    /// Gives the machine an input with which nothing came.
    fn input(&mut self, input: Input) {
        self.input_with(input, &mut Context::Nothing);
    }

    /// Gives the machine an input, does what it asks for and announces what it says, in order. Answers that are known at once
    /// are its next inputs.
    fn input_with(&mut self, input: Input, context: &mut Context) {
        let mut effects = mem::take(&mut self.effects);
        let mut answers = Vec::new();
        self.machine.handle(self.now, input, &mut effects);
        loop {
            for effect in &effects {
                match effect {
                    Effect::Do(action) => {
                        if let Some(answer) = self.carry_out(action) {
                            answers.push(answer);
                        }
                    }
                    Effect::Announce(notice) => self.announce(notice, context),
                }
            }
            effects.clear();
            let Some(answer) = answers.pop() else { break };
            self.machine.handle(self.now, answer, &mut effects);
        }
        self.effects = effects;
    }

    // ------------------------------------------------------------ reports

    fn report(&mut self, report: Report) {
        match report {
            Report::Spawned(started) => {
                let worker_key = started.worker_key;
                self.spawner.answered(worker_key);
                let fork_server = started.fork_server.map(|number| self.forks.parent(number));
                self.workers.insert(*started, self.now, fork_server);
                self.input(Input::Spawned(worker_key));
                self.orphan_if_late(worker_key);
                self.callers.answer_first(Ok(()));
            }
            Report::SpawnFailed(worker_key, failure) => {
                if self.spawner.answered(worker_key) {
                    self.callers.answer_first(Err(&failure));
                    self.input_with(Input::SpawnFailed(worker_key), &mut Context::SpawnFailure(failure));
                }
            }
            Report::Preamble(worker_key, preamble) => self.preamble(worker_key, &preamble),
            Report::Hello(worker_key, flags, version) => {
                if let Some(child) = self.child(worker_key) {
                    child.version = version;
                }
                self.input(Input::Hello { worker_key, recalls: flags & ANSWERS_RECALLS != 0 });
            }
            Report::Message(worker_key, frame, charge) => self.message(worker_key, frame, charge),
            Report::Drained(worker_key, number) => {
                if let Some(draining) = self.workers.asked(worker_key, number) {
                    self.drained(worker_key, draining);
                }
            }
            Report::Malformed(worker_key, reason) => {
                if let Some(child) = self.child(worker_key) {
                    child.reason.get_or_insert(reason);
                    self.input(Input::Malformed(worker_key));
                }
            }
            Report::StdoutClosed(worker_key) => self.input(Input::StdoutClosed(worker_key)),
            Report::StdinBroken(worker_key) => self.input(Input::StdinBroken(worker_key)),
            Report::StderrClosed(worker_key) => {
                if let Some(child) = self.child(worker_key) {
                    child.stderr_closed = true;
                    self.input(Input::StderrClosed(worker_key));
                }
            }
            Report::Heard(worker_key) => self.input(Input::Heard(worker_key)),
            Report::Ended(worker_key) => self.input(Input::Ended(worker_key)),
            Report::Exited(worker_key, reaped) => {
                let is_far = self.machine.worker(worker_key).is_some_and(|worker| worker.is_far());
                if let Some(child) = self.child(worker_key) {
                    child.reaped = Some(reaped);
                    child.budget.lift();
                    child.draining = None;
                    let undelivered = child.undelivered(is_far);
                    self.input(Input::Exited { worker_key, undelivered });
                }
            }
            Report::Stderr(worker_key, lines, charge) => {
                let held = self.tickets.held(self.machine.worker(worker_key).and_then(|worker| worker.held()));
                self.emit_stderr(&lines, charge, About::held(&held, worker_key), || self.named(worker_key));
            }
            Report::ForkServer(news) => self.fork_server_news(news),
        }
    }

    fn child(&mut self, worker_key: WorkerKey) -> Option<&mut Child> {
        self.workers.get_mut(worker_key)
    }

    fn resident(&self, worker_key: WorkerKey) -> Option<u64> {
        self.workers.get(worker_key)?.resident(self.machine.next_memory_limit(worker_key))
    }

    fn message(&mut self, worker_key: WorkerKey, frame: Frame<FromWorker>, charge: Charge) {
        let message = match frame.message {
            FromWorker::Ready => Message::Ready,
            FromWorker::Start { job } => Message::Start { job },
            FromWorker::Progress { job } => Message::Progress { job },
            FromWorker::Success { job, ready } => Message::Answer { job, outcome: Outcome::Success, ready },
            FromWorker::Failure { job, ready } => Message::Answer { job, outcome: Outcome::Failed, ready },
            FromWorker::FinalFailure { job, ready } => Message::Answer { job, outcome: Outcome::FinalFailure, ready },
            FromWorker::Unusable { job, ready, fault: Fault::DecodeJob, .. } => {
                Message::Answer { job, outcome: Outcome::Undecodable, ready }
            }
            FromWorker::Unusable { job, ready, .. } => Message::Answer { job, outcome: Outcome::Unencodable, ready },
            FromWorker::Terminal { job, .. } => Message::Terminal { job },
            FromWorker::Skipped { job } => Message::Skipped { job },
            FromWorker::Retire => Message::Retire,
            FromWorker::Alive => return self.input(Input::Heard(worker_key)),
        };
        if let Message::Answer { job, .. } | Message::Skipped { job } = message
            && let Some(child) = self.child(worker_key)
        {
            child.no_longer_sent(job);
        }
        let resident = match self.machine.wants_resident(worker_key, &message) {
            true => self.resident(worker_key),
            false => None,
        };
        let Frame { message: whole, payload, .. } = frame;
        let mut context = Context::Message { message: whole, payload, charge: Some(charge) };
        self.input_with(Input::Message { worker_key, message, resident }, &mut context);
    }

    fn preamble(&mut self, worker_key: WorkerKey, preamble: &[u8]) {
        let Some(child) = self.workers.get_mut(worker_key) else { return };
        let quoted = child.keep_preamble(preamble);
        self.log(log::Level::Warn, || {
            format!("{} wrote {} bytes before its hello: {quoted:?}", self.named(worker_key), preamble.len())
        });
    }

    // ------------------------------------------------------------ draining and writing

    /// Looks of which draining workers all output has been read.
    fn drain_all(&mut self) {
        for worker_key in self.workers.take_draining() {
            if let Some(draining) = self.workers.is_read(worker_key) {
                let is_heard = self.workers.has_unread(worker_key);
                // All has been reported: take it in before the machine decides.
                self.take_in(self.inbox.reports.len());
                if is_heard {
                    self.input(Input::Heard(worker_key));
                }
                self.drained(worker_key, draining);
            }
        }
    }

    /// All that the worker had written has been read, unless the machine wants that no more.
    fn drained(&mut self, worker_key: WorkerKey, draining: Draining) {
        if self.workers.end_draining(worker_key, draining) {
            match draining {
                Draining::Limit(_) => self.input(Input::Drained(worker_key)),
                Draining::Stopping => {}
                Draining::Stopped(_) => self.input(Input::Stopped(worker_key)),
            }
        }
    }

    /// Writes what this iteration has put into the outboxes.
    fn write_all(&mut self) {
        while let Some(worker_key) = self.workers.write_dirty() {
            self.input(Input::StdinBroken(worker_key));
        }
    }

    // ------------------------------------------------------------ the end

    /// Ends the other threads, and whatever of the workers a supervisor that failed has left.
    fn tear_down(mut self) {
        self.callers.drop_released();
        if !self.machine.is_finished() {
            self.spawner.close();
        }
        self.workers.kill_all();
        *self.settings.last_stats.lock() = self.stats();
        // Commands that come from here on find the channel closed, and the jobs in it settle as closed.
        drop((self.tickets, self.inbox, self.callers));
        self.forks.end();
        self.spawner.join();
        self.forks.join();
        self.workers.join();
    }
}
