//! Watches everything that goes into the machine and comes out of it, and knows the rules.

mod told;

use crate::supervisor::worker::Worker;
use crate::supervisor::{
    Config, CrashCause, DEATH_WAIT, Effect, Input, JobKey, MaxMemory, Outcome, SHORT, Said, Seat, Signal, Supervisor,
    Undelivered, Violation, WorkerState,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;
use told::Told;

/// Where a job is in the order of its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Enqueued,
    Backlogged,
    /// Sent before the one in front of it was answered: still queued to everybody.
    Ahead(Seat),
    Sent(Seat),
    Tasked(Seat),
    Started(Seat),
    Retried,
    Settled,
}

#[derive(Clone, Debug)]
struct Followed {
    key: Option<JobKey>,
    stage: Stage,
    priority: i32,
    /// Its place in the order of handing out.
    seq: u64,
    retries: u32,
    limit: Option<Duration>,
    attempt: u32,
    since: Duration,
    /// When the worker wrote the answer to this attempt.
    written: Option<Duration>,
    /// How many workers died while they read it.
    readers: u32,
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
    /// Whether it broke the protocol: nothing can be said of what it holds.
    violated: bool,
    /// When it was seen that it can be spoken to no more.
    mute_since: Option<Duration>,
    died: bool,
    /// How many jobs it has answered.
    answered: u64,
    /// Whether it wants to be replaced.
    retires: bool,
    /// Whether it held so much memory that it must do no more jobs.
    outgrown: bool,
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
    jobs: BTreeMap<u64, Followed>,
    /// From the machine's keys to jobs.
    keys: BTreeMap<JobKey, u64>,
    processes: BTreeMap<Seat, Process>,
    max_processes: usize,
    max_jobs: u64,
    retries: u32,
    timeout_working: Option<Duration>,
    max_memory: MaxMemory,
    /// How many jobs may lie ahead at a worker.
    most_ahead: usize,
    told: Told,
    /// What was said of the job that its worker holds, until it is told.
    to_tell: Option<Said>,
    /// The jobs that workers were asked to skip.
    recalled: BTreeSet<(Seat, u64)>,
    /// The highest priority that a job was queued with in this step, and who has outgrown in it.
    pressing: Option<i32>,
    outgrown: Option<Seat>,
    /// Who is over its soft limit of memory since this step, until it is told.
    grew: Option<Seat>,
    next_seq: u64,
    now: Duration,
    exited: bool,
    idle: bool,
    counts: [u64; 4],
    /// Workers whose job was taken from them: they must be on their way out.
    doomed: Vec<Seat>,
    /// Whether no worker started, before this input.
    broken: bool,
    /// Whether the start that failed last was a probe.
    probed: bool,
    /// Jobs that were aborted while they lay ahead.
    disowned: BTreeMap<u64, Seat>,
    pub(super) retried: u64,
    pub(super) ahead: u64,
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
            keys: BTreeMap::new(),
            processes: BTreeMap::new(),
            max_processes: config.max_processes,
            max_jobs: config.max_jobs_per_process.unwrap_or(u64::MAX),
            retries: config.retries,
            timeout_working: config.timeout_working,
            max_memory: config.max_memory,
            most_ahead: usize::try_from(config.hand_ahead).unwrap_or(usize::MAX),
            told: Told::new(config),
            to_tell: None,
            recalled: BTreeSet::new(),
            pressing: None,
            outgrown: None,
            grew: None,
            next_seq: 0,
            now: Duration::ZERO,
            exited: false,
            idle: true,
            counts: [0; 4],
            doomed: Vec::new(),
            broken: false,
            probed: false,
            disowned: BTreeMap::new(),
            retried: 0,
            ahead: 0,
            came_back: 0,
            killed: 0,
        }
    }

    pub(super) fn job_count(&self) -> u64 {
        self.jobs.len() as u64
    }

    pub(super) fn unsettled(&self) -> impl Iterator<Item = (u64, JobKey)> {
        let open = self.jobs.iter().filter(|(_, job)| job.stage != Stage::Settled);
        open.filter_map(|(&id, job)| Some((id, job.key?)))
    }

    pub(super) fn new_job(&mut self, id: u64, priority: i32, retries: Option<u32>, limit: Option<Option<Duration>>) {
        let job = Followed {
            key: None,
            stage: Stage::Enqueued,
            priority,
            seq: 0,
            retries: retries.unwrap_or(self.retries),
            limit: limit.unwrap_or(self.timeout_working),
            attempt: 0,
            since: Duration::ZERO,
            written: None,
            readers: 0,
        };
        self.jobs.insert(id, job);
    }

    /// The worker has written its answer to the job, whenever that is read.
    pub(super) fn written(&mut self, now: Duration, id: u64, seat: Seat) {
        if self.is_at(id, seat)
            && let Some(job) = self.jobs.get_mut(&id)
        {
            job.written = Some(now);
        }
    }

    /// Whether it is said of a worker that is on its way out, so that it does not count.
    pub(super) fn too_late(machine: &Supervisor<u64>, input: &Input<u64>) -> bool {
        match input {
            Input::Said(seat, _) => machine.worker(*seat).is_none(),
            Input::Resident { seat, .. } => {
                machine.worker(*seat).is_none_or(|worker| worker.state() == WorkerState::Exiting)
            }
            _ => false,
        }
    }

    /// Whether the job is still that worker's: no attempt of it is over.
    pub(super) fn is_at(&self, job: u64, seat: Seat) -> bool {
        self.jobs.get(&job).is_some_and(|job| match job.stage {
            Stage::Ahead(of) | Stage::Sent(of) | Stage::Tasked(of) | Stage::Started(of) => of == seat,
            _ => false,
        })
    }

    pub(super) fn none_is_ahead(&self) -> Found {
        let ahead = self.jobs.iter().find(|(_, job)| matches!(job.stage, Stage::Ahead(_)));
        ensure(ahead.is_none(), || format!("nobody has called back {ahead:?}"))
    }

    /// Whether `input` is the answer to the attempt that its worker holds: it must count.
    pub(super) fn is_awaited(&self, input: &Input<u64>) -> bool {
        let Input::Said(seat, Said::Answer { job, .. }) = input else { return false };
        self.is_at(*job, *seat)
    }

    /// What a step must not leave out.
    pub(super) fn is_complete(&self, input: &Input<u64>) -> Found {
        let kept = self.jobs.iter().find(|(id, job)| {
            let Stage::Ahead(seat) = job.stage else { return false };
            let lasts = self.processes.get(&seat).is_some_and(|of| !of.violated && !of.ending && !of.retires);
            let unwanted = self.outgrown == Some(seat) || self.pressing.is_some_and(|pressing| job.priority < pressing);
            unwanted && lasts && !self.recalled.contains(&(seat, **id))
        });
        ensure(kept.is_none(), || format!("nobody recalls {kept:?}"))?;
        ensure(self.grew.is_none(), || format!("nobody is told that {:?} has outgrown", self.grew))?;
        match (input, self.to_tell) {
            (Input::Said(seat, Said::Start { job } | Said::Progress { job }), Some(said)) => {
                let still = self.jobs.get(job).is_some_and(|job| job.stage == Stage::Tasked(*seat));
                ensure(!still && !matches!(said, Said::Progress { .. }), || format!("nobody is told: {said:?}"))
            }
            (Input::Abort { id, .. }, _) => {
                let open = self.jobs.get(id).is_some_and(|job| job.stage != Stage::Settled);
                ensure(!open, || format!("job {id} is aborted and not over"))
            }
            _ => Ok(()),
        }
    }

    /// An answer that was awaited has been heard.
    pub(super) fn answer_counts(&self, input: &Input<u64>) -> Found {
        let Input::Said(_, Said::Answer { job, .. }) = input else { return Ok(()) };
        let open = self.jobs.get(job).is_some_and(|job| !matches!(job.stage, Stage::Settled | Stage::Backlogged));
        ensure(!open || self.is_retried(*job), || format!("the answer to job {job} is lost"))
    }

    /// Whether another attempt at the job has been begun by the same step.
    fn is_retried(&self, job: u64) -> bool {
        self.jobs.get(&job).is_some_and(|job| matches!(job.stage, Stage::Sent(_) | Stage::Tasked(_) | Stage::Ahead(_)))
    }

    /// What goes in; `unheard` where it is not to count.
    pub(super) fn input(&mut self, now: Duration, input: &Input<u64>, unheard: bool) {
        self.now = now;
        self.told.input(now, input);
        (self.pressing, self.outgrown, self.grew) = (None, None, None);
        self.to_tell = match *input {
            Input::Said(seat, said @ (Said::Start { job } | Said::Progress { job })) => {
                let held = self.jobs.get(&job).map(|job| job.stage);
                Some(said).filter(|_| held == Some(Stage::Tasked(seat)) || held == Some(Stage::Started(seat)))
            }
            _ => None,
        };
        self.follow_queue(now, input);
        if let Input::Exited { seat, .. } | Input::OutputEnded(seat) | Input::InputBroken(seat) = input
            && let Some(process) = self.processes.get_mut(seat)
        {
            process.ending = true;
            process.mute_since.get_or_insert(now);
        }
        match input {
            Input::Exit => self.exited = true,
            Input::Exited { seat, undelivered } => {
                let in_part = undelivered.is_some_and(|of| of.in_part);
                if let Some(process) = self.processes.get_mut(seat) {
                    process.alive = false;
                    process.reaped = true;
                    process.read_in_part = in_part && process.is_ready;
                    process.undelivered = *undelivered;
                }
            }
            Input::Said(seat, Said::Start { job } | Said::Progress { job }) if self.disowned.get(job) == Some(seat) => {
                self.doomed.push(*seat);
            }
            Input::Resident { seat, bytes, at_rest } if !unheard => self.resident(*seat, *bytes, *at_rest),
            Input::SpawnFailed(seat) => {
                let process = self.processes.remove(seat);
                self.probed = process.is_some_and(|process| process.probe);
            }
            Input::Said(_, Said::Skipped { job }) if !unheard => self.back(*job),
            Input::Said(seat, Said::Retire) if !unheard => {
                if let Some(process) = self.processes.get_mut(seat) {
                    process.retires = true;
                }
            }
            _ => {}
        }
    }

    fn resident(&mut self, seat: Seat, bytes: u64, at_rest: bool) {
        let MaxMemory { soft, hard } = self.max_memory;
        let over_hard = !at_rest && hard.is_some_and(|hard| bytes > hard);
        if over_hard {
            self.doomed.push(seat);
        }
        if let Some(process) = self.processes.get_mut(&seat) {
            // One that is large from its start on does a job all the same.
            let works = if process.is_ready { !process.holds.is_empty() } else { process.ever_ready };
            let over_soft = works && soft.or(hard).is_some_and(|limit| bytes > limit);
            self.grew = Some(seat).filter(|_| over_soft && !over_hard && !process.outgrown);
            process.outgrown |= over_soft || over_hard;
        }
    }

    /// What a worker holds is one queue, and answers come in its order.
    fn follow_queue(&mut self, now: Duration, input: &Input<u64>) {
        let (seat, said) = match input {
            Input::Greeted { seat, recalls } => {
                if let Some(process) = self.processes.get_mut(seat) {
                    process.recalls = *recalls;
                }
                return;
            }
            Input::Said(seat, said) => (seat, said),
            _ => return,
        };
        let Some(process) = self.processes.get_mut(seat) else { return };
        let before = process.is_ready.then(|| process.holds.front().copied()).flatten();
        match said {
            Said::Ready => (process.is_ready, process.ever_ready) = (true, true),
            Said::Answer { job, ready, .. } => {
                process.used |= before == Some(*job);
                process.holds.retain(|of| of != job);
                process.is_ready = *ready;
            }
            Said::Skipped { job } => {
                let held = process.holds.len();
                process.holds.retain(|of| of != job);
                process.taken -= (held - process.holds.len()) as u64;
            }
            Said::Terminal { .. } => process.is_ready = false,
            Said::Start { .. } | Said::Progress { .. } | Said::Retire => {}
        }
        let front = process.is_ready.then(|| process.holds.front().copied()).flatten();
        if front != before
            && let Some(job) = front.and_then(|id| self.jobs.get_mut(&id))
        {
            (job.since, job.written) = (now, None);
        }
    }

    /// A job that lay ahead is queued again, in its old place.
    fn back(&mut self, id: u64) {
        if let Some(job) = self.jobs.get_mut(&id)
            && let Stage::Ahead(_) = job.stage
        {
            job.stage = Stage::Backlogged;
            self.came_back += 1;
        }
    }

    fn all_back(&mut self, seat: Seat) {
        let ahead = self.jobs.iter().filter(|(_, job)| job.stage == Stage::Ahead(seat));
        for id in ahead.map(|(&id, _)| id).collect::<Vec<_>>() {
            self.back(id);
        }
    }

    // ------------------------------------------------------------ what comes out

    pub(super) fn effect(&mut self, now: Duration, effect: &Effect<u64>, input: &Input<u64>) -> Found {
        self.told.effect(effect, input)?;
        match *effect {
            Effect::Spawn(seat) => {
                ensure(!self.exited, || "a process is spawned after exit".into())?;
                self.processes.insert(seat, Process { alive: true, probe: self.broken, ..Process::default() });
                let alive = self.processes.values().filter(|process| process.alive).count();
                ensure(alive <= self.max_processes, || format!("{alive} children are alive"))
            }
            Effect::Signal(seat, signal @ (Signal::Stop | Signal::Continue)) => {
                let process = self.processes.get_mut(&seat).ok_or("a signal to nobody")?;
                ensure(!process.reaped, || format!("a signal to {seat:?}, which is reaped"))?;
                let before = std::mem::replace(&mut process.stopped, signal == Signal::Stop);
                ensure(before != process.stopped, || format!("{signal:?} twice to {seat:?}"))
            }
            Effect::Signal(seat, _) => {
                self.killed += 1;
                let process = self.processes.get_mut(&seat).ok_or("a signal to nobody")?;
                process.signals += 1;
                ensure(!process.reaped, || format!("a signal to {seat:?}, which is reaped"))?;
                ensure(process.signals <= 2, || format!("{} signals to {seat:?}", process.signals))
            }
            Effect::Died(seat) => {
                let process = self.processes.get_mut(&seat).ok_or("nobody died")?;
                ensure(process.reaped, || format!("{seat:?} died before it was reaped"))?;
                ensure(!std::mem::replace(&mut process.died, true), || format!("{seat:?} died twice"))?;
                // In doubt, so that nobody was told that it was its job.
                let in_doubt =
                    process.undelivered.filter(|of| process.is_ready && process.holds.front() == Some(&of.job));
                if let Some(job) = in_doubt.and_then(|of| self.jobs.get_mut(&of.job).filter(|_| of.in_part))
                    && job.stage == Stage::Ahead(seat)
                {
                    job.readers += 1;
                }
                self.all_back(seat);
                Ok(())
            }
            Effect::Enqueued(key) => {
                let Input::Enqueue { id, .. } = input else { return Err("a job from nowhere".into()) };
                ensure(self.keys.insert(key, *id).is_none(), || format!("key {key:?} has two jobs"))?;
                self.counts[0] += 1;
                self.idle = false;
                let job = self.jobs.get_mut(id).ok_or("an unknown job is enqueued")?;
                job.key = Some(key);
                Ok(())
            }
            Effect::Backlogged(key) => {
                self.next_seq += 1;
                let seq = self.next_seq;
                let job = self.job(key)?;
                job.seq = seq;
                job.follows(&[Stage::Enqueued, Stage::Retried], Stage::Backlogged, "Backlog")?;
                let priority = job.priority;
                self.pressing = self.pressing.max(Some(priority));
                Ok(())
            }
            Effect::SendJob { seat, key, attempt } => self.sent(seat, key, attempt),
            Effect::Task { seat, key, attempt } => {
                let job = self.job(key)?;
                job.attempt += 1;
                ensure(attempt == job.attempt, || format!("attempt {attempt} after {}", job.attempt - 1))?;
                ensure(attempt <= job.retries + 1, || format!("attempt {attempt} of {} retries", job.retries))?;
                job.follows(&[Stage::Sent(seat), Stage::Ahead(seat)], Stage::Tasked(seat), "Task")?;
                self.processes.get_mut(&seat).ok_or("a job for nobody")?.used = true;
                Ok(())
            }
            Effect::Returned { key, seat, .. } => {
                let job = self.job(key)?;
                job.attempt -= 1;
                self.came_back += 1;
                let job = self.job(key)?;
                job.follows(&[Stage::Tasked(seat)], Stage::Backlogged, "Returned")?;
                self.returned(key, seat)?;
                let process = self.processes.get_mut(&seat).ok_or("a job of nobody")?;
                let in_part = matches!(input, Input::Exited { undelivered: Some(of), .. } if of.in_part);
                process.used = process.answered > 0 || process.read_in_part || in_part;
                Ok(())
            }
            Effect::Started { seat, key, .. } => {
                self.job(key)?.follows(&[Stage::Tasked(seat)], Stage::Started(seat), "JobStart")
            }
            Effect::Progressed { seat, key, .. } => {
                let said = matches!(input, Input::Said(_, Said::Progress { .. }));
                ensure(said, || "progress of which nobody has spoken".into())?;
                self.to_tell = None;
                self.job(key)?.follows(&[Stage::Started(seat)], Stage::Started(seat), "JobProgress")
            }
            Effect::Retried { key, outcome, seat, .. } => {
                self.retried += 1;
                self.agrees(key, outcome, Some(seat), input, now)?;
                let job = self.job(key)?;
                ensure(outcome.may_be_retried(), || format!("{outcome:?} is retried"))?;
                ensure(job.attempt <= job.retries, || format!("attempt {} is retried", job.attempt))?;
                self.job(key)?.follows(&[Stage::Tasked(seat), Stage::Started(seat)], Stage::Retried, "JobRetry")
            }
            Effect::Settled { key, outcome, seat, .. } => {
                self.agrees(key, outcome, seat, input, now)?;
                let index = match outcome {
                    Outcome::Success => 1,
                    Outcome::Aborted => 3,
                    _ => 2,
                };
                self.counts[index] += 1;
                let job = self.job(key)?;
                ensure(job.stage != Stage::Settled, || "it settles twice".into())?;
                if outcome.may_be_retried() && outcome != Outcome::Closed {
                    let left = job.attempt <= job.retries;
                    ensure(!left, || format!("{outcome:?} settles with retries left"))?;
                }
                let before = std::mem::replace(&mut job.stage, Stage::Settled);
                if let (Outcome::Aborted, Stage::Tasked(seat) | Stage::Started(seat)) = (outcome, before) {
                    self.doomed.push(seat);
                }
                if let (Outcome::Aborted, Stage::Ahead(seat)) = (outcome, before)
                    && let Some(&id) = self.keys.get(&key)
                {
                    self.disowned.insert(id, seat);
                    let process = self.processes.get_mut(&seat).ok_or("a job of nobody")?;
                    process.used |= process.is_ready && process.holds.front() == Some(&id);
                }
                self.keys.remove(&key);
                Ok(())
            }
            Effect::Violated(seat, _) => {
                let process = self.processes.get_mut(&seat).ok_or("nobody broke the protocol")?;
                process.violated = true;
                process.holds.clear();
                Ok(())
            }
            Effect::OverLimit { .. } | Effect::State { .. } | Effect::LastWords(_) => Ok(()),
            Effect::Outgrown { seat, bytes } => {
                let process = self.processes.get_mut(&seat).ok_or("nobody has outgrown")?;
                process.outgrown = true;
                (self.outgrown, self.grew) = (Some(seat), None);
                let MaxMemory { soft, hard } = self.max_memory;
                ensure(soft.or(hard).is_some_and(|limit| bytes > limit), || format!("{seat:?} holds only {bytes}"))
            }
            Effect::RecallIgnored(seat) => {
                // It is sent nothing ahead any more.
                self.processes.get_mut(&seat).ok_or("nobody ignores a recall")?.recalls = false;
                Ok(())
            }
            Effect::SendSkip { seat, id } => {
                ensure(self.recalled.insert((seat, id)), || format!("job {id} is recalled twice from {seat:?}"))
            }
            Effect::Measure(_) | Effect::OverMemory { .. } | Effect::Hear(_) => Ok(()),
            Effect::Idle => {
                let open = self.jobs.values().filter(|job| job.stage != Stage::Settled).count();
                ensure(open == 0, || format!("idle with {open} jobs"))?;
                ensure(!std::mem::replace(&mut self.idle, true), || "idle twice".into())
            }
            Effect::StartFailed { seat, .. } => {
                let Some(process) = self.processes.get_mut(&seat) else { return Ok(()) };
                process.start_failed = true;
                self.probed = process.probe;
                ensure(!process.used || !process.ever_ready, || format!("{seat:?} had a job, so it had started"))
            }
            Effect::Refused(id) => {
                ensure(self.jobs.remove(&id).is_some(), || format!("job {id} is refused, and was never there"))
            }
            Effect::SendLeave(seat) => {
                let process = self.processes.get(&seat).ok_or("nobody leaves")?;
                let (taken, most) = (process.taken, self.max_jobs);
                let usual = most == u64::MAX && taken >= 64 && now >= process.spawned + Duration::from_secs(60);
                let done_with = taken == most || usual || process.retires || process.outgrown || self.exited;
                ensure(process.holds.is_empty(), || format!("{seat:?} leaves with {:?}", process.holds))?;
                ensure(done_with, || format!("{seat:?} leaves after {taken} of {most} jobs"))
            }
            Effect::Spawned(seat) => {
                self.processes.get_mut(&seat).ok_or("nobody is spawned")?.spawned = now;
                Ok(())
            }
            Effect::OutputClosed(seat) => {
                let mute = self.processes.get(&seat).is_some_and(|process| process.mute_since.is_some());
                ensure(mute, || format!("{seat:?} has its pipes"))
            }
            Effect::AllReady => Ok(()),
        }
    }

    /// A job goes back only if its worker had not read it whole: at most twice if it had read some of it.
    fn returned(&mut self, key: JobKey, seat: Seat) -> Found {
        let undelivered = self.processes.get(&seat).and_then(|process| process.undelivered);
        let Some(&id) = self.keys.get(&key) else { return Ok(()) };
        let undelivered = undelivered.filter(|of| of.job == id);
        let Some(Undelivered { in_part, .. }) = undelivered else { return Err(format!("{seat:?} had read job {id}")) };
        let job = self.job(key)?;
        job.readers += u32::from(in_part);
        ensure(job.readers <= READERS, || format!("job {id} goes back though {} died of it", job.readers))
    }

    fn job(&mut self, key: JobKey) -> Result<&mut Followed, String> {
        let id = self.keys.get(&key).ok_or_else(|| format!("{key:?} is no job"))?;
        self.jobs.get_mut(id).ok_or_else(|| format!("{id} is no job"))
    }

    /// Jobs go out in the order in which they were enqueued, within a priority, higher first.
    fn sent(&mut self, seat: Seat, key: JobKey, attempt: u32) -> Found {
        let process = self.processes.get_mut(&seat).ok_or("a job is sent to nobody")?;
        let busy = !process.holds.is_empty();
        ensure(!busy || process.recalls, || format!("a job is sent ahead to {seat:?}, which answers no recall"))?;
        process.taken += 1;
        let first = process.is_ready && !busy;
        let now = self.now;
        let id = *self.keys.get(&key).ok_or("an unknown job is sent")?;
        if let Some(process) = self.processes.get_mut(&seat) {
            process.holds.push_back(id);
        }
        self.recalled.remove(&(seat, id));
        let job = self.job(key)?;
        if first {
            (job.since, job.written) = (now, None);
        }
        let (priority, seq, stage) = (job.priority, job.seq, job.stage);
        let ending = self.processes.get(&seat).is_none_or(|process| process.ending || process.outgrown);
        ensure(!ending, || format!("a job is sent to {seat:?}, which is known to end"))?;
        let job = self.job(key)?;
        ensure(attempt == job.attempt + 1, || format!("attempt {attempt} is sent after {}", job.attempt))?;
        let before = self.jobs.values().find(|other| {
            other.stage == Stage::Backlogged
                && (other.priority > priority || (other.priority == priority && other.seq < seq))
        });
        if let Some(before) = before {
            return Err(format!("a job of priority {priority}, place {seq} goes before {before:?}"));
        }
        let held = self.processes.get(&seat).map_or(0, |process| process.holds.len());
        ensure(held <= self.most_ahead.saturating_add(1), || format!("{seat:?} is sent {held} jobs"))?;
        self.ahead += u64::from(busy);
        let job = self.job(key)?;
        ensure(!busy || stage == Stage::Backlogged, || format!("sent ahead from {stage:?}"))?;
        let next = if busy { Stage::Ahead(seat) } else { Stage::Sent(seat) };
        job.follows(&[Stage::Enqueued, Stage::Backlogged], next, "SendJob")
    }

    /// The outcome is what happened.
    fn agrees(
        &mut self,
        key: JobKey,
        outcome: Outcome,
        seat: Option<Seat>,
        input: &Input<u64>,
        now: Duration,
    ) -> Found {
        let id = *self.keys.get(&key).ok_or("an unknown job settles")?;
        let job = &self.jobs[&id];
        let fits = match (outcome, input) {
            (
                Outcome::Success | Outcome::Failed | Outcome::Undecodable | Outcome::Unencodable,
                Input::Said(of, Said::Answer { job, outcome: said, .. }),
            ) => Some(*of) == seat && *job == id && *said == outcome,
            (Outcome::Panicked, Input::Said(of, Said::Terminal { job: of_job })) => {
                Some(*of) == seat && of_job.is_none_or(|of_job| of_job == id)
            }
            (Outcome::Crashed(_), Input::Exited { seat: of, .. } | Input::OutputEnded(of) | Input::ErrorsEnded(of)) => {
                Some(*of) == seat
            }
            (Outcome::Crashed(_), Input::Tick) => true,
            // A kill for one job's sake waits for what lies behind that job.
            (
                Outcome::TimedOut { limit, .. },
                Input::Tick | Input::Heard(_) | Input::Stopped(_) | Input::Said(_, _),
            ) => {
                // What was written before the limit was over counts, though it may be read later.
                let over = job.since + limit;
                job.limit == Some(limit) && now >= over && job.written.is_none_or(|written| written >= over)
            }
            (
                Outcome::OutOfMemory { bytes, limit },
                Input::Resident { .. } | Input::Tick | Input::Stopped(_) | Input::Said(_, _),
            ) => bytes > limit && self.max_memory.hard == Some(limit),
            (Outcome::Protocol(Violation::RecallUnanswered), Input::Tick | Input::Stopped(_) | Input::Said(_, _)) => {
                true
            }
            (Outcome::Protocol(_), Input::Said(of, _) | Input::Garbled(of)) => Some(*of) == seat,
            (Outcome::Aborted, Input::Abort { id: of, .. }) => *of == id,
            (Outcome::Closed, Input::Exit) => true,
            (Outcome::NoWorker, _) => job.stage == Stage::Backlogged && (!self.broken || self.probed),
            _ => false,
        };
        let answers =
            matches!(outcome, Outcome::Success | Outcome::Failed | Outcome::Undecodable | Outcome::Unencodable);
        let undelivered = seat.and_then(|seat| self.processes.get(&seat)?.undelivered).filter(|of| of.job == id);
        if let (Outcome::Crashed(CrashCause::Exited), Some(of)) = (outcome, undelivered) {
            let unread = !of.in_part || job.readers < READERS;
            ensure(!unread, || format!("job {id} is charged, and was not read: {job:?}"))?;
        }
        ensure(!answers || seat.is_some_and(|seat| job.stage == Stage::Started(seat)), || {
            format!("job {id} is answered, and has not started: {:?}", job.stage)
        })?;
        if answers && let Some(process) = seat.and_then(|seat| self.processes.get_mut(&seat)) {
            process.answered += 1;
        }
        ensure(fits, || format!("job {id} settles as {outcome:?} at {input:?}"))?;
        // One that is on its way out is not accused any more.
        let violated =
            matches!(outcome, Outcome::Protocol(_)) && outcome != Outcome::Protocol(Violation::RecallUnanswered);
        if violated && let Some(process) = seat.and_then(|seat| self.processes.get_mut(&seat)) {
            process.violated = true;
            process.holds.clear();
        }
        Ok(())
    }

    // ------------------------------------------------------------ what must hold at any time

    /// No step does or tells the same twice.
    pub(super) fn distinct(effects: &[Effect<u64>]) -> Found {
        let twice = effects.iter().enumerate().find(|(at, effect)| effects[..*at].contains(effect));
        ensure(twice.is_none(), || format!("twice in one step: {twice:?}"))
    }

    pub(super) fn settled_down(&mut self, machine: &Supervisor<u64>) -> Found {
        self.told.settled_down(machine)?;
        let untold = self.jobs.iter().find(|(_, job)| job.stage == Stage::Enqueued);
        ensure(untold.is_none(), || format!("nobody is told where it is: {untold:?}"))?;
        ensure(self.idle || !machine.is_idle(), || "nobody is told that the pool is idle".into())?;
        for seat in self.doomed.drain(..) {
            let worker = machine.worker(seat);
            let doomed = worker.is_none_or(Worker::is_doomed);
            ensure(doomed, || format!("{seat:?} lives on without its aborted job: {worker:?}"))?;
        }
        let unnoticed = self.processes.iter().find(|(_, of)| of.died && !of.used && !of.start_failed);
        ensure(self.exited || unnoticed.is_none(), || format!("no start failure: {unnoticed:?}"))?;
        if !std::mem::replace(&mut self.broken, machine.is_broken()) && self.broken {
            self.processes.values_mut().for_each(|process| process.probe = false);
        }
        let counters = machine.counters();
        let counted = [counters.enqueued, counters.succeeded, counters.failed, counters.aborted];
        ensure(counted == self.counts, || format!("counters {counted:?}, happened {:?}", self.counts))?;
        ensure(counters.retried == self.retried, || "retried is miscounted".into())?;
        for (seat, worker) in machine.workers() {
            let answered = self.processes.get(&seat).map_or(0, |process| process.answered);
            ensure(worker.jobs_done() == answered, || format!("{seat:?} has answered {answered} jobs: {worker:?}"))?;
        }
        for (seat, process) in &self.processes {
            let (Some(worker), true) = (machine.worker(*seat), process.alive && !process.violated) else { continue };
            // Its handler may run: the pool is not idle.
            let may_run = process.is_ready && !process.holds.is_empty() && !process.reaped;
            ensure(!may_run || worker.is_busy(), || format!("{seat:?} may run {:?} and is not busy", process.holds))?;
            let free = process.is_ready && process.holds.is_empty() && !worker.is_ending();
            ensure(free == worker.is_free(), || format!("{seat:?} is free: {free}: {worker:?}"))?;
        }
        let at_workers = machine.workers().filter(|(_, worker)| worker.job().is_some()).count();
        let sum = counters.succeeded + counters.failed + counters.aborted + machine.backlog_len() as u64;
        ensure(counters.enqueued == sum + at_workers as u64, || {
            format!("the sum of the figures is off: {counters:?}")
        })?;
        let queued = self.jobs.values().any(|job| job.stage == Stage::Backlogged);
        ensure(!(queued && machine.has_free_worker()), || "a worker is free and a job is queued".into())?;
        let open = self.jobs.values().filter(|job| job.stage != Stage::Settled).count();
        ensure(open == machine.unsettled(), || format!("{open} jobs are open, the machine has {}", machine.unsettled()))
    }

    /// A job past its limit, which nobody has done anything about.
    pub(super) fn overdue(&self, now: Duration, machine: &Supervisor<u64>) -> Found {
        self.told.overdue(now, machine)?;
        let mute = self.processes.iter().find(|(seat, process)| {
            let late = process.mute_since.is_some_and(|since| now > since + DEATH_WAIT);
            let state = machine.worker(**seat).map(|worker| worker.state());
            late && !process.reaped && state.is_some_and(|state| state != WorkerState::Exiting)
        });
        ensure(mute.is_none(), || format!("lives on without its pipe at {now:?}: {mute:?}"))?;
        let long = self.jobs.iter().find(|(_, job)| match job.stage {
            Stage::Tasked(seat) | Stage::Started(seat) => {
                now > job.since + SHORT
                    && self.processes.get(&seat).is_some_and(|process| !process.ending)
                    && machine.worker(seat).is_some_and(|worker| worker.has_unrecalled())
            }
            _ => false,
        });
        ensure(long.is_none() || !machine.has_free_worker(), || {
            format!("a worker is free at {now:?}, and others wait behind {long:?}")
        })?;
        let late = self.jobs.iter().find(|(_, job)| {
            matches!(job.stage, Stage::Tasked(_) | Stage::Started(_))
                && job.limit.is_some_and(|limit| now > job.since + limit + SLACK)
                // A worker that is dead, or whose end is known, is not timed any more.
                && !self.dying(job.stage)
        });
        ensure(late.is_none(), || format!("over its limit at {now:?}: {late:?}"))
    }

    fn dying(&self, stage: Stage) -> bool {
        match stage {
            Stage::Tasked(seat) | Stage::Started(seat) => {
                self.processes.get(&seat).is_none_or(|process| process.reaped)
            }
            _ => true,
        }
    }

    pub(super) fn at_the_end(&self, machine: &Supervisor<u64>) -> Found {
        let open: Vec<_> = self.jobs.iter().filter(|(_, job)| job.stage != Stage::Settled).collect();
        ensure(open.is_empty(), || format!("never settled: {open:?}"))?;
        let left: Vec<_> = self.processes.iter().filter(|(_, process)| process.alive).collect();
        ensure(left.is_empty(), || format!("never reaped: {left:?}"))?;
        let (reaped, counters) = (self.processes.values().filter(|process| process.died).count(), machine.counters());
        ensure(counters.exited == reaped as u64, || format!("{reaped} were reaped, counted {}", counters.exited))?;
        ensure(counters.exited == counters.spawned, || format!("{counters:?}: not all that was spawned has exited"))?;
        ensure(machine.is_finished(), || "the machine is not finished".into())
    }
}

impl Followed {
    fn follows(&mut self, after: &[Stage], stage: Stage, event: &str) -> Found {
        ensure(after.contains(&self.stage), || format!("{event} after {:?}", self.stage))?;
        self.stage = stage;
        Ok(())
    }
}

fn ensure(holds: bool, found: impl FnOnce() -> String) -> Found {
    if holds { Ok(()) } else { Err(found()) }
}
