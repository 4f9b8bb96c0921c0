//! Workers that are forked: what they share, what is their own, and what happens where the fork server fails.

use super::node_kit::node_is_missing;
use super::python_kit::has_python;
use hirelings::{
    CrashCause, Event, EventKind, JobError, JobHandle, JobStatus, Limits, Pool, StartFailure, StartMethod, Stderr,
};
use hirelings_tests::forked::{self, Ask, AtFork, Harm, Moment, Setup};
use hirelings_tests::staged::Stage;
use hirelings_tests::{
    Do, Gate, Record, Scratch, WATCHDOG, eventually, pool, processes, program, settled, within, worker,
};
use rustix::process::{Pid, Signal, getuid, kill_process};
use std::collections::BTreeSet;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A user who has no processes but those that a test gives it: another one for each run, as two may go on at the same time.
fn nobody_else() -> u32 {
    54_322 + std::process::id()
}

fn ask(pool: &Pool<Ask>, what: Ask) -> String {
    settled(pool.enqueue(what)).unwrap()
}

/// Blocks until a fork server is there, and gives its process.
fn spawned(record: &mut Record) -> u32 {
    record.until_kind(EventKind::ForkServerSpawned).pid().unwrap()
}

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal).unwrap();
}

/// Enqueues a job that waits at the gate, and blocks until it does.
fn waits(pool: &Pool<Ask>, gate: &Gate) -> JobHandle<Ask> {
    forked::waits(pool, &gate.path())
}

fn no_worker(pool: &Pool<Ask>) -> StartFailure {
    match settled(pool.enqueue(Ask::Pid)) {
        Err(JobError::NoWorker(failure)) => failure,
        other => panic!("{other:?}"),
    }
}

/// A pool of one worker that gives up at once.
fn giving_up(setup: &Setup) -> Pool<Ask> {
    forked::pool(setup).max_processes(1).start_failures(1).build().unwrap()
}

// ---------------------------------------------------------------- what is shared, and what is not

#[test]
fn jobs_are_done_by_children_of_one_fork_server() {
    let (builder, mut record) = Record::of(pool().start_method(StartMethod::ForkServer).max_processes(2));
    let pool = builder.max_jobs_per_process(3).build().unwrap();
    let handles: Vec<_> = (0..30).map(|n| pool.enqueue(Do::Echo(n.to_string()))).collect();
    for (n, handle) in handles.into_iter().enumerate() {
        assert_eq!(settled(handle).unwrap(), n.to_string());
    }
    let stats = pool.stats();
    assert_eq!((stats.fork_servers, stats.fork_servers_spawned), (1, 1), "{stats:?}");
    assert!(stats.spawned >= 10, "{stats:?}");
    let server = spawned(&mut record);
    assert!(processes::children_of(std::process::id()).contains(&server));
    for worker in pool.workers() {
        assert_eq!(worker.fork_server, Some(server));
    }
    pool.exit();
    assert!(!processes::children_of(std::process::id()).contains(&server));
    assert_eq!(pool.stats().fork_servers, 0);
    assert_eq!(record.count(EventKind::ForkServerSpawned), 1);
    let exit = record.all().iter().find(|event| event.kind() == EventKind::ForkServerExited);
    assert!(exit.is_some_and(|event| event.pid() == Some(server) && event.status().is_some()), "{exit:?}");
}

#[test]
fn init_runs_once_and_after_fork_in_each_worker() {
    let (made, forked) = (Scratch::new(), Scratch::new());
    let setup = Setup { init: Stage::Note(made.path()), after_fork: Stage::Note(forked.path()), ..Setup::default() };
    let (builder, mut record) = Record::of(forked::pool(&setup).max_processes(2).max_jobs_per_process(1));
    let pool = builder.build().unwrap();
    let server = spawned(&mut record).to_string();
    let (mut workers, mut seeds) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..8 {
        assert_eq!(ask(&pool, Ask::Maker), server);
        workers.insert(ask(&pool, Ask::Pid));
        seeds.insert(ask(&pool, Ask::Seed));
    }
    pool.exit();
    assert_eq!(std::fs::read_to_string(made.path()).unwrap().lines().collect::<Vec<_>>(), [server]);
    let noted = std::fs::read_to_string(forked.path()).unwrap();
    let noted: BTreeSet<String> = noted.lines().map(str::to_owned).collect();
    assert_eq!((workers.len(), seeds.len()), (8, 8));
    // One that was forked last may have been told to leave before.
    assert!(workers.is_subset(&noted) && noted.len() as u64 <= pool.stats().spawned, "{noted:?}");
}

