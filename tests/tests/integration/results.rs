//! Results in other ways than `wait`: as futures, as they come, and with labels and settings of each.

use hirelings::{JobError, JobFuture, JobHandle, JobReport, RetryPolicy, as_completed};
use hirelings_tests::{Do, Gate, WATCHDOG, begun, pool, settled};
use serde::{Deserialize, Serialize};
use std::future::{Future, IntoFuture};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

/// Wakes a thread that is parked, and counts.
struct Unpark(Thread, AtomicUsize);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.unpark();
    }
}

/// The smallest executor.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Arc::new(Unpark(thread::current(), AtomicUsize::new(0))).into();
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park();
    }
}

fn poll<J: hirelings::Job>(future: &mut JobFuture<J>, waker: &Waker) -> Poll<hirelings::JobResult<J>> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

#[test]
fn a_handle_can_be_awaited() {
    let pool = pool().max_processes(2).build().unwrap();
    let sum = block_on(async {
        let (one, other) = (pool.enqueue(Do::Echo("a".into())), pool.enqueue(Do::Echo("b".into())));
        Ok::<_, JobError<String>>(one.await? + &other.await?)
    });
    assert_eq!(sum.unwrap(), "ab");
    let failed = block_on(pool.enqueue(Do::Fail("no".into())).into_future());
    assert!(matches!(failed, Err(JobError::Failed(why)) if why == "no"));
    pool.exit();
    assert!(matches!(block_on(pool.enqueue(Do::Pid).into_future()), Err(JobError::Closed)));
}

#[test]
fn the_last_waker_is_woken_and_once() {
    let pool = pool().max_processes(1).build().unwrap();
    let mut gate = Gate::new();
    let mut future = begun(pool.request(Do::Wait(gate.path()))).into_future();
    let wakers = [(); 2].map(|()| Arc::new(Unpark(thread::current(), AtomicUsize::new(0))));
    for waker in &wakers {
        assert!(poll(&mut future, &Arc::clone(waker).into()).is_pending());
    }
    gate.open();
    while wakers[1].1.load(Ordering::SeqCst) == 0 {
        thread::park_timeout(WATCHDOG);
    }
    assert!(poll(&mut future, &Arc::clone(&wakers[1]).into()).is_ready());
    assert_eq!(wakers.map(|waker| waker.1.load(Ordering::SeqCst)), [0, 1]);
}

#[test]
fn the_end_of_the_pool_wakes_who_awaits() {
    let pool = pool().max_processes(1).build().unwrap();
    let gate = Gate::new();
    let running = begun(pool.request(Do::Wait(gate.path())));
    let queued = pool.enqueue(Do::Pid);
    let (ended, end) = mpsc::channel();
    let awaiting = thread::spawn(move || {
        let results = block_on(async { [running.await, queued.await] });
        ended.send(results.map(|result| result.is_err())).unwrap();
    });
    pool.exit();
    assert_eq!(end.recv_timeout(WATCHDOG), Ok([true, true]));
    awaiting.join().unwrap();
}

/// A waker that calls the pool, waits for it and panics: nobody else suffers.
struct Meddler(mpsc::Sender<String>, Arc<hirelings::Pool<Do>>);

impl Wake for Meddler {
    fn wake(self: Arc<Self>) {
        let echo = self.1.enqueue(Do::Echo("from the waker".into())).wait().unwrap();
        self.0.send(echo).unwrap();
        panic!("a waker that panics");
    }
}

#[test]
fn a_waker_may_wait_for_the_pool_and_panic() {
    let pool = Arc::new(pool().max_processes(1).build().unwrap());
    let mut gate = Gate::new();
    let mut future = begun(pool.request(Do::Wait(gate.path()))).into_future();
    let (sender, echoes) = mpsc::channel();
    assert!(poll(&mut future, &Arc::new(Meddler(sender, Arc::clone(&pool))).into()).is_pending());
    gate.open();
    assert_eq!(echoes.recv_timeout(WATCHDOG).unwrap(), "from the waker");
    assert_eq!(settled(pool.enqueue(Do::Echo("still there".into()))).unwrap(), "still there");
    assert!(poll(&mut future, Waker::noop()).is_ready());
}

