//! The worker.

use crate::attacks;
use hirelings_confine::{Confinement, Enforced};
use hirelings_tests::confined::{Layer, Outwit, Setup, Try};
use hirelings_tests::is_forked;
use hirelings_worker_kit::{BoxError, Context, Outcome, Worker};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, abort, exit, id};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::{fs, thread};

pub struct Confined {
    setup: Option<Setup>,
    enforced: Option<Enforced>,
    thread: Option<(Sender<PathBuf>, Receiver<String>)>,
}

impl Worker for Confined {
    type Job = Try;
    type Options = Setup;

    fn init(setup: Setup) -> Result<Self, BoxError> {
        let mut worker = Confined { setup: Some(setup), enforced: None, thread: None };
        // A fork server is not confined: it could not fork.
        if !is_forked() {
            worker.after_fork()?;
        }
        Ok(worker)
    }

    fn after_fork(&mut self) -> Result<(), BoxError> {
        let setup = self.setup.take().ok_or("it was set up before")?;
        self.thread = setup.thread_before.map(|_| thread_before());
        if setup.child_before {
            Command::new("true").status()?;
        }
        self.enforced = confine(&setup)?;
        Ok(())
    }

    fn run(&mut self, job: Try, ctx: &mut Context<Try>) -> Outcome<Try> {
        match job {
            Try::Enforced => Ok(format!("{:?}", self.enforced)),
            Try::ReadByThreadBefore(path) => {
                let (ask, answer) = self.thread.as_ref().ok_or("there is none")?;
                ask.send(path).map_err(text)?;
                answer.recv().map_err(text)
            }
            other => run(other, ctx),
        }
    }
}

/// Confines itself in main, before there is a pool to speak to. It may still do what is named.
pub fn early(may: &[&str]) -> ! {
    let confinement = Confinement::new().spawn(may.contains(&"spawn")).outside_signals(may.contains(&"signal"));
    let enforced = confinement.apply().unwrap();
    let mut worker = Confined { setup: None, enforced: Some(enforced), thread: None };
    hirelings_worker_kit::serve(move |job, ctx| worker.run(job, ctx))
}

fn confine(setup: &Setup) -> Result<Option<Enforced>, BoxError> {
    let confinement = Confinement::new().read(&setup.read).write(&setup.write);
    let best_effort = setup.thread_before == Some(true);
    let confinement = if best_effort { confinement.best_effort() } else { confinement };
    let confinement = match setup.layer {
        Layer::Without => return Ok(None),
        Layer::Confined => confinement,
        Layer::Killing => confinement.kill_on_violation(),
        Layer::NoLandlock => {
            hide_landlock();
            confinement.best_effort()
        }
        Layer::Refused => {
            hide_landlock();
            confinement
        }
        Layer::Spawning => confinement.spawn(true),
        Layer::Network => confinement.network(true),
        Layer::OutsideSignals => confinement.outside_signals(true),
    };
    Ok(Some(confinement.apply()?))
}

/// From here on this kernel says that Landlock is switched off.
fn hide_landlock() {
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter_all_threads};
    let rules = BTreeMap::from([(libc::SYS_landlock_create_ruleset, Vec::new())]);
    let action = SeccompAction::Errno(libc::EOPNOTSUPP as u32);
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, action, arch).unwrap();
    apply_filter_all_threads(&BpfProgram::try_from(filter).unwrap()).unwrap();
}

fn thread_before() -> (Sender<PathBuf>, Receiver<String>) {
    let (ask, asked) = channel::<PathBuf>();
    let (answer, answered) = channel();
    thread::spawn(move || {
        for path in asked {
            let outcome = fs::read(path).map(|_| "works".to_owned());
            answer.send(outcome.unwrap_or_else(|error| attacks::name_of(&error))).unwrap();
        }
    });
    (ask, answered)
}

fn run(job: Try, ctx: &mut Context<Try>) -> Outcome<Try> {
    match job {
        Try::Attack(name, target) => return Ok(attacks::outcome(&name, &target)),
        Try::Call(number, arguments) => return Ok(attacks::call(number, arguments)),
        Try::Call32(number) => return Ok(attacks::call32(number)),
        Try::Pid => {}
        Try::Progress => ctx.progress(&()),
        Try::Thread => return thread::spawn(|| id().to_string()).join().map_err(|_| "the thread panicked".into()),
        Try::Panic => panic!("told to"),
        Try::Abort => abort(),
        Try::Overflow => return Ok(deeper(1).to_string()),
        Try::Exit(code) => exit(code),
        Try::Retire => ctx.retire(),
        Try::Read(path) => return fs::read_to_string(path).map_err(text),
        Try::Write(path) => write_and_remove(&path).map_err(text)?,
        Try::Copy(from, to) => {
            let first = fs::copy(&from, &to).map(|_| "works".to_owned());
            let copied =
                fs::File::open(&from).and_then(|mut from| std::io::copy(&mut from, &mut fs::File::create(&to)?));
            copied.map_err(text)?;
            return Ok(first.unwrap_or_else(|error| attacks::name_of(&error)));
        }
        Try::Leak(bytes) => drop(std::hint::black_box(vec![1u8; bytes].leak())),
        Try::Spin => {
            ctx.progress(&());
            loop {
                std::hint::spin_loop();
            }
        }
        Try::Fork(count) => return Ok(attacks::fork(count)),
        Try::Run(program, arguments) => {
            let output = Command::new(program).args(arguments).output().map_err(text)?;
            return Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned());
        }
        Try::OutwitTheHandler(how) => return Ok(outwit(how)),
        Try::Enforced | Try::ReadByThreadBefore(_) => return Err("is answered elsewhere".into()),
    }
    Ok(id().to_string())
}

/// All that a folder to write allows.
fn write_and_remove(folder: &Path) -> std::io::Result<()> {
    let (inner, file) = (folder.join("inner"), folder.join("inner/file"));
    fs::create_dir(&inner)?;
    fs::write(&file, "text")?;
    fs::OpenOptions::new().append(true).open(&file)?.write_all(b" and more")?;
    fs::File::options().write(true).open(&file)?.set_len(4)?;
    let mut read = String::new();
    fs::File::open(&file)?.read_to_string(&mut read)?;
    assert_eq!(read, "text");
    // From one folder to another.
    fs::rename(&file, folder.join("file"))?;
    std::os::unix::fs::symlink("file", folder.join("link"))?;
    assert_eq!(fs::read_dir(folder)?.count(), 3);
    fs::remove_file(folder.join("link"))?;
    fs::remove_file(folder.join("file"))?;
    fs::remove_dir(inner)
}

extern "C" fn nothing(_: libc::c_int) {}

fn outwit(how: Outwit) -> String {
    // SAFETY: both structures are valid when they are all zeros, and both calls only read them.
    unsafe {
        match how {
            Outwit::Replace => {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = nothing as *const () as usize;
                libc::sigaction(libc::SIGSYS, &action, std::ptr::null_mut());
            }
            Outwit::Block => {
                let mut set: libc::sigset_t = std::mem::zeroed();
                libc::sigfillset(&mut set);
                libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
            }
        }
    }
    attacks::call(libc::SYS_socket, [1, 1, 0, 0, 0, 0])
}

#[allow(unconditional_recursion)]
fn deeper(depth: u64) -> u64 {
    let ballast = std::hint::black_box([depth; 128]);
    deeper(ballast[7] + 1) + ballast[9]
}

fn text(what: impl ToString) -> String {
    what.to_string()
}
