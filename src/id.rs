//! What jobs, workers and slots are called.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub(crate) u64);

        impl $name {
            /// The number itself, from 1.
            ///
            /// ```no_run
            /// # use hirelings::*;
            /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
            /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
            /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
            /// // For a table, where the two are columns of numbers.
            /// for worker in pool.workers() {
            ///     println!("{}\t{}", worker.id.get(), worker.job.map_or(0, JobId::get));
            /// }
            /// # Ok(()) }
            /// ```
            pub fn get(self) -> u64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// A job's number, unique in its pool, from 1 in the order of enqueuing.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # use std::collections::HashSet;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// let mine: HashSet<JobId> = (0..10).map(|n| pool.enqueue(Square(n)).id()).collect();
    /// pool.on(EventKind::JobFailure, move |event| {
    ///     if event.job().is_some_and(|job| mine.contains(&job)) {
    ///         eprintln!("{event}");
    ///     }
    /// });
    /// # Ok(()) }
    /// ```
    JobId
);
number!(
    /// A worker's number, unique in its pool and never used again, unlike a process id.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # use std::collections::HashSet;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
    /// let before: HashSet<WorkerId> = pool.workers().iter().map(|worker| worker.id).collect();
    /// println!("{:?}", pool.enqueue(Square(7)).wait());
    /// let new = pool.workers().iter().filter(|worker| !before.contains(&worker.id)).count();
    /// println!("{new} workers were started meanwhile");
    /// # Ok(()) }
    /// ```
    WorkerId
);

/// One place for a worker, 0 to `max_processes` - 1; its successors have the same.
///
/// ```no_run
/// # use hirelings::*;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
/// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
/// let at_work = pool.workers().iter().map(|worker| worker.slot.index()).collect::<Vec<_>>();
/// println!("{at_work:?}");
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub(crate) usize);

impl Slot {
    /// The slot's number, from 0.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # use std::process::Command;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// // Each worker has a folder of its own, and its successor has the same.
    /// let pool = Pool::<Square>::builder_with(|slot| {
    ///     let mut worker = Command::new("squares-worker");
    ///     worker.current_dir(format!("/var/lib/app/{}", slot.index()));
    ///     worker
    /// })
    /// .build()?;
    /// # Ok(()) }
    /// ```
    pub fn index(self) -> usize {
        self.0
    }
}
