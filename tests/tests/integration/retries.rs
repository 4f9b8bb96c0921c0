//! An attempt that fails is followed by another, at the back of the queue and never beside the one before.

use hirelings::{Begun, CrashCause, EventKind, JobError, JobErrorKind, Pool, RetryPolicy};
use hirelings_tests::{Do, Gate, Record, Scratch, begun, pool, processes, settled, stubborn_worker};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

#[test]
fn attempts_are_numbered_from_one() {
    let pool = pool().max_processes(1).retries(5).build().unwrap();
    assert_eq!(settled(pool.enqueue(Do::Numbers)).unwrap(), "job 1 attempt 1");
    let handle = pool.enqueue(Do::Then(vec![Do::FailUntil(4), Do::Numbers]));
    let id = handle.id();
    assert_eq!(settled(handle).unwrap(), format!("job {id} attempt 4"));
}

#[test]
fn a_job_that_always_fails_fails_once_with_the_last() {
    let (builder, mut record) = Record::of(pool().max_processes(1).retries(2));
    let pool = builder.build().unwrap();
    let handle = pool.enqueue(Do::FailUntil(100));
    let id = handle.id();
    assert!(matches!(settled(handle), Err(JobError::Failed(why)) if why == "attempt 3"));
    pool.exit();
    let of_job = record.of_job(id);
    let count = |kind| of_job.iter().filter(|&&of| of == kind).count();
    assert_eq!((count(EventKind::JobRetry), count(EventKind::JobFailure), count(EventKind::Done)), (2, 1, 1));
    let stats = pool.stats();
    assert_eq!((stats.retried, stats.failed, stats.jobs), (2, 1, 1));
}

#[test]
fn without_retries_the_first_failure_is_final() {
    let pool = pool().max_processes(1).build().unwrap();
    assert!(matches!(settled(pool.enqueue(Do::FailUntil(2))), Err(JobError::Failed(why)) if why == "attempt 1"));
    assert_eq!(pool.stats().retried, 0);
}

#[test]
fn a_job_has_its_own_number_of_retries() {
    let pool = pool().max_processes(1).retries(1).build().unwrap();
    settled(pool.request(Do::FailUntil(4)).retries(3).enqueue()).unwrap();
    let none = settled(pool.request(Do::FailUntil(2)).retries(0).enqueue());
    assert!(matches!(none, Err(JobError::Failed(why)) if why == "attempt 1"));
    settled(pool.enqueue(Do::FailUntil(2))).unwrap();
}

#[test]
fn each_kind_of_failure_is_retried() {
    let pool = pool().max_processes(2).retries(1).kill_grace(Duration::ZERO).build().unwrap();
    let gate = Gate::new();
    let bad = [
        Do::Exit(7),
        Do::Abort,
        Do::Segfault,
        Do::Signal(9),
        Do::Signal(15),
        Do::Panic("oh".into()),
        Do::Fail("no".into()),
    ];
    for job in bad {
        let why = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&why);
        let retried = Do::Before(2, Box::new(job.clone()));
        let request = pool.request(retried).on_retry(move |error| noted.lock().unwrap().push(error.to_string()));
        settled(request.enqueue()).unwrap_or_else(|error| panic!("{job:?}: {error}"));
        hirelings_tests::eventually("the hook is called", || why.lock().unwrap().len() == 1);
    }
    let slow = Do::Before(2, Box::new(Do::Wait(gate.path())));
    // The second attempt is within it on a busy machine too.
    settled(pool.request(slow).timeout(Duration::from_secs(2)).enqueue()).unwrap();
    assert_eq!(pool.stats().retried, 8);
}

#[test]
fn six_kills_in_a_row_are_survived_without_a_failure() {
    let (builder, mut record) = Record::of(pool().max_processes(1).retries(6));
    let pool = builder.build().unwrap();
    settled(pool.enqueue(Do::Before(7, Box::new(Do::Signal(9))))).unwrap();
    pool.exit();
    assert_eq!(record.count(EventKind::JobFailure), 0);
    assert_eq!(record.count(EventKind::JobRetry), 6);
    assert_eq!(pool.stats().crashed, 6);
}

