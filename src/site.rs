//! The places where the workers of one pool are: this machine, hosts over ssh, a cluster.

use crate::id::Slot;
use crate::launch::{copy_of, marked_name};
use crate::remote::{Remote, srun, ssh};
use crate::supervisor::SiteRules;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// A far worker may be silent for so long, where its site says nothing else.
const SILENCE: Duration = Duration::from_secs(30);

/// Less would take a connection that is slow for a while for one that is lost.
const LEAST_SILENCE: Duration = Duration::from_millis(500);

/// A connection takes longer than a process.
const CONNECTING: Duration = Duration::from_secs(20);

/// A place where a pool's workers run, with a number of slots: part of what
/// [`Pool::builder_on`](crate::Pool::builder_on) takes.
///
/// Every site but a [`local`](Site::local) one is *far*: its workers are reached over a connection that can be lost, which
/// proves nothing about them. What that costs, and what a pool does about it, is in `docs/other-machines.md`.
///
/// ```no_run
/// # use hirelings::*;
/// # use std::process::Command;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let sites = [
///     Site::local(4),
///     Site::ssh("build1", 16).option("ProxyJump=gate").current_dir("/var/tmp"),
///     Site::slurm(64).option("--partition=long"),
/// ];
/// let pool = Pool::<Square>::builder_on(sites, Command::new("/opt/app/worker")).build()?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "a site does nothing until a pool is built on it"]
pub struct Site {
    name: String,
    slots: usize,
    /// How it is reached; none: it is here.
    remote: Option<Remote>,
    program: Option<Command>,
    environment: Vec<(OsString, OsString)>,
    directory: Option<PathBuf>,
    prefetch: Option<u32>,
    silence: Option<Duration>,
    timeout_initializing: Option<Option<Duration>>,
    /// What was asked of it that only a far site can do.
    far_only: Option<&'static str>,
}

impl Site {
    fn new(remote: Option<Remote>, slots: usize) -> Self {
        Site {
            name: remote.as_ref().map_or_else(|| "local".into(), Remote::place),
            slots,
            remote,
            program: None,
            environment: Vec::new(),
            directory: None,
            prefetch: None,
            silence: None,
            timeout_initializing: None,
            far_only: None,
        }
    }

    /// So many slots on this machine. It is called `local`.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// let here = Site::local(4);
    /// # let _ = here;
    /// ```
    pub fn local(slots: usize) -> Self {
        Site::new(None, slots)
    }

    /// So many slots on a host, each reached by an [`ssh`](crate::ssh()) of its own. It is called as the host is.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// let host = Site::ssh("user@build1", 16).option("Port=2222").option("IdentityFile=/etc/app/key");
    /// # let _ = host;
    /// ```
    pub fn ssh(host: impl Into<OsString>, slots: usize) -> Self {
        Site::new(Some(ssh(host)), slots)
    }

    /// So many slots wherever Slurm has room, each a task of its own that [`srun`](crate::srun()) starts. It is called
    /// `slurm`. A worker may wait in Slurm's queue for as long as it takes: it has no
    /// [`timeout_initializing`](Site::timeout_initializing).
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// let cluster = Site::slurm(64).option("--partition=long").option("--mem=2G");
    /// # let _ = cluster;
    /// ```
    pub fn slurm(slots: usize) -> Self {
        let site = Site::new(Some(srun([] as [OsString; 0])), slots);
        Site { timeout_initializing: Some(None), ..site }
    }

    /// What it is called in errors, events and figures. Each site of a pool has a name of its own.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// let sites = [Site::slurm(64).name("cpu"), Site::slurm(4).name("gpu").option("--gres=gpu:1")];
    /// # let _ = sites;
    /// ```
    pub fn name(self, name: impl Into<String>) -> Self {
        Site { name: name.into(), ..self }
    }

