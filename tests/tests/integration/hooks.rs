//! Hooks are called in the order of events, on a thread of their own, and may do what they like.

use crossbeam_channel::{Receiver, bounded, unbounded};
use hirelings::{Event, EventKind, Job, JobError, JobRequest, Pool};
use hirelings_tests::{Do, Gate, Record, Told, WATCHDOG, begun, eventually, pool, settled};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Notes every hook of a request that is called.
fn with_all_hooks(request: JobRequest<'_, Do>) -> (JobRequest<'_, Do>, Receiver<String>) {
    let (told, calls) = unbounded();
    let [start, progress, retry, success, failure, abort, done] = [(); 7].map(|()| told.clone());
    let request = request
        .on_start(move || start.send("start".into()).unwrap())
        .on_progress(move |told| progress.send(format!("progress {told:?}")).unwrap())
        .on_retry(move |error| retry.send(format!("retry {error}")).unwrap())
        .on_success(move |output| success.send(format!("success {output}")).unwrap())
        .on_failure(move |error| failure.send(format!("failure {error}")).unwrap())
        .on_abort(move || abort.send("abort".into()).unwrap())
        .on_done(move |result| done.send(format!("done {}", result.is_ok())).unwrap());
    (request, calls)
}

fn count_one(calls: &AtomicUsize) {
    calls.fetch_add(1, Ordering::SeqCst);
}

#[test]
fn the_hooks_of_a_request_miss_nothing() {
    let pool = pool().max_processes(1).retries(1).build().unwrap();
    let job = Do::Then(vec![Do::Progress(1), Do::FailUntil(2), Do::Echo("out".into())]);
    let (request, calls) = with_all_hooks(pool.request(job));
    settled(request.enqueue()).unwrap();
    pool.exit();
    let calls: Vec<_> = calls.iter().collect();
    let expected =
        ["start", "progress Count(0)", "retry attempt 1", "start", "progress Count(0)", "success out", "done true"];
    assert_eq!(calls, expected);
}

#[test]
fn failures_and_aborts_call_their_hooks_and_on_done() {
    let pool = pool().max_processes(1).build().unwrap();
    let (request, failed) = with_all_hooks(pool.request(Do::Fail("no".into())));
    drop(settled(request.enqueue()));
    let gate = Gate::new();
    let holding = begun(pool.request(Do::Wait(gate.path())));
    let (request, aborted) = with_all_hooks(pool.request(Do::Pid));
    request.enqueue().abort();
    let (request, closed) = with_all_hooks(pool.request(Do::Pid));
    let waiting = request.enqueue();
    pool.exit();
    assert_eq!(failed.iter().collect::<Vec<_>>(), ["start", "failure no", "done false"]);
    assert_eq!(aborted.iter().collect::<Vec<_>>(), ["abort", "done false"]);
    let text = settled(waiting).unwrap_err().to_string();
    assert_eq!(closed.iter().collect::<Vec<_>>(), [format!("failure {text}"), "done false".into()]);
    drop(holding);
}

#[test]
fn the_hooks_of_a_handle_are_told_what_has_happened() {
    let pool = pool().max_processes(1).build().unwrap();
    let handle = pool.enqueue(Do::Echo("out".into()));
    eventually("it is done", || handle.is_finished());
    let (told, calls) = unbounded();
    let [start, success, failure, abort, done] = [(); 5].map(|()| told.clone());
    handle.on_start(move || start.send("start".to_owned()).unwrap());
    handle.on_success(move |output| success.send(output).unwrap());
    handle.on_failure(move |_| failure.send("failure".into()).unwrap());
    handle.on_abort(move || abort.send("abort".into()).unwrap());
    handle.on_done(move |result| done.send(format!("done {}", result.is_ok())).unwrap());
    drop(told);
    assert_eq!(calls.iter().collect::<Vec<_>>(), ["start", "out", "done true"]);
}

