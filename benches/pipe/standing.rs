//! What a pool costs while it does nothing, or has much to do: memory and wakes.

use crate::figure::{Bar, Figure};
use crate::measure::{median, medians, resident, switches};
use crate::scale::scale_alone;
use crate::starts::large_parent_alone;
use crate::work::{Work, builder, drive, pool, ready, small, small_job};
use crate::{ALONE, Figures, Measure, SHORT, this_program};
use hirelings::{JobHandle, JobStatus, Pool};
use rustix::fs::{FlockOperation, flock};
use std::error::Error;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{self, ExitCode};
use std::time::{Duration, Instant};
use std::{env, io, thread};

const MEBIBYTE: f64 = 1024.0 * 1024.0;

/// Measures a case in a fresh process, whose memory nothing else has touched.
pub(crate) fn alone_in_a_process<const N: usize>(case: &str, measure: Measure) -> Result<[f64; N], Box<dyn Error>> {
    let mut program = this_program();
    program.args([ALONE, case]).args(measure.short.then_some(SHORT));
    let output = program.output()?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(format!("the process that measures it ended with {}: {}", output.status, words.trim_end()).into());
    }
    let figures = String::from_utf8(output.stdout)?;
    let figures: Result<Vec<f64>, _> = figures.split_whitespace().map(str::parse).collect();
    figures?.try_into().map_err(|_| "the process that measures it gave too many or too few figures".into())
}

