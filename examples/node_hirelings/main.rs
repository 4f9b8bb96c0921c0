//! A program that used node-hirelings, with its worker module unchanged; it needs `node`, and the feature `json`. Before:
//!
//! ```js
//! const pool = new hirelings.Pool({ module, max_processes: 2, retries: 1, options: { greeting: 'hello' } });
//! pool.on('WorkerProcess:ready', () => { ready += 1; });
//! for (const name of ['Ada', '', 'Grace']) {
//!   pool.enqueue({ name }, (error, output) => console.log(name, error ?? output.greeting));
//! }
//! ```
//!
//! ```text
//! cargo run --features json --example node_hirelings
//! ```

#![allow(clippy::print_stdout, reason = "a program may speak")]

use hirelings::{Codec, EventKind, Job, JobError, Pool};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What the module takes, what it gives, and how far it is.
#[derive(Serialize, Deserialize)]
struct Greet {
    name: String,
}

#[derive(Serialize, Deserialize)]
struct Greeted {
    greeting: String,
}

impl Job for Greet {
    type Output = Greeted;
    type Progress = f32;
    type Error = String;
}

#[derive(Serialize)]
struct Options {
    greeting: &'static str,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let module = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/node_hirelings/worker.js");
    let pool = Pool::<Greet>::builder(hirelings::node_module(module))
        .codec(Codec::Json)
        .options(&Options { greeting: "hello" })
        .max_processes(2)
        .retries(1)
        .build()?;
    let ready = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&ready);
    pool.on(EventKind::WorkerReady, move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    for name in ["Ada", "", "Grace"] {
        pool.request(Greet { name: name.into() })
            .on_progress(move |part| println!("{name:?}: {:.0} %", part * 100.0))
            .on_done(move |result| match result {
                Ok(Greeted { greeting }) => println!("{name:?}: {greeting}"),
                Err(JobError::Failed(why)) => println!("{name:?}: failed: {why}"),
                Err(other) => println!("{name:?}: {other}"),
            })
            .enqueue();
    }
    pool.wait_idle();
    pool.exit();
    let stats = pool.stats();
    println!("{} done, {} failed, {} tried again", stats.succeeded, stats.failed, stats.retried);
    assert!(ready.load(Ordering::Relaxed) > 0, "workers were ready");
    Ok(())
}
