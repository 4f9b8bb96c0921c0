//! Looks at processes, threads and descriptors, as the system shows them.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

/// Whether the process is alive: a zombie is not.
pub fn is_alive(pid: u32) -> bool {
    state(pid).is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

/// The process's state, as one letter.
pub fn state(pid: u32) -> Option<char> {
    field(pid, 0)?.chars().next()
}

/// Whether all threads of the process are stopped. Until they are, the kernel does not take the process for a stopped one, and
/// does not wake it where its group is orphaned.
pub fn is_stopped(pid: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let mut states = threads.filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok()).peekable();
    // What follows the program's name, which may have anything in it.
    let is_stopped = |stat: String| stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'));
    states.peek().is_some() && states.all(is_stopped)
}

/// How long that thread of a process has waited for a core which has waited longest; see
/// [the kernel's page](https://docs.kernel.org/scheduler/sched-stats.html).
pub fn waited_for_a_core(pid: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let figures = threads.filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok());
    let nanos = figures.filter_map(|figures| figures.split_whitespace().nth(1)?.parse::<u64>().ok());
    Duration::from_nanos(nanos.max().unwrap_or_default())
}

/// The processes of a group that are alive.
pub fn of_group(group: u32) -> BTreeSet<u32> {
    all().filter(|&pid| field(pid, 2) == Some(group.to_string()) && is_alive(pid)).collect()
}

/// The processes that are alive and have an argument.
pub fn with_argument(argument: &str) -> BTreeSet<u32> {
    let has = |pid: u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|&byte| byte == 0).any(|part| part == argument.as_bytes())
    };
    all().filter(|&pid| has(pid) && is_alive(pid)).collect()
}

/// The group that a process is in.
pub fn group_of(pid: u32) -> Option<u32> {
    field(pid, 2)?.parse().ok()
}

/// Kills one process.
pub fn kill(pid: u32) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid.cast_signed()) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

/// Sends this process the signal until it takes effect: the first SIGSEGV only meets Rust's own handler.
pub fn die_of(signal: rustix::process::Signal) -> ! {
    loop {
        let _ = rustix::process::kill_process(rustix::process::getpid(), signal);
    }
}

/// The children of a process, zombies included: all but those that the kernel has reaped itself and not yet removed, which it
/// does where the parent ignores SIGCHLD.
pub fn children_of(parent: u32) -> BTreeSet<u32> {
    let is_child = |&pid: &u32| field(pid, 1) == Some(parent.to_string());
    all().filter(is_child).filter(|&pid| field(pid, 0).is_some_and(|state| state != "X")).collect()
}

/// The processes that are alive and have this variable in their environment: a process and all that it has started.
pub fn with_variable(name: &str, value: &str) -> BTreeSet<u32> {
    let variable = format!("{name}={value}");
    let has_it = |&pid: &u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|&byte| byte == 0).any(|one| one == variable.as_bytes())
    };
    all().filter(has_it).filter(|&pid| is_alive(pid)).collect()
}

fn all() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// A field of `/proc/PID/stat` behind the name: 0 state, 1 parent, 2 group.
fn field(pid: u32, index: usize) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(index).map(str::to_owned)
}

/// How many descriptors this process has: the fewest of several looks, since a thread that starts may open a file for a
/// moment.
pub fn descriptors() -> usize {
    let look = |_| {
        std::thread::yield_now();
        fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
    };
    (0..20).map(look).min().unwrap_or_default()
}

/// The names of this process's threads.
pub fn threads() -> Vec<String> {
    blocked(std::process::id()).into_iter().map(|(name, _)| name).collect()
}

/// The threads of a process: the name of each, and the signals that it blocks, the lowest bit for signal 1.
pub fn blocked(pid: u32) -> Vec<(String, u64)> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let statuses = tasks.filter_map(|task| fs::read_to_string(task.path().join("status")).ok());
    let thread = |status: String| {
        let line = |start| status.lines().find_map(|line| line.strip_prefix(start)).map(str::trim);
        Some((line("Name:")?.to_owned(), u64::from_str_radix(line("SigBlk:")?, 16).ok()?))
    };
    statuses.filter_map(thread).collect()
}
