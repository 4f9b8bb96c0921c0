//! The cases, each as `benches/pipe` does it where procspawn can.

use crate::Measure;
use crate::figure::{Figure, cannot};
use crate::measure::{
    children, cpu_time, descriptors_left, median, percentile, resident, rounds, switches, threads_and_descriptors,
};
use procspawn::Pool;
use serde_bytes::ByteBuf;
use std::collections::VecDeque;
use std::env;
use std::fs;
use std::io::Read;
use std::mem;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Its lines.
type Lines = Vec<String>;

pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) run: fn(Measure) -> Lines,
}

pub(crate) const CASES: [Case; 12] = [
    Case { name: "latency", run: latency },
    Case { name: "throughput", run: throughput },
    Case { name: "payload", run: payload },
    Case { name: "isolate", run: isolate },
    Case { name: "spawn", run: spawn },
    Case { name: "backlog", run: backlog },
    Case { name: "map", run: |_| vec![cannot("map", "no map, nor anything else that takes jobs as they are needed")] },
    Case { name: "idle", run: idle },
    Case { name: "hooks", run: |_| vec![cannot("hooks", "no hooks, no events")] },
    Case { name: "many", run: many },
    Case { name: "cpu", run: cpu },
    Case { name: "fair", run: fair },
];

// ---------------------------------------------------------------- the work

/// The 64 bytes of a small job, unlike those of any other.
fn small(number: usize) -> ByteBuf {
    let mut bytes = [0x5a; 64];
    bytes[..8].copy_from_slice(&(number as u64).to_le_bytes());
    bytes[56..].copy_from_slice(&(number as u64).to_be_bytes());
    ByteBuf::from(bytes)
}

fn echo(bytes: ByteBuf) -> ByteBuf {
    bytes
}

/// A pool whose workers have all connected, which is what building it waits for.
fn pool(workers: usize) -> Pool {
    Pool::builder(workers).disable_stdin().build().expect("a pool of this executable")
}

/// How many jobs may be queued at once: each holds three descriptors, and one more than the limit allows is a panic.
fn queueable(count: usize) -> usize {
    const RESERVE: usize = 64;
    count.min(descriptors_left().saturating_sub(RESERVE) / 3)
}

fn batches(count: usize) -> String {
    match queueable(count) {
        all if all == count => format!("{count} jobs"),
        part => format!("{count} jobs, {part} at once: a queued job holds three descriptors"),
    }
}

/// The seconds that `count` small jobs take, as many submitted at once as can be, and then waited for.
fn drive(pool: &Pool, count: usize) -> f64 {
    let jobs: Vec<_> = (0..count).map(small).collect();
    let started = Instant::now();
    for (batch, jobs) in jobs.chunks(queueable(count)).enumerate() {
        let handles: Vec<_> = jobs.iter().map(|job| pool.spawn(job.clone(), echo)).collect();
        for (job, handle) in jobs.iter().zip(handles) {
            assert_eq!(handle.join().expect("an echo"), *job, "in batch {batch}");
        }
    }
    started.elapsed().as_secs_f64()
}

// ---------------------------------------------------------------- how fast jobs go through

fn latency(measure: Measure) -> Lines {
    let (count, repeats) = measure.of((5_000, 5), (2_000, 1));
    let pool = pool(1);
    let [p50, p99] = rounds(repeats, || {
        let once = |number| {
            let job = small(number);
            let started = Instant::now();
            let echoed = pool.spawn(job, echo).join();
            let took = started.elapsed();
            assert_eq!(echoed.expect("an echo"), small(number));
            took.as_secs_f64() * 1e6
        };
        let took: Vec<f64> = (0..count).map(once).collect();
        [percentile(took.clone(), 50), percentile(took, 99)]
    });
    lines([Figure::new("latency", p50, "µs"), Figure::new("latency_p99", p99, "µs")])
}

fn throughput(measure: Measure) -> Lines {
    let (count, repeats) = measure.of((200_000, 3), (20_000, 1));
    let pool = pool(2);
    let [rate] = rounds(repeats, || [count as f64 / drive(&pool, count)]);
    lines([Figure::new("throughput", rate, "jobs/s").note(batches(count))])
}

fn payload(measure: Measure) -> Lines {
    let repeats = measure.of(3, 1);
    let pool = pool(1);
    let sizes = [
        ("payload", 16 << 20, measure.of(6, 3)),
        ("payload_1m", 1 << 20, measure.of(60, 30)),
        ("payload_64k", 64 << 10, measure.of(600, 300)),
    ];
    let rate = |(case, size, count): (&str, usize, usize)| {
        let bytes: Vec<u8> = (0..size).map(|at| ((at / 64) ^ at) as u8).collect();
        let once = |_| {
            let job = ByteBuf::from(bytes.clone());
            let started = Instant::now();
            let echoed = pool.spawn(job, echo).join();
            let took = started.elapsed();
            assert!(echoed.expect("an echo") == bytes, "an echo is what was sent");
            took.as_secs_f64()
        };
        let [rate] = rounds(repeats, || [2.0 * size as f64 / 1e6 / median((0..count).map(once).collect())]);
        // Its Shmem cannot be an argument of Pool::spawn in 1.0.2, which writes it as bytes and reads it as shared memory.
        Figure::new(case, rate, "MB/s")
    };
    lines(sizes.map(rate))
}

