//! What differs between systems: how a thread that polls learns that a process has ended, how large a pipe may be, and
//! what can be known and set of another process.

use std::os::fd::AsFd;

pub(crate) use exit::exit_fd;
pub(crate) use of_another::{LIMITS, limit, own_cpus, resident};
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) use of_another::{is_stopped, private};
pub(crate) use pipe_size::{Enlarged, unread};

/// Reads from this end of a pipe or socket fail where there is nothing now.
pub(crate) fn never_block(end: impl AsFd) {
    // An end of ours has no other flag.
    let _ = rustix::fs::fcntl_setfl(end, rustix::fs::OFlags::NONBLOCK);
}

/// The path under which the running executable is started, so that a rebuild on disk changes nothing.
pub(crate) const SELF: &str = "/proc/self/exe";

/// Linux: a pidfd is readable once the process has ended.
#[cfg(any(target_os = "linux", target_os = "android"))]
mod exit {
    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    use std::io;
    use std::os::fd::OwnedFd;

    /// A descriptor that is readable once `pid`, a child of this process that is not reaped, has ended.
    pub(crate) fn exit_fd(pid: Pid) -> io::Result<OwnedFd> {
        Ok(pidfd_open(pid, PidfdFlags::empty())?)
    }
}

/// Elsewhere: a thread waits without reaping, and closes its end of a pipe.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod exit {
    use rustix::io::Errno;
    use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
    use std::os::fd::OwnedFd;
    use std::{io, thread};

    /// A descriptor that hangs up once `pid`, a child of this process that is not reaped, has ended.
    pub(crate) fn exit_fd(pid: Pid) -> io::Result<OwnedFd> {
        let (ended, alive) = os_pipe::pipe()?;
        let wait = move || {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while let Err(Errno::INTR) = waitid(WaitId::Pid(pid), options) {}
            drop(alive);
        };
        thread::Builder::new().name("hirelings-wait".into()).stack_size(64 * 1024).spawn(wait)?;
        Ok(ended.into())
    }
}

/// Linux: a pipe for large payloads can be made larger, so that the two ends wake each other less often.
#[cfg(any(target_os = "linux", target_os = "android"))]
mod pipe_size {
    use rustix::pipe::fcntl_setpipe_size;
    use std::os::fd::AsFd;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const SIZE: usize = 1024 * 1024;

    /// How many bytes lie in a pipe unread, seen from either end.
    pub(crate) fn unread(pipe: impl AsFd) -> Option<u64> {
        rustix::io::ioctl_fionread(pipe).ok()
    }

    /// The system allows a user 64 MiB of pipes and gives new ones next to nothing beyond that (pipe(7)), so a process
    /// takes a quarter of it at most.
    const MOST: usize = 16;

    static TAKEN: AtomicUsize = AtomicUsize::new(0);

    /// A pipe that has been made larger; its place is free again when this is dropped.
    #[derive(Debug)]
    pub(crate) struct Enlarged(());

    impl Enlarged {
        /// Makes the pipe larger, if there is a place.
        pub(crate) fn new(pipe: impl AsFd) -> Option<Self> {
            if TAKEN.fetch_add(1, Ordering::Relaxed) < MOST {
                let place = Enlarged(());
                fcntl_setpipe_size(pipe, SIZE).ok()?;
                return Some(place);
            }
            TAKEN.fetch_sub(1, Ordering::Relaxed);
            None
        }
    }

