//! `docs/protocol.md` against the code: every block of hex is what the wire module reads and writes, every message has
//! one, and the session on the page is what workers say.

use hirelings_tests::{WATCHDOG, eventually};
use hirelings_worker_kit::wire::{
    ANSWERS_RECALLS, Codec, FROM_WORKER, Fault, FrameBuffer, FromWorker, Hello, LOWEST_VERSION, MAGIC, PAYLOAD_CODEC,
    ToWorker, VERSION, WireMessage, encode_payload, frame_into,
};
use hirelings_worker_kit::{Bytes, Context, Job, Outcome, serve_over};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::mpsc;
use std::{fmt, thread};

const PAGE: &str = include_str!("../../../docs/protocol.md");

// ---------------------------------------------------------------- the page

/// The blocks of the page whose fence says `kind`: what else the fence says, and the lines.
fn blocks(kind: &str) -> Vec<(&'static str, Vec<&'static str>)> {
    let mut found = Vec::new();
    let mut lines = PAGE.lines();
    while let Some(line) = lines.next() {
        let Some(fence) = line.strip_prefix("```") else { continue };
        let inside = lines.by_ref().take_while(|line| *line != "```").collect();
        let (tag, name) = fence.split_once(' ').unwrap_or((fence, ""));
        if tag == kind {
            found.push((name, inside));
        }
    }
    found
}

/// The bytes of a line of hex; `;` starts a comment.
fn hex(line: &str) -> Vec<u8> {
    let bytes = line.split(';').next().unwrap_or_default().split_whitespace();
    bytes.map(|byte| u8::from_str_radix(byte, 16).unwrap_or_else(|_| panic!("{byte:?} in {line:?}"))).collect()
}

// ---------------------------------------------------------------- what it must say

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Task {
    Count { text: String, fail: bool },
}

impl Job for Task {
    type Output = BTreeMap<String, u32>;
    type Progress = u32;
    type Error = String;

    fn name() -> &'static str {
        "word-count"
    }
}

fn payload(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_payload(value, &mut bytes, usize::MAX).unwrap();
    bytes
}

type Check = dyn Fn(&[u8]);

/// A block of the page as the code has it.
struct Example {
    name: &'static str,
    /// Decodes the frame, compares it, and encodes it again.
    check: Box<Check>,
}

fn example<M>(name: &'static str, message: M, payload: Vec<u8>) -> Example
where
    M: WireMessage + fmt::Debug + PartialEq + 'static,
{
    let check = move |frame: &[u8]| {
        let mut buffer = FrameBuffer::new(frame.len());
        buffer.push(frame);
        let decoded = buffer.next_frame::<M>().unwrap_or_else(|fault| panic!("{name}: {fault}"));
        let decoded = decoded.unwrap_or_else(|| panic!("{name}: the frame is not whole"));
        assert_eq!(decoded.message, message, "{name}");
        assert_eq!(decoded.payload.as_slice(), payload, "{name}");
        assert_eq!(buffer.pending(), [0u8; 0], "{name}: something is left over");
        let mut again = Vec::new();
        frame_into(&message, &payload, &mut again);
        assert_eq!(again, frame, "{name}");
    };
    Example { name, check: Box::new(check) }
}

fn to_worker() -> Vec<(ToWorker, Vec<u8>)> {
    let init = ToWorker::Init {
        job_type: Task::name().into(),
        codec: PAYLOAD_CODEC.into(),
        max_frame: 1 << 30,
        has_options: true,
    };
    vec![
        (init, payload(&80u32)),
        (ToWorker::Job { job: 7, attempt: 1 }, payload(&Task::Count { text: "to be or".into(), fail: false })),
        (ToWorker::Skip { job: 8 }, vec![]),
        (ToWorker::Leave, vec![]),
        (ToWorker::Cancel { job: 7, within_ms: 2000 }, vec![]),
        (
            ToWorker::TimedJob { job: 7, attempt: 1, limit_ms: 10_000 },
            payload(&Task::Count { text: "to be or".into(), fail: false }),
        ),
        (ToWorker::Heartbeat { silence_ms: 30_000 }, vec![]),
    ]
}

fn from_worker() -> Vec<(FromWorker, Vec<u8>)> {
    let counts = BTreeMap::from([("be", 1u32), ("or", 1)]);
    let unusable = |fault, type_name: &str, message: &str| {
        let (type_name, message) = (type_name.into(), message.into());
        (FromWorker::Unusable { job: 7, ready: true, fault, type_name, message }, vec![])
    };
    let panicked = FromWorker::Terminal {
        job: Some(7),
        message: "division by zero".into(),
        location: Some("count.py:12".into()),
        backtrace: None,
    };
    let no_start = FromWorker::Terminal { job: None, message: "no model".into(), location: None, backtrace: None };
    vec![
        (FromWorker::Ready, vec![]),
        (FromWorker::Start { job: 7 }, vec![]),
        (FromWorker::Progress { job: 7 }, payload(&3u32)),
        (FromWorker::Success { job: 7, ready: true }, payload(&counts)),
        (FromWorker::Failure { job: 7, ready: false }, payload(&"empty")),
        unusable(Fault::DecodeJob, "Task", "unknown variant 9"),
        unusable(Fault::EncodeOutput, "Counts", "too long"),
        unusable(Fault::EncodeError, "String", "too long"),
        unusable(Fault::EncodeProgress, "u32", "not a u32"),
        (panicked, vec![]),
        (no_start, vec![]),
        (FromWorker::Skipped { job: 8 }, vec![]),
        (FromWorker::Retire, vec![]),
        (FromWorker::FinalFailure { job: 7, ready: false }, payload(&"empty")),
        (FromWorker::Alive, vec![]),
    ]
}

/// The name of a message's block. A new message does not compile until it is here, and fails until it is on the page.
fn name_to_worker(message: &ToWorker) -> &'static str {
    match message {
        ToWorker::Init { .. } => "Init",
        ToWorker::Job { .. } => "Job",
        ToWorker::Skip { .. } => "Skip",
        ToWorker::Leave => "Leave",
        ToWorker::Cancel { .. } => "Cancel",
        ToWorker::TimedJob { .. } => "TimedJob",
        ToWorker::Heartbeat { .. } => "Heartbeat",
    }
}

