//! The seeded world around the state machine: virtual time, workers that do whatever workers do, callers at random.
//!
//! Everything is drawn from one `u64`. `HIRELINGS_SEED=N cargo test -p hirelings sim` replays one world and prints what
//! happened; `HIRELINGS_SEEDS=N` runs so many.
//!
//! The parts: [`world`] moves messages and time, [`actor`] is one worker process, [`checker`] watches every effect and
//! knows the rules, independently of the machine.

mod actor;
mod checker;
mod explore;
mod far;
pub(crate) mod fuzz;
mod hosts;
mod saboteur;
mod world;

use saboteur::Sabotage;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::{env, fmt};
use world::World;

/// A small generator (splitmix64): the same numbers from the same seed, on every machine.
#[derive(Clone, Debug)]
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        Rng(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(super) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

/// What one world came to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) steps: u64,
    pub(super) jobs: u64,
    pub(super) retried: u64,
    pub(super) killed: u64,
    pub(super) prefetched: u64,
    pub(super) came_back: u64,
}

/// Runs one world, with something spoiled in it or not; what was found wrong, if anything.
fn run(seed: u64, sabotage: Option<Sabotage>, trace: bool) -> Result<Tally, String> {
    let outcome = catch_unwind(AssertUnwindSafe(|| World::new(seed, sabotage, trace).run()));
    match outcome {
        Ok(found) => found,
        Err(panic) => Err(format!("panicked: {}", crate::panic::text_of(&*panic))),
    }
}

fn from_env(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

struct Replay(u64);

impl fmt::Display for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "replay it with: HIRELINGS_SEED={} cargo test -p hirelings sim -- --nocapture", self.0)
    }
}

#[test]
fn every_rule_holds_in_every_world() {
    if let Some(seed) = from_env("HIRELINGS_SEED") {
        if let Err(found) = run(seed, None, true) {
            panic!("seed {seed}: {found}");
        }
        return;
    }
    let seeds = from_env("HIRELINGS_SEEDS").unwrap_or(1_000);
    let mut all = Tally::default();
    for seed in 0..seeds {
        match run(seed, None, false) {
            Ok(tally) => {
                all.steps += tally.steps;
                all.jobs += tally.jobs;
                all.retried += tally.retried;
                all.killed += tally.killed;
                all.prefetched += tally.prefetched;
                all.came_back += tally.came_back;
            }
            Err(found) => panic!("seed {seed}: {found}\n{}", Replay(seed)),
        }
    }
    println!("{seeds} worlds: {all:?}");
    // A simulator in which nothing happens would find nothing.
    assert!(all.jobs >= seeds && all.retried >= seeds / 4 && all.killed >= seeds / 2, "{all:?}");
    assert!(all.prefetched >= seeds / 4 && all.came_back >= seeds / 20, "{all:?}");
}

#[test]
fn the_same_seed_is_the_same_world() {
    let [first, second] = [7, 7].map(|seed| run(seed, None, false).unwrap());
    assert_eq!((first.steps, first.jobs, first.killed), (second.steps, second.jobs, second.killed));
}

/// The simulator is only as good as what it finds: whatever is spoiled is found, and soon.
#[test]
fn every_sabotage_is_found() {
    let within = from_env("HIRELINGS_SEEDS").unwrap_or(2_000);
    // What is spoiled often breaks an invariant of the machine's own; its words are not wanted here.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    // What takes thousands of worlds is left to a run that asks for as many.
    let all = saboteur::all().into_iter().filter(|of| within >= 50_000 || !saboteur::RARE.contains(of));
    let find = |sabotage| (0..within).find_map(|seed| Some((seed, run(seed, Some(sabotage), false).err()?)));
    let lives = all.filter(|&sabotage| {
        let first = find(sabotage);
        match &first {
            Some((seed, words)) => println!("{sabotage:?}: seed {seed}: {words}"),
            None => println!("{sabotage:?}: not found"),
        }
        first.is_none()
    });
    let lives: Vec<_> = lives.collect();
    std::panic::set_hook(hook);
    assert!(lives.is_empty(), "not found in {within} worlds: {lives:?}");
}
