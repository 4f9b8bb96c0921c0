//! The few things that need `unsafe`.

use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};

/// Dies of a real SIGSEGV.
pub fn segfault() -> ! {
    // SAFETY: none: to write where nothing is mapped is the purpose, and the process is to die of it.
    unsafe { std::ptr::write_volatile(std::hint::black_box(16 as *mut u8), 1) };
    std::process::abort()
}

/// Puts another file in the place of a descriptor that somebody else owns: what was there is closed.
pub fn replace(descriptor: RawFd, with: impl AsFd) -> std::io::Result<()> {
    // SAFETY: the descriptor is open, as the caller has just seen, and it is not closed here: its owner goes on owning it.
    let mut place = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(descriptor) });
    Ok(rustix::io::dup2(with, &mut place)?)
}

/// Gives back to the system what the allocator keeps of freed memory, where it is one that keeps much.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn give_back() {
    unsafe extern "C" {
        fn malloc_trim(pad: usize) -> i32;
    }
    // SAFETY: it takes the allocator's own locks, and touches nothing that is in use.
    unsafe { malloc_trim(0) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn give_back() {}
