//! Tests that count what their process has, or set what is the whole process's: each has a process of its own.
//!
//! Each begins with `alone!()`: see `hirelings_tests::alone`.

mod ending;
mod floods;
mod idle;
mod leftovers;
mod log_lines;
mod signals;
mod slurm;
