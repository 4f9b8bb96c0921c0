//! One job's state, which its handle, the supervisor's thread and the hook thread share. It is settled in `ticket`.

mod ticket;

pub(crate) use ticket::{Released, Ticket};

use crate::budget::Held;
use crate::failure::{Failure, Settled};
use crate::progress::EncodedProgress;
use crate::report::{JobReport, PackedReport};
use crate::supervisor::{Begun, JobKey};
use crossbeam_channel::Sender;
use hirelings_worker_kit::wire::Payload;
use parking_lot::{Condvar, Mutex};
use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// Where a job is.
///
/// ```no_run
/// # use hirelings::*;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
/// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
/// match pool.enqueue(Square(7)).status() {
///     JobStatus::Queued => println!("it waits"),
///     JobStatus::Running { pid, attempt } => println!("process {pid} has it, attempt {attempt}"),
///     _ => println!("it is settled"),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JobStatus {
    /// It waits for a worker, the first time or to be retried.
    Queued,
    /// A worker has it.
    Running {
        /// The worker's process id.
        pid: u32,
        /// Which attempt this is, from 1.
        attempt: u32,
    },
    /// It is settled.
    Finished,
}

/// One job. A queued one is small: what most jobs lack is in [`Observers`].
pub(crate) struct JobRecord {
    pub(crate) id: u64,
    state: Mutex<State>,
    settled: Condvar,
}

struct State {
    /// Its place in the supervisor's table.
    place: u32,
    history: History,
    stage: Stage,
    observers: Option<Box<Observers>>,
}

enum Stage {
    Queued(Payload),
    Running { payload: Payload, pid: u32, attempt: u32 },
    Settled(Box<Ended>),
}

/// What a job came to. Boxed: a queued job needs no room for it.
struct Ended {
    settled: Settled,
    report: PackedReport,
}

/// The label, hooks and streams of a job that has any.
#[derive(Default)]
pub(crate) struct Observers {
    pub(crate) label: Option<Arc<str>>,
    /// Whether there are hooks, including those that the hook thread has not added yet.
    hooked: bool,
    /// How many updates the hook thread was sent, or will be.
    updates: u64,
    /// For how many of them it has called the hooks.
    called_for: u64,
    hooks: Vec<JobHook>,
    /// Hooks that came to the hook thread before an update that had happened when they were added.
    early: Vec<(JobHook, Seen)>,
    streams: Vec<Sender<EncodedProgress>>,
    /// What these hold of the room of each worker that had the job.
    held: Vec<Arc<Held>>,
    /// The channel that receives a number when the job is settled, and that number.
    finished: Option<(Sender<usize>, usize)>,
    /// The task that awaits it.
    waker: Option<Waker>,
}

/// Called with the failure, and the number of attempts that were made.
type RetryHook = Box<dyn FnMut(&Failure, u32) + Send>;

/// Called with the result, and the number of attempts that were made.
type DoneHook = Box<dyn FnOnce(&Settled, u32) + Send>;

/// A caller's hook on one job; what it is given is still encoded.
pub(crate) enum JobHook {
    Start { called: u32, hook: Box<dyn FnMut() + Send> },
    Progress(Box<dyn FnMut(&Payload) + Send>),
    Retry(RetryHook),
    Done(DoneHook),
}

impl JobHook {
    pub(crate) fn start(hook: impl FnMut() + Send + 'static) -> Self {
        JobHook::Start { called: 0, hook: Box::new(hook) }
    }
}

/// What had happened to a job when a hook was added.
#[derive(Clone, Copy)]
pub(crate) struct Seen {
    /// How many attempts had begun.
    started: u32,
    settled: bool,
    /// How many updates the hook thread was sent, or will be.
    updates: u64,
}

/// Something that happened to a job, for its hooks.
pub(crate) enum JobUpdate {
    Start(u32),
    Progress(EncodedProgress),
    Retry {
        failure: Arc<Failure>,
        /// The one that has failed: a later one may have begun by the time the hooks are called.
        attempt: u32,
    },
    Done,
}

impl JobRecord {
    pub(crate) fn new(id: u64, payload: Payload, observers: Option<Box<Observers>>) -> Arc<Self> {
        let state =
            State { place: JobKey::NOWHERE, history: History::default(), stage: Stage::Queued(payload), observers };
        Arc::new(JobRecord { id, state: Mutex::new(state), settled: Condvar::new() })
    }

    // ------------------------------------------------------------ the supervisor's thread

    pub(crate) fn set_key(&self, key: JobKey) {
        self.state.lock().place = key.place;
    }

    /// Its key in the supervisor's table, if it ever was there.
    pub(crate) fn key(&self) -> Option<JobKey> {
        let place = self.state.lock().place;
        (place != JobKey::NOWHERE).then_some(JobKey { place, id: self.id })
    }