#[test]
fn a_hook_may_await_a_job() {
    let pool = Arc::new(pool().max_processes(2).build().unwrap());
    let (sender, results) = mpsc::channel();
    let inner = Arc::clone(&pool);
    let request = pool.request(Do::Pid).on_success(move |_| {
        sender.send(block_on(inner.enqueue(Do::Echo("inner".into())).into_future())).unwrap();
    });
    request.enqueue();
    assert_eq!(results.recv_timeout(WATCHDOG).unwrap().unwrap(), "inner");
}

#[test]
fn a_future_that_is_dropped_leaves_its_job_alone() {
    let pool = pool().max_processes(1).build().unwrap();
    let mut gate = Gate::new();
    let mut future = begun(pool.request(Do::Wait(gate.path()))).into_future();
    assert!(poll(&mut future, Waker::noop()).is_pending());
    drop(future);
    gate.open();
    pool.wait_idle();
    assert_eq!(pool.stats().succeeded, 1);
    let handle = pool.enqueue(Do::Pid).into_future().into_handle();
    assert!(settled(handle).is_ok());
}

#[test]
fn results_of_any_handles_come_as_they_are_done() {
    let (one, other) = (pool().max_processes(2).build().unwrap(), pool().max_processes(1).build().unwrap());
    let mut gate = Gate::new();
    let waits = begun(one.request(Do::Wait(gate.path())));
    let echoes = [one.enqueue(Do::Echo("1".into())), other.enqueue(Do::Echo("2".into()))];
    let mut results = as_completed([waits].into_iter().chain(echoes));
    assert_eq!(results.len(), 3);
    let mut first: Vec<_> = results.by_ref().take(2).map(|(at, result)| (at, result.unwrap())).collect();
    first.sort();
    assert_eq!(first, [(1, "1".to_owned()), (2, "2".to_owned())]);
    assert_eq!((results.len(), results.pending().count()), (1, 1));
    gate.open();
    assert!(matches!(results.next(), Some((0, Ok(_)))));
    assert!(results.next().is_none());
}

#[test]
fn results_that_are_not_wanted_can_be_aborted() {
    let pool = pool().max_processes(1).build().unwrap();
    let gate = Gate::new();
    let waits = begun(pool.request(Do::Wait(gate.path())));
    let mut results = as_completed([waits, pool.enqueue(Do::Pid), pool.enqueue(Do::Pid)]);
    results.pending().for_each(JobHandle::abort);
    assert!(results.all(|(_, result)| matches!(result, Err(JobError::Aborted))));
    let mut settled = as_completed([pool.enqueue(Do::Echo("late".into()))]);
    assert_eq!(settled.next().unwrap().1.unwrap(), "late");
}

#[test]
fn the_first_error_ends_a_sum_of_results() {
    let pool = pool().max_processes(2).build().unwrap();
    let handles = [Do::Echo("1".into()), Do::Fail("no".into())].map(|job| pool.enqueue(job));
    let all: Result<Vec<_>, _> = as_completed(handles).map(|(_, result)| result).collect();
    assert!(matches!(all, Err(JobError::Failed(_))));
}

/// A job that names itself.
#[derive(Serialize, Deserialize)]
struct Page(u32);

impl hirelings::Job for Page {
    type Output = String;
    type Progress = ();
    type Error = String;
    fn name() -> &'static str {
        <Do as hirelings::Job>::name()
    }
    fn label(&self) -> Option<String> {
        (self.0 > 0).then(|| format!("page {}", self.0))
    }
}

