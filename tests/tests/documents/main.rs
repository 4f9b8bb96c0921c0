//! What the documents say is so: names, signatures, defaults, links, files, and the tests that they name.

mod house;

// Every name of the public API.
use hirelings::worker::{
    self, BoxError, Bytes as KitBytes, Context, Job as KitJob, NoError as KitNoError, Outcome, Session, Worker,
};
use hirelings::{
    AbortHandle, BuildError, BuildErrorKind, Bytes, CodecError, Crash, CrashCause, Distribution, Drained,
    EncodedProgress, EnqueueError, EnqueueErrorKind, Event, EventFields, EventKind, Events, HookId, Job, JobError,
    JobErrorKind, JobHandle, JobId, JobRequest, JobResult, JobStatus, Map, MapUnordered, NoError, OutOfMemory, Pool,
    PoolBuilder, ProgressStream, ProtocolError, Rate, ReadyError, Remote, Restarts, RetryPolicy, Site, SiteStats, Slot,
    StartFailure, StartMethod, Stats, Stderr, Timeout, Transport, WorkerId, WorkerInfo, WorkerPanic, WorkerState,
    self_exec,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

#[derive(Debug, Serialize, Deserialize)]
struct Square(u64);

impl Job for Square {
    type Output = u64;
    type Progress = f32;
    type Error = String;
}

// ---------------------------------------------------------------- every signature

/// Is compiled and never run: each call has the shape that the API promises.
#[allow(dead_code, unreachable_code, clippy::diverging_sub_expression)]
fn every_signature_of_the_pool() {
    let command: Command = self_exec::<Square>();
    let _: PoolBuilder<Square> = Pool::builder_with(|slot: Slot| {
        let _: usize = slot.index();
        Command::new("worker")
    });
    let _: PoolBuilder<Square> = Pool::<Square>::self_exec();
    let builder: PoolBuilder<Square> = Pool::builder(command)
        .name("squares")
        .name(String::new())
        .options(&1u8)
        .max_processes(1usize)
        .min_processes(0usize)
        .max_jobs_per_process(1u64)
        .idle_timeout(Duration::ZERO)
        .idle_timeout(None)
        .max_age(Duration::ZERO)
        .max_age(None)
        .retries(1u32)
        .expires(Duration::ZERO)
        .expires(None)
        .retry(
            RetryPolicy::new(1u32).backoff(Duration::ZERO, Duration::ZERO).jitter(0.1f64).on(&[JobErrorKind::Crashed]),
        )
        .timeout_initializing(Duration::ZERO)
        .timeout_initializing(None)
        .timeout_working(Duration::ZERO)
        .timeout_working(None)
        .timeout_recovering(Duration::ZERO)
        .timeout_recovering(None)
        .kill_grace(Duration::ZERO)
        .start_failures(1u32)
        .start_method(StartMethod::Exec)
        .start_method(StartMethod::ForkServer)
        .transport(Transport::Sockets)
        .max_memory(1u64, 2u64)
        .max_memory(None, None)
        .max_memory_soft(1u64)
        .max_memory_soft(None)
        .max_memory_hard(1u64)
        .max_memory_hard(None)
        .max_backlog(1usize)
        .max_frame(1usize)
        .prefetch(1u32)
        .prefetch(None)
        .stderr(Stderr::Forward)
        .stderr(Stderr::Log)
        .stderr(Stderr::Null)
        .on(EventKind::Spawn, |_: &Event| {})
        .on_event(|_: &Event| {});
    let built: Result<Pool<Square>, BuildError> = builder.build();
    let pool = built.unwrap();

    let _: JobHandle<Square> = pool.enqueue(Square(1));
    let _: Result<JobHandle<Square>, EnqueueError<Square>> = pool.try_enqueue(Square(1));
    let request: JobRequest<'_, Square> = pool.request(Square(1));
    let request = request
        .timeout(Duration::ZERO)
        .timeout(None)
        .retries(1u32)
        .retry(RetryPolicy::new(1u32))
        .idempotent(true)
        .delay(Duration::ZERO)
        .expires(Duration::ZERO)
        .expires(None)
        .priority(1i32)
        .label("one")
        .on_start(|| {})
        .on_progress(|_: f32| {})
        .on_retry(|_: &JobError<String>| {})
        .on_success(|_: u64| {})
        .on_failure(|_: JobError<String>| {})
        .on_abort(|| {})
        .on_done(|_: JobResult<Square>| {});
    let tried: Result<JobHandle<Square>, EnqueueError<JobRequest<'_, Square>>> = request.try_enqueue();
    let _: JobHandle<Square> = match tried {
        Ok(handle) => handle,
        Err(refused) => refused.rejected.enqueue(),
    };
    let map: Map<'_, Square, _> = pool.map([Square(1)]).look_ahead(1);
    let _: Vec<JobResult<Square>> = map.collect();
    let map: MapUnordered<'_, Square, _> = pool.map_unordered([Square(1)]).look_ahead(1);
    let _: Vec<(usize, JobResult<Square>)> = map.collect();

    let () = pool.spawn_workers();
    let _: Result<(), ReadyError> = pool.wait_ready(Duration::ZERO);
    let () = pool.wait_idle();
    let _: Result<(), BuildError> = pool.set_max_processes(1usize);
    let () = pool.recycle();
    let () = pool.pause();
    let () = pool.resume();
    let _: bool = pool.is_paused();
    let _: bool = pool.wait_idle_timeout(Duration::ZERO);
    let _: Stats = pool.stats();
    let _: Vec<WorkerInfo> = pool.workers();
    let _: (SystemTime, Duration) = (pool.built_at(), pool.age());
    let hook: HookId = pool.on(EventKind::Exit, |_: &Event| {});
    let _: HookId = pool.on_event(|_: &Event| {});
    let _: bool = pool.remove_hook(hook);
    let mut events: Events = pool.events();
    let _: Option<Event> = events.next();
    let _: Option<Event> = events.recv_timeout(Duration::ZERO);
    let _: Option<Event> = events.try_recv();
    let () = pool.exit();
    let Drained { finished, left, .. } = pool.drain(Duration::ZERO);
    let (_, _): (u64, u64) = (finished, left);

    let site = Site::ssh("build1", 16usize).name("b").program(Command::new("worker")).env("A", "b").current_dir("/");
    let site = site.option("Port=22").prefetch(64u32).silence(Duration::ZERO).timeout_initializing(None);
    let sites: [Site; 3] = [Site::local(4usize), site, Site::slurm(64usize)];
    let _: PoolBuilder<Square> = Pool::<Square>::builder_on(sites, Command::new("worker"));
    let remote: Remote = hirelings::ssh("build1").option("Port=22").arg("-4");
    let _: (Command, Remote) = (remote.command(&Command::new("worker")), hirelings::srun(["--mem=1G"]));
}

/// The same for a job that was enqueued.
#[allow(dead_code)]
fn every_signature_of_a_job(handle: JobHandle<Square>) {
    let handle: JobHandle<Square> = handle.wait_timeout(Duration::ZERO).unwrap_err();
    let handle: JobHandle<Square> = handle.try_wait().unwrap_err();
    let id: JobId = handle.id();
    let _: u64 = id.get();
    match handle.status() {
        JobStatus::Running { pid, attempt } => {
            let (_, _): (u32, u32) = (pid, attempt);
        }
        JobStatus::Queued | JobStatus::Finished => {}
        _ => {}
    }
    let _: bool = handle.is_finished();
    let () = handle.abort();
    let abort: AbortHandle = handle.abort_handle().clone();
    let () = abort.abort();
    let _: JobId = abort.id();
    let mut progress: ProgressStream<f32> = handle.progress();
    let _: Option<f32> = progress.next();
    let _: Option<f32> = progress.recv_timeout(Duration::ZERO);
    let _: Option<f32> = progress.try_recv();
    let receiver: &crossbeam_channel::Receiver<EncodedProgress> = progress.receiver();
    let _: Option<f32> = receiver.recv().unwrap().decode();
    let handle: &JobHandle<Square> = handle
        .on_start(|| {})
        .on_progress(|_: f32| {})
        .on_retry(|_: &JobError<String>| {})
        .on_success(|_: u64| {})
        .on_failure(|_: JobError<String>| {})
        .on_abort(|| {})
        .on_done(|_: JobResult<Square>| {});
    let _ = handle;
}

/// The same for what is told and what is read.
#[allow(dead_code)]
fn every_field(event: Event, stats: Stats, worker: WorkerInfo, id: WorkerId) {
    let _: EventKind = event.kind();
    let _: (Option<JobId>, Option<WorkerId>) = (event.job(), event.worker());
    let _: (Option<u32>, Option<u32>, Option<Slot>) = (event.pid(), event.attempt(), event.slot());
    let _: (Option<&str>, Option<&str>, Option<&str>) = (event.stderr(), event.label(), event.pool());
    let _: Option<f32> = event.progress::<Square>();
    let _: Option<JobError<String>> = event.error::<Square>();
    let _: Option<ExitStatus> = event.status();
    let _: Option<(WorkerState, Duration)> = event.timeout();
    let _: Option<&str> = event.site();
    let _: Duration = event.at();
    let _: Option<&EventFields> = event.fields();
    match event {
        Event::Pool(fields) | Event::Job(fields) | Event::Worker(fields) => {
            let _: Arc<EventFields> = fields;
        }
        Event::Lagged(count) => {
            let _: u64 = count;
        }
        _ => {}
    }
    let Stats { jobs, backlog, workers, busy, enqueued, succeeded, failed, aborted, .. } = stats;
    let Stats { retried, timed_out, spawned, exited, crashed, .. } = stats;
    let _: [u64; 10] = [jobs, enqueued, succeeded, failed, aborted, retried, timed_out, spawned, exited, crashed];
    let Stats { fork_servers, fork_servers_spawned, delayed, .. } = stats;
    let _: [usize; 5] = [backlog, delayed, workers, busy, fork_servers];
    let _: u64 = fork_servers_spawned;
    let Stats { waiting, running, rate, restarts, sites, .. } = stats;
    for Distribution { count, p50, p90, p99, max, .. } in [waiting, running] {
        let _: (u64, [Duration; 4]) = (count, [p50, p90, p99, max]);
    }
    for SiteStats { name, slots, workers, busy, is_down, .. } in sites {
        let _: (Arc<str>, [usize; 3], bool) = (name, [slots, workers, busy], is_down);
    }
    let Rate { enqueued, finished, over, .. } = rate;
    let _: (u64, u64, Duration, f64) = (enqueued, finished, over, rate.finished_per_second());
    let Restarts { recycled, crashed, panicked, timed_out, out_of_memory, aborted, protocol, closed, .. } = restarts;
    let _: [u64; 8] = [recycled, crashed, panicked, timed_out, out_of_memory, aborted, protocol, closed];
    let WorkerInfo {
        id: _, slot, pid, state, jobs_done, job, age, state_for, resident, fork_server, site, is_far, ..
    } = worker;
    let _: (Duration, Option<u64>) = (state_for, resident);
    let _: (Slot, u32, WorkerState, u64, Option<JobId>, Duration) = (slot, pid, state, jobs_done, job, age);
    let _: Option<u32> = fork_server;
    let (_, _): (Option<Arc<str>>, bool) = (site, is_far);
    let _: u64 = id.get();
    match state {
        WorkerState::Initializing | WorkerState::Ready | WorkerState::Working => {}
        WorkerState::Recovering | WorkerState::Exiting => {}
        _ => {}
    }
}

/// The same for what goes wrong.
#[allow(dead_code)]
fn every_error(
    error: JobError<String>,
    refused: EnqueueError<Square>,
    build: BuildError,
    ready: ReadyError,
) -> Box<dyn Error> {
    let _: JobErrorKind = error.kind();
    match error {
        JobError::Failed(error) => return error.into(),
        JobError::Panicked(WorkerPanic { message, location, backtrace, pid, stderr, attempts, .. }) => {
            let _: (String, u32) = (stderr, attempts);
            let _: (String, Option<String>, Option<String>, u32) = (message, location, backtrace, pid);
        }
        JobError::Crashed(Crash { pid, cause, status, stderr, attempts, .. }) => {
            let _: (u32, Option<ExitStatus>, String, u32) = (pid, status, stderr, attempts);
            let _ = matches!(cause, CrashCause::Exited | CrashCause::PipeClosed);
        }
        JobError::TimedOut(Timeout { state, limit, pid, stderr, attempts, .. }) => {
            let _: (WorkerState, Duration, u32, String, u32) = (state, limit, pid, stderr, attempts);
        }
        JobError::OutOfMemory(OutOfMemory { resident, limit, pid, stderr, attempts, .. }) => {
            let _: (u64, u64, u32, String, u32) = (resident, limit, pid, stderr, attempts);
        }
        JobError::Aborted | JobError::Closed | JobError::Expired => {}
        JobError::NoWorker(StartFailure { program, site, status, stderr, reason, .. }) => {
            let _: (String, Option<ExitStatus>, String, String) = (program, status, stderr, reason);
            let _: Option<Arc<str>> = site;
        }
        JobError::Encode(CodecError { type_name, .. }) | JobError::Decode(CodecError { type_name, .. }) => {
            let _: &'static str = type_name;
        }
        JobError::Protocol(ProtocolError { pid, reason, attempts, .. }) => {
            let _: (u32, String, u32) = (pid, reason, attempts);
        }
        other => return other.into(),
    }
    let _: Option<&StartFailure> = ready.start_failure();
    let _ = matches!(refused.kind, EnqueueErrorKind::Full | EnqueueErrorKind::Closed | EnqueueErrorKind::Encode);
    let Square(_) = refused.rejected;
    let kind: BuildErrorKind = build.kind();
    match kind {
        BuildErrorKind::Options | BuildErrorKind::Spawn | BuildErrorKind::NotAWorker => Box::new(build),
        _ => Box::new(ready),
    }
}

struct Squarer;

impl Worker for Squarer {
    type Job = Square;
    type Options = u8;
    fn init(_: u8) -> Result<Self, BoxError> {
        Ok(Squarer)
    }
    fn run(&mut self, Square(n): Square, ctx: &mut Context<Square>) -> Outcome<Square> {
        let () = ctx.progress(&0.5);
        let (_, _): (u64, u32) = (ctx.job_id(), ctx.attempt());
        let () = ctx.retire();
        Ok(n)
    }
    fn after_fork(&mut self) -> Result<(), BoxError> {
        Ok(())
    }
    fn recover(&mut self) -> Result<(), BoxError> {
        Ok(())
    }
}

/// The same for the worker's side.
#[allow(dead_code)]
fn every_signature_of_a_worker(which: u8) -> Result<(), BoxError> {
    let () = worker::init(|Square(n), _: &mut Context<Square>| Ok(n));
    let () = worker::init_worker::<Squarer>();
    let _: bool = worker::is_worker::<Square>();
    match which {
        0 => worker::serve(|Square(n), _: &mut Context<Square>| Ok(n)),
        1 => worker::serve_worker::<Squarer>(),
        _ => {}
    }
    let mut session: Session<Square> = Session::connect()?;
    let _: u8 = session.options::<u8>()?;
    let () = session.ready()?;
    let _: Option<Square> = session.next_job()?;
    let () = session.start()?;
    let () = session.progress(&0.5)?;
    let () = session.success(&1)?;
    let () = session.failure(&String::new())?;
    // What both sides name is one and the same.
    let _: (KitBytes, Option<KitNoError>, &str) = (Bytes(Vec::new()), None::<NoError>, <Square as KitJob>::name());
    session.terminal_failure("the last words")
}

#[test]
fn what_crosses_threads_may_cross_threads() {
    fn send<T: Send>() {}
    fn both<T: Send + Sync>() {}
    both::<Pool<Square>>();
    both::<PoolBuilder<Square>>();
    send::<JobRequest<'_, Square>>();
    send::<JobHandle<Square>>();
    both::<AbortHandle>();
    send::<Events>();
    send::<ProgressStream<f32>>();
    send::<Map<'_, Square, std::iter::Empty<Square>>>();
    send::<MapUnordered<'_, Square, std::iter::Empty<Square>>>();
    both::<Event>();
    both::<EventFields>();
    both::<JobError<String>>();
    both::<BuildError>();
    both::<ReadyError>();
    both::<Stats>();
    both::<WorkerInfo>();
}

// ---------------------------------------------------------------- the pages

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The files of the project, as their paths from its root.
fn files() -> Vec<String> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let name = entry.file_name();
            let path = entry.path();
            match entry.file_type().unwrap() {
                // What is built or installed, and what git keeps.
                kind if kind.is_dir() && ["target", ".git", "node_modules"].iter().any(|&of| name == of) => {}
                kind if kind.is_dir() => walk(&path, found),
                // In a worktree of git it is a file.
                kind if kind.is_file() && name != ".git" => found.push(path),
                _ => {}
            }
        }
    }
    let root = root();
    let mut found = Vec::new();
    walk(&root, &mut found);
    let mut names: Vec<String> =
        found.iter().filter_map(|path| path.strip_prefix(&root).ok()?.to_str().map(str::to_owned)).collect();
    names.sort();
    names
}