    pub(crate) fn label(&self) -> Option<Arc<str>> {
        self.state.lock().observers.as_ref()?.label.clone()
    }

    /// The encoded job; empty once it is settled.
    pub(crate) fn payload(&self) -> Payload {
        match &self.state.lock().stage {
            Stage::Queued(payload) | Stage::Running { payload, .. } => payload.clone(),
            Stage::Settled(..) => Payload::Empty,
        }
    }

    /// How many bytes the encoded job has; none once it is settled.
    pub(crate) fn payload_len(&self) -> usize {
        match &self.state.lock().stage {
            Stage::Queued(payload) | Stage::Running { payload, .. } => payload.len(),
            Stage::Settled(..) => 0,
        }
    }

    pub(crate) fn set_running(&self, pid: u32, attempt: u32) {
        let mut state = self.state.lock();
        if let Stage::Queued(payload) | Stage::Running { payload, .. } = &mut state.stage {
            let payload = mem::take(payload);
            state.stage = Stage::Running { payload, pid, attempt };
        }
    }

    /// A worker has begun it. Returns whether the job has hooks, and then the hook thread is to be sent the update; as do
    /// `set_retried` and `progressed`.
    pub(crate) fn set_started(&self, attempt: u32) -> bool {
        let mut state = self.state.lock();
        state.history.set_started(attempt);
        state.update()
    }

    /// It is to be retried.
    pub(crate) fn set_retried(&self, begun: Begun) -> bool {
        let mut state = self.state.lock();
        state.set_queued_again(begun);
        state.update()
    }

    /// It came back from a worker that had not read it.
    pub(crate) fn set_returned(&self, begun: Begun) {
        self.state.lock().set_queued_again(begun);
    }

    /// Whether a hook or a stream wants its progress.
    pub(crate) fn wants_progress(&self) -> bool {
        let state = self.state.lock();
        state.observers.as_ref().is_some_and(|observers| observers.hooked || !observers.streams.is_empty())
    }

    /// Sends a progress to the streams.
    pub(crate) fn progressed(&self, progress: &EncodedProgress) -> bool {
        let mut state = self.state.lock();
        if let Some(observers) = state.observers.as_mut().filter(|observers| !observers.streams.is_empty()) {
            let progress = progress.in_streams(&mut observers.held);
            observers.streams.retain(|stream| stream.send(progress.clone()).is_ok());
        }
        state.update()
    }

    // ------------------------------------------------------------ the callers

    pub(crate) fn begun(&self) -> Begun {
        let state = self.state.lock();
        match state.stage {
            Stage::Running { .. } if state.history.started() > 0 => Begun::Yes,
            Stage::Running { .. } => Begun::Perhaps,
            Stage::Queued(_) | Stage::Settled(_) => state.history.begun(),
        }
    }

    /// How many attempts have begun.
    pub(crate) fn attempts(&self) -> u32 {
        self.state.lock().history.started()
    }

    pub(crate) fn status(&self) -> JobStatus {
        match self.state.lock().stage {
            Stage::Queued(..) => JobStatus::Queued,
            Stage::Running { pid, attempt, .. } => JobStatus::Running { pid, attempt },
            Stage::Settled(..) => JobStatus::Finished,
        }
    }

    pub(crate) fn is_settled(&self) -> bool {
        matches!(self.state.lock().stage, Stage::Settled(..))
    }

    pub(crate) fn try_outcome(&self) -> Option<Settled> {
        match &self.state.lock().stage {
            Stage::Settled(ended) => Some(ended.settled.clone()),
            _ => None,
        }
    }

    /// Blocks until it is settled.
    pub(crate) fn outcome(&self) -> Settled {
        self.ended(|ended| ended.settled.clone())
    }

    /// The same, with what it took.
    pub(crate) fn outcome_with_report(&self) -> (Settled, JobReport) {
        self.ended(|ended| (ended.settled.clone(), ended.report.into()))
    }

    fn ended<T>(&self, of: impl FnOnce(&Ended) -> T) -> T {
        let mut state = self.state.lock();
        loop {
            if let Stage::Settled(ended) = &state.stage {
                return of(ended);
            }
            self.settled.wait(&mut state);
        }
    }

    /// The same, until `deadline`.
    pub(crate) fn outcome_until(&self, deadline: Instant) -> Option<Settled> {
        let mut state = self.state.lock();
        loop {
            if let Stage::Settled(ended) = &state.stage {
                return Some(ended.settled.clone());
            }
            if self.settled.wait_until(&mut state, deadline).timed_out() {
                return match &state.stage {
                    Stage::Settled(ended) => Some(ended.settled.clone()),
                    _ => None,
                };
            }
        }
    }

