//! What a worker does at its start and between its jobs can fail, and no settled job is touched by it.

use hirelings::{EventKind, JobError, Pool, WorkerState};
use hirelings_tests::staged::{Stage, Staged, pool};
use hirelings_tests::{Gate, Record, Scratch, WATCHDOG, settled};
use std::collections::BTreeSet;
use std::time::Duration;

fn pid(pool: &Pool<Staged>, after: Stage) -> u32 {
    settled(pool.enqueue(Staged { after })).unwrap()
}

fn ways_to_fail() -> [Stage; 3] {
    [Stage::Fail("out of paper".into()), Stage::Panic("out of paper".into()), Stage::Exit(5)]
}

#[test]
fn a_recovery_that_goes_well_keeps_the_worker() {
    let (builder, mut record) = Record::of(pool(Stage::Pass).max_processes(1));
    let pool = builder.build().unwrap();
    let pids = [(); 3].map(|()| pid(&pool, Stage::Pass));
    assert_eq!(pids, [pids[0]; 3]);
    pool.wait_idle();
    pool.exit();
    // Once at the start, and once after each recovery.
    assert_eq!((record.count(EventKind::WorkerRecovering), record.count(EventKind::WorkerReady)), (3, 4));
}

#[test]
fn a_failed_recovery_replaces_the_worker_only() {
    for after in ways_to_fail() {
        let (builder, mut record) = Record::of(pool(Stage::Pass).max_processes(1).retries(2));
        let pool = builder.build().unwrap();
        let first = pid(&pool, after.clone());
        let second = pid(&pool, Stage::Pass);
        assert_ne!(first, second, "{after:?}");
        pool.exit();
        let stats = pool.stats();
        assert_eq!((stats.succeeded, stats.failed, stats.retried), (2, 0, 0), "{after:?}");
        let failures = record.count(EventKind::WorkerFailure);
        assert_eq!(failures, usize::from(!matches!(after, Stage::Exit(_))), "{after:?}");
    }
}

#[test]
fn recoveries_that_always_fail_do_not_stall_the_queue() {
    for after in ways_to_fail() {
        let pool = pool(Stage::Pass).max_processes(1).start_failures(2).build().unwrap();
        let jobs: Vec<_> = (0..6).map(|_| pool.enqueue(Staged { after: after.clone() })).collect();
        let mut pids: Vec<_> = jobs.into_iter().map(|handle| settled(handle).unwrap()).collect();
        pids.dedup();
        assert_eq!(pids.len(), 6, "{after:?}");
    }
}

#[test]
fn the_last_job_is_recovered_from_too() {
    let mut gate = Gate::new();
    let (builder, mut record) = Record::of(pool(Stage::Pass).max_processes(1).max_jobs_per_process(1));
    let pool = builder.build().unwrap();
    let first = pid(&pool, Stage::Wait(gate.path()));
    assert_eq!(pool.workers()[0].state, WorkerState::Recovering);
    let next = pool.enqueue(Staged { after: Stage::Pass });
    let next = next.wait_timeout(Duration::from_millis(100)).unwrap_err();
    gate.open();
    assert_ne!(settled(next).unwrap(), first);
    let exit = record.until(|event| event.kind() == EventKind::Exit && event.pid() == Some(first));
    assert_eq!(exit.status().and_then(|status| status.code()), Some(0), "{exit}");
}

#[test]
fn a_failed_start_has_the_workers_own_words() {
    for start in ways_to_fail() {
        let pool = pool(start.clone()).max_processes(1).start_failures(2).build().unwrap();
        let error = settled(pool.enqueue(Staged { after: Stage::Pass })).unwrap_err();
        let text = error.to_string();
        let JobError::NoWorker(failure) = error else { panic!("{text}") };
        let expected = if matches!(start, Stage::Exit(_)) { "exited with status 5" } else { "out of paper" };
        assert!(text.contains(expected) && text.contains("staged"), "{text}");
        assert!(failure.program.ends_with("staged"));
        // Both failures may have been before the job came; then a probe was its own.
        assert!((2..=3).contains(&pool.stats().spawned));
        let error = pool.wait_ready(WATCHDOG).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn no_job_is_handed_to_a_worker_that_has_not_started() {
    let mut gate = Gate::new();
    let pool = pool(Stage::Wait(gate.path())).max_processes(1).build().unwrap();
    let handle = pool.enqueue(Staged { after: Stage::Pass });
    let handle = handle.wait_timeout(Duration::from_millis(100)).unwrap_err();
    assert_eq!((pool.stats().backlog, pool.stats().busy), (1, 0));
    assert_eq!(pool.workers()[0].state, WorkerState::Initializing);
    gate.open();
    settled(handle).unwrap();
}

#[test]
fn init_runs_once_in_each_worker_before_its_first_job() {
    let inits = Scratch::new();
    let pool = pool(Stage::Note(inits.path())).max_processes(2).max_jobs_per_process(3).build().unwrap();
    let mut workers = BTreeSet::new();
    for _ in 0..5 {
        let jobs: Vec<_> = (0..4).map(|_| pool.enqueue(Staged { after: Stage::Pass })).collect();
        for job in jobs {
            let pid = settled(job).unwrap().to_string();
            assert!(inits.lines().contains(&pid), "{pid} worked before its init");
            workers.insert(pid);
        }
    }
    pool.exit();
    let mut inits = inits.lines();
    inits.sort_unstable();
    assert!(inits.is_sorted_by(|a, b| a != b), "one of them twice: {inits:?}");
    assert!(inits.len() >= workers.len() && workers.len() >= 7, "{workers:?}");
}
