//! What became of a confinement.

use std::error::Error;
use std::fmt;

/// What is enforced from now on, as [`apply`](crate::Confinement::apply) found it.
///
/// `Display` puts it into a line for a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Enforced {
    /// The version of Landlock's ABI that this kernel has; 0 where it has none.
    pub landlock_abi: u32,
    /// Whether files can be opened below the named paths only: by Landlock.
    pub files: bool,
    /// Whether system calls are filtered: by seccomp.
    pub system_calls: bool,
    /// Whether all of that holds for every thread of the process. Without [`best_effort`](crate::Confinement::best_effort)
    /// it does.
    pub all_threads: bool,
    /// What was asked for and is not enforced, each in a sentence. Without
    /// [`best_effort`](crate::Confinement::best_effort) this is empty.
    pub missing: Vec<String>,
}

impl fmt::Display for Enforced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.files, self.landlock_abi) {
            (true, abi) => write!(f, "files: Landlock ABI {abi}")?,
            (false, _) => f.write_str("files: not confined")?,
        }
        f.write_str(if self.system_calls { "; system calls: filtered" } else { "; system calls: not filtered" })?;
        f.write_str(if self.all_threads { "; in all threads" } else { "; not in all threads" })?;
        self.missing.iter().try_for_each(|sentence| write!(f, "; {sentence}"))
    }
}

/// Why a process was not confined.
#[derive(Debug)]
pub struct ConfineError {
    kind: ConfineErrorKind,
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// The kinds of [`ConfineError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfineErrorKind {
    /// A path cannot be opened: it does not exist, or this user may not.
    Path,
    /// This system cannot enforce all of it.
    Unsupported,
    /// The process has threads that cannot be confined.
    Threads,
    /// A system call failed.
    System,
}

impl ConfineError {
    pub(crate) fn new(kind: ConfineErrorKind, message: impl Into<String>) -> Self {
        ConfineError { kind, message: message.into(), source: None }
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn of(
        kind: ConfineErrorKind,
        what: impl fmt::Display,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        let source = source.into();
        ConfineError { kind, message: format!("{what}: {source}"), source: Some(source) }
    }

    /// Why, for a program; `Display` says it for a person.
    pub fn kind(&self) -> ConfineErrorKind {
        self.kind
    }
}

impl fmt::Display for ConfineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the worker cannot be confined: {}", self.message)
    }
}

impl Error for ConfineError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// Elsewhere than on Linux.
#[cfg(not(target_os = "linux"))]
pub(crate) fn nothing(best_effort: bool) -> Result<Enforced, ConfineError> {
    const WHY: &str = "this needs Linux";
    if best_effort {
        return Ok(Enforced { missing: vec![WHY.into()], ..Enforced::default() });
    }
    Err(ConfineError::new(ConfineErrorKind::Unsupported, WHY))
}
