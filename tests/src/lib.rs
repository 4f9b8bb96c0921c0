//! What the tests of real processes share: the job that does whatever a test wants, and the means to wait for it.

pub mod alone;
pub mod brittle;
#[cfg(target_os = "linux")]
pub mod confined;
pub mod counting;
pub mod dice;
#[cfg(doctest)]
mod documents;
pub mod forked;
pub mod fuzz;
pub mod gate;
pub mod mixture;
pub mod processes;
pub mod record;
pub mod scratch;
pub mod shapes;
pub mod signals;
pub mod slurm;
pub mod sshd;
pub mod staged;
pub mod starts;

pub use gate::Gate;
pub use record::Record;
pub use scratch::Scratch;

use crossbeam_channel::bounded;
use hirelings::{Job, JobHandle, JobRequest, JobResult, Pool, PoolBuilder, StartMethod, Stderr, Transport};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// No test waits longer than this for anything: past it, something hangs.
pub const WATCHDOG: Duration = Duration::from_secs(180);

/// One job of the general worker, `src/bin/worker.rs`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Do {
    /// Gives the text back.
    Echo(String),
    /// Gives so many bytes back.
    Bytes(usize),
    /// Gives the worker's process id.
    Pid,
    /// Gives the number of the job and of the attempt.
    Numbers,
    /// Returns an error.
    Fail(String),
    /// Fails in all attempts before this one.
    FailUntil(u32),
    Panic(String),
    Exit(i32),
    Abort,
    /// Dies of SIGSEGV.
    Segfault,
    /// Writes to standard error, then dies.
    SayAndDie(String),
    /// Tells progress, then blocks until the gate is opened.
    Wait(PathBuf),
    /// Tells so many progresses, then gives their number.
    Progress(u32),
    /// Writes to standard output and standard error.
    Print(String),
    /// Does these in turn, and gives the last one's output.
    Then(Vec<Do>),
    /// Asks to be replaced.
    Retire,
    /// Tells that it waits, and comes to its end once it is cancelled.
    UntilCancelled,
    /// How many milliseconds it has left, or "none".
    Deadline,
    /// An error that is final.
    FailForGood(String),
    /// Sends itself a signal, by number.
    Signal(i32),
    /// From here on SIGTERM is ignored: a shell that ignores it takes this process's place in the group.
    SpawnSleeper,
    /// Appends a line to a file.
    Append(PathBuf, String),
    /// Does this with the file locked, and notes in the file if somebody else has it locked.
    Alone(PathBuf, Box<Do>),
    /// Dies, in all attempts before this one.
    ExitUntil(u32),
    /// Tells so many progresses of so many bytes, then gives their number.
    Tell(u32, usize),
    /// Does this in all attempts before the given one.
    Before(u32, Box<Do>),
    /// Gives what a shell command writes to standard output.
    Shell(String),
    /// Runs a shell command with the worker's own standard streams.
    Run(String),
    /// Spawns a shell command, tells its process id, and does not wait for it.
    Spawn(String),
    /// Runs for ever, and uses a processor.
    Spin,
    /// Overflows the stack.
    Recurse,
    /// Wants more memory than its own limit allows.
    Exhaust,
    /// Gives what standard input holds.
    ReadInput,
    /// From here on the process blocks for ever when it exits.
    HangAtExit,
    /// When the process exits it sends its process group SIGTERM.
    SignalGroupAtExit,
    /// Writes by C's standard output, which keeps it until the process exits.
    PrintAtExit(String),
    /// Leaves a thread behind that runs for ever.
    SpawnThread,
    /// Takes so many bytes of memory for good, and uses them.
    Leak(usize),
    /// Takes so many microseconds, and gives when it has begun and ended, in nanoseconds of the worker's clock.
    Nap(u64),
    /// Forks a child that does this, and comes back from the handler as well. How it exits.
    Fork(Box<Do>),
}

/// What the general worker tells while it works.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Told {
    /// It is about to wait for a gate.
    Waiting,
    Count(u32),
    /// It has spawned this process.
    Spawned(u32),
    Text(String),
}

impl Job for Do {
    type Output = String;
    type Progress = Told;
    type Error = String;
}

/// The general worker.
pub fn worker() -> Command {
    Command::new(program("worker"))
}

/// A program of this package, by name.
pub fn program(name: &str) -> PathBuf {
    // Tests and programs are built into the same folder, the tests one level deeper.
    let mut path = std::env::current_exe().expect("this program has a path");
    path.pop();
    if path.ends_with("deps") {
        path.pop();
    }
    path.join(name)
}

