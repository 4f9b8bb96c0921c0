//! The real driver against the kit's `serve`, over in-memory pipes: workers are threads, nothing is spawned.

use super::*;
use crate::builder::PoolBuilder;
use crate::dispatcher::Dispatcher;
use crate::error::{JobError, ReadyError};
use crate::id::Slot;
use crate::launch::Launched;
use crate::pool::Pool;
use crate::process::{Process, Reaped};
use crate::record::{JobRecord, JobStatus, Ticket};
use crate::stats::Stats;
use crate::supervisor::{JobSettings, Signal};
use crossbeam_channel::{Receiver, unbounded};
use hirelings_worker_kit::wire::{Codec, encode_payload};
use hirelings_worker_kit::{Context, Job, serve_over};
use os_pipe::{PipeReader, PipeWriter};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU32, Ordering};

#[derive(Debug, Serialize, Deserialize)]
enum Task {
    Add(u64, u64),
    Fail(String),
    /// Waits for the channel that the test holds.
    Wait,
    Panic,
}

impl Job for Task {
    type Output = u64;
    type Progress = u8;
    type Error = String;
}

/// A thread in a process's place. It cannot be killed: a signal makes it dead to the pool, and it ends when it next
/// looks at its pipes.
struct ThreadProcess {
    pid: u32,
    ended: PipeReader,
    alive: Arc<Mutex<Option<PipeWriter>>>,
}

impl Process for ThreadProcess {
    fn pid(&self) -> u32 {
        self.pid
    }
    fn exit_fd(&self) -> BorrowedFd<'_> {
        self.ended.as_fd()
    }
    fn signal(&self, signal: Signal) {
        if matches!(signal, Signal::Terminate | Signal::Kill) {
            *self.alive.lock() = None;
        }
    }
    /// A thread cannot be stopped.
    fn is_stopped(&self) -> bool {
        false
    }
    fn end_group(&self) {}
    fn reap(&self) -> Option<Reaped> {
        self.alive.lock().is_none().then_some(Reaped::with(None))
    }
}

/// The worker's ends of its pipes.
struct Ends {
    input: PipeReader,
    output: PipeWriter,
    stderr: PipeWriter,
    /// The process has ended once this is none.
    alive: Arc<Mutex<Option<PipeWriter>>>,
}

/// A worker without a process, and what it has of its pipes.
fn launched(program: &str, pid: u32) -> (Launched, Ends) {
    let pipe = || os_pipe::pipe().expect("a pipe");
    let ((input, to_worker), (from_worker, output), (from_stderr, stderr), (ended, alive)) =
        (pipe(), pipe(), pipe(), pipe());
    let alive = Arc::new(Mutex::new(Some(alive)));
    let launched = Launched {
        program: program.into(),
        process: Arc::new(ThreadProcess { pid, ended, alive: Arc::clone(&alive) }),
        stdin: to_worker.into(),
        stdout: from_worker.into(),
        stderr: from_stderr.into(),
        fork_server: None,
    };
    (launched, Ends { input, output, stderr, alive })
}

struct Threads {
    next_pid: AtomicU32,
    release: Receiver<()>,
}

impl Launch for Threads {
    fn prepare(&mut self, _: Slot) {}

    fn launch(&mut self, _: Slot) -> Result<Launched, StartFailure> {
        let (launched, ends) = launched("a thread", self.next_pid.fetch_add(1, Ordering::Relaxed));
        let release = self.release.clone();
        thread::spawn(move || {
            let Ends { input, output, stderr, alive } = ends;
            let _ = serve_over::<Task>(input.into(), output.into(), |task, ctx| run(task, ctx, &release));
            drop(stderr);
            *alive.lock() = None;
        });
        Ok(launched)
    }
}

/// Starts what reads nothing, says nothing and lives until it is killed.
#[derive(Default)]
struct Discarding {
    outputs: Vec<[PipeWriter; 2]>,
}

impl Launch for Discarding {
    fn prepare(&mut self, _: Slot) {}

    fn launch(&mut self, _: Slot) -> Result<Launched, StartFailure> {
        let (launched, Ends { output, stderr, .. }) = launched("a wall", 1);
        self.outputs.push([output, stderr]);
        Ok(launched)
    }
}

/// Leaves it to the test what its workers say, and when they end.
struct Handed(Sender<Ends>);

impl Launch for Handed {
    fn prepare(&mut self, _: Slot) {}

    fn launch(&mut self, _: Slot) -> Result<Launched, StartFailure> {
        let (launched, ends) = launched("the test", 1);
        let _ = self.0.send(ends);
        Ok(launched)
    }
}

fn run(task: Task, ctx: &mut Context<Task>, release: &Receiver<()>) -> Result<u64, String> {
    match task {
        Task::Add(a, b) => Ok(a + b),
        Task::Fail(why) => Err(why),
        Task::Wait => {
            ctx.progress(&1);
            let _ = release.recv();
            Ok(0)
        }
        Task::Panic => panic!("as it was asked to"),
    }
}

