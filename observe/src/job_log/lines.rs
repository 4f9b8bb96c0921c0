//! The lines of a job log: JSON, and the columns of GNU parallel.

use crate::json;
use crate::recording::Outcome;
use serde_json::Value;
use std::io;
use std::time::Duration;

/// GNU parallel's heading.
pub(super) const HEADER: &str = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n";

/// What is said of one job.
pub(super) struct Line<'a> {
    pub(super) job: u64,
    pub(super) label: Option<&'a str>,
    pub(super) outcome: Outcome,
    pub(super) attempt: u32,
    pub(super) pid: Option<u32>,
    pub(super) started: Duration,
    pub(super) waited: Duration,
    pub(super) ran: Duration,
    pub(super) exit: i32,
    pub(super) signal: i32,
    pub(super) error: Option<&'a str>,
    pub(super) stderr: &'a str,
}

impl Line<'_> {
    pub(super) fn json(&self) -> String {
        let text = |text: &str| Value::from(text).to_string();
        let mut line = format!(
            "{{\"job\":{},\"label\":{},\"outcome\":{},\"attempt\":{},\"pid\":{},\"started\":{:.6},\"waited\":{:.6},\"ran\":{:.6},\
             \"exit\":{},\"signal\":{}",
            self.job,
            json::or_null(self.label.map(text)),
            text(self.outcome.name()),
            self.attempt,
            json::or_null(self.pid),
            self.started.as_secs_f64(),
            self.waited.as_secs_f64(),
            self.ran.as_secs_f64(),
            self.exit,
            self.signal
        );
        if let Some(error) = self.error {
            line.push_str(&format!(",\"error\":{}", text(error)));
        }
        if !self.stderr.is_empty() {
            line.push_str(&format!(",\"stderr\":{}", text(self.stderr)));
        }
        line.push_str("}\n");
        line
    }

    pub(super) fn columns(&self) -> String {
        format!(
            "{}\t:\t{:.3}\t{:10.3}\t0\t0\t{}\t{}\t{}\n",
            self.job,
            self.started.as_secs_f64(),
            self.ran.as_secs_f64(),
            self.exit,
            self.signal,
            self.label.unwrap_or_default().replace('\n', "\\n")
        )
    }
}

/// One line of a job log, from [`JobLog::read`](crate::JobLog::read).
///
/// ```no_run
/// # use hirelings_observe::{JobLog, Logged};
/// # fn main() -> std::io::Result<()> {
/// for Logged { label, outcome, ran, .. } in JobLog::read("jobs.jsonl")? {
///     println!("{label:?} {outcome} after {ran:?}");
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Logged {
    /// The job's number, in the run that did it.
    pub job: u64,
    /// Its label; in GNU parallel's columns the command.
    pub label: Option<String>,
    /// How it ended, in a word or two: `succeeded`, `failed`, `crashed`, `timed out`. GNU parallel's columns have the exit value and
    /// the signal instead: of them it is `succeeded` or `failed`.
    pub outcome: String,
    /// It succeeded.
    pub succeeded: bool,
    /// It came to an end of its own, and was not aborted or closed with the pool.
    pub is_done: bool,
    /// When the last attempt began, since 1970.
    pub started: Duration,
    /// How long the last attempt took.
    pub ran: Duration,
    /// The exit value.
    pub exit: i32,
    /// The signal, or 0.
    pub signal: i32,
}

/// Whether a job that ended so need not be done again.
pub(super) fn is_done(outcome: Outcome) -> bool {
    use Outcome::{Aborted, Closed, Expired, NoWorker, Running};
    !matches!(outcome, Aborted | Closed | Expired | NoWorker | Running)
}

/// What there is without a last line that has no end.
pub(super) fn whole(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    &bytes[..end]
}

pub(super) fn parse(bytes: &[u8]) -> io::Result<Vec<Logged>> {
    let text = String::from_utf8_lossy(whole(bytes));
    let columns = text.starts_with(HEADER);
    let lines = text.lines().enumerate().skip(usize::from(columns)).filter(|(_, line)| !line.is_empty());
    lines
        .map(|(n, line)| {
            let logged = if columns { of_columns(line) } else { of_json(line) };
            logged.ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidData, format!("line {} is no line of a job log", n + 1))
            })
        })
        .collect()
}

