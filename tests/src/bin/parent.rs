//! A program whose workers do all that can hold a process up; it says who they are, and then comes to the end that is its
//! first argument. The second is a gate that stays closed; `python` or `node`
//! behind it asks for workers of that kit, and `node woken` for some that are started by setpriv(1).

use hirelings::{Codec, Pool, Stderr};
use hirelings_tests::{Do, WATCHDOG, begun, eventually, processes, spawned};
use std::io::{Read, Write};
use std::process::{Command, abort, exit};
use std::{env, io, mem, process, thread};

fn main() {
    let mut arguments = env::args().skip(1);
    let end = arguments.next().expect("how to end");
    let gate = arguments.next().expect("a gate").into();
    let kind = arguments.next().unwrap_or_default();
    let mut command = Command::new("sh");
    // Neither a hang-up nor a polite request ends these workers.
    let line = "trap '' HUP TERM; exec \"$@\"";
    command.args(["-c", line, "sh"]);
    let node = concat!(env!("CARGO_MANIFEST_DIR"), "/workers/node/do.js");
    match kind.as_str() {
        "python" => command.args(["python3", concat!(env!("CARGO_MANIFEST_DIR"), "/workers/do.py")]),
        "node" => command.args(["node", node]),
        "node woken" => command.args(["setpriv", "--pdeathsig", "CONT", "node", node]),
        _ => command.arg(hirelings_tests::program("worker")),
    };
    // Those of other kits cannot be forked.
    let pool = match kind.as_str() {
        "" => hirelings_tests::builder::<Do>(command),
        _ => Pool::<Do>::builder(command).codec(Codec::Json),
    };
    let pool = pool.stderr(Stderr::Null).max_processes(6).timeout_working(None);
    let pool = pool.timeout_initializing(WATCHDOG).build().unwrap();
    pool.wait_ready(WATCHDOG).unwrap();
    let groups: Vec<u32> = pool.workers().iter().map(|worker| worker.pid).collect();

    let wait = Do::Wait(gate);
    let sleeper = "exec sleep 1000".to_owned();
    let (busy, _) = spawned(pool.request(Do::Then(vec![Do::Spawn(sleeper.clone()), Do::Spin])));
    let asleep = begun(pool.request(wait.clone()));
    let stop = Do::Run("kill -STOP $PPID".into());
    let (stopped, _) = spawned(pool.request(Do::Then(vec![Do::Spawn(sleeper), stop, wait.clone()])));
    let stopped_child = "kill -STOP $$; exec sleep 1000".to_owned();
    // And one with all that is in its group.
    let group = "kill -STOP 0".to_owned();
    let all_stopped = pool.request(Do::Then(vec![Do::Spawn("exec sleep 1000".into()), Do::Run(group)]));
    let (all_stopped, _) = spawned(all_stopped);
    let (holding, child) = spawned(pool.request(Do::Then(vec![Do::Spawn(stopped_child), wait])));
    eventually("two workers and a grandchild are stopped", || {
        let stopped = groups.iter().filter(|&&pid| processes::is_stopped(pid));
        stopped.count() == 2 && processes::is_stopped(child)
    });
    println!("{}", groups.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
    io::stdout().flush().expect("an output");
    // The test has looked at them and lets this program come to its end.
    let _ = io::stdin().read(&mut [0]);
    match end.as_str() {
        "wait" => loop {
            thread::park();
        },
        "abort" => abort(),
        "exit" => exit(0),
        "forget" => mem::forget(pool),
        "panic" => panic!("the end"),
        "return" => {}
        "kill itself" => processes::kill(process::id()),
        other => panic!("what is {other:?}?"),
    }
    drop((busy, asleep, stopped, all_stopped, holding));
}
