//! The hook thread: it calls the user's hooks, in the order of the events.

use crate::budget::Charge;
use crate::event::{Event, EventKind};
use crate::failure::Describe;
use crate::forward::Forward;
use crate::mailbox::Mailbox;
use crate::occurrence::Occurrence;
use crate::panic::text_of;
use crate::record::{JobHook, JobRecord, JobUpdate, Seen};
use crate::subscription::Subscriber;
use parking_lot::Mutex;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use std::thread::{self, JoinHandle, ThreadId};
use std::{io, mem, slice};

/// Names a pool's hook, to remove it.
///
/// ```no_run
/// # use hirelings::*;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
/// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
/// let hook = pool.on(EventKind::Idle, |_| println!("nothing more to do"));
/// pool.enqueue(Square(7)).wait()?;
/// pool.remove_hook(hook);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HookId(u64);

type PoolHook = Arc<Mutex<dyn FnMut(&Event) + Send>>;

/// What the hook thread is to do.
pub(crate) enum Notification {
    /// With the number of the first hook that was not there yet.
    Events(Occurrence, Option<Arc<Charge>>, u64),
    Job(Arc<JobRecord>, JobUpdate),
    AddHook(Arc<JobRecord>, JobHook, Seen),
    /// A task that awaits a job which is settled.
    Wake(Waker),
    Log(log::Level, String),
    /// A worker's standard error, to this program's.
    Forward(Arc<[u8]>, Option<Arc<Charge>>),
    End,
}

#[derive(Default)]
struct Registry {
    /// By kind of event, in the order in which they were added. The hook thread takes a list as it is, and calls its hooks
    /// without the lock.
    hooks: [Arc<Vec<(HookId, PoolHook)>>; EventKind::ALL.len()],
    subscribers: Vec<Subscriber>,
}

impl Notification {
    /// Lets the worker that it came from be read on, though this has not been done.
    fn uncharge(&mut self) {
        match self {
            Notification::Events(_, charge, _) => drop(charge.take()),
            Notification::Job(_, JobUpdate::Progress(progress)) => progress.uncharge(),
            // Lines for standard error: a worker that cannot write more of them may be the one that is waited for.
            Notification::Forward(_, charge) => drop(charge.take()),
            _ => {}
        }
    }
}

thread_local! {
    /// What this thread, that of some pool's hooks, has taken and not done.
    static TAKEN: RefCell<VecDeque<Notification>> = const { RefCell::new(VecDeque::new()) };
}

/// A buffer of more notifications than this is not kept.
const KEPT: usize = 4096;

/// The hooks of one pool.
pub(crate) struct Dispatcher {
    /// The kinds that anybody listens to, so that others cost nothing. This and the next two are only hints, changed under the
    /// registry's lock: whoever has added a hook and then does something that emits an event has handed that over by a channel,
    /// by which the supervisor sees the hint too. Who listens is looked up in the registry.
    wanted: AtomicU32,
    /// Those that a hook listens to.
    hooked: AtomicU32,
    /// Whether there are subscribers.
    subscribed: AtomicBool,
    registry: Mutex<Registry>,
    /// The number of the next hook. An event takes it along when it is emitted: a hook that was added before has a lower
    /// number, one that is added while the event waits has not. (A hook is in the registry before its `add` returns.)
    next: AtomicU64,
    /// What the thread has not taken yet.
    queued: Mailbox<Notification>,
    forward: Forward,
    thread: OnceLock<ThreadId>,
    /// The pool's.
    name: OnceLock<Arc<str>>,
    /// Decodes the handlers' own errors for those who write events to a log.
    describe: Option<Describe>,
}

impl Dispatcher {
    pub(crate) fn new(describe: Option<Describe>) -> Arc<Self> {
        Arc::new(Dispatcher {
            wanted: AtomicU32::new(0),
            hooked: AtomicU32::new(0),
            subscribed: AtomicBool::new(false),
            registry: Mutex::default(),
            next: AtomicU64::new(0),
            queued: Mailbox::new(),
            forward: Forward::default(),
            thread: OnceLock::new(),
            name: OnceLock::new(),
            describe,
        })
    }

    /// Starts the thread, for the pool of that name.
    pub(crate) fn start(self: &Arc<Self>, name: &Arc<str>) -> io::Result<JoinHandle<()>> {
        let _ = self.name.set(Arc::clone(name));
        let dispatcher = Arc::clone(self);
        let handle = thread::Builder::new().name("hirelings-hooks".into()).spawn(move || dispatcher.run())?;
        let _ = self.thread.set(handle.thread().id());
        Ok(handle)
    }

    /// Whether the caller is a hook.
    pub(crate) fn is_this_thread(&self) -> bool {
        self.thread.get() == Some(&thread::current().id())
    }

    // ------------------------------------------------------------ the supervisor's side

    /// Whether anybody listens to events of one of these kinds.
    pub(crate) fn wants(&self, kinds: &[EventKind]) -> bool {
        let wanted = self.wanted.load(Ordering::Relaxed);
        kinds.iter().any(|kind| wanted & kind.bit() != 0)
    }

