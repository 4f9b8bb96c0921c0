//! Aborting what no worker has begun: what runs goes on, what is told to be aborted never ran, and nobody is killed.

use crate::recalls::{careless, in_doubt};
use hirelings::{Begun, JobError, JobHandle, RetryPolicy};
use hirelings_tests::{Do, Gate, Scratch, begun, eventually, pool, settled};
use std::collections::BTreeSet;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// A delay or a wait that no test waits for.
const LONG: Duration = Duration::from_secs(3600);

fn is_aborted(handle: JobHandle<Do>) -> bool {
    matches!(handle.try_wait(), Ok(Err(JobError::Aborted)))
}

#[test]
fn a_queued_job_never_runs_and_a_running_one_goes_on() {
    let pool = pool().max_processes(1).build().unwrap();
    let log = Scratch::new();
    let mut gate = Gate::new();
    let running = begun(pool.request(Do::Wait(gate.path())));
    let queued = pool.enqueue(Do::Append(log.path(), "queued".into()));
    assert!(queued.abort_if_queued());
    assert!(queued.is_finished() && queued.begun() == Begun::No);
    assert!(!queued.abort_handle().abort_if_queued(), "it is over");
    assert!(!running.abort_if_queued() && !running.abort_handle().abort_if_queued());
    gate.open();
    settled(running).unwrap();
    assert!(is_aborted(queued));
    assert!(log.lines().is_empty());
    let stats = pool.stats();
    assert_eq!((stats.aborted, stats.succeeded, stats.spawned), (1, 1, 1));
}

#[test]
fn what_waits_for_its_time_or_a_retry_is_queued() {
    let pool = pool().max_processes(1).retry(RetryPolicy::new(1).backoff(LONG, LONG)).build().unwrap();
    let delayed = pool.request(Do::Pid).delay(LONG).enqueue();
    assert!(delayed.abort_if_queued());
    let (failed, has_failed) = mpsc::channel();
    let retried = pool.request(Do::Fail("no".into())).on_retry(move |_| failed.send(()).unwrap()).enqueue();
    has_failed.recv().unwrap();
    assert_eq!(pool.abort_queued(), 1);
    assert_eq!(retried.begun(), Begun::Yes, "the attempt before");
    assert!(is_aborted(delayed) && is_aborted(retried));
}

#[test]
fn all_that_are_told_to_be_aborted_never_ran() {
    let pool = pool().max_processes(2).max_jobs_per_process(1_000_000).prefetch(None).build().unwrap();
    let log = Scratch::new();
    let append = |n: u32| pool.enqueue(Do::Append(log.path(), n.to_string()));
    let mut all = BTreeSet::new();
    for round in 0..10 {
        let handles: Vec<_> = (0..1_000).map(|n| (round * 1_000 + n, append(round * 1_000 + n))).collect();
        // Some are done, and others lie at workers.
        eventually("some are done", || handles[300 + 7 * round as usize].1.is_finished());
        let singly = handles[999].1.abort_if_queued();
        let aborted = pool.abort_queued() + usize::from(singly);
        pool.wait_idle();
        let (over, done): (Vec<_>, Vec<_>) = handles.into_iter().partition(|(_, handle)| handle.begun() == Begun::No);
        assert_eq!(over.len(), aborted);
        all.extend(over.into_iter().map(|(n, handle)| is_aborted(handle).then_some(n).unwrap().to_string()));
        done.into_iter().for_each(|(_, handle)| drop(settled(handle).unwrap()));
    }
    let ran: BTreeSet<String> = log.lines().into_iter().collect();
    assert_eq!(ran.intersection(&all).next(), None);
    assert_eq!((ran.len() + all.len(), pool.stats().exited), (10_000, 0), "nobody was killed");
}

