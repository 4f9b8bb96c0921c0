//! The errors of calls: of `enqueue` and those like it, of `build` and of `wait_ready`.

use super::{At, StartFailure, stderr_lines};
use std::error::Error;
use std::{fmt, io};

/// A job that was not accepted, with the job itself.
///
/// ```no_run
/// # use hirelings::*;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
/// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
/// if let Err(refused) = pool.try_enqueue(Square(7)) {
///     let Square(n) = refused.rejected;
///     println!("{n} was not taken: {:?}", refused.kind);
/// }
/// # Ok(()) }
/// ```
#[non_exhaustive]
pub struct EnqueueError<T> {
    /// Why.
    pub kind: EnqueueErrorKind,
    /// The job, or the whole request with its hooks.
    pub rejected: T,
    pub(crate) message: String,
}

/// Why a job was not accepted.
///
/// ```no_run
/// # use hirelings::*;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
/// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
/// match pool.try_enqueue(Square(7)).map_err(|refused| refused.kind) {
///     Ok(handle) => println!("{}", handle.wait()?),
///     Err(EnqueueErrorKind::Full) => println!("come back later"),
///     Err(other) => println!("not at all: {other:?}"),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EnqueueErrorKind {
    /// The backlog holds `max_backlog` jobs.
    Full,
    /// The pool accepts no more jobs.
    Closed,
    /// The job cannot be encoded, or is over `max_frame`.
    Encode,
}

impl<T> fmt::Display for EnqueueError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl<T: fmt::Debug> Error for EnqueueError<T> {}

/// A pool that could not be built.
///
/// ```no_run
/// # use hirelings::*;
/// # use std::process::Command;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
/// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
/// match Pool::<Square>::builder(Command::new("/no/such/program")).build() {
///     Ok(_) => println!("it is there"),
///     Err(error) => println!("{:?}: {error}", error.kind()),
/// }
/// # Ok(()) }
/// ```
pub struct BuildError {
    pub(super) kind: BuildErrorKind,
    pub(super) message: String,
    pub(super) source: Option<io::Error>,
}

/// Why a pool could not be built.
///
/// ```no_run
/// # use hirelings::*;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
/// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
/// if let Err(error) = Pool::<Square>::builder(self_exec::<Square>()).build() {
///     match error.kind() {
///         BuildErrorKind::Spawn => println!("is the worker installed? {error}"),
///         BuildErrorKind::NotAWorker => println!("worker::init was forgotten"),
///         _ => println!("{error}"),
///     }
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildErrorKind {
    /// The options contradict each other, are out of range, or cannot be encoded.
    Options,
    /// The first worker, or a thread of the pool, could not be started.
    Spawn,
    /// This process was itself started as a worker and has not called `init`, or it is a test harness, which cannot be
    /// its own worker.
    NotAWorker,
}

impl BuildError {
    pub(crate) fn new(kind: BuildErrorKind, message: impl Into<String>) -> Self {
        BuildError { kind, message: message.into(), source: None }
    }

    pub(crate) fn io(what: &str, source: io::Error) -> Self {
        BuildError { kind: BuildErrorKind::Spawn, message: format!("{what}: {source}"), source: Some(source) }
    }

    /// The kind of the error, for a program to match; `Display` writes a sentence for people.
    ///
    /// ```
    /// # use hirelings::*;
    /// # use std::process::Command;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// // A mistake in the options is another kind than a missing worker program.
    /// let builder = Pool::<Square>::builder(Command::new("squares-worker"));
    /// let refused = builder.max_processes(2).min_processes(3).build().unwrap_err();
    /// assert_eq!(refused.kind(), BuildErrorKind::Options);
    /// assert_eq!(refused.to_string(), "min_processes is 3, which is more than max_processes, 2");
    /// ```
    pub fn kind(&self) -> BuildErrorKind {
        self.kind
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for BuildError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}

/// Workers that were not ready in time.
///
/// ```no_run
/// # use hirelings::*;
/// # use std::time::Duration;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
/// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
/// if let Err(error) = pool.wait_ready(Duration::from_secs(5)) {
///     println!("{error}");
///     if let Some(failure) = error.start_failure() {
///         println!("{} said: {}", failure.program, failure.stderr);
///     }
/// }
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct ReadyError {
    pub(crate) message: String,
    pub(crate) failure: Option<Box<StartFailure>>,
}

impl ReadyError {
    /// The last start failure, if there was one: the program, its exit status, and the last lines of its standard error.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # use std::time::Duration;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// let ready = pool.wait_ready(Duration::from_secs(5));
    /// if let Some(failure) = ready.as_ref().err().and_then(ReadyError::start_failure) {
    ///     println!("look at {}, which says: {}", failure.program, failure.stderr);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn start_failure(&self) -> Option<&StartFailure> {
        self.failure.as_deref()
    }
}

impl fmt::Display for ReadyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.failure {
            Some(failure) => {
                write!(f, "{}: {} {}", At(&failure.site), failure.program, failure.reason)?;
                stderr_lines(f, &failure.stderr)
            }
            None => Ok(()),
        }
    }
}

impl Error for ReadyError {}
