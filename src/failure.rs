//! A job's result before its payload is decoded.

use crate::error::{
    CodecError, Crash, JobError, JobResult, OutOfMemory, ProtocolError, StartFailure, Timeout, Who, WorkerPanic,
};
use crate::supervisor::Begun;
use hirelings_worker_kit::Job;
use hirelings_worker_kit::wire::{Fault, Payload};
use std::any::type_name;
use std::sync::Arc;

/// A failure whose own error is still encoded: what the pool itself knows of it.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    Failed(Payload),
    Panicked(WorkerPanic),
    Crashed(Crash),
    TimedOut(Timeout),
    OutOfMemory(OutOfMemory),
    Aborted,
    Closed,
    Expired,
    /// Shared, since all jobs in the queue fail of one, which may quote 8 KiB; and whether this job had begun before.
    NoWorker(Arc<StartFailure>, Begun),
    /// Refused before it was in the pool.
    NotEncoded(String),
    Unusable {
        fault: Fault,
        message: String,
        who: Box<Who>,
    },
    Protocol(ProtocolError),
}

/// A job's result, still encoded.
pub(crate) type Settled = Result<Payload, Arc<Failure>>;

/// Decodes a copy of the result for one reader. `attempts` is how many were made.
pub(crate) fn decoded<J: Job>(settled: &Settled, attempts: impl Fn() -> u32) -> JobResult<J> {
    match settled {
        Ok(output) => output.decode().map_err(|fault| {
            let name = type_name::<J::Output>();
            JobError::Decode(CodecError::here(name, "the answer", "decoded", fault, Begun::Yes, attempts()))
        }),
        Err(failure) => Err(typed::<J>(failure, attempts)),
    }
}

/// The failure, with the handler's own error decoded.
pub(crate) fn typed<J: Job>(failure: &Failure, attempts: impl Fn() -> u32) -> JobError<J::Error> {
    match failure {
        Failure::Failed(error) => match error.decode() {
            Ok(error) => JobError::Failed(error),
            Err(fault) => {
                let name = type_name::<J::Error>();
                JobError::Decode(CodecError::here(name, "the error", "decoded", fault, Begun::Yes, attempts()))
            }
        },
        Failure::Panicked(panic) => JobError::Panicked(panic.clone()),
        Failure::Crashed(crash) => JobError::Crashed(crash.clone()),
        Failure::TimedOut(timeout) => JobError::TimedOut(timeout.clone()),
        Failure::OutOfMemory(memory) => JobError::OutOfMemory(memory.clone()),
        Failure::Aborted => JobError::Aborted,
        Failure::Closed => JobError::Closed,
        Failure::Expired => JobError::Expired,
        Failure::NoWorker(failure, begun) => {
            JobError::NoWorker(StartFailure { begun: *begun, attempts: attempts(), ..StartFailure::clone(failure) })
        }
        Failure::NotEncoded(why) => {
            JobError::Encode(CodecError::here(type_name::<J>(), "the job", "encoded", why.clone(), Begun::No, 0))
        }
        Failure::Unusable { fault, message, who } => {
            let work = who.work.as_ref().map(|work| format!(" of {work}")).unwrap_or_default();
            let (name, what, verb) = match fault {
                Fault::DecodeJob => (type_name::<J>(), "the job", "decode"),
                Fault::EncodeOutput => (type_name::<J::Output>(), "the output", "encode"),
                Fault::EncodeError => (type_name::<J::Error>(), "the error", "encode"),
                Fault::EncodeProgress => (type_name::<J::Progress>(), "a progress", "encode"),
            };
            let message = format!("{who} could not {verb} {what}{work}, a {name}: {message}");
            let begun = who.work.as_ref().map_or(Begun::Perhaps, |work| work.begun);
            let attempts = who.work.as_ref().map_or_else(attempts, |work| work.attempt);
            let error = CodecError { type_name: name, message, attempts, begun };
            if *fault == Fault::DecodeJob { JobError::Decode(error) } else { JobError::Encode(error) }
        }
        Failure::Protocol(error) => JobError::Protocol(error.clone()),
    }
}

/// Writes a failure as a sentence, with the handler's own error decoded.
pub(crate) type Describe = fn(&Failure) -> String;

/// The one for jobs of type `J`.
pub(crate) fn describe<J: Job>(failure: &Failure) -> String {
    // Of the sentence they are no part.
    typed::<J>(failure, || 0).to_string()
}

impl Failure {
    /// What is known without decoding the handler's own error.
    pub(crate) fn in_short(&self) -> String {
        match self {
            Failure::Failed(error) => format!("the handler's own error, {} bytes", error.len()),
            Failure::Panicked(panic) => panic.to_string(),
            Failure::Crashed(crash) => crash.to_string(),
            Failure::TimedOut(timeout) => timeout.to_string(),
            Failure::OutOfMemory(memory) => memory.to_string(),
            Failure::Aborted => "aborted".into(),
            Failure::Closed => "the pool was closed".into(),
            Failure::Expired => "expired".into(),
            Failure::NoWorker(failure, _) => failure.to_string(),
            Failure::NotEncoded(why) => why.clone(),
            Failure::Unusable { message, who, .. } => format!("{who}: {message}"),
            Failure::Protocol(error) => error.to_string(),
        }
    }
}
