//! The example `two_levels`: pools whose workers have pools, and whose processes are killed in the middle.

use hirelings_tests::{Scratch, eventually, processes, program};
use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};

/// A run of the example with 4 hosts of 2 workers, whose processes are known by a variable.
struct Run {
    coordinator: Child,
    log: Scratch,
}

/// The variable. Its value is the name of the run's log.
const RUN: &str = "HIRELINGS_TEST_RUN";

impl Run {
    fn start(arguments: &[&str]) -> Self {
        let program = program("examples").join("two_levels");
        assert!(program.exists(), "{} is not built: run bare `cargo test`, which builds it too", program.display());
        let log = Scratch::new();
        let mut command = Command::new(program);
        command.args(["--hosts", "4", "--workers", "2", "--log"]).arg(log.path()).args(arguments).env(RUN, log.path());
        let coordinator = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        Run { coordinator, log }
    }

    fn processes(&self) -> BTreeSet<u32> {
        processes::with_variable(RUN, self.log.path().to_str().unwrap())
    }
}

#[test]
fn lost_hosts_lose_no_item() {
    let mut run = Run::start(&["--items", "400", "--kill", "3"]);
    eventually("the example ends", || run.coordinator.try_wait().unwrap().is_some());
    let said = std::io::read_to_string(run.coordinator.stdout.take().unwrap()).unwrap();
    assert!(run.coordinator.wait().unwrap().success(), "{said}");
    assert!(said.contains("400 succeeded, 0 failed, "), "{said}");
    // One that is killed when it has answered, before the coordinator has heard it, costs no batch.
    assert!((1..=3).any(|lost| said.contains(&format!(" batches, {lost} lost, "))), "{said}");
    // Of each item that has begun: its number and its round.
    let begun = run.log.lines();
    let distinct: BTreeSet<&String> = begun.iter().collect();
    assert_eq!(distinct.len(), begun.len(), "an item has begun twice in one round");
    let items: BTreeSet<&str> = begun.iter().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(items.len(), 400);
    eventually("nothing is left behind", || run.processes().is_empty());
}

#[test]
fn both_levels_end_with_the_coordinator() {
    let mut run = Run::start(&["--items", "1000000"]);
    eventually("the hosts are at work", || run.log.lines().len() > 50);
    // The coordinator, the hosts, and their workers.
    assert_eq!(run.processes().len(), 1 + 4 + 4 * 2);
    run.coordinator.kill().unwrap();
    run.coordinator.wait().unwrap();
    eventually("nothing is left behind", || run.processes().is_empty());
}
