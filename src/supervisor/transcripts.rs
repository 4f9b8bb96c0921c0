//! Transcripts: what happens, line by line, and what the machine says to it. One for each row of the table of worker
//! states, and for each rule that has a time in it.
//!
//! A line of a transcript is an effect in short: `task 1/2 at 0#3` is attempt 2 of job 1 at worker 3 in slot 0.

mod admission;
mod at_most_once;
mod cancel;
mod expiry;
mod far;
mod keys;
mod leaving;
mod memory;
mod order;
mod prefetch;
mod recycling;
mod retries;
mod size;
mod starting;
mod states;
mod unwanted;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);

fn config() -> Config {
    Config {
        max_processes: 1,
        min_processes: 0,
        max_jobs_per_process: Some(64),
        idle_timeout: None,
        max_age: None,
        max_backlog: None,
        retry: RetryPolicy::new(0),
        expires: None,
        seed: 0,
        timeout_initializing: Some(5 * SECOND),
        timeout_working: Some(10 * SECOND),
        timeout_recovering: Some(3 * SECOND),
        soft_timeout: None,
        kill_grace: 500 * MILLI,
        start_failures: 3,
        prefetch: 0,
        cores: 1,
        max_memory: MaxMemory::default(),
        sites: Vec::new(),
    }
}

struct Script {
    machine: Supervisor,
    now: Duration,
    next_job: u64,
}

fn worker_key(slot: usize, worker: u64) -> WorkerKey {
    WorkerKey { slot, worker }
}

const FIRST: WorkerKey = WorkerKey { slot: 0, worker: 1 };

fn exited(worker_key: WorkerKey) -> Input {
    Input::Exited { worker_key, undelivered: None }
}

fn success(job: u64) -> Message {
    Message::Answer { job, outcome: Outcome::Success, ready: true }
}

impl Script {
    fn new(config: Config) -> Self {
        Script { machine: Supervisor::new(config), now: Duration::ZERO, next_job: 1 }
    }

    /// A pool whose first worker is ready.
    fn ready(config: Config) -> Self {
        let mut script = Script::new(config);
        script.tick();
        script.input(Input::Spawned(FIRST));
        script.input(Input::Hello { worker_key: FIRST, recalls: true });
        script.message(FIRST, Message::Ready);
        script
    }

    /// The same, and it holds job 1.
    fn working(config: Config) -> Self {
        let mut script = Script::ready(config);
        script.enqueue();
        script
    }

    fn input(&mut self, input: Input) -> Vec<String> {
        let mut effects = Vec::new();
        self.machine.handle(self.now, input, &mut effects);
        let lines =
            effects.iter().filter(|effect| !matches!(effect, Effect::Do(Action::Drain(_) | Action::Release(_))));
        let lines = lines.map(|effect| self.line(effect)).collect();
        let mut lines: Vec<String> = lines;
        for effect in effects {
            // Nothing is on its way unless the script says so.
            if let Effect::Do(Action::Drain(worker_key)) = effect {
                lines.extend(self.input(Input::Drained(worker_key)));
            }
        }
        lines
    }

    fn tick(&mut self) -> Vec<String> {
        self.input(Input::Tick)
    }

    fn message(&mut self, worker_key: WorkerKey, message: Message) -> Vec<String> {
        self.input(Input::Message { worker_key, message, resident: None })
    }

    fn enqueue(&mut self) -> Vec<String> {
        self.enqueue_with(JobSettings::default())
    }

    fn enqueue_with(&mut self, settings: JobSettings) -> Vec<String> {
        self.enqueue_when_full(settings, WhenFull::Exceed)
    }

    fn enqueue_when_full(&mut self, settings: JobSettings, when_full: WhenFull) -> Vec<String> {
        self.submit(0, settings, when_full)
    }

    /// Enqueues a job whose payload is so long.
    fn enqueue_bytes(&mut self, bytes: usize) -> Vec<String> {
        self.submit(bytes, JobSettings::default(), WhenFull::Exceed)
    }

