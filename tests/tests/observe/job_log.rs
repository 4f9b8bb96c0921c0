//! The job log.

use crate::tools;
use hirelings::JobError;
use hirelings_observe::JobLog;
use hirelings_tests::{Do, begun, eventually, pool};
use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::time::Duration;

fn set(labels: &[&str]) -> HashSet<String> {
    labels.iter().map(|&label| label.to_owned()).collect()
}

#[test]
fn a_line_is_there_as_a_job_ends_and_says_how() {
    let path = tools::folder("job_log").join("jobs.jsonl");
    let pool = pool().max_processes(1).retries(1).build().unwrap();
    let log = JobLog::create(&path).unwrap();
    log.attach(&pool);
    let count = || fs::read_to_string(&path).unwrap().lines().count();
    let jobs = [
        ("good", Do::Echo("x".into()), "succeeded", (0, 0)),
        ("bad", Do::Fail("it says \"no\"\nin two lines".into()), "failed", (1, 0)),
        ("dies", Do::Exit(7), "crashed", (7, 0)),
        ("killed", Do::Segfault, "crashed", (0, 11)),
        ("slow", Do::Spin, "timed out", (-1, 0)),
        ("second", Do::FailUntil(2), "succeeded", (0, 0)),
    ];
    for (n, (label, job, ..)) in jobs.iter().enumerate() {
        let limit = (*label == "slow").then_some(Duration::from_secs(1));
        drop(pool.request(job.clone()).label(*label).timeout(limit).enqueue().wait());
        // While the pool goes on.
        eventually("the line is written", || count() == n + 1);
    }
    pool.request(Do::Pid).label("aborted").enqueue().abort();
    pool.exit();
    let read = JobLog::read(&path).unwrap();
    assert_eq!(read.len(), 7);
    for (logged, (label, _, outcome, status)) in read.iter().zip(&jobs) {
        assert_eq!(logged.label.as_deref(), Some(*label));
        assert_eq!((logged.outcome.as_str(), (logged.exit, logged.signal)), (*outcome, *status), "{label}");
    }
    assert!(read[4].ran >= Duration::from_secs(1) && read[0].started.as_secs() > 1_700_000_000);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("\"attempt\":2") && text.contains("it says \\\"no\\\"\\nin two lines"), "{text}");
    assert_eq!(JobLog::resume(&path).unwrap(), set(&["good", "bad", "dies", "killed", "slow", "second"]));
    assert!(log.error().is_none());
}

#[test]
fn a_broken_run_goes_on_where_it_stopped() {
    for columns in [false, true] {
        let path = tools::folder(if columns { "resume_columns" } else { "resume" }).join("jobs");
        assert_eq!(JobLog::resume(&path).unwrap(), set(&[]), "there is no log yet");
        let run = |labels: &[&str]| {
            let pool = pool().max_processes(2).build().unwrap();
            let log = JobLog::append(&path).unwrap();
            let log = if columns { log.columns() } else { log };
            log.attach(&pool);
            for label in labels {
                pool.request(Do::Echo((*label).to_owned())).label(*label).enqueue().wait().unwrap();
            }
        };
        run(&["one", "two"]);
        // Torn in the middle of a line, as by a power cut.
        let torn = if columns { "3\t:\t17" } else { "{\"job\":3,\"label\":\"thr" };
        OpenOptions::new().append(true).open(&path).unwrap().write_all(torn.as_bytes()).unwrap();
        assert_eq!(JobLog::resume(&path).unwrap(), set(&["one", "two"]));
        run(&["three"]);
        assert_eq!(JobLog::resume(&path).unwrap(), set(&["one", "two", "three"]), "columns: {columns}");
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 3 + usize::from(columns), "{text}");
    }
}

#[test]
fn what_was_aborted_or_closed_is_to_be_done_again() {
    let folder = tools::folder("not_done");
    let gate = hirelings_tests::Gate::new();
    let pool = pool().max_processes(1).build().unwrap();
    JobLog::create(folder.join("jsonl")).unwrap().attach(&pool);
    JobLog::create(folder.join("columns")).unwrap().columns().attach(&pool);
    let runs = begun(pool.request(Do::Wait(gate.path())).label("runs"));
    let waits = pool.request(Do::Pid).label("waits").enqueue();
    pool.request(Do::Pid).label("aborted").enqueue().abort();
    pool.exit();
    assert!(matches!((runs.wait(), waits.wait()), (Err(JobError::Closed), Err(JobError::Closed))));
    assert_eq!(JobLog::resume(folder.join("jsonl")).unwrap(), set(&[]));
    assert_eq!(JobLog::read(folder.join("jsonl")).unwrap().len(), 3);
    assert_eq!(JobLog::read(folder.join("columns")).unwrap(), []);
}

#[test]
fn a_full_disk_is_told_and_harms_no_job() {
    let pool = pool().max_processes(1).build().unwrap();
    let log = JobLog::create("/dev/full").unwrap();
    log.attach(&pool);
    for _ in 0..3 {
        pool.enqueue(Do::Pid).wait().unwrap();
    }
    pool.exit();
    assert_eq!(log.error().unwrap().kind(), std::io::ErrorKind::StorageFull);
}

#[test]
fn each_pool_of_a_log_writes_its_lines_whole() {
    let path = tools::folder("two_pools").join("jobs.jsonl");
    let log = JobLog::create(&path).unwrap();
    let pools = [pool().max_processes(1).build().unwrap(), pool().max_processes(1).build().unwrap()];
    pools.iter().for_each(|pool| log.attach(pool));
    for n in 0..200 {
        let label = format!("{n} {}", "x".repeat(n));
        pools.iter().for_each(|pool| drop(pool.request(Do::Echo("x".into())).label(label.clone()).enqueue()));
    }
    for pool in &pools {
        pool.drain(Duration::MAX);
    }
    let read = JobLog::read(&path).unwrap();
    assert_eq!((read.len(), read.iter().all(|logged| logged.succeeded)), (400, true));
}
