//! Lengths of the wire that lie: what is announced costs no memory until it comes.

use hirelings::worker::Bytes;
use hirelings::worker::wire::{FrameBuffer, FromWorker, ToWorker, WireMessage, decode_payload, frame_into};
use hirelings_tests::counting::largest;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;

const MAX: usize = 1 << 30;

fn pipe() -> (OwnedFd, File) {
    let (read, write) = std::io::pipe().unwrap();
    (read.into(), OwnedFd::from(write).into())
}

/// More than is needed for a few bytes (serde itself takes a length's word for up to 1 MiB), far less than the lies.
const MODEST: usize = 2 << 20;

#[test]
fn what_is_asked_for_is_noted() {
    assert!(largest(|| drop(Vec::<u8>::with_capacity(12_345_678))) >= 12_345_678);
}

#[test]
fn a_length_without_bytes_costs_no_memory() {
    let asked = largest(|| {
        let (read, mut write) = pipe();
        write.write_all(&(MAX as u32).to_le_bytes()).unwrap();
        write.write_all(&[1; 10]).unwrap();
        let mut buffer = FrameBuffer::new(MAX);
        assert_eq!(buffer.fill(&read).unwrap(), 14);
        assert_eq!(buffer.next_frame::<FromWorker>(), Ok(None));
        // The next read makes room for what is missing.
        write.write_all(&[1; 10]).unwrap();
        assert_eq!(buffer.fill(&read).unwrap(), 10);
        assert_eq!(buffer.next_frame::<FromWorker>(), Ok(None));
        assert_eq!(buffer.pending().len(), 24);
    });
    assert!(asked < MODEST, "{asked} bytes");
}

#[test]
fn memory_for_a_frame_is_never_far_ahead_of_its_bytes() {
    let (read, mut write) = pipe();
    let mut buffer = FrameBuffer::new(MAX);
    let mut unsent = Vec::new();
    frame_into(&FromWorker::Progress { job: 1 }, &[7; 3 << 20], &mut unsent);
    unsent[..4].copy_from_slice(&(MAX as u32).to_le_bytes());
    let mut arrived = 0;
    for piece in unsent.chunks(60_000) {
        write.write_all(piece).unwrap();
        arrived += piece.len();
        let mut missing = piece.len();
        while missing > 0 {
            let asked = largest(|| missing -= buffer.fill(&read).unwrap());
            assert!(asked <= 2 * arrived + 256 * 1024, "{asked} bytes for {arrived} that have arrived");
        }
        assert_eq!(buffer.next_frame::<FromWorker>(), Ok(None));
    }
    assert_eq!(buffer.pending(), unsent);
}

#[test]
fn a_text_that_lies_about_its_length_costs_no_memory() {
    for lie in [u64::MAX, i64::MAX as u64, 1 << 40, 1 << 32, 1 << 30] {
        let asked = largest(|| {
            // Terminal without a job, and its message.
            let mut frame = vec![6, 0, 0, 0, 0];
            frame.extend(lie.to_le_bytes());
            frame.extend(b"a few bytes");
            assert!(FromWorker::decode(&frame).is_err(), "{lie}");
            let mut init = vec![0, 0, 0, 0];
            init.extend(lie.to_le_bytes());
            init.extend(b"a few bytes");
            assert!(ToWorker::decode(&init).is_err(), "{lie}");
            assert!(decode_payload::<Vec<String>>(&init[4..]).is_err(), "{lie}");
            assert!(decode_payload::<Bytes>(&init[4..]).is_err(), "{lie}");
        });
        assert!(asked < MODEST, "{asked} bytes where {lie} were announced");
    }
}

/// A large frame may announce much, and has less than that.
#[test]
fn a_text_of_a_large_frame_that_lies_costs_no_memory() {
    let text = |length: u64| [&length.to_le_bytes()[..], b"abc"].concat();
    let terminal = [&[6, 0, 0, 0, 1][..], &7u64.to_le_bytes()].concat();
    let unusable = [&[5, 0, 0, 0][..], &7u64.to_le_bytes(), &[1, 0, 0, 0, 0]].concat();
    for size in [100_000, 20 << 20, 300 << 20] {
        // What is behind the first bytes is never looked at, and takes no memory either.
        let mut frame = vec![0; size];
        let size = size as u64;
        for lie in [size - 7, 2 * size, 15 * size, 60 << 30, u64::MAX] {
            let mut costs_nothing = |begin: &[&[u8]], is_error: fn(&[u8]) -> bool| {
                frame[..100].fill(0);
                let begin = begin.concat();
                frame[..begin.len()].copy_from_slice(&begin);
                let asked = largest(|| assert!(is_error(&frame), "{lie} in {begin:?} of {size}"));
                assert!(asked < MODEST, "{asked} bytes for {lie} in {begin:?} of {size}");
            };
            let (lying, right) = (text(lie), text(3));
            let from_worker = |frame: &[u8]| FromWorker::decode(frame).is_err();
            costs_nothing(&[&terminal, &lying], from_worker);
            costs_nothing(&[&terminal, &right, &[1], &lying], from_worker);
            costs_nothing(&[&terminal, &right, &[0, 1], &lying], from_worker);
            costs_nothing(&[&unusable, &lying], from_worker);
            costs_nothing(&[&unusable, &right, &lying], from_worker);
            let to_worker = |frame: &[u8]| ToWorker::decode(frame).is_err();
            costs_nothing(&[&[0; 4], &lying], to_worker);
            costs_nothing(&[&[0; 4], &right, &lying], to_worker);
            costs_nothing(&[&lying], |payload| decode_payload::<String>(payload).is_err());
            costs_nothing(&[&lying], |payload| decode_payload::<Bytes>(payload).is_err());
            costs_nothing(&[&lying], |payload| decode_payload::<Vec<u8>>(payload).is_err());
        }
    }
}
