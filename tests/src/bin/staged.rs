//! Does something of its own at its start and between its jobs.

use hirelings::StartMethod;
use hirelings_tests::staged::{Stage, Staged};
use hirelings_tests::{Gate, scratch, start_method};
use hirelings_worker_kit::{BoxError, Context, Outcome, Worker, serve_worker};
use std::process::{exit, id};

struct Stages {
    start: Stage,
    after: Stage,
}

impl Worker for Stages {
    type Job = Staged;
    type Options = Stage;

    fn init(start: Stage) -> Result<Self, BoxError> {
        let mut stages = Stages { start, after: Stage::Pass };
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
