//! Signals to workers from somebody who is not their pool.

use crate::dice::Dice;
use crate::processes::children_of;
use hirelings::{Job, Pool, WorkerState};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::os::fd::OwnedFd;
use std::process::id;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

/// A child of this process, which cannot be taken for another that has its number later.
#[derive(Debug)]
pub struct Target(OwnedFd);

impl Target {
    /// None where there is no such child any more, of this process or of a fork server that is.
    pub fn of(pid: u32) -> Option<Self> {
        let target = pidfd_open(Pid::from_raw(pid.cast_signed())?, PidfdFlags::empty()).ok()?;
        let own = children_of(id());
        let forked = || own.iter().any(|&server| children_of(server).contains(&pid));
        (own.contains(&pid) || forked()).then_some(Target(target))
    }

    /// Gives whether it was there.
    pub fn send(&self, signal: Signal) -> bool {
        pidfd_send_signal(&self.0, signal).is_ok()
    }
}

/// What is done to workers, or to what has forked them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strike {
    Kill,
    /// Kills a fork server.
    KillForkServer,
    /// Stops a worker, mostly for less than 40 ms, now and then for so long.
    Pause(Duration),
}

/// What was done.
#[derive(Debug, Default)]
pub struct Struck {
    /// Process ids, which may come again.
    pub killed: Vec<u32>,
    pub pauses: u64,
}

/// Strikes one worker after the other, at times that the dice choose, whatever it is doing.
pub fn strike<J: Job>(pool: &Pool<J>, mut dice: Dice, how: Strike, stop: &AtomicBool) -> Struck {
    let mut struck = Struck::default();
    while !stop.load(Ordering::SeqCst) {
        // A fork server has to be started again before there is one more to be struck.
        let longest = if how == Strike::KillForkServer { 200_000 } else { 20_000 };
        sleep(Duration::from_micros(200 + dice.below(longest)));
        // One that is killed before it is ready is a failed start: after a few, no more are tried.
        let mut workers = pool.workers();
        workers.retain(|worker| how != Strike::Kill || worker.state != WorkerState::Initializing);
        let Some(worker) = workers.get(dice.below(workers.len().max(1) as u64) as usize) else { continue };
        let pid = if how == Strike::KillForkServer { worker.fork_server } else { Some(worker.pid) };
        let Some(target) = pid.and_then(Target::of) else { continue };
        match how {
            Strike::KillForkServer => drop(target.send(Signal::KILL)),
            Strike::Kill => {
                if target.send(Signal::KILL) {
                    struck.killed.push(worker.pid);
                }
            }
            Strike::Pause(longest) => {
                target.send(Signal::STOP);
                sleep(if dice.percent(2) { longest } else { Duration::from_micros(dice.below(40_000)) });
                struck.pauses += u64::from(target.send(Signal::CONT));
            }
        }
    }
    struck
}
