//! The last start that failed, as callers and jobs that wait for a worker are told of it.

use crate::error::{ReadyError, StartFailure};
use crate::failure::Failure;
use crate::supervisor::Begun;
use std::sync::Arc;

#[derive(Default)]
pub(super) struct StartFailures {
    last: Option<Arc<StartFailure>>,
    /// What all jobs that had not begun fail of, where no worker starts.
    no_worker: Option<Arc<Failure>>,
}

impl StartFailures {
    pub(super) fn keep(&mut self, failure: StartFailure) {
        let failure = Arc::new(failure);
        self.no_worker = Some(Arc::new(Failure::NoWorker(Arc::clone(&failure), Begun::No)));
        self.last = Some(failure);
    }

    pub(super) fn last(&self) -> Option<&StartFailure> {
        self.last.as_deref()
    }

    pub(super) fn not_ready(&self, why: &str) -> ReadyError {
        ReadyError { message: why.into(), failure: self.last().cloned().map(Box::new) }
    }

    /// What a job fails of that no worker can do.
    pub(super) fn no_worker(&self, begun: Begun) -> Arc<Failure> {
        match (&self.last, &self.no_worker) {
            (_, Some(failure)) if begun == Begun::No => Arc::clone(failure),
            (Some(failure), _) => Arc::new(Failure::NoWorker(Arc::clone(failure), begun)),
            (None, _) => Arc::new(Failure::Closed),
        }
    }
}
