//! Workers of the kit in Python, `worker-kit/python`: each test is skipped, and says so, where there is no Python.

use super::at_most_once::{Mixing, deadly, limited, mixed_in};
use super::parent_death::leaves_nobody_of_kit;
use hirelings::{Codec, EventKind, JobError, Pool, PoolBuilder, Stderr};
use hirelings_tests::mixture::{self, Act, Deed, End, Figures, Order, Trial};
use hirelings_tests::processes::{is_alive, of_group};
use hirelings_tests::signals::Strike;
use hirelings_tests::{Do, Gate, Told, WATCHDOG, begun, eventually, settled, spawned};
use std::path::Path;
use std::process::Command;
use std::sync::{OnceLock, mpsc};
use std::time::Duration;

/// The interpreter itself: `python3` may be a script that looks for it, at each start.
fn python() -> Option<&'static str> {
    static PYTHON: OnceLock<Option<String>> = OnceLock::new();
    let found = PYTHON.get_or_init(|| {
        let output = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output().ok()?;
        Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
    });
    found.as_deref()
}

/// Whether there is a Python; says so where there is none.
pub(super) fn has_python() -> bool {
    if python().is_none() {
        assert!(std::env::var_os("HIRELINGS_SKIP_NOTHING").is_none(), "there is no python3");
        println!("skipped: there is no python3 on this machine");
    }
    python().is_some()
}

pub(super) fn script(name: &str) -> Command {
    let mut command = Command::new(python().unwrap_or("python3"));
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("workers").join(name));
    command
}

fn pool() -> PoolBuilder<Do> {
    let pool = Pool::<Do>::builder(script("do.py")).codec(Codec::Json).stderr(Stderr::Null).max_processes(1);
    pool.timeout_initializing(WATCHDOG)
}

#[test]
fn the_kits_own_tests() {
    if !has_python() {
        return;
    }
    let mut command = Command::new("python3");
    command.arg("-B").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../worker-kit/python/test_hirelings_worker.py"));
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("\nOK"), "{said}");
}

#[test]
fn a_cancelled_job_sees_it_and_answers() {
    if !has_python() {
        return;
    }
    let pool = pool().timeout_working(None).build().unwrap();
    let handle = begun(pool.request(Do::UntilCancelled));
    handle.cancel(Duration::from_secs(3600));
    assert_eq!(settled(handle).unwrap(), "cancelled");
    assert_eq!(settled(pool.request(Do::UntilCancelled).soft_timeout(Duration::ZERO).enqueue()).unwrap(), "cancelled");
    assert_eq!(pool.stats().spawned, 1);
}

#[test]
fn jobs_progress_errors_and_retries() {
    if !has_python() {
        return;
    }
    let pool = pool().max_processes(2).max_jobs_per_process(50).build().unwrap();
    let jobs: Vec<_> = (0..500)
        .map(|n| {
            pool.enqueue(if n % 10 == 3 { Do::Fail(format!("ü {n}")) } else { Do::Echo("ü".repeat(n % 7 * 1000)) })
        })
        .collect();
    for (n, job) in jobs.into_iter().enumerate() {
        match settled(job) {
            Ok(text) => assert_eq!(text, "ü".repeat(n % 7 * 1000)),
            Err(JobError::Failed(error)) => assert_eq!((error, n % 10), (format!("ü {n}"), 3)),
            Err(other) => panic!("{other}"),
        }
    }
    let (tell, told) = mpsc::channel();
    let job = pool.request(Do::Progress(3)).on_progress(move |n| tell.send(n).unwrap()).enqueue();
    settled(job).unwrap();
    let told: Vec<_> = (0..3).map(|_| told.recv_timeout(WATCHDOG).unwrap()).collect();
    assert_eq!(told, [0, 1, 2].map(Told::Count));
    let retried = settled(pool.request(Do::FailUntil(3)).retries(2).enqueue());
    assert!(retried.is_ok(), "{retried:?}");
    let large = "x".repeat(3 << 20);
    assert!(settled(pool.enqueue(Do::Echo(large.clone()))).unwrap() == large);
    let stats = pool.stats();
    assert_eq!((stats.crashed, stats.timed_out, stats.failed), (0, 0, 50), "{stats:?}");
}

