//! The clock. No other file reads it.

use std::time::Instant;

#[allow(clippy::disallowed_methods, reason = "this is the one place")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
