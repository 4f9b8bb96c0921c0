//! Small worlds, whole: every state that two workers and three jobs can come to when one or two things go wrong, whatever
//! the order in which messages, calls, signals and time arrive.
//!
//! Where the random worlds go deep, this goes everywhere. A state of machine, workers and calls that has been seen is not
//! gone on from again; it is known by 64 bits of hash. The checker watches every step, and is no part of the state.

mod far;
mod mixer;
mod shapes;

use super::actor::{Actor, Fate, FromActor, Phase, Start, ToActor};
use super::checker::Checker;
use super::{Rng, from_env};
use crate::supervisor::{
    Action, Config, Effect, Input, JobSettings, MaxMemory, Message, Notice, Outcome, Signal, Submitted, Supervisor,
    Undelivered, Violation, WorkerKey,
};
use mixer::Mixer;
use shapes::{Shape, Times, Trouble, shapes};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Debug;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher};
use std::time::Duration;

/// How often time may pass though something else could happen. It passes always when nothing else can.
const EARLY_TICKS: u32 = 1;

/// The same, where the times of jobs are to be over while something else could happen.
const EARLY_TICKS_OF_TIMES: u32 = 2;

/// How long a cancelled job may take to come to its end.
const CANCEL_GRACE: Duration = Duration::from_millis(3);

/// The limit of memory, where there is one.
const HARD: u64 = 200;

#[derive(Clone)]
struct State {
    now: Duration,
    machine: Supervisor,
    checker: Checker,
    actors: BTreeMap<WorkerKey, Actor>,
    /// Asked for, and not there yet.
    spawning: BTreeSet<WorkerKey>,
    /// The worker that died of itself: the signs of its death come at any distance from each other.
    crashed: Option<WorkerKey>,
    unread: BTreeSet<WorkerKey>,
    unreaped: BTreeSet<WorkerKey>,
    /// Those that are about to end; `true` by the pool's signal.
    ending: BTreeMap<WorkerKey, bool>,
    /// How many jobs are still to come.
    to_come: u64,
    troubles: [Option<Trouble>; 2],
    /// Which attempts have begun.
    begun: BTreeSet<(u64, u32)>,
    early_ticks: u32,
    exited: bool,
}

/// One thing that can happen.
#[derive(Clone, Copy, Debug)]
enum Step {
    Enqueue,
    Spawned(WorkerKey),
    /// The pool's next message arrives at the worker.
    Arrive(WorkerKey),
    /// The worker does what is next: it starts, or its handler or recovery ends.
    Act(WorkerKey),
    /// The worker's guard reads while the handler runs.
    Guard(WorkerKey),
    /// The worker's next message arrives at the pool.
    Deliver(WorkerKey),
    StderrCloses(WorkerKey),
    Reap(WorkerKey),
    /// A signal has its effect, or a terminal failure is over.
    Ends(WorkerKey),
    Stops(WorkerKey),
    Crash(WorkerKey),
    Hang(WorkerKey),
    Freeze(WorkerKey),
    Garble(WorkerKey),
    Terminal(WorkerKey),
    Grow(WorkerKey),
    Orphan(WorkerKey),
    Abort(u64),
    Cancel(u64),
    /// One job, or all.
    AbortQueued(Option<u64>),
    Resize,
    AllWanted,
    Recycle,
    Pause,
    Resume,
    Close,
    Exit,
    Tick,
}

/// What makes two states the same: all but the checker, which only watches.
impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        (self.now, &self.machine, &self.actors, &self.spawning).hash(hasher);
        (self.crashed, &self.unread, &self.unreaped).hash(hasher);
        (self.to_come, self.troubles, self.early_ticks, self.exited).hash(hasher);
        (&self.ending, &self.begun).hash(hasher);
    }
}

