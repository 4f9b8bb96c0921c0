use super::*;
use crate::wire::{FrameBuffer, FromWorker, Hello, PAYLOAD_CODEC, ToWorker, encode_payload, frame_into};
use serde::{Deserialize, Serialize, Serializer};
use std::fs::File;
use std::io::{Read, Write};
use std::thread;

/// What the handler is to return, or to say before it returns.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Return {
    Output,
    Error,
    /// An output that cannot be encoded.
    Unusable,
    /// An output behind a progress that cannot be encoded.
    UnusableProgress,
}

/// A value that panics when it is dropped.
#[derive(Debug, Deserialize)]
struct Fragile(Return);

impl Serialize for Fragile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 == Return::Unusable {
            return Err(serde::ser::Error::custom("it is unusable"));
        }
        self.0.serialize(serializer)
    }
}

impl Display for Fragile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl Drop for Fragile {
    fn drop(&mut self) {
        panic!("dropped: {:?}", self.0);
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Make(Return);

impl Job for Make {
    type Output = Fragile;
    type Progress = Unusable;
    type Error = Fragile;
}

#[derive(Debug, Deserialize)]
struct Unusable;

impl Serialize for Unusable {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("it is unusable"))
    }
}

fn make(Make(what): Make, ctx: &mut Context<Make>) -> Outcome<Make> {
    if what == Return::UnusableProgress {
        ctx.progress(&Unusable);
    }
    if what == Return::Error { Err(Fragile(what)) } else { Ok(Fragile(what)) }
}

/// The pool has sent the next job too, and takes it for begun once the first is answered with "ready".
#[test]
fn a_panic_in_the_drop_of_what_a_handler_returns_is_that_jobs() {
    for what in [Return::Output, Return::Error, Return::Unusable, Return::UnusableProgress] {
        let [(input, mut pool), (said, output)] = [(); 2].map(|()| os_pipe::pipe().unwrap());
        let mut bytes = Vec::new();
        frame_into(&Hello::new(0), &[], &mut bytes);
        let (job_type, codec) = (Make::name().into(), PAYLOAD_CODEC.into());
        frame_into(&ToWorker::Init { job_type, codec, max_frame: 1 << 20, has_options: false }, &[], &mut bytes);
        let mut payload = Vec::new();
        encode_payload(&Make(what), &mut payload, usize::MAX).unwrap();
        for job in [7, 8] {
            frame_into(&ToWorker::Job { job, attempt: 1 }, &payload, &mut bytes);
        }
        pool.write_all(&bytes).unwrap();
        let ended = thread::spawn(move || serve_over(input.into(), output.into(), make).unwrap_err().to_string());
        assert_eq!(ended.join().unwrap(), format!("dropped: {what:?}"));
        let (mut bytes, mut buffer) = (Vec::new(), FrameBuffer::new(1 << 20));
        // The guard may live a little longer, and holds the other end: as much as there is.
        rustix::io::ioctl_fionbio(&said, true).unwrap();
        let _ = File::from(OwnedFd::from(said)).read_to_end(&mut bytes);
        buffer.push(&bytes);
        buffer.next_frame::<Hello>().unwrap();
        let mut words = Vec::new();
        while let Some(frame) = buffer.next_frame::<FromWorker>().unwrap() {
            words.push(frame.message);
        }
        words.retain(|word| !matches!(word, FromWorker::Start { .. }));
        assert!(matches!(words[..], [FromWorker::Ready, FromWorker::Terminal { job: Some(7), .. }]), "{words:?}");
    }
}
