//! What carries the frames between a pool and a worker.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

/// What a worker's standard input and output are.
///
/// Payloads of a MiB cross Unix sockets in about 0.7 of the time that they take through pipes. `docs/performance.md` has the
/// figures. Standard error is a pipe in any case.
///
/// ```no_run
/// # use hirelings::*;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// // Each job brings a picture of some megabytes, and takes one back.
/// let pool = Pool::<Square>::self_exec().transport(Transport::Sockets).build()?;
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Transport {
    /// Pipes: right for small jobs, and for every program.
    #[default]
    Pipes,
    /// Unix sockets: right for payloads of a MiB and more, and programs that are built on the Rust or the Python kit.
    Sockets,
}

impl Transport {
    /// The end that is read, and the end that is written. Both are closed on exec.
    pub(crate) fn pair(self) -> io::Result<(OwnedFd, OwnedFd)> {
        match self {
            Transport::Pipes => os_pipe::pipe().map(|(read, write)| (read.into(), write.into())),
            Transport::Sockets => UnixStream::pair().map(|(read, write)| (read.into(), write.into())),
        }
    }
}
