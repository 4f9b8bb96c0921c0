//! One worker, as the supervisor sees it.

use super::lifecycle::{
    Awaited, Cancel, Course, End, Far, Limit, PendingKill, Phase, Process, RetireReason, RetireReasons,
};
use super::timers::{Timer, Timers};
use super::{JobKey, LimitKey, SHORT, Undelivered, WorkerState};
use std::collections::VecDeque;
use std::time::Duration;

/// The first job that a worker holds, once it has said that it is ready for it: from then on the job is presumed begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Current {
    pub(super) id: u64,
    /// None once the job is settled or retried: messages of it that still come are dropped.
    pub(super) key: Option<JobKey>,
    pub(super) attempt: u32,
    /// Whether [`Notice::Task`](super::Notice::Task) has been emitted. A job that was recalled is in doubt until the worker speaks.
    pub(super) announced: bool,
    /// Whether the worker has spoken of it.
    pub(super) started: bool,
    /// Whether the worker was asked to skip it, before it was presumed begun.
    pub(super) recalled: bool,
    /// The permit that it has of its key, until the worker has come to an end with it.
    pub(super) permit: Option<LimitKey>,
    pub(super) since: Duration,
}

/// A job that lies behind another, or behind a recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Prefetched {
    pub(super) id: u64,
    /// None once it has been aborted.
    pub(super) key: Option<JobKey>,
    /// Whether the worker was asked to skip it.
    pub(super) recalled: bool,
    /// The permit that it has of its key.
    pub(super) permit: Option<LimitKey>,
    /// How long its payload is, in KiB.
    pub(super) kib: u16,
}

/// What the worker has done with the jobs that it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Done {
    Nothing,
    /// It has used an attempt, and answered no job.
    Attempted,
    Answered {
        jobs: u64,
        pace: Pace,
    },
}

/// How long a worker's jobs take, the recent ones counting most; in nanoseconds. Of answers that come together the first alone
/// has a time, which is that of all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pace {
    /// Before the last answers.
    before: u64,
    /// Of the last answers, which came together.
    took: u64,
    jobs: u64,
}

impl Pace {
    fn new(took: u64) -> Self {
        Pace { before: took, took, jobs: 1 }
    }

    fn add(&mut self, took: u64) {
        if took == 0 {
            self.jobs += 1;
        } else {
            *self = Pace { before: self.nanos(), took, jobs: 1 };
        }
    }

