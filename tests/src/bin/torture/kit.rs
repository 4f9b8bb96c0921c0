//! Whose workers are tortured: this program's own, or those of the kit of another language.

use crate::deed::{Order, this_program};
use hirelings::{Codec, Pool, PoolBuilder, Stderr};

use rustix::process::getuid;
use std::env;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio, exit};
use std::sync::OnceLock;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kit {
    Rust,
    Python,
    Node,
}

/// What this program's other roles are told by.
pub const VARIABLE: &str = "HIRELINGS_TORTURE_KIT";
const INTERPRETER: &str = "HIRELINGS_TORTURE_INTERPRETER";

/// Who runs short of processes where this program is the superuser's, who does not feel that limit.
pub const STRANGER: u32 = 54_321;

static KIT: OnceLock<Kit> = OnceLock::new();

/// Says whose it is, once; gives whether there is such a kit.
pub fn choose(name: &str) -> bool {
    let kit = match name {
        "rust" => Kit::Rust,
        "python" => Kit::Python,
        "node" => Kit::Node,
        _ => return false,
    };
    KIT.set(kit).is_ok()
}

pub fn kit() -> Kit {
    *KIT.get_or_init(|| match env::var(VARIABLE).as_deref() {
        Ok("python") => Kit::Python,
        Ok("node") => Kit::Node,
        _ => Kit::Rust,
    })
}

impl Kit {
    pub fn name(self) -> &'static str {
        match self {
            Kit::Rust => "rust",
            Kit::Python => "python",
            Kit::Node => "node",
        }
    }

    /// How many processes each worker has.
    pub fn processes(self) -> usize {
        if self == Kit::Python { 2 } else { 1 }
    }

    /// So many times as long takes a start of a worker, more or less.
    pub fn slowness(self) -> u32 {
        if self == Kit::Rust { 1 } else { 5 }
    }

    fn script(self) -> &'static str {
        match self {
            Kit::Node => concat!(env!("CARGO_MANIFEST_DIR"), "/workers/torture.js"),
            _ => concat!(env!("CARGO_MANIFEST_DIR"), "/workers/torture.py"),
        }
    }

    /// Each can be found by the tag among its arguments.
    fn command(self, interpreter: &str, tag: &str) -> Command {
        let mut command = Command::new(interpreter);
        if self == Kit::Node {
            // Above the system's limit, so that it is the system that ends what overflows its stack.
            command.arg("--stack-size=1000000").env("NODE_OPTIONS", "--max-old-space-size=500");
        }
        command.args([self.script(), tag]);
        command.env("HIRELINGS_TORTURE_PROGRAM", env::current_exe().unwrap_or_default());
        command
    }
}

/// A pool of workers that have the tag among their arguments, by which they are found.
pub fn pool(tag: &str) -> PoolBuilder<Order> {
    let pool = match kit() {
        Kit::Rust => hirelings_tests::builder(this_program("worker", tag)),
        other => {
            let pool = Pool::<Order>::builder(other.command(interpreter(), tag)).codec(Codec::Json);
            // On a busy machine it takes more than the default to start several interpreters at once. Those that are stopped
            // as they start take a place for so long.
            pool.timeout_initializing(Duration::from_secs(15))
        }
    };
    pool.stderr(Stderr::Null)
}

/// The program that runs the kit's workers: where this is the superuser's program, one that the stranger may run as well,
/// if there is one.
pub fn interpreter() -> &'static str {
    static FOUND: OnceLock<String> = OnceLock::new();
    FOUND.get_or_init(|| {
        if let Ok(known) = env::var(INTERPRETER) {
            return known;
        }
        // The interpreters themselves: what is found by these names may be a script that looks for them, at each start.
        let (names, itself) = match kit() {
            Kit::Rust => return String::new(),
            Kit::Python => (["python3", "/usr/bin/python3"], ["-c", "import sys; print(sys.executable)"]),
            Kit::Node => (["node", "/usr/bin/node"], ["-p", "process.execPath"]),
        };
        let itself = |name| Command::new(name).args(itself).stderr(Stdio::null()).output().ok();
        let found = names.into_iter().filter_map(itself).filter(|output| output.status.success());
        let found: Vec<String> = found.map(|found| String::from_utf8_lossy(&found.stdout).trim().to_owned()).collect();
        let for_both = found.iter().position(|one| !getuid().is_root() || is_for_strangers(one));
        found.into_iter().nth(for_both.unwrap_or(0)).unwrap_or_else(|| {
            eprintln!("there is no {} here", kit().name());
            exit(2)
        })
    })
}

fn is_for_strangers(interpreter: &str) -> bool {
    let mut command = kit().command(interpreter, "--can-run");
    command.uid(STRANGER).gid(STRANGER).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Whether workers can run out of processes here.
pub fn feels_shortage() -> bool {
    static FEELS: OnceLock<bool> = OnceLock::new();
    *FEELS.get_or_init(|| kit() == Kit::Rust || !getuid().is_root() || is_for_strangers(interpreter()))
}

/// Tells another role of this program.
pub fn tell(command: &mut Command) {
    if kit() != Kit::Rust {
        command.env(VARIABLE, kit().name()).env(INTERPRETER, interpreter());
    }
}