    /// What its workers run, where that is not what the other sites run. Default: the program that
    /// [`Pool::builder_on`](crate::Pool::builder_on) was given.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # use std::process::Command;
    /// let host = Site::ssh("arm1", 8).program(Command::new("/opt/app/worker-aarch64"));
    /// # let _ = host;
    /// ```
    pub fn program(self, program: Command) -> Self {
        Site { program: Some(program), ..self }
    }

    /// Sets a variable in the environment of its workers.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// let host = Site::ssh("build1", 16).env("OMP_NUM_THREADS", "1");
    /// # let _ = host;
    /// ```
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// In which directory its workers start: one of the site's own machine, where it must exist. Default: the program's; where
    /// that has none, the pool's own on this machine, and where the login or Slurm starts on another.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// let host = Site::ssh("build1", 16).current_dir("/var/tmp");
    /// # let _ = host;
    /// ```
    pub fn current_dir(self, directory: impl Into<PathBuf>) -> Self {
        Site { directory: Some(directory.into()), ..self }
    }

    /// An option of ssh (`"Port=2222"`) or of srun (`"--mem=2G"`), as [`Remote::option`] has it.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// let host = Site::ssh("build1", 16).option("ProxyJump=gate").option("ControlMaster=no");
    /// # let _ = host;
    /// ```
    pub fn option(mut self, option: impl AsRef<OsStr>) -> Self {
        self.far_only = Some("option");
        self.remote = self.remote.map(|remote| remote.option(option));
        self
    }

    /// An argument of ssh or srun itself, as [`Remote::arg`] has it.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// let host = Site::ssh("build1", 16).arg("-F").arg("/etc/app/ssh_config");
    /// # let _ = host;
    /// ```
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.far_only = Some("arg");
        self.remote = self.remote.map(|remote| remote.arg(argument));
        self
    }

    /// How many jobs may be prefetched to each of its workers, behind the one that it runs. Default: on this machine what the
    /// pool's [`prefetch`](crate::PoolBuilder::prefetch) says; far 0, so that a connection that is lost costs one job an
    /// attempt and not many.
    ///
    /// A far worker that is sent one job at a time waits for a round trip between two: with jobs of 1 ms over a connection of
    /// 20 ms it is idle for most of the time. With `prefetch(64)` it has always some work ahead. The price: where its
    /// connection is lost, each job that it was sent may have begun, so each has used an attempt, and says so
    /// ([`Begun::Perhaps`](crate::Begun::Perhaps)).
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// let host = Site::ssh("build1", 16).prefetch(64);
    /// # let _ = host;
    /// ```
    pub fn prefetch(self, jobs: u32) -> Self {
        Site { prefetch: Some(jobs), ..self }
    }

    /// How long nothing may come over the connection of a far worker, from either side. Default: 30 s; at least 500 ms.
    ///
    /// The pool asks each of its workers for a sign of life three times as often. A worker from which nothing came for so long
    /// is lost; while a job is on its way to it, what the connection takes of that counts too. A worker that hears nothing for so long ends itself, with all that it has spawned. So a job that was lost
    /// with its connection is tried again after half as long again, when that end is certain, and not before.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # use std::time::Duration;
    /// // Lost jobs are tried again after 7.5 s; a network that stalls for 5 s costs attempts.
    /// let host = Site::ssh("build1", 16).silence(Duration::from_secs(5));
    /// # let _ = host;
    /// ```
    pub fn silence(self, limit: Duration) -> Self {
        Site { silence: Some(limit), far_only: Some("silence"), ..self }
    }

    /// How long the start of its workers may take, from the start of the process to ready. Default: on this machine the
    /// pool's [`timeout_initializing`](crate::PoolBuilder::timeout_initializing); over ssh 20 s; with Slurm no limit.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # use std::time::Duration;
    /// let host = Site::ssh("build1", 16).timeout_initializing(Duration::from_secs(60));
    /// # let _ = host;
    /// ```
    pub fn timeout_initializing(self, limit: impl Into<Option<Duration>>) -> Self {
        let limit = limit.into().filter(|limit| *limit != Duration::MAX);
        Site { timeout_initializing: Some(limit), ..self }
    }

    /// The command that starts a worker there, where the pool's program is `program`.
    fn command(&self, program: &Command) -> Command {
        let mut worker = copy_of(self.program.as_ref().unwrap_or(program));
        worker.envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some(directory) = &self.directory {
            worker.current_dir(directory);
        }
        match &self.remote {
            Some(remote) => remote.command(&worker),
            None => worker,
        }
    }

    fn rules(&self) -> SiteRules {
        let connecting = self.timeout_initializing.or(self.remote.as_ref().map(|_| Some(CONNECTING)));
        SiteRules {
            slots: self.slots,
            silence: self.remote.as_ref().map(|_| self.silence.unwrap_or(SILENCE)),
            prefetch: self.prefetch.or(self.remote.as_ref().map(|_| 0)),
            timeout_initializing: connecting,
        }
    }

    /// What no pool can be built on.
    fn refused(&self, program: &Command) -> Option<String> {
        let name = &self.name;
        if name.is_empty() {
            return Some("a site has an empty name: give it one".into());
        }
        if self.slots == 0 {
            return Some(format!("site {name} has 0 slots: give it at least one, or leave it out"));
        }
        if let (None, Some(setting)) = (&self.remote, self.far_only) {
            return Some(format!("site {name} is this machine and has no {setting}: leave it out"));
        }
        if self.timeout_initializing == Some(Some(Duration::ZERO)) {
            return Some(format!("timeout_initializing of site {name} is 0: no worker could meet it"));
        }
        if let Some(silence) = self.silence.filter(|&silence| silence < LEAST_SILENCE) {
            return Some(format!(
                "silence of site {name} is {silence:?}: at least {LEAST_SILENCE:?} is needed, or a slow network would cost jobs"
            ));
        }
        if self.remote.is_some() && marked_name(self.program.as_ref().unwrap_or(program)).is_some() {
            return Some(format!(
                "site {name} is another machine, and self_exec starts this executable of this one: give the site a program \
                 that calls worker::serve"
            ));
        }
        None
    }
}

