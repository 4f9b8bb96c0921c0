//! What one pool carries: as many as a thousand workers, each number of them in a process of its own.

use crate::figure::Figure;
use crate::measure::{cpu_time, resident, threads_and_descriptors};
use crate::standing::alone_in_a_process;
use crate::work::{Work, drive, pool};
use crate::{Figures, Measure};
use hirelings::Pool;
use std::time::{Duration, Instant};
use std::{fs, io};

const WORKERS: [usize; 3] = [16, 256, 1_000];

/// A job that is no work, and takes as long as one that is.
const NAP: Duration = Duration::from_millis(100);

/// How many of those a worker does.
const NAPS: usize = 20;

/// The threads, the descriptors and the memory that workers cost, and the jobs a second that they do.
pub(crate) fn scale(measure: Measure) -> Figures {
    let mut figures = Vec::new();
    let mut with_few = None;
    for workers in WORKERS.into_iter().filter(|&workers| workers <= measure.of(1_000, 16)) {
        let [threads, descriptors, parents, own, start, rate, cpu, naps] =
            alone_in_a_process(&format!("scale_{workers}"), measure)?;
        let (rate_of_few, cpu_of_few) = *with_few.get_or_insert((rate, cpu));
        let all_at_work = workers as f64 / NAP.as_secs_f64();
        let note = format!("{workers} workers");
        figures.extend([
            Figure::new("scale_threads", threads, "a worker").fixed(2.0).note(&note),
            Figure::new("scale_descriptors", descriptors, "a worker").fixed(4.0).note(&note),
            Figure::new("scale_memory", parents, "KiB/worker").note(format!("{note}: of the pool's process")),
            Figure::new("scale_worker", own, "KiB/worker").note(format!("{note}: its own, what it shares shared out")),
            Figure::new("scale_ready", start, "ms/worker").note(&note),
            Figure::new("scale_short", rate, "jobs/s").against("16", rate_of_few).note(format!("{note}: jobs of 64 B")),
            Figure::new("scale_cpu", cpu, "µs/job")
                .against("16", cpu_of_few)
                .note(format!("{note}: the pool's process, for the same")),
            Figure::new("scale_naps", naps, "jobs/s")
                .against("all at work", all_at_work)
                .note(format!("{note}: jobs of {NAP:?}")),
        ]);
    }
    Ok(figures)
}

/// In a fresh process.
pub(crate) fn scale_alone(workers: usize, measure: Measure) -> io::Result<[f64; 8]> {
    // What the pool has for itself is in both, and in no figure.
    let (small, with_few) = (pool(2), held()?);
    drop(small);
    let started = Instant::now();
    let pool = pool(workers);
    let start = started.elapsed().as_secs_f64() * 1e3 / workers as f64;
    let with_all = held()?;
    let [threads, descriptors, memory] = [0, 1, 2].map(|of| (with_all[of] - with_few[of]) / (workers - 2) as f64);

    let count = measure.of(200_000, 20_000);
    // The first time some of the memory is new.
    drive(&pool, count / 4);
    let before = cpu_time(std::process::id())?;
    let rate = count as f64 / drive(&pool, count);
    let cpu = (cpu_time(std::process::id())? - before) / count as f64;
    let naps = workers * NAPS;
    let rate_of_naps = naps as f64 / take_naps(&pool, naps);
    let pids: Vec<u32> = pool.workers().iter().map(|worker| worker.pid).collect();
    let own = pids.into_iter().map(proportional_kibibytes).sum::<io::Result<f64>>()? / workers as f64;
    Ok([threads, descriptors, memory, own, start, rate, cpu, rate_of_naps])
}

/// The threads, the descriptors and the KiB of memory of this process.
fn held() -> io::Result<[f64; 3]> {
    let [threads, descriptors] = threads_and_descriptors()?;
    Ok([threads, descriptors, resident()? / 1024.0])
}

/// The seconds that it takes to have so many jobs done that sleep.
fn take_naps(pool: &Pool<Work>, count: usize) -> f64 {
    let started = Instant::now();
    let handles: Vec<_> = (0..count).map(|_| pool.enqueue(Work::Nap(NAP))).collect();
    for handle in handles {
        handle.wait().expect("a nap");
    }
    started.elapsed().as_secs_f64()
}

/// What a process has in memory, where each page that several have is shared out among them.
fn proportional_kibibytes(pid: u32) -> io::Result<f64> {
    let pages = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = pages.lines().find_map(|line| line.strip_prefix("Pss:"));
    let number = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    number.ok_or_else(|| io::Error::other("no Pss"))
}
