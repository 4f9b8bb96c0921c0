//! An attempt runs at most once, and nobody suffers from another's end: mixtures of short jobs with all that can end a
//! worker, held against what the handlers have noted.
//!
//! `HIRELINGS_MIXTURES=20` repeats each in full size (20,000 jobs) that many times; see docs/testing.md.

use hirelings::{PoolBuilder, StartMethod};
use hirelings_tests::dice::Dice;
use hirelings_tests::mixture::{Act, Deed, End, Figures, Order, Trial, pool, stubborn, worker};
use hirelings_tests::signals::{Strike, strike};
use hirelings_tests::started;
use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// How many jobs a mixture in full size has, and the share of them that one has in short.
const WHOLE: usize = 20_000;
const SHORT: usize = 1_000;

const DEADLY: [Deed; 3] = [Deed::Exit, Deed::Kill, Deed::Abort];

/// One mixture, of one number of workers.
pub(super) struct Mixing {
    pub(super) dice: Dice,
    pub(super) workers: usize,
    jobs: usize,
    whole: bool,
    pools: Pools,
}

/// Makes a pool of so many workers.
type Pools = fn(usize) -> PoolBuilder<Act>;

/// Goes through a mixture with 1, 2, 4 and 8 workers: in short, or as often and in the size that the environment asks for.
fn mixed(name: &str, mix: impl Fn(&mut Mixing) -> Figures) {
    mixed_in(name, |workers| started(pool(worker("kit"), workers)), &[1, 2, 4, 8], SHORT, mix);
}

/// The same with other workers, so many of them, and so many jobs in short.
pub(super) fn mixed_in(name: &str, pools: Pools, counts: &[usize], short: usize, mix: impl Fn(&mut Mixing) -> Figures) {
    let times: Option<u64> = env::var("HIRELINGS_MIXTURES").ok().map(|times| times.parse().expect("a number of times"));
    let seed: u64 = env::var("HIRELINGS_SEED").map_or(1, |seed| seed.parse().expect("a seed"));
    let whole = times.is_some();
    let jobs = if whole { WHOLE } else { short };
    for &workers in counts {
        let mut all = Figures::default();
        for time in 0..times.unwrap_or(1) {
            let mut mixing = Mixing { dice: Dice::new(seed + time), workers, jobs, whole, pools };
            println!("{name}, {workers} workers, seed {}", seed + time);
            all.add(mix(&mut mixing));
        }
        println!("{name:20} {workers} workers: {all}");
    }
}

impl Mixing {
    pub(super) fn pool(&self) -> PoolBuilder<Act> {
        (self.pools)(self.workers)
    }

    /// Every so manieth of the jobs is another, the others are short.
    pub(super) fn fill(
        &mut self,
        trial: &mut Trial,
        micros: u32,
        every: usize,
        mut other: impl FnMut(&mut Dice) -> Order,
    ) {
        for n in 0..self.jobs {
            let order = if n % every == every - 1 { other(&mut self.dice) } else { Order::answer(micros) };
            trial.enqueue(order);
        }
    }

    /// Callers abort jobs while the others are done: one of four anywhere, the others among those that run or are next.
    /// On a busy machine all may be done before this thread has its turn: then as many come once more.
    pub(super) fn abort(&mut self, trial: &mut Trial) {
        let times = if self.whole { 200 } else { 40 };
        let mut aborted = self.abort_from(trial, 0, times);
        for _ in 0..20 {
            // A run in which nothing was aborted proves nothing.
            if aborted >= times / 40 {
                return;
            }
            let first = trial.jobs();
            (0..self.jobs).for_each(|_| trial.enqueue(Order::answer(200)));
            aborted += self.abort_from(trial, first, times);
        }
        panic!("only {aborted} aborts of {times} came in time");
    }

    /// Tries so many times to abort one of the jobs from `first` on, which are the last ones. Gives how many it has aborted.
    fn abort_from(&mut self, trial: &mut Trial, first: usize, times: usize) -> usize {
        let mut aborted = 0;
        for time in 1..=times {
            trial.await_done(first + time * self.jobs / (times + 2));
            if self.dice.percent(25) {
                let at = first + self.dice.below(self.jobs as u64) as usize;
                aborted += usize::from(trial.abort(at));
                continue;
            }
            // Those that run may be done: then it tries further on.
            let mut within = 8 * self.workers;
            loop {
                let at = trial.oldest() + self.dice.below(within as u64) as usize;
                if at >= first + self.jobs || trial.abort(at) {
                    aborted += usize::from(at < first + self.jobs);
                    break;
                }
                within *= 2;
            }
        }
        aborted
    }