impl State {
    fn new(shape: Shape) -> Result<Self, String> {
        let milli = Duration::from_millis;
        let of = |trouble| shape.troubles.contains(&Some(trouble));
        let hangs = of(Trouble::Hang) || of(Trouble::Freeze);
        let config = Config {
            max_processes: shape.workers,
            min_processes: 0,
            max_jobs_per_process: Some(shape.max_jobs),
            idle_timeout: shape.times.is(Times::Idle, milli(6)),
            max_age: shape.times.is(Times::Age, milli(6)),
            max_backlog: shape.max_backlog,
            retry: shape.retry(),
            expires: shape.times.is(Times::Expires, milli(3)),
            seed: 0,
            timeout_initializing: None,
            timeout_working: hangs.then_some(milli(20)),
            timeout_recovering: None,
            soft_timeout: shape.times.is(Times::SoftLimit, milli(2)),
            kill_grace: milli(5),
            start_failures: 3,
            prefetch: shape.prefetch,
            cores: 1,
            sites: Vec::new(),
            max_memory: MaxMemory { soft: None, hard: of(Trouble::Grow).then_some(HARD) },
        };
        let mut state = State {
            now: Duration::ZERO,
            checker: Checker::new(&config),
            machine: Supervisor::new(config),
            actors: BTreeMap::new(),
            spawning: BTreeSet::new(),
            crashed: None,
            unread: BTreeSet::new(),
            unreaped: BTreeSet::new(),
            ending: BTreeMap::new(),
            to_come: shape.jobs,
            troubles: shape.troubles,
            begun: BTreeSet::new(),
            early_ticks: if shape.times.are_of_jobs() { EARLY_TICKS_OF_TIMES } else { EARLY_TICKS },
            exited: false,
        };
        state.input(shape, Input::Tick)?;
        Ok(state)
    }

