//! A program that ends in good order: it counts the lines of the files that are named on its standard input. The first Ctrl-C,
//! or SIGTERM, lets it finish what it has, within a limit; the second ends it at once.
//!
//! ```text
//! ls *.md | cargo run --example shutdown
//! cargo run --example shutdown 5     # at most 5 seconds for what is left, in place of 25
//! ```
//!
//! [docs/shutdown.md](../docs/shutdown.md) says why it is written so, and how systemd runs it.

#![allow(clippy::print_stdout, reason = "a program may speak")]

use hirelings::{Job, JobError, Pool, worker};
use serde::{Deserialize, Serialize};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::signal_name;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Weak};
use std::time::Duration;
use std::{env, fs, io, thread};

/// Counts the lines of a file.
#[derive(Serialize, Deserialize)]
struct Lines(PathBuf);

impl Job for Lines {
    type Output = usize;
    type Progress = ();
    type Error = String;
}

/// What the main thread waits for.
enum News {
    File(PathBuf),
    /// A file was counted, or could not be.
    Done,
    /// The pool has ended before a file was counted.
    GivenUp,
    /// There are no more files.
    End,
    Stop(&'static str),
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    // Before the signals are asked for: a worker ends as its pool says.
    worker::init(|Lines(path), _| match fs::read_to_string(&path) {
        Ok(text) => Ok(text.lines().count()),
        Err(error) => Err(error.to_string()),
    });
    let limit = Duration::from_secs(env::args().nth(1).map_or(Ok(25), |seconds| seconds.parse())?);

    let pool = Arc::new(Pool::<Lines>::self_exec().timeout_working(None).build()?);
    let (news, coming) = channel();
    watch_signals(Arc::downgrade(&pool), news.clone())?;
    let names = news.clone();
    thread::spawn(move || read_names(&names));

    let (mut open, mut more) = (0, true);
    while more || open > 0 {
        match coming.recv()? {
            News::File(path) => {
                open += 1;
                count(&pool, path, news.clone());
            }
            News::Done | News::GivenUp => open -= 1,
            News::End => more = false,
            News::Stop(signal) => {
                println!("{signal}: finishing, for {limit:?} at most; once more ends it now");
                break;
            }
        }
    }
    // No more jobs are taken. `exit`, from the thread that watches signals, ends the wait. All hooks have run when it returns.
    pool.drain(limit);
    let given_up = coming.try_iter().filter(|news| matches!(news, News::GivenUp)).count();
    println!("{} files were counted, {given_up} given up", pool.stats().succeeded);
    Ok(if given_up == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn count(pool: &Pool<Lines>, path: PathBuf, news: Sender<News>) {
    let name = path.display().to_string();
    let begun = name.clone();
    pool.request(Lines(path))
        .on_start(move || println!("{begun}: begun"))
        .on_done(move |result| {
            let came_to = if matches!(result, Err(JobError::Closed)) { News::GivenUp } else { News::Done };
            match result {
                Ok(lines) => println!("{name}: {lines} lines"),
                Err(error) => println!("{name}: {error}"),
            }
            let _ = news.send(came_to);
        })
        .enqueue();
}

/// The first signal is news for the main thread; the second ends the pool, whatever the main thread does.
fn watch_signals(pool: Weak<Pool<Lines>>, news: Sender<News>) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::spawn(move || {
        let mut signals = signals.forever();
        if let Some(signal) = signals.next() {
            let _ = news.send(News::Stop(signal_name(signal).unwrap_or("a signal")));
        }
        // Weak: the pool ends with its owner.
        if signals.next().is_some()
            && let Some(pool) = pool.upgrade()
        {
            pool.exit();
        }
    });
    Ok(())
}

fn read_names(news: &Sender<News>) {
    for name in io::stdin().lines().map_while(Result::ok) {
        let _ = news.send(News::File(name.into()));
    }
    let _ = news.send(News::End);
}
