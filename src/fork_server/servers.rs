//! The fork servers of a pool, all together.

use super::server::Server;
use crate::launch::ForkServers;
use parking_lot::Mutex;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::{fmt, io};

/// The fork servers of a pool, for those who end them.
pub(super) struct Servers {
    /// Hung up once the pool has ended: nobody waits for a fork server any more.
    closed: OwnedFd,
    closing: Mutex<Option<os_pipe::PipeWriter>>,
    servers: Mutex<Vec<Weak<Server>>>,
    minders: Mutex<Vec<JoinHandle<()>>>,
}

impl Servers {
    pub(super) fn new() -> io::Result<Self> {
        let (closed, closing) = os_pipe::pipe()?;
        Ok(Servers {
            closed: closed.into(),
            closing: Mutex::new(Some(closing)),
            servers: Mutex::default(),
            minders: Mutex::default(),
        })
    }

    /// Hangs up once the pool has ended.
    pub(super) fn closed(&self) -> BorrowedFd<'_> {
        self.closed.as_fd()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closing.lock().is_none()
    }

    pub(super) fn add(&self, server: &Arc<Server>, minder: JoinHandle<()>) {
        let mut servers = self.servers.lock();
        servers.retain(|server| server.strong_count() > 0);
        servers.push(Arc::downgrade(server));
        let mut minders = self.minders.lock();
        minders.retain(|minder| !minder.is_finished());
        minders.push(minder);
    }
}

impl ForkServers for Servers {
    fn close(&self) {
        *self.closing.lock() = None;
    }

    fn end(&self) {
        self.close();
        self.servers.lock().drain(..).filter_map(|server| server.upgrade()).for_each(|server| server.end());
    }

    fn join(&self) {
        let minders = std::mem::take(&mut *self.minders.lock());
        minders.into_iter().for_each(|minder| drop(minder.join()));
    }
}

impl fmt::Debug for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Servers").field("closed", &self.is_closed()).finish_non_exhaustive()
    }
}
