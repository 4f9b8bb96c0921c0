//! After exit, drain or drop every job is settled and nothing is left behind.

use hirelings::{EnqueueErrorKind, EventKind, JobError, JobHandle, JobStatus, Stderr};
use hirelings_tests::staged::{self, Stage, Staged};
use hirelings_tests::{
    Do, Gate, Record, Scratch, WATCHDOG, alone, begun, eventually, pool, processes, program, settled, stubborn_worker,
    worker,
};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// What this process has; when it is dropped, it must have the same again.
struct Nothing {
    descriptors: usize,
}

fn nothing_is_left() -> Nothing {
    Nothing { descriptors: processes::descriptors() }
}

impl Nothing {
    /// At the end, with all of the test's own gone.
    fn check(self) {
        let children = processes::children_of(std::process::id());
        assert!(children.is_empty(), "children are left: {children:?}");
        // A thread that was joined is on the system's list for a moment more.
        let ours = || processes::threads().into_iter().filter(|name| name.starts_with("hirelings")).count();
        eventually("no thread is left", || ours() == 0);
        assert_eq!(processes::descriptors(), self.descriptors, "descriptors are left");
    }
}

fn is_closed(handle: JobHandle<Do>) -> bool {
    matches!(handle.try_wait(), Ok(Err(JobError::Closed)))
}

#[test]
fn exit_settles_all_jobs_and_leaves_nothing() {
    alone!();
    let nothing = nothing_is_left();
    {
        let pool = pool().max_processes(2).retries(3).build().unwrap();
        let gate = Gate::new();
        let done = pool.enqueue(Do::Pid);
        eventually("one is done", || done.is_finished());
        let running = [(); 2].map(|()| begun(pool.request(Do::Wait(gate.path()))));
        let queued: Vec<_> = (0..100).map(|_| pool.enqueue(Do::Pid)).collect();
        pool.exit();
        assert!(settled(done).is_ok(), "what is settled stays so");
        assert!(running.into_iter().chain(queued).all(is_closed));
        let stats = pool.stats();
        assert_eq!((stats.enqueued, stats.succeeded, stats.failed), (103, 1, 102));
        assert_eq!((stats.backlog, stats.busy, stats.workers), (0, 0, 0));
        assert_eq!(stats.spawned, stats.exited);
        assert_eq!(stats.crashed, 0);
        assert!(pool.workers().is_empty());
    }
    nothing.check();
}

#[test]
fn a_dropped_pool_settles_its_jobs() {
    alone!();
    let nothing = nothing_is_left();
    {
        let gate = Gate::new();
        let pool = pool().max_processes(1).build().unwrap();
        let running = begun(pool.request(Do::Wait(gate.path())));
        let queued = pool.enqueue(Do::Pid);
        drop(pool);
        assert!(is_closed(running) && is_closed(queued));
    }
    nothing.check();
}

#[test]
fn a_pool_dropped_right_after_build_leaves_nothing() {
    alone!();
    let nothing = nothing_is_left();
    for n in 0..20 {
        let pool = pool().max_processes(3).min_processes(n % 4).build().unwrap();
        if n % 2 == 0 {
            let _ = pool.enqueue(Do::Pid);
        }
        drop(pool);
    }
    nothing.check();
}

#[test]
fn exit_while_workers_start_leaves_nothing() {
    alone!();
    let nothing = nothing_is_left();
    for n in 0..20 {
        let (builder, mut record) = Record::of(pool().max_processes(4));
        let pool = builder.build().unwrap();
        pool.spawn_workers();
        (0..n % 5).for_each(|_| drop(record.until_kind(EventKind::Spawn)));
        pool.exit();
        let stats = pool.stats();
        assert_eq!(stats.spawned, stats.exited);
        assert_eq!(record.count(EventKind::Spawn), record.count(EventKind::Exit));
    }
    nothing.check();
}

/// They are told to leave. SIGTERM would come after 100 ms, which a busy machine may need: they ignore it.
#[test]
fn workers_without_a_job_are_dropped_at_the_end() {
    alone!();
    for drains in [false, true] {
        let nothing = nothing_is_left();
        {
            let notes = Scratch::new();
            let mut command = Command::new("/bin/sh");
            command.args(["-c", "trap '' TERM; exec \"$0\""]).arg(program("staged"));
            let pool = hirelings_tests::builder::<Staged>(command).options(&Stage::NoteWhenDropped(notes.path()));
            let pool = pool.stderr(Stderr::Null).max_processes(2).kill_grace(WATCHDOG).build().unwrap();
            pool.wait_ready(WATCHDOG).unwrap();
            let mut workers: Vec<_> = pool.workers().iter().map(|worker| worker.pid.to_string()).collect();
            if drains {
                pool.drain(WATCHDOG);
            } else {
                pool.exit();
            }
            let mut dropped = notes.lines();
            workers.sort();
            dropped.sort();
            assert_eq!(dropped, workers);
        }
        nothing.check();
    }
}