    fn submit(&mut self, bytes: usize, settings: JobSettings, when_full: WhenFull) -> Vec<String> {
        let id = self.next_job;
        self.next_job += 1;
        self.input(Input::Enqueue { job: Submitted::new(id, bytes, settings), when_full })
    }

    /// A caller brings a job, and waits, is refused or exceeds.
    fn caller(&mut self, when_full: WhenFull) -> Vec<String> {
        self.enqueue_when_full(JobSettings::default(), when_full)
    }

    fn key(&self, id: u64) -> JobKey {
        let key = (0..64).map(|place| JobKey { place, id }).find(|&key| self.machine.jobs.get(key).is_some());
        key.expect("a job that is not over")
    }

    fn abort(&mut self, id: u64) -> Vec<String> {
        let key = self.key(id);
        self.input(Input::Abort(key))
    }

    /// Lets time pass to the machine's next deadline, which must be `after` from now.
    fn wait(&mut self, after: Duration) -> Vec<String> {
        assert_eq!(self.machine.next_deadline(), Some(self.now + after));
        self.now += after;
        self.tick()
    }

    /// The process has ended, was reaped, and both its pipes are read to their end.
    fn dies(&mut self, worker_key: WorkerKey) -> Vec<String> {
        let mut lines = self.input(Input::StdoutClosed(worker_key));
        lines.extend(self.input(Input::StderrClosed(worker_key)));
        lines.extend(self.input(exited(worker_key)));
        lines
    }

