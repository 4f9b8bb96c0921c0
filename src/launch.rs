//! How a worker's process is started: by a command, by the commands of the user's launcher, or by this executable.

use crate::error::StartFailure;
use crate::harness;
use crate::id::Slot;
use crate::process::{OsProcess, Process};
use crate::signals::Unblock;
use crate::supervisor::Begun;
use crate::sys::SELF;
use hirelings_worker_kit::Job;
use hirelings_worker_kit::wire::{Mark, WORKER_MARK};
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::{env, io};

/// The running executable as the worker of `J`: a plain [`Command`] with no arguments, marked in its
/// environment with `J`'s name, so that one executable can hold several calls of [`worker::init`](crate::worker::init).
///
/// On Linux it runs `/proc/self/exe`, so that a rebuild on disk changes nothing, with the real path as `argv[0]`. A worker
/// knows itself by the pipe that the pool gives it as standard input: a program in between, such as a shell, has to hand
/// that on as it is.
///
/// [`Pool::self_exec`](crate::Pool::self_exec) gives the builder at once; this is for a command that is to be changed first.
///
/// A crate's own tests cannot use it: their executable is the test harness, which is no worker, and
/// [`build`](crate::PoolBuilder::build) refuses it with [`NotAWorker`](crate::BuildErrorKind::NotAWorker). Give the tests a small
/// program of its own under `src/bin` that calls [`worker::serve`](crate::worker::serve), and start that with
/// `Command::new(env!("CARGO_BIN_EXE_name"))`.
///
/// ```no_run
/// # use hirelings::{Job, NoError, Pool, self_exec, worker};
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Double(u64);
/// # impl Job for Double { type Output = u64; type Progress = (); type Error = NoError; }
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     worker::init(|Double(n), _| Ok(2 * n));
///     let pool = Pool::<Double>::builder(self_exec::<Double>()).build()?;
///     assert_eq!(pool.enqueue(Double(21)).wait()?, 42);
///     Ok(())
/// }
/// ```
pub fn self_exec<J: Job>() -> Command {
    let real = env::current_exe();
    let mut program = if cfg!(any(target_os = "linux", target_os = "android")) {
        let mut program = Command::new(SELF);
        if let Ok(real) = real {
            program.arg0(real);
        }
        program
    } else {
        Command::new(real.unwrap_or_else(|_| env::args_os().next().unwrap_or_default().into()))
    };
    program.env(WORKER_MARK, J::name());
    program
}

/// A worker that has been started, with its ends of the pipes.
pub(crate) struct Launched {
    pub(crate) program: String,
    pub(crate) process: Arc<dyn Process>,
    pub(crate) stdin: OwnedFd,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
}

/// How workers are started: a process, or in tests a thread.
pub(crate) trait Launch: Send {
    /// Says how what is started gets an empty signal mask; once, before the first of the others.
    fn unblock(&mut self, _: Unblock) {}

    /// Finds out what to start; the user's code runs here.
    fn prepare(&mut self, slot: Slot);

    /// Starts it.
    ///
    /// # Errors
    ///
    /// Why there is no worker.
    fn launch(&mut self, slot: Slot) -> Result<Launched, StartFailure>;
}

/// A start that failed before there was a process.
pub(crate) fn not_started(program: &str, reason: impl Into<String>) -> StartFailure {
    StartFailure {
        program: program.into(),
        status: None,
        stderr: String::new(),
        reason: reason.into(),
        begun: Begun::No,
    }
}

/// Starts the processes of a command, or of the commands that a launcher of the user's gives.
pub(crate) struct Launcher {
    /// The user's, asked at each spawn.
    ask: Option<Box<dyn FnMut(Slot) -> Command + Send>>,
    command: Option<Command>,
    unblock: Unblock,
}

impl Launcher {
    pub(crate) fn of(command: Command) -> Self {
        Launcher { ask: None, command: Some(command), unblock: Unblock::InParent }
    }

    pub(crate) fn asking(ask: impl FnMut(Slot) -> Command + Send + 'static) -> Self {
        Launcher { ask: Some(Box::new(ask)), command: None, unblock: Unblock::InParent }
    }
}

impl Launch for Launcher {
    fn unblock(&mut self, unblock: Unblock) {
        self.unblock = unblock;
        if let Some(command) = &mut self.command {
            unblock.prepare(command);
        }
    }

    fn prepare(&mut self, slot: Slot) {
        if let Some(ask) = &mut self.ask {
            self.unblock.prepare(self.command.insert(ask(slot)));
        }
    }

    fn launch(&mut self, _: Slot) -> Result<Launched, StartFailure> {
        let Some(command) = &mut self.command else {
            return Err(not_started("the launcher", "gave no command"));
        };
        let program = name_of(command);
        let no_pipe = |error: io::Error| not_started(&program, format!("could not be given a pipe: {error}"));
        let (theirs, stdin) = os_pipe::pipe().map_err(no_pipe)?;
        if let Some(name) = marked_name(command) {
            if let Some(why) = harness::refused(&name) {
                return Err(not_started(&program, format!("was not started: {why}")));
            }
            let mark = Mark::of(&name, &theirs).map_err(no_pipe)?;
            command.env(WORKER_MARK, mark.to_string());
        }
        // A pipe that the command kept from the last spawn would never end.
        command.stdin(theirs).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let spawned = self.unblock.spawn(command);
        // The command would keep the worker's end open, and a write to a worker that is gone would not fail.
        command.stdin(Stdio::null());
        let mut child = spawned.map_err(|error| not_started(&program, in_words(&error)))?;
        let pipes = (child.stdout.take(), child.stderr.take());
        let process = OsProcess::new(child)
            .map_err(|error| not_started(&program, format!("was started, but its exit cannot be watched: {error}")))?;
        let (Some(stdout), Some(stderr)) = pipes else {
            return Err(not_started(&program, "was started without its pipes"));
        };
        let process = Arc::new(process);
        Ok(Launched { program, process, stdin: stdin.into(), stdout: stdout.into(), stderr: stderr.into() })
    }
}

/// The job type for whose worker `self_exec` has marked the command.
pub(crate) fn marked_name(command: &Command) -> Option<String> {
    let mut set = command.get_envs();
    let (_, value) = set.find(|(name, _)| *name == OsStr::new(WORKER_MARK))?;
    Some(Mark::read(value?.to_str()?).name)
}

fn in_words(error: &io::Error) -> String {
    let hint = match error.kind() {
        io::ErrorKind::NotFound => " (is the path right? its interpreter and its working directory must exist too)",
        io::ErrorKind::PermissionDenied => " (is it an executable file?)",
        io::ErrorKind::WouldBlock => " (no more processes may be started now)",
        _ => "",
    };
    format!("could not be started: {error}{hint}")
}

fn name_of(command: &Command) -> String {
    let program = command.get_program();
    let path = (program == OsStr::new(SELF)).then(|| env::current_exe().ok()).flatten();
    path.map_or_else(|| program.to_string_lossy().into_owned(), |path| path.display().to_string())
}
