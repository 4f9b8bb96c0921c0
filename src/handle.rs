//! The handle of a job.

use crate::clock;
use crate::driver::{Command, PendingCancel};
use crate::error::{JobError, JobResult};
use crate::failure::{Failure, Settled, decoded, typed};
use crate::id::JobId;
use crate::progress::ProgressStream;
use crate::record::{JobHook, JobRecord, JobStatus};
use crate::report::JobReport;
use crate::shared::Shared;
use crate::spin;
use crate::supervisor::Begun;
use crossbeam_channel::{Sender, bounded};
use hirelings_worker_kit::Job;
use hirelings_worker_kit::wire::Payload;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// One job: wait for it, watch it, abort it. Dropping the handle lets the job run on.
///
/// Its hooks run on the pool's hook thread, in the order of what happened; once the pool has ended, on the thread that
/// adds them.
///
/// ```no_run
/// # use hirelings::{Job, Pool, self_exec};
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = (); type Error = String; }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let pool = Pool::<Square>::builder(self_exec::<Square>()).build()?;
/// let handle = pool.enqueue(Square(7));
/// assert_eq!(handle.wait()?, 49);
/// # Ok(()) }
/// ```
pub struct JobHandle<J: Job> {
    record: Arc<JobRecord>,
    pool: Arc<Shared>,
    jobs: PhantomData<fn() -> J>,
}

impl<J: Job> JobHandle<J> {
    pub(crate) fn new(record: Arc<JobRecord>, pool: Arc<Shared>) -> Self {
        JobHandle { record, pool, jobs: PhantomData }
    }

