//! The public errors: of jobs here, of calls in `calls`. Each writes one sentence that says what to look at.

mod calls;
mod debug;

pub use calls::{BuildError, BuildErrorKind, EnqueueError, EnqueueErrorKind, ReadyError};

use crate::exit_status::{ORPHANED, ended_with, forbidden_call, memory_hint};
use crate::id::JobId;
use crate::supervisor::WorkerState;
pub use crate::supervisor::{Begun, CrashCause, JobErrorKind};
use hirelings_worker_kit::Job;
use std::error::Error;
use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

/// The result of a job of type `J`.
///
/// ```no_run
/// # use hirelings::*;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
/// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
/// fn or_nothing(result: JobResult<Square>) -> u64 {
///     result.unwrap_or(0)
/// }
/// println!("{}", or_nothing(pool.enqueue(Square(7)).wait()));
/// # Ok(()) }
/// ```
pub type JobResult<J> = Result<<J as Job>::Output, JobError<<J as Job>::Error>>;

/// Why a job gave no output.
///
/// The sentence that an error writes names the worker's process, the job with its label, and the attempt. `Failed` writes
/// the handler's error alone, and `Aborted`, `Closed` and `Expired` name no worker; a [`JobHandle`](crate::JobHandle) writes its
/// job's number and label, and an [`Event`](crate::Event) all of it. Which attempt it was, where the error does not say so, is
/// in [`JobHandle::attempt`](crate::JobHandle::attempt) and [`Event::attempt`](crate::Event::attempt).
///
/// `Aborted`, `Closed`, `NoWorker`, `Encode` and `Expired` are never retried; the others are, as the [`RetryPolicy`](crate::RetryPolicy)
/// of the pool or of the job's request says, and what is here is the last attempt's.
///
/// ```no_run
/// # use hirelings::*;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
/// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
/// match pool.enqueue(Square(7)).wait() {
///     Ok(square) => println!("{square}"),
///     Err(JobError::Failed(why)) => println!("the handler said no: {why}"),
///     Err(JobError::Crashed(crash)) => println!("lost process {}: {:?}", crash.pid, crash.status),
///     Err(other) => println!("{other}"),
/// }
/// # Ok(()) }
/// ```
#[non_exhaustive]
pub enum JobError<E> {
    /// The handler returned this error.
    Failed(E),
    /// The handler panicked; its process was replaced.
    Panicked(WorkerPanic),
    /// The worker died, or closed its pipe, while it had the job.
    Crashed(Crash),
    /// The worker was over its limit and was killed.
    TimedOut(Timeout),
    /// The worker held more memory than the hard limit of [`max_memory`](crate::PoolBuilder::max_memory) and was killed.
    OutOfMemory(OutOfMemory),
    /// The caller aborted the job.
    Aborted,
    /// The pool was closed before the job was done.
    Closed,
    /// No worker started.
    NoWorker(StartFailure),
    /// The job, or what the handler returned for it, could not be encoded.
    Encode(CodecError),
    /// The job could not be decoded by the worker, or its answer by the caller.
    Decode(CodecError),
    /// The worker broke the protocol while it had the job.
    Protocol(ProtocolError),
    /// No worker had begun the job in the time that [`expires`](crate::JobRequest::expires) gives it.
    Expired,
}

impl<E: fmt::Display> fmt::Display for JobError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JobError::Failed(error) => error.fmt(f),
            known => known.write_known(f),
        }
    }
}

impl<E> JobError<E> {
    /// The sentence, where the error is not the handler's own.
    fn write_known(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JobError::Failed(_) => Ok(()),
            JobError::Panicked(panic) => write!(f, "{panic}"),
            JobError::Crashed(crash) => write!(f, "{crash}"),
            JobError::TimedOut(timeout) => write!(f, "{timeout}"),
            JobError::OutOfMemory(memory) => write!(f, "{memory}"),
            JobError::Aborted => f.write_str("the job was aborted"),
            JobError::Closed => f.write_str("the pool was closed before the job was done"),
            JobError::Expired => f.write_str("the job has expired: no worker had begun it in time"),
            JobError::NoWorker(failure) => write!(f, "{failure}"),
            JobError::Encode(error) | JobError::Decode(error) => write!(f, "{error}"),
            JobError::Protocol(error) => write!(f, "{error}"),
        }
    }
}

