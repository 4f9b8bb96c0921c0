//! Jobs that take too long, and jobs that nobody wants any more.
//!
//! ```text
//! cargo run --example abort_and_timeout
//! ```

#![allow(clippy::print_stdout, reason = "a program may speak")]

use hirelings::worker::{Context, Outcome};
use hirelings::{Job, JobError, JobResult, Pool, worker};
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::time::Duration;

/// Looks for a factor of a number, by hand: quick or not, nobody knows before.
#[derive(Serialize, Deserialize)]
struct Factor(u64);

impl Job for Factor {
    type Output = Option<u64>;
    type Progress = ();
    type Error = String;
}

/// Nothing in here can be told to stop, and nothing needs to.
fn factor(Factor(n): Factor, _: &mut Context<Factor>) -> Outcome<Factor> {
    if n < 2 {
        return Err(format!("{n} has no factors"));
    }
    Ok((2..).take_while(|d| u128::from(*d) * u128::from(*d) <= u128::from(n)).find(|d| n % d == 0))
}

/// A prime, for which this takes a very long time.
const PRIME: u64 = 18_446_744_073_709_551_557;

fn main() -> Result<(), Box<dyn Error>> {
    worker::init(factor);

    let pool = Pool::<Factor>::self_exec()
        .max_processes(2)
        // Each attempt at a job, from the moment a worker is handed it; the time in the queue does not count.
        .timeout_working(Duration::from_secs(10))
        // A worker that does not heed SIGTERM gets SIGKILL after this.
        .kill_grace(Duration::from_millis(100))
        .build()?;

    // A limit of a job's own.
    let slow = pool.request(Factor(PRIME)).timeout(Duration::from_millis(300)).enqueue();
    let quick = pool.enqueue(Factor(1_000_003 * 1_000_033));
    tell("over its limit", slow.wait());
    tell("within it", quick.wait());

    // A caller that has waited long enough aborts its job. Whoever is first, the answer or the abort, is the outcome.
    match pool.enqueue(Factor(PRIME)).wait_timeout(Duration::from_millis(300)) {
        Ok(result) => tell("in time", result),
        Err(handle) => {
            // It is settled when this returns, and its worker is on its way out.
            handle.abort();
            tell("aborted by its caller", handle.wait());
        }
    }

    // Jobs that run, and jobs that wait behind them, aborted from another thread.
    let handles: Vec<_> = (0..4).map(|_| pool.enqueue(Factor(PRIME))).collect();
    let abort: Vec<_> = handles.iter().map(|handle| handle.abort_handle()).collect();
    let aborter = std::thread::spawn(move || abort.iter().for_each(|handle| handle.abort()));
    for handle in handles {
        tell("aborted from elsewhere", handle.wait());
    }
    aborter.join().map_err(|_| "the aborting thread panicked")?;

    // The pool has lost nothing but those jobs.
    tell("after all that", pool.enqueue(Factor(91)).wait());
    let stats = pool.stats();
    println!("{} jobs, {} aborted, {} workers timed out", stats.enqueued, stats.aborted, stats.timed_out);
    Ok(())
}

fn tell(what: &str, result: JobResult<Factor>) {
    match result {
        Ok(Some(factor)) => println!("{what}: it has the factor {factor}"),
        Ok(None) => println!("{what}: it is a prime"),
        Err(JobError::TimedOut(timeout)) => println!("{what}: given up after {:?}", timeout.limit),
        Err(JobError::Aborted) => println!("{what}: nobody wants it any more"),
        Err(other) => println!("{what}: {other}"),
    }
}
