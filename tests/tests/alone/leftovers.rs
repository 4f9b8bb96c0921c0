//! Nothing of a pool is left behind.

use hirelings::{JobError, Pool, Stderr};
use hirelings_tests::staged::{self, Stage, Staged};
use hirelings_tests::{
    Do, Gate, WATCHDOG, alone, begun, eventually, pool, processes, program, settled, spawned, stubborn_worker,
};
use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

/// What this process has: children, descriptors, threads of pools.
fn held() -> (BTreeSet<u32>, usize, Vec<String>) {
    let threads = processes::threads().into_iter().filter(|name| name.starts_with("hireling"));
    (processes::children_of(std::process::id()), processes::descriptors(), threads.collect())
}

/// After `test` this process has what it had before it.
fn leaves_nothing(test: impl FnOnce()) {
    let before = held();
    assert_eq!(before.2, Vec::<String>::new());
    test();
    let after = held();
    // At once, not eventually: a thread that has been joined may be listed for a moment longer.
    assert_eq!((&after.0, after.1), (&before.0, before.1), "children and descriptors");
    eventually("no thread of the pool's is left", || held().2.is_empty());
}

/// A grandchild in its worker's group, which was sent SIGKILL with it, and is nobody's here to wait for.
fn ends(grandchild: u32) {
    eventually("the grandchild ends", || !processes::is_alive(grandchild));
}

#[test]
fn exit_of_a_pool_that_did_nothing_leaves_nothing() {
    alone!();
    leaves_nothing(|| pool().build().unwrap().exit());
    leaves_nothing(|| drop(pool().max_processes(4).min_processes(4).build().unwrap()));
    leaves_nothing(|| assert_eq!(pool().build().unwrap().drain(WATCHDOG).left, 0));
}

#[test]
fn a_pool_that_was_not_built_leaves_nothing() {
    alone!();
    leaves_nothing(|| assert!(Pool::<Do>::builder(Command::new("/no/such/worker")).build().is_err()));
    leaves_nothing(|| assert!(pool().max_processes(0).build().is_err()));
    leaves_nothing(|| assert!(Pool::<Do>::builder_with(|_| panic!("no")).build().is_err()));
}

#[test]
fn exit_with_everything_going_on_leaves_nothing() {
    alone!();
    leaves_nothing(|| {
        let gate = Gate::new();
        let pool = pool().max_processes(3).build().unwrap();
        let running = begun(pool.request(Do::Wait(gate.path())));
        let (spinning, child) = spawned(pool.request(Do::Then(vec![Do::Spawn("exec sleep 1000".into()), Do::Spin])));
        let flooding = pool.enqueue(Do::Run("exec yes >&2".into()));
        let queued: Vec<_> = (0..50).map(|_| pool.enqueue(Do::Echo("x".repeat(100_000)))).collect();
        let large = pool.enqueue(Do::Echo("x".repeat(16 << 20)));
        drop(gate);
        pool.exit();
        for job in queued.into_iter().chain([running, spinning, flooding, large]) {
            let _ = settled(job);
        }
        ends(child);
        drop(pool);
    });
}

#[test]
fn drain_and_drop_leave_nothing() {
    alone!();
    leaves_nothing(|| {
        let pool = pool().max_processes(2).build().unwrap();
        let jobs: Vec<_> = (0..100).map(|n| pool.enqueue(Do::Echo(n.to_string()))).collect();
        assert_eq!(pool.drain(WATCHDOG).left, 0);
        assert!(jobs.into_iter().all(|job| settled(job).is_ok()));
        drop(pool);
    });
    leaves_nothing(|| {
        let pool = pool().max_processes(2).build().unwrap();
        let (job, child) = spawned(pool.request(Do::Then(vec![Do::Spawn("exec sleep 1000".into()), Do::Spin])));
        drop(pool);
        assert!(settled(job).is_err());
        ends(child);
    });
}

#[test]
fn workers_that_ignore_sigterm_leave_nothing() {
    alone!();
    leaves_nothing(|| {
        let pool = hirelings_tests::builder::<Do>(stubborn_worker()).stderr(Stderr::Null).max_processes(2);
        let pool = pool.kill_grace(Duration::from_millis(50)).build().unwrap();
        let stubborn = "trap '' TERM HUP INT; exec sleep 1000".to_owned();
        let (_job, child) = spawned(pool.request(Do::Then(vec![Do::Spawn(stubborn), Do::Spin])));
        pool.exit();
        ends(child);
        drop(pool);
    });
}

