//! Initializing, Working and Recovering have a limit, and what is over it is killed.

use hirelings::{EventKind, JobError, JobStatus, StartMethod, Stderr, Timeout, WorkerState};
use hirelings_tests::staged::{self, Stage, Staged};
use hirelings_tests::{Do, Gate, Record, WATCHDOG, begun, pool, processes, settled, start_method, stubborn_worker};
use rustix::process::{Pid, Signal, kill_process};
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(100);

fn timeout_of<T: std::fmt::Debug, E: std::fmt::Debug>(result: Result<T, JobError<E>>) -> Timeout {
    match result {
        Err(JobError::TimedOut(timeout)) => timeout,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_job_that_takes_too_long_times_out() {
    let pool = pool().max_processes(1).timeout_working(SHORT).build().unwrap();
    let before = settled(pool.request(Do::Pid).timeout(WATCHDOG).enqueue()).unwrap();
    let gate = Gate::new();
    let timeout = timeout_of(settled(pool.enqueue(Do::Wait(gate.path()))));
    assert_eq!((timeout.state, timeout.limit), (WorkerState::Working, SHORT));
    assert_eq!(timeout.pid.to_string(), before);
    assert_ne!(settled(pool.request(Do::Pid).timeout(WATCHDOG).enqueue()).unwrap(), before);
    let stats = pool.stats();
    assert_eq!((stats.timed_out, stats.failed, stats.succeeded), (1, 1, 2));
    assert_eq!(stats.crashed, 0, "the pool asked for it");
    assert!(!processes::is_alive(timeout.pid));
}

#[test]
fn a_busy_loop_is_killed_and_its_process_ends() {
    let pool = pool().max_processes(1).build().unwrap();
    let timeout = timeout_of(settled(pool.request(Do::Spin).timeout(SHORT).enqueue()));
    // It blocks no signal: the first of them ends it, and nothing is left that uses a processor.
    hirelings_tests::eventually("the process has ended", || !processes::is_alive(timeout.pid));
    settled(pool.enqueue(Do::Pid)).unwrap();
}

#[test]
fn a_quick_job_keeps_its_worker() {
    let pool = pool().max_processes(1).timeout_working(Duration::from_secs(20)).build().unwrap();
    let pids = [(); 3].map(|()| settled(pool.enqueue(Do::Pid)).unwrap());
    assert!(pids.iter().all(|pid| *pid == pids[0]));
    assert_eq!(pool.stats().timed_out, 0);
}

#[test]
fn a_job_has_its_own_limit() {
    let pool = pool().max_processes(1).build().unwrap();
    let gate = Gate::new();
    let timeout = timeout_of(settled(pool.request(Do::Wait(gate.path())).timeout(SHORT).enqueue()));
    assert_eq!(timeout.limit, SHORT);
}

#[test]
fn a_job_of_its_own_may_have_no_limit() {
    let pool = pool().max_processes(2).timeout_working(SHORT).build().unwrap();
    let mut gate = Gate::new();
    let patient = begun(pool.request(Do::Wait(gate.path())).timeout(None));
    // What is dispatched later, with the pool's limit, is over first.
    timeout_of(settled(pool.enqueue(Do::Wait(gate.path()))));
    assert!(!patient.is_finished());
    gate.open();
    settled(patient).unwrap();
}

#[test]
fn no_limit_and_the_longest_limit_are_the_same() {
    for limit in [None, Some(Duration::MAX)] {
        let pool = pool().timeout_working(limit).timeout_initializing(limit).timeout_recovering(limit);
        let pool = pool.max_processes(1).build().unwrap();
        settled(pool.enqueue(Do::Pid)).unwrap();
        settled(pool.request(Do::Pid).timeout(limit).enqueue()).unwrap();
    }
}

#[test]
fn a_limit_that_is_huge_does_not_overflow() {
    let huge = Duration::from_secs(u64::MAX / 2);
    let pool = pool().timeout_working(huge).timeout_initializing(huge).timeout_recovering(huge).kill_grace(huge);
    let pool = pool.max_processes(1).build().unwrap();
    settled(pool.enqueue(Do::Pid)).unwrap();
    let _ = pool.enqueue(Do::Pid).wait_timeout(Duration::MAX).unwrap();
}

#[test]
fn the_clock_does_not_run_while_a_job_is_queued() {
    let pool = pool().max_processes(1).build().unwrap();
    let mut gate = Gate::new();
    let holding = begun(pool.request(Do::Wait(gate.path())));
    let limit = Duration::from_millis(1500);
    let queued: Vec<_> = (0..3).map(|_| pool.request(Do::Pid).timeout(limit).enqueue()).collect();
    // Longer than their limit: the queued jobs have waited for all of it when the gate is opened.
    let slept = pool.enqueue(Do::Pid).wait_timeout(limit + SHORT).unwrap_err();
    gate.open();
    settled(holding).unwrap();
    queued.into_iter().for_each(|handle| drop(settled(handle).unwrap()));
    settled(slept).unwrap();
    assert_eq!(pool.stats().timed_out, 0);
}

#[test]
fn the_clock_starts_when_the_job_is_dispatched() {
    let pool = pool().max_processes(1).kill_grace(Duration::ZERO).build().unwrap();
    let pid: i32 = settled(pool.enqueue(Do::Pid)).unwrap().parse().unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::STOP).unwrap();
    hirelings_tests::eventually("it is stopped", || processes::is_stopped(pid.cast_unsigned()));
    let timeout = timeout_of(settled(pool.request(Do::Pid).timeout(SHORT).enqueue()));
    assert_eq!((timeout.state, timeout.pid), (WorkerState::Working, pid.cast_unsigned()));
    settled(pool.enqueue(Do::Pid)).unwrap();
    assert!(!processes::is_alive(pid.cast_unsigned()));
}

#[test]
fn a_stopped_worker_is_gone_after_the_grace_time() {
    let (builder, mut record) = Record::of(pool().max_processes(1).timeout_working(SHORT).kill_grace(SHORT));
    let pool = builder.build().unwrap();
    let gate = Gate::new();
    let stopped = Do::Then(vec![Do::Wait(gate.path())]);
    let handle = begun(pool.request(stopped).timeout(Duration::from_secs(3)));
    let JobStatus::Running { pid, attempt: 1 } = handle.status() else { panic!("{:?}", handle.status()) };
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::STOP).unwrap();
    timeout_of(settled(handle));
    let exit = record.until_kind(EventKind::Exit);
    assert_eq!(exit.pid(), Some(pid));
    assert!(exit.to_string().contains("SIGKILL"), "{exit}");
    settled(pool.request(Do::Pid).timeout(WATCHDOG).enqueue()).unwrap();
}