#[test]
fn exit_kills_groups_that_ignore_sigterm() {
    alone!();
    let nothing = nothing_is_left();
    {
        let pool = hirelings_tests::builder::<Do>(stubborn_worker()).stderr(Stderr::Null).max_processes(2);
        let pool = pool.kill_grace(Duration::from_millis(100)).build().unwrap();
        let gate = Gate::new();
        let running = begun(pool.request(Do::Then(vec![Do::SpawnSleeper, Do::Wait(gate.path())])));
        let JobStatus::Running { pid, .. } = running.status() else { panic!("{:?}", running.status()) };
        assert_eq!(processes::of_group(pid).len(), 2);
        pool.exit();
        assert!(is_closed(running));
        assert!(!processes::is_alive(pid));
        eventually("the group is empty", || processes::of_group(pid).is_empty());
    }
    nothing.check();
}

#[test]
fn exit_while_initializing_and_recovering() {
    alone!();
    let nothing = nothing_is_left();
    {
        let gate = Gate::new();
        let (builder, mut record) = Record::of(staged::pool(Stage::Wait(gate.path())).max_processes(1));
        let pool = builder.build().unwrap();
        let waiting = pool.enqueue(Staged { after: Stage::Pass });
        record.until_kind(EventKind::WorkerInitializing);
        pool.exit();
        assert!(matches!(waiting.try_wait(), Ok(Err(JobError::Closed))));

        let (builder, mut record) = Record::of(staged::pool(Stage::Pass).max_processes(1));
        let pool = builder.build().unwrap();
        let done = pool.enqueue(Staged { after: Stage::Wait(gate.path()) });
        let waiting = pool.enqueue(Staged { after: Stage::Pass });
        record.until_kind(EventKind::WorkerRecovering);
        pool.exit();
        assert!(matches!(done.try_wait(), Ok(Ok(_))));
        assert!(matches!(waiting.try_wait(), Ok(Err(JobError::Closed))));
    }
    nothing.check();
}

#[test]
fn a_closed_pool_takes_no_jobs_and_says_so() {
    alone!();
    let nothing = nothing_is_left();
    {
        let (builder, mut record) = Record::of(pool().max_processes(1));
        let pool = builder.build().unwrap();
        pool.exit();
        // None, where the fork server was not ready yet.
        let spawned = pool.stats().spawned;
        let events = record.all().len();
        let (told, outcome) = crossbeam_channel::bounded(2);
        let refused = pool.request(Do::Pid).on_done(move |result| told.send(result).unwrap()).enqueue();
        assert_eq!(refused.status(), JobStatus::Finished);
        assert!(is_closed(refused));
        assert!(matches!(outcome.recv_timeout(WATCHDOG).unwrap(), Err(JobError::Closed)));
        let error = pool.try_enqueue(Do::Echo("mine".into())).unwrap_err();
        assert_eq!(error.kind, EnqueueErrorKind::Closed);
        assert!(matches!(error.rejected, Do::Echo(text) if text == "mine"));
        assert!(pool.request(Do::Pid).try_enqueue().is_err());
        assert_eq!((pool.stats().enqueued, pool.stats().failed), (0, 0));
        assert_eq!(record.all().len(), events);
        pool.wait_idle();
        assert!(pool.wait_idle_timeout(Duration::ZERO));
        assert!(pool.wait_ready(WATCHDOG).is_err());
        pool.spawn_workers();
        assert_eq!(pool.stats().spawned, spawned);
    }
    nothing.check();
}

#[test]
fn each_of_several_exits_returns_when_all_is_over() {
    alone!();
    let nothing = nothing_is_left();
    {
        let pool = pool().max_processes(3).build().unwrap();
        let gate = Gate::new();
        let pids = [(); 3].map(|()| begun(pool.request(Do::Wait(gate.path())))).map(|handle| match handle.status() {
            JobStatus::Running { pid, .. } => pid,
            other => panic!("{other:?}"),
        });
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    pool.exit();
                    assert!(!pids.iter().any(|&pid| processes::is_alive(pid)));
                    assert_eq!(pool.stats().workers, 0);
                });
            }
        });
        pool.exit();
        assert_eq!(pool.drain(WATCHDOG).left, 0);
    }
    nothing.check();
}

