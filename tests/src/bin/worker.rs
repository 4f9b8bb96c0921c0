//! The general worker: does what it is told.

use hirelings_tests::processes::die_of;
use hirelings_tests::{Do, Gate, Told, scratch};
use hirelings_worker_kit::{Context, serve};
use rustix::process::{Resource, Rlimit, Signal, setrlimit};
use std::ffi::CString;
use std::process::{Command, Stdio, abort, exit, id};
use std::time::{Duration, Instant, SystemTime};

/// What its arguments ask for is done before it serves, and so comes last when it exits; others are a test's.
fn main() {
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "ignore SIGTERM" => ignore_sigterm(),
            "signal the group at exit" => at_exit(signal_group),
            "hang at exit" => at_exit(hang),
            _ => {}
        }
    }
    serve(run)
}

fn run(job: Do, ctx: &mut Context<Do>) -> Result<String, String> {
    match job {
        Do::Echo(text) => return Ok(text),
        Do::Bytes(count) => return Ok("x".repeat(count)),
        Do::Pid => {}
        Do::Numbers => return Ok(format!("job {} attempt {}", ctx.job_id(), ctx.attempt())),
        Do::Fail(why) => return Err(why),
        Do::FailUntil(attempt) if ctx.attempt() < attempt => return Err(format!("attempt {}", ctx.attempt())),
        Do::FailUntil(_) => {}
        Do::Panic(why) => panic!("{why}"),
        Do::Exit(code) => exit(code),
        Do::Abort => abort(),
        Do::Segfault => die_of(Signal::SEGV),
        Do::Signal(number) => die_of(Signal::from_named_raw(number).ok_or("no such signal")?),
        Do::SayAndDie(text) => {
            eprintln!("{text}");
            exit(3)
        }
        Do::Wait(gate) => {
            ctx.progress(&Told::Waiting);
            Gate::wait(&gate);
        }
        Do::Progress(count) => (0..count).for_each(|n| ctx.progress(&Told::Count(n))),
        Do::Print(text) => {
            println!("{text}");
            eprintln!("{text}");
        }
        Do::Then(steps) => {
            let mut last = String::new();
            for step in steps {
                last = run(step, ctx)?;
            }
            return Ok(last);
        }
        Do::Retire => ctx.retire(),
        Do::UntilCancelled => {
            ctx.progress(&Told::Waiting);
            while !ctx.is_cancelled() {
                std::thread::yield_now();
            }
            return Ok("cancelled".into());
        }
        Do::Deadline => {
            let left = ctx.deadline().map(|deadline| deadline.duration_since(Instant::now()).as_millis());
            return Ok(left.map_or("none".into(), text));
        }
        Do::FailForGood(why) => {
            ctx.no_retry();
            return Err(why);
        }
        Do::SpawnSleeper => {
            let sleeper = Command::new("sleep").arg("1000").spawn().map_err(|error| error.to_string())?;
            ctx.progress(&Told::Spawned(sleeper.id()));
        }
        Do::Append(path, line) => scratch::append(&path, &line)?,
        Do::Alone(path, job) => {
            let _locked = scratch::alone(&path)?;
            return run(*job, ctx);
        }
        Do::ExitUntil(attempt) if ctx.attempt() < attempt => exit(9),
        Do::ExitUntil(_) => {}
        Do::Tell(count, bytes) => {
            (0..count).for_each(|_| ctx.progress(&Told::Text("x".repeat(bytes))));
            return Ok(count.to_string());
        }
        Do::Before(attempt, job) if ctx.attempt() < attempt => return run(*job, ctx),
        Do::Before(..) => {}
        Do::Shell(line) => {
            let output = shell(&line).stdout(Stdio::piped()).output().map_err(text)?;
            return Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned());
        }
        Do::Run(line) => return shell(&line).status().map(text).map_err(text),
        Do::Spawn(line) => ctx.progress(&Told::Spawned(shell(&line).spawn().map_err(text)?.id())),
        Do::Spin => loop {
            std::hint::spin_loop();
        },
        Do::Recurse => return Ok(deeper(1).to_string()),
        Do::Exhaust => return exhaust(),
        Do::HangAtExit => HANG.with(|_| ()),
        Do::SignalGroupAtExit => at_exit(signal_group),
        Do::PrintAtExit(text) => print_at_exit(text),
        Do::SpawnThread => drop(std::thread::spawn(|| hang())),
        Do::Leak(bytes) => drop(std::hint::black_box(vec![1u8; bytes].leak())),
        Do::Nap(micros) => return nap(Duration::from_micros(micros)),
        Do::Fork(job) => return fork(*job, ctx),
        Do::ReadInput => return std::io::read_to_string(std::io::stdin()).map_err(text),
    }
    Ok(id().to_string())
}

fn nap(long: Duration) -> Result<String, String> {
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map(|since| since.as_nanos()).map_err(text);
    let begun = now()?;
    let end = Instant::now() + long;
    while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
    Ok(format!("{begun} {}", now()?))
}

fn fork(job: Do, ctx: &mut Context<Do>) -> Result<String, String> {
    // SAFETY: the child needs no lock that the kit's guard may hold; the status is this thread's.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            return run(job, ctx);
        }
        let mut status = 0;
        libc::waitpid(child, &raw mut status, 0);
        Ok(libc::WEXITSTATUS(status).to_string())
    }
}

fn shell(line: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", line]).stdin(Stdio::inherit()).stderr(Stdio::inherit());
    shell
}

fn text(what: impl ToString) -> String {
    what.to_string()
}

#[allow(unconditional_recursion)]
fn deeper(depth: u64) -> u64 {
    let ballast = std::hint::black_box([depth; 128]);
    deeper(ballast[7] + 1) + ballast[9]
}

/// An address space of 256 MiB, and a wish for 1 GiB.
fn exhaust() -> Result<String, String> {
    let limit = Rlimit { current: Some(256 << 20), maximum: Some(256 << 20) };
    setrlimit(Resource::As, limit).map_err(text)?;
    let wish = std::hint::black_box(vec![1u8; 1 << 30]);
    Ok(wish.len().to_string())
}

fn ignore_sigterm() {
    // SAFETY: no handler of this program's is installed.
    unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
}

fn at_exit(handler: extern "C" fn()) {
    // SAFETY: the handlers of this program do not unwind.
    assert_eq!(unsafe { libc::atexit(handler) }, 0);
}

extern "C" fn signal_group() {
    let _ = rustix::process::kill_current_process_group(Signal::TERM);
}

extern "C" fn hang() {
    loop {
        std::thread::park();
    }
}

fn print_at_exit(text: String) {
    let text = CString::new(text).expect("no zero in it");
    // SAFETY: both are strings that end with a zero, and the first asks for one string.
    unsafe { libc::printf(c"%s".as_ptr(), text.as_ptr()) };
}

/// Blocks for ever where the thread's values are dropped, which exit does for the thread that calls it.
struct Hang;

impl Drop for Hang {
    fn drop(&mut self) {
        loop {
            std::thread::park();
        }
    }
}

thread_local! {
    static HANG: Hang = const { Hang };
}
