//! An attempt runs at most once.

use super::*;

/// A worker that runs job 2 of 4, with the other two behind it.
fn two_behind() -> Script {
    short_jobs()
}

#[test]
fn the_exit_overtakes_the_answer_of_the_job_before() {
    let mut script = two_behind();
    script.input(exited(FIRST));
    let lines = script.message(FIRST, success(2));
    assert_eq!(lines[1], "settled 2/1: Success");
    script.input(Input::StderrClosed(FIRST));
    let lines = script.input(Input::StdoutClosed(FIRST));
    assert_eq!(lines[..3], ["task 3/1 at 0#1", "0#1 is working", "settled 3/1: Crashed(Exited)"], "it may have begun");
    script.input(Input::Spawned(worker_key(0, 2)));
    assert_eq!(script.message(worker_key(0, 2), Message::Ready)[1], "send 4/1 to 0#2", "it had not");
}

#[test]
fn a_job_that_the_dead_worker_had_not_read_is_back_with_no_attempt_used() {
    let mut script = Script::working(config());
    script.input(Input::StdoutClosed(FIRST));
    script.input(Input::StderrClosed(FIRST));
    let lines =
        script.input(Input::Exited { worker_key: FIRST, undelivered: Some(Undelivered { job: 1, in_part: false }) });
    let died = "died 0#1, no start of 0#1, 1 in a row, waits 0ns";
    assert_eq!(lines[..3], ["returned 1 from 0#1", "0#1 is exiting", died], "it had no job");
    script.input(Input::Spawned(worker_key(0, 2)));
    assert_eq!(script.message(worker_key(0, 2), Message::Ready)[1..3], ["send 1/1 to 0#2", "task 1/1 at 0#2"]);
}

#[test]
fn a_job_that_workers_die_of_while_they_read_it_costs_an_attempt_at_the_third() {
    let mut script = Script::working(config());
    for worker in 1..=3 {
        let dead = worker_key(0, worker);
        script.input(Input::StdoutClosed(dead));
        script.input(Input::StderrClosed(dead));
        let undelivered = Some(Undelivered { job: 1, in_part: true });
        let lines = script.input(Input::Exited { worker_key: dead, undelivered });
        if worker == 3 {
            assert_eq!(lines, ["settled 1/1: Crashed(Exited)", "0#3 is exiting", "died 0#3", "idle"]);
            return;
        }
        let next = worker + 1;
        assert_eq!(lines[0], format!("returned 1 from 0#{worker}"));
        assert_eq!(lines.last(), Some(&format!("spawn 0#{next}")), "no start failure");
        script.input(Input::Spawned(worker_key(0, next)));
        script.message(worker_key(0, next), Message::Ready);
    }
}

#[test]
fn abort_recalls_what_lies_behind_before_it_kills() {
    let mut script = two_behind();
    assert_eq!(script.abort(2), ["settled 2/1: Aborted", "skip 3 at 0#1", "skip 4 at 0#1"]);
    assert_eq!(script.message(FIRST, Message::Skipped { job: 3 }), [""; 0]);
    assert_eq!(script.message(FIRST, Message::Skipped { job: 4 }), ["0#1 is exiting", "Terminate 0#1"]);
}

#[test]
fn where_the_answer_comes_first_nobody_is_killed() {
    let mut script = two_behind();
    script.abort(2);
    assert_eq!(script.message(FIRST, success(2)), ["0#1 is recovering", "0#1 is ready"], "nobody wants to know of it");
    let lines = script.message(FIRST, success(3));
    assert_eq!(lines[..4], ["task 3/1 at 0#1", "0#1 is working", "start 3/1 at 0#1", "settled 3/1: Success"]);
}

#[test]
fn a_worker_that_answers_no_recall_is_stopped_and_heard_before_it_is_killed() {
    let mut script = two_behind();
    script.abort(2);
    assert_eq!(script.wait(10 * MILLI), ["Stop 0#1"]);
    assert_eq!(script.input(Input::Stopped(FIRST)), ["0#1 is exiting", "Kill 0#1"]);
    script.dies(FIRST);
    script.input(Input::Spawned(worker_key(0, 2)));
    assert_eq!(script.message(worker_key(0, 2), Message::Ready)[1], "send 3/1 to 0#2");

    let mut script = two_behind();
    script.abort(2);
    script.wait(10 * MILLI);
    let lines = script.message(FIRST, success(2));
    assert_eq!(lines, ["Continue 0#1", "0#1 is recovering", "0#1 is ready"], "it had answered");
}

