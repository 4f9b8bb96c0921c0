//! What is to be done.

use super::{JobKey, WorkerKey, WorkerState};
use std::fmt;
use std::time::Duration;

/// What the driver is to do, or to tell, in this order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Effect<T> {
    // ---- to do
    /// Start a process and greet it with hello and init; [`Input::Spawned`](super::Input::Spawned) or `SpawnFailed` must
    /// follow.
    Spawn(WorkerKey),
    SendJob {
        worker_key: WorkerKey,
        key: JobKey,
        attempt: u32,
    },
    SendSkip {
        worker_key: WorkerKey,
        id: u64,
    },
    SendLeave(WorkerKey),
    /// What this worker has written until now is to be told, and then [`Input::Drained`](super::Input::Heard).
    Drain(WorkerKey),
    /// To the worker's process group; [`Signal::Stop`] and [`Signal::Continue`] to the process alone.
    Signal(WorkerKey, Signal),
    /// Look at how much memory it holds: [`Input::Resident`](super::Input::Resident) is to follow, if that is known.
    Measure(WorkerKey),

    // ---- to tell, of jobs
    /// The pool is closed: the job was never in it.
    Refused(T),
    Enqueued(JobKey),
    Backlogged(JobKey),
    Task {
        worker_key: WorkerKey,
        key: JobKey,
        attempt: u32,
    },
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
    Retried {
        key: JobKey,
        attempt: u32,
        attempts: u32,
        outcome: Outcome,
        begun: Begun,
        worker_key: WorkerKey,
    },
    /// Its worker died before it had read the job, which is back in its place with no attempt used.
    Returned {
        key: JobKey,
        begun: Begun,
        worker_key: WorkerKey,
    },
    /// The job is over, and is to be taken out with [`Supervisor::take`](super::Supervisor::take). `worker_key` is the worker
    /// whose doing it was. `begun` is of all attempts.
    Settled {
        key: JobKey,
        attempt: u32,
        attempts: u32,
        outcome: Outcome,
        begun: Begun,
        worker_key: Option<WorkerKey>,
    },

    // ---- to tell, of workers
    /// Its process is there.
    Spawned(WorkerKey),
    /// `job` is what it was handed, with the attempt.
    State {
        worker_key: WorkerKey,
        state: WorkerState,
        job: Option<(JobKey, u32)>,
    },
    TimedOut {
        worker_key: WorkerKey,
        state: WorkerState,
        limit: Duration,
        job: Option<(JobKey, u32)>,
    },
    /// It holds too much memory, and is replaced after its job.
    OverSoftLimit {
        worker_key: WorkerKey,
        bytes: u64,
    },
    /// It holds far too much memory, and is killed.
    OverHardLimit {
        worker_key: WorkerKey,
        bytes: u64,
        limit: u64,
    },
    /// It has not answered a recall for a while, and is sent nothing ahead any more.
    RecallIgnored(WorkerKey),
    /// It has closed its pipe and lives.
    PipeClosed(WorkerKey),
    Violated(WorkerKey, Violation),
    /// A terminal failure.
    TerminalFailure(WorkerKey),
    /// Reaped and read to the end: its descriptors can go.
    Died(WorkerKey),
    /// It never got to work; the slot waits before the next.
    StartFailed {
        worker_key: WorkerKey,
        wait: Duration,
        in_a_row: u32,
    },
    AllReady,
    Idle,
}

/// Which signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Signal {
    Terminate,
    Kill,
    /// To be followed by [`Input::Stopped`](super::Input::Stopped), unless the worker dies or is continued before.
    Stop,
    Continue,
}

/// How a job, or an attempt at it, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    Success,
    /// The handler's own error.
    Failed,
    /// The worker could not decode the job.
    Undecodable,
    /// The worker could not encode what the handler gave.
    Unencodable,
    Panicked,
    Crashed(CrashCause),
    TimedOut {
        state: WorkerState,
        limit: Duration,
    },
    OutOfMemory {
        bytes: u64,
        limit: u64,
    },
    Protocol(Violation),
    Aborted,
    Closed,
    NoWorker,
}

impl Outcome {
    /// Whether another attempt could end otherwise.
    pub(crate) fn may_be_retried(self) -> bool {
        match self {
            Outcome::Failed | Outcome::Undecodable | Outcome::Panicked | Outcome::Crashed(_) => true,
            Outcome::TimedOut { .. } | Outcome::OutOfMemory { .. } | Outcome::Protocol(_) => true,
            Outcome::Success | Outcome::Unencodable | Outcome::Aborted | Outcome::Closed | Outcome::NoWorker => false,
        }
    }
}

/// How a worker was lost with its job.
///
/// ```no_run
/// # use hirelings::*;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
/// # fn example(pool: &Pool<Square>) {
/// if let Err(JobError::Crashed(crash)) = pool.enqueue(Square(7)).wait() {
///     match crash.cause {
///         CrashCause::Exited => println!("it ended: {:?}", crash.status),
///         CrashCause::PipeClosed => println!("it closed its standard output: does the worker do so, or a library?"),
///         _ => println!("{crash}"),
///     }
/// }
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CrashCause {
    /// The process ended.
    Exited,
    /// The process closed its pipe and lived on, so it could answer nothing more; it was killed.
    PipeClosed,
    /// The process ended after the fork server that had forked it, or while that was stopped: only the fork server could
    /// have told how.
    Orphaned,
}

/// Whether the handler of a job had begun when the job failed: whoever is told of a failure has to know whether doing it
/// again is safe.
///
/// ```no_run
/// # use hirelings::*;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
/// # fn example(pool: &Pool<Square>) {
/// if let Err(error) = pool.enqueue(Square(7)).wait() {
///     match error.begun() {
///         Begun::No => println!("{error}: nothing of it was done"),
///         Begun::Perhaps | Begun::Yes => println!("{error}: look before it is done again"),
///     }
/// }
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Begun {
    /// No attempt at the job had begun.
    #[default]
    No,
    /// An attempt may have begun: a worker was sent the job, and never said that it does it or that it skips it.
    Perhaps,
    /// An attempt had begun.
    Yes,
}

/// How a worker broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Violation {
    /// Bytes that are no message; the driver knows more.
    Malformed,
    ReadyWhile(WorkerState),
    NotItsJob {
        job: u64,
    },
    /// It was asked to skip jobs, and has not answered for ten seconds.
    RecallUnanswered,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::Malformed => f.write_str("it wrote bytes that are no message"),
            Violation::ReadyWhile(state) => write!(f, "it said ready while it was {state}"),
            Violation::NotItsJob { job } => write!(f, "it spoke of job {job}, which it does not hold"),
            Violation::RecallUnanswered => {
                f.write_str("it was asked to skip jobs that wait behind its own, and did not answer for ten seconds")
            }
        }
    }
}
