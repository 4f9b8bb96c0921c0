//! Jobs that note that they have begun, some of which end their worker; and a trial, which holds what a pool says of them
//! against the notes. Done by `src/bin/mixture.rs`.

mod judge;

pub use judge::Figures;

use crate::starts;
use crate::{Scratch, WATCHDOG, program};
use crossbeam_channel::{Receiver, unbounded};
use hirelings::{Begun, Event, EventKind, Job, JobHandle, Pool, PoolBuilder, Stderr};
use judge::Judge;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// One job: it works for so long, does its deed, and answers if it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    pub micros: u32,
    pub deed: Deed,
    /// Attempts from this one on do nothing but work.
    pub until: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Deed {
    Answer,
    Fail,
    Exit,
    Kill,
    Abort,
    Panic,
    /// Writes a terminal failure that names no job, and exits.
    Terminal,
    /// Takes so many KiB of memory for good.
    Leak(u32),
    Retire,
}

impl Job for Act {
    type Output = ();
    type Progress = ();
    type Error = String;
}

/// A worker of these jobs: it takes the place where it notes starts from the pool's options. Its first argument is
/// `silent` where it is to be one that never says Start.
pub fn worker(kind: &str) -> Command {
    let mut command = Command::new(program("mixture"));
    // A backtrace takes many times as long as its job.
    command.arg(kind).env("RUST_BACKTRACE", "0");
    command
}

/// The same with SIGTERM ignored.
pub fn stubborn(kind: &str) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg("trap '' TERM; exec \"$0\" \"$1\"").arg(program("mixture")).arg(kind);
    shell
}

/// A pool that says nothing and has no limit of time.
pub fn pool(command: Command, workers: usize) -> PoolBuilder<Act> {
    let pool = crate::builder::<Act>(command).stderr(Stderr::Null).max_processes(workers).timeout_working(None);
    let pool = pool.max_jobs_per_process(1_000_000).kill_grace(Duration::from_millis(100));
    pool.timeout_initializing(WATCHDOG).start_failures(1_000)
}

/// What a job is to come to, if nobody aborts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Success,
    Failed,
    Crashed,
    Panicked,
    TimedOut,
    /// Either: its limit is about as long as it is.
    TimedOutOrSuccess,
}

/// A job with its settings, and what it is to come to.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    pub act: Act,
    pub retries: u32,
    pub priority: i32,
    /// Its own limit, where it has one; `Some(None)` is none at all.
    pub limit: Option<Option<Duration>>,
    pub end: End,
}

impl Order {
    pub fn answer(micros: u32) -> Self {
        let act = Act { micros, deed: Deed::Answer, until: u32::MAX };
        Order { act, retries: 0, priority: 0, limit: None, end: End::Success }
    }

    /// One that does a deed in all attempts before `until`, and has so many attempts more than one.
    pub fn of(micros: u32, deed: Deed, retries: u32, until: u32) -> Self {
        let end = match deed {
            _ if until <= retries + 1 => End::Success,
            Deed::Answer | Deed::Leak(_) | Deed::Retire => End::Success,
            Deed::Fail => End::Failed,
            Deed::Exit | Deed::Kill | Deed::Abort => End::Crashed,
            Deed::Panic | Deed::Terminal => End::Panicked,
        };
        Order { act: Act { micros, deed, until }, retries, end, ..Order::answer(micros) }
    }

    pub fn limited(micros: u32, limit: Option<Duration>, end: End) -> Self {
        Order { limit: Some(limit), end, ..Order::answer(micros) }
    }

    /// How many of its attempts are used up by what it does itself.
    fn own_failures(&self) -> u32 {
        match self.act.deed {
            _ if self.end == End::TimedOut => self.retries + 1,
            Deed::Answer | Deed::Leak(_) | Deed::Retire => 0,
            _ => (self.act.until - 1).min(self.retries + 1),
        }
    }
}

/// What a pool has said of one job.
#[derive(Debug, Default)]
struct Told {
    done: u32,
    /// The last attempt of which Task was said, and whether the job has been queued since.
    task: (u32, bool),
    retries: Vec<Begun>,
    started: BTreeSet<u32>,
    faults: Vec<String>,
}

impl Told {
    fn hear(&mut self, event: &Event) {
        let attempt = event.attempt().unwrap_or(0);
        let due = self.retries.len() as u32 + 1;
        match event.kind() {
            EventKind::Done => self.done += 1,
            EventKind::Backlog => self.task.1 = true,
            EventKind::Task => {
                let (before, queued) = mem::replace(&mut self.task, (attempt, false));
                if attempt != due || (attempt == before && !queued) {
                    self.faults.push(format!("Task of attempt {attempt}, {due} is due, {before} was the last"));
                }
            }
            EventKind::JobStart if !self.started.insert(attempt) || attempt != due => {
                self.faults.push(format!("JobStart of attempt {attempt}, {due} is due"));
            }
            EventKind::JobRetry => {
                if attempt != due {
                    self.faults.push(format!("JobRetry of attempt {attempt}, {due} is due"));
                }
                self.retries.push(event.error::<Act>().map_or(Begun::Perhaps, |error| error.begun()));
            }
            _ => {}
        }
    }
}

/// What all hooks of a pool have told.
#[derive(Debug)]
struct Heard {
    jobs: Mutex<BTreeMap<u64, Told>>,
    done: AtomicUsize,
}

