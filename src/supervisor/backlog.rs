//! The queued jobs, and the keys that limit how many jobs run at once.
//!
//! A job of a key takes a permit of that key when it is sent to a worker. It stands in a queue of its own key, so that however
//! many wait for a permit, those of other keys and those without one are found at once: `open` has the keys whose first job
//! could be sent now.

use super::JobKey;
use super::config::{Limit, LimitKey};
use super::jobs::Jobs;
use super::queue::{Queue, Rank};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Backlog {
    /// The jobs without a key.
    plain: Queue,
    keys: BTreeMap<LimitKey, Key>,
    /// The keys that have a queued job and a permit for it, by the rank of that job.
    open: BTreeSet<(Rank, LimitKey)>,
    /// How many jobs of keys are queued, and for how many of them there are permits.
    keyed: usize,
    permitted: usize,
    /// Whether a key has got a permit for a job that was queued, since this was asked last.
    opened: bool,
}

/// A key that some job has which is not settled, or some worker a permit of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Key {
    /// How many permits there are. It may be set to fewer than are taken.
    permits: u32,
    taken: u32,
    /// Jobs that are not settled, and those whose callers wait for room.
    jobs: usize,
    queue: Queue,
}

impl Key {
    fn has_permit(&self) -> bool {
        self.taken < self.permits
    }

    /// How many of its queued jobs could be sent now.
    fn permitted(&self) -> usize {
        (self.permits.saturating_sub(self.taken) as usize).min(self.queue.len())
    }

    /// The rank of the job that could be sent now.
    fn rank(&self, jobs: &Jobs) -> Option<Rank> {
        self.queue.front(jobs).filter(|_| self.has_permit()).map(|(rank, _)| rank)
    }
}

impl Backlog {
    #[cfg(debug_assertions)]
    pub(super) fn len(&self) -> usize {
        self.plain.len() + self.keyed
    }

    /// How many of them could be sent to workers now.
    pub(super) fn permitted(&self) -> usize {
        self.plain.len() + self.permitted
    }

    /// Behind all others of its priority.
    pub(super) fn push_back(&mut self, jobs: &mut Jobs, key: JobKey) {
        self.in_queue(jobs, key, |queue, jobs| queue.push_back(jobs, key));
    }

    /// To where it was before it was taken out.
    pub(super) fn put_back(&mut self, jobs: &mut Jobs, key: JobKey) {
        self.in_queue(jobs, key, |queue, jobs| queue.put_back(jobs, key));
    }

    pub(super) fn remove(&mut self, jobs: &mut Jobs, key: JobKey) {
        self.in_queue(jobs, key, |queue, jobs| queue.remove(jobs, key));
    }

    /// The job that is next, of those that could be sent now.
    pub(super) fn front(&self, jobs: &Jobs) -> Option<JobKey> {
        let of_key = self.open.first().and_then(|(_, limit_key)| self.keys[limit_key].queue.front(jobs));
        let (_, key) = self.plain.front(jobs).into_iter().chain(of_key).min_by_key(|&(rank, _)| rank)?;
        Some(key)
    }

    pub(super) fn pop_front(&mut self, jobs: &mut Jobs) -> Option<JobKey> {
        let key = self.front(jobs)?;
        self.remove(jobs, key);
        Some(key)
    }

    // ------------------------------------------------------------ keys

    /// A caller has brought a job of this key.
    pub(super) fn add_job(&mut self, limit: Limit) {
        self.keys.entry(limit.key).or_insert_with(|| Key { permits: limit.permits, ..Key::default() }).jobs += 1;
    }

    /// A job of this key is settled, or was not accepted. Says whether the key is forgotten with it.
    pub(super) fn remove_job(&mut self, limit_key: LimitKey) -> bool {
        if let Some(key) = self.keys.get_mut(&limit_key) {
            key.jobs -= 1;
        }
        self.forget_if_unused(limit_key)
    }

