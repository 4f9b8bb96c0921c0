//! A work queue on child processes: your program enqueues jobs, a pool of worker processes does them, and a crash, a
//! hang, a leak or a kill costs one job, never the program.
//!
//! It is made for work that may fail in ways that no `Result` catches: decoders of hostile files, foreign libraries,
//! plug-ins, code that leaks or cannot be cancelled otherwise. It is synchronous: handles that block, iterators,
//! callbacks, no async runtime. Where the work is your own safe Rust and is only to be spread over cores, a thread pool
//! is better.
//!
//! 1. [One program that is its own worker](#one-program-that-is-its-own-worker)
//! 2. [A separate worker program, with options and state](#a-separate-worker-program-with-options-and-state)
//! 3. [Waiting for results](#waiting-for-results)
//! 4. [Progress](#progress)
//! 5. [Retries and limits of time](#retries-and-limits-of-time)
//! 6. [Errors](#errors)
//! 7. [Aborting, priorities, keys, a full backlog](#aborting-priorities-keys-a-full-backlog)
//! 8. [Events and hooks](#events-and-hooks)
//! 9. [The end](#the-end)
//! 10. [Beside an async runtime](#beside-an-async-runtime)
//! 11. [Testing](#testing)
//! 12. [Hostile input](#hostile-input)
//! 13. [Workers that are forked](#workers-that-are-forked)
//! 14. [What can be sent, and what cannot](#what-can-be-sent-and-what-cannot)
//!
//! # One program that is its own worker
//!
//! A [`Job`] is a type that serde can encode, with the types of what comes back. The same executable is started again
//! as its own worker: [`worker::init`] does the jobs there and never returns, and returns at once everywhere else.
//!
//! ```no_run
//! use hirelings::{Job, Pool, worker};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Square(u64);
//!
//! impl Job for Square {
//!     type Output = u64;
//!     type Progress = ();
//!     type Error = String;
//! }
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     // First thing in main: what stands before it is done in each worker too.
//!     worker::init(|Square(n), _| n.checked_mul(n).ok_or_else(|| format!("{n} squared is too large")));
//!
//!     let pool = Pool::<Square>::self_exec().build()?;
//!     println!("{}", pool.enqueue(Square(7)).wait()?);
//!     Ok(())
//! }
//! ```
//!
//! It needs `cargo add hirelings` and `cargo add serde --features derive`. One executable may hold several calls of
//! `init`, one for each job type; before them, [`worker::is_worker`] says whether this process is a worker, for a program
//! that confines itself early. The function `init` finds out what a process is; the method of the same name in
//! [`worker::Worker`], below, makes the state of one worker. A `build` in a worker that has not called `init` is refused
//! ([`BuildErrorKind::NotAWorker`]), so a forgotten `init` is an error and no fork bomb.
//!
//! # A separate worker program, with options and state
//!
//! A worker program depends on `hirelings-worker-kit` alone, which has nothing of the pool in it and is re-exported
//! here as [`worker`]. A [`worker::Worker`] is made once from the pool's options, keeps state from job to job, and may
//! clean up between them:
//!
//! ```no_run
//! // In both programs, for instance in a crate of its own.
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Render { page: u32 }
//!
//! #[derive(Serialize, Deserialize)]
//! struct Settings { quality: u8 }
//!
//! # use hirelings::Job;
//! impl Job for Render {
//!     type Output = hirelings::Bytes;
//!     type Progress = f32;
//!     type Error = String;
//!     // The two programs know the type under different paths, so it has a name of its own.
//!     fn name() -> &'static str { "render" }
//! }
//!
//! // The worker program; `use hirelings_worker_kit::…` there.
//! use hirelings::worker::{BoxError, Context, Outcome, Worker, serve_worker};
//!
//! struct Renderer { quality: u8, scratch: Vec<u8> }
//!
//! impl Worker for Renderer {
//!     type Job = Render;
//!     type Options = Settings;
//!
//!     fn init(options: Settings) -> Result<Self, BoxError> {
//!         Ok(Renderer { quality: options.quality, scratch: Vec::new() })
//!     }
//!
//!     fn run(&mut self, job: Render, ctx: &mut Context<Render>) -> Outcome<Render> {
//!         ctx.progress(&0.5);
//!         self.scratch.resize(64 * usize::from(self.quality), job.page as u8);
//!         Ok(self.scratch.clone().into())
//!     }
//!
//!     // After the answer has gone out, before the next job.
//!     fn recover(&mut self) -> Result<(), BoxError> {
//!         self.scratch.clear();
//!         Ok(())
//!     }
//! }
//!
//! fn worker_main() { serve_worker::<Renderer>() }
//!
//! // The pool's program.
//! use hirelings::{Pool, Stderr};
//! use std::process::Command;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pool = Pool::<Render>::builder(Command::new("/usr/lib/app/render-worker"))
//!     .options(&Settings { quality: 80 })
//!     .max_processes(8)
//!     .max_jobs_per_process(1000)
//!     .stderr(Stderr::Log)
//!     .build()?;
//! # Ok(()) }
//! ```
//!
//! The command is std's own: arguments, environment, directory, user. [`Pool::builder_with`] asks a closure at each
//! spawn, with the [`Slot`], and takes whatever carries standard input and output. [`Pool::builder_on`] has workers in several
//! places: on this machine, on hosts over ssh, in a Slurm cluster. In a worker, standard output *is* standard error and standard input is empty: nothing that is
//! printed can get into the protocol. A worker with a handler only, and no state, calls [`worker::serve`].
//!
//! `docs/scale.md` says how many workers one pool carries, and how a thousand hosts are done: one worker a host, which has a
//! pool of its own.
//!
//! `build` starts the first worker and does not wait for it. [`Pool::wait_ready`] starts all of them, waits, and says
//! what stopped them: the thing to call in a service's start.
//!
//! # Waiting for results
//!
//! [`enqueue`](Pool::enqueue) gives a [`JobHandle`], always. A job is *settled* once it has its output or its last error, and
//! stays so: [`is_finished`](JobHandle::is_finished) is true, and `Done` is emitted. [`wait`](JobHandle::wait) blocks until then
//! and cannot hang: whatever becomes of the pool, each job settles once. For many jobs there are [`map`](Pool::map), in order, and
//! [`map_unordered`](Pool::map_unordered), as they come; both pull jobs lazily, so a million of them take no more
//! memory than a few.
//!
//! ```no_run
//! # use hirelings::{Job, Pool};
//! # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
//! # impl Job for Square { type Output = u64; type Progress = (); type Error = String; }
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let pool = Pool::<Square>::self_exec().build()?;
//! // Many at once, and then each.
//! let handles: Vec<_> = (0..10).map(|n| pool.enqueue(Square(n))).collect();
//! for handle in handles {
//!     println!("{}", handle.wait()?);
//! }
//! // Lazily, in the order of the jobs.
//! for result in pool.map((0..1_000_000).map(Square)) {
//!     println!("{}", result?);
//! }
//! // As they come, each with its job's position.
//! for (n, result) in pool.map_unordered((0..100).map(Square)) {
//!     match result {
//!         Ok(square) => println!("{n}: {square}"),
//!         Err(error) => eprintln!("{n}: {error}"),
//!     }
//! }
//! // For a while; then the handle is given back, and the job goes on.
//! match pool.enqueue(Square(7)).wait_timeout(Duration::from_secs(1)) {
//!     Ok(result) => println!("{}", result?),
//!     Err(handle) => println!("still at it: {:?}", handle.status()),
//! }
//! // With what it took: attempts, time in the queue and at a worker, the process.
//! let (result, report) = pool.enqueue(Square(7)).wait_with_report();
//! println!("{result:?} after {:?}", report.running);
//! # Ok(()) }
//! ```
//!
//! # Progress
//!
//! A handler reports it with [`Context::progress`](worker::Context::progress). Every reader gets each report, in order: by a
//! hook of the request, or as an iterator that ends when the job is settled.
//!
//! ```no_run
//! # use hirelings::{Job, Pool, worker};
//! # #[derive(serde::Serialize, serde::Deserialize)] struct Count(u32);
//! # impl Job for Count { type Output = u32; type Progress = u32; type Error = String; }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! worker::init(|Count(to), ctx| {
//!     for n in 1..=to {
//!         ctx.progress(&n);
//!     }
//!     Ok(to)
//! });
//!
//! let pool = Pool::<Count>::self_exec().build()?;
//! // A hook that is given with the request misses nothing.
//! let first = pool.request(Count(10)).on_progress(|n| println!("the first is at {n}")).enqueue();
//! // A stream of a handle begins where the job is.
//! let second = pool.enqueue(Count(10));
//! for n in second.progress() {
//!     println!("the second is at {n}");
//! }
//! println!("{} {}", first.wait()?, second.wait()?);
//! # Ok(()) }
//! ```
//!
//! Over 16 MiB that were not taken, the job's worker is read no further until some are: that job waits, and no other.
//!
//! # Retries and limits of time
//!
//! The builder sets them for all jobs, a [`JobRequest`] for one. A limit holds for each attempt, and runs from the
//! moment the job is sent to a worker, not while it waits. A worker past its limit is killed, with its whole process
//! group: SIGTERM, [`kill_grace`](PoolBuilder::kill_grace), SIGKILL. A job that failed goes to the back of the queue;
//! the next attempt begins only once the process of the one before is gone. `retries(n)` tries again at once; a
//! [`RetryPolicy`] waits, longer each time, and says which failures are worth it.
//!
//! ```no_run
//! # use hirelings::{Job, Pool, worker};
//! # #[derive(serde::Serialize, serde::Deserialize)] struct Fetch(String);
//! # impl Job for Fetch { type Output = u32; type Progress = (); type Error = String; }
//! use hirelings::{JobErrorKind, RetryPolicy};
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! worker::init(|Fetch(what), ctx| Err(format!("{what}: attempt {} failed too", ctx.attempt())));
//!
//! let pool = Pool::<Fetch>::self_exec()
//!     .retries(2)
//!     .timeout_working(Duration::from_secs(30)) // default: 10 s; None is no limit
//!     .build()?;
//! let careful = pool
//!     .request(Fetch("the big one".into()))
//!     .timeout(Duration::from_secs(300))
//!     .retries(5)
//!     .on_retry(|error| eprintln!("once more, since {error}"))
//!     .enqueue();
//! println!("{:?}", careful.wait());
//!
//! // After 1 s, 2 s, 4 s and so on to a minute, each up to a tenth longer; and not after a panic, which is a bug.
//! let patient = RetryPolicy::new(10)
//!     .backoff(Duration::from_secs(1), Duration::from_secs(60))
//!     .on(&[JobErrorKind::Failed, JobErrorKind::Crashed, JobErrorKind::TimedOut]);
//! println!("{:?}", pool.request(Fetch("the far one".into())).retry(patient).enqueue().wait());
//! # Ok(()) }
//! ```
//!
//! A worker also has limits for its start ([`timeout_initializing`](PoolBuilder::timeout_initializing)) and for what it
//! does between jobs ([`timeout_recovering`](PoolBuilder::timeout_recovering)). It is replaced once it has done 64 jobs and
//! is a minute old, or, where [`max_jobs_per_process`](PoolBuilder::max_jobs_per_process) is set, after exactly so many
//! jobs; or earlier if its handler calls [`retire`](worker::Context::retire).
//!
//! **An attempt runs at most once**, whatever dies, is killed, aborted or closed. With no retries a job is begun once or not at
//! all, and [`JobError::begun`] says which where it failed: it may have to be known whether doing it again is safe. Where it
//! always is, [`idempotent`](JobRequest::idempotent) says so: an attempt of which nobody knows whether it had begun is then
//! followed by another, up to twice, without using up a retry.
//!
//! [`JobRequest::delay`] keeps a job from being done before a time; [`JobRequest::expires`] settles one as
//! [`JobError::Expired`] that no worker has begun by a time.
//!
//! # Errors
//!
//! A [`JobError`] says in one sentence what happened, with the worker's last lines of standard error below it, and has the
//! parts as fields:
//!
//! ```text
//! worker process 4711 of "thumbs" was killed by SIGSEGV while it did job 42 (attempt 3 of 3)
//!   | libpng error: bad adaptive filter value
//! ```
//!
//! ```
//! use hirelings::JobError;
//!
//! /// What to do about a job that came to nothing.
//! fn advice(error: &JobError<String>) -> String {
//!     match error {
//!         JobError::Failed(why) => format!("the handler said no: {why}"),
//!         JobError::Panicked(panic) => format!("a bug at {:?}: {}", panic.location, panic.message),
//!         JobError::Crashed(crash) => format!("lost the process ({:?}): {}", crash.status, crash.stderr),
//!         JobError::TimedOut(timeout) => format!("over {:?} while {}", timeout.limit, timeout.state),
//!         JobError::Aborted | JobError::Closed => "nobody wants it any more".into(),
//!         JobError::NoWorker(failure) => format!("look at the worker program: {failure}"),
//!         JobError::Encode(error) | JobError::Decode(error) => format!("look at {}: {error}", error.type_name),
//!         JobError::Protocol(error) => format!("not a worker of ours? {}", error.reason),
//!         other => other.to_string(),
//!     }
//! }
//! assert_eq!(advice(&JobError::Aborted), "nobody wants it any more");
//! ```
//!
//! `Failed` writes what the handler said, and `Aborted`, `Closed` and `Expired` say no more than that. Where it has to be known which
//! job it was, write the handle first, which displays as its job: `let job = handle.to_string();`, before `wait` takes it.
//!
//! `Aborted`, `Closed`, `NoWorker`, `Encode` and `Expired` are never retried. [`JobError::kind`] is for comparing and counting. A program that does not exist is an error of
//! [`build`](PoolBuilder::build); one that starts and then fails is tried again, more and more slowly, and after
//! [`start_failures`](PoolBuilder::start_failures) in a row the queued jobs settle as `NoWorker`.
//!
//! # Aborting, priorities, keys, a full backlog
//!
//! ```no_run
//! # use hirelings::{EnqueueErrorKind, Job, Pool};
//! # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
//! # impl Job for Square { type Output = u64; type Progress = (); type Error = String; }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pool = Pool::<Square>::self_exec().max_backlog(1000).build()?;
//!
//! // Settled as aborted when this returns. One in the backlog never begins; the worker of one that runs is killed.
//! let unwanted = pool.enqueue(Square(1));
//! let from_elsewhere = unwanted.abort_handle();
//! std::thread::spawn(move || from_elsewhere.abort());
//!
//! // What runs is left alone: `false`. `pool.abort_queued()` does that for all jobs.
//! println!("given up in time: {}", pool.enqueue(Square(4)).abort_if_queued());
//!
//! // Before the others that wait.
//! let urgent = pool.request(Square(2)).priority(10).enqueue();
//!
//! // At most two of a key run at once: those that wait for others of their key hold no worker.
//! let squares: Vec<_> = (0..100).map(|n| pool.request(Square(n)).limit("one host", 2).enqueue()).collect();
//!
//! // With a limited backlog `enqueue` waits for room; `try_enqueue` gives the job back instead.
//! match pool.try_enqueue(Square(3)) {
//!     Ok(handle) => println!("{}", handle.wait()?),
//!     Err(refused) if refused.kind == EnqueueErrorKind::Full => println!("later: {}", refused.rejected.0),
//!     Err(refused) => return Err(refused.to_string().into()),
//! }
//! println!("{}", urgent.wait()?);
//! # Ok(()) }
//! ```
//!
//! # Events and hooks
//!
//! Everything that happens to the pool, its jobs and its workers is an [`Event`]; [`EventKind`] lists them. A hook is
//! called with each, on one thread of the pool's own, in order; [`Pool::events`] is an iterator instead. A worker waits
//! for neither, nor does `wait`. A job's own hooks are given with its [`JobRequest`], or later to its handle.
//!
//! ```no_run
//! # use hirelings::{EventKind, Job, Pool};
//! # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
//! # impl Job for Square { type Output = u64; type Progress = (); type Error = String; }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pool = Pool::<Square>::self_exec()
//!     .on(EventKind::Exit, |event| eprintln!("pid {:?} ended: {:?}", event.pid(), event.status()))
//!     .on_event(|event| eprintln!("{event}")) // as a log
//!     .build()?;
//!
//! let handle = pool
//!     .request(Square(7))
//!     .label("seven")
//!     .on_start(|| println!("it has begun"))
//!     .on_done(|result| println!("it came to {result:?}"))
//!     .enqueue();
//! handle.wait()?;
//! # Ok(()) }
//! ```
//!
//! A hook may enqueue, abort, wait for a job, even `exit`. One that blocks holds up the other hooks only, and what they
//! have not been called with is kept; one that panics is caught and logged. Where the result of a job goes to its hook,
//! the handle that `enqueue` gives may be dropped. `wait` does not wait for the hooks: [`exit`](Pool::exit),
//! [`drain`](Pool::drain) and drop do.
//!
//! [`Pool::stats`] has the figures, all of one moment; [`Pool::workers`] the processes. The crate `hirelings-observe` makes a
//! timeline of a run, a job log from which a broken run goes on, views in the terminal, and metrics: `docs/observing.md`. The pool logs through the `log`
//! crate, under the target `hirelings`: trouble at `warn`, the life of workers at `debug`, no line a job above that.
//!
//! # The end
//!
//! ```no_run
//! # use hirelings::{Job, Pool};
//! # use std::time::Duration;
//! # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
//! # impl Job for Square { type Output = u64; type Progress = (); type Error = String; }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let pool = Pool::<Square>::self_exec().build()?;
//! // Finishes what it has, for at most a minute.
//! let drained = pool.drain(Duration::from_secs(60));
//! println!("{} settled, {} given up", drained.finished, drained.left);
//! // Ends now: what is not settled settles as closed. Dropping the pool is the same.
//! pool.exit();
//! # Ok(()) }
//! ```
//!
//! When they return, no process, thread or descriptor of the pool is left, the workers' own children included. Where
//! the program dies without any of them, killed with SIGKILL for instance, each worker and its process group end by
//! themselves within a second.
//!
//! On Ctrl-C or SIGTERM a program may drain, and exit when it is asked twice: `examples/shutdown.rs`. `docs/shutdown.md` has the
//! whole of it, workers with pools of their own included.
//!
//! A service that systemd stops needs `KillMode=mixed` in its unit. With the default, SIGTERM goes to the workers as well
//! as to the program, and the jobs that [`drain`](Pool::drain) would finish are lost with them.
//!
//! # Signals
//!
//! The pool's threads block all signals but those that a thread's own fault raises, such as SIGSEGV. No other signal
//! handler of the program runs on them, and a worker that dies raises no SIGPIPE. What a hook starts, a process or a
//! thread, blocks the same signals, and so does what the closure of [`builder_with`](Pool::builder_with) starts itself:
//! let another thread start it.
//!
//! Workers start with no signal blocked. For this the one thread that starts them blocks nothing while it does so, and
//! in that moment a handler may run on it. Where it must not, or where the program blocks a signal to wait for it
//! with `sigwait` or `signalfd`, block that signal in the thread that calls [`build`](PoolBuilder::build), before the
//! call. The pool then unblocks it nowhere, and each worker unblocks it for itself before its program runs. To start a
//! worker takes longer that way, by about 50 ms for each GiB of memory that the program uses.
//!
//! # Beside an async runtime
//!
//! [`wait`](JobHandle::wait) blocks, so it does not belong on a thread of a runtime. A hook hands the result over
//! instead, and nothing blocks; with tokio:
//!
//! ```text
//! let (settle, settled) = tokio::sync::oneshot::channel();
//! pool.request(job).on_done(move |result| drop(settle.send(result))).enqueue();
//! let result = settled.await?;
//! ```
//!
//! With a limited backlog use `try_enqueue`, since `enqueue` waits for room. [`worker::init`] is sound below
//! `#[tokio::main]`, whose threads run already; a plain `main` that calls it before it builds the runtime saves each
//! worker from building one.
//!
//! # Testing
//!
//! The executable of a test is the test harness, so [`self_exec`] would start that, and `build` refuses it. Give the
//! tests a worker program: cargo builds the programs of a package before its integration tests and sets a
//! variable with the path of each. A program under `src/bin/square-worker.rs`, whose `main` is one call of
//! [`worker::serve`], is then used so:
//!
//! ```no_run
//! # macro_rules! env { ($name:literal) => { "/target/debug/square-worker" } }
//! # use hirelings::{Job, Pool};
//! # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
//! # impl Job for Square { type Output = u64; type Progress = (); type Error = String; }
//! // In a test under tests/.
//! use std::process::Command;
//!
//! let worker = Command::new(env!("CARGO_BIN_EXE_square-worker"));
//! let pool = Pool::<Square>::builder(worker).build().unwrap();
//! assert_eq!(pool.enqueue(Square(7)).wait().unwrap(), 49);
//! ```
//!
//! The job types are then in the package's library, which the worker, the program and the tests share.
//!
//! # Hostile input
//!
//! A process keeps a crash from your program, and [`Limits`] keep a worker from using too much. Neither keeps it from
//! reaching your files, the network or the pool: what your user may do, a worker may do, and so may whoever takes it over
//! by a picture that its decoder chokes on. On Linux the crate `hirelings-confine` takes that away, before the first job:
//!
//! ```no_run
//! # use hirelings::Job;
//! # use hirelings::worker::{BoxError, Context, Outcome, Worker};
//! # #[derive(serde::Serialize, serde::Deserialize)] struct Decode(Vec<u8>);
//! # impl Job for Decode { type Output = Vec<u8>; type Progress = (); type Error = String; }
//! # struct Decoder;
//! # impl Worker for Decoder {
//! # type Job = Decode;
//! # type Options = ();
//! fn init(_: ()) -> Result<Self, BoxError> {
//!     hirelings_confine::Confinement::new().read(["/usr/share/fonts"]).apply()?;
//!     Ok(Decoder)
//! }
//! # fn run(&mut self, Decode(bytes): Decode, _: &mut Context<Decode>) -> Outcome<Decode> { Ok(bytes) }
//! # }
//! ```
//!
//! `docs/hostile-input.md` says what each layer stops, which attacks were tried, and what is not stopped.
//!
//! # Workers that are forked
//!
//! Starting a program takes about a millisecond, and what the worker loads comes on top. On Linux a pool can start it
//! once, as the fork server, which makes the worker's state and then forks each worker. The state's memory is shared by
//! all. A process for each job is then about twice as fast; the first workers are ready later, since the fork server is
//! started before them.
//!
//! ```no_run
//! # use hirelings::worker::{BoxError, Context, Outcome, Worker};
//! # use hirelings::{Job, Pool, StartMethod, worker};
//! # #[derive(serde::Serialize, serde::Deserialize)] struct Translate(String);
//! # impl Job for Translate { type Output = String; type Progress = (); type Error = String; }
//! # struct Model;
//! # impl Model { fn load() -> Result<Self, BoxError> { Ok(Model) } fn translate(&self, text: String, _: u64) -> String { text } }
//! # fn seed() -> u64 { 7 }
//! struct Translator { model: Model, seed: u64 }
//!
//! impl Worker for Translator {
//! #   type Job = Translate;
//! #   type Options = ();
//!     // Once, in the fork server.
//!     fn init(_: ()) -> Result<Self, BoxError> {
//!         Ok(Translator { model: Model::load()?, seed: 0 })
//!     }
//!     // In each worker: what must not be the same in all of them.
//!     fn after_fork(&mut self) -> Result<(), BoxError> {
//!         self.seed = seed();
//!         Ok(())
//!     }
//! #   fn run(&mut self, Translate(text): Translate, _: &mut Context<Translate>) -> Outcome<Translate> {
//! #       Ok(self.model.translate(text, self.seed))
//! #   }
//! }
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     worker::init_worker::<Translator>();
//!     let pool = Pool::<Translate>::self_exec().start_method(StartMethod::ForkServer).max_jobs_per_process(1).build()?;
//!     println!("{}", pool.enqueue(Translate("bonjour".into())).wait()?);
//!     Ok(())
//! }
//! ```
//!
//! Not for hostile input, and not where threads run before the worker serves: `docs/starting.md` has the figures and the
//! traps.
//!
//! # What can be sent, and what cannot
//!
//! Jobs, outputs, progress, errors and options go through serde and bincode: compact and quick, and not
//! self-describing. A value that does not go through comes back as [`JobError::Encode`] or [`JobError::Decode`] with
//! its type's name, and fails alone. These compile and do not work:
//!
//! - `#[serde(flatten)]`, `#[serde(untagged)]`, `#[serde(tag = "…")]` and `#[serde(skip_serializing_if = "…")]`;
//! - `serde_json::Value` and whatever else asks the format what comes next: send it as a `String`;
//! - a `PathBuf` that is not UTF-8: send an `OsString`.
//!
//! With the feature `json` and [`codec(Codec::Json)`](PoolBuilder::codec) all of these but the last work, and workers can be
//! written in Python (`worker-kit/python`) and Node (`worker-kit/node`). What JSON cannot hold is an error there and never
//! another value: a NaN, an infinity, a map whose keys are neither texts nor numbers. Integers are written in full; beyond
//! 2⁵³ those kits read them exactly or refuse them. [`Bytes`] is base64, and decoding takes some times as long.
//!
//! And these work, with a trap:
//!
//! - **`Vec<u8>`** is written as one run and read element by element, which takes half a millisecond for 1 MiB. [`Bytes`] is
//!   read as one run as well.
//! - **Both sides must be built from the same types.** Fields go by position, so a worker of last week's build may
//!   decode nonsense. [`Job::name`] is checked at the start: put a version in it (`"render/2"`) where the two
//!   programs can differ.
//! - **Recursive types**, such as a tree of boxes: a hostile answer that nests deep enough, for which 64 KiB will do,
//!   overflows the stack of whoever decodes it, which is your program. Send them flat where a worker may be taken over.
//! - **`Vec<()>`** and other elements of no bytes: a hostile length, which is eight bytes, keeps the decoder busy for
//!   ever, or whoever goes through the elements.
//!
//! Where the last two are in no output, error or progress, a worker can send what it likes: lengths are checked before
//! memory is taken, frames over [`max_frame`](PoolBuilder::max_frame) are refused, and the pool's own threads decode
//! nothing of it but the envelope.

