//! Workers that Slurm places: a real cluster of one node, in which each worker is a task of `srun`.

use hirelings::{JobError, Pool, PoolBuilder, Site, Stderr};
use hirelings_tests::slurm::{cluster, steps};
use hirelings_tests::{Do, Scratch, WATCHDOG, alone, eventually, processes, program, settled, spawned, worker};
use std::io::BufRead;
use std::process::{Command, Stdio};
use std::time::Duration;

/// A pool of workers in the cluster.
fn pool(workers: usize) -> PoolBuilder<Do> {
    Pool::builder_on([Site::slurm(workers)], worker()).stderr(Stderr::Null)
}

/// A job that has a child and never ends.
fn hangs() -> Do {
    Do::Then(vec![Do::Spawn("exec sleep 1000".into()), Do::Spin])
}

#[test]
fn carries_jobs_of_any_bytes() {
    alone!(cluster);
    let pool = pool(2).build().unwrap();
    pool.wait_ready(WATCHDOG).unwrap();
    // Some that terminals and shells take for something else, and more of them than a pipe holds.
    let text: String = (0..0x800).filter_map(char::from_u32).collect::<String>().repeat(500);
    let handles: Vec<_> = (0..8).map(|_| pool.enqueue(Do::Echo(text.clone()))).collect();
    assert!(handles.into_iter().all(|handle| settled(handle).unwrap() == text));
    let placed = settled(pool.enqueue(Do::Shell("echo $SLURM_JOB_ID on $SLURMD_NODENAME".into()))).unwrap();
    assert!(placed.trim_end().ends_with(" on node") && !placed.starts_with(" on"), "{placed}");
    let workers = pool.workers();
    assert!(workers.len() == 2 && workers.iter().all(|worker| worker.site.as_deref() == Some("slurm")), "{workers:?}");
    let error = settled(pool.enqueue(Do::SayAndDie("the last words".into()))).unwrap_err();
    assert!(error.to_string().contains("the last words") && error.to_string().contains("slurm"), "{error}");
    pool.exit();
    eventually("no step is left", || steps().is_empty());
    assert_eq!(processes::children_of(std::process::id()), [].into());
}

#[test]
fn handlers_that_hang_are_killed() {
    alone!(cluster);
    let pool = pool(1).build().unwrap();
    pool.wait_ready(WATCHDOG).unwrap();
    let (job, child) = spawned(pool.request(hangs()).timeout(Duration::from_secs(1)));
    let worker = processes::group_of(child).unwrap();
    match settled(job) {
        Err(JobError::TimedOut(timeout)) => assert_eq!(timeout.limit, Duration::from_secs(1)),
        other => panic!("{other:?}"),
    }
    eventually("the far group has ended", || processes::of_group(worker).is_empty());
    assert_eq!(settled(pool.enqueue(Do::Echo("on".into()))).unwrap(), "on");
}

#[test]
fn steps_that_are_cancelled_cost_a_job() {
    alone!(cluster);
    let pool = pool(1).build().unwrap();
    pool.wait_ready(WATCHDOG).unwrap();
    let (job, child) = spawned(pool.request(hangs()));
    let worker = processes::group_of(child).unwrap();
    let steps = steps();
    assert_eq!(steps.len(), 1, "{steps:?}");
    assert!(Command::new("scancel").args(&steps).status().unwrap().success());
    match settled(job) {
        Err(JobError::Crashed(crash)) => assert!(crash.to_string().contains("slurm"), "{crash}"),
        other => panic!("{other:?}"),
    }
    eventually("the far group has ended", || processes::of_group(worker).is_empty());
    assert_eq!(settled(pool.enqueue(Do::Echo("on".into()))).unwrap(), "on");
}

#[test]
fn workers_end_with_their_pool() {
    alone!(cluster);
    let mut host = Command::new(program("host")).arg("slurm").stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    std::io::BufReader::new(host.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let worker: u32 = line.trim().parse().unwrap();
    assert_eq!(processes::of_group(worker).len(), 2, "a worker and what it has spawned");
    host.kill().unwrap();
    host.wait().unwrap();
    eventually("the far group has ended", || processes::of_group(worker).is_empty());
    eventually("no step is left", || steps().is_empty());
}

#[test]
fn hosts_that_are_lost_lose_no_item() {
    alone!(cluster);
    let example = |log: &Scratch| {
        let mut example = Command::new(program("examples").join("two_levels"));
        example
            .args(["--slurm", "--hosts", "4", "--workers", "2", "--items", "200", "--kill", "1", "--log"])
            .arg(log.path());
        let said = example.output().unwrap();
        let words = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(said.status.success() && words.contains("200 succeeded, 0 failed, "), "{words}");
        words
    };
    // One that is killed when it has answered, before the coordinator has heard it, costs no batch.
    let runs = std::iter::repeat_with(|| {
        let log = Scratch::new();
        (example(&log), log)
    });
    let lost = runs.take(5).find(|(words, _)| words.contains(" batches, 1 lost, "));
    let (_, log) = lost.expect("a batch is lost in one of five runs");
    // Its srun was killed, so it ends once it has heard nothing for long.
    eventually("the lost host has ended too", || steps().is_empty());
    let mut begun = log.lines();
    begun.sort_unstable();
    assert!(begun.windows(2).all(|two| two[0] != two[1]), "an item has begun twice in one round");
}
