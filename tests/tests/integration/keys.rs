//! Jobs of a key, of which only so many run at once.

use hirelings::{JobError, RetryPolicy};
use hirelings_tests::dice::Dice;
use hirelings_tests::{Do, Gate, Scratch, begun, builder, eventually, pool, settled, stubborn_worker};
use std::collections::BTreeMap;
use std::time::Duration;

/// A job that notes its begin and its end.
fn noted(notes: &Scratch, name: &str) -> Do {
    let note = |what| Do::Append(notes.path(), format!("{what} {name}"));
    Do::Then(vec![note("begin"), Do::Shell("true".into()), note("end")])
}

#[test]
fn never_more_of_a_key_run_than_its_number() {
    let pool = pool().max_processes(6).build().unwrap();
    let notes = Scratch::new();
    let jobs: Vec<_> = (0..240)
        .map(|n| {
            let key = n % 4;
            let request = pool.request(noted(&notes, &format!("{key} {n}")));
            // Of key 0 there is no limit.
            if key == 0 { request } else { request.limit(format!("key {key}"), key) }.enqueue()
        })
        .collect();
    jobs.into_iter().for_each(|job| drop(settled(job).unwrap()));
    let (mut running, mut most, mut begins) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for line in notes.lines() {
        let words: Vec<_> = line.split(' ').collect();
        let (key, job): (usize, usize) = (words[1].parse().unwrap(), words[2].parse().unwrap());
        let now: &mut usize = running.entry(key).or_default();
        if words[0] == "begin" {
            *now += 1;
            begins.entry(key).or_insert_with(Vec::new).push(job);
        } else {
            *now -= 1;
        }
        let most = most.entry(key).or_insert(0);
        *most = (*now).max(*most);
    }
    for key in 1..4 {
        assert!(most[&key] <= key, "{} of key {key} ran at once", most[&key]);
        assert_eq!(begins[&key].len(), 60);
    }
    assert!(begins[&1].is_sorted(), "one after the other, in their order: {:?}", begins[&1]);
    assert!(pool.stats().keys.is_empty());
}

#[test]
fn jobs_of_a_full_key_hold_no_worker_and_are_counted() {
    let pool = pool().max_processes(2).build().unwrap();
    let mut gate = Gate::new();
    let held = begun(pool.request(Do::Wait(gate.path())).timeout(None).limit("host-a", 1));
    let waiting: Vec<_> = (0..20).map(|_| pool.request(Do::Pid).limit("host-a", 1).enqueue()).collect();
    // The other worker does what may be done.
    settled(pool.request(Do::Pid).limit("host-b", 1).enqueue()).unwrap();
    settled(pool.enqueue(Do::Pid)).unwrap();
    let stats = pool.stats();
    assert_eq!(stats.keys.keys().map(|key| &**key).collect::<Vec<_>>(), ["host-a"], "host-b is forgotten");
    let of = stats.keys["host-a"];
    assert_eq!((of.limit, of.running, of.queued), (1, 1, 20));
    assert_eq!((stats.backlog, stats.busy), (20, 1));
    assert!(waiting.iter().all(|job| !job.is_finished()));
    gate.open();
    settled(held).unwrap();
    waiting.into_iter().for_each(|job| drop(settled(job).unwrap()));
}

#[test]
fn a_permit_is_free_once_no_handler_runs_any_more() {
    let pool = builder(stubborn_worker()).max_processes(4).kill_grace(Duration::from_millis(20)).build().unwrap();
    let (locked, gate, mut dice) = (Scratch::new(), Gate::new(), Dice::new(16));
    let mut failed = 0;
    for n in 0..40 {
        // The worker locks the file, and has it locked until it has answered or is dead.
        let alone = |job| Do::Alone(locked.path(), Box::new(job));
        let request = |job| pool.request(alone(job)).limit("the licence", 1).timeout(None);
        match dice.below(4) {
            0 => begun(request(Do::Wait(gate.path()))).abort(),
            1 => {
                let job = request(Do::Wait(gate.path())).timeout(Duration::from_millis(5)).enqueue();
                failed += u32::from(matches!(settled(job), Err(JobError::TimedOut { .. })));
            }
            2 => drop(request(Do::Exit(3)).enqueue()),
            _ => drop(request(Do::Echo(n.to_string())).enqueue()),
        }
    }
    pool.wait_idle();
    let lines = locked.lines();
    assert!(!lines.contains(&"two at once".into()) && lines.len() > 10 && failed > 0, "{failed} {lines:?}");
    eventually("the key is forgotten", || pool.stats().keys.is_empty());
}

