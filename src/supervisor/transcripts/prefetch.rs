//! Jobs that are prefetched.

use super::*;

#[test]
fn a_prefetched_job_is_queued_until_the_answer_before_it() {
    let mut script = short_jobs();
    assert_eq!(script.machine.backlog_len(), 4);
    let lines = script.message(FIRST, success(2));
    assert_eq!(lines[4..], ["task 3/1 at 0#1", "0#1 is working", "send 5/1 to 0#1"]);
}

#[test]
fn behind_a_job_that_turns_out_long_the_others_are_recalled() {
    let mut script = short_jobs();
    assert_eq!(script.wait(SHORT), ["skip 3 at 0#1", "skip 4 at 0#1"]);
    // Back only once the worker skips them, and in their old places.
    assert_eq!(script.message(FIRST, Message::Skipped { job: 3 }), [""; 0]);
    script.message(FIRST, Message::Skipped { job: 4 });
    script.now += SECOND;
    let lines = script.message(FIRST, success(2));
    assert_eq!(lines[4..], ["send 3/1 to 0#1", "task 3/1 at 0#1", "0#1 is working"]);
}

#[test]
fn prefetched_jobs_are_refilled_once_half_of_them_are_done() {
    let mut script = Script::working(Config { prefetch: 4, ..config() });
    for _ in 0..15 {
        script.enqueue();
    }
    script.now += MILLI / 10;
    let mut sent = |job| script.message(FIRST, success(job)).iter().filter(|line| line.starts_with("send")).count();
    assert_eq!([1, 2, 3, 4, 5].map(&mut sent), [5, 0, 2, 0, 2]);
}

/// The answers to sixteen jobs of a tenth of a millisecond each, which all come at the end: what two milliseconds take is still
/// twenty of them.
#[test]
fn jobs_whose_answers_come_together_are_no_shorter_for_it() {
    let mut script = Script::working(Config { prefetch: 64, ..config() });
    for _ in 0..200 {
        script.enqueue();
    }
    script.now += SHORT / 10;
    script.message(FIRST, success(1));
    let prefetched = |script: &Script| script.machine.worker(FIRST).unwrap().prefetched.len();
    assert_eq!(prefetched(&script), 20);
    script.now += SHORT / 10 * 16;
    for job in 2..18 {
        script.message(FIRST, success(job));
    }
    assert!((10..=20).contains(&prefetched(&script)), "{}", prefetched(&script));
}

/// A worker that has done job 1 in a tenth of a short while, with 16 behind job 2, and another that is free.
fn sixteen_behind_a_short_one() -> (Script, WorkerKey) {
    let mut script = Script::ready(Config { prefetch: 16, max_processes: 2, cores: 2, ..config() });
    script.input(Input::SpawnWorkers);
    script.input(Input::Spawned(worker_key(1, 2)));
    script.input(Input::Hello { worker_key: worker_key(1, 2), recalls: true });
    for _ in 0..34 {
        script.enqueue();
    }
    script.now += SHORT / 10;
    script.message(FIRST, success(1));
    script.message(worker_key(1, 2), Message::Ready);
    assert_eq!(script.machine.worker(FIRST).unwrap().prefetched.len(), 16);
    for job in 19..35 {
        script.message(worker_key(1, 2), success(job));
    }
    (script, worker_key(1, 2))
}

/// A worker has as many jobs as it does in a short while, and then they turn out longer, though none is long.
#[test]
fn many_behind_jobs_that_turn_out_longer_are_recalled_for_a_free_worker() {
    let (mut script, _) = sixteen_behind_a_short_one();
    let mut skips = |job| {
        script.now += SHORT * 8 / 10;
        script.message(FIRST, success(job)).iter().filter(|line| line.starts_with("skip")).count()
    };
    assert_eq!([2, 3, 4].map(&mut skips), [0, 0, 13], "one of that length proves little");
}

/// Sixteen answers that come together after a pause of the supervisor: the first alone says nothing of how long its job took.
#[test]
fn nothing_is_recalled_before_all_answers_that_came_together_are_counted() {
    let (mut script, other) = sixteen_behind_a_short_one();
    script.now += SHORT / 10 * 10;
    let mut skips = |job| script.message(FIRST, success(job)).iter().filter(|line| line.starts_with("skip")).count();
    assert_eq!((2..12).map(&mut skips).sum::<usize>(), 0);
    assert!(script.machine.worker(other).unwrap().current.is_none());
}

/// One job is prefetched whatever its size.
#[test]
fn large_jobs_are_prefetched_up_to_a_mebibyte() {
    let sent_behind = |kib: usize| {
        let mut script = Script::working(Config { prefetch: 16, ..config() });
        for _ in 0..40 {
            script.enqueue_bytes(kib * 1024);
        }
        script.now += SHORT / 10;
        script.message(FIRST, success(1));
        script.machine.worker(FIRST).unwrap().prefetched.len()
    };
    assert_eq!([0, 63, 100, 513, 1024, 1025, 100_000].map(sent_behind), [16, 16, 10, 1, 1, 1, 1]);
}

