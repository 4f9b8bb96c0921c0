//! The state machine: what happened and the time in, what to do about it out.
//!
//! There is no clock, thread, process, pipe or channel in here, and no payload: the driver (or the simulator) carries
//! those. Every rule of the pool that can go wrong by interleaving is decided in this module and nowhere else.
//!
//! Read [`Input`] and [`Effect`](effect::Effect) first, then [`Supervisor::handle`] from top to bottom.

mod backlog;
mod config;
mod effect;
mod input;
mod jobs;
mod planted;
mod starts;
mod worker;

#[cfg(test)]
pub(crate) mod sim;
/// As much of it as fuzzing takes.
#[cfg(all(fuzzing, not(test)))]
pub(crate) mod sim {
    #[allow(dead_code)]
    mod checker;
    pub(crate) mod fuzz;
}
#[cfg(test)]
mod transcripts;

pub(crate) use config::{Config, JobSettings, MaxMemory};
pub use effect::CrashCause;
pub(crate) use effect::{Effect, Outcome, Signal, Violation};
pub(crate) use input::{Input, Said};
pub(crate) use jobs::JobKey;
pub(crate) use worker::Seat;
pub use worker::WorkerState;

use backlog::Backlog;
use jobs::{Jobs, Place};
use planted::planted;
use starts::Starts;
use std::time::Duration;
use worker::{Current, End, Worker};

/// A death is handled when the exit is known and both pipes are read to their end, or are read no longer: this long after
/// the first sign.
pub(crate) const DEATH_WAIT: Duration = Duration::from_millis(100);

/// How often the memory of a worker that has something to do is looked at, where it has a hard limit.
pub(crate) const MEASURE_EVERY: Duration = Duration::from_millis(100);

/// What counts as a short job: only behind such is another sent ahead.
pub(crate) const SHORT: Duration = Duration::from_millis(1);

/// Which new work the pool takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Open,
    /// No new jobs; those accepted are done.
    Draining,
    /// No jobs at all; the workers are on their way out.
    Exiting,
}

/// What has been counted since the pool was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Counters {
    pub(crate) enqueued: u64,
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    pub(crate) aborted: u64,
    pub(crate) retried: u64,
    pub(crate) timed_out: u64,
    pub(crate) spawned: u64,
    pub(crate) exited: u64,
    pub(crate) crashed: u64,
}

/// The pool's state. `T` is whatever the driver needs to find a job again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Supervisor<T> {
    config: Config,
    phase: Phase,
    jobs: Jobs<T>,
    backlog: Backlog,
    /// One place a worker; the dying ones keep theirs until they are reaped, so there are never too many.
    slots: Vec<Option<Worker>>,
    /// How many slots have one.
    occupied: usize,
    starts: Starts,
    /// The slots of the workers that can take a job; the one used last is used next.
    free: Vec<usize>,
    next_worker: u64,
    /// The lowest priority that any job had.
    lowest_priority: i32,
    counters: Counters,
    /// Workers that are Working or Recovering.
    busy: usize,
    /// Workers that hold a job.
    held: usize,
    /// Whether there was work since the last `Idle`.
    worked: bool,
    /// Whether `AllReady` is still to be said.
    awaiting_ready: bool,
}

impl<T> Supervisor<T> {
    pub(crate) fn new(config: Config) -> Self {
        let slots = (0..config.max_processes).map(|_| None).collect();
        Supervisor {
            starts: Starts::new(config.max_processes, config.start_failures),
            config,
            phase: Phase::Open,
            jobs: Jobs::new(),
            backlog: Backlog::default(),
            slots,
            occupied: 0,
            free: Vec::new(),
            next_worker: 1,
            lowest_priority: 0,
            counters: Counters::default(),
            busy: 0,
            held: 0,
            worked: false,
            awaiting_ready: false,
        }
    }

    // ------------------------------------------------------------ what can be asked

    /// Whether new jobs are taken.
    pub(crate) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Whether everything is over: no job, no worker, and none to come.
    pub(crate) fn is_finished(&self) -> bool {
        self.phase == Phase::Exiting && self.slots.iter().all(Option::is_none)
    }

    /// Whether there is no job and no worker is busy.
    pub(crate) fn is_idle(&self) -> bool {
        self.jobs.is_empty() && self.busy == 0
    }

    /// Whether no worker would start, and none has since.
    pub(crate) fn is_broken(&self) -> bool {
        self.starts.is_broken()
    }

    /// Whether a worker waits for a job.
    pub(crate) fn has_free_worker(&self) -> bool {
        !self.free.is_empty()
    }

    /// Jobs that no worker has begun: queued, sent ahead, or waiting to be retried.
    pub(crate) fn backlog_len(&self) -> usize {
        self.jobs.len() - self.held
    }

