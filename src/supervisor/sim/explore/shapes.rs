//! Which small worlds there are.

use super::super::from_env;
use crate::supervisor::{RetryPolicy, WhenFull};
use std::time::Duration;

/// How many options of the pool are gone through, and ways of its workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ways {
    All,
    /// Only with prefetched jobs, and one way for each number of jobs a process.
    Some,
    /// Prefetched jobs, with and without a key, to workers that do as they are told at once.
    Prefetched,
}

/// How many workers, jobs and troubles, and in which ways. `HIRELINGS_SMALL_WORLDS=3` asks for three jobs or two troubles, 32
/// for both, and 320 for both in every way, which takes days; all are for a release build.
fn sizes() -> &'static [(usize, u64, usize, Ways)] {
    match from_env("HIRELINGS_SMALL_WORLDS") {
        Some(3) => &[(2, 3, 1, Ways::All), (2, 2, 2, Ways::All)],
        Some(32) => &[(2, 3, 2, Ways::Prefetched)],
        Some(320) => &[(2, 3, 2, Ways::All)],
        _ => &[(2, 2, 1, Ways::Some), (1, 3, 1, Ways::All)],
    }
}

/// What goes wrong, at any moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Trouble {
    /// A worker dies.
    Crash,
    /// A worker hangs in its handler, and its job's limit ends it. Its guard answers recalls.
    Hang,
    /// The same, and nothing answers: it is stopped, as it were.
    Freeze,
    /// A worker writes what is no message.
    Garble,
    /// A worker ends with a terminal failure that names no job.
    Terminal,
    /// A worker holds more memory than it may.
    Grow,
    /// The fork server that has forked the workers dies.
    Orphan,
    Abort,
    /// A caller cancels a job, and gives it a grace time.
    Cancel,
    /// A caller aborts what no worker has begun, one job or all.
    AbortQueued,
    /// The pool is to have one worker in place of two, or the other way round.
    Resize,
    /// A caller waits until all workers are ready.
    AllWanted,
    /// All workers are to be replaced.
    Recycle,
    /// The callers pause the pool, and resume it at any moment after that.
    Pause,
    /// The callers close the pool.
    Drain,
    Exit,
}

/// What is set of the times of the pool, or of its jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Times {
    None,
    /// The second job is not queued before a time.
    Delay,
    /// A job is over at a time, unless a worker has begun it.
    Expires,
    /// Jobs are idempotent: no time, but as rare.
    Idempotent,
    /// Workers that have nothing to do leave.
    Idle,
    /// Old workers leave.
    Age,
    /// A job that takes long is asked to come to its end.
    SoftLimit,
}

impl Times {
    pub(super) fn is(self, of: Times, time: Duration) -> Option<Duration> {
        (self == of).then_some(time)
    }

    /// What goes wrong where they are set: what they have to do with.
    fn troubles(self) -> &'static [Option<Trouble>] {
        use Trouble::*;
        match self {
            Times::None => &[],
            Times::Delay => &[None, Some(Crash), Some(AbortQueued), Some(Pause), Some(Drain)],
            Times::Expires => &[None, Some(Crash), Some(Freeze), Some(AbortQueued), Some(Cancel), Some(Pause)],
            Times::Idempotent => &[Some(Crash), Some(Garble), Some(Freeze), Some(Cancel)],
            Times::Idle => &[None, Some(AllWanted), Some(Resize), Some(Pause)],
            Times::Age => &[None, Some(AllWanted), Some(Resize)],
            Times::SoftLimit => &[None, Some(Hang), Some(Freeze), Some(Cancel), Some(AbortQueued)],
        }
    }

    /// Whether they are those of jobs, and not of workers.
    pub(super) fn are_of_jobs(self) -> bool {
        !matches!(self, Times::None | Times::Idle | Times::Age)
    }

    /// How many workers and jobs there are: workers leave where there are others.
    fn size(self) -> (usize, u64) {
        if self.are_of_jobs() { (1, 3) } else { (2, 2) }
    }
}