#[test]
fn each_worker_leads_a_group_of_its_own() {
    let pool = forked::pool(&Setup::default()).max_processes(1).build().unwrap();
    assert_eq!(ask(&pool, Ask::Group), ask(&pool, Ask::Pid));
}

#[test]
fn a_large_state_is_in_memory_once() {
    const BYTES: usize = 256 << 20;
    let setup = Setup { bytes: BYTES, ..Setup::default() };
    let (builder, mut record) = Record::of(forked::pool(&setup).max_processes(16).timeout_initializing(WATCHDOG));
    let pool = builder.build().unwrap();
    pool.wait_ready(WATCHDOG).unwrap();
    let handles: Vec<_> = (0..64).map(|_| pool.enqueue(Ask::Sum)).collect();
    for handle in handles {
        assert_eq!(settled(handle).unwrap(), (BYTES / 4096).to_string());
    }
    let all = pool.workers().into_iter().map(|worker| worker.pid).chain([spawned(&mut record)]);
    // Each process's share of what it shares.
    let share = |pid: u32| {
        let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
        let kib = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap();
        kib.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    let total: u64 = all.map(share).sum();
    assert!(total < 300 << 10, "{} MiB in 17 processes", total >> 10);
}

#[test]
fn memory_limits_count_what_is_not_shared() {
    let setup = Setup { bytes: 128 << 20, ..Setup::default() };
    let pool = forked::pool(&setup).max_processes(1).max_memory_soft(32 << 20).timeout_initializing(WATCHDOG);
    let pool = pool.build().unwrap();
    let first = ask(&pool, Ask::Pid);
    assert_eq!(ask(&pool, Ask::Pid), first, "what it shares is not its own");
    assert_eq!(ask(&pool, Ask::Leak(64 << 20)), first);
    assert_ne!(ask(&pool, Ask::Pid), first, "it held more than it may");
}

/// To count what is not shared takes long, and is not done at each look.
#[test]
fn memory_limits_count_what_is_written_to() {
    let setup = Setup { bytes: 128 << 20, ..Setup::default() };
    let pool = forked::pool(&setup).max_processes(1).max_memory_soft(32 << 20).timeout_initializing(WATCHDOG);
    // It leaves for no other reason.
    let pool = pool.max_jobs_per_process(u64::MAX).build().unwrap();
    let first = ask(&pool, Ask::Pid);
    assert_eq!(ask(&pool, Ask::Write), first);
    eventually("it is found to hold more than it may", || ask(&pool, Ask::Pid) != first);
}

#[test]
fn commands_that_differ_have_a_fork_server_each() {
    let folders = [Scratch::new(), Scratch::new()];
    let made = |folder: &Scratch| {
        std::fs::create_dir(folder.path()).unwrap();
        folder.path().canonicalize().unwrap()
    };
    let paths: Vec<_> = folders.iter().map(made).collect();
    let by_slot = paths.clone();
    let commands = move |slot: hirelings::Slot| {
        let mut command = forked::worker();
        command.env("HIRELINGS_TEST_SLOT", slot.index().to_string()).current_dir(&by_slot[slot.index()]);
        command
    };
    let builder = forked::of(Pool::builder_with(commands), &Setup::default());
    let (builder, mut record) = Record::of(builder.max_processes(2).max_jobs_per_process(2));
    let pool = builder.build().unwrap();
    pool.wait_ready(WATCHDOG).unwrap();
    let servers: BTreeSet<_> = pool.workers().iter().map(|worker| worker.fork_server).collect();
    assert_eq!(servers.len(), 2, "one for each slot");
    let asked: Vec<_> = (0..40)
        .map(|_| (pool.enqueue(Ask::Variable("HIRELINGS_TEST_SLOT".into())), pool.enqueue(Ask::Directory)))
        .collect();
    let (slots, places): (BTreeSet<_>, BTreeSet<_>) =
        asked.into_iter().map(|(slot, place)| (settled(slot).unwrap(), settled(place).unwrap())).unzip();
    assert!(slots.iter().all(|slot| slot == "0" || slot == "1"), "{slots:?}");
    assert!(places.iter().all(|place| paths.iter().any(|path| path.display().to_string() == *place)), "{places:?}");
    assert_eq!(pool.stats().fork_servers_spawned, 2);
    pool.exit();
    assert_eq!(record.count(EventKind::ForkServerExited), 2);
}

#[test]
fn one_that_no_slot_needs_any_more_ends() {
    let asked = AtomicUsize::new(0);
    let commands = move |_| {
        let mut command = forked::worker();
        command.env("HIRELINGS_TEST_NUMBER", asked.fetch_add(1, Ordering::Relaxed).to_string());
        command
    };
    let builder = forked::of(Pool::builder_with(commands), &Setup::default()).max_processes(1);
    let (builder, mut record) = Record::of(builder.max_jobs_per_process(1));
    let pool = builder.build().unwrap();
    let numbers: Vec<_> = (0..5).map(|_| ask(&pool, Ask::Variable("HIRELINGS_TEST_NUMBER".into()))).collect();
    assert_eq!(numbers.iter().collect::<BTreeSet<_>>().len(), 5, "{numbers:?}");
    for _ in 0..4 {
        record.until_kind(EventKind::ForkServerExited);
    }
    assert!(pool.stats().fork_servers <= 2, "{:?}", pool.stats());
}

#[test]
fn what_main_has_printed_comes_once() {
    let lines = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let kept = std::sync::Arc::clone(&lines);
    let builder = forked::pool(&Setup::default()).max_processes(2).max_jobs_per_process(1);
    let pool = builder.on(EventKind::WorkerStderr, move |event: &Event| {
        kept.lock().unwrap().push(event.stderr().unwrap_or_default().to_owned());
    });
    let pool = pool.build().unwrap();
    for _ in 0..6 {
        ask(&pool, Ask::Pid);
    }
    pool.exit();
    assert_eq!(*lines.lock().unwrap(), ["printed before"]);
}

#[test]
fn limits_are_each_workers_own() {
    let pool = forked::pool(&Setup::default()).max_processes(3).max_jobs_per_process(1);
    let (builder, mut record) = Record::of(pool.limits(Limits::new().open_files(16).core_size(0)));
    let pool = builder.build().unwrap();
    let server = spawned(&mut record);
    let limit = |pid: &dyn std::fmt::Display| {
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap().trim().to_owned()
    };
    let own = limit(&"self");
    let gate = Gate::new();
    let handles: Vec<_> = (0..3).map(|_| waits(&pool, &gate)).collect();
    assert_eq!(limit(&server), own);
    for worker in pool.workers() {
        assert!(limit(&worker.pid).starts_with("16 "), "{}", limit(&worker.pid));
    }
    drop(gate);
    handles.into_iter().for_each(|handle| drop(settled(handle).unwrap()));
}

#[test]
fn a_limit_that_main_has_lowered_stays() {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 64; exec \"$0\""]).arg(program("forked"));
    let builder = forked::of(Pool::builder(command), &Setup::default()).max_processes(1);
    let pool = builder.limits(Limits::new().open_files(128)).build().unwrap();
    let pid = ask(&pool, Ask::Pid);
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    assert_eq!(files.split_whitespace().collect::<Vec<_>>(), ["64", "64", "files"]);
}

