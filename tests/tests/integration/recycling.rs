//! A worker does exactly `max_jobs_per_process` jobs, then makes room for the next.

use hirelings::{EventKind, JobError, Pool, Stderr, WorkerInfo, WorkerState};
use hirelings_tests::{Do, Gate, Record, begun, eventually, pool, processes, settled, worker};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::Duration;

fn pids(pool: &Pool<Do>, jobs: usize) -> Vec<String> {
    let handles: Vec<_> = (0..jobs).map(|_| pool.enqueue(Do::Pid)).collect();
    handles.into_iter().map(|handle| settled(handle).unwrap()).collect()
}

/// How many jobs each process did.
fn shares(pids: &[String]) -> BTreeMap<&String, usize> {
    pids.iter().fold(BTreeMap::new(), |mut shares, pid| {
        *shares.entry(pid).or_default() += 1;
        shares
    })
}

#[test]
fn the_process_does_its_jobs_and_the_next_is_anothers() {
    let pool = pool().max_processes(1).max_jobs_per_process(3).build().unwrap();
    let pids: Vec<_> = (0..9).map(|_| settled(pool.enqueue(Do::Pid)).unwrap()).collect();
    let runs: Vec<_> = pids.chunk_by(|a, b| a == b).map(<[String]>::len).collect();
    assert_eq!(runs, [3, 3, 3], "{pids:?}");
}

#[test]
fn no_queue_stalls_when_the_only_worker_leaves() {
    let pool = pool().max_processes(1).max_jobs_per_process(3).build().unwrap();
    let pids = pids(&pool, 12);
    let runs: Vec<_> = pids.chunk_by(|a, b| a == b).map(<[String]>::len).collect();
    assert_eq!(runs, [3, 3, 3, 3], "{pids:?}");
}

/// Where a slot and a core are free for it: so no job waits for a start.
#[test]
fn the_successor_is_ready_before_the_last_job_ends() {
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        return println!("SKIPPED: there is no core for a second worker");
    }
    let (builder, mut record) = Record::of(pool().max_processes(2).max_jobs_per_process(4));
    let pool = builder.build().unwrap();
    let is_ready = || pool.workers().iter().any(|worker| worker.state == WorkerState::Ready);
    eventually("the first worker is ready", is_ready);
    for _ in 0..12 {
        let gate = Gate::new();
        let job = begun(pool.request(Do::Wait(gate.path())));
        let works = |worker: &WorkerInfo| worker.state == WorkerState::Working;
        let done = pool.workers().into_iter().find(works).map(|worker| worker.jobs_done);
        if done == Some(3) {
            // It is the worker's last.
            eventually("another worker is ready", is_ready);
        }
        drop(gate);
        settled(job).unwrap();
    }
    pool.exit();
    assert!(record.count(EventKind::Spawn) >= 4, "no worker does more than four");
    assert_eq!(record.count(EventKind::Backlog), 0, "a job has waited");
}

#[test]
fn with_one_job_per_process_each_job_has_its_own() {
    let pool = pool().max_processes(1).max_jobs_per_process(1).build().unwrap();
    let pids = pids(&pool, 6);
    assert_eq!(shares(&pids).len(), 6, "{pids:?}");
}

#[test]
fn with_one_job_per_process_each_has_its_own() {
    let (builder, mut record) = Record::of(pool().max_processes(3).max_jobs_per_process(1));
    let pool = builder.build().unwrap();
    let pids = pids(&pool, 18);
    assert_eq!(shares(&pids).len(), 18, "{pids:?}");
    pool.exit();
    // The one that was started and got no job does not count against the limit of three alive.
    assert!(pool.stats().spawned <= 18 + 3);
    assert_eq!(record.count(EventKind::Task), 18);
}

