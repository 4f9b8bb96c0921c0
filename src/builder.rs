//! A pool's options. `PoolBuilder::build`, which checks them, is in a file of its own.

mod build;

use crate::dispatcher::Dispatcher;
use crate::event::{Event, EventKind};
use crate::failure::describe;
#[cfg(any(target_os = "linux", target_os = "android"))]
use crate::fork_server::ForkLauncher;
use crate::id::Slot;
use crate::launch::{Launch, Launcher, marked_name, self_exec};
use crate::limits::Limits;
use crate::options::{StartMethod, Stderr};
use crate::pool::Pool;
use crate::site::{Site, Sites};
use crate::supervisor::{ADAPTIVE, Config, MaxMemory, RetryPolicy};
use crate::transport::Transport;
use hirelings_worker_kit::Job;
use hirelings_worker_kit::wire::{Codec, CodecFault};
use parking_lot::Mutex;
use serde::Serialize;
use std::any::type_name;
use std::marker::PhantomData;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, thread};

/// A pool's options, from [`Pool::builder`].
///
/// ```no_run
/// # use hirelings::{Job, Pool, Stderr};
/// # use std::process::Command;
/// # use std::time::Duration;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Render(u32);
/// # impl Job for Render { type Output = Vec<u8>; type Progress = f32; type Error = String; }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = Pool::<Render>::builder(Command::new("/usr/lib/app/render-worker"))
///     .name("render")
///     .options(&80u8)
///     .max_processes(8)
///     .retries(2)
///     .timeout_working(Duration::from_secs(30))
///     .stderr(Stderr::Log)
///     .build()?;
/// # Ok(()) }
/// ```
#[must_use = "a builder does nothing until build is called"]
pub struct PoolBuilder<J: Job> {
    /// Behind a lock only so that a builder can be shared; nobody waits for it.
    source: Mutex<Source>,
    start_method: StartMethod,
    transport: Transport,
    /// The job type that `self_exec` was called with, where the command is its.
    self_exec: Option<String>,
    name: Option<String>,
    codec: Codec,
    /// In each codec that is known: which one it will be may be said later.
    options: Option<Vec<EncodedOptions>>,
    config: Config,
    max_frame: usize,
    limits: Limits,
    stderr: Stderr,
    dispatcher: Arc<Dispatcher>,
    /// The names of the sites, where the pool has some, and why none can be built on them.
    sites: Vec<Arc<str>>,
    sites_refused: Option<String>,
    jobs: PhantomData<fn() -> J>,
}

/// Where workers come from.
enum Source {
    Commands(Box<Launcher>),
    /// A test's own way to start them.
    #[cfg(test)]
    Other(Box<dyn Launch>),
}

impl Source {
    fn launch(self, method: StartMethod, transport: Transport) -> Box<dyn Launch> {
        match (self, method) {
            #[cfg(any(target_os = "linux", target_os = "android"))]
            (Source::Commands(commands), StartMethod::ForkServer) => {
                Box::new(ForkLauncher::new(commands.over(transport)))
            }
            (Source::Commands(commands), _) => Box::new(commands.over(transport)),
            #[cfg(test)]
            (Source::Other(launch), _) => launch,
        }
    }
}

impl<J: Job> Pool<J> {
    /// A pool whose workers are started by `command`.
    ///
    /// Its arguments, environment, directory and user are std's own; the pool sets standard input, output and error to
    /// fresh pipes at each spawn, and the process group.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # use std::process::Command;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut worker = Command::new("/usr/lib/app/squares-worker");
    /// worker.arg("--quiet").env("LANG", "C").current_dir("/var/lib/app");
    /// let pool = Pool::<Square>::builder(worker).build()?;
    /// # Ok(()) }
    /// ```
    pub fn builder(command: Command) -> PoolBuilder<J> {
        PoolBuilder::of_command(command)
    }

    /// A pool whose workers are the running executable: [`builder`](Pool::builder) with [`self_exec`] for the same jobs,
    /// which are so named once.
    ///
    /// ```no_run
    /// # use hirelings::{Job, NoError, Pool, worker};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Double(u64);
    /// # impl Job for Double { type Output = u64; type Progress = (); type Error = NoError; }
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     worker::init(|Double(n), _| Ok(2 * n));
    ///     let pool = Pool::<Double>::self_exec().max_processes(4).build()?;
    ///     assert_eq!(pool.enqueue(Double(21)).wait()?, 42);
    ///     Ok(())
    /// }
    /// ```
    pub fn self_exec() -> PoolBuilder<J> {
        Pool::builder(self_exec::<J>())
    }

