//! Standard streams: what workers and their children print, read and inherit.

use crossbeam_channel::{Receiver, unbounded};
use hirelings::{Event, EventKind, JobError, PoolBuilder};
use hirelings_tests::{Do, Gate, Record, Scratch, WATCHDOG, begun, pool, program, settled};
use std::collections::BTreeMap;
use std::process::Command;

/// The lines that the pool's workers write to standard error.
fn lines(builder: PoolBuilder<Do>) -> (PoolBuilder<Do>, Receiver<String>) {
    let (said, heard) = unbounded();
    let builder = builder.on(EventKind::WorkerStderr, move |event: &Event| {
        let _ = said.send(event.stderr().expect("a line").to_owned());
    });
    (builder, heard)
}

#[test]
fn what_is_printed_does_not_touch_the_protocol() {
    let (builder, heard) = lines(pool().max_processes(1));
    let pool = builder.build().unwrap();
    let printing = vec![
        Do::Print("printed".into()),
        Do::Run("echo from a child".into()),
        Do::Run("printf '\\000\\000\\000\\004\\377\\377\\n'".into()),
        Do::Run("head -c 200000 /dev/zero; echo".into()),
        Do::Echo("well".into()),
    ];
    for _ in 0..3 {
        assert_eq!(settled(pool.enqueue(Do::Then(printing.clone()))).unwrap(), "well");
    }
    assert_eq!(pool.stats().spawned, 1);
    pool.exit();
    let heard: Vec<String> = heard.try_iter().collect();
    // What goes to standard output comes out at standard error.
    assert_eq!(heard.iter().filter(|line| *line == "printed").count(), 6);
    assert_eq!(heard.iter().filter(|line| *line == "from a child").count(), 3);
}

#[test]
fn there_is_nothing_to_read() {
    let pool = pool().max_processes(1).build().unwrap();
    for job in [Do::ReadInput, Do::Shell("cat".into()), Do::Shell("read line && echo \"read $line\"".into())] {
        assert_eq!(settled(pool.enqueue(job)).unwrap(), "");
    }
    assert_eq!(settled(pool.enqueue(Do::Shell("readlink /proc/self/fd/0".into()))).unwrap(), "/dev/null");
}

#[test]
fn standard_error_is_told_by_whole_lines() {
    let (builder, heard) = lines(pool().max_processes(1));
    let pool = builder.build().unwrap();
    let shell = |line: &str| settled(pool.enqueue(Do::Run(format!("printf '{line}' >&2")))).unwrap();
    shell("one\\ntw");
    assert_eq!(heard.recv_timeout(WATCHDOG).unwrap(), "one");
    shell("o\\n\\nthr");
    assert_eq!(heard.recv_timeout(WATCHDOG).unwrap(), "two");
    assert_eq!(heard.recv_timeout(WATCHDOG).unwrap(), "");
    shell("ee");
    pool.exit();
    assert_eq!(heard.recv_timeout(WATCHDOG).unwrap(), "three", "the last line needs no end");
    assert!(heard.try_recv().is_err());
}

#[test]
fn a_line_names_its_worker_and_its_job() {
    let (builder, mut record) = Record::of(pool().max_processes(1));
    let pool = builder.build().unwrap();
    let gate = Gate::new();
    let steps = vec![Do::Print("here".into()), Do::Wait(gate.path())];
    let job = begun(pool.request(Do::Then(steps)).label("loud"));
    let event = record.until_kind(EventKind::WorkerStderr);
    assert_eq!((event.stderr(), event.label(), event.job()), (Some("here"), Some("loud"), Some(job.id())));
    assert_eq!(event.pid(), Some(pool.workers()[0].pid));
}

