//! A line for each job as it ends, so that a run that broke off goes on where it stopped.

mod lines;

use crate::clock::Origin;
use crate::recorder::{outcome_of, stderr_of};
use crate::recording::Outcome;
use hirelings::{Event, EventKind, Job, JobError, Pool};
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, fs};

pub use lines::Logged;

/// Writes a line for each job as it ends, as JSON or in the columns of GNU parallel's `--joblog`.
///
/// A line is one `write` to the file, made on the pool's hook thread when the job has settled for good: once it is there, the
/// job need not be done again, whatever happens to the program. [`wait`](hirelings::JobHandle::wait) may return a little
/// earlier; `exit` and `drain` return when all lines are written. A crash of the whole machine may lose what the system had
/// not written to the disk yet.
///
/// ```no_run
/// use hirelings::{Job, Pool};
/// use hirelings_observe::JobLog;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Fetch(String);
/// # impl Job for Fetch { type Output = u64; type Progress = (); type Error = String; }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = Pool::<Fetch>::self_exec().build()?;
/// let done = JobLog::resume("fetched.jsonl")?;
/// let log = JobLog::append("fetched.jsonl")?;
/// log.attach(&pool);
/// for page in std::fs::read_to_string("pages")?.lines().filter(|page| !done.contains(*page)) {
///     drop(pool.request(Fetch(page.to_owned())).label(page).enqueue());
/// }
/// pool.drain(std::time::Duration::MAX);
/// if let Some(error) = log.error() {
///     eprintln!("the job log is not complete: {error}");
/// }
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct JobLog {
    log: Arc<Mutex<Log>>,
}

struct Log {
    file: File,
    columns: bool,
    /// The first that came; nothing is written after it.
    error: Option<io::Error>,
    begun: HashMap<u64, Begun>,
}

/// What is known of a job that has not ended.
#[derive(Clone, Copy, Default)]
struct Begun {
    queued: Option<Duration>,
    started: Option<Duration>,
}

/// Takes the exit value and the signal from an error.
type Status<J> = dyn Fn(&JobError<<J as Job>::Error>) -> (i32, i32);

impl JobLog {
    /// Creates the file, or empties it where it is there. Lines are JSON, unless [`columns`](JobLog::columns) says otherwise.
    ///
    /// # Errors
    ///
    /// Those of creating a file.
    ///
    /// ```no_run
    /// # use hirelings::{Job, Pool};
    /// # use hirelings_observe::JobLog;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = (); type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// JobLog::create("jobs.jsonl")?.attach(pool);
    /// # Ok(()) }
    /// ```
    pub fn create(path: impl AsRef<Path>) -> io::Result<JobLog> {
        Ok(JobLog::of(OpenOptions::new().write(true).create(true).truncate(true).open(path)?, false))
    }

