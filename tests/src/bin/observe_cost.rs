//! What it costs that a pool is observed: jobs a second with nothing attached, with a recorder, and with all that can be.
//!
//! ```text
//! cargo run --release -p hirelings-tests --bin observe_cost              # a million jobs
//! cargo run --release -p hirelings-tests --bin observe_cost -- --check   # fewer; fails where a recorder costs more than half
//! ```

use hirelings::{JobHandle, Pool};
use hirelings_observe::{Bars, JobLog, Metrics, Recorder, Top};
use hirelings_tests::{Do, pool};
use std::process::ExitCode;
use std::time::Instant;

/// So many jobs are in the pool at a time.
const AT_A_TIME: usize = 10_000;

/// Jobs a second, while what `attach` gives is attached.
fn throughput<T>(jobs: usize, attach: impl Fn(&Pool<Do>) -> T) -> f64 {
    let pool = pool().max_processes(2).build().expect("a pool");
    pool.wait_ready(std::time::Duration::from_secs(60)).expect("workers");
    let attached = attach(&pool);
    let before = Instant::now();
    for _ in 0..jobs / AT_A_TIME {
        let handles: Vec<JobHandle<Do>> = (0..AT_A_TIME).map(|_| pool.enqueue(Do::Echo(String::new()))).collect();
        handles.into_iter().for_each(|handle| drop(handle.wait().expect("an answer")));
    }
    // What is attached has seen all when this returns.
    pool.exit();
    let all = before.elapsed();
    drop(attached);
    jobs as f64 / all.as_secs_f64()
}

fn main() -> ExitCode {
    let check = std::env::args().any(|argument| argument == "--check");
    let jobs = if check { 200_000 } else { 1_000_000 };
    let log = std::env::temp_dir().join(format!("observe-cost-{}", std::process::id()));
    let mut best = [0f64; 4];
    // In turn, so that all have the same share of what else the machine does.
    for _ in 0..3 {
        let found = [
            throughput(jobs, |_| ()),
            throughput(jobs, Recorder::attach),
            throughput(jobs, |pool| JobLog::create(&log).expect("a file").attach(pool)),
            throughput(jobs, |pool| {
                JobLog::create(&log).expect("a file").attach(pool);
                (Recorder::attach(pool), Top::attach(pool), Bars::attach(pool), Metrics::attach(pool))
            }),
        ];
        best.iter_mut().zip(found).for_each(|(best, found)| *best = best.max(found));
    }
    let _ = std::fs::remove_file(&log);
    for (name, found) in ["nothing", "a recorder", "a job log", "everything"].iter().zip(best) {
        println!("{name:<12} {found:>9.0} jobs/s  {:.2}", found / best[0]);
    }
    if check && best[1] < 0.5 * best[0] { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
