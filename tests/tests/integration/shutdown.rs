//! `examples/shutdown.rs`, stopped as a person and as a service manager stop it. What it counts is a named pipe: the job lasts
//! until the test has written to it.

use hirelings_tests::{Scratch, eventually, processes, program};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::fs;
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

struct Counting {
    program: Child,
    names: Option<ChildStdin>,
    said: Lines<BufReader<ChildStdout>>,
}

impl Counting {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(program("examples").join("shutdown"));
        let mut program = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(program.stdout.take().unwrap()).lines();
        Counting { names: program.stdin.take(), program, said }
    }

    /// Has the program count a named pipe, and waits until a worker has begun.
    fn begins(&mut self, pipe: &Scratch) {
        mknodat(CWD, pipe.path(), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        self.name(pipe);
        self.says(&format!("{}: begun", pipe.path().display()));
    }

    fn name(&mut self, file: &Scratch) {
        writeln!(self.names.as_mut().unwrap(), "{}", file.path().display()).unwrap();
    }

    fn says(&mut self, line: &str) {
        assert_eq!(self.said.next().unwrap().unwrap(), line);
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.program.id().to_string()]).status().unwrap().success());
    }

    fn ends(mut self) -> ExitStatus {
        eventually("the program ends", || self.program.try_wait().unwrap().is_some());
        assert_eq!(self.said.next().map(Result::unwrap), None);
        self.program.wait().unwrap()
    }
}

#[test]
fn the_end_of_the_names_is_the_end() {
    let (mut counting, file) = (Counting::start(&[]), Scratch::new());
    fs::write(file.path(), "one\ntwo\n").unwrap();
    counting.name(&file);
    counting.names = None;
    counting.says(&format!("{}: begun", file.path().display()));
    counting.says(&format!("{}: 2 lines", file.path().display()));
    counting.says("1 files were counted, 0 given up");
    assert!(counting.ends().success());
}

#[test]
fn one_signal_finishes_what_was_begun() {
    for signal in ["-INT", "-TERM"] {
        let (mut counting, pipe) = (Counting::start(&[]), Scratch::new());
        counting.begins(&pipe);
        counting.signal(signal);
        counting.says(&format!("SIG{}: finishing, for 25s at most; once more ends it now", &signal[1..]));
        // No more is taken.
        counting.name(&pipe);
        fs::write(pipe.path(), "one\ntwo\nthree\n").unwrap();
        counting.says(&format!("{}: 3 lines", pipe.path().display()));
        counting.says("1 files were counted, 0 given up");
        assert!(counting.ends().success());
    }
}

#[test]
fn the_second_signal_ends_it_at_once() {
    let (mut counting, pipe) = (Counting::start(&["3600"]), Scratch::new());
    counting.begins(&pipe);
    let workers = processes::children_of(counting.program.id());
    assert!(!workers.is_empty());
    counting.signal("-TERM");
    counting.says("SIGTERM: finishing, for 3600s at most; once more ends it now");
    counting.signal("-INT");
    counting.says(&format!("{}: the pool was closed before the job was done", pipe.path().display()));
    counting.says("0 files were counted, 1 given up");
    assert_eq!(counting.ends().code(), Some(1));
    assert!(workers.into_iter().all(|pid| processes::of_group(pid).is_empty()));
}

#[test]
fn what_takes_longer_than_the_limit_is_given_up() {
    let (mut counting, pipe) = (Counting::start(&["0"]), Scratch::new());
    counting.begins(&pipe);
    counting.signal("-TERM");
    counting.says("SIGTERM: finishing, for 0ns at most; once more ends it now");
    counting.says(&format!("{}: the pool was closed before the job was done", pipe.path().display()));
    counting.says("0 files were counted, 1 given up");
    assert_eq!(counting.ends().code(), Some(1));
}

/// What systemd does by default, and why the unit says `KillMode=mixed`.
#[test]
fn a_signal_to_the_workers_too_costs_their_jobs() {
    let (mut counting, pipe) = (Counting::start(&[]), Scratch::new());
    counting.begins(&pipe);
    let workers = processes::children_of(counting.program.id());
    counting.signal("-TERM");
    counting.says("SIGTERM: finishing, for 25s at most; once more ends it now");
    for worker in workers {
        let _ = Command::new("kill").args(["-TERM", &worker.to_string()]).status();
    }
    let lost = counting.said.next().unwrap().unwrap();
    assert!(lost.contains("was killed by SIGTERM"), "{lost}");
    counting.says("0 files were counted, 0 given up");
    assert!(counting.ends().success());
}

/// What systemd gives the program is more than it takes for itself: the limit of its drain and the workers' grace time.
#[test]
fn the_unit_in_the_manual_gives_the_drain_its_time() {
    let manual = include_str!("../../../docs/shutdown.md");
    let seconds = |key: &str| -> f64 {
        let line = manual.lines().find(|line| line.starts_with(key)).unwrap();
        line.rsplit(['=', ' ']).next().unwrap().parse().unwrap()
    };
    let kill_grace = 0.5;
    assert!(seconds("TimeoutStopSec=") > seconds("ExecStart=") + kill_grace);
    assert!(manual.lines().any(|line| line == "KillMode=mixed"));
}
