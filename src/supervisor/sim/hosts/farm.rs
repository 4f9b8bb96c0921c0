//! The hosts, what is between the pools, and the coordinator.

use super::super::Rng;
use crate::supervisor::{
    Action, Config, CrashCause, Effect, Input, JobSettings, Message, Notice, Outcome, RetryPolicy, Signal, Submitted,
    Supervisor, WhenFull, WorkerKey,
};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fmt;
use std::mem;
use std::time::{Duration, Instant};

const MICRO: Duration = Duration::from_micros(1);
const MILLI: Duration = Duration::from_millis(1);

/// How long the workers of a lost host may go on: as `END_OF_A_HOST` in `examples/two_levels.rs`.
const END_OF_A_HOST: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) hosts: usize,
    pub(super) workers: usize,
    pub(super) items: u32,
}

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub(super) struct Report {
    pub(super) lost_hosts: u64,
    pub(super) lost_batches: u64,
    pub(super) crashed: u64,
    items: u32,
    batches: u64,
    again: u64,
    /// In virtual time.
    took: Duration,
    /// How much of that time the workers worked.
    busy: f64,
    inputs: u64,
    /// The processor time of the coordinator's machine.
    handling: Duration,
    deadlines: Duration,
}

/// An item, and how many times its host was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Item {
    number: u32,
    round: u32,
}

/// What happens at some time. A host is known by its number as a worker of the coordinator.
#[derive(Clone, Debug)]
enum Due {
    /// It reaches the coordinator, with the item that it reports.
    Coordinator(Input, Option<u32>),
    CoordinatorTicks,
    HostStarts(WorkerKey),
    HostReads(u64, u64),
    HostIsLost(u64),
    /// It reaches the host's own pool.
    Host(u64, Input),
    HostTicks(u64),
    WorkerStarts(u64, WorkerKey),
    WorkerReads(u64, WorkerKey, Frame),
    WorkerFinishes(u64, WorkerKey),
    WorkerEnds(u64, WorkerKey),
}

/// What a worker of a host is sent.
#[derive(Clone, Copy, Debug)]
enum Frame {
    Job { id: u64, attempt: u32 },
    Skip(u64),
    Leave,
}

/// A state machine, and when its tick is planned.
struct Machine {
    supervisor: Supervisor,
    tick: Option<Duration>,
}

struct Host {
    key: WorkerKey,
    pool: Machine,
    /// How far it is from the coordinator.
    hop: Duration,
    /// A slow one takes so many times as long.
    slowness: u32,
    is_lost: bool,
    workers: HashMap<WorkerKey, Worker>,
    /// The batch that it does, and how many of its items are not settled.
    batch: Option<(u64, usize)>,
    /// The jobs of its pool.
    items: HashMap<u64, Item>,
    next_job: u64,
}

#[derive(Default)]
struct Worker {
    /// The job that it runs, with the attempt.
    runs: Option<(u64, u32)>,
    /// How long that takes.
    length: Duration,
    queue: VecDeque<(u64, u32)>,
}

/// All of it.
pub(super) struct Farm {
    size: Size,
    rng: Rng,
    now: Duration,
    due: BTreeMap<(Duration, u64), Due>,
    next: u64,
    coordinator: Machine,
    hosts: HashMap<u64, Host>,
    /// The items that no batch has.
    waiting: VecDeque<Item>,
    batches: HashMap<u64, Vec<Item>>,
    next_batch: u64,
    reported: Vec<bool>,
    left: u32,
    /// Each attempt that has begun, and where an item runs.
    begun: HashSet<(Item, u32)>,
    running: HashMap<u32, u64>,
    worked: Duration,
    report: Report,
}

impl Farm {
    pub(super) fn new(size: Size, seed: u64) -> Self {
        let config = Config {
            max_processes: size.hosts,
            timeout_initializing: Some(Duration::from_secs(60)),
            timeout_working: None,
            cores: 8,
            seed,
            ..Config::default()
        };
        Farm {
            size,
            rng: Rng::new(seed),
            now: Duration::ZERO,
            due: BTreeMap::new(),
            next: 0,
            coordinator: Machine { supervisor: Supervisor::new(config), tick: None },
            hosts: HashMap::new(),
            waiting: (0..size.items).map(|number| Item { number, round: 1 }).collect(),
            batches: HashMap::new(),
            next_batch: 1,
            reported: vec![false; size.items as usize],
            left: size.items,
            begun: HashSet::new(),
            running: HashMap::new(),
            worked: Duration::ZERO,
            report: Report { items: size.items, ..Report::default() },
        }
    }