#[test]
fn a_retry_that_waits_lets_others_of_its_key_go() {
    let pool = pool().max_processes(1).build().unwrap();
    let hour = Duration::from_secs(3600);
    let patient = RetryPolicy::new(1).backoff(hour, hour);
    let failed = pool.request(Do::Fail("no".into())).limit("host", 1).retry(patient).enqueue();
    settled(pool.request(Do::Pid).limit("host", 1).enqueue()).unwrap();
    assert!(!failed.is_finished());
    let of = pool.stats().keys["host"];
    assert_eq!((of.running, of.queued), (0, 0));
    failed.abort();
    assert!(pool.stats().keys.is_empty());
}

#[test]
fn a_raised_number_lets_more_of_a_key_run() {
    let pool = pool().max_processes(3).build().unwrap();
    let mut gate = Gate::new();
    let wait = || pool.request(Do::Wait(gate.path())).timeout(None);
    let first = begun(wait().limit("host", 1));
    let second = wait().limit("host", 1).enqueue();
    assert_eq!(pool.stats().keys["host"].running, 1);
    let third = begun(wait().limit("host", 3));
    assert_eq!((pool.stats().keys["host"].running, pool.stats().keys["host"].limit), (3, 3));
    gate.open();
    [first, second, third].into_iter().for_each(|job| drop(settled(job).unwrap()));
}

#[test]
fn a_map_gives_each_of_its_jobs_a_key() {
    let pool = pool().max_processes(4).build().unwrap();
    let notes = Scratch::new();
    let jobs = (0..30).map(|n| noted(&notes, &n.to_string()));
    assert!(pool.map(jobs).with(|request| request.limit("one file", 1)).all(|result| result.is_ok()));
    let lines = notes.lines();
    assert!(lines.chunks(2).all(|two| two[0].replace("begin", "end") == two[1]), "{lines:?}");
    assert_eq!(lines.len(), 60);
}

#[test]
fn drain_does_what_waits_for_its_key_exit_does_not() {
    let first = pool().max_processes(2).build().unwrap();
    let jobs: Vec<_> = (0..10).map(|_| first.request(Do::Pid).limit("host", 1).enqueue()).collect();
    assert_eq!(first.drain(Duration::MAX).left, 0);
    jobs.into_iter().for_each(|job| drop(settled(job).unwrap()));
    let (second, gate) = (pool().max_processes(2).build().unwrap(), Gate::new());
    let held = begun(second.request(Do::Wait(gate.path())).limit("host", 1));
    let waits = second.request(Do::Pid).limit("host", 1).enqueue();
    second.exit();
    assert!(matches!((settled(held), settled(waits)), (Err(JobError::Closed), Err(JobError::Closed))));
    assert!(second.stats().keys.is_empty());
}

#[test]
fn a_pool_forgets_keys_that_no_job_has() {
    let pool = pool().max_processes(2).build().unwrap();
    let jobs: Vec<_> = (0..3000).map(|n| pool.request(Do::Pid).limit(format!("host {n}"), 1).enqueue()).collect();
    assert!(pool.stats().keys.len() > 1000, "each has its own while it waits");
    jobs.into_iter().for_each(|job| drop(settled(job).unwrap()));
    assert!(pool.stats().keys.is_empty());
}

#[test]
#[should_panic(expected = "limit is 0: no job of the key could ever be begun; use 1 or more")]
fn no_job_may_run_is_refused() {
    let pool = pool().build().unwrap();
    let _ = pool.request(Do::Pid).limit("host", 0);
}
