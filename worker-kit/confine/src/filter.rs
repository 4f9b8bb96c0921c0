//! The filters of system calls, made of the deny-list.

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

/// Filters that are ready to be installed.
pub(crate) struct Filters {
    programs: Vec<BpfProgram>,
    /// The calls to name, where they end the process.
    named: Option<Vec<(c_long, &'static str)>>,
}

/// Makes the filters for this process, or says why this system can have none.
pub(crate) fn compile(wish: &Confinement) -> Result<Filters, BackendError> {
    let arch = TargetArch::try_from(ARCH)?;
    let denied = deny_list(wish, process::id().cast_signed());
    // A filter has one action, so there are several.
    let action = if wish.kill_on_violation { SeccompAction::Trap } else { SeccompAction::Errno(libc::EACCES as u32) };
    let mut programs = vec![program(&denied, action, arch)?, not_implemented()];
    let named = wish.kill_on_violation.then(|| denied.iter().map(|denied| (denied.number, denied.name)).collect());
    if wish.kill_on_violation {
        programs.push(keep_the_handler(arch)?);
    }
    Ok(Filters { programs, named })
}

fn program(denied: &[Denied], action: SeccompAction, arch: TargetArch) -> Result<BpfProgram, BackendError> {
    let mut rules = BTreeMap::new();
    for denied in denied {
        rules.insert(denied.number, denied.rules()?);
    }
    SeccompFilter::new(rules, SeccompAction::Allow, action, arch)?.try_into()
}

/// Nobody sets another action for SIGSYS. The handler asks for it to die.
fn keep_the_handler(arch: TargetArch) -> Result<BpfProgram, BackendError> {
    let is_sigsys = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, libc::SIGSYS as u64)?;
    let rules = BTreeMap::from([(libc::SYS_rt_sigaction, vec![SeccompRule::new(vec![is_sigsys])?])]);
    SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::KillProcess, arch)?.try_into()
}

/// Calls that fail as on a kernel without them: clone3, whose flags no filter can see, and all of x32, by whose numbers a
/// deny-list could be gone round. The crate compares single numbers only, so this is by hand. Of which ABI a call is, the
/// other filters check.
fn not_implemented() -> BpfProgram {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const IF_AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    const X32: u32 = 0x4000_0000;
    vec![
        // The number of the call is the first thing of what a filter is given.
        sock_filter { code: LOAD, jt: 0, jf: 0, k: 0 },
        sock_filter { code: IF_EQUAL, jt: 1, jf: 0, k: libc::SYS_clone3 as u32 },
        sock_filter { code: IF_AT_LEAST, jt: 0, jf: 1, k: X32 },
        sock_filter { code: RETURN, jt: 0, jf: 0, k: libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32 },
        sock_filter { code: RETURN, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW },
    ]
}

impl Filters {
    /// Installs them in every thread of this process.
    pub(crate) fn install(self) -> Result<(), ConfineError> {
        if let Some(names) = self.named {
            let fail = |error| ConfineError::of(System, "the handler of SIGSYS cannot be set", error);
            raw::name_forbidden_calls(names).map_err(fail)?;
        }
        for program in &self.programs {
            let fail = |error| ConfineError::of(System, "the filter of system calls is refused", error);
            apply_filter_all_threads(program).map_err(fail)?;
        }
        Ok(())
    }
}
