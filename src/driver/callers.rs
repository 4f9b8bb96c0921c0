//! The callers that wait: for room in the backlog, for the first worker, for all workers, for an idle pool, for the number of
//! jobs that were aborted, and for jobs that are settled.

use super::hook_queue::HookQueue;
use super::start_failures::StartFailures;
use super::waiter::Waiter;
use crate::dispatcher::Notification;
use crate::error::{ReadyError, StartFailure};
use crate::record::{Released, Ticket};
use crate::supervisor::Supervisor;
use crossbeam_channel::Sender;
use std::collections::HashMap;

/// A list of settled jobs that was longer than this gives its memory back.
const KEPT: usize = 1024;

/// Whether a job was admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Accepted,
    Full,
    Closed,
}

/// A job that the machine has not admitted yet, and who waits to hear of it.
pub(super) struct NewJob {
    pub(super) ticket: Ticket,
    pub(super) reply: Option<Sender<Admission>>,
}

type ForReady = Waiter<Result<(), ReadyError>>;

/// Whoever is answered may have gone: then the answer is lost. A channel that is dropped says that the pool has ended.
pub(super) struct Callers {
    /// The jobs that wait for room in the backlog, by number.
    for_room: HashMap<u64, NewJob>,
    /// Those that have asked to abort what is queued, by the number of the call, and the last number.
    for_abort: HashMap<u64, Sender<usize>>,
    abort_calls: u64,
    /// The caller that builds the pool.
    for_first: Option<Sender<Result<(), StartFailure>>>,
    for_ready: Vec<ForReady>,
    /// Those of them that are answered at the end of the iteration.
    ready: Vec<(ForReady, Result<(), ReadyError>)>,
    for_idle: Vec<Waiter<()>>,
    /// Who waited for the jobs that this iteration has settled: woken at its end, so that none takes the core before that.
    released: Vec<Released>,
}

impl Callers {
    pub(super) fn new(first: Sender<Result<(), StartFailure>>) -> Self {
        Callers {
            for_room: HashMap::new(),
            for_abort: HashMap::new(),
            abort_calls: 0,
            for_first: Some(first),
            for_ready: Vec::new(),
            ready: Vec::new(),
            for_idle: Vec::new(),
            released: Vec::new(),
        }
    }

    // ------------------------------------------------------------ room in the backlog

    pub(super) fn wait_for_room(&mut self, job: NewJob) {
        self.for_room.insert(job.ticket.record().id, job);
    }

    /// Takes out the job that waited for room.
    pub(super) fn take_waiting(&mut self, id: u64) -> Option<NewJob> {
        self.for_room.remove(&id)
    }

    // ------------------------------------------------------------ jobs that are aborted

    /// Gives the number of the call.
    pub(super) fn wait_for_abort(&mut self, reply: Sender<usize>) -> u64 {
        self.abort_calls += 1;
        self.for_abort.insert(self.abort_calls, reply);
        self.abort_calls
    }

    pub(super) fn answer_abort(&mut self, call: u64, aborted: usize) {
        if let Some(reply) = self.for_abort.remove(&call) {
            let _ = reply.send(aborted);
        }
    }

    // ------------------------------------------------------------ workers, and an idle pool

    /// The first process is there, or cannot be started.
    pub(super) fn answer_first(&mut self, started: Result<(), &StartFailure>) {
        if let Some(first) = self.for_first.take() {
            let _ = first.send(started.map_err(StartFailure::clone));
        }
    }

    pub(super) fn wait_until_ready(&mut self, waiter: ForReady) {
        keep(&mut self.for_ready, waiter);
    }

    /// All workers have been ready, or do not start. One of them may have died since: that does not take it back.
    pub(super) fn decide_ready(&mut self, decision: &Result<(), ReadyError>) {
        self.ready.extend(self.for_ready.drain(..).map(|waiter| (waiter, decision.clone())));
    }

    pub(super) fn wait_until_idle(&mut self, waiter: Waiter<()>) {
        keep(&mut self.for_idle, waiter);
    }

    /// Answers those who wait for what may have come about in this iteration.
    pub(super) fn answer(&mut self, machine: &Supervisor, failures: &StartFailures) {
        if !self.for_idle.is_empty() && machine.is_idle() {
            self.for_idle.drain(..).for_each(|waiter| waiter.answer(()));
        }
        if !self.for_ready.is_empty() && !machine.is_open() {
            self.decide_ready(&Err(failures.not_ready("the pool was closed before its workers were ready")));
        }
        self.ready.drain(..).for_each(|(waiter, decision)| waiter.answer(decision));
    }

    // ------------------------------------------------------------ jobs that are settled

    /// Keeps who waited for a settled job until the end of the iteration.
    pub(super) fn release(&mut self, released: Released) {
        self.released.push(released);
    }

    /// Wakes those who waited for the jobs that this iteration has settled.
    pub(super) fn wake_released(&mut self, hooks: &HookQueue) {
        for waker in self.released.iter_mut().filter_map(Released::take_waker) {
            hooks.queue(Notification::Wake(waker));
        }
        hooks.hand_over();
        self.drop_released();
    }

    /// Wakes the threads that waited for them, and the tasks whose wakers the hook thread has not got.
    pub(super) fn drop_released(&mut self) {
        self.released.clear();
        self.released.shrink_to(KEPT);
    }
}

/// Adds a waiter. Those that have given up are forgotten whenever the list would grow.
fn keep<A>(waiters: &mut Vec<Waiter<A>>, waiter: Waiter<A>) {
    if waiters.len() == waiters.capacity() {
        waiters.retain(|waiter| !waiter.has_given_up());
    }
    waiters.push(waiter);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn who_has_given_up_is_forgotten() {
        let (mut waiters, caller) = (Vec::new(), Arc::new(()));
        keep(&mut waiters, Waiter::<()>::new(&caller).0);
        (0..1000).for_each(|_| keep(&mut waiters, Waiter::new(&Arc::new(())).0));
        assert!(waiters.len() < 16 && !waiters[0].has_given_up(), "{} are kept", waiters.len());
    }
}
