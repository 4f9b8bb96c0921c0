//! Why a value did not go through.

use std::fmt;

/// Why a value could not be encoded or decoded, in words.
#[derive(Clone, PartialEq, Eq)]
pub struct CodecFault(pub(super) String);

/// A `main` that returns it prints this: the sentence.
impl fmt::Debug for CodecFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() { f.debug_tuple("CodecFault").field(&self.0).finish() } else { f.write_str(&self.0) }
    }
}

impl fmt::Display for CodecFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for CodecFault {}
