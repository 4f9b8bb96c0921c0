//! What a recording keeps, and the trace.

use crate::timeline::data_of;
use crate::tools;
use hirelings::{Pool, Site};
use hirelings_observe::Recorder;
use hirelings_tests::{Do, WATCHDOG, begun, eventually, pool, worker};
use serde_json::Value;
use std::fs;
use std::time::Duration;

fn numbers(list: &Value) -> Vec<u64> {
    list.as_array().unwrap().iter().map(|number| number.as_u64().unwrap()).collect()
}

#[test]
fn each_worker_has_the_name_of_its_site() {
    let page = tools::folder("sites").join("run.html");
    let sites = [Site::local(1).name("one"), Site::local(1).name("two")];
    let pool = Pool::<Do>::builder_on(sites, worker()).build().unwrap();
    let recorder = Recorder::attach(&pool);
    pool.wait_ready(WATCHDOG).unwrap();
    pool.exit();
    recorder.write_timeline(&page).unwrap();
    let data = data_of(&page);
    let mut seen: Vec<_> = data["workers"].as_array().unwrap().iter().map(|of| (&of[1], &of[12])).collect();
    seen.sort_by_key(|(slot, _)| slot.as_u64());
    assert_eq!(seen, [(&Value::from(0), &Value::from("one")), (&Value::from(1), &Value::from("two"))]);
}

#[test]
fn the_oldest_give_way_to_sums() {
    let page = tools::folder("sums").join("run.html");
    let pool = pool().max_processes(2).build().unwrap();
    let recorder = Recorder::attach_with_capacity(&pool, 100);
    for n in 0..1000 {
        let job = if n % 10 == 0 { Do::Fail("no".into()) } else { Do::Echo(String::new()) };
        drop(pool.enqueue(job).wait());
    }
    pool.exit();
    assert_eq!(recorder.attempts(), (1000, 100));
    recorder.write_timeline(&page).unwrap();
    let data = data_of(&page);
    assert_eq!(numbers(&data["totals"])[..2], [900, 100]);
    let lanes = data["lanes"].as_array().unwrap();
    let (mut kept, mut summed, mut failed, mut busy) = (0, 0, 0, 0);
    for lane in lanes {
        kept += numbers(&lane["job"]).len();
        for sum in lane["sums"].as_array().unwrap() {
            let [attempts, not_succeeded, time] = numbers(sum)[..] else { panic!("{sum}") };
            assert!(time <= data["sumWidth"].as_u64().unwrap(), "busier than there was time: {sum}");
            (summed, failed, busy) = (summed + attempts, failed + not_succeeded, busy + time);
        }
    }
    let failed_of_kept: u64 =
        lanes.iter().map(|lane| numbers(&lane["outcome"]).iter().filter(|&&of| of == 1).count() as u64).sum();
    assert_eq!((kept, summed, failed + failed_of_kept), (100, 900, 100));
    assert!(busy > 0 && busy <= 2 * data["end"].as_u64().unwrap());
}

#[test]
fn workers_samples_and_times_are_those_of_the_run() {
    let page = tools::folder("workers").join("run.html");
    let pool = pool().max_processes(1).max_jobs_per_process(2).build().unwrap();
    // The first worker is there, and was ready, before the recording begins.
    pool.wait_ready(WATCHDOG).unwrap();
    let recorder = Recorder::attach(&pool);
    for n in 0..5 {
        pool.request(Do::Echo("x".into())).label(format!("{n}")).enqueue().wait().unwrap();
    }
    // The sampler looks every 50 ms at first.
    let before = || {
        recorder.write_timeline(&page).unwrap();
        let memory = data_of(&page)["samples"]["memory"].clone();
        memory.as_array().unwrap().first().is_some_and(|of| numbers(of).into_iter().any(|kib| kib > 100))
    };
    eventually("a worker's memory is seen", before);
    pool.exit();
    recorder.write_timeline(&page).unwrap();
    let data = data_of(&page);
    let workers = data["workers"].as_array().unwrap();
    assert_eq!(workers.len(), 3);
    let jobs: Vec<u64> = workers.iter().map(|worker| worker[11].as_u64().unwrap()).collect();
    assert_eq!(jobs, [2, 2, 1]);
    for worker in workers {
        let [spawned, ready, exiting, exited] = [3, 4, 5, 7].map(|at| worker[at].as_u64().unwrap());
        assert!(spawned <= ready && ready <= exiting && exiting <= exited, "{worker}");
        assert!(exited <= data["end"].as_u64().unwrap() && worker[6] == 0 && worker[8] == "exit status: 0", "{worker}");
    }
    let lane = &data["lanes"][0];
    let labels = numbers(&lane["label"]).into_iter().map(|n| data["labels"][n as usize - 1].as_str().unwrap());
    assert_eq!(labels.collect::<Vec<_>>(), ["0", "1", "2", "3", "4"]);
    assert_eq!(numbers(&lane["worker"]).len(), 5);
    // The end of the recording is that of the pool.
    let end = data["end"].clone();
    recorder.write_timeline(&page).unwrap();
    assert_eq!(data_of(&page)["end"], end);
}

