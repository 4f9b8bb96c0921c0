//! A pool that has said something is never taken for silent.

use crate::silence::Silence;
use crate::sync::Mutex;
use std::sync::Arc;

/// A limit of 10 ms, which began at 0, and now it is 20: the process was stopped meanwhile.
const LIMIT: u64 = 10;
const NOW: u64 = 20;

/// The words lie in the pipe. The main thread reads them, while the guard asks whether the pool is silent.
fn is_heard(note_first: bool, is_over: impl Fn(&Silence, &dyn Fn() -> bool) -> bool + Copy + Send + Sync + 'static) {
    loom::model(move || {
        let silence = Arc::new(Silence::new());
        silence.set(LIMIT, 0);
        let pipe = Arc::new(Mutex::new(1));
        let main = loom::thread::spawn({
            let (silence, pipe) = (Arc::clone(&silence), Arc::clone(&pipe));
            move || {
                if note_first {
                    silence.note(|| NOW);
                }
                *pipe.lock() = 0;
                if !note_first {
                    silence.note(|| NOW);
                }
            }
        });
        let unread = || *pipe.lock() > 0;
        assert!(!is_over(&silence, &unread), "a pool that was heard is silent");
        main.join().unwrap();
    });
}

#[test]
fn a_pool_whose_words_are_just_read_is_heard() {
    is_heard(true, |silence, unread| silence.is_over(|| NOW, unread));
}

#[test]
#[should_panic(expected = "a pool that was heard is silent")]
fn a_note_after_the_reading_is_found() {
    is_heard(false, |silence, unread| silence.is_over(|| NOW, unread));
}

#[test]
#[should_panic(expected = "a pool that was heard is silent")]
fn no_look_at_the_note_after_the_pipe_is_found() {
    is_heard(true, |silence, unread| silence.left(|| NOW).is_some_and(|left| left.is_zero()) && !unread());
}

#[test]
fn a_limit_that_is_seen_has_begun() {
    loom::model(|| {
        let silence = Arc::new(Silence::new());
        let main = loom::thread::spawn({
            let silence = Arc::clone(&silence);
            move || silence.set(LIMIT, NOW)
        });
        assert!(!silence.is_over(|| NOW, || false), "a limit that has just been set is over");
        assert!(main.join().unwrap());
    });
}
