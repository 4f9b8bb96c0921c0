//! The world around the state machine: the only reader of the clock, and the only one that starts, signals, reads and
//! writes.
//!
//! One thread, the supervisor's, runs [`Driver::run`]: it waits for commands from callers and reports from the other
//! threads, gives them to the machine as inputs, and carries the effects out. It never blocks on anything but its own
//! two channels, never decodes a user's payload, and never runs a user's code.

mod actions;
mod child;
mod command;
mod failures;
mod figures;
mod forks;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod inbox;
mod keys;
mod notices;
mod outbox;
mod output;
mod poller;
mod reader;
mod report;
mod spawner;
#[cfg(test)]
mod tests;
mod tickets;

pub(crate) use crate::supervisor::WhenFull;
pub(crate) use command::{Admission, Command, PendingAbort, PendingCancel, PendingSubmit};
use figures::Figures;
pub(crate) use inbox::InboxSender;

use crate::budget::Charge;
use crate::dispatcher::{Dispatcher, Notification};
use crate::error::{ReadyError, StartFailure};
use crate::event::EventKind;
use crate::failure::Failure;
use crate::launch::{Attendance, ForkServers, Launch};
use crate::limits::Limits;
use crate::options::Stderr;
use crate::panic::text_of;
use crate::record::Released;
use crate::stats::Stats;
use crate::supervisor::{Config, Effect, Input, Message, Outcome, Signal, Supervisor, WorkerKey};
use child::Child;
use command::NewJob;
use crossbeam_channel::Sender;
use forks::ForkServer;
use hirelings_worker_kit::wire::{
    ANSWERS_RECALLS, BufferPool, Codec, Fault, Frame, FromWorker, Hello, Payload, ToWorker, frame_into,
};
use inbox::{Inbox, inbox};
use keys::Keys;
use parking_lot::Mutex;
use poller::Poller;
use report::Report;
use spawner::{ReaderSettings, Spawner};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{io, mem};
use tickets::Tickets;

/// What a pool is built from.
pub(crate) struct Plan {
    pub(crate) pool: Arc<str>,
    pub(crate) job_type: &'static str,
    pub(crate) options: Option<Payload>,
    pub(crate) config: Config,
    pub(crate) codec: Codec,
    pub(crate) max_frame: usize,
    /// Buffers for large jobs and answers.
    pub(crate) buffers: Arc<BufferPool>,
    pub(crate) limits: Limits,
    pub(crate) stderr: Stderr,
    pub(crate) launch: Box<dyn Launch>,
    pub(crate) hooks: Arc<Dispatcher>,
    /// Told once the first worker is spawned, or is not.
    pub(crate) first: Sender<Result<(), StartFailure>>,
    /// Where the last figures are left.
    pub(crate) last_stats: Arc<Mutex<Stats>>,
    /// The names of the sites.
    pub(crate) sites: Arc<[Arc<str>]>,
}

/// The most that is taken from each channel before what came of it is written, so that neither starves the other. Many
/// commands, because what waits in their channel is in no backlog yet, and cannot be prefetched.
const COMMANDS_PER_ITERATION: usize = 1024;
const REPORTS_PER_ITERATION: usize = 128;

/// How often it is looked whether a worker that was sent SIGSTOP has stopped.
const STOP_LOOK: Duration = Duration::from_micros(200);

/// A list of callers to be woken that was longer than this gives its memory back.
const KEPT: usize = 1024;

/// The supervisor's thread.
pub(crate) struct Driver {
    plan: Standing,
    machine: Supervisor,
    /// The jobs that are in the machine.
    tickets: Tickets,
    /// The keys of the jobs that are in the machine.
    keys: Keys,
    /// The jobs whose callers wait for room in the backlog, by number.
    waiting: HashMap<u64, NewJob>,
    started: Instant,
    now: Duration,
    figures: Figures,
    inbox: Inbox<Command, Report>,
    spawner: Spawner,
    /// Workers whose process has been asked for and not reported.
    spawning: BTreeSet<WorkerKey>,
    poller: Poller,
    poller_thread: JoinHandle<()>,
    /// Readers of workers that are no more, to be joined.
    readers: Vec<JoinHandle<()>>,
    /// By slot.
    children: Vec<Option<Child>>,
    /// Slots with something to write.
    dirty: Vec<usize>,
    effects: Vec<Effect>,
    /// Who waited for the jobs that this iteration has settled: woken at its end, so that none takes the core before that.
    released: Vec<Released>,
    /// Workers whose output is to be read before the machine decides about them, and how many questions were asked.
    draining: Vec<WorkerKey>,
    questions: u64,
    /// Those that have asked to abort what is queued, by the number of the call, and the last number.
    abort_waiters: HashMap<u64, Sender<usize>>,
    abort_calls: u64,
    idle_waiters: Vec<Sender<()>>,
    ready_waiters: Vec<Sender<Result<(), ReadyError>>>,
    first: Option<Sender<Result<(), StartFailure>>>,
    last_failure: Option<Arc<StartFailure>>,
    /// What all jobs that had not begun fail of, where no worker starts.
    no_worker: Option<Arc<Failure>>,
    /// What ends the fork servers, where workers are forked.
    servers: Option<Arc<dyn ForkServers>>,
    /// The fork servers that are not reaped, by number.
    fork_servers: BTreeMap<u64, ForkServer>,
    fork_servers_spawned: u64,
}

