//! Does jobs of the shape that its first argument names.

use crossbeam_channel::unbounded;
use hirelings::Job;
use hirelings_tests::shapes::{self, Blob, Complain, Loose, LooseOutput, Nest, Nothing};
use hirelings_tests::{Gate, settled};
use hirelings_worker_kit::{Context, serve};
use serde_json::json;
use std::process::id;

fn main() {
    let shape = std::env::args().nth(1).unwrap_or_default();
    if shape == Nothing::name() {
        serve(|Nothing, _| Ok(()))
    } else if shape == Blob::name() {
        serve(|Blob(bytes), _| Ok(bytes))
    } else if shape == Complain::name() {
        serve(|job, _| match job {
            Complain::Fail(complaint) => Err(complaint),
            Complain::Return(complaint) => Ok(Err(complaint)),
        })
    } else if shape == Loose::name() {
        serve(|loose: Loose, ctx| {
            ctx.progress(&json!({ "id": loose.id, "more": loose.more }));
            match loose.divide {
                Some(by) => Ok(LooseOutput::Quotient(1.0 / by)),
                None if loose.fail => Err(loose),
                None => Ok(LooseOutput::Whole(loose)),
            }
        })
    } else {
        serve(nest)
    }
}

fn nest(job: Nest, ctx: &mut Context<Nest>) -> Result<Vec<u32>, String> {
    ctx.progress(&id());
    let Some(depth) = job.depth.checked_sub(1) else {
        Gate::wait(&job.gate);
        return Ok(vec![id()]);
    };
    let pool = shapes::pool::<Nest>().max_processes(1).timeout_working(None).build();
    let pool = pool.map_err(|error| error.to_string())?;
    let (told, heard) = unbounded();
    let request = pool.request(Nest { depth, ..job });
    let inner = request.on_progress(move |pid| told.send(pid).unwrap_or_default()).enqueue();
    // It ends with the job, whose hooks are dropped then.
    heard.iter().for_each(|pid| ctx.progress(&pid));
    let mut pids = settled(inner).map_err(|error| error.to_string())?;
    pids.push(id());
    Ok(pids)
}
