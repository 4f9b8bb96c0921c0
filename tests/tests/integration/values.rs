//! A value that cannot be encoded, decoded or sent costs its own job, and nothing else.

use hirelings::{EnqueueErrorKind, EventKind, JobError, JobHandle, JobResult, Pool, Stderr};
use hirelings_tests::brittle::{Brittle, Carry};
use hirelings_tests::{Do, Gate, Record, WATCHDOG, begun, pool, program, settled};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::time::Duration;

fn carriers() -> hirelings::PoolBuilder<Carry> {
    hirelings_tests::builder::<Carry>(Command::new(program("brittle"))).stderr(Stderr::Null).max_processes(1)
}

fn outcome(pool: &Pool<Carry>, job: Carry) -> JobResult<Carry> {
    settled(pool.enqueue(job))
}

/// The one worker is still the first, and goes on.
fn is_unharmed(pool: &Pool<Carry>) {
    assert_eq!(outcome(pool, Carry::job(Brittle::Sound)).unwrap(), Brittle::Sound);
    let stats = pool.stats();
    assert_eq!((stats.spawned, stats.exited, stats.workers), (1, 0, 1));
}

#[test]
fn a_job_that_cannot_be_encoded_is_refused() {
    let (builder, mut record) = Record::of(carriers().retries(3));
    let pool = builder.build().unwrap();
    let refused = pool.enqueue(Carry::job(Brittle::NoEncode));
    assert!(refused.is_finished());
    let error = settled(refused).unwrap_err();
    assert!(error.to_string().contains("it broke while it was encoded"), "{error}");
    assert!(matches!(&error, JobError::Encode(codec) if codec.type_name.ends_with("Carry") && codec.attempts == 0));
    let error = pool.try_enqueue(Carry::job(Brittle::NoEncode)).unwrap_err();
    assert_eq!((error.kind, error.rejected.job), (EnqueueErrorKind::Encode, Brittle::NoEncode));
    is_unharmed(&pool);
    pool.exit();
    assert_eq!(pool.stats().enqueued, 1);
    assert_eq!((record.count(EventKind::Enqueue), record.count(EventKind::JobFailure)), (1, 0));
}

#[test]
fn a_job_that_panics_in_encoding_panics_in_its_caller() {
    let pool = carriers().build().unwrap();
    let panic = catch_unwind(AssertUnwindSafe(|| drop(pool.enqueue(Carry::job(Brittle::PanicAtEncode)))));
    assert!(panic.is_err());
    is_unharmed(&pool);
}

#[test]
fn a_hundred_bad_jobs_among_good_ones_all_settle() {
    let pool = carriers().max_backlog(4).build().unwrap();
    let handles: Vec<JobHandle<Carry>> = (0..200)
        .map(|n| pool.enqueue(Carry::job(if n % 2 == 0 { Brittle::NoEncode } else { Brittle::Sound })))
        .collect();
    for (n, handle) in handles.into_iter().enumerate() {
        assert_eq!(settled(handle).is_ok(), n % 2 == 1);
    }
}

#[test]
fn a_job_that_the_worker_cannot_decode_fails_alone() {
    let pool = carriers().build().unwrap();
    let error = outcome(&pool, Carry::job(Brittle::NoDecode)).unwrap_err();
    assert!(matches!(&error, JobError::Decode(codec) if codec.type_name.ends_with("Carry") && codec.attempts == 1));
    assert!(error.to_string().contains("it broke while it was decoded"), "{error}");
    is_unharmed(&pool);
}

#[test]
fn a_job_that_ends_the_worker_while_it_is_decoded() {
    let pool = carriers().build().unwrap();
    let error = outcome(&pool, Carry::job(Brittle::ExitAtDecode)).unwrap_err();
    assert!(matches!(&error, JobError::Crashed(crash) if crash.status.unwrap().code() == Some(72)), "{error}");
    let error = outcome(&pool, Carry::job(Brittle::PanicAtDecode)).unwrap_err();
    assert!(matches!(&error, JobError::Panicked(panic) if panic.message == "panicked while it was decoded"), "{error}");
    assert!(outcome(&pool, Carry::job(Brittle::Sound)).is_ok());
}

#[test]
fn an_output_that_cannot_be_encoded_is_not_retried() {
    let pool = carriers().retries(3).build().unwrap();
    for job in [Carry::output(Brittle::NoEncode), Carry::error(Brittle::NoEncode)] {
        let error = outcome(&pool, job).unwrap_err();
        assert!(matches!(&error, JobError::Encode(codec) if codec.type_name.ends_with("Brittle")), "{error}");
        assert!(error.to_string().contains("it broke while it was encoded"), "{error}");
    }
    is_unharmed(&pool);
    assert_eq!((pool.stats().failed, pool.stats().retried), (2, 0));
}

