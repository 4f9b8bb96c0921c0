//! The pool's side, as a program, so that another user can be it. Each line of its output is a name, a tab and an outcome.

use crate::attacks::ATTACKS;
use hirelings::{Crash, JobError, Limit, Limits, Pool, PoolBuilder, Stderr, self_exec};
use hirelings_tests::confined::{self, Layer, Setup, Target, Try};
use hirelings_tests::{WATCHDOG, settled};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::Duration;
use std::{env, fs};

/// The user whom nothing belongs to.
const NOBODY: u32 = 65534;

/// Becomes `nobody`, or stays who it is.
pub fn become_user(user: &str) {
    if user != "nobody" {
        return;
    }
    // SAFETY: these calls take numbers, and no thread has been started.
    unsafe {
        assert_eq!(libc::setgroups(0, std::ptr::null()), 0, "only root can become nobody");
        assert_eq!(libc::setgid(NOBODY), 0);
        assert_eq!(libc::setuid(NOBODY), 0);
        // Else `/proc/self` would still be root's, and with it the way to start this program once more.
        assert_eq!(libc::prctl(libc::PR_SET_DUMPABLE, 1), 0);
    }
}

/// `attacks LAYER`, `needs LAYER`, `hold LAYER` or `processes LAYER`.
pub fn run(what: &str) {
    let (what, layer) = what.split_once(' ').expect("what, and a layer");
    let layer = match layer {
        "without" => Layer::Without,
        "confined" => Layer::Confined,
        "killing" => Layer::Killing,
        "no-landlock" => Layer::NoLandlock,
        "spawning" => Layer::Spawning,
        _ => panic!("no layer {layer:?}"),
    };
    let base = Base::new();
    match what {
        "attacks" => attacks(layer, &base.0),
        "needs" => needs(layer, &base.0),
        "hold" => hold(layer, &base.0),
        "processes" => processes(layer, &base.0),
        _ => panic!("no {what:?}"),
    }
}

/// A folder of this process, gone in the end.
struct Base(PathBuf);

impl Base {
    fn new() -> Base {
        let base = env::temp_dir().join(format!("hirelings-confined-{}", std::process::id()));
        for folder in ["readable", "scratch"] {
            fs::create_dir_all(base.join(folder)).unwrap();
        }
        let file = base.join("readable/file");
        fs::write(&file, "readable").unwrap();
        fs::set_permissions(file, fs::Permissions::from_mode(0o755)).unwrap();
        Base(base)
    }
}

impl Drop for Base {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn setup(layer: Layer, base: &Path) -> Setup {
    Setup { read: vec![base.join("readable")], write: vec![base.join("scratch")], ..Setup::new(layer) }
}

fn pool(layer: Layer, base: &Path) -> PoolBuilder<Try> {
    let mut command: Command = self_exec::<Try>();
    command.arg("worker");
    Pool::<Try>::builder(command).options(&setup(layer, base)).stderr(Stderr::Null).max_processes(1).start_failures(1)
}

fn attacks(layer: Layer, base: &Path) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let _socket = UnixListener::bind(base.join("socket")).unwrap();
    let _datagrams = UnixDatagram::bind(base.join("datagrams")).unwrap();
    let (attackers, sibling) = (pool(layer, base).build().unwrap(), pool(layer, base).build().unwrap());
    let pid = |pool: &Pool<Try>| settled(pool.enqueue(Try::Pid)).unwrap();
    let sibling_pid = pid(&sibling);
    for (name, _) in ATTACKS {
        let target = Target {
            base: base.to_owned(),
            port: listener.local_addr().unwrap().port(),
            sibling: sibling_pid.parse().unwrap(),
            deadly: layer != Layer::Without,
        };
        let outcome = settled(attackers.enqueue(Try::Attack((*name).into(), target)));
        println!("{name}\t{}", outcome.unwrap_or_else(|error| error.to_string().replace('\n', " ")));
    }
    assert_eq!(pid(&sibling), sibling_pid, "the other worker was killed");
}

