//! Many jobs as an iterator, in constant memory.

use crate::error::{JobError, JobResult};
use crate::handle::JobHandle;
use crate::pool::Pool;
use crate::request::JobRequest;
use crossbeam_channel::{Receiver, Sender, unbounded};
use hirelings_worker_kit::Job;
use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::fmt;

impl<J: Job> Pool<J> {
    /// The results of `jobs`, in their order. Lazy: jobs are pulled as results are taken, at most a bounded look-ahead,
    /// so any number of them is done in constant memory.
    ///
    /// Dropping it aborts what it has enqueued, the last first; after the first [`Closed`](crate::JobError::Closed) it ends.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// for square in pool.map((0..1_000_000).map(Square)) {
    ///     println!("{}", square?);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn map<I: IntoIterator<Item = J>>(&self, jobs: I) -> Map<'_, J, I::IntoIter> {
        Map::new(self, jobs.into_iter())
    }

    /// The same, each result as it comes, with its job's position among `jobs`.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// let slow = pool.map_unordered((0..100).map(Square)).find(|(_, result)| result.is_err());
    /// println!("the first that failed: {slow:?}");
    /// # Ok(()) }
    /// ```
    pub fn map_unordered<I: IntoIterator<Item = J>>(&self, jobs: I) -> MapUnordered<'_, J, I::IntoIter> {
        MapUnordered::new(self, jobs.into_iter())
    }
}

/// How many jobs are enqueued whose results were not taken.
///
/// Not one is enqueued for each result that is taken: then the caller and the workers would wait for each other at every
/// job. What was taken is made up for a quarter at a time.
struct Window {
    /// The window that the caller asked for, if any.
    fixed: Option<usize>,
    /// At least so many, whatever they hold: what the workers can do, and as many again.
    least: usize,
    /// How many results were taken: the window grows with it.
    taken: usize,
    /// How many bytes a job and its result take, the recent ones counting most.
    bytes: usize,
    /// Whether jobs are enqueued until it is full.
    filling: bool,
}

/// By default so many jobs are enqueued ahead, as long as they and their results are small.
const MOST: usize = 1024;

/// And no more than hold this together.
const MOST_BYTES: usize = 16 * 1024 * 1024;

impl Window {
    fn new(least: usize) -> Self {
        Window { fixed: None, least, taken: 0, bytes: 0, filling: true }
    }

    fn size(&self) -> usize {
        let most = (MOST_BYTES / self.bytes.max(1)).min(MOST);
        self.fixed.unwrap_or_else(|| (self.least + self.taken / 4).min(most).max(self.least))
    }

    /// Whether another job is to be enqueued, where so many are.
    fn has_room(&mut self, pending: usize) -> bool {
        let size = self.size();
        if pending >= size {
            self.filling = false;
        } else if pending <= size - size.div_ceil(4) {
            self.filling = true;
        }
        self.filling
    }

    fn took(&mut self, bytes: usize) {
        self.bytes = if self.taken == 0 { bytes } else { (self.bytes.saturating_mul(7).saturating_add(bytes)) / 8 };
        self.taken = self.taken.saturating_add(1);
    }
}

/// The results of many jobs in their order, from [`Pool::map`].
///
/// ```no_run
/// # use hirelings::*;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
/// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
/// let squares: Result<Vec<u64>, _> = pool.map((0..100).map(Square)).look_ahead(1000).collect();
/// println!("{}", squares?.len());
/// # Ok(()) }
/// ```
pub struct Map<'p, J: Job, I> {
    pool: &'p Pool<J>,
    /// None once it has given its last job, or the pool is closed.
    jobs: Option<I>,
    /// With the size of each job.
    pending: VecDeque<(JobHandle<J>, usize)>,
    window: Window,
    with: Option<With<'p, J>>,
}

/// The settings of each job of a map.
type With<'p, J> = Box<dyn FnMut(JobRequest<'p, J>) -> JobRequest<'p, J> + Send + 'p>;

impl<'p, J: Job, I> Map<'p, J, I> {
    pub(crate) fn new(pool: &'p Pool<J>, jobs: I) -> Self {
        Map {
            pool,
            jobs: Some(jobs),
            pending: VecDeque::new(),
            window: Window::new(pool.settings.look_ahead),
            with: None,
        }
    }

