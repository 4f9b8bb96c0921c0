//! What workers may use of the machine, and what is said of those that use more.
#![cfg(target_os = "linux")]

use hirelings::{Crash, JobError, Limit, Limits, Pool, Stderr};
use hirelings_tests::{Do, Gate, Scratch, begun, pool, settled, worker};
use rustix::process::{Resource, getrlimit, setpriority_process};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

const MIB: u64 = 1 << 20;

fn crash(error: JobError<String>) -> Crash {
    match error {
        JobError::Crashed(crash) => crash,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_limit_is_set_in_every_worker() {
    let limits = Limits::new().address_space(4096 * MIB).cpu_time(Duration::from_millis(59_500)).open_files(40);
    // A number that is lower than the limit, and that no user comes to.
    let processes = getrlimit(Resource::Nproc).maximum.unwrap_or(100_000) - 1;
    let limits = limits.core_size(0).file_size(8 * MIB).processes(processes);
    let pool = pool().max_processes(1).max_jobs_per_process(1).limits(limits);
    let pool = pool.build().unwrap();
    // The second comes from a second worker.
    for _ in 0..2 {
        let told = settled(pool.enqueue(Do::Shell("cat /proc/$PPID/limits".into()))).unwrap();
        let of = |name: &str| {
            let line = told.lines().find(|line| line.starts_with(name)).unwrap();
            line[name.len()..].split_whitespace().take(2).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(of("Max address space"), format!("{0} {0}", 4096 * MIB));
        assert_eq!(of("Max cpu time"), "60 61");
        assert_eq!(of("Max open files"), "40 40");
        assert_eq!(of("Max core file size"), "0 0");
        assert_eq!(of("Max file size"), format!("{0} {0}", 8 * MIB));
        assert_eq!(of("Max processes"), format!("{processes} {processes}"));
    }
}

#[test]
fn a_limit_that_is_lower_already_stays() {
    let mine = getrlimit(Resource::Nofile).current.expect("a limit");
    let pool = pool().max_processes(1).limits(Limits::new().open_files(u64::MAX)).build().unwrap();
    let told = settled(pool.enqueue(Do::Shell("ulimit -n".into()))).unwrap();
    assert_eq!(told, mine.to_string());
}

/// What a function reads of each of a worker's threads, the one that runs jobs and the guard.
fn of_each_thread(pid: &str, read: impl Fn(&Path) -> String) -> BTreeSet<String> {
    let threads: Vec<_> = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten().collect();
    assert_eq!(threads.len(), 2);
    threads.iter().map(|thread| read(&thread.path())).collect()
}

fn niceness(thread: &Path) -> String {
    let stat = fs::read_to_string(thread.join("stat")).unwrap();
    stat.rsplit_once(')').unwrap().1.split_whitespace().nth(16).unwrap().to_owned()
}

fn cpus(thread: &Path) -> String {
    let status = fs::read_to_string(thread.join("status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    line.trim().to_owned()
}

#[test]
fn niceness_is_of_all_threads_and_nicer_ones_stay_so() {
    let own: i32 = niceness(Path::new("/proc/thread-self")).parse().unwrap();
    let limits = Limits::new().niceness(own + 5);
    let nice_program = move |_| {
        // Of the thread that starts workers.
        setpriority_process(None, own + 8).unwrap();
        worker()
    };
    for (pool, expected) in [(pool(), own + 5), (Pool::<Do>::builder_with(nice_program), own + 8)] {
        let pool = pool.stderr(Stderr::Null).max_processes(1).limits(limits.clone()).build().unwrap();
        let pid = settled(pool.enqueue(Do::Pid)).unwrap();
        assert_eq!(of_each_thread(&pid, niceness), BTreeSet::from([expected.to_string()]));
    }
}

#[test]
fn slots_take_the_sets_of_processors_in_turn() {
    let own = rustix::thread::sched_getaffinity(None).unwrap();
    let own: Vec<usize> = (0..rustix::thread::CpuSet::MAX_CPU).filter(|&cpu| own.is_set(cpu)).collect();
    let [first, .., last] = own[..] else {
        eprintln!("SKIPPED: this needs two processors");
        return;
    };
    // Three workers, two sets: slots 0 and 2 have the first.
    let limits = Limits::new().cpus([[first], [last]]);
    let pool = pool().max_processes(3).max_jobs_per_process(1).limits(limits).build().unwrap();
    for _ in 0..2 {
        let gates = [Gate::new(), Gate::new(), Gate::new()];
        let jobs: Vec<_> = gates.iter().map(|gate| begun(pool.request(Do::Wait(gate.path())))).collect();
        let mut found = BTreeMap::new();
        for worker in pool.workers() {
            let pid = worker.pid.to_string();
            found.insert(worker.slot.index(), of_each_thread(&pid, cpus));
        }
        let only = |cpu: usize| BTreeSet::from([cpu.to_string()]);
        assert_eq!(found, BTreeMap::from([(0, only(first)), (1, only(last)), (2, only(first))]));
        drop(gates);
        jobs.into_iter().for_each(|job| drop(settled(job).unwrap()));
    }
}

#[test]
fn without_any_a_worker_is_limited_as_the_program_is() {
    let pool = pool().max_processes(1).build().unwrap();
    let pid = settled(pool.enqueue(Do::Pid)).unwrap();
    let own = Path::new("/proc/thread-self");
    assert_eq!(of_each_thread(&pid, niceness), BTreeSet::from([niceness(own)]));
    assert_eq!(of_each_thread(&pid, cpus), BTreeSet::from([cpus(own)]));
}

#[test]
fn want_of_address_space_is_named_as_probable_cause() {
    let pool = pool().max_processes(1).limits(Limits::new().address_space(256 * MIB)).build().unwrap();
    let crash = crash(settled(pool.enqueue(Do::Bytes(512 << 20))).unwrap_err());
    assert_eq!(crash.limit(), Some(Limit::AddressSpace), "{crash}");
    assert!(crash.to_string().contains("SIGABRT (probably for want of memory)"), "{crash}");
    assert_eq!(settled(pool.enqueue(Do::Echo("well".into()))).unwrap(), "well");
}

#[test]
fn an_abort_for_another_reason_is_no_want_of_memory() {
    let pool = pool().max_processes(1).limits(Limits::new().address_space(1024 * MIB)).build().unwrap();
    let crash = crash(settled(pool.enqueue(Do::Abort)).unwrap_err());
    assert_eq!(crash.limit(), None, "{crash}");
    assert!(!crash.to_string().contains("memory"), "{crash}");
}

#[test]
fn processor_time_is_of_the_workers_life_and_named() {
    let limits = Limits::new().cpu_time(Duration::from_secs(1));
    let pool = pool().max_processes(1).timeout_working(None).limits(limits).build().unwrap();
    let crash = crash(settled(pool.enqueue(Do::Spin)).unwrap_err());
    assert_eq!(crash.limit(), Some(Limit::CpuTime), "{crash}");
    assert!(crash.to_string().contains("SIGXCPU (over its limit of processor time)"), "{crash}");
}

#[test]
fn a_file_that_grows_too_large_is_named() {
    let file = Scratch::new();
    let pool = pool().max_processes(1).limits(Limits::new().file_size(MIB)).build().unwrap();
    let job = Do::Append(file.path(), "x".repeat(2 << 20));
    let crash = crash(settled(pool.enqueue(job)).unwrap_err());
    assert_eq!(crash.limit(), Some(Limit::FileSize), "{crash}");
    assert!(crash.to_string().contains("SIGXFSZ (over its limit of file size)"), "{crash}");
}

#[test]
fn over_the_soft_limit_of_memory_a_worker_is_replaced() {
    let pool = pool().max_processes(1).max_memory(128 * MIB, None).build().unwrap();
    let first = settled(pool.enqueue(Do::Pid)).unwrap();
    assert_eq!(settled(pool.enqueue(Do::Leak(16 << 20))).unwrap(), first);
    assert_eq!(settled(pool.enqueue(Do::Leak(160 << 20))).unwrap(), first, "it finishes its job");
    assert_ne!(settled(pool.enqueue(Do::Pid)).unwrap(), first);
    let stats = pool.stats();
    assert_eq!((stats.succeeded, stats.failed, stats.crashed, stats.spawned), (4, 0, 0, 2));
}

#[test]
fn no_queue_stalls_where_each_job_outgrows_its_worker() {
    let pool = pool().max_processes(2).max_memory(64 * MIB, None).build().unwrap();
    let jobs: Vec<_> = (0..8).map(|_| pool.enqueue(Do::Leak(80 << 20))).collect();
    let pids: BTreeSet<_> = jobs.into_iter().map(|job| settled(job).unwrap()).collect();
    assert_eq!(pids.len(), 8, "each did one job");
}

#[test]
fn over_the_hard_limit_of_memory_a_worker_is_killed() {
    let gates = [Gate::new(), Gate::new()];
    let pool = pool().max_processes(2).timeout_working(None).max_memory(None, 192 * MIB).build().unwrap();
    let other = begun(pool.request(Do::Wait(gates[0].path())));
    let large = pool.enqueue(Do::Then(vec![Do::Leak(256 << 20), Do::Wait(gates[1].path())]));
    match settled(large).unwrap_err() {
        JobError::OutOfMemory(memory) => {
            assert!(memory.resident > 192 * MIB && memory.limit == 192 * MIB, "{memory:?}");
            assert!(memory.to_string().contains(", over its limit of 192 MiB, while it did job"), "{memory}");
        }
        other => panic!("{other:?}"),
    }
    drop(gates);
    settled(other).unwrap();
}

#[test]
fn a_job_whose_worker_held_too_much_may_be_retried() {
    let gate = Gate::new();
    let pool = pool().max_processes(1).retries(1).max_memory(None, 192 * MIB).build().unwrap();
    let large = Do::Then(vec![Do::Leak(256 << 20), Do::Wait(gate.path())]);
    settled(pool.enqueue(Do::Before(2, Box::new(large)))).unwrap();
    assert_eq!(pool.stats().retried, 1);
}
