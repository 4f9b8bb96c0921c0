//! The views, in a real terminal: tmux's.

use crate::tools;
use hirelings_observe::Top;
use hirelings_tests::{Do, Gate, eventually, pool, program};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A terminal of 100 columns and 24 rows that runs a shell command, and stays when that has ended.
struct Terminal {
    socket: String,
}

impl Terminal {
    fn run(name: &str, command: &str) -> Terminal {
        let socket = format!("hirelings-{name}-{}", std::process::id());
        let terminal = Terminal { socket };
        let size = ["-x", "100", "-y", "24"];
        let kept = format!("{command}; echo \"ended with $?\"; exec sleep 1000");
        let started =
            terminal.tmux().args(["-f", "/dev/null", "new-session", "-d"]).args(size).arg(kept).status().unwrap();
        assert!(started.success());
        terminal
    }

    fn tmux(&self) -> Command {
        let mut tmux = Command::new("tmux");
        tmux.args(["-L", &self.socket]).env_remove("TMUX").stdin(Stdio::null());
        tmux
    }

    /// What is to be seen.
    fn seen(&self) -> String {
        String::from_utf8(self.tmux().args(["capture-pane", "-p"]).output().unwrap().stdout).unwrap()
    }

    fn resize(&self, columns: u32, rows: u32) {
        let size = ["-x", &columns.to_string(), "-y", &rows.to_string()];
        assert!(self.tmux().arg("resize-window").args(size).status().unwrap().success());
    }

    fn keys(&self, keys: &str) {
        assert!(self.tmux().args(["send-keys", keys]).status().unwrap().success());
    }

    fn until(&self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        eventually(what, || is_so(&self.seen()));
        self.seen()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the terminal shows:\n{}", self.seen());
        }
        let _ = self.tmux().arg("kill-server").status();
    }
}

fn parallel() -> PathBuf {
    let example = program("examples/parallel");
    assert!(example.exists(), "{} is not built: run bare `cargo test`, which builds it too", example.display());
    example
}

/// A command that waits until a file is there, in the shell.
fn waits_for(gate: &Path) -> String {
    format!("while [ ! -e {} ]; do sleep 0.05; done", gate.display())
}

#[test]
fn top_shows_each_worker_and_leaves_a_line_of_figures() {
    if !tools::there("Top in a terminal", &["tmux"]) {
        return;
    }
    let folder = tools::folder("top");
    let gate = folder.join("gate");
    let command = format!(
        "{} -j 3 --top 'echo line {{}}; [ {{}} = 2 ] && exit 3; [ {{}} -lt 4 ] || {}' ::: 1 2 3 4 5 6 7 8",
        parallel().display(),
        waits_for(&gate).replace('\'', "'\\''")
    );
    let terminal = Terminal::run("top", &command);
    let seen = terminal.until("three workers work", |seen| seen.matches(" working ").count() == 3);
    for part in ["parallel ━", "3/", "1 failed", "worker process  state", "memory", "exited with status 3", " M "] {
        assert!(seen.contains(part), "no {part:?} in:\n{seen}");
    }
    // What was printed stands above it, once.
    assert!(
        ["line 1", "line 2", "line 3"].iter().all(|line| seen.lines().filter(|of| of == line).count() == 1),
        "{seen}"
    );
    let headline = seen.lines().position(|line| line.starts_with("parallel ━")).unwrap();
    assert!(seen.lines().position(|line| line == "line 3").unwrap() < headline, "{seen}");

    // In a smaller terminal it is no higher than that, and is drawn anew.
    terminal.resize(60, 8);
    terminal.until("it fits", |seen| seen.contains("parallel ━") && seen.contains(" working "));
    terminal.resize(100, 24);
    fs::write(&gate, "").unwrap();
    let seen = terminal.until("it ends", |seen| seen.contains("ended with 1"));
    assert!(seen.contains("parallel: 7 of 8 jobs succeeded, 1 failed"), "{seen}");
}

#[test]
fn top_goes_away_when_it_ends() {
    if !tools::there("Top in a terminal", &["tmux"]) {
        return;
    }
    let gate = tools::folder("top_ends").join("gate");
    let command = format!("{} -j 2 --top '{}; echo line {{}}' ::: 1 2 3", parallel().display(), waits_for(&gate));
    let terminal = Terminal::run("top-ends", &command);
    terminal.until("two workers work", |seen| seen.matches(" working ").count() == 2);
    fs::write(&gate, "").unwrap();
    let seen = terminal.until("it ends", |seen| seen.contains("ended with 0"));
    let mut lines: Vec<&str> = seen.lines().filter(|line| !line.is_empty()).collect();
    lines[..3].sort_unstable();
    assert_eq!(lines[..3], ["line 1", "line 2", "line 3"], "{seen}");
    assert!(lines[3].starts_with("parallel: 3 of 3 jobs succeeded, 0 failed; 0 wait, 0 of 0 workers busy"), "{seen}");
    assert_eq!(lines[4..], ["ended with 0"]);
}

