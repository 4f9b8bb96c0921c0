//! Handles wait, watch and let go; progress loses nothing and harms nobody else.

use hirelings::{Event, EventKind, JobError, JobStatus};
use hirelings_tests::{Do, Gate, Record, Told, WATCHDOG, begun, eventually, pool, settled};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn wait_timeout_and_try_wait_give_the_handle_back() {
    let pool = pool().max_processes(1).build().unwrap();
    let mut gate = Gate::new();
    let handle = begun(pool.request(Do::Wait(gate.path())));
    let start = Instant::now();
    let handle = handle.wait_timeout(Duration::from_millis(20)).unwrap_err();
    assert!(start.elapsed() >= Duration::from_millis(20));
    let handle = handle.try_wait().unwrap_err();
    let handle = handle.wait_timeout(Duration::ZERO).unwrap_err();
    assert!(!handle.is_finished());
    gate.open();
    settled(handle).unwrap();
    assert_eq!(pool.stats().aborted, 0);
}

#[test]
fn wait_timeout_returns_as_soon_as_the_job_is_settled() {
    let pool = pool().max_processes(1).build().unwrap();
    let start = Instant::now();
    assert!(pool.enqueue(Do::Pid).wait_timeout(Duration::MAX).unwrap().is_ok());
    assert!(start.elapsed() < WATCHDOG / 2);
    let handle = pool.enqueue(Do::Echo("out".into()));
    eventually("it is done", || handle.is_finished());
    assert_eq!(handle.try_wait().unwrap().unwrap(), "out");
}

#[test]
fn the_status_goes_from_queued_to_running_to_finished() {
    let pool = pool().max_processes(1).build().unwrap();
    let mut gate = Gate::new();
    let first = begun(pool.request(Do::Wait(gate.path())));
    let second = pool.enqueue(Do::Pid);
    let JobStatus::Running { pid, attempt: 1 } = first.status() else { panic!("{:?}", first.status()) };
    assert_eq!(second.status(), JobStatus::Queued);
    assert_eq!(pool.workers()[0].pid, pid);
    gate.open();
    eventually("both are done", || second.is_finished());
    assert_eq!((first.status(), second.status()), (JobStatus::Finished, JobStatus::Finished));
    assert_eq!(settled(first).unwrap(), pid.to_string());
}

#[test]
fn the_status_counts_the_attempts() {
    let pool = pool().max_processes(1).build().unwrap();
    let mut gate = Gate::new();
    let job = Do::Then(vec![Do::FailUntil(3), Do::Wait(gate.path())]);
    let handle = begun(pool.request(job).retries(2));
    assert!(matches!(handle.status(), JobStatus::Running { attempt: 3, .. }));
    gate.open();
    settled(handle).unwrap();
}

#[test]
fn handle_and_event_know_the_attempt_of_each_error() {
    let (builder, mut record) = Record::of(pool().max_processes(1).retries(1));
    let pool = builder.build().unwrap();
    let gate = Gate::new();
    // No worker comes to it: it is aborted in the backlog.
    let waiting = begun(pool.request(Do::Wait(gate.path())));
    assert_eq!(waiting.attempt(), Some(1));
    let behind = pool.enqueue(Do::Pid);
    behind.abort();
    eventually("it is aborted", || behind.is_finished());
    assert_eq!(behind.attempt(), None);
    waiting.abort();
    eventually("it is aborted", || waiting.is_finished());
    assert_eq!(waiting.attempt(), Some(1));
    let failing = pool.enqueue(Do::FailUntil(9));
    eventually("it has failed", || failing.is_finished());
    assert_eq!(failing.attempt(), Some(2));
    let failure = record.until_kind(EventKind::JobFailure);
    assert_eq!((failure.job(), failure.attempt()), (Some(failing.id()), Some(2)));
    assert!(matches!(settled(failing), Err(JobError::Failed(_))));
    // The second attempt runs when the pool is closed.
    let again = Do::Then(vec![Do::FailUntil(2), Do::Wait(gate.path())]);
    let closed = pool.enqueue(again);
    eventually("its second attempt runs", || closed.attempt() == Some(2));
    pool.exit();
    assert_eq!(closed.attempt(), Some(2));
    let aborted = record.until(|event| event.job() == Some(closed.id()) && event.kind() == EventKind::JobFailure);
    assert_eq!(aborted.attempt(), Some(2));
    assert!(matches!(settled(closed), Err(JobError::Closed)));
}

