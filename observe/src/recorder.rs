//! What a pool tells, kept for a timeline or a trace.

use crate::clock::Origin;
use crate::recording::{Attempt, Detail, Outcome, Recording, Shared, micros};
use crate::sampler;
use crate::shorten::truncated;
use crate::{timeline, trace};
use hirelings::{Event, EventKind, Job, JobError, Pool};
use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::{Arc, Weak};

/// How many attempts are kept one by one.
const ATTEMPTS: usize = 100_000;

/// The kinds of events that a recording is made of.
const KINDS: [EventKind; 11] = [
    EventKind::Enqueue,
    EventKind::Task,
    EventKind::JobSuccess,
    EventKind::JobFailure,
    EventKind::JobRetry,
    EventKind::JobAbort,
    EventKind::Spawn,
    EventKind::WorkerReady,
    EventKind::WorkerTimeout,
    EventKind::WorkerExiting,
    EventKind::Exit,
];

/// A recording of what a pool does, to be looked at as a [timeline](Recorder::write_timeline) or a
/// [trace](Recorder::write_trace).
///
/// It is made on the pool's hook thread, from the moment it is attached until it is dropped or the pool has ended; a
/// thread of its own looks at the memory of the workers now and then. What hooks have not been told of yet is not in what is
/// written: `exit` and `drain` wait for that.
///
/// Its memory is bounded: 100,000 attempts are kept one by one, about 100 bytes each and a label of at most 200 bytes, and
/// 8 MiB of errors and standard error. Older ones give way to sums: how many jobs each worker's place did and how long it was
/// busy, in at most 512 equal parts of the time. Jobs that are queued or running take about 50 bytes each beside the memory
/// that the pool keeps for them.
///
/// ```no_run
/// use hirelings::{Job, Pool};
/// use hirelings_observe::Recorder;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = (); type Error = String; }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = Pool::<Square>::self_exec().build()?;
/// let recorder = Recorder::attach(&pool);
/// for n in 0..1000 {
///     drop(pool.request(Square(n)).label(format!("{n} squared")).enqueue());
/// }
/// pool.drain(std::time::Duration::MAX);
/// recorder.write_timeline("run.html")?;
/// # Ok(()) }
/// ```
pub struct Recorder {
    shared: Arc<Shared>,
}

impl Recorder {
    /// Records what `pool` does from now on.
    ///
    /// ```no_run
    /// # use hirelings::{Job, Pool};
    /// # use hirelings_observe::Recorder;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = (); type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// let recorder = Recorder::attach(pool);
    /// pool.enqueue(Square(7)).wait()?;
    /// pool.exit();
    /// recorder.write_timeline("run.html")?;
    /// # Ok(()) }
    /// ```
    pub fn attach<J: Job>(pool: &Pool<J>) -> Recorder {
        Recorder::attach_with_capacity(pool, ATTEMPTS)
    }

    /// The same, with so many attempts kept one by one, at least one. A timeline of more than some 100,000 is slow to load.
    ///
    /// ```no_run
    /// # use hirelings::{Job, Pool};
    /// # use hirelings_observe::Recorder;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = (); type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// // Of a service that runs for weeks, only the newest are of interest.
    /// let recorder = Recorder::attach_with_capacity(pool, 5_000);
    /// # Ok(()) }
    /// ```
    pub fn attach_with_capacity<J: Job>(pool: &Pool<J>, attempts: usize) -> Recorder {
        let shared = Arc::new(Shared::new(Recording::new(Origin::of(pool), attempts.max(1))));
        // The hooks hold it weakly, so that a recorder that is dropped frees what it has kept.
        let end = Arc::new(End(Arc::downgrade(&shared)));
        for kind in KINDS {
            let end = Arc::clone(&end);
            pool.on(kind, move |event| {
                if let Some(shared) = end.0.upgrade() {
                    note::<J>(&mut shared.recording.lock(), event);
                }
            });
        }
        sampler::start(&shared);
        Recorder { shared }
    }

    /// Writes the timeline: one HTML file that needs nothing else, neither a server nor the network.
    ///
    /// It shows a lane for each worker's place, the jobs on it by how they ended, when workers were started, killed and over a
    /// limit, and below them the workers' memory and the backlog. It can be zoomed and searched by label; a job that is
    /// clicked shows what is known of it.
    ///
    /// # Errors
    ///
    /// Those of creating and writing the file.
    ///
    /// ```no_run
    /// # use hirelings::{Job, Pool};
    /// # use hirelings_observe::Recorder;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = (); type Error = String; }
    /// # fn example(pool: &Pool<Square>, recorder: &Recorder) -> Result<(), Box<dyn std::error::Error>> {
    /// // Of a run that goes on, for a look at it.
    /// pool.wait_idle();
    /// recorder.write_timeline("/var/lib/app/so-far.html")?;
    /// # Ok(()) }
    /// ```
    pub fn write_timeline(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.write(path.as_ref(), timeline::write)
    }

    /// Writes Chrome's trace event format, in JSON: for <https://ui.perfetto.dev>, `chrome://tracing`, and what else reads it.
    ///
    /// Each worker's place is a thread of one process; each attempt an event on it, with the label as its name and the rest as
    /// arguments; memory and backlog are counters.
    ///
    /// # Errors
    ///
    /// Those of creating and writing the file.
    ///
    /// ```no_run
    /// # use hirelings::{Job, Pool};
    /// # use hirelings_observe::Recorder;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = (); type Error = String; }
    /// # fn example(pool: &Pool<Square>, recorder: &Recorder) -> Result<(), Box<dyn std::error::Error>> {
    /// pool.exit();
    /// recorder.write_trace("run.json")?;
    /// # Ok(()) }
    /// ```
    pub fn write_trace(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.write(path.as_ref(), trace::write)
    }

