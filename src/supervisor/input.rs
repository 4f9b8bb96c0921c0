//! What goes into the machine.

use super::{JobKey, Outcome, Submitted, WorkerKey};
use std::time::Duration;

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Input {
    /// A caller has a job. [`Notice::Enqueued`](super::Notice::Enqueued) or `Refused` follows: at
    /// once, or, where the caller waits for room, later.
    Enqueue { job: Submitted, when_full: WhenFull },
    /// A caller no longer wants the job.
    Abort(JobKey),
    /// A caller no longer wants the job: where its handler runs, it may take so much longer to come to its end.
    Cancel { key: JobKey, grace: Duration },
    /// A caller no longer wants the job, or any, unless a worker has begun it.
    /// [`Notice::QueuedAborted`](super::Notice::QueuedAborted) follows within a second.
    AbortQueued { call: u64, only: Option<JobKey> },
    /// All workers are to be started now.
    SpawnWorkers,
    /// There are to be at most so many workers, and at least one: those in slots past that leave after their jobs.
    SetMaxProcesses(usize),
    /// All workers that there are now are to leave after their jobs.
    Recycle,
    /// No job is to be begun until [`Input::Resume`].
    Pause,
    /// Jobs are to be begun again.
    Resume,
    /// No new jobs are to be taken. It resumes a pool that is paused.
    Close,
    /// All is to end now.
    Exit,
    /// Time has passed. Due at [`next_deadline`](super::Supervisor::next_deadline).
    Tick,
    /// The process that [`Action::Spawn`](super::Action::Spawn) asked for exists.
    Spawned(WorkerKey),
    /// The process that [`Action::Spawn`](super::Action::Spawn) asked for will never exist.
    SpawnFailed(WorkerKey),
    /// The worker's hello came. `recalls`: it answers a recall while a job runs.
    Hello { worker_key: WorkerKey, recalls: bool },
    /// Something came from the worker that says nothing but that it is there.
    Heard(WorkerKey),
    /// A message came from the worker. `resident` is the memory that the worker holds, in bytes, where
    /// [`wants_resident`](super::Supervisor::wants_resident) says that it is to be measured with this message.
    Message { worker_key: WorkerKey, message: Message, resident: Option<u64> },
    /// All that the worker had written at [`Action::Drain`](super::Action::Drain) has been reported.
    Drained(WorkerKey),
    /// The worker was stopped by [`Signal::Stop`](super::Signal::Stop), and all that it had written has been reported.
    Stopped(WorkerKey),
    /// The answer to [`Action::Measure`](super::Action::Measure): the memory that the worker holds.
    Resident { worker_key: WorkerKey, bytes: u64 },
    /// The worker wrote bytes that are no message.
    Malformed(WorkerKey),
    /// The worker's standard output is read to the end, or, once it has exited, all that it wrote. After an exit this is
    /// sure to come.
    StdoutClosed(WorkerKey),
    /// The worker has closed its standard input: a write failed.
    StdinBroken(WorkerKey),
    /// The worker's standard error is read to the end.
    StderrClosed(WorkerKey),
    /// The fork server that has forked it is gone: it finishes the job that it does, takes no more, and leaves.
    Orphaned(WorkerKey),
    /// The process has ended, and its fork server is to say how. [`Input::Exited`] must follow, at the latest after
    /// [`Action::GiveUpStatus`](super::Action::GiveUpStatus).
    Ended(WorkerKey),
    /// The process has ended and been reaped.
    Exited { worker_key: WorkerKey, undelivered: Option<Undelivered> },
}

/// The first job that a worker had not read whole when it died, where that is known. None of those behind it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Undelivered {
    pub(crate) job: u64,
    /// Whether the worker had read a part of it, which may be what it died of.
    pub(crate) in_part: bool,
}

/// A message from a worker, without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Message {
    Ready,
    Start { job: u64 },
    Progress { job: u64 },
    Answer { job: u64, outcome: Outcome, ready: bool },
    Terminal { job: Option<u64> },
    Skipped { job: u64 },
    Retire,
}

/// What is done with a job for which the backlog has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum WhenFull {
    /// Its caller waits, behind those that wait already.
    Wait,
    Refuse,
    /// It is accepted: its caller must not wait, and there is no limit, or the caller is the hook thread.
    Exceed,
}
