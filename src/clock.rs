//! The clock. No other file reads it, so that `crate::clock` shows what depends on the time.

use std::time::{Instant, SystemTime};

#[allow(clippy::disallowed_methods, reason = "this is the one place")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The system's date and time, which may be set back.
#[allow(clippy::disallowed_methods, reason = "this is the one place")]
pub(crate) fn system_time() -> SystemTime {
    SystemTime::now()
}