    /// Strikes workers from outside until all is settled.
    pub(super) fn under(&mut self, trial: &mut Trial, how: &[Strike], meanwhile: impl FnOnce(&mut Self, &mut Trial)) {
        let stop = AtomicBool::new(false);
        let pool = Arc::clone(&trial.pool);
        let killed: Vec<u32> = thread::scope(|scope| {
            let (pool, stop) = (&pool, &stop);
            let strikes: Vec<_> = how
                .iter()
                .map(|&how| {
                    let dice = self.dice.split();
                    scope.spawn(move || strike(pool, dice, how, stop))
                })
                .collect();
            // However this ends: else the strikes go on.
            let stopping = Stopping(stop);
            meanwhile(self, trial);
            trial.await_done(trial.jobs());
            drop(stopping);
            strikes.into_iter().flat_map(|strike| strike.join().expect("strikes").killed).collect()
        });
        trial.excuse(killed);
    }
}

/// Tells the strikes to stop once it is dropped.
struct Stopping<'a>(&'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// One that ends its worker.
pub(super) fn deadly(dice: &mut Dice) -> Order {
    Order::of(30, dice.pick(&DEADLY), 0, u32::MAX)
}

#[test]
fn exits_kills_and_aborts_by_jobs() {
    mixed("deaths", |mixing| {
        let mut trial = Trial::of(mixing.pool());
        mixing.fill(&mut trial, 30, 20, deadly);
        trial.finish()
    });
}

#[test]
fn deaths_that_are_retried() {
    mixed("deaths, retried", |mixing| {
        let mut trial = Trial::of(mixing.pool());
        mixing.fill(&mut trial, 30, 40, |dice| {
            let deed = dice.pick(&[Deed::Exit, Deed::Kill, Deed::Abort, Deed::Panic, Deed::Fail]);
            Order::of(dice.below(100) as u32, deed, 1, dice.pick(&[2, u32::MAX]))
        });
        trial.finish()
    });
}

#[test]
fn aborts_by_callers() {
    mixed("aborts", |mixing| {
        let mut trial = Trial::of(mixing.pool());
        mixing.fill(&mut trial, 200, usize::MAX, deadly);
        mixing.abort(&mut trial);
        trial.finish()
    });
}

#[test]
fn aborts_of_workers_that_ignore_sigterm() {
    mixed("aborts, stubborn", |mixing| {
        let mut trial = Trial::of(started(pool(stubborn("kit"), mixing.workers)).kill_grace(Duration::from_millis(20)));
        mixing.fill(&mut trial, 200, usize::MAX, deadly);
        mixing.abort(&mut trial);
        trial.finish()
    });
}

/// Jobs of 1 ms with a limit of 1 ms, longer ones, and one that is longer than the pool's limit and has none.
pub(super) fn limited(dice: &mut Dice) -> Order {
    let limit = Some(Duration::from_millis(1));
    match dice.below(4) {
        0 => Order::limited(1_000 + dice.below(200) as u32, limit, End::TimedOutOrSuccess),
        1 => Order::limited(2_000 + dice.below(3_000) as u32, None, End::Success),
        _ => Order::limited(1_000_000, limit, End::TimedOut),
    }
}

#[test]
fn limits_of_time() {
    mixed("limits", |mixing| {
        let mut trial = Trial::of(mixing.pool().timeout_working(Duration::from_secs(2)));
        if mixing.whole {
            trial.enqueue(Order::limited(2_500_000, None, End::Success));
        }
        mixing.fill(&mut trial, 30, 40, limited);
        trial.finish()
    });
}

#[test]
fn priorities() {
    mixed("priorities", |mixing| {
        let mut trial = Trial::of(mixing.pool());
        for n in 0..mixing.jobs {
            let dice = &mut mixing.dice;
            let order = match n % 40 {
                39 => deadly(dice),
                0..4 => Order::of(30, Deed::Fail, 1, 2),
                _ => Order::answer(30),
            };
            trial.enqueue(Order { priority: dice.below(5) as i32 - 2, ..order });
        }
        trial.finish()
    });
}

#[test]
fn soft_limits_of_memory() {
    mixed("soft memory", |mixing| {
        let mut trial = Trial::of(mixing.pool().max_memory(24 << 20, None));
        mixing.fill(&mut trial, 30, 4, |_| Order::of(30, Deed::Leak(1024), 0, u32::MAX));
        trial.finish()
    });
}

