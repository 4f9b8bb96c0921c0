//! Bytes as inputs of the state machine. Unlike in the simulator's worlds, nobody follows a plan: each byte says
//! what happens next, workers say anything at any time, and the checker watches.
//!
//! Only what no process can do is left out: to exit twice, or to speak after the end of its output.

use super::checker::Checker;
use super::saboteur::{Sabotage, Saboteur};
use crate::supervisor::{
    Action, Config, DEATH_WAIT, EXIT_WAIT, Effect, Input, JobErrorKind, JobKey, JobSettings, MaxMemory, Message,
    Notice, Outcome, RetryPolicy, SHORT, Signal, Submitted, Supervisor, WhenFull, WorkerKey,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Plays the bytes; where a rule is broken it plays them again, and prints each input and effect.
pub(crate) fn supervisor(data: &[u8]) {
    if play(data, None, false).is_err()
        && let Err(found) = play(data, None, true)
    {
        panic!("{found}");
    }
}

fn play(data: &[u8], sabotage: Option<Sabotage>, trace: bool) -> Result<(), String> {
    let mut tape = Tape(data);
    let mut stage = Stage::new(&mut tape, sabotage, trace);
    stage.input(Input::Tick)?;
    while !tape.0.is_empty() {
        stage.act(&mut tape)?;
    }
    stage.end()
}

/// The bytes that are left; zeroes behind them.
struct Tape<'b>(&'b [u8]);

impl Tape<'_> {
    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((&byte, rest)) => {
                self.0 = rest;
                byte
            }
            None => 0,
        }
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        let at = usize::from(self.byte());
        (!of.is_empty()).then(|| of[at % of.len()])
    }
}

/// A limit that is never over; so long that the checker can still add to it.
const LONG: Duration = Duration::from_secs(u64::MAX / 4);

/// The limits of memory, in bytes.
const SOFT: u32 = 100;
const HARD: u32 = 200;

/// One of sixteen policies.
fn policy(choice: u32) -> RetryPolicy {
    let milli = Duration::from_millis(1);
    let policy = RetryPolicy::new([0, 1, 2, 1000][choice as usize % 4]);
    match choice / 4 {
        0 => policy,
        1 => policy.backoff(3 * milli, 20 * milli),
        2 => policy.backoff(20 * milli, 20 * milli).jitter(1.0),
        _ => policy.on(&[JobErrorKind::Crashed, JobErrorKind::TimedOut]),
    }
}

/// What has become of a process that was asked for.
#[derive(Clone, Copy, Debug, Default)]
struct Process {
    there: bool,
    stdout_closed: bool,
    stderr_closed: bool,
    exited: bool,
    retired: bool,
    /// Whether it was sent SIGSTOP, and not SIGCONT since: all that it wrote has been read, and it writes nothing more.
    stopped: bool,
}

/// Which handlers have begun, as far as workers that keep the protocol have said so.
#[derive(Debug, Default)]
struct Handlers {
    /// The attempts that were sent, and that their worker has not said to skip.
    sent: BTreeMap<(WorkerKey, u64), u32>,
    /// By whom an attempt was begun.
    begun: BTreeMap<(u64, u32), WorkerKey>,
    /// Workers whose messages prove nothing: they have skipped a job that they had begun.
    liars: BTreeSet<WorkerKey>,
}

impl Handlers {
    /// A worker that can still write says something.
    fn report_message(&mut self, worker_key: WorkerKey, message: &Message) {
        match *message {
            Message::Start { job } | Message::Progress { job } | Message::Answer { job, .. } => {
                if let Some(&attempt) = self.sent.get(&(worker_key, job)) {
                    self.begun.entry((job, attempt)).or_insert(worker_key);
                }
            }
            Message::Skipped { job } => {
                let attempt = self.sent.remove(&(worker_key, job));
                if attempt.is_some_and(|attempt| self.begun.get(&(job, attempt)) == Some(&worker_key)) {
                    self.liars.insert(worker_key);
                }
            }
            Message::Ready | Message::Terminal { .. } | Message::Retire => {}
        }
    }

    /// An attempt that a handler has begun is sent to nobody again.
    fn sends(&mut self, worker_key: WorkerKey, job: u64, attempt: u32) -> Played {
        self.sent.insert((worker_key, job), attempt);
        match self.begun.get(&(job, attempt)).filter(|before| !self.liars.contains(before)) {
            Some(before) => Err(format!("attempt {attempt} at job {job} is sent, and {before:?} has begun it")),
            None => Ok(()),
        }
    }
}

