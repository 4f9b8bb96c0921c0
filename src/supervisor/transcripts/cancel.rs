//! Cancelling: the handler is asked first.

use super::*;

impl Script {
    fn cancel(&mut self, id: u64, grace: Duration) -> Vec<String> {
        let key = self.key(id);
        self.input(Input::Cancel { key, grace })
    }
}

fn failure(job: u64) -> Message {
    Message::Answer { job, outcome: Outcome::Failed, ready: true }
}

#[test]
fn a_queued_job_is_aborted_at_once() {
    let mut script = Script::working(config());
    script.enqueue();
    assert_eq!(script.cancel(2, SECOND), ["settled 2/0: Aborted"]);
}

#[test]
fn what_a_cancelled_job_answers_counts() {
    let mut script = Script::working(Config { retry: RetryPolicy::new(3), ..config() });
    assert_eq!(script.cancel(1, SECOND), ["cancel 1 at 0#1 within 1s"]);
    script.now += SECOND / 2;
    let lines = script.message(FIRST, success(1));
    assert_eq!(lines, ["start 1/1 at 0#1", "settled 1/1: Success", "0#1 is recovering", "0#1 is ready", "idle"]);
    // It is asked for nothing more, and the next job is not cancelled.
    script.enqueue();
    assert_eq!(script.machine.next_deadline(), Some(script.now + 10 * SECOND));
}

#[test]
fn a_cancelled_job_is_not_retried() {
    let mut script = Script::working(Config { retry: RetryPolicy::new(3), ..config() });
    script.cancel(1, SECOND);
    let lines = script.message(FIRST, failure(1));
    assert_eq!(lines[1], "settled 1/1: Failed");
    script.enqueue();
    script.cancel(2, SECOND);
    assert_eq!(script.dies(FIRST)[..1], ["settled 2/1: Crashed(Exited)"]);
}

#[test]
fn after_the_grace_time_it_is_killed() {
    let mut script = Script::working(Config { retry: RetryPolicy::new(3), ..config() });
    script.cancel(1, SECOND);
    assert_eq!(script.wait(SECOND), ["settled 1/1: Aborted", "0#1 is exiting", "Terminate 0#1"]);
}

#[test]
fn a_shorter_grace_time_replaces_a_longer_one() {
    let mut script = Script::working(Config { timeout_working: None, ..config() });
    assert_eq!(script.cancel(1, Duration::MAX), ["cancel 1 at 0#1"]);
    assert_eq!(script.machine.next_deadline(), None);
    assert_eq!(script.cancel(1, 9 * SECOND), ["cancel 1 at 0#1 within 9s"]);
    script.now += SECOND;
    assert!(script.cancel(1, 8 * SECOND).is_empty(), "it ends no earlier");
    assert!(script.cancel(1, Duration::MAX).is_empty());
    assert_eq!(script.cancel(1, SECOND), ["cancel 1 at 0#1 within 1s"]);
    assert_eq!(script.wait(SECOND)[0], "settled 1/1: Aborted");
}

#[test]
fn an_abort_ends_a_cancelled_job_at_once() {
    let mut script = Script::working(config());
    script.cancel(1, SECOND);
    assert_eq!(script.abort(1)[0], "settled 1/1: Aborted");
    assert_eq!(script.machine.next_deadline(), Some(script.now + 500 * MILLI), "the kill's own grace time");
}

#[test]
fn an_answer_that_was_written_in_time_counts() {
    let mut script = Script::working(config());
    script.cancel(1, SECOND);
    script.now += SECOND;
    let mut effects = Vec::new();
    script.machine.handle(script.now, Input::Tick, &mut effects);
    assert_eq!(effects, [Effect::Do(Action::Drain(FIRST))]);
    assert_eq!(script.message(FIRST, success(1))[1], "settled 1/1: Success");
    assert!(script.input(Input::Drained(FIRST)).is_empty());
}

#[test]
fn the_limit_of_the_attempt_holds() {
    let mut script = Script::working(Config { retry: RetryPolicy::new(3), timeout_working: Some(SECOND), ..config() });
    script.cancel(1, 5 * SECOND);
    let lines = script.wait(SECOND);
    assert_eq!(lines[..2], ["0#1 was working for too long", "settled 1/1: TimedOut working 1s"]);
}

