//! The fork servers of a pool, as the driver knows them.

use super::Driver;
use super::notices::{About, lines_of};
use crate::dispatcher::Notification;
use crate::event::{EventKind, More};
use crate::exit_status::ended_somehow;
use crate::launch::News;
use crate::options::Stderr;
use crate::supervisor::{Input, WorkerKey};
use std::sync::Arc;

/// A fork server that is not reaped.
#[derive(Clone, Debug)]
pub(super) struct ForkServer {
    pid: u32,
    program: String,
}

/// Which fork server has forked a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ForkedBy {
    number: u64,
    pub(super) pid: u32,
}

impl Driver {
    pub(super) fn forked_by(&self, number: u64) -> ForkedBy {
        ForkedBy { number, pid: self.fork_servers.get(&number).map_or(0, |server| server.pid) }
    }

    /// Whether nothing of the pool is left. Fork servers are ended once no worker is.
    pub(super) fn is_over(&self) -> bool {
        if !self.machine.is_finished() {
            return false;
        }
        if let Some(servers) = &self.servers {
            servers.end();
        }
        self.fork_servers.is_empty()
    }

    pub(super) fn of_fork_server(&mut self, news: News) {
        match news {
            News::Spawned { number, pid, program } => {
                self.fork_servers_spawned += 1;
                self.log(log::Level::Debug, || format!("fork server process {pid} was spawned: {program}"));
                self.fork_servers.insert(number, ForkServer { pid, program });
                self.emit_event(EventKind::ForkServerSpawned, About::process(pid), || More::Nothing);
                // The program is there: whether it becomes a fork server is like whether a worker becomes ready.
                if let Some(first) = self.first.take() {
                    let _ = first.send(Ok(()));
                }
            }
            News::Stderr { number, lines, charge } => {
                let Some(pid) = self.fork_servers.get(&number).map(|server| server.pid) else { return };
                let charge = Arc::new(charge);
                let hooks = Arc::clone(&self.plan.hooks);
                if self.plan.stderr == Stderr::Forward {
                    hooks.queue(Notification::Forward(lines.as_slice().into(), Some(Arc::clone(&charge))));
                }
                for line in lines_of(&lines) {
                    if self.plan.stderr == Stderr::Log {
                        self.log(log::Level::Info, || format!("fork server process {pid}: {line}"));
                    }
                    let about = About::process(pid);
                    self.emit_charged(EventKind::WorkerStderr, about, || More::Stderr(line), Some(&charge));
                }
            }
            News::Exited { number, status } => {
                let Some(server) = self.fork_servers.remove(&number) else { return };
                let level = if self.machine.is_finished() { log::Level::Debug } else { log::Level::Warn };
                self.log(level, || {
                    format!("fork server process {} {}: {}", server.pid, ended_somehow(status), server.program)
                });
                self.emit_event(EventKind::ForkServerExited, About::process(server.pid), || More::Ended { status });
                let of_it = |child: &&super::Child| child.fork_server.is_some_and(|of| of.number == number);
                let orphans: Vec<_> =
                    self.children.iter().flatten().filter(of_it).map(|child| child.worker_key).collect();
                for worker_key in orphans {
                    self.input(Input::Orphaned(worker_key));
                }
            }
        }
    }

    /// A worker whose fork server has ended before the worker was known.
    pub(super) fn orphan_if_late(&mut self, worker_key: WorkerKey) {
        let of = self.child(worker_key).and_then(|child| child.fork_server);
        if of.is_some_and(|of| !self.fork_servers.contains_key(&of.number)) {
            self.input(Input::Orphaned(worker_key));
        }
    }
}
