//! The command line.

use lexopt::prelude::*;
use std::ffi::OsString;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::thread;
use std::time::Duration;

pub(crate) const HELP: &str = "\
Makes a thumbnail of every picture, and a contact sheet: one picture of them all.

Usage: thumbnails [OPTIONS] [FILE | FOLDER]...

Folders are searched for pictures (png, jpeg, gif, webp, bmp); files are taken whatever their name is.
Without any, sample pictures are drawn first, some of them hostile.

Options:
  --out DIR          where everything is written [target/thumbnails]
  --size PIXELS      the longer side of a thumbnail [128]
  --jobs N           how many pictures at a time, each in a process of its own [one a core]
  --timeout SECONDS  how long one picture may take [10, a sample 2]
  --samples N        how many good samples to draw [300]
  --unconfined       let the decoders do what they like, where the system cannot confine them (it needs Linux 6.2)
  --help             this text

Ends with 0 if all went well (samples: as expected), 1 if not, 2 for a bad option, 130 after Ctrl-C.
";

pub(crate) struct Args {
    pub(crate) help: bool,
    /// Files and folders; none for the samples.
    pub(crate) paths: Vec<PathBuf>,
    pub(crate) out: PathBuf,
    pub(crate) size: u32,
    pub(crate) jobs: usize,
    pub(crate) timeout: Duration,
    pub(crate) samples: usize,
    pub(crate) confined: bool,
}

/// Reads the command line.
pub(crate) fn parse() -> Result<Args, lexopt::Error> {
    let mut paths = Vec::new();
    let mut confined = true;
    let (mut help, mut out, mut size, mut jobs, mut timeout, mut samples) = (false, None, None, None, None, None);
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Short('h') | Long("help") => help = true,
            Long("out") => out = Some(parser.value()?.into()),
            Long("size") => size = Some(number("--size", parser.value()?, 16..=2048)?),
            Long("jobs") => jobs = Some(number("--jobs", parser.value()?, 1..=256)?),
            Long("timeout") => timeout = Some(number("--timeout", parser.value()?, 0.01..=86_400.0)?),
            Long("samples") => samples = Some(number("--samples", parser.value()?, 1..=10_000)?),
            Long("unconfined") => confined = false,
            Value(path) => paths.push(path.into()),
            _ => return Err(arg.unexpected()),
        }
    }
    if samples.is_some() && !paths.is_empty() {
        return Err("--samples is for sample pictures, and goes without files and folders".into());
    }
    Ok(Args {
        help,
        out: out.unwrap_or_else(|| "target/thumbnails".into()),
        size: size.unwrap_or(128),
        jobs: jobs.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from)),
        timeout: Duration::from_secs_f64(timeout.unwrap_or(if paths.is_empty() { 2.0 } else { 10.0 })),
        samples: samples.unwrap_or(300),
        confined,
        paths,
    })
}

/// An option's value: a number of that range.
fn number<N>(option: &str, value: OsString, range: RangeInclusive<N>) -> Result<N, lexopt::Error>
where
    N: FromStr + PartialOrd + Display,
{
    let number = value.to_str().and_then(|value| value.parse().ok()).filter(|number| range.contains(number));
    let (least, most) = range.into_inner();
    number.ok_or_else(|| format!("{option} takes a number from {least} to {most}, not {value:?}").into())
}
