//! Which failed attempts are followed by another, and how long that one waits.

use super::{JobErrorKind, Outcome};
use std::time::Duration;

/// A share of the wait, in this many parts.
const WHOLE: u32 = 1_000_000;

/// The kinds that are retried where nothing else is said.
const USUAL: [JobErrorKind; 7] = [
    JobErrorKind::Failed,
    JobErrorKind::Panicked,
    JobErrorKind::Crashed,
    JobErrorKind::TimedOut,
    JobErrorKind::OutOfMemory,
    JobErrorKind::Protocol,
    JobErrorKind::Decode,
];

/// How often a job is tried again after an attempt that failed, after which failures, and how long each retry waits.
///
/// `RetryPolicy::new(n)` alone retries at once, after every failure that can be retried: [`Failed`](JobErrorKind::Failed),
/// [`Panicked`](JobErrorKind::Panicked), [`Crashed`](JobErrorKind::Crashed), [`TimedOut`](JobErrorKind::TimedOut),
/// [`OutOfMemory`](JobErrorKind::OutOfMemory), [`Protocol`](JobErrorKind::Protocol), and [`Decode`](JobErrorKind::Decode)
/// where it is the worker that could not decode the job. The other kinds are never retried, nor is an error that its
/// handler called final ([`Context::no_retry`](crate::worker::Context::no_retry)).
///
/// A retry that waits is in the backlog, holds no worker, and is counted in [`Stats::delayed`](crate::Stats::delayed). It can
/// be aborted. [`Pool::wait_idle`](crate::Pool::wait_idle) and [`Pool::drain`](crate::Pool::drain) wait for it;
/// [`Pool::exit`](crate::Pool::exit) does not, and settles it as closed.
///
/// ```no_run
/// # use hirelings::*;
/// # use std::time::Duration;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Fetch(String);
/// # impl Job for Fetch { type Output = Vec<u8>; type Progress = (); type Error = String; }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // After 1 s, 2 s, 4 s, 8 s and 10 s, each up to a tenth longer.
/// let policy = RetryPolicy::new(5).backoff(Duration::from_secs(1), Duration::from_secs(10));
/// let pool = Pool::<Fetch>::self_exec().retry(policy).build()?;
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use = "a policy does nothing until a builder or a request has it"]
pub struct RetryPolicy {
    pub(super) retries: u32,
    pub(super) first: Duration,
    pub(super) most: Duration,
    /// In parts of [`WHOLE`].
    pub(super) jitter: u32,
    /// A bit for each kind.
    pub(super) on: u16,
}

impl RetryPolicy {
    /// At most `n` retries, so that `n + 1` attempts are made; at once, after every failure that can be retried.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// // The same as `retries(2)`.
    /// let pool = Pool::<Square>::self_exec().retry(RetryPolicy::new(2)).build()?;
    /// # Ok(()) }
    /// ```
    pub const fn new(n: u32) -> Self {
        let mut on = 0;
        let mut at = 0;
        while at < USUAL.len() {
            on |= 1 << USUAL[at] as u16;
            at += 1;
        }
        RetryPolicy { retries: n, first: Duration::ZERO, most: Duration::ZERO, jitter: WHOLE / 10, on }
    }

    /// How long a retry waits, from the end of the attempt before: `first`, then twice as long each time, and never more
    /// than `most`. Default: 0, no wait.
    ///
    /// A job whose worker is still dying once the wait is over waits for that too.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # use std::time::Duration;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// // 100 ms, 200 ms, 400 ms, and so on to a minute.
    /// let policy = RetryPolicy::new(20).backoff(Duration::from_millis(100), Duration::from_secs(60));
    /// let pool = Pool::<Square>::self_exec().retry(policy).build()?;
    /// # Ok(()) }
    /// ```
    pub const fn backoff(mut self, first: Duration, most: Duration) -> Self {
        (self.first, self.most) = (first, most);
        self
    }

    /// By how much each wait is lengthened at random: by up to this share of it, from 0 to 1. Default: 0.1.
    ///
    /// Jobs that have failed together, as where a service that they use was gone, are so not all tried again in the same
    /// moment. A wait is never shorter than [`backoff`](RetryPolicy::backoff) says. What is not from 0 to 1 is the
    /// nearest that is; not a number is 0.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # use std::time::Duration;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// // From 10 to 15 s.
    /// let ten = Duration::from_secs(10);
    /// let pool = Pool::<Square>::self_exec().retry(RetryPolicy::new(3).backoff(ten, ten).jitter(0.5)).build()?;
    /// # Ok(()) }
    /// ```
    pub fn jitter(mut self, share: f64) -> Self {
        // A cast saturates, and makes 0 of what is not a number.
        self.jitter = ((share * f64::from(WHOLE)) as u32).min(WHOLE);
        self
    }

