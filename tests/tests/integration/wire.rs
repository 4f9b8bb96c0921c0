//! Bytes on their way to become frames: cut anywhere, lying about their length, or no frames at all.

use hirelings::worker::wire::{
    FROM_WORKER, Fault, Frame, FrameBuffer, FrameFault, FromWorker, Hello, MAGIC, PREAMBLE_LIMIT, Payload, ToWorker,
    WireMessage, frame_into, split_hello,
};
use hirelings_tests::{Scratch, WATCHDOG};
use std::fmt::Debug;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

const MAX: usize = 1 << 30;

fn hello() -> (Hello, Vec<u8>) {
    (Hello::new(FROM_WORKER), b"a::job::Type".to_vec())
}

fn to_worker() -> Vec<(ToWorker, Vec<u8>)> {
    let init = |job_type: &str, has_options| ToWorker::Init {
        job_type: job_type.into(),
        codec: "bincode".into(),
        max_frame: u64::MAX,
        has_options,
    };
    vec![
        (init("a::job::Type", true), vec![1, 2, 3]),
        (init("", false), vec![]),
        (ToWorker::Job { job: u64::MAX, attempt: u32::MAX }, b"what to do".to_vec()),
        (ToWorker::Job { job: 0, attempt: 1 }, vec![]),
        (ToWorker::Skip { job: 1 << 40 }, vec![]),
        (ToWorker::Leave, vec![]),
        (ToWorker::Cancel { job: 9, within_ms: u64::MAX }, vec![]),
        (ToWorker::TimedJob { job: 10, attempt: 2, limit_ms: 0 }, b"in time".to_vec()),
        (ToWorker::Heartbeat { silence_ms: 1 }, vec![]),
    ]
}

fn from_worker() -> Vec<(FromWorker, Vec<u8>)> {
    let mut all = vec![
        (FromWorker::Ready, vec![]),
        (FromWorker::Start { job: 1 }, vec![]),
        (FromWorker::Progress { job: 2 }, b"half".to_vec()),
        (FromWorker::Success { job: 3, ready: true }, b"done".to_vec()),
        (FromWorker::Success { job: 3, ready: false }, vec![]),
        (FromWorker::Failure { job: 4, ready: true }, b"no".to_vec()),
        (FromWorker::Skipped { job: 5 }, vec![]),
        (FromWorker::Retire, vec![]),
        (FromWorker::FinalFailure { job: 8, ready: true }, b"never".to_vec()),
        (FromWorker::Alive, vec![]),
    ];
    for fault in [Fault::DecodeJob, Fault::EncodeOutput, Fault::EncodeError, Fault::EncodeProgress] {
        let (type_name, message) = ("ü".into(), String::new());
        all.push((FromWorker::Unusable { job: 6, ready: false, fault, type_name, message }, vec![]));
    }
    for some in [true, false] {
        let text = |text: &str| some.then(|| text.to_owned());
        let (location, backtrace) = (text("a.rs:1:2"), text("0: main"));
        all.push((FromWorker::Terminal { job: some.then_some(7), message: "oh".into(), location, backtrace }, vec![]));
    }
    all
}

/// A new message does not compile until it is here, and its author then adds it above.
fn _all_are_above(to_worker: ToWorker, from_worker: FromWorker) {
    match to_worker {
        ToWorker::Init { .. } | ToWorker::Job { .. } | ToWorker::Skip { .. } | ToWorker::Leave => {}
        ToWorker::Cancel { .. } | ToWorker::TimedJob { .. } | ToWorker::Heartbeat { .. } => {}
    }
    match from_worker {
        FromWorker::Ready | FromWorker::Start { .. } | FromWorker::Progress { .. } | FromWorker::Success { .. } => {}
        FromWorker::Failure { .. } | FromWorker::Unusable { .. } | FromWorker::Terminal { .. } => {}
        FromWorker::Skipped { .. } | FromWorker::Retire => {}
        FromWorker::FinalFailure { .. } | FromWorker::Alive => {}
    }
}

fn framed<M: WireMessage>(message: &M, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame_into(message, payload, &mut frame);
    frame
}

fn is_frame<M: WireMessage + Debug + PartialEq>(frame: Option<Frame<M>>, message: &M, payload: &[u8], len: usize) {
    let frame = frame.expect("a frame that has arrived");
    assert_eq!(&frame.message, message);
    assert_eq!(frame.payload.as_slice(), payload);
    assert_eq!(frame.len, len);
}

// ---------------------------------------------------------------- cut anywhere

