//! The mark in the environment by which a process knows that it was started as a worker.
//!
//! `self_exec` sets it to the name of the job type, and the pool completes it at each start with the pipe that is the
//! worker's standard input: `render/2 pipe:c:1f3a`, its device and inode in hexadecimal digits. Only a process whose
//! standard input is that pipe is the worker. The mark itself stays in the environment, which cannot be changed safely
//! while other threads may read it, and is inherited by whatever the handler starts. None of that is a worker:
//!
//! * It inherits `/dev/null` as standard input, or is given another file or pipe. The pipe of the mark exists as long as
//!   the worker does, so no other pipe has its inode meanwhile; and the kit's copy of it is closed on exec.
//! * What it starts in turn has its standard input from it, and so not the pipe either.
//! * Where it has a pool of its own, that pool writes its own mark for its workers.

use crate::Job;
use crate::wire::{Mark, WORKER_MARK};
use std::env;
use std::io;
use std::sync::{Mutex, OnceLock, PoisonError};

/// The job type whose worker this process is, once it has taken the pipe away from standard input.
static SERVED: OnceLock<String> = OnceLock::new();

/// The job types for which this process was asked whether it is their worker.
static ASKED: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());

/// Whether this process was started as a worker of `J` by `hirelings::self_exec::<J>()`.
///
/// It may be called before [`init`](crate::init), which asks the same: a program can then confine itself, or choose what
/// to set up, before anything else runs. It stays true for as long as the process lives. What the handler starts is no
/// worker, although it inherits the environment.
///
/// ```no_run
/// # use hirelings_worker_kit::{Job, NoError, init, is_worker};
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Double(u64);
/// # impl Job for Double { type Output = u64; type Progress = (); type Error = NoError; }
/// # fn give_up_privileges() {}
/// fn main() {
///     if is_worker::<Double>() {
///         give_up_privileges();
///     }
///     init(|Double(n), _| Ok(2 * n));
///     // Only the program itself comes here; its workers do not.
/// }
/// ```
pub fn is_worker<J: Job>() -> bool {
    let mut asked = ASKED.lock().unwrap_or_else(PoisonError::into_inner);
    if !asked.contains(&J::name()) {
        asked.push(J::name());
    }
    drop(asked);
    match SERVED.get() {
        Some(served) => served == J::name(),
        None => own_mark().is_some_and(|mark| mark.name == J::name()),
    }
}

/// From here on standard input is no longer the pipe, and this process stays what it is.
pub(crate) fn remember() {
    if let Some(mark) = own_mark() {
        let _ = SERVED.set(mark.name);
    }
}

/// Whether [`is_worker`] was called for the job type called `name`, by [`init`](crate::init) for instance: for the pool.
#[doc(hidden)]
pub fn was_asked(name: &str) -> bool {
    ASKED.lock().unwrap_or_else(PoisonError::into_inner).contains(&name)
}

/// The job type of which this process should be a worker, and is none yet: for the pool's builder.
///
/// So it is where the mark was never completed, since then no pool has started this process.
#[doc(hidden)]
pub fn unserved_mark() -> Option<String> {
    let mark = Mark::read(env::var_os(WORKER_MARK)?.to_str()?);
    let is_meant = SERVED.get().is_none() && (mark.pipe.is_none() || mark.is_of(io::stdin()));
    is_meant.then_some(mark.name)
}

/// The mark, if it names this process.
fn own_mark() -> Option<Mark> {
    let mark = Mark::read(env::var_os(WORKER_MARK)?.to_str()?);
    mark.is_of(io::stdin()).then_some(mark)
}
