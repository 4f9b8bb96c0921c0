//! Jobs that are sent to a worker before it has answered: nothing is lost, nothing runs twice, none waits behind a long
//! one, and none of it counts as an attempt.

use hirelings::{EventKind, JobError, JobHandle, JobStatus, Pool};
use hirelings_tests::{Do, Gate, Record, Scratch, WATCHDOG, begun, pool, settled};
use std::collections::BTreeMap;
use std::time::Duration;

/// A pool whose workers have done enough short jobs for more to be prefetched, and have plenty left to do.
fn quick_pool(workers: usize) -> Pool<Do> {
    let pool = pool().max_processes(workers).max_jobs_per_process(1_000_000).prefetch(None).build().unwrap();
    warm_up(&pool);
    pool
}

fn warm_up(pool: &Pool<Do>) {
    let handles: Vec<_> = (0..400).map(|n| pool.enqueue(Do::Echo(n.to_string()))).collect();
    for handle in handles {
        settled(handle).unwrap();
    }
}

/// A job that blocks its worker until the gate is opened, and is known to run.
fn long_job(pool: &Pool<Do>, gate: &Gate) -> JobHandle<Do> {
    begun(pool.request(Do::Wait(gate.path())).timeout(None))
}

#[test]
fn a_worker_does_exactly_its_number_of_jobs() {
    let pool = pool().max_processes(2).max_jobs_per_process(50).prefetch(None).build().unwrap();
    let handles: Vec<_> = (0..2_000).map(|_| pool.enqueue(Do::Pid)).collect();
    let mut by_worker = BTreeMap::new();
    for handle in handles {
        *by_worker.entry(settled(handle).unwrap()).or_insert(0) += 1;
    }
    // The last of each slot may have found no more to do.
    let partly = by_worker.values().filter(|&&jobs| jobs != 50).count();
    assert!(partly <= 2 && by_worker.values().all(|&jobs| jobs <= 50), "{by_worker:?}");
}

#[test]
fn no_short_job_waits_while_another_worker_is_free() {
    let pool = quick_pool(2);
    let mut gate = Gate::new();
    // The long one is enqueued among the short ones, so that some are prefetched behind it.
    let mut short: Vec<_> = (0..200).map(|n| pool.enqueue(Do::Echo(n.to_string()))).collect();
    let long = pool.request(Do::Wait(gate.path())).timeout(None).enqueue();
    short.extend((0..2_000).map(|n| pool.enqueue(Do::Echo(n.to_string()))));
    for handle in short {
        settled(handle).unwrap();
    }
    assert!(!long.is_finished(), "the gate is closed");
    gate.open();
    settled(long).unwrap();
}

#[test]
fn jobs_behind_a_long_one_can_be_aborted_unrun() {
    let pool = quick_pool(1);
    let (mut gate, ran) = (Gate::new(), Scratch::new());
    let long = pool.request(Do::Wait(gate.path())).timeout(None).enqueue();
    let behind: Vec<_> = (0..50).map(|n| pool.enqueue(Do::Append(ran.path(), n.to_string()))).collect();
    for handle in &behind {
        assert_eq!(handle.status(), JobStatus::Queued);
    }
    for handle in behind.iter().step_by(2) {
        handle.abort();
        assert!(handle.is_finished());
    }
    gate.open();
    settled(long).unwrap();
    for (n, handle) in behind.into_iter().enumerate() {
        let result = settled(handle);
        assert!(if n % 2 == 0 { matches!(result, Err(JobError::Aborted)) } else { result.is_ok() }, "{n}: {result:?}");
    }
    let expected: Vec<_> = (0..50).filter(|n| n % 2 == 1).map(|n| n.to_string()).collect();
    assert_eq!(ran.lines(), expected, "in order, and none of the aborted");
}

/// Enqueues a job that takes its worker down, in the middle of many that note that they ran.
fn among_many(pool: &Pool<Do>, ran: &Scratch, culprit: Do) -> JobHandle<Do> {
    let note = |n: u32| pool.enqueue(Do::Then(vec![Do::Append(ran.path(), n.to_string()), Do::Numbers]));
    let mut others: Vec<_> = (0..200).map(note).collect();
    // Only one that never ends is to be ended; a panic's backtrace may take its time.
    let limit = matches!(culprit, Do::Spin).then_some(Duration::from_millis(200));
    let culprit = pool.request(culprit).timeout(limit).enqueue();
    others.extend((200..400).map(note));
    for handle in others {
        let numbers = settled(handle).unwrap();
        assert!(numbers.ends_with("attempt 1"), "no attempt is used: {numbers}");
    }
    let mut lines: Vec<u32> = ran.lines().iter().map(|line| line.parse().unwrap()).collect();
    lines.sort_unstable();
    assert_eq!(lines, (0..400).collect::<Vec<_>>(), "each ran once");
    culprit
}