#[test]
fn a_limit_of_nothing_is_over_at_once() {
    let pool = pool().max_processes(1).build().unwrap();
    let gate = Gate::new();
    timeout_of(settled(pool.request(Do::Wait(gate.path())).timeout(Duration::ZERO).enqueue()));
    settled(pool.enqueue(Do::Pid)).unwrap();
}

#[test]
fn a_job_settles_before_its_worker_has_ended() {
    let (builder, mut record) = Record::of(
        hirelings_tests::builder::<Do>(stubborn_worker())
            .stderr(Stderr::Null)
            .max_processes(1)
            .kill_grace(Duration::from_millis(2500)),
    );
    let pool = builder.build().unwrap();
    let gate = Gate::new();
    let timeout = timeout_of(settled(pool.request(Do::Wait(gate.path())).timeout(SHORT).enqueue()));
    assert!(processes::is_alive(timeout.pid), "it ignores SIGTERM");
    // Its slot is freed all the same, by SIGKILL, and not before.
    let next = settled(pool.enqueue(Do::Pid)).unwrap();
    assert_ne!(next, timeout.pid.to_string());
    assert!(!processes::is_alive(timeout.pid));
    let exit = record.until_kind(EventKind::Exit);
    assert!(exit.to_string().contains("SIGKILL"), "{exit}");
}

