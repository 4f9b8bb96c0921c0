//! A worker that confines itself, and then tries what it must not.

use hirelings::{Crash, CrashCause, Job, JobError, Pool, PoolBuilder, Stderr};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

/// How the worker is confined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Layer {
    /// Not at all.
    Without,
    Confined,
    /// With `kill_on_violation`.
    Killing,
    /// With `best_effort`, on a kernel that says that it has no Landlock.
    NoLandlock,
    /// The same kernel, and no `best_effort`.
    Refused,
    Spawning,
    Network,
    OutsideSignals,
}

/// What the worker does at its start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Setup {
    pub layer: Layer,
    /// Folders that may be read, and written.
    pub read: Vec<PathBuf>,
    pub write: Vec<PathBuf>,
    /// Start a thread before it confines itself, and take what there is.
    pub thread_before: Option<BestEffort>,
    /// Run a program before it confines itself.
    pub child_before: bool,
}

/// Whether `best_effort` is asked for.
pub type BestEffort = bool;

impl Setup {
    pub fn new(layer: Layer) -> Self {
        Setup { layer, read: Vec::new(), write: Vec::new(), thread_before: None, child_before: false }
    }
}

/// What an attack is aimed at.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Target {
    /// A folder with `readable/file` and `scratch` in it.
    pub base: PathBuf,
    /// A port of TCP on this host, at which somebody listens.
    pub port: u16,
    /// Another worker.
    pub sibling: i32,
    /// Whether a signal that is sent is SIGKILL, and not 0, which only asks whether it may be sent.
    pub deadly: bool,
}

/// A job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Try {
    /// An attack by its name on the page. Gives `works`, or the error's name.
    Attack(String, Target),
    /// One system call. Gives 0 or the error's name.
    Call(i64, [u64; 6]),
    /// A call by the numbers of 32 bits, `int 0x80`: gives what it returns.
    Call32(u32),
    /// Gives the process id.
    Pid,
    /// Gives what the worker was told that is enforced.
    Enforced,
    Progress,
    Thread,
    Panic,
    Abort,
    Overflow,
    Exit(i32),
    Retire,
    Read(PathBuf),
    Write(PathBuf),
    /// Copies a file with `std::fs::copy`, then with `std::io::copy`: gives the first one's error.
    Copy(PathBuf, PathBuf),
    Leak(usize),
    /// Tells progress, then uses a processor for ever.
    Spin,
    /// Forks that many processes, which wait, then kills them: gives how many there were, and the error that there was.
    Fork(u32),
    /// Runs a program and gives what it writes.
    Run(PathBuf, Vec<String>),
    /// The thread that was started before: whether it can still read this file.
    ReadByThreadBefore(PathBuf),
    /// Replaces the handler of SIGSYS, or blocks the signal, then makes a forbidden call.
    OutwitTheHandler(Outwit),
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Outwit {
    Replace,
    Block,
}

impl Job for Try {
    type Output = String;
    type Progress = ();
    type Error = String;
}

/// The worker program.
pub fn worker() -> Command {
    let mut worker = Command::new(crate::program("confined"));
    worker.arg("worker");
    worker
}

/// A pool of workers that are confined like this.
pub fn pool(setup: &Setup) -> PoolBuilder<Try> {
    crate::builder::<Try>(worker()).options(setup).stderr(Stderr::Null).start_failures(1).max_processes(1)
}

/// The users as whom everything is tried: nobody too, where there is the right to become it.
pub fn users() -> Vec<&'static str> {
    if rustix::process::getuid().is_root() {
        return vec!["root", "nobody"];
    }
    eprintln!("SKIPPED as nobody: only root can become another user");
    vec!["this user"]
}

/// The host program, as a user, in a process group of its own: where a filter fails, an attack succeeds.
#[derive(Debug)]
pub struct Host {
    pub command: Command,
    folder: PathBuf,
}

impl Host {
    /// # Panics
    ///
    /// Where its folder for temporary files cannot be made.
    pub fn new(user: &str, what: &str) -> Host {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("hirelings-host-{}-{number}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        // Of whichever user.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        let mut command = Command::new(crate::program("confined"));
        command.args(["host", user, what]).env("TMPDIR", &folder).process_group(0);
        Host { command, folder }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// What the host program says, as names and outcomes.
///
/// # Panics
///
/// Where it fails.
pub fn host(user: &str, what: &str) -> BTreeMap<String, String> {
    let output = Host::new(user, what).command.output().unwrap();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what} as {user}: {}\n{complained}", output.status);
    let said = String::from_utf8(output.stdout).unwrap();
    said.lines().map(|line| line.split_once('\t').unwrap()).map(|(name, is)| (name.into(), is.into())).collect()
}

/// What a job's worker died of. Where a machine is so busy that the pool has seen the end of the worker's pipe for a while
/// before it sees the end of the worker, it kills it and knows no status; then the job is done once more.
///
/// # Panics
///
/// Where the job comes to anything else.
pub fn crash(pool: &Pool<Try>, job: &Try) -> Crash {
    loop {
        match crate::settled(pool.enqueue(job.clone())) {
            Err(JobError::Crashed(crash)) if crash.cause == CrashCause::Exited => return crash,
            Err(JobError::Crashed(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}
