//! Figures of a pool and of its workers.

use crate::histogram::Distribution;
use crate::id::{JobId, Slot, WorkerId};
use crate::supervisor::WorkerState;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A pool's figures, all of the same moment.
///
/// Jobs are counted once, however many attempts they take, and each job that was accepted is in exactly one of
/// `succeeded`, `failed`, `aborted`, `backlog`, and the jobs that workers hold: `enqueued` is their sum, at any time. A job
/// moves from one to the next before its handle is released. Counts run from the pool's start and never go down, but for
/// `backlog`, `delayed`, `workers`, `busy`, `rate` and `keys`, which are of the moment.
///
/// ```no_run
/// # use hirelings::*;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
/// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
/// let stats = pool.stats();
/// println!("{} of {} jobs are settled, {} wait", stats.jobs + stats.aborted, stats.enqueued, stats.backlog);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Jobs that settled with a result, `succeeded + failed`: those that were aborted are not in it.
    pub jobs: u64,
    /// Jobs that no worker has begun: queued, waiting to be retried, or prefetched to a worker that does another one.
    pub backlog: usize,
    /// Those of `backlog` that wait for a time: that of a retry, or of [`delay`](crate::JobRequest::delay).
    pub delayed: usize,
    /// Worker processes that are not reaped: starting, ready, at work, and ending ones.
    pub workers: usize,
    /// Workers that have a job, or recover from one.
    pub busy: usize,
    /// Jobs that were accepted. One that `try_enqueue` gave back, or that could not be encoded, is not.
    pub enqueued: u64,
    /// Jobs that settled with the handler's output.
    pub succeeded: u64,
    /// Jobs that settled with an error, after their last attempt; also those that the pool's end or a worker that would
    /// not start has settled.
    pub failed: u64,
    /// Jobs that settled because their caller aborted them.
    pub aborted: u64,
    /// Attempts, not jobs, that failed and were followed by another.
    pub retried: u64,
    /// Workers, not jobs, that passed the limit of their state: while starting, working or recovering.
    pub timed_out: u64,
    /// Worker processes that were started, those that never became ready included.
    pub spawned: u64,
    /// Worker processes that have ended and were reaped, for whatever reason: `spawned` - `workers`.
    pub exited: u64,
    /// Those of `exited` that the pool had not asked to end: no recycling, no limit, no abort, no end of the pool. One that
    /// closed its standard input or output and was killed for it is among them.
    pub crashed: u64,
    /// Fork servers that are not reaped; they are not among the `workers`.
    pub fork_servers: usize,
    /// Fork servers that were started.
    pub fork_servers_spawned: u64,
    /// All of `exited`, by why they ended.
    pub restarts: Restarts,
    /// How long attempts have waited for a worker, from the job's enqueueing or the attempt before, of all that were handed
    /// to one. A time that they were to wait in any case is not counted.
    pub waiting: Distribution,
    /// How long attempts have run, from when a worker had the job until it had answered or was lost.
    pub running: Distribution,
    /// What happened in the last seconds.
    pub rate: Rate,
    /// The keys of [`JobRequest::limit`](crate::JobRequest::limit) that some job has which is not settled, or some worker
    /// still works for. A key that no job has any more is not in it.
    pub keys: BTreeMap<Arc<str>, KeyStats>,
    /// Of each [`Site`](crate::Site), in a pool that has some.
    pub sites: Vec<SiteStats>,
}

/// The figures of one key, as they are now.
///
/// ```no_run
/// # use hirelings::*;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
/// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
/// for (key, KeyStats { limit, running, queued, .. }) in pool.stats().keys {
///     println!("{key}: {running} of {limit} are running, {queued} wait");
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyStats {
    /// How many of its jobs may run at once.
    pub limit: usize,
    /// How many of its jobs count as running: those that workers hold, also where they were prefetched, and those that are
    /// settled while their handler may still run, since its worker is being killed. It is more than `limit` for a while
    /// where that was lowered.
    pub running: usize,
    /// How many of its jobs are queued: they wait for one of their key to end, or for a worker. Those that wait for a time
    /// are not among them.
    pub queued: usize,
}

