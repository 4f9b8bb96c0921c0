//! Aborting: a job at once, whatever it does; or only what no worker has begun.
//!
//! Of a job that was sent to a worker which has not come to it, only that worker can say that it will not begin: it is
//! recalled, and is over once it is back. The call waits for that, for a second at most. Nobody is killed for it, and a job
//! that is begun, or of which nothing is known in time, goes on as if nobody had asked.
//!
//! Of two calls that wait for the same job, the first has aborted it.

use super::jobs::JobState;
use super::lifecycle::KillCause;
use super::{JobKey, Notice, Outcome, Step};
use std::collections::{BTreeSet, VecDeque};
use std::mem;
use std::time::Duration;

/// How long a call waits for what workers say.
const PATIENCE: Duration = Duration::from_secs(1);

/// A call to abort what is queued, which waits for workers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct AbortCall {
    call: u64,
    pub(super) until: Duration,
    aborted: usize,
    /// The jobs that lie at workers.
    pub(super) awaited: BTreeSet<JobKey>,
}

impl Step<'_> {
    pub(super) fn abort(&mut self, key: JobKey) {
        let Some(state) = self.machine.jobs.get(key).map(|entry| entry.state) else { return };
        self.settle(key, Outcome::Aborted);
        if let JobState::Running(slot) = state {
            let worker_key = self.worker_key(slot);
            self.of_worker(worker_key, |step| step.prepare_kill(worker_key, KillCause::Aborted));
        }
    }

    /// A caller no longer wants what no worker has begun: one job, or all, those included whose callers wait for room.
    pub(super) fn abort_queued(&mut self, call: u64, only: Option<JobKey>) {
        let keys = match only {
            Some(key) => vec![key],
            None => self.machine.jobs.keys_in_order(|_| true),
        };
        let (mut aborted, mut awaited) = (0, BTreeSet::new());
        for key in keys {
            match self.machine.jobs.get(key).map(|entry| entry.state) {
                Some(JobState::Queued | JobState::Delayed | JobState::AwaitingReap(_)) => {
                    self.settle(key, Outcome::Aborted);
                    aborted += 1;
                }
                Some(JobState::Prefetched(slot)) => {
                    let worker_key = self.worker_key(slot);
                    self.of_worker(worker_key, |step| step.recall_one(worker_key, key));
                    awaited.insert(key);
                }
                // Unless it is announced, the worker was asked to skip it, or is about to end.
                Some(JobState::Running(slot)) => {
                    let worker_key = self.worker_key(slot);
                    if self.worker(worker_key).held().is_none() {
                        awaited.insert(key);
                    }
                }
                Some(JobState::Nowhere) | None => {}
            }
        }
        if only.is_none() {
            for job in mem::take(&mut self.machine.pending) {
                let key = self.accept(job);
                self.settle(key, Outcome::Aborted);
                aborted += 1;
            }
        }
        let until = self.now.saturating_add(PATIENCE);
        self.machine.abort_calls.push_back(AbortCall { call, until, aborted, awaited });
        self.answer_abort_calls(|call| call.awaited.is_empty());
    }

    /// The job is back from its worker. Whether that is the end of it: the first call that waits for it has aborted it.
    pub(super) fn is_aborted_by_call(&mut self, key: JobKey) -> bool {
        let first = self.machine.abort_calls.iter_mut().find(|call| call.awaited.contains(&key));
        first.map(|call| call.aborted += 1).is_some()
    }

    /// The job is over, or has begun: nobody waits for it any more.
    pub(super) fn is_no_longer_awaited(&mut self, key: JobKey) {
        if self.machine.abort_calls.is_empty() {
            return;
        }
        for call in &mut self.machine.abort_calls {
            call.awaited.remove(&key);
        }
        self.answer_abort_calls(|call| call.awaited.is_empty());
    }

    /// The calls that have waited for long are answered.
    pub(super) fn end_abort_calls(&mut self) {
        let now = self.now;
        self.answer_abort_calls(|call| call.until <= now);
    }

    fn answer_abort_calls(&mut self, is_over: impl Fn(&AbortCall) -> bool) {
        let (over, waits): (VecDeque<_>, _) = mem::take(&mut self.machine.abort_calls).into_iter().partition(is_over);
        self.machine.abort_calls = waits;
        for AbortCall { call, aborted, .. } in over {
            self.emit(Notice::QueuedAborted { call, aborted });
        }
    }
}