    pub(crate) fn unsettled(&self) -> usize {
        self.jobs.len()
    }

    pub(crate) fn busy(&self) -> usize {
        self.busy
    }

    pub(crate) fn counters(&self) -> Counters {
        self.counters
    }

    /// Whether every slot has a worker that has been ready.
    pub(crate) fn all_ready(&self) -> bool {
        self.slots.iter().all(|slot| slot.as_ref().is_some_and(|worker| worker.been_ready))
    }

    pub(crate) fn worker(&self, seat: Seat) -> Option<&Worker> {
        self.slots.get(seat.slot)?.as_ref().filter(|worker| worker.id == seat.worker || planted!(NamesakesAreOne))
    }

    /// The workers that have a process, in the order of their slots.
    pub(crate) fn workers(&self) -> impl Iterator<Item = (Seat, &Worker)> {
        let occupied = self.slots.iter().enumerate().filter_map(|(slot, worker)| Some((slot, worker.as_ref()?)));
        occupied.filter(|(_, worker)| worker.spawned).map(|(slot, worker)| (Seat { slot, worker: worker.id }, worker))
    }

    /// What the driver calls this job, and its number.
    pub(crate) fn job(&self, key: JobKey) -> Option<(&T, u64)> {
        let entry = self.jobs.get(key)?;
        Some((&entry.job, entry.id))
    }

    /// Takes out a job that [`Effect::Settled`] was said of, which is due before the next input.
    pub(crate) fn take(&mut self, key: JobKey) -> T {
        self.jobs.take(key)
    }

    /// When [`Input::Tick`] is due, if nothing happens before.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        let workers = self.slots.iter().flatten().filter_map(Worker::next_deadline);
        workers.chain(self.starts.next_deadline()).min()
    }

    // ------------------------------------------------------------ what happened

    /// Takes in what happened, and appends what is to be done about it, in order.
    ///
    /// `now` never goes back. What is said of a worker that is no more is ignored.
    pub(crate) fn handle(&mut self, now: Duration, input: Input<T>, effects: &mut Vec<Effect<T>>) {
        let mut turn = Turn { machine: self, now, effects };
        match input {
            Input::Enqueue { id, job, settings } => turn.enqueue(id, job, settings),
            Input::Abort { key, id } => turn.abort(key, id),
            Input::SpawnWorkers => turn.spawn_workers(),
            Input::Close => turn.close(),
            Input::Exit => turn.exit(),
            Input::Tick => turn.tick(),
            Input::Spawned(seat) => turn.if_known(seat, |turn| turn.spawned(seat)),
            Input::SpawnFailed(seat) => turn.if_known(seat, |turn| turn.spawn_failed(seat)),
            Input::Said(seat, said) => turn.if_known(seat, |turn| turn.said(seat, said)),
            Input::Resident { seat, bytes, at_rest } => {
                turn.if_known(seat, |turn| turn.resident(seat, bytes, at_rest));
            }
            Input::Garbled(seat) => turn.if_known(seat, |turn| turn.violated(seat, Violation::Garbled)),
            Input::OutputEnded(seat) => turn.if_known(seat, |turn| turn.output_ended(seat)),
            Input::InputBroken(seat) => turn.if_known(seat, |turn| turn.input_broken(seat)),
            Input::ErrorsEnded(seat) => turn.if_known(seat, |turn| turn.errors_ended(seat)),
            Input::Exited(seat) => turn.if_known(seat, |turn| turn.exited(seat)),
        }
        turn.settle_down();
    }
}

/// One call of [`Supervisor::handle`]: the machine, the time, and where effects go.
struct Turn<'t, T> {
    machine: &'t mut Supervisor<T>,
    now: Duration,
    effects: &'t mut Vec<Effect<T>>,
}