fn builder() -> (PoolBuilder<Task>, Sender<()>) {
    let (release, released) = unbounded();
    (PoolBuilder::of_launch(Threads { next_pid: AtomicU32::new(1), release: released }).max_processes(2), release)
}

#[test]
fn jobs_go_out_and_come_back() {
    let (builder, _release) = builder();
    let pool = builder.max_jobs_per_process(64).build().unwrap();
    let handles: Vec<_> = (0..1_000).map(|n| pool.enqueue(Task::Add(n, 1))).collect();
    for (n, handle) in handles.into_iter().enumerate() {
        assert_eq!(handle.wait().unwrap(), n as u64 + 1);
    }
    let stats = pool.stats();
    assert_eq!((stats.succeeded, stats.spawned >= 15), (1_000, true), "64 jobs a worker: {stats:?}");
}

#[test]
fn a_failure_is_the_jobs_own_and_a_panic_replaces_the_worker() {
    let (builder, _release) = builder();
    let pool = builder.max_processes(1).build().unwrap();
    assert!(matches!(pool.enqueue(Task::Fail("no".into())).wait(), Err(JobError::Failed(why)) if why == "no"));
    match pool.enqueue(Task::Panic).wait() {
        Err(JobError::Panicked(panic)) => assert_eq!(panic.message, "as it was asked to"),
        other => panic!("{other:?}"),
    }
    assert_eq!(pool.enqueue(Task::Add(1, 1)).wait().unwrap(), 2);
    assert_eq!(pool.stats().spawned, 2);
}

#[test]
fn a_running_job_is_seen_and_can_be_aborted() {
    let (builder, release) = builder();
    let pool = builder.max_processes(1).build().unwrap();
    let held = pool.enqueue(Task::Wait);
    let queued = pool.enqueue(Task::Add(2, 2));
    assert_eq!(held.progress().next(), Some(1));
    assert!(matches!(held.status(), JobStatus::Running { attempt: 1, .. }));
    assert_eq!(queued.status(), JobStatus::Queued);
    held.abort();
    assert!(matches!(held.wait(), Err(JobError::Aborted)));
    drop(release);
    assert_eq!(queued.wait().unwrap(), 4);
}

#[test]
fn exit_settles_what_waits_and_ends_every_thread() {
    let (builder, release) = builder();
    let pool = builder.max_processes(1).build().unwrap();
    let handles: Vec<_> = (0..10).map(|_| pool.enqueue(Task::Wait)).collect();
    pool.exit();
    drop(release);
    for handle in handles {
        assert!(matches!(handle.wait(), Err(JobError::Closed)));
    }
    let stats = pool.stats();
    assert_eq!((stats.failed, stats.workers, stats.backlog), (10, 0, 0));
}

#[test]
fn a_worker_whose_hello_cannot_be_sent_is_a_start_failure() {
    let builder = PoolBuilder::<Task>::of_launch(Discarding::default()).max_processes(1).start_failures(1);
    // No other limit would end it.
    let pool = builder.timeout_initializing(None).kill_grace(Duration::ZERO).build().unwrap();
    let error = pool.wait_ready(Duration::from_secs(60)).unwrap_err().to_string();
    assert!(error.contains("closed its pipe"), "{error}");
}

/// A driver without its thread, for a test to be its clock.
fn by_hand(config: Config, launch: impl Launch + 'static) -> (Driver, Sender<Command>, Sender<Report>) {
    let config = Config { timeout_initializing: None, timeout_recovering: None, kill_grace: Duration::ZERO, ..config };
    let (first, _) = unbounded();
    let settings = Settings {
        name: "by hand".into(),
        job_type: Task::name(),
        codec: Codec::Bincode,
        max_frame: 1024,
        stderr: Stderr::Null,
        sites: Vec::new().into(),
        is_limited: false,
        look_ahead: 0,
        buffers: Arc::default(),
        dispatcher: Dispatcher::new(None),
        last_stats: Arc::default(),
        given_up: Arc::default(),
    };
    let plan = Plan { settings, config, options: None, limits: Limits::default(), launch: Box::new(launch), first };
    Driver::new(plan).expect("threads")
}

/// Ends the pool of such a driver.
fn end(mut driver: Driver, commands: &Sender<Command>, now: Duration) {
    assert!(commands.send(Command::Exit).is_ok());
    while !driver.machine.is_finished() {
        driver.wait();
        driver.iterate(driver.machine.next_deadline().unwrap_or(now));
    }
    driver.tear_down();
}

