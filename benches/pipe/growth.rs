//! How the figures grow with the number of jobs, of workers, and with the size of a payload.

use crate::figure::Figure;
use crate::measure::in_turn;
use crate::raw::RawChild;
use crate::speed::echo_rates;
use crate::work::{drive, drive_raw, pool};
use crate::{Figures, Measure};

const JOBS: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];
const WORKERS: [usize; 11] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_000];
const PAYLOADS: [usize; 9] = [64, 512, 4 << 10, 32 << 10, 128 << 10, 512 << 10, 2 << 20, 8 << 20, 32 << 20];

/// Each point beside a raw one, as in the others.
pub(crate) fn growth_jobs(measure: Measure) -> Figures {
    let most = measure.of(1_000_000, 10_000);
    let jobs = JOBS.into_iter().filter(|&jobs| jobs <= most);
    Ok(jobs.map(|jobs| throughput("jobs", 2, jobs, jobs, rounds(measure))).collect())
}

pub(crate) fn growth_workers(measure: Measure) -> Figures {
    let most = measure.of(1_000, 16);
    let workers = WORKERS.into_iter().filter(|&workers| workers <= most);
    Ok(workers.map(|workers| throughput("workers", workers, 100_000, workers, rounds(measure))).collect())
}

pub(crate) fn growth_payload(measure: Measure) -> Figures {
    let pool = pool(1);
    let figures = PAYLOADS.into_iter().map(|size| {
        // As many as make 16 MiB, and five at least.
        let count = ((16usize << 20) / size).clamp(5, 2_000);
        let [raw, ours] = echo_rates(&pool, size, count, rounds(measure));
        Figure::new(format!("payload_{size}"), ours, "MB/s").raw(raw)
    });
    Ok(figures.collect())
}

fn rounds(measure: Measure) -> usize {
    measure.of(5, 1)
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
