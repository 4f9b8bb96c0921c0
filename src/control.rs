//! What a caller may change while the pool runs.

use crate::driver::Command as ToDriver;
use crate::error::{BuildError, BuildErrorKind};
use crate::pool::Pool;
use crate::supervisor::check_max_processes;
use hirelings_worker_kit::Job;

impl<J: Job> Pool<J> {
    /// From now on there are at most `n` workers at a time, as if [`max_processes`](crate::PoolBuilder::max_processes) had
    /// said so. Returns at once.
    ///
    /// More than before: they are started as jobs wait for them. Fewer: the workers in the slots from `n` on leave after the
    /// jobs that they run, what was prefetched to them comes back, and nobody is killed. Until they have left there may be
    /// more than `n`, and no other is started meanwhile. The first `n` slots stay. Where the builder's `min_processes` is more
    /// than `n`, `n` workers are kept, and `min_processes` again once there may be as many.
    ///
    /// It does the same while the pool is paused and while it drains, and nothing in one that has ended. The default of
    /// `look_ahead` stays that of the pool's size when it was built.
    ///
    /// # Errors
    ///
    /// If `n` is 0, or more than 65,535, of the kind [`BuildErrorKind::Options`]. The pool's size stays as it was.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn is_night() -> bool { true }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// // By day others need the processors.
    /// pool.set_max_processes(if is_night() { 16 } else { 4 })?;
    /// # Ok(()) }
    /// ```
    pub fn set_max_processes(&self, n: usize) -> Result<(), BuildError> {
        if !self.settings.sites.is_empty() {
            let why = "max_processes of a pool of sites is the sum of their slots: build another pool to change it";
            return Err(BuildError::new(BuildErrorKind::Options, why));
        }
        check_max_processes(n).map_err(|message| BuildError::new(BuildErrorKind::Options, message))?;
        let _ = self.shared.commands.send(ToDriver::SetMaxProcesses(n));
        Ok(())
    }

    /// Replaces all workers that there are now: each leaves after the job that it runs, or at once where it runs none, and
    /// what was prefetched to it comes back. Nobody is killed. Returns at once.
    ///
    /// Successors are started as after [`max_jobs_per_process`](crate::PoolBuilder::max_jobs_per_process): before the worker
    /// has left where a slot and a core are free, and else as jobs wait or `min_processes` asks for them. A job that is
    /// enqueued after this call is done by a new worker.
    ///
    /// It does the same while the pool is paused and while it drains, and nothing in one that has ended.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn install_new_version() -> std::io::Result<()> { Ok(()) }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// // The worker program is another one: from now on it does the jobs.
    /// install_new_version()?;
    /// pool.recycle();
    /// # Ok(()) }
    /// ```
    pub fn recycle(&self) {
        let _ = self.shared.commands.send(ToDriver::Recycle);
    }

    /// Aborts every job that no worker has begun, and returns how many it has aborted: each of these is settled as
    /// [`JobError::Aborted`](crate::JobError::Aborted) then. What runs goes on. Nobody is killed.
    ///
    /// It is [`JobHandle::abort_if_queued`](crate::JobHandle::abort_if_queued) for all jobs at once: those in the backlog, those
    /// that wait for their time or to be retried, and those whose callers wait for room in a backlog that is limited (these
    /// get the handle of a job that is settled). For jobs that were prefetched it waits until their workers have spoken, for a
    /// second at most in all. Jobs that are enqueued after this call are not concerned.
    ///
    /// In a pool that is paused or closing it does the same, so that [`drain`](Pool::drain) waits for what runs and for nothing
    /// else. 0 in one that has ended.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # use std::time::Duration;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) {
    /// // shutdown(wait=True, cancel_futures=True)
    /// println!("{} jobs are given up", pool.abort_queued());
    /// pool.drain(Duration::MAX);
    /// # }
    /// ```
    pub fn abort_queued(&self) -> usize {
        self.shared.abort_queued(None)
    }

    /// Begins no more jobs until [`resume`](Pool::resume). What was prefetched to workers is recalled, and what they run
    /// goes on. Jobs are still accepted, and wait, those included that are to be retried. Workers stay, ready for what comes
    /// next; none is started for a job that waits.
    ///
    /// Returns at once. A job that is enqueued after it is not begun; one that was prefetched may have begun just before its
    /// worker hears of the recall, and then goes on. While a pool with a backlog is paused,
    /// [`wait_idle`](Pool::wait_idle) waits: until it was resumed and all is done, or the pool has ended. With
    /// `max_backlog`, callers wait for room as always.
    ///
    /// To pause a pool that is paused changes nothing, and neither does it in a pool that was closed:
    /// [`drain`](Pool::drain) resumes, and [`exit`](Pool::exit) ends a paused pool as any other.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn back_up() {}
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// // Nothing is begun while the backup is made.
    /// pool.pause();
    /// back_up();
    /// pool.resume();
    /// # Ok(()) }
    /// ```
    pub fn pause(&self) {
        let _ = self.shared.commands.send(ToDriver::Pause);
    }

    /// Begins jobs again after [`pause`](Pool::pause), in the order in which they would have been begun. Returns at once.
    /// Does nothing in a pool that is not paused.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// pool.pause();
    /// let handles: Vec<_> = (0..10).map(|n| pool.request(Square(n)).priority(n as i32).enqueue()).collect();
    /// // All are there before the first is begun: so the most urgent one is.
    /// pool.resume();
    /// # Ok(()) }
    /// ```
    pub fn resume(&self) {
        let _ = self.shared.commands.send(ToDriver::Resume);
    }

    /// Whether the pool is paused. A pool that was closed or has ended is not.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// // A switch on a service's page.
    /// if pool.is_paused() { pool.resume() } else { pool.pause() }
    /// # Ok(()) }
    /// ```
    pub fn is_paused(&self) -> bool {
        self.ask(ToDriver::IsPaused).and_then(|paused| paused.recv().ok()).unwrap_or(false)
    }
}
