//! Workers on other machines: heartbeats, silence, and what becomes of the jobs of one that is lost.

use super::*;

/// One far worker, which may be silent for 3 s and has two jobs prefetched.
fn far() -> Config {
    let site = SiteRules { slots: 1, silence: Some(3 * SECOND), prefetch: Some(2), timeout_initializing: None };
    Config { retry: RetryPolicy::new(1), sites: vec![site], ..config() }
}

/// It holds job 1, with jobs 2 and 3 prefetched.
fn working() -> Script {
    working_with(far())
}

fn working_with(config: Config) -> Script {
    let mut script = Script::new(config);
    script.tick();
    (0..3).for_each(|_| drop(script.enqueue()));
    script.input(Input::Spawned(FIRST));
    script.input(Input::Hello { worker_key: FIRST, recalls: true });
    let lines = script.message(FIRST, Message::Ready);
    assert_eq!(
        lines[1..],
        ["send 1/1 to 0#1", "task 1/1 at 0#1", "0#1 is working", "send 2/1 to 0#1", "send 3/1 to 0#1"]
    );
    script
}

#[test]
fn heartbeats_go_before_the_first_job_and_on() {
    let mut script = Script::new(far());
    script.tick();
    script.input(Input::Spawned(FIRST));
    assert_eq!(script.input(Input::Hello { worker_key: FIRST, recalls: true }), ["heartbeat 0#1"]);
    script.message(FIRST, Message::Ready);
    assert_eq!(script.wait(SECOND), ["heartbeat 0#1"]);
    script.input(Input::Heard(FIRST));
    assert_eq!(script.wait(SECOND), ["heartbeat 0#1"]);
    assert_eq!(script.wait(SECOND), ["heartbeat 0#1"]);
}

#[test]
fn a_near_worker_is_sent_no_heartbeats() {
    let script = Script::ready(config());
    assert_eq!(script.machine.next_deadline(), None);
}

#[test]
fn a_silent_worker_is_lost_with_all_that_it_was_sent() {
    let mut script = working();
    for _ in 0..2 {
        script.wait(SECOND);
    }
    let lines = script.wait(SECOND);
    assert_eq!(lines[..], ["heartbeat 0#1", "0#1 is silent", "0#1 is exiting", "Terminate 0#1"]);
    script.now += SECOND / 10;
    let lines = script.dies(FIRST);
    assert_eq!(
        lines[..],
        [
            "retry 1/1: Crashed(ConnectionLost)",
            "task 2/1 at 0#1",
            "retry 2/1: Crashed(ConnectionLost)",
            "task 3/1 at 0#1",
            "retry 3/1: Crashed(ConnectionLost)",
            "died 0#1",
            "1 waits for 4.5s",
            "2 waits for 4.5s",
            "3 waits for 4.5s",
        ]
    );
}

/// The connection is back at once, and nothing is sent over it before the end of the worker that was lost is certain.
#[test]
fn a_retry_waits_for_the_certain_end_of_a_lost_worker() {
    let mut script = Script::ready(far());
    script.enqueue();
    let lines = script.dies(FIRST);
    assert_eq!(lines, ["retry 1/1: Crashed(ConnectionLost)", "0#1 is exiting", "died 0#1", "1 waits for 4.5s"]);
    assert!(!script.machine.is_idle());
    assert_eq!(script.wait(9 * SECOND / 2), ["backlog 1", "spawn 0#2"]);
}

#[test]
fn the_pool_is_idle_once_no_far_handler_can_run() {
    let mut script = Script::ready(far());
    script.enqueue();
    assert_eq!(script.abort(1), ["settled 1/1: Aborted", "0#1 is exiting", "Terminate 0#1"]);
    assert_eq!(script.dies(FIRST), ["died 0#1"]);
    assert_eq!(script.wait(9 * SECOND / 2), ["idle"]);
}

/// An exit waits for nothing that is far.
#[test]
fn an_exit_ends_the_local_process_and_waits_for_no_more() {
    let mut script = working();
    script.input(Input::Exit);
    script.dies(FIRST);
    assert!(script.machine.is_finished());
}

#[test]
fn what_was_answered_counts_though_the_worker_is_lost() {
    let mut script = working();
    script.message(FIRST, success(1));
    script.input(Input::StderrClosed(FIRST));
    script.input(exited(FIRST));
    script.message(FIRST, success(2));
    let lines = script.input(Input::StdoutClosed(FIRST));
    assert_eq!(lines[..3], ["task 3/1 at 0#1", "0#1 is working", "retry 3/1: Crashed(ConnectionLost)"]);
    assert!(!lines.iter().any(|line| line.contains("2/1")), "{lines:?}");
}

/// The Ready that would have told that job 2 is begun was lost on the way.
#[test]
fn what_lies_behind_a_recovery_is_charged_too() {
    let mut script = working();
    script.message(FIRST, Message::Answer { job: 1, outcome: Outcome::Success, ready: false });
    let lines = script.dies(FIRST);
    let retried = lines.iter().filter(|line| line.starts_with("retry")).count();
    assert_eq!(retried, 2, "{lines:?}");
}