    /// How many jobs may be enqueued whose results were not taken; 0 is taken as 1. Default: 2 × `max_processes`,
    /// and one more for each four results that were taken, up to 1,024, as long as these jobs with their results hold no more
    /// than about 16 MiB.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// // Each output is large: no more than two of them are in memory.
    /// for square in pool.map((0..100).map(Square)).look_ahead(2) {
    ///     println!("{}", square?);
    /// }
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn look_ahead(mut self, jobs: usize) -> Self {
        self.window.fixed = Some(jobs.max(1));
        self
    }

    /// Gives each job settings and hooks of its own: `with` is called with the request of each as it is enqueued, and gives it
    /// back. Called twice, the second takes what the first has given.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # use std::time::Duration;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// let squares = pool.map((0..100).map(Square)).with(|request| {
    ///     let label = format!("square of {}", request.job().0);
    ///     request.label(label).retries(2).timeout(Duration::from_secs(60))
    /// });
    /// println!("{}", squares.filter(|result| result.is_ok()).count());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn with(mut self, mut with: impl FnMut(JobRequest<'p, J>) -> JobRequest<'p, J> + Send + 'p) -> Self {
        self.with = Some(match self.with.take() {
            None => Box::new(with),
            Some(mut before) => Box::new(move |request| with(before(request))),
        });
        self
    }
}

impl<J: Job, I: Iterator<Item = J>> Iterator for Map<'_, J, I> {
    type Item = JobResult<J>;

    fn next(&mut self) -> Option<JobResult<J>> {
        while let Some(jobs) = &mut self.jobs
            && self.window.has_room(self.pending.len())
        {
            match jobs.next() {
                Some(job) => {
                    let handle = match &mut self.with {
                        None => self.pool.enqueue(job),
                        Some(with) => with(self.pool.request(job)).enqueue(),
                    };
                    let bytes = handle.payload_len();
                    self.pending.push_back((handle, bytes));
                }
                None => self.jobs = None,
            }
        }
        let (handle, bytes) = self.pending.pop_front()?;
        let (result, more) = handle.wait_and_measure();
        self.window.took(bytes + more);
        if matches!(result, Err(JobError::Closed)) {
            self.jobs = None;
            self.pending.clear();
        }
        Some(result)
    }
}

impl<J: Job, I> Drop for Map<'_, J, I> {
    fn drop(&mut self) {
        // The last first: a worker that comes free meanwhile would begin the next.
        for (handle, _) in self.pending.iter().rev() {
            handle.abort();
        }
    }
}

impl<J: Job, I> fmt::Debug for Map<'_, J, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map").field("pending", &self.pending.len()).finish_non_exhaustive()
    }
}

/// The results of many jobs as they come, from [`Pool::map_unordered`].
///
/// ```no_run
/// # use hirelings::*;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
/// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
/// for (n, result) in pool.map_unordered((0..100).map(Square)) {
///     println!("{n}: {}", result?);
/// }
/// # Ok(()) }
/// ```
pub struct MapUnordered<'p, J: Job, I> {
    pool: &'p Pool<J>,
    jobs: Option<I>,
    /// By the position of the job.
    pending: HashMap<usize, (JobHandle<J>, usize)>,
    next: usize,
    window: Window,
    with: Option<With<'p, J>>,
    finished: Receiver<usize>,
    finish: Sender<usize>,
    /// The first result that is `Closed`: it is returned last, since other jobs may still be done.
    closed: Option<(usize, JobResult<J>)>,
}

impl<'p, J: Job, I> MapUnordered<'p, J, I> {
    pub(crate) fn new(pool: &'p Pool<J>, jobs: I) -> Self {
        let (finish, finished) = unbounded();
        MapUnordered {
            pool,
            jobs: Some(jobs),
            pending: HashMap::new(),
            next: 0,
            window: Window::new(pool.settings.look_ahead),
            with: None,
            finished,
            finish,
            closed: None,
        }
    }

