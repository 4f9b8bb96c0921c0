//! How workers are started: by what, with what, when, and what happens where they are not.

use crossbeam_channel::{bounded, unbounded};
use hirelings::{EventKind, JobError, JobHandle, Pool, Slot, Stderr};
use hirelings_tests::staged::{Stage, Staged};
use hirelings_tests::{
    Do, Gate, Record, Scratch, WATCHDOG, eventually, pool, processes, program, settled, staged, worker,
};
use std::fs::File;
use std::iter;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A worker that dies with a complaint until a file exists.
fn until_exists(file: &Scratch) -> Command {
    let mut shell = Command::new("sh");
    let line = "test -e \"$0\" || { echo 'not yet' >&2; exit 3; }; exec \"$1\"";
    shell.args(["-c", line]).arg(file.path()).arg(program("worker"));
    shell
}

fn no_worker(job: JobHandle<Do>) -> hirelings::StartFailure {
    match settled(job) {
        Err(JobError::NoWorker(failure)) => failure,
        other => panic!("{other:?}"),
    }
}

// ---------------------------------------------------------------- start failures

/// The times between the starts of a worker that never starts.
fn waits() -> Vec<Duration> {
    let (said, spawns) = unbounded();
    let launch = move |_| {
        let _ = said.send(Instant::now());
        Command::new("false")
    };
    let pool = Pool::<Do>::builder_with(launch).stderr(Stderr::Null).max_processes(1).start_failures(5);
    let pool = pool.build().unwrap();
    no_worker(pool.enqueue(Do::Pid));
    let spawns: Vec<Instant> = spawns.try_iter().collect();
    assert_eq!(spawns.len(), 5);
    spawns.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

#[test]
fn each_failure_waits_twice_as_long_as_the_one_before() {
    // That the first has no wait can only be seen where the machine is not too busy.
    let quick = (0..20).any(|_| {
        let waits = waits();
        for (wait, least) in waits[1..].iter().zip([100, 200, 400]) {
            assert!(*wait >= Duration::from_millis(least), "{waits:?}");
        }
        waits[0] < Duration::from_millis(100)
    });
    assert!(quick, "the first failure's wait was never under the second's");
}

#[test]
fn no_enqueue_goes_round_the_wait() {
    let start = Instant::now();
    let (builder, mut record) = Record::of(Pool::<Do>::builder(Command::new("false")));
    let pool = builder.stderr(Stderr::Null).max_processes(1).start_failures(4).build().unwrap();
    let mut jobs = vec![pool.enqueue(Do::Pid)];
    while !jobs[0].is_finished() {
        jobs.push(pool.enqueue(Do::Pid));
        thread::yield_now();
    }
    // Waits of 0, 100 and 200 ms lie between the first and the fourth.
    assert!(start.elapsed() >= Duration::from_millis(300), "{:?}", start.elapsed());
    pool.exit();
    let took = start.elapsed();
    let spawned = record.count(EventKind::Spawn);
    // Those after the fourth are probes for the jobs that came later, each with its wait before it.
    let waits = [0, 100, 200, 400, 800, 1600, 3200].into_iter().chain(iter::repeat(5000));
    let sums = waits.scan(0, |sum, wait| {
        *sum += wait;
        Some(Duration::from_millis(*sum))
    });
    let most = 1 + sums.take_while(|sum| *sum <= took).count();
    assert!((4..=most).contains(&spawned), "{spawned} spawns for {} jobs in {took:?}", jobs.len());
}

#[test]
fn failures_in_a_row_settle_the_queued_jobs() {
    let never = Scratch::new();
    let pool = Pool::<Do>::builder(until_exists(&never)).stderr(Stderr::Null).max_processes(2).start_failures(3);
    let pool = pool.retries(5).build().unwrap();
    let jobs: Vec<_> = (0..10).map(|_| pool.enqueue(Do::Pid)).collect();
    for job in jobs {
        let failure = no_worker(job);
        assert_eq!(failure.program, "sh");
        assert_eq!(failure.status.and_then(|status| status.code()), Some(3));
        assert_eq!(failure.stderr, "not yet");
        assert!(failure.to_string().contains("no worker would start: sh exited with status 3"), "{failure}");
    }
    let stats = pool.stats();
    assert_eq!((stats.failed, stats.retried, stats.backlog), (10, 0, 0));
}

#[test]
fn a_pool_that_gave_up_probes_for_new_jobs_only() {
    let file = Scratch::new();
    let (builder, mut record) = Record::of(Pool::<Do>::builder(until_exists(&file)));
    let pool = builder.stderr(Stderr::Null).max_processes(1).start_failures(2).min_processes(1).build().unwrap();
    no_worker(pool.enqueue(Do::Pid));
    // Where the pool gave up before the job came, that one has had a probe too.
    let spawned = pool.stats().spawned;
    assert!((2..=3).contains(&spawned), "{spawned}");
    for probes in 1..=2 {
        no_worker(pool.enqueue(Do::Pid));
        assert_eq!(pool.stats().spawned, spawned + probes, "one probe, for one job; none for the minimum's sake");
    }
    File::create(file.path()).unwrap();
    assert_eq!(settled(pool.enqueue(Do::Echo("whole".into()))).unwrap(), "whole");
    // One that became ready makes the pool whole: the minimum counts again.
    processes::kill(pool.workers()[0].pid);
    record.until_kind(EventKind::WorkerReady);
    record.until_kind(EventKind::WorkerInitializing);
    record.until_kind(EventKind::WorkerReady);
    assert_eq!(pool.stats().spawned, spawned + 2 + 2);
}

#[test]
fn a_job_waits_for_a_program_that_comes_to_its_senses() {
    let file = Scratch::new();
    let (builder, mut record) = Record::of(Pool::<Do>::builder(until_exists(&file)));
    let pool = builder.stderr(Stderr::Null).max_processes(1).start_failures(50).build().unwrap();
    let job = pool.enqueue(Do::Echo("at last".into()));
    record.until_kind(EventKind::WorkerExit);
    record.until_kind(EventKind::WorkerExit);
    File::create(file.path()).unwrap();
    assert_eq!(settled(job).unwrap(), "at last");
}

#[test]
fn several_threads_learn_why_and_go_on_once_it_starts() {
    let file = Scratch::new();
    let pool = Pool::<Do>::builder(until_exists(&file)).stderr(Stderr::Null).max_processes(3).start_failures(2);
    let pool = pool.build().unwrap();
    let by_threads = |of_one: &(dyn Fn() + Sync)| {
        thread::scope(|scope| {
            let threads: Vec<_> = (0..6).map(|_| scope.spawn(|| (0..2).for_each(|_| of_one()))).collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        });
    };
    by_threads(&|| assert_eq!(no_worker(pool.enqueue(Do::Pid)).stderr, "not yet"));
    File::create(file.path()).unwrap();
    by_threads(&|| assert_eq!(settled(pool.enqueue(Do::Echo("well".into()))).unwrap(), "well"));
    let stats = pool.stats();
    assert_eq!((stats.enqueued, stats.failed, stats.succeeded), (24, 12, 12));
}

#[test]
fn exit_ends_the_wait_before_the_next_start() {
    let calls = Arc::new(AtomicUsize::new(0));
    let of_launcher = Arc::clone(&calls);
    let launch = move |_| {
        of_launcher.fetch_add(1, Ordering::SeqCst);
        Command::new("false")
    };
    let pool = Pool::<Do>::builder_with(launch).stderr(Stderr::Null).max_processes(1).start_failures(50);
    let (builder, mut record) = Record::of(pool);
    let pool = builder.build().unwrap();
    let jobs: Vec<_> = (0..5).map(|_| pool.enqueue(Do::Pid)).collect();
    // The waits are 0, 100, 200, 400 and then 800 ms.
    (0..5).for_each(|_| drop(record.until_kind(EventKind::WorkerExit)));
    let start = Instant::now();
    pool.exit();
    let took = start.elapsed();
    assert!(jobs.into_iter().all(|job| matches!(job.try_wait(), Ok(Err(JobError::Closed)))));
    let started = calls.load(Ordering::SeqCst);
    // On a machine that is busy there may have been more by then.
    assert!(started > 5 || took < Duration::from_millis(800), "{took:?}");
    pool.spawn_workers();
    drop(pool.enqueue(Do::Pid));
    assert_eq!((pool.stats().spawned as usize, record.count(EventKind::Spawn)), (started, started));
    drop(pool);
    assert_eq!(calls.load(Ordering::SeqCst), started, "nothing is started after exit");
}

#[test]
fn one_slot_that_cannot_start_stops_no_other() {
    let launch = |slot: Slot| if slot.index() == 0 { worker() } else { Command::new("false") };
    let pool = Pool::<Do>::builder_with(launch).stderr(Stderr::Null).max_processes(2).start_failures(1);
    let pool = pool.build().unwrap();
    settled(pool.enqueue(Do::Pid)).unwrap();
    let jobs: Vec<_> = (0..50).map(|n| pool.enqueue(Do::Echo(n.to_string()))).collect();
    for (n, job) in jobs.into_iter().enumerate() {
        assert_eq!(settled(job).unwrap(), n.to_string());
    }
}

#[test]
fn the_cause_is_not_the_end_of_the_worker_before() {
    let mut first = Some(worker());
    let launch = move |_| first.take().unwrap_or_else(|| Command::new("/no/such/worker"));
    let pool = Pool::<Do>::builder_with(launch).stderr(Stderr::Null).max_processes(1).start_failures(1);
    let pool = pool.max_jobs_per_process(1).build().unwrap();
    settled(pool.enqueue(Do::Pid)).unwrap();
    let failure = no_worker(pool.enqueue(Do::Pid));
    assert!(failure.to_string().contains("/no/such/worker could not be started"), "{failure}");
    assert_eq!(failure.status, None);
}

#[test]
fn a_death_before_the_first_job_is_a_start_failure() {
    let mut command = Command::new(program("liar"));
    command.arg("leaves at once");
    let (builder, mut record) = Record::of(Pool::<Do>::builder(command));
    let pool = builder.stderr(Stderr::Null).max_processes(1).min_processes(1).start_failures(3).build().unwrap();
    // The minimum asks for a new one each time, with the waits between, until the pool gives up.
    let start = Instant::now();
    for _ in 0..3 {
        let exit = record.until_kind(EventKind::WorkerExit);
        assert_eq!(exit.status().and_then(|status| status.code()), Some(7));
    }
    assert!(start.elapsed() >= Duration::from_millis(90), "{:?}", start.elapsed());
    let error = settled(pool.enqueue(Do::Pid)).unwrap_err();
    assert!(error.to_string().contains("status 7"), "{error}");
    pool.exit();
    match error {
        JobError::NoWorker(_) => assert_eq!(record.count(EventKind::Spawn), 4, "one probe"),
        // Its worker took the job before it left: that is a crash in a job, after which the minimum counts again.
        JobError::Crashed(_) => assert!(record.count(EventKind::Spawn) >= 4),
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_killed_while_idle_is_replaced_at_the_next_use() {
    let (builder, mut record) = Record::of(pool().max_processes(1));
    let pool = builder.build().unwrap();
    let pid = settled(pool.enqueue(Do::Pid)).unwrap();
    Command::new("kill").args(["-KILL", &pid]).status().unwrap();
    record.until_kind(EventKind::WorkerExit);
    assert_ne!(settled(pool.enqueue(Do::Pid)).unwrap(), pid);
    let stats = pool.stats();
    assert_eq!((stats.crashed, stats.failed, stats.spawned), (1, 0, 2));
}

// ---------------------------------------------------------------- init

fn staged_error(start: Stage) -> JobError<String> {
    // Only what never ends is to meet its limit, however busy the machine is.
    let limit = if matches!(start, Stage::Wait(_)) { Duration::from_secs(1) } else { WATCHDOG };
    let pool = staged::pool(start).max_processes(1).start_failures(1).timeout_initializing(limit);
    settled(pool.build().unwrap().enqueue(Staged { after: Stage::Pass })).unwrap_err()
}

#[test]
fn inits_that_fail_panic_die_or_hang_are_told_apart() {
    let gate = Gate::new();
    for (start, words) in [
        (Stage::Fail("there is no licence".into()), "said: there is no licence"),
        (Stage::Panic("there is no display".into()), "said: there is no display"),
        (Stage::Exit(44), "exited with status 44 before it was ready"),
        (Stage::Wait(gate.path()), "initializing for more than 1s"),
    ] {
        let error = staged_error(start);
        assert!(matches!(error, JobError::NoWorker(_)), "{error:?}");
        assert!(error.to_string().contains(words) && error.to_string().contains("staged"), "{error}");
    }
}

// ---------------------------------------------------------------- the launcher

#[test]
fn a_launcher_that_panics_is_a_start_failure() {
    let mut calls = 0;
    let launch = move |_| {
        calls += 1;
        assert!(calls > 2, "launcher, call {calls}");
        worker()
    };
    // The first panic is build's; and a pool that was built lives through them.
    let error = Pool::<Do>::builder_with(|_| panic!("no host")).build().map(drop).unwrap_err().to_string();
    assert!(error.contains("launcher") && error.contains("no host"), "{error}");
    let mut first = Some(());
    let mut launch = launch;
    let mixed = move |slot| if first.take().is_some() { Command::new("false") } else { launch(slot) };
    let pool = Pool::<Do>::builder_with(mixed).stderr(Stderr::Null).max_processes(1).build().unwrap();
    assert_eq!(settled(pool.enqueue(Do::Echo("well".into()))).unwrap(), "well");
}

#[test]
fn a_launcher_that_blocks_holds_up_nothing_but_starts() {
    let (release, blocked) = bounded::<()>(0);
    let (entered, inside) = bounded(1);
    let launch = move |slot: Slot| {
        if slot.index() > 0 {
            let _ = entered.send(());
            let _ = blocked.recv();
        }
        worker()
    };
    let pool = Pool::<Do>::builder_with(launch).stderr(Stderr::Null).max_processes(2).build().unwrap();
    settled(pool.enqueue(Do::Pid)).unwrap();
    pool.spawn_workers();
    inside.recv_timeout(WATCHDOG).unwrap();
    assert_eq!(settled(pool.enqueue(Do::Echo("well".into()))).unwrap(), "well");
    let error = pool.wait_ready(Duration::from_millis(50)).unwrap_err().to_string();
    assert!(error.contains("not ready within 50ms"), "{error}");
    let (done, exited) = bounded(1);
    thread::spawn(move || {
        pool.exit();
        let _ = done.send(pool.stats().workers);
    });
    assert_eq!(exited.recv_timeout(WATCHDOG), Ok(0), "exit returns though the launcher does not");
    drop(release);
}

#[test]
fn each_slot_has_its_own_command() {
    let launch = |slot: Slot| {
        let mut command = worker();
        command.env("PLACE", format!("slot {}", slot.index()));
        command
    };
    let gates: Vec<Gate> = (0..3).map(|_| Gate::new()).collect();
    let pool = Pool::<Do>::builder_with(launch).stderr(Stderr::Null).max_processes(3).build().unwrap();
    let job = |gate: &Gate| Do::Then(vec![Do::Wait(gate.path()), Do::Shell("echo $PLACE".into())]);
    let jobs: Vec<_> = gates.iter().map(|gate| hirelings_tests::begun(pool.request(job(gate)))).collect();
    drop(gates);
    let mut places: Vec<_> = jobs.into_iter().map(|job| settled(job).unwrap()).collect();
    places.sort();
    assert_eq!(places, ["slot 0", "slot 1", "slot 2"]);
}

#[test]
fn environment_folder_and_arguments_reach_the_worker() {
    let mut command = worker();
    command.args(["--quality", "80 %"]).env_clear().env("PATH", "/usr/bin:/bin").env("COLOUR", "a deep red");
    command.current_dir("/usr");
    let pool = Pool::<Do>::builder(command).stderr(Stderr::Null).max_processes(1).max_jobs_per_process(1);
    let pool = pool.build().unwrap();
    // The second comes from a second worker of the same command.
    for _ in 0..2 {
        let line = "echo $COLOUR; pwd; tr '\\0' '|' </proc/$PPID/cmdline";
        let told = settled(pool.enqueue(Do::Shell(line.into()))).unwrap();
        let lines: Vec<_> = told.lines().collect();
        assert_eq!(lines[..2], ["a deep red", "/usr"]);
        assert!(lines[2].ends_with("worker|--quality|80 %|"), "{told}");
    }
    let environment = settled(pool.enqueue(Do::Shell("tr '\\0' '\\n' </proc/$PPID/environ".into()))).unwrap();
    assert_eq!(environment, "COLOUR=a deep red\nPATH=/usr/bin:/bin");
}

// ---------------------------------------------------------------- when

#[test]
fn min_processes_are_started_by_build_and_kept() {
    let (builder, mut record) = Record::of(pool().max_processes(4).min_processes(2));
    let pool = builder.build().unwrap();
    record.until_kind(EventKind::WorkerReady);
    record.until_kind(EventKind::WorkerReady);
    assert_eq!(pool.workers().len(), 2);
    // One that has worked and dies without a job is replaced at once, though nobody needs it.
    let gate = Gate::new();
    let job = hirelings_tests::begun(pool.request(Do::Wait(gate.path())));
    drop(gate);
    let pid = settled(job).unwrap();
    Command::new("kill").args(["-KILL", &pid]).status().unwrap();
    record.until(|event| event.kind() == EventKind::WorkerExit && event.pid() == pid.parse().ok());
    record.until_kind(EventKind::WorkerReady);
    assert_eq!((pool.workers().len(), pool.stats().spawned), (2, 3));
}

#[test]
fn without_a_minimum_only_what_jobs_need_is_started() {
    let pool = pool().max_processes(8).build().unwrap();
    pool.wait_idle();
    for _ in 0..20 {
        settled(pool.enqueue(Do::Pid)).unwrap();
    }
    assert_eq!(pool.stats().spawned, 1);
}

#[test]
fn idle_workers_are_used_before_others_are_started() {
    let pool = pool().max_processes(8).build().unwrap();
    for _ in 0..5 {
        let mut gate = Gate::new();
        let jobs = [(); 3].map(|()| hirelings_tests::begun(pool.request(Do::Wait(gate.path()))));
        gate.open();
        jobs.into_iter().for_each(|job| drop(settled(job).unwrap()));
        pool.wait_idle();
        settled(pool.enqueue(Do::Pid)).unwrap();
        pool.wait_idle();
    }
    let stats = pool.stats();
    assert_eq!((stats.spawned, stats.workers), (3, 3));
}

#[test]
fn many_callers_start_no_more_than_the_maximum() {
    let mut gate = Gate::new();
    let pool = staged::pool(Stage::Wait(gate.path())).max_processes(3).timeout_initializing(None).build().unwrap();
    thread::scope(|scope| {
        let callers: Vec<_> =
            (0..20).map(|_| scope.spawn(|| settled(pool.enqueue(Staged { after: Stage::Pass })).unwrap())).collect();
        eventually("all of them wait for three workers", || {
            let stats = pool.stats();
            (stats.backlog, stats.spawned) == (20, 3)
        });
        gate.open();
        assert!(callers.into_iter().all(|caller| caller.join().unwrap() > 0));
    });
    assert_eq!(pool.stats().spawned, 3);
}

#[test]
fn streams_that_the_command_has_set_are_replaced() {
    let mut command = worker();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
    let (builder, mut record) = Record::of(Pool::<Do>::builder(command));
    let pool = builder.stderr(Stderr::Null).max_processes(1).build().unwrap();
    settled(pool.enqueue(Do::Print("well".into()))).unwrap();
    assert_eq!(record.until_kind(EventKind::WorkerStderr).stderr(), Some("well"));
}

#[test]
fn spawn_workers_starts_them_all_and_tells_when_ready() {
    let (builder, mut record) = Record::of(pool().max_processes(3));
    let pool = builder.build().unwrap();
    pool.spawn_workers();
    record.until_kind(EventKind::Ready);
    assert_eq!(record.count(EventKind::WorkerReady), 3);
    let slots: std::collections::BTreeSet<_> = pool.workers().iter().map(|worker| worker.slot.index()).collect();
    assert_eq!(slots.into_iter().collect::<Vec<_>>(), [0, 1, 2]);
    pool.wait_ready(WATCHDOG).unwrap();
}

#[test]
fn wait_ready_says_what_stopped_it() {
    let gate = Gate::new();
    let slow = staged::pool(Stage::Wait(gate.path())).max_processes(2).timeout_initializing(None).build().unwrap();
    let error = slow.wait_ready(Duration::from_millis(20)).unwrap_err();
    assert!(error.to_string().contains("not ready within 20ms") && error.start_failure().is_none(), "{error}");
    drop(gate);
    slow.wait_ready(WATCHDOG).unwrap();

    let never = Scratch::new();
    let builder = Pool::<Do>::builder(until_exists(&never)).stderr(Stderr::Null);
    let bad = builder.max_processes(2).start_failures(2).build().unwrap();
    let error = bad.wait_ready(WATCHDOG).unwrap_err();
    let failure = error.start_failure().expect("a cause");
    assert_eq!((failure.program.as_str(), failure.stderr.as_str()), ("sh", "not yet"));
    assert_eq!(failure.status.and_then(|status| status.code()), Some(3));
    bad.exit();
    let error = bad.wait_ready(WATCHDOG).unwrap_err().to_string();
    assert!(error.contains("ended") || error.contains("closed"), "{error}");
}

#[test]
fn exit_ends_the_wait_for_workers() {
    let gate = Gate::new();
    let pool = staged::pool(Stage::Wait(gate.path())).max_processes(2).timeout_initializing(None).build().unwrap();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| pool.wait_ready(WATCHDOG));
        eventually("all are spawned", || pool.stats().spawned == 2);
        pool.exit();
        let error = waiter.join().unwrap().unwrap_err().to_string();
        assert!(error.contains("closed") || error.contains("ended"), "{error}");
    });
}

#[test]
fn who_waits_for_all_gets_the_successor_of_one() {
    let (open, opened) = bounded::<()>(0);
    let (asked, is_asked) = bounded(8);
    let launch = move |slot: Slot| {
        if slot.index() == 1 {
            let _ = asked.send(());
            // Until the other end is dropped.
            let _ = opened.recv();
        }
        worker()
    };
    let pool = Pool::<Do>::builder_with(launch).stderr(Stderr::Null).max_processes(2).build().unwrap();
    thread::scope(|scope| {
        let ready = scope.spawn(|| pool.wait_ready(WATCHDOG));
        is_asked.recv_timeout(WATCHDOG).unwrap();
        settled(pool.enqueue(Do::Retire)).unwrap();
        eventually("it has left", || pool.stats().exited == 1);
        drop(open);
        ready.join().unwrap().unwrap();
    });
    assert_eq!((pool.workers().len(), pool.stats().spawned), (2, 3));
}