    /// Emits the events of what has happened to subscribers at once, and queues them for the hooks.
    ///
    /// The hook thread makes the events of hooks itself: where memory is allocated on one thread and freed on another, both wait
    /// for the allocator.
    pub(crate) fn emit(
        &self,
        mut occurrence: Occurrence,
        charge: Option<Arc<Charge>>,
        pool: &Arc<str>,
        queued: &mut VecDeque<Notification>,
    ) {
        occurrence.more.describe(self.describe);
        // Before a subscriber gets it, who may add a hook then: that is not called for this.
        let next = self.next.load(Ordering::SeqCst);
        if self.has_subscribers() {
            let mut registry = self.registry.lock();
            let before = registry.subscribers.len();
            for &kind in occurrence.kinds {
                let event = occurrence.event(kind, pool);
                registry.subscribers.retain(|subscriber| subscriber.offer(&event));
            }
            if registry.subscribers.len() < before {
                self.recount(&registry);
            }
        }
        let hooked = self.hooked.load(Ordering::Relaxed);
        if occurrence.kinds.iter().any(|kind| hooked & kind.bit() != 0) {
            queued.push_back(Notification::Events(occurrence, charge, next));
        }
    }

    /// Whether anybody receives events as soon as they are emitted.
    pub(crate) fn has_subscribers(&self) -> bool {
        self.subscribed.load(Ordering::Relaxed)
    }

    /// Gives the thread calls, in front of all that are given later. They are due at the next [`Dispatcher::wake`].
    pub(crate) fn put(&self, notifications: &mut VecDeque<Notification>) {
        self.queued.put(notifications, Notification::uncharge);
    }

    /// Wakes the thread. Nothing that it was given is lost: where it has ended, that is done here.
    pub(crate) fn wake(&self) {
        if self.queued.wake() {
            self.finish();
        }
    }

    /// Hands over a call.
    pub(crate) fn notify(&self, notification: Notification) {
        self.put(&mut VecDeque::from([notification]));
        self.wake();
    }

    /// After everything that is queued, the thread ends.
    pub(crate) fn end(&self) {
        self.forward.end();
        self.put(&mut VecDeque::from([Notification::End]));
        // Whoever gives the thread something once it has ended does that, and not this thread, which is the supervisor's.
        let _ = self.queued.wake();
    }

    // ------------------------------------------------------------ the callers' side

    /// Does `wait`, which waits for the pool's work. In a hook, workers are read on meanwhile whatever the hooks have not
    /// been called for yet: the thread that waits is the one that calls them.
    pub(crate) fn blocking<T>(&self, wait: impl FnOnce() -> T) -> T {
        if !self.is_this_thread() {
            return wait();
        }
        // What is queued meanwhile takes no room from its worker, or neither would ever go on.
        self.queued.change(true, Notification::uncharge);
        TAKEN.with_borrow_mut(|taken| taken.iter_mut().for_each(Notification::uncharge));
        let waited = wait();
        self.queued.change(false, Notification::uncharge);
        waited
    }

    /// Notifies the hooks of a job that was settled before it was in the pool.
    pub(crate) fn settled_outside(&self, record: &Arc<JobRecord>) {
        if record.is_hooked() {
            self.notify(Notification::Job(Arc::clone(record), JobUpdate::Done));
        }
    }

    /// Adds a hook to a job.
    pub(crate) fn add_to_job(&self, record: &Arc<JobRecord>, hook: JobHook) {
        record.send_hook(|seen| {
            self.put(&mut VecDeque::from([Notification::AddHook(Arc::clone(record), hook, seen)]));
        });
        self.wake();
    }

    pub(crate) fn add(&self, kind: Option<EventKind>, hook: impl FnMut(&Event) + Send + 'static) -> HookId {
        let mut registry = self.registry.lock();
        let id = HookId(self.next.fetch_add(1, Ordering::SeqCst));
        if !self.queued.has_ended() {
            let hook: PoolHook = Arc::new(Mutex::new(hook));
            for &of in kind.as_ref().map_or(EventKind::ALL, slice::from_ref) {
                Arc::make_mut(&mut registry.hooks[of as usize]).push((id, Arc::clone(&hook)));
            }
            self.recount(&registry);
        }
        id
    }

    pub(crate) fn remove(&self, id: HookId) -> bool {
        let mut registry = self.registry.lock();
        let lists = registry.hooks.iter_mut().filter(|list| list.iter().any(|(of, _)| *of == id));
        let removed: Vec<_> = lists.flat_map(|list| Arc::make_mut(list).extract_if(.., |(of, _)| *of == id)).collect();
        self.recount(&registry);
        // What a hook holds is the user's, and may ask for the registry when it is dropped.
        drop(registry);
        !removed.is_empty()
    }

    pub(crate) fn subscribe(&self, subscriber: Subscriber) {
        let mut registry = self.registry.lock();
        if !self.queued.has_ended() {
            registry.subscribers.push(subscriber);
            self.recount(&registry);
        }
    }

