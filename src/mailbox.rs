//! A queue with one reader, which sleeps while there is nothing and which ends. Nothing that is put into it is lost: what the
//! reader does not take any more is left to those who put it in.
//!
//! The queue and whether the reader sleeps are under one lock: a reader that finds nothing is asleep before another thread
//! can put something in, and who finds it asleep wakes it. Only `ended` is outside of the lock, since it is asked for where
//! the lock is not needed. The reader sets it (E), and then takes what is left, until there is nothing (T). Another puts
//! something in (P), and then looks at it (L):
//!
//! - P before the last T: the reader takes it.
//! - The last T before P: E, which is before T, is seen by L, which is after P: the lock of T is given up before that of P is
//!   taken. Whoever has put it in takes it, and all else that is left.
//!
//! Both may happen, and two may find that they are to take what is left: each thing is taken once, under the lock. A look
//! before P, or an end that is set after T, would lose what comes in between. `tests/loom` tries this file in every
//! interleaving, and finds both of these faults.

use crate::sync::{AtomicBool, Condvar, Mutex, Ordering};
use std::collections::VecDeque;
use std::mem;

pub(crate) struct Mailbox<T> {
    queue: Mutex<Queue<T>>,
    wake_up: Condvar,
    ended: AtomicBool,
}

struct Queue<T> {
    waiting: VecDeque<T>,
    /// Whether the reader has to be woken.
    asleep: bool,
    /// Whether what is put in meanwhile is changed on its way.
    changing: bool,
}

impl<T> Mailbox<T> {
    pub(crate) fn new() -> Self {
        let queue = Queue { waiting: VecDeque::new(), asleep: false, changing: false };
        Mailbox { queue: Mutex::new(queue), wake_up: Condvar::new(), ended: AtomicBool::new(false) }
    }

    /// Puts all of `values` in, which the reader takes at the next [`Mailbox::wake`] at the latest. They are changed by `change`
    /// where that is wanted of all that is put in.
    pub(crate) fn put(&self, values: &mut VecDeque<T>, change: impl FnMut(&mut T)) {
        let mut queue = self.queue.lock();
        if queue.changing {
            values.iter_mut().for_each(change);
        }
        if queue.waiting.is_empty() {
            mem::swap(&mut queue.waiting, values);
        } else {
            queue.waiting.append(values);
        }
    }

    /// Wakes the reader where it sleeps and there is something. Gives whether it takes nothing any more: then the caller
    /// is to take what is left.
    pub(crate) fn wake(&self) -> bool {
        let mut queue = self.queue.lock();
        if queue.waiting.is_empty() {
            return false;
        }
        if mem::take(&mut queue.asleep) {
            self.wake_up.notify_one();
        }
        drop(queue);
        self.has_ended()
    }

    /// Blocks until there is something, and puts all of it in the place of `taken`, which is empty.
    pub(crate) fn take(&self, taken: &mut VecDeque<T>) {
        let mut queue = self.queue.lock();
        while queue.waiting.is_empty() {
            queue.asleep = true;
            self.wake_up.wait(&mut queue);
        }
        mem::swap(&mut queue.waiting, taken);
    }

    /// The reader takes nothing any more, once it has taken what is left.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// Whether [`Mailbox::end`] was called.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Takes what is there, if there is anything.
    pub(crate) fn take_left(&self) -> VecDeque<T> {
        mem::take(&mut self.queue.lock().waiting)
    }

    /// Changes what is in it, and from now on what is put in, or no more.
    pub(crate) fn change(&self, changing: bool, change: impl FnMut(&mut T)) {
        let mut queue = self.queue.lock();
        queue.changing = changing;
        if changing {
            queue.waiting.iter_mut().for_each(change);
        }
    }
}