    /// Until each item is reported and the pool has ended.
    ///
    /// # Panics
    ///
    /// Where a rule is broken.
    pub(super) fn run(mut self) -> Report {
        self.tell_coordinator(Input::SpawnWorkers, None);
        self.dispatch();
        while self.left > 0 {
            assert!(self.step(), "{} items wait for nothing, at {:?}", self.left, self.now);
        }
        self.report.took = self.now;
        let slots = (self.size.hosts * self.size.workers) as f64;
        self.report.busy = self.worked.as_secs_f64() / (slots * self.now.as_secs_f64());
        self.tell_coordinator(Input::Exit, None);
        while !self.coordinator.supervisor.is_finished() {
            assert!(self.step(), "the pool does not end");
        }
        assert!(self.hosts.values().all(|host| host.is_lost), "a host is left behind");
        while self.step() {}
        assert!(self.running.is_empty(), "an item runs after the end: {:?}", self.running);
        self.report
    }

    fn plan(&mut self, after: Duration, due: Due) {
        self.next += 1;
        self.due.insert((self.now + after, self.next), due);
    }

    fn step(&mut self) -> bool {
        let Some(((at, _), due)) = self.due.pop_first() else { return false };
        self.now = at;
        match due {
            Due::Coordinator(input, item) => self.tell_coordinator(input, item),
            Due::CoordinatorTicks => {
                if self.coordinator.takes_tick(at) {
                    self.tell_coordinator(Input::Tick, None);
                }
            }
            Due::HostStarts(key) => self.start_host(key),
            Due::HostReads(host, batch) => self.read_batch(host, batch),
            Due::HostIsLost(host) => self.lose_host(host),
            Due::Host(host, input) => self.tell_host(host, input),
            Due::HostTicks(of) => {
                if self.hosts.get_mut(&of).is_some_and(|host| host.pool.takes_tick(at)) {
                    self.tell_host(of, Input::Tick);
                }
            }
            Due::WorkerStarts(host, key) => self.start_worker(host, key),
            Due::WorkerReads(host, key, frame) => self.worker_reads(host, key, frame),
            Due::WorkerFinishes(host, key) => self.worker_finishes(host, key),
            Due::WorkerEnds(host, key) => self.worker_ends(host, key),
        }
        true
    }

    // ------------------------------------------------------------ the coordinator