fn pages() -> Vec<String> {
    files().into_iter().filter(|file| file.ends_with(".md")).collect()
}

/// The text of a page outside its blocks of code.
fn prose(page: &str) -> String {
    let text = read(page);
    text.split("```").step_by(2).collect()
}

/// What stands between single backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn every_page_is_compiled() {
    let compiled = read("tests/src/documents.rs");
    for page in pages() {
        let named = compiled.contains(&format!("{page:?}")) || page == "docs/protocol.md";
        assert!(named, "tests/src/documents.rs lacks {page}");
    }
}

#[test]
fn every_link_between_pages_leads_somewhere() {
    for page in pages() {
        let folder = root().join(&page).parent().unwrap().to_owned();
        for part in prose(&page).split("](").skip(1) {
            let target = part.split(')').next().unwrap();
            let file = target.split('#').next().unwrap();
            if !target.contains("://") && !file.is_empty() {
                assert!(folder.join(file).exists(), "{page} links to {target}, which is not there");
            }
        }
    }
}

#[test]
fn every_file_that_a_page_names_is_there() {
    let tops: BTreeSet<String> = files().iter().filter_map(|file| Some(file.split_once('/')?.0.to_owned())).collect();
    for page in pages() {
        let text = prose(&page);
        for name in quoted(&text).filter(|name| !name.contains([' ', '*', '<', '…'])) {
            if name.split_once('/').is_some_and(|(top, rest)| tops.contains(top) && !rest.starts_with('/')) {
                assert!(root().join(name).exists(), "{page} names {name}, which is not there");
            }
        }
    }
}

