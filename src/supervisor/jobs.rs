//! The table of the jobs that are not settled.

use super::{Begun, JobSettings, RetryPolicy, Submitted};

/// A job, and where it is in the table. A place is used again once its job is settled, a job's number never is: so what
/// is said of a job that is gone can be told from what is said of its successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct JobKey {
    pub(crate) place: u32,
    pub(crate) id: u64,
}

impl JobKey {
    /// The place of a job that is not in the table.
    pub(crate) const NOWHERE: u32 = NONE;
}

/// An empty table larger than this is given back.
const KEPT: usize = 1024;

/// No job: the end of a list.
pub(super) const NONE: u32 = u32::MAX;

/// What a job waits for. A slot's number fits 16 bits, since a pool has at most 65,535.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum JobState {
    Nowhere,
    Queued,
    /// It is the first of those that the worker in this slot holds, and presumed begun.
    Running(u16),
    /// Sent to a worker that has not come to it.
    Prefetched(u16),
    /// To be retried once the worker that had it is reaped.
    AwaitingReap(u16),
    /// To be queued at its time, for which a [`Timer`](super::timers::JobTimers) stands.
    Delayed,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Entry {
    pub(super) id: u64,
    /// The number of attempts that have begun or are presumed begun.
    pub(super) attempt: u32,
    pub(super) state: JobState,
    /// Whether an attempt before this one had begun.
    pub(super) begun: Begun,
    /// How many workers died while they read it.
    pub(super) readers: u8,
    /// Whether a caller has cancelled it while it ran: it is not retried.
    pub(super) cancelled: bool,
    /// How many of its attempts are not counted, since it is not known whether they had begun.
    pub(super) in_doubt: u8,
    /// Whether it is over as soon as it is known that no worker has begun it.
    pub(super) overdue: bool,
    /// How long its payload is, in KiB.
    pub(super) kib: u16,
    pub(super) settings: JobSettings,
    /// Its place in the order of dispatch, within its priority.
    pub(super) seq: u64,
    pub(super) prev: u32,
    pub(super) next: u32,
}

impl Entry {
    /// How many attempts may be made.
    pub(super) fn attempts(&self, pools: RetryPolicy) -> u32 {
        self.settings.attempts(pools).saturating_add(u32::from(self.in_doubt))
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Jobs {
    entries: Vec<Option<Entry>>,
    vacant: Vec<u32>,
    next_seq: u64,
}

impl Jobs {
    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.vacant.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn get(&self, key: JobKey) -> Option<&Entry> {
        self.entries.get(key.place as usize)?.as_ref().filter(|entry| entry.id == key.id)
    }

    /// The job in this place of the table, where one is known to be.
    pub(super) fn key_at(&self, place: u32) -> JobKey {
        match &self.entries[place as usize] {
            Some(entry) => JobKey { place, id: entry.id },
            None => unreachable!("a place is used only while a job is in it"),
        }
    }

    /// The entry in this place of the table, where one is known to be.
    pub(super) fn entry(&mut self, place: u32) -> &mut Entry {
        match &mut self.entries[place as usize] {
            Some(entry) => entry,
            None => unreachable!("a place is used only while a job is in it"),
        }
    }

    /// # Panics
    ///
    /// With four thousand million unsettled jobs.
    pub(super) fn insert(&mut self, job: Submitted) -> JobKey {
        let Submitted { id, kib, settings } = job;
        let entry = Entry {
            id,
            attempt: 0,
            state: JobState::Nowhere,
            begun: Begun::No,
            readers: 0,
            cancelled: false,
            in_doubt: 0,
            overdue: false,
            kib,
            settings,
            seq: 0,
            prev: NONE,
            next: NONE,
        };
        if let Some(place) = self.vacant.pop() {
            self.entries[place as usize] = Some(entry);
            return JobKey { place, id };
        }
        assert!(self.entries.len() < NONE as usize, "the backlog holds at most {NONE} jobs");
        self.entries.push(Some(entry));
        JobKey { place: (self.entries.len() - 1) as u32, id }
    }

    /// Takes out a job that is over. Its place may be used again from here on.
    pub(super) fn remove(&mut self, key: JobKey) -> Option<Entry> {
        let entry = self.entries[key.place as usize].take_if(|entry| entry.id == key.id)?;
        self.vacant.push(key.place);
        if self.is_empty() && self.entries.len() > KEPT {
            // A great backlog is gone: so is its memory.
            self.entries = Vec::new();
            self.vacant = Vec::new();
        }
        Some(entry)
    }

    pub(super) fn set_state(&mut self, key: JobKey, state: JobState) {
        self.entry(key.place).state = state;
    }

    /// An attempt that was presumed begun had not: it does not count.
    pub(super) fn unbegin(&mut self, key: JobKey) {
        let entry = self.entry(key.place);
        entry.attempt -= 1;
        entry.state = JobState::Nowhere;
    }

    /// Another attempt is presumed begun.
    pub(super) fn begin(&mut self, key: JobKey, slot: u16) -> &Entry {
        let entry = self.entry(key.place);
        entry.attempt += 1;
        entry.state = JobState::Running(slot);
        entry
    }

    /// The next number in the order of dispatch.
    pub(super) fn next_seq(&mut self) -> u64 {
        self.next_seq += 1;
        self.next_seq
    }

    /// All jobs.
    #[cfg(debug_assertions)]
    pub(super) fn iter(&self) -> impl Iterator<Item = (JobKey, &Entry)> {
        self.entries.iter().enumerate().filter_map(|(place, entry)| {
            let entry = entry.as_ref()?;
            Some((JobKey { place: place as u32, id: entry.id }, entry))
        })
    }

    /// The jobs that `which` picks, in the order in which they were enqueued.
    pub(super) fn keys_in_order(&self, which: impl Fn(&Entry) -> bool) -> Vec<JobKey> {
        let picked = self.entries.iter().enumerate().filter_map(|(place, entry)| {
            let entry = entry.as_ref().filter(|entry| which(entry))?;
            Some((entry.id, place as u32))
        });
        let mut picked: Vec<_> = picked.collect();
        picked.sort_unstable();
        picked.into_iter().map(|(id, place)| JobKey { place, id }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A queued job costs this much in the table; there may be millions.
    #[test]
    fn an_entry_is_small() {
        assert!(size_of::<Option<Entry>>() <= 48, "{}", size_of::<Option<Entry>>());
    }

    #[test]
    fn only_a_great_backlog_gives_its_memory_back() {
        for (jobs, kept) in [(KEPT, KEPT), (KEPT + 1, 0)] {
            let mut table = Jobs::default();
            let keys: Vec<_> =
                (0..jobs).map(|id| table.insert(Submitted::new(id as u64, 0, JobSettings::default()))).collect();
            for key in keys {
                assert_eq!(table.remove(key).map(|entry| entry.id), Some(key.id));
            }
            assert_eq!([table.entries.len(), table.vacant.len()], [kept; 2], "{jobs} jobs");
        }
    }
}
