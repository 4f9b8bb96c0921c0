//! A worker that does something of its own at its start and between its jobs.

use crate::{Gate, scratch};
use hirelings::{Job, PoolBuilder, Stderr};
use hirelings_worker_kit::BoxError;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::process::{Command, exit, id};

/// What the worker does at its start, or between two jobs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Stage {
    Pass,
    Fail(String),
    Panic(String),
    Exit(i32),
    /// Blocks until the gate is opened.
    Wait(PathBuf),
    /// Appends its process id to a file.
    Note(PathBuf),
    /// At the start: appends its process id to a file once it is dropped.
    NoteWhenDropped(PathBuf),
}

/// A job that gives the worker's process id; `after` is what the worker does once it has answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Staged {
    pub after: Stage,
}

impl Job for Staged {
    type Output = u32;
    type Progress = ();
    type Error = String;
}

/// A pool of `src/bin/staged.rs`, whose workers do `start` first.
pub fn pool(start: Stage) -> PoolBuilder<Staged> {
    crate::builder(Command::new(crate::program("staged"))).options(&start).stderr(Stderr::Null)
}

/// Does what the stage says; in a worker.
///
/// # Errors
///
/// [`Stage::Fail`]'s.
///
/// # Panics
///
/// [`Stage::Panic`] does.
pub fn go_through(stage: Stage) -> Result<(), BoxError> {
    match stage {
        Stage::Pass | Stage::NoteWhenDropped(_) => Ok(()),
        Stage::Fail(why) => Err(why.into()),
        Stage::Panic(why) => panic!("{why}"),
        Stage::Exit(code) => exit(code),
        Stage::Wait(gate) => {
            Gate::wait(&gate);
            Ok(())
        }
        Stage::Note(path) => Ok(scratch::append(&path, &id().to_string())?),
    }
}