/// What begins with one of these is a function and no test.
const OF_AN_API: [&str; 5] = ["hirelings", "process", "procspawn", "std", "worker"];

#[test]
fn every_test_that_a_page_names_is_there() {
    let mut named = 0;
    for page in pages() {
        let text = prose(&page);
        for (module, test) in quoted(&text).filter_map(|name| name.rsplit_once("::")) {
            let is_lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == ':';
            let is_of_an_api = OF_AN_API.contains(&module.split("::").next().unwrap_or_default());
            if format!("{module}{test}").chars().all(is_lower) && !is_of_an_api {
                assert!(is_test(module, test), "{page} names the test {module}::{test}, which is not there");
                named += 1;
            }
        }
    }
    assert!(named > 200, "only {named} tests are named");
}

#[test]
fn the_smallest_program_is_the_example() {
    let readme = read("README.md");
    let program = readme.split("```rust,no_run\n").nth(1).unwrap().split("```").next().unwrap();
    assert!(read("examples/smallest.rs").ends_with(program), "the README's program is not examples/smallest.rs");
    let guide: String = read("src/lib.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("//!"))
        .fold(String::new(), |text, line| text + line.strip_prefix(' ').unwrap_or(line) + "\n");
    let without_comments = |text: &str| text.lines().filter(|line| !line.contains("//")).collect::<String>();
    let first = guide.split("```no_run\n").nth(1).unwrap().split("```").next().unwrap();
    assert_eq!(without_comments(first), without_comments(program));
}

#[test]
fn the_kinds_of_events_are_those_of_the_code() {
    let page = read("docs/from-node-hirelings.md");
    let section = page.split("## Events").nth(1).unwrap().split("\n## ").next().unwrap();
    let named: BTreeSet<&str> = quoted(section)
        .filter(|name| name.chars().all(char::is_alphanumeric) && name.starts_with(char::is_uppercase))
        .filter(|name| *name != "Event")
        .collect();
    let all: Vec<String> = EventKind::ALL.iter().map(|kind| format!("{kind:?}")).collect();
    assert_eq!(named, all.iter().map(String::as_str).collect());
    assert!(read("README.md").contains(&format!("| {} kinds |", all.len())));
}

#[test]
fn the_defaults_are_those_of_the_code() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let processes = (cores * 5).div_ceil(4).to_string();
    let code = read("src/builder.rs");
    let made = format!("{:?}", Pool::<Square>::builder(Command::new("worker")));
    for (option, said, value) in [
        ("max_processes", "1.25 × the available parallelism, rounded up", processes.as_str()),
        ("min_processes", "0", "0"),
        ("idle_timeout", "`None`", "None"),
        ("max_age", "`None`", "None"),
        ("max_jobs_per_process", "64 and a minute", "None"),
        ("retries", "0", "0"),
        ("retry(", "`RetryPolicy::new(0)`", ""),
        ("expires", "`None`", "None"),
        ("timeout_initializing", "5 s", "Some(5s)"),
        ("timeout_working", "10 s", "Some(10s)"),
        ("timeout_recovering", "5 s", "Some(5s)"),
        ("soft_timeout", "`None`", "None"),
        ("kill_grace", "500 ms", "500ms"),
        ("start_failures", "5", "5"),
        ("max_backlog", "no limit", ""),
        ("max_frame", "1 GiB", ""),
        ("prefetch", "`None`", "256"),
        ("stderr", "[`Stderr::Forward`]", ""),
        ("start_method", "[`StartMethod::Exec`]", ""),
        ("transport", "[`Transport::Pipes`]", ""),
    ] {
        let before = code.split(&format!("    pub fn {option}")).next().unwrap();
        let documented = before.rsplit("\n\n").next().unwrap();
        assert!(documented.contains(&format!("Default: {said}.")), "{option} is documented as:\n{documented}");
        if !value.is_empty() {
            assert!(made.contains(&format!("{option}: {value}")), "{option} is not {value} in {made}");
        }
    }
}

