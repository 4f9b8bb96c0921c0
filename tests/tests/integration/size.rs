//! Pools that are paused, and pools whose size changes while they run.

use hirelings::{EventKind, JobError, JobStatus};
use hirelings_tests::{Do, Gate, Record, Scratch, begun, eventually, pool, settled};
use std::time::Duration;

#[test]
fn nothing_begins_until_the_pool_is_resumed() {
    let (other, pool, ran) = (pool().build().unwrap(), pool().max_processes(2).build().unwrap(), Scratch::new());
    pool.pause();
    assert!(pool.is_paused());
    let jobs: Vec<_> = (0..20).map(|n| pool.enqueue(Do::Append(ran.path(), n.to_string()))).collect();
    assert_eq!(pool.stats().backlog, 20);
    // Another pool's job takes as long as these would.
    settled(other.enqueue(Do::Pid)).unwrap();
    assert!(ran.lines().is_empty() && jobs.iter().all(|job| job.status() == JobStatus::Queued));
    assert!(!pool.wait_idle_timeout(Duration::from_millis(1)), "what waits is not done");
    pool.resume();
    assert!(!pool.is_paused());
    pool.wait_idle();
    assert_eq!(ran.lines().len(), 20);
    jobs.into_iter().for_each(|job| drop(settled(job).unwrap()));
}

#[test]
fn what_was_sent_ahead_comes_back() {
    let pool = pool().max_processes(1).max_jobs_per_process(1_000_000).prefetch(None).build().unwrap();
    let warm: Vec<_> = (0..400).map(|n| pool.enqueue(Do::Echo(n.to_string()))).collect();
    warm.into_iter().for_each(|job| drop(settled(job).unwrap()));
    let (mut gate, ran) = (Gate::new(), Scratch::new());
    let long = begun(pool.request(Do::Wait(gate.path())).timeout(None));
    let behind: Vec<_> = (0..50).map(|n| pool.enqueue(Do::Append(ran.path(), n.to_string()))).collect();
    pool.pause();
    assert!(pool.is_paused());
    gate.open();
    settled(long).unwrap();
    // It holds nothing then that it could still begin.
    eventually("the worker is ready", || pool.stats().busy == 0);
    assert_eq!(pool.stats().backlog, 50);
    assert!(ran.lines().is_empty(), "{:?}", ran.lines());
    pool.resume();
    for job in behind {
        settled(job).unwrap();
    }
    assert_eq!(ran.lines(), (0..50).map(|n| n.to_string()).collect::<Vec<_>>(), "in order, each once");
}

#[test]
fn a_retry_waits_in_a_paused_pool() {
    let (builder, mut record) = Record::of(pool().max_processes(1).retries(1));
    let pool = builder.build().unwrap();
    let mut gate = Gate::new();
    let steps = vec![Do::Wait(gate.path()), Do::FailUntil(2)];
    let job = begun(pool.request(Do::Then(steps)).timeout(None));
    pool.pause();
    assert!(pool.is_paused());
    gate.open();
    record.until_kind(EventKind::JobRetry);
    assert_eq!(pool.stats().backlog, 1);
    assert!(!job.is_finished());
    pool.resume();
    settled(job).unwrap();
}

#[test]
fn draining_a_paused_pool_does_its_jobs() {
    let pool = pool().max_processes(1).build().unwrap();
    pool.pause();
    let jobs: Vec<_> = (0..5).map(|n| pool.enqueue(Do::Echo(n.to_string()))).collect();
    let drained = pool.drain(Duration::MAX);
    assert_eq!((drained.finished, drained.left), (5, 0));
    jobs.into_iter().for_each(|job| drop(settled(job).unwrap()));
    assert!(!pool.is_paused());
}

#[test]
fn a_paused_pool_exits_at_once() {
    let pool = pool().max_processes(1).build().unwrap();
    pool.pause();
    let job = pool.enqueue(Do::Pid);
    pool.exit();
    assert!(matches!(settled(job), Err(JobError::Closed)));
}