#[test]
fn with_one_job_per_process_a_death_costs_one_job() {
    let pool = pool().max_processes(2).max_jobs_per_process(1).kill_grace(Duration::ZERO).build().unwrap();
    let job = |n| match n % 3 {
        0 => Do::Exit(n),
        1 => Do::Spin,
        _ => Do::Pid,
    };
    let limit = |n| (n % 3 == 1).then_some(Duration::from_millis(50));
    let jobs: Vec<_> = (0..12).map(|n| pool.request(job(n)).timeout(limit(n)).enqueue()).collect();
    let mut good = Vec::new();
    for (n, job) in jobs.into_iter().enumerate() {
        match (n % 3, settled(job)) {
            (0, Err(JobError::Crashed(_))) | (1, Err(JobError::TimedOut(_))) => {}
            (2, Ok(pid)) => good.push(pid),
            (_, other) => panic!("job {n}: {other:?}"),
        }
    }
    assert_eq!(shares(&good).len(), 4, "{good:?}");
}

#[test]
fn no_process_does_more_or_fewer_than_its_jobs() {
    let (builder, mut record) = Record::of(pool().max_processes(4).max_jobs_per_process(5));
    let pool = builder.build().unwrap();
    let pids = pids(&pool, 200);
    pool.wait_idle();
    // At most one unfinished run for each worker that is still there.
    let shares = shares(&pids);
    let (done, underway): (Vec<usize>, Vec<usize>) = shares.values().partition(|&&share| share == 5);
    assert!(underway.len() <= 4 && underway.iter().all(|&share| share < 5), "{shares:?}");
    assert!(done.len() >= 36, "{shares:?}");
    pool.exit();
    assert_eq!(pool.stats().crashed, 0, "leaving is no crash");
    assert_eq!(record.count(EventKind::JobSuccess), 200);
}

#[test]
fn failures_count_as_jobs_done() {
    let pool = pool().max_processes(1).max_jobs_per_process(2).build().unwrap();
    let first = settled(pool.enqueue(Do::Pid)).unwrap();
    settled(pool.enqueue(Do::Fail("no".into()))).unwrap_err();
    let second = settled(pool.enqueue(Do::Pid)).unwrap();
    assert_ne!(first, second);
}

#[test]
fn retries_count_as_jobs_done() {
    let pool = pool().max_processes(1).max_jobs_per_process(2).retries(3).build().unwrap();
    let workers: Vec<_> = {
        let handle = pool.enqueue(Do::FailUntil(4));
        let last = settled(handle).unwrap();
        vec![last, settled(pool.enqueue(Do::Pid)).unwrap()]
    };
    assert_ne!(workers[0], workers[1], "attempts three and four were the second process's jobs");
    pool.exit();
    assert_eq!(pool.stats().spawned, 3);
}

#[test]
fn one_that_leaves_an_empty_queue_is_not_replaced() {
    let (builder, mut record) = Record::of(pool().max_processes(1).max_jobs_per_process(1));
    let pool = builder.build().unwrap();
    let first = settled(pool.enqueue(Do::Pid)).unwrap();
    record.until_kind(EventKind::Exit);
    assert!(!processes::is_alive(first.parse().unwrap()));
    assert_eq!(pool.stats().workers, 0);
    assert_eq!(pool.stats().spawned, 1);
    assert_ne!(settled(pool.enqueue(Do::Pid)).unwrap(), first);
    assert_eq!(pool.stats().spawned, 2);
}

#[test]
fn the_minimum_is_kept_though_workers_leave() {
    let (builder, mut record) = Record::of(pool().max_processes(4).min_processes(2).max_jobs_per_process(1));
    let pool = builder.build().unwrap();
    settled(pool.enqueue(Do::Pid)).unwrap();
    // The third is the successor of the first that left; it does not wait for its exit, since there is room.
    (0..3).for_each(|_| drop(record.until_kind(EventKind::Spawn)));
    eventually("the first is gone", || pool.stats().exited == 1);
    assert_eq!((pool.stats().workers, pool.stats().spawned), (2, 3));
}

#[test]
fn a_worker_that_retires_is_replaced_after_its_job() {
    let (builder, mut record) = Record::of(pool().max_processes(1));
    let pool = builder.build().unwrap();
    let first = settled(pool.enqueue(Do::Pid)).unwrap();
    let retired = settled(pool.enqueue(Do::Then(vec![Do::Retire, Do::Pid]))).unwrap();
    assert_eq!(first, retired, "it does the job in which it asks");
    let next = settled(pool.enqueue(Do::Pid)).unwrap();
    assert_ne!(next, first);
    record.until_kind(EventKind::Exit);
    assert_eq!(pool.stats().crashed, 0);
}

