//! Frames: a 4-byte little-endian length, a message, and the payload that takes the rest.

use super::{Codec, CodecFault, Payload, WireMessage};
use crate::buffers::BufferPool;
use rustix::buffer::spare_capacity;
use std::sync::Arc;
use std::{fmt, io, mem, os::fd::AsFd};

/// How much is asked of the pipe at once: what a Linux pipe holds.
const READ: usize = 64 * 1024;

/// Starts a frame in `out` with its message; the payload is appended by the caller, who then calls [`end_frame`].
///
/// Returns where the frame starts.
pub fn begin_frame<M: WireMessage>(message: &M, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    message.encode(out);
    start
}

/// Writes the length of the frame that starts at `start`, of which `rest` bytes are not in `out`.
pub fn end_frame(out: &mut [u8], start: usize, rest: usize) {
    let len = (out.len() - start - 4 + rest) as u32;
    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
}

/// Appends a whole frame.
pub fn frame_into<M: WireMessage>(message: &M, payload: &[u8], out: &mut Vec<u8>) {
    let start = begin_frame(message, out);
    out.extend_from_slice(payload);
    end_frame(out, start, 0);
}

/// A frame that has arrived whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame<M> {
    /// The message.
    pub message: M,
    /// What follows it.
    pub payload: Payload,
    /// The bytes of the whole frame, its length included.
    pub len: usize,
}

/// Why the bytes that arrived are no frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameFault {
    /// Its length is over the limit.
    TooLong {
        /// What it announces.
        len: usize,
        /// What is allowed.
        max: usize,
    },
    /// It holds no message that is known.
    Undecodable(CodecFault),
}

impl fmt::Display for FrameFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameFault::TooLong { len, max } => write!(f, "a frame of {len} bytes, which is over the limit of {max}"),
            FrameFault::Undecodable(why) => write!(f, "a frame that cannot be decoded: {why}"),
        }
    }
}
impl std::error::Error for FrameFault {}

/// Bytes on their way to become frames. Memory grows as bytes arrive, whatever a length says; only a buffer that is there
/// anyway, a spare one, is used for it at once.
#[derive(Debug)]
pub struct FrameBuffer {
    /// What has arrived and is not yet taken: whole small frames and the start of one more, or one large frame.
    bytes: Vec<u8>,
    /// Where in `bytes` the next frame starts.
    start: usize,
    max: usize,
    codec: Codec,
    pool: Arc<BufferPool>,
}

impl FrameBuffer {
    /// An empty buffer for frames of at most `max` bytes.
    pub fn new(max: usize) -> Self {
        FrameBuffer::with_pool(max, Arc::default())
    }

    /// The same, with a pool of buffers that others use too.
    pub fn with_pool(max: usize, pool: Arc<BufferPool>) -> Self {
        FrameBuffer { bytes: Vec::new(), start: 0, max, codec: Codec::Bincode, pool }
    }

    /// Changes the limit, once it is known.
    pub fn set_max(&mut self, max: usize) {
        self.max = max;
    }

    /// From the next frame on, payloads are in this codec; [`Codec::Bincode`] until then.
    pub fn set_codec(&mut self, codec: Codec) {
        self.codec = codec;
    }

    /// Reads once from `pipe`; 0 is its end.
    ///
    /// # Errors
    ///
    /// What the read said; an interrupted one is tried again.
    pub fn fill(&mut self, pipe: impl AsFd) -> io::Result<usize> {
        self.make_room();
        loop {
            match rustix::io::read(&pipe, spare_capacity(&mut self.bytes)) {
                Ok(read) => return Ok(read),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Whether the last read has filled all the room that it had.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() == self.bytes.capacity()
    }

    /// Adds bytes that were read elsewhere.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// What has arrived and is not yet taken.
    pub fn pending(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Drops the first `count` bytes of what is pending.
    pub fn skip(&mut self, count: usize) {
        self.start = (self.start + count).min(self.bytes.len());
    }

    /// The next frame, if it has arrived whole.
    ///
    /// # Errors
    ///
    /// Where it is too long, or holds no message of type `M`. The bytes stay: no frame can be found behind a bad one.
    pub fn next_frame<M: WireMessage>(&mut self) -> Result<Option<Frame<M>>, FrameFault> {
        let Some(len) = self.announced()? else { return Ok(None) };
        let whole = 4 + len;
        let pending = self.pending();
        if pending.len() < whole {
            return Ok(None);
        }
        let (message, used) = M::decode(&pending[4..whole]).map_err(FrameFault::Undecodable)?;
        let payload = if self.start == 0 && len > READ {
            let behind = self.bytes.split_off(whole);
            Payload::tail(mem::replace(&mut self.bytes, behind), 4 + used, self.codec, &self.pool)
        } else {
            let payload = Payload::copied(&pending[4 + used..whole], self.codec);
            self.skip(whole);
            payload
        };
        Ok(Some(Frame { message, payload, len: whole }))
    }

    /// The length that the next frame announces, once it is there.
    fn announced(&self) -> Result<Option<usize>, FrameFault> {
        let Some(&announced) = self.pending().first_chunk::<4>() else { return Ok(None) };
        let len = u32::from_le_bytes(announced) as usize;
        if len > self.max { Err(FrameFault::TooLong { len, max: self.max }) } else { Ok(Some(len)) }
    }

    /// How long the next frame is of which a part has arrived, and a part has not; 0 where there is none.
    pub fn incomplete(&self) -> usize {
        match self.announced() {
            Ok(Some(len)) if self.pending().len() < 4 + len => 4 + len,
            _ => 0,
        }
    }

    /// How much memory is held, for tests of the bound.
    #[doc(hidden)]
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Makes room for a read: the rest of a large frame goes straight to its end, and not much further.
    fn make_room(&mut self) {
        if self.start == self.bytes.len() {
            self.bytes.clear();
        } else {
            self.bytes.drain(..self.start);
        }
        self.start = 0;
        let missing = match self.announced() {
            Ok(Some(len)) if len > READ && 4 + len > self.bytes.len() => {
                if self.bytes.capacity() < 4 + len
                    && let Some(mut buffer) = self.pool.take(4 + len)
                {
                    buffer.extend_from_slice(&self.bytes);
                    self.bytes = buffer;
                }
                4 + len - self.bytes.len()
            }
            // Also where a preamble looks like a frame that is whole: a read of nothing would be taken for the end.
            _ => READ,
        };
        // A large frame's buffer at most doubles with each growth, so it is never more than twice what has arrived.
        if self.bytes.capacity() - self.bytes.len() < missing.min(READ) {
            self.bytes.reserve_exact(missing.min(self.bytes.len().max(READ)));
        }
    }
}
