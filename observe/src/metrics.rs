//! The `metrics` facade.

use crate::recording::Outcome;
use crate::sampler::resident;
use crate::watch::{State, Watch};
use ::metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use hirelings::{Event, EventKind, Job, Pool};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, thread};

/// How often gauges are set.
const EVERY: Duration = Duration::from_secs(1);

/// A pool's figures for the `metrics` facade, under names after Prometheus's conventions. Feature `metrics`.
///
/// The program installs an exporter of its choice first. Each name has the label `pool`, the pool's name:
///
/// | name | kind | what it is |
/// | --- | --- | --- |
/// | `hirelings_jobs_enqueued_total` | counter | jobs that were accepted |
/// | `hirelings_jobs_finished_total` | counter | jobs that have ended, by `outcome`: `succeeded`, `failed`, `crashed`, `timed_out`, … |
/// | `hirelings_job_retries_total` | counter | attempts that failed and were followed by another, by `outcome` |
/// | `hirelings_job_wait_seconds` | histogram | how long attempts waited for a worker |
/// | `hirelings_job_run_seconds` | histogram | how long attempts ran |
/// | `hirelings_worker_starts_total` | counter | worker processes that were started |
/// | `hirelings_worker_exits_total` | counter | worker processes that have ended |
/// | `hirelings_worker_timeouts_total` | counter | workers that passed a limit of time |
/// | `hirelings_jobs_waiting` | gauge | jobs that no worker has |
/// | `hirelings_workers` | gauge | worker processes |
/// | `hirelings_workers_busy` | gauge | workers that have a job |
/// | `hirelings_workers_resident_bytes` | gauge | memory that all workers hold |
///
/// Gauges are set once a second, counters and histograms as things happen.
///
/// ```no_run
/// use hirelings::{Job, Pool};
/// use hirelings_observe::Metrics;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = (); type Error = String; }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let prometheus = metrics_exporter_prometheus::PrometheusBuilder::new().install_recorder()?;
/// let pool = Pool::<Square>::self_exec().name("squares").build()?;
/// let _metrics = Metrics::attach(&pool);
/// println!("{}", prometheus.render());
/// # Ok(()) }
/// ```
pub struct Metrics {
    watch: Arc<Watch>,
}

impl Metrics {
    /// Tells the facade what `pool` does from now on, until this is dropped or the pool has ended.
    ///
    /// ```no_run
    /// # use hirelings::{Job, Pool};
    /// # use hirelings_observe::Metrics;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = (); type Error = String; }
    /// # fn example(pool: &Pool<Square>) {
    /// let metrics = Metrics::attach(pool);
    /// pool.wait_idle();
    /// # }
    /// ```
    pub fn attach<J: Job>(pool: &Pool<J>) -> Metrics {
        describe();
        let times = Mutex::new(HashMap::new());
        let watch = Watch::attach(pool, move |state, event, outcome| tell(&mut times.lock(), state, event, outcome));
        let watched = Arc::clone(&watch);
        // Where no thread can be started gauges are not set.
        let _ = thread::Builder::new().name("hirelings-metrics".into()).spawn(move || {
            loop {
                let over = watched.wait(EVERY);
                set_gauges(&watched.look());
                if over {
                    return;
                }
            }
        });
        Metrics { watch }
    }
}

impl Drop for Metrics {
    fn drop(&mut self) {
        self.watch.end();
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

fn describe() {
    describe_counter!("hirelings_jobs_enqueued_total", "Jobs that were accepted.");
    describe_counter!("hirelings_jobs_finished_total", "Jobs that have ended, by outcome.");
    describe_counter!("hirelings_job_retries_total", "Attempts that failed and were followed by another, by outcome.");
    describe_histogram!("hirelings_job_wait_seconds", Unit::Seconds, "How long attempts waited for a worker.");
    describe_histogram!("hirelings_job_run_seconds", Unit::Seconds, "How long attempts ran.");
    describe_counter!("hirelings_worker_starts_total", "Worker processes that were started.");
    describe_counter!("hirelings_worker_exits_total", "Worker processes that have ended.");
    describe_counter!("hirelings_worker_timeouts_total", "Workers that passed a limit of time.");
    describe_gauge!("hirelings_jobs_waiting", "Jobs that no worker has.");
    describe_gauge!("hirelings_workers", "Worker processes.");
    describe_gauge!("hirelings_workers_busy", "Workers that have a job.");
    describe_gauge!("hirelings_workers_resident_bytes", Unit::Bytes, "Memory that all workers hold.");
}

/// Since when a job waits, and runs.
type Times = HashMap<u64, (Option<Duration>, Option<Duration>)>;

fn tell(times: &mut Times, state: &State, event: &Event, outcome: Option<Outcome>) {
    let pool = state.pool.to_string();
    let now = event.at();
    let name = |outcome: Outcome| outcome.name().replace(' ', "_");
    let job = event.job().map_or(0, |job| job.get());
    match event.kind() {
        EventKind::Enqueue => {
            times.entry(job).or_default().0 = Some(now);
            counter!("hirelings_jobs_enqueued_total", "pool" => pool).increment(1);
        }
        EventKind::Task => {
            let (waits, runs) = times.entry(job).or_default();
            *runs = Some(now);
            if let Some(since) = waits.take() {
                histogram!("hirelings_job_wait_seconds", "pool" => pool).record(now.saturating_sub(since));
            }
        }
        EventKind::JobRetry | EventKind::JobSuccess | EventKind::JobFailure | EventKind::JobAbort => {
            if let Some((_, Some(since))) = times.remove(&job) {
                histogram!("hirelings_job_run_seconds", "pool" => pool.clone()).record(now.saturating_sub(since));
            }
            let outcome = name(outcome.unwrap_or(Outcome::Failed));
            if event.kind() == EventKind::JobRetry {
                times.insert(job, (Some(now), None));
                counter!("hirelings_job_retries_total", "pool" => pool, "outcome" => outcome).increment(1);
            } else {
                counter!("hirelings_jobs_finished_total", "pool" => pool, "outcome" => outcome).increment(1);
            }
        }
        EventKind::Spawn => counter!("hirelings_worker_starts_total", "pool" => pool).increment(1),
        EventKind::Exit => counter!("hirelings_worker_exits_total", "pool" => pool).increment(1),
        EventKind::WorkerTimeout => counter!("hirelings_worker_timeouts_total", "pool" => pool).increment(1),
        _ => {}
    }
}

fn set_gauges(state: &State) {
    if state.pool.is_empty() {
        return;
    }
    let pool = state.pool.to_string();
    let busy = state.workers.values().filter(|seen| seen.job.is_some()).count();
    let memory: u64 = state.workers.values().filter_map(|seen| resident(seen.pid)).sum();
    gauge!("hirelings_jobs_waiting", "pool" => pool.clone()).set(state.backlog as f64);
    gauge!("hirelings_workers", "pool" => pool.clone()).set(state.workers.len() as f64);
    gauge!("hirelings_workers_busy", "pool" => pool.clone()).set(busy as f64);
    gauge!("hirelings_workers_resident_bytes", "pool" => pool).set(memory as f64);
}