#[test]
fn an_output_that_ends_the_worker_while_it_is_encoded() {
    let pool = carriers().build().unwrap();
    for job in [Carry::output(Brittle::ExitAtEncode), Carry::error(Brittle::ExitAtEncode)] {
        let error = outcome(&pool, job).unwrap_err();
        assert!(matches!(&error, JobError::Crashed(crash) if crash.status.unwrap().code() == Some(71)), "{error}");
    }
    let error = outcome(&pool, Carry::output(Brittle::PanicAtEncode)).unwrap_err();
    assert!(matches!(error, JobError::Panicked(_)), "{error}");
    assert!(outcome(&pool, Carry::job(Brittle::Sound)).is_ok());
}

#[test]
fn an_answer_not_decoded_is_a_success_in_the_figures() {
    let (builder, mut record) = Record::of(carriers());
    let pool = builder.build().unwrap();
    let error = outcome(&pool, Carry::output(Brittle::NoDecode)).unwrap_err();
    assert!(
        matches!(&error, JobError::Decode(codec) if codec.type_name.ends_with("Brittle") && codec.attempts == 1),
        "{error:#?}"
    );
    assert_eq!((pool.stats().succeeded, pool.stats().failed), (1, 0));
    let error = outcome(&pool, Carry::error(Brittle::NoDecode)).unwrap_err();
    assert!(matches!(error, JobError::Decode(_)), "{error}");
    assert_eq!((pool.stats().succeeded, pool.stats().failed), (1, 1));
    is_unharmed(&pool);
    pool.exit();
    assert_eq!((record.count(EventKind::JobSuccess), record.count(EventKind::JobFailure)), (2, 1));
}

