//! A job's handle as a future of std's.

use crate::error::JobResult;
use crate::handle::JobHandle;
use hirelings_worker_kit::Job;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::task::{Context, Poll};

/// A job's result as a future, from a [`JobHandle`] that is awaited. It needs no particular executor.
///
/// It gives what [`JobHandle::wait`] returns. Dropping it changes nothing: the job goes on. The task is woken by the pool's
/// hook thread, so a hook that blocks delays it; awaited inside of a hook, it blocks as `wait` does.
///
/// ```no_run
/// # use hirelings::*;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
/// async fn sum(pool: &Pool<Square>) -> Result<u64, JobError<String>> {
///     // Both run at the same time.
///     let (three, four) = (pool.enqueue(Square(3)), pool.enqueue(Square(4)));
///     Ok(three.await? + four.await?)
/// }
/// ```
#[must_use = "a future does nothing until it is awaited; the job goes on all the same"]
pub struct JobFuture<J: Job> {
    handle: JobHandle<J>,
}

impl<J: Job> JobFuture<J> {
    /// The handle again, for what a future cannot do.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # use std::future::IntoFuture;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) {
    /// let future = pool.enqueue(Square(7)).into_future();
    /// // An executor's time limit was over before the job was done.
    /// future.into_handle().abort();
    /// # }
    /// ```
    pub fn into_handle(self) -> JobHandle<J> {
        self.handle
    }
}

impl<J: Job> Future for JobFuture<J> {
    type Output = JobResult<J>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<JobResult<J>> {
        self.handle.poll_outcome(context)
    }
}

impl<J: Job> IntoFuture for JobHandle<J> {
    type Output = JobResult<J>;
    type IntoFuture = JobFuture<J>;

    fn into_future(self) -> JobFuture<J> {
        JobFuture { handle: self }
    }
}

impl<J: Job> fmt::Debug for JobFuture<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobFuture").field("handle", &self.handle).finish()
    }
}
