//! What happens is told in the documented order, with what is known of it.

use hirelings::{Event, EventKind, JobId, Pool, PoolBuilder};
use hirelings_tests::staged::{self, Stage, Staged};
use hirelings_tests::{Do, Gate, Record, Told, begun, pool, settled};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use EventKind::*;

/// A pool with one worker, which is free; and all that it tells.
fn with_a_free_worker(builder: PoolBuilder<Do>) -> (Pool<Do>, Record) {
    let (builder, record) = Record::of(builder.max_processes(1));
    let pool = builder.build().unwrap();
    settled(pool.enqueue(Do::Pid)).unwrap();
    pool.wait_idle();
    (pool, record)
}

/// Runs one job in a pool of its own, and gives the kinds of events that came of it.
fn of_one(job: Do, retries: u32) -> Vec<EventKind> {
    let (pool, mut record) = with_a_free_worker(pool().retries(retries));
    let handle = pool.enqueue(job);
    let id = handle.id();
    drop(settled(handle));
    pool.exit();
    record.of_job(id)
}

#[test]
fn a_success_is_told_in_order() {
    assert_eq!(of_one(Do::Pid, 0), [Enqueue, Task, JobStart, JobSuccess, Done]);
}

/// A caller that waits awake sees the job settled at once, and not only at the end of the supervisor's iteration.
#[test]
fn all_of_a_job_is_told_before_its_wait_is_over() {
    let (pool, _record) = with_a_free_worker(pool());
    let events = pool.events();
    for _ in 0..2_000 {
        let handle = pool.enqueue(Do::Pid);
        let id = handle.id();
        settled(handle).unwrap();
        let told = std::iter::from_fn(|| events.try_recv());
        let of_job: Vec<EventKind> = told.filter(|event| event.job() == Some(id)).map(|event| event.kind()).collect();
        assert!(of_job.ends_with(&[JobSuccess, Done]), "{of_job:?}");
    }
}

#[test]
fn progress_comes_between_the_start_and_the_end() {
    let expected = [Enqueue, Task, JobStart, JobProgress, JobProgress, JobProgress, JobSuccess, Done];
    assert_eq!(of_one(Do::Progress(3), 0), expected);
}

#[test]
fn a_failure_a_panic_and_a_crash_are_told_in_order() {
    assert_eq!(of_one(Do::Fail("no".into()), 0), [Enqueue, Task, JobStart, JobFailure, Done]);
    assert_eq!(of_one(Do::Panic("oh".into()), 0), [Enqueue, Task, JobStart, JobFailure, Done]);
    let crash = Do::Then(vec![Do::Progress(1), Do::Exit(1)]);
    assert_eq!(of_one(crash, 0), [Enqueue, Task, JobStart, JobProgress, JobFailure, Done]);
}

#[test]
fn retries_are_told_in_order() {
    let expected = [
        Enqueue, Task, JobStart, JobRetry, Backlog, Task, JobStart, JobRetry, Backlog, Task, JobStart, JobSuccess, Done,
    ];
    assert_eq!(of_one(Do::FailUntil(3), 2), expected);
    let crash = Do::Before(3, Box::new(Do::Then(vec![Do::Progress(1), Do::Exit(1)])));
    let expected = [
        Enqueue,
        Task,
        JobStart,
        JobProgress,
        JobRetry,
        Backlog,
        Task,
        JobStart,
        JobProgress,
        JobRetry,
        Backlog,
        Task,
        JobStart,
        JobSuccess,
        Done,
    ];
    assert_eq!(of_one(crash, 2), expected);
}

#[test]
fn a_timeout_is_told_in_order() {
    let (pool, mut record) = with_a_free_worker(pool());
    let gate = Gate::new();
    let handle = pool.request(Do::Wait(gate.path())).timeout(Duration::from_secs(2)).enqueue();
    let id = handle.id();
    drop(settled(handle));
    pool.exit();
    assert_eq!(record.of_job(id), [Enqueue, Task, JobStart, JobProgress, JobFailure, Done]);
}

#[test]
fn a_job_that_waits_goes_through_the_backlog() {
    let (builder, mut record) = Record::of(pool().max_processes(1));
    let pool = builder.build().unwrap();
    let mut gate = Gate::new();
    let holding = begun(pool.request(Do::Wait(gate.path())));
    let handle = pool.enqueue(Do::Pid);
    let id = handle.id();
    gate.open();
    drop((settled(holding), settled(handle)));
    pool.exit();
    assert_eq!(record.of_job(id), [Enqueue, Backlog, Task, JobStart, JobSuccess, Done]);
}