#[test]
fn versions_are_told_as_they_are() {
    let manifest = read("Cargo.toml");
    let field = |name: &str| {
        let line = manifest.lines().find(|line| line.starts_with(name)).unwrap();
        line.split('"').nth(1).unwrap().to_owned()
    };
    assert!(read("README.md").contains(&format!("Rust {} or later", field("rust-version"))));
    assert!(read("CHANGELOG.md").contains(&format!("\n## {}", field("version"))));
}

#[test]
fn one_file_names_bincode() {
    let of_code =
        |file: &String| file.ends_with(".rs") && (file.starts_with("src/") || file.starts_with("worker-kit/"));
    let names: Vec<String> =
        files().into_iter().filter(of_code).filter(|file| read(file).contains("bincode::")).collect();
    assert_eq!(names, ["worker-kit/src/wire/codec.rs"]);
}

#[test]
fn no_file_names_the_machine_that_it_was_written_on() {
    // Put together here, so that this file has none of them.
    let folders = ["work", "root", "Users", "workspace"].map(|folder| format!("/{folder}/"));
    for file in files() {
        let Ok(text) = fs::read_to_string(root().join(&file)) else { continue };
        for folder in &folders {
            assert!(!text.contains(folder.as_str()), "{file} names {folder}");
        }
    }
}