    /// The key has so many permits from here on.
    pub(super) fn set_permits(&mut self, jobs: &mut Jobs, limit: Limit) {
        self.change(jobs, limit.key, |key, _| key.permits = limit.permits);
    }

    /// Whether a job that is accepted with this limit is the next of its key, and there is a permit for it.
    pub(super) fn has_permit(&self, limit: Option<Limit>) -> bool {
        let Some(limit) = limit else { return true };
        self.keys.get(&limit.key).is_none_or(|key| key.taken < limit.permits && key.queue.len() == 0)
    }

    pub(super) fn take_permit(&mut self, jobs: &mut Jobs, limit_key: LimitKey) {
        self.change(jobs, limit_key, |key, _| key.taken += 1);
    }

    /// Says whether the key is forgotten with it.
    pub(super) fn give_back(&mut self, jobs: &mut Jobs, limit_key: LimitKey) -> bool {
        self.change(jobs, limit_key, |key, _| key.taken -= 1);
        self.forget_if_unused(limit_key)
    }

    /// Whether a key has got a permit for a queued job since the last call.
    pub(super) fn take_opened(&mut self) -> bool {
        std::mem::take(&mut self.opened)
    }

    /// Of each key its permits, how many of them are taken, and how many jobs are queued.
    pub(super) fn keys(&self) -> impl Iterator<Item = (LimitKey, u32, u32, usize)> {
        self.keys.iter().map(|(&limit_key, key)| (limit_key, key.permits, key.taken, key.queue.len()))
    }

    /// How many jobs and permits of a key there are.
    #[cfg(debug_assertions)]
    pub(super) fn uses(&self) -> impl Iterator<Item = (LimitKey, (usize, usize))> {
        self.keys.iter().map(|(&limit_key, key)| (limit_key, (key.jobs, key.taken as usize)))
    }

    /// What is derived from the keys says what they say.
    #[cfg(debug_assertions)]
    pub(super) fn check_counts(&self, jobs: &Jobs) {
        let keys = || self.keys.iter();
        debug_assert_eq!(self.keyed, keys().map(|(_, key)| key.queue.len()).sum::<usize>(), "keyed");
        debug_assert_eq!(self.permitted, keys().map(|(_, key)| key.permitted()).sum::<usize>(), "permitted");
        let open = keys().filter_map(|(&limit_key, key)| Some((key.rank(jobs)?, limit_key)));
        debug_assert_eq!(self.open, open.collect(), "open");
    }

    /// Does something with the queue that the job stands in, or is to.
    fn in_queue(&mut self, jobs: &mut Jobs, key: JobKey, change: impl FnOnce(&mut Queue, &mut Jobs)) {
        match jobs.entry(key.place).settings.limit() {
            None => change(&mut self.plain, jobs),
            Some(limit) => self.change(jobs, limit.key, |key, jobs| change(&mut key.queue, jobs)),
        }
    }

    /// Changes something about a key, and what is derived from it.
    fn change(&mut self, jobs: &mut Jobs, limit_key: LimitKey, change: impl FnOnce(&mut Key, &mut Jobs)) {
        let Some(key) = self.keys.get_mut(&limit_key) else { return };
        let (rank, permitted, queued) = (key.rank(jobs), key.permitted(), key.queue.len());
        change(key, jobs);
        self.keyed = self.keyed + key.queue.len() - queued;
        self.permitted = self.permitted + key.permitted() - permitted;
        let now = key.rank(jobs);
        if now != rank {
            self.opened |= rank.is_none();
            rank.map(|rank| self.open.remove(&(rank, limit_key)));
            now.map(|rank| self.open.insert((rank, limit_key)));
        }
    }

    fn forget_if_unused(&mut self, limit_key: LimitKey) -> bool {
        let unused = self.keys.get(&limit_key).is_some_and(|key| key.jobs == 0 && key.taken == 0);
        unused && self.keys.remove(&limit_key).is_some()
    }
}
