//! What the main thread and the guard share without a lock: which epoch it is, and what the guard does about it.
//!
//! An epoch begins whenever the main thread waits for a job, and whenever it has one. While the guard ticks, it notices by
//! itself. Once it has decided to sleep, or to watch, somebody has to wake it. The danger is between the two: the guard
//! looks, an epoch begins, the guard falls asleep, and nobody ever tells it.
//!
//! Each thread writes what the other reads, then reads what the other writes: the main thread counts the epoch (E) and
//! then exchanges the mode for "ticking" (M); the guard exchanges the mode for "asleep" (G) and then looks at the epoch
//! once more (C). M and G change one and the same atomic, so one of them comes first:
//!
//! - M, G: G takes what M has put there, so that E, which was before M, is seen by C, which is after G. The guard goes
//!   back to ticking.
//! - G, M: M finds a guard that is not ticking, and the main thread wakes it. Where C has seen E already, it is woken for
//!   nothing.
//! - G, C sees E, the guard is back to ticking, M: M finds a guard that ticks. Nobody needs to be woken.
//!
//! Both are exchanges. A plain store in place of G would not take what M has put there: it could overwrite it, with C still
//! reading an epoch from before E, unless all four were sequentially consistent. So it is with the way back to ticking: it is
//! an exchange too, since another E and M may have come meanwhile, whose M has found the M before it, and wakes nobody. C
//! before G would let E and M come between the two. `tests/loom` tries this file in every interleaving, and finds these
//! faults.

use crate::sync::{AtomicU8, AtomicU64, Ordering};

/// The guard waits for the end of the parent alone.
pub(crate) const ASLEEP: u8 = 0;
/// The guard looks at the epoch every so often.
pub(crate) const TICKING: u8 = 1;
/// The main thread has done something else for long: the guard reads what arrives.
pub(crate) const WATCHING: u8 = 2;

/// The epoch, and what the guard is doing. The main thread changes the mode to [`TICKING`], the guard to the others.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Even while the main thread waits for a job, and until it has shaken hands; odd while it does anything else.
    epoch: AtomicU64,
    mode: AtomicU8,
}

impl Pace {
    /// The guard ticks from its start on: what the first epoch begins is a moment away.
    pub(crate) fn new() -> Self {
        Pace { epoch: AtomicU64::new(0), mode: AtomicU8::new(TICKING) }
    }

    /// The main thread begins an epoch. Gives whether the guard has to be woken.
    pub(crate) fn next_epoch(&self) -> bool {
        self.epoch.fetch_add(1, Ordering::Relaxed);
        self.mode.swap(TICKING, Ordering::AcqRel) != TICKING
    }

    /// What the guard is doing.
    pub(crate) fn mode(&self) -> u8 {
        self.mode.load(Ordering::Acquire)
    }

    /// What the guard is to do from this tick on: nothing else where the epoch is not the one `seen` before, which it is then.
    pub(crate) fn decide(&self, seen: &mut u64) -> Option<u8> {
        let epoch = self.epoch.load(Ordering::Relaxed);
        let (running, same) = (epoch % 2 == 1, epoch == *seen);
        *seen = epoch;
        same.then_some(if running { WATCHING } else { ASLEEP })
    }

    /// The guard does as it has decided when it saw `epoch`, unless another has begun since.
    pub(crate) fn enter(&self, mode: u8, epoch: u64) {
        self.mode.swap(mode, Ordering::AcqRel);
        if self.epoch.load(Ordering::Relaxed) != epoch {
            self.mode.swap(TICKING, Ordering::AcqRel);
        }
    }
}
