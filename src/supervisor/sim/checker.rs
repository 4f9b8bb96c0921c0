//! Watches everything that goes into the machine and comes out of it, and knows the rules.

mod admission;
mod always;
mod announced;
mod cancel;
mod jobs;
mod keys;
mod leaving;
mod retries;
mod unwanted;

use crate::supervisor::{
    Action, Config, EXIT_WAIT, Effect, Input, JobKey, MaxMemory, Message, Notice, Outcome, RetryPolicy, Signal,
    StartFailed, Supervisor, Undelivered, WorkerKey, WorkerState,
};
use admission::Admission;
use announced::Announced;
use keys::Keys;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;
use unwanted::Unwanted;

/// Where a job is in the order of its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Its caller has brought it, and it is not accepted.
    New,
    Enqueued,
    Backlogged,
    /// Sent before the one in front of it was answered: still queued to everybody.
    Prefetched(WorkerKey),
    Sent(WorkerKey),
    Tasked(WorkerKey),
    Started(WorkerKey),
    Retried,
    /// Not to be queued before this.
    Delayed(Duration),
    Settled,
}

#[derive(Clone, Debug)]
struct Followed {
    key: Option<JobKey>,
    stage: Stage,
    priority: i32,
    /// Its place in the order of handing out.
    seq: u64,
    retry: RetryPolicy,
    /// It is not queued before this.
    not_before: Duration,
    delay: Duration,
    /// Whether attempts in doubt do not count, and how many did not.
    idempotent: bool,
    in_doubt: u32,
    /// After how long it is over if no worker has begun it, and when that is.
    expires: Option<Duration>,
    expires_at: Option<Duration>,
    limit: Option<Duration>,
    soft_limit: Option<Duration>,
    /// How long its payload is, in KiB.
    kib: u16,
    /// When it was announced that this attempt is its worker's.
    tasked: Duration,
    /// Whether its worker was asked, in this attempt, to end it because of that.
    soft_asked: bool,
    attempt: u32,
    since: Duration,
    /// When the worker wrote the answer to this attempt.
    written: Option<Duration>,
    /// How many workers died while they read it.
    readers: u32,
    /// Whether it was cancelled while it ran, and when its worker may be killed for it.
    cancelled: bool,
    kill_at: Option<Duration>,
}

