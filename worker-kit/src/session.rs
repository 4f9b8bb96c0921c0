//! The protocol by hand, one call a message.

use crate::ended::Ended;
use crate::link::{Host, Link};
use crate::queue::QueuedJob;
use crate::wire::{
    self, ANSWERS_RECALLS, Codec, FORKS, FROM_WORKER, Fault, FromWorker, Hello, MAGIC, Payload, ToWorker, truncate,
};
use crate::{BoxError, Job, guard};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::any::type_name;
use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;
use std::{fmt, mem, process};

/// The protocol by hand, one call a message; [`serve`](crate::serve()) does all of this for you.
///
/// The order is [`connect`](Session::connect), [`options`](Session::options) if there are any,
/// [`ready`](Session::ready), then for each [`next_job`](Session::next_job): [`start`](Session::start) and
/// [`progress`](Session::progress) as wanted, [`success`](Session::success) or [`failure`](Session::failure), and
/// [`ready`](Session::ready) again.
///
/// ```no_run
/// use hirelings_worker_kit::{BoxError, Job, Session};
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Double(u64);
/// # impl Job for Double { type Output = u64; type Progress = (); type Error = String; }
///
/// fn main() -> Result<(), BoxError> {
///     let mut session = Session::<Double>::connect()?;
///     session.ready()?;
///     while let Some(Double(n)) = session.next_job()? {
///         session.start()?;
///         session.success(&(2 * n))?;
///         session.ready()?;
///     }
///     Ok(())
/// }
/// ```
pub struct Session<J: Job> {
    pub(crate) link: Arc<Link>,
    /// The version of the protocol that holds.
    version: u16,
    options: Option<Payload>,
    /// Whether this is a fork server, which does no job itself.
    pub(crate) forks: bool,
    announces_start: bool,
    pub(crate) max_frame: usize,
    pub(crate) codec: Codec,
    /// The job that was taken and not yet answered.
    current: Option<(u64, u32)>,
    /// Whether the pool has been told that a job can come: none may be begun before.
    is_ready: bool,
    retired: bool,
    frame: Vec<u8>,
    /// How long the last answer was.
    before: usize,
    jobs: PhantomData<fn() -> J>,
}

/// A buffer that has held a frame larger than this becomes a spare one.
const KEPT: usize = 1024 * 1024;

/// The longest packet of a fork server.
const PACKET: usize = 64 * 1024;

impl<J: Job> Session<J> {
    /// A session over any two pipes. `flags` are those of the hello that not every worker sets.
    pub(crate) fn over(
        host: Host,
        input: OwnedFd,
        output: OwnedFd,
        announces_start: bool,
        flags: u32,
    ) -> Result<Self, BoxError> {
        let (wake_read, wake) = os_pipe::pipe()?;
        let link = Arc::new(Link::new(host, input, output, wake));
        let mut hello = Vec::new();
        wire::frame_into(&Hello::new(FROM_WORKER | ANSWERS_RECALLS | flags), J::name().as_bytes(), &mut hello);
        link.send_frame(&hello)?;

        let theirs = match link.read_frame::<Hello>() {
            Ok(frame) => frame.message,
            Err(Ended::Orphaned) => {
                return Err(
                    "its standard input ended without a hello: this program is a worker, which a pool starts".into()
                );
            }
            Err(other) => return Err(other.into()),
        };
        if theirs.magic != MAGIC || theirs.flags & FROM_WORKER != 0 {
            return Err("its standard input is not a pool's".into());
        }
        let Some(version) = theirs.common_version() else {
            let why = format!(
                "the pool speaks versions {} to {} of the protocol, this worker speaks {} to {}",
                theirs.lowest,
                theirs.highest,
                wire::LOWEST_VERSION,
                wire::VERSION
            );
            return Err(why.into());
        };
        link.handshake_done();
        guard::start(&link, wake_read.into(), announces_start)?;

        let init = link.read_frame::<ToWorker>()?;
        let ToWorker::Init { job_type, codec, max_frame, has_options } = init.message else {
            return refuse(&link, "the pool's first message is no init".into());
        };
        if job_type != J::name() {
            return refuse(&link, format!("this worker does jobs of type {}, the pool has {job_type}", J::name()));
        }
        let Some(codec) = Codec::named(&codec) else {
            let known = Codec::ALL.iter().map(|known| known.name()).collect::<Vec<_>>().join(" and ");
            return refuse(&link, format!("the pool encodes payloads as {codec}, this worker knows {known}"));
        };
        let max_frame = usize::try_from(max_frame).unwrap_or(usize::MAX);
        // What a fork server has to say goes in one packet.
        link.set_framing(if flags & FORKS == 0 { max_frame } else { max_frame.min(PACKET) }, codec);
        // The worker starts. Before, what arrives is the main thread's to read.
        link.next_epoch();
        Ok(Session {
            link,
            version,
            options: has_options.then_some(init.payload),
            forks: flags & FORKS != 0,
            announces_start,
            max_frame,
            codec,
            current: None,
            is_ready: false,
            retired: false,
            frame: Vec::new(),
            before: 0,
            jobs: PhantomData,
        })
    }

