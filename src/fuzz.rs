//! The two fuzz targets in `fuzz/` that need what is private here, which are also run over their corpora in `cargo test`. Not
//! in any other build. The other targets are beside the tests.
//!
//! Each takes bytes, whatever they are, and panics where something does not hold.

/// The pool's reader thread, over a pipe into which a worker writes the bytes.
pub fn reader(data: &[u8]) {
    crate::driver::fuzz::reader(data);
}

/// The bytes as inputs of the state machine: callers, processes, and workers that say anything at any time.
pub fn supervisor(data: &[u8]) {
    crate::supervisor::sim::fuzz::supervisor(data);
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::panic::catch_unwind;
    use std::path::Path;

    #[test]
    fn the_corpora_are_replayed() {
        let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
        // They are not in the published package.
        if !corpora.exists() {
            return;
        }
        for (target, run) in [("reader", super::reader as fn(&[u8])), ("supervisor", super::supervisor)] {
            run(&[]);
            let files = fs::read_dir(corpora.join(target)).unwrap().map(|entry| entry.unwrap().path());
            let failed: Vec<_> = files.filter(|file| catch_unwind(|| run(&fs::read(file).unwrap())).is_err()).collect();
            assert!(failed.is_empty(), "{target} has failed at {failed:?}");
        }
    }
}
