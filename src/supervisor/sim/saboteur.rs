//! Spoils what goes between the machine and the simulated world, to prove that the checker notices.
//!
//! The world and the checker see what truly happens and what is truly done; the machine behind the saboteur learns of
//! something else, or its effects are not what is done. To them it is a machine with a bug. Bugs that can only be made inside
//! the machine are the patches in `tests/mutants`.

use crate::supervisor::{
    Action, Begun, Config, Effect, Input, JobSettings, Limit, LimitKey, MaxMemory, Message, Notice, Refusal,
    RetryPolicy, Signal, Supervisor, Undelivered, WhenFull, WorkerKey,
};
use std::collections::VecDeque;
use std::time::Duration;

/// What is spoiled. Kinds are those of [`kind_of_input`] and [`kind_of_effect`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sabotage {
    /// The machine never learns of such an input.
    InputLost(&'static str),
    /// It learns of it again before the next one.
    InputTwice(&'static str),
    /// Such an effect is neither carried out nor announced.
    EffectLost(&'static str),
    /// It is carried out and announced again with the next step.
    EffectTwice(&'static str),

    /// All jobs are equal.
    NoPriorities,
    OwnLimitForgotten,
    OwnRetriesForgotten,
    OneRetryTooMany,
    OneRetryTooFew,
    /// Retries wait no time, or twice as long.
    NoBackoff,
    TwiceTheBackoff,
    /// Every kind of failure is retried.
    AllKindsAreRetried,
    NoDelay,
    /// Jobs have no key, or one more or fewer of it may run, or all jobs of keys are of one.
    NoKeys,
    OneTooManyOfAKey,
    OneTooFewOfAKey,
    KeysAreOne,
    /// Attempts in doubt count, or do not, whatever was said.
    NoneIsIdempotent,
    AllAreIdempotent,
    /// Jobs never expire, or sooner than they should.
    NeverExpires,
    ExpiresTooEarly,
    OneJobTooMany,
    OneJobTooFew,
    OneWorkerTooMany,
    NoMinimum,
    NoGrace,
    GraceTooLong,
    NoLimitOfInitializing,
    NoLimitOfWorking,
    NoLimitOfRecovering,
    LimitsTooShort,
    NoSoftMemory,
    NoHardMemory,
    OneStartFailureTooMany,
    NoIdleTimeout,
    IdleTimeoutTooShort,
    NoMaxAge,
    MaxAgeTooShort,
    /// Jobs are prefetched though that is off.
    PrefetchThoughOff,
    /// What is said of a worker is taken as said of its successor in the slot.
    NamesakesAreOne,
    /// Every worker is taken for one that answers recalls while a job runs.
    AllAnswerRecalls,
    /// The limit is found to be over before the pipe is read.
    DrainedAtOnce,
    /// The worker counts as stopped before it is, and before the pipe is read.
    StoppedAtOnce,
    /// A job that is recalled counts as skipped at once.
    SkippedAtOnce,
    /// The exit counts as the end of the output.
    ExitEndsOutput,
    /// The end of the pipe of a worker that lives is nothing.
    ClosedPipeIsNothing,
    /// The job that a dead worker was doing counts as not read.
    BegunIsUndelivered,
    /// The job behind the one that a dead worker had not read counts as the first.
    NextIsUndelivered,
    /// SIGTERM once the worker is reaped.
    SignalToTheReaped,
    /// SIGKILL in place of SIGTERM.
    KilledAtOnce,
    /// A worker is spawned for each that is on its way out.
    DyingDoNotCount,
    /// Attempts are counted from 0.
    AttemptsFromZero,
    /// Whoever is told of a failure is told that nothing had begun, or that it had.
    NothingHadBegun,
    AllHadBegun,
    /// Memory is found to be a byte less than the limit.
    MemoryIsFree,
    /// Memory is never measured with a message.
    NotMeasuredAtRest,
    /// The backlog has no limit, or room for one job more or less.
    NoMaxBacklog,
    OneTooManyInBacklog,
    OneTooFewInBacklog,
    /// Callers that would wait are refused; those that would be refused wait; those that must not wait do.
    NobodyWaits,
    RefusedOnesWait,
    NobodyExceeds,
    /// Who is refused because the pool is closed hears that it is full.
    ClosedIsFull,
    NoSoftTimeout,
    OwnSoftTimeoutForgotten,
    /// A cancelled job has half of its grace time, or twice as much.
    HalfTheGraceOfCancel,
    TwiceTheGraceOfCancel,
    /// A call to abort what is queued hears of one job less, or more.
    OneAbortedLess,
    OneAbortedMore,
    /// Whoever asks for one job aborts all.
    AllAreUnwanted,
    /// Start failures are not announced with the death.
    NoStartFailures,
}

/// All of them, but those that [`HARMLESS`] names.
pub(super) fn all() -> Vec<Sabotage> {
    use Sabotage::*;
    let inputs = INPUTS.iter().flat_map(|&kind| [InputLost(kind), InputTwice(kind)]);
    let effects = EFFECTS.iter().flat_map(|&kind| [EffectLost(kind), EffectTwice(kind)]);
    let others = [
        NoPriorities,
        OwnLimitForgotten,
        OwnRetriesForgotten,
        OneRetryTooMany,
        OneRetryTooFew,
        NoBackoff,
        TwiceTheBackoff,
        AllKindsAreRetried,
        NoDelay,
        NoKeys,
        OneTooManyOfAKey,
        OneTooFewOfAKey,
        KeysAreOne,
        NoneIsIdempotent,
        AllAreIdempotent,
        NeverExpires,
        ExpiresTooEarly,
        OneJobTooMany,
        OneJobTooFew,
        OneWorkerTooMany,
        NoMinimum,
        NoGrace,
        GraceTooLong,
        NoLimitOfInitializing,
        NoLimitOfWorking,
        NoLimitOfRecovering,
        LimitsTooShort,
        NoSoftMemory,
        NoHardMemory,
        OneStartFailureTooMany,
        NoIdleTimeout,
        IdleTimeoutTooShort,
        NoMaxAge,
        MaxAgeTooShort,
        PrefetchThoughOff,
        NamesakesAreOne,
        AllAnswerRecalls,
        DrainedAtOnce,
        StoppedAtOnce,
        SkippedAtOnce,
        ExitEndsOutput,
        ClosedPipeIsNothing,
        BegunIsUndelivered,
        NextIsUndelivered,
        SignalToTheReaped,
        KilledAtOnce,
        DyingDoNotCount,
        AttemptsFromZero,
        NothingHadBegun,
        AllHadBegun,
        MemoryIsFree,
        NotMeasuredAtRest,
        NoMaxBacklog,
        OneTooManyInBacklog,
        OneTooFewInBacklog,
        NobodyWaits,
        RefusedOnesWait,
        NobodyExceeds,
        ClosedIsFull,
        NoSoftTimeout,
        OwnSoftTimeoutForgotten,
        HalfTheGraceOfCancel,
        TwiceTheGraceOfCancel,
        OneAbortedLess,
        OneAbortedMore,
        AllAreUnwanted,
        NoStartFailures,
    ];
    inputs.chain(effects).chain(others).filter(|sabotage| !HARMLESS.iter().any(|(of, _)| of == sabotage)).collect()
}

/// What is found only within some ten thousand worlds.
pub(super) const RARE: [Sabotage; 2] = [Sabotage::StoppedAtOnce, Sabotage::EffectTwice("RecallIgnored")];

/// What only workers on other machines have: it is found in the small worlds with those.
pub(super) const FAR: [Sabotage; 3] =
    [Sabotage::EffectLost("SendHeartbeat"), Sabotage::InputLost("Heard"), Sabotage::EffectLost("Silent")];

/// What the pool takes in its stride, and why.
pub(super) const HARMLESS: [(Sabotage, &str); 24] = [
    (Sabotage::InputTwice("Cancel"), "the second grace time ends no earlier"),
    (Sabotage::InputLost("Hello"), "nothing is prefetched to a worker that has not said that it answers recalls"),
    (Sabotage::EffectLost("RecallIgnored"), "a line of the log, and whether it comes depends on who is free when"),
    (Sabotage::InputTwice("Retire"), "it says the same"),
    (Sabotage::InputTwice("Resident"), "it says the same"),
    (Sabotage::InputTwice("Abort"), "a job that is over is not aborted"),
    (Sabotage::InputTwice("SpawnWorkers"), "all are there or asked for"),
    (Sabotage::InputTwice("SetMaxProcesses"), "it says the same"),
    (Sabotage::InputTwice("Pause"), "it is paused"),
    (Sabotage::InputTwice("Resume"), "it says the same"),
    (Sabotage::InputTwice("Close"), "it is closed"),
    (Sabotage::InputTwice("Exit"), "there is nothing left to end"),
    (Sabotage::InputTwice("Tick"), "nothing is due"),
    (Sabotage::InputTwice("SpawnFailed"), "its slot is empty"),
    (Sabotage::InputTwice("Hello"), "it says the same"),
    (Sabotage::InputTwice("Start"), "only the first message about a job proves anything"),
    (Sabotage::InputTwice("Drained"), "nobody waits for it"),
    (Sabotage::InputTwice("Stopped"), "the worker is being killed"),
    (Sabotage::InputTwice("Malformed"), "the worker is being killed"),
    (Sabotage::InputTwice("StdoutClosed"), "it has ended"),
    (Sabotage::InputTwice("StdinBroken"), "it is broken"),
    (Sabotage::InputTwice("Exited"), "it has exited"),
    (Sabotage::InputTwice("Orphaned"), "it says the same"),
    (Sabotage::InputTwice("Ended"), "it has ended"),
];

const INPUTS: [&str; 31] = [
    "Enqueue",
    "Abort",
    "Cancel",
    "AbortQueued",
    "SpawnWorkers",
    "SetMaxProcesses",
    "Recycle",
    "Pause",
    "Resume",
    "Close",
    "Exit",
    "Tick",
    "Spawned",
    "SpawnFailed",
    "Hello",
    "Ready",
    "Start",
    "Progress",
    "Answer",
    "Terminal",
    "Skipped",
    "Retire",
    "Drained",
    "Stopped",
    "Resident",
    "Malformed",
    "StdoutClosed",
    "StdinBroken",
    "Exited",
    "Orphaned",
    "Ended",
];

fn kind_of_input(input: &Input) -> &'static str {
    match input {
        Input::Enqueue { .. } => "Enqueue",
        Input::Abort(_) => "Abort",
        Input::Cancel { .. } => "Cancel",
        Input::AbortQueued { .. } => "AbortQueued",
        Input::SpawnWorkers => "SpawnWorkers",
        Input::SetMaxProcesses(_) => "SetMaxProcesses",
        Input::Recycle => "Recycle",
        Input::Pause => "Pause",
        Input::Resume => "Resume",
        Input::Close => "Close",
        Input::Exit => "Exit",
        Input::Tick => "Tick",
        Input::Spawned(_) => "Spawned",
        Input::SpawnFailed(_) => "SpawnFailed",
        Input::Hello { .. } => "Hello",
        Input::Message { message, .. } => match message {
            Message::Ready => "Ready",
            Message::Start { .. } => "Start",
            Message::Progress { .. } => "Progress",
            Message::Answer { .. } => "Answer",
            Message::Terminal { .. } => "Terminal",
            Message::Skipped { .. } => "Skipped",
            Message::Retire => "Retire",
        },
        Input::Heard(_) => "Heard",
        Input::Drained(_) => "Drained",
        Input::Stopped(_) => "Stopped",
        Input::Resident { .. } => "Resident",
        Input::Malformed(_) => "Malformed",
        Input::StdoutClosed(_) => "StdoutClosed",
        Input::StdinBroken(_) => "StdinBroken",
        Input::StderrClosed(_) => "StderrClosed",
        Input::Exited { .. } => "Exited",
        Input::Orphaned(_) => "Orphaned",
        Input::Ended(_) => "Ended",
    }
}

const EFFECTS: [&str; 38] = [
    "Spawn",
    "SendJob",
    "SendSkip",
    "SendCancel",
    "SendLeave",
    "Drain",
    "Terminate",
    "Kill",
    "Stop",
    "Continue",
    "GiveUpStatus",
    "Measure",
    "Release",
    "Refused",
    "Enqueued",
    "Backlogged",
    "KeyForgotten",
    "Delayed",
    "Task",
    "Started",
    "Progressed",
    "Retried",
    "Returned",
    "Settled",
    "QueuedAborted",
    "Spawned",
    "State",
    "TimedOut",
    "OverSoftLimit",
    "OverHardLimit",
    "RecallIgnored",
    "PipeClosed",
    "Violated",
    "TerminalFailure",
    "Died",
    "SpawnFailed",
    "AllReady",
    "Idle",
];

fn kind_of_effect(effect: &Effect) -> &'static str {
    match effect {
        Effect::Do(Action::Spawn(_)) => "Spawn",
        Effect::Do(Action::SendJob { .. }) => "SendJob",
        Effect::Do(Action::SendSkip { .. }) => "SendSkip",
        Effect::Do(Action::SendCancel { .. }) => "SendCancel",
        Effect::Do(Action::SendHeartbeat { .. }) => "SendHeartbeat",
        Effect::Do(Action::SendLeave(_)) => "SendLeave",
        Effect::Do(Action::Drain(_)) => "Drain",
        Effect::Do(Action::Signal(_, Signal::Terminate)) => "Terminate",
        Effect::Do(Action::Signal(_, Signal::Kill)) => "Kill",
        Effect::Do(Action::Signal(_, Signal::Stop)) => "Stop",
        Effect::Do(Action::Signal(_, Signal::Continue)) => "Continue",
        Effect::Do(Action::GiveUpStatus(_)) => "GiveUpStatus",
        Effect::Do(Action::Measure(_)) => "Measure",
        Effect::Do(Action::Release(_)) => "Release",
        Effect::Announce(Notice::Refused { .. }) => "Refused",
        Effect::Announce(Notice::Enqueued(_)) => "Enqueued",
        Effect::Announce(Notice::Backlogged(_)) => "Backlogged",
        Effect::Announce(Notice::KeyForgotten(_)) => "KeyForgotten",
        Effect::Announce(Notice::Delayed { .. }) => "Delayed",
        Effect::Announce(Notice::Task { .. }) => "Task",
        Effect::Announce(Notice::Started { .. }) => "Started",
        Effect::Announce(Notice::Progressed { .. }) => "Progressed",
        Effect::Announce(Notice::Retried { .. }) => "Retried",
        Effect::Announce(Notice::Returned { .. }) => "Returned",
        Effect::Announce(Notice::Settled { .. }) => "Settled",
        Effect::Announce(Notice::QueuedAborted { .. }) => "QueuedAborted",
        Effect::Announce(Notice::Spawned(_)) => "Spawned",
        Effect::Announce(Notice::State { .. }) => "State",
        Effect::Announce(Notice::TimedOut { .. }) => "TimedOut",
        Effect::Announce(Notice::OverSoftLimit { .. }) => "OverSoftLimit",
        Effect::Announce(Notice::OverHardLimit { .. }) => "OverHardLimit",
        Effect::Announce(Notice::RecallIgnored(_)) => "RecallIgnored",
        Effect::Announce(Notice::PipeClosed(_)) => "PipeClosed",
        Effect::Announce(Notice::Silent(_)) => "Silent",
        Effect::Announce(Notice::Violated(..)) => "Violated",
        Effect::Announce(Notice::TerminalFailure(_)) => "TerminalFailure",
        Effect::Announce(Notice::Died { .. }) => "Died",
        Effect::Announce(Notice::SpawnFailed { .. }) => "SpawnFailed",
        Effect::Announce(Notice::AllReady) => "AllReady",
        Effect::Announce(Notice::Idle) => "Idle",
    }
}

/// Stands between a machine and its world; lets everything pass where there is nothing to spoil.
#[derive(Clone, Debug, Default)]
pub(super) struct Saboteur {
    sabotage: Option<Sabotage>,
    inputs_again: Vec<Input>,
    effects_again: Vec<Effect>,
    /// The jobs that were sent, the latest last.
    sent: Vec<(WorkerKey, u64)>,
}

impl Saboteur {
    pub(super) fn new(sabotage: Option<Sabotage>) -> Self {
        Saboteur { sabotage, ..Saboteur::default() }
    }

    /// The machine that works by these options, or by others.
    pub(super) fn machine(&self, mut config: Config) -> Supervisor {
        let long = |limit: Option<Duration>| limit.filter(|_| false);
        config.retry = self.sabotage.map_or(config.retry, |sabotage| spoiled_policy(sabotage, config.retry));
        match self.sabotage {
            Some(sabotage @ (Sabotage::NeverExpires | Sabotage::ExpiresTooEarly)) => {
                config.expires = spoiled_expiry(sabotage, config.expires);
            }
            Some(Sabotage::OneRetryTooMany) => config.retry.retries += 1,
            Some(Sabotage::OneRetryTooFew) => config.retry.retries = config.retry.retries.saturating_sub(1),
            Some(Sabotage::OneJobTooMany) => {
                config.max_jobs_per_process = config.max_jobs_per_process.map(|most| most + 1)
            }
            Some(Sabotage::OneJobTooFew) => {
                config.max_jobs_per_process = config.max_jobs_per_process.map(|most| (most - 1).max(1))
            }
            Some(Sabotage::OneWorkerTooMany) => config.max_processes += 1,
            Some(Sabotage::NoMinimum) => config.min_processes = 0,
            Some(Sabotage::NoGrace) => config.kill_grace = Duration::ZERO,
            Some(Sabotage::GraceTooLong) => config.kill_grace *= 2,
            Some(Sabotage::NoLimitOfInitializing) => config.timeout_initializing = long(config.timeout_initializing),
            Some(Sabotage::NoLimitOfWorking) => config.timeout_working = None,
            Some(Sabotage::NoSoftTimeout) => config.soft_timeout = None,
            Some(Sabotage::NoLimitOfRecovering) => config.timeout_recovering = None,
            Some(Sabotage::LimitsTooShort) => {
                for limit in
                    [&mut config.timeout_initializing, &mut config.timeout_working, &mut config.timeout_recovering]
                {
                    *limit = limit.map(|limit| limit / 2);
                }
            }
            Some(Sabotage::NoSoftMemory) => config.max_memory = MaxMemory { soft: None, ..config.max_memory },
            Some(Sabotage::NoHardMemory) => config.max_memory = MaxMemory { hard: None, ..config.max_memory },
            Some(Sabotage::OneStartFailureTooMany) => config.start_failures = config.start_failures.saturating_add(1),
            Some(Sabotage::NoMaxBacklog) => config.max_backlog = None,
            Some(Sabotage::OneTooManyInBacklog) => config.max_backlog = config.max_backlog.map(|most| most + 1),
            Some(Sabotage::OneTooFewInBacklog) => config.max_backlog = config.max_backlog.map(|most| most - 1),
            Some(Sabotage::NoIdleTimeout) => config.idle_timeout = None,
            Some(Sabotage::IdleTimeoutTooShort) => config.idle_timeout = config.idle_timeout.map(|limit| limit / 2),
            Some(Sabotage::NoMaxAge) => config.max_age = None,
            Some(Sabotage::MaxAgeTooShort) => config.max_age = config.max_age.map(|limit| limit / 2),
            Some(Sabotage::PrefetchThoughOff) => config.prefetch = config.prefetch.max(2),
            _ => {}
        }
        Supervisor::new(config)
    }

    /// Tells the machine what happened, or something else; gives what is to be done, or something else.
    pub(super) fn handle(&mut self, machine: &mut Supervisor, now: Duration, input: Input, effects: &mut Vec<Effect>) {
        let Some(sabotage) = self.sabotage else { return machine.handle(now, input, effects) };
        effects.append(&mut self.effects_again);
        let mut inputs: VecDeque<_> = std::mem::take(&mut self.inputs_again).into();
        inputs.extend(self.spoiled_input(sabotage, machine, input));
        while let Some(input) = inputs.pop_front() {
            let mut caused = Vec::new();
            machine.handle(now, input, &mut caused);
            for effect in caused {
                if let Effect::Do(Action::SendJob { worker_key, key, .. }) = effect {
                    self.sent.push((worker_key, key.id));
                }
                inputs.extend(answer_at_once(sabotage, &effect));
                self.spoil_effect(sabotage, effect, effects);
            }
        }
    }

    fn spoiled_input(&mut self, sabotage: Sabotage, machine: &Supervisor, mut input: Input) -> Vec<Input> {
        let kind = kind_of_input(&input);
        match sabotage {
            Sabotage::InputLost(of) if of == kind => return Vec::new(),
            Sabotage::InputTwice(of) if of == kind => self.inputs_again.push(input.clone()),
            Sabotage::NamesakesAreOne => {
                if let Some(worker_key) = worker_key_of(&mut input)
                    && let Some((successor, _)) = machine.workers().find(|(of, _)| of.slot == worker_key.slot)
                {
                    *worker_key = successor;
                }
            }
            Sabotage::ClosedPipeIsNothing => {
                if let Input::StdoutClosed(worker_key) = input
                    && machine.worker(worker_key).is_some_and(|worker| !worker.is_reaped())
                {
                    return Vec::new();
                }
            }
            Sabotage::ExitEndsOutput => {
                if let Input::Exited { worker_key, .. } = input {
                    return vec![input, Input::StdoutClosed(worker_key)];
                }
            }
            _ => spoil_values(sabotage, machine, &self.sent, &mut input),
        }
        vec![input]
    }

    fn spoil_effect(&mut self, sabotage: Sabotage, mut effect: Effect, effects: &mut Vec<Effect>) {
        let kind = kind_of_effect(&effect);
        match (sabotage, &mut effect) {
            (Sabotage::EffectLost(of), _) if of == kind => return,
            (Sabotage::EffectTwice(of), effect) if of == kind => self.effects_again.push(effect.clone()),
            (Sabotage::SignalToTheReaped, &mut Effect::Announce(Notice::Died { worker_key, .. })) => {
                effects.push(Effect::Do(Action::Signal(worker_key, Signal::Terminate)));
            }
            (Sabotage::ClosedIsFull, Effect::Announce(Notice::Refused { refusal, .. })) => *refusal = Refusal::Full,
            (Sabotage::OneAbortedLess, Effect::Announce(Notice::QueuedAborted { aborted, .. })) => {
                *aborted = aborted.saturating_sub(1);
            }
            (Sabotage::OneAbortedMore, Effect::Announce(Notice::QueuedAborted { aborted, .. })) => *aborted += 1,
            (Sabotage::NoStartFailures, Effect::Announce(Notice::Died { start_failed, .. })) => *start_failed = None,
            (Sabotage::KilledAtOnce, Effect::Do(Action::Signal(_, signal @ Signal::Terminate))) => {
                *signal = Signal::Kill
            }
            (Sabotage::DyingDoNotCount, &mut Effect::Do(Action::SendLeave(worker_key))) => {
                effects
                    .push(Effect::Do(Action::Spawn(WorkerKey { worker: u64::MAX - worker_key.worker, ..worker_key })));
            }
            (
                Sabotage::AttemptsFromZero,
                Effect::Do(Action::SendJob { attempt, .. }) | Effect::Announce(Notice::Task { attempt, .. }),
            ) => {
                *attempt -= 1;
            }
            (
                Sabotage::NothingHadBegun,
                Effect::Announce(Notice::Settled { begun, .. }) | Effect::Announce(Notice::Retried { begun, .. }),
            ) => {
                *begun = Begun::No;
            }
            (
                Sabotage::AllHadBegun,
                Effect::Announce(Notice::Settled { begun, .. }) | Effect::Announce(Notice::Retried { begun, .. }),
            ) => {
                *begun = Begun::Yes;
            }
            _ => {}
        }
        effects.push(effect);
    }
}

/// What is announced of a worker before it can have happened.
fn answer_at_once(sabotage: Sabotage, effect: &Effect) -> Option<Input> {
    match (sabotage, effect) {
        (Sabotage::DrainedAtOnce, &Effect::Do(Action::Drain(worker_key))) => Some(Input::Drained(worker_key)),
        (Sabotage::StoppedAtOnce, &Effect::Do(Action::Signal(worker_key, Signal::Stop))) => {
            Some(Input::Stopped(worker_key))
        }
        (Sabotage::SkippedAtOnce, &Effect::Do(Action::SendSkip { worker_key, id })) => {
            Some(Input::Message { worker_key, message: Message::Skipped { job: id }, resident: None })
        }
        _ => None,
    }
}

fn spoil_values(sabotage: Sabotage, machine: &Supervisor, sent: &[(WorkerKey, u64)], input: &mut Input) {
    match (sabotage, input) {
        (_, Input::Enqueue { job, when_full }) => {
            job.settings = spoiled_settings(sabotage, &job.settings);
            *when_full = match (sabotage, *when_full) {
                (Sabotage::NobodyWaits, WhenFull::Wait) => WhenFull::Refuse,
                (Sabotage::RefusedOnesWait, WhenFull::Refuse) => WhenFull::Wait,
                (Sabotage::NobodyExceeds, WhenFull::Exceed) => WhenFull::Wait,
                (_, when_full) => when_full,
            };
        }
        (Sabotage::HalfTheGraceOfCancel, Input::Cancel { grace, .. }) => *grace /= 2,
        (Sabotage::TwiceTheGraceOfCancel, Input::Cancel { grace, .. }) => *grace = grace.saturating_mul(2),
        (Sabotage::AllAreUnwanted, Input::AbortQueued { only, .. }) => *only = None,
        (Sabotage::AllAnswerRecalls, Input::Hello { recalls, .. }) => *recalls = true,
        (Sabotage::BegunIsUndelivered, Input::Exited { worker_key, undelivered }) => {
            let job = machine.worker(*worker_key).and_then(|worker| worker.job());
            *undelivered = job.map(|job| Undelivered { job, in_part: false }).or(*undelivered);
        }
        (Sabotage::NextIsUndelivered, Input::Exited { worker_key, undelivered: Some(undelivered) }) => {
            let behind =
                sent.iter().filter(|(of, _)| of == worker_key).skip_while(|(_, job)| *job != undelivered.job).nth(1);
            undelivered.job = behind.map_or(undelivered.job, |(_, job)| *job);
        }
        (Sabotage::MemoryIsFree, Input::Resident { bytes, .. }) => *bytes = 0,
        (Sabotage::MemoryIsFree, Input::Message { resident, .. }) => *resident = resident.map(|_| 0),
        (Sabotage::NotMeasuredAtRest, Input::Message { resident, .. }) => *resident = None,
        _ => {}
    }
}

fn spoiled_settings(sabotage: Sabotage, settings: &JobSettings) -> JobSettings {
    let mut spoiled = JobSettings::default();
    if sabotage != Sabotage::NoPriorities {
        spoiled.set_priority(settings.priority());
    }
    let limit = settings.timeout(None);
    if limit == settings.timeout(Some(Duration::MAX)) && sabotage != Sabotage::OwnLimitForgotten {
        spoiled.set_timeout(limit);
    }
    let soft = settings.soft_timeout(None);
    if soft == settings.soft_timeout(Some(Duration::MAX)) && sabotage != Sabotage::OwnSoftTimeoutForgotten {
        spoiled.set_soft_timeout(soft);
    }
    let policy = settings.retry(RetryPolicy::new(0));
    if policy == settings.retry(RetryPolicy::new(1)) && sabotage != Sabotage::OwnRetriesForgotten {
        spoiled.set_retry(spoiled_policy(sabotage, policy));
    }
    if sabotage != Sabotage::NoDelay && !settings.delay().is_zero() {
        spoiled.set_delay(settings.delay());
    }
    if let Some(Limit { key: LimitKey(key), permits }) = settings.limit() {
        match sabotage {
            Sabotage::NoKeys => {}
            Sabotage::OneTooManyOfAKey => spoiled.set_numbered_limit(key, permits + 1),
            Sabotage::OneTooFewOfAKey => spoiled.set_numbered_limit(key, (permits - 1).max(1)),
            Sabotage::KeysAreOne => spoiled.set_numbered_limit(0, permits),
            _ => spoiled.set_numbered_limit(key, permits),
        }
    }
    match sabotage {
        Sabotage::NoneIsIdempotent => {}
        Sabotage::AllAreIdempotent => spoiled.set_idempotent(true),
        _ if settings.is_idempotent() => spoiled.set_idempotent(true),
        _ => {}
    }
    let expires = settings.expires(None);
    if expires == settings.expires(Some(Duration::MAX)) {
        spoiled.set_expires(spoiled_expiry(sabotage, expires));
    }
    spoiled
}

fn spoiled_expiry(sabotage: Sabotage, expires: Option<Duration>) -> Option<Duration> {
    match sabotage {
        Sabotage::NeverExpires => None,
        Sabotage::ExpiresTooEarly => expires.map(|after| after / 2),
        _ => expires,
    }
}

fn spoiled_policy(sabotage: Sabotage, policy: RetryPolicy) -> RetryPolicy {
    match sabotage {
        Sabotage::NoBackoff => policy.backoff(Duration::ZERO, Duration::ZERO),
        Sabotage::TwiceTheBackoff => policy.backoff(policy.first * 2, policy.most * 2),
        Sabotage::AllKindsAreRetried => RetryPolicy { on: RetryPolicy::new(0).on, ..policy },
        _ => policy,
    }
}

fn worker_key_of(input: &mut Input) -> Option<&mut WorkerKey> {
    match input {
        Input::Enqueue { .. } | Input::Abort(_) | Input::Cancel { .. } | Input::AbortQueued { .. } => None,
        Input::SetMaxProcesses(_) | Input::Recycle => None,
        Input::SpawnWorkers | Input::Pause | Input::Resume | Input::Close | Input::Exit | Input::Tick => None,
        Input::Spawned(worker_key)
        | Input::SpawnFailed(worker_key)
        | Input::Hello { worker_key, .. }
        | Input::Message { worker_key, .. } => Some(worker_key),
        Input::Drained(worker_key)
        | Input::Heard(worker_key)
        | Input::Stopped(worker_key)
        | Input::Orphaned(worker_key)
        | Input::Ended(worker_key)
        | Input::Resident { worker_key, .. }
        | Input::Malformed(worker_key) => Some(worker_key),
        Input::StdoutClosed(worker_key) | Input::StdinBroken(worker_key) | Input::StderrClosed(worker_key) => {
            Some(worker_key)
        }
        Input::Exited { worker_key, .. } => Some(worker_key),
    }
}