/// The supervisor has much to do at once here, and announces each job while it goes on with others.
#[test]
fn a_hook_on_a_job_seen_done_comes_after_its_others() {
    let (told, calls) = unbounded();
    let of_pool = told.clone();
    let pool = pool().max_processes(1).on_event(move |event| {
        if let (EventKind::Done, Some(job)) = (event.kind(), event.job()) {
            of_pool.send((job, "pool")).unwrap();
        }
    });
    let pool = pool.build().unwrap();
    for _ in 0..50 {
        let handles: Vec<_> = (0..100)
            .map(|_| {
                let (start, first) = (told.clone(), told.clone());
                let (id, known) = bounded(2);
                let also_known = known.clone();
                let request = pool.request(Do::Echo(String::new()));
                let request = request.on_start(move || start.send((known.recv().unwrap(), "start")).unwrap());
                let request = request.on_done(move |_| first.send((also_known.recv().unwrap(), "first")).unwrap());
                let handle = request.enqueue();
                id.send(handle.id()).unwrap();
                id.send(handle.id()).unwrap();
                handle
            })
            .collect();
        for handle in handles {
            while !handle.is_finished() {
                thread::yield_now();
            }
            let (id, done) = (handle.id(), told.clone());
            handle.on_done(move |_| done.send((id, "done")).unwrap());
        }
    }
    pool.exit();
    drop(told);
    let mut of: BTreeMap<_, Vec<_>> = BTreeMap::new();
    calls.iter().for_each(|(id, what)| of.entry(id).or_default().push(what));
    assert_eq!(of.len(), 5000);
    for (id, what) in of {
        assert_eq!(what, ["start", "pool", "first", "done"], "job {id}");
    }
}

#[test]
fn hooks_that_a_slow_one_holds_up_miss_nothing() {
    let pool = pool().max_processes(1).build().unwrap();
    let (told, calls) = unbounded();
    let ((holds, begun), (go_on, held)) = (bounded(1), bounded::<()>(0));
    pool.enqueue(Do::Pid).on_done(move |_| {
        holds.send(()).unwrap();
        let _ = held.recv();
    });
    begun.recv_timeout(WATCHDOG).unwrap();
    let [start, done] = [(); 2].map(|()| told.clone());
    let request = pool.request(Do::Progress(2)).on_start(move || start.send("start".to_owned()).unwrap());
    let handle = request.on_done(move |_| done.send("done".into()).unwrap()).enqueue();
    let [start, progress, last] = [(); 3].map(|()| told.clone());
    handle.on_progress(move |told| progress.send(format!("{told:?}")).unwrap());
    handle.on_start(move || start.send("also start".into()).unwrap());
    handle.on_done(move |_| last.send("also done".into()).unwrap());
    drop(told);
    eventually("it is done", || handle.is_finished());
    drop(go_on);
    let expected = ["start", "also start", "Count(0)", "Count(1)", "done", "also done"];
    assert_eq!(calls.iter().collect::<Vec<_>>(), expected);
}

/// A job whose encoding sends for a word, and then goes on for as long as there is a sender.
struct Gated(Receiver<()>);

impl Serialize for Gated {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let _ = (self.0.recv(), self.0.recv());
        serializer.serialize_unit()
    }
}

impl<'de> Deserialize<'de> for Gated {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <()>::deserialize(deserializer).map(|()| Gated(bounded(0).1))
    }
}

impl Job for Gated {
    type Output = ();
    type Progress = ();
    type Error = String;
}

#[test]
fn a_job_that_comes_too_late_calls_its_hooks() {
    let pool = Pool::<Gated>::builder(Command::new("true")).build().unwrap();
    let ((encode, gate), (told, calls)) = (bounded::<()>(0), unbounded());
    thread::scope(|scope| {
        let request = pool.request(Gated(gate)).on_done(move |result| told.send(result).unwrap());
        let enqueued = scope.spawn(|| request.enqueue());
        // Once it has been taken for one that the pool would do.
        encode.send(()).unwrap();
        pool.exit();
        drop(encode);
        assert!(matches!(settled(enqueued.join().unwrap()), Err(JobError::Closed)));
    });
    assert_eq!(calls.iter().filter(|result| matches!(result, Err(JobError::Closed))).count(), 1);
}

#[test]
fn hooks_of_a_handle_are_called_once_however_late() {
    let pool = pool().max_processes(2).build().unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let starts = Arc::new(AtomicUsize::new(0));
    let handles: Vec<_> = (0..300).map(|_| pool.enqueue(Do::Pid)).collect();
    for handle in &handles {
        let (calls, starts) = (Arc::clone(&calls), Arc::clone(&starts));
        handle.on_done(move |_| count_one(&calls));
        handle.on_start(move || count_one(&starts));
    }
    pool.drain(WATCHDOG);
    assert_eq!((calls.load(Ordering::SeqCst), starts.load(Ordering::SeqCst)), (300, 300));
    for handle in &handles {
        let calls = Arc::clone(&calls);
        handle.on_done(move |_| count_one(&calls));
    }
    assert_eq!(calls.load(Ordering::SeqCst), 600, "after the pool's end too");
}

