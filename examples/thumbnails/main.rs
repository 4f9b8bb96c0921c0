//! Makes a thumbnail of every picture that it is given, and a contact sheet: one picture of them all.
//!
//! Pictures come from anywhere, and the code that decodes them crashes on some, hangs on others, or takes all the
//! memory there is; and one that is taken over reads your files and calls home. So it runs in worker processes, which can
//! open the pictures and nothing else: a hostile picture costs that picture, and one sentence says why.
//!
//! ```text
//! cargo run --release --example thumbnails                 # draws its own pictures, some of them hostile
//! cargo run --release --example thumbnails -- ~/Pictures
//! ```

#![allow(clippy::print_stderr, reason = "a program may speak")]
#![allow(clippy::disallowed_methods, reason = "the library reads the clock in one place; this is a program")]

mod args;
mod files;
mod samples;
mod sheet;

use args::Args;
use hirelings::worker::{BoxError, Context, Outcome, Worker, init_worker};
use hirelings::{Bytes, Job, JobError, Pool, Stats, Stderr, self_exec};
use hirelings_confine::Confinement;
use hirelings_observe::Recorder;
use image::{ImageReader, RgbImage};
use indicatif::{ProgressBar, ProgressStyle};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};
use sheet::Sheet;
use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// The address space that a worker may have, in MiB.
const MEMORY: u64 = 512;

// ------------------------------------------------------------ the worker's side

/// One picture's file. It is no `PathBuf`, of which serde encodes only those that are UTF-8.
#[derive(Serialize, Deserialize)]
struct Picture(OsString);

/// What a worker gives back: pixels, so that nothing of the picture is decoded outside.
#[derive(Serialize, Deserialize)]
struct Thumbnail {
    width: u32,
    height: u32,
    rgb: Bytes,
}

impl Job for Picture {
    type Output = Thumbnail;
    type Progress = ();
    type Error = String;
}

/// What every worker is told when it starts.
#[derive(Serialize, Deserialize)]
struct Settings {
    size: u32,
    /// Whether the pictures are the samples, some of which stand in for a bug.
    samples: bool,
    /// The files and folders that a worker may read, and nothing else of the system; none for a worker that may do anything.
    confined_to: Option<Vec<OsString>>,
}

struct Decoder(Settings);

impl Worker for Decoder {
    type Job = Picture;
    type Options = Settings;

    fn init(settings: Settings) -> Result<Self, BoxError> {
        limit(Resource::As, MEMORY << 20)?;
        // Crashes are expected here: nobody wants their cores.
        limit(Resource::Core, 0)?;
        if let Some(paths) = &settings.confined_to {
            Confinement::new().read(paths).kill_on_violation().apply()?;
        }
        Ok(Decoder(settings))
    }

    fn run(&mut self, Picture(file): Picture, _: &mut Context<Picture>) -> Outcome<Picture> {
        if self.0.samples {
            samples::stand_in_for_a_bug(Path::new(&file))?;
        }
        let reader = ImageReader::open(&file).and_then(ImageReader::with_guessed_format);
        let mut reader = reader.map_err(|error| error.to_string())?;
        // These decoders have limits of their own, to be kept in a program that is no example: here the limit of the
        // process is to show that it holds for any decoder.
        reader.no_limits();
        let mut picture = reader.decode().map_err(|error| error.to_string())?;
        if picture.width().max(picture.height()) > self.0.size {
            picture = picture.thumbnail(self.0.size, self.0.size);
        }
        let picture = picture.into_rgb8();
        Ok(Thumbnail { width: picture.width(), height: picture.height(), rgb: Bytes(picture.into_raw()) })
    }
}

/// Lowers a limit of this process for good, where it is not lower already.
fn limit(resource: Resource, most: u64) -> io::Result<()> {
    let most = Some(getrlimit(resource).maximum.map_or(most, |maximum| maximum.min(most)));
    Ok(setrlimit(resource, Rlimit { current: most, maximum: most })?)
}

// ------------------------------------------------------------ the pool's side

fn main() -> ExitCode {
    // First thing in main: in a worker process it does the jobs and never returns.
    init_worker::<Decoder>();

    let args = match args::parse() {
        Ok(args) => args,
        Err(error) => {
            eprintln!("thumbnails: {error}; see --help");
            return ExitCode::from(2);
        }
    };
    run(&args).unwrap_or_else(|error| {
        eprintln!("thumbnails: {error}");
        ExitCode::FAILURE
    })
}

