//! The worker program of the example `separate_worker`, which starts it: run that one.
//!
//! A worker program of your own depends on `hirelings-worker-kit` alone, and says `hirelings_worker_kit` where this one
//! says `hirelings::worker`.

#[path = "separate_worker/job.rs"]
mod job;

use hirelings::worker::{BoxError, Context, Outcome, Worker, serve_worker};
use job::{Page, Rendered, Settings};
use std::mem;

/// A worker's state: it is made once, and lives from job to job.
struct Renderer {
    width: usize,
    pages: u32,
    /// The words that are not on a line yet.
    line: String,
}

impl Worker for Renderer {
    type Job = Page;
    type Options = Settings;

    /// An error here is a start failure, which the pool's errors quote.
    fn init(options: Settings) -> Result<Self, BoxError> {
        if options.width < 8 {
            return Err(format!("a column of {} characters is too narrow", options.width).into());
        }
        Ok(Renderer { width: options.width, pages: 0, line: String::new() })
    }

    /// An error here fails this page and leaves the worker as it is. A panic replaces it.
    fn run(&mut self, page: Page, ctx: &mut Context<Page>) -> Outcome<Page> {
        if page.text.is_empty() {
            return Err(format!("page {} is empty", page.number));
        }
        self.pages += 1;
        let words: Vec<&str> = page.text.split_whitespace().collect();
        let mut lines = Vec::new();
        for (n, word) in words.iter().enumerate() {
            if !self.line.is_empty() && self.line.chars().count() + 1 + word.chars().count() > self.width {
                lines.push(mem::take(&mut self.line));
            }
            if !self.line.is_empty() {
                self.line.push(' ');
            }
            self.line.push_str(word);
            if n % 100 == 0 {
                ctx.progress(&(n as f32 / words.len() as f32));
            }
        }
        lines.push(self.line.clone());
        // What is printed in a worker goes to standard error, which the pool forwards or logs.
        Ok(Rendered { lines, pages_of_this_worker: self.pages })
    }

    /// Runs between a page's answer, for which nobody waits any longer, and the next page: the place to clean up. An
    /// error here replaces the worker.
    fn recover(&mut self) -> Result<(), BoxError> {
        self.line.clear();
        Ok(())
    }
}

fn main() {
    serve_worker::<Renderer>()
}