fn of_json(line: &str) -> Option<Logged> {
    let line: Value = serde_json::from_str(line).ok()?;
    let seconds = |name: &str| Duration::try_from_secs_f64(line.get(name)?.as_f64()?).ok();
    let number = |name: &str| i32::try_from(line.get(name)?.as_i64()?).ok();
    let name = line.get("outcome")?.as_str()?;
    let outcome = Outcome::ALL.into_iter().find(|outcome| outcome.name() == name)?;
    Some(Logged {
        job: line.get("job")?.as_u64()?,
        label: line.get("label")?.as_str().map(str::to_owned),
        outcome: name.to_owned(),
        succeeded: outcome == Outcome::Succeeded,
        is_done: is_done(outcome),
        started: seconds("started")?,
        ran: seconds("ran")?,
        exit: number("exit")?,
        signal: number("signal")?,
    })
}

fn of_columns(line: &str) -> Option<Logged> {
    let columns: Vec<&str> = line.splitn(9, '\t').collect();
    let [job, _, started, ran, _, _, exit, signal, command] = columns[..] else { return None };
    let seconds = |text: &str| Duration::try_from_secs_f64(text.trim().parse().ok()?).ok();
    let (exit, signal) = (exit.parse().ok()?, signal.parse().ok()?);
    let succeeded = exit == 0 && signal == 0;
    Some(Logged {
        job: job.parse().ok()?,
        label: (!command.is_empty()).then(|| command.to_owned()),
        outcome: if succeeded { Outcome::Succeeded } else { Outcome::Failed }.name().to_owned(),
        succeeded,
        is_done: true,
        started: seconds(started)?,
        ran: seconds(ran)?,
        exit,
        signal,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line<'a>(label: &'a str, outcome: Outcome) -> Line<'a> {
        let (started, waited, ran) = (Duration::from_secs(1_700_000_000), Duration::ZERO, Duration::from_millis(1500));
        let (pid, error) = (Some(4711), (outcome != Outcome::Succeeded).then_some("it \"said\"\nno"));
        let exit = i32::from(outcome != Outcome::Succeeded);
        Line {
            job: 7,
            label: Some(label),
            outcome,
            attempt: 1,
            pid,
            started,
            waited,
            ran,
            exit,
            signal: 0,
            error,
            stderr: "last",
        }
    }

    #[test]
    fn each_outcome_comes_back_from_both_formats() {
        for outcome in Outcome::ALL {
            let written = line("a \"label\"\twith\\everything", outcome).json();
            let read = parse(written.as_bytes()).unwrap();
            assert_eq!(read[0].label.as_deref(), Some("a \"label\"\twith\\everything"));
            assert_eq!((read[0].succeeded, read[0].is_done), (outcome == Outcome::Succeeded, is_done(outcome)));
            assert_eq!((read[0].ran, read[0].started.as_secs()), (Duration::from_millis(1500), 1_700_000_000));

            let columns = HEADER.to_owned() + &line("echo\ttab\nbreak", outcome).columns();
            let read = parse(columns.as_bytes()).unwrap();
            assert_eq!(read[0].label.as_deref(), Some("echo\ttab\\nbreak"));
            assert_eq!((read[0].job, read[0].succeeded), (7, outcome == Outcome::Succeeded));
        }
    }

    #[test]
    fn a_line_cut_at_any_byte_counts_for_nothing_and_is_no_error() {
        let whole = line("first", Outcome::Succeeded).json();
        let torn = line("second", Outcome::Failed).json();
        for cut in 0..torn.len() {
            let read = parse((whole.clone() + &torn[..cut]).as_bytes()).unwrap();
            assert_eq!(read.len(), 1, "cut at {cut}");
        }
        assert_eq!(parse((whole + &torn).as_bytes()).unwrap().len(), 2);
    }

    #[test]
    fn a_line_of_something_else_is_an_error_that_names_it() {
        let error = parse(b"{}\n").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(error.to_string().contains("line 1"), "{error}");
        assert!(parse(format!("{HEADER}1\t:\tnow\n").as_bytes()).unwrap_err().to_string().contains("line 2"));
    }
}
