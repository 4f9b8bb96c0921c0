//! The worker: does what it is told, which is seldom good.

use crate::begun;
use crate::deed::{Answer, Deed, Order, Then, Told, sum, this_program};
use crate::raw;
use hirelings::{Bytes, worker};
use hirelings_tests::processes;
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, setrlimit, setsid};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio, abort, exit, id};
use std::sync::OnceLock;
use std::time::Duration;
use std::{env, io, thread};

type Context = worker::Context<Order>;

/// The protocol's pipes, as the system names them: input and output.
static PIPES: OnceLock<[PathBuf; 2]> = OnceLock::new();

/// How long a grandchild lives that nobody kills, and one that is to be killed with its group: longer than a busy machine takes
/// before it is looked for.
const AWAY: Duration = Duration::from_secs(20);
const HERE: Duration = Duration::from_secs(600);

pub fn main() -> ! {
    let no_core = Rlimit { current: Some(0), maximum: Some(0) };
    let _ = setrlimit(Resource::Core, no_core);
    let pipes = [0, 1].map(|fd| fs::read_link(format!("/proc/self/fd/{fd}")).unwrap_or_default());
    let _ = PIPES.set(pipes);
    let starts = begun::noted_by_worker(&env::args().nth(2).unwrap_or_default());
    worker::serve(move |order: Order, ctx| {
        starts.note(order.nonce, ctx.attempt());
        work(order, ctx)
    })
}

/// A grandchild: sleeps, in its group, out of it, or stopped.
pub fn sleeper(how: &str) -> ! {
    match how {
        "away" => drop(setsid()),
        "stopped" => stop_itself(),
        _ => {}
    }
    thread::sleep(if how == "away" { AWAY } else { HERE });
    exit(0)
}

fn work(order: Order, ctx: &mut Context) -> Result<Answer, String> {
    let Order { deed, nonce, mut bytes } = order;
    let sum = sum(&bytes.0);
    match deed {
        Deed::Echo => {}
        Deed::Swallow => bytes = Bytes::default(),
        Deed::Fail => return Err(nonce.to_string()),
        Deed::Panic => panic!("told to panic"),
        Deed::Exit => exit(3),
        Deed::Segfault => raw::segfault(),
        Deed::Abort => abort(),
        Deed::Overflow => bytes.0.push(deeper(1) as u8),
        Deed::Exhaust => exhaust()?,
        Deed::CutFrame => {
            output()?.write_all(&[200, 0, 0, 0, 3, 0]).map_err(text)?;
            exit(5)
        }
        Deed::CloseOutput => {
            raw::replace(place(1)?, null()?).map_err(text)?;
            rest()
        }
        Deed::Hold { away, then } => {
            let child = holder(if away { "away" } else { "here" })?;
            while away && processes::group_of(child.id()).is_some_and(|group| group != child.id()) {
                thread::sleep(Duration::from_millis(1));
            }
            ctx.progress(&Told::Held(child.id()));
            go_on(then);
        }
        Deed::LeaveChildren { then } => {
            for errors in [Stdio::null(), Stdio::inherit(), Stdio::inherit()] {
                sleeping("here").stderr(errors).spawn().map_err(text)?;
            }
            ctx.progress(&Told::Working);
            go_on(then);
        }
        Deed::FloodErrors { forever } => flood(forever, |lump| io::stderr().write_all(lump).map_err(text))?,
        Deed::FloodProgress { forever } => flood(forever, |lump| {
            ctx.progress(&Told::Noise(Bytes(lump.to_vec())));
            Ok(())
        })?,
        Deed::Hang => rest(),
        Deed::Spin => {
            ctx.progress(&Told::Working);
            loop {
                std::hint::spin_loop();
            }
        }
        Deed::Stop => {
            ctx.progress(&Told::Working);
            stop_itself();
            rest()
        }
        Deed::StopReading => stop_reading()?,
        Deed::StopChild => {
            let child = holder("stopped")?;
            while processes::is_alive(child.id()) && !processes::is_stopped(child.id()) {
                thread::sleep(Duration::from_millis(1));
            }
            ctx.progress(&Told::Held(child.id()));
            rest()
        }
    }
    Ok(Answer { nonce, pid: id(), sum, bytes })
}

fn text(what: impl ToString) -> String {
    what.to_string()
}

fn go_on(then: Then) {
    match then {
        Then::Answers => {}
        Then::Exits => exit(4),
        Then::Rests => rest(),
    }
}

fn rest() -> ! {
    loop {
        thread::park();
    }
}