/// The bugs that the simulator is to find are patches, which must fit the code as it is.
#[test]
fn each_mutant_still_applies() {
    // A published package or an archive has no checkout.
    if !root().join(".git").exists() {
        return;
    }
    let patches: Vec<String> = files().into_iter().filter(|file| file.starts_with("tests/mutants/")).collect();
    let patches: Vec<_> = patches.iter().filter(|file| file.ends_with(".patch")).collect();
    assert!(patches.len() >= 40, "only {} mutants were found", patches.len());
    for patch in patches {
        let text = read(patch);
        let first = text.lines().next().unwrap_or_default();
        assert!(first.ends_with('.') && !first.starts_with("---"), "{patch} does not say what it breaks");
        let check = Command::new("git").args(["apply", "--check", patch]).current_dir(root()).output().unwrap();
        assert!(check.status.success(), "{patch}: {}", String::from_utf8_lossy(&check.stderr));
    }
}

// ---------------------------------------------------------------- the house

/// The folders of code.
const CRATES: [&str; 4] = ["src", "worker-kit/src", "worker-kit/confine/src", "observe/src"];

/// No file of code has more lines than this, tests and the examples in comments aside.
const LONGEST: usize = 500;

/// The files below `folder`, without it.
fn code_below(folder: &str) -> house::Files {
    let below = |file: String| {
        let path = file.strip_prefix(folder)?.strip_prefix('/')?;
        path.ends_with(".rs").then(|| (path.to_owned(), read(&file)))
    };
    files().into_iter().filter_map(below).collect()
}