/// Worker processes that have ended, by why: each is in one of these. Where there is work, another is started in its place.
///
/// ```no_run
/// # use hirelings::*;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
/// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
/// let Restarts { crashed, panicked, timed_out, .. } = pool.stats().restarts;
/// println!("{} workers were lost", crashed + panicked + timed_out);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restarts {
    /// They had done their jobs, asked to be replaced, held more memory than the soft limit, or were one too many after
    /// [`set_max_processes`](crate::Pool::set_max_processes) or replaced by [`recycle`](crate::Pool::recycle).
    pub recycled: u64,
    /// They ended by themselves, were killed from outside, or closed their pipe.
    pub crashed: u64,
    /// Their handler panicked, or they said otherwise that they end.
    pub panicked: u64,
    /// They passed the limit of time of their state.
    pub timed_out: u64,
    /// They held more memory than the hard limit.
    pub out_of_memory: u64,
    /// Their job was aborted.
    pub aborted: u64,
    /// They broke the protocol.
    pub protocol: u64,
    /// The pool ended.
    pub closed: u64,
}

/// What happened in the last seconds.
///
/// ```no_run
/// # use hirelings::*;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
/// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
/// let rate = pool.stats().rate;
/// println!("{:.1} jobs/s are done, {} were enqueued in {:?}", rate.finished_per_second(), rate.enqueued, rate.over);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rate {
    /// Jobs that were accepted.
    pub enqueued: u64,
    /// Jobs that settled, whatever they came to.
    pub finished: u64,
    /// In so long a time: ten to eleven seconds, or the pool's age where that is less.
    pub over: Duration,
}

impl Rate {
    /// How many jobs a second have settled.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// println!("{:.1} jobs/s", pool.stats().rate.finished_per_second());
    /// # Ok(()) }
    /// ```
    pub fn finished_per_second(&self) -> f64 {
        self.finished as f64 / self.over.as_secs_f64().max(1e-3)
    }
}

/// Figures of one [`Site`](crate::Site) of a pool, from [`Stats::sites`].
///
/// ```no_run
/// # use hirelings::*;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
/// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
/// for site in pool.stats().sites {
///     println!("{}: {} of {} workers are busy", site.name, site.busy, site.slots);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SiteStats {
    /// What it is called.
    pub name: Arc<str>,
    /// How many workers it may have.
    pub slots: usize,
    /// How many worker processes it has.
    pub workers: usize,
    /// How many of them run a job, or recover from one.
    pub busy: usize,
    /// Whether as many starts in a row as [`start_failures`](crate::PoolBuilder::start_failures) says have failed there, and none
    /// has succeeded since. One worker at a time finds out whether it is still so: after 100 ms, and then after twice as
    /// long each time, up to a minute.
    pub is_down: bool,
}

/// One worker process, as it is now.
///
/// ```no_run
/// # use hirelings::*;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
/// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
/// for worker in pool.workers() {
///     println!("process {} is {} and has done {} jobs", worker.pid, worker.state, worker.jobs_done);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WorkerInfo {
    /// Its number, never used again.
    pub id: WorkerId,
    /// Its slot.
    pub slot: Slot,
    /// The name of its site, in a pool of [`Site`](crate::Site)s.
    pub site: Option<Arc<str>>,
    /// Whether it is on another machine.
    pub is_far: bool,
    /// Its process id; on another machine that of the ssh or srun which carries it.
    pub pid: u32,
    /// What it is doing.
    pub state: WorkerState,
    /// How many jobs it has answered.
    pub jobs_done: u64,
    /// The job that it has.
    pub job: Option<JobId>,
    /// How long ago it was spawned.
    pub age: Duration,
    /// The process id of the fork server that has forked it, which may have ended since; none where it was started by exec, or
    /// the fork server had ended before this was known.
    pub fork_server: Option<u32>,
    /// How long it has been in its state.
    pub state_for: Duration,
    /// How much memory it holds, in bytes, without what it has started; none where the system does not say. What it shares with
    /// other processes is included: of each worker that is forked, the state that the fork server has made.
    pub resident: Option<u64>,
}

/// How a [`drain`](crate::Pool::drain) ended.
///
/// ```no_run
/// # use hirelings::*;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
/// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
/// let drained = pool.drain(std::time::Duration::from_secs(60));
/// println!("{} settled, {} given up", drained.finished, drained.left);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// Jobs that were settled while it drained.
    pub finished: u64,
    /// Jobs that were not, and are settled as closed.
    pub left: u64,
}