#[test]
fn callers_that_wait_are_released_by_exit() {
    alone!();
    let nothing = nothing_is_left();
    {
        let pool = pool().max_processes(1).build().unwrap();
        let gate = Gate::new();
        let running = begun(pool.request(Do::Wait(gate.path())));
        let queued: Vec<_> = (0..3).map(|_| pool.enqueue(Do::Pid)).collect();
        let mut events = pool.events();
        let progress = running.progress();
        thread::scope(|scope| {
            scope.spawn(|| assert!(matches!(running.wait(), Err(JobError::Closed))));
            for handle in queued {
                scope.spawn(|| assert!(matches!(handle.wait(), Err(JobError::Closed))));
            }
            scope.spawn(|| pool.wait_idle());
            scope.spawn(move || assert!(events.by_ref().last().is_some()));
            scope.spawn(|| assert_eq!(progress.count(), 0));
            scope.spawn(|| pool.exit());
        });
    }
    nothing.check();
}

#[test]
fn a_hook_may_exit_its_pool() {
    alone!();
    let nothing = nothing_is_left();
    {
        let pool = Arc::new(pool().max_processes(2).build().unwrap());
        let (told, after) = crossbeam_channel::bounded(4);
        let gate = Gate::new();
        let running = begun(pool.request(Do::Wait(gate.path())));
        let of_hook = Arc::clone(&pool);
        pool.on(EventKind::JobSuccess, move |_| {
            of_hook.exit();
            told.send((of_hook.stats(), running.is_finished())).unwrap();
        });
        let second = pool.enqueue(Do::Pid);
        let (stats, settled_by_then) = after.recv_timeout(WATCHDOG).unwrap();
        assert_eq!((stats.workers, settled_by_then), (0, true), "it waits for the children");
        assert!(settled(second).is_ok());
        // The hook's own hold on the pool is gone once its thread ends.
        pool.exit();
        eventually("the hook has let the pool go", || Arc::strong_count(&pool) == 1);
    }
    nothing.check();
}

#[test]
fn hooks_that_wait_run_after_an_exit_in_a_hook() {
    alone!();
    let nothing = nothing_is_left();
    {
        let pool = Arc::new(pool().max_processes(1).build().unwrap());
        let (told, outcomes) = crossbeam_channel::unbounded();
        let of_hook = Arc::clone(&pool);
        let first = pool.request(Do::Pid).on_done(move |_| of_hook.exit());
        let gate = Gate::new();
        let rest: Vec<_> = (0..5)
            .map(|_| {
                let told = told.clone();
                pool.request(Do::Wait(gate.path())).on_done(move |result| told.send(result.is_err()).unwrap())
            })
            .collect();
        let first = first.enqueue();
        let rest: Vec<_> = rest.into_iter().map(|request| request.enqueue()).collect();
        assert!(settled(first).is_ok());
        for _ in &rest {
            assert!(outcomes.recv_timeout(WATCHDOG).unwrap());
        }
        assert!(rest.into_iter().all(is_closed));
        pool.exit();
        eventually("the hook has let the pool go", || Arc::strong_count(&pool) == 1);
    }
    nothing.check();
}

#[test]
fn the_last_hold_on_a_pool_may_be_dropped_by_a_hook() {
    alone!();
    let nothing = nothing_is_left();
    {
        let pool = Arc::new(pool().max_processes(1).build().unwrap());
        let (go, gone) = crossbeam_channel::bounded::<()>(1);
        let (told, finished) = crossbeam_channel::bounded(1);
        let of_hook = Arc::clone(&pool);
        let request = pool.request(Do::Pid).on_done(move |_| {
            gone.recv_timeout(WATCHDOG).unwrap();
            assert_eq!(Arc::strong_count(&of_hook), 1);
            drop(of_hook);
            told.send(processes::children_of(std::process::id())).unwrap();
        });
        let handle = request.enqueue();
        drop(pool);
        go.send(()).unwrap();
        assert!(settled(handle).is_ok());
        assert_eq!(finished.recv_timeout(WATCHDOG).unwrap().len(), 0, "drop returns when every child is reaped");
    }
    let its_own = || processes::threads().iter().any(|name| name.starts_with("hirelings"));
    eventually("the hook thread ends by itself", || !its_own());
    nothing.check();
}

