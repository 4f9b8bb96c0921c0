//! Whatever is on the standard input of a worker of the kits for Python and Node, it ends, says why, and does nothing that it
//! was not given: the same bytes for both, and for a worker of the kit in Rust beside them.

use super::node_kit::node_is_missing;
use super::python_kit::{has_python, script};
use hirelings_tests::dice::Dice;
use hirelings_tests::processes::{kill, of_group};
use hirelings_tests::{eventually, within, worker};
use hirelings_worker_kit::wire::{
    ANSWERS_RECALLS, FROM_WORKER, FrameBuffer, FromWorker, Hello, ToWorker, WireMessage, frame_into,
};
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use std::{fs, thread};

const MAX_FRAME: u64 = 4096;
/// A worker that ends takes milliseconds. This is for a machine that has much else to do.
const LONGEST: Duration = Duration::from_secs(120);

/// Workers that give back what they are given.
type Kit = (&'static str, fn() -> Command);

fn kits() -> Vec<Kit> {
    let mut kits: Vec<Kit> = vec![("rust", worker)];
    if has_python() {
        kits.push(("python", || script("do.py")));
    }
    if !node_is_missing() {
        kits.push(("node", || {
            let mut command = Command::new("node");
            command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("workers/node/echo.js"));
            command
        }));
    }
    kits
}

// ---------------------------------------------------------------- what the pool writes

fn frame(message: &impl WireMessage, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame_into(message, payload, &mut bytes);
    bytes
}

fn raw(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_le_bytes(), body].concat()
}

fn hello() -> Vec<u8> {
    frame(&Hello::new(0), &[])
}

fn init() -> Vec<u8> {
    let (job_type, codec) = ("hirelings_tests::Do".into(), "json".into());
    frame(&ToWorker::Init { job_type, codec, max_frame: MAX_FRAME, has_options: false }, &[])
}

fn handshake() -> Vec<u8> {
    [hello(), init()].concat()
}

fn job(job: u64) -> Vec<u8> {
    frame(&ToWorker::Job { job, attempt: 1 }, br#"{"Echo":"x"}"#)
}

/// One message of each kind but the last one.
fn each_kind(id: u64) -> Vec<Vec<u8>> {
    let short = br#"{"Echo":""}"#;
    vec![
        job(id),
        frame(&ToWorker::TimedJob { job: id + 1, attempt: 3, limit_ms: 60_000 }, short),
        frame(&ToWorker::Skip { job: 999_999 }, &[]),
        frame(&ToWorker::Cancel { job: id, within_ms: u64::MAX }, &[]),
        frame(&ToWorker::Heartbeat { silence_ms: 600_000 }, &[]),
    ]
}

// ---------------------------------------------------------------- the worker

struct Worker {
    child: Child,
    output: ChildStdout,
    of: String,
}

/// What became of one, and all that it said.
struct End {
    status: ExitStatus,
    said: Vec<FromWorker>,
    of: String,
}

impl Worker {
    fn start(command: Command, of: String) -> Self {
        let mut command = command;
        // Of a group of its own, as in a pool, since it may end its group.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        Worker { output: child.stdout.take().unwrap(), child, of }
    }

    /// It may have ended before it has read all.
    fn write(&mut self, bytes: &[u8]) {
        let _ = self.child.stdin.as_mut().unwrap().write_all(bytes);
    }

    /// Waits for its end, with its input open or closed; then nobody is left of its group.
    fn end(mut self, hang_up: bool, given: &[u8]) -> End {
        if hang_up {
            drop(self.child.stdin.take());
        }
        let mut output = self.output;
        let listener = thread::spawn(move || {
            let mut said = Vec::new();
            output.read_to_end(&mut said).map(|_| said)
        });
        let (group, mut status) = (self.child.id(), None);
        let ended = within(LONGEST, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        if !ended {
            of_group(group).into_iter().for_each(kill);
        }
        let status = status.unwrap_or_else(|| panic!("{}: it does not end", self.of));
        drop(self.child);
        eventually("nobody is left of its group", || of_group(group).is_empty());
        let said = sound(&listener.join().unwrap().unwrap(), given, status, &self.of);
        End { status, said, of: self.of }
    }
}

impl End {
    /// It has not called it a success. Those that are not of the kit in Rust have told the pool why.
    fn is_refusal(&self) {
        let code = self.status.code();
        assert!(code.is_some_and(|code| code != 0), "{}: {}, {:?}", self.of, self.status, self.said);
        let told = matches!(self.said.last(), Some(FromWorker::Terminal { job: None, .. }));
        assert!(told || self.of.starts_with("rust"), "{}: {:?}", self.of, self.said);
    }
}

/// What a worker said that was given this: it ended by itself, and by no fault; its messages are whole; and it answered no
/// job that it was not given, nor any twice.
fn sound(said: &[u8], given: &[u8], status: ExitStatus, of: &str) -> Vec<FromWorker> {
    let killed = status.signal() == Some(9);
    assert!(killed || matches!(status.code(), Some(0 | 1 | 2 | 101)), "{of}: {status}");
    let mut open = jobs(given);
    let (mut buffer, mut words) = (FrameBuffer::new(u32::MAX as usize), Vec::new());
    buffer.push(said);
    // One that found no pool may have said nothing.
    let Some(hello) = buffer.next_frame::<Hello>().unwrap() else { return words };
    assert_eq!(hello.message, Hello::new(FROM_WORKER | ANSWERS_RECALLS), "{of}");
    while let Some(frame) = buffer.next_frame::<FromWorker>().unwrap_or_else(|fault| panic!("{of}: {fault}")) {
        match frame.message {
            FromWorker::Success { job, .. }
            | FromWorker::Failure { job, .. }
            | FromWorker::FinalFailure { job, .. }
            | FromWorker::Unusable { job, .. } => {
                let at = open.iter().position(|&of| of == job);
                open.remove(at.unwrap_or_else(|| panic!("{of}: job {job} is answered, and open are {open:?}")));
            }
            _ => {}
        }
        words.push(frame.message);
    }
    assert!(killed || buffer.pending().is_empty(), "{of}: a frame that is not whole");
    words
}

/// The jobs that it was given, as far as it makes sense.
fn jobs(given: &[u8]) -> Vec<u64> {
    let (mut buffer, mut jobs) = (FrameBuffer::new(u32::MAX as usize), Vec::new());
    buffer.push(given);
    if let Ok(Some(_)) = buffer.next_frame::<Hello>() {
        while let Ok(Some(frame)) = buffer.next_frame::<ToWorker>() {
            if let ToWorker::Job { job, .. } | ToWorker::TimedJob { job, .. } = frame.message {
                jobs.push(job);
            }
        }
    }
    jobs
}

/// Gives these bytes to a worker of each kit, a few at a time; `check` looks at what becomes of each.
fn each(hang_up: bool, inputs: &[(String, Vec<u8>)], check: impl Fn(&str, &End) + Sync) {
    for (kit, command) in kits() {
        let next = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while let Some((what, bytes)) = inputs.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let mut worker = Worker::start(command(), format!("{kit}, {what}"));
                        worker.write(bytes);
                        check(what, &worker.end(hang_up, bytes));
                    }
                });
            }
        });
    }
}