    fn nanos(self) -> u64 {
        (self.before * 3 + self.took / self.jobs) / 4
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Worker {
    pub(super) id: u64,
    /// Whether it is to find out if workers start again, for the jobs that wait.
    pub(super) probe: bool,
    pub(super) process: Process,
    /// Only `enter` changes the variant. The fields of an exit also change with its signals and messages.
    pub(super) phase: Phase,
    /// None: it is on this machine.
    pub(super) far: Option<Far>,
    /// When it was spawned.
    pub(super) since: Duration,
    /// Whether it has said that it answers a recall while a job runs.
    pub(super) recalls: bool,
    /// Why it takes no more jobs.
    pub(super) retires_for: RetireReasons,
    /// When it was sent its first job.
    pub(super) first_job_at: Option<Duration>,
    /// Jobs sent to it, less those that came back. `recount` checks bounds of it only, since not every job that has left the
    /// worker is counted elsewhere: `done` counts those that it answered while somebody wanted them.
    pub(super) taken: u64,
    pub(super) done: Done,
    /// With `prefetched` behind it, what the worker holds in the order of sending.
    pub(super) current: Option<Current>,
    pub(super) prefetched: VecDeque<Prefetched>,
    /// The permits that it keeps until it is dead, whatever it says.
    pub(super) kept_permits: Vec<LimitKey>,
    pub(super) limit: Option<Limit>,
    pub(super) awaited: Awaited,
    pub(super) cancel: Option<Cancel>,
    pub(super) timers: Timers,
    pub(super) stdout_closed: bool,
    pub(super) stderr_closed: bool,
    /// The jobs that are retried once this worker is reaped.
    pub(super) retry_at_death: Vec<JobKey>,
    /// Whether it is counted among the busy.
    pub(super) counted_busy: bool,
}

impl Worker {
    /// `silence`: how long nothing may come from it, where it is on another machine.
    pub(super) fn new(id: u64, probe: bool, silence: Option<Duration>) -> Self {
        Worker {
            id,
            probe,
            process: Process::Requested,
            phase: Phase::Initializing,
            far: silence.map(|silence| Far { silence, draining: false, gone_at: None }),
            since: Duration::ZERO,
            recalls: false,
            retires_for: RetireReasons::default(),
            first_job_at: None,
            taken: 0,
            done: Done::Nothing,
            current: None,
            prefetched: VecDeque::new(),
            kept_permits: Vec::new(),
            limit: None,
            awaited: Awaited::Nothing,
            cancel: None,
            timers: Timers::default(),
            stdout_closed: false,
            stderr_closed: false,
            retry_at_death: Vec::new(),
            counted_busy: false,
        }
    }

    pub(crate) fn state(&self) -> WorkerState {
        self.phase.state()
    }

    /// Whether it is on another machine.
    pub(crate) fn is_far(&self) -> bool {
        self.far.is_some()
    }

    /// When its end is certain, where it is far and may have gone on without its connection.
    pub(super) fn gone_at(&self) -> Option<Duration> {
        self.far.and_then(|far| far.gone_at)
    }

    pub(super) fn is_exiting(&self) -> bool {
        matches!(self.phase, Phase::Exiting(_))
    }

    /// Whether its process has ever existed.
    pub(super) fn is_spawned(&self) -> bool {
        self.process != Process::Requested
    }

    /// Whether its process is dead and reaped.
    pub(super) fn is_reaped(&self) -> bool {
        matches!(self.process, Process::Reaped { .. })
    }

    /// Whether the process is known to have ended.
    pub(super) fn is_dead(&self) -> bool {
        matches!(self.process, Process::Ended | Process::Reaped { .. })
    }

    /// The first job that it had not read whole when it died.
    pub(super) fn undelivered(&self) -> Option<Undelivered> {
        match self.process {
            Process::Reaped { undelivered } => undelivered,
            Process::Requested | Process::Running | Process::Ended => None,
        }
    }

    /// Why its exit has begun.
    pub(super) fn end(&self) -> Option<End> {
        match self.phase {
            Phase::Exiting(exit) => exit.end,
            _ => None,
        }
    }

    /// It is no longer ready, or is, though it is on its way out.
    pub(super) fn set_ready_in_exit(&mut self, is_ready: bool) {
        if let Phase::Exiting(exit) = &mut self.phase {
            exit.is_ready = is_ready;
        }
    }

    /// Whether it has written a terminal failure: it begins nothing any more.
    pub(super) fn failed_terminally(&self) -> bool {
        matches!(self.phase, Phase::Exiting(exit) if exit.failed_terminally)
    }

    pub(super) fn stop_draining(&mut self) {
        if let Some(limit) = &mut self.limit {
            limit.draining = false;
        }
    }

    /// Whether the grace time of its cancelled job is over, and what it has written in time is being read.
    pub(super) fn is_cancel_draining(&self) -> bool {
        self.cancel.is_some_and(|cancel| cancel.draining)
    }

    pub(crate) fn jobs_done(&self) -> u64 {
        match self.done {
            Done::Nothing | Done::Attempted => 0,
            Done::Answered { jobs, .. } => jobs,
        }
    }

    /// How long its jobs take, in nanoseconds; none: it has answered no job.
    pub(super) fn pace(&self) -> Option<u64> {
        match self.done {
            Done::Nothing | Done::Attempted => None,
            Done::Answered { pace, .. } => Some(pace.nanos()),
        }
    }

    /// Whether it has used an attempt.
    pub(super) fn has_used_attempt(&self) -> bool {
        self.done != Done::Nothing
    }

    pub(super) fn note_attempt(&mut self) {
        if self.done == Done::Nothing {
            self.done = Done::Attempted;
        }
    }

    /// The number of the job that it runs.
    pub(crate) fn job(&self) -> Option<u64> {
        self.announced().map(|current| current.id)
    }

    /// Its key, and the attempt.
    pub(crate) fn held(&self) -> Option<(JobKey, u32)> {
        let current = self.announced()?;
        Some((current.key?, current.attempt))
    }

    fn announced(&self) -> Option<&Current> {
        self.current.as_ref().filter(|current| current.announced && current.key.is_some())
    }

    /// Whether its handler or its recovery may run.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(self.phase, Phase::Working | Phase::Recovering)
            || ((self.current.is_some() || !self.prefetched.is_empty()) && !self.is_reaped())
    }

    /// Whether a job can be sent to it at once.
    pub(super) fn is_free(&self) -> bool {
        self.phase == Phase::Ready && self.current.is_none() && !self.is_ending()
    }

    /// Whether a sign of its end has been seen: it is given nothing more.
    pub(super) fn is_ending(&self) -> bool {
        self.is_dead() || self.timers.get(Timer::Death).is_some() || self.is_exiting()
    }

    /// Whether it does no other job than the one that it has.
    pub(super) fn takes_no_more(&self) -> bool {
        !self.retires_for.is_empty()
    }

    /// Whether the pool is to have fewer workers, and not this one.
    pub(super) fn is_surplus(&self) -> bool {
        self.retires_for.contains(RetireReason::Surplus)
    }

    /// Whether it is the pool that wants it to leave.
    pub(super) fn is_dismissed(&self) -> bool {
        self.is_surplus() || self.retires_for.contains(RetireReason::Dismissed)
    }

    /// Whether it is on its way out, or to be killed for the sake of one job.
    #[cfg(any(test, fuzzing))]
    pub(super) fn is_being_killed(&self) -> bool {
        self.is_ending() || self.pending_kill().is_some()
    }

    /// It has answered a job, so long after the one before; at the same time, where they came together.
    pub(super) fn finished_one(&mut self, took: Duration) {
        // However long it was, a few short ones behind it are enough.
        let took = took.min(8 * SHORT).subsec_nanos().into();
        match &mut self.done {
            Done::Nothing | Done::Attempted => self.done = Done::Answered { jobs: 1, pace: Pace::new(took) },
            Done::Answered { jobs, pace } => {
                *jobs += 1;
                pace.add(took);
            }
        }
    }

    /// How many jobs may be prefetched: as many as take twice a short while, so that the worker still has a short while's when
    /// half of them are done and it gets more; and none behind a job that is not short.
    pub(super) fn depth(&self, most: u32) -> u32 {
        self.pace().map_or(0, |pace| depth_at(pace, most))
    }

    /// The same before the last answers, which share a time: how many share it is not known before the next one has another.
    pub(super) fn depth_known(&self, most: u32) -> u32 {
        match self.done {
            Done::Nothing | Done::Attempted => 0,
            Done::Answered { pace, .. } => depth_at(pace.before, most),
        }
    }

    pub(super) fn push_prefetched(&mut self, id: u64, key: JobKey, permit: Option<LimitKey>, kib: u16) {
        self.taken += 1;
        self.prefetched.push_back(Prefetched { id, key: Some(key), recalled: false, permit, kib });
    }

    /// How many KiB the payloads have that it was sent and has not begun.
    pub(super) fn prefetched_kib(&self) -> u32 {
        self.prefetched.iter().map(|prefetched| u32::from(prefetched.kib)).sum()
    }

    /// The permits of keys that it has.
    pub(super) fn permits(&self) -> impl Iterator<Item = LimitKey> {
        let current = self.current.iter().filter_map(|current| current.permit);
        let prefetched = self.prefetched.iter().filter_map(|prefetched| prefetched.permit);
        current.chain(prefetched).chain(self.kept_permits.iter().copied())
    }

    /// The prefetched jobs that were not recalled.
    pub(super) fn prefetched_keys(&self) -> impl Iterator<Item = JobKey> {
        self.prefetched.iter().filter(|prefetched| !prefetched.recalled).filter_map(|prefetched| prefetched.key)
    }

    pub(super) fn has_unrecalled(&self) -> bool {
        self.prefetched.iter().any(|prefetched| !prefetched.recalled)
    }

    /// Whether a recall is not answered, of a job that cannot have begun. (A recall that comes too late is ignored.)
    pub(super) fn owes_an_answer(&self) -> bool {
        self.prefetched.iter().any(|prefetched| prefetched.recalled)
    }

    /// Whether the worker has been asked to skip its first job, and has neither done so nor spoken of it.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.current.is_some_and(|current| current.recalled && !current.started)
    }

