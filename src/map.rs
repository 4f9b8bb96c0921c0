//! Many jobs as an iterator, in constant memory.

use crate::error::{JobError, JobResult};
use crate::handle::JobHandle;
use crate::pool::Pool;
use crate::record::Extras;
use crate::supervisor::JobSettings;
use crossbeam_channel::{Receiver, Sender, unbounded};
use hirelings_worker_kit::Job;
use std::collections::{HashMap, VecDeque};
use std::fmt;

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
    pending: VecDeque<JobHandle<J>>,
    look_ahead: usize,
}

impl<'p, J: Job, I> Map<'p, J, I> {
    pub(crate) fn new(pool: &'p Pool<J>, jobs: I) -> Self {
        Map { pool, jobs: Some(jobs), pending: VecDeque::new(), look_ahead: pool.look_ahead }
    }

    /// How many jobs may be enqueued whose results were not taken; 0 is taken as 1. Default: twice what the workers can
    /// hold, 2 × `max_processes`.
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
        self.look_ahead = jobs.max(1);
        self
    }
}

impl<J: Job, I: Iterator<Item = J>> Iterator for Map<'_, J, I> {
    type Item = JobResult<J>;

    fn next(&mut self) -> Option<JobResult<J>> {
        while let Some(jobs) = &mut self.jobs
            && self.pending.len() < self.look_ahead
        {
            match jobs.next() {
                Some(job) => self.pending.push_back(self.pool.enqueue(job)),
                None => self.jobs = None,
            }
        }
        let result = self.pending.pop_front()?.wait();
        if matches!(result, Err(JobError::Closed)) {
            self.jobs = None;
            self.pending.clear();
        }
        Some(result)
    }
}

impl<J: Job, I> Drop for Map<'_, J, I> {
    fn drop(&mut self) {
        for handle in &self.pending {
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
    pending: HashMap<usize, JobHandle<J>>,
    next: usize,
    look_ahead: usize,
    finished: Receiver<usize>,
    finish: Sender<usize>,
    /// The first that the pool did not do any more: told last, since others may still be done.
    closed: Option<(usize, JobResult<J>)>,
}

impl<'p, J: Job, I> MapUnordered<'p, J, I> {
    pub(crate) fn new(pool: &'p Pool<J>, jobs: I) -> Self {
        let (finish, finished) = unbounded();
        let look_ahead = pool.look_ahead;
        MapUnordered {
            pool,
            jobs: Some(jobs),
            pending: HashMap::new(),
            next: 0,
            look_ahead,
            finished,
            finish,
            closed: None,
        }
    }

    /// How many jobs may be enqueued whose results were not taken; 0 is taken as 1. Default: twice what the workers can
    /// hold, 2 × `max_processes`.
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
        self.look_ahead = jobs.max(1);
        self
    }
}

impl<J: Job, I: Iterator<Item = J>> Iterator for MapUnordered<'_, J, I> {
    type Item = (usize, JobResult<J>);

    fn next(&mut self) -> Option<(usize, JobResult<J>)> {
        while let Some(jobs) = &mut self.jobs
            && self.pending.len() < self.look_ahead
        {
            let Some(job) = jobs.next() else {
                self.jobs = None;
                break;
            };
            let mut extras = Box::<Extras>::default();
            extras.tell_when_finished(self.finish.clone(), self.next);
            let handle = self.pool.accept(&job, JobSettings::default(), Some(extras));
            self.pending.insert(self.next, handle);
            self.next += 1;
        }
        while !self.pending.is_empty() {
            let position = self.pool.end.hooks.waiting(|| self.finished.recv()).ok()?;
            let result = self.pending.remove(&position)?.wait();
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
        for handle in self.pending.values() {
            handle.abort();
        }
    }
}

impl<J: Job, I> fmt::Debug for MapUnordered<'_, J, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapUnordered").field("pending", &self.pending.len()).finish_non_exhaustive()
    }
}
