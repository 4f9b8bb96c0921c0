//! Workers that are reached over sockets.

use hirelings::{JobError, PoolBuilder, StartMethod, Transport};
use hirelings_tests::{Do, START, TRANSPORT, pool, settled};
use std::fs;
use std::process::Command;

/// How many sockets a process has.
pub(super) fn sockets_of(pid: &str) -> usize {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let targets = descriptors.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
}

fn sockets_of_a_worker(pool: PoolBuilder<Do>) -> usize {
    let pool = pool.max_processes(1).build().unwrap();
    sockets_of(&settled(pool.enqueue(Do::Pid)).unwrap())
}

#[test]
fn a_worker_has_what_the_pool_was_told() {
    for method in [StartMethod::Exec, StartMethod::ForkServer] {
        let pool = || pool().start_method(method);
        assert_eq!(sockets_of_a_worker(pool().transport(Transport::Sockets)), 2, "{method:?}");
        assert_eq!(sockets_of_a_worker(pool().transport(Transport::Pipes)), 0, "{method:?}");
    }
}

#[test]
fn large_payloads_go_both_ways_through_sockets() {
    for method in [StartMethod::Exec, StartMethod::ForkServer] {
        let pool = pool().start_method(method).transport(Transport::Sockets).max_processes(2).build().unwrap();
        let texts: Vec<_> = [0, 1, 65_535, 1 << 20, 20 << 20].map(|len| "0123456789abcde,".repeat(len / 16 + 1)).into();
        let jobs: Vec<_> =
            texts.iter().map(|text| pool.request(Do::Echo(text.clone())).timeout(None).enqueue()).collect();
        for (job, text) in jobs.into_iter().zip(texts) {
            assert!(settled(job).unwrap() == text, "{} bytes by {method:?}", text.len());
        }
    }
}

/// What a worker has answered before it died counts, and the job that it died of is the only one that fails.
#[test]
fn a_death_costs_one_job_over_sockets_too() {
    let pool = pool().transport(Transport::Sockets).max_processes(2).prefetch(32).build().unwrap();
    let jobs: Vec<_> = (0..400).map(|n| pool.enqueue(if n % 20 == 7 { Do::Exit(3) } else { Do::Numbers })).collect();
    for (n, job) in jobs.into_iter().enumerate() {
        let result = settled(job);
        if n % 20 == 7 {
            assert!(
                matches!(&result, Err(JobError::Crashed(crash)) if crash.status.unwrap().code() == Some(3)),
                "{result:?}"
            );
        } else {
            assert!(result.is_ok(), "job {n}: {result:?}");
        }
    }
    let stats = pool.stats();
    assert_eq!((stats.crashed, stats.failed, stats.retried), (20, 20, 0));
}

/// Parts of this suite, over sockets.
#[test]
fn what_holds_over_pipes_holds_over_sockets() {
    let exe = std::env::current_exe().unwrap();
    for part in ["parent_death::", "prefetch::", "timeouts::", "payloads::every_size"] {
        let output = Command::new(&exe).arg(part).env(TRANSPORT, "sockets").env_remove(START).output().unwrap();
        let report = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{part} over sockets:\n{report}");
        assert!(!report.contains("running 0 tests"), "{part} is no part of the suite");
    }
}
