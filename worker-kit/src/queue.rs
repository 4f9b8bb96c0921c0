//! The jobs that the pool has sent and the worker has not begun, and the one that it took last: which are skipped or
//! cancelled, and until when each may take. Nothing here reads, writes or looks at the clock.

use crate::wire::Payload;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A job that has arrived and was not started.
#[derive(Debug)]
pub(crate) struct QueuedJob {
    pub(crate) job: u64,
    pub(crate) attempt: u32,
    /// How long the attempt may take.
    limit: Option<Duration>,
    /// Until when it is to come to an end, where the pool has asked for that.
    cancelled: Option<Cancelled>,
    pub(crate) payload: Payload,
}

/// A job that the pool has asked to come to an end.
#[derive(Clone, Copy, Debug)]
struct Cancelled {
    /// When the worker is killed for it, if it is.
    until: Option<Instant>,
}

/// The job that was taken last, until the next one is.
#[derive(Clone, Copy, Debug)]
struct Current {
    job: u64,
    deadline: Option<Instant>,
}

/// The jobs that wait, in the order in which they came, and the current one.
#[derive(Debug, Default)]
pub(crate) struct JobQueue {
    jobs: VecDeque<QueuedJob>,
    current: Option<Current>,
    /// Whether the worker wants to be replaced: it skips whatever it has not begun.
    retired: bool,
}

impl QueuedJob {
    pub(crate) fn new(job: u64, attempt: u32, limit: Option<Duration>, payload: Payload) -> Self {
        QueuedJob { job, attempt, limit, cancelled: None, payload }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.is_some()
    }
}

impl JobQueue {
    pub(crate) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Queues a job that has arrived. `false`: the worker has retired, and skips it.
    pub(crate) fn push(&mut self, queued: QueuedJob) -> bool {
        if !self.retired {
            self.jobs.push_back(queued);
        }
        !self.retired
    }

    /// The next job, which is the current one from here on. Its limit counts from `now`, which is asked for only where it has
    /// one.
    pub(crate) fn take(&mut self, now: impl FnOnce() -> Instant) -> Option<QueuedJob> {
        let queued = self.jobs.pop_front()?;
        let until = queued.cancelled.and_then(|cancelled| cancelled.until);
        let deadline = queued.limit.and_then(|limit| now().checked_add(limit));
        self.current = Some(Current { job: queued.job, deadline: earlier(deadline, until) });
        Some(queued)
    }

    /// The pool has recalled the job. Gives whether it is skipped: one that was taken is not.
    pub(crate) fn skip(&mut self, job: u64) -> bool {
        let before = self.jobs.len();
        self.jobs.retain(|queued| queued.job != job);
        self.jobs.len() < before
    }

    /// The pool asks the job to come to an end, and kills the worker for it at `until`, if at all. Gives whether it is the
    /// current one.
    pub(crate) fn cancel(&mut self, job: u64, until: Option<Instant>) -> bool {
        if let Some(queued) = self.jobs.iter_mut().find(|queued| queued.job == job) {
            queued.cancelled = Some(Cancelled { until });
            return false;
        }
        let Some(current) = self.current.as_mut().filter(|current| current.job == job) else { return false };
        current.deadline = earlier(current.deadline, until);
        true
    }

    /// The worker wants to be replaced. Gives the jobs that it skips; those that still arrive, it skips as well.
    pub(crate) fn retire(&mut self) -> impl Iterator<Item = u64> + use<> {
        self.retired = true;
        std::mem::take(&mut self.jobs).into_iter().map(|queued| queued.job)
    }

    /// When the worker is killed if the current job is not answered, as far as the pool has said so.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.current.and_then(|current| current.deadline)
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    [one, other].into_iter().flatten().min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const SECOND: Duration = Duration::from_secs(1);

    /// A queue with these jobs, each with a limit of ten seconds or none.
    fn queue(jobs: &[(u64, bool)]) -> JobQueue {
        let mut queue = JobQueue::default();
        for &(job, limited) in jobs {
            assert!(queue.push(QueuedJob::new(job, 1, limited.then_some(10 * SECOND), Payload::Empty)));
        }
        queue
    }

    fn take(queue: &mut JobQueue, now: Instant) -> Option<(u64, bool)> {
        queue.take(|| now).map(|queued| (queued.job, queued.is_cancelled()))
    }

    #[test]
    fn jobs_are_taken_in_order_and_one_that_was_recalled_before_is_skipped() {
        let (mut queue, now) = (queue(&[(1, false), (2, false), (3, false)]), clock::now());
        assert_eq!(take(&mut queue, now), Some((1, false)));
        assert!(!queue.skip(1), "it was taken");
        assert!(queue.skip(2));
        assert!(!queue.skip(2), "it is skipped once");
        assert_eq!(take(&mut queue, now), Some((3, false)));
        assert!(queue.is_empty());
        assert_eq!(take(&mut queue, now), None);
    }

    #[test]
    fn a_limit_counts_from_when_the_job_is_taken() {
        let (mut queue, now) = (queue(&[(1, true), (2, false)]), clock::now());
        assert_eq!(queue.deadline(), None);
        take(&mut queue, now);
        assert_eq!(queue.deadline(), Some(now + 10 * SECOND));
        queue.take(|| unreachable!("a job without a limit asks for no time"));
        assert_eq!(queue.deadline(), None);
    }

    #[test]
    fn a_job_has_until_the_earlier_of_its_limit_and_its_cancellation() {
        for until in [SECOND, 20 * SECOND] {
            // Before it is taken.
            let (mut queue, now) = (queue(&[(1, true)]), clock::now());
            let expected = Some(now + until.min(10 * SECOND));
            assert!(!queue.cancel(1, Some(now + until)));
            assert_eq!(take(&mut queue, now), Some((1, true)));
            assert_eq!(queue.deadline(), expected);
        }
        // After it was.
        let (mut queue, now) = (queue(&[(1, true), (2, false)]), clock::now());
        take(&mut queue, now);
        assert!(queue.cancel(1, None));
        assert_eq!(queue.deadline(), Some(now + 10 * SECOND));
        assert!(queue.cancel(1, Some(now + SECOND)));
        assert_eq!(queue.deadline(), Some(now + SECOND));
        assert!(!queue.cancel(7, Some(now)), "there is no such job");
        assert_eq!(queue.deadline(), Some(now + SECOND));
        assert_eq!(take(&mut queue, now), Some((2, false)), "the cancellation was of the job before it");
        assert_eq!(queue.deadline(), None);
    }

    #[test]
    fn a_worker_that_retires_skips_what_it_has_and_what_still_comes() {
        let (mut queue, now) = (queue(&[(1, false), (2, false), (3, true)]), clock::now());
        take(&mut queue, now);
        assert_eq!(queue.retire().collect::<Vec<_>>(), [2, 3]);
        assert!(!queue.push(QueuedJob::new(4, 1, None, Payload::Empty)));
        assert!(queue.is_empty());
        assert!(queue.cancel(1, None), "the job that runs is still the worker's");
    }
}
