//! A thousand hosts, in two levels: one worker a host, and that worker has a pool of its own.
//!
//! ```text
//! cargo run --release --example two_levels                        # 4 "hosts" of 2 workers, all of them here
//! cargo run --release --example two_levels -- --hosts 32 --workers 8 --items 20000 --kill 8
//! two_levels --slurm --hosts 1000 --workers 64 --items 1000000    # where Slurm has room
//! ```
//!
//! A pool costs its program a thread and four descriptors for each worker, so one pool of 64,000 workers is too large,
//! and one of a thousand is not. The coordinator has a pool with one worker for each host. A job of that pool is a batch of
//! items, and a host does them with its own pool, on all its cores.
//!
//! - **A host reports each item at once,** as progress of its batch. If it is lost, what it has reported is kept.
//! - **The rest of a lost batch is done again,** one round later: the items here are such that this is harmless. Where it is
//!   not, the coordinator has to report them as lost, since some of them may have begun.
//! - **Batches become smaller** toward the end, so that no host works long after the others have finished.
//!
//! `--kill N` kills the processes of N hosts while they work. `--log FILE` has each item write a line there as it begins; the
//! test of this example reads them.

#![allow(clippy::print_stdout, reason = "a program may speak")]
#![allow(clippy::disallowed_methods, reason = "the library reads the clock in one place; this is a program")]

use hirelings::worker::{BoxError, Context, Outcome, Worker};
use hirelings::{Job, JobError, NoError, Pool, Site, worker};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{env, fmt, thread};

// ---------------------------------------------------------------- the items

/// One piece of work. `round` is 1, and one more each time that the host that had it was lost.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Item {
    number: u32,
    round: u32,
}

/// A job of a host's pool.
#[derive(Debug, Serialize, Deserialize)]
struct Task {
    item: Item,
    work: Work,
}

/// What an item does.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Work {
    millis: u64,
    log: Option<PathBuf>,
}

impl Job for Task {
    type Output = u64;
    type Progress = ();
    type Error = String;
}

/// Sleeps, in place of work: so one machine can be many hosts.
fn do_task(Task { item, work }: Task, _: &mut Context<Task>) -> Result<u64, String> {
    if let Some(path) = work.log {
        let mut log = OpenOptions::new().append(true).create(true).open(path).map_err(|error| error.to_string())?;
        // One write, so that lines of several processes do not mix.
        log.write_all(format!("{} {}\n", item.number, item.round).as_bytes()).map_err(|error| error.to_string())?;
    }
    thread::sleep(Duration::from_millis(work.millis));
    Ok(u64::from(item.number).pow(2))
}

// ---------------------------------------------------------------- a host

/// A job of the coordinator's pool.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Batch(Vec<Item>);

/// What has become of one item.
#[derive(Debug, Serialize, Deserialize)]
struct Report {
    number: u32,
    outcome: Result<u64, String>,
}

impl Job for Batch {
    type Output = ();
    type Progress = Report;
    type Error = NoError;
}

/// What a host is told when it starts.
#[derive(Clone, Serialize, Deserialize)]
struct HostOptions {
    workers: usize,
    work: Work,
}

/// The worker of a host, which has a pool of its own for as long as it lives.
struct Host {
    pool: Pool<Task>,
    work: Work,
}

impl Worker for Host {
    type Job = Batch;
    type Options = HostOptions;

    fn init(HostOptions { workers, work }: HostOptions) -> Result<Self, BoxError> {
        let pool = Pool::<Task>::self_exec().name("host").max_processes(workers).build()?;
        // Only a host that can work takes batches.
        pool.wait_ready(Duration::from_secs(30))?;
        Ok(Host { pool, work })
    }

    fn run(&mut self, Batch(items): Batch, ctx: &mut Context<Batch>) -> Outcome<Batch> {
        let tasks = items.iter().map(|&item| Task { item, work: self.work.clone() });
        for (at, result) in self.pool.map_unordered(tasks.collect::<Vec<_>>()) {
            let outcome = result.map_err(|error| error.to_string());
            ctx.progress(&Report { number: items[at].number, outcome });
        }
        Ok(())
    }
}

// ---------------------------------------------------------------- the coordinator

