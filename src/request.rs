//! One job's own settings and hooks.

use crate::driver::Mode;
use crate::error::{EnqueueError, JobError, JobResult};
use crate::handle::{self, JobHandle};
use crate::pool::Pool;
use crate::record::{Extras, JobHook};
use crate::supervisor::JobSettings;
use hirelings_worker_kit::Job;
use std::fmt;
use std::time::Duration;

/// A job with settings and hooks of its own, from [`Pool::request`]. Hooks given here miss nothing.
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
    extras: Option<Box<Extras>>,
}

impl<'p, J: Job> JobRequest<'p, J> {
    pub(crate) fn new(pool: &'p Pool<J>, job: J) -> Self {
        JobRequest { pool, job, settings: JobSettings::default(), extras: None }
    }

    /// The limit of each attempt, in place of the pool's `timeout_working`; `None` is no limit. A limit of 0 is over at
    /// once.
    pub fn timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.settings.set_timeout(limit.into().filter(|limit| *limit != Duration::MAX));
        self
    }

    /// How often the job is tried again, in place of the pool's `retries`.
    pub fn retries(mut self, n: u32) -> Self {
        self.settings.set_retries(n);
        self
    }

    /// Jobs of a higher priority are handed out before those of a lower one. Default: 0.
    pub fn priority(mut self, p: i32) -> Self {
        self.settings.set_priority(p);
        self
    }

    /// What the job is called in events and errors.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.extras.get_or_insert_default().label = Some(label.into().into());
        self
    }

    /// Calls `f` at each attempt's start.
    pub fn on_start(self, f: impl FnMut() + Send + 'static) -> Self {
        self.hook(JobHook::start(f))
    }

    /// Calls `f` with each progress.
    pub fn on_progress(self, f: impl FnMut(J::Progress) + Send + 'static) -> Self {
        self.hook(handle::on_progress::<J>(f))
    }

    /// Calls `f` when an attempt failed and the job is to be retried.
    pub fn on_retry(self, f: impl FnMut(&JobError<J::Error>) + Send + 'static) -> Self {
        self.hook(handle::on_retry::<J>(f))
    }

    /// Calls `f` with the output.
    pub fn on_success(self, f: impl FnOnce(J::Output) + Send + 'static) -> Self {
        self.hook(handle::on_success::<J>(f))
    }

    /// Calls `f` with the error; not for a job that was aborted.
    pub fn on_failure(self, f: impl FnOnce(JobError<J::Error>) + Send + 'static) -> Self {
        self.hook(handle::on_failure::<J>(f))
    }

    /// Calls `f` if the job is aborted.
    pub fn on_abort(self, f: impl FnOnce() + Send + 'static) -> Self {
        self.hook(handle::on_abort(f))
    }

    /// Calls `f` with what the job came to, whatever that is.
    pub fn on_done(self, f: impl FnOnce(JobResult<J>) + Send + 'static) -> Self {
        self.hook(handle::on_done::<J>(f))
    }

    fn hook(mut self, hook: JobHook) -> Self {
        self.extras.get_or_insert_default().add_hook(hook);
        self
    }

    /// Enqueues the job; what [`Pool::enqueue`] says holds here.
    pub fn enqueue(self) -> JobHandle<J> {
        self.pool.accept(&self.job, self.settings, self.extras)
    }

    /// Enqueues the job without ever blocking for room; what [`Pool::try_enqueue`] says holds here.
    ///
    /// # Errors
    ///
    /// The whole request is given back, hooks included.
    pub fn try_enqueue(self) -> Result<JobHandle<J>, EnqueueError<JobRequest<'p, J>>> {
        let JobRequest { pool, job, settings, extras } = self;
        pool.offer(&job, settings, extras, Mode::Refuse).map_err(|refused| EnqueueError {
            kind: refused.kind,
            message: refused.message,
            rejected: JobRequest { pool, job, settings: refused.settings, extras: refused.extras },
        })
    }
}

impl<J: Job> fmt::Debug for JobRequest<'_, J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobRequest").field("settings", &self.settings).finish_non_exhaustive()
    }
}
