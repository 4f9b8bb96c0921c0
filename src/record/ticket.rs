//! How a job is settled: by the ticket that the supervisor has of it, or outside of the pool. Then its callers are woken.

use super::{Ended, JobRecord, Observers, Stage};
use crate::failure::{Failure, Settled};
use crate::report::PackedReport;
use crate::supervisor::Begun;
use crossbeam_channel::Sender;
use hirelings_worker_kit::wire::Payload;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Waker;

impl JobRecord {
    /// A job that never came into the pool.
    pub(crate) fn settled_already(id: u64, failure: Failure, observers: Option<Box<Observers>>) -> Arc<Self> {
        let record = JobRecord::new(id, Payload::Empty, observers);
        record.settle_outside(failure);
        record
    }

    /// Settles a job that the supervisor does not have, unless it did so before.
    pub(crate) fn settle_outside(self: &Arc<Self>, failure: Failure) {
        drop(Arc::clone(self).settle(Err(Arc::new(failure)), Begun::No, PackedReport::default(), false));
    }

    /// Settles it, unless it is settled already. The callers that wait are woken when the returned value is dropped.
    /// `announced`: the hook thread is to be sent the update if there are hooks.
    #[must_use]
    fn settle(
        self: Arc<Self>,
        settled: Settled,
        begun: Begun,
        report: PackedReport,
        announced: bool,
    ) -> Option<Released> {
        let ended = Box::new(Ended { settled, report });
        let mut state = self.state.lock();
        if matches!(state.stage, Stage::Settled(..)) {
            return None;
        }
        state.history.set_begun(begun);
        state.stage = Stage::Settled(ended);
        let (mut finished, mut waker) = (None, None);
        if let Some(observers) = &mut state.observers {
            observers.streams = Vec::new();
            observers.held.drain(..).for_each(|held| held.give_back());
            (finished, waker) = (observers.finished.take(), observers.waker.take());
        }
        let is_hooked = announced && state.update();
        drop(state);
        Some(Released { record: self, is_hooked, finished, waker })
    }
}

/// A job that is settled: the callers that wait for it are woken when this is dropped.
pub(crate) struct Released {
    record: Arc<JobRecord>,
    is_hooked: bool,
    finished: Option<(Sender<usize>, usize)>,
    waker: Option<Waker>,
}

impl Released {
    /// The job, where it has hooks that are to be called. One that is added from here on finds the job settled.
    pub(crate) fn hooked(&self) -> Option<&Arc<JobRecord>> {
        self.is_hooked.then_some(&self.record)
    }

    /// The waker of the task that awaits the job. It is the user's code, and so not for the supervisor's thread.
    pub(crate) fn take_waker(&mut self) -> Option<Waker> {
        self.waker.take()
    }
}

impl Drop for Released {
    fn drop(&mut self) {
        if let Some((finished, number)) = self.finished.take() {
            // Whoever waited for it may have gone.
            let _ = finished.send(number);
        }
        self.record.settled.notify_all();
        // It is still here only where no thread is left that could do it.
        if let Some(waker) = self.waker.take() {
            let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
    }
}

/// The supervisor's hold on a job: wherever it is lost, the job settles as closed, so no caller waits for ever.
///
/// Empty once its job has settled, and in a vacant place of a table: `Option<Ticket>` would be twice as large.
#[derive(Default)]
pub(crate) struct Ticket(Option<Arc<JobRecord>>);

impl Ticket {
    pub(crate) fn new(record: Arc<JobRecord>) -> Self {
        Ticket(Some(record))
    }

    pub(crate) fn record(&self) -> &Arc<JobRecord> {
        self.0.as_ref().unwrap_or_else(|| unreachable!("a ticket has its job until it is settled"))
    }

    /// Its job, where that is the one with this number.
    pub(crate) fn record_of(&self, id: u64) -> Option<&Arc<JobRecord>> {
        self.0.as_ref().filter(|record| record.id == id)
    }

    /// Settles the job. The hook thread is then to be told so if it has hooks. The callers that wait are woken when the returned
    /// value is dropped.
    #[must_use]
    pub(crate) fn settle(mut self, settled: Settled, begun: Begun, report: PackedReport) -> Option<Released> {
        self.0.take()?.settle(settled, begun, report, true)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let Some(record) = self.0.take() else { return };
        let (begun, attempts) = (record.begun(), record.attempts());
        let report = PackedReport { attempts, ..PackedReport::default() };
        drop(record.settle(Err(Arc::new(Failure::Closed)), begun, report, false));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_that_is_lost_settles_its_job_as_closed() {
        let record = JobRecord::new(1, Payload::Empty, None);
        drop(Ticket::new(Arc::clone(&record)));
        assert!(matches!(record.try_outcome(), Some(Err(failure)) if matches!(*failure, Failure::Closed)));
    }

    #[test]
    fn a_ticket_settles_its_job_once() {
        let record = JobRecord::new(1, Payload::Empty, None);
        let released = Ticket::new(Arc::clone(&record)).settle(Ok(Payload::Empty), Begun::Yes, PackedReport::default());
        assert!(released.is_some_and(|released| released.hooked().is_none()));
        assert!(matches!(record.try_outcome(), Some(Ok(Payload::Empty))));
        assert_eq!((record.begun(), Arc::strong_count(&record)), (Begun::Yes, 1));
    }
}
