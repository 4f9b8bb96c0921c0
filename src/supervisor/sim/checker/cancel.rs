//! Cancelling: whoever is cancelled is asked first, what it answers in time counts, and it is not tried again.

use super::{Checker, Found, SLACK, Stage, ensure};
use crate::supervisor::worker::Worker;
use crate::supervisor::{Input, JobKey, Supervisor, WorkerKey};
use std::time::Duration;

impl Checker {
    /// A caller cancels a job. One that no worker has begun must be over with this step.
    pub(super) fn cancelled(&mut self, now: Duration, key: JobKey, grace: Duration) {
        let Some(job) = self.keys.get(&key).and_then(|id| self.jobs.get_mut(id)) else { return };
        let (Stage::Tasked(worker_key) | Stage::Started(worker_key)) = job.stage else { return };
        let until = now.checked_add(grace).filter(|_| grace != Duration::MAX);
        let is_earlier = until.is_some_and(|until| job.kill_at.is_none_or(|before| until < before));
        if is_earlier || !job.cancelled {
            self.to_cancel = Some((worker_key, key.id, until.map(|_| grace)));
            (job.cancelled, job.kill_at) = (true, until);
        }
    }

    /// The worker is asked to come to an end with the job.
    pub(super) fn asked_to_end(
        &mut self,
        now: Duration,
        worker_key: WorkerKey,
        id: u64,
        within: Option<Duration>,
        input: &Input,
    ) -> Found {
        if matches!(input, Input::Tick) {
            let job = self.jobs.get_mut(&id).ok_or("an unknown job is to end")?;
            let over = job.soft_limit.is_some_and(|limit| now >= job.since + limit);
            let first = !std::mem::replace(&mut job.soft_asked, true);
            let left = job.limit.map(|limit| (job.since + limit).saturating_sub(now));
            ensure(over && first && !job.cancelled, || format!("job {id} is under its soft limit: {job:?}"))?;
            ensure(within == left, || format!("job {id} has {left:?}, and is told {within:?}"))?;
        } else {
            let asked = self.to_cancel.take();
            ensure(asked == Some((worker_key, id, within)), || {
                format!("{worker_key:?} is asked to end job {id} within {within:?}, and was to be asked {asked:?}")
            })?;
        }
        let process = self.processes.get(&worker_key).ok_or("nobody is asked to end a job")?;
        let runs = process.is_ready && process.holds.front() == Some(&id);
        ensure(runs && !process.ending, || format!("{worker_key:?} does not run job {id}: {process:?}"))
    }

    /// At the end of a step: who was to be asked has been, unless that worker is on its way out.
    pub(super) fn was_asked_to_end(&mut self, machine: &Supervisor) -> Found {
        let Some((worker_key, id, _)) = self.to_cancel.take() else { return Ok(()) };
        let doomed = machine.worker(worker_key).is_none_or(Worker::is_being_killed);
        ensure(doomed, || format!("job {id} is cancelled, and {worker_key:?} is not asked to end it"))
    }

    /// A cancelled job that is neither answered nor ended once its grace time is over, or one that is over its soft limit and
    /// was not asked to end.
    pub(super) fn cancel_overdue(&self, now: Duration, machine: &Supervisor) -> Found {
        let late = self.jobs.iter().find(|(_, job)| {
            let runs = matches!(job.stage, Stage::Tasked(_) | Stage::Started(_));
            runs && job.kill_at.is_some_and(|at| now > at + SLACK) && self.lives(job.stage)
        });
        ensure(late.is_none(), || format!("over its grace time at {now:?}: {late:?}"))?;
        let unasked = self.jobs.iter().find(|(_, job)| {
            let (Stage::Tasked(worker_key) | Stage::Started(worker_key)) = job.stage else { return false };
            // Where the hard limit is over, the worker is not asked any more.
            let soft = job.soft_limit.filter(|_| job.limit.is_none_or(|hard| now < job.since + hard));
            let over = soft.is_some_and(|soft| now > (job.since + soft).max(job.tasked));
            let is_asked = job.soft_asked || job.cancelled;
            over && !is_asked && !machine.worker(worker_key).is_none_or(Worker::is_being_killed)
        });
        ensure(unasked.is_none(), || format!("over its soft limit at {now:?}, and not asked to end: {unasked:?}"))
    }

    /// Whether the worker that runs the job is not known to be dead.
    fn lives(&self, stage: Stage) -> bool {
        let (Stage::Tasked(worker_key) | Stage::Started(worker_key)) = stage else { return false };
        self.processes.get(&worker_key).is_some_and(|process| !process.reaped)
    }
}
