//! A worker's standard error, as the poller reads it and errors quote it.

use crate::sys::{never_block, unread};
use parking_lot::Mutex;
use rustix::io::Errno;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How much of each worker's standard error is kept for errors.
const TAIL: usize = 8 * 1024;

/// A worker's standard error: the end that is read, and the last that was.
pub(crate) struct StderrTail {
    pipe: OwnedFd,
    kept: Mutex<VecDeque<u8>>,
    /// How many bytes were read in all.
    read: AtomicU64,
}

impl StderrTail {
    pub(crate) fn new(pipe: OwnedFd) -> Arc<Self> {
        never_block(&pipe);
        Arc::new(StderrTail { pipe, kept: Mutex::default(), read: AtomicU64::new(0) })
    }

    /// How many bytes were read until now: all that the worker wrote, but for the last moments.
    pub(crate) fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// How many bytes the worker has written until now.
    pub(crate) fn written(&self) -> u64 {
        // What has left the pipe is counted before the lock is released.
        let _kept = self.kept.lock();
        self.read() + unread(&self.pipe).unwrap_or(0)
    }

    /// What was written last, of that which follows the first `from` bytes.
    pub(crate) fn text(&self, from: u64) -> String {
        let kept = self.kept.lock();
        let since = usize::try_from(self.read().saturating_sub(from)).unwrap_or(usize::MAX);
        let skipped = kept.len().saturating_sub(since);
        let last: Vec<u8> = kept.iter().skip(skipped).copied().collect();
        String::from_utf8_lossy(&last).trim_end().to_owned()
    }

    /// The end that is read.
    pub(super) fn pipe(&self) -> &OwnedFd {
        &self.pipe
    }

    /// Reads once: nothing at the end, and none where there is nothing now. The worker may have read it from its pipe itself.
    pub(super) fn read_into<'a>(&self, chunk: &'a mut [u8]) -> Option<&'a [u8]> {
        let mut kept = self.kept.lock();
        let read = match rustix::io::read(&self.pipe, &mut *chunk) {
            Err(Errno::AGAIN | Errno::INTR) => return None,
            other => other.unwrap_or(0),
        };
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        let new = &chunk[read.saturating_sub(TAIL)..read];
        let over = (kept.len() + new.len()).saturating_sub(TAIL);
        kept.drain(..over);
        kept.extend(new);
        Some(&chunk[..read])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{self, Write};

    #[test]
    fn the_tail_is_the_last_that_was_written() -> io::Result<()> {
        let (theirs, mut worker) = os_pipe::pipe()?;
        let tail = StderrTail::new(theirs.into());
        let mut chunk = [0u8; 64 * 1024];
        assert_eq!(tail.read_into(&mut chunk), None, "there is nothing yet");
        worker.write_all(b"first\n")?;
        assert_eq!((tail.read(), tail.written()), (0, 6));
        tail.read_into(&mut chunk);
        assert_eq!((tail.read(), tail.written()), (6, 6));
        worker.write_all(b"second\n")?;
        tail.read_into(&mut chunk);
        assert_eq!(tail.text(0), "first\nsecond");
        assert_eq!(tail.text(6), "second");
        assert_eq!(tail.text(13), "");
        worker.write_all(&[b'x'; TAIL - 5])?;
        worker.write_all(b"end\n")?;
        tail.read_into(&mut chunk);
        let text = tail.text(0);
        assert!(!text.contains("first") && text.ends_with("xend"), "{} bytes", text.len());
        worker.write_all(&[b'y'; 3 * TAIL])?;
        tail.read_into(&mut chunk);
        assert_eq!(tail.text(0), "y".repeat(TAIL));
        drop(worker);
        assert_eq!(tail.read_into(&mut chunk), Some(&[][..]), "that is the end");
        Ok(())
    }
}