/// Why a file came to nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Unreadable,
    OutOfMemory,
    TooSlow,
    Crashed,
    Forbidden,
}

impl Kind {
    /// What the summary calls it, and its colour on the contact sheet.
    fn look(self) -> (&'static str, [u8; 3]) {
        match self {
            Kind::Unreadable => ("unreadable (grey)", [150, 150, 150]),
            Kind::OutOfMemory => ("out of memory (violet)", [180, 90, 255]),
            Kind::TooSlow => ("too slow (yellow)", [255, 200, 40]),
            Kind::Crashed => ("crashed (red)", [255, 60, 60]),
            Kind::Forbidden => ("ended for what they tried (blue)", [70, 130, 255]),
        }
    }
}

/// The files that came to nothing, or that are expected to.
type Failures = BTreeMap<PathBuf, Kind>;

fn run(args: &Args) -> Result<ExitCode, Box<dyn Error>> {
    let mut out = io::stdout();
    if args.help {
        out.write_all(args::HELP.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let folder = args.out.join("small");
    fs::create_dir_all(&folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    let (mut failures, mut expected) = (Failures::new(), Failures::new());
    let samples = args.out.join("samples");
    let pictures = if args.paths.is_empty() {
        let troubles = samples::troubles(args.confined);
        let bar = progress_bar(args.samples + troubles.len(), "samples");
        samples::make(&samples, args.samples, troubles, &mut expected, || bar.inc(1))?
    } else {
        files::find(args, &mut failures)?
    };
    if pictures.is_empty() {
        return Err("no pictures were found (png, jpeg, gif, webp, bmp)".into());
    }

    let start = Instant::now();
    let interrupted = Arc::new(AtomicBool::new(false));
    let to_read = args.confined.then(|| files::to_read(args, &samples, &pictures));
    let pool = start_pool(args, to_read, Arc::clone(&interrupted))?;
    let recorder = Recorder::attach(&pool);
    let sheet = make_thumbnails(&pool, &pictures, args, &folder, &mut failures);
    // When this returns no worker is left.
    pool.exit();
    if interrupted.load(Ordering::SeqCst) {
        eprintln!("thumbnails: interrupted; what was made is in {}", folder.display());
        return Ok(ExitCode::from(130));
    }

    let timeline = args.out.join("timeline.html");
    recorder.write_timeline(&timeline).map_err(|error| format!("cannot write {}: {error}", timeline.display()))?;
    let sheet_file = args.out.join("contact-sheet.png");
    files::save(&sheet?.into_picture(), &sheet_file)?;
    let Stats { succeeded, spawned, .. } = pool.stats();
    let (all, seconds) = (pictures.len(), start.elapsed().as_secs_f64());
    writeln!(out, "{succeeded} thumbnails of {all} pictures in {seconds:.1} s by {spawned} workers")?;
    summarize(&failures, &expected)?;
    writeln!(out, "thumbnails: {}\ncontact sheet: {}", folder.display(), sheet_file.display())?;
    writeln!(out, "what each worker did: {}", timeline.display())?;
    Ok(if failures == expected { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Writes the thumbnails to `folder`, says what fails, and gives the contact sheet.
fn make_thumbnails(
    pool: &Pool<Picture>,
    pictures: &[PathBuf],
    args: &Args,
    folder: &Path,
    failures: &mut Failures,
) -> Result<Sheet, Box<dyn Error>> {
    let mut sheet = Sheet::new(pictures.len(), args.size);
    let bar = progress_bar(pictures.len(), "thumbnails");
    // Results come as they are ready, each with its picture's place.
    let (done, results) = channel();
    let mut left = pictures.iter().enumerate();
    let mut enqueue_one = || {
        if let Some((n, file)) = left.next() {
            let done = done.clone();
            let request =
                pool.request(Picture(file.into())).label(file.file_name().unwrap_or_default().to_string_lossy());
            drop(request.on_done(move |result| drop(done.send((n, result)))).enqueue());
        }
    };
    // A few more than there are workers, and another for each that is done: thousands of pictures take no more memory.
    (0..4 * args.jobs).for_each(|_| enqueue_one());
    for _ in 0..pictures.len() {
        let (n, result) = results.recv()?;
        enqueue_one();
        match result {
            Ok(Thumbnail { width, height, rgb }) => {
                let thumbnail = RgbImage::from_raw(width, height, rgb.0).ok_or("a thumbnail has too few pixels")?;
                files::save(&thumbnail, &folder.join(files::thumbnail_name(n, &pictures[n])))?;
                sheet.place(n, &thumbnail);
            }
            // All that are left would come to the same: there was Ctrl-C, or no worker starts.
            Err(error @ (JobError::Closed | JobError::NoWorker(_))) => return Err(error.into()),
            Err(error) => {
                let (kind, why) = explain(error);
                // The bar makes way for the sentence.
                bar.suspend(|| writeln!(io::stdout(), "{}: {why}", pictures[n].display()))?;
                sheet.cross_out(n, kind.look().1);
                failures.insert(pictures[n].clone(), kind);
                bar.set_message(format!("{} failed", failures.len()));
            }
        }
        bar.inc(1);
    }
    Ok(sheet)
}

/// A pool of decoders, which Ctrl-C ends.
fn start_pool(
    args: &Args,
    confined_to: Option<Vec<OsString>>,
    interrupted: Arc<AtomicBool>,
) -> Result<Arc<Pool<Picture>>, Box<dyn Error>> {
    // What a worker writes last is to be its complaint, not its stack.
    let mut worker = self_exec::<Picture>();
    worker.env("RUST_BACKTRACE", "0");
    let pool = Pool::builder(worker)
        .name("thumbnails")
        .options(&Settings { size: args.size, samples: args.paths.is_empty(), confined_to })
        .max_processes(args.jobs)
        .timeout_working(args.timeout)
        // What workers say as they go would break the progress bar.
        .stderr(Stderr::Null)
        .build()?;
    let pool = Arc::new(pool);
    // Weak: the pool is to end with its owner, in whatever way that ends.
    let weak = Arc::downgrade(&pool);
    ctrlc::set_handler(move || {
        interrupted.store(true, Ordering::SeqCst);
        if let Some(pool) = weak.upgrade() {
            pool.exit();
        }
    })?;
    Ok(pool)
}

/// What kind of failure it is, and a sentence.
fn explain(error: JobError<String>) -> (Kind, String) {
    match error {
        JobError::Failed(why) => (Kind::Unreadable, why),
        JobError::TimedOut(timeout) => {
            (Kind::TooSlow, format!("took longer than {} s and was ended", timeout.limit.as_secs_f64()))
        }
        JobError::Panicked(panic) => (Kind::Crashed, format!("the decoder panicked: {}", panic.message)),
        JobError::Crashed(crash) if crash.status.and_then(|status| status.signal()) == Some(Signal::SYS.as_raw()) => {
            let call = crash.forbidden_call().map(|call| format!(" ({call})")).unwrap_or_default();
            (Kind::Forbidden, format!("the decoder made a forbidden system call{call} and was ended"))
        }
        JobError::Crashed(crash) => {
            let status = crash.status.map(|status| format!(" ({status})")).unwrap_or_default();
            // So ends a program of Rust's that asks for memory and gets none.
            match crash.stderr.lines().find(|line| line.starts_with("memory allocation of ")) {
                Some(line) => (Kind::OutOfMemory, format!("ran out of memory under its limit of {MEMORY} MiB: {line}")),
                None => (Kind::Crashed, format!("the decoder crashed{status}: {}", crash.stderr.trim_end())),
            }
        }
        other => (Kind::Crashed, other.to_string()),
    }
}

// ------------------------------------------------------------ what people read

/// A bar on standard error, until it is dropped; where that is no terminal nothing is drawn.
fn progress_bar(length: usize, what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix} {bar:40} {pos}/{len} {elapsed} {msg}");
    let bar = ProgressBar::new(length as u64).with_prefix(what);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    // The time goes on while nothing else does.
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// How many failed, by kind; of the samples, whether each trouble came to what it should.
fn summarize(failures: &Failures, expected: &Failures) -> io::Result<()> {
    let mut out = io::stdout();
    let mut counts = BTreeMap::new();
    failures.values().for_each(|kind| *counts.entry(kind).or_insert(0) += 1);
    for (kind, count) in counts {
        writeln!(out, "  {count} {}", kind.look().0)?;
    }
    for (file, kind) in expected.iter().filter(|(file, kind)| failures.get(*file) != Some(kind)) {
        writeln!(out, "{}: should have come to {}", file.display(), kind.look().0)?;
    }
    if failures == expected && !expected.is_empty() {
        writeln!(out, "these are the {} troubles among the samples, each as expected", expected.len())?;
    }
    Ok(())
}