#[test]
fn a_job_whose_handle_is_dropped_runs_all_the_same() {
    let pool = pool().max_processes(1).build().unwrap();
    for _ in 0..10 {
        drop(pool.enqueue(Do::Pid));
    }
    pool.wait_idle();
    assert_eq!(pool.stats().succeeded, 10);
}

#[test]
fn handles_may_be_waited_for_in_any_order_and_thread() {
    let pool = pool().max_processes(2).build().unwrap();
    let handles: Vec<_> = (0..40).map(|n| (n, pool.enqueue(Do::Echo(format!("{n}"))))).collect();
    thread::scope(|scope| {
        for (n, handle) in handles.into_iter().rev() {
            scope.spawn(move || assert_eq!(settled(handle).unwrap(), n.to_string()));
        }
    });
}

#[test]
fn a_handle_outlives_its_pool() {
    let pool = pool().max_processes(1).build().unwrap();
    let handle = pool.enqueue(Do::Echo("out".into()));
    pool.wait_idle();
    drop(pool);
    assert!(handle.is_finished());
    handle.abort();
    assert_eq!(handle.progress().count(), 0);
    assert_eq!(handle.wait().unwrap(), "out");
}

#[test]
fn many_threads_share_a_pool() {
    let pool = Arc::new(pool().max_processes(3).max_jobs_per_process(20).build().unwrap());
    let threads: Vec<_> = (0..8)
        .map(|thread| {
            let pool = Arc::clone(&pool);
            thread::spawn(move || {
                for n in 0..50 {
                    let text = format!("{thread} {n}");
                    assert_eq!(settled(pool.enqueue(Do::Echo(text.clone()))).unwrap(), text);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!((pool.stats().succeeded, pool.stats().enqueued), (400, 400));
}

#[test]
fn progress_comes_in_order_and_ends_with_the_job() {
    let pool = pool().max_processes(1).build().unwrap();
    let mut gate = Gate::new();
    let handle = begun(pool.request(Do::Then(vec![Do::Wait(gate.path()), Do::Progress(500)])));
    let streams = [handle.progress(), handle.progress()];
    gate.open();
    for stream in streams {
        let told: Vec<_> = stream.collect();
        assert_eq!(told, (0..500).map(Told::Count).collect::<Vec<_>>());
    }
    settled(handle).unwrap();
}

#[test]
fn a_progress_stream_may_be_asked_for_a_time() {
    let pool = pool().max_processes(1).build().unwrap();
    let (mut first, mut second) = (Gate::new(), Gate::new());
    let job = Do::Then(vec![Do::Wait(first.path()), Do::Progress(1), Do::Wait(second.path()), Do::Progress(2)]);
    let handle = begun(pool.request(job));
    let stream = handle.progress();
    assert_eq!(stream.try_recv(), None);
    assert_eq!(stream.recv_timeout(Duration::from_millis(10)), None);
    first.open();
    assert_eq!(stream.recv_timeout(WATCHDOG), Some(Told::Count(0)));
    assert_eq!(stream.recv_timeout(WATCHDOG), Some(Told::Waiting));
    second.open();
    let encoded = stream.receiver().recv_timeout(WATCHDOG).unwrap();
    assert_eq!(encoded.decode::<Told>(), Some(Told::Count(0)));
    settled(handle).unwrap();
    assert_eq!(stream.try_recv(), Some(Told::Count(1)), "what had come is still there");
    assert_eq!(stream.recv_timeout(WATCHDOG), None);
}

#[test]
fn a_stream_of_a_settled_or_dying_job_ends() {
    let pool = pool().max_processes(1).build().unwrap();
    let handle = pool.enqueue(Do::Progress(3));
    eventually("it is done", || handle.is_finished());
    assert_eq!(handle.progress().count(), 0);
    let mut gate = Gate::new();
    let dying = begun(pool.request(Do::Then(vec![Do::Wait(gate.path()), Do::Progress(3), Do::Exit(1)])));
    let stream = dying.progress();
    gate.open();
    assert_eq!(stream.count(), 3);
    assert!(matches!(settled(dying), Err(JobError::Crashed(_))));
}

#[test]
fn a_stream_goes_on_over_the_attempts() {
    let pool = pool().max_processes(1).retries(1).build().unwrap();
    let mut gate = Gate::new();
    let job = Do::Then(vec![Do::Before(2, Box::new(Do::Wait(gate.path()))), Do::Progress(2), Do::FailUntil(2)]);
    let handle = begun(pool.request(job));
    let stream = handle.progress();
    gate.open();
    assert_eq!(stream.collect::<Vec<_>>(), [0, 1, 0, 1].map(Told::Count));
    settled(handle).unwrap();
}

#[test]
fn progress_not_taken_pauses_its_worker_only() {
    let pool = pool().max_processes(2).timeout_working(None).build().unwrap();
    let mut gate = Gate::new();
    let job = Do::Then(vec![Do::Wait(gate.path()), Do::Tell(64, 1 << 20)]);
    let handle = begun(pool.request(job));
    let stream = handle.progress();
    gate.open();
    // Of 64 MiB, some 16 can lie about, so that it cannot have finished.
    eventually("some have come", || stream.receiver().len() >= 16);
    for _ in 0..50 {
        settled(pool.enqueue(Do::Pid)).unwrap();
    }
    assert!(!handle.is_finished());
    assert!(stream.receiver().len() <= 18, "{}", stream.receiver().len());
    let told = stream.inspect(|told| assert!(matches!(told, Told::Text(text) if text.len() == 1 << 20)));
    assert_eq!(told.count(), 64);
    assert_eq!(settled(handle).unwrap(), "64");
}

#[test]
fn a_jobs_clock_runs_on_while_progress_is_not_taken() {
    let pool = pool().max_processes(1).build().unwrap();
    let mut gate = Gate::new();
    let job = Do::Then(vec![Do::Wait(gate.path()), Do::Tell(64, 1 << 20)]);
    let handle = begun(pool.request(job).timeout(Duration::from_secs(2)));
    let stream = handle.progress();
    gate.open();
    assert!(matches!(settled(handle), Err(JobError::TimedOut(_))));
    settled(pool.enqueue(Do::Pid)).unwrap();
    assert!(stream.count() < 64);
}

#[test]
fn abort_and_exit_work_though_progress_is_not_taken() {
    let pool = pool().max_processes(2).timeout_working(None).build().unwrap();
    let mut gate = Gate::new();
    let job = Do::Then(vec![Do::Wait(gate.path()), Do::Tell(64, 1 << 20)]);
    let handles = [(); 2].map(|()| begun(pool.request(job.clone())));
    let streams = handles.each_ref().map(hirelings::JobHandle::progress);
    gate.open();
    eventually("both are full", || streams.iter().all(|stream| stream.receiver().len() >= 16));
    let [aborted, closed] = handles;
    aborted.abort();
    assert!(matches!(settled(aborted), Err(JobError::Aborted)));
    pool.exit();
    assert!(matches!(settled(closed), Err(JobError::Closed)));
    assert!(streams.into_iter().all(|stream| stream.count() >= 16));
}

#[test]
fn a_slow_hook_on_progress_loses_nothing() {
    let pool = pool().max_processes(1).timeout_working(None).build().unwrap();
    let (told, bytes) = crossbeam_channel::unbounded();
    let request = pool.request(Do::Tell(64, 1 << 20));
    let (go, gone) = crossbeam_channel::bounded::<()>(0);
    let handle = request
        .on_progress(move |progress| {
            let _ = gone.recv();
            if let Told::Text(text) = progress {
                told.send(text.len()).unwrap();
            }
        })
        .enqueue();
    drop(go);
    settled(handle).unwrap();
    pool.exit();
    assert_eq!(bytes.iter().sum::<usize>(), 64 << 20);
}

#[test]
fn progress_without_a_listener_is_dropped_as_it_comes() {
    let pool = pool().max_processes(1).build().unwrap();
    assert_eq!(settled(pool.enqueue(Do::Tell(64, 1 << 20))).unwrap(), "64");
}

#[test]
fn a_stream_that_is_dropped_holds_nothing_up() {
    let pool = pool().max_processes(1).timeout_working(None).build().unwrap();
    let mut gate = Gate::new();
    let handle = begun(pool.request(Do::Then(vec![Do::Wait(gate.path()), Do::Tell(64, 1 << 20)])));
    let stream = handle.progress();
    gate.open();
    eventually("it is full", || stream.receiver().len() >= 16);
    drop(stream);
    settled(handle).unwrap();
}

#[test]
fn a_reader_that_falls_behind_learns_what_it_missed() {
    let pool = pool().max_processes(1).build().unwrap();
    let mut events = pool.events();
    settled(pool.enqueue(Do::Progress(20_000))).unwrap();
    settled(pool.enqueue(Do::Pid)).unwrap();
    pool.exit();
    let (mut told, mut left_out) = (0_u64, 0_u64);
    for event in events.by_ref() {
        match event {
            Event::Lagged(count) => left_out += count,
            _ => told += 1,
        }
    }
    assert!(left_out > 0);
    // Each progress is told twice, of the job and of the worker.
    assert!(told + left_out > 40_000, "{told} {left_out}");
    assert!(told <= 5_000, "{told}");
    assert!(events.next().is_none());
}

#[test]
fn a_reader_that_keeps_up_misses_nothing() {
    let pool = pool().max_processes(1).build().unwrap();
    let mut events = pool.events();
    let reading = thread::spawn(move || {
        let kinds: Vec<_> = events.by_ref().map(|event| event.kind()).collect();
        assert!(events.next().is_none());
        kinds
    });
    (0..50).for_each(|_| drop(settled(pool.enqueue(Do::Pid))));
    pool.exit();
    let kinds = reading.join().unwrap();
    let count = |kind| kinds.iter().filter(|&&of| of == kind).count();
    assert_eq!((count(EventKind::Done), count(EventKind::Lagged), count(EventKind::Exit)), (50, 0, 1));
    assert!(pool.events().next().is_none(), "those of a pool that has ended have ended too");
}

#[test]
fn a_reader_goes_on_with_the_newest_after_a_gap() {
    let pool = pool().max_processes(1).build().unwrap();
    let mut events = pool.events();
    settled(pool.enqueue(Do::Progress(10_000))).unwrap();
    let mut lagged = 0;
    let mut count_gaps = |event: &Event| lagged += u64::from(event.kind() == EventKind::Lagged);
    std::iter::from_fn(|| events.try_recv()).for_each(|event| count_gaps(&event));
    let handle = pool.enqueue(Do::Pid);
    let id = handle.id();
    settled(handle).unwrap();
    let done = events.find(|event| {
        count_gaps(event);
        event.kind() == EventKind::Done && event.job() == Some(id)
    });
    assert!(done.is_some());
    assert!(lagged >= 1);
    assert!(events.recv_timeout(Duration::from_millis(10)).is_none_or(|event| event.job() != Some(id)));
}

/// Together they hold more than a worker may leave unread.
#[test]
fn streams_of_settled_jobs_hold_up_no_other_job() {
    let pool = pool().max_processes(1).timeout_working(None).build().unwrap();
    pool.pause();
    let handles: Vec<_> = (0..4).map(|_| pool.enqueue(Do::Progress(20_000))).collect();
    let streams: Vec<_> = handles.iter().map(|handle| handle.progress()).collect();
    pool.resume();
    for handle in handles {
        settled(handle).unwrap();
    }
    for stream in streams {
        assert_eq!(stream.count(), 20_000);
    }
}
