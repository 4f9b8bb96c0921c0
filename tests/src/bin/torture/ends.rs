//! Pools that are ended in the middle of it all, while grandchildren that left their groups hold all pipes; and workers
//! that never read.

use crate::books::{self, Fault};
use crate::deed::{Deed, Order, Then};
use crate::hunt::{self, Holdings};
use crate::kit;
use crate::ledger::{Ledger, Watch, enqueue};
use crate::load;
use hirelings::{Bytes, JobError, JobHandle, Pool};
use hirelings_tests::dice::Dice;
use hirelings_tests::{WATCHDOG, processes};
use rustix::process::Signal;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

type Given = (JobHandle<Order>, Arc<Watch>);

/// How the pool is ended.
#[derive(Clone, Copy, Debug)]
enum End {
    Exit,
    Drop,
    Drain,
}

/// Builds a pool, gives it everything to do, and ends it while at least one grandchild is away with all pipes.
pub fn end_in_the_middle(tag: &str, dice: &mut Dice) {
    let rest = Holdings::at_rest();
    let tag = format!("{tag}-short");
    let builder = kit::pool(&tag).max_processes(5).max_jobs_per_process(1 + dice.below(4));
    let (builder, ledger) = Ledger::of(builder.kill_grace(Duration::from_millis(50)));
    let pool = match builder.build() {
        Ok(pool) => pool,
        Err(error) => return books::wrong(format!("no pool: {error}")),
    };
    let (held, away) = channel();
    let mut give = |deed: Deed| {
        let settings = load::settings(deed, dice, &held);
        enqueue(&pool, &ledger, Order::of(deed, dice.roll()), false, settings)
    };
    let holding = Deed::Hold { away: true, then: Then::Answers };
    let mut jobs: Vec<Given> = vec![give(holding), give(Deed::Hold { away: true, then: Then::Exits }), give(holding)];
    let others = [
        Deed::Hang,
        Deed::Spin,
        Deed::Stop,
        Deed::CloseOutput,
        Deed::LeaveChildren { then: Then::Rests },
        Deed::Segfault,
        Deed::FloodErrors { forever: true },
        Deed::FloodProgress { forever: true },
        Deed::StopChild,
        Deed::Echo,
    ];
    jobs.extend(others.map(&mut give));
    drop(held);
    let mut left = Vec::new();
    // One at least, or two, with the third perhaps about to leave.
    while left.len() < 2 {
        match away.recv_timeout(WATCHDOG) {
            Ok(pid) => left.push(pid),
            Err(_) => return books::wrong("no grandchild left its group"),
        }
    }
    std::thread::sleep(Duration::from_millis(dice.below(60)));
    ledger.close();
    let end = dice.pick(&[End::Exit, End::Drop, End::Drain]);
    match end {
        End::Exit => pool.exit(),
        End::Drain => drop(pool.drain(Duration::from_millis(dice.below(80)))),
        End::Drop => {}
    }
    if !matches!(end, End::Drop) {
        ledger.settle(&pool);
    }
    drop(pool);
    if !left.iter().all(|&pid| processes::is_alive(pid)) {
        books::wrong("what had left its group was ended with the pool");
    }
    rest.compare(&format!("after {end:?} with grandchildren that hold all pipes"), true);
    report_strays(&tag);
    left.extend(away.try_iter());
    for pid in left {
        hunt::send(pid, Signal::KILL);
    }
    for (handle, watch) in jobs {
        match handle.try_wait() {
            Ok(result) => watch.handed(&result),
            Err(_) => books::wrong(format!("a job is not settled after {end:?}: {watch:?}")),
        }
    }
    rest.compare(&format!("after {end:?}"), false);
    books::note(Fault::EndedMidLoad, 1);
}

/// Notes what is left of the groups of a pool that has ended.
pub fn report_strays(tag: &str) {
    let strays = hunt::strays(tag, &Default::default(), 0);
    if !strays.is_empty() {
        books::add(&books::CHILDREN_LEFT, strays.len() as u64);
        books::wrong(format!("processes of {tag} are left: {strays:?}"));
        strays.into_iter().for_each(processes::kill);
    }
}

/// How much is sent to a worker that does not read: many times what a pipe holds. In JSON it takes longer.
fn large() -> usize {
    if kit::kit() == kit::Kit::Rust { 64 << 20 } else { 8 << 20 }
}

/// Sends much to workers that never read, and to one that does.
pub fn send_to_those_that_never_read(tag: &str, dice: &mut Dice, times: u64) {
    let rest = Holdings::at_rest();
    let tag = format!("{tag}-never-reads");
    let builder = kit::pool(&tag).max_processes(2).kill_grace(Duration::from_millis(50));
    let (builder, ledger) = Ledger::of(builder);
    let pool = match builder.build() {
        Ok(pool) => pool,
        Err(error) => return books::wrong(format!("no pool: {error}")),
    };
    // The other worker is at something all the time, which nobody disturbs.
    let undisturbed = Order::of(Deed::Hang, dice.roll());
    let (at_rest, undisturbed) = enqueue(&pool, &ledger, undisturbed, true, |request| request.timeout(None));
    for _ in 0..times {
        send_to_one(&pool, &ledger, dice);
    }
    if undisturbed.is_settled() {
        books::wrong("a worker beside those that never read was disturbed");
    }
    at_rest.abort();
    ledger.close();
    pool.exit();
    ledger.settle(&pool);
    drop(pool);
    rest.compare("after workers that never read", false);
    report_strays(&tag);
}

fn send_to_one(pool: &Pool<Order>, ledger: &Arc<Ledger>, dice: &mut Dice) {
    let (handle, watch) = enqueue(pool, ledger, Order::of(Deed::StopReading, dice.roll()), false, |request| request);
    let answer = match handle.wait_timeout(WATCHDOG) {
        Ok(Ok(answer)) => answer,
        other => return books::wrong(format!("a worker did not stop reading: {watch:?} {other:?}")),
    };
    books::strike(answer.pid);
    let limit = Duration::from_millis(100 + dice.below(200));
    let large = |nonce| Order { deed: Deed::Swallow, nonce, bytes: Bytes(vec![nonce as u8; large()]) };
    let jobs = [
        enqueue(pool, ledger, large(dice.roll()), false, |request| request.timeout(limit)),
        // Its successor reads.
        enqueue(pool, ledger, large(dice.roll()), false, |request| request.timeout(WATCHDOG)),
    ];
    let mut came_to = Vec::new();
    for (handle, watch) in jobs {
        match handle.wait_timeout(WATCHDOG) {
            Ok(result) => {
                watch.handed(&result);
                came_to.push(result);
            }
            Err(_) => books::wrong("what is large was not settled"),
        }
    }
    match &came_to[..] {
        [Err(JobError::TimedOut(timeout)), Ok(_)] if timeout.pid == answer.pid => books::note(Fault::NeverReads, 1),
        other => books::wrong(format!("what is large for a worker that does not read, {}: {other:?}", answer.pid)),
    }
}