impl<E> JobError<E> {
    /// Its kind, without what it holds.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) {
    /// if let Err(error) = pool.enqueue(Square(7)).wait() {
    ///     match error.kind() {
    ///         JobErrorKind::Aborted | JobErrorKind::Closed => println!("nobody wants it any more"),
    ///         kind => println!("{kind:?}: {error}"),
    ///     }
    /// }
    /// # }
    /// ```
    pub fn kind(&self) -> JobErrorKind {
        match self {
            JobError::Failed(_) => JobErrorKind::Failed,
            JobError::Panicked(_) => JobErrorKind::Panicked,
            JobError::Crashed(_) => JobErrorKind::Crashed,
            JobError::TimedOut(_) => JobErrorKind::TimedOut,
            JobError::OutOfMemory(_) => JobErrorKind::OutOfMemory,
            JobError::Aborted => JobErrorKind::Aborted,
            JobError::Closed => JobErrorKind::Closed,
            JobError::NoWorker(_) => JobErrorKind::NoWorker,
            JobError::Encode(_) => JobErrorKind::Encode,
            JobError::Decode(_) => JobErrorKind::Decode,
            JobError::Protocol(_) => JobErrorKind::Protocol,
            JobError::Expired => JobErrorKind::Expired,
        }
    }

    /// Whether an attempt at the job had begun, so that doing it again may do something twice.
    ///
    /// An attempt runs at most once. If a worker was sent the job and died before it sent any message about it, it is
    /// not known whether it had begun: [`Begun::Perhaps`]. Every job that was aborted, and every job of a pool that was
    /// closed, has this answer too, since these two errors hold nothing else; [`JobHandle::begun`](crate::JobHandle::begun) knows more.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) {
    /// if let Err(error) = pool.enqueue(Square(7)).wait()
    ///     && error.begun() == Begun::No
    /// {
    ///     println!("{error}: it can be done again, whatever it does");
    /// }
    /// # }
    /// ```
    pub fn begun(&self) -> Begun {
        let of = |who: &Who| who.work.as_ref().map_or(Begun::Perhaps, |work| work.begun);
        match self {
            JobError::Failed(_) => Begun::Yes,
            JobError::Panicked(panic) => of(&panic.who),
            JobError::Crashed(crash) => of(&crash.who),
            JobError::TimedOut(timeout) => of(&timeout.who),
            JobError::OutOfMemory(memory) => of(&memory.who),
            JobError::Protocol(error) => of(&error.who),
            JobError::NoWorker(failure) => failure.begun,
            JobError::Encode(error) | JobError::Decode(error) => error.begun,
            JobError::Aborted | JobError::Closed => Begun::Perhaps,
            JobError::Expired => Begun::No,
        }
    }
}

impl<E: fmt::Debug + fmt::Display> Error for JobError<E> {}

/// `worker process 4711 of "thumbs"`, and what it was doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Who {
    pub(crate) pid: u32,
    pub(crate) pool: Arc<str>,
    pub(crate) site: Option<Arc<str>>,
    pub(crate) work: Option<Work>,
}

/// Which job, and which attempt of how many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Work {
    pub(crate) job: JobId,
    pub(crate) label: Option<Arc<str>>,
    pub(crate) attempt: u32,
    pub(crate) attempts: u32,
    /// Whether any of them had begun.
    pub(crate) begun: Begun,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker process {} of {:?}", self.pid, self.pool)?;
        match &self.site {
            Some(site) => write!(f, " at site {site}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "job {}", self.job)?;
        if let Some(label) = &self.label {
            write!(f, " ({label})")?;
        }
        if self.attempts > 1 {
            write!(f, " (attempt {} of {})", self.attempt, self.attempts)?;
        }
        Ok(())
    }
}

