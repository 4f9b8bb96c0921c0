//! A program whose fork server or worker hangs where its first argument says; it says which processes there are, and waits
//! to be killed. The second argument is a gate that stays closed.

use hirelings::EventKind;
use hirelings_tests::forked::{self, Setup};
use hirelings_tests::staged::Stage;
use hirelings_tests::{Record, eventually, processes};
use rustix::process::{Pid, Signal, kill_process};
use std::io::Write;
use std::{env, io, thread};

fn main() {
    let mut arguments = env::args().skip(1);
    let place = arguments.next().expect("where to hang");
    let gate: std::path::PathBuf = arguments.next().expect("a gate").into();
    let hang = Stage::Wait(gate.clone());
    let setup = match place.as_str() {
        "init" => Setup { init: hang, ..Setup::default() },
        "after_fork" => Setup { after_fork: hang, ..Setup::default() },
        _ => Setup::default(),
    };
    let builder = forked::pool(&setup).max_processes(1).timeout_initializing(None).timeout_working(None);
    let (builder, mut record) = Record::of(builder);
    let pool = builder.build().expect("a pool");
    let server = record.until_kind(EventKind::ForkServerSpawned).pid().expect("a process");
    let mut all = vec![server];
    if place != "init" {
        all.push(record.until_kind(EventKind::Spawn).pid().expect("a process"));
    }
    if place == "stopped" || place == "both" {
        forked::waits(&pool, &gate);
    }
    if place == "stopped" {
        kill_process(Pid::from_raw(server.cast_signed()).expect("a pid"), Signal::STOP).expect("a signal");
        eventually("it is stopped", || processes::is_stopped(server));
    }
    println!("{}", all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
    io::stdout().flush().expect("an output");
    loop {
        thread::park();
    }
}
