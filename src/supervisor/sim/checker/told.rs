//! What the pool does and tells beside the jobs: nothing is left out, nothing comes twice, and each in its time.

use super::{Found, SLACK, ensure};
use crate::supervisor::worker::Worker;
use crate::supervisor::{
    Config, CrashCause, Effect, Input, MEASURE_EVERY, Outcome, Said, Seat, Signal, Supervisor, WorkerState,
};
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Clone, Debug, Default)]
struct Process {
    /// The state that was told last, and since when.
    state: Option<(WorkerState, Duration)>,
    there: bool,
    exited: bool,
    been_ready: bool,
    told_to_leave: bool,
    terminated: Option<Duration>,
    killed: bool,
    stopped: bool,
    /// Whether what it wrote before its limit was found to be over is being read.
    hearing: bool,
    /// When its memory was measured, or began to count.
    measured: Option<Duration>,
    /// The limit of its start or of its recovery, and since when it holds.
    limited: Option<(Duration, Duration)>,
    over_limit: bool,
    over_memory: bool,
    outgrown: bool,
    last_words: bool,
    output_closed: bool,
    violated: bool,
    recall_ignored: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Told {
    config: Config,
    processes: BTreeMap<Seat, Process>,
    now: Duration,
    closed: bool,
    exited: bool,
    /// Whether somebody asked for all workers, and was not told that they are ready.
    awaits_ready: bool,
    /// Whether somebody asked for them in this step.
    wants_all: bool,
    spawned: u64,
    timed_out: u64,
    start_failures: u64,
    /// Whether the last start failure was one too many.
    breaks: bool,
    /// What must be so at the end of this step.
    due: Option<Due>,
}

#[derive(Clone, Copy, Debug)]
enum Due {
    LastWords(Seat),
    Exiting(Seat),
}

impl Told {
    pub(super) fn new(config: &Config) -> Self {
        Told {
            config: config.clone(),
            processes: BTreeMap::new(),
            now: Duration::ZERO,
            closed: false,
            exited: false,
            awaits_ready: false,
            wants_all: false,
            spawned: 0,
            timed_out: 0,
            start_failures: 0,
            breaks: false,
            due: None,
        }
    }

    pub(super) fn input(&mut self, now: Duration, input: &Input<u64>) {
        self.now = now;
        (self.wants_all, self.breaks, self.due) = (false, false, None);
        let timeout_recovering = self.config.timeout_recovering;
        match *input {
            Input::SpawnWorkers if !self.closed => (self.awaits_ready, self.wants_all) = (true, true),
            Input::Close => self.closed = true,
            Input::Exit => (self.closed, self.exited) = (true, true),
            Input::SpawnFailed(seat) => drop(self.processes.remove(&seat)),
            Input::Said(seat, said) => {
                let Some(process) = self.processes.get_mut(&seat) else { return };
                match said {
                    Said::Ready => (process.been_ready, process.limited) = (true, None),
                    Said::Answer { ready, .. } => {
                        process.limited = timeout_recovering.filter(|_| !ready).map(|limit| (now, limit));
                    }
                    Said::Terminal { job } => {
                        process.limited = None;
                        self.due = job.is_none().then_some(Due::LastWords(seat));
                    }
                    _ => {}
                }
                process.hearing &= !matches!(said, Said::Ready | Said::Answer { .. } | Said::Skipped { .. });
            }
            Input::Heard(seat) => self.of(seat, |process| process.hearing = false),
            Input::Garbled(seat) => self.due = Some(Due::Exiting(seat)),
            Input::Stopped(seat) if self.processes.get(&seat).is_some_and(|process| process.stopped) => {
                self.due = Some(Due::Exiting(seat));
            }
            Input::Exited { seat, .. } => self.of(seat, |process| process.exited = true),
            _ => {}
        }
    }

    fn of(&mut self, seat: Seat, then: impl FnOnce(&mut Process)) {
        if let Some(process) = self.processes.get_mut(&seat) {
            then(process);
        }
    }