// ---------------------------------------------------------------- a start that fails

#[test]
fn a_failed_init_is_a_start_failure_with_its_words() {
    let said = |stage: Stage| no_worker(&giving_up(&Setup { init: stage, ..Setup::default() }));
    let failed = said(Stage::Fail("no dictionary".into()));
    assert!(failed.to_string().contains("said: no dictionary"), "{failed}");
    let panicked = said(Stage::Panic("no dictionary at all".into()));
    assert!(panicked.to_string().contains("said: no dictionary at all"), "{panicked}");
    assert!(panicked.stderr.contains("no dictionary at all"), "{panicked:?}");
    let exited = said(Stage::Exit(7));
    assert_eq!(exited.status.and_then(|status| status.code()), Some(7), "{exited:?}");
    assert!(exited.to_string().contains("exited with status 7 before it was ready"), "{exited}");
}

#[test]
fn a_long_message_of_an_init_arrives() {
    let words = "no dictionary; ".repeat(100_000);
    let failed = no_worker(&giving_up(&Setup { init: Stage::Fail(words), ..Setup::default() }));
    assert!(failed.reason.starts_with("said: no dictionary; no dictionary"), "{}", failed.reason.len());
}

#[test]
fn a_failed_after_fork_is_a_start_failure_too() {
    let said = |stage: Stage| no_worker(&giving_up(&Setup { after_fork: stage, ..Setup::default() }));
    let failed = said(Stage::Fail("no seed".into()));
    assert!(failed.to_string().contains("said: no seed"), "{failed}");
    let panicked = said(Stage::Panic("no seed at all".into()));
    assert!(panicked.to_string().contains("said: no seed at all"), "{panicked}");
    let exited = said(Stage::Exit(9));
    assert_eq!(exited.status.and_then(|status| status.code()), Some(9), "{exited:?}");
}

