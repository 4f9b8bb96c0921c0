//! The kit for workers in Node, `worker-kit/node`: its own tests, and workers of it in real pools.

use super::parent_death::{leaves_nobody_of_kit, leaves_nobody_under_a_reaper};
use hirelings::{Codec, Job, JobError, Pool, PoolBuilder, Stderr, node_module};
use hirelings_tests::dice::Dice;
use hirelings_tests::mixture::{self, Act, Deed, Order, Trial};
use hirelings_tests::processes::is_alive;
use hirelings_tests::{WATCHDOG, eventually, settled};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::process::Command;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;
use std::{fmt, fs};

/// Says so where there is no Node, or one that is too old.
pub(super) fn node_is_missing() -> bool {
    let version = Command::new("node").arg("--version").output();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let major = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
    let missing = major.is_none_or(|major| major < 18);
    if missing {
        println!("skipped: there is no node 18 on this machine, but {version:?}");
    }
    missing
}

fn folder(path: &str) -> String {
    format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn its_own_tests() {
    if node_is_missing() {
        return;
    }
    let kit = folder("../worker-kit/node");
    let files = fs::read_dir(format!("{kit}/test")).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> = files.filter(|path| path.to_string_lossy().ends_with(".test.js")).collect();
    assert!(files.len() > 2, "{files:?}");
    let mut tests = Command::new("node");
    tests.arg("--test").args(files).current_dir(kit);
    let output = tests.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("pass "), "{said}");
}

