//! Which attempts have begun, as the workers note it, and which jobs have succeeded, as their callers do. Jobs are known by
//! their nonces here: their numbers are unique in one pool only.

use crate::books;
use hirelings_tests::starts::{self, Start, Starts};
use std::path::PathBuf;
use std::process::exit;
use std::sync::OnceLock;
use std::{env, fs};

/// What is noted in a file of its own for each tag.
const STARTS: &str = "starts";
const SUCCESSES: &str = "successes";

fn path(tag: &str, what: &str) -> PathBuf {
    env::temp_dir().join(format!("hirelings-{tag}.{what}"))
}

fn open(tag: &str, what: &str) -> Starts {
    Starts::open(&path(tag, what)).unwrap_or_else(|error| {
        eprintln!("no file for {what}: {error}");
        exit(7)
    })
}

/// Where a worker notes what it begins.
pub fn noted_by_worker(tag: &str) -> Starts {
    open(tag, STARTS)
}

static SUCCEEDED: OnceLock<Starts> = OnceLock::new();

/// From now on this program notes its successes.
pub fn note_successes(tag: &str) {
    let _ = SUCCEEDED.set(open(tag, SUCCESSES));
}

pub fn succeeded(nonce: u64) {
    if let Some(successes) = SUCCEEDED.get() {
        successes.note(nonce, 0);
    }
}

/// All that was noted under tags that begin with this one; the files are gone then.
fn take(tag: &str, what: &str) -> Vec<Start> {
    let (begin, end) = (format!("hirelings-{tag}"), format!(".{what}"));
    let files = fs::read_dir(env::temp_dir()).into_iter().flatten().flatten();
    let files =
        files.filter(|file| file.file_name().to_str().is_some_and(|it| it.starts_with(&begin) && it.ends_with(&end)));
    let mut noted = Vec::new();
    for file in files {
        noted.extend(starts::read(&file.path()));
        let _ = fs::remove_file(file.path());
    }
    noted
}

/// What all of this run's pools have begun.
#[derive(Clone, Copy, Debug)]
pub struct Begun {
    pub attempts: u64,
    pub twice: u64,
    /// Jobs that succeeded and were never begun.
    pub never: u64,
}

/// Holds the notes of all of this run against each other, once all is over.
pub fn judge(tag: &str) -> Begun {
    let (starts, successes) = (take(tag, STARTS), take(tag, SUCCESSES));
    let twice = starts::begun_twice(&starts) as u64;
    let mut begun: Vec<u64> = starts.iter().map(|start| start.job).collect();
    begun.sort_unstable();
    let never = successes.iter().filter(|success| begun.binary_search(&success.job).is_err()).count() as u64;
    if twice > 0 {
        books::wrong(format!("{twice} attempts have begun more than once"));
    }
    if never > 0 {
        books::wrong(format!("{never} jobs have succeeded and never begun"));
    }
    Begun { attempts: starts.len() as u64, twice, never }
}