#[test]
fn an_init_that_hangs_is_killed_at_its_limit() {
    let gate = Gate::new();
    let setup = Setup { init: Stage::Wait(gate.path()), ..Setup::default() };
    let builder = forked::pool(&setup).max_processes(1).start_failures(1);
    let (builder, mut record) = Record::of(builder.timeout_initializing(Duration::from_millis(100)));
    let pool = builder.build().unwrap();
    let server = spawned(&mut record);
    let failure = no_worker(&pool);
    assert!(failure.to_string().contains("was initializing for more than 100ms and was killed"), "{failure}");
    eventually("it is gone", || !processes::is_alive(server));
}

#[test]
fn the_pools_end_does_not_wait_for_an_init() {
    let gate = Gate::new();
    let setup = Setup { init: Stage::Wait(gate.path()), ..Setup::default() };
    let (builder, mut record) = Record::of(forked::pool(&setup).max_processes(2).timeout_initializing(None));
    let pool = builder.build().unwrap();
    let server = spawned(&mut record);
    let handle = pool.enqueue(Ask::Pid);
    let before = Instant::now();
    pool.exit();
    assert!(before.elapsed() < Duration::from_secs(10), "{:?}", before.elapsed());
    assert!(!processes::is_alive(server));
    assert!(matches!(settled(handle), Err(JobError::Closed)));
}

#[test]
fn threads_are_refused_and_named() {
    let setup = Setup { threads: vec!["a heartbeat".into(), "a spinner".into()], ..Setup::default() };
    let failure = no_worker(&giving_up(&setup));
    let words = failure.to_string();
    assert!(words.contains("has 3 threads"), "{words}");
    assert!(words.contains("\"a heartbeat\"") && words.contains("\"a spinner\""), "{words}");
    assert!(words.contains("StartMethod::Exec"), "{words}");
}

#[test]
fn what_is_no_fork_server_says_so() {
    // Only what is silent is to meet its limit, however busy the machine is.
    let start = |command: Command, limit| {
        let pool = Pool::<Do>::builder(command).stderr(Stderr::Null).start_method(StartMethod::ForkServer);
        let pool = pool.max_processes(1).start_failures(1).timeout_initializing(limit);
        match settled(pool.build().unwrap().enqueue(Do::Pid)) {
            Err(JobError::NoWorker(failure)) => failure,
            other => panic!("{other:?}"),
        }
    };
    let ended = start(Command::new("false"), WATCHDOG);
    assert_eq!(ended.status.and_then(|status| status.code()), Some(1));
    assert!(ended.to_string().contains("before it was ready"), "{ended}");

    let mut silent = Command::new("sleep");
    silent.arg("1000");
    let silent = start(silent, Duration::from_secs(1));
    assert!(silent.to_string().contains("is it built on a worker kit that can fork?"), "{silent}");

    // A worker that speaks the protocol, with something between it and its standard input.
    let mut between = Command::new("sh");
    between.args(["-c", "cat | \"$0\""]).arg(program("worker"));
    let between = start(between, WATCHDOG);
    assert!(between.to_string().contains("speaks the protocol on its standard output"), "{between}");

    // Workers in other languages.
    let is_there = [has_python(), !node_is_missing()];
    for (is_there, (interpreter, script)) in is_there.into_iter().zip([("python3", "do.py"), ("node", "node/do.js")]) {
        if is_there {
            let mut other = Command::new(interpreter);
            other.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("workers").join(script));
            let other = start(other, WATCHDOG);
            assert!(other.to_string().contains("built on a worker kit that can fork"), "{other}");
        }
    }

    let refused = Pool::<Do>::builder(Command::new("/no/such/program")).start_method(StartMethod::ForkServer).build();
    assert!(refused.unwrap_err().to_string().contains("/no/such/program"));
}

#[test]
fn a_worker_of_other_jobs_is_refused() {
    let pool = forked::of(Pool::builder(worker()), &Setup::default()).max_processes(1).start_failures(1);
    let failure = no_worker(&pool.build().unwrap());
    let words = failure.to_string();
    assert!(words.contains("Do") && words.contains("Ask"), "{words}");
}

// ---------------------------------------------------------------- a fork server that fails later