impl<T> Turn<'_, T> {
    fn say(&mut self, effect: Effect<T>) {
        self.effects.push(effect);
    }

    fn if_known(&mut self, seat: Seat, then: impl FnOnce(&mut Self)) {
        if self.machine.worker(seat).is_some() {
            then(self);
        }
    }

    /// The worker in `seat`, which is known to be there.
    fn worker(&mut self, seat: Seat) -> &mut Worker {
        match &mut self.machine.slots[seat.slot] {
            Some(worker) if worker.id == seat.worker || planted!(NamesakesAreOne) => worker,
            _ => unreachable!("a seat is used only while its worker is in it"),
        }
    }

    /// The seat of the worker that is in `slot`.
    fn seat(&self, slot: u32) -> Seat {
        let slot = slot as usize;
        let worker = self.machine.slots[slot].as_ref().map_or(0, |worker| worker.id);
        Seat { slot, worker }
    }

    fn after(&self, limit: Option<Duration>) -> Option<Duration> {
        limit.and_then(|limit| self.now.checked_add(limit))
    }

    /// What is done at the end of every turn: free workers get work, missing ones are spawned, idleness is told.
    fn settle_down(&mut self) {
        self.hand_out();
        self.spawn_missing();
        let machine = &mut *self.machine;
        if machine.worked && machine.is_idle() {
            machine.worked = planted!(IdleAgain);
            self.say(Effect::Idle);
        }
    }

    fn tick(&mut self) {
        for slot in 0..self.machine.slots.len() {
            let Some(worker) = &self.machine.slots[slot] else { continue };
            let seat = Seat { slot, worker: worker.id };
            if worker.call_back_at.is_some_and(|at| at <= self.now) {
                self.call_back(seat);
            }
            if self.worker(seat).limit_at.is_some_and(|at| at <= self.now) {
                self.over_limit(seat);
            }
            if self.worker(seat).measure_at.is_some_and(|at| at <= self.now) {
                self.measure_later(seat);
                self.say(Effect::Measure(seat));
            }
            if self.worker(seat).death_at.is_some_and(|at| at <= self.now) {
                self.death_due(seat);
            }
        }
    }

    // ------------------------------------------------------------ the callers

    fn enqueue(&mut self, id: u64, job: T, settings: JobSettings) {
        if !self.machine.is_open() {
            return self.say(Effect::Refused(job));
        }
        self.machine.lowest_priority = self.machine.lowest_priority.min(settings.priority());
        let key = self.machine.jobs.insert(id, job, settings);
        self.machine.counters.enqueued += 1;
        self.machine.worked = true;
        self.say(Effect::Enqueued(key));
        match self.machine.free.pop() {
            Some(slot) => self.hand(slot, key),
            None => self.queue_at_back(key),
        }
    }

    /// A job of a higher priority than some that lie ahead goes before those: they are asked back.
    fn call_back_lower(&mut self, key: JobKey) {
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

    fn abort(&mut self, key: JobKey, id: u64) {
        let Some(entry) = self.machine.jobs.get(key).filter(|entry| entry.id == id) else { return };
        let place = entry.place;
        self.settle(key, Outcome::Aborted);
        if let Place::Held(slot) = place
            && !planted!(AbortedWorkerLives)
        {
            self.kill(self.seat(slot), End::Aborted);
        }
    }

    fn spawn_workers(&mut self) {
        if self.machine.phase == Phase::Open {
            self.machine.awaiting_ready = true;
            self.machine.starts.want_all();
            self.tell_all_ready();
        }
    }

    fn close(&mut self) {
        if self.machine.phase == Phase::Open {
            self.machine.phase = Phase::Draining;
        }
    }

    fn exit(&mut self) {
        self.machine.phase = Phase::Exiting;
        self.settle_all(Outcome::Closed, |_| true);
        for slot in 0..self.machine.slots.len() {
            if let Some(worker) = &self.machine.slots[slot] {
                self.kill(Seat { slot, worker: worker.id }, End::PoolExit);
            }
        }
    }

    // ------------------------------------------------------------ jobs

    /// Puts a job that is in no place at the back of the backlog.
    fn queue_at_back(&mut self, key: JobKey) {
        let Supervisor { backlog, jobs, .. } = &mut *self.machine;
        backlog.push_back(jobs, key);
        self.say(Effect::Backlogged(key));
        self.call_back_lower(key);
    }

    /// The job is over: its entry is gone from here on, wherever it was.
    fn settle(&mut self, key: JobKey, outcome: Outcome) {
        let Some(entry) = self.machine.jobs.get(key) else { return };
        let seat = match entry.place {
            Place::Held(slot) => Some(self.seat(slot)),
            _ => None,
        };
        match entry.place {
            Place::Nowhere | Place::Settled => {}
            Place::Queued => {
                let Supervisor { backlog, jobs, .. } = &mut *self.machine;
                backlog.remove(jobs, key);
            }
            Place::Held(slot) => self.let_go(self.seat(slot)),
            Place::Ahead(slot) => self.disown(self.seat(slot), key),
            Place::Dying(slot) => {
                let seat = self.seat(slot);
                self.worker(seat).retry_at_death = None;
            }
        }
        let pools = self.machine.config.retries;
        let entry = self.machine.jobs.settle(key);
        let (attempt, attempts) = (entry.attempt, entry.settings.retries(pools).saturating_add(1));
        let counters = &mut self.machine.counters;
        match outcome {
            Outcome::Success => counters.succeeded += 1,
            Outcome::Aborted => counters.aborted += 1,
            _ => counters.failed += 1,
        }
        self.say(Effect::Settled { key, attempt, attempts, outcome, seat });
    }

    fn settle_all(&mut self, outcome: Outcome, which: impl Fn(Place) -> bool) {
        for key in self.machine.jobs.keys_in_order(|entry| which(entry.place)) {
            self.settle(key, outcome);
        }
    }

    /// The attempt that the worker holds is over, with `outcome`: the job settles, or goes back to be retried; where
    /// the worker is `dying`, only once it has been reaped.
    fn attempt_over(&mut self, seat: Seat, outcome: Outcome, dying: bool) {
        let Some(current) = self.worker(seat).current else { return };
        let key = current.key;
        let retries = self.machine.config.retries;
        let Some(entry) = self.machine.jobs.get(key) else { return };
        let (attempt, attempts) = (entry.attempt, entry.settings.retries(retries).saturating_add(1));
        if !outcome.may_be_retried() || attempt >= attempts + u32::from(planted!(OneRetryTooMany)) {
            return self.settle(key, outcome);
        }
        self.let_go(seat);
        self.machine.counters.retried += 1;
        self.say(Effect::Retried { key, attempt, attempts, outcome, seat });
        if dying && !planted!(RetryBeforeReap) {
            self.machine.jobs.place(key, Place::Dying(seat.slot as u32));
            self.worker(seat).retry_at_death = Some(key);
        } else {
            self.machine.jobs.place(key, Place::Nowhere);
            self.queue_at_back(key);
        }
    }

    /// The worker holds its job no more.
    fn let_go(&mut self, seat: Seat) {
        if self.worker(seat).current.take().is_some() && !planted!(HeldIsMiscounted) {
            self.machine.held -= 1;
        }
    }

    // ------------------------------------------------------------ handing out

    /// Gives queued jobs to the workers that are free.
    fn hand_out(&mut self) {
        while !self.machine.free.is_empty() {
            let Supervisor { backlog, jobs, .. } = &mut *self.machine;
            let Some(key) = backlog.pop_front(jobs) else { return };
            let Some(slot) = self.machine.free.pop() else { return };
            self.hand(slot, key);
        }
    }

    /// Sends a job to the free worker in `slot`, and what may go ahead behind it.
    fn hand(&mut self, slot: usize, key: JobKey) {
        let Some(worker) = &mut self.machine.slots[slot] else { return };
        let seat = Seat { slot, worker: worker.id };
        worker.taken += 1;
        self.begin(seat, key, true);
        self.top_up(seat);
    }

    /// From here on the worker holds the job, and its clock runs.
    fn begin(&mut self, seat: Seat, key: JobKey, send: bool) {
        let limit = self.machine.config.timeout_working;
        let entry = self.machine.jobs.begin(key, seat.slot as u32);
        let (id, attempt, limit) = (entry.id, entry.attempt, entry.settings.timeout(limit));
        let limit = if planted!(OwnLimitForgotten) { self.machine.config.timeout_working } else { limit };
        let limit_at = self.after(limit);
        let since = self.now;
        self.machine.held += 1;
        if send {
            self.say(Effect::SendJob { seat, key, attempt });
        }
        let worker = self.worker(seat);
        worker.current = Some(Current { key, id, attempt, started: false, since });
        (worker.limit, worker.limit_at) = (limit, limit_at);
        self.say(Effect::Task { seat, key, attempt });
        self.enter(seat, WorkerState::Working);
    }

    /// Sends jobs ahead to a worker whose jobs are short, while no worker is free.
    fn top_up(&mut self, seat: Seat) {
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
    fn crowding(&self) -> u32 {
        let workers = self.machine.occupied.div_ceil(self.machine.config.cores);
        u32::try_from(workers).unwrap_or(u32::MAX).max(1)
    }

    /// The running job is long, or the worker is needed no more: the jobs sent ahead are asked back.
    fn call_back(&mut self, seat: Seat) {
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
    fn disown(&mut self, seat: Seat, key: JobKey) {
        if let Some(id) = self.worker(seat).disown(key) {
            self.say(Effect::SendSkip { seat, id });
        }
    }

    /// A job that was sent ahead is back: it goes to its old place in the backlog, with no attempt used.
    fn take_back(&mut self, seat: Seat, key: JobKey) {
        self.worker(seat).taken -= 1;
        let Supervisor { backlog, jobs, .. } = &mut *self.machine;
        if planted!(ReturnToBack) {
            return backlog.push_back(jobs, key);
        }
        backlog.put_back(jobs, key);
    }

    /// Takes back all jobs that lie ahead at the worker, which will start none of them.
    fn take_all_back(&mut self, seat: Seat) {
        self.worker(seat).call_back_at = None;
        while let Some(ahead) = self.worker(seat).ahead.pop_back() {
            if let Some(key) = ahead.key {
                self.take_back(seat, key);
            }
        }
    }

    // ------------------------------------------------------------ spawning

    fn spawn_missing(&mut self) {
        let Supervisor { config, phase, backlog, slots, occupied, starts, .. } = &mut *self.machine;
        if *phase == Phase::Exiting && !planted!(SpawnAfterExit) {
            return starts.want_none();
        }
        let minimum = if *phase == Phase::Open { config.min_processes } else { 0 };
        // Most turns end here: there is no room for a worker, or no need of one.
        if *occupied == slots.len() || (backlog.len() == 0 && *occupied >= minimum && !starts.are_wanted()) {
            return starts.want_none();
        }
        let due = starts.due(self.now, slots, backlog.len(), minimum);
        for slot in due {
            let worker = self.machine.next_worker;
            self.machine.next_worker += 1;
            let probe = self.machine.is_broken();
            self.machine.slots[slot] = Some(Worker::new(worker, probe));
            self.machine.occupied += 1;
            self.say(Effect::Spawn(Seat { slot, worker }));
        }
    }

    fn spawned(&mut self, seat: Seat) {
        self.machine.counters.spawned += 1;
        let limit = self.machine.config.timeout_initializing;
        let limit_at = self.after(limit);
        self.say(Effect::Spawned(seat));
        let worker = self.worker(seat);
        worker.spawned = true;
        if worker.end.is_some() {
            // The pool has ended while it was being spawned.
            return self.signal(seat);
        }
        (worker.limit, worker.limit_at) = (limit, limit_at);
        self.measure_later(seat);
        self.say(Effect::SendInit(seat));
        self.tell_state(seat, WorkerState::Initializing);
    }

    fn spawn_failed(&mut self, seat: Seat) {
        self.vacate(seat);
    }

    fn tell_all_ready(&mut self) {
        if self.machine.awaiting_ready && self.machine.all_ready() {
            self.machine.awaiting_ready = false;
            self.say(Effect::AllReady);
        }
    }

    // ------------------------------------------------------------ what a worker says

    fn said(&mut self, seat: Seat, said: Said) {
        if self.worker(seat).state == WorkerState::Exiting && !planted!(ExitingIsHeard) {
            // The jobs it held are settled or on their way back; whatever it says now is too late.
            return;
        }
        match said {
            Said::Ready => self.said_ready(seat),
            Said::Start { job } => drop(self.running_on(seat, job)),
            Said::Progress { job } => {
                if let Some(Current { key, attempt, .. }) = self.running_on(seat, job) {
                    self.say(Effect::Progressed { seat, key, attempt });
                }
            }
            Said::Answer { job, outcome, ready } => self.answered(seat, job, outcome, ready),
            Said::Terminal { job } => self.terminal(seat, job),
            Said::Skipped { job } => self.skipped(seat, job),
            Said::Retire => {
                self.worker(seat).retiring = true;
                self.take_all_back(seat);
                if self.worker(seat).state == WorkerState::Ready {
                    self.next_for(seat);
                }
            }
        }
    }

    fn said_ready(&mut self, seat: Seat) {
        match self.worker(seat).state {
            WorkerState::Initializing => {
                self.worker(seat).been_ready = true;
                self.machine.starts.one_is_ready(seat.slot);
                self.ready(seat);
                self.tell_all_ready();
            }
            WorkerState::Recovering => self.ready(seat),
            state => self.violated(seat, Violation::ReadyWhile(state)),
        }
    }

    fn ready(&mut self, seat: Seat) {
        let worker = self.worker(seat);
        (worker.limit, worker.limit_at) = (None, None);
        self.enter(seat, WorkerState::Ready);
        self.next_for(seat);
    }

    /// What a worker that is ready does next: leave, the job that lies ahead, or wait.
    fn next_for(&mut self, seat: Seat) {
        let most = self.machine.config.max_jobs_per_process;
        let limit = self.machine.config.timeout_working;
        let doubtful_until = self.after(limit);
        let worker = self.worker(seat);
        if worker.is_ending() {
            return;
        }
        if let Some(front) = worker.ahead.front() {
            match front.key {
                Some(key) if !front.called_back => {
                    worker.ahead.pop_front();
                    self.begin(seat, key, false);
                    self.top_up(seat);
                }
                // It was asked back, or aborted, and the worker may have started it before it read so: its next word
                // will tell. It is limited as if it had.
                _ if planted!(DoubtHasNoLimit) => {}
                _ => (worker.limit, worker.limit_at) = (limit, doubtful_until),
            }
        } else if worker.retiring || worker.outgrown || worker.taken >= most + u64::from(planted!(OneJobTooMany)) {
            self.leave(seat);
        } else {
            (worker.limit, worker.limit_at) = (None, None);
            self.machine.free.push(seat.slot);
        }
    }

    /// The worker speaks of the job that it runs, which has begun with its first word.
    fn running(&mut self, seat: Seat, id: u64) -> Option<Current> {
        if !self.holds(seat, id) {
            return None;
        }
        let current = self.worker(seat).current.as_mut()?;
        let told = std::mem::replace(&mut current.started, true);
        let current = *current;
        if !told {
            self.say(Effect::Started { seat, key: current.key, attempt: current.attempt });
        }
        Some(current)
    }

    /// The same, of a word that is not the answer: where the job is no short one, none waits behind it.
    fn running_on(&mut self, seat: Seat, id: u64) -> Option<Current> {
        let current = self.running(seat, id)?;
        if self.now.saturating_sub(current.since) >= SHORT && self.worker(seat).has_uncalled() {
            self.call_back(seat);
        }
        Some(current)
    }

    /// Whether it holds job `id`, of which it speaks. A job that lay ahead and was asked back too late is begun here;
    /// anything else that it does not hold is a violation.
    fn holds(&mut self, seat: Seat, id: u64) -> bool {
        let worker = self.worker(seat);
        if let Some(current) = &worker.current {
            if current.id == id {
                return true;
            }
        } else if worker.state == WorkerState::Ready
            && let Some(at) = worker.ahead.iter().position(|ahead| ahead.id == id)
        {
            // Those before it were skipped, or it would have said so.
            let ahead = if at == 0 { worker.ahead.pop_front() } else { None };
            match ahead.map(|ahead| ahead.key) {
                Some(Some(key)) => {
                    self.begin(seat, key, false);
                    return true;
                }
                Some(None) => {
                    // It was aborted, and started all the same: nobody is told, and the worker is killed.
                    if planted!(AbortedIsBegun) {
                        self.enter(seat, WorkerState::Working);
                        return true;
                    }
                    self.kill(seat, End::Aborted);
                    return false;
                }
                None => {}
            }
        }
        self.violated(seat, Violation::NotItsJob { job: id });
        false
    }

    fn answered(&mut self, seat: Seat, id: u64, outcome: Outcome, ready: bool) {
        let silent = self.worker(seat).current.is_none_or(|current| !current.started);
        let Some(current) = self.running(seat, id) else { return };
        let mut took = self.now.saturating_sub(current.since);
        if silent {
            // A handler that runs for long is announced. The rest was the wait for a core.
            took /= self.crowding();
        }
        let limit = self.machine.config.timeout_recovering;
        let limit_at = self.after(limit);
        let worker = self.worker(seat);
        worker.finished_one(took);
        (worker.limit, worker.limit_at) = (limit, limit_at);
        self.machine.starts.one_has_worked(seat.slot);
        self.attempt_over(seat, outcome, false);
        self.enter(seat, WorkerState::Recovering);
        if ready {
            self.ready(seat);
        }
    }

    /// The worker says its last words.
    fn terminal(&mut self, seat: Seat, job: Option<u64>) {
        if let Some(id) = job
            && self.running(seat, id).is_none()
        {
            return;
        }
        self.say(Effect::LastWords(seat));
        self.worker(seat).end(End::Terminal);
        self.attempt_over(seat, Outcome::Panicked, true);
        self.on_its_way(seat);
    }

    fn skipped(&mut self, seat: Seat, id: u64) {
        let worker = self.worker(seat);
        if worker.retiring && !planted!(RetireCrossesSkip) {
            // Its word that it retires has brought all of them back, and crossed the question.
            return;
        }
        let Some(at) = worker.ahead.iter().position(|ahead| ahead.id == id && ahead.called_back) else {
            return self.violated(seat, Violation::NotItsJob { job: id });
        };
        if let Some(ahead) = worker.ahead.remove(at) {
            match ahead.key {
                Some(key) => self.take_back(seat, key),
                None => self.worker(seat).taken -= 1,
            }
        }
        if self.worker(seat).state == WorkerState::Ready && self.worker(seat).current.is_none() {
            self.next_for(seat);
        }
    }

    /// The worker broke the protocol: it is killed, and nothing of what it said is matched to another job.
    fn violated(&mut self, seat: Seat, violation: Violation) {
        if self.worker(seat).state == WorkerState::Exiting {
            return;
        }
        self.say(Effect::Violated(seat, violation));
        self.worker(seat).end(End::Violation);
        self.attempt_over(seat, Outcome::Protocol(violation), true);
        self.kill(seat, End::Violation);
    }

    // ------------------------------------------------------------ limits, leaving, killing

    /// The state's limit is over, or that of an exit that does not come.
    fn over_limit(&mut self, seat: Seat) {
        let worker = self.worker(seat);
        let (state, limit) = (worker.state, worker.limit.unwrap_or_default());
        match state {
            WorkerState::Exiting => self.signal(seat),
            WorkerState::Initializing | WorkerState::Ready | WorkerState::Working | WorkerState::Recovering => {
                worker.end(End::TimedOut);
                self.machine.counters.timed_out += 1;
                let job = self.worker(seat).held();
                self.say(Effect::OverLimit { seat, state, limit, job });
                self.attempt_over(seat, Outcome::TimedOut { state, limit }, true);
                self.kill(seat, End::TimedOut);
            }
        }
    }

    /// The memory of the worker is looked at again after a while, if it has a hard limit.
    fn measure_later(&mut self, seat: Seat) {
        let limited = self.machine.config.max_memory.hard.is_some();
        let measure_at = self.after(limited.then_some(MEASURE_EVERY));
        self.worker(seat).measure_at = measure_at;
    }

    fn resident(&mut self, seat: Seat, bytes: u64, at_rest: bool) {
        let MaxMemory { soft, hard } = self.machine.config.max_memory;
        let worker = self.worker(seat);
        if worker.state == WorkerState::Exiting {
            return;
        }
        let over = |limit: Option<u64>| limit.filter(|&limit| bytes > limit && !planted!(MemoryIsFree));
        if let Some(limit) = over(hard)
            && !at_rest
        {
            worker.end(End::OverMemory);
            self.say(Effect::OverMemory { seat, bytes, limit });
            self.attempt_over(seat, Outcome::OutOfMemory { bytes, limit }, true);
            return self.kill(seat, End::OverMemory);
        }
        // One that is large from its start on does a job all the same.
        let has_job = matches!(worker.state, WorkerState::Working | WorkerState::Recovering);
        if over(soft.or(hard)).is_some() && has_job && !worker.outgrown {
            worker.outgrown = true;
            self.say(Effect::Outgrown { seat, bytes });
            self.call_back(seat);
        }
    }

    /// The worker is let go: it has done its jobs.
    fn leave(&mut self, seat: Seat) {
        self.worker(seat).end(End::Left);
        self.say(Effect::SendLeave(seat));
        self.on_its_way(seat);
    }

    /// The worker will end by itself; if it does not within the grace time, it is told to.
    fn on_its_way(&mut self, seat: Seat) {
        let grace = self.machine.config.kill_grace;
        let limit_at = self.after(Some(grace));
        let worker = self.worker(seat);
        (worker.limit, worker.limit_at) = (Some(grace), limit_at);
        worker.next_signal = Some(Signal::Terminate);
        self.enter(seat, WorkerState::Exiting);
    }

    /// SIGTERM to the worker's group now, SIGKILL after the grace time.
    fn kill(&mut self, seat: Seat, end: End) {
        let grace = self.machine.config.kill_grace;
        let worker = self.worker(seat);
        worker.end(end);
        let told_to_leave = worker.next_signal == Some(Signal::Terminate);
        if worker.state == WorkerState::Exiting && !told_to_leave {
            // It is being killed already.
            return;
        }
        worker.next_signal = Some(if grace.is_zero() { Signal::Kill } else { Signal::Terminate });
        self.enter(seat, WorkerState::Exiting);
        if self.worker(seat).spawned {
            self.signal(seat);
            if planted!(DyingDoNotCount) {
                self.vacate(seat);
            }
        }
    }

    /// Sends the signal that is next, and sets the time of the one after it.
    fn signal(&mut self, seat: Seat) {
        let grace = self.machine.config.kill_grace;
        let after_grace = self.after(Some(grace));
        let worker = self.worker(seat);
        (worker.limit, worker.limit_at) = (None, None);
        let Some(signal) = worker.next_signal.filter(|_| !worker.exited || planted!(SignalToTheReaped)) else { return };
        worker.asked = true;
        worker.next_signal = (signal == Signal::Terminate && !planted!(NoSigkill)).then_some(Signal::Kill);
        (worker.limit, worker.limit_at) = (Some(grace), worker.next_signal.and(after_grace));
        self.say(Effect::Signal(seat, signal));
    }

    fn enter(&mut self, seat: Seat, state: WorkerState) {
        let worker = self.worker(seat);
        let before = std::mem::replace(&mut worker.state, state);
        if before == state {
            return;
        }
        let is_busy = |state| matches!(state, WorkerState::Working | WorkerState::Recovering);
        self.machine.busy -= usize::from(is_busy(before));
        self.machine.busy += usize::from(is_busy(state));
        match state {
            WorkerState::Exiting => {
                let worker = self.worker(seat);
                (worker.call_back_at, worker.measure_at) = (None, None);
                self.no_longer_free(seat);
            }
            WorkerState::Ready => self.worker(seat).measure_at = None,
            WorkerState::Working => self.measure_later(seat),
            WorkerState::Initializing | WorkerState::Recovering => {}
        }
        self.tell_state(seat, state);
    }

    fn tell_state(&mut self, seat: Seat, state: WorkerState) {
        let job = self.worker(seat).held();
        self.say(Effect::State { seat, state, job });
    }

    fn no_longer_free(&mut self, seat: Seat) {
        self.machine.free.retain(|&slot| slot != seat.slot);
    }

    // ------------------------------------------------------------ death

    fn exited(&mut self, seat: Seat) {
        self.worker(seat).exited = true;
        self.sign_of_death(seat);
        self.handle_death_if_complete(seat);
    }

    fn output_ended(&mut self, seat: Seat) {
        self.worker(seat).output_ended = true;
        self.sign_of_death(seat);
        self.handle_death_if_complete(seat);
    }

    /// The worker has closed the end from which it would read its jobs.
    fn input_broken(&mut self, seat: Seat) {
        self.sign_of_death(seat);
    }

    fn errors_ended(&mut self, seat: Seat) {
        self.worker(seat).errors_ended = true;
        self.handle_death_if_complete(seat);
    }

    fn sign_of_death(&mut self, seat: Seat) {
        let due = self.now + DEATH_WAIT;
        if !planted!(HandedToTheDead) {
            self.no_longer_free(seat);
        }
        let worker = self.worker(seat);
        if worker.exited {
            // A limit cannot be passed any more, and nothing is left to be signalled or measured.
            (worker.limit, worker.limit_at, worker.measure_at) = (None, None, None);
        }
        worker.call_back_at = None;
        worker.death_at.get_or_insert(due);
    }

    fn handle_death_if_complete(&mut self, seat: Seat) {
        let worker = self.worker(seat);
        if worker.exited && worker.output_ended && worker.errors_ended {
            self.handle_death(seat);
        }
    }

    /// The wait for the other signs of a death is over.
    fn death_due(&mut self, seat: Seat) {
        let worker = self.worker(seat);
        worker.death_at = None;
        if worker.exited {
            // A grandchild may hold the pipes for as long as it likes. Standard error is waited for no longer. The end of
            // the output is sure to come, since its reader gives up as well; what it still says was written before the
            // death and counts.
            worker.errors_ended = true;
            return self.handle_death_if_complete(seat);
        }
        // A new wait starts with the exit.
        if worker.state != WorkerState::Exiting && !planted!(ClosedPipeIsNothing) {
            worker.end(End::PipeClosed);
            self.say(Effect::OutputClosed(seat));
            self.attempt_over(seat, Outcome::Crashed(CrashCause::PipeClosed), true);
            self.kill(seat, End::PipeClosed);
        }
    }

    /// The process is reaped, and all that it wrote has been read.
    fn handle_death(&mut self, seat: Seat) {
        let worker = self.worker(seat);
        worker.had_job |= worker.current.is_some() && !planted!(CrashIsNoStart);
        self.attempt_over(seat, Outcome::Crashed(CrashCause::Exited), false);
        if self.worker(seat).state != WorkerState::Exiting {
            self.enter(seat, WorkerState::Exiting);
        }
        self.machine.counters.exited += 1;
        if !self.worker(seat).was_asked() {
            self.machine.counters.crashed += 1;
        }
        self.say(Effect::Died(seat));
        self.vacate(seat);
    }

    /// The slot is empty again: what was left in it goes back, and whether it was a start failure is decided.
    fn vacate(&mut self, seat: Seat) {
        if !planted!(AheadDiesToo) {
            self.take_all_back(seat);
        }
        self.no_longer_free(seat);
        let Some(worker) = self.machine.slots[seat.slot].take() else { return };
        self.machine.occupied -= 1;
        if let Some(key) = worker.retry_at_death {
            self.machine.jobs.place(key, Place::Nowhere);
            self.queue_at_back(key);
        }
        if !worker.failed_to_start() {
            return self.machine.starts.one_has_ended(seat.slot, worker.had_job);
        }
        let others_ready = self.machine.slots.iter().flatten().any(|other| other.been_ready);
        let verdict = self.machine.starts.one_has_failed(seat.slot, self.now, others_ready);
        self.say(Effect::StartFailed { seat, wait: verdict.wait, in_a_row: verdict.in_a_row });
        if verdict.breaks {
            // Those that were asked for before say nothing of the jobs that come from now on.
            self.machine.slots.iter_mut().flatten().for_each(|other| other.probe = false);
        }
        let told = verdict.breaks || (self.machine.is_broken() && (worker.probe || planted!(OldStartsCount)));
        if told && !planted!(NoWorkerIsNotTold) {
            self.settle_all(Outcome::NoWorker, |place| place == Place::Queued);
        }
    }
}
