//! Looks for processes of this run, and sends them signals.

use crate::books::{self, Fault};
use crate::deed::Order;
use crate::raw;
use hirelings::Pool;
use hirelings_tests::dice::Dice;
use hirelings_tests::{WATCHDOG, counting, processes, within};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{process, thread};

/// How long the last of what is ended may take to be gone.
const MOMENT: Duration = Duration::from_secs(1);

/// A process's arguments; none of a zombie.
fn arguments(pid: u32) -> Vec<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|&byte| byte == 0).map(|part| String::from_utf8_lossy(part).into_owned()).collect()
}

/// The second argument; the third where the program before it has an option of its own.
fn tag_of(pid: u32) -> Option<String> {
    arguments(pid).into_iter().skip(2).take(2).find(|argument| argument.starts_with("torture-"))
}

/// The living processes that have the tag, this one and those that left their group left out.
pub fn tagged(tag: &str) -> BTreeSet<u32> {
    with_tag(|known| known == tag).into_iter().filter(|&pid| !is_away(pid)).collect()
}

fn is_away(pid: u32) -> bool {
    arguments(pid).iter().any(|argument| argument == "away")
}

/// Those of all of this run's tags.
fn with_tag(matches: impl Fn(&str) -> bool) -> BTreeSet<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let all = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    all.filter(|&pid| pid != process::id())
        .filter(|&pid| tag_of(pid).is_some_and(|tag| matches(&tag)))
        .filter(|&pid| processes::is_alive(pid))
        .collect()
}

/// Kills what is left of all that this run has started.
pub fn kill_all(tag: &str) {
    for pid in with_tag(|known| known.starts_with(tag)) {
        processes::kill(pid);
    }
}

/// Sends a signal to a process of this run, and to no other that has its number by now.
pub fn send(pid: u32, signal: Signal) -> bool {
    let Some(Ok(process)) = Pid::from_raw(pid.cast_signed()).map(|pid| pidfd_open(pid, PidfdFlags::empty())) else {
        return false;
    };
    tag_of(pid).is_some() && pidfd_send_signal(process, signal).is_ok()
}

/// Waits until no process of these workers' groups is left that is not one of the pool's living workers, its fork servers
/// left out. Gives all of them where there are others.
pub fn strays(tag: &str, workers: &BTreeSet<u32>, fork_servers: usize) -> BTreeSet<u32> {
    let mut strays = BTreeSet::new();
    let none = within(MOMENT, || {
        strays = tagged(tag);
        strays.retain(|pid| !workers.contains(&processes::group_of(*pid).unwrap_or(0)) && processes::is_alive(*pid));
        strays.len() <= fork_servers
    });
    if none { BTreeSet::new() } else { strays }
}

/// Sends signals to workers and to their fork servers, whatever they are doing.
pub fn strike_at_random(pool: &Pool<Order>, mut dice: Dice, stop: &AtomicBool) {
    while !stop.load(Ordering::SeqCst) {
        thread::sleep(Duration::from_millis(20 + dice.below(120)));
        let workers = pool.workers();
        if workers.is_empty() {
            continue;
        }
        let worker = &workers[dice.below(workers.len() as u64) as usize];
        let fork_server = worker.fork_server.filter(|_| dice.percent(25));
        let pid = fork_server.unwrap_or(worker.pid);
        let stops = dice.percent(40);
        // Before the signal: what comes of it may be judged at once. One that is gone already is struck no more.
        match fork_server {
            Some(_) if !processes::is_alive(pid) => continue,
            Some(_) => books::strike_fork_server(),
            None => books::strike(pid),
        }
        if !send(pid, if stops { Signal::STOP } else { Signal::KILL }) {
            continue;
        }
        let fault = match (fork_server.is_some(), stops) {
            (false, false) => Fault::Killed,
            (false, true) => Fault::Stopped,
            (true, false) => Fault::ForkServerKilled,
            (true, true) => Fault::ForkServerStopped,
        };
        books::note(fault, 1);
        if stops && dice.percent(60) {
            thread::sleep(Duration::from_millis(dice.below(300)));
            send(pid, Signal::CONT);
        }
    }
}

/// What is seen once it has stayed the same for this long.
fn rest<T: PartialEq>(length: Duration, mut look: impl FnMut() -> T) -> T {
    let (mut seen, mut since) = (look(), Instant::now());
    within(Duration::from_secs(10), || {
        thread::sleep(Duration::from_millis(10));
        let now = look();
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
        since.elapsed() >= length
    });
    seen
}

/// What this process has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holdings {
    pub children: BTreeSet<u32>,
    pub threads: usize,
    pub descriptors: usize,
}

impl Holdings {
    pub fn now() -> Self {
        let children = processes::children_of(process::id());
        Holdings { children, threads: processes::threads().len(), descriptors: processes::descriptors() }
    }

    /// What this process has once that stays the same for a while.
    pub fn at_rest() -> Self {
        rest(Duration::from_millis(50), Holdings::now)
    }

    /// Notes what is more now than it was then; `held`: while a grandchild that left its group holds all pipes.
    pub fn compare(&self, when: &str, held: bool) {
        let now = Holdings::now();
        let (children, descriptors) =
            (now.children.difference(&self.children).count(), now.descriptors.saturating_sub(self.descriptors));
        // A thread that has been joined may be listed for a moment longer.
        let mut threads = 0;
        within(MOMENT, || {
            threads = processes::threads().len().saturating_sub(self.threads);
            threads == 0
        });
        if children + descriptors + threads > 0 {
            let names = processes::threads().join(" ");
            books::wrong(format!(
                "{when}: {children} children, {threads} threads, {descriptors} descriptors left; threads: {names}"
            ));
        }
        books::add(&books::CHILDREN_LEFT, children as u64);
        books::add(&books::THREADS_LEFT, threads as u64);
        let of = if held { &books::DESCRIPTORS_LEFT_WHILE_HELD } else { &books::DESCRIPTORS_LEFT };
        books::add(of, descriptors as u64);
    }
}

/// How much memory this process has, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Of the heap, what is in use: exact.
    pub in_use: u64,
    /// Resident, with what the allocator keeps of freed memory. That depends on which thread freed what when: a flood
    /// that is over may leave tens of MiB, which the next one uses again.
    pub kept: u64,
    /// Resident, once the allocator has given that back.
    pub resident: u64,
}

impl Memory {
    /// What there is once the pool has given back the buffers that it keeps for a tenth of a second. No more than `most` of
    /// the heap may be in use then; where more is, what holds it has the watchdog's time to let it go.
    pub fn at_rest(most: u64) -> Self {
        if !within(WATCHDOG, || counting::IN_USE.load(Ordering::SeqCst) as u64 <= most) {
            eprintln!("more than {most} bytes are in use; (size, pieces): {:?}", counting::pieces());
        }
        let in_use = rest(Duration::from_millis(300), || counting::IN_USE.load(Ordering::SeqCst) as u64);
        let kept = resident();
        raw::give_back();
        Memory { in_use, kept, resident: resident() }
    }
}

fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
}
