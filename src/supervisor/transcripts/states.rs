//! The table of worker states, row by row.

use super::*;

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
    let mut script = Script::working(Config { retry: RetryPolicy::new(1), ..config() });
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
    assert_eq!(lines, ["start 1/1 at 0#1", "terminal failure of 0#1", "settled 1/1: Panicked", "0#1 is exiting"]);
    assert_eq!(script.dies(FIRST), ["died 0#1", "spawn 0#2"]);
}

#[test]
fn a_panic_is_retried_only_once_the_worker_is_reaped() {
    let mut script = Script::working(Config { retry: RetryPolicy::new(1), max_processes: 2, ..config() });
    let lines = script.message(FIRST, Message::Terminal { job: Some(1) });
    assert_eq!(lines[2..], ["retry 1/1: Panicked", "0#1 is exiting"]);
    assert_eq!(script.machine.backlog_len(), 1);
    assert_eq!(script.dies(FIRST), ["died 0#1", "backlog 1", "spawn 0#2"]);
}

#[test]
fn a_terminal_failure_while_initializing_is_a_start_failure() {
    let mut script = Script::new(config());
    script.tick();
    script.input(Input::Spawned(FIRST));
    assert_eq!(script.message(FIRST, Message::Terminal { job: None }), ["terminal failure of 0#1", "0#1 is exiting"]);
    let lines = script.dies(FIRST);
    assert_eq!(lines, ["died 0#1, no start of 0#1, 1 in a row, waits 0ns", "spawn 0#2"]);
}

#[test]
fn a_terminal_failure_while_recovering_leaves_the_settled_job_alone() {
    let mut script = Script::working(config());
    script.enqueue();
    script.message(FIRST, Message::Answer { job: 1, outcome: Outcome::Success, ready: false });
    assert_eq!(script.message(FIRST, Message::Terminal { job: None }), ["terminal failure of 0#1", "0#1 is exiting"]);
    assert_eq!(script.dies(FIRST), ["died 0#1", "spawn 0#2"]);
    assert_eq!(script.machine.counters().succeeded, 1);
}

#[test]
fn a_terminal_failure_while_ready_is_an_event_and_a_replacement() {
    let mut script = Script::ready(Config { min_processes: 1, ..config() });
    script.enqueue();
    script.message(FIRST, success(1));
    assert_eq!(script.message(FIRST, Message::Terminal { job: None }), ["terminal failure of 0#1", "0#1 is exiting"]);
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
    let mut script = Script::working(Config { retry: RetryPolicy::new(1), ..config() });
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
    assert_eq!(script.wait(EXIT_WAIT), ["0#1 closed its pipe", "0#1 is exiting", "Terminate 0#1"]);
    script.input(Input::StderrClosed(FIRST));
    assert_eq!(script.input(exited(FIRST))[..2], ["settled 1/1: Crashed(PipeClosed)", "died 0#1"]);
    assert_eq!(script.machine.counters().crashed, 1);
}

#[test]
fn a_death_that_takes_long_charges_nothing_that_was_not_read() {
    let mut script = Script::working(config());
    script.input(Input::StdoutClosed(FIRST));
    script.wait(EXIT_WAIT);
    script.input(Input::StderrClosed(FIRST));
    let undelivered = Some(Undelivered { job: 1, in_part: false });
    let lines = script.input(Input::Exited { worker_key: FIRST, undelivered });
    assert_eq!(lines[0], "returned 1 from 0#1");
    assert_eq!((script.machine.counters().failed, script.machine.counters().retried), (0, 0));
}

#[test]
fn the_wait_for_pipes_that_are_held_begins_with_the_exit() {
    let mut script = Script::working(config());
    script.input(Input::StdoutClosed(FIRST));
    script.input(exited(FIRST));
    let lines = script.wait(DEATH_WAIT);
    assert_eq!(lines, ["settled 1/1: Crashed(Exited)", "0#1 is exiting", "died 0#1", "idle"]);
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