#[test]
fn a_worker_that_heeds_sigterm_gets_no_sigkill() {
    let (builder, mut record) = Record::of(pool().max_processes(1).kill_grace(Duration::from_secs(50)));
    let pool = builder.build().unwrap();
    let gate = Gate::new();
    timeout_of(settled(pool.request(Do::Wait(gate.path())).timeout(SHORT).enqueue()));
    let exit = record.until_kind(EventKind::Exit);
    assert!(exit.to_string().contains("SIGTERM"), "{exit}");
}

#[test]
fn with_no_grace_time_the_first_signal_is_sigkill() {
    let (builder, mut record) = Record::of(pool().max_processes(1).kill_grace(Duration::ZERO));
    let pool = builder.build().unwrap();
    let gate = Gate::new();
    timeout_of(settled(pool.request(Do::Wait(gate.path())).timeout(SHORT).enqueue()));
    let exit = record.until_kind(EventKind::Exit);
    assert!(exit.to_string().contains("SIGKILL"), "{exit}");
}

#[test]
fn the_whole_process_group_is_killed() {
    let (builder, mut record) = Record::of(pool().max_processes(1));
    let pool = builder.build().unwrap();
    let gate = Gate::new();
    let job = Do::Then(vec![Do::SpawnSleeper, Do::Wait(gate.path())]);
    let handle = begun(pool.request(job).timeout(Duration::from_secs(3)));
    let JobStatus::Running { pid, .. } = handle.status() else { panic!("{:?}", handle.status()) };
    assert_eq!(processes::of_group(pid).len(), 2);
    timeout_of(settled(handle));
    record.until_kind(EventKind::Exit);
    hirelings_tests::eventually("the group is empty", || processes::of_group(pid).is_empty());
}

#[test]
fn a_worker_that_initializes_too_long_is_killed() {
    let gate = Gate::new();
    let (builder, mut record) = Record::of(staged::pool(Stage::Wait(gate.path())));
    let pool = builder.max_processes(1).timeout_initializing(SHORT).start_failures(2).build().unwrap();
    let handle = pool.enqueue(Staged { after: Stage::Pass });
    let error = settled(handle).unwrap_err();
    let JobError::NoWorker(failure) = &error else { panic!("{error}") };
    assert!(failure.reason.contains("initializing for more than 100ms"), "{failure}");
    assert_eq!(failure.attempts, 0);
    assert!(failure.program.ends_with("staged"), "{failure}");
    pool.exit();
    // The start of a fork server has the same limit, which may be over a moment before the worker's: that is no worker's timeout.
    let timed_out = record.count(EventKind::WorkerTimeout);
    assert!(timed_out == 2 || start_method() == StartMethod::ForkServer && timed_out < 2, "{timed_out}");
    assert_eq!(pool.stats().timed_out, timed_out as u64);
    let mut timeouts = record.all().iter().filter_map(|event| event.timeout());
    assert!(timeouts.all(|timeout| timeout == (WorkerState::Initializing, SHORT)));
}

#[test]
fn without_a_limit_initializing_may_take_any_time() {
    let mut gate = Gate::new();
    let pool = staged::pool(Stage::Wait(gate.path())).max_processes(1).timeout_initializing(None).build().unwrap();
    let handle = pool.enqueue(Staged { after: Stage::Pass });
    let handle = handle.wait_timeout(SHORT).unwrap_err();
    gate.open();
    settled(handle).unwrap();
    assert_eq!(pool.stats().spawned, 1);
}

#[test]
fn a_worker_that_recovers_too_long_is_replaced() {
    let gate = Gate::new();
    let (builder, mut record) = Record::of(staged::pool(Stage::Pass).max_processes(1));
    let limit = Duration::from_millis(400);
    let pool = builder.timeout_recovering(limit).build().unwrap();
    let first = settled(pool.enqueue(Staged { after: Stage::Wait(gate.path()) })).unwrap();
    let event = record.until_kind(EventKind::WorkerTimeout);
    assert_eq!(event.timeout(), Some((WorkerState::Recovering, limit)));
    let second = settled(pool.enqueue(Staged { after: Stage::Pass })).unwrap();
    assert_ne!(first, second);
    let stats = pool.stats();
    assert_eq!((stats.timed_out, stats.succeeded, stats.failed, stats.retried), (1, 2, 0, 0));
}