fn while_it_did(who: &Who) -> String {
    who.work.as_ref().map(|work| format!(" while it did {work}")).unwrap_or_default()
}

/// The same between two commas.
fn while_it_did_in(who: &Who) -> String {
    who.work.as_ref().map(|work| format!(" while it did {work},")).unwrap_or_default()
}

/// What a worker did wrong, as a sentence that begins with `it`.
pub(crate) fn what_it_did(reason: &str) -> String {
    if reason.starts_with("it ") { reason.to_owned() } else { format!("it {reason}") }
}

/// Writes the last lines of the worker's standard error, each on a line of its own below the sentence.
fn stderr_lines(f: &mut fmt::Formatter<'_>, stderr: &str) -> fmt::Result {
    for line in stderr.lines() {
        write!(f, "\n  | {line}")?;
    }
    Ok(())
}

/// A panic in a worker's handler.
///
/// ```no_run
/// # use hirelings::*;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
/// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
/// if let Err(JobError::Panicked(panic)) = pool.enqueue(Square(7)).wait() {
///     println!("{} at {:?}\n{}", panic.message, panic.location, panic.backtrace.unwrap_or_default());
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerPanic {
    /// The panic's message.
    pub message: String,
    /// Where, as `file:line:column`.
    pub location: Option<String>,
    /// How it came there; none with `RUST_BACKTRACE=0` in the worker's environment, or close to a limit on its memory.
    pub backtrace: Option<String>,
    /// The worker's process id.
    pub pid: u32,
    /// What the worker had written to standard error since it was sent the job: the last 8 KiB at most.
    pub stderr: String,
    /// How many attempts were made.
    pub attempts: u32,
    pub(crate) who: Box<Who>,
}

impl fmt::Display for WorkerPanic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} panicked{}", self.who, while_it_did(&self.who))?;
        if let Some(location) = &self.location {
            write!(f, " at {location}")?;
        }
        // The lines of standard error are not under it: they say the same once more, as the panic's own report.
        write!(f, ": {}", self.message)
    }
}

/// The death of a worker that had a job.
///
/// ```no_run
/// # use hirelings::*;
/// # use std::os::unix::process::ExitStatusExt;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
/// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
/// if let Err(JobError::Crashed(crash)) = pool.enqueue(Square(7)).wait() {
///     let signal = crash.status.and_then(|status| status.signal());
///     match crash.cause {
///         CrashCause::Exited => println!("process {} ended by {signal:?}: {}", crash.pid, crash.stderr),
///         _ => println!("process {} can be heard no more, after {} attempts", crash.pid, crash.attempts),
///     }
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Crash {
    /// The worker's process id.
    pub pid: u32,
    /// How the worker was lost.
    pub cause: CrashCause,
    /// How the process ended; where it lived on without its pipe, by the pool's signal as a rule. None where this program
    /// ignores SIGCHLD, or the cause tells why it is not known.
    pub status: Option<ExitStatus>,
    /// What the worker wrote to standard error since it was sent the job: the last 8 KiB at most. For a job that was
    /// prefetched it may begin with the last lines of the jobs before it.
    pub stderr: String,
    /// How many attempts were made.
    pub attempts: u32,
    pub(crate) who: Box<Who>,
}

impl fmt::Display for Crash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match self.cause {
            CrashCause::Exited => ended_with(self.status, &self.stderr),
            CrashCause::Orphaned => ORPHANED.into(),
            CrashCause::ConnectionLost => {
                let how = self.status.map(|_| format!(" ({})", ended_with(self.status, &self.stderr)));
                format!("was lost with its connection{}", how.unwrap_or_default())
            }
            CrashCause::PipeClosed => "closed its pipe, so that it could answer nothing more,".into(),
        };
        write!(f, "{} {how}{}", self.who, while_it_did(&self.who))?;
        stderr_lines(f, &self.stderr)
    }
}

