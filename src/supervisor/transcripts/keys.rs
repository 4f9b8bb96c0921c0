//! How many jobs of a key run at once.

use super::*;

/// Settings of a job of this key, of which so many may run.
fn of_key(key: u32, permits: u32) -> JobSettings {
    let mut settings = JobSettings::default();
    settings.set_numbered_limit(key, permits);
    settings
}

/// Two workers, and three jobs of a key of which one may run: the first is at worker 1, and worker 2 is free.
fn one_of_three() -> Script {
    let mut script = two_workers(config());
    let lines = script.enqueue_with(of_key(7, 1));
    assert_eq!(lines, ["enqueued 1", "send 1/1 to 0#1", "task 1/1 at 0#1", "0#1 is working"]);
    assert_eq!(script.enqueue_with(of_key(7, 1)), ["enqueued 2", "backlog 2"]);
    assert_eq!(script.enqueue_with(of_key(7, 1)), ["enqueued 3", "backlog 3"]);
    script
}

/// Two workers that are ready; the first is used next.
fn two_workers(config: Config) -> Script {
    let mut script = Script::new(Config { max_processes: 2, min_processes: 2, ..config });
    script.tick();
    for worker_key in [SECOND_WORKER, FIRST] {
        script.input(Input::Spawned(worker_key));
        script.input(Input::Hello { worker_key, recalls: true });
    }
    script.message(FIRST, Message::Ready);
    script.message(SECOND_WORKER, Message::Ready);
    script
}

const SECOND_WORKER: WorkerKey = WorkerKey { slot: 1, worker: 2 };

/// Of each key its permits, those taken, and the queued jobs.
fn keys(script: &Script) -> Vec<(u32, u32, u32, usize)> {
    script.machine.keys().map(|(LimitKey(key), permits, taken, queued)| (key, permits, taken, queued)).collect()
}

#[test]
fn others_of_a_full_key_wait_without_a_worker_and_in_their_order() {
    let mut script = one_of_three();
    assert_eq!(keys(&script), [(7, 1, 1, 2)]);
    let lines = script.message(FIRST, success(1));
    assert_eq!(lines[4..], ["send 2/1 to 0#1", "task 2/1 at 0#1", "0#1 is working"]);
    let lines = script.message(FIRST, success(2));
    assert_eq!(lines[4..], ["send 3/1 to 0#1", "task 3/1 at 0#1", "0#1 is working"]);
    let lines = script.message(FIRST, success(3));
    assert_eq!(lines[1..], ["settled 3/1: Success", "key 7 is forgotten", "0#1 is recovering", "0#1 is ready", "idle"]);
    assert_eq!(keys(&script), []);
}

#[test]
fn jobs_of_other_keys_and_of_none_go_past() {
    let mut script = one_of_three();
    let lines = script.enqueue_with(of_key(8, 1));
    assert_eq!(lines, ["enqueued 4", "send 4/1 to 1#2", "task 4/1 at 1#2", "1#2 is working"]);
    assert_eq!(script.enqueue(), ["enqueued 5", "backlog 5"]);
    let lines = script.message(SECOND_WORKER, success(4));
    assert_eq!(lines[5..], ["send 5/1 to 1#2", "task 5/1 at 1#2", "1#2 is working"]);
}

#[test]
fn a_job_that_may_run_is_not_passed_by_a_later_one() {
    let mut script = one_of_three();
    script.enqueue();
    script.enqueue();
    // Of the key's jobs the first came before job 5.
    let lines = script.message(FIRST, success(1));
    assert_eq!(lines[4..], ["send 2/1 to 0#1", "task 2/1 at 0#1", "0#1 is working"]);
    let lines = script.message(SECOND_WORKER, success(4));
    assert_eq!(lines[4..], ["send 5/1 to 1#2", "task 5/1 at 1#2", "1#2 is working"]);
}

#[test]
fn an_aborted_job_keeps_its_permit_until_its_worker_is_dead() {
    let mut script = one_of_three();
    assert_eq!(script.abort(1), ["settled 1/1: Aborted", "0#1 is exiting", "Terminate 0#1"]);
    assert_eq!(keys(&script), [(7, 1, 1, 2)]);
    assert_eq!(script.wait(500 * MILLI), ["Kill 0#1"]);
    let lines = script.dies(FIRST);
    assert_eq!(lines, ["died 0#1", "send 2/1 to 1#2", "task 2/1 at 1#2", "1#2 is working", "spawn 0#3"]);
}

#[test]
fn an_aborted_job_gives_its_permit_back_with_its_answer() {
    let mut script = one_of_three();
    script.abort(1);
    let lines = script.message(FIRST, success(1));
    assert_eq!(lines, ["send 2/1 to 1#2", "task 2/1 at 1#2", "1#2 is working"]);
}

