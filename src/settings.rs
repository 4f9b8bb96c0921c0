//! What stays of a pool's options while it runs.

use crate::dispatcher::Dispatcher;
use crate::options::Stderr;
use crate::stats::Stats;
use hirelings_worker_kit::wire::{BufferPool, Codec};
use parking_lot::Mutex;
use std::sync::{Arc, OnceLock};

/// What stays of a pool's options while it runs, and what its threads and its handles share. Each keeps a copy.
#[derive(Clone)]
pub(crate) struct Settings {
    /// The pool's name.
    pub(crate) name: Arc<str>,
    pub(crate) job_type: &'static str,
    pub(crate) codec: Codec,
    pub(crate) max_frame: usize,
    pub(crate) stderr: Stderr,
    /// The names of the sites.
    pub(crate) sites: Arc<[Arc<str>]>,
    /// Whether the backlog is limited: then a caller has to wait until its job is admitted or refused.
    pub(crate) is_limited: bool,
    /// How many jobs `map` enqueues before it returns the first result, at least.
    pub(crate) look_ahead: usize,
    /// Buffers for large jobs and answers.
    pub(crate) buffers: Arc<BufferPool>,
    pub(crate) dispatcher: Arc<Dispatcher>,
    /// Where the last figures are left.
    pub(crate) last_stats: Arc<Mutex<Stats>>,
    /// How many jobs were not settled when the pool was ended, once it is.
    pub(crate) given_up: Arc<OnceLock<u64>>,
}
