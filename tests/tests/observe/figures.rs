//! What the pool itself says: the times of events, distributions, rates, and why workers ended.

use hirelings::{EventKind, Stats, WorkerState};
use hirelings_tests::{Do, Gate, begun, eventually, pool};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

#[test]
fn each_event_has_its_time() {
    let before = (SystemTime::now(), Instant::now());
    let times = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&times);
    let pool = pool()
        .max_processes(2)
        .on_event(move |event| told.lock().unwrap().push((event.kind(), event.at())))
        .build()
        .unwrap();
    assert!(pool.built_at() >= before.0 - Duration::from_millis(1) && pool.built_at() <= SystemTime::now());
    let mut gate = Gate::new();
    let waits = pool.enqueue(Do::Wait(gate.path()));
    let progress = waits.progress();
    progress.recv_timeout(Duration::from_secs(60)).unwrap();
    // A time in which nothing happens, as the pool's clock tells it.
    let begun = pool.age();
    eventually("time passes", || pool.age() >= begun + Duration::from_millis(300));
    gate.open();
    waits.wait().unwrap();
    pool.exit();
    let most = before.1.elapsed();
    let times = times.lock().unwrap();
    assert!(times.is_sorted_by_key(|(_, at)| *at), "{times:?}");
    assert!(times.iter().all(|(_, at)| *at <= most), "{times:?}");
    let at = |kind: EventKind| times.iter().find(|(of, _)| *of == kind).unwrap().1;
    assert!(at(EventKind::JobSuccess) - at(EventKind::JobStart) >= Duration::from_millis(300), "{times:?}");
    assert!(at(EventKind::JobStart) <= begun + Duration::from_millis(1));
}

#[test]
fn waiting_and_running_are_of_all_attempts() {
    let pool = pool().max_processes(1).retries(1).build().unwrap();
    let mut gate = Gate::new();
    let waits = begun(pool.request(Do::Wait(gate.path())).timeout(None));
    let rest: Vec<_> = (0..9).map(|_| pool.enqueue(Do::Echo("x".into()))).collect();
    let fails = pool.enqueue(Do::FailUntil(2));
    let begun = pool.age();
    eventually("time passes", || pool.age() >= begun + Duration::from_millis(200));
    gate.open();
    waits.wait().unwrap();
    rest.into_iter().for_each(|handle| drop(handle.wait().unwrap()));
    fails.wait().unwrap();
    let Stats { waiting, running, rate, .. } = pool.stats();
    assert_eq!((waiting.count, running.count), (12, 12));
    assert!(running.max >= Duration::from_millis(200) && running.p50 < Duration::from_millis(200), "{running:?}");
    // Ten of the twelve waited for the gate.
    assert!(waiting.p50 >= Duration::from_millis(190) && waiting.p50 <= waiting.p90, "{waiting:?}");
    assert!(waiting.p90 <= waiting.p99 && waiting.p99 <= waiting.max, "{waiting:?}");
    assert_eq!((rate.enqueued, rate.finished), (11, 11));
    assert!(rate.over <= pool.age() && rate.finished_per_second() > 0.0, "{rate:?}");
    pool.exit();
    assert_eq!(pool.stats().running, running, "its last figures stay");
}

#[test]
fn workers_have_ended_by_a_cause_each() {
    let pool = pool().max_processes(1).max_jobs_per_process(50).max_memory_hard(400 << 20).build().unwrap();
    let ended = |stats: &Stats| {
        let of = stats.restarts;
        let lost = of.panicked + of.timed_out + of.out_of_memory + of.aborted + of.protocol;
        of.recycled + of.crashed + lost + of.closed
    };
    let mut before = pool.stats().exited;
    let mut one_more = |what: &str| {
        before += 1;
        eventually(what, || pool.stats().exited == before);
        let stats = pool.stats();
        assert_eq!(ended(&stats), stats.exited, "{stats:?}");
        stats.restarts
    };
    drop(pool.enqueue(Do::Exit(1)).wait());
    assert_eq!(one_more("it has ended").crashed, 1);
    drop(pool.enqueue(Do::Panic("a bug".into())).wait());
    assert_eq!(one_more("it has panicked").panicked, 1);
    drop(pool.request(Do::Spin).timeout(Duration::from_millis(100)).enqueue().wait());
    assert_eq!(one_more("it was too slow").timed_out, 1);
    let gate = Gate::new();
    let waits = begun(pool.request(Do::Wait(gate.path())));
    waits.abort();
    assert_eq!(one_more("its job was aborted").aborted, 1);
    drop(pool.enqueue(Do::Then(vec![Do::Leak(500 << 20), Do::Spin])).wait());
    assert_eq!(one_more("it held too much").out_of_memory, 1);
    pool.enqueue(Do::Retire).wait().unwrap();
    assert_eq!(one_more("it has left").recycled, 1);
    pool.enqueue(Do::Pid).wait().unwrap();
    pool.exit();
    let stats = pool.stats();
    assert_eq!((stats.restarts.closed, ended(&stats)), (stats.exited - 6, stats.exited), "{stats:?}");
}

#[test]
fn a_worker_has_the_time_in_its_state_and_its_memory() {
    let pool = pool().max_processes(1).build().unwrap();
    pool.wait_ready(Duration::from_secs(60)).unwrap();
    let mut gate = Gate::new();
    let waits = begun(pool.request(Do::Wait(gate.path())));
    let worker = || pool.workers().remove(0);
    eventually("it works for a while", || worker().state_for >= Duration::from_millis(100));
    let works = worker();
    assert_eq!((works.state, works.jobs_done), (WorkerState::Working, 0));
    assert!(works.state_for <= works.age && works.resident.is_some_and(|bytes| bytes > 100_000), "{works:?}");
    let opened = Instant::now();
    gate.open();
    waits.wait().unwrap();
    eventually("it is ready", || worker().state == WorkerState::Ready);
    let ready = worker();
    assert!(ready.state_for <= opened.elapsed() && ready.jobs_done == 1, "{ready:?}");
    assert!(ready.age > works.state_for);
}
