//! What the messages of workers mean in the states that the workers are in.
//!
//! The messages of an exiting worker count as well: what it has answered is answered, whatever becomes of the worker.

use super::lifecycle::{End, Phase, RetireReason};
use super::worker::Current;
use super::{Message, Notice, Outcome, Step, Violation, WorkerKey, WorkerState};

impl Step<'_> {
    pub(super) fn message(&mut self, worker_key: WorkerKey, message: Message, resident: Option<u64>) {
        if let Some(bytes) = resident {
            // Before it is given another job.
            self.check_soft_limit(worker_key, bytes);
        }
        self.heard(worker_key);
        match message {
            Message::Ready => self.became_ready(worker_key),
            Message::Start { job } => {
                if let Some(current) = self.note_begun(worker_key, job) {
                    self.runs_on(worker_key, current);
                }
            }
            Message::Progress { job } => {
                let Some(current) = self.note_begun(worker_key, job) else { return };
                if let Some(key) = current.key {
                    self.emit(Notice::Progressed { worker_key, key, attempt: current.attempt });
                }
                self.runs_on(worker_key, current);
            }
            Message::Answer { job, outcome, ready } => self.answered(worker_key, job, outcome, ready),
            Message::Terminal { job } => self.terminal(worker_key, job),
            Message::Skipped { job } => self.skipped(worker_key, job),
            Message::Retire => self.retires(worker_key),
        }
    }

    fn became_ready(&mut self, worker_key: WorkerKey) {
        let worker = self.worker(worker_key);
        let state = worker.state();
        if worker.phase.is_ready() {
            return self.violated(worker_key, Violation::ReadyWhile(state));
        }
        worker.set_ready_in_exit(true);
        // A recovery that was over its limit has come to its end before the signal.
        self.cancel_kill(worker_key);
        if state == WorkerState::Exiting {
            return self.next_for(worker_key);
        }
        self.clear_limit(worker_key);
        if state == WorkerState::Initializing {
            let took = self.now.saturating_sub(self.worker(worker_key).since);
            self.machine.init_took = took;
            self.machine.restarts.one_is_ready(worker_key.slot);
            self.start_age(worker_key);
        }
        self.enter(worker_key, Phase::Ready);
        self.next_for(worker_key);
        if state == WorkerState::Initializing {
            self.announce_all_ready();
        }
    }

    /// What a worker that is ready and holds nothing begun does next: it runs the first prefetched job, exits, or waits.
    pub(super) fn next_for(&mut self, worker_key: WorkerKey) {
        let left = self.jobs_left(worker_key.slot);
        let worker = self.worker(worker_key);
        if let Some(front) = worker.prefetched.pop_front() {
            return self.presume_begun(worker_key, front);
        }
        if worker.is_ending() {
            return;
        }
        if worker.takes_no_more() || left == 0 {
            return self.leave(worker_key);
        }
        // One that has done nothing yet comes last: those that have done some of their jobs do the rest first, and make room
        // for their successors.
        let at = if worker.jobs_done() == 0 { 0 } else { self.machine.free.len() };
        self.clear_limit(worker_key);
        self.machine.free.insert(at, worker_key.slot);
        self.start_idle(worker_key);
    }

    /// The worker has sent a message of the job that it runs. The first one proves that the job has begun.
    fn note_begun(&mut self, worker_key: WorkerKey, id: u64) -> Option<Current> {
        if self.worker(worker_key).current.is_none_or(|current| current.id != id) {
            self.violated(worker_key, Violation::NotItsJob { job: id });
            return None;
        }
        self.announce(worker_key);
        let current = self.worker(worker_key).current.as_mut()?;
        let first = !std::mem::replace(&mut current.started, true);
        let current = *current;
        if first && let Some(key) = current.key {
            self.emit(Notice::Started { worker_key, key, attempt: current.attempt });
        }
        Some(current)
    }

    /// The job runs on: it is no short one, so none waits behind it.
    fn runs_on(&mut self, worker_key: WorkerKey, current: Current) {
        self.recall_behind(worker_key, current.since);
        // It was aborted while it was prefetched, and has begun all the same.
        self.kill_if_alone(worker_key);
    }

    fn answered(&mut self, worker_key: WorkerKey, id: u64, outcome: Outcome, ready: bool) {
        let silent = self.worker(worker_key).current.is_none_or(|current| !current.started);
        let Some(current) = self.note_begun(worker_key, id) else { return };
        let mut took = self.now.saturating_sub(current.since);
        if silent {
            // A handler that runs for long is announced. The rest was the wait for a core.
            took /= self.oversubscription();
        }
        // Whatever it was to be killed for, it has come to the end of it first.
        self.cancel_kill(worker_key);
        if current.key.is_some() {
            self.worker(worker_key).finished_one(took);
            self.machine.restarts.one_has_worked(worker_key.slot);
            self.attempt_over(worker_key, outcome, false);
        }
        self.end_current(worker_key);
        let limit = self.machine.config.timeout_recovering;
        let worker = self.worker(worker_key);
        worker.set_ready_in_exit(false);
        if !worker.is_exiting() {
            // One that is ready already has recovered within any limit.
            self.start_limit(worker_key, limit.filter(|_| !ready));
            self.enter(worker_key, Phase::Recovering);
        }
        if ready {
            self.became_ready(worker_key);
        }
    }

    /// The worker has written a terminal failure.
    fn terminal(&mut self, worker_key: WorkerKey, job: Option<u64>) {
        if let Some(id) = job
            && self.note_begun(worker_key, id).is_none()
        {
            return;
        }
        self.emit(Notice::TerminalFailure(worker_key));
        self.cancel_kill(worker_key);
        self.announce(worker_key);
        self.attempt_over(worker_key, Outcome::Panicked, true);
        // It begins none of those behind it.
        self.end_current(worker_key);
        if !self.worker(worker_key).is_exiting() {
            self.on_its_way(worker_key, End::Terminal);
        }
        if let Phase::Exiting(exit) = &mut self.worker(worker_key).phase {
            exit.is_ready = false;
            exit.failed_terminally = true;
        }
    }

    fn skipped(&mut self, worker_key: WorkerKey, id: u64) {
        let worker = self.worker(worker_key);
        // One that retires skips what it holds without being asked.
        let retiring = worker.retires_for.contains(RetireReason::Requested);
        let first = worker.current.filter(|current| current.id == id);
        if first.is_some_and(|current| !current.announced && !current.started && (current.recalled || retiring)) {
            self.cancel_kill(worker_key);
            self.not_begun(worker_key);
            return self.next_for(worker_key);
        }
        let Some(at) =
            worker.prefetched.iter().position(|prefetched| prefetched.id == id && (prefetched.recalled || retiring))
        else {
            return self.violated(worker_key, Violation::NotItsJob { job: id });
        };
        if let Some(prefetched) = worker.prefetched.remove(at) {
            worker.taken -= 1;
            self.give_back(prefetched.permit);
            self.recall_was_answered(worker_key);
            if let Some(key) = prefetched.key {
                self.requeue(key);
            }
        }
        self.kill_if_alone(worker_key);
    }

    /// The worker wants to be replaced, and will skip whatever it has not begun.
    fn retires(&mut self, worker_key: WorkerKey) {
        let worker = self.worker(worker_key);
        worker.retires_for.insert(RetireReason::Requested);
        worker.recall().for_each(drop);
        self.await_recall(worker_key);
        if self.worker(worker_key).is_free() {
            self.next_for(worker_key);
        }
    }

    /// The worker broke the protocol: it is killed, and none of its messages is matched to another job. Nothing can be
    /// proven of what it holds, so all of it has used an attempt.
    pub(super) fn violated(&mut self, worker_key: WorkerKey, violation: Violation) {
        let exiting = self.worker(worker_key).is_exiting();
        if !exiting {
            self.emit(Notice::Violated(worker_key, violation));
        }
        self.all_attempts_over(worker_key, Outcome::Protocol(violation));
        if !exiting {
            self.kill(worker_key, End::Violation);
        }
    }
}