#[test]
fn no_circle_of_files_in_order_and_none_too_long() {
    for folder in CRATES {
        let code = code_below(folder);
        assert!(code.len() >= 5, "only {} files below {folder}", code.len());
        let circles = house::circles(&code, &["driver", "supervisor"]);
        assert!(circles.is_empty(), "circles in {folder}:\n{}", circles.join("\n"));
        let breaches = house::against_the_order(&code);
        assert!(breaches.is_empty(), "against the order of the groups in {folder}:\n{}", breaches.join("\n"));
        let long = house::too_long(&code, LONGEST);
        assert!(long.is_empty(), "over {LONGEST} lines in {folder}: {long:?}");
    }
}

/// The page of the architecture says of each file at the top and in the driver what it is.
#[test]
fn each_file_stands_on_the_page_of_the_architecture() {
    let page = read("docs/architecture.md");
    let table: String = page.lines().filter(|line| line.starts_with("| `")).collect();
    let is_left_out = |path: &str| ["lib.rs", "fuzz.rs", "driver/fuzz.rs", "driver/tests.rs"].contains(&path);
    let is_named = |path: &str| {
        let name = path.strip_prefix("driver/").unwrap_or(path);
        name.contains('/') || ["", "src/", "driver/"].iter().any(|folder| table.contains(&format!("`{folder}{name}`")))
    };
    let code = code_below("src");
    let unnamed: Vec<_> = code.keys().filter(|path| !is_left_out(path) && !is_named(path)).collect();
    assert!(unnamed.is_empty(), "docs/architecture.md does not say what these are: {unnamed:?}");
}

// ---------------------------------------------------------------- the examples

/// Public, and without an example of its own.
const WITHOUT_EXAMPLE: [(&str, &str); 2] = [
    ("worker-kit/src/wire", "bytes, for the pool's crate: the module has the example, docs/protocol.md each message"),
    ("worker-kit/src/buffers.rs", "exported in `wire` alone, for the pool's crate"),
];

/// Something public, and whether what is said of it has an example.
#[derive(Debug)]
struct Item {
    /// The file and the line.
    place: String,
    name: String,
    shown: bool,
}

/// The public items of a file: functions, types and constants, and what a public trait asks for.
///
/// `unreachable_pub` sees to it that what is `pub` in a private module can be reached.
fn public_items(file: &str) -> Vec<Item> {
    let text = read(file);
    let mut items = Vec::new();
    let (mut docs, mut hidden) = (Vec::new(), false);
    // How far the trait is indented that the line is in.
    let mut in_trait = None;
    for (number, line) in text.lines().enumerate() {
        let code = line.trim_start();
        let indent = line.len() - code.len();
        if let Some(doc) = code.strip_prefix("///") {
            docs.push(doc.trim_start());
            continue;
        }
        // Also where a macro is given the documentation: $(#[$doc])*
        if code.starts_with("#[") || code.starts_with("$(#[") {
            hidden |= code.contains("doc(hidden)");
            continue;
        }
        if in_trait.is_some_and(|of| indent == of && code == "}") {
            in_trait = None;
        }
        let asked_for = in_trait.is_some_and(|of| indent == of + 4) && code.starts_with("fn ");
        let declared = code.strip_prefix("pub ").or(asked_for.then_some(code)).and_then(|rest| {
            let rest = ["const ", "async ", "unsafe "].iter().fold(rest, |rest, word| match rest.strip_prefix(word) {
                Some(function) if function.contains("fn ") => function,
                _ => rest,
            });
            let (kind, rest) = rest.split_once(' ')?;
            ["fn", "struct", "enum", "trait", "type", "const"].contains(&kind).then_some((kind, rest))
        });
        // A macro is given the documentation and the name of what it declares.
        let given = !docs.is_empty() && code.starts_with(char::is_uppercase) && code.chars().all(char::is_alphanumeric);
        let name = match declared {
            Some((_, rest)) => rest.split(|c: char| !c.is_alphanumeric() && !"_$".contains(c)).next(),
            None => given.then_some(code),
        };
        if let Some(name) = name.filter(|name| !name.starts_with('$') && !hidden) {
            let place = format!("{file}:{}", number + 1);
            items.push(Item { place, name: name.to_owned(), shown: has_example(&docs) });
        }
        if declared.is_some_and(|(kind, _)| kind == "trait") {
            in_trait = Some(indent);
        }
        docs.clear();
        hidden = false;
    }
    items
}

/// Whether there is a block of code that is compiled, and a line in it that a reader sees.
fn has_example(docs: &[&str]) -> bool {
    let mut fence = None;
    docs.iter().any(|line| {
        match (line.strip_prefix("```"), fence) {
            (Some(tag), None) => fence = Some(["", "no_run", "rust", "rust,no_run"].contains(&tag)),
            (Some(_), Some(_)) => fence = None,
            (None, of) => return of == Some(true) && !line.is_empty() && *line != "#" && !line.starts_with("# "),
        }
        false
    })
}