#[test]
fn the_error_says_which_attempt_of_how_many_it_was() {
    let pool = pool().max_processes(1).retries(2).name("thumbs").build().unwrap();
    let handle = pool.enqueue(Do::Signal(9));
    let id = handle.id();
    let error = settled(handle).unwrap_err();
    let text = error.to_string();
    let JobError::Crashed(crash) = error else { panic!("{text}") };
    assert_eq!(crash.attempts, 3);
    assert!(matches!(crash.cause, CrashCause::Exited));
    assert!(text.contains(&format!("while it did job {id} (attempt 3 of 3)")), "{text}");
    assert!(text.contains("SIGKILL") && text.contains("\"thumbs\""), "{text}");
}

#[test]
fn a_retried_job_goes_to_the_back() {
    for failing in [Do::Fail("no".into()), Do::Exit(1), Do::Panic("oh".into())] {
        let pool = pool().max_processes(1).retries(1).build().unwrap();
        let log = Scratch::new();
        let append = |line: &str| Do::Append(log.path(), line.into());
        let mut gate = Gate::new();
        let holding = begun(pool.request(Do::Wait(gate.path())));
        let first = Do::Then(vec![append("first"), Do::Before(2, Box::new(failing.clone()))]);
        let handles = [first, append("second"), append("third")].map(|job| pool.enqueue(job));
        // From here on the supervisor knows of all three.
        pool.stats();
        gate.open();
        settled(holding).unwrap();
        handles.into_iter().for_each(|handle| drop(settled(handle).unwrap()));
        assert_eq!(log.lines(), ["first", "second", "third", "first"], "{failing:?}");
    }
}

#[test]
fn attempts_never_overlap() {
    let log = Scratch::new();
    let gate = Gate::new();
    // The first worker of each ignores SIGTERM, so that it lives on after its job has timed out.
    let pool = hirelings_tests::builder::<Do>(stubborn_worker())
        .stderr(hirelings::Stderr::Null)
        .max_processes(4)
        .retries(3)
        .kill_grace(Duration::from_millis(100))
        .build()
        .unwrap();
    pool.wait_ready(hirelings_tests::WATCHDOG).unwrap();
    let held = Do::Before(4, Box::new(Do::Wait(gate.path())));
    let job = Do::Alone(log.path(), Box::new(held));
    settled(pool.request(job).timeout(Duration::from_millis(1500)).enqueue()).unwrap();
    assert_eq!(log.lines(), ["alone"; 4]);
    assert_eq!(pool.stats().timed_out, 3);
}

#[test]
fn attempts_never_overlap_after_a_crash_either() {
    let log = Scratch::new();
    let pool = pool().max_processes(4).retries(8).build().unwrap();
    pool.wait_ready(hirelings_tests::WATCHDOG).unwrap();
    for dying in [Do::Signal(9), Do::Panic("oh".into()), Do::Exit(3)] {
        settled(pool.enqueue(Do::Alone(log.path(), Box::new(Do::Before(9, Box::new(dying)))))).unwrap();
    }
    assert_eq!(log.lines(), ["alone"; 27]);
}

#[test]
fn a_job_to_retry_waits_until_its_worker_is_reaped() {
    let (builder, mut record) = Record::of(
        hirelings_tests::builder::<Do>(stubborn_worker())
            .stderr(hirelings::Stderr::Null)
            .max_processes(2)
            .retries(1)
            .kill_grace(Duration::from_millis(2500)),
    );
    let pool = builder.build().unwrap();
    let gate = Gate::new();
    let handle = pool.request(Do::Before(2, Box::new(Do::Wait(gate.path())))).timeout(Duration::from_secs(2)).enqueue();
    record.until_kind(EventKind::JobRetry);
    let stats = pool.stats();
    assert_eq!((stats.backlog, stats.retried), (1, 1));
    assert!(!pool.wait_idle_timeout(Duration::ZERO), "there is work to do");
    let exit = record.until(|event| matches!(event.kind(), EventKind::Exit | EventKind::Backlog));
    assert_eq!(exit.kind(), EventKind::Exit, "it enters the backlog once its worker is reaped");
    assert!(!processes::is_alive(exit.pid().unwrap()));
    record.until_kind(EventKind::Backlog);
    settled(handle).unwrap();
}