    /// Blocks until the job is settled and returns its result, which is decoded in this thread.
    ///
    /// It cannot wait for ever: when a pool is closed, or its supervisor fails, its jobs settle as [`JobError::Closed`].
    ///
    /// The thread stays awake for up to 300 µs before it sleeps, since many jobs are over by then, and yields the processor
    /// meanwhile. Where it was in vain, later waits sleep at once, and of many threads only one stays awake.
    ///
    /// # Errors
    ///
    /// Every kind of [`JobError`]. If the pool accepts no more jobs, [`JobError::Closed`] at once.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// let handles: Vec<_> = (0..10).map(|n| pool.enqueue(Square(n))).collect();
    /// for handle in handles {
    ///     println!("{}", handle.wait()?);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn wait(self) -> JobResult<J> {
        self.decoded(&self.pool.awaiting(&self.record, || self.record.outcome()))
    }

    /// Like [`wait`](JobHandle::wait), and says what the job took: how many attempts, how long it waited and ran, and which
    /// process had it last. Any job can be asked so, also once it is settled.
    ///
    /// Of a job that never came into the pool (refused, or closed with its pool before) the report is empty.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # use std::time::Duration;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// for handle in (0..100).map(|n| pool.enqueue(Square(n))).collect::<Vec<_>>() {
    ///     let job = handle.to_string();
    ///     let (result, report) = handle.wait_with_report();
    ///     if report.running > Duration::from_secs(1) {
    ///         eprintln!("{job} is slow: {:?}, {} attempts", report.running, report.attempts);
    ///     }
    ///     println!("{}", result?);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn wait_with_report(self) -> (JobResult<J>, JobReport) {
        let (settled, report) = self.pool.awaiting(&self.record, || self.record.outcome_with_report());
        (self.decoded(&settled), report)
    }

    /// The result, if it is there; else the task is woken once it is.
    pub(crate) fn poll_outcome(&self, context: &Context<'_>) -> Poll<JobResult<J>> {
        // On the hook thread nobody else could wake the task.
        if self.pool.dispatcher.is_this_thread() {
            return Poll::Ready(self.decoded(&self.pool.dispatcher.blocking(|| self.record.outcome())));
        }
        self.record.poll_outcome(context).map(|settled| self.decoded(&settled))
    }

    /// Sends `number` once it is settled.
    pub(crate) fn send_when_finished(&self, finished: Sender<usize>, number: usize) {
        self.record.send_when_finished(finished, number);
    }

    /// Waits for something that the job's pool brings about: on its hook thread, without holding anything up.
    pub(crate) fn blocking<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.pool.dispatcher.blocking(wait)
    }

    /// How many bytes the encoded job takes, until it is settled.
    pub(crate) fn payload_len(&self) -> usize {
        self.record.payload().len()
    }

    /// The same as `wait`, with the number of bytes that the encoded output takes.
    pub(crate) fn wait_and_measure(self) -> (JobResult<J>, usize) {
        let settled = self.pool.awaiting(&self.record, || self.record.outcome());
        let bytes = settled.as_ref().map_or(0, Payload::len);
        (self.decoded(&settled), bytes)
    }

    /// Like [`wait`](JobHandle::wait), for at most `limit`. After that the handle is returned, and the job goes on.
    ///
    /// # Errors
    ///
    /// The handle, if the job is not settled in time.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # use std::time::Duration;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// match pool.enqueue(Square(7)).wait_timeout(Duration::from_secs(1)) {
    ///     Ok(result) => println!("{}", result?),
    ///     Err(handle) => handle.abort(),
    /// }
    /// # Ok(()) }
    /// ```
    pub fn wait_timeout(self, limit: Duration) -> Result<JobResult<J>, JobHandle<J>> {
        let deadline = clock::now().checked_add(limit);
        let wait = || match deadline {
            Some(deadline) => self.record.outcome_until(deadline),
            None => Some(self.record.outcome()),
        };
        let outcome = match limit < spin::LIMIT {
            true => self.pool.dispatcher.blocking(wait),
            false => self.pool.awaiting(&self.record, wait),
        };
        outcome.map(|settled| self.decoded(&settled)).ok_or(self)
    }

    /// The job's result if it is settled; otherwise the handle is returned.
    ///
    /// # Errors
    ///
    /// The handle, if the job is not settled.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut handle = pool.enqueue(Square(7));
    /// let result = loop {
    ///     match handle.try_wait() {
    ///         Ok(result) => break result,
    ///         Err(again) => handle = again,
    ///     }
    ///     println!("something else meanwhile");
    /// };
    /// println!("{}", result?);
    /// # Ok(()) }
    /// ```
    pub fn try_wait(self) -> Result<JobResult<J>, JobHandle<J>> {
        self.record.try_outcome().map(|settled| self.decoded(&settled)).ok_or(self)
    }

    /// The job's number, which events and errors name too.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// let handle = pool.enqueue(Square(7));
    /// let id = handle.id();
    /// handle.wait().map_err(|error| format!("job {id}: {error}"))?;
    /// # Ok(()) }
    /// ```
    pub fn id(&self) -> JobId {
        JobId(self.record.id)
    }

    /// The state of the job at this moment.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// let handle = pool.enqueue(Square(7));
    /// if let JobStatus::Running { pid, .. } = handle.status() {
    ///     println!("to look at it: gdb -p {pid}");
    /// }
    /// # Ok(()) }
    /// ```
    pub fn status(&self) -> JobStatus {
        self.record.status()
    }

    /// Whether an attempt at the job has begun. After the job is settled: whether any attempt had begun.
    ///
    /// For a job that was aborted, or that was not done when the pool was closed, only the handle has this answer:
    /// [`JobError::begun`](crate::JobError::begun) is [`Begun::Perhaps`](crate::Begun::Perhaps) for each of those.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// let handle = pool.enqueue(Square(7));
    /// handle.abort();
    /// if handle.begun() == Begun::No {
    ///     println!("it was still in the backlog");
    /// }
    /// # Ok(()) }
    /// ```
    pub fn begun(&self) -> Begun {
        self.record.begun()
    }

    /// The last attempt at the job that is known to have begun, from 1; none where none has. After the job is settled: the
    /// one whose result counts, if that had begun.
    ///
    /// For a job that failed by its handler's error, that was aborted, or that was not done when the pool was closed, its
    /// error does not say it, since these hold nothing else. Hooks learn it from [`Event::attempt`](crate::Event::attempt).
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # use std::time::Duration;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) {
    /// let handle = pool.request(Square(7)).retries(5).enqueue();
    /// if let Err(handle) = handle.wait_timeout(Duration::from_secs(10)) {
    ///     handle.abort();
    ///     println!("{handle} was aborted at attempt {:?}", handle.attempt());
    /// }
    /// # }
    /// ```
    pub fn attempt(&self) -> Option<u32> {
        Some(self.record.attempts()).filter(|&attempt| attempt > 0)
    }

    /// Whether the job is settled: `wait` returns at once.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// let handles: Vec<_> = (0..100).map(|n| pool.enqueue(Square(n))).collect();
    /// let finished = handles.iter().filter(|handle| handle.is_finished()).count();
    /// println!("{finished} of {}", handles.len());
    /// # Ok(()) }
    /// ```
    pub fn is_finished(&self) -> bool {
        self.record.status() == JobStatus::Finished
    }

    /// Settles the job as [`JobError::Aborted`], unless something settled it before; it is settled when this returns. A
    /// job in the backlog never begins; the worker of one that runs is killed.
    ///
    /// A job that is still [`Queued`](JobStatus::Queued) may have been prefetched to a worker that does another one
    /// ([`prefetch`](crate::PoolBuilder::prefetch)). It is recalled, and begins only where that comes too late: then its worker
    /// is killed too. [`begun`](JobHandle::begun) says whether that may be so.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// // The first answer is enough.
    /// let (first, second) = (pool.enqueue(Square(7)), pool.enqueue(Square(8)));
    /// println!("{}", first.wait()?);
    /// second.abort();
    /// # Ok(()) }
    /// ```
    pub fn abort(&self) {
        abort(&self.record, &self.pool);
    }

    /// Asks the job to come to its end: its handler sees it in `Context::is_cancelled`, and may take so long (`grace`) to
    /// return. What it returns counts, an output like an error, and is what [`wait`](JobHandle::wait) gives. After the grace
    /// time the worker is killed, and the job settles as [`JobError::Aborted`]. A grace of [`Duration::MAX`] kills nobody.
    ///
    /// A job that no worker has begun is aborted at once, as [`abort`](JobHandle::abort) does it, and is settled when this
    /// returns. For one that runs, this returns as soon as the worker is being asked. It may be called again: a shorter grace
    /// time replaces a longer one. `abort` ends the job at once, also after this.
    ///
    /// A cancelled job is not retried, whatever its attempt comes to. The limit of the attempt
    /// ([`timeout`](crate::JobRequest::timeout)) holds as before. No other job is concerned: the worker goes on with the next
    /// one where the handler returns in time. A worker that speaks version 1 of the protocol only is not asked, and has just the
    /// grace time. When the pool is closing this works as before; after `exit` all jobs are settled, and it does nothing.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # use std::time::Duration;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// match pool.enqueue(Square(7)).wait_timeout(Duration::from_secs(60)) {
    ///     Ok(result) => println!("{}", result?),
    ///     Err(handle) => {
    ///         // It has two seconds to write down how far it has come.
    ///         handle.cancel(Duration::from_secs(2));
    ///         println!("{:?}", handle.wait());
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    pub fn cancel(&self, grace: Duration) {
        cancel(&self.record, grace, &self.pool);
    }

    /// Aborts the job if no worker has begun it. `true`: it is settled as [`JobError::Aborted`] when this returns, and no worker
    /// begins it. `false`: it runs, or is settled already, and goes on as if nobody had asked. Nobody is killed.
    ///
    /// A job is queued while it waits in the backlog, for its [`delay`](crate::JobRequest::delay), or to be retried; then
    /// [`begun`](JobHandle::begun) says whether an attempt before had begun. One that was prefetched to a worker that does
    /// another job ([`prefetch`](crate::PoolBuilder::prefetch)) is recalled, and this waits for that worker's word, for a second
    /// at most. It is `false` where the worker has begun the job, or says nothing in time.
    ///
    /// `true` is returned to the one call that has aborted the job: of two threads that ask at once, one gets `false`. It is `false`
    /// too where the job expires, is aborted or cancelled, or the pool exits, before that worker has spoken. In a pool that is
    /// paused or closing it does the same; after `exit` all jobs are settled.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) {
    /// let handles: Vec<_> = (0..100).map(|n| pool.enqueue(Square(n))).collect();
    /// // The user has seen enough. What runs is nearly done, so it may finish.
    /// let running = handles.into_iter().filter(|handle| !handle.abort_if_queued());
    /// for handle in running {
    ///     println!("{:?}", handle.wait());
    /// }
    /// # }
    /// ```
    pub fn abort_if_queued(&self) -> bool {
        abort_if_queued(&self.record, &self.pool)
    }

    /// A handle that can only cancel or abort the job. It can be cloned and sent to other threads, and outlives this one.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// let handles: Vec<_> = (0..10).map(|n| pool.enqueue(Square(n))).collect();
    /// let unwanted: Vec<_> = handles.iter().map(JobHandle::abort_handle).collect();
    /// // Elsewhere, while this thread waits for them.
    /// std::thread::spawn(move || unwanted.iter().for_each(AbortHandle::abort));
    /// # Ok(()) }
    /// ```
    pub fn abort_handle(&self) -> AbortHandle {
        AbortHandle { record: Arc::clone(&self.record), pool: Arc::clone(&self.pool) }
    }

    /// A stream of the job's progress from now on. It ends when the job is settled, and is empty if it is settled already.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// let handle = pool.enqueue(Square(7));
    /// handle.progress().for_each(|part| println!("{part}"));
    /// # Ok(()) }
    /// ```
    pub fn progress(&self) -> ProgressStream<J::Progress> {
        let (stream, sender) = ProgressStream::new();
        self.record.stream(sender);
        stream
    }

    /// Calls `f` when an attempt starts. If one has started already, `f` is called for the latest one at once.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// let handle = pool.enqueue(Square(7));
    /// handle.on_start(|| println!("it has begun"));
    /// println!("{}", handle.wait()?);
    /// # Ok(()) }
    /// ```
    pub fn on_start(&self, f: impl FnMut() + Send + 'static) -> &Self {
        self.hook(JobHook::start(f))
    }

    /// Calls `f` with each progress from now on.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// let handle = pool.enqueue(Square(7));
    /// handle.on_progress(|part| println!("{:.0} %", part * 100.0));
    /// println!("{}", handle.wait()?);
    /// # Ok(()) }
    /// ```
    pub fn on_progress(&self, f: impl FnMut(J::Progress) + Send + 'static) -> &Self {
        self.hook(on_progress::<J>(f))
    }

    /// Calls `f` with the error each time an attempt fails and the job is retried, from now on.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// let handle = pool.enqueue(Square(7));
    /// handle.on_retry(|error| eprintln!("again: {error}"));
    /// println!("{}", handle.wait()?);
    /// # Ok(()) }
    /// ```
    pub fn on_retry(&self, f: impl FnMut(&JobError<J::Error>) + Send + 'static) -> &Self {
        self.hook(on_retry::<J>(f))
    }

    /// Calls `f` with the output when the job succeeds, or at once if it has.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// let (squares, results) = std::sync::mpsc::channel();
    /// pool.enqueue(Square(7)).on_success(move |square| drop(squares.send(square)));
    /// println!("{:?}", results.recv());
    /// # Ok(()) }
    /// ```
    pub fn on_success(&self, f: impl FnOnce(J::Output) + Send + 'static) -> &Self {
        self.hook(on_success::<J>(f))
    }

    /// Calls `f` with the error when the job fails, or at once if it has. It is not called if the job is aborted.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// pool.enqueue(Square(7)).on_failure(|error| eprintln!("no square of 7: {error}"));
    /// pool.wait_idle();
    /// # Ok(()) }
    /// ```
    pub fn on_failure(&self, f: impl FnOnce(JobError<J::Error>) + Send + 'static) -> &Self {
        self.hook(on_failure::<J>(f))
    }

    /// Calls `f` if the job is aborted, or has been.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// let handle = pool.enqueue(Square(7));
    /// handle.on_abort(|| drop(std::fs::remove_file("square.part")));
    /// handle.abort();
    /// # Ok(()) }
    /// ```
    pub fn on_abort(&self, f: impl FnOnce() + Send + 'static) -> &Self {
        self.hook(on_abort(f))
    }

    /// Calls `f` with what the job came to, whatever that is, also if it is settled already.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// pool.enqueue(Square(7)).on_progress(|part| println!("{part}")).on_done(|result| println!("{result:?}"));
    /// // Hooks run on the pool's own thread; this returns once they have.
    /// pool.exit();
    /// # Ok(()) }
    /// ```
    pub fn on_done(&self, f: impl FnOnce(JobResult<J>) + Send + 'static) -> &Self {
        self.hook(on_done::<J>(f))
    }

    fn decoded(&self, settled: &Settled) -> JobResult<J> {
        decoded::<J>(settled, || self.record.attempts())
    }

    fn hook(&self, hook: JobHook) -> &Self {
        self.pool.dispatcher.add_to_job(&self.record, hook);
        self
    }
}