// ---------------------------------------------------------------- what is tried

#[test]
fn a_dialogue_that_breaks_off_at_every_byte() {
    let handshake_len = handshake().len();
    let whole = [handshake(), job(7), frame(&ToWorker::Skip { job: 8 }, &[])].concat();
    let cuts: Vec<_> = (0..whole.len()).map(|cut| (cut.to_string(), whole[..cut].to_vec())).collect();
    each(true, &cuts, |cut, end| {
        let cut: usize = cut.parse().unwrap();
        // Once it is a pool's, its group is as well.
        let expected = if cut < hello().len() { Some(2) } else { None };
        if cut < hello().len() || cut >= handshake_len {
            assert_eq!(end.status.code(), expected, "{}: {}", end.of, end.status);
        }
        let whole_job = cut >= handshake_len + job(7).len();
        let begun = end.said.iter().any(|word| matches!(word, FromWorker::Success { .. } | FromWorker::Start { .. }));
        assert!(whole_job || !begun, "{}: {:?}", end.of, end.said);
    });
}

#[test]
fn a_dialogue_in_two_pieces_at_every_byte() {
    let one = each_kind(0).concat();
    for (kit, command) in kits() {
        let mut worker = Worker::start(command(), format!("{kit}, in two pieces"));
        let mut given = handshake();
        worker.write(&given);
        for cut in 1..one.len() {
            let bytes = each_kind(2 * cut as u64).concat();
            worker.write(&bytes[..cut]);
            let input = worker.child.stdin.as_ref().unwrap();
            // The second piece comes once the first is read.
            eventually("it has read the first piece", || rustix::io::ioctl_fionread(input).unwrap() == 0);
            worker.write(&bytes[cut..]);
            given.extend_from_slice(&bytes);
        }
        let leave = frame(&ToWorker::Leave, &[]);
        worker.write(&leave);
        let end = worker.end(false, &given);
        assert_eq!(end.status.code(), Some(0), "{kit}");
        let count = |is: fn(&FromWorker) -> bool| end.said.iter().filter(|word| is(word)).count();
        assert_eq!(count(|word| matches!(word, FromWorker::Success { .. })), 2 * (one.len() - 1), "{kit}");
        assert_eq!(count(|word| matches!(word, FromWorker::Alive)), one.len() - 1, "{kit}");
    }
}