impl Crash {
    /// The limit that the worker died of: [`Limits`](crate::Limits) of the pool's, or one that it had otherwise.
    ///
    /// Processor time and file size are known by the signal. Memory is a guess, from an abort and what the worker wrote to
    /// standard error before it. None if the worker died of something else, as far as is known.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) {
    /// match pool.enqueue(Square(7)).wait() {
    ///     Err(JobError::Crashed(crash)) if crash.limit() == Some(Limit::CpuTime) => println!("too much work"),
    ///     other => println!("{other:?}"),
    /// }
    /// # }
    /// ```
    pub fn limit(&self) -> Option<Limit> {
        use rustix::process::Signal;
        let signal = self.status?.signal()?;
        if signal == Signal::XCPU.as_raw() {
            return Some(Limit::CpuTime);
        }
        if signal == Signal::XFSZ.as_raw() {
            return Some(Limit::FileSize);
        }
        (!memory_hint(self.status, &self.stderr).is_empty()).then_some(Limit::AddressSpace)
    }

    /// The system call that a confined worker was killed for, where it is known: a worker that has confined itself with
    /// `kill_on_violation` of `hirelings-confine` says it before it dies. The status alone, SIGSYS, says that it was one.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) {
    /// if let Err(JobError::Crashed(crash)) = pool.enqueue(Square(7)).wait()
    ///     && let Some(call) = crash.forbidden_call()
    /// {
    ///     println!("it tried {call}");
    /// }
    /// # }
    /// ```
    pub fn forbidden_call(&self) -> Option<&str> {
        forbidden_call(self.status, &self.stderr)
    }
}

/// A limit of a process that a worker died of.
///
/// ```
/// # use hirelings::*;
/// fn advice(crash: &Crash) -> &'static str {
///     match crash.limit() {
///         Some(Limit::AddressSpace) => "give it more memory, or less to do",
///         Some(Limit::CpuTime | Limit::FileSize) => "it does too much",
///         _ => "look at its standard error",
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Limit {
    /// Probably: memory could not be had.
    AddressSpace,
    /// SIGXCPU.
    CpuTime,
    /// SIGXFSZ.
    FileSize,
}

/// The memory of a worker that was over the pool's hard limit.
///
/// ```no_run
/// # use hirelings::*;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
/// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
/// if let Err(JobError::OutOfMemory(memory)) = pool.enqueue(Square(7)).wait() {
///     println!("{} of {} bytes: {}", memory.resident, memory.limit, memory.stderr);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutOfMemory {
    /// How many bytes it held when it was looked at.
    pub resident: u64,
    /// The hard limit, in bytes.
    pub limit: u64,
    /// The worker's process id.
    pub pid: u32,
    /// What the worker wrote to standard error since it was sent the job: the last 8 KiB at most.
    pub stderr: String,
    /// How many attempts were made.
    pub attempts: u32,
    pub(crate) who: Box<Who>,
}

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (held, limit) = (Mebibytes(self.resident), Mebibytes(self.limit));
        write!(f, "{} held {held}, over its limit of {limit},{} and was killed", self.who, while_it_did_in(&self.who))?;
        stderr_lines(f, &self.stderr)
    }
}

/// An amount of memory, for people: whole MiB as such, else to a tenth, and in bytes where a tenth would make it a round
/// figure that it is not.
pub(crate) struct Mebibytes(pub(crate) u64);

impl fmt::Display for Mebibytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MIB: u64 = 1024 * 1024;
        if self.0 != 0 && self.0.is_multiple_of(MIB) {
            return write!(f, "{} MiB", self.0 / MIB);
        }
        let tenths = format!("{:.1}", self.0 as f64 / MIB as f64);
        if tenths.ends_with(".0") { write!(f, "{} bytes", self.0) } else { write!(f, "{tenths} MiB") }
    }
}

