//! Small worlds with workers on other machines: the connection is lost at any moment, and the worker goes on until it has an end.
//!
//! The checker knows nothing of far workers, so the rules are here: an attempt begins once, a job never runs twice at a time,
//! nobody is told that all is idle while a handler runs, what is said of a job is true, and each job settles once.

use super::super::saboteur::{FAR, Sabotage, Saboteur};
use super::go_through;
use crate::supervisor::{
    Action, Begun, Config, Effect, Input, JobKey, Message, Notice, Outcome, RetryPolicy, Signal, SiteRules, Submitted,
    Supervisor, WhenFull, WorkerKey,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::time::Duration;

const SILENCE: Duration = Duration::from_millis(600);

/// What was sent takes no longer on its way, and a guard is no later: together they are under half of the limit of silence.
const LONGEST_WAY: Duration = Duration::from_millis(190);
const LATEST_GUARD: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug)]
struct Shape {
    workers: usize,
    jobs: u64,
    prefetch: u32,
    retries: u32,
    /// How many connections are lost.
    losses: u32,
}

const SHAPES: [Shape; 4] = [
    Shape { workers: 1, jobs: 2, prefetch: 0, retries: 1, losses: 1 },
    Shape { workers: 1, jobs: 2, prefetch: 1, retries: 1, losses: 1 },
    Shape { workers: 1, jobs: 1, prefetch: 0, retries: 2, losses: 2 },
    Shape { workers: 2, jobs: 2, prefetch: 0, retries: 1, losses: 1 },
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Down {
    Job(u64, u32),
    Skip(u64),
    Heartbeat,
    Leave,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Up {
    Alive,
    Message(Message),
    End,
}

/// A worker over there, and the local process that carries its connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Worker {
    alive: bool,
    /// Whether bytes pass, and whether the local process lives.
    connected: bool,
    carried: bool,
    coming: VecDeque<Down>,
    going: VecDeque<Up>,
    queue: VecDeque<(u64, u32)>,
    runs: Option<(u64, u32)>,
    has_silence: bool,
    /// When something came to it last, when something was sent to it last, and when something of it was announced last.
    heard: Duration,
    sent: Duration,
    announced_at: Duration,
    /// Whether the pool was told that it is silent.
    silent: bool,
    /// The local process is about to end, or has ended and is not reaped.
    ending: bool,
    unreaped: bool,
}

#[derive(Clone)]
struct State {
    now: Duration,
    machine: Supervisor,
    saboteur: Saboteur,
    workers: BTreeMap<WorkerKey, Worker>,
    spawning: BTreeSet<WorkerKey>,
    unsettled: BTreeMap<u64, JobKey>,
    begun: BTreeSet<(u64, u32)>,
    to_come: u64,
    losses: u32,
    early_ticks: u32,
    exited: bool,
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        (self.now, &self.machine, &self.workers, &self.spawning).hash(hasher);
        (&self.begun, self.to_come, self.losses, self.early_ticks, self.exited).hash(hasher);
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Enqueue,
    Spawned(WorkerKey),
    Arrive(WorkerKey),
    Deliver(WorkerKey),
    Finish(WorkerKey),
    /// Nothing passes any more, either way; the local process lives.
    Stall(WorkerKey),
    /// The local process ends.
    CarrierEnds(WorkerKey),
    Reap(WorkerKey),
    /// A worker whose connection is lost learns of it, and ends.
    Ends(WorkerKey),
    Tick,
    Exit,
}

impl State {
    fn new(shape: Shape, sabotage: Option<Sabotage>) -> Result<Self, String> {
        let config = Config {
            max_processes: shape.workers,
            min_processes: 0,
            retry: RetryPolicy::new(shape.retries).backoff(Duration::ZERO, Duration::ZERO).jitter(0.0),
            timeout_working: None,
            kill_grace: Duration::ZERO,
            cores: 1,
            sites: vec![SiteRules {
                slots: shape.workers,
                silence: Some(SILENCE),
                prefetch: Some(shape.prefetch),
                timeout_initializing: Some(None),
            }],
            ..Config::default()
        };
        let saboteur = Saboteur::new(sabotage);
        let mut state = State {
            now: Duration::ZERO,
            machine: saboteur.machine(config),
            saboteur,
            workers: BTreeMap::new(),
            spawning: BTreeSet::new(),
            unsettled: BTreeMap::new(),
            begun: BTreeSet::new(),
            to_come: shape.jobs,
            losses: shape.losses,
            // With two workers they would be half a million states.
            early_ticks: u32::from(shape.workers == 1),
            exited: false,
        };
        state.input(Input::Tick)?;
        Ok(state)
    }

    fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.to_come > 0 && !self.exited {
            steps.push(Step::Enqueue);
        }
        steps.extend(self.spawning.iter().map(|&key| Step::Spawned(key)));
        for (&key, worker) in &self.workers {
            if !worker.going.is_empty() {
                steps.push(Step::Deliver(key));
            }
            if worker.ending {
                steps.push(Step::CarrierEnds(key));
            }
            if worker.unreaped {
                steps.push(Step::Reap(key));
            }
            if worker.connected && worker.alive {
                steps.extend((!worker.coming.is_empty()).then_some(Step::Arrive(key)));
                steps.extend(worker.runs.map(|_| Step::Finish(key)));
            }
        }
        let settles_by_itself = steps.is_empty();
        let at_work = !self.unsettled.is_empty() || !self.machine.is_idle() || self.exited;
        if self.machine.next_deadline().is_some() && at_work && (settles_by_itself || self.early_ticks > 0) {
            steps.push(Step::Tick);
        }
        // What nobody waits for: time may pass before it.
        for (&key, worker) in &self.workers {
            if worker.alive && !worker.connected {
                steps.push(Step::Ends(key));
                steps.extend((!worker.coming.is_empty()).then_some(Step::Arrive(key)));
                steps.extend(worker.runs.map(|_| Step::Finish(key)));
            }
            if self.losses > 0 && worker.connected && worker.carried && !worker.ending {
                steps.extend([Step::Stall(key), Step::CarrierEnds(key)]);
            }
        }
        if settles_by_itself && !at_work {
            steps.push(Step::Exit);
        }
        steps
    }

    fn worker(&mut self, key: WorkerKey) -> &mut Worker {
        self.workers.get_mut(&key).expect("a step of a worker that is there")
    }

    fn take(&mut self, shape: Shape, step: Step) -> Result<(), String> {
        match step {
            Step::Enqueue => {
                let id = 1 + shape.jobs - self.to_come;
                self.to_come -= 1;
                self.input(Input::Enqueue {
                    job: Submitted { id, ..Submitted::default() },
                    when_full: WhenFull::Exceed,
                })
            }
            Step::Spawned(key) => {
                self.spawning.remove(&key);
                let worker = Worker {
                    alive: true,
                    connected: true,
                    carried: true,
                    coming: VecDeque::new(),
                    going: [Up::Message(Message::Ready)].into(),
                    queue: VecDeque::new(),
                    runs: None,
                    has_silence: false,
                    heard: self.now,
                    sent: self.now,
                    announced_at: self.now,
                    silent: false,
                    ending: false,
                    unreaped: false,
                };
                self.workers.insert(key, worker);
                self.input(Input::Spawned(key))?;
                self.input(Input::Hello { worker_key: key, recalls: true })
            }
            Step::Arrive(key) => self.arrive(key),
            Step::Deliver(key) => {
                let now = self.now;
                let worker = self.worker(key);
                worker.announced_at = now;
                let Some(sent) = worker.going.pop_front() else { return Ok(()) };
                self.input(match sent {
                    Up::Alive => Input::Heard(key),
                    Up::Message(message) => Input::Message { worker_key: key, message, resident: None },
                    Up::End => Input::StdoutClosed(key),
                })
            }
            Step::Finish(key) => {
                if let Some((job, _)) = self.worker(key).runs.take() {
                    let outcome = Outcome::Success;
                    self.report(key, Up::Message(Message::Answer { job, outcome, ready: true }));
                }
                self.go_on(key)
            }
            Step::Stall(key) => {
                self.losses -= 1;
                self.disconnect(key);
                Ok(())
            }
            Step::CarrierEnds(key) => {
                let worker = self.worker(key);
                let by_itself = !worker.ending;
                (worker.ending, worker.carried, worker.unreaped) = (false, false, true);
                self.losses -= u32::from(by_itself);
                self.disconnect(key);
                self.worker(key).going.push_back(Up::End);
                Ok(())
            }
            Step::Reap(key) => {
                self.worker(key).unreaped = false;
                self.input(Input::StderrClosed(key))?;
                self.input(Input::Exited { worker_key: key, undelivered: None })
            }
            Step::Ends(key) => {
                self.end(key);
                Ok(())
            }
            Step::Tick => {
                self.early_ticks = self.early_ticks.saturating_sub(1);
                self.now = self.now.max(self.machine.next_deadline().unwrap_or_default());
                let now = self.now;
                for worker in self.workers.values_mut().filter(|of| of.alive && !of.connected) {
                    if now > worker.sent + LONGEST_WAY {
                        worker.coming.clear();
                    }
                    if worker.has_silence && now > worker.heard + SILENCE + LATEST_GUARD {
                        (worker.alive, worker.runs) = (false, None);
                    }
                }
                self.input(Input::Tick)
            }
            Step::Exit => {
                (self.losses, self.exited) = (0, true);
                self.input(Input::Exit)
            }
        }
    }

    fn input(&mut self, input: Input) -> Result<(), String> {
        let mut effects = Vec::new();
        self.saboteur.handle(&mut self.machine, self.now, input, &mut effects);
        for effect in effects {
            match effect {
                Effect::Do(action) => self.act(&action)?,
                Effect::Announce(notice) => self.announced(&notice)?,
            }
        }
        Ok(())
    }

    fn act(&mut self, action: &Action) -> Result<(), String> {
        match *action {
            Action::Spawn(key) => drop(self.spawning.insert(key)),
            Action::SendJob { worker_key, key, attempt, .. } => self.send(worker_key, Down::Job(key.id, attempt)),
            Action::SendSkip { worker_key, id } => self.send(worker_key, Down::Skip(id)),
            Action::SendHeartbeat { worker_key, .. } => self.send(worker_key, Down::Heartbeat),
            Action::SendLeave(worker_key) => self.send(worker_key, Down::Leave),
            Action::Drain(worker_key) => return self.input(Input::Drained(worker_key)),
            Action::Signal(key, Signal::Terminate | Signal::Kill) => {
                let (was_silent, exited) = (self.worker(key).silent, self.exited);
                let worker = self.worker(key);
                if worker.carried && worker.going.is_empty() && !was_silent && !exited {
                    return Err(format!("{key:?} is killed, and nobody is told why"));
                }
                worker.ending = worker.carried;
            }
            Action::Signal(key, signal) => return Err(format!("{signal:?} is sent to {key:?}, which it cannot reach")),
            _ => {}
        }
        Ok(())
    }

    fn announced(&mut self, notice: &Notice) -> Result<(), String> {
        match *notice {
            Notice::Enqueued(key) => drop(self.unsettled.insert(key.id, key)),
            Notice::Settled { key, begun, .. } => {
                if self.unsettled.remove(&key.id).is_none() {
                    return Err(format!("job {} settles twice", key.id));
                }
                return self.is_true(key.id, begun);
            }
            Notice::Retried { key, begun, .. } => return self.is_true(key.id, begun),
            Notice::Silent(key) => {
                let now = self.now;
                let worker = self.worker(key);
                worker.silent = true;
                if now < worker.announced_at + SILENCE {
                    return Err(format!("{key:?} is told to be silent, and was heard at {:?}", worker.announced_at));
                }
            }
            Notice::Idle => {
                if let Some((key, of)) = self.workers.iter().find(|(_, of)| of.runs.is_some()) {
                    return Err(format!("idle, while {key:?} runs {:?}", of.runs));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn is_true(&self, job: u64, begun: Begun) -> Result<(), String> {
        let had_begun = self.begun.range((job, 0)..=(job, u32::MAX)).next().is_some();
        let wrong = (begun == Begun::No && had_begun) || (begun == Begun::Yes && !had_begun);
        if wrong { Err(format!("job {job} had begun: {had_begun}, and {begun:?} is said")) } else { Ok(()) }
    }

    // ------------------------------------------------------------ the workers

    fn report(&mut self, key: WorkerKey, sent: Up) {
        let worker = self.worker(key);
        if worker.connected {
            worker.going.push_back(sent);
        }
    }

    fn send(&mut self, key: WorkerKey, message: Down) {
        let now = self.now;
        if let Some(worker) = self.workers.get_mut(&key).filter(|of| of.connected) {
            worker.sent = now;
            worker.coming.push_back(message);
        }
    }

    /// What is on its way to the worker may still arrive. What is on its way from it is lost.
    fn disconnect(&mut self, key: WorkerKey) {
        let worker = self.worker(key);
        if std::mem::replace(&mut worker.connected, false) && worker.alive {
            worker.going.clear();
        }
    }

    fn end(&mut self, key: WorkerKey) {
        let worker = self.worker(key);
        (worker.alive, worker.runs) = (false, None);
        worker.coming.clear();
        // The other side of the connection tells the local process.
        worker.ending = worker.ending || (worker.connected && worker.carried);
    }

    fn arrive(&mut self, key: WorkerKey) -> Result<(), String> {
        let now = self.now;
        let worker = self.worker(key);
        let Some(message) = worker.coming.pop_front() else { return Ok(()) };
        worker.heard = now;
        match message {
            Down::Heartbeat => {
                worker.has_silence = true;
                self.report(key, Up::Alive);
            }
            Down::Job(job, _) if !worker.has_silence => {
                return Err(format!("job {job} comes before the first heartbeat"));
            }
            Down::Job(job, attempt) => worker.queue.push_back((job, attempt)),
            Down::Skip(job) => {
                let before = worker.queue.len();
                worker.queue.retain(|&(of, _)| of != job);
                if worker.queue.len() < before {
                    self.report(key, Up::Message(Message::Skipped { job }));
                }
            }
            Down::Leave => self.end(key),
        }
        self.go_on(key)
    }

    fn go_on(&mut self, key: WorkerKey) -> Result<(), String> {
        let worker = self.worker(key);
        if !worker.alive || worker.runs.is_some() {
            return Ok(());
        }
        let Some((job, attempt)) = worker.queue.pop_front() else { return Ok(()) };
        if let Some((other, _)) = self.workers.iter().find(|(_, of)| of.runs.is_some_and(|(of, _)| of == job)) {
            return Err(format!("job {job} runs on {other:?}, and begins on {key:?}"));
        }
        if !self.begun.insert((job, attempt)) {
            return Err(format!("attempt {attempt} at job {job} is begun twice, now by {key:?}"));
        }
        self.worker(key).runs = Some((job, attempt));
        Ok(())
    }

    fn check_quiet(&self, steps: &[Step]) -> Result<(), String> {
        match steps {
            [] if !self.unsettled.is_empty() => Err(format!("{:?} wait for nothing", self.unsettled)),
            [] if !self.machine.is_finished() => Err("it never exits".into()),
            _ => Ok(()),
        }
    }
}

fn explore(shape: Shape, sabotage: Option<Sabotage>) -> Result<usize, String> {
    let first = State::new(shape, sabotage)?;
    let steps = first.steps();
    let take = |state: &mut State, step| {
        state.take(shape, step)?;
        let steps = state.steps();
        state.check_quiet(&steps).map(|()| steps)
    };
    go_through(first, steps, take).map_err(|found| format!("{shape:?}: {found}"))
}

#[test]
fn every_rule_holds_in_every_small_far_world() {
    for shape in SHAPES {
        let states = explore(shape, None).unwrap_or_else(|found| panic!("{found}"));
        println!("{states:>9} states: {shape:?}");
        assert!(states > 100, "{shape:?}: {states} states");
    }
}

#[test]
fn every_far_sabotage_is_found() {
    for sabotage in FAR {
        let found = SHAPES.iter().find_map(|&shape| explore(shape, Some(sabotage)).err());
        println!("{sabotage:?}: {}", found.unwrap_or_else(|| panic!("{sabotage:?} is not found")));
    }
}
