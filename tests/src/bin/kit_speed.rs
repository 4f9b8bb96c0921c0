//! How fast workers in other languages are: small texts there and back, in JSON. See `benches/peers/README.md`.
//!
//! `kit_speed [--short] NAME PROGRAM [ARGUMENT …]`; without a program, `workers/node/echo.js`.

use hirelings::{Codec, Job, Pool, Stderr};
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

#[derive(Serialize, Deserialize)]
struct Echo(String);

impl Job for Echo {
    type Output = String;
    type Progress = ();
    type Error = String;
}

fn small(number: u32) -> Echo {
    Echo(format!("{number:08}{}{number:08}", "Z".repeat(48)))
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

/// What one process of Node does that gives back the same texts and nothing more, all sent at once: jobs in a second.
fn raw(jobs: u32) -> Option<f64> {
    let mut command = Command::new("node");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/workers/node/raw.js"));
    let mut node = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
    let (mut input, mut output) = (node.stdin.take()?, node.stdout.take()?);
    let frame = |number| {
        let text = serde_json::to_vec(&small(number)).expect("a text");
        [&(text.len() as u32).to_le_bytes(), &text[..]].concat()
    };
    let all: Vec<u8> = (0..jobs).flat_map(frame).collect();
    let mut echoed = vec![0; all.len()];
    // Once it has started.
    let first = frame(0);
    input.write_all(&first).ok()?;
    output.read_exact(&mut echoed[..first.len()]).ok()?;
    let begin = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| input.write_all(&all).expect("it reads"));
        output.read_exact(&mut echoed)
    })
    .ok()?;
    let took = begin.elapsed();
    assert!(echoed == all, "it gives back what it was given");
    drop(input);
    node.wait().ok()?;
    Some(f64::from(jobs) / took.as_secs_f64())
}

fn main() {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let short = args.iter().position(|arg| arg == "--short").map(|at| args.remove(at)).is_some();
    let (jobs, rounds, latencies) = if short { (20_000, 1, 1_000) } else { (100_000, 3, 5_000) };
    let node = ["Node".into(), "node".into(), concat!(env!("CARGO_MANIFEST_DIR"), "/workers/node/echo.js").into()];
    let [name, program, arguments @ ..] = (if args.len() < 2 { &node[..] } else { &args[..] }) else { return };
    let start = |workers: usize| {
        let mut command = Command::new(program);
        command.args(arguments);
        let pool = Pool::<Echo>::builder(command).codec(Codec::Json).max_processes(workers).stderr(Stderr::Null);
        let pool = pool.max_jobs_per_process(u64::MAX).build().expect("a pool");
        pool.wait_ready(Duration::from_secs(60)).expect("workers that start");
        pool
    };
    println!("{{\"peer\":\"hirelings, workers in {name}\"}}");
    let one = start(1);
    let took = (0..latencies).map(|number| {
        let begin = Instant::now();
        one.enqueue(small(number)).wait().expect("an echo");
        begin.elapsed().as_secs_f64() * 1e6
    });
    println!("{{\"case\":\"latency\",\"value\":{:.0},\"unit\":\"µs\"}}", median(took.collect()));
    drop(one);
    for workers in [1, 2] {
        let pool = start(workers);
        let rate = || {
            let begin = Instant::now();
            let handles: Vec<_> = (0..jobs).map(|number| pool.enqueue(small(number))).collect();
            for (number, handle) in (0..).zip(handles) {
                assert_eq!(handle.wait().expect("an echo"), small(number).0);
            }
            f64::from(jobs) / begin.elapsed().as_secs_f64()
        };
        rate();
        let value = median((0..rounds).map(|_| rate()).collect());
        let note = format!("{jobs} jobs, {workers} workers");
        // Beside the raw pipe in the same moment.
        let raw = if name == "Node" && workers == 1 { raw(jobs) } else { None };
        let against = raw.map(|raw| format!(",\"limit\":{raw:.0},\"ratio\":{:.2}", value / raw)).unwrap_or_default();
        println!(
            "{{\"case\":\"throughput_{workers}\",\"value\":{value:.0},\"unit\":\"jobs/s\"{against},\"note\":\"{note}\"}}"
        );
    }
}
