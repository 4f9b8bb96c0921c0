//! The workers' lines to this program's standard error.

use crate::clock;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// What fits into a pipe that has any room at all, in one piece. Linux and POSIX promise 512 at least; a page is what
/// every system has.
const PIECE: usize = 4096;

/// How often it is looked whether the pool has ended, while standard error takes nothing.
const LOOK: Duration = Duration::from_millis(100);

/// How long the reader of standard error has, once the pool has ended, to take what is left.
const GRACE: Duration = Duration::from_secs(1);

/// Writes lines, and waits for no reader once the pool has ended.
#[derive(Debug, Default)]
pub(crate) struct Forward {
    /// When the pool ended.
    ended: OnceLock<Instant>,
}

impl Forward {
    /// The pool has ended: what cannot be written soon is dropped.
    pub(crate) fn end(&self) {
        let _ = self.ended.set(clock::now());
    }

    /// Writes `lines`, in pieces that end with a line where they can. Where this program has no standard error, or its
    /// reader is gone, there is nowhere to put them.
    pub(crate) fn write(&self, mut lines: &[u8]) {
        while !lines.is_empty() && self.wait_for_room() {
            // Not through std, whose lock may be held by the thread that waits for the pool's end. Other threads print here too,
            // and may fill a pipe between the look and the write: then it blocks after all.
            match rustix::io::write(rustix::stdio::stderr(), &lines[..end_of_piece(lines)]) {
                Ok(written) => lines = &lines[written..],
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(_) => return,
            }
        }
    }

    /// Blocks until standard error takes a piece; `false` where that is too late.
    fn wait_for_room(&self) -> bool {
        let look = Timespec::try_from(LOOK).unwrap_or_default();
        loop {
            let mut stderr = [PollFd::from_borrowed_fd(rustix::stdio::stderr(), PollFlags::OUT)];
            match poll(&mut stderr, Some(&look)) {
                Ok(0) | Err(Errno::INTR) => {}
                // An error, too, is what the write will find out.
                _ => return true,
            }
            if self.ended.get().is_some_and(|ended| clock::now() - *ended > GRACE) {
                return false;
            }
        }
    }
}

/// How much of `lines` is written at once: to the end of the last line that fits.
fn end_of_piece(lines: &[u8]) -> usize {
    if lines.len() <= PIECE {
        return lines.len();
    }
    lines[..PIECE].iter().rposition(|&byte| byte == b'\n').map_or(PIECE, |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_end_with_a_line_where_they_can() {
        assert_eq!(end_of_piece(b"one\ntwo"), 7);
        let long = [b"one\n".as_slice(), &[b'x'; 2 * PIECE]].concat();
        assert_eq!(end_of_piece(&long), 4);
        assert_eq!(end_of_piece(&long[4..]), PIECE);
    }
}
