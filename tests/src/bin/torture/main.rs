//! Tortures pools of real processes, for minutes: `--minutes N` or `--seconds N`, `--seed N` to make the same choices
//! again, and `--kit python` or `--kit node` for workers in another language (`tests/workers/torture.py` and `torture.js`). With `HIRELINGS_TEST_START=half` in the environment the workers of every second pool are forked, with `=fork` all of
//! them. At the end it prints one line of JSON; it exits with 1 if anything was lost, left behind or wrong.
//!
//! This program is also its own worker, its workers' children, and the parents that come to their end.

mod begun;
mod books;
mod burst;
mod deed;
mod ends;
mod hunt;
mod kit;
mod ledger;
mod load;
mod parents;
mod raw;
mod shortage;
mod worker;

use begun::Begun;
use books::Fault;
use hirelings_tests::WATCHDOG;
use hirelings_tests::counting::Counting;
use hirelings_tests::dice::Dice;
use hunt::{Holdings, Memory};
use kit::Kit;
use ledger::Ledger;
use std::collections::BTreeSet;
use std::process::{exit, id};
use std::time::{Duration, Instant, SystemTime};
use std::{env, thread};

/// A run of this length or more must have brought about each fault [`EACH`] times, a shorter one once.
const WHOLE_RUN: Duration = Duration::from_secs(60);
/// Workers of other languages take much longer to start; a run of theirs that is shorter than this need not have met all.
const WHOLE_RUN_OF_KITS: Duration = Duration::from_secs(1200);
const EACH: u64 = 20;
/// There is one of each of the parents' ends in every round.
const EACH_END: u64 = 3;
/// The quicker a machine is, the fewer workers are paused before a burst is over.
const PAUSES: u64 = 3;
/// One of four signals goes to a fork server.
const OF_FORK_SERVERS: u64 = 3;

/// The most that the resident memory may have grown since the process was warm; asked of whole runs only, since a short
/// one ends before the allocator has seen all that comes.
const GROWTH: u64 = 16 << 20;
/// And of its heap, what may be in use more.
const LEAK: u64 = 1 << 20;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() {
    let arguments: Vec<String> = env::args().collect();
    let number = |at: usize| arguments.get(at).and_then(|text| text.parse().ok()).unwrap_or(0);
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[1..] {
        ["worker", _] => worker::main(),
        ["sleeper", _, how] => worker::sleeper(how),
        ["parent", tag, end, _] => parents::parent(tag, end, number(4)),
        ["poor", tag, _, _] => shortage::poor(tag, number(3), number(4)),
        _ => torture(&arguments[1..]),
    }
}

struct Options {
    length: Duration,
    seed: u64,
}

impl Options {
    fn of(arguments: &[String]) -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut options = Options { length: WHOLE_RUN, seed: since.as_secs() };
        for pair in arguments.chunks(2) {
            match (pair[0].as_str(), pair.get(1).and_then(|text| text.parse::<u64>().ok())) {
                ("--minutes", Some(minutes)) => options.length = Duration::from_secs(60 * minutes),
                ("--seconds", Some(seconds)) => options.length = Duration::from_secs(seconds),
                ("--seed", Some(seed)) => options.seed = seed,
                ("--kit", _) if pair.get(1).is_some_and(|name| kit::choose(name)) => {}
                _ => {
                    eprintln!("usage: torture [--minutes N | --seconds N] [--seed N] [--kit rust|python|node]");
                    exit(2)
                }
            }
        }
        options
    }
}