#[test]
fn two_hundred_recycled_workers_leave_nothing() {
    alone!();
    leaves_nothing(|| {
        let pool = pool().max_processes(4).max_jobs_per_process(1).build().unwrap();
        // The last descriptors of a worker close a moment after its death, so that these are compared with slack.
        let mut most = 0;
        for n in 0..200 {
            assert_eq!(settled(pool.enqueue(Do::Echo(n.to_string()))).unwrap(), n.to_string());
            most = most.max(processes::descriptors());
        }
        assert!(most < 100, "{most} descriptors while at most four workers live");
        assert!(pool.stats().spawned >= 200);
        assert!(processes::threads().len() < 40, "{:?}", processes::threads());
        pool.exit();
        drop(pool);
    });
}

#[test]
fn crashes_and_start_failures_leave_nothing() {
    alone!();
    leaves_nothing(|| {
        let pool = pool().max_processes(2).build().unwrap();
        let jobs: Vec<_> = (0..30).map(|n| pool.enqueue(if n % 2 == 0 { Do::Exit(1) } else { Do::Abort })).collect();
        jobs.into_iter().for_each(|job| assert!(settled(job).is_err()));
        drop(pool);
    });
    leaves_nothing(|| {
        let pool = Pool::<Do>::builder(Command::new("false")).stderr(Stderr::Null).max_processes(3).start_failures(2);
        let pool = pool.build().unwrap();
        assert!(settled(pool.enqueue(Do::Pid)).is_err());
        drop(pool);
    });
}

#[test]
fn inits_that_fail_leave_nothing() {
    alone!();
    leaves_nothing(|| {
        let gate = Gate::new();
        for start in [Stage::Fail("no".into()), Stage::Panic("no".into()), Stage::Exit(3), Stage::Wait(gate.path())] {
            let pool = staged::pool(start.clone()).max_processes(2).start_failures(2).kill_grace(Duration::ZERO);
            let pool = pool.timeout_initializing(Duration::from_millis(300)).build().unwrap();
            let jobs: Vec<_> = (0..5).map(|_| pool.enqueue(Staged { after: Stage::Pass })).collect();
            for job in jobs.into_iter().chain([pool.enqueue(Staged { after: Stage::Pass })]) {
                assert!(matches!(settled(job), Err(JobError::NoWorker(_))), "{start:?}");
            }
        }
    });
}

/// A worker's child that has left the group with all of its pipes: the pool cannot end it, and must not wait for it.
fn setsid_grandchild(end: impl FnOnce(Pool<Do>)) {
    let mut left = 0;
    leaves_nothing(|| {
        // Standard error is all that a child of a handler can have; a child of the shell has the protocol's pipes too.
        let mut command = Command::new("sh");
        let line = "setsid sleep 1000 <&0 & exec \"$0\"";
        command.args(["-c", line]).arg(program("worker"));
        let pool = Pool::<Do>::builder(command).stderr(Stderr::Null).max_processes(1).build().unwrap();
        let worker: u32 = settled(pool.enqueue(Do::Pid)).unwrap().parse().unwrap();
        eventually("the grandchild has left", || {
            let children = processes::children_of(worker);
            children.iter().any(|&child| {
                left = child;
                processes::group_of(child) == Some(child)
            })
        });
        let (_, own) = spawned(pool.request(Do::Spawn("exec setsid sleep 1000".into())));
        eventually("another has left", || processes::group_of(own) == Some(own));
        end(pool);
        assert!(processes::is_alive(left) && processes::is_alive(own), "what left the group is not the pool's to end");
        processes::kill(own);
    });
    processes::kill(left);
}

#[test]
fn grandchildren_with_all_pipes_hold_nothing_up() {
    alone!();
    setsid_grandchild(|pool| pool.exit());
    setsid_grandchild(drop);
    setsid_grandchild(|pool| assert_eq!(pool.drain(WATCHDOG).left, 0));
}

#[test]
fn a_grandchild_of_a_leaving_worker_holds_no_slot() {
    alone!();
    leaves_nothing(|| {
        let pool = pool().max_processes(1).max_jobs_per_process(1).build().unwrap();
        settled(pool.enqueue(Do::Pid)).unwrap();
        eventually("the worker has left", || pool.stats().workers == 0);
        let without = processes::descriptors();
        let mut left = Vec::new();
        for _ in 0..5 {
            let mut gate = Gate::new();
            let spawn = Do::Spawn("exec setsid sleep 1000".into());
            let (job, child) = spawned(pool.request(Do::Then(vec![spawn, Do::Wait(gate.path())])));
            eventually("it has left the group", || processes::group_of(child) == Some(child));
            gate.open();
            settled(job).unwrap();
            left.push(child);
        }
        assert_eq!(settled(pool.enqueue(Do::Echo("well".into()))).unwrap(), "well");
        eventually("the last has left", || pool.stats().workers == 0);
        eventually("nothing is held for those that are gone", || processes::descriptors() <= without);
        drop(pool);
        left.into_iter().for_each(processes::kill);
    });
}
