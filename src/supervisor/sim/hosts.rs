//! A thousand hosts in virtual time: a pool with one worker for each host, each of which has a pool of its own.
//!
//! All of these pools are the real state machine. What is simulated is what lies between them: processes that start, read, work
//! and die, and hosts that are lost, with up to a second in which the host's workers go on before their guards end them. The
//! coordinator does what `examples/two_levels.rs` does: it sends batches, takes each item as it is reported, and gives the
//! rest of a lost batch to another host, a second later.
//!
//! Each item must be reported once, no attempt may begin twice, and no item may run in two places. The time that the
//! coordinator's machine takes is measured: see `docs/scale.md`.

mod farm;

use farm::{Farm, Size};

/// As much as `cargo test` has time for.
#[test]
fn hosts_that_are_lost_lose_nothing() {
    for seed in 0..4 {
        let report = Farm::new(Size { hosts: 24, workers: 8, items: 6_000 }, seed).run();
        assert!(report.lost_hosts > 5 && report.lost_batches > 5 && report.crashed > 0, "{report:?}");
    }
}

/// `cargo test --release -p hirelings --lib a_thousand_hosts -- --ignored --nocapture`
#[test]
#[ignore = "it takes a minute in a release build: see docs/scale.md"]
fn a_thousand_hosts() {
    for hosts in [16, 256, 1_000] {
        let report = Farm::new(Size { hosts, workers: 64, items: hosts as u32 * 64 * 20 }, 1).run();
        println!("{hosts} hosts of 64 workers: {report}");
    }
    // One level: each worker is a slot of the one pool, and a batch is one item.
    for workers in [16, 256, 1_000, 4_000] {
        let report = Farm::new(Size { hosts: workers, workers: 1, items: workers as u32 * 20 }, 1).run();
        println!("{workers} workers of one pool: {report}");
    }
}
