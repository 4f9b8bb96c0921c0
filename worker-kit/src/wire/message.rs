//! The messages, in the words of `docs/protocol.md`. A message is followed by its payload, which takes the rest of the frame.

use super::codec::{Decode, Encode, check_layout, decode_envelope, encode_envelope};
use super::fault::CodecFault;

/// The highest version of the protocol that this crate speaks.
pub const VERSION: u16 = 2;

/// The lowest version of the protocol that this crate speaks.
pub const LOWEST_VERSION: u16 = 1;

/// How payloads are encoded, as [`ToWorker::Init`] announces it.
pub const PAYLOAD_CODEC: &str = "bincode";

/// The first bytes of a hello, by which it is found behind a banner.
pub const MAGIC: [u8; 8] = *b"hireling";

/// The bit of [`Hello::flags`] that a worker sets, so that a program that echoes what it reads is found out.
pub const FROM_WORKER: u32 = 1;

/// The bit of [`Hello::flags`] that a worker sets if it answers a [`ToWorker::Skip`] while a job runs, and if its
/// [`FromWorker::Retire`] is followed by a [`FromWorker::Skipped`] for each job that it holds. Only to such a worker are jobs
/// sent before the one in front of them is answered.
pub const ANSWERS_RECALLS: u32 = 2;

/// The bit of [`Hello::flags`] that a fork server sets: it forks a worker at each request, and does no job itself.
pub const FORKS: u32 = 4;

/// The first frame of each side, sent without waiting for the other's. Its layout is the same in every version.
///
/// A worker's is followed by the name of its job type, in UTF-8; none means that it takes what it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Hello {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// The lowest version that the sender speaks.
    pub lowest: u16,
    /// The highest version that the sender speaks; the lower of both sides' holds.
    pub highest: u16,
    /// [`FROM_WORKER`], [`ANSWERS_RECALLS`] and [`FORKS`]; the other bits are 0 and are ignored.
    pub flags: u32,
}

impl Hello {
    /// The length of a hello without what follows it.
    pub const LEN: usize = 16;

    /// The hello of this crate.
    pub fn new(flags: u32) -> Self {
        Hello { magic: MAGIC, lowest: LOWEST_VERSION, highest: VERSION, flags }
    }

    /// The version that both sides speak, if there is one.
    pub fn common_version(&self) -> Option<u16> {
        let common = self.highest.min(VERSION);
        (self.lowest <= common && LOWEST_VERSION <= common).then_some(common)
    }
}

/// What the pool writes.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ToWorker {
    /// Once, behind the hello; the payload is the pool's options.
    Init {
        /// The name of the pool's job type.
        job_type: String,
        /// How payloads are encoded: [`PAYLOAD_CODEC`].
        codec: String,
        /// The longest frame that either side may write.
        max_frame: u64,
        /// Whether the pool was given options; where it was not, the payload is empty.
        has_options: bool,
    },
    /// A job to do, after those already sent; the payload is the job.
    Job {
        /// The job's number, unique in its pool.
        job: u64,
        /// Which attempt this is, from 1.
        attempt: u32,
    },
    /// Do not start this job if it has not been started yet, and say [`FromWorker::Skipped`]; else ignore this.
    Skip {
        /// The job to skip.
        job: u64,
    },
    /// End the process: no more jobs will come.
    Leave,
    /// Version 2. Come to an end with this job; whatever its handler returns counts.
    Cancel {
        /// The job.
        job: u64,
        /// The worker is killed if it has not answered the job so many milliseconds later; [`u64::MAX`]: it is not.
        within_ms: u64,
    },
    /// Version 2. [`Job`](ToWorker::Job), with the time that its attempt may take.
    TimedJob {
        /// The job's number, unique in its pool.
        job: u64,
        /// Which attempt this is, from 1.
        attempt: u32,
        /// The limit of the attempt in milliseconds, from its start.
        limit_ms: u64,
    },
    /// Version 2. The pool is there; the worker answers with [`FromWorker::Alive`].
    Heartbeat {
        /// How long either side may be silent at most, in milliseconds.
        silence_ms: u64,
    },
}

