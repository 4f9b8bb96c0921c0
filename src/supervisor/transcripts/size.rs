//! A pool that is paused, and one whose size changes.

use super::*;

#[test]
fn pausing_recalls_prefetched_jobs_and_begins_nothing() {
    let mut script = short_jobs();
    assert_eq!(script.input(Input::Pause), ["skip 3 at 0#1", "skip 4 at 0#1"]);
    assert_eq!(script.message(FIRST, Message::Skipped { job: 3 }), [""; 0]);
    assert_eq!(script.message(FIRST, Message::Skipped { job: 4 }), [""; 0]);
    // What runs goes on, and is answered.
    assert_eq!(
        script.message(FIRST, success(2)),
        ["start 2/1 at 0#1", "settled 2/1: Success", "0#1 is recovering", "0#1 is ready"]
    );
    assert_eq!(script.enqueue(), ["enqueued 7", "backlog 7"], "though a worker is free");
    assert_eq!(script.machine.next_deadline(), None, "nothing is due");
    assert_eq!(script.input(Input::Resume)[..3], ["send 3/1 to 0#1", "task 3/1 at 0#1", "0#1 is working"]);
}

#[test]
fn a_retry_waits_until_the_pool_is_resumed() {
    let mut script = Script::working(Config { retry: RetryPolicy::new(1), ..config() });
    script.input(Input::Pause);
    let failed = Message::Answer { job: 1, outcome: Outcome::Failed, ready: true };
    let lines = script.message(FIRST, failed);
    assert_eq!(lines[1..], ["retry 1/1: Failed", "backlog 1", "0#1 is recovering", "0#1 is ready"]);
    assert_eq!(script.input(Input::Resume), ["send 1/2 to 0#1", "task 1/2 at 0#1", "0#1 is working"]);
}

#[test]
fn no_worker_is_started_for_a_job_that_waits_for_the_resumption() {
    let mut script = Script::ready(Config { max_processes: 2, ..config() });
    script.input(Input::Pause);
    assert_eq!(script.enqueue(), ["enqueued 1", "backlog 1"]);
    assert_eq!(script.enqueue(), ["enqueued 2", "backlog 2"]);
    let lines = script.input(Input::Resume);
    assert_eq!(lines, ["send 1/1 to 0#1", "task 1/1 at 0#1", "0#1 is working", "spawn 1#2"]);
}

#[test]
fn a_job_recalled_too_late_goes_on_in_a_paused_pool() {
    let mut script = short_jobs();
    script.input(Input::Pause);
    script.message(FIRST, success(2));
    assert_eq!(script.message(FIRST, Message::Start { job: 3 })[0], "task 3/1 at 0#1");
    assert_eq!(script.message(FIRST, Message::Skipped { job: 4 }), [""; 0]);
    let lines = script.message(FIRST, success(3));
    assert_eq!(lines, ["settled 3/1: Success", "0#1 is recovering", "0#1 is ready"]);
}

#[test]
fn a_worker_that_answers_no_recall_is_left_alone_while_nobody_else_may_begin() {
    let mut script = short_jobs_with(Config { max_processes: 2, timeout_working: None, ..config() });
    script.input(Input::Pause);
    script.input(Input::Spawned(worker_key(1, 2)));
    script.message(worker_key(1, 2), Message::Ready);
    for _ in 0..20 {
        assert_eq!(script.wait(SECOND), [""; 0]);
    }
    script.input(Input::Resume);
    for job in [5, 6] {
        script.message(worker_key(1, 2), success(job));
    }
    // Now the other worker is free to do what it keeps.
    let lines = script.wait(SECOND);
    assert!(lines.contains(&"Stop 0#1".into()), "{lines:?}");
}

#[test]
fn closing_resumes_and_a_closed_pool_is_not_paused() {
    let mut script = Script::ready(config());
    script.input(Input::Pause);
    script.enqueue();
    assert_eq!(script.input(Input::Close), ["send 1/1 to 0#1", "task 1/1 at 0#1", "0#1 is working"]);
    script.input(Input::Pause);
    assert!(!script.machine.is_paused(), "its jobs come to their end");
}

#[test]
fn callers_wait_for_room_though_a_worker_is_free() {
    let mut script = Script::ready(Config { max_backlog: Some(1), ..config() });
    script.input(Input::Pause);
    assert_eq!(script.caller(WhenFull::Wait), ["enqueued 1", "backlog 1"]);
    assert_eq!(script.caller(WhenFull::Wait), [""; 0]);
    assert_eq!(script.caller(WhenFull::Refuse), ["refused 3: Full"]);
    let lines = script.input(Input::Resume);
    assert_eq!(lines[3..], ["enqueued 2", "backlog 2"], "{lines:?}");
}

#[test]
fn a_paused_pool_ends_as_any_other() {
    let mut script = Script::working(config());
    script.input(Input::Pause);
    script.enqueue();
    let lines = script.input(Input::Exit);
    assert_eq!(lines[..2], ["settled 1/1: Closed", "settled 2/0: Closed"]);
    script.dies(FIRST);
    assert!(script.machine.is_finished() && !script.machine.is_paused());
}

