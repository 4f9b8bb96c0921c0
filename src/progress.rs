//! A job's progress: encoded, and as a stream.

use crate::budget::{Charge, Held};
use crossbeam_channel::{Receiver, Sender, unbounded};
use hirelings_worker_kit::wire::Payload;
use serde::de::DeserializeOwned;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

/// Iterator of a job's progress, from [`JobHandle::progress`](crate::JobHandle::progress); it ends when the job
/// settles, once what had come is taken.
///
/// It waits for nobody and loses nothing. Over 16 MiB not yet taken, the job's worker is read no further until some is, or the
/// job is settled; the job's clock runs on.
///
/// ```no_run
/// # use hirelings::*;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
/// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
/// let handle = pool.enqueue(Square(7));
/// for part in handle.progress() {
///     println!("{part}");
/// }
/// println!("{}", handle.wait()?);
/// # Ok(()) }
/// ```
pub struct ProgressStream<T> {
    receiver: Receiver<EncodedProgress>,
    values: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> ProgressStream<T> {
    pub(crate) fn new() -> (Self, Sender<EncodedProgress>) {
        let (sender, receiver) = unbounded();
        (ProgressStream { receiver, values: PhantomData }, sender)
    }

    /// The next progress, if one comes within `limit`. None too, without waiting, where the job has settled and all is
    /// taken, and where it cannot be decoded.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # use std::time::Duration;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// let handle = pool.enqueue(Square(7));
    /// let progress = handle.progress();
    /// while !handle.is_finished() {
    ///     match progress.recv_timeout(Duration::from_secs(1)) {
    ///         Some(part) => println!("{part}"),
    ///         None => println!("no word of it"),
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    pub fn recv_timeout(&self, limit: Duration) -> Option<T> {
        self.receiver.recv_timeout(limit).ok()?.decode()
    }

    /// The next progress, if there is one now; never blocks. None too where it cannot be decoded.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// let handle = pool.enqueue(Square(7));
    /// let progress = handle.progress();
    /// // Once for each frame that is drawn: only the newest is of interest.
    /// if let Some(part) = std::iter::from_fn(|| progress.try_recv()).last() {
    ///     println!("{part}");
    /// }
    /// # Ok(()) }
    /// ```
    pub fn try_recv(&self) -> Option<T> {
        self.receiver.try_recv().ok()?.decode()
    }

    /// The channel itself, for crossbeam's `select!`; what comes through it is still encoded. It is disconnected once
    /// the job has settled.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// let (seven, eight) = (pool.enqueue(Square(7)).progress(), pool.enqueue(Square(8)).progress());
    /// crossbeam_channel::select! {
    ///     recv(seven.receiver()) -> part => println!("seven: {:?}", part?.decode::<f32>()),
    ///     recv(eight.receiver()) -> part => println!("eight: {:?}", part?.decode::<f32>()),
    /// }
    /// # Ok(()) }
    /// ```
    pub fn receiver(&self) -> &Receiver<EncodedProgress> {
        &self.receiver
    }
}

impl<T: DeserializeOwned> Iterator for ProgressStream<T> {
    type Item = T;
    fn next(&mut self) -> Option<T> {
        // One that cannot be decoded is passed over: the worker's type is another, and its answer will say so.
        self.receiver.iter().find_map(EncodedProgress::decode)
    }
}

impl<T> fmt::Debug for ProgressStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProgressStream").field("waiting", &self.receiver.len()).finish_non_exhaustive()
    }
}

/// A progress as it came from the worker.
///
/// ```no_run
/// # use hirelings::*;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
/// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
/// let progress = pool.enqueue(Square(7)).progress();
/// let stop = crossbeam_channel::after(std::time::Duration::from_secs(1));
/// crossbeam_channel::select! {
///     recv(progress.receiver()) -> encoded => println!("{:?}", encoded?.decode::<f32>()),
///     recv(stop) -> _ => println!("nothing for a second"),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct EncodedProgress {
    pub(crate) payload: Payload,
    /// Held for as long as the bytes are.
    charge: Option<Arc<Charge>>,
}

impl EncodedProgress {
    pub(crate) fn new(payload: Payload, charge: Arc<Charge>) -> Self {
        EncodedProgress { payload, charge: Some(charge) }
    }

    /// The same for a job's streams, where it takes room as a part of what these hold.
    pub(crate) fn in_streams(&self, held: &mut Vec<Arc<Held>>) -> Self {
        let charge = self.charge.as_ref().map(|charge| {
            // Another attempt may be another worker's.
            let of_worker = held.iter().position(|held| held.is_of(charge)).unwrap_or_else(|| {
                held.push(Held::of(charge));
                held.len() - 1
            });
            Arc::new(held[of_worker].charge(charge))
        });
        EncodedProgress { payload: self.payload.clone(), charge }
    }

    /// Gives its room back, though it has not been taken.
    pub(crate) fn uncharge(&mut self) {
        self.charge = None;
    }

    /// The progress itself, decoded in this thread; none where it is not a `T`.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// let handle = pool.enqueue(Square(7));
    /// for part in handle.progress().receiver() {
    ///     println!("{:?}", part.decode::<f32>());
    /// }
    /// # Ok(()) }
    /// ```
    pub fn decode<T: DeserializeOwned>(self) -> Option<T> {
        self.payload.decode().ok()
    }
}