    /// Whether its end would touch no job but the one that is presumed to run.
    pub(super) fn can_be_killed_alone(&self) -> bool {
        self.prefetched.is_empty() && !self.is_in_doubt()
    }

    pub(super) fn pending_kill(&self) -> Option<PendingKill> {
        match self.awaited {
            Awaited::Kill(pending_kill) => Some(pending_kill),
            Awaited::Nothing | Awaited::Recall { .. } => None,
        }
    }

    pub(super) fn take_pending_kill(&mut self) -> Option<PendingKill> {
        let pending_kill = self.pending_kill()?;
        self.awaited = Awaited::Nothing;
        Some(pending_kill)
    }

    /// Marks all prefetched jobs as recalled. Gives those that were not yet.
    pub(super) fn recall(&mut self) -> impl Iterator<Item = u64> {
        let unrecalled = self.prefetched.iter_mut().filter(|prefetched| !prefetched.recalled);
        unrecalled.map(|prefetched| {
            prefetched.recalled = true;
            prefetched.id
        })
    }

    /// Marks one prefetched job as recalled. Gives its number where the worker has not been asked to skip it.
    pub(super) fn recall_one(&mut self, key: JobKey) -> Option<u64> {
        let prefetched = self.prefetched.iter_mut().find(|prefetched| prefetched.key == Some(key))?;
        (!std::mem::replace(&mut prefetched.recalled, true)).then_some(prefetched.id)
    }

