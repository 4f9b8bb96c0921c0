//! The limit: what two processes and two pipes can do, with nothing in between.

use crate::this_program;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, ExitCode, Stdio};

/// The arguments of a raw child; one that says hello writes a byte when it is there.
const CHILD: &str = "--raw-child";
const SAYS_HELLO: &str = "hello";

/// A frame up to this is read, and written, by one call.
const SMALL: usize = 256;

/// Whether this process was started as a raw child.
pub(crate) fn is_child(arguments: &[String]) -> bool {
    arguments.first().is_some_and(|first| first == CHILD)
}

/// A raw child's main: writes back what it reads, until there is nothing more to read.
pub(crate) fn child(arguments: &[String]) -> ExitCode {
    match echo(arguments.iter().any(|argument| argument == SAYS_HELLO)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn echo(says_hello: bool) -> io::Result<()> {
    // Not std's own, which are locked and buffered.
    let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    if says_hello {
        output.write_all(b"!")?;
    }
    while let Some(message) = read_message(&mut input)? {
        write_message(&mut output, &message)?;
    }
    Ok(())
}

/// Reads one message into a fresh buffer; none at the end.
///
/// It may ask for more than the message: with one job in flight there is never more.
fn read_message(pipe: &mut File) -> io::Result<Option<Vec<u8>>> {
    let mut start = [0; SMALL];
    let mut have = 0;
    while have < 4 {
        match pipe.read(&mut start[have..])? {
            0 if have == 0 => return Ok(None),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => have += read,
        }
    }
    let len = u32::from_le_bytes([start[0], start[1], start[2], start[3]]) as usize;
    let mut message = Vec::with_capacity(len);
    message.extend_from_slice(&start[4..have]);
    let missing = len - message.len();
    if missing > 0 && pipe.take(missing as u64).read_to_end(&mut message)? < missing {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(message))
}

fn write_message(pipe: &mut File, message: &[u8]) -> io::Result<()> {
    let len = (message.len() as u32).to_le_bytes();
    if 4 + message.len() > SMALL {
        pipe.write_all(&len)?;
        return pipe.write_all(message);
    }
    let mut whole = [0; SMALL];
    whole[..4].copy_from_slice(&len);
    whole[4..4 + message.len()].copy_from_slice(message);
    pipe.write_all(&whole[..4 + message.len()])
}

/// The parent's ends of a raw child. The first is dropped first, which lets the child end; the second waits for it.
pub(crate) struct RawChild {
    pub(crate) input: RawInput,
    pub(crate) output: RawOutput,
}

/// Where a raw child reads from.
pub(crate) struct RawInput(File);

/// What a raw child writes, and the child itself.
pub(crate) struct RawOutput {
    pipe: File,
    child: Child,
}

impl RawChild {
    pub(crate) fn start() -> Self {
        Self::start_with(&[CHILD])
    }

    /// Starts one that [says hello](Self::wait_hello).
    pub(crate) fn start_with_hello() -> Self {
        Self::start_with(&[CHILD, SAYS_HELLO])
    }

    fn start_with(arguments: &[&str]) -> Self {
        let mut command = this_program();
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("a raw child starts");
        let input = OwnedFd::from(child.stdin.take().expect("it has an input"));
        let output = OwnedFd::from(child.stdout.take().expect("it has an output"));
        RawChild { input: RawInput(input.into()), output: RawOutput { pipe: output.into(), child } }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.output.child.id()
    }

    /// Waits for its hello.
    pub(crate) fn wait_hello(&mut self) {
        let mut hello = [0];
        self.output.pipe.read_exact(&mut hello).expect("a raw child says hello");
        assert_eq!(&hello, b"!");
    }

    pub(crate) fn send(&mut self, message: &[u8]) {
        self.input.send(message);
    }

    pub(crate) fn receive(&mut self) -> Vec<u8> {
        self.output.receive()
    }
}

impl RawInput {
    pub(crate) fn send(&mut self, message: &[u8]) {
        write_message(&mut self.0, message).expect("a raw child reads");
    }
}

impl RawOutput {
    pub(crate) fn receive(&mut self) -> Vec<u8> {
        self.receive_if_any().expect("a raw child answers")
    }

    /// None once it has ended.
    pub(crate) fn receive_if_any(&mut self) -> Option<Vec<u8>> {
        read_message(&mut self.pipe).expect("a raw child can be read")
    }
}

/// Waits for its end, which comes once its input is dropped.
impl Drop for RawOutput {
    fn drop(&mut self) {
        let status = self.child.wait().expect("a raw child can be waited for");
        assert!(status.success(), "a raw child ended with {status}");
    }
}