fn name_from_worker(message: &FromWorker) -> &'static str {
    match message {
        FromWorker::Ready => "Ready",
        FromWorker::Start { .. } => "Start",
        FromWorker::Progress { .. } => "Progress",
        FromWorker::Success { .. } => "Success",
        FromWorker::Failure { .. } => "Failure",
        FromWorker::Unusable { fault, .. } => match fault {
            Fault::DecodeJob => "Unusable DecodeJob",
            Fault::EncodeOutput => "Unusable EncodeOutput",
            Fault::EncodeError => "Unusable EncodeError",
            Fault::EncodeProgress => "Unusable EncodeProgress",
        },
        FromWorker::Terminal { job: Some(_), .. } => "Terminal",
        FromWorker::Terminal { job: None, .. } => "Terminal start",
        FromWorker::Skipped { .. } => "Skipped",
        FromWorker::Retire => "Retire",
        FromWorker::FinalFailure { .. } => "FinalFailure",
        FromWorker::Alive => "Alive",
    }
}

fn examples() -> Vec<Example> {
    let mut examples = vec![
        example("Hello pool", Hello { magic: MAGIC, lowest: LOWEST_VERSION, highest: VERSION, flags: 0 }, vec![]),
        example(
            "Hello worker",
            Hello { magic: MAGIC, lowest: LOWEST_VERSION, highest: VERSION, flags: FROM_WORKER | ANSWERS_RECALLS },
            Task::name().as_bytes().to_vec(),
        ),
    ];
    for (message, payload) in to_worker() {
        examples.push(example(name_to_worker(&message), message, payload));
    }
    for (message, payload) in from_worker() {
        examples.push(example(name_from_worker(&message), message, payload));
    }
    examples
}

// ---------------------------------------------------------------- the tests

#[test]
fn every_block_of_hex_is_the_message_it_is_said_to_be() {
    let examples = examples();
    let blocks = blocks("hex");
    for (name, lines) in &blocks {
        let frame: Vec<u8> = lines.iter().flat_map(|line| hex(line)).collect();
        let example = examples.iter().find(|example| example.name == *name);
        (example.unwrap_or_else(|| panic!("no message is called {name:?}")).check)(&frame);
    }
    let on_the_page: Vec<_> = blocks.iter().map(|(name, _)| *name).collect();
    let expected: Vec<_> = examples.iter().map(|example| example.name).collect();
    assert_eq!(on_the_page, expected, "each message has one block, in this order");
}

