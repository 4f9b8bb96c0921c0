//! The parent runs out of descriptors, and of processes, and gets them back.

use crate::begun;
use crate::books::{self, Fault};
use crate::deed::{Deed, Order, this_program};
use crate::hunt::{self, Holdings};
use crate::kit::{self, STRANGER};
use crate::ledger::{Ledger, enqueue};
use hirelings::{JobError, Pool};
use hirelings_tests::dice::Dice;
use hirelings_tests::{WATCHDOG, processes};
use rustix::process::{Resource, Rlimit, getrlimit, getuid, setrlimit};
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{iter, thread};

/// Runs out of descriptors for a moment, again and again; a few may be left.
pub fn run_out_of_descriptors(mut dice: Dice, stop: &AtomicBool) {
    while !stop.load(Ordering::SeqCst) {
        thread::sleep(Duration::from_millis(100 + dice.below(300)));
        let before = getrlimit(Resource::Nofile);
        let highest = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
        let highest = highest.filter_map(|entry| entry.file_name().to_str()?.parse::<u64>().ok()).max().unwrap_or(64);
        books::short();
        if setrlimit(Resource::Nofile, Rlimit { current: Some(highest + 1), ..before }).is_err() {
            continue;
        }
        let mut holes: Vec<File> = iter::from_fn(|| File::open("/dev/null").ok()).collect();
        // A start fails at another place for each number that is left.
        holes.truncate(holes.len().saturating_sub(dice.below(12) as usize));
        thread::sleep(Duration::from_millis(dice.below(120)));
        drop(holes);
        if setrlimit(Resource::Nofile, before).is_ok() {
            books::note(Fault::NoDescriptors, 1);
        }
        books::short();
    }
}

/// Runs this program as another user, where this one is the superuser, who does not feel the limit.
pub fn run_out_of_processes(tag: &str, dice: &mut Dice, times: u64) {
    if !kit::feels_shortage() {
        return;
    }
    let tag = format!("{tag}-poor");
    let mut command = this_program("poor", &tag);
    command.args([dice.roll().to_string(), times.to_string()]);
    if getuid().is_root() {
        command.uid(STRANGER).gid(STRANGER);
    }
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => return books::wrong(format!("the poor could not be started: {error}")),
    };
    let (told, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let figures: Vec<u64> = told.split_whitespace().filter_map(|figure| figure.parse().ok()).collect();
    let [shortages, enqueued, settled, twice, children, threads, descriptors, wrong] = figures[..] else {
        return books::wrong(format!("the poor ended with {}: {told}{errors}", output.status));
    };
    books::note(Fault::NoProcesses, shortages);
    for (of, count) in [
        (&books::ENQUEUED, enqueued),
        (&books::SETTLED, settled),
        (&books::SETTLED_TWICE, twice),
        (&books::CHILDREN_LEFT, children),
        (&books::THREADS_LEFT, threads),
        (&books::DESCRIPTORS_LEFT, descriptors),
    ] {
        books::add(of, count);
    }
    if wrong > 0 {
        books::wrong(format!("the poor: {errors}"));
        books::add(&books::WRONG, wrong - 1);
    }
    let left = hunt::strays(&tag, &Default::default(), 0);
    if !left.is_empty() {
        books::wrong(format!("the poor left processes: {left:?}"));
        books::add(&books::CHILDREN_LEFT, left.len() as u64);
    }
}

/// The other user's program: prints its figures.
pub fn poor(tag: &str, seed: u64, times: u64) {
    let mut dice = Dice::new(seed);
    begun::note_successes(tag);
    let rest = Holdings::at_rest();
    let (builder, ledger) = Ledger::of(kit::pool(tag).max_processes(4).max_jobs_per_process(2).start_failures(2));
    let pool = match builder.kill_grace(Duration::from_millis(100)).build() {
        Ok(pool) => pool,
        Err(error) => return eprintln!("no pool: {error}"),
    };
    for _ in 0..times {
        run_out(&pool, &ledger, tag, &mut dice);
        let (handle, watch) = enqueue(&pool, &ledger, Order::of(Deed::Echo, dice.roll()), false, |request| request);
        match handle.wait_timeout(WATCHDOG) {
            Ok(result) => {
                watch.handed(&result);
                if let Err(error) = result {
                    books::wrong(format!("processes could be started again, and yet: {error}"));
                }
            }
            Err(_) => books::wrong("no job was done though processes could be started again"),
        }
        books::note(Fault::NoProcesses, 1);
    }
    ledger.close();
    pool.exit();
    ledger.settle(&pool);
    drop(pool);
    rest.compare("after shortages of processes", false);
    let figures = [
        books::count(Fault::NoProcesses),
        books::get(&books::ENQUEUED),
        books::get(&books::SETTLED),
        books::get(&books::SETTLED_TWICE),
        books::get(&books::CHILDREN_LEFT),
        books::get(&books::THREADS_LEFT),
        books::get(&books::DESCRIPTORS_LEFT),
        books::get(&books::WRONG),
    ];
    println!("{}", figures.map(|figure| figure.to_string()).join(" "));
}

/// No process and no thread can be started for a while, in which jobs are enqueued and workers die.
fn run_out(pool: &Pool<Order>, ledger: &Arc<Ledger>, tag: &str, dice: &mut Dice) {
    let before = getrlimit(Resource::Nproc);
    books::short();
    let some: Vec<_> = (0..dice.below(6)).map(|_| (Deed::Echo, dice.roll())).collect();
    let more: Vec<_> = (0..4).map(|_| (dice.pick(&[Deed::Echo, Deed::Exit, Deed::Panic]), dice.roll())).collect();
    let give = |(deed, nonce)| enqueue(pool, ledger, Order::of(deed, nonce), false, |request| request);
    let mut jobs: Vec<_> = some.into_iter().map(give).collect();
    if let Err(error) = setrlimit(Resource::Nproc, Rlimit { current: Some(1), ..before }) {
        books::wrong(format!("no limit on processes: {error}"));
    }
    jobs.extend(more.into_iter().map(give));
    if dice.percent(50) {
        let threads = processes::threads().len();
        match kit::pool(tag).build() {
            Ok(_) => books::wrong("a pool was built though no thread could be started"),
            Err(_) if processes::threads().len() > threads + 4 => {
                books::wrong("a pool that was not built left threads")
            }
            Err(_) => {}
        }
    }
    thread::sleep(Duration::from_millis(dice.below(150)));
    // Half of the jobs settle in the shortage, those of the other half may outlast it.
    if dice.percent(50) {
        settle(jobs.drain(..));
    }
    if let Err(error) = setrlimit(Resource::Nproc, before) {
        books::wrong(format!("the limit on processes stays: {error}"));
    }
    settle(jobs.into_iter());
}

type Given = (hirelings::JobHandle<Order>, Arc<crate::ledger::Watch>);

fn settle(jobs: impl Iterator<Item = Given>) {
    for (handle, watch) in jobs {
        match handle.wait_timeout(WATCHDOG) {
            Ok(result) => {
                watch.handed(&result);
                if let Err(JobError::NoWorker(failure)) = &result
                    && failure.reason.is_empty()
                {
                    books::wrong("no worker would start, and nobody says why");
                }
            }
            Err(_) => books::wrong("a job was not settled in a shortage of processes"),
        }
    }
}
