//! The session of a process, over what the pool gave it as its standard streams.

use crate::link::Host;
use crate::wire::FORKS;
use crate::{BoxError, Job, Session, fork_server, stdio};

impl<J: Job> Session<J> {
    /// Takes standard input and output for the protocol and performs the handshake with the pool.
    ///
    /// From here on standard output is standard error and standard input is `/dev/null`.
    ///
    /// # Errors
    ///
    /// Where this process was not started by a pool, or by one that speaks another version of the protocol or has jobs
    /// of another type; the pool is sent the reason.
    ///
    /// ```no_run
    /// # use hirelings_worker_kit::{BoxError, Job, Session};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Double(u64);
    /// # impl Job for Double { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn main() -> Result<(), BoxError> {
    /// let mut session = Session::<Double>::connect().unwrap_or_else(|error| {
    ///     eprintln!("{error}");
    ///     std::process::exit(2)
    /// });
    /// session.ready()?;
    /// # Ok(()) }
    /// ```
    pub fn connect() -> Result<Self, BoxError> {
        let session = Self::of_process(false)?;
        if session.forks { Ok(fork_server::serve(session)?) } else { Ok(session) }
    }

    /// The session of this process, over what the pool gave it as its standard streams. `announces_start`: whether the guard
    /// announces handlers that run on.
    pub(crate) fn of_process(announces_start: bool) -> Result<Self, BoxError> {
        if fork_server::is_asked() {
            let (input, output) = stdio::take_control()?;
            return Self::over(Host::Process, input, output, announces_start, FORKS);
        }
        let (input, output) = stdio::take()?;
        Self::over(Host::Process, input, output, announces_start, 0)
    }
}