fn cpu(measure: Measure) -> Lines {
    let (count, repeats) = measure.of((200_000, 3), (50_000, 1));
    let pool = pool(2);
    let pids = children();
    assert_eq!(pids.len(), 2);
    let [parent, workers] = rounds(repeats, || {
        let used = || [cpu_time(process::id()), pids.iter().map(|&pid| cpu_time(pid)).sum()];
        let before = used();
        drive(&pool, count);
        let after = used();
        [0, 1].map(|of| (after[of] - before[of]) / count as f64)
    });
    lines([
        Figure::new("cpu", parent + workers, "µs/job").note(batches(count)),
        Figure::new("cpu_parent", parent, "µs/job"),
        Figure::new("cpu_worker", workers, "µs/job"),
    ])
}

// ---------------------------------------------------------------- processes

fn isolate(measure: Measure) -> Lines {
    let (count, repeats) = measure.of((400, 3), (100, 1));
    let [rate] = rounds(repeats, || {
        let started = Instant::now();
        let mut running = VecDeque::new();
        let finish = |(number, handle): (usize, procspawn::JoinHandle<ByteBuf>)| {
            assert_eq!(handle.join().expect("an echo"), small(number));
        };
        for number in 0..count {
            if running.len() == 2
                && let Some(oldest) = running.pop_front()
            {
                finish(oldest);
            }
            running.push_back((number, procspawn::spawn(small(number), echo)));
        }
        running.into_iter().for_each(finish);
        [count as f64 / started.elapsed().as_secs_f64()]
    });
    lines([Figure::new("isolate", rate, "jobs/s").note("procspawn::spawn, which waits for each process to connect")])
}

fn ready_pool(workers: usize) -> f64 {
    let started = Instant::now();
    let pool = pool(workers);
    let took = started.elapsed();
    assert_eq!(pool.size(), workers);
    took.as_secs_f64() * 1e3
}

fn spawn(measure: Measure) -> Lines {
    let [ready] = rounds(measure.of(40, 10), || [ready_pool(2)]);
    lines([Figure::new("spawn", ready, "ms").note("two workers connected, one after the other")])
}

fn many(measure: Measure) -> Lines {
    let (workers, count, repeats) = measure.of((256, 200_000, 1), (64, 10_000, 1));
    let without = threads_and_descriptors();
    let few = pool(2);
    let with_few = threads_and_descriptors();
    let many = pool(workers);
    let with_all = threads_and_descriptors();
    let [threads, descriptors] = [0, 1].map(|of| {
        let (of_few, of_many) = (with_few[of] - without[of], with_all[of] - with_few[of]);
        (of_many - of_few) / (workers - 2) as f64
    });

    let [with_two, with_many] = rounds(repeats, || [&few, &many].map(|pool| count as f64 / drive(pool, count)));
    // Last: what a pool leaves behind for a while would be counted above.
    drop((few, many));
    let [ready] = rounds(repeats, || [ready_pool(workers)]);
    let note = format!("{workers} workers");
    lines([
        Figure::new("many", with_many, "jobs/s").against(with_two).note(format!("{note}; {}", batches(count))),
        Figure::new("many_ready", ready, "ms").note(&note),
        Figure::new("many_threads", threads, "a worker").note(&note),
        Figure::new("many_descriptors", descriptors, "a worker").note(&note),
    ])
}

// ---------------------------------------------------------------- standing

fn backlog(_: Measure) -> Lines {
    const BATCH: usize = 50;
    let pool = pool(2);
    // Two jobs that call, and stay on the line.
    let socket = env::temp_dir().join(format!("peer-procspawn-{}", process::id()));
    let callers = UnixListener::bind(&socket).expect("a socket");
    let held: Vec<_> = (0..2).map(|_| pool.spawn(socket.clone(), stay_on_the_line)).collect();
    let lines_held: Vec<_> = held.iter().map(|_| callers.accept().expect("a call")).collect();
    fs::remove_file(&socket).expect("its name is there");
    let count = queueable(6_000) / BATCH * BATCH;
    let (early, measured) = (count / 6 / BATCH * BATCH, count / 6 / BATCH);

    let mut handles = Vec::with_capacity(count);
    let before = resident();
    let mut add = |batches: usize| {
        let once = || {
            let jobs: Vec<_> = (handles.len()..handles.len() + BATCH).map(small).collect();
            let started = Instant::now();
            handles.extend(jobs.into_iter().map(|job| pool.spawn(job, echo)));
            started.elapsed().as_secs_f64() * 1e6 / BATCH as f64
        };
        median(std::iter::repeat_with(once).take(batches).collect())
    };
    add(early / BATCH);
    let at_first = add(measured);
    add(count / BATCH - early / BATCH - 2 * measured);
    let at_last = add(measured);
    assert_eq!(pool.queued_count(), count);
    let bytes = (resident() - before) / count as f64;

    let note =
        format!("{count} jobs: a queued job holds three descriptors; what the kernel keeps for them is not counted");
    let when = format!("at {count}, against at {early}");
    // Each dropped handle would be a signal. This process ends soon, and its group too.
    mem::forget((lines_held, held, handles, pool));
    lines([
        Figure::new("backlog", bytes, "bytes/job").note(note),
        Figure::new("backlog_time", at_last, "µs/job").against(at_first).note(when),
    ])
}

