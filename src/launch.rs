//! How a worker's process is started: by a command, by the commands of the user's launcher, or by this executable.

use crate::budget::Charge;
use crate::error::StartFailure;
use crate::harness;
use crate::id::Slot;
use crate::process::{OsProcess, Process};
use crate::signals::Unblock;
use crate::supervisor::Begun;
use crate::sys::SELF;
use crate::transport::Transport;
use hirelings_worker_kit::Job;
use hirelings_worker_kit::wire::{Mark, WORKER_MARK};
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;
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
    /// The fork server that has forked it.
    pub(crate) fork_server: Option<u64>,
}

/// How workers are started: a process, or in tests a thread.
pub(crate) trait Launch: Send {
    /// Says how what is started gets an empty signal mask; once, before the first of the others.
    fn unblock(&mut self, _: Unblock) {}

    /// Sets what fork servers are sent, and where they report; once, before the first of the others. Gives what ends them.
    fn attend(&mut self, _: Attendance) -> Option<Arc<dyn ForkServers>> {
        None
    }

    /// Finds out what to start; the user's code runs here.
    fn prepare(&mut self, slot: Slot);

    /// Starts it.
    ///
    /// # Errors
    ///
    /// Why there is no worker.
    fn launch(&mut self, slot: Slot) -> Result<Launched, StartFailure>;
}

/// What happens to fork servers.
pub(crate) enum News {
    Spawned {
        number: u64,
        pid: u32,
        program: String,
    },
    /// Whole lines of what it printed.
    Stderr {
        number: u64,
        lines: Vec<u8>,
        charge: Charge,
    },
    Exited {
        number: u64,
        status: Option<ExitStatus>,
        /// Whether it ended since nobody needs it any more.
        was_asked: bool,
    },
}

/// What fork servers are sent, and where what happens to them is reported.
pub(crate) struct Attendance {
    /// Hello and init.
    pub(crate) handshake: Vec<u8>,
    /// How long one may take to be ready, and to answer a request.
    pub(crate) limit: Option<Duration>,
    /// How long one has from SIGTERM to SIGKILL.
    pub(crate) grace: Duration,
    pub(crate) report: ReportNews,
    /// Whether anybody wants lines of standard error.
    pub(crate) wants_stderr: Arc<dyn Fn() -> bool + Send + Sync>,
}

pub(crate) type ReportNews = Arc<dyn Fn(News) + Send + Sync>;

/// The fork servers of a pool, for those who end them.
pub(crate) trait ForkServers: Send + Sync {
    /// The pool has ended: a start or a request that is waited for fails.
    fn close(&self);

    /// Ends all of them. Each tells when it has ended.
    fn end(&self);

    /// Waits until all have ended that [`end`](ForkServers::end) was called for.
    fn join(&self);
}

/// A start that failed before there was a process.
pub(crate) fn not_started(program: &str, reason: impl Into<String>) -> StartFailure {
    StartFailure {
        program: program.into(),
        site: None,
        status: None,
        stderr: String::new(),
        reason: reason.into(),
        attempts: 0,
        begun: Begun::No,
    }
}

/// There is no descriptor left for it.
pub(crate) fn no_pipe(program: &str, error: &io::Error) -> StartFailure {
    not_started(program, format!("could not be given a pipe: {error}"))
}

/// Starts the processes of a command, or of the commands that a launcher of the user's gives.
pub(crate) struct Launcher {
    /// The user's, asked at each spawn.
    ask: Option<Box<dyn FnMut(Slot) -> Command + Send>>,
    command: Option<Command>,
    transport: Transport,
    unblock: Unblock,
}

impl Launcher {
    pub(crate) fn of(command: Command) -> Self {
        Launcher { ask: None, command: Some(command), transport: Transport::Pipes, unblock: Unblock::InParent }
    }

    pub(crate) fn asking(ask: impl FnMut(Slot) -> Command + Send + 'static) -> Self {
        Launcher { ask: Some(Box::new(ask)), command: None, transport: Transport::Pipes, unblock: Unblock::InParent }
    }

