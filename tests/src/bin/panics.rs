//! A worker that panics: as it is told, or for want of memory, with a little more of it left in each job than in the last.
//!
//! With the argument `arena`, a second thread has memory, gives it back before the panic, and takes it again soon after: so
//! does the GNU C library where a thread allocates for the first time.

use hirelings_tests::Do;
use hirelings_worker_kit::serve;
use std::hint::black_box;
use std::sync::{Arc, Barrier};
use std::time::Duration;
use std::{env, thread};

/// What `new_heap` in its malloc/arena.c maps for a moment.
const ARENA: usize = 128 << 20;

fn main() {
    let has_arena = env::args().nth(1).is_some_and(|asked| asked == "arena");
    serve::<Do>(move |job, ctx| match job {
        Do::Panic(why) => panic!("{why}"),
        _ => exhaust(usize::try_from(ctx.job_id() % 64).unwrap_or(0), has_arena),
    })
}

/// Takes all the memory that it can have, and panics with so many MiB given back.
fn exhaust(given_back: usize, has_arena: bool) -> ! {
    let arena = has_arena.then(|| {
        let step = Arc::new(Barrier::new(2));
        let other = Arc::clone(&step);
        thread::spawn(move || hold_an_arena(&other, Duration::from_micros(50 * given_back as u64)));
        step.wait();
        step
    });
    let mut taken: Vec<Vec<u8>> = Vec::new();
    let mut size = 1 << 20;
    loop {
        let mut more = Vec::new();
        match more.try_reserve_exact(size) {
            Ok(()) => taken.push(more),
            Err(_) if size > 64 => size /= 2,
            Err(error) => {
                taken.drain(..given_back.min(taken.len()));
                if let Some(step) = &arena {
                    step.wait();
                    step.wait();
                }
                panic!("no more memory: {error}")
            }
        }
    }
}

/// Gives back what it has at the second step, and has it again a while after the third. The while differs from job to
/// job, so that some end in the middle of a lookup.
fn hold_an_arena(step: &Barrier, while_without: Duration) {
    let arena = vec![0_u8; ARENA];
    step.wait();
    step.wait();
    drop(black_box(arena));
    step.wait();
    thread::sleep(while_without);
    let mut again: Vec<Vec<u8>> = Vec::with_capacity(64);
    let mut size = ARENA;
    while size > 4096 && again.len() < again.capacity() {
        let mut more = Vec::new();
        match more.try_reserve_exact(size) {
            Ok(()) => again.push(more),
            Err(_) => size /= 2,
        }
    }
    black_box(&again);
    thread::park();
}