fn stop_itself() {
    if let Some(this) = Pid::from_raw(id().cast_signed()) {
        let _ = kill_process(this, Signal::STOP);
    }
}

#[allow(unconditional_recursion)]
fn deeper(depth: u64) -> u64 {
    let ballast = std::hint::black_box([depth; 128]);
    deeper(ballast[7] + 1) + ballast[9]
}

/// An address space that is soon used up.
fn exhaust() -> Result<(), String> {
    let limit = Rlimit { current: Some(256 << 20), maximum: Some(256 << 20) };
    setrlimit(Resource::As, limit).map_err(text)?;
    let mut lumps = Vec::new();
    loop {
        lumps.push(std::hint::black_box(vec![1u8; 16 << 20]));
    }
}

/// For ever, or 4 MiB in lines of different lengths.
fn flood(forever: bool, mut write: impl FnMut(&[u8]) -> Result<(), String>) -> Result<(), String> {
    let (mut left, mut length) = (4usize << 20, 10);
    while forever || left > 0 {
        let mut line = vec![b'x'; length];
        line.push(b'\n');
        write(&line)?;
        left = left.saturating_sub(line.len());
        length = if length > 40_000 { 10 } else { length * 3 };
    }
    Ok(())
}

// ---------------------------------------------------------------- the protocol's pipes

/// Where the kit keeps one of the protocol's descriptors: 0 its input, 1 its output.
fn place(which: usize) -> Result<RawFd, String> {
    let pipes = PIPES.get().ok_or("not a worker")?;
    if pipes[0].to_string_lossy().starts_with("socket:") {
        return forked_place(which);
    }
    let pipe = &pipes[which];
    let entries = fs::read_dir("/proc/self/fd").map_err(text)?.flatten();
    let mut places = entries.filter(|entry| fs::read_link(entry.path()).is_ok_and(|to| to == *pipe));
    let place = places.find_map(|entry| entry.file_name().to_str()?.parse().ok().filter(|&fd: &RawFd| fd > 2));
    place.ok_or_else(|| format!("no descriptor is {}", pipe.display()))
}

/// The same in a worker that was forked: what main saw was the fork server's. Of these pipes, and of no others, the worker
/// has one end only.
fn forked_place(which: usize) -> Result<RawFd, String> {
    let entries = fs::read_dir("/proc/self/fd").map_err(text)?.flatten();
    let pipe = |entry: fs::DirEntry| {
        let fd: RawFd = entry.file_name().to_str()?.parse().ok().filter(|&fd| fd > 2)?;
        let to = fs::read_link(entry.path()).ok().filter(|to| to.to_string_lossy().starts_with("pipe:"))?;
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?;
        // The last octal digit: 0 is to read, 1 to write.
        Some((fd, to, usize::from(flags.ends_with('1'))))
    };
    let pipes: Vec<_> = entries.filter_map(pipe).collect();
    let is_alone = |of: &PathBuf| pipes.iter().filter(|(_, to, _)| to == of).count() == 1;
    let place = pipes.iter().find(|(_, to, writes)| *writes == which && is_alone(to));
    place.map(|(fd, ..)| *fd).ok_or_else(|| format!("none of {pipes:?} is the protocol's"))
}

/// A descriptor of one's own for the protocol's output.
fn output() -> Result<File, String> {
    OpenOptions::new().write(true).open(format!("/proc/self/fd/{}", place(1)?)).map_err(text)
}

fn null() -> Result<File, String> {
    OpenOptions::new().read(true).write(true).open("/dev/null").map_err(text)
}

/// The kit reads from now on a pipe into which nobody writes, and whose other end stays open.
fn stop_reading() -> Result<(), String> {
    static KEPT: OnceLock<(File, io::PipeWriter)> = OnceLock::new();
    let input = place(0)?;
    // The real pipe keeps a reader, or the pool would learn that nobody reads.
    let real = File::open(format!("/proc/self/fd/{input}")).map_err(text)?;
    let (silent, writer) = io::pipe().map_err(text)?;
    raw::replace(input, silent).map_err(text)?;
    KEPT.set((real, writer)).map_err(|_| "it has stopped reading already".to_owned())
}

fn sleeping(how: &str) -> Command {
    let tag = env::args().nth(2).unwrap_or_default();
    let mut command = this_program("sleeper", &tag);
    command.arg(how).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// Starts a sleeper that holds the protocol's input and output, and standard error.
fn holder(how: &str) -> Result<Child, String> {
    let input = File::open(format!("/proc/self/fd/{}", place(0)?)).map_err(text)?;
    sleeping(how).stdin(input).stdout(output()?).stderr(Stdio::inherit()).spawn().map_err(text)
}