#[test]
fn bars_show_how_far_it_is_and_go_away() {
    if !tools::there("Bars in a terminal", &["tmux"]) {
        return;
    }
    let folder = tools::folder("bars");
    let gate = folder.join("gate");
    let command = format!(
        "{} -j 2 --bar 'echo line {{}}; [ {{}} = 2 ] && exit 3; [ {{}} -lt 4 ] || {}' ::: 1 2 3 4 5",
        parallel().display(),
        waits_for(&gate)
    );
    let terminal = Terminal::run("bars", &command);
    let seen = terminal.until("three have ended", |seen| seen.contains(" 3/5 ") && seen.contains("1 failed"));
    assert!(seen.lines().any(|line| line == "line 3"), "{seen}");
    fs::write(&gate, "").unwrap();
    let seen = terminal.until("it ends", |seen| seen.contains("ended with 1"));
    assert!(seen.lines().any(|line| line == "line 5") && !seen.contains("/5 "), "the bar is gone:\n{seen}");
}

#[test]
fn bars_for_each_worker_have_the_labels() {
    if !tools::there("Bars in a terminal", &["tmux"]) {
        return;
    }
    let mut gate = Gate::new();
    let command = format!("{} {}", program("observed").display(), gate.path().display());
    let terminal = Terminal::run("worker-bars", &command);
    let seen = terminal.until("two workers have a job", |seen| seen.contains("page 3 ") && seen.contains("page 4 "));
    for part in ["fails: it says no", " 2/10 ", "1 failed"] {
        assert!(seen.contains(part), "no {part:?} in:\n{seen}");
    }
    gate.open();
    let seen = terminal.until("it ends", |seen| seen.contains("ended with 0"));
    assert!(seen.contains("all is done") && !seen.contains("page 3"), "the bars are gone:\n{seen}");
}

#[test]
fn ctrl_c_once_finishes_what_runs_and_twice_ends_it() {
    if !tools::there("Ctrl-C in a terminal", &["tmux"]) {
        return;
    }
    for times in [1, 2] {
        let folder = tools::folder(&format!("ctrl_c_{times}"));
        let (gate, timeline) = (folder.join("gate"), folder.join("run.html"));
        let command = format!(
            "{} -j 2 --timeline {} 'echo begun {{}} >> {}/begun; {}; echo line {{}}' ::: 1 2 3 4 5",
            parallel().display(),
            timeline.display(),
            folder.display(),
            waits_for(&gate)
        );
        let terminal = Terminal::run(&format!("ctrl-c-{times}"), &command);
        let begun = || fs::read_to_string(folder.join("begun")).unwrap_or_default();
        eventually("two have begun", || begun().lines().count() == 2);
        terminal.keys("C-c");
        terminal.until("it says so", |seen| seen.contains("finishing what runs"));
        if times == 1 {
            fs::write(&gate, "").unwrap();
        } else {
            terminal.keys("C-c");
        }
        let seen = terminal.until("it ends", |seen| seen.contains("ended with 130"));
        assert_eq!(
            seen.lines().filter(|line| line.starts_with("line ")).count(),
            if times == 1 { 2 } else { 0 },
            "{seen}"
        );
        assert_eq!(begun().lines().count(), 2, "nothing more was begun");
        assert!(timeline.exists());
    }
}

#[test]
fn over_a_pipe_and_on_a_dumb_terminal_there_are_lines() {
    let folder = tools::folder("lines");
    for (term, name) in [(Some("xterm"), "pipe"), (Some("dumb"), "dumb")] {
        let mut program = Command::new(parallel());
        program.args(["--top", "-j", "2", "exit {}", ":::", "0", "1", "0"]).stdin(Stdio::null());
        program.env_remove("TERM").envs(term.map(|term| ("TERM", term)));
        let output = program.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("parallel: 2 of 3 jobs succeeded, 1 failed; 0 wait"), "{name}: {said}");
        assert!(!said.contains('\x1b') && said.lines().count() == 1, "{name}: {said:?}");
    }
    if tools::there("Top on a dumb terminal", &["tmux"]) {
        let command =
            format!("TERM=dumb {} --top -j 1 'exit {{}}' ::: 0 1 > {}/out", parallel().display(), folder.display());
        let terminal = Terminal::run("dumb", &command);
        let seen = terminal.until("it ends", |seen| seen.contains("ended with 1"));
        assert!(seen.contains("parallel: 1 of 2 jobs succeeded, 1 failed"), "{seen}");
    }
}

#[test]
fn lines_come_as_often_as_is_asked_for() {
    // In this process standard error may be anything: what is to be seen is that the pool goes on, and that it ends.
    let pool = pool().max_processes(1).build().unwrap();
    let top = Top::attach(&pool).lines_every(std::time::Duration::from_secs(3600));
    assert_eq!(top.suspend(|| 7), 7);
    pool.enqueue(Do::Pid).wait().unwrap();
    drop(top);
    pool.enqueue(Do::Pid).wait().unwrap();
}
