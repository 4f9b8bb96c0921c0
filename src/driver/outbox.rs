//! The way to a worker: frames that wait for room in its pipe. Writing never blocks.

use crate::sys::{self, Enlarged};
use hirelings_worker_kit::wire::{Payload, ToWorker, begin_frame, end_frame};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg, sockopt};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// A payload up to this is copied behind its message; a larger one is written from where it is.
const COPIED_UP_TO: usize = 4096;
/// From this on a payload is worth a larger pipe: two of them do not fit one of the usual size, nor does one of 64 KiB with
/// its message.
const LARGE: usize = 32 * 1024;
/// How many pieces go into one write.
const PIECES: usize = 16;
/// A buffer larger than this is not kept.
const SPARE: usize = 64 * 1024;

#[derive(Debug)]
enum Piece {
    Owned(Vec<u8>),
    Shared(Payload),
}

impl Piece {
    fn as_slice(&self) -> &[u8] {
        match self {
            Piece::Owned(bytes) => bytes,
            Piece::Shared(payload) => payload.as_slice(),
        }
    }
}

/// How a write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flush {
    /// All is written.
    Done,
    /// The pipe is full; the poller goes on when there is room.
    Full,
    /// The worker has closed its end.
    Broken,
}

/// What is to be written to one worker.
#[derive(Debug)]
pub(crate) struct Outbox {
    pipe: Arc<OwnedFd>,
    is_socket: bool,
    pieces: VecDeque<Piece>,
    /// How much of the first piece is written.
    written: usize,
    /// How many bytes there were to write in all, and how many the pipe has taken.
    pushed: u64,
    taken: u64,
    /// A buffer to be used again.
    spare: Vec<u8>,
    /// The poller waits for room in the pipe, and is the one who writes.
    pub(crate) waiting: bool,
    broken: bool,
    enlarged: Option<Enlarged>,
}

impl Outbox {
    /// # Errors
    ///
    /// Where the pipe cannot be made one that does not block.
    pub(crate) fn new(pipe: OwnedFd) -> io::Result<Self> {
        fcntl_setfl(&pipe, fcntl_getfl(&pipe)? | OFlags::NONBLOCK)?;
        Ok(Outbox {
            is_socket: sockopt::socket_type(&pipe).is_ok(),
            pipe: Arc::new(pipe),
            pieces: VecDeque::new(),
            written: 0,
            pushed: 0,
            taken: 0,
            spare: Vec::new(),
            waiting: false,
            broken: false,
            enlarged: None,
        })
    }

    /// The pipe itself, to wait for room in it.
    pub(crate) fn pipe(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.pipe)
    }

    /// Appends bytes that are a frame, or several.
    pub(crate) fn push_bytes(&mut self, frames: &[u8]) {
        self.pushed += frames.len() as u64;
        self.owned().extend_from_slice(frames);
    }

    /// Appends a frame. Gives where it is, counted from the first byte that was ever written.
    pub(crate) fn push(&mut self, message: &ToWorker, payload: &Payload) -> Range<u64> {
        let before = self.pushed;
        let copied = payload.len() <= COPIED_UP_TO;
        let piece = self.owned();
        let start = begin_frame(message, piece);
        if copied {
            piece.extend_from_slice(payload.as_slice());
            end_frame(piece, start, 0);
            let len = piece.len() - start;
            self.pushed += len as u64;
        } else {
            end_frame(piece, start, payload.len());
            let len = piece.len() - start + payload.len();
            self.pushed += len as u64;
            if payload.len() >= LARGE && self.enlarged.is_none() && !self.is_socket {
                self.enlarged = Enlarged::new(&*self.pipe);
            }
            self.pieces.push_back(Piece::Shared(payload.clone()));
        }
        before..self.pushed
    }

    /// How many bytes the worker has read, at most; none are read any more once it is dead. What lies in a socket cannot be seen
    /// from this end: it counts as read.
    pub(crate) fn read_by_worker(&self) -> u64 {
        self.taken - sys::unread(&*self.pipe).unwrap_or(0).min(self.taken)
    }

    /// How many bytes the pipe has taken.
    pub(crate) fn written(&self) -> u64 {
        self.taken
    }

    fn owned(&mut self) -> &mut Vec<u8> {
        if !matches!(self.pieces.back(), Some(Piece::Owned(_))) {
            let spare = std::mem::take(&mut self.spare);
            self.pieces.push_back(Piece::Owned(spare));
        }
        match self.pieces.back_mut() {
            Some(Piece::Owned(bytes)) => bytes,
            _ => unreachable!("it was just put there"),
        }
    }

    /// Writes once; more may remain though the pipe is not full.
    pub(crate) fn write_once(&mut self) -> Flush {
        if self.broken {
            self.pieces.clear();
            return Flush::Broken;
        }
        let result = {
            let mut slices = [IoSlice::new(&[]); PIECES];
            let mut count = 0;
            for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
                let skip = if count == 0 { self.written } else { 0 };
                *slice = IoSlice::new(&piece.as_slice()[skip..]);
                count += 1;
            }
            match count {
                0 => return Flush::Done,
                _ if self.is_socket => {
                    sendmsg(&self.pipe, &slices[..count], &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL)
                }
                1 => rustix::io::write(&self.pipe, &slices[0]),
                _ => rustix::io::writev(&self.pipe, &slices[..count]),
            }
        };
        match result {
            Ok(written) => {
                self.advance(written);
                Flush::Done
            }
            Err(Errno::INTR) => Flush::Done,
            Err(Errno::AGAIN) => Flush::Full,
            Err(_) => {
                self.broken = true;
                self.pieces.clear();
                Flush::Broken
            }
        }
    }

    /// Writes all that the pipe takes.
    pub(crate) fn flush(&mut self) -> Flush {
        while !self.pieces.is_empty() {
            match self.write_once() {
                Flush::Done => {}
                other => return other,
            }
        }
        if self.broken { Flush::Broken } else { Flush::Done }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    fn advance(&mut self, mut written: usize) {
        self.taken += written as u64;
        while let Some(first) = self.pieces.front() {
            let left = first.as_slice().len() - self.written;
            if written < left {
                self.written += written;
                return;
            }
            written -= left;
            self.written = 0;
            if let Some(Piece::Owned(mut bytes)) = self.pieces.pop_front()
                && bytes.capacity() <= SPARE
            {
                bytes.clear();
                self.spare = bytes;
            }
        }
    }
}
