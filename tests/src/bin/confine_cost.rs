//! What a confinement costs: a job's way there and back, and the start of a worker, with it and without it.
//!
//! `confine_cost [--check]`; with `--check` it ends with 1 where the ratios are over what is promised.

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    linux::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
mod linux {
    use hirelings::Pool;
    use hirelings_tests::confined::{Layer, Setup, Try, pool};
    use std::process::ExitCode;
    use std::time::{Duration, Instant};

    /// At most so many times what it is without.
    const MOST_JOB: f64 = 1.25;
    const MOST_START: f64 = 1.4;
    /// Short ones, in turns, so that what else the machine does harms all alike.
    const ROUNDS: usize = 100;

    pub fn main() -> ExitCode {
        let layers = [Layer::Without, Layer::Confined, Layer::Killing];
        let pools = layers.map(|layer| pool(&Setup::new(layer)).build().unwrap());
        let jobs = quartiles(|layer| each(&pools[layer], 100, Try::Pid));
        let pools = layers.map(|layer| pool(&Setup::new(layer)).max_jobs_per_process(1).build().unwrap());
        // With one job to a process, each job waits for the start of its worker.
        let starts = quartiles(|layer| each(&pools[layer], 10, Try::Pid));
        let mut good = true;
        for (what, times, most) in [("a job", jobs, MOST_JOB), ("a start and a job", starts, MOST_START)] {
            for (layer, time) in layers.iter().zip(times).skip(1) {
                let ratio = time.as_secs_f64() / times[0].as_secs_f64();
                let verdict = if ratio <= most { "good" } else { "too much" };
                good &= ratio <= most;
                println!(
                    "{what}: {:?} without, {time:?} {layer:?}: {ratio:.2} x, at most {most} x: {verdict}",
                    times[0]
                );
            }
        }
        if std::env::args().any(|argument| argument == "--check") && !good {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        }
    }

    /// Of each layer's rounds the lower quartile: the quieter ones, and none that was lucky.
    fn quartiles(mut round: impl FnMut(usize) -> Duration) -> [Duration; 3] {
        let mut times = [Vec::new(), Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            (0..3).for_each(|layer| times[layer].push(round(layer)));
        }
        times.map(|mut times| {
            times.sort_unstable();
            times[ROUNDS / 4]
        })
    }

    /// How long one of so many takes, one after the other.
    fn each(pool: &Pool<Try>, count: u32, job: Try) -> Duration {
        let start = Instant::now();
        for _ in 0..count {
            pool.enqueue(job.clone()).wait().unwrap();
        }
        start.elapsed() / count
    }
}
