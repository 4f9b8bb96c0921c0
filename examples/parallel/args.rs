//! The command line.

use lexopt::prelude::*;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

pub(crate) const HELP: &str = "\
Runs a command for each line of standard input, many at a time.

Usage: parallel [OPTIONS] [COMMAND [WORD]...] [::: ARGUMENT...]

In the command {} stands for the line, {.} for the line without its extension, {/} for what follows its last slash,
{//} for what precedes it, {/.} for {/} without its extension, and {#} for its number. Without any of them the line comes
last, and without a command the line is the command. The shell is /bin/sh.

Options:
  -j, --jobs N           so many at a time [one a core]
  -k, --keep-order       print in the order of the lines
  -a, --arg-file FILE    lines come from a file
  -0, --null             lines end with a zero byte
      --retries N        run one that fails up to N times in all [1]
      --timeout SECONDS  end one that takes longer
      --halt WHEN        never; soon,fail=N: begin no more once N have failed; now,fail=N: and end those that run;
                         success=N and done=N likewise
      --joblog FILE      a line for each that ends, in the columns of GNU parallel
      --resume           leave out what the job log has, and go on with it
      --bar, --top       show how far it is, or what each worker does
      --timeline FILE    write what happened when, as a page of HTML
      --help             this text

Ctrl-C once: begin no more, and finish what runs. Twice: end at once.
Ends with the number that failed, at most 101; 255 for a bad option.
";

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Reason {
    Fail,
    Success,
    Done,
}

/// When to begin no more, and whether to end at once what runs.
#[derive(Clone, Copy)]
pub(crate) struct Halt {
    pub(crate) now: bool,
    pub(crate) reason: Reason,
    pub(crate) count: u64,
}

#[derive(Default)]
pub(crate) struct Args {
    pub(crate) help: bool,
    pub(crate) jobs: Option<usize>,
    pub(crate) keep_order: bool,
    pub(crate) file: Option<PathBuf>,
    pub(crate) null: bool,
    pub(crate) tries: u32,
    pub(crate) timeout: Option<Duration>,
    pub(crate) halt: Option<Halt>,
    pub(crate) joblog: Option<PathBuf>,
    pub(crate) resume: bool,
    pub(crate) bar: bool,
    pub(crate) top: bool,
    pub(crate) timeline: Option<PathBuf>,
    /// The words of the command, with spaces between.
    pub(crate) template: Vec<u8>,
    /// What follows `:::`.
    pub(crate) lines: Option<Vec<OsString>>,
}

pub(crate) fn parse() -> Result<Args, lexopt::Error> {
    let mut args = Args { tries: 1, ..Args::default() };
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Short('h') | Long("help") => args.help = true,
            Short('j') | Long("jobs") => args.jobs = Some(parser.value()?.parse_with(at_least_one)?),
            Short('k') | Long("keep-order") => args.keep_order = true,
            Short('a') | Long("arg-file") => args.file = Some(parser.value()?.into()),
            Short('0') | Long("null") => args.null = true,
            Long("retries") => args.tries = parser.value()?.parse_with(at_least_one)?,
            Long("timeout") => args.timeout = Some(parser.value()?.parse_with(seconds)?),
            Long("halt") => args.halt = parser.value()?.parse_with(halt)?,
            Long("joblog") => args.joblog = Some(parser.value()?.into()),
            Long("resume") => args.resume = true,
            Long("bar") => args.bar = true,
            Long("top") => args.top = true,
            Long("timeline") => args.timeline = Some(parser.value()?.into()),
            // From its first word on the command is taken as it is.
            Value(first) => {
                let mut words = vec![first];
                words.extend(parser.raw_args()?);
                if let Some(at) = words.iter().position(|word| word == ":::") {
                    args.lines = Some(words.split_off(at).split_off(1));
                }
                args.template = words.join(OsStr::new(" ")).into_vec();
            }
            _ => return Err(arg.unexpected()),
        }
    }
    match (args.resume, args.joblog.is_some(), args.bar && args.top) {
        (true, false, _) => Err("--resume needs --joblog, which says what is done".into()),
        (_, _, true) => Err("--bar and --top are shown in the same place".into()),
        _ => Ok(args),
    }
}

fn at_least_one<N: FromStr + PartialOrd + From<u16>>(text: &str) -> Result<N, &'static str> {
    text.parse().ok().filter(|number| *number >= N::from(1)).ok_or("a number from 1 is wanted")
}

fn seconds(text: &str) -> Result<Duration, &'static str> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.filter(|limit| !limit.is_zero()).ok_or("a number of seconds is wanted")
}

fn halt(text: &str) -> Result<Option<Halt>, &'static str> {
    let wrong = "never, or soon or now with ,fail=N or ,success=N or ,done=N is wanted";
    if text == "never" {
        return Ok(None);
    }
    let (when, what) = text.split_once(',').ok_or(wrong)?;
    let (reason, count) = what.split_once('=').ok_or(wrong)?;
    let now = ["soon", "now"].iter().position(|known| *known == when).ok_or(wrong)? == 1;
    let reasons = [("fail", Reason::Fail), ("success", Reason::Success), ("done", Reason::Done)];
    let (_, reason) = *reasons.iter().find(|(name, _)| *name == reason).ok_or(wrong)?;
    Ok(Some(Halt { now, reason, count: at_least_one(count)? }))
}