/// What a worker needs all the same.
fn needs(layer: Layer, base: &Path) {
    let pool = pool(layer, base).timeout_working(WATCHDOG).limits(Limits::new().address_space(2 << 30).core_size(0));
    let pool = pool.build().unwrap();
    let done = |job: Try| settled(pool.enqueue(job)).map_err(|error| error.to_string());
    let crash = |job: Try, expected: &dyn Fn(&Crash) -> bool| {
        let crash = confined::crash(&pool, &job);
        if expected(&crash) { Ok(()) } else { Err(crash.to_string()) }
    };
    let killed_by = |crash: &Crash, signal: i32| crash.status.and_then(|status| status.signal()) == Some(signal);
    let say = |name: &str, outcome: Result<(), String>| {
        println!("{name}\t{}", outcome.map_or_else(|why| why.replace('\n', " "), |()| "works".into()));
    };

    say("a job", done(Try::Pid).map(drop));
    say("progress", {
        let (told, tells) = channel();
        let handle = pool.request(Try::Progress).on_progress(move |()| told.send(()).unwrap()).enqueue();
        settled(handle).map_err(|error| error.to_string()).and_then(|_| tells.recv_timeout(WATCHDOG).map_err(text))
    });
    say("a thread", done(Try::Thread).map(drop));
    say(
        "a panic, with a backtrace that has names",
        match settled(pool.enqueue(Try::Panic)) {
            Err(JobError::Panicked(panic)) if panic.backtrace.as_deref().unwrap_or("").contains("confined::worker") => {
                Ok(())
            }
            other => Err(format!("{other:?}")),
        },
    );
    say("an abort", crash(Try::Abort, &|crash| killed_by(crash, libc::SIGABRT)));
    say(
        "a stack that overflows, told apart",
        crash(Try::Overflow, &|crash| {
            killed_by(crash, libc::SIGABRT) && crash.stderr.contains("has overflowed its stack")
        }),
    );
    say("an exit", crash(Try::Exit(3), &|crash| crash.status.and_then(|status| status.code()) == Some(3)));
    say("a limit of memory", crash(Try::Leak(3 << 30), &|crash| crash.limit() == Some(Limit::AddressSpace)));
    say(
        "a limit of time",
        match settled(pool.request(Try::Spin).timeout(Duration::from_millis(50)).enqueue()) {
            Err(JobError::TimedOut(_)) => Ok(()),
            other => Err(format!("{other:?}")),
        },
    );
    say(
        "retiring",
        done(Try::Retire).and_then(|before| {
            let after = done(Try::Pid)?;
            if before == after { Err("the same process went on".into()) } else { Ok(()) }
        }),
    );
    say(
        "reading what it may read",
        done(Try::Read(base.join("readable/file"))).and_then(
            |read| {
                if read == "readable" { Ok(()) } else { Err(read) }
            },
        ),
    );
    say("everything in a folder to write", done(Try::Write(base.join("scratch"))).map(drop));
}

/// Holds a worker busy until this process is killed; says who the worker and its child are.
fn hold(layer: Layer, base: &Path) {
    let mut setup = setup(layer, base);
    if layer == Layer::Spawning {
        setup
            .read
            .extend(["/usr", "/lib", "/lib64", "/bin"].map(PathBuf::from).into_iter().filter(|path| path.exists()));
    }
    let pool = pool(layer, base).options(&setup).timeout_working(None).build().unwrap();
    println!("worker\t{}", settled(pool.enqueue(Try::Pid)).unwrap());
    let job = if layer == Layer::Spawning { Try::Run("sleep".into(), vec!["1000".into()]) } else { Try::Spin };
    let _ = pool.enqueue(job).wait();
}

/// What a limit of 200 processes is to a worker that wants 400.
fn processes(layer: Layer, base: &Path) {
    let pool = pool(layer, base).limits(Limits::new().processes(200)).build().unwrap();
    println!("forked\t{}", settled(pool.enqueue(Try::Fork(400))).unwrap());
}

fn text(what: impl ToString) -> String {
    what.to_string()
}