/// A pool of so many workers on as many cores, all of them ready.
fn all_ready(workers: usize) -> Script {
    let config = Config { max_processes: workers, cores: workers, prefetch: 2, retry: RetryPolicy::new(0), ..config() };
    let mut script = Script::ready(config);
    script.input(Input::SpawnWorkers);
    for slot in 1..workers {
        let worker_key = worker_key(slot, slot as u64 + 1);
        script.input(Input::Spawned(worker_key));
        script.input(Input::Hello { worker_key, recalls: true });
        script.message(worker_key, Message::Ready);
    }
    script
}

#[test]
fn a_pool_that_may_have_more_workers_starts_them_for_the_jobs_that_wait() {
    let mut script = Script::working(config());
    script.enqueue();
    script.enqueue();
    assert_eq!(script.input(Input::SetMaxProcesses(2)), ["spawn 1#2"]);
    assert_eq!(script.input(Input::SetMaxProcesses(4)), ["spawn 2#3"], "two jobs wait, and one starts for them");
}

#[test]
fn of_fewer_workers_the_surplus_leave_after_their_jobs() {
    let mut script = all_ready(3);
    (0..2).for_each(|_| drop(script.enqueue()));
    // The last one has nothing to do, and leaves at once; the one before it after its job.
    assert_eq!(script.input(Input::SetMaxProcesses(1)), ["leave 2#3", "2#3 is exiting"]);
    assert_eq!(script.enqueue(), ["enqueued 3", "backlog 3"]);
    let lines = script.message(worker_key(1, 2), success(2));
    assert_eq!(lines[3..], ["1#2 is ready", "leave 1#2", "1#2 is exiting"], "though a job waits");
    assert_eq!(script.dies(worker_key(2, 3)), ["died 2#3"], "no start failure, and nobody follows");
    assert_eq!(script.dies(worker_key(1, 2)), ["died 1#2"]);
    assert_eq!(script.machine.counters().crashed, 0);
}

#[test]
fn jobs_prefetched_to_a_surplus_worker_come_back() {
    let mut script = short_jobs_with(Config { max_processes: 2, ..config() });
    script.input(Input::Spawned(worker_key(1, 2)));
    script.input(Input::Hello { worker_key: worker_key(1, 2), recalls: true });
    // The first worker's slot stays; so the second one is given all, and then is one too many.
    script.message(worker_key(1, 2), Message::Ready);
    script.now += MILLI / 10;
    script.message(worker_key(1, 2), success(5));
    let prefetched = script.machine.worker(worker_key(1, 2)).map(|worker| worker.prefetched_keys().count());
    let lines = script.input(Input::SetMaxProcesses(1));
    assert_eq!(lines.iter().filter(|line| line.starts_with("skip")).count(), prefetched.unwrap(), "{lines:?}");
}

#[test]
fn a_surplus_worker_that_is_wanted_again_before_it_has_left_stays() {
    let mut script = all_ready(2);
    (0..2).for_each(|_| drop(script.enqueue()));
    script.input(Input::SetMaxProcesses(1));
    script.input(Input::SetMaxProcesses(2));
    let job = script.machine.worker(worker_key(1, 2)).and_then(|worker| worker.job()).unwrap();
    let lines = script.message(worker_key(1, 2), success(job));
    assert_eq!(lines[2..], ["1#2 is recovering", "1#2 is ready"]);
}

#[test]
fn a_surplus_worker_that_starts_leaves_once_it_is_ready() {
    let mut script = Script::ready(Config { max_processes: 2, ..config() });
    script.input(Input::SpawnWorkers);
    script.input(Input::Spawned(worker_key(1, 2)));
    // All that there are to be are ready now.
    assert_eq!(script.input(Input::SetMaxProcesses(1)), ["all ready"]);
    assert_eq!(script.message(worker_key(1, 2), Message::Ready), ["1#2 is ready", "leave 1#2", "1#2 is exiting"]);
    assert_eq!(script.dies(worker_key(1, 2)), ["died 1#2"]);
}

#[test]
fn no_worker_is_started_while_the_surplus_have_not_left() {
    let mut script = all_ready(3);
    (0..3).for_each(|_| drop(script.enqueue()));
    script.input(Input::SetMaxProcesses(2));
    script.enqueue();
    assert_eq!(
        script.dies(worker_key(1, 2)),
        ["settled 2/1: Crashed(Exited)", "1#2 is exiting", "died 1#2",],
        "two live, of which one is too many: the fourth job waits"
    );
    let lines = script.message(worker_key(2, 3), success(3));
    assert_eq!(lines[3..], ["2#3 is ready", "leave 2#3", "2#3 is exiting"]);
    assert_eq!(script.dies(worker_key(2, 3)), ["died 2#3", "spawn 1#4"]);
}

