//! The events of a pool, which hooks and [`Events`](crate::Events) receive.

use crate::error::JobError;
use crate::exit_status::ended_somehow;
use crate::failure::{Describe, Failure, typed};
use crate::id::{JobId, Slot, WorkerId};
use crate::supervisor::WorkerState;
use hirelings_worker_kit::Job;
use hirelings_worker_kit::wire::Payload;
use std::fmt;
use std::process::ExitStatus;
use std::slice;
use std::sync::Arc;
use std::time::Duration;

/// Declares [`EventKind`] and [`EventKind::ALL`] together, so that neither can be forgotten.
macro_rules! event_kinds {
    ($($(#[$doc:meta])* $kind:ident,)*) => {
        /// The kind of an event.
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
            ///
            /// ```
            /// # use hirelings::EventKind;
            /// // The kind that an option of the command line names.
            /// let named = |name: &str| EventKind::ALL.iter().find(|kind| format!("{kind:?}") == name);
            /// assert_eq!(named("JobRetry"), Some(&EventKind::JobRetry));
            /// assert_eq!(named("Retry"), None);
            /// ```
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
    /// A job was given to a worker.
    Task,
    /// A job was put into the backlog: no worker was free, or it is to be retried.
    Backlog,
    /// A job is settled, whatever its result.
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
    /// The worker was given a job.
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
    /// The worker answered with failure, or sent a terminal failure.
    WorkerFailure,
    /// The worker has answered.
    WorkerDone,
    /// The worker passed the limit of its state.
    WorkerTimeout,
    /// The worker's process has ended and was reaped.
    WorkerExit,
    /// The worker wrote a line to standard error.
    WorkerStderr,
    /// A fork server was spawned: see [`StartMethod::ForkServer`](crate::StartMethod::ForkServer).
    ForkServerSpawned,
    /// A fork server has ended and was reaped.
    ForkServerExited,
    /// A reader of [`Events`](crate::Events) fell behind.
    Lagged,
}

impl EventKind {
    /// The kind's bit in a set of kinds.
    pub(crate) fn bit(self) -> u32 {
        1 << self as u32
    }

    /// This kind alone, of those that are at once.
    pub(crate) fn alone(self) -> &'static [EventKind] {
        slice::from_ref(&EventKind::ALL[self as usize])
    }
}

/// Something that happened in the pool, with the job and the worker that it is about.
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
    /// This many events were left out, because their reader fell behind.
    Lagged(u64),
}

/// The fields of an event.
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
    /// The kind of the event.
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
    /// The name of the worker's site, in a pool of [`Site`](crate::Site)s.
    pub site: Option<Arc<str>>,
    /// That worker's process id; on another machine that of the ssh or srun which carries it.
    pub pid: Option<u32>,
    /// Which attempt at the job, from 1.
    pub attempt: Option<u32>,
    /// Nanoseconds since the pool was built.
    pub(crate) at: u64,
    pub(crate) more: More,
}

/// What only some kinds of events have.
#[derive(Clone, Debug)]
pub(crate) enum More {
    Nothing,
    Progress {
        payload: Payload,
        job_type: &'static str,
    },
    Failure {
        failure: Arc<Failure>,
        job_type: &'static str,
    },
    /// The same, with the function that decodes the handler's own error, for a log.
    Described {
        failure: Arc<Failure>,
        job_type: &'static str,
        describe: Describe,
    },
    Ended {
        status: Option<ExitStatus>,
    },
    TimedOut {
        state: WorkerState,
        limit: Duration,
    },
    Stderr(String),
}

impl More {
    /// Adds what decodes the handler's own error.
    pub(crate) fn describe(&mut self, describe: Option<Describe>) {
        if let (More::Failure { failure, job_type }, Some(describe)) = (&*self, describe) {
            *self = More::Described { failure: Arc::clone(failure), job_type, describe };
        }
    }
}

