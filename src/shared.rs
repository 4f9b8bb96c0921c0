//! What a pool and the handles of its jobs share.

use crate::dispatcher::Dispatcher;
use crate::driver::{Command, PendingAbort};
use crate::record::JobRecord;
use crate::spin::Spin;
use crossbeam_channel::{Sender, bounded};
use std::sync::Arc;

/// What a job's handles need of its pool.
pub(crate) struct Shared {
    pub(crate) commands: Sender<Command>,
    pub(crate) dispatcher: Arc<Dispatcher>,
    pub(crate) spin: Spin,
}

impl Shared {
    /// Does `wait`, which waits until the job is settled. Before that it waits for it without sleeping, which is quicker where the
    /// job is short.
    pub(crate) fn awaiting<T>(&self, record: &JobRecord, wait: impl FnOnce() -> T) -> T {
        self.dispatcher.blocking(|| {
            self.spin.until(|| record.is_settled());
            wait()
        })
    }

    /// Whether the supervisor runs, and so takes or has taken all that this thread has sent it.
    pub(crate) fn is_running(&self) -> bool {
        let (reply, answer) = bounded(1);
        self.commands.send(Command::IsPaused(reply)).is_ok() && self.dispatcher.blocking(|| answer.recv()).is_ok()
    }

    /// Aborts the job, or all, unless a worker has begun it. Waits until it is known how many that were; none if the pool has
    /// ended.
    pub(crate) fn abort_queued(&self, only: Option<Arc<JobRecord>>) -> usize {
        let (reply, answer) = bounded(1);
        if self.commands.send(Command::AbortQueued(Box::new(PendingAbort { only, reply }))).is_err() {
            return 0;
        }
        self.dispatcher.blocking(|| answer.recv()).unwrap_or(0)
    }
}
