//! A worker that panics: as it is told, or for want of memory, with a little more of it left in each job than in the last.

use hirelings_tests::Do;
use hirelings_worker_kit::serve;

fn main() {
    serve::<Do>(|job, ctx| match job {
        Do::Panic(why) => panic!("{why}"),
        _ => exhaust(usize::try_from(ctx.job_id() % 64).unwrap_or(0)),
    })
}

/// Takes all the memory that it can have, and panics with so many MiB given back.
fn exhaust(given_back: usize) -> ! {
    let mut taken: Vec<Vec<u8>> = Vec::new();
    let mut size = 1 << 20;
    loop {
        let mut more = Vec::new();
        match more.try_reserve_exact(size) {
            Ok(()) => taken.push(more),
            Err(_) if size > 64 => size /= 2,
            Err(error) => {
                taken.drain(..given_back.min(taken.len()));
                panic!("no more memory: {error}")
            }
        }
    }
}
