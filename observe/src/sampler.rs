//! A thread that looks at the workers' memory now and then, while a recording goes on.

use crate::recording::{Sample, Shared};
use std::fs;
use std::sync::Arc;
use std::thread;

/// Starts it. Where no thread can be started there are no samples.
pub(crate) fn start(shared: &Arc<Shared>) {
    let shared = Arc::clone(shared);
    let _ = thread::Builder::new().name("hirelings-sampler".into()).spawn(move || run(&shared));
}

fn run(shared: &Shared) {
    let mut recording = shared.recording.lock();
    while recording.over.is_none() {
        let (processes, every) = (recording.processes(), recording.sample_every);
        // Not held while files are read: the hook thread would wait.
        drop(recording);
        let mut memory = vec![0; processes.iter().map(|&(slot, _)| slot + 1).max().unwrap_or(0)];
        for (slot, pid) in processes {
            memory[slot] += resident(pid).unwrap_or(0);
        }
        recording = shared.recording.lock();
        let (at, backlog) = (recording.now(), recording.backlog());
        recording.sample(Sample { at, backlog, memory });
        if recording.over.is_none() {
            shared.over.wait_for(&mut recording, every);
        }
    }
}

/// How much memory a process holds, in bytes; none where the system does not say.
pub(crate) fn resident(pid: u32) -> Option<u64> {
    let pages = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = pages.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}
