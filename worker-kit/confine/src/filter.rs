//! The filter of system calls, made of the deny-list.
//!
//! The crate makes a filter of rules that looks for one number after the other. The kernel runs each filter once for every
//! call that there is when it is installed, to know which are always allowed, and so a long one costs every start of a worker a
//! third of a millisecond. So here the numbers are searched by halves, and what is found is what the crate makes of one call.

use crate::ConfineErrorKind::System;
use crate::calls::{Denied, deny_list};
use crate::{ConfineError, Confinement, raw};
use libc::c_long;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter_all_threads, sock_filter,
};
use std::collections::BTreeMap;
use std::env::consts::ARCH;
use std::process;

/// A filter that is ready to be installed.
pub(crate) struct Filter {
    program: BpfProgram,
    /// The calls to name, where they end the process.
    named: Option<Vec<(c_long, &'static str)>>,
}

/// Makes the filter for this process, or says why this system can have none.
pub(crate) fn compile(wish: &Confinement) -> Result<Filter, BackendError> {
    let arch = TargetArch::try_from(ARCH)?;
    let denied = deny_list(wish, process::id().cast_signed());
    let action = if wish.kill_on_violation { SeccompAction::Trap } else { SeccompAction::Errno(libc::EACCES as u32) };
    let mut leaves = BTreeMap::new();
    for denied in &denied {
        leaves.insert(denied.number as u32, leaf(denied, &action, arch)?);
    }
    // Its flags are in memory, where no filter sees them. Without it the C library falls back to clone.
    leaves.insert(libc::SYS_clone3 as u32, vec![stop(libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32)]);
    if wish.kill_on_violation {
        leaves.insert(libc::SYS_rt_sigaction as u32, keep_the_handler(arch)?);
    }

    let mut program = of_this_abi(arch)?;
    program.push(step(LOAD, 0));
    // The numbers of x32, by which the list could be gone round: as on a kernel without them.
    program.push(jump(IF_AT_LEAST, 0x4000_0000, 0, 1));
    program.push(stop(libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32));
    find(&segments(&leaves), &mut program);
    let named = wish.kill_on_violation.then(|| denied.iter().map(|denied| (denied.number, denied.name)).collect());
    Ok(Filter { program, named })
}

/// The beginning of each of the crate's filters: a call of another ABI of the processor ends the process.
fn of_this_abi(arch: TargetArch) -> Result<BpfProgram, BackendError> {
    let nothing = SeccompFilter::new(BTreeMap::new(), SeccompAction::Allow, SeccompAction::Trap, arch)?;
    let mut program = BpfProgram::try_from(nothing)?;
    // All but its end, which allows the call.
    program.pop();
    Ok(program)
}

/// What becomes of one call.
fn leaf(denied: &Denied, action: &SeccompAction, arch: TargetArch) -> Result<BpfProgram, BackendError> {
    let rules = denied.rules()?;
    if rules.is_empty() {
        return Ok(vec![stop(action.clone().into())]);
    }
    of_rules(denied.number, rules, action.clone(), arch)
}

fn of_rules(
    number: c_long,
    rules: Vec<SeccompRule>,
    action: SeccompAction,
    arch: TargetArch,
) -> Result<BpfProgram, BackendError> {
    SeccompFilter::new(BTreeMap::from([(number, rules)]), SeccompAction::Allow, action, arch)?.try_into()
}

/// Nobody sets another action for SIGSYS. The handler asks for it to die.
fn keep_the_handler(arch: TargetArch) -> Result<BpfProgram, BackendError> {
    let is_sigsys = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, libc::SIGSYS as u64)?;
    of_rules(libc::SYS_rt_sigaction, vec![SeccompRule::new(vec![is_sigsys])?], SeccompAction::KillProcess, arch)
}

/// Numbers from one on that come to the same, up to the next such.
type Segment<'a> = (u32, &'a [sock_filter]);

/// What comes of each number: neighbours that come to the same are one segment, and all others are allowed.
fn segments(leaves: &BTreeMap<u32, BpfProgram>) -> Vec<Segment<'_>> {
    const ALLOWED: &[sock_filter] =
        &[sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW }];
    let mut segments: Vec<Segment<'_>> = Vec::with_capacity(2 * leaves.len() + 1);
    let mut push = |from: u32, program| {
        if segments.last().is_none_or(|&(_, before)| before != program) {
            segments.push((from, program));
        }
    };
    let mut next = 0;
    for (&number, leaf) in leaves {
        if number > next {
            push(next, ALLOWED);
        }
        push(number, leaf);
        next = number + 1;
    }
    push(next, ALLOWED);
    segments
}