/// What the hooks tell the coordinator. They run on one thread and in order, so all that a host has reported of a batch comes
/// before the batch's end.
enum News {
    Reported(Report),
    /// The batch is over, with the error if its host was lost.
    Over(Batch, Option<JobError<NoError>>),
}

struct Coordinator<'p> {
    hosts: &'p Pool<Batch>,
    options: &'p Options,
    /// The items that no batch has.
    waiting: VecDeque<Item>,
    /// Those that are not reported, with their round.
    open: BTreeMap<u32, u32>,
    batches: usize,
    tell: mpsc::Sender<News>,
    tally: Tally,
}

#[derive(Default)]
struct Tally {
    succeeded: u32,
    failed: u32,
    batches: u32,
    lost_batches: u32,
    again: u32,
}

/// The argument of a program that Slurm starts on a host.
const HOST: &str = "--host";

/// How long nothing may come over the connection to a host that Slurm has placed.
const SILENCE: Duration = Duration::from_secs(5);

/// An item whose host was lost so often has failed: perhaps it is what kills them.
const MOST_ROUNDS: u32 = 5;

impl Coordinator<'_> {
    fn run(mut self, news: &mpsc::Receiver<News>) -> Result<Tally, Box<dyn Error>> {
        let mut killer = Killer::new(self.options);
        self.dispatch();
        while !self.open.is_empty() {
            match news.recv()? {
                News::Reported(Report { number, outcome }) => {
                    if self.open.remove(&number).is_none() {
                        return Err(format!("item {number} was reported twice").into());
                    }
                    match outcome {
                        Ok(_) => self.tally.succeeded += 1,
                        Err(_) => self.tally.failed += 1,
                    }
                    killer.look(self.hosts, self.tally.succeeded);
                }
                News::Over(batch, error) => {
                    self.batches -= 1;
                    if let Some(error) = error {
                        self.lost(batch, &error);
                    }
                    self.dispatch();
                }
            }
        }
        Ok(self.tally)
    }

    /// Two batches for each host, so that none waits for the coordinator.
    fn dispatch(&mut self) {
        while self.batches < 2 * self.options.hosts && !self.waiting.is_empty() {
            // A quarter of each host's share of what is left: many items at first, and few at the end.
            let share = self.waiting.len() / (4 * self.options.hosts);
            let size = share.clamp(self.options.workers, 64 * self.options.workers).min(self.waiting.len());
            let batch = self.waiting.drain(..size).collect();
            self.send(Batch(batch), Duration::ZERO);
        }
    }

    fn send(&mut self, batch: Batch, delay: Duration) {
        self.batches += 1;
        self.tally.batches += 1;
        let (reported, over, of) = (self.tell.clone(), self.tell.clone(), batch.clone());
        // The handle may be dropped: the hooks have it all. They may outlive the coordinator, which no longer listens then.
        let request = self.hosts.request(batch).delay(delay);
        let request = request.on_progress(move |report| drop(reported.send(News::Reported(report))));
        let _ = request.on_done(move |result| drop(over.send(News::Over(of, result.err())))).enqueue();
    }

    /// What a lost host has not reported goes to another, once it is sure that nobody does it any more.
    fn lost(&mut self, Batch(items): Batch, error: &JobError<NoError>) {
        self.tally.lost_batches += 1;
        let mut rest = Vec::new();
        for item in items {
            let Some(round) = self.open.get_mut(&item.number) else { continue };
            if *round == MOST_ROUNDS {
                self.open.remove(&item.number);
                self.tally.failed += 1;
                continue;
            }
            *round += 1;
            self.tally.again += 1;
            rest.push(Item { round: *round, ..item });
        }
        println!("a batch was lost, and {} of its items are done again: {error}", rest.len());
        if !rest.is_empty() {
            self.send(Batch(rest), self.options.end_of_a_host());
        }
    }
}

/// Kills hosts that work, one after the other.
struct Killer {
    left: u32,
    every: u32,
    next: u32,
}

impl Killer {
    fn new(options: &Options) -> Self {
        let every = options.items / (options.kill + 1);
        Killer { left: options.kill, every, next: every }
    }

