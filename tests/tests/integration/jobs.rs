//! A job goes out and comes back.

use hirelings::{JobError, Stderr};
use hirelings_tests::{Do, Gate, begun, eventually, pool, settled, worker};
use std::collections::BTreeSet;
use std::time::Instant;

#[test]
fn a_job_goes_out_and_comes_back() {
    let pool = pool().max_processes(2).build().unwrap();
    let handles: Vec<_> = (0..100).map(|n| pool.enqueue(Do::Echo(format!("{n}")))).collect();
    for (n, handle) in handles.into_iter().enumerate() {
        assert_eq!(handle.wait().unwrap(), n.to_string());
    }
    let stats = pool.stats();
    assert_eq!((stats.enqueued, stats.succeeded, stats.backlog), (100, 100, 0));
}

#[test]
fn each_kind_of_failure_has_its_own_error() {
    let pool = pool().max_processes(1).build().unwrap();
    let run = |job| pool.enqueue(job).wait().unwrap_err();
    assert!(matches!(run(Do::Fail("no".into())), JobError::Failed(why) if why == "no"));
    match run(Do::Panic("oh".into())) {
        JobError::Panicked(panic) => {
            assert_eq!(panic.message, "oh");
            assert!(panic.location.unwrap().contains("worker.rs"));
        }
        other => panic!("{other:?}"),
    }
    let crash = run(Do::SayAndDie("famous last words".into()));
    println!("{crash}");
    assert!(matches!(crash, JobError::Crashed(crash) if crash.stderr == "famous last words"));
    println!("{}", run(Do::Segfault));
    println!("{}", run(Do::Abort));
}

#[test]
fn a_panic_brings_its_attempts_and_standard_error() {
    let pool = pool().max_processes(1).retries(1).build().unwrap();
    // Standard error is another pipe: it may come after the panic's own message.
    eventually("the lines are there with the panic", || {
        let lines = Do::Then(vec![Do::Print("before the panic".into()), Do::Panic("oh".into())]);
        match settled(pool.enqueue(lines)) {
            Err(JobError::Panicked(panic)) => {
                assert_eq!(panic.attempts, 2);
                assert!(panic.to_string().contains("(attempt 2 of 2)"), "{panic}");
                panic.stderr.contains("before the panic")
            }
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_panic_brings_its_backtrace_unless_forbidden() {
    for (set, brings) in [(None, true), (Some("1"), true), (Some("0"), false)] {
        let mut command = worker();
        match set {
            Some(set) => command.env("RUST_BACKTRACE", set),
            None => command.env_remove("RUST_BACKTRACE"),
        };
        let pool = hirelings_tests::builder::<Do>(command).stderr(Stderr::Null).max_processes(1).build().unwrap();
        match settled(pool.enqueue(Do::Panic("oh".into()))) {
            Err(JobError::Panicked(panic)) => assert_eq!(panic.backtrace.is_some(), brings, "{set:?}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn as_many_jobs_run_at_once_as_there_are_workers() {
    let workers = std::thread::available_parallelism().map_or(1, usize::from) + 2;
    let pool = pool().max_processes(workers).build().unwrap();
    let mut gate = Gate::new();
    let jobs: Vec<_> = (0..workers).map(|_| begun(pool.request(Do::Wait(gate.path())).timeout(None))).collect();
    gate.open();
    let pids: BTreeSet<_> = jobs.into_iter().map(|job| settled(job).unwrap()).collect();
    assert_eq!(pids.len(), workers, "each in a process of its own");
}

/// A pool that may have many workers looks only at those that it has.
#[test]
fn unused_slots_cost_a_job_nothing() {
    // The best of many: on a busy machine most of them wait for a core.
    let best = |slots| {
        let pool = pool().max_processes(slots).build().unwrap();
        let one = |_| {
            let start = Instant::now();
            settled(pool.enqueue(Do::Pid)).unwrap();
            start.elapsed()
        };
        (0..301).map(one).min().unwrap()
    };
    let (few, many) = (best(2), best(65_535));
    assert!(many < 10 * few, "{many:?} a job in place of {few:?}");
}
