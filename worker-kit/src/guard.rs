//! The guard: one thread beside the one that runs handlers.
//!
//! It waits for the hang-up of the protocol's input, which means that the pool's process is gone, and ends the worker's
//! process group. While the main thread does anything but wait for a job, it also ticks, once a millisecond: a handler that
//! is still running at the second tick is announced as started, and what arrives meanwhile is read and replied to, so that
//! prefetched jobs can be recalled. A worker without work is back asleep after a tick or two and costs nothing. Where the
//! pool has set a limit of silence, the guard also wakes once that is over.

use crate::link::Link;
use crate::pace::{TICKING, WATCHING};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use rustix::event::Timespec;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, mpsc};
use std::thread::{self, JoinHandle};
use std::{io, process};

const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };

/// The guard of this process, where it has one.
static GUARD: Mutex<Option<Guard>> = Mutex::new(None);

struct Guard {
    link: Weak<Link>,
    announces_start: bool,
    /// Gives the reading end of the wake pipe back.
    thread: JoinHandle<OwnedFd>,
}

/// Starts the guard of `link`, which is woken through `wake`.
///
/// `announces_start`: whether the guard announces handlers that run on.
pub(crate) fn start(link: &Arc<Link>, wake: OwnedFd, announces_start: bool) -> io::Result<()> {
    wake_when_the_parent_ends();
    let watched = Arc::clone(link);
    let thread = spawn(move || watch(&watched, wake, announces_start))?;
    if link.is_of_process() {
        *lock() = Some(Guard { link: Arc::downgrade(link), announces_start, thread });
    }
    Ok(())
}

/// Whether this process has a guard.
pub fn has_guard() -> bool {
    lock().is_some()
}

/// Replaces the guard of this process, if it has one, by a thread that the calling thread starts. What the kernel keeps
/// for each thread, such as a Landlock domain, a thread has from the one that started it.
///
/// # Errors
///
/// Where no thread can be started; the guard that there was goes on then.
pub fn replace_guard() -> io::Result<()> {
    let mut guard = lock();
    let Some(before) = guard.take() else { return Ok(()) };
    let Some(link) = before.link.upgrade() else { return Ok(()) };
    let (hand_over, handed_over) = mpsc::channel::<OwnedFd>();
    let (watched, announces_start) = (Arc::clone(&link), before.announces_start);
    // The successor is started before the guard is asked to end: if there is no thread for it, the guard stays.
    let successor = spawn(move || match handed_over.recv() {
        Ok(wake) => watch(&watched, wake, announces_start),
        // The guard before it has panicked: nobody would end this process with its parent.
        Err(_) => process::abort(),
    });
    let thread = match successor {
        Ok(thread) => thread,
        Err(error) => {
            *guard = Some(before);
            return Err(error);
        }
    };
    link.end_guard();
    let wake = before.thread.join().map_err(|_| io::Error::other("the guard thread has panicked"))?;
    link.guard_ended();
    // Nothing that is missed meanwhile is lost: the end of the input stays to be seen.
    let _ = hand_over.send(wake);
    *guard = Some(Guard { link: Arc::downgrade(&link), announces_start, thread });
    Ok(())
}

/// Ends the guard of this process, if it has one: a fork server has one thread.
pub(crate) fn end() -> io::Result<()> {
    let Some(guard) = lock().take() else { return Ok(()) };
    let Some(link) = guard.link.upgrade() else { return Ok(()) };
    link.end_guard();
    guard.thread.join().map_err(|_| io::Error::other("the guard thread has panicked"))?;
    link.guard_ended();
    Ok(())
}

fn lock() -> MutexGuard<'static, Option<Guard>> {
    GUARD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts the thread. It has the mask of its creator from its start on, and blocks everything but faults: the user's
/// handlers are to run on the user's threads.
fn spawn(run: impl FnOnce() -> OwnedFd + Send + 'static) -> io::Result<JoinHandle<OwnedFd>> {
    let mut all = SigSet::all();
    for fault in [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGILL, Signal::SIGFPE, Signal::SIGTRAP, Signal::SIGSYS] {
        all.remove(fault);
    }
    let before = all.thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    let started = thread::Builder::new().name("hireling-guard".into()).stack_size(64 * 1024).spawn(run);
    before.thread_set_mask()?;
    started
}

