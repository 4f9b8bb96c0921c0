//! The trait of a worker that has state.

use crate::{BoxError, Context, Job, Outcome};
use serde::de::DeserializeOwned;

/// A worker with state, options, or something to do between jobs.
///
/// It is dropped when the pool lets it go: after its last job, when it retires, and when the pool ends while it waits for a
/// job. In the last case it has 100 ms. A worker that is busy when the pool ends, or is killed for another reason, gets
/// SIGTERM, and nothing is dropped: what must be cleaned up in any case is cleaned up in [`init`](Worker::init) too.
///
/// ```no_run
/// use hirelings_worker_kit::{BoxError, Context, Job, Outcome, Worker, serve_worker};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Render { page: u32 }
/// impl Job for Render {
///     type Output = Vec<u8>;
///     type Progress = f32;
///     type Error = String;
/// }
///
/// #[derive(Serialize, Deserialize)]
/// struct Settings { quality: u8 }
///
/// struct Renderer { quality: u8 }
/// impl Worker for Renderer {
///     type Job = Render;
///     type Options = Settings;
///     fn init(options: Settings) -> Result<Self, BoxError> {
///         Ok(Renderer { quality: options.quality })
///     }
///     fn run(&mut self, job: Render, ctx: &mut Context<Render>) -> Outcome<Render> {
///         ctx.progress(&0.5);
///         Ok(vec![self.quality; job.page as usize])
///     }
/// }
///
/// fn main() {
///     serve_worker::<Renderer>()
/// }
/// ```
pub trait Worker: Sized {
    /// The jobs that it does.
    type Job: Job;
    /// What the pool's builder was given as options; `()` where it was given none.
    type Options: DeserializeOwned;

    /// Makes the worker, before its first job; the pool's `timeout_initializing` limits it.
    ///
    /// Not to be mixed up with the function [`init`](crate::init()), which a program calls in its main to find out whether
    /// it is a worker. The kit calls this one, in workers only: from [`serve_worker`](crate::serve_worker), or from
    /// [`init_worker`](crate::init_worker) where it finds that it is one.
    ///
    /// # Errors
    ///
    /// An error is a start failure: the pool quotes it and tries again later. So is a panic.
    ///
    /// ```
    /// # use hirelings_worker_kit::{BoxError, Context, Job, NoError, Outcome, Worker};
    /// # use std::collections::HashSet;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Check(String);
    /// # impl Job for Check { type Output = bool; type Progress = (); type Error = NoError; }
    /// # struct Speller { words: HashSet<String>, unknown: u64 }
    /// # impl Worker for Speller {
    /// # type Job = Check;
    /// # type Options = String;
    /// fn init(dictionary: String) -> Result<Self, BoxError> {
    ///     let words = std::fs::read_to_string(dictionary)?.lines().map(str::to_owned).collect();
    ///     Ok(Speller { words, unknown: 0 })
    /// }
    /// # fn run(&mut self, _: Check, _: &mut Context<Check>) -> Outcome<Check> { Ok(true) }
    /// # }
    /// // A test needs no pool for this.
    /// assert!(Speller::init("/no/such/file".into()).is_err());
    /// ```
    fn init(options: Self::Options) -> Result<Self, BoxError>;

    /// Is called in each worker that a fork server has forked, before its first job; the pool's `timeout_initializing`
    /// limits it. Where workers are started by exec, the default, it is never called.
    ///
    /// With `StartMethod::ForkServer` the kit calls [`init`](Worker::init) once, in the fork server, and each worker is a copy
    /// of that process with this one thread. Here it takes what must not be the same in all of them: a random seed, an open
    /// file whose position is shared, a connection to a database, a temporary folder, a thread.
    ///
    /// # Errors
    ///
    /// An error is a start failure: the pool quotes it and tries again later. So is a panic.
    ///
    /// ```
    /// # use hirelings_worker_kit::{BoxError, Context, Job, NoError, Outcome, Worker};
    /// # use std::{collections::HashSet, fs::File, io::Read};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Check(String);
    /// # impl Job for Check { type Output = bool; type Progress = (); type Error = NoError; }
    /// # struct Speller { words: HashSet<String>, seed: [u8; 8] }
    /// # impl Worker for Speller {
    /// # type Job = Check;
    /// # type Options = ();
    /// # fn init(_: ()) -> Result<Self, BoxError> { Err("no words".into()) }
    /// # fn run(&mut self, _: Check, _: &mut Context<Check>) -> Outcome<Check> { Ok(true) }
    /// fn after_fork(&mut self) -> Result<(), BoxError> {
    ///     // The dictionary is shared; what is drawn at random is not.
    ///     Ok(File::open("/dev/urandom")?.read_exact(&mut self.seed)?)
    /// }
    /// # }
    /// ```
    fn after_fork(&mut self) -> Result<(), BoxError> {
        Ok(())
    }

    /// Does one job; the pool's `timeout_working` limits it.
    ///
    /// # Errors
    ///
    /// The job's own error, which fails that job and leaves the worker as it is. A panic fails that job and replaces
    /// the process.
    ///
    /// ```
    /// # use hirelings_worker_kit::{BoxError, Context, Job, NoError, Outcome, Worker};
    /// # use std::collections::HashSet;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Check(String);
    /// # impl Job for Check { type Output = bool; type Progress = (); type Error = NoError; }
    /// # struct Speller { words: HashSet<String>, unknown: u64 }
    /// # impl Worker for Speller {
    /// # type Job = Check;
    /// # type Options = ();
    /// # fn init(_: ()) -> Result<Self, BoxError> { Ok(Speller { words: HashSet::new(), unknown: 0 }) }
    /// fn run(&mut self, Check(word): Check, ctx: &mut Context<Check>) -> Outcome<Check> {
    ///     let known = self.words.contains(&word);
    ///     self.unknown += u64::from(!known);
    ///     Ok(known)
    /// }
    /// # }
    /// ```
    fn run(&mut self, job: Self::Job, ctx: &mut Context<Self::Job>) -> Outcome<Self::Job>;

    /// Is called between a job's answer and the next job; the pool's `timeout_recovering` limits it.
    ///
    /// # Errors
    ///
    /// An error replaces the worker, and so does a panic; the job that was answered stands.
    ///
    /// ```
    /// # use hirelings_worker_kit::{BoxError, Context, Job, NoError, Outcome, Worker};
    /// # use std::collections::HashSet;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Check(String);
    /// # impl Job for Check { type Output = bool; type Progress = (); type Error = NoError; }
    /// # struct Speller { words: HashSet<String>, scratch: std::path::PathBuf }
    /// # impl Worker for Speller {
    /// # type Job = Check;
    /// # type Options = ();
    /// # fn init(_: ()) -> Result<Self, BoxError> { Err("no words".into()) }
    /// # fn run(&mut self, _: Check, _: &mut Context<Check>) -> Outcome<Check> { Ok(true) }
    /// fn recover(&mut self) -> Result<(), BoxError> {
    ///     // The caller has its answer already.
    ///     std::fs::remove_dir_all(&self.scratch)?;
    ///     Ok(std::fs::create_dir(&self.scratch)?)
    /// }
    /// # }
    /// ```
    fn recover(&mut self) -> Result<(), BoxError> {
        Ok(())
    }
}
