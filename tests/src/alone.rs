//! A process for one test alone.
//!
//! Tests that count what their process has (threads, descriptors, children, memory), or that set what is the whole
//! process's, cannot share it with others. A lock would do for those that take it, and fail all of them where one does not,
//! or where the harness itself has one more thread. So such a test begins with [`alone!`](crate::alone!): the harness's
//! process starts this executable once more for that test only, and reports what became of it. The tests may then run at
//! the same time as any other.

use crate::Scratch;
use std::env;
use std::fs::{self, File};
use std::process::{Command, Stdio};

/// Names the one test that this process is for.
const ALONE: &str = "HIRELINGS_ALONE";

/// The first statement of a test that is to have a process of its own: in any other process it starts that one, waits for
/// it, fails where it fails, and returns from the test.
///
/// `alone!(prepare)` has a function prepare the command of that process, and keeps what it gives until the process has ended;
/// where it gives `None` the test is left out.
#[macro_export]
macro_rules! alone {
    () => {
        $crate::alone!(|_| Some(()))
    };
    ($prepare:expr) => {
        if {
            fn here() {}
            $crate::alone::ran_elsewhere(::std::any::type_name_of_val(&here), $prepare)
        } {
            return;
        }
    };
}

/// Whether the test has run in a process of its own now, or is left out; not where this is that process.
///
/// `here` is the path of a function within the test.
///
/// # Panics
///
/// Where the test has failed, with all that it has said.
pub fn ran_elsewhere<R>(here: &str, prepare: impl FnOnce(&mut Command) -> Option<R>) -> bool {
    let path = here.strip_suffix("::here").expect("the path of a function within the test");
    let (_, test) = path.split_once("::").expect("a test in a module");
    if env::var_os(ALONE).is_some_and(|name| name == test) {
        return false;
    }
    // A file and no pipe: what the test leaves behind may hold a pipe open.
    let said = Scratch::new();
    let out = File::create(said.path()).expect("a file for what it says");
    let errors = out.try_clone().expect("a descriptor");
    let mut command = Command::new(env::current_exe().expect("this program has a path"));
    command.args([test, "--exact", "--nocapture"]).env(ALONE, test).stdin(Stdio::null());
    let Some(_kept) = prepare(&mut command) else { return true };
    let status = command.stdout(out).stderr(errors).status().expect("a process for the test");
    let said = fs::read_to_string(said.path()).unwrap_or_default();
    // A test that is not found by its name would be one that passes.
    assert!(status.success() && said.contains("1 passed"), "in a process of its own, {status}:\n{said}");
    true
}