struct Stage {
    now: Duration,
    machine: Supervisor,
    saboteur: Saboteur,
    checker: Checker,
    processes: BTreeMap<WorkerKey, Process>,
    /// All jobs that were ever accepted.
    jobs: Vec<JobKey>,
    /// Which worker has which job, as the effects say.
    holders: BTreeMap<JobKey, WorkerKey>,
    /// Which worker, on its way out, had a job that is to be retried.
    before: BTreeMap<JobKey, WorkerKey>,
    handlers: Handlers,
    /// Jobs that workers were asked to skip.
    asked: BTreeSet<(WorkerKey, u64)>,
    /// Workers that are to be heard out, or are stopped and heard out.
    to_hear: Vec<Input>,
    limits: Vec<Duration>,
    next_job: u64,
    abort_calls: u64,
    exited: bool,
    trace: bool,
}

type Played = Result<(), String>;

impl Stage {
    fn new(tape: &mut Tape<'_>, sabotage: Option<Sabotage>, trace: bool) -> Self {
        let milli = Duration::from_millis(1);
        let limits = [Some(3 * milli), Some(20 * milli), Some(Duration::ZERO), Some(LONG), None];
        let mut limit = || limits[usize::from(tape.byte()) % limits.len()];
        let (timeout_initializing, timeout_working, timeout_recovering) = (limit(), limit(), limit());
        let mut of = |choices: &[u32]| choices[usize::from(tape.byte()) % choices.len()];
        let max_processes = of(&[1, 2, 3, 4]) as usize;
        let of_memory = |limit: u32| (limit > 0).then_some(u64::from(limit));
        let (soft, hard) = (of_memory(of(&[0, SOFT])), of_memory(of(&[0, HARD])));
        let mut config = Config {
            max_processes,
            min_processes: (of(&[0, 1, 2, 4]) as usize).min(max_processes),
            max_jobs_per_process: Some(u64::from(of(&[1, 2, 3, 64]))),
            idle_timeout: None,
            max_age: None,
            max_backlog: None,
            retry: policy(of(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15])),
            expires: None,
            seed: 7,
            timeout_initializing,
            timeout_working,
            timeout_recovering,
            soft_timeout: None,
            kill_grace: of(&[0, 5, 30]) * milli,
            start_failures: of(&[1, 2, 3, u32::MAX]),
            prefetch: 0,
            cores: 2,
            sites: Vec::new(),
            max_memory: MaxMemory { soft, hard },
        };
        let byte = tape.byte();
        config.prefetch = [0, 1, 4, 16, u32::MAX][usize::from(byte % 5)];
        config.max_backlog = [None, None, Some(1), Some(3)][usize::from(byte / 5 % 4)];
        config.idle_timeout = (byte > 200).then_some(7 * milli);
        config.max_age = (byte > 230).then_some(40 * milli);
        if trace {
            println!("{config:#?}");
        }
        let saboteur = Saboteur::new(sabotage);
        Stage {
            now: Duration::ZERO,
            checker: Checker::new(&config),
            limits: [timeout_initializing, timeout_working, timeout_recovering, Some(config.kill_grace)]
                .into_iter()
                .flatten()
                .filter(|&limit| limit < LONG)
                .chain([SHORT, DEATH_WAIT, EXIT_WAIT])
                .collect(),
            machine: saboteur.machine(config),
            saboteur,
            processes: BTreeMap::new(),
            jobs: Vec::new(),
            holders: BTreeMap::new(),
            before: BTreeMap::new(),
            handlers: Handlers::default(),
            asked: BTreeSet::new(),
            to_hear: Vec::new(),
            next_job: 1,
            abort_calls: 0,
            exited: false,
            trace,
        }
    }

    fn cancel(&mut self, tape: &mut Tape<'_>) -> Played {
        let Some(key) = tape.pick(&self.jobs) else { return Ok(()) };
        let graces = [Duration::ZERO, SHORT, 20 * SHORT, Duration::MAX];
        let grace = graces[usize::from(tape.byte()) % graces.len()];
        self.input(Input::Cancel { key, grace })
    }

    fn abort_queued(&mut self, tape: &mut Tape<'_>) -> Played {
        let only = tape.pick(&self.jobs).filter(|key| key.id % 4 != 3);
        self.abort_calls += 1;
        self.input(Input::AbortQueued { call: self.abort_calls, only })
    }

    /// What the next bytes say.
    fn act(&mut self, tape: &mut Tape<'_>) -> Played {
        match tape.byte() % 16 {
            0 | 1 => self.enqueue(tape),
            2 => match tape.pick(&self.jobs) {
                Some(key) => self.input(Input::Abort(key)),
                None => Ok(()),
            },
            3 => match tape.byte() {
                0..=31 => self.input(Input::SpawnWorkers),
                32..=63 => self.abort_queued(tape),
                byte @ 64..=83 => self.input(Input::SetMaxProcesses(1 + usize::from(byte % 4))),
                84..=95 => self.input(Input::Recycle),
                96..=111 => self.input(Input::Pause),
                112..=127 => self.input(Input::Resume),
                128..=159 => self.input(Input::Tick),
                160..=199 => self.resident(tape),
                200..=219 => self.input(Input::Close),
                220..=249 => self.cancel(tape),
                250..=255 => self.exit(),
            },
            4 | 5 => self.wait(tape),
            6 | 7 => self.process(tape),
            _ => self.speak(tape),
        }
    }

    /// The pool exits, all processes end, and time passes until nothing is to come: then all must be over.
    fn end(&mut self) -> Played {
        self.exit()?;
        for worker_key in self.processes.keys().copied().collect::<Vec<_>>() {
            let process = self.processes[&worker_key];
            if !process.there {
                self.there(worker_key, true)?;
            }
            if !process.exited {
                self.processes.entry(worker_key).and_modify(|process| process.exited = true);
                self.input(Input::Exited { worker_key, undelivered: None })?;
            }
            if !process.stdout_closed {
                self.processes.entry(worker_key).and_modify(|process| process.stdout_closed = true);
                self.input(Input::StdoutClosed(worker_key))?;
            }
        }
        while let Some(deadline) = self.machine.next_deadline() {
            self.now = self.now.max(deadline);
            self.input(Input::Tick)?;
            if self.now > Duration::from_secs(24 * 3600) {
                return Err("it never ends".into());
            }
        }
        self.checker.at_the_end(&self.machine).map_err(|found| format!("at the end: {found}"))
    }

    fn exit(&mut self) -> Played {
        self.exited = true;
        self.input(Input::Exit)
    }

    fn enqueue(&mut self, tape: &mut Tape<'_>) -> Played {
        let choice = tape.byte();
        let id = self.next_job;
        self.next_job += 1;
        let mut settings = JobSettings::default();
        let priority = [0, 0, 1, -1][usize::from(choice & 3)];
        if priority != 0 {
            settings.set_priority(priority);
        }
        let retry = (choice & 0x0c == 0x0c).then_some(RetryPolicy::new(u32::from(choice >> 6)));
        if let Some(policy) = retry {
            settings.set_retry(policy);
        }
        let limit = (choice & 0x30 == 0x30).then_some((choice & 0x40 == 0).then_some(7 * SHORT));
        if let Some(limit) = limit {
            settings.set_timeout(limit);
        }
        let when_full = [WhenFull::Exceed, WhenFull::Wait, WhenFull::Refuse, WhenFull::Wait][usize::from(choice >> 6)];
        self.checker.new_job(id, priority, retry, limit);
        if choice & 0x3c == 0x24 {
            settings.set_idempotent(true);
            self.checker.idempotent(id);
        }
        // One job of 16 that no byte says anything else of.
        if choice & 0x3c == 0x14 {
            settings.set_delay(3 * SHORT);
            settings.set_expires(Some(20 * SHORT));
            self.checker.timed(id, 3 * SHORT, Some(Some(20 * SHORT)));
        }
        // And another.
        if choice & 0x3c == 0x04 {
            settings.set_numbered_limit(id as u32 % 2, 1 + u32::from(choice & 1));
        }
        // Two large ones are too much to be prefetched together.
        let kib = if id % 4 == 3 { 600 } else { 0 };
        self.checker.new_size(id, kib);
        self.input(Input::Enqueue { job: Submitted { id, kib, settings }, when_full })
    }

    /// Time passes: some microseconds, or to about one of the limits. What is due meanwhile is done in time.
    fn wait(&mut self, tape: &mut Tape<'_>) -> Played {
        let byte = tape.byte();
        let micros = |n| Duration::from_micros(n);
        let after = match byte >> 6 {
            0 => micros([0, 1, 5, 50, 300, 999, 1000, 1001][usize::from(byte & 7)]),
            1 => Duration::from_millis(u64::from(byte & 63) * 10),
            _ => {
                let limit = self.limits[usize::from(byte & 15) % self.limits.len()];
                [limit.saturating_sub(micros(1)), limit, limit + micros(1), limit][usize::from(byte >> 4 & 3)]
            }
        };
        let until = self.now + after;
        // What is due exactly then may come before or after what happens then.
        let in_time = |at: Duration| if byte & 0x30 == 0x30 { at < until } else { at <= until };
        let mut ticks = 0;
        while let Some(deadline) = self.machine.next_deadline().filter(|&at| in_time(at)) {
            self.now = self.now.max(deadline);
            self.input(Input::Tick)?;
            ticks += 1;
            if ticks > 10_000 {
                return Err(format!("it ticks for ever, until {until:?}"));
            }
        }
        self.now = until;
        Ok(())
    }

    /// Something happens to a process.
    fn process(&mut self, tape: &mut Tape<'_>) -> Played {
        let what = tape.byte();
        let Some(worker_key) = self.someone(tape) else { return Ok(()) };
        let Some(process) = self.processes.get_mut(&worker_key) else { return Ok(()) };
        if !process.there {
            return self.there(worker_key, what & 7 != 7);
        }
        match what % 5 {
            0 if !process.exited => {
                process.exited = true;
                self.input(Input::Exited { worker_key, undelivered: None })
            }
            1 if !process.stdout_closed => {
                process.stdout_closed = true;
                self.input(Input::StdoutClosed(worker_key))
            }
            2 if !process.stderr_closed => {
                process.stderr_closed = true;
                self.input(Input::StderrClosed(worker_key))
            }
            3 => self.input(Input::StdinBroken(worker_key)),
            4 if !process.stdout_closed => self.input(Input::Malformed(worker_key)),
            _ => Ok(()),
        }
    }

    fn there(&mut self, worker_key: WorkerKey, there: bool) -> Played {
        if there {
            self.processes.insert(worker_key, Process { there, ..Process::default() });
            self.input(Input::Spawned(worker_key))
        } else {
            self.processes.remove(&worker_key);
            self.input(Input::SpawnFailed(worker_key))
        }
    }

    /// A worker, one of the last: it may be gone, and what it wrote may still come.
    fn someone(&self, tape: &mut Tape<'_>) -> Option<WorkerKey> {
        let mut last: Vec<WorkerKey> = self.processes.keys().copied().collect();
        last.sort_by_key(|worker_key| std::cmp::Reverse(worker_key.worker));
        last.truncate(8);
        tape.pick(&last)
    }

    /// The memory of a worker is looked at.
    fn resident(&mut self, tape: &mut Tape<'_>) -> Played {
        let Some(worker_key) = self.someone(tape) else { return Ok(()) };
        if self.processes.get(&worker_key).is_none_or(|process| !process.there || process.exited) {
            return Ok(());
        }
        let byte = tape.byte();
        let bytes = [SOFT - 1, SOFT, SOFT + 1, HARD, HARD + 1][usize::from(byte >> 1) % 5].into();
        self.input(Input::Resident { worker_key, bytes })
    }

    /// A worker says something.
    fn speak(&mut self, tape: &mut Tape<'_>) -> Played {
        let Some(worker_key) = self.someone(tape) else { return Ok(()) };
        let Some(process) = self.processes.get_mut(&worker_key) else { return Ok(()) };
        if !process.there || process.stdout_closed {
            return Ok(());
        }
        let what = tape.byte();
        let ready = what & 0x80 != 0;
        let message = match what % 12 {
            0 | 1 => Message::Ready,
            2 => Message::Start { job: self.one_job(worker_key, tape) },
            3 => Message::Progress { job: self.one_job(worker_key, tape) },
            4..=6 => Message::Answer { job: self.one_job(worker_key, tape), outcome: Outcome::Success, ready },
            7 => {
                let outcome = [Outcome::Failed, Outcome::Undecodable, Outcome::Unencodable, Outcome::FinalFailure];
                let outcome = outcome[usize::from(what >> 5 & 3)];
                Message::Answer { job: self.one_job(worker_key, tape), outcome, ready }
            }
            8 => Message::Terminal { job: ready.then(|| self.one_job(worker_key, tape)) },
            9 | 10 => Message::Skipped { job: self.one_job(worker_key, tape) },
            _ => Message::Retire,
        };
        let wanted = self.machine.wants_resident(worker_key, &message);
        // Not drawn: what is large stays so, and what is not does not grow at rest.
        let resident = wanted.then(|| [SOFT, HARD + 1][usize::from(what >> 6 & 1)].into());
        self.input(Input::Message { worker_key, message, resident })
    }

    /// The number of some job: mostly one that the worker has to do with.
    fn one_job(&self, worker_key: WorkerKey, tape: &mut Tape<'_>) -> u64 {
        let byte = tape.byte();
        let asked: Vec<u64> = self.asked.iter().filter(|(of, _)| *of == worker_key).map(|(_, job)| *job).collect();
        let held = self.machine.worker(worker_key).and_then(|worker| worker.job());
        let others = self.machine.workers().find_map(|(of, worker)| worker.job().filter(|_| of != worker_key));
        let any = u64::from(byte) % self.next_job.max(1);
        match byte % 8 {
            0..=2 => held.unwrap_or(any),
            3 => asked.first().copied().unwrap_or(any),
            4 => asked.last().copied().unwrap_or(any),
            5 => others.unwrap_or(any),
            6 => held.map_or(any, |held| held + 1),
            _ => [any, u64::MAX, 0, self.next_job][usize::from(byte >> 6)],
        }
    }

    fn input(&mut self, input: Input) -> Played {
        if self.trace {
            println!("{:>12?} {input:?}", self.now);
        }
        self.checker.input(self.now, &input, self.is_unheard(&input));
        if let Input::Message { worker_key, message, .. } = &input
            && let Some(process) = self.processes.get_mut(worker_key)
        {
            process.retired |= *message == Message::Retire;
            if !process.exited && !process.stopped {
                self.handlers.report_message(*worker_key, message);
            }
        }
        let mut effects = Vec::new();
        self.saboteur.handle(&mut self.machine, self.now, input.clone(), &mut effects);
        Checker::distinct(&effects).map_err(|found| format!("at {:?}: {found} (after {input:?})", self.now))?;
        for effect in effects {
            if self.trace {
                println!("{:>14} {effect:?}", "");
            }
            let seen = self.checker.effect(self.now, &effect, &input).and_then(|()| self.belongs(&effect, &input));
            let seen = seen.and_then(|()| match &effect {
                Effect::Do(Action::SendJob { worker_key, key, attempt, .. }) => {
                    self.handlers.sends(*worker_key, key.id, *attempt)
                }
                _ => Ok(()),
            });
            seen.map_err(|found| format!("at {:?}: {found} ({effect:?} at {input:?})", self.now))?;
            self.follow(effect, &input);
        }
        let holds = self.checker.is_complete(&input).and_then(|()| self.checker.settled_down(&self.machine));
        let holds = holds.and_then(|()| self.checker.overdue(self.now, &self.machine));
        holds.map_err(|found| format!("at {:?}: {found} (after {input:?})", self.now))?;
        // Nothing is on its way here: what is said has been heard.
        while let Some(input) = self.to_hear.pop() {
            self.input(input)?;
        }
        Ok(())
    }

    /// Whether it is said too late to count, or is a lie: for the checker, which believes what it hears of skips.
    fn is_unheard(&self, input: &Input) -> bool {
        if Checker::too_late(&self.machine, input) {
            return true;
        }
        let Input::Message { worker_key, message: Message::Skipped { job }, .. } = input else { return false };
        let retired = self.processes.get(worker_key).is_some_and(|process| process.retired);
        retired || !self.asked.contains(&(*worker_key, *job))
    }

    /// What is said by or of a worker ends no job but its own, and a job is at one worker at a time.
    fn belongs(&self, effect: &Effect, input: &Input) -> Played {
        let (key, of) = match effect {
            Effect::Do(Action::SendJob { key, .. }) => {
                let before = self.before.get(key).filter(|&&worker_key| self.machine.worker(worker_key).is_some());
                return before.map_or(Ok(()), |worker_key| Err(format!("{worker_key:?}, which had it, is not gone")));
            }
            Effect::Announce(Notice::Started { key, worker_key, .. })
            | Effect::Announce(Notice::Progressed { key, worker_key, .. }) => (key, worker_key),
            Effect::Announce(Notice::Retried { key, worker_key, .. }) => (key, worker_key),
            Effect::Announce(Notice::Settled {
                outcome: Outcome::Aborted | Outcome::Closed | Outcome::NoWorker | Outcome::Expired,
                ..
            }) => return Ok(()),
            Effect::Announce(Notice::Settled { key, worker_key: Some(worker_key), .. }) => (key, worker_key),
            Effect::Announce(Notice::Settled { worker_key: None, .. }) => {
                return Err("it settles by nobody's doing".into());
            }
            _ => return Ok(()),
        };
        if self.holders.get(key) != Some(of) {
            return Err(format!("{of:?} does not hold {key:?}"));
        }
        match input {
            Input::Message { worker_key: by, .. } | Input::Malformed(by) | Input::Exited { worker_key: by, .. }
                if by != of =>
            {
                Err(format!("{by:?} did it"))
            }
            _ => Ok(()),
        }
    }

    fn follow(&mut self, effect: Effect, input: &Input) {
        match effect {
            Effect::Do(Action::Spawn(worker_key)) => drop(self.processes.insert(worker_key, Process::default())),
            Effect::Announce(Notice::Enqueued(key)) => {
                self.jobs.push(key);
            }
            Effect::Do(Action::Drain(worker_key)) => self.to_hear.push(Input::Drained(worker_key)),
            Effect::Do(Action::Signal(worker_key, signal @ (Signal::Stop | Signal::Continue))) => {
                let stopped = signal == Signal::Stop;
                self.processes.entry(worker_key).and_modify(|process| process.stopped = stopped);
                if stopped {
                    self.to_hear.push(Input::Stopped(worker_key));
                }
            }
            Effect::Do(Action::SendSkip { worker_key, id }) => drop(self.asked.insert((worker_key, id))),
            Effect::Announce(Notice::Task { worker_key, key, .. }) => {
                self.holders.insert(key, worker_key);
                self.before.remove(&key);
                self.asked.remove(&(worker_key, key.id));
            }
            Effect::Announce(Notice::Retried { key, outcome, worker_key, .. }) => {
                self.holders.remove(&key);
                if !matches!(outcome, Outcome::Failed | Outcome::Undecodable) {
                    self.before.insert(key, worker_key);
                }
            }
            Effect::Announce(Notice::Settled { key, .. }) => {
                self.holders.remove(&key);
                self.before.remove(&key);
            }
            _ => {}
        }
        if let Input::Message { worker_key, message: Message::Skipped { job }, .. } = input {
            self.asked.remove(&(*worker_key, *job));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Handlers, Sabotage, play};
    use crate::supervisor::sim::{self, Rng, saboteur};
    use crate::supervisor::{Message, WorkerKey};
    use std::fs;
    use std::panic::{catch_unwind, set_hook, take_hook};
    use std::path::Path;

    #[test]
    fn an_attempt_that_has_begun_is_sent_to_nobody_again() {
        let [first, second] = [1, 2].map(|worker| WorkerKey { slot: 0, worker });
        let skipped = Message::Skipped { job: 7 };
        let mut handlers = Handlers::default();
        handlers.sends(first, 7, 1).unwrap();
        handlers.report_message(first, &skipped);
        handlers.sends(second, 7, 1).unwrap();
        handlers.report_message(second, &Message::Start { job: 7 });
        assert!(handlers.sends(first, 7, 1).is_err(), "it has begun");
        handlers.sends(first, 7, 2).unwrap();
        // One that skips what it has begun proves nothing.
        handlers.report_message(second, &skipped);
        handlers.sends(first, 7, 1).unwrap();
    }

    /// `HIRELINGS_TAPES=N` plays so many.
    #[test]
    fn random_tapes_break_no_rule() {
        let tapes = sim::from_env("HIRELINGS_TAPES").unwrap_or(3_000);
        for seed in 0..tapes {
            let mut rng = Rng::new(seed);
            let tape: Vec<u8> = (0..300).map(|_| rng.below(256) as u8).collect();
            play(&tape, None, false).unwrap_or_else(|found| panic!("tape {seed}: {found}"));
        }
    }

    /// The corpus is only as good as what it finds. What nobody does in time, it cannot: nobody waits here.
    #[test]
    fn the_corpus_finds_most_sabotages() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/supervisor");
        // It is not in the published package.
        let Ok(files) = fs::read_dir(corpus) else { return };
        let tapes: Vec<Vec<u8>> = files.map(|file| fs::read(file.unwrap().path()).unwrap()).collect();
        let hook = take_hook();
        set_hook(Box::new(|_| {}));
        let breaks = |tape: &[u8], of| !matches!(catch_unwind(|| play(tape, Some(of), false)), Ok(Ok(())));
        let found = |of: &Sabotage| tapes.iter().any(|tape| breaks(tape, *of));
        let (found, not_found): (Vec<_>, Vec<_>) = saboteur::all().into_iter().partition(found);
        set_hook(hook);
        println!("not found: {not_found:?}");
        assert!(found.len() >= 90, "only {} are found; these are not: {not_found:?}", found.len());
    }
}
