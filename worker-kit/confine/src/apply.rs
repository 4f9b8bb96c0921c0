//! The call that takes it away, on each system.

use crate::confinement::Confinement;
#[cfg(not(target_os = "linux"))]
use crate::enforced;
use crate::enforced::{ConfineError, Enforced};
#[cfg(target_os = "linux")]
use crate::linux;

impl Confinement {
    /// Confines this process, for good. It can be called again, to take away more.
    ///
    /// # Errors
    ///
    /// * [`Path`](crate::ConfineErrorKind::Path): a path cannot be opened.
    /// * [`Unsupported`](crate::ConfineErrorKind::Unsupported): this kernel cannot enforce all of it, and
    ///   [`best_effort`](Confinement::best_effort) was not asked for.
    /// * [`Threads`](crate::ConfineErrorKind::Threads): this process has threads that cannot be confined, and the same.
    /// * [`System`](crate::ConfineErrorKind::System): a system call failed. The process may then be confined in part: end it.
    ///
    /// After each of the others nothing has changed.
    ///
    /// ```no_run
    /// # use hirelings_confine::*;
    /// match Confinement::new().apply() {
    ///     Ok(enforced) => eprintln!("{enforced}"),
    ///     Err(error) if error.kind() == ConfineErrorKind::Unsupported => panic!("this kernel is too old: {error}"),
    ///     Err(error) => panic!("{error}"),
    /// }
    /// ```
    pub fn apply(self) -> Result<Enforced, ConfineError> {
        #[cfg(target_os = "linux")]
        return linux::apply(&self);
        #[cfg(not(target_os = "linux"))]
        return enforced::nothing(self.best_effort);
    }
}