#[test]
fn of_a_worker_that_breaks_the_protocol_only_the_death_counts() {
    let mut script = one_of_three();
    script.input(Input::Malformed(FIRST));
    assert_eq!(script.message(FIRST, success(1)), [""; 0]);
    assert_eq!(keys(&script), [(7, 1, 1, 2)]);
    assert_eq!(script.dies(FIRST)[1], "send 2/1 to 1#2");
}

#[test]
fn a_retry_that_waits_has_no_permit() {
    let retry = RetryPolicy::new(1).backoff(SECOND, SECOND).jitter(0.0);
    let mut script = Script::ready(Config { retry, ..config() });
    script.enqueue_with(of_key(7, 1));
    script.enqueue_with(of_key(7, 1));
    let failed = Message::Answer { job: 1, outcome: Outcome::Failed, ready: true };
    let lines = script.message(FIRST, failed);
    assert_eq!(lines[1..3], ["retry 1/1: Failed", "1 waits for 1s"]);
    assert_eq!(lines[5..], ["send 2/1 to 0#1", "task 2/1 at 0#1", "0#1 is working"]);
    assert_eq!(script.wait(SECOND), ["backlog 1"], "it stands behind, and waits for the permit");
}

#[test]
fn a_delayed_job_takes_a_permit_at_its_time() {
    let mut script = Script::ready(config());
    let mut later = of_key(7, 1);
    later.set_delay(SECOND);
    script.enqueue_with(later);
    assert_eq!(keys(&script), [(7, 1, 0, 0)]);
    assert_eq!(script.enqueue_with(of_key(7, 1))[1], "send 2/1 to 0#1");
    assert_eq!(script.wait(SECOND), ["backlog 1"]);
    assert_eq!(script.message(FIRST, success(2))[4], "send 1/1 to 0#1");
}

#[test]
fn a_job_that_waits_for_a_permit_expires() {
    let mut script = Script::ready(config());
    script.enqueue_with(of_key(7, 1));
    let mut soon = of_key(7, 1);
    soon.set_expires(Some(SECOND));
    script.enqueue_with(soon);
    assert_eq!(script.wait(SECOND), ["settled 2/0: Expired"]);
    assert_eq!(keys(&script), [(7, 1, 1, 0)]);
}

#[test]
fn the_number_of_the_job_that_came_last_holds() {
    let mut script = one_of_three();
    // The first that waits goes, and not the one that has raised the number.
    let lines = script.enqueue_with(of_key(7, 2));
    assert_eq!(lines, ["enqueued 4", "backlog 4", "send 2/1 to 1#2", "task 2/1 at 1#2", "1#2 is working"]);
    script.enqueue_with(of_key(7, 1));
    assert_eq!(keys(&script), [(7, 1, 2, 3)]);
    let lines = script.message(FIRST, success(1));
    assert_eq!(lines[1..], ["settled 1/1: Success", "0#1 is recovering", "0#1 is ready"], "one too many runs");
    assert_eq!(script.message(SECOND_WORKER, success(2))[4], "send 3/1 to 1#2");
}

#[test]
fn no_worker_is_started_for_a_job_that_waits_for_a_permit() {
    let mut script = Script::ready(Config { max_processes: 3, ..config() });
    script.enqueue_with(of_key(7, 2));
    assert_eq!(script.enqueue_with(of_key(7, 2)), ["enqueued 2", "backlog 2", "spawn 1#2"]);
    assert_eq!(script.enqueue_with(of_key(7, 2)), ["enqueued 3", "backlog 3"]);
}

#[test]
fn jobs_of_a_key_are_prefetched_as_far_as_it_has_permits() {
    let mut script = Script::working(Config { prefetch: 8, ..config() });
    for _ in 0..5 {
        script.enqueue_with(of_key(7, 2));
    }
    script.enqueue();
    script.now += MILLI / 10;
    let lines = script.message(FIRST, success(1));
    assert_eq!(
        lines[4..],
        ["send 2/1 to 0#1", "task 2/1 at 0#1", "0#1 is working", "send 3/1 to 0#1", "send 7/1 to 0#1"]
    );
    assert_eq!(keys(&script), [(7, 2, 2, 3)]);
    // One that is recalled gives its permit back once it is skipped.
    script.now += MILLI;
    script.tick();
    assert_eq!(keys(&script), [(7, 2, 2, 3)]);
    script.message(FIRST, Message::Skipped { job: 3 });
    assert_eq!(keys(&script), [(7, 2, 1, 4)]);
}

