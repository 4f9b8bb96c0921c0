//! Programs in poor circumstances: SIGCHLD ignored, streams closed, nothing left to start a process with.

use hirelings_tests::signals::Target;
use hirelings_tests::{Gate, Scratch, WATCHDOG, eventually, processes, program, within};
use rustix::process::Signal;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// What the host program printed, run by a shell that does this first.
fn hosted(circumstances: &str, mode: &str) -> Vec<String> {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(circumstances).arg(program("host")).arg(mode);
    printed(shell.stdin(Stdio::null()).output().unwrap())
}

fn printed(output: Output) -> Vec<String> {
    let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{errors}", output.status);
    out.lines().map(str::to_owned).collect()
}

/// All that is usual works, a crash's status apart.
fn all_is_usual(lines: &[String], crash: &str) {
    assert_eq!(lines[..5], ["0", "1", "2", "3", "4"]);
    assert!(lines[5].contains(crash) && lines[5].contains("while it did job"), "{}", lines[5]);
    assert!(lines[6].contains("panicked") && lines[6].ends_with(": oh"), "{}", lines[6]);
    assert_eq!(lines[7..], ["true", "1048576", "children 0"]);
}

#[test]
fn usual_circumstances() {
    all_is_usual(&hosted("exec \"$0\" \"$1\"", "work"), "exited with status 3");
}

#[test]
fn sigchld_is_ignored() {
    let lines = hosted("exec env --ignore-signal=CHLD \"$0\" \"$1\"", "work");
    // A fork server has the default for itself, and knows how its workers end.
    let forks = std::env::var(hirelings_tests::START).as_deref() == Ok("fork");
    all_is_usual(&lines, if forks { "exited with status 3" } else { "ended, with a status that is not known" });
}

#[test]
fn other_signals_are_ignored() {
    all_is_usual(&hosted("trap '' HUP INT TERM PIPE; exec \"$0\" \"$1\"", "work"), "exited with status 3");
}

#[test]
fn standard_input_is_closed() {
    all_is_usual(&hosted("exec \"$0\" \"$1\" <&-", "work"), "exited with status 3");
}

#[test]
fn standard_error_is_closed() {
    all_is_usual(&hosted("exec \"$0\" \"$1\" 2>&-", "work"), "exited with status 3");
    assert_eq!(hosted("exec \"$0\" \"$1\" 2>&-", "forward"), Vec::<String>::new());
}

#[test]
fn exit_returns_though_standard_error_is_a_full_pipe() {
    let mut host = Command::new(program("host"));
    let host = host.arg("full").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut host = host.unwrap();
    // Held open, and not read before the end.
    let mut errors = host.stderr.take().unwrap();
    let ended = within(WATCHDOG, || host.try_wait().unwrap().is_some());
    host.kill().unwrap();
    let lines = printed(host.wait_with_output().unwrap());
    assert!(ended && lines == ["done", "left"], "{lines:?}");
    // What the pipe took is whole lines, in their order.
    let mut taken = String::new();
    errors.read_to_string(&mut taken).unwrap();
    let expected: String = (1..=20_000).map(|n| format!("{n}\n")).collect();
    assert!(taken.len() > 4096 && taken.ends_with('\n') && expected.starts_with(&taken), "{} bytes", taken.len());
}

#[test]
fn nobody_reads_the_forwarded_standard_error() {
    // Its reader is gone: each write fails.
    let lines = hosted("exec 3>&1; { \"$0\" \"$1\" 2>&1 >/dev/null && echo survived >&3; } | true", "forward");
    assert_eq!(lines, ["survived"]);
}

#[test]
fn there_is_no_environment() {
    all_is_usual(&hosted("exec env -i \"$0\" \"$1\"", "work"), "exited with status 3");
}

#[test]
fn descriptors_run_out_for_a_while() {
    let lines = hosted("exec \"$0\" \"$1\"", "descriptors");
    assert_eq!(lines[8..], ["failed 8", "recovered"]);
    assert!(lines[..8].iter().all(|line| line.contains("Too many open files")), "{lines:?}");
}

