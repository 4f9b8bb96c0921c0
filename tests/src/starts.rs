//! A file in which handlers note that they have begun, in a way that outlives whatever ends them.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::process::id;
use std::time::SystemTime;

/// The length of a note: the job, the attempt, the process, and when that has opened the file.
const NOTE: usize = 24;

/// The file, to append to. Each note is one write, which the kernel does whole or not at all, and which takes about a
/// microsecond.
#[derive(Debug)]
pub struct Starts {
    file: File,
    opened: u64,
}

impl Starts {
    /// # Errors
    ///
    /// Where the file cannot be opened or created.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Starts { file, opened: nanos() })
    }

    /// In a process that was forked: the notes are another process's from here on.
    pub fn after_fork(&mut self) {
        self.opened = nanos();
    }

    /// Notes that this process has begun this attempt at this job.
    ///
    /// # Panics
    ///
    /// Where the file cannot be written to: a run that counts too little proves nothing.
    pub fn note(&self, job: u64, attempt: u32) {
        let mut note = [0; NOTE];
        note[..8].copy_from_slice(&job.to_le_bytes());
        note[8..12].copy_from_slice(&attempt.to_le_bytes());
        note[12..16].copy_from_slice(&id().to_le_bytes());
        note[16..].copy_from_slice(&self.opened.to_le_bytes());
        (&self.file).write_all(&note).expect("a note of a start");
    }
}

fn nanos() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos() as u64
}

/// One note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    pub job: u64,
    pub attempt: u32,
    pub pid: u32,
    /// Tells the process from another that had its number before.
    pub opened: u64,
}

/// All that was noted, in the order in which it was.
pub fn read(path: &Path) -> Vec<Start> {
    let bytes = fs::read(path).unwrap_or_default();
    let notes = bytes.as_chunks::<NOTE>().0.iter();
    let start = |note: &[u8; NOTE]| {
        let number = |at: usize| u32::from_le_bytes([note[at], note[at + 1], note[at + 2], note[at + 3]]);
        let long = |at: usize| u64::from(number(at)) | u64::from(number(at + 4)) << 32;
        Start { job: long(0), attempt: number(8), pid: number(12), opened: long(16) }
    };
    notes.map(start).collect()
}

/// The attempts of each job that had begun, with the processes that did.
pub fn by_job(starts: &[Start]) -> BTreeMap<u64, Vec<(u32, u32)>> {
    let mut jobs: BTreeMap<u64, Vec<(u32, u32)>> = BTreeMap::new();
    for start in starts {
        jobs.entry(start.job).or_default().push((start.attempt, start.pid));
    }
    jobs
}

/// How many more times than once attempts have begun.
pub fn begun_twice(starts: &[Start]) -> usize {
    let mut attempts: Vec<_> = starts.iter().map(|start| (start.job, start.attempt)).collect();
    attempts.sort_unstable();
    attempts.windows(2).filter(|pair| pair[0] == pair[1]).count()
}