/// Ends when the other side hangs up.
fn stay_on_the_line(socket: PathBuf) {
    let mut line = UnixStream::connect(socket).expect("somebody listens");
    let _ = line.read(&mut [0]);
}

fn idle(measure: Measure) -> Lines {
    let length = measure.of(Duration::from_secs(10), Duration::from_secs(2));
    let pool = pool(8);
    for handle in (0..64).map(|number| pool.spawn(small(number), echo)).collect::<Vec<_>>() {
        handle.join().expect("an echo");
    }
    let pids = children();
    assert_eq!(pids.len(), 8);
    let count = || switches(process::id()) + pids.iter().map(|&pid| switches(pid)).sum::<u64>();
    // Until what the last job woke sleeps again; a pool that never does is measured as it is.
    let mut before = count();
    for _ in 0..20 {
        thread::sleep(Duration::from_millis(50));
        let now = count();
        if mem::replace(&mut before, now) == now {
            break;
        }
    }
    thread::sleep(length);
    let note = format!("8 workers, {} s", length.as_secs());
    lines([Figure::new("idle", (count() - before) as f64, "switches").note(note)])
}

// ---------------------------------------------------------------- one long job among short ones

/// Who took a nap, and when, in seconds since the epoch.
type Nap = (u32, f64, f64);

fn nap(seconds: f64) -> Nap {
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let from = clock();
    if seconds > 0.0 {
        thread::sleep(Duration::from_secs_f64(seconds));
    }
    (process::id(), from, clock())
}

/// Does naps, all submitted at once; how long that took, and what the workers tell of each.
fn do_naps(pool: &Pool, naps: &[f64]) -> (f64, Vec<Nap>) {
    let started = Instant::now();
    let handles: Vec<_> = naps.iter().map(|&seconds| pool.spawn(seconds, nap)).collect();
    let told = handles.into_iter().map(|handle| handle.join().expect("a nap")).collect();
    (started.elapsed().as_secs_f64(), told)
}

/// Two workers, each of which takes the next job as soon as it is free, at no cost.
fn list_schedule(naps: &[Nap]) -> f64 {
    let mut until = [0.0f64; 2];
    for (_, from, to) in naps {
        until.sort_by(f64::total_cmp);
        until[0] += to - from;
    }
    until[0].max(until[1])
}

/// The seconds that any tiny job waited after the worker that does not have the long one had become free.
fn longest_wait(pool: &Pool, count: usize) -> f64 {
    let mut naps = vec![0.0; count];
    naps[count / 2] = 0.5;
    let (_, mut told) = do_naps(pool, &naps);
    let (busy, long_from, _) = told.remove(count / 2);
    let mut freed: Vec<f64> = told.iter().filter(|nap| nap.0 != busy).map(|nap| nap.2).collect();
    freed.sort_by(f64::total_cmp);
    let during = told.iter().filter(|nap| nap.1 >= long_from);
    let waits = during.filter_map(|nap| Some(nap.1 - freed[freed.partition_point(|&at| at <= nap.1).checked_sub(1)?]));
    waits.fold(0.0, f64::max)
}

fn fair(measure: Measure) -> Lines {
    const IN_ORDER: &str = "a worker goes on when its result is fetched, and they are fetched in order";
    let (count, repeats) = measure.of((1_000, 3), (500, 1));
    let (count, tiny) = (queueable(count), queueable(measure.of(10_000, 5_000)));
    let pool = pool(2);
    let mut found = Vec::new();
    for (name, at) in [("10", 10), ("500", count / 2), ("990", count - 10), ("last", count - 1)] {
        let mut naps = vec![1e-3; count];
        naps[at] = 0.2;
        let once = |_| {
            let (took, told) = do_naps(&pool, &naps);
            (list_schedule(&told) * 1e3, took * 1e3)
        };
        let (best, total): (Vec<_>, Vec<_>) = (0..repeats).map(once).unzip();
        let note = format!("{count} jobs; {IN_ORDER}");
        found.push(Figure::new(format!("fair_{name}"), median(total), "ms").against(median(best)).note(note));
    }
    let wait = median((0..repeats).map(|_| longest_wait(&pool, tiny) * 1e3).collect());
    let note = format!("{tiny} jobs; {IN_ORDER}");
    found.push(Figure::new("fair_tiny", wait, "ms").against(500.0).note(note));
    lines(found)
}

fn lines(figures: impl IntoIterator<Item = Figure>) -> Lines {
    figures.into_iter().map(|figure| figure.to_string()).collect()
}