fn torture(arguments: &[String]) {
    raw::keep_little();
    let options = Options::of(arguments);
    let tag = format!("torture-{}", id());
    eprintln!("seed {}", options.seed);
    if !kit::feels_shortage() {
        eprintln!("{} cannot be run by another user: no run out of processes", kit::interpreter());
    }
    watch_over(tag.clone());
    let begin = Instant::now();
    begun::note_successes(&tag);
    let nothing = Holdings::at_rest();
    let Rounds { warm, end, number: rounds, forked } = rounds(&options, &tag, begin);
    nothing.compare("in the end", false);
    hunt::kill_all(&tag);
    let begun = begun::judge(&tag);

    let (growth, leak) = (grown(warm, end, |memory| memory.resident), grown(warm, end, |memory| memory.in_use));
    let whole = options.length >= if kit::kit() == Kit::Rust { WHOLE_RUN } else { WHOLE_RUN_OF_KITS };
    // What an allocator keeps of the larger buffers of JSON depends on more.
    if whole && growth > GROWTH * u64::from(kit::kit().slowness()) || leak > LEAK {
        books::wrong(format!("{growth} bytes more are resident than in the beginning, {leak} more are in use"));
    }
    let (enqueued, settled) = (books::get(&books::ENQUEUED), books::get(&books::SETTLED));
    if enqueued != settled {
        books::wrong(format!("{enqueued} jobs were enqueued, {settled} settled"));
    }
    for &(fault, name) in Fault::ALL {
        let ends = [
            Fault::ParentKilled,
            Fault::ParentTerminated,
            Fault::ParentPanics,
            Fault::ParentAborts,
            Fault::ParentExits,
            Fault::EndedMidLoad,
        ];
        let of_fork_servers = [Fault::ForkServerKilled, Fault::ForkServerStopped];
        let rust = kit::kit() == Kit::Rust;
        let enough = match whole {
            // A short run may strike none by chance.
            _ if of_fork_servers.contains(&fault) => OF_FORK_SERVERS * u64::from(whole && forked),
            _ if fault == Fault::NoProcesses && !kit::feels_shortage() => 0,
            true if ends.contains(&fault) => EACH_END,
            true if fault == Fault::Paused => PAUSES,
            true => EACH,
            false => u64::from(rust || ends.contains(&fault)),
        };
        if books::count(fault) < enough {
            books::wrong(format!("{name} was brought about {} times, not {enough}", books::count(fault)));
        }
    }
    report(&options, begin.elapsed(), rounds, begun, [warm, end]);
    exit(i32::from(books::get(&books::WRONG) > 0))
}

/// What the rounds came to.
#[derive(Default)]
struct Rounds {
    /// The memory after the first and after the last.
    warm: Memory,
    end: Memory,
    number: u64,
    /// Whether the workers of the pool that goes through all of them are forked: it is its fork servers that are struck.
    forked: bool,
}

fn rounds(options: &Options, tag: &str, begin: Instant) -> Rounds {
    let mut dice = Dice::new(options.seed);
    // At least two, so that the first can be for warming up; what comes after the load takes some seconds.
    let load = (options.length / 4).min(Duration::from_secs(5));
    let whole = load == Duration::from_secs(5);
    let builder = kit::pool(tag).name("long").max_processes(8).max_jobs_per_process(12);
    let builder = builder.kill_grace(Duration::from_millis(100)).timeout_working(Duration::from_secs(4));
    let (builder, ledger) = Ledger::of(builder);
    let pool = match builder.build() {
        Ok(pool) => pool,
        Err(error) => {
            books::wrong(format!("no pool: {error}"));
            return Rounds::default();
        }
    };
    let forked = pool.stats().fork_servers_spawned > 0;
    let (mut warm, mut memory, mut number, mut parents) = (Memory::default(), Memory::default(), 0, 0);
    let least = if kit::kit() == Kit::Rust || whole { 2 } else { 1 };
    while number < least || begin.elapsed() + load < options.length {
        number += 1;
        load::round(&pool, &ledger, &mut dice, load);
        let workers: BTreeSet<u32> = pool.workers().iter().map(|worker| worker.pid).collect();
        let strays = hunt::strays(tag, &workers, pool.stats().fork_servers);
        if !strays.is_empty() {
            books::add(&books::CHILDREN_LEFT, strays.len() as u64);
            books::wrong(format!("processes in the groups of workers that are no more: {strays:?}"));
        }
        for _ in 0..least {
            burst::burst(tag, &mut dice);
            ends::end_in_the_middle(tag, &mut dice);
        }
        ends::send_to_those_that_never_read(tag, &mut dice, if whole { 8 } else { 2 });
        shortage::run_out_of_processes(tag, &mut dice, if whole { 7 } else { 3 });
        parents::end_all(tag, &mut dice, &mut parents);
        if !pool.wait_idle_timeout(WATCHDOG) {
            books::wrong(format!("a worker was busy {WATCHDOG:?} after all was settled: {:?}", pool.workers()));
        }
        memory = Memory::at_rest(if number == 1 { u64::MAX } else { warm.in_use + LEAK });
        if number == 1 {
            warm = memory;
        }
        let (jobs, seconds) = (books::get(&books::SETTLED), begin.elapsed().as_secs());
        eprintln!("round {number}: after {seconds} s {jobs} jobs, {memory:?}");
    }
    ledger.close();
    pool.exit();
    ledger.settle(&pool);
    drop(pool);
    ends::report_strays(tag);
    Rounds { warm, end: memory, number, forked }
}

