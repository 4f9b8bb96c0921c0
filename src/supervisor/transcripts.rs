//! Transcripts: what happens, line by line, and what the machine says to it. One for each row of the table of worker
//! states, and for each rule that has a time in it.
//!
//! A line of a transcript is an effect in short: `task 1/2 at 0#3` is attempt 2 of job 1 at worker 3 in slot 0.

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);

fn config() -> Config {
    Config {
        max_processes: 1,
        min_processes: 0,
        max_jobs_per_process: Some(64),
        max_backlog: None,
        retries: 0,
        timeout_initializing: Some(5 * SECOND),
        timeout_working: Some(10 * SECOND),
        timeout_recovering: Some(3 * SECOND),
        kill_grace: 500 * MILLI,
        start_failures: 3,
        prefetch: 0,
        cores: 1,
        max_memory: MaxMemory::default(),
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
        script.input(Input::Greeted { worker_key: FIRST, recalls: true });
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
        let id = self.next_job;
        self.next_job += 1;
        self.input(Input::Enqueue { id, settings, when_full })
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
            Effect::Tell(Notice::Spawned(worker_key)) => format!("spawned {}", at(worker_key)),
            Effect::Do(Action::SendJob { worker_key, key, attempt }) => {
                format!("send {}/{attempt} to {}", job(key), at(worker_key))
            }
            Effect::Do(Action::SendSkip { worker_key, id }) => format!("skip {id} at {}", at(worker_key)),
            Effect::Do(Action::SendLeave(worker_key)) => format!("leave {}", at(worker_key)),
            Effect::Do(Action::Signal(worker_key, signal)) => format!("{signal:?} {}", at(worker_key)),
            Effect::Tell(Notice::Refused { id, refusal }) => format!("refused {id}: {refusal:?}"),
            Effect::Tell(Notice::Enqueued(key)) => format!("enqueued {}", job(key)),
            Effect::Tell(Notice::Backlogged(key)) => format!("backlog {}", job(key)),
            Effect::Tell(Notice::Task { worker_key, key, attempt }) => {
                format!("task {}/{attempt} at {}", job(key), at(worker_key))
            }
            Effect::Tell(Notice::Started { worker_key, key, attempt }) => {
                format!("start {}/{attempt} at {}", job(key), at(worker_key))
            }
            Effect::Tell(Notice::Progressed { worker_key, key, attempt }) => {
                format!("progress {}/{attempt} at {}", job(key), at(worker_key))
            }
            Effect::Tell(Notice::Retried { key, attempt, outcome, .. }) => {
                format!("retry {}/{attempt}: {}", job(key), short(outcome))
            }
            Effect::Tell(Notice::Settled { key, attempt, outcome, .. }) => {
                format!("settled {}/{attempt}: {}", job(key), short(outcome))
            }
            Effect::Tell(Notice::State { worker_key, state, .. }) => format!("{} is {state}", at(worker_key)),
            Effect::Tell(Notice::TimedOut { worker_key, state, .. }) => {
                format!("{} was {state} for too long", at(worker_key))
            }
            Effect::Tell(Notice::Violated(worker_key, violation)) => format!("{}: {violation}", at(worker_key)),
            Effect::Do(Action::Measure(worker_key)) => format!("measure {}", at(worker_key)),
            Effect::Tell(Notice::OverSoftLimit { worker_key, bytes }) => {
                format!("{} has outgrown: {bytes}", at(worker_key))
            }
            Effect::Tell(Notice::OverHardLimit { worker_key, bytes, limit }) => {
                format!("{} holds {bytes} of {limit}", at(worker_key))
            }
            Effect::Do(Action::Drain(worker_key)) => format!("hear {}", at(worker_key)),
            Effect::Tell(Notice::Returned { key, worker_key, .. }) => {
                format!("returned {} from {}", job(key), at(worker_key))
            }
            Effect::Tell(Notice::RecallIgnored(worker_key)) => format!("{} does not answer recalls", at(worker_key)),
            Effect::Tell(Notice::PipeClosed(worker_key)) => format!("{} closed its pipe", at(worker_key)),
            Effect::Tell(Notice::TerminalFailure(worker_key)) => format!("last words of {}", at(worker_key)),
            Effect::Tell(Notice::Died { worker_key, start_failed }) => {
                let no_start = |failed: &StartFailed| format!(", no start of {}, {}", at(worker_key), in_a_row(failed));
                format!("died {}{}", at(worker_key), start_failed.as_ref().map(no_start).unwrap_or_default())
            }
            Effect::Tell(Notice::SpawnFailed { worker_key, start_failed }) => {
                format!("no start of {}, {}", at(worker_key), in_a_row(start_failed))
            }
            Effect::Do(Action::Release(worker_key)) => format!("release {}", at(worker_key)),
            Effect::Tell(Notice::AllReady) => "all ready".into(),
            Effect::Tell(Notice::Idle) => "idle".into(),
        }
    }
}

fn in_a_row(StartFailed { wait, in_a_row }: &StartFailed) -> String {
    format!("{in_a_row} in a row, waits {wait:?}")
}

fn short(outcome: &Outcome) -> String {
    match outcome {
        Outcome::TimedOut { state, limit } => format!("TimedOut {state} {limit:?}"),
        Outcome::Protocol(_) => "Protocol".into(),
        other => format!("{other:?}"),
    }
}

// ---------------------------------------------------------------- the table, row by row

#[test]
fn spawned() {
    let mut script = Script::new(config());
    assert_eq!(script.tick(), ["spawn 0#1"]);
    assert_eq!(script.input(Input::Spawned(FIRST)), ["spawned 0#1", "0#1 is initializing"]);
}

#[test]
fn hello_and_ready() {
    let mut script = Script::new(config());
    script.tick();
    script.input(Input::Spawned(FIRST));
    assert_eq!(script.enqueue(), ["enqueued 1", "backlog 1"]);
    let lines = script.message(FIRST, Message::Ready);
    assert_eq!(lines, ["0#1 is ready", "send 1/1 to 0#1", "task 1/1 at 0#1", "0#1 is working"]);
}

#[test]
fn ready_after_recovering() {
    let mut script = Script::working(config());
    script.enqueue();
    let lines = script.message(FIRST, Message::Answer { job: 1, outcome: Outcome::Success, ready: false });
    assert_eq!(lines, ["start 1/1 at 0#1", "settled 1/1: Success", "0#1 is recovering"]);
    let lines = script.message(FIRST, Message::Ready);
    assert_eq!(lines, ["0#1 is ready", "send 2/1 to 0#1", "task 2/1 at 0#1", "0#1 is working"]);
}

#[test]
fn after_its_last_job_it_leaves_once_it_has_recovered() {
    let mut script = Script::working(Config { max_jobs_per_process: Some(1), ..config() });
    script.enqueue();
    script.message(FIRST, Message::Answer { job: 1, outcome: Outcome::Success, ready: false });
    assert_eq!(script.message(FIRST, Message::Ready), ["0#1 is ready", "leave 0#1", "0#1 is exiting"]);
    assert_eq!(script.dies(FIRST), ["died 0#1", "spawn 0#2"]);
    assert_eq!(script.machine.counters().crashed, 0);
}

