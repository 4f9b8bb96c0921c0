//! A worker's bytes, as the pool's reader thread makes reports of them.

use super::inbox::inbox;
use super::reader::{self, Output, Reading};
use super::report::Report;
use crate::budget::Budget;
use crate::fuzz::{Written, decoded};
use crate::process::{Process, Reaped};
use crate::supervisor::{Signal, WorkerKey};
use crossbeam_channel::bounded;
use os_pipe::PipeReader;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

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

/// All that the reader reports is what was written, in order: noise, messages, at most one complaint, one end.
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
        max_frame: written.max_frame,
        buffers: Arc::default(),
        job_type: "job",
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
            Report::Greeted(of, _) => assert!(of == worker_key && frames.is_empty() && !malformed),
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
    // A hello behind too much noise is found or not, by how the bytes arrive. One that does not fit is a complaint.
    if let Some(expected) = decoded(&written.bytes, written.max_frame) {
        assert!(
            frames == expected || (malformed && frames.is_empty()),
            "{} messages that are not the {} written",
            frames.len(),
            expected.len()
        );
    }
}
