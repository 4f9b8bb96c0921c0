//! How the figures grow with the number of jobs, of workers, and with the size of a payload.

use crate::figure::Figure;
use crate::measure::in_turn;
use crate::raw::RawChild;
use crate::speed::echo_rates;
use crate::work::{drive, drive_raw, pool};
use crate::{Figures, Measure};

const JOBS: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];
const WORKERS: [usize; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];
const PAYLOADS: [usize; 9] = [64, 512, 4 << 10, 32 << 10, 128 << 10, 512 << 10, 2 << 20, 8 << 20, 32 << 20];

/// All three, each point beside a raw one.
pub(crate) fn growth(measure: Measure) -> Figures {
    let rounds = measure.of(5, 1);
    let (jobs, most_jobs) = (JOBS.into_iter(), measure.of(1_000_000, 10_000));
    let with_jobs = jobs.filter(|&jobs| jobs <= most_jobs).map(|jobs| throughput("jobs", 2, jobs, jobs, rounds));
    let (workers, most_workers) = (WORKERS.into_iter(), measure.of(256, 16));
    let workers = workers.filter(|&workers| workers <= most_workers);
    let with_workers = workers.map(|workers| throughput("workers", workers, 100_000, workers, rounds));
    let mut child = RawChild::start();
    let pool = pool(1);
    let with_payload = PAYLOADS.into_iter().map(|size| {
        // As many as make 16 MiB, and five at least.
        let count = ((16usize << 20) / size).clamp(5, 2_000);
        let [raw, ours] = echo_rates(&mut child, &pool, size, count, rounds);
        Figure::new(format!("payload_{size}"), ours, "MB/s").raw(raw)
    });
    Ok(with_jobs.chain(with_workers).chain(with_payload).collect())
}

/// Jobs a second, over as many raw children as there are workers.
fn throughput(of: &str, workers: usize, jobs: usize, at: usize, rounds: usize) -> Figure {
    let mut children: Vec<_> = (0..workers).map(|_| RawChild::start()).collect();
    let pool = pool(workers);
    let per_second = |seconds: f64| [jobs as f64 / seconds];
    let ([raw], [ours]) =
        in_turn(rounds, || per_second(drive_raw(&mut children, jobs)), || per_second(drive(&pool, jobs)));
    Figure::new(format!("{of}_{at}"), ours, "jobs/s").raw(raw)
}
