//! Programs that are no workers, or bad ones: each has its own clear error, and the pool outlives them all.

use hirelings::{BuildErrorKind, CrashCause, JobError, Pool, StartFailure, Stderr, WorkerState};
use hirelings_tests::{Do, WATCHDOG, program, settled, worker};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Long enough for a worker to start, short enough to wait for.
const START_LIMIT: Duration = Duration::from_secs(2);

/// The error of a `build` with this program.
fn not_built(path: &str) -> String {
    let error = Pool::<Do>::builder(Command::new(path)).build().map(drop).unwrap_err();
    assert_eq!(error.kind(), BuildErrorKind::Spawn);
    error.to_string()
}

#[test]
fn build_refuses_a_program_that_does_not_exist() {
    let error = not_built("/no/such/worker");
    assert!(error.contains("/no/such/worker") && error.contains("No such file"), "{error}");
}

#[test]
fn a_directory_is_refused_by_build_with_its_path() {
    let error = not_built("/usr/bin/");
    assert!(error.contains("/usr/bin/"), "{error}");
}

#[test]
fn build_refuses_a_file_that_is_not_executable() {
    let error = not_built("/etc/passwd");
    assert!(error.contains("/etc/passwd") && error.contains("executable"), "{error}");
}

fn sh(line: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", line]);
    shell
}

fn liar(lie: &str) -> Command {
    let mut liar = Command::new(program("liar"));
    liar.arg(lie);
    liar
}

/// What becomes of a pool whose program is `bad`: job and `wait_ready` fail alike, and once the program is good so is the
/// pool.
fn start_failure(bad: impl Fn() -> Command + Send + 'static) -> StartFailure {
    let repaired = Arc::new(AtomicBool::new(false));
    let launch = {
        let repaired = Arc::clone(&repaired);
        move |_| if repaired.load(Ordering::SeqCst) { worker() } else { bad() }
    };
    let pool = Pool::<Do>::builder_with(launch).stderr(Stderr::Null).max_processes(1).start_failures(1);
    let pool = pool.timeout_initializing(START_LIMIT).build().unwrap();
    let failure = match settled(pool.enqueue(Do::Pid)) {
        Err(JobError::NoWorker(failure)) => failure,
        other => panic!("{other:?}"),
    };
    assert!(failure.to_string().contains(&failure.program), "{failure}");
    let not_ready = pool.wait_ready(WATCHDOG).unwrap_err();
    let cause = not_ready.start_failure().expect("a cause");
    assert_eq!((&cause.program, &cause.stderr), (&failure.program, &failure.stderr));
    assert!(not_ready.to_string().contains(&cause.reason), "{not_ready}");

    repaired.store(true, Ordering::SeqCst);
    assert_eq!(settled(pool.enqueue(Do::Echo("well".into()))).unwrap(), "well");
    let stats = pool.stats();
    assert_eq!((stats.enqueued, stats.failed, stats.succeeded, stats.backlog), (2, 1, 1, 0));
    failure
}

#[test]
fn one_that_ends_at_once_is_named_with_its_status() {
    let failure = start_failure(|| Command::new("true"));
    assert_eq!((failure.program.as_str(), failure.status.unwrap().code()), ("true", Some(0)));
    assert!(failure.to_string().contains("exited with status 0 before it was ready"), "{failure}");
    let failure = start_failure(|| Command::new("false"));
    assert_eq!((failure.program.as_str(), failure.status.unwrap().code()), ("false", Some(1)));
}

#[test]
fn a_program_that_dies_with_a_complaint_is_quoted() {
    let failure = start_failure(|| sh("echo 'no such database' >&2; exit 4"));
    assert_eq!((failure.stderr.as_str(), failure.status.unwrap().code()), ("no such database", Some(4)));
    assert!(failure.to_string().contains("\n  | no such database"), "{failure}");
}

#[test]
fn one_that_is_killed_at_its_start_names_the_signal() {
    let failure = start_failure(|| sh("kill -SEGV $$"));
    assert!(failure.to_string().contains("was killed by SIGSEGV"), "{failure}");
}

#[test]
fn rubbish_in_place_of_a_hello_is_quoted() {
    let failure = start_failure(|| sh("echo 'Usage: prog FILE'; exit 3"));
    assert_eq!((failure.stderr.as_str(), failure.status.unwrap().code()), ("Usage: prog FILE", Some(3)));
}

