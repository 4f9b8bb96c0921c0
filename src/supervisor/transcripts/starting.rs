//! Workers that do not start.

use super::*;

#[test]
fn waits_grow_and_no_job_goes_round_them() {
    let mut script = Script::new(Config { start_failures: 100, ..config() });
    script.enqueue();
    let mut waits = Vec::new();
    for worker in 1..=9 {
        let of = worker_key(0, worker);
        script.input(Input::Spawned(of));
        script.dies(of);
        let wait = script.machine.next_deadline().map_or(Duration::ZERO, |at| at - script.now);
        waits.push(wait.as_millis());
        if !wait.is_zero() {
            assert_eq!(script.enqueue().len(), 2, "an enqueue spawns nothing");
            assert_eq!(script.wait(wait), [format!("spawn 0#{}", worker + 1)]);
        }
    }
    assert_eq!(waits, [0, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
}

/// A pool of one slot, two of whose workers have failed to start in a row, and the third is ready.
fn after_two_failures() -> (Script, WorkerKey) {
    let mut script = Script::new(Config { start_failures: 100, ..config() });
    script.enqueue();
    for worker in 1..=2 {
        script.input(Input::Spawned(worker_key(0, worker)));
        script.dies(worker_key(0, worker));
    }
    script.wait(100 * MILLI);
    let third = worker_key(0, 3);
    script.input(Input::Spawned(third));
    script.message(third, Message::Ready);
    (script, third)
}

#[test]
fn a_job_that_is_answered_ends_the_row_of_start_failures() {
    let (mut script, third) = after_two_failures();
    script.message(third, success(1));
    assert_eq!(script.dies(third), ["0#3 is exiting", "died 0#3"], "nobody needs another");
    script.enqueue();
    script.input(Input::Spawned(worker_key(0, 4)));
    let lines = script.dies(worker_key(0, 4));
    assert_eq!(lines[1..], ["died 0#4, no start of 0#4, 1 in a row, waits 0ns", "spawn 0#5"]);
}

#[test]
fn a_crash_in_the_first_job_ends_the_row_of_start_failures() {
    let (mut script, third) = after_two_failures();
    script.enqueue();
    let lines = script.dies(third);
    assert_eq!(lines[lines.len() - 2..], ["died 0#3", "spawn 0#4"]);
    script.input(Input::Spawned(worker_key(0, 4)));
    let lines = script.dies(worker_key(0, 4));
    assert_eq!(lines[1..], ["died 0#4, no start of 0#4, 1 in a row, waits 0ns", "spawn 0#5"]);
}

#[test]
fn the_minimum_counts_the_workers_that_are_there() {
    let mut script = Script::new(Config { max_processes: 4, min_processes: 2, ..config() });
    assert_eq!(script.tick(), ["spawn 0#1", "spawn 1#2"]);
    for worker in [FIRST, worker_key(1, 2)] {
        script.input(Input::Spawned(worker));
        script.message(worker, Message::Ready);
        script.enqueue();
    }
    assert_eq!(script.enqueue(), ["enqueued 3", "backlog 3", "spawn 2#3"]);
    assert_eq!(
        script.input(Input::Spawned(worker_key(2, 3))),
        ["spawned 2#3", "2#3 is initializing"],
        "it is all that is needed"
    );
}

#[test]
fn a_job_that_comes_when_the_pool_is_broken_learns_nothing_from_a_start_before_it() {
    let mut script = Script::new(Config { start_failures: 2, max_processes: 2, ..config() });
    script.enqueue();
    assert_eq!(script.enqueue().last().map(String::as_str), Some("spawn 1#2"));
    script.input(Input::SpawnFailed(worker_key(0, 1)));
    script.input(Input::SpawnFailed(worker_key(0, 3)));
    assert!(script.machine.is_circuit_open());
    script.enqueue();
    let lines = script.input(Input::SpawnFailed(worker_key(1, 2)));
    assert_eq!(lines[1..], ["spawn 1#4"], "job 3 gets a probe of its own");
    assert_eq!(script.input(Input::SpawnFailed(worker_key(1, 4)))[1..], ["settled 3/0: NoWorker", "idle"]);
}

#[test]
fn too_many_in_a_row_settle_the_queued_jobs_and_one_probe_follows_each_new_one() {
    let mut script = Script::new(Config { start_failures: 2, max_processes: 2, ..config() });
    script.enqueue();
    for worker in [1, 2] {
        script.input(Input::Spawned(worker_key(0, worker)));
        let lines = script.dies(worker_key(0, worker));
        assert_eq!(lines.contains(&"settled 1/0: NoWorker".into()), worker == 2, "{lines:?}");
    }
    assert!(script.machine.is_circuit_open());
    assert_eq!(script.machine.next_deadline(), None, "without jobs nothing probes");
    // The other slot has nothing to wait for, so the probe is there; a second job starts no second one.
    assert_eq!(script.enqueue(), ["enqueued 2", "backlog 2", "spawn 1#3"]);
    assert_eq!(script.enqueue(), ["enqueued 3", "backlog 3"]);
    script.input(Input::Spawned(worker_key(1, 3)));
    let lines = script.dies(worker_key(1, 3));
    assert_eq!(lines[2..], ["settled 2/0: NoWorker", "settled 3/0: NoWorker", "idle"]);
    // One that becomes ready makes the pool whole.
    script.now += 10 * SECOND;
    assert_eq!(script.enqueue().last().map(String::as_str), Some("spawn 0#4"));
    script.input(Input::Spawned(worker_key(0, 4)));
    script.message(worker_key(0, 4), Message::Ready);
    assert!(!script.machine.is_circuit_open());
}

#[test]
fn a_worker_that_dies_before_its_first_job_is_a_start_failure_and_one_that_crashes_in_it_is_none() {
    let mut script = Script::ready(Config { min_processes: 1, ..config() });
    assert_eq!(script.dies(FIRST)[1..], ["died 0#1, no start of 0#1, 1 in a row, waits 0ns", "spawn 0#2"]);
    let mut script = Script::working(Config { min_processes: 1, ..config() });
    let lines = script.dies(FIRST);
    assert!(!lines.iter().any(|line| line.contains("no start")), "{lines:?}");
}

#[test]
fn one_that_leaves_while_all_are_waited_for_is_replaced() {
    let max_age = Some(SECOND);
    let mut script = Script::new(Config { max_processes: 2, max_age, timeout_initializing: None, ..config() });
    assert_eq!(script.input(Input::SpawnWorkers), ["spawn 0#1", "spawn 1#2"]);
    let second = worker_key(1, 2);
    script.input(Input::Spawned(FIRST));
    script.input(Input::Spawned(second));
    script.message(FIRST, Message::Ready);
    script.now += SECOND;
    assert_eq!(script.tick(), ["leave 0#1", "0#1 is exiting"]);
    assert_eq!(script.dies(FIRST), ["died 0#1", "spawn 0#3"], "the other one is not ready yet");
    script.message(second, Message::Ready);
    script.input(Input::Spawned(worker_key(0, 3)));
    assert_eq!(script.message(worker_key(0, 3), Message::Ready), ["0#3 is ready", "all ready"]);
    // From here on nobody waits for them.
    script.now += SECOND;
    script.tick();
    assert_eq!(script.dies(worker_key(0, 3)), ["died 0#3"]);
}