#[test]
fn start_and_progress_begin_the_job_once() {
    let mut script = Script::working(config());
    assert_eq!(script.message(FIRST, Message::Start { job: 1 }), ["start 1/1 at 0#1"]);
    assert_eq!(script.message(FIRST, Message::Start { job: 1 }), [""; 0]);
    assert_eq!(script.message(FIRST, Message::Progress { job: 1 }), ["progress 1/1 at 0#1"]);

    let mut script = Script::working(config());
    assert_eq!(script.message(FIRST, Message::Progress { job: 1 }), ["start 1/1 at 0#1", "progress 1/1 at 0#1"]);
}

#[test]
fn success_with_ready_in_one_frame() {
    let mut script = Script::working(config());
    let lines = script.message(FIRST, success(1));
    assert_eq!(lines, ["start 1/1 at 0#1", "settled 1/1: Success", "0#1 is recovering", "0#1 is ready", "idle"]);
}

#[test]
fn failure_settles_or_is_retried_at_the_back() {
    let mut script = Script::working(Config { retries: 1, ..config() });
    script.enqueue();
    let failure = |job| Message::Answer { job, outcome: Outcome::Failed, ready: true };
    let lines = script.message(FIRST, failure(1));
    let retried = ["start 1/1 at 0#1", "retry 1/1: Failed", "backlog 1", "0#1 is recovering", "0#1 is ready"];
    let next = ["send 2/1 to 0#1", "task 2/1 at 0#1", "0#1 is working"];
    assert_eq!(lines, [&retried[..], &next[..]].concat());
    script.message(FIRST, success(2));
    let lines = script.message(FIRST, failure(1));
    assert_eq!(lines[..2], ["start 1/2 at 0#1", "settled 1/2: Failed"]);
}

#[test]
fn a_panic_settles_and_the_worker_is_replaced() {
    let mut script = Script::working(config());
    script.enqueue();
    let lines = script.message(FIRST, Message::Terminal { job: Some(1) });
    assert_eq!(lines, ["start 1/1 at 0#1", "last words of 0#1", "settled 1/1: Panicked", "0#1 is exiting"]);
    assert_eq!(script.dies(FIRST), ["died 0#1", "spawn 0#2"]);
}

#[test]
fn a_panic_is_retried_only_once_the_worker_is_reaped() {
    let mut script = Script::working(Config { retries: 1, max_processes: 2, ..config() });
    let lines = script.message(FIRST, Message::Terminal { job: Some(1) });
    assert_eq!(lines[2..], ["retry 1/1: Panicked", "0#1 is exiting"]);
    assert_eq!(script.machine.backlog_len(), 1);
    assert_eq!(script.dies(FIRST), ["died 0#1", "backlog 1", "spawn 0#2"]);
}

#[test]
fn last_words_while_initializing_are_a_start_failure() {
    let mut script = Script::new(config());
    script.tick();
    script.input(Input::Spawned(FIRST));
    assert_eq!(script.message(FIRST, Message::Terminal { job: None }), ["last words of 0#1", "0#1 is exiting"]);
    let lines = script.dies(FIRST);
    assert_eq!(lines, ["died 0#1, no start of 0#1, 1 in a row, waits 0ns", "spawn 0#2"]);
}

#[test]
fn last_words_while_recovering_leave_the_settled_job_alone() {
    let mut script = Script::working(config());
    script.enqueue();
    script.message(FIRST, Message::Answer { job: 1, outcome: Outcome::Success, ready: false });
    assert_eq!(script.message(FIRST, Message::Terminal { job: None }), ["last words of 0#1", "0#1 is exiting"]);
    assert_eq!(script.dies(FIRST), ["died 0#1", "spawn 0#2"]);
    assert_eq!(script.machine.counters().succeeded, 1);
}

#[test]
fn last_words_while_ready_are_an_event_and_a_replacement() {
    let mut script = Script::ready(Config { min_processes: 1, ..config() });
    script.enqueue();
    script.message(FIRST, success(1));
    assert_eq!(script.message(FIRST, Message::Terminal { job: None }), ["last words of 0#1", "0#1 is exiting"]);
    assert_eq!(script.dies(FIRST), ["died 0#1", "spawn 0#2"]);
}

#[test]
fn over_its_limit_while_initializing() {
    let mut script = Script::new(config());
    script.tick();
    script.input(Input::Spawned(FIRST));
    let lines = script.wait(5 * SECOND);
    assert_eq!(lines, ["0#1 was initializing for too long", "0#1 is exiting", "Terminate 0#1"]);
    assert_eq!(script.wait(500 * MILLI), ["Kill 0#1"]);
    let lines = script.dies(FIRST);
    assert_eq!(lines, ["died 0#1, no start of 0#1, 1 in a row, waits 0ns", "spawn 0#2"]);
}

#[test]
fn over_its_limit_while_working() {
    let mut script = Script::working(config());
    let lines = script.wait(10 * SECOND);
    let settled = ["0#1 was working for too long", "settled 1/1: TimedOut working 10s", "0#1 is exiting"];
    assert_eq!(lines, [&settled[..], &["Terminate 0#1"][..]].concat());
    assert_eq!(script.machine.counters().timed_out, 1);
}

#[test]
fn a_timeout_is_retried_after_the_death() {
    let mut script = Script::working(Config { retries: 1, ..config() });
    let lines = script.wait(10 * SECOND);
    assert_eq!(lines[1], "retry 1/1: TimedOut working 10s");
    assert_eq!(script.message(FIRST, success(1)), [""; 0], "a late answer is not matched to the retry");
    assert_eq!(script.dies(FIRST), ["died 0#1", "backlog 1", "spawn 0#2"]);
}

#[test]
fn over_its_limit_while_recovering() {
    let mut script = Script::working(config());
    script.message(FIRST, Message::Answer { job: 1, outcome: Outcome::Success, ready: false });
    let lines = script.wait(3 * SECOND);
    assert_eq!(lines, ["0#1 was recovering for too long", "0#1 is exiting", "Terminate 0#1", "idle"]);
    assert_eq!(script.machine.counters().succeeded, 1);
}

#[test]
fn abort_settles_at_once_and_kills_the_worker() {
    let mut script = Script::working(config());
    let lines = script.abort(1);
    assert_eq!(lines, ["settled 1/1: Aborted", "0#1 is exiting", "Terminate 0#1"]);
    assert_eq!(script.dies(FIRST), ["died 0#1", "idle"], "its handler may have run until then");

    let mut script = Script::working(config());
    script.abort(1);
    assert_eq!(script.message(FIRST, success(1)), ["idle"], "it has come to its end, and nobody wants to know");
    assert_eq!(script.dies(FIRST), ["died 0#1"]);
}

#[test]
fn abort_of_a_queued_job_never_runs_it() {
    let mut script = Script::working(config());
    script.enqueue();
    assert_eq!(script.abort(2), ["settled 2/0: Aborted"]);
    assert_eq!(script.message(FIRST, success(1)).last().map(String::as_str), Some("idle"));
}