#[test]
fn one_aborted_while_prefetched_keeps_its_permit_until_it_is_skipped() {
    let mut script = Script::working(Config { prefetch: 8, ..config() });
    for _ in 0..3 {
        script.enqueue_with(of_key(7, 2));
    }
    script.now += MILLI / 10;
    script.message(FIRST, success(1));
    assert_eq!(script.abort(3), ["skip 3 at 0#1", "settled 3/0: Aborted"]);
    assert_eq!(keys(&script), [(7, 2, 2, 1)]);
    script.message(FIRST, Message::Skipped { job: 3 });
    assert_eq!(keys(&script), [(7, 2, 1, 1)]);
}

#[test]
fn a_higher_priority_goes_first_within_a_key_and_among_keys() {
    let mut script = one_of_three();
    let mut high = of_key(7, 1);
    high.set_priority(1);
    script.enqueue_with(high);
    assert_eq!(script.message(FIRST, success(1))[4], "send 4/1 to 0#1");
}

#[test]
fn a_permit_given_back_recalls_for_a_higher_priority() {
    let mut script = two_workers(Config { prefetch: 2, timeout_working: None, ..config() });
    let mut high = of_key(7, 1);
    high.set_priority(1);
    let mut low = JobSettings::default();
    low.set_priority(-1);
    // Worker 1 runs the key's only permit, worker 2 is brisk and has low ones prefetched.
    script.enqueue_with(high.clone());
    script.enqueue_with(high);
    for _ in 0..6 {
        script.enqueue_with(low.clone());
    }
    script.now += MILLI / 10;
    let lines = script.message(SECOND_WORKER, success(3));
    assert!(lines.ends_with(&["send 5/1 to 1#2".into(), "send 6/1 to 1#2".into()]), "{lines:?}");
    // Recovering, worker 1 takes nothing: job 2 has its permit and waits for a worker.
    let answer = Message::Answer { job: 1, outcome: Outcome::Success, ready: false };
    let lines = script.message(FIRST, answer);
    assert_eq!(lines[3..], ["skip 5 at 1#2", "skip 6 at 1#2"]);
}

#[test]
fn a_refused_job_leaves_no_key_behind() {
    let mut script = Script::working(Config { max_backlog: Some(1), ..config() });
    script.enqueue();
    let lines = script.enqueue_when_full(of_key(7, 1), WhenFull::Refuse);
    assert_eq!(lines, ["refused 3: Full", "key 7 is forgotten"]);
    assert_eq!(script.enqueue_when_full(of_key(8, 1), WhenFull::Wait), [""; 0]);
    assert_eq!(keys(&script), [(8, 1, 0, 0)], "its caller waits");
    let lines = script.input(Input::Close);
    assert_eq!(lines, ["refused 4: Closed", "key 8 is forgotten"]);
    let lines = script.enqueue_with(of_key(9, 1));
    assert_eq!(lines, ["refused 5: Closed", "key 9 is forgotten"]);
}

#[test]
fn a_free_worker_is_no_room_for_a_job_of_a_full_key() {
    let mut script = two_workers(Config { max_backlog: Some(1), ..config() });
    script.enqueue_with(of_key(7, 1));
    script.enqueue_with(of_key(7, 1));
    assert_eq!(script.enqueue_when_full(of_key(7, 1), WhenFull::Refuse), ["refused 3: Full"]);
    assert_eq!(script.caller(WhenFull::Refuse)[..2], ["enqueued 4", "send 4/1 to 1#2"]);
}

#[test]
fn an_exit_forgets_all_keys_once_their_workers_are_dead() {
    let mut script = one_of_three();
    let lines = script.input(Input::Exit);
    assert!(!lines.iter().any(|line| line.starts_with("key")), "{lines:?}");
    assert_eq!(script.dies(FIRST)[..2], ["key 7 is forgotten", "died 0#1"]);
    assert_eq!(keys(&script), []);
}

/// What takes a permit or a place costs the same however many jobs wait: a backlog of a full key is not walked.
#[test]
#[allow(clippy::disallowed_methods, reason = "how long the machine takes is what is measured")]
fn a_great_backlog_of_a_full_key_holds_no_other_job_up() {
    let time_for_others = |waiting: usize| {
        let mut script = two_workers(Config { max_jobs_per_process: None, ..config() });
        (0..waiting + 1).for_each(|_| drop(script.enqueue_with(of_key(7, 1))));
        let begun = std::time::Instant::now();
        for _ in 0..2_000 {
            let id = script.next_job;
            script.enqueue();
            let worker_key = script.machine.workers().find(|(_, worker)| worker.job() == Some(id)).unwrap().0;
            script.message(worker_key, success(id));
        }
        begun.elapsed()
    };
    // Of several, since the machine may have other things to do.
    let [few, many] = [1_000, 100_000].map(|waiting| (0..5).map(|_| time_for_others(waiting)).min());
    let [few, many] = [few, many].map(Option::unwrap_or_default);
    assert!(many < 20 * few, "{few:?} with few that wait, {many:?} with a hundred times as many");
}
