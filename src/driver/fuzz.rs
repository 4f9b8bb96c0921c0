//! A worker's bytes, as the pool's reader thread makes reports of them.

use super::inbox::inbox;
use super::output::Output;
use super::reader::{self, Reading};
use super::report::Report;
use crate::budget::Budget;
use crate::process::{Process, Reaped};
use crate::supervisor::{Signal, WorkerKey};
use crossbeam_channel::bounded;
use hirelings_worker_kit::wire::{Codec, FrameBuffer, FromWorker, Hello, PREAMBLE_LIMIT, split_hello};
use os_pipe::PipeReader;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// What a worker has written, and how it arrives. As in the targets of `frames`, its first five bytes are a header: the limit of a frame, where the
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

/// The messages of a worker that writes `bytes`, all at once; none where the preamble is longer than what is skipped.
fn decoded(bytes: &[u8], max_frame: usize) -> Option<Vec<(FromWorker, Vec<u8>)>> {
    let mut buffer = FrameBuffer::new(max_frame);
    buffer.push(bytes);
    let mut frames = Vec::new();
    match split_hello(bytes) {
        Some(preamble) if preamble <= PREAMBLE_LIMIT => buffer.skip(preamble),
        Some(_) => return None,
        None => return Some(frames),
    }
    if let Ok(Some(_)) = buffer.next_frame::<Hello>() {
        while let Ok(Some(frame)) = buffer.next_frame() {
            frames.push((frame.message, frame.payload.as_slice().to_vec()));
        }
    }
    Some(frames)
}

/// A process that outlives its worker's output.
struct Alive(PipeReader);

impl Process for Alive {
    fn pid(&self) -> u32 {
        1
    }
    fn exit_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
    fn signal(&self, _: Signal) {}
    fn is_stopped(&self) -> bool {
        false
    }
    fn end_group(&self) {}
    fn reap(&self) -> Option<Reaped> {
        None
    }
}

/// All that the reader reports is what was written, in order: preamble, messages, at most one complaint, one end.
pub(crate) fn reader(data: &[u8]) {
    let Some(written) = Written::new(data) else { return };
    let (output, mut write) = os_pipe::pipe().expect("a pipe");
    let (exit, _alive) = os_pipe::pipe().expect("a pipe");
    let worker_key = WorkerKey { slot: 0, worker: 1 };
    let (_commands, reports, inbox) = inbox::<(), Report>();
    let (give, readings) = bounded(1);
    let thread = reader::start(readings, reports).expect("a thread");
    let reading = Reading {
        worker_key,
        output: Output::new(output.into()),
        process: Arc::new(Alive(exit)),
        budget: Budget::new(usize::MAX, None),
        codec: Codec::Bincode,
        max_frame: written.max_frame,
        buffers: Arc::default(),
        job_type: "job",
        silence: None,
    };
    assert!(give.send(reading).is_ok(), "there is no reader");
    for piece in written.pieces() {
        write.write_all(piece).expect("a reader reads to the end");
    }
    drop(write);
    thread.join().expect("a reader does not panic");

    let (mut preamble, mut frames) = (Vec::new(), Vec::new());
    let (mut malformed, mut ended) = (false, false);
    for report in inbox.reports.try_iter() {
        assert!(!ended, "a report after the end");
        match report {
            Report::Preamble(of, bytes) => {
                assert!(of == worker_key && frames.is_empty() && !malformed);
                preamble.extend(bytes);
            }
            Report::Message(of, frame, _) => {
                assert!(of == worker_key && !malformed);
                frames.push((frame.message, frame.payload.as_slice().to_vec()));
            }
            Report::Hello(of, ..) => assert!(of == worker_key && frames.is_empty() && !malformed),
            Report::Malformed(of, why) => {
                assert!(of == worker_key && !malformed && !why.is_empty());
                malformed = true;
            }
            Report::StdoutClosed(of) => {
                assert!(of == worker_key);
                ended = true;
            }
            _ => panic!("a reader does not report this"),
        }
    }
    assert!(ended, "no end");
    assert!(written.bytes.starts_with(&preamble));
    // A hello behind a preamble that is too long is found or not, by how the bytes arrive. One that does not fit is a complaint.
    if let Some(expected) = decoded(&written.bytes, written.max_frame) {
        assert!(
            frames == expected || (malformed && frames.is_empty()),
            "{} messages that are not the {} written",
            frames.len(),
            expected.len()
        );
    }
}
