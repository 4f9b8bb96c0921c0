//! What the pool is configured to do.

use super::retry::RetryPolicy;
use std::time::Duration;

/// The pool's options, as far as they decide anything. `None` is no limit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Config {
    pub(crate) max_processes: usize,
    pub(crate) min_processes: usize,
    /// A worker does exactly so many jobs; none: it is replaced after [`USUAL_JOBS`] of them, if it is [`USUAL_AGE`] old.
    pub(crate) max_jobs_per_process: Option<u64>,
    /// How long a worker may be without a job while there are more than `min_processes`.
    pub(crate) idle_timeout: Option<Duration>,
    /// How old a worker may be; each has a limit of its own, which is up to a tenth less.
    pub(crate) max_age: Option<Duration>,
    /// How many jobs that no worker has begun the pool accepts.
    pub(crate) max_backlog: Option<usize>,
    pub(crate) retry: RetryPolicy,
    /// A job that no worker has begun by then is over.
    pub(crate) expires: Option<Duration>,
    /// What the jitter of retries is drawn from.
    pub(crate) seed: u64,
    pub(crate) timeout_initializing: Option<Duration>,
    pub(crate) timeout_working: Option<Duration>,
    pub(crate) timeout_recovering: Option<Duration>,
    /// When a job that runs is asked to come to its end.
    pub(crate) soft_timeout: Option<Duration>,
    pub(crate) kill_grace: Duration,
    pub(crate) start_failures: u32,
    /// The most jobs that are prefetched to a worker. 0 turns prefetching off.
    pub(crate) prefetch: u32,
    /// How many workers can run at the same time.
    pub(crate) cores: usize,
    pub(crate) max_memory: MaxMemory,
    /// Where the slots are, in their order; none: all are in one place, on this machine.
    pub(crate) sites: Vec<SiteRules>,
}

/// What holds for the workers of one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SiteRules {
    pub(crate) slots: usize,
    /// How long nothing may come over the connection of a worker there, from either side; none: it is on this machine, and
    /// no connection can be lost.
    pub(crate) silence: Option<Duration>,
    /// The most jobs that are prefetched to a worker there; none: the pool's own.
    pub(crate) prefetch: Option<u32>,
    /// The limit of a start there; none: the pool's own.
    pub(crate) timeout_initializing: Option<Option<Duration>>,
}

/// Refuses a size that no pool could have.
///
/// # Errors
///
/// A sentence that names the option.
pub(crate) fn check_max_processes(max: usize) -> Result<(), String> {
    if max == 0 {
        return Err("max_processes is 0: a pool needs at least one worker".into());
    }
    if max > MOST_PROCESSES {
        return Err(format!("max_processes is {max}: at most {MOST_PROCESSES} are supported"));
    }
    Ok(())
}

/// More slots than this are refused.
const MOST_PROCESSES: usize = 65_535;

/// As many jobs are prefetched as a worker's pace allows, up to this: the smallest jobs take some four microseconds, so more than
/// this would be little more than a [short while](super::SHORT)'s work.
pub(crate) const ADAPTIVE: u32 = 256;

impl Default for Config {
    /// The defaults of the builder's options, on one core.
    fn default() -> Self {
        Config {
            max_processes: 1,
            min_processes: 0,
            max_jobs_per_process: None,
            idle_timeout: None,
            max_age: None,
            max_backlog: None,
            retry: RetryPolicy::new(0),
            expires: None,
            seed: 0,
            timeout_initializing: Some(Duration::from_secs(5)),
            timeout_working: Some(Duration::from_secs(10)),
            timeout_recovering: Some(Duration::from_secs(5)),
            soft_timeout: None,
            kill_grace: Duration::from_millis(500),
            start_failures: 5,
            prefetch: ADAPTIVE,
            cores: 1,
            max_memory: MaxMemory::default(),
            sites: Vec::new(),
        }
    }
}

impl SiteRules {
    /// In which of the sites a slot is.
    pub(crate) fn of(sites: &[SiteRules], slot: usize) -> Option<usize> {
        let mut end = 0;
        sites.iter().position(|site| {
            end += site.slots;
            slot < end
        })
    }
}

impl Config {
    /// In which of the sites a slot is.
    pub(crate) fn site_of(&self, slot: usize) -> Option<usize> {
        SiteRules::of(&self.sites, slot)
    }

    pub(crate) fn site(&self, slot: usize) -> Option<&SiteRules> {
        self.sites.get(self.site_of(slot)?)
    }

