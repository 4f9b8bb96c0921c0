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
//!   files cannot be told apart there. So [`std::fs::copy`] fails, which copies the mode; [`std::io::copy`] works.
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

mod apply;
#[cfg(target_os = "linux")]
mod calls;
mod confinement;
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
pub use confinement::Confinement;
pub use enforced::{ConfineError, ConfineErrorKind, Enforced};
