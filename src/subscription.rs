//! Readers of a pool's events.

use crate::event::{Event, More};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// How many events wait for a reader before some are left out.
const EVENTS_KEPT: usize = 4096;
/// How many bytes of progress wait in them.
const BYTES_KEPT: usize = 16 * 1024 * 1024;

/// What a reader of events and the supervisor's thread share.
#[derive(Debug, Default)]
struct Lag {
    left_out: AtomicU64,
    bytes: AtomicUsize,
}

/// The pool's end of one [`Events`].
pub(crate) struct Subscriber {
    sender: Sender<Event>,
    lag: Arc<Lag>,
}

impl Subscriber {
    /// Gives it the event, if there is room. `false`: its reader is gone.
    pub(crate) fn offer(&self, event: &Event) -> bool {
        let bytes = bytes_of(event);
        let waiting = self.lag.bytes.load(Ordering::Relaxed);
        let left_out = self.lag.left_out.load(Ordering::Relaxed);
        let room = waiting == 0 || waiting + bytes <= BYTES_KEPT;
        if left_out > 0 && room {
            // What comes after a gap comes after the word of it.
            match self.sender.try_send(Event::Lagged(left_out)) {
                Ok(()) => {
                    self.lag.left_out.fetch_sub(left_out, Ordering::Relaxed);
                }
                Err(TrySendError::Full(_)) => return self.leave_out(),
                Err(TrySendError::Disconnected(_)) => return false,
            }
        }
        if !room {
            return self.leave_out();
        }
        self.lag.bytes.fetch_add(bytes, Ordering::Relaxed);
        match self.sender.try_send(event.clone()) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                self.lag.bytes.fetch_sub(bytes, Ordering::Relaxed);
                self.leave_out()
            }
            Err(TrySendError::Disconnected(_)) => false,
        }
    }

    fn leave_out(&self) -> bool {
        self.lag.left_out.fetch_add(1, Ordering::Relaxed);
        true
    }
}

fn bytes_of(event: &Event) -> usize {
    match event.fields().map(|fields| &fields.more) {
        Some(More::Progress { payload, .. }) => payload.len(),
        Some(More::Stderr(line)) => line.len(),
        _ => 0,
    }
}

/// Iterator of a pool's events, from [`Pool::events`](crate::Pool::events); it ends with the pool.
///
/// Where its reader falls behind by 4,096 events or 16 MiB of progress, it gets [`Event::Lagged`] with the number left
/// out, and goes on with the newest; workers never wait for it.
///
/// ```no_run
/// # use hirelings::*;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
/// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
/// let events = pool.events();
/// std::thread::spawn(move || events.for_each(|event| println!("{event}")));
/// # Ok(()) }
/// ```
pub struct Events {
    receiver: Receiver<Event>,
    lag: Arc<Lag>,
}

impl Events {
    pub(crate) fn new() -> (Self, Subscriber) {
        let (sender, receiver) = bounded(EVENTS_KEPT);
        let lag = Arc::new(Lag::default());
        (Events { receiver, lag: Arc::clone(&lag) }, Subscriber { sender, lag })
    }

    /// The next event, if one comes within `limit`; none, without waiting, once the pool has ended and all is taken.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # use std::time::Duration;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// let events = pool.events();
    /// while let Some(event) = events.recv_timeout(Duration::from_secs(60)) {
    ///     println!("{event}");
    /// }
    /// println!("nothing for a minute, or the pool has ended");
    /// # Ok(()) }
    /// ```
    pub fn recv_timeout(&self, limit: Duration) -> Option<Event> {
        match self.receiver.recv_timeout(limit) {
            Ok(event) => Some(self.taken(event)),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => self.last_word(),
        }
    }

    /// The next event, if there is one now; never blocks.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// let events = pool.events();
    /// // Once for each frame that is drawn: all that has come since the last one.
    /// while let Some(event) = events.try_recv() {
    ///     println!("{event}");
    /// }
    /// # Ok(()) }
    /// ```
    pub fn try_recv(&self) -> Option<Event> {
        Some(self.taken(self.receiver.try_recv().ok()?))
    }

    fn taken(&self, event: Event) -> Event {
        self.lag.bytes.fetch_sub(bytes_of(&event), Ordering::Relaxed);
        event
    }

    /// The pool has ended: a last `Lagged` counts what was left out before the end.
    fn last_word(&self) -> Option<Event> {
        let left_out = self.lag.left_out.swap(0, Ordering::Relaxed);
        (left_out > 0).then_some(Event::Lagged(left_out))
    }
}

impl Iterator for Events {
    type Item = Event;
    fn next(&mut self) -> Option<Event> {
        match self.receiver.recv() {
            Ok(event) => Some(self.taken(event)),
            Err(_) => self.last_word(),
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("waiting", &self.receiver.len()).finish_non_exhaustive()
    }
}