/// `job 42 (page 7)`: the number, and the label if there is one. For what is said of an error that does not name its job,
/// the handler's own for one.
///
/// ```no_run
/// # use hirelings::*;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
/// # fn example(pool: &Pool<Square>) {
/// let handle = pool.request(Square(u64::MAX)).label("page 7").enqueue();
/// let job = handle.to_string();
/// if let Err(error) = handle.wait() {
///     eprintln!("{job}: {error}");
/// }
/// # }
/// ```
impl<J: Job> fmt::Display for JobHandle<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "job {}", self.record.id)?;
        self.record.label().map_or(Ok(()), |label| write!(f, " ({label})"))
    }
}

impl<J: Job> fmt::Debug for JobHandle<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobHandle").field("id", &self.record.id).field("status", &self.status()).finish_non_exhaustive()
    }
}

// ---------------------------------------------------------------- hooks, which decode what they are called with

pub(crate) fn on_progress<J: Job>(mut f: impl FnMut(J::Progress) + Send + 'static) -> JobHook {
    JobHook::Progress(Box::new(move |payload| {
        if let Ok(progress) = payload.decode() {
            f(progress);
        }
    }))
}

pub(crate) fn on_retry<J: Job>(mut f: impl FnMut(&JobError<J::Error>) + Send + 'static) -> JobHook {
    JobHook::Retry(Box::new(move |failure, attempts| f(&typed::<J>(failure, || attempts))))
}