#[test]
fn a_crash_costs_its_own_job_and_the_others_run_once() {
    let (pool, ran) = (quick_pool(2), Scratch::new());
    assert!(matches!(settled(among_many(&pool, &ran, Do::Exit(3))), Err(JobError::Crashed(_))));
}

#[test]
fn a_timeout_costs_its_own_job_and_others_run_once() {
    let (pool, ran) = (quick_pool(2), Scratch::new());
    assert!(matches!(settled(among_many(&pool, &ran, Do::Spin)), Err(JobError::TimedOut(_))));
}

#[test]
fn a_panic_costs_its_own_job_and_the_others_run_once() {
    let (pool, ran) = (quick_pool(1), Scratch::new());
    assert!(matches!(settled(among_many(&pool, &ran, Do::Panic("oh".into()))), Err(JobError::Panicked(_))));
}

#[test]
fn retiring_sends_back_what_was_prefetched() {
    let (pool, ran) = (quick_pool(2), Scratch::new());
    settled(among_many(&pool, &ran, Do::Retire)).unwrap();
}

#[test]
fn an_abort_leaves_those_behind_it_to_others() {
    let (pool, ran) = (quick_pool(1), Scratch::new());
    let gate = Gate::new();
    let long = long_job(&pool, &gate);
    let behind: Vec<_> = (0..20).map(|n| pool.enqueue(Do::Append(ran.path(), n.to_string()))).collect();
    long.abort();
    for handle in behind {
        settled(handle).unwrap();
    }
    assert_eq!(ran.lines(), (0..20).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn exit_settles_what_was_prefetched() {
    let pool = quick_pool(2);
    let gate = Gate::new();
    let blocked: Vec<_> = (0..2).map(|_| pool.request(Do::Wait(gate.path())).timeout(None).enqueue()).collect();
    let behind: Vec<_> = (0..500).map(|n| pool.enqueue(Do::Echo(n.to_string()))).collect();
    pool.exit();
    for handle in blocked.into_iter().chain(behind) {
        assert!(matches!(settled(handle), Err(JobError::Closed) | Ok(_)));
    }
    let stats = pool.stats();
    assert_eq!(stats.enqueued, stats.succeeded + stats.failed);
}

#[test]
fn drain_does_what_was_prefetched() {
    let pool = quick_pool(2);
    let handles: Vec<_> = (0..3_000).map(|n| pool.enqueue(Do::Echo(n.to_string()))).collect();
    let drained = pool.drain(WATCHDOG);
    assert_eq!(drained.left, 0);
    for handle in handles {
        settled(handle).unwrap();
    }
}

/// Only without it do the workers take the jobs in their order, whichever of them is quicker.
#[test]
fn off_is_off() {
    let (builder, mut record) = Record::of(pool().max_processes(3).max_jobs_per_process(7).prefetch(0));
    let pool = builder.build().unwrap();
    let ids: Vec<_> = (0..600).map(|_| pool.enqueue(Do::Pid).id()).collect();
    pool.drain(WATCHDOG);
    let tasks: Vec<_> = record.all().iter().filter(|event| event.kind() == EventKind::Task).collect();
    assert_eq!(tasks.into_iter().filter_map(|event| event.job()).collect::<Vec<_>>(), ids);
}

#[test]
fn a_retried_job_of_higher_priority_goes_first() {
    let (pool, ran) = (quick_pool(1), Scratch::new());
    let append = |line: &str| Do::Append(ran.path(), line.into());
    let mut gate = Gate::new();
    let long = long_job(&pool, &gate);
    let urgent = Do::Then(vec![append("urgent"), Do::FailUntil(2)]);
    let handles = [
        pool.enqueue(append("plain")),
        pool.request(urgent).priority(1).retries(1).enqueue(),
        pool.request(append("second urgent")).priority(1).enqueue(),
    ];
    pool.stats();
    gate.open();
    settled(long).unwrap();
    handles.into_iter().for_each(|handle| drop(settled(handle).unwrap()));
    assert_eq!(ran.lines(), ["urgent", "second urgent", "urgent", "plain"]);
}
