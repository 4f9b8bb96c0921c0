//! What must hold after each step, at any time and at the end.

use super::{Checker, EXIT_WAIT, Followed, Found, SLACK, Stage, ensure};
use crate::supervisor::worker::Worker;
use crate::supervisor::{Effect, SHORT, Supervisor, WorkerState};
use std::time::Duration;

/// The jobs that are not over, counted.
#[derive(Default)]
struct Census {
    /// A job that was accepted, and of which it was not announced where it is.
    unannounced: Option<u64>,
    /// Whether a job waits for a worker, and for nothing else.
    queued: bool,
    /// How many wait for a time.
    delayed: usize,
    /// How many no worker has begun.
    backlog: usize,
    /// How many are accepted.
    open: usize,
}

impl Checker {
    /// No step does or announces the same twice.
    pub(in crate::supervisor::sim) fn distinct(effects: &[Effect]) -> Found {
        let twice = effects.iter().enumerate().find(|(at, effect)| effects[..*at].contains(effect));
        ensure(twice.is_none(), || format!("twice in one step: {twice:?}"))
    }

    pub(in crate::supervisor::sim) fn settled_down(&mut self, machine: &Supervisor) -> Found {
        self.announced.settled_down(machine)?;
        self.was_asked_to_end(machine)?;
        self.unwanted_are_over()?;
        self.note_idle(machine);
        let Census { unannounced, queued, delayed, backlog, open } = self.census();
        ensure(unannounced.is_none(), || format!("nobody is told where it is: {unannounced:?}"))?;
        ensure(self.idle || !machine.is_idle(), || "nobody is told that the pool is idle".into())?;
        for worker_key in self.doomed.drain(..) {
            let worker = machine.worker(worker_key);
            let doomed = worker.is_none_or(Worker::is_being_killed);
            ensure(doomed, || format!("{worker_key:?} lives on without its aborted job: {worker:?}"))?;
        }
        let kept = self.processes.iter().find(|(_, of)| of.died && !of.released);
        ensure(kept.is_none(), || format!("nobody releases {kept:?}"))?;
        let unnoticed = self
            .processes
            .iter()
            .find(|(_, of)| of.died && !of.used && !of.start_failed && !of.excused && !of.may_be_excused);
        ensure(self.exited || unnoticed.is_none(), || format!("no start failure: {unnoticed:?}"))?;
        let before = std::mem::replace(&mut self.circuit_open, machine.is_circuit_open());
        ensure(before || self.opens || !self.circuit_open, || "no worker starts, and nothing told so".into())?;
        let counters = machine.counters();
        let counted = [counters.enqueued, counters.succeeded, counters.failed, counters.aborted];
        ensure(counted == self.counts, || format!("counters {counted:?}, happened {:?}", self.counts))?;
        ensure(counters.retried == self.retried, || "retried is miscounted".into())?;
        ensure(machine.delayed() <= delayed, || format!("{delayed} jobs wait, not {}", machine.delayed()))?;
        for (worker_key, worker) in machine.workers() {
            let answered = self.processes.get(&worker_key).map_or(0, |process| process.answered);
            ensure(worker.jobs_done() == answered, || {
                format!("{worker_key:?} has answered {answered} jobs: {worker:?}")
            })?;
        }
        for (worker_key, process) in &self.processes {
            let (Some(worker), true) = (machine.worker(*worker_key), process.alive && !process.violated) else {
                continue;
            };
            // Its handler may run: the pool is not idle.
            let may_run = process.is_ready && !process.holds.is_empty() && !process.reaped;
            ensure(!may_run || worker.is_busy(), || {
                format!("{worker_key:?} may run {:?} and is not busy", process.holds)
            })?;
            let free = process.is_ready && process.holds.is_empty() && !worker.is_ending();
            ensure(free == worker.is_free(), || format!("{worker_key:?} is free: {free}: {worker:?}"))?;
            ensure(!(free && self.is_dismissed(*worker_key)), || format!("nobody lets go of {worker_key:?}"))?;
            ensure(!(free && process.orphaned), || {
                format!("{worker_key:?} stays without its fork server: {worker:?}")
            })?;
        }
        let at_workers = machine.workers().filter(|(_, worker)| worker.job().is_some()).count();
        let sum = counters.succeeded + counters.failed + counters.aborted + machine.backlog_len() as u64;
        ensure(counters.enqueued == sum + at_workers as u64, || {
            format!("the sum of the figures is off: {counters:?}")
        })?;
        ensure(machine.is_paused() == self.paused, || "paused or not".into())?;
        ensure(self.paused || !(queued && machine.has_free_worker()), || {
            "a worker is free and a job is queued".into()
        })?;
        ensure(backlog == machine.backlog_len(), || {
            format!("{backlog} jobs have not begun, the machine says {}", machine.backlog_len())
        })?;
        let mut admission = self.admission.clone();
        let is_in_backlog = |id| self.jobs.get(&id).is_some_and(Followed::is_in_backlog);
        admission.settled_down(machine, backlog, is_in_backlog, |id| self.finds_permit(id))?;
        self.admission = admission;
        self.no_key_is_left()?;
        ensure(open == machine.unsettled(), || {
            format!("{open} jobs are open, the machine has {}", machine.unsettled())
        })?;
        let processes = self.processes.len();
        self.processes.retain(|_, process| !process.released);
        self.released += (processes - self.processes.len()) as u64;
        Ok(())
    }

