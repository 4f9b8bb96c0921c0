//! What is put into a mailbox is taken once, whenever its reader ends.

use crate::mailbox::Mailbox;
use crate::sync::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;

/// The one after which the reader ends.
const LAST: u32 = 0;

/// What both sides have taken.
type Taken = Arc<Mutex<Vec<u32>>>;

fn take_left(mailbox: &Mailbox<u32>, taken: &Taken) {
    loop {
        let left = mailbox.take_left();
        if left.is_empty() {
            return;
        }
        taken.lock().extend(left);
    }
}

/// As the thread of the hooks does, which sets the end before it takes what is left, or after it.
fn read(mailbox: &Mailbox<u32>, taken: &Taken, end_first: bool) {
    let mut found = VecDeque::new();
    while !mailbox.has_ended() {
        mailbox.take(&mut found);
        for value in found.drain(..) {
            taken.lock().push(value);
            if value == LAST {
                if !end_first {
                    take_left(mailbox, taken);
                }
                mailbox.end();
            }
        }
    }
    if end_first {
        take_left(mailbox, taken);
    }
}

/// One thread reads, another puts something in beside the last.
fn nothing_is_lost(end_first: bool, put: impl Fn(&Mailbox<u32>, u32) -> bool + Copy + Send + Sync + 'static) {
    loom::model(move || {
        let mailbox = Arc::new(Mailbox::new());
        let taken: Taken = Arc::new(Mutex::new(Vec::new()));
        let reader = loom::thread::spawn({
            let (mailbox, taken) = (Arc::clone(&mailbox), Arc::clone(&taken));
            move || read(&mailbox, &taken, end_first)
        });
        let other = loom::thread::spawn({
            let (mailbox, taken) = (Arc::clone(&mailbox), Arc::clone(&taken));
            move || {
                if put(&mailbox, 1) {
                    take_left(&mailbox, &taken);
                }
            }
        });
        if put(&mailbox, LAST) {
            take_left(&mailbox, &taken);
        }
        reader.join().unwrap();
        other.join().unwrap();
        let mut all = taken.lock().clone();
        all.sort_unstable();
        assert_eq!(all, [LAST, 1], "lost or doubled");
    });
}

fn put(mailbox: &Mailbox<u32>, value: u32) -> bool {
    mailbox.put(&mut VecDeque::from([value]), |_| {});
    mailbox.wake()
}

#[test]
fn what_is_put_in_around_the_end_is_taken_once() {
    nothing_is_lost(true, put);
}

#[test]
#[should_panic(expected = "lost or doubled")]
fn an_end_that_is_set_after_the_rest_is_taken_is_found() {
    nothing_is_lost(false, put);
}

#[test]
#[should_panic(expected = "lost or doubled")]
fn a_look_at_the_end_before_it_is_put_in_is_found() {
    nothing_is_lost(true, |mailbox, value| {
        let ended = mailbox.has_ended();
        put(mailbox, value);
        ended
    });
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_reader_that_nobody_wakes_is_found() {
    nothing_is_lost(true, |mailbox, value| {
        mailbox.put(&mut VecDeque::from([value]), |_| {});
        mailbox.has_ended()
    });
}
