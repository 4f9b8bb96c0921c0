//! Workers that are forked: the second way to start them, and to signal and reap them.
//!
//! A fork server is the pool's own child, started as a worker is. It makes the worker's state once and then forks a worker
//! at each request; what it does is in the kit (`worker-kit/src/fork_server.rs`). Here is the pool's side:
//!
//! * [`ForkLauncher`] starts fork servers and asks them for workers, on the spawner's thread.
//! * [`ForkedProcess`](process::ForkedProcess) is a worker that is not the pool's child. The pool has a descriptor of the
//!   process, by which alone it signals it, and a leash, over which the fork server tells how the worker ended.
//! * A minder, one thread a fork server, reads what the fork server prints, learns how it ends and reaps it.

mod launcher;
mod minder;
mod process;
mod server;
mod servers;

pub(crate) use launcher::ForkLauncher;
