//! Workers that are forked.

use hirelings::{EventKind, StartMethod};
use hirelings_tests::{Do, Record, pool, processes, settled};

#[test]
fn jobs_are_done_by_children_of_one_fork_server() {
    let (builder, mut record) = Record::of(pool().start_method(StartMethod::ForkServer).max_processes(2));
    let pool = builder.max_jobs_per_process(3).build().unwrap();
    let handles: Vec<_> = (0..30).map(|n| pool.enqueue(Do::Echo(n.to_string()))).collect();
    for (n, handle) in handles.into_iter().enumerate() {
        assert_eq!(settled(handle).unwrap(), n.to_string());
    }
    let stats = pool.stats();
    assert_eq!((stats.fork_servers, stats.fork_servers_spawned), (1, 1), "{stats:?}");
    assert!(stats.spawned >= 10, "{stats:?}");
    let server = record.until_kind(EventKind::ForkServerSpawned).pid().unwrap();
    assert!(processes::children_of(std::process::id()).contains(&server));
    for worker in pool.workers() {
        assert_eq!(worker.fork_server, Some(server));
    }
    pool.exit();
    assert!(!processes::children_of(std::process::id()).contains(&server));
    assert_eq!(record.count(EventKind::ForkServerSpawned), 1);
    assert_eq!(record.count(EventKind::ForkServerExited), 1);
}
