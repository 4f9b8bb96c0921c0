//! What one pool carries: as many as a thousand workers, each number of them in a process of its own.

use crate::figure::Figure;
use crate::measure::{resident, threads_and_descriptors};
use crate::standing::alone_in_a_process;
use crate::work::{Work, builder, drive, ready};
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
        let [threads, descriptors, parents, own, start, rate, naps] =
            alone_in_a_process(&format!("scale_{workers}"), measure)?;
        let with_few = *with_few.get_or_insert(rate);
        let all_at_work = workers as f64 / NAP.as_secs_f64();
        let note = format!("{workers} workers");
        figures.extend([
            Figure::new("scale_threads", threads, "a worker").fixed(2.0).note(&note),
            Figure::new("scale_descriptors", descriptors, "a worker").fixed(4.0).note(&note),
            Figure::new("scale_memory", parents, "KiB/worker").note(format!("{note}: of the pool's process")),
            Figure::new("scale_worker", own, "KiB/worker").note(format!("{note}: its own, what it shares shared out")),
            Figure::new("scale_ready", start, "ms/worker").note(&note),
            Figure::new("scale_short", rate, "jobs/s").against("16", with_few).note(format!("{note}: jobs of 64 B")),
            Figure::new("scale_naps", naps, "jobs/s")
                .against("all at work", all_at_work)
                .note(format!("{note}: jobs of {NAP:?}")),
        ]);
    }
    Ok(figures)
}

/// In a fresh process.
pub(crate) fn scale_alone(workers: usize, measure: Measure) -> io::Result<[f64; 7]> {
    let (nobody, memory) = (threads_and_descriptors()?, resident()?);
    let started = Instant::now();
    let pool = ready(builder(workers));
    let start = started.elapsed().as_secs_f64() * 1e3 / workers as f64;
    let rate = {
        let count = measure.of(200_000, 20_000);
        // The first time some of the memory is new.
        drive(&pool, count / 4);
        count as f64 / drive(&pool, count)
    };
    let naps = workers * NAPS;
    let rate_of_naps = naps as f64 / take_naps(&pool, naps);
    let all = threads_and_descriptors()?;
    let [threads, descriptors] = [0, 1].map(|of| (all[of] - nobody[of]) / workers as f64);
    let parents = (resident()? - memory) / 1024.0 / workers as f64;
    let pids: Vec<u32> = pool.workers().iter().map(|worker| worker.pid).collect();
    let own = pids.into_iter().map(proportional_kibibytes).sum::<io::Result<f64>>()? / workers as f64;
    Ok([threads, descriptors, parents, own, start, rate, rate_of_naps])
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
