//! Cancel asks the handler first: what it answers counts, and only one that does not is killed.

use hirelings::{JobError, JobHandle, JobStatus};
use hirelings_tests::{Do, Gate, Scratch, begun, pool, processes, settled};
use std::time::Duration;

/// A grace time that no test waits for.
const LONG: Duration = Duration::from_secs(3600);

/// One that is over soon.
const SHORT: Duration = Duration::from_millis(50);

fn pid_of(handle: &JobHandle<Do>) -> u32 {
    match handle.status() {
        JobStatus::Running { pid, .. } => pid,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_handler_that_sees_it_answers() {
    let pool = pool().max_processes(1).timeout_working(None).build().unwrap();
    let handle = begun(pool.request(Do::UntilCancelled));
    let pid = pid_of(&handle);
    handle.cancel(LONG);
    assert_eq!(settled(handle).unwrap(), "cancelled");
    assert_eq!(settled(pool.enqueue(Do::Pid)).unwrap(), pid.to_string(), "the worker goes on");
    let stats = pool.stats();
    assert_eq!((stats.succeeded, stats.aborted, stats.spawned), (2, 0, 1));
}

#[test]
fn its_error_counts_and_is_not_retried() {
    let pool = pool().max_processes(1).retries(3).timeout_working(None).build().unwrap();
    let handle = begun(pool.request(Do::Then(vec![Do::UntilCancelled, Do::Fail("half done".into())])));
    handle.cancel(LONG);
    let error = settled(handle).unwrap_err();
    assert!(matches!(&error, JobError::Failed(why) if why == "half done"), "{error:?}");
    let crashes = begun(pool.request(Do::Then(vec![Do::UntilCancelled, Do::Exit(3)])));
    crashes.cancel(LONG);
    assert!(matches!(settled(crashes), Err(JobError::Crashed(_))));
    assert_eq!(pool.stats().retried, 0);
}

#[test]
fn one_that_does_not_is_killed_after_the_grace_time() {
    let pool = pool().max_processes(1).retries(3).timeout_working(None).build().unwrap();
    let gate = Gate::new();
    let handle = begun(pool.request(Do::Wait(gate.path())));
    let pid = pid_of(&handle);
    handle.cancel(SHORT);
    assert!(matches!(settled(handle), Err(JobError::Aborted)));
    assert_ne!(settled(pool.enqueue(Do::Pid)).unwrap(), pid.to_string());
    assert!(!processes::is_alive(pid));
    let stats = pool.stats();
    assert_eq!((stats.aborted, stats.retried, stats.crashed), (1, 0, 0), "the pool asked for it");
}

#[test]
fn a_queued_job_never_runs() {
    let pool = pool().max_processes(1).timeout_working(None).build().unwrap();
    let log = Scratch::new();
    let mut gate = Gate::new();
    let holding = begun(pool.request(Do::Wait(gate.path())));
    let queued = pool.enqueue(Do::Append(log.path(), "cancelled".into()));
    let last = pool.enqueue(Do::Append(log.path(), "last".into()));
    queued.cancel(LONG);
    assert!(queued.is_finished(), "at once");
    assert!(matches!(settled(queued), Err(JobError::Aborted)));
    gate.open();
    settled(holding).unwrap();
    settled(last).unwrap();
    assert_eq!(log.lines(), ["last"]);
}

#[test]
fn the_next_job_of_the_worker_is_not_cancelled() {
    let pool = pool().max_processes(1).timeout_working(None).build().unwrap();
    let first = begun(pool.request(Do::UntilCancelled));
    let mut gate = Gate::new();
    let next = pool.enqueue(Do::Wait(gate.path()));
    // Time enough for an answer, on a busy machine too.
    let grace = 20 * SHORT;
    first.cancel(grace);
    assert_eq!(settled(first).unwrap(), "cancelled");
    // A grace time that was still running would end this one.
    let next = next.wait_timeout(grace + 3 * SHORT).expect_err("it waits for its gate");
    gate.open();
    settled(next).unwrap();
    let late = begun(pool.request(Do::UntilCancelled));
    assert!(!late.is_finished());
    late.cancel(LONG);
    assert_eq!(settled(late).unwrap(), "cancelled");
    assert_eq!(pool.stats().spawned, 1);
}

#[test]
fn a_shorter_grace_time_replaces_a_longer_one() {
    let pool = pool().max_processes(2).timeout_working(None).build().unwrap();
    let gate = Gate::new();
    let [shortened, aborted] = [(); 2].map(|()| begun(pool.request(Do::Wait(gate.path()))));
    for handle in [&shortened, &aborted] {
        handle.cancel(Duration::MAX);
        handle.cancel(LONG);
        assert!(!handle.is_finished());
    }
    shortened.abort_handle().cancel(SHORT);
    shortened.cancel(LONG);
    aborted.abort();
    assert!(aborted.is_finished());
    assert!(matches!(settled(aborted), Err(JobError::Aborted)));
    assert!(matches!(settled(shortened), Err(JobError::Aborted)));
}

#[test]
fn one_that_is_settled_stays_as_it_is() {
    let pool = pool().max_processes(1).build().unwrap();
    let handle = pool.enqueue(Do::Echo("done".into()));
    pool.wait_idle();
    handle.cancel(Duration::ZERO);
    assert_eq!(settled(handle).unwrap(), "done");
    let gate = Gate::new();
    let running = begun(pool.request(Do::Wait(gate.path())));
    running.cancel(LONG);
    pool.exit();
    running.cancel(Duration::ZERO);
    assert!(matches!(settled(running), Err(JobError::Closed)));
}

#[test]
fn no_job_beside_it_is_touched() {
    let pool = pool().max_processes(2).timeout_working(None).build().unwrap();
    let mut gate = Gate::new();
    let bystander = begun(pool.request(Do::Wait(gate.path())));
    let pid = pid_of(&bystander);
    let handle = begun(pool.request(Do::UntilCancelled));
    let others: Vec<_> = (0..100).map(|_| pool.enqueue(Do::Echo("other".into()))).collect();
    handle.cancel(LONG);
    assert_eq!(settled(handle).unwrap(), "cancelled");
    assert!(others.into_iter().all(|other| settled(other).unwrap() == "other"));
    gate.open();
    assert_eq!(settled(bystander).unwrap(), pid.to_string());
    assert_eq!(pool.stats().spawned, 2);
}

#[test]
fn a_soft_limit_asks_and_what_is_answered_counts() {
    let pool = pool().max_processes(1).soft_timeout(SHORT).timeout_working(None).build().unwrap();
    assert_eq!(settled(pool.enqueue(Do::UntilCancelled)).unwrap(), "cancelled");
    // The job's own, and none.
    assert_eq!(settled(pool.request(Do::UntilCancelled).soft_timeout(Duration::ZERO).enqueue()).unwrap(), "cancelled");
    let asked_by_nobody = begun(pool.request(Do::UntilCancelled).soft_timeout(None));
    let asked_by_nobody = asked_by_nobody.wait_timeout(3 * SHORT).expect_err("it has no soft limit");
    asked_by_nobody.cancel(LONG);
    assert_eq!(settled(asked_by_nobody).unwrap(), "cancelled");
    assert_eq!(pool.stats().spawned, 1, "nobody is killed");
}

#[test]
fn an_error_after_a_soft_limit_is_retried() {
    let pool = pool().max_processes(1).soft_timeout(SHORT).retries(1).timeout_working(None).build().unwrap();
    let first = Do::Then(vec![Do::UntilCancelled, Do::Fail("too slow".into())]);
    settled(pool.enqueue(Do::Before(2, Box::new(first)))).unwrap();
    let stats = pool.stats();
    assert_eq!((stats.retried, stats.spawned), (1, 1));
}

#[test]
fn the_hard_limit_kills_one_that_goes_on() {
    let hard = Duration::from_millis(300);
    let pool = pool().max_processes(1).soft_timeout(SHORT).timeout_working(hard).build().unwrap();
    let gate = Gate::new();
    let error = settled(pool.enqueue(Do::Wait(gate.path()))).unwrap_err();
    assert!(matches!(&error, JobError::TimedOut(timeout) if timeout.limit == hard), "{error:?}");
}
