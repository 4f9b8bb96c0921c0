//! Jobs of unusual shapes: no bytes at all, any bytes, an error with causes, a pool in a worker.

use crossbeam_channel::unbounded;
use hirelings::{Bytes, JobError};
use hirelings_tests::shapes::{Blob, Complain, Complaint, Nest, Nothing, pool};
use hirelings_tests::{Gate, WATCHDOG, eventually, processes, settled};
use std::collections::BTreeSet;
use std::error::Error;

#[test]
fn a_job_and_an_answer_of_no_bytes_go_both_ways() {
    let pool = pool::<Nothing>().max_processes(1).build().unwrap();
    let jobs: Vec<_> = (0..20).map(|_| pool.enqueue(Nothing)).collect();
    jobs.into_iter().for_each(|job| settled(job).unwrap());
    let stats = pool.stats();
    assert_eq!((stats.succeeded, stats.spawned), (20, 1));
}

#[test]
fn random_bytes_come_back_unchanged() {
    let pool = pool::<Blob>().max_processes(2).build().unwrap();
    // The same on each run: xorshift, and lengths around what a pipe and a read hold.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let blobs: Vec<Vec<u8>> = (0..300)
        .map(|n| {
            let len = if n % 10 == 0 { 65_400 + n } else { random() % 5000 };
            (0..len).map(|_| random() as u8).collect()
        })
        .collect();
    let jobs: Vec<_> = blobs.iter().map(|blob| pool.enqueue(Blob(Bytes(blob.clone())))).collect();
    for (n, (job, blob)) in jobs.into_iter().zip(blobs).enumerate() {
        assert!(settled(job).unwrap().0 == blob, "blob {n} of {} bytes", blob.len());
    }
}

fn complaint() -> Complaint {
    let new = |code, cause| Complaint { code, place: ("a place, \u{1f5fa}".into(), u32::MAX), cause };
    new(-1, Some(Box::new(new(0, Some(Box::new(new(i32::MIN, None)))))))
}

#[test]
fn an_error_arrives_with_all_its_fields_and_causes() {
    let pool = pool::<Complain>().max_processes(1).build().unwrap();
    let JobError::Failed(error) = settled(pool.enqueue(Complain::Fail(complaint()))).unwrap_err() else {
        panic!("it is no failure")
    };
    assert_eq!(error, complaint());
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    let codes: Vec<_> = causes.map(|cause| cause.downcast_ref::<Complaint>().unwrap().code).collect();
    assert_eq!(codes, [0, i32::MIN]);
}

#[test]
fn an_error_given_back_as_the_output_is_a_success() {
    let pool = pool::<Complain>().max_processes(1).retries(3).build().unwrap();
    assert_eq!(settled(pool.enqueue(Complain::Return(complaint()))).unwrap(), Err(complaint()));
    let stats = pool.stats();
    assert_eq!((stats.succeeded, stats.failed, stats.retried), (1, 0, 0));
}

#[test]
fn a_handler_may_have_a_pool_and_so_may_its_workers() {
    let pool = pool::<Nest>().max_processes(1).timeout_working(None).build().unwrap();
    let open = Gate::new().path();
    let pids = settled(pool.enqueue(Nest { depth: 2, gate: open.clone() })).unwrap();
    assert_eq!(pids.iter().collect::<BTreeSet<_>>().len(), 3, "{pids:?}");
    // The handlers have dropped their pools, and the worker does its next job as it should.
    assert_eq!([0, 1, 2].map(|n| processes::is_alive(pids[n])), [false, false, true], "{pids:?}");
    assert_eq!(settled(pool.enqueue(Nest { depth: 0, gate: open })).unwrap(), [pids[2]]);
}

#[test]
fn the_pools_within_a_worker_end_with_it() {
    let pool = pool::<Nest>().max_processes(1).timeout_working(None).build().unwrap();
    let gate = Gate::new();
    let (told, heard) = unbounded();
    let request = pool.request(Nest { depth: 2, gate: gate.path() });
    let job = request.on_progress(move |pid| told.send(pid).unwrap_or_default()).enqueue();
    let pids = [(); 3].map(|()| heard.recv_timeout(WATCHDOG).unwrap());
    assert!(pids.into_iter().all(processes::is_alive), "{pids:?}");
    job.abort();
    assert!(matches!(settled(job), Err(JobError::Aborted)));
    eventually("they have ended", || !pids.into_iter().any(processes::is_alive));
}
