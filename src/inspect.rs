//! What a pool says of itself.

use crate::clock;
use crate::driver::Command as ToDriver;
use crate::pool::Pool;
use crate::stats::{Stats, WorkerInfo};
use crate::sys;
use hirelings_worker_kit::Job;
use std::time::{Duration, SystemTime};

impl<J: Job> Pool<J> {
    /// The pool's figures. After the pool has ended: the last ones.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// // For a page of metrics.
    /// let stats = pool.stats();
    /// println!("pool_backlog {}", stats.backlog);
    /// println!("pool_workers_crashed_total {}", stats.crashed);
    /// # Ok(()) }
    /// ```
    pub fn stats(&self) -> Stats {
        let asked = self.ask(ToDriver::Stats).and_then(|stats| stats.recv().ok());
        // Sorted here, since the supervisor's thread has other things to do.
        let stats = asked.map(|(stats, keys)| Stats { keys: keys.into_iter().collect(), ..stats });
        stats.unwrap_or_else(|| self.settings.last_stats.lock().clone())
    }

    /// The worker processes, in the order of their slots. After the pool has ended there are none.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// for worker in pool.workers() {
    ///     if let Some(job) = worker.job {
    ///         println!("process {} has job {job}", worker.pid);
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    pub fn workers(&self) -> Vec<WorkerInfo> {
        let mut workers = self.ask(ToDriver::Workers).and_then(|workers| workers.recv().ok()).unwrap_or_default();
        // Here, since the supervisor's thread does not read files for a caller.
        // Of a worker that is far, it would be that of ssh.
        workers
            .iter_mut()
            .filter(|worker| !worker.is_far)
            .for_each(|worker| worker.resident = sys::resident(worker.pid));
        workers
    }

    /// When the pool was built, by the system's clock. [`Event::at`](crate::Event::at) counts from there.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// let built_at = pool.built_at();
    /// pool.on(EventKind::JobFailure, move |event| eprintln!("{:?}: {event}", built_at + event.at()));
    /// # Ok(()) }
    /// ```
    pub fn built_at(&self) -> SystemTime {
        self.built_at
    }

    /// How long ago the pool was built: what [`Event::at`](crate::Event::at) would be of an event that happens now.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// println!("{} jobs in {:?}", pool.stats().jobs, pool.age());
    /// # Ok(()) }
    /// ```
    pub fn age(&self) -> Duration {
        clock::now() - self.started
    }
}