/// The matches above are exhaustive; this makes sure that what they name is built, so that it is looked for.
#[test]
fn every_variant_that_can_be_decoded_has_an_example() {
    /// The variants that there are: an unknown index is told from a message that is only too short.
    fn indices<M: WireMessage>() -> BTreeSet<u32> {
        let known = |index: &u32| {
            let mut bytes = index.to_le_bytes().to_vec();
            bytes.extend([0; 64]);
            M::decode(&bytes).is_ok()
        };
        (0..1000).filter(known).collect()
    }
    fn shown<M: WireMessage>(messages: impl IntoIterator<Item = M>) -> BTreeSet<u32> {
        let index = |message: M| {
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            u32::from_le_bytes(*bytes.first_chunk().unwrap())
        };
        messages.into_iter().map(index).collect()
    }
    assert_eq!(indices::<ToWorker>(), shown(to_worker().into_iter().map(|(message, _)| message)));
    assert_eq!(indices::<FromWorker>(), shown(from_worker().into_iter().map(|(message, _)| message)));

    let fault_decodes = |index: u32| {
        let (message, _) =
            from_worker().into_iter().find(|(m, _)| name_from_worker(m).starts_with("Unusable")).unwrap();
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        bytes[13..17].copy_from_slice(&index.to_le_bytes());
        FromWorker::decode(&bytes).is_ok()
    };
    let faults = (0..1000).filter(|&index| fault_decodes(index)).count();
    let shown = blocks("hex").iter().filter(|(name, _)| name.starts_with("Unusable")).count();
    assert_eq!(faults, shown);
}

#[test]
fn the_page_is_of_the_version_that_the_code_speaks() {
    assert!(PAGE.contains(&format!("Version {VERSION}.")));
    assert!(PAGE.contains(&format!("\n| {VERSION} | ")), "the table of versions lacks {VERSION}");
    assert!(!PAGE.contains(&format!("\n| {} | all", VERSION + 1)));
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Point {
    x: u8,
    y: u16,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Dot,
    Disc { r: u16 },
    At(u8, u8),
}

#[test]
fn every_value_of_the_table_is_what_the_codec_writes() {
    let values: Vec<(&str, &str, Vec<u8>)> = vec![
        ("bool", "true", payload(&true)),
        ("u8", "7", payload(&7u8)),
        ("u16", "258", payload(&258u16)),
        ("u32", "258", payload(&258u32)),
        ("i32", "-2", payload(&-2i32)),
        ("u64", "7", payload(&7u64)),
        ("f32", "1.0", payload(&1.0f32)),
        ("f64", "-0.5", payload(&-0.5f64)),
        ("char", "'ü'", payload(&'ü')),
        ("()", "()", payload(&())),
        ("String", "\"hi\"", payload(&"hi")),
        ("Option<u16>", "None", payload(&None::<u16>)),
        ("Option<u16>", "Some(258)", payload(&Some(258u16))),
        ("(u8, bool)", "(7, false)", payload(&(7u8, false))),
        ("[u8; 3]", "[1, 2, 3]", payload(&[1u8, 2, 3])),
        ("Vec<u16>", "[1, 2]", payload(&vec![1u16, 2])),
        ("Bytes", "[1, 2]", payload(&Bytes(vec![1, 2]))),
        ("BTreeMap<String, u8>", "{\"a\": 1}", payload(&BTreeMap::from([("a", 1u8)]))),
        ("Point { x: u8, y: u16 }", "Point { x: 1, y: 2 }", payload(&Point { x: 1, y: 2 })),
        ("Shape::Dot", "Dot", payload(&Shape::Dot)),
        ("Shape::Disc { r: u16 }", "Disc { r: 2 }", payload(&Shape::Disc { r: 2 })),
        ("Result<u8, String>", "Ok(7)", payload(&Ok::<u8, String>(7))),
        ("Result<u8, String>", "Err(\"no\")", payload(&Err::<u8, &str>("no"))),
    ];
    let quoted = |cell: &'static str| cell.split('`').nth(1).unwrap_or_default();
    let table = PAGE.lines().skip_while(|line| !line.starts_with("| Rust type")).skip(2);
    let rows: Vec<_> = table.take_while(|line| line.starts_with('|')).collect();
    assert_eq!(rows.len(), values.len());
    for (row, (of_type, value, bytes)) in rows.into_iter().zip(values) {
        let cells: Vec<_> = row.split('|').collect();
        assert_eq!((quoted(cells[1]), quoted(cells[2])), (of_type, value));
        assert_eq!(hex(quoted(cells[3])), bytes, "{row}");
    }
}

#[test]
fn every_value_of_the_table_of_json() {
    fn row<T: Serialize + for<'de> Deserialize<'de> + PartialEq + fmt::Debug>(
        of_type: &'static str,
        value: &'static str,
        it: T,
    ) -> (&'static str, &'static str, String) {
        let mut bytes = Vec::new();
        Codec::Json.encode(&it, &mut bytes, usize::MAX).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let spaced = format!(" {text}\n");
        assert_eq!(Codec::Json.decode::<T>(spaced.as_bytes()).unwrap(), it, "{text}");
        (of_type, value, text)
    }
    let values = [
        row("bool", "true", true),
        row("i32", "-2", -2i32),
        row("u64", "18446744073709551615", u64::MAX),
        row("f64", "-0.5", -0.5f64),
        row("char", "'ü'", 'ü'),
        row("String", "\"hi\"", "hi".to_owned()),
        row("()", "()", ()),
        row("Option<u16>", "None", None::<u16>),
        row("Option<u16>", "Some(258)", Some(258u16)),
        row("(u8, bool)", "(7, false)", (7u8, false)),
        row("Vec<u16>", "[1, 2]", vec![1u16, 2]),
        row("Bytes", "[1, 2]", Bytes(vec![1, 2])),
        row("BTreeMap<String, u8>", "{\"a\": 1}", BTreeMap::from([("a".to_owned(), 1u8)])),
        row("BTreeMap<i8, bool>", "{-1: true}", BTreeMap::from([(-1i8, true)])),
        row("Point { x: u8, y: u16 }", "Point { x: 1, y: 2 }", Point { x: 1, y: 2 }),
        row("Shape::Dot", "Dot", Shape::Dot),
        row("Shape::Disc { r: u16 }", "Disc { r: 2 }", Shape::Disc { r: 2 }),
        row("Shape::At(u8, u8)", "At(1, 2)", Shape::At(1, 2)),
        row("Result<u8, String>", "Ok(7)", Ok::<u8, String>(7)),
        row("Result<u8, String>", "Err(\"no\")", Err::<u8, String>("no".into())),
    ];
    let table = PAGE.lines().skip_while(|line| !line.starts_with("| Rust type | value | JSON |")).skip(2);
    let rows: Vec<_> = table.take_while(|line| line.starts_with('|')).collect();
    assert_eq!(rows.len(), values.len());
    for (line, (of_type, value, text)) in rows.into_iter().zip(values) {
        let quoted: Vec<_> = line.split('`').skip(1).step_by(2).collect();
        assert_eq!(quoted, [of_type, value, &text]);
    }
}

