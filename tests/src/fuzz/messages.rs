//! The messages of the envelope, and users' payloads.

use hirelings_worker_kit::Bytes;
use hirelings_worker_kit::wire::{
    FromWorker, Hello, ToWorker, WireMessage, decode_payload, encode_payload, split_hello,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt::Debug;

#[derive(Serialize, Deserialize)]
enum Shape {
    Point,
    Circle { radius: f32, filled: bool },
    Named(String, Option<u16>),
    Many(Vec<Shape2>),
}

#[derive(Serialize, Deserialize)]
struct Shape2(char, i128, Bytes);

/// What can be decoded is encoded to the same bytes again.
pub fn messages(data: &[u8]) {
    message::<Hello>(data);
    message::<ToWorker>(data);
    message::<FromWorker>(data);
    payload::<String>(data);
    payload::<Bytes>(data);
    payload::<Vec<u64>>(data);
    payload::<Vec<(String, Option<u32>)>>(data);
    payload::<Shape>(data);
    payload::<Result<Box<Shape>, (u8, [i16; 3])>>(data);
    assert!(split_hello(data).is_none_or(|preamble| preamble + 12 <= data.len()));
}

fn message<M: WireMessage + Debug + PartialEq>(bytes: &[u8]) {
    match M::decode(bytes) {
        Ok((message, used)) => {
            let mut again = Vec::new();
            message.encode(&mut again);
            assert_eq!(again, &bytes[..used], "{message:?}");
            assert!(M::decode(&bytes[..used - 1]).is_err(), "{message:?} does not need its last byte");
            assert_eq!(M::decode(&again), Ok((message, used)));
        }
        Err(fault) => assert!(!fault.to_string().is_empty()),
    }
}

fn payload<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
    match decode_payload::<T>(bytes) {
        Ok(value) => {
            let mut again = Vec::new();
            encode_payload(&value, &mut again, bytes.len()).expect("a value that was decoded");
            assert_eq!(again, bytes);
        }
        Err(fault) => assert!(!fault.to_string().is_empty()),
    }
}