#[test]
fn a_job_has_its_own_label_unless_the_request_has_one() {
    let pool =
        hirelings::Pool::<Page>::builder(std::process::Command::new("/bin/false")).max_processes(1).build().unwrap();
    let labels = [pool.enqueue(Page(7)), pool.request(Page(7)).label("cover").enqueue(), pool.enqueue(Page(0))];
    let names = labels.map(|handle| handle.to_string());
    assert!(names[0].ends_with(" (page 7)") && names[1].ends_with(" (cover)") && !names[2].contains('('), "{names:?}");
}

#[test]
fn each_job_of_a_map_has_settings_of_its_own() {
    let pool = pool().max_processes(1).build().unwrap();
    let jobs = || [Do::Numbers, Do::FailUntil(3), Do::FailUntil(2)];
    let with = |pool| {
        let map: hirelings::Map<'_, Do, _> = hirelings::Pool::map(pool, jobs());
        let labelled = map.with(|request| {
            let label = format!("{:?}", request.job());
            request.label(label)
        });
        labelled.with(|request| request.retries(1))
    };
    let results: Vec<_> = with(&pool).collect();
    assert!(matches!(&results[1], Err(JobError::Failed(why)) if why == "attempt 2"), "{results:?}");
    assert!(results[0].is_ok() && results[2].is_ok());

    let (sender, labels) = mpsc::channel();
    let mut unordered = pool.map_unordered(jobs()).with(move |request| {
        let sender = sender.clone();
        request.retries(2).on_done(move |result| sender.send(result.is_ok()).unwrap())
    });
    assert!(unordered.all(|(_, result)| result.is_ok()));
    assert_eq!(labels.iter().take(3).collect::<Vec<_>>(), [true; 3]);
}

#[test]
fn a_report_says_what_the_job_took() {
    let pool = pool().max_processes(1).build().unwrap();
    let mut gate = Gate::new();
    let running = begun(pool.request(Do::Wait(gate.path())));
    let queued = pool.enqueue(Do::Pid);
    let unwanted = pool.enqueue(Do::Pid);
    assert!(unwanted.abort_if_queued());
    let (waited, has_waited) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || waited.send(running.wait_with_report()).unwrap());
        gate.open();
        let (result, report) = has_waited.recv_timeout(WATCHDOG).unwrap();
        assert_eq!(report.pid.map(|pid| pid.to_string()), result.ok());
        assert_eq!((report.attempts, report.worker), (1, Some(pool.workers()[0].id)));
        assert!(report.running > Duration::ZERO);
        let (result, after) = queued.wait_with_report();
        assert_eq!((after.attempts, after.pid), (1, report.pid));
        assert_eq!(after.pid.map(|pid| pid.to_string()), result.ok());
        assert!(after.queued > Duration::ZERO);
    });
    let (result, report) = unwanted.wait_with_report();
    assert!(matches!(result, Err(JobError::Aborted)));
    assert_eq!((report.attempts, report.running, report.worker, report.pid), (0, Duration::ZERO, None, None));
    pool.exit();
    assert_eq!(pool.enqueue(Do::Pid).wait_with_report().1, JobReport::default(), "it never came into the pool");
}

#[test]
fn a_report_counts_all_attempts() {
    let wait = Duration::from_millis(20);
    let policy = RetryPolicy::new(2).backoff(wait, wait);
    let pool = pool().max_processes(1).retry(policy).build().unwrap();
    let failed = pool.enqueue(Do::Fail("no".into()));
    let crashed = pool.enqueue(Do::Then(vec![Do::ExitUntil(3), Do::Pid]));
    let (result, report) = failed.wait_with_report();
    assert!(matches!(result, Err(JobError::Failed(_))));
    assert_eq!(report.attempts, 3);
    assert!(report.queued >= 2 * wait, "{report:?}");
    let (result, report) = crashed.wait_with_report();
    assert_eq!((report.attempts, report.pid.map(|pid| pid.to_string())), (3, result.ok()), "the last worker's");
}
