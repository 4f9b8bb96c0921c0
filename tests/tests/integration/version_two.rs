//! What version 2 of the protocol adds, said to a worker of the kit by hand, and by a pool.

use hirelings::JobError;
use hirelings_tests::processes::is_stopped;
use hirelings_tests::{Do, Scratch, Told, WATCHDOG, eventually, pool, program, settled};
use hirelings_worker_kit::Job;
use hirelings_worker_kit::wire::{
    FrameBuffer, FromWorker, Hello, PAYLOAD_CODEC, ToWorker, WireMessage, decode_payload, encode_payload, frame_into,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process_group};
use std::io::Write;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A worker process, and this test in the place of its pool.
struct Alone {
    process: Child,
    input: ChildStdin,
    output: ChildStdout,
    arrived: FrameBuffer,
}

impl Alone {
    /// One that is ready; the pool's hello names this version as the highest.
    fn start(highest: u16) -> Alone {
        let mut command = Command::new(program("worker"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut process = command.spawn().unwrap();
        let (input, output) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        let mut alone = Alone { process, input, output, arrived: FrameBuffer::new(1 << 20) };
        let mut frames = Vec::new();
        frame_into(&Hello { highest, ..Hello::new(0) }, &[], &mut frames);
        let (job_type, codec) = (Do::name().into(), PAYLOAD_CODEC.into());
        frame_into(&ToWorker::Init { job_type, codec, max_frame: 1 << 20, has_options: false }, &[], &mut frames);
        alone.input.write_all(&frames).unwrap();
        alone.next::<Hello>();
        assert_eq!(alone.next::<FromWorker>().0, FromWorker::Ready);
        alone
    }

    fn write(&mut self, messages: &[(ToWorker, Option<Do>)]) {
        let mut frames = Vec::new();
        for (message, job) in messages {
            let mut payload = Vec::new();
            if let Some(job) = job {
                encode_payload(job, &mut payload, 1 << 20).unwrap();
            }
            frame_into(message, &payload, &mut frames);
        }
        self.input.write_all(&frames).unwrap();
    }

    fn next<M: WireMessage>(&mut self) -> (M, Vec<u8>) {
        let limit = Timespec::try_from(WATCHDOG).unwrap();
        loop {
            if let Some(frame) = self.arrived.next_frame::<M>().unwrap() {
                return (frame.message, frame.payload.as_slice().to_vec());
            }
            assert_eq!(poll(&mut [PollFd::new(&self.output, PollFlags::IN)], Some(&limit)), Ok(1), "it writes nothing");
            assert!(self.arrived.fill(&self.output).unwrap() > 0, "the worker has ended");
        }
    }

    /// The next message but Start.
    fn answer(&mut self) -> (FromWorker, Vec<u8>) {
        loop {
            let (message, payload) = self.next();
            if !matches!(message, FromWorker::Start { .. }) {
                return (message, payload);
            }
        }
    }

    /// What the job that is answered next has returned.
    fn success(&mut self, job: u64) -> String {
        let (message, payload) = self.answer();
        assert_eq!(message, FromWorker::Success { job, ready: true });
        decode_payload(&payload).unwrap()
    }

    /// Blocks until the running job tells that it waits.
    fn until_it_waits(&mut self, job: u64) {
        let (message, payload) = self.answer();
        assert_eq!(message, FromWorker::Progress { job });
        assert_eq!(decode_payload::<Told>(&payload).unwrap(), Told::Waiting);
    }

    fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the worker ends", || {
            status = self.process.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    fn leaves(mut self) {
        self.write(&[(ToWorker::Leave, None)]);
        assert_eq!(self.ended().code(), Some(0));
    }
}

fn job(job: u64, what: Do) -> (ToWorker, Option<Do>) {
    (ToWorker::Job { job, attempt: 1 }, Some(what))
}

fn cancel(job: u64) -> (ToWorker, Option<Do>) {
    (ToWorker::Cancel { job, within_ms: u64::MAX }, None)
}

#[test]
fn a_running_job_sees_that_it_is_cancelled() {
    let mut worker = Alone::start(2);
    worker.write(&[job(1, Do::UntilCancelled)]);
    worker.until_it_waits(1);
    worker.write(&[cancel(1)]);
    assert_eq!(worker.success(1), "cancelled");
    worker.leaves();
}

#[test]
fn a_cancelled_job_that_waits_sees_it_from_its_start() {
    let mut worker = Alone::start(2);
    worker.write(&[job(1, Do::UntilCancelled), job(2, Do::UntilCancelled)]);
    worker.until_it_waits(1);
    worker.write(&[cancel(2), cancel(1)]);
    assert_eq!(worker.success(1), "cancelled");
    worker.until_it_waits(2);
    assert_eq!(worker.success(2), "cancelled");
    worker.leaves();
}

#[test]
fn a_cancel_concerns_no_other_job() {
    let mut worker = Alone::start(2);
    worker.write(&[job(1, Do::Pid)]);
    worker.success(1);
    // It comes too late, and says nothing of the next job.
    worker.write(&[cancel(1), job(2, Do::UntilCancelled)]);
    worker.until_it_waits(2);
    worker.write(&[cancel(1), cancel(7), (ToWorker::Heartbeat { silence_ms: 60_000 }, None)]);
    assert_eq!(worker.answer().0, FromWorker::Alive, "it has read the others by now, and has not come to its end");
    worker.write(&[cancel(2)]);
    assert_eq!(worker.success(2), "cancelled");
    worker.leaves();
}

#[test]
fn a_job_knows_its_deadline() {
    let mut worker = Alone::start(2);
    let timed = |job| (ToWorker::TimedJob { job, attempt: 1, limit_ms: 3_600_000 }, Some(Do::Deadline));
    worker.write(&[job(1, Do::Deadline)]);
    assert_eq!(worker.success(1), "none");
    worker.write(&[timed(2)]);
    let left: u64 = worker.success(2).parse().unwrap();
    assert!((3_500_000..=3_600_000).contains(&left), "{left}");
    // A cancel's grace time is the deadline where it is the earlier one.
    worker.write(&[job(3, Do::UntilCancelled), timed(4)]);
    worker.until_it_waits(3);
    worker.write(&[(ToWorker::Cancel { job: 4, within_ms: 600_000 }, None), cancel(3)]);
    worker.success(3);
    let left: u64 = worker.success(4).parse().unwrap();
    assert!((500_000..=600_000).contains(&left), "{left}");
    worker.leaves();
}

#[test]
fn a_final_failure_is_one_in_version_2_only() {
    for (highest, answer) in
        [(2, FromWorker::FinalFailure { job: 1, ready: true }), (1, FromWorker::Failure { job: 1, ready: true })]
    {
        let mut worker = Alone::start(highest);
        worker.write(&[job(1, Do::FailForGood("never".into()))]);
        let (message, payload) = worker.answer();
        assert_eq!(message, answer);
        assert_eq!(decode_payload::<String>(&payload).unwrap(), "never");
        worker.leaves();
    }
}

#[test]
fn a_heartbeat_is_answered_at_any_time() {
    let heartbeat = || (ToWorker::Heartbeat { silence_ms: 60_000 }, None);
    let mut worker = Alone::start(2);
    worker.write(&[heartbeat()]);
    assert_eq!(worker.answer().0, FromWorker::Alive, "without a job");
    worker.write(&[job(1, Do::UntilCancelled)]);
    worker.until_it_waits(1);
    for _ in 0..3 {
        worker.write(&[heartbeat()]);
        assert_eq!(worker.answer().0, FromWorker::Alive, "while a job runs");
    }
    worker.write(&[cancel(1)]);
    worker.success(1);
    worker.leaves();
}

/// One that was stopped before it has read its first limit of silence, for longer than that, begins nothing that it finds.
#[test]
fn the_first_limit_of_silence_counts_from_ready() {
    const SILENCE: Duration = Duration::from_millis(300);
    let made = Scratch::new();
    let mut worker = Alone::start(2);
    let group = Pid::from_child(&worker.process);
    kill_process_group(group, Signal::STOP).unwrap();
    eventually("it is stopped", || is_stopped(worker.process.id()));
    let silence_ms = SILENCE.as_millis() as u64;
    worker.write(&[(ToWorker::Heartbeat { silence_ms }, None), job(1, Do::Append(made.path(), "begun".into()))]);
    let stopped = Instant::now();
    eventually("the limit is over", || stopped.elapsed() > SILENCE);
    kill_process_group(group, Signal::CONT).unwrap();
    assert_eq!(worker.ended().signal(), Some(9), "it ends its group");
    assert!(made.lines().is_empty(), "it has begun a job");
}

/// The worker's group ends once the pool has been silent for as long as it said; not before, and not without a limit.
#[test]
fn a_silent_pool_ends_its_worker() {
    const SILENCE: Duration = Duration::from_millis(300);
    for what in [None, Some(Do::Spin)] {
        let mut worker = Alone::start(2);
        // The first limit counts from Ready.
        worker.write(&[(ToWorker::Heartbeat { silence_ms: 3_600_000 }, None)]);
        assert_eq!(worker.answer().0, FromWorker::Alive);
        worker.write(&what.map(|what| job(1, what)).into_iter().collect::<Vec<_>>());
        let silence_ms = SILENCE.as_millis() as u64;
        let begun = Instant::now();
        worker.write(&[(ToWorker::Heartbeat { silence_ms }, None)]);
        assert_eq!(worker.answer().0, FromWorker::Alive);
        assert_eq!(worker.ended().signal(), Some(9), "it ends its group");
        assert!(begun.elapsed() >= SILENCE, "{:?}", begun.elapsed());
    }
}

#[test]
fn a_final_error_is_not_retried() {
    let pool = pool().max_processes(1).retries(3).build().unwrap();
    let error = settled(pool.enqueue(Do::FailForGood("never".into()))).unwrap_err();
    assert!(matches!(&error, JobError::Failed(why) if why == "never"), "{error:?}");
    assert_eq!((pool.stats().retried, pool.stats().failed), (0, 1));
    // Another error of the same worker is retried.
    assert!(settled(pool.enqueue(Do::FailUntil(2))).is_ok());
    assert_eq!((pool.stats().retried, pool.stats().spawned), (1, 1));
}

#[test]
fn a_handler_may_ask_until_when_it_may_work() {
    let pool = pool().max_processes(1).timeout_working(Some(Duration::from_secs(3600))).build().unwrap();
    let left = |request: hirelings::JobRequest<'_, Do>| settled(request.enqueue()).unwrap();
    let within = |left: &str, most: u64| (most - 100_000..=most).contains(&left.parse().unwrap());
    let pools = left(pool.request(Do::Deadline));
    assert!(within(&pools, 3_600_000), "{pools}");
    let own = left(pool.request(Do::Deadline).timeout(Duration::from_secs(600)));
    assert!(within(&own, 600_000), "{own}");
    assert_eq!(left(pool.request(Do::Deadline).timeout(None)), "none");
    // Those that were prefetched have their own as well.
    let many: Vec<_> = (0..200).map(|_| pool.enqueue(Do::Deadline)).collect();
    assert!(many.into_iter().all(|handle| within(&settled(handle).unwrap(), 3_600_000)));
}
