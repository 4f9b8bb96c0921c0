//! Which jobs are accepted, and which callers wait until there is room for theirs.
//!
//! The limit of the backlog counts the jobs that no worker has begun. A job whose worker died, or that is retried, goes back
//! whether or not there is room: only new jobs are held up.

use super::{JobKey, JobSettings, Notice, Refusal, Step, Submitted, Supervisor, WhenFull};

impl Supervisor {
    fn has_room(&self, settings: &JobSettings) -> bool {
        // A job for a free worker is never in the backlog, unless it waits for a time or for a permit.
        let can_begin = settings.delay().is_zero() && self.backlog.has_permit(settings.limit());
        let at_once = self.has_free_worker() && !self.paused && can_begin;
        at_once || self.config.max_backlog.is_none_or(|most| self.backlog_len() < most)
    }

    /// Whether there is room for the first of those that wait.
    pub(super) fn has_room_for_pending(&self) -> bool {
        self.pending.front().is_some_and(|job| self.has_room(&job.settings))
    }
}

impl Step<'_> {
    pub(super) fn enqueue(&mut self, job: Submitted, when_full: WhenFull) {
        let machine = &mut *self.machine;
        if let Some(limit) = job.settings.limit() {
            machine.backlog.add_job(limit);
        }
        if !machine.is_open() {
            return self.refuse(&job, Refusal::Closed);
        }
        // Whoever waits already comes first.
        let has_room = machine.pending.is_empty() && machine.has_room(&job.settings);
        match when_full {
            WhenFull::Wait if !has_room => machine.pending.push_back(job),
            WhenFull::Refuse if !has_room => self.refuse(&job, Refusal::Full),
            WhenFull::Wait | WhenFull::Refuse | WhenFull::Exceed => self.admit(job),
        }
    }

    fn refuse(&mut self, job: &Submitted, refusal: Refusal) {
        self.emit(Notice::Refused { id: job.id, refusal });
        self.remove_job_of(job.settings.limit().map(|limit| limit.key));
    }

    /// The job is accepted, and is in no place yet.
    pub(super) fn accept(&mut self, job: Submitted) -> JobKey {
        self.machine.lowest_priority = self.machine.lowest_priority.min(job.settings.priority());
        let limit = job.settings.limit();
        let key = self.machine.jobs.insert(job);
        self.machine.counters.enqueued += 1;
        self.machine.worked = true;
        self.emit(Notice::Enqueued(key));
        if let Some(limit) = limit {
            let Supervisor { backlog, jobs, .. } = &mut *self.machine;
            backlog.set_permits(jobs, limit);
        }
        key
    }

    fn admit(&mut self, job: Submitted) {
        let (delay, expires) = (job.settings.delay(), job.settings.expires(self.machine.config.expires));
        let limit = job.settings.limit();
        let key = self.accept(job);
        if let Some(after) = expires {
            self.machine.expiries.set(key, self.now.saturating_add(after));
        }
        if !delay.is_zero() {
            self.delay(key, delay);
            return self.queue_in_time(key);
        }
        let has_permit = self.machine.backlog.has_permit(limit);
        match has_permit.then(|| self.machine.next_free()).flatten() {
            Some(slot) => self.dispatch(slot, key),
            None => self.queue_at_back(key),
        }
    }

    /// Admits the jobs whose callers wait, in order, as far as there is room.
    pub(super) fn admit_pending(&mut self) {
        while self.machine.has_room_for_pending()
            && let Some(job) = self.machine.pending.pop_front()
        {
            self.admit(job);
            // It may have raised the number of its key, for others that come before it.
            self.dispatch_all();
        }
    }

    /// The pool is closed: nobody waits for room any more.
    pub(super) fn refuse_pending(&mut self) {
        for job in std::mem::take(&mut self.machine.pending) {
            self.refuse(&job, Refusal::Closed);
        }
    }
}
