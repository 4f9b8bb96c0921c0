//! Counts the words of files, and says how far each of them is.
//!
//! ```text
//! cargo run --example word_count -- README.md docs/*.md
//! ```

#![allow(clippy::print_stdout, reason = "a program may speak")]

use hirelings::worker::{Context, Outcome};
use hirelings::{Job, Pool, as_completed, worker};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::error::Error;
use std::{env, fs};

#[derive(Serialize, Deserialize)]
struct CountWords {
    path: String,
}

impl Job for CountWords {
    type Output = BTreeMap<String, u64>;
    /// How many hundredths are done.
    type Progress = usize;
    type Error = String;
}

fn count(CountWords { path }: CountWords, ctx: &mut Context<CountWords>) -> Outcome<CountWords> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let lines: Vec<&str> = text.lines().collect();
    let mut words = BTreeMap::new();
    let mut done = 0;
    for part in lines.chunks(lines.len().div_ceil(4).max(1)) {
        for word in part.iter().flat_map(|line| line.split_whitespace()) {
            *words.entry(word.to_lowercase()).or_default() += 1;
        }
        done += part.len();
        ctx.progress(&(100 * done / lines.len()));
    }
    Ok(words)
}

fn main() -> Result<(), Box<dyn Error>> {
    worker::init(count);

    let pool = Pool::<CountWords>::self_exec().build()?;
    let paths: Vec<String> = env::args().skip(1).collect();
    let request = |path: &String| {
        let name = path.clone();
        let request = pool.request(CountWords { path: path.clone() }).label(path);
        request.on_progress(move |hundredths| println!("{name}: {hundredths} %")).enqueue()
    };
    let mut all = BTreeMap::<String, u64>::new();
    for (position, result) in as_completed(paths.iter().map(request)) {
        match result {
            Ok(words) => words.into_iter().for_each(|(word, count)| *all.entry(word).or_default() += count),
            Err(error) => println!("{}: {error}", paths[position]),
        }
    }
    // Results do not wait for hooks; this does.
    pool.exit();
    let mut most: Vec<_> = all.iter().collect();
    most.sort_by_key(|&(word, count)| (Reverse(count), word));
    println!("{} words, {} of them different", all.values().sum::<u64>(), all.len());
    most.iter().take(3).for_each(|(word, count)| println!("{count:>6} {word}"));
    Ok(())
}
