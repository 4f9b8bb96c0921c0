//! A worker program's main loop.

use crate::ended::Ended;
use crate::link::Host;
use crate::panic::{self, PanicNote};
use crate::queue::QueuedJob;
use crate::wire::Fault;
use crate::{BoxError, Context, Job, Outcome, Session, Worker, fork_server, mark, stdio};
use std::any::type_name;
use std::fmt::Display;
use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process;
use std::sync::Arc;

/// A worker program's main: does jobs with `handler` until the pool lets it go, then ends the process.
///
/// `handler` gets the job and its [`Context`]. It runs on the calling thread, one job at a time, and may keep state
/// between them. An error that it returns fails that job; a panic fails that job and replaces the process.
///
/// ```no_run
/// # use hirelings_worker_kit::{Job, serve};
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Read(String);
/// # impl Job for Read { type Output = u64; type Progress = (); type Error = String; }
/// fn main() {
///     serve(|Read(path), _| std::fs::metadata(&path).map(|file| file.len()).map_err(|e| e.to_string()))
/// }
/// ```
///
/// Where the process was not started by a pool it says so on standard error and exits with 2.
pub fn serve<J: Job>(handler: impl FnMut(J, &mut Context<J>) -> Outcome<J>) -> ! {
    serve_process(|_| Ok(Closure(handler)))
}

/// For an executable that is its own worker: serves if this process was started as the worker of `J`, else returns at
/// once. The pool's side starts it with `hirelings::self_exec::<J>()`.
///
/// Call it first thing in `main`: what stands before it is done in each worker too. It changes nothing in the
/// environment, so threads may run already: below `#[tokio::main]` it is sound. In a fork server no other thread may run, since
/// a fork copies one thread: where one does, the start fails. Not to be mixed up with [`Worker::init`], which makes one
/// worker's state.
///
/// ```no_run
/// # use hirelings_worker_kit::{Job, NoError, init};
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Double(u64);
/// # impl Job for Double { type Output = u64; type Progress = (); type Error = NoError; }
/// fn main() {
///     init(|Double(n), _| Ok(2 * n));
///     // Only the program itself comes here; its workers do not.
/// }
/// ```
pub fn init<J: Job>(handler: impl FnMut(J, &mut Context<J>) -> Outcome<J>) {
    if mark::is_worker::<J>() {
        serve(handler)
    }
}

/// The same as [`serve`] for a [`Worker`]: made once from the pool's options, then asked for each job.
///
/// ```no_run
/// # use hirelings_worker_kit::{BoxError, Context, Job, NoError, Outcome, Worker, serve_worker};
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Add(u64);
/// # impl Job for Add { type Output = u64; type Progress = (); type Error = NoError; }
/// struct Sum(u64);
/// impl Worker for Sum {
///     type Job = Add;
///     type Options = ();
///     fn init(_: ()) -> Result<Self, BoxError> { Ok(Sum(0)) }
///     fn run(&mut self, Add(n): Add, _: &mut Context<Add>) -> Outcome<Add> {
///         self.0 += n;
///         Ok(self.0)
///     }
/// }
/// fn main() { serve_worker::<Sum>() }
/// ```
pub fn serve_worker<W: Worker>() -> ! {
    serve_process::<W::Job, _>(|session| session.options().and_then(W::init).map(Stateful))
}

/// The same as [`init`] for a [`Worker`]: it serves if this process was started as a worker of `W`'s jobs, else returns at
/// once. In a worker it calls [`Worker::init`], the trait's own, which makes the state from the pool's options.
///
/// ```no_run
/// # use hirelings_worker_kit::{BoxError, Context, Job, NoError, Outcome, Worker, init_worker};
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Add(u64);
/// # impl Job for Add { type Output = u64; type Progress = (); type Error = NoError; }
/// # struct Sum(u64);
/// # impl Worker for Sum {
/// #     type Job = Add;
/// #     type Options = ();
/// #     fn init(_: ()) -> Result<Self, BoxError> { Ok(Sum(0)) }
/// #     fn run(&mut self, Add(n): Add, _: &mut Context<Add>) -> Outcome<Add> { Ok(n) }
/// # }
/// fn main() {
///     init_worker::<Sum>();
///     // Only the program itself comes here; its workers do not.
/// }
/// ```
pub fn init_worker<W: Worker>() {
    if mark::is_worker::<W::Job>() {
        serve_worker::<W>()
    }
}

/// Does jobs over two pipes, on the calling thread, until the pool lets it go: for tests of the pool's side.
///
/// # Errors
///
/// Where the handshake fails, the pool's end goes away, or a handler panics.
pub fn serve_over<J: Job>(
    input: OwnedFd,
    output: OwnedFd,
    handler: impl FnMut(J, &mut Context<J>) -> Outcome<J>,
) -> Result<(), BoxError> {
    let session = Session::over(Host::Thread, input, output, true, 0)?;
    work(session, |_| Ok(Closure(handler))).map_err(|stop| match stop {
        Stop::Reported(message) => message.into(),
        Stop::Lost(ended) => ended.into(),
        Stop::Unconnected(error) => error,
    })
}

/// What does the jobs: a closure, or a [`Worker`].
trait Handler<J: Job> {
    /// Whether there is something to do between an answer and the next job; if not, one frame says both.
    const RECOVERS: bool;
    fn after_fork(&mut self) -> Result<(), BoxError>;
    fn run(&mut self, job: J, ctx: &mut Context<J>) -> Outcome<J>;
    fn recover(&mut self) -> Result<(), BoxError>;
}

struct Closure<F>(F);