    /// The outcome, if it is settled; else the task is woken once it is.
    pub(crate) fn poll_outcome(&self, context: &Context<'_>) -> Poll<Settled> {
        let mut state = self.state.lock();
        if let Stage::Settled(ended) = &state.stage {
            return Poll::Ready(ended.settled.clone());
        }
        let waker = &mut state.observers.get_or_insert_default().waker;
        match waker {
            Some(waker) => waker.clone_from(context.waker()),
            None => *waker = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    /// Sends `number` once it is settled, which may be at once.
    pub(crate) fn send_when_finished(&self, finished: Sender<usize>, number: usize) {
        let mut state = self.state.lock();
        if let Stage::Settled(..) = state.stage {
            let _ = finished.send(number);
        } else {
            state.observers.get_or_insert_default().send_when_finished(finished, number);
        }
    }

    /// Adds a stream of what comes from now on; it ends at once where the job is settled.
    pub(crate) fn stream(&self, stream: Sender<EncodedProgress>) {
        let mut state = self.state.lock();
        if !matches!(state.stage, Stage::Settled(..)) {
            state.observers.get_or_insert_default().streams.push(stream);
        }
    }

    /// Takes the observers back from a job that was refused.
    pub(crate) fn take_observers(&self) -> Option<Box<Observers>> {
        self.state.lock().observers.take()
    }

    /// Whether it has hooks.
    pub(crate) fn is_hooked(&self) -> bool {
        self.state.lock().is_hooked()
    }

    /// Sends a hook to the hook thread, by `send`: that thread gets all updates of the job that come after it.
    pub(crate) fn send_hook(&self, send: impl FnOnce(Seen)) {
        let mut state = self.state.lock();
        let observers = state.observers.get_or_insert_default();
        observers.hooked = true;
        let updates = observers.updates;
        let settled = matches!(state.stage, Stage::Settled(..));
        // Under the lock, without which the job could be settled, and the thread told so, before this.
        send(Seen { started: state.history.started(), settled, updates });
    }

    // ------------------------------------------------------------ the hook thread

    /// Adds a hook: once the others are called for all that had happened when it was added.
    pub(crate) fn add_hook(&self, hook: JobHook, seen: Seen) {
        let mut state = self.state.lock();
        let observers = state.observers.get_or_insert_default();
        if observers.called_for < seen.updates {
            observers.early.push((hook, seen));
        } else {
            drop(state);
            self.add_in_time(hook, seen);
        }
    }

    /// Adds a hook, and calls it at once for what had happened when it was added (start, done).
    fn add_in_time(&self, mut hook: JobHook, seen: Seen) {
        if let JobHook::Start { called, hook } = &mut hook
            && seen.started > 0
        {
            *called = seen.started;
            hook();
        }
        if !seen.settled {
            self.state.lock().observers.get_or_insert_default().hooks.push(hook);
        } else if let JobHook::Done(hook) = hook
            && let Some(settled) = self.try_outcome()
        {
            hook(&settled, self.attempts());
        }
    }

    /// Calls the hooks, each through `guarded`, without holding the record.
    pub(crate) fn call_hooks(&self, update: &JobUpdate, guarded: &dyn Fn(&mut dyn FnMut())) {
        let mut hooks = {
            let mut state = self.state.lock();
            let observers = state.observers.get_or_insert_default();
            observers.called_for += 1;
            mem::take(&mut observers.hooks)
        };
        match update {
            JobUpdate::Start(attempt) => {
                for hook in &mut hooks {
                    if let JobHook::Start { called, hook } = hook
                        && *called < *attempt
                    {
                        *called = *attempt;
                        guarded(&mut || hook());
                    }
                }
            }
            JobUpdate::Progress(progress) => {
                for hook in &mut hooks {
                    if let JobHook::Progress(hook) = hook {
                        guarded(&mut || hook(&progress.payload));
                    }
                }
            }
            JobUpdate::Retry { failure, attempt } => {
                for hook in &mut hooks {
                    if let JobHook::Retry(hook) = hook {
                        guarded(&mut || hook(failure, *attempt));
                    }
                }
            }
            JobUpdate::Done => {
                let (settled, attempts) = (self.try_outcome(), self.attempts());
                for hook in hooks.drain(..) {
                    let mut hook = Some(hook);
                    // One that is not called is dropped here too: what it holds is the user's.
                    guarded(&mut || {
                        if let (Some(JobHook::Done(hook)), Some(settled)) = (hook.take(), &settled) {
                            hook(settled, attempts);
                        }
                    });
                }
            }
        }
        for (hook, seen) in self.put_back(hooks) {
            let mut hook = Some(hook);
            guarded(&mut || hook.take().into_iter().for_each(|hook| self.add_in_time(hook, seen)));
        }
    }

    /// Puts the hooks back, and takes those that are to be added now. Only the hook thread adds any, so none has come meanwhile.
    fn put_back(&self, hooks: Vec<JobHook>) -> Vec<(JobHook, Seen)> {
        let mut state = self.state.lock();
        let observers = state.observers.get_or_insert_default();
        observers.hooks = hooks;
        let in_time = observers.early.partition_point(|(_, seen)| seen.updates <= observers.called_for);
        observers.early.drain(..in_time).collect()
    }
}

/// The last attempt that has begun, and what is known of all that are over: in one word, since there is a record for each
/// queued job.
#[derive(Clone, Copy, Default)]
struct History(u32);

const BEGUN: u32 = 30;

impl History {
    fn started(self) -> u32 {
        self.0 & !(u32::MAX << BEGUN)
    }

    fn set_started(&mut self, attempt: u32) {
        let attempt = attempt.min(!(u32::MAX << BEGUN));
        self.0 = (self.0 & (u32::MAX << BEGUN)) | attempt;
    }

    fn begun(self) -> Begun {
        match self.0 >> BEGUN {
            0 => Begun::No,
            1 => Begun::Perhaps,
            _ => Begun::Yes,
        }
    }

    fn set_begun(&mut self, begun: Begun) {
        self.0 = self.started() | ((begun as u32) << BEGUN);
    }
}

impl State {
    fn is_hooked(&self) -> bool {
        self.observers.as_ref().is_some_and(|observers| observers.hooked)
    }

    /// Counts an update that the hook thread is to be sent, if there are hooks. Returns whether there are.
    fn update(&mut self) -> bool {
        let Some(observers) = self.observers.as_mut().filter(|observers| observers.hooked) else { return false };
        observers.updates += 1;
        true
    }

    fn set_queued_again(&mut self, begun: Begun) {
        self.history.set_begun(begun);
        if let Stage::Queued(payload) | Stage::Running { payload, .. } = &mut self.stage {
            self.stage = Stage::Queued(mem::take(payload));
        }
    }
}

impl Observers {
    pub(crate) fn add_hook(&mut self, hook: JobHook) {
        self.hooked = true;
        self.hooks.push(hook);
    }

    pub(crate) fn send_when_finished(&mut self, finished: Sender<usize>, number: usize) {
        self.finished = Some((finished, number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A million queued jobs are a million of these, with their payloads and the supervisor's entries.
    #[test]
    fn a_job_is_small() {
        assert!(size_of::<JobRecord>() <= 72, "{}", size_of::<JobRecord>());
        assert_eq!(size_of::<Ticket>(), 8);
    }

    /// A hook, its name, and what it was called for.
    fn hook(said: &Arc<Mutex<Vec<String>>>, name: &str, kind: &str) -> JobHook {
        let (said, line) = (Arc::clone(said), format!("{name}: {kind}"));
        match kind {
            "start" => JobHook::start(move || said.lock().push(line.clone())),
            "retry" => JobHook::Retry(Box::new(move |_, attempt| said.lock().push(format!("{line} {attempt}")))),
            _ => JobHook::Done(Box::new(move |_, _| said.lock().push(line))),
        }
    }

    #[test]
    fn a_hook_comes_after_all_that_had_happened() {
        const KINDS: [&str; 3] = ["start", "retry", "done"];
        let said = Arc::default();
        let mut observers = Box::<Observers>::default();
        KINDS.iter().for_each(|kind| observers.add_hook(hook(&said, "a", kind)));
        let record = JobRecord::new(1, Payload::Empty, Some(observers));
        // The hook thread gets these hooks at once, and the updates later: so may it be told where it is quick.
        let add = |name| {
            let mut seen = None;
            record.send_hook(|at| seen = Some(at));
            KINDS.iter().for_each(|kind| record.add_hook(hook(&said, name, kind), seen.unwrap()));
        };
        let call = |update| record.call_hooks(&update, &|call| call());
        let failure = || Arc::new(Failure::Closed);

        assert!(record.set_started(1));
        add("b");
        assert!(record.set_retried(Begun::Yes));
        add("c");
        assert!(record.set_started(2));
        let released = Ticket::new(Arc::clone(&record)).settle(Err(failure()), Begun::Yes, PackedReport::default());
        assert!(released.is_some_and(|released| released.hooked().is_some()));
        add("d");
        assert!(said.lock().is_empty(), "{:?}", said.lock());
        call(JobUpdate::Start(1));
        call(JobUpdate::Retry { failure: failure(), attempt: 1 });
        call(JobUpdate::Start(2));
        call(JobUpdate::Done);
        add("e");
        let expected = [
            "a: start",
            "b: start",
            "a: retry 1",
            "b: retry 1",
            "c: start",
            "a: start",
            "b: start",
            "c: start",
            "a: done",
            "b: done",
            "c: done",
            "d: start",
            "d: done",
            "e: start",
            "e: done",
        ];
        assert_eq!(*said.lock(), expected);
    }
}
