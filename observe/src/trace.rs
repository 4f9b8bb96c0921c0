//! Chrome's trace event format.

use crate::json::text;
use crate::recording::{Attempt, Outcome, Recording};
use std::io::{self, Write};

/// The process in which everything is shown.
const PID: u32 = 1;
/// The thread of what no worker had.
const NO_WORKER: u32 = 1_000_000;

pub(crate) fn write(recording: &Recording, out: &mut dyn Write) -> io::Result<()> {
    let name = text(&format!("pool {}", recording.pool));
    write!(
        out,
        "{{\"displayTimeUnit\":\"ms\",\"otherData\":{{\"begun_unix_ms\":{}}},\"traceEvents\":[\n\
         {{\"ph\":\"M\",\"pid\":{PID},\"name\":\"process_name\",\"args\":{{\"name\":{name}}}}}",
        recording.origin.time_of_day.as_millis()
    )?;
    let of_attempts = recording.attempts.iter().filter_map(|attempt| attempt.slot);
    let of_workers = recording.workers.iter().filter_map(|seen| u32::try_from(seen.slot).ok());
    let slots = of_attempts.chain(of_workers).max().map_or(0, |last| last + 1);
    for slot in 0..slots {
        thread(out, slot, &format!("worker {slot}"))?;
    }
    if recording.attempts.iter().any(|attempt| attempt.slot.is_none()) {
        thread(out, NO_WORKER, "no worker")?;
    }
    recording.attempts.iter().try_for_each(|attempt| job(out, attempt))?;
    for seen in &recording.workers {
        let (slot, pid) = (seen.slot, seen.pid);
        instant(out, slot, seen.spawned, &format!("started process {pid}"))?;
        if let Some((at, limit)) = &seen.limit {
            instant(out, slot, *at, &format!("process {pid} was {limit}"))?;
        }
        if let (Some(at), true) = (seen.exiting, seen.for_job) {
            instant(out, slot, at, &format!("process {pid} is lost"))?;
        }
        if let (Some(at), Some(status)) = (seen.exited, &seen.status) {
            instant(out, slot, at, &format!("process {pid} ended: {status}"))?;
        }
    }
    for sample in &recording.samples {
        let (at, backlog) = (sample.at, sample.backlog);
        write!(
            out,
            ",\n{{\"ph\":\"C\",\"pid\":{PID},\"ts\":{at},\"name\":\"backlog\",\"args\":{{\"jobs\":{backlog}}}}},\n\
             {{\"ph\":\"C\",\"pid\":{PID},\"ts\":{at},\"name\":\"resident memory\",\"args\":{{"
        )?;
        for (slot, bytes) in sample.memory.iter().enumerate() {
            let comma = if slot > 0 { "," } else { "" };
            write!(out, "{comma}\"worker {slot}\":{bytes}")?;
        }
        out.write_all(b"}}")?;
    }
    out.write_all(b"\n]}\n")
}

fn thread(out: &mut dyn Write, tid: u32, name: &str) -> io::Result<()> {
    let name = text(name);
    write!(
        out,
        ",\n{{\"ph\":\"M\",\"pid\":{PID},\"tid\":{tid},\"name\":\"thread_name\",\"args\":{{\"name\":{name}}}}}"
    )?;
    write!(
        out,
        ",\n{{\"ph\":\"M\",\"pid\":{PID},\"tid\":{tid},\"name\":\"thread_sort_index\",\"args\":{{\"sort_index\":{tid}}}}}"
    )
}

fn job(out: &mut dyn Write, attempt: &Attempt) -> io::Result<()> {
    let name = attempt.label.as_deref().map_or_else(|| format!("job {}", attempt.job), str::to_owned);
    let outcome = attempt.outcome.name();
    let (tid, ts, ran) = (attempt.slot.unwrap_or(NO_WORKER), attempt.start, attempt.end - attempt.start);
    write!(
        out,
        ",\n{{\"ph\":\"X\",\"pid\":{PID},\"tid\":{tid},\"ts\":{ts},\"dur\":{ran},\"cat\":{},\"name\":{},",
        text(outcome),
        text(&name)
    )?;
    // The names of colours that the format has.
    let colour = match attempt.outcome {
        Outcome::Succeeded => "good",
        Outcome::Aborted | Outcome::Closed | Outcome::Expired | Outcome::Running => "grey",
        Outcome::Failed => "bad",
        _ => "terrible",
    };
    write!(
        out,
        "\"cname\":\"{colour}\",\"args\":{{\"job\":{},\"attempt\":{},\"outcome\":{},\"retried\":{},\"waited_us\":{}",
        attempt.job,
        attempt.attempt,
        text(outcome),
        attempt.retried,
        attempt.start.saturating_sub(attempt.queued)
    )?;
    if let Some(detail) = &attempt.detail {
        write!(out, ",\"error\":{},\"stderr\":{}", text(&detail.message), text(&detail.stderr))?;
    }
    out.write_all(b"}}")
}

fn instant(out: &mut dyn Write, slot: usize, at: u64, name: &str) -> io::Result<()> {
    let name = text(name);
    write!(out, ",\n{{\"ph\":\"i\",\"pid\":{PID},\"tid\":{slot},\"ts\":{at},\"s\":\"t\",\"name\":{name}}}")
}