#[derive(Clone, Debug, Default)]
struct Process {
    alive: bool,
    spawned: Duration,
    reaped: bool,
    /// A sign of its death has been seen.
    ending: bool,
    /// Whether it has said that it answers recalls while a job runs.
    recalls: bool,
    /// The jobs that it was sent and has neither answered nor skipped, in order.
    holds: VecDeque<u64>,
    /// Whether it has said that it is ready, and nothing answered since: the first that it holds is presumed begun.
    is_ready: bool,
    /// How many jobs it was sent that did not come back.
    taken: u64,
    /// Whether it has used an attempt.
    used: bool,
    /// Whether it died while it read a job.
    read_in_part: bool,
    /// The first job that it had not read when it died.
    undelivered: Option<Undelivered>,
    /// Whether it has said that it ends.
    terminal: bool,
    /// Whether it broke the protocol: nothing can be said of what it holds.
    violated: bool,
    /// When it was seen that it can be spoken to no more.
    mute_since: Option<Duration>,
    died: bool,
    released: bool,
    /// How many jobs it has answered.
    answered: u64,
    /// Whether it wants to be replaced.
    retires: bool,
    /// Whether it held so much memory that it must do no more jobs.
    over_soft_limit: bool,
    /// Whether its fork server is gone.
    orphaned: bool,
    /// Whether it was there when all were to be replaced.
    recycled: bool,
    /// Since when it is without a job.
    idle_since: Option<Duration>,
    /// When it was ready first.
    ready_at: Option<Duration>,
    /// Whether it may have been told to leave because the pool wants it no more.
    may_be_excused: bool,
    /// Whether it was told to leave because the pool wants it no more.
    excused: bool,
    /// Whether it was ever ready.
    ever_ready: bool,
    /// Whether its end was called a start failure.
    start_failed: bool,
    /// Whether it was asked for after it was known that no worker starts.
    probe: bool,
    signals: u32,
    /// Whether it was sent SIGSTOP, and not SIGCONT since.
    stopped: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Checker {
    /// The jobs that are not over, and those that this step has settled.
    jobs: BTreeMap<u64, Followed>,
    /// How many jobs are over.
    settled: u64,
    /// The keys of the jobs that are accepted and not over.
    keys: BTreeMap<JobKey, u64>,
    /// The processes that are not released, and those that this step has released.
    processes: BTreeMap<WorkerKey, Process>,
    /// How many processes are released.
    released: u64,
    max_processes: usize,
    max_jobs: u64,
    retry: RetryPolicy,
    expires: Option<Duration>,
    timeout_working: Option<Duration>,
    soft_timeout: Option<Duration>,
    min_processes: usize,
    idle_timeout: Option<Duration>,
    max_age: Option<Duration>,
    max_memory: MaxMemory,
    /// How many jobs may be prefetched to a worker.
    most_prefetched: usize,
    announced: Announced,
    admission: Admission,
    keys_of_jobs: Keys,
    /// What its worker said of the job that it holds, until that is announced.
    to_tell: Option<Message>,
    /// Who is to be asked to come to an end with a job, and within what time, in this step.
    to_cancel: Option<(WorkerKey, u64, Option<Duration>)>,
    /// The calls to abort what is queued.
    unwanted: Unwanted,
    /// The jobs that workers were asked to skip.
    recalled: BTreeSet<(WorkerKey, u64)>,
    /// The highest priority that a job was queued with in this step, and who has come to be over its soft limit in it.
    pressing: Option<i32>,
    over_soft_limit: Option<WorkerKey>,
    /// Whose fork server is gone since this step.
    orphaned: Option<WorkerKey>,
    /// Who is over its soft limit of memory since this step, until that is announced.
    awaits_over_soft_limit: Option<WorkerKey>,
    next_seq: u64,
    now: Duration,
    exited: bool,
    /// Whether nothing may be begun.
    paused: bool,
    idle: bool,
    counts: [u64; 4],
    /// Workers whose job was taken from them: they must be on their way out.
    doomed: Vec<WorkerKey>,
    /// Whether no worker started, before this input.
    circuit_open: bool,
    /// Whether it became known with this input.
    opens: bool,
    /// Whether the start that failed last was a probe.
    probed: bool,
    /// Jobs that were aborted while they were prefetched.
    aborted_prefetched: BTreeMap<u64, WorkerKey>,
    pub(super) retried: u64,
    pub(super) prefetched: u64,
    pub(super) came_back: u64,
    pub(super) killed: u64,
}

/// How many workers may die while they read a job, before that costs it an attempt.
const READERS: u32 = 2;

/// How long after its limit a job may be held: its worker is heard out, recalled from, stopped, and heard out again.
const SLACK: Duration = Duration::from_secs(2);

type Found = Result<(), String>;

impl Checker {
    pub(super) fn new(config: &Config) -> Self {
        Checker {
            jobs: BTreeMap::new(),
            settled: 0,
            keys: BTreeMap::new(),
            processes: BTreeMap::new(),
            released: 0,
            max_processes: config.max_processes,
            max_jobs: config.max_jobs_per_process.unwrap_or(u64::MAX),
            retry: config.retry,
            expires: config.expires,
            timeout_working: config.timeout_working,
            soft_timeout: config.soft_timeout,
            min_processes: config.min_processes,
            idle_timeout: config.idle_timeout,
            max_age: config.max_age,
            max_memory: config.max_memory,
            most_prefetched: usize::try_from(config.prefetch).unwrap_or(usize::MAX),
            announced: Announced::new(config),
            admission: Admission::new(config),
            keys_of_jobs: Keys::default(),
            to_tell: None,
            to_cancel: None,
            unwanted: Unwanted::default(),
            recalled: BTreeSet::new(),
            pressing: None,
            over_soft_limit: None,
            orphaned: None,
            awaits_over_soft_limit: None,
            next_seq: 0,
            now: Duration::ZERO,
            exited: false,
            paused: false,
            idle: true,
            counts: [0; 4],
            doomed: Vec::new(),
            circuit_open: false,
            opens: false,
            probed: false,
            aborted_prefetched: BTreeMap::new(),
            retried: 0,
            prefetched: 0,
            came_back: 0,
            killed: 0,
        }
    }

    pub(super) fn job_count(&self) -> u64 {
        self.settled + self.jobs.len() as u64
    }

    pub(super) fn unsettled(&self) -> impl Iterator<Item = JobKey> {
        self.jobs.values().filter(|job| job.stage != Stage::Settled).filter_map(|job| job.key)
    }

    /// How many jobs are accepted that no worker has begun.
    fn backlog_len(&self) -> usize {
        self.jobs.values().filter(|job| job.is_in_backlog()).count()
    }