    /// What can happen now.
    fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.to_come > 0 && !self.exited {
            steps.push(Step::Enqueue);
        }
        steps.extend(self.spawning.iter().map(|&worker_key| Step::Spawned(worker_key)));
        for (&worker_key, actor) in &self.actors {
            if !actor.going.is_empty() {
                steps.push(Step::Deliver(worker_key));
            }
            if !actor.alive {
                continue;
            }
            if actor.to_stop {
                steps.push(Step::Stops(worker_key));
            }
            if actor.stopped {
                continue;
            }
            if !actor.coming.is_empty() {
                steps.push(Step::Arrive(worker_key));
            }
            match actor.phase {
                Phase::Running { .. } | Phase::Recovering => steps.push(Step::Act(worker_key)),
                Phase::Booting if actor.inbox.contains(&ToActor::Init) => steps.push(Step::Act(worker_key)),
                Phase::Booting | Phase::Idle | Phase::Hung => {}
            }
            if actor.guarded
                && matches!(actor.phase, Phase::Running { .. } | Phase::Recovering | Phase::Hung)
                && actor.inbox.iter().any(|message| matches!(message, ToActor::Skip(_)))
            {
                steps.push(Step::Guard(worker_key));
            }
        }
        steps.extend(self.unread.iter().map(|&worker_key| Step::StderrCloses(worker_key)));
        steps.extend(self.unreaped.iter().map(|&worker_key| Step::Reap(worker_key)));
        steps.extend(self.ending.keys().map(|&worker_key| Step::Ends(worker_key)));
        if self.machine.is_paused() {
            steps.push(Step::Resume);
        }
        let settles_by_itself = steps.is_empty();
        self.troubles(&mut steps);
        if self.machine.next_deadline().is_some() && (settles_by_itself || self.early_ticks > 0) {
            steps.push(Step::Tick);
        }
        if steps.is_empty() && !self.exited {
            steps.push(Step::Exit);
        }
        steps
    }

    fn troubles(&self, steps: &mut Vec<Step>) {
        let alive = self.actors.iter().filter(|(_, actor)| actor.alive && !actor.stopped);
        let working = alive.clone().filter(|(_, actor)| matches!(actor.phase, Phase::Running { .. }));
        for trouble in self.troubles.into_iter().flatten() {
            let (alive, working) = (alive.clone(), working.clone());
            match trouble {
                Trouble::Crash => steps.extend(alive.map(|(&worker_key, _)| Step::Crash(worker_key))),
                Trouble::Hang => steps.extend(working.map(|(&worker_key, _)| Step::Hang(worker_key))),
                Trouble::Freeze => steps.extend(working.map(|(&worker_key, _)| Step::Freeze(worker_key))),
                Trouble::Garble => steps.extend(alive.map(|(&worker_key, _)| Step::Garble(worker_key))),
                Trouble::Terminal => steps.extend(working.map(|(&worker_key, _)| Step::Terminal(worker_key))),
                Trouble::Grow => steps.extend(working.map(|(&worker_key, _)| Step::Grow(worker_key))),
                Trouble::Orphan => steps.extend(alive.map(|(&worker_key, _)| Step::Orphan(worker_key))),
                Trouble::Abort => steps.extend(self.checker.unsettled().map(|key| Step::Abort(key.id))),
                Trouble::Cancel => steps.extend(self.checker.unsettled().map(|key| Step::Cancel(key.id))),
                Trouble::AbortQueued => {
                    let each = self.checker.unsettled().map(|key| Some(key.id));
                    steps.extend(each.chain([None]).map(Step::AbortQueued));
                }
                Trouble::Resize => steps.push(Step::Resize),
                Trouble::AllWanted => steps.push(Step::AllWanted),
                Trouble::Recycle => steps.push(Step::Recycle),
                Trouble::Pause => steps.push(Step::Pause),
                Trouble::Drain => steps.push(Step::Close),
                Trouble::Exit => steps.push(Step::Exit),
            }
        }
    }

    /// The trouble has come about.
    fn happened(&mut self, trouble: Trouble) {
        if let Some(first) = self.troubles.iter_mut().find(|of| **of == Some(trouble)) {
            *first = None;
        }
    }

    fn take(&mut self, shape: Shape, step: Step) -> Result<(), String> {
        self.happens(shape, step)?;
        self.forget_the_dead();
        Ok(())
    }

    /// One that is reaped and of which nothing more is read is like all others of that kind, whatever it did in its life.
    fn forget_the_dead(&mut self) {
        for (worker_key, actor) in &mut self.actors {
            if actor.reaped && actor.going.is_empty() && !self.unread.contains(worker_key) {
                let lied = actor.lied;
                *actor = Actor { alive: false, reaped: true, lied, phase: Phase::Hung, ..Actor::new(Start::Fine) };
            }
        }
    }

    fn happens(&mut self, shape: Shape, step: Step) -> Result<(), String> {
        match step {
            Step::Enqueue => {
                let id = 1 + shape.jobs - self.to_come;
                self.to_come -= 1;
                let mut settings = JobSettings::default();
                let (mut priority, mut limit) = (0, None);
                if shape.differ && id == 2 {
                    priority = 1;
                    settings.set_priority(priority);
                }
                if shape.differ && id == shape.jobs {
                    limit = Some(Some(Duration::from_millis(7)));
                    settings.set_timeout(Some(Duration::from_millis(7)));
                }
                if shape.keyed {
                    settings.set_numbered_limit(0, 1);
                }
                self.checker.new_job(id, priority, None, limit);
                if let Some(delay) = shape.times.is(Times::Delay, Duration::from_millis(3)).filter(|_| id == 2) {
                    settings.set_delay(delay);
                    self.checker.timed(id, delay, None);
                }
                if shape.times == Times::Idempotent {
                    settings.set_idempotent(true);
                    self.checker.idempotent(id);
                }
                self.input(
                    shape,
                    Input::Enqueue { job: Submitted::new(id, 0, settings), when_full: shape.when_full(id) },
                )
            }
            Step::Spawned(worker_key) => {
                self.spawning.remove(&worker_key);
                let mut actor = Actor::new(Start::Fine);
                actor.in_one_frame = !shape.recovers;
                actor.ignores_term = shape.ignores_term;
                self.actors.insert(worker_key, actor);
                self.send(worker_key, ToActor::Init);
                self.input(shape, Input::Spawned(worker_key))?;
                self.input(shape, Input::Hello { worker_key, recalls: true })
            }
            Step::Arrive(worker_key) => {
                let actor = self.actor(worker_key);
                let message = actor.coming.pop_front();
                // A handler may end at any time anyway, so it need not note that it is asked to.
                actor.inbox.extend(message.filter(|message| !matches!(message, ToActor::Cancel(_))));
                if actor.phase == Phase::Idle { self.go_on(shape, worker_key) } else { Ok(()) }
            }
            Step::Act(worker_key) => self.act(shape, worker_key),
            Step::Guard(worker_key) => {
                self.skip(worker_key);
                Ok(())
            }
            Step::Deliver(worker_key) => {
                let Some(sent) = self.actor(worker_key).going.pop_front() else { return Ok(()) };
                self.input(
                    shape,
                    match sent {
                        FromActor::Hello { recalls } => Input::Hello { worker_key, recalls },
                        FromActor::Message(message) => {
                            let wanted = self.machine.wants_resident(worker_key, &message);
                            Input::Message { worker_key, message, resident: wanted.then_some(0) }
                        }
                        FromActor::Malformed => Input::Malformed(worker_key),
                        FromActor::StdoutClosed => Input::StdoutClosed(worker_key),
                        FromActor::Drained => Input::Drained(worker_key),
                        FromActor::Stopped => Input::Stopped(worker_key),
                    },
                )
            }
            Step::StderrCloses(worker_key) => {
                self.unread.remove(&worker_key);
                self.input(shape, Input::StderrClosed(worker_key))
            }
            Step::Reap(worker_key) => {
                self.unreaped.remove(&worker_key);
                self.actor(worker_key).reaped = true;
                if self.crashed != Some(worker_key) {
                    self.input(shape, Input::StderrClosed(worker_key))?;
                }
                let undelivered = self.actor(worker_key).undelivered.map(|job| Undelivered { job, in_part: false });
                self.input(shape, Input::Exited { worker_key, undelivered })
            }
            Step::Ends(worker_key) => {
                let killed = self.ending.remove(&worker_key).unwrap_or_default();
                self.die(worker_key, killed)
            }
            Step::Stops(worker_key) => {
                let actor = self.actor(worker_key);
                (actor.to_stop, actor.stopped) = (false, true);
                actor.going.push_back(FromActor::Stopped);
                Ok(())
            }
            Step::Tick => {
                self.early_ticks = self.early_ticks.saturating_sub(1);
                self.now = self.now.max(self.machine.next_deadline().unwrap_or_default());
                self.input(shape, Input::Tick)
            }
            Step::Crash(worker_key) => {
                self.happened(Trouble::Crash);
                self.crashed = Some(worker_key);
                self.unread.insert(worker_key);
                self.die(worker_key, false)
            }
            Step::Hang(worker_key) => {
                self.happened(Trouble::Hang);
                self.actor(worker_key).phase = Phase::Hung;
                Ok(())
            }
            Step::Freeze(worker_key) => {
                self.happened(Trouble::Freeze);
                let actor = self.actor(worker_key);
                (actor.phase, actor.guarded) = (Phase::Hung, false);
                Ok(())
            }
            Step::Garble(worker_key) => {
                self.happened(Trouble::Garble);
                let actor = self.actor(worker_key);
                actor.lied = true;
                actor.phase = Phase::Hung;
                actor.going.push_back(FromActor::Malformed);
                Ok(())
            }
            Step::Terminal(worker_key) => {
                self.happened(Trouble::Terminal);
                let actor = self.actor(worker_key);
                actor.phase = Phase::Hung;
                actor.terminal = true;
                actor.going.push_back(FromActor::Message(Message::Terminal { job: None }));
                self.ending.insert(worker_key, false);
                Ok(())
            }
            Step::Grow(worker_key) => {
                self.happened(Trouble::Grow);
                self.input(shape, Input::Resident { worker_key, bytes: HARD + 1 })
            }
            Step::Orphan(worker_key) => {
                self.happened(Trouble::Orphan);
                self.input(shape, Input::Orphaned(worker_key))
            }
            Step::Abort(id) => {
                self.happened(Trouble::Abort);
                let key = self.checker.unsettled().find(|key| key.id == id);
                key.map_or(Ok(()), |key| self.input(shape, Input::Abort(key)))
            }
            Step::Cancel(id) => {
                self.happened(Trouble::Cancel);
                let key = self.checker.unsettled().find(|key| key.id == id);
                key.map_or(Ok(()), |key| self.input(shape, Input::Cancel { key, grace: CANCEL_GRACE }))
            }
            Step::AbortQueued(id) => {
                self.happened(Trouble::AbortQueued);
                let call = self.troubles.iter().flatten().count() as u64;
                let only = self.checker.unsettled().find(|key| Some(key.id) == id);
                // With two calls the later one has the higher number.
                self.input(shape, Input::AbortQueued { call: 2 - call, only })
            }
            Step::Resize => {
                self.happened(Trouble::Resize);
                self.input(shape, Input::SetMaxProcesses(3 - shape.workers))
            }
            Step::AllWanted => {
                self.happened(Trouble::AllWanted);
                self.input(shape, Input::SpawnWorkers)
            }
            Step::Recycle => {
                self.happened(Trouble::Recycle);
                self.input(shape, Input::Recycle)
            }
            Step::Pause => {
                self.happened(Trouble::Pause);
                self.input(shape, Input::Pause)
            }
            Step::Resume => self.input(shape, Input::Resume),
            Step::Close => {
                self.happened(Trouble::Drain);
                self.input(shape, Input::Close)
            }
            Step::Exit => {
                self.troubles = [None; 2];
                self.exited = true;
                self.input(shape, Input::Exit)
            }
        }
    }

    fn input(&mut self, shape: Shape, input: Input) -> Result<(), String> {
        let honest = |worker_key: &WorkerKey| self.actors.get(worker_key).is_some_and(|actor| !actor.lied);
        let awaited = matches!(&input, Input::Message { worker_key, .. } if honest(worker_key))
            && self.checker.is_awaited(&input);
        self.checker.input(self.now, &input, Checker::too_late(&self.machine, &input));
        let mut effects = Vec::new();
        self.machine.handle(self.now, input.clone(), &mut effects);
        Checker::distinct(&effects)?;
        for effect in effects {
            let found = self.checker.effect(self.now, &effect, &input);
            found.map_err(|found| format!("{found} ({effect:?} at {input:?})"))?;
            self.carry_out(effect)?;
        }
        if awaited {
            self.checker.answer_counts(&input)?;
        }
        self.checker.is_complete(&input)?;
        self.checker.settled_down(&self.machine)?;
        self.checker.overdue(self.now, &self.machine)?;
        let begun = self.actors.values().map(|actor| actor.begun).max().unwrap_or(0);
        if begun > shape.max_jobs { Err(format!("a worker begins its job number {begun}")) } else { Ok(()) }
    }

    fn carry_out(&mut self, effect: Effect) -> Result<(), String> {
        match effect {
            Effect::Do(Action::Spawn(worker_key)) => drop(self.spawning.insert(worker_key)),
            Effect::Do(Action::SendJob { worker_key, key, attempt, .. }) => {
                self.send(worker_key, ToActor::Job { job: key.id, attempt });
            }
            Effect::Do(Action::SendSkip { worker_key, id }) => self.send(worker_key, ToActor::Skip(id)),
            Effect::Do(Action::SendCancel { worker_key, id, .. }) => self.send(worker_key, ToActor::Cancel(id)),
            Effect::Do(Action::SendLeave(worker_key)) => self.send(worker_key, ToActor::Leave),
            Effect::Do(Action::Drain(worker_key)) => self.actor(worker_key).ask_to_hear(),
            Effect::Do(Action::Signal(worker_key, Signal::Stop)) => {
                let actor = self.actor(worker_key);
                actor.ask_no_more();
                actor.to_stop = true;
            }
            Effect::Do(Action::Signal(worker_key, Signal::Continue)) => {
                let actor = self.actor(worker_key);
                (actor.to_stop, actor.stopped) = (false, false);
                actor.ask_no_more();
            }
            Effect::Do(Action::Signal(worker_key, signal)) => {
                let dies = |actor: &Actor| actor.alive && (signal == Signal::Kill || !actor.ignores_term);
                if self.actors.get(&worker_key).is_some_and(dies) {
                    self.ending.entry(worker_key).or_insert(true);
                }
            }
            Effect::Announce(Notice::Idle) => {
                if let Some((worker_key, _)) = self.actors.iter().find(|(_, of)| of.runs().is_some() && !of.lied) {
                    return Err(format!("idle, while a handler runs in {worker_key:?}"));
                }
            }
            Effect::Announce(Notice::Violated(worker_key, Violation::RecallUnanswered))
                if self.actors.get(&worker_key).is_some_and(|actor| !actor.guarded || actor.stopped) => {}
            Effect::Announce(Notice::Violated(worker_key, violation))
                if self.actors.get(&worker_key).is_some_and(|actor| !actor.lied) =>
            {
                return Err(format!("{worker_key:?} did nothing wrong: {violation}"));
            }
            _ => {}
        }
        Ok(())
    }

    // ------------------------------------------------------------ the workers

    fn actor(&mut self, worker_key: WorkerKey) -> &mut Actor {
        self.actors.get_mut(&worker_key).expect("a step of a worker that is there")
    }

    fn send(&mut self, worker_key: WorkerKey, message: ToActor) {
        if let Some(actor) = self.actors.get_mut(&worker_key) {
            actor.send(message);
        }
    }

    fn die(&mut self, worker_key: WorkerKey, killed: bool) -> Result<(), String> {
        let actor = self.actor(worker_key);
        if !actor.alive {
            return Ok(());
        }
        actor.die();
        let (unanswered, lied) = (actor.unanswered, actor.lied);
        actor.coming.clear();
        actor.phase = Phase::Hung;
        actor.going.push_back(FromActor::StdoutClosed);
        self.ending.remove(&worker_key);
        self.unreaped.insert(worker_key);
        match unanswered.filter(|_| killed && !lied && !self.exited) {
            Some(job) if self.checker.is_at(job, worker_key) => {
                Err(format!("job {job} is killed with {worker_key:?} for the sake of another"))
            }
            _ => Ok(()),
        }
    }

    fn skip(&mut self, worker_key: WorkerKey) {
        let actor = self.actor(worker_key);
        let skipped = actor.read_skips().into_iter().map(|job| FromActor::Message(Message::Skipped { job }));
        actor.going.extend(skipped);
    }

    fn act(&mut self, shape: Shape, worker_key: WorkerKey) -> Result<(), String> {
        let actor = self.actor(worker_key);
        match actor.phase {
            Phase::Running { job, .. } => {
                let ready = actor.in_one_frame;
                self.checker.written(self.now, job, worker_key);
                let actor = self.actor(worker_key);
                actor.going.push_back(FromActor::Message(Message::Answer { job, outcome: Outcome::Success, ready }));
                actor.unanswered = None;
                actor.phase = if ready { Phase::Idle } else { Phase::Recovering };
            }
            Phase::Booting | Phase::Recovering => {
                actor.inbox.retain(|message| *message != ToActor::Init);
                actor.going.push_back(FromActor::Message(Message::Ready));
                actor.phase = Phase::Idle;
            }
            Phase::Idle | Phase::Hung => {}
        }
        if self.actor(worker_key).phase == Phase::Idle { self.go_on(shape, worker_key) } else { Ok(()) }
    }

    /// The worker looks for what to do next.
    fn go_on(&mut self, shape: Shape, worker_key: WorkerKey) -> Result<(), String> {
        self.skip(worker_key);
        match self.actor(worker_key).inbox.pop_front() {
            Some(ToActor::Job { job, attempt }) => {
                if self.checker.is_given_up(job, attempt) {
                    return Err(format!("job {job} is begun, and its caller was told that it is not"));
                }
                if let Some((other, _)) = self.actors.iter().find(|(_, other)| other.runs() == Some(job)) {
                    return Err(format!("job {job} runs on {other:?} and {worker_key:?}"));
                }
                let runs = |other: &Actor| other.runs().is_some() && !other.lied;
                if shape.keyed && self.actors.values().any(runs) {
                    return Err(format!("job {job} is begun by {worker_key:?} while another of its key runs"));
                }
                if !self.begun.insert((job, attempt)) {
                    return Err(format!("attempt {attempt} at job {job} is begun twice, now by {worker_key:?}"));
                }
                let actor = self.actor(worker_key);
                actor.begun += 1;
                actor.unanswered = Some(job);
                actor.phase = Phase::Running { job, attempt, fate: Fate::Answer(Outcome::Success) };
                if actor.begun > shape.max_jobs {
                    return Err(format!("{worker_key:?} begins its job number {}", actor.begun));
                }
            }
            Some(ToActor::Leave) => self.die(worker_key, false)?,
            Some(ToActor::Init | ToActor::Skip(_) | ToActor::Cancel(_)) | None => {}
        }
        Ok(())
    }

    /// What must hold when nothing is left to happen but the pool's exit, and after it.
    fn check_quiet(&self, steps: &[Step]) -> Result<(), String> {
        match steps {
            [Step::Exit] if self.troubles == [None; 2] && self.machine.unsettled() > 0 => {
                Err(format!("{} jobs wait for nothing", self.machine.unsettled()))
            }
            [Step::Exit] if self.machine.awaiting_ready && self.machine.is_open() => {
                Err("somebody waits until all are ready, and they are not to be".into())
            }
            [] => self.checker.at_the_end(&self.machine),
            _ => Ok(()),
        }
    }
}

