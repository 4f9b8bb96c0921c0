//! The timeline: one page with the recording as JSON in it, and the script that draws it.

use crate::json::{list, or_null, text};
use crate::recording::{Attempt, Outcome, Recording};
use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};

const PAGE: &str = include_str!("timeline/page.html");
const STYLE: &str = include_str!("timeline/style.css");
const SCRIPTS: [&str; 3] =
    [include_str!("timeline/model.js"), include_str!("timeline/draw.js"), include_str!("timeline/main.js")];

pub(crate) fn write(recording: &Recording, out: &mut dyn Write) -> io::Result<()> {
    // What stands between the marks of the template, and what comes in their places.
    let mut rest = PAGE;
    for mark in ["{{title}}", "{{style}}", "{{data}}", "{{script}}"] {
        let (before, after) = rest.split_once(mark).unwrap_or((rest, ""));
        out.write_all(before.as_bytes())?;
        rest = after;
        match mark {
            "{{title}}" => out.write_all(recording.pool.replace('&', "&amp;").replace('<', "&lt;").as_bytes())?,
            "{{style}}" => out.write_all(STYLE.as_bytes())?,
            "{{data}}" => data(recording, out)?,
            _ => SCRIPTS.iter().try_for_each(|script| out.write_all(script.as_bytes()))?,
        }
    }
    out.write_all(rest.as_bytes())
}

/// The recording as JSON. Times are in microseconds; those of a lane's attempts are each since the one before.
fn data(recording: &Recording, out: &mut dyn Write) -> io::Result<()> {
    let end = recording.over.unwrap_or(0);
    write!(
        out,
        "{{\"pool\":{},\"begun\":{},\"end\":{end},",
        text(&recording.pool),
        recording.origin.time_of_day.as_millis()
    )?;
    write!(out, "\"retries\":{},\"recorded\":{},", recording.retries, recording.ended)?;
    write!(out, "\"workersLeftOut\":{},\"outcomes\":", recording.workers_left_out)?;
    list(out, Outcome::ALL.map(|outcome| text(outcome.name())))?;
    out.write_all(b",\"totals\":")?;
    list(out, recording.totals)?;

    let mut lanes: BTreeMap<Option<u32>, Vec<&Attempt>> = BTreeMap::new();
    for (slot, _) in recording.sums.iter().enumerate() {
        lanes.entry(u32::try_from(slot).ok()).or_default();
    }
    for seen in &recording.workers {
        lanes.entry(u32::try_from(seen.slot).ok()).or_default();
    }
    for attempt in &recording.attempts {
        lanes.entry(attempt.slot).or_default().push(attempt);
    }
    let mut labels = Labels::default();
    out.write_all(b",\"lanes\":[")?;
    let mut first = true;
    // The lane without a worker comes last.
    let without = lanes.remove(&None);
    for (slot, mut attempts) in lanes.into_iter().chain(without.map(|attempts| (None, attempts))) {
        attempts.sort_by_key(|attempt| (attempt.start, attempt.end));
        out.write_all(if first { b"" } else { b"," })?;
        first = false;
        lane(recording, slot, &attempts, &mut labels, out)?;
    }
    out.write_all(b"],\"labels\":")?;
    list(out, labels.texts.iter().map(|label| text(label)))?;
    write!(out, ",\"sumWidth\":{},\"workers\":[", recording.sum_width)?;
    for (n, seen) in recording.workers.iter().enumerate() {
        let comma = if n > 0 { "," } else { "" };
        let status = seen.status.as_deref().map(text);
        let (limit_at, limit) = seen.limit.as_ref().map(|(at, limit)| (*at, text(limit))).unzip();
        write!(
            out,
            "{comma}[{},{},{},{},{},{},{},{},{},{},{},{},{}]",
            seen.id,
            seen.slot,
            seen.pid,
            seen.spawned,
            or_null(seen.ready),
            or_null(seen.exiting),
            u8::from(seen.for_job),
            or_null(seen.exited),
            or_null(status),
            or_null(limit_at),
            or_null(limit),
            seen.jobs,
            or_null(seen.site.as_deref().map(text))
        )?;
    }
    out.write_all(b"],\"samples\":{\"at\":")?;
    list(out, recording.samples.iter().map(|sample| sample.at))?;
    out.write_all(b",\"backlog\":")?;
    list(out, recording.samples.iter().map(|sample| sample.backlog))?;
    out.write_all(b",\"memory\":[")?;
    // In KiB, by slot.
    let slots = recording.samples.iter().map(|sample| sample.memory.len()).max().unwrap_or(0);
    for slot in 0..slots {
        out.write_all(if slot > 0 { b"," } else { b"" })?;
        list(out, recording.samples.iter().map(|sample| sample.memory.get(slot).copied().unwrap_or(0) / 1024))?;
    }
    out.write_all(b"]}}")
}

