//! Where a worker is in its life. What exists only in a part of it is in that part's variant.

use super::{Signal, Undelivered, WorkerState};
use std::time::Duration;

/// The worker's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Process {
    /// It has been asked for, and has not been reported.
    Requested,
    Running,
    /// It is dead, and how it ended is to be told by its fork server.
    Ended,
    /// It is dead and reaped. The worker stays until all that it wrote has been read.
    Reaped {
        /// The first job that it had not read whole.
        undelivered: Option<Undelivered>,
    },
}

/// What the worker does, as far as its messages and the pool's say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    /// It has not said that it is ready.
    Initializing,
    /// It has said that it is ready, and runs no job that is known to be its own.
    Ready,
    Working,
    /// It has answered, and has not said that it is ready again.
    Recovering,
    Exiting(Exit),
}

impl Phase {
    pub(super) fn state(self) -> WorkerState {
        match self {
            Phase::Initializing => WorkerState::Initializing,
            Phase::Ready => WorkerState::Ready,
            Phase::Working => WorkerState::Working,
            Phase::Recovering => WorkerState::Recovering,
            Phase::Exiting(_) => WorkerState::Exiting,
        }
    }

    /// Whether the worker was ready when it was last heard of: then the first job that it holds is presumed begun.
    pub(super) fn is_ready(self) -> bool {
        match self {
            Phase::Initializing | Phase::Recovering => false,
            Phase::Ready | Phase::Working => true,
            Phase::Exiting(exit) => exit.is_ready,
        }
    }

    /// Whether the worker has been ready before its exit began.
    pub(super) fn has_been_ready(self) -> bool {
        match self {
            Phase::Initializing => false,
            Phase::Ready | Phase::Working | Phase::Recovering => true,
            Phase::Exiting(exit) => exit.has_been_ready,
        }
    }

    /// The exit that follows on this phase.
    pub(super) fn exit(self, end: Option<End>, course: Course) -> Exit {
        Exit { end, course, is_ready: self.is_ready(), has_been_ready: self.has_been_ready(), failed_terminally: false }
    }
}

/// The exit of a worker. Its messages still count: what it has answered is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Exit {
    /// Why the exit began; none where the worker ended by itself.
    pub(super) end: Option<End>,
    pub(super) course: Course,
    pub(super) is_ready: bool,
    pub(super) has_been_ready: bool,
    /// Whether the worker has written a terminal failure: it begins nothing any more.
    pub(super) failed_terminally: bool,
}

/// What has been done about a worker's exit, and what is next when its limit is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Course {
    /// The worker was told to exit, or has said that it will. SIGTERM is next.
    Leaving,
    /// This signal is next, and is due at once, or as soon as the process exists.
    Due(Signal),
    /// SIGTERM was sent. SIGKILL is next.
    Terminated,
    /// SIGKILL was sent.
    Killed,
    /// The process is reaped.
    Over,
}

impl Course {
    pub(super) fn next_signal(self) -> Option<Signal> {
        match self {
            Course::Leaving => Some(Signal::Terminate),
            Course::Due(signal) => Some(signal),
            Course::Terminated => Some(Signal::Kill),
            Course::Killed | Course::Over => None,
        }
    }
}

/// Why a worker takes no more jobs: it leaves after the one that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RetireReason {
    /// The worker has asked to be replaced.
    Requested,
    /// It holds too much memory to do another job.
    OverSoftLimit,
    /// The fork server that has forked it is gone.
    Orphaned,
    /// The pool is to have fewer workers, and not this one. The caller may take that back.
    Surplus,
    /// It is old, has been idle for long, or is replaced at a caller's request.
    Dismissed,
}

impl RetireReason {
    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// Which of these hold: none for a worker that takes jobs, or several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct RetireReasons(u8);

impl RetireReasons {
    pub(super) fn insert(&mut self, reason: RetireReason) {
        self.0 |= reason.bit();
    }

    pub(super) fn remove(&mut self, reason: RetireReason) {
        self.0 &= !reason.bit();
    }

    pub(super) fn contains(self, reason: RetireReason) -> bool {
        self.0 & reason.bit() != 0
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Why the pool ends a worker, or a worker itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum End {
    /// Its jobs are done.
    Left,
    /// It wrote a terminal failure.
    Terminal,
    TimedOut,
    OverHardLimit,
    Violation,
    PipeClosed,
    /// Nothing has come over its connection for too long.
    Silent,
    /// Its job was aborted.
    Aborted,
    PoolExit,
}

/// Why a worker is to be killed for the sake of the one job that it runs, or of its recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum KillCause {
    /// Its state has lasted longer than this.
    TimedOut {
        limit: Duration,
    },
    OverHardLimit {
        bytes: u64,
        limit: u64,
    },
    Aborted,
    /// It does not answer recalls.
    RecallUnanswered,
}

/// A worker that is condemned: it is to be killed for one job's sake while others lie behind that job, which must not suffer
/// from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct PendingKill {
    pub(super) cause: KillCause,
    /// Whether the worker has been sent SIGSTOP, since it did not answer the recall.
    pub(super) stopped: bool,
}

/// What a worker is given time for that has prefetched jobs: one or the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Awaited {
    Nothing,
    /// The answers to recalls, the oldest of which was sent at this time.
    Recall {
        since: Duration,
    },
    /// The recall of all of them, after which the worker is killed.
    Kill(PendingKill),
}

/// The cancellation of the job that the worker runs, where the grace time has an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Cancel {
    pub(super) until: Duration,
    /// Whether the grace time is over, and what the worker has written in time is being read.
    pub(super) draining: bool,
}

/// What a worker has that is on another machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Far {
    /// How long nothing may come over its connection.
    pub(super) silence: Duration,
    /// Whether that time is over, and what has come from the worker in time is being read.
    pub(super) draining: bool,
    /// When its end is certain, where it may have gone on without its connection.
    pub(super) gone_at: Option<Duration>,
}

/// The limit of the worker's state, for which [`Timer::Limit`](super::timers::Timer::Limit) stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Limit {
    pub(super) after: Duration,
    /// Whether it is over, and what the worker has written in time is being read.
    pub(super) draining: bool,
}
