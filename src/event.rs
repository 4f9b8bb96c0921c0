//! Everything that happens, told to callbacks and to [`Events`](crate::Events).

use crate::error::{Failure, JobError, ended, typed};
use crate::supervisor::WorkerState;
use hirelings_worker_kit::Job;
use hirelings_worker_kit::wire::{self, Payload};
use std::fmt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub(crate) u64);

        impl $name {
            /// The number itself.
            pub fn get(self) -> u64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// A job's number, unique in its pool, from 1 in the order of enqueuing.
    JobId
);
number!(
    /// A worker's number, unique in its pool and never used again, unlike a process id.
    WorkerId
);

/// One place for a worker, 0 to `max_processes` - 1; its successors have the same.
///
/// ```no_run
/// # use hirelings::*;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
/// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
/// let at_work = pool.workers().iter().map(|worker| worker.slot.index()).collect::<Vec<_>>();
/// println!("{at_work:?}");
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub(crate) usize);

impl Slot {
    /// The slot's number.
    pub fn index(self) -> usize {
        self.0
    }
}

/// Declares [`EventKind`] and [`EventKind::ALL`] together, so that neither can be forgotten.
macro_rules! event_kinds {
    ($($(#[$doc:meta])* $kind:ident,)*) => {
        /// What an event tells.
        ///
        /// ```no_run
        /// # use hirelings::*;
        /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
        /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
        /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
        /// pool.on(EventKind::JobRetry, |event| println!("job {:?} is tried again", event.job()));
        /// println!("{} kinds", EventKind::ALL.len());
        /// # Ok(()) }
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum EventKind { $($(#[$doc])* $kind,)* }

        impl EventKind {
            /// Every kind, in the order of their declaration.
            pub const ALL: &'static [EventKind] = &[$(EventKind::$kind,)*];
        }
    };
}

event_kinds! {
    /// A worker process was spawned.
    Spawn,
    /// After `spawn_workers`: every slot's worker is past its first ready.
    Ready,
    /// A worker process has ended and was reaped.
    Exit,
    /// A job was accepted.
    Enqueue,
    /// A job was handed to a worker.
    Task,
    /// A job was put into the backlog: no worker was free, or it is to be retried.
    Backlog,
    /// A job is over, whatever it came to.
    Done,
    /// The pool went from busy to idle: the backlog is empty and no worker is busy.
    Idle,
    /// A worker began the job; once an attempt.
    JobStart,
    /// The job was aborted by its caller.
    JobAbort,
    /// The job made progress.
    JobProgress,
    /// The job succeeded.
    JobSuccess,
    /// The job failed for good.
    JobFailure,
    /// An attempt failed, and the job goes back to the backlog.
    JobRetry,
    /// The worker is initializing.
    WorkerInitializing,
    /// The worker is ready.
    WorkerReady,
    /// The worker was handed a job.
    WorkerWorking,
    /// The worker has answered and recovers.
    WorkerRecovering,
    /// The worker is leaving or being killed.
    WorkerExiting,
    /// The worker began a job.
    WorkerStart,
    /// The worker sent progress.
    WorkerProgress,
    /// The worker answered with success.
    WorkerSuccess,
    /// The worker answered with failure, or said its last words.
    WorkerFailure,
    /// The worker has answered.
    WorkerDone,
    /// The worker passed the limit of its state.
    WorkerTimeout,
    /// The worker's process has ended and was reaped.
    WorkerExit,
    /// The worker wrote a line to standard error.
    WorkerStderr,
    /// A reader of [`Events`](crate::Events) fell behind.
    Lagged,
}

impl EventKind {
    /// The kind's bit in a set of kinds.
    pub(crate) fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// Something that happened, with what is known of it.
///
/// ```no_run
/// # use hirelings::*;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
/// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
/// pool.on_event(|event| match event {
///     Event::Job(fields) => println!("{:?} of job {:?}", fields.kind, fields.job),
///     Event::Lagged(count) => println!("{count} were left out"),
///     other => println!("{other}"),
/// });
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// Of the pool.
    Pool(Arc<EventFields>),
    /// Of one job.
    Job(Arc<EventFields>),
    /// Of one worker.
    Worker(Arc<EventFields>),
    /// So many events were left out, because their reader fell behind.
    Lagged(u64),
}

/// What an event knows.
///
/// ```no_run
/// # use hirelings::*;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
/// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
/// pool.on_event(|event| {
///     if let Some(fields) = event.fields() {
///         println!("{:?} of {}, process {:?}", fields.kind, fields.pool, fields.pid);
///     }
/// });
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EventFields {
    /// What it tells.
    pub kind: EventKind,
    /// The pool's name.
    pub pool: Arc<str>,
    /// The job that it is about.
    pub job: Option<JobId>,
    /// That job's label, if it was given one.
    pub label: Option<Arc<str>>,
    /// The worker that it is about.
    pub worker: Option<WorkerId>,
    /// That worker's slot.
    pub slot: Option<Slot>,
    /// That worker's process id.
    pub pid: Option<u32>,
    /// Which attempt at the job, from 1.
    pub attempt: Option<u32>,
    pub(crate) more: More,
}

/// What only some kinds have.
#[derive(Clone, Debug)]
pub(crate) enum More {
    Nothing,
    Progress { payload: Payload, job_type: &'static str },
    Failure { failure: Arc<Failure>, job_type: &'static str },
    Ended { status: Option<ExitStatus> },
    OverLimit { state: WorkerState, limit: Duration },
    Stderr(String),
}

impl Event {
    pub(crate) fn new(fields: EventFields) -> Self {
        use EventKind::*;
        let fields = Arc::new(fields);
        match fields.kind {
            Spawn | Ready | Exit | Enqueue | Task | Backlog | Done | Idle | Lagged => Event::Pool(fields),
            JobStart | JobAbort | JobProgress | JobSuccess | JobFailure | JobRetry => Event::Job(fields),
            WorkerInitializing | WorkerReady | WorkerWorking | WorkerRecovering | WorkerExiting | WorkerStart
            | WorkerProgress | WorkerSuccess | WorkerFailure | WorkerDone | WorkerTimeout | WorkerExit
            | WorkerStderr => Event::Worker(fields),
        }
    }

    /// All that is known of it; none for [`Event::Lagged`].
    pub fn fields(&self) -> Option<&EventFields> {
        match self {
            Event::Pool(fields) | Event::Job(fields) | Event::Worker(fields) => Some(fields),
            Event::Lagged(_) => None,
        }
    }

    /// What it tells.
    pub fn kind(&self) -> EventKind {
        self.fields().map_or(EventKind::Lagged, |fields| fields.kind)
    }

    /// The pool's name.
    pub fn pool(&self) -> Option<&str> {
        Some(&self.fields()?.pool)
    }

    /// The job that it is about.
    pub fn job(&self) -> Option<JobId> {
        self.fields()?.job
    }

    /// The job's label, if it was given one.
    pub fn label(&self) -> Option<&str> {
        self.fields()?.label.as_deref()
    }

    /// The worker that it is about.
    pub fn worker(&self) -> Option<WorkerId> {
        self.fields()?.worker
    }

    /// The worker's slot.
    pub fn slot(&self) -> Option<Slot> {
        self.fields()?.slot
    }

    /// The worker's process id.
    pub fn pid(&self) -> Option<u32> {
        self.fields()?.pid
    }

    /// Which attempt at the job, from 1.
    pub fn attempt(&self) -> Option<u32> {
        self.fields()?.attempt
    }

    /// One line of a worker's standard error, without its end (`WorkerStderr`).
    pub fn stderr(&self) -> Option<&str> {
        match &self.fields()?.more {
            More::Stderr(line) => Some(line),
            _ => None,
        }
    }

    /// How the process ended (`Exit`, `WorkerExit`); none too where this program ignores SIGCHLD.
    pub fn status(&self) -> Option<ExitStatus> {
        match self.fields()?.more {
            More::Ended { status } => status,
            _ => None,
        }
    }

    /// The state whose limit was passed, and the limit (`WorkerTimeout`).
    pub fn timeout(&self) -> Option<(WorkerState, Duration)> {
        match self.fields()?.more {
            More::OverLimit { state, limit } => Some((state, limit)),
            _ => None,
        }
    }

    /// The progress of a job of type `J`, decoded (`JobProgress`, `WorkerProgress`). None where it is of another kind
    /// or type, or cannot be decoded.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// pool.on(EventKind::JobProgress, |event| println!("{:?}", event.progress::<Square>()));
    /// # Ok(()) }
    /// ```
    pub fn progress<J: Job>(&self) -> Option<J::Progress> {
        match &self.fields()?.more {
            More::Progress { payload, job_type } if *job_type == J::name() => {
                wire::decode_payload(payload.as_slice()).ok()
            }
            _ => None,
        }
    }

    /// Why a job of type `J` failed, or an attempt at it (`JobFailure`, `JobRetry`).
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// pool.on(EventKind::JobRetry, |event| println!("{:?}", event.error::<Square>()));
    /// # Ok(()) }
    /// ```
    pub fn error<J: Job>(&self) -> Option<JobError<J::Error>> {
        match &self.fields()?.more {
            More::Failure { failure, job_type } if *job_type == J::name() => Some(typed::<J>(failure)),
            _ => None,
        }
    }
}

/// One line for a log.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(fields) = self.fields() else {
            let Event::Lagged(count) = self else { return Ok(()) };
            return write!(f, "Lagged: {count} events were left out");
        };
        write!(f, "{:?} pool={:?}", fields.kind, fields.pool)?;
        if let Some(job) = fields.job {
            write!(f, " job={job}")?;
        }
        if let Some(label) = &fields.label {
            write!(f, " label={label:?}")?;
        }
        if let Some(attempt) = fields.attempt {
            write!(f, " attempt={attempt}")?;
        }
        if let (Some(worker), Some(slot)) = (fields.worker, fields.slot) {
            write!(f, " worker={worker} slot={}", slot.index())?;
        }
        if let Some(pid) = fields.pid {
            write!(f, " pid={pid}")?;
        }
        match &fields.more {
            More::Nothing => Ok(()),
            More::Progress { payload, .. } => write!(f, " bytes={}", payload.len()),
            // The sentence alone: the worker's last words under it are lines of their own.
            More::Failure { failure, .. } => write!(f, ": {}", failure.in_short().lines().next().unwrap_or_default()),
            More::Ended { status } => write!(f, ": {}", ended(*status)),
            More::OverLimit { state, limit } => write!(f, ": {state} for more than {limit:?}"),
            More::Stderr(line) => write!(f, ": {line}"),
        }
    }
}

impl Failure {
    /// What is known without decoding the handler's own error.
    fn in_short(&self) -> String {
        match self {
            Failure::Failed(error) => format!("the handler's own error, {} bytes", error.len()),
            Failure::Panicked(panic) => panic.to_string(),
            Failure::Crashed(crash) => crash.to_string(),
            Failure::TimedOut(timeout) => timeout.to_string(),
            Failure::Aborted => "aborted".into(),
            Failure::Closed => "the pool was closed".into(),
            Failure::NoWorker(failure) => failure.to_string(),
            Failure::NotEncoded(why) => why.clone(),
            Failure::Unusable { message, who, .. } => format!("{who}: {message}"),
            Failure::Protocol(error) => error.to_string(),
        }
    }
}