#[test]
fn a_handle_hears_of_progress_and_retries_from_now_on() {
    let pool = pool().max_processes(1).retries(1).build().unwrap();
    let mut gate = Gate::new();
    let job = Do::Then(vec![Do::Progress(2), Do::Wait(gate.path()), Do::Progress(1), Do::FailUntil(2)]);
    let handle = begun(pool.request(job));
    let (told, calls) = unbounded();
    let [progress, retry] = [(); 2].map(|()| told.clone());
    handle.on_progress(move |told| progress.send(format!("{told:?}")).unwrap());
    handle.on_retry(move |error| retry.send(format!("retry {error}")).unwrap());
    // From here on the hook thread knows them.
    let (known, knows) = bounded(1);
    handle.on_start(move || known.try_send(()).unwrap_or_default());
    knows.recv_timeout(WATCHDOG).unwrap();
    gate.open();
    settled(handle).unwrap();
    pool.exit();
    drop(told);
    let expected = ["Count(0)", "retry attempt 1", "Count(0)", "Count(1)", "Waiting", "Count(0)"];
    assert_eq!(calls.iter().collect::<Vec<_>>(), expected);
}

#[test]
fn hooks_are_added_and_called_in_that_order() {
    let pool = pool().max_processes(1).build().unwrap();
    let (told, calls) = unbounded();
    let note = |what: &'static str| {
        let told = told.clone();
        move |_: &Event| told.send(what).unwrap()
    };
    pool.on(EventKind::JobSuccess, note("first"));
    pool.on_event({
        let note = note("second");
        move |event| {
            if event.kind() == EventKind::JobSuccess {
                note(event)
            }
        }
    });
    pool.on(EventKind::JobSuccess, note("third"));
    settled(pool.enqueue(Do::Pid)).unwrap();
    pool.exit();
    assert_eq!(calls.try_iter().collect::<Vec<_>>(), ["first", "second", "third"]);
}

#[test]
fn a_hook_that_is_removed_is_called_no_more() {
    let pool = pool().max_processes(1).build().unwrap();
    let (told, calls) = unbounded();
    let id = pool.on(EventKind::Done, move |_| told.send(()).unwrap());
    settled(pool.enqueue(Do::Pid)).unwrap();
    calls.recv_timeout(WATCHDOG).unwrap();
    assert!(pool.remove_hook(id));
    assert!(!pool.remove_hook(id));
    settled(pool.enqueue(Do::Pid)).unwrap();
    pool.exit();
    assert!(calls.recv().is_err(), "it was dropped, and not called again");
}

#[test]
fn a_hook_may_remove_itself() {
    let pool = Arc::new(pool().max_processes(1).build().unwrap());
    let calls = Arc::new(AtomicUsize::new(0));
    let id = Arc::new(Mutex::new(None));
    let (of_hook, count, own) = (Arc::clone(&pool), Arc::clone(&calls), Arc::clone(&id));
    *id.lock().unwrap() = Some(pool.on(EventKind::Done, move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        assert!(of_hook.remove_hook(own.lock().unwrap().unwrap()));
    }));
    (0..3).for_each(|_| drop(settled(pool.enqueue(Do::Pid))));
    pool.exit();
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[test]
fn a_hook_that_panics_stops_nothing() {
    let (builder, mut record) = Record::of(pool().max_processes(1).on_event(|_| panic!("a hook of the pool")));
    let pool = builder.build().unwrap();
    let (request, calls) = with_all_hooks(pool.request(Do::Progress(2)).on_start(|| panic!("a hook of the job")));
    let request = request.on_progress(|_| panic!("another")).on_done(|_| panic!("the last"));
    let handle = request.enqueue();
    handle.on_done(|_| panic!("one of a handle"));
    settled(handle).unwrap();
    settled(pool.enqueue(Do::Pid)).unwrap();
    pool.exit();
    assert_eq!(calls.iter().count(), 5);
    assert_eq!(record.count(EventKind::Done), 2);
}

#[test]
fn a_hook_that_panics_in_its_drop_stops_nothing() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("the hook's own value");
        }
    }
    let (builder, mut record) = Record::of(pool().max_processes(1));
    let pool = builder.build().unwrap();
    let bomb = Bomb;
    // It is never called, so it is dropped when the job has settled.
    let request = pool.request(Do::Pid).on_retry(move |_| {
        let _armed = &bomb;
    });
    settled(request.enqueue()).unwrap();
    settled(pool.enqueue(Do::Pid)).unwrap();
    pool.exit();
    assert_eq!(record.count(EventKind::Done), 2);
}

