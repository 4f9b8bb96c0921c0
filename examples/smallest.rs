//! The smallest program that is its own worker.
//!
//! ```text
//! cargo run --example smallest
//! ```

#![allow(clippy::print_stdout, reason = "a program may speak")]

use hirelings::{Job, Pool, worker};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Square(u64);

impl Job for Square {
    type Output = u64;
    type Progress = ();
    type Error = String;
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // In a worker process this serves jobs and never returns; in the parent it returns at once.
    worker::init(|Square(n), _| n.checked_mul(n).ok_or_else(|| format!("{n} squared is too large")));

    let pool = Pool::<Square>::self_exec().build()?;
    println!("{}", pool.enqueue(Square(7)).wait()?);
    Ok(())
}
