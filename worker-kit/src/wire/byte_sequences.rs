//! A `Vec<u8>` in one piece.
//!
//! serde gives a sequence to a format element by element, also one of bytes, and takes it back in the same way. The
//! encoder and the decoder here stand around those of the format. They pass everything on, but for sequences of `u8`: these
//! are written and read as a byte string. That is right for a format which writes both alike, as bincode does.
//!
//! Such a sequence is known by the names of types. If those were ever to change, the bytes would be the same, and sequences
//! slow again; a test would fail.

mod decoder;
mod encoder;

pub(super) use decoder::Decoded;
pub(super) use encoder::Whole;
