//! Jobs that note that they have begun, some of which end their worker; and a trial, which holds what a pool says of them
//! against the notes. Done by `src/bin/mixture.rs`.

use crate::starts::{self, Start};
use crate::{Scratch, WATCHDOG, program};
use crossbeam_channel::{Receiver, unbounded};
use hirelings::{Begun, Event, EventKind, Job, JobError, JobHandle, JobResult, Pool, PoolBuilder, Stderr};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Debug};
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
    let pool = Pool::<Act>::builder(command).stderr(Stderr::Null).max_processes(workers).timeout_working(None);
    pool.max_jobs_per_process(1_000_000).kill_grace(Duration::from_millis(100)).timeout_initializing(WATCHDOG)
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
    /// Workers that were sent SIGKILL from outside.
    struck: BTreeSet<u32>,
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
    pub fn excuse(&mut self, struck: BTreeSet<u32>) {
        self.struck.extend(struck);
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
        let Trial { pool, notes, heard, jobs, aborted, struck, most, begin, .. } = self;
        // Twice as long as anything else is waited for: it is many jobs.
        assert!(pool.wait_idle_timeout(2 * WATCHDOG), "idle: {:?}", pool.stats());
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
        // A process's number may come again, but not within so few.
        let mut by_process: BTreeMap<u32, u64> = BTreeMap::new();
        starts.iter().for_each(|start| *by_process.entry(start.pid).or_default() += 1);
        if let Some((pid, begun)) = by_process.into_iter().find(|&(_, begun)| begun > most) {
            judge.wrong(format!("process {pid} has begun {begun} jobs, not at most {most}"));
        }
        judge.all(jobs, &aborted, &starts, &heard);
        judge.figures.took = begin.elapsed();
        let Judge { figures, wrongs, .. } = judge;
        assert!(wrongs.is_empty(), "{figures}\n{}", wrongs.join("\n"));
        figures
    }
}

/// What came of a trial.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    pub jobs: usize,
    pub begun: usize,
    pub begun_twice: usize,
    pub succeeded: usize,
    pub crashed: usize,
    pub panicked: usize,
    pub timed_out: usize,
    pub failed: usize,
    pub aborted: usize,
    /// Of those that were aborted, how many had begun.
    pub aborted_begun: usize,
    /// Of those that did not succeed, how many may have begun as far as the pool knows.
    pub perhaps: usize,
    /// Jobs that came to something because of another.
    pub bystanders: usize,
    /// Jobs that a signal from outside has cost an attempt.
    pub excused: usize,
    pub retried: u64,
    pub spawned: u64,
    pub took: Duration,
}

impl Figures {
    pub fn add(&mut self, other: Figures) {
        self.jobs += other.jobs;
        self.begun += other.begun;
        self.begun_twice += other.begun_twice;
        self.succeeded += other.succeeded;
        self.crashed += other.crashed;
        self.panicked += other.panicked;
        self.timed_out += other.timed_out;
        self.failed += other.failed;
        self.aborted += other.aborted;
        self.aborted_begun += other.aborted_begun;
        self.perhaps += other.perhaps;
        self.bystanders += other.bystanders;
        self.excused += other.excused;
        self.retried += other.retried;
        self.spawned += other.spawned;
        self.took += other.took;
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures { jobs, begun, begun_twice, succeeded, crashed, panicked, timed_out, failed, .. } = self;
        let Figures { aborted, aborted_begun, perhaps, bystanders, excused, retried, spawned, took, .. } = self;
        write!(
            f,
            "jobs {jobs} begun {begun} begun_twice {begun_twice} bystanders {bystanders} succeeded {succeeded} "
        )?;
        write!(f, "crashed {crashed} panicked {panicked} timed_out {timed_out} failed {failed} aborted {aborted} ")?;
        write!(f, "(begun {aborted_begun}) perhaps {perhaps} excused {excused} retried {retried} spawned {spawned} ")?;
        write!(f, "in {:.1} s", took.as_secs_f64())
    }
}

/// Holds what was told against what was noted.
#[derive(Debug, Default)]
struct Judge {
    struck: BTreeSet<u32>,
    figures: Figures,
    wrongs: Vec<String>,
}

impl Judge {
    /// The first of these are kept.
    fn wrong(&mut self, what: String) {
        if self.wrongs.len() < 40 {
            self.wrongs.push(what);
        }
    }