#[cfg(not(unix))]
compile_error!(
    "hirelings runs on Unix only: it needs process groups, signals and pipes (Windows is not supported yet)"
);

// From the bottom up: no file uses one of a later group, and within a group there is no circle.

// What decides, without a clock, a thread or a process.
mod supervisor;

// The clock.
mod clock;

// Names, options and figures.
mod histogram;
mod id;
mod limits;
mod options;
mod report;
mod stats;

// How a job can fail, and what happens.
mod error;
mod event;
mod exit_status;
mod failure;

// One job, and those who watch it.
mod budget;
mod dispatcher;
mod forward;
mod mailbox;
mod occurrence;
mod panic;
mod progress;
mod record;
mod spin;
mod subscription;
/// The lock and the atomic of `mailbox`; those of loom where `tests/loom` tries it.
mod sync {
    pub(crate) use parking_lot::{Condvar, Mutex};
    pub(crate) use std::sync::atomic::{AtomicBool, Ordering};
}

// Processes, and the system below them.
#[cfg(any(target_os = "linux", target_os = "android"))]
mod fork_server;
mod harness;
mod launch;
mod node;
mod process;
mod remote;
mod signals;
mod site;
mod sys;
mod transport;

// The threads that act, and what they and the handles share.
mod driver;
mod settings;

