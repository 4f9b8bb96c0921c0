//! Runs a command for each line of its input, many at a time, as GNU parallel and xargs do.
//!
//! The commands run in worker processes, so that one that hangs is ended with all that it started, and their output is kept
//! in files until it is printed: it is never mixed, may be of any size, and what a command that was ended had printed is there
//! too.
//!
//! ```text
//! ls *.wav | cargo run --release --example parallel -- -j 4 --bar oggenc -q 5 {} -o {.}.ogg
//! seq 100 | cargo run --release --example parallel -- --joblog log --resume --timeline run.html 'sleep 0.{}; echo {}'
//! ```

#![allow(clippy::print_stderr, reason = "a program may speak")]

#[path = "parallel/args.rs"]
mod args;
#[path = "parallel/command.rs"]
mod command;

use args::{Args, HELP, Halt, Reason};
use hirelings::worker::{BoxError, Context, Outcome, Worker, init_worker};
use hirelings::{Job, JobError, JobHandle, JobResult, Pool, Stderr, self_exec};
use hirelings_observe::{Bars, JobLog, Recorder, Top};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::{fmt, mem, thread};

// ------------------------------------------------------------ the worker's side

/// One command to run. Its output goes to files that its number names.
#[derive(Serialize, Deserialize)]
struct Run {
    number: u64,
    command: OsString,
}

/// How a command ended that did not succeed.
#[derive(Debug, Serialize, Deserialize)]
struct Status {
    code: i32,
    signal: i32,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.signal {
            0 => write!(f, "exited with status {}", self.code),
            signal => write!(f, "was ended by signal {signal}"),
        }
    }
}

impl Job for Run {
    type Output = ();
    type Progress = ();
    type Error = Status;
}

/// Runs commands, and keeps what they print in this folder.
struct Shell(PathBuf);

impl Worker for Shell {
    type Job = Run;
    type Options = OsString;

    fn init(folder: OsString) -> Result<Self, BoxError> {
        Ok(Shell(folder.into()))
    }

    fn run(&mut self, Run { number, command }: Run, _: &mut Context<Run>) -> Outcome<Run> {
        let run = || {
            let [out, errors] = kept(&self.0, number).map(File::create);
            let mut shell = Command::new("/bin/sh");
            shell.arg("-c").arg(command).env("PARALLEL_SEQ", number.to_string()).stdin(Stdio::null());
            shell.stdout(out?).stderr(errors?).status()
        };
        match run() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(Status { code: status.code().unwrap_or(0), signal: status.signal().unwrap_or(0) }),
            Err(_) => Err(Status { code: 127, signal: 0 }),
        }
    }
}

/// Where a command's standard output and standard error are kept.
fn kept(folder: &Path, number: u64) -> [PathBuf; 2] {
    ["out", "err"].map(|name| folder.join(format!("{number}.{name}")))
}

// ------------------------------------------------------------ the pool's side

fn main() -> ExitCode {
    // First thing in main: in a worker process it does the jobs and never returns.
    init_worker::<Shell>();

    let args = match args::parse() {
        Ok(args) => args,
        Err(error) => {
            eprintln!("parallel: {error}; see --help");
            return ExitCode::from(255);
        }
    };
    run(&args).unwrap_or_else(|error| {
        // Nobody reads any more what is printed: as a program that the system ends for it, without a word.
        if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
            return ExitCode::from(141);
        }
        eprintln!("parallel: {error}");
        ExitCode::from(255)
    })
}

/// What the main thread waits for.
enum Event {
    Line(Vec<u8>),
    NoMoreLines(io::Result<()>),
    Done(u64, JobResult<Run>),
    Interrupted,
}

