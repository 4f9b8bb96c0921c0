//! The one file that names bincode: fixed-width little-endian integers, always with a limit.
//!
//! bincode 2.0.1 is the last usable release and is pinned. The bytes are guarded by golden vectors (here and in
//! `docs/protocol.md`), so that the codec can be replaced: `wincode` and `bincode-next` read and write the same bytes.
//!
//! Two traps decide the shape of this file. A length that a hostile frame announces makes bincode abort the process
//! on allocation, unless a limit is set; and the limit is a const generic that counts decoded widths, not bytes read,
//! so it is taken from tiers of about sixteen times what there is to decode. Sixteen times a large frame is still more than
//! there may be: so no text and no byte string is decoded before its length has been compared with what is left, in an
//! envelope by [`check_layout`], in a payload by [`Decoded`].

use super::byte_sequences::{Decoded, Whole};
use super::fault::CodecFault;
use bincode::BorrowDecode;
pub(super) use bincode::{Decode, Encode};
use bincode::{
    config::{Configuration, Fixint, Limit, LittleEndian, NoLimit},
    enc::write::Writer,
    error::{DecodeError, EncodeError},
};
use serde::{Serialize, de::DeserializeOwned};

const CONFIG: Configuration<LittleEndian, Fixint, NoLimit> = bincode::config::legacy();

/// Calls `$decode` with the configuration whose limit fits `$len` bytes of input.
macro_rules! with_limit_for {
    ($len:expr, $config:ident => $decode:expr) => {
        match $len {
            0..=0xfff => with_limit_for!(@ 0x1_0000, $config, $decode),
            0x1000..=0xffff => with_limit_for!(@ 0x10_0000, $config, $decode),
            0x1_0000..=0xf_ffff => with_limit_for!(@ 0x100_0000, $config, $decode),
            0x10_0000..=0xff_ffff => with_limit_for!(@ 0x1000_0000, $config, $decode),
            0x100_0000..=0xfff_ffff => with_limit_for!(@ 0x1_0000_0000, $config, $decode),
            _ => with_limit_for!(@ 0x10_0000_0000, $config, $decode),
        }
    };
    (@ $limit:literal, $config:ident, $decode:expr) => {{
        let $config: Configuration<LittleEndian, Fixint, Limit<$limit>> = CONFIG.with_limit::<$limit>();
        $decode
    }};
}

/// A `Vec` that refuses to grow past `max`, so that a value too large is found before it fills the memory.
struct Capped<'v> {
    bytes: &'v mut Vec<u8>,
    max: usize,
}

impl Writer for Capped<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        if bytes.len() > self.max.saturating_sub(self.bytes.len()) {
            return Err(EncodeError::UnexpectedEnd);
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }
}

/// Appends `value` to `out` in bincode; `out` may not grow past `max` bytes in all.
///
/// # Errors
///
/// Where serde or the value's own code refuses, or the limit is passed; `out` is then as it was.
pub fn encode_payload<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>, max: usize) -> Result<(), CodecFault> {
    let before = out.len();
    bincode::serde::encode_into_writer(Whole(value), Capped { bytes: out, max }, CONFIG).map_err(|fault| {
        out.truncate(before);
        match fault {
            EncodeError::UnexpectedEnd => CodecFault(format!("it is over the frame limit of {max} bytes")),
            EncodeError::OtherString(why) => CodecFault(why),
            EncodeError::Serde(bincode::serde::EncodeError::SequenceMustHaveLength) => CodecFault(
                "it holds a sequence or map that does not know its length, which bincode cannot write: collect it into \
                 a Vec or BTreeMap first, and use no #[serde(flatten)], or choose Codec::Json"
                    .into(),
            ),
            other => CodecFault(other.to_string()),
        }
    })
}

/// The value that `bytes` of bincode hold, all of them.
///
/// # Errors
///
/// Where the bytes are not a `T`, announce more than sixteen times their own number, or are longer than one.
pub fn decode_payload<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecFault> {
    let decoded = with_limit_for!(bytes.len(), config => bincode::serde::borrow_decode_from_slice::<Decoded<T>, _>(bytes, config));
    match decoded {
        Ok((Decoded(value), used)) if used == bytes.len() => Ok(value),
        Ok((_, used)) => Err(CodecFault(format!("{} bytes are left over", bytes.len() - used))),
        Err(fault) => Err(in_words(fault)),
    }
}

/// Appends a message of the envelope.
pub(super) fn encode_envelope<M: Encode>(message: &M, out: &mut Vec<u8>) {
    let written = bincode::encode_into_writer(message, Capped { bytes: out, max: usize::MAX }, CONFIG);
    debug_assert!(written.is_ok(), "the envelope has no value that cannot be encoded");
}

