//! A program that has a pool, in circumstances that its test has arranged: what it is to do is its first argument.

use hirelings::{EventKind, Pool, Site, Stderr};
use hirelings_tests::{Do, Gate, Record, WATCHDOG, begun, eventually, processes, program, settled, spawned, worker};
use rustix::process::{Resource, Rlimit, WaitOptions, getpid, getrlimit, set_child_subreaper, setrlimit, wait};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{env, fs, iter, thread};

fn main() {
    match env::args().nth(1).unwrap_or_default().as_str() {
        "work" => work(),
        "forward" => many_lines(Stderr::Forward),
        "null" => many_lines(Stderr::Null),
        "full" => full(),
        "inheritance" => inheritance(),
        "reaper" => reaper(),
        "descriptors" => short_of_descriptors(),
        "processes" => short_of_processes(),
        "leave" => leave(),
        "drain" => drain(),
        "failures" => failures(),
        "environment" => changing_environment(),
        "one processor" => one_processor(),
        "exits" => exits(),
        "stopped" => stopped(),
        "slurm" => on_slurm(),
        other => panic!("what is {other:?}?"),
    }
}

/// A worker that Slurm has placed, which has a child and hangs: the group that it leads is told, and this program waits to be
/// killed.
fn on_slurm() {
    let pool = Pool::<Do>::builder_on([Site::slurm(1)], worker()).stderr(Stderr::Null).build().unwrap();
    let (_job, child) = spawned(pool.request(Do::Then(vec![Do::Spawn("exec sleep 1000".into()), Do::Spin])));
    println!("{}", processes::group_of(child).unwrap());
    loop {
        thread::park();
    }
}

/// All that is usual, with what came of it on standard output.
fn work() {
    let pool = hirelings_tests::builder::<Do>(worker()).stderr(Stderr::Null).max_processes(2).max_jobs_per_process(2);
    let pool = pool.build().unwrap();
    for n in 0..5 {
        println!("{}", settled(pool.enqueue(Do::Echo(n.to_string()))).unwrap());
    }
    println!("{}", settled(pool.enqueue(Do::Exit(3))).unwrap_err());
    println!("{}", settled(pool.enqueue(Do::Panic("oh".into()))).unwrap_err());
    println!("{}", settled(pool.request(Do::ExitUntil(3)).retries(5).enqueue()).is_ok());
    println!("{}", settled(pool.enqueue(Do::Echo("x".repeat(1 << 20)))).unwrap().len());
    pool.exit();
    println!("children {}", processes::children_of(std::process::id()).len());
}

/// Four workers that write a thousand lines each at once, in pieces.
fn many_lines(to: Stderr) {
    let pool = hirelings_tests::builder::<Do>(worker()).stderr(to).max_processes(4).build().unwrap();
    let line = |n| format!("for i in $(seq 1000); do printf '{n} an' >&2; printf 'd {n}\\n' >&2; done");
    let jobs: Vec<_> = (0..4).map(|n| pool.enqueue(Do::Run(line(n)))).collect();
    jobs.into_iter().for_each(|job| drop(settled(job).unwrap()));
}

/// More lines than a pipe takes, and nobody reads them.
fn full() {
    let pool = hirelings_tests::builder::<Do>(worker()).stderr(Stderr::Forward).max_processes(1).build().unwrap();
    settled(pool.enqueue(Do::Run("seq 20000 >&2".into()))).unwrap();
    println!("done");
    pool.exit();
    println!("left");
}

/// What workers and their children hold beside standard streams: of what this program did not inherit itself.
fn inheritance() {
    let ours = held(std::process::id());
    let pool = hirelings_tests::builder::<Do>(worker()).stderr(Stderr::Null).max_processes(3).build().unwrap();
    let gates: Vec<Gate> = (0..3).map(|_| Gate::new()).collect();
    let job = |gate: &Gate| Do::Then(vec![Do::Spawn("exec sleep 1000".into()), Do::Wait(gate.path())]);
    let jobs: Vec<_> = gates.iter().map(|gate| spawned(pool.request(job(gate)))).collect();
    let mut pipes = Vec::new();
    for worker in pool.workers() {
        let mut own = held(worker.pid);
        own.retain(|fd, to| *fd > 2 && to.starts_with("pipe:") && ours.get(fd) != Some(to));
        // The guard is woken through a pipe of the worker's own: both its ends are here.
        let ends = |pipe: &String| own.values().filter(|to| *to == pipe).count();
        let protocol: Vec<&String> = own.values().filter(|pipe| ends(pipe) == 1).collect();
        println!("own {}: {own:?}", protocol.len());
        pipes.extend(own.values().cloned().collect::<BTreeSet<_>>());
    }
    assert_eq!(pipes.len(), pipes.iter().collect::<BTreeSet<_>>().len(), "a pipe is held by two workers: {pipes:?}");
    for (_, pid) in &jobs {
        eventually("the sleep sleeps", || {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "sleep")
        });
        let mut more = held(*pid);
        // It may still have a library of its own open.
        more.retain(|fd, to| *fd > 2 && to.starts_with("pipe:") && ours.get(fd) != Some(to));
        println!("spawned {}: {more:?}", more.len());
        let streams = held(*pid);
        assert_eq!((streams[&0].as_str(), &streams[&1]), ("/dev/null", &streams[&2]));
    }
}

