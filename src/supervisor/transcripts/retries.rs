//! Retries that wait, and those that are not made.

use super::*;

fn backing_off(first: Duration) -> RetryPolicy {
    RetryPolicy::new(2).backoff(first, 10 * SECOND).jitter(0.0)
}

fn failed(job: u64) -> Message {
    Message::Answer { job, outcome: Outcome::Failed, ready: true }
}

#[test]
fn a_retry_waits_twice_as_long_each_time_and_holds_nobody() {
    let mut script = Script::working(Config { retry: backing_off(SECOND), ..config() });
    let lines = script.message(FIRST, failed(1));
    assert_eq!(lines, ["start 1/1 at 0#1", "retry 1/1: Failed", "1 waits for 1s", "0#1 is recovering", "0#1 is ready"]);
    assert_eq!((script.machine.backlog_len(), script.machine.delayed()), (1, 1));
    assert!(script.machine.has_free_worker() && !script.machine.is_idle());
    // Another is done meanwhile.
    assert_eq!(script.enqueue()[1..], ["send 2/1 to 0#1", "task 2/1 at 0#1", "0#1 is working"]);
    script.message(FIRST, success(2));
    assert_eq!(script.wait(SECOND), ["backlog 1", "send 1/2 to 0#1", "task 1/2 at 0#1", "0#1 is working"]);
    assert_eq!(script.message(FIRST, failed(1))[2], "1 waits for 2s");
    script.wait(2 * SECOND);
    assert_eq!(script.message(FIRST, failed(1))[1], "settled 1/3: Failed");
    assert_eq!((script.machine.next_deadline(), script.machine.delayed()), (None, 0));
}

#[test]
fn jobs_that_failed_together_do_not_all_wait_alike() {
    let until = |seed| {
        let retry = RetryPolicy::new(1).backoff(SECOND, SECOND);
        let mut script = Script::working(Config { retry, seed, ..config() });
        script.message(FIRST, failed(1));
        script.machine.next_deadline().unwrap()
    };
    let waits: Vec<Duration> = (0..20).map(until).collect();
    assert!(waits.iter().all(|&wait| wait >= SECOND && wait <= SECOND + SECOND / 10), "{waits:?}");
    assert!(waits.iter().any(|wait| *wait != waits[0]), "{waits:?}");
}

#[test]
fn a_retry_waits_for_its_time_and_for_the_reaping() {
    for (wait, order) in
        [(SECOND / 10, ["died 0#1", "backlog 1", "spawn 0#2"].as_slice()), (SECOND, ["died 0#1"].as_slice())]
    {
        let mut script = Script::working(Config { retry: backing_off(wait), ..config() });
        assert_eq!(script.message(FIRST, Message::Terminal { job: Some(1) })[2], "retry 1/1: Panicked");
        script.now += SECOND / 5;
        assert_eq!(script.tick(), [""; 0], "its worker is not reaped");
        assert_eq!(script.dies(FIRST), order);
        if wait == SECOND {
            assert_eq!(script.wait(SECOND * 4 / 5), ["backlog 1", "spawn 0#2"]);
        }
    }
}

#[test]
fn a_waiting_retry_can_be_aborted() {
    let mut script = Script::working(Config { retry: backing_off(SECOND), ..config() });
    script.message(FIRST, failed(1));
    assert_eq!(script.abort(1), ["settled 1/1: Aborted", "idle"]);
    assert_eq!(script.machine.next_deadline(), None);
    // Also while its worker is still dying.
    let mut script = Script::working(Config { retry: backing_off(SECOND), ..config() });
    script.message(FIRST, Message::Terminal { job: Some(1) });
    assert_eq!(script.abort(1)[0], "settled 1/1: Aborted");
    assert_eq!((script.machine.delayed(), script.machine.unsettled()), (0, 0));
}

#[test]
fn exit_does_not_wait_for_a_retry_and_drain_does() {
    let mut script = Script::working(Config { retry: backing_off(SECOND), ..config() });
    script.message(FIRST, failed(1));
    assert_eq!(script.input(Input::Close), [""; 0]);
    assert!(!script.machine.is_idle());
    assert_eq!(script.wait(SECOND)[..2], ["backlog 1", "send 1/2 to 0#1"]);
    script.message(FIRST, failed(1));
    assert_eq!(script.input(Input::Exit)[0], "settled 1/2: Closed");
    assert_eq!(script.machine.delayed(), 0);
}

#[test]
fn only_the_kinds_that_are_named_are_retried() {
    let retry = RetryPolicy::new(1).on(&[JobErrorKind::Panicked, JobErrorKind::Aborted, JobErrorKind::Encode]);
    let mut script = Script::working(Config { retry, max_processes: 2, ..config() });
    assert_eq!(script.message(FIRST, failed(1))[1], "settled 1/1: Failed");
    script.enqueue();
    let unencodable = Message::Answer { job: 2, outcome: Outcome::Unencodable, ready: true };
    assert_eq!(script.message(FIRST, unencodable)[1], "settled 2/1: Unencodable");
    script.enqueue();
    assert_eq!(script.abort(3)[0], "settled 3/1: Aborted");
    script.dies(FIRST);
    let mut script = Script::working(Config { retry, ..config() });
    assert_eq!(script.message(FIRST, Message::Terminal { job: Some(1) })[2], "retry 1/1: Panicked");
}

