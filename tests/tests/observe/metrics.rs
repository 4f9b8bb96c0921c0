//! The `metrics` facade, and the example that serves it.

use hirelings_observe::Metrics;
use hirelings_tests::{Do, eventually, pool, program};
use metrics_exporter_prometheus::PrometheusBuilder;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

#[test]
fn the_names_are_those_that_are_documented() {
    let prometheus = PrometheusBuilder::new().install_recorder().unwrap();
    let pool = pool().name("measured").max_processes(2).retries(1).build().unwrap();
    let metrics = Metrics::attach(&pool);
    for job in
        [Do::Echo("x".into()), Do::Echo("x".into()), Do::Fail("no".into()), Do::FailUntil(2), Do::Exit(1), Do::Spin]
    {
        let limit = matches!(job, Do::Spin).then_some(Duration::from_secs(1));
        drop(pool.request(job).timeout(limit).enqueue().wait());
    }
    let page = || prometheus.render();
    eventually("gauges are set", || page().contains("hirelings_workers_busy{pool=\"measured\"}"));
    pool.exit();
    let page = page();
    for line in [
        "# TYPE hirelings_jobs_enqueued_total counter",
        "hirelings_jobs_enqueued_total{pool=\"measured\"} 6",
        "hirelings_jobs_finished_total{pool=\"measured\",outcome=\"succeeded\"} 3",
        "hirelings_jobs_finished_total{pool=\"measured\",outcome=\"failed\"} 1",
        "hirelings_jobs_finished_total{pool=\"measured\",outcome=\"crashed\"} 1",
        "hirelings_jobs_finished_total{pool=\"measured\",outcome=\"timed_out\"} 1",
        "hirelings_job_retries_total{pool=\"measured\",outcome=\"failed\"} 2",
        "hirelings_job_run_seconds_count{pool=\"measured\"} 10",
        "hirelings_job_wait_seconds_count{pool=\"measured\"} 10",
        "hirelings_worker_timeouts_total{pool=\"measured\"} 2",
        "# TYPE hirelings_workers_resident_bytes gauge",
    ] {
        assert!(page.lines().any(|of| of == line), "no {line:?} in:\n{page}");
    }
    // Each name that the documentation has, and no other.
    let source = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../observe/src/metrics.rs")).unwrap();
    let documented = source.lines().filter_map(|line| line.strip_prefix("/// | `")?.split('`').next());
    let mut documented: Vec<&str> = documented.collect();
    documented.sort_unstable();
    let mut told: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    told.sort_unstable();
    assert_eq!(told, documented);
    drop(metrics);
}

#[test]
fn the_example_serves_them() {
    let example = program("examples/metrics_server");
    assert!(example.exists(), "{} is not built: run bare `cargo test`, which builds it too", example.display());
    let mut server =
        Command::new(example).arg("127.0.0.1:0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("http://").and_then(|url| url.strip_suffix("/metrics")).unwrap().to_owned();
    let get = |path: &str| {
        let mut stream = TcpStream::connect(&address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    eventually("jobs are counted", || {
        get("/metrics").contains("hirelings_jobs_finished_total{pool=\"factors\",outcome=\"succeeded\"}")
    });
    assert!(get("/metrics").starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n"));
    assert!(get("/").starts_with("HTTP/1.1 404 "));
    server.kill().unwrap();
    server.wait().unwrap();
}
