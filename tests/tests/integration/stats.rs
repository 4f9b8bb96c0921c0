//! The figures add up, at any time.

use hirelings::{EventKind, JobStatus, Pool, Stats, WorkerState};
use hirelings_tests::staged::{self, Stage, Staged};
use hirelings_tests::{Do, Gate, Record, WATCHDOG, begun, eventually, pool, processes, settled, stubborn_worker};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// What must hold at any time; a worker that is busy may hold a job or recover from one.
fn adds_up(stats: &Stats, most: usize) {
    let settled = stats.succeeded + stats.failed + stats.aborted;
    let held = stats.enqueued.checked_sub(settled + stats.backlog as u64);
    assert!(held.is_some_and(|held| held <= stats.busy as u64), "{stats:?}");
    assert_eq!(stats.jobs, stats.succeeded + stats.failed, "{stats:?}");
    assert_eq!(stats.spawned - stats.exited, stats.workers as u64, "{stats:?}");
    assert!(stats.busy <= stats.workers && stats.workers <= most, "{stats:?}");
    assert!(stats.crashed <= stats.exited, "{stats:?}");
}

#[test]
fn a_new_pool_has_counted_its_first_worker_only() {
    let pool = pool().max_processes(2).build().unwrap();
    // With a fork server, `build` waits for that.
    eventually("the first worker is spawned", || pool.stats().workers == 1);
    let mut stats = pool.stats();
    assert_eq!((stats.workers, stats.spawned), (1, 1));
    assert!(stats.rate.over <= pool.age());
    (stats.workers, stats.spawned, stats.rate.over) = (0, 0, Duration::ZERO);
    (stats.fork_servers, stats.fork_servers_spawned) = (0, 0);
    assert_eq!(stats, Stats::default());
}

#[test]
fn the_figures_add_up_at_any_time_under_load() {
    let pool = pool()
        .max_processes(3)
        .max_jobs_per_process(5)
        .retries(1)
        .kill_grace(Duration::from_millis(20))
        .build()
        .unwrap();
    pool.wait_ready(WATCHDOG).unwrap();
    let over = AtomicBool::new(false);
    let jobs = |n: usize| match n % 8 {
        0 => Do::Fail("no".into()),
        1 => Do::Before(2, Box::new(Do::Exit(1))),
        // With its backtrace a panic takes its time.
        2 if n < 20 => Do::Panic("oh".into()),
        3 => Do::FailUntil(2),
        _ => Do::Echo(n.to_string()),
    };
    thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let mut looks = 0;
            while !over.load(Ordering::SeqCst) {
                adds_up(&pool.stats(), 3);
                looks += 1;
            }
            looks
        });
        let enqueuing: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let handles: Vec<_> = (0..80).map(|n| pool.enqueue(jobs(n))).collect();
                    handles.iter().step_by(9).for_each(hirelings::JobHandle::abort);
                    handles.into_iter().for_each(|handle| drop(settled(handle)));
                })
            })
            .collect();
        enqueuing.into_iter().for_each(|thread| thread.join().unwrap());
        over.store(true, Ordering::SeqCst);
        assert!(looking.join().unwrap() > 10);
    });
    let stats = pool.stats();
    assert_eq!((stats.enqueued, stats.backlog), (240, 0));
    assert_eq!(stats.succeeded + stats.failed + stats.aborted, 240);
    assert!(stats.aborted <= 27 && stats.retried >= 30 && stats.crashed > 0, "{stats:?}");
}

#[test]
fn the_figures_have_moved_before_a_handle_is_released() {
    let pool = pool().max_processes(2).build().unwrap();
    for n in 1..=100 {
        settled(pool.enqueue(Do::Pid)).unwrap();
        assert_eq!(pool.stats().succeeded, n);
    }
    settled(pool.enqueue(Do::Fail("no".into()))).unwrap_err();
    assert_eq!((pool.stats().failed, pool.stats().jobs), (1, 101));
}