#[test]
fn a_worker_that_does_not_even_stop_is_killed_after_a_second() {
    let mut script = two_behind();
    script.abort(2);
    script.wait(10 * MILLI);
    assert_eq!(script.wait(SECOND), ["0#1 is exiting", "Kill 0#1"]);
}

#[test]
fn an_answer_that_is_heard_before_the_signal_counts_though_the_limit_is_over() {
    let mut script = two_behind();
    script.now += 10 * SECOND;
    let lines = script.tick();
    assert_eq!(lines, ["skip 3 at 0#1", "skip 4 at 0#1"]);
    assert_eq!(script.message(FIRST, success(2))[1], "settled 2/1: Success");
    assert_eq!(script.machine.counters().timed_out, 0);
}

#[test]
fn a_job_in_doubt_has_its_own_limit() {
    let mut script = short_jobs();
    script.wait(SHORT);
    script.message(FIRST, success(2));
    script.now += 10 * SECOND;
    assert_eq!(script.tick(), [""; 0], "both are recalled, and may be skipped still");
    assert_eq!(script.wait(10 * MILLI), ["Stop 0#1"]);
    let lines = script.input(Input::Stopped(FIRST));
    let announced = ["task 3/1 at 0#1", "0#1 is working", "0#1 was working for too long"];
    assert_eq!(lines[..4], [&announced[..], &["settled 3/1: TimedOut working 10s"][..]].concat());
}

/// A worker that runs job 2 of 4 and has answered no recall for ten seconds, beside a free one: it has been sent SIGSTOP.
fn stopped_for_its_recalls() -> Script {
    let mut script = short_jobs_with(Config { max_processes: 2, timeout_working: None, ..config() });
    script.wait(2 * SHORT);
    script.input(Input::Spawned(worker_key(1, 2)));
    script.message(worker_key(1, 2), Message::Ready);
    for job in [5, 6] {
        script.message(worker_key(1, 2), success(job));
    }
    assert!(script.machine.has_free_worker());
    assert_eq!(script.wait(SECOND), ["0#1 does not answer recalls"]);
    assert_eq!(script.wait(9 * SECOND), ["Stop 0#1"]);
    script
}

#[test]
fn a_recall_that_is_not_answered_is_given_up_where_another_could_do_the_jobs() {
    let mut script = short_jobs_with(Config { timeout_working: None, ..config() });
    script.wait(SHORT);
    assert_eq!(script.wait(SECOND), [""; 0], "nobody else could do them");

    let mut script = stopped_for_its_recalls();
    let lines = script.input(Input::Stopped(FIRST));
    assert!(lines[0].ends_with("did not answer for ten seconds"), "{lines:?}");
    assert_eq!(lines[1..], ["settled 2/1: Protocol", "0#1 is exiting", "Kill 0#1"]);
    let lines = script.dies(FIRST);
    assert!(lines.contains(&"send 3/1 to 1#2".into()), "{lines:?}");
}

#[test]
fn answers_to_recalls_that_lay_behind_progress_that_nobody_took_count() {
    let mut script = stopped_for_its_recalls();
    // It is read whether or not there is room, once it is stopped.
    script.message(FIRST, Message::Skipped { job: 3 });
    script.message(FIRST, Message::Skipped { job: 4 });
    assert_eq!(script.input(Input::Stopped(FIRST)), ["Continue 0#1"]);
    let lines = script.message(FIRST, success(2));
    assert!(lines.contains(&"settled 2/1: Success".into()), "{lines:?}");
}

