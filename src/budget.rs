//! How much of what a worker wrote may lie about unread: past it the worker is read no further, which harms nobody else.

use parking_lot::{Condvar, Mutex};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The room for what one worker wrote.
pub(crate) struct Budget {
    used: AtomicUsize,
    limit: usize,
    /// So many bytes are read whether or not there is room.
    lent: AtomicUsize,
    lifted: AtomicBool,
    closed: Mutex<bool>,
    room: Condvar,
    /// Called when there is room again, for a reader that does not block.
    on_room: Option<Box<dyn Fn() + Send + Sync>>,
}

impl Budget {
    pub(crate) fn new(limit: usize, on_room: Option<Box<dyn Fn() + Send + Sync>>) -> Arc<Self> {
        let (used, lent) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let (lifted, closed) = (AtomicBool::new(false), Mutex::new(false));
        Arc::new(Budget { used, limit, lent, lifted, closed, room: Condvar::new(), on_room })
    }

    /// Takes room for `bytes`, whether or not there is any: what has been read cannot be put back.
    pub(crate) fn charge(self: &Arc<Self>, bytes: usize) -> Charge {
        self.used.fetch_add(bytes, Ordering::SeqCst);
        Charge { budget: Arc::clone(self), bytes, held: None }
    }

    fn release(&self, bytes: usize) {
        let before = self.used.fetch_sub(bytes, Ordering::SeqCst);
        if before >= self.limit && self.has_room() {
            // Under the lock, so that a reader between its look and its wait is not missed.
            let _closed = self.closed.lock();
            self.room.notify_all();
            if let Some(on_room) = &self.on_room {
                on_room();
            }
        }
    }

    pub(crate) fn has_room(&self) -> bool {
        self.used.load(Ordering::SeqCst) < self.limit
            || self.lent.load(Ordering::SeqCst) > 0
            || self.lifted.load(Ordering::SeqCst)
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

    /// The worker is to answer something: the next `bytes` are read, whether or not there is room, since its answer lies
    /// behind what it wrote before.
    pub(crate) fn lend(&self, bytes: usize) {
        self.lent.store(bytes, Ordering::SeqCst);
        let _closed = self.closed.lock();
        self.room.notify_all();
    }

    /// So many bytes have been read.
    pub(crate) fn note_read(&self, bytes: usize) {
        let lent = self.lent.load(Ordering::SeqCst);
        if lent > 0 {
            // Where more is lent meanwhile, that holds.
            let left = lent.saturating_sub(bytes);
            let _ = self.lent.compare_exchange(lent, left, Ordering::SeqCst, Ordering::SeqCst);
        }
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
    /// What they are a part of, where that may be given back before.
    held: Option<Arc<Held>>,
}

impl Drop for Charge {
    fn drop(&mut self) {
        match &self.held {
            Some(held) => held.release(self.bytes),
            None => self.budget.release(self.bytes),
        }
    }
}

/// What the streams of one job hold of a worker's room. All of it is given back when the job is settled, though nobody may
/// have taken it: the worker's next job is another's.
#[derive(Debug)]
pub(crate) struct Held {
    budget: Arc<Budget>,
    /// None once it has been given back.
    bytes: Mutex<Option<usize>>,
}

impl Held {
    /// Of the room that `charge` has taken some of.
    pub(crate) fn of(charge: &Charge) -> Arc<Self> {
        Arc::new(Held { budget: Arc::clone(&charge.budget), bytes: Mutex::new(Some(0)) })
    }

    pub(crate) fn is_of(&self, charge: &Charge) -> bool {
        Arc::ptr_eq(&self.budget, &charge.budget)
    }

    /// Takes as much room as `charge` has.
    pub(crate) fn charge(self: &Arc<Self>, charge: &Charge) -> Charge {
        if let Some(held) = &mut *self.bytes.lock() {
            *held += charge.bytes;
            self.budget.used.fetch_add(charge.bytes, Ordering::SeqCst);
        }
        Charge { budget: Arc::clone(&self.budget), bytes: charge.bytes, held: Some(Arc::clone(self)) }
    }

    fn release(&self, bytes: usize) {
        if let Some(held) = &mut *self.bytes.lock() {
            *held -= bytes;
            self.budget.release(bytes);
        }
    }

    /// The job is settled.
    pub(crate) fn give_back(&self) {
        if let Some(held) = self.bytes.lock().take() {
            self.budget.release(held);
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
    fn what_is_lent_is_read_though_there_is_no_room() {
        let budget = Budget::new(10, None);
        let held = budget.charge(15);
        let reader = thread::spawn({
            let budget = Arc::clone(&budget);
            move || budget.wait_for_room()
        });
        budget.lend(5);
        assert!(reader.join().unwrap());
        budget.note_read(4);
        // However much room it takes.
        let more = budget.charge(100);
        assert!(budget.has_room());
        budget.note_read(4);
        assert!(!budget.has_room());
        drop((held, more));
        assert!(budget.has_room());
    }

    #[test]
    fn what_a_settled_jobs_streams_hold_takes_no_room() {
        let budget = Budget::new(10, None);
        let message = budget.charge(6);
        let held = Held::of(&message);
        let (taken, left) = (held.charge(&message), held.charge(&message));
        drop((message, taken));
        assert_eq!(budget.used.load(Ordering::SeqCst), 6);
        held.give_back();
        assert_eq!(budget.used.load(Ordering::SeqCst), 0);
        let late = held.charge(&left);
        drop((left, late));
        assert_eq!(budget.used.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn closing_lets_the_reader_go() {
        let budget = Budget::new(1, None);
        let _held = budget.charge(5);
        budget.close();
        assert!(!budget.wait_for_room());
    }
}
