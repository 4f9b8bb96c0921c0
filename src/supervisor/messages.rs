//! What workers say, and what it means in the state that they are in.
//!
//! A worker that is on its way out is heard as well: what it has answered is answered, whatever becomes of it.

use super::worker::{Current, End};
use super::{Effect, Outcome, Said, Seat, Step, Violation, WorkerState};

impl<T> Step<'_, T> {
    pub(super) fn said(&mut self, seat: Seat, said: Said) {
        match said {
            Said::Ready => self.said_ready(seat),
            Said::Start { job } => {
                if let Some(current) = self.first_word(seat, job) {
                    self.spoke_of_a_running_job(seat, current);
                }
            }
            Said::Progress { job } => {
                let Some(current) = self.first_word(seat, job) else { return };
                if let Some(key) = current.key {
                    self.emit(Effect::Progressed { seat, key, attempt: current.attempt });
                }
                self.spoke_of_a_running_job(seat, current);
            }
            Said::Answer { job, outcome, ready } => self.answered(seat, job, outcome, ready),
            Said::Terminal { job } => self.terminal(seat, job),
            Said::Skipped { job } => self.skipped(seat, job),
            Said::Retire => self.retires(seat),
        }
    }

    fn said_ready(&mut self, seat: Seat) {
        let worker = self.worker(seat);
        let state = worker.state;
        if worker.is_ready {
            return self.violated(seat, Violation::ReadyWhile(state));
        }
        worker.is_ready = true;
        // A recovery that was over its limit has come to its end before the signal.
        self.pardon(seat);
        if state == WorkerState::Exiting {
            return self.next_for(seat);
        }
        self.clear_limit(seat);
        if state == WorkerState::Initializing {
            let took = self.now.saturating_sub(self.worker(seat).since);
            self.machine.init_took = took;
            self.worker(seat).been_ready = true;
            self.machine.starts.one_is_ready(seat.slot);
        }
        self.enter(seat, WorkerState::Ready);
        self.next_for(seat);
        if state == WorkerState::Initializing {
            self.announce_all_ready();
        }
    }

    /// What a worker that is ready and holds nothing begun does next: the job that lies ahead, leave, or wait.
    pub(super) fn next_for(&mut self, seat: Seat) {
        let left = self.jobs_left(seat.slot);
        let worker = self.worker(seat);
        if let Some(front) = worker.ahead.pop_front() {
            return self.presume_begun(seat, front);
        }
        if worker.is_ending() {
            return;
        }
        if worker.retiring || worker.outgrown || left == 0 {
            return self.leave(seat);
        }
        self.clear_limit(seat);
        self.machine.free.push(seat.slot);
    }

    /// The worker speaks of the job that it runs. Its first word proves that the job has begun.
    fn first_word(&mut self, seat: Seat, id: u64) -> Option<Current> {
        if self.worker(seat).current.is_none_or(|current| current.id != id) {
            self.violated(seat, Violation::NotItsJob { job: id });
            return None;
        }
        self.announce(seat);
        let current = self.worker(seat).current.as_mut()?;
        let first = !std::mem::replace(&mut current.started, true);
        let current = *current;
        if first && let Some(key) = current.key {
            self.emit(Effect::Started { seat, key, attempt: current.attempt });
        }
        Some(current)
    }

    /// The job runs on: it is no short one, so none waits behind it.
    fn spoke_of_a_running_job(&mut self, seat: Seat, current: Current) {
        self.recall_behind(seat, current.since);
        // It was aborted while it lay ahead, and has begun all the same.
        self.kill_if_alone(seat);
    }

    fn answered(&mut self, seat: Seat, id: u64, outcome: Outcome, ready: bool) {
        let silent = self.worker(seat).current.is_none_or(|current| !current.started);
        let Some(current) = self.first_word(seat, id) else { return };
        let mut took = self.now.saturating_sub(current.since);
        if silent {
            // A handler that runs for long is announced. The rest was the wait for a core.
            took /= self.oversubscription();
        }
        // Whatever it was to be killed for, it has come to the end of it first.
        self.pardon(seat);
        if current.key.is_some() {
            self.worker(seat).finished_one(took);
            self.machine.starts.one_has_worked(seat.slot);
            self.attempt_over(seat, outcome, false);
        }
        let limit = self.machine.config.timeout_recovering;
        let worker = self.worker(seat);
        (worker.current, worker.is_ready) = (None, false);
        if worker.state != WorkerState::Exiting {
            self.start_limit(seat, limit);
            self.enter(seat, WorkerState::Recovering);
        }
        if ready {
            self.said_ready(seat);
        }
    }

    /// The worker says why it ends.
    fn terminal(&mut self, seat: Seat, job: Option<u64>) {
        if let Some(id) = job
            && self.first_word(seat, id).is_none()
        {
            return;
        }
        self.emit(Effect::LastWords(seat));
        self.worker(seat).end(End::Terminal);
        self.pardon(seat);
        self.announce(seat);
        self.attempt_over(seat, Outcome::Panicked, true);
        // It begins none of those behind it.
        let worker = self.worker(seat);
        (worker.current, worker.is_ready) = (None, false);
        if worker.state != WorkerState::Exiting {
            self.on_its_way(seat);
        }
    }

    fn skipped(&mut self, seat: Seat, id: u64) {
        let worker = self.worker(seat);
        // One that retires skips what it holds without being asked.
        let retiring = worker.retiring;
        let first = worker.current.filter(|current| current.id == id);
        if first.is_some_and(|current| !current.announced && !current.started && (current.recalled || retiring)) {
            self.pardon(seat);
            self.not_begun(seat);
            return self.next_for(seat);
        }
        let Some(at) = worker.ahead.iter().position(|ahead| ahead.id == id && (ahead.recalled || retiring)) else {
            return self.violated(seat, Violation::NotItsJob { job: id });
        };
        if let Some(ahead) = worker.ahead.remove(at) {
            worker.taken -= 1;
            self.recall_was_answered(seat);
            if let Some(key) = ahead.key {
                self.requeue(key);
            }
        }
        self.kill_if_alone(seat);
    }

    /// The worker wants to be replaced, and will skip whatever it has not begun.
    fn retires(&mut self, seat: Seat) {
        let worker = self.worker(seat);
        worker.retiring = true;
        worker.recall().for_each(drop);
        self.await_recall(seat);
        if self.worker(seat).is_free() {
            self.next_for(seat);
        }
    }

    /// The worker broke the protocol: it is killed, and nothing of what it said is matched to another job. Nothing can be
    /// proven of what it holds, so all of it has used an attempt.
    pub(super) fn violated(&mut self, seat: Seat, violation: Violation) {
        let exiting = self.worker(seat).state == WorkerState::Exiting;
        if !exiting {
            self.emit(Effect::Violated(seat, violation));
            self.worker(seat).end(End::Violation);
        }
        self.all_attempts_over(seat, Outcome::Protocol(violation));
        if !exiting {
            self.kill(seat, End::Violation);
        }
    }
}
