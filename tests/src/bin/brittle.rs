//! Carries values that break on their way.

use hirelings_tests::brittle::Carry;
use hirelings_worker_kit::serve;

fn main() {
    serve::<Carry>(|job, ctx| {
        if let Some(progress) = job.told() {
            ctx.progress(&progress);
        }
        job.outcome()
    })
}
