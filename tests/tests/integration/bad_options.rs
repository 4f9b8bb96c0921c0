//! Options that make no sense are refused by name; the largest ones do no harm.

use hirelings::{BuildErrorKind, Limits, Pool, PoolBuilder};
use hirelings_tests::brittle::Brittle;
use hirelings_tests::staged::{self, Stage, Staged};
use hirelings_tests::{Do, WATCHDOG, pool, settled};
use std::collections::HashMap;
use std::error::Error;
use std::process::Command;
use std::time::Duration;

/// Why the pool was refused.
fn refused(builder: PoolBuilder<Do>) -> String {
    let error = builder.build().map(drop).unwrap_err();
    assert_eq!(error.kind(), BuildErrorKind::Options, "{error}");
    assert!(error.source().is_none());
    error.to_string()
}

#[test]
fn options_that_make_no_sense_are_refused_by_name() {
    let zero = Duration::ZERO;
    for (name, builder) in [
        ("max_processes", pool().max_processes(0)),
        ("max_processes", pool().max_processes(usize::MAX)),
        ("min_processes", pool().max_processes(2).min_processes(3)),
        ("min_processes", pool().min_processes(usize::MAX)),
        ("idle_timeout", pool().idle_timeout(Duration::ZERO)),
        ("max_age", pool().max_age(Duration::ZERO)),
        ("max_jobs_per_process", pool().max_jobs_per_process(0)),
        ("start_failures", pool().start_failures(0)),
        ("max_backlog", pool().max_backlog(0)),
        ("timeout_initializing", pool().timeout_initializing(zero)),
        ("timeout_working", pool().timeout_working(zero)),
        ("timeout_recovering", pool().timeout_recovering(zero)),
        ("max_frame", pool().max_frame(0)),
        ("max_frame", pool().max_frame(100)),
        ("max_frame", pool().max_frame(1 << 32)),
        ("max_frame", pool().max_frame(usize::MAX)),
        ("limits", pool().limits(Limits::new().address_space(0))),
        ("limits", pool().limits(Limits::new().cpu_time(zero))),
        ("limits", pool().limits(Limits::new().open_files(7))),
        ("limits: no processes", pool().limits(Limits::new().processes(0))),
        ("limits: a niceness of 20", pool().limits(Limits::new().niceness(20))),
        ("limits: a niceness of -21", pool().limits(Limits::new().niceness(-21))),
        ("limits: no processors", pool().limits(Limits::new().cpus([[0]; 0]))),
        ("limits: no processors", pool().limits(Limits::new().cpus([vec![0], vec![]]))),
        ("limits: processor 100000 ", pool().limits(Limits::new().cpus([[100_000]]))),
        ("max_memory", pool().max_memory(0, None)),
        ("max_memory", pool().max_memory(None, 0)),
        ("max_memory", pool().max_memory(2, 1)),
    ] {
        let why = refused(builder);
        assert!(why.contains(name), "{name}: {why}");
    }
}

#[test]
fn both_sides_of_a_contradiction_are_in_the_error() {
    let why = refused(pool().max_processes(2).min_processes(3));
    assert!(why.contains("min_processes is 3") && why.contains("max_processes, 2"), "{why}");
}

#[test]
fn options_that_cannot_be_encoded_are_refused() {
    let why = refused(pool().options(&Brittle::NoEncode));
    assert!(why.contains("options") && why.contains("Brittle") && why.contains("it broke while"), "{why}");
}

#[test]
fn options_over_the_frame_limit_are_refused() {
    let why = refused(pool().max_frame(4096).options(&"x".repeat(5000)));
    assert!(why.contains("options") && why.contains("max_frame"), "{why}");
}

#[test]
fn a_refused_pool_starts_nothing() {
    let builder = Pool::<Do>::builder_with(|_| panic!("asked for a worker of a pool that makes no sense"));
    let why = refused(builder.max_jobs_per_process(0));
    assert!(why.contains("max_jobs_per_process"), "{why}");
}

