//! `Stderr::Log`: a process has one logger.

use hirelings::Stderr;
use hirelings_tests::{Do, alone, settled, worker};
use std::sync::Mutex;

struct Lines(Mutex<Vec<String>>);

impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        let line = format!("{} {}", record.level(), record.args());
        self.0.lock().unwrap().push(line);
    }
    fn flush(&self) {}
}

#[test]
fn log_writes_each_line_to_the_log() {
    alone!();
    static LOGGED: Lines = Lines(Mutex::new(Vec::new()));
    log::set_logger(&LOGGED).unwrap();
    log::set_max_level(log::LevelFilter::Info);
    let pool =
        hirelings_tests::builder::<Do>(worker()).stderr(Stderr::Log).name("logged").max_processes(1).build().unwrap();
    let pid = settled(pool.enqueue(Do::Print("for the record".into()))).unwrap();
    pool.exit();
    log::set_max_level(log::LevelFilter::Off);
    let logged = LOGGED.0.lock().unwrap();
    let ours: Vec<_> = logged.iter().filter(|line| line.contains("for the record")).collect();
    assert_eq!(ours.len(), 2, "one from each stream: {logged:?}");
    assert!(ours[0].starts_with("INFO") && ours[0].contains("logged") && ours[0].contains(&pid), "{ours:?}");
}
