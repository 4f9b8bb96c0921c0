//! What differs between systems: how a thread that polls learns that a process has ended.

pub(crate) use exit::exit_fd;

/// Linux: a pidfd is readable once the process has ended.
#[cfg(any(target_os = "linux", target_os = "android"))]
mod exit {
    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    use std::io;
    use std::os::fd::OwnedFd;

    /// A descriptor that is readable once `pid`, a child of this process that is not reaped, has ended.
    pub(crate) fn exit_fd(pid: Pid) -> io::Result<OwnedFd> {
        Ok(pidfd_open(pid, PidfdFlags::empty())?)
    }
}

/// Elsewhere: a thread waits without reaping, and closes its end of a pipe.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod exit {
    use rustix::io::Errno;
    use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
    use std::os::fd::OwnedFd;
    use std::{io, thread};

    /// A descriptor that hangs up once `pid`, a child of this process that is not reaped, has ended.
    pub(crate) fn exit_fd(pid: Pid) -> io::Result<OwnedFd> {
        let (ended, alive) = os_pipe::pipe()?;
        let wait = move || {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while let Err(Errno::INTR) = waitid(WaitId::Pid(pid), options) {}
            drop(alive);
        };
        thread::Builder::new().name("hirelings-wait".into()).stack_size(64 * 1024).spawn(wait)?;
        Ok(ended.into())
    }
}
