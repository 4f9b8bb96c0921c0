//! A worker that has ended and that no pool has reaped: what it started has ended with it all the same.

use hirelings_tests::{Do, Told, eventually, processes, program, within};
use hirelings_worker_kit::Job;
use hirelings_worker_kit::wire::{
    FrameBuffer, FromWorker, Hello, PAYLOAD_CODEC, ToWorker, decode_payload, encode_payload, frame_into,
};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A second, and some for a machine that is busy.
const A_SECOND: Duration = Duration::from_secs(3);

/// A worker and its child: the worker has a job that leaves one behind, then does `last`, and then it is told to leave.
/// Gives both once the worker is a zombie.
fn ended(last: Do) -> (Child, u32) {
    let mut command = Command::new(program("worker"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    let mut worker = command.spawn().unwrap();
    let mut frames = Vec::new();
    frame_into(&Hello::new(0), &[], &mut frames);
    let (job_type, codec) = (Do::name().into(), PAYLOAD_CODEC.into());
    frame_into(&ToWorker::Init { job_type, codec, max_frame: 1 << 20, has_options: false }, &[], &mut frames);
    let mut job = Vec::new();
    encode_payload(&Do::Then(vec![Do::SpawnSleeper, last]), &mut job, 1 << 20).unwrap();
    frame_into(&ToWorker::Job { job: 1, attempt: 1 }, &job, &mut frames);
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
        }
    }
    eventually("the worker has ended", || processes::state(worker.id()) == Some('Z'));
    (worker, child.expect("it told of its child"))
}

/// The child ends too, and the worker's status is its own.
fn nobody_is_left(last: Do, status: i32) {
    let (mut worker, child) = ended(last);
    let both = within(A_SECOND, || !processes::is_alive(child));
    processes::kill(child);
    assert_eq!(worker.wait().unwrap().code(), Some(status));
    assert!(both, "its child outlived it");
}

#[test]
fn nobody_is_left_by_a_worker_that_leaves() {
    nobody_is_left(Do::Pid, 0);
}

#[test]
fn nobody_is_left_by_a_worker_that_panics() {
    nobody_is_left(Do::Panic("the end".into()), 101);
}
