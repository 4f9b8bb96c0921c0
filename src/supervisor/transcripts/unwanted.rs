//! Aborting what no worker has begun.

use super::*;

impl Script {
    /// A caller wants one job no more, or none that is queued.
    fn abort_queued(&mut self, call: u64, only: Option<u64>) -> Vec<String> {
        let only = only.map(|id| self.key(id));
        self.input(Input::AbortQueued { call, only })
    }

    fn skipped(&mut self, job: u64) -> Vec<String> {
        self.message(FIRST, Message::Skipped { job })
    }
}

#[test]
fn a_queued_job_is_over_at_once() {
    let mut script = Script::working(config());
    script.enqueue();
    assert_eq!(script.abort_queued(7, Some(2)), ["settled 2/0: Aborted", "call 7 has aborted 1"]);
}

#[test]
fn a_running_job_goes_on() {
    let mut script = Script::working(config());
    assert_eq!(script.abort_queued(7, Some(1)), ["call 7 has aborted 0"]);
    assert_eq!(script.message(FIRST, success(1))[1], "settled 1/1: Success");
}

#[test]
fn one_that_waits_for_its_time_is_queued() {
    let mut script = Script::working(Config { retry: RetryPolicy::new(1).backoff(SECOND, SECOND), ..config() });
    let mut settings = JobSettings::default();
    settings.set_delay(SECOND);
    script.enqueue_with(settings);
    assert_eq!(script.abort_queued(7, Some(2)), ["settled 2/0: Aborted", "call 7 has aborted 1"]);
    let failed = Message::Answer { job: 1, outcome: Outcome::Failed, ready: true };
    assert_eq!(script.message(FIRST, failed)[1], "retry 1/1: Failed");
    assert_eq!(script.abort_queued(8, Some(1))[..2], ["settled 1/1: Aborted", "call 8 has aborted 1"]);
}

#[test]
fn one_whose_worker_is_dying_is_queued() {
    let mut script = Script::working(Config { retry: RetryPolicy::new(1), timeout_working: Some(SECOND), ..config() });
    assert_eq!(script.wait(SECOND)[1], "retry 1/1: TimedOut working 1s");
    assert_eq!(script.abort_queued(7, None)[..2], ["settled 1/1: Aborted", "call 7 has aborted 1"]);
}

#[test]
fn a_prefetched_one_is_over_when_its_worker_skips_it() {
    let mut script = short_jobs();
    assert_eq!(script.abort_queued(7, Some(3)), ["skip 3 at 0#1"]);
    assert_eq!(script.skipped(3), ["settled 3/0: Aborted", "call 7 has aborted 1"]);
    // Job 4 is where it was.
    assert_eq!(script.message(FIRST, success(2))[3..5], ["0#1 is ready", "task 4/1 at 0#1"]);
}

#[test]
fn one_that_has_begun_all_the_same_goes_on() {
    let mut script = short_jobs();
    script.abort_queued(7, Some(3));
    script.message(FIRST, success(2));
    let lines = script.message(FIRST, Message::Start { job: 3 });
    assert_eq!(lines[..2], ["task 3/1 at 0#1", "call 7 has aborted 0"]);
    assert_eq!(script.message(FIRST, success(3))[0], "settled 3/1: Success");
}

#[test]
fn one_that_was_in_doubt_is_over_once_it_is_skipped() {
    let mut script = short_jobs();
    script.abort_queued(7, Some(3));
    script.message(FIRST, success(2));
    assert_eq!(script.abort_queued(8, Some(3)), [""; 0], "it is presumed begun, and may be skipped");
    let lines = script.skipped(3);
    assert_eq!(lines[..3], ["settled 3/0: Aborted", "call 7 has aborted 1", "call 8 has aborted 0"]);
}

#[test]
fn nobody_waits_for_longer_than_a_second() {
    let mut script = short_jobs();
    script.abort_queued(7, Some(3));
    script.now += SECOND;
    let lines = script.tick();
    assert!(lines.contains(&"call 7 has aborted 0".to_owned()), "{lines:?}");
    // It goes on as if nobody had asked.
    script.skipped(4);
    assert_eq!(script.skipped(3), [""; 0]);
    assert_eq!(script.message(FIRST, success(2))[4..6], ["send 3/1 to 0#1", "task 3/1 at 0#1"]);
}

#[test]
fn one_whose_worker_dies_before_it_is_over() {
    let mut script = short_jobs();
    script.abort_queued(7, Some(3));
    let lines = script.dies(FIRST);
    assert!(
        lines.ends_with(&["settled 3/0: Aborted".into(), "call 7 has aborted 1".into(), "spawn 0#2".into()]),
        "{lines:?}"
    );
}

#[test]
fn all_are_aborted_at_once() {
    let mut script = short_jobs();
    assert_eq!(
        script.abort_queued(7, None),
        ["skip 3 at 0#1", "skip 4 at 0#1", "settled 5/0: Aborted", "settled 6/0: Aborted"]
    );
    assert_eq!(script.skipped(3), ["settled 3/0: Aborted"]);
    assert_eq!(script.skipped(4), ["settled 4/0: Aborted", "call 7 has aborted 4"]);
    assert_eq!(script.message(FIRST, success(2))[1], "settled 2/1: Success", "what runs goes on");
}

#[test]
fn those_whose_callers_wait_for_room_are_among_all() {
    let mut script = Script::working(Config { max_backlog: Some(1), ..config() });
    script.caller(WhenFull::Wait);
    assert_eq!(script.caller(WhenFull::Wait), [""; 0]);
    let lines = script.abort_queued(7, None);
    let over = ["settled 2/0: Aborted", "enqueued 3", "settled 3/0: Aborted", "call 7 has aborted 2"];
    assert_eq!(lines, over);
}

#[test]
fn what_is_over_for_another_reason_is_not_aborted_by_the_call() {
    let mut script = short_jobs();
    script.abort_queued(7, None);
    assert_eq!(script.abort(3), ["settled 3/0: Aborted"]);
    let lines = script.input(Input::Exit);
    assert!(lines.contains(&"call 7 has aborted 2".to_owned()), "{lines:?}");
}

#[test]
fn whoever_asks_counts_before_the_time_that_is_over() {
    let mut settings = JobSettings::default();
    settings.set_expires(Some(MILLI));
    let mut script = Script::working(Config { prefetch: 1, ..config() });
    script.message(FIRST, success(1));
    script.enqueue();
    script.enqueue();
    script.enqueue_with(settings);
    script.now += MILLI / 10;
    assert!(script.message(FIRST, success(2)).contains(&"send 4/1 to 0#1".to_owned()));
    script.abort_queued(7, Some(4));
    script.now += MILLI;
    script.tick();
    assert_eq!(script.skipped(4), ["settled 4/0: Aborted", "call 7 has aborted 1"]);
}