    impl Drop for Enlarged {
        fn drop(&mut self) {
            TAKEN.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Elsewhere: pipes are as large as they are.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod pipe_size {
    use std::os::fd::AsFd;

    /// How many bytes lie in a pipe unread, seen from the end that is read; from the other it is not known.
    pub(crate) fn unread(pipe: impl AsFd) -> Option<u64> {
        rustix::io::ioctl_fionread(pipe).ok().filter(|&bytes| bytes > 0)
    }

    /// Never made.
    #[derive(Debug)]
    pub(crate) enum Enlarged {}

    impl Enlarged {
        pub(crate) fn new(_: impl AsFd) -> Option<Self> {
            None
        }
    }
}

/// Linux: prlimit(2), priorities, processors and `/proc` are for any process of the same user.
#[cfg(any(target_os = "linux", target_os = "android"))]
mod of_another {
    use crate::limits::Limits;
    use rustix::io::Errno;
    use rustix::param::page_size;
    use rustix::process::{
        Pid, Resource, Rlimit, getpriority_process, getrlimit, prlimit, setpriority_pgrp, setpriority_process,
    };
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    use std::collections::BTreeSet;
    use std::time::Duration;
    use std::{fs, io};

    /// Whether this system has what is here.
    pub(crate) const LIMITS: bool = true;

    /// Limits a worker's process that has not been reaped, that of this slot. A limit of it that is lower already stays.
    pub(crate) fn limit(pid: Pid, slot: usize, limits: &Limits) -> io::Result<()> {
        let sets = limits.cpus.as_deref().filter(|sets| !sets.is_empty());
        let cpus = sets.map(|sets| &sets[slot % sets.len()]);
        let set = resources(pid, limits)
            .and_then(|()| limits.niceness.map_or(Ok(()), |niceness| be_nice(pid, niceness)))
            .and_then(|()| cpus.map_or(Ok(()), |cpus| keep_to(pid, cpus)));
        match set {
            // It has ended already: the exit is reported anyway.
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn resources(pid: Pid, limits: &Limits) -> Result<(), Errno> {
        let seconds = |time: Duration| time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0));
        let set = [
            (Resource::As, "Max address space", limits.address_space, 0),
            // SIGXCPU at the first, SIGKILL at the second.
            (Resource::Cpu, "Max cpu time", limits.cpu_time.map(seconds), 1),
            (Resource::Nofile, "Max open files", limits.open_files, 0),
            (Resource::Core, "Max core file size", limits.core_size, 0),
            (Resource::Fsize, "Max file size", limits.file_size, 0),
            (Resource::Nproc, "Max processes", limits.processes, 0),
        ];
        if set.iter().all(|(_, _, wish, _)| wish.is_none()) {
            return Ok(());
        }
        // Its own, not this program's: a fork server may have lowered its limits.
        let text = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default();
        for (resource, name, wish, more) in set {
            let Some(wish) = wish else { continue };
            // `None` is no limit.
            let before = limit_in(&text, name).unwrap_or_else(|| getrlimit(resource));
            let lower = |wish: u64, before: Option<u64>| Some(before.map_or(wish, |before| before.min(wish)));
            let maximum = lower(wish.saturating_add(more), before.maximum);
            let current = lower(wish, before.current);
            prlimit(Some(pid), resource, Rlimit { current, maximum })?;
        }
        Ok(())
    }

    /// A limit in `/proc/PID/limits`: a line has the name, the soft limit and the hard one.
    fn limit_in(text: &str, name: &str) -> Option<Rlimit> {
        let mut values = text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace();
        let mut value = || match values.next()? {
            "unlimited" => Some(None),
            number => number.parse().ok().map(Some),
        };
        Some(Rlimit { current: value()?, maximum: value()? })
    }

    /// A process's niceness is each thread's own; a group's is that of all threads in it.
    fn be_nice(pid: Pid, niceness: i32) -> Result<(), Errno> {
        let niceness = niceness.max(getpriority_process(Some(pid))?);
        match setpriority_pgrp(Some(pid), niceness) {
            // A launcher that is no worker's parent may have put it elsewhere.
            Err(Errno::SRCH) => setpriority_process(Some(pid), niceness),
            other => other,
        }
    }

    /// Processors are each thread's own too, and there is no call for all of them: those that are started meanwhile have
    /// them from the one that starts them, or are found in the next round.
    fn keep_to(pid: Pid, cpus: &[usize]) -> Result<(), Errno> {
        let mut set = CpuSet::new();
        cpus.iter().filter(|&&cpu| cpu < CpuSet::MAX_CPU).for_each(|&cpu| set.set(cpu));
        let mut done = BTreeSet::new();
        loop {
            let threads = fs::read_dir(format!("/proc/{pid}/task")).map_err(|_| Errno::SRCH)?.flatten();
            let threads = threads.filter_map(|thread| thread.file_name().to_str()?.parse().ok());
            let new: Vec<i32> = threads.filter(|&thread| done.insert(thread)).collect();
            if new.is_empty() {
                return Ok(());
            }
            for thread in new {
                match sched_setaffinity(Pid::from_raw(thread), &set) {
                    // That thread has ended.
                    Ok(()) | Err(Errno::SRCH) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }

    /// The processors that this program may use.
    pub(crate) fn own_cpus() -> Option<BTreeSet<usize>> {
        let set = sched_getaffinity(None).ok()?;
        Some((0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect())
    }

    /// How many bytes of memory a process holds, of its own and shared: the second number of `/proc/PID/statm`.
    pub(crate) fn resident(pid: u32) -> Option<u64> {
        let pages = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
        let pages: u64 = pages.split(' ').nth(1)?.parse().ok()?;
        Some(pages * page_size() as u64)
    }

    /// The same without what it shares with others: for a process that was forked, with that which it was forked from.
    pub(crate) fn private(pid: u32) -> Option<u64> {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let kib = |line: &str| {
            let value = line.strip_prefix("Private_Clean:").or_else(|| line.strip_prefix("Private_Dirty:"))?;
            value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
        };
        Some(rollup.lines().filter_map(kib).sum::<u64>() * 1024)
    }

    /// Whether each thread of the process is stopped, or has ended.
    pub(crate) fn is_stopped(pid: u32) -> bool {
        let Ok(mut threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return false };
        threads.all(|thread| {
            let stat = thread.and_then(|thread| fs::read_to_string(thread.path().join("stat")));
            // The name before it, in brackets, may hold anything.
            let state = stat.ok().and_then(|stat| stat.rsplit_once(") ")?.1.chars().next());
            matches!(state, Some('T' | 't' | 'Z' | 'X'))
        })
    }
}

/// Elsewhere: `build` refuses what would need it.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod of_another {
    use crate::limits::Limits;
    use rustix::process::Pid;
    use std::collections::BTreeSet;
    use std::io;

    pub(crate) const LIMITS: bool = false;

    pub(crate) fn limit(_: Pid, _: usize, _: &Limits) -> io::Result<()> {
        Ok(())
    }

    pub(crate) fn own_cpus() -> Option<BTreeSet<usize>> {
        None
    }

    pub(crate) fn resident(_: u32) -> Option<u64> {
        None
    }
}
