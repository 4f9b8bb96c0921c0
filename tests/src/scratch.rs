//! A file that a test and its workers share.

use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A path in the temporary folder; what is there is removed in the end.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Scratch(std::env::temp_dir().join(format!("hirelings-scratch-{}-{number}", std::process::id())))
    }

    pub fn path(&self) -> PathBuf {
        self.0.clone()
    }

    /// The lines that workers have appended.
    pub fn lines(&self) -> Vec<String> {
        fs::read_to_string(&self.0).unwrap_or_default().lines().map(str::to_owned).collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0).or_else(|_| fs::remove_dir(&self.0));
    }
}

/// Appends a line; in a worker.
///
/// # Errors
///
/// Where the file cannot be written to.
pub fn append(path: &Path, line: &str) -> Result<(), String> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes())).map_err(|error| error.to_string())
}

/// Locks the file for as long as what it gives lives, the process's death included. If somebody else has it locked, that
/// is noted in it; in a worker.
///
/// # Errors
///
/// Where the file cannot be written to.
pub fn alone(path: &Path) -> Result<File, String> {
    let file = OpenOptions::new().create(true).append(true).open(path).map_err(|error| error.to_string())?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        append(path, "two at once")?;
    }
    append(path, "alone")?;
    Ok(file)
}
