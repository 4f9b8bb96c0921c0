//! The protocol's descriptors, taken away before user code runs.

use std::fs::OpenOptions;
use std::io::{self, IsTerminal};
use std::os::fd::OwnedFd;

/// Takes standard input and output for the protocol. What follows reads `/dev/null` and prints to standard error.
///
/// # Errors
///
/// Where one of the three is closed, or standard input or output is a terminal: then a person has started the worker by hand.
pub(crate) fn take() -> io::Result<(OwnedFd, OwnedFd)> {
    if io::stdin().is_terminal() || io::stdout().is_terminal() {
        return Err(io::Error::other("it was started at a terminal: this program is a worker, which a pool starts"));
    }
    // The copies are closed on exec, so what the handler spawns inherits neither.
    let input = os_pipe::dup_stdin()?.into();
    let output = os_pipe::dup_stdout()?.into();
    let null = OpenOptions::new().read(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(os_pipe::dup_stderr()?)?;
    Ok((input, output))
}
