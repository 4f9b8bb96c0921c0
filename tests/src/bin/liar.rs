//! A worker that speaks the protocol by hand, and badly: at its start as its first argument says, in a job as the job's
//! text says.

use hirelings_tests::Do;
use hirelings_worker_kit::Job;
use hirelings_worker_kit::wire::{
    ANSWERS_RECALLS, FROM_WORKER, FrameBuffer, FromWorker, Hello, ToWorker, WireMessage, decode_payload,
    encode_payload, frame_into,
};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::stdio::{dup2_stdin, dup2_stdout, stderr, stdin, stdout};
use std::fs::File;
use std::process::exit;
use std::thread::sleep;
use std::time::Duration;
use std::{env, io};

fn main() -> io::Result<()> {
    let lie = env::args().nth(1).unwrap_or_default();
    let mut hello = Hello::new(FROM_WORKER);
    if lie == "answers no recall" {
        hello.flags |= ANSWERS_RECALLS;
    }
    if lie == "other version" {
        (hello.lowest, hello.highest) = (7, 9);
    }
    let name = if lie == "other job type" { "somebody::Else" } else { Do::name() };
    say_with(&hello, name.as_bytes());
    match lie.as_str() {
        "says nothing" => linger(),
        "closes its output" => {
            dup2_stdout(File::open("/dev/null")?)?;
            linger()
        }
        "closes its input" => dup2_stdin(File::open("/dev/null")?)?,
        "answers before it is ready" => say(&success(99, false)),
        "speaks of an unknown message" => write(&[4, 0, 0, 0, 200, 0, 0, 0]),
        "announces a frame of 4 GiB" => write(&[0xff; 4]),
        "says what it ends of" => {
            let message = "there is no licence".into();
            say(&FromWorker::Terminal { job: None, message, location: None, backtrace: None });
            linger()
        }
        _ => {}
    }
    say(&FromWorker::Ready);
    match lie.as_str() {
        "closes its input" => linger(),
        "leaves at once" => exit(7),
        "never reads" => linger(),
        "reads a little and dies" => read_a_little_and_die(),
        _ => serve(),
    }
}

fn serve() -> ! {
    let mut frames = FrameBuffer::new(u32::MAX as usize);
    let mut said_hello = false;
    loop {
        if frames.fill(stdin()).unwrap_or(0) == 0 {
            exit(0);
        }
        if !said_hello {
            said_hello = frames.next_frame::<Hello>().expect("a hello").is_some();
        }
        while said_hello && let Some(frame) = frames.next_frame::<ToWorker>().expect("a message") {
            match frame.message {
                ToWorker::Job { job, .. } | ToWorker::TimedJob { job, .. } => {
                    match decode_payload(frame.payload.as_slice()) {
                        Ok(Do::Echo(lie)) => work(job, &lie),
                        _ => exit(9),
                    }
                }
                ToWorker::Leave => exit(0),
                ToWorker::Init { .. }
                | ToWorker::Skip { .. }
                | ToWorker::Cancel { .. }
                | ToWorker::Heartbeat { .. } => {}
            }
        }
    }
}

fn work(job: u64, lie: &str) {
    match lie {
        "answers twice" => {
            say(&success(job, false));
            say(&success(job, false));
        }
        "answers twice after ready" => {
            say(&success(job, true));
            say(&success(job, true));
        }
        "answers another job" => say(&success(job + 1000, true)),
        "tells of another job" => say(&FromWorker::Progress { job: job + 1000 }),
        "is ready while it works" => say(&FromWorker::Ready),
        "skips what nobody asked for" => say(&FromWorker::Skipped { job }),
        "speaks of an unknown message" => write(&[4, 0, 0, 0, 200, 0, 0, 0]),
        "writes an empty frame" => write(&[0; 4]),
        "announces a frame of 4 GiB" => write(&[0xff; 4]),
        "prints" => write(b"hello, world\n"),
        "lingers" => linger(),
        lie if lie.starts_with("takes ") => {
            let takes = lie.trim_start_matches("takes ").trim_end_matches(" ms").parse();
            sleep(Duration::from_millis(takes.expect("a number of milliseconds")));
            say(&success(job, true));
        }
        "writes half a frame and dies" => {
            write(&[200, 0, 0, 0, 3, 0]);
            exit(5)
        }
        "writes half a frame and lives" => {
            write(&[200, 0, 0, 0, 3, 0]);
            linger()
        }
        "closes its output" => {
            let null = File::open("/dev/null").expect("/dev/null");
            dup2_stdout(null).expect("a new output");
            linger()
        }
        "closes its input" => {
            dup2_stdin(File::open("/dev/null").expect("/dev/null")).expect("a new input");
            say(&success(job, true));
            linger()
        }
        "answers and dies" => {
            say(&success(job, false));
            exit(5)
        }
        "answers, is ready and dies" => {
            say(&success(job, true));
            exit(5)
        }
        "answers rubbish" => say_with(&success(job, true), &[0xff; 40]),
        _ => {
            let mut output = Vec::new();
            encode_payload(&format!("honestly, {lie}"), &mut output, usize::MAX).expect("a text");
            say_with(&success(job, true), &output);
        }
    }
}

fn success(job: u64, ready: bool) -> FromWorker {
    FromWorker::Success { job, ready }
}

/// Success of a text needs at least its length.
fn say(message: &FromWorker) {
    let empty_text = [0; 8];
    let payload: &[u8] = if matches!(message, FromWorker::Success { .. }) { &empty_text } else { &[] };
    say_with(message, payload);
}

fn say_with(message: &impl WireMessage, payload: &[u8]) {
    let mut frame = Vec::new();
    frame_into(message, payload, &mut frame);
    write(&frame);
}

fn write(mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let Ok(written) = rustix::io::write(stdout(), bytes) else { exit(8) };
        bytes = &bytes[written..];
    }
}

fn read_a_little_and_die() -> ! {
    let mut little = [0u8; 4096];
    for _ in 0..20 {
        let _ = rustix::io::read(stdin(), &mut little);
    }
    eprintln!("that is enough");
    exit(6)
}

/// Does nothing until the pool is gone, whose end of standard error tells.
fn linger() -> ! {
    let stderr = stderr();
    while poll(&mut [PollFd::new(&stderr, PollFlags::empty())], None).is_err() {}
    exit(0)
}
