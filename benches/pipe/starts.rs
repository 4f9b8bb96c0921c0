//! Processes: how fast they start, one a job, and hundreds of them.

use crate::figure::{Bar, Figure};
use crate::measure::{in_turn, median, threads_and_descriptors};
use crate::raw::RawChild;
use crate::standing::alone_in_a_process;
use crate::work::{Work, builder, drive, pool, ready, small};
use crate::{Figures, Measure};
use hirelings::{Pool, PoolBuilder, StartMethod};
use std::collections::VecDeque;
use std::time::Instant;

const MILLISECOND: f64 = 1e-3;

/// A fresh process for each job, two at a time.
pub(crate) fn isolate(measure: Measure) -> Figures {
    Ok(vec![isolate_by("isolate", StartMethod::Exec, measure).bar(Bar::AtLeast(0.66))])
}

/// The same with workers that are forked, against raw processes that are spawned as before.
pub(crate) fn isolate_forked(measure: Measure) -> Figures {
    Ok(vec![isolate_by("isolate_forked", StartMethod::ForkServer, measure).bar(Bar::AtLeast(1.0))])
}

fn isolate_by(name: &str, method: StartMethod, measure: Measure) -> Figure {
    let (count, rounds) = measure.of((400, 7), (100, 3));
    let pool = ready(builder(2).start_method(method).max_jobs_per_process(1));
    let per_second = |seconds: f64| [count as f64 / seconds];
    let ([raw], [ours]) = in_turn(rounds, || per_second(isolated_raw(count)), || per_second(drive(&pool, count)));
    assert!(pool.stats().spawned >= (rounds * count) as u64, "each job had a process of its own");
    Figure::new(name, ours, "jobs/s").raw(raw)
}

/// A pool with a process a job, two at a time.
pub(crate) fn isolated() -> Pool<Work> {
    ready(builder(2).max_jobs_per_process(1))
}

/// Starts a child, gives it a job, and goes on with the one started before.
fn isolated_raw(count: usize) -> f64 {
    let started = Instant::now();
    let mut running = VecDeque::new();
    let finish = |(number, mut child): (usize, RawChild)| {
        assert_eq!(child.receive(), small(number), "job {number}");
        // Dropping it ends its input and waits for its end.
    };
    for number in 0..count {
        if running.len() == 2
            && let Some(oldest) = running.pop_front()
        {
            finish(oldest);
        }
        let mut child = RawChild::start();
        child.send(&small(number));
        running.push_back((number, child));
    }
    running.into_iter().for_each(finish);
    started.elapsed().as_secs_f64()
}

/// From nothing to two workers ready.
pub(crate) fn spawn(measure: Measure) -> Figures {
    let rounds = measure.of(40, 10);
    let ([raw], [kept]) = in_turn(rounds, || [ready_raw(2)], || [time_to_ready(2, builder(2).min_processes(2))]);
    let ([raw_again], [later]) = in_turn(rounds, || [ready_raw(2)], || [ready_pool(2)]);
    Ok(vec![
        Figure::new("spawn", kept, "ms").raw(raw).bar(Bar::AtMost(1.6)).note("two workers ready, min_processes 2"),
        Figure::new("spawn_later", later, "ms")
            .raw(raw_again)
            .bar(Bar::AtMost(1.6))
            .note("the first by build, the second by wait_ready"),
    ])
}

/// From nothing to two workers ready, the fork server among what is started.
pub(crate) fn spawn_forked(measure: Measure) -> Figures {
    let rounds = measure.of(40, 10);
    let forked = || builder(2).start_method(StartMethod::ForkServer).min_processes(2);
    let ([raw], [ours]) = in_turn(rounds, || [ready_raw(2)], || [time_to_ready(2, forked())]);
    let note = "a fork server and two workers ready, min_processes 2";
    Ok(vec![Figure::new("spawn_forked", ours, "ms").raw(raw).bar(Bar::AtMost(1.3)).note(note)])
}

