//! A worker in another language, `workers/worker.py`, written from `docs/protocol.md` alone.

use hirelings::worker::wire::{
    ANSWERS_RECALLS, FROM_WORKER, FrameBuffer, FromWorker, Hello, PAYLOAD_CODEC, ToWorker, WireMessage, encode_payload,
    frame_into,
};
use hirelings::{Codec, Job, JobError, Pool, PoolBuilder, Stderr};
use hirelings_tests::processes::is_alive;
use hirelings_tests::{WATCHDOG, eventually, settled};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Task {
    /// Counts words; or fails, when that is done.
    Count { text: String, fail: bool },
    /// Tells the process id of a child, and goes on for ever.
    Hold,
    /// Raises what nobody catches.
    Boom,
    /// Retires.
    Last,
    /// The worker has never heard of this.
    Unheard(String),
}

impl Job for Task {
    type Output = BTreeMap<String, u32>;
    type Progress = u32;
    type Error = String;

    fn name() -> &'static str {
        "word-count"
    }
}

fn program(args: &[&str]) -> Command {
    let mut command = Command::new("python3");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/workers/worker.py")).args(args);
    command
}

/// Says so, and `None`, where there is no Python.
fn pool(args: &[&str]) -> Option<PoolBuilder<Task>> {
    if Command::new("python3").arg("--version").output().is_err() {
        println!("skipped: there is no python3 on this machine");
        return None;
    }
    let pool = Pool::<Task>::builder(program(args)).stderr(Stderr::Null);
    Some(pool.timeout_initializing(WATCHDOG).max_jobs_per_process(64))
}

fn count(text: &str) -> Task {
    Task::Count { text: text.into(), fail: false }
}

fn counted<const N: usize>(words: [(&str, u32); N]) -> BTreeMap<String, u32> {
    words.map(|(word, count)| (word.to_owned(), count)).into()
}

/// The `n`th of many jobs, what it tells, and what comes back.
fn nth(n: u32) -> (Task, u32, Result<BTreeMap<String, u32>, String>) {
    let text = format!("ü {n} {}", "ü ".repeat(n as usize % 7));
    let fail = n % 10 == 3;
    let words = n % 7 + 2;
    let outcome = if fail { Err("told to fail".into()) } else { Ok(counted([("ü", words - 1), (&n.to_string(), 1)])) };
    (Task::Count { text, fail }, words, outcome)
}

/// A thousand jobs, with progress and failures, through workers that are recycled.
fn a_thousand_jobs(builder: PoolBuilder<Task>) {
    let pool = builder.max_processes(2).build().unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let jobs = (0..1000u32).map(|n| {
        let told = Arc::clone(&told);
        let tell = move |words| told.lock().unwrap().push((n, words));
        pool.request(nth(n).0).on_progress(tell).enqueue()
    });
    let jobs: Vec<_> = jobs.collect();
    for (n, handle) in (0..).zip(jobs) {
        match (handle.wait_timeout(WATCHDOG).expect("an answer"), nth(n).2) {
            (Ok(output), Ok(expected)) => assert_eq!(output, expected),
            (Err(JobError::Failed(error)), Err(expected)) => assert_eq!(error, expected),
            (got, expected) => panic!("job {n}: {got:?}, not {expected:?}"),
        }
    }
    let stats = pool.stats();
    assert_eq!((stats.succeeded, stats.failed, stats.crashed, stats.timed_out), (900, 100, 0, 0));
    // 64 jobs a process, exactly: 1,000 need 16 at least, and no more than two are left unfinished.
    assert!((16..=17).contains(&stats.spawned), "{} processes", stats.spawned);
    pool.exit();
    let mut told = told.lock().unwrap().clone();
    told.sort_unstable();
    assert_eq!(told, (0..1000).map(|n| (n, nth(n).1)).collect::<Vec<_>>());
}

#[test]
fn a_thousand_jobs_with_all_that_can_happen() {
    let Some(pool) = pool(&[]) else { return };
    a_thousand_jobs(pool);
}

#[test]
fn a_banner_and_ready_in_a_frame_of_its_own() {
    let Some(pool) = pool(&["--banner", "--recover"]) else { return };
    a_thousand_jobs(pool);
}