fn run(args: &Args) -> Result<ExitCode, Box<dyn Error>> {
    if args.help {
        io::stdout().write_all(HELP.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    // Where output is kept until it is printed; removed when this is dropped.
    // Nobody else may read it.
    let private = Permissions::from_mode(0o700);
    let folder = tempfile::Builder::new().prefix("parallel-").permissions(private).tempdir();
    let folder = folder.map_err(|error| format!("cannot make a temporary folder: {error}"))?;
    let jobs = args.jobs.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
    let pool = Pool::<Run>::builder(self_exec::<Run>())
        .name("parallel")
        .options(&folder.path().as_os_str().to_owned())
        .max_processes(jobs)
        .retries(args.tries - 1)
        .timeout_working(args.timeout)
        .stderr(Stderr::Null)
        .build()?;
    let (sender, events) = channel();
    let interrupted = sender.clone();
    ctrlc::set_handler(move || drop(interrupted.send(Event::Interrupted)))?;

    let mut done_before = HashMap::new();
    let log = args.joblog.as_ref().map(|path| {
        if args.resume {
            for logged in JobLog::read(path)? {
                *done_before.entry(logged.label.unwrap_or_default()).or_insert(0u64) += 1;
            }
        }
        let log = if args.resume { JobLog::append(path)? } else { JobLog::create(path)? };
        let log = log.columns();
        log.attach_with(&pool, status_of);
        io::Result::Ok(log)
    });
    let log = log.transpose()?;
    let recorder = args.timeline.as_ref().map(|_| Recorder::attach(&pool));
    let view = View {
        bars: args.bar.then(|| Bars::attach(&pool)),
        top: args.top.then(|| Top::attach(&pool)),
        // Printed elsewhere, it stands in nobody's way.
        in_the_way: io::stdout().is_terminal(),
    };

    let mut work = Work::new(args, &pool, folder.path(), &view, done_before, sender);
    // One waits for each that runs, so that no worker waits for the next; not where none may begin after one that fails.
    let most = if args.halt.is_some() { jobs } else { 2 * jobs };
    let ended = work.until_done(&events, most);
    let code = work.exit_code();
    // When this returns no command runs, and all hooks have been called.
    pool.exit();
    drop(view);
    if let (Some(recorder), Some(path)) = (recorder, &args.timeline) {
        recorder.write_timeline(path).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    if let Some(error) = log.and_then(|log| log.error()) {
        return Err(format!("the job log is not complete: {error}").into());
    }
    ended.map(|()| code)
}

/// What shows how far it is.
struct View {
    bars: Option<Bars>,
    top: Option<Top>,
    in_the_way: bool,
}

impl View {
    fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        match self {
            View { bars: Some(bars), in_the_way: true, .. } => bars.suspend(print),
            View { top: Some(top), in_the_way: true, .. } => top.suspend(print),
            _ => print(),
        }
    }
}

struct Work<'a> {
    args: &'a Args,
    pool: &'a Pool<Run>,
    folder: &'a Path,
    view: &'a View,
    /// How often each command is in the job log.
    done_before: HashMap<String, u64>,
    sender: Sender<Event>,
    /// The number of the last line.
    lines: u64,
    handles: BTreeMap<u64, JobHandle<Run>>,
    /// What ended and waits for its turn to be printed, with what there is to be said.
    waiting: BTreeMap<u64, Option<String>>,
    succeeded: u64,
    failed: u64,
    /// What it ends with where it was halted or interrupted.
    code: Option<u8>,
    /// Nothing more is begun.
    stopped: bool,
}

impl<'a> Work<'a> {
    fn new(
        args: &'a Args,
        pool: &'a Pool<Run>,
        folder: &'a Path,
        view: &'a View,
        done_before: HashMap<String, u64>,
        sender: Sender<Event>,
    ) -> Self {
        let (handles, waiting) = (BTreeMap::new(), BTreeMap::new());
        let (lines, succeeded, failed, code, stopped) = (0, 0, 0, None, false);
        Work {
            args,
            pool,
            folder,
            view,
            done_before,
            sender,
            lines,
            handles,
            waiting,
            succeeded,
            failed,
            code,
            stopped,
        }
    }

    /// Goes on until all is done, with at most so many commands enqueued.
    fn until_done(&mut self, events: &Receiver<Event>, most: usize) -> Result<(), Box<dyn Error>> {
        let (ask, asked) = channel();
        self.read_lines(asked);
        let (mut more, mut wanted) = (true, 0);
        while !self.handles.is_empty() || (more && !self.stopped) {
            // A line is read for each that may be enqueued, and no further.
            while more && !self.stopped && self.handles.len() + wanted < most {
                wanted += 1;
                let _ = ask.send(());
            }
            match events.recv()? {
                Event::Line(line) => {
                    wanted -= 1;
                    self.enqueue(&line);
                }
                Event::NoMoreLines(end) => {
                    more = false;
                    end.map_err(|error| format!("cannot read what there is to do: {error}"))?;
                }
                Event::Done(number, result) => self.done(number, result)?,
                Event::Interrupted if self.stopped => {
                    self.code = Some(130);
                    return Ok(());
                }
                Event::Interrupted => {
                    self.code = Some(130);
                    self.stop();
                    self.view.suspend(|| eprintln!("parallel: finishing what runs; Ctrl-C again ends it"));
                }
            }
            if self.code.is_some() && self.args.halt.is_some_and(|halt| halt.now) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// On a thread of its own, since whoever writes the lines may be slow.
    fn read_lines(&self, asked: Receiver<()>) {
        let sender = self.sender.clone();
        if let Some(lines) = self.args.lines.clone() {
            thread::spawn(move || {
                for (line, ()) in lines.into_iter().zip(&asked) {
                    let _ = sender.send(Event::Line(line.into_vec()));
                }
                let _ = sender.send(Event::NoMoreLines(Ok(())));
            });
            return;
        }
        let (file, end) = (self.args.file.clone(), if self.args.null { 0 } else { b'\n' });
        thread::spawn(move || {
            let read = || {
                let mut input: Box<dyn BufRead> = match file {
                    Some(file) => Box::new(BufReader::new(File::open(file)?)),
                    None => Box::new(io::stdin().lock()),
                };
                for () in &asked {
                    let mut line = Vec::new();
                    if input.read_until(end, &mut line)? == 0 {
                        break;
                    }
                    line.pop_if(|last| *last == end);
                    let _ = sender.send(Event::Line(line));
                }
                Ok(())
            };
            let _ = sender.send(Event::NoMoreLines(read()));
        });
    }

    fn enqueue(&mut self, line: &[u8]) {
        if self.stopped {
            return;
        }
        self.lines += 1;
        let number = self.lines;
        let command = command::of_line(&self.args.template, line, number);
        // As the job log has it: one line.
        let label = String::from_utf8_lossy(&command).replace('\n', "\\n");
        if let Some(times) = self.done_before.get_mut(&label).filter(|times| **times > 0) {
            *times -= 1;
            if self.args.keep_order {
                self.waiting.insert(number, None);
            }
            return;
        }
        let sender = self.sender.clone();
        let request = self.pool.request(Run { number, command: OsString::from_vec(command) }).label(label);
        let handle = request.on_done(move |result| drop(sender.send(Event::Done(number, result)))).enqueue();
        self.handles.insert(number, handle);
    }

    fn done(&mut self, number: u64, result: JobResult<Run>) -> io::Result<()> {
        self.handles.remove(&number);
        let message = match result {
            Ok(()) => {
                self.succeeded += 1;
                None
            }
            // It never began.
            Err(JobError::Aborted | JobError::Closed) => return Ok(()),
            Err(error) => {
                self.failed += 1;
                if let Some(Halt { reason: Reason::Fail, count, .. }) = self.args.halt
                    && self.failed == count
                {
                    // Of one it is that one's own, as in GNU parallel.
                    let (code, signal) = status_of(&error);
                    let own = if signal > 0 { 128 + signal } else { code };
                    self.code =
                        u8::try_from(if count == 1 { i64::from(own) } else { self.failed as i64 }).ok().or(Some(255));
                }
                (!matches!(error, JobError::Failed(_))).then(|| error.to_string())
            }
        };
        self.waiting.insert(number, message);
        self.print()?;
        if let Some(halt) = self.args.halt {
            let (failed, succeeded) = (self.failed, self.succeeded);
            let counts = match halt.reason {
                Reason::Fail => failed,
                Reason::Success => succeeded,
                Reason::Done => failed + succeeded,
            };
            if counts >= halt.count {
                self.code.get_or_insert(0);
                // Else all is ended at once.
                if !halt.now {
                    self.stop();
                }
            }
        }
        Ok(())
    }

    /// Nothing more begins; what runs goes on.
    fn stop(&mut self) {
        if !mem::replace(&mut self.stopped, true) {
            self.pool.abort_queued();
        }
    }

    /// Prints what ended, in the order of the lines if that is wanted.
    fn print(&mut self) -> io::Result<()> {
        let first_open = self.handles.keys().next().copied().unwrap_or(u64::MAX);
        while let Some(entry) = self.waiting.first_entry() {
            let number = *entry.key();
            if self.args.keep_order && number > first_open {
                return Ok(());
            }
            let message = entry.remove();
            let [out, errors] = kept(self.folder, number);
            self.view.suspend(|| {
                pour(&out, &mut io::stdout().lock())?;
                pour(&errors, &mut io::stderr().lock())?;
                if let Some(message) = message {
                    eprintln!("parallel: {message}");
                }
                io::Result::Ok(())
            })?;
        }
        Ok(())
    }

    fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code.unwrap_or_else(|| u8::try_from(self.failed.min(101)).unwrap_or(101)))
    }
}

/// Prints a file, and removes it.
fn pour(path: &Path, out: &mut impl Write) -> io::Result<()> {
    match File::open(path) {
        Ok(mut file) => {
            fs::remove_file(path)?;
            io::copy(&mut file, out)?;
            out.flush()
        }
        // The worker did not come so far as to make it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// A failure's exit value and signal, for the job log.
fn status_of(error: &JobError<Status>) -> (i32, i32) {
    match error {
        JobError::Failed(status) => (status.code, status.signal),
        JobError::TimedOut(_) => (-1, 15),
        JobError::Crashed(crash) => (1, crash.status.and_then(|status| status.signal()).unwrap_or(0)),
        _ => (1, 0),
    }
}