/// What stays of the plan.
struct Standing {
    pool: Arc<str>,
    job_type: &'static str,
    stderr: Stderr,
    hooks: Arc<Dispatcher>,
    last_stats: Arc<Mutex<Stats>>,
    buffers: Arc<BufferPool>,
    sites: Arc<[Arc<str>]>,
}

/// What came with an input and is not the machine's: whoever carries out its effects takes it from here.
enum Context {
    Nothing,
    /// A message from a worker. The payload is empty and the charge is none once they are taken.
    Message {
        message: FromWorker,
        payload: Payload,
        charge: Option<Charge>,
    },
    /// A new job, until it is let in or refused.
    Job(NewJob),
    /// Why a process could not be started.
    SpawnFailure(StartFailure),
}

impl Context {
    fn take_job(&mut self, id: u64) -> Option<NewJob> {
        match mem::replace(self, Context::Nothing) {
            Context::Job(job) if job.ticket.record().id == id => Some(job),
            other => {
                *self = other;
                None
            }
        }
    }

    /// The payload of an answer.
    fn take_payload(&mut self) -> Payload {
        match self {
            Context::Message { payload, .. } => mem::take(payload),
            _ => unreachable!("an answer comes with its message"),
        }
    }

    /// The payload of a progress message and its charge, once.
    fn take_progress(&mut self) -> Option<(Payload, Charge)> {
        match self {
            Context::Message { payload, charge, .. } => Some((mem::take(payload), charge.take()?)),
            _ => unreachable!("progress comes with its message"),
        }
    }

    fn take_spawn_failure(&mut self) -> StartFailure {
        match mem::replace(self, Context::Nothing) {
            Context::SpawnFailure(failure) => failure,
            _ => unreachable!("a failed spawn comes with its failure"),
        }
    }
}

impl Driver {
    /// Starts the threads of a pool, which have the signal mask of the calling one. The supervisor's ends once all is
    /// over, and the others before it. Gives the moment from which its times are counted, too.
    ///
    /// # Errors
    ///
    /// Where a thread or the poller's pipe cannot be had.
    pub(crate) fn start(plan: Plan) -> io::Result<(InboxSender<Command>, JoinHandle<()>, Instant)> {
        let (driver, commands, _) = Driver::new(plan)?;
        let started = driver.started;
        let thread = thread::Builder::new().name("hirelings".into()).spawn(move || driver.supervise())?;
        Ok((commands, thread, started))
    }

    /// All of it but the supervisor's thread, and what is said to that.
    fn new(mut plan: Plan) -> io::Result<(Self, InboxSender<Command>, InboxSender<Report>)> {
        let (commands, reports, inbox) = inbox();
        let told: Arc<dyn Fn() -> bool + Send + Sync> = {
            let (hooks, quiet) = (Arc::clone(&plan.hooks), plan.stderr == Stderr::Null);
            Arc::new(move || !quiet || hooks.wants(EventKind::WorkerStderr))
        };
        let (poller, poller_thread) = Poller::start(reports.clone(), {
            let told = Arc::clone(&told);
            move || told()
        })?;
        let readers = ReaderSettings {
            job_type: plan.job_type,
            codec: plan.codec,
            max_frame: plan.max_frame,
            buffers: Arc::clone(&plan.buffers),
            sites: plan.config.sites.clone().into(),
        };
        let mut handshake = Vec::new();
        frame_into(&Hello::new(0), &[], &mut handshake);
        let init = ToWorker::Init {
            job_type: plan.job_type.into(),
            codec: plan.codec.name().into(),
            max_frame: plan.max_frame as u64,
            has_options: plan.options.is_some(),
        };
        frame_into(&init, plan.options.unwrap_or_default().as_slice(), &mut handshake);
        let servers = plan.launch.attend(Attendance {
            handshake: handshake.clone(),
            limit: plan.config.timeout_initializing,
            grace: plan.config.kill_grace,
            tell: {
                let reports = reports.clone();
                Arc::new(move |news| drop(reports.send(Report::ForkServer(news))))
            },
            told: Arc::clone(&told),
        });
        let spawner = Spawner::start(plan.launch, plan.limits, readers, handshake, reports.clone())?;

        let slots = plan.config.max_processes;
        let driver = Driver {
            machine: Supervisor::new(plan.config),
            tickets: Tickets::default(),
            keys: Keys::default(),
            waiting: HashMap::new(),
            started: clock(),
            now: Duration::ZERO,
            figures: Figures::new(),
            inbox,
            spawner,
            spawning: BTreeSet::new(),
            poller,
            poller_thread,
            readers: Vec::new(),
            children: (0..slots).map(|_| None).collect(),
            dirty: Vec::new(),
            effects: Vec::new(),
            released: Vec::new(),
            draining: Vec::new(),
            questions: 0,
            abort_waiters: HashMap::new(),
            abort_calls: 0,
            idle_waiters: Vec::new(),
            ready_waiters: Vec::new(),
            first: Some(plan.first),
            last_failure: None,
            no_worker: None,
            servers,
            fork_servers: BTreeMap::new(),
            fork_servers_spawned: 0,
            plan: Standing {
                pool: plan.pool,
                job_type: plan.job_type,
                stderr: plan.stderr,
                hooks: plan.hooks,
                last_stats: plan.last_stats,
                buffers: plan.buffers,
                sites: plan.sites,
            },
        };
        Ok((driver, commands, reports))
    }

