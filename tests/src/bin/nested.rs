//! A worker with a pool of its own, whose workers have pools of their own too. Its first argument is how many levels lie below
//! it, its second a gate: the lowest workers wait for it. It says which processes there are, then does what it reads: `drain`,
//! or `forget`, which returns from main with all of it going on.

use hirelings::worker::{self, BoxError, Context, Outcome, Worker};
use hirelings::{Job, JobHandle, Pool, Stderr};
use hirelings_tests::Gate;
use serde::{Deserialize, Serialize};
use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::time::Duration;
use std::{env, io, process};

/// Waits for the gate, at the end of so many levels below.
#[derive(Clone, Serialize, Deserialize)]
struct Descend {
    levels: u32,
    gate: PathBuf,
}

impl Job for Descend {
    /// How many workers have waited.
    type Output = u32;
    /// A process, and the one whose worker it is.
    type Progress = (u32, u32);
    type Error = String;
}

/// Its pool lives as long as it does.
struct Nested {
    pool: Option<Pool<Descend>>,
}

impl Worker for Nested {
    type Job = Descend;
    type Options = ();

    fn init((): ()) -> Result<Self, BoxError> {
        Ok(Nested { pool: None })
    }

    fn run(&mut self, Descend { levels, gate }: Descend, ctx: &mut Context<Descend>) -> Outcome<Descend> {
        ctx.progress(&(process::id(), parent_id()));
        if levels == 0 {
            Gate::wait(&gate);
            return Ok(1);
        }
        let pool = match self.pool.take() {
            Some(pool) => pool,
            None => pool().map_err(|error| error.to_string())?,
        };
        let pool = self.pool.insert(pool);
        let below = Descend { levels: levels - 1, gate };
        let jobs = descend(pool, &below, |process| ctx.progress(&process));
        let waited = jobs.map(JobHandle::wait).into_iter().sum::<Result<u32, _>>();
        waited.map_err(|error| error.to_string())
    }
}

/// Enqueues two jobs, and tells of all processes that do them.
fn descend(pool: &Pool<Descend>, job: &Descend, mut tell: impl FnMut((u32, u32))) -> [JobHandle<Descend>; 2] {
    let (told, processes) = channel();
    let jobs = [told.clone(), told].map(|told| {
        let request = pool.request(job.clone()).on_progress(move |process| {
            let _ = told.send(process);
        });
        request.enqueue()
    });
    processes.iter().take(2 * processes_of(job.levels)).for_each(&mut tell);
    jobs
}

/// How many processes do a job of so many levels.
fn processes_of(levels: u32) -> usize {
    (2 << levels) - 1
}

fn parent_id() -> u32 {
    rustix::process::getppid().map_or(0, |pid| pid.as_raw_pid().cast_unsigned())
}

fn pool() -> Result<Pool<Descend>, hirelings::BuildError> {
    Pool::<Descend>::self_exec().max_processes(2).timeout_working(None).stderr(Stderr::Null).build()
}

fn main() {
    worker::init_worker::<Nested>();
    let mut arguments = env::args().skip(1);
    let levels: u32 = arguments.next().and_then(|levels| levels.parse().ok()).expect("how many levels");
    let gate: PathBuf = arguments.next().expect("a gate").into();
    let pool = pool().expect("a pool");
    let job = Descend { levels: levels - 1, gate };
    let jobs = descend(&pool, &job, |(pid, parent)| println!("{pid} {parent}"));
    println!("all");
    io::stdout().flush().expect("an output");
    let word = io::stdin().lock().lines().next().and_then(Result::ok).unwrap_or_default();
    match word.as_str() {
        "drain" => {
            let drained = pool.drain(Duration::MAX);
            let waited: u32 = jobs.into_iter().map(|job| job.wait().unwrap_or(0)).sum();
            println!("{} {waited}", drained.left);
        }
        "forget" => std::mem::forget(pool),
        _ => {
            for job in jobs {
                println!("{}", job.wait().map_or_else(|error| error.to_string(), |waited| waited.to_string()));
            }
        }
    }
}
