//! What `hirelings-observe` shows of a pool, and the example `parallel` that uses all of it.

mod browser;
mod figures;
mod job_log;
mod metrics;
mod parallel;
mod recorder;
mod terminal;
mod timeline;
mod tools;
