//! Medians, and what `/proc` says.

use std::fs;
use std::process;

/// The medians of each figure of some rounds, after one that does not count.
pub(crate) fn rounds<const N: usize>(count: usize, mut round: impl FnMut() -> [f64; N]) -> [f64; N] {
    round();
    let all: Vec<_> = (0..count).map(|_| round()).collect();
    std::array::from_fn(|figure| median(all.iter().map(|round| round[figure]).collect()))
}

pub(crate) fn median(samples: Vec<f64>) -> f64 {
    percentile(samples, 50)
}

/// The sample that `percent` of a hundred are not above.
pub(crate) fn percentile(mut samples: Vec<f64>, percent: usize) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[(samples.len() * percent / 100).min(samples.len() - 1)]
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn entries(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder}: {error}"));
    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
}

fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// The bytes of this process that are in memory.
pub(crate) fn resident() -> f64 {
    field(&read("/proc/self/status"), "VmRSS:") as f64 * 1024.0
}

/// The children of this process: all workers of all its pools.
pub(crate) fn children() -> Vec<u32> {
    let of_threads =
        entries("/proc/self/task").into_iter().map(|task| read(&format!("/proc/self/task/{task}/children")));
    of_threads.flat_map(|pids| pids.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
}

/// The processor time that a process has used, in microseconds; in steps of 10 ms.
pub(crate) fn cpu_time(pid: u32) -> f64 {
    let stat = read(&format!("/proc/{pid}/stat"));
    let fields = stat.rsplit(") ").next().unwrap_or_default();
    fields.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() * 1e4
}

/// How often the threads of a process were switched away from; this process's main thread, which measures, left out.
pub(crate) fn switches(pid: u32) -> u64 {
    let of_task = |task: String| {
        let status = fs::read_to_string(format!("/proc/{pid}/task/{task}/status")).unwrap_or_default();
        field(&status, "voluntary_ctxt_switches:") + field(&status, "nonvoluntary_ctxt_switches:")
    };
    let main = process::id().to_string();
    entries(&format!("/proc/{pid}/task")).into_iter().filter(|task| *task != main).map(of_task).sum()
}

/// How many threads and descriptors this process has.
pub(crate) fn threads_and_descriptors() -> [f64; 2] {
    [entries("/proc/self/task").len() as f64, entries("/proc/self/fd").len() as f64]
}

/// How many descriptors this process may still open.
pub(crate) fn descriptors_left() -> usize {
    let limits = read("/proc/self/limits");
    let limit = field(&limits, "Max open files") as usize;
    limit.saturating_sub(entries("/proc/self/fd").len())
}
