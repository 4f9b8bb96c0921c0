//! Standard streams: what workers and their children print, read and inherit.

use crossbeam_channel::{Receiver, bounded, unbounded};
use hirelings::{Event, EventKind, JobError, Pool, PoolBuilder, Stderr};
use hirelings_tests::{Do, Gate, Record, WATCHDOG, begun, eventually, pool, program, settled, worker};
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

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
    let noise = vec![
        Do::Print("printed".into()),
        Do::Run("echo from a child".into()),
        Do::Run("printf '\\000\\000\\000\\004\\377\\377\\n'".into()),
        Do::Run("head -c 200000 /dev/zero; echo".into()),
        Do::Echo("well".into()),
    ];
    for _ in 0..3 {
        assert_eq!(settled(pool.enqueue(Do::Then(noise.clone()))).unwrap(), "well");
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

struct Lines(Mutex<Vec<String>>);

impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        let line = format!("{} {}", record.level(), record.args());
        self.0.lock().unwrap().push(line);
    }
    fn flush(&self) {}
}

#[test]
fn log_writes_each_line_to_the_log() {
    static LOGGED: Lines = Lines(Mutex::new(Vec::new()));
    log::set_logger(&LOGGED).unwrap();
    log::set_max_level(log::LevelFilter::Info);
    let pool = Pool::<Do>::builder(worker()).stderr(Stderr::Log).name("logged").max_processes(1).build().unwrap();
    let pid = settled(pool.enqueue(Do::Print("for the record".into()))).unwrap();
    pool.exit();
    log::set_max_level(log::LevelFilter::Off);
    let logged = LOGGED.0.lock().unwrap();
    let ours: Vec<_> = logged.iter().filter(|line| line.contains("for the record")).collect();
    assert_eq!(ours.len(), 2, "one from each stream: {logged:?}");
    assert!(ours[0].starts_with("INFO") && ours[0].contains("logged") && ours[0].contains(&pid), "{ours:?}");
}

// ---------------------------------------------------------------- too much of it

/// One test at a time weighs this process.
static WEIGHED: Mutex<()> = Mutex::new(());

/// What this process holds in memory, in MiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

#[test]
fn a_flood_of_standard_error_harms_its_own_job_only() {
    let _alone = WEIGHED.lock();
    let before = resident();
    let (release, blocked) = bounded::<()>(0);
    // The worst listener: it takes one line and no more.
    let builder = pool().on(EventKind::WorkerStderr, move |_| {
        let _ = blocked.recv();
    });
    let pool = builder.max_processes(2).build().unwrap();
    // Dropped before the pool, whose exit waits for its hooks.
    let release = release;
    let flood = pool.request(Do::Run("exec yes >&2".into())).timeout(Duration::from_secs(2)).enqueue();
    eventually("it floods", || matches!(flood.status(), hirelings::JobStatus::Running { .. }));
    for n in 0..200 {
        assert_eq!(settled(pool.enqueue(Do::Echo(n.to_string()))).unwrap(), n.to_string());
    }
    let error = settled(flood).unwrap_err();
    assert!(matches!(error, JobError::TimedOut(_)), "{error:?}");
    let grown = resident().saturating_sub(before);
    assert!(grown < 100, "{grown} MiB");
    drop(release);
}

#[test]
fn a_flood_that_nobody_wants_holds_no_worker_up() {
    let _alone = WEIGHED.lock();
    let pool = pool().max_processes(1).timeout_working(None).build().unwrap();
    let before = resident();
    settled(pool.enqueue(Do::Run("yes | head -c 300000000 >&2".into()))).unwrap();
    let grown = resident().saturating_sub(before);
    assert!(grown < 100, "{grown} MiB");
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
