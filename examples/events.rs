//! Every event of a pool, as a log: what happens to jobs and workers when all goes well, and when it does not.
//!
//! ```text
//! cargo run --example events
//! ```

#![allow(clippy::print_stdout, reason = "a program may speak")]

use hirelings::{Event, EventKind, Job, Pool, Stderr, self_exec, worker};
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::time::Duration;

#[derive(Serialize, Deserialize)]
enum Task {
    Count(u32),
    Fail,
    Panic,
    Exit,
    /// For ever.
    Sleep,
}

impl Job for Task {
    type Output = u32;
    type Progress = u32;
    type Error = String;
}

fn do_task(task: Task, ctx: &mut worker::Context<Task>) -> worker::Outcome<Task> {
    match task {
        Task::Count(to) => {
            (1..=to).for_each(|n| ctx.progress(&n));
            Ok(to)
        }
        Task::Fail => Err("there is nothing to be done".into()),
        Task::Panic => panic!("this is a bug"),
        Task::Exit => {
            // Standard output is standard error in a worker, and each line of it an event.
            println!("about to leave without an answer");
            std::process::exit(3)
        }
        Task::Sleep => loop {
            std::thread::park();
        },
    }
}

/// `Event` writes itself for a log, an error as its sentence. Progress is decoded by whoever knows the type of the jobs.
fn log(event: &Event) {
    print!("{event}");
    if let Some(n) = event.progress::<Task>() {
        print!(", which says {n}");
    }
    println!();
}

fn main() -> Result<(), Box<dyn Error>> {
    worker::init(do_task);

    let mut command = self_exec::<Task>();
    command.env("RUST_BACKTRACE", "0");
    let pool = Pool::<Task>::builder(command)
        .name("events")
        .max_processes(1)
        .max_jobs_per_process(3)
        .timeout_working(Duration::from_secs(2))
        // What workers say is in the log already.
        .stderr(Stderr::Null)
        // Given to the builder, a hook misses nothing. It runs on the pool's own thread, and no worker waits for it.
        .on_event(log)
        .on(EventKind::Idle, |_| println!("-- nothing more to do"))
        .build()?;

    let handles = [
        pool.request(Task::Count(2)).label("counts").enqueue(),
        pool.request(Task::Fail).label("fails").retries(1).enqueue(),
        pool.request(Task::Panic).label("panics").enqueue(),
        pool.request(Task::Exit).label("exits").enqueue(),
        pool.request(Task::Sleep).label("sleeps").enqueue(),
    ];
    let unwanted = pool.request(Task::Count(1000)).label("is aborted").enqueue();
    unwanted.abort();
    for handle in handles {
        // The log has told what each came to.
        let _ = handle.wait();
    }
    pool.wait_idle();
    // Returns when no process is left and every hook has run.
    pool.exit();
    Ok(())
}
