//! Progress bars.

use crate::watch::{State, Watch};
use hirelings::{Job, Pool};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{fmt, thread};

/// How often bars are drawn.
const EVERY: Duration = Duration::from_millis(100);

/// Progress bars of a pool on standard error, by `indicatif`: one for all jobs, and one a worker where wanted. Feature `bars`.
///
/// The bar for all is as long as the number of jobs that were enqueued so far, or as [`length`](Bars::length) says. It shows
/// how many have failed, and how many a second have ended of late. Where standard error is no terminal nothing is drawn. The
/// bars go away when they are dropped, or when the pool has ended.
///
/// Lines from the workers would tear them: give the pool [`Stderr::Null`](hirelings::Stderr::Null), and print between
/// [`suspend`](Bars::suspend).
///
/// ```no_run
/// use hirelings::{Job, Pool, Stderr};
/// use hirelings_observe::Bars;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = (); type Error = String; }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = Pool::<Square>::self_exec().stderr(Stderr::Null).build()?;
/// let bars = Bars::attach(&pool).length(1000);
/// for result in pool.map((0..1000).map(Square)) {
///     if let Err(error) = result {
///         bars.suspend(|| eprintln!("{error}"));
///     }
/// }
/// # Ok(()) }
/// ```
pub struct Bars {
    watch: Arc<Watch>,
    bars: MultiProgress,
    total: ProgressBar,
    drawer: Option<thread::JoinHandle<()>>,
    /// Whether the length is what was enqueued.
    follow: Arc<AtomicBool>,
}

impl Bars {
    /// One bar for all jobs of the pool.
    ///
    /// ```no_run
    /// # use hirelings::{Job, Pool};
    /// # use hirelings_observe::Bars;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = (); type Error = String; }
    /// # fn example(pool: &Pool<Square>) {
    /// let bars = Bars::attach(pool);
    /// pool.wait_idle();
    /// # }
    /// ```
    pub fn attach<J: Job>(pool: &Pool<J>) -> Bars {
        Bars::start(pool, false)
    }

    /// The same, and a bar for each worker below it, with the label of its job and since when it has it.
    ///
    /// ```no_run
    /// # use hirelings::{Job, Pool};
    /// # use hirelings_observe::Bars;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = (); type Error = String; }
    /// # fn example(pool: &Pool<Square>) {
    /// let bars = Bars::attach_with_workers(pool);
    /// pool.wait_idle();
    /// # }
    /// ```
    pub fn attach_with_workers<J: Job>(pool: &Pool<J>) -> Bars {
        Bars::start(pool, true)
    }

    fn start<J: Job>(pool: &Pool<J>, workers: bool) -> Bars {
        let watch = Watch::attach(pool, |_, _, _| {});
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let total = bars.add(ProgressBar::new(0));
        total.set_style(style("{bar:40} {pos}/{len} {elapsed} {msg}"));
        let follow = Arc::new(AtomicBool::new(true));
        let mut drawer = Drawer {
            bars: bars.clone(),
            total: total.clone(),
            follow: Arc::clone(&follow),
            workers,
            slots: BTreeMap::new(),
        };
        let watched = Arc::clone(&watch);
        // Where no thread can be started nothing is drawn.
        let drawer = thread::Builder::new().name("hirelings-bars".into()).spawn(move || {
            while !watched.wait(EVERY) {
                drawer.draw(&watched.look());
            }
            drawer.draw(&watched.look());
            drawer.clear();
        });
        Bars { watch, bars, total, drawer: drawer.ok(), follow }
    }

    /// How many jobs there will be, so that the bar tells how far it is before they are all enqueued.
    ///
    /// ```no_run
    /// # use hirelings::{Job, Pool};
    /// # use hirelings_observe::Bars;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = (); type Error = String; }
    /// # fn example(pool: &Pool<Square>) {
    /// let bars = Bars::attach(pool).length(1_000_000);
    /// let sum: u64 = pool.map((0..1_000_000).map(Square)).flatten().sum();
    /// # }
    /// ```
    #[must_use]
    pub fn length(self, jobs: u64) -> Bars {
        self.follow.store(false, Ordering::Relaxed);
        self.total.set_length(jobs);
        self
    }

    /// Takes the bars away while `print` runs, so that what it prints does not stand among them.
    ///
    /// ```no_run
    /// # use hirelings_observe::Bars;
    /// # fn example(bars: &Bars) {
    /// bars.suspend(|| println!("a line above the bars"));
    /// # }
    /// ```
    pub fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bars.suspend(print)
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.watch.end();
        if let Some(drawer) = self.drawer.take() {
            let _ = drawer.join();
        }
    }
}

impl fmt::Debug for Bars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bars").field("position", &self.total.position()).finish_non_exhaustive()
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

struct Drawer {
    bars: MultiProgress,
    total: ProgressBar,
    follow: Arc<AtomicBool>,
    workers: bool,
    slots: BTreeMap<usize, ProgressBar>,
}

impl Drawer {
    fn draw(&mut self, state: &State) {
        let now = state.origin.now();
        if self.follow.load(Ordering::Relaxed) {
            self.total.set_length(state.enqueued);
        }
        let mut message = format!("{:.0}/s", state.rate(now));
        if state.failed > 0 {
            message.push_str(&format!(", {} failed", state.failed));
        }
        if state.retries > 0 {
            message.push_str(&format!(", {} tried again", state.retries));
        }
        self.total.set_message(message);
        self.total.set_position(state.succeeded + state.failed + state.aborted);
        self.total.tick();
        if !self.workers {
            return;
        }
        for seen in state.workers.values() {
            let bars = &self.bars;
            let bar = self.slots.entry(seen.slot).or_insert_with(|| {
                let bar = bars.add(ProgressBar::no_length());
                bar.set_style(style("  {prefix:>3} {spinner} {msg}"));
                bar.with_prefix(seen.slot.to_string())
            });
            let name = match (&seen.label, seen.job) {
                (Some(label), _) => label.to_string(),
                (None, Some(job)) => format!("job {job}"),
                (None, None) => seen.state.to_owned(),
            };
            let since = now.saturating_sub(seen.since).as_secs_f64();
            bar.set_message(if seen.job.is_some() { format!("{name} {since:.1} s") } else { name });
            bar.tick();
        }
    }

    fn clear(&self) {
        self.slots.values().for_each(ProgressBar::finish_and_clear);
        self.total.finish_and_clear();
    }
}
