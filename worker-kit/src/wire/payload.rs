//! Bytes that several listeners share.

use crate::buffers::BufferPool;
use std::mem;
use std::sync::Arc;

/// A user's payload: opaque, shared, cheap to clone.
///
/// A small one is one allocation; a larger one keeps the buffer that it was read into or encoded to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Payload {
    /// No bytes at all.
    #[default]
    Empty,
    /// An exact copy.
    Small(Arc<[u8]>),
    /// A buffer, and where in it the payload starts.
    Large(Arc<Buffer>, usize),
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

/// Above this a buffer is kept rather than copied.
const COPIED_UP_TO: usize = 4096;

impl Payload {
    /// The payload that is all of `bytes`.
    pub fn copied(bytes: &[u8]) -> Self {
        if bytes.is_empty() { Payload::Empty } else { Payload::Small(bytes.into()) }
    }

    /// The payload that is `buffer` from `start` on. `buffer` is kept where that is cheaper than a copy, and goes to `pool`
    /// in the end.
    ///
    /// # Panics
    ///
    /// Where `start` is past the end.
    pub fn tail(mut buffer: Vec<u8>, start: usize, pool: &Arc<BufferPool>) -> Self {
        if buffer.len() - start <= COPIED_UP_TO {
            let payload = Payload::copied(&buffer[start..]);
            pool.keep(buffer);
            return payload;
        }
        // It may be held for long; a buffer that grew may have as much room again as it has bytes.
        if buffer.capacity() - buffer.len() > buffer.len() / 4 {
            buffer.shrink_to_fit();
        }
        Payload::Large(Arc::new(Buffer { bytes: buffer, pool: Arc::clone(pool) }), start)
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Payload::Empty => &[],
            Payload::Small(bytes) => bytes,
            Payload::Large(buffer, start) => &buffer.bytes[*start..],
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