#[test]
fn what_came_in_time_is_heard_before_a_limit_is_found_over() {
    const LIMIT: Duration = Duration::from_secs(1);
    let (release, released) = unbounded();
    let threads = Threads { next_pid: AtomicU32::new(1), release: released };
    let config = Config { timeout_working: Some(LIMIT), prefetch: 0, ..Config::default() };
    let (mut driver, commands, reports) = by_hand(config, threads);
    let mut payload = Vec::new();
    encode_payload(&Task::Wait, &mut payload, usize::MAX).unwrap();
    let record = JobRecord::new(7, Payload::copied(&payload, Codec::Bincode), None);
    assert!(commands.send(Command::Enqueue(Ticket::new(Arc::clone(&record)), JobSettings::default())).is_ok());
    driver.input(Input::Tick);
    while !matches!(record.status(), JobStatus::Running { .. }) {
        driver.wait();
        driver.iterate(Duration::ZERO);
    }

    // More than it takes in at once, and the answer behind it; then it does not come to its turn for two seconds.
    let (worker_key, _) = driver.machine.workers().next().expect("a worker");
    let budget = Arc::clone(&driver.workers.get(worker_key).expect("a child").budget);
    let say = |message| {
        let frame = Frame { message, payload: Payload::Empty, len: 0 };
        assert!(reports.send(Report::Message(worker_key, frame, budget.charge(0))).is_ok());
    };
    (0..3 * REPORTS_PER_ITERATION).for_each(|_| say(FromWorker::Progress { job: 7 }));
    say(FromWorker::Success { job: 7, ready: true });
    driver.iterate(2 * LIMIT);
    assert!(matches!(record.try_outcome(), Some(Ok(_))), "{:?}", record.status());

    drop(release);
    end(driver, &commands, 2 * LIMIT);
}

/// Two workers that are starting, and a caller that waits until both are ready.
struct Starting {
    driver: Driver,
    commands: Sender<Command>,
    reports: Sender<Report>,
    workers: Vec<(WorkerKey, Ends)>,
    answer: Receiver<Result<(), ReadyError>>,
}

impl Starting {
    fn new(start_failures: u32) -> Self {
        let (give, given) = unbounded();
        let config = Config { max_processes: 2, start_failures, ..Config::default() };
        let (mut driver, commands, reports) = by_hand(config, Handed(give));
        let (waiter, answer) = Waiter::new(&Arc::new(()));
        assert!(commands.send(Command::WaitReady(waiter)).is_ok());
        while driver.machine.workers().count() < 2 {
            driver.wait();
            driver.iterate(Duration::ZERO);
        }
        let keys: Vec<_> = driver.machine.workers().map(|(worker_key, _)| worker_key).collect();
        let workers = keys.into_iter().zip(given.iter()).collect();
        Starting { driver, commands, reports, workers, answer }
    }

    fn says_ready(&self, of: usize) {
        let worker_key = self.workers[of].0;
        let budget = &self.driver.workers.get(worker_key).expect("a child").budget;
        let frame = Frame { message: FromWorker::Ready, payload: Payload::Empty, len: 0 };
        assert!(self.reports.send(Report::Hello(worker_key, 0, 2)).is_ok());
        assert!(self.reports.send(Report::Message(worker_key, frame, budget.charge(0))).is_ok());
    }

    /// The first worker dies, which is reported behind what has been.
    fn dies(&mut self) {
        let before = self.driver.inbox.reports.len();
        let (_, ends) = self.workers.remove(0);
        *ends.alive.lock() = None;
        drop(ends);
        // Its exit, and the ends of its output and its standard error.
        while self.driver.inbox.reports.len() < before + 3 {
            thread::yield_now();
        }
    }

    /// What the caller is told once all reports are taken in.
    fn told(mut self) -> Option<Result<(), ReadyError>> {
        self.driver.iterate(Duration::ZERO);
        let told = self.answer.try_recv().ok();
        drop(self.workers);
        end(self.driver, &self.commands, Duration::ZERO);
        told
    }
}

#[test]
fn all_were_ready_though_one_has_died_since() {
    let mut starting = Starting::new(3);
    starting.says_ready(0);
    starting.driver.iterate(Duration::ZERO);
    starting.says_ready(1);
    starting.dies();
    assert!(matches!(starting.told(), Some(Ok(()))));
}

#[test]
fn who_waits_for_all_is_told_though_another_starts() {
    let mut starting = Starting::new(1);
    starting.dies();
    starting.says_ready(0);
    let error = starting.told().expect("an answer").unwrap_err();
    assert!(error.to_string().contains("the workers do not start"), "{error}");
}

/// Everything public can be sent to another thread, and all but iterators and handles can be shared.
#[test]
fn public_types_are_send_and_sync() {
    fn send<T: Send>() {}
    fn shared<T: Send + Sync>() {}
    shared::<Pool<Task>>();
    shared::<PoolBuilder<Task>>();
    send::<crate::JobHandle<Task>>();
    send::<crate::JobRequest<'_, Task>>();
    shared::<crate::AbortHandle>();
    shared::<crate::Event>();
    shared::<JobError<String>>();
    shared::<crate::BuildError>();
    shared::<ReadyError>();
    shared::<Stats>();
    shared::<crate::WorkerInfo>();
    send::<crate::Events>();
    send::<crate::ProgressStream<u8>>();
    send::<crate::Map<'_, Task, std::vec::IntoIter<Task>>>();
    send::<crate::MapUnordered<'_, Task, std::vec::IntoIter<Task>>>();
}