/// One pool, its jobs, and what is noted and told of them.
pub struct Trial {
    pub pool: Arc<Pool<Act>>,
    notes: Scratch,
    heard: Arc<Heard>,
    done: Receiver<()>,
    jobs: Vec<(Order, JobHandle<Act>)>,
    /// By index.
    aborted: BTreeSet<usize>,
    /// How many workers of each process id were sent SIGKILL from outside.
    struck: BTreeMap<u32, usize>,
    most: u64,
    oldest: usize,
    begin: Instant,
}

impl Trial {
    /// # Panics
    ///
    /// Where the pool cannot be built.
    pub fn of(pool: PoolBuilder<Act>) -> Self {
        let notes = Scratch::new();
        let heard = Arc::new(Heard { jobs: Mutex::default(), done: AtomicUsize::new(0) });
        let (tell, done) = unbounded();
        let mut pool = pool.options(&notes.path());
        for kind in [EventKind::Done, EventKind::Backlog, EventKind::Task, EventKind::JobStart, EventKind::JobRetry] {
            let (heard, tell) = (Arc::clone(&heard), tell.clone());
            pool = pool.on(kind, move |event| {
                let Some(job) = event.job() else { return };
                let mut jobs = heard.jobs.lock().unwrap_or_else(PoisonError::into_inner);
                jobs.entry(job.get()).or_default().hear(event);
                if event.kind() == EventKind::Done {
                    heard.done.fetch_add(1, Ordering::SeqCst);
                    let _ = tell.send(());
                }
            });
        }
        let (jobs, aborted, struck) = Default::default();
        let pool = Arc::new(pool.build().expect("a pool"));
        Trial { pool, notes, heard, done, jobs, aborted, struck, most: u64::MAX, oldest: 0, begin: Instant::now() }
    }

    pub fn enqueue(&mut self, order: Order) {
        let request = self.pool.request(order.act).retries(order.retries).priority(order.priority);
        let request = match order.limit {
            Some(limit) => request.timeout(limit),
            None => request,
        };
        let handle = request.enqueue();
        self.jobs.push((order, handle));
    }

    pub fn jobs(&self) -> usize {
        self.jobs.len()
    }

    /// The index of the first job that is not settled, or of none.
    pub fn oldest(&mut self) -> usize {
        while self.jobs.get(self.oldest).is_some_and(|(_, handle)| handle.is_finished()) {
            self.oldest += 1;
        }
        self.oldest
    }

    /// Blocks until so many jobs are settled.
    ///
    /// # Panics
    ///
    /// Where none is for as long as [`WATCHDOG`].
    pub fn await_done(&self, count: usize) {
        while self.heard.done.load(Ordering::SeqCst) < count {
            if self.done.recv_timeout(WATCHDOG).is_err() {
                panic!("nothing is settled any more: {:?}\n{:#?}", self.pool.stats(), self.pool.workers());
            }
        }
    }

    /// Aborts the job of this index, unless it is settled. Gives whether it was not.
    pub fn abort(&mut self, at: usize) -> bool {
        let Some((_, handle)) = self.jobs.get(at).filter(|(_, handle)| !handle.is_finished()) else { return false };
        handle.abort();
        self.aborted.insert(at)
    }

    /// These workers were killed by somebody else: each may have begun one job.
    pub fn excuse(&mut self, struck: impl IntoIterator<Item = u32>) {
        struck.into_iter().for_each(|pid| *self.struck.entry(pid).or_default() += 1);
    }

    /// No process may begin more jobs than this.
    pub fn at_most_per_process(&mut self, most: u64) {
        self.most = most;
    }

    /// Waits for the end of all, and looks at everything.
    ///
    /// # Panics
    ///
    /// Where anything is wrong; with all that is.
    pub fn finish(self) -> Figures {
        // However long it takes, as long as jobs settle.
        self.await_done(self.jobs.len());
        let Trial { pool, notes, heard, jobs, aborted, struck, most, begin, .. } = self;
        assert!(pool.wait_idle_timeout(WATCHDOG), "it is not idle: {:?}", pool.stats());
        let starts = starts::read(&notes.path());
        pool.exit();
        let after = starts::read(&notes.path()).len() - starts.len();
        let stats = pool.stats();
        let heard = mem::take(&mut *heard.jobs.lock().unwrap_or_else(PoisonError::into_inner));
        let mut judge = Judge { struck, ..Judge::default() };
        judge.figures = Figures {
            jobs: jobs.len(),
            begun: starts.len(),
            begun_twice: starts::begun_twice(&starts),
            retried: stats.retried,
            spawned: stats.spawned,
            ..Figures::default()
        };
        if after > 0 {
            judge.wrong(format!("{after} attempts began after the pool was idle"));
        }
        if stats.spawned != stats.exited || stats.enqueued != stats.succeeded + stats.failed + stats.aborted {
            judge.wrong(format!("the figures do not add up: {stats:?}"));
        }
        let mut by_process: BTreeMap<(u32, u64), u64> = BTreeMap::new();
        starts.iter().for_each(|start| *by_process.entry((start.pid, start.opened)).or_default() += 1);
        if let Some(((pid, _), begun)) = by_process.into_iter().find(|&(_, begun)| begun > most) {
            judge.wrong(format!("process {pid} has begun {begun} jobs, not at most {most}"));
        }
        judge.all(jobs, &aborted, &starts, &heard);
        judge.figures.took = begin.elapsed();
        let Judge { figures, wrongs, .. } = judge;
        assert!(wrongs.is_empty(), "{figures}\n{}", wrongs.join("\n"));
        figures
    }
}
