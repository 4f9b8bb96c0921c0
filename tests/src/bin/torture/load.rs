//! Callers that enqueue what is seldom good, and seldom behave.

use crate::books::{self, Fault};
use crate::deed::{Deed, Order, Then, Told};
use crate::hunt;
use crate::ledger::{Ledger, Watch, enqueue};
use hirelings::{AbortHandle, Bytes, JobHandle, JobRequest, Pool, ProgressStream};
use hirelings_tests::dice::Dice;
use hirelings_tests::{WATCHDOG, within};
use rustix::process::Signal;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// A limit for those that end their worker themselves: one that is over is a death that was missed.
const SLOW: Duration = Duration::from_secs(30);

/// How many jobs a caller has at once.
const AT_ONCE: usize = 12;

const DEEDS: [(u64, Deed); 24] = [
    (36, Deed::Echo),
    (4, Deed::Swallow),
    (3, Deed::Fail),
    (3, Deed::Panic),
    (3, Deed::Exit),
    (4, Deed::Segfault),
    (4, Deed::Abort),
    (4, Deed::Overflow),
    (4, Deed::Exhaust),
    (4, Deed::CutFrame),
    (4, Deed::CloseOutput),
    (2, Deed::Hold { away: false, then: Then::Exits }),
    (2, Deed::Hold { away: false, then: Then::Answers }),
    (2, Deed::Hold { away: true, then: Then::Exits }),
    (2, Deed::Hold { away: true, then: Then::Answers }),
    (2, Deed::LeaveChildren { then: Then::Answers }),
    (2, Deed::LeaveChildren { then: Then::Exits }),
    (2, Deed::FloodErrors { forever: false }),
    (2, Deed::FloodErrors { forever: true }),
    (2, Deed::FloodProgress { forever: false }),
    (2, Deed::FloodProgress { forever: true }),
    (3, Deed::Hang),
    (2, Deed::Spin),
    (2, Deed::Echo),
];

/// What the caller does once its job is enqueued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Waits,
    Drops,
    AbortsAtOnce,
    AbortsAtStart,
    AbortsLater(Duration),
}

fn choose_deed(dice: &mut Dice) -> Deed {
    let mut roll = dice.below(DEEDS.iter().map(|(weight, _)| weight).sum());
    for (weight, deed) in DEEDS {
        if roll < weight {
            return deed;
        }
        roll -= weight;
    }
    Deed::Echo
}

fn choose_manner(dice: &mut Dice) -> Manner {
    match dice.below(100) {
        0..12 => Manner::Drops,
        12..16 => Manner::AbortsAtOnce,
        16..20 => Manner::AbortsAtStart,
        20..28 => Manner::AbortsLater(Duration::from_millis(dice.below(80))),
        _ => Manner::Waits,
    }
}

fn choose_order(dice: &mut Dice) -> Order {
    let mut order = Order::of(choose_deed(dice), dice.roll());
    if matches!(order.deed, Deed::Echo | Deed::Swallow) {
        let length = dice.pick(&[0, 1, 100, 4000, 70_000, 300_000]) as usize;
        order.bytes = Bytes(vec![order.nonce as u8; length]);
    }
    order
}

/// One caller, until it is told to stop; then it waits for all that it has enqueued.
pub fn call(pool: &Pool<Order>, ledger: &Arc<Ledger>, mut dice: Dice, held: &Sender<u32>, stop: &AtomicBool) {
    let mut waiting: VecDeque<Waiting> = VecDeque::new();
    let mut loose: Vec<Arc<Watch>> = Vec::new();
    let mut later: Vec<(Instant, AbortHandle)> = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        let order = choose_order(&mut dice);
        let manner = choose_manner(&mut dice);
        let deed = order.deed;
        let aborted = matches!(manner, Manner::AbortsAtOnce | Manner::AbortsAtStart | Manner::AbortsLater(_));
        let settings = settings(deed, &mut dice, held);
        let (handle, watch) = enqueue(pool, ledger, order, aborted, settings);
        let floods = matches!(deed, Deed::FloodProgress { .. });
        let progress = (floods && dice.percent(40)).then(|| handle.progress());
        match manner {
            Manner::Waits => {}
            Manner::AbortsAtOnce => handle.abort(),
            Manner::AbortsAtStart => {
                let abort = handle.abort_handle();
                handle.on_start(move || abort.abort());
            }
            Manner::AbortsLater(after) => later.push((Instant::now() + after, handle.abort_handle())),
            Manner::Drops => {
                drop(handle);
                books::note(Fault::CallerDrops, 1);
                loose.push(watch);
                loose.retain(|watch| !watch.is_settled());
                continue;
            }
        }
        waiting.push_back(Waiting { handle, watch, progress });
        later.retain(|(at, abort)| {
            let due = *at <= Instant::now();
            if due {
                abort.abort();
            }
            !due
        });
        while waiting.len() >= AT_ONCE {
            let patience = Duration::from_millis(20);
            if let Some(first) = waiting.pop_front()
                && let Some(not_yet) = first.wait(patience)
            {
                waiting.push_back(not_yet);
            }
            if stop.load(Ordering::SeqCst) {
                break;
            }
        }
    }
    later.iter().for_each(|(_, abort)| abort.abort());
    for last in waiting {
        if let Some(lost) = last.wait(WATCHDOG) {
            books::wrong(format!("a job was not settled within {WATCHDOG:?}: {:?}", lost.watch));
        }
    }
    if !within(WATCHDOG, || loose.iter().all(|watch| watch.is_settled())) {
        books::wrong(format!("a job without a handle was not settled within {WATCHDOG:?}"));
    }
}