#[test]
fn a_job_aborted_while_it_waits_for_its_retry_is_over() {
    let (builder, mut record) = Record::of(
        hirelings_tests::builder::<Do>(stubborn_worker())
            .stderr(hirelings::Stderr::Null)
            .max_processes(2)
            .retries(5)
            .kill_grace(Duration::from_millis(2500)),
    );
    let pool = builder.build().unwrap();
    let log = Scratch::new();
    let gate = Gate::new();
    let job = Do::Then(vec![Do::Append(log.path(), "begun".into()), Do::Wait(gate.path())]);
    let handle = pool.request(job).timeout(Duration::from_millis(1500)).enqueue();
    let id = handle.id();
    record.until_kind(EventKind::JobRetry);
    handle.abort();
    assert!(matches!(settled(handle), Err(JobError::Aborted)));
    record.until_kind(EventKind::Exit);
    settled(pool.enqueue(Do::Pid)).unwrap();
    pool.exit();
    assert_eq!(log.lines(), ["begun"]);
    assert_eq!(record.of_job(id).iter().filter(|&&kind| kind == EventKind::Done).count(), 1);
    assert_eq!(pool.stats().aborted, 1);
}

#[test]
fn an_aborted_job_is_never_retried() {
    let (builder, mut record) = Record::of(pool().max_processes(1).retries(5));
    let pool = builder.build().unwrap();
    let gate = Gate::new();
    let handle = begun(pool.request(Do::Wait(gate.path())));
    handle.abort();
    assert!(matches!(settled(handle), Err(JobError::Aborted)));
    settled(pool.enqueue(Do::Pid)).unwrap();
    pool.exit();
    assert_eq!(record.count(EventKind::JobRetry), 0);
    assert_eq!(pool.stats().retried, 0);
}

#[test]
fn nothing_is_retried_after_exit() {
    let (builder, mut record) = Record::of(pool().max_processes(2).retries(1_000_000));
    let pool = builder.build().unwrap();
    let handles: Vec<_> = (0..4).map(|_| pool.enqueue(Do::Exit(1))).collect();
    record.until_kind(EventKind::JobRetry);
    pool.exit();
    for handle in handles {
        assert!(matches!(handle.try_wait(), Ok(Err(JobError::Closed))));
    }
    let stats = pool.stats();
    assert_eq!(stats.spawned, stats.exited);
    assert_eq!(stats.workers, 0);
}

#[test]
fn a_retried_job_keeps_its_hooks_on_another_worker() {
    let pool = pool().max_processes(2).retries(2).build().unwrap();
    let calls = Arc::new(Mutex::new(Vec::new()));
    let note = |what: &'static str| {
        let calls = Arc::clone(&calls);
        move || calls.lock().unwrap().push(what)
    };
    let (start, retry, done) = (note("start"), note("retry"), note("done"));
    let request = pool.request(Do::Before(3, Box::new(Do::Then(vec![Do::Progress(1), Do::Exit(1)]))));
    let request = request.on_start(start).on_retry(move |_| retry()).on_done(move |_| done());
    settled(request.enqueue()).unwrap();
    pool.exit();
    assert_eq!(*calls.lock().unwrap(), ["start", "retry", "start", "retry", "start", "done"]);
}

/// A wait that nothing comes to the end of.
const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn a_retry_waits_for_its_backoff() {
    let first = Duration::from_millis(40);
    let policy = RetryPolicy::new(3).backoff(first, 2 * first);
    let (builder, mut record) = Record::of(pool().max_processes(1).retry(policy));
    let pool = builder.build().unwrap();
    let before = Instant::now();
    let handle = pool.enqueue(Do::Then(vec![Do::FailUntil(4), Do::Numbers]));
    let id = handle.id();
    assert_eq!(settled(handle).unwrap(), format!("job {id} attempt 4"));
    assert!(before.elapsed() >= 5 * first, "it waits 40, 80 and 80 ms: {:?}", before.elapsed());
    pool.exit();
    let retries = record.of_job(id).into_iter().filter(|&kind| kind == EventKind::JobRetry).count();
    assert_eq!((retries, pool.stats().retried, pool.stats().delayed), (3, 3, 0));
}

