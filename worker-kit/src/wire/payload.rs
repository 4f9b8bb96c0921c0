//! Codecs of payloads; and bytes that several listeners share.

use super::codec;
use super::fault::CodecFault;
#[cfg(feature = "json")]
use super::json;
use crate::buffers::BufferPool;
use serde::{Serialize, de::DeserializeOwned};
use std::mem;
use std::sync::Arc;

/// How payloads are encoded: jobs, options, outputs, progress and errors.
///
/// Both sides use the one that the pool names; a worker that does not know it refuses to start, and says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Codec {
    /// Bytes without names or types, small and fast: for workers in Rust.
    #[default]
    Bincode,
    /// JSON, for workers in other languages, and for types that bincode cannot decode: `#[serde(flatten)]`,
    /// `#[serde(untagged)]`, `serde_json::Value`. Needs the feature `json`.
    ///
    /// What JSON cannot hold is an error and never another value: NaN, the infinities, maps whose keys are neither texts
    /// nor integers. `Bytes` is base64.
    #[cfg(feature = "json")]
    Json,
}

impl Codec {
    /// All that are known, which depends on the features.
    pub const ALL: &[Codec] = &[
        Codec::Bincode,
        #[cfg(feature = "json")]
        Codec::Json,
    ];

    /// The name of it in the protocol: `bincode` or `json`.
    pub fn name(self) -> &'static str {
        match self {
            Codec::Bincode => "bincode",
            #[cfg(feature = "json")]
            Codec::Json => "json",
        }
    }

    /// The one of this name, if it is known.
    pub fn named(name: &str) -> Option<Codec> {
        Codec::ALL.iter().copied().find(|codec| codec.name() == name)
    }

    /// Appends `value` to `out`, which may not grow past `max` bytes in all.
    ///
    /// # Errors
    ///
    /// Where serde or the value's own code refuses, the codec has no bytes for it, or the limit is passed; `out` is then as
    /// it was.
    #[inline]
    pub fn encode<T: Serialize + ?Sized>(self, value: &T, out: &mut Vec<u8>, max: usize) -> Result<(), CodecFault> {
        match self {
            Codec::Bincode => codec::encode_payload(value, out, max),
            #[cfg(feature = "json")]
            Codec::Json => json::encode(value, out, max),
        }
    }

    /// The value that `bytes` hold, all of them.
    ///
    /// # Errors
    ///
    /// Where the bytes are not a `T`, or are longer than one.
    #[inline]
    pub fn decode<T: DeserializeOwned>(self, bytes: &[u8]) -> Result<T, CodecFault> {
        match self {
            Codec::Bincode => codec::decode_payload(bytes),
            #[cfg(feature = "json")]
            Codec::Json => json::decode(bytes),
        }
    }
}

/// A user's payload: opaque, shared, cheap to clone. It knows its codec, so that whoever is given it can decode it.
///
/// A tiny one, as a number, takes no memory beside; a small one is one allocation; a larger one keeps the buffer that it was read
/// into or encoded to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Payload {
    /// No bytes at all.
    #[default]
    Empty,
    /// So many of these bytes, the others being 0.
    Tiny(Codec, u8, [u8; TINY]),
    /// An exact copy.
    Small(Codec, triomphe::Arc<[u8]>),
    /// A buffer, and where in it the payload starts.
    Large(Codec, Arc<Buffer>, usize),
}

/// The buffer of a payload. When that is not needed any more, it goes back to the pool that it came from.
#[derive(Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    pool: Arc<BufferPool>,
}

impl Buffer {
    /// How much memory is held, for tests of the bound.
    #[doc(hidden)]
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

impl PartialEq for Buffer {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}
impl Eq for Buffer {}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.pool.keep(mem::take(&mut self.bytes));
    }
}

/// Up to this the bytes are in the payload itself, which is no larger for it.
const TINY: usize = 21;

/// Above this a buffer is kept rather than copied.
const COPIED_UP_TO: usize = 4096;

impl Payload {
    /// The payload that is all of `bytes`.
    pub fn copied(bytes: &[u8], codec: Codec) -> Self {
        match bytes.len() {
            0 if codec == Codec::Bincode => Payload::Empty,
            len @ 0..=TINY => {
                let mut tiny = [0; TINY];
                tiny[..len].copy_from_slice(bytes);
                Payload::Tiny(codec, len as u8, tiny)
            }
            _ => Payload::Small(codec, bytes.into()),
        }
    }

    /// The payload that is `buffer` from `start` on. `buffer` is kept where that is cheaper than a copy, and goes to `pool`
    /// in the end.
    ///
    /// # Panics
    ///
    /// Where `start` is past the end.
    pub fn tail(mut buffer: Vec<u8>, start: usize, codec: Codec, pool: &Arc<BufferPool>) -> Self {
        if buffer.len() - start <= COPIED_UP_TO {
            let payload = Payload::copied(&buffer[start..], codec);
            pool.keep(buffer);
            return payload;
        }
        // It may be held for long; a buffer that grew may have as much room again as it has bytes.
        if buffer.capacity() - buffer.len() > buffer.len() / 4 {
            buffer.shrink_to_fit();
        }
        Payload::Large(codec, Arc::new(Buffer { bytes: buffer, pool: Arc::clone(pool) }), start)
    }

    /// The value that it holds.
    ///
    /// # Errors
    ///
    /// Where the bytes are not a `T` in its codec.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, CodecFault> {
        match self {
            Payload::Empty => Codec::Bincode.decode(&[]),
            Payload::Tiny(codec, len, bytes) => codec.decode(&bytes[..usize::from(*len)]),
            Payload::Small(codec, bytes) => codec.decode(bytes),
            Payload::Large(codec, buffer, start) => codec.decode(&buffer.bytes[*start..]),
        }
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Payload::Empty => &[],
            Payload::Tiny(_, len, bytes) => &bytes[..usize::from(*len)],
            Payload::Small(_, bytes) => bytes,
            Payload::Large(_, buffer, start) => &buffer.bytes[*start..],
        }
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// There may be millions of them in a backlog.
    #[test]
    fn a_payload_is_small() {
        assert!(size_of::<Payload>() <= 24, "{}", size_of::<Payload>());
    }

    #[test]
    fn a_payload_is_its_bytes_whatever_its_length() {
        for &codec in Codec::ALL {
            for len in (0..=TINY + 2).chain([COPIED_UP_TO, COPIED_UP_TO + 1]) {
                let bytes: Vec<u8> = (0..len).map(|n| (n % 255) as u8 + 1).collect();
                let payload = Payload::copied(&bytes, codec);
                assert_eq!((payload.as_slice(), payload.len()), (&bytes[..], len));
                assert_eq!(payload.clone(), payload);
                assert_eq!(matches!(payload, Payload::Tiny(..) | Payload::Empty), len <= TINY);
            }
        }
    }
}