#[test]
fn the_lines_of_an_earlier_job_are_not_quoted() {
    let pool = pool().max_processes(1).prefetch(0).build().unwrap();
    settled(pool.enqueue(Do::Run("echo the first >&2".into()))).unwrap();
    match settled(pool.enqueue(Do::Then(vec![Do::Run("echo the second >&2".into()), Do::Exit(3)]))) {
        Err(JobError::Crashed(crash)) => assert_eq!(crash.stderr, "the second"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_line_without_end_is_told_in_pieces() {
    let (builder, heard) = lines(pool().max_processes(1));
    let pool = builder.build().unwrap();
    settled(pool.enqueue(Do::Run("head -c 1000000 /dev/zero | tr '\\000' x >&2".into()))).unwrap();
    pool.exit();
    let pieces: Vec<usize> = heard.try_iter().map(|line| line.len()).collect();
    assert_eq!(pieces.iter().sum::<usize>(), 1_000_000);
    assert!(pieces.iter().all(|&len| len <= 128 * 1024), "{pieces:?}");
}

// ---------------------------------------------------------------- where it goes

/// A program of this package that builds a pool: what it writes to its own standard error.
fn standard_error_of_host(mode: &str) -> String {
    let output = Command::new(program("host")).arg(mode).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
    errors
}

#[test]
fn forward_writes_whole_lines_to_standard_error() {
    let errors = standard_error_of_host("forward");
    let mut count = BTreeMap::new();
    for line in errors.lines() {
        *count.entry(line).or_insert(0) += 1;
    }
    // Four workers at once, a thousand lines each, each in two writes: none is torn.
    let expected: Vec<String> = (0..4).map(|n| format!("{n} and {n}")).collect();
    assert_eq!(count, expected.iter().map(|line| (line.as_str(), 1000)).collect());
}

#[test]
fn null_writes_nothing() {
    assert_eq!(standard_error_of_host("null"), "");
}

// ---------------------------------------------------------------- what is inherited

#[test]
fn workers_and_their_children_inherit_nothing() {
    let output =
        Command::new(program("host")).arg("inheritance").stderr(std::process::Stdio::inherit()).output().unwrap();
    let found = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{found}");
    // A worker holds both directions of the protocol, each its own; what it spawns has standard streams and no more.
    let kinds: Vec<&str> = found.lines().map(|line| line.split(':').next().unwrap_or_default()).collect();
    assert_eq!(kinds, ["own 2", "own 2", "own 2", "spawned 0", "spawned 0", "spawned 0"], "{found}");
}

#[test]
fn what_a_worker_spawns_has_the_programs_signals() {
    let line = "grep -E '^Sig(Blk|Ign)' /proc/self/status";
    let ours = Command::new("sh").args(["-c", line]).output().unwrap();
    let ours = String::from_utf8_lossy(&ours.stdout).trim_end().to_owned();
    assert_eq!(ours.lines().count(), 2, "{ours}");
    let pool = pool().max_processes(1).build().unwrap();
    assert_eq!(settled(pool.enqueue(Do::Shell(line.into()))).unwrap(), ours);
}

/// The lines are written to standard error by another thread, which does not wait for this one's lock.
#[test]
fn a_program_that_holds_stderr_can_end_its_pool() {
    let pool = hirelings_tests::builder::<Do>(hirelings_tests::worker()).max_processes(1).build().unwrap();
    let (ended, end) = unbounded();
    let program = std::thread::spawn(move || {
        let lock = std::io::stderr().lock();
        settled(pool.enqueue(Do::Print("a line of a worker".into()))).unwrap();
        pool.exit();
        drop(lock);
        let _ = ended.send(());
    });
    assert!(end.recv_timeout(WATCHDOG).is_ok(), "the pool does not end");
    program.join().unwrap();
}

/// It has the same pipes and the same jobs as the worker that forked it.
#[test]
fn a_forked_child_does_nothing_of_the_workers() {
    let (builder, heard) = lines(pool().max_processes(1));
    let pool = builder.build().unwrap();
    let done = Scratch::new();
    let fork = |what: Do| Do::Fork(Box::new(what));
    let children = [
        fork(Do::Echo("the child".into())),
        fork(Do::Fail("the child".into())),
        fork(Do::Panic("the child".into())),
        fork(Do::Progress(1)),
        fork(Do::Retire),
        fork(fork(Do::Pid)),
    ];
    let count = children.len();
    let forked: Vec<_> = children.into_iter().map(|job| pool.enqueue(job)).collect();
    let behind: Vec<_> = (0..50).map(|n| pool.enqueue(Do::Append(done.path(), n.to_string()))).collect();
    for job in forked {
        assert_eq!(settled(job).unwrap(), "1");
    }
    behind.into_iter().for_each(|job| assert!(settled(job).is_ok()));
    assert_eq!(done.lines().len(), 50, "each was done once");
    assert_eq!(pool.stats().spawned, 1);
    pool.exit();
    let told = heard.try_iter().filter(|line| line.contains("has forked") && line.contains("_exit")).count();
    assert_eq!(told, count + 1);
}