#[test]
fn one_that_prints_rubbish_and_hangs_is_quoted() {
    let failure = start_failure(|| sh("echo 'Login:'; exec sleep 1000"));
    assert_eq!(failure.stderr, "Login:");
    assert!(failure.to_string().contains("initializing for more than 2s"), "{failure}");
}

#[test]
fn a_program_that_says_nothing_is_over_its_limit() {
    let failure = start_failure(|| {
        let mut sleep = Command::new("sleep");
        sleep.arg("1000");
        sleep
    });
    assert_eq!(failure.program, "sleep");
    assert!(failure.to_string().contains("initializing for more than 2s"), "{failure}");
}

#[test]
fn a_program_that_echoes_what_it_reads_is_found_out() {
    let failure = start_failure(|| Command::new("cat"));
    assert!(failure.to_string().contains("writes back what it reads"), "{failure}");
}

#[test]
fn a_program_that_writes_without_end_is_no_worker() {
    let failure = start_failure(|| Command::new("yes"));
    assert!(failure.to_string().contains("64 KiB and no hello"), "{failure}");
    assert!(failure.stderr.starts_with("y\ny\n") && failure.stderr.len() <= 8192, "{} bytes", failure.stderr.len());
}

#[test]
fn a_banner_before_the_hello_is_skipped() {
    let banner = |line: &str| {
        let mut command = sh(&format!("{line}; exec \"$0\""));
        command.arg(program("worker"));
        Pool::<Do>::builder(command).stderr(Stderr::Null).max_processes(1).build().unwrap()
    };
    for line in ["echo Welcome", "printf hireling", "head -c 60000 /dev/zero"] {
        let pool = banner(line);
        assert_eq!(settled(pool.enqueue(Do::Echo("well".into()))).unwrap(), "well", "behind {line}");
    }
}

#[test]
fn a_lie_at_the_start_is_named() {
    for (lie, words) in [
        ("other version", "speaks versions 7 to 9 of the protocol, this pool speaks 1"),
        ("other job type", "does jobs of type somebody::Else, this pool has hirelings_tests::Do"),
        ("says nothing", "initializing for more than 2s"),
        ("answers before it is ready", "99"),
        ("speaks of an unknown message", "cannot be decoded"),
        ("announces a frame of 4 GiB", "over the limit of 1073741824"),
        ("says what it ends of", "there is no licence"),
    ] {
        let failure = start_failure(move || liar(lie));
        assert!(failure.to_string().contains(words), "{lie}: {failure}");
        assert!(failure.program.ends_with("liar"), "{failure}");
    }
}

#[test]
fn a_closed_output_is_told_from_a_kill() {
    let failure = start_failure(|| liar("closes its output"));
    assert!(failure.to_string().contains("closed"), "{failure}");
}

fn pool_of_liars(lie: &str) -> Pool<Do> {
    let pool = Pool::<Do>::builder(liar(lie)).stderr(Stderr::Null).max_processes(1).timeout_working(START_LIMIT);
    pool.build().unwrap()
}

fn tell(pool: &Pool<Do>, lie: &str) -> Result<String, JobError<String>> {
    settled(pool.enqueue(Do::Echo(lie.into())))
}

/// A job that the liar does honestly, on a second attempt if the lie before reaches so far.
fn honest(pool: &Pool<Do>) {
    let answer = settled(pool.request(Do::Echo("yes".into())).retries(1).enqueue());
    assert_eq!(answer.unwrap(), "honestly, yes");
}

#[test]
fn a_worker_that_breaks_the_protocol_loses_its_job() {
    let pool = pool_of_liars("");
    for (lie, words) in [
        ("answers another job", "100"),
        ("tells of another job", "100"),
        ("is ready while it works", "working"),
        ("skips what nobody asked for", "job"),
        ("speaks of an unknown message", "cannot be decoded"),
        ("writes an empty frame", "cannot be decoded"),
        ("announces a frame of 4 GiB", "4294967295"),
        ("prints", "over the limit"),
    ] {
        let error = tell(&pool, lie).unwrap_err();
        assert!(matches!(&error, JobError::Protocol(broken) if broken.pid > 0), "{lie}: {error:?}");
        assert!(error.to_string().contains("broke the protocol while it did job"), "{lie}: {error}");
        assert!(error.to_string().contains(words), "{lie}: {error}");
        assert!(!error.to_string().contains("it it"), "{lie}: {error}");
        honest(&pool);
    }
    let stats = pool.stats();
    assert_eq!((stats.succeeded, stats.failed, stats.backlog), (8, 8, 0));
}