pub(crate) fn on_success<J: Job>(f: impl FnOnce(J::Output) + Send + 'static) -> JobHook {
    JobHook::Done(Box::new(move |settled, attempts| {
        if let Ok(output) = decoded::<J>(settled, || attempts) {
            f(output);
        }
    }))
}

pub(crate) fn on_failure<J: Job>(f: impl FnOnce(JobError<J::Error>) + Send + 'static) -> JobHook {
    JobHook::Done(Box::new(move |settled, attempts| match decoded::<J>(settled, || attempts) {
        Err(JobError::Aborted) | Ok(_) => {}
        Err(error) => f(error),
    }))
}

pub(crate) fn on_abort(f: impl FnOnce() + Send + 'static) -> JobHook {
    JobHook::Done(Box::new(move |settled, _| {
        if settled.as_ref().is_err_and(|failure| matches!(**failure, Failure::Aborted)) {
            f();
        }
    }))
}

pub(crate) fn on_done<J: Job>(f: impl FnOnce(JobResult<J>) + Send + 'static) -> JobHook {
    JobHook::Done(Box::new(move |settled, attempts| f(decoded::<J>(settled, || attempts))))
}

/// Aborts or cancels one job, from wherever it is cloned to.
///
/// ```no_run
/// # use hirelings::*;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
/// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
/// let handle = pool.enqueue(Square(7));
/// let unwanted = handle.abort_handle();
/// std::thread::spawn(move || unwanted.abort());
/// println!("{:?}", handle.wait());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct AbortHandle {
    record: Arc<JobRecord>,
    pool: Arc<Shared>,
}