#[test]
fn where_it_dies_running_jobs_are_done() {
    let gate = Gate::new();
    let builder = forked::pool(&Setup::default()).max_processes(2).timeout_working(None);
    let (builder, mut record) = Record::of(builder);
    let pool = builder.build().unwrap();
    let server = spawned(&mut record);
    let running = [waits(&pool, &gate), waits(&pool, &gate)];
    let before: BTreeSet<u32> = pool.workers().iter().map(|worker| worker.pid).collect();
    signal(server, Signal::KILL);
    let exit = record.until_kind(EventKind::ForkServerExited);
    assert!(exit.to_string().contains("SIGKILL"), "{exit}");
    let later: Vec<_> = (0..10).map(|_| pool.enqueue(Ask::Pid)).collect();
    drop(gate);
    for handle in running {
        let pid = settled(handle).unwrap().parse().unwrap();
        assert!(before.contains(&pid), "it has gone on");
    }
    for handle in later {
        let pid = settled(handle).unwrap().parse().unwrap();
        assert!(!before.contains(&pid), "it has taken no more");
    }
    assert_ne!(spawned(&mut record), server);
    eventually("they have left", || before.iter().all(|&pid| !processes::is_alive(pid)));
    let stats = pool.stats();
    assert_eq!((stats.succeeded, stats.failed, stats.retried), (12, 0, 0), "{stats:?}");
    assert_eq!((stats.fork_servers, stats.fork_servers_spawned), (1, 2), "{stats:?}");
}

/// What the last worker shared with the fork server is its own once that is dead: it has not taken that.
#[test]
fn no_limit_of_memory_ends_a_job_where_it_dies() {
    let setup = Setup { bytes: 128 << 20, ..Setup::default() };
    let builder = forked::pool(&setup).max_processes(1).max_memory_hard(64 << 20).timeout_initializing(WATCHDOG);
    let (builder, mut record) = Record::of(builder);
    let pool = builder.build().unwrap();
    let server = spawned(&mut record);
    let gate = Gate::new();
    let running = waits(&pool, &gate);
    let pid = pool.workers()[0].pid;
    signal(server, Signal::KILL);
    record.until_kind(EventKind::ForkServerExited);
    // Its memory is looked at every 100 ms, and counted again some 600 ms after it was ready.
    assert!(!within(Duration::from_secs(2), || running.status() == JobStatus::Finished));
    drop(gate);
    assert_eq!(settled(running).unwrap(), pid.to_string());
}

#[test]
fn idle_workers_leave_where_it_dies() {
    let (builder, mut record) = Record::of(forked::pool(&Setup::default()).max_processes(2));
    let pool = builder.build().unwrap();
    pool.wait_ready(WATCHDOG).unwrap();
    let (first, second) = (pool.enqueue(Ask::Pid), pool.enqueue(Ask::Pid));
    drop((settled(first).unwrap(), settled(second).unwrap()));
    let before: Vec<u32> = pool.workers().iter().map(|worker| worker.pid).collect();
    signal(spawned(&mut record), Signal::KILL);
    eventually("they have left", || before.iter().all(|&pid| !processes::is_alive(pid)));
    assert!(!before.contains(&ask(&pool, Ask::Pid).parse().unwrap()));
}

#[test]
fn a_crash_after_its_death_says_why_it_has_no_status() {
    let gate = Gate::new();
    let builder = forked::pool(&Setup::default()).max_processes(1).timeout_working(None);
    let (builder, mut record) = Record::of(builder);
    let pool = builder.build().unwrap();
    let server = spawned(&mut record);
    let running = waits(&pool, &gate);
    let pid = pool.workers()[0].pid;
    signal(server, Signal::KILL);
    record.until_kind(EventKind::ForkServerExited);
    signal(pid, Signal::KILL);
    match settled(running) {
        Err(JobError::Crashed(crash)) => {
            assert_eq!((crash.cause, crash.status, crash.pid), (CrashCause::Orphaned, None, pid));
            assert!(crash.to_string().contains("fork server"), "{crash}");
        }
        other => panic!("{other:?}"),
    }
    let exit = record.until_kind(EventKind::WorkerExit);
    assert_eq!(exit.status(), None);
}

