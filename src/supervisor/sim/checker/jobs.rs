//! Where jobs go, and how they end.

use super::{Checker, Followed, Found, READERS, Stage, ensure};
use crate::supervisor::{Input, JobKey, Message, Outcome, Undelivered, Violation, WorkerKey};
use std::time::Duration;

impl Checker {
    pub(super) fn start_failed(&mut self, worker_key: WorkerKey) -> Found {
        let Some(process) = self.processes.get_mut(&worker_key) else { return Ok(()) };
        process.start_failed = true;
        self.probed = process.probe;
        ensure(!process.excused, || format!("{worker_key:?} was excused before it had a job"))?;
        ensure(!process.used || !process.ever_ready, || format!("{worker_key:?} had a job, so it had started"))
    }

    /// A job goes back only if its worker had not read it whole: at most twice if it had read some of it.
    pub(super) fn returned(&mut self, key: JobKey, worker_key: WorkerKey) -> Found {
        let undelivered = self.processes.get(&worker_key).and_then(|process| process.undelivered);
        let Some(&id) = self.keys.get(&key) else { return Ok(()) };
        let undelivered = undelivered.filter(|of| of.job == id);
        let Some(Undelivered { in_part, .. }) = undelivered else {
            return Err(format!("{worker_key:?} had read job {id}"));
        };
        let job = self.job(key)?;
        job.readers += u32::from(in_part);
        ensure(job.readers <= READERS, || format!("job {id} goes back though {} died of it", job.readers))
    }

    pub(super) fn job(&mut self, key: JobKey) -> Result<&mut Followed, String> {
        let id = self.keys.get(&key).ok_or_else(|| format!("{key:?} is no job"))?;
        self.jobs.get_mut(id).ok_or_else(|| format!("{id} is no job"))
    }

    /// Jobs go out in the order in which they were enqueued, within a priority, higher first.
    pub(super) fn sent(&mut self, worker_key: WorkerKey, key: JobKey, attempt: u32) -> Found {
        ensure(!self.paused, || format!("{key:?} is sent to {worker_key:?} by a pool that is paused"))?;
        let process = self.processes.get_mut(&worker_key).ok_or("a job is sent to nobody")?;
        let busy = !process.holds.is_empty();
        ensure(!busy || process.recalls, || format!("a job is prefetched to {worker_key:?}, which answers no recall"))?;
        process.taken += 1;
        let first = process.is_ready && !busy;
        let now = self.now;
        let id = *self.keys.get(&key).ok_or("an unknown job is sent")?;
        if let Some(process) = self.processes.get_mut(&worker_key) {
            process.holds.push_back(id);
        }
        self.recalled.remove(&(worker_key, id));
        let job = self.job(key)?;
        if first {
            (job.since, job.written, job.soft_asked) = (now, None, false);
        }
        let (priority, seq, stage) = (job.priority, job.seq, job.stage);
        let ending = self
            .processes
            .get(&worker_key)
            .is_none_or(|process| process.ending || process.over_soft_limit || process.orphaned)
            || self.is_dismissed(worker_key);
        ensure(!ending, || format!("a job is sent to {worker_key:?}, which is known to end"))?;
        let job = self.job(key)?;
        ensure(attempt == job.attempt + 1, || format!("attempt {attempt} is sent after {}", job.attempt))?;
        let full = self.full_keys();
        let before = self.jobs.iter().find(|(id, other)| {
            other.stage == Stage::Backlogged
                && (other.priority > priority || (other.priority == priority && other.seq < seq))
                && !self.awaits_permit(**id, &full)
        });
        if let Some((_, before)) = before {
            return Err(format!("a job of priority {priority}, place {seq} goes before {before:?}"));
        }
        self.keys_of_jobs.sent(worker_key, id)?;
        let held = self.processes.get(&worker_key).map_or(0, |process| process.holds.len());
        ensure(held <= self.most_prefetched.saturating_add(1), || format!("{worker_key:?} is sent {held} jobs"))?;
        self.prefetched += u64::from(busy);
        let behind = self.processes[&worker_key].holds.iter().filter_map(|id| self.jobs.get(id));
        let behind: Vec<_> = behind.filter(|job| job.stage == Stage::Prefetched(worker_key)).collect();
        let kib = behind.iter().map(|job| u32::from(job.kib)).sum::<u32>() + u32::from(self.jobs[&id].kib);
        ensure(!busy || behind.is_empty() || kib <= 1024, || format!("{kib} KiB are prefetched to {worker_key:?}"))?;
        let job = self.job(key)?;
        ensure(now >= job.not_before, || format!("sent at {now:?}, before its time: {job:?}"))?;
        ensure(!busy || stage == Stage::Backlogged, || format!("prefetched from {stage:?}"))?;
        let next = if busy { Stage::Prefetched(worker_key) } else { Stage::Sent(worker_key) };
        job.follows(&[Stage::Enqueued, Stage::Backlogged], next, "SendJob")
    }

