//! What a caller may change while the pool runs.

use crate::driver::Command as ToDriver;
use crate::pool::Pool;
use hirelings_worker_kit::Job;

impl<J: Job> Pool<J> {
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
