//! Files, by Landlock.

use crate::{ConfineError, ConfineErrorKind, Confinement};
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, PathFdError, RestrictSelfAttr, RestrictionStatus,
    Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use rustix::fs::{FileType, fstat};
use std::io;
use std::path::Path;

/// The rights that are taken away: those of the latest ABI that this was tested with, as far as they are for files.
const TESTED: ABI = ABI::V5;

/// What is open to every worker: what the kit, the standard library and backtraces read.
const ALWAYS: [&str; 5] = ["/dev/zero", "/dev/random", "/dev/urandom", "/proc/self/exe", "/proc/self"];

/// A path that is open to the confined, and how.
pub(crate) struct Opened {
    path: PathFd,
    is_file: bool,
    access: BitFlags<AccessFs>,
}

fn reading() -> BitFlags<AccessFs> {
    AccessFs::ReadFile | AccessFs::ReadDir
}

/// Not among them: devices, which root could make and open here, and commands to them.
fn writing() -> BitFlags<AccessFs> {
    reading()
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::MakeSym
        | AccessFs::MakeFifo
        | AccessFs::MakeSock
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir
        | AccessFs::Refer
}

/// Opens the paths, so that one that is not there is found before anything has changed.
pub(crate) fn open(wish: &Confinement) -> Result<Vec<Opened>, ConfineError> {
    // Reading does not include running.
    let read = if wish.spawn { reading() | AccessFs::Execute } else { reading() };
    let named = wish.read.iter().map(|path| (path, read)).chain(wish.write.iter().map(|path| (path, writing())));
    let mut opened = Vec::new();
    for (path, access) in named {
        let fail = |error| {
            ConfineError::of(ConfineErrorKind::Path, format_args!("{} cannot be opened", path.display()), error)
        };
        opened.push(open_one(path, access).map_err(fail)?);
    }
    // A system without one of these does without.
    opened.extend(ALWAYS.iter().filter_map(|path| open_one(path.as_ref(), reading()).ok()));
    opened.extend(open_one("/dev/null".as_ref(), reading() | AccessFs::WriteFile | AccessFs::Truncate));
    Ok(opened)
}

fn open_one(path: &Path, access: BitFlags<AccessFs>) -> io::Result<Opened> {
    let path = PathFd::new(path).map_err(|error| match error {
        PathFdError::OpenCall { source, .. } => source,
        other => io::Error::other(other),
    })?;
    let is_file = FileType::from_raw_mode(fstat(&path)?.st_mode) != FileType::Directory;
    Ok(Opened { path, is_file, access })
}

/// Confines this thread, or with `all_threads` every one.
pub(crate) fn confine(wish: &Confinement, opened: Vec<Opened>, all_threads: bool) -> Result<(), ConfineError> {
    let confined = restrict(wish, opened, all_threads);
    let status = confined.map_err(|error| ConfineError::of(ConfineErrorKind::System, "Landlock refuses", error))?;
    // The crate leaves out in silence what the kernel cannot do; what may be left out was decided before.
    if status.ruleset == RulesetStatus::NotEnforced || status.all_threads != all_threads {
        return Err(ConfineError::new(
            ConfineErrorKind::System,
            format!("Landlock has enforced less than this kernel can: {status:?}"),
        ));
    }
    Ok(())
}

fn restrict(wish: &Confinement, opened: Vec<Opened>, all_threads: bool) -> Result<RestrictionStatus, RulesetError> {
    let mut ruleset = Ruleset::default().handle_access(AccessFs::from_all(TESTED))?;
    if !wish.network {
        ruleset = ruleset.handle_access(AccessNet::BindTcp | AccessNet::ConnectTcp)?;
    }
    ruleset = ruleset.scope(Scope::AbstractUnixSocket)?;
    if !wish.outside_signals {
        ruleset = ruleset.scope(Scope::Signal)?;
    }
    let mut created = ruleset.create()?;
    for Opened { path, is_file, access } in opened {
        let access = if is_file { access & AccessFs::from_file(TESTED) } else { access };
        created = created.add_rule(PathBeneath::new(path, access))?;
    }
    if all_threads {
        created = created.all_threads(true)?;
    }
    created.restrict_self()
}