    /// The most jobs that are prefetched to the worker in a slot.
    pub(crate) fn prefetch_at(&self, slot: usize) -> u32 {
        self.site(slot).and_then(|site| site.prefetch).unwrap_or(self.prefetch)
    }

    /// Whether a worker may be on another machine.
    pub(crate) fn is_far(&self) -> bool {
        self.sites.iter().any(|site| site.silence.is_some())
    }

    /// Refuses what no pool could work with.
    ///
    /// # Errors
    ///
    /// A sentence that names the option.
    pub(crate) fn check(&self) -> Result<(), String> {
        let (min, max) = (self.min_processes, self.max_processes);
        check_max_processes(max)?;
        if min > max {
            return Err(format!("min_processes is {min}, which is more than max_processes, {max}"));
        }
        if self.max_backlog == Some(0) {
            return Err("max_backlog is 0: no job could ever wait; leave it out for no limit".into());
        }
        if self.max_jobs_per_process == Some(0) {
            return Err("max_jobs_per_process is 0: a worker must do at least one job".into());
        }
        for (name, limit) in [("idle_timeout", self.idle_timeout), ("max_age", self.max_age)] {
            if limit == Some(Duration::ZERO) {
                return Err(format!("{name} is 0: no worker could stay; use None for no limit"));
            }
        }
        if self.start_failures == 0 {
            return Err("start_failures is 0: at least one failure must be allowed".into());
        }
        let MaxMemory { soft, hard } = self.max_memory;
        if soft == Some(0) || hard == Some(0) {
            return Err("max_memory is 0: no worker could hold so little; use None for no limit".into());
        }
        if let (Some(soft), Some(hard)) = (soft, hard)
            && soft > hard
        {
            return Err(format!("max_memory: the soft limit, {soft} bytes, is over the hard one, {hard}"));
        }
        if let (Some(soft), Some(hard)) = (self.soft_timeout, self.timeout_working)
            && soft >= hard
        {
            return Err(format!("soft_timeout is {soft:?}: it must be under timeout_working, {hard:?}"));
        }
        for (name, limit) in [
            ("soft_timeout", self.soft_timeout),
            ("timeout_initializing", self.timeout_initializing),
            ("timeout_working", self.timeout_working),
            ("timeout_recovering", self.timeout_recovering),
        ] {
            if limit == Some(Duration::ZERO) {
                return Err(format!("{name} is 0: no worker could meet it; use None for no limit"));
            }
        }
        Ok(())
    }
}

/// A worker of a pool that says nothing of it is replaced once it has done so many jobs and is so old. Either alone would
/// cost those who have many short jobs, or few.
pub(crate) const USUAL_JOBS: u64 = 64;
pub(crate) const USUAL_AGE: Duration = Duration::from_secs(60);

/// How many bytes of memory a worker may hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct MaxMemory {
    /// Over it, the worker is replaced after its job.
    pub(crate) soft: Option<u64>,
    /// Over it, the worker is killed.
    pub(crate) hard: Option<u64>,
}

impl MaxMemory {
    pub(crate) fn is_limited(self) -> bool {
        self.soft.is_some() || self.hard.is_some()
    }
}

/// A job as its caller brings it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Submitted {
    /// Unique in the pool.
    pub(crate) id: u64,
    /// How long its payload is, in KiB.
    pub(crate) kib: u16,
    pub(crate) settings: JobSettings,
}

impl Submitted {
    /// `bytes`: how long its payload is.
    pub(crate) fn new(id: u64, bytes: usize, settings: JobSettings) -> Self {
        Submitted { id, kib: u16::try_from(bytes / 1024).unwrap_or(u16::MAX), settings }
    }
}

/// The settings of one job: `None` in all of it is the pool's own, and costs eight bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct JobSettings(Option<Box<Overrides>>);

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Overrides {
    priority: i32,
    retries: Option<u32>,
    /// What few jobs have.
    rare: Option<Box<Rare>>,
    timeout: Option<Option<Duration>>,
    soft_timeout: Option<Option<Duration>>,
    delay: Duration,
    expires: Option<Option<Duration>>,
    idempotent: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Rare {
    /// Where the policy says more than the number of retries.
    retry: Option<RetryPolicy>,
    limit: Option<Limit>,
    /// The text of the limit's key, until that has a number.
    key: Option<Box<str>>,
}

/// A key of jobs, by its number: its text is the driver's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LimitKey(pub(crate) u32);

/// How many jobs of a key may run at once, as one of them says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Limit {
    pub(crate) key: LimitKey,
    pub(crate) permits: u32,
}

