//! Pools that are paused, and pools whose size changes while they run.

use hirelings::{BuildErrorKind, EventKind, JobError, JobStatus};
use hirelings_tests::{Do, Gate, Record, Scratch, begun, eventually, pool, settled};
use std::collections::BTreeSet;
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
fn what_was_prefetched_comes_back() {
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
    // On a busy machine the recall may come too late for the first ones.
    let too_late = ran.lines().len();
    assert!(too_late < 50, "{too_late}");
    assert_eq!(pool.stats().backlog, 50 - too_late);
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

#[test]
fn more_workers_may_run_after_the_pool_has_grown() {
    let pool = pool().max_processes(1).build().unwrap();
    let gate = Gate::new();
    pool.set_max_processes(3).unwrap();
    // Each waits at the gate, so that they run at the same time or not at all.
    let jobs: Vec<_> = (0..3).map(|_| pool.request(Do::Wait(gate.path())).timeout(None)).map(begun).collect();
    let slots: BTreeSet<usize> = pool.workers().iter().map(|worker| worker.slot.index()).collect();
    assert_eq!(slots, BTreeSet::from([0, 1, 2]));
    drop(gate);
    jobs.into_iter().for_each(|job| drop(settled(job).unwrap()));
}

#[test]
fn the_surplus_leave_after_their_jobs() {
    let (builder, mut record) = Record::of(pool().max_processes(3));
    let pool = builder.build().unwrap();
    let mut gate = Gate::new();
    let jobs: Vec<_> = (0..3).map(|_| pool.request(Do::Wait(gate.path())).timeout(None)).map(begun).collect();
    pool.set_max_processes(1).unwrap();
    assert_eq!(pool.workers().len(), 3, "nobody is killed");
    let more: Vec<_> = (0..20).map(|_| pool.enqueue(Do::Pid)).collect();
    gate.open();
    jobs.into_iter().for_each(|job| drop(settled(job).unwrap()));
    let pids: BTreeSet<String> = more.into_iter().map(|job| settled(job).unwrap()).collect();
    assert_eq!(pids.len(), 1, "one worker does what comes after: {pids:?}");
    eventually("one worker is left", || pool.workers().len() == 1);
    assert_eq!(pool.workers()[0].slot.index(), 0);
    let stats = pool.stats();
    assert_eq!((stats.crashed, stats.restarts.recycled, stats.spawned), (0, 2, 3));
    pool.exit();
    assert_eq!(record.count(EventKind::JobRetry), 0);
}

#[test]
fn a_pool_of_no_workers_is_refused() {
    let pool = pool().max_processes(2).build().unwrap();
    let refused = pool.set_max_processes(0).unwrap_err();
    assert_eq!(refused.kind(), BuildErrorKind::Options);
    assert_eq!(refused.to_string(), "max_processes is 0: a pool needs at least one worker");
    assert!(pool.set_max_processes(65_536).unwrap_err().to_string().contains("65536"));
    settled(pool.enqueue(Do::Pid)).unwrap();
    pool.exit();
    pool.set_max_processes(1).unwrap();
}

#[test]
fn a_pool_whose_size_changes_loses_no_job() {
    let (pool, ran) = (pool().max_processes(2).prefetch(None).build().unwrap(), Scratch::new());
    let mut jobs = Vec::new();
    for n in 0..400 {
        jobs.push(pool.enqueue(Do::Append(ran.path(), n.to_string())));
        match n % 40 {
            10 => pool.set_max_processes(1 + n / 40 % 4).unwrap(),
            20 => pool.recycle(),
            30 => pool.pause(),
            35 => pool.resume(),
            _ => {}
        }
    }
    jobs.into_iter().for_each(|job| drop(settled(job).unwrap()));
    let mut lines: Vec<usize> = ran.lines().iter().map(|line| line.parse().unwrap()).collect();
    lines.sort_unstable();
    assert_eq!(lines, (0..400).collect::<Vec<_>>(), "each ran once");
    assert_eq!(pool.stats().crashed, 0);
}

#[test]
fn all_workers_are_replaced() {
    let pool = pool().max_processes(2).min_processes(2).build().unwrap();
    let mut gate = Gate::new();
    let jobs: Vec<_> = (0..2).map(|_| pool.request(Do::Wait(gate.path())).timeout(None)).map(begun).collect();
    let before: BTreeSet<u32> = pool.workers().iter().map(|worker| worker.pid).collect();
    pool.recycle();
    let after = pool.enqueue(Do::Pid);
    gate.open();
    jobs.into_iter().for_each(|job| drop(settled(job).unwrap()));
    let pid: u32 = settled(after).unwrap().parse().unwrap();
    assert!(!before.contains(&pid), "it is done by a new worker");
    let new = || pool.workers().iter().filter(|worker| !before.contains(&worker.pid)).count() == 2;
    eventually("there are two new workers", || new() && pool.workers().len() == 2);
    assert_eq!(pool.stats().crashed, 0);
}

#[test]
fn workers_without_work_leave_down_to_the_minimum() {
    let limit = Duration::from_millis(20);
    let pool = pool().max_processes(3).min_processes(1).idle_timeout(limit).build().unwrap();
    let gate = Gate::new();
    let jobs: Vec<_> = (0..3).map(|_| pool.request(Do::Wait(gate.path())).timeout(None)).map(begun).collect();
    assert_eq!(pool.stats().workers, 3);
    drop(gate);
    jobs.into_iter().for_each(|job| drop(settled(job).unwrap()));
    eventually("one is left", || pool.stats().workers == 1);
    let stats = pool.stats();
    assert_eq!((stats.crashed, stats.restarts.recycled, stats.spawned), (0, 2, 3));
    settled(pool.enqueue(Do::Pid)).unwrap();
}

#[test]
fn a_pool_without_a_minimum_is_empty_after_a_while() {
    let pool = pool().max_processes(2).idle_timeout(Duration::from_millis(20)).build().unwrap();
    settled(pool.enqueue(Do::Pid)).unwrap();
    eventually("nobody is left", || pool.workers().is_empty());
    settled(pool.enqueue(Do::Pid)).unwrap();
    assert_eq!(pool.stats().crashed, 0);
}

#[test]
fn old_workers_are_replaced_and_no_job_is_lost() {
    let limit = Duration::from_millis(50);
    let pool = pool().max_processes(2).min_processes(2).max_age(limit).build().unwrap();
    let first: u32 = settled(pool.enqueue(Do::Pid)).unwrap().parse().unwrap();
    eventually("the first one is gone", || !pool.workers().iter().any(|worker| worker.pid == first));
    let jobs: Vec<_> = (0..200).map(|_| pool.enqueue(Do::Pid)).collect();
    jobs.into_iter().for_each(|job| drop(settled(job).unwrap()));
    eventually("others have followed", || pool.stats().spawned >= 4);
    assert_eq!(pool.stats().crashed, 0);
}