#[test]
fn processes_and_threads_run_out_for_a_while() {
    // The superuser does not feel the limit; a user of whom there is no other process does.
    let line = "exec setpriv --reuid 54321 --clear-groups \"$0\" \"$1\"";
    let mut reachable = Command::new("setpriv");
    reachable.args(["--reuid", "54321", "--clear-groups", "test", "-x"]);
    let reachable = reachable.arg(program("worker")).status();
    if !reachable.is_ok_and(|status| status.success()) {
        return println!("skipped: only the superuser can become somebody else, who must reach the worker program");
    }
    let lines = hosted(line, "processes");
    assert!(lines[0].starts_with("no worker would start") && lines[0].contains("unavailable"), "{lines:?}");
    assert!(lines[1].contains("could not be started"), "{lines:?}");
    assert_eq!(lines[2..], ["recovered"]);
}

/// What a program printed, which said nothing on standard error and ended with status 0.
fn silent(mode: &str) -> Vec<String> {
    let output = Command::new(program("host")).arg(mode).stdin(Stdio::null()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{}", output.status);
    printed(output)
}

#[test]
fn a_program_may_end_quietly_while_its_jobs_run() {
    assert_eq!(silent("leave"), ["10"]);
}

#[test]
fn a_program_that_drains_before_its_end_has_done_all() {
    assert_eq!(silent("drain"), ["0", "12"]);
}

#[test]
fn jobs_that_fail_write_nothing_to_standard_error() {
    assert_eq!(silent("failures"), ["5"]);
}

#[test]
fn the_environment_changes_while_workers_are_started() {
    assert_eq!(silent("environment"), ["40"]);
}

#[test]
fn the_default_size_obeys_the_programs_processors() {
    // A quarter more than one processor, rounded up.
    assert_eq!(silent("one processor"), ["2"]);
}

#[test]
fn a_worker_that_signals_its_group_spares_the_host() {
    // In a group of their own, so that it is not this one that is signalled if it is the host's.
    let mut host = Command::new(program("host"));
    let host = host.arg("exits").stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0).spawn().unwrap();
    let mut sibling = Command::new("sleep");
    let mut sibling = sibling.arg("1000").process_group(host.id().cast_signed()).spawn().unwrap();
    let output = host.wait_with_output().unwrap();
    let survived = processes::is_alive(sibling.id());
    sibling.kill().unwrap();
    sibling.wait().unwrap();
    assert_eq!(printed(output), ["exit status: 0", "exit status: 101", "exit status: 5"]);
    assert!(survived, "the host's sibling was killed");
}

#[test]
fn the_host_is_the_first_process_of_a_namespace() {
    // The group of the host is outside, and has no number here.
    let inside = |program: &Path| {
        let mut unshare = Command::new("unshare");
        unshare
            .args(["--pid", "--fork", "--mount-proc"])
            .arg(program)
            .arg("exits")
            .stdin(Stdio::null())
            .process_group(0);
        unshare
    };
    match inside(Path::new("true")).output() {
        Ok(output) if output.status.success() => {}
        other => return println!("SKIPPED: no process namespace can be made here: {other:?}"),
    }
    let output = inside(&program("host")).output().unwrap();
    assert_eq!(printed(output), ["exit status: 0", "exit status: 101", "exit status: 5"]);
}

#[test]
fn a_program_stopped_past_a_limit_finds_what_was_done() {
    let (mut in_time, too_late, notes) = (Gate::new(), Gate::new(), Scratch::new());
    let limit = Duration::from_secs(8);
    let mut command = Command::new(program("host"));
    command
        .arg("stopped")
        .arg(in_time.path())
        .arg(too_late.path())
        .arg(limit.as_millis().to_string())
        .arg(notes.path());
    let mut host = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(host.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.next().as_deref(), Some("begun"));
    let stopped = Instant::now();
    let target = Target::of(host.id()).unwrap();
    assert!(target.send(Signal::STOP));
    eventually("it is stopped", || processes::is_stopped(host.id()));
    in_time.open();
    eventually("its workers have done their jobs", || notes.lines() == ["done"; 16]);
    eventually("the limit is over", || stopped.elapsed() > limit + Duration::from_millis(200));
    assert!(target.send(Signal::CONT));
    assert_eq!(lines.by_ref().take(16).collect::<Vec<_>>(), ["done"; 16]);
    let other = lines.next().unwrap();
    assert!(other.contains("8s"), "{other}");
    assert!(host.wait().unwrap().success());
}
