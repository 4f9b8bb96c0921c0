//! What is tried again, how often, and when; what is not done before its time, and what not after it.

use super::{Checker, Followed, Found, Stage, ensure};
use crate::supervisor::{JobErrorKind, JobKey, Outcome, RetryPolicy, WorkerKey};
use std::time::Duration;

/// How many attempts of an idempotent job that may not have begun are not counted.
const IN_DOUBT: u32 = 2;

impl Checker {
    /// The new job has a delay, and a time of its own at which it is over.
    pub(in crate::supervisor::sim) fn timed(&mut self, id: u64, delay: Duration, expires: Option<Option<Duration>>) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.delay = delay;
            job.expires = expires.unwrap_or(job.expires);
        }
    }

    /// Attempts at the new job that may not have begun do not count.
    pub(in crate::supervisor::sim) fn idempotent(&mut self, id: u64) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.idempotent = true;
        }
    }

    /// Whether the attempt does not count: nobody knows whether it had begun.
    pub(super) fn is_in_doubt(&self, key: JobKey, outcome: Outcome, worker_key: WorkerKey) -> bool {
        let Some(job) = self.keys.get(&key).and_then(|id| self.jobs.get(id)) else { return false };
        let read = self.processes.get(&worker_key).is_none_or(|of| of.undelivered.is_none_or(|of| of.job != key.id));
        let lost = matches!(outcome, Outcome::Crashed(_) | Outcome::Protocol(_));
        job.idempotent && job.in_doubt < IN_DOUBT && lost && read && job.stage == Stage::Tasked(worker_key)
    }

    pub(super) fn retried(&mut self, key: JobKey, outcome: Outcome, worker_key: WorkerKey, now: Duration) -> Found {
        let in_doubt = self.is_in_doubt(key, outcome, worker_key);
        let job = self.job(key)?;
        if in_doubt {
            job.in_doubt += 1;
            job.not_before = now;
        } else {
            ensure(job.is_to_be_retried(outcome), || {
                format!("attempt {}, {outcome:?}, is retried: {:?}", job.attempt, job.retry)
            })?;
            job.not_before = now + job.backoff();
        }
        job.follows(&[Stage::Tasked(worker_key), Stage::Started(worker_key)], Stage::Retried, "JobRetry")
    }

    /// Whether the job is over because no worker has begun it in time.
    pub(super) fn has_expired(&self, id: u64, now: Duration) -> bool {
        let job = &self.jobs[&id];
        let back = match job.stage {
            Stage::Backlogged | Stage::Delayed(_) => true,
            // What lay at a worker that is gone.
            Stage::Prefetched(worker_key) => self.processes.get(&worker_key).is_none_or(|process| process.reaped),
            _ => false,
        };
        back && job.attempt == 0 && job.expires_at.is_some_and(|at| at <= now)
    }

    /// Whether the job should have expired before this.
    pub(super) fn overstays(&self, id: u64, job: &Followed, now: Duration) -> bool {
        let late = job.attempt == 0 && job.expires_at.is_some_and(|at| now > at);
        late && match job.stage {
            Stage::Backlogged | Stage::Delayed(_) => true,
            // It was recalled.
            Stage::Prefetched(worker_key) => self.processes.get(&worker_key).is_some_and(|process| {
                let lasts = !process.violated && !process.ending && !process.retires;
                lasts && !self.recalled.contains(&(worker_key, id))
            }),
            _ => false,
        }
    }
}

impl Followed {
    pub(super) fn accepted(&mut self, now: Duration) {
        self.not_before = now + self.delay;
        self.expires_at = self.expires.map(|after| now + after);
    }

    /// Whether an attempt that ended so is to be followed by another.
    pub(super) fn is_to_be_retried(&self, outcome: Outcome) -> bool {
        let kind = match outcome {
            Outcome::Failed => JobErrorKind::Failed,
            Outcome::Undecodable => JobErrorKind::Decode,
            Outcome::Panicked => JobErrorKind::Panicked,
            Outcome::Crashed(_) => JobErrorKind::Crashed,
            Outcome::TimedOut { .. } => JobErrorKind::TimedOut,
            Outcome::OutOfMemory { .. } => JobErrorKind::OutOfMemory,
            Outcome::Protocol(_) => JobErrorKind::Protocol,
            _ => return false,
        };
        self.attempt - self.in_doubt <= self.retry.retries && self.retry.on & (1 << kind as u16) != 0
    }

    fn backoff(&self) -> Duration {
        backoff(&self.retry, self.attempt - self.in_doubt)
    }

    /// A wait is as long as its backoff, or longer by at most the jitter.
    pub(super) fn delayed(&mut self, until: Duration) -> Found {
        if self.stage == Stage::Enqueued {
            ensure(until == self.not_before, || format!("it waits until {until:?}, not {:?}", self.not_before))?;
            self.stage = Stage::Delayed(until);
            return Ok(());
        }
        let longest = self.not_before + self.backoff().mul_f64(f64::from(self.retry.jitter) / 1e6);
        // What is counted in parts is rounded.
        let rounded = Duration::from_micros(1);
        ensure(until >= self.not_before && until <= longest + rounded, || {
            format!("a retry waits until {until:?}, not until {:?} to {longest:?}", self.not_before)
        })?;
        self.not_before = until;
        self.follows(&[Stage::Retried], Stage::Delayed(until), "Delayed")
    }

    pub(super) fn may_be_queued(&mut self, now: Duration) -> Found {
        ensure(now >= self.not_before, || format!("queued at {now:?}, before {:?}", self.not_before))?;
        let before = self.stage;
        ensure(matches!(before, Stage::Enqueued | Stage::Retried | Stage::Delayed(_)), || {
            format!("Backlog after {before:?}")
        })?;
        self.stage = Stage::Backlogged;
        Ok(())
    }
}

fn backoff(policy: &RetryPolicy, attempt: u32) -> Duration {
    let doubled =
        1u32.checked_shl(attempt.saturating_sub(1)).map_or(policy.most, |times| policy.first.saturating_mul(times));
    doubled.min(policy.most)
}