#[test]
fn a_job_that_it_does_not_understand_fails_alone() {
    let Some(pool) = pool(&[]) else { return };
    let pool = pool.max_processes(1).build().unwrap();
    let unheard = pool.enqueue(Task::Unheard("of".into()));
    let next = pool.enqueue(count("of"));
    match unheard.wait() {
        Err(JobError::Decode(error)) => assert!(error.to_string().contains("unknown variant 4"), "{error}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(next.wait().unwrap(), counted([("of", 1)]));
    assert_eq!(pool.stats().spawned, 1);
}

#[test]
fn an_answer_over_the_limit_fails_alone() {
    let Some(pool) = pool(&[]) else { return };
    let pool = pool.max_processes(1).max_frame(1024).build().unwrap();
    // A word costs 2 bytes on the way there and 15 on the way back.
    let words: Vec<String> = ('a'..='z').flat_map(|a| ('a'..='d').map(move |b| format!("{a}{b}"))).collect();
    let long = pool.enqueue(count(&words.join(" ")));
    let next = pool.enqueue(count("a"));
    match long.wait() {
        Err(JobError::Encode(error)) => assert!(error.to_string().contains("it is too long"), "{error}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(next.wait().unwrap(), counted([("a", 1)]));
    assert_eq!(pool.stats().spawned, 1);
}

#[test]
fn an_exception_costs_its_job_and_the_process() {
    let Some(pool) = pool(&[]) else { return };
    let pool = pool.max_processes(1).build().unwrap();
    let boom = pool.enqueue(Task::Boom);
    let next = pool.enqueue(count("a"));
    match boom.wait() {
        Err(JobError::Panicked(panic)) => {
            assert_eq!(panic.message, "boom");
            assert!(panic.location.unwrap().starts_with("worker.py:"));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(next.wait().unwrap(), counted([("a", 1)]));
    assert_eq!(pool.stats().spawned, 2);
}

#[test]
fn one_that_retires_starts_no_other_job() {
    let Some(pool) = pool(&[]) else { return };
    let pool = pool.max_processes(1).build().unwrap();
    // Short jobs first, so that jobs are prefetched by the time it retires.
    let jobs = (0..60).map(|n| pool.enqueue(if n == 30 { Task::Last } else { count("a") }));
    let jobs: Vec<_> = jobs.collect();
    for (n, handle) in jobs.into_iter().enumerate() {
        let expected = if n == 30 { counted([]) } else { counted([("a", 1)]) };
        assert_eq!(handle.wait().unwrap(), expected, "job {n}");
    }
    let stats = pool.stats();
    assert_eq!((stats.spawned, stats.crashed), (2, 0), "{stats:?}");
}

#[test]
fn dropping_the_pool_ends_the_worker_and_its_children() {
    let Some(pool) = pool(&[]) else { return };
    let pool = pool.max_processes(1).timeout_working(None).build().unwrap();
    let (told, children) = mpsc::channel();
    let holding = pool.request(Task::Hold).on_progress(move |child| told.send(child).unwrap()).enqueue();
    let child = children.recv_timeout(WATCHDOG).unwrap();
    let worker = pool.workers()[0].pid;
    assert!(is_alive(child) && is_alive(worker));
    drop(pool);
    assert!(!is_alive(worker));
    eventually("its child is gone", || !is_alive(child));
    assert!(matches!(holding.wait(), Err(JobError::Closed)));
}

/// This worker speaks version 1 alone: a Cancel would end it.
#[test]
fn a_cancel_is_nothing_but_a_grace_time_for_it() {
    let Some(pool) = pool(&[]) else { return };
    let pool = pool.max_processes(1).soft_timeout(Duration::from_millis(1)).timeout_working(None).build().unwrap();
    let (told, children) = mpsc::channel();
    let holding = pool.request(Task::Hold).on_progress(move |child| told.send(child).unwrap()).enqueue();
    children.recv_timeout(WATCHDOG).unwrap();
    holding.cancel(Duration::from_millis(50));
    assert!(matches!(settled(holding), Err(JobError::Aborted)));
    assert_eq!(settled(pool.enqueue(count("a"))).unwrap(), counted([("a", 1)]));
}

#[test]
fn a_codec_that_it_does_not_know_is_refused() {
    let Some(pool) = pool(&[]) else { return };
    let pool = pool.codec(Codec::Json).start_failures(1).build().unwrap();
    let error = pool.enqueue(count("a")).wait().unwrap_err().to_string();
    assert!(error.contains("does word-count in bincode, the pool has word-count in json"), "{error}");
}

/// A worker without a pool: the test is its parent.
struct Alone {
    process: Child,
    input: Option<ChildStdin>,
    output: OwnedFd,
    arrived: FrameBuffer,
}

impl Alone {
    /// One that is ready.
    fn start() -> Alone {
        let mut process = program(&[]).stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0).spawn().unwrap();
        let output = process.stdout.take().unwrap().into();
        let mut alone = Alone { input: process.stdin.take(), process, output, arrived: FrameBuffer::new(1 << 20) };
        let mut handshake = Vec::new();
        frame_into(&Hello::new(0), &[], &mut handshake);
        let (job_type, codec) = (Task::name().into(), PAYLOAD_CODEC.into());
        frame_into(&ToWorker::Init { job_type, codec, max_frame: 1 << 20, has_options: false }, &[], &mut handshake);
        alone.write(&handshake);
        let hello = Hello { highest: 1, ..Hello::new(FROM_WORKER | ANSWERS_RECALLS) };
        assert_eq!(alone.next::<Hello>(), Some((hello, Task::name().as_bytes().to_vec())), "a worker of version 1");
        assert_eq!(alone.next(), Some((FromWorker::Ready, vec![])));
        alone
    }

    fn write(&mut self, frames: &[u8]) {
        self.input.as_mut().unwrap().write_all(frames).unwrap();
    }

    /// What it says next; none at the end.
    fn next<M: WireMessage + Debug>(&mut self) -> Option<(M, Vec<u8>)> {
        let limit = Timespec::try_from(WATCHDOG).unwrap();
        loop {
            if let Some(frame) = self.arrived.next_frame::<M>().unwrap() {
                return Some((frame.message, frame.payload.as_slice().to_vec()));
            }
            let mut fds = [PollFd::new(&self.output, PollFlags::IN)];
            assert_eq!(poll(&mut fds, Some(&limit)), Ok(1), "it says nothing");
            if self.arrived.fill(&self.output).unwrap() == 0 {
                return None;
            }
        }
    }

    fn ended(&mut self) -> ExitStatus {
        eventually("the worker ends", || self.process.try_wait().unwrap().is_some());
        self.process.wait().unwrap()
    }
}

fn job(job: u64, task: &Task) -> Vec<u8> {
    let (mut payload, mut frame) = (Vec::new(), Vec::new());
    encode_payload(task, &mut payload, usize::MAX).unwrap();
    frame_into(&ToWorker::Job { job, attempt: 1 }, &payload, &mut frame);
    frame
}

#[test]
fn behind_its_retire_it_skips_each_prefetched_job() {
    if pool(&[]).is_none() {
        return;
    }
    let mut worker = Alone::start();
    worker.write(&[job(1, &Task::Last), job(2, &count("a")), job(3, &count("b"))].concat());
    assert_eq!(worker.next(), Some((FromWorker::Start { job: 1 }, vec![])));
    assert_eq!(worker.next(), Some((FromWorker::Retire, vec![])));
    // Those that have arrived before it retires are skipped then, and the others as they come.
    let mut said: Vec<_> = (0..3).filter_map(|_| worker.next()).collect();
    let answer = (FromWorker::Success { job: 1, ready: true }, vec![0; 8]);
    let answered = said.iter().position(|said| *said == answer).expect("the answer");
    said.remove(answered);
    assert_eq!(said, [2, 3].map(|job| (FromWorker::Skipped { job }, vec![])));
    // This one was on its way when the pool read that it retires.
    worker.write(&job(4, &count("c")));
    assert_eq!(worker.next(), Some((FromWorker::Skipped { job: 4 }, vec![])));
    let mut last = Vec::new();
    frame_into(&ToWorker::Skip { job: 3 }, &[], &mut last);
    frame_into(&ToWorker::Leave, &[], &mut last);
    worker.write(&last);
    assert_eq!(worker.next::<FromWorker>(), None);
    assert_eq!(worker.ended().code(), Some(0));
}

/// The pool's process dies without a word: all that the worker sees is the end of its input.
#[test]
fn the_end_of_its_input_ends_it_and_its_children() {
    if pool(&[]).is_none() {
        return;
    }
    let mut worker = Alone::start();
    worker.write(&job(1, &Task::Hold));
    let (progress, child) = worker.next::<FromWorker>().unwrap();
    assert_eq!(progress, FromWorker::Progress { job: 1 });
    let child = u32::from_le_bytes(child.try_into().unwrap());
    assert!(is_alive(child));

    worker.input = None;
    assert_eq!(worker.ended().signal(), Some(9));
    eventually("its child ends", || !is_alive(child));
}