    /// The options that the pool's builder was given; `()` where it was given none.
    ///
    /// # Errors
    ///
    /// Where they are not a `T`.
    ///
    /// ```no_run
    /// # use hirelings_worker_kit::{BoxError, Job, Session};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Double(u64);
    /// # impl Job for Double { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(mut session: Session<Double>) -> Result<(), BoxError> {
    /// #[derive(serde::Deserialize)]
    /// struct Settings { quality: u8 }
    ///
    /// let Settings { quality } = session.options()?;
    /// session.ready()?;
    /// # Ok(()) }
    /// ```
    pub fn options<T: DeserializeOwned>(&self) -> Result<T, BoxError> {
        let decoded = match &self.options {
            Some(options) => self.codec.decode(options.as_slice()),
            // No bytes at all: what `()` is in bincode.
            None => wire::decode_payload(&[]),
        };
        decoded.map_err(|fault| match &self.options {
            Some(_) => format!("the pool's options are not a {}: {fault}", type_name::<T>()).into(),
            None => format!("the pool was given no options, this worker needs {}", type_name::<T>()).into(),
        })
    }

    /// Says that the worker can take a job: once at the start, and after each answer.
    ///
    /// # Errors
    ///
    /// Where a job was taken and not answered, or the pool cannot be reached.
    ///
    /// ```no_run
    /// # use hirelings_worker_kit::{BoxError, Job, Session};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Double(u64);
    /// # impl Job for Double { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(mut session: Session<Double>) -> Result<(), BoxError> {
    /// // What takes long comes first: until here the pool's `timeout_initializing` runs.
    /// let table: Vec<u64> = (0..1_000_000).map(|n| 2 * n).collect();
    /// session.ready()?;
    /// # Ok(()) }
    /// ```
    pub fn ready(&mut self) -> Result<(), BoxError> {
        if self.current.is_some() {
            return Err("a job was taken and not answered: call success or failure before ready".into());
        }
        Ok(self.say_ready()?)
    }

    pub(crate) fn say_ready(&mut self) -> Result<(), Ended> {
        self.is_ready = true;
        self.link.send_ready()
    }

    /// Blocks until there is a job. `None`: leave, the process should end; so it is after [`retire`](Session::retire).
    ///
    /// A job that cannot be decoded is answered as such, and the next one is waited for.
    ///
    /// # Errors
    ///
    /// Where the job before was not answered, [`ready`](Session::ready) was not called since, or the pool cannot be reached.
    ///
    /// ```no_run
    /// # use hirelings_worker_kit::{BoxError, Job, Session};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Double(u64);
    /// # impl Job for Double { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(mut session: Session<Double>) -> Result<(), BoxError> {
    /// while let Some(Double(n)) = session.next_job()? {
    ///     session.success(&(2 * n))?;
    ///     session.ready()?;
    /// }
    /// std::process::exit(0);
    /// # Ok(()) }
    /// ```
    pub fn next_job(&mut self) -> Result<Option<J>, BoxError> {
        if self.current.is_some() {
            return Err("a job was taken and not answered: call success or failure before next_job".into());
        }
        if !self.is_ready {
            return Err("the pool does not know that the worker is ready: call ready before next_job".into());
        }
        while let Some(queued) = self.take_job()? {
            match self.decode(&queued) {
                Ok(job) => return Ok(Some(job)),
                Err(fault) => self.undecodable(&fault, true)?,
            }
        }
        Ok(None)
    }

    /// The next job, still encoded; it is the current one from here on.
    pub(crate) fn take_job(&mut self) -> Result<Option<QueuedJob>, Ended> {
        // While it waits, it reads itself. At all other times the guard does.
        self.link.next_epoch();
        let Some(queued) = self.link.next_job()? else { return Ok(None) };
        self.is_ready = false;
        self.current = Some((queued.job, queued.attempt));
        self.link.begin(queued.job);
        self.link.next_epoch();
        Ok(Some(queued))
    }

