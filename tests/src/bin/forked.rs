//! Says what is its own and what it shares with the fork server that has forked it.

use hirelings_tests::forked::{Ask, Setup};
use hirelings_tests::staged::go_through;
use hirelings_tests::{Gate, processes};
use hirelings_worker_kit::{BoxError, Context, Outcome, Worker, serve_worker};
use std::fs::File;
use std::io::Read;
use std::process::{exit, id};
use std::{env, thread};

struct Forked {
    setup: Setup,
    maker: u32,
    seed: [u8; 8],
    filled: Vec<u8>,
}

impl Worker for Forked {
    type Job = Ask;
    type Options = Setup;

    fn init(setup: Setup) -> Result<Self, BoxError> {
        for name in &setup.threads {
            thread::Builder::new().name(name.clone()).spawn(|| {
                loop {
                    thread::park()
                }
            })?;
        }
        go_through(setup.init.clone())?;
        Ok(Forked { maker: id(), seed: [0; 8], filled: vec![1; setup.bytes], setup })
    }

    fn after_fork(&mut self) -> Result<(), BoxError> {
        File::open("/dev/urandom")?.read_exact(&mut self.seed)?;
        go_through(self.setup.after_fork.clone())
    }

    fn run(&mut self, ask: Ask, ctx: &mut Context<Ask>) -> Outcome<Ask> {
        match ask {
            Ask::Pid => Ok(id().to_string()),
            Ask::Maker => Ok(self.maker.to_string()),
            Ask::Seed => Ok(u64::from_ne_bytes(self.seed).to_string()),
            Ask::Variable(name) => env::var(name).map_err(|error| error.to_string()),
            Ask::Directory => Ok(env::current_dir().map_err(|error| error.to_string())?.display().to_string()),
            Ask::Wait(gate) => {
                ctx.progress(&());
                Gate::wait(&gate);
                Ok(id().to_string())
            }
            Ask::Exit(code) => exit(code),
            Ask::Leak(bytes) => {
                std::hint::black_box(vec![1u8; bytes].leak());
                Ok(id().to_string())
            }
            Ask::Sum => Ok(self.filled.iter().step_by(4096).map(|&byte| u64::from(byte)).sum::<u64>().to_string()),
            Ask::Group => Ok(processes::group_of(id()).unwrap_or(0).to_string()),
        }
    }
}

/// What is printed here, without an end of the line, is to come once.
fn main() {
    print!("printed before");
    serve_worker::<Forked>()
}