fn every_cut<M: WireMessage + Debug + PartialEq>(message: &M, payload: &[u8]) {
    let frame = framed(message, payload);
    // The limit is exactly this frame's own.
    let max = frame.len() - 4;
    for cut in 0..frame.len() {
        let mut buffer = FrameBuffer::new(max);
        buffer.push(&frame[..cut]);
        assert_eq!(buffer.next_frame::<M>(), Ok(None), "cut at {cut}");
        assert_eq!(buffer.pending(), &frame[..cut]);
        buffer.push(&frame[cut..]);
        is_frame(buffer.next_frame::<M>().unwrap(), message, payload, frame.len());
        assert_eq!(buffer.next_frame::<M>(), Ok(None));
        assert!(buffer.pending().is_empty());
    }
    let mut buffer = FrameBuffer::new(max);
    for (at, byte) in frame.iter().enumerate() {
        assert_eq!(buffer.next_frame::<M>(), Ok(None), "at {at}");
        buffer.push(&[*byte]);
    }
    is_frame(buffer.next_frame::<M>().unwrap(), message, payload, frame.len());
    assert!(buffer.pending().is_empty());
}

#[test]
fn every_message_survives_a_cut_at_every_byte() {
    let (message, payload) = hello();
    every_cut(&message, &payload);
    for (message, payload) in to_worker() {
        every_cut(&message, &payload);
    }
    for (message, payload) in from_worker() {
        every_cut(&message, &payload);
    }
}

#[test]
fn a_run_of_frames_survives_any_two_cuts() {
    let messages = from_worker();
    let run: Vec<u8> = messages.iter().flat_map(|(message, payload)| framed(message, payload)).collect();
    for first in 0..run.len() {
        for second in (first..run.len()).step_by(7) {
            let mut buffer = FrameBuffer::new(MAX);
            let mut arrived = Vec::new();
            for part in [&run[..first], &run[first..second], &run[second..]] {
                buffer.push(part);
                while let Some(frame) = buffer.next_frame::<FromWorker>().unwrap() {
                    arrived.push((frame.message, frame.payload.as_slice().to_vec()));
                }
            }
            assert_eq!(arrived, messages, "cut at {first} and {second}");
            assert!(buffer.pending().is_empty());
        }
    }
}

#[test]
fn many_frames_in_one_push() {
    let mut run = Vec::new();
    for job in 0..10_000u64 {
        frame_into(&FromWorker::Success { job, ready: true }, &job.to_le_bytes()[..job as usize % 9], &mut run);
    }
    let mut buffer = FrameBuffer::new(64);
    buffer.push(&run);
    for job in 0..10_000u64 {
        let frame = buffer.next_frame::<FromWorker>().unwrap().unwrap();
        assert_eq!(frame.message, FromWorker::Success { job, ready: true });
        assert_eq!(frame.payload.as_slice(), &job.to_le_bytes()[..job as usize % 9]);
    }
    assert_eq!(buffer.next_frame::<FromWorker>(), Ok(None));
}

// ---------------------------------------------------------------- through a pipe

fn pipe() -> (OwnedFd, File) {
    let (read, write) = std::io::pipe().unwrap();
    (read.into(), OwnedFd::from(write).into())
}

/// Bytes that are not alike, so that one that is lost or doubled is noticed.
fn bytes(len: usize) -> Vec<u8> {
    let mut random = Random(len as u64);
    (0..len.div_ceil(8)).flat_map(|_| random.next().to_le_bytes()).take(len).collect()
}