    pub(crate) fn decode(&self, queued: &QueuedJob) -> Result<J, wire::CodecFault> {
        queued.payload.decode()
    }

    /// The current job's number; unique in its pool, and the same in each attempt. None between jobs.
    ///
    /// ```no_run
    /// # use hirelings_worker_kit::{BoxError, Job, Session};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Double(u64);
    /// # impl Job for Double { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(mut session: Session<Double>) -> Result<(), BoxError> {
    /// while let Some(Double(n)) = session.next_job()? {
    ///     eprintln!("job {:?} is to double {n}", session.job_id());
    ///     session.success(&(2 * n))?;
    ///     session.ready()?;
    /// }
    /// # Ok(()) }
    /// ```
    pub fn job_id(&self) -> Option<u64> {
        self.current.map(|(job, _)| job)
    }

    /// Which attempt of the current job this is, from 1. None between jobs.
    ///
    /// ```no_run
    /// # use hirelings_worker_kit::{BoxError, Job, Session};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Double(u64);
    /// # impl Job for Double { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(mut session: Session<Double>) -> Result<(), BoxError> {
    /// while let Some(Double(n)) = session.next_job()? {
    ///     if session.attempt() > Some(1) {
    ///         eprintln!("once more: {n}");
    ///     }
    ///     session.success(&(2 * n))?;
    ///     session.ready()?;
    /// }
    /// # Ok(()) }
    /// ```
    pub fn attempt(&self) -> Option<u32> {
        self.current.map(|(_, attempt)| attempt)
    }

    /// Says that the work on the current job has begun. The first progress or the answer says it too.
    ///
    /// # Errors
    ///
    /// Where there is no current job, or the pool cannot be reached.
    ///
    /// ```no_run
    /// # use hirelings_worker_kit::{BoxError, Job, Session};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Double(u64);
    /// # impl Job for Double { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(mut session: Session<Double>) -> Result<(), BoxError> {
    /// while let Some(Double(n)) = session.next_job()? {
    ///     // The pool's caller hears of it now, and not only with the answer.
    ///     session.start()?;
    ///     session.success(&(2 * n))?;
    ///     session.ready()?;
    /// }
    /// # Ok(()) }
    /// ```
    pub fn start(&mut self) -> Result<(), BoxError> {
        self.current.ok_or("start without a job: call next_job first")?;
        Ok(self.link.start()?)
    }

    /// Sends a progress of the current job. It is written at once, and blocks while the pool does not read.
    ///
    /// # Errors
    ///
    /// Where there is no current job, the progress cannot be encoded, or the pool cannot be reached.
    ///
    /// ```no_run
    /// # use hirelings_worker_kit::{BoxError, Job, Session};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Double(u64);
    /// # impl Job for Double { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(mut session: Session<Double>) -> Result<(), BoxError> {
    /// while let Some(Double(n)) = session.next_job()? {
    ///     session.progress(&0.5)?;
    ///     session.success(&(2 * n))?;
    ///     session.ready()?;
    /// }
    /// # Ok(()) }
    /// ```
    pub fn progress(&mut self, progress: &J::Progress) -> Result<(), BoxError> {
        let (job, _) = self.current.ok_or("progress without a job: call next_job first")?;
        self.put(&FromWorker::Progress { job }, progress)?;
        self.link.send_running(&self.frame)?;
        self.trim();
        Ok(())
    }

    /// Answers the current job with its output.
    ///
    /// # Errors
    ///
    /// Where there is no current job, or the pool cannot be reached. An output that cannot be encoded fails the job.
    ///
    /// ```no_run
    /// # use hirelings_worker_kit::{BoxError, Job, Session};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Double(u64);
    /// # impl Job for Double { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(mut session: Session<Double>) -> Result<(), BoxError> {
    /// while let Some(Double(n)) = session.next_job()? {
    ///     match n.checked_mul(2) {
    ///         Some(twice) => session.success(&twice)?,
    ///         None => session.failure(&format!("{n} is too large"))?,
    ///     }
    ///     session.ready()?;
    /// }
    /// # Ok(()) }
    /// ```
    pub fn success(&mut self, output: &J::Output) -> Result<(), BoxError> {
        self.answer(Ok(output), false)
    }

    /// Answers the current job with its own error.
    ///
    /// # Errors
    ///
    /// Where there is no current job, or the pool cannot be reached. An error that cannot be encoded fails the job.
    ///
    /// ```no_run
    /// # use hirelings_worker_kit::{BoxError, Job, Session};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Double(u64);
    /// # impl Job for Double { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(mut session: Session<Double>) -> Result<(), BoxError> {
    /// while let Some(Double(n)) = session.next_job()? {
    ///     // The job has failed; the worker goes on.
    ///     session.failure(&format!("{n} is not to be doubled today"))?;
    ///     session.ready()?;
    /// }
    /// # Ok(()) }
    /// ```
    pub fn failure(&mut self, error: &J::Error) -> Result<(), BoxError> {
        self.answer(Err(error), false)
    }

