//! Many jobs as an iterator: lazy, bounded, and gone with the iterator.

use hirelings::{Event, EventKind, JobError, Pool};
use hirelings_tests::{Do, Gate, Record, Scratch, WATCHDOG, begun, pool};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

fn echoes(count: usize) -> impl Iterator<Item = Do> {
    (0..count).map(|n| Do::Echo(n.to_string()))
}

#[test]
fn results_come_in_the_order_of_the_jobs() {
    let pool = pool().max_processes(3).max_jobs_per_process(10).build().unwrap();
    let outputs: Vec<_> = pool.map(echoes(200)).map(Result::unwrap).collect();
    assert_eq!(outputs, (0..200).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn unordered_results_come_once_with_their_position() {
    let pool = pool().max_processes(3).build().unwrap();
    let results: Vec<_> = pool.map_unordered(echoes(200)).collect();
    assert!(results.iter().all(|(position, output)| output.as_ref().unwrap() == &position.to_string()));
    let positions: BTreeSet<_> = results.iter().map(|(position, _)| *position).collect();
    assert_eq!(positions, (0..200).collect());
}

#[test]
fn unordered_results_come_as_they_are_done() {
    let pool = pool().max_processes(2).build().unwrap();
    let mut gate = Gate::new();
    let jobs = [Do::Wait(gate.path()), Do::Echo("1".into()), Do::Echo("2".into())];
    let mut results = pool.map_unordered(jobs);
    let first: Vec<_> = results.by_ref().take(2).map(|(position, _)| position).collect();
    assert_eq!(first, [1, 2]);
    gate.open();
    assert!(matches!(results.next(), Some((0, Ok(_)))));
    assert!(results.next().is_none());
}

#[test]
fn no_jobs_give_no_results() {
    let pool = pool().max_processes(1).build().unwrap();
    assert!(pool.map([]).next().is_none());
    assert!(pool.map_unordered([]).next().is_none());
    assert_eq!(pool.stats().enqueued, 0);
}

#[test]
fn a_failed_job_gives_its_error_in_its_place() {
    let pool = pool().max_processes(2).build().unwrap();
    let bad = [Do::Echo("0".into()), Do::Fail("no".into()), Do::Exit(1), Do::Panic("oh".into()), Do::Echo("4".into())];
    let results: Vec<_> = pool.map(bad.clone()).collect();
    assert!(matches!(&results[1], Err(JobError::Failed(why)) if why == "no"));
    assert!(matches!(&results[2], Err(JobError::Crashed(_))));
    assert!(matches!(&results[3], Err(JobError::Panicked(_))));
    assert_eq!((results[0].as_ref().unwrap(), results[4].as_ref().unwrap()), (&"0".to_owned(), &"4".to_owned()));
    let mut failed: Vec<_> =
        pool.map_unordered(bad).filter_map(|(position, result)| result.err().map(|_| position)).collect();
    failed.sort_unstable();
    assert_eq!(failed, [1, 2, 3]);
}

#[test]
fn a_job_over_its_limit_gives_its_error_in_its_place() {
    let pool = pool().max_processes(2).timeout_working(Duration::from_secs(3)).build().unwrap();
    let gate = Gate::new();
    let jobs = [Do::Echo("0".into()), Do::Echo("1".into()), Do::Wait(gate.path()), Do::Echo("3".into())];
    let mut results = pool.map(jobs);
    assert_eq!((results.next().unwrap().unwrap(), results.next().unwrap().unwrap()), ("0".into(), "1".into()));
    assert!(matches!(results.next(), Some(Err(JobError::TimedOut(_)))));
    assert_eq!(results.next().unwrap().unwrap(), "3");
    assert!(results.next().is_none());
}

#[test]
fn a_look_ahead_of_nothing_is_one() {
    let pool = pool().max_processes(2).build().unwrap();
    let pulled = Cell::new(0);
    let jobs = || echoes(5).inspect(|_| pulled.set(pulled.get() + 1));
    for (taken, result) in pool.map(jobs()).look_ahead(0).enumerate() {
        assert_eq!((result.unwrap(), pulled.get()), (taken.to_string(), taken + 1));
    }
    assert_eq!(pool.map_unordered(jobs()).look_ahead(0).count(), 5);
}

#[test]
fn nothing_is_pulled_before_the_first_result_is_asked() {
    let pool = pool().max_processes(1).build().unwrap();
    drop(pool.map(echoes(10).inspect(|_| panic!("it was pulled"))));
    drop(pool.map_unordered(echoes(10).inspect(|_| panic!("it was pulled"))));
}

#[test]
fn jobs_are_pulled_at_most_a_bounded_look_ahead() {
    let pool = pool().max_processes(2).build().unwrap();
    let pulled = Cell::new(0);
    let jobs = || (0..).map(|n: u32| Do::Echo(n.to_string())).inspect(|_| pulled.set(pulled.get() + 1));
    let mut taken = 0;
    for _ in pool.map(jobs()).take(50) {
        taken += 1;
        // Twice what two workers can hold, and one more for each four.
        assert!(pulled.get() <= taken + taken / 4 + 4, "{} pulled, {taken} taken", pulled.get());
    }
    (taken, _) = (0, pulled.set(0));
    for _ in pool.map_unordered(jobs()).take(50) {
        taken += 1;
        assert!(pulled.get() <= taken + taken / 4 + 4, "{} pulled, {taken} taken", pulled.get());
    }
    pulled.set(0);
    for (taken, _) in pool.map(jobs()).look_ahead(1).take(10).enumerate() {
        assert_eq!(pulled.get(), taken + 1);
    }
    pulled.set(0);
    let _ = pool.map(jobs()).look_ahead(20).next();
    assert_eq!(pulled.get(), 20);
}

#[test]
fn the_look_ahead_keeps_all_workers_busy() {
    let pool = pool().max_processes(3).build().unwrap();
    pool.wait_ready(WATCHDOG).unwrap();
    let mut gate = Gate::new();
    let path = gate.path();
    let jobs = (0..3).map(move |_| Do::Wait(path.clone()));
    let mut events = pool.events();
    std::thread::scope(|scope| {
        let results = scope.spawn(|| pool.map(jobs).filter(Result::is_ok).count());
        let waiting = events.by_ref().filter(|event| event.kind() == EventKind::JobProgress).take(3);
        assert_eq!(waiting.count(), 3, "all three run at once");
        gate.open();
        assert_eq!(results.join().unwrap(), 3);
    });
}

fn aborts_what_it_enqueued(run: impl FnOnce(&Pool<Do>, Vec<Do>)) {
    let (builder, mut record) = Record::of(pool().max_processes(1).kill_grace(Duration::ZERO));
    let pool = builder.build().unwrap();
    let (log, gate) = (Scratch::new(), Gate::new());
    let append = |line: &str| Do::Append(log.path(), line.into());
    let stuck = Do::Then(vec![append("begun"), Do::Wait(gate.path())]);
    run(&pool, vec![append("first"), stuck, append("never")]);
    pool.wait_idle();
    assert!(log.lines().len() <= 2 && !log.lines().contains(&"never".to_owned()), "{:?}", log.lines());
    let stats = pool.stats();
    assert_eq!((stats.enqueued, stats.succeeded, stats.aborted, stats.failed), (3, 1, 2, 0));
    pool.exit();
    let mut of_kind =
        |kind| record.all().iter().filter(|event| event.kind() == kind).map(Event::job).collect::<Vec<_>>();
    let enqueued = of_kind(EventKind::Enqueue);
    // The last first: a worker that comes free meanwhile begins none.
    assert_eq!(of_kind(EventKind::JobAbort), [enqueued[2], enqueued[1]]);
}

#[test]
fn dropping_it_aborts_what_it_enqueued() {
    aborts_what_it_enqueued(|pool, jobs| {
        let mut results = pool.map(jobs).look_ahead(3);
        results.next().unwrap().unwrap();
    });
    aborts_what_it_enqueued(|pool, jobs| {
        let mut results = pool.map_unordered(jobs).look_ahead(3);
        results.next().unwrap().1.unwrap();
    });
}

#[test]
fn dropping_it_leaves_the_jobs_of_others_alone() {
    let pool = pool().max_processes(2).build().unwrap();
    let mut gate = Gate::new();
    let other = begun(pool.request(Do::Wait(gate.path())));
    let queued = {
        let mut results = pool.map(echoes(100));
        results.next().unwrap().unwrap();
        pool.enqueue(Do::Pid)
    };
    gate.open();
    hirelings_tests::settled(other).unwrap();
    hirelings_tests::settled(queued).unwrap();
}

#[test]
fn a_source_that_panics_takes_its_own_jobs_only() {
    let pool = pool().max_processes(1).build().unwrap();
    let source = || echoes(10).inspect(|job| assert!(!matches!(job, Do::Echo(text) if text == "5"), "half-way"));
    for unordered in [false, true] {
        let taken = Cell::new(0);
        let panic = catch_unwind(AssertUnwindSafe(|| {
            if unordered {
                pool.map_unordered(source()).for_each(|_| taken.set(taken.get() + 1));
            } else {
                pool.map(source()).for_each(|_| taken.set(taken.get() + 1));
            }
        }));
        assert!(panic.is_err());
        assert!(taken.get() >= 3);
        pool.wait_idle();
    }
    let stats = pool.stats();
    assert_eq!((stats.enqueued, stats.backlog), (10, 0));
    assert!(pool.map(echoes(5)).all(|result| result.is_ok()));
}

#[test]
fn it_ends_after_the_first_closed() {
    for unordered in [false, true] {
        let pool = pool().max_processes(1).build().unwrap();
        let endless = (0..).map(|n: u32| Do::Echo(n.to_string()));
        let mut closed = 0;
        let mut note = |n: usize, result: &Result<String, JobError<String>>| {
            if n == 5 {
                pool.exit();
            }
            closed += usize::from(matches!(result, Err(JobError::Closed)));
        };
        if unordered {
            pool.map_unordered(endless).enumerate().for_each(|(n, (_, result))| note(n, &result));
        } else {
            pool.map(endless).enumerate().for_each(|(n, result)| note(n, &result));
        }
        assert_eq!(closed, 1);
    }
}

#[test]
fn it_ends_at_once_on_a_closed_pool_and_says_so() {
    let pool = pool().max_processes(1).build().unwrap();
    pool.exit();
    let results: Vec<_> = pool.map(echoes(10)).collect();
    assert!(matches!(results[..], [Err(JobError::Closed)]));
    let results: Vec<_> = pool.map_unordered(echoes(10)).collect();
    assert!(matches!(results[..], [(_, Err(JobError::Closed))]));
}

#[test]
fn it_may_wait_for_room_in_the_backlog() {
    let pool = pool().max_processes(1).max_backlog(1).build().unwrap();
    assert_eq!(pool.map(echoes(50)).look_ahead(10).filter(Result::is_ok).count(), 50);
    assert_eq!(pool.map_unordered(echoes(50)).look_ahead(10).filter(|(_, result)| result.is_ok()).count(), 50);
}

#[test]
fn two_of_them_share_a_pool() {
    let pool = pool().max_processes(2).build().unwrap();
    let pairs = pool.map(echoes(50)).zip(pool.map(echoes(50)));
    assert!(pairs.map(|(a, b)| (a.unwrap(), b.unwrap())).all(|(a, b)| a == b));
}
