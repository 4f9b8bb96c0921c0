//! A program that is its own worker, of two job types; what it does as the parent is its first argument.

use hirelings::{Job, NoError, Pool, Stderr, self_exec, worker};
use hirelings_tests::{WATCHDOG, settled};
use hirelings_worker_kit::wire::WORKER_MARK;
use serde::{Deserialize, Serialize};
use std::io::BufRead;
use std::process::Command;
use std::{env, io};

#[derive(Serialize, Deserialize)]
struct Double(u64);

impl Job for Double {
    type Output = u64;
    type Progress = ();
    type Error = NoError;
}

/// Gives what this program says if it is run again, with these arguments.
#[derive(Serialize, Deserialize)]
struct Again(Vec<String>);

impl Job for Again {
    type Output = String;
    type Progress = ();
    type Error = String;
}

fn main() {
    // As if its author had forgotten them.
    if env::var_os("FORGETFUL").is_none() {
        worker::init(|Double(n), _| Ok(2 * n));
        worker::init(|Again(arguments), _| again(&arguments));
    }
    let mode = env::args().nth(1).unwrap_or_default();
    match mode.as_str() {
        "mark" => println!("{}", env::var(WORKER_MARK).unwrap_or_else(|_| "none".into())),
        "both" => both(),
        "spawning" => spawning(),
        "start again" => start_again(),
        _ => build_only(),
    }
}

fn again(arguments: &[String]) -> Result<String, String> {
    if arguments == ["name"] {
        return Ok(env::args().collect::<Vec<_>>().join(" "));
    }
    let output = Command::new("/proc/self/exe").args(arguments).output().map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

fn both() {
    let doubles = Pool::<Double>::builder(self_exec::<Double>()).max_processes(2).build().unwrap();
    let agains = Pool::<Again>::builder(self_exec::<Again>()).max_processes(1).build().unwrap();
    println!("{}", settled(doubles.enqueue(Double(21))).unwrap());
    println!("{}", settled(agains.enqueue(Again(vec!["name".into()]))).unwrap());
}

fn spawning() {
    let pool = Pool::<Again>::builder(self_exec::<Again>()).max_processes(1).build().unwrap();
    println!("{}", settled(pool.enqueue(Again(vec!["mark".into()]))).unwrap());
    // A child of the handler that is a whole program with pools of its own.
    println!("{}", settled(pool.enqueue(Again(vec!["both".into()]))).unwrap().lines().next().unwrap_or_default());
}

/// Each job in a worker of its own; the test changes the file between them.
fn start_again() {
    let pool = Pool::<Double>::builder(self_exec::<Double>()).max_processes(1).max_jobs_per_process(1);
    let pool = pool.build().unwrap();
    for line in io::stdin().lock().lines() {
        let n = line.unwrap().parse().unwrap();
        println!("{}", settled(pool.enqueue(Double(n))).unwrap());
    }
}

/// What a program does that is no worker: it builds its pool.
fn build_only() {
    let pool = Pool::<Double>::builder(self_exec::<Double>()).max_processes(2).start_failures(3).stderr(Stderr::Null);
    match pool.build() {
        Err(error) => {
            eprintln!("{:?}: {error}", error.kind());
            std::process::exit(12)
        }
        Ok(pool) => {
            let error = pool.wait_ready(WATCHDOG).unwrap_err();
            println!("{error}");
            println!("spawned {}", pool.stats().spawned);
        }
    }
}
