//! A worker that has ended and that no pool has reaped: what it started has ended with it all the same.

use hirelings_tests::{Do, Told, eventually, processes, program, within};
use hirelings_worker_kit::Job;
use hirelings_worker_kit::wire::{
    FrameBuffer, FromWorker, Hello, PAYLOAD_CODEC, ToWorker, decode_payload, encode_payload, frame_into,
};
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A second, and some for a machine that is busy.
const A_SECOND: Duration = Duration::from_secs(3);

/// A worker and what it has started: the worker has a job that tells of it, or answers with it, and is told to leave.
/// Gives both once the worker is a zombie.
fn ended(job: Do) -> (Child, u32) {
    let mut command = Command::new(program("worker"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut worker = command.spawn().unwrap();
    let mut frames = Vec::new();
    frame_into(&Hello::new(0), &[], &mut frames);
    let (job_type, codec) = (Do::name().into(), PAYLOAD_CODEC.into());
    frame_into(&ToWorker::Init { job_type, codec, max_frame: 1 << 20, has_options: false }, &[], &mut frames);
    let mut payload = Vec::new();
    encode_payload(&job, &mut payload, 1 << 20).unwrap();
    frame_into(&ToWorker::Job { job: 1, attempt: 1 }, &payload, &mut frames);
    frame_into(&ToWorker::Leave, &[], &mut frames);
    // It stays open: its end would be the parent's.
    worker.stdin.as_mut().unwrap().write_all(&frames).unwrap();

    let stdout = worker.stdout.take().unwrap();
    let mut arrived = FrameBuffer::new(1 << 20);
    let mut child = None;
    while arrived.fill(&stdout).unwrap() > 0 {}
    arrived.next_frame::<Hello>().unwrap().expect("a hello");
    while let Some(frame) = arrived.next_frame::<FromWorker>().unwrap() {
        if let FromWorker::Progress { .. } = frame.message {
            let Told::Spawned(pid) = decode_payload(frame.payload.as_slice()).unwrap() else { panic!("what is that?") };
            child = Some(pid);
        } else if let FromWorker::Success { .. } = frame.message {
            let answer: String = decode_payload(frame.payload.as_slice()).unwrap();
            child = child.or_else(|| answer.parse().ok());
        }
    }
    eventually("the worker has ended", || processes::state(worker.id()) == Some('Z'));
    (worker, child.expect("it told of its child"))
}

/// A worker that leaves a child behind, and does this.
fn nobody_is_left(last: Do, status: i32) {
    nobody_is_left_of(Do::Then(vec![Do::SpawnSleeper, Do::PrintAtExit("kept".into()), last]), status, "kept");
}

/// What it has started ends too, the worker's status is its own, and what C's standard output has kept is written.
fn nobody_is_left_of(job: Do, status: i32, kept: &str) {
    let (mut worker, child) = ended(job);
    let both = within(A_SECOND, || !processes::is_alive(child));
    processes::kill(child);
    assert_eq!(worker.wait().unwrap().code(), Some(status));
    assert!(both, "its child outlived it");
    let mut errors = String::new();
    worker.stderr.unwrap().read_to_string(&mut errors).unwrap();
    assert!(errors.ends_with(kept), "{errors:?}");
}

#[test]
fn nobody_is_left_by_a_worker_that_leaves() {
    nobody_is_left(Do::Pid, 0);
}

#[test]
fn nobody_is_left_by_a_worker_that_panics() {
    nobody_is_left(Do::Panic("the end".into()), 101);
}

#[test]
fn nobody_is_left_by_a_worker_whose_handler_exits() {
    nobody_is_left(Do::Exit(5), 5);
}

#[test]
fn nobody_is_left_by_one_with_a_thread_that_goes_on() {
    nobody_is_left(Do::SpawnThread, 0);
}

#[test]
fn nobody_is_left_by_a_child_that_is_gone() {
    nobody_is_left_of(Do::Shell("sleep 1000 >/dev/null 2>&1 & echo $!".into()), 0, "");
}
