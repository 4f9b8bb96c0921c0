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
    // Not its output: `srun --unbuffered` makes that a terminal, which changes nothing that goes through it.
    if io::stdin().is_terminal() {
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

/// The same for a fork server, whose standard input is its socket to the pool, both ways.
///
/// # Errors
///
/// Where one of the three is closed.
pub(crate) fn take_control() -> io::Result<(OwnedFd, OwnedFd)> {
    let input: OwnedFd = os_pipe::dup_stdin()?.into();
    let output = input.try_clone()?;
    let null = OpenOptions::new().read(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(os_pipe::dup_stderr()?)?;
    Ok((input, output))
}

/// Standard output and standard error of a worker that was just forked.
pub(crate) fn print_to(errors: &OwnedFd) -> io::Result<()> {
    rustix::stdio::dup2_stdout(errors)?;
    rustix::stdio::dup2_stderr(errors)?;
    Ok(())
}

/// Gives a process that was started by way of `/proc/self/exe`, and is therefore called `exe`, the name by which the
/// program was called, so that `ps` and `top` show that.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn name_after_program() {
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;
    use std::{env, ffi::CString};
    if rustix::thread::name().is_ok_and(|name| name.as_bytes() == b"exe")
        && let Some(program) = env::args_os().next()
        && let Some(name) = Path::new(&program).file_name()
        && let Ok(name) = CString::new(name.as_bytes())
    {
        // The kernel keeps the first 15 bytes. Without it the name is only less good.
        let _ = rustix::thread::set_name(&name);
    }
}

/// Elsewhere an executable is started by its own path.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn name_after_program() {}
