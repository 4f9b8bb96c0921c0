//! The one place that reads the clock.

use hirelings::{Job, Pool};
use std::time::{Duration, Instant, SystemTime};

/// When a pool was built. All times are counted from there, as those of its events are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    instant: Instant,
    /// The time of day, since 1970.
    pub(crate) time_of_day: Duration,
}

impl Origin {
    pub(crate) fn of<J: Job>(pool: &Pool<J>) -> Origin {
        let now = now();
        let instant = now.checked_sub(pool.age()).unwrap_or(now);
        Origin { instant, time_of_day: pool.built_at().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default() }
    }

    /// How long ago that was.
    pub(crate) fn now(&self) -> Duration {
        now().saturating_duration_since(self.instant)
    }
}

#[allow(clippy::disallowed_methods, reason = "this is the one place")]
fn now() -> Instant {
    Instant::now()
}
