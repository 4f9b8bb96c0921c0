//! What is counted in a run.

use std::collections::VecDeque;
use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Every kind of fault that is brought about on purpose, with its name in the report.
macro_rules! faults {
    ($($fault:ident $name:literal,)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Fault { $($fault,)* }

        impl Fault {
            pub const ALL: &'static [(Fault, &'static str)] = &[$((Fault::$fault, $name),)*];
        }
    };
}

faults! {
    Killed "worker_sigkill",
    Stopped "worker_sigstop",
    ForkServerKilled "fork_server_sigkill",
    ForkServerStopped "fork_server_sigstop",
    Paused "worker_sigstop_and_sigcont",
    Segfault "worker_segfault",
    Aborted "worker_abort",
    Overflow "worker_stack_overflow",
    Exhausted "worker_out_of_memory",
    Exited "worker_exit",
    Panicked "worker_panic",
    CutFrame "worker_exit_mid_frame",
    ClosedOutput "worker_closes_stdout",
    Held "grandchild_holds_pipes",
    HeldAway "setsid_grandchild_holds_pipes",
    LeftChildren "children_outlive_worker",
    FloodedErrors "flood_stderr",
    FloodedProgress "flood_progress",
    NeverReads "never_reads",
    CallerAborts "caller_aborts",
    AbortedPrefetched "caller_aborts_the_next",
    CallerTimesOut "caller_times_out",
    CallerDrops "caller_drops_handle",
    NoDescriptors "parent_out_of_descriptors",
    NoProcesses "parent_out_of_processes",
    EndedMidLoad "pool_ended_mid_load",
    ParentKilled "parent_sigkill",
    ParentTerminated "parent_sigterm",
    ParentPanics "parent_panic",
    ParentAborts "parent_abort",
    ParentExits "parent_process_exit",
}

static FAULTS: [AtomicU64; Fault::ALL.len()] = [const { AtomicU64::new(0) }; Fault::ALL.len()];

pub static ENQUEUED: AtomicU64 = AtomicU64::new(0);
pub static SETTLED: AtomicU64 = AtomicU64::new(0);
pub static SETTLED_TWICE: AtomicU64 = AtomicU64::new(0);
pub static CHILDREN_LEFT: AtomicU64 = AtomicU64::new(0);
pub static THREADS_LEFT: AtomicU64 = AtomicU64::new(0);
pub static DESCRIPTORS_LEFT: AtomicU64 = AtomicU64::new(0);
pub static DESCRIPTORS_LEFT_WHILE_HELD: AtomicU64 = AtomicU64::new(0);
pub static LEFT_BY_PARENTS: AtomicU64 = AtomicU64::new(0);
pub static SLOWEST_END_MS: AtomicU64 = AtomicU64::new(0);
pub static WRONG: AtomicU64 = AtomicU64::new(0);

/// One more, or so many.
pub fn add(to: &AtomicU64, count: u64) {
    to.fetch_add(count, Ordering::SeqCst);
}

pub fn at_least(to: &AtomicU64, value: u64) {
    to.fetch_max(value, Ordering::SeqCst);
}

pub fn get(of: &AtomicU64) -> u64 {
    of.load(Ordering::SeqCst)
}

pub fn note(fault: Fault, times: u64) {
    add(&FAULTS[fault as usize], times);
}

pub fn count(fault: Fault) -> u64 {
    get(&FAULTS[fault as usize])
}

/// Something is not as it must be. The first of these are told on standard error.
pub fn wrong(what: impl Display) {
    if WRONG.fetch_add(1, Ordering::SeqCst) < 40 {
        eprintln!("wrong: {what}");
    }
}

// ---------------------------------------------------------------- what excuses a failure

/// Processes that were sent a signal lately.
static STRUCK: Mutex<VecDeque<(u32, Instant)>> = Mutex::new(VecDeque::new());

/// The last time at which the program was short of something, as far as a failure can come of it.
static SHORT_UNTIL: Mutex<Option<Instant>> = Mutex::new(None);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long a signal may be the cause of what a worker does not do, in a run whose load pauses.
const STRUCK_FOR: Duration = Duration::from_secs(120);

/// How long after a shortage starts may fail for its sake: the longest wait between two starts, and some.
const SHORT_FOR: Duration = Duration::from_secs(10);

/// A worker is about to be sent a signal: what becomes of its job is excused.
pub fn strike(pid: u32) {
    let mut struck = lock(&STRUCK);
    struck.push_back((pid, Instant::now()));
    while struck.front().is_some_and(|(_, at)| at.elapsed() > STRUCK_FOR) {
        struck.pop_front();
    }
}

pub fn was_struck(pid: u32) -> bool {
    lock(&STRUCK).iter().any(|&(struck, _)| struck == pid)
}

/// The last time at which a fork server was sent a signal.
static FORK_SERVER_STRUCK: Mutex<Option<Instant>> = Mutex::new(None);

/// A fork server is about to be sent a signal. A start that fails is excused, and so is a crash without a status, of a job
/// that ends its worker.
pub fn strike_fork_server() {
    *lock(&FORK_SERVER_STRUCK) = Some(Instant::now());
}

pub fn was_fork_server_struck() -> bool {
    lock(&FORK_SERVER_STRUCK).is_some_and(|at| at.elapsed() < STRUCK_FOR)
}

/// A shortage begins, or ends.
pub fn short() {
    *lock(&SHORT_UNTIL) = Some(Instant::now() + SHORT_FOR);
}

pub fn was_short() -> bool {
    lock(&SHORT_UNTIL).is_some_and(|until| Instant::now() < until)
}