#[test]
fn recycling_after_some_jobs() {
    mixed("recycling", |mixing| {
        let most = mixing.dice.pick(&[7, 50]);
        let mut trial = Trial::of(mixing.pool().max_jobs_per_process(most));
        mixing.fill(&mut trial, 30, 50, |dice| match dice.below(4) {
            0 => Order::limited(3_000, None, End::Success),
            1 => deadly(dice),
            _ => Order::of(30, Deed::Retire, 0, u32::MAX),
        });
        mixing.abort(&mut trial);
        trial.at_most_per_process(most);
        trial.finish()
    });
}

#[test]
fn workers_that_never_say_start() {
    mixed("silent", |mixing| {
        let mut trial = Trial::of(pool(worker("silent"), mixing.workers).timeout_working(Duration::from_secs(10)));
        mixing.fill(&mut trial, 60, 40, |dice| match dice.below(3) {
            0 => limited(dice),
            1 => Order::of(30, Deed::Retire, 0, u32::MAX),
            _ => deadly(dice),
        });
        mixing.abort(&mut trial);
        trial.finish()
    });
}

#[test]
fn terminal_failures_that_name_no_job() {
    mixed("terminal, no job", |mixing| {
        let mut trial = Trial::of(pool(worker("silent"), mixing.workers));
        mixing.fill(&mut trial, 30, 40, |dice| Order::of(dice.below(60) as u32, Deed::Terminal, 1, dice.pick(&[2, 3])));
        trial.finish()
    });
}

#[test]
fn workers_that_are_stopped_and_continued() {
    mixed("stopped", |mixing| {
        let mut trial = Trial::of(mixing.pool());
        mixing.fill(&mut trial, 60, 20, |dice| match dice.below(4) {
            0 => deadly(dice),
            _ => Order::answer(3_000),
        });
        mixing.under(&mut trial, &[Strike::Pause(Duration::from_millis(1_200))], |_, _| {});
        trial.finish()
    });
}

#[test]
fn workers_that_are_killed_from_outside() {
    mixed("killed from outside", |mixing| {
        let mut trial = Trial::of(mixing.pool());
        mixing.fill(&mut trial, 100, 100, |_| Order::answer(3_000));
        mixing.under(&mut trial, &[Strike::Kill], |_, _| {});
        trial.finish()
    });
}

#[test]
fn fork_servers_that_are_killed() {
    mixed("fork servers killed", |mixing| {
        let pool = mixing.pool().start_method(StartMethod::ForkServer).max_jobs_per_process(50);
        let mut trial = Trial::of(pool);
        mixing.under(&mut trial, &[Strike::KillForkServer], |mixing, trial| {
            // However fast the machine is, some are killed while there are jobs.
            for _ in 0..100 {
                if trial.pool.stats().fork_servers_spawned >= 4 {
                    return;
                }
                mixing.fill(trial, 1_000, 20, |dice| match dice.below(2) {
                    0 => deadly(dice),
                    _ => Order::answer(3_000),
                });
                trial.await_done(trial.jobs());
            }
            panic!("too few fork servers were killed: {:?}", trial.pool.stats());
        });
        trial.at_most_per_process(50);
        trial.finish()
    });
}

#[test]
fn all_of_it_at_once() {
    mixed("all at once", |mixing| {
        let kind = mixing.dice.pick(&["kit", "silent"]);
        let most = mixing.dice.pick(&[50, 1_000_000]);
        let pool = pool(worker(kind), mixing.workers).max_jobs_per_process(most);
        // Who does the protocol by hand cannot be forked.
        let mut trial = Trial::of(if kind == "kit" { started(pool) } else { pool });
        // Behind the back of a kit that says Start that could come after it, which breaks the protocol.
        let last = if kind == "silent" { Deed::Terminal } else { Deed::Panic };
        let deeds = [Deed::Exit, Deed::Kill, Deed::Abort, Deed::Panic, Deed::Fail, last, Deed::Retire];
        mixing.fill(&mut trial, 60, 30, |dice| {
            let order = match dice.below(3) {
                0 => limited(dice),
                _ => {
                    let retries = dice.below(3) as u32;
                    Order::of(dice.below(100) as u32, dice.pick(&deeds), retries, dice.pick(&[2, 3, u32::MAX]))
                }
            };
            Order { priority: dice.below(3) as i32 - 1, ..order }
        });
        let strikes = [Strike::Kill, Strike::Pause(Duration::from_millis(300))];
        mixing.under(&mut trial, &strikes, |mixing, trial| mixing.abort(trial));
        trial.at_most_per_process(most);
        trial.finish()
    });
}