    /// The coordinator's machine takes something in, and what follows is done. This is what is measured.
    #[allow(clippy::disallowed_methods, reason = "the time of the machine itself is what is measured")]
    fn tell_coordinator(&mut self, input: Input, item: Option<u32>) {
        let mut effects = Vec::new();
        let start = Instant::now();
        self.coordinator.supervisor.handle(self.now, input, &mut effects);
        let handled = Instant::now();
        let deadline = self.coordinator.supervisor.next_deadline();
        self.report.deadlines += handled.elapsed();
        self.report.handling += handled - start;
        self.report.inputs += 1;
        if let Some(after) = self.coordinator.tick_after(self.now, deadline) {
            self.plan(after, Due::CoordinatorTicks);
        }
        for effect in effects {
            match effect {
                Effect::Do(action) => self.carry_out(action),
                Effect::Announce(Notice::Progressed { .. }) => self.is_reported(item.expect("a report has an item")),
                Effect::Announce(Notice::Settled { key, outcome, .. }) => self.batch_is_over(key.id, outcome),
                Effect::Announce(Notice::Violated(worker_key, violation)) => panic!("{worker_key:?}: {violation}"),
                Effect::Announce(_) => {}
            }
        }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Spawn(key) => {
                let after = self.rng.below(2_000) as u32 * MILLI;
                self.plan(after, Due::HostStarts(key));
            }
            Action::SendJob { worker_key, key, .. } => {
                let hop = self.hosts[&worker_key.worker].hop;
                self.plan(hop, Due::HostReads(worker_key.worker, key.id));
            }
            Action::SendLeave(key) | Action::Signal(key, Signal::Terminate | Signal::Kill) => {
                self.plan(MILLI, Due::HostIsLost(key.worker));
            }
            Action::GiveUpStatus(_) | Action::Release(_) => {}
            other => panic!("no host is recalled, stopped or measured: {other:?}"),
        }
    }

    /// As `dispatch` in the example.
    fn dispatch(&mut self) {
        while self.batches.len() < 2 * self.size.hosts && !self.waiting.is_empty() {
            let share = self.waiting.len() / (4 * self.size.hosts);
            let most = if self.size.workers == 1 { 1 } else { 64 * self.size.workers };
            let size = share.clamp(self.size.workers, most).min(self.waiting.len());
            let batch = self.waiting.drain(..size).collect();
            self.send(batch, Duration::ZERO);
        }
    }

    fn send(&mut self, batch: Vec<Item>, delay: Duration) {
        let id = self.next_batch;
        self.next_batch += 1;
        self.report.batches += 1;
        self.batches.insert(id, batch);
        let mut settings = JobSettings::default();
        if !delay.is_zero() {
            settings.set_delay(delay);
        }
        self.tell_coordinator(
            Input::Enqueue { job: Submitted::new(id, 0, settings), when_full: WhenFull::Refuse },
            None,
        );
    }

    fn is_reported(&mut self, item: u32) {
        let before = mem::replace(&mut self.reported[item as usize], true);
        assert!(!before, "item {item} is reported twice");
        self.left -= 1;
    }

    fn batch_is_over(&mut self, id: u64, outcome: Outcome) {
        let batch = self.batches.remove(&id).expect("a batch is over once");
        let rest = batch.into_iter().filter(|item| !self.reported[item.number as usize]);
        let rest: Vec<Item> = rest.map(|item| Item { round: item.round + 1, ..item }).collect();
        if outcome == Outcome::Success {
            assert!(rest.is_empty(), "batch {id} is done, and {} of its items are not", rest.len());
        } else if self.left > 0 {
            assert!(matches!(outcome, Outcome::Crashed(CrashCause::Exited)), "batch {id}: {outcome:?}");
            self.report.lost_batches += 1;
            self.report.again += rest.len() as u64;
            if !rest.is_empty() {
                self.send(rest, END_OF_A_HOST);
            }
        }
        self.dispatch();
    }

    // ------------------------------------------------------------ a host

    fn start_host(&mut self, key: WorkerKey) {
        if self.rng.chance(2) {
            return self.tell_coordinator(Input::SpawnFailed(key), None);
        }
        let config = Config {
            max_processes: self.size.workers,
            cores: self.size.workers,
            retry: RetryPolicy::new(9),
            timeout_working: None,
            ..Config::default()
        };
        let host = Host {
            key,
            pool: Machine { supervisor: Supervisor::new(config), tick: None },
            hop: (100 + self.rng.below(2_000) as u32) * MICRO,
            slowness: if self.rng.chance(2) { 5 } else { 1 },
            is_lost: false,
            workers: HashMap::new(),
            batch: None,
            items: HashMap::new(),
            next_job: 1,
        };
        self.hosts.insert(key.worker, host);
        let life = Duration::from_millis(self.rng.below(100_000));
        self.plan(life, Due::HostIsLost(key.worker));
        self.tell_coordinator(Input::Spawned(key), None);
        self.report(key.worker, Input::Hello { worker_key: key, recalls: true }, None);
        self.tell_host(key.worker, Input::SpawnWorkers);
    }

    /// It arrives at the coordinator in the order in which it was said.
    fn report(&mut self, host: u64, input: Input, item: Option<u32>) {
        let hop = self.hosts[&host].hop;
        self.plan(hop, Due::Coordinator(input, item));
    }

    fn report_message(&mut self, host: u64, message: Message, item: Option<u32>) {
        let worker_key = self.hosts[&host].key;
        self.report(host, Input::Message { worker_key, message, resident: None }, item);
    }

    fn read_batch(&mut self, of: u64, id: u64) {
        let host = self.hosts.get_mut(&of).expect("a host that was sent a batch");
        if host.is_lost {
            return;
        }
        let items = self.batches[&id].clone();
        host.batch = Some((id, items.len()));
        for item in items {
            let host = self.hosts.get_mut(&of).expect("it is here");
            let id = host.next_job;
            host.next_job += 1;
            host.items.insert(id, item);
            self.tell_host(
                of,
                Input::Enqueue { job: Submitted { id, ..Submitted::default() }, when_full: WhenFull::Refuse },
            );
        }
    }

    /// The host, or its connection, is gone; so are its workers, within a second.
    fn lose_host(&mut self, of: u64) {
        let Some(host) = self.hosts.get_mut(&of).filter(|host| !host.is_lost) else { return };
        host.is_lost = true;
        let worker_key = host.key;
        let mut workers: Vec<WorkerKey> = host.workers.keys().copied().collect();
        workers.sort_by_key(|key| key.worker);
        for key in workers {
            let after = MICRO * self.rng.below(1_000_000) as u32;
            self.plan(after, Due::WorkerEnds(of, key));
        }
        if self.left > 0 {
            self.report.lost_hosts += 1;
        }
        self.report(of, Input::StdoutClosed(worker_key), None);
        self.report(of, Input::StderrClosed(worker_key), None);
        self.report(of, Input::Exited { worker_key, undelivered: None }, None);
    }

    /// The host's pool takes something in, unless the host is lost.
    fn tell_host(&mut self, of: u64, input: Input) {
        let Some(host) = self.hosts.get_mut(&of).filter(|host| !host.is_lost) else { return };
        let mut effects = Vec::new();
        host.pool.supervisor.handle(self.now, input, &mut effects);
        let deadline = host.pool.supervisor.next_deadline();
        if let Some(after) = host.pool.tick_after(self.now, deadline) {
            self.plan(after, Due::HostTicks(of));
        }
        for effect in effects {
            match effect {
                Effect::Do(action) => self.carry_out_there(of, action),
                Effect::Announce(Notice::Settled { key, outcome, .. }) => {
                    assert_eq!(outcome, Outcome::Success, "an item fails for good");
                    self.item_is_done(of, key.id);
                }
                Effect::Announce(Notice::AllReady) => self.report_message(of, Message::Ready, None),
                Effect::Announce(Notice::Violated(worker_key, violation)) => panic!("{worker_key:?}: {violation}"),
                Effect::Announce(_) => {}
            }
        }
    }

    fn carry_out_there(&mut self, of: u64, action: Action) {
        let frame = |worker_key, frame| Due::WorkerReads(of, worker_key, frame);
        let due = match action {
            Action::Spawn(worker_key) => Due::WorkerStarts(of, worker_key),
            Action::SendJob { worker_key, key, attempt, .. } => frame(worker_key, Frame::Job { id: key.id, attempt }),
            Action::SendSkip { worker_key, id } => frame(worker_key, Frame::Skip(id)),
            Action::SendLeave(worker_key) => frame(worker_key, Frame::Leave),
            Action::Signal(worker_key, Signal::Terminate | Signal::Kill) => Due::WorkerEnds(of, worker_key),
            Action::GiveUpStatus(_) | Action::Release(_) => return,
            other => panic!("no item is limited or aborted: {other:?}"),
        };
        self.plan(50 * MICRO, due);
    }

    fn item_is_done(&mut self, of: u64, job: u64) {
        let host = self.hosts.get_mut(&of).expect("a host that speaks");
        let item = host.items.remove(&job).expect("a job that it has");
        let (id, left) = host.batch.as_mut().map(|(id, left)| (*id, left)).expect("a batch that it does");
        *left -= 1;
        let is_over = *left == 0;
        self.report_message(of, Message::Progress { job: id }, Some(item.number));
        if is_over {
            self.report_message(of, Message::Answer { job: id, outcome: Outcome::Success, ready: true }, None);
        }
    }

    // ------------------------------------------------------------ a worker of a host

    fn start_worker(&mut self, of: u64, worker_key: WorkerKey) {
        let Some(host) = self.hosts.get_mut(&of).filter(|host| !host.is_lost) else { return };
        host.workers.insert(worker_key, Worker::default());
        for input in [
            Input::Spawned(worker_key),
            Input::Hello { worker_key, recalls: true },
            Input::Message { worker_key, message: Message::Ready, resident: None },
        ] {
            self.plan(MILLI, Due::Host(of, input));
        }
    }

    /// The worker, while its process lives.
    fn worker(&mut self, of: u64, key: WorkerKey) -> Option<&mut Worker> {
        self.hosts.get_mut(&of)?.workers.get_mut(&key)
    }

    fn worker_reads(&mut self, of: u64, worker_key: WorkerKey, frame: Frame) {
        let Some(worker) = self.worker(of, worker_key) else { return };
        match frame {
            Frame::Job { id, attempt } => {
                worker.queue.push_back((id, attempt));
                self.go_on(of, worker_key);
            }
            Frame::Skip(id) => {
                let before = worker.queue.len();
                worker.queue.retain(|&(job, _)| job != id);
                if worker.queue.len() < before {
                    let message = Message::Skipped { job: id };
                    self.plan(50 * MICRO, Due::Host(of, Input::Message { worker_key, message, resident: None }));
                }
            }
            Frame::Leave => self.worker_ends(of, worker_key),
        }
    }

    /// It begins the next job that it has, if it runs none.
    fn go_on(&mut self, of: u64, worker_key: WorkerKey) {
        let Some(worker) = self.worker(of, worker_key).filter(|worker| worker.runs.is_none()) else { return };
        let Some((job, attempt)) = worker.queue.pop_front() else { return };
        worker.runs = Some((job, attempt));
        let host = &self.hosts[&of];
        let (item, slowness) = (host.items[&job], host.slowness);
        assert!(self.begun.insert((item, attempt)), "{item:?}, attempt {attempt}, begins twice");
        let elsewhere = self.running.insert(item.number, of);
        assert_eq!(elsewhere, None, "{item:?} runs on two hosts");
        let length = (20 + self.rng.below(2_000) as u32) * MILLI * slowness;
        if self.rng.below(1_000) == 0 {
            self.report.crashed += 1;
            self.plan(length / 2, Due::WorkerEnds(of, worker_key));
        } else {
            self.plan(length, Due::WorkerFinishes(of, worker_key));
        }
        if let Some(worker) = self.worker(of, worker_key) {
            worker.length = length;
        }
    }

    fn worker_finishes(&mut self, of: u64, worker_key: WorkerKey) {
        let Some(worker) = self.worker(of, worker_key) else { return };
        let length = worker.length;
        let Some((job, _)) = worker.runs.take() else { return };
        self.worked += length;
        self.ends_running(of, job);
        let message = Message::Answer { job, outcome: Outcome::Success, ready: true };
        self.plan(50 * MICRO, Due::Host(of, Input::Message { worker_key, message, resident: None }));
        self.go_on(of, worker_key);
    }

    fn worker_ends(&mut self, of: u64, worker_key: WorkerKey) {
        let Some(host) = self.hosts.get_mut(&of) else { return };
        let Some(worker) = host.workers.remove(&worker_key) else { return };
        if let Some((job, _)) = worker.runs {
            self.ends_running(of, job);
        }
        for input in [
            Input::StdoutClosed(worker_key),
            Input::StderrClosed(worker_key),
            Input::Exited { worker_key, undelivered: None },
        ] {
            self.plan(50 * MICRO, Due::Host(of, input));
        }
    }

    fn ends_running(&mut self, of: u64, job: u64) {
        let item = self.hosts[&of].items[&job];
        assert_eq!(self.running.remove(&item.number), Some(of), "{item:?} runs elsewhere");
    }
}