/// What a worker writes.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum FromWorker {
    /// Initialised, or recovered: it can take a job.
    Ready,
    /// The handler has begun. It may be left out: the first progress or the answer says it too.
    Start {
        /// The job.
        job: u64,
    },
    /// The payload is the progress.
    Progress {
        /// The job.
        job: u64,
    },
    /// The payload is the output.
    Success {
        /// The job.
        job: u64,
        /// Whether it stands for a [`FromWorker::Ready`] as well.
        ready: bool,
    },
    /// The handler returned an error, which is the payload.
    Failure {
        /// The job.
        job: u64,
        /// Whether it stands for a [`FromWorker::Ready`] as well.
        ready: bool,
    },
    /// The job, or what the handler returned for it, could not be decoded or encoded.
    Unusable {
        /// The job.
        job: u64,
        /// Whether it stands for a [`FromWorker::Ready`] as well.
        ready: bool,
        /// What could not be used.
        fault: Fault,
        /// The name of its type.
        type_name: String,
        /// Why.
        message: String,
    },
    /// The worker ends: a panic, a start or a recovery that failed. It writes nothing more.
    Terminal {
        /// The job that was running, if one was.
        job: Option<u64>,
        /// What happened.
        message: String,
        /// Where, as `file:line:column`.
        location: Option<String>,
        /// How it came there.
        backtrace: Option<String>,
    },
    /// The job will not be started: the answer to [`ToWorker::Skip`].
    Skipped {
        /// The job.
        job: u64,
    },
    /// The worker wants to be replaced after the running job; it starts none of the prefetched jobs, and says
    /// [`Skipped`](FromWorker::Skipped) for each of them.
    Retire,
    /// Version 2. The handler returned an error, which is the payload, and the job is not retried.
    FinalFailure {
        /// The job.
        job: u64,
        /// Whether it stands for a [`FromWorker::Ready`] as well.
        ready: bool,
    },
    /// Version 2. The answer to [`ToWorker::Heartbeat`].
    Alive,
}

/// What a worker could not decode or encode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Fault {
    /// The job could not be decoded: the handler never ran.
    DecodeJob,
    /// The output could not be encoded.
    EncodeOutput,
    /// The error could not be encoded.
    EncodeError,
    /// A progress could not be encoded.
    EncodeProgress,
}

/// A message that can stand at the start of a frame.
pub trait WireMessage: Sized {
    /// Appends the message's bytes.
    fn encode(&self, out: &mut Vec<u8>);

    /// The message at the start of `bytes`, and its length: what follows is the payload.
    ///
    /// # Errors
    ///
    /// Where the bytes are no such message.
    fn decode(bytes: &[u8]) -> Result<(Self, usize), CodecFault>;
}

/// A text where it lies among the bytes: one that announces more than there is is refused, and takes no memory.
type Text<'b> = &'b str;

/// Each message, and how its variants that hold texts are laid out as far as the last of these.
macro_rules! wire_messages {
    ($($message:ty { $($variant:literal: $layout:ty),* })*) => { $(
        impl WireMessage for $message {
            fn encode(&self, out: &mut Vec<u8>) {
                encode_envelope(self, out);
            }
            fn decode(bytes: &[u8]) -> Result<(Self, usize), CodecFault> {
                match bytes.first_chunk::<4>().map(|variant| u32::from_le_bytes(*variant)) {
                    $(Some($variant) => check_layout::<$layout>(bytes)?,)*
                    _ => {}
                }
                decode_envelope(bytes)
            }
        }
    )* };
}
wire_messages! {
    Hello {}
    ToWorker {
        0: (u32, Text<'_>, Text<'_>)
    }
    FromWorker {
        5: (u32, u64, bool, Fault, Text<'_>, Text<'_>),
        6: (u32, Option<u64>, Text<'_>, Option<Text<'_>>, Option<Text<'_>>)
    }
}

/// Finds a worker's hello in what it wrote so far: where its frame starts, behind any other bytes.
///
/// A banner that happens to hold the magic differs from a hello by the length before it.
pub fn split_hello(written: &[u8]) -> Option<usize> {
    const LONGEST: usize = Hello::LEN + 4096;
    let frame = 4 + MAGIC.len();
    written.windows(frame).position(|at| {
        let (len, magic) = at.split_at(4);
        let len = len.first_chunk::<4>().map_or(0, |len| u32::from_le_bytes(*len)) as usize;
        magic == MAGIC && (Hello::LEN..=LONGEST).contains(&len)
    })
}

/// At most `max` bytes of `text`, cut between two characters.
pub(crate) fn truncate(mut text: String, max: usize) -> String {
    if text.len() > max {
        let end = (0..=max).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(end);
    }
    text
}