#[test]
fn a_second_answer_is_given_to_nobody() {
    let pool = pool_of_liars("");
    for lie in ["answers twice", "answers twice after ready"] {
        assert_eq!(tell(&pool, lie).unwrap(), "", "the first answer counts");
        honest(&pool);
    }
    assert_eq!(pool.stats().succeeded, 4);
}

#[test]
fn a_broken_protocol_is_retried() {
    let pool = pool_of_liars("");
    let error = settled(pool.request(Do::Echo("prints".into())).retries(2).enqueue()).unwrap_err();
    assert!(error.to_string().contains("attempt 3 of 3"), "{error}");
    assert_eq!(pool.stats().retried, 2);
}

#[test]
fn an_answer_that_is_rubbish_fails_its_reader_alone() {
    let pool = pool_of_liars("");
    let error = tell(&pool, "answers rubbish").unwrap_err();
    assert!(matches!(&error, JobError::Decode(fault) if fault.type_name.contains("String")), "{error:?}");
    let stats = pool.stats();
    assert_eq!((stats.succeeded, stats.failed), (1, 0), "to the pool it is a success");
    honest(&pool);
    assert_eq!(pool.stats().spawned, 1, "and its worker lives on");
}

#[test]
fn half_a_frame_is_no_answer() {
    let pool = pool_of_liars("");
    let error = tell(&pool, "writes half a frame and dies").unwrap_err();
    assert!(error.to_string().contains("exited with status 5"), "{error}");
    honest(&pool);
    let error = tell(&pool, "writes half a frame and lives").unwrap_err();
    assert!(matches!(&error, JobError::TimedOut(late) if late.state == WorkerState::Working), "{error:?}");
    honest(&pool);
}

fn closed_its_pipe(error: JobError<String>) {
    match &error {
        JobError::Crashed(crash) => {
            let signal = crash.status.unwrap().signal();
            assert_eq!((crash.cause, signal), (CrashCause::PipeClosed, Some(15)), "{crash}");
        }
        other => panic!("{other:?}"),
    }
    assert!(error.to_string().contains("closed its pipe"), "{error}");
}

#[test]
fn a_worker_that_closes_its_output_has_crashed() {
    let pool = pool_of_liars("");
    closed_its_pipe(tell(&pool, "closes its output").unwrap_err());
    honest(&pool);
}

#[test]
fn a_job_sent_to_a_closed_input_is_done_by_another() {
    let pool = pool_of_liars("");
    assert_eq!(tell(&pool, "closes its input").unwrap(), "");
    assert_eq!(tell(&pool, "not read").unwrap(), "honestly, not read");
    let stats = pool.stats();
    assert_eq!((stats.crashed, stats.exited), (1, 1));
    honest(&pool);
}

#[test]
fn an_answer_counts_though_the_worker_dies_behind_it() {
    let pool = pool_of_liars("");
    for lie in ["answers and dies", "answers, is ready and dies"] {
        assert_eq!(tell(&pool, lie).unwrap(), "");
        honest(&pool);
    }
    assert_eq!(pool.stats().failed, 0);
}

#[test]
fn a_grandchild_that_writes_on_keeps_nobody() {
    // It exits once the other has left its group: the inner shell's own output ends then.
    let line = "exec 3>&1; left=$(setsid sh -c 'exec >&3; exec yes' &); exit 3";
    let pool = Pool::<Do>::builder(sh(line)).stderr(Stderr::Null).max_processes(1).start_failures(1);
    let pool = pool.build().unwrap();
    assert!(matches!(settled(pool.enqueue(Do::Pid)), Err(JobError::NoWorker(_))));
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        pool.exit();
        drop(pool);
        let _ = done.send(());
    });
    assert_eq!(ended.recv_timeout(WATCHDOG), Ok(()));
}