/// What a crate's root re-exports, and what it hides: modules and names.
fn exported(root: &str) -> (Vec<String>, Vec<String>) {
    let (mut shown, mut hidden) = (Vec::new(), Vec::new());
    let code: Vec<String> = read(root).lines().filter(|line| !line.starts_with("//!")).map(str::to_owned).collect();
    for statement in code.join(" ").split(';').map(str::trim) {
        let Some(at) = statement.find("pub ") else { continue };
        let (attributes, declared) = statement.split_at(at);
        let names = declared.rsplit("::").next().unwrap().split(|c: char| !c.is_alphanumeric() && c != '_');
        let names = names.filter(|name| !["", "pub", "mod", "use"].contains(name)).map(str::to_owned);
        if attributes.contains("doc(hidden)") {
            hidden.extend(names);
        } else if declared.starts_with("pub use") && !declared.contains("hirelings_worker_kit") {
            shown.extend(names);
        }
    }
    (shown, hidden)
}

#[test]
fn every_public_item_has_an_example() {
    for (folder, at_least) in [("src", 120), ("worker-kit/src", 25), ("observe/src", 20)] {
        let (exported, hidden) = exported(&format!("{folder}/lib.rs"));
        let in_hidden = |file: &String| {
            hidden.iter().any(|module| {
                let path = format!("{folder}/{module}");
                file.starts_with(&format!("{path}.rs")) || file.starts_with(&format!("{path}/"))
            })
        };
        let excused = |name: &str| WITHOUT_EXAMPLE.iter().any(|(excused, _)| name == *excused);
        let excused_file = |file: &String| WITHOUT_EXAMPLE.iter().any(|(excused, _)| file.starts_with(excused));
        let of_code = |file: &String| file.starts_with(&format!("{folder}/")) && file.ends_with(".rs");
        let read = files().into_iter().filter(|file| of_code(file) && !in_hidden(file) && !excused_file(file));
        let items: Vec<Item> = read.flat_map(|file| public_items(&file)).collect();
        assert!(items.len() >= at_least, "only {} public items were found in {folder}", items.len());
        for name in &exported {
            assert!(items.iter().any(|item| item.name == *name), "{folder} exports {name}, which was not found");
        }

        let lacking: Vec<String> = items
            .iter()
            .filter(|item| !item.shown && !excused(&item.name) && !hidden.contains(&item.name))
            .map(|item| format!("{}: {}", item.place, item.name))
            .collect();
        assert!(lacking.is_empty(), "without an example in what is said of it:\n{}", lacking.join("\n"));
        for item in items.iter().filter(|item| item.shown) {
            assert!(!excused(&item.name), "{} has an example: it needs no excuse", item.name);
        }
    }
}

// ---------------------------------------------------------------- the traps of values

fn goes_through<T: Serialize + DeserializeOwned>(value: &T) -> bool {
    let mut bytes = Vec::new();
    worker::wire::encode_payload(value, &mut bytes, 1 << 20).is_ok()
        && worker::wire::decode_payload::<T>(&bytes).is_ok()
}

#[derive(Serialize, Deserialize)]
struct Inner {
    n: u64,
}

#[derive(Serialize, Deserialize)]
struct Flat {
    name: String,
    #[serde(flatten)]
    inner: Inner,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(u64),
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Tagged {
    Number { n: u64 },
}

#[derive(Serialize, Deserialize)]
struct Skipped {
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<u64>,
}

/// Nested in the way of a tree.
#[derive(Serialize, Deserialize)]
struct Tree(Vec<Tree>);

#[test]
fn what_the_guide_calls_traps_are_traps() {
    assert!(!goes_through(&Flat { name: "n".into(), inner: Inner { n: 1 } }));
    assert!(!goes_through(&Untagged::Number(1)));
    assert!(!goes_through(&Tagged::Number { n: 1 }));
    assert!(!goes_through(&Skipped { n: None }));

    assert!(goes_through(&Inner { n: 1 }));
    assert!(goes_through(&Tree(vec![Tree(vec![]), Tree(vec![])])));
    assert!(goes_through(&BTreeMap::from([("one".to_owned(), Some((1u8, 'c', 1.5f64)))])));
    assert!(goes_through(&(i128::MIN, Duration::MAX, std::net::Ipv4Addr::LOCALHOST)));
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStringExt;
        let name = std::ffi::OsString::from_vec(vec![0xff]);
        assert!(!goes_through(&PathBuf::from(&name)));
        assert!(goes_through(&name));
    }
}

/// Whether there is such a test: in one of the test programs or one of their modules, or in one of `src`.
fn is_test(module: &str, test: &str) -> bool {
    let sources = sources_of(module);
    assert_eq!(sources.len(), 1, "{} modules of tests are called {module}", sources.len());
    sources[0].contains(&format!("#[test]\nfn {test}() "))
}

