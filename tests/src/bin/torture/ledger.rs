//! Every job settles once: its events, its hook and its handle agree.

use crate::begun;
use crate::books::{self, ENQUEUED, Fault, SETTLED, SETTLED_TWICE};
use crate::deed::{Deed, Order, Then, sum};
use crate::kit::{Kit, kit};
use hirelings::{CrashCause, Event, EventKind, JobError, JobHandle, JobRequest, JobResult, Pool, PoolBuilder};
use std::collections::HashMap;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The jobs of one pool, by their events.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Those that are not done, and the event that ended them.
    open: Mutex<HashMap<u64, Option<EventKind>>>,
    /// The pool is being ended: jobs may settle as closed.
    closing: AtomicBool,
}

impl Ledger {
    /// Listens to a pool that is to be built.
    pub fn of(mut pool: PoolBuilder<Order>) -> (PoolBuilder<Order>, Arc<Ledger>) {
        let ledger = Arc::new(Ledger::default());
        use EventKind::{Done, Enqueue, JobAbort, JobFailure, JobRetry, JobSuccess};
        for kind in [Enqueue, JobRetry, JobSuccess, JobFailure, JobAbort, Done] {
            let ledger = Arc::clone(&ledger);
            pool = pool.on(kind, move |event| ledger.told(event));
        }
        (pool, ledger)
    }

    fn told(&self, event: &Event) {
        let (Some(job), kind) = (event.job(), event.kind()) else { return };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        match kind {
            EventKind::Enqueue => {
                if open.insert(job.get(), None).is_some() {
                    books::wrong(format!("job {job} was enqueued twice"));
                }
            }
            EventKind::Done => match open.remove(&job.get()) {
                Some(Some(_)) => {}
                Some(None) => books::wrong(format!("job {job} is done, and nothing ended it")),
                None => {
                    books::add(&SETTLED_TWICE, 1);
                    books::wrong(format!("job {job} is done twice, or was never enqueued"));
                }
            },
            _ => match open.get_mut(&job.get()) {
                Some(end @ None) => {
                    if kind != EventKind::JobRetry {
                        *end = Some(kind);
                    }
                }
                other => books::wrong(format!("{kind:?} of job {job}, which is {other:?}")),
            },
        }
    }

    /// From now on jobs may settle as closed.
    pub fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
    }

    /// Once the pool has ended: nothing is left open, and its figures add up.
    pub fn settle(&self, pool: &Pool<Order>) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        for (job, end) in open.iter() {
            books::wrong(format!("job {job} has no Done after the pool's end: {end:?}"));
        }
        let stats = pool.stats();
        let settled = stats.succeeded + stats.failed + stats.aborted;
        if stats.enqueued != settled || stats.spawned != stats.exited || stats.workers + stats.backlog + stats.busy > 0
        {
            books::wrong(format!("the figures do not add up: {stats:?}"));
        }
    }
}

/// What one job may come to.
#[derive(Debug)]
pub struct Watch {
    deed: Deed,
    nonce: u64,
    sum: u64,
    /// Its caller means to abort it.
    aborted: bool,
    ledger: Arc<Ledger>,
    hook: AtomicU8,
    handle: AtomicU8,
}

