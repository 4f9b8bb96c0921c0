//! Limits of a worker's resources.

use std::collections::BTreeSet;
use std::time::Duration;

/// What the system allows each worker process (see setrlimit(2)), its priority, and its processors.
///
/// All of it is set from outside, right after the process has been started and before the handshake, so it holds from
/// its first job on and costs a start next to nothing. What a limit was before, and was lower, stays. The processes that a
/// worker starts inherit them, each for itself.
///
/// These bound what a worker uses, not what it reaches: for that there is the crate `hirelings-confine`. A worker may change
/// its own niceness upwards and its processors at will, and one of root's all of them, unless it is confined.
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
    pub(crate) processes: Option<u64>,
    pub(crate) niceness: Option<i32>,
    /// Sets of processors, of which slot `n` gets the one at `n` modulo their number.
    pub(crate) cpus: Option<Vec<Vec<usize>>>,
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
    /// room; for what is in use there is [`max_memory`](crate::PoolBuilder::max_memory). A panic has no backtrace where
    /// less is left than 64 MiB, four times the size of the executable, and 128 MiB for each other thread (the kit has one).
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

    /// How many processes and threads the worker's *user* may have, for the worker to start one more. At least 1; `build`
    /// refuses 0, with which no worker could start its guard thread.
    ///
    /// The system counts all of the user's processes and threads, this program's, its other workers' and those of the
    /// user's other sessions included, and lets each process compare that number with a limit of its own. So this is no
    /// number of children: it stops a worker that forks without end before the user can start nothing else, if it leaves
    /// room for what the user runs otherwise. Where that is more already, no worker starts. Root is exempt, and so is who
    /// has CAP_SYS_RESOURCE or CAP_SYS_ADMIN. To keep a worker from starting any process at all, confine it
    /// (`hirelings-confine`).
    ///
    /// Over it, processes and threads cannot be started (EAGAIN).
    ///
    /// ```
    /// # use hirelings::Limits;
    /// let limits = Limits::new().processes(2000);
    /// ```
    pub fn processes(mut self, count: u64) -> Self {
        self.processes = Some(count);
        self
    }

    /// The niceness: from -20, which is served first, to 19, which is served last; see nice(1). A program has 0 unless it
    /// was started otherwise. `build` refuses other numbers.
    ///
    /// Where this program itself is nicer, its workers stay as nice as it is. It is set for the worker's whole process
    /// group, and a command that is nicer by some number (`nice -n 5 worker`) adds to it.
    ///
    /// ```
    /// # use hirelings::Limits;
    /// // Whoever waits at the keyboard comes first.
    /// let limits = Limits::new().niceness(10);
    /// ```
    pub fn niceness(mut self, niceness: i32) -> Self {
        self.niceness = Some(niceness);
        self
    }

    /// The processors on which workers run, by the system's numbers: the worker in
    /// slot `n` gets set `n` modulo the number of sets, and so does its successor. `build` refuses an empty list, an empty
    /// set, and a processor that this program may not use itself.
    ///
    /// The limit is set for each thread that the worker has by then, and inherited by those that they start.
    ///
    /// ```
    /// # use hirelings::Limits;
    /// // All workers on two processors.
    /// let limits = Limits::new().cpus([[0, 1]]);
    /// // Each worker on one of its own, as long as there are no more than four.
    /// let limits = Limits::new().cpus((0..4).map(|cpu| [cpu]));
    /// ```
    pub fn cpus<S: IntoIterator<Item = usize>>(mut self, sets: impl IntoIterator<Item = S>) -> Self {
        self.cpus = Some(sets.into_iter().map(|set| set.into_iter().collect()).collect());
        self
    }

    /// Why `build` refuses these limits, if it does.
    pub(crate) fn refused(&self, own_cpus: fn() -> Option<BTreeSet<usize>>) -> Option<String> {
        if self.address_space == Some(0) {
            return Some("limits: an address space of 0 bytes: no worker could start".into());
        }
        if self.cpu_time == Some(Duration::ZERO) {
            return Some("limits: no processor time at all: no worker could do anything".into());
        }
        if let Some(count) = self.open_files.filter(|&count| count < FEWEST_FILES) {
            return Some(format!("limits: {count} open files: a worker needs {FEWEST_FILES} to speak to the pool"));
        }
        if self.processes == Some(0) {
            return Some("limits: no processes at all: no worker could start its guard thread".into());
        }
        if let Some(niceness) = self.niceness.filter(|niceness| !(-20..=19).contains(niceness)) {
            return Some(format!("limits: a niceness of {niceness}: it goes from -20 to 19"));
        }
        refused_cpus(self.cpus.as_deref()?, own_cpus)
    }
}

/// Three standard streams, the protocol's two, the guard's pipe, and one more while `/dev/null` takes standard input's
/// place.
const FEWEST_FILES: u64 = 8;

fn refused_cpus(sets: &[Vec<usize>], own_cpus: fn() -> Option<BTreeSet<usize>>) -> Option<String> {
    if sets.is_empty() || sets.iter().any(Vec::is_empty) {
        return Some("limits: no processors at all: no worker could run".into());
    }
    // If this is not known, setting it at the start fails instead.
    let own = own_cpus()?;
    let other = sets.iter().flatten().find(|cpu| !own.contains(cpu))?;
    let own: Vec<_> = own.iter().map(ToString::to_string).collect();
    Some(format!("limits: processor {other} is not one that this program may use, which are {}", own.join(", ")))
}