/// Runs `test` on a thread of its own, and does not wait for it for ever.
fn with_a_watchdog(test: impl FnOnce() + Send + 'static) {
    let (done, end) = mpsc::channel();
    let tester = thread::spawn(move || {
        test();
        let _ = done.send(());
    });
    if end.recv_timeout(WATCHDOG) == Err(mpsc::RecvTimeoutError::Timeout) {
        panic!("it hangs");
    }
    if let Err(panic) = tester.join() {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn frames_of_all_sizes_go_through_a_pipe() {
    const KIB: usize = 1024;
    // Around what a pipe and a read hold, far more, and small ones between that end up behind large ones.
    let sizes =
        [0, 1, 64 * KIB - 17, 64 * KIB - 16, 5, 64 * KIB + 1, 100, 128 * KIB, 0, 5_000_000, 7, 1 << 20, 3, 4096];
    with_a_watchdog(move || {
        let (read, mut write) = pipe();
        let writer = thread::spawn(move || {
            for (job, size) in (0..).zip(sizes) {
                write.write_all(&framed(&FromWorker::Progress { job }, &bytes(size))).unwrap();
            }
        });
        let mut buffer = FrameBuffer::new(MAX);
        let mut expected = (0..).zip(sizes);
        loop {
            while let Some(frame) = buffer.next_frame::<FromWorker>().unwrap() {
                let (job, size) = expected.next().expect("no more frames than were written");
                assert_eq!(frame.message, FromWorker::Progress { job });
                assert_eq!(frame.payload.len(), size);
                assert!(frame.payload.as_slice() == bytes(size), "frame {job} has other bytes than were written");
            }
            if buffer.fill(&read).unwrap() == 0 {
                break;
            }
        }
        assert_eq!(expected.next(), None);
        assert!(buffer.pending().is_empty());
        writer.join().unwrap();
    });
}

#[test]
fn a_large_frame_has_the_buffer_of_the_one_before() {
    // Each is a little smaller than the first, so that a read into that one's buffer takes the start of the next as well.
    let sizes = [1_000_000, 990_000, 980_000, 100, 970_000, 3];
    let run: Vec<u8> = sizes.iter().flat_map(|&size| framed(&FromWorker::Retire, &bytes(size))).collect();
    // A file and no pipe: nobody has to be waited for.
    let file = Scratch::new();
    std::fs::write(file.path(), run).unwrap();
    let path = file.path();
    with_a_watchdog(move || {
        let expected = sizes.map(bytes);
        // A buffer is kept for 100 ms; on a busy machine a frame may take longer, and then it is tried once more.
        loop {
            let start = Instant::now();
            let read = File::open(&path).unwrap();
            let mut buffer = FrameBuffer::new(MAX);
            let mut held = Vec::new();
            for expected in &expected {
                let frame = loop {
                    match buffer.next_frame::<FromWorker>().unwrap() {
                        Some(frame) => break frame,
                        None => assert!(buffer.fill(&read).unwrap() > 0),
                    }
                };
                assert!(
                    frame.payload.as_slice() == expected,
                    "{} bytes are not those that were written",
                    expected.len()
                );
                if let Payload::Large(_, kept, _) = &frame.payload {
                    held.push(kept.capacity());
                }
            }
            if held == [held[0]; 4] {
                break;
            }
            let took = start.elapsed();
            assert!(took >= Duration::from_millis(50), "{held:?} in {took:?}");
        }
    });
}

#[test]
fn the_end_of_a_pipe_within_a_frame_leaves_its_start() {
    let frame = framed(&FromWorker::Success { job: 1, ready: true }, &bytes(100));
    let (read, mut write) = pipe();
    write.write_all(&frame[..50]).unwrap();
    drop(write);
    let mut buffer = FrameBuffer::new(MAX);
    assert_eq!(buffer.fill(&read).unwrap(), 50);
    assert_eq!(buffer.next_frame::<FromWorker>(), Ok(None));
    assert_eq!(buffer.fill(&read).unwrap(), 0);
    assert_eq!(buffer.next_frame::<FromWorker>(), Ok(None));
    assert_eq!(buffer.pending(), &frame[..50]);
}

#[test]
fn a_preamble_like_a_large_frame_is_not_the_end() {
    with_a_watchdog(|| {
        let mut preamble = 65_540u32.to_le_bytes().to_vec();
        preamble.resize(4 + 65_540, 0);
        let (read, mut write) = pipe();
        let len = preamble.len() + 5;
        let writer = thread::spawn(move || {
            write.write_all(&preamble).unwrap();
            write.write_all(b"hello").unwrap();
        });
        let mut buffer = FrameBuffer::new(MAX);
        while buffer.pending().len() < len {
            assert!(buffer.fill(&read).unwrap() > 0, "the end at {}", buffer.pending().len());
        }
        writer.join().unwrap();
    });
}

// ---------------------------------------------------------------- lengths that lie

#[test]
fn a_length_over_the_limit_is_a_fault_at_once() {
    for (len, max) in [(101u32, 100), (u32::MAX, 100), (u32::MAX, u32::MAX as usize - 1), (1, 0)] {
        let mut buffer = FrameBuffer::new(max);
        buffer.push(&len.to_le_bytes()[..3]);
        assert_eq!(buffer.next_frame::<FromWorker>(), Ok(None));
        buffer.push(&len.to_le_bytes()[3..]);
        let fault = FrameFault::TooLong { len: len as usize, max };
        assert_eq!(buffer.next_frame::<FromWorker>(), Err(fault.clone()));
        // There is no way past it.
        buffer.push(&framed(&FromWorker::Ready, &[]));
        assert_eq!(buffer.next_frame::<FromWorker>(), Err(fault));
    }
}

#[test]
fn a_limit_that_is_set_later_holds_from_then_on() {
    let frame = framed(&FromWorker::Progress { job: 1 }, &bytes(88));
    let mut buffer = FrameBuffer::new(MAX);
    buffer.push(&frame);
    buffer.push(&frame);
    assert!(buffer.next_frame::<FromWorker>().unwrap().is_some());
    buffer.set_max(99);
    assert_eq!(buffer.next_frame::<FromWorker>(), Err(FrameFault::TooLong { len: 100, max: 99 }));
    buffer.set_max(100);
    assert!(buffer.next_frame::<FromWorker>().unwrap().is_some());
}

#[test]
fn a_frame_too_short_for_its_message_is_a_fault() {
    let messages = from_worker().into_iter().map(|(message, _)| framed(&message, &[]));
    for frame in messages {
        // The rest of the message is there, but not within the frame.
        for len in 0..frame.len() - 4 {
            let mut buffer = FrameBuffer::new(MAX);
            buffer.push(&(len as u32).to_le_bytes());
            buffer.push(&frame[4..]);
            let fault = buffer.next_frame::<FromWorker>();
            assert!(matches!(fault, Err(FrameFault::Undecodable(_))), "{len} of {frame:?}: {fault:?}");
        }
    }
}

#[test]
fn unknown_variants_are_faults_that_name_them() {
    fn fault<M: WireMessage + Debug + PartialEq>(message: &[u8]) -> String {
        let mut buffer = FrameBuffer::new(MAX);
        buffer.push(&(message.len() as u32).to_le_bytes());
        buffer.push(message);
        buffer.next_frame::<M>().unwrap_err().to_string()
    }
    for index in [11u32, 12, 256, 1 << 24, u32::MAX] {
        let mut message = index.to_le_bytes().to_vec();
        message.extend([0; 64]);
        let expected = format!("a frame that cannot be decoded: it has an unknown variant, {index}");
        assert_eq!(fault::<FromWorker>(&message), expected);
        assert_eq!(fault::<ToWorker>(&message), expected);
    }
    assert!(fault::<ToWorker>(&[7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).contains("unknown variant, 7"));
    // A fault that there is not, and a bool and an option that are neither.
    let (unusable, _) = from_worker().into_iter().find(|(m, _)| matches!(m, FromWorker::Unusable { .. })).unwrap();
    let mut message = framed(&unusable, &[])[4..].to_vec();
    message[13] = 4;
    assert!(fault::<FromWorker>(&message).contains("unknown variant, 4"));
    fault::<FromWorker>(&[3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2]);
    fault::<FromWorker>(&[6, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0]);
}

// ---------------------------------------------------------------- nonsense

/// SplitMix64: the same numbers on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

/// One to four changes: bits, bytes, numbers that are likely to hurt, bytes that are missing or too many.
fn mutate(frame: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at = random.below(frame.len().max(1)).min(frame.len());
        match random.below(6) {
            _ if frame.is_empty() => frame.push(random.next() as u8),
            0 => frame[at] ^= 1 << random.below(8),
            1 => frame[at] = random.next() as u8,
            2 => frame.truncate(at),
            3 => frame.insert(at, random.next() as u8),
            4 => {
                let number = [0u64, 1, u64::MAX, 1 << 31, 1 << 63, 1 << 32][random.below(6)].to_le_bytes();
                let len = number.len().min(frame.len() - at);
                frame[at..at + len].copy_from_slice(&number[..len]);
            }
            _ => {
                let again = frame[at..].to_vec();
                frame.extend(again);
            }
        }
    }
}

/// Reads frames until there are none or a fault; whatever is read must be written back as it was.
fn digest<M: WireMessage + Debug + PartialEq>(buffer: &mut FrameBuffer) -> usize {
    let mut frames = 0;
    loop {
        let before = buffer.pending().to_vec();
        match buffer.next_frame::<M>() {
            Ok(Some(frame)) => {
                frames += 1;
                assert!(frame.len >= 4 && frame.len <= before.len());
                assert_eq!(framed(&frame.message, frame.payload.as_slice()), &before[..frame.len]);
                assert_eq!(buffer.pending(), &before[frame.len..]);
            }
            Ok(None) | Err(_) => {
                assert_eq!(buffer.pending(), before);
                return frames;
            }
        }
    }
}

#[test]
fn mutated_frames_are_frames_or_faults() {
    with_a_watchdog(|| {
        let mut random = Random(0x6869_7265);
        let (mut decoded, mut refused) = (0, 0);
        let from: Vec<_> = from_worker().iter().map(|(message, payload)| framed(message, payload)).collect();
        let to: Vec<_> = to_worker().iter().map(|(message, payload)| framed(message, payload)).collect();
        let (message, payload) = hello();
        let hello = framed(&message, &payload);
        for round in 0..200_000 {
            let mut bytes = match round % 5 {
                0 | 1 => from[random.below(from.len())].clone(),
                2 | 3 => to[random.below(to.len())].clone(),
                _ => hello.clone(),
            };
            mutate(&mut bytes, &mut random);
            if random.below(2) == 0 && bytes.len() >= 4 {
                // Half of them are told honestly how long they are, so that the message itself is looked at.
                let len = bytes.len() as u32 - 4;
                bytes[..4].copy_from_slice(&len.to_le_bytes());
            }
            let mut buffer = FrameBuffer::new(if random.below(8) == 0 { 16 } else { MAX });
            let cut = random.below(bytes.len().max(1)).min(bytes.len());
            let mut frames = 0;
            for part in [&bytes[..cut], &bytes[cut..]] {
                buffer.push(part);
                frames += match round % 5 {
                    0 | 1 => digest::<FromWorker>(&mut buffer),
                    2 | 3 => digest::<ToWorker>(&mut buffer),
                    _ => digest::<Hello>(&mut buffer),
                };
            }
            let _ = split_hello(&bytes);
            if frames > 0 {
                decoded += 1;
            } else {
                refused += 1;
            }
        }
        // Neither is all there is, or the mutations would be of no use.
        assert!(decoded > 20_000 && refused > 20_000, "{decoded} decoded, {refused} refused");
    });
}

// ---------------------------------------------------------------- the hello behind a preamble

fn framed_hello() -> Vec<u8> {
    let (message, name) = hello();
    framed(&message, &name)
}

/// What follows a hello, or nothing: it must not matter.
fn ready() -> Vec<u8> {
    framed(&FromWorker::Ready, &[])
}

#[test]
fn a_hello_behind_a_preamble_is_found_by_its_magic() {
    let long = "welcome\n".repeat(500);
    let preambles: [&[u8]; 8] = [
        b"",
        b"x",
        b"Last login: yesterday\r\n",
        // The magic, in words.
        b"Welcome, hireling!\nhirelinghirelinghireling",
        // The start of a hello that does not go on, and lengths without a magic.
        &[0x10, 0, 0, 0, b'h', b'i', b'r'],
        &[0x10, 0, 0, 0, 0x10, 0, 0, 0, 0x10, 0, 0, 0],
        // The magic behind lengths that no hello has: too short, too long.
        b"\x0f\0\0\0hireling\x11\x10\0\0hireling\xff\xff\xff\xffhireling",
        long.as_bytes(),
    ];
    for preamble in preambles {
        let mut written = preamble.to_vec();
        written.extend(framed_hello());
        written.extend(ready());
        for cut in 0..=written.len() {
            let expected = (cut >= preamble.len() + 4 + MAGIC.len()).then_some(preamble.len());
            assert_eq!(split_hello(&written[..cut]), expected, "{preamble:?} cut at {cut}");
        }
        let mut buffer = FrameBuffer::new(MAX);
        buffer.push(&written);
        buffer.skip(split_hello(buffer.pending()).unwrap());
        let (message, name) = hello();
        is_frame(buffer.next_frame::<Hello>().unwrap(), &message, &name, framed_hello().len());
        is_frame(buffer.next_frame::<FromWorker>().unwrap(), &FromWorker::Ready, &[], 8);
    }
}

#[test]
fn hellos_with_short_and_long_names_are_found() {
    for (len, found) in [(0, true), (1, true), (4096, true), (4097, false)] {
        let mut written = b"lines".to_vec();
        frame_into(&hello().0, &bytes(len), &mut written);
        assert_eq!(split_hello(&written), found.then_some(5), "a name of {len} bytes");
    }
}

#[test]
fn a_preamble_hides_no_hello_up_to_the_limit() {
    let mut preamble = bytes(PREAMBLE_LIMIT);
    assert_eq!(split_hello(&preamble), None);
    preamble.extend(framed_hello());
    assert_eq!(split_hello(&preamble), Some(PREAMBLE_LIMIT));
    // Preambles of all bytes alike, of the magic without end, and of lengths without end.
    assert_eq!(split_hello(&vec![0; PREAMBLE_LIMIT * 2]), None);
    assert_eq!(split_hello(&MAGIC.repeat(PREAMBLE_LIMIT / 4)), None);
    assert_eq!(split_hello(&[0x10, 0, 0, 0].repeat(PREAMBLE_LIMIT / 2)), None);
}