// The public calls.
mod builder;
mod completed;
mod control;
mod future;
mod handle;
mod inspect;
mod map;
mod pool;
mod request;
mod shared;

#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;

pub use builder::PoolBuilder;
pub use completed::{AsCompleted, as_completed};
pub use dispatcher::HookId;
pub use error::{
    Begun, BuildError, BuildErrorKind, CodecError, Crash, CrashCause, EnqueueError, EnqueueErrorKind, JobError,
    JobErrorKind, JobResult, Limit, OutOfMemory, ProtocolError, ReadyError, StartFailure, Timeout, WorkerPanic,
};
pub use event::{Event, EventFields, EventKind};
pub use future::JobFuture;
pub use handle::{AbortHandle, JobHandle};
pub use hirelings_worker_kit as worker;
pub use hirelings_worker_kit::wire::Codec;
pub use hirelings_worker_kit::{Bytes, Job, NoError};
pub use histogram::Distribution;
pub use id::{JobId, Slot, WorkerId};
pub use launch::self_exec;
pub use limits::Limits;
pub use map::{Map, MapUnordered};
pub use node::node_module;
pub use options::{StartMethod, Stderr};
pub use pool::Pool;
pub use progress::{EncodedProgress, ProgressStream};
pub use record::JobStatus;
pub use remote::{Remote, srun, ssh};
pub use report::JobReport;
pub use request::JobRequest;
pub use site::Site;
pub use stats::{Drained, KeyStats, Rate, Restarts, SiteStats, Stats, WorkerInfo};
pub use subscription::Events;
pub use supervisor::{RetryPolicy, WorkerState};
pub use transport::Transport;
