//! Who is accepted: as many as the backlog has room for, in order, and nobody is forgotten.

use super::{Found, ensure};
use crate::supervisor::{Config, Input, Refusal, Submitted, Supervisor, WhenFull};
use std::collections::{BTreeSet, VecDeque};

#[derive(Clone, Debug)]
pub(super) struct Admission {
    max_backlog: usize,
    closed: bool,
    /// Whether no worker is given a job, free or not.
    paused: bool,
    /// The job that came with this input.
    asked: Option<(u64, WhenFull)>,
    /// The jobs whose callers wait.
    waiting: VecDeque<u64>,
    /// The jobs that were accepted or refused in this step because there was no room in the backlog, or none was needed.
    without_room: Vec<u64>,
    refused_as_full: bool,
    /// The jobs that wait for a time, so that a free worker is no room for them.
    delayed: BTreeSet<u64>,
}

impl Admission {
    pub(super) fn new(config: &Config) -> Self {
        Admission {
            max_backlog: config.max_backlog.unwrap_or(usize::MAX),
            closed: false,
            paused: false,
            asked: None,
            waiting: VecDeque::new(),
            without_room: Vec::new(),
            refused_as_full: false,
            delayed: BTreeSet::new(),
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(super) fn input(&mut self, input: &Input) {
        (self.asked, self.refused_as_full) = (None, false);
        self.without_room.clear();
        match *input {
            Input::Enqueue { job: Submitted { id, ref settings, .. }, when_full } => {
                self.asked = Some((id, when_full));
                if !settings.delay().is_zero() {
                    self.delayed.insert(id);
                }
            }
            Input::Close | Input::Exit => (self.closed, self.paused) = (true, false),
            Input::Pause => self.paused = !self.closed,
            Input::Resume => self.paused = false,
            _ => {}
        }
    }

    /// `backlog` is how many jobs were in it before.
    pub(super) fn enqueued(&mut self, id: u64, backlog: usize) -> Found {
        ensure(!self.closed, || format!("job {id} is accepted after close"))?;
        let exceeds = match self.asked.take_if(|(asked, _)| *asked == id) {
            Some((_, when_full)) => {
                ensure(self.waiting.is_empty() || when_full == WhenFull::Exceed, || {
                    format!("job {id} is accepted before {:?}", self.waiting)
                })?;
                when_full == WhenFull::Exceed
            }
            None => {
                let first = self.waiting.pop_front();
                ensure(first == Some(id), || format!("job {id} is accepted, and {first:?} is the first that waits"))?;
                false
            }
        };
        if !exceeds && backlog >= self.max_backlog {
            self.without_room.push(id);
        }
        Ok(())
    }

    /// `permitted`: whether nothing of its key keeps it from being begun.
    pub(super) fn refused(&mut self, id: u64, refusal: Refusal, backlog: usize, permitted: bool) -> Found {
        let asked = self.asked.take_if(|(asked, _)| *asked == id);
        match (refusal, asked) {
            (Refusal::Full, Some((_, WhenFull::Refuse))) => {
                self.refused_as_full = self.waiting.is_empty() && !self.delayed.contains(&id) && permitted;
                ensure(backlog >= self.max_backlog || !self.waiting.is_empty(), || {
                    format!("job {id} is refused, and there is room: {backlog} of {}", self.max_backlog)
                })
            }
            (Refusal::Closed, asked) if self.closed => {
                let first = if asked.is_none() { self.waiting.pop_front() } else { Some(id) };
                ensure(first == Some(id), || format!("job {id} is refused before {first:?}"))
            }
            _ => Err(format!("job {id} is refused: {refusal:?}, {asked:?}")),
        }
    }

    /// At the end of a step. `is_in_backlog` tells of a job whether no worker has begun it, `finds_permit` whether nothing of
    /// its key keeps it from being begun.
    pub(super) fn settled_down(
        &mut self,
        machine: &Supervisor,
        backlog: usize,
        is_in_backlog: impl Fn(u64) -> bool,
        finds_permit: impl Fn(u64) -> bool,
    ) -> Found {
        if let Some((id, when_full)) = self.asked.take() {
            ensure(when_full == WhenFull::Wait, || format!("job {id} is neither accepted nor refused"))?;
            self.waiting.push_back(id);
        }
        let over = self.without_room.iter().find(|&&id| is_in_backlog(id));
        ensure(over.is_none(), || format!("job {over:?} is one too many in a backlog of {}", self.max_backlog))?;
        let has_free = machine.has_free_worker() && !self.paused;
        ensure(!self.refused_as_full || !has_free, || "refused while a worker is free".into())?;
        ensure(self.waiting.is_empty() || !self.closed, || format!("still waiting after close: {:?}", self.waiting))?;
        let at_once = self.waiting.front().is_some_and(|&id| !self.delayed.contains(&id) && finds_permit(id));
        let has_room = backlog < self.max_backlog || (at_once && has_free);
        ensure(self.waiting.is_empty() || !has_room, || {
            format!("{:?} wait though there is room: the backlog has {backlog} of {}", self.waiting, self.max_backlog)
        })
    }
}
