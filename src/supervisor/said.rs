//! What workers say, and what it means in the state that they are in.

use super::planted::planted;
use super::worker::{Current, End};
use super::{Effect, Outcome, Said, Seat, Turn, Violation, WorkerState};

impl<T> Turn<'_, T> {
    pub(super) fn said(&mut self, seat: Seat, said: Said) {
        if self.worker(seat).state == WorkerState::Exiting && !planted!(ExitingIsHeard) {
            // The jobs it held are settled or on their way back; whatever it says now is too late.
            return;
        }
        match said {
            Said::Ready => self.said_ready(seat),
            Said::Start { job } => drop(self.running_on(seat, job)),
            Said::Progress { job } => {
                if let Some(Current { key, attempt, .. }) = self.running_on(seat, job) {
                    self.say(Effect::Progressed { seat, key, attempt });
                }
            }
            Said::Answer { job, outcome, ready } => self.answered(seat, job, outcome, ready),
            Said::Terminal { job } => self.terminal(seat, job),
            Said::Skipped { job } => self.skipped(seat, job),
            Said::Retire => {
                self.worker(seat).retiring = true;
                self.take_all_back(seat);
                if self.worker(seat).state == WorkerState::Ready {
                    self.next_for(seat);
                }
            }
        }
    }

    fn said_ready(&mut self, seat: Seat) {
        match self.worker(seat).state {
            WorkerState::Initializing => {
                self.worker(seat).been_ready = true;
                self.machine.starts.one_is_ready(seat.slot);
                self.ready(seat);
                self.tell_all_ready();
            }
            WorkerState::Recovering => self.ready(seat),
            state => self.violated(seat, Violation::ReadyWhile(state)),
        }
    }

    fn ready(&mut self, seat: Seat) {
        let worker = self.worker(seat);
        (worker.limit, worker.limit_at) = (None, None);
        self.enter(seat, WorkerState::Ready);
        self.next_for(seat);
    }

    /// What a worker that is ready does next: leave, the job that lies ahead, or wait.
    fn next_for(&mut self, seat: Seat) {
        let most = self.machine.config.max_jobs_per_process;
        let limit = self.machine.config.timeout_working;
        let worker = self.worker(seat);
        if worker.is_ending() {
            return;
        }
        if let Some(front) = worker.ahead.front() {
            match front.key {
                Some(key) if !front.called_back => {
                    worker.ahead.pop_front();
                    self.begin(seat, key, false);
                    self.top_up(seat);
                }
                // It was asked back, or aborted, and the worker may have started it before it read so: its next word
                // will tell. It is limited as if it had.
                _ if planted!(DoubtHasNoLimit) => {}
                _ => self.start_limit(seat, limit),
            }
        } else if worker.retiring || worker.outgrown || worker.taken >= most + u64::from(planted!(OneJobTooMany)) {
            self.leave(seat);
        } else {
            (worker.limit, worker.limit_at) = (None, None);
            self.machine.free.push(seat.slot);
        }
    }

    /// The worker speaks of the job that it runs, which has begun with its first word.
    fn running(&mut self, seat: Seat, id: u64) -> Option<Current> {
        if !self.holds(seat, id) {
            return None;
        }
        let current = self.worker(seat).current.as_mut()?;
        let told = std::mem::replace(&mut current.started, true);
        let current = *current;
        if !told {
            self.say(Effect::Started { seat, key: current.key, attempt: current.attempt });
        }
        Some(current)
    }

    /// The same, of a word that is not the answer: where the job is no short one, none waits behind it.
    fn running_on(&mut self, seat: Seat, id: u64) -> Option<Current> {
        let current = self.running(seat, id)?;
        self.call_back_behind(seat);
        Some(current)
    }

    /// Whether it holds job `id`, of which it speaks. A job that lay ahead and was asked back too late is begun here;
    /// anything else that it does not hold is a violation.
    fn holds(&mut self, seat: Seat, id: u64) -> bool {
        let worker = self.worker(seat);
        if let Some(current) = &worker.current {
            if current.id == id {
                return true;
            }
        } else if worker.state == WorkerState::Ready
            && let Some(at) = worker.ahead.iter().position(|ahead| ahead.id == id)
        {
            // Those before it were skipped, or it would have said so.
            let ahead = if at == 0 { worker.ahead.pop_front() } else { None };
            match ahead.map(|ahead| ahead.key) {
                Some(Some(key)) => {
                    self.begin(seat, key, false);
                    return true;
                }
                Some(None) => {
                    // It was aborted, and started all the same: nobody is told, and the worker is killed.
                    if planted!(AbortedIsBegun) {
                        self.enter(seat, WorkerState::Working);
                        return true;
                    }
                    self.kill(seat, End::Aborted);
                    return false;
                }
                None => {}
            }
        }
        self.violated(seat, Violation::NotItsJob { job: id });
        false
    }

    fn answered(&mut self, seat: Seat, id: u64, outcome: Outcome, ready: bool) {
        let silent = self.worker(seat).current.is_none_or(|current| !current.started);
        let Some(current) = self.running(seat, id) else { return };
        let mut took = self.now.saturating_sub(current.since);
        if silent {
            // A handler that runs for long is announced. The rest was the wait for a core.
            took /= self.crowding();
        }
        let limit = self.machine.config.timeout_recovering;
        self.worker(seat).finished_one(took);
        self.start_limit(seat, limit);
        self.machine.starts.one_has_worked(seat.slot);
        self.attempt_over(seat, outcome, false);
        self.enter(seat, WorkerState::Recovering);
        if ready {
            self.ready(seat);
        }
    }

    /// The worker says its last words.
    fn terminal(&mut self, seat: Seat, job: Option<u64>) {
        if let Some(id) = job
            && self.running(seat, id).is_none()
        {
            return;
        }
        self.say(Effect::LastWords(seat));
        self.worker(seat).end(End::Terminal);
        self.attempt_over(seat, Outcome::Panicked, true);
        self.on_its_way(seat);
    }

    fn skipped(&mut self, seat: Seat, id: u64) {
        let worker = self.worker(seat);
        if worker.retiring && !planted!(RetireCrossesSkip) {
            // Its word that it retires has brought all of them back, and crossed the question.
            return;
        }
        let Some(at) = worker.ahead.iter().position(|ahead| ahead.id == id && ahead.called_back) else {
            return self.violated(seat, Violation::NotItsJob { job: id });
        };
        if let Some(ahead) = worker.ahead.remove(at) {
            match ahead.key {
                Some(key) => self.take_back(seat, key),
                None => self.worker(seat).taken -= 1,
            }
        }
        if self.worker(seat).state == WorkerState::Ready && self.worker(seat).current.is_none() {
            self.next_for(seat);
        }
    }

    /// The worker broke the protocol: it is killed, and nothing of what it said is matched to another job.
    pub(super) fn violated(&mut self, seat: Seat, violation: Violation) {
        if self.worker(seat).state == WorkerState::Exiting {
            return;
        }
        self.say(Effect::Violated(seat, violation));
        self.worker(seat).end(End::Violation);
        self.attempt_over(seat, Outcome::Protocol(violation), true);
        self.kill(seat, End::Violation);
    }
}