#[test]
fn nothing_more_is_prefetched_to_a_worker_that_does_not_answer_recalls() {
    let mut script = short_jobs_with(Config { max_processes: 2, timeout_working: None, ..config() });
    script.wait(2 * SHORT);
    let other = worker_key(1, 2);
    script.input(Input::Spawned(other));
    script.input(Input::Hello { worker_key: other, recalls: true });
    script.message(other, Message::Ready);
    for job in [5, 6] {
        script.message(other, success(job));
    }
    assert_eq!(script.wait(SECOND), ["0#1 does not answer recalls"]);
    for job in [2, 3, 4] {
        script.message(FIRST, success(job));
    }
    // From here on all of its jobs are short again, as those of the other are.
    for _ in 0..40 {
        script.enqueue();
    }
    let sent =
        |lines: &[String], to: &str| lines.iter().filter(|line| line.starts_with("send") && line.ends_with(to)).count();
    let mut most = [0, 0];
    for _ in 0..10 {
        for (at, (worker_key, name)) in [(FIRST, "0#1"), (other, "1#2")].into_iter().enumerate() {
            script.now += MILLI / 100;
            let Some(job) =
                script.machine.worker(worker_key).and_then(|worker| worker.current).map(|current| current.id)
            else {
                continue;
            };
            let lines = script.message(worker_key, success(job));
            most[at] = sent(&lines, name).max(most[at]);
        }
    }
    assert_eq!(most[0], 1, "one at a time");
    assert!(most[1] > 1, "{most:?}");
}

#[test]
fn a_terminal_failure_that_names_no_job_is_of_the_one_that_may_have_begun() {
    let mut script = two_behind();
    script.wait(SHORT);
    script.message(FIRST, success(2));
    let lines = script.message(FIRST, Message::Terminal { job: None });
    assert_eq!(lines[..4], ["terminal failure of 0#1", "task 3/1 at 0#1", "0#1 is working", "settled 3/1: Panicked"]);
    let lines = script.dies(FIRST);
    assert_eq!(lines, ["died 0#1", "spawn 0#2"]);
    script.input(Input::Spawned(worker_key(0, 2)));
    assert_eq!(script.message(worker_key(0, 2), Message::Ready)[1], "send 4/1 to 0#2", "it had not begun");

    let mut script = two_behind();
    script.message(FIRST, Message::Answer { job: 2, outcome: Outcome::Success, ready: false });
    let lines = script.message(FIRST, Message::Terminal { job: None });
    assert_eq!(lines, ["terminal failure of 0#1", "0#1 is exiting"], "none had begun");
}

#[test]
fn after_a_message_out_of_order_nothing_can_be_proven() {
    let mut script = short_jobs_with(Config { retry: RetryPolicy::new(1), ..config() });
    let lines = script.input(Input::Malformed(FIRST));
    let attempts =
        ["retry 2/1: Protocol", "task 3/1 at 0#1", "retry 3/1: Protocol", "task 4/1 at 0#1", "retry 4/1: Protocol"];
    assert_eq!(lines[1..6], attempts);
    assert_eq!(script.dies(FIRST), ["died 0#1", "backlog 2", "backlog 3", "backlog 4", "spawn 0#2"]);
}

#[test]
fn nothing_is_prefetched_to_a_worker_that_answers_no_recall() {
    let mut script = Script::working(Config { prefetch: 4, ..config() });
    script.input(Input::Hello { worker_key: FIRST, recalls: false });
    (0..5).for_each(|_| drop(script.enqueue()));
    let lines = script.message(FIRST, success(1));
    assert_eq!(lines.iter().filter(|line| line.starts_with("send")).count(), 1, "{lines:?}");
}

#[test]
fn a_failure_says_whether_its_job_had_begun() {
    let begun = |script: &mut Script, input: Input| {
        let mut effects = Vec::new();
        script.machine.handle(script.now, input, &mut effects);
        effects.iter().find_map(|effect| match effect {
            Effect::Announce(Notice::Settled { begun, .. }) => Some(*begun),
            _ => None,
        })
    };
    let mut script = Script::working(config());
    script.enqueue();
    assert_eq!(begun(&mut script, Input::Abort(JobKey { place: 1, id: 2 })), Some(Begun::No));
    assert_eq!(begun(&mut script, Input::Abort(JobKey { place: 0, id: 1 })), Some(Begun::Perhaps));
    let mut script = Script::working(config());
    script.message(FIRST, Message::Start { job: 1 });
    assert_eq!(begun(&mut script, Input::Abort(JobKey { place: 0, id: 1 })), Some(Begun::Yes));
    let mut script = two_behind();
    let third = script.key(3);
    assert_eq!(begun(&mut script, Input::Abort(third)), Some(Begun::Perhaps));
    // What an attempt before this one did counts too.
    let mut script = Script::working(Config { retry: RetryPolicy::new(1), ..config() });
    script.message(FIRST, Message::Answer { job: 1, outcome: Outcome::Failed, ready: false });
    assert_eq!(begun(&mut script, Input::Abort(JobKey { place: 0, id: 1 })), Some(Begun::Yes));
}
