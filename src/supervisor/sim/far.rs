//! A world of workers on other machines, whose connections stall, are lost, and are closed.
//!
//! A far worker is two things here: the local process that carries its connection, which the machine sees, and the process over
//! there, which goes on without it until the end of its input reaches it, or its limit of silence is over. The world knows what
//! each of them does, and holds that against what the machine says.

use super::{Replay, Rng, from_env};
use crate::supervisor::{
    Action, Begun, Config, Effect, Input, JobKey, JobSettings, Message, Notice, Outcome, RetryPolicy, Signal,
    SiteRules, Submitted, Supervisor, WhenFull, WorkerKey,
};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

const MILLI: Duration = Duration::from_millis(1);

/// What is on its way takes no longer, and a guard is no later: together they are under half of the least silence.
const LONGEST_WAY: Duration = Duration::from_millis(110);
const LATEST_GUARD: Duration = Duration::from_millis(35);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Down {
    Job { job: u64, attempt: u32 },
    Skip(u64),
    Heartbeat(Duration),
    Leave,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Up {
    Hello,
    Alive,
    Message(Message),
    End,
}

#[derive(Clone, Copy, Debug)]
enum Due {
    Call,
    Spawned(WorkerKey),
    Arrive(WorkerKey),
    Deliver(WorkerKey),
    Ready(WorkerKey),
    /// The handler of this attempt comes to its end.
    Finish(WorkerKey, u64, u32),
    /// Nothing passes any more, either way.
    Stalls(WorkerKey),
    /// The local process ends.
    CarrierDies(WorkerKey),
    Reap(WorkerKey),
    StderrCloses(WorkerKey),
    /// The end of the input reaches the worker.
    InputEnds(WorkerKey),
    /// The guard looks whether the pool is silent.
    Guard(WorkerKey),
}

#[derive(Debug, Default)]
struct Worker {
    far: bool,
    /// The process over there.
    alive: bool,
    /// The local process, and whether bytes pass.
    carried: bool,
    connected: bool,
    coming: VecDeque<Down>,
    going: VecDeque<Up>,
    queue: VecDeque<(u64, u32)>,
    runs: Option<(u64, u32)>,
    silence: Option<Duration>,
    heard: Duration,
    leaves: bool,
    /// Whether it may begin a job.
    ready: bool,
}

struct World {
    rng: Rng,
    now: Duration,
    machine: Supervisor,
    workers: BTreeMap<WorkerKey, Worker>,
    due: BTreeMap<(Duration, u64), Due>,
    next: u64,
    calls: u64,
    jobs: BTreeMap<u64, JobKey>,
    next_job: u64,
    far: Vec<bool>,
    begun: BTreeMap<(u64, u32), WorkerKey>,
    settled: u64,
    lost: u64,
    stalls: u64,
    trace: bool,
    found: Option<String>,
}

impl World {
    fn new(seed: u64, trace: bool) -> Self {
        let mut rng = Rng::new(seed);
        let slots = rng.pick(&[1, 1, 2, 3]);
        let silence = rng.pick(&[300 * MILLI, 300 * MILLI, 700 * MILLI]);
        let site = |rng: &mut Rng, slots, far: bool| SiteRules {
            slots,
            silence: far.then_some(silence),
            prefetch: rng.pick(&[Some(0), Some(1), Some(4), None]),
            timeout_initializing: rng.pick(&[None, Some(Some(300 * MILLI))]),
        };
        let near = rng.pick(&[0, 0, 1]);
        let mut sites = vec![site(&mut rng, slots, true)];
        if near > 0 {
            sites.insert(0, site(&mut rng, near, false));
        }
        let far = sites.iter().flat_map(|site| vec![site.silence.is_some(); site.slots]).collect();
        let config = Config {
            max_processes: slots + near,
            min_processes: rng.pick(&[0, 1]),
            max_jobs_per_process: rng.pick(&[None, Some(1), Some(5)]),
            retry: RetryPolicy::new(rng.pick(&[0, 1, 3])).backoff(rng.pick(&[Duration::ZERO, MILLI]), 700 * MILLI),
            seed,
            timeout_working: Some(rng.pick(&[60 * MILLI, 400 * MILLI])),
            kill_grace: rng.pick(&[Duration::ZERO, 20 * MILLI]),
            start_failures: rng.pick(&[2, 5]),
            prefetch: 4,
            cores: 2,
            sites,
            ..Config::default()
        };
        if trace {
            println!("{config:#?}");
        }
        World {
            calls: 1 + rng.below(40),
            rng,
            now: Duration::ZERO,
            machine: Supervisor::new(config),
            workers: BTreeMap::new(),
            due: BTreeMap::new(),
            next: 0,
            jobs: BTreeMap::new(),
            next_job: 1,
            far,
            begun: BTreeMap::new(),
            settled: 0,
            lost: 0,
            stalls: rng_stalls(seed),
            trace,
            found: None,
        }
    }

    fn run(mut self) -> Result<(u64, u64), String> {
        self.plan(Duration::ZERO, Due::Call);
        self.input(Input::Tick);
        let mut steps = 0;
        loop {
            steps += 1;
            if let Some(found) = self.found.take() {
                return Err(format!("at {:?}: {found}", self.now));
            }
            if steps > 100_000 || self.now > Duration::from_secs(3600) {
                return Err(format!("it never ends: {} jobs, {:?}", self.jobs.len(), self.workers));
            }
            if self.calls == 0 && self.machine.is_idle() && self.rng.chance(50) {
                break;
            }
            if !self.step() {
                break;
            }
        }
        if !self.jobs.is_empty() {
            return Err(format!("{:?} wait for nothing", self.jobs));
        }
        if !self.machine.is_idle() {
            return Err("it is never idle".into());
        }
        self.input(Input::Exit);
        while !self.machine.is_finished() {
            if !self.step() {
                return Err("it never exits".into());
            }
        }
        Ok((self.settled, self.lost))
    }

    // ------------------------------------------------------------ time

    fn plan(&mut self, after: Duration, due: Due) {
        self.next += 1;
        self.due.insert((self.now + after, self.next), due);
    }

    fn soon(&mut self, due: Due) {
        let after = self.rng.pick(&[Duration::ZERO, MILLI / 20, MILLI, 20 * MILLI, LONGEST_WAY]);
        self.plan(after, due);
    }

    fn step(&mut self) -> bool {
        let event = self.due.first_key_value().map(|(key, _)| *key);
        let deadline = self.machine.next_deadline();
        let tick = match (event, deadline) {
            (None, None) => return false,
            (Some((at, _)), Some(deadline)) => deadline < at || (deadline == at && self.rng.chance(50)),
            (event, _) => event.is_none(),
        };
        if tick {
            self.now = self.now.max(deadline.unwrap_or_default());
            self.input(Input::Tick);
        } else if let Some(key) = event
            && let Some(due) = self.due.remove(&key)
        {
            self.now = key.0;
            self.happen(due);
        }
        true
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Call => self.call(),
            Due::Spawned(worker_key) => self.spawned(worker_key),
            Due::Arrive(worker_key) => self.arrive(worker_key),
            Due::Deliver(worker_key) => {
                let sent = self.workers.get_mut(&worker_key).and_then(|worker| worker.going.pop_front());
                match sent {
                    Some(Up::Hello) => self.input(Input::Hello { worker_key, recalls: true }),
                    Some(Up::Alive) => self.input(Input::Heard(worker_key)),
                    Some(Up::Message(message)) => self.input(Input::Message { worker_key, message, resident: None }),
                    Some(Up::End) => self.input(Input::StdoutClosed(worker_key)),
                    None => {}
                }
            }
            Due::Ready(worker_key) => {
                self.report(worker_key, Up::Message(Message::Ready));
                if let Some(worker) = self.workers.get_mut(&worker_key) {
                    worker.ready = true;
                }
                self.go_on(worker_key);
            }
            Due::Finish(worker_key, job, attempt) => self.finish(worker_key, job, attempt),
            Due::Stalls(worker_key) => {
                self.disconnect(worker_key);
                if self.rng.chance(50) {
                    let after = self.rng.pick(&[MILLI, 200 * MILLI, 900 * MILLI]);
                    self.plan(after, Due::CarrierDies(worker_key));
                }
            }
            Due::CarrierDies(worker_key) => self.carrier_dies(worker_key),
            Due::Reap(worker_key) => self.input(Input::Exited { worker_key, undelivered: None }),
            Due::StderrCloses(worker_key) => self.input(Input::StderrClosed(worker_key)),
            Due::InputEnds(worker_key) => self.ends(worker_key),
            Due::Guard(worker_key) => {
                let now = self.now;
                let silent = self
                    .workers
                    .get(&worker_key)
                    .is_some_and(|of| of.silence.is_some_and(|silence| now >= of.heard + silence));
                if silent {
                    self.ends(worker_key);
                }
            }
        }
    }

    fn call(&mut self) {
        if self.calls == 0 {
            return;
        }
        self.calls -= 1;
        if self.rng.chance(80) {
            for _ in 0..1 + self.rng.below(6) {
                let id = self.next_job;
                self.next_job += 1;
                let mut settings = JobSettings::default();
                if self.rng.chance(20) {
                    settings.set_timeout(Some(self.rng.pick(&[5 * MILLI, 2000 * MILLI])));
                }
                settings.set_idempotent(self.rng.chance(10));
                if is_keyed(id) {
                    settings.set_numbered_limit(1, 1);
                }
                self.input(Input::Enqueue { job: Submitted::new(id, 0, settings), when_full: WhenFull::Exceed });
            }
        } else if !self.jobs.is_empty() {
            let keys: Vec<_> = self.jobs.values().copied().collect();
            let key = self.rng.pick(&keys);
            let grace = self.rng.pick(&[Duration::ZERO, 30 * MILLI]);
            let aborts = self.rng.chance(50);
            self.input(if aborts { Input::Abort(key) } else { Input::Cancel { key, grace } });
        }
        self.soon(Due::Call);
    }

    // ------------------------------------------------------------ the workers

    fn spawned(&mut self, worker_key: WorkerKey) {
        if self.rng.chance(5) {
            return self.input(Input::SpawnFailed(worker_key));
        }
        let far = self.far[worker_key.slot];
        let worker = Worker { far, alive: true, carried: true, connected: true, heard: self.now, ..Worker::default() };
        self.workers.insert(worker_key, worker);
        self.input(Input::Spawned(worker_key));
        if self.rng.chance(10) {
            return self.soon(Due::CarrierDies(worker_key));
        }
        self.report(worker_key, Up::Hello);
        self.soon(Due::Ready(worker_key));
        if far && self.rng.chance(self.stalls) {
            let after = Duration::from_micros(self.rng.below(400_000));
            let how = if self.rng.chance(60) { Due::Stalls(worker_key) } else { Due::CarrierDies(worker_key) };
            self.plan(after, how);
        }
    }

    fn report(&mut self, worker_key: WorkerKey, sent: Up) {
        if let Some(worker) = self.workers.get_mut(&worker_key)
            && worker.alive
            && worker.connected
        {
            worker.going.push_back(sent);
            self.soon(Due::Deliver(worker_key));
        }
    }

    fn send(&mut self, worker_key: WorkerKey, message: Down) {
        if let Some(worker) = self.workers.get_mut(&worker_key)
            && worker.connected
        {
            worker.coming.push_back(message);
            self.soon(Due::Arrive(worker_key));
        }
    }

    fn arrive(&mut self, worker_key: WorkerKey) {
        let now = self.now;
        let Some(worker) = self.workers.get_mut(&worker_key) else { return };
        let Some(message) = worker.coming.pop_front().filter(|_| worker.alive) else { return };
        worker.heard = now;
        if let Some(silence) = worker.silence {
            let late = self.rng.pick(&[Duration::ZERO, LATEST_GUARD]);
            self.plan(silence + late, Due::Guard(worker_key));
        }
        let Some(worker) = self.workers.get_mut(&worker_key) else { return };
        match message {
            Down::Heartbeat(silence) => {
                worker.silence = Some(silence);
                self.plan(silence, Due::Guard(worker_key));
                self.report(worker_key, Up::Alive);
            }
            Down::Job { job, attempt } => {
                if worker.far && worker.silence.is_none() {
                    self.found.get_or_insert(format!("job {job} comes before the first heartbeat"));
                    return;
                }
                worker.queue.push_back((job, attempt));
                self.go_on(worker_key);
            }
            Down::Skip(job) => {
                let before = worker.queue.len();
                worker.queue.retain(|&(of, _)| of != job);
                if worker.queue.len() < before {
                    self.report(worker_key, Up::Message(Message::Skipped { job }));
                }
            }
            Down::Leave => {
                worker.leaves = true;
                self.go_on(worker_key);
            }
        }
    }

    fn go_on(&mut self, worker_key: WorkerKey) {
        let Some(worker) = self.workers.get_mut(&worker_key).filter(|of| of.alive && of.ready && of.runs.is_none())
        else {
            return;
        };
        match worker.queue.pop_front() {
            Some((job, attempt)) => self.begin(worker_key, job, attempt),
            None if worker.leaves => self.ends(worker_key),
            None => {}
        }
    }

    /// A handler begins: no other may run the job, and nobody has begun this attempt before.
    fn begin(&mut self, worker_key: WorkerKey, job: u64, attempt: u32) {
        if let Some(before) = self.begun.insert((job, attempt), worker_key) {
            self.found.get_or_insert(format!("attempt {attempt} at job {job}: begun by {before:?} and {worker_key:?}"));
        }
        let other = self.workers.iter().find(|(_, of)| of.alive && of.runs.is_some_and(|(of, _)| of == job));
        if let Some((other, _)) = other {
            self.found.get_or_insert(format!("job {job} runs on {other:?}, and begins on {worker_key:?}"));
        }
        let runs_keyed = |of: &Worker| of.alive && of.runs.is_some_and(|(of, _)| is_keyed(of));
        if is_keyed(job) && self.workers.values().any(runs_keyed) {
            self.found.get_or_insert(format!("two jobs of a key with one permit run: {job} begins on {worker_key:?}"));
        }
        if let Some(worker) = self.workers.get_mut(&worker_key) {
            worker.runs = Some((job, attempt));
        }
        if self.rng.chance(30) {
            self.report(worker_key, Up::Message(Message::Start { job }));
        }
        // Some hang until they are killed.
        if !self.rng.chance(15) {
            let long = self.rng.pick(&[MILLI / 10, MILLI / 10, MILLI, 5 * MILLI, 50 * MILLI, 500 * MILLI]);
            self.plan(long, Due::Finish(worker_key, job, attempt));
        }
    }

    fn finish(&mut self, worker_key: WorkerKey, job: u64, attempt: u32) {
        let Some(worker) = self.workers.get_mut(&worker_key) else { return };
        if !worker.alive || worker.runs != Some((job, attempt)) {
            return;
        }
        match self.rng.below(20) {
            // It crashes, and the far side of the connection tells that to the local one.
            0 => return self.ends(worker_key),
            1 => {
                self.report(worker_key, Up::Message(Message::Terminal { job: Some(job) }));
                return self.ends(worker_key);
            }
            _ => {}
        }
        worker.runs = None;
        let outcome = self.rng.pick(&[Outcome::Success, Outcome::Success, Outcome::Failed]);
        let ready = self.rng.chance(80);
        worker.ready = ready;
        self.report(worker_key, Up::Message(Message::Answer { job, outcome, ready }));
        if ready {
            self.go_on(worker_key);
        } else {
            self.soon(Due::Ready(worker_key));
        }
    }

    /// The process over there ends, and its group with it.
    fn ends(&mut self, worker_key: WorkerKey) {
        let Some(worker) = self.workers.get_mut(&worker_key).filter(|of| of.alive) else { return };
        (worker.alive, worker.runs) = (false, None);
        self.soon(Due::CarrierDies(worker_key));
    }

    /// Nothing passes any more. What is on its way arrives, or does not, or the first of it does.
    fn disconnect(&mut self, worker_key: WorkerKey) {
        let Some(worker) = self.workers.get_mut(&worker_key) else { return };
        if std::mem::replace(&mut worker.connected, false) {
            let (down, up) = (worker.coming.len() as u64, worker.going.len() as u64);
            worker.coming.truncate(self.rng.below(down + 1) as usize);
            // The messages of one that ended by itself, or is near, are all taken in.
            if worker.alive && worker.far {
                worker.going.truncate(self.rng.below(up + 1) as usize);
            }
        }
    }

    /// The local process is no more. The end of the worker's input comes to it, or is lost as well.
    fn carrier_dies(&mut self, worker_key: WorkerKey) {
        let near = !self.far[worker_key.slot];
        self.disconnect(worker_key);
        let Some(worker) = self.workers.get_mut(&worker_key).filter(|of| of.carried) else { return };
        worker.carried = false;
        worker.going.push_back(Up::End);
        if near {
            (worker.alive, worker.runs) = (false, None);
        } else if self.rng.chance(50) {
            self.soon(Due::InputEnds(worker_key));
        }
        self.soon(Due::Deliver(worker_key));
        self.soon(Due::StderrCloses(worker_key));
        self.plan(Duration::ZERO, Due::Reap(worker_key));
    }

    // ------------------------------------------------------------ the machine

    fn input(&mut self, input: Input) {
        if self.trace {
            println!("{:>12?} {input:?}", self.now);
        }
        let mut effects = Vec::new();
        self.machine.handle(self.now, input.clone(), &mut effects);
        let mut drained = Vec::new();
        for effect in effects {
            if self.trace {
                println!("{:>14} {effect:?}", "");
            }
            match effect {
                Effect::Do(Action::Spawn(worker_key)) => self.soon(Due::Spawned(worker_key)),
                Effect::Do(Action::SendJob { worker_key, key, attempt, .. }) => {
                    self.send(worker_key, Down::Job { job: key.id, attempt });
                }
                Effect::Do(Action::SendSkip { worker_key, id }) => self.send(worker_key, Down::Skip(id)),
                Effect::Do(Action::SendHeartbeat { worker_key, silence }) => {
                    self.send(worker_key, Down::Heartbeat(silence));
                }
                Effect::Do(Action::SendLeave(worker_key)) => self.send(worker_key, Down::Leave),
                Effect::Do(Action::Drain(worker_key)) => drained.push(worker_key),
                Effect::Do(Action::Signal(worker_key, signal @ (Signal::Terminate | Signal::Kill))) => {
                    if signal == Signal::Kill || self.rng.chance(80) {
                        self.plan(MILLI, Due::CarrierDies(worker_key));
                    }
                }
                Effect::Do(Action::Signal(worker_key, signal)) => {
                    if self.far[worker_key.slot] {
                        self.found
                            .get_or_insert(format!("{signal:?} is sent to {worker_key:?}, which it cannot reach"));
                    } else if signal == Signal::Stop {
                        // It stops at once, and what it has written is on its way: here it is killed instead.
                        self.plan(Duration::ZERO, Due::CarrierDies(worker_key));
                    }
                }
                Effect::Announce(notice) => self.announced(&notice),
                Effect::Do(_) => {}
            }
        }
        for worker_key in drained {
            self.input(Input::Drained(worker_key));
        }
    }

    fn announced(&mut self, notice: &Notice) {
        match *notice {
            Notice::Enqueued(key) => drop(self.jobs.insert(key.id, key)),
            Notice::Settled { key, outcome, begun, .. } => {
                self.settled += 1;
                self.lost += u64::from(matches!(outcome, Outcome::Crashed(_)));
                if self.jobs.remove(&key.id).is_none() {
                    self.found.get_or_insert(format!("job {} settles twice", key.id));
                }
                self.is_true(key.id, begun);
            }
            Notice::Retried { key, begun, outcome, .. } => {
                self.lost += u64::from(matches!(outcome, Outcome::Crashed(_)));
                self.is_true(key.id, begun);
            }
            Notice::Idle => {
                let runs = self.workers.iter().find(|(_, of)| of.alive && of.runs.is_some());
                if let Some((worker_key, of)) = runs {
                    self.found.get_or_insert(format!("idle, while {worker_key:?} runs {:?}", of.runs));
                }
            }
            _ => {}
        }
    }

    /// What is said of a job agrees with what its handlers did.
    fn is_true(&mut self, job: u64, begun: Begun) {
        let had_begun = self.begun.range((job, 0)..=(job, u32::MAX)).next().is_some();
        let wrong = (begun == Begun::No && had_begun) || (begun == Begun::Yes && !had_begun);
        if wrong {
            self.found.get_or_insert(format!("job {job} had begun: {had_begun}, and {begun:?} is said"));
        }
    }
}

/// Whether the job has a key with one permit.
fn is_keyed(job: u64) -> bool {
    job.is_multiple_of(3)
}

/// How many far workers, in percent, lose their connection while they are young.
fn rng_stalls(seed: u64) -> u64 {
    [0, 30, 100][(seed % 3) as usize]
}

#[test]
fn every_rule_holds_in_every_far_world() {
    if let Some(seed) = from_env("HIRELINGS_SEED") {
        if let Err(found) = World::new(seed, true).run() {
            panic!("seed {seed}: {found}");
        }
        return;
    }
    let seeds = from_env("HIRELINGS_SEEDS").unwrap_or(1_000);
    let (mut jobs, mut lost) = (0, 0);
    for seed in 0..seeds {
        match World::new(seed, false).run() {
            Ok((settled, crashed)) => (jobs, lost) = (jobs + settled, lost + crashed),
            Err(found) => panic!("seed {seed}: {found}\n{}", Replay(seed)),
        }
    }
    println!("{seeds} far worlds: {jobs} jobs, {lost} attempts lost");
    // A world in which nothing is lost would find nothing.
    assert!(jobs >= 10 * seeds && lost >= seeds, "{jobs} jobs, {lost} lost");
}