/// The modules of tests that have this name.
fn sources_of(module: &str) -> Vec<String> {
    let places = match module.split_once("::") {
        Some(_) => vec![format!("src/{}.rs", module.replace("::", "/"))],
        None => {
            let of_programs = ["integration", "alone", "memory", "observe"].map(|of| format!("{of}/{module}.rs"));
            let of_one = format!("{module}/main.rs");
            of_programs.into_iter().chain([of_one]).map(|file| format!("tests/tests/{file}")).collect()
        }
    };
    places.iter().filter_map(|file| fs::read_to_string(root().join(file)).ok()).collect()
}

/// Its module says the subject, so that a name need not. A test of the program `alone` has its process.
#[test]
fn names_of_tests_are_short_and_those_alone_are_so() {
    let mut count = 0;
    for file in files().into_iter().filter(|file| file.starts_with("tests/tests/") && file.ends_with(".rs")) {
        for test in read(&file).split("\n#[test]\n").skip(1) {
            let (name, body) = test.split_once("() {\n").unwrap_or_else(|| panic!("{file} has a test without a name"));
            let name = name.rsplit("fn ").next().unwrap();
            assert!(name.len() <= 50, "{file}: {name} has {} characters", name.len());
            let is_alone = body.trim_start().starts_with("alone!(");
            assert!(is_alone || !file.starts_with("tests/tests/alone/"), "{file}: {name} begins without alone!()");
            count += 1;
        }
    }
    assert!(count > 300, "only {count} tests were found");
}

/// A worker program has no tests: it is not built once more, and run, as if it had some.
#[test]
fn no_worker_program_is_built_as_a_test() {
    let manifest = read("tests/Cargo.toml");
    let programs = files().into_iter().filter_map(|file| {
        let path = file.strip_prefix("tests/src/bin/")?;
        (!path.contains('/') || path.ends_with("/main.rs"))
            .then(|| format!("path = \"src/bin/{path}\"\ntest = false\n"))
    });
    let lacking: Vec<String> = programs.filter(|listed| !manifest.contains(listed)).collect();
    assert!(lacking.is_empty(), "tests/Cargo.toml lacks {lacking:?}");
}

/// Each rule of the pool's behaviour has tests, and those that the page names are there.
#[test]
fn each_rule_names_tests_that_exist() {
    let page = read("docs/testing.md");
    let mut rules = Vec::new();
    for line in page.lines() {
        let Some((rule, row)) = line.strip_prefix("| ").and_then(|row| row.split_once(" | ")) else { continue };
        let Ok(rule) = rule.parse::<u32>() else { continue };
        rules.push(rule);
        let named: Vec<_> = row.split('`').skip(1).step_by(2).filter_map(|name| name.split_once("::")).collect();
        assert!(!named.is_empty(), "rule {rule} has no test");
        for (module, test) in named {
            assert!(is_test(module, test), "rule {rule}: there is no test {module}::{test}");
        }
    }
    assert_eq!(rules, (1..=12).collect::<Vec<_>>());
}

/// The numbers of a text such as `1-3, 5, 7-8.`
fn ranges(text: &str) -> Vec<u32> {
    let number = |text: &str| text.trim().parse::<u32>().unwrap_or_else(|_| panic!("{text:?} is no number"));
    let range = |part: &str| match part.split_once('-') {
        Some((first, last)) => number(first)..=number(last),
        None => number(part)..=number(part),
    };
    text.trim().trim_end_matches('.').split(',').flat_map(range).collect()
}

/// Every case that the page says the list has is there, in its order, with a verdict; no test stands for too many.
#[test]
fn each_failure_case_has_a_verdict_and_tests() {
    let page = read("docs/failure-cases.md");
    let (_, rest) = page.split_once("The numbers are those of the list: ").unwrap();
    let expected = ranges(rest.split("\n\n").next().unwrap());
    assert!(page.contains(&format!("a list of {} cases", expected.len())), "it has {} cases", expected.len());

    let (mut numbers, mut tested) = (Vec::new(), 0);
    let mut cases_of: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for line in page.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [number, case, verdict] = cells[..] else { continue };
        let Ok(number) = number.parse() else { continue };
        assert!(!case.is_empty(), "case {number} has no name");
        numbers.push(number);
        if let Some(why) = verdict.strip_prefix("not applicable: ").or_else(|| verdict.strip_prefix("later: ")) {
            assert!(why.contains(' ') && !why.contains("::"), "case {number}: {verdict}");
            continue;
        }
        assert!(verdict.starts_with('`'), "case {number} has no verdict: {verdict}");
        for name in quoted(verdict) {
            let (module, test) = name.rsplit_once("::").unwrap_or_else(|| panic!("case {number}: {name} is no test"));
            assert!(is_test(module, test), "case {number}: there is no test {name}");
            cases_of.entry(name).or_default().push(number);
        }
        tested += 1;
    }
    assert_eq!(numbers, expected);
    assert!(tested >= 130, "only {tested} cases have a test");
    for (test, cases) in cases_of {
        assert!(cases.len() <= 3, "{test} stands for too many cases: {cases:?}");
    }
}