    /// Counts the jobs, and forgets those that are over. A world may have thousands: this is the one pass over them.
    fn census(&mut self) -> Census {
        let mut census = Census::default();
        let full = self.full_keys();
        let queued = self.jobs.iter().filter(|(_, job)| job.stage == Stage::Backlogged);
        census.queued = queued.into_iter().any(|(id, _)| !self.awaits_permit(*id, &full));
        let before = self.jobs.len();
        self.jobs.retain(|id, job| {
            match job.stage {
                Stage::Settled => return false,
                Stage::Enqueued => census.unannounced = Some(*id),
                Stage::Delayed(_) => census.delayed += 1,
                _ => {}
            }
            census.backlog += usize::from(job.is_in_backlog());
            census.open += usize::from(job.stage != Stage::New);
            true
        });
        self.settled += (before - self.jobs.len()) as u64;
        census
    }

    /// A job past its limit, which nobody has done anything about.
    pub(in crate::supervisor::sim) fn overdue(&self, now: Duration, machine: &Supervisor) -> Found {
        self.announced.overdue(now, machine)?;
        self.cancel_overdue(now, machine)?;
        self.calls_overdue(now)?;
        self.nobody_stays_too_long(now, machine)?;
        let mute = self.processes.iter().find(|(worker_key, process)| {
            let late = process.mute_since.is_some_and(|since| now > since + EXIT_WAIT);
            let state = machine.worker(**worker_key).map(|worker| worker.state());
            // One that is dead is not killed: its status is awaited.
            late && !process.reaped
                && !self.announced.has_ended(**worker_key)
                && state.is_some_and(|state| state != WorkerState::Exiting)
        });
        ensure(mute.is_none(), || format!("lives on without its pipe at {now:?}: {mute:?}"))?;
        let dying = machine.workers().any(|(_, worker)| !worker.retry_at_death.is_empty());
        let has_free_worker = machine.has_free_worker();
        for (id, job) in &self.jobs {
            // One whose worker is dying waits for that too.
            let forgotten = matches!(job.stage, Stage::Delayed(until) if now > until) && !dying;
            ensure(!forgotten, || format!("nobody queues job {id} at {now:?}: {job:?}"))?;
            ensure(!self.overstays(*id, job, now), || format!("job {id} should have expired by {now:?}: {job:?}"))?;
            let (Stage::Tasked(worker_key) | Stage::Started(worker_key)) = job.stage else { continue };
            let process = self.processes.get(&worker_key);
            let long = has_free_worker
                && now > job.since + SHORT
                && process.is_some_and(|process| !process.ending)
                && machine.worker(worker_key).is_some_and(Worker::has_unrecalled);
            ensure(!long, || format!("a worker is free at {now:?}, and others wait behind job {id}: {job:?}"))?;
            let late = job.limit.is_some_and(|limit| now > job.since + limit + SLACK)
                // A worker that is dead, or whose end is known, is not timed any more.
                && process.is_some_and(|process| !process.reaped)
                && !self.announced.has_ended(worker_key);
            ensure(!late, || format!("job {id} is over its limit at {now:?}: {job:?}"))?;
        }
        Ok(())
    }

    pub(in crate::supervisor::sim) fn at_the_end(&self, machine: &Supervisor) -> Found {
        let open: Vec<_> = self.jobs.iter().filter(|(_, job)| job.stage != Stage::Settled).collect();
        ensure(open.is_empty(), || format!("never settled: {open:?}"))?;
        let left: Vec<_> = self.processes.iter().filter(|(_, process)| process.alive).collect();
        ensure(left.is_empty(), || format!("never reaped: {left:?}"))?;
        let (reaped, counters) = (self.released, machine.counters());
        ensure(counters.exited == reaped, || format!("{reaped} were reaped, counted {}", counters.exited))?;
        ensure(counters.exited == counters.spawned, || format!("{counters:?}: not all that was spawned has exited"))?;
        ensure(machine.is_finished(), || "the machine is not finished".into())
    }
}
