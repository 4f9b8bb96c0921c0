//! Bodies of those fuzz targets in `fuzz/` that need nothing private of the library; the others are in its `src/fuzz.rs`.
//!
//! Each takes bytes, whatever they are, and panics where something does not hold. `cargo test` runs them over their corpora.

mod frames;
mod messages;
mod worker_side;

pub use frames::{frames_from_worker, frames_to_worker};
pub use messages::messages;
pub use worker_side::worker_side;
