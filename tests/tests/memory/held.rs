//! What a job held is given back when it is over, in this process and in the worker's.

use hirelings::Bytes;
use hirelings_tests::counting::IN_USE;
use hirelings_tests::shapes::{self, Blob};
use hirelings_tests::{Do, Gate, alone, begun, eventually, pool, settled};
use std::sync::atomic::Ordering;

const MIB: usize = 1 << 20;

/// What more than `before` is allocated, in whole MiB.
fn grown(before: usize) -> usize {
    IN_USE.load(Ordering::Relaxed).saturating_sub(before) / MIB
}

#[test]
fn a_job_that_is_over_holds_nothing() {
    alone!();
    // Jobs: each has its bytes from enqueue on, whoever waits for them, and lets them go when it settles.
    let workers = pool().max_processes(1).build().unwrap();
    settled(workers.enqueue(Do::Pid)).unwrap();
    let before = IN_USE.load(Ordering::Relaxed);
    let mut gate = Gate::new();
    let holding = begun(workers.request(Do::Wait(gate.path())).timeout(None));
    // A large job with a small answer; what follows the text makes the buffer that it is encoded to grow once more.
    let large = || Do::Then(vec![Do::Echo("x".repeat(8 * MIB)), Do::Pid]);
    let jobs: Vec<_> = (0..4).map(|_| workers.enqueue(large())).collect();
    assert!((30..34).contains(&grown(before)), "{} MiB", grown(before));
    jobs[3].abort();
    eventually("what is aborted has let go", || grown(before) < 26);
    gate.open();
    settled(holding).unwrap();
    eventually("all are over", || jobs.iter().all(hirelings::JobHandle::is_finished));
    // The handles are still there, and so is the pool.
    eventually("what is done has let go", || grown(before) < 2);

    // Answers: each is there until its last reader has gone.
    let blobs = shapes::pool::<Blob>().max_processes(1).build().unwrap();
    let before = IN_USE.load(Ordering::Relaxed);
    let jobs: Vec<_> = (0..4).map(|_| blobs.enqueue(Blob(Bytes(vec![7; 8 * MIB])))).collect();
    eventually("all are over", || jobs.iter().all(hirelings::JobHandle::is_finished));
    assert!(grown(before) >= 30, "{} MiB", grown(before));
    for (n, job) in jobs.into_iter().enumerate() {
        drop(settled(job).unwrap());
        eventually("what was read has gone", || grown(before) < 8 * (3 - n) + 2);
    }

    // The worker: neither the job nor its answer is kept, if the next one is not large too.
    let pid = settled(workers.enqueue(Do::Pid)).unwrap();
    let resident = || -> usize {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        kib.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() / 1024
    };
    let before = resident();
    // Of 32 MiB and less, the worker's allocator may keep what it is given back.
    assert_eq!(settled(workers.enqueue(Do::Echo("x".repeat(33 * MIB)))).unwrap().len(), 33 * MIB);
    eventually("it is given back", || resident() < before + 16);
    assert_eq!(workers.stats().spawned, 1);
}