#[test]
fn jobs_behind_a_long_recovery_go_to_the_next_worker() {
    let gate = Gate::new();
    let pool = staged::pool(Stage::Pass).max_processes(1).timeout_recovering(SHORT).build().unwrap();
    let first = pool.enqueue(Staged { after: Stage::Wait(gate.path()) });
    let rest: Vec<_> = (0..3).map(|_| pool.enqueue(Staged { after: Stage::Pass })).collect();
    let first = settled(first).unwrap();
    for handle in rest {
        assert_ne!(settled(handle).unwrap(), first);
    }
}

#[test]
fn a_timeout_is_one_final_failure_after_all_retries() {
    let (builder, mut record) = Record::of(pool().max_processes(1).retries(2).timeout_working(SHORT));
    let pool = builder.build().unwrap();
    let gate = Gate::new();
    let handle = pool.enqueue(Do::Wait(gate.path()));
    let id = handle.id();
    timeout_of(settled(handle));
    pool.exit();
    let of_job = record.of_job(id);
    let count = |kind| of_job.iter().filter(|&&of| of == kind).count();
    assert_eq!((count(EventKind::JobRetry), count(EventKind::JobFailure)), (2, 1));
    assert_eq!((record.count(EventKind::WorkerTimeout), pool.stats().timed_out), (3, 3));
}

#[test]
fn a_timeout_touches_its_own_job_only() {
    let pool = pool().max_processes(2).build().unwrap();
    let mut gate = Gate::new();
    let other = begun(pool.request(Do::Wait(gate.path())));
    let JobStatus::Running { pid, .. } = other.status() else { panic!("{:?}", other.status()) };
    let closed = Gate::new();
    timeout_of(settled(pool.request(Do::Wait(closed.path())).timeout(SHORT).enqueue()));
    gate.open();
    assert_eq!(settled(other).unwrap(), pid.to_string());
}

#[test]
fn an_answer_at_the_limit_gives_one_outcome() {
    // The limit falls into the job's own time, to either side of its answer.
    let (builder, mut record) = Record::of(pool().max_processes(2).kill_grace(Duration::ZERO));
    let pool = builder.build().unwrap();
    let limits = (0..200).map(|n| Duration::from_micros(20 * n));
    let handles: Vec<_> = limits.map(|limit| pool.request(Do::Progress(3)).timeout(limit).enqueue()).collect();
    let ids: Vec<_> = handles.iter().map(hirelings::JobHandle::id).collect();
    let outcomes: Vec<_> = handles.into_iter().map(|handle| settled(handle).is_ok()).collect();
    pool.exit();
    for (id, succeeded) in ids.into_iter().zip(&outcomes) {
        let of_job = record.of_job(id);
        let count = |kind| of_job.iter().filter(|&&of| of == kind).count();
        let ends = (count(EventKind::JobSuccess), count(EventKind::JobFailure), count(EventKind::Done));
        assert_eq!(ends, if *succeeded { (1, 0, 1) } else { (0, 1, 1) });
    }
    let stats = pool.stats();
    assert_eq!(stats.succeeded, outcomes.iter().filter(|&&succeeded| succeeded).count() as u64);
    assert_eq!(stats.succeeded + stats.failed, 200);
}

#[test]
fn the_timeout_has_what_the_worker_wrote_last() {
    let pool = pool().max_processes(1).name("slow").timeout_working(Duration::from_secs(2)).build().unwrap();
    let gate = Gate::new();
    let start = Instant::now();
    let job = Do::Then(vec![Do::Print("reading the disk".into()), Do::Wait(gate.path())]);
    let error = settled(pool.request(job).label("page 7").enqueue()).unwrap_err();
    assert!(start.elapsed() >= Duration::from_secs(2));
    let text = error.to_string();
    assert!(text.contains("reading the disk") && text.contains("page 7") && text.contains("2s"), "{text}");
}
