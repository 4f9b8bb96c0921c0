//! The value of the environment variable that marks a worker of `self_exec`.

use rustix::fs::fstat;
use std::fmt;
use std::os::fd::AsFd;

/// What [`WORKER_MARK`](super::WORKER_MARK) holds: the job type, and the pipe that is the worker's standard input.
///
/// ```
/// use hirelings_worker_kit::wire::Mark;
///
/// let (input, _output) = std::io::pipe()?;
/// let mark = Mark::of("render/2", &input)?;
/// let read = Mark::read(&mark.to_string());
/// assert_eq!(read, mark);
/// assert!(read.is_of(&input));
/// // As `self_exec` sets it, before there is a pipe.
/// assert_eq!(Mark::read("render/2").pipe, None);
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The job type's name.
    pub name: String,
    /// Device and inode of the pipe; none until the pool completes the mark.
    pub pipe: Option<(u64, u64)>,
}

impl Mark {
    /// The mark of a worker of the job type called `name`, whose standard input is `input`.
    ///
    /// # Errors
    ///
    /// Where the system does not say which pipe `input` is.
    pub fn of(name: &str, input: impl AsFd) -> std::io::Result<Self> {
        Ok(Mark { name: name.to_owned(), pipe: Some(identity(input)?) })
    }

    /// Reads the variable's value.
    pub fn read(value: &str) -> Self {
        let completed = value.rsplit_once(" pipe:").and_then(|(name, pipe)| {
            let (device, inode) = pipe.split_once(':')?;
            let number = |digits| u64::from_str_radix(digits, 16).ok();
            Some(Mark { name: name.to_owned(), pipe: Some((number(device)?, number(inode)?)) })
        });
        completed.unwrap_or_else(|| Mark { name: value.to_owned(), pipe: None })
    }

    /// Whether `input` is the pipe.
    pub fn is_of(&self, input: impl AsFd) -> bool {
        self.pipe.is_some() && identity(input).ok() == self.pipe
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match self.pipe {
            Some((device, inode)) => write!(f, " pipe:{device:x}:{inode:x}"),
            None => Ok(()),
        }
    }
}

#[allow(clippy::useless_conversion, clippy::unnecessary_cast, reason = "their widths differ between systems")]
fn identity(input: impl AsFd) -> std::io::Result<(u64, u64)> {
    let stat = fstat(input)?;
    Ok((stat.st_dev as u64, stat.st_ino as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_comes_back() {
        for name in ["a::B", "a::Pair<(u8, u16)>", "pipe:1:2", "with pipe:in it", ""] {
            let mark = Mark { name: name.into(), pipe: Some((0xc, u64::MAX)) };
            assert_eq!(Mark::read(&mark.to_string()), mark);
            assert_eq!(Mark::read(name), Mark { name: name.into(), pipe: None });
        }
    }

    #[test]
    fn a_mark_is_of_its_own_pipe_only() {
        let (input, _output) = std::io::pipe().unwrap();
        let (other, _output) = std::io::pipe().unwrap();
        let mark = Mark::of("a::B", &input).unwrap();
        assert!(mark.is_of(&input) && mark.is_of(input.try_clone().unwrap()));
        assert!(!mark.is_of(&other));
        assert!(!mark.is_of(std::fs::File::open("/dev/null").unwrap()));
        assert!(!Mark::read("a::B").is_of(&input));
    }
}
