//! Building a pool from its options: they are checked, and what was encoded of them is chosen.

use super::PoolBuilder;
use crate::clock;
use crate::driver::{Driver, Plan};
use crate::error::{BuildError, BuildErrorKind};
use crate::harness;
use crate::limits::Limits;
use crate::options::StartMethod;
use crate::pool::Pool;
use crate::settings::Settings;
use crate::signals::Mask;
use crate::supervisor::Config;
use crate::sys;
use crossbeam_channel::bounded;
use hirelings_worker_kit::Job;
use hirelings_worker_kit::unserved_mark;
use hirelings_worker_kit::wire::Payload;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

/// The smallest `max_frame`: the envelope and a short message must fit.
const SMALLEST_FRAME: usize = 1024;

/// The longest name of a job type: hello and init must fit into the smallest frame.
const LONGEST_NAME: usize = 512;

impl<J: Job> PoolBuilder<J> {
    /// Builds the pool: spawns the first worker and all of `min_processes`. It does not wait until they are ready.
    ///
    /// # Errors
    ///
    /// [`Options`](BuildErrorKind::Options) that contradict each other, are out of range or cannot be encoded;
    /// [`Spawn`](BuildErrorKind::Spawn)
    /// where the program does not exist or is not executable, or a thread cannot be started;
    /// [`NotAWorker`](BuildErrorKind::NotAWorker) where this process was itself started as a worker by
    /// [`self_exec`](crate::self_exec) and has not called [`init`](crate::worker::init), or where `self_exec` would start a
    /// test harness again. A command of `self_exec` for another type of jobs is one of the `Options` that are refused.
    ///
    /// ```
    /// # use hirelings::*;
    /// # use std::process::Command;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// // A program that is not installed is an error here, not only at the first job.
    /// let refused = Pool::<Square>::builder(Command::new("/no/such/program")).build().unwrap_err();
    /// assert_eq!(refused.kind(), BuildErrorKind::Spawn);
    /// assert!(refused.to_string().contains("/no/such/program"));
    /// ```
    pub fn build(self) -> Result<Pool<J>, BuildError> {
        if let Some(mark) = unserved_mark() {
            return Err(BuildError::new(
                BuildErrorKind::NotAWorker,
                format!(
                    "this process was started as a worker for jobs of type {mark}, but is none: call worker::init (or \
                     init_worker) for that type first thing in main; in a crate's tests, use a worker program of its own"
                ),
            ));
        }
        if let Some(of) = &self.self_exec {
            check_self_exec::<J>(of)?;
        }
        let config = self.checked_config()?;
        let options = self.encoded_options()?;
        let name: Arc<str> = match self.name {
            Some(name) => name.into(),
            None => J::name().rsplit("::").next().unwrap_or("pool").into(),
        };
        let dispatcher = self.dispatcher;
        // Threads start with the mask of their creator.
        let mask = Mask::full();
        let mut launch = self.source.into_inner().launch(self.start_method, self.transport);
        launch.unblock(mask.unblock());
        let hook_thread =
            dispatcher.start(&name).map_err(|error| BuildError::io("the hook thread could not be started", error))?;
        let settings = Settings {
            name,
            job_type: J::name(),
            codec: self.codec,
            max_frame: self.max_frame,
            stderr: self.stderr,
            sites: self.sites.into(),
            is_limited: config.max_backlog.is_some(),
            look_ahead: config.max_processes.saturating_mul(2),
            buffers: Arc::default(),
            dispatcher: Arc::clone(&dispatcher),
            last_stats: Arc::default(),
            given_up: Arc::default(),
        };
        let (first, first_spawn) = bounded(1);
        let plan = Plan { settings: settings.clone(), config, options, limits: self.limits, launch, first };
        let built_at = clock::system_time();
        let running = match Driver::start(plan) {
            Ok(running) => running,
            Err(error) => {
                dispatcher.end();
                let _ = hook_thread.join();
                return Err(BuildError::io("the pool's threads could not be started", error));
            }
        };
        drop(mask);
        let pool = Pool::new(settings, running, hook_thread, built_at);
        match first_spawn.recv() {
            Ok(Ok(())) => Ok(pool),
            Ok(Err(failure)) => {
                let message = format!("{} {}", failure.program, failure.reason);
                Err(BuildError::new(BuildErrorKind::Spawn, message))
            }
            Err(_) => Err(BuildError::new(BuildErrorKind::Spawn, "the supervisor ended before the first worker")),
        }
    }