#[test]
fn hooks_have_run_when_exit_returns() {
    alone!();
    let nothing = nothing_is_left();
    {
        let (builder, mut record) = Record::of(pool().max_processes(2));
        let pool = builder.build().unwrap();
        let count = Arc::new(Mutex::new(0));
        let gate = Gate::new();
        for n in 0..20 {
            let count = Arc::clone(&count);
            let job = if n < 10 { Do::Pid } else { Do::Wait(gate.path()) };
            let _ = pool.request(job).on_done(move |_| *count.lock().unwrap() += 1).enqueue();
        }
        pool.exit();
        assert_eq!(*count.lock().unwrap(), 20);
        assert_eq!(record.count(EventKind::Done), 20);
        assert_eq!(Arc::strong_count(&count), 1, "settling drops the hooks");
    }
    nothing.check();
}

#[test]
fn drain_does_all_that_was_accepted_retries_included() {
    alone!();
    let nothing = nothing_is_left();
    {
        let pool = pool().max_processes(2).max_jobs_per_process(3).retries(2).build().unwrap();
        let mut handles: Vec<_> = (0..30).map(|_| pool.enqueue(Do::FailUntil(3))).collect();
        handles.extend((0..10).map(|_| pool.enqueue(Do::Before(2, Box::new(Do::Exit(1))))));
        let drained = pool.drain(WATCHDOG);
        assert_eq!(drained.left, 0);
        assert!(drained.finished <= 40);
        for handle in handles {
            handle.try_wait().expect("it is settled").unwrap();
        }
        assert!(is_closed(pool.enqueue(Do::Pid)));
        let stats = pool.stats();
        assert_eq!((stats.succeeded, stats.failed, stats.retried, stats.workers), (40, 0, 70, 0));
    }
    nothing.check();
}

#[test]
fn drain_ends_at_its_limit_and_counts() {
    alone!();
    let nothing = nothing_is_left();
    {
        let pool = pool().max_processes(2).build().unwrap();
        let (mut opened, closed) = (Gate::new(), Gate::new());
        let finishing = begun(pool.request(Do::Wait(opened.path())));
        let stuck = begun(pool.request(Do::Wait(closed.path())));
        let queued = pool.enqueue(Do::Then(vec![Do::Wait(closed.path())]));
        thread::scope(|scope| {
            let draining = scope.spawn(|| pool.drain(Duration::from_secs(4)));
            // All workers are ready, so this says no only because it drains; what settles from here on is counted.
            eventually("it drains", || pool.wait_ready(WATCHDOG).is_err());
            opened.open();
            let drained = draining.join().unwrap();
            assert_eq!((drained.finished, drained.left), (1, 2));
        });
        assert!(settled(finishing).is_ok());
        assert!(is_closed(stuck) && is_closed(queued));
    }
    nothing.check();
}

#[test]
fn an_idle_pool_drains_at_once() {
    alone!();
    let nothing = nothing_is_left();
    {
        let pool = pool().max_processes(1).build().unwrap();
        settled(pool.enqueue(Do::Pid)).unwrap();
        let drained = pool.drain(Duration::MAX);
        assert_eq!((drained.finished, drained.left), (0, 0));
    }
    nothing.check();
}

#[test]
fn exit_cuts_a_drain_short() {
    alone!();
    let nothing = nothing_is_left();
    {
        let pool = pool().max_processes(1).build().unwrap();
        let gate = Gate::new();
        let stuck = begun(pool.request(Do::Wait(gate.path())));
        thread::scope(|scope| {
            let draining = scope.spawn(|| pool.drain(Duration::MAX));
            eventually("it drains", || pool.wait_ready(WATCHDOG).is_err());
            pool.exit();
            let drained = draining.join().unwrap();
            assert_eq!((drained.finished, drained.left), (0, 1));
        });
        assert!(is_closed(stuck));
    }
    nothing.check();
}