impl<J: Job, F: FnMut(J, &mut Context<J>) -> Outcome<J>> Handler<J> for Closure<F> {
    const RECOVERS: bool = false;
    fn after_fork(&mut self) -> Result<(), BoxError> {
        Ok(())
    }
    fn run(&mut self, job: J, ctx: &mut Context<J>) -> Outcome<J> {
        (self.0)(job, ctx)
    }
    fn recover(&mut self) -> Result<(), BoxError> {
        Ok(())
    }
}

struct Stateful<W>(W);

impl<W: Worker> Handler<W::Job> for Stateful<W> {
    const RECOVERS: bool = true;
    fn after_fork(&mut self) -> Result<(), BoxError> {
        self.0.after_fork()
    }
    fn run(&mut self, job: W::Job, ctx: &mut Context<W::Job>) -> Outcome<W::Job> {
        self.0.run(job, ctx)
    }
    fn recover(&mut self) -> Result<(), BoxError> {
        self.0.recover()
    }
}

/// Why a worker ends before the pool lets it leave.
enum Stop {
    /// The worker's own code panicked or refused, and the pool has been sent the reason.
    Reported(String),
    /// The pool cannot be reached.
    Lost(Ended),
    /// A worker that was forked could not complete the handshake with the pool, or was refused by it.
    Unconnected(BoxError),
}

impl From<fork_server::Stop> for Stop {
    fn from(stop: fork_server::Stop) -> Self {
        match stop {
            fork_server::Stop::Reported(message) => Stop::Reported(message),
            fork_server::Stop::Unconnected(error) => Stop::Unconnected(error),
        }
    }
}

impl From<Ended> for Stop {
    fn from(ended: Ended) -> Self {
        Stop::Lost(ended)
    }
}

fn serve_process<J: Job, H: Handler<J>>(make: impl FnOnce(&Session<J>) -> Result<H, BoxError>) -> ! {
    mark::remember();
    stdio::name_after_program();
    let session = match Session::of_process(true) {
        Ok(session) => session,
        Err(error) => exit_with(2, &error),
    };
    match work(session, make) {
        Ok(()) => process::exit(0),
        // Its words are on standard error already: the panic hook's, or those that `report` wrote.
        Err(Stop::Reported(_)) => process::exit(101),
        Err(Stop::Lost(ended)) => exit_with(2, &ended),
        Err(Stop::Unconnected(error)) => exit_with(2, &error),
    }
}

#[allow(clippy::print_stderr)]
fn exit_with(code: i32, why: &dyn Display) -> ! {
    eprintln!("hirelings worker: {why}");
    process::exit(code)
}

/// Makes the handler and does jobs with it until the pool lets it go.
fn work<J: Job, H: Handler<J>>(
    mut session: Session<J>,
    make: impl FnOnce(&Session<J>) -> Result<H, BoxError>,
) -> Result<(), Stop> {
    panic::keep_notes(&session.link);
    let mut handler = own_code(&session, || make(&session))?;
    if session.forks {
        // It returns in each worker that is forked.
        session = fork_server::serve(session)?;
        panic::keep_notes(&session.link);
        own_code(&session, || handler.after_fork())?;
    }
    session.say_ready()?;
    while let Some(queued) = session.take_job()? {
        let done = catch_unwind(AssertUnwindSafe(|| do_job(&mut session, &mut handler, queued)));
        done.unwrap_or_else(|payload| Err(report(&session, panic::take_note(&*payload))))?;
        if H::RECOVERS {
            own_code(&session, || handler.recover())?;
            session.say_ready()?;
        }
    }
    Ok(())
}

/// One job, from its bytes to its answer's.
fn do_job<J: Job, H: Handler<J>>(session: &mut Session<J>, handler: &mut H, queued: QueuedJob) -> Result<(), Stop> {
    let ready = !H::RECOVERS;
    let job = match session.decode(&queued) {
        Ok(job) => job,
        Err(fault) => return Ok(session.undecodable(&fault, ready)?),
    };
    let mut ctx = Context {
        link: Arc::clone(&session.link),
        job: queued.job,
        attempt: queued.attempt,
        max_frame: session.max_frame,
        codec: session.codec,
        retire: false,
        no_retry: false,
        fault: None,
        jobs: PhantomData,
    };
    drop(queued);
    let outcome = handler.run(job, &mut ctx);
    if ctx.retire {
        session.say_retire()?;
    }
    match &ctx.fault {
        Some(fault) => session.put_unusable(Fault::EncodeProgress, type_name::<J::Progress>(), fault, ready),
        None => session.put_answer(outcome.as_ref(), ready, ctx.no_retry),
    }
    // To drop it may run the user's code too: a panic there is this job's, as one in the handler is, while the job is not
    // answered. Behind the answer it would be taken for the next job's.
    drop(outcome);
    Ok(session.send_answer(ready)?)
}

/// Runs the worker's own start or recovery; an error or a panic in it is sent to the pool and ends the worker.
fn own_code<J: Job, T>(session: &Session<J>, code: impl FnOnce() -> Result<T, BoxError>) -> Result<T, Stop> {
    match catch_unwind(AssertUnwindSafe(code)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => {
            Err(report(session, PanicNote { message: error.to_string(), location: None, backtrace: None }))
        }
        Err(payload) => Err(report(session, panic::take_note(&*payload))),
    }
}

fn report<J: Job>(session: &Session<J>, note: PanicNote) -> Stop {
    session.link.send_terminal(note.message.clone(), note.location, note.backtrace);
    Stop::Reported(note.message)
}

#[cfg(test)]
mod tests;
