//! One worker process of the simulated world: it reads, works, answers, and goes wrong in every way there is.

use super::Rng;
use crate::supervisor::{Message, Outcome};
use std::collections::VecDeque;
use std::time::Duration;

/// What the pool writes to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum ToActor {
    Init,
    Job { job: u64, attempt: u32 },
    Skip(u64),
    Cancel(u64),
    Leave,
}

/// What comes out of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum FromActor {
    Hello {
        recalls: bool,
    },
    Message(Message),
    Malformed,
    StdoutClosed,
    /// No message: what was said before is what the pool asked for when a limit was over, or when it stopped the worker.
    Drained,
    Stopped,
}

/// What a worker will do with one job. Drawn when the handler begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Fate {
    Answer(Outcome),
    /// Writes a terminal failure, and ends.
    Panic,
    /// The same, without the number of its job.
    PanicUnnamed,
    Crash,
    /// Answers, and dies at once.
    AnswerAndCrash,
    Hang,
    SecondAnswer,
    WrongJob,
    ReadyWhileWorking,
    Garble,
    ClosePipe,
    /// Closes the end from which it reads, and answers all the same, late.
    CloseInput,
    Retire,
}

/// How a worker starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Start {
    Fine,
    Dies,
    Hangs,
    Refuses,
    SpeaksTooSoon,
    ClosesPipe,
    /// Is ready, and dies before its first job.
    DiesIdle,
    /// Wants to be replaced before it has done anything.
    Retires,
}

/// What it is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    Booting,
    Idle,
    Running {
        job: u64,
        attempt: u32,
        fate: Fate,
    },
    Recovering,
    /// Nothing, for ever.
    Hung,
}

/// How often what goes wrong, in percent; drawn once a world.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rates {
    pub(super) start: u64,
    pub(super) job: u64,
    pub(super) recover: u64,
    pub(super) ignores_term: u64,
    pub(super) holds_pipes: u64,
    pub(super) leaves_late: u64,
    /// Workers whose pipes are closed long before their exit is known, as where many others want the processor.
    pub(super) dies_slowly: u64,
    pub(super) spawn: u64,
    /// Workers that die at any moment, whatever they do.
    pub(super) dies: u64,
    /// Workers that do not say that they answer recalls.
    pub(super) plain: u64,
    /// Workers that do not answer recalls while they hang: they are stopped, as it were.
    pub(super) unguarded: u64,
    /// Jobs that take longer than what is short.
    pub(super) long: u64,
    /// Workers during whose life the fork server dies that has forked them all.
    pub(super) orphans: u64,
    /// Workers of whose death the pool is not told, since the fork server is stopped.
    pub(super) unreported: u64,
    /// Handlers that come to an end when they are asked to.
    pub(super) heeds: u64,
}