    /// The same, with workers that are reached over `transport`.
    pub(crate) fn over(self, transport: Transport) -> Self {
        Launcher { transport, ..self }
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
        let program = self.program();
        let pair = || self.transport.pair().map_err(|error| no_pipe(&program, &error));
        let ((their_stdin, stdin), (stdout, their_stdout)) = (pair()?, pair()?);
        let Spawned { process, stderr } = self.spawn(their_stdin, their_stdout)?;
        Ok(Launched { program, process: Arc::new(process), stdin, stdout, stderr, fork_server: None })
    }
}

/// A process that was spawned, with the pool's end of its standard error.
pub(crate) struct Spawned {
    pub(crate) process: OsProcess,
    pub(crate) stderr: OwnedFd,
}

impl Launcher {
    /// What the command of now starts.
    pub(crate) fn program(&self) -> String {
        self.command.as_ref().map_or_else(|| "the launcher".into(), name_of)
    }

    /// What tells the command of now from others; none where there is only one.
    pub(crate) fn identity(&self) -> Option<Identity> {
        self.ask.is_some().then_some(self.command.as_ref()).flatten().map(Identity::of)
    }

    /// What the command of now and the pool share.
    pub(crate) fn transport(&self) -> Transport {
        self.transport
    }

    /// Starts the command of now, with these as its standard input and output.
    pub(crate) fn spawn(&mut self, stdin: OwnedFd, stdout: OwnedFd) -> Result<Spawned, StartFailure> {
        let Some(command) = &mut self.command else {
            return Err(not_started("the launcher", "gave no command"));
        };
        let program = name_of(command);
        if let Some(name) = marked_name(command) {
            if let Some(why) = harness::refused(&name) {
                return Err(not_started(&program, format!("was not started: {why}")));
            }
            let mark = Mark::of(&name, &stdin).map_err(|error| no_pipe(&program, &error))?;
            command.env(WORKER_MARK, mark.to_string());
        }
        command.stdin(stdin).stdout(stdout).stderr(Stdio::piped()).process_group(0);
        let spawned = self.unblock.spawn(command);
        // The command would keep the worker's ends open: a write to a worker that is gone would not fail, and its output would
        // never end.
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = spawned.map_err(|error| not_started(&program, in_words(&error)))?;
        let stderr = child.stderr.take();
        let process = OsProcess::new(child)
            .map_err(|error| not_started(&program, format!("was started, but its exit cannot be watched: {error}")))?;
        let Some(stderr) = stderr else {
            return Err(not_started(&program, "was started without its pipes"));
        };
        Ok(Spawned { process, stderr: stderr.into() })
    }
}

/// What a command says of itself: two that say the same start the same. The mark of `self_exec`, which each start completes
/// anew, is not counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    program: OsString,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, Option<OsString>)>,
    directory: Option<PathBuf>,
}

impl Identity {
    fn of(command: &Command) -> Self {
        let set = command.get_envs().filter(|(name, _)| *name != OsStr::new(WORKER_MARK));
        Identity {
            program: command.get_program().into(),
            arguments: command.get_args().map(Into::into).collect(),
            environment: set.map(|(name, value)| (name.into(), value.map(Into::into))).collect(),
            directory: command.get_current_dir().map(Into::into),
        }
    }
}

/// The job type for whose worker `self_exec` has marked the command.
pub(crate) fn marked_name(command: &Command) -> Option<String> {
    let mut set = command.get_envs();
    let (_, value) = set.find(|(name, _)| *name == OsStr::new(WORKER_MARK))?;
    Some(Mark::read(value?.to_str()?).name)
}

/// Another command that starts the same: all that can be asked of one.
pub(crate) fn copy_of(command: &Command) -> Command {
    let mut copy = Command::new(command.get_program());
    if command.get_program() == OsStr::new(SELF)
        && let Ok(real) = env::current_exe()
    {
        copy.arg0(real);
    }
    copy.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => copy.env(name, value),
            None => copy.env_remove(name),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        copy.current_dir(directory);
    }
    copy
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
