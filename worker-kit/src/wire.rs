//! The protocol in types: what the two sides write to each other, in the order of `docs/protocol.md`.
//!
//! It changes with [`VERSION`], not with this crate's version: the pool's crate uses it, other programs
//! are better off with [`serve`](crate::serve()) or [`Session`](crate::Session).
//!
//! ```
//! use hirelings_worker_kit::wire::{FrameBuffer, ToWorker, frame_into};
//!
//! // What a pool writes, and what a worker makes of it.
//! let mut written = Vec::new();
//! frame_into(&ToWorker::Job { job: 42, attempt: 1 }, b"the encoded job", &mut written);
//!
//! let mut arrived = FrameBuffer::new(1 << 20);
//! arrived.push(&written);
//! let frame = arrived.next_frame::<ToWorker>().unwrap().unwrap();
//! assert_eq!(frame.message, ToWorker::Job { job: 42, attempt: 1 });
//! assert_eq!(frame.payload.as_slice(), b"the encoded job");
//! ```

mod byte_sequences;
mod codec;
mod fault;
mod frame;
#[cfg(feature = "json")]
mod json;
mod leash;
mod mark;
mod message;
mod payload;

pub use crate::buffers::BufferPool;
pub use codec::{decode_payload, encode_payload};
pub use fault::CodecFault;
pub use frame::{Frame, FrameBuffer, FrameFault, begin_frame, end_frame, frame_into};
pub use leash::{FORK_REQUEST, LONGEST_LEASH_MESSAGE, LeashMessage};
pub use mark::Mark;
pub(crate) use message::truncate;
pub use message::{
    ANSWERS_RECALLS, FORKS, FROM_WORKER, Fault, FromWorker, Hello, LOWEST_VERSION, MAGIC, PAYLOAD_CODEC, ToWorker,
    VERSION, WireMessage, split_hello,
};
pub use payload::{Buffer, Codec, Payload};

/// The environment variable by which a process knows that it was started as the worker of a job type; it holds a [`Mark`].
pub const WORKER_MARK: &str = "HIRELINGS_WORKER";

/// What a confined worker writes to standard error before it dies of SIGSYS; the call's name follows, then a space.
pub const FORBIDDEN_CALL: &str = "hirelings-confine: forbidden system call: ";

/// How many bytes before a worker's hello are skipped: a banner, or lines of a logger.
pub const PREAMBLE_LIMIT: usize = 64 * 1024;