#[test]
fn statuses_are_told_as_those_of_children_are() {
    let pool = forked::pool(&Setup::default()).max_processes(1).build().unwrap();
    match settled(pool.enqueue(Ask::Exit(7))) {
        Err(JobError::Crashed(crash)) => assert_eq!(crash.status.and_then(|status| status.code()), Some(7)),
        other => panic!("{other:?}"),
    }
    let gate = Gate::new();
    let running = waits(&pool, &gate);
    signal(pool.workers().last().unwrap().pid, Signal::KILL);
    match settled(running) {
        Err(JobError::Crashed(crash)) => assert!(crash.to_string().contains("SIGKILL"), "{crash}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_that_is_stopped_is_replaced_after_the_limit() {
    let builder = forked::pool(&Setup::default()).max_processes(1).max_jobs_per_process(1);
    let (builder, mut record) = Record::of(builder.timeout_initializing(Duration::from_secs(2)));
    let pool = builder.build().unwrap();
    let first = ask(&pool, Ask::Maker);
    let server = spawned(&mut record);
    assert_eq!(first, server.to_string());
    signal(server, Signal::STOP);
    // Perhaps a worker was forked before; no second one was.
    let makers: Vec<_> = (0..4).map(|_| ask(&pool, Ask::Maker)).collect();
    assert_ne!(makers.last(), Some(&first), "{makers:?}");
    eventually("it is gone", || !processes::is_alive(server));
}

#[test]
fn a_worker_that_dies_meanwhile_is_replaced() {
    let builder = forked::pool(&Setup::default()).max_processes(1).kill_grace(Duration::from_millis(50));
    let (builder, mut record) = Record::of(builder.timeout_initializing(Duration::from_secs(2)));
    let pool = builder.build().unwrap();
    let server = spawned(&mut record);
    let gate = Gate::new();
    let running = waits(&pool, &gate);
    signal(server, Signal::STOP);
    signal(pool.workers()[0].pid, Signal::KILL);
    match settled(running) {
        Err(JobError::Crashed(crash)) => {
            assert_eq!((crash.cause, crash.status), (CrashCause::Orphaned, None), "{crash}")
        }
        other => panic!("{other:?}"),
    }
    assert_ne!(ask(&pool, Ask::Maker), server.to_string());
}

/// SIGKILL at once, of a worker that is alive: only the fork server could say that it is dead, and does not.
#[test]
fn a_worker_that_is_killed_meanwhile_is_replaced() {
    let builder = forked::pool(&Setup::default()).max_processes(1).kill_grace(Duration::ZERO);
    let (builder, mut record) = Record::of(builder.timeout_initializing(Duration::from_secs(2)));
    let pool = builder.build().unwrap();
    let server = spawned(&mut record);
    let gate = Gate::new();
    let running = waits(&pool, &gate);
    let pid = pool.workers()[0].pid;
    signal(server, Signal::STOP);
    running.abort();
    assert!(matches!(settled(running), Err(JobError::Aborted)));
    record.until_kind(EventKind::WorkerExit);
    assert!(!processes::is_alive(pid));
    assert_ne!(ask(&pool, Ask::Maker), server.to_string());
}

#[test]
fn the_pool_ends_while_one_is_stopped() {
    // Without an end of the grace time it is not SIGKILL that ends the fork server.
    for grace in [Duration::ZERO, Duration::MAX] {
        let (builder, mut record) = Record::of(forked::pool(&Setup::default()).max_processes(2).kill_grace(grace));
        let pool = builder.build().unwrap();
        let server = spawned(&mut record);
        let gate = Gate::new();
        let running = waits(&pool, &gate);
        let pid = pool.workers()[0].pid;
        signal(server, Signal::STOP);
        if grace == Duration::MAX {
            // One that ends by itself.
            drop(gate);
            settled(running).unwrap();
        }
        let (ended, end) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            pool.exit();
            let _ = ended.send(());
        });
        assert!(end.recv_timeout(WATCHDOG).is_ok(), "with {grace:?} the pool does not end");
        assert!(!processes::is_alive(server) && !processes::is_alive(pid));
    }
}

/// Its number is its own until the fork server has reaped it, whatever main does about SIGCHLD.
#[test]
fn statuses_are_told_where_sigchld_is_ignored() {
    let mut command = Command::new("env");
    command.arg("--ignore-signal=CHLD").arg(program("forked"));
    let pool = forked::of(Pool::builder(command), &Setup::default()).max_processes(1).build().unwrap();
    match settled(pool.enqueue(Ask::Exit(7))) {
        Err(JobError::Crashed(crash)) => assert_eq!(crash.status.and_then(|status| status.code()), Some(7)),
        other => panic!("{other:?}"),
    }
    ask(&pool, Ask::Pid);
    let ignored = |pid: u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
        u64::from_str_radix(mask.trim(), 16).unwrap() & 1 << (Signal::CHILD.as_raw() - 1) != 0
    };
    let worker = &pool.workers()[0];
    assert_eq!(
        (ignored(worker.fork_server.unwrap()), ignored(worker.pid)),
        (false, true),
        "its workers ignore it again"
    );
}

