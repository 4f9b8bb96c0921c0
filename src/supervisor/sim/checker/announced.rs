//! What the pool does and announces beside the jobs: nothing is left out, nothing comes twice, and each in its time.

use super::{Found, SLACK, ensure};
use crate::supervisor::worker::Worker;
use crate::supervisor::{
    Action, Config, CrashCause, Effect, Input, MEASURE_EVERY, Message, Notice, Outcome, STATUS_WAIT, Signal,
    StartFailed, Supervisor, WorkerKey, WorkerState,
};
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Clone, Debug, Default)]
struct Process {
    /// The state that was announced last, and since when.
    state: Option<(WorkerState, Duration)>,
    there: bool,
    exited: bool,
    been_ready: bool,
    told_to_leave: bool,
    /// Since when it is known that it has ended, or will at once.
    ends_since: Option<Duration>,
    /// Whether it is known to have ended.
    ended: bool,
    terminated: Option<Duration>,
    killed: bool,
    stopped: bool,
    /// Whether what it wrote before its limit was found to be over is being read.
    draining: bool,
    /// When its memory was measured, or began to count.
    measured: Option<Duration>,
    /// The limit of its start or of its recovery, and since when it holds.
    limited: Option<(Duration, Duration)>,
    timed_out: bool,
    over_hard_limit: bool,
    over_soft_limit: bool,
    terminal_failure: bool,
    pipe_closed: bool,
    violated: bool,
    recall_ignored: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Announced {
    config: Config,
    processes: BTreeMap<WorkerKey, Process>,
    now: Duration,
    closed: bool,
    exited: bool,
    /// Whether somebody asked for all workers, and it was not announced that they are ready.
    awaits_ready: bool,
    /// When it was announced last that all are ready.
    all_ready_at: Duration,
    /// Whether somebody asked for them in this step.
    wants_all: bool,
    spawned: u64,
    timed_out: u64,
    start_failures: u64,
    /// Whether the last start failure was one too many.
    breaks: bool,
    /// Whether no worker would start before this step, and whether this step says that none does from here on.
    was_broken: bool,
    told_breaks: bool,
    /// What must be so at the end of this step.
    /// The worker that could not be spawned in this step, until that is announced.
    spawn_failed: Option<WorkerKey>,
    due: Option<Due>,
}

#[derive(Clone, Copy, Debug)]
enum Due {
    TerminalFailure(WorkerKey),
    Exiting(WorkerKey),
}

impl Announced {
    pub(super) fn new(config: &Config) -> Self {
        Announced {
            config: config.clone(),
            processes: BTreeMap::new(),
            now: Duration::ZERO,
            closed: false,
            exited: false,
            awaits_ready: false,
            all_ready_at: Duration::ZERO,
            wants_all: false,
            spawned: 0,
            timed_out: 0,
            start_failures: 0,
            breaks: false,
            was_broken: false,
            told_breaks: false,
            due: None,
            spawn_failed: None,
        }
    }

    pub(super) fn input(&mut self, now: Duration, input: &Input) {
        self.now = now;
        (self.wants_all, self.breaks, self.due, self.spawn_failed) = (false, false, None, None);
        let timeout_recovering = self.config.timeout_recovering;
        match *input {
            Input::SetMaxProcesses(most) if !self.exited => self.config.max_processes = most,
            Input::SpawnWorkers if !self.closed => (self.awaits_ready, self.wants_all) = (true, true),
            Input::Close => self.closed = true,
            Input::Exit => (self.closed, self.exited) = (true, true),
            Input::Ended(worker_key) => {
                if let Some(process) = self.processes.get_mut(&worker_key).filter(|process| !process.ended) {
                    (process.ended, process.ends_since) = (true, Some(now));
                }
            }
            Input::SpawnFailed(worker_key) => {
                self.processes.remove(&worker_key);
                self.spawn_failed = Some(worker_key);
            }
            Input::Message { worker_key, message, .. } => {
                let Some(process) = self.processes.get_mut(&worker_key) else { return };
                match message {
                    Message::Ready => {
                        process.been_ready |= !process.is(WorkerState::Exiting);
                        process.limited = None;
                    }
                    Message::Answer { ready, .. } => {
                        process.limited = timeout_recovering.filter(|_| !ready).map(|limit| (now, limit));
                    }
                    Message::Terminal { job } => {
                        process.limited = None;
                        self.due = job.is_none().then_some(Due::TerminalFailure(worker_key));
                    }
                    _ => {}
                }
                process.draining &=
                    !matches!(message, Message::Ready | Message::Answer { .. } | Message::Skipped { .. });
            }
            Input::Drained(worker_key) => self.of(worker_key, |process| process.draining = false),
            Input::Malformed(worker_key) => self.due = Some(Due::Exiting(worker_key)),
            Input::Stopped(worker_key) if self.processes.get(&worker_key).is_some_and(|process| process.stopped) => {
                self.due = Some(Due::Exiting(worker_key));
            }
            Input::Exited { worker_key, .. } => self.of(worker_key, |process| process.exited = true),
            _ => {}
        }
    }

