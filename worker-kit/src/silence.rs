//! How long the pool may be silent, and when it was heard last: shared by the main thread, which reads, and the guard, which
//! reads while the main thread does something else, and ends the worker. Without a lock, since the main thread holds the
//! input's while it waits.
//!
//! Once the limit is over, it is over: what has come by then is not read any more, and no job is begun. A worker that has read
//! nothing for so long has replied to nothing either, so the pool has given it up, and may be trying its jobs elsewhere. So it
//! is with one that was stopped for so long, and finds much to read when it goes on. That holds for the first words after its
//! first Ready too, though the limit is among them: no job can have been sent before that.
//!
//! Whoever reads has the input's lock, and moves the moment on before it reads, if it is in time. The guard looks without that
//! lock: where it looks in the moment in which the limit ends, it may end the worker just before the main thread reads. A guard
//! that sees a limit sees when it began: that is stored first. `tests/loom` tries this in every interleaving.

use crate::sync::{AtomicU64, Ordering};
use std::time::Duration;

/// Times are microseconds since any one moment: in whole milliseconds a limit could end a millisecond too early.
#[derive(Debug)]
pub(crate) struct Silence {
    /// 0 until the pool has set one.
    limit: AtomicU64,
    heard: AtomicU64,
    /// The moment of the worker's first Ready: 0 before it, [`READ_SINCE`] once something has been read after it.
    first_ready: AtomicU64,
}

const READ_SINCE: u64 = u64::MAX;

impl Silence {
    pub(crate) fn new() -> Self {
        Silence { limit: AtomicU64::new(0), heard: AtomicU64::new(0), first_ready: AtomicU64::new(0) }
    }

    /// The worker is about to say that it is ready.
    pub(crate) fn ready(&self, now: impl FnOnce() -> u64) {
        if self.first_ready.load(Ordering::Relaxed) == 0 {
            self.first_ready.store(now().max(1), Ordering::Relaxed);
        }
    }

    /// The moment of the first Ready, where what is about to be read is the first after it. Whoever reads has the input's lock.
    pub(crate) fn take_first_ready(&self) -> Option<u64> {
        let at = self.first_ready.load(Ordering::Relaxed);
        let is_first = at != 0 && at != READ_SINCE;
        if is_first {
            self.first_ready.store(READ_SINCE, Ordering::Relaxed);
        }
        is_first.then_some(at)
    }

    /// The pool has set a limit, now. Gives whether it is another one, and the guard has a new time to keep: it is to be woken,
    /// and looks at the limit after it has been. Once there is a limit, this was heard when it was read; the first one may be
    /// over already, where nothing was read `since` a moment.
    pub(crate) fn set(&self, limit: u64, since: Option<u64>, now: u64) -> bool {
        if self.limit.load(Ordering::Relaxed) == 0 {
            let too_late = since.filter(|since| now.saturating_sub(*since) >= limit);
            self.heard.store(too_late.unwrap_or(now), Ordering::Release);
        }
        self.limit.swap(limit, Ordering::AcqRel) != limit
    }

    /// Something has arrived and is about to be read. Gives whether it is in time.
    pub(crate) fn hear(&self, now: impl FnOnce() -> u64) -> bool {
        // No clock where nobody looks at it.
        if self.limit.load(Ordering::Acquire) == 0 {
            return true;
        }
        let now = now();
        let in_time = !self.is_over(|| now);
        if in_time {
            self.heard.store(now, Ordering::Release);
        }
        in_time
    }

    /// How long the pool may still be silent; none where it has set no limit.
    pub(crate) fn left(&self, now: impl FnOnce() -> u64) -> Option<Duration> {
        let limit = self.limit.load(Ordering::Acquire);
        let until = self.heard.load(Ordering::Acquire).saturating_add(limit);
        (limit != 0).then(|| Duration::from_micros(until.saturating_sub(now())))
    }

    /// Whether the pool has been silent for too long.
    pub(crate) fn is_over(&self, now: impl FnOnce() -> u64) -> bool {
        self.left(now) == Some(Duration::ZERO)
    }
}
