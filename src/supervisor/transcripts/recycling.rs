//! Workers that are replaced.

use super::*;

#[test]
fn by_default_a_worker_is_replaced_after_64_jobs_and_a_minute() {
    let jobs = |script: &mut Script, from: u64, count: u64| {
        (from..from + count).map(|job| [script.enqueue(), script.message(FIRST, success(job))].concat()).last().unwrap()
    };
    let mut script = Script::ready(Config { max_jobs_per_process: None, ..config() });
    let lines = jobs(&mut script, 1, 100);
    assert!(!lines.contains(&"leave 0#1".into()), "it is young: {lines:?}");
    script.now += 60 * SECOND;
    assert!(jobs(&mut script, 101, 1).contains(&"leave 0#1".into()));

    let mut script = Script::ready(Config { max_jobs_per_process: None, ..config() });
    script.now += 60 * SECOND;
    assert!(!jobs(&mut script, 1, 63).contains(&"leave 0#1".into()), "it has done little");
    assert!(jobs(&mut script, 64, 1).contains(&"leave 0#1".into()));
}

#[test]
fn the_successor_of_a_worker_that_has_few_jobs_left_is_started_while_it_works() {
    let two = Config { max_processes: 2, max_jobs_per_process: Some(2), cores: 2, ..config() };
    let mut script = Script::working(two.clone());
    assert_eq!(script.message(FIRST, success(1)).last().map(String::as_str), Some("idle"));
    assert_eq!(script.enqueue().last().map(String::as_str), Some("spawn 1#2"), "this is its last job");
    script.input(Input::Spawned(worker_key(1, 2)));
    script.message(worker_key(1, 2), Message::Ready);
    script.message(FIRST, success(2));
    assert_eq!(script.enqueue()[1], "send 3/1 to 1#2", "no job waits for a start");

    // Not where all cores have something to do, nor where there is no slot.
    for config in [Config { cores: 1, ..two.clone() }, Config { max_processes: 1, ..two }] {
        let mut script = Script::working(config);
        script.message(FIRST, success(1));
        assert!(!script.enqueue().iter().any(|line| line.starts_with("spawn")));
    }
}

#[test]
fn as_many_successors_start_as_workers_leave_meanwhile() {
    let mut script = Script::new(Config { max_processes: 4, max_jobs_per_process: Some(10), cores: 2, ..config() });
    script.tick();
    script.input(Input::Spawned(FIRST));
    script.now += SECOND;
    script.message(FIRST, Message::Ready);
    script.enqueue();
    script.message(FIRST, success(1));
    script.now += 50 * MILLI;
    // Ten jobs last half a second, and a start takes a whole one.
    let lines = script.enqueue();
    assert_eq!(lines[lines.len() - 2..], ["spawn 1#2", "spawn 2#3"], "{lines:?}");
}

#[test]
fn a_worker_that_has_done_nothing_comes_last() {
    let mut script = Script::ready(Config { max_processes: 2, ..config() });
    script.enqueue();
    script.input(Input::SpawnWorkers);
    script.input(Input::Spawned(worker_key(1, 2)));
    script.message(FIRST, success(1));
    script.message(worker_key(1, 2), Message::Ready);
    // So that the first one does all of its jobs, and leaves, before its successor has few left.
    assert_eq!(script.enqueue()[1], "send 2/1 to 0#1");
}

#[test]
fn a_worker_without_a_job_leaves_when_the_pool_ends() {
    let mut script = Script::ready(config());
    assert_eq!(script.input(Input::Exit), ["leave 0#1", "0#1 is exiting"]);
    assert_eq!(script.wait(100 * MILLI), ["Terminate 0#1"]);
    assert_eq!(script.wait(500 * MILLI), ["Kill 0#1"]);
    assert_eq!(script.dies(FIRST), ["died 0#1"]);
    assert_eq!(script.machine.counters().crashed, 0);
}
