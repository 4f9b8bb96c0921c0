//! Workers in Python, which hash files with `hashlib`; they need `python3`, and the feature `json`.
//!
//! ```text
//! cargo run --features json --example hash_files -- src/*.rs
//! ```

#![allow(clippy::print_stdout, reason = "a program may speak")]

use hirelings::{Codec, Job, JobError, Pool};
use serde::{Deserialize, Serialize};
use std::process::Command;

#[derive(Serialize, Deserialize)]
struct Hash {
    path: String,
}

#[derive(Serialize, Deserialize)]
struct Hashed {
    size: u64,
    sha256: String,
}

impl Job for Hash {
    type Output = Hashed;
    type Progress = u64;
    type Error = String;
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut python = Command::new("python3");
    python.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/hash_files/worker.py"));
    // Where `hirelings_worker.py` is; not needed where it lies beside the worker or is installed.
    python.env("PYTHONPATH", concat!(env!("CARGO_MANIFEST_DIR"), "/worker-kit/python"));
    let pool = Pool::<Hash>::builder(python).codec(Codec::Json).max_processes(2).build()?;
    for result in pool.map(std::env::args().skip(1).map(|path| Hash { path })) {
        match result {
            Ok(file) => println!("{} {} bytes", file.sha256, file.size),
            Err(JobError::Failed(why)) => println!("{why}"),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