#[test]
fn a_final_error_is_final_whatever_is_named() {
    let retry = RetryPolicy::new(1).on(&[JobErrorKind::Failed]);
    let mut script = Script::working(Config { retry, ..config() });
    let answer = Message::Answer { job: 1, outcome: Outcome::FinalFailure, ready: true };
    assert_eq!(script.message(FIRST, answer)[1], "settled 1/1: FinalFailure");
}

#[test]
fn a_jobs_own_policy_stands_in_place_of_the_pools() {
    let mut script = Script::ready(Config { retry: backing_off(SECOND), ..config() });
    let mut settings = JobSettings::default();
    settings.set_retry(RetryPolicy::new(1).backoff(3 * SECOND, 3 * SECOND).jitter(0.0));
    script.enqueue_with(settings);
    assert_eq!(script.message(FIRST, failed(1))[2], "1 waits for 3s");
    let mut settings = JobSettings::default();
    settings.set_retries(1);
    script.enqueue_with(settings);
    assert_eq!(script.message(FIRST, failed(2))[1..3], ["retry 2/1: Failed", "backlog 2"]);
}

#[test]
fn a_waiting_retry_takes_room_in_the_backlog() {
    let mut script = Script::working(Config { retry: backing_off(SECOND), max_backlog: Some(1), ..config() });
    script.message(FIRST, failed(1));
    assert_eq!(script.caller(WhenFull::Refuse)[0], "enqueued 2", "a worker is free for it");
    assert_eq!(script.caller(WhenFull::Refuse), ["refused 3: Full"]);
}

fn idempotent() -> JobSettings {
    let mut settings = JobSettings::default();
    settings.set_idempotent(true);
    settings
}

/// The job's next worker is ready, and dies with it.
fn dies_with_it(script: &mut Script, worker: u64) -> Vec<String> {
    let worker_key = worker_key(0, worker);
    script.input(Input::Spawned(worker_key));
    script.message(worker_key, Message::Ready);
    script.dies(worker_key)
}

#[test]
fn an_attempt_in_doubt_uses_up_no_retry_twice() {
    let mut script = Script::ready(config());
    script.enqueue_with(idempotent());
    let lines = script.dies(FIRST);
    assert_eq!(lines[..1], ["retry 1/1: Crashed(Exited)"]);
    assert!(lines.contains(&"backlog 1".into()), "{lines:?}");
    assert_eq!(dies_with_it(&mut script, 2)[0], "retry 1/2: Crashed(Exited)");
    assert_eq!(dies_with_it(&mut script, 3)[0], "settled 1/3: Crashed(Exited)");
    assert_eq!(script.machine.counters().retried, 2);
}

#[test]
fn an_attempt_that_had_begun_counts_though_idempotent() {
    let mut script = Script::ready(config());
    script.enqueue_with(idempotent());
    script.message(FIRST, Message::Start { job: 1 });
    assert_eq!(script.dies(FIRST)[0], "settled 1/1: Crashed(Exited)");
    // What is limited or has panicked is in no doubt either.
    let mut script = Script::ready(config());
    script.enqueue_with(idempotent());
    assert_eq!(script.wait(10 * SECOND)[1], "settled 1/1: TimedOut working 10s");
}

#[test]
fn the_backoff_counts_the_attempts_that_count() {
    let mut script = Script::ready(Config { retry: backing_off(SECOND), ..config() });
    script.enqueue_with(idempotent());
    assert!(script.dies(FIRST).contains(&"backlog 1".into()), "in doubt it does not wait");
    let second = worker_key(0, 2);
    script.input(Input::Spawned(second));
    script.message(second, Message::Ready);
    assert_eq!(script.message(second, failed(1))[1..3], ["retry 1/2: Failed", "1 waits for 1s"]);
}

#[test]
fn after_a_violation_each_idempotent_job_goes_back() {
    let mut script = short_jobs();
    for _ in 0..4 {
        script.enqueue_with(idempotent());
    }
    // Job 2 runs, 3 and 4 are prefetched; none of them is idempotent.
    let lines = script.input(Input::Malformed(FIRST));
    assert_eq!(lines.iter().filter(|line| line.starts_with("settled")).count(), 3, "{lines:?}");
    let mut script = Script::ready(Config { prefetch: 2, ..config() });
    script.enqueue_with(idempotent());
    let lines = script.input(Input::Malformed(FIRST));
    assert!(lines.contains(&"retry 1/1: Protocol".into()), "{lines:?}");
    assert!(script.dies(FIRST).contains(&"backlog 1".into()), "once it is reaped");
}