fn explore(shape: Shape) -> Result<usize, String> {
    let first = State::new(shape)?;
    let steps = first.steps();
    let take = |state: &mut State, step| {
        state.take(shape, step)?;
        let steps = state.steps();
        state.check_quiet(&steps).map(|()| steps)
    };
    go_through(first, steps, take).map_err(|found| format!("{shape:?}: {found}"))
}

/// Goes through all states; gives their number, or what is wrong and the way to it. `take` takes a step, and gives those that can
/// follow.
fn go_through<S: Clone + Hash, T: Copy + Debug>(
    first: S,
    steps: Vec<T>,
    take: impl Fn(&mut S, T) -> Result<Vec<T>, String>,
) -> Result<usize, String> {
    let hasher = BuildHasherDefault::<Mixer>::default();
    let mut seen = HashSet::with_hasher(BuildHasherDefault::<Mixer>::default());
    seen.insert(hasher.hash_one(&first));
    // The way to the state at hand: at each, the state and the steps that are still to be tried.
    let mut way: Vec<(S, Vec<T>, Option<T>)> = vec![(first, steps, None)];
    while let Some((state, left, _)) = way.last_mut() {
        let Some(step) = left.pop() else {
            way.pop();
            continue;
        };
        let mut next = state.clone();
        let steps = match take(&mut next, step) {
            Ok(steps) => steps,
            Err(found) => {
                let taken = way.iter().filter_map(|(_, _, by)| *by).chain([step]);
                return Err(format!("{found}, after {:?}", taken.collect::<Vec<_>>()));
            }
        };
        if seen.insert(hasher.hash_one(&next)) {
            way.push((next, steps, Some(step)));
        }
    }
    Ok(seen.len())
}