    /// The prefetched job `key` is settled. Gives its number where the worker has not been asked to skip it.
    pub(super) fn cancel_prefetched(&mut self, key: JobKey) -> Option<u64> {
        let prefetched = self.prefetched.iter_mut().find(|prefetched| prefetched.key == Some(key))?;
        prefetched.key = None;
        (!std::mem::replace(&mut prefetched.recalled, true)).then_some(prefetched.id)
    }

    /// Whether the pool asked it to end. One that has closed its pipe is killed, and ended by its own doing.
    pub(super) fn was_asked(&self) -> bool {
        match self.phase {
            Phase::Exiting(exit) if exit.end == Some(End::PipeClosed) => false,
            Phase::Exiting(exit) => {
                matches!(exit.course, Course::Terminated | Course::Killed)
                    || matches!(exit.end, Some(End::Left | End::PoolExit))
            }
            _ => false,
        }
    }

    /// Whether it never got to work: it was never ready, or ended by its own doing before it had a job.
    pub(super) fn failed_to_start(&self) -> bool {
        match self.end() {
            Some(End::PoolExit | End::Aborted) => false,
            // It was ready, and was given nothing to do.
            Some(End::Left) if self.is_dismissed() => false,
            _ => !self.phase.has_been_ready() || !self.has_used_attempt(),
        }
    }
}

/// How many jobs of `pace` nanoseconds each may be prefetched.
fn depth_at(pace: u64, most: u32) -> u32 {
    let short = u64::from(SHORT.subsec_nanos());
    if pace > short {
        return 0;
    }
    let fit = 2 * short / pace.max(1);
    most.min(u32::try_from(fit).unwrap_or(u32::MAX).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many jobs may be prefetched to a worker that has done one job after the other, each as many tenths of
    /// [`SHORT`] long.
    fn depth_after(tenths: &[u32]) -> u32 {
        let mut worker = Worker::new(1, false, None);
        tenths.iter().for_each(|&tenths| worker.finished_one(SHORT * tenths / 10));
        worker.depth(32)
    }

    #[test]
    fn as_much_is_prefetched_as_is_done_in_two_short_whiles() {
        assert_eq!(depth_after(&[]), 0, "nothing is known yet");
        assert_eq!(depth_after(&[1]), 20);
        assert_eq!(depth_after(&[0]), 32, "at most what is allowed");
        assert_eq!(depth_after(&[10]), 2);
        assert_eq!(depth_after(&[11]), 0);
    }

    #[test]
    fn a_job_counts_for_a_quarter_of_those_before_it() {
        assert_eq!(depth_after(&[1, 5]), 10);
        assert_eq!(depth_after(&[5, 1]), 5);
        assert_eq!(depth_after(&[1, 1000]), 0);
        assert_eq!(depth_after(&[1, 1000, 1, 1, 1, 1, 1, 1]), 4, "a long one is forgotten after a few");
    }

    #[test]
    fn answers_that_come_together_share_the_time_of_the_first() {
        assert_eq!(depth_after(&[2, 8, 0, 0, 0]), 10);
        assert_eq!(depth_after(&[2, 8, 0, 0, 0, 2]), 10);
    }
}
