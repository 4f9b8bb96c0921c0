//! Jobs and answers of every size, and pipes that nobody reads.

use crossbeam_channel::bounded;
use hirelings::{JobError, JobStatus, Pool, Slot, Stderr};
use hirelings_tests::{Do, Told, WATCHDOG, eventually, pool, program, settled, worker};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const MIB: usize = 1 << 20;

/// A text in which no two places look alike, so that nothing can be lost, doubled or moved.
fn text(len: usize) -> String {
    let mut text = String::with_capacity(len + 8);
    let mut n = 0u32;
    while text.len() < len {
        text.push_str(&format!("{n:x},"));
        n = n.wrapping_add(1);
    }
    text.truncate(len);
    text
}

fn goes_both_ways(pool: &Pool<Do>, len: usize) {
    let sent = text(len);
    let back = settled(pool.request(Do::Echo(sent.clone())).timeout(None).enqueue()).unwrap();
    assert!(back == sent, "{len} bytes came back as {}", back.len());
}

#[test]
fn every_size_goes_both_ways() {
    let pool = pool().max_processes(1).build().unwrap();
    for len in [0, 1, 2, 4095, 4096, 4097, 65_535, 65_536, 65_537, MIB - 1, MIB, MIB + 1] {
        goes_both_ways(&pool, len);
    }
    // Around what a pipe and a read hold, headers included.
    for len in (65_480..65_560).chain(131_000..131_080) {
        goes_both_ways(&pool, len);
    }
    assert_eq!(pool.stats().failed, 0);
}

#[test]
fn many_large_jobs_at_once_come_back_whole() {
    let pool = pool().max_processes(3).timeout_working(None).build().unwrap();
    let jobs: Vec<_> = (0..20).map(|n| pool.enqueue(Do::Echo(text(2 * MIB + n * 1000)))).collect();
    for (n, job) in jobs.into_iter().enumerate() {
        assert!(settled(job).unwrap() == text(2 * MIB + n * 1000), "job {n}");
    }
}

#[test]
fn sixty_four_mib_go_both_ways() {
    let pool = pool().max_processes(1).build().unwrap();
    goes_both_ways(&pool, 64 * MIB);
    goes_both_ways(&pool, 10);
    assert_eq!(pool.stats().spawned, 1);
}

/// Past what a signed 32-bit number holds, and what one read or write takes.
#[ignore = "it takes a minute and 10 GiB of memory: run it by hand"]
#[test]
fn more_than_two_gib_go_to_a_worker() {
    let pool = pool().max_processes(1).max_frame((1 << 32) - 1).timeout_working(None).build().unwrap();
    let pid = settled(pool.enqueue(Do::Pid)).unwrap();
    // A large job with a small answer.
    let job = pool.enqueue(Do::Before(1, Box::new(Do::Echo("x".repeat(2200 * MIB)))));
    assert_eq!(job.wait().unwrap(), pid);
    assert_eq!(pool.stats().spawned, 1);
}

#[test]
fn jobs_and_answers_over_the_limit_fail_alone() {
    let pool = pool().max_processes(1).max_frame(MIB).build().unwrap();
    let error = settled(pool.enqueue(Do::Echo(text(MIB)))).unwrap_err();
    assert!(matches!(error, JobError::Encode(_)) && error.to_string().contains("limit"), "{error}");
    assert_eq!(pool.stats().enqueued, 0);
    let pid = settled(pool.enqueue(Do::Pid)).unwrap();
    let error = settled(pool.enqueue(Do::Bytes(MIB))).unwrap_err();
    assert!(matches!(error, JobError::Encode(_)) && error.to_string().contains("limit"), "{error}");
    let error = settled(pool.enqueue(Do::Tell(1, MIB))).unwrap_err();
    assert!(matches!(error, JobError::Encode(_)), "{error}");
    goes_both_ways(&pool, MIB - 100);
    assert_eq!(settled(pool.enqueue(Do::Pid)).unwrap(), pid, "its worker lives on");
}