    /// The outcome is what happened.
    pub(super) fn agrees(
        &mut self,
        key: JobKey,
        outcome: Outcome,
        worker_key: Option<WorkerKey>,
        input: &Input,
        now: Duration,
    ) -> Found {
        let id = *self.keys.get(&key).ok_or("an unknown job settles")?;
        let job = &self.jobs[&id];
        let fits = match (outcome, input) {
            (
                Outcome::Success
                | Outcome::Failed
                | Outcome::FinalFailure
                | Outcome::Undecodable
                | Outcome::Unencodable,
                Input::Message { worker_key: of, message: Message::Answer { job, outcome: message, .. }, .. },
            ) => Some(*of) == worker_key && *job == id && *message == outcome,
            (Outcome::Panicked, Input::Message { worker_key: of, message: Message::Terminal { job: of_job }, .. }) => {
                Some(*of) == worker_key && of_job.is_none_or(|of_job| of_job == id)
            }
            (
                Outcome::Crashed(_),
                Input::Exited { worker_key: of, .. } | Input::StdoutClosed(of) | Input::StderrClosed(of),
            ) => Some(*of) == worker_key,
            // Where somebody holds its standard error; what it had read is known only once it has exited.
            (Outcome::Crashed(_), Input::Tick) => {
                worker_key.and_then(|worker_key| self.processes.get(&worker_key)).is_some_and(|process| process.reaped)
            }
            // A kill for one job's sake waits for what lies behind that job.
            (
                Outcome::TimedOut { limit, .. },
                Input::Tick | Input::Drained(_) | Input::Stopped(_) | Input::Message { .. },
            ) => {
                // What was written before the limit was over counts, though it may be read later.
                let over = job.since + limit;
                job.limit == Some(limit) && now >= over && job.written.is_none_or(|written| written >= over)
            }
            (
                Outcome::OutOfMemory { bytes, limit },
                Input::Resident { .. } | Input::Tick | Input::Stopped(_) | Input::Message { .. },
            ) => bytes > limit && self.max_memory.hard == Some(limit),
            (
                Outcome::Protocol(Violation::RecallUnanswered),
                Input::Tick | Input::Stopped(_) | Input::Message { .. },
            ) => true,
            (Outcome::Protocol(_), Input::Message { worker_key: of, .. } | Input::Malformed(of)) => {
                Some(*of) == worker_key
            }
            (Outcome::Aborted, Input::Abort(JobKey { id: of, .. })) => *of == id,
            (Outcome::Aborted, Input::Cancel { key: JobKey { id: of, .. }, .. }) => *of == id && !job.cancelled,
            (Outcome::Aborted, _) if self.may_be_given_up(id) => worker_key.is_none(),
            // Its worker died before it had read the job.
            (Outcome::Aborted, _) if job.cancelled && job.stage == Stage::Backlogged => true,
            (Outcome::Aborted, Input::Drained(of)) => {
                let at = job.kill_at.filter(|&at| now >= at && job.written.is_none_or(|written| written >= at));
                Some(*of) == worker_key && at.is_some()
            }
            (Outcome::Closed, Input::Exit) => true,
            (Outcome::Expired, _) => worker_key.is_none() && self.has_expired(id, now),
            (Outcome::NoWorker, _) => job.stage == Stage::Backlogged && (!self.circuit_open || self.probed),
            _ => false,
        };
        let answers = matches!(
            outcome,
            Outcome::Success | Outcome::Failed | Outcome::FinalFailure | Outcome::Undecodable | Outcome::Unencodable
        );
        let undelivered =
            worker_key.and_then(|worker_key| self.processes.get(&worker_key)?.undelivered).filter(|of| of.job == id);
        if let (Outcome::Crashed(_), Some(of)) = (outcome, undelivered) {
            let unread = !of.in_part || job.readers < READERS;
            ensure(!unread, || format!("job {id} is charged, and was not read: {job:?}"))?;
        }
        ensure(!answers || worker_key.is_some_and(|worker_key| job.stage == Stage::Started(worker_key)), || {
            format!("job {id} is answered, and has not started: {:?}", job.stage)
        })?;
        if answers && let Some(process) = worker_key.and_then(|worker_key| self.processes.get_mut(&worker_key)) {
            process.answered += 1;
        }
        ensure(fits, || format!("job {id} settles as {outcome:?} at {input:?}"))?;
        // One that is on its way out is not accused any more.
        let violated =
            matches!(outcome, Outcome::Protocol(_)) && outcome != Outcome::Protocol(Violation::RecallUnanswered);
        if violated && let Some(process) = worker_key.and_then(|worker_key| self.processes.get_mut(&worker_key)) {
            process.violated = true;
            process.holds.clear();
        }
        Ok(())
    }
}
