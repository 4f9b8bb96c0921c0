//! What is kept of a run: attempts one by one, the oldest as sums, workers, and samples.

mod outcome;

pub(crate) use outcome::Outcome;

use crate::clock::Origin;
use crate::shorten::short_label;
use parking_lot::{Condvar, Mutex};
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::time::Duration;

/// How many bytes of errors and standard error are kept.
const DETAILS: usize = 8 * 1024 * 1024;
/// How many workers that have ended are kept.
const WORKERS: usize = 10_000;
/// Into how many parts the time of the sums is divided.
pub(crate) const PARTS: usize = 512;
/// How many samples of memory and backlog there are at most.
const SAMPLES: usize = 2048;
/// How many places of workers have sums of their own.
const LANES: usize = 1024;

/// By number.
type Numbered<T> = HashMap<u64, T, BuildHasherDefault<NumberHasher>>;

/// Why an attempt failed.
#[derive(Clone, Debug)]
pub(crate) struct Detail {
    pub(crate) message: Box<str>,
    /// What the worker wrote last to standard error.
    pub(crate) stderr: Box<str>,
}

impl Detail {
    fn bytes(&self) -> usize {
        self.message.len() + self.stderr.len() + size_of::<Detail>()
    }
}

/// One attempt at a job. Times are in microseconds since the pool was built.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) job: u64,
    pub(crate) label: Option<Arc<str>>,
    /// Which worker, and its place; none for a job that ended before one had it.
    pub(crate) worker: u64,
    pub(crate) slot: Option<u32>,
    pub(crate) attempt: u32,
    pub(crate) queued: u64,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) outcome: Outcome,
    /// Another attempt followed.
    pub(crate) retried: bool,
    pub(crate) detail: Option<Box<Detail>>,
}

/// A job that has not ended.
#[derive(Clone, Copy, Debug, Default)]
struct Pending {
    queued: u64,
    /// Since when which worker has it.
    task: Option<(u64, u64, u32, u32)>,
}

/// One worker process.
#[derive(Clone, Debug)]
pub(crate) struct WorkerSeen {
    pub(crate) id: u64,
    pub(crate) slot: usize,
    pub(crate) site: Option<Arc<str>>,
    pub(crate) pid: u32,
    pub(crate) spawned: u64,
    pub(crate) ready: Option<u64>,
    /// Since when it leaves or is killed.
    pub(crate) exiting: Option<u64>,
    /// It ended for the sake of its last job.
    pub(crate) for_job: bool,
    pub(crate) exited: Option<u64>,
    pub(crate) status: Option<String>,
    /// The limit that it passed, and when.
    pub(crate) limit: Option<(u64, String)>,
    pub(crate) jobs: u64,
}

/// What became of the oldest attempts, on one worker's place in one part of the time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sum {
    pub(crate) attempts: u64,
    pub(crate) not_succeeded: u64,
    /// In microseconds.
    pub(crate) busy: u64,
}

/// Memory and backlog at one time.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) at: u64,
    pub(crate) backlog: u64,
    /// By slot, in bytes; 0 where there is no worker.
    pub(crate) memory: Vec<u64>,
}

/// All that is kept.
#[derive(Clone, Debug)]
pub(crate) struct Recording {
    capacity: usize,
    pub(crate) pool: Arc<str>,
    pub(crate) origin: Origin,
    /// Attempts that have ended, in that order.
    pub(crate) attempts: VecDeque<Attempt>,
    /// How many have ended in all.
    pub(crate) ended: u64,
    pub(crate) totals: [u64; Outcome::ALL.len()],
    pub(crate) retries: u64,
    pending: Numbered<Pending>,
    running: usize,
    pub(crate) workers: Vec<WorkerSeen>,
    /// Where each is among them.
    places: Numbered<usize>,
    pub(crate) workers_left_out: u64,
    /// The details that are kept, by the number of their attempt.
    detailed: VecDeque<u64>,
    detail_bytes: usize,
    /// By slot.
    pub(crate) sums: Vec<Vec<Sum>>,
    /// How long a part of the sums is, in microseconds.
    pub(crate) sum_width: u64,
    pub(crate) samples: Vec<Sample>,
    pub(crate) sample_every: Duration,
    /// When the recording ended.
    pub(crate) over: Option<u64>,
}

impl Recording {
    pub(crate) fn new(origin: Origin, capacity: usize) -> Self {
        Recording {
            capacity,
            pool: "".into(),
            origin,
            attempts: VecDeque::new(),
            ended: 0,
            totals: [0; Outcome::ALL.len()],
            retries: 0,
            pending: HashMap::default(),
            running: 0,
            workers: Vec::new(),
            places: HashMap::default(),
            workers_left_out: 0,
            detailed: VecDeque::new(),
            detail_bytes: 0,
            sums: Vec::new(),
            sum_width: 1000,
            samples: Vec::new(),
            sample_every: Duration::from_millis(50),
            over: None,
        }
    }