/// Goes from the beginning to an end by steps at random, again and again, until it has seen so many states, or has taken twenty
/// times as many steps.
fn wander(shape: Shape, most: usize) -> Result<usize, String> {
    let hasher = BuildHasherDefault::<Mixer>::default();
    let (mut seen, mut rng, mut taken) = (HashSet::new(), Rng::new(1), 0);
    while seen.len() < most && taken < 20 * most {
        let (mut state, mut way) = (State::new(shape)?, Vec::new());
        let mut steps = state.steps();
        while !steps.is_empty() {
            let step = steps[rng.below(steps.len() as u64) as usize];
            way.push(step);
            taken += 1;
            let found = state.take(shape, step);
            steps = state.steps();
            if let Err(found) = found.and_then(|()| state.check_quiet(&steps)) {
                return Err(format!("{shape:?}: {found}, after {way:?}"));
            }
            seen.insert(hasher.hash_one(&state));
        }
    }
    Ok(seen.len())
}

#[test]
fn every_rule_holds_in_every_state_of_the_small_worlds() {
    let most = from_env("HIRELINGS_SMALL_STATES").and_then(|most| usize::try_from(most).ok());
    let mut all = 0;
    for shape in shapes() {
        let states = most.map_or_else(|| explore(shape), |most| wander(shape, most));
        let states = states.unwrap_or_else(|found| panic!("{found}"));
        println!("{states:>9} states: {shape:?}");
        all += states;
    }
    println!("{all} states in all");
}
