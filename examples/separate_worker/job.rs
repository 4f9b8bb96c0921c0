//! What the two programs share. In a project of your own this is a small crate that both depend on.

use hirelings::Job;
use serde::{Deserialize, Serialize};

/// One page to be set, in a column of the width that the settings give.
#[derive(Serialize, Deserialize)]
pub(crate) struct Page {
    pub(crate) number: u32,
    pub(crate) text: String,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Rendered {
    pub(crate) lines: Vec<String>,
    /// How many pages this worker has done: it keeps its state from job to job.
    pub(crate) pages_of_this_worker: u32,
}

impl Job for Page {
    type Output = Rendered;
    /// The part that is done.
    type Progress = f32;
    type Error = String;

    // The two programs know the type under different paths. The number changes with the fields, so that a program and
    // a worker that do not fit refuse each other when the worker starts.
    fn name() -> &'static str {
        "page/1"
    }
}

/// What each worker is given when it starts.
#[derive(Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) width: usize,
}