#[test]
fn the_page_has_the_codecs_that_are_known() {
    let section = PAGE.split("\n## Payloads\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let named: Vec<&str> =
        section.lines().filter_map(|line| line.strip_prefix('`')?.split_once("`: ")).map(|(name, _)| name).collect();
    assert_eq!(named, Codec::ALL.iter().map(|codec| codec.name()).collect::<Vec<_>>());
}

/// A handler that does what the page says of the session.
fn count(task: Task, ctx: &mut Context<Task>) -> Outcome<Task> {
    let Task::Count { text, fail } = task;
    ctx.progress(&(text.split_whitespace().count() as u32));
    let mut counts = BTreeMap::new();
    for word in text.split_whitespace() {
        *counts.entry(word.to_owned()).or_default() += 1;
    }
    if fail { Err("told to fail".into()) } else { Ok(counts) }
}

#[test]
fn the_session_on_the_page_is_what_the_kit_says() {
    let (input, to_worker) = pipe();
    let (from_worker, output) = pipe();
    let (ended, end) = mpsc::channel();
    thread::spawn(move || ended.send(serve_over::<Task>(input, output, count).is_ok()));
    let (_input, arrived) = play(to_worker, &from_worker, VERSION);
    assert_eq!(end.recv_timeout(WATCHDOG), Ok(true), "the worker left");
    // Within one process the pipe stays open; all that there is to read has been written by now.
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    assert_eq!(poll(&mut [PollFd::new(&from_worker, PollFlags::IN)], Some(&now)), Ok(0), "it says nothing more");
    assert_eq!(arrived.pending(), [0u8; 0]);
}

#[test]
fn the_pages_session_is_what_the_python_worker_says() {
    if Command::new("python3").arg("--version").output().is_err() {
        println!("skipped: there is no python3 on this machine");
        return;
    }
    let (input, to_worker) = pipe();
    let (from_worker, output) = pipe();
    let mut worker = Command::new("python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/workers/worker.py"))
        .stdin(input)
        .stdout(output)
        .process_group(0)
        .spawn()
        .unwrap();
    let (_input, mut arrived) = play(to_worker, &from_worker, 1);
    eventually("the worker leaves", || worker.try_wait().unwrap().is_some());
    assert_eq!(worker.wait().unwrap().code(), Some(0));
    assert_eq!(next(&mut arrived, &from_worker), None, "it says nothing more");
}

