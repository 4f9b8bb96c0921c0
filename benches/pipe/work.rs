//! The jobs, the pools, and the work that most cases do.

use crate::raw::RawChild;
use hirelings::{Bytes, Job, NoError, Pool, PoolBuilder, self_exec, worker::Context};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::path::PathBuf;
use std::process;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What a worker can be asked.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) enum Work {
    /// To give it back.
    Echo(Bytes),
    /// To give nothing back.
    Swallow(Vec<u8>),
    Send(Bytes),
    /// To sleep, and tell of it: see [`Nap`].
    Nap(Duration),
    /// To wait for the lock on a file.
    Hold(PathBuf),
}

impl Job for Work {
    type Output = Bytes;
    type Progress = ();
    type Error = NoError;
}

/// What a worker tells of a nap.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nap {
    pub(crate) pid: u32,
    /// Since the epoch: a clock that two processes share.
    pub(crate) from: Duration,
    pub(crate) to: Duration,
}

/// The worker's handler.
pub(crate) fn handle(work: Work, _: &mut Context<Work>) -> Result<Bytes, NoError> {
    Ok(match work {
        Work::Echo(bytes) => bytes,
        Work::Swallow(_) | Work::Send(_) => Bytes::default(),
        Work::Nap(length) => {
            let from = wall_clock();
            if length > Duration::ZERO {
                thread::sleep(length);
            }
            let nap = Nap { pid: process::id(), from, to: wall_clock() };
            Bytes(nap.to_bytes())
        }
        Work::Hold(path) => {
            let file = File::open(path).expect("the file to wait for is there");
            flock(&file, FlockOperation::LockShared).expect("it can be locked");
            Bytes::default()
        }
    })
}

fn wall_clock() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl Nap {
    fn to_bytes(self) -> Vec<u8> {
        let words = [self.pid.into(), self.from.as_nanos(), self.to.as_nanos()];
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    pub(crate) fn from_bytes(Bytes(bytes): &Bytes) -> Self {
        let word = |at: usize| {
            let word = bytes[at * 16..][..16].try_into().expect("sixteen bytes");
            u64::try_from(u128::from_le_bytes(word)).expect("a word that was written here")
        };
        let (pid, from, to) = (word(0), word(1), word(2));
        let pid = u32::try_from(pid).expect("a process id");
        Nap { pid, from: Duration::from_nanos(from), to: Duration::from_nanos(to) }
    }

    pub(crate) fn length(&self) -> Duration {
        self.to.saturating_sub(self.from)
    }
}

/// A builder of pools of this executable whose workers are not replaced.
pub(crate) fn builder(workers: usize) -> PoolBuilder<Work> {
    Pool::builder(self_exec::<Work>()).max_processes(workers).max_jobs_per_process(u64::MAX)
}

/// Such a pool, with all its workers ready.
pub(crate) fn pool(workers: usize) -> Pool<Work> {
    ready(builder(workers))
}

pub(crate) fn ready(builder: PoolBuilder<Work>) -> Pool<Work> {
    let pool = builder.build().expect("a pool of this executable");
    pool.wait_ready(Duration::from_secs(60)).expect("its workers start");
    pool
}

/// The 64 bytes of a small job, unlike those of any other.
pub(crate) fn small(number: usize) -> [u8; 64] {
    let mut bytes = [0x5a; 64];
    bytes[..8].copy_from_slice(&(number as u64).to_le_bytes());
    bytes[56..].copy_from_slice(&(number as u64).to_be_bytes());
    bytes
}

pub(crate) fn small_job(number: usize) -> Work {
    Work::Echo(Bytes(small(number).to_vec()))
}

/// The seconds that `count` small jobs take, submitted at once and then waited for.
pub(crate) fn drive(pool: &Pool<Work>, count: usize) -> f64 {
    let jobs: Vec<_> = (0..count).map(small_job).collect();
    let started = Instant::now();
    let handles: Vec<_> = jobs.into_iter().map(|job| pool.enqueue(job)).collect();
    for (number, handle) in handles.into_iter().enumerate() {
        let Bytes(echoed) = handle.wait().expect("an echo");
        assert_eq!(echoed, small(number), "job {number}");
    }
    started.elapsed().as_secs_f64()
}

/// The same over raw pipes: one thread writes to all children, then reads from all.
pub(crate) fn drive_raw(children: &mut [RawChild], count: usize) -> f64 {
    let started = Instant::now();
    for first in (0..count).step_by(children.len()) {
        for (number, child) in (first..).zip(&mut *children) {
            child.send(&small(number));
        }
        for (number, child) in (first..).zip(&mut *children) {
            assert_eq!(child.receive(), small(number), "job {number}");
        }
    }
    started.elapsed().as_secs_f64()
}
