//! Workers on other hosts: the protocol runs over standard input and output, and ssh carries those.
//!
//! ```text
//! cargo run --example ssh                             # says what it would do
//! cargo run --example ssh -- user@one user@two        # does it, one worker a host and one here
//! ```
//!
//! The program must lie at the same path on each host, built from the same sources, and ssh must not ask for anything.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program may speak")]

use hirelings::worker::{Context, Outcome};
use hirelings::{Job, NoError, Pool, Site, worker};
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::process::Command;
use std::time::Duration;
use std::{env, fs};

/// Asks a worker where it is.
#[derive(Serialize, Deserialize)]
struct Where;

impl Job for Where {
    type Output = String;
    type Progress = ();
    type Error = NoError;
}

fn answer(_: Where, _: &mut Context<Where>) -> Outcome<Where> {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_else(|_| "a host without a name".into());
    Ok(format!("process {} on {}", std::process::id(), host.trim()))
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    // `self_exec` marks a worker in its environment, which ssh does not carry: an argument does.
    if arguments == ["--worker"] {
        worker::serve(answer)
    }
    let program = env::current_exe()?;
    let mut command = Command::new(program);
    command.arg("--worker");
    if arguments.is_empty() {
        println!("{:?}", hirelings::ssh("user@host").command(&command));
        println!("give it hosts to see it done");
        return Ok(());
    }

    // One worker here, and one on each host. ssh asks for nothing: a host that wants a password is a start failure, not a
    // pool that hangs.
    let slots = arguments.len() + 1;
    let sites = [Site::local(1)].into_iter().chain(arguments.into_iter().map(|host| Site::ssh(host, 1)));
    // A job whose connection is lost is tried again once the far worker has ended for certain.
    let pool = Pool::<Where>::builder_on(sites, command).name("far and near").retries(2).build()?;
    if let Err(error) = pool.wait_ready(Duration::from_secs(20)) {
        // The others go on without that host; its slot is tried again, less and less often.
        eprintln!("{error}");
    }
    for result in pool.map((0..4 * slots).map(|_| Where)) {
        println!("{}", result?);
    }
    Ok(())
}
