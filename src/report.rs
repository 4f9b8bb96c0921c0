//! What a job took.

use crate::id::WorkerId;
use std::time::Duration;

/// What a job took, from [`JobHandle::wait_with_report`](crate::JobHandle::wait_with_report).
///
/// ```no_run
/// # use hirelings::*;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
/// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
/// let (result, report) = pool.request(Square(7)).retries(2).enqueue().wait_with_report();
/// println!("{result:?} took {:?}, and waited for {:?}", report.running, report.queued);
/// if report.attempts > 1 {
///     println!("at last by process {:?}", report.pid);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct JobReport {
    /// How many attempts have begun, or may have. 0: the job was over before any.
    pub attempts: u32,
    /// How long the job waited in the pool, in all: for a worker, for its [`delay`](crate::JobRequest::delay), and to be
    /// retried.
    pub queued: Duration,
    /// How long workers had it, in all attempts, as the pool saw it: from when a worker was given it until that attempt was
    /// over. With [`queued`](JobReport::queued) it is the time from the enqueuing to the end.
    pub running: Duration,
    /// The worker of the last attempt; none where no worker is known to have had the job.
    pub worker: Option<WorkerId>,
    /// That worker's process id.
    pub pid: Option<u32>,
}

/// The same, in half of the memory: one is kept for each job that has ended.
#[derive(Clone, Copy, Default)]
pub(crate) struct PackedReport {
    /// In nanoseconds.
    pub(crate) queued: u64,
    pub(crate) running: u64,
    /// 0 is none.
    pub(crate) worker: u64,
    pub(crate) pid: u32,
    pub(crate) attempts: u32,
}

impl From<PackedReport> for JobReport {
    fn from(packed: PackedReport) -> Self {
        JobReport {
            attempts: packed.attempts,
            queued: Duration::from_nanos(packed.queued),
            running: Duration::from_nanos(packed.running),
            worker: Some(packed.worker).filter(|&worker| worker > 0).map(WorkerId),
            pid: Some(packed.pid).filter(|&pid| pid > 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked() {
        let packed = PackedReport { queued: 3_000_000_007, running: u64::MAX, worker: 5, pid: 4711, attempts: 3 };
        let (queued, running) = (Duration::new(3, 7), Duration::from_nanos(u64::MAX));
        let report = JobReport { attempts: 3, queued, running, worker: Some(WorkerId(5)), pid: Some(4711) };
        assert_eq!(JobReport::from(packed), report);
        assert_eq!(JobReport::from(PackedReport::default()), JobReport::default());
    }
}
