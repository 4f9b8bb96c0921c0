//! Which worker gets which job: free ones the next in turn, quick ones some more ahead.

use super::jobs::Place;
use super::planted::planted;
use super::worker::{Current, Worker};
use super::{Effect, JobKey, SHORT, Seat, Supervisor, Turn, WorkerState};

impl<T> Turn<'_, T> {
    /// Gives queued jobs to the workers that are free.
    pub(super) fn hand_out(&mut self) {
        while !self.machine.free.is_empty() {
            let Supervisor { backlog, jobs, .. } = &mut *self.machine;
            let Some(key) = backlog.pop_front(jobs) else { return };
            let Some(slot) = self.machine.free.pop() else { return };
            self.hand(slot, key);
        }
    }

    /// Sends a job to the free worker in `slot`, and what may go ahead behind it.
    pub(super) fn hand(&mut self, slot: usize, key: JobKey) {
        let Some(worker) = &mut self.machine.slots[slot] else { return };
        let seat = Seat { slot, worker: worker.id };
        worker.taken += 1;
        self.begin(seat, key, true);
        self.top_up(seat);
    }

    /// From here on the worker holds the job, and its clock runs.
    pub(super) fn begin(&mut self, seat: Seat, key: JobKey, send: bool) {
        let limit = self.machine.config.timeout_working;
        let entry = self.machine.jobs.begin(key, seat.slot as u32);
        let (id, attempt, limit) = (entry.id, entry.attempt, entry.settings.timeout(limit));
        let limit = if planted!(OwnLimitForgotten) { self.machine.config.timeout_working } else { limit };
        let since = self.now;
        self.machine.held += 1;
        if send {
            self.say(Effect::SendJob { seat, key, attempt });
        }
        let worker = self.worker(seat);
        worker.current = Some(Current { key, id, attempt, started: false, since });
        self.start_limit(seat, limit);
        self.say(Effect::Task { seat, key, attempt });
        self.enter(seat, WorkerState::Working);
    }

    /// Sends jobs ahead to a worker whose jobs are short, while no worker is free.
    pub(super) fn top_up(&mut self, seat: Seat) {
        if self.machine.config.hand_ahead == 0 || !self.machine.free.is_empty() {
            return;
        }
        let workers = self.machine.slots.len();
        let share = self.machine.backlog.len().div_ceil(workers);
        let config = &self.machine.config;
        let Some(worker) = &self.machine.slots[seat.slot] else { return };
        let room = (config.max_jobs_per_process - worker.taken).min(worker.depth(config.hand_ahead) as u64);
        let room = usize::try_from(room).unwrap_or(usize::MAX).min(share);
        if worker.retiring || worker.outgrown || worker.is_ending() {
            return;
        }
        // Several at once: each write may wake the worker.
        let room = if worker.ahead.len() > room / 2 { 0 } else { room };
        while self.worker(seat).ahead.len() < room {
            let current = self.worker(seat).held();
            let Supervisor { backlog, jobs, .. } = &mut *self.machine;
            // Behind a job of its own priority only: one that is retried must still find its place before lower ones.
            let priority = current.and_then(|(key, _)| jobs.get(key)).map(|entry| entry.settings.priority());
            let Some(key) =
                backlog.front().filter(|&key| jobs.get(key).map(|entry| entry.settings.priority()) == priority)
            else {
                break;
            };
            backlog.remove(jobs, key);
            jobs.place(key, Place::Ahead(seat.slot as u32));
            let Some(entry) = self.machine.jobs.get(key) else { break };
            let (id, attempt) = (entry.id, entry.attempt + 1);
            self.say(Effect::SendJob { seat, key, attempt });
            self.worker(seat).sent_ahead(id, key);
        }
        let patience = SHORT * self.crowding();
        let worker = self.worker(seat);
        worker.call_back_at = match &worker.current {
            Some(current) if worker.has_uncalled() => current.since.checked_add(patience),
            _ => None,
        };
    }

    /// How many workers share a core: as many times longer than its work takes each waits for an answer.
    pub(super) fn crowding(&self) -> u32 {
        let workers = self.machine.occupied.div_ceil(self.machine.config.cores);
        u32::try_from(workers).unwrap_or(u32::MAX).max(1)
    }

    /// The jobs ahead at this worker are asked back as soon as the one that it runs is no short one, however crowded the cores
    /// are.
    pub(super) fn call_back_behind(&mut self, seat: Seat) {
        let worker = self.worker(seat);
        let Some(at) = worker.current.and_then(|current| current.since.checked_add(SHORT)) else { return };
        if worker.has_uncalled() {
            worker.call_back_at = Some(worker.call_back_at.map_or(at, |before| before.min(at)));
            if at <= self.now {
                self.call_back(seat);
            }
        }
    }

    /// No job waits behind a long one while another worker is free.
    pub(super) fn call_back_for_the_free(&mut self) {
        let never_crowded = self.machine.slots.len() <= self.machine.config.cores;
        if self.machine.free.is_empty() || never_crowded || planted!(NobodyCalledBack) {
            // Where nobody waits for a core, jobs are asked back in time anyway.
            return;
        }
        for slot in 0..self.machine.slots.len() {
            let Some(worker) = self.machine.slots[slot].as_ref().filter(|worker| worker.has_uncalled()) else {
                continue;
            };
            self.call_back_behind(Seat { slot, worker: worker.id });
        }
    }

    /// The running job is long, or the worker is needed no more: the jobs sent ahead are asked back.
    pub(super) fn call_back(&mut self, seat: Seat) {
        let worker = self.worker(seat);
        worker.call_back_at = None;
        let asked: Vec<u64> = worker.call_back().collect();
        for id in asked {
            self.say(Effect::SendSkip { seat, id });
        }
        if planted!(BackAtOnce) {
            self.take_all_back(seat);
        }
    }

    /// An aborted job lies ahead at a worker: it must not be started.
    pub(super) fn disown(&mut self, seat: Seat, key: JobKey) {
        if let Some(id) = self.worker(seat).disown(key) {
            self.say(Effect::SendSkip { seat, id });
        }
    }

    /// A job that was sent ahead is back: it goes to its old place in the backlog, with no attempt used.
    pub(super) fn take_back(&mut self, seat: Seat, key: JobKey) {
        self.worker(seat).taken -= 1;
        let Supervisor { backlog, jobs, .. } = &mut *self.machine;
        if planted!(ReturnToBack) {
            return backlog.push_back(jobs, key);
        }
        backlog.put_back(jobs, key);
    }

    /// Takes back all jobs that lie ahead at the worker, which will start none of them.
    pub(super) fn take_all_back(&mut self, seat: Seat) {
        self.worker(seat).call_back_at = None;
        while let Some(ahead) = self.worker(seat).ahead.pop_back() {
            if let Some(key) = ahead.key {
                self.take_back(seat, key);
            }
        }
    }

    /// A job of a higher priority than some that lie ahead goes before those: they are asked back.
    pub(super) fn call_back_lower(&mut self, key: JobKey) {
        let machine = &*self.machine;
        let priority_of = |key| machine.jobs.get(key).map_or(0, |entry| entry.settings.priority());
        let priority = priority_of(key);
        if priority <= machine.lowest_priority {
            return;
        }
        let lower = |worker: &Worker| worker.ahead_keys().any(|ahead| priority_of(ahead) < priority);
        let slots = machine.slots.iter().enumerate();
        let seats = slots.filter_map(|(slot, worker)| {
            let worker = worker.as_ref().filter(|worker| lower(worker))?;
            Some(Seat { slot, worker: worker.id })
        });
        for seat in seats.collect::<Vec<_>>() {
            self.call_back(seat);
        }
    }
}
