//! One thread a pool: runs the launcher and starts processes, since either may take its time.

use super::outbox::Outbox;
use super::output::Output;
use super::reader::{self, Reading};
use super::report::{Report, Started};
use crate::budget::Budget;
use crate::error::StartFailure;
use crate::id::Slot;
use crate::launch::{Launch, not_started};
use crate::limits::Limits;
use crate::panic::text_of;
use crate::settings::Settings;
use crate::supervisor::{SiteRules, WorkerKey};
use crate::sys;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use rustix::process::Pid;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::{self, JoinHandle};
use std::{io, mem};

/// How much of a worker's output may wait for those who listen to its progress.
const UNREAD: usize = 16 * 1024 * 1024;

/// Waiting for a request.
const IDLE: u8 = 0;
/// The user's launcher runs, and may do so for ever.
const PREPARING: u8 = 1;
/// A process is being started: that ends.
const STARTING: u8 = 2;
/// The pool has ended: nothing more is started.
const CLOSED: u8 = 3;

/// The supervisor's end of the spawner.
pub(crate) struct Spawner {
    requests: Sender<WorkerKey>,
    /// Workers that have been asked for and not reported.
    unanswered: BTreeSet<WorkerKey>,
    phase: Arc<AtomicU8>,
    thread: JoinHandle<()>,
    /// The launcher had not returned when the pool ended.
    stuck: bool,
}

impl Spawner {
    pub(crate) fn start(
        launch: Box<dyn Launch>,
        limits: Limits,
        settings: Settings,
        sites: Vec<SiteRules>,
        handshake: Vec<u8>,
        reports: Sender<Report>,
    ) -> io::Result<Self> {
        let (requests, asked) = unbounded();
        let phase = Arc::new(AtomicU8::new(IDLE));
        let spawning =
            Spawning { launch, limits, settings, sites, handshake, reports, asked, phase: Arc::clone(&phase) };
        let thread = thread::Builder::new().name("hirelings-spawner".into()).spawn(move || spawning.run())?;
        Ok(Spawner { requests, unanswered: BTreeSet::new(), phase, thread, stuck: false })
    }

    /// Asks for a worker. A report follows, unless the spawner is closed and found stuck before.
    pub(crate) fn spawn(&mut self, worker_key: WorkerKey) {
        self.unanswered.insert(worker_key);
        let _ = self.requests.send(worker_key);
    }

    /// Its report is here. `false` where that was given up.
    pub(crate) fn answered(&mut self, worker_key: WorkerKey) -> bool {
        self.unanswered.remove(&worker_key)
    }

    /// The pool has ended: nothing more is started.
    pub(crate) fn close(&mut self) {
        let before = self.phase.swap(CLOSED, Ordering::SeqCst);
        self.stuck |= before == PREPARING;
    }

    /// Where a launcher has not returned when the spawner was closed, no report follows for any worker, and the thread ends when
    /// it returns: gives the workers that this is so of, once the reports that were sent before are taken in.
    pub(crate) fn given_up(&mut self) -> BTreeSet<WorkerKey> {
        if self.stuck { mem::take(&mut self.unanswered) } else { BTreeSet::new() }
    }

    /// Waits for the thread, unless a launcher holds it.
    pub(crate) fn join(self) {
        drop(self.requests);
        if !self.stuck {
            let _ = self.thread.join();
        }
    }
}

struct Spawning {
    launch: Box<dyn Launch>,
    limits: Limits,
    settings: Settings,
    /// Where the slots are.
    sites: Vec<SiteRules>,
    /// Hello and init, as each worker gets them.
    handshake: Vec<u8>,
    reports: Sender<Report>,
    asked: Receiver<WorkerKey>,
    phase: Arc<AtomicU8>,
}

impl Spawning {
    fn run(mut self) {
        while let Ok(worker_key) = self.asked.recv() {
            if !self.advance(IDLE, PREPARING) {
                self.failed(worker_key, not_started("the program", "was not started: the pool has ended"));
                continue;
            }
            let prepared = catch_unwind(AssertUnwindSafe(|| self.launch.prepare(Slot(worker_key.slot))));
            if !self.advance(PREPARING, STARTING) {
                // The supervisor has given up on every request.
                return;
            }
            let started = match prepared {
                Ok(()) => self.start(worker_key),
                Err(panic) => Err(not_started("the launcher", format!("panicked: {}", text_of(&*panic)))),
            };
            if let Err(why) = started {
                self.failed(worker_key, why);
            }
            self.advance(STARTING, IDLE);
        }
    }

    /// Moves on, unless the pool has ended.
    fn advance(&self, from: u8, to: u8) -> bool {
        self.phase.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    fn failed(&self, worker_key: WorkerKey, why: StartFailure) {
        let _ = self.reports.send(Report::SpawnFailed(worker_key, why));
    }

    /// Starts a reader and a process, sends it the handshake, and lets the one read the other. What fails on the way takes the rest with it.
    fn start(&mut self, worker_key: WorkerKey) -> Result<(), StartFailure> {
        let (reading, readings) = bounded(1);
        let reader = reader::start(readings, self.reports.clone())
            .map_err(|error| not_started("a thread to read its output", format!("could not be started: {error}")))?;
        let launched = self.launch.launch(Slot(worker_key.slot))?;
        // Before the handshake: none of its jobs runs without the limits.
        if let Some(pid) = Pid::from_raw(launched.process.pid().cast_signed()) {
            sys::limit(pid, worker_key.slot, &self.limits).map_err(|error| {
                not_started(&launched.program, format!("was started, but its limits could not be set: {error}"))
            })?;
        }
        let mut outbox = Outbox::new(launched.stdin).map_err(|error| {
            not_started(&launched.program, format!("was started, but its pipe cannot be used: {error}"))
        })?;
        // Not left to the supervisor, so that it finds them when it comes up. What does not fit, the supervisor writes.
        outbox.push_bytes(&self.handshake);
        outbox.flush();
        let budget = Budget::new(UNREAD, None);
        let output = Output::new(launched.stdout);
        let process = Arc::clone(&launched.process);
        let silence = SiteRules::of(&self.sites, worker_key.slot).and_then(|site| self.sites[site].silence);
        let started = Started {
            worker_key,
            program: launched.program,
            process: launched.process,
            outbox,
            output: Arc::clone(&output),
            stderr: launched.stderr,
            budget: Arc::clone(&budget),
            reader,
            fork_server: launched.fork_server,
            silence,
        };
        // The supervisor hears of the worker before it hears of anything that the worker says.
        let _ = self.reports.send(Report::Spawned(Box::new(started)));
        let Settings { job_type, codec, max_frame, ref buffers, .. } = self.settings;
        let buffers = Arc::clone(buffers);
        let _ =
            reading.send(Reading { worker_key, output, process, budget, max_frame, codec, buffers, job_type, silence });
        Ok(())
    }
}