#[test]
fn a_worker_leaves_by_itself_and_is_sent_no_signal() {
    let (builder, mut record) =
        Record::of(pool().max_processes(1).max_jobs_per_process(1).kill_grace(Duration::from_secs(30)));
    let pool = builder.build().unwrap();
    settled(pool.enqueue(Do::Pid)).unwrap();
    let exit = record.until_kind(EventKind::Exit);
    assert_eq!(exit.status().and_then(|status| status.code()), Some(0), "{exit}");
}

#[test]
fn what_a_worker_leaves_in_its_group_is_killed() {
    let (builder, mut record) = Record::of(pool().max_processes(1).max_jobs_per_process(1));
    let pool = builder.build().unwrap();
    let worker: u32 = settled(pool.enqueue(Do::SpawnSleeper)).unwrap().parse().unwrap();
    record.until_kind(EventKind::Exit);
    eventually("the group is empty", || processes::of_group(worker).is_empty());
}

#[test]
fn never_more_processes_than_the_maximum() {
    let (builder, mut record) = Record::of(pool().max_processes(3).max_jobs_per_process(1));
    let pool = builder.build().unwrap();
    pids(&pool, 30);
    pool.exit();
    let mut alive = 0;
    for event in record.all() {
        match event.kind() {
            EventKind::Spawn => alive += 1,
            EventKind::Exit => alive -= 1,
            _ => {}
        }
        assert!((0..=3).contains(&alive));
    }
    assert_eq!(alive, 0);
}

#[test]
fn a_pool_that_exits_during_replacements_ends() {
    for jobs in 0..12 {
        let pool = pool().max_processes(2).max_jobs_per_process(1).build().unwrap();
        let handles: Vec<_> = (0..12).map(|_| pool.enqueue(Do::Pid)).collect();
        handles.into_iter().take(jobs).for_each(|handle| drop(settled(handle)));
        pool.exit();
        let stats = pool.stats();
        assert_eq!(stats.spawned, stats.exited);
        assert_eq!(stats.enqueued, stats.succeeded + stats.failed);
    }
}

#[test]
fn drain_recycles_until_all_is_done() {
    let pool = pool().max_processes(1).max_jobs_per_process(1).build().unwrap();
    let mut gate = Gate::new();
    let first = begun(pool.request(Do::Wait(gate.path())));
    let rest: Vec<_> = (0..4).map(|_| pool.enqueue(Do::Pid)).collect();
    gate.open();
    let drained = pool.drain(hirelings_tests::WATCHDOG);
    assert_eq!(drained.left, 0);
    let mut pids: Vec<_> = rest.into_iter().map(|handle| settled(handle).unwrap()).collect();
    pids.push(settled(first).unwrap());
    assert_eq!(shares(&pids).len(), 5);
}

#[test]
fn a_worker_that_hangs_at_its_exit_is_killed() {
    killed_while_it_exits(worker, Do::HangAtExit);
}

#[test]
fn a_worker_that_hangs_outside_its_group_is_killed() {
    // It leaves its group where it has had a child, and only then does what it was to do before it served.
    let hangs = || {
        let mut command = worker();
        command.arg("hang at exit");
        command
    };
    killed_while_it_exits(hangs, Do::SpawnSleeper);
}

fn killed_while_it_exits(command: impl Fn() -> Command, job: Do) {
    let stubborn = || {
        let mut command = command();
        command.arg("ignore SIGTERM");
        command
    };
    for (command, signal) in [(command(), Signal::TERM), (stubborn(), Signal::KILL)] {
        let pool = hirelings_tests::builder::<Do>(command).stderr(Stderr::Null).kill_grace(Duration::from_secs(2));
        let (builder, mut record) = Record::of(pool.max_processes(1).max_jobs_per_process(1));
        let pool = builder.build().unwrap();
        settled(pool.enqueue(job.clone())).unwrap();
        let exit = record.until_kind(EventKind::Exit);
        assert_eq!(exit.status().and_then(|status| status.signal()), Some(signal.as_raw()), "{exit}");
    }
}