impl Machine {
    /// After what time a tick is to be planned, if none is that comes in time.
    fn tick_after(&mut self, now: Duration, deadline: Option<Duration>) -> Option<Duration> {
        let deadline = deadline.filter(|&deadline| self.tick.is_none_or(|planned| deadline < planned))?;
        self.tick = Some(deadline);
        Some(deadline.saturating_sub(now))
    }

    /// Whether the tick of now is the one that was planned last: others came to be too many.
    fn takes_tick(&mut self, now: Duration) -> bool {
        self.tick.take_if(|planned| *planned <= now).is_some()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { items, batches, lost_hosts, lost_batches, again, crashed, inputs, .. } = self;
        let micros = |time: Duration, of: f64| time.as_secs_f64() * 1e6 / of;
        let machine = self.handling + self.deadlines;
        write!(
            f,
            "{items} items in {batches} batches, {lost_hosts} hosts lost with {lost_batches} batches, {again} items again, \
             {crashed} crashes of workers; {:.0} s of virtual time, the workers busy for {:.0} % of it; the coordinator's \
             machine: {:.2} µs an item, {:.2} µs an input, {:.0} % of that for the next deadline",
            self.took.as_secs_f64(),
            100.0 * self.busy,
            micros(machine, f64::from(*items)),
            micros(machine, *inputs as f64),
            100.0 * self.deadlines.as_secs_f64() / machine.as_secs_f64(),
        )
    }
}