    /// Answers the current job with its own error, which is final: the job is not retried. A pool that speaks version 1 of the
    /// protocol only takes it for [`failure`](Session::failure).
    ///
    /// # Errors
    ///
    /// Where there is no current job, or the pool cannot be reached. An error that cannot be encoded fails the job.
    ///
    /// ```no_run
    /// # use hirelings_worker_kit::{BoxError, Job, Session};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Double(u64);
    /// # impl Job for Double { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(mut session: Session<Double>) -> Result<(), BoxError> {
    /// while let Some(Double(n)) = session.next_job()? {
    ///     match n.checked_mul(2) {
    ///         Some(twice) => session.success(&twice)?,
    ///         // It will be too large the next time as well.
    ///         None => session.final_failure(&format!("{n} is too large"))?,
    ///     }
    ///     session.ready()?;
    /// }
    /// # Ok(()) }
    /// ```
    pub fn final_failure(&mut self, error: &J::Error) -> Result<(), BoxError> {
        self.answer(Err(error), true)
    }

    /// Whether the pool has asked the current job to come to an end; see
    /// [`Context::is_cancelled`](crate::Context::is_cancelled). False between jobs.
    ///
    /// ```no_run
    /// # use hirelings_worker_kit::{BoxError, Job, Session};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Double(u64);
    /// # impl Job for Double { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(mut session: Session<Double>) -> Result<(), BoxError> {
    /// while let Some(Double(n)) = session.next_job()? {
    ///     if session.is_cancelled() {
    ///         session.failure(&"cancelled before it was begun".to_owned())?;
    ///     } else {
    ///         session.success(&(2 * n))?;
    ///     }
    ///     session.ready()?;
    /// }
    /// # Ok(()) }
    /// ```
    pub fn is_cancelled(&self) -> bool {
        self.current.is_some() && self.link.is_cancelled()
    }

    /// When this worker is killed if the current job has not been answered; see
    /// [`Context::deadline`](crate::Context::deadline). None between jobs.
    ///
    /// ```no_run
    /// # use hirelings_worker_kit::{BoxError, Job, Session};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Double(u64);
    /// # impl Job for Double { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(mut session: Session<Double>) -> Result<(), BoxError> {
    /// while let Some(Double(n)) = session.next_job()? {
    ///     if let Some(deadline) = session.deadline() {
    ///         eprintln!("{n} is to be doubled within {:?}", deadline - std::time::Instant::now());
    ///     }
    ///     session.success(&(2 * n))?;
    ///     session.ready()?;
    /// }
    /// # Ok(()) }
    /// ```
    pub fn deadline(&self) -> Option<Instant> {
        self.current.and_then(|_| self.link.deadline())
    }

    /// Says that the worker can go on no more, and ends the process: a current job settles as panicked or is retried.
    ///
    /// ```no_run
    /// # use hirelings_worker_kit::{BoxError, Job, Session};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Double(u64);
    /// # impl Job for Double { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(mut session: Session<Double>) -> Result<(), BoxError> {
    /// while let Some(Double(n)) = session.next_job()? {
    ///     let Ok(device) = std::fs::File::open("/dev/doubler") else {
    ///         session.terminal_failure("the device is gone");
    ///     };
    ///     session.success(&(2 * n))?;
    ///     session.ready()?;
    /// }
    /// # Ok(()) }
    /// ```
    pub fn terminal_failure(self, message: &str) -> ! {
        self.link.send_terminal(message.to_owned(), None, None);
        process::exit(1)
    }

    /// Asks to be replaced after the current job.
    ///
    /// # Errors
    ///
    /// Where there is no current job (the pool may have sent the next one already, and it would be lost), or the
    /// pool cannot be reached.
    ///
    /// ```no_run
    /// # use hirelings_worker_kit::{BoxError, Job, Session};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Double(u64);
    /// # impl Job for Double { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(mut session: Session<Double>) -> Result<(), BoxError> {
    /// while let Some(Double(n)) = session.next_job()? {
    ///     if n > 1_000_000 {
    ///         // What such a job takes is given back only by the process's end.
    ///         session.retire()?;
    ///     }
    ///     session.success(&(2 * n))?;
    ///     session.ready()?;
    /// }
    /// # Ok(()) }
    /// ```
    pub fn retire(&mut self) -> Result<(), BoxError> {
        self.current.ok_or("retire without a job: call it between next_job and the answer")?;
        Ok(self.say_retire()?)
    }

