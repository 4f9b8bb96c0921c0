//! A worker, and a parent that writes what it likes.

use hirelings_worker_kit::wire::{
    ANSWERS_RECALLS, FROM_WORKER, FrameBuffer, FromWorker, Hello, PAYLOAD_CODEC, ToWorker, frame_into,
};
use hirelings_worker_kit::{Bytes, Job, serve_over};
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};
use std::thread;

#[derive(Serialize, Deserialize)]
enum Errand {
    Echo(Bytes),
    Fail(String),
    Tell(u8),
    Retire,
}

impl Job for Errand {
    type Output = Bytes;
    type Progress = u16;
    type Error = String;

    fn name() -> &'static str {
        "errand"
    }
}

/// It fits into the smallest pipe that there is.
const LONGEST: usize = 3800;

/// The first byte says what is put before the rest: nothing, a hello, or a hello and an init.
///
/// The worker ends, without a panic, and says why where it was not told to leave. What it writes is messages,
/// and it answers no job that it was not given, nor any twice.
pub fn worker_side(data: &[u8]) {
    let Some((&before, rest)) = data.split_first() else { return };
    let mut bytes = Vec::new();
    if before % 3 > 0 {
        frame_into(&Hello::new(0), &[], &mut bytes);
    }
    if before % 3 > 1 {
        let max_frame = if before & 0x80 == 0 { 1 << 20 } else { 64 };
        let (job_type, codec) = (Errand::name().into(), PAYLOAD_CODEC.into());
        frame_into(&ToWorker::Init { job_type, codec, max_frame, has_options: false }, &[], &mut bytes);
    }
    bytes.extend_from_slice(&rest[..rest.len().min(LONGEST)]);

    let (input, mut to_worker) = std::io::pipe().expect("a pipe");
    let (mut from_worker, output) = std::io::pipe().expect("a pipe");
    to_worker.write_all(&bytes).expect("a pipe with room");
    drop(to_worker);
    let listener = thread::spawn(move || {
        let mut message = Vec::new();
        from_worker.read_to_end(&mut message).map(|_| message)
    });
    let end = serve_over::<Errand>(input.into(), output.into(), |errand, ctx| match errand {
        Errand::Echo(bytes) => Ok(bytes),
        Errand::Fail(why) => Err(why),
        Errand::Tell(times) => {
            (0..u16::from(times % 4)).for_each(|progress| ctx.progress(&progress));
            Ok(Bytes::default())
        }
        Errand::Retire => {
            ctx.retire();
            Ok(Bytes::default())
        }
    });
    if let Err(error) = end {
        let words = error.to_string();
        let known = ["its standard input ", "the pool ", "the pool's ", "this worker "];
        assert!(known.iter().any(|start| words.starts_with(start)), "{words}");
    }
    let message = listener.join().expect("a listener").expect("a pipe that can be read");
    is_sound(&message, &jobs(&bytes));
}

/// The jobs that the parent has given, as far as it makes sense.
fn jobs(bytes: &[u8]) -> Vec<u64> {
    let mut buffer = FrameBuffer::new(u32::MAX as usize);
    buffer.push(bytes);
    let mut jobs = Vec::new();
    if let Ok(Some(_)) = buffer.next_frame::<Hello>() {
        while let Ok(Some(frame)) = buffer.next_frame::<ToWorker>() {
            if let ToWorker::Job { job, .. } | ToWorker::TimedJob { job, .. } = frame.message {
                jobs.push(job);
            }
        }
    }
    jobs
}

fn is_sound(message: &[u8], jobs: &[u64]) {
    let mut buffer = FrameBuffer::new(u32::MAX as usize);
    buffer.push(message);
    let hello = buffer.next_frame::<Hello>().expect("a hello").expect("a whole hello");
    assert_eq!(
        (hello.message, hello.payload.as_slice()),
        (Hello::new(FROM_WORKER | ANSWERS_RECALLS), Errand::name().as_bytes())
    );
    let mut open = jobs.to_vec();
    let mut running = None;
    while let Some(frame) = buffer.next_frame::<FromWorker>().expect("messages") {
        match frame.message {
            FromWorker::Ready | FromWorker::Retire | FromWorker::Alive => {}
            FromWorker::Start { job } | FromWorker::Progress { job } => {
                assert!(running.is_none_or(|running| running == job) && open.contains(&job));
                running = Some(job);
            }
            FromWorker::Success { job, .. }
            | FromWorker::Failure { job, .. }
            | FromWorker::FinalFailure { job, .. }
            | FromWorker::Unusable { job, .. } => {
                assert!(running.take().is_none_or(|running| running == job));
                close(&mut open, job);
            }
            FromWorker::Skipped { job } => {
                // Nonsense may give a number twice; then some of them are skipped and others are not.
                assert!(jobs.contains(&job), "job {job} is skipped");
            }
            FromWorker::Terminal { job, message, .. } => assert!(job.is_none() && !message.is_empty()),
        }
    }
    assert!(buffer.pending().is_empty(), "a frame that is not whole");
}

fn close(open: &mut Vec<u64>, job: u64) {
    let at =
        open.iter().position(|&of| of == job).unwrap_or_else(|| panic!("job {job} is answered, {open:?} are open"));
    open.remove(at);
}
