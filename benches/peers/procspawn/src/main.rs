//! procspawn, measured with the cases of `benches/pipe`. ../README.md says how it is started and what its figures mean.
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock, sleeps, and starts processes of its own")]

mod cases;
mod figure;
mod measure;

use cases::CASES;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, set_parent_process_death_signal};
use std::env;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::Duration;

const PEER: &str = "procspawn 1.0.2";

/// The argument of a process that measures one case; the case's name follows.
const ALONE: &str = "--alone";
const SHORT: &str = "--short";

/// How much is done.
#[derive(Clone, Copy)]
pub(crate) struct Measure {
    pub(crate) short: bool,
}

impl Measure {
    /// One of two, by whether this is a short run.
    pub(crate) fn of<T>(self, full: T, short: T) -> T {
        if self.short { short } else { full }
    }
}

fn main() -> ExitCode {
    procspawn::ProcConfig::new().pass_args(false).init();
    let mut arguments: Vec<String> = env::args().skip(1).collect();
    let all = arguments.len();
    arguments.retain(|argument| argument != SHORT);
    let measure = Measure { short: arguments.len() < all };

    if let [first, name] = &arguments[..]
        && first == ALONE
    {
        return alone(name, measure);
    }
    if let Some(other) = arguments.iter().find(|name| CASES.iter().all(|case| case.name != **name)) {
        let known: Vec<_> = CASES.iter().map(|case| case.name).collect();
        eprintln!("there is no case or option {other}; the cases are {}", known.join(", "));
        return ExitCode::from(2);
    }
    println!(r#"{{"peer":"{PEER}"}}"#);
    for case in CASES.iter().filter(|case| arguments.is_empty() || arguments.iter().any(|name| name == case.name)) {
        if let Err(why) = in_a_process(case.name, measure) {
            println!("{}", figure::cannot(case.name, &why));
        }
    }
    ExitCode::SUCCESS
}

/// Measures a case in a process and a process group of its own, none of which outlives the limit of time.
fn in_a_process(case: &str, measure: Measure) -> Result<(), String> {
    let limit = Duration::from_secs(measure.of(300, 120));
    let mut command = Command::new(env::current_exe().map_err(|error| error.to_string())?);
    command.args([ALONE, case]).args(measure.short.then_some(SHORT)).process_group(0);
    let mut child = command.spawn().map_err(|error| error.to_string())?;

    let exit = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).map_err(|error| error.to_string())?;
    let limit_left = Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: 0 };
    poll(&mut [PollFd::new(&exit, PollFlags::IN)], Some(&limit_left)).map_err(|error| error.to_string())?;
    let status = child.try_wait().map_err(|error| error.to_string())?;
    // There may be nobody left in it.
    let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
    match status {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(format!("it ended with {status}")),
        None => {
            // It was killed just now.
            let _ = child.wait();
            Err(format!("it did not end within {} s", limit.as_secs()))
        }
    }
}

/// The main of such a process.
fn alone(name: &str, measure: Measure) -> ExitCode {
    // Its parent cannot kill it when it is itself interrupted.
    set_parent_process_death_signal(Some(Signal::KILL)).expect("a signal can be asked for");
    let Some(case) = CASES.iter().find(|case| case.name == name) else {
        return ExitCode::FAILURE;
    };
    for line in (case.run)(measure) {
        println!("{line}");
    }
    ExitCode::SUCCESS
}
