//! Whether the running executable is a test harness: the workers of `self_exec` would run its tests again.

use crate::sys::SELF;
use hirelings_worker_kit::was_asked;
use std::env;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::OnceLock;

/// Why the running executable cannot be a worker for the job type called `name`, where it is a test harness.
///
/// Where `init` was called for the type, a harness's worker comes to it too: so it is in an example of the documentation.
pub(crate) fn refused(name: &str) -> Option<String> {
    let why = || {
        format!(
            "self_exec would start this executable again, which is a test harness and no worker for jobs of type {name}: \
             give the tests a program of its own whose main calls worker::serve, such as src/bin/my-worker.rs, and start \
             it from a test under tests/ with Command::new(env!(\"CARGO_BIN_EXE_my-worker\"))"
        )
    };
    (!was_asked(name) && is_linked()).then(why)
}

/// Whether Rust's own test harness is linked into the running executable, as `cargo test` does it. The whole executable
/// is read, once, so this is for where something is wrong already.
fn is_linked() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    *FOUND.get_or_init(|| executable().and_then(has_harness).unwrap_or(false))
}

fn executable() -> io::Result<File> {
    if cfg!(any(target_os = "linux", target_os = "android")) {
        return File::open(SELF);
    }
    File::open(env::current_exe()?)
}

/// A variable that only the harness reads, backwards: as it is, it would be in every executable that has this crate.
const BACKWARDS: &[u8] = b"SDAERHT_TSET_TSUR";

/// Bytes are skipped by the standard library, which is optimized where this crate is not.
fn has_harness(executable: impl Read) -> io::Result<bool> {
    let mut bytes = BufReader::with_capacity(1024 * 1024, executable);
    let (&first, rest) = BACKWARDS.split_last().unwrap_or((&0, &[]));
    loop {
        if bytes.skip_until(first)? == 0 {
            return Ok(false);
        }
        let mut matched = 0;
        while matched < rest.len() {
            let Some(&next) = bytes.fill_buf()?.first() else { return Ok(false) };
            if next != rest[rest.len() - 1 - matched] {
                break;
            }
            bytes.consume(1);
            matched += 1;
        }
        if matched == rest.len() {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte at a time.
    struct Slow<'b>(&'b [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let most = into.len().min(1);
            self.0.read(&mut into[..most])
        }
    }

    #[test]
    fn the_word_is_found_wherever_it_stands() {
        let word: Vec<u8> = BACKWARDS.iter().rev().copied().collect();
        for before in [&b""[..], b"R", b"RUST_", b"RUST_TEST_THREADRUST", &[b'R'; 100]] {
            let bytes = [before, &word, b"..."].concat();
            assert!(has_harness(&bytes[..]).unwrap());
            assert!(has_harness(Slow(&bytes)).unwrap());
            assert!(!has_harness(&bytes[..bytes.len() - 4]).unwrap());
        }
        assert!(!has_harness(&b""[..]).unwrap());
    }

    #[test]
    fn this_is_a_harness() {
        assert!(is_linked());
    }
}
