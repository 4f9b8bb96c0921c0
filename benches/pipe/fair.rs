//! One long job among short ones: nobody should wait behind it while a worker is free.

use crate::figure::{Bar, Figure};
use crate::measure::median;
use crate::work::{Nap, Work, pool};
use crate::{Figures, Measure};
use hirelings::Pool;
use std::time::{Duration, Instant};

/// Jobs of 1 ms with one of 200 ms among them, and tiny ones with one of 500 ms.
pub(crate) fn fair(measure: Measure) -> Figures {
    let (count, repeats) = measure.of((1_000, 5), (500, 1));
    let pool = pool(2);
    // The pool knows by now that these jobs are short.
    do_naps(&pool, &vec![Duration::from_micros(10); 1_000]);

    let mut figures = Vec::new();
    for (name, at) in [("10", 10), ("500", count / 2), ("990", count - 10), ("last", count - 1)] {
        let mut naps = vec![Duration::from_millis(1); count];
        naps[at] = Duration::from_millis(200);
        let (best, total): (Vec<_>, Vec<_>) = (0..repeats).map(|_| against_the_best(&pool, &naps)).unzip();
        let (best, total) = (median(best), median(total));
        let figure = Figure::new(format!("fair_{name}"), total, "ms").against("list", best).bar(Bar::AtMost(1.1));
        figures.push(figure.note(format!("a long job at {at} of {count}")));
    }

    let tiny = measure.of(10_000, 5_000);
    let waits = (0..repeats).map(|_| longest_wait(&pool, tiny)).collect();
    let wait = median(waits);
    let figure = Figure::new("fair_tiny", wait, "ms").against("long job", 500.0);
    figures.push(figure.note(format!("{tiny} tiny jobs and a long one: the longest wait beside a free worker")));
    Ok(figures)
}

/// Does naps, all submitted at once; how long that took, and what the workers tell of each.
fn do_naps(pool: &Pool<Work>, naps: &[Duration]) -> (Duration, Vec<Nap>) {
    let started = Instant::now();
    let handles: Vec<_> = naps.iter().map(|&length| pool.enqueue(Work::Nap(length))).collect();
    let told: Vec<_> = handles.into_iter().map(|handle| handle.wait().expect("a nap")).collect();
    let took = started.elapsed();
    (took, told.iter().map(Nap::from_bytes).collect())
}

/// The milliseconds of the best that could be done in this order, with jobs as long as they really were; then those of the
/// pool.
fn against_the_best(pool: &Pool<Work>, naps: &[Duration]) -> (f64, f64) {
    let (took, told) = do_naps(pool, naps);
    for (asked, nap) in naps.iter().zip(&told) {
        assert!(nap.length() >= *asked, "a nap of {asked:?} took {:?}", nap.length());
    }
    let milliseconds = |duration: Duration| duration.as_secs_f64() * 1e3;
    (milliseconds(list_schedule(&told)), milliseconds(took))
}

/// Two workers, each of which takes the next job as soon as it is free, at no cost.
fn list_schedule(naps: &[Nap]) -> Duration {
    let mut until = [Duration::ZERO; 2];
    for nap in naps {
        until.sort();
        until[0] += nap.length();
    }
    until[0].max(until[1])
}

/// The milliseconds that any tiny job waited after the worker that does not have the long one had become free.
fn longest_wait(pool: &Pool<Work>, count: usize) -> f64 {
    let mut naps = vec![Duration::ZERO; count];
    naps[count / 2] = Duration::from_millis(500);
    let (_, mut told) = do_naps(pool, &naps);
    let long = told.remove(count / 2);
    assert!(long.length() >= Duration::from_millis(500));

    let mut freed: Vec<Duration> = told.iter().filter(|nap| nap.pid != long.pid).map(|nap| nap.to).collect();
    freed.sort();
    let during = told.iter().filter(|nap| nap.from >= long.from);
    let waits = during.filter_map(|nap| {
        let before = freed.partition_point(|&at| at <= nap.from);
        Some(nap.from - freed[before.checked_sub(1)?])
    });
    waits.max().unwrap_or_default().as_secs_f64() * 1e3
}
