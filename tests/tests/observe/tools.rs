//! Programs that not every machine has.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::{env, fs};

/// Whether the programs that a test needs are there. Where they are not it says so, and the test is left out; in the gate
/// nothing is.
pub fn there(test: &str, programs: &[&str]) -> bool {
    let missing: Vec<&str> = programs.iter().copied().filter(|program| find(program).is_none()).collect();
    if missing.is_empty() {
        return true;
    }
    let missing = missing.join(" and ");
    assert!(
        env::var_os("HIRELINGS_SKIP_NOTHING").is_none(),
        "{test} needs {missing}: .ci/setup tests installs what is missing"
    );
    // Not `eprintln`, which the harness keeps to itself while the test passes.
    let _ = writeln!(io::stderr(), "LEFT OUT: {test} needs {missing}; .ci/setup tests installs what is missing");
    false
}

pub fn find(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// A folder of a test's own, empty.
pub fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("observe").join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).unwrap();
    }
    fs::create_dir_all(&folder).unwrap();
    folder
}