impl Rates {
    pub(super) fn draw(rng: &mut Rng) -> Self {
        let mut rate = |rates: &[u64]| rng.pick(rates);
        Rates {
            start: rate(&[0, 0, 10, 50, 100]),
            job: rate(&[0, 5, 30, 80]),
            recover: rate(&[0, 0, 10, 40]),
            ignores_term: rate(&[0, 20, 100]),
            holds_pipes: rate(&[0, 0, 20]),
            leaves_late: rate(&[0, 0, 30, 100]),
            dies_slowly: rate(&[0, 0, 0, 40]),
            spawn: rate(&[0, 0, 0, 20]),
            dies: rate(&[0, 0, 30, 100]),
            plain: rate(&[0, 0, 20]),
            unguarded: rate(&[0, 20, 100]),
            long: rate(&[0, 5, 30]),
            orphans: rate(&[0, 0, 0, 10, 60]),
            unreported: rate(&[0, 0, 0, 0, 30]),
            heeds: rate(&[0, 50, 100]),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Actor {
    pub(super) phase: Phase,
    pub(super) start: Start,
    pub(super) alive: bool,
    pub(super) reaped: bool,
    pub(super) pipe_closed: bool,
    pub(super) input_closed: bool,
    pub(super) retired: bool,
    /// Whether it has broken the protocol; one that has not must never be accused of it.
    pub(super) lied: bool,
    pub(super) ignores_term: bool,
    pub(super) holds_pipes: bool,
    /// Whether nobody says that it is dead until that is waited for no longer.
    pub(super) unreported: bool,
    pub(super) recalls: bool,
    /// Whether its guard answers while a handler hangs.
    pub(super) guarded: bool,
    /// Whether it was sent SIGSTOP, and whether that has taken effect.
    pub(super) to_stop: bool,
    pub(super) stopped: bool,
    /// Whether it would have done something while it was stopped, and whether it was told to end.
    pub(super) deferred: bool,
    pub(super) to_die: bool,
    /// Whether it has written a terminal failure: its handler runs no more.
    pub(super) terminal: bool,
    /// The job whose handler has begun, and whose answer is not written.
    pub(super) unanswered: Option<u64>,
    /// Whether it has written that it is ready, and no answer since.
    pub(super) is_ready: bool,
    /// The first job that it had not read when it died.
    pub(super) undelivered: Option<u64>,
    /// Whether it says ready with its answer.
    pub(super) in_one_frame: bool,
    /// Sent by the pool and on its way.
    pub(super) coming: VecDeque<ToActor>,
    /// What has arrived, and is not read.
    pub(super) inbox: VecDeque<ToActor>,
    /// Sent, and on its way to the pool.
    pub(super) going: VecDeque<FromActor>,
    /// How many handlers it has begun.
    pub(super) begun: u64,
    /// Changes whenever what was planned for it is void.
    pub(super) epoch: u64,
}

impl Actor {
    pub(super) fn draw(rng: &mut Rng, rates: &Rates) -> Self {
        let start = if rng.chance(rates.start) {
            use Start::*;
            rng.pick(&[Dies, Hangs, Refuses, SpeaksTooSoon, ClosesPipe, DiesIdle, Retires])
        } else {
            Start::Fine
        };
        Actor {
            lied: start == Start::SpeaksTooSoon,
            ignores_term: rng.chance(rates.ignores_term),
            holds_pipes: rng.chance(rates.holds_pipes),
            unreported: rng.chance(rates.unreported),
            recalls: !rng.chance(rates.plain),
            guarded: !rng.chance(rates.unguarded),
            in_one_frame: rng.chance(60),
            ..Actor::new(start)
        }
    }

    /// One that does as it should from its start on.
    pub(super) fn new(start: Start) -> Self {
        Actor {
            phase: Phase::Booting,
            start,
            alive: true,
            reaped: false,
            pipe_closed: false,
            input_closed: false,
            retired: false,
            lied: false,
            ignores_term: false,
            holds_pipes: false,
            unreported: false,
            recalls: true,
            guarded: true,
            to_stop: false,
            stopped: false,
            deferred: false,
            to_die: false,
            terminal: false,
            unanswered: None,
            is_ready: false,
            undelivered: None,
            in_one_frame: true,
            coming: VecDeque::new(),
            inbox: VecDeque::new(),
            going: VecDeque::new(),
            begun: 0,
            epoch: 0,
        }
    }

    /// The job whose handler has begun and not ended, in a process that lives.
    pub(super) fn runs(&self) -> Option<u64> {
        self.unanswered.filter(|_| self.alive && !self.terminal)
    }

    /// The jobs that it was sent and has not begun, in the order of sending.
    pub(super) fn not_begun(&self) -> impl Iterator<Item = u64> {
        self.inbox.iter().chain(&self.coming).filter_map(|message| match message {
            ToActor::Job { job, .. } => Some(*job),
            _ => None,
        })
    }

    /// The jobs that it has read and not begun.
    pub(super) fn inbox_jobs(&self) -> Vec<u64> {
        let jobs = self.inbox.iter().filter_map(|message| match message {
            ToActor::Job { job, .. } => Some(*job),
            _ => None,
        });
        jobs.collect()
    }

    /// It has died: nothing more is read.
    pub(super) fn die(&mut self) {
        self.alive = false;
        self.undelivered = self.coming.iter().find_map(|message| match message {
            ToActor::Job { job, .. } => Some(*job),
            _ => None,
        });
    }

    /// Sends it a message, which a dead one does not read.
    pub(super) fn send(&mut self, message: ToActor) {
        if let (false, ToActor::Job { job, .. }) = (self.alive, message) {
            self.undelivered.get_or_insert(job);
        }
        self.coming.push_back(message);
    }

    pub(super) fn draw_fate(rng: &mut Rng, rates: &Rates) -> Fate {
        use Fate::*;
        if !rng.chance(rates.job) {
            return Answer(Outcome::Success);
        }
        rng.pick(&[
            Answer(Outcome::Failed),
            Answer(Outcome::FinalFailure),
            Answer(Outcome::Undecodable),
            Answer(Outcome::Unencodable),
            Panic,
            PanicUnnamed,
            Crash,
            Crash,
            AnswerAndCrash,
            Hang,
            SecondAnswer,
            WrongJob,
            ReadyWhileWorking,
            Garble,
            ClosePipe,
            CloseInput,
            Retire,
        ])
    }

    /// Whether it has written that it skips the job, and that is not read.
    pub(super) fn has_skipped(&self, job: u64) -> bool {
        !self.lied && self.going.contains(&FromActor::Message(Message::Skipped { job }))
    }

    /// The pool asks to hear what it has written until now; only the latest question is answered, as the driver does.
    pub(super) fn ask_to_hear(&mut self) {
        self.ask_no_more();
        self.going.push_back(FromActor::Drained);
    }

    pub(super) fn ask_no_more(&mut self) {
        self.going.retain(|sent| !matches!(sent, FromActor::Drained | FromActor::Stopped));
    }

    /// Takes the skips that have arrived, as the kit does before it starts a job. Gives the jobs that are skipped.
    pub(super) fn read_skips(&mut self) -> Vec<u64> {
        let mut skipped = Vec::new();
        for message in self.inbox.clone() {
            if let ToActor::Skip(job) = message {
                let before = self.inbox.len();
                self.inbox.retain(|of| !matches!(of, ToActor::Job { job: of, .. } if *of == job));
                if self.inbox.len() < before {
                    skipped.push(job);
                }
            }
        }
        self.inbox.retain(|message| !matches!(message, ToActor::Skip(_)));
        skipped
    }
}

/// A delay, often just at or beside one of the limits.
pub(super) fn delay(rng: &mut Rng, limits: &[Duration]) -> Duration {
    let micros = Duration::from_micros;
    if rng.chance(15) && !limits.is_empty() {
        let limit = rng.pick(limits);
        return match rng.below(3) {
            0 => limit.saturating_sub(micros(1)),
            1 => limit,
            _ => limit + micros(1),
        };
    }
    rng.pick(&[micros(0), micros(0), micros(5), micros(50), micros(300), micros(999), micros(1000), micros(1001)])
}
