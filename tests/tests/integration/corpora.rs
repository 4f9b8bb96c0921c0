//! The corpora of the fuzz targets, replayed.

use hirelings_tests::fuzz;
use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 4] = [
    ("frames_from_worker", fuzz::frames_from_worker),
    ("frames_to_worker", fuzz::frames_to_worker),
    ("messages", fuzz::messages),
    ("worker_side", fuzz::worker_side),
];

/// These need what is private, and are replayed by the library's own tests.
const IN_SRC: [&str; 2] = ["reader", "supervisor"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

#[test]
fn every_target_has_a_corpus_and_is_replayed() {
    let replayed: BTreeSet<String> =
        TARGETS.map(|(target, _)| target).into_iter().chain(IN_SRC).map(Into::into).collect();
    assert_eq!(names(&folder().join("fuzz_targets")), replayed);
    assert!(names(&folder().join("corpus")).is_superset(&replayed));
    for target in replayed {
        assert!(!names(&folder().join("corpus").join(&target)).is_empty(), "{target} has no corpus");
    }
}

#[test]
fn whatever_is_in_them_holds() {
    for (target, run) in TARGETS {
        run(&[]);
        let files = fs::read_dir(folder().join("corpus").join(target)).unwrap().map(|entry| entry.unwrap().path());
        let failed: Vec<_> = files.filter(|file| catch_unwind(|| run(&fs::read(file).unwrap())).is_err()).collect();
        assert!(failed.is_empty(), "{target} has failed at {failed:?}");
    }
}