fn lane<'a>(
    recording: &Recording,
    slot: Option<u32>,
    attempts: &[&'a Attempt],
    labels: &mut Labels<'a>,
    out: &mut dyn Write,
) -> io::Result<()> {
    write!(out, "{{\"slot\":{},\"start\":", or_null(slot))?;
    let mut before = 0;
    let since = |at: u64, before: &mut u64| at - std::mem::replace(before, at);
    list(out, attempts.iter().map(|attempt| since(attempt.start, &mut before)))?;
    out.write_all(b",\"ran\":")?;
    list(out, attempts.iter().map(|attempt| attempt.end - attempt.start))?;
    out.write_all(b",\"waited\":")?;
    list(out, attempts.iter().map(|attempt| attempt.start.saturating_sub(attempt.queued)))?;
    out.write_all(b",\"job\":")?;
    list(out, attempts.iter().map(|attempt| attempt.job))?;
    out.write_all(b",\"label\":")?;
    list(out, attempts.iter().map(|attempt| labels.number(attempt.label.as_deref())))?;
    out.write_all(b",\"attempt\":")?;
    list(out, attempts.iter().map(|attempt| attempt.attempt))?;
    // The outcome, and 16 more where another attempt followed.
    out.write_all(b",\"outcome\":")?;
    list(out, attempts.iter().map(|attempt| attempt.outcome as u8 + 16 * u8::from(attempt.retried)))?;
    out.write_all(b",\"worker\":")?;
    list(out, attempts.iter().map(|attempt| attempt.worker))?;
    out.write_all(b",\"details\":{")?;
    let detailed = attempts.iter().enumerate().filter_map(|(n, attempt)| Some((n, attempt.detail.as_ref()?)));
    for (count, (n, detail)) in detailed.enumerate() {
        let comma = if count > 0 { "," } else { "" };
        write!(out, "{comma}\"{n}\":[{},{}]", text(&detail.message), text(&detail.stderr))?;
    }
    out.write_all(b"},\"sums\":")?;
    let sums = slot.and_then(|slot| recording.sums.get(slot as usize)).map(Vec::as_slice).unwrap_or_default();
    let last = sums.iter().rposition(|sum| sum.attempts > 0 || sum.busy > 0).map_or(0, |last| last + 1);
    list(out, sums[..last].iter().map(|sum| format!("[{},{},{}]", sum.attempts, sum.not_succeeded, sum.busy)))?;
    out.write_all(b"}")
}

/// Each label once, by number from 1; 0 is none.
#[derive(Default)]
struct Labels<'a> {
    texts: Vec<&'a str>,
    numbers: HashMap<&'a str, usize>,
}

impl<'a> Labels<'a> {
    fn number(&mut self, label: Option<&'a str>) -> usize {
        let Some(label) = label else { return 0 };
        *self.numbers.entry(label).or_insert_with(|| {
            self.texts.push(label);
            self.texts.len()
        })
    }
}
