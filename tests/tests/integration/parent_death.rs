//! However the pool's process ends, its workers and all of their process groups end within a second.

use hirelings_tests::{Gate, eventually, processes, program, within};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

/// A second, and some for a machine that is busy.
const A_SECOND: Duration = Duration::from_secs(3);

/// Lets a program with six workers come to its `end`, or sends it a signal; then nobody is left.
fn leaves_nobody(end: &str, signal: Option<&str>) {
    let gate = Gate::new();
    let mut command = Command::new(program("parent"));
    command.arg(end).arg(gate.path());
    leaves_nobody_of(command, end, signal, RUST);
}

/// Six workers, and a child of each of four; the shell that stopped the group of one of them is stopped with it.
const RUST: usize = 11;
/// Workers of the kit in Python have a second process each.
const PYTHON: usize = RUST + 6;

/// The same with workers of the kit in Python or in Node.
pub(super) fn leaves_nobody_of_kit(kit: &str, end: &str, signal: Option<&str>) {
    let gate = Gate::new();
    let mut command = Command::new(program("parent"));
    command.arg(end).arg(gate.path()).arg(kit);
    leaves_nobody_of(command, end, signal, if kit == "python" { PYTHON } else { RUST });
}

/// The same where the orphans stay in the session of their parent: in a container, say. A group whose new parent is in its
/// session is not orphaned, and the system does not let what is stopped in it go on.
pub(super) fn leaves_nobody_under_a_reaper(kit: &str) {
    let gate = Gate::new();
    let mut command = Command::new(program("host"));
    command.args(["reaper", "kill itself"]).arg(gate.path()).arg(kit);
    leaves_nobody_of(command, "under a reaper", None, if kit == "python" { PYTHON } else { RUST });
}

fn leaves_nobody_of(mut command: Command, end: &str, signal: Option<&str>, processes_at_first: usize) {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut parent = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(parent.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let groups: Vec<u32> = line.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(groups.len(), 6, "{line:?}");
    let alive = || groups.iter().map(|&group| processes::of_group(group).len()).collect::<Vec<_>>();
    // The shell that stopped one of them may take a moment more to end.
    eventually("six workers and their children", || alive().iter().sum::<usize>() == processes_at_first);

    parent.stdin.take().unwrap().write_all(b"\n").unwrap();
    if let Some(signal) = signal {
        Command::new("kill").args([signal, &parent.id().to_string()]).status().unwrap();
    }
    // A reaper waits for all of them itself; any other parent has ended before the second begins.
    if !end.starts_with("under") {
        parent.wait().unwrap();
    }
    let ended = within(A_SECOND, || alive().iter().all(|&count| count == 0));
    let left: Vec<String> = groups.iter().flat_map(|&group| processes::of_group(group)).map(described).collect();
    for &group in &groups {
        processes::of_group(group).into_iter().for_each(processes::kill);
    }
    parent.wait().unwrap();
    assert!(ended, "{end}: processes left in the groups: {left:?}");
}

/// Its name, its state, and the signals that it waits for or blocks.
fn described(pid: u32) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let wanted = ["Name", "State", "PPid", "SigPnd", "ShdPnd", "SigBlk"];
    let lines = status.lines().filter(|line| wanted.iter().any(|start| line.starts_with(start)));
    lines.collect::<Vec<_>>().join(", ").replace('\t', " ")
}

#[test]
fn nobody_is_left_when_the_parent_is_killed() {
    leaves_nobody("wait", Some("-KILL"));
}

#[test]
fn nobody_is_left_when_the_parent_kills_itself() {
    leaves_nobody("kill itself", None);
}

#[test]
fn nobody_is_left_when_the_parent_is_terminated() {
    leaves_nobody("wait", Some("-TERM"));
}

#[test]
fn nobody_is_left_when_the_parent_is_interrupted() {
    leaves_nobody("wait", Some("-INT"));
}

#[test]
fn nobody_is_left_when_the_parent_aborts() {
    leaves_nobody("abort", None);
}

#[test]
fn nobody_is_left_when_the_parent_panics() {
    leaves_nobody("panic", None);
}

#[test]
fn nobody_is_left_when_it_exits_without_destructors() {
    leaves_nobody("exit", None);
    leaves_nobody("forget", None);
}

#[test]
fn nobody_is_left_when_the_parent_returns() {
    leaves_nobody("return", None);
}

#[test]
fn nobody_is_left_where_orphans_stay_in_their_session() {
    leaves_nobody_under_a_reaper("");
}
