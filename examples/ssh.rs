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
use hirelings::{Job, NoError, Pool, worker};
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::path::Path;
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

/// What starts the worker of a slot: the first is a local one, each other one is on a host of its own.
fn launch(slot: usize, program: &Path, hosts: &[String]) -> Command {
    let Some(host) = slot.checked_sub(1).and_then(|n| hosts.get(n)) else {
        let mut local = Command::new(program);
        local.arg("--worker");
        return local;
    };
    let mut ssh = Command::new("ssh");
    // No terminal and no questions: a host that wants a password is a start failure, not a pool that hangs. And a host
    // that vanishes is noticed.
    ssh.args(["-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5"]);
    ssh.args(["-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"]);
    // Two words for the shell on the other side. When the connection ends, so does the worker's standard input, and the
    // worker ends itself with all that it has spawned.
    ssh.arg(host).arg("--").arg(program).arg("--worker");
    ssh
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    // `self_exec` marks a worker in its environment, which ssh does not carry: an argument does.
    if arguments == ["--worker"] {
        worker::serve(answer)
    }
    let program = env::current_exe()?;
    let (hosts, only_say) = match arguments.is_empty() {
        true => (vec!["user@host".into()], true),
        false => (arguments, !is_installed("ssh")),
    };
    let slots = hosts.len() + 1;
    for slot in 0..slots {
        println!("slot {slot}: {:?}", launch(slot, &program, &hosts));
    }
    if only_say {
        println!("give it hosts, and have ssh, to see it done");
        return Ok(());
    }

    let pool = Pool::<Where>::builder_with(move |slot| launch(slot.index(), &program, &hosts))
        .name("far and near")
        .max_processes(slots)
        // A connection takes longer than a process.
        .timeout_initializing(Duration::from_secs(15))
        .retries(2)
        .build()?;
    if let Err(error) = pool.wait_ready(Duration::from_secs(20)) {
        // The others go on without that host; its slot is tried again, less and less often.
        eprintln!("{error}");
    }
    for result in pool.map((0..4 * slots).map(|_| Where)) {
        println!("{}", result?);
    }
    Ok(())
}

/// Whether a program is in the search path.
fn is_installed(program: &str) -> bool {
    env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}
