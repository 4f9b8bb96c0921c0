//! Pictures in, thumbnails out.

use crate::args::Args;
use crate::{Failures, Kind};
use image::{ImageFormat, RgbImage};
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The pictures of the command line, sorted. What cannot be read is told, and is a failure.
pub(crate) fn find(args: &Args, failures: &mut Failures) -> io::Result<Vec<PathBuf>> {
    let mut fail = |path: &Path, error: io::Error| {
        failures.insert(path.to_owned(), Kind::Unreadable);
        writeln!(io::stdout(), "{}: {error}", path.display())
    };
    let own = args.out.canonicalize().ok();
    let (mut found, mut folders) = (Vec::new(), Vec::new());
    for path in &args.paths {
        match fs::metadata(path) {
            Ok(kind) if kind.is_dir() => folders.push(path.clone()),
            Ok(_) => found.push(path.clone()),
            Err(error) => fail(path, error)?,
        }
    }
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        for entry in entries.or_else(|error| fail(&folder, error).map(|()| Vec::new()))? {
            let path = entry.path();
            // A link to a folder is not followed: it may lead back.
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                // What was made of earlier pictures is no picture to begin with.
                if path.canonicalize().ok() != own {
                    folders.push(path);
                }
            } else if ImageFormat::from_path(&path).is_ok_and(|format| format.reading_enabled()) {
                found.push(path);
            }
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// What a worker has to read: what the command line names, and what links among the pictures lead to.
pub(crate) fn to_read(args: &Args, samples: &Path, pictures: &[PathBuf]) -> Vec<OsString> {
    let named = if args.paths.is_empty() { vec![samples.to_owned()] } else { args.paths.clone() };
    let links = pictures.iter().filter(|picture| picture.is_symlink()).cloned();
    named.into_iter().chain(links).filter(|path| path.exists()).map(PathBuf::into_os_string).collect()
}

/// The picture's name, with a number: two folders may hold pictures of the same name.
pub(crate) fn thumbnail_name(n: usize, file: &Path) -> OsString {
    let mut name = OsString::from(format!("{n:04}-"));
    name.push(file.file_name().unwrap_or_default());
    name.push(".png");
    name
}

pub(crate) fn save(picture: &RgbImage, file: &Path) -> Result<(), String> {
    picture.save(file).map_err(|error| format!("cannot write {}: {error}", file.display()))
}
