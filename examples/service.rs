//! A service over TCP that has its work done by processes, and whose number of processes can be changed while it runs.
//!
//! ```text
//! cargo run --example service -- 127.0.0.1:7878
//! ```
//!
//! It answers each line with a line: `square 12` with 144, `workers 8` from then on with at most eight processes, and `stats`.

#![allow(clippy::print_stdout, reason = "a program may speak")]

use hirelings::{EnqueueErrorKind, Job, JobError, Pool, worker};
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use std::{env, io, thread};

#[derive(Serialize, Deserialize)]
struct Square(u64);

impl Job for Square {
    type Output = u64;
    type Progress = ();
    type Error = String;
}

fn main() -> Result<(), Box<dyn Error>> {
    worker::init(|Square(n), _| n.checked_mul(n).ok_or_else(|| format!("{n} squared is too large")));

    let pool = Pool::<Square>::self_exec()
        .max_processes(2)
        // They are there before they are needed.
        .min_processes(2)
        // A client is refused rather than kept waiting.
        .max_backlog(100)
        .timeout_working(Duration::from_secs(5))
        .build()?;
    let pool = Arc::new(pool);
    let listener = TcpListener::bind(env::args().nth(1).unwrap_or("127.0.0.1:0".into()))?;
    println!("listening on {}", listener.local_addr()?);
    for stream in listener.incoming() {
        let (stream, pool) = (stream?, Arc::clone(&pool));
        // A thread for each client, which waits for its jobs.
        thread::spawn(move || serve(&stream, &pool));
    }
    Ok(())
}

fn serve(mut stream: &TcpStream, pool: &Pool<Square>) -> io::Result<()> {
    for line in BufReader::new(stream).lines() {
        let answer = answer(&line?, pool).unwrap_or_else(|complaint| format!("error: {complaint}"));
        writeln!(stream, "{answer}")?;
    }
    Ok(())
}

fn answer(line: &str, pool: &Pool<Square>) -> Result<String, String> {
    let (word, number) = line.split_once(' ').unwrap_or((line, ""));
    let number = || number.parse().map_err(|_| format!("{number:?} is no number"));
    match word {
        "square" => match pool.try_enqueue(Square(number()?)) {
            Ok(handle) => handle.wait().map(|square| square.to_string()).map_err(|error| match error {
                JobError::Failed(why) => why,
                other => other.to_string(),
            }),
            Err(refused) if refused.kind == EnqueueErrorKind::Full => Err("too busy".into()),
            Err(refused) => Err(refused.to_string()),
        },
        "workers" => {
            let n = usize::try_from(number()?).unwrap_or(usize::MAX);
            pool.set_max_processes(n).map_err(|error| error.to_string())?;
            Ok("ok".into())
        }
        "stats" => {
            let stats = pool.stats();
            Ok(format!(
                "{} workers, {} busy, {} waiting, {} done",
                stats.workers, stats.busy, stats.backlog, stats.jobs
            ))
        }
        _ => Err("square N, workers N, or stats".into()),
    }
}
