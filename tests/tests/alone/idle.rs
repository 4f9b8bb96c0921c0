//! An idle pool costs nothing: no polling, no wake-ups.

use hirelings::{Pool, StartMethod};
use hirelings_tests::{Do, alone, pool, settled, within};
use std::collections::BTreeSet;
use std::fs;
use std::thread::park_timeout;
use std::time::{Duration, Instant};

/// How long nothing may wake: a hundred of the guard's ticks and more.
const SPAN: Duration = Duration::from_millis(500);

/// How often the threads of a process have gone to sleep again; of this one, the pool's only.
fn wakes(pid: u32, is_own: bool) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let statuses = tasks.filter_map(|task| fs::read_to_string(task.path().join("status")).ok());
    let counted = statuses.filter(|status| !is_own || status.starts_with("Name:\thirelings"));
    let count = |status: String| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.unwrap().trim().parse().unwrap()
    };
    let counts: Vec<u64> = counted.map(count).collect();
    assert!(!counts.is_empty(), "process {pid} has threads");
    counts.into_iter().sum()
}

/// Lets time pass, and nothing else: what is tested is that nothing happens in it.
fn let_pass(span: Duration) {
    let start = Instant::now();
    while let Some(left) = span.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) {
        park_timeout(left);
    }
}

#[test]
fn nothing_wakes_in_a_pool_without_work() {
    alone!();
    let pool = pool().max_processes(4).max_jobs_per_process(1_000).build().unwrap();
    is_quiet(&pool);
}

#[test]
fn nor_where_workers_are_forked() {
    alone!();
    let pool =
        pool().start_method(StartMethod::ForkServer).max_processes(4).max_jobs_per_process(1_000).build().unwrap();
    is_quiet(&pool);
    assert!(pool.workers().iter().all(|worker| worker.fork_server.is_some()), "all were forked");
}

/// A pool of four workers, and the fork server where there is one.
fn is_quiet(pool: &Pool<Do>) {
    pool.wait_ready(Duration::from_secs(30)).unwrap();
    let handles: Vec<_> = (0..200).map(|n| pool.enqueue(Do::Echo(n.to_string()))).collect();
    handles.into_iter().for_each(|handle| drop(settled(handle).unwrap()));
    let workers = pool.workers();
    assert_eq!(workers.len(), 4);
    let theirs: BTreeSet<u32> =
        workers.iter().flat_map(|worker| [Some(worker.pid), worker.fork_server]).flatten().collect();
    assert_eq!(theirs.len(), 4 + pool.stats().fork_servers);
    let count = || wakes(std::process::id(), true) + theirs.iter().map(|&pid| wakes(pid, false)).sum::<u64>();
    let mut woken = Vec::new();
    let is_quiet = within(Duration::from_secs(15), || {
        let before = count();
        let_pass(SPAN);
        woken.push(count() - before);
        woken.last() == Some(&0)
    });
    assert!(is_quiet, "wake-ups in each {SPAN:?}: {woken:?}");
}