    pub(crate) fn say_retire(&mut self) -> Result<(), Ended> {
        if self.retired {
            return Ok(());
        }
        self.retired = true;
        self.link.retire()
    }

    fn answer(&mut self, outcome: Result<&J::Output, &J::Error>, is_final: bool) -> Result<(), BoxError> {
        self.current.ok_or("an answer without a job: call next_job first")?;
        Ok(self.answer_with(outcome, false, is_final)?)
    }

    fn answer_with(
        &mut self,
        outcome: Result<&J::Output, &J::Error>,
        ready: bool,
        is_final: bool,
    ) -> Result<(), Ended> {
        self.put_answer(outcome, ready, is_final);
        self.send_answer(ready)
    }

    /// Puts the answer to the current job together. `ready` says in the same frame that the next one can come, and `is_final`
    /// that an error is not to be retried.
    pub(crate) fn put_answer(&mut self, outcome: Result<&J::Output, &J::Error>, ready: bool, is_final: bool) {
        let Some((job, _)) = self.current else { return };
        let put = match outcome {
            Ok(output) => self.put(&FromWorker::Success { job, ready }, output),
            Err(error) if is_final && self.version >= 2 => self.put(&FromWorker::FinalFailure { job, ready }, error),
            Err(error) => self.put(&FromWorker::Failure { job, ready }, error),
        };
        if let Err(fault) = put {
            let (what, name) = match outcome {
                Ok(_) => (Fault::EncodeOutput, type_name::<J::Output>()),
                Err(_) => (Fault::EncodeError, type_name::<J::Error>()),
            };
            self.put_unusable(what, name, &fault, ready);
        }
    }

    /// The same where something of the job could not be decoded or encoded.
    pub(crate) fn put_unusable(&mut self, fault: Fault, type_name: &str, why: &wire::CodecFault, ready: bool) {
        let Some((job, _)) = self.current else { return };
        let message = FromWorker::Unusable {
            job,
            ready,
            fault,
            type_name: truncate(type_name.to_owned(), self.max_frame / 4),
            message: truncate(why.to_string(), self.max_frame / 4),
        };
        self.frame.clear();
        wire::frame_into(&message, &[], &mut self.frame);
    }

    /// Sends the answer that was put together. After it, whatever happens is not of this job any more.
    pub(crate) fn send_answer(&mut self, ready: bool) -> Result<(), Ended> {
        if self.current.take().is_none() {
            return Ok(());
        }
        self.is_ready = ready;
        self.link.finish(&self.frame)?;
        self.trim();
        Ok(())
    }

    /// Answers the current job: it could not be decoded.
    pub(crate) fn undecodable(&mut self, why: &wire::CodecFault, ready: bool) -> Result<(), Ended> {
        self.put_unusable(Fault::DecodeJob, type_name::<J>(), why, ready);
        self.send_answer(ready)
    }

    /// Puts a frame together, within the pool's limit.
    fn put<T: Serialize>(&mut self, message: &FromWorker, payload: &T) -> Result<(), wire::CodecFault> {
        if self.frame.capacity() == 0 {
            self.frame = self.link.buffers.buffer(self.before);
        }
        self.frame.clear();
        let start = wire::begin_frame(message, &mut self.frame);
        self.codec.encode(payload, &mut self.frame, self.max_frame.saturating_add(4))?;
        wire::end_frame(&mut self.frame, start, 0);
        Ok(())
    }

    fn trim(&mut self) {
        self.before = self.frame.len();
        if self.frame.capacity() > KEPT {
            self.link.buffers.keep(mem::take(&mut self.frame));
        }
    }
}

impl<J: Job> Session<J> {
    /// The session of a worker that was just forked from the fork server of this session.
    pub(crate) fn forked(self, input: OwnedFd, output: OwnedFd) -> Result<Self, BoxError> {
        let announces_start = self.announces_start;
        // Its end of the socket to the pool is the fork server's alone.
        drop(self);
        Self::over(Host::Process, input, output, announces_start, 0)
    }
}

/// Sends the pool the reason why this worker does not serve it.
fn refuse<T>(link: &Link, why: String) -> Result<T, BoxError> {
    link.send_terminal(why.clone(), None, None);
    Err(why.into())
}

impl<J: Job> fmt::Debug for Session<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("job_type", &type_name::<J>())
            .field("current", &self.current)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
