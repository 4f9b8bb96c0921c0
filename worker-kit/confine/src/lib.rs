//! Confines a worker of `hirelings` before its first job, by Landlock and by a filter of system calls.
//!
//! A worker that runs code which may be hostile, or feeds hostile input to code that may have bugs, needs few things of
//! the system: memory, its pipes to the pool, a few files. [`Confinement`] takes away the rest, for good:
//!
//! ```no_run
//! # use hirelings_worker_kit::{BoxError, Context, Job, Outcome, Worker, serve_worker};
//! # #[derive(serde::Serialize, serde::Deserialize)] struct Render(String);
//! # impl Job for Render { type Output = Vec<u8>; type Progress = (); type Error = String; }
//! use hirelings_confine::Confinement;
//!
//! struct Renderer;
//!
//! impl Worker for Renderer {
//!     type Job = Render;
//!     type Options = String;
//!
//!     fn init(scratch: String) -> Result<Self, BoxError> {
//!         Confinement::new().read(["/usr/share/fonts"]).write([scratch]).apply()?;
//!         Ok(Renderer)
//!     }
//!
//!     fn run(&mut self, Render(page): Render, _: &mut Context<Render>) -> Outcome<Render> {
//!         Ok(page.into_bytes())
//!     }
//! }
//!
//! fn main() {
//!     serve_worker::<Renderer>()
//! }
//! ```
//!
//! # Where to call it
//!
//! In [`Worker::init`](hirelings_worker_kit::Worker::init), once the worker has loaded what it needs, or in `main` before
//! `serve`. Either way the kit's guard thread is confined too. What was opened before stays open. An error that `init`
//! returns is a start failure: the pool quotes it, and no job runs.
//!
//! Start no thread before: until Landlock's ABI 8 (Linux 7.0) a process can confine only the thread that asks for it and
//! the threads which that one starts. [`apply`](Confinement::apply) refuses a process with other threads there.
//!
//! # What is refused
//!
//! * **Files** (Landlock): opening, creating, removing, renaming and truncating, except below what [`read`](Confinement::read)
//!   and [`write`](Confinement::write) name. Always there: `/dev/null`, `/dev/zero`, `/dev/random`, `/dev/urandom`, `/proc/self`
//!   and the running executable, which backtraces read.
//! * **Files** (system calls): mode, owner, times and extended attributes cannot be changed, below `write` included, since
//!   nothing tells one file from another there. So [`std::fs::copy`] fails, which copies the mode; [`std::io::copy`] works.
//! * **Programs**: `fork`, `exec`. Threads can be started.
//! * **Network**: every socket, Unix sockets included; what is left is a pair of connected ones.
//! * **Other processes**: signals, `ptrace`, reading and writing of memory, limits, priorities, processors, terminals.
//! * **What the pool has set**: limits, priority and processors stay as they are. Set your own before.
//! * **The kernel's wide corners**: io_uring, BPF, perf, userfaultfd, keys, System V IPC, mounts, namespaces, modules, clocks.
//!   Calls by another ABI of the processor (`int 0x80`) kill the process; those of x32 are not implemented.
//!
//! A refused call fails with `EACCES`, as Landlock's own do, and the program goes on;
//! [`kill_on_violation`](Confinement::kill_on_violation) ends it. Everything that the kit does works: jobs, progress, threads,
//! panics with backtraces, aborts, retiring, and the end with the pool.
//!
//! It is a list of what is denied, not of what is allowed: an allow-list breaks with each version of the C library. What that
//! means, what is not stopped, and each attack that was tried: `docs/hostile-input.md` of `hirelings`.
//!
//! # Other systems
//!
//! It needs Linux, on x86-64, ARM64 or RISC-V 64. Elsewhere this crate compiles, [`apply`](Confinement::apply) is refused, and
//! with [`best_effort`](Confinement::best_effort) it does nothing and says so.

#[cfg(target_os = "linux")]
mod calls;
mod enforced;
#[cfg(target_os = "linux")]
mod files;
#[cfg(target_os = "linux")]
mod filter;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
mod raw;

#[cfg(target_os = "linux")]
#[doc(hidden)]
pub use calls::denied_calls;
pub use enforced::{ConfineError, ConfineErrorKind, Enforced};

use std::path::PathBuf;

/// What a process takes away from itself, for good; see [the crate](crate).
///
/// Nothing happens before [`apply`](Confinement::apply).
#[derive(Clone, Debug, Default)]
#[must_use = "a confinement does nothing until it is applied"]
pub struct Confinement {
    read: Vec<PathBuf>,
    write: Vec<PathBuf>,
    network: bool,
    spawn: bool,
    outside_signals: bool,
    best_effort: bool,
    kill_on_violation: bool,
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

    /// Takes what this kernel can enforce, and leaves out what it cannot: [`Enforced`] says what that was. Default: what
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

    /// Confines this process, for good. It can be called again, to take away more.
    ///
    /// # Errors
    ///
    /// * [`Path`](ConfineErrorKind::Path): a path cannot be opened.
    /// * [`Unsupported`](ConfineErrorKind::Unsupported): this kernel cannot enforce all of it, and
    ///   [`best_effort`](Confinement::best_effort) was not asked for.
    /// * [`Threads`](ConfineErrorKind::Threads): this process has threads that cannot be confined, and the same.
    /// * [`System`](ConfineErrorKind::System): a system call failed. The process may then be confined in part: end it.
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