#[test]
fn a_hook_may_enqueue_and_wait_in_its_pool() {
    let pool = Arc::new(pool().max_processes(1).build().unwrap());
    let (told, outputs) = bounded(1);
    let of_hook = Arc::clone(&pool);
    let request = pool.request(Do::Pid).on_success(move |_| {
        told.send(settled(of_hook.enqueue(Do::Echo("from a hook".into())))).unwrap();
    });
    settled(request.enqueue()).unwrap();
    assert_eq!(outputs.recv_timeout(WATCHDOG).unwrap().unwrap(), "from a hook");
}

#[test]
fn hooks_may_enqueue_successors_without_end() {
    let pool = Arc::new(pool().max_processes(2).max_backlog(1).build().unwrap());
    let (told, done) = bounded(1);
    fn chain(pool: &Arc<Pool<Do>>, left: u32, told: crossbeam_channel::Sender<()>) {
        let next = Arc::clone(pool);
        let _ = pool
            .request(Do::Pid)
            .on_done(move |_| match left {
                0 => told.send(()).unwrap(),
                left => {
                    // Each is followed by two, so that the backlog's limit would make the hook thread wait for itself.
                    let _ = next.enqueue(Do::Pid);
                    chain(&next, left - 1, told);
                }
            })
            .enqueue();
    }
    chain(&pool, 200, told);
    done.recv_timeout(WATCHDOG).unwrap();
    pool.drain(WATCHDOG);
    assert_eq!(pool.stats().succeeded, 401);
}

#[test]
fn a_bad_job_enqueued_from_a_hook_harms_nothing() {
    let pool = Arc::new(pool().max_processes(1).build().unwrap());
    for bad in [Do::Exit(1), Do::Segfault, Do::Panic("oh".into())] {
        let (told, outcome) = bounded(1);
        let of_hook = Arc::clone(&pool);
        let request = pool.request(Do::Pid).on_done(move |_| {
            let _ = of_hook.request(bad).on_done(move |result| told.send(result.is_err()).unwrap()).enqueue();
        });
        settled(request.enqueue()).unwrap();
        assert!(outcome.recv_timeout(WATCHDOG).unwrap());
    }
    settled(pool.enqueue(Do::Pid)).unwrap();
}

#[test]
fn a_hook_that_blocks_holds_nobody_else_up() {
    let (go, gone) = bounded::<()>(0);
    let pool =
        pool().max_processes(1).on(EventKind::JobStart, move |_| gone.recv().unwrap_or_default()).build().unwrap();
    for n in 0..20 {
        assert_eq!(settled(pool.enqueue(Do::Echo(n.to_string()))).unwrap(), n.to_string());
    }
    pool.wait_idle();
    let gate = Gate::new();
    let handle = pool.enqueue(Do::Wait(gate.path()));
    handle.abort();
    assert!(matches!(settled(handle), Err(JobError::Aborted)));
    assert_eq!(pool.stats().succeeded, 20);
    drop(go);
}

/// Its progress is due on the thread that waits for it: it was read no further once 16 MiB of it were due.
#[test]
fn a_hook_may_wait_for_a_job_whatever_that_tells() {
    let pool = Arc::new(pool().max_processes(2).timeout_working(None).build().unwrap());
    let (waiting, waited) = bounded(1);
    let (told, progress) = unbounded();
    let inner = Arc::clone(&pool);
    pool.request(Do::Pid)
        .on_done(move |_| {
            // Progress that is due already when the wait begins, and more while it lasts.
            let gate = Gate::new();
            let many = Do::Then(vec![Do::Progress(100_000), Do::Wait(gate.path())]);
            let job = inner.request(many).on_progress(move |_| told.send(()).unwrap()).enqueue();
            drop(gate);
            waiting.send(settled(job).is_ok()).unwrap();
        })
        .enqueue();
    assert_eq!(waited.recv_timeout(WATCHDOG), Ok(true));
    pool.wait_idle();
    assert_eq!((0..100_001).filter(|_| progress.recv_timeout(WATCHDOG).is_ok()).count(), 100_001);
}

#[test]
fn a_hook_may_wait_for_idle_or_map_whatever_jobs_tell() {
    let pool = Arc::new(pool().max_processes(2).timeout_working(None).build().unwrap());
    let (waiting, waited) = bounded(2);
    let inner = Arc::clone(&pool);
    pool.on(EventKind::JobProgress, |_| {});
    pool.request(Do::Pid)
        .on_done(move |_| {
            drop(inner.enqueue(Do::Progress(100_000)));
            waiting.send(inner.wait_idle_timeout(WATCHDOG)).unwrap();
            let mapped = inner.map_unordered([Do::Progress(100_000)]).all(|(_, result)| result.is_ok());
            waiting.send(mapped).unwrap();
        })
        .enqueue();
    assert_eq!([(); 2].map(|()| waited.recv_timeout(WATCHDOG)), [Ok(true), Ok(true)]);
}