struct Waiting {
    handle: JobHandle<Order>,
    watch: Arc<Watch>,
    /// Which nobody reads.
    progress: Option<ProgressStream<Told>>,
}

impl Waiting {
    /// Itself, where the job is not settled in time.
    fn wait(self, patience: Duration) -> Option<Waiting> {
        let Waiting { handle, watch, progress } = self;
        match handle.wait_timeout(patience) {
            Ok(result) => {
                watch.handed(&result);
                None
            }
            Err(handle) => Some(Waiting { handle, watch, progress }),
        }
    }
}

/// The limit, the retries and the hooks of a deed.
pub fn settings(
    deed: Deed,
    dice: &mut Dice,
    held: &Sender<u32>,
) -> impl FnOnce(JobRequest<'_, Order>) -> JobRequest<'_, Order> + use<> {
    let endless = matches!(
        deed,
        Deed::Hang | Deed::Spin | Deed::FloodErrors { forever: true } | Deed::FloodProgress { forever: true }
    );
    // On a busy machine it may take longer than the pool's limit to look a backtrace up, or to run out of memory.
    let is_slow = deed.ends_worker() || deed == Deed::Panic;
    let limit = endless.then(|| Duration::from_millis(20 + dice.below(200))).or(is_slow.then_some(SLOW));
    let (retries, priority) = (dice.below(2) as u32, dice.below(3) as i32 - 1);
    let held = held.clone();
    move |request| {
        let request = match limit {
            Some(limit) => request.timeout(limit),
            None => request,
        };
        let request = request.retries(retries).priority(priority);
        match deed {
            Deed::Hold { away, .. } => request.on_progress(move |told| {
                if let Told::Held(pid) = told {
                    books::note(if away { Fault::HeldAway } else { Fault::Held }, 1);
                    if away {
                        let _ = held.send(pid);
                    }
                }
            }),
            Deed::FloodProgress { .. } if retries == 0 => request.on_progress(drop),
            _ => request,
        }
    }
}

/// Kills grandchildren that have left their group, each after a while.
pub fn end_the_away(held: &Receiver<u32>) {
    let mut alive: VecDeque<(Instant, u32)> = VecDeque::new();
    let after = Duration::from_millis(500);
    loop {
        let next = alive.front().map_or(WATCHDOG, |(at, _)| (*at + after).saturating_duration_since(Instant::now()));
        match held.recv_timeout(next) {
            Ok(pid) => alive.push_back((Instant::now(), pid)),
            Err(RecvTimeoutError::Timeout) => {
                if let Some((_, pid)) = alive.pop_front() {
                    hunt::send(pid, Signal::KILL);
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    for (_, pid) in alive {
        hunt::send(pid, Signal::KILL);
    }
}

/// The load of one round: callers, signals and shortages, all at once. Returns once all is settled.
pub fn round(pool: &Pool<Order>, ledger: &Arc<Ledger>, dice: &mut Dice, length: Duration) {
    let stop = AtomicBool::new(false);
    let (held, away) = channel();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let (dice, held, stop) = (dice.split(), held.clone(), &stop);
            scope.spawn(move || call(pool, ledger, dice, &held, stop));
        }
        drop(held);
        let (strikes, shortages, stop) = (dice.split(), dice.split(), &stop);
        scope.spawn(move || hunt::strike_at_random(pool, strikes, stop));
        scope.spawn(move || crate::shortage::run_out_of_descriptors(shortages, stop));
        scope.spawn(move || end_the_away(&away));
        std::thread::sleep(length);
        stop.store(true, Ordering::SeqCst);
    });
}
