//! Does something of its own at its start and between its jobs.

use hirelings::StartMethod;
use hirelings_tests::staged::{Stage, Staged, go_through};
use hirelings_tests::{scratch, start_method};
use hirelings_worker_kit::{BoxError, Context, Outcome, Worker, serve_worker};
use std::path::PathBuf;
use std::process::id;

struct Stages {
    start: Stage,
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
        let mut stages = Stages { start, after: Stage::Pass, note_when_dropped };
        // Where workers are forked, the start is each worker's own: this is the fork server's.
        if start_method() == StartMethod::Exec {
            stages.after_fork()?;
        }
        Ok(stages)
    }

    fn after_fork(&mut self) -> Result<(), BoxError> {
        go_through(self.start.clone())
    }

    fn run(&mut self, job: Staged, _: &mut Context<Staged>) -> Outcome<Staged> {
        self.after = job.after;
        Ok(id())
    }

    fn recover(&mut self) -> Result<(), BoxError> {
        go_through(self.after.clone())
    }
}

fn main() {
    serve_worker::<Stages>()
}
