//! Bodies of the fuzz targets in `fuzz/`, which are also run over its corpora in `cargo test`. Not in any other build.
//!
//! Each takes bytes, whatever they are, and panics where something does not hold.

mod frames;
mod messages;
mod worker_side;

pub(crate) use frames::{Written, decoded};
pub use frames::{frames_from_worker, frames_to_worker};
pub use messages::messages;
pub use worker_side::worker_side;

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
    use std::collections::BTreeSet;
    use std::fs;
    use std::panic::catch_unwind;
    use std::path::{Path, PathBuf};

    type Target = (&'static str, fn(&[u8]));

    const TARGETS: [Target; 6] = [
        ("frames_from_worker", super::frames_from_worker),
        ("frames_to_worker", super::frames_to_worker),
        ("messages", super::messages),
        ("reader", super::reader),
        ("supervisor", super::supervisor),
        ("worker_side", super::worker_side),
    ];

    /// The folder `fuzz`; it is not in the published package.
    fn folder() -> Option<PathBuf> {
        Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")).filter(|folder| folder.exists())
    }

    fn names(folder: &Path) -> BTreeSet<String> {
        let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        entries.map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn every_target_has_a_corpus_and_is_replayed() {
        let Some(folder) = folder() else { return };
        let replayed = TARGETS.map(|(target, _)| target.to_owned()).into();
        assert_eq!(names(&folder.join("fuzz_targets")), replayed);
        assert!(names(&folder.join("corpus")).is_superset(&replayed));
    }

    #[test]
    fn the_corpora_are_replayed() {
        let Some(folder) = folder() else { return };
        for (target, run) in TARGETS {
            let corpus = folder.join("corpus").join(target);
            let mut count = 0;
            for file in fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap().path()) {
                let bytes = fs::read(&file).unwrap();
                assert!(catch_unwind(|| run(&bytes)).is_ok(), "{target} has failed at {}", file.display());
                count += 1;
            }
            assert!(count > 0, "{target} has no corpus");
        }
    }

    #[test]
    fn nothing_at_all_is_an_input_too() {
        for (_, run) in TARGETS {
            run(&[]);
        }
    }
}