#[test]
fn aborts_are_told_in_order() {
    let (pool, mut record) = with_a_free_worker(pool());
    let gate = Gate::new();
    let running = begun(pool.request(Do::Wait(gate.path())));
    let queued = pool.enqueue(Do::Pid);
    let (running_id, queued_id) = (running.id(), queued.id());
    queued.abort();
    running.abort();
    pool.exit();
    assert_eq!(record.of_job(queued_id), [Enqueue, Backlog, JobAbort, Done]);
    assert_eq!(record.of_job(running_id), [Enqueue, Task, JobStart, JobProgress, JobAbort, Done]);
}

#[test]
fn a_line_of_the_log_names_the_job_and_the_error() {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&lines);
    let builder = pool().name("log").max_processes(1).retries(1);
    let pool = builder.on_event(move |event| into.lock().unwrap().push(event.to_string())).build().unwrap();
    let events = pool.events();
    let failing = pool.request(Do::Fail("no such page".into())).label("page 7").enqueue();
    assert_eq!(failing.to_string(), "job 1 (page 7)");
    settled(failing).unwrap_err();
    let gate = Gate::new();
    let unwanted = begun(pool.request(Do::Wait(gate.path())).label("unwanted"));
    let closed = pool.request(Do::Pid).label("never begun").enqueue();
    unwanted.abort();
    assert_eq!(unwanted.to_string(), "job 2 (unwanted)");
    drop(closed);
    drop(gate);
    pool.exit();
    let read: Vec<_> = events.map(|event| event.to_string()).collect();
    for lines in [&*lines.lock().unwrap(), &read] {
        let has = |kind: &str, job: &str, end: &str| {
            let of_job = |line: &&String| line.starts_with(kind) && line.contains(job) && line.ends_with(end);
            assert!(lines.iter().any(|line| of_job(&line)), "{kind} {job} {end}: {lines:#?}");
        };
        has("JobRetry", "job=1 label=\"page 7\" attempt=1", ": no such page");
        has("JobFailure", "job=1 label=\"page 7\" attempt=2", ": no such page");
        has("JobAbort", "job=2 label=\"unwanted\"", "");
    }
}

#[test]
fn what_exit_closes_is_told_as_failed() {
    let (pool, mut record) = with_a_free_worker(pool());
    let gate = Gate::new();
    let running = begun(pool.request(Do::Wait(gate.path())));
    let queued = pool.enqueue(Do::Pid);
    pool.exit();
    assert_eq!(record.of_job(queued.id()), [Enqueue, Backlog, JobFailure, Done]);
    assert_eq!(record.of_job(running.id()), [Enqueue, Task, JobStart, JobProgress, JobFailure, Done]);
    let refused = pool.enqueue(Do::Pid);
    assert_eq!(record.of_job(refused.id()), [], "a job that is refused has no events");
}

#[test]
fn a_worker_is_told_from_its_spawn_to_its_exit() {
    let (builder, mut record) = Record::of(pool().max_processes(1).max_jobs_per_process(1));
    let pool = builder.build().unwrap();
    let pid: u32 = settled(pool.enqueue(Do::Progress(1))).unwrap().parse().unwrap();
    pool.exit();
    let kinds: Vec<_> = record.all().iter().filter(|event| event.pid() == Some(pid)).map(Event::kind).collect();
    let expected = [
        Spawn,
        WorkerInitializing,
        WorkerReady,
        Task,
        WorkerWorking,
        JobStart,
        WorkerStart,
        JobProgress,
        WorkerProgress,
        WorkerSuccess,
        WorkerDone,
        JobSuccess,
        Done,
        WorkerRecovering,
        WorkerReady,
        WorkerExiting,
        WorkerExit,
        Exit,
    ];
    assert_eq!(kinds, expected);
}