/// The pool's options, and the workers' way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) workers: usize,
    pub(super) jobs: u64,
    pub(super) troubles: [Option<Trouble>; 2],
    pub(super) times: Times,
    pub(super) prefetch: u32,
    pub(super) max_jobs: u64,
    pub(super) max_backlog: Option<usize>,
    pub(super) retries: u32,
    /// Whether all jobs are of one key, of which one may run.
    pub(super) keyed: bool,
    /// Whether the last job has a limit of its own, and the second a higher priority.
    pub(super) differ: bool,
    /// Whether a worker says ready in a frame of its own.
    pub(super) recovers: bool,
    pub(super) ignores_term: bool,
}

impl Shape {
    /// A retry waits where jobs differ.
    pub(super) fn retry(self) -> RetryPolicy {
        let wait = if self.differ { Duration::from_millis(4) } else { Duration::ZERO };
        RetryPolicy::new(self.retries).backoff(wait, wait).jitter(0.0)
    }

    /// What the caller of this job wants while the backlog is full.
    pub(super) fn when_full(self, id: u64) -> WhenFull {
        match id % 3 {
            0 if self.differ => WhenFull::Exceed,
            1 if self.differ => WhenFull::Refuse,
            _ => WhenFull::Wait,
        }
    }
}

/// What goes wrong: one thing, or each pair of things.
fn troubles(count: usize) -> Vec<[Option<Trouble>; 2]> {
    use Trouble::*;
    const ALL: [Trouble; 15] = [
        Crash,
        Hang,
        Freeze,
        Garble,
        Terminal,
        Grow,
        Orphan,
        Abort,
        Cancel,
        AbortQueued,
        Resize,
        Recycle,
        Pause,
        Drain,
        Exit,
    ];
    if count == 1 {
        return [None].into_iter().chain(ALL.map(Some)).map(|trouble| [trouble, None]).collect();
    }
    let pairs = ALL.iter().enumerate().flat_map(|(at, &first)| ALL[at..].iter().map(move |&second| (first, second)));
    // Drained or ended twice is drained or ended once.
    let pairs =
        pairs.filter(|(first, second)| first != second || matches!(first, Crash | Abort | Cancel | AbortQueued | Hang));
    pairs.map(|(first, second)| [Some(first), Some(second)]).collect()
}

pub(super) fn shapes() -> Vec<Shape> {
    let options = [
        (0, 64, Some(1), false),
        (0, 1, None, false),
        (2, 64, None, false),
        (2, 2, Some(1), false),
        (1, 64, Some(1), true),
    ];
    let ways = [(false, false), (true, true)];
    let mut shapes = Vec::new();
    for &(workers, jobs, count, of) in sizes() {
        for troubles in troubles(count) {
            for (at, (prefetch, max_jobs, max_backlog, keyed)) in options.into_iter().enumerate() {
                let ways = match (of, prefetch, max_jobs) {
                    (Ways::All, _, _) => &ways[..],
                    (Ways::Some, 0, _) | (Ways::Prefetched, 0, _) => &[],
                    (Ways::Some | Ways::Prefetched, _, 64) => &ways[..1],
                    (Ways::Some, _, _) => &ways[1..],
                    (Ways::Prefetched, _, _) => &[],
                };
                for &(recovers, ignores_term) in ways {
                    let (retries, differ) = ([1, 0, 1, 2, 1][at], prefetch > 0 && recovers);
                    shapes.push(Shape {
                        workers,
                        jobs,
                        troubles,
                        times: Times::None,
                        prefetch,
                        max_jobs,
                        max_backlog,
                        retries,
                        keyed,
                        differ,
                        recovers,
                        ignores_term,
                    });
                }
            }
        }
    }
    shapes.extend(shapes_with_times());
    shapes
}

/// One way for each of the times: all of them at once would be too many states.
fn shapes_with_times() -> impl Iterator<Item = Shape> {
    use Times::*;
    let each = [Delay, Expires, Idempotent, Idle, Age, SoftLimit].into_iter();
    let each = each.flat_map(|times| times.troubles().iter().map(move |&trouble| (times, trouble)));
    each.map(|(times, trouble)| {
        let (workers, jobs) = times.size();
        Shape {
            workers,
            jobs,
            troubles: [trouble, Option::None],
            times,
            prefetch: 2,
            max_jobs: 64,
            max_backlog: Option::None,
            retries: 0,
            keyed: false,
            differ: false,
            recovers: false,
            ignores_term: false,
        }
    })
}
