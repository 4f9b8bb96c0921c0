//! What no crate offers: Landlock's version, and the handler that names a forbidden call. The crate's only unsafe code.

#![allow(unsafe_code)]

use hirelings_worker_kit::wire::FORBIDDEN_CALL;
use libc::{c_int, c_long, c_void, siginfo_t};
use std::io;
use std::sync::OnceLock;

/// The version of Landlock's ABI; 0 where the kernel has none, or it is switched off.
pub(crate) fn landlock_abi() -> u32 {
    const VERSION: u32 = 1;
    // SAFETY: with this flag the call takes no pointer (it must be null) and no length, and only returns a number.
    let abi = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<c_void>(), 0usize, VERSION) };
    u32::try_from(abi).unwrap_or(0)
}

/// The calls that the handler can name.
static NAMES: OnceLock<Vec<(c_long, &'static str)>> = OnceLock::new();

/// From now on a call that the filter traps is named on standard error, and ends the process.
pub(crate) fn name_forbidden_calls(names: Vec<(c_long, &'static str)>) -> io::Result<()> {
    if NAMES.set(names).is_err() {
        // The handler is there since an earlier confinement, and can no longer be set.
        return Ok(());
    }
    // SAFETY: all zeros is a valid `sigaction`: no flags, an empty mask, no restorer, and the default action, which is then
    // replaced. The handler calls nothing that is not safe in a signal handler.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = forbidden as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        if libc::sigaction(libc::SIGSYS, &action, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// The beginning of a `siginfo_t` of SIGSYS, as the 64-bit systems have it; libc has no accessor.
#[repr(C)]
struct Forbidden {
    signal: c_int,
    errno: c_int,
    code: c_int,
    pad: c_int,
    address: *const c_void,
    call: c_int,
}

/// `si_code` where a filter has trapped the call.
const SYS_SECCOMP: c_int = 1;

extern "C" fn forbidden(_: c_int, info: *mut siginfo_t, _: *mut c_void) {
    // SAFETY: the kernel gives a handler with SA_SIGINFO a valid `siginfo_t`, whose beginning for SIGSYS is this.
    let (code, call) = unsafe {
        let info = &*info.cast::<Forbidden>();
        (info.code, info.call)
    };
    let mut line = Line { bytes: [0; 128], length: 0 };
    line.push(FORBIDDEN_CALL.as_bytes());
    if code == SYS_SECCOMP {
        let known = NAMES.get().and_then(|names| names.iter().find(|(number, _)| *number == c_long::from(call)));
        line.push(known.map_or("unknown", |(_, name)| name).as_bytes());
        line.push(b" (");
        line.push_number(call.unsigned_abs());
        line.push(b")\n");
    } else {
        line.push(b"unknown\n");
    }
    // SAFETY: the bytes are initialized, and their number is at most their length.
    unsafe {
        libc::write(libc::STDERR_FILENO, line.bytes.as_ptr().cast(), line.length);
    }
    loop {
        // SAFETY: the second filter kills the process for this call, whatever its arguments are; without that filter it
        // reads nothing and writes nothing, since both pointers are null.
        unsafe {
            libc::syscall(libc::SYS_rt_sigaction, libc::SIGSYS, 0usize, 0usize, 8usize);
        }
    }
}

/// Text that is put together without memory from the allocator, which a handler must not ask for any.
struct Line {
    bytes: [u8; 128],
    length: usize,
}

impl Line {
    fn push(&mut self, more: &[u8]) {
        for &byte in more {
            if let Some(place) = self.bytes.get_mut(self.length) {
                *place = byte;
                self.length += 1;
            }
        }
    }

    fn push_number(&mut self, number: u32) {
        if number >= 10 {
            self.push_number(number / 10);
        }
        self.push(&[b'0' + (number % 10) as u8]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_and_numbers_are_decimal() {
        let mut line = Line { bytes: [0; 128], length: 0 };
        line.push_number(0);
        line.push(b" ");
        line.push_number(4_294_967_295);
        assert_eq!(&line.bytes[..line.length], b"0 4294967295");
        line.push(&[b'x'; 200]);
        assert_eq!((line.length, line.bytes[127]), (128, b'x'));
    }
}
