//! What both sides name: the job, and the types of everything that comes back.

use crate::base64;
use serde::de::{DeserializeOwned, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{error::Error, fmt};

/// What a pool's jobs are: the job itself, and the types of everything that comes back.
///
/// Both sides name it, so both are checked: a pool and a worker of different job types refuse each
/// other by [`name`](Job::name).
///
/// ```
/// use hirelings_worker_kit::Job;
/// use serde::{Deserialize, Serialize};
///
/// /// Counts the words of a file.
/// #[derive(Serialize, Deserialize)]
/// struct CountWords { path: String }
///
/// impl Job for CountWords {
///     type Output = u64;
///     type Progress = f32;
///     type Error = String;
/// }
/// assert!(CountWords::name().ends_with("CountWords"));
/// ```
///
/// Everything is encoded with serde and bincode, which knows no self-describing types: `#[serde(flatten)]`,
/// `#[serde(untagged)]`, `#[serde(skip_serializing_if)]` and `serde_json::Value` cannot be decoded. A pool whose payloads are
/// JSON can have them: `codec(Codec::Json)` of its builder.
///
/// Whoever receives a value decodes it, on the thread that asks for it. Nothing guards against two kinds of types: a
/// recursive one can be nested until the stack overflows, which aborts the program, and a `Vec` of elements without
/// bytes, such as `()`, can be given a length that never ends. Send neither back from a worker that may be taken over.
pub trait Job: Serialize + DeserializeOwned + Send + 'static {
    /// What a job that succeeded gives.
    type Output: Serialize + DeserializeOwned + Send + 'static;
    /// The progress that a job may report while it runs; `()` if it reports none.
    type Progress: Serialize + DeserializeOwned + Send + 'static;
    /// What a job that failed gives; [`NoError`] where it cannot fail.
    type Error: Serialize + DeserializeOwned + fmt::Debug + fmt::Display + Send + Sync + 'static;

    /// The name by which both sides know the job type; the path of the Rust type unless it is overridden.
    ///
    /// Override it where the type's path differs between the two programs.
    ///
    /// ```
    /// # use hirelings_worker_kit::Job;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Render { page: u32 }
    /// impl Job for Render {
    ///     type Output = Vec<u8>;
    ///     type Progress = f32;
    ///     type Error = String;
    ///     // With a version: a worker of last week's build is refused.
    ///     fn name() -> &'static str { "render/2" }
    /// }
    /// assert_eq!(Render::name(), "render/2");
    /// ```
    fn name() -> &'static str {
        std::any::type_name::<Self>()
    }

    /// What this job is called in errors, events and logs, where the request gives it no label of its own. Default: nothing.
    ///
    /// It is asked once, by the caller's thread, when the job is enqueued.
    ///
    /// ```
    /// # use hirelings_worker_kit::Job;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Render { page: u32 }
    /// impl Job for Render {
    ///     type Output = Vec<u8>;
    ///     type Progress = f32;
    ///     type Error = String;
    ///     // worker process 4711 of "render" was killed by SIGSEGV while it did job 42 (page 7)
    ///     fn label(&self) -> Option<String> { Some(format!("page {}", self.page)) }
    /// }
    /// assert_eq!(Render { page: 7 }.label().as_deref(), Some("page 7"));
    /// ```
    fn label(&self) -> Option<String> {
        None
    }
}

/// Any error, as the worker's own start and recovery report it.
///
/// ```
/// # use hirelings_worker_kit::BoxError;
/// /// For `Worker::init`: the pool is sent the reason.
/// fn dictionary(path: &str) -> Result<Vec<String>, BoxError> {
///     Ok(std::fs::read_to_string(path)?.lines().map(str::to_owned).collect())
/// }
/// assert!(dictionary("/no/such/file").is_err());
/// ```
pub type BoxError = Box<dyn Error + Send + Sync>;

/// What a handler returns for a job of type `J`.
///
/// ```
/// # use hirelings_worker_kit::{Job, Outcome};
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = (); type Error = String; }
/// /// The work itself, which a test can call without a pool.
/// fn square(Square(n): Square) -> Outcome<Square> {
///     n.checked_mul(n).ok_or_else(|| format!("{n} squared is too large"))
/// }
/// assert_eq!(square(Square(7)), Ok(49));
/// assert!(square(Square(u64::MAX)).is_err());
/// ```
pub type Outcome<J> = Result<<J as Job>::Output, <J as Job>::Error>;

/// Bytes that are encoded as one run; in JSON, as base64.
///
/// A plain `Vec<u8>` is written as one run too, and read element by element: 1 MiB takes half a millisecond longer.
/// Other sequences of bytes, such as `VecDeque<u8>`, are read more slowly still; in JSON all of them are lists of numbers.
///
/// ```
/// # use hirelings_worker_kit::{Bytes, Job, NoError};
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Draw(u32);
/// impl Job for Draw {
///     type Output = Bytes;
/// #   type Progress = ();
/// #   type Error = NoError;
/// }
/// let picture: Bytes = vec![0xff; 4096].into();
/// assert_eq!(picture.0.len(), 4096);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&base64::encode(&self.0))
        } else {
            serializer.serialize_bytes(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Bytes;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes as base64")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Bytes, E> {
                base64::decode(text).map(Bytes).ok_or_else(|| E::custom("it is no base64 with padding"))
            }
        }
        if deserializer.is_human_readable() {
            return deserializer.deserialize_str(Text);
        }
        struct OneRun;
        impl Visitor<'_> for OneRun {
            type Value = Bytes;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a run of bytes")
            }
            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }
            fn visit_byte_buf<E: serde::de::Error>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
                Ok(Bytes(bytes))
            }
        }
        deserializer.deserialize_bytes(OneRun)
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes(bytes)
    }
}

/// The error of a handler that cannot fail (serde has no impl for `Infallible`).
///
/// ```
/// use hirelings_worker_kit::{Job, NoError};
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Double(u64);
/// impl Job for Double {
///     type Output = u64;
///     type Progress = ();
///     type Error = NoError;
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NoError {}

impl fmt::Display for NoError {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}
impl Error for NoError {}
