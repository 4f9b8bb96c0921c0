//! A work queue on child processes.
//!
//! (guide to come)

#[cfg(not(unix))]
compile_error!(
    "hirelings runs on Unix only: it needs process groups, signals and pipes (Windows is not supported yet)"
);

mod builder;
mod driver;
mod error;
mod event;
mod events;
mod handle;
mod hooks;
mod map;
mod pool;
mod record;
mod request;
mod supervisor;
mod sys;

pub use builder::PoolBuilder;
pub use error::{
    BuildError, BuildErrorKind, CodecError, Crash, CrashCause, EnqueueError, EnqueueErrorKind, JobError, JobResult,
    ProtocolError, ReadyError, StartFailure, Timeout, WorkerPanic,
};
pub use event::{Event, EventFields, EventKind, JobId, Slot, WorkerId};
pub use events::{EncodedProgress, Events, ProgressStream};
pub use handle::{AbortHandle, JobHandle, JobStatus};
pub use hirelings_worker_kit as worker;
pub use hirelings_worker_kit::{Bytes, Job, NoError};
pub use hooks::HookId;
pub use map::{Map, MapUnordered};
pub use pool::{Drained, Pool, Stats, Stderr, WorkerInfo, self_exec};
pub use request::JobRequest;
pub use supervisor::WorkerState;
