//! How fast jobs go through: one at a time, many at once, large ones, and at what cost.

use crate::figure::{Bar, Figure};
use crate::measure::{cpu_time, in_turn, percentile};
use crate::raw::RawChild;
use crate::work::{Work, builder, drive, drive_raw, pool, ready, small, small_job};
use crate::{Figures, Measure};
use hirelings::{Bytes, EventKind, Pool, Transport};
use std::cell::RefCell;
use std::io;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

const MICROSECOND: f64 = 1e-6;

/// One worker, one 64-byte job at a time.
pub(crate) fn latency(measure: Measure) -> Figures {
    let (count, rounds) = measure.of((5_000, 9), (2_000, 3));
    let mut child = RawChild::start();
    let pool = pool(1);
    let each = |mut once: Box<dyn FnMut(usize) -> f64 + '_>| {
        let samples: Vec<f64> = (0..count).map(|number| once(number) / MICROSECOND).collect();
        [percentile(samples.clone(), 50), percentile(samples, 99)]
    };
    let raw = || {
        each(Box::new(|number| {
            let message = small(number);
            let started = Instant::now();
            child.send(&message);
            let echoed = child.receive();
            let took = started.elapsed();
            assert_eq!(echoed, message);
            took.as_secs_f64()
        }))
    };
    let ours = || {
        each(Box::new(|number| {
            let job = small_job(number);
            let started = Instant::now();
            let echoed = pool.enqueue(job).wait();
            let took = started.elapsed();
            assert_eq!(echoed.expect("an echo").0, small(number));
            took.as_secs_f64()
        }))
    };
    let (raw, ours) = in_turn(rounds, raw, ours);
    Ok(vec![
        Figure::new("latency", ours[0], "µs").raw(raw[0]).bar(Bar::AtMost(3.0)).note("p50"),
        Figure::new("latency_p99", ours[1], "µs").raw(raw[1]).bar(Bar::AtMost(4.0)),
    ])
}

/// Two workers, and 32 threads that each enqueue a 64-byte job, wait for it, and go on with the next; against one thread that
/// enqueues all at once.
pub(crate) fn callers(measure: Measure) -> Figures {
    const CALLERS: usize = 32;
    let (count, rounds) = measure.of((64_000, 5), (16_000, 3));
    let pool = pool(2);
    let per_second = |seconds: f64| [count as f64 / seconds];
    let each_in_turn = || {
        let started = Instant::now();
        thread::scope(|scope| {
            for caller in 0..CALLERS {
                let pool = &pool;
                scope.spawn(move || {
                    for number in (caller..count).step_by(CALLERS) {
                        let Bytes(echoed) = pool.enqueue(small_job(number)).wait().expect("an echo");
                        assert_eq!(echoed, small(number), "job {number}");
                    }
                });
            }
        });
        per_second(started.elapsed().as_secs_f64())
    };
    let ([at_once], [in_turns]) = in_turn(rounds, || per_second(drive(&pool, count)), each_in_turn);
    let note = format!("{CALLERS} threads, each with one job at a time");
    Ok(vec![Figure::new("callers", in_turns, "jobs/s").against("at once", at_once).note(note)])
}

/// Two workers, 64-byte jobs, all submitted at once and then waited for.
pub(crate) fn throughput(measure: Measure) -> Figures {
    let (count, rounds) = measure.of((200_000, 5), (20_000, 3));
    let mut children = [RawChild::start(), RawChild::start()];
    let pool = pool(2);
    let per_second = |seconds: f64| [count as f64 / seconds];
    let ([raw], [ours]) =
        in_turn(rounds, || per_second(drive_raw(&mut children, count)), || per_second(drive(&pool, count)));
    let note = format!("{count} jobs");
    Ok(vec![Figure::new("throughput", ours, "jobs/s").raw(raw).bar(Bar::AtLeast(2.5)).note(note)])
}

