//! A worker that says what is its own and what it shares with the fork server that has forked it.

use crate::WATCHDOG;
use crate::staged::Stage;
use crossbeam_channel::bounded;
use hirelings::{Job, JobHandle, Pool, PoolBuilder, StartMethod, Stderr};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the fork server and its workers do before they serve.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Setup {
    pub init: Stage,
    pub after_fork: Stage,
    /// What is done in the middle of a fork.
    pub at_fork: Option<AtFork>,
    /// The names of threads that live on after init.
    pub threads: Vec<String>,
    /// How much memory init fills.
    pub bytes: usize,
}

impl Default for Setup {
    fn default() -> Self {
        Setup { init: Stage::Pass, after_fork: Stage::Pass, at_fork: None, threads: Vec::new(), bytes: 0 }
    }
}

/// Harm that a process does to itself while the fork server forks a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AtFork {
    pub moment: Moment,
    pub harm: Harm,
    /// In the fork with this number, from 1 on.
    pub fork: u32,
    /// Made by the first process that comes so far: the others do no harm.
    pub once: PathBuf,
}

/// Where in a fork.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Moment {
    /// In the fork server, which has been asked for a worker and has not forked.
    Before,
    /// In the fork server, which has forked and has not answered.
    After,
    /// In the child, which is not yet a worker.
    Child,
}

/// What becomes of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Harm {
    Killed,
    Stopped,
    Exits(i32),
}

/// What the worker is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Ask {
    Pid,
    /// The process in which init ran.
    Maker,
    /// What was drawn at random after the fork.
    Seed,
    Variable(String),
    Directory,
    /// Tells that it waits, and waits until the gate is open.
    Wait(PathBuf),
    Exit(i32),
    /// Takes so many bytes of memory for good, and uses them.
    Leak(usize),
    /// The sum of a byte of each page that init has filled.
    Sum,
    /// Writes to each page that init has filled.
    Write,
    /// The process group.
    Group,
    /// Appends a line to a file.
    Note(PathBuf, String),
}

impl Job for Ask {
    type Output = String;
    type Progress = ();
    type Error = String;
}

/// The worker program.
pub fn worker() -> Command {
    Command::new(crate::program("forked"))
}

/// A builder of pools of it, forked.
pub fn pool(setup: &Setup) -> PoolBuilder<Ask> {
    of(Pool::builder(worker()), setup)
}

/// The same with other commands.
pub fn of(builder: PoolBuilder<Ask>, setup: &Setup) -> PoolBuilder<Ask> {
    builder.options(setup).stderr(Stderr::Null).start_method(StartMethod::ForkServer)
}

/// Enqueues a job that waits at the gate, and blocks until it has told so.
///
/// # Panics
///
/// Where it does not within [`WATCHDOG`].
pub fn waits(pool: &Pool<Ask>, gate: &Path) -> JobHandle<Ask> {
    let (told, waiting) = bounded(1);
    let request = pool.request(Ask::Wait(gate.into())).on_progress(move |()| {
        let _ = told.try_send(());
    });
    let handle = request.enqueue();
    waiting.recv_timeout(WATCHDOG).expect("the job begins to wait");
    handle
}
