//! A wait that stays awake for a moment before it sleeps. To sleep and to be woken takes a thread longer than most small jobs
//! take, and a core that has gone idle meanwhile is slow to come back.

use crate::clock;
use parking_lot::Mutex;
use std::thread;
use std::time::Duration;

/// For how long a wait stays awake: about as long as a job of 64 KiB takes where its caller sleeps on an idle machine, and twice
/// as long as a small one does. A wait that is awake for as long as it would have taken to sleep costs at most twice what it had to
/// (Karlin, Li, Manasse, Owicki, "Empirical Studies of Competitive Spinning for a Shared-Memory Multiprocessor", 1991).
/// docs/performance.md has the figures.
pub(crate) const LIMIT: Duration = Duration::from_micros(300);

/// The most waits in a row that sleep at once.
const MOST_SKIPPED: u32 = 1024;

/// The waits of one pool's callers. One of them at a time stays awake, so that many callers do not take the processor from the
/// work that they wait for.
#[derive(Default)]
pub(crate) struct Spin(Mutex<Backoff>);

impl Spin {
    /// Returns once `is_over`, or where the caller is to sleep until then. It yields to whoever wants the processor.
    pub(crate) fn until(&self, mut is_over: impl FnMut() -> bool) {
        if is_over() {
            return;
        }
        let Some(mut backoff) = self.0.try_lock() else { return };
        if !backoff.may_spin() {
            return;
        }
        let start = clock::now();
        loop {
            thread::yield_now();
            let is_over = is_over();
            // Where others want the processor, a yield may take milliseconds: then it was in vain too.
            let is_late = clock::now() - start >= LIMIT;
            if is_over || is_late {
                return backoff.spun(!is_late);
            }
        }
    }
}

/// Each wait that stayed awake in vain doubles how many after it do not.
#[derive(Default)]
struct Backoff {
    /// How many waits in a row are to sleep at once, since the last one that stayed awake in vain.
    skipped: u32,
    /// How many of these are left.
    left: u32,
}

impl Backoff {
    fn may_spin(&mut self) -> bool {
        let may = self.left == 0;
        self.left = self.left.saturating_sub(1);
        may
    }

    fn spun(&mut self, paid: bool) {
        if paid {
            *self = Backoff::default();
        } else {
            self.skipped = (2 * self.skipped).clamp(1, MOST_SKIPPED);
            self.left = self.skipped;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skipped(backoff: &mut Backoff) -> usize {
        std::iter::repeat_with(|| backoff.may_spin()).take_while(|may| !may).count()
    }

    #[test]
    fn waits_in_vain_become_rare_and_one_that_pays_brings_them_back() {
        let mut backoff = Backoff::default();
        assert_eq!(skipped(&mut backoff), 0);
        for expected in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 1024, 1024] {
            backoff.spun(false);
            assert_eq!(skipped(&mut backoff), expected);
        }
        backoff.spun(true);
        assert_eq!(skipped(&mut backoff), 0);
        backoff.spun(false);
        assert_eq!(skipped(&mut backoff), 1);
    }

    #[test]
    fn one_that_is_over_returns_and_one_that_is_not_returns_too() {
        let spin = Spin::default();
        let mut looks = 0;
        spin.until(|| {
            looks += 1;
            looks == 3
        });
        // A machine that is busy may not come to the third look in time.
        assert!((2..=3).contains(&looks), "{looks}");
        let start = clock::now();
        Spin::default().until(|| false);
        assert!(clock::now() - start >= LIMIT);
    }

    #[test]
    fn the_second_caller_sleeps_at_once() {
        let spin = Spin::default();
        let first = spin.0.lock();
        let mut looks = 0;
        spin.until(|| {
            looks += 1;
            false
        });
        assert_eq!(looks, 1);
        drop(first);
    }
}
