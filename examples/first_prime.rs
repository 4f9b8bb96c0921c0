//! The first prime of many numbers, looked for by several processes; the search ends with it. In Python:
//!
//! ```python
//! with ProcessPoolExecutor(max_workers=2) as pool:
//!     numbers = {pool.submit(smallest_factor, n): n for n in candidates()}
//!     for future in as_completed(numbers):
//!         factor = future.result()
//!         if factor is None:
//!             print(f"{numbers[future]} is a prime")
//!             pool.shutdown(wait=True, cancel_futures=True)
//!             break
//!         print(f"{numbers[future]} is divisible by {factor}")
//! ```
//!
//! ```text
//! cargo run --example first_prime
//! ```

#![allow(clippy::print_stdout, reason = "a program may speak")]

use hirelings::{Job, Pool, as_completed, worker};
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::time::Duration;

#[derive(Serialize, Deserialize)]
struct SmallestFactor(u64);

impl Job for SmallestFactor {
    type Output = Option<u64>;
    type Progress = ();
    type Error = String;
}

fn smallest_factor(n: u64) -> Option<u64> {
    (2..).take_while(|factor| factor * factor <= n).find(|&factor| n.is_multiple_of(factor))
}

/// Two that are no primes, one that is, and many that take long.
fn candidates() -> Vec<u64> {
    [91, 1_000_001, 2_147_483_647].into_iter().chain([1_000_000_000_039; 500]).collect()
}

fn main() -> Result<(), Box<dyn Error>> {
    worker::init(|SmallestFactor(n), _| Ok(smallest_factor(n)));

    let pool = Pool::<SmallestFactor>::self_exec().max_processes(2).build()?;
    let numbers = candidates();
    let handles: Vec<_> = numbers.iter().map(|&n| pool.enqueue(SmallestFactor(n))).collect();
    for (position, factor) in as_completed(handles) {
        let Some(factor) = factor? else {
            println!("{} is a prime", numbers[position]);
            println!("{} numbers were not looked at", pool.abort_queued());
            break;
        };
        println!("{} is divisible by {factor}", numbers[position]);
    }
    // What was being looked at is finished.
    pool.drain(Duration::MAX);
    Ok(())
}
