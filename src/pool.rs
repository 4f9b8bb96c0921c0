//! The pool: enqueuing, waiting, figures, hooks and the end.

use crate::clock;
use crate::dispatcher::HookId;
use crate::driver::{Admission, Command as ToDriver, PendingSubmit, Running, Waiter, WhenFull};
use crate::error::{EnqueueError, EnqueueErrorKind, ReadyError};
use crate::event::{Event, EventKind};
use crate::failure::Failure;
use crate::handle::JobHandle;
use crate::record::{JobRecord, Observers, Ticket};
use crate::settings::Settings;
use crate::shared::Shared;
use crate::spin::Spin;
use crate::stats::Drained;
use crate::subscription::Events;
use crate::supervisor::JobSettings;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use hirelings_worker_kit::Job;
use hirelings_worker_kit::wire::{CodecFault, Payload};
use parking_lot::Mutex;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

/// What a job's frame has beside the payload: the message `TimedJob`, the longer one of the two that carry a job.
const JOB_HEADER: usize = 24;

/// A pool of worker processes and the backlog of their jobs.
///
/// It is shared by reference or in an `Arc`; all its calls take `&self`. Dropping it is [`exit`](Pool::exit).
///
/// ```no_run
/// # use hirelings::{Job, Pool, self_exec};
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = (); type Error = String; }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = Pool::<Square>::builder(self_exec::<Square>()).max_processes(4).retries(1).build()?;
/// let handles: Vec<_> = (0..100).map(|n| pool.enqueue(Square(n))).collect();
/// for handle in handles {
///     println!("{}", handle.wait()?);
/// }
/// # Ok(()) }
/// ```
pub struct Pool<J: Job> {
    pub(crate) settings: Settings,
    pub(crate) shared: Arc<Shared>,
    next_job: AtomicU64,
    /// Set when `drain` or `exit` is called: no more jobs are accepted.
    closed: AtomicBool,
    /// The size of the last encoded job, in bytes: the first buffer for the next one is as large.
    encoded: AtomicUsize,
    pub(crate) built_at: SystemTime,
    /// From when the times of events are counted.
    pub(crate) started: Instant,
    supervisor: Mutex<Option<JoinHandle<()>>>,
    hook_thread: Mutex<Option<JoinHandle<()>>>,
    jobs: PhantomData<fn() -> J>,
}

/// A job that the pool did not take, with what was to go with it.
pub(crate) struct Rejected {
    pub(crate) kind: EnqueueErrorKind,
    pub(crate) message: String,
    pub(crate) settings: JobSettings,
    pub(crate) observers: Option<Box<Observers>>,
}

impl<J: Job> Pool<J> {
    pub(crate) fn new(
        settings: Settings,
        Running { commands, supervisor, started }: Running,
        hook_thread: JoinHandle<()>,
        built_at: SystemTime,
    ) -> Self {
        Pool {
            shared: Arc::new(Shared { commands, dispatcher: Arc::clone(&settings.dispatcher), spin: Spin::default() }),
            settings,
            next_job: AtomicU64::new(1),
            closed: AtomicBool::new(false),
            encoded: AtomicUsize::new(0),
            built_at,
            started,
            supervisor: Mutex::new(Some(supervisor)),
            hook_thread: Mutex::new(Some(hook_thread)),
            jobs: PhantomData,
        }
    }

    // ------------------------------------------------------------ jobs

    /// Enqueues a job. It is encoded once, in this thread.
    ///
    /// A handle is returned always: of a pool that takes no more jobs, or a job that cannot be encoded or is over
    /// `max_frame`, it is settled already. Blocks only where `max_backlog` is set and the backlog is full, and then until
    /// there is room or the pool is closed; on the hook thread it exceeds the limit instead.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// println!("{}", pool.enqueue(Square(7)).wait()?);
    /// # Ok(()) }
    /// ```
    #[must_use = "what becomes of the job is known by its handle only; a job whose result goes to a hook is a request"]
    pub fn enqueue(&self, job: J) -> JobHandle<J> {
        self.accept(&job, JobSettings::default(), None)
    }

    /// Enqueues a job, without ever blocking for room.
    ///
    /// # Errors
    ///
    /// The job is given back where the backlog is full, the pool takes no more jobs, or the job cannot be encoded or is
    /// over `max_frame`. A job that is refused has no events and is in no figure.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// match pool.try_enqueue(Square(7)) {
    ///     Ok(handle) => println!("{}", handle.wait()?),
    ///     Err(refused) => println!("{refused}; {} is still here", refused.rejected.0),
    /// }
    /// # Ok(()) }
    /// ```
    pub fn try_enqueue(&self, job: J) -> Result<JobHandle<J>, EnqueueError<J>> {
        self.offer(&job, JobSettings::default(), None, WhenFull::Refuse).map_err(|refused| EnqueueError {
            kind: refused.kind,
            rejected: job,
            message: refused.message,
        })
    }

