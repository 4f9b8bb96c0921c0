//! One start failure for many jobs.

use hirelings::{JobError, Stderr};
use hirelings_tests::counting::IN_USE;
use hirelings_tests::{Do, Scratch, alone, eventually};
use std::process::Command;
use std::sync::atomic::Ordering;

const JOBS: usize = 100_000;

#[test]
fn jobs_of_one_start_failure_share_its_words() {
    alone!();
    let told_to_fail = Scratch::new();
    let mut worker = Command::new("sh");
    let line = "while [ ! -s \"$0\" ]; do sleep 0.01; done; head -c 8192 /dev/zero | tr '\\0' x >&2; exit 3";
    worker.args(["-c", line]).arg(told_to_fail.path());
    let pool = hirelings_tests::builder::<Do>(worker).stderr(Stderr::Null).max_processes(1).start_failures(1);
    let pool = pool.timeout_initializing(None).build().unwrap();
    let handles: Vec<_> = (0..JOBS).map(|_| pool.enqueue(Do::Pid)).collect();
    // All are in the pool's tables, and not on their way to them.
    assert_eq!(pool.stats().backlog, JOBS);
    let before = IN_USE.load(Ordering::Relaxed);
    std::fs::write(told_to_fail.path(), "now").unwrap();
    eventually("all have failed", || handles.iter().all(hirelings::JobHandle::is_finished));
    // Each keeps its outcome and its report; the words alone are 8 KiB.
    let grown = IN_USE.load(Ordering::Relaxed).saturating_sub(before);
    assert!(grown < 300 * JOBS, "{} KiB", grown / 1024);
    for handle in handles {
        match handle.wait() {
            Err(JobError::NoWorker(failure)) => assert_eq!(failure.stderr.len(), 8192),
            other => panic!("{other:?}"),
        }
    }
}