/// Ends the run where something hangs for good: where nothing has been settled or brought about for a long time. A round takes as
/// long as the machine lets it.
fn watch_over(tag: String) {
    let limit = Duration::from_secs(180) * kit::kit().slowness();
    let done = || books::get(&books::SETTLED) + Fault::ALL.iter().map(|&(fault, _)| books::count(fault)).sum::<u64>();
    thread::spawn(move || {
        let (mut before, mut since) = (done(), Instant::now());
        while since.elapsed() < limit {
            thread::sleep(Duration::from_secs(1));
            if done() != before {
                (before, since) = (done(), Instant::now());
            }
        }
        println!("{{\"hangs\":true,\"wrong\":{}}}", books::get(&books::WRONG) + 1);
        hunt::kill_all(&tag);
        exit(1)
    });
}

fn grown(warm: Memory, end: Memory, of: impl Fn(Memory) -> u64) -> u64 {
    of(end).saturating_sub(of(warm))
}

fn report(options: &Options, took: Duration, rounds: u64, begun: Begun, [warm, end]: [Memory; 2]) {
    let figures = [
        ("seed", options.seed),
        ("seconds", took.as_secs()),
        ("rounds", rounds),
        ("enqueued", books::get(&books::ENQUEUED)),
        ("settled", books::get(&books::SETTLED)),
        ("settled_twice", books::get(&books::SETTLED_TWICE)),
        ("begun", begun.attempts),
        ("begun_twice", begun.twice),
        ("succeeded_never_begun", begun.never),
        ("children_left", books::get(&books::CHILDREN_LEFT)),
        ("threads_left", books::get(&books::THREADS_LEFT)),
        ("descriptors_left", books::get(&books::DESCRIPTORS_LEFT)),
        ("descriptors_left_while_pipes_are_held", books::get(&books::DESCRIPTORS_LEFT_WHILE_HELD)),
        ("resident_warm_bytes", warm.resident),
        ("resident_end_bytes", end.resident),
        ("resident_growth_bytes", grown(warm, end, |memory| memory.resident)),
        ("resident_growth_with_freed_bytes", grown(warm, end, |memory| memory.kept)),
        ("heap_growth_bytes", grown(warm, end, |memory| memory.in_use)),
        ("left_by_parents", books::get(&books::LEFT_BY_PARENTS)),
        ("slowest_end_after_parent_ms", books::get(&books::SLOWEST_END_MS)),
        ("wrong", books::get(&books::WRONG)),
    ];
    let faults = Fault::ALL.iter().map(|&(fault, name)| (name, books::count(fault)));
    let line = |figures: Vec<(&str, u64)>| {
        figures.iter().map(|(name, figure)| format!("\"{name}\":{figure}")).collect::<Vec<_>>().join(",")
    };
    println!(
        "{{\"kit\":\"{}\",{},\"faults\":{{{}}}}}",
        kit::kit().name(),
        line(figures.to_vec()),
        line(faults.collect())
    );
}