/// The main of such a process: one line of figures.
pub(crate) fn alone(case: &str, measure: Measure) -> ExitCode {
    let workers = case.strip_prefix("scale_").map(str::parse);
    let figures = match case {
        "backlog" => backlog_alone(measure).map(Vec::from),
        "map" => map_alone(measure).map(Vec::from),
        "large_parent" => Ok(large_parent_alone(measure).into()),
        _ => match workers {
            Some(Ok(workers)) => scale_alone(workers, measure).map(Vec::from),
            _ => Err(io::Error::other("no such case")),
        },
    };
    match figures {
        Ok(figures) => {
            let figures: Vec<_> = figures.iter().map(f64::to_string).collect();
            println!("{}", figures.join(" "));
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

// ---------------------------------------------------------------- a great backlog

/// Many jobs queued, their handles held, and no worker free: bytes and time of each.
pub(crate) fn backlog(measure: Measure) -> Figures {
    let once = |_| alone_in_a_process("backlog", measure);
    let runs: Vec<_> = (0..measure.of(5, 3)).map(once).collect::<Result<_, _>>()?;
    let [bytes, early, late, rate] = medians(&runs);
    let jobs = backlog_size(measure);
    Ok(vec![
        Figure::new("backlog", bytes, "bytes/job").fixed(300.0).note(format!("{jobs} jobs of 64 B, handles held")),
        Figure::new("backlog_time", late, "µs/job")
            .against("at 10,000", early)
            .bar(Bar::AtMost(1.3))
            .note(format!("enqueue at {jobs}, until the pool has it; then done at {rate:.0} jobs/s")),
    ])
}

fn backlog_size(measure: Measure) -> usize {
    measure.of(1_000_000, 100_000)
}

fn backlog_alone(measure: Measure) -> io::Result<[f64; 4]> {
    /// Where the first measure begins, and how many jobs each takes.
    const EARLY: usize = 10_000;
    const MEASURED: usize = 20_000;

    let count = backlog_size(measure);
    let lock = Lock::new()?;
    let pool = ready(builder(2).timeout_working(None));
    let held: Vec<_> = (0..2).map(|_| pool.enqueue(Work::Hold(lock.path.clone()))).collect();
    pool.stats();
    assert!(held.iter().all(|handle| matches!(handle.status(), JobStatus::Running { .. })));

    let mut handles = Vec::with_capacity(count);
    let before = resident()?;
    enqueue_up_to(&pool, &mut handles, EARLY);
    let early = time_an_enqueue(&pool, &mut handles, MEASURED);
    enqueue_up_to(&pool, &mut handles, count - MEASURED);
    let late = time_an_enqueue(&pool, &mut handles, MEASURED);
    assert_eq!(pool.stats().backlog, count);
    let bytes = (resident()? - before) / count as f64;

    drop(lock);
    let started = Instant::now();
    for handle in held {
        handle.wait().expect("the lock is free");
    }
    for (number, handle) in handles.into_iter().enumerate() {
        assert_eq!(handle.wait().expect("an echo").0, small(number));
    }
    Ok([bytes, early, late, count as f64 / started.elapsed().as_secs_f64()])
}

fn enqueue_up_to(pool: &Pool<Work>, handles: &mut Vec<JobHandle<Work>>, count: usize) {
    while handles.len() < count {
        handles.push(pool.enqueue(small_job(handles.len())));
    }
    // Its answer comes behind all that was asked before.
    pool.stats();
}

/// The median of many batches, in microseconds a job.
fn time_an_enqueue(pool: &Pool<Work>, handles: &mut Vec<JobHandle<Work>>, count: usize) -> f64 {
    const BATCH: usize = 1_000;
    let batches = (0..count / BATCH).map(|_| {
        let started = Instant::now();
        enqueue_up_to(pool, handles, handles.len() + BATCH);
        started.elapsed().as_secs_f64() * 1e6 / BATCH as f64
    });
    median(batches.collect())
}

/// A file that is locked as long as this lives.
struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    fn new() -> io::Result<Self> {
        let path = env::temp_dir().join(format!("hirelings-bench-{}.lock", process::id()));
        let file = File::create(&path)?;
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(Lock { path, _file: file })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // One that stays behind is empty.
        let _ = fs::remove_file(&self.path);
    }
}

// ---------------------------------------------------------------- map

/// Many jobs through `map`: how much memory grows, and how fast they are beside the same jobs enqueued all at once.
pub(crate) fn map(measure: Measure) -> Figures {
    let [growth, rate, at_once, _] = alone_in_a_process("map", measure)?;
    let note = format!("{} jobs", map_size(measure));
    Ok(vec![
        Figure::new("map", growth, "MiB").fixed(4.0).note(note.clone()),
        Figure::new("map_speed", rate, "jobs/s").against("at once", at_once).bar(Bar::AtLeast(0.5)).note(note),
    ])
}

fn map_size(measure: Measure) -> usize {
    measure.of(1_000_000, 100_000)
}

fn map_alone(measure: Measure) -> io::Result<[f64; 4]> {
    const LOOK: usize = 10_000;
    let count = map_size(measure);
    let pool = pool(2);
    let (mut before, mut most) = (0.0, 0.0f64);
    let started = Instant::now();
    let mut done = 0;
    for (number, echoed) in pool.map((0..count).map(small_job)).enumerate() {
        assert_eq!(echoed.expect("an echo").0, small(number));
        done += 1;
        if number == LOOK / 10 {
            before = resident()?;
        } else if number % LOOK == 0 {
            most = most.max(resident()?);
        }
    }
    assert_eq!(done, count);
    let rate = count as f64 / started.elapsed().as_secs_f64();
    most = most.max(resident()?);
    let at_once = count as f64 / drive(&pool, count);
    Ok([(most - before) / MEBIBYTE, rate, at_once, 0.0])
}

// ---------------------------------------------------------------- nothing to do

/// The context switches of a pool of eight without work, its workers' included.
pub(crate) fn idle(measure: Measure) -> Figures {
    let length = measure.of(Duration::from_secs(10), Duration::from_secs(2));
    let pool = pool(8);
    // Each worker has had a job, and so has everything in it that wakes with one.
    for handle in (0..64).map(|number| pool.enqueue(small_job(number))).collect::<Vec<_>>() {
        handle.wait().expect("an echo");
    }
    let pids: Vec<u32> = pool.workers().iter().map(|worker| worker.pid).collect();
    assert_eq!(pids.len(), 8);

    let count = || -> io::Result<u64> {
        // The main thread, whose number is the process's, only waits here.
        let own = switches(process::id(), Some(process::id()))?;
        let of_workers: io::Result<u64> = pids.iter().map(|&pid| switches(pid, None)).sum();
        Ok(own + of_workers?)
    };
    // Until what the last job woke sleeps again; a pool that never does is measured as it is.
    let mut before = count()?;
    for _ in 0..20 {
        thread::sleep(Duration::from_millis(50));
        let now = count()?;
        if std::mem::replace(&mut before, now) == now {
            break;
        }
    }
    thread::sleep(length);
    let wakes = count()? - before;
    let note = format!("8 workers, {} s; the aim is 0", length.as_secs());
    Ok(vec![Figure::new("idle", wakes as f64, "switches").note(note)])
}
