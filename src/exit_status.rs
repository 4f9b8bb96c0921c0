//! Sentences about how a process ended.

use hirelings_worker_kit::wire;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// How a worker ended whose fork server could not tell.
pub(crate) const ORPHANED: &str =
    "ended, with a status that is not known (its fork server was gone before it, or stopped)";

/// How a worker ended that the pool did not end.
pub(crate) fn ended(status: Option<ExitStatus>) -> String {
    let killed = status.and_then(|status| status.signal()) == Some(rustix::process::Signal::KILL.as_raw());
    let hint = if killed { " (not by the pool; perhaps the OOM killer)" } else { "" };
    ended_somehow(status) + hint
}

/// The same, with the cause where the last lines of standard error name it.
pub(crate) fn ended_with(status: Option<ExitStatus>, stderr: &str) -> String {
    match forbidden_call(status, stderr) {
        Some(call) => format!("was killed by SIGSYS (a forbidden system call: {call})"),
        None => ended(status) + memory_hint(status, stderr),
    }
}

/// The system call that a confined worker died of, where its standard error names it.
pub(crate) fn forbidden_call(status: Option<ExitStatus>, stderr: &str) -> Option<&str> {
    if status?.signal()? != rustix::process::Signal::SYS.as_raw() {
        return None;
    }
    let call = stderr.lines().rev().find_map(|line| line.strip_prefix(wire::FORBIDDEN_CALL))?;
    let call = call.split(' ').next()?;
    // A worker may write anything.
    let is_name = call.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    (is_name && (1..=32).contains(&call.len())).then_some(call)
}

/// `was killed by SIGSEGV`, `exited with status 3`: by whomever.
pub(crate) fn ended_somehow(status: Option<ExitStatus>) -> String {
    match status {
        None => "ended, with a status that is not known (this program ignores SIGCHLD)".into(),
        Some(status) => match (status.signal(), status.code()) {
            (Some(signal), _) => {
                let core = if status.core_dumped() { ", with a core dump" } else { "" };
                format!("was killed by {}{core}", signal_name(signal))
            }
            (None, Some(code)) => format!("exited with status {code}"),
            (None, None) => format!("ended: {status}"),
        },
    }
}

fn signal_name(signal: i32) -> String {
    use rustix::process::Signal;
    const NAMES: [(Signal, &str); 16] = [
        (Signal::HUP, "SIGHUP"),
        (Signal::INT, "SIGINT"),
        (Signal::QUIT, "SIGQUIT"),
        (Signal::ILL, "SIGILL"),
        (Signal::TRAP, "SIGTRAP"),
        (Signal::ABORT, "SIGABRT"),
        (Signal::BUS, "SIGBUS"),
        (Signal::FPE, "SIGFPE"),
        (Signal::KILL, "SIGKILL"),
        (Signal::SEGV, "SIGSEGV"),
        (Signal::PIPE, "SIGPIPE"),
        (Signal::ALARM, "SIGALRM"),
        (Signal::TERM, "SIGTERM"),
        (Signal::XCPU, "SIGXCPU (over its limit of processor time)"),
        (Signal::XFSZ, "SIGXFSZ (over its limit of file size)"),
        (Signal::SYS, "SIGSYS (a forbidden system call)"),
    ];
    let known = NAMES.iter().find(|(known, _)| known.as_raw() == signal);
    match known {
        Some((_, name)) => (*name).into(),
        None => format!("signal {signal}"),
    }
}

/// A hint for a death that looks like a failed allocation, or nothing.
pub(crate) fn memory_hint(status: Option<ExitStatus>, stderr: &str) -> &'static str {
    // What the runtimes of Rust, C++, Go and the C library say before they abort.
    const MESSAGES: [&str; 5] =
        ["memory allocation of ", "bad_alloc", "out of memory", "Out of memory", "Cannot allocate memory"];
    let aborted = status.and_then(|status| status.signal()) == Some(rustix::process::Signal::ABORT.as_raw());
    let wants = aborted && MESSAGES.iter().any(|known| stderr.contains(known));
    if wants { " (probably for want of memory)" } else { "" }
}
