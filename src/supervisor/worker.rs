//! One worker, as the supervisor sees it.

use super::{JobKey, SHORT, Signal};
use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

/// A worker and the slot that it is in. A worker's number is never used again, so what is said of one that is gone can
/// be told from what is said of its successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Seat {
    pub(crate) slot: usize,
    pub(crate) worker: u64,
}

/// What a worker is doing.
///
/// ```no_run
/// # use hirelings::*;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
/// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
/// let idle = pool.workers().iter().filter(|worker| worker.state == WorkerState::Ready).count();
/// println!("{idle} are idle");
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WorkerState {
    /// It has been spawned and has not said that it is ready.
    Initializing,
    /// It waits for a job.
    Ready,
    /// It was handed a job.
    Working,
    /// It has answered, and has not said that it is ready again.
    Recovering,
    /// It was told to leave, or is being killed, or is dead and not yet done with.
    Exiting,
}

impl fmt::Display for WorkerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WorkerState::Initializing => "initializing",
            WorkerState::Ready => "ready",
            WorkerState::Working => "working",
            WorkerState::Recovering => "recovering",
            WorkerState::Exiting => "exiting",
        })
    }
}

/// Why a worker ends; none where it ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum End {
    /// Its jobs are done.
    Left,
    /// It said its last words.
    Terminal,
    TimedOut,
    OverMemory,
    Violation,
    PipeClosed,
    /// Its job was aborted.
    Aborted,
    PoolExit,
}

/// The job that a worker holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Current {
    pub(super) key: JobKey,
    pub(super) id: u64,
    pub(super) attempt: u32,
    pub(super) started: bool,
    pub(super) since: Duration,
}

/// A job that was sent before the one in front of it was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ahead {
    pub(super) id: u64,
    /// None once it has been aborted.
    pub(super) key: Option<JobKey>,
    /// Whether the worker was asked to skip it.
    pub(super) called_back: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Worker {
    pub(super) id: u64,
    /// Whether it is to find out if workers start again, for the jobs that wait.
    pub(super) probe: bool,
    pub(super) state: WorkerState,
    pub(super) spawned: bool,
    pub(super) been_ready: bool,
    /// Whether it wants to be replaced.
    pub(super) retiring: bool,
    /// Whether it holds too much memory to go on.
    pub(super) outgrown: bool,
    /// Jobs sent to it, less those that came back.
    pub(super) taken: u64,
    /// Jobs it has answered.
    pub(super) done: u64,
    /// Whether it held a job when its end began.
    pub(super) had_job: bool,
    pub(super) current: Option<Current>,
    pub(super) ahead: VecDeque<Ahead>,
    /// How long its jobs take, the recent ones counting most.
    pace: Option<Duration>,

    /// The limit of the state, and when it is over.
    pub(super) limit: Option<Duration>,
    pub(super) limit_at: Option<Duration>,
    /// When jobs sent ahead are asked back.
    pub(super) call_back_at: Option<Duration>,
    /// When its memory is looked at.
    pub(super) measure_at: Option<Duration>,
    /// When the wait for the other signs of its death is over.
    pub(super) death_at: Option<Duration>,

    pub(super) end: Option<End>,
    /// Whether the pool has sent it a signal.
    pub(super) asked: bool,
    /// What it is sent when the limit of its exit is over.
    pub(super) next_signal: Option<Signal>,
    pub(super) exited: bool,
    pub(super) output_ended: bool,
    pub(super) errors_ended: bool,
    /// The job that is retried once this worker is reaped.
    pub(super) retry_at_death: Option<JobKey>,
}

impl Worker {
    pub(super) fn new(id: u64, probe: bool) -> Self {
        Worker {
            id,
            probe,
            state: WorkerState::Initializing,
            spawned: false,
            been_ready: false,
            retiring: false,
            outgrown: false,
            taken: 0,
            done: 0,
            had_job: false,
            current: None,
            ahead: VecDeque::new(),
            pace: None,
            limit: None,
            limit_at: None,
            call_back_at: None,
            measure_at: None,
            death_at: None,
            end: None,
            asked: false,
            next_signal: None,
            exited: false,
            output_ended: false,
            errors_ended: false,
            retry_at_death: None,
        }
    }

    pub(crate) fn state(&self) -> WorkerState {
        self.state
    }

    pub(crate) fn jobs_done(&self) -> u64 {
        self.done
    }

    /// The number of the job that it holds.
    pub(crate) fn job(&self) -> Option<u64> {
        self.current.map(|current| current.id)
    }