#[test]
fn the_figures_agree_with_the_events() {
    let (builder, mut record) = Record::of(pool().max_processes(2).max_jobs_per_process(4).retries(1));
    let pool = builder.build().unwrap();
    let handles: Vec<_> = (0..60)
        .map(|n| match n % 4 {
            0 => pool.enqueue(Do::Fail("no".into())),
            1 => pool.enqueue(Do::FailUntil(2)),
            _ => pool.enqueue(Do::Pid),
        })
        .collect();
    handles.iter().step_by(10).for_each(hirelings::JobHandle::abort);
    handles.into_iter().for_each(|handle| drop(settled(handle)));
    pool.exit();
    let stats = pool.stats();
    let mut count = |kind| record.count(kind) as u64;
    assert_eq!(count(EventKind::Enqueue), stats.enqueued);
    assert_eq!(count(EventKind::JobSuccess), stats.succeeded);
    assert_eq!(count(EventKind::JobFailure), stats.failed);
    assert_eq!(count(EventKind::JobAbort), stats.aborted);
    assert_eq!(count(EventKind::JobRetry), stats.retried);
    assert_eq!(count(EventKind::Spawn), stats.spawned);
    assert_eq!(count(EventKind::Exit), stats.exited);
    assert_eq!(count(EventKind::Done), stats.enqueued);
}

#[test]
fn crashes_are_counted_and_wanted_ends_are_not() {
    let pool = pool().max_processes(1).max_jobs_per_process(2).build().unwrap();
    settled(pool.enqueue(Do::Pid)).unwrap();
    settled(pool.enqueue(Do::Exit(0))).unwrap_err();
    settled(pool.enqueue(Do::Pid)).unwrap();
    assert_eq!((pool.stats().crashed, pool.stats().exited), (1, 1), "an exit with status 0 is one too");
    settled(pool.enqueue(Do::Pid)).unwrap();
    eventually("the second has left", || pool.stats().exited == 2);
    let gate = Gate::new();
    begun(pool.request(Do::Wait(gate.path()))).abort();
    pool.exit();
    assert_eq!((pool.stats().crashed, pool.stats().exited), (1, 3));
}

#[test]
fn a_worker_killed_while_idle_is_counted() {
    let pool = pool().max_processes(1).build().unwrap();
    let first: i32 = settled(pool.enqueue(Do::Pid)).unwrap().parse().unwrap();
    pool.wait_idle();
    let pid = rustix::process::Pid::from_raw(first).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    eventually("its death is noticed", || pool.stats().crashed == 1);
    assert_ne!(settled(pool.enqueue(Do::Pid)).unwrap(), first.to_string());
    assert_eq!((pool.stats().failed, pool.stats().retried), (0, 0), "no job was touched");
}

#[test]
fn wait_idle_returns_when_nothing_waits_or_runs() {
    let pool = pool().max_processes(2).build().unwrap();
    pool.wait_idle();
    assert!(pool.wait_idle_timeout(Duration::ZERO) || pool.wait_idle_timeout(WATCHDOG));
    let mut gate = Gate::new();
    let holding = begun(pool.request(Do::Wait(gate.path())));
    let queued: Vec<_> = (0..20).map(|_| pool.enqueue(Do::Pid)).collect();
    assert!(!pool.wait_idle_timeout(Duration::from_millis(50)));
    thread::scope(|scope| {
        let waiting = [(); 3].map(|()| scope.spawn(|| pool.wait_idle()));
        gate.open();
        waiting.into_iter().for_each(|thread| thread.join().unwrap());
    });
    assert!(queued.iter().all(hirelings::JobHandle::is_finished) && holding.is_finished());
    let stats = pool.stats();
    assert_eq!((stats.busy, stats.backlog), (0, 0));
}