    /// A pool whose workers are started by what `launch` gives for their slot, asked at each spawn: slot 0 can be a local
    /// process, slot 1 `ssh host worker`.
    ///
    /// `launch` runs on a thread of the pool, which blocks all signals, as what `launch` itself starts then does too. One
    /// that panics is a start failure, and one that never returns keeps other workers from being started.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # use std::process::Command;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = Pool::<Square>::builder_with(|slot| match slot.index() {
    ///     0 => Command::new("squares-worker"),
    ///     n => {
    ///         let mut far = Command::new("ssh");
    ///         far.args(["-T", "-o", "BatchMode=yes", &format!("host{n}"), "squares-worker"]);
    ///         far
    ///     }
    /// })
    /// .max_processes(3)
    /// .build()?;
    /// # Ok(()) }
    /// ```
    pub fn builder_with(launch: impl FnMut(Slot) -> Command + Send + 'static) -> PoolBuilder<J> {
        PoolBuilder::new(Source::Commands(Box::new(Launcher::asking(launch))))
    }

    /// A builder of a pool whose workers are in several places: on this machine, on hosts over ssh, in a cluster.
    ///
    /// `program` is what each site starts: of it, the program, the arguments, the environment that was set, and the working
    /// directory count, and on another machine they are those of that machine. [`Site::program`] gives one site another.
    /// `max_processes` is the sum of the sites' slots. A site that cannot be reached costs its own slots only; its name is in
    /// every error, event and figure of its workers.
    ///
    /// With a site on another machine `build` refuses what could only be done on this one: [`limits`](PoolBuilder::limits),
    /// [`max_memory`](PoolBuilder::max_memory), and the [fork server](StartMethod::ForkServer).
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # use std::process::Command;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let sites = [Site::local(4), Site::ssh("build1", 16), Site::slurm(64)];
    /// let pool = Pool::<Square>::builder_on(sites, Command::new("/opt/app/worker")).retries(2).build()?;
    /// for worker in pool.workers() {
    ///     println!("{} is at {:?}", worker.id, worker.site);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn builder_on(sites: impl IntoIterator<Item = Site>, program: Command) -> PoolBuilder<J> {
        PoolBuilder::of_sites(Sites::new(sites.into_iter().collect(), program))
    }
}

impl<J: Job> PoolBuilder<J> {
    fn of_sites(sites: Sites) -> Self {
        let (names, rules, refused) = (sites.names(), sites.rules(), sites.refused());
        let self_exec = sites.self_exec().filter(|_| refused.is_none());
        let slots = rules.iter().map(|site| site.slots).fold(0, usize::saturating_add);
        let launcher = Launcher::asking(move |slot| sites.command(slot));
        let mut builder = PoolBuilder::new(Source::Commands(Box::new(launcher)));
        builder.config.max_processes = slots;
        builder.config.sites = rules;
        PoolBuilder { self_exec, sites: names, sites_refused: refused, ..builder }
    }

    /// A builder of workers that `command` starts.
    pub(crate) fn of_command(command: Command) -> Self {
        let self_exec = marked_name(&command);
        PoolBuilder { self_exec, ..PoolBuilder::new(Source::Commands(Box::new(Launcher::of(command)))) }
    }

    /// A builder of workers that are started in a way of the test's own.
    #[cfg(test)]
    pub(crate) fn of_launch(launch: impl Launch + 'static) -> Self {
        PoolBuilder::new(Source::Other(Box::new(launch)))
    }