/// The guard's thread. It ends with the process, where the parent is gone, or where it is replaced.
fn watch(link: &Link, wake: OwnedFd, announces_start: bool) -> OwnedFd {
    let mut seen = 0;
    // What could not be done without blocking is tried again at each tick. One that follows another guard tries what that left.
    let mut all_done = false;
    loop {
        let mode = link.pace.mode();
        let silence = link.silence_left().and_then(|left| Timespec::try_from(left).ok());
        let reads = mode == WATCHING && all_done;
        let limit = if mode == TICKING || mode == WATCHING && !all_done { Some(&TICK) } else { silence.as_ref() };
        if link.parent_gone(&wake, reads, limit) || link.is_silent() {
            link.orphaned();
            return wake;
        }
        if link.guard_is_ending() {
            return wake;
        }
        if mode == WATCHING {
            all_done = link.stand_in(announces_start);
            continue;
        }
        let Some(next) = link.pace.decide(&mut seen) else { continue };
        if next == WATCHING {
            all_done = link.stand_in(announces_start);
        }
        link.pace.enter(next, seen);
    }
}

/// A stopped process can guard nothing. Most that lose their parent are woken by the kernel, which hangs up on groups
/// that are orphaned; those of a parent in the same session are not. So the parent's death sends this process SIGCONT,
/// which does nothing to one that runs. (SIGKILL in its place would take the worker and leave its children.)
fn wake_when_the_parent_ends() {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        use rustix::process::{Signal, set_parent_process_death_signal};
        // Where it is refused, the kernel's own hang-up is what there is.
        let _ = set_parent_process_death_signal(Some(Signal::CONT));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ended::Ended;
    use crate::link::Host;
    use crate::wire::{ToWorker, frame_into};
    use rustix::io::ioctl_fionbio;
    use std::io::{Read, Write};
    use std::iter;
    use std::sync::mpsc::Receiver;
    use std::time::Duration;

    /// A worker whose output is full, since its pool does not read, with its guard.
    struct Stalled {
        link: Arc<Link>,
        pool: os_pipe::PipeWriter,
        said: os_pipe::PipeReader,
        /// How many bytes fill the output.
        filled: usize,
        /// The guard has ended the worker.
        ended: Receiver<()>,
    }

    /// Without its guard, and what would wake that.
    fn unguarded() -> (Stalled, OwnedFd) {
        let [(input, pool), (said, output), (wakes, wake)] = [(); 3].map(|()| os_pipe::pipe().unwrap());
        ioctl_fionbio(&output, true).unwrap();
        let filled = iter::repeat_with(|| (&output).write(&[0; 4096])).map_while(Result::ok).sum();
        ioctl_fionbio(&output, false).unwrap();
        let link = Arc::new(Link::new(Host::Thread, input.into(), output.into(), wake));
        (Stalled { link, pool, said, filled, ended: mpsc::channel().1 }, wakes.into())
    }

    fn stalled() -> Stalled {
        let (worker, wakes) = unguarded();
        let (tell, ended) = mpsc::channel();
        let watched = Arc::clone(&worker.link);
        thread::spawn(move || {
            watch(&watched, wakes, true);
            let _ = tell.send(());
        });
        Stalled { ended, ..worker }
    }

    impl Stalled {
        fn write(&self, messages: &[ToWorker]) {
            let mut bytes = Vec::new();
            for message in messages {
                frame_into(message, &[], &mut bytes);
            }
            (&self.pool).write_all(&bytes).unwrap();
        }

        /// The pool sends these jobs, and the worker begins the first.
        fn begin(&self, jobs: &[u64]) {
            self.write(&jobs.iter().map(|&job| ToWorker::Job { job, attempt: 1 }).collect::<Vec<_>>());
            let queued = self.link.next_job().unwrap().unwrap();
            self.link.begin(queued.job);
            self.link.next_epoch();
        }

        /// The pool reads what has filled the output.
        fn drain(&self) {
            io::copy(&mut (&self.said).take(self.filled as u64), &mut io::sink()).unwrap();
        }

        fn read(&mut self) -> [u8; 16] {
            let mut frame = [0; 16];
            self.said.read_exact(&mut frame).unwrap();
            frame
        }

        /// From now on the pool is silent. Then it is gone, so that whoever is blocked ends.
        #[track_caller]
        fn ends(self) {
            assert_eq!(self.ended.recv_timeout(Duration::from_secs(30)), Ok(()), "the guard hangs");
        }
    }

    const HEARTBEAT: ToWorker = ToWorker::Heartbeat { silence_ms: 200 };

    #[test]
    fn a_worker_that_is_blocked_in_a_write_is_ended() {
        let worker = stalled();
        worker.begin(&[7]);
        let link = Arc::clone(&worker.link);
        let main = thread::spawn(move || link.send_running(&[0; 16]));
        worker.write(&[HEARTBEAT]);
        worker.ends();
        main.join().unwrap().unwrap_err();
    }

    #[test]
    fn a_worker_that_computes_is_ended_though_it_cannot_reply() {
        let worker = stalled();
        worker.begin(&[7]);
        worker.write(&[HEARTBEAT]);
        worker.ends();
    }

    /// It has the input meanwhile, so that the guard cannot read what comes behind it.
    #[test]
    fn a_worker_that_is_blocked_in_a_reply_is_ended() {
        let worker = stalled();
        worker.write(&[HEARTBEAT]);
        let link = Arc::clone(&worker.link);
        let main = thread::spawn(move || link.next_job().map(|_| ()));
        while worker.link.silence_left().is_none() {
            thread::yield_now();
        }
        worker.write(&[ToWorker::Skip { job: 7 }]);
        worker.ends();
        main.join().unwrap().unwrap_err();
    }

    /// It goes on once the pool's limit is over, with a job in the pipe and one that it has read.
    #[test]
    fn a_worker_that_was_stopped_begins_nothing() {
        let [(input, mut pool), (_said, output), (_wakes, wake)] = [(); 3].map(|()| os_pipe::pipe().unwrap());
        let link = Link::new(Host::Thread, input.into(), output.into(), wake);
        let mut bytes = Vec::new();
        for job in [7, 8] {
            frame_into(&ToWorker::Job { job, attempt: 1 }, &[], &mut bytes);
        }
        frame_into(&ToWorker::Heartbeat { silence_ms: 20 }, &[], &mut bytes);
        pool.write_all(&bytes).unwrap();
        // The limit begins before the job is taken, and on a machine that is busy may be over by then.
        let first = link.next_job();
        frame_into(&ToWorker::Job { job: 9, attempt: 1 }, &[], &mut bytes);
        pool.write_all(&bytes).unwrap();
        while !link.is_silent() {
            thread::yield_now();
        }
        for next in [first.and_then(|_| link.next_job()), link.next_job()] {
            assert!(matches!(next, Err(Ended::Orphaned)), "{next:?}");
        }
        assert!(link.readable(), "nothing is read any more");
    }

    /// The same with nothing in the pipe: the job was read before.
    #[test]
    fn a_worker_that_was_stopped_begins_nothing_that_it_has() {
        let (worker, _wakes) = unguarded();
        worker.begin(&[7, 8]);
        worker.drain();
        worker.write(&[ToWorker::Heartbeat { silence_ms: 20 }]);
        assert!(worker.link.stand_in(false));
        while !worker.link.is_silent() {
            thread::yield_now();
        }
        let next = worker.link.next_job();
        assert!(matches!(next, Err(Ended::Orphaned)), "{next:?}");
    }

    #[test]
    fn what_there_was_no_room_for_comes_before_the_next_job() {
        let (mut worker, _wakes) = unguarded();
        worker.begin(&[7, 8, 9]);
        worker.write(&[ToWorker::Skip { job: 8 }]);
        assert!(!worker.link.stand_in(false), "there is no room");
        worker.drain();
        assert_eq!(worker.link.next_job().unwrap().unwrap().job, 9);
        ioctl_fionbio(&worker.said, true).unwrap();
        let said = worker.read();
        assert_eq!((said[4], said[8]), (7, 8), "job 8 is skipped");
    }

    #[test]
    fn what_there_was_no_room_for_comes_before_the_next_progress() {
        let mut worker = stalled();
        worker.begin(&[7, 8]);
        worker.write(&[ToWorker::Skip { job: 8 }]);
        while worker.link.readable() {
            thread::yield_now();
        }
        let link = Arc::clone(&worker.link);
        let main = thread::spawn(move || link.send_running(&[7; 16]));
        worker.drain();
        let mut said = worker.read();
        if said[4] == 1 {
            // There was room before it came to that.
            said = worker.read();
        }
        assert_eq!((said[4], said[8]), (7, 8), "job 8 is skipped");
        while worker.read() != [7; 16] {}
        main.join().unwrap().unwrap();
    }

    #[test]
    fn what_there_was_no_room_for_is_said_once_there_is() {
        let mut worker = stalled();
        worker.begin(&[7, 8, 9]);
        worker.write(&[ToWorker::Skip { job: 8 }]);
        while worker.link.readable() {
            thread::yield_now();
        }
        worker.drain();
        let frames = [worker.read(), worker.read()].map(|frame| (frame[4], frame[8]));
        assert_eq!(frames, [(7, 8), (1, 7)], "job 8 is skipped, job 7 has begun");
        worker.write(&[ToWorker::Leave]);
        worker.link.finish(&[7; 16]).unwrap();
        assert_eq!(worker.read(), [7; 16]);
        assert_eq!(worker.link.next_job().unwrap().unwrap().job, 9);
        assert!(worker.link.next_job().unwrap().is_none());
    }
}
