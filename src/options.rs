//! Choices that a builder takes.

/// Where the workers' standard error goes. In every case its last 8 KiB are kept for errors, and each whole line is an
/// event, [`EventKind::WorkerStderr`](crate::EventKind::WorkerStderr).
///
/// ```no_run
/// # use hirelings::*;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
/// # fn example(pool: &Pool<Square>) -> Result<(), Box<dyn std::error::Error>> {
/// let quiet = Pool::<Square>::builder(self_exec::<Square>())
///     .stderr(Stderr::Null)
///     .on(EventKind::WorkerStderr, |event| println!("{:?}: {:?}", event.pid(), event.stderr()))
///     .build()?;
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stderr {
    /// To this program's standard error, by whole lines. Where its reader takes none, workers that write more than 1 MiB
    /// wait; what it has not taken within a second after the pool's end is dropped.
    #[default]
    Forward,
    /// To the `log` crate, a line at `info` each.
    Log,
    /// Nowhere: with a hook, nothing breaks a progress bar.
    Null,
}

/// How workers are started.
///
/// ```no_run
/// # use hirelings::*;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// // Each job in a process of its own, at about half of what an exec costs.
/// let pool = Pool::<Square>::self_exec()
///     .start_method(StartMethod::ForkServer)
///     .max_jobs_per_process(1)
///     .build()?;
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StartMethod {
    /// Each worker is a program that is started.
    #[default]
    Exec,
    /// The program is started once, as the fork server, which makes the worker's state and forks each worker.
    ForkServer,
}
