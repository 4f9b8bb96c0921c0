//! What a handler can say of its job while it runs.

use crate::Job;
use crate::link::Link;
use crate::wire::{self, Codec, CodecFault, FromWorker};
use std::any::type_name;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Instant;

/// What a handler can say of its job while it runs.
///
/// ```no_run
/// # use hirelings_worker_kit::{Job, NoError, serve};
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Count(u32);
/// # impl Job for Count { type Output = u32; type Progress = u32; type Error = NoError; }
/// serve(|Count(to), ctx| {
///     for n in 0..to {
///         ctx.progress(&n);
///     }
///     Ok(to)
/// })
/// ```
pub struct Context<J: Job> {
    pub(crate) link: Arc<Link>,
    pub(crate) job: u64,
    pub(crate) attempt: u32,
    pub(crate) max_frame: usize,
    pub(crate) codec: Codec,
    pub(crate) retire: bool,
    pub(crate) no_retry: bool,
    /// The first progress that could not be encoded: it fails the job.
    pub(crate) fault: Option<CodecFault>,
    pub(crate) jobs: PhantomData<fn() -> J>,
}

impl<J: Job> Context<J> {
    /// Sends a progress to the pool, where each listener gets it in order. It is written at once, and blocks while the
    /// pool does not read: over 16 MiB that the listeners have not taken. Without a listener it goes nowhere.
    ///
    /// A progress that cannot be encoded, or is over the pool's `max_frame`, fails the job with an error that says so.
    ///
    /// ```no_run
    /// # use hirelings_worker_kit::{Job, NoError, serve};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Count(u32);
    /// # impl Job for Count { type Output = u32; type Progress = u32; type Error = NoError; }
    /// serve(|Count(to), ctx| {
    ///     for n in 0..to {
    ///         // Each is a write to the pool: now and then is enough.
    ///         if n % 1000 == 0 {
    ///             ctx.progress(&n);
    ///         }
    ///     }
    ///     Ok(to)
    /// })
    /// ```
    pub fn progress(&mut self, progress: &J::Progress) {
        let mut frame = Vec::with_capacity(64);
        let start = wire::begin_frame(&FromWorker::Progress { job: self.job }, &mut frame);
        match self.codec.encode(progress, &mut frame, self.max_frame.saturating_add(4)) {
            Ok(()) => {
                wire::end_frame(&mut frame, start, 0);
                // If the pool is gone, the process has ended.
                let _ = self.link.send_running(&frame);
            }
            Err(fault) => {
                self.fault.get_or_insert(fault);
            }
        }
    }

    /// The job's number, unique in its pool; the same in each attempt.
    ///
    /// ```no_run
    /// # use hirelings_worker_kit::{Job, serve};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Unpack(String);
    /// # impl Job for Unpack { type Output = (); type Progress = (); type Error = String; }
    /// serve(|Unpack(archive), ctx| {
    ///     // A folder of its own, that no other job of the pool has.
    ///     let folder = std::env::temp_dir().join(format!("unpack-{}", ctx.job_id()));
    ///     std::fs::create_dir_all(&folder).map_err(|error| format!("{archive}: {error}"))
    /// })
    /// ```
    pub fn job_id(&self) -> u64 {
        self.job
    }

    /// Which attempt this is, from 1.
    ///
    /// ```no_run
    /// # use hirelings_worker_kit::{Job, NoError, serve};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Render(u32);
    /// # impl Job for Render { type Output = String; type Progress = (); type Error = NoError; }
    /// serve(|Render(page), ctx| {
    ///     // The first attempt may have died of its size.
    ///     let dots_per_inch = if ctx.attempt() == 1 { 600 } else { 150 };
    ///     Ok(format!("page {page} with {dots_per_inch} dpi"))
    /// })
    /// ```
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Replace me after this job: the worker takes no other, and leaves once the pool has its answer.
    ///
    /// ```no_run
    /// # use hirelings_worker_kit::{Job, NoError, serve};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Words(String);
    /// # impl Job for Words { type Output = usize; type Progress = (); type Error = NoError; }
    /// serve(|Words(text), ctx| {
    ///     if text.len() > 100_000_000 {
    ///         // What this one took is given back to the system.
    ///         ctx.retire();
    ///     }
    ///     Ok(text.split_whitespace().count())
    /// })
    /// ```
    pub fn retire(&mut self) {
        self.retire = true;
    }

    /// The error that the handler returns is final: the job is not retried, whatever its retry policy says. Without an error
    /// it changes nothing. A pool that speaks version 1 of the protocol only retries all the same.
    ///
    /// ```no_run
    /// # use hirelings_worker_kit::{Job, serve};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Fetch(String);
    /// # impl Job for Fetch { type Output = Vec<u8>; type Progress = (); type Error = String; }
    /// serve(|Fetch(path), ctx| {
    ///     std::fs::read(&path).map_err(|error| {
    ///         if error.kind() == std::io::ErrorKind::NotFound {
    ///             // It will not be there the next time either.
    ///             ctx.no_retry();
    ///         }
    ///         error.to_string()
    ///     })
    /// })
    /// ```
    pub fn no_retry(&mut self) {
        self.no_retry = true;
    }

    /// Whether the pool has asked this job to come to an end. Return soon then, with an output or an error: it counts as any
    /// other. It costs a few nanoseconds, and is up to date within a few milliseconds.
    ///
    /// A pool asks when a caller cancels the job (`JobHandle::cancel`), and when the job has run for longer than its soft limit
    /// (`soft_timeout`); [`deadline`](Context::deadline) says when the worker is killed. It concerns this job alone; the next one
    /// starts with `false`. A pool that speaks version 1 of the protocol only never asks.
    ///
    /// ```no_run
    /// # use hirelings_worker_kit::{Job, serve};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Sum(u64);
    /// # impl Job for Sum { type Output = u64; type Progress = (); type Error = String; }
    /// serve(|Sum(to), ctx| {
    ///     let mut sum = 0u64;
    ///     for n in 0..to {
    ///         if n % 1000 == 0 && ctx.is_cancelled() {
    ///             return Err(format!("cancelled at {n} of {to}"));
    ///         }
    ///         sum = sum.wrapping_add(n);
    ///     }
    ///     Ok(sum)
    /// })
    /// ```
    pub fn is_cancelled(&self) -> bool {
        self.link.is_cancelled()
    }

    /// When the worker is killed if this job has not been answered: the end of its time limit, or of the grace time of a
    /// cancelled job if that is earlier. `None` where the job has no limit, and where the pool speaks version 1 of the protocol
    /// only. The pool's own clock decides, and is a little ahead: leave some milliseconds.
    ///
    /// ```no_run
    /// # use hirelings_worker_kit::{Job, serve};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Search(u64);
    /// # impl Job for Search { type Output = u64; type Progress = (); type Error = String; }
    /// use std::time::{Duration, Instant};
    ///
    /// serve(|Search(from), ctx| {
    ///     let mut best = from;
    ///     // The best answer that there is in time.
    ///     while ctx.deadline().is_none_or(|deadline| Instant::now() + Duration::from_millis(50) < deadline) {
    ///         best = best.max(best.rotate_left(7));
    ///     }
    ///     Ok(best)
    /// })
    /// ```
    pub fn deadline(&self) -> Option<Instant> {
        self.link.deadline()
    }
}

impl<J: Job> fmt::Debug for Context<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("job_type", &type_name::<J>())
            .field("job", &self.job)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}
