//! How much of what a worker wrote may lie about unread: past it the worker is read no further, which harms nobody else.

use parking_lot::{Condvar, Mutex};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The room for what one worker wrote.
pub(crate) struct Budget {
    used: AtomicUsize,
    limit: usize,
    lifted: AtomicBool,
    closed: Mutex<bool>,
    room: Condvar,
    /// Called when there is room again, for a reader that does not block.
    on_room: Option<Box<dyn Fn() + Send + Sync>>,
}

impl Budget {
    pub(crate) fn new(limit: usize, on_room: Option<Box<dyn Fn() + Send + Sync>>) -> Arc<Self> {
        let (used, lifted, closed) = (AtomicUsize::new(0), AtomicBool::new(false), Mutex::new(false));
        Arc::new(Budget { used, limit, lifted, closed, room: Condvar::new(), on_room })
    }

    /// Takes room for `bytes`, whether or not there is any: what has been read cannot be put back.
    pub(crate) fn charge(self: &Arc<Self>, bytes: usize) -> Charge {
        self.used.fetch_add(bytes, Ordering::SeqCst);
        Charge { budget: Arc::clone(self), bytes }
    }

    pub(crate) fn has_room(&self) -> bool {
        self.used.load(Ordering::SeqCst) < self.limit || self.lifted.load(Ordering::SeqCst)
    }

    /// Blocks until there is room; `false` once the worker is to be read no more.
    pub(crate) fn wait_for_room(&self) -> bool {
        if self.has_room() {
            return true;
        }
        let mut closed = self.closed.lock();
        while !*closed && !self.has_room() {
            self.room.wait(&mut closed);
        }
        !*closed
    }

    /// The worker is dead, or stopped: what it has left in its pipe is little, and is read whether or not there is room.
    pub(crate) fn lift(&self) {
        self.lifted.store(true, Ordering::SeqCst);
        let _closed = self.closed.lock();
        self.room.notify_all();
    }

    /// The limit holds again.
    pub(crate) fn restore(&self) {
        self.lifted.store(false, Ordering::SeqCst);
    }

    /// Lets a reader that waits for room go.
    pub(crate) fn close(&self) {
        *self.closed.lock() = true;
        self.room.notify_all();
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget").field("used", &self.used).field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// Bytes that are held; their room is given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Drop for Charge {
    fn drop(&mut self) {
        let before = self.budget.used.fetch_sub(self.bytes, Ordering::SeqCst);
        if before >= self.budget.limit && self.budget.has_room() {
            // Under the lock, so that a reader between its look and its wait is not missed.
            let _closed = self.budget.closed.lock();
            self.budget.room.notify_all();
            if let Some(on_room) = &self.budget.on_room {
                on_room();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn a_reader_waits_until_there_is_room() {
        let budget = Budget::new(10, None);
        let first = budget.charge(6);
        assert!(budget.has_room());
        let second = budget.charge(6);
        assert!(!budget.has_room());
        let reader = thread::spawn({
            let budget = Arc::clone(&budget);
            move || budget.wait_for_room()
        });
        drop(first);
        assert!(reader.join().unwrap());
        drop(second);
        assert_eq!(budget.used.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn what_the_dead_have_left_is_read_without_room() {
        let budget = Budget::new(1, None);
        let _held = budget.charge(5);
        let reader = thread::spawn({
            let budget = Arc::clone(&budget);
            move || budget.wait_for_room()
        });
        budget.lift();
        assert!(reader.join().unwrap());
        budget.close();
    }

    #[test]
    fn closing_lets_the_reader_go() {
        let budget = Budget::new(1, None);
        let _held = budget.charge(5);
        budget.close();
        assert!(!budget.wait_for_room());
    }
}