    fn of(&mut self, worker_key: WorkerKey, then: impl FnOnce(&mut Process)) {
        if let Some(process) = self.processes.get_mut(&worker_key) {
            then(process);
        }
    }

    pub(super) fn effect(&mut self, effect: &Effect, input: &Input) -> Found {
        let now = self.now;
        match *effect {
            Effect::Do(Action::Spawn(worker_key)) => drop(self.processes.insert(worker_key, Process::default())),
            Effect::Announce(Notice::Died { worker_key, start_failed }) => {
                self.processes.remove(&worker_key);
                if let Some(start_failed) = start_failed {
                    self.start_failed(start_failed);
                }
            }
            Effect::Announce(Notice::SpawnFailed { worker_key, start_failed }) => {
                ensure(self.spawn_failed.take() == Some(worker_key), || {
                    format!("{worker_key:?} has not failed to start")
                })?;
                self.start_failed(start_failed);
            }
            Effect::Announce(Notice::Enqueued(_)) => ensure(!self.closed, || "a job is taken after close".into())?,
            Effect::Announce(Notice::AllReady) => {
                self.all_ready_at = now;
                ensure(std::mem::take(&mut self.awaits_ready), || "nobody has asked whether all are ready".into())?;
            }
            Effect::Announce(Notice::Settled { outcome, worker_key: Some(worker_key), .. })
            | Effect::Announce(Notice::Retried { outcome, worker_key, .. }) => {
                return self.explained(worker_key, outcome);
            }
            _ => {}
        }
        let grace = self.config.kill_grace;
        let Some((worker_key, process)) =
            worker_key_of(effect).and_then(|worker_key| Some((worker_key, self.processes.get_mut(&worker_key)?)))
        else {
            return Ok(());
        };
        match *effect {
            Effect::Announce(Notice::Spawned(_)) => {
                self.spawned += 1;
                process.limited = self.config.timeout_initializing.map(|limit| (now, limit));
                once(&mut process.there, worker_key, "spawned")
            }
            Effect::Announce(Notice::State { state, .. }) => {
                ensure(process.state.is_none_or(|(before, _)| before != state), || {
                    format!("{worker_key:?} is {state} again")
                })?;
                process.state = Some((state, now));
                match state {
                    WorkerState::Initializing | WorkerState::Working => process.measured = Some(now),
                    WorkerState::Ready | WorkerState::Exiting => process.measured = None,
                    WorkerState::Recovering => {}
                }
                process.draining &= state != WorkerState::Exiting;
                Ok(())
            }
            Effect::Do(Action::Measure(_)) => {
                let before = process.measured.replace(now);
                ensure(before.is_some_and(|before| now >= before + MEASURE_EVERY), || {
                    format!("{worker_key:?} is measured at {now:?} and at {before:?}")
                })
            }
            Effect::Do(Action::Drain(_)) => once(&mut process.draining, worker_key, "heard out"),
            Effect::Announce(Notice::TimedOut { state, limit, .. }) => {
                self.timed_out += 1;
                let own = process.limited.is_some_and(|(since, of)| of == limit && now >= since + limit);
                let timed = matches!(state, WorkerState::Initializing | WorkerState::Recovering);
                ensure(!timed || own, || format!("{worker_key:?} is over {limit:?}, {state}: {process:?}"))?;
                once(&mut process.timed_out, worker_key, "over its limit")
            }
            Effect::Announce(Notice::OverHardLimit { .. }) => {
                once(&mut process.over_hard_limit, worker_key, "over its memory")
            }
            Effect::Announce(Notice::OverSoftLimit { .. }) => {
                once(&mut process.over_soft_limit, worker_key, "over its soft limit")
            }
            Effect::Announce(Notice::PipeClosed(_)) => once(&mut process.pipe_closed, worker_key, "without its pipe"),
            Effect::Announce(Notice::Violated(..)) => once(&mut process.violated, worker_key, "accused"),
            Effect::Announce(Notice::RecallIgnored(_)) => {
                once(&mut process.recall_ignored, worker_key, "said to ignore recalls")
            }
            Effect::Announce(Notice::TerminalFailure(_)) => {
                process.terminal_failure = true;
                let message = matches!(input, Input::Message { worker_key: of, message: Message::Terminal { .. }, .. } if *of == worker_key);
                ensure(message, || format!("{worker_key:?} has said nothing of its end"))
            }
            Effect::Do(Action::GiveUpStatus(_)) => {
                let since = process.ends_since.replace(now);
                ensure(since.is_some_and(|at| now >= at + STATUS_WAIT), || format!("given up too soon: {process:?}"))
            }
            Effect::Do(Action::SendLeave(_)) => once(&mut process.told_to_leave, worker_key, "told to leave"),
            Effect::Do(Action::Signal(_, signal)) => {
                match signal {
                    Signal::Terminate => process.terminated = Some(now),
                    Signal::Kill => {
                        let in_time = process.terminated.is_some_and(|at| now >= at + grace);
                        ensure(in_time || grace.is_zero() || process.stopped, || format!("SIGKILL to {process:?}"))?;
                        process.killed = true;
                        process.ends_since = Some(now);
                    }
                    Signal::Stop => process.stopped = true,
                    Signal::Continue => process.stopped = false,
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn start_failed(&mut self, StartFailed { in_a_row, breaks, .. }: StartFailed) {
        self.start_failures += 1;
        self.told_breaks |= breaks;
        let others_ready = self.processes.values().any(|process| process.been_ready);
        self.breaks = !others_ready && in_a_row >= self.config.start_failures;
    }

    /// When it was announced last that all are ready, unless somebody waits for it.
    pub(super) fn all_ready_at(&self) -> Option<Duration> {
        (!self.awaits_ready).then_some(self.all_ready_at)
    }

    /// Whether it was announced that the worker is on its way out.
    pub(super) fn is_exiting(&self, worker_key: WorkerKey) -> bool {
        self.processes.get(&worker_key).is_some_and(|process| process.is(WorkerState::Exiting))
    }

    /// Whether it is known that the process has ended.
    pub(super) fn has_ended(&self, worker_key: WorkerKey) -> bool {
        self.processes.get(&worker_key).is_some_and(|process| process.ended)
    }

    /// What has ended an attempt was announced before.
    fn explained(&self, worker_key: WorkerKey, outcome: Outcome) -> Found {
        let Some(process) = self.processes.get(&worker_key) else { return Ok(()) };
        let announced = match outcome {
            Outcome::TimedOut { .. } => process.timed_out,
            Outcome::OutOfMemory { .. } => process.over_hard_limit,
            Outcome::Panicked => process.terminal_failure,
            Outcome::Crashed(CrashCause::PipeClosed) => process.pipe_closed,
            Outcome::Protocol(_) => process.violated || process.is(WorkerState::Exiting),
            _ => true,
        };
        ensure(announced, || format!("nobody was told why {worker_key:?} ends with {outcome:?}"))
    }

    /// Whether a start failure in this step was one too many.
    pub(super) fn breaks(&self) -> bool {
        self.breaks
    }

    /// What must hold after each step.
    pub(super) fn settled_down(&mut self, machine: &Supervisor) -> Found {
        let counters = machine.counters();
        let counted = [counters.spawned, counters.timed_out];
        let happened = [self.spawned, self.timed_out];
        ensure(counted == happened, || format!("{counted:?} were spawned and timed out, announced {happened:?}"))?;
        ensure(!self.awaits_ready || !machine.all_ready(), || "nobody is told that all are ready".into())?;
        ensure(!self.breaks || machine.is_circuit_open(), || "no worker starts, and nobody is told".into())?;
        let was_broken = std::mem::replace(&mut self.was_broken, machine.is_circuit_open());
        let breaks = self.was_broken && !was_broken;
        let told = std::mem::take(&mut self.told_breaks);
        ensure(told == breaks, || format!("no worker starts from here on: {breaks}, and so it is told: {told}"))?;
        // One that is on its way out is replaced once it is reaped.
        let (workers, waits) = (self.processes.len(), self.start_failures > 0);
        let most = self.config.max_processes;
        let minimum = if self.wants_all { most } else { self.config.min_processes.min(most) };
        ensure(self.closed || waits || workers >= minimum, || format!("only {workers} workers of {minimum}"))?;
        for (worker_key, worker) in machine.workers() {
            let process = self.processes.get(&worker_key).ok_or_else(|| format!("{worker_key:?} was never spawned"))?;
            let announced = process.state.map(|(state, _)| state);
            ensure(announced == Some(worker.state()), || {
                format!("{worker_key:?} is {}, and {announced:?} was announced", worker.state())
            })?;
        }
        match self.due {
            Some(Due::TerminalFailure(worker_key)) => {
                let announced = self.processes.get(&worker_key).is_none_or(|process| process.terminal_failure);
                ensure(announced, || format!("nobody is told that {worker_key:?} has said why it ends"))
            }
            Some(Due::Exiting(worker_key)) => {
                let exited = self.processes.get(&worker_key).is_none_or(|process| process.exited);
                let exits =
                    exited || machine.worker(worker_key).is_none_or(|worker| worker.state() == WorkerState::Exiting);
                ensure(exits, || format!("{worker_key:?} lives on"))
            }
            None => Ok(()),
        }
    }

    /// Nothing is later than it may be.
    pub(super) fn overdue(&self, now: Duration, machine: &Supervisor) -> Found {
        for (worker_key, process) in self.processes.iter().filter(|(_, process)| process.there && !process.exited) {
            let late = process.ends_since.is_some_and(|at| now > at + STATUS_WAIT);
            ensure(!late, || format!("the status of {worker_key:?} is awaited at {now:?}: {process:?}"))?;
            if process.ended {
                continue;
            }
            let hard = self.config.max_memory.hard.is_some();
            let unmeasured = hard && process.measured.is_some_and(|at| now > at + MEASURE_EVERY);
            ensure(!unmeasured, || format!("nobody measures {worker_key:?} at {now:?}: {process:?}"))?;
            if let Some((WorkerState::Exiting, since)) = process.state {
                let last = process.terminated.map_or(since, |at| at.max(since));
                let late = !process.killed && now > last + self.config.kill_grace;
                ensure(!late, || format!("nobody kills {worker_key:?} at {now:?}: {process:?}"))?;
                let was_asked = process.told_to_leave || process.terminated.is_some() || process.killed;
                ensure(was_asked || process.terminal_failure, || {
                    format!("nobody has told {worker_key:?} to end: {process:?}")
                })?;
            }
            let doomed = machine.worker(*worker_key).is_none_or(Worker::is_being_killed);
            // One that is stopped goes on, or is killed: it does not end at SIGTERM.
            let idle = process.stopped && (!doomed || (process.is(WorkerState::Exiting) && !process.killed));
            ensure(!idle, || format!("{worker_key:?} stays stopped: {process:?}"))?;
            let late = process.limited.is_some_and(|(since, limit)| now > since + limit + SLACK);
            ensure(doomed || !late, || format!("{worker_key:?} is over its limit at {now:?}: {process:?}"))?;
        }
        Ok(())
    }
}

impl Process {
    fn is(&self, state: WorkerState) -> bool {
        self.state.is_some_and(|(of, _)| of == state)
    }
}

fn once(before: &mut bool, worker_key: WorkerKey, what: &str) -> Found {
    ensure(!std::mem::replace(before, true), || format!("{worker_key:?} is {what} twice"))
}

/// The worker that an effect is about.
fn worker_key_of(effect: &Effect) -> Option<WorkerKey> {
    match *effect {
        Effect::Announce(Notice::Spawned(worker_key))
        | Effect::Do(Action::GiveUpStatus(worker_key))
        | Effect::Do(Action::Measure(worker_key))
        | Effect::Do(Action::Drain(worker_key))
        | Effect::Do(Action::SendLeave(worker_key)) => Some(worker_key),
        Effect::Do(Action::Signal(worker_key, _)) | Effect::Announce(Notice::Violated(worker_key, _)) => {
            Some(worker_key)
        }
        Effect::Announce(Notice::PipeClosed(worker_key))
        | Effect::Announce(Notice::RecallIgnored(worker_key))
        | Effect::Announce(Notice::TerminalFailure(worker_key)) => Some(worker_key),
        Effect::Announce(Notice::State { worker_key, .. })
        | Effect::Announce(Notice::TimedOut { worker_key, .. })
        | Effect::Announce(Notice::OverHardLimit { worker_key, .. }) => Some(worker_key),
        Effect::Announce(Notice::OverSoftLimit { worker_key, .. }) => Some(worker_key),
        _ => None,
    }
}