#[test]
fn an_error_not_decoded_tells_how_often_it_was_tried() {
    let pool = carriers().retries(2).build().unwrap();
    let (told, tries) = crossbeam_channel::unbounded();
    let of = |error: &JobError<Brittle>| match error {
        JobError::Decode(error) => error.attempts,
        other => panic!("{other:#?}"),
    };
    let retried = told.clone();
    // The hooks are called once all attempts are over: each is told of the one that failed, not of the last.
    let (all_over, wait_for_it) = crossbeam_channel::bounded::<()>(0);
    let request = pool.request(Carry::error(Brittle::NoDecode)).on_start(move || {
        wait_for_it.recv().unwrap_err();
    });
    let request = request.on_retry(move |error| retried.send(of(error)).unwrap());
    let handle = request.on_failure(move |error| told.send(of(&error)).unwrap()).enqueue();
    assert_eq!(of(&settled(handle).unwrap_err()), 3);
    drop(all_over);
    pool.exit();
    assert_eq!(tries.into_iter().collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn an_answer_not_decoded_is_a_failure_to_hooks() {
    let pool = carriers().build().unwrap();
    let (told, calls) = crossbeam_channel::unbounded();
    let [success, failure, done] = [(); 3].map(|()| told.clone());
    let request = pool.request(Carry::output(Brittle::NoDecode));
    let request = request.on_success(move |_| success.send("success").unwrap());
    let request = request.on_failure(move |error| {
        assert!(matches!(error, JobError::Decode(_)));
        failure.send("failure").unwrap();
    });
    let handle = request.on_done(move |_| done.send("done").unwrap()).enqueue();
    settled(handle).unwrap_err();
    pool.exit();
    drop(told);
    assert_eq!(calls.iter().collect::<Vec<_>>(), ["failure", "done"]);
}

#[test]
fn an_answer_that_panics_in_decoding_hits_its_reader() {
    let pool = carriers().build().unwrap();
    let (told, called) = crossbeam_channel::unbounded();
    let request = pool.request(Carry::output(Brittle::PanicAtDecode)).on_success(move |_| told.send(()).unwrap());
    let handle = request.enqueue();
    assert!(catch_unwind(AssertUnwindSafe(|| drop(settled(handle)))).is_err());
    is_unharmed(&pool);
    // The hook thread met the same panic and goes on.
    let (told, done) = crossbeam_channel::bounded(1);
    let request = pool.request(Carry::job(Brittle::Sound)).on_done(move |result| told.send(result.is_ok()).unwrap());
    settled(request.enqueue()).unwrap();
    assert!(done.recv_timeout(WATCHDOG).unwrap());
    assert!(called.try_recv().is_err());
}

#[test]
fn progress_that_cannot_be_encoded_fails_its_job() {
    let pool = carriers().build().unwrap();
    let error = outcome(&pool, Carry::progress(Brittle::NoEncode)).unwrap_err();
    assert!(matches!(error, JobError::Encode(_)), "{error}");
    assert!(error.to_string().contains("progress"), "{error}");
    is_unharmed(&pool);
}

#[test]
fn progress_that_cannot_be_decoded_is_left_out() {
    let pool = carriers().build().unwrap();
    for broken in [Brittle::NoDecode, Brittle::PanicAtDecode] {
        let (told, progresses) = crossbeam_channel::unbounded();
        let request = pool.request(Carry::progress(broken)).on_progress(move |told_by| told.send(told_by).unwrap());
        assert_eq!(settled(request.enqueue()).unwrap(), Brittle::Sound);
        pool.wait_idle();
        assert!(progresses.recv_timeout(Duration::from_secs(20)).is_err(), "the hook is gone without a call");
    }
    is_unharmed(&pool);
}

#[test]
fn exit_after_a_job_that_cannot_be_encoded() {
    let pool = carriers().build().unwrap();
    let handle = pool.enqueue(Carry::job(Brittle::NoEncode));
    drop(pool);
    assert!(matches!(settled(handle), Err(JobError::Encode(_))));
}

#[test]
fn whatever_is_over_the_frame_limit_fails_alone() {
    let pool = pool().max_processes(1).max_frame(4096).retries(2).build().unwrap();
    let first = settled(pool.enqueue(Do::Pid)).unwrap();
    let run = |job| settled(pool.enqueue(job)).unwrap_err();
    let large = "x".repeat(5000);
    let error = run(Do::Echo(large.clone()));
    assert!(matches!(error, JobError::Encode(_)), "{error}");
    assert!(matches!(run(Do::Bytes(5000)), JobError::Encode(_)));
    assert!(matches!(run(Do::Tell(1, 5000)), JobError::Encode(_)));
    // What the worker is told to fail with is itself within the limit only just.
    assert!(matches!(run(Do::Fail("x".repeat(4000))), JobError::Failed(_)));
    assert_eq!(pool.try_enqueue(Do::Echo(large)).unwrap_err().kind, EnqueueErrorKind::Encode);
    assert_eq!(settled(pool.enqueue(Do::Pid)).unwrap(), first);
}

#[test]
fn whatever_is_within_the_frame_limit_arrives_whole() {
    let pool = pool().max_processes(1).max_frame(4096).build().unwrap();
    let mut largest = 0;
    for size in (4000..4100).rev() {
        match pool.try_enqueue(Do::Bytes(size)).map(settled).unwrap() {
            Ok(text) => {
                assert_eq!(text.len(), size);
                largest = largest.max(size);
            }
            Err(JobError::Encode(_)) => assert_eq!(largest, 0, "a larger one came through"),
            Err(other) => panic!("{size}: {other}"),
        }
    }
    assert!(largest >= 4000);
}

#[test]
fn large_values_go_both_ways_while_others_work() {
    let pool = pool().max_processes(2).build().unwrap();
    let mut gate = Gate::new();
    let other = begun(pool.request(Do::Wait(gate.path())));
    let text = "0123456789".repeat(2 << 20);
    assert!(settled(pool.enqueue(Do::Echo(text.clone()))).unwrap() == text);
    assert!(!other.is_finished());
    gate.open();
    settled(other).unwrap();
}

#[test]
fn a_job_that_a_dead_worker_had_not_read_is_done() {
    let pool = pool().max_processes(1).build().unwrap();
    let pid: i32 = settled(pool.enqueue(Do::Pid)).unwrap().parse().unwrap();
    let worker = rustix::process::Pid::from_raw(pid).unwrap();
    // Stopped, it reads nothing: the job does not fit into the pipe.
    rustix::process::kill_process(worker, rustix::process::Signal::STOP).unwrap();
    let text = "0123456789".repeat(1 << 20);
    let handle = pool.enqueue(Do::Echo(text.clone()));
    hirelings_tests::eventually("it was dispatched", || pool.stats().busy == 1);
    rustix::process::kill_process(worker, rustix::process::Signal::KILL).unwrap();
    assert!(settled(handle).unwrap() == text);
    assert_eq!((pool.stats().retried, pool.stats().crashed), (0, 1));
}