    fn checked_config(&self) -> Result<Config, BuildError> {
        let mut config = self.config.clone();
        let refuse = |why: String| Err(BuildError::new(BuildErrorKind::Options, why));
        if let Some(why) = &self.sites_refused {
            return refuse(why.clone());
        }
        if let Some(why) = self.refused_on_sites() {
            return refuse(why);
        }
        if let Err(why) = config.check() {
            return refuse(why);
        }
        if J::name().len() > LONGEST_NAME {
            return refuse(format!(
                "the job type's name has {} bytes: at most {LONGEST_NAME} are allowed",
                J::name().len()
            ));
        }
        if let Some(why) = self.limits.refused(sys::own_cpus) {
            return refuse(why);
        }
        if !sys::LIMITS && (self.limits != Limits::new() || config.max_memory.is_limited()) {
            return refuse("limits and max_memory are not supported on this system: leave them out".into());
        }
        if self.start_method == StartMethod::ForkServer && !cfg!(any(target_os = "linux", target_os = "android")) {
            return refuse("start_method is ForkServer, which is not supported on this system: leave it out".into());
        }
        if !(SMALLEST_FRAME..=u32::MAX as usize).contains(&self.max_frame) {
            let (is, most) = (self.max_frame, u32::MAX);
            return refuse(format!("max_frame is {is} bytes: it must be from {SMALLEST_FRAME} to {most}"));
        }
        for limit in [&mut config.timeout_initializing, &mut config.timeout_working, &mut config.timeout_recovering] {
            *limit = limit.filter(|limit| *limit != Duration::MAX);
        }
        config.seed = RandomState::new().hash_one(0);
        Ok(config)
    }

    /// What a pool of sites cannot have.
    fn refused_on_sites(&self) -> Option<String> {
        let slots: usize = self.config.sites.iter().map(|site| site.slots).sum();
        let most = self.config.max_processes;
        if !self.sites.is_empty() && most != slots {
            return Some(format!("max_processes is {most}, and the sites have {slots} slots: leave max_processes out"));
        }
        if !self.config.is_far() {
            return None;
        }
        if self.limits != Limits::new() {
            return Some(
                "limits cannot be set on other machines: the pool would limit ssh or srun; leave them out".into(),
            );
        }
        if self.config.max_memory.is_limited() {
            return Some(
                "max_memory cannot be had on other machines: the pool would measure ssh or srun; leave it out".into(),
            );
        }
        if self.start_method == StartMethod::ForkServer {
            return Some("start_method is ForkServer, which cannot fork on other machines: leave it out".into());
        }
        None
    }

    fn encoded_options(&self) -> Result<Option<Payload>, BuildError> {
        let options = self.options.iter().flatten().find(|options| options.codec == self.codec);
        match options.map(|options| &options.encoded) {
            None => Ok(None),
            Some(Ok(bytes)) if bytes.len() + LONGEST_NAME > self.max_frame => Err(BuildError::new(
                BuildErrorKind::Options,
                format!("the options are {} bytes, which is over max_frame, {}", bytes.len(), self.max_frame),
            )),
            Some(Ok(bytes)) => Ok(Some(Payload::copied(bytes, self.codec))),
            Some(Err((fault, name))) => Err(BuildError::new(
                BuildErrorKind::Options,
                format!("the options, a {name}, could not be encoded: {fault}"),
            )),
        }
    }
}

/// Refuses a command of `self_exec` for jobs of another type, and one that would start a test harness again.
fn check_self_exec<J: Job>(of: &str) -> Result<(), BuildError> {
    let name = J::name();
    if of != name {
        return Err(BuildError::new(
            BuildErrorKind::Options,
            format!(
                "the pool has jobs of type {name}, but the command is self_exec's for jobs of type {of}: use \
                 Pool::self_exec, which names the type once"
            ),
        ));
    }
    match harness::refused(name) {
        Some(why) => Err(BuildError::new(BuildErrorKind::NotAWorker, why)),
        None => Ok(()),
    }
}
