//! Handlers that do what no handler should. Each costs its own job, and one sentence says why; the program and the other jobs
//! go on. What is to be kept from reading your files and calling home needs more: `docs/hostile-input.md`.
//!
//! ```text
//! cargo run --example hostile
//! ```

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program may speak")]
#![allow(clippy::disallowed_methods, reason = "it starts a process behind the pool's back")]

use hirelings::worker::{Context, Outcome};
use hirelings::{Job, Limits, Pool, Stderr, worker};
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::hint::black_box;
use std::process::{Command, abort, exit, id};
use std::time::Duration;

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Deed {
    Panic,
    Abort,
    OverflowTheStack,
    ExitAsIfDone,
    NeverEnd,
    TakeAllMemory,
    FloodTheTerminal,
    KillYourself,
    LeaveAChild,
    Behave,
}

impl Job for Deed {
    /// The number of a process that it has left, or 0.
    type Output = u32;
    type Progress = ();
    type Error = String;
}

fn run(deed: Deed, _: &mut Context<Deed>) -> Outcome<Deed> {
    match deed {
        Deed::Panic => panic!("an index out of bounds, say"),
        Deed::Abort => abort(),
        Deed::OverflowTheStack => return Ok(deeper(1)),
        Deed::ExitAsIfDone => exit(0),
        Deed::NeverEnd => loop {
            std::hint::spin_loop();
        },
        Deed::TakeAllMemory => loop {
            // It is the address space that is limited: nothing has to be written to use it up.
            Vec::leak(black_box(vec![0u8; 1 << 24]));
        },
        Deed::FloodTheTerminal => (0..20_000).for_each(|n| eprintln!("{n} lines that nobody wants")),
        Deed::KillYourself => {
            let _ = Command::new("kill").args(["-KILL", &id().to_string()]).status();
        }
        Deed::LeaveAChild => {
            let child = Command::new("sleep").arg("1000").spawn().map_err(|error| error.to_string())?;
            return Ok(child.id());
        }
        Deed::Behave => {}
    }
    Ok(0)
}

#[allow(unconditional_recursion, reason = "it is what it is to do")]
fn deeper(depth: u32) -> u32 {
    let ballast = black_box([depth; 128]);
    deeper(ballast[7] + 1) + ballast[9]
}

fn main() -> Result<(), Box<dyn Error>> {
    worker::init(run);

    let pool = Pool::<Deed>::self_exec()
        .max_processes(2)
        // Nothing of one job is left for the next.
        .max_jobs_per_process(1)
        .timeout_working(Duration::from_secs(5))
        .limits(Limits::new().address_space(512 << 20).core_size(0))
        // It is in the errors all the same.
        .stderr(Stderr::Null)
        .build()?;
    use Deed::*;
    let deeds = [
        Panic,
        Abort,
        OverflowTheStack,
        ExitAsIfDone,
        NeverEnd,
        TakeAllMemory,
        FloodTheTerminal,
        KillYourself,
        LeaveAChild,
        Behave,
    ];
    for (deed, result) in deeds.into_iter().zip(pool.map(deeds)) {
        match result {
            Ok(0) => println!("{deed:?}: done"),
            Ok(child) => println!("{deed:?}: done, and it has left process {child}"),
            Err(error) => println!("{deed:?}: {:?}: {error}", error.kind()),
        }
    }
    // Whatever they have left in their process groups is ended with them.
    pool.exit();
    println!("{} of {} are done", pool.stats().succeeded, deeds.len());
    Ok(())
}