#[test]
fn what_cannot_be_understood_ends_it() {
    let mut inputs = Vec::new();
    let mut after = |what: String, bytes: Vec<u8>| inputs.push((what, [handshake(), bytes].concat()));
    for body in [&b""[..], b"\x01", b"\x01\x02\x03", &99u32.to_le_bytes(), &u32::MAX.to_le_bytes()] {
        after(format!("{body:?}"), raw(body));
    }
    for (kind, message) in each_kind(1).into_iter().enumerate() {
        // As far as its fields go; its payload may be of any length.
        let fields = message.len() - [12, 11, 0, 0, 0][kind];
        for length in 5..fields - 4 {
            after(format!("kind {kind} with {length} bytes"), raw(&message[4..4 + length]));
        }
    }
    for length in [MAX_FRAME as u32 + 1, 1 << 30, u32::MAX] {
        after(format!("{length} bytes announced"), [&length.to_le_bytes()[..], &[1; 100]].concat());
    }
    after("a job that is too long".into(), frame(&ToWorker::Job { job: 1, attempt: 1 }, &[b' '; 5000]));
    let lying = |at: usize, length: u64| {
        let mut bytes = handshake();
        bytes[hello().len() + at..][..8].copy_from_slice(&length.to_le_bytes());
        bytes
    };
    for length in [1 << 20, 1 << 40, u64::MAX] {
        inputs.push((format!("a job type of {length} bytes"), lying(8, length)));
    }
    inputs.push(("no init".into(), [hello(), job(1)].concat()));
    each(false, &inputs, |_, end| end.is_refusal());
}

#[test]
fn what_makes_no_sense_is_without_effect() {
    let twice: Vec<u8> = [
        handshake(),
        init(),
        frame(&ToWorker::Skip { job: 1 }, &[]),
        frame(&ToWorker::Cancel { job: 1, within_ms: 5 }, &[]),
        job(1),
        frame(&ToWorker::Job { job: 2, attempt: u32::MAX }, b"{\"Echo\""),
        frame(&ToWorker::Job { job: u64::MAX - 1, attempt: 0 }, br#"{"Echo":"x"}"#),
    ]
    .concat();
    for (kit, command) in kits() {
        let mut worker = Worker::start(command(), format!("{kit}, no sense"));
        worker.write(&twice);
        let leave = frame(&ToWorker::Leave, &[]);
        worker.write(&[leave.clone(), leave].concat());
        let end = worker.end(false, &twice);
        assert_eq!(end.status.code(), Some(0), "{kit}: {:?}", end.said);
        let mut answers = end.said.iter().filter(|word| !matches!(word, FromWorker::Start { .. } | FromWorker::Ready));
        assert!(matches!(answers.next(), Some(FromWorker::Success { job: 1, .. })), "{kit}: {:?}", end.said);
        assert!(matches!(answers.next(), Some(FromWorker::Unusable { job: 2, .. })), "{kit}: {:?}", end.said);
        let last = u64::MAX - 1;
        assert!(
            matches!(answers.next(), Some(FromWorker::Success { job, .. }) if *job == last),
            "{kit}: {:?}",
            end.said
        );
    }
}

/// What the fuzzer has found interesting, and a dialogue with bytes that are changed, put in or left out.
#[test]
fn whatever_is_written_it_ends() {
    let mut inputs = Vec::new();
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/worker_side");
    let mut files: Vec<_> = fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for path in files.iter().step_by(2) {
        let data = fs::read(path).unwrap();
        let Some((&before, rest)) = data.split_first() else { continue };
        let begin = [Vec::new(), hello(), handshake()][usize::from(before % 3)].clone();
        inputs.push((path.display().to_string(), [begin, rest.to_vec()].concat()));
    }
    let mut dice = Dice::new(1);
    for seed in 0..40 {
        let mut bytes = [handshake(), each_kind(1).concat(), each_kind(3).concat(), job(5)].concat();
        for _ in 0..1 + dice.below(4) {
            let at = dice.below(bytes.len() as u64) as usize;
            match dice.below(4) {
                0 => bytes[at] ^= 1 << dice.below(8),
                1 => bytes[at] = dice.pick(&[0, 1, 0x7f, 0xff]),
                2 => drop(bytes.remove(at)),
                _ => bytes.insert(at, dice.pick(&[0, 3, 0xff])),
            }
        }
        inputs.push((format!("change {seed}"), bytes));
    }
    each(true, &inputs, |_, _| {});
}
