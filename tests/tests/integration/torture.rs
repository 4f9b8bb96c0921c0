//! A short run of the torture: nothing is lost, and nothing is left.

use super::node_kit::node_is_missing;
use super::python_kit::has_python;
use hirelings_tests::program;
use std::process::Command;

#[test]
fn a_short_run_loses_nothing_and_leaves_nothing() {
    loses_nothing_and_leaves_nothing("rust", 1_000);
}

#[test]
fn nor_does_one_of_workers_in_python() {
    if has_python() {
        loses_nothing_and_leaves_nothing("python", 600);
    }
}

#[test]
fn nor_does_one_of_workers_in_node() {
    if !node_is_missing() {
        loses_nothing_and_leaves_nothing("node", 600);
    }
}

/// That of another language has one round, which has fewer jobs.
fn loses_nothing_and_leaves_nothing(kit: &str, least: u64) {
    let options = ["--seconds", "6", "--seed", "1", "--kit", kit];
    let output = Command::new(program("torture")).args(options).output().unwrap();
    let (report, wrongs) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{report}\n{wrongs}", output.status);
    assert_eq!(report.lines().count(), 1, "{report}");
    let figure = |name: &str| -> u64 {
        let (_, rest) = report.split_once(&format!("\"{name}\":")).unwrap_or_else(|| panic!("no {name} in {report}"));
        rest[..rest.find([',', '}']).unwrap()].parse().unwrap()
    };
    assert!(figure("enqueued") > 100, "{report}");
    assert_eq!(figure("enqueued"), figure("settled"));
    assert!(figure("begun") > least, "{report}");
    for nothing in ["begun_twice", "succeeded_never_begun"] {
        assert_eq!(figure(nothing), 0, "{nothing}: {report}");
    }
    for nothing in ["settled_twice", "children_left", "threads_left", "descriptors_left", "left_by_parents", "wrong"] {
        assert_eq!(figure(nothing), 0, "{nothing}: {report}");
    }
    assert_eq!(figure("descriptors_left_while_pipes_are_held"), 0, "{report}");
}
