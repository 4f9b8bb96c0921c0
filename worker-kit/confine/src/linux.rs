//! A confinement on Linux, step by step.

use crate::ConfineErrorKind::{System, Threads, Unsupported};
use crate::{ConfineError, Confinement, Enforced, files, filter, raw};
use hirelings_worker_kit::{has_guard, leave_group_to_pool, replace_guard};
use rustix::fs::stat;

/// The first ABI that covers all of files: before it, a file that may be read can be truncated.
const ALL_OF_FILES: u32 = 3;
/// The first ABI that covers signals.
const SIGNALS: u32 = 6;
/// The first ABI that confines all threads at once.
const ALL_THREADS: u32 = 8;

pub(crate) fn apply(wish: &Confinement) -> Result<Enforced, ConfineError> {
    let abi = raw::landlock_abi();
    let opened = files::open(wish)?;
    let filter = filter::compile(wish);

    let mut missing = Missing { best_effort: wish.best_effort, sentences: Vec::new() };
    if abi == 0 {
        missing.add(
            "files: this kernel has no Landlock (Linux 5.13), or it is switched off (see lsm= of the boot line)",
        )?;
    } else if abi < ALL_OF_FILES {
        let sentence =
            "files that may be read can be truncated: Landlock's ABI 3 is needed (Linux 6.2), this kernel has";
        missing.add(format!("{sentence} {abi}"))?;
    }
    if wish.spawn && !wish.outside_signals && abi < SIGNALS {
        let sentence =
            "programs that are run can signal others: Landlock's ABI 6 is needed (Linux 6.12), this kernel has";
        missing.add(format!("{sentence} {abi}"))?;
    }
    let filter = match filter {
        Ok(filter) => Some(filter),
        Err(why) => {
            missing.add(format!("system calls: {why}"))?;
            None
        }
    };
    let landlock_in_all = abi == 0 || abi >= ALL_THREADS || only_this_thread_and_the_guard();
    if !landlock_in_all {
        let why = "it has started other threads, whose files Landlock cannot confine before its ABI 8 (Linux 7.0): confine \
                   it before you start any";
        if !wish.best_effort {
            return Err(ConfineError::new(Threads, why));
        }
        missing.sentences.push(why.into());
    }

    // From here on things change.
    if abi > 0 {
        files::confine(wish, opened, abi >= ALL_THREADS)?;
        if abi < ALL_THREADS {
            replace_guard().map_err(|error| ConfineError::of(System, "its guard thread cannot be replaced", error))?;
        }
    }
    let system_calls = filter.is_some();
    if let Some(filter) = filter {
        if !wish.spawn {
            leave_group_to_pool();
        }
        filter.install()?;
    }
    Ok(Enforced {
        landlock_abi: abi,
        files: abi > 0,
        system_calls,
        all_threads: landlock_in_all && (abi > 0 || system_calls),
        missing: missing.sentences,
    })
}

/// What this kernel lacks: an error, or a sentence in [`Enforced`].
struct Missing {
    best_effort: bool,
    sentences: Vec<String>,
}

impl Missing {
    fn add(&mut self, sentence: impl Into<String>) -> Result<(), ConfineError> {
        let sentence = sentence.into();
        if !self.best_effort {
            return Err(ConfineError::new(Unsupported, sentence));
        }
        self.sentences.push(sentence);
        Ok(())
    }
}

/// The guard is replaced by one that this thread starts, and confined with it. Where the threads cannot be counted, there
/// may be any.
fn only_this_thread_and_the_guard() -> bool {
    // A folder has a link for itself, one for its name, and one for each folder in it, which here are the threads.
    let links = stat("/proc/self/task").ok().and_then(|task| usize::try_from(task.st_nlink).ok());
    links.is_some_and(|links| links <= 2 + 1 + usize::from(has_guard()))
}
