//! Jobs that wait for a time before they are queued, and jobs that are over at one.

use super::*;

fn delayed(by: Duration) -> JobSettings {
    let mut settings = JobSettings::default();
    settings.set_delay(by);
    settings
}

fn expiring(after: Duration) -> JobSettings {
    let mut settings = JobSettings::default();
    settings.set_expires(Some(after));
    settings
}

#[test]
fn a_delayed_job_is_queued_at_its_time_though_a_worker_is_free() {
    let mut script = Script::ready(config());
    assert_eq!(script.enqueue_with(delayed(SECOND)), ["enqueued 1", "1 waits for 1s"]);
    assert_eq!((script.machine.backlog_len(), script.machine.delayed()), (1, 1));
    assert!(script.machine.has_free_worker() && !script.machine.is_idle());
    assert_eq!(script.wait(SECOND), ["backlog 1", "send 1/1 to 0#1", "task 1/1 at 0#1", "0#1 is working"]);
    assert_eq!(script.machine.delayed(), 0);
}

#[test]
fn jobs_of_one_time_are_queued_in_their_order() {
    let mut script = Script::working(config());
    // Places in the table are given again, numbers are not.
    script.enqueue();
    script.abort(2);
    for _ in 0..3 {
        script.enqueue_with(delayed(SECOND));
    }
    script.enqueue_with(delayed(SECOND / 2));
    assert_eq!(script.wait(SECOND / 2), ["backlog 6"]);
    assert_eq!(script.wait(SECOND / 2), ["backlog 3", "backlog 4", "backlog 5"]);
}

#[test]
fn a_delayed_job_needs_room_in_the_backlog() {
    let mut script = Script::ready(Config { max_backlog: Some(1), ..config() });
    assert_eq!(script.enqueue_when_full(delayed(SECOND), WhenFull::Wait)[0], "enqueued 1");
    assert_eq!(script.enqueue_when_full(delayed(SECOND), WhenFull::Refuse), ["refused 2: Full"]);
    assert_eq!(script.enqueue_when_full(delayed(SECOND), WhenFull::Wait), [""; 0]);
    // It is accepted once the first has begun, and its time begins then.
    assert_eq!(script.wait(SECOND)[3..], ["0#1 is working", "enqueued 3", "3 waits for 1s"]);
}

#[test]
fn exit_closes_a_delayed_job_and_drain_waits_for_it() {
    let mut script = Script::ready(config());
    script.enqueue_with(delayed(SECOND));
    assert_eq!(script.input(Input::Close), [""; 0]);
    assert_eq!(script.wait(SECOND)[1], "send 1/1 to 0#1");
    let mut script = Script::ready(config());
    script.enqueue_with(delayed(SECOND));
    assert_eq!(script.input(Input::Exit)[0], "settled 1/0: Closed");
    assert_eq!(script.machine.delayed(), 0);
}

#[test]
fn a_job_that_no_worker_has_begun_in_time_expires() {
    let mut script = Script::working(Config { expires: Some(2 * SECOND), ..config() });
    script.enqueue();
    script.enqueue_with(expiring(SECOND));
    let mut both = delayed(10 * SECOND);
    both.set_expires(Some(SECOND));
    script.enqueue_with(both);
    let mut never = JobSettings::default();
    never.set_expires(None);
    script.enqueue_with(never);
    assert_eq!(script.wait(SECOND), ["settled 3/0: Expired", "settled 4/0: Expired"]);
    // The first has begun.
    assert_eq!(script.wait(SECOND), ["settled 2/0: Expired"]);
    assert_eq!((script.machine.unsettled(), script.machine.delayed()), (2, 0));
    assert_eq!(script.machine.counters().failed, 3);
    assert_eq!(script.message(FIRST, success(1))[4], "send 5/1 to 0#1");
}

#[test]
fn a_job_that_has_begun_in_time_is_done_and_retried() {
    let mut script = Script::working(Config { expires: Some(SECOND), retry: RetryPolicy::new(1), ..config() });
    script.now += 2 * SECOND;
    assert_eq!(script.tick(), [""; 0]);
    let answer = Message::Answer { job: 1, outcome: Outcome::Failed, ready: true };
    assert_eq!(script.message(FIRST, answer)[1..3], ["retry 1/1: Failed", "backlog 1"]);
    assert_eq!(script.message(FIRST, success(1))[1], "settled 1/2: Success");
    assert_eq!(script.machine.next_deadline(), None);
}

#[test]
fn a_prefetched_job_expires_once_it_is_skipped() {
    let mut script = short_jobs_with(Config { expires: Some(MILLI / 2), ..config() });
    // Those in the queue expire at once; those that are prefetched are recalled.
    script.now += MILLI;
    let lines = script.tick();
    assert!(lines.contains(&"settled 5/0: Expired".into()) && lines.contains(&"skip 3 at 0#1".into()), "{lines:?}");
    assert_eq!(script.message(FIRST, Message::Skipped { job: 3 }), ["settled 3/0: Expired"]);
    // The other has begun before it was asked for.
    assert_eq!(script.message(FIRST, success(2))[1], "settled 2/1: Success");
    let lines = script.message(FIRST, success(4));
    assert!(lines.contains(&"settled 4/1: Success".into()), "{lines:?}");
}

#[test]
fn an_overdue_job_expires_with_the_worker_that_had_not_begun_it() {
    let mut script = short_jobs_with(Config { expires: Some(MILLI / 2), ..config() });
    script.now += MILLI;
    script.tick();
    let lines = script.dies(FIRST);
    let expired: Vec<_> = lines.iter().filter(|line| line.ends_with("Expired")).collect();
    assert_eq!(expired, ["settled 3/0: Expired", "settled 4/0: Expired"], "{lines:?}");
    assert!(lines.contains(&"settled 2/1: Crashed(Exited)".into()), "{lines:?}");
}

#[test]
fn a_job_that_its_dead_worker_had_not_read_expires() {
    let mut script = Script::working(Config { expires: Some(SECOND), ..config() });
    script.now += 2 * SECOND;
    script.tick();
    script.input(Input::StdoutClosed(FIRST));
    script.input(Input::StderrClosed(FIRST));
    let undelivered = Some(Undelivered { job: 1, in_part: false });
    let lines = script.input(Input::Exited { worker_key: FIRST, undelivered });
    assert_eq!(lines[..2], ["returned 1 from 0#1", "settled 1/0: Expired"]);
}
