//! The example `thumbnails`, as a person runs it.

use hirelings_tests::processes::is_alive;
use hirelings_tests::{eventually, program, within};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// The program while it runs. It and its workers can be told by what is in their environment.
struct Run {
    program: Child,
    mark: String,
}

impl Run {
    fn start(name: &str, arguments: &[&str]) -> Run {
        let example = program("examples/thumbnails");
        assert!(example.exists(), "{} is not built: run bare `cargo test`, which builds it too", example.display());
        let mark = format!("THUMBNAILS_TEST={name}-{}", std::process::id());
        let (key, value) = mark.split_once('=').unwrap();
        let program = Command::new(example)
            .args(arguments)
            .env(key, value)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Run { program, mark }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.program), signal).unwrap();
    }

    /// What it said and how it ended, once it has. It says less than a pipe holds.
    fn end(mut self) -> Output {
        eventually("the example ends", || self.program.try_wait().unwrap().is_some());
        self.program.wait_with_output().unwrap()
    }

    /// The processes of this run that are alive.
    fn processes(mark: &str) -> BTreeSet<u32> {
        let has_mark = |pid: &u32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|&byte| byte == 0).any(|entry| entry == mark.as_bytes())
        };
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let all = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        all.filter(has_mark).filter(|&pid| is_alive(pid)).collect()
    }
}

/// A folder of this test's own, empty.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("thumbnails").join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).unwrap();
    }
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Starts the program on two named pipes, and comes back when its one worker hangs on the second or is about to.
fn hanging(name: &str) -> Run {
    let folder = folder(name);
    let [first, second] = ["1.png", "2.png"].map(|name| folder.join(name));
    assert!(Command::new("mkfifo").args([&first, &second]).status().unwrap().success());
    let [out, folder] = [folder.join("out"), folder].map(|path| path.into_os_string().into_string().unwrap());
    let mut run = Run::start(name, &["--jobs", "1", "--timeout", "60", "--out", &out, &folder]);
    // A pipe cannot be opened like this until somebody reads it. That one then finds that it is no file.
    let open = || rustix::fs::open(&first, OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty());
    eventually("the worker opens the first pipe", || open().is_ok());
    let mut sentence = String::new();
    BufReader::new(run.program.stdout.as_mut().unwrap()).read_line(&mut sentence).unwrap();
    assert!(sentence.contains("1.png: Illegal seek"), "{sentence}");
    run
}

#[test]
fn it_survives_every_trouble_among_the_samples() {
    let out = folder("samples");
    let run = Run::start("samples", &["--samples", "24", "--timeout", "5", "--out", out.to_str().unwrap()]);
    let mark = run.mark.clone();
    let Output { status, stdout, stderr } = run.end();
    let (said, complained) = (text(&stdout), text(&stderr));
    assert_eq!(status.code(), Some(0), "{said}\n{complained}");
    // No terminal, no bar.
    assert_eq!(complained, "");
    for (file, sentence) in [
        ("truncated.png", "unexpected end of file"),
        ("truncated.gif", "nexpected"),
        ("corrupt.png", "orrupt"),
        ("corrupt.webp", "orrupt"),
        ("empty.bmp", ""),
        ("bomb.png", "ran out of memory under its limit of 512 MiB: memory allocation of"),
        ("pipe.png", "took longer than 5 s and was ended"),
        ("aborts.jpg", "the decoder crashed (signal: 6 (SIGABRT)): free(): invalid pointer"),
        ("panics.bmp", "the decoder panicked: index out of bounds"),
        ("reads.png", "the decoder tried to read /etc/passwd: Permission denied"),
        ("writes.png", "the decoder tried to write beside the pictures: Permission denied"),
        ("connects.jpg", "the decoder made a forbidden system call (socket) and was ended"),
        ("forks.gif", "the decoder made a forbidden system call"),
        ("kills.bmp", "the decoder made a forbidden system call (kill) and was ended"),
    ] {
        let told = said.lines().any(|line| line.contains(&format!("-{file}: ")) && line.contains(sentence));
        assert!(told, "nothing of {file}, {sentence:?}, in:\n{said}");
    }
    assert!(said.contains("24 thumbnails of 38 pictures"), "{said}");
    assert!(said.contains("14 troubles among the samples, each as expected"), "{said}");
    assert_eq!(fs::read_dir(out.join("small")).unwrap().count(), 24);

    let sheet = fs::read(out.join("contact-sheet.png")).unwrap();
    assert_eq!(sheet[..8], *b"\x89PNG\r\n\x1a\n");
    let side = |at: usize| u32::from_be_bytes(sheet[at..at + 4].try_into().unwrap());
    // 38 tiles of 128 pixels in 8 columns and 5 rows.
    assert_eq!((side(16), side(20)), (8 * 134 + 6, 5 * 134 + 6));
    assert!(sheet.len() > 100_000, "the sheet is only {} bytes", sheet.len());

    assert!(!out.join("samples/written-by-a-decoder").exists());
    assert_eq!(Run::processes(&mark), BTreeSet::new(), "processes were left behind");
}

