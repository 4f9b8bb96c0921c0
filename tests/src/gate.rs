//! What a worker waits for until a test lets it go: a lock on a file.

use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A gate that is closed until it is opened or dropped.
#[derive(Debug)]
pub struct Gate {
    path: PathBuf,
    lock: Option<File>,
}

impl Gate {
    /// # Panics
    ///
    /// Where the temporary folder cannot be written to.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("hirelings-gate-{}-{number}", std::process::id()));
        let lock = File::create(&path).expect("a file in the temporary folder");
        flock(&lock, FlockOperation::LockExclusive).expect("a lock on it");
        Gate { path, lock: Some(lock) }
    }

    pub fn path(&self) -> PathBuf {
        self.path.clone()
    }

    /// Lets everybody through.
    pub fn open(&mut self) {
        self.lock = None;
    }

    /// Blocks until the gate at `path` is open; in a worker.
    pub fn wait(path: &Path) {
        if let Ok(file) = File::open(path) {
            let _ = flock(&file, FlockOperation::LockShared);
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.open();
        let _ = fs::remove_file(&self.path);
    }
}