#[test]
fn a_waiting_retry_holds_no_worker_and_is_counted() {
    let policy = RetryPolicy::new(1).backoff(HOUR, HOUR);
    let (builder, mut record) = Record::of(pool().max_processes(1).retry(policy));
    let pool = builder.build().unwrap();
    for failing in [Do::Fail("no".into()), Do::Exit(1), Do::Panic("oh".into())] {
        let handle = pool.enqueue(failing);
        record.until_kind(EventKind::JobRetry);
        // The only worker does another job meanwhile.
        settled(pool.enqueue(Do::Pid)).unwrap();
        let stats = pool.stats();
        assert_eq!((stats.delayed, stats.backlog, stats.busy), (1, 1, 0));
        assert!(!pool.wait_idle_timeout(Duration::ZERO), "there is work to come");
        handle.abort();
        assert!(matches!(settled(handle), Err(JobError::Aborted)));
        assert_eq!(pool.stats().delayed, 0);
    }
    pool.wait_idle();
}

#[test]
fn exit_settles_a_waiting_retry_as_closed() {
    let (builder, mut record) = Record::of(pool().retry(RetryPolicy::new(1).backoff(HOUR, HOUR)));
    let pool = builder.build().unwrap();
    let handle = pool.enqueue(Do::Fail("no".into()));
    record.until_kind(EventKind::JobRetry);
    pool.exit();
    assert!(matches!(handle.try_wait(), Ok(Err(JobError::Closed))));
}

#[test]
fn drain_waits_for_a_waiting_retry() {
    let wait = Duration::from_millis(50);
    let (builder, mut record) = Record::of(pool().retry(RetryPolicy::new(1).backoff(wait, wait)));
    let pool = builder.build().unwrap();
    let handle = pool.enqueue(Do::Then(vec![Do::FailUntil(2), Do::Pid]));
    record.until_kind(EventKind::JobRetry);
    assert_eq!(pool.drain(hirelings_tests::WATCHDOG).left, 0);
    settled(handle).unwrap();
}

#[test]
fn only_the_kinds_that_are_named_are_retried() {
    let on = [JobErrorKind::Crashed, JobErrorKind::Panicked];
    let pool = pool().max_processes(1).retry(RetryPolicy::new(1).on(&on)).build().unwrap();
    settled(pool.enqueue(Do::Before(2, Box::new(Do::Exit(3))))).unwrap();
    settled(pool.enqueue(Do::Before(2, Box::new(Do::Panic("oh".into()))))).unwrap();
    let failed = settled(pool.enqueue(Do::FailUntil(2))).unwrap_err();
    assert_eq!((failed.kind(), failed.to_string()), (JobErrorKind::Failed, "attempt 1".into()));
    settled(pool.request(Do::FailUntil(2)).retry(RetryPolicy::new(1)).enqueue()).unwrap();
    assert_eq!(pool.stats().retried, 3);
}

#[test]
fn an_idempotent_job_that_ends_workers_ends_at_last() {
    let log = Scratch::new();
    let pool = pool().max_processes(1).build().unwrap();
    let job = Do::Then(vec![Do::Append(log.path(), "begun".into()), Do::Signal(9)]);
    let error = settled(pool.request(job.clone()).idempotent(true).enqueue()).unwrap_err();
    let JobError::Crashed(crash) = &error else { panic!("{error}") };
    // Twice it may go back; less often where its worker had said that it does it.
    assert!((1..=3).contains(&crash.attempts), "{error}");
    assert!(log.lines().len() <= crash.attempts as usize, "each attempt runs at most once");
    let free = u64::from(crash.attempts - 1);
    let once = settled(pool.request(job).enqueue()).unwrap_err();
    assert!(matches!(&once, JobError::Crashed(crash) if crash.attempts == 1), "{once}");
    assert_eq!(pool.stats().retried, free);
}

#[test]
fn an_attempt_in_doubt_uses_up_no_retry_twice() {
    // These workers end at any job but an echo, without a word.
    let mut liar = std::process::Command::new(hirelings_tests::program("liar"));
    liar.arg("ends without a word");
    let pool = Pool::<Do>::builder(liar).max_processes(1).build().unwrap();
    for (idempotent, attempts) in [(true, 3), (false, 1)] {
        let error = settled(pool.request(Do::Pid).idempotent(idempotent).enqueue()).unwrap_err();
        assert_eq!(error.begun(), Begun::Perhaps, "{error}");
        assert!(matches!(&error, JobError::Crashed(crash) if crash.attempts == attempts), "{error}");
    }
    assert_eq!(pool.stats().retried, 2);
}
