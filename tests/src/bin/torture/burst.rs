//! Many short jobs, which are prefetched, while workers exit and are stopped, and callers abort what runs and what is prefetched.

use crate::books::{self, Fault};
use crate::deed::{Deed, Order};
use crate::ends;
use crate::hunt::Holdings;
use crate::kit;
use crate::ledger::{Ledger, Watch, enqueue};
use hirelings::{JobHandle, JobStatus, Pool};
use hirelings_tests::dice::Dice;
use hirelings_tests::signals::{Strike, strike};
use hirelings_tests::{WATCHDOG, within};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// How many jobs one has.
const JOBS: u32 = 3_000;

/// How far behind the first job that is not done those are that are aborted.
const NEXT: usize = 100;

struct Given {
    handle: JobHandle<Order>,
    watch: Arc<Watch>,
    to_be_aborted: bool,
}

/// Builds a pool, gives it all at once, and waits for the end of it.
pub fn burst(tag: &str, dice: &mut Dice) {
    let rest = Holdings::at_rest();
    let tag = format!("{tag}-burst");
    let slowness = kit::kit().slowness();
    let most = dice.pick(&[20 * u64::from(slowness), 10_000]);
    let builder = kit::pool(&tag).max_processes(dice.pick(&[1, 2, 4, 8])).max_jobs_per_process(most);
    let builder = builder.timeout_working(None).kill_grace(Duration::from_millis(50)).timeout_initializing(WATCHDOG);
    let (builder, ledger) = Ledger::of(builder);
    let pool = match builder.build() {
        Ok(pool) => pool,
        Err(error) => return books::wrong(format!("no pool: {error}")),
    };
    let jobs: Vec<Given> = (0..JOBS / slowness).map(|_| give(&pool, &ledger, dice)).collect();
    let stop = AtomicBool::new(false);
    let pauses = thread::scope(|scope| {
        let (pool, stop, strikes) = (&pool, &stop, dice.split());
        let longest = Duration::from_millis(300);
        let strikes = scope.spawn(move || strike(pool, strikes, Strike::Pause(longest), stop));
        abort_the_next(&jobs, dice);
        let settled = within(WATCHDOG, || jobs.iter().all(|given| given.watch.is_settled()));
        stop.store(true, Ordering::SeqCst);
        if !settled {
            books::wrong(format!("short jobs were not settled within {WATCHDOG:?}: {:?}", pool.stats()));
        }
        strikes.join().map_or(0, |struck| struck.pauses)
    });
    books::note(Fault::Paused, pauses);
    for Given { handle, watch, .. } in jobs {
        match handle.try_wait() {
            Ok(result) => watch.handed(&result),
            Err(_) => books::wrong(format!("a short job is not settled: {watch:?}")),
        }
    }
    pool.exit();
    ledger.settle(&pool);
    drop(pool);
    rest.compare("after many short jobs", false);
    ends::report_strays(&tag);
}

fn give(pool: &Pool<Order>, ledger: &Arc<Ledger>, dice: &mut Dice) -> Given {
    let deed = match dice.below(100) {
        0..2 => dice.pick(&[Deed::Exit, Deed::Abort, Deed::Segfault]),
        2..4 => Deed::Fail,
        _ => Deed::Echo,
    };
    let (to_be_aborted, retries) = (dice.percent(5), dice.below(2) as u32);
    let order = Order::of(deed, dice.roll());
    let (handle, watch) = enqueue(pool, ledger, order, to_be_aborted, |request| request.retries(retries));
    Given { handle, watch, to_be_aborted }
}

/// Aborts jobs as they run or are about to, until all is done.
fn abort_the_next(jobs: &[Given], dice: &mut Dice) {
    let (mut oldest, mut aborted) = (0, BTreeSet::new());
    within(WATCHDOG, || {
        while jobs.get(oldest).is_some_and(|given| given.handle.is_finished()) {
            oldest += 1;
        }
        let last = (oldest + dice.below(NEXT as u64) as usize).min(jobs.len());
        for (at, given) in jobs.iter().enumerate().take(last).skip(oldest) {
            if given.to_be_aborted && !given.handle.is_finished() && aborted.insert(at) {
                let waits = given.handle.status() == JobStatus::Queued;
                given.handle.abort();
                books::note(Fault::AbortedPrefetched, u64::from(waits));
            }
        }
        oldest == jobs.len()
    });
}
