//! A job whose values break while they are encoded or decoded.

use crate::processes::die_of;
use hirelings::Job;
use rustix::process::Signal;
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::process::exit;

/// A value, and what happens to it on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Brittle {
    Sound,
    NoEncode,
    NoDecode,
    ExitAtEncode,
    ExitAtDecode,
    PanicAtEncode,
    PanicAtDecode,
    SegfaultAtEncode,
    SegfaultAtDecode,
}

impl Brittle {
    const ALL: [Brittle; 9] = [
        Brittle::Sound,
        Brittle::NoEncode,
        Brittle::NoDecode,
        Brittle::ExitAtEncode,
        Brittle::ExitAtDecode,
        Brittle::PanicAtEncode,
        Brittle::PanicAtDecode,
        Brittle::SegfaultAtEncode,
        Brittle::SegfaultAtDecode,
    ];

    /// # Panics
    ///
    /// Where there is none of this number.
    pub fn from_code(code: u8) -> Self {
        Brittle::ALL[usize::from(code)]
    }
}

impl Serialize for Brittle {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Brittle::NoEncode => Err(S::Error::custom("it broke while it was encoded")),
            Brittle::ExitAtEncode => exit(71),
            Brittle::PanicAtEncode => panic!("panicked while it was encoded"),
            Brittle::SegfaultAtEncode => die_of(Signal::SEGV),
            sound => (*sound as u8).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Brittle {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Brittle::from_code(u8::deserialize(deserializer)?) {
            Brittle::NoDecode => Err(D::Error::custom("it broke while it was decoded")),
            Brittle::ExitAtDecode => exit(72),
            Brittle::PanicAtDecode => panic!("panicked while it was decoded"),
            Brittle::SegfaultAtDecode => die_of(Signal::SEGV),
            sound => Ok(sound),
        }
    }
}

impl fmt::Display for Brittle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// Carries one value to the worker and others back, these as codes so that they break only on their own way. Done by
/// `src/bin/brittle.rs`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Carry {
    pub job: Brittle,
    progress: Option<u8>,
    outcome: Result<u8, u8>,
}

impl Carry {
    pub fn job(job: Brittle) -> Self {
        Carry { job, progress: None, outcome: Ok(Brittle::Sound as u8) }
    }

    pub fn output(output: Brittle) -> Self {
        Carry { outcome: Ok(output as u8), ..Carry::job(Brittle::Sound) }
    }

    pub fn error(error: Brittle) -> Self {
        Carry { outcome: Err(error as u8), ..Carry::job(Brittle::Sound) }
    }

    pub fn progress(progress: Brittle) -> Self {
        Carry { progress: Some(progress as u8), ..Carry::job(Brittle::Sound) }
    }

    pub fn told(&self) -> Option<Brittle> {
        self.progress.map(Brittle::from_code)
    }

    /// # Errors
    ///
    /// The error that it is to fail with.
    pub fn outcome(&self) -> Result<Brittle, Brittle> {
        self.outcome.map(Brittle::from_code).map_err(Brittle::from_code)
    }
}

impl Job for Carry {
    type Output = Brittle;
    type Progress = Brittle;
    type Error = Brittle;
}
