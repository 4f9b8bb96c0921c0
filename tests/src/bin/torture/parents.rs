//! Parents that come to their end in the middle of a load: within a second nothing is left of their workers' groups.

use crate::books::{self, Fault};
use crate::deed::{Deed, Order, Then, Told, this_program};
use crate::hunt;
use crate::kit;
use hirelings::{Bytes, JobHandle, Pool};
use hirelings_tests::dice::Dice;
use hirelings_tests::{WATCHDOG, processes, within};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Stdio, abort, exit};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};
use std::{io, thread};

/// The ways to end, what they count as, and whether a signal from outside does it.
const ENDS: [(&str, Fault); 5] = [
    ("kill", Fault::ParentKilled),
    ("terminate", Fault::ParentTerminated),
    ("panic", Fault::ParentPanics),
    ("abort", Fault::ParentAborts),
    ("exit", Fault::ParentExits),
];

/// How long the last process may take, beside what it waits for a core. Interpreters that have to be woken one after the other
/// take longer.
fn limit() -> Duration {
    Duration::from_secs(if kit::kit() == kit::Kit::Rust { 1 } else { 3 })
}

/// How long each of these processes has waited for a core so far.
fn waits(pids: &BTreeSet<u32>) -> BTreeMap<u32, Duration> {
    pids.iter().map(|&pid| (pid, processes::waited_for_a_core(pid))).collect()
}

/// What a parent's workers do all the time.
const CONSTANT: [Deed; 7] = [
    Deed::Spin,
    Deed::Hang,
    Deed::Stop,
    Deed::StopChild,
    Deed::Hold { away: false, then: Then::Rests },
    Deed::LeaveChildren { then: Then::Rests },
    Deed::Hold { away: true, then: Then::Rests },
];

/// Lets one parent come to each end.
pub fn end_all(tag: &str, dice: &mut Dice, from: &mut u64) {
    for (end, fault) in ENDS {
        *from += 1;
        match end_one(&format!("{tag}-parent{from}"), end, dice) {
            Ok(()) => books::note(fault, 1),
            Err(why) => books::wrong(format!("a parent that was to {end}: {why}")),
        }
    }
}

fn end_one(tag: &str, end: &str, dice: &mut Dice) -> io::Result<()> {
    let mut command = this_program("parent", tag);
    command.args([end, &dice.roll().to_string()]);
    let mut parent = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let verdict = watch_end(&mut parent, tag, end, dice);
    let _ = parent.kill();
    let _ = parent.wait();
    hunt::kill_all(tag);
    verdict
}

fn watch_end(parent: &mut Child, tag: &str, end: &str, dice: &mut Dice) -> io::Result<()> {
    let mut line = String::new();
    BufReader::new(parent.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?).read_line(&mut line)?;
    if line.trim() != "ready" {
        return Err(io::Error::other(format!("it said {line:?}")));
    }
    // Itself, seven workers that have a lasting job, and five children of theirs in their groups.
    let (mut there, mut stopped) = (0, 0);
    let all_are_there = within(WATCHDOG, || {
        let before = hunt::tagged(tag);
        there = before.len();
        stopped = before.iter().filter(|&&pid| processes::is_stopped(pid)).count();
        there >= 6 + CONSTANT.len() * kit::kit().processes() && stopped >= 2
    });
    if !all_are_there {
        return Err(io::Error::other(format!("only {there} processes, {stopped} of them stopped")));
    }
    // At any moment of their work.
    thread::sleep(Duration::from_millis(dice.below(60)));
    match end {
        "kill" => parent.kill()?,
        "terminate" => drop(hunt::send(parent.id(), rustix::process::Signal::TERM)),
        _ => parent.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?.write_all(b"\n")?,
    }
    let status = parent.wait()?;
    let ended = Instant::now();
    let before = waits(&hunt::tagged(tag));
    let mut left = BTreeSet::new();
    within(WATCHDOG, || {
        left = hunt::tagged(tag);
        let waited = waits(&left)
            .into_iter()
            .map(|(pid, all)| all.saturating_sub(before.get(&pid).copied().unwrap_or_default()));
        left.is_empty() || ended.elapsed() > limit() + waited.max().unwrap_or_default()
    });
    let took = ended.elapsed();
    books::at_least(&books::SLOWEST_END_MS, took.as_millis() as u64);
    if !left.is_empty() {
        books::add(&books::LEFT_BY_PARENTS, left.len() as u64);
        let described: Vec<_> =
            left.iter().map(|&pid| (pid, processes::state(pid), processes::group_of(pid))).collect();
        let gone = within(WATCHDOG, || hunt::tagged(tag).is_empty());
        let more = ended.elapsed();
        return Err(io::Error::other(format!(
            "{status}, and after {took:?} are left {described:?}; all gone: {gone}, after {more:?}"
        )));
    }
    Ok(())
}

/// The parent: a lasting job for each kind of worker, a load beside them, and an end in the middle of it.
pub fn parent(tag: &str, end: &str, seed: u64) {
    let mut dice = Dice::new(seed);
    let builder = kit::pool(tag).max_processes(CONSTANT.len() + 2).timeout_working(None).max_jobs_per_process(20);
    let pool = builder.build().expect("a pool");
    let (told, begun) = channel();
    let mut lasting: Vec<JobHandle<Order>> = Vec::new();
    for deed in CONSTANT {
        let told = told.clone();
        let request = pool.request(Order::of(deed, dice.roll())).on_progress(move |progress| {
            if matches!(progress, Told::Working | Told::Held(_)) {
                let _ = told.send(());
            }
        });
        lasting.push(request.enqueue());
    }
    // All but the one that sleeps tell.
    for _ in 1..CONSTANT.len() {
        begun.recv_timeout(WATCHDOG).expect("a worker begins");
    }
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&stop);
    thread::spawn(move || {
        if io::stdin().read(&mut [0]).is_ok_and(|read| read == 1) {
            asked.store(true, Ordering::SeqCst);
        }
    });
    load(&pool, &mut dice);
    println!("ready");
    io::stdout().flush().expect("an output");
    while !stop.load(Ordering::SeqCst) {
        load(&pool, &mut dice);
    }
    let _in_the_middle = give(&pool, &mut dice);
    match end {
        "panic" => panic!("the end"),
        "abort" => abort(),
        _ => exit(0),
    }
}

fn give(pool: &Pool<Order>, dice: &mut Dice) -> Vec<JobHandle<Order>> {
    // None of these has children: of a worker that dies by itself in its parent's last instant nobody is left who knows.
    let deeds = [Deed::Echo, Deed::Echo, Deed::Echo, Deed::Exit, Deed::Panic, Deed::Segfault];
    let order = |dice: &mut Dice| Order {
        bytes: Bytes(vec![1; dice.pick(&[0, 10, 100_000])]),
        ..Order::of(dice.pick(&deeds), dice.roll())
    };
    (0..10).map(|_| pool.enqueue(order(dice))).collect()
}

fn load(pool: &Pool<Order>, dice: &mut Dice) {
    for job in give(pool, dice) {
        let _ = job.wait();
    }
}