/// The sites of one pool.
pub(crate) struct Sites {
    sites: Vec<Site>,
    program: Command,
}

impl Sites {
    pub(crate) fn new(sites: Vec<Site>, program: Command) -> Self {
        Sites { sites, program }
    }

    /// The job type of the executable itself, where a site starts that.
    pub(crate) fn self_exec(&self) -> Option<String> {
        let programs = self.sites.iter().map(|site| site.program.as_ref().unwrap_or(&self.program));
        programs.filter_map(marked_name).next()
    }

    pub(crate) fn names(&self) -> Vec<Arc<str>> {
        self.sites.iter().map(|site| site.name.as_str().into()).collect()
    }

    pub(crate) fn rules(&self) -> Vec<SiteRules> {
        self.sites.iter().map(Site::rules).collect()
    }

    /// Why no pool can be built on them, if none can.
    pub(crate) fn refused(&self) -> Option<String> {
        if self.sites.is_empty() {
            return Some("builder_on was given no sites: a pool needs at least one".into());
        }
        if let Some(why) = self.sites.iter().find_map(|site| site.refused(&self.program)) {
            return Some(why);
        }
        let mut names: Vec<_> = self.sites.iter().map(|site| &site.name).collect();
        names.sort_unstable();
        let twice = names.windows(2).find(|two| two[0] == two[1])?;
        Some(format!(
            "two sites are called {}: give one of them a name of its own, or put their slots together",
            twice[0]
        ))
    }

    /// The command for the worker of a slot.
    pub(crate) fn command(&self, slot: Slot) -> Command {
        let mut at = slot.index();
        let site = self.sites.iter().find(|site| match at.checked_sub(site.slots) {
            Some(behind) => {
                at = behind;
                false
            }
            None => true,
        });
        site.map_or_else(|| copy_of(&self.program), |site| site.command(&self.program))
    }
}
