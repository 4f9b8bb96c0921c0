//! A copy of this process.

use rustix::process::Pid;
use std::io::{self, Write};

/// Forks. Gives the child's number in this process, and none in the child.
///
/// The caller has made sure that this process has one thread. What standard output holds unwritten, in Rust or in C, is
/// written before: the child would write it a second time.
///
/// # Errors
///
/// Where there is no room for another process.
#[allow(unsafe_code)]
pub(crate) fn fork() -> io::Result<Option<Pid>> {
    let _ = io::stdout().flush();
    // SAFETY: a null pointer stands for all streams of C.
    unsafe { libc::fflush(std::ptr::null_mut()) };
    // SAFETY: this process has one thread, so that no lock is held by one that the child does not have, and the child may do
    // whatever this process may.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Pid::from_raw(pid))
}
