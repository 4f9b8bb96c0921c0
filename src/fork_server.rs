//! Workers that are forked: the second way to start them, and to signal and reap them.
//!
//! A fork server is the pool's own child, started as a worker is. It makes the worker's state once and then forks a worker
//! at each request; what it does is in the kit (`worker-kit/src/fork_server.rs`). Here is the pool's side:
//!
//! * [`ForkLauncher`] starts fork servers and asks them for workers, on the spawner's thread.
//! * [`ForkedProcess`](process::ForkedProcess) is a worker that is not the pool's child. The pool has a descriptor of the
//!   process, by which alone it signals it, and a leash, over which the fork server tells how the worker ended.
//! * A minder, one thread a fork server, reads what the fork server prints, learns how it ends and reaps it.

mod launcher;
mod process;
mod server;

pub(crate) use launcher::ForkLauncher;

use crate::launch::ForkServers;
use parking_lot::Mutex;
use server::Server;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::{fmt, io};

/// The fork servers of a pool, for those who end them.
struct Servers {
    /// Hung up once the pool has ended: nobody waits for a fork server any more.
    closed: OwnedFd,
    closing: Mutex<Option<os_pipe::PipeWriter>>,
    servers: Mutex<Vec<Weak<Server>>>,
    minders: Mutex<Vec<JoinHandle<()>>>,
}

impl Servers {
    fn new() -> io::Result<Self> {
        let (closed, closing) = os_pipe::pipe()?;
        Ok(Servers {
            closed: closed.into(),
            closing: Mutex::new(Some(closing)),
            servers: Mutex::default(),
            minders: Mutex::default(),
        })
    }

    fn is_closed(&self) -> bool {
        self.closing.lock().is_none()
    }

    fn add(&self, server: &Arc<Server>, minder: JoinHandle<()>) {
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