    fn recount(&self, registry: &Registry) {
        let of_hooks = EventKind::ALL.iter().filter(|&&kind| !registry.hooks[kind as usize].is_empty());
        let hooked = of_hooks.fold(0, |all, kind| all | kind.bit());
        let subscribed = !registry.subscribers.is_empty();
        self.hooked.store(hooked, Ordering::Relaxed);
        self.subscribed.store(subscribed, Ordering::Relaxed);
        self.wanted.store(if subscribed { u32::MAX } else { hooked }, Ordering::Relaxed);
    }

    // ------------------------------------------------------------ the thread

    fn run(&self) {
        let calls = Calls::of(self);
        while !self.queued.has_ended() {
            self.take();
            // Not held while a hook runs: it may wait, and look at what is left.
            while let Some(notification) = TAKEN.with_borrow_mut(VecDeque::pop_front) {
                if matches!(notification, Notification::End) {
                    self.queued.end();
                }
                calls.perform(notification);
            }
        }
        self.finish();
        // Whoever adds a hook or a subscriber looks at whether the thread has ended under the registry's lock. One that had the
        // lock before it is taken here is dropped here; one that has it later sees the end, which was before this, and adds
        // nothing. So no subscriber waits for what never comes. What `recount` leaves is 0 either way.
        //
        // A hook may hold its pool: dropping them here, outside the lock, may drop that.
        let mut registry = Some(mem::take(&mut *self.registry.lock()));
        self.recount(&Registry::default());
        guarded(&mut || drop(registry.take()));
    }

    /// Blocks until there is something to do, and takes all of it.
    fn take(&self) {
        let mut taken = TAKEN.take();
        taken.shrink_to(KEPT);
        self.queued.take(&mut taken);
        TAKEN.set(taken);
    }

    /// Does what was queued around the thread's end.
    fn finish(&self) {
        let calls = Calls::of(self);
        loop {
            let notifications = self.queued.take_left();
            if notifications.is_empty() {
                return;
            }
            notifications.into_iter().for_each(|notification| calls.perform(notification));
        }
    }
}

/// Calls the hooks.
struct Calls<'d> {
    dispatcher: &'d Dispatcher,
    /// The pool's name, of which this thread has a copy: threads that count what holds the same one wait for each other.
    pool: Arc<str>,
}

impl<'d> Calls<'d> {
    fn of(dispatcher: &'d Dispatcher) -> Self {
        let pool = dispatcher.name.get().map_or_else(Default::default, |name| Arc::from(&**name));
        Calls { dispatcher, pool }
    }

    fn perform(&self, notification: Notification) {
        match notification {
            Notification::Events(occurrence, charge, next) => {
                // A hook may wait for the worker's job.
                drop(charge);
                occurrence.kinds.iter().for_each(|&kind| self.call_hooks(kind, &occurrence, next));
            }
            Notification::Job(record, mut update) => {
                if let JobUpdate::Progress(progress) = &mut update {
                    progress.uncharge();
                }
                record.call_hooks(&update, &guarded);
            }
            Notification::AddHook(record, hook, seen) => {
                let mut hook = Some(hook);
                guarded(&mut || {
                    if let Some(hook) = hook.take() {
                        record.add_hook(hook, seen);
                    }
                });
            }
            Notification::Wake(waker) => {
                let mut waker = Some(waker);
                guarded(&mut || waker.take().into_iter().for_each(Waker::wake));
            }
            Notification::Log(level, line) => guarded(&mut || log::log!(target: "hirelings", level, "{line}")),
            Notification::Forward(lines, _charge) => self.dispatcher.forward.write(&lines),
            Notification::End => {}
        }
    }

    /// Calls the hooks of this kind whose numbers are below `next`.
    fn call_hooks(&self, kind: EventKind, occurrence: &Occurrence, next: u64) {
        let hooks = Arc::clone(&self.dispatcher.registry.lock().hooks[kind as usize]);
        if hooks.iter().any(|(id, _)| id.0 < next) {
            let event = occurrence.event(kind, &self.pool);
            for (_, hook) in hooks.iter().filter(|(id, _)| id.0 < next) {
                guarded(&mut || {
                    // A hook that was interrupted by its own event (it cannot be) would be left out.
                    if let Some(mut hook) = hook.try_lock() {
                        hook(&event);
                    }
                });
            }
        }
        // These may be the last of hooks that were removed meanwhile, and what those hold is the user's.
        let mut hooks = Some(hooks);
        guarded(&mut || drop(hooks.take()));
    }
}

/// Runs a hook; its panic is logged and goes no further.
fn guarded(hook: &mut dyn FnMut()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(hook)) {
        let why = text_of(&*payload);
        let _ = catch_unwind(AssertUnwindSafe(|| log::error!(target: "hirelings", "a hook panicked: {why}")));
        // Its own drop may panic, and so may that of what it panics with.
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            mem::forget(payload);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What waits for a slow hook is kept, however much it is.
    #[test]
    fn a_notification_is_small() {
        assert!(size_of::<Notification>() <= 192, "{}", size_of::<Notification>());
    }
}
