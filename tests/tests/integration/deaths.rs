//! Workers that die: at each stage, in each way, and what their jobs are told of it.

use hirelings::{Crash, CrashCause, JobError, JobHandle, JobStatus, Pool, Stderr, WorkerState};
use hirelings_tests::brittle::{Brittle, Carry};
use hirelings_tests::signals::Target;
use hirelings_tests::{Do, Gate, TRANSPORT, begun, eventually, pool, processes, program, settled, spawned};
use rustix::process::Signal;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn crash(job: JobHandle<Do>) -> Crash {
    match settled(job) {
        Err(JobError::Crashed(crash)) => crash,
        other => panic!("{other:?}"),
    }
}

/// The pool does as it should.
fn works(pool: &Pool<Do>) {
    assert_eq!(settled(pool.enqueue(Do::Echo("well".into()))).unwrap(), "well");
}

// ---------------------------------------------------------------- in which stage

#[test]
fn an_exit_at_any_stage_costs_that_job_alone() {
    let pool =
        hirelings_tests::builder::<Carry>(Command::new(program("brittle"))).stderr(Stderr::Null).max_processes(1);
    let pool = pool.build().unwrap();
    let stages = [
        ("the job is decoded", Carry::job(Brittle::ExitAtDecode), 72),
        ("a progress is encoded", Carry::progress(Brittle::ExitAtEncode), 71),
        ("the output is encoded", Carry::output(Brittle::ExitAtEncode), 71),
        ("the error is encoded", Carry::error(Brittle::ExitAtEncode), 71),
    ];
    for (when, job, code) in stages {
        match settled(pool.enqueue(job)) {
            Err(JobError::Crashed(crash)) => {
                assert_eq!(
                    (crash.cause, crash.status.unwrap().code()),
                    (CrashCause::Exited, Some(code)),
                    "when {when}"
                );
            }
            other => panic!("when {when}: {other:?}"),
        }
        assert_eq!(settled(pool.enqueue(Carry::job(Brittle::Sound))).unwrap(), Brittle::Sound, "after {when}");
    }
}

/// What each job comes to, which costs the next ones nothing: they are done by the pool's only worker after it.
fn come_to(jobs: impl IntoIterator<Item = Carry>, as_expected: impl Fn(&JobError<Brittle>) -> bool) {
    let pool =
        hirelings_tests::builder::<Carry>(Command::new(program("brittle"))).stderr(Stderr::Null).max_processes(1);
    let pool = pool.build().unwrap();
    for job in jobs {
        let shown = format!("{job:?}");
        let error = settled(pool.enqueue(job)).unwrap_err();
        assert!(as_expected(&error), "{shown}: {error:?}");
        assert_eq!(settled(pool.enqueue(Carry::job(Brittle::Sound))).unwrap(), Brittle::Sound, "after {shown}");
    }
}

#[test]
fn a_signal_at_any_stage_costs_that_job_alone() {
    let jobs = [
        Carry::job(Brittle::SegfaultAtDecode),
        Carry::progress(Brittle::SegfaultAtEncode),
        Carry::output(Brittle::SegfaultAtEncode),
        Carry::error(Brittle::SegfaultAtEncode),
    ];
    come_to(
        jobs,
        |error| matches!(error, JobError::Crashed(crash) if crash.status.is_some_and(|status| status.signal() == Some(11))),
    );
}

#[test]
fn a_panic_at_any_stage_is_a_panic() {
    let jobs = [
        Carry::job(Brittle::PanicAtDecode),
        Carry::progress(Brittle::PanicAtEncode),
        Carry::output(Brittle::PanicAtEncode),
        Carry::error(Brittle::PanicAtEncode),
    ];
    come_to(
        jobs,
        |error| matches!(error, JobError::Panicked(panic) if panic.message.contains("panicked while it was")),
    );
}