#[test]
fn those_behind_a_cancelled_job_come_back() {
    let mut script = short_jobs();
    assert_eq!(script.cancel(3, SECOND), ["skip 3 at 0#1", "settled 3/0: Aborted"], "it had not begun");
    script.message(FIRST, Message::Skipped { job: 3 });
    script.cancel(2, SECOND / 10);
    script.now += SECOND / 10;
    // Job 4 was recalled long ago, by job 2's length.
    let lines = script.tick();
    assert!(
        lines.contains(&"skip 4 at 0#1".to_owned()) && lines.contains(&"settled 2/1: Aborted".to_owned()),
        "{lines:?}"
    );
    let lines = script.message(FIRST, Message::Skipped { job: 4 });
    assert_eq!(lines[..2], ["0#1 is exiting", "Terminate 0#1"]);
}

#[test]
fn one_that_its_worker_has_not_read_is_over() {
    let mut script = Script::working(Config { retry: RetryPolicy::new(3), ..config() });
    script.cancel(1, SECOND);
    script.input(Input::StdoutClosed(FIRST));
    script.input(Input::StderrClosed(FIRST));
    let undelivered = Some(Undelivered { job: 1, in_part: false });
    let lines = script.input(Input::Exited { worker_key: FIRST, undelivered });
    assert_eq!(lines[..3], ["returned 1 from 0#1", "settled 1/0: Aborted", "0#1 is exiting"]);
}

// ---------------------------------------------------------------- the soft limit

#[test]
fn a_job_over_its_soft_limit_is_asked_once() {
    let soft_timeout = Some(SECOND);
    let mut script = Script::working(Config {
        soft_timeout,
        retry: RetryPolicy::new(1),
        timeout_working: Some(5 * SECOND),
        ..config()
    });
    assert_eq!(script.wait(SECOND), ["cancel 1 at 0#1 within 4s"]);
    assert_eq!(script.machine.next_deadline(), Some(script.now + 4 * SECOND), "the hard limit");
    // It is retried as if nobody had asked, and asked again.
    assert_eq!(script.message(FIRST, failure(1))[1], "retry 1/1: Failed");
    assert_eq!(script.wait(SECOND), ["cancel 1 at 0#1 within 4s"]);
    assert_eq!(script.wait(4 * SECOND)[..2], ["0#1 was working for too long", "settled 1/2: TimedOut working 5s"]);
}

#[test]
fn a_job_has_a_soft_limit_of_its_own() {
    let mut script = Script::ready(Config { soft_timeout: Some(SECOND), timeout_working: None, ..config() });
    let mut none = JobSettings::default();
    none.set_soft_timeout(None);
    script.enqueue_with(none);
    assert_eq!(script.machine.next_deadline(), None);
    let mut own = JobSettings::default();
    own.set_soft_timeout(Some(3 * SECOND));
    script.message(FIRST, success(1));
    script.enqueue_with(own);
    assert_eq!(script.wait(3 * SECOND), ["cancel 2 at 0#1"]);
    assert_eq!(script.cancel(2, SECOND), ["cancel 2 at 0#1 within 1s"], "a caller gives it less time");
}

#[test]
fn one_that_was_recalled_is_asked_once_it_is_known_to_run() {
    let mut settings = JobSettings::default();
    settings.set_soft_timeout(Some(SECOND));
    let mut script = Script::working(Config { prefetch: 1, timeout_working: None, ..config() });
    script.message(FIRST, success(1));
    script.enqueue();
    for _ in 0..3 {
        script.enqueue_with(settings.clone());
    }
    script.now += MILLI / 10;
    assert!(script.message(FIRST, success(2)).contains(&"send 4/1 to 0#1".to_owned()));
    script.wait(MILLI);
    script.message(FIRST, success(3));
    // It was asked to skip job 4, which it is presumed to do.
    script.now += 2 * SECOND;
    assert!(script.tick().iter().all(|line| !line.starts_with("cancel")));
    script.message(FIRST, Message::Start { job: 4 });
    assert_eq!(script.tick(), ["cancel 4 at 0#1"]);
}