    /// Opens the file to go on with it, in the format that it has; creates it where it is not there. A last line that was not
    /// written to its end is taken out.
    ///
    /// # Errors
    ///
    /// Those of opening, reading and cutting a file.
    ///
    /// ```no_run
    /// # use hirelings::{Job, Pool};
    /// # use hirelings_observe::JobLog;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = (); type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// let done = JobLog::resume("jobs.jsonl")?;
    /// JobLog::append("jobs.jsonl")?.attach(pool);
    /// println!("{} jobs are done already", done.len());
    /// # Ok(()) }
    /// ```
    pub fn append(path: impl AsRef<Path>) -> io::Result<JobLog> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let whole = lines::whole(&bytes);
        if whole.len() < bytes.len() {
            file.set_len(whole.len() as u64)?;
        }
        file.seek(SeekFrom::Start(whole.len() as u64))?;
        Ok(JobLog::of(file, whole.starts_with(lines::HEADER.as_bytes())))
    }

    fn of(file: File, columns: bool) -> JobLog {
        JobLog { log: Arc::new(Mutex::new(Log { file, columns, error: None, begun: HashMap::new() })) }
    }

    /// Lines as GNU parallel's `--joblog` has them, under its heading: number of the job, host, start in seconds since 1970,
    /// seconds that the last attempt ran, bytes sent and received (not known here: 0), exit value, signal, and the label as the
    /// command. A line break in a label is written as `\n`.
    ///
    /// Jobs that came to no end of their own (aborted, or closed with the pool) have no line, since parallel takes each line
    /// for a job that is done. Does nothing where the file has lines already.
    ///
    /// ```no_run
    /// # use hirelings::{Job, Pool};
    /// # use hirelings_observe::JobLog;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = (); type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// JobLog::create("joblog")?.columns().attach(pool);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn columns(self) -> JobLog {
        let mut log = self.log.lock();
        if log.file.stream_position().is_ok_and(|at| at == 0) {
            log.columns = true;
            log.write(lines::HEADER);
        }
        drop(log);
        self
    }

    /// Writes a line for each job of the pool that ends from now on. Several pools may share a log.
    ///
    /// The exit value in a line is that of a worker that ended with one, -1 of one that was over its limit of time, 1 of
    /// another failure, and 0 of a success; the signal is the one that ended the worker.
    ///
    /// ```no_run
    /// # use hirelings::{Job, Pool};
    /// # use hirelings_observe::JobLog;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = (); type Error = String; }
    /// # fn example(squares: &Pool<Square>, more: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// let log = JobLog::create("jobs.jsonl")?;
    /// log.attach(squares);
    /// log.attach(more);
    /// # Ok(()) }
    /// ```
    pub fn attach<J: Job>(&self, pool: &Pool<J>) {
        self.attach_with(pool, status_of);
    }

    /// The same, with the exit value and the signal that `status` takes from an error.
    ///
    /// ```no_run
    /// # use hirelings::{Job, JobError, Pool};
    /// # use hirelings_observe::JobLog;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Run(String);
    /// # impl Job for Run { type Output = (); type Progress = (); type Error = String; }
    /// # fn example(pool: &Pool<Run>) -> Result<(), Box<dyn std::error::Error>> {
    /// JobLog::create("joblog")?.columns().attach_with(pool, |error| match error {
    ///     JobError::Failed(why) => (why.parse().unwrap_or(1), 0),
    ///     _ => (-1, 0),
    /// });
    /// # Ok(()) }
    /// ```
    pub fn attach_with<J: Job>(
        &self,
        pool: &Pool<J>,
        status: impl Fn(&JobError<J::Error>) -> (i32, i32) + Send + 'static,
    ) {
        let status = Arc::new(Mutex::new(status));
        let built_at = Origin::of(pool).time_of_day;
        let kinds =
            [EventKind::Enqueue, EventKind::Task, EventKind::JobSuccess, EventKind::JobFailure, EventKind::JobAbort];
        for kind in kinds {
            let (log, status) = (Arc::clone(&self.log), Arc::clone(&status));
            pool.on(kind, move |event| log.lock().note::<J>(event, built_at, &*status.lock()));
        }
    }

    /// The first error of writing, which ended the log; told once.
    ///
    /// ```no_run
    /// # use hirelings_observe::JobLog;
    /// # fn example(log: &JobLog) {
    /// if let Some(error) = log.error() {
    ///     eprintln!("the job log is not complete: {error}");
    /// }
    /// # }
    /// ```
    pub fn error(&self) -> Option<io::Error> {
        let mut log = self.log.lock();
        let kind = log.error.as_ref()?.kind();
        log.error.replace(kind.into())
    }

    /// The labels of the jobs that are done, whether they succeeded or failed for good: not those that were aborted or closed
    /// with the pool. None where there is no file. A last line that was not written to its end counts for nothing.
    ///
    /// # Errors
    ///
    /// Those of reading a file, and [`InvalidData`](io::ErrorKind::InvalidData) where a line is none of a job log.
    ///
    /// ```no_run
    /// # use hirelings_observe::JobLog;
    /// # fn main() -> std::io::Result<()> {
    /// let done = JobLog::resume("jobs.jsonl")?;
    /// let left: Vec<_> = ["one", "two", "three"].into_iter().filter(|label| !done.contains(*label)).collect();
    /// # Ok(()) }
    /// ```
    pub fn resume(path: impl AsRef<Path>) -> io::Result<HashSet<String>> {
        let all = JobLog::read(path)?.into_iter();
        Ok(all.filter(|logged| logged.is_done).filter_map(|logged| logged.label).collect())
    }

    /// All lines of a log, in either format. None where there is no file. A last line that was not written to its end is left
    /// out.
    ///
    /// # Errors
    ///
    /// Those of reading a file, and [`InvalidData`](io::ErrorKind::InvalidData) where a line is none of a job log.
    ///
    /// ```no_run
    /// # use hirelings_observe::JobLog;
    /// # use std::collections::HashSet;
    /// # fn main() -> std::io::Result<()> {
    /// // Those that failed are to be done again.
    /// let succeeded: HashSet<String> =
    ///     JobLog::read("jobs.jsonl")?.into_iter().filter(|job| job.succeeded).filter_map(|job| job.label).collect();
    /// # Ok(()) }
    /// ```
    pub fn read(path: impl AsRef<Path>) -> io::Result<Vec<Logged>> {
        match fs::read(path) {
            Ok(bytes) => lines::parse(&bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

impl fmt::Debug for JobLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let log = self.log.lock();
        f.debug_struct("JobLog").field("columns", &log.columns).field("error", &log.error).finish_non_exhaustive()
    }
}

impl Log {
    fn note<J: Job>(&mut self, event: &Event, built_at: Duration, status: &Status<J>) {
        let Some(fields) = event.fields() else { return };
        let Some(job) = fields.job.map(|job| job.get()) else { return };
        let now = built_at + event.at();
        match fields.kind {
            EventKind::Enqueue => self.begun.entry(job).or_default().queued = Some(now),
            EventKind::Task => self.begun.entry(job).or_default().started = Some(now),
            kind => {
                let begun = self.begun.remove(&job).unwrap_or_default();
                let error = event.error::<J>();
                let outcome = match kind {
                    EventKind::JobSuccess => Outcome::Succeeded,
                    EventKind::JobAbort => Outcome::Aborted,
                    _ => error.as_ref().map_or(Outcome::Failed, outcome_of),
                };
                let (exit, signal) = match outcome {
                    Outcome::Succeeded => (0, 0),
                    _ => error.as_ref().map_or((1, 0), status),
                };
                let (message, stderr) = match &error {
                    Some(error) => (Some(error.to_string()), stderr_of(error)),
                    None => (None, ""),
                };
                let started = begun.started.unwrap_or(now);
                let line = lines::Line {
                    job,
                    label: fields.label.as_deref(),
                    outcome,
                    attempt: fields.attempt.unwrap_or(0),
                    pid: fields.pid,
                    started,
                    waited: started.saturating_sub(begun.queued.unwrap_or(started)),
                    ran: now.saturating_sub(started),
                    exit,
                    signal,
                    error: message.as_deref(),
                    stderr,
                };
                if !self.columns {
                    self.write(&line.json());
                } else if lines::is_done(outcome) {
                    self.write(&line.columns());
                }
            }
        }
    }

    fn write(&mut self, line: &str) {
        // One call, so that a line is there whole or not at all, but for a full disk.
        if self.error.is_none() {
            self.error = self.file.write_all(line.as_bytes()).err();
        }
    }
}

/// The exit value and the signal of a failure.
fn status_of<E>(error: &JobError<E>) -> (i32, i32) {
    match error {
        JobError::Crashed(crash) => match crash.status {
            Some(status) => (status.code().unwrap_or(0), status.signal().unwrap_or(0)),
            None => (1, 0),
        },
        JobError::TimedOut(_) => (-1, 0),
        _ => (1, 0),
    }
}