/// Small jobs with workers that are replaced after 64 of them, against workers that are not.
pub(crate) fn recycle(measure: Measure) -> Figures {
    let (count, rounds) = measure.of((100_000, 5), (20_000, 1));
    let mut figures = Vec::new();
    for (name, method) in [("recycle", StartMethod::Exec), ("recycle_forked", StartMethod::ForkServer)] {
        let kept = ready(builder(2).start_method(method));
        let replaced = ready(builder(2).start_method(method).max_jobs_per_process(64));
        let ([kept], [replaced]) = in_turn(rounds, || [1e3 * drive(&kept, count)], || [1e3 * drive(&replaced, count)]);
        let figure =
            Figure::new(name, replaced, "ms").against("kept", kept).note(format!("{count} jobs, 64 a process"));
        figures.push(if method == StartMethod::ForkServer { figure.bar(Bar::AtMost(2.0)) } else { figure });
    }
    Ok(figures)
}

fn ready_pool(workers: usize) -> f64 {
    time_to_ready(workers, builder(workers))
}

fn time_to_ready(workers: usize, builder: PoolBuilder<Work>) -> f64 {
    let started = Instant::now();
    let pool = ready(builder);
    let took = started.elapsed();
    assert_eq!(pool.workers().len(), workers);
    took.as_secs_f64() / MILLISECOND
}

fn ready_raw(count: usize) -> f64 {
    let started = Instant::now();
    let mut children: Vec<_> = (0..count).map(|_| RawChild::start_with_hello()).collect();
    children.iter_mut().for_each(RawChild::wait_hello);
    started.elapsed().as_secs_f64() / MILLISECOND
}

/// The same from a parent that has much memory, against one that has little.
pub(crate) fn large_parent(measure: Measure) -> Figures {
    let [small, large] = alone_in_a_process("large_parent", measure)?;
    let note = format!("two workers ready, {} GiB touched", large_parent_gibibytes(measure));
    Ok(vec![Figure::new("large_parent", large, "ms").against("small", small).bar(Bar::AtMost(3.0)).note(note)])
}

fn large_parent_gibibytes(measure: Measure) -> usize {
    measure.of(4, 1)
}

/// Starts pools before and after the memory is touched.
pub(crate) fn large_parent_alone(measure: Measure) -> [f64; 2] {
    let rounds = measure.of(20, 10);
    let ready = || median((0..rounds).map(|_| ready_pool(2)).collect());
    ready_pool(2);
    let small = ready();
    // Not zero, which would be pages that nobody has touched.
    let touched = vec![1u8; large_parent_gibibytes(measure) << 30];
    let large = ready();
    assert_eq!(touched.last(), Some(&1));
    [small, large]
}

/// Many workers: until they are ready, what each costs this process, and whether jobs are slower for it.
pub(crate) fn many(measure: Measure) -> Figures {
    let (workers, count, rounds) = measure.of((256, 200_000, 3), (64, 20_000, 1));
    let ([raw_ready], [ready]) = in_turn(rounds, || [ready_raw(workers)], || [ready_pool(workers)]);

    let without = threads_and_descriptors()?;
    let few = pool(2);
    let with_few = threads_and_descriptors()?;
    let many = pool(workers);
    let with_all = threads_and_descriptors()?;
    // What the pool has for itself is in both, and in neither figure.
    let [threads, descriptors] = [0, 1].map(|of| {
        let of_few = with_few[of] - without[of];
        let of_many = with_all[of] - with_few[of];
        (of_many - of_few) / (workers - 2) as f64
    });

    let per_second = |seconds: f64| [count as f64 / seconds];
    let ([with_two], [with_many]) =
        in_turn(rounds, || per_second(drive(&few, count)), || per_second(drive(&many, count)));
    let note = format!("{workers} workers");
    Ok(vec![
        Figure::new("many", with_many, "jobs/s").against("2 workers", with_two).bar(Bar::AtLeast(0.7)).note(&note),
        Figure::new("many_ready", ready, "ms").raw(raw_ready).note(&note),
        Figure::new("many_threads", threads, "a worker").fixed(2.0).note(&note),
        Figure::new("many_descriptors", descriptors, "a worker").fixed(4.0).note(&note),
    ])
}
