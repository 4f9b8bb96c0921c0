//! Abort settles a job at once; what waits never runs, and what runs is killed.

use hirelings::{EventKind, JobError, JobStatus, Stderr};
use hirelings_tests::{Do, Gate, Record, Scratch, WATCHDOG, begun, pool, processes, settled, stubborn_worker};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

fn pid_of(handle: &hirelings::JobHandle<Do>) -> u32 {
    match handle.status() {
        JobStatus::Running { pid, .. } => pid,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_queued_job_never_runs_and_those_behind_it_do() {
    let pool = pool().max_processes(1).build().unwrap();
    let log = Scratch::new();
    let append = |line: &str| pool.enqueue(Do::Append(log.path(), line.into()));
    let mut gate = Gate::new();
    let holding = begun(pool.request(Do::Wait(gate.path())));
    let pid = pid_of(&holding);
    let (first, aborted, last) = (append("first"), append("aborted"), append("last"));
    aborted.abort();
    assert_eq!(aborted.status(), JobStatus::Finished);
    assert!(matches!(aborted.try_wait(), Ok(Err(JobError::Aborted))));
    gate.open();
    settled(first).unwrap();
    settled(last).unwrap();
    assert_eq!(log.lines(), ["first", "last"]);
    assert_eq!(settled(holding).unwrap(), pid.to_string(), "no worker was touched");
    let stats = pool.stats();
    assert_eq!((stats.aborted, stats.succeeded, stats.spawned), (1, 3, 1));
}

#[test]
fn a_running_job_settles_and_its_worker_is_killed() {
    let pool = pool().max_processes(1).build().unwrap();
    let gate = Gate::new();
    let handle = begun(pool.request(Do::Wait(gate.path())));
    let pid = pid_of(&handle);
    handle.abort();
    assert!(handle.is_finished());
    assert_eq!(pool.stats().aborted, 1);
    assert!(matches!(handle.try_wait(), Ok(Err(JobError::Aborted))));
    assert_ne!(settled(pool.enqueue(Do::Pid)).unwrap(), pid.to_string());
    assert!(!processes::is_alive(pid));
    assert_eq!(pool.stats().crashed, 0, "the pool asked for it");
}

#[test]
fn it_waits_for_no_worker_that_ignores_sigterm() {
    let pool = hirelings_tests::builder::<Do>(stubborn_worker()).stderr(Stderr::Null).max_processes(1);
    let pool = pool.kill_grace(Duration::from_millis(2500)).build().unwrap();
    let gate = Gate::new();
    let handle = begun(pool.request(Do::Wait(gate.path())));
    let pid = pid_of(&handle);
    handle.abort();
    assert!(handle.is_finished());
    assert!(processes::is_alive(pid), "the grace time is not over");
    assert_ne!(settled(pool.enqueue(Do::Pid)).unwrap(), pid.to_string());
    assert!(!processes::is_alive(pid));
}

#[test]
fn the_other_jobs_and_workers_are_untouched() {
    let pool = pool().max_processes(3).build().unwrap();
    let mut gate = Gate::new();
    let handles = [(); 3].map(|()| begun(pool.request(Do::Wait(gate.path()))));
    let pids = handles.each_ref().map(pid_of);
    handles[1].abort();
    gate.open();
    let [first, aborted, last] = handles;
    assert!(matches!(settled(aborted), Err(JobError::Aborted)));
    assert_eq!(settled(first).unwrap(), pids[0].to_string());
    assert_eq!(settled(last).unwrap(), pids[2].to_string());
}

#[test]
fn the_grandchildren_of_an_aborted_job_are_killed() {
    let (builder, mut record) = Record::of(pool().max_processes(1));
    let pool = builder.build().unwrap();
    let gate = Gate::new();
    let handle = begun(pool.request(Do::Then(vec![Do::SpawnSleeper, Do::Wait(gate.path())])));
    let pid = pid_of(&handle);
    assert_eq!(processes::of_group(pid).len(), 2);
    handle.abort();
    record.until_kind(EventKind::Exit);
    hirelings_tests::eventually("the group is empty", || processes::of_group(pid).is_empty());
}

#[test]
fn right_after_enqueue_the_job_never_runs() {
    let pool = pool().max_processes(1).build().unwrap();
    let log = Scratch::new();
    let mut gate = Gate::new();
    let holding = begun(pool.request(Do::Wait(gate.path())));
    for _ in 0..200 {
        let handle = pool.enqueue(Do::Append(log.path(), "ran".into()));
        handle.abort();
        assert!(matches!(settled(handle), Err(JobError::Aborted)));
    }
    gate.open();
    settled(holding).unwrap();
    settled(pool.enqueue(Do::Pid)).unwrap();
    assert_eq!(log.lines().len(), 0);
    assert_eq!(pool.stats().aborted, 200);
}

#[test]
fn enqueue_and_abort_in_turns_leave_a_working_pool() {
    let (builder, mut record) = Record::of(pool().max_processes(2).kill_grace(Duration::ZERO));
    let pool = builder.build().unwrap();
    let mut aborted = 0;
    for n in 0..100 {
        let handle = pool.enqueue(Do::Echo(n.to_string()));
        handle.abort();
        match settled(handle) {
            Err(JobError::Aborted) => aborted += 1,
            Ok(text) => assert_eq!(text, n.to_string()),
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(settled(pool.enqueue(Do::Echo("still here".into()))).unwrap(), "still here");
    pool.exit();
    assert_eq!(pool.stats().aborted, aborted);
    assert_eq!(record.count(EventKind::JobAbort) as u64, aborted);
    assert_eq!(record.count(EventKind::Done), 101);
}

#[test]
fn no_job_goes_to_a_worker_whose_job_was_just_aborted() {
    let pool = pool().max_processes(1).build().unwrap();
    for _ in 0..10 {
        let gate = Gate::new();
        let handle = begun(pool.request(Do::Wait(gate.path())));
        let pid = pid_of(&handle);
        let next = pool.enqueue(Do::Pid);
        handle.abort();
        assert_ne!(settled(next).unwrap(), pid.to_string());
    }
    assert_eq!((pool.stats().failed, pool.stats().retried), (0, 0));
}

#[test]
fn aborting_twice_is_aborting_once() {
    let (builder, mut record) = Record::of(pool().max_processes(1));
    let pool = builder.build().unwrap();
    let gate = Gate::new();
    let handle = begun(pool.request(Do::Wait(gate.path())));
    let abort = handle.abort_handle();
    handle.abort();
    handle.abort();
    abort.abort();
    assert!(matches!(settled(handle), Err(JobError::Aborted)));
    pool.exit();
    abort.abort();
    assert_eq!((pool.stats().aborted, record.count(EventKind::JobAbort), record.count(EventKind::Done)), (1, 1, 1));
}

#[test]
fn aborting_what_is_finished_changes_nothing() {
    let pool = pool().max_processes(1).build().unwrap();
    let handle = pool.enqueue(Do::Pid).wait_timeout(Duration::ZERO).expect_err("no process is that fast");
    hirelings_tests::eventually("it is done", || handle.is_finished());
    handle.abort();
    let pid = settled(handle).unwrap();
    assert_eq!(settled(pool.enqueue(Do::Pid)).unwrap(), pid, "its worker was not touched");
    assert_eq!(pool.stats().aborted, 0);
}

#[test]
fn an_old_abort_handle_does_not_touch_later_jobs() {
    let pool = pool().max_processes(1).build().unwrap();
    let old: Vec<_> = (0..50)
        .map(|_| {
            let handle = pool.enqueue(Do::Pid);
            let abort = handle.abort_handle();
            settled(handle).unwrap();
            abort
        })
        .collect();
    let mut gate = Gate::new();
    let handle = begun(pool.request(Do::Wait(gate.path())));
    old.iter().for_each(hirelings::AbortHandle::abort);
    assert_eq!(pool.stats().aborted, 0);
    gate.open();
    settled(handle).unwrap();
}

#[test]
fn a_handle_works_in_another_thread_and_names_its_job() {
    let pool = pool().max_processes(1).build().unwrap();
    let gate = Gate::new();
    let handle = begun(pool.request(Do::Wait(gate.path())));
    let abort = handle.abort_handle();
    assert_eq!(abort.id(), handle.id());
    let aborting = thread::spawn(move || abort.clone().abort());
    assert!(matches!(settled(handle), Err(JobError::Aborted)));
    aborting.join().unwrap();
}

#[test]
fn a_hook_may_abort_the_job_that_it_belongs_to() {
    let pool = Arc::new(pool().max_processes(1).build().unwrap());
    let (told, abort) = crossbeam_channel::bounded::<hirelings::AbortHandle>(1);
    let (finished, outcome) = crossbeam_channel::bounded(1);
    let gate = Gate::new();
    let request = pool.request(Do::Wait(gate.path())).on_progress(move |_| {
        abort.recv_timeout(WATCHDOG).unwrap().abort();
    });
    let handle = request.on_done(move |result| finished.send(result).unwrap()).enqueue();
    told.send(handle.abort_handle()).unwrap();
    assert!(matches!(settled(handle), Err(JobError::Aborted)));
    assert!(matches!(outcome.recv_timeout(WATCHDOG).unwrap(), Err(JobError::Aborted)));
}

#[test]
fn abort_after_exit_leaves_the_job_closed() {
    let pool = pool().max_processes(1).build().unwrap();
    let gate = Gate::new();
    let handle = begun(pool.request(Do::Wait(gate.path())));
    pool.exit();
    handle.abort();
    assert!(matches!(settled(handle), Err(JobError::Closed)));
    assert_eq!((pool.stats().aborted, pool.stats().failed), (0, 1));
}

#[test]
fn with_answers_and_exit_each_job_has_one_outcome() {
    for _ in 0..10 {
        let (builder, mut record) = Record::of(pool().max_processes(3).kill_grace(Duration::ZERO));
        let pool = builder.build().unwrap();
        let handles: Vec<_> = (0..60).map(|n| pool.enqueue(Do::Echo(n.to_string()))).collect();
        let aborts: Vec<_> = handles.iter().skip(1).step_by(2).map(hirelings::JobHandle::abort_handle).collect();
        thread::scope(|scope| {
            scope.spawn(|| aborts.iter().for_each(hirelings::AbortHandle::abort));
            scope.spawn(|| {
                let first = handles.iter().take(10).map(hirelings::JobHandle::abort_handle);
                first.for_each(|abort| abort.abort());
                pool.exit();
            });
        });
        let (mut ok, mut aborted, mut closed) = (0, 0, 0);
        for handle in handles {
            match handle.try_wait().expect("all is settled after exit") {
                Ok(_) => ok += 1,
                Err(JobError::Aborted) => aborted += 1,
                Err(JobError::Closed) => closed += 1,
                Err(other) => panic!("{other}"),
            }
        }
        let stats = pool.stats();
        assert_eq!((stats.succeeded, stats.aborted, stats.failed), (ok, aborted, closed));
        assert_eq!(ok + aborted + closed, 60);
        assert_eq!(record.count(EventKind::Done), 60);
    }
}