/// A pool of general workers that says nothing.
pub fn pool() -> PoolBuilder<Do> {
    builder(worker()).stderr(Stderr::Null)
}

/// A builder of workers that are started as [`START`] says.
pub fn builder<J: Job>(command: Command) -> PoolBuilder<J> {
    started(Pool::<J>::builder(command))
}

/// The variable by which all tests are run with forked workers: `HIRELINGS_TEST_START=fork`.
pub const START: &str = "HIRELINGS_TEST_START";

/// The variable by which all tests are run over sockets: `HIRELINGS_TEST_TRANSPORT=sockets`.
pub const TRANSPORT: &str = "HIRELINGS_TEST_TRANSPORT";

/// The same builder, with workers that are started as [`START`] says, over what [`TRANSPORT`] says.
pub fn started<J: Job>(builder: PoolBuilder<J>) -> PoolBuilder<J> {
    let sockets = std::env::var(TRANSPORT).as_deref() == Ok("sockets");
    builder.start_method(start_method()).transport(if sockets { Transport::Sockets } else { Transport::Pipes })
}

/// How [`START`] says that workers are started: all forked, by `fork`, or those of every second pool, by `half`.
pub fn start_method() -> StartMethod {
    static POOLS: AtomicU32 = AtomicU32::new(0);
    let forks = match std::env::var(START).as_deref() {
        Ok("fork") => true,
        Ok("half") => (std::process::id() + POOLS.fetch_add(1, Ordering::Relaxed)) % 2 == 1,
        _ => false,
    };
    if forks { StartMethod::ForkServer } else { StartMethod::Exec }
}

/// Whether this process is a fork server, or was forked from one. A worker program's main asks first, while its standard
/// input is what the pool gave it.
pub fn is_forked() -> bool {
    static FORKED: OnceLock<bool> = OnceLock::new();
    let is_socket = || rustix::net::sockopt::socket_type(std::io::stdin()) == Ok(rustix::net::SocketType::SEQPACKET);
    *FORKED.get_or_init(is_socket)
}

/// The general worker, with SIGTERM ignored.
pub fn stubborn_worker() -> Command {
    // A signal that a shell ignores stays ignored in the program that takes its place.
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg("trap '' TERM; exec \"$0\"").arg(program("worker"));
    shell
}

/// What the job came to.
///
/// # Panics
///
/// Where it is not settled within [`WATCHDOG`].
pub fn settled<J: Job>(handle: JobHandle<J>) -> JobResult<J> {
    let id = handle.id();
    handle.wait_timeout(WATCHDOG).unwrap_or_else(|_| panic!("job {id} was not settled within {WATCHDOG:?}"))
}

/// Enqueues a job that tells that it waits (a [`Do::Wait`] in it), and blocks until it has told so.
///
/// # Panics
///
/// Where it does not within [`WATCHDOG`].
pub fn begun(request: JobRequest<'_, Do>) -> JobHandle<Do> {
    let (told, waiting) = bounded(1);
    let request = request.on_progress(move |progress| {
        if progress == Told::Waiting {
            let _ = told.try_send(());
        }
    });
    let handle = request.enqueue();
    waiting.recv_timeout(WATCHDOG).expect("the job begins to wait");
    handle
}

/// Enqueues a job that spawns a process (a [`Do::Spawn`] in it), and blocks until it has told that process's number.
///
/// # Panics
///
/// Where it does not within [`WATCHDOG`].
pub fn spawned(request: JobRequest<'_, Do>) -> (JobHandle<Do>, u32) {
    let (told, spawned) = bounded(1);
    let request = request.on_progress(move |progress| {
        if let Told::Spawned(pid) = progress {
            let _ = told.try_send(pid);
        }
    });
    let handle = request.enqueue();
    (handle, spawned.recv_timeout(WATCHDOG).expect("the job spawns a process"))
}

/// Waits until `done`, looking again and again: for what cannot be waited for otherwise, such as another process's end.
///
/// # Panics
///
/// Where it takes longer than [`WATCHDOG`].
pub fn eventually(what: &str, done: impl FnMut() -> bool) {
    assert!(within(WATCHDOG, done), "{what}: not within {WATCHDOG:?}");
}

/// Whether it is `done` within `limit`.
pub fn within(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let start = std::time::Instant::now();
    while !done() {
        if start.elapsed() > limit {
            return false;
        }
        std::thread::yield_now();
        std::thread::park_timeout(Duration::from_millis(1));
    }
    true
}