/// The message at the start of `bytes`, and its length.
pub(super) fn decode_envelope<M: Decode<()>>(bytes: &[u8]) -> Result<(M, usize), CodecFault> {
    with_limit_for!(bytes.len(), config => bincode::decode_from_slice::<M, _>(bytes, config)).map_err(in_words)
}

/// Makes sure that `bytes` start with a `T`, which borrows its texts from them: nothing is allocated.
pub(super) fn check_layout<'b, T: BorrowDecode<'b, ()>>(bytes: &'b [u8]) -> Result<(), CodecFault> {
    let checked = with_limit_for!(bytes.len(), config => bincode::borrow_decode_from_slice::<T, _>(bytes, config));
    checked.map(drop).map_err(in_words)
}

fn in_words(fault: DecodeError) -> CodecFault {
    CodecFault(match fault {
        DecodeError::OtherString(why) => why,
        DecodeError::UnexpectedEnd { additional } => format!("it ends {additional} bytes too early"),
        DecodeError::LimitExceeded => "it announces far more than it brings".into(),
        DecodeError::UnexpectedVariant { found, .. } => format!("it has an unknown variant, {found}"),
        DecodeError::Serde(bincode::serde::DecodeError::CannotBorrowOwnedData) => {
            "it borrows from its bytes: use owned types, such as String for &str".into()
        }
        // Any, identifier, ignored: all are what a type asks that leaves the question to the format.
        DecodeError::Serde(_) => "it asks the format what comes next, which bincode does not know: use no \
                                  #[serde(flatten)], #[serde(untagged)], #[serde(tag = \"…\")] or serde_json::Value in \
                                  it, or choose Codec::Json"
            .into(),
        other => format!("{other:?}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Bytes;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Shape {
        Point,
        Circle { radius: f32 },
        Named(String, Option<u16>),
    }

    fn encoded<T: Serialize>(value: &T) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode_payload(value, &mut bytes, usize::MAX).unwrap();
        bytes
    }

    /// The bytes must never change: workers in other languages are written against them.
    #[test]
    fn golden_vectors() {
        assert_eq!(encoded(&7u64), [7, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(encoded(&"hi"), [2, 0, 0, 0, 0, 0, 0, 0, b'h', b'i']);
        assert!(encoded(&()).is_empty());
        assert_eq!(encoded(&Shape::Point), [0, 0, 0, 0]);
        assert_eq!(encoded(&Shape::Circle { radius: 1.0 }), [1, 0, 0, 0, 0, 0, 0x80, 0x3f]);
        assert_eq!(encoded(&Shape::Named("a".into(), Some(258))), [2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, b'a', 1, 2, 1]);
        assert_eq!(encoded(&Bytes(vec![1, 2])), encoded(&vec![1u8, 2]));
    }

    #[test]
    fn what_was_sent_arrives() {
        for shape in [Shape::Point, Shape::Circle { radius: -0.5 }, Shape::Named("ü".into(), None)] {
            assert_eq!(decode_payload::<Shape>(&encoded(&shape)), Ok(shape));
        }
        let wide: Vec<u64> = (0..1003).collect();
        assert_eq!(decode_payload::<Vec<u64>>(&encoded(&wide)), Ok(wide));
        let many: Vec<Option<u8>> = vec![None; 100_000];
        assert_eq!(decode_payload::<Vec<Option<u8>>>(&encoded(&many)), Ok(many));
    }

    /// serde's own way, without the encoder and the decoder around bincode's.
    #[test]
    fn sequences_of_bytes_are_what_bincode_writes() {
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        enum Nested {
            One(Vec<u8>),
            Two(Option<Vec<u8>>, [u8; 3]),
            Named { boxed: Box<[u8]>, queue: std::collections::VecDeque<u8>, signed: Vec<i8> },
            All(Vec<Nested>, std::collections::BTreeMap<String, Vec<u8>>),
        }
        let named = |bytes: &[u8]| Nested::Named {
            boxed: bytes.into(),
            queue: bytes.iter().copied().collect(),
            signed: bytes.iter().map(|&byte| byte.cast_signed()).collect(),
        };
        let some = Nested::Two(Some(vec![0; 70_000]), [1, 2, 3]);
        let map = [("none".into(), vec![]), ("some".into(), vec![255, 0, 128])].into();
        let all = Nested::All(vec![Nested::One(vec![]), some, Nested::Two(None, [0; 3]), named(&[200, 1])], map);
        let bytes = encoded(&all);
        assert_eq!(bytes, bincode::serde::encode_to_vec(&all, CONFIG).unwrap());
        assert_eq!(decode_payload::<Nested>(&bytes), Ok(all));
        for cut in 0..bytes.len().min(200) {
            assert!(decode_payload::<Nested>(&bytes[..cut]).is_err());
        }
    }

    #[test]
    fn sequences_of_bytes_go_in_one_piece() {
        #[derive(Default)]
        struct Pieces(usize);
        impl Writer for &mut Pieces {
            fn write(&mut self, _: &[u8]) -> Result<(), EncodeError> {
                self.0 += 1;
                Ok(())
            }
        }
        impl bincode::de::read::Reader for &mut Pieces {
            fn read(&mut self, bytes: &mut [u8]) -> Result<(), DecodeError> {
                self.0 += 1;
                // The length, then the bytes.
                bytes.fill(0);
                if self.0 == 1 {
                    bytes[..2].copy_from_slice(&1000u16.to_le_bytes());
                }
                Ok(())
            }
        }
        let mut written = Pieces::default();
        bincode::serde::encode_into_writer(Whole(&vec![7u8; 1000]), &mut written, CONFIG).unwrap();
        assert_eq!(written.0, 2, "the length, and all bytes");
        let mut read = Pieces::default();
        let Decoded(bytes) = bincode::serde::decode_from_reader::<Decoded<Vec<u8>>, _, _>(&mut read, CONFIG).unwrap();
        assert_eq!((bytes.len(), read.0), (1000, 2));
    }

    /// It is not for the codec to know what a type makes its bytes of.
    #[test]
    fn a_type_that_makes_bytes_of_something_else_does_so_still() {
        fn halves<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
            struct Halves;
            impl<'de> serde::de::Visitor<'de> for Halves {
                type Value = Vec<u8>;

                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("numbers")
                }

                fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut numbers: A) -> Result<Vec<u8>, A::Error> {
                    let mut bytes = Vec::new();
                    while let Some(number) = numbers.next_element::<u16>()? {
                        bytes.push((number / 2) as u8);
                    }
                    Ok(bytes)
                }
            }
            deserializer.deserialize_seq(Halves)
        }
        #[derive(Debug, PartialEq, Deserialize)]
        struct Halved(#[serde(deserialize_with = "halves")] Vec<u8>);
        assert_eq!(decode_payload::<Halved>(&encoded(&vec![200u16, 510])), Ok(Halved(vec![100, 255])));
    }

    #[test]
    fn a_length_that_lies_is_an_error_and_no_allocation() {
        let lie = u64::MAX.to_le_bytes();
        assert!(decode_payload::<String>(&lie).is_err());
        assert!(decode_payload::<Vec<u64>>(&lie).is_err());
        assert!(decode_payload::<Bytes>(&lie).is_err());
        assert!(decode_payload::<Vec<u8>>(&lie).is_err());
        let large = (1u64 << 40).to_le_bytes();
        assert!(decode_payload::<Vec<String>>(&large).is_err());
    }

    #[test]
    fn left_over_and_missing_bytes_are_named() {
        assert_eq!(decode_payload::<u8>(&[1, 2, 3]).unwrap_err().to_string(), "2 bytes are left over");
        assert_eq!(decode_payload::<u32>(&[1, 2, 3]).unwrap_err().to_string(), "it ends 1 bytes too early");
    }

    #[test]
    fn a_type_that_bincode_cannot_read_or_write_is_told_what_to_change() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        #[serde(untagged)]
        enum Untagged {
            Number(u64),
        }
        let fault = decode_payload::<Untagged>(&[7; 8]).unwrap_err().to_string();
        assert!(fault.contains("#[serde(untagged)]") && !fault.contains("NotSupported"), "{fault}");

        struct Endless;
        impl Serialize for Endless {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serde::ser::SerializeSeq::end(serializer.serialize_seq(None)?)
            }
        }
        let fault = encode_payload(&Endless, &mut Vec::new(), 100).unwrap_err();
        assert!(fault.to_string().contains("does not know its length"), "{fault}");

        struct EndlessBytes;
        impl Serialize for EndlessBytes {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_seq(std::iter::repeat(1u8))
            }
        }
        let fault = encode_payload(&EndlessBytes, &mut Vec::new(), 100).unwrap_err();
        assert!(fault.to_string().contains("does not know its length"), "{fault}");
        assert_eq!(format!("{fault:?}"), fault.to_string());
        assert!(format!("{fault:#?}").starts_with("CodecFault("));
    }

    #[test]
    fn a_value_over_the_limit_leaves_the_buffer_as_it_was() {
        let mut bytes = vec![9];
        let fault = encode_payload(&[0u64; 4], &mut bytes, 20).unwrap_err();
        assert_eq!(bytes, [9]);
        assert_eq!(fault.to_string(), "it is over the frame limit of 20 bytes");
    }
}
