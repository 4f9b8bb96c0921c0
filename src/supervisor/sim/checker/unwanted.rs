//! Aborting what no worker has begun: it is over at once, or once its worker has skipped it;
//! whoever has asked is answered within a second how many jobs that were. Nobody is killed for it, and what has begun goes on.

use super::{Checker, Found, Stage, ensure};
use crate::supervisor::{Action, Effect, Input, JobKey, Outcome};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long a call may take.
const LIMIT: Duration = Duration::from_secs(1);

/// The calls that are not answered, and what has come of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Unwanted {
    /// By number, which is the order in which they came.
    calls: BTreeMap<u64, Call>,
    /// The jobs that are to be over with this step.
    at_once: BTreeSet<u64>,
    /// The jobs that calls have aborted, with their attempts until then: no worker begins another one. (One that is being
    /// killed may still begin the last.)
    given_up: BTreeMap<u64, u32>,
}

#[derive(Clone, Debug)]
struct Call {
    since: Duration,
    /// The jobs that it has asked for, and of which it is not known whether they have begun.
    open: BTreeSet<u64>,
    aborted: usize,
}

impl Unwanted {
    /// The job has begun, or is over: no call waits for it any more.
    pub(super) fn is_decided(&mut self, id: u64) {
        for call in self.calls.values_mut() {
            call.open.remove(&id);
        }
    }

    /// Whether a call has asked for the job, which no worker has begun since.
    fn is_open(&self, id: u64) -> bool {
        self.calls.values().any(|call| call.open.contains(&id))
    }
}

impl Checker {
    /// A caller no longer wants what no worker has begun.
    pub(super) fn unwanted(&mut self, now: Duration, call: u64, only: Option<JobKey>) {
        let all = only.is_none();
        let is_asked = |key: Option<JobKey>| if all { true } else { key.is_some() && key == only };
        let open: BTreeSet<u64> = self
            .jobs
            .iter()
            .filter(|(_, job)| is_asked(job.key) && (job.is_in_backlog() || (all && job.stage == Stage::New)))
            .map(|(&id, _)| id)
            .collect();
        let queued = |id: &&u64| !matches!(self.jobs[*id].stage, Stage::Prefetched(_));
        self.unwanted.at_once = open.iter().filter(queued).copied().collect();
        self.unwanted.calls.insert(call, Call { since: now, open, aborted: 0 });
    }

    /// Whether the job was over before this attempt, because a caller has asked for that.
    pub(in crate::supervisor::sim) fn is_given_up(&self, id: u64, attempt: u32) -> bool {
        self.unwanted.given_up.get(&id).is_some_and(|&last| attempt > last)
    }

    /// Whether the job may be aborted since a caller has asked for it: it is in the backlog, or back.
    pub(super) fn may_be_given_up(&self, id: u64) -> bool {
        let job = &self.jobs[&id];
        let back = match job.stage {
            Stage::Enqueued | Stage::Backlogged | Stage::Retried | Stage::Delayed(_) => true,
            // What lay at a worker that is gone.
            Stage::Prefetched(worker_key) => self.processes.get(&worker_key).is_none_or(|process| process.reaped),
            _ => false,
        };
        back && self.unwanted.is_open(id)
    }

    /// The job is aborted since a caller has asked for it: the first one that did.
    pub(super) fn gives_up(&mut self, id: u64) {
        let attempt = self.jobs.get(&id).map_or(0, |job| job.attempt);
        if let Some(call) = self.unwanted.calls.values_mut().find(|call| call.open.contains(&id)) {
            call.aborted += 1;
            self.unwanted.given_up.insert(id, attempt);
        }
    }

    /// A call is answered.
    pub(super) fn queued_aborted(&mut self, now: Duration, call: u64, aborted: usize) -> Found {
        let of = self.unwanted.calls.remove(&call).ok_or("nobody has asked, or was told before")?;
        ensure(aborted == of.aborted, || format!("call {call} has aborted {}, and is told {aborted}", of.aborted))?;
        ensure(of.open.is_empty() || now >= of.since + LIMIT, || format!("call {call} is answered too early: {of:?}"))
    }

    /// Nobody is killed because a caller has asked.
    pub(super) fn nobody_suffers(effect: &Effect, input: &Input) -> Found {
        let signal = matches!(effect, Effect::Do(Action::Signal(..)));
        ensure(!(signal && matches!(input, Input::AbortQueued { .. })), || "a worker suffers from the call".into())
    }

    /// At the end of a step: what is queued and unwanted is over, and what lies at a worker is recalled.
    pub(super) fn unwanted_are_over(&mut self) -> Found {
        let is_over = |id: &u64| self.jobs.get(id).is_none_or(|job| job.stage == Stage::Settled);
        let kept = self.unwanted.at_once.iter().find(|id| !is_over(id));
        ensure(kept.is_none(), || format!("job {kept:?} is queued and unwanted, and not over"))?;
        self.unwanted.at_once.clear();
        for (number, call) in &self.unwanted.calls {
            ensure(!call.open.is_empty(), || format!("nobody answers call {number}"))?;
            for id in &call.open {
                let Some(Stage::Prefetched(worker_key)) = self.jobs.get(id).map(|job| job.stage) else {
                    return Err(format!("job {id} is back and unwanted, and goes on"));
                };
                // One that is about to end begins nothing more.
                let ends = self.announced.is_exiting(worker_key)
                    || self.processes.get(&worker_key).is_none_or(|of| of.violated || of.ending || of.retires);
                ensure(ends || self.recalled.contains(&(worker_key, *id)), || {
                    format!("nobody recalls job {id}, which is unwanted")
                })?;
            }
        }
        Ok(())
    }

    /// A call that has waited for longer than it may.
    pub(super) fn calls_overdue(&self, now: Duration) -> Found {
        let late = self.unwanted.calls.iter().find(|(_, call)| now > call.since + LIMIT);
        ensure(late.is_none(), || format!("nobody has answered at {now:?}: {late:?}"))
    }

    /// Whether the outcome is that of a job which nobody wanted any more.
    pub(super) fn is_unwanted(&self, id: u64, outcome: Outcome, input: &Input) -> bool {
        let others = matches!(input, Input::Abort(key) | Input::Cancel { key, .. } if key.id == id);
        outcome == Outcome::Aborted && !others && self.may_be_given_up(id)
    }
}
