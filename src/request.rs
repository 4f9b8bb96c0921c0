//! One job's own settings and hooks.

use crate::driver::WhenFull;
use crate::error::{EnqueueError, JobError, JobResult};
use crate::handle::{self, JobHandle};
use crate::pool::Pool;
use crate::record::{JobHook, Observers};
use crate::supervisor::{JobSettings, RetryPolicy};
use crossbeam_channel::Sender;
use hirelings_worker_kit::Job;
use std::fmt;
use std::time::Duration;

/// A job with settings and hooks of its own, from [`Pool::request`]. Hooks that are added here are called
/// from the first event on. They run on the pool's hook thread, in the order of the events.
///
/// ```no_run
/// # use hirelings::{Job, Pool, self_exec};
/// # use std::time::Duration;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Fetch(String);
/// # impl Job for Fetch { type Output = Vec<u8>; type Progress = u64; type Error = String; }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let pool = Pool::<Fetch>::builder(self_exec::<Fetch>()).build()?;
/// let handle = pool
///     .request(Fetch("https://example.org".into()))
///     .label("front page")
///     .timeout(Duration::from_secs(60))
///     .retries(3)
///     .on_progress(|bytes| println!("{bytes} bytes"))
///     .enqueue();
/// # Ok(()) }
/// ```
#[must_use = "a request does nothing until it is enqueued"]
pub struct JobRequest<'p, J: Job> {
    pool: &'p Pool<J>,
    job: J,
    settings: JobSettings,
    observers: Option<Box<Observers>>,
}

impl<J: Job> Pool<J> {
    /// Prepares a job with settings or hooks of its own.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// let handle = pool.request(Square(7)).label("seven").priority(10).retries(3).enqueue();
    /// println!("{}", handle.wait()?);
    /// # Ok(()) }
    /// ```
    pub fn request(&self, job: J) -> JobRequest<'_, J> {
        JobRequest::new(self, job)
    }
}

impl<'p, J: Job> JobRequest<'p, J> {
    pub(crate) fn new(pool: &'p Pool<J>, job: J) -> Self {
        JobRequest { pool, job, settings: JobSettings::default(), observers: None }
    }