/// A pool that has asked a job back, which was begun all the same, learns so before it takes the worker for one that
/// begins nothing more.
#[test]
fn the_kit_names_the_running_job_before_it_retires() {
    let (input, to_worker) = pipe();
    let (from_worker, output) = pipe();
    let mut written = Vec::new();
    frame_into(&Hello::new(0), &[], &mut written);
    for (message, payload) in to_worker_frames() {
        frame_into(&message, &payload, &mut written);
    }
    File::from(to_worker.try_clone().unwrap()).write_all(&written).unwrap();
    serve_over::<Task>(input, output, |_, ctx| {
        ctx.retire();
        Ok(BTreeMap::new())
    })
    .unwrap();

    let mut arrived = FrameBuffer::new(1 << 20);
    next(&mut arrived, &from_worker).expect("a hello");
    let said =
        [(); 4].map(|()| FromWorker::decode(&next(&mut arrived, &from_worker).expect("a frame")[4..]).unwrap().0);
    let success = FromWorker::Success { job: 7, ready: true };
    assert_eq!(said, [FromWorker::Ready, FromWorker::Start { job: 7 }, FromWorker::Retire, success]);
}

fn to_worker_frames() -> impl Iterator<Item = (ToWorker, Vec<u8>)> {
    let are_sent =
        |message: &ToWorker| matches!(message, ToWorker::Init { .. } | ToWorker::Job { .. } | ToWorker::Leave);
    to_worker().into_iter().filter(move |(message, _)| are_sent(message))
}

/// Plays the session on the page to a worker that speaks up to version `highest`. Gives back the way to it, which is its parent's life, and what it said.
fn play(to_worker: OwnedFd, from_worker: &OwnedFd, highest: u16) -> (File, FrameBuffer) {
    let mut to_worker = File::from(to_worker);
    let mut arrived = FrameBuffer::new(1 << 20);
    for (written, answers) in exchanges() {
        to_worker.write_all(&written).unwrap();
        for mut answer in answers {
            if answer[4..].starts_with(&MAGIC) {
                answer[14..16].copy_from_slice(&highest.to_le_bytes());
            }
            // Where a thread is held up, the kit's guard says that the handler runs.
            let mut frame = next(&mut arrived, from_worker).expect("an answer");
            while is_start(&frame) {
                frame = next(&mut arrived, from_worker).expect("an answer");
            }
            assert_eq!(frame, answer);
        }
    }
    (to_worker, arrived)
}

/// The session on the page: what the pool writes at once, and the frames that come back.
fn exchanges() -> Vec<(Vec<u8>, Vec<Vec<u8>>)> {
    let blocks = blocks("session");
    let [(_, lines)] = &blocks[..] else { panic!("there is one session") };
    let mut exchanges: Vec<(Vec<u8>, Vec<Vec<u8>>)> = vec![(vec![], vec![])];
    for line in lines {
        let bytes = hex(&line[2..]);
        let (written, answers) = exchanges.last_mut().unwrap();
        match &line[..2] {
            "> " if answers.is_empty() => written.extend(bytes),
            "> " => exchanges.push((bytes, vec![])),
            "< " => answers.push(bytes),
            other => panic!("{other:?}"),
        }
    }
    assert!(exchanges.len() > 3);
    exchanges
}

/// The bytes of the next frame, whatever they say; none at the end.
fn next(arrived: &mut FrameBuffer, pipe: &OwnedFd) -> Option<Vec<u8>> {
    let limit = Timespec::try_from(WATCHDOG).unwrap();
    loop {
        if let Some(len) = arrived.pending().first_chunk::<4>() {
            let whole = 4 + u32::from_le_bytes(*len) as usize;
            if arrived.pending().len() >= whole {
                let frame = arrived.pending()[..whole].to_vec();
                arrived.skip(whole);
                return Some(frame);
            }
        }
        assert_eq!(poll(&mut [PollFd::new(pipe, PollFlags::IN)], Some(&limit)), Ok(1), "the worker says nothing");
        if arrived.fill(pipe).unwrap() == 0 {
            assert_eq!(arrived.pending(), [0u8; 0], "half a frame");
            return None;
        }
    }
}

fn is_start(frame: &[u8]) -> bool {
    matches!(FromWorker::decode(&frame[4..]), Ok((FromWorker::Start { .. }, _)))
}

fn pipe() -> (OwnedFd, OwnedFd) {
    let (read, write) = std::io::pipe().unwrap();
    (read.into(), write.into())
}