/// The descriptors of a process, and what they are.
fn held(pid: u32) -> BTreeMap<u32, String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let held = entries.filter_map(|entry| {
        let to = fs::read_link(entry.path()).ok()?.to_string_lossy().into_owned();
        Some((entry.file_name().to_str()?.parse().ok()?, to))
    });
    held.collect()
}

/// Runs the program `parent`, whose orphans come to this one: as in a container, they stay in a session with their parent.
fn reaper() {
    set_child_subreaper(Some(getpid())).unwrap();
    let arguments = env::args().skip(2);
    Command::new(program("parent")).args(arguments).status().unwrap();
    eventually("the orphans have ended", || {
        while wait(WaitOptions::NOHANG).is_ok_and(|ended| ended.is_some()) {}
        processes::children_of(std::process::id()).is_empty()
    });
}

/// No descriptor is left for a while: jobs wait or fail, and nothing worse; then all is as before.
fn short_of_descriptors() {
    let pool = hirelings_tests::builder::<Do>(worker()).stderr(Stderr::Null).max_processes(4).start_failures(2);
    let pool = pool.max_jobs_per_process(1).build().unwrap();
    settled(pool.enqueue(Do::Pid)).unwrap();
    eventually("no worker", || pool.stats().workers == 0);
    let before = getrlimit(Resource::Nofile);
    let used = held(std::process::id()).into_keys().max().unwrap_or(0);
    setrlimit(Resource::Nofile, Rlimit { current: Some(u64::from(used) + 1), ..before }).unwrap();
    let holes: Vec<File> = iter::from_fn(|| File::open("/dev/null").ok()).collect();
    let jobs: Vec<_> = (0..8).map(|_| pool.enqueue(Do::Pid)).collect();
    let mut failed = 0;
    for job in jobs {
        if let Err(error) = settled(job) {
            failed += 1;
            println!("{error}");
        }
    }
    drop(holes);
    setrlimit(Resource::Nofile, before).unwrap();
    println!("failed {failed}");
    settled(pool.enqueue(Do::Pid)).unwrap();
    println!("recovered");
}

/// No process and no thread is left for a while.
fn short_of_processes() {
    let pool = hirelings_tests::builder::<Do>(worker()).stderr(Stderr::Null).max_processes(4).start_failures(2);
    let pool = pool.max_jobs_per_process(1).build().unwrap();
    settled(pool.enqueue(Do::Pid)).unwrap();
    let before = getrlimit(Resource::Nproc);
    setrlimit(Resource::Nproc, Rlimit { current: Some(1), ..before }).unwrap();
    println!("{}", settled(pool.enqueue(Do::Pid)).unwrap_err());
    setrlimit(Resource::Nproc, before).unwrap();
    settled(pool.enqueue(Do::Pid)).unwrap();
    let refused = {
        setrlimit(Resource::Nproc, Rlimit { current: Some(1), ..before }).unwrap();
        hirelings_tests::builder::<Do>(worker()).build().map(drop).unwrap_err()
    };
    setrlimit(Resource::Nproc, before).unwrap();
    println!("{refused}");
    println!("recovered");
}

/// Comes to its end with jobs that run and jobs that wait.
fn leave() {
    // Dropped after the pool, so that it stays closed.
    let gate = Gate::new();
    let pool = hirelings_tests::builder::<Do>(worker()).max_processes(2).build().unwrap();
    let _running = [(); 2].map(|()| begun(pool.request(Do::Wait(gate.path()))));
    let _queued: Vec<_> = (0..10).map(|_| pool.enqueue(Do::Pid)).collect();
    println!("{}", pool.stats().backlog);
}

