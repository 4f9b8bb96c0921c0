//! A pool whose workers are another program: `renderer`, beside this one.
//!
//! ```text
//! cargo build --examples && cargo run --example separate_worker
//! ```

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program may speak")]

mod job;

use hirelings::{JobError, Pool};
use job::{Page, Settings};
use std::error::Error;
use std::process::{Command, ExitCode};
use std::time::Duration;

const TEXT: &str = "It is a truth universally acknowledged, that a single man in possession of a good fortune, must be \
                    in want of a wife. However little known the feelings or views of such a man may be on his first \
                    entering a neighbourhood, this truth is so well fixed in the minds of the surrounding families, \
                    that he is considered as the rightful property of some one or other of their daughters.";

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        eprintln!("separate_worker: {error}");
        ExitCode::FAILURE
    })
}

fn run() -> Result<ExitCode, Box<dyn Error>> {
    // The worker lies beside this program, as the two would be installed.
    let worker = std::env::current_exe()?.with_file_name("renderer");
    let pool = Pool::<Page>::builder(Command::new(worker))
        .name("renderers")
        .options(&Settings { width: 40 })
        .max_processes(2)
        .retries(1)
        .timeout_working(Duration::from_secs(30))
        .build()?;
    // Not needed, but worth it in a service: what keeps the workers from starting is told here and now, with their own
    // words, and not by the first job.
    pool.wait_ready(Duration::from_secs(10))?;

    let pages = ["", TEXT, "A short one."].into_iter().cycle().take(12);
    let pages = pages.zip(1..).map(|(text, number)| Page { number, text: text.into() });
    for (number, result) in (1..).zip(pool.map(pages)) {
        match result {
            Ok(page) => println!("page {number}: {} lines, the first {:?}", page.lines.len(), page.lines[0]),
            // The handler's own error, as it gave it.
            Err(JobError::Failed(why)) => println!("page {number}: {why}"),
            Err(error) => return Err(error.into()),
        }
    }

    // One page with all that happens to it.
    let last = pool
        .request(Page { number: 13, text: TEXT.repeat(8) })
        .label("the long one")
        .on_progress(|part| println!("{:3.0} % of the long one", part * 100.0))
        .enqueue();
    let page = last.wait()?;
    let drained = pool.drain(Duration::from_secs(10));
    println!("{} lines, by a worker that has done {} pages", page.lines.len(), page.pages_of_this_worker);
    Ok(if drained.left == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
