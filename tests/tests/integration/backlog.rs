//! Jobs are dispatched in their order, higher priorities first, and the backlog has a limit where it was given one.

use hirelings::{EnqueueErrorKind, EventKind, JobError, JobId, Pool};
use hirelings_tests::{Do, Gate, Record, Scratch, WATCHDOG, begun, eventually, pool, settled};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// From here on the supervisor knows of everything that was enqueued; enqueue itself does not wait for that.
fn is_heard(pool: &Pool<Do>) {
    pool.stats();
}

/// The jobs in the order in which they were dispatched.
fn dispatched(record: &mut Record) -> Vec<JobId> {
    let tasks = record.all().iter().filter(|event| event.kind() == EventKind::Task);
    tasks.filter_map(hirelings::Event::job).collect()
}

#[test]
fn jobs_run_in_the_order_in_which_they_were_enqueued() {
    let pool = pool().max_processes(1).build().unwrap();
    let log = Scratch::new();
    let handles: Vec<_> = (0..200).map(|n| pool.enqueue(Do::Append(log.path(), format!("{n}")))).collect();
    handles.into_iter().for_each(|handle| drop(settled(handle).unwrap()));
    assert_eq!(log.lines(), (0..200).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn several_workers_take_jobs_in_that_order_too() {
    let (builder, mut record) = Record::of(pool().max_processes(3).max_jobs_per_process(7).prefetch(0));
    let pool = builder.build().unwrap();
    let ids: Vec<_> = (0..200).map(|_| pool.enqueue(Do::Pid).id()).collect();
    pool.drain(WATCHDOG);
    assert_eq!(dispatched(&mut record), ids);
}

#[test]
fn higher_priorities_first_then_the_order_of_enqueue() {
    let pool = pool().max_processes(1).build().unwrap();
    let log = Scratch::new();
    let mut gate = Gate::new();
    let holding = begun(pool.request(Do::Wait(gate.path())));
    let priorities = [0, 5, -5, i32::MAX, 0, 5, i32::MIN, -5, 0];
    let handles: Vec<_> = priorities
        .iter()
        .enumerate()
        .map(|(n, &priority)| {
            let job = Do::Append(log.path(), format!("{priority} {n}"));
            pool.request(job).priority(priority).enqueue()
        })
        .collect();
    is_heard(&pool);
    gate.open();
    settled(holding).unwrap();
    handles.into_iter().for_each(|handle| drop(settled(handle).unwrap()));
    let mut expected: Vec<_> = priorities.iter().enumerate().collect();
    expected.sort_by_key(|&(n, &priority)| (std::cmp::Reverse(priority), n));
    let expected: Vec<_> = expected.into_iter().map(|(n, priority)| format!("{priority} {n}")).collect();
    assert_eq!(log.lines(), expected);
}

#[test]
fn a_retried_job_keeps_its_priority() {
    let pool = pool().max_processes(1).retries(1).build().unwrap();
    let log = Scratch::new();
    let append = |line: &str| Do::Append(log.path(), line.into());
    let mut gate = Gate::new();
    let holding = begun(pool.request(Do::Wait(gate.path())));
    let urgent = Do::Then(vec![append("urgent"), Do::FailUntil(2)]);
    let handles = [
        pool.enqueue(append("plain")),
        pool.request(urgent).priority(1).enqueue(),
        pool.request(append("second urgent")).priority(1).enqueue(),
    ];
    is_heard(&pool);
    gate.open();
    settled(holding).unwrap();
    handles.into_iter().for_each(|handle| drop(settled(handle).unwrap()));
    assert_eq!(log.lines(), ["urgent", "second urgent", "urgent", "plain"]);
}

#[test]
fn jobs_beyond_the_workers_wait_in_the_backlog() {
    let pool = pool().max_processes(2).build().unwrap();
    let mut gate = Gate::new();
    let running = [(); 2].map(|()| begun(pool.request(Do::Wait(gate.path()))));
    let queued: Vec<_> = (0..8).map(|_| pool.enqueue(Do::Pid)).collect();
    let stats = pool.stats();
    assert_eq!((stats.backlog, stats.busy, stats.workers, stats.enqueued), (8, 2, 2, 10));
    gate.open();
    running.into_iter().chain(queued).for_each(|handle| drop(settled(handle).unwrap()));
    assert_eq!(pool.stats().backlog, 0);
}

#[test]
fn try_enqueue_gives_the_job_back_where_it_is_full() {
    let pool = pool().max_processes(1).max_backlog(2).build().unwrap();
    let mut gate = Gate::new();
    let holding = begun(pool.request(Do::Wait(gate.path())));
    let queued = [(); 2].map(|()| pool.try_enqueue(Do::Pid).unwrap());
    let error = pool.try_enqueue(Do::Echo("mine".into())).unwrap_err();
    assert_eq!(error.kind, EnqueueErrorKind::Full);
    assert!(matches!(&error.rejected, Do::Echo(text) if text == "mine"));
    assert!(error.to_string().contains("full"), "{error}");
    assert_eq!(pool.stats().enqueued, 3, "a job that is refused is in no figure");
    gate.open();
    settled(holding).unwrap();
    queued.into_iter().for_each(|handle| drop(settled(handle).unwrap()));
    assert_eq!(settled(pool.try_enqueue(error.rejected).unwrap()).unwrap(), "mine");
}

#[test]
fn a_refused_request_keeps_its_hooks_and_settings() {
    let (builder, mut record) = Record::of(pool().max_processes(1).max_backlog(1));
    let pool = builder.build().unwrap();
    let mut gate = Gate::new();
    let holding = begun(pool.request(Do::Wait(gate.path())));
    let queued = pool.try_enqueue(Do::Pid).unwrap();
    let (told, calls) = crossbeam_channel::unbounded();
    let start = told.clone();
    let request = pool.request(Do::FailUntil(2)).retries(1).label("mine");
    let request = request.on_start(move || start.send("start").unwrap()).on_done(move |_| told.send("done").unwrap());
    let error = request.try_enqueue().unwrap_err();
    assert_eq!(error.kind, EnqueueErrorKind::Full);
    assert!(calls.is_empty());
    gate.open();
    drop((settled(holding), settled(queued)));
    let handle = error.rejected.try_enqueue().unwrap();
    let id = handle.id();
    settled(handle).unwrap();
    pool.exit();
    assert_eq!(calls.iter().collect::<Vec<_>>(), ["start", "start", "done"]);
    assert!(record.all().iter().filter(|event| event.job() == Some(id)).all(|event| event.label() == Some("mine")));
    assert_eq!(record.count(EventKind::Enqueue), 3);
}

#[test]
fn enqueue_blocks_while_it_is_full() {
    let pool = pool().max_processes(1).max_backlog(1).build().unwrap();
    let mut gate = Gate::new();
    let holding = begun(pool.request(Do::Wait(gate.path())));
    let queued = pool.enqueue(Do::Pid);
    let (told, enqueued) = crossbeam_channel::bounded(1);
    thread::scope(|scope| {
        scope.spawn(|| told.send(pool.enqueue(Do::Echo("blocked".into()))).unwrap());
        assert!(enqueued.recv_timeout(Duration::from_millis(100)).is_err(), "there is no room");
        assert_eq!(pool.stats().enqueued, 2);
        assert!(pool.try_enqueue(Do::Pid).is_err(), "nor for those who came later");
        gate.open();
        let handle = enqueued.recv_timeout(WATCHDOG).unwrap();
        assert_eq!(settled(handle).unwrap(), "blocked");
    });
    drop((settled(holding), settled(queued)));
}

#[test]
fn callers_that_wait_for_room_wake_at_exit_and_drain() {
    for drains in [false, true] {
        let pool = pool().max_processes(1).max_backlog(1).build().unwrap();
        let gate = Gate::new();
        let holding = begun(pool.request(Do::Wait(gate.path())));
        let queued = pool.enqueue(Do::Pid);
        let (about_to, blocking) = crossbeam_channel::bounded(3);
        thread::scope(|scope| {
            let blocked: Vec<_> = (0..3)
                .map(|_| {
                    scope.spawn(|| {
                        about_to.send(()).unwrap();
                        settled(pool.enqueue(Do::Pid))
                    })
                })
                .collect();
            (0..3).for_each(|_| blocking.recv_timeout(WATCHDOG).unwrap());
            if drains {
                assert_eq!(pool.drain(Duration::from_millis(200)).left, 2);
            } else {
                pool.exit();
            }
            for thread in blocked {
                assert!(matches!(thread.join().unwrap(), Err(JobError::Closed)));
            }
        });
        assert!(matches!(settled(holding), Err(JobError::Closed)));
        assert!(matches!(settled(queued), Err(JobError::Closed)));
        assert_eq!(pool.stats().enqueued, 2);
    }
}

#[test]
fn an_abort_makes_room() {
    let pool = pool().max_processes(1).max_backlog(1).build().unwrap();
    let gate = Gate::new();
    let _holding = begun(pool.request(Do::Wait(gate.path())));
    let queued = pool.try_enqueue(Do::Pid).unwrap();
    assert!(pool.try_enqueue(Do::Pid).is_err());
    queued.abort();
    let _handle = pool.try_enqueue(Do::Pid).unwrap();
}

#[test]
fn a_hook_that_enqueues_exceeds_the_limit() {
    let pool = Arc::new(pool().max_processes(1).max_backlog(1).build().unwrap());
    let mut gate = Gate::new();
    let (told, handles) = crossbeam_channel::bounded(1);
    let of_hook = Arc::clone(&pool);
    let request = pool.request(Do::Wait(gate.path())).on_progress(move |_| {
        told.send((0..5).map(|_| of_hook.enqueue(Do::Pid)).collect::<Vec<_>>()).unwrap();
    });
    let holding = request.enqueue();
    let handles = handles.recv_timeout(WATCHDOG).unwrap();
    assert_eq!(pool.stats().backlog, 5);
    gate.open();
    settled(holding).unwrap();
    handles.into_iter().for_each(|handle| drop(settled(handle).unwrap()));
}

#[test]
fn many_threads_that_wait_for_room_all_get_in() {
    let pool = pool().max_processes(2).max_backlog(1).build().unwrap();
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| (0..40).for_each(|_| drop(settled(pool.enqueue(Do::Pid)).unwrap())));
        }
    });
    assert_eq!(pool.stats().succeeded, 240);
}

