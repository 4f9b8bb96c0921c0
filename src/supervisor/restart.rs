//! Which slots are to get a worker, and when: work, the minimum, and the waits of those that would not start.

use super::WorkerState;
use super::worker::Worker;
use std::time::Duration;

/// The wait after the second start failure in a row; the first has none, and each further one doubles it.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// The longest wait between two looks whether a site is still down.
const LONGEST_SITE_WAIT: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Slot {
    /// Start failures in a row.
    failures: u32,
    /// No worker before this.
    not_before: Duration,
    /// Whether it is to get a worker though there is no work.
    wanted: bool,
}

/// One of several places. While it is down, one worker at a time finds out whether it still is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Site {
    /// The slot behind its last.
    end: usize,
    /// Start failures in a row, in whatever slots, while no worker there had been ready.
    failures: u32,
    down: bool,
    /// The slot of the worker that finds it out.
    probe: Option<usize>,
    /// How often that has failed, and when it may be tried again.
    probes: u32,
    not_before: Duration,
}

impl Site {
    fn new(end: usize) -> Self {
        Site { end, failures: 0, down: false, probe: None, probes: 0, not_before: Duration::ZERO }
    }

    /// No worker starts there, as the one in `slot` shows. Gives how long the site is left alone, if it is.
    fn fails(&mut self, slot: usize, now: Duration, limit: u32) -> Duration {
        let was_down = self.down;
        if !was_down {
            self.failures = self.failures.saturating_add(1);
            self.down = self.failures >= limit;
        }
        // Those that were asked for before it was known say nothing of how long it lasts.
        if !self.down || (was_down && self.probe != Some(slot)) {
            return Duration::ZERO;
        }
        let wait = FIRST_WAIT.saturating_mul(1 << self.probes.min(16)).min(LONGEST_SITE_WAIT);
        self.probes = self.probes.saturating_add(1);
        (self.probe, self.not_before) = (None, now + wait);
        wait
    }
}

/// What workers are needed for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Need {
    /// Jobs that are queued.
    pub(super) queued: usize,
    /// Workers that are to be there in any case.
    pub(super) minimum: usize,
    /// Workers that are to follow others which leave soon.
    pub(super) successors: usize,
}

/// What a start failure leads to.
pub(super) struct Decision {
    pub(super) wait: Duration,
    pub(super) in_a_row: u32,
    /// Whether no worker starts, as is known from now on.
    pub(super) breaks: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct RestartPolicy {
    /// As many as there ever were.
    slots: Vec<Slot>,
    /// Where they are, if in several places.
    sites: Vec<Site>,
    /// How many may have a worker, from the first.
    open: usize,
    /// How many slots are wanted.
    wanted: usize,
    limit: u32,
    /// No worker would start, and none has since: only a probe is started, and only for a job.
    circuit_open: bool,
    /// When a slot that is needed may be filled.
    due_at: Option<Duration>,
}

impl RestartPolicy {
    /// `sites`: how many slots each has.
    pub(super) fn new(slots: usize, limit: u32, sites: impl Iterator<Item = usize>) -> Self {
        let mut slots = vec![Slot::default(); slots];
        // A program that cannot be started is found out before the first job needs it.
        slots[0].wanted = true;
        let open = slots.len();
        let mut end = 0;
        let behind = |slots| {
            end += slots;
            Site::new(end)
        };
        let sites = sites.map(behind).collect();
        RestartPolicy { slots, sites, open, wanted: 1, limit, circuit_open: false, due_at: None }
    }

    pub(super) fn is_circuit_open(&self) -> bool {
        self.circuit_open
    }

    /// Whether no worker would start at the site, and none has since.
    pub(super) fn is_down(&self, site: usize) -> bool {
        self.sites[site].down
    }

    fn site_of(&self, slot: usize) -> Option<usize> {
        let site = self.sites.partition_point(|site| site.end <= slot);
        (site < self.sites.len()).then_some(site)
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.due_at
    }

    /// Whether somebody asked for workers, work or not.
    pub(super) fn are_wanted(&self) -> bool {
        self.wanted > 0
    }

    /// Every slot is to get a worker, whatever has been; its wait holds all the same.
    pub(super) fn want_all(&mut self) {
        self.circuit_open = false;
        self.wanted = self.open;
        for slot in &mut self.slots[..self.open] {
            slot.wanted = true;
        }
    }

    /// The slot is to get another worker, since all are waited for.
    pub(super) fn want(&mut self, slot: usize) {
        if slot < self.open && !self.circuit_open && !std::mem::replace(&mut self.slots[slot].wanted, true) {
            self.wanted += 1;
        }
    }

    /// There are so many slots from here on.
    pub(super) fn set_slots(&mut self, open: usize) {
        if self.slots.len() < open {
            self.slots.resize(open, Slot::default());
        }
        self.open = open;
        for slot in &mut self.slots[open..] {
            self.wanted -= usize::from(std::mem::take(&mut slot.wanted));
        }
    }

    pub(super) fn want_none(&mut self) {
        self.due_at = None;
    }