#[test]
fn one_that_dies_again_and_again_costs_only_time() {
    let builder = forked::pool(&Setup::default()).max_processes(3).retries(3).start_failures(1000);
    let (builder, mut record) = Record::of(builder);
    let pool = builder.build().unwrap();
    let handles: Vec<_> = (0..300).map(|_| pool.enqueue(Ask::Pid)).collect();
    let mut server = spawned(&mut record);
    for _ in 0..5 {
        // At whatever moment of a fork it is.
        let _ = kill_process(Pid::from_raw(server.cast_signed()).unwrap(), Signal::KILL);
        // The next one may be there before this one is reaped.
        let mut next = None;
        record.until(|event| {
            next = next.or(event.pid().filter(|_| event.kind() == EventKind::ForkServerSpawned));
            (event.kind(), event.pid()) == (EventKind::ForkServerExited, Some(server))
        });
        ask(&pool, Ask::Pid);
        server = next.unwrap_or_else(|| spawned(&mut record));
    }
    for handle in handles {
        settled(handle).unwrap();
    }
    let stats = pool.stats();
    assert_eq!((stats.failed, stats.retried), (0, 0), "no job was touched: {stats:?}");
    pool.exit();
    assert_eq!(record.count(EventKind::ForkServerSpawned), record.count(EventKind::ForkServerExited));
}

#[test]
fn harm_in_the_middle_of_a_fork_costs_no_attempt() {
    for moment in [Moment::Before, Moment::After, Moment::Child] {
        for harm in [Harm::Killed, Harm::Stopped, Harm::Exits(7)] {
            harmed_at(moment, harm);
        }
    }
}

/// A fork server comes to harm at the third worker. Each job notes that it has begun.
fn harmed_at(moment: Moment, harm: Harm) {
    let (begun, once) = (Scratch::new(), Scratch::new());
    let setup = Setup { at_fork: Some(AtFork { moment, harm, fork: 3, once: once.path() }), ..Setup::default() };
    // By this argument those are found that the pool does not know of.
    let mark = once.path().display().to_string();
    let mut command = forked::worker();
    command.arg(&mark);
    // One that is stopped is found out by this limit only.
    let limit = if harm == Harm::Stopped { Duration::from_secs(2) } else { WATCHDOG };
    let builder = forked::of(Pool::builder(command), &setup).max_processes(2).max_jobs_per_process(1);
    let pool = builder.timeout_initializing(limit).start_failures(1000).build().unwrap();
    let lines: Vec<String> = (0..12).map(|n| n.to_string()).collect();
    let handles: Vec<_> = lines.iter().map(|line| pool.enqueue(Ask::Note(begun.path(), line.clone()))).collect();
    for handle in handles {
        settled(handle).unwrap_or_else(|error| panic!("{moment:?}, {harm:?}: {error}"));
    }
    assert!(once.path().exists(), "{moment:?}, {harm:?} has not happened");
    let mut noted = begun.lines();
    noted.sort_by_key(|line| line.parse::<u32>().unwrap());
    assert_eq!(noted, lines, "{moment:?}, {harm:?}");
    let stats = pool.stats();
    assert_eq!((stats.succeeded, stats.retried), (12, 0), "{moment:?}, {harm:?}: {stats:?}");
    // Harm to a child does not end the fork server.
    let servers = if moment == Moment::Child { 1 } else { 2 };
    // On a busy machine another start may take longer than the short limit.
    let exact = harm != Harm::Stopped;
    assert!(stats.fork_servers_spawned >= servers, "{moment:?}, {harm:?}: {stats:?}");
    assert!(!exact || stats.fork_servers_spawned == servers, "{moment:?}, {harm:?}: {stats:?}");
    pool.exit();
    eventually("nothing is left", || processes::with_argument(&mark).is_empty());
}

#[test]
fn one_without_room_for_descriptors_says_so() {
    let mut poor = Command::new("sh");
    // Room for a few workers: each takes two for as long as it lives, and four more while it is forked.
    poor.args(["-c", "ulimit -n 18; exec \"$0\""]).arg(program("forked"));
    let builder = forked::of(Pool::builder(poor), &Setup::default()).max_processes(12).timeout_working(None);
    let (builder, mut record) = Record::of(builder.start_failures(1000));
    let pool = builder.build().unwrap();
    let gate = Gate::new();
    let first = waits(&pool, &gate);
    let others: Vec<_> = (0..12).map(|_| pool.enqueue(Ask::Wait(gate.path()))).collect();
    // Some of the twelve are refused, which is a start failure of theirs.
    let refused = || pool.wait_ready(Duration::from_millis(20)).unwrap_err().to_string();
    eventually("one is refused, and it is said why", || {
        let refused = refused();
        refused.contains("descriptors") || refused.contains("open files")
    });
    drop(gate);
    for handle in others.into_iter().chain([first]) {
        settled(handle).unwrap();
    }
    assert_eq!(pool.stats().fork_servers_spawned, 1);
    pool.exit();
    assert_eq!(record.count(EventKind::ForkServerExited), 1);
}

