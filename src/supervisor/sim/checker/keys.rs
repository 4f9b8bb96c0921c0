//! How many jobs of a key are at workers, and that none of them waits for nothing.
//!
//! A permit counts as taken from when the job is sent. It is sure to be free once its worker has answered or skipped the job, or
//! is dead. Of a worker that is on its way out it is not known whether the machine believes it: such a permit may be taken.

use super::{Checker, Found, Stage, ensure};
use crate::supervisor::{Input, LimitKey, Message, Submitted, WorkerKey};
use std::collections::{BTreeMap, BTreeSet};

/// The key of a job, and how many of that key may run, as its caller said.
#[derive(Clone, Copy, Debug)]
struct Limited {
    key: LimitKey,
    permits: u32,
}

#[derive(Clone, Copy, Debug)]
struct Permit {
    key: LimitKey,
    /// Whether the job's handler can no longer run.
    ended: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Keys {
    /// The keys that are not forgotten, and what the job says of each that was accepted last.
    known: BTreeMap<LimitKey, Option<u32>>,
    /// The jobs that have one and are not over.
    jobs: BTreeMap<u64, Limited>,
    /// The permits of workers that are not released.
    permits: BTreeMap<(WorkerKey, u64), Permit>,
}

impl Keys {
    /// `front`: the job that the worker of whom this is told was presumed to run. `believed`: whether it keeps the protocol.
    pub(super) fn input(&mut self, input: &Input, front: Option<u64>, believed: bool) {
        match *input {
            Input::Enqueue { job: Submitted { id, ref settings, .. }, .. } => {
                if let Some(limit) = settings.limit() {
                    self.known.entry(limit.key).or_default();
                    self.jobs.insert(id, Limited { key: limit.key, permits: limit.permits });
                }
            }
            Input::Exited { worker_key, .. } => {
                let of_worker = self.permits.iter_mut().filter(|((of, _), _)| *of == worker_key);
                of_worker.for_each(|(_, permit)| permit.ended = true);
            }
            Input::Message { worker_key, message, .. } if believed => {
                let ended = match message {
                    Message::Answer { job, .. } | Message::Skipped { job } => Some(job),
                    Message::Terminal { .. } => front,
                    _ => None,
                };
                if let Some(permit) = ended.and_then(|job| self.permits.get_mut(&(worker_key, job))) {
                    permit.ended = true;
                }
            }
            _ => {}
        }
    }

    pub(super) fn accepted(&mut self, id: u64) {
        if let Some(limited) = self.jobs.get(&id) {
            self.known.insert(limited.key, Some(limited.permits));
        }
    }

    pub(super) fn over(&mut self, id: u64) {
        self.jobs.remove(&id);
    }

    pub(super) fn died(&mut self, worker_key: WorkerKey) {
        self.permits.retain(|(of, _), _| *of != worker_key);
    }

    /// Never more of a key at once than may be.
    pub(super) fn sent(&mut self, worker_key: WorkerKey, id: u64) -> Found {
        let Some(&Limited { key, .. }) = self.jobs.get(&id) else { return Ok(()) };
        self.permits.insert((worker_key, id), Permit { key, ended: false });
        let taken = self.permits.values().filter(|permit| permit.key == key && !permit.ended).count();
        let most = self.known.get(&key).copied().flatten().unwrap_or_default();
        ensure(taken <= most as usize, || format!("{taken} jobs of {key:?} are at workers, and {most} may be"))
    }

    pub(super) fn forgotten(&mut self, key: LimitKey) -> Found {
        ensure(self.known.remove(&key).is_some(), || format!("{key:?} is forgotten twice"))?;
        let job = self.jobs.iter().find(|(_, limited)| limited.key == key);
        ensure(job.is_none(), || format!("{key:?} is forgotten, and {job:?} has it"))?;
        let permit = self.permits.iter().find(|(_, permit)| permit.key == key && !permit.ended);
        ensure(permit.is_none(), || format!("{key:?} is forgotten, and {permit:?} is taken"))
    }
}

impl Checker {
    /// How many permits of the key may be taken.
    fn may_be_taken(&self, key: LimitKey) -> usize {
        let in_doubt = |worker_key| {
            self.announced.is_exiting(worker_key) || self.processes.get(&worker_key).is_some_and(|of| of.reaped)
        };
        let taken = self.keys_of_jobs.permits.iter();
        taken.filter(|((of, _), permit)| permit.key == key && (!permit.ended || in_doubt(*of))).count()
    }

    /// The keys of which no job may be begun now.
    pub(super) fn full_keys(&self) -> BTreeSet<LimitKey> {
        let is_full =
            |(key, most): (&LimitKey, &Option<u32>)| most.is_some_and(|most| self.may_be_taken(*key) >= most as usize);
        self.keys_of_jobs.known.iter().filter(|of| is_full(*of)).map(|(key, _)| *key).collect()
    }

    /// Whether the job waits for others of its key.
    pub(super) fn awaits_permit(&self, id: u64, full: &BTreeSet<LimitKey>) -> bool {
        !full.is_empty() && self.keys_of_jobs.jobs.get(&id).is_some_and(|limited| full.contains(&limited.key))
    }

    /// Whether this job, once it is accepted, is the next of its key and may be begun.
    pub(super) fn finds_permit(&self, id: u64) -> bool {
        let Some(&Limited { key, permits }) = self.keys_of_jobs.jobs.get(&id) else { return true };
        let is_queued = |id: &u64| self.jobs.get(id).is_some_and(|job| job.stage == Stage::Backlogged);
        let mut queued = self.keys_of_jobs.jobs.iter().filter(|(id, limited)| limited.key == key && is_queued(id));
        self.may_be_taken(key) < permits as usize && queued.next().is_none()
    }

    /// Keys that nobody has any more are forgotten.
    pub(super) fn no_key_is_left(&self) -> Found {
        let has_job = |key| self.keys_of_jobs.jobs.values().any(|limited| limited.key == key);
        let left = self.keys_of_jobs.known.keys().find(|&&key| !has_job(key) && self.may_be_taken(key) == 0);
        ensure(left.is_none(), || format!("nobody forgets {left:?}"))
    }
}