#[test]
fn a_death_while_a_large_job_is_written_is_a_crash() {
    let mut command = Command::new(program("liar"));
    command.arg("reads a little and dies");
    let pool = Pool::<Do>::builder(command).stderr(Stderr::Null).max_processes(1).build().unwrap();
    let jobs: Vec<_> = (0..3).map(|_| pool.enqueue(Do::Echo("x".repeat(16 << 20)))).collect();
    for job in jobs {
        let error = settled(job).unwrap_err();
        assert_eq!(error.begun(), hirelings::Begun::No, "{error}");
        let JobError::Crashed(crash) = error else { panic!("{error}") };
        assert_eq!(crash.cause, CrashCause::Exited, "{crash}");
        assert_eq!((crash.status.unwrap().code(), crash.stderr.as_str()), (Some(6), "that is enough"));
    }
    let stats = pool.stats();
    // That a worker dies while it reads costs an attempt only the third time.
    assert_eq!((stats.failed, stats.crashed), (3, 9));
}

#[test]
fn a_worker_killed_from_outside_in_a_job_has_crashed() {
    let (gate, pool) = (Gate::new(), pool().max_processes(1).build().unwrap());
    let job = begun(pool.request(Do::Wait(gate.path())));
    processes::kill(pool.workers()[0].pid);
    let crash = crash(job);
    assert_eq!(crash.status.unwrap().signal(), Some(9));
    let sentence = "was killed by SIGKILL (not by the pool; perhaps the OOM killer) while it did job";
    assert!(crash.to_string().contains(sentence), "{crash}");
    works(&pool);
}

#[test]
fn a_crash_leaves_the_other_workers_jobs_alone() {
    let (gate, pool) = (Gate::new(), pool().max_processes(2).build().unwrap());
    let other = begun(pool.request(Do::Wait(gate.path())));
    for _ in 0..5 {
        crash(pool.enqueue(Do::Segfault));
    }
    assert!(!other.is_finished());
    drop(gate);
    settled(other).unwrap();
}

#[test]
fn four_panics_among_sixteen_jobs_cost_their_own() {
    let pool = pool().max_processes(4).min_processes(4).build().unwrap();
    let job = |n: usize| if n % 4 == 3 { Do::Panic(format!("job {n}")) } else { Do::Echo(n.to_string()) };
    let jobs: Vec<_> = (0..16).map(|n| pool.enqueue(job(n))).collect();
    for (n, job) in jobs.into_iter().enumerate() {
        match settled(job) {
            Ok(text) => assert!(n % 4 != 3 && text == n.to_string(), "job {n} gave {text}"),
            Err(JobError::Panicked(panic)) => assert!(n % 4 == 3 && panic.message == format!("job {n}"), "{panic}"),
            Err(other) => panic!("job {n}: {other}"),
        }
    }
    eventually("the four that panicked are replaced", || {
        let stats = pool.stats();
        (stats.workers, stats.spawned) == (4, 8)
    });
}

