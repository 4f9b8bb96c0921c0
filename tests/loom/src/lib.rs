//! Three files of the library in which threads share something without a lock, as they stand there, over the atomics and locks
//! of [loom]. A test goes through every interleaving of its threads and all that their orderings allow.
//!
//! Each has beside it the faults that its comments speak of, which the same test has to find.
//!
//! [loom]: https://docs.rs/loom

#![cfg(test)]

#[allow(dead_code, reason = "what is put in is not changed here")]
#[path = "../../../src/mailbox.rs"]
mod mailbox;
#[path = "../../../worker-kit/src/pace.rs"]
mod pace;
#[path = "../../../worker-kit/src/silence.rs"]
mod silence;

mod sync;
mod tries;
