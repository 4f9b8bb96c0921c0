//! Limits of memory.

use super::*;

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
    assert_eq!(lines[0], "0#1 is over its soft limit: 101");
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
    assert_eq!(lines[0], "0#1 is over its soft limit: 300");
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
