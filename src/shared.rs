//! What a pool and the handles of its jobs share.

use crate::dispatcher::Dispatcher;
use crate::driver::{Command, InboxSender};
use std::sync::Arc;

/// What a job's handles need of its pool.
pub(crate) struct Shared {
    pub(crate) commands: InboxSender<Command>,
    pub(crate) dispatcher: Arc<Dispatcher>,
}