#[test]
fn a_slow_hook_misses_nothing_in_the_end() {
    let pool = pool().max_processes(2).max_jobs_per_process(u64::MAX).build().unwrap();
    let (open, gate) = bounded::<()>(0);
    let (told, done) = unbounded();
    pool.on(EventKind::Done, move |event| {
        let _ = gate.recv();
        told.send(event.job().unwrap().get()).unwrap();
    });
    let jobs: Vec<_> = (0..20_000).map(|_| pool.enqueue(Do::Echo(String::new()))).collect();
    jobs.into_iter().for_each(|job| drop(settled(job).unwrap()));
    assert!(done.is_empty());
    drop(open);
    pool.exit();
    let mut done: Vec<_> = done.iter().collect();
    done.sort_unstable();
    assert_eq!(done, (1..=20_000).collect::<Vec<_>>());
}

#[test]
fn hooks_run_on_one_thread_that_is_not_the_callers() {
    let (told, threads) = unbounded();
    let pool = pool().max_processes(2).on_event(move |_| told.send(thread::current().id()).unwrap()).build().unwrap();
    let handles: Vec<_> = (0..10).map(|_| pool.enqueue(Do::Pid)).collect();
    handles.into_iter().for_each(|handle| drop(settled(handle)));
    pool.exit();
    let threads: Vec<_> = threads.try_iter().collect();
    assert!(threads.len() > 50);
    assert!(threads.iter().all(|&thread| thread == threads[0] && thread != thread::current().id()));
}

#[test]
fn a_jobs_hooks_come_in_the_order_of_the_pools_events() {
    let (told, calls) = unbounded();
    let of_pool = told.clone();
    let pool = pool().max_processes(1).retries(1).on_event(move |event| {
        if matches!(event, Event::Job(_)) {
            of_pool.send(format!("pool {:?}", event.kind())).unwrap();
        }
    });
    let pool = pool.build().unwrap();
    let [start, progress, retry, done] = [(); 4].map(|()| told.clone());
    let request = pool.request(Do::Then(vec![Do::Progress(1), Do::FailUntil(2)]));
    let request = request.on_start(move || start.send("job start".into()).unwrap());
    let request = request.on_progress(move |_: Told| progress.send("job progress".into()).unwrap());
    let request = request.on_retry(move |_| retry.send("job retry".into()).unwrap());
    let request = request.on_done(move |_| done.send("job done".into()).unwrap());
    settled(request.enqueue()).unwrap();
    pool.exit();
    drop(told);
    let calls: Vec<_> = calls.try_iter().collect();
    // Of each thing that happens the job's hook and the pool's are called one right after the other.
    let position = |what: &str| calls.iter().position(|call| call == what).unwrap();
    for (of_job, of_pool) in
        [("job start", "pool JobStart"), ("job progress", "pool JobProgress"), ("job retry", "pool JobRetry")]
    {
        assert_eq!(position(of_job).abs_diff(position(of_pool)), 1, "{calls:?}");
    }
    assert!(position("job retry") < calls.iter().rposition(|call| call == "pool JobStart").unwrap());
    assert_eq!(position("job done").abs_diff(position("pool JobSuccess")), 1, "{calls:?}");
}

#[test]
fn a_hook_added_later_gets_what_comes_after() {
    let pool = pool().max_processes(1).build().unwrap();
    settled(pool.enqueue(Do::Pid)).unwrap();
    let (told, jobs) = unbounded();
    pool.on(EventKind::JobSuccess, move |event| told.send(event.job()).unwrap());
    let handle = pool.enqueue(Do::Pid);
    let id = handle.id();
    settled(handle).unwrap();
    assert_eq!(jobs.recv_timeout(WATCHDOG).unwrap(), Some(id));
    assert!(jobs.recv_timeout(Duration::ZERO).is_err());
}

#[test]
fn exit_drops_the_pools_hooks() {
    let pool = pool().max_processes(1).build().unwrap();
    let held = Arc::new(());
    let of_hook = Arc::clone(&held);
    pool.on_event(move |_| {
        let _held = &of_hook;
    });
    assert_eq!(Arc::strong_count(&held), 2);
    pool.exit();
    assert_eq!(Arc::strong_count(&held), 1);
    let of_hook = Arc::clone(&held);
    pool.on_event(move |_| {
        let _held = &of_hook;
    });
    assert_eq!(Arc::strong_count(&held), 1, "nor does one that comes later keep anything");
}