    /// What the time is.
    pub(crate) fn now(&self) -> u64 {
        micros(self.origin.now())
    }

    /// A copy as of now, with what runs as attempts of their own.
    pub(crate) fn snapshot(&self) -> Recording {
        let mut copy = self.clone();
        let now = self.over.unwrap_or_else(|| self.now());
        copy.over = Some(now);
        for (&job, pending) in &self.pending {
            if let Some((start, worker, slot, attempt)) = pending.task {
                let (queued, end, slot) = (pending.queued, now.max(start), Some(slot));
                let (outcome, retried) = (Outcome::Running, false);
                let running = Attempt {
                    job,
                    label: None,
                    worker,
                    slot,
                    attempt,
                    queued,
                    start,
                    end,
                    outcome,
                    retried,
                    detail: None,
                };
                copy.totals[Outcome::Running as usize] += 1;
                copy.attempts.push_back(running);
            }
        }
        copy
    }

    // ------------------------------------------------------------ jobs

    pub(crate) fn enqueued(&mut self, job: u64, at: u64) {
        self.pending.insert(job, Pending { queued: at, task: None });
    }

    pub(crate) fn task(&mut self, job: u64, at: u64, worker: u64, slot: usize, attempt: u32) {
        let slot = u32::try_from(slot).unwrap_or(u32::MAX);
        // A job that was enqueued before the recording began waited since then, for all that is known.
        let pending = self.pending.entry(job).or_default();
        if pending.task.replace((at, worker, slot, attempt)).is_none() {
            self.running += 1;
        }
    }

    /// How many jobs no worker has.
    pub(crate) fn backlog(&self) -> u64 {
        (self.pending.len() - self.running) as u64
    }

    pub(crate) fn retried(
        &mut self,
        job: u64,
        at: u64,
        label: Option<&Arc<str>>,
        outcome: Outcome,
        detail: Option<Box<Detail>>,
    ) {
        self.retries += 1;
        let mut pending = self.pending.get(&job).copied().unwrap_or_default();
        self.attempt_over(job, at, label, outcome, detail, pending, true);
        if pending.task.take().is_some() {
            self.running -= 1;
        }
        pending.queued = at;
        self.pending.insert(job, pending);
    }

