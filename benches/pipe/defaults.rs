//! A first program: every default, from `build` to the last result, beside the settings that serve such jobs best.

use crate::figure::{Bar, Figure};
use crate::measure::in_turn;
use crate::work::{Work, builder, drive, small, small_job};
use crate::{Figures, Measure};
use hirelings::{Bytes, Pool};
use std::time::Instant;

/// Small jobs all at once, and through `map`.
pub(crate) fn defaults(measure: Measure) -> Figures {
    let (count, rounds) = measure.of((100_000, 5), (20_000, 3));
    let plain = || Pool::<Work>::self_exec().build().expect("a pool of this executable");
    let timed = |work: &dyn Fn()| {
        let started = Instant::now();
        work();
        [started.elapsed().as_secs_f64()]
    };
    let best = || timed(&|| _ = drive(&builder(2).build().expect("a pool of this executable"), count));
    let enqueued = || timed(&|| _ = drive(&plain(), count));
    let mapped = || {
        timed(&|| {
            for (number, result) in plain().map((0..count).map(small_job)).enumerate() {
                let Bytes(echoed) = result.expect("an echo");
                assert_eq!(echoed, small(number), "job {number}");
            }
        })
    };
    let note = format!("{count} jobs, the pool's start and end included");
    let figure = |case: &str, ([best], [ours]): ([f64; 1], [f64; 1])| {
        Figure::new(case, ours * 1e3, "ms").against("best", best * 1e3).bar(Bar::AtMost(1.5)).note(note.clone())
    };
    Ok(vec![figure("defaults", in_turn(rounds, best, enqueued)), figure("defaults_map", in_turn(rounds, best, mapped))])
}
