//! What each worker is sent first: hello, and init with the pool's options.

use crate::settings::Settings;
use hirelings_worker_kit::wire::{Hello, Payload, ToWorker, frame_into};

pub(super) fn handshake(settings: &Settings, options: Option<Payload>) -> Vec<u8> {
    let mut frames = Vec::new();
    frame_into(&Hello::new(0), &[], &mut frames);
    let init = ToWorker::Init {
        job_type: settings.job_type.into(),
        codec: settings.codec.name().into(),
        max_frame: settings.max_frame as u64,
        has_options: options.is_some(),
    };
    frame_into(&init, options.unwrap_or_default().as_slice(), &mut frames);
    frames
}