    /// How many attempts were recorded, and how many of them are kept one by one.
    ///
    /// ```no_run
    /// # use hirelings_observe::Recorder;
    /// # fn example(recorder: &Recorder) {
    /// let (recorded, kept) = recorder.attempts();
    /// println!("{} of {recorded} attempts are sums by now", recorded - kept as u64);
    /// # }
    /// ```
    pub fn attempts(&self) -> (u64, usize) {
        let recording = self.shared.recording.lock();
        (recording.ended, recording.attempts.len())
    }

    fn write(&self, path: &Path, write: fn(&Recording, &mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        // A copy: the hook thread does not wait for the disk.
        let recording = self.shared.recording.lock().snapshot();
        let mut file = BufWriter::new(File::create(path)?);
        write(&recording, &mut file)?;
        file.flush()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.shared.end();
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (recorded, kept) = self.attempts();
        f.debug_struct("Recorder").field("recorded", &recorded).field("kept", &kept).finish_non_exhaustive()
    }
}

/// Dropped with the last hook, which is when the pool has ended.
struct End(Weak<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade() {
            shared.end();
        }
    }
}

/// Keeps one event.
fn note<J: Job>(recording: &mut Recording, event: &Event) {
    let Some(fields) = event.fields() else { return };
    let at = micros(event.at());
    let job = fields.job.map_or(0, |job| job.get());
    if recording.pool.is_empty() {
        recording.pool = Arc::clone(&fields.pool);
    }
    match fields.kind {
        EventKind::Enqueue => recording.enqueued(job, at),
        EventKind::Task => {
            let (Some(worker), Some(slot)) = (fields.worker, fields.slot) else { return };
            // It may have been started, and have been ready, before the recording began.
            let seen = recording.worker(worker.get(), slot.index(), fields.site.as_ref(), fields.pid.unwrap_or(0), at);
            seen.ready = seen.ready.or(Some(at));
            recording.task(job, at, worker.get(), slot.index(), fields.attempt.unwrap_or(1));
        }
        EventKind::JobSuccess => recording.ended(job, at, fields.label.as_ref(), Outcome::Succeeded, None),
        EventKind::JobAbort => recording.ended(job, at, fields.label.as_ref(), Outcome::Aborted, None),
        EventKind::JobRetry | EventKind::JobFailure => {
            let error = event.error::<J>();
            let outcome = error.as_ref().map_or(Outcome::Failed, outcome_of);
            let detail = error.as_ref().map(detail_of);
            if fields.kind == EventKind::JobRetry {
                recording.retried(job, at, fields.label.as_ref(), outcome, detail);
            } else {
                recording.ended(job, at, fields.label.as_ref(), outcome, detail);
            }
        }
        _ => {
            let (Some(worker), Some(slot)) = (fields.worker, fields.slot) else { return };
            let pid = fields.pid.unwrap_or(0);
            let seen = recording.worker(worker.get(), slot.index(), fields.site.as_ref(), pid, at);
            match fields.kind {
                EventKind::WorkerReady => seen.ready = seen.ready.or(Some(at)),
                EventKind::WorkerExiting => seen.exiting = seen.exiting.or(Some(at)),
                EventKind::WorkerTimeout => {
                    seen.limit = event.timeout().map(|(state, limit)| (at, format!("{state} for more than {limit:?}")));
                }
                EventKind::Exit => {
                    let status = event.status();
                    seen.status = Some(status.map_or_else(|| "ended".to_owned(), |status| status.to_string()));
                    recording.exited(worker.get(), at);
                }
                _ => {}
            }
        }
    }
}

pub(crate) fn outcome_of<E>(error: &JobError<E>) -> Outcome {
    match error {
        JobError::Panicked(_) => Outcome::Panicked,
        JobError::Crashed(_) => Outcome::Crashed,
        JobError::TimedOut(_) => Outcome::TimedOut,
        JobError::OutOfMemory(_) => Outcome::OutOfMemory,
        JobError::Aborted => Outcome::Aborted,
        JobError::Closed => Outcome::Closed,
        JobError::NoWorker(_) => Outcome::NoWorker,
        JobError::Expired => Outcome::Expired,
        JobError::Encode(_) | JobError::Decode(_) => Outcome::Codec,
        JobError::Protocol(_) => Outcome::Protocol,
        _ => Outcome::Failed,
    }
}

/// What the worker wrote to standard error before it failed.
pub(crate) fn stderr_of<E>(error: &JobError<E>) -> &str {
    match error {
        JobError::Panicked(panic) => &panic.stderr,
        JobError::Crashed(crash) => &crash.stderr,
        JobError::TimedOut(timeout) => &timeout.stderr,
        JobError::OutOfMemory(memory) => &memory.stderr,
        JobError::NoWorker(failure) => &failure.stderr,
        _ => "",
    }
}

fn detail_of<E: fmt::Display>(error: &JobError<E>) -> Box<Detail> {
    let mut message = error.to_string();
    let stderr = stderr_of(error);
    // The sentence: the lines of standard error under it are shown beside it.
    if !matches!(error, JobError::Failed(_)) {
        message.truncate(message.find('\n').unwrap_or(message.len()));
    }
    Box::new(Detail { message: truncated(message, 2048, true), stderr: truncated(stderr.to_owned(), 4096, false) })
}

/// What an attempt takes in memory, for the figure in the documentation.
const _: () = assert!(size_of::<Attempt>() <= 96);
