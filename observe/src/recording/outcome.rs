//! How an attempt ended, and what that is called.

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Succeeded,
    Failed,
    Panicked,
    Crashed,
    TimedOut,
    OutOfMemory,
    Protocol,
    Codec,
    Aborted,
    Closed,
    NoWorker,
    Expired,
    Running,
}

impl Outcome {
    pub(crate) const ALL: [Outcome; 13] = [
        Outcome::Succeeded,
        Outcome::Failed,
        Outcome::Panicked,
        Outcome::Crashed,
        Outcome::TimedOut,
        Outcome::OutOfMemory,
        Outcome::Protocol,
        Outcome::Codec,
        Outcome::Aborted,
        Outcome::Closed,
        Outcome::NoWorker,
        Outcome::Expired,
        Outcome::Running,
    ];

    /// Whether the worker that had the job does not outlive it.
    pub(super) fn ends_its_worker(self) -> bool {
        use Outcome::{Aborted, Crashed, OutOfMemory, Panicked, Protocol, TimedOut};
        matches!(self, Panicked | Crashed | TimedOut | OutOfMemory | Protocol | Aborted)
    }

    /// In words.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Outcome::Succeeded => "succeeded",
            Outcome::Failed => "failed",
            Outcome::Panicked => "panicked",
            Outcome::Crashed => "crashed",
            Outcome::TimedOut => "timed out",
            Outcome::OutOfMemory => "out of memory",
            Outcome::Protocol => "broke the protocol",
            Outcome::Codec => "not encodable",
            Outcome::Aborted => "aborted",
            Outcome::Closed => "closed",
            Outcome::NoWorker => "no worker",
            Outcome::Expired => "expired",
            Outcome::Running => "running",
        }
    }
}
