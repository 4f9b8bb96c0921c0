//! What a worker may use of the machine.

use std::time::Duration;

/// What the system allows each worker process: see setrlimit(2).
///
/// The limits are set from outside, right after the process has been started and before it is greeted, so they hold from
/// its first job on and cost a start next to nothing. What a limit was before, and was lower, stays. The processes that a
/// worker starts inherit them, each for itself.
///
/// ```no_run
/// # use hirelings::*;
/// # use std::time::Duration;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
/// # fn example(worker: std::process::Command) -> Result<(), BuildError> {
/// // Hostile input: no more than 2 GiB, a minute of processor time, and no file but small ones.
/// let limits = Limits::new().address_space(2 << 30).cpu_time(Duration::from_secs(60)).file_size(1 << 20);
/// let pool = Pool::<Square>::builder(worker).limits(limits.core_size(0)).build()?;
/// # drop(pool); Ok(()) }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "limits do nothing until they are given to a builder"]
pub struct Limits {
    pub(crate) address_space: Option<u64>,
    pub(crate) cpu_time: Option<Duration>,
    pub(crate) open_files: Option<u64>,
    pub(crate) core_size: Option<u64>,
    pub(crate) file_size: Option<u64>,
}

impl Limits {
    /// No limits but those that the program itself has.
    ///
    /// ```
    /// # use hirelings::Limits;
    /// assert_eq!(Limits::new(), Limits::default());
    /// ```
    pub fn new() -> Self {
        Limits::default()
    }

    /// How many bytes of address space: what the process has mapped, used or not. Zero is refused by `build`.
    ///
    /// Over it, memory cannot be had. A worker in Rust then aborts, and [`Crash::limit`](crate::Crash::limit) says that
    /// this was the likely cause. An allocator, a garbage collector and each thread map more than they use, so leave
    /// room; for what is in use there is [`max_memory`](crate::PoolBuilder::max_memory). A panic with less than 64 MiB and
    /// four times the size of the executable left has no backtrace.
    ///
    /// ```
    /// # use hirelings::Limits;
    /// let limits = Limits::new().address_space(512 << 20);
    /// ```
    pub fn address_space(mut self, bytes: u64) -> Self {
        self.address_space = Some(bytes);
        self
    }

    /// How much processor time, in the whole life of the worker: all its jobs, all its threads, not those of its
    /// children. Rounded up to whole seconds. Zero is refused by `build`.
    ///
    /// Over it, the worker dies of SIGXCPU, and one that handles this signal of SIGKILL a second later. A limit for one
    /// job is [`timeout_working`](crate::PoolBuilder::timeout_working), or this with
    /// [`max_jobs_per_process`](crate::PoolBuilder::max_jobs_per_process) at 1.
    ///
    /// ```
    /// # use hirelings::Limits;
    /// let limits = Limits::new().cpu_time(std::time::Duration::from_secs(60));
    /// ```
    pub fn cpu_time(mut self, time: Duration) -> Self {
        self.cpu_time = Some(time);
        self
    }

    /// How many descriptors: one more than the highest number that one may have. At least 8, which is what it takes to
    /// speak to the pool; `build` refuses less. Over it, files cannot be opened.
    ///
    /// ```
    /// # use hirelings::Limits;
    /// let limits = Limits::new().open_files(64);
    /// ```
    pub fn open_files(mut self, count: u64) -> Self {
        self.open_files = Some(count);
        self
    }

    /// How many bytes of a core dump are written where the worker crashes; 0 for none.
    ///
    /// ```
    /// # use hirelings::Limits;
    /// let limits = Limits::new().core_size(0);
    /// ```
    pub fn core_size(mut self, bytes: u64) -> Self {
        self.core_size = Some(bytes);
        self
    }

    /// How many bytes a file may grow to by the worker's writing; pipes are no files. Over it, the worker dies of
    /// SIGXFSZ.
    ///
    /// ```
    /// # use hirelings::Limits;
    /// let limits = Limits::new().file_size(1 << 20);
    /// ```
    pub fn file_size(mut self, bytes: u64) -> Self {
        self.file_size = Some(bytes);
        self
    }

    /// What makes no sense of it.
    pub(crate) fn refused(&self) -> Option<String> {
        if self.address_space == Some(0) {
            return Some("limits: an address space of 0 bytes: no worker could start".into());
        }
        if self.cpu_time == Some(Duration::ZERO) {
            return Some("limits: no processor time at all: no worker could do anything".into());
        }
        if let Some(count) = self.open_files.filter(|&count| count < FEWEST_FILES) {
            return Some(format!("limits: {count} open files: a worker needs {FEWEST_FILES} to speak to the pool"));
        }
        None
    }
}

/// Three standard streams, the protocol's two, the guard's pipe, and one more while `/dev/null` takes standard input's
/// place.
const FEWEST_FILES: u64 = 8;
