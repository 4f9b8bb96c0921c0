//! Programs that are their own workers.

use hirelings::{BuildErrorKind, Job, NoError, Pool, self_exec};
use hirelings_tests::program;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

fn selves(mode: &str) -> Vec<String> {
    printed(Command::new(program("selves")).arg(mode))
}

fn printed(command: &mut Command) -> Vec<String> {
    let output = command.output().unwrap();
    let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{errors}", output.status);
    out.lines().map(str::to_owned).collect()
}

#[test]
fn one_executable_serves_several_job_types() {
    let lines = selves("both");
    // Its workers have no arguments, and the real path as their name.
    assert_eq!(lines, ["42", program("selves").to_str().unwrap()]);
}

#[test]
fn what_a_handler_spawns_is_no_worker() {
    let lines = selves("spawning");
    // The worker itself knows what it is, before `init` and in its handler; none of the others takes itself for one,
    // though each has the mark in its environment.
    assert_eq!(lines[0], "a worker of Again, a worker of Again");
    assert_eq!(lines[1..4], ["no worker"; 3]);
    assert_eq!(lines[4..], ["a worker of Again, a worker of Again", "42"]);
}

#[test]
fn a_worker_that_a_shell_starts_knows_what_it_is() {
    assert_eq!(selves("through a shell"), ["a worker of Again, a worker of Again"; 2]);
}

#[test]
#[cfg(target_os = "linux")]
fn workers_have_the_programs_name_and_are_not_exe() {
    assert_eq!(selves("comm"), ["selves"]);
}

#[test]
fn a_forgotten_init_is_an_error_and_no_fork_bomb() {
    let lines = printed(Command::new(program("selves")).env("FORGETFUL", "yes"));
    let (last, error) = lines.split_last().unwrap();
    let error = error.join("\n");
    assert!(error.contains("NotAWorker") && error.contains("worker::init"), "{error}");
    assert!(error.contains("selves") && error.contains("exited with status 12"), "{error}");
    // Two slots with three failures at most, the first slot's perhaps before anybody waited: nobody has started another.
    let spawned: u32 = last.strip_prefix("spawned ").unwrap().parse().unwrap();
    assert!((3..=9).contains(&spawned), "{spawned}");
}

#[test]
fn a_build_in_a_process_that_is_marked_is_refused() {
    let mut command = Command::new(program("selves"));
    let output = command.env("HIRELINGS_WORKER", "some::OtherJob").output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(12), "{error}");
    assert!(error.starts_with("NotAWorker: ") && error.contains("some::OtherJob"), "{error}");
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Square(u64);

impl Job for Square {
    type Output = u64;
    type Progress = ();
    type Error = NoError;
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Cube(u64);

impl Job for Cube {
    type Output = u64;
    type Progress = ();
    type Error = NoError;
}

#[test]
fn a_test_harness_is_refused_as_its_own_worker() {
    // On the thread of a test, and on another.
    let refused = || Pool::<Square>::self_exec().build().unwrap_err();
    let launched = Pool::<Square>::builder_with(|_| self_exec::<Square>()).build().unwrap_err();
    assert_eq!(launched.kind(), BuildErrorKind::Spawn);
    let direct = [refused(), std::thread::spawn(refused).join().unwrap()];
    assert!(direct.iter().all(|error| error.kind() == BuildErrorKind::NotAWorker));
    for error in direct.into_iter().chain([launched]) {
        let error = error.to_string();
        assert!(error.contains("test harness") && error.contains("CARGO_BIN_EXE_"), "{error}");
        assert!(error.contains(Square::name()), "{error}");
    }
}

#[test]
fn another_type_of_jobs_is_refused_at_once() {
    let error = Pool::<Square>::builder(self_exec::<Cube>()).build().unwrap_err();
    assert_eq!(error.kind(), BuildErrorKind::Options);
    let error = error.to_string();
    assert!(error.contains(Square::name()) && error.contains(Cube::name()), "{error}");
}

/// A program that finds out by itself that it is a worker, and calls `init` in none but its workers.
#[test]
fn a_program_may_branch_before_init() {
    assert_eq!(selves("branches"), ["42"]);
}

/// A second name of the program, beside it; removed in the end.
struct Link(PathBuf);

impl Link {
    fn new(name: &str) -> Self {
        let path = program(&format!("{name}-{}", std::process::id()));
        let _ = fs::remove_file(&path);
        // Not a copy: a file that was just written cannot be executed while some other child still has it open.
        fs::hard_link(program("selves"), &path).unwrap();
        Link(path)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn workers_start_though_the_executable_is_gone() {
    let link = Link::new("selves-replaced");
    let mut child = Command::new(&link.0);
    let mut child = child.arg("start again").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut double = |n: u64| {
        writeln!(input, "{n}").unwrap();
        assert_eq!(output.next().unwrap().unwrap(), (2 * n).to_string());
    };
    double(1);
    // As a build does it: the new file takes the place of the old.
    let other = Link::new("selves-new");
    fs::remove_file(&other.0).unwrap();
    fs::hard_link("/bin/false", &other.0).or_else(|_| fs::write(&other.0, "no program")).unwrap();
    fs::rename(&other.0, &link.0).unwrap();
    (2..5).for_each(&mut double);
    fs::remove_file(&link.0).unwrap();
    (5..8).for_each(&mut double);
    drop(input);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_worker_program_started_by_hand_says_what_it_is() {
    let output = Command::new(program("worker")).stdin(Stdio::null()).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2));
    assert!(error.contains("this program is a worker, which a pool starts"), "{error}");
}