impl Event {
    pub(crate) fn new(fields: EventFields) -> Self {
        use EventKind::*;
        let fields = Arc::new(fields);
        match fields.kind {
            Spawn | Ready | Exit | Enqueue | Task | Backlog | Done | Idle | ForkServerSpawned | ForkServerExited
            | Lagged => Event::Pool(fields),
            JobStart | JobAbort | JobProgress | JobSuccess | JobFailure | JobRetry => Event::Job(fields),
            WorkerInitializing | WorkerReady | WorkerWorking | WorkerRecovering | WorkerExiting | WorkerStart
            | WorkerProgress | WorkerSuccess | WorkerFailure | WorkerDone | WorkerTimeout | WorkerExit
            | WorkerStderr => Event::Worker(fields),
        }
    }

    /// All fields; none for [`Event::Lagged`].
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// pool.on(EventKind::Task, |event| {
    ///     if let Some(EventFields { job: Some(job), pid: Some(pid), .. }) = event.fields() {
    ///         println!("job {job} went to process {pid}");
    ///     }
    /// });
    /// # Ok(()) }
    /// ```
    pub fn fields(&self) -> Option<&EventFields> {
        match self {
            Event::Pool(fields) | Event::Job(fields) | Event::Worker(fields) => Some(fields),
            Event::Lagged(_) => None,
        }
    }

    /// The kind of the event; [`EventKind::Lagged`] for [`Event::Lagged`].
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// pool.on_event(|event| match event.kind() {
    ///     EventKind::WorkerTimeout | EventKind::JobRetry => log::warn!("{event}"),
    ///     _ => log::trace!("{event}"),
    /// });
    /// # Ok(()) }
    /// ```
    pub fn kind(&self) -> EventKind {
        self.fields().map_or(EventKind::Lagged, |fields| fields.kind)
    }

    /// The pool's name; none for [`Event::Lagged`].
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// // One hook for several pools.
    /// let print = |event: &Event| println!("{}: {event}", event.pool().unwrap_or_default());
    /// pool.on(EventKind::Exit, print);
    /// # Ok(()) }
    /// ```
    pub fn pool(&self) -> Option<&str> {
        Some(&self.fields()?.pool)
    }

    /// The job that it is about, if it is about one.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # use std::collections::HashMap;
    /// # use std::time::Instant;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut begun = HashMap::new();
    /// pool.on_event(move |event| match (event.kind(), event.job()) {
    ///     (EventKind::JobStart, Some(job)) => drop(begun.insert(job, Instant::now())),
    ///     (EventKind::Done, Some(job)) => println!("{job}: {:?}", begun.remove(&job).map(|at| at.elapsed())),
    ///     _ => {}
    /// });
    /// # Ok(()) }
    /// ```
    pub fn job(&self) -> Option<JobId> {
        self.fields()?.job
    }

    /// The job's label, if it was given one.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// pool.on(EventKind::JobFailure, |event| eprintln!("{} failed", event.label().unwrap_or("a job")));
    /// let handle = pool.request(Square(7)).label("page 7").enqueue();
    /// # Ok(()) }
    /// ```
    pub fn label(&self) -> Option<&str> {
        self.fields()?.label.as_deref()
    }

    /// The worker that it is about, if it is about one.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # use std::collections::BTreeMap;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut answers = BTreeMap::<WorkerId, u64>::new();
    /// pool.on(EventKind::WorkerDone, move |event| {
    ///     if let Some(worker) = event.worker() {
    ///         *answers.entry(worker).or_default() += 1;
    ///     }
    /// });
    /// # Ok(()) }
    /// ```
    pub fn worker(&self) -> Option<WorkerId> {
        self.fields()?.worker
    }

    /// The slot of the worker that it is about.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// let hosts = ["one.example.org", "two.example.org"];
    /// pool.on(EventKind::Exit, move |event| {
    ///     let host = event.slot().and_then(|slot| hosts.get(slot.index()));
    ///     println!("a worker on {host:?} has ended");
    /// });
    /// # Ok(()) }
    /// ```
    pub fn slot(&self) -> Option<Slot> {
        self.fields()?.slot
    }

    /// The name of the [`Site`](crate::Site) of the worker that it is about, in a pool that has some.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// pool.on(EventKind::Exit, |event| println!("a worker at {:?} has ended", event.site()));
    /// # Ok(()) }
    /// ```
    pub fn site(&self) -> Option<&str> {
        self.fields()?.site.as_deref()
    }

