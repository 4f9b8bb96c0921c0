//! What can happen.

use super::{JobKey, JobSettings, Outcome, WorkerKey};

/// What happened, as the driver tells it.
#[allow(clippy::enum_variant_names, reason = "a worker's input is what is broken")]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Input<T> {
    /// A caller has a job. `id` is unique in the pool.
    Enqueue { id: u64, job: T, settings: JobSettings },
    /// A caller wants the job no more.
    Abort { key: JobKey, id: u64 },
    /// All workers are to be started now.
    SpawnWorkers,
    /// No new jobs are to be taken.
    Close,
    /// All is to end now.
    Exit,
    /// Time has passed; due at [`next_deadline`](super::Supervisor::next_deadline).
    Tick,
    /// The process that [`Effect::Spawn`](super::Effect::Spawn) asked for is there.
    Spawned(WorkerKey),
    /// It will never be there.
    SpawnFailed(WorkerKey),
    /// Its hello came. `recalls`: it answers a recall while a job runs.
    Greeted { worker_key: WorkerKey, recalls: bool },
    /// A message came.
    Message(WorkerKey, Message),
    /// What it had written when [`Effect::Drain`](super::Effect::Hear) was said has been told.
    Drained(WorkerKey),
    /// It has been stopped by [`Signal::Stop`](super::Signal::Stop), and what it had written before has been told.
    Stopped(WorkerKey),
    /// The worker holds so many bytes of memory. `at_rest`: it has just done a job, which counts whatever it holds.
    Resident { worker_key: WorkerKey, bytes: u64, at_rest: bool },
    /// Bytes came that are no message.
    Malformed(WorkerKey),
    /// Its standard output is read to the end, or, once it has exited, all that it wrote. After an exit this is sure to
    /// come.
    StdoutClosed(WorkerKey),
    /// Its standard input was closed by it: a write failed.
    StdinBroken(WorkerKey),
    /// Its standard error is read to the end.
    StderrClosed(WorkerKey),
    /// The fork server that has forked it is gone: it finishes the job that it does, takes no more, and leaves.
    Orphaned(WorkerKey),
    /// The process has ended and been reaped.
    Exited { worker_key: WorkerKey, undelivered: Option<Undelivered> },
}

/// The first job that a worker had not read whole when it died, where that is known. None of those behind it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Undelivered {
    pub(crate) job: u64,
    /// Whether it had read some of it: that may be what it died of.
    pub(crate) in_part: bool,
}

/// What a worker said, without the payload.
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
