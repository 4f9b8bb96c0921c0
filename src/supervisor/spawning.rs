//! New workers, from the decision to the greeting.

use super::worker::Worker;
use super::{Effect, Phase, Seat, Step, Supervisor, WorkerState};

impl<T> Step<'_, T> {
    pub(super) fn spawn_missing(&mut self) {
        let Supervisor { config, phase, backlog, slots, occupied, starts, .. } = &mut *self.machine;
        if *phase == Phase::Exiting {
            return starts.want_none();
        }
        let minimum = if *phase == Phase::Open { config.min_processes } else { 0 };
        // Most turns end here: there is no room for a worker, or no need of one.
        if *occupied == slots.len() || (backlog.len() == 0 && *occupied >= minimum && !starts.are_wanted()) {
            return starts.want_none();
        }
        let due = starts.due(self.now, slots, backlog.len(), minimum);
        for slot in due {
            let worker = self.machine.next_worker;
            self.machine.next_worker += 1;
            let probe = self.machine.is_broken();
            self.machine.slots[slot] = Some(Worker::new(worker, probe));
            self.machine.occupied += 1;
            self.emit(Effect::Spawn(Seat { slot, worker }));
        }
    }

    pub(super) fn spawned(&mut self, seat: Seat) {
        self.machine.counters.spawned += 1;
        let limit = self.machine.config.timeout_initializing;
        self.emit(Effect::Spawned(seat));
        let worker = self.worker(seat);
        worker.spawned = true;
        if worker.end.is_some() {
            // The pool has ended while it was being spawned.
            return self.signal(seat);
        }
        self.start_limit(seat, limit);
        self.measure_later(seat);
        self.emit_state(seat, WorkerState::Initializing);
    }

    pub(super) fn announce_all_ready(&mut self) {
        if self.machine.awaiting_ready && self.machine.all_ready() {
            self.machine.awaiting_ready = false;
            self.emit(Effect::AllReady);
        }
    }
}