    /// How many jobs may be enqueued whose results were not taken; 0 is taken as 1. Default: 2 × `max_processes`,
    /// and one more for each four results that were taken, up to 1,024, as long as these jobs with their results hold no more
    /// than about 16 MiB.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// // Where this loop is slow at times, the workers have a thousand jobs to go on with.
    /// for (n, square) in pool.map_unordered((0..100_000).map(Square)).look_ahead(1000) {
    ///     println!("{n}: {}", square?);
    /// }
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn look_ahead(mut self, jobs: usize) -> Self {
        self.window.fixed = Some(jobs.max(1));
        self
    }

    /// Gives each job settings and hooks of its own: `with` is called with the request of each as it is enqueued, and gives it
    /// back. Called twice, the second takes what the first has given.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # use std::time::Duration;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// let squares = pool.map_unordered((0..100).map(Square)).with(|request| {
    ///     let label = format!("square of {}", request.job().0);
    ///     request.label(label).retries(2).timeout(Duration::from_secs(60))
    /// });
    /// println!("{}", squares.filter(|(_, result)| result.is_ok()).count());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn with(mut self, mut with: impl FnMut(JobRequest<'p, J>) -> JobRequest<'p, J> + Send + 'p) -> Self {
        self.with = Some(match self.with.take() {
            None => Box::new(with),
            Some(mut before) => Box::new(move |request| with(before(request))),
        });
        self
    }
}

impl<J: Job, I: Iterator<Item = J>> Iterator for MapUnordered<'_, J, I> {
    type Item = (usize, JobResult<J>);

    fn next(&mut self) -> Option<(usize, JobResult<J>)> {
        while let Some(jobs) = &mut self.jobs
            && self.window.has_room(self.pending.len())
        {
            let Some(job) = jobs.next() else {
                self.jobs = None;
                break;
            };
            let mut request = self.pool.request(job);
            if let Some(with) = &mut self.with {
                request = with(request);
            }
            let handle = request.send_when_finished(self.finish.clone(), self.next).enqueue();
            let bytes = handle.payload_len();
            self.pending.insert(self.next, (handle, bytes));
            self.next += 1;
        }
        while !self.pending.is_empty() {
            let position = self.pool.shared.dispatcher.blocking(|| self.finished.recv()).ok()?;
            let (handle, bytes) = self.pending.remove(&position)?;
            let (result, more) = handle.wait_and_measure();
            self.window.took(bytes + more);
            if !matches!(result, Err(JobError::Closed)) {
                return Some((position, result));
            }
            self.jobs = None;
            self.closed.get_or_insert((position, result));
        }
        self.closed.take()
    }
}

impl<J: Job, I> Drop for MapUnordered<'_, J, I> {
    fn drop(&mut self) {
        let mut pending: Vec<_> = self.pending.drain().collect();
        // The last first, as in a `Map`.
        pending.sort_unstable_by_key(|&(position, _)| Reverse(position));
        for (_, (handle, _)) in pending {
            handle.abort();
        }
    }
}

impl<J: Job, I> fmt::Debug for MapUnordered<'_, J, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapUnordered").field("pending", &self.pending.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_jobs_are_enqueued_far_ahead_and_large_ones_are_not() {
        let mut window = Window::new(6);
        assert_eq!(window.size(), 6, "nothing is known yet");
        (0..8).for_each(|_| window.took(20));
        assert_eq!(window.size(), 8);
        (0..5000).for_each(|_| window.took(20));
        assert_eq!(window.size(), MOST);
        (0..64).for_each(|_| window.took(4 * 1024 * 1024));
        assert_eq!(window.size(), 6, "what the workers need");
        window.fixed = Some(2);
        assert_eq!(window.size(), 2);
    }

    #[test]
    fn what_was_taken_is_made_up_for_a_quarter_at_a_time() {
        let mut window = Window { fixed: Some(8), ..Window::new(1) };
        let mut rooms = |pending: &[usize]| -> Vec<bool> { pending.iter().map(|&of| window.has_room(of)).collect() };
        assert_eq!(rooms(&[0, 7, 8]), [true, true, false]);
        assert_eq!(rooms(&[7, 6, 7, 8]), [false, true, true, false]);
        let mut one = Window { fixed: Some(1), ..Window::new(1) };
        assert!(one.has_room(0) && !one.has_room(1) && one.has_room(0));
    }
}