    /// The process id of the worker that it is about.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// // Each worker is put into a control group.
    /// pool.on(EventKind::Spawn, |event| {
    ///     if let Some(pid) = event.pid() {
    ///         let _ = std::fs::write("/sys/fs/cgroup/squares/cgroup.procs", pid.to_string());
    ///     }
    /// });
    /// # Ok(()) }
    /// ```
    pub fn pid(&self) -> Option<u32> {
        self.fields()?.pid
    }

    /// Which attempt at the job, from 1; none where no worker had it yet.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// pool.on(EventKind::JobSuccess, |event| {
    ///     if event.attempt() > Some(1) {
    ///         println!("it took {:?} attempts: {event}", event.attempt());
    ///     }
    /// });
    /// # Ok(()) }
    /// ```
    pub fn attempt(&self) -> Option<u32> {
        self.fields()?.attempt
    }

    /// When it happened, since the pool was built: with [`Pool::built_at`](crate::Pool::built_at) the time of day. A hook may be
    /// called later. What the pool takes in at once has one time, and times never go down; [`Event::Lagged`] has none, and
    /// zero here.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// pool.on_event(|event| println!("{:>9.3} s {event}", event.at().as_secs_f64()));
    /// # Ok(()) }
    /// ```
    pub fn at(&self) -> Duration {
        Duration::from_nanos(self.fields().map_or(0, |fields| fields.at))
    }

    /// One line of a worker's standard error, without its end (`WorkerStderr`).
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// pool.on(EventKind::WorkerStderr, |event| {
    ///     if event.stderr().is_some_and(|line| line.contains("warning")) {
    ///         println!("{event}");
    ///     }
    /// });
    /// # Ok(()) }
    /// ```
    pub fn stderr(&self) -> Option<&str> {
        match &self.fields()?.more {
            More::Stderr(line) => Some(line),
            _ => None,
        }
    }

    /// How the process ended (`Exit`, `WorkerExit`); none too where this program ignores SIGCHLD.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # use std::os::unix::process::ExitStatusExt;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// pool.on(EventKind::Exit, |event| {
    ///     if let Some(signal) = event.status().and_then(|status| status.signal()) {
    ///         println!("process {:?} was killed by signal {signal}", event.pid());
    ///     }
    /// });
    /// # Ok(()) }
    /// ```
    pub fn status(&self) -> Option<ExitStatus> {
        match self.fields()?.more {
            More::Ended { status } => status,
            _ => None,
        }
    }

    /// The state whose limit was passed, and the limit (`WorkerTimeout`).
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// pool.on(EventKind::WorkerTimeout, |event| {
    ///     if let Some((WorkerState::Initializing, limit)) = event.timeout() {
    ///         println!("a worker did not start in {limit:?}");
    ///     }
    /// });
    /// # Ok(()) }
    /// ```
    pub fn timeout(&self) -> Option<(WorkerState, Duration)> {
        match self.fields()?.more {
            More::TimedOut { state, limit } => Some((state, limit)),
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
            More::Progress { payload, job_type } if *job_type == J::name() => payload.decode().ok(),
            _ => None,
        }
    }

    /// Why a job of type `J` failed, or an attempt at it (`JobFailure`, `JobRetry`). None where it is of another kind
    /// or type.
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
            More::Failure { failure, job_type } | More::Described { failure, job_type, .. }
                if *job_type == J::name() =>
            {
                Some(typed::<J>(failure, || self.attempt().unwrap_or(0)))
            }
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
        if let Some(site) = &fields.site {
            write!(f, " site={site:?}")?;
        }
        if let Some(pid) = fields.pid {
            write!(f, " pid={pid}")?;
        }
        match &fields.more {
            More::Nothing => Ok(()),
            More::Progress { payload, .. } => write!(f, " bytes={}", payload.len()),
            // The sentence alone, without the lines of standard error below it.
            More::Failure { failure, .. } => write!(f, ": {}", first_line(&failure.in_short())),
            More::Described { failure, describe, .. } => write!(f, ": {}", first_line(&describe(failure))),
            More::Ended { status } => write!(f, ": {}", ended_somehow(*status)),
            More::TimedOut { state, limit } => write!(f, ": {state} for more than {limit:?}"),
            More::Stderr(line) => write!(f, ": {line}"),
        }
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
