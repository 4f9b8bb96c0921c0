//! What is tried again, how often, and when.

use super::{Followed, Found, Stage, ensure};
use crate::supervisor::{JobErrorKind, Outcome, RetryPolicy, WorkerKey};
use std::time::Duration;

impl Followed {
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
        self.attempt <= self.retry.retries && self.retry.on & (1 << kind as u16) != 0
    }

    pub(super) fn retried(&mut self, outcome: Outcome, worker_key: WorkerKey, now: Duration) -> Found {
        ensure(self.is_to_be_retried(outcome), || {
            format!("attempt {}, {outcome:?}, is retried: {:?}", self.attempt, self.retry)
        })?;
        self.not_before = now + backoff(&self.retry, self.attempt);
        self.follows(&[Stage::Tasked(worker_key), Stage::Started(worker_key)], Stage::Retried, "JobRetry")
    }

    /// A wait is as long as its backoff, or longer by at most the jitter.
    pub(super) fn delayed(&mut self, until: Duration) -> Found {
        let longest = self.not_before + backoff(&self.retry, self.attempt).mul_f64(f64::from(self.retry.jitter) / 1e6);
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
    let doubled = 1u32.checked_shl(attempt - 1).map_or(policy.most, |times| policy.first.saturating_mul(times));
    doubled.min(policy.most)
}