#[test]
fn a_link_leads_to_its_picture_and_no_neighbour() {
    let base = folder("links");
    let run = Run::start("links-samples", &["--samples", "9", "--unconfined", "--out", base.to_str().unwrap()]);
    assert_eq!(run.end().status.code(), Some(0));
    let folder = base.join("folder");
    fs::create_dir(&folder).unwrap();
    std::os::unix::fs::symlink(base.join("samples/000-gradient.png"), folder.join("link.png")).unwrap();
    std::os::unix::fs::symlink(base.join("nowhere"), folder.join("broken.png")).unwrap();
    let Output { status, stdout, .. } =
        Run::start("links", &["--out", base.join("out").to_str().unwrap(), folder.to_str().unwrap()]).end();
    let said = text(&stdout);
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("broken.png: ") && said.contains("1 thumbnails of 2 pictures"), "{said}");
}

#[test]
fn ctrl_c_ends_it_at_once_and_leaves_nothing() {
    let mut run = hanging("interrupt");
    let mark = run.mark.clone();
    assert_eq!(Run::processes(&mark).len(), 2, "the program and its worker");
    run.signal(Signal::INT);
    let ended = within(Duration::from_secs(10), || run.program.try_wait().unwrap().is_some());
    assert!(ended, "it goes on for 10 s after SIGINT");
    let Output { status, stdout, stderr } = run.end();
    assert_eq!(status.code(), Some(130));
    assert_eq!(text(&stdout), "");
    let complained = text(&stderr);
    assert!(complained.starts_with("thumbnails: interrupted; ") && complained.lines().count() == 1, "{complained}");
    assert_eq!(Run::processes(&mark), BTreeSet::new(), "processes were left behind");
}

#[test]
fn killed_it_leaves_nothing() {
    let run = hanging("killed");
    let mark = run.mark.clone();
    assert_eq!(Run::processes(&mark).len(), 2, "the program and its worker");
    run.signal(Signal::KILL);
    run.end();
    eventually("the worker of a killed program ends", || Run::processes(&mark).is_empty());
}

#[test]
fn what_makes_no_sense_is_a_sentence_and_a_status() {
    let out = folder("nonsense");
    fs::write(out.join("notes.txt"), "no picture").unwrap();
    let out = out.to_str().unwrap();
    for (arguments, code, sentence) in [
        (vec!["--size", "huge"], 2, "--size takes a number from 16 to 2048, not \"huge\""),
        (vec!["--jobs", "0"], 2, "--jobs takes a number from 1 to 256"),
        (vec!["--sise", "64"], 2, "invalid option '--sise'"),
        (vec!["--samples", "3", "here"], 2, "goes without files and folders"),
        (vec!["--out", out, out], 1, "no pictures were found"),
    ] {
        let Output { status, stdout, stderr } = Run::start("nonsense", &arguments).end();
        assert_eq!((status.code(), text(&stdout).as_str()), (Some(code), ""), "{arguments:?}");
        assert!(text(&stderr).contains(sentence), "{arguments:?}: {}", text(&stderr));
    }
    let Output { status, stdout, .. } = Run::start("nonsense", &["--out", out, "missing.png"]).end();
    assert_eq!(status.code(), Some(1));
    assert_eq!(text(&stdout), "missing.png: No such file or directory (os error 2)\n");
    assert_eq!(Run::start("nonsense", &["--help"]).end().status.code(), Some(0));
}
