//! Payloads as JSON: the one file that names serde_json.
//!
//! What JSON cannot hold is refused. serde_json does so for most of it, but writes NaN and the infinities as `null`; so
//! each value goes through [`Finite`].

mod finite;

use super::fault::CodecFault;
use finite::Finite;
use serde::{Serialize, de::DeserializeOwned};
use std::io::{self, Write};

/// A `Vec` that refuses to grow past `max`, so that a value too large is found before it fills the memory.
struct Capped<'v> {
    bytes: &'v mut Vec<u8>,
    max: usize,
}

impl Write for Capped<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() > self.max.saturating_sub(self.bytes.len()) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) fn encode<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>, max: usize) -> Result<(), CodecFault> {
    let before = out.len();
    serde_json::to_writer(Capped { bytes: out, max }, &Finite(value)).map_err(|fault| {
        out.truncate(before);
        if fault.is_io() {
            CodecFault(format!("it is over the frame limit of {max} bytes"))
        } else {
            CodecFault(fault.to_string())
        }
    })
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecFault> {
    serde_json::from_slice(bytes).map_err(|fault| CodecFault(fault.to_string()))
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};
    use crate::Bytes;
    use serde::{Deserialize, Serialize};
    use std::collections::BTreeMap;
    use std::fmt::Debug;

    fn text<T: Serialize>(value: &T) -> String {
        let mut bytes = Vec::new();
        encode(value, &mut bytes, usize::MAX).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    fn fault<T: Serialize>(value: &T) -> String {
        let mut bytes = vec![9];
        let fault = encode(value, &mut bytes, usize::MAX).unwrap_err();
        assert_eq!(bytes, [9], "nothing is left of it");
        fault.to_string()
    }

    fn comes_back<T: Serialize + for<'de> Deserialize<'de> + PartialEq + Debug>(value: T) {
        assert_eq!(decode::<T>(text(&value).as_bytes()).unwrap(), value);
    }

    #[test]
    fn what_is_no_number_is_refused_wherever_it_stands() {
        #[derive(Serialize)]
        struct Point {
            x: f64,
        }
        #[derive(Serialize)]
        enum Shape {
            Disc { r: f32 },
            At(f64, f64),
            One(f64),
        }
        #[derive(Serialize)]
        struct Metres(f64);
        #[derive(Serialize)]
        struct Pair(u8, f64);
        let nan = f64::NAN;
        for fault in [
            fault(&nan),
            fault(&f32::INFINITY),
            fault(&f64::NEG_INFINITY),
            fault(&Some(nan)),
            fault(&vec![1.0, nan]),
            fault(&(1, nan)),
            fault(&BTreeMap::from([("a", nan)])),
            fault(&Point { x: nan }),
            fault(&Shape::Disc { r: f32::NAN }),
            fault(&Shape::At(0.0, nan)),
            fault(&Shape::One(nan)),
            fault(&Metres(nan)),
            fault(&Pair(1, nan)),
            fault(&vec![Some(BTreeMap::from([(1, [nan])]))]),
        ] {
            assert!(fault.contains("which JSON does not have"), "{fault}");
        }
        assert_eq!(text(&(0.1, -0.0, 1.5f32)), "[0.1,-0.0,1.5]");
        comes_back((f64::MIN, f32::MAX));
    }

    #[test]
    fn integers_arrive_whole() {
        for n in [0, (1 << 53) - 1, 1 << 53, (1 << 53) + 1, u64::MAX] {
            assert_eq!(text(&n), n.to_string());
            comes_back(n);
        }
        comes_back(i64::MIN);
        comes_back(u128::MAX);
        // One that does not fit is an error.
        assert!(decode::<u64>(b"18446744073709551616").is_err());
        assert!(decode::<u8>(b"256").is_err());
        assert!(decode::<u64>(b"1.5").is_err());
    }

    #[test]
    fn floats_arrive_to_the_last_bit() {
        // serde_json is off by one in the last place here, unless it is told not to be.
        for n in [31.245270191439438f64, 121.48791951161945, 0.1, f64::MIN_POSITIVE, f64::MAX, 5e-324] {
            comes_back(n);
        }
        comes_back(0.1f32);
        comes_back(f32::MIN_POSITIVE);
    }

    #[test]
    fn keys_are_texts_or_integers() {
        assert_eq!(text(&BTreeMap::from([(-1, "a"), (7, "b")])), r#"{"-1":"a","7":"b"}"#);
        comes_back(BTreeMap::from([(u64::MAX, 1)]));
        comes_back(BTreeMap::from([('ü', 1)]));
        for fault in [fault(&BTreeMap::from([((1, 2), 3)])), fault(&BTreeMap::from([(Some(vec![1]), 3)]))] {
            assert!(fault.contains("key must be a string"), "{fault}");
        }
    }

    #[test]
    fn bytes_are_base64() {
        assert_eq!(text(&Bytes(vec![1, 2])), r#""AQI=""#);
        for len in 0..100u8 {
            comes_back(Bytes((0..len).map(|n| n.wrapping_mul(89)).collect()));
        }
        for bad in ["AQI", "AQ=I", "AQI=AQI=", "A===", "AQ I=", "AQJ=", "====", "AQ-_"] {
            let fault = decode::<Bytes>(format!("{bad:?}").as_bytes()).unwrap_err().to_string();
            assert!(fault.contains("base64"), "{bad}: {fault}");
        }
    }

    /// All that bincode cannot decode.
    #[test]
    fn what_asks_the_format_what_comes_next() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        #[serde(untagged)]
        enum Untagged {
            Number(u64),
            Text(String),
        }
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "kind")]
        enum Tagged {
            Dot,
            Disc { r: u16 },
        }
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Flat {
            name: String,
            #[serde(skip_serializing_if = "Option::is_none")]
            age: Option<u8>,
            #[serde(flatten)]
            more: BTreeMap<String, serde_json::Value>,
        }
        comes_back(vec![Untagged::Number(7), Untagged::Text("seven".into())]);
        comes_back(vec![Tagged::Dot, Tagged::Disc { r: 2 }]);
        let more = BTreeMap::from([("list".into(), serde_json::json!([1, null, {"a": -1.5}]))]);
        comes_back(Flat { name: "n".into(), age: None, more });
    }

    #[test]
    fn what_is_left_over_or_missing_or_too_deep_is_an_error() {
        assert!(decode::<u8>(b"1 2").is_err());
        assert!(decode::<()>(b"").is_err());
        assert!(decode::<String>(b"\"\xff\"").is_err());
        assert!(decode::<f64>(b"NaN").is_err());
        assert_eq!(decode::<u8>(b" 1\n"), Ok(1));
        let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
        assert!(decode::<serde_json::Value>(&deep).unwrap_err().to_string().contains("recursion"));
    }

    #[test]
    fn a_value_over_the_limit_leaves_the_buffer_as_it_was() {
        let mut bytes = vec![9];
        let fault = encode(&vec![0u64; 40], &mut bytes, 20).unwrap_err();
        assert_eq!((bytes, fault.to_string().as_str()), (vec![9], "it is over the frame limit of 20 bytes"));
    }
}