/// Large echoes, one at a time, counted both ways; the median echo of each round counts.
pub(crate) fn payload(measure: Measure) -> Figures {
    let [of_64k, of_1m, of_16m] = payloads(measure, pool(1), "payload");
    Ok(vec![of_64k.bar(Bar::AtLeast(0.9)), of_1m.bar(Bar::AtLeast(1.3)), of_16m.bar(Bar::AtLeast(1.3))])
}

/// The same over sockets, against the same raw pipes.
pub(crate) fn payload_sockets(measure: Measure) -> Figures {
    let pool = ready(builder(1).transport(Transport::Sockets));
    let [of_64k, of_1m, of_16m] = payloads(measure, pool, "payload_sockets");
    Ok(vec![of_64k.bar(Bar::AtLeast(0.9)), of_1m.bar(Bar::AtLeast(1.3)), of_16m.bar(Bar::AtLeast(1.3))])
}

fn payloads(measure: Measure, pool: Pool<Work>, case: &str) -> [Figure; 3] {
    let rounds = measure.of(7, 3);
    let of_size = |suffix: &str, size, count| {
        let [raw, ours] = echo_rates(&pool, size, count, rounds);
        Figure::new(format!("{case}{suffix}"), ours, "MB/s").raw(raw)
    };
    [
        // The largest last: after it the allocator keeps what it would give back otherwise.
        of_size("_64k", 64 << 10, measure.of(600, 300)),
        of_size("_1m", 1 << 20, measure.of(60, 30)),
        of_size("", 16 << 20, measure.of(6, 3)),
    ]
}

/// The megabytes a second of `count` echoes of `size` bytes, through a raw child and through a pool. Each round has a raw child of
/// its own: its speed differs by a factor of three with the core that the kernel gives it for its whole life.
pub(crate) fn echo_rates(pool: &Pool<Work>, size: usize, count: usize, rounds: usize) -> [f64; 2] {
    let bytes: Vec<u8> = (0..size).map(|at| ((at / 64) ^ at) as u8).collect();
    let rate = |took: Vec<f64>| [2.0 * size as f64 / 1e6 / percentile(took, 50)];
    let raw = || {
        let mut child = RawChild::start();
        let once = |_| {
            let started = Instant::now();
            child.send(&bytes);
            let echoed = child.receive();
            let took = started.elapsed().as_secs_f64();
            assert!(echoed == bytes, "a raw echo is what was sent");
            took
        };
        rate((0..count).map(once).collect())
    };
    let ours = || {
        let once = |_| {
            let job = Work::Echo(Bytes(bytes.clone()));
            let started = Instant::now();
            let echoed = pool.enqueue(job).wait();
            let took = started.elapsed().as_secs_f64();
            assert!(echoed.expect("an echo").0 == bytes, "an echo is what was sent");
            took
        };
        rate((0..count).map(once).collect())
    };
    let ([raw], [ours]) = in_turn(rounds, raw, ours);
    [raw, ours]
}

/// A plain `Vec<u8>` in a job, against `Bytes`: a MiB one way.
pub(crate) fn vec_u8(measure: Measure) -> Figures {
    let (count, rounds) = measure.of((60, 7), (20, 3));
    let pool = pool(1);
    let bytes = vec![0xa5; 1 << 20];
    let rate = |job: &dyn Fn() -> Work| {
        let once = |_| {
            let job = job();
            let started = Instant::now();
            let answered = pool.enqueue(job).wait();
            let took = started.elapsed().as_secs_f64();
            answered.expect("an answer");
            took
        };
        [bytes.len() as f64 / 1e6 / percentile((0..count).map(once).collect(), 50)]
    };
    let run = || rate(&|| Work::Send(Bytes(bytes.clone())));
    let ([of_bytes], [of_vec]) = in_turn(rounds, run, || rate(&|| Work::Swallow(bytes.clone())));
    Ok(vec![Figure::new("vec_u8", of_vec, "MB/s").against("Bytes", of_bytes).note("1 MiB one way")])
}

