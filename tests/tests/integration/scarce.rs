//! Panics where memory is scarce.

use hirelings::{JobError, Limits, PoolBuilder, Stderr};
use hirelings_tests::{Do, program, settled};
use std::process::Command;

const MIB: u64 = 1 << 20;

fn pool(backtrace: Option<&str>, address_space: u64, other_thread: Option<&str>) -> PoolBuilder<Do> {
    let mut command = Command::new(program("panics"));
    command.args(other_thread);
    command.env_remove("RUST_BACKTRACE").envs(backtrace.map(|set| ("RUST_BACKTRACE", set)));
    let pool = hirelings_tests::builder::<Do>(command).stderr(Stderr::Null).max_processes(2);
    pool.limits(Limits::new().address_space(address_space))
}

/// In 3 of 100 and more, the lookup of a backtrace was refused memory under the standard library's own lock, and the
/// process hung until its limit of time.
#[test]
fn a_panic_for_want_of_memory_does_not_hang() {
    let mut panicked = 0;
    let alone = [(None, 96, None), (None, 128, None), (Some("1"), 96, None), (Some("1"), 128, None)];
    // 128 MiB are left for a moment, and then not.
    let arena = [(None, 384, Some("arena")), (Some("1"), 384, Some("arena"))];
    for (backtrace, space, other_thread) in alone.into_iter().chain(arena) {
        let pool = pool(backtrace, space * MIB, other_thread).build().unwrap();
        let jobs: Vec<_> = (0..100).map(|_| pool.enqueue(Do::Exhaust)).collect();
        for job in jobs {
            match settled(job).unwrap_err() {
                JobError::Panicked(panic) => {
                    assert!(panic.message.starts_with("no more memory"), "{panic}");
                    panicked += 1;
                }
                // What is left may be too little for the panic itself, by where the allocator has it.
                JobError::Crashed(crash) => assert!(crash.limit().is_some(), "{crash}"),
                other => panic!("{backtrace:?}, {space} MiB, {other_thread:?}: {other}"),
            }
        }
    }
    assert!(panicked > 0, "all had too little for the panic itself");
}

#[test]
fn a_panic_with_memory_to_spare_has_its_backtrace() {
    let pool = pool(None, 2048 * MIB, None).build().unwrap();
    match settled(pool.enqueue(Do::Panic("oh".into()))).unwrap_err() {
        JobError::Panicked(panic) => assert!(panic.backtrace.unwrap().contains("panics"), "no frames"),
        other => panic!("{other}"),
    }
}
