//! A pool that is paused, and one whose size changes.

use super::*;

#[test]
fn pausing_recalls_what_lies_ahead_and_begins_nothing() {
    let mut script = short_jobs();
    assert_eq!(script.input(Input::Pause), ["skip 3 at 0#1", "skip 4 at 0#1"]);
    assert_eq!(script.message(FIRST, Message::Skipped { job: 3 }), [""; 0]);
    assert_eq!(script.message(FIRST, Message::Skipped { job: 4 }), [""; 0]);
    // What runs goes on, and is answered.
    assert_eq!(
        script.message(FIRST, success(2)),
        ["start 2/1 at 0#1", "settled 2/1: Success", "0#1 is recovering", "0#1 is ready"]
    );
    assert_eq!(script.enqueue(), ["enqueued 7", "backlog 7"], "though a worker is free");
    assert_eq!(script.machine.next_deadline(), None, "nothing is due");
    assert_eq!(script.input(Input::Resume)[..3], ["send 3/1 to 0#1", "task 3/1 at 0#1", "0#1 is working"]);
}

#[test]
fn a_retry_waits_until_the_pool_is_resumed() {
    let mut script = Script::working(Config { retry: RetryPolicy::new(1), ..config() });
    script.input(Input::Pause);
    let failed = Message::Answer { job: 1, outcome: Outcome::Failed, ready: true };
    let lines = script.message(FIRST, failed);
    assert_eq!(lines[1..], ["retry 1/1: Failed", "backlog 1", "0#1 is recovering", "0#1 is ready"]);
    assert_eq!(script.input(Input::Resume), ["send 1/2 to 0#1", "task 1/2 at 0#1", "0#1 is working"]);
}

#[test]
fn no_worker_is_started_for_a_job_that_waits_for_the_resumption() {
    let mut script = Script::ready(Config { max_processes: 2, ..config() });
    script.input(Input::Pause);
    assert_eq!(script.enqueue(), ["enqueued 1", "backlog 1"]);
    assert_eq!(script.enqueue(), ["enqueued 2", "backlog 2"]);
    let lines = script.input(Input::Resume);
    assert_eq!(lines, ["send 1/1 to 0#1", "task 1/1 at 0#1", "0#1 is working", "spawn 1#2"]);
}

#[test]
fn a_job_recalled_too_late_goes_on_in_a_paused_pool() {
    let mut script = short_jobs();
    script.input(Input::Pause);
    script.message(FIRST, success(2));
    assert_eq!(script.message(FIRST, Message::Start { job: 3 })[0], "task 3/1 at 0#1");
    assert_eq!(script.message(FIRST, Message::Skipped { job: 4 }), [""; 0]);
    let lines = script.message(FIRST, success(3));
    assert_eq!(lines, ["settled 3/1: Success", "0#1 is recovering", "0#1 is ready"]);
}

#[test]
fn a_worker_that_answers_no_recall_is_let_be_while_nobody_else_may_begin() {
    let mut script = short_jobs_with(Config { max_processes: 2, timeout_working: None, ..config() });
    script.input(Input::Pause);
    script.input(Input::Spawned(worker_key(1, 2)));
    script.message(worker_key(1, 2), Message::Ready);
    for _ in 0..20 {
        assert_eq!(script.wait(SECOND), [""; 0]);
    }
    script.input(Input::Resume);
    for job in [5, 6] {
        script.message(worker_key(1, 2), success(job));
    }
    // Now the other worker is free to do what it keeps.
    let lines = script.wait(SECOND);
    assert!(lines.contains(&"Stop 0#1".into()), "{lines:?}");
}

#[test]
fn closing_resumes_and_a_closed_pool_is_not_paused() {
    let mut script = Script::ready(config());
    script.input(Input::Pause);
    script.enqueue();
    assert_eq!(script.input(Input::Close), ["send 1/1 to 0#1", "task 1/1 at 0#1", "0#1 is working"]);
    script.input(Input::Pause);
    assert!(!script.machine.is_paused(), "its jobs come to their end");
}

#[test]
fn callers_wait_for_room_though_a_worker_is_free() {
    let mut script = Script::ready(Config { max_backlog: Some(1), ..config() });
    script.input(Input::Pause);
    assert_eq!(script.caller(WhenFull::Wait), ["enqueued 1", "backlog 1"]);
    assert_eq!(script.caller(WhenFull::Wait), [""; 0]);
    assert_eq!(script.caller(WhenFull::Refuse), ["refused 3: Full"]);
    let lines = script.input(Input::Resume);
    assert_eq!(lines[3..], ["enqueued 2", "backlog 2"], "{lines:?}");
}

#[test]
fn a_paused_pool_ends_as_any_other() {
    let mut script = Script::working(config());
    script.input(Input::Pause);
    script.enqueue();
    let lines = script.input(Input::Exit);
    assert_eq!(lines[..2], ["settled 1/1: Closed", "settled 2/0: Closed"]);
    script.dies(FIRST);
    assert!(script.machine.is_finished() && !script.machine.is_paused());
}