    pub(super) fn effect(&mut self, effect: &Effect<u64>, input: &Input<u64>) -> Found {
        let now = self.now;
        match *effect {
            Effect::Spawn(seat) => drop(self.processes.insert(seat, Process::default())),
            Effect::Died(seat) => drop(self.processes.remove(&seat)),
            Effect::Enqueued(_) => ensure(!self.closed, || "a job is taken after close".into())?,
            Effect::StartFailed { in_a_row, .. } => {
                self.start_failures += 1;
                let others_ready = self.processes.values().any(|process| process.been_ready);
                self.breaks = !others_ready && in_a_row >= self.config.start_failures;
            }
            Effect::AllReady => {
                ensure(std::mem::take(&mut self.awaits_ready), || "nobody has asked whether all are ready".into())?;
            }
            Effect::Settled { outcome, seat: Some(seat), .. } | Effect::Retried { outcome, seat, .. } => {
                return self.explained(seat, outcome);
            }
            _ => {}
        }
        let grace = self.config.kill_grace;
        let Some((seat, process)) = seat_of(effect).and_then(|seat| Some((seat, self.processes.get_mut(&seat)?)))
        else {
            return Ok(());
        };
        match *effect {
            Effect::Spawned(_) => {
                self.spawned += 1;
                process.limited = self.config.timeout_initializing.map(|limit| (now, limit));
                once(&mut process.there, seat, "spawned")
            }
            Effect::State { state, .. } => {
                ensure(process.state.is_none_or(|(before, _)| before != state), || {
                    format!("{seat:?} is {state} again")
                })?;
                process.state = Some((state, now));
                match state {
                    WorkerState::Initializing | WorkerState::Working => process.measured = Some(now),
                    WorkerState::Ready | WorkerState::Exiting => process.measured = None,
                    WorkerState::Recovering => {}
                }
                process.hearing &= state != WorkerState::Exiting;
                Ok(())
            }
            Effect::Measure(_) => {
                let before = process.measured.replace(now);
                ensure(before.is_some_and(|before| now >= before + MEASURE_EVERY), || {
                    format!("{seat:?} is measured at {now:?} and at {before:?}")
                })
            }
            Effect::Hear(_) => once(&mut process.hearing, seat, "heard out"),
            Effect::OverLimit { state, limit, .. } => {
                self.timed_out += 1;
                let own = process.limited.is_some_and(|(since, of)| of == limit && now >= since + limit);
                let timed = matches!(state, WorkerState::Initializing | WorkerState::Recovering);
                ensure(!timed || own, || format!("{seat:?} is over {limit:?}, {state}: {process:?}"))?;
                once(&mut process.over_limit, seat, "over its limit")
            }
            Effect::OverMemory { .. } => once(&mut process.over_memory, seat, "over its memory"),
            Effect::Outgrown { .. } => once(&mut process.outgrown, seat, "outgrown"),
            Effect::OutputClosed(_) => once(&mut process.output_closed, seat, "without its pipe"),
            Effect::Violated(..) => once(&mut process.violated, seat, "accused"),
            Effect::RecallIgnored(_) => once(&mut process.recall_ignored, seat, "said to ignore recalls"),
            Effect::LastWords(_) => {
                process.last_words = true;
                let said = matches!(input, Input::Said(of, Said::Terminal { .. }) if *of == seat);
                ensure(said, || format!("{seat:?} has said nothing of its end"))
            }
            Effect::SendLeave(_) => once(&mut process.told_to_leave, seat, "told to leave"),
            Effect::Signal(_, signal) => {
                match signal {
                    Signal::Terminate => process.terminated = Some(now),
                    Signal::Kill => {
                        let in_time = process.terminated.is_some_and(|at| now >= at + grace);
                        ensure(in_time || grace.is_zero() || process.stopped, || format!("SIGKILL to {process:?}"))?;
                        process.killed = true;
                    }
                    Signal::Stop => process.stopped = true,
                    Signal::Continue => process.stopped = false,
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// What has ended an attempt was told before.
    fn explained(&self, seat: Seat, outcome: Outcome) -> Found {
        let Some(process) = self.processes.get(&seat) else { return Ok(()) };
        let told = match outcome {
            Outcome::TimedOut { .. } => process.over_limit,
            Outcome::OutOfMemory { .. } => process.over_memory,
            Outcome::Panicked => process.last_words,
            Outcome::Crashed(CrashCause::PipeClosed) => process.output_closed,
            Outcome::Protocol(_) => process.violated || process.is(WorkerState::Exiting),
            _ => true,
        };
        ensure(told, || format!("nobody was told why {seat:?} ends with {outcome:?}"))
    }

    /// What must hold after each step.
    pub(super) fn settled_down(&self, machine: &Supervisor<u64>) -> Found {
        let counters = machine.counters();
        let counted = [counters.spawned, counters.timed_out];
        let happened = [self.spawned, self.timed_out];
        ensure(counted == happened, || format!("{counted:?} were spawned and timed out, told {happened:?}"))?;
        ensure(!self.awaits_ready || !machine.all_ready(), || "nobody is told that all are ready".into())?;
        ensure(!self.breaks || machine.is_broken(), || "no worker starts, and nobody is told".into())?;
        // One that is on its way out is replaced once it is reaped.
        let (workers, waits) = (self.processes.len(), self.start_failures > 0);
        let minimum = if self.wants_all { self.config.max_processes } else { self.config.min_processes };
        ensure(self.closed || waits || workers >= minimum, || format!("only {workers} workers of {minimum}"))?;
        for (seat, worker) in machine.workers() {
            let process = self.processes.get(&seat).ok_or_else(|| format!("{seat:?} was never spawned"))?;
            let told = process.state.map(|(state, _)| state);
            ensure(told == Some(worker.state()), || format!("{seat:?} is {}, and told {told:?}", worker.state()))?;
        }
        match self.due {
            Some(Due::LastWords(seat)) => {
                let told = self.processes.get(&seat).is_none_or(|process| process.last_words);
                ensure(told, || format!("nobody is told that {seat:?} has said why it ends"))
            }
            Some(Due::Exiting(seat)) => {
                let exited = self.processes.get(&seat).is_none_or(|process| process.exited);
                let exits = exited || machine.worker(seat).is_none_or(|worker| worker.state() == WorkerState::Exiting);
                ensure(exits, || format!("{seat:?} lives on"))
            }
            None => Ok(()),
        }
    }

    /// Nothing is later than it may be.
    pub(super) fn overdue(&self, now: Duration, machine: &Supervisor<u64>) -> Found {
        for (seat, process) in self.processes.iter().filter(|(_, process)| process.there && !process.exited) {
            let hard = self.config.max_memory.hard.is_some();
            let unmeasured = hard && process.measured.is_some_and(|at| now > at + MEASURE_EVERY);
            ensure(!unmeasured, || format!("nobody measures {seat:?} at {now:?}: {process:?}"))?;
            if let Some((WorkerState::Exiting, since)) = process.state {
                let last = process.terminated.map_or(since, |at| at.max(since));
                let late = !process.killed && now > last + self.config.kill_grace;
                ensure(!late, || format!("nobody kills {seat:?} at {now:?}: {process:?}"))?;
                let told = process.told_to_leave || process.terminated.is_some() || process.killed;
                ensure(told || process.last_words, || format!("nobody has told {seat:?} to end: {process:?}"))?;
            }
            let doomed = machine.worker(*seat).is_none_or(Worker::is_doomed);
            // One that is stopped goes on, or is killed: it does not end at SIGTERM.
            let idle = process.stopped && (!doomed || (process.is(WorkerState::Exiting) && !process.killed));
            ensure(!idle, || format!("{seat:?} stays stopped: {process:?}"))?;
            let late = process.limited.is_some_and(|(since, limit)| now > since + limit + SLACK);
            ensure(doomed || !late, || format!("{seat:?} is over its limit at {now:?}: {process:?}"))?;
        }
        Ok(())
    }
}

impl Process {
    fn is(&self, state: WorkerState) -> bool {
        self.state.is_some_and(|(of, _)| of == state)
    }
}

fn once(told: &mut bool, seat: Seat, what: &str) -> Found {
    ensure(!std::mem::replace(told, true), || format!("{seat:?} is {what} twice"))
}

/// The worker that an effect is about.
fn seat_of(effect: &Effect<u64>) -> Option<Seat> {
    match *effect {
        Effect::Spawned(seat) | Effect::Measure(seat) | Effect::Hear(seat) | Effect::SendLeave(seat) => Some(seat),
        Effect::Signal(seat, _) | Effect::Violated(seat, _) => Some(seat),
        Effect::OutputClosed(seat) | Effect::RecallIgnored(seat) | Effect::LastWords(seat) => Some(seat),
        Effect::State { seat, .. } | Effect::OverLimit { seat, .. } | Effect::OverMemory { seat, .. } => Some(seat),
        Effect::Outgrown { seat, .. } => Some(seat),
        _ => None,
    }
}