/// Finds the segment of the number, which has been loaded, and does what its program says.
fn find(segments: &[Segment<'_>], program: &mut BpfProgram) {
    if let [(_, only)] = segments {
        program.extend_from_slice(only);
        return;
    }
    let (below, above) = segments.split_at(segments.len() / 2);
    // A comparison jumps at most 255 steps, so a step that jumps any number follows it.
    program.push(jump(IF_AT_LEAST, above[0].0, 0, 1));
    let to_above = program.len();
    program.push(step(JUMP, 0));
    find(below, program);
    program[to_above].k = (program.len() - to_above - 1) as u32;
    find(above, program);
}

const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const JUMP: u32 = libc::BPF_JMP | libc::BPF_JA;
const IF_AT_LEAST: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;

fn step(code: u32, value: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k: value }
}

/// Goes so many steps on where the comparison holds, and so many where not.
fn jump(code: u32, value: u32, yes: u8, no: u8) -> sock_filter {
    sock_filter { code: code as u16, jt: yes, jf: no, k: value }
}

fn stop(with: u32) -> sock_filter {
    step(libc::BPF_RET | libc::BPF_K, with)
}

impl Filter {
    /// Installs it in every thread of this process.
    pub(crate) fn install(self) -> Result<(), ConfineError> {
        if let Some(names) = self.named {
            let fail = |error| ConfineError::of(System, "the handler of SIGSYS cannot be set", error);
            raw::name_forbidden_calls(names).map_err(fail)?;
        }
        let fail = |error| ConfineError::of(System, "the filter of system calls is refused", error);
        apply_filter_all_threads(&self.program).map_err(fail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the program comes to for this number.
    fn run(program: &[sock_filter], number: u32) -> u32 {
        let mut at = 0;
        loop {
            let step = &program[at];
            at += 1 + match u32::from(step.code) {
                IF_AT_LEAST => usize::from(if number >= step.k { step.jt } else { step.jf }),
                JUMP => step.k as usize,
                LOAD => 0,
                _ => return step.k,
            };
        }
    }

    #[test]
    fn each_number_comes_to_what_it_should_and_all_others_are_allowed() {
        for count in 0..70u32 {
            for first in [0, 1, 3] {
                // Neighbours, gaps, and leaves of all lengths, some of them longer than a comparison can jump.
                let numbers = (0..count).map(|n| first + n + n / 3 + n / 7 * 5);
                let leaf = |number: u32| (number, vec![stop(1000 + number / 4); 1 + (number as usize * 7) % 300]);
                let leaves: BTreeMap<_, _> = numbers.map(leaf).collect();
                let mut program = BpfProgram::new();
                find(&segments(&leaves), &mut program);
                for number in 0..300 {
                    let expected =
                        if leaves.contains_key(&number) { 1000 + number / 4 } else { libc::SECCOMP_RET_ALLOW };
                    assert_eq!(run(&program, number), expected, "{number} among {count} from {first}");
                }
            }
        }
    }

    /// A kernel without x32 says the same of its numbers, so that no process can tell.
    #[test]
    fn numbers_of_x32_are_not_there() {
        let arch = TargetArch::try_from(ARCH).unwrap();
        let program = compile(&Confinement::new()).unwrap().program;
        let of_a_number = &program[of_this_abi(arch).unwrap().len()..];
        let error = |error: i32| libc::SECCOMP_RET_ERRNO | error as u32;
        for number in [0, libc::SYS_execve, 520, libc::SYS_clone3, 0xffff] {
            assert_eq!(run(of_a_number, 0x4000_0000 | number as u32), error(libc::ENOSYS));
        }
        assert_eq!(run(of_a_number, u32::MAX), error(libc::ENOSYS));
        assert_eq!(run(of_a_number, libc::SYS_execve as u32), error(libc::EACCES));
        assert_eq!(run(of_a_number, libc::SYS_clone3 as u32), error(libc::ENOSYS));
        assert_eq!(run(of_a_number, libc::SYS_read as u32), libc::SECCOMP_RET_ALLOW);
    }

    #[test]
    fn neighbours_that_come_to_the_same_are_one_segment() {
        let leaves = [0, 1, 2, 5, 6, 9].map(|number| (number, vec![stop(7 + number / 9)]));
        let leaves = BTreeMap::from(leaves);
        let starts: Vec<u32> = segments(&leaves).into_iter().map(|(from, _)| from).collect();
        assert_eq!(starts, [0, 3, 5, 7, 9, 10]);
    }

    #[test]
    fn the_longest_filter_is_not_too_long() {
        let wish = Confinement::new().network(true).kill_on_violation();
        let length = compile(&wish).unwrap().program.len();
        // BPF_MAXINSNS.
        assert!(length < 4096, "{length}");
    }
}