#[test]
fn idle_comes_once_each_time_the_work_is_done() {
    let (builder, mut record) = Record::of(pool().max_processes(2));
    let pool = builder.build().unwrap();
    pool.wait_ready(hirelings_tests::WATCHDOG).unwrap();
    pool.wait_idle();
    assert_eq!(record.count(Idle), 0, "it was never busy");
    for round in 1..=3 {
        let handles: Vec<_> = (0..10).map(|_| pool.enqueue(Do::Pid)).collect();
        handles.into_iter().for_each(|handle| drop(settled(handle)));
        record.until_kind(Idle);
        assert_eq!(pool.stats().busy, 0);
        // One that was idle between the rounds' own jobs is told once more.
        assert!(record.count(Idle) >= round);
    }
    pool.wait_idle();
    pool.exit();
    let last_idle = record.all().iter().rposition(|event| event.kind() == Idle).unwrap();
    let exiting = record.all().iter().position(|event| event.kind() == WorkerExiting).unwrap();
    assert!(last_idle < exiting, "exit of an idle pool tells it no more");
}

#[test]
fn idle_comes_once_for_jobs_that_overlap() {
    let (builder, mut record) = Record::of(pool().max_processes(1));
    let pool = builder.build().unwrap();
    let mut gate = Gate::new();
    let holding = begun(pool.request(Do::Wait(gate.path())));
    let rest: Vec<_> = (0..10).map(|_| pool.enqueue(Do::Pid)).collect();
    gate.open();
    drop(settled(holding));
    rest.into_iter().for_each(|handle| drop(settled(handle)));
    pool.wait_idle();
    record.until_kind(Idle);
    pool.exit();
    assert_eq!(record.count(Idle), 1);
    let last_done = record.all().iter().rposition(|event| event.kind() == Done).unwrap();
    let idle = record.all().iter().position(|event| event.kind() == Idle).unwrap();
    assert!(idle > last_done);
}

#[test]
fn idle_comes_after_an_abort_too() {
    let (builder, mut record) = Record::of(pool().max_processes(1));
    let pool = builder.build().unwrap();
    let gate = Gate::new();
    begun(pool.request(Do::Wait(gate.path()))).abort();
    record.until_kind(JobAbort);
    record.until_kind(Idle);
    pool.enqueue(Do::Pid).abort();
    record.until_kind(JobAbort);
    record.until_kind(Idle);
}

#[test]
fn ready_comes_when_asked_once_all_workers_are() {
    let (builder, mut record) = Record::of(staged::pool(Stage::Pass).max_processes(3));
    let pool = builder.build().unwrap();
    settled(pool.enqueue(Staged { after: Stage::Pass })).unwrap();
    assert_eq!(record.count(Ready), 0);
    pool.spawn_workers();
    record.until_kind(Ready);
    let ready: BTreeSet<_> =
        record.all().iter().filter(|event| event.kind() == WorkerReady).filter_map(Event::slot).collect();
    assert_eq!(ready.len(), 3);
    pool.spawn_workers();
    record.until_kind(Ready);
}

#[test]
fn ready_does_not_come_before_the_last_worker() {
    let mut gate = Gate::new();
    let (builder, mut record) = Record::of(staged::pool(Stage::Wait(gate.path())).max_processes(2));
    let pool = builder.build().unwrap();
    pool.spawn_workers();
    record.until_kind(WorkerInitializing);
    record.until_kind(WorkerInitializing);
    assert!(pool.wait_ready(Duration::from_millis(50)).is_err());
    assert_eq!(record.count(Ready), 0);
    gate.open();
    record.until_kind(Ready);
    pool.exit();
    assert_eq!(record.count(Ready), 1);
}

#[test]
fn each_event_says_whom_it_is_about() {
    let (builder, mut record) = Record::of(pool().name("thumbs").max_processes(1).retries(1));
    let pool = builder.build().unwrap();
    let job = Do::Then(vec![Do::Progress(1), Do::Before(2, Box::new(Do::Fail("no".into())))]);
    let handle = pool.request(job).label("page 7").enqueue();
    let (id, pid) = (handle.id(), settled(handle).unwrap().parse().unwrap());
    pool.exit();
    for event in record.all() {
        assert_eq!(event.pool(), Some("thumbs"));
        assert!(event.to_string().contains("thumbs"), "{event}");
        if event.job() == Some(id) {
            assert_eq!(event.label(), Some("page 7"), "{event}");
        }
        if event.job().is_some() && !matches!(event.kind(), Enqueue | Backlog) {
            assert!(matches!(event.attempt(), Some(1 | 2)), "{event}");
        }
        if !matches!(event.kind(), Enqueue | Backlog | Idle | Ready | ForkServerSpawned | ForkServerExited) {
            assert_eq!((event.pid(), event.slot().map(|slot| slot.index())), (Some(pid), Some(0)), "{event}");
            assert!(event.worker().is_some(), "{event}");
        }
        if matches!(event, Event::Worker(_)) && matches!(event.kind(), WorkerStart | WorkerProgress | WorkerSuccess) {
            assert_eq!(event.job(), Some(id), "{event}");
        }
    }
    let attempts: Vec<_> = record.all().iter().filter(|event| event.kind() == JobStart).map(Event::attempt).collect();
    assert_eq!(attempts, [Some(1), Some(2)]);
}