    /// The failures that are followed by a retry, in place of all that can be. Default: `Failed`, `Panicked`, `Crashed`,
    /// `TimedOut`, `OutOfMemory`, `Protocol` and `Decode`. The other kinds are never retried, though they be named here.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// // What the handler says is final; what was lost with its worker is done again.
    /// let policy = RetryPolicy::new(2).on(&[JobErrorKind::Crashed, JobErrorKind::TimedOut]);
    /// let pool = Pool::<Square>::self_exec().retry(policy).build()?;
    /// # Ok(()) }
    /// ```
    pub fn on(mut self, kinds: &[JobErrorKind]) -> Self {
        self.on = kinds.iter().fold(0, |on, &kind| on | 1 << kind as u16);
        self
    }

    /// Whether an attempt that ended so may be followed by another.
    pub(super) fn covers(&self, outcome: Outcome) -> bool {
        outcome.may_be_retried() && outcome.kind().is_some_and(|kind| self.on & (1 << kind as u16) != 0)
    }

    /// How long the retry after this attempt waits. `random` is any number.
    pub(super) fn wait(&self, attempt: u32, random: u64) -> Duration {
        let mut wait = self.first;
        for _ in 1..attempt {
            if wait.is_zero() || wait >= self.most {
                break;
            }
            wait = wait.saturating_mul(2);
        }
        let wait = wait.min(self.most);
        if wait.is_zero() {
            return wait;
        }
        let longest = wait.as_nanos() * u128::from(self.jitter) / u128::from(WHOLE);
        let longer = (longest * u128::from(random >> 32)) >> 32;
        const SECOND: u128 = 1_000_000_000;
        wait.saturating_add(Duration::new((longer / SECOND) as u64, (longer % SECOND) as u32))
    }
}

/// A number that looks like one at random, and is the same for the same job, attempt and seed: so the machine needs no
/// generator, and has no state more.
pub(super) fn spread(seed: u64, id: u64, attempt: u32) -> u64 {
    let mut mixed = seed ^ id.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(attempt).rotate_right(16);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_wait_doubles_from_the_first_to_the_most() {
        let policy = RetryPolicy::new(9).backoff(SECOND, 10 * SECOND);
        let waits = [1, 2, 3, 4, 5, 6, 1000, u32::MAX].map(|attempt| policy.wait(attempt, 0).as_secs());
        assert_eq!(waits, [1, 2, 4, 8, 10, 10, 10, 10]);
        assert_eq!(RetryPolicy::new(9).wait(u32::MAX, u64::MAX), Duration::ZERO);
        let never = RetryPolicy::new(9).backoff(Duration::ZERO, SECOND);
        assert_eq!(never.wait(u32::MAX, u64::MAX), Duration::ZERO);
        let less = RetryPolicy::new(9).backoff(10 * SECOND, SECOND);
        assert_eq!(less.wait(1, 0), SECOND);
        let longest = RetryPolicy::new(9).backoff(Duration::MAX, Duration::MAX).jitter(1.0);
        assert_eq!(longest.wait(2, u64::MAX), Duration::MAX);
    }

    #[test]
    fn jitter_lengthens_by_up_to_its_share() {
        let of = |share: f64| RetryPolicy::new(1).backoff(SECOND, SECOND).jitter(share);
        for (share, most) in [(0.0, 1000), (0.5, 1500), (1.0, 2000), (7.0, 2000), (-1.0, 1000), (f64::NAN, 1000)] {
            assert_eq!(of(share).wait(1, 0), SECOND, "{share}");
            let longest = of(share).wait(1, u64::MAX);
            let most = Duration::from_millis(most);
            assert!(longest <= most && longest + Duration::from_micros(1) > most, "{share}: {longest:?}");
        }
        assert_eq!(RetryPolicy::new(1).jitter(0.1), RetryPolicy::new(1), "the default");
    }

    #[test]
    fn jobs_and_attempts_do_not_wait_alike() {
        let mut waits: Vec<u64> =
            (0..100).flat_map(|id| (1..=3).map(move |attempt| spread(42, id, attempt) >> 56)).collect();
        waits.sort_unstable();
        waits.dedup();
        // 300 numbers at random hit about 177 of the 256.
        assert!(waits.len() > 130, "{}", waits.len());
    }
}