    /// Enqueues, and makes of a refusal a handle that is settled.
    pub(crate) fn accept(&self, job: &J, settings: JobSettings, observers: Option<Box<Observers>>) -> JobHandle<J> {
        let when_full = if self.shared.dispatcher.is_this_thread() { WhenFull::Exceed } else { WhenFull::Wait };
        match self.offer(job, settings, observers, when_full) {
            Ok(handle) => handle,
            Err(refused) => {
                let failure = match refused.kind {
                    EnqueueErrorKind::Encode => Failure::NotEncoded(refused.message),
                    EnqueueErrorKind::Full | EnqueueErrorKind::Closed => Failure::Closed,
                };
                let record = JobRecord::settled_already(self.next_id(), failure, refused.observers);
                self.shared.dispatcher.settled_outside(&record);
                JobHandle::new(record, Arc::clone(&self.shared))
            }
        }
    }

    pub(crate) fn offer(
        &self,
        job: &J,
        settings: JobSettings,
        mut observers: Option<Box<Observers>>,
        when_full: WhenFull,
    ) -> Result<JobHandle<J>, Rejected> {
        if observers.as_ref().is_none_or(|observers| observers.label.is_none())
            && let Some(label) = job.label()
        {
            observers.get_or_insert_default().label = Some(label.into());
        }
        let closed = || (EnqueueErrorKind::Closed, format!("the pool {:?} takes no more jobs", self.settings.name));
        let refuse = |(kind, message), settings, observers| Err(Rejected { kind, message, settings, observers });
        if self.closed.load(Ordering::SeqCst) {
            return refuse(closed(), settings, observers);
        }
        let payload = match self.encode(job) {
            Ok(payload) => payload,
            Err(fault) => return refuse((EnqueueErrorKind::Encode, fault.to_string()), settings, observers),
        };
        let record = JobRecord::new(self.next_id(), payload, observers);
        let ticket = Ticket::new(Arc::clone(&record));
        if !self.settings.is_limited {
            let sent = self.shared.commands.send(ToDriver::Enqueue(ticket, settings)).is_ok();
            // Where the pool was closed just now, it may have ended before it took the job.
            if !sent || self.closed.load(Ordering::SeqCst) && !self.shared.is_running() {
                record.settle_outside(Failure::Closed);
                self.shared.dispatcher.settled_outside(&record);
            }
            return Ok(JobHandle::new(record, Arc::clone(&self.shared)));
        }
        let (reply, admission) = bounded(1);
        let job = Box::new(PendingSubmit { ticket, settings: settings.clone(), reply });
        let sent = self.shared.commands.send(ToDriver::Submit(job, when_full));
        match sent.ok().and_then(|()| admission.recv().ok()) {
            Some(Admission::Accepted) => Ok(JobHandle::new(record, Arc::clone(&self.shared))),
            Some(Admission::Full) => {
                let full = format!("the backlog of the pool {:?} is full", self.settings.name);
                refuse((EnqueueErrorKind::Full, full), settings, record.take_observers())
            }
            Some(Admission::Closed) | None => refuse(closed(), settings, record.take_observers()),
        }
    }

    fn encode(&self, job: &J) -> Result<Payload, CodecFault> {
        let Settings { codec, max_frame, ref buffers, .. } = self.settings;
        let mut bytes = buffers.buffer(self.encoded.load(Ordering::Relaxed));
        codec.encode(job, &mut bytes, max_frame - JOB_HEADER)?;
        self.encoded.store(bytes.len(), Ordering::Relaxed);
        Ok(Payload::tail(bytes, 0, codec, buffers))
    }

    fn next_id(&self) -> u64 {
        self.next_job.fetch_add(1, Ordering::Relaxed)
    }

    // ------------------------------------------------------------ workers

    /// Starts all `max_processes` workers now, rather than as jobs need them; an [`EventKind::Ready`]
    /// event follows when all are ready. Does nothing once the pool is closed.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// pool.on(EventKind::Ready, |_| println!("all are ready"));
    /// pool.spawn_workers();
    /// # Ok(()) }
    /// ```
    pub fn spawn_workers(&self) {
        let _ = self.shared.commands.send(ToDriver::SpawnWorkers);
    }