#[test]
fn one_call_of_two_has_aborted_it() {
    let pool = pool().max_processes(1).prefetch(None).build().unwrap();
    let mut gate = Gate::new();
    let running = begun(pool.request(Do::Wait(gate.path())));
    let handles: Vec<_> = (0..100).map(|_| pool.enqueue(Do::Pid)).collect();
    let both = thread::scope(|scope| {
        let threads = [(); 2].map(|()| scope.spawn(|| handles.iter().filter(|of| of.abort_if_queued()).count()));
        threads.map(|thread| thread.join().unwrap())
    });
    assert_eq!(both[0] + both[1], 100, "{both:?}");
    gate.open();
    settled(running).unwrap();
}

#[test]
fn a_worker_that_says_nothing_is_waited_for_a_second() {
    let (pool, handle) = in_doubt(careless, &Do::Echo("lingers".into()), None);
    let begin = Instant::now();
    assert!(!handle.abort_if_queued());
    let took = begin.elapsed();
    assert!(took >= Duration::from_secs(1), "{took:?}");
    assert!(!handle.is_finished() && pool.abort_queued() == 0, "it goes on");
    assert_eq!((pool.stats().spawned, pool.stats().exited), (1, 0));
    pool.exit();
    assert!(!handle.abort_if_queued());
    assert_eq!(pool.abort_queued(), 0);
    assert!(matches!(settled(handle), Err(JobError::Closed)));
}

#[test]
fn a_job_that_was_begun_after_all_goes_on() {
    let (pool, handle) = in_doubt(careless, &Do::Echo("takes 300 ms".into()), None);
    assert!(!handle.abort_if_queued());
    settled(handle).unwrap();
    assert_eq!(pool.stats().spawned, 1);
}

#[test]
fn callers_that_wait_for_room_get_aborted_jobs() {
    let pool = pool().max_processes(1).max_backlog(1).build().unwrap();
    let mut gate = Gate::new();
    let running = begun(pool.request(Do::Wait(gate.path())));
    thread::scope(|scope| {
        let callers = [(); 3].map(|()| scope.spawn(|| pool.enqueue(Do::Pid)));
        let mut aborted = 0;
        // One is in the backlog, and the others wait.
        eventually("all three are aborted", || {
            aborted += pool.abort_queued();
            aborted == 3
        });
        assert!(callers.into_iter().all(|caller| is_aborted(caller.join().unwrap())));
    });
    gate.open();
    settled(running).unwrap();
}

#[test]
fn a_pool_that_is_paused_or_closing_does_the_same() {
    let pool = pool().max_processes(1).build().unwrap();
    let mut gate = Gate::new();
    let running = begun(pool.request(Do::Wait(gate.path())));
    pool.pause();
    let [first, second, third] = [(); 3].map(|()| pool.enqueue(Do::Pid));
    assert!(first.abort_if_queued());
    assert_eq!(pool.abort_queued(), 2);
    let last = pool.request(Do::Pid).delay(LONG).enqueue();
    thread::scope(|scope| {
        let draining = scope.spawn(|| pool.drain(Duration::MAX));
        eventually("it is being drained", || !pool.is_paused());
        assert_eq!(pool.abort_queued(), 1, "it is waited for no more");
        gate.open();
        assert_eq!(draining.join().unwrap().left, 0);
    });
    assert!([first, second, third, last].into_iter().all(is_aborted));
    settled(running).unwrap();
}

#[test]
fn a_hook_may_abort_what_is_queued() {
    let pool = std::sync::Arc::new(pool().max_processes(1).build().unwrap());
    let mut gate = Gate::new();
    let (told, count) = mpsc::channel();
    let running = begun(pool.request(Do::Wait(gate.path())));
    let queued = [(); 3].map(|()| pool.enqueue(Do::Pid));
    let others = std::sync::Arc::clone(&pool);
    running.on_success(move |_| told.send(others.abort_queued()).unwrap());
    gate.open();
    settled(running).unwrap();
    let aborted = count.recv().unwrap();
    let never_ran = queued.into_iter().filter(|handle| handle.begun() == Begun::No && handle.is_finished()).count();
    assert_eq!(never_ran, aborted);
}