#[test]
fn the_minimum_is_no_more_than_there_may_be() {
    let mut script = Script::ready(Config { max_processes: 3, min_processes: 3, ..config() });
    assert_eq!(script.machine.workers().count(), 1, "the others are being spawned");
    script.input(Input::SetMaxProcesses(1));
    for (slot, worker) in [(1, 2), (2, 3)] {
        script.input(Input::Spawned(worker_key(slot, worker)));
        script.message(worker_key(slot, worker), Message::Ready);
        let died = format!("died {slot}#{worker}");
        assert_eq!(script.dies(worker_key(slot, worker)), [died]);
    }
    assert_eq!(script.input(Input::SetMaxProcesses(2)), ["spawn 1#4"], "and as many as there may be");
}

#[test]
fn all_workers_are_replaced_after_their_jobs() {
    let mut script = all_ready(2);
    script.enqueue();
    let busy = script.machine.workers().find(|(_, of)| of.job().is_some()).map(|(key, _)| key).unwrap();
    let free = script.machine.workers().find(|(_, of)| of.job().is_none()).map(|(key, _)| key).unwrap();
    let free_line = format!("leave {}#{}", free.slot, free.worker);
    assert_eq!(script.input(Input::Recycle)[0], free_line);
    assert_eq!(script.enqueue(), ["enqueued 2", "backlog 2"], "it is for a new one");
    let lines = script.dies(free);
    assert_eq!(lines, [format!("died {}#{}", free.slot, free.worker), format!("spawn {}#3", free.slot)]);
    let lines = script.message(busy, success(1));
    assert!(lines.contains(&format!("leave {}#{}", busy.slot, busy.worker)), "{lines:?}");
}

#[test]
fn workers_without_a_job_leave_in_time_down_to_the_minimum() {
    let config = Config { max_processes: 2, min_processes: 1, idle_timeout: Some(60 * SECOND), ..config() };
    let mut script = Script::ready(config);
    script.now += SECOND;
    script.enqueue();
    script.enqueue();
    script.input(Input::Spawned(worker_key(1, 2)));
    script.message(worker_key(1, 2), Message::Ready);
    script.message(FIRST, success(1));
    script.now += SECOND;
    assert_eq!(script.message(worker_key(1, 2), success(2)).last().unwrap(), "idle");
    assert_eq!(
        script.wait(59 * SECOND),
        ["leave 0#1", "0#1 is exiting"],
        "no start failure, though it may have had no job"
    );
    assert_eq!(script.dies(FIRST), ["died 0#1"], "nobody follows");
    // The other one stays for ever, and nothing more is due.
    assert_eq!(script.wait(SECOND), [""; 0]);
    assert_eq!(script.machine.next_deadline(), None);
    assert_eq!(script.enqueue()[1], "send 3/1 to 1#2");
}

#[test]
fn a_job_ends_the_time_without_one() {
    let mut script = Script::ready(Config { idle_timeout: Some(5 * SECOND), timeout_working: None, ..config() });
    script.now += 4 * SECOND;
    script.enqueue();
    assert_eq!(script.machine.next_deadline(), None);
    script.now += 4 * SECOND;
    script.message(FIRST, success(1));
    assert_eq!(script.wait(5 * SECOND), ["leave 0#1", "0#1 is exiting"]);
    assert_eq!(script.dies(FIRST), ["died 0#1"]);
    assert_eq!(script.enqueue(), ["enqueued 2", "backlog 2", "spawn 0#2"], "a job starts one again");
}

#[test]
fn a_worker_that_has_done_nothing_leaves_without_a_start_failure() {
    let mut script = Script::ready(Config { idle_timeout: Some(5 * SECOND), start_failures: 1, ..config() });
    assert_eq!(script.wait(5 * SECOND), ["leave 0#1", "0#1 is exiting"]);
    assert_eq!(script.dies(FIRST), ["died 0#1"]);
    assert!(!script.machine.is_circuit_open());
}

#[test]
fn an_old_worker_leaves_after_its_job() {
    let config = Config { max_age: Some(3600 * SECOND), timeout_working: None, ..config() };
    let mut script = short_jobs_with(config);
    let at = script.machine.next_deadline().unwrap();
    // What is due before is the recall behind a job that is not short.
    assert!(at < SECOND);
    script.now = at;
    script.tick();
    script.message(FIRST, Message::Skipped { job: 3 });
    script.message(FIRST, Message::Skipped { job: 4 });
    let at = script.machine.next_deadline().unwrap();
    assert!(at > 3240 * SECOND && at <= 3600 * SECOND, "{at:?}");
    script.now = at;
    assert_eq!(script.tick(), [""; 0], "what it runs goes on");
    assert_eq!(script.message(FIRST, success(2))[3..], ["0#1 is ready", "leave 0#1", "0#1 is exiting"]);
    assert_eq!(script.dies(FIRST), ["died 0#1", "spawn 0#2"]);
}

#[test]
fn an_old_worker_without_a_job_leaves_at_once() {
    let mut script = Script::ready(Config { min_processes: 1, max_age: Some(10 * SECOND), ..config() });
    let at = script.machine.next_deadline().unwrap();
    script.now = at;
    assert_eq!(script.tick(), ["leave 0#1", "0#1 is exiting"]);
    assert_eq!(script.dies(FIRST), ["died 0#1", "spawn 0#2"], "the minimum holds");
}
