//! Bugs that are planted on purpose, to prove that the simulator finds such. They exist in tests only, and are chosen at
//! run time, a thread at a time.

/// Whether the bug called `$bug` is planted here; never outside tests.
macro_rules! planted {
    ($bug:ident) => {{
        #[cfg(test)]
        let planted = $crate::supervisor::planted::is_planted($crate::supervisor::planted::Bug::$bug);
        #[cfg(not(test))]
        let planted = false;
        planted
    }};
}
pub(super) use planted;

#[cfg(test)]
pub(super) use chosen::{Bug, is_planted, with_bug};

#[cfg(test)]
mod chosen {
    use std::cell::Cell;

    macro_rules! bugs {
        ($($(#[$doc:meta])* $bug:ident,)*) => {
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            pub(in crate::supervisor) enum Bug { $($(#[$doc])* $bug,)* }

            impl Bug {
                pub(in crate::supervisor) const ALL: &[Bug] = &[$(Bug::$bug,)*];
            }
        };
    }

    bugs! {
        /// What an exiting worker says still counts.
        ExitingIsHeard,
        /// A retried job is queued before its worker is reaped.
        RetryBeforeReap,
        /// A job that comes back goes to the end of the queue.
        ReturnToBack,
        /// What lay ahead at a worker that died is forgotten.
        AheadDiesToo,
        /// A worker does one job more than it may.
        OneJobTooMany,
        /// A worker is replaced after exit.
        SpawnAfterExit,
        /// A signal is sent to whoever has the number now.
        SignalToTheReaped,
        /// SIGTERM is all there is.
        NoSigkill,
        /// The worker of an aborted job works on.
        AbortedWorkerLives,
        /// What is said of a worker is taken as said of its successor.
        NamesakesAreOne,
        /// A job is given to a worker that is known to be dead.
        HandedToTheDead,
        /// A job that is asked back counts as back at once.
        BackAtOnce,
        /// A worker of which nothing is known has no limit.
        DoubtHasNoLimit,
        /// All jobs are equal.
        NoPriorities,
        /// A job's own limit is forgotten.
        OwnLimitForgotten,
        /// The pool says that it is idle at each turn.
        IdleAgain,
        /// The slot of a worker that is being killed is free.
        DyingDoNotCount,
        /// Nobody is told that no worker would start.
        NoWorkerIsNotTold,
        /// What a dead worker has left to say must come within its limit.
        DeadAreTimed,
        /// In a crowd, jobs wait behind a long one though another worker is free.
        NobodyCalledBack,
        /// A job learns that no worker starts from one that was asked for before.
        OldStartsCount,
        /// An aborted job that was started all the same is begun.
        AbortedIsBegun,
        /// A worker that holds a job is forgotten in the figures.
        HeldIsMiscounted,
        /// A job is tried once more than it should be.
        OneRetryTooMany,
        /// A crash in a worker's first job counts as a start failure.
        CrashIsNoStart,
        /// A worker that skips a job after it has said that it retires has broken the protocol.
        RetireCrossesSkip,
        /// A worker that says that it retires has not said which job it runs.
        RetireHidesItsJob,
        /// No worker is ever over its memory.
        MemoryIsFree,
        /// The end of a worker's pipe is nothing.
        ClosedPipeIsNothing,
    }

    thread_local! {
        static CHOSEN: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    pub(in crate::supervisor) fn is_planted(bug: Bug) -> bool {
        CHOSEN.get() == Some(bug)
    }

    /// Runs `then` with a bug planted in this thread.
    pub(in crate::supervisor) fn with_bug<T>(bug: Bug, then: impl FnOnce() -> T) -> T {
        CHOSEN.set(Some(bug));
        let result = then();
        CHOSEN.set(None);
        result
    }
}
