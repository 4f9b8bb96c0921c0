//! The table of the jobs that are not settled.

use super::{Begun, JobSettings};

/// Where a job is in the table. It is used again once the job is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct JobKey(pub(super) u32);

impl JobKey {
    /// The key of a job that is not in the table.
    pub(crate) const NOWHERE: JobKey = JobKey(NONE);
}

/// An empty table larger than this is given back.
const KEPT: usize = 1024;

/// No job: the end of a list.
pub(super) const NONE: u32 = u32::MAX;

/// What a job waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum JobState {
    Nowhere,
    Queued,
    /// It is the first of those that the worker in this slot holds, and presumed begun.
    Running(u32),
    /// Sent to a worker that has not come to it.
    Prefetched(u32),
    /// To be retried once the worker that had it is reaped.
    AwaitingReap(u32),
    /// Over; its entry stays until the driver has taken the job out.
    Settled,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Entry<T> {
    pub(super) id: u64,
    pub(super) job: T,
    /// How often it was handed out.
    pub(super) attempt: u32,
    pub(super) place: JobState,
    /// Whether an attempt before this one had begun.
    pub(super) begun: Begun,
    /// How many workers died while they read it.
    pub(super) readers: u8,
    pub(super) settings: JobSettings,
    /// Its place in the order of handing out, within its priority.
    pub(super) seq: u64,
    pub(super) prev: u32,
    pub(super) next: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Jobs<T> {
    entries: Vec<Option<Entry<T>>>,
    vacant: Vec<u32>,
    /// How many are not settled.
    live: usize,
    next_seq: u64,
}

impl<T> Jobs<T> {
    pub(super) fn new() -> Self {
        Jobs { entries: Vec::new(), vacant: Vec::new(), live: 0, next_seq: 0 }
    }

    /// How many are not settled.
    pub(super) fn len(&self) -> usize {
        self.live
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn get(&self, key: JobKey) -> Option<&Entry<T>> {
        self.entries.get(key.0 as usize)?.as_ref()
    }

    /// The entry of a job that is known to be there.
    pub(super) fn entry(&mut self, key: u32) -> &mut Entry<T> {
        match &mut self.entries[key as usize] {
            Some(entry) => entry,
            None => unreachable!("a key is used only while its job is in the table"),
        }
    }

    /// # Panics
    ///
    /// With four thousand million unsettled jobs.
    pub(super) fn insert(&mut self, id: u64, job: T, settings: JobSettings) -> JobKey {
        self.live += 1;
        let entry = Entry {
            id,
            job,
            attempt: 0,
            place: JobState::Nowhere,
            begun: Begun::No,
            readers: 0,
            settings,
            seq: 0,
            prev: NONE,
            next: NONE,
        };
        if let Some(key) = self.vacant.pop() {
            self.entries[key as usize] = Some(entry);
            return JobKey(key);
        }
        assert!(self.entries.len() < NONE as usize, "the backlog holds at most {NONE} jobs");
        self.entries.push(Some(entry));
        JobKey((self.entries.len() - 1) as u32)
    }

    /// The job is over.
    pub(super) fn settle(&mut self, key: JobKey) -> &Entry<T> {
        self.live -= 1;
        let entry = self.entry(key.0);
        entry.place = JobState::Settled;
        entry
    }

    /// Takes out a job that is over; its key may be used again from here on.
    pub(super) fn take(&mut self, key: JobKey) -> T {
        match self.entries[key.0 as usize].take() {
            Some(entry) => {
                self.vacant.push(key.0);
                if self.vacant.len() == self.entries.len() && self.entries.len() > KEPT {
                    // A great backlog is gone: so is its memory.
                    self.entries = Vec::new();
                    self.vacant = Vec::new();
                }
                entry.job
            }
            None => unreachable!("a job settles once"),
        }
    }

    pub(super) fn place(&mut self, key: JobKey, place: JobState) {
        self.entry(key.0).place = place;
    }

    /// An attempt that was presumed begun had not: it does not count.
    pub(super) fn unbegin(&mut self, key: JobKey) {
        let entry = self.entry(key.0);
        entry.attempt -= 1;
        entry.place = JobState::Nowhere;
    }

    /// Another attempt is presumed begun.
    pub(super) fn begin(&mut self, key: JobKey, slot: u32) -> &Entry<T> {
        let entry = self.entry(key.0);
        entry.attempt += 1;
        entry.place = JobState::Running(slot);
        entry
    }

    /// The next number in the order of handing out.
    pub(super) fn next_seq(&mut self) -> u64 {
        self.next_seq += 1;
        self.next_seq
    }

    /// The jobs that `which` picks, in the order in which they were enqueued.
    pub(super) fn keys_in_order(&self, which: impl Fn(&Entry<T>) -> bool) -> Vec<JobKey> {
        let picked = self.entries.iter().enumerate().filter_map(|(key, entry)| {
            let entry = entry.as_ref().filter(|entry| which(entry))?;
            Some((entry.id, JobKey(key as u32)))
        });
        let mut picked: Vec<_> = picked.collect();
        picked.sort_unstable();
        picked.into_iter().map(|(_, key)| key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_great_backlog_gives_its_memory_back() {
        for (jobs, kept) in [(KEPT, KEPT), (KEPT + 1, 0)] {
            let mut table = Jobs::new();
            let keys: Vec<_> = (0..jobs).map(|id| table.insert(id as u64, id, JobSettings::default())).collect();
            for (id, key) in keys.into_iter().enumerate() {
                table.settle(key);
                assert_eq!(table.take(key), id);
            }
            assert_eq!([table.entries.len(), table.vacant.len()], [kept; 2], "{jobs} jobs");
        }
    }
}