    fn all(
        &mut self,
        jobs: Vec<(Order, JobHandle<Act>)>,
        aborted: &BTreeSet<usize>,
        starts: &[Start],
        heard: &BTreeMap<u64, Told>,
    ) {
        let noted = starts::by_job(starts);
        let (nothing, silence) = (Vec::new(), Told::default());
        let mut charged = BTreeSet::new();
        for (at, (order, handle)) in jobs.into_iter().enumerate() {
            let (id, begun) = (handle.id().get(), handle.begun());
            let noted = noted.get(&id).unwrap_or(&nothing);
            let told = heard.get(&id).unwrap_or(&silence);
            let Ok(result) = handle.try_wait() else {
                self.wrong(format!("job {id} ({order:?}) is not settled: {told:?}"));
                continue;
            };
            let case = Case { order, aborted: aborted.contains(&at), result: &result, begun, noted, told };
            if let Err(JobError::Crashed(crash)) = &result
                && self.struck.contains(&crash.pid)
                && order.end != End::Crashed
            {
                self.figures.excused += 1;
                if !charged.insert(crash.pid) {
                    self.wrong(format!("job {id}: the death of worker {} has cost two jobs something", crash.pid));
                }
            }
            self.count(&case);
            for fault in case.faults(&self.struck) {
                self.wrong(format!("job {id}: {fault}: {case:?}"));
            }
            if case.is_harmed(&self.struck) {
                self.figures.bystanders += 1;
                self.wrong(format!("job {id} came to what is not its own doing: {case:?}"));
            }
        }
    }

    fn count(&mut self, case: &Case<'_>) {
        let figures = &mut self.figures;
        let of = match case.result {
            Ok(()) => &mut figures.succeeded,
            Err(JobError::Crashed(_)) => &mut figures.crashed,
            Err(JobError::Panicked(_)) => &mut figures.panicked,
            Err(JobError::TimedOut(_)) => &mut figures.timed_out,
            Err(JobError::Aborted) => {
                figures.aborted_begun += usize::from(!case.noted.is_empty());
                &mut figures.aborted
            }
            Err(_) => &mut figures.failed,
        };
        *of += 1;
        figures.perhaps += usize::from(case.result.is_err() && case.begun == Begun::Perhaps);
    }
}

/// One job, and all that is known of it.
#[derive(Debug)]
struct Case<'a> {
    order: Order,
    aborted: bool,
    result: &'a JobResult<Act>,
    /// What the handle says.
    begun: Begun,
    /// The attempts that were begun, and by which process.
    noted: &'a [(u32, u32)],
    told: &'a Told,
}

impl Case<'_> {
    /// What cannot be, whatever happens to workers.
    fn faults(&self, struck: &BTreeSet<u32>) -> Vec<String> {
        let mut faults = self.told.faults.clone();
        let mut say = |what: &str| faults.push(what.to_owned());
        let attempts: BTreeSet<u32> = self.noted.iter().map(|&(attempt, _)| attempt).collect();
        if attempts.len() < self.noted.len() {
            say("an attempt has begun twice");
        }
        if self.told.done != 1 {
            say("it was not done once");
        }
        let last = self.told.retries.len() as u32 + 1;
        if last > self.order.retries + 1 || attempts.iter().any(|&attempt| attempt == 0 || attempt > last) {
            say("there was an attempt too many");
        }
        if self.result.is_ok() && !attempts.contains(&last) {
            say("it succeeded, and its last attempt has not begun");
        }
        if !self.told.started.is_subset(&attempts) {
            say("JobStart was said of an attempt that has not begun");
        }
        let mut agree = |what: &str, begun: Begun, noted: bool| {
            if (begun == Begun::No && noted) || (begun == Begun::Yes && !noted) {
                say(&format!("{what} says that it had begun: {begun:?}"));
            }
        };
        agree("the handle", self.begun, !attempts.is_empty());
        if let Err(error) = self.result {
            agree("the error", error.begun(), !attempts.is_empty());
        }
        for (&begun, attempt) in self.told.retries.iter().zip(1..) {
            agree(&format!("the retry of attempt {attempt}"), begun, attempts.iter().any(|&begun| begun <= attempt));
        }
        // An attempt that the job itself has ended, or that nobody has, has begun.
        let own = self.order.own_failures().min(self.order.retries + 1);
        let whole = struck.is_empty() && !self.aborted && self.order.end != End::TimedOut;
        if whole && self.order.end != End::TimedOutOrSuccess {
            let expected = own + u32::from(own <= self.order.retries);
            if attempts.len() as u32 != expected {
                say(&format!("{} attempts have begun, not {expected}", attempts.len()));
            }
        }
        faults
    }

    /// Whether it came to something that neither it nor its caller nor a signal from outside has done.
    fn is_harmed(&self, struck: &BTreeSet<u32>) -> bool {
        let (own, retried) = (self.order.own_failures(), self.told.retries.len() as u32);
        let as_it_was_to = match (self.order.end, self.result) {
            (End::Success | End::TimedOutOrSuccess, Ok(()))
            | (End::Failed, Err(JobError::Failed(_)))
            | (End::Crashed, Err(JobError::Crashed(_)))
            | (End::Panicked, Err(JobError::Panicked(_)))
            | (End::TimedOut | End::TimedOutOrSuccess, Err(JobError::TimedOut(_))) => true,
            (_, Err(JobError::Aborted)) => self.aborted,
            (_, Err(JobError::Crashed(crash))) => struck.contains(&crash.pid),
            _ => false,
        };
        let free_of_others = struck.is_empty() && self.order.end != End::TimedOutOrSuccess;
        !as_it_was_to || (free_of_others && retried > own.min(self.order.retries))
    }
}
