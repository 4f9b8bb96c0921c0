//! An allocator that counts, for programs that look at what they hold.
#![allow(unsafe_code, reason = "an allocator is unsafe to write, and this one only counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The system's allocator, counting what is in use and noting what each thread asks for.
pub struct Counting;

/// How many bytes are in use.
pub static IN_USE: AtomicUsize = AtomicUsize::new(0);

/// How many pieces are in use of each size: at `n`, those of `1 << n` bytes and more.
static PIECES: [AtomicUsize; 64] = [const { AtomicUsize::new(0) }; 64];

/// How many pieces are in use of 4 KiB and more, by size: the size is the lower bound of its class, a power of two.
pub fn pieces() -> Vec<(usize, usize)> {
    let count = |class: usize| (1 << class, PIECES[class].load(Ordering::Relaxed));
    (12..48).map(count).filter(|(_, count)| *count > 0).collect()
}

fn take(size: usize) {
    IN_USE.fetch_add(size, Ordering::Relaxed);
    PIECES[class(size)].fetch_add(1, Ordering::Relaxed);
    note(size);
}

fn give(size: usize) {
    IN_USE.fetch_sub(size, Ordering::Relaxed);
    PIECES[class(size)].fetch_sub(1, Ordering::Relaxed);
}

fn class(size: usize) -> usize {
    size.checked_ilog2().unwrap_or(0) as usize
}

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

/// The largest piece of memory that `code` asks for on this thread, whether or not it is used.
pub fn largest(code: impl FnOnce()) -> usize {
    LARGEST.set(0);
    code();
    LARGEST.get()
}

/// Allocates nothing itself, and may be called when the thread's own variables are gone.
fn note(asked: usize) {
    let _ = LARGEST.try_with(|largest| largest.set(largest.get().max(asked)));
}

// SAFETY: everything is done by the system's allocator; only numbers are kept beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        // SAFETY: the caller keeps to the same contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        // SAFETY: the caller keeps to the same contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        give(layout.size());
        // SAFETY: the caller keeps to the same contract.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        take(size);
        give(layout.size());
        // SAFETY: the caller keeps to the same contract.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