/// Two workers on one core, of which each waits about as long as it works. They have had jobs 1 and 2 for longer than a
/// short one takes; six more are queued.
fn two_on_one_core() -> Script {
    let mut script = Script::ready(Config { prefetch: 2, max_processes: 2, ..config() });
    script.input(Input::SpawnWorkers);
    script.input(Input::Spawned(worker_key(1, 2)));
    script.input(Input::Hello { worker_key: worker_key(1, 2), recalls: true });
    script.message(worker_key(1, 2), Message::Ready);
    for _ in 0..8 {
        script.enqueue();
    }
    script.now += SHORT * 3 / 2;
    script
}

#[test]
fn a_job_that_waits_for_a_shared_core_is_no_long_one() {
    let mut script = two_on_one_core();
    let lines = script.message(FIRST, success(1));
    assert_eq!(lines[4..7], ["send 3/1 to 0#1", "task 3/1 at 0#1", "0#1 is working"]);
    assert_eq!(lines[7..], ["send 4/1 to 0#1", "send 5/1 to 0#1"]);
    assert_eq!(
        script.wait(2 * SHORT),
        ["skip 4 at 0#1", "skip 5 at 0#1"],
        "nobody is free who could have done it before"
    );
}

#[test]
fn a_job_whose_worker_says_that_it_runs_on_is_as_long_as_it_took() {
    let mut script = two_on_one_core();
    script.message(FIRST, Message::Start { job: 1 });
    let lines = script.message(FIRST, success(1));
    assert_eq!(lines[3..], ["send 3/1 to 0#1", "task 3/1 at 0#1", "0#1 is working"]);
}

#[test]
fn jobs_prefetched_to_a_worker_over_its_soft_limit_come_back() {
    let max_memory = MaxMemory { soft: Some(100), hard: None };
    let mut script = short_jobs_with(Config { max_memory, ..config() });
    assert_eq!(script.input(holds(101)), ["0#1 is over its soft limit: 101", "skip 3 at 0#1", "skip 4 at 0#1"]);
    script.message(FIRST, Message::Skipped { job: 3 });
    script.message(FIRST, Message::Skipped { job: 4 });
    assert_eq!(script.message(FIRST, success(2))[4..], ["leave 0#1", "0#1 is exiting"]);
}

#[test]
fn with_nothing_prefetched_there_is_nothing_to_recall() {
    let script = Script::working(Config { prefetch: 2, timeout_working: None, ..config() });
    assert_eq!(script.machine.next_deadline(), None);
}

#[test]
fn a_job_recalled_too_late_begins_when_its_worker_says_so() {
    let mut script = short_jobs();
    script.wait(SHORT);
    let lines = script.message(FIRST, success(2));
    assert_eq!(lines[3..], ["0#1 is ready"], "nobody knows yet");
    let lines = script.message(FIRST, success(3));
    assert_eq!(lines[..4], ["task 3/1 at 0#1", "0#1 is working", "start 3/1 at 0#1", "settled 3/1: Success"]);
}

#[test]
fn abort_of_a_prefetched_job_settles_and_recalls_it() {
    let mut script = short_jobs();
    assert_eq!(script.abort(3), ["skip 3 at 0#1", "settled 3/0: Aborted"]);
    // Whether it has begun all the same is not known: what lies behind it is recalled before its worker is killed.
    assert_eq!(script.message(FIRST, success(2))[3..], ["0#1 is ready", "skip 4 at 0#1"]);
    assert_eq!(script.message(FIRST, Message::Start { job: 3 }), [""; 0]);
    let lines = script.message(FIRST, Message::Skipped { job: 4 });
    assert_eq!(lines, ["0#1 is exiting", "Terminate 0#1"]);
    assert_eq!(script.dies(FIRST), ["died 0#1", "spawn 0#2"]);
}

#[test]
fn a_job_that_came_back_aborted_is_none_of_those_a_worker_may_do() {
    let mut script = short_jobs_with(Config { max_jobs_per_process: Some(4), ..config() });
    script.abort(3);
    script.message(FIRST, Message::Skipped { job: 3 });
    let mut left = |job| script.message(FIRST, success(job)).contains(&"leave 0#1".into());
    assert_eq!([2, 4, 5].map(&mut left), [false, false, true], "the fourth was its last");
}

#[test]
fn jobs_prefetched_to_a_worker_that_dies_go_back_to_their_places_with_no_attempt_used() {
    let mut script = short_jobs();
    let lines = script.dies(FIRST);
    assert_eq!(lines[0], "settled 2/1: Crashed(Exited)");
    script.input(Input::Spawned(worker_key(0, 2)));
    assert_eq!(script.message(worker_key(0, 2), Message::Ready)[1], "send 3/1 to 0#2");
}
