//! Does something of its own at its start and between its jobs.

use hirelings_tests::staged::{Stage, Staged};
use hirelings_tests::{Gate, scratch};
use hirelings_worker_kit::{BoxError, Context, Outcome, Worker, serve_worker};
use std::process::{exit, id};

struct Stages {
    after: Stage,
}

impl Worker for Stages {
    type Job = Staged;
    type Options = Stage;

    fn init(start: Stage) -> Result<Self, BoxError> {
        go_through(start)?;
        Ok(Stages { after: Stage::Pass })
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
        Stage::Pass => Ok(()),
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
