//! Does jobs of mixtures, and notes each start before anything else.

use hirelings_tests::mixture::{Act, Deed};
use hirelings_tests::processes::die_of;
use hirelings_tests::starts::Starts;
use hirelings_worker_kit::wire::{FromWorker, frame_into};
use hirelings_worker_kit::{BoxError, Context, Outcome, Session, Worker, serve_worker};
use rustix::io::{fcntl_dupfd_cloexec, write};
use rustix::process::{Resource, Rlimit, Signal, setrlimit};
use rustix::stdio::stdout;
use std::hint::{black_box, spin_loop};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{abort, exit};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The protocol's output, for what the kit does not say: of a worker that speaks the protocol by hand.
static OUTPUT: OnceLock<OwnedFd> = OnceLock::new();

/// What takes longer than this sleeps.
const SPIN: Duration = Duration::from_millis(1);

struct Noting(Starts);

impl Worker for Noting {
    type Job = Act;
    type Options = PathBuf;

    fn init(notes: PathBuf) -> Result<Self, BoxError> {
        Ok(Noting(Starts::open(&notes)?))
    }

    fn after_fork(&mut self) -> Result<(), BoxError> {
        self.0.after_fork();
        Ok(())
    }

    fn run(&mut self, act: Act, ctx: &mut Context<Act>) -> Outcome<Act> {
        self.0.note(ctx.job_id(), ctx.attempt());
        if act.deed == Deed::Retire && ctx.attempt() < act.until {
            ctx.retire();
        }
        act_out(act, ctx.attempt())
    }
}

fn main() -> Result<(), BoxError> {
    let no_core = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, no_core)?;
    let _ = OUTPUT.set(fcntl_dupfd_cloexec(stdout(), 3)?);
    match std::env::args().nth(1).as_deref() {
        Some("silent") => silent(),
        _ => serve_worker::<Noting>(),
    }
}

/// Never says Start, whatever it does.
fn silent() -> Result<(), BoxError> {
    let mut session = Session::<Act>::connect()?;
    let starts = Starts::open(&session.options::<PathBuf>()?)?;
    session.ready()?;
    while let Some(act) = session.next_job()? {
        let (job, attempt) = (session.job_id().ok_or("no job")?, session.attempt().ok_or("no attempt")?);
        starts.note(job, attempt);
        if act.deed == Deed::Retire && attempt < act.until {
            session.retire()?;
        }
        if act.deed == Deed::Panic && attempt < act.until {
            session.terminal_failure("told to");
        }
        match act_out(act, attempt) {
            Ok(()) => session.success(&())?,
            Err(why) => session.failure(&why)?,
        }
        session.ready()?;
    }
    Ok(())
}

fn act_out(act: Act, attempt: u32) -> Result<(), String> {
    work(Duration::from_micros(act.micros.into()));
    if attempt >= act.until {
        return Ok(());
    }
    match act.deed {
        Deed::Answer | Deed::Retire => Ok(()),
        Deed::Fail => Err(format!("attempt {attempt}")),
        Deed::Exit => exit(0),
        Deed::Kill => die_of(Signal::KILL),
        Deed::Abort => abort(),
        Deed::Panic => panic!("told to"),
        Deed::Terminal => {
            let message = "it can go on no more".into();
            let words = FromWorker::Terminal { job: None, message, location: None, backtrace: None };
            let mut frame = Vec::new();
            frame_into(&words, &[], &mut frame);
            let _ = write(OUTPUT.get().ok_or("no output")?, &frame);
            exit(1)
        }
        Deed::Leak(kib) => {
            let _ = black_box(vec![1u8; kib as usize * 1024].leak());
            Ok(())
        }
    }
}

fn work(time: Duration) {
    if time > SPIN {
        return sleep(time);
    }
    let begin = Instant::now();
    while begin.elapsed() < time {
        spin_loop();
    }
}
