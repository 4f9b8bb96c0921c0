//! What is to be taken away.

use std::path::PathBuf;

/// What a process takes away from itself, for good; see [the crate](crate).
///
/// Nothing happens before [`apply`](Confinement::apply).
#[derive(Clone, Debug, Default)]
#[must_use = "a confinement does nothing until it is applied"]
pub struct Confinement {
    pub(crate) read: Vec<PathBuf>,
    pub(crate) write: Vec<PathBuf>,
    pub(crate) network: bool,
    pub(crate) spawn: bool,
    pub(crate) outside_signals: bool,
    pub(crate) best_effort: bool,
    pub(crate) kill_on_violation: bool,
}

impl Confinement {
    /// A confinement that leaves no file, no network, no other program and no other process.
    pub fn new() -> Self {
        Confinement::default()
    }

    /// Files that may be read, and folders with everything below them. Default: none.
    ///
    /// Each call adds to those before. Where a path is a link, it is what that leads to now. With
    /// [`spawn`](Confinement::spawn) these are also the programs that may be run.
    ///
    /// ```no_run
    /// # use hirelings_confine::*;
    /// Confinement::new().read(["/usr/share/fonts", "/etc/fonts"]).apply()?;
    /// # Ok::<(), ConfineError>(())
    /// ```
    pub fn read<P: Into<PathBuf>>(mut self, paths: impl IntoIterator<Item = P>) -> Self {
        self.read.extend(paths.into_iter().map(Into::into));
        self
    }

    /// Files that may be read and written, and folders in which everything may be read, written, created and removed.
    /// Default: none.
    ///
    /// Each call adds to those before. Devices cannot be created, and nothing here can be run as a program unless the same
    /// path is given to [`read`](Confinement::read) too. Give each worker a folder of its own where jobs must not see
    /// each other's files. A worker can create links here that lead anywhere: do not follow them when you read what it wrote.
    ///
    /// ```no_run
    /// # use hirelings_confine::*;
    /// # let scratch = std::env::temp_dir();
    /// Confinement::new().write([scratch]).apply()?;
    /// # Ok::<(), ConfineError>(())
    /// ```
    pub fn write<P: Into<PathBuf>>(mut self, paths: impl IntoIterator<Item = P>) -> Self {
        self.write.extend(paths.into_iter().map(Into::into));
        self
    }

    /// Whether sockets for IPv4 and IPv6 may be had, raw ones excepted. Default: `false`.
    ///
    /// Names of hosts are looked up with the help of files, which are to be given to [`read`](Confinement::read):
    /// `/etc/resolv.conf`, `/etc/hosts`, `/etc/nsswitch.conf`, certificates.
    ///
    /// ```no_run
    /// # use hirelings_confine::*;
    /// Confinement::new().network(true).apply()?;
    /// # Ok::<(), ConfineError>(())
    /// ```
    pub fn network(mut self, allowed: bool) -> Self {
        self.network = allowed;
        self
    }

    /// Whether other programs may be run, those that can be [read](Confinement::read). Default: `false`.
    ///
    /// They inherit the confinement. What they need is to be named: a program with shared libraries needs these and the
    /// dynamic loader, for example `/usr`, `/lib` and `/lib64`. Signals to processes outside are then refused by Landlock
    /// alone, which needs its ABI 6 (Linux 6.12).
    ///
    /// ```no_run
    /// # use hirelings_confine::*;
    /// Confinement::new().read(["/usr", "/lib", "/lib64"]).spawn(true).apply()?;
    /// # Ok::<(), ConfineError>(())
    /// ```
    pub fn spawn(mut self, allowed: bool) -> Self {
        self.spawn = allowed;
        self
    }

    /// Whether processes that this one has not started may be sent signals: the pool, other workers, whatever the system
    /// allows the user. Default: `false`.
    ///
    /// ```no_run
    /// # use hirelings_confine::*;
    /// Confinement::new().outside_signals(true).apply()?;
    /// # Ok::<(), ConfineError>(())
    /// ```
    pub fn outside_signals(mut self, allowed: bool) -> Self {
        self.outside_signals = allowed;
        self
    }

    /// Takes what this kernel can enforce, and leaves out what it cannot: [`Enforced`](crate::Enforced) says what that was. Default: what
    /// cannot be enforced is an error.
    ///
    /// ```no_run
    /// # use hirelings_confine::*;
    /// let enforced = Confinement::new().best_effort().apply()?;
    /// if !enforced.missing.is_empty() {
    ///     eprintln!("confined in part: {enforced}");
    /// }
    /// # Ok::<(), ConfineError>(())
    /// ```
    pub fn best_effort(mut self) -> Self {
        self.best_effort = true;
        self
    }

    /// A refused system call ends the process by SIGSYS. Default: it fails with `EACCES`.
    ///
    /// The pool's error then says "a forbidden system call", and which one: a handler of the signal writes the name to
    /// standard error before the process ends. It cannot where signals are blocked, as the C library blocks them while it
    /// starts a program: the process ends then and nothing is said. The filter keeps the program from replacing the handler.
    /// Code that has taken over the whole process can still change the handler in memory and live on; its calls are refused
    /// all the same.
    /// What Landlock refuses, files above all, fails with `EACCES` always.
    ///
    /// Libraries that try a call and do without it where it fails are ended too.
    ///
    /// ```no_run
    /// # use hirelings_confine::*;
    /// Confinement::new().kill_on_violation().apply()?;
    /// # Ok::<(), ConfineError>(())
    /// ```
    pub fn kill_on_violation(mut self) -> Self {
        self.kill_on_violation = true;
        self
    }
}
