//! How jobs end.

use super::WorkerState;
use std::fmt;
use std::time::Duration;

/// How a job, or an attempt at it, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    Success,
    /// The handler's own error.
    Failed,
    /// The handler's own error, which it called final.
    FinalFailure,
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
    Expired,
}

/// What kind of [`JobError`](crate::JobError) a job came to, from [`JobError::kind`](crate::JobError::kind): to be compared,
/// counted, or named in a [`RetryPolicy`](crate::RetryPolicy).
///
/// ```no_run
/// # use hirelings::*;
/// # use std::collections::HashMap;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
/// # fn example(pool: &Pool<Square>) {
/// let mut failures: HashMap<JobErrorKind, usize> = HashMap::new();
/// for result in pool.map((0..1000).map(Square)) {
///     if let Err(error) = result {
///         *failures.entry(error.kind()).or_default() += 1;
///     }
/// }
/// println!("{failures:?}");
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum JobErrorKind {
    /// The handler returned an error.
    Failed,
    /// The handler panicked.
    Panicked,
    /// The worker died, or closed its pipe.
    Crashed,
    /// The worker was over its limit of time.
    TimedOut,
    /// The worker held more memory than its hard limit.
    OutOfMemory,
    /// The caller aborted the job.
    Aborted,
    /// The pool was closed before the job was done.
    Closed,
    /// No worker started.
    NoWorker,
    /// The job, or what the handler returned for it, could not be encoded.
    Encode,
    /// The job could not be decoded by the worker, or its answer by the caller.
    Decode,
    /// The worker broke the protocol.
    Protocol,
    /// No worker had begun the job in time.
    Expired,
}

impl Outcome {
    /// Of which kind its error is; none where it is a success.
    pub(crate) fn kind(self) -> Option<JobErrorKind> {
        Some(match self {
            Outcome::Success => return None,
            Outcome::Failed | Outcome::FinalFailure => JobErrorKind::Failed,
            Outcome::Undecodable => JobErrorKind::Decode,
            Outcome::Unencodable => JobErrorKind::Encode,
            Outcome::Panicked => JobErrorKind::Panicked,
            Outcome::Crashed(_) => JobErrorKind::Crashed,
            Outcome::TimedOut { .. } => JobErrorKind::TimedOut,
            Outcome::OutOfMemory { .. } => JobErrorKind::OutOfMemory,
            Outcome::Protocol(_) => JobErrorKind::Protocol,
            Outcome::Aborted => JobErrorKind::Aborted,
            Outcome::Closed => JobErrorKind::Closed,
            Outcome::NoWorker => JobErrorKind::NoWorker,
            Outcome::Expired => JobErrorKind::Expired,
        })
    }

    /// Whether the worker was lost and has not written why, so that whether it had begun the job may not be known.
    pub(super) fn leaves_doubt(self) -> bool {
        matches!(self, Outcome::Crashed(_) | Outcome::Protocol(_))
    }

    /// Whether another attempt could end otherwise.
    pub(crate) fn may_be_retried(self) -> bool {
        match self {
            Outcome::Failed | Outcome::Undecodable | Outcome::Panicked | Outcome::Crashed(_) => true,
            Outcome::TimedOut { .. } | Outcome::OutOfMemory { .. } | Outcome::Protocol(_) => true,
            Outcome::Success | Outcome::FinalFailure | Outcome::Unencodable => false,
            Outcome::Aborted | Outcome::Closed | Outcome::NoWorker | Outcome::Expired => false,
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
    /// The connection to it was lost: it is on another machine, and may have gone on for a while.
    ConnectionLost,
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
