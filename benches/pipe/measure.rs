//! Medians, and what `/proc` says of a process.

use std::fs;
use std::io;

/// Runs `raw` and `ours` in turn, `rounds` times after one that does not count, and gives each figure's medians: raw's,
/// then ours.
pub(crate) fn in_turn<const N: usize>(
    rounds: usize,
    mut raw: impl FnMut() -> [f64; N],
    mut ours: impl FnMut() -> [f64; N],
) -> ([f64; N], [f64; N]) {
    raw();
    ours();
    let (raws, all_ours): (Vec<_>, Vec<_>) = (0..rounds).map(|_| (raw(), ours())).unzip();
    (medians(&raws), medians(&all_ours))
}

/// The median of each figure.
pub(crate) fn medians<const N: usize>(rounds: &[[f64; N]]) -> [f64; N] {
    std::array::from_fn(|figure| median(rounds.iter().map(|round| round[figure]).collect()))
}

pub(crate) fn median(samples: Vec<f64>) -> f64 {
    percentile(samples, 50)
}

/// The sample that `percent` of a hundred are not above.
pub(crate) fn percentile(mut samples: Vec<f64>, percent: usize) -> f64 {
    samples.sort_by(f64::total_cmp);
    let at = (samples.len() * percent / 100).min(samples.len() - 1);
    samples[at]
}

/// How busy the machine is: the running averages of one, five and fifteen minutes.
pub(crate) fn load() -> io::Result<String> {
    let load = fs::read_to_string("/proc/loadavg")?;
    Ok(load.split_whitespace().take(3).collect::<Vec<_>>().join(" "))
}

/// The bytes of this process that are in memory.
pub(crate) fn resident() -> io::Result<f64> {
    // Not from statm, which counts pages and does not say how large they are.
    let status = fs::read_to_string("/proc/self/status")?;
    Ok(field(&status, "VmRSS:") as f64 * 1024.0)
}

/// The processor time that a process has used, in microseconds; in steps of 10 ms.
pub(crate) fn cpu_time(pid: u32) -> io::Result<f64> {
    /// Linux tells user space a hundred ticks a second, whatever its own are.
    const TICK: f64 = 10_000.0;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name may hold anything; the fields that are counted start behind it.
    let fields = stat.rsplit(") ").next().unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok());
    Ok(ticks.sum::<f64>() * TICK)
}

/// How often the threads of a process were switched away from, the thread `but` left out.
pub(crate) fn switches(pid: u32, but: Option<u32>) -> io::Result<u64> {
    let mut all = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?;
        if but.is_some_and(|but| task.file_name() == *but.to_string()) {
            continue;
        }
        // A thread that ended meanwhile is not idle, and the next look will not find it either.
        let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        all += field(&status, "voluntary_ctxt_switches:") + field(&status, "nonvoluntary_ctxt_switches:");
    }
    Ok(all)
}

/// How many threads and descriptors this process has.
pub(crate) fn threads_and_descriptors() -> io::Result<[f64; 2]> {
    Ok([fs::read_dir("/proc/self/task")?.count() as f64, fs::read_dir("/proc/self/fd")?.count() as f64])
}

fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()).and_then(|word| word.parse().ok()).unwrap_or(0)
}