/// Enqueues an order, and has what comes of it judged.
pub fn enqueue(
    pool: &Pool<Order>,
    ledger: &Arc<Ledger>,
    order: Order,
    aborted: bool,
    with: impl FnOnce(JobRequest<'_, Order>) -> JobRequest<'_, Order>,
) -> (JobHandle<Order>, Arc<Watch>) {
    let watch = Arc::new(Watch {
        deed: order.deed,
        nonce: order.nonce,
        sum: sum(&order.bytes.0),
        aborted,
        ledger: Arc::clone(ledger),
        hook: AtomicU8::new(0),
        handle: AtomicU8::new(0),
    });
    books::add(&ENQUEUED, 1);
    let hooked = Arc::clone(&watch);
    let request = with(pool.request(order)).on_done(move |result| hooked.done(&result));
    (request.enqueue(), watch)
}

impl Watch {
    /// Whether the job's hook has been called.
    pub fn is_settled(&self) -> bool {
        self.hook.load(Ordering::SeqCst) != 0
    }

    fn done(&self, result: &JobResult<Order>) {
        books::add(&SETTLED, 1);
        if self.hook.swap(number(result), Ordering::SeqCst) != 0 {
            books::add(&SETTLED_TWICE, 1);
            books::wrong(format!("the hook of {:?} was called twice", self.deed));
        }
        self.compare();
        if result.is_ok() {
            begun::succeeded(self.nonce);
        }
        match self.judge(result) {
            Verdict::Fault(fault) => books::note(fault, 1),
            Verdict::Excused => {}
            Verdict::Wrong => {
                let short = match result {
                    Ok(answer) => format!("an answer of {} bytes", answer.bytes.0.len()),
                    Err(error) => error.to_string().chars().take(600).collect(),
                };
                books::wrong(format!("{:?} {} came to {short}", self.deed, self.nonce));
            }
        }
    }

    /// What the handle gave.
    pub fn handed(&self, result: &JobResult<Order>) {
        self.handle.store(number(result), Ordering::SeqCst);
        self.compare();
    }

    fn compare(&self) {
        let (hook, handle) = (self.hook.load(Ordering::SeqCst), self.handle.load(Ordering::SeqCst));
        if hook != 0 && handle != 0 && hook != handle {
            books::wrong(format!("{:?}: the hook was told {hook}, the handle {handle}", self.deed));
        }
    }

    fn judge(&self, result: &JobResult<Order>) -> Verdict {
        use Verdict::{Excused, Fault as Brought, Wrong};
        let struck = |pid| if books::was_struck(pid) { Excused } else { Wrong };
        match (self.deed, result) {
            (_, Err(JobError::Aborted)) => {
                if self.aborted {
                    Brought(Fault::CallerAborts)
                } else {
                    Wrong
                }
            }
            (_, Err(JobError::Closed)) if self.ledger.closing.load(Ordering::SeqCst) => Excused,
            (_, Err(JobError::NoWorker(_))) if books::was_short() => Excused,
            (_, Err(JobError::NoWorker(failure)))
                if failure.reason.contains("fork server") && books::was_fork_server_struck() =>
            {
                Excused
            }
            (deed, Ok(answer)) => {
                let intact = answer.nonce == self.nonce
                    && answer.sum == self.sum
                    && (deed == Deed::Swallow || sum(&answer.bytes.0) == self.sum);
                match deed {
                    _ if !intact => Wrong,
                    Deed::Echo | Deed::Swallow | Deed::Hold { then: Then::Answers, .. } | Deed::StopReading => Excused,
                    Deed::LeaveChildren { then: Then::Answers } => Brought(Fault::LeftChildren),
                    Deed::FloodErrors { forever: false } => Brought(Fault::FloodedErrors),
                    Deed::FloodProgress { forever: false } => Brought(Fault::FloodedProgress),
                    _ => Wrong,
                }
            }
            (Deed::Fail, Err(JobError::Failed(why))) if *why == self.nonce.to_string() => Excused,
            (Deed::Panic, Err(JobError::Panicked(_))) => Brought(Fault::Panicked),
            // In Python that is an exception, of which the worker says that it is in doubt.
            (Deed::Exhaust, Err(JobError::Panicked(_))) if kit() == Kit::Python => Brought(Fault::Exhausted),
            (deed, Err(JobError::Crashed(crash))) => {
                let (code, signal) =
                    (crash.status.and_then(|s| s.code()), crash.status.and_then(|s: ExitStatus| s.signal()));
                match deed {
                    // It has come to its end, and nobody could be told how.
                    deed if crash.cause == CrashCause::Orphaned
                        && (deed.ends_worker() || deed == Deed::CloseOutput) =>
                    {
                        if books::was_fork_server_struck() {
                            Excused
                        } else {
                            Wrong
                        }
                    }
                    Deed::Exit if code == Some(3) => Brought(Fault::Exited),
                    Deed::Segfault if signal == Some(11) => Brought(Fault::Segfault),
                    Deed::Abort if signal == Some(6) => Brought(Fault::Aborted),
                    Deed::Overflow if matches!(signal, Some(6 | 11)) => Brought(Fault::Overflow),
                    Deed::Exhaust if signal == Some(6) => Brought(Fault::Exhausted),
                    Deed::CutFrame if code == Some(5) => Brought(Fault::CutFrame),
                    Deed::LeaveChildren { then: Then::Exits } if code == Some(4) => Brought(Fault::LeftChildren),
                    Deed::Hold { then: Then::Exits, .. } if code == Some(4) => Excused,
                    Deed::CloseOutput if crash.cause == CrashCause::PipeClosed => Brought(Fault::ClosedOutput),
                    // On a busy machine a process may close its pipes a tenth of a second before its exit is known.
                    deed if deed.ends_worker() && crash.cause == CrashCause::PipeClosed => Excused,
                    _ => struck(crash.pid),
                }
            }
            (deed, Err(JobError::TimedOut(timeout))) => match deed {
                Deed::Hang | Deed::Spin => Brought(Fault::CallerTimesOut),
                Deed::FloodErrors { forever: true } => Brought(Fault::FloodedErrors),
                Deed::FloodProgress { forever: true } => Brought(Fault::FloodedProgress),
                // A grandchild of an earlier job may hold the output that this one closes: nobody can know.
                Deed::CloseOutput => Excused,
                _ => struck(timeout.pid),
            },
            // A stopped worker skips nothing; where its job has a long limit, this is found out first.
            (_, Err(JobError::Protocol(error))) if error.reason.contains("asked to skip") => struck(error.pid),
            _ => Wrong,
        }
    }
}

enum Verdict {
    /// It came to what it was to come to.
    Fault(Fault),
    /// Nothing to count, and nothing wrong.
    Excused,
    Wrong,
}

fn number(result: &JobResult<Order>) -> u8 {
    match result {
        Ok(_) => 1,
        Err(JobError::Failed(_)) => 2,
        Err(JobError::Panicked(_)) => 3,
        Err(JobError::Crashed(_)) => 4,
        Err(JobError::TimedOut(_)) => 5,
        Err(JobError::Aborted) => 6,
        Err(JobError::Closed) => 7,
        Err(JobError::NoWorker(_)) => 8,
        Err(_) => 9,
    }
}
