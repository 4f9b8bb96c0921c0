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

/// Has the allocator give back each large buffer when it is freed. By default glibc raises its limit to the size of the largest
/// buffer that was ever freed, up to 32 MiB, and keeps up to twice as much at the end of each thread's arena, which
/// `malloc_trim` does not give back: what is resident would tell which thread freed what when (`M_MMAP_THRESHOLD` and
/// `M_TRIM_THRESHOLD` in mallopt(3)).
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn keep_little() {
    unsafe extern "C" {
        fn mallopt(parameter: i32, value: i32) -> i32;
    }
    const M_TRIM_THRESHOLD: i32 = -1;
    const M_MMAP_THRESHOLD: i32 = -3;
    for parameter in [M_TRIM_THRESHOLD, M_MMAP_THRESHOLD] {
        // SAFETY: it takes the allocator's own locks, and sets a number.
        unsafe { mallopt(parameter, 128 << 10) };
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn keep_little() {}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn give_back() {}
