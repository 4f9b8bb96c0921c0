//! Says what is its own and what it shares with the fork server that has forked it.

use hirelings_tests::forked::{Ask, AtFork, Harm, Moment, Setup};
use hirelings_tests::staged::go_through;
use hirelings_tests::{Gate, processes, scratch};
use hirelings_worker_kit::{BoxError, Context, Outcome, Worker, serve_worker};
use nix::sys::signal::{Signal, raise};
use std::fs::File;
use std::io::{self, Read};
use std::process::{exit, id};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, thread};

struct Forked {
    setup: Setup,
    maker: u32,
    seed: [u8; 8],
    filled: Vec<u8>,
}

impl Worker for Forked {
    type Job = Ask;
    type Options = Setup;

    fn init(setup: Setup) -> Result<Self, BoxError> {
        for name in &setup.threads {
            thread::Builder::new().name(name.clone()).spawn(|| {
                loop {
                    thread::park()
                }
            })?;
        }
        go_through(setup.init.clone())?;
        if let Some(at_fork) = setup.at_fork.clone() {
            watch_forks(at_fork)?;
        }
        Ok(Forked { maker: id(), seed: [0; 8], filled: vec![1; setup.bytes], setup })
    }

    fn after_fork(&mut self) -> Result<(), BoxError> {
        File::open("/dev/urandom")?.read_exact(&mut self.seed)?;
        go_through(self.setup.after_fork.clone())
    }

    fn run(&mut self, ask: Ask, ctx: &mut Context<Ask>) -> Outcome<Ask> {
        match ask {
            Ask::Pid => Ok(id().to_string()),
            Ask::Maker => Ok(self.maker.to_string()),
            Ask::Seed => Ok(u64::from_ne_bytes(self.seed).to_string()),
            Ask::Variable(name) => env::var(name).map_err(|error| error.to_string()),
            Ask::Directory => Ok(env::current_dir().map_err(|error| error.to_string())?.display().to_string()),
            Ask::Wait(gate) => {
                ctx.progress(&());
                Gate::wait(&gate);
                Ok(id().to_string())
            }
            Ask::Exit(code) => exit(code),
            Ask::Leak(bytes) => {
                std::hint::black_box(vec![1u8; bytes].leak());
                Ok(id().to_string())
            }
            Ask::Sum => Ok(self.filled.iter().step_by(4096).map(|&byte| u64::from(byte)).sum::<u64>().to_string()),
            Ask::Write => {
                self.filled.iter_mut().step_by(4096).for_each(|byte| *byte = 2);
                Ok(id().to_string())
            }
            Ask::Group => Ok(processes::group_of(id()).unwrap_or(0).to_string()),
            Ask::Note(file, line) => {
                scratch::append(&file, &line).map_err(|error| error.to_string())?;
                Ok(id().to_string())
            }
        }
    }
}

static AT_FORK: OnceLock<AtFork> = OnceLock::new();
static FORKS: AtomicU32 = AtomicU32::new(0);

/// Has this process do itself harm in the middle of a fork.
#[allow(
    unsafe_code,
    reason = "the C library calls these functions in the middle of a fork, and nothing safe is called then"
)]
fn watch_forks(at_fork: AtFork) -> io::Result<()> {
    extern "C" fn before() {
        FORKS.fetch_add(1, Ordering::Relaxed);
        come_to(Moment::Before);
    }
    extern "C" fn after() {
        come_to(Moment::After);
    }
    extern "C" fn child() {
        come_to(Moment::Child);
    }
    let _ = AT_FORK.set(at_fork);
    // SAFETY: the three functions live as long as the program, and a process that forks has one thread, so that they may do
    // whatever it may.
    let error = unsafe { libc::pthread_atfork(Some(before), Some(after), Some(child)) };
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}

fn come_to(moment: Moment) {
    let Some(at) = AT_FORK.get() else { return };
    if at.moment != moment || at.fork != FORKS.load(Ordering::Relaxed) || File::create_new(&at.once).is_err() {
        return;
    }
    let _ = match at.harm {
        Harm::Killed => raise(Signal::SIGKILL),
        Harm::Stopped => raise(Signal::SIGSTOP),
        Harm::Exits(code) => exit(code),
    };
}

/// What is printed here, without an end of the line, is to come once.
fn main() {
    print!("printed before");
    serve_worker::<Forked>()
}
