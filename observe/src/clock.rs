//! The one place that reads the clock.

use hirelings::Event;
use std::time::{Duration, Instant, SystemTime};

#[allow(clippy::disallowed_methods, reason = "this is the one place")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// When an event happened.
pub(crate) fn of(_event: &Event) -> Instant {
    now()
}

/// The time of day when an event happened, since 1970.
pub(crate) fn time_of_day_of(_event: &Event) -> Duration {
    time_of_day()
}

/// The time of day, since 1970.
pub(crate) fn time_of_day() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