#[test]
fn a_job_that_was_not_written_whole_goes_back_free() {
    let mut script = working();
    script.input(Input::StdoutClosed(FIRST));
    script.input(Input::StderrClosed(FIRST));
    let undelivered = Some(Undelivered { job: 2, in_part: true });
    let lines = script.input(Input::Exited { worker_key: FIRST, undelivered });
    let retried: Vec<_> = lines.iter().filter(|line| line.starts_with("retry")).collect();
    assert_eq!(retried, ["retry 1/1: Crashed(ConnectionLost)"]);
    assert_eq!(lines.last().map(String::as_str), Some("spawn 0#2"), "jobs 2 and 3 wait for nothing: {lines:?}");
}

/// It has said itself that it begins none of those behind.
#[test]
fn a_terminal_failure_charges_the_job_that_they_are_about() {
    let mut script = working();
    let lines = script.message(FIRST, Message::Terminal { job: Some(1) });
    assert!(lines.contains(&"retry 1/1: Panicked".into()), "{lines:?}");
    let lines = script.dies(FIRST);
    assert!(!lines.iter().any(|line| line.starts_with("retry") || line.contains("waits")), "{lines:?}");
    assert_eq!(lines.last().map(String::as_str), Some("spawn 0#2"));
}

/// No signal can stop it: what lies behind the job is recalled, and charged where that takes too long.
#[test]
fn a_limit_calls_back_what_lies_behind_and_closes_then() {
    let mut script = working_with(Config { timeout_working: Some(2 * SECOND), ..far() });
    script.wait(SECOND);
    script.input(Input::Heard(FIRST));
    assert_eq!(script.wait(SECOND), ["heartbeat 0#1", "skip 2 at 0#1", "skip 3 at 0#1"]);
    script.message(FIRST, Message::Skipped { job: 2 });
    let lines = script.wait(SECOND);
    assert_eq!(
        lines[..],
        ["0#1 was working for too long", "retry 1/1: TimedOut working 2s", "0#1 is exiting", "Terminate 0#1"]
    );
    let lines = script.dies(FIRST);
    let retried: Vec<_> = lines.iter().filter(|line| line.starts_with("retry")).collect();
    assert_eq!(retried, ["retry 3/1: Crashed(ConnectionLost)"]);
    assert!(lines.contains(&"1 waits for 4.5s".into()) && lines.contains(&"3 waits for 4.5s".into()), "{lines:?}");
}

/// A site that is down is tried by one worker at a time, more and more slowly; jobs are done elsewhere, and it heals.
#[test]
fn a_site_that_is_down_is_tried_again_and_heals() {
    let near = SiteRules { slots: 1, silence: None, prefetch: None, timeout_initializing: None };
    let sites = vec![near, SiteRules { slots: 2, ..far().sites[0] }];
    let mut script = Script::new(Config { max_processes: 3, start_failures: 2, sites, ..far() });
    script.tick();
    script.input(Input::Spawned(FIRST));
    script.message(FIRST, Message::Ready);
    let [one, two] = [worker_key(1, 2), worker_key(2, 3)];
    assert_eq!(script.input(Input::SpawnWorkers), ["spawn 1#2", "spawn 2#3"]);
    assert_eq!(script.input(Input::SpawnFailed(one)), ["no start of 1#2, 1 in a row, waits 0ns", "spawn 1#4"]);
    assert_eq!(script.input(Input::SpawnFailed(two)), ["no start of 2#3, 1 in a row, waits 100ms"], "it is down");
    assert!(script.machine.is_site_down(1) && !script.machine.is_site_down(0));
    // The one that was on its way says nothing new.
    let lines = script.input(Input::SpawnFailed(worker_key(1, 4)));
    assert_eq!(lines, ["no start of 1#4, 2 in a row, waits 100ms"]);
    assert_eq!(script.wait(MILLI * 100), ["spawn 1#5"], "one, and not both");
    let lines = script.input(Input::SpawnFailed(worker_key(1, 5)));
    assert_eq!(lines, ["no start of 1#5, 3 in a row, waits 200ms"]);
    assert_eq!(script.wait(MILLI * 200), ["spawn 1#6"]);
    let probe = worker_key(1, 6);
    script.input(Input::Spawned(probe));
    script.input(Input::Hello { worker_key: probe, recalls: true });
    let lines = script.message(probe, Message::Ready);
    assert_eq!(lines.last().map(String::as_str), Some("spawn 2#7"), "it has healed: {lines:?}");
    assert!(!script.machine.is_site_down(1));
}

/// Two far workers share the jobs; jobs prefetched to one are recalled once the other has nothing to do.
#[test]
fn prefetched_jobs_come_back_only_for_a_worker_that_is_free() {
    let site = SiteRules { slots: 2, ..far().sites[0] };
    let mut script = Script::new(Config { max_processes: 2, sites: vec![site], ..far() });
    script.tick();
    (0..3).for_each(|_| drop(script.enqueue()));
    script.input(Input::Spawned(FIRST));
    script.input(Input::Hello { worker_key: FIRST, recalls: true });
    let lines = script.message(FIRST, Message::Ready);
    assert_eq!(lines.last().map(String::as_str), Some("send 2/1 to 0#1"), "half of what is queued");
    script.now += SECOND;
    script.input(Input::Heard(FIRST));
    assert!(!script.tick().iter().any(|line| line.starts_with("skip")), "nobody else could do them");
    let second = worker_key(1, 2);
    script.input(Input::Spawned(second));
    script.input(Input::Hello { worker_key: second, recalls: true });
    script.message(second, Message::Ready);
    let lines = script.message(second, success(3));
    assert_eq!(lines.last().map(String::as_str), Some("skip 2 at 0#1"), "{lines:?}");
}