    /// Its key, and the attempt.
    pub(crate) fn held(&self) -> Option<(JobKey, u32)> {
        self.current.map(|current| (current.key, current.attempt))
    }

    /// Whether a sign of its end has been seen: it is given nothing more.
    pub(super) fn is_ending(&self) -> bool {
        self.exited || self.death_at.is_some()
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        [self.limit_at, self.call_back_at, self.measure_at, self.death_at].into_iter().flatten().min()
    }

    /// Notes why it ends; the first reason counts.
    pub(super) fn end(&mut self, end: End) {
        if self.end.is_none() {
            self.end = Some(end);
            self.had_job |= self.current.is_some();
        }
    }

    pub(super) fn finished_one(&mut self, took: Duration) {
        self.done += 1;
        self.had_job = true;
        // However long it was, a few short ones behind it are enough.
        let took = took.min(8 * SHORT);
        self.pace = Some(self.pace.map_or(took, |pace| (pace * 3 + took) / 4));
    }

    /// How many jobs may lie ahead: about a millisecond of work, and none behind a job that is not short.
    pub(super) fn depth(&self, most: u32) -> u32 {
        match self.pace {
            Some(pace) if pace <= SHORT => {
                let fit = SHORT.as_nanos() / pace.as_nanos().max(1);
                most.min(u32::try_from(fit).unwrap_or(u32::MAX).max(1))
            }
            _ => 0,
        }
    }

    pub(super) fn sent_ahead(&mut self, id: u64, key: JobKey) {
        self.taken += 1;
        self.ahead.push_back(Ahead { id, key: Some(key), called_back: false });
    }

    /// The jobs that lie ahead and were not asked back.
    pub(super) fn ahead_keys(&self) -> impl Iterator<Item = JobKey> {
        self.ahead.iter().filter(|ahead| !ahead.called_back).filter_map(|ahead| ahead.key)
    }

    pub(super) fn has_uncalled(&self) -> bool {
        self.ahead.iter().any(|ahead| !ahead.called_back)
    }

    /// Marks all that lie ahead as asked back; gives those that were not yet.
    pub(super) fn call_back(&mut self) -> impl Iterator<Item = u64> {
        let uncalled = self.ahead.iter_mut().filter(|ahead| !ahead.called_back);
        uncalled.map(|ahead| {
            ahead.called_back = true;
            ahead.id
        })
    }

    /// The job that lies ahead as `key` is settled. Gives its number where the worker is still to be told.
    pub(super) fn disown(&mut self, key: JobKey) -> Option<u64> {
        let ahead = self.ahead.iter_mut().find(|ahead| ahead.key == Some(key))?;
        ahead.key = None;
        (!std::mem::replace(&mut ahead.called_back, true)).then_some(ahead.id)
    }

    /// Whether the pool asked it to end.
    pub(super) fn was_asked(&self) -> bool {
        self.asked || self.end == Some(End::Left)
    }

    /// Whether it never got to work: it was never ready, or ended by its own doing before it had a job.
    pub(super) fn failed_to_start(&self) -> bool {
        match self.end {
            Some(End::PoolExit | End::Aborted) => false,
            _ => !self.been_ready || !(self.had_job || self.current.is_some()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many jobs may lie ahead of a worker that has done one job after the other, each as many tenths of
    /// [`SHORT`] long.
    fn depth_after(tenths: &[u32]) -> u32 {
        let mut worker = Worker::new(1, false);
        tenths.iter().for_each(|&tenths| worker.finished_one(SHORT * tenths / 10));
        worker.depth(32)
    }

    #[test]
    fn as_much_lies_ahead_as_is_done_in_a_short_while() {
        assert_eq!(depth_after(&[]), 0, "nothing is known yet");
        assert_eq!(depth_after(&[1]), 10);
        assert_eq!(depth_after(&[0]), 32, "at most what is allowed");
        assert_eq!(depth_after(&[10]), 1);
        assert_eq!(depth_after(&[11]), 0);
    }

    #[test]
    fn a_job_counts_for_a_quarter_of_those_before_it() {
        assert_eq!(depth_after(&[1, 5]), 5);
        assert_eq!(depth_after(&[5, 1]), 2);
        assert_eq!(depth_after(&[1, 1000]), 0);
        assert_eq!(depth_after(&[1, 1000, 0, 0, 0, 0, 0, 0]), 2, "a long one is forgotten after a few");
    }
}
