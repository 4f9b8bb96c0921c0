//! Holds what a pool has said of its jobs against what their handlers have noted.

use super::{Act, End, Order, Told};
use crate::starts::{self, Start};
use hirelings::{Begun, JobError, JobHandle, JobResult};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

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
pub(super) struct Judge {
    pub(super) struck: BTreeMap<u32, usize>,
    pub(super) figures: Figures,
    pub(super) wrongs: Vec<String>,
}

impl Judge {
    /// The first of these are kept.
    pub(super) fn wrong(&mut self, what: String) {
        if self.wrongs.len() < 40 {
            self.wrongs.push(what);
        }
    }

    pub(super) fn all(
        &mut self,
        jobs: Vec<(Order, JobHandle<Act>)>,
        aborted: &BTreeSet<usize>,
        starts: &[Start],
        heard: &BTreeMap<u64, Told>,
    ) {
        let noted = starts::by_job(starts);
        let (nothing, silence) = (Vec::new(), Told::default());
        let mut charged: BTreeMap<u32, usize> = BTreeMap::new();
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
                && self.struck.contains_key(&crash.pid)
                && order.end != End::Crashed
            {
                self.figures.excused += 1;
                let charges = charged.entry(crash.pid).or_default();
                *charges += 1;
                if *charges > self.struck[&crash.pid] {
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
    fn faults(&self, struck: &BTreeMap<u32, usize>) -> Vec<String> {
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
        // A worker that is killed as it takes a job has begun it, and may not have come to its handler.
        let by_signal = matches!(self.result, Err(JobError::Crashed(crash)) if struck.contains_key(&crash.pid));
        let by_pool = self.aborted || matches!(self.result, Err(JobError::TimedOut(_)));
        let cut_short = by_pool || by_signal || (!struck.is_empty() && last > 1);
        if !cut_short && !self.told.started.is_subset(&attempts) {
            say("JobStart was said of an attempt that has not begun");
        }
        let mut agree = |what: &str, begun: Begun, noted: bool| {
            if (begun == Begun::No && noted) || (begun == Begun::Yes && !noted && !cut_short) {
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
    fn is_harmed(&self, struck: &BTreeMap<u32, usize>) -> bool {
        let (own, retried) = (self.order.own_failures(), self.told.retries.len() as u32);
        let as_it_was_to = match (self.order.end, self.result) {
            (End::Success | End::TimedOutOrSuccess, Ok(()))
            | (End::Failed, Err(JobError::Failed(_)))
            | (End::Crashed, Err(JobError::Crashed(_)))
            | (End::Panicked, Err(JobError::Panicked(_)))
            | (End::TimedOut | End::TimedOutOrSuccess, Err(JobError::TimedOut(_))) => true,
            (_, Err(JobError::Aborted)) => self.aborted,
            (_, Err(JobError::Crashed(crash))) => struck.contains_key(&crash.pid),
            _ => false,
        };
        let free_of_others = struck.is_empty() && self.order.end != End::TimedOutOrSuccess;
        !as_it_was_to || (free_of_others && retried > own.min(self.order.retries))
    }
}
