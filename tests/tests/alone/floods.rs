//! More than anybody reads: what this process holds in memory does not grow with it.

use crossbeam_channel::bounded;
use hirelings::{EventKind, JobError};
use hirelings_tests::{Do, alone, eventually, pool, settled};
use std::time::Duration;

/// What this process holds in memory, in MiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

#[test]
fn a_flood_of_standard_error_harms_its_own_job_only() {
    alone!();
    let before = resident();
    let (release, blocked) = bounded::<()>(0);
    // The worst listener: it takes one line and no more.
    let builder = pool().on(EventKind::WorkerStderr, move |_| {
        let _ = blocked.recv();
    });
    let pool = builder.max_processes(2).build().unwrap();
    // Dropped before the pool, whose exit waits for its hooks.
    let release = release;
    let flood = pool.request(Do::Run("exec yes >&2".into())).timeout(Duration::from_secs(2)).enqueue();
    eventually("it floods", || matches!(flood.status(), hirelings::JobStatus::Running { .. }));
    for n in 0..200 {
        assert_eq!(settled(pool.enqueue(Do::Echo(n.to_string()))).unwrap(), n.to_string());
    }
    let error = settled(flood).unwrap_err();
    assert!(matches!(error, JobError::TimedOut(_)), "{error:?}");
    let grown = resident().saturating_sub(before);
    assert!(grown < 100, "{grown} MiB");
    drop(release);
}

#[test]
fn a_flood_that_nobody_wants_holds_no_worker_up() {
    alone!();
    let pool = pool().max_processes(1).timeout_working(None).build().unwrap();
    let before = resident();
    settled(pool.enqueue(Do::Run("yes | head -c 300000000 >&2".into()))).unwrap();
    let grown = resident().saturating_sub(before);
    assert!(grown < 100, "{grown} MiB");
}

#[test]
fn progress_that_nobody_wants_is_dropped_as_it_comes() {
    alone!();
    let pool = pool().max_processes(1).timeout_working(None).build().unwrap();
    let before = resident();
    assert_eq!(settled(pool.enqueue(Do::Tell(10_000, 50_000))).unwrap(), "10000");
    // 500 MB were told.
    let grown = resident().saturating_sub(before);
    assert!(grown < 100, "{grown} MiB");
}
