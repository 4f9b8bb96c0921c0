//! The order of jobs, their settings, and the figures.

use super::*;

#[test]
fn higher_priorities_go_first_and_within_one_the_first() {
    let mut script = Script::working(config());
    for priority in [0, 5, 5, -1] {
        let mut settings = JobSettings::default();
        settings.set_priority(priority);
        script.enqueue_with(settings);
    }
    let mut order = Vec::new();
    for job in [1, 3, 4, 2, 5] {
        order.extend(script.message(FIRST, success(job)).into_iter().filter(|line| line.starts_with("task")));
    }
    assert_eq!(order, ["task 3/1 at 0#1", "task 4/1 at 0#1", "task 2/1 at 0#1", "task 5/1 at 0#1"]);
}

#[test]
fn a_jobs_own_limit_and_retries_hold() {
    let mut script = Script::ready(config());
    let mut settings = JobSettings::default();
    settings.set_timeout(Some(SECOND));
    settings.set_retries(1);
    script.enqueue_with(settings);
    assert_eq!(script.wait(SECOND)[1], "retry 1/1: TimedOut working 1s");
}

#[test]
fn no_limit_is_no_deadline() {
    let mut script = Script::working(Config { timeout_working: None, ..config() });
    assert_eq!(script.machine.next_deadline(), None);
    script.now = Duration::MAX - SECOND;
    assert_eq!(script.abort(1)[2], "Terminate 0#1", "deadlines do not overflow");
}

#[test]
fn all_ready_is_announced_once_every_slot_has_been_ready() {
    let mut script = Script::ready(Config { max_processes: 2, ..config() });
    assert_eq!(script.input(Input::SpawnWorkers), ["spawn 1#2"]);
    script.input(Input::Spawned(worker_key(1, 2)));
    assert_eq!(script.message(worker_key(1, 2), Message::Ready), ["1#2 is ready", "all ready"]);
}

#[test]
fn an_idle_pool_waits_for_nothing() {
    let mut script = Script::working(config());
    script.message(FIRST, success(1));
    assert_eq!(script.machine.next_deadline(), None);
}

#[test]
fn draining_takes_no_new_jobs_and_does_the_old_ones() {
    let mut script = Script::working(Config { max_jobs_per_process: Some(1), ..config() });
    script.enqueue();
    script.input(Input::Close);
    assert_eq!(script.enqueue(), ["refused 3: Closed"]);
    script.message(FIRST, success(1));
    assert_eq!(script.dies(FIRST), ["died 0#1", "spawn 0#2"]);
}

#[test]
fn a_job_of_higher_priority_recalls_prefetched_ones() {
    let mut script = short_jobs();
    let mut settings = JobSettings::default();
    settings.set_priority(1);
    let lines = script.enqueue_with(settings);
    assert_eq!(lines, ["enqueued 7", "backlog 7", "skip 3 at 0#1", "skip 4 at 0#1"]);
    script.message(FIRST, Message::Skipped { job: 3 });
    script.message(FIRST, Message::Skipped { job: 4 });
    assert_eq!(script.message(FIRST, success(2))[4], "send 7/1 to 0#1");
}

#[test]
fn a_job_calls_back_none_of_its_own_priority() {
    let mut script = Script::working(Config { prefetch: 2, ..config() });
    let mut high = JobSettings::default();
    high.set_priority(1);
    for _ in 0..3 {
        script.enqueue_with(high.clone());
    }
    script.enqueue();
    script.now += MILLI / 10;
    let lines = script.message(FIRST, success(1));
    assert_eq!(
        lines[4..],
        ["send 2/1 to 0#1", "task 2/1 at 0#1", "0#1 is working", "send 3/1 to 0#1", "send 4/1 to 0#1"]
    );
    assert_eq!(script.enqueue_with(high), ["enqueued 6", "backlog 6"]);
}