    /// The thread: runs until all is over, and leaves nothing behind even where the supervisor itself fails.
    fn supervise(mut self) {
        let hooks = Arc::clone(&self.plan.hooks);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.run())) {
            let why = text_of(&*panic).to_owned();
            hooks.notify(Notification::Log(log::Level::Error, format!("the supervisor failed, which is a bug: {why}")));
        }
        self.tear_down();
        hooks.end();
    }

    fn run(&mut self) {
        self.input(Input::Tick);
        self.write_all();
        self.end_iteration();
        while !self.is_over() {
            self.wait();
            self.iterate(clock().duration_since(self.started));
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
        self.release_waiters();
        self.write_all();
        self.end_iteration();
    }

    /// Wakes those who listen to what this iteration has brought, and those who wait for it.
    fn end_iteration(&mut self) {
        for waker in self.released.iter_mut().filter_map(Released::take_waker) {
            self.plan.hooks.queue(Notification::Wake(waker));
        }
        self.plan.hooks.wake();
        self.released.clear();
        self.released.shrink_to(KEPT);
    }

    /// Blocks until something happens.
    fn wait(&self) {
        let left = |at: Duration| at.saturating_sub(clock().duration_since(self.started));
        let until_due = || self.machine.next_deadline().map(left);
        let until_stopped = || self.awaits_stop().then_some(STOP_LOOK);
        self.inbox.wait(|| [until_due(), until_stopped(), self.plan.buffers.trim()].into_iter().flatten().min());
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
        for _ in 0..reports {
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

    /// Gives the machine an input, does what it asks for and tells what it says, in order. Answers that are known at once
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
                    Effect::Tell(notice) => self.tell(notice, context),
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
                self.spawning.remove(&worker_key);
                self.insert(*started);
                self.input(Input::Spawned(worker_key));
                self.orphan_if_late(worker_key);
                if let Some(first) = self.first.take() {
                    let _ = first.send(Ok(()));
                }
            }
            Report::SpawnFailed(worker_key, failure) => {
                if self.spawning.remove(&worker_key) {
                    if let Some(first) = self.first.take() {
                        let _ = first.send(Err(failure.clone()));
                    }
                    self.input_with(Input::SpawnFailed(worker_key), &mut Context::SpawnFailure(failure));
                }
            }
            Report::Preamble(worker_key, preamble) => self.preamble(worker_key, &preamble),
            Report::Greeted(worker_key, flags, version) => {
                if let Some(child) = self.child(worker_key) {
                    child.version = version;
                }
                self.input(Input::Greeted { worker_key, recalls: flags & ANSWERS_RECALLS != 0 });
            }
            Report::Message(worker_key, frame, charge) => self.message(worker_key, frame, charge),
            Report::Drained(worker_key, number) => self.drained(worker_key, number),
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
            Report::Stderr(worker_key, lines, charge) => self.stderr_lines(worker_key, lines, charge),
            Report::ForkServer(news) => self.of_fork_server(news),
        }
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

    // ------------------------------------------------------------ the end

    /// Ends the other threads, and whatever of the workers a supervisor that failed has left.
    fn tear_down(mut self) {
        self.released.clear();
        if !self.machine.is_finished() {
            self.spawner.close();
        }
        for slot in 0..self.children.len() {
            if let Some(child) = self.children[slot].take() {
                child.process.signal(Signal::Kill);
                self.remove(child);
            }
        }
        *self.plan.last_stats.lock() = self.stats();
        // Commands that come from here on find the channel closed, and the jobs in it settle as closed.
        drop((self.inbox, self.tickets, self.waiting));
        if let Some(servers) = &self.servers {
            servers.end();
        }
        self.spawner.join();
        if let Some(servers) = self.servers {
            servers.join();
        }
        for reader in self.readers {
            let _ = reader.join();
        }
        drop(self.poller);
        let _ = self.poller_thread.join();
    }
}

#[allow(clippy::disallowed_methods)]
fn clock() -> Instant {
    Instant::now()
}
