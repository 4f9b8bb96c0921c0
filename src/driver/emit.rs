//! Events and lines of the log, handed to the hook thread.

use super::Driver;
use crate::budget::Charge;
use crate::dispatcher::Notification;
use crate::event::{EventKind, More};
use crate::id::{JobId, Slot, WorkerId};
use crate::occurrence::Occurrence;
use crate::options::Stderr;
use crate::record::JobRecord;
use crate::supervisor::WorkerKey;
use std::sync::Arc;

/// What an event is about.
#[derive(Clone, Copy, Default)]
pub(super) struct About<'a> {
    job: Option<&'a Arc<JobRecord>>,
    attempt: Option<u32>,
    worker_key: Option<WorkerKey>,
    /// A process that is no worker.
    pid: Option<u32>,
}

impl<'a> About<'a> {
    pub(super) fn job(record: &'a Arc<JobRecord>) -> Self {
        About { job: Some(record), ..About::default() }
    }

    /// A process that is no worker.
    pub(super) fn process(pid: u32) -> Self {
        About { pid: Some(pid).filter(|&pid| pid != 0), ..About::default() }
    }

    pub(super) fn worker(worker_key: WorkerKey) -> Self {
        About { worker_key: Some(worker_key), ..About::default() }
    }

    pub(super) fn held(held: &'a Option<(Arc<JobRecord>, u32)>, worker_key: WorkerKey) -> Self {
        match held {
            Some((record, attempt)) => About::attempt(record, *attempt, Some(worker_key)),
            None => About::worker(worker_key),
        }
    }

    pub(super) fn attempt(record: &'a Arc<JobRecord>, attempt: u32, worker_key: Option<WorkerKey>) -> Self {
        About { job: Some(record), attempt: (attempt > 0).then_some(attempt), worker_key, pid: None }
    }
}

impl Driver {
    pub(super) fn emit_event(&self, kind: EventKind, about: About<'_>, more: impl FnOnce() -> More) {
        self.emit_charged(kind.alone(), about, more, None);
    }

    /// Emits events that come at once, one of each kind, and have nothing of their own.
    pub(super) fn emit_events(&self, kinds: &'static [EventKind], about: About<'_>) {
        self.emit_charged(kinds, about, || More::Nothing, None);
    }

    pub(super) fn emit_charged(
        &self,
        kinds: &'static [EventKind],
        about: About<'_>,
        more: impl FnOnce() -> More,
        charge: Option<&Arc<Charge>>,
    ) {
        if !self.hooks.wants(kinds) {
            return;
        }
        let occurrence = Occurrence {
            kinds,
            job: about.job.map(|record| JobId(record.id)),
            label: about.job.and_then(|record| record.label()),
            worker: about.worker_key.map(|worker_key| WorkerId(worker_key.worker)),
            slot: about.worker_key.map(|worker_key| Slot(worker_key.slot)),
            site: about.worker_key.and_then(|worker_key| self.site(worker_key.slot)),
            pid: about.worker_key.map(|worker_key| self.workers.pid(worker_key)).filter(|&pid| pid != 0).or(about.pid),
            attempt: about.attempt,
            at: u64::try_from(self.now.as_nanos()).unwrap_or(u64::MAX),
            more: more(),
        };
        self.hooks.emit(occurrence, charge.cloned());
    }

    /// A line for the program's log, written by the hook thread: a logger is the user's code.
    pub(super) fn log(&self, level: log::Level, line: impl FnOnce() -> String) {
        if level <= log::max_level() {
            self.hooks.queue(Notification::Log(level, format!("{:?}: {}", self.settings.name, line())));
        }
    }

    /// Lines that a process of the pool has printed: forwarded, logged and emitted, as is wanted.
    pub(super) fn emit_stderr(&self, lines: &[u8], charge: Charge, about: About<'_>, who: impl Fn() -> String) {
        let charge = Arc::new(charge);
        let mode = self.settings.stderr;
        if mode == Stderr::Forward {
            self.hooks.queue(Notification::Forward(lines.into(), Some(Arc::clone(&charge))));
        }
        if mode != Stderr::Log && !self.hooks.wants(&[EventKind::WorkerStderr]) {
            return;
        }
        for line in lines_of(lines) {
            if mode == Stderr::Log {
                self.log(log::Level::Info, || format!("{}: {line}", who()));
            }
            self.emit_charged(&[EventKind::WorkerStderr], about, || More::Stderr(line), Some(&charge));
        }
    }

    // ------------------------------------------------------------ what a worker is called

    /// The name of the site that a slot is in.
    pub(super) fn site(&self, slot: usize) -> Option<Arc<str>> {
        self.settings.sites.get(self.machine.site_of(slot)?).cloned()
    }

    /// What a line of the log calls a worker.
    pub(super) fn named(&self, worker_key: WorkerKey) -> String {
        let pid = self.workers.pid(worker_key);
        match self.site(worker_key.slot) {
            Some(site) => format!("worker process {pid} at site {site}"),
            None => format!("worker process {pid}"),
        }
    }
}

/// The lines in what was printed.
fn lines_of(printed: &[u8]) -> impl Iterator<Item = String> {
    let lines = printed.strip_suffix(b"\n").unwrap_or(printed);
    lines.split(|&byte| byte == b'\n').map(|line| String::from_utf8_lossy(line).into_owned())
}