    /// A worker is past its first ready: the pool is whole.
    pub(super) fn one_is_ready(&mut self, slot: usize) {
        self.circuit_open = false;
        if let Some(site) = self.site_of(slot) {
            let end = self.sites[site].end;
            let first = site.checked_sub(1).map_or(0, |before| self.sites[before].end);
            if std::mem::replace(&mut self.sites[site], Site::new(end)).down {
                // The others have waited for the site, and need not wait for themselves.
                self.slots[first..end].iter_mut().for_each(|slot| slot.not_before = Duration::ZERO);
            }
        }
        if std::mem::take(&mut self.slots[slot].wanted) {
            self.wanted -= 1;
        }
    }

    /// A worker has answered a job: its slot's row of failures is over.
    pub(super) fn one_has_worked(&mut self, slot: usize) {
        self.slots[slot].failures = 0;
    }

    /// A worker has ended that had started.
    pub(super) fn one_has_ended(&mut self, slot: usize, had_job: bool) {
        if had_job {
            self.one_has_worked(slot);
        }
        self.slots[slot].not_before = Duration::ZERO;
        if let Some(site) = self.site_of(slot) {
            let probe = &mut self.sites[site].probe;
            *probe = probe.filter(|&probe| probe != slot);
        }
    }

    /// A worker has ended before it got to work. `others`: the slots of those that are past their first ready.
    pub(super) fn one_has_failed(&mut self, slot: usize, now: Duration, others: &[usize]) -> Decision {
        let place = &mut self.slots[slot];
        place.failures = place.failures.saturating_add(1);
        let wait = match place.failures {
            1 => Duration::ZERO,
            failures => FIRST_WAIT.saturating_mul(1 << (failures - 2).min(16)).min(LONGEST_WAIT),
        };
        place.not_before = now + wait;
        let in_a_row = place.failures;
        let before = self.circuit_open;
        let (wait, none_starts) = match self.site_of(slot) {
            None => (wait, in_a_row >= self.limit),
            Some(site) => {
                let site_ready = others.iter().any(|&other| self.site_of(other) == Some(site));
                let limit = self.limit;
                let pause = if site_ready { Duration::ZERO } else { self.sites[site].fails(slot, now, limit) };
                (wait.max(pause), self.sites.iter().all(|site| site.down))
            }
        };
        self.circuit_open |= none_starts && others.is_empty();
        if self.circuit_open {
            // Nobody asks for workers any more but jobs.
            self.wanted = 0;
            for slot in &mut self.slots {
                slot.wanted = false;
            }
        }
        Decision { wait, in_a_row, breaks: self.circuit_open && !before }
    }

    /// The empty slots that are to be filled now. `live`: those that are not empty.
    pub(super) fn due(&mut self, now: Duration, workers: &[Option<Worker>], live: &[usize], need: Need) -> Vec<usize> {
        self.due_at = None;
        let needed = self.needed(workers, live, need);
        let mut due = Vec::new();
        if needed == 0 {
            return due;
        }
        // Slots that somebody asked for come first; those that must wait are looked at again when the wait is over.
        let mut empty: Vec<usize> = (0..self.open).filter(|&slot| workers[slot].is_none()).collect();
        empty.sort_by_key(|&slot| (!self.slots[slot].wanted, slot));
        for slot in empty {
            let mut not_before = self.slots[slot].not_before;
            let down = self.site_of(slot).filter(|&site| self.sites[site].down);
            if let Some(site) = down {
                if self.sites[site].probe.is_some() {
                    continue;
                }
                not_before = not_before.max(self.sites[site].not_before);
            }
            if not_before <= now {
                due.push(slot);
                if let Some(site) = down {
                    self.sites[site].probe = Some(slot);
                }
                if due.len() == needed {
                    break;
                }
            } else {
                self.due_at = Some(self.due_at.map_or(not_before, |at| at.min(not_before)));
            }
        }
        if due.len() == needed {
            self.due_at = None;
        }
        due
    }

    #[cfg(debug_assertions)]
    pub(super) fn check_counts(&self) {
        debug_assert_eq!(self.wanted, self.slots.iter().filter(|slot| slot.wanted).count(), "wanted");
    }

    /// How many more workers there should be.
    fn needed(&self, workers: &[Option<Worker>], live: &[usize], need: Need) -> usize {
        let Need { queued, minimum, successors } = need;
        let alive = || live.iter().filter_map(|&slot| workers[slot].as_ref());
        let empty = self.open.saturating_sub(live.len());
        let starts = |worker: &&Worker| worker.state() == WorkerState::Initializing && !worker.is_dismissed();
        let starting = alive().filter(starts).count();
        if self.circuit_open {
            return usize::from(queued > 0 && starting == 0);
        }
        // No job waits for a worker that finds out whether a site is still down.
        let probes = self.sites.iter().filter_map(|site| site.probe);
        let starting = starting - probes.filter_map(|slot| workers[slot].as_ref()).filter(starts).count();
        let is_wanted = |&slot: &usize| self.slots[slot].wanted && workers[slot].is_none();
        let wanted = if self.wanted == 0 { 0 } else { (0..self.slots.len()).filter(is_wanted).count() };
        let lasting = alive().filter(|worker| !worker.is_exiting() && !worker.is_surplus()).count();
        let for_jobs = queued.saturating_sub(starting);
        for_jobs.max(minimum.saturating_sub(lasting)).max(wanted).max(successors).min(empty)
    }
}