    fn new(source: Source) -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        PoolBuilder {
            source: Mutex::new(source),
            start_method: StartMethod::Exec,
            transport: Transport::Pipes,
            self_exec: None,
            name: None,
            codec: Codec::Bincode,
            options: None,
            config: Config { max_processes: (cores * 5).div_ceil(4), cores, ..Config::default() },
            limits: Limits::new(),
            max_frame: 1 << 30,
            stderr: Stderr::Forward,
            dispatcher: Dispatcher::new(Some(describe::<J>)),
            sites: Vec::new(),
            sites_refused: None,
            jobs: PhantomData,
        }
    }

    /// What the pool is called in errors, events and the log. Default: the job type, without its path.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// // Errors, events and the log show which of two pools of the same job type they are about.
    /// let large = Pool::<Square>::builder(self_exec::<Square>()).name("large").build()?;
    /// let small = Pool::<Square>::builder(self_exec::<Square>()).name("small").build()?;
    /// # Ok(()) }
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How jobs, options, outputs, progress and errors are encoded. Default: `Codec::Bincode`.
    ///
    /// `Codec::Json`, with the feature `json`, is for workers in other languages, and for types that bincode cannot decode.
    /// A worker that does not know the codec refuses to start and says so; one of the worker kit knows JSON with its own
    /// feature `json`.
    ///
    /// ```no_run
    /// # #[cfg(feature = "json")] mod example {
    /// # use hirelings::*;
    /// # use std::process::Command;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Hash { path: String }
    /// # impl Job for Hash { type Output = String; type Progress = (); type Error = String; }
    /// # fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut python = Command::new("python3");
    /// python.arg("hash_worker.py");
    /// let pool = Pool::<Hash>::builder(python).codec(Codec::Json).build()?;
    /// println!("{}", pool.enqueue(Hash { path: "Cargo.toml".into() }).wait()?);
    /// # Ok(()) }
    /// # }
    /// ```
    pub fn codec(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }

    /// What each worker gets as its options when it is made. They are encoded here; `build` refuses what cannot be.
    /// Default: none, which a worker reads as `()`.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # use std::process::Command;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// // The worker program reads the same type: in `Worker::init`, or with `Session::options`.
    /// #[derive(serde::Serialize, serde::Deserialize)]
    /// struct Settings { quality: u8 }
    ///
    /// let worker = Command::new("/usr/lib/app/squares-worker");
    /// let pool = Pool::<Square>::builder(worker).options(&Settings { quality: 80 }).build()?;
    /// # Ok(()) }
    /// ```
    pub fn options<T: Serialize>(mut self, options: &T) -> Self {
        let encoded = Codec::ALL.iter().map(|&codec| {
            let mut bytes = Vec::new();
            let encoded = codec.encode(options, &mut bytes, usize::MAX).map(|()| bytes);
            EncodedOptions { codec, encoded: encoded.map_err(|fault| (fault, type_name::<T>())) }
        });
        self.options = Some(encoded.collect());
        self
    }

    /// The most worker processes, the dying ones counted; from 1 to 65,535.
    /// Default: 1.25 × the available parallelism, rounded up.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// // Jobs that wait for the network rather than for a core.
    /// let pool = Pool::<Square>::builder(self_exec::<Square>()).max_processes(64).build()?;
    /// # Ok(()) }
    /// ```
    pub fn max_processes(mut self, n: usize) -> Self {
        self.config.max_processes = n;
        self
    }

    /// How many worker processes `build` starts, and starts again where one ends, without waiting for a job that needs
    /// them; at most `max_processes`. Default: 0.
    ///
    /// Whatever this is, `build` starts one, and more are started as jobs wait, up to `max_processes`. With
    /// [`idle_timeout`](PoolBuilder::idle_timeout) the pool shrinks to this number while there is nothing to do; without, no
    /// worker is ended because of that. A pool that drains starts none for it.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// // Two are started at once, so that the first two jobs wait for no start.
    /// let pool = Pool::<Square>::builder(self_exec::<Square>()).min_processes(2).build()?;
    /// # Ok(()) }
    /// ```
    pub fn min_processes(mut self, n: usize) -> Self {
        self.config.min_processes = n;
        self
    }

    /// How many jobs a worker does, exactly, before it is replaced; at least 1. Default: 64 and a minute.
    ///
    /// By default a worker is replaced once it has done 64 jobs **and** is a minute old, so that what leaks is given back in
    /// time and many short jobs do not pay for many processes. Where the number is set, it holds exactly, whatever the age.
    ///
    /// The successor of a worker that has few jobs left is started while it works, where a slot and a processor are free for
    /// it, so that no job waits for a start. Where workers do their jobs in less time than one takes to start, several are
    /// started, as far as there are slots: give such a pool more
    /// [`max_processes`](PoolBuilder::max_processes) than the jobs alone would need.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// // A library that leaks: what it has taken is given back after ten jobs.
    /// let pool = Pool::<Square>::builder(self_exec::<Square>()).max_jobs_per_process(10).build()?;
    /// # Ok(()) }
    /// ```
    pub fn max_jobs_per_process(mut self, n: u64) -> Self {
        self.config.max_jobs_per_process = Some(n);
        self
    }

    /// How long a worker may be without a job before it leaves, while there are more than
    /// [`min_processes`](PoolBuilder::min_processes). `None` is no limit. Default: `None`.
    ///
    /// A worker that leaves is told to, and is counted as recycled. The one that did a job last gets the next, so those that
    /// are needed least leave first. More are started again as jobs wait. None leaves while
    /// [`wait_ready`](crate::Pool::wait_ready) or [`spawn_workers`](crate::Pool::spawn_workers) is still to have all of them
    /// ready. It holds while the pool is paused and while it drains.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # use std::time::Duration;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// // Work comes in bursts: between them one worker is kept, and the memory of the others is given back.
    /// let pool = Pool::<Square>::self_exec().min_processes(1).idle_timeout(Duration::from_secs(60)).build()?;
    /// # Ok(()) }
    /// ```
    pub fn idle_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.config.idle_timeout = limit.into();
        self
    }

    /// How old a worker may be: an older one leaves after its job, or at once where it has none. `None` is no limit.
    /// Default: `None`.
    ///
    /// Each worker has a limit of its own, up to a tenth less than this one, so that workers that were started together do
    /// not all leave at once. It counts from when the worker is ready, and holds beside
    /// [`max_jobs_per_process`](PoolBuilder::max_jobs_per_process): whichever is reached first. What was prefetched to the
    /// worker comes back. Successors are started as after that number of jobs. A job that runs is never ended by it; a pool
    /// that drains holds it as well.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # use std::time::Duration;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// // What a worker has read at its start, credentials for instance, is never older than an hour.
    /// let pool = Pool::<Square>::self_exec().max_age(Duration::from_secs(3600)).build()?;
    /// # Ok(()) }
    /// ```
    pub fn max_age(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.config.max_age = limit.into();
        self
    }

    /// How often a job is tried again after an attempt that failed: 2 makes three attempts. Default: 0.
    ///
    /// It is the short form of `retry(RetryPolicy::new(n))`.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = Pool::<Square>::builder(self_exec::<Square>())
    ///     .retries(2)
    ///     .on(EventKind::JobRetry, |event| eprintln!("once more: {event}"))
    ///     .build()?;
    /// # Ok(()) }
    /// ```
    pub fn retries(self, n: u32) -> Self {
        self.retry(RetryPolicy::new(n))
    }

    /// Whether, how often and when a job is tried again after an attempt that failed. Default: `RetryPolicy::new(0)`.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # use std::time::Duration;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// // A worker that was lost is no reason to give up, and may have been lost for want of memory: others come first.
    /// let policy = RetryPolicy::new(3)
    ///     .on(&[JobErrorKind::Crashed, JobErrorKind::OutOfMemory])
    ///     .backoff(Duration::from_secs(5), Duration::from_secs(60));
    /// let pool = Pool::<Square>::self_exec().retry(policy).build()?;
    /// # Ok(()) }
    /// ```
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.config.retry = policy;
        self
    }

    /// A job that no worker has begun after so long a time, from when the pool admits it, is settled as
    /// [`JobError::Expired`](crate::JobError::Expired), as [`JobRequest::expires`](crate::JobRequest::expires) describes;
    /// `None` is never. Default: `None`.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # use std::time::Duration;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// // Under a load that is too high, what has waited for longer is of no use to anybody.
    /// let pool = Pool::<Square>::self_exec().expires(Duration::from_secs(10)).build()?;
    /// # Ok(()) }
    /// ```
    pub fn expires(mut self, after: impl Into<Option<Duration>>) -> Self {
        self.config.expires = after.into().filter(|after| *after != Duration::MAX);
        self
    }

    /// How long a worker may take from its spawn to its first ready; `None` is no limit, 0 is refused. Default: 5 s.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # use std::time::Duration;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// // Each worker loads a large model before its first job.
    /// let pool = Pool::<Square>::builder(self_exec::<Square>())
    ///     .timeout_initializing(Duration::from_secs(60))
    ///     .build()?;
    /// # Ok(()) }
    /// ```
    pub fn timeout_initializing(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.config.timeout_initializing = limit.into();
        self
    }

    /// How long a worker may take for a job, sending it included; `None` is no limit, 0 is refused. Default: 10 s.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # use std::time::Duration;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// // No limit in general; a job that should have one is given it.
    /// let pool = Pool::<Square>::builder(self_exec::<Square>()).timeout_working(None).build()?;
    /// let handle = pool.request(Square(7)).timeout(Duration::from_secs(30)).enqueue();
    /// # Ok(()) }
    /// ```
    pub fn timeout_working(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.config.timeout_working = limit.into();
        self
    }

    /// After how long a job that runs is asked to come to its end: its handler sees it in `Context::is_cancelled`, and what it
    /// returns counts, an output like an error, which may be retried. Nobody is killed: that is what
    /// [`timeout_working`](PoolBuilder::timeout_working) does, so a soft limit must be under it. 0 is refused. A worker that
    /// speaks version 1 of the protocol only is not asked. Default: `None`.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # use std::time::Duration;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// // After 25 s the handler gives the best answer that it has; after 30 s it is too late.
    /// let pool = Pool::<Square>::builder(self_exec::<Square>())
    ///     .soft_timeout(Duration::from_secs(25))
    ///     .timeout_working(Duration::from_secs(30))
    ///     .build()?;
    /// # Ok(()) }
    /// ```
    pub fn soft_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.config.soft_timeout = limit.into().filter(|limit| *limit != Duration::MAX);
        self
    }

    /// How long a worker may take from its answer to the next ready; `None` is no limit, 0 is refused. Default: 5 s.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # use std::time::Duration;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// // After each job, `Worker::recover` empties a scratch folder that may be large.
    /// let pool = Pool::<Square>::builder(self_exec::<Square>())
    ///     .timeout_recovering(Duration::from_secs(20))
    ///     .build()?;
    /// # Ok(()) }
    /// ```
    pub fn timeout_recovering(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.config.timeout_recovering = limit.into();
        self
    }

    /// How long a worker has from SIGTERM, or from its last job's end, to its own end, before SIGKILL. 0 leaves it no
    /// time: what is killed gets SIGKILL at once. Default: 500 ms.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # use std::time::Duration;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// // What the workers start takes a moment to put its files in order at SIGTERM.
    /// let pool = Pool::<Square>::builder(self_exec::<Square>()).kill_grace(Duration::from_secs(3)).build()?;
    /// # Ok(()) }
    /// ```
    pub fn kill_grace(mut self, grace: Duration) -> Self {
        self.config.kill_grace = grace;
        self
    }

    /// How many start failures of a slot in a row, while no worker is ready, settle the queued jobs as
    /// [`NoWorker`](crate::JobError::NoWorker); at least 1. Default: 5.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// // In a test: a worker that does not start fails the jobs at once.
    /// let pool = Pool::<Square>::builder(self_exec::<Square>()).start_failures(1).build()?;
    /// # Ok(()) }
    /// ```
    pub fn start_failures(mut self, n: u32) -> Self {
        self.config.start_failures = n;
        self
    }

    /// What the system allows each worker process: address space, processor time, files. None unless set.
    ///
    /// A worker that dies of one says so: see [`Crash::limit`](crate::Crash::limit). Linux only: elsewhere `build` refuses
    /// it, as it does limits under which no worker could start.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # use std::time::Duration;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(builder: PoolBuilder<Square>) -> Result<(), BuildError> {
    /// let limits = Limits::new().address_space(1 << 30).cpu_time(Duration::from_secs(60));
    /// let pool = builder.limits(limits).build()?;
    /// # drop(pool); Ok(()) }
    /// ```
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// How many bytes of memory a worker may hold and still be given another job: over it, it finishes its job and is
    /// replaced, which is a cure for leaks. `None` is no limit, 0 is refused. Default: none.
    ///
    /// Its memory is looked at when it is ready again; what is counted, [`max_memory_hard`](PoolBuilder::max_memory_hard)
    /// says.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(builder: PoolBuilder<Square>) -> Result<(), BuildError> {
    /// let pool = builder.max_memory_soft(256 << 20).max_memory_hard(1 << 30).build()?;
    /// # drop(pool); Ok(()) }
    /// ```
    pub fn max_memory_soft(mut self, bytes: impl Into<Option<u64>>) -> Self {
        self.config.max_memory.soft = bytes.into();
        self
    }

    /// How many bytes of memory a worker may hold at all: over it, it is killed, and its job fails with
    /// [`JobError::OutOfMemory`](crate::JobError::OutOfMemory) or is retried. `None` is no limit; 0, and less than
    /// [`max_memory_soft`](PoolBuilder::max_memory_soft), are refused. Default: none.
    ///
    /// Counted is its resident memory, with the buffers that it keeps between large payloads, up to 64 MiB, and without
    /// the processes that it has started. What it shares with others counts where it was started by exec, and does not
    /// where a [fork server](StartMethod::ForkServer) made it. It is looked at every 100 ms while it has something to
    /// do, so what grows faster may be over the limit for a moment; what a forked worker writes to of the state that it
    /// shares may be found later. For a limit that nothing can pass, see
    /// [`Limits::address_space`]. Linux only: elsewhere `build` refuses it.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(builder: PoolBuilder<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = builder.max_memory_hard(1 << 30).build()?;
    /// if let Err(JobError::OutOfMemory(memory)) = pool.enqueue(Square(7)).wait() {
    ///     println!("{} bytes were too many", memory.resident);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn max_memory_hard(mut self, bytes: impl Into<Option<u64>>) -> Self {
        self.config.max_memory.hard = bytes.into();
        self
    }

    /// Both limits in one call: [`max_memory_soft`](PoolBuilder::max_memory_soft), after which a worker is replaced, and
    /// [`max_memory_hard`](PoolBuilder::max_memory_hard), at which it is killed.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(builder: PoolBuilder<Square>) -> Result<(), BuildError> {
    /// let pool = builder.max_memory(256 << 20, 1 << 30).build()?;
    /// # drop(pool); Ok(()) }
    /// ```
    pub fn max_memory(mut self, soft: impl Into<Option<u64>>, hard: impl Into<Option<u64>>) -> Self {
        self.config.max_memory = MaxMemory { soft: soft.into(), hard: hard.into() };
        self
    }

    /// How many jobs may wait in the backlog, at least 1. When it is full, `enqueue` blocks and `try_enqueue` refuses the
    /// job.
    /// Default: no limit.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// // No more than a thousand jobs wait in memory, however long the input is.
    /// let pool = Pool::<Square>::builder(self_exec::<Square>()).max_backlog(1000).build()?;
    /// for line in std::io::stdin().lines() {
    ///     let request = pool.request(Square(line?.parse()?));
    ///     let _ = request.on_success(|square| println!("{square}")).enqueue();
    /// }
    /// pool.wait_idle();
    /// # Ok(()) }
    /// ```
    pub fn max_backlog(mut self, n: usize) -> Self {
        self.config.max_backlog = Some(n);
        self
    }

    /// The longest frame either way, in bytes: a job, an output, a progress, with some 20 bytes of envelope. From 1 KiB to
    /// 4 GiB - 1. Default: 1 GiB.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// // No answer of more than 16 MiB is read, whatever a worker sends.
    /// let pool = Pool::<Square>::builder(self_exec::<Square>()).max_frame(16 << 20).build()?;
    /// # Ok(()) }
    /// ```
    pub fn max_frame(mut self, bytes: usize) -> Self {
        self.max_frame = bytes;
        self
    }

    /// How many jobs a worker may be sent while it still does another one. Jobs are prefetched only while no worker is free,
    /// and only to a worker whose recent jobs took about a millisecond or less. A prefetched job is still queued; it is
    /// recalled if the job before it takes longer. Of large jobs one is prefetched, or as many as have a mebibyte of payloads.
    /// `None` adapts to the worker's pace, up to 256; `Some(0)` is off. Default: `None`.
    ///
    /// Jobs are still sent in their order. With several workers, the [`Task`](EventKind::Task) event of a prefetched job may
    /// come after that of a later job, if the later job's worker is quicker.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// // A job stays in the backlog until a worker is free to do it.
    /// let pool = Pool::<Square>::builder(self_exec::<Square>()).prefetch(0).build()?;
    /// # Ok(()) }
    /// ```
    pub fn prefetch(mut self, jobs: impl Into<Option<u32>>) -> Self {
        self.config.prefetch = jobs.into().unwrap_or(ADAPTIVE);
        self
    }

    /// Where the workers' standard error goes. Default: [`Stderr::Forward`].
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// // The workers' standard error goes to the program's own log.
    /// let pool = Pool::<Square>::builder(self_exec::<Square>()).stderr(Stderr::Log).build()?;
    /// # Ok(()) }
    /// ```
    pub fn stderr(mut self, to: Stderr) -> Self {
        self.stderr = to;
        self
    }

    /// How workers are started. Default: [`StartMethod::Exec`].
    ///
    /// With [`StartMethod::ForkServer`] the program is started once, as the fork server: what its main does before it
    /// serves, and [`Worker::init`](crate::worker::Worker::init), are done once, there. Each worker is a copy of it,
    /// which shares its memory until one of the two writes to it, and begins with
    /// [`Worker::after_fork`](crate::worker::Worker::after_fork). So a large state is loaded once, and not at each
    /// replacement, and a pool in which each job has a fresh process is about twice as fast. Its first workers are
    /// ready later, since the fork server is started first. Everything else holds as it does for other workers: limits,
    /// process groups, how deaths are told apart.
    ///
    /// It is for programs that are built on the Rust kit and start no thread before they serve; where there are others, the
    /// start fails, and names them. It is not for hostile input: all workers have one memory layout, so that one that
    /// crashes tells what the next looks like. And where the fork server has much memory in pages that it has written, a fork
    /// is slower than an exec. `docs/starting.md` has the figures, and the traps.
    ///
    /// Where [`Pool::builder_with`] gives commands that differ in program, arguments, environment or directory, each has a
    /// fork server of its own. [`timeout_initializing`](PoolBuilder::timeout_initializing) limits how long one may take to be
    /// ready, and to answer. One that dies is started anew when the next worker is needed; its workers finish the job that
    /// they do, take no more, and leave. Fork servers are not counted by [`max_processes`](PoolBuilder::max_processes).
    /// [`max_memory`](PoolBuilder::max_memory) counts what a worker does not share with others, and
    /// [`Limits::address_space`] all that it has mapped. Linux only: elsewhere `build` refuses it.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// // What leaks is given back after each job, and the model is not loaded again.
    /// let pool = Pool::<Square>::self_exec()
    ///     .start_method(StartMethod::ForkServer)
    ///     .max_jobs_per_process(1)
    ///     .build()?;
    /// # Ok(()) }
    /// ```
    pub fn start_method(mut self, method: StartMethod) -> Self {
        self.start_method = method;
        self
    }

    /// What a worker's standard input and output are: pipes, or Unix sockets. Default: [`Transport::Pipes`].
    ///
    /// Sockets are right for payloads of a MiB and more: 1 MiB there and back takes about 0.7 of the time that it takes through
    /// pipes, 16 MiB 0.7 to 1.0, by the machine. A worker that is built on the Rust or the Python kit notices nothing. There are
    /// two differences:
    ///
    /// * A socket cannot be opened again by its path, as `cat /dev/stdin` would. A worker in Node needs that for private
    ///   descriptors, and without it starts itself once more.
    /// * Where a worker dies, the pool cannot see how much of its input it had read. The first job that it was sent and did not
    ///   answer has used its attempt, although the worker may not have read it.
    ///
    /// At a [`Site`](crate::Site) on another machine, sockets reach the local `ssh` or `srun`. What the worker has over there, that
    /// program's other side decides.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = Pool::<Square>::self_exec().transport(Transport::Sockets).build()?;
    /// # Ok(()) }
    /// ```
    pub fn transport(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self
    }

    /// Calls `f` with each event of `kind`, like [`Pool::on`], from the first event on.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = Pool::<Square>::builder(self_exec::<Square>())
    ///     .on(EventKind::Spawn, |event| println!("process {:?} is a worker", event.pid()))
    ///     .build()?;
    /// # Ok(()) }
    /// ```
    pub fn on(self, kind: EventKind, f: impl FnMut(&Event) + Send + 'static) -> Self {
        self.dispatcher.add(Some(kind), f);
        self
    }

    /// Calls `f` with every event, like [`Pool::on_event`], from the first one on.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = Pool::<Square>::builder(self_exec::<Square>())
    ///     .on_event(|event| log::debug!("{event}"))
    ///     .build()?;
    /// # Ok(()) }
    /// ```
    pub fn on_event(self, f: impl FnMut(&Event) + Send + 'static) -> Self {
        self.dispatcher.add(None, f);
        self
    }
}

/// The options in one codec; or why they have no bytes in it, and the name of their type.
struct EncodedOptions {
    codec: Codec,
    encoded: Result<Vec<u8>, (CodecFault, &'static str)>,
}

impl<J: Job> fmt::Debug for PoolBuilder<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolBuilder").field("name", &self.name).field("config", &self.config).finish_non_exhaustive()
    }
}