    fn look(&mut self, hosts: &Pool<Batch>, succeeded: u32) {
        if self.left == 0 || succeeded < self.next {
            return;
        }
        let workers = hosts.workers();
        let working: Vec<_> = workers.iter().filter(|worker| worker.job.is_some()).collect();
        if let Some(host) = working.get(self.left as usize % working.len().max(1)) {
            (self.left, self.next) = (self.left - 1, self.next + self.every);
            let _ = Command::new("kill").args(["-KILL", &host.pid.to_string()]).status();
        }
    }
}

// ---------------------------------------------------------------- the program

struct Options {
    hosts: usize,
    workers: usize,
    items: u32,
    kill: u32,
    slurm: bool,
    work: Work,
}

impl Options {
    /// After what time it is sure that nothing runs on a host that is lost, so that its items can be done elsewhere. Its workers
    /// end within a second of the host's own process, and that ends once it has heard nothing for half as long again as the
    /// connection may be silent.
    fn end_of_a_host(&self) -> Duration {
        Duration::from_secs(1) + if self.slurm { SILENCE * 3 / 2 } else { Duration::ZERO }
    }

    fn from_arguments() -> Result<Self, lexopt::Error> {
        use lexopt::prelude::*;
        let work = Work { millis: 10, log: None };
        let mut options = Options { hosts: 4, workers: 2, items: 200, kill: 0, slurm: false, work };
        let mut arguments = lexopt::Parser::from_env();
        while let Some(argument) = arguments.next()? {
            match argument {
                Long("hosts") => options.hosts = arguments.value()?.parse()?,
                Long("workers") => options.workers = arguments.value()?.parse()?,
                Long("items") => options.items = arguments.value()?.parse()?,
                Long("kill") => options.kill = arguments.value()?.parse()?,
                Long("slurm") => options.slurm = true,
                Long("millis") => options.work.millis = arguments.value()?.parse()?,
                Long("log") => options.work.log = Some(arguments.value()?.into()),
                other => return Err(other.unexpected()),
            }
        }
        Ok(options)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { succeeded, failed, batches, lost_batches, again } = self;
        write!(f, "{succeeded} succeeded, {failed} failed, {batches} batches, {lost_batches} lost, {again} items again")
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    // This program is all three: a worker of a host, a host, and the coordinator.
    worker::init(do_task);
    worker::init_worker::<Host>();
    if env::args().nth(1).as_deref() == Some(HOST) {
        worker::serve_worker::<Host>();
    }

    let options = Options::from_arguments()?;
    let host_options = HostOptions { workers: options.workers, work: options.work.clone() };
    let hosts = match options.slurm {
        // The program must lie at the same path on each host. Its argument is what it is there.
        true => {
            let mut host = Command::new(env::current_exe()?);
            host.arg(HOST);
            let site =
                Site::slurm(options.hosts).option(format!("--cpus-per-task={}", options.workers)).silence(SILENCE);
            Pool::<Batch>::builder_on([site], host)
        }
        false => Pool::<Batch>::self_exec().max_processes(options.hosts),
    };
    let hosts = hosts
        .name("coordinator")
        .options(&host_options)
        // A host starts a pool before it is ready, and a batch takes as long as it takes.
        .timeout_initializing(Duration::from_secs(60))
        .timeout_working(None)
        .build()?;
    hosts.wait_ready(Duration::from_secs(120))?;

    let (tell, news) = mpsc::channel();
    let waiting: VecDeque<Item> = (0..options.items).map(|number| Item { number, round: 1 }).collect();
    let open = waiting.iter().map(|item| (item.number, item.round)).collect();
    let tally = Tally::default();
    let started = Instant::now();
    let coordinator = Coordinator { hosts: &hosts, options: &options, waiting, open, batches: 0, tell, tally };
    let tally = coordinator.run(&news)?;
    let took = started.elapsed();
    println!("{tally}");

    // How much of their time the workers were at work, had the items taken no longer than they sleep.
    let work = Duration::from_millis(options.work.millis) * options.items;
    let busy = work.as_secs_f64() / (took.as_secs_f64() * (options.hosts * options.workers) as f64);
    println!("{:.2} s, the workers busy for {:.0} % of it", took.as_secs_f64(), 100.0 * busy);
    Ok(())
}
