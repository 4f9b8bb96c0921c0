//! Does something of its own at its start and between its jobs.

use hirelings_tests::staged::{Stage, Staged};
use hirelings_tests::{Gate, scratch};
use hirelings_worker_kit::{BoxError, Context, Outcome, Worker, serve_worker};
use std::path::PathBuf;
use std::process::{exit, id};

struct Stages {
    after: Stage,
    note_when_dropped: Option<PathBuf>,
}

impl Drop for Stages {
    fn drop(&mut self) {
        if let Some(path) = &self.note_when_dropped {
            let _ = scratch::append(path, &id().to_string());
        }
    }
}

impl Worker for Stages {
    type Job = Staged;
    type Options = Stage;

    fn init(start: Stage) -> Result<Self, BoxError> {
        let note_when_dropped = match &start {
            Stage::NoteWhenDropped(path) => Some(path.clone()),
            _ => None,
        };
        go_through(start)?;
        Ok(Stages { after: Stage::Pass, note_when_dropped })
    }

    fn run(&mut self, job: Staged, _: &mut Context<Staged>) -> Outcome<Staged> {
        self.after = job.after;
        Ok(id())
    }

    fn recover(&mut self) -> Result<(), BoxError> {
        go_through(self.after.clone())
    }
}

fn go_through(stage: Stage) -> Result<(), BoxError> {
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

fn main() {
    serve_worker::<Stages>()
}