/// The throughput with a hook for everything, and one for each kind of event, against the same without any.
pub(crate) fn hooks(measure: Measure) -> Figures {
    let (count, rounds) = measure.of((100_000, 5), (20_000, 3));
    let without = pool(2);
    let drained = RefCell::new(Vec::new());
    let hooked = || {
        let called = Arc::new(AtomicU64::new(0));
        let pool = with_hooks(&called);
        let started = Instant::now();
        let seconds = drive(&pool, count);
        drop(pool);
        drained.borrow_mut().push(count as f64 / started.elapsed().as_secs_f64());
        // Each job is at least enqueued, dispatched, a success and done, and two hooks are called for each of these.
        let called = called.load(Ordering::SeqCst);
        assert!(called >= 8 * count as u64, "hooks were called {called} times");
        [count as f64 / seconds]
    };
    let ([none], [all]) = in_turn(rounds, || [count as f64 / drive(&without, count)], hooked);
    let drained = crate::measure::median(drained.into_inner());
    let note = format!("{drained:.0} jobs/s until the last hook has returned");
    let figure = Figure::new("hooks", all, "jobs/s").against("without", none).bar(Bar::AtLeast(0.5));
    Ok(vec![figure.note(note)])
}

fn with_hooks(called: &Arc<AtomicU64>) -> Pool<Work> {
    let count = |called: &Arc<AtomicU64>| {
        let called = Arc::clone(called);
        move |_: &_| {
            called.fetch_add(1, Ordering::Relaxed);
        }
    };
    let mut hooked = builder(2).on_event(count(called));
    for &kind in EventKind::ALL {
        hooked = hooked.on(kind, count(called));
    }
    ready(hooked)
}

/// The processor time of the throughput case.
pub(crate) fn cpu(measure: Measure) -> Figures {
    let (count, rounds) = measure.of((200_000, 3), (100_000, 1));
    let mut children = [RawChild::start(), RawChild::start()];
    let raw_pids: Vec<u32> = children.iter().map(RawChild::pid).collect();
    let pool = pool(2);
    let pids: Vec<u32> = pool.workers().iter().map(|worker| worker.pid).collect();
    assert_eq!(pids.len(), 2);
    cpu_time(process::id())?;

    let (raw, ours) = in_turn(
        rounds,
        || cost(&raw_pids, count, || drive_raw(&mut children, count)),
        || cost(&pids, count, || drive(&pool, count)),
    );
    let total = |[parent, children]: [f64; 2]| parent + children;
    Ok(vec![
        Figure::new("cpu", total(ours), "µs/job").raw(total(raw)).bar(Bar::AtMost(2.0)),
        Figure::new("cpu_parent", ours[0], "µs/job").raw(raw[0]),
        Figure::new("cpu_worker", ours[1], "µs/job").raw(raw[1]),
    ])
}

/// The processor time of the latency case.
pub(crate) fn cpu_latency(measure: Measure) -> Figures {
    let (count, rounds) = measure.of((20_000, 5), (5_000, 3));
    let mut child = [RawChild::start()];
    let raw_pid = [child[0].pid()];
    let pool = pool(1);
    let pid = [pool.workers().first().expect("a worker").pid];
    let one_at_a_time = || (0..count).for_each(|number| drop(pool.enqueue(small_job(number)).wait().expect("an echo")));
    let (raw, ours) =
        in_turn(rounds, || cost(&raw_pid, count, || drive_raw(&mut child, count)), || cost(&pid, count, one_at_a_time));
    Ok(vec![Figure::new("cpu_latency", ours[0] + ours[1], "µs/job").raw(raw[0] + raw[1]).note("one job at a time")])
}

/// What each job costs this process, and the children.
fn cost<T>(children: &[u32], count: usize, work: impl FnOnce() -> T) -> [f64; 2] {
    let used = || -> io::Result<[f64; 2]> {
        let of_children: io::Result<f64> = children.iter().map(|&pid| cpu_time(pid)).sum();
        Ok([cpu_time(process::id())?, of_children?])
    };
    let before = used().expect("the children live");
    work();
    let after = used().expect("the children live");
    [(after[0] - before[0]) / count as f64, (after[1] - before[1]) / count as f64]
}