impl JobSettings {
    fn overrides(&mut self) -> &mut Overrides {
        self.0.get_or_insert_default()
    }

    fn rare(&mut self) -> &mut Rare {
        self.overrides().rare.get_or_insert_default()
    }

    pub(crate) fn set_priority(&mut self, priority: i32) {
        self.overrides().priority = priority;
    }

    pub(crate) fn set_retries(&mut self, retries: u32) {
        let overrides = self.overrides();
        overrides.retries = Some(retries);
        if let Some(rare) = &mut overrides.rare {
            rare.retry = None;
        }
    }

    pub(crate) fn set_retry(&mut self, policy: RetryPolicy) {
        self.set_retries(policy.retries);
        if policy != RetryPolicy::new(policy.retries) {
            self.rare().retry = Some(policy);
        }
    }

    pub(crate) fn set_timeout(&mut self, limit: Option<Duration>) {
        self.overrides().timeout = Some(limit);
    }

    pub(crate) fn set_soft_timeout(&mut self, limit: Option<Duration>) {
        self.overrides().soft_timeout = Some(limit);
    }

    pub(crate) fn set_delay(&mut self, delay: Duration) {
        self.overrides().delay = delay;
    }

    pub(crate) fn set_expires(&mut self, after: Option<Duration>) {
        self.overrides().expires = Some(after);
    }

    /// The job is one of `key`, of which only so many run at once.
    pub(crate) fn set_limit(&mut self, key: Box<str>, permits: u32) {
        let rare = self.rare();
        (rare.limit, rare.key) = (Some(Limit { key: LimitKey::default(), permits }), Some(key));
    }

    /// Gives the limit's key the number that `number` has for its text, which is no longer kept.
    pub(crate) fn number_key(&mut self, number: impl FnOnce(Box<str>) -> LimitKey) {
        if let Some(rare) = self.0.as_mut().and_then(|overrides| overrides.rare.as_mut())
            && let (Some(limit), Some(key)) = (&mut rare.limit, rare.key.take())
        {
            limit.key = number(key);
        }
    }

    /// The same with the number of the key.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn set_numbered_limit(&mut self, key: u32, permits: u32) {
        self.set_limit("".into(), permits);
        self.number_key(|_| LimitKey(key));
    }

    pub(crate) fn limit(&self) -> Option<Limit> {
        self.0.as_ref()?.rare.as_ref()?.limit
    }

    pub(crate) fn set_idempotent(&mut self, idempotent: bool) {
        self.overrides().idempotent = idempotent;
    }

    /// Whether it may be begun again where it is not known that it had begun.
    pub(crate) fn is_idempotent(&self) -> bool {
        self.0.as_ref().is_some_and(|overrides| overrides.idempotent)
    }

    pub(crate) fn delay(&self) -> Duration {
        self.0.as_ref().map_or(Duration::ZERO, |overrides| overrides.delay)
    }

    pub(crate) fn expires(&self, pools: Option<Duration>) -> Option<Duration> {
        self.0.as_ref().and_then(|overrides| overrides.expires).unwrap_or(pools)
    }

    pub(crate) fn priority(&self) -> i32 {
        self.0.as_ref().map_or(0, |overrides| overrides.priority)
    }

    pub(crate) fn retry(&self, pools: RetryPolicy) -> RetryPolicy {
        let Some(overrides) = &self.0 else { return pools };
        match (overrides.rare.as_ref().and_then(|rare| rare.retry), overrides.retries) {
            (Some(policy), _) => policy,
            (None, Some(retries)) => RetryPolicy::new(retries),
            (None, None) => pools,
        }
    }

    pub(crate) fn attempts(&self, pools: RetryPolicy) -> u32 {
        let overrides = self.0.as_ref().and_then(|overrides| overrides.retries);
        overrides.unwrap_or(pools.retries).saturating_add(1)
    }

    pub(crate) fn timeout(&self, pools: Option<Duration>) -> Option<Duration> {
        self.0.as_ref().and_then(|overrides| overrides.timeout).unwrap_or(pools)
    }

    pub(crate) fn soft_timeout(&self, pools: Option<Duration>) -> Option<Duration> {
        self.0.as_ref().and_then(|overrides| overrides.soft_timeout).unwrap_or(pools)
    }
}
