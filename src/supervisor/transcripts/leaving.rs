//! How workers are killed, and how they leave.

use super::*;

#[test]
fn killed_is_sigterm_then_sigkill_after_the_grace() {
    let mut script = Script::working(config());
    script.abort(1);
    assert_eq!(script.wait(500 * MILLI), ["Kill 0#1"]);
    assert_eq!(script.wait(STATUS_WAIT), ["give up the status of 0#1"], "its fork server may be stopped");
    for sign in [exited(FIRST), Input::StdoutClosed(FIRST), Input::StderrClosed(FIRST)] {
        script.input(sign);
    }
    assert_eq!(script.machine.next_deadline(), None, "there is nothing more to be done");
}

#[test]
fn without_grace_it_is_sigkill_at_once() {
    let mut script = Script::working(Config { kill_grace: Duration::ZERO, ..config() });
    assert_eq!(script.abort(1)[2], "Kill 0#1");
}

#[test]
fn a_worker_that_does_not_leave_is_signalled_twice() {
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
    assert_eq!(script.wait(500 * MILLI), ["Terminate 0#1"]);
}

#[test]
fn a_worker_that_retires_is_replaced_after_its_job() {
    let mut script = Script::working(config());
    script.enqueue();
    assert_eq!(script.message(FIRST, Message::Retire), [""; 0]);
    assert_eq!(script.message(FIRST, success(1))[4..], ["leave 0#1", "0#1 is exiting"]);
    assert_eq!(script.dies(FIRST), ["died 0#1", "spawn 0#2"]);
}

#[test]
fn a_worker_whose_fork_server_is_gone_finishes_its_job_and_leaves() {
    let mut script = short_jobs();
    assert_eq!(script.input(Input::Orphaned(FIRST)), ["skip 3 at 0#1", "skip 4 at 0#1"]);
    script.message(FIRST, Message::Skipped { job: 3 });
    assert_eq!(
        script.message(FIRST, Message::Skipped { job: 4 }),
        [""; 0],
        "they are queued again, and it gets no other"
    );
    assert_eq!(script.machine.backlog_len(), 4);
    let lines = script.message(FIRST, success(2));
    assert_eq!(
        lines[1..],
        ["settled 2/1: Success", "0#1 is recovering", "0#1 is ready", "leave 0#1", "0#1 is exiting"]
    );
    assert_eq!(script.dies(FIRST), ["died 0#1", "spawn 0#2"]);
    script.input(Input::Spawned(worker_key(0, 2)));
    assert_eq!(script.message(worker_key(0, 2), Message::Ready)[1], "send 3/1 to 0#2");
}

#[test]
fn a_prefetched_job_that_was_recalled_too_late_is_the_last_one_of_an_orphan() {
    let mut script = short_jobs();
    script.input(Input::Orphaned(FIRST));
    script.message(FIRST, success(2));
    // It read job 3 before the recall, and job 4 after it.
    assert_eq!(script.message(FIRST, Message::Start { job: 3 })[0], "task 3/1 at 0#1");
    script.message(FIRST, Message::Skipped { job: 4 });
    let lines = script.message(FIRST, success(3));
    assert_eq!(lines[1..], ["0#1 is recovering", "0#1 is ready", "leave 0#1", "0#1 is exiting"]);
}

#[test]
fn an_orphan_without_a_job_leaves_at_once() {
    let mut script = Script::working(config());
    script.message(FIRST, success(1));
    assert_eq!(script.input(Input::Orphaned(FIRST)), ["leave 0#1", "0#1 is exiting"]);
}