    /// Starts all workers, and blocks until each slot's is past its first ready, for at most `limit`.
    ///
    /// A worker that leaves meanwhile, because of its age, its number of jobs or a crash in one, is replaced, and its successor is
    /// waited for; none leaves because it is idle. So a [`max_age`](crate::PoolBuilder::max_age) that is shorter than the start of
    /// all workers keeps this waiting until `limit`.
    ///
    /// # Errors
    ///
    /// If they are not ready in time, do not start, or the pool is closed. The error has the program, its exit status, and
    /// the last lines of its standard error.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// // In a service's start: it ends here, with a message, if its workers do not start.
    /// pool.wait_ready(std::time::Duration::from_secs(10))?;
    /// # Ok(()) }
    /// ```
    pub fn wait_ready(&self, limit: Duration) -> Result<(), ReadyError> {
        let ended = || ReadyError { message: format!("the pool {:?} has ended", self.settings.name), failure: None };
        match self.wait_for(ToDriver::WaitReady, |decision| decision.recv_timeout(limit)) {
            Some(Ok(decision)) => decision,
            Some(Err(RecvTimeoutError::Timeout)) => {
                let failure = self.ask(ToDriver::Trouble).and_then(|trouble| trouble.recv().ok()).flatten();
                Err(ReadyError {
                    message: format!("the workers were not ready within {limit:?}"),
                    failure: failure.map(Box::new),
                })
            }
            Some(Err(RecvTimeoutError::Disconnected)) | None => Err(ended()),
        }
    }

    /// Blocks until the backlog is empty and no worker is busy, or the pool has ended. While the pool is
    /// [paused](Pool::pause) with a backlog, that is not before it is resumed.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// for n in 0..100 {
    ///     pool.request(Square(n)).on_success(|square| println!("{square}")).enqueue();
    /// }
    /// pool.wait_idle();
    /// # Ok(()) }
    /// ```
    pub fn wait_idle(&self) {
        let _ = self.wait_for(ToDriver::WaitIdle, |idle| idle.recv());
    }

