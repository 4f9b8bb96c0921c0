//! Signals: the pool's threads take none, and what the pool starts is born without a signal blocked.

use hirelings::{JobError, Pool, Stderr};
use hirelings_tests::{Do, Gate, alone, begun, eventually, pool, processes, program, settled, spawned, worker};
use nix::sys::signal::{SigSet, Signal};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn printed(mode: &str) -> String {
    let output = Command::new(program("signals")).arg(mode).stdin(Stdio::null()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", output.status);
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

#[test]
fn a_host_without_sigpipe_ignored_survives_crashes() {
    alone!();
    for run in 0..20 {
        assert_eq!(printed("crashes"), "200", "run {run}");
    }
}

#[test]
fn a_handler_of_the_host_never_runs_on_our_threads() {
    alone!();
    assert_eq!(printed("handler"), "true 0");
}

#[test]
fn nor_where_the_thread_that_builds_blocks_the_signal() {
    alone!();
    assert_eq!(printed("handler blocked"), "true 0");
}

#[test]
fn a_signal_that_the_host_waits_for_does_not_kill_it() {
    alone!();
    assert_eq!(printed("named"), "true");
    assert_eq!(printed("without a name"), "true");
}

/// SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV and SIGSYS: what a thread's own fault raises.
const FAULTS: u64 = 1 << 3 | 1 << 4 | 1 << 6 | 1 << 7 | 1 << 10 | 1 << 30;
/// SIGKILL and SIGSTOP, and two that the C library keeps for itself: nobody can block them.
const UNBLOCKABLE: u64 = 1 << 8 | 1 << 18 | 1 << 31 | 1 << 32;

/// What blocks what, in a pool that the calling thread builds.
fn masks() {
    let before = SigSet::thread_get_mask().unwrap();
    let pool = pool().max_processes(2).min_processes(2).build().unwrap();
    assert!(Signal::iterator().all(|signal| {
        let now = SigSet::thread_get_mask().unwrap();
        now.contains(signal) == before.contains(signal)
    }));
    let gates: Vec<Gate> = (0..2).map(|_| Gate::new()).collect();
    let job = |gate: &Gate| Do::Then(vec![Do::SpawnSleeper, Do::Wait(gate.path())]);
    let jobs: Vec<_> = gates.iter().map(|gate| spawned(pool.request(job(gate)))).collect();

    // A thread that has not run yet has no name of its own, and all signals are blocked for it by the C library.
    let ours = || processes::blocked(std::process::id()).into_iter().filter(|(name, _)| name.starts_with("hireling"));
    eventually("the pool's threads run", || ours().count() >= 6);
    let ours: Vec<_> = ours().collect();
    assert!(ours.iter().all(|&(_, mask)| mask == !(FAULTS | UNBLOCKABLE)), "{ours:x?}");
    for worker in pool.workers() {
        let theirs = || processes::blocked(worker.pid);
        eventually("its guard runs", || theirs().iter().any(|(name, _)| name == "hireling-guard"));
        let theirs = theirs();
        assert_eq!(theirs.len(), 2, "{theirs:?}");
        for (name, mask) in theirs {
            let wanted = if name == "hireling-guard" { !(FAULTS | UNBLOCKABLE) } else { 0 };
            assert_eq!(mask, wanted, "{name}: {mask:x}");
        }
    }
    for (_, child) in &jobs {
        assert_eq!(processes::blocked(*child).iter().map(|(_, mask)| *mask).collect::<Vec<_>>(), [0]);
    }
    drop(gates);
}

#[test]
fn our_threads_block_all_and_what_is_started_nothing() {
    alone!();
    masks();
}

#[test]
fn so_it_is_where_the_building_thread_blocks_a_signal() {
    alone!();
    SigSet::from(Signal::SIGTERM).thread_block().unwrap();
    masks();
}

#[test]
fn so_it_is_where_it_blocks_all() {
    alone!();
    SigSet::all().thread_set_mask().unwrap();
    masks();
}

/// The command is the launcher's, made anew for each worker.
#[test]
fn what_a_launcher_gives_starts_with_none_blocked() {
    alone!();
    SigSet::all().thread_set_mask().unwrap();
    let pool = Pool::<Do>::builder_with(|_| worker()).stderr(Stderr::Null).max_jobs_per_process(1).max_processes(1);
    let pool = pool.build().unwrap();
    for _ in 0..3 {
        let gate = Gate::new();
        let job = begun(pool.request(Do::Wait(gate.path())));
        let worker = pool.workers()[0].pid;
        assert!(processes::blocked(worker).contains(&("worker".into(), 0)), "{:x?}", processes::blocked(worker));
        drop(gate);
        settled(job).unwrap();
    }
}

#[test]
fn a_worker_of_a_host_that_blocks_all_heeds_sigterm() {
    alone!();
    SigSet::all().thread_set_mask().unwrap();
    let grace = Duration::from_secs(50);
    let pool = pool().max_processes(1).kill_grace(grace).build().unwrap();
    let gate = Gate::new();
    let job = begun(pool.request(Do::Wait(gate.path())));
    let start = Instant::now();
    job.abort();
    assert!(matches!(settled(job), Err(JobError::Aborted)));
    // The only place is free again once that worker has ended.
    settled(pool.enqueue(Do::Pid)).unwrap();
    assert!(start.elapsed() < grace / 5, "{:?}", start.elapsed());
}
