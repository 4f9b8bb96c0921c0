//! Shows `Bars` with a bar a worker, for a test that looks at the terminal.

use hirelings_observe::Bars;
use hirelings_tests::{Do, pool};
use std::path::PathBuf;

/// The argument is a gate, which two of the jobs wait for.
fn main() {
    let gate = PathBuf::from(std::env::args().nth(1).expect("a gate"));
    let pool = pool().max_processes(2).timeout_working(None).build().expect("a pool");
    let bars = Bars::attach_with_workers(&pool).length(10);
    let first = [("succeeds", Do::Echo("x".into())), ("fails", Do::Fail("it says no".into()))];
    for (label, job) in first {
        if let Err(error) = pool.request(job).label(label).enqueue().wait() {
            bars.suspend(|| println!("{label}: {error}"));
        }
    }
    let waiting = ["page 3", "page 4"].map(|label| pool.request(Do::Wait(gate.clone())).label(label).enqueue());
    waiting.into_iter().for_each(|handle| drop(handle.wait().expect("an answer")));
    drop(bars);
    println!("all is done");
}
