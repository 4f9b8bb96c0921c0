//! The results of any handles as they come.

use crate::error::JobResult;
use crate::handle::JobHandle;
use crossbeam_channel::{Receiver, unbounded};
use hirelings_worker_kit::Job;
use std::fmt;

/// The results of `handles` as they come, each with the position of its handle among them. The handles may be of several
/// pools.
///
/// For many jobs in constant memory there is [`Pool::map_unordered`](crate::Pool::map_unordered).
///
/// ```no_run
/// # use hirelings::*;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
/// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
/// let numbers = [3, 1, 4, 1, 5];
/// let handles: Vec<_> = numbers.iter().map(|&n| pool.enqueue(Square(n))).collect();
/// for (position, square) in as_completed(handles) {
///     println!("{} squared is {}", numbers[position], square?);
/// }
/// # Ok(()) }
/// ```
pub fn as_completed<J: Job>(handles: impl IntoIterator<Item = JobHandle<J>>) -> AsCompleted<J> {
    let (finish, finished) = unbounded();
    let pending: Vec<_> = handles.into_iter().map(Some).collect();
    for (position, handle) in pending.iter().enumerate() {
        if let Some(handle) = handle {
            handle.send_when_finished(finish.clone(), position);
        }
    }
    AsCompleted { left: pending.len(), pending, finished }
}

/// The results of jobs as they come, from [`as_completed`].
///
/// Dropping it changes nothing: the jobs go on. [`pending`](AsCompleted::pending) are those whose results were not taken.
///
/// ```no_run
/// # use hirelings::*;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
/// # fn example(pool: &Pool<Square>) {
/// let mut squares = as_completed((0..100).map(|n| pool.enqueue(Square(n))).collect::<Vec<_>>());
/// // The first result will do; the others are not wanted any more.
/// println!("{:?}", squares.next());
/// squares.pending().for_each(JobHandle::abort);
/// # }
/// ```
#[must_use = "an iterator does nothing until it is asked for its next item; the jobs go on all the same"]
pub struct AsCompleted<J: Job> {
    /// By position; none where the result was taken.
    pending: Vec<Option<JobHandle<J>>>,
    left: usize,
    finished: Receiver<usize>,
}

impl<J: Job> AsCompleted<J> {
    /// The handles of the jobs whose results were not taken, in their order: to abort or to cancel them.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(handles: Vec<JobHandle<Square>>) {
    /// let mut results = as_completed(handles);
    /// while let Some((position, result)) = results.next() {
    ///     if result.is_err() {
    ///         println!("job {position} failed, so the {} others are aborted", results.pending().count());
    ///         results.pending().for_each(JobHandle::abort);
    ///     }
    /// }
    /// # }
    /// ```
    pub fn pending(&self) -> impl Iterator<Item = &JobHandle<J>> {
        self.pending.iter().flatten()
    }
}

impl<J: Job> Iterator for AsCompleted<J> {
    type Item = (usize, JobResult<J>);

    fn next(&mut self) -> Option<(usize, JobResult<J>)> {
        let position = self.pending().next()?.blocking(|| self.finished.recv()).ok()?;
        let handle = self.pending.get_mut(position)?.take()?;
        self.left -= 1;
        Some((position, handle.wait()))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<J: Job> ExactSizeIterator for AsCompleted<J> {}

impl<J: Job> fmt::Debug for AsCompleted<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsCompleted").field("left", &self.left).finish_non_exhaustive()
    }
}