#[test]
fn the_programs_own_children_are_left_to_it() {
    let mut own = Command::new("sh").args(["-c", "read line; exit 7"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut ended = Command::new("sh").args(["-c", "exit 8"]).spawn().unwrap();
    let pool = pool().max_processes(2).max_jobs_per_process(1).build().unwrap();
    for _ in 0..10 {
        works(&pool);
        crash(pool.enqueue(Do::Exit(1)));
    }
    // One that ended while the pool reaped its own, and one that lives.
    assert_eq!(ended.wait().unwrap().code(), Some(8));
    assert!(own.try_wait().unwrap().is_none());
    drop(own.stdin.take());
    assert_eq!(own.wait().unwrap().code(), Some(7));
    // Where an exit becomes known late, the pool has sent a signal by then and does not count it as a crash.
    let stats = pool.stats();
    assert_eq!((stats.failed, stats.succeeded), (10, 10));
}

// ---------------------------------------------------------------- in which way

#[test]
fn the_crash_names_its_process_and_status() {
    let pool = pool().max_processes(2).build().unwrap();
    let gate = Gate::new();
    let jobs = [98, 99].map(|code| {
        let job = begun(pool.request(Do::Then(vec![Do::Wait(gate.path()), Do::Exit(code)])));
        let JobStatus::Running { pid, .. } = job.status() else { panic!("{:?}", job.status()) };
        (job, pid, code)
    });
    drop(gate);
    for (job, pid, code) in jobs {
        let crash = crash(job);
        assert_eq!((crash.pid, crash.status.unwrap().code(), crash.attempts), (pid, Some(code), 1));
        assert!(crash.to_string().starts_with(&format!("worker process {pid} of ")), "{crash}");
        assert!(crash.to_string().contains(&format!("exited with status {code} ")), "{crash}");
    }
}

#[test]
fn exit_codes_and_signals_are_named() {
    let pool = pool().max_processes(1).name("thumbs").build().unwrap();
    for (job, words) in [
        (Do::Exit(0), "exited with status 0"),
        (Do::Exit(42), "exited with status 42"),
        (Do::Exit(255), "exited with status 255"),
        (Do::Abort, "was killed by SIGABRT"),
        (Do::Segfault, "was killed by SIGSEGV"),
        (Do::Signal(15), "was killed by SIGTERM"),
        (Do::Signal(9), "was killed by SIGKILL"),
        (Do::Signal(7), "was killed by SIGBUS"),
        (Do::Signal(4), "was killed by SIGILL"),
        (Do::Signal(31), "was killed by SIGSYS (a forbidden system call)"),
        (Do::Signal(30), "was killed by signal 30"),
    ] {
        let job = pool.request(job).label("a cat").enqueue();
        let id = job.id();
        let crash = crash(job);
        let sentence = crash.to_string();
        assert!(sentence.contains(words), "{words}: {sentence}");
        let who = format!("worker process {} of \"thumbs\"", crash.pid);
        let what = format!("while it did job {id} (a cat)");
        assert!(sentence.starts_with(&who) && sentence.contains(&what), "{sentence}");
    }
    assert_eq!(pool.stats().crashed, 11);
    works(&pool);
}

#[test]
fn crashes_in_jobs_are_no_start_failures() {
    let pool = pool().max_processes(1).start_failures(1).build().unwrap();
    let start = Instant::now();
    for job in (0..30).map(|_| pool.enqueue(Do::Exit(1))).collect::<Vec<_>>() {
        crash(job);
    }
    // With the waits of start failures in a row this would have taken minutes.
    assert!(start.elapsed() < Duration::from_secs(30));
    works(&pool);
}

#[test]
fn the_last_8_kib_of_standard_error_are_in_the_error() {
    let pool = pool().max_processes(1).build().unwrap();
    let steps = vec![Do::Run("seq 1 100000 >&2".into()), Do::Exit(1)];
    let crash = crash(pool.enqueue(Do::Then(steps)));
    assert!(crash.stderr.ends_with("\n99999\n100000"), "{:?}", &crash.stderr[crash.stderr.len() - 40..]);
    assert!((8000..=8192).contains(&crash.stderr.len()), "{} bytes", crash.stderr.len());
    assert!(crash.to_string().ends_with("\n  | 99999\n  | 100000"));
}

#[test]
fn stderr_that_is_no_text_is_shown_all_the_same() {
    let pool = pool().max_processes(1).build().unwrap();
    let steps = vec![Do::Run("printf 'caf\\351 \\377\\376 closed' >&2".into()), Do::Exit(1)];
    let crash = crash(pool.enqueue(Do::Then(steps)));
    assert!(crash.stderr.starts_with("caf\u{fffd}") && crash.stderr.ends_with("closed"), "{:?}", crash.stderr);
}

#[test]
fn a_stack_that_overflows_is_said_to() {
    let pool = pool().max_processes(1).build().unwrap();
    let crash = crash(pool.enqueue(Do::Recurse));
    assert!(crash.stderr.contains("overflowed its stack"), "{crash}");
    assert!(crash.to_string().contains("SIGABRT") || crash.to_string().contains("SIGSEGV"), "{crash}");
    works(&pool);
}

#[test]
fn memory_that_runs_out_is_said_to() {
    let pool = pool().max_processes(1).build().unwrap();
    let crash = crash(pool.enqueue(Do::Exhaust));
    assert!(crash.stderr.contains("memory allocation of 1073741824 bytes failed"), "{crash}");
    works(&pool);
}

#[test]
fn a_worker_that_is_stopped_is_over_its_limit() {
    let pool = pool().max_processes(1).build().unwrap();
    // SIGSTOP, and SIGTTOU: what a program gets that grabs the terminal.
    for signal in [19, 22] {
        let stopped = pool.request(Do::Signal(signal)).timeout(Duration::from_millis(300));
        let error = settled(stopped.enqueue()).unwrap_err();
        assert!(matches!(&error, JobError::TimedOut(late) if late.state == WorkerState::Working), "{error:?}");
        works(&pool);
    }
}

// ---------------------------------------------------------------- who holds the pipes

/// How long the outcome takes where `grandchild` holds the dead worker's pipes; and whether that one is killed.
fn time_to_outcome(grandchild: &str, leaves: bool) -> (Duration, u32) {
    let pool = pool().max_processes(1).build().unwrap();
    let gate = Gate::new();
    let steps = vec![Do::Spawn(grandchild.into()), Do::Wait(gate.path()), Do::Exit(3)];
    let (job, pid) = spawned(pool.request(Do::Then(steps)));
    eventually("the grandchild is itself", || {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        name.trim() == "sleep" && (processes::group_of(pid) == Some(pid)) == leaves
    });
    let start = Instant::now();
    drop(gate);
    let crash = crash(job);
    let took = start.elapsed();
    assert_eq!(crash.status.unwrap().code(), Some(3));
    works(&pool);
    (took, pid)
}

#[test]
fn a_grandchild_with_the_pipes_is_killed_too() {
    let (took, pid) = time_to_outcome("exec sleep 1000", false);
    assert!(took < Duration::from_secs(10), "{took:?}");
    eventually("the grandchild has ended", || !processes::is_alive(pid));
}

#[test]
fn a_grandchild_that_left_does_not_delay_the_outcome() {
    let (took, pid) = time_to_outcome("exec setsid sleep 1000", true);
    let alive = processes::is_alive(pid);
    processes::kill(pid);
    assert!(alive, "what has left the group is not the pool's to kill");
    assert!(took < Duration::from_secs(10), "{took:?}");
}

// ---------------------------------------------------------------- before its job

/// Enqueues a job for an idle worker that was killed so long ago, as often as the environment asks for.
fn killed_while_idle(before: Duration) {
    if std::env::var_os(TRANSPORT).is_some() {
        return println!("SKIPPED: over sockets nobody can know that the job was not read");
    }
    let whole = std::env::var_os("HIRELINGS_MIXTURES").is_some();
    let pool = pool().max_processes(1).build().unwrap();
    for _ in 0..if whole { 500 } else { 60 } {
        let pid = settled(pool.enqueue(Do::Pid)).unwrap();
        let target = Target::of(pid.parse().unwrap()).unwrap();
        assert!(target.send(Signal::KILL));
        let killed = Instant::now();
        while killed.elapsed() < before {
            std::hint::spin_loop();
        }
        let next = settled(pool.enqueue(Do::Pid));
        assert!(next.as_ref().is_ok_and(|next| *next != pid), "{next:?}");
    }
    let stats = pool.stats();
    assert_eq!((stats.failed, stats.retried), (0, 0));
}

#[test]
fn a_job_sent_to_the_just_dead_is_done_by_the_next() {
    killed_while_idle(Duration::ZERO);
}

#[test]
fn so_is_one_that_is_handed_to_it_a_millisecond_later() {
    killed_while_idle(Duration::from_millis(1));
}
