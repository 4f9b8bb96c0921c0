//! The fork servers of a pool, as the driver knows them.

use super::Driver;
use super::child::ForkedBy;
use super::emit::About;
use crate::event::{EventKind, More};
use crate::exit_status::ended_somehow;
use crate::launch::{ForkServers, News};
use crate::supervisor::{Input, WorkerKey};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A fork server that is not reaped.
#[derive(Clone, Debug)]
struct ForkServer {
    pid: u32,
    program: String,
}

pub(super) struct Forks {
    /// What ends them, where workers are forked.
    servers: Option<Arc<dyn ForkServers>>,
    by_number: BTreeMap<u64, ForkServer>,
    spawned: u64,
}

impl Forks {
    pub(super) fn new(servers: Option<Arc<dyn ForkServers>>) -> Self {
        Forks { servers, by_number: BTreeMap::new(), spawned: 0 }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.by_number.len()
    }

    /// How many there ever were.
    pub(super) fn spawned(&self) -> u64 {
        self.spawned
    }

    pub(super) fn parent(&self, number: u64) -> ForkedBy {
        ForkedBy { number, pid: self.pid(number) }
    }

    fn pid(&self, number: u64) -> Option<u32> {
        self.by_number.get(&number).map(|server| server.pid)
    }

    /// The pool has ended: a start or a request that is waited for fails.
    pub(super) fn close(&self) {
        if let Some(servers) = &self.servers {
            servers.close();
        }
    }

    /// Ends all of them. `true` once none is left.
    pub(super) fn end(&self) -> bool {
        if let Some(servers) = &self.servers {
            servers.end();
        }
        self.by_number.is_empty()
    }

    /// Waits until all have ended.
    pub(super) fn join(self) {
        if let Some(servers) = self.servers {
            servers.join();
        }
    }
}

impl Driver {
    pub(super) fn fork_server_news(&mut self, news: News) {
        match news {
            News::Spawned { number, pid, program } => {
                self.log(log::Level::Debug, || format!("fork server process {pid} was spawned: {program}"));
                self.forks.spawned += 1;
                self.forks.by_number.insert(number, ForkServer { pid, program });
                self.emit_event(EventKind::ForkServerSpawned, About::process(pid), || More::Nothing);
                // The program is there: whether it becomes a fork server is like whether a worker becomes ready.
                self.callers.answer_first(Ok(()));
            }
            News::Stderr { number, lines, charge } => {
                let Some(pid) = self.forks.pid(number) else { return };
                self.emit_stderr(&lines, charge, About::process(pid), || format!("fork server process {pid}"));
            }
            News::Exited { number, status, was_asked } => {
                let Some(server) = self.forks.by_number.remove(&number) else { return };
                let level = if was_asked { log::Level::Debug } else { log::Level::Warn };
                self.log(level, || {
                    format!("fork server process {} {}: {}", server.pid, ended_somehow(status), server.program)
                });
                self.emit_event(EventKind::ForkServerExited, About::process(server.pid), || More::Ended { status });
                for worker_key in self.workers.forked_by(number) {
                    self.input(Input::Orphaned(worker_key));
                }
            }
        }
    }

    /// A worker whose fork server has ended before the worker was known.
    pub(super) fn orphan_if_late(&mut self, worker_key: WorkerKey) {
        let of = self.workers.get(worker_key).and_then(|child| child.fork_server);
        if of.is_some_and(|of| self.forks.pid(of.number).is_none()) {
            self.input(Input::Orphaned(worker_key));
        }
    }
}