/// A limit that a worker passed.
///
/// ```no_run
/// # use hirelings::*;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
/// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
/// if let Err(JobError::TimedOut(timeout)) = pool.enqueue(Square(7)).wait() {
///     println!("{} for more than {:?}: {}", timeout.state, timeout.limit, timeout.stderr);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeout {
    /// What the worker was doing.
    pub state: WorkerState,
    /// The limit.
    pub limit: Duration,
    /// The worker's process id.
    pub pid: u32,
    /// What the worker wrote to standard error since it was sent the job: the last 8 KiB at most.
    pub stderr: String,
    /// How many attempts were made.
    pub attempts: u32,
    pub(crate) who: Box<Who>,
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} was {} for more than {:?}", self.who, self.state, self.limit)?;
        if let Some(work) = &self.who.work {
            write!(f, " on {work}")?;
        }
        f.write_str(", and was killed")?;
        stderr_lines(f, &self.stderr)
    }
}

/// A worker that did not start.
///
/// ```no_run
/// # use hirelings::*;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
/// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
/// if let Err(JobError::NoWorker(failure)) = pool.enqueue(Square(7)).wait() {
///     println!("{} {}: {}", failure.program, failure.reason, failure.stderr);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StartFailure {
    /// The program, as the launcher named it.
    pub program: String,
    /// The name of its site, in a pool of [`Site`](crate::Site)s.
    pub site: Option<Arc<str>>,
    /// How its process ended, if there was one and it is known.
    pub status: Option<ExitStatus>,
    /// What it wrote to standard error: the last 8 KiB at most.
    pub stderr: String,
    /// Why it was not spawned, or what it did before it was ready.
    pub reason: String,
    /// How many attempts were made before; 0 where it is no job's error.
    pub attempts: u32,
    /// Whether the job that fails of it had begun in an attempt before.
    pub(crate) begun: Begun,
}

/// At which site, where there are some.
struct At<'a>(&'a Option<Arc<str>>);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |site| write!(f, " at site {site}"))
    }
}

impl fmt::Display for StartFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no worker would start{}: {} {}", At(&self.site), self.program, self.reason)?;
        stderr_lines(f, &self.stderr)
    }
}

/// A value that could not be encoded or decoded.
///
/// ```no_run
/// # use hirelings::*;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
/// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
/// if let Err(JobError::Encode(error) | JobError::Decode(error)) = pool.enqueue(Square(7)).wait() {
///     println!("look at the type {}: {error}", error.type_name);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CodecError {
    /// The name of the value's type.
    pub type_name: &'static str,
    /// How many attempts were made; 0 of a job that could not be encoded.
    pub attempts: u32,
    pub(crate) message: String,
    pub(crate) begun: Begun,
}

impl CodecError {
    pub(crate) fn here(
        type_name: &'static str,
        what: &str,
        verb: &str,
        why: impl fmt::Display,
        begun: Begun,
        attempts: u32,
    ) -> Self {
        CodecError { type_name, attempts, message: format!("{what} could not be {verb} as {type_name}: {why}"), begun }
    }
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// A worker that broke the protocol.
///
/// ```no_run
/// # use hirelings::*;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
/// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
/// if let Err(JobError::Protocol(error)) = pool.enqueue(Square(7)).wait() {
///     println!("process {}: {}", error.pid, error.reason);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProtocolError {
    /// The worker's process id.
    pub pid: u32,
    /// What it did.
    pub reason: String,
    /// How many attempts were made.
    pub attempts: u32,
    pub(crate) who: Box<Who>,
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} broke the protocol{}: {}", self.who, while_it_did(&self.who), self.reason)
    }
}

macro_rules! errors { ($($error:ty),*) => { $(impl Error for $error {})* } }
errors!(WorkerPanic, Crash, Timeout, OutOfMemory, StartFailure, CodecError, ProtocolError);