/// Every size within a few bytes of the limit either passes or is refused; none breaks the protocol.
#[test]
fn the_frame_limit_has_no_gap() {
    let pool = pool().max_processes(1).max_frame(8192).build().unwrap();
    let mut refused = 0;
    for len in 8192 - 80..8192 + 8 {
        match settled(pool.enqueue(Do::Echo(text(len)))) {
            Ok(back) => assert!(back == text(len) && refused == 0, "{len}"),
            Err(JobError::Encode(_)) => refused += 1,
            Err(other) => panic!("{len}: {other}"),
        }
        match settled(pool.enqueue(Do::Bytes(len))) {
            Ok(back) => assert_eq!(back.len(), len),
            Err(JobError::Encode(_)) => {}
            Err(other) => panic!("an answer of {len}: {other}"),
        }
    }
    assert!((1..80).contains(&refused));
    assert_eq!(pool.stats().crashed, 0);
}

// ---------------------------------------------------------------- a worker that does not read

/// A pool whose first worker never reads, and whose second is as it should be; and a large job at the first, with that limit.
fn not_read(limit: Duration) -> (Pool<Do>, hirelings::JobHandle<Do>) {
    let launch = |slot: Slot| {
        if slot.index() > 0 {
            return worker();
        }
        let mut liar = Command::new(program("liar"));
        liar.arg("never reads");
        liar
    };
    let pool = Pool::<Do>::builder_with(launch).stderr(Stderr::Null).max_processes(2);
    let pool = pool.timeout_working(Duration::from_secs(2)).build().unwrap();
    eventually("the first is ready", || {
        pool.workers().first().is_some_and(|worker| worker.state == hirelings::WorkerState::Ready)
    });
    let stuck = pool.request(Do::Echo("x".repeat(64 * MIB))).timeout(limit).enqueue();
    eventually("it is being sent", || matches!(stuck.status(), JobStatus::Running { .. }));
    // It is the first worker that has it: the other is not yet there.
    (pool, stuck)
}

fn others_work(pool: &Pool<Do>) {
    for n in 0..20 {
        assert_eq!(settled(pool.enqueue(Do::Echo(n.to_string()))).unwrap(), n.to_string());
    }
}

#[test]
fn a_job_that_is_not_read_can_be_aborted_at_once() {
    let (pool, stuck) = not_read(WATCHDOG);
    others_work(&pool);
    assert!(!stuck.is_finished());
    stuck.abort();
    assert!(matches!(stuck.try_wait(), Ok(Err(JobError::Aborted))));
    assert_eq!(pool.stats().aborted, 1);
}

#[test]
fn a_job_that_is_not_read_is_over_its_limit() {
    let (pool, stuck) = not_read(Duration::from_secs(3));
    others_work(&pool);
    let error = settled(stuck).unwrap_err();
    assert!(matches!(error, JobError::TimedOut(_)), "{error:?}");
    assert!(error.to_string().contains("working for more than 3s"), "{error}");
}

#[test]
fn a_job_that_is_not_read_does_not_hold_the_exit_up() {
    let (pool, stuck) = not_read(WATCHDOG);
    let start = Instant::now();
    pool.exit();
    assert!(matches!(stuck.try_wait(), Ok(Err(JobError::Closed))));
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

// ---------------------------------------------------------------- progress without measure

#[test]
fn progress_that_is_not_taken_is_not_lost() {
    let pool = pool().max_processes(2).timeout_working(None).build().unwrap();
    let (release, blocked) = bounded::<()>(0);
    let taken = Arc::new(AtomicUsize::new(0));
    let told = pool.request(Do::Then(vec![Do::Tell(3_000, 20_000), Do::Echo("told".into())]));
    let told = told.on_progress({
        let taken = Arc::clone(&taken);
        move |progress| {
            let _ = blocked.recv();
            if let Told::Text(text) = progress {
                taken.fetch_add(text.len(), Ordering::SeqCst);
            }
        }
    });
    let job = told.enqueue();
    for n in 0..100 {
        assert_eq!(settled(pool.enqueue(Do::Echo(n.to_string()))).unwrap(), n.to_string());
    }
    // 60 MB are more than may lie about: it waits for its listener.
    assert!(!job.is_finished());
    assert_eq!(taken.load(Ordering::SeqCst), 0);
    drop(release);
    assert_eq!(settled(job).unwrap(), "told");
    pool.exit();
    assert_eq!(taken.load(Ordering::SeqCst), 60_000_000);
}
