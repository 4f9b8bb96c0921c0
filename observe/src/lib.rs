//! What a pool of [hirelings](https://docs.rs/hirelings) did and does, to be looked at.
//!
//! | to see | there is |
//! | --- | --- |
//! | what happened when, afterwards | [`Recorder`]: a timeline as one HTML file, or a trace for Perfetto |
//! | which jobs are done, so that a broken run goes on where it stopped | [`JobLog`] |
#![cfg_attr(feature = "top", doc = "| what each worker does now | [`Top`]: a view in the terminal |")]
#![cfg_attr(
    not(feature = "top"),
    doc = "| what each worker does now | `Top`: a view in the terminal (feature `top`) |"
)]
#![cfg_attr(feature = "bars", doc = "| how far it is | [`Bars`]: progress bars of `indicatif` |")]
#![cfg_attr(not(feature = "bars"), doc = "| how far it is | `Bars`: progress bars of `indicatif` (feature `bars`) |")]
#![cfg_attr(
    feature = "metrics",
    doc = "| how a service does over weeks | [`Metrics`]: the `metrics` facade, for Prometheus and others |"
)]
#![cfg_attr(
    not(feature = "metrics"),
    doc = "| how a service does over weeks | `Metrics`: the `metrics` facade (feature `metrics`) |"
)]
//!
//! Each is attached to a pool by one call, lives on the pool's hook thread, and ends with the pool. A pool that nothing is
//! attached to pays nothing.

#[cfg(feature = "bars")]
mod bars;
mod clock;
mod job_log;
mod json;
#[cfg(feature = "metrics")]
mod metrics;
mod recorder;
mod recording;
mod sampler;
mod shorten;
mod timeline;
#[cfg(feature = "top")]
mod top;
mod trace;
#[cfg(any(feature = "bars", feature = "metrics", feature = "top"))]
mod watch;

#[cfg(feature = "bars")]
pub use bars::Bars;
pub use job_log::{JobLog, Logged};
#[cfg(feature = "metrics")]
pub use metrics::Metrics;
pub use recorder::Recorder;
#[cfg(feature = "top")]
pub use top::Top;