    /// The limit of each attempt, in place of the pool's `timeout_working`; `None` is no limit. A limit of 0 is over
    /// as soon as the job is sent to a worker; the worker is then killed, unless it answers before the signal arrives.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # use std::time::Duration;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// // The pool's limit suits most; this one may take an hour.
    /// let handle = pool.request(Square(7)).timeout(Duration::from_secs(3600)).enqueue();
    /// # Ok(()) }
    /// ```
    pub fn timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.settings.set_timeout(limit.into().filter(|limit| *limit != Duration::MAX));
        self
    }

    /// After how long each attempt is asked to come to its end, in place of the pool's
    /// [`soft_timeout`](crate::PoolBuilder::soft_timeout); `None` is never, 0 is as soon as it runs. One that is not under the
    /// attempt's [`timeout`](JobRequest::timeout) has no effect: the worker is killed before it is asked.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # use std::time::Duration;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// let minute = Duration::from_secs(60);
    /// let handle = pool.request(Square(7)).soft_timeout(50 * minute).timeout(60 * minute).enqueue();
    /// # Ok(()) }
    /// ```
    pub fn soft_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.settings.set_soft_timeout(limit.into().filter(|limit| *limit != Duration::MAX));
        self
    }

    /// How often the job is tried again after an attempt that failed: the short form of
    /// `retry(RetryPolicy::new(n))`, in place of the pool's policy, whose waits it has not.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// // Not to be begun twice, whatever the pool does with the others.
    /// let handle = pool.request(Square(7)).retries(0).enqueue();
    /// # Ok(()) }
    /// ```
    pub fn retries(mut self, n: u32) -> Self {
        self.settings.set_retries(n);
        self
    }

    /// Whether, how often and when the job is tried again after an attempt that failed, in place of the pool's policy.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # use std::time::Duration;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// let patient = RetryPolicy::new(10).backoff(Duration::from_secs(1), Duration::from_secs(60));
    /// let handle = pool.request(Square(7)).retry(patient).enqueue();
    /// # Ok(()) }
    /// ```
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.settings.set_retry(policy);
        self
    }

    /// Jobs of a higher priority are dispatched before those of a lower one; jobs of the same priority keep their order.
    /// Default: 0.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// let in_the_background: Vec<_> = (0..1000).map(|n| pool.request(Square(n)).priority(-1).enqueue()).collect();
    /// // Somebody waits for this one: it is done before all of those that have not begun.
    /// println!("{}", pool.enqueue(Square(7)).wait()?);
    /// # Ok(()) }
    /// ```
    pub fn priority(mut self, p: i32) -> Self {
        self.settings.set_priority(p);
        self
    }

    /// The job is one of a key, as a host or a licence, of which at most `n` run at once. Default: no key.
    ///
    /// Others of the same key wait in the backlog, in their order, and hold no worker: jobs of other keys, and those without
    /// one, go past them. A job counts from when it is sent to a worker, until that worker has answered it, has skipped it, or
    /// is dead. So one that is aborted, or over its limit of time, counts until its handler can no longer run; a retry that
    /// waits for its [`backoff`](RetryPolicy::backoff), or a job that waits for its [`delay`](JobRequest::delay), does not.
    /// [`Stats::keys`](crate::Stats::keys) has the figures of each key.
    ///
    /// Any text is a key of this pool. Where requests of one key name different numbers, that of the job which was admitted
    /// last holds, for all jobs of the key: one that is lower ends nothing, but nothing more is begun until it is kept. The
    /// pool forgets a key with its last job.
    ///
    /// Where the backlog is limited ([`max_backlog`](crate::PoolBuilder::max_backlog)), jobs that wait for others of their key
    /// count in it. Jobs of one key that are short are done one after the other where `n` is 1: none is prefetched.
    ///
    /// # Panics
    ///
    /// If `n` is 0: no job of the key could ever be begun.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Fetch(String);
    /// # impl Job for Fetch { type Output = Vec<u8>; type Progress = (); type Error = String; }
    /// # fn example(pool: &Pool<Fetch>, urls: Vec<String>) -> Result<(), Box<dyn std::error::Error>> {
    /// // At most three requests at a time to each host, however many workers there are.
    /// let pages = pool.map(urls.into_iter().map(Fetch)).with(|request| {
    ///     let host = request.job().0.split('/').nth(2).unwrap_or_default().to_owned();
    ///     request.limit(host, 3)
    /// });
    /// # drop(pages);
    /// # Ok(()) }
    /// ```
    pub fn limit(mut self, key: impl Into<String>, n: usize) -> Self {
        assert!(n > 0, "limit is 0: no job of the key could ever be begun; use 1 or more");
        self.settings.set_limit(key.into().into(), u32::try_from(n).unwrap_or(u32::MAX));
        self
    }

    /// Whether doing the job twice does no harm. Default: `false`.
    ///
    /// Where a worker dies, or breaks the protocol, before it has said that it does the job, nobody knows whether it had begun
    /// it ([`Begun::Perhaps`](crate::Begun::Perhaps)). For a job that is idempotent such an attempt does not count: the job goes
    /// to the back of the queue at once, with the next attempt's number and no retry used, though it may have none, and
    /// whatever its [`RetryPolicy`] says. That happens at most twice, so that a job which always ends its worker comes to an
    /// end. It is reported as every retry is: [`EventKind::JobRetry`](crate::EventKind::JobRetry), and
    /// [`Stats::retried`](crate::Stats::retried).
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// // It computes, and changes nothing: a worker that was killed by somebody costs it nothing.
    /// let handle = pool.request(Square(7)).idempotent(true).enqueue();
    /// # Ok(()) }
    /// ```
    pub fn idempotent(mut self, idempotent: bool) -> Self {
        self.settings.set_idempotent(idempotent);
        self
    }

    /// No worker is given the job before so long a time is over, from when the pool admits it. Default: 0.
    ///
    /// Until then it is in the backlog, where [`max_backlog`](crate::PoolBuilder::max_backlog) counts it, and in
    /// [`Stats::delayed`](crate::Stats::delayed); it holds no worker and can be aborted. After that it stands behind those of
    /// its priority that wait already. [`Pool::drain`] and [`Pool::wait_idle`] wait for it, [`Pool::exit`] settles it as
    /// closed.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # use std::time::Duration;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// // One a second.
    /// let handles: Vec<_> = (0..60)
    ///     .map(|n| pool.request(Square(n)).delay(Duration::from_secs(n)).enqueue())
    ///     .collect();
    /// # Ok(()) }
    /// ```
    pub fn delay(mut self, wait: Duration) -> Self {
        self.settings.set_delay(wait);
        self
    }

    /// A job that no worker has begun after so long a time, from when the pool admits it, is settled as
    /// [`JobError::Expired`]; in place of the pool's [`expires`](crate::PoolBuilder::expires). `None` is never.
    ///
    /// It is for what is of no use later. A job that has begun is not touched, nor is its retry; for these there is
    /// [`timeout`](JobRequest::timeout). Where a worker was sent the job behind another one, it is asked to skip it: the job
    /// expires once it has, and is done where it had begun. A [`delay`](JobRequest::delay) is part of the time.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # use std::time::Duration;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// // Whoever asked has gone after three seconds.
    /// match pool.request(Square(7)).expires(Duration::from_secs(3)).enqueue().wait() {
    ///     Err(JobError::Expired) => println!("503 Service Unavailable"),
    ///     result => println!("{}", result?),
    /// }
    /// # Ok(()) }
    /// ```
    pub fn expires(mut self, after: impl Into<Option<Duration>>) -> Self {
        self.settings.set_expires(after.into().filter(|after| *after != Duration::MAX));
        self
    }

    /// A name for the job in events and errors, beside its number. Default: none.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// // An error says: worker process 4711 of "Square" was killed by SIGSEGV while it did job 42 (page 7)
    /// if let Err(error) = pool.request(Square(7)).label("page 7").enqueue().wait() {
    ///     eprintln!("{error}");
    /// }
    /// # Ok(()) }
    /// ```
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.observers.get_or_insert_default().label = Some(label.into().into());
        self
    }

    /// Calls `f` when an attempt starts.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # use std::time::Instant;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// let enqueued = Instant::now();
    /// let handle = pool.request(Square(7)).on_start(move || println!("it waited {:?}", enqueued.elapsed())).enqueue();
    /// # Ok(()) }
    /// ```
    pub fn on_start(self, f: impl FnMut() + Send + 'static) -> Self {
        self.hook(JobHook::start(f))
    }

    /// Calls `f` with each progress.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// let handle = pool.request(Square(7)).on_progress(|part| println!("{:.0} %", part * 100.0)).enqueue();
    /// println!("{}", handle.wait()?);
    /// # Ok(()) }
    /// ```
    pub fn on_progress(self, f: impl FnMut(J::Progress) + Send + 'static) -> Self {
        self.hook(handle::on_progress::<J>(f))
    }

    /// Calls `f` with the error each time an attempt fails and the job is retried.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// let handle = pool.request(Square(7)).retries(3).on_retry(|error| eprintln!("again: {error}")).enqueue();
    /// println!("{}", handle.wait()?);
    /// # Ok(()) }
    /// ```
    pub fn on_retry(self, f: impl FnMut(&JobError<J::Error>) + Send + 'static) -> Self {
        self.hook(handle::on_retry::<J>(f))
    }

    /// Calls `f` with the output when the job succeeds.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// let (squares, results) = std::sync::mpsc::channel();
    /// for n in 0..100 {
    ///     let squares = squares.clone();
    ///     pool.request(Square(n)).on_success(move |square| drop(squares.send(square))).enqueue();
    /// }
    /// drop(squares);
    /// println!("their sum is {}", results.iter().sum::<u64>());
    /// # Ok(()) }
    /// ```
    pub fn on_success(self, f: impl FnOnce(J::Output) + Send + 'static) -> Self {
        self.hook(handle::on_success::<J>(f))
    }

    /// Calls `f` with the error when the job fails, [`Closed`](JobError::Closed) if the pool ended. It is not called if the
    /// job is aborted.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// let handle = pool.request(Square(7)).on_failure(|error| eprintln!("no square of 7: {error}")).enqueue();
    /// # Ok(()) }
    /// ```
    pub fn on_failure(self, f: impl FnOnce(JobError<J::Error>) + Send + 'static) -> Self {
        self.hook(handle::on_failure::<J>(f))
    }

    /// Calls `f` if the job is aborted.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// let handle = pool.request(Square(7)).on_abort(|| drop(std::fs::remove_file("square.part"))).enqueue();
    /// handle.abort();
    /// # Ok(()) }
    /// ```
    pub fn on_abort(self, f: impl FnOnce() + Send + 'static) -> Self {
        self.hook(handle::on_abort(f))
    }

    /// Calls `f` with the job's result when the job is settled.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # use std::time::Duration;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// for n in 0..100 {
    ///     let request = pool.request(Square(n));
    ///     request.on_done(move |result| println!("{n} came to {result:?}")).enqueue();
    /// }
    /// pool.drain(Duration::from_secs(60));
    /// # Ok(()) }
    /// ```
    pub fn on_done(self, f: impl FnOnce(JobResult<J>) + Send + 'static) -> Self {
        self.hook(handle::on_done::<J>(f))
    }

    /// The job itself.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) {
    /// let squares = pool.map((0..100).map(Square)).with(|request| {
    ///     let Square(n) = *request.job();
    ///     request.priority(n as i32)
    /// });
    /// # drop(squares); }
    /// ```
    pub fn job(&self) -> &J {
        &self.job
    }

    /// Sends `number` once the job is settled.
    pub(crate) fn send_when_finished(mut self, finished: Sender<usize>, number: usize) -> Self {
        self.observers.get_or_insert_default().send_when_finished(finished, number);
        self
    }

    fn hook(mut self, hook: JobHook) -> Self {
        self.observers.get_or_insert_default().add_hook(hook);
        self
    }

    /// Enqueues the job, like [`Pool::enqueue`]. If the pool accepts no more jobs, the hooks are called nevertheless.
    ///
    /// Where the result goes to a hook, the handle need not be kept:
    ///
    /// ```no_run
    /// # #![deny(unused)]
    /// # use hirelings::{Job, Pool};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) {
    /// pool.request(Square(7)).on_done(|result| println!("{result:?}")).enqueue();
    /// # }
    /// # fn main() { let _ = example; }
    /// ```
    ///
    /// Otherwise it is waited for:
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// let handle = pool.request(Square(7)).priority(10).enqueue();
    /// println!("{}", handle.wait()?);
    /// # Ok(()) }
    /// ```
    pub fn enqueue(self) -> JobHandle<J> {
        self.pool.accept(&self.job, self.settings, self.observers)
    }

    /// Enqueues the job, like [`Pool::try_enqueue`]: it never blocks for room in the backlog.
    ///
    /// # Errors
    ///
    /// The whole request is given back, hooks included, where [`Pool::try_enqueue`] gives back the job. No hook is
    /// called of it.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// // A server refuses the request rather than let its caller wait.
    /// match pool.request(Square(7)).label("seven").try_enqueue() {
    ///     Ok(handle) => println!("{}", handle.wait()?),
    ///     Err(refused) if refused.kind == EnqueueErrorKind::Full => println!("503 Service Unavailable"),
    ///     Err(refused) => println!("500 {refused}"),
    /// }
    /// # Ok(()) }
    /// ```
    pub fn try_enqueue(self) -> Result<JobHandle<J>, EnqueueError<JobRequest<'p, J>>> {
        let JobRequest { pool, job, settings, observers } = self;
        pool.offer(&job, settings, observers, WhenFull::Refuse).map_err(|refused| EnqueueError {
            kind: refused.kind,
            message: refused.message,
            rejected: JobRequest { pool, job, settings: refused.settings, observers: refused.observers },
        })
    }
}

impl<J: Job> fmt::Debug for JobRequest<'_, J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobRequest").field("settings", &self.settings).finish_non_exhaustive()
    }
}
