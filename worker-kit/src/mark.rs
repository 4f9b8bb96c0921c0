//! The mark in the environment by which a process knows that it is a worker. The crate's only unsafe code.

use crate::wire::WORKER_MARK;
use std::env;

/// Whether this process was started as the worker of the job type called `name`; the mark is then taken away, so that
/// what the handler spawns is no worker.
pub(crate) fn take(name: &str) -> bool {
    if env::var(WORKER_MARK).as_deref() != Ok(name) {
        return false;
    }
    // SAFETY: `init` and `init_worker` are documented to be called at the start of main, before any thread is started,
    // so nothing reads the environment at the same time.
    #[allow(unsafe_code)]
    unsafe {
        env::remove_var(WORKER_MARK);
    }
    true
}