impl AbortHandle {
    /// The same as [`JobHandle::abort`].
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// let handle = pool.enqueue(Square(7));
    /// let unwanted = handle.abort_handle();
    /// // For whoever draws the button.
    /// let on_click = move || unwanted.abort();
    /// # Ok(()) }
    /// ```
    pub fn abort(&self) {
        abort(&self.record, &self.pool);
    }

    /// The same as [`JobHandle::cancel`].
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # use std::time::Duration;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// let handle = pool.enqueue(Square(7));
    /// let unwanted = handle.abort_handle();
    /// // For whoever draws the button.
    /// let on_click = move || unwanted.cancel(Duration::from_secs(2));
    /// # Ok(()) }
    /// ```
    pub fn cancel(&self, grace: Duration) {
        cancel(&self.record, grace, &self.pool);
    }

    /// The same as [`JobHandle::abort_if_queued`].
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// let handle = pool.enqueue(Square(7));
    /// let unwanted = handle.abort_handle();
    /// // For whoever draws the button.
    /// let on_click = move || if !unwanted.abort_if_queued() { println!("it is too late") };
    /// # Ok(()) }
    /// ```
    pub fn abort_if_queued(&self) -> bool {
        abort_if_queued(&self.record, &self.pool)
    }

    /// The job's number.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// let handle = pool.enqueue(Square(7));
    /// let unwanted = handle.abort_handle();
    /// println!("job {} is given up", unwanted.id());
    /// unwanted.abort();
    /// # Ok(()) }
    /// ```
    pub fn id(&self) -> JobId {
        JobId(self.record.id)
    }
}

impl fmt::Debug for AbortHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AbortHandle").field("id", &self.record.id).finish_non_exhaustive()
    }
}

/// Asks, and waits until the job is settled: by this, or by what came before it.
fn abort(record: &Arc<JobRecord>, pool: &Shared) {
    if !record.is_settled() && pool.commands.send(Command::Abort(Arc::clone(record))).is_ok() {
        let _ = record.outcome();
    }
}

/// Asks, and waits until the pool has taken it up.
fn cancel(record: &Arc<JobRecord>, grace: Duration, pool: &Shared) {
    if record.is_settled() {
        return;
    }
    let (reply, taken_up) = bounded(1);
    let cancel = PendingCancel { record: Arc::clone(record), grace, reply };
    if pool.commands.send(Command::Cancel(Box::new(cancel))).is_ok() {
        let _ = taken_up.recv();
    }
}

/// Asks, and waits until it is known.
fn abort_if_queued(record: &Arc<JobRecord>, pool: &Shared) -> bool {
    !record.is_settled() && pool.abort_queued(Some(Arc::clone(record))) > 0
}
