//! Which worker it is, and the state that a caller sees it in.

use std::fmt;

/// A worker and the slot that it is in. A worker's number is never used again, so what is said of one that is gone can
/// be told from what is said of its successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct WorkerKey {
    pub(crate) slot: usize,
    pub(crate) worker: u64,
}

/// What a worker is doing.
///
/// ```no_run
/// # use hirelings::*;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
/// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
/// let idle = pool.workers().iter().filter(|worker| worker.state == WorkerState::Ready).count();
/// println!("{idle} are idle");
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WorkerState {
    /// It has been spawned and has not said that it is ready.
    Initializing,
    /// It waits for a job.
    Ready,
    /// It runs a job.
    Working,
    /// It has answered, and has not said that it is ready again.
    Recovering,
    /// It was told to exit, is being killed, or is dead and not yet reaped.
    Exiting,
}

impl fmt::Display for WorkerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WorkerState::Initializing => "initializing",
            WorkerState::Ready => "ready",
            WorkerState::Working => "working",
            WorkerState::Recovering => "recovering",
            WorkerState::Exiting => "exiting",
        })
    }
}
