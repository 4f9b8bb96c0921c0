use super::*;
use crate::wire::{PAYLOAD_CODEC, encode_payload, frame_into};
use crate::{Bytes, NoError};
use serde::Deserialize;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Double(u64);

impl Job for Double {
    type Output = u64;
    type Progress = Bytes;
    type Error = NoError;
}

/// A session whose pool has sent these jobs, and the pool's two ends.
fn session(jobs: &[u64]) -> (Session<Double>, [File; 2]) {
    // It has room for more than a pipe.
    let (input, to_worker) = UnixStream::pair().unwrap();
    let (from_worker, output) = os_pipe::pipe().unwrap();
    let mut bytes = Vec::new();
    frame_into(&Hello::new(0), &[], &mut bytes);
    let (job_type, codec) = (Double::name().into(), PAYLOAD_CODEC.into());
    frame_into(&ToWorker::Init { job_type, codec, max_frame: 1 << 20, has_options: false }, &[], &mut bytes);
    bytes.extend(frames(jobs));
    let pool = [File::from(OwnedFd::from(to_worker)), File::from(OwnedFd::from(from_worker))];
    (&pool[0]).write_all(&bytes).unwrap();
    (Session::over(Host::Thread, input.into(), output.into(), false, 0).unwrap(), pool)
}

fn frames(jobs: &[u64]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for &job in jobs {
        let mut payload = Vec::new();
        encode_payload(&Double(job), &mut payload, usize::MAX).unwrap();
        frame_into(&ToWorker::Job { job, attempt: 1 }, &payload, &mut bytes);
    }
    bytes
}

fn refused<T: fmt::Debug>(result: Result<T, BoxError>) -> String {
    result.unwrap_err().to_string()
}

/// The pool presumes a job begun from Ready on, so none may be begun before.
#[test]
fn no_job_is_taken_before_ready() {
    let (mut session, _pool) = session(&[7, 8]);
    assert!(refused(session.next_job()).contains("call ready before next_job"));
    session.ready().unwrap();
    assert_eq!(session.next_job().unwrap(), Some(Double(7)));
    session.success(&14).unwrap();
    assert!(refused(session.next_job()).contains("call ready before next_job"));
    session.ready().unwrap();
    assert_eq!(session.next_job().unwrap(), Some(Double(8)));
}

#[test]
fn what_is_out_of_order_is_refused() {
    let (mut session, _pool) = session(&[7]);
    assert!(refused(session.start()).contains("call next_job first"));
    assert!(refused(session.progress(&Bytes::default())).contains("call next_job first"));
    assert!(refused(session.success(&1)).contains("call next_job first"));
    assert!(refused(session.retire()).contains("between next_job and the answer"));
    session.ready().unwrap();
    assert_eq!((session.job_id(), session.attempt()), (None, None));
    session.next_job().unwrap();
    assert_eq!((session.job_id(), session.attempt()), (Some(7), Some(1)));
    assert!(refused(session.next_job()).contains("call success or failure before next_job"));
    assert!(refused(session.ready()).contains("call success or failure before ready"));
}

/// A job that was aborted and is begun all the same costs the worker its process.
#[test]
fn all_that_has_arrived_is_read_before_a_job_is_begun() {
    let (mut session, [mut pool, _said]) = session(&[]);
    session.ready().unwrap();
    // It waits for the first; then it holds the others.
    for (first, recalled, expected) in [(0, 0, 1), (4000, 2, 3)] {
        let mut bytes = frames(&(first..first + 4000).collect::<Vec<_>>());
        assert!(bytes.len() > 100_000, "more than a read takes");
        frame_into(&ToWorker::Skip { job: recalled }, &[], &mut bytes);
        pool.write_all(&bytes).unwrap();
        assert_eq!(session.next_job().unwrap(), Some(Double(expected)));
        session.success(&0).unwrap();
        session.ready().unwrap();
    }
}

/// It may have been read together with the pool's first message, and a start may take minutes.
#[test]
fn a_heartbeat_is_answered_while_the_worker_starts() {
    let (input, to_worker) = UnixStream::pair().unwrap();
    let (mut from_worker, output) = os_pipe::pipe().unwrap();
    let mut bytes = Vec::new();
    frame_into(&Hello::new(0), &[], &mut bytes);
    let (job_type, codec) = (Double::name().into(), PAYLOAD_CODEC.into());
    frame_into(&ToWorker::Init { job_type, codec, max_frame: 1 << 20, has_options: false }, &[], &mut bytes);
    frame_into(&ToWorker::Heartbeat { silence_ms: 600_000 }, &[], &mut bytes);
    (&to_worker).write_all(&bytes).unwrap();
    let mut session = Session::<Double>::over(Host::Thread, input.into(), output.into(), true, 0).unwrap();
    let mut said = || {
        let mut length = [0; 4];
        from_worker.read_exact(&mut length).unwrap();
        let mut frame = vec![0; u32::from_le_bytes(length) as usize];
        from_worker.read_exact(&mut frame).unwrap();
        frame
    };
    assert_eq!(said()[..8], MAGIC);
    assert_eq!(said(), [10, 0, 0, 0], "it is alive");
    // So it is between its ready and when it waits for a job.
    session.ready().unwrap();
    assert_eq!(said(), [0; 4]);
    bytes.clear();
    frame_into(&ToWorker::Heartbeat { silence_ms: 600_000 }, &[], &mut bytes);
    (&to_worker).write_all(&bytes).unwrap();
    assert_eq!(said(), [10, 0, 0, 0]);
}