#[test]
fn retries_and_what_never_began_are_attempts_too() {
    let page = tools::folder("retries").join("run.html");
    let pool = pool().max_processes(1).retries(1).build().unwrap();
    let recorder = Recorder::attach(&pool);
    pool.request(Do::FailUntil(2)).label("twice").enqueue().wait().unwrap();
    let gate = hirelings_tests::Gate::new();
    let _first = begun(pool.request(Do::Wait(gate.path())).label("goes on"));
    pool.request(Do::Pid).label("never began").enqueue().abort();
    pool.wait_idle_timeout(Duration::ZERO);
    // Of a run that goes on: what runs is there.
    eventually("the abort is recorded", || recorder.attempts().0 == 3);
    recorder.write_timeline(&page).unwrap();
    let data = data_of(&page);
    let lanes = data["lanes"].as_array().unwrap();
    assert_eq!(numbers(&lanes[0]["attempt"]), [1, 2, 1]);
    let names = data["outcomes"].as_array().unwrap();
    let number = |outcome: &str| names.iter().position(|name| name == outcome).unwrap() as u64;
    // Tried again, which is a flag beside the outcome.
    let retried = 16 + number("failed");
    assert_eq!(numbers(&lanes[0]["outcome"]), [retried, number("succeeded"), number("running")]);
    assert_eq!((&lanes[1]["slot"], numbers(&lanes[1]["outcome"])), (&Value::Null, vec![number("aborted")]));
    assert_eq!(data["retries"], 1);
}

/// What <https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU> asks of each event.
#[test]
fn the_trace_is_of_chromes_format() {
    let folder = tools::folder("trace");
    let trace = folder.join("run.json");
    let pool = pool().max_processes(2).build().unwrap();
    let recorder = Recorder::attach(&pool);
    let jobs = [Do::Echo("one".into()), Do::SayAndDie("last words".into()), Do::Spin, Do::Fail("\"no\" <b>".into())];
    let limit = |job: &Do| matches!(job, Do::Spin).then_some(Duration::from_millis(300));
    let all = jobs.map(|job| pool.request(job.clone()).label("a \"label\"").timeout(limit(&job)).enqueue());
    all.into_iter().for_each(|handle| drop(handle.wait()));
    pool.exit();
    recorder.write_trace(&trace).unwrap();
    let parsed: Value = serde_json::from_str(&fs::read_to_string(&trace).unwrap()).unwrap();
    let events = parsed["traceEvents"].as_array().unwrap();
    let mut kinds = std::collections::BTreeMap::new();
    for event in events {
        let kind = event["ph"].as_str().unwrap();
        *kinds.entry(kind).or_insert(0) += 1;
        assert!(event["pid"].is_u64() && event["name"].is_string(), "{event}");
        match kind {
            "M" => assert!(event["args"].is_object(), "{event}"),
            "X" => assert!(event["ts"].is_u64() && event["dur"].is_u64() && event["tid"].is_u64(), "{event}"),
            "i" => assert!(event["ts"].is_u64() && event["s"] == "t", "{event}"),
            "C" => assert!(event["args"].as_object().unwrap().values().all(Value::is_u64), "{event}"),
            other => panic!("{other} is no kind of event that is written: {event}"),
        }
    }
    assert_eq!(kinds["X"], 4);
    let died = events.iter().find(|event| event["args"]["outcome"] == "crashed").unwrap();
    assert_eq!((&died["name"], &died["args"]["stderr"]), (&"a \"label\"".into(), &"last words".into()));
    assert!(events.iter().any(|event| event["name"].as_str().unwrap().contains("was working for more than 300ms")));
}

#[test]
fn a_dropped_recorder_ends_and_the_pool_goes_on() {
    let pool = pool().max_processes(1).build().unwrap();
    for _ in 0..20 {
        let recorder = Recorder::attach(&pool);
        pool.enqueue(Do::Pid).wait().unwrap();
        drop(recorder);
    }
    pool.enqueue(Do::Pid).wait().unwrap();
    // Its thread has ended, though the pool has not. Tests beside this one may have recorders of their own.
    eventually("the threads of the 20 have ended", || sampler_threads() < 10);
    pool.exit();
}

fn sampler_threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    tasks
        .filter(|task| fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name == "hirelings-sampl\n"))
        .count()
}
