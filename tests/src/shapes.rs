//! Jobs of unusual shapes: no bytes at all, any bytes, an error with causes, a pool in a worker. Done by
//! `src/bin/shapes.rs`.

use hirelings::{Bytes, Job, NoError, PoolBuilder, Stderr};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::{error, fmt};

/// No bytes at all, either way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Nothing;

impl Job for Nothing {
    type Output = ();
    type Progress = ();
    type Error = NoError;
}

/// Gives the bytes back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Blob(pub Bytes);

impl Job for Blob {
    type Output = Bytes;
    type Progress = ();
    type Error = NoError;
}

/// An error with fields of its own, and its cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Complaint {
    pub code: i32,
    pub place: (String, u32),
    pub cause: Option<Box<Complaint>>,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "complaint {} at {}:{}", self.code, self.place.0, self.place.1)
    }
}

impl error::Error for Complaint {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

/// Fails with the complaint, or gives it back as what it came to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Complain {
    Fail(Complaint),
    Return(Complaint),
}

impl Job for Complain {
    type Output = Result<u32, Complaint>;
    type Progress = ();
    type Error = Complaint;
}

/// What bincode cannot decode: it comes back as it is, after it was told as progress. With `divide` the output is 1 divided
/// by that, and with `fail` it comes back as the error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Loose {
    pub id: Id,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub divide: Option<f64>,
    #[serde(default)]
    pub fail: bool,
    #[serde(flatten)]
    pub more: BTreeMap<String, Value>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Id {
    Number(u64),
    Name(String),
}

impl fmt::Display for Loose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} with {} more", self.id, self.more.len())
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum LooseOutput {
    Quotient(f64),
    Whole(Loose),
}

impl Job for Loose {
    type Output = LooseOutput;
    type Progress = Value;
    type Error = Loose;
}

/// Opens a pool and does the same in it, so many deep. The innermost waits for the gate. Gives the process ids, the
/// innermost's first, which each tells as well.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Nest {
    pub depth: u32,
    pub gate: PathBuf,
}

impl Job for Nest {
    type Output = Vec<u32>;
    type Progress = u32;
    type Error = String;
}

/// A pool of workers for this shape, which says nothing.
pub fn pool<J: Job>() -> PoolBuilder<J> {
    let mut command = Command::new(crate::program("shapes"));
    command.arg(J::name());
    crate::builder::<J>(command).stderr(Stderr::Null)
}
