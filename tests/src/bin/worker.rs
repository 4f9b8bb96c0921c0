//! The general worker: does what it is told.

use hirelings_tests::{Do, Gate, Told};
use hirelings_worker_kit::{Context, serve};
use rustix::process::{Pid, Signal, kill_process};
use std::process::{Command, abort, exit, id};

fn main() {
    serve(run)
}

fn run(job: Do, ctx: &mut Context<Do>) -> Result<String, String> {
    match job {
        Do::Echo(text) => return Ok(text),
        Do::Bytes(count) => return Ok("x".repeat(count)),
        Do::Pid => {}
        Do::Numbers => return Ok(format!("job {} attempt {}", ctx.job_id(), ctx.attempt())),
        Do::Fail(why) => return Err(why),
        Do::FailUntil(attempt) if ctx.attempt() < attempt => return Err(format!("attempt {}", ctx.attempt())),
        Do::FailUntil(_) => {}
        Do::Panic(why) => panic!("{why}"),
        Do::Exit(code) => exit(code),
        Do::Abort => abort(),
        Do::Segfault => die_of(Signal::SEGV),
        Do::Signal(number) => die_of(Signal::from_named_raw(number).ok_or("no such signal")?),
        Do::SayAndDie(text) => {
            eprintln!("{text}");
            exit(3)
        }
        Do::Wait(gate) => {
            ctx.progress(&Told::Waiting);
            Gate::wait(&gate);
        }
        Do::Progress(count) => (0..count).for_each(|n| ctx.progress(&Told::Count(n))),
        Do::Print(text) => {
            println!("{text}");
            eprintln!("{text}");
        }
        Do::Then(steps) => {
            let mut last = String::new();
            for step in steps {
                last = run(step, ctx)?;
            }
            return Ok(last);
        }
        Do::Retire => ctx.retire(),
        Do::SpawnSleeper => {
            let sleeper = Command::new("sleep").arg("1000").spawn().map_err(|error| error.to_string())?;
            ctx.progress(&Told::Spawned(sleeper.id()));
        }
    }
    Ok(id().to_string())
}

/// Sends the signal until it takes effect: the first SIGSEGV only meets Rust's own handler.
fn die_of(signal: Signal) -> ! {
    loop {
        let _ = kill_process(Pid::from_raw(id().cast_signed()).expect("a process has a number"), signal);
    }
}
