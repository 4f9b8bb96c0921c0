//! How workers are killed, and how they leave.

use super::*;

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