#[test]
fn what_ends_a_running_job_names_its_worker() {
    let (builder, mut record) = Record::of(pool().max_processes(1));
    let pool = builder.build().unwrap();
    let gate = Gate::new();
    let handle = begun(pool.request(Do::Wait(gate.path())));
    let pid = record.until_kind(JobStart).pid();
    assert!(pid.is_some());
    handle.abort();
    for kind in [JobAbort, Done] {
        let event = record.until_kind(kind);
        assert_eq!((event.pid(), event.attempt()), (pid, Some(1)), "{event}");
    }
}

#[test]
fn a_timeout_of_a_worker_names_the_job_it_held() {
    let (builder, mut record) = Record::of(pool().max_processes(1));
    let pool = builder.build().unwrap();
    let gate = Gate::new();
    let handle = pool.request(Do::Wait(gate.path())).timeout(Duration::from_millis(100)).label("page 7").enqueue();
    let event = record.until_kind(WorkerTimeout);
    assert_eq!((event.job(), event.attempt(), event.label()), (Some(handle.id()), Some(1), Some("page 7")), "{event}");
    assert!(event.to_string().contains("working for more than 100ms"), "{event}");
}

#[test]
fn progress_and_errors_decode_as_their_own_type_only() {
    let (builder, mut record) = Record::of(pool().max_processes(1).retries(1));
    let pool = builder.build().unwrap();
    drop(settled(pool.enqueue(Do::Then(vec![Do::Progress(1), Do::Fail("no".into())]))));
    let progress = record.until_kind(JobProgress);
    assert_eq!(progress.progress::<Do>(), Some(Told::Count(0)));
    assert_eq!(progress.progress::<Staged>(), None);
    assert!(progress.error::<Do>().is_none());
    for kind in [JobRetry, JobFailure] {
        let event = record.until_kind(kind);
        assert_eq!(event.error::<Do>().unwrap().to_string(), "no");
        assert!(event.error::<Staged>().is_none());
    }
}

#[test]
fn each_line_of_standard_error_is_an_event() {
    let (builder, mut record) = Record::of(pool().max_processes(1));
    let pool = builder.build().unwrap();
    let pid = settled(pool.enqueue(Do::Print("one\ntwo".into()))).unwrap();
    // What it prints to standard output comes out there as well.
    let lines = [(); 4].map(|()| record.until_kind(WorkerStderr));
    let mut texts: Vec<_> = lines.iter().filter_map(Event::stderr).collect();
    texts.sort_unstable();
    assert_eq!(texts, ["one", "one", "two", "two"]);
    assert!(lines.iter().all(|line| line.pid().map(|pid| pid.to_string()).as_ref() == Some(&pid)));
}

#[test]
fn the_kinds_are_all_listed_once() {
    let listed: BTreeSet<_> = EventKind::ALL.iter().map(|kind| format!("{kind:?}")).collect();
    assert_eq!((listed.len(), EventKind::ALL.len()), (30, 30));
}

#[test]
fn job_numbers_follow_the_order_of_enqueuing() {
    let (builder, mut record) = Record::of(pool().max_processes(2));
    let pool = builder.build().unwrap();
    let ids: Vec<JobId> = (0..20).map(|_| pool.enqueue(Do::Pid).id()).collect();
    assert!(ids.is_sorted());
    pool.drain(hirelings_tests::WATCHDOG);
    let told: Vec<_> = record.all().iter().filter(|event| event.kind() == Enqueue).filter_map(Event::job).collect();
    assert_eq!(told, ids);
}