#[test]
fn exit_settles_everything_and_kills_everybody() {
    let mut script = Script::working(config());
    script.enqueue();
    let lines = script.input(Input::Exit);
    let settled = ["settled 1/1: Closed", "settled 2/0: Closed"];
    assert_eq!(lines, [&settled[..], &["0#1 is exiting", "Terminate 0#1"][..]].concat());
    assert!(!script.machine.is_finished());
    assert_eq!(script.dies(FIRST), ["died 0#1", "idle"]);
    assert!(script.machine.is_finished());
    assert_eq!(script.enqueue(), ["refused 3: Closed"]);
}

#[test]
fn a_child_that_arrives_after_exit_is_killed() {
    let mut script = Script::new(config());
    script.tick();
    assert_eq!(script.input(Input::Exit), ["0#1 is exiting"]);
    assert!(!script.machine.is_finished());
    assert_eq!(script.input(Input::Spawned(FIRST)), ["spawned 0#1", "Terminate 0#1"]);
    script.dies(FIRST);
    assert!(script.machine.is_finished());
}

#[test]
fn death_while_working() {
    let mut script = Script::working(config());
    script.enqueue();
    let lines = script.dies(FIRST);
    assert_eq!(lines, ["settled 1/1: Crashed(Exited)", "0#1 is exiting", "died 0#1", "spawn 0#2"]);
    assert_eq!(script.machine.counters().crashed, 1);
}

#[test]
fn a_death_waits_for_what_was_written_before_it() {
    let mut script = Script::working(config());
    assert_eq!(script.input(exited(FIRST)), [""; 0]);
    let lines = script.message(FIRST, success(1));
    assert_eq!(lines[1], "settled 1/1: Success");
    script.input(Input::StdoutClosed(FIRST));
    assert_eq!(script.input(Input::StderrClosed(FIRST)), ["0#1 is exiting", "died 0#1"]);
}

#[test]
fn a_death_waits_a_hundred_milliseconds_for_pipes_that_are_held() {
    let mut script = Script::working(config());
    script.input(exited(FIRST));
    script.input(Input::StdoutClosed(FIRST));
    let lines = script.wait(DEATH_WAIT);
    assert_eq!(lines, ["settled 1/1: Crashed(Exited)", "0#1 is exiting", "died 0#1", "idle"]);
    assert_eq!(script.input(Input::StderrClosed(FIRST)), [""; 0]);
}

#[test]
fn a_death_waits_for_a_reader_that_is_late_and_gives_nothing_more_to_the_dead() {
    let mut script = Script::working(config());
    script.enqueue();
    script.input(exited(FIRST));
    assert_eq!(script.wait(DEATH_WAIT), [""; 0]);
    let lines = script.message(FIRST, success(1));
    assert!(lines.contains(&"settled 1/1: Success".into()), "{lines:?}");
    assert!(!lines.iter().any(|line| line.starts_with("send")), "{lines:?}");
    assert_eq!(script.input(Input::StdoutClosed(FIRST)), ["0#1 is exiting", "died 0#1", "spawn 0#2"]);
}

#[test]
fn the_end_of_its_pipe_while_it_lives() {
    let mut script = Script::working(config());
    script.input(Input::StdoutClosed(FIRST));
    let lines = script.wait(DEATH_WAIT);
    let killed = ["settled 1/1: Crashed(PipeClosed)", "0#1 is exiting", "Terminate 0#1"];
    assert_eq!(lines, [&["0#1 closed its pipe"][..], &killed[..]].concat());
}

#[test]
fn violations_kill_and_settle_nothing_else() {
    let malformed = |script: &mut Script| script.input(Input::Malformed(FIRST));
    let wrong_job = |script: &mut Script| script.message(FIRST, success(2));
    let ready = |script: &mut Script| script.message(FIRST, Message::Ready);
    let skipped = |script: &mut Script| script.message(FIRST, Message::Skipped { job: 1 });
    let cases: [fn(&mut Script) -> Vec<String>; 4] = [malformed, wrong_job, ready, skipped];
    for violate in cases {
        let mut script = Script::working(config());
        script.enqueue();
        let lines = violate(&mut script);
        assert_eq!(lines[1..], ["settled 1/1: Protocol", "0#1 is exiting", "Terminate 0#1"], "{lines:?}");
        assert_eq!(script.machine.unsettled(), 1);
    }
    // A second answer, when the first has settled the job.
    let mut script = Script::working(config());
    script.message(FIRST, success(1));
    let lines = script.message(FIRST, success(1));
    assert_eq!(lines, ["0#1: it spoke of job 1, which it does not hold", "0#1 is exiting", "Terminate 0#1"]);
}

#[test]
fn a_frame_while_exiting_that_answers_nothing_is_ignored() {
    let mut script = Script::working(config());
    script.abort(1);
    for message in [Message::Ready, Message::Start { job: 1 }, success(9), Message::Retire] {
        assert_eq!(script.message(FIRST, message), [""; 0]);
    }
    assert_eq!(script.input(Input::Malformed(FIRST)), [""; 0]);
}

// ---------------------------------------------------------------- killing and leaving

#[test]
fn killed_is_sigterm_then_sigkill_after_the_grace() {
    let mut script = Script::working(config());
    script.abort(1);
    assert_eq!(script.wait(500 * MILLI), ["Kill 0#1"]);
    assert_eq!(script.machine.next_deadline(), None, "there is nothing more to be done");
}

#[test]
fn without_grace_it_is_sigkill_at_once() {
    let mut script = Script::working(Config { kill_grace: Duration::ZERO, ..config() });
    assert_eq!(script.abort(1)[2], "Kill 0#1");
}

#[test]
fn a_worker_that_does_not_leave_is_told_twice() {
    let mut script = Script::working(Config { max_jobs_per_process: Some(1), ..config() });
    assert_eq!(script.message(FIRST, success(1))[4..], ["leave 0#1", "0#1 is exiting", "idle"]);
    assert_eq!(script.wait(500 * MILLI), ["Terminate 0#1"]);
    assert_eq!(script.wait(500 * MILLI), ["Kill 0#1"]);
}

#[test]
fn a_leaving_worker_that_closes_its_pipe_has_its_grace_all_the_same() {
    let mut script = Script::working(Config { max_jobs_per_process: Some(1), ..config() });
    script.message(FIRST, success(1));
    assert_eq!(script.input(Input::StdoutClosed(FIRST)), [""; 0]);
    assert_eq!(script.wait(DEATH_WAIT), [""; 0]);
    assert_eq!(script.wait(500 * MILLI - DEATH_WAIT), ["Terminate 0#1"]);
}

#[test]
fn a_worker_that_retires_is_replaced_after_its_job() {
    let mut script = Script::working(config());
    script.enqueue();
    assert_eq!(script.message(FIRST, Message::Retire), [""; 0]);
    assert_eq!(script.message(FIRST, success(1))[4..], ["leave 0#1", "0#1 is exiting"]);
    assert_eq!(script.dies(FIRST), ["died 0#1", "spawn 0#2"]);
}

// ---------------------------------------------------------------- workers that do not start

