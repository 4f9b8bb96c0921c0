//! The guard learns of each epoch: it never sleeps through one.

use crate::pace::{ASLEEP, Pace, TICKING, WATCHING};
use crate::sync::{AtomicU8, AtomicU64, Condvar, Mutex, Ordering};
use std::sync::Arc;

/// What the two threads do of [`Pace`].
trait Shared: Send + Sync + 'static {
    fn new() -> Self;
    fn next_epoch(&self) -> bool;
    fn mode(&self) -> u8;
    fn decide(&self, seen: &mut u64) -> Option<u8>;
    fn enter(&self, mode: u8, epoch: u64);
}

impl Shared for Pace {
    /// Its guard has gone to sleep, which leaves fewer interleavings.
    fn new() -> Self {
        let pace = Pace::new();
        pace.enter(ASLEEP, 0);
        pace
    }
    fn next_epoch(&self) -> bool {
        self.next_epoch()
    }
    fn mode(&self) -> u8 {
        self.mode()
    }
    fn decide(&self, seen: &mut u64) -> Option<u8> {
        self.decide(seen)
    }
    fn enter(&self, mode: u8, epoch: u64) {
        self.enter(mode, epoch);
    }
}

/// With a fault in `enter`, by number.
struct Faulty<const FAULT: u8> {
    epoch: AtomicU64,
    mode: AtomicU8,
}

impl<const FAULT: u8> Shared for Faulty<FAULT> {
    fn new() -> Self {
        Faulty { epoch: AtomicU64::new(0), mode: AtomicU8::new(ASLEEP) }
    }
    fn next_epoch(&self) -> bool {
        self.epoch.fetch_add(1, Ordering::Relaxed);
        self.mode.swap(TICKING, Ordering::AcqRel) != TICKING
    }
    fn mode(&self) -> u8 {
        self.mode.load(Ordering::Acquire)
    }
    fn decide(&self, seen: &mut u64) -> Option<u8> {
        let epoch = self.epoch.load(Ordering::Relaxed);
        let (running, same) = (epoch % 2 == 1, epoch == *seen);
        *seen = epoch;
        same.then_some(if running { WATCHING } else { ASLEEP })
    }
    fn enter(&self, mode: u8, epoch: u64) {
        let is_old = || self.epoch.load(Ordering::Relaxed) != epoch;
        match FAULT {
            // The look before the exchange.
            0 => {
                if !is_old() {
                    self.mode.swap(mode, Ordering::AcqRel);
                }
            }
            // A store in place of the exchange.
            1 => {
                self.mode.store(mode, Ordering::Release);
                if is_old() {
                    self.mode.swap(TICKING, Ordering::AcqRel);
                }
            }
            // An exchange that does not take what was put there.
            2 => {
                self.mode.swap(mode, Ordering::Relaxed);
                if is_old() {
                    self.mode.swap(TICKING, Ordering::AcqRel);
                }
            }
            // A store in place of the exchange that goes back.
            3 => {
                self.mode.swap(mode, Ordering::AcqRel);
                if is_old() {
                    self.mode.store(TICKING, Ordering::Release);
                }
            }
            // No look at all.
            _ => drop(self.mode.swap(mode, Ordering::AcqRel)),
        }
    }
}

/// The pipe by which the guard is woken.
struct Wake {
    bytes: Mutex<usize>,
    written: Condvar,
}

/// The guard goes on until it has seen the last of some epochs. One that sleeps for good is a deadlock, which loom reports.
fn sees_each<P: Shared>(epochs: u64) {
    sees_each_within::<P>(epochs, None);
}

/// Of the interleavings in which a thread is interrupted so many times at most.
fn sees_each_within<P: Shared>(epochs: u64, interruptions: Option<usize>) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = interruptions;
    model.check(move || {
        let pace = Arc::new(P::new());
        let wake = Arc::new(Wake { bytes: Mutex::new(0), written: Condvar::new() });
        let main = loom::thread::spawn({
            let (pace, wake) = (Arc::clone(&pace), Arc::clone(&wake));
            move || {
                for _ in 0..epochs {
                    if pace.next_epoch() {
                        *wake.bytes.lock() += 1;
                        wake.written.notify_one();
                    }
                }
            }
        });
        let mut seen = 0;
        while seen < epochs {
            if pace.mode() != TICKING {
                let mut bytes = wake.bytes.lock();
                while *bytes == 0 {
                    wake.written.wait(&mut bytes);
                }
                *bytes = 0;
            }
            if let Some(next) = pace.decide(&mut seen) {
                pace.enter(next, seen);
            }
        }
        main.join().unwrap();
    });
}

#[test]
fn the_guard_sleeps_through_no_start() {
    sees_each::<Pace>(1);
}

#[test]
fn the_guard_sleeps_through_no_end() {
    sees_each::<Pace>(2);
}

#[test]
fn the_guard_sleeps_through_no_start_after_an_end() {
    sees_each_within::<Pace>(3, Some(3));
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_look_before_the_exchange_is_found() {
    sees_each::<Faulty<0>>(2);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_store_in_place_of_the_exchange_is_found() {
    sees_each::<Faulty<1>>(2);
}

#[test]
#[should_panic(expected = "deadlock")]
fn an_exchange_that_acquires_nothing_is_found() {
    sees_each::<Faulty<2>>(2);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_store_in_place_of_the_exchange_back_is_found() {
    sees_each_within::<Faulty<3>>(3, Some(3));
}

#[test]
#[should_panic(expected = "deadlock")]
fn no_look_at_all_is_found() {
    sees_each::<Faulty<4>>(2);
}
