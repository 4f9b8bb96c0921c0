//! A progress bar for each running job, moved by the job's own hooks.
//!
//! ```text
//! cargo run --example progress_bar
//! ```

#![allow(clippy::print_stdout, reason = "a program may speak")]

use hirelings::worker::{Context, Outcome};
use hirelings::{Job, JobHandle, Pool, Stderr, worker};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};
use std::error::Error;

/// Sums up so many numbers, in steps that are told.
#[derive(Serialize, Deserialize)]
struct Sum {
    steps: u64,
}

impl Job for Sum {
    type Output = u64;
    /// How many steps are done.
    type Progress = u64;
    type Error = String;
}

fn sum(Sum { steps }: Sum, ctx: &mut Context<Sum>) -> Outcome<Sum> {
    if ctx.attempt() == 1 && steps % 7 == 0 {
        return Err("the first attempt at this one fails".into());
    }
    let mut sum = 0u64;
    for step in 1..=steps {
        for n in 0..200_000 {
            sum = std::hint::black_box(sum.wrapping_add(n));
        }
        ctx.progress(&step);
    }
    Ok(sum)
}

fn main() -> Result<(), Box<dyn Error>> {
    worker::init(sum);

    let pool = Pool::<Sum>::self_exec()
        .max_processes(4)
        .retries(1)
        // Lines from workers would tear the bars.
        .stderr(Stderr::Null)
        .build()?;
    // Where standard error is no terminal nothing is drawn.
    let bars = MultiProgress::new();
    let handles: Vec<_> = (30..50).map(|steps| with_bar(&pool, &bars, steps)).collect();
    let mut total = 0u64;
    for handle in handles {
        total = total.wrapping_add(handle.wait()?);
    }
    // `wait` does not wait for hooks; this does. So all bars have been told.
    pool.exit();
    let stats = pool.stats();
    println!("{} sums, {total} in all, {} tried twice", stats.succeeded, stats.retried);
    Ok(())
}

/// Enqueues a job with a bar of its own.
fn with_bar(pool: &Pool<Sum>, bars: &MultiProgress, steps: u64) -> JobHandle<Sum> {
    let style = ProgressStyle::with_template("{msg:>12} {bar:40} {pos}/{len} {elapsed}");
    let bar = ProgressBar::new(steps).with_message("waits");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    // Each hook has a clone, which is the same bar. They run on one thread of the pool's, in the order of what happens,
    // and no worker waits for them.
    let (begun, moved, again, ended) = (bar.clone(), bar.clone(), bar.clone(), bar);
    let bars = bars.clone();
    pool.request(Sum { steps })
        .label(format!("{steps} steps"))
        .on_start(move || {
            bars.add(begun.clone());
            begun.set_message("sums up");
        })
        .on_progress(move |step| moved.set_position(step))
        .on_retry(move |error| {
            again.set_position(0);
            again.set_message(error.to_string());
        })
        .on_done(move |result| match result {
            Ok(_) => ended.finish_and_clear(),
            Err(error) => ended.abandon_with_message(error.to_string()),
        })
        .enqueue()
}