#[test]
fn each_way_to_fail_has_its_own_error() {
    if !has_python() {
        return;
    }
    let pool = pool().build().unwrap();
    let fails = |job| settled(pool.enqueue(job)).unwrap_err();
    // An exception is the job's error: its type, its message and where it was.
    match fails(Do::Recurse) {
        JobError::Failed(error) => {
            assert!(error.starts_with("ValueError: this worker does no Recurse\nTraceback"), "{error}");
            assert!(error.contains("do.py\", line"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    let first = pool.workers()[0].pid;
    match fails(Do::Panic("in doubt".into())) {
        JobError::Panicked(panic) => {
            assert_eq!(panic.message, "in doubt");
            assert!(panic.location.unwrap().contains("do.py:"));
            assert!(panic.backtrace.unwrap().contains("Traceback"));
        }
        other => panic!("{other:?}"),
    }
    assert_ne!(settled(pool.enqueue(Do::Pid)).unwrap(), first.to_string());
    for (job, says) in [
        (Do::Exit(7), "exited with status 7"),
        (Do::Abort, "SIGABRT"),
        (Do::Signal(9), "SIGKILL"),
        (Do::Signal(15), "SIGTERM"),
        (Do::SayAndDie("last words".into()), "last words"),
    ] {
        match fails(job) {
            JobError::Crashed(crash) => assert!(format!("{crash} {crash:#?}").contains(says), "{crash:#?}"),
            other => panic!("{other:?}"),
        }
    }
    // A limit of time, while a call in C keeps the interpreter's lock.
    let timed_out = settled(pool.request(Do::Spin).timeout(Duration::from_millis(200)).enqueue());
    assert!(matches!(timed_out, Err(JobError::TimedOut(_))), "{timed_out:?}");
    settled(pool.enqueue(Do::Pid)).unwrap();
}

#[test]
fn nothing_that_is_printed_harms_the_protocol() {
    if !has_python() {
        return;
    }
    let (tell, told) = mpsc::channel();
    let pool = pool().stderr(Stderr::Log);
    let pool = pool.on(EventKind::WorkerStderr, move |event| {
        let _ = tell.send(event.stderr().unwrap_or_default().to_owned());
    });
    let pool = pool.build().unwrap();
    settled(pool.enqueue(Do::Print("shown".into()))).unwrap();
    assert_eq!(settled(pool.enqueue(Do::ReadInput)).unwrap(), "", "standard input is empty");
    assert_eq!(settled(pool.enqueue(Do::Shell("echo out; cat".into()))).unwrap(), "out");
    assert_eq!([told.recv_timeout(WATCHDOG).unwrap(), told.recv_timeout(WATCHDOG).unwrap()], ["shown", "shown"]);
    assert_eq!(pool.stats().spawned, 1);
}

#[test]
fn a_final_failure_is_not_retried() {
    if !has_python() {
        return;
    }
    let pool = pool().retries(3).build().unwrap();
    match settled(pool.enqueue(Do::FailForGood("for good".into()))) {
        Err(JobError::Failed(error)) => assert_eq!(error, "for good"),
        other => panic!("{other:?}"),
    }
    // A pool that knows the message does not retry; one that speaks version 1 is told of a failure like any other.
    assert!(matches!(pool.stats().retried, 0 | 3));
}

/// A long job does not hold up those that were prefetched behind it, though it keeps the interpreter's lock.
#[test]
fn what_lies_behind_a_long_job_goes_to_another_worker() {
    if !has_python() {
        return;
    }
    let pool = pool().max_processes(2).timeout_working(None).build().unwrap();
    // Both are ready, and known to be quick.
    let quick: Vec<_> = (0..200).map(|_| pool.enqueue(Do::Pid)).collect();
    quick.into_iter().for_each(|job| drop(settled(job).unwrap()));
    let mut jobs = Vec::new();
    for n in 0..200 {
        jobs.push(pool.enqueue(if n == 20 { Do::Spin } else { Do::Pid }));
    }
    let spinning = jobs.remove(20);
    for job in jobs {
        settled(job).unwrap();
    }
    assert!(!spinning.is_finished());
    spinning.abort();
    assert!(matches!(settled(spinning), Err(JobError::Aborted)));
}

#[test]
fn one_that_retires_is_replaced_and_loses_nothing() {
    if !has_python() {
        return;
    }
    let pool = pool().build().unwrap();
    let jobs: Vec<_> = (0..90).map(|n| pool.enqueue(if n % 30 == 20 { Do::Retire } else { Do::Pid })).collect();
    let pids: Vec<_> = jobs.into_iter().map(|job| settled(job).unwrap()).collect();
    assert_ne!(pids[0], pids[89]);
    let stats = pool.stats();
    assert_eq!((stats.crashed, stats.succeeded), (0, 90), "{stats:?}");
    assert!((4..=4).contains(&stats.spawned), "{stats:?}");
}

#[test]
fn a_child_and_a_thread_go_with_the_worker() {
    if !has_python() {
        return;
    }
    let pool = pool().timeout_working(None).build().unwrap();
    settled(pool.enqueue(Do::SpawnThread)).unwrap();
    let gate = Gate::new();
    let steps = vec![Do::Spawn("exec sleep 1000".into()), Do::Wait(gate.path())];
    let (waiting, child) = spawned(pool.request(Do::Then(steps)));
    let worker = pool.workers()[0].pid;
    assert!(is_alive(child) && is_alive(worker));
    drop(pool);
    assert!(matches!(settled(waiting), Err(JobError::Closed)));
    assert!(!is_alive(worker));
    eventually("nobody is left in its group", || of_group(worker).is_empty() && !is_alive(child));
}

#[test]
fn one_that_is_let_go_leaves_by_itself() {
    if !has_python() {
        return;
    }
    let pool = pool().kill_grace(WATCHDOG).build().unwrap();
    settled(pool.enqueue(Do::SpawnThread)).unwrap();
    let worker = pool.workers()[0].pid;
    pool.exit();
    eventually("nobody is left in its group", || of_group(worker).is_empty());
}

#[test]
fn a_worker_of_other_jobs_or_codecs_says_so() {
    if !has_python() {
        return;
    }
    let start = |pool: PoolBuilder<Do>| {
        let pool = pool.start_failures(1).build().unwrap();
        settled(pool.enqueue(Do::Pid)).unwrap_err().to_string()
    };
    let error = start(pool().codec(Codec::Bincode));
    assert!(error.contains("the pool encodes payloads as bincode, this worker knows json"), "{error}");
    let pool = mixture::pool(script("do.py"), 1).codec(Codec::Json).start_failures(1).build().unwrap();
    // Each side reads the other's name, and either may be the first to say so.
    let error = settled(pool.enqueue(Order::answer(1).act)).unwrap_err().to_string();
    assert!(error.contains("does jobs of type hirelings_tests::Do"), "{error}");
}

#[test]
fn a_waiting_worker_of_a_pool_that_waits_is_idle() {
    if !has_python() {
        return;
    }
    let pool = pool().build().unwrap();
    let mut gate = Gate::new();
    let waiting = begun(pool.request(Do::Wait(gate.path())));
    gate.open();
    settled(waiting).unwrap();
    let worker = pool.workers()[0].pid;
    let used = || of_group(worker).into_iter().map(switches).sum::<u64>();
    // The second process ticks for a moment after a job, and then no more.
    let mut before = used();
    eventually("no process of it wakes up within 200 ms", || {
        std::thread::park_timeout(Duration::from_millis(200));
        let after = used();
        std::mem::replace(&mut before, after) == after
    });
}

/// How often a process has gone to sleep.
fn switches(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.map_or(0, |count| count.trim().parse().unwrap())
}

// ---------------------------------------------------------------- the parent's death

#[test]
fn nobody_is_left_when_the_parent_is_killed() {
    if has_python() {
        leaves_nobody_of_kit("python", "wait", Some("-KILL"));
    }
}

#[test]
fn nobody_is_left_when_the_parent_aborts() {
    if has_python() {
        leaves_nobody_of_kit("python", "abort", None);
    }
}

#[test]
fn nobody_is_left_when_the_parent_exits() {
    if has_python() {
        leaves_nobody_of_kit("python", "exit", None);
    }
}

// ---------------------------------------------------------------- mixtures

fn noting(workers: usize) -> PoolBuilder<Act> {
    mixture::pool(script("mixture.py"), workers).codec(Codec::Json)
}

fn recovering(workers: usize) -> PoolBuilder<Act> {
    let mut command = script("mixture.py");
    command.arg("recovering");
    mixture::pool(command, workers).codec(Codec::Json)
}

fn mixed(name: &str, mix: impl Fn(&mut Mixing) -> Figures) {
    if has_python() {
        mixed_in(&format!("python, {name}"), noting, &[1, 4], 200, mix);
    }
}

#[test]
fn exits_kills_and_aborts_by_jobs() {
    mixed("deaths", |mixing| {
        let mut trial = Trial::of(mixing.pool());
        mixing.fill(&mut trial, 30, 20, deadly);
        trial.finish()
    });
}

#[test]
fn deaths_that_are_retried_behind_a_recovery() {
    if has_python() {
        mixed_in("python, deaths, retried", recovering, &[1, 4], 200, |mixing| {
            let mut trial = Trial::of(mixing.pool());
            mixing.fill(&mut trial, 30, 20, |dice| {
                let deed = dice.pick(&[Deed::Exit, Deed::Kill, Deed::Abort, Deed::Panic, Deed::Fail]);
                Order::of(dice.below(100) as u32, deed, 1, dice.pick(&[2, u32::MAX]))
            });
            trial.finish()
        });
    }
}

#[test]
fn aborts_by_callers() {
    mixed("aborts", |mixing| {
        let mut trial = Trial::of(mixing.pool());
        mixing.fill(&mut trial, 1_000, usize::MAX, deadly);
        mixing.abort(&mut trial);
        trial.finish()
    });
}

#[test]
fn limits_of_time() {
    mixed("limits", |mixing| {
        let mut trial = Trial::of(mixing.pool().timeout_working(Duration::from_secs(10)));
        mixing.fill(&mut trial, 30, 30, limited);
        trial.finish()
    });
}

#[test]
fn recycling_and_retiring() {
    mixed("recycling", |mixing| {
        let most = mixing.dice.pick(&[20, 50]);
        let mut trial = Trial::of(mixing.pool().max_jobs_per_process(most));
        mixing.fill(&mut trial, 30, 50, |dice| match dice.below(3) {
            0 => Order::limited(5_000, None, End::Success),
            _ => Order::of(30, Deed::Retire, 0, u32::MAX),
        });
        trial.at_most_per_process(most);
        trial.finish()
    });
}

#[test]
fn workers_that_are_killed_and_stopped_from_outside() {
    mixed("all at once", |mixing| {
        let mut trial = Trial::of(mixing.pool());
        let deeds = [Deed::Exit, Deed::Kill, Deed::Abort, Deed::Panic, Deed::Fail, Deed::Retire];
        mixing.fill(&mut trial, 100, 30, |dice| match dice.below(3) {
            0 => Order::answer(3_000),
            _ => Order::of(dice.below(100) as u32, dice.pick(&deeds), dice.below(3) as u32, dice.pick(&[2, 3])),
        });
        let strikes = [Strike::Kill, Strike::Pause(Duration::from_millis(300))];
        mixing.under(&mut trial, &strikes, |mixing, trial| mixing.abort(trial));
        trial.finish()
    });
}