#[test]
fn the_backlog_never_exceeds_its_limit() {
    let pool = pool().max_processes(2).max_backlog(3).build().unwrap();
    thread::scope(|scope| {
        let enqueuing: Vec<_> =
            (0..4).map(|_| scope.spawn(|| (0..100).for_each(|_| drop(pool.enqueue(Do::Pid))))).collect();
        while !enqueuing.iter().all(|thread| thread.is_finished()) {
            let backlog = pool.stats().backlog;
            assert!(backlog <= 3, "{backlog}");
        }
    });
    pool.wait_idle();
    assert_eq!(pool.stats().succeeded, 400);
}

#[test]
fn a_great_backlog_is_taken_and_given_up_quickly() {
    let pool = pool().max_processes(1).build().unwrap();
    let gate = Gate::new();
    let _holding = begun(pool.request(Do::Wait(gate.path())));
    let handles: Vec<_> = (0..50_000).map(|_| pool.enqueue(Do::Pid)).collect();
    assert_eq!(pool.stats().backlog, 50_000);
    handles.iter().step_by(7).for_each(hirelings::JobHandle::abort);
    let start = std::time::Instant::now();
    pool.exit();
    assert!(start.elapsed() < WATCHDOG / 2);
    assert!(handles.iter().all(hirelings::JobHandle::is_finished));
    eventually("nothing is left", || pool.stats().backlog == 0);
}
