//! Workers that do not answer when jobs are recalled, or begin one that was: nothing is held up for long, and no limit and
//! no abort is lost.

use hirelings::{Begun, JobError, JobHandle, JobStatus, Pool, PoolBuilder, Stderr};
use hirelings_tests::signals::Target;
use hirelings_tests::{Do, WATCHDOG, eventually, processes, program, settled, worker};
use rustix::process::Signal;
use std::process::Command;
use std::time::{Duration, Instant};

/// A worker is ended ten seconds after a recall that it has not answered; the rest is for a busy machine.
const PATIENCE: Duration = Duration::from_secs(15);

fn echo(text: &str) -> Do {
    Do::Echo(text.into())
}

/// Workers that have said that they answer recalls, and read nothing while they work; and never say Start.
pub(crate) fn careless() -> PoolBuilder<Do> {
    let mut liar = Command::new(program("liar"));
    liar.arg("answers no recall");
    prefetching(liar)
}

fn prefetching(worker: Command) -> PoolBuilder<Do> {
    let pool = Pool::<Do>::builder(worker).stderr(Stderr::Null).timeout_working(None);
    pool.max_jobs_per_process(1_000_000).prefetch(None)
}

/// Has the workers do enough short jobs for others to be prefetched.
fn warm_up(pool: &Pool<Do>) {
    let handles: Vec<_> = (0..400).map(|_| pool.enqueue(echo("x"))).collect();
    handles.into_iter().for_each(|handle| drop(settled(handle).unwrap()));
}

/// All have been done in time but one, whose worker has not answered.
fn all_but_one(jobs: Vec<JobHandle<Do>>, since: Instant) {
    let mut failed = Vec::new();
    for job in jobs {
        failed.extend(settled(job).err());
    }
    let took = since.elapsed();
    assert!(took < PATIENCE, "{took:?}");
    let [JobError::Protocol(error)] = &failed[..] else { panic!("{failed:?}") };
    assert!(error.to_string().contains("did not answer"), "{error}");
}

#[test]
fn a_stopped_worker_holds_nobody_up() {
    let pool = prefetching(worker()).max_processes(2).build().unwrap();
    let pid = loop {
        warm_up(&pool);
        let pid = pool.workers()[0].pid;
        let mut jobs: Vec<_> = (0..4_000).map(|n| pool.enqueue(echo(&n.to_string()))).collect();
        settled(jobs.remove(500)).unwrap();
        let stopped = Instant::now();
        assert!(Target::of(pid).unwrap().send(Signal::STOP));
        // On a busy machine jobs take longer, and it may hold none, or one with nothing behind it: that one may take as long
        // as it wants to.
        let left = || jobs.iter().filter(|job| !job.is_finished()).count();
        let holds_nobody_up = || left() <= 1 && pool.stats().failed == 0;
        eventually("what it holds is all that is left, or it is ended", || {
            holds_nobody_up() || pool.stats().failed > 0
        });
        if pool.stats().failed > 0 {
            all_but_one(jobs, stopped);
            break pid;
        }
        assert!(Target::of(pid).unwrap().send(Signal::CONT));
        jobs.into_iter().for_each(|job| drop(settled(job).unwrap()));
    };
    eventually("it is ended", || !processes::is_alive(pid));
    settled(pool.enqueue(echo("x"))).unwrap();
}

#[test]
fn a_worker_that_answers_no_recall_holds_nobody_up() {
    let pool = loop {
        let pool = careless().max_processes(2).build().unwrap();
        warm_up(&pool);
        let start = Instant::now();
        let mut jobs: Vec<_> = (0..500).map(|_| pool.enqueue(echo("x"))).collect();
        let lingers = pool.enqueue(echo("lingers"));
        jobs.extend((0..500).map(|_| pool.enqueue(echo("x"))));
        let left = || jobs.iter().filter(|job| !job.is_finished()).count();
        eventually("nobody is held up", || left() == 0);
        // On a busy machine jobs take longer, and nothing may have been prefetched behind it: then it may take as long as it wants
        // to, and another pool is tried.
        if pool.stats().failed > 0 {
            jobs.push(lingers);
            all_but_one(jobs, start);
            break pool;
        }
    };
    settled(pool.enqueue(echo("x"))).unwrap();
}

/// A job whose recall came too late: its worker, the only one of its pool, has begun it and says nothing.
///
/// On a busy machine a job takes longer, and is sent only once the worker is free: then another pool is tried.
pub(crate) fn in_doubt(
    pool: impl Fn() -> PoolBuilder<Do>,
    job: &Do,
    limit: Option<Duration>,
) -> (Pool<Do>, JobHandle<Do>) {
    let end = Instant::now() + WATCHDOG;
    loop {
        let pool = pool().max_processes(1).build().unwrap();
        warm_up(&pool);
        let mut before: Vec<_> = (0..100).map(|_| pool.enqueue(echo("x"))).collect();
        // Long enough for what lies behind it to be recalled.
        before.push(pool.enqueue(echo("takes 20 ms")));
        let handle = pool.request(job.clone()).timeout(limit).enqueue();
        before.into_iter().for_each(|handle| drop(settled(handle).unwrap()));
        // It was recalled, and the worker has not spoken of it.
        if handle.status() == JobStatus::Queued {
            return (pool, handle);
        }
        assert!(Instant::now() < end, "no job came to be in doubt");
    }
}

#[test]
fn in_doubt_a_jobs_own_limit_holds() {
    let limit = Duration::from_millis(100);
    let (pool, handle) = in_doubt(careless, &echo("lingers"), Some(limit));
    let begin = Instant::now();
    let error = settled(handle).unwrap_err();
    let took = begin.elapsed();
    assert!(took < PATIENCE, "{took:?}");
    let JobError::TimedOut(timeout) = &error else { panic!("{error}") };
    assert_eq!((timeout.limit, error.begun()), (limit, Begun::Perhaps));
    settled(pool.enqueue(echo("x"))).unwrap();
}

#[test]
fn in_doubt_a_job_is_not_ended_by_the_pools_limit() {
    let builder = || careless().timeout_working(Duration::from_secs(2));
    let (pool, handle) = in_doubt(builder, &echo("takes 2500 ms"), None);
    settled(handle).unwrap();
    let stats = pool.stats();
    assert_eq!((stats.timed_out, stats.spawned, stats.retried), (0, 1, 0));
}

#[test]
fn in_doubt_an_abort_ends_the_worker() {
    let (pool, handle) = in_doubt(careless, &echo("lingers"), None);
    let pid = || pool.workers()[0].pid;
    let lingering = pid();
    handle.abort();
    assert!(pool.wait_idle_timeout(WATCHDOG));
    assert!(!processes::is_alive(lingering), "its handler may run");
    assert_eq!(handle.begun(), Begun::Perhaps);
    assert!(matches!(settled(handle), Err(JobError::Aborted)));
    settled(pool.enqueue(echo("x"))).unwrap();
    assert_ne!(pid(), lingering);
}
