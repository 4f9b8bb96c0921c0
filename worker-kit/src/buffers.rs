//! Buffers of large payloads, kept for the next, as long as there are such.
//!
//! An allocator gives back to the system what is as large as this, and the system gives it out again page by page, each
//! zeroed, at a fault each. With buffers that are kept, large payloads go two to four times as fast. A little after the
//! last of them all is given back.

use crate::clock;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A smaller buffer is not worth keeping: the allocator does so itself.
const LARGE: usize = 64 * 1024;

/// The most that are kept, in bytes.
const MOST: usize = 64 << 20;

/// How long buffers are kept after the last large payload.
const KEPT_FOR: Duration = Duration::from_millis(100);

/// The spare buffers of a pool, or of a worker.
#[derive(Debug, Default)]
pub struct BufferPool {
    /// Whether there may be buffers that are kept: can be read without the lock.
    open: AtomicBool,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    /// The oldest first.
    buffers: VecDeque<Vec<u8>>,
    last_used: Option<Instant>,
}

impl Held {
    /// How long ago the last large payload was, if there was any.
    fn unused_for(&self) -> Option<Duration> {
        self.last_used.map(|used| clock::now().duration_since(used))
    }
}

impl BufferPool {
    /// An empty buffer with room for `room` bytes, which are many, and for little more, if there is one.
    pub(crate) fn take(&self, room: usize) -> Option<Vec<u8>> {
        let fits = |buffer: &Vec<u8>| (room..=room + room / 4).contains(&buffer.capacity());
        let mut held = self.held();
        self.open.store(true, Ordering::SeqCst);
        held.last_used = Some(clock::now());
        let newest = held.buffers.iter().rposition(fits)?;
        held.buffers.remove(newest)
    }

    /// An empty buffer for a payload of a size that is not known yet; the one before it was `before` bytes.
    pub fn buffer(&self, before: usize) -> Vec<u8> {
        let buffer = (before >= LARGE).then(|| self.take(before)).flatten();
        buffer.unwrap_or_else(|| Vec::with_capacity(128))
    }

    /// Keeps a buffer that is not needed any more, if it is large and a large payload came recently. If the kept buffers
    /// exceed the limit, the oldest are freed.
    pub fn keep(&self, mut buffer: Vec<u8>) {
        if !(LARGE..=MOST).contains(&buffer.capacity()) {
            return;
        }
        buffer.clear();
        // Freed after the lock is released, since that takes its time.
        let mut too_many = Vec::new();
        let mut held = self.held();
        if held.unused_for().is_none_or(|unused| unused >= KEPT_FOR) {
            // Nobody may look after it any more.
            too_many.push(buffer);
            return;
        }
        held.buffers.push_back(buffer);
        let mut bytes: usize = held.buffers.iter().map(Vec::capacity).sum();
        while bytes > MOST
            && let Some(oldest) = held.buffers.pop_front()
        {
            bytes -= oldest.capacity();
            too_many.push(oldest);
        }
    }

    /// Frees all buffers if no large payload came for a while. Otherwise returns how long until that may be so.
    pub fn trim(&self) -> Option<Duration> {
        if !self.open.load(Ordering::SeqCst) {
            return None;
        }
        let mut held = self.held();
        if let Some(unused) = held.unused_for()
            && unused < KEPT_FOR
        {
            return Some(KEPT_FOR - unused);
        }
        self.open.store(false, Ordering::SeqCst);
        let buffers = std::mem::take(&mut held.buffers);
        // Not freed under the lock.
        drop(held);
        drop(buffers);
        None
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    /// A pool that large payloads use, however long the test takes: the last use lies an hour ahead.
    fn pool_in_use() -> BufferPool {
        let pool = BufferPool::default();
        assert!(pool.take(MIB).is_none());
        pool.held().last_used = Some(clock::now() + Duration::from_secs(3600));
        pool
    }

    fn kept(pool: &BufferPool) -> Vec<usize> {
        pool.held().buffers.iter().map(|buffer| buffer.capacity() / MIB).collect()
    }

    #[test]
    fn a_buffer_is_reused_for_a_payload_of_about_its_size() {
        let pool = pool_in_use();
        pool.keep(vec![7; 8 * MIB]);
        assert!(pool.take(9 * MIB).is_none() && pool.take(4 * MIB).is_none());
        let buffer = pool.take(7 * MIB).unwrap();
        assert!(buffer.is_empty() && buffer.capacity() == 8 * MIB);
        assert!(pool.take(7 * MIB).is_none(), "it is taken");
    }

    #[test]
    fn no_more_is_kept_than_is_allowed_and_the_newest_stay() {
        let pool = pool_in_use();
        for size in [20, 30, 10, 15] {
            pool.keep(Vec::with_capacity(size * MIB));
        }
        assert_eq!(kept(&pool), [30, 10, 15]);
        pool.keep(Vec::with_capacity(MOST + 1));
        pool.keep(Vec::with_capacity(LARGE - 1));
        assert_eq!(kept(&pool), [30, 10, 15]);
    }

    #[test]
    fn after_a_large_payload_there_is_a_buffer_for_the_next_and_after_a_small_one_a_small_one() {
        let pool = pool_in_use();
        pool.keep(Vec::with_capacity(MIB));
        assert!(pool.buffer(10).capacity() < LARGE);
        assert_eq!(pool.buffer(MIB).capacity(), MIB);
        assert!(pool.buffer(MIB).capacity() < LARGE, "there is none left");
    }

    #[test]
    fn nothing_is_kept_where_no_large_payload_comes() {
        let pool = pool_in_use();
        pool.keep(Vec::with_capacity(MIB));
        assert_eq!(pool.trim(), Some(KEPT_FOR));
        // As if it were long ago.
        pool.held().last_used = clock::now().checked_sub(2 * KEPT_FOR);
        assert_eq!(pool.trim(), None);
        assert!(kept(&pool).is_empty());
        pool.keep(Vec::with_capacity(MIB));
        assert!(kept(&pool).is_empty(), "what comes back late is not kept either");
        assert!(pool.take(MIB).is_none());
        pool.held().last_used = clock::now().checked_sub(2 * KEPT_FOR);
        pool.keep(Vec::with_capacity(MIB));
        assert!(kept(&pool).is_empty(), "nor where nothing was trimmed");
    }
}
