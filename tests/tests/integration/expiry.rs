//! Jobs that wait for a time, and jobs that are over at one.

use hirelings::{Begun, EventKind, JobError, JobErrorKind, RetryPolicy};
use hirelings_tests::{Do, Gate, Record, WATCHDOG, begun, pool, settled};
use std::time::{Duration, Instant};

/// A wait that nothing comes to the end of.
const HOUR: Duration = Duration::from_secs(3600);

/// A time that is soon over.
const SOON: Duration = Duration::from_millis(50);

#[test]
fn a_delayed_job_is_not_begun_before_its_time() {
    let (builder, mut record) = Record::of(pool().max_processes(2));
    let pool = builder.build().unwrap();
    pool.wait_ready(WATCHDOG).unwrap();
    let before = Instant::now();
    let handle = pool.request(Do::Pid).delay(SOON).enqueue();
    let id = handle.id();
    settled(handle).unwrap();
    assert!(before.elapsed() >= SOON, "{:?}", before.elapsed());
    pool.exit();
    let expected = [EventKind::Enqueue, EventKind::Backlog, EventKind::Task];
    assert_eq!(record.of_job(id)[..3], expected);
}

#[test]
fn a_delayed_job_holds_no_worker_and_is_counted() {
    let pool = pool().max_processes(1).max_backlog(1).build().unwrap();
    let handle = pool.request(Do::Pid).delay(HOUR).enqueue();
    settled(pool.enqueue(Do::Pid)).unwrap();
    pool.wait_ready(WATCHDOG).unwrap();
    let stats = pool.stats();
    assert_eq!((stats.delayed, stats.backlog, stats.busy), (1, 1, 0));
    // There is no room for another one, though a worker is free; for one that is done at once there is.
    assert!(pool.request(Do::Pid).delay(HOUR).try_enqueue().is_err());
    settled(pool.try_enqueue(Do::Pid).unwrap()).unwrap();
    assert!(!pool.wait_idle_timeout(Duration::ZERO), "there is work to come");
    handle.abort();
    assert!(matches!(settled(handle), Err(JobError::Aborted)));
    pool.wait_idle();
}

#[test]
fn exit_closes_a_delayed_job_and_drain_does_it() {
    let first = pool().build().unwrap();
    let handle = first.request(Do::Pid).delay(HOUR).enqueue();
    first.exit();
    assert!(matches!(handle.try_wait(), Ok(Err(JobError::Closed))));
    let second = pool().build().unwrap();
    let handle = second.request(Do::Pid).delay(SOON).enqueue();
    assert_eq!(second.drain(WATCHDOG).left, 0);
    settled(handle).unwrap();
}

#[test]
fn a_job_that_has_not_begun_in_time_expires() {
    let (builder, mut record) = Record::of(pool().max_processes(1).expires(SOON).retries(3));
    let pool = builder.build().unwrap();
    pool.wait_ready(WATCHDOG).unwrap();
    let mut gate = Gate::new();
    let holding = begun(pool.request(Do::Wait(gate.path())));
    let patient = pool.request(Do::Pid).expires(None).enqueue();
    let queued = pool.enqueue(Do::Pid);
    let id = queued.id();
    let delayed = pool.request(Do::Pid).delay(HOUR).enqueue();
    for handle in [queued, delayed] {
        let error = settled(handle).unwrap_err();
        assert!(matches!(error, JobError::Expired), "{error}");
        assert_eq!((error.kind(), error.begun()), (JobErrorKind::Expired, Begun::No));
    }
    // What has begun runs on, and the other has all the time.
    gate.open();
    settled(holding).unwrap();
    settled(patient).unwrap();
    let stats = pool.stats();
    assert_eq!((stats.succeeded, stats.failed, stats.retried, stats.delayed), (2, 2, 0, 0));
    pool.exit();
    let expected = [EventKind::Enqueue, EventKind::Backlog, EventKind::JobFailure, EventKind::Done];
    assert_eq!(record.of_job(id), expected);
}

#[test]
fn a_retry_does_not_expire() {
    let policy = RetryPolicy::new(1).backoff(2 * SOON, 2 * SOON);
    let pool = pool().max_processes(1).retry(policy).build().unwrap();
    pool.wait_ready(WATCHDOG).unwrap();
    let job = Do::Then(vec![Do::FailUntil(2), Do::Numbers]);
    let handle = pool.request(job).expires(SOON).enqueue();
    let id = handle.id();
    match settled(handle) {
        // The machine was so busy that no worker had begun it.
        Err(JobError::Expired) => {}
        result => assert_eq!(result.unwrap(), format!("job {id} attempt 2")),
    }
}

#[test]
fn of_jobs_that_lie_ahead_each_is_done_or_expires() {
    let pool = pool().max_processes(2).prefetch(None).max_jobs_per_process(1_000_000).build().unwrap();
    pool.wait_ready(WATCHDOG).unwrap();
    let mut seen = [false; 2];
    while seen != [true; 2] {
        let handles: Vec<_> =
            (0..2_000).map(|_| pool.request(Do::Pid).expires(Duration::from_millis(5)).enqueue()).collect();
        for handle in handles {
            match settled(handle) {
                Ok(_) => seen[0] = true,
                Err(JobError::Expired) => seen[1] = true,
                Err(other) => panic!("{other}"),
            }
        }
    }
    // Nothing that has expired is at a worker still.
    pool.wait_idle();
    let stats = pool.stats();
    assert_eq!((stats.enqueued, stats.backlog), (stats.succeeded + stats.failed, 0));
}