// ---------------------------------------------------------------- the kit

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Ask {
    Echo(Value),
    Options,
    Numbers,
    Sum(u64, u64),
    Tell(u32),
    Fail(String),
    Retire,
    Panic(String),
    Reject(String),
    Exit(i32),
    Spin,
    NotANumber,
    /// Tells its process id, and comes to its end once it is cancelled.
    UntilCancelled,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum AskError {
    Refused { why: String },
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl Job for Ask {
    type Output = Value;
    type Progress = u32;
    type Error = AskError;
}

fn kit() -> PoolBuilder<Ask> {
    let pool = Pool::<Ask>::builder(node_module(folder("workers/node/kit.js"))).codec(Codec::Json);
    pool.stderr(Stderr::Null).timeout_initializing(WATCHDOG).timeout_working(None).max_jobs_per_process(1_000_000)
}

#[test]
fn jobs_options_progress_errors_and_numbers() {
    if node_is_missing() {
        return;
    }
    let options = json!({ "wide": u64::MAX, "list": [1, null, "ü"] });
    let pool = kit().options(&options).max_processes(1).build().unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let hear = Arc::clone(&told);
    let telling = pool.request(Ask::Tell(50)).on_progress(move |n| hear.lock().unwrap().push(n)).enqueue();
    assert_eq!(settled(pool.enqueue(Ask::Options)).unwrap(), options);
    let value = json!({ "a": [i64::MIN, 1.5, 1e300, "\u{0}\u{1f600}"], "b": { "0": null } });
    assert_eq!(settled(pool.enqueue(Ask::Echo(value.clone()))).unwrap(), value);
    assert_eq!(settled(pool.enqueue(Ask::Sum(u64::MAX - 7, 7))).unwrap(), json!(u64::MAX));
    assert_eq!(settled(pool.enqueue(Ask::Numbers)).unwrap(), json!([5, 1]));
    match settled(pool.enqueue(Ask::Fail("no".into()))) {
        Err(JobError::Failed(AskError::Refused { why })) => assert_eq!(why, "no"),
        other => panic!("{other:?}"),
    }
    match settled(pool.enqueue(Ask::NotANumber)) {
        Err(JobError::Encode(error)) => assert!(error.to_string().contains("NaN has no JSON"), "{error}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(settled(telling).unwrap(), Value::Null);
    assert_eq!(pool.stats().spawned, 1);
    pool.exit();
    assert_eq!(*told.lock().unwrap(), (0..50).collect::<Vec<_>>());
}

#[test]
fn a_cancelled_job_sees_it_and_answers() {
    if node_is_missing() {
        return;
    }
    let pool = kit().max_processes(1).build().unwrap();
    let (tell, begun) = mpsc::channel();
    let handle = pool.request(Ask::UntilCancelled).on_progress(move |pid| tell.send(pid).unwrap()).enqueue();
    let pid = begun.recv_timeout(WATCHDOG).unwrap();
    handle.cancel(Duration::from_secs(3600));
    assert_eq!(settled(handle).unwrap(), json!("cancelled"));
    let soft = pool.request(Ask::UntilCancelled).soft_timeout(Duration::ZERO).enqueue();
    let (result, report) = soft.wait_with_report();
    assert_eq!((result.unwrap(), report.pid), (json!("cancelled"), Some(pid)), "the worker goes on");
    assert_eq!(pool.stats().spawned, 1);
}

#[test]
fn what_ends_a_worker_costs_its_job_alone() {
    if node_is_missing() {
        return;
    }
    let pool = kit().max_processes(1).build().unwrap();
    let echo = |n: i32| Ask::Echo(json!(n));
    let [panics, rejects, exits] = [Ask::Panic("boom".into()), Ask::Reject("nobody".into()), Ask::Exit(7)];
    let jobs = [echo(0), panics, echo(1), rejects, echo(2), exits, echo(3), Ask::Retire, echo(4)];
    let mut results: Vec<_> = jobs.map(|job| pool.enqueue(job)).into_iter().map(settled).collect();
    for (at, n) in [(8, 4), (6, 3), (4, 2), (2, 1), (0, 0)] {
        assert_eq!(results.remove(at).unwrap(), json!(n));
    }
    let [Err(JobError::Panicked(panic)), Err(JobError::Panicked(rejection)), Err(JobError::Crashed(crash)), Ok(_)] =
        &results[..]
    else {
        panic!("{results:?}")
    };
    assert_eq!(panic.message, "boom");
    assert!(panic.location.as_ref().is_some_and(|place| place.contains("/kit.js:")), "{panic:?}");
    assert_eq!(rejection.message, "TypeError: nobody");
    assert!(rejection.backtrace.as_ref().is_some_and(|trace| trace.contains("kit.js")), "{rejection:?}");
    assert_eq!(crash.stderr, "about to exit\nand this is no frame");
    assert_eq!(pool.stats().spawned, 5);
}

#[test]
fn dropping_the_pool_ends_a_busy_worker() {
    if node_is_missing() {
        return;
    }
    let pool = kit().max_processes(1).build().unwrap();
    let (told, children) = mpsc::channel();
    let spinning = pool.request(Ask::Spin).on_progress(move |child| told.send(child).unwrap()).enqueue();
    let child = children.recv_timeout(WATCHDOG).unwrap();
    let worker = pool.workers()[0].pid;
    assert!(is_alive(child) && is_alive(worker));
    drop(pool);
    assert!(!is_alive(worker));
    eventually("its child is gone", || !is_alive(child));
    assert!(matches!(settled(spinning), Err(JobError::Closed)));
}

#[test]
fn a_pool_of_another_codec_is_told_what_to_change() {
    if node_is_missing() {
        return;
    }
    let pool = kit().codec(Codec::Bincode).start_failures(1).build().unwrap();
    match settled(pool.enqueue(Ask::Numbers)) {
        Err(JobError::NoWorker(failure)) => {
            assert!(failure.to_string().contains("build the pool with .codec(Codec::Json)"), "{failure}");
        }
        other => panic!("{other:?}"),
    }
}

// ---------------------------------------------------------------- node-hirelings

/// A job of node-hirelings: whatever its worker makes of it.
#[derive(Serialize, Deserialize)]
struct Data(Value);

impl Job for Data {
    type Output = Value;
    type Progress = u32;
    type Error = String;
}

fn old(module: &str) -> PoolBuilder<Data> {
    let pool = Pool::<Data>::builder(node_module(folder(&format!("workers/node/{module}")))).codec(Codec::Json);
    pool.stderr(Stderr::Null).max_processes(1).timeout_initializing(WATCHDOG)
}

#[test]
fn a_module_of_node_hirelings_runs_unchanged() {
    if node_is_missing() {
        return;
    }
    let pool = old("old.js").options(&json!({ "greeting": "not this", "size": 3 })).retries(1).build().unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let hear = Arc::clone(&told);
    let job = json!({ "delay": 20, "recovery": 20 });
    let telling = pool.request(Data(job.clone())).on_progress(move |n| hear.lock().unwrap().push(n)).enqueue();
    assert_eq!(settled(telling).unwrap(), json!({ "options": { "greeting": "hello", "size": 3 }, "job": job }));
    match settled(pool.enqueue(Data(json!({ "cause_failure": true })))) {
        Err(JobError::Failed(error)) => assert_eq!(error, "THIS IS A FAILURE"),
        other => panic!("{other:?}"),
    }
    assert_eq!((pool.stats().spawned, pool.stats().retried), (1, 1));
    let ends = [
        ("cause_error", "THIS IS AN ERROR"),
        ("undefined_function", "TypeError: job.no_such_method is not a function"),
        ("terminal", "THE END"),
    ];
    for (what, message) in ends {
        match settled(pool.request(Data(json!({ what: true }))).retries(0).enqueue()) {
            Err(JobError::Panicked(panic)) => assert_eq!(panic.message, message),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(settled(pool.enqueue(Data(json!({})))).unwrap()["job"], json!({}));
    pool.exit();
    assert_eq!(*told.lock().unwrap(), [1, 2, 3]);
}

/// Node looks at the statements of a file where no package.json says what it is, from 20.19 on.
#[test]
fn a_module_by_its_statements_alone_has_the_kit() {
    let detects = ["-p", "process.features.require_module === true"];
    let output = Command::new("node").args(detects).output();
    if node_is_missing() || output.is_ok_and(|output| output.stdout != b"true\n") {
        return;
    }
    let pool = old("detected.js").build().unwrap();
    assert_eq!(settled(pool.enqueue(Data(json!(7)))).unwrap(), json!({ "echo": 7, "esm": true }));
}

#[test]
fn other_modules_of_node_hirelings() {
    if node_is_missing() {
        return;
    }
    for module in ["old_ready_first.js", "old_send.js", "old_module.mjs"] {
        let pool = old(module).build().unwrap();
        let jobs: Vec<_> = (0..20).map(|n| pool.enqueue(Data(json!(n)))).collect();
        for (n, job) in jobs.into_iter().enumerate() {
            assert_eq!(settled(job).unwrap()["job"], json!(n), "{module}");
        }
        assert_eq!(pool.stats().spawned, 1, "{module}");
    }
}

// ---------------------------------------------------------------- the parent's death

#[test]
fn nobody_is_left_when_the_parent_is_killed() {
    if !node_is_missing() {
        leaves_nobody_of_kit("node", "wait", Some("-KILL"));
    }
}

#[test]
fn nobody_is_left_when_the_parent_aborts() {
    if !node_is_missing() {
        leaves_nobody_of_kit("node", "abort", None);
    }
}

#[test]
fn nobody_is_left_when_the_parent_exits() {
    if !node_is_missing() {
        leaves_nobody_of_kit("node", "exit", None);
    }
}

/// As the manual says.
#[test]
fn nobody_is_left_in_one_session_where_setpriv_wakes() {
    if !node_is_missing() && Command::new("setpriv").arg("--version").output().is_ok() {
        leaves_nobody_under_a_reaper("node woken");
    }
}

// ---------------------------------------------------------------- an attempt runs at most once

/// Jobs of mixtures, done by workers in Node; see `at_most_once.rs`.
fn mixed(act: impl Fn(&mut Dice, PoolBuilder<Act>) -> Trial) {
    if node_is_missing() {
        return;
    }
    for workers in [1, 2] {
        let mut command = Command::new("node");
        command.arg(folder("workers/mixture.js"));
        let trial = act(&mut Dice::new(workers as u64), mixture::pool(command, workers));
        println!("{workers} workers: {}", trial.finish());
    }
}

fn fill(trial: &mut Trial, every: usize, mut other: impl FnMut() -> Order) {
    for n in 0..600 {
        trial.enqueue(if n % every == every - 1 { other() } else { Order::answer(30) });
    }
}

#[test]
fn deaths_retries_and_retirements() {
    mixed(|dice, pool| {
        let deeds = [Deed::Exit, Deed::Kill, Deed::Abort, Deed::Panic, Deed::Fail, Deed::Retire];
        let mut trial = Trial::of(pool.max_jobs_per_process(100));
        fill(&mut trial, 40, || Order::of(dice.below(100) as u32, dice.pick(&deeds), 1, dice.pick(&[2, u32::MAX])));
        trial.at_most_per_process(100);
        trial
    });
}

#[test]
fn aborts_and_limits_of_time() {
    mixed(|dice, pool| {
        let mut trial = Trial::of(pool.timeout_working(Duration::from_secs(20)));
        fill(&mut trial, 60, || Order::limited(1_000_000, Some(Duration::from_millis(1)), mixture::End::TimedOut));
        for time in 1..=20 {
            trial.await_done(time * 25);
            let at = trial.oldest() + dice.below(8) as usize;
            // One that has a limit may be over it first.
            if at % 60 != 59 {
                trial.abort(at);
            }
        }
        trial
    });
}
