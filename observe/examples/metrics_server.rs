//! A service whose pool is watched by Prometheus: the figures are at `/metrics`.
//!
//! ```text
//! cargo run -p hirelings-observe --features metrics --example metrics_server -- 127.0.0.1:9100
//! curl http://127.0.0.1:9100/metrics
//! ```

#![allow(clippy::print_stdout, reason = "a program may speak")]

use hirelings::worker::{Context, Outcome};
use hirelings::{Job, Pool, worker};
use hirelings_observe::Metrics;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;
use std::{env, thread};

/// Finds the smallest factor of a number; fails where there is none.
#[derive(Serialize, Deserialize)]
struct Factor(u64);

impl Job for Factor {
    type Output = u64;
    type Progress = ();
    type Error = String;
}

fn factor(Factor(n): Factor, _: &mut Context<Factor>) -> Outcome<Factor> {
    let most = n.isqrt();
    (2..=most).find(|by| n % by == 0).ok_or_else(|| format!("{n} is prime"))
}

fn main() -> Result<(), Box<dyn Error>> {
    worker::init(factor);

    // The exporter first: what is told before it is there is lost.
    let prometheus = PrometheusBuilder::new().install_recorder()?;
    let pool = Pool::<Factor>::self_exec().name("factors").max_processes(2).build()?;
    let _metrics = Metrics::attach(&pool);

    let listener = TcpListener::bind(env::args().nth(1).as_deref().unwrap_or("127.0.0.1:9100"))?;
    println!("http://{}/metrics", listener.local_addr()?);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Somebody who goes away in the middle is no trouble of ours.
            let _ = answer(stream, &prometheus);
        }
    });
    // The service's work.
    for result in pool.map((1_000_000_007..).step_by(2).map(Factor)) {
        if let Err(error @ hirelings::JobError::NoWorker(_)) = result {
            return Err(error.into());
        }
    }
    Ok(())
}

/// Answers one request. A service that has an HTTP server already adds a route to it instead.
fn answer(mut stream: TcpStream, prometheus: &PrometheusHandle) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    while lines.next().transpose()?.is_some_and(|header| !header.is_empty()) {}
    let (status, body) = match request.split(' ').nth(1) {
        Some("/metrics") => ("200 OK", prometheus.render()),
        _ => ("404 Not Found", "the figures are at /metrics\n".to_owned()),
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}
