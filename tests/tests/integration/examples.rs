//! The examples, as a person runs them. `thumbnails`, `shutdown`, `parallel` and `two_levels` have files of their own;
//! `programs.rs` has those that show how a whole program is put together.

use super::python_kit::has_python;
use hirelings::EventKind;
use hirelings_tests::{Scratch, eventually, program};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::{env, fs};

/// The examples that are run here.
const RUN: [&str; 17] = [
    "hash_files",
    "pillow",
    "smallest",
    "separate_worker",
    "renderer",
    "events",
    "abort_and_timeout",
    "progress_bar",
    "ssh",
    "markdown",
    "node_hirelings",
    "word_count",
    "test_runner",
    "first_prime",
    "hostile",
    "service",
    "crawler",
];

pub(super) fn example(name: &str) -> Command {
    assert!(RUN.contains(&name));
    let program = program("examples").join(name);
    assert!(program.exists(), "{} is not built: run bare `cargo test`, which builds it too", program.display());
    Command::new(program)
}

/// What it said and how it ended. It says less than a pipe holds.
pub(super) fn output(command: &mut Command) -> Output {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("the example ends", || child.try_wait().unwrap().is_some());
    child.wait_with_output().unwrap()
}

/// What it said, where all went well.
pub(super) fn said(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = output(command);
    let (said, complained) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
    assert!(status.success() && complained.is_empty(), "{status}\n{said}\n{complained}");
    said
}

#[test]
fn every_example_is_run_by_a_test() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let names: BTreeSet<String> = names.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    let elsewhere = ["parallel", "shutdown", "thumbnails", "two_levels"];
    assert_eq!(names, RUN.into_iter().chain(elsewhere).map(str::to_owned).collect());
}

#[test]
fn smallest() {
    assert_eq!(said(&mut example("smallest")), "49\n");
}

#[test]
fn hash_files() {
    if !has_python() {
        return;
    }
    let scratch = Scratch::new();
    fs::write(scratch.path(), "abc").unwrap();
    let said = said(example("hash_files").arg(scratch.path()).arg("/no/such/file").arg(scratch.path()));
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad 3 bytes\n";
    assert_eq!(said, format!("{abc}/no/such/file: No such file or directory\n{abc}"));
}

#[test]
fn pillow() {
    if !has_python() {
        return;
    }
    if !Command::new("python3").args(["-c", "import PIL"]).output().unwrap().status.success() {
        // `.ci/run` has it: it skips nothing.
        assert!(env::var_os("HIRELINGS_SKIP_NOTHING").is_none(), "python3 has no Pillow");
        println!("skipped: python3 has no Pillow on this machine");
        return;
    }
    let said = said(&mut example("pillow"));
    assert_eq!(said, "400 × 300 became 64 × 48\n30 × 20 became 30 × 20\n100 × 1000 became 6 × 64\n");
}

#[test]
fn markdown() {
    if Command::new("node").arg("--version").output().is_err() {
        println!("skipped: there is no node on this machine");
        return;
    }
    let html = [
        "<h1>A work queue</h1>",
        "<p>On <i>child</i> processes.</p>",
        "<ul><li>a <b>crash</b></li><li>costs <code>one</code> job</li></ul>",
        "<p>1 &lt; 2 &amp; so on</p>",
    ];
    assert_eq!(said(&mut example("markdown")), html.join("\n") + "\n");
}

#[test]
fn separate_worker() {
    let said = said(&mut example("separate_worker"));
    for line in [
        "page 1: page 1 is empty",
        "page 2: 10 lines, the first \"It is a truth universally acknowledged,\"",
        "page 12: 1 lines, the first \"A short one.\"",
        "  0 % of the long one",
    ] {
        assert!(said.lines().any(|said| said == line), "no {line:?} in:\n{said}");
    }
    let last = said.lines().last().unwrap();
    assert!(last.starts_with("80 lines, by a worker that has done "), "{last}");
}

#[test]
fn the_worker_program_started_by_hand_says_what_it_is() {
    let Output { status, stderr, .. } = output(&mut example("renderer"));
    assert_eq!(status.code(), Some(2));
    let complained = String::from_utf8(stderr).unwrap();
    assert!(complained.contains("this program is a worker, which a pool starts"), "{complained}");
}

#[test]
fn events() {
    let said = said(&mut example("events"));
    for kind in EventKind::ALL {
        // Nobody asked for all workers, the log keeps up, and workers are started by exec.
        let unexpected =
            [EventKind::Ready, EventKind::Lagged, EventKind::ForkServerSpawned, EventKind::ForkServerExited];
        let expected = !unexpected.contains(kind);
        let told = said.lines().any(|line| line.split(' ').next() == Some(&format!("{kind:?}")));
        assert_eq!(told, expected, "{kind:?} in:\n{said}");
    }
    for part in [
        "bytes=4, which says 2",
        ": there is nothing to be done\n",
        "panicked while it did job 3 (panics)",
        "exited with status 3 while it did job 4 (exits)",
        ": about to leave without an answer",
        "working for more than 2s",
        "-- nothing more to do",
    ] {
        assert!(said.contains(part), "no {part:?} in:\n{said}");
    }
}

#[test]
fn abort_and_timeout() {
    let said = said(&mut example("abort_and_timeout"));
    let elsewhere = "aborted from elsewhere: nobody wants it any more\n".repeat(4);
    assert_eq!(
        said,
        format!(
            "over its limit: given up after 300ms\nwithin it: it has the factor 1000003\n\
             aborted by its caller: nobody wants it any more\n{elsewhere}\
             after all that: it has the factor 7\n8 jobs, 5 aborted, 1 workers timed out\n"
        )
    );
}

#[test]
fn progress_bar() {
    assert_eq!(said(&mut example("progress_bar")), "20 sums, 15799921000000 in all, 3 tried twice\n");
}

#[test]
fn ssh_without_hosts_says_what_it_would_do() {
    let said = said(&mut example("ssh"));
    assert!(said.starts_with("\"ssh\" ") && said.contains(" \"--\" \"user@host\" \"exec "), "{said}");
    assert!(said.ends_with("give it hosts to see it done\n"), "{said}");
}

#[test]
fn ssh_does_jobs_on_each_host() {
    // `ssh` there stands in for it, and runs the command here.
    let stand_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("workers");
    let path = env::join_paths([stand_in].into_iter().chain(env::split_paths(&env::var_os("PATH").unwrap()))).unwrap();
    let said = said(example("ssh").args(["one", "two"]).env("PATH", path));
    let answers: Vec<&str> = said.lines().filter(|line| line.starts_with("process ")).collect();
    assert_eq!(answers.len(), 12, "{said}");
    // Dispatched to whichever is free, so it need not be all three.
    let workers: BTreeSet<&str> = answers.into_iter().collect();
    assert!(workers.len() <= 3, "{said}");
}
