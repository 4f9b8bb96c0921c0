//! Whether there is memory enough for a backtrace.
//!
//! The standard library captures and looks up frames under a lock. An allocation that fails meanwhile prints why, and takes
//! the same lock for that: the process would hang. Memory can be refused only where it is limited, and there only close to
//! the limit; so a backtrace is taken only with room to spare.

use rustix::process::{Resource, getrlimit};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;

/// Beside what is mapped of the executable: the largest allocations of a lookup.
const SPARE: u64 = 64 << 20;

/// What each other thread may have of address space for a moment, while a lookup is refused memory. The GNU C library maps so
/// much to find an aligned arena in it (`new_heap` in its malloc/arena.c); a thread that cannot have its arena tries again at
/// each allocation.
const ARENA: u64 = 128 << 20;

/// The whole executable is mapped to look up frames, and its tables are read into memory.
const TIMES_THE_EXECUTABLE: u64 = 4;

/// Whether the process has a limit on its memory, and little is left of it.
pub(crate) fn is_scarce() -> bool {
    let space = getrlimit(Resource::As).current;
    let data = getrlimit(Resource::Data).current;
    if space.is_none() && data.is_none() {
        return false;
    }
    let Some((space_used, data_used)) = used() else { return true };
    let executable = fs::metadata("/proc/self/exe").map_or(u64::MAX, |file| file.len());
    let needed = executable.saturating_mul(TIMES_THE_EXECUTABLE).saturating_add(SPARE);
    // A folder has two links more than there are folders in it: here one for each thread.
    let other_threads = fs::metadata("/proc/self/task").map_or(u64::MAX, |tasks| tasks.nlink().saturating_sub(3));
    let arenas = other_threads.saturating_mul(ARENA);
    let lacks = |limit: Option<u64>, used: u64| limit.is_some_and(|limit| limit.saturating_sub(used) < needed);
    lacks(space, space_used.saturating_add(arenas)) || lacks(data, data_used)
}

/// Address space and data of this process, in bytes, if the system says.
fn used() -> Option<(u64, u64)> {
    // On the stack: there may be no other memory.
    let mut buffer = [0; 256];
    let count = File::open("/proc/self/statm").ok()?.read(&mut buffer).ok()?;
    let mut pages = str::from_utf8(&buffer[..count]).ok()?.split_whitespace().map(str::parse::<u64>);
    let (space, data) = (pages.next()?.ok()?, pages.nth(4)?.ok()?);
    let page = rustix::param::page_size() as u64;
    Some((space.saturating_mul(page), data.saturating_mul(page)))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_figures_are_those_of_the_system() {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
        };
        let (space, data) = used().unwrap();
        // Other tests run meanwhile.
        let near = |bytes: u64, kib: u64| (bytes / 1024).abs_diff(kib) < 512 * 1024;
        assert!(near(space, kib("VmSize:")) && near(data, kib("VmData:") + kib("VmStk:")), "{space} {data}\n{status}");
        assert!(data < space);
    }
}