#[test]
fn waits_grow_and_no_job_goes_round_them() {
    let mut script = Script::new(Config { start_failures: 100, ..config() });
    script.enqueue();
    let mut waits = Vec::new();
    for worker in 1..=9 {
        let of = worker_key(0, worker);
        script.input(Input::Spawned(of));
        script.dies(of);
        let wait = script.machine.next_deadline().map_or(Duration::ZERO, |at| at - script.now);
        waits.push(wait.as_millis());
        if !wait.is_zero() {
            assert_eq!(script.enqueue().len(), 2, "an enqueue spawns nothing");
            assert_eq!(script.wait(wait), [format!("spawn 0#{}", worker + 1)]);
        }
    }
    assert_eq!(waits, [0, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
}

/// A pool of one slot, two of whose workers have failed to start in a row, and the third is ready.
fn after_two_failures() -> (Script, WorkerKey) {
    let mut script = Script::new(Config { start_failures: 100, ..config() });
    script.enqueue();
    for worker in 1..=2 {
        script.input(Input::Spawned(worker_key(0, worker)));
        script.dies(worker_key(0, worker));
    }
    script.wait(100 * MILLI);
    let third = worker_key(0, 3);
    script.input(Input::Spawned(third));
    script.message(third, Message::Ready);
    (script, third)
}

#[test]
fn a_job_that_is_answered_ends_the_row_of_start_failures() {
    let (mut script, third) = after_two_failures();
    script.message(third, success(1));
    assert_eq!(script.dies(third), ["0#3 is exiting", "died 0#3"], "nobody needs another");
    script.enqueue();
    script.input(Input::Spawned(worker_key(0, 4)));
    let lines = script.dies(worker_key(0, 4));
    assert_eq!(lines[1..], ["died 0#4, no start of 0#4, 1 in a row, waits 0ns", "spawn 0#5"]);
}

#[test]
fn a_crash_in_the_first_job_ends_the_row_of_start_failures() {
    let (mut script, third) = after_two_failures();
    script.enqueue();
    let lines = script.dies(third);
    assert_eq!(lines[lines.len() - 2..], ["died 0#3", "spawn 0#4"]);
    script.input(Input::Spawned(worker_key(0, 4)));
    let lines = script.dies(worker_key(0, 4));
    assert_eq!(lines[1..], ["died 0#4, no start of 0#4, 1 in a row, waits 0ns", "spawn 0#5"]);
}

#[test]
fn the_minimum_counts_the_workers_that_are_there() {
    let mut script = Script::new(Config { max_processes: 4, min_processes: 2, ..config() });
    assert_eq!(script.tick(), ["spawn 0#1", "spawn 1#2"]);
    for worker in [FIRST, worker_key(1, 2)] {
        script.input(Input::Spawned(worker));
        script.message(worker, Message::Ready);
        script.enqueue();
    }
    assert_eq!(script.enqueue(), ["enqueued 3", "backlog 3", "spawn 2#3"]);
    assert_eq!(
        script.input(Input::Spawned(worker_key(2, 3))),
        ["spawned 2#3", "2#3 is initializing"],
        "it is all that is needed"
    );
}

#[test]
fn a_job_that_comes_when_the_pool_is_broken_learns_nothing_from_a_start_before_it() {
    let mut script = Script::new(Config { start_failures: 2, max_processes: 2, ..config() });
    script.enqueue();
    assert_eq!(script.enqueue().last().map(String::as_str), Some("spawn 1#2"));
    script.input(Input::SpawnFailed(worker_key(0, 1)));
    script.input(Input::SpawnFailed(worker_key(0, 3)));
    assert!(script.machine.is_circuit_open());
    script.enqueue();
    let lines = script.input(Input::SpawnFailed(worker_key(1, 2)));
    assert_eq!(lines[1..], ["spawn 1#4"], "job 3 gets a probe of its own");
    assert_eq!(script.input(Input::SpawnFailed(worker_key(1, 4)))[1..], ["settled 3/0: NoWorker", "idle"]);
}

#[test]
fn too_many_in_a_row_settle_the_queued_jobs_and_one_probe_follows_each_new_one() {
    let mut script = Script::new(Config { start_failures: 2, max_processes: 2, ..config() });
    script.enqueue();
    for worker in [1, 2] {
        script.input(Input::Spawned(worker_key(0, worker)));
        let lines = script.dies(worker_key(0, worker));
        assert_eq!(lines.contains(&"settled 1/0: NoWorker".into()), worker == 2, "{lines:?}");
    }
    assert!(script.machine.is_circuit_open());
    assert_eq!(script.machine.next_deadline(), None, "without jobs nothing probes");
    // The other slot has nothing to wait for, so the probe is there; a second job starts no second one.
    assert_eq!(script.enqueue(), ["enqueued 2", "backlog 2", "spawn 1#3"]);
    assert_eq!(script.enqueue(), ["enqueued 3", "backlog 3"]);
    script.input(Input::Spawned(worker_key(1, 3)));
    let lines = script.dies(worker_key(1, 3));
    assert_eq!(lines[2..], ["settled 2/0: NoWorker", "settled 3/0: NoWorker", "idle"]);
    // One that becomes ready makes the pool whole.
    script.now += 10 * SECOND;
    assert_eq!(script.enqueue().last().map(String::as_str), Some("spawn 0#4"));
    script.input(Input::Spawned(worker_key(0, 4)));
    script.message(worker_key(0, 4), Message::Ready);
    assert!(!script.machine.is_circuit_open());
}

#[test]
fn a_worker_that_dies_before_its_first_job_is_a_start_failure_and_one_that_crashes_in_it_is_none() {
    let mut script = Script::ready(Config { min_processes: 1, ..config() });
    assert_eq!(script.dies(FIRST)[1..], ["died 0#1, no start of 0#1, 1 in a row, waits 0ns", "spawn 0#2"]);
    let mut script = Script::working(Config { min_processes: 1, ..config() });
    let lines = script.dies(FIRST);
    assert!(!lines.iter().any(|line| line.contains("no start")), "{lines:?}");
}

// ---------------------------------------------------------------- handing ahead

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

#[test]
fn a_job_ahead_is_queued_until_the_answer_before_it() {
    let mut script = short_jobs();
    assert_eq!(script.machine.backlog_len(), 4);
    let lines = script.message(FIRST, success(2));
    assert_eq!(lines[4..], ["task 3/1 at 0#1", "0#1 is working", "send 5/1 to 0#1"]);
}

#[test]
fn behind_a_job_that_turns_out_long_the_others_are_called_back() {
    let mut script = short_jobs();
    assert_eq!(script.wait(SHORT), ["skip 3 at 0#1", "skip 4 at 0#1"]);
    // Back only at the worker's word, and in their old places.
    assert_eq!(script.message(FIRST, Message::Skipped { job: 3 }), [""; 0]);
    script.message(FIRST, Message::Skipped { job: 4 });
    script.now += SECOND;
    let lines = script.message(FIRST, success(2));
    assert_eq!(lines[4..], ["send 3/1 to 0#1", "task 3/1 at 0#1", "0#1 is working"]);
}

#[test]
fn what_lies_ahead_is_filled_up_once_half_of_it_is_done() {
    let mut script = Script::working(Config { prefetch: 4, ..config() });
    for _ in 0..15 {
        script.enqueue();
    }
    script.now += MILLI / 10;
    let mut sent = |job| script.message(FIRST, success(job)).iter().filter(|line| line.starts_with("send")).count();
    assert_eq!([1, 2, 3, 4, 5].map(&mut sent), [5, 0, 2, 0, 2]);
}

/// Two workers on one core, of which each waits about as long as it works. They have had jobs 1 and 2 for longer than a
/// short one takes; six more are queued.
fn two_on_one_core() -> Script {
    let mut script = Script::ready(Config { prefetch: 2, max_processes: 2, ..config() });
    script.input(Input::SpawnWorkers);
    script.input(Input::Spawned(worker_key(1, 2)));
    script.input(Input::Greeted { worker_key: worker_key(1, 2), recalls: true });
    script.message(worker_key(1, 2), Message::Ready);
    for _ in 0..8 {
        script.enqueue();
    }
    script.now += SHORT * 3 / 2;
    script
}

#[test]
fn a_job_that_waits_for_a_crowded_core_is_no_long_one() {
    let mut script = two_on_one_core();
    let lines = script.message(worker_key(1, 2), success(1));
    assert_eq!(lines[4..], ["send 3/1 to 1#2", "task 3/1 at 1#2", "1#2 is working", "send 4/1 to 1#2"]);
    assert_eq!(script.wait(2 * SHORT), ["skip 4 at 1#2"], "nobody is free who could have done it before");
}

#[test]
fn a_job_whose_worker_says_that_it_runs_on_is_as_long_as_it_took() {
    let mut script = two_on_one_core();
    script.message(worker_key(1, 2), Message::Start { job: 1 });
    let lines = script.message(worker_key(1, 2), success(1));
    assert_eq!(lines[3..], ["send 3/1 to 1#2", "task 3/1 at 1#2", "1#2 is working"]);
}

#[test]
fn what_lies_ahead_at_a_worker_that_has_outgrown_is_for_others() {
    let max_memory = MaxMemory { soft: Some(100), hard: None };
    let mut script = short_jobs_with(Config { max_memory, ..config() });
    assert_eq!(script.input(holds(101)), ["0#1 has outgrown: 101", "skip 3 at 0#1", "skip 4 at 0#1"]);
    script.message(FIRST, Message::Skipped { job: 3 });
    script.message(FIRST, Message::Skipped { job: 4 });
    assert_eq!(script.message(FIRST, success(2))[4..], ["leave 0#1", "0#1 is exiting"]);
}

#[test]
fn with_nothing_ahead_there_is_nothing_to_call_back() {
    let script = Script::working(Config { prefetch: 2, timeout_working: None, ..config() });
    assert_eq!(script.machine.next_deadline(), None);
}

#[test]
fn a_job_called_back_too_late_is_begun_at_the_workers_word() {
    let mut script = short_jobs();
    script.wait(SHORT);
    let lines = script.message(FIRST, success(2));
    assert_eq!(lines[3..], ["0#1 is ready"], "nobody knows yet");
    let lines = script.message(FIRST, success(3));
    assert_eq!(lines[..4], ["task 3/1 at 0#1", "0#1 is working", "start 3/1 at 0#1", "settled 3/1: Success"]);
}

#[test]
fn abort_of_a_job_ahead_settles_at_once_and_calls_it_back() {
    let mut script = short_jobs();
    assert_eq!(script.abort(3), ["skip 3 at 0#1", "settled 3/0: Aborted"]);
    // Whether it has begun all the same is not known: what lies behind it is recalled before its worker is killed.
    assert_eq!(script.message(FIRST, success(2))[3..], ["0#1 is ready", "skip 4 at 0#1"]);
    assert_eq!(script.message(FIRST, Message::Start { job: 3 }), [""; 0]);
    let lines = script.message(FIRST, Message::Skipped { job: 4 });
    assert_eq!(lines, ["0#1 is exiting", "Terminate 0#1"]);
    assert_eq!(script.dies(FIRST), ["died 0#1", "spawn 0#2"]);
}

#[test]
fn a_job_that_came_back_aborted_is_none_of_those_a_worker_may_do() {
    let mut script = short_jobs_with(Config { max_jobs_per_process: Some(4), ..config() });
    script.abort(3);
    script.message(FIRST, Message::Skipped { job: 3 });
    let mut left = |job| script.message(FIRST, success(job)).contains(&"leave 0#1".into());
    assert_eq!([2, 4, 5].map(&mut left), [false, false, true], "the fourth was its last");
}

#[test]
fn jobs_ahead_at_a_worker_that_dies_go_back_to_their_places_with_no_attempt_used() {
    let mut script = short_jobs();
    let lines = script.dies(FIRST);
    assert_eq!(lines[0], "settled 2/1: Crashed(Exited)");
    script.input(Input::Spawned(worker_key(0, 2)));
    assert_eq!(script.message(worker_key(0, 2), Message::Ready)[1], "send 3/1 to 0#2");
}

// ---------------------------------------------------------------- recycling

#[test]
fn by_default_a_worker_is_replaced_after_64_jobs_and_a_minute() {
    let jobs = |script: &mut Script, from: u64, count: u64| {
        (from..from + count).map(|job| [script.enqueue(), script.message(FIRST, success(job))].concat()).last().unwrap()
    };
    let mut script = Script::ready(Config { max_jobs_per_process: None, ..config() });
    let lines = jobs(&mut script, 1, 100);
    assert!(!lines.contains(&"leave 0#1".into()), "it is young: {lines:?}");
    script.now += 60 * SECOND;
    assert!(jobs(&mut script, 101, 1).contains(&"leave 0#1".into()));

    let mut script = Script::ready(Config { max_jobs_per_process: None, ..config() });
    script.now += 60 * SECOND;
    assert!(!jobs(&mut script, 1, 63).contains(&"leave 0#1".into()), "it has done little");
    assert!(jobs(&mut script, 64, 1).contains(&"leave 0#1".into()));
}

#[test]
fn the_successor_of_a_worker_that_has_few_jobs_left_is_started_while_it_works() {
    let two = Config { max_processes: 2, max_jobs_per_process: Some(2), cores: 2, ..config() };
    let mut script = Script::working(two.clone());
    assert_eq!(script.message(FIRST, success(1)).last().map(String::as_str), Some("idle"));
    assert_eq!(script.enqueue().last().map(String::as_str), Some("spawn 1#2"), "this is its last job");
    script.input(Input::Spawned(worker_key(1, 2)));
    script.message(worker_key(1, 2), Message::Ready);
    script.message(FIRST, success(2));
    assert_eq!(script.enqueue()[1], "send 3/1 to 1#2", "no job waits for a start");

    // Not where all cores have something to do, nor where there is no slot.
    for config in [Config { cores: 1, ..two.clone() }, Config { max_processes: 1, ..two }] {
        let mut script = Script::working(config);
        script.message(FIRST, success(1));
        assert!(!script.enqueue().iter().any(|line| line.starts_with("spawn")));
    }
}

#[test]
fn a_worker_without_a_job_leaves_when_the_pool_ends() {
    let mut script = Script::ready(config());
    assert_eq!(script.input(Input::Exit), ["leave 0#1", "0#1 is exiting"]);
    assert_eq!(script.wait(100 * MILLI), ["Terminate 0#1"]);
    assert_eq!(script.wait(500 * MILLI), ["Kill 0#1"]);
    assert_eq!(script.dies(FIRST), ["died 0#1"]);
    assert_eq!(script.machine.counters().crashed, 0);
}

// ---------------------------------------------------------------- an attempt runs at most once

/// A worker that runs job 2 of 4, with the other two behind it.
fn two_behind() -> Script {
    short_jobs()
}

#[test]
fn the_exit_overtakes_the_answer_of_the_job_before() {
    let mut script = two_behind();
    script.input(exited(FIRST));
    let lines = script.message(FIRST, success(2));
    assert_eq!(lines[1], "settled 2/1: Success");
    script.input(Input::StderrClosed(FIRST));
    let lines = script.input(Input::StdoutClosed(FIRST));
    assert_eq!(lines[..3], ["task 3/1 at 0#1", "0#1 is working", "settled 3/1: Crashed(Exited)"], "it may have begun");
    script.input(Input::Spawned(worker_key(0, 2)));
    assert_eq!(script.message(worker_key(0, 2), Message::Ready)[1], "send 4/1 to 0#2", "it had not");
}

#[test]
fn a_job_that_the_dead_worker_had_not_read_is_back_with_no_attempt_used() {
    let mut script = Script::working(config());
    script.input(Input::StdoutClosed(FIRST));
    script.input(Input::StderrClosed(FIRST));
    let lines =
        script.input(Input::Exited { worker_key: FIRST, undelivered: Some(Undelivered { job: 1, in_part: false }) });
    let died = "died 0#1, no start of 0#1, 1 in a row, waits 0ns";
    assert_eq!(lines[..3], ["returned 1 from 0#1", "0#1 is exiting", died], "it had no job");
    script.input(Input::Spawned(worker_key(0, 2)));
    assert_eq!(script.message(worker_key(0, 2), Message::Ready)[1..3], ["send 1/1 to 0#2", "task 1/1 at 0#2"]);
}

#[test]
fn a_job_that_workers_die_of_while_they_read_it_costs_an_attempt_at_the_third() {
    let mut script = Script::working(config());
    for worker in 1..=3 {
        let dead = worker_key(0, worker);
        script.input(Input::StdoutClosed(dead));
        script.input(Input::StderrClosed(dead));
        let undelivered = Some(Undelivered { job: 1, in_part: true });
        let lines = script.input(Input::Exited { worker_key: dead, undelivered });
        if worker == 3 {
            assert_eq!(lines, ["settled 1/1: Crashed(Exited)", "0#3 is exiting", "died 0#3", "idle"]);
            return;
        }
        let next = worker + 1;
        assert_eq!(lines[0], format!("returned 1 from 0#{worker}"));
        assert_eq!(lines.last(), Some(&format!("spawn 0#{next}")), "no start failure");
        script.input(Input::Spawned(worker_key(0, next)));
        script.message(worker_key(0, next), Message::Ready);
    }
}

#[test]
fn abort_recalls_what_lies_behind_before_it_kills() {
    let mut script = two_behind();
    assert_eq!(script.abort(2), ["settled 2/1: Aborted", "skip 3 at 0#1", "skip 4 at 0#1"]);
    assert_eq!(script.message(FIRST, Message::Skipped { job: 3 }), [""; 0]);
    assert_eq!(script.message(FIRST, Message::Skipped { job: 4 }), ["0#1 is exiting", "Terminate 0#1"]);
}

#[test]
fn where_the_answer_comes_first_nobody_is_killed() {
    let mut script = two_behind();
    script.abort(2);
    assert_eq!(script.message(FIRST, success(2)), ["0#1 is recovering", "0#1 is ready"], "nobody wants to know of it");
    let lines = script.message(FIRST, success(3));
    assert_eq!(lines[..4], ["task 3/1 at 0#1", "0#1 is working", "start 3/1 at 0#1", "settled 3/1: Success"]);
}

#[test]
fn a_worker_that_answers_no_recall_is_stopped_and_heard_before_it_is_killed() {
    let mut script = two_behind();
    script.abort(2);
    assert_eq!(script.wait(10 * MILLI), ["Stop 0#1"]);
    assert_eq!(script.input(Input::Stopped(FIRST)), ["0#1 is exiting", "Kill 0#1"]);
    script.dies(FIRST);
    script.input(Input::Spawned(worker_key(0, 2)));
    assert_eq!(script.message(worker_key(0, 2), Message::Ready)[1], "send 3/1 to 0#2");

    let mut script = two_behind();
    script.abort(2);
    script.wait(10 * MILLI);
    let lines = script.message(FIRST, success(2));
    assert_eq!(lines, ["Continue 0#1", "0#1 is recovering", "0#1 is ready"], "it had answered");
}

#[test]
fn a_worker_that_does_not_even_stop_is_killed_after_a_second() {
    let mut script = two_behind();
    script.abort(2);
    script.wait(10 * MILLI);
    assert_eq!(script.wait(SECOND), ["0#1 is exiting", "Kill 0#1"]);
}

#[test]
fn an_answer_that_is_heard_before_the_signal_counts_though_the_limit_is_over() {
    let mut script = two_behind();
    script.now += 10 * SECOND;
    let lines = script.tick();
    assert_eq!(lines, ["skip 3 at 0#1", "skip 4 at 0#1"]);
    assert_eq!(script.message(FIRST, success(2))[1], "settled 2/1: Success");
    assert_eq!(script.machine.counters().timed_out, 0);
}

#[test]
fn a_job_in_doubt_has_its_own_limit() {
    let mut script = short_jobs();
    script.wait(SHORT);
    script.message(FIRST, success(2));
    script.now += 10 * SECOND;
    assert_eq!(script.tick(), [""; 0], "both are recalled, and may be skipped still");
    assert_eq!(script.wait(10 * MILLI), ["Stop 0#1"]);
    let lines = script.input(Input::Stopped(FIRST));
    let told = ["task 3/1 at 0#1", "0#1 is working", "0#1 was working for too long"];
    assert_eq!(lines[..4], [&told[..], &["settled 3/1: TimedOut working 10s"][..]].concat());
}

#[test]
fn a_recall_that_is_not_answered_is_given_up_where_another_could_do_the_jobs() {
    let mut script = short_jobs_with(Config { timeout_working: None, ..config() });
    script.wait(SHORT);
    assert_eq!(script.wait(SECOND), [""; 0], "nobody else could do them");

    let mut script = short_jobs_with(Config { max_processes: 2, timeout_working: None, ..config() });
    script.wait(2 * SHORT);
    script.input(Input::Spawned(worker_key(1, 2)));
    script.message(worker_key(1, 2), Message::Ready);
    for job in [5, 6] {
        script.message(worker_key(1, 2), success(job));
    }
    assert!(script.machine.has_free_worker());
    assert_eq!(script.wait(SECOND), ["0#1 does not answer recalls"]);
    assert_eq!(script.wait(9 * SECOND), ["Stop 0#1"]);
    let lines = script.input(Input::Stopped(FIRST));
    assert!(lines[0].ends_with("did not answer for ten seconds"), "{lines:?}");
    assert_eq!(lines[1..], ["settled 2/1: Protocol", "0#1 is exiting", "Kill 0#1"]);
    let lines = script.dies(FIRST);
    assert!(lines.contains(&"send 3/1 to 1#2".into()), "{lines:?}");
}

#[test]
fn a_terminal_failure_that_names_no_job_is_of_the_one_that_may_have_begun() {
    let mut script = two_behind();
    script.wait(SHORT);
    script.message(FIRST, success(2));
    let lines = script.message(FIRST, Message::Terminal { job: None });
    assert_eq!(lines[..4], ["last words of 0#1", "task 3/1 at 0#1", "0#1 is working", "settled 3/1: Panicked"]);
    let lines = script.dies(FIRST);
    assert_eq!(lines, ["died 0#1", "spawn 0#2"]);
    script.input(Input::Spawned(worker_key(0, 2)));
    assert_eq!(script.message(worker_key(0, 2), Message::Ready)[1], "send 4/1 to 0#2", "it had not begun");

    let mut script = two_behind();
    script.message(FIRST, Message::Answer { job: 2, outcome: Outcome::Success, ready: false });
    let lines = script.message(FIRST, Message::Terminal { job: None });
    assert_eq!(lines, ["last words of 0#1", "0#1 is exiting"], "none had begun");
}

#[test]
fn after_a_word_out_of_order_nothing_can_be_proven() {
    let mut script = short_jobs_with(Config { retries: 1, ..config() });
    let lines = script.input(Input::Malformed(FIRST));
    let attempts =
        ["retry 2/1: Protocol", "task 3/1 at 0#1", "retry 3/1: Protocol", "task 4/1 at 0#1", "retry 4/1: Protocol"];
    assert_eq!(lines[1..6], attempts);
    assert_eq!(script.dies(FIRST), ["died 0#1", "backlog 2", "backlog 3", "backlog 4", "spawn 0#2"]);
}

#[test]
fn nothing_is_sent_ahead_to_a_worker_that_answers_no_recall() {
    let mut script = Script::working(Config { prefetch: 4, ..config() });
    script.input(Input::Greeted { worker_key: FIRST, recalls: false });
    (0..5).for_each(|_| drop(script.enqueue()));
    let lines = script.message(FIRST, success(1));
    assert_eq!(lines.iter().filter(|line| line.starts_with("send")).count(), 1, "{lines:?}");
}

#[test]
fn a_failure_says_whether_its_job_had_begun() {
    let begun = |script: &mut Script, input: Input| {
        let mut effects = Vec::new();
        script.machine.handle(script.now, input, &mut effects);
        effects.iter().find_map(|effect| match effect {
            Effect::Tell(Notice::Settled { begun, .. }) => Some(*begun),
            _ => None,
        })
    };
    let mut script = Script::working(config());
    script.enqueue();
    assert_eq!(begun(&mut script, Input::Abort(JobKey { place: 1, id: 2 })), Some(Begun::No));
    assert_eq!(begun(&mut script, Input::Abort(JobKey { place: 0, id: 1 })), Some(Begun::Perhaps));
    let mut script = Script::working(config());
    script.message(FIRST, Message::Start { job: 1 });
    assert_eq!(begun(&mut script, Input::Abort(JobKey { place: 0, id: 1 })), Some(Begun::Yes));
    let mut script = two_behind();
    let third = script.key(3);
    assert_eq!(begun(&mut script, Input::Abort(third)), Some(Begun::Perhaps));
    // What an attempt before this one did counts too.
    let mut script = Script::working(Config { retries: 1, ..config() });
    script.message(FIRST, Message::Answer { job: 1, outcome: Outcome::Failed, ready: false });
    assert_eq!(begun(&mut script, Input::Abort(JobKey { place: 0, id: 1 })), Some(Begun::Yes));
}

// ---------------------------------------------------------------- order, settings, figures

#[test]
fn higher_priorities_go_first_and_within_one_the_first() {
    let mut script = Script::working(config());
    for priority in [0, 5, 5, -1] {
        let mut settings = JobSettings::default();
        settings.set_priority(priority);
        script.enqueue_with(settings);
    }
    let mut order = Vec::new();
    for job in [1, 3, 4, 2, 5] {
        order.extend(script.message(FIRST, success(job)).into_iter().filter(|line| line.starts_with("task")));
    }
    assert_eq!(order, ["task 3/1 at 0#1", "task 4/1 at 0#1", "task 2/1 at 0#1", "task 5/1 at 0#1"]);
}

#[test]
fn a_jobs_own_limit_and_retries_hold() {
    let mut script = Script::ready(config());
    let mut settings = JobSettings::default();
    settings.set_timeout(Some(SECOND));
    settings.set_retries(1);
    script.enqueue_with(settings);
    assert_eq!(script.wait(SECOND)[1], "retry 1/1: TimedOut working 1s");
}

#[test]
fn no_limit_is_no_deadline() {
    let mut script = Script::working(Config { timeout_working: None, ..config() });
    assert_eq!(script.machine.next_deadline(), None);
    script.now = Duration::MAX - SECOND;
    assert_eq!(script.abort(1)[2], "Terminate 0#1", "deadlines do not overflow");
}

#[test]
fn all_ready_is_said_once_every_slot_has_been_ready() {
    let mut script = Script::ready(Config { max_processes: 2, ..config() });
    assert_eq!(script.input(Input::SpawnWorkers), ["spawn 1#2"]);
    script.input(Input::Spawned(worker_key(1, 2)));
    assert_eq!(script.message(worker_key(1, 2), Message::Ready), ["1#2 is ready", "all ready"]);
}

#[test]
fn an_idle_pool_waits_for_nothing() {
    let mut script = Script::working(config());
    script.message(FIRST, success(1));
    assert_eq!(script.machine.next_deadline(), None);
}

#[test]
fn draining_takes_no_new_jobs_and_does_the_old_ones() {
    let mut script = Script::working(Config { max_jobs_per_process: Some(1), ..config() });
    script.enqueue();
    script.input(Input::Close);
    assert_eq!(script.enqueue(), ["refused 3: Closed"]);
    script.message(FIRST, success(1));
    assert_eq!(script.dies(FIRST), ["died 0#1", "spawn 0#2"]);
}

#[test]
fn a_job_of_higher_priority_calls_back_those_sent_ahead() {
    let mut script = short_jobs();
    let mut settings = JobSettings::default();
    settings.set_priority(1);
    let lines = script.enqueue_with(settings);
    assert_eq!(lines, ["enqueued 7", "backlog 7", "skip 3 at 0#1", "skip 4 at 0#1"]);
    script.message(FIRST, Message::Skipped { job: 3 });
    script.message(FIRST, Message::Skipped { job: 4 });
    assert_eq!(script.message(FIRST, success(2))[4], "send 7/1 to 0#1");
}

#[test]
fn a_job_calls_back_none_of_its_own_priority() {
    let mut script = Script::working(Config { prefetch: 2, ..config() });
    let mut high = JobSettings::default();
    high.set_priority(1);
    for _ in 0..3 {
        script.enqueue_with(high.clone());
    }
    script.enqueue();
    script.now += MILLI / 10;
    let lines = script.message(FIRST, success(1));
    assert_eq!(
        lines[4..],
        ["send 2/1 to 0#1", "task 2/1 at 0#1", "0#1 is working", "send 3/1 to 0#1", "send 4/1 to 0#1"]
    );
    assert_eq!(script.enqueue_with(high), ["enqueued 6", "backlog 6"]);
}

// ---------------------------------------------------------------- memory

#[test]
fn memory_is_limited_by_either_limit() {
    for (soft, hard, limited) in
        [(None, None, false), (Some(1), None, true), (None, Some(1), true), (Some(1), Some(2), true)]
    {
        assert_eq!(MaxMemory { soft, hard }.is_limited(), limited);
    }
}

fn with_memory(soft: Option<u64>, hard: Option<u64>) -> Config {
    Config { max_memory: MaxMemory { soft, hard }, ..config() }
}

fn holds(bytes: u64) -> Input {
    Input::Resident { worker_key: FIRST, bytes }
}

/// The message of a worker that holds so much memory.
fn with_resident(message: Message, bytes: u64) -> Input {
    Input::Message { worker_key: FIRST, message, resident: Some(bytes) }
}

#[test]
fn memory_is_measured_with_the_messages_of_workers_that_have_no_job() {
    let measured = |max_memory| {
        let script = Script::working(Config { max_memory, ..config() });
        let answer = |ready| Message::Answer { job: 1, outcome: Outcome::Success, ready };
        [Message::Ready, answer(true), answer(false), Message::Start { job: 1 }]
            .map(|message| script.machine.wants_resident(FIRST, &message))
    };
    assert_eq!(measured(MaxMemory::default()), [false; 4]);
    assert_eq!(measured(MaxMemory { soft: Some(100), hard: None }), [true, true, false, false]);
    assert_eq!(measured(MaxMemory { soft: None, hard: Some(100) }), [true, true, false, false]);
}

#[test]
fn a_worker_over_the_soft_limit_finishes_its_job_and_is_replaced() {
    let mut script = Script::working(with_memory(Some(100), None));
    assert_eq!(script.machine.next_deadline(), Some(script.now + 10 * SECOND), "it is measured when it is at rest");
    let lines = script.input(with_resident(success(1), 100));
    assert!(!lines.contains(&"leave 0#1".into()), "at the limit is not over it: {lines:?}");
    script.enqueue();
    script.enqueue();
    let lines = script.input(with_resident(success(2), 101));
    assert_eq!(lines[0], "0#1 has outgrown: 101");
    assert!(lines.contains(&"settled 2/1: Success".into()), "{lines:?}");
    assert_eq!(lines[lines.len() - 2..], ["leave 0#1", "0#1 is exiting"], "the next job is not for it");
}

#[test]
fn a_worker_over_the_hard_limit_is_killed_and_its_job_fails() {
    let mut script = Script::working(with_memory(None, Some(200)));
    assert_eq!(script.wait(MEASURE_EVERY), ["measure 0#1"]);
    assert_eq!(script.input(holds(200)), [""; 0]);
    assert_eq!(script.wait(MEASURE_EVERY), ["measure 0#1"]);
    let lines = script.input(holds(201));
    assert_eq!(
        lines,
        [
            "0#1 holds 201 of 200",
            "settled 1/1: OutOfMemory { bytes: 201, limit: 200 }",
            "0#1 is exiting",
            "Terminate 0#1",
        ]
    );
    assert_eq!(script.input(holds(300)), [""; 0], "it is killed once");
    assert_eq!(script.wait(500 * MILLI), ["Kill 0#1"]);
}

#[test]
fn an_answer_counts_whatever_memory_its_worker_holds() {
    let mut script = Script::working(with_memory(None, Some(200)));
    let lines = script.input(with_resident(success(1), 300));
    assert_eq!(lines[0], "0#1 has outgrown: 300");
    assert!(lines.contains(&"settled 1/1: Success".into()) && lines.contains(&"leave 0#1".into()), "{lines:?}");
}

#[test]
fn a_worker_that_is_large_from_its_start_on_does_a_job_all_the_same() {
    let mut script = Script::new(with_memory(Some(100), Some(200)));
    script.tick();
    script.input(Input::Spawned(FIRST));
    assert_eq!(script.input(with_resident(Message::Ready, 150)), ["0#1 is ready"]);
    assert_eq!(script.machine.next_deadline(), None, "one that has nothing to do is not measured");
    script.enqueue();
    let lines = script.input(with_resident(success(1), 150));
    assert!(lines.contains(&"leave 0#1".into()), "{lines:?}");
}

#[test]
fn a_worker_over_the_hard_limit_before_it_is_ready_is_a_start_failure() {
    let mut script = Script::new(with_memory(None, Some(200)));
    script.tick();
    script.input(Input::Spawned(FIRST));
    assert_eq!(script.wait(MEASURE_EVERY), ["measure 0#1"]);
    assert_eq!(script.input(holds(201))[0], "0#1 holds 201 of 200");
    let lines = script.dies(FIRST);
    assert_eq!(lines, ["died 0#1, no start of 0#1, 1 in a row, waits 0ns", "spawn 0#2"]);
}

// ---------------------------------------------------------------- who is let in

/// A pool whose worker has a job, and whose backlog has one and is full.
fn full() -> Script {
    let mut script = Script::working(Config { max_backlog: Some(1), ..config() });
    assert_eq!(script.caller(WhenFull::Wait), ["enqueued 2", "backlog 2"]);
    script
}

#[test]
fn a_free_worker_takes_a_job_whatever_the_backlog_may_hold() {
    let mut script = Script::ready(Config { max_backlog: Some(1), ..config() });
    assert_eq!(script.caller(WhenFull::Refuse)[..2], ["enqueued 1", "send 1/1 to 0#1"]);
}

#[test]
fn a_full_backlog_refuses_or_makes_wait_or_is_exceeded() {
    let mut script = full();
    assert_eq!(script.caller(WhenFull::Refuse), ["refused 3: Full"]);
    assert_eq!(script.caller(WhenFull::Wait), [""; 0]);
    assert_eq!(script.caller(WhenFull::Exceed), ["enqueued 5", "backlog 5"]);
}

#[test]
fn callers_are_let_in_in_order_as_there_is_room() {
    let mut script = full();
    script.caller(WhenFull::Wait);
    script.caller(WhenFull::Wait);
    let lines = script.message(FIRST, success(1));
    let let_in =
        |lines: &[String]| lines.iter().filter(|line| line.starts_with("enqueued")).cloned().collect::<Vec<_>>();
    assert_eq!(let_in(&lines), ["enqueued 3"], "{lines:?}");
    assert_eq!(script.caller(WhenFull::Refuse), ["refused 5: Full"], "whoever waits comes first");
    assert_eq!(script.abort(3), ["settled 3/0: Aborted", "enqueued 4", "backlog 4"]);
}

#[test]
fn whoever_waits_is_refused_once_the_pool_is_closed() {
    for end in [Input::Close, Input::Exit] {
        let mut script = full();
        script.caller(WhenFull::Wait);
        script.caller(WhenFull::Wait);
        assert_eq!(script.input(end)[..2], ["refused 3: Closed", "refused 4: Closed"]);
        assert_eq!(script.caller(WhenFull::Exceed), ["refused 5: Closed"]);
    }
}

#[test]
fn a_pool_is_not_idle_while_a_caller_waits() {
    let mut script = full();
    script.caller(WhenFull::Wait);
    script.abort(2);
    assert!(!script.message(FIRST, success(1)).contains(&"idle".into()));
    assert_eq!(script.message(FIRST, success(3)).last().unwrap(), "idle");
}
