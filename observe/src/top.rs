//! A view of what each worker does, in the terminal.

mod screen;
mod view;

use crate::watch::{State, Watch};
use hirelings::{Job, Pool};
use parking_lot::Mutex;
use screen::Screen;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;
use std::{env, fmt, thread};

/// How often the view is drawn.
const EVERY: Duration = Duration::from_millis(250);
/// How often there is a line where no view can be drawn.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// A view of what a pool does, on the last lines of the terminal that standard error is. Feature `top`.
///
/// It has a line a worker: its state and since when, its job's label, jobs done and memory; over them the figures of the pool,
/// below them the last failures. What is printed between [`suspend`](Top::suspend) stands above it. Where standard error is no
/// terminal, or `TERM` is `dumb` or not set, there is a line of figures every 10 seconds instead, and one at the end.
///
/// The view goes away when it is dropped or when the pool has ended, and leaves one line of figures. No key is read: Ctrl-C
/// does what it does without it. Lines from the workers would tear it: give the pool [`Stderr::Null`](hirelings::Stderr::Null).
///
/// ```no_run
/// use hirelings::{Job, Pool, Stderr};
/// use hirelings_observe::Top;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
/// # impl Job for Square { type Output = u64; type Progress = (); type Error = String; }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = Pool::<Square>::self_exec().stderr(Stderr::Null).build()?;
/// let top = Top::attach(&pool);
/// for result in pool.map((0..1000).map(Square)) {
///     top.suspend(|| println!("{result:?}"));
/// }
/// # Ok(()) }
/// ```
pub struct Top {
    watch: Arc<Watch>,
    screen: Arc<Mutex<Screen>>,
    drawer: Option<thread::JoinHandle<()>>,
}

impl Top {
    /// Shows what `pool` does from now on.
    ///
    /// ```no_run
    /// # use hirelings::{Job, Pool};
    /// # use hirelings_observe::Top;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = (); type Error = String; }
    /// # fn example(pool: &Pool<Square>) {
    /// let top = Top::attach(pool);
    /// pool.wait_idle();
    /// # }
    /// ```
    pub fn attach<J: Job>(pool: &Pool<J>) -> Top {
        let watch = Watch::attach(pool, |_, _, _| {});
        let can_move = env::var_os("TERM").is_some_and(|term| term != "dumb" && !term.is_empty());
        let is_view = io::stderr().is_terminal() && can_move;
        let screen = Arc::new(Mutex::new(Screen::new(is_view, LINE_EVERY)));
        let (watched, drawn) = (Arc::clone(&watch), Arc::clone(&screen));
        // Where no thread can be started nothing is drawn.
        let drawer = thread::Builder::new()
            .name("hirelings-top".into())
            .spawn(move || if is_view { draw(&watched, &drawn) } else { print(&watched, &drawn) });
        Top { watch, screen, drawer: drawer.ok() }
    }

    /// How often there is a line of figures where no view can be drawn. Default: 10 s.
    ///
    /// ```no_run
    /// # use hirelings::{Job, Pool};
    /// # use hirelings_observe::Top;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = (); type Error = String; }
    /// # fn example(pool: &Pool<Square>) {
    /// // In the log of a build that takes an hour.
    /// let top = Top::attach(pool).lines_every(std::time::Duration::from_secs(60));
    /// # }
    /// ```
    #[must_use]
    pub fn lines_every(self, every: Duration) -> Top {
        self.screen.lock().every = every;
        self.watch.over.notify_all();
        self
    }

    /// Takes the view away while `print` runs, so that what it prints stands above it.
    ///
    /// ```no_run
    /// # use hirelings_observe::Top;
    /// # fn example(top: &Top) {
    /// top.suspend(|| println!("a line above the view"));
    /// # }
    /// ```
    pub fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        let mut screen = self.screen.lock();
        screen.erase();
        let printed = print();
        screen.draw_again();
        printed
    }
}

impl Drop for Top {
    fn drop(&mut self) {
        self.watch.end();
        if let Some(drawer) = self.drawer.take() {
            let _ = drawer.join();
        }
    }
}

impl fmt::Debug for Top {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Top").finish_non_exhaustive()
    }
}

/// The view, until the pool has ended.
fn draw(watch: &Watch, screen: &Mutex<Screen>) {
    loop {
        let over = watch.wait(EVERY);
        let state = watch.look();
        let now = state.origin.now();
        let mut screen = screen.lock();
        if over {
            screen.erase();
            return say(&state, now);
        }
        let (columns, rows) = screen::size();
        screen.draw(view::render(&state, now, columns, rows));
    }
}

/// Lines now and then, until the pool has ended.
fn print(watch: &Watch, screen: &Mutex<Screen>) {
    let origin = watch.state.lock().origin;
    let mut last = origin.now();
    loop {
        let due = screen.lock().every.saturating_sub(origin.now().saturating_sub(last));
        let over = !due.is_zero() && watch.wait(due);
        let now = origin.now();
        if over || now.saturating_sub(last) >= screen.lock().every {
            last = now;
            say(&watch.look(), now);
        }
        if over || watch.state.lock().over {
            return;
        }
    }
}

/// The figures in one line.
fn say(state: &State, now: Duration) {
    // Standard error may be closed: then nobody reads it.
    let _ = writeln!(io::stderr(), "{}", view::figures(state, now));
}