/// The same, but all is done first.
fn drain() {
    let pool = hirelings_tests::builder::<Do>(worker()).max_processes(2).build().unwrap();
    let mut gate = Gate::new();
    let running = [(); 2].map(|()| begun(pool.request(Do::Wait(gate.path()))));
    let queued: Vec<_> = (0..10).map(|_| pool.enqueue(Do::Pid)).collect();
    gate.open();
    println!("{}", pool.drain(WATCHDOG).left);
    println!("{}", running.into_iter().chain(queued).filter(|job| job.is_finished()).count());
}

/// Jobs that fail in their own way, some of them again and again; nobody looks at what they came to.
fn failures() {
    let pool =
        hirelings_tests::builder::<Do>(worker()).stderr(Stderr::Forward).max_processes(2).retries(1).build().unwrap();
    for _ in 0..5 {
        drop(pool.enqueue(Do::Fail("no".into())));
        drop(pool.enqueue(Do::FailUntil(2)));
    }
    pool.wait_idle();
    println!("{}", pool.stats().failed);
}

/// The environment changes all the time while workers are started, each of which sees a whole one.
fn changing_environment() {
    let over = AtomicBool::new(false);
    let set = |value: &str| {
        // SAFETY: only std looks at this process's environment, under its own lock, which this takes too.
        unsafe { env::set_var("CHANGES", value.repeat(1000)) }
    };
    set("a");
    let pool = hirelings_tests::builder::<Do>(worker()).stderr(Stderr::Null).max_processes(2).max_jobs_per_process(1);
    let pool = pool.build().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            for value in ["b", "a"].iter().cycle() {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                set(value);
            }
        });
        let jobs: Vec<_> = (0..40).map(|_| pool.enqueue(Do::Shell("echo $CHANGES".into()))).collect();
        let whole = |text: &String| *text == "a".repeat(1000) || *text == "b".repeat(1000);
        println!("{}", jobs.into_iter().filter_map(|job| settled(job).ok()).filter(whole).count());
        over.store(true, Ordering::Relaxed);
    });
}

/// How many processes a pool has that was not told, where the program may use one processor only.
fn one_processor() {
    let mut one = CpuSet::new();
    let all = sched_getaffinity(None).unwrap();
    one.set((0..CpuSet::MAX_CPU).find(|&cpu| all.is_set(cpu)).unwrap());
    sched_setaffinity(None, &one).unwrap();
    let pool = hirelings_tests::builder::<Do>(worker()).stderr(Stderr::Null).build().unwrap();
    pool.wait_ready(WATCHDOG).unwrap();
    println!("{}", pool.stats().workers);
}

/// Workers that signal their group when they exit, early in it and late, and leave behind what ignores the signal: how
/// each ended, and that what it has left ended too.
fn exits() {
    let mut command = worker();
    command.args(["ignore SIGTERM", "signal the group at exit"]);
    let pool = hirelings_tests::builder::<Do>(command).stderr(Stderr::Null).max_processes(1).max_jobs_per_process(1);
    let (builder, mut record) = Record::of(pool);
    let pool = builder.build().unwrap();
    for last in [Do::Pid, Do::Panic("the end".into()), Do::Exit(5)] {
        let (_, left) = spawned(pool.request(Do::Then(vec![Do::SpawnSleeper, Do::SignalGroupAtExit, last])));
        let exit = record.until_kind(EventKind::Exit);
        println!("{}", exit.status().unwrap());
        eventually("what it left has ended", || !processes::is_alive(left));
    }
}

/// Is stopped by its test while jobs wait at the first of the gates that are its arguments, and one at the second, all with
/// the limit of the third.
fn stopped() {
    let mut arguments = env::args().skip(2);
    let mut next = || arguments.next().expect("an argument");
    let [in_time, too_late] = [next(), next()];
    let limit = Duration::from_millis(next().parse().expect("a limit"));
    let pool = hirelings_tests::builder::<Do>(worker()).stderr(Stderr::Null).max_processes(17).build().unwrap();
    pool.wait_ready(WATCHDOG).unwrap();
    let note = Do::Append(next().into(), "done".into());
    let job = |gate: &str| begun(pool.request(Do::Then(vec![Do::Wait(gate.into()), note.clone()])).timeout(limit));
    let jobs: Vec<_> = iter::repeat_n(in_time, 16).chain([too_late]).map(|gate| job(&gate)).collect();
    println!("begun");
    for job in jobs {
        match settled(job) {
            Ok(_) => println!("done"),
            Err(error) => println!("{error}"),
        }
    }
}