#[test]
fn a_pool_is_busy_while_a_worker_recovers() {
    let mut gate = Gate::new();
    let pool = staged::pool(Stage::Pass).max_processes(1).build().unwrap();
    settled(pool.enqueue(Staged { after: Stage::Wait(gate.path()) })).unwrap();
    assert!(!pool.wait_idle_timeout(Duration::from_millis(50)));
    let workers = pool.workers();
    assert_eq!((workers[0].state, workers[0].job), (WorkerState::Recovering, None));
    assert_eq!((pool.stats().busy, pool.stats().succeeded), (1, 1));
    gate.open();
    pool.wait_idle();
    assert_eq!(pool.stats().busy, 0);
}

fn one_worker(pool: &Pool<Do>) -> hirelings::WorkerInfo {
    let workers = pool.workers();
    assert_eq!(workers.len(), 1);
    workers[0].clone()
}

#[test]
fn workers_are_shown_as_they_are() {
    let pool = pool().max_processes(1).build().unwrap();
    let mut gate = Gate::new();
    let handle = begun(pool.request(Do::Wait(gate.path())));
    let first = one_worker(&pool);
    let JobStatus::Running { pid, .. } = handle.status() else { panic!("{:?}", handle.status()) };
    assert_eq!((first.pid, first.state, first.job, first.jobs_done), (pid, WorkerState::Working, Some(handle.id()), 0));
    assert_eq!(first.slot.index(), 0);
    assert!(processes::is_alive(first.pid));
    gate.open();
    settled(handle).unwrap();
    pool.wait_idle();
    let idle = one_worker(&pool);
    assert_eq!((idle.id, idle.state, idle.job, idle.jobs_done), (first.id, WorkerState::Ready, None, 1));
    assert!(idle.age >= first.age);
    settled(pool.enqueue(Do::Exit(1))).unwrap_err();
    settled(pool.enqueue(Do::Pid)).unwrap();
    pool.wait_idle();
    let second = one_worker(&pool);
    assert_ne!(second.id, first.id, "a worker's number is never used again");
    assert_eq!((second.slot, second.jobs_done), (first.slot, 1));
}

#[test]
fn the_jobs_of_a_worker_are_counted_one_by_one() {
    let pool = pool().max_processes(1).build().unwrap();
    for n in 1..=3 {
        let job = if n == 2 { Do::Fail("a failure is one too".into()) } else { Do::Pid };
        let _ = settled(pool.enqueue(job));
        pool.wait_idle();
        assert_eq!((one_worker(&pool).jobs_done, pool.stats().jobs), (n, n));
    }
}

#[test]
fn workers_are_shown_while_they_start_and_die() {
    let gate = Gate::new();
    let pool = staged::pool(Stage::Wait(gate.path())).max_processes(2).min_processes(2).build().unwrap();
    eventually("both are spawned", || pool.workers().len() == 2);
    assert!(pool.workers().iter().all(|worker| worker.state == WorkerState::Initializing));
    let slots: Vec<_> = pool.workers().iter().map(|worker| worker.slot.index()).collect();
    assert_eq!(slots, [0, 1]);

    let pool = hirelings_tests::builder::<Do>(stubborn_worker()).stderr(hirelings::Stderr::Null).max_processes(1);
    let pool = pool.kill_grace(WATCHDOG).build().unwrap();
    let handle = begun(pool.request(Do::Wait(gate.path())));
    handle.abort();
    let dying = one_worker(&pool);
    assert_eq!((dying.state, dying.job), (WorkerState::Exiting, None));
    assert_eq!((pool.stats().workers, pool.stats().busy), (1, 1), "its handler may still run");
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(dying.pid.cast_signed()).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    eventually("it is gone", || pool.workers().is_empty());
}

#[test]
fn the_last_figures_stay_after_the_pools_end() {
    let pool = pool().max_processes(1).build().unwrap();
    (0..3).for_each(|_| drop(settled(pool.enqueue(Do::Pid)).unwrap()));
    pool.exit();
    let stats = pool.stats();
    adds_up(&stats, 0);
    assert_eq!((stats.succeeded, stats.spawned, stats.exited), (3, 1, 1));
    assert!(pool.workers().is_empty());
}
