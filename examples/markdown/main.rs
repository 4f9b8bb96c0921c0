//! A worker in Node, which renders Markdown; it needs `node`, and the feature `json`.
//!
//! `cargo run --features json --example markdown`

#![allow(clippy::print_stdout, reason = "a program may speak")]

use hirelings::{Codec, Job, Pool};
use serde::{Deserialize, Serialize};

/// A text in Markdown, which becomes HTML.
#[derive(Serialize, Deserialize)]
struct Markdown {
    text: String,
}

impl Job for Markdown {
    type Output = String;
    type Progress = ();
    type Error = String;
}

const TEXTS: [&str; 3] =
    ["# A work queue\n\nOn *child* processes.", "- a **crash**\n- costs `one` job", "1 < 2 & so on"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let worker = hirelings::node_module(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/markdown/worker.js"));
    let pool = Pool::<Markdown>::builder(worker).codec(Codec::Json).max_processes(2).build()?;
    for html in pool.map(TEXTS.map(|text| Markdown { text: text.into() })) {
        println!("{}", html?);
    }
    Ok(())
}