    fn line(&self, effect: &Effect) -> String {
        let at = |worker_key: &WorkerKey| format!("{}#{}", worker_key.slot, worker_key.worker);
        let job = |key: &JobKey| key.id;
        match effect {
            Effect::Do(Action::Spawn(worker_key)) => format!("spawn {}", at(worker_key)),
            Effect::Announce(Notice::Spawned(worker_key)) => format!("spawned {}", at(worker_key)),
            Effect::Do(Action::SendJob { worker_key, key, attempt, .. }) => {
                format!("send {}/{attempt} to {}", job(key), at(worker_key))
            }
            Effect::Do(Action::SendSkip { worker_key, id }) => format!("skip {id} at {}", at(worker_key)),
            Effect::Do(Action::SendCancel { worker_key, id, within: Some(within) }) => {
                format!("cancel {id} at {} within {within:?}", at(worker_key))
            }
            Effect::Do(Action::SendCancel { worker_key, id, within: None }) => {
                format!("cancel {id} at {}", at(worker_key))
            }
            Effect::Do(Action::SendHeartbeat { worker_key, .. }) => format!("heartbeat {}", at(worker_key)),
            Effect::Announce(Notice::Silent(worker_key)) => format!("{} is silent", at(worker_key)),
            Effect::Do(Action::SendLeave(worker_key)) => format!("leave {}", at(worker_key)),
            Effect::Do(Action::Signal(worker_key, signal)) => format!("{signal:?} {}", at(worker_key)),
            Effect::Announce(Notice::Refused { id, refusal }) => format!("refused {id}: {refusal:?}"),
            Effect::Announce(Notice::Enqueued(key)) => format!("enqueued {}", job(key)),
            Effect::Announce(Notice::Backlogged(key)) => format!("backlog {}", job(key)),
            Effect::Announce(Notice::KeyForgotten(LimitKey(key))) => format!("key {key} is forgotten"),
            Effect::Announce(Notice::Delayed { key, until }) => {
                format!("{} waits for {:?}", job(key), *until - self.now)
            }
            Effect::Announce(Notice::Task { worker_key, key, attempt }) => {
                format!("task {}/{attempt} at {}", job(key), at(worker_key))
            }
            Effect::Announce(Notice::Started { worker_key, key, attempt }) => {
                format!("start {}/{attempt} at {}", job(key), at(worker_key))
            }
            Effect::Announce(Notice::Progressed { worker_key, key, attempt }) => {
                format!("progress {}/{attempt} at {}", job(key), at(worker_key))
            }
            Effect::Announce(Notice::Retried { key, attempt, outcome, .. }) => {
                format!("retry {}/{attempt}: {}", job(key), short(outcome))
            }
            Effect::Announce(Notice::Settled { key, attempt, outcome, .. }) => {
                format!("settled {}/{attempt}: {}", job(key), short(outcome))
            }
            Effect::Announce(Notice::QueuedAborted { call, aborted }) => format!("call {call} has aborted {aborted}"),
            Effect::Announce(Notice::State { worker_key, state, .. }) => format!("{} is {state}", at(worker_key)),
            Effect::Announce(Notice::TimedOut { worker_key, state, .. }) => {
                format!("{} was {state} for too long", at(worker_key))
            }
            Effect::Announce(Notice::Violated(worker_key, violation)) => format!("{}: {violation}", at(worker_key)),
            Effect::Do(Action::Measure(worker_key)) => format!("measure {}", at(worker_key)),
            Effect::Announce(Notice::OverSoftLimit { worker_key, bytes }) => {
                format!("{} is over its soft limit: {bytes}", at(worker_key))
            }
            Effect::Announce(Notice::OverHardLimit { worker_key, bytes, limit }) => {
                format!("{} holds {bytes} of {limit}", at(worker_key))
            }
            Effect::Do(Action::Drain(worker_key)) => format!("hear {}", at(worker_key)),
            Effect::Announce(Notice::Returned { key, worker_key, .. }) => {
                format!("returned {} from {}", job(key), at(worker_key))
            }
            Effect::Announce(Notice::RecallIgnored(worker_key)) => {
                format!("{} does not answer recalls", at(worker_key))
            }
            Effect::Announce(Notice::PipeClosed(worker_key)) => format!("{} closed its pipe", at(worker_key)),
            Effect::Announce(Notice::TerminalFailure(worker_key)) => format!("terminal failure of {}", at(worker_key)),
            Effect::Announce(Notice::Died { worker_key, start_failed }) => {
                let no_start = |failed: &StartFailed| format!(", no start of {}, {}", at(worker_key), in_a_row(failed));
                format!("died {}{}", at(worker_key), start_failed.as_ref().map(no_start).unwrap_or_default())
            }
            Effect::Announce(Notice::SpawnFailed { worker_key, start_failed }) => {
                format!("no start of {}, {}", at(worker_key), in_a_row(start_failed))
            }
            Effect::Do(Action::GiveUpStatus(worker_key)) => format!("give up the status of {}", at(worker_key)),
            Effect::Do(Action::Release(worker_key)) => format!("release {}", at(worker_key)),
            Effect::Announce(Notice::AllReady) => "all ready".into(),
            Effect::Announce(Notice::Idle) => "idle".into(),
        }
    }
}

fn in_a_row(StartFailed { wait, in_a_row, .. }: &StartFailed) -> String {
    format!("{in_a_row} in a row, waits {wait:?}")
}

fn short(outcome: &Outcome) -> String {
    match outcome {
        Outcome::TimedOut { state, limit } => format!("TimedOut {state} {limit:?}"),
        Outcome::Protocol(_) => "Protocol".into(),
        other => format!("{other:?}"),
    }
}

/// One worker whose jobs are short, holding job 2 of six.
fn short_jobs() -> Script {
    short_jobs_with(config())
}

fn short_jobs_with(config: Config) -> Script {
    let mut script = Script::working(Config { prefetch: 2, ..config });
    for _ in 0..5 {
        script.enqueue();
    }
    script.now += MILLI / 10;
    let lines = script.message(FIRST, success(1));
    let prefetched = ["send 3/1 to 0#1", "send 4/1 to 0#1"];
    assert_eq!(lines[4..], [&["send 2/1 to 0#1", "task 2/1 at 0#1", "0#1 is working"][..], &prefetched[..]].concat());
    script
}

fn holds(bytes: u64) -> Input {
    Input::Resident { worker_key: FIRST, bytes }
}