    pub(super) fn new_job(
        &mut self,
        id: u64,
        priority: i32,
        retry: Option<RetryPolicy>,
        limit: Option<Option<Duration>>,
    ) {
        let job = Followed {
            key: None,
            stage: Stage::New,
            priority,
            seq: 0,
            retry: retry.unwrap_or(self.retry),
            not_before: Duration::ZERO,
            delay: Duration::ZERO,
            idempotent: false,
            in_doubt: 0,
            expires: self.expires,
            expires_at: None,
            limit: limit.unwrap_or(self.timeout_working),
            soft_limit: self.soft_timeout,
            kib: 0,
            tasked: Duration::ZERO,
            soft_asked: false,
            attempt: 0,
            since: Duration::ZERO,
            written: None,
            readers: 0,
            cancelled: false,
            kill_at: None,
        };
        self.jobs.insert(id, job);
    }

    /// The job has a soft limit of its own, or none.
    pub(super) fn new_soft_limit(&mut self, id: u64, limit: Option<Duration>) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.soft_limit = limit;
        }
    }

    /// How long the job's payload is, in KiB.
    pub(super) fn new_size(&mut self, id: u64, kib: u16) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.kib = kib;
        }
    }

    /// The worker has written its answer to the job, whenever that is read.
    pub(super) fn written(&mut self, now: Duration, id: u64, worker_key: WorkerKey) {
        if self.is_at(id, worker_key)
            && let Some(job) = self.jobs.get_mut(&id)
        {
            job.written = Some(now);
        }
    }

    /// Whether it is said of a worker that is on its way out, so that it does not count.
    pub(super) fn too_late(machine: &Supervisor, input: &Input) -> bool {
        match input {
            Input::Message { worker_key, .. } => machine.worker(*worker_key).is_none(),
            Input::Resident { worker_key, .. } => {
                machine.worker(*worker_key).is_none_or(|worker| worker.state() == WorkerState::Exiting)
            }
            _ => false,
        }
    }

    /// Whether the job is still that worker's: no attempt of it is over.
    pub(super) fn is_at(&self, job: u64, worker_key: WorkerKey) -> bool {
        self.jobs.get(&job).is_some_and(|job| match job.stage {
            Stage::Prefetched(of) | Stage::Sent(of) | Stage::Tasked(of) | Stage::Started(of) => of == worker_key,
            _ => false,
        })
    }

    /// Whether the job is the first of those that its worker holds, so that it is presumed begun.
    fn may_have_begun(&self, id: u64, worker_key: WorkerKey) -> bool {
        self.processes.get(&worker_key).is_some_and(|process| process.is_ready && process.holds.front() == Some(&id))
    }

    /// Nobody waits behind another job. One that was recalled too late may run for ever, where it has no limit.
    pub(super) fn none_is_prefetched(&self) -> Found {
        let waits = |id: u64, stage| matches!(stage, Stage::Prefetched(of) if !self.may_have_begun(id, of));
        let prefetched = self.jobs.iter().find(|(id, job)| waits(**id, job.stage));
        ensure(prefetched.is_none(), || format!("nobody has recalled {prefetched:?}"))
    }

    /// Whether `input` is the answer to the attempt that its worker holds: it must count.
    pub(super) fn is_awaited(&self, input: &Input) -> bool {
        let Input::Message { worker_key, message: Message::Answer { job, .. }, .. } = input else { return false };
        self.is_at(*job, *worker_key)
    }

    /// Whether a job of a higher priority is queued. One that was queued in this step may have been sent in it as well.
    fn is_pressed(&self, priority: i32) -> bool {
        self.jobs.values().any(|job| job.stage == Stage::Backlogged && job.priority > priority)
    }

    /// What a step must not leave out.
    pub(super) fn is_complete(&self, input: &Input) -> Found {
        let steered = matches!(input, Input::SetMaxProcesses(_) | Input::Recycle | Input::Pause);
        let recalls = self.over_soft_limit.is_some() || self.orphaned.is_some() || self.pressing.is_some() || steered;
        let kept = self.jobs.iter().filter(|_| recalls).find(|(id, job)| {
            let Stage::Prefetched(worker_key) = job.stage else { return false };
            let lasts = self.processes.get(&worker_key).is_some_and(|of| !of.violated && !of.ending && !of.retires)
                && !self.announced.is_exiting(worker_key);
            let unwanted = self.over_soft_limit == Some(worker_key)
                || self.orphaned == Some(worker_key)
                || self.pressing.is_some_and(|pressing| job.priority < pressing && self.is_pressed(job.priority))
                || self.paused
                || self.is_dismissed(worker_key);
            unwanted && lasts && !self.recalled.contains(&(worker_key, **id))
        });
        ensure(kept.is_none(), || format!("nobody recalls {kept:?}"))?;
        ensure(self.awaits_over_soft_limit.is_none(), || {
            format!("nobody is told that {:?} is over its soft limit", self.awaits_over_soft_limit)
        })?;
        match (input, self.to_tell) {
            (
                Input::Message { worker_key, message: Message::Start { job } | Message::Progress { job }, .. },
                Some(message),
            ) => {
                let still = self.jobs.get(job).is_some_and(|job| job.stage == Stage::Tasked(*worker_key));
                ensure(!still && !matches!(message, Message::Progress { .. }), || {
                    format!("nobody announces {message:?}")
                })
            }
            (Input::Abort(JobKey { id, .. }), _) => {
                let open = self.jobs.get(id).is_some_and(|job| job.stage != Stage::Settled);
                ensure(!open, || format!("job {id} is aborted and not over"))
            }
            (Input::Cancel { key: JobKey { id, .. }, .. }, _) => {
                let open = self.jobs.get(id).is_some_and(|job| job.stage != Stage::Settled && !job.cancelled);
                ensure(!open, || format!("job {id} has not begun, is cancelled and not over"))
            }
            _ => Ok(()),
        }
    }

    /// An answer that was awaited has been heard.
    pub(super) fn answer_counts(&self, input: &Input) -> Found {
        let Input::Message { message: Message::Answer { job, .. }, .. } = input else { return Ok(()) };
        let over = |stage| matches!(stage, Stage::Settled | Stage::Backlogged | Stage::Delayed(_));
        let open = self.jobs.get(job).is_some_and(|job| !over(job.stage));
        ensure(!open || self.is_retried(*job), || format!("the answer to job {job} is lost"))
    }

    /// Whether the pool wants the worker no more: there are to be fewer, or all were to be replaced.
    fn is_dismissed(&self, worker_key: WorkerKey) -> bool {
        worker_key.slot >= self.max_processes || self.processes.get(&worker_key).is_some_and(|of| of.recycled)
    }

    /// Whether another attempt at the job has been begun by the same step.
    fn is_retried(&self, job: u64) -> bool {
        self.jobs
            .get(&job)
            .is_some_and(|job| matches!(job.stage, Stage::Sent(_) | Stage::Tasked(_) | Stage::Prefetched(_)))
    }

    /// What goes in; `unheard` where it is not to count.
    pub(super) fn input(&mut self, now: Duration, input: &Input, unheard: bool) {
        self.now = now;
        self.announced.input(now, input);
        self.opens = false;
        self.admission.input(input);
        (self.pressing, self.over_soft_limit, self.awaits_over_soft_limit) = (None, None, None);
        self.orphaned = None;
        self.to_tell = match *input {
            Input::Message {
                worker_key,
                message: message @ (Message::Start { job } | Message::Progress { job }),
                ..
            } => {
                let held = self.jobs.get(&job).map(|job| job.stage);
                Some(message)
                    .filter(|_| held == Some(Stage::Tasked(worker_key)) || held == Some(Stage::Started(worker_key)))
            }
            _ => None,
        };
        match *input {
            Input::Resident { worker_key, bytes } if !unheard => self.resident(worker_key, bytes, false),
            Input::Message { worker_key, resident: Some(bytes), .. } if !unheard => {
                self.resident(worker_key, bytes, true);
            }
            _ => {}
        }
        let front = self.speaker(input).filter(|of| of.is_ready).and_then(|of| of.holds.front().copied());
        self.follow_queue(now, input);
        let believed = self.speaker(input).is_some_and(|of| !of.violated);
        self.keys_of_jobs.input(input, front, believed);
        if let Input::Exited { worker_key, .. } | Input::StdoutClosed(worker_key) | Input::StdinBroken(worker_key) =
            input
            && let Some(process) = self.processes.get_mut(worker_key)
        {
            process.ending = true;
            process.mute_since.get_or_insert(now);
        }
        if let Input::Ended(worker_key) = input
            && let Some(process) = self.processes.get_mut(worker_key)
        {
            process.ending = true;
        }
        self.to_cancel = None;
        match input {
            Input::Cancel { key, grace } => self.cancelled(now, *key, *grace),
            Input::AbortQueued { call, only } => self.unwanted(now, *call, *only),
            Input::SetMaxProcesses(most) if !self.exited => self.max_processes = *most,
            Input::Recycle if !self.exited => {
                let (announced, processes) = (&self.announced, &mut self.processes);
                let lasting =
                    processes.iter_mut().filter(|(worker_key, of)| of.alive && !announced.is_exiting(**worker_key));
                lasting.for_each(|(_, process)| process.recycled = true);
            }
            Input::Pause => self.paused = !self.admission.is_closed(),
            Input::Resume | Input::Close => self.paused = false,
            Input::Exit => (self.exited, self.paused) = (true, false),
            Input::Exited { worker_key, undelivered } => {
                let in_part = undelivered.is_some_and(|of| of.in_part);
                if let Some(process) = self.processes.get_mut(worker_key) {
                    process.alive = false;
                    process.reaped = true;
                    process.read_in_part = in_part && process.is_ready;
                    process.undelivered = *undelivered;
                }
            }
            Input::Message { worker_key, message: Message::Start { job } | Message::Progress { job }, .. }
                if self.aborted_prefetched.get(job) == Some(worker_key) =>
            {
                self.doomed.push(*worker_key);
            }
            Input::SpawnFailed(worker_key) => {
                let process = self.processes.remove(worker_key);
                self.probed = process.is_some_and(|process| process.probe);
            }
            Input::Orphaned(worker_key) => {
                if let Some(process) = self.processes.get_mut(worker_key) {
                    process.orphaned = true;
                    // One that is on its way out begins nothing more anyway: its death brings back what lies at it.
                    self.orphaned = Some(*worker_key).filter(|_| !self.announced.is_exiting(*worker_key));
                }
            }
            Input::Message { message: Message::Skipped { job }, .. } if !unheard => self.back(*job),
            Input::Message { worker_key, message: Message::Retire, .. } if !unheard => {
                if let Some(process) = self.processes.get_mut(worker_key) {
                    process.retires = true;
                }
            }
            _ => {}
        }
    }

    /// The worker whose message this is.
    fn speaker(&self, input: &Input) -> Option<&Process> {
        let Input::Message { worker_key, .. } = input else { return None };
        self.processes.get(worker_key)
    }

    fn resident(&mut self, worker_key: WorkerKey, bytes: u64, at_rest: bool) {
        let MaxMemory { soft, hard } = self.max_memory;
        let over_hard = !at_rest && hard.is_some_and(|hard| bytes > hard);
        if over_hard {
            self.doomed.push(worker_key);
        }
        if let Some(process) = self.processes.get_mut(&worker_key) {
            // One that is large from its start on does a job all the same.
            let works = if process.is_ready { !process.holds.is_empty() } else { process.ever_ready };
            let over_soft = works && soft.or(hard).is_some_and(|limit| bytes > limit);
            self.awaits_over_soft_limit =
                Some(worker_key).filter(|_| over_soft && !over_hard && !process.over_soft_limit);
            process.over_soft_limit |= over_soft || over_hard;
        }
    }

    /// What a worker holds is one queue, and answers come in its order.
    fn follow_queue(&mut self, now: Duration, input: &Input) {
        let (worker_key, message) = match input {
            Input::Hello { worker_key, recalls } => {
                if let Some(process) = self.processes.get_mut(worker_key) {
                    process.recalls = *recalls;
                }
                return;
            }
            Input::Message { worker_key, message, .. } => (worker_key, message),
            _ => return,
        };
        let Some(process) = self.processes.get_mut(worker_key) else { return };
        let before = process.is_ready.then(|| process.holds.front().copied()).flatten();
        match message {
            Message::Ready => {
                process.violated |= process.is_ready || process.terminal;
                (process.is_ready, process.ever_ready) = (true, true);
                process.ready_at.get_or_insert(now);
            }
            Message::Answer { job, ready, .. } => {
                process.violated |= process.terminal || !process.holds.contains(job);
                process.used |= before == Some(*job);
                process.holds.retain(|of| of != job);
                process.is_ready = *ready;
            }
            Message::Skipped { job } => {
                let held = process.holds.len();
                process.holds.retain(|of| of != job);
                process.taken -= (held - process.holds.len()) as u64;
            }
            Message::Terminal { .. } => (process.is_ready, process.terminal) = (false, true),
            Message::Start { .. } | Message::Progress { .. } | Message::Retire => {}
        }
        let front = process.is_ready.then(|| process.holds.front().copied()).flatten();
        if front != before
            && let Some(job) = front.and_then(|id| self.jobs.get_mut(&id))
        {
            (job.since, job.written, job.soft_asked) = (now, None, false);
        }
    }

    /// A job that was prefetched is queued again, in its old place.
    fn back(&mut self, id: u64) {
        if let Some(job) = self.jobs.get_mut(&id)
            && let Stage::Prefetched(_) = job.stage
        {
            job.stage = Stage::Backlogged;
            self.came_back += 1;
        }
    }

    fn all_back(&mut self, worker_key: WorkerKey) {
        let prefetched = self.jobs.iter().filter(|(_, job)| job.stage == Stage::Prefetched(worker_key));
        for id in prefetched.map(|(&id, _)| id).collect::<Vec<_>>() {
            self.back(id);
        }
    }

    // ------------------------------------------------------------ what comes out

    pub(super) fn effect(&mut self, now: Duration, effect: &Effect, input: &Input) -> Found {
        self.announced.effect(effect, input)?;
        Checker::nobody_suffers(effect, input)?;
        if self.announced.breaks() && !self.circuit_open && !std::mem::replace(&mut self.opens, true) {
            // Those that were asked for before are no probes.
            self.processes.values_mut().for_each(|process| process.probe = false);
        }
        match *effect {
            Effect::Do(Action::Spawn(worker_key)) => {
                ensure(!self.exited, || "a process is spawned after exit".into())?;
                ensure(worker_key.slot < self.max_processes, || format!("{worker_key:?} is in no slot"))?;
                self.processes.insert(
                    worker_key,
                    Process { alive: true, probe: self.circuit_open || self.opens, ..Process::default() },
                );
                let alive = self.processes.values().filter(|process| process.alive).count();
                ensure(alive <= self.max_processes, || format!("{alive} children are alive"))
            }
            Effect::Do(Action::Signal(worker_key, signal @ (Signal::Stop | Signal::Continue))) => {
                let process = self.processes.get_mut(&worker_key).ok_or("a signal to nobody")?;
                ensure(!process.reaped, || format!("a signal to {worker_key:?}, which is reaped"))?;
                let before = std::mem::replace(&mut process.stopped, signal == Signal::Stop);
                ensure(before != process.stopped, || format!("{signal:?} twice to {worker_key:?}"))
            }
            Effect::Do(Action::Signal(worker_key, _)) => {
                self.killed += 1;
                let process = self.processes.get_mut(&worker_key).ok_or("a signal to nobody")?;
                process.signals += 1;
                ensure(!process.reaped, || format!("a signal to {worker_key:?}, which is reaped"))?;
                ensure(process.signals <= 2, || format!("{} signals to {worker_key:?}", process.signals))
            }
            Effect::Announce(Notice::Died { worker_key, start_failed }) => {
                let process = self.processes.get_mut(&worker_key).ok_or("nobody died")?;
                ensure(process.reaped, || format!("{worker_key:?} died before it was reaped"))?;
                ensure(!std::mem::replace(&mut process.died, true), || format!("{worker_key:?} died twice"))?;
                // In doubt, so that it was not announced as its job.
                let in_doubt =
                    process.undelivered.filter(|of| process.is_ready && process.holds.front() == Some(&of.job));
                if let Some(job) = in_doubt.and_then(|of| self.jobs.get_mut(&of.job).filter(|_| of.in_part))
                    && job.stage == Stage::Prefetched(worker_key)
                {
                    job.readers += 1;
                }
                self.all_back(worker_key);
                self.keys_of_jobs.died(worker_key);
                if start_failed.is_some() { self.start_failed(worker_key) } else { Ok(()) }
            }
            Effect::Announce(Notice::SpawnFailed { start_failed: StartFailed { .. }, .. }) => Ok(()),
            Effect::Do(Action::Release(worker_key)) => {
                let process = self.processes.get_mut(&worker_key).ok_or("nobody is released")?;
                ensure(process.died, || format!("{worker_key:?} is released before its death was announced"))?;
                ensure(!std::mem::replace(&mut process.released, true), || format!("{worker_key:?} is released twice"))
            }
            Effect::Announce(Notice::Enqueued(key)) => {
                let backlog = self.backlog_len();
                self.admission.enqueued(key.id, backlog)?;
                self.keys_of_jobs.accepted(key.id);
                let another = self.keys.keys().find(|of| of.place == key.place);
                ensure(another.is_none(), || format!("{key:?} is in the place of {another:?}"))?;
                self.keys.insert(key, key.id);
                self.counts[0] += 1;
                self.idle = false;
                let job = self.jobs.get_mut(&key.id).ok_or("an unknown job is enqueued")?;
                job.key = Some(key);
                job.accepted(now);
                job.follows(&[Stage::New], Stage::Enqueued, "Enqueue")
            }
            Effect::Announce(Notice::Backlogged(key)) => {
                self.next_seq += 1;
                let seq = self.next_seq;
                let job = self.job(key)?;
                job.seq = seq;
                job.may_be_queued(now)?;
                let priority = job.priority;
                self.pressing = self.pressing.max(Some(priority));
                Ok(())
            }
            Effect::Announce(Notice::KeyForgotten(key)) => self.keys_of_jobs.forgotten(key),
            Effect::Announce(Notice::Delayed { key, until }) => self.job(key)?.delayed(until),
            Effect::Do(Action::SendJob { worker_key, key, attempt, .. }) => self.sent(worker_key, key, attempt),
            Effect::Announce(Notice::Task { worker_key, key, attempt }) => {
                let job = self.job(key)?;
                job.attempt += 1;
                job.tasked = now;
                ensure(attempt == job.attempt, || format!("attempt {attempt} after {}", job.attempt - 1))?;
                ensure(attempt <= job.retry.retries + 1 + job.in_doubt, || {
                    format!("attempt {attempt} of {:?}", job.retry)
                })?;
                job.follows(
                    &[Stage::Sent(worker_key), Stage::Prefetched(worker_key)],
                    Stage::Tasked(worker_key),
                    "Task",
                )?;
                self.processes.get_mut(&worker_key).ok_or("a job for nobody")?.used = true;
                self.unwanted.is_decided(key.id);
                Ok(())
            }
            Effect::Announce(Notice::Returned { key, worker_key, .. }) => {
                let job = self.job(key)?;
                job.attempt -= 1;
                self.came_back += 1;
                let job = self.job(key)?;
                job.follows(&[Stage::Tasked(worker_key)], Stage::Backlogged, "Returned")?;
                self.returned(key, worker_key)?;
                let process = self.processes.get_mut(&worker_key).ok_or("a job of nobody")?;
                let in_part = matches!(input, Input::Exited { undelivered: Some(of), .. } if of.in_part);
                process.used = process.answered > 0 || process.read_in_part || in_part;
                Ok(())
            }
            Effect::Announce(Notice::Started { worker_key, key, .. }) => {
                self.job(key)?.follows(&[Stage::Tasked(worker_key)], Stage::Started(worker_key), "JobStart")
            }
            Effect::Announce(Notice::Progressed { worker_key, key, .. }) => {
                let message = matches!(input, Input::Message { message: Message::Progress { .. }, .. });
                ensure(message, || "progress of which nobody has spoken".into())?;
                self.to_tell = None;
                self.job(key)?.follows(&[Stage::Started(worker_key)], Stage::Started(worker_key), "JobProgress")
            }
            Effect::Announce(Notice::Retried { key, outcome, worker_key, .. }) => {
                self.retried += 1;
                self.agrees(key, outcome, Some(worker_key), input, now)?;
                ensure(!self.job(key)?.cancelled, || "it is cancelled, and retried".into())?;
                self.retried(key, outcome, worker_key, now)
            }
            Effect::Announce(Notice::Settled { key, outcome, worker_key, .. }) => {
                self.agrees(key, outcome, worker_key, input, now)?;
                let index = match outcome {
                    Outcome::Success => 1,
                    Outcome::Aborted => 3,
                    _ => 2,
                };
                self.counts[index] += 1;
                let job = self.job(key)?;
                ensure(job.stage != Stage::Settled, || "it settles twice".into())?;
                let cancelled = job.cancelled;
                ensure(cancelled || !job.is_to_be_retried(outcome), || {
                    format!("{outcome:?} settles with retries left")
                })?;
                let in_doubt = worker_key.is_some_and(|worker_key| self.is_in_doubt(key, outcome, worker_key));
                ensure(cancelled || !in_doubt, || {
                    format!("{outcome:?} settles an idempotent job, which may not have begun")
                })?;
                let given_up = self.is_unwanted(key.id, outcome, input);
                if given_up {
                    self.gives_up(key.id);
                }
                self.unwanted.is_decided(key.id);
                let job = self.job(key)?;
                let before = std::mem::replace(&mut job.stage, Stage::Settled);
                if let (Outcome::Aborted, Stage::Tasked(worker_key) | Stage::Started(worker_key)) = (outcome, before) {
                    self.doomed.push(worker_key);
                }
                if let (Outcome::Aborted, Stage::Prefetched(worker_key), false) = (outcome, before, given_up)
                    && let Some(&id) = self.keys.get(&key)
                {
                    self.aborted_prefetched.insert(id, worker_key);
                    let process = self.processes.get_mut(&worker_key).ok_or("a job of nobody")?;
                    process.used |= process.is_ready && process.holds.front() == Some(&id);
                }
                self.keys.remove(&key);
                self.keys_of_jobs.over(key.id);
                Ok(())
            }
            Effect::Announce(Notice::Violated(worker_key, _)) => {
                let process = self.processes.get_mut(&worker_key).ok_or("nobody broke the protocol")?;
                process.violated = true;
                process.holds.clear();
                Ok(())
            }
            Effect::Announce(Notice::TimedOut { .. })
            | Effect::Announce(Notice::State { .. })
            | Effect::Announce(Notice::TerminalFailure(_)) => Ok(()),
            Effect::Announce(Notice::OverSoftLimit { worker_key, bytes }) => {
                let process = self.processes.get_mut(&worker_key).ok_or("nobody is over its soft limit")?;
                process.over_soft_limit = true;
                (self.over_soft_limit, self.awaits_over_soft_limit) = (Some(worker_key), None);
                let MaxMemory { soft, hard } = self.max_memory;
                ensure(soft.or(hard).is_some_and(|limit| bytes > limit), || {
                    format!("{worker_key:?} holds only {bytes}")
                })
            }
            Effect::Announce(Notice::RecallIgnored(worker_key)) => {
                // Nothing is prefetched to it any more.
                self.processes.get_mut(&worker_key).ok_or("nobody ignores a recall")?.recalls = false;
                Ok(())
            }
            Effect::Do(Action::SendSkip { worker_key, id }) => ensure(self.recalled.insert((worker_key, id)), || {
                format!("job {id} is recalled twice from {worker_key:?}")
            }),
            Effect::Do(Action::SendCancel { worker_key, id, within }) => {
                self.asked_to_end(now, worker_key, id, within, input)
            }
            Effect::Do(Action::GiveUpStatus(_) | Action::Measure(_))
            | Effect::Announce(Notice::OverHardLimit { .. })
            | Effect::Do(Action::Drain(_)) => Ok(()),
            Effect::Announce(Notice::Idle) => {
                let open = self.jobs.values().filter(|job| job.stage != Stage::Settled).count();
                ensure(open == 0, || format!("idle with {open} jobs"))?;
                ensure(!std::mem::replace(&mut self.idle, true), || "idle twice".into())
            }
            Effect::Announce(Notice::Refused { id, refusal }) => {
                let backlog = self.backlog_len();
                self.admission.refused(id, refusal, backlog, self.finds_permit(id))?;
                self.keys_of_jobs.over(id);
                let job = self.jobs.remove(&id);
                ensure(job.is_some_and(|job| job.stage == Stage::New), || {
                    format!("job {id} is refused, and was accepted")
                })
            }
            Effect::Do(Action::SendLeave(worker_key)) => {
                let (dismissed, idle, old) =
                    (self.is_dismissed(worker_key), self.is_idle_for_long(worker_key), self.may_be_old(worker_key));
                let process = self.processes.get_mut(&worker_key).ok_or("nobody leaves")?;
                // Where both can be why, nobody knows.
                (process.excused, process.may_be_excused) = (dismissed, idle || old);
                let (taken, most) = (process.taken, self.max_jobs);
                let usual = most == u64::MAX && taken >= 64 && now >= process.spawned + Duration::from_secs(60);
                let done_with = taken == most
                    || usual
                    || process.retires
                    || process.over_soft_limit
                    || process.orphaned
                    || dismissed
                    || idle
                    || old
                    || self.exited;
                ensure(process.holds.is_empty(), || format!("{worker_key:?} leaves with {:?}", process.holds))?;
                ensure(done_with, || format!("{worker_key:?} leaves after {taken} of {most} jobs"))
            }
            Effect::Announce(Notice::Spawned(worker_key)) => {
                self.processes.get_mut(&worker_key).ok_or("nobody is spawned")?.spawned = now;
                Ok(())
            }
            Effect::Announce(Notice::PipeClosed(worker_key)) => {
                let mute = self.processes.get(&worker_key).is_some_and(|process| process.mute_since.is_some());
                ensure(mute, || format!("{worker_key:?} has its pipes"))
            }
            Effect::Announce(Notice::AllReady) => Ok(()),
            // Far workers have a world of their own.
            Effect::Do(Action::SendHeartbeat { worker_key, .. }) | Effect::Announce(Notice::Silent(worker_key)) => {
                Err(format!("{worker_key:?} is not far"))
            }
            Effect::Announce(Notice::QueuedAborted { call, aborted }) => self.queued_aborted(now, call, aborted),
        }
    }
}

impl Followed {
    /// Whether no worker has begun it.
    fn is_in_backlog(&self) -> bool {
        !matches!(self.stage, Stage::New | Stage::Tasked(_) | Stage::Started(_) | Stage::Settled)
    }

    fn follows(&mut self, after: &[Stage], stage: Stage, event: &str) -> Found {
        ensure(after.contains(&self.stage), || format!("{event} after {:?}", self.stage))?;
        self.stage = stage;
        Ok(())
    }
}

fn ensure(holds: bool, found: impl FnOnce() -> String) -> Found {
    if holds { Ok(()) } else { Err(found()) }
}
