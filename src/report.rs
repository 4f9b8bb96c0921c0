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
#[derive(Clone, Copy)]
pub(crate) struct PackedReport {
    queued: u64,
    running: u64,
    /// 0 is none.
    worker: u64,
    pid: u32,
    attempts: u32,
}

impl From<JobReport> for PackedReport {
    fn from(report: JobReport) -> Self {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        PackedReport {
            queued: nanos(report.queued),
            running: nanos(report.running),
            worker: report.worker.map_or(0, WorkerId::get),
            pid: report.pid.unwrap_or(0),
            attempts: report.attempts,
        }
    }
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
    fn what_is_packed_is_the_same() {
        let (queued, running) = (Duration::new(3, 7), Duration::new(u64::from(u32::MAX), 999_999_999));
        let report = JobReport { attempts: 3, queued, running, worker: Some(WorkerId(5)), pid: Some(4711) };
        for report in [report, JobReport::default()] {
            assert_eq!(JobReport::from(PackedReport::from(report)), report);
        }
    }
}
