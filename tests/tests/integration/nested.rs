//! Workers with pools of their own, three levels of them: however one of them ends, all that is below it ends too.

use hirelings_tests::{Gate, eventually, processes, program, within};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

/// A second for each level, and some for a machine that is busy.
const SOON: Duration = Duration::from_secs(8);

/// A program with two workers, each of which has two, each of which has two.
struct Tree {
    top: Child,
    said: Lines<BufReader<ChildStdout>>,
    gate: Gate,
    /// All processes below the top, and whose worker each is.
    parents: BTreeMap<u32, u32>,
}

impl Tree {
    fn grow() -> Self {
        let gate = Gate::new();
        let mut command = Command::new(program("nested"));
        command.arg("3").arg(gate.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut top = command.spawn().unwrap();
        let mut said = BufReader::new(top.stdout.take().unwrap()).lines();
        let lines = said.by_ref().map(Result::unwrap).take_while(|line| line != "all");
        let pids = lines.map(|line| line.split(' ').map(|pid| pid.parse().unwrap()).collect::<Vec<u32>>());
        let parents: BTreeMap<u32, u32> = pids.map(|pids| (pids[0], pids[1])).collect();
        let tree = Tree { top, said, gate, parents };
        assert_eq!(tree.alive(&[]).len(), 14, "two, four and eight");
        tree
    }

    fn workers_of(&self, parent: u32) -> Vec<u32> {
        self.parents.iter().filter(|(_, of)| **of == parent).map(|(&pid, _)| pid).collect()
    }

    /// The process and all below it.
    fn branch(&self, pid: u32) -> Vec<u32> {
        let below = self.workers_of(pid).into_iter().flat_map(|worker| self.branch(worker));
        std::iter::once(pid).chain(below).collect()
    }

    /// Those of all workers that are alive, or have left somebody in their group; but for some.
    fn alive(&self, but: &[u32]) -> Vec<u32> {
        let lives = |pid: &u32| !but.contains(pid) && !processes::of_group(*pid).is_empty();
        self.parents.keys().copied().filter(lives).collect()
    }

    fn tell(&mut self, word: &str) {
        writeln!(self.top.stdin.as_mut().unwrap(), "{word}").unwrap();
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.top.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// The top has ended, or is about to; then nobody is left.
    fn leaves_nobody(&mut self, end: &str) {
        eventually("the top ends", || self.top.try_wait().unwrap().is_some());
        let ended = within(SOON, || self.alive(&[]).is_empty());
        let left = self.alive(&[]);
        left.iter().copied().for_each(processes::kill);
        assert!(ended, "{end}: these are left: {left:?} of {:?}", self.parents);
    }
}

#[test]
fn all_levels_end_when_the_top_is_killed() {
    let mut tree = Tree::grow();
    tree.signal("-KILL");
    tree.leaves_nobody("killed");
}

#[test]
fn all_levels_end_when_the_top_is_terminated() {
    let mut tree = Tree::grow();
    tree.signal("-TERM");
    tree.leaves_nobody("terminated");
}

#[test]
fn all_levels_end_when_the_top_forgets_them() {
    let mut tree = Tree::grow();
    tree.tell("forget");
    tree.leaves_nobody("forgotten");
}

#[test]
fn a_branch_ends_with_its_worker_and_costs_one_job() {
    let mut tree = Tree::grow();
    tree.tell("wait");
    let first = tree.workers_of(tree.top.id())[0];
    let branch = tree.branch(first);
    assert_eq!(branch.len(), 7);
    processes::kill(first);
    let ended = within(SOON, || branch.iter().all(|&pid| processes::of_group(pid).is_empty()));
    assert!(ended, "of {branch:?} these are left: {:?}", tree.alive(&[]));
    assert_eq!(tree.alive(&branch).len(), 7, "the other branch goes on");
    tree.gate.open();
    let said: Vec<String> = tree.said.by_ref().map(Result::unwrap).collect();
    let killed = |line: &String| line.contains("was killed by SIGKILL");
    assert!(said.len() == 2 && said.iter().filter(|line| killed(line)).count() == 1, "{said:?}");
    assert!(said.contains(&"4".into()), "{said:?}");
    tree.leaves_nobody("waited");
}

#[test]
fn a_worker_in_the_middle_costs_the_job_above_it() {
    let mut tree = Tree::grow();
    tree.tell("wait");
    let first = tree.workers_of(tree.top.id())[0];
    let middle = tree.workers_of(first)[0];
    let branch = tree.branch(middle);
    assert_eq!(branch.len(), 3);
    processes::kill(middle);
    let ended = within(SOON, || branch.iter().all(|&pid| processes::of_group(pid).is_empty()));
    assert!(ended, "of {branch:?} these are left: {:?}", tree.alive(&[]));
    tree.gate.open();
    let said: Vec<String> = tree.said.by_ref().map(Result::unwrap).collect();
    // The handler above hears of it, and makes it its own error.
    assert!(said.iter().any(|line| line.contains("was killed by SIGKILL")) && said.contains(&"4".into()), "{said:?}");
    tree.leaves_nobody("waited");
}

#[test]
fn draining_the_top_finishes_all_levels() {
    let mut tree = Tree::grow();
    tree.tell("drain");
    tree.gate.open();
    assert_eq!(tree.said.next().unwrap().unwrap(), "0 8");
    tree.leaves_nobody("drained");
}