#[test]
fn the_longest_times_mean_no_limit() {
    let pool = pool().max_processes(1).retries(u32::MAX).start_failures(u32::MAX);
    let pool = pool.timeout_initializing(Duration::MAX).timeout_working(Duration::MAX);
    let pool = pool.timeout_recovering(Duration::MAX).kill_grace(Duration::MAX);
    let pool = pool.max_jobs_per_process(u64::MAX).max_backlog(usize::MAX).prefetch(u32::MAX);
    let limits = Limits::new().address_space(u64::MAX).cpu_time(Duration::MAX).open_files(u64::MAX);
    let pool = pool.limits(limits.core_size(u64::MAX).file_size(u64::MAX)).max_memory(u64::MAX, u64::MAX);
    let pool = pool.build().unwrap();
    pool.wait_ready(Duration::MAX).unwrap();
    for _ in 0..10 {
        let job = pool.request(Do::Echo("well".into())).timeout(Duration::MAX).retries(u32::MAX).enqueue();
        assert_eq!(settled(job).unwrap(), "well");
    }
    let job = pool.enqueue(Do::Echo("well".into()));
    assert_eq!(job.wait_timeout(Duration::MAX).unwrap().unwrap(), "well");
    assert!(pool.wait_idle_timeout(Duration::MAX));
    assert_eq!(pool.drain(Duration::MAX).left, 0);
}

#[test]
fn the_longest_grace_does_not_keep_a_worker_that_ends() {
    let pool = pool().max_processes(1).kill_grace(Duration::MAX).build().unwrap();
    settled(pool.enqueue(Do::Pid)).unwrap();
    // An exit within the watchdog's time: the worker heeds SIGTERM.
    let start = std::time::Instant::now();
    pool.exit();
    assert!(start.elapsed() < WATCHDOG);
}

#[test]
fn the_shortest_times_are_kept() {
    let tick = Duration::from_nanos(1);
    // One that is never ready: a worker that is ready before the pool has looked at its clock was in time.
    let mut sleeper = Command::new("sleep");
    sleeper.arg("1000");
    let pool = Pool::<Do>::builder(sleeper).max_processes(1).start_failures(1).kill_grace(Duration::ZERO);
    let pool = pool.timeout_initializing(tick).build().unwrap();
    let error = settled(pool.enqueue(Do::Pid)).unwrap_err().to_string();
    assert!(error.contains("initializing for more than 1ns"), "{error}");
}

#[test]
fn no_limit_is_no_limit() {
    let pool = pool().max_processes(1).timeout_initializing(None).timeout_working(None).timeout_recovering(None);
    let pool = pool.prefetch(None).build().unwrap();
    assert_eq!(settled(pool.request(Do::Echo("well".into())).timeout(None).enqueue()).unwrap(), "well");
}

#[test]
fn a_job_whose_own_limit_is_zero_fails_alone() {
    let pool = pool().max_processes(1).build().unwrap();
    let error = settled(pool.request(Do::Spin).timeout(Duration::ZERO).enqueue()).unwrap_err().to_string();
    assert!(error.contains("working for more than 0ns"), "{error}");
    assert_eq!(settled(pool.enqueue(Do::Echo("well".into()))).unwrap(), "well");
}

#[test]
fn a_worker_that_needs_options_and_gets_none_says_so() {
    let command = Command::new(hirelings_tests::program("staged"));
    let pool = Pool::<Staged>::builder(command).start_failures(1).max_processes(1);
    let pool = pool.stderr(hirelings::Stderr::Null).build().unwrap();
    let error = pool.wait_ready(WATCHDOG).unwrap_err().to_string();
    assert!(error.contains("given no options") && error.contains("Stage"), "{error}");
}

#[test]
fn options_that_no_pipe_holds_arrive_whole() {
    // The worker says what it was given, and of what it says the end is kept.
    let start = Stage::Fail(format!("{}, the end", "x".repeat(1 << 20)));
    let pool = staged::pool(start).start_failures(1).max_processes(1).build().unwrap();
    let error = pool.wait_ready(WATCHDOG).unwrap_err().to_string();
    assert!(error.contains("x, the end"), "{}", &error[error.len().saturating_sub(500)..]);
}

#[test]
fn options_of_another_type_are_refused_by_the_worker() {
    let command = Command::new(hirelings_tests::program("staged"));
    let pool = Pool::<Staged>::builder(command).start_failures(1).max_processes(1);
    let options: HashMap<String, u64> = HashMap::from([("colour".into(), 7)]);
    let pool = pool.options(&options).stderr(hirelings::Stderr::Null).build().unwrap();
    let error = pool.wait_ready(WATCHDOG).unwrap_err().to_string();
    assert!(error.contains("options are not a") && error.contains("Stage"), "{error}");
}
