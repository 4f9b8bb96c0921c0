//! Who is accepted.

use super::*;

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
fn callers_are_admitted_in_order_as_there_is_room() {
    let mut script = full();
    script.caller(WhenFull::Wait);
    script.caller(WhenFull::Wait);
    let lines = script.message(FIRST, success(1));
    let accepted =
        |lines: &[String]| lines.iter().filter(|line| line.starts_with("enqueued")).cloned().collect::<Vec<_>>();
    assert_eq!(accepted(&lines), ["enqueued 3"], "{lines:?}");
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
