//! The pool against the raw pipe, in one run.
//!
//! Times of one machine say little, and of a busy one nothing. So each case does the same work twice, in turn (A B A B …):
//! through a pool, and over two raw pipes (`raw.rs`): a 4-byte length, no encoding, blocking reads and writes, one parent
//! thread, one job in flight a child. What counts is the ratio.
//!
//! ```text
//! cargo bench --bench pipe                        all cases but those that are run only where they are named
//! cargo bench --bench pipe -- latency throughput  those two
//! cargo bench --bench pipe -- growth_workers      how it grows, for benches/plots; growth_jobs, growth_payload
//! cargo bench --bench pipe -- scale               what one pool carries, for docs/scale.md
//! cargo bench --bench pipe -- --short             less of everything, for CI
//! cargo bench --bench pipe -- --json              a line of JSON a figure
//! cargo bench --bench pipe -- --check             exit code 1 where a ratio is twice worse than its bar
//! ```
//!
//! Memory, threads and switches are read from `/proc`: those cases need Linux.
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock, and starts raw children of its own")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its figures are what a benchmark is for")]

mod defaults;
mod fair;
mod figure;
mod growth;
mod hops;
mod measure;
mod raw;
mod scale;
mod speed;
mod standing;
mod starts;
mod work;

use figure::Figure;
use hirelings::worker;
use std::env;
use std::error::Error;
use std::process::{Command, ExitCode};

/// How much is done.
#[derive(Clone, Copy)]
pub(crate) struct Measure {
    /// Less of everything.
    pub(crate) short: bool,
}

impl Measure {
    /// One of two, by whether this is a short run.
    pub(crate) fn of<T>(self, full: T, short: T) -> T {
        if self.short { short } else { full }
    }
}

/// What a case gives, or why it could not be measured here.
pub(crate) type Figures = Result<Vec<Figure>, Box<dyn Error>>;

struct Case {
    name: &'static str,
    run: fn(Measure) -> Figures,
}

/// The cases that are run only where they are named: those for the plots, and one that takes a thousand processes.
const NAMED: [&str; 4] = ["growth_jobs", "growth_workers", "growth_payload", "scale"];

const CASES: [Case; 26] = [
    Case { name: "latency", run: speed::latency },
    Case { name: "throughput", run: speed::throughput },
    Case { name: "callers", run: speed::callers },
    Case { name: "defaults", run: defaults::defaults },
    Case { name: "payload", run: speed::payload },
    Case { name: "payload_sockets", run: speed::payload_sockets },
    Case { name: "isolate", run: starts::isolate },
    Case { name: "isolate_forked", run: starts::isolate_forked },
    Case { name: "hops", run: hops::hops },
    Case { name: "spawn", run: starts::spawn },
    Case { name: "spawn_forked", run: starts::spawn_forked },
    Case { name: "recycle", run: starts::recycle },
    Case { name: "vec_u8", run: speed::vec_u8 },
    Case { name: "large_parent", run: starts::large_parent },
    Case { name: "backlog", run: standing::backlog },
    Case { name: "map", run: standing::map },
    Case { name: "idle", run: standing::idle },
    Case { name: "hooks", run: speed::hooks },
    Case { name: "many", run: starts::many },
    Case { name: "cpu", run: speed::cpu },
    Case { name: "cpu_latency", run: speed::cpu_latency },
    Case { name: "fair", run: fair::fair },
    Case { name: "growth_jobs", run: growth::growth_jobs },
    Case { name: "growth_workers", run: growth::growth_workers },
    Case { name: "growth_payload", run: growth::growth_payload },
    Case { name: "scale", run: scale::scale },
];

/// The argument of a process that measures one case's memory alone; the case's name follows.
const ALONE: &str = "--alone";
const SHORT: &str = "--short";

#[derive(Default)]
struct Asked {
    cases: Vec<String>,
    json: bool,
    short: bool,
    check: bool,
    /// Cargo's own: `cargo bench` gives it, and `cargo test --all-targets` does not.
    bench: bool,
}

fn main() -> ExitCode {
    worker::init(work::handle);
    let arguments: Vec<String> = env::args().skip(1).collect();
    if raw::is_child(&arguments) {
        return raw::child(&arguments);
    }
    if let [first, case, rest @ ..] = &arguments[..]
        && first == ALONE
    {
        let measure = Measure { short: rest.iter().any(|argument| argument == SHORT) };
        return standing::alone(case, measure);
    }
    let mut asked = Asked::default();
    for argument in arguments {
        match &*argument {
            "--bench" => asked.bench = true,
            "--json" => asked.json = true,
            "--check" => asked.check = true,
            SHORT => asked.short = true,
            name if CASES.iter().any(|case| case.name == name) => asked.cases.push(argument),
            other => {
                let known: Vec<_> = CASES.iter().map(|case| case.name).collect();
                eprintln!("there is no case or option {other}; the cases are {}", known.join(", "));
                return ExitCode::from(2);
            }
        }
    }
    if !asked.bench && asked.cases.is_empty() && !asked.short {
        println!("nothing is measured without --bench, --short or the name of a case");
        return ExitCode::SUCCESS;
    }
    run(&asked)
}

fn run(asked: &Asked) -> ExitCode {
    let load = measure::load().unwrap_or_else(|_| "unknown".into());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let heading = format!("load {load}, {cores} cores");
    if asked.json {
        eprintln!("{heading}")
    } else {
        println!("{heading}\n{}", Figure::heading())
    }

    let measure = Measure { short: asked.short };
    let (mut failed, mut lost) = (false, false);
    let is_asked = |case: &&Case| match &asked.cases[..] {
        [] => !NAMED.contains(&case.name),
        names => names.iter().any(|name| name == case.name),
    };
    for case in CASES.iter().filter(is_asked) {
        match (case.run)(measure) {
            Ok(figures) => {
                for figure in figures {
                    lost |= figure.is_gross_loss();
                    println!("{}", if asked.json { figure.json() } else { figure.line() });
                }
            }
            Err(why) => {
                failed = true;
                eprintln!("{}: {why}", case.name);
            }
        }
    }
    if failed || (asked.check && lost) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// This executable, as a process of its own; not a worker.
pub(crate) fn this_program() -> Command {
    Command::new(env::current_exe().expect("the path of this executable is known"))
}