#[test]
fn one_without_room_for_processes_says_so() {
    if !getuid().is_root() {
        // The limit counts all that a user has, and only the superuser can be another.
        assert!(std::env::var_os("HIRELINGS_SKIP_NOTHING").is_none(), "not the superuser");
        return;
    }
    let mut poor = Command::new("prlimit");
    // Room for the fork server and three workers, each with its guard.
    poor.args(["--nproc=7", "--"]).arg(program("forked")).uid(nobody_else()).gid(nobody_else());
    let builder = forked::of(Pool::builder(poor), &Setup::default()).max_processes(8).timeout_working(None);
    let (builder, mut record) = Record::of(builder.start_failures(1000));
    let pool = builder.build().unwrap();
    let gate = Gate::new();
    let jobs: Vec<_> = (0..8).map(|_| pool.enqueue(Ask::Wait(gate.path()))).collect();
    // A worker may have been forked that has no room for its guard: then that is what is said at first.
    eventually("a fork is refused, and it is said why", || {
        let refused = pool.wait_ready(Duration::from_millis(20)).unwrap_err().to_string();
        refused.contains("could not be forked") && refused.contains("no more processes")
    });
    drop(gate);
    for job in jobs {
        settled(job).unwrap();
    }
    assert_eq!(pool.stats().fork_servers_spawned, 1, "it goes on");
    pool.exit();
    assert_eq!(record.count(EventKind::ForkServerExited), 1);
}

#[test]
fn nobody_is_left_where_an_init_hangs() {
    leaves_nobody("init");
}

#[test]
fn nobody_is_left_where_an_after_fork_hangs() {
    leaves_nobody("after_fork");
}

#[test]
fn nobody_is_left_where_the_fork_server_is_stopped() {
    leaves_nobody("stopped");
}

#[test]
fn nobody_is_left_where_both_are_killed() {
    leaves_nobody("both");
}

/// Lets a program (`src/bin/forks.rs`) hang somewhere with its pool, kills it, and looks for what it has left.
fn leaves_nobody(place: &str) {
    let gate = Gate::new();
    let mut parent = Command::new(program("forks"));
    let mut parent = parent.arg(place).arg(gate.path()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(parent.stdout.take().unwrap()), &mut line).unwrap();
    let left: Vec<u32> = line.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    assert!(!left.is_empty() && left.iter().all(|&pid| processes::is_alive(pid)), "{line:?}");
    if place == "both" {
        signal(left[0], Signal::KILL);
    }
    parent.kill().unwrap();
    parent.wait().unwrap();
    let alive = || left.iter().flat_map(|&group| processes::of_group(group)).collect::<Vec<_>>();
    let ended = within(Duration::from_secs(3), || alive().is_empty());
    let survivors = alive();
    survivors.iter().for_each(|&pid| processes::kill(pid));
    assert!(ended, "{place}: {survivors:?} of {left:?} are left");
}

// ---------------------------------------------------------------- confinement

#[test]
fn a_worker_may_confine_itself_after_the_fork() {
    use hirelings_tests::confined::{self, Layer, Try};
    let folder = Scratch::new();
    std::fs::create_dir(folder.path()).unwrap();
    let setup = confined::Setup { read: vec![folder.path()], ..confined::Setup::new(Layer::Confined) };
    let pool = confined::pool(&setup).start_method(StartMethod::ForkServer).max_jobs_per_process(1).build().unwrap();
    for _ in 0..3 {
        let enforced = settled(pool.enqueue(Try::Enforced)).unwrap();
        assert!(enforced.starts_with("Some("), "{enforced}");
        let refused = settled(pool.enqueue(Try::Read("/etc/passwd".into()))).unwrap_err().to_string();
        assert!(refused.contains("denied"), "{refused}");
    }
    assert_eq!(pool.stats().fork_servers_spawned, 1);
}

#[test]
fn one_that_confines_itself_says_that_it_cannot_fork() {
    use hirelings_tests::confined::Try;
    let asked = |may: &[&str]| {
        let mut early = Command::new(program("confined"));
        early.arg("early").args(may);
        let builder = Pool::<Try>::builder(early).stderr(Stderr::Null).start_method(StartMethod::ForkServer);
        settled(builder.max_processes(1).start_failures(1).build().unwrap().enqueue(Try::Pid))
    };
    let refused = asked(&[]).unwrap_err().to_string();
    assert!(refused.contains("could not be forked"), "{refused}");
    // It forks, and may not have a descriptor of the process.
    let unseen = asked(&["spawn"]).unwrap_err().to_string();
    assert!(unseen.contains("its exit cannot be watched"), "{unseen}");
    asked(&["spawn", "signal"]).unwrap();
}
