//! What the workers are told to do.

use crate::kit;
use hirelings::{Bytes, Job};
use serde::{Deserialize, Serialize};
use std::process::Command;

/// One job: a deed, a number to know its answer by, and bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    pub deed: Deed,
    pub nonce: u64,
    pub bytes: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Deed {
    /// Gives the bytes back.
    Echo,
    /// Gives only their sum back.
    Swallow,
    Fail,
    Panic,
    Exit,
    Segfault,
    Abort,
    Overflow,
    Exhaust,
    /// Writes half a frame and exits.
    CutFrame,
    /// Closes the protocol's output and lives on.
    CloseOutput,
    /// Leaves all three pipes to a grandchild, which may leave the group (setsid).
    Hold {
        away: bool,
        then: Then,
    },
    /// Forks children that outlive it, some with its standard error.
    LeaveChildren {
        then: Then,
    },
    FloodErrors {
        forever: bool,
    },
    FloodProgress {
        forever: bool,
    },
    Hang,
    Spin,
    /// Sends itself SIGSTOP.
    Stop,
    /// Never reads its input again, and answers this job.
    StopReading,
    /// Has a grandchild that is stopped.
    StopChild,
}

/// What the worker does after the deed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Then {
    Answers,
    Exits,
    /// Nothing, for ever.
    Rests,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answer {
    pub nonce: u64,
    pub pid: u32,
    pub sum: u64,
    pub bytes: Bytes,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Told {
    Working,
    /// This child, or the last of several, lives; where it holds the worker's pipes this is why it matters.
    Held(u32),
    Noise(Bytes),
}

impl Job for Order {
    type Output = Answer;
    type Progress = Told;
    type Error = String;
}

impl Order {
    pub fn of(deed: Deed, nonce: u64) -> Self {
        Order { deed, nonce, bytes: Bytes::default() }
    }
}

impl Deed {
    /// Whether the worker's process comes to its end by it.
    pub fn ends_worker(self) -> bool {
        use Deed::{Abort, CutFrame, Exhaust, Exit, Hold, LeaveChildren, Overflow, Segfault};
        match self {
            Exit | Segfault | Abort | Overflow | Exhaust | CutFrame => true,
            Hold { then, .. } | LeaveChildren { then } => then == Then::Exits,
            _ => false,
        }
    }
}

/// A number that other bytes hardly have: of all of them where they are few, of some of them where they are many.
pub fn sum(bytes: &[u8]) -> u64 {
    let step = 1 + bytes.len() / 100_000;
    let some = bytes.iter().step_by(step);
    some.fold(bytes.len() as u64, |sum, &byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)))
}

/// This program, in another role. By a path that works under any user.
pub fn this_program(role: &str, tag: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.args([role, tag]);
    kit::tell(&mut command);
    command
}
