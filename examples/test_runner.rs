//! Runs tests, each in a process of its own: one that aborts, hangs or ends the process fails alone. A test that is slow is told
//! of while it runs.
//!
//! ```text
//! cargo run --example test_runner
//! ```

#![allow(clippy::print_stdout, reason = "a program may speak")]
#![allow(clippy::disallowed_methods, reason = "one of the tests is to be slow")]

use hirelings::worker::{Context, Outcome};
use hirelings::{Job, Pool, Stderr, worker};
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::hint::black_box;
use std::process::{ExitCode, abort, exit};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

const TESTS: [(&str, fn()); 7] = [
    ("adds", || assert_eq!(black_box(1) + 1, 2)),
    ("does not add", || assert_eq!(black_box(1) + 1, 3, "one and one")),
    ("aborts", || abort()),
    ("ends the process", || exit(0)),
    ("is slow", || thread::sleep(6 * SLOW)),
    ("hangs", || {
        loop {
            thread::park();
        }
    }),
    ("adds too", || assert_eq!(black_box(2) + 2, 4)),
];

/// Whoever takes longer is told of.
const SLOW: Duration = Duration::from_millis(250);

/// Whoever takes longer is ended.
const LIMIT: Duration = Duration::from_secs(3);

/// A test, by its place.
#[derive(Serialize, Deserialize)]
struct Test(usize);

impl Job for Test {
    type Output = ();
    /// It is slow.
    type Progress = ();
    type Error = String;

    fn label(&self) -> Option<String> {
        Some(TESTS[self.0].0.into())
    }
}

/// The test has a thread of its own, so that this one sees that the soft limit is over.
fn run(Test(at): Test, ctx: &mut Context<Test>) -> Outcome<Test> {
    let (running, over) = channel::<()>();
    let test = thread::spawn(move || {
        let _running = running;
        TESTS[at].1();
    });
    let mut told = false;
    while over.recv_timeout(Duration::from_millis(10)) == Err(RecvTimeoutError::Timeout) {
        if ctx.is_cancelled() && !told {
            ctx.progress(&());
            told = true;
        }
    }
    test.join().map_err(|panic| match panic.downcast::<String>() {
        Ok(words) => *words,
        Err(_) => "it panicked".into(),
    })
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    worker::init(run);

    let pool = Pool::<Test>::self_exec()
        .max_jobs_per_process(1)
        .soft_timeout(SLOW)
        .timeout_working(LIMIT)
        .stderr(Stderr::Null)
        .build()?;
    let tests = pool.map_unordered((0..TESTS.len()).map(Test)).with(|request| {
        let name = TESTS[request.job().0].0;
        request.on_progress(move |()| println!("SLOW {name}"))
    });
    let mut failed = 0;
    for (at, result) in tests {
        match result {
            Ok(()) => println!("ok   {}", TESTS[at].0),
            Err(error) => {
                failed += 1;
                println!("FAIL {}: {error}", TESTS[at].0);
            }
        }
    }
    pool.exit();
    println!("{} tests, {failed} failed", TESTS.len());
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
