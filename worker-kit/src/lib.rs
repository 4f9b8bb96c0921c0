//! The worker's side of `hirelings`: what a program needs to do the jobs of a process pool.
//!
//! A worker program names its [`Job`] and gives [`serve`] a handler:
//!
//! ```no_run
//! use hirelings_worker_kit::{Job, serve};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Square(u64);
//!
//! impl Job for Square {
//!     type Output = u64;
//!     type Progress = ();
//!     type Error = String;
//! }
//!
//! fn main() {
//!     serve(|Square(n), _| n.checked_mul(n).ok_or_else(|| format!("{n} squared is too large")))
//! }
//! ```
//!
//! * A worker with state, options or something to do between jobs implements [`Worker`]; its main is [`serve_worker`].
//! * An executable that is its own worker calls [`init`] or [`init_worker`] first thing in its main; [`is_worker`] says
//!   earlier still which of the two it is.
//! * [`Session`] speaks the protocol by hand, one call a message.
//!
//! # What the kit does before your code runs
//!
//! It takes the protocol's descriptors away: standard output becomes standard error, standard input `/dev/null`, and
//! neither your code nor what it spawns can write a byte into the protocol. It also starts one small thread, the
//! guard, which ends the worker and its whole process group when the pool's process is gone, however that died. The guard
//! blocks all signals, so that the handlers of your code run on your threads.
//!
//! # What the kit does when the worker exits
//!
//! After the `atexit` handlers that your code has registered, it ends what else is in the worker's process group. If
//! there may be somebody, the worker moves into a new group for this: code that runs still later, such as `atexit`
//! handlers that were registered before the kit was started, finds itself there alone.
//!
//! # Children that a handler forks
//!
//! The jobs and the protocol are the worker's alone. A child that is forked and executes no other program ends with 1 where it
//! comes back from the handler, or says anything to the pool, with a message on standard error; end it before, with `_exit`.
//!
//! # Panics in a handler
//!
//! The panic's message, place and backtrace go to the pool, the job settles as panicked or is retried, and the process
//! ends and is replaced. A panic in the drop of what the handler has returned counts as one in the handler.
//! `RUST_BACKTRACE=0` in the worker's environment leaves the backtrace out. So does a limit on the
//! process's memory of which too little is left: a backtrace takes some, and the standard library waits for itself where
//! it gets none.

#[cfg(not(unix))]
compile_error!(
    "hirelings runs on Unix only: it needs process groups, signals and pipes (Windows is not supported yet)"
);

mod base64;
mod buffers;
mod clock;
mod connect;
mod context;
mod ended;
mod fork;
mod fork_server;
mod group;
mod guard;
mod job;
mod link;
mod mark;
mod memory;
#[doc(hidden)]
pub mod node;
mod outbox;
mod pace;
mod panic;
mod queue;
mod serve;
mod session;
mod silence;
mod stdio;
/// The atomics of `pace` and `silence`; those of loom where `tests/loom` tries these.
mod sync {
    pub(crate) use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
}
pub mod wire;
mod worker;

pub use context::Context;
#[doc(hidden)]
pub use group::leave_group_to_pool;
#[doc(hidden)]
pub use guard::{has_guard, replace_guard};
pub use job::{BoxError, Bytes, Job, NoError, Outcome};
pub use mark::is_worker;
#[doc(hidden)]
pub use mark::{unserved_mark, was_asked};
#[doc(hidden)]
pub use serve::serve_over;
pub use serve::{init, init_worker, serve, serve_worker};
pub use session::Session;
pub use worker::Worker;
