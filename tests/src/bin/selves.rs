//! A program that is its own worker, of two job types; what it does as the parent is its first argument.

use hirelings::{Job, NoError, Pool, Stderr, self_exec, worker};
use hirelings_tests::{WATCHDOG, settled};
use serde::{Deserialize, Serialize};
use std::io::BufRead;
use std::process::{Child, Command, Stdio};
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

/// What this process takes itself for, before any `init`.
fn what() -> &'static str {
    match (worker::is_worker::<Double>(), worker::is_worker::<Again>()) {
        (true, true) => "both",
        (true, false) => "a worker of Double",
        (false, true) => "a worker of Again",
        (false, false) => "no worker",
    }
}

fn main() {
    // Reads and writes the environment's lock as a runtime's threads may, while `init` looks at it.
    std::thread::spawn(|| (0..10_000).for_each(|_| drop(env::var_os("PATH"))));
    if env::args().nth(1).as_deref() == Some("branches") {
        return branches();
    }
    let before = what();
    // As if its author had forgotten them.
    if env::var_os("FORGETFUL").is_none() {
        worker::init(|Double(n), _| Ok(2 * n));
        worker::init(move |Again(arguments), _| again(&arguments, before));
    }
    let mode = env::args().nth(1).unwrap_or_default();
    match mode.as_str() {
        "what" => println!("{}", what()),
        "both" => both(),
        "comm" => comm(),
        "spawning" => spawning(),
        // What a handler starts has workers of its own, which know what they are.
        "nested" => {
            let pool = Pool::<Again>::self_exec().max_processes(1).build().unwrap();
            println!("{}", settled(pool.enqueue(Again(vec!["self".into()]))).unwrap());
        }
        "through a shell" => through_a_shell(),
        "start again" => start_again(),
        _ => build_only(),
    }
}

fn again(arguments: &[String], before: &str) -> Result<String, String> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let exe = env::current_exe().map_err(|error| error.to_string())?;
    let mut command = match words[..] {
        ["name"] => return Ok(env::args().collect::<Vec<_>>().join(" ")),
        ["comm"] => return std::fs::read_to_string("/proc/self/comm").map_err(|error| error.to_string()),
        ["self"] => return Ok(format!("{before}, {}", what())),
        ["through a shell", argument] => {
            let mut shell = Command::new("sh");
            shell.args(["-c", "\"$0\" \"$1\"; :"]).arg(exe).arg(argument);
            shell
        }
        ["with a pipe of its own", argument] => {
            let mut command = Command::new(exe);
            command.arg(argument).stdin(Stdio::piped());
            command
        }
        _ => {
            let mut command = Command::new(exe);
            // Standard input is inherited.
            command.args(arguments).stdin(Stdio::inherit());
            command
        }
    };
    let output = command.stdout(Stdio::piped()).spawn().and_then(Child::wait_with_output);
    let output = output.map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

/// Its workers are known by an argument, and the parent never calls `init` or `is_worker`.
fn branches() {
    if env::args().nth(2).is_some() {
        worker::serve(|Double(n), _| Ok(2 * n));
    }
    let mut command = self_exec::<Double>();
    command.args(["branches", "worker"]);
    let pool = Pool::<Double>::builder(command).max_processes(1).build().unwrap();
    println!("{}", settled(pool.enqueue(Double(21))).unwrap());
}

/// Workers that a shell starts: standard input is the same pipe.
fn through_a_shell() {
    let marked = self_exec::<Again>();
    let (name, value) = marked.get_envs().next().unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", "\"$0\""]).arg(env::current_exe().unwrap()).env(name, value.unwrap());
    let pool = Pool::<Again>::builder(shell).max_processes(1).build().unwrap();
    for _ in 0..2 {
        println!("{}", settled(pool.enqueue(Again(vec!["self".into()]))).unwrap());
    }
}

fn both() {
    let doubles = Pool::<Double>::builder(self_exec::<Double>()).max_processes(2).build().unwrap();
    let agains = Pool::<Again>::builder(self_exec::<Again>()).max_processes(1).build().unwrap();
    println!("{}", settled(doubles.enqueue(Double(21))).unwrap());
    println!("{}", settled(agains.enqueue(Again(vec!["name".into()]))).unwrap());
}

fn comm() {
    let pool = Pool::<Again>::self_exec().max_processes(1).build().unwrap();
    println!("{}", settled(pool.enqueue(Again(vec!["comm".into()]))).unwrap().trim_end());
}

fn spawning() {
    let pool = Pool::<Again>::builder(self_exec::<Again>()).max_processes(1).build().unwrap();
    for words in [
        vec!["self"],
        vec!["what"],
        vec!["through a shell", "what"],
        vec!["with a pipe of its own", "what"],
        vec!["through a shell", "nested"],
    ] {
        let words = words.into_iter().map(str::to_owned).collect();
        println!("{}", settled(pool.enqueue(Again(words))).unwrap());
    }
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