    pub(crate) fn ended(
        &mut self,
        job: u64,
        at: u64,
        label: Option<&Arc<str>>,
        outcome: Outcome,
        detail: Option<Box<Detail>>,
    ) {
        let pending = self.pending.remove(&job).unwrap_or(Pending { queued: at, task: None });
        if pending.task.is_some() {
            self.running -= 1;
        }
        self.attempt_over(job, at, label, outcome, detail, pending, false);
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one record")]
    fn attempt_over(
        &mut self,
        job: u64,
        end: u64,
        label: Option<&Arc<str>>,
        outcome: Outcome,
        detail: Option<Box<Detail>>,
        pending: Pending,
        retried: bool,
    ) {
        let (start, worker, slot, attempt) = match pending.task {
            Some((start, worker, slot, attempt)) => (start, worker, Some(slot), attempt),
            None => (end, 0, None, 0),
        };
        if let Some(&place) = self.places.get(&worker) {
            let seen = &mut self.workers[place];
            seen.jobs += 1;
            seen.for_job = outcome.ends_its_worker();
        }
        if let Some(detail) = &detail {
            self.detail_bytes += detail.bytes();
            self.detailed.push_back(self.ended);
        }
        let (queued, label) = (pending.queued, label.map(short_label));
        self.attempts.push_back(Attempt {
            job,
            label,
            worker,
            slot,
            attempt,
            queued,
            start,
            end,
            outcome,
            retried,
            detail,
        });
        self.ended += 1;
        self.totals[outcome as usize] += 1;
        while self.detail_bytes > DETAILS {
            let Some(oldest) = self.detailed.pop_front() else { break };
            let first = self.ended - self.attempts.len() as u64;
            if let Some(attempt) = oldest.checked_sub(first).and_then(|at| self.attempts.get_mut(at as usize)) {
                self.detail_bytes -= attempt.detail.take().map_or(0, |detail| detail.bytes());
            }
        }
        if self.attempts.len() > self.capacity {
            self.sum_up_the_oldest();
        }
    }

    fn sum_up_the_oldest(&mut self) {
        let Some(oldest) = self.attempts.pop_front() else { return };
        if let Some(detail) = &oldest.detail {
            self.detail_bytes -= detail.bytes();
            self.detailed.pop_front();
        }
        let Some(slot) = oldest.slot.map(|slot| slot as usize).filter(|&slot| slot < LANES) else { return };
        while oldest.end / self.sum_width >= PARTS as u64 {
            self.sum_width *= 2;
            for lane in &mut self.sums {
                for part in 0..PARTS {
                    let (one, two) = (2 * part, 2 * part + 1);
                    let at = |part: usize| lane.get(part).copied().unwrap_or_default();
                    let (one, two) = (at(one), at(two));
                    lane[part] = Sum {
                        attempts: one.attempts + two.attempts,
                        not_succeeded: one.not_succeeded + two.not_succeeded,
                        busy: one.busy + two.busy,
                    };
                }
            }
        }
        if self.sums.len() <= slot {
            self.sums.resize_with(slot + 1, || vec![Sum::default(); PARTS]);
        }
        let lane = &mut self.sums[slot];
        let (mut from, width) = (oldest.start, self.sum_width);
        while from < oldest.end {
            let part = from / width;
            let to = oldest.end.min((part + 1) * width);
            lane[part as usize].busy += to - from;
            from = to;
        }
        let part = &mut lane[(oldest.end / width) as usize];
        part.attempts += 1;
        part.not_succeeded += u64::from(oldest.outcome != Outcome::Succeeded);
    }

    // ------------------------------------------------------------ workers

    /// The worker, which may not have been seen before.
    pub(crate) fn worker(
        &mut self,
        id: u64,
        slot: usize,
        site: Option<&Arc<str>>,
        pid: u32,
        at: u64,
    ) -> &mut WorkerSeen {
        let place = *self.places.entry(id).or_insert_with(|| {
            let (exited, status, limit) = (None, None, None);
            let seen = WorkerSeen {
                id,
                slot,
                site: site.cloned(),
                pid,
                spawned: at,
                ready: None,
                exiting: None,
                for_job: false,
                exited,
                status,
                limit,
                jobs: 0,
            };
            self.workers.push(seen);
            self.workers.len() - 1
        });
        &mut self.workers[place]
    }

    pub(crate) fn exited(&mut self, id: u64, at: u64) {
        let Some(&place) = self.places.get(&id) else { return };
        self.workers[place].exited = Some(at);
        if self.workers.len() > WORKERS + WORKERS / 4 {
            // Many at once, so that the places are counted anew once for many.
            let mut surplus = WORKERS / 4;
            self.workers.retain(|seen| {
                let goes = seen.exited.is_some() && surplus > 0;
                surplus -= usize::from(goes);
                !goes
            });
            self.workers_left_out += (WORKERS / 4 - surplus) as u64;
            self.places = self.workers.iter().enumerate().map(|(place, seen)| (seen.id, place)).collect();
        }
    }

    /// The processes that live, with their slots.
    pub(crate) fn processes(&self) -> Vec<(usize, u32)> {
        self.workers.iter().filter(|seen| seen.exited.is_none()).map(|seen| (seen.slot, seen.pid)).collect()
    }

    // ------------------------------------------------------------ samples

    pub(crate) fn sample(&mut self, sample: Sample) {
        self.samples.push(sample);
        if self.samples.len() < SAMPLES {
            return;
        }
        // Half as many, each the higher of two: what stands out stays.
        let mut pairs = std::mem::take(&mut self.samples).into_iter();
        while let Some(mut one) = pairs.next() {
            if let Some(two) = pairs.next() {
                one.backlog = one.backlog.max(two.backlog);
                if one.memory.len() < two.memory.len() {
                    one.memory.resize(two.memory.len(), 0);
                }
                for (one, two) in one.memory.iter_mut().zip(two.memory) {
                    *one = two.max(*one);
                }
            }
            self.samples.push(one);
        }
        self.sample_every *= 2;
    }
}

/// A recording that goes on, as the hooks, the sampler and the caller share it.
pub(crate) struct Shared {
    pub(crate) recording: Mutex<Recording>,
    /// Notified when the recording is over.
    pub(crate) over: Condvar,
}

impl Shared {
    pub(crate) fn new(recording: Recording) -> Self {
        Shared { recording: Mutex::new(recording), over: Condvar::new() }
    }

    /// The recording is over.
    pub(crate) fn end(&self) {
        let mut recording = self.recording.lock();
        if recording.over.is_none() {
            recording.over = Some(recording.now());
        }
        self.over.notify_all();
    }
}

/// A time as it is kept.
pub(crate) fn micros(time: Duration) -> u64 {
    time.as_micros().try_into().unwrap_or(u64::MAX)
}

/// For numbers that count up: a multiplication spreads them well enough, and costs little.
#[derive(Default)]
struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(u64::from(byte)));
    }
    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }
    fn finish(&self) -> u64 {
        self.0
    }
}
