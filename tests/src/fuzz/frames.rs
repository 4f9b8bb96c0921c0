//! Bytes on their way to become frames, as each side reads them.

use hirelings_worker_kit::wire::{
    FrameBuffer, FromWorker, Hello, PREAMBLE_LIMIT, Payload, ToWorker, WireMessage, frame_into, split_hello,
};
use std::fmt::Debug;
use std::io::Write;

/// What one side has written, and how it arrives. Its first five bytes are a header: the limit of a frame, where the
/// writes are cut, and where how many zeroes are put in, so that a short input can be a large frame.
struct Written {
    max_frame: usize,
    cut: usize,
    bytes: Vec<u8>,
}

impl Written {
    fn new(data: &[u8]) -> Option<Self> {
        let (&[limit, cut, at, at_high, zeroes], rest) = data.split_first_chunk::<5>()?;
        let max_frame = [16, 64, 4096, 70_000, 1 << 20, 1 << 30, u32::MAX as usize][usize::from(limit % 7)];
        let cut = [1, 3, 7, 16, 64, 1000, 4096][usize::from(cut % 7)];
        let at = usize::from(u16::from_le_bytes([at, at_high])).min(rest.len());
        let zeroes = (1 << (zeroes % 19)) - 1;
        let mut bytes = rest[..at].to_vec();
        bytes.resize(at + zeroes, 0);
        bytes.extend_from_slice(&rest[at..]);
        Some(Written { max_frame, cut, bytes })
    }

    /// What arrives at once: the first bytes are cut as the header says. None is more than the smallest pipe holds.
    fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let (first, rest) = self.bytes.split_at(self.bytes.len().min(256));
        first.chunks(self.cut).chain(rest.chunks(4096))
    }
}

/// The decoder as the pool's side uses it: a preamble, a hello, messages.
pub fn frames_from_worker(data: &[u8]) {
    let Some(written) = Written::new(data) else { return };
    let mut said_hello = false;
    let mut preamble = 0;
    let taken = read(&written, |buffer| {
        if !said_hello {
            let Some(before) = split_hello(buffer.pending()) else {
                let enough = buffer.pending().len() > PREAMBLE_LIMIT + Hello::LEN;
                return if enough { Step::Fault } else { Step::Wait };
            };
            buffer.skip(before);
            preamble += before;
            let step = next::<Hello>(buffer);
            said_hello = matches!(step, Step::Frame(_));
            return step;
        }
        next::<FromWorker>(buffer)
    });
    assert!(preamble + taken <= written.bytes.len());
}

/// The decoder as the worker's side uses it: a hello, messages.
pub fn frames_to_worker(data: &[u8]) {
    let Some(written) = Written::new(data) else { return };
    let mut said_hello = false;
    read(&written, |buffer| {
        if said_hello {
            return next::<ToWorker>(buffer);
        }
        let step = next::<Hello>(buffer);
        said_hello = matches!(step, Step::Frame(_));
        step
    });
}

enum Step {
    Frame(usize),
    Wait,
    Fault,
}

/// How much a buffer may hold beside what has arrived: what is asked of the pipe at once, and as much again.
const ROOM: usize = 128 * 1024;

/// Sends it through a pipe, and takes frames as they come. Gives how many bytes they had.
fn read(written: &Written, mut take: impl FnMut(&mut FrameBuffer) -> Step) -> usize {
    let (read, mut write) = std::io::pipe().expect("a pipe");
    let mut buffer = FrameBuffer::new(written.max_frame);
    let (mut arrived, mut taken) = (0, 0);
    for piece in written.pieces() {
        write.write_all(piece).expect("a pipe that is read");
        let end = arrived + piece.len();
        while arrived < end {
            let count = buffer.fill(&read).expect("a pipe that can be read");
            assert!(count > 0, "the pipe has not ended");
            arrived += count;
            assert!(buffer.capacity() <= 2 * arrived + ROOM, "{} bytes for {arrived}", buffer.capacity());
            loop {
                match take(&mut buffer) {
                    Step::Frame(len) => taken += len,
                    Step::Wait => break,
                    Step::Fault => return taken,
                }
            }
        }
    }
    taken
}

/// The next frame. It is the bytes that were there, and nothing else; a fault leaves them where they are.
fn next<M: WireMessage + Debug + PartialEq>(buffer: &mut FrameBuffer) -> Step {
    let before = buffer.pending().to_vec();
    match buffer.next_frame::<M>() {
        Ok(Some(frame)) => {
            let (arrived, rest) = before.split_at(frame.len);
            let mut again = Vec::new();
            frame_into(&frame.message, frame.payload.as_slice(), &mut again);
            assert!(again == arrived, "{frame:?} was written as {arrived:?}");
            assert!(buffer.pending() == rest, "what follows has changed");
            if let Payload::Large(_, kept, _) = &frame.payload {
                assert!(kept.capacity() <= 2 * frame.len + ROOM, "{} bytes for {}", kept.capacity(), frame.len);
            }
            Step::Frame(frame.len)
        }
        Ok(None) => {
            assert!(buffer.pending() == before);
            Step::Wait
        }
        Err(fault) => {
            assert!(buffer.pending() == before && !fault.to_string().is_empty());
            Step::Fault
        }
    }
}
