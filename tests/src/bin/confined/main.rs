//! A worker that confines itself and then does what an attacker would, by raw system calls; and, so that all of it can be
//! done by another user, the host of such workers.
#![cfg_attr(not(target_os = "linux"), allow(unused))]

#[cfg(target_os = "linux")]
mod attacks;
#[cfg(target_os = "linux")]
mod host;
#[cfg(target_os = "linux")]
mod worker;

#[cfg(target_os = "linux")]
fn main() {
    hirelings_tests::is_forked();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["worker"] => hirelings_worker_kit::serve_worker::<worker::Confined>(),
        ["early", ref may @ ..] => worker::early(may),
        ["host", user, what] => {
            host::become_user(user);
            host::run(what);
        }
        _ => panic!("confined worker | early [spawn] [signal] | host USER WHAT, not {arguments:?}"),
    }
}

#[cfg(not(target_os = "linux"))]
fn main() {}