    /// Like [`wait_idle`](Pool::wait_idle), for at most `limit`. Returns `false` if the pool was busy all that time, and
    /// `true` if it has ended.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # use std::time::Duration;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// while !pool.wait_idle_timeout(Duration::from_secs(1)) {
    ///     println!("{} jobs wait", pool.stats().backlog);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn wait_idle_timeout(&self, limit: Duration) -> bool {
        let waited = self.wait_for(ToDriver::WaitIdle, |idle| idle.recv_timeout(limit));
        !matches!(waited, Some(Err(RecvTimeoutError::Timeout)))
    }

    /// Sends a command and gives the channel of its answer. None if the pool has ended.
    pub(crate) fn ask<A>(&self, command: impl FnOnce(Sender<A>) -> ToDriver) -> Option<Receiver<A>> {
        let (reply, answer) = bounded(1);
        self.shared.commands.send(command(reply)).is_ok().then_some(answer)
    }

    /// Sends a command that may never be answered, and waits for its answer as `wait` does. None if the pool has ended.
    fn wait_for<A, T>(
        &self,
        command: impl FnOnce(Waiter<A>) -> ToDriver,
        wait: impl FnOnce(Receiver<A>) -> T,
    ) -> Option<T> {
        let caller = Arc::new(());
        let (waiter, answer) = Waiter::new(&caller);
        self.shared.commands.send(command(waiter)).ok()?;
        Some(self.shared.dispatcher.blocking(|| wait(answer)))
    }

    // ------------------------------------------------------------ events

    /// Calls `f` with each event of `kind`, on the pool's hook thread, until the hook is removed or the pool has
    /// ended. A hook never replaces another one. If a hook panics, the panic is caught and logged. After the pool has ended
    /// no hook is called.
    ///
    /// No event is left out. Events that wait for a slow hook are kept in memory without a limit; each takes less than 200
    /// bytes, plus what it holds. Progress and lines of standard error alone are limited, to 16 MiB and 1 MiB a
    /// worker, which is then read no further. A reader that may fall behind is better off with [`events`](Pool::events).
    ///
    /// A hook may wait for a job, or until the pool is idle. The other hooks are called after it. These limits do not apply
    /// while it waits. It should not read a [`ProgressStream`](crate::ProgressStream) of a job whose progress
    /// other hooks are called with too: over 16 MiB that job would wait for the hooks, and this one for the job.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// pool.on(EventKind::WorkerTimeout, |event| println!("{event}"));
    /// # Ok(()) }
    /// ```
    pub fn on(&self, kind: EventKind, f: impl FnMut(&Event) + Send + 'static) -> HookId {
        self.shared.dispatcher.add(Some(kind), f)
    }

    /// Calls `f` with every event, under the same rules as [`on`](Pool::on).
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// pool.on_event(|event| log::debug!("{event}"));
    /// # Ok(()) }
    /// ```
    pub fn on_event(&self, f: impl FnMut(&Event) + Send + 'static) -> HookId {
        self.shared.dispatcher.add(None, f)
    }

    /// Removes a hook. Returns `false` if there is no such hook, as in a pool that has ended. A hook may call this.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// // To look closely at one job.
    /// let hook = pool.on_event(|event| eprintln!("{event}"));
    /// println!("{:?}", pool.enqueue(Square(7)).wait());
    /// pool.remove_hook(hook);
    /// # Ok(()) }
    /// ```
    pub fn remove_hook(&self, id: HookId) -> bool {
        self.shared.dispatcher.remove(id)
    }

    /// An iterator over all events from now on. It ends when the pool ends, and is empty if the pool has ended already.
    ///
    /// The events of a job's end come a moment before its handle has the result: `wait` returns at once then, and
    /// [`try_wait`](crate::JobHandle::try_wait) may be too early.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// let events = pool.events();
    /// pool.enqueue(Square(7)).wait()?;
    /// pool.exit();
    /// for event in events {
    ///     println!("{event}");
    /// }
    /// # Ok(()) }
    /// ```
    pub fn events(&self) -> Events {
        let (events, subscriber) = Events::new();
        self.shared.dispatcher.subscribe(subscriber);
        events
    }

    // ------------------------------------------------------------ the end

    /// Ends the pool now: no more jobs are taken, and all that are not settled settle as
    /// [`Closed`](crate::JobError::Closed). Workers that wait for a job are told to leave, so that what they hold is dropped;
    /// SIGTERM follows after 100 ms, or after `kill_grace` where that is shorter. All others are killed: SIGTERM, and SIGKILL
    /// after `kill_grace`.
    ///
    /// Returns once every child is reaped and every hook has run; on the hook thread, once every child is reaped.
    ///
    /// It may be called any number of times, from several threads.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// let handle = pool.enqueue(Square(7));
    /// pool.exit();
    /// // Done just before the end, or closed: it is settled in any case.
    /// println!("{:?}", handle.wait());
    /// # Ok(()) }
    /// ```
    pub fn exit(&self) {
        self.closed.store(true, Ordering::SeqCst);
        let _ = self.shared.commands.send(ToDriver::Exit);
        self.join();
    }

    /// Takes no more jobs, goes on until all are settled (retries and recycling included) or `limit` has passed, then exits.
    /// A `limit` of `Duration::MAX` is none. A pool that is [paused](Pool::pause) is resumed.
    ///
    /// What [`exit`](Pool::exit) says of its return holds here. Of a pool that has ended both figures are 0.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # use std::time::Duration;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// // A service was asked to stop.
    /// let drained = pool.drain(Duration::from_secs(30));
    /// if drained.left > 0 {
    ///     eprintln!("{} jobs were given up", drained.left);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn drain(&self, limit: Duration) -> Drained {
        self.closed.store(true, Ordering::SeqCst);
        let deadline = clock::now().checked_add(limit);
        let unsettled = self.ask(ToDriver::Close).and_then(|unsettled| unsettled.recv().ok());
        let _ = self.wait_for(ToDriver::WaitIdle, |idle| match deadline {
            Some(deadline) => idle.recv_deadline(deadline),
            None => idle.recv().map_err(|_| RecvTimeoutError::Disconnected),
        });
        let _ = self.shared.commands.send(ToDriver::Exit);
        self.join();
        // Somebody else may have ended the pool before its jobs were settled.
        let given_up = self.settings.given_up.get().copied().unwrap_or(0);
        let (unsettled, left) = unsettled.map_or((0, 0), |unsettled| (unsettled, given_up));
        Drained { finished: unsettled.saturating_sub(left), left }
    }

    /// Waits for the threads; whoever comes second waits for the one who came first.
    fn join(&self) {
        if let Some(supervisor) = (*self.supervisor.lock()).take() {
            let _ = supervisor.join();
        }
        if !self.shared.dispatcher.is_this_thread()
            && let Some(hooks) = (*self.hook_thread.lock()).take()
        {
            let _ = hooks.join();
        }
    }
}

impl<J: Job> Drop for Pool<J> {
    fn drop(&mut self) {
        self.exit();
    }
}

impl<J: Job> fmt::Debug for Pool<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("name", &self.settings.name).field("job_type", &J::name()).finish_non_exhaustive()
    }
}
