//! Payloads as JSON, between the pool and workers of the kit.

use hirelings::{Bytes, Codec, Event, EventKind, Job, JobError, Pool, PoolBuilder, Stderr};
use hirelings_tests::shapes::{Blob, Complain, Complaint, Id, Loose, LooseOutput, Nothing};
use hirelings_tests::{Do, Told, WATCHDOG, pool, program, settled};
use serde_json::json;
use std::process::Command;
use std::sync::mpsc;

fn shaped<J: Job>() -> PoolBuilder<J> {
    let mut command = Command::new(program("shapes"));
    command.arg(J::name());
    let pool = Pool::<J>::builder(command).stderr(Stderr::Null).max_processes(1).codec(Codec::Json);
    pool.timeout_initializing(WATCHDOG)
}

fn loose(id: Id) -> Loose {
    let more = [("list".into(), json!([1, null, "ü"])), ("deep".into(), json!({ "a": { "b": 0.1 } }))].into();
    Loose { id, divide: None, fail: false, more }
}

#[test]
fn what_bincode_cannot_decode_goes_both_ways() {
    let (progressed, progress) = mpsc::channel();
    let pool = shaped::<Loose>();
    let pool = pool.on(EventKind::JobProgress, move |event| progressed.send(event.progress::<Loose>()).unwrap());
    let pool = pool.build().unwrap();
    for id in [Id::Number(u64::MAX), Id::Name("seven".into())] {
        let sent = loose(id);
        assert_eq!(settled(pool.enqueue(sent.clone())).unwrap(), LooseOutput::Whole(sent.clone()));
        let told = json!({ "id": sent.id, "more": sent.more });
        assert_eq!(progress.recv_timeout(WATCHDOG).unwrap(), Some(told), "the event's progress");
        let failing = Loose { fail: true, ..sent };
        match settled(pool.enqueue(failing.clone())) {
            Err(JobError::Failed(error)) => assert_eq!(error, failing),
            other => panic!("{other:?}"),
        }
        progress.recv_timeout(WATCHDOG).unwrap();
    }
    assert_eq!(pool.stats().spawned, 1);
}

#[test]
fn bincode_says_what_to_choose_for_it() {
    let pool = shaped::<Loose>().codec(Codec::Bincode).build().unwrap();
    let JobError::Encode(error) = settled(pool.enqueue(loose(Id::Number(1)))).unwrap_err() else {
        panic!("not Encode")
    };
    assert!(error.to_string().contains("Codec::Json"), "{error}");
}

#[test]
fn a_float_that_is_no_number_fails_its_job_alone() {
    let pool = shaped::<Loose>().build().unwrap();
    let divide = |by| pool.enqueue(Loose { divide: Some(by), ..loose(Id::Number(1)) });
    // Here, before it is sent.
    let JobError::Encode(error) = settled(divide(f64::NAN)).unwrap_err() else { panic!("not Encode") };
    assert!(error.to_string().contains("NaN"), "{error}");
    // There, in the output.
    let JobError::Encode(error) = settled(divide(0.0)).unwrap_err() else { panic!("not Encode") };
    assert!(error.to_string().contains("NaN"), "{error}");
    assert_eq!(settled(divide(3.0)).unwrap(), LooseOutput::Quotient(1.0 / 3.0));
    assert_eq!(pool.stats().spawned, 1);
}

#[test]
fn bytes_of_every_length_come_back() {
    let pool = shaped::<Blob>().build().unwrap();
    for len in (0..10).chain([3000, 100_000, 1 << 20]) {
        let bytes: Vec<u8> = (0..len).map(|n: u32| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
        assert!(settled(pool.enqueue(Blob(Bytes(bytes.clone())))).unwrap().0 == bytes, "{len} bytes");
    }
}

#[test]
fn nothing_at_all_and_errors_with_fields_go_both_ways() {
    let pool = shaped::<Nothing>().build().unwrap();
    settled(pool.enqueue(Nothing)).unwrap();
    let cause = Complaint { code: -1, place: ("b".into(), 2), cause: None };
    let complaint = Complaint { code: i32::MIN, place: ("ä".into(), u32::MAX), cause: Some(Box::new(cause)) };
    let pool = shaped::<Complain>().build().unwrap();
    assert_eq!(settled(pool.enqueue(Complain::Return(complaint.clone()))).unwrap(), Err(complaint.clone()));
    match settled(pool.enqueue(Complain::Fail(complaint.clone()))) {
        Err(JobError::Failed(error)) => assert_eq!(error, complaint),
        other => panic!("{other:?}"),
    }
}

/// Handles, hooks, streams, events and results of `map` each decode for themselves.
#[test]
fn each_listener_gets_what_was_told() {
    let (tell, told) = mpsc::channel();
    let say = |what: &'static str| {
        let tell = tell.clone();
        move |text: String| tell.send(format!("{what}: {text}")).unwrap()
    };
    let (event_progress, event_error) = (say("event"), say("event error"));
    let pool = pool().max_processes(1).codec(Codec::Json);
    let pool = pool.on_event(move |event: &Event| match event.kind() {
        EventKind::JobProgress => event_progress(format!("{:?}", event.progress::<Do>())),
        EventKind::JobFailure => event_error(format!("{:?}", event.error::<Do>().map(|error| error.to_string()))),
        _ => {}
    });
    let pool = pool.build().unwrap();
    let (hook, success, failure) = (say("hook"), say("success"), say("failure"));
    let request = pool.request(Do::Progress(1)).on_progress(move |n| hook(format!("{n:?}")));
    let handle = request.on_success(move |output| success(format!("{output:?}"))).enqueue();
    let streamed: Vec<_> = handle.progress().collect();
    let output = settled(handle).unwrap();
    let failing = pool.request(Do::Fail("no".into())).on_failure(move |error| failure(error.to_string())).enqueue();
    let JobError::Failed(error) = settled(failing).unwrap_err() else { panic!("not Failed") };
    assert_eq!(error, "no");
    let mapped: Vec<_> = pool.map(["a", "b"].map(|text| Do::Echo(text.into()))).map(Result::unwrap).collect();
    pool.exit();
    drop(tell);
    let told: Vec<String> = told.try_iter().collect();
    for (what, count) in [("event: ", 1), ("hook: ", 1), ("success: ", 1), ("failure: no", 1), ("event error: ", 1)] {
        assert_eq!(told.iter().filter(|told| told.starts_with(what)).count(), count, "{what} in {told:?}");
    }
    assert!(streamed.len() <= 1 && !told.iter().any(|told| told.contains("None")), "{told:?}, {streamed:?}");
    let progress: Vec<Told> = streamed;
    assert!(progress.is_empty() || told.contains(&format!("hook: {:?}", progress[0])));
    assert!(told.contains(&format!("success: {output:?}")), "{told:?}, {output:?}");
    assert_eq!(mapped, ["a", "b"]);
}

#[test]
fn options_are_json_whichever_is_said_first() {
    // This worker needs no options, and must not mind them; that they are JSON is seen by those in other languages.
    let pool = shaped::<Nothing>().options(&f64::NAN).build();
    let error = pool.unwrap_err().to_string();
    assert!(error.contains("the options, a f64") && error.contains("NaN"), "{error}");
    shaped::<Nothing>().options(&f64::NAN).codec(Codec::Bincode).build().unwrap();
}
