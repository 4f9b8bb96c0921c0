//! A limit of silence that the guard sees has begun, and nothing is heard once it is over.

use crate::silence::Silence;
use crate::sync::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

/// A limit of 10 µs; the pool sets it at 20, or is heard then.
const LIMIT: u64 = 10;
const NOW: u64 = 20;

#[test]
fn a_limit_that_is_seen_has_begun() {
    loom::model(|| {
        let silence = Arc::new(Silence::new());
        let main = loom::thread::spawn({
            let silence = Arc::clone(&silence);
            move || silence.set(LIMIT, None, NOW)
        });
        assert!(!silence.is_over(|| NOW), "a limit that has just been set is over");
        assert!(main.join().unwrap());
    });
}

#[test]
#[should_panic(expected = "a limit that has just been set is over")]
fn a_limit_before_its_beginning_is_found() {
    loom::model(|| {
        let [heard, limit] = [(); 2].map(|()| Arc::new(AtomicU64::new(0)));
        let main = loom::thread::spawn({
            let (heard, limit) = (Arc::clone(&heard), Arc::clone(&limit));
            move || {
                limit.store(LIMIT, Ordering::Release);
                heard.store(NOW, Ordering::Release);
            }
        });
        let limit = limit.load(Ordering::Acquire);
        let is_over = limit != 0 && heard.load(Ordering::Acquire) + limit <= NOW;
        assert!(!is_over, "a limit that has just been set is over");
        main.join().unwrap();
    });
}

/// Where the guard sees the limit's end, nothing is heard any more; where it was heard in time, the guard sees no end.
#[test]
fn a_limit_that_is_over_stays_so() {
    loom::model(|| {
        let silence = Arc::new(Silence::new());
        silence.set(LIMIT, None, 0);
        let main = loom::thread::spawn({
            let silence = Arc::clone(&silence);
            move || [silence.hear(|| LIMIT - 1), silence.hear(|| 3 * LIMIT)]
        });
        let left = silence.left(|| LIMIT - 1).unwrap();
        assert!([1, LIMIT].map(Duration::from_micros).contains(&left), "{left:?}");
        assert_eq!(main.join().unwrap(), [true, false]);
        assert!(silence.is_over(|| 2 * LIMIT));
        assert_eq!(silence.left(|| 2 * LIMIT - 2), Some(Duration::from_micros(1)), "what came too late was not heard");
    });
}

/// The first limit counts from the first Ready where it is read first after that, and else from when it is read.
#[test]
fn the_first_ready_counts_for_what_is_read_first() {
    loom::model(|| {
        for (reads, is_over) in [(1, true), (2, false)] {
            let silence = Silence::new();
            assert_eq!(silence.take_first_ready(), None, "it is not ready");
            silence.ready(|| NOW);
            silence.ready(|| 2 * NOW);
            let mut since = None;
            (0..reads).for_each(|_| since = silence.take_first_ready());
            silence.set(LIMIT, since, NOW + LIMIT);
            assert_eq!(silence.is_over(|| NOW + LIMIT), is_over, "{reads} reads");
            silence.ready(|| 3 * NOW);
            assert_eq!(silence.take_first_ready(), None, "it was ready before");
        }
        let silence = Silence::new();
        silence.ready(|| NOW);
        silence.set(LIMIT, silence.take_first_ready(), NOW + LIMIT - 1);
        assert!(!silence.is_over(|| NOW + LIMIT), "it was in time, and is heard now");
    });
}