#[test]
fn a_pool_dropped_during_a_replacement_leaves_nothing() {
    alone!();
    let nothing = nothing_is_left();
    for moment in [EventKind::WorkerExiting, EventKind::WorkerExit, EventKind::Spawn, EventKind::WorkerInitializing] {
        let (builder, mut record) = Record::of(pool().max_processes(1).max_jobs_per_process(1));
        let pool = builder.build().unwrap();
        let first = pool.enqueue(Do::Pid);
        let rest: Vec<_> = (0..3).map(|_| pool.enqueue(Do::Pid)).collect();
        record.until_kind(EventKind::JobSuccess);
        record.until_kind(moment);
        drop(pool);
        settled(first).unwrap();
        for job in rest {
            assert!(matches!(job.try_wait(), Ok(Ok(_) | Err(JobError::Closed))));
        }
        assert_eq!(record.count(EventKind::Spawn), record.count(EventKind::Exit), "{moment:?}");
    }
    nothing.check();
}

#[test]
fn exit_asks_with_sigterm_and_insists_with_sigkill() {
    alone!();
    let nothing = nothing_is_left();
    for (worker, grace, signal) in [
        (worker(), WATCHDOG, "SIGTERM"),
        (worker(), Duration::ZERO, "SIGKILL"),
        (stubborn_worker(), Duration::from_millis(50), "SIGKILL"),
    ] {
        let builder = hirelings_tests::builder::<Do>(worker).stderr(Stderr::Null).max_processes(1).kill_grace(grace);
        let (builder, mut record) = Record::of(builder);
        let pool = builder.build().unwrap();
        let gate = Gate::new();
        let running = begun(pool.request(Do::Wait(gate.path())));
        pool.exit();
        assert!(is_closed(running));
        let exit = record.until_kind(EventKind::Exit);
        // By the pool, and by nobody else.
        assert!(exit.to_string().ends_with(&format!("was killed by {signal}")), "a grace of {grace:?}: {exit}");
    }
    nothing.check();
}

#[test]
fn exit_does_not_wait_for_jobs_that_never_end() {
    alone!();
    let nothing = nothing_is_left();
    {
        let pool = pool().max_processes(2).timeout_working(None).build().unwrap();
        let gate = Gate::new();
        let jobs = [begun(pool.request(Do::Then(vec![Do::Wait(gate.path())]))), pool.enqueue(Do::Spin)];
        eventually("both run", || pool.stats().busy == 2);
        let start = Instant::now();
        pool.exit();
        assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
        assert!(jobs.into_iter().all(is_closed));
    }
    nothing.check();
}

#[test]
fn workers_killed_right_before_the_end_are_no_trouble() {
    alone!();
    let nothing = nothing_is_left();
    for drains in [false, true] {
        let pool = pool().max_processes(3).build().unwrap();
        let mut gate = Gate::new();
        let jobs = [(); 3].map(|()| begun(pool.request(Do::Wait(gate.path()))));
        if drains {
            // Idle ones, this time.
            gate.open();
            jobs.into_iter().for_each(|job| drop(settled(job).unwrap()));
            pool.workers().iter().for_each(|worker| processes::kill(worker.pid));
            assert_eq!(pool.drain(WATCHDOG).left, 0);
        } else {
            pool.workers().iter().for_each(|worker| processes::kill(worker.pid));
            pool.exit();
            for job in jobs {
                assert!(matches!(job.try_wait(), Ok(Err(JobError::Closed | JobError::Crashed(_)))));
            }
        }
        let stats = pool.stats();
        assert_eq!((stats.workers, stats.enqueued), (0, stats.succeeded + stats.failed));
    }
    nothing.check();
}

#[test]
fn queued_jobs_may_be_aborted_and_others_drained() {
    alone!();
    let nothing = nothing_is_left();
    {
        let pool = pool().max_processes(2).build().unwrap();
        let mut gate = Gate::new();
        let running = [(); 2].map(|()| begun(pool.request(Do::Wait(gate.path()))));
        let queued: Vec<_> = (0..50).map(|_| pool.enqueue(Do::Pid)).collect();
        queued.iter().for_each(JobHandle::abort);
        thread::scope(|scope| {
            let draining = scope.spawn(|| pool.drain(WATCHDOG));
            eventually("it drains", || pool.wait_ready(WATCHDOG).is_err());
            gate.open();
            assert_eq!(draining.join().unwrap().left, 0);
        });
        assert!(queued.into_iter().all(|job| matches!(job.try_wait(), Ok(Err(JobError::Aborted)))));
        running.into_iter().for_each(|job| drop(settled(job).unwrap()));
        assert_eq!((pool.stats().succeeded, pool.stats().aborted, pool.stats().failed), (2, 50, 0));
    }
    nothing.check();
}
