//! What comes out of the machine: actions, which are to be done, and notices of what has happened.

use super::{Begun, JobKey, LimitKey, Outcome, Violation, WorkerKey, WorkerState};
use std::time::Duration;

/// One thing that follows from an input. They come in the order in which they are to be carried out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Effect {
    Do(Action),
    Announce(Notice),
}

/// What the driver has to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    /// Start a process and send it hello and init. [`Input::Spawned`](super::Input::Spawned) or [`Input::SpawnFailed`](super::Input::SpawnFailed) must follow.
    Spawn(WorkerKey),
    /// Send the job. `limit` is how long the attempt may take, which its handler may ask for.
    SendJob { worker_key: WorkerKey, key: JobKey, attempt: u32, limit: Option<Duration> },
    /// Ask the worker not to begin a job that it was sent.
    SendSkip { worker_key: WorkerKey, id: u64 },
    /// Ask the worker to come to an end with the job that it runs. It is killed `within` so much time; none: it is not.
    SendCancel { worker_key: WorkerKey, id: u64, within: Option<Duration> },
    /// Tell a far worker that the pool is there, and how long it may be silent.
    SendHeartbeat { worker_key: WorkerKey, silence: Duration },
    /// Tell the worker to exit.
    SendLeave(WorkerKey),
    /// Report all that this worker has written until now, and then [`Input::Drained`](super::Input::Drained).
    Drain(WorkerKey),
    /// Send the signal to the worker's process group; [`Signal::Stop`] and [`Signal::Continue`] to the process alone.
    Signal(WorkerKey, Signal),
    /// If the worker is dead, wait no longer for its fork server to say how it ended: that may be stopped.
    /// [`Input::Exited`](super::Input::Exited) is to follow then.
    GiveUpStatus(WorkerKey),
    /// Measure the worker's resident memory. [`Input::Resident`](super::Input::Resident) is to follow, if it is known.
    Measure(WorkerKey),
    /// The worker is reaped and all its output is read: close its descriptors.
    Release(WorkerKey),
}

/// What has happened, for those who listen and for the callers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Notice {
    // ---- of jobs
    /// The job with this number was not accepted.
    Refused {
        id: u64,
        refusal: Refusal,
    },
    /// The job was accepted.
    Enqueued(JobKey),
    Backlogged(JobKey),
    /// The job is not to be queued before this.
    Delayed {
        key: JobKey,
        until: Duration,
    },
    /// The job is presumed begun by the worker.
    Task {
        worker_key: WorkerKey,
        key: JobKey,
        attempt: u32,
    },
    /// The worker has proven that the job has begun.
    Started {
        worker_key: WorkerKey,
        key: JobKey,
        attempt: u32,
    },
    Progressed {
        worker_key: WorkerKey,
        key: JobKey,
        attempt: u32,
    },
    /// The attempt is over, and another is to follow.
    Retried {
        key: JobKey,
        attempt: u32,
        attempts: u32,
        outcome: Outcome,
        begun: Begun,
        worker_key: WorkerKey,
    },
    /// The worker died before it had read the job, which is back in its place with no attempt used.
    Returned {
        key: JobKey,
        begun: Begun,
        worker_key: WorkerKey,
    },
    /// The job is over, and its key is no longer valid. `worker_key` is the worker that ran it when it was settled, if one
    /// did. `begun` is of all attempts.
    Settled {
        key: JobKey,
        attempt: u32,
        attempts: u32,
        outcome: Outcome,
        begun: Begun,
        worker_key: Option<WorkerKey>,
    },
    /// The call to abort what is queued has aborted so many jobs, and waits no longer.
    QueuedAborted {
        call: u64,
        aborted: usize,
    },

    /// No job has this key any more, and no worker a permit of it: its number may be given to another.
    KeyForgotten(LimitKey),

    // ---- of workers
    /// The worker's process exists.
    Spawned(WorkerKey),
    /// The worker has entered a state. `job` is what it runs, with the attempt.
    State {
        worker_key: WorkerKey,
        state: WorkerState,
        job: Option<(JobKey, u32)>,
    },
    /// The worker was in a state for longer than its limit, and is killed.
    TimedOut {
        worker_key: WorkerKey,
        state: WorkerState,
        limit: Duration,
        job: Option<(JobKey, u32)>,
    },
    /// The worker holds more memory than the soft limit, and is replaced after its job.
    OverSoftLimit {
        worker_key: WorkerKey,
        bytes: u64,
    },
    /// The worker holds more memory than the hard limit, and is killed.
    OverHardLimit {
        worker_key: WorkerKey,
        bytes: u64,
        limit: u64,
    },
    /// The worker has not answered a recall for a while, and no jobs are prefetched to it any more.
    RecallIgnored(WorkerKey),
    /// The worker has closed its pipe and lives, and is killed.
    PipeClosed(WorkerKey),
    /// Nothing has come from the far worker for its limit of silence: its connection is lost.
    Silent(WorkerKey),
    /// The worker has broken the protocol, and is killed.
    Violated(WorkerKey, Violation),
    /// The worker has written a terminal failure.
    TerminalFailure(WorkerKey),
    /// The worker is reaped, and all its output is read.
    Died {
        worker_key: WorkerKey,
        /// Where it never got to work.
        start_failed: Option<StartFailed>,
    },
    /// The process could not be started.
    SpawnFailed {
        worker_key: WorkerKey,
        start_failed: StartFailed,
    },
    AllReady,
    Idle,
}

/// A start failure: the slot waits before its next start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct StartFailed {
    pub(crate) wait: Duration,
    pub(crate) in_a_row: u32,
    /// Whether the worker had said that it is ready, and ended before it began a job.
    pub(crate) was_ready: bool,
    /// Whether it is one too many: those who wait until all workers are ready are told that they do not start.
    pub(crate) breaks: bool,
}

/// Which signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Signal {
    Terminate,
    Kill,
    /// [`Input::Stopped`](super::Input::Stopped) must follow, unless the worker dies or is continued before.
    Stop,
    Continue,
}

/// Why a job was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Refusal {
    Full,
    Closed,
}
