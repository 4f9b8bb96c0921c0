//! A program on another machine as a command of this one: ssh and srun, which carry its standard input, output and error.
//!
//! Both get one text for a POSIX shell on the far side. What the program is to be, its arguments, its environment and its
//! working directory are words in it, each quoted so that the shell changes nothing.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::Command;

/// A way to start programs on another machine, from [`ssh`] or [`srun`].
///
/// [`command`](Remote::command) gives what [`Pool::builder_with`](crate::Pool::builder_with) may start. A pool that keeps
/// its promises over connections that are lost is one of [`Site`](crate::Site)s.
///
/// ```no_run
/// # use hirelings::*;
/// # use std::process::Command;
/// let build1 = hirelings::ssh("build1").option("ProxyJump=gate");
/// let mut worker = Command::new("/opt/app/worker");
/// worker.arg("--quality=90").env("RUST_LOG", "info").current_dir("/var/tmp");
/// println!("{:?}", build1.command(&worker));
/// ```
#[derive(Clone, Debug)]
#[must_use = "it starts nothing by itself: give its command to a pool"]
pub struct Remote {
    carrier: Carrier,
    arguments: Vec<OsString>,
}

#[derive(Clone, Debug)]
enum Carrier {
    Ssh { host: OsString },
    Srun,
}

/// Programs on `host` (`build1`, `user@build1`), started over ssh.
///
/// There is no terminal, and ssh asks nothing: where it would want a password, it fails. So keys, or an agent, must be
/// there. A host that cannot be reached is given up after 10 s, and one that is gone is noticed after 15 s:
/// `ConnectTimeout=10`, `ServerAliveInterval=5`, `ServerAliveCountMax=3`; [`option`](Remote::option) overrides each.
/// The user's login shell over there must be a POSIX shell (sh, bash, dash, ksh, zsh).
///
/// ```no_run
/// # use std::process::Command;
/// let host = hirelings::ssh("user@build1").option("Port=2222").option("IdentityFile=/etc/app/key");
/// println!("{:?}", host.command(&Command::new("/opt/app/worker")));
/// ```
pub fn ssh(host: impl Into<OsString>) -> Remote {
    Remote { carrier: Carrier::Ssh { host: host.into() }, arguments: Vec::new() }
}

/// Programs wherever Slurm has room, each started as one task by `srun` with these options.
///
/// `srun` passes this process's environment on, as it always does. It is called with `--unbuffered`: without that it holds back
/// what a worker writes until a line ends, which in binary output may be never.
///
/// ```no_run
/// # use std::process::Command;
/// let cluster = hirelings::srun(["--partition=long", "--mem=2G", "--time=08:00:00"]);
/// println!("{:?}", cluster.command(&Command::new("/shared/app/worker")));
/// ```
pub fn srun(options: impl IntoIterator<Item = impl Into<OsString>>) -> Remote {
    Remote { carrier: Carrier::Srun, arguments: options.into_iter().map(Into::into).collect() }
}

impl Remote {
    /// An option: of ssh as in its configuration file (`"Port=2222"`, `"ProxyJump=gate"`, `"IdentityFile=/etc/app/key"`), which
    /// counts before that file and before what [`ssh`] sets itself; of srun as on its command line (`"--mem=2G"`).
    ///
    /// ```no_run
    /// let host = hirelings::ssh("build1").option("ProxyJump=gate").option("ServerAliveInterval=1");
    /// # let _ = host;
    /// ```
    pub fn option(self, option: impl AsRef<OsStr>) -> Self {
        match self.carrier {
            Carrier::Ssh { .. } => self.arg("-o").arg(option),
            Carrier::Srun => self.arg(option),
        }
    }

    /// An argument of ssh or srun itself, before those that are set here.
    ///
    /// ```no_run
    /// let host = hirelings::ssh("build1").arg("-p").arg("2222").arg("-4");
    /// # let _ = host;
    /// ```
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().into());
        self
    }

    /// The command of this machine that starts `worker` there, with its arguments, what it sets and removes of the
    /// environment, and its working directory, whatever characters these have.
    ///
    /// The path of the program and the directory are those of the far side; a program without a slash is looked for in the
    /// `PATH` there. Of the environment goes only what was set or removed with [`Command::env`] and
    /// [`Command::env_remove`]. What else a `Command` may have (a user, a `pre_exec`, an `env_clear`) cannot be asked of it
    /// and is not carried.
    ///
    /// ```no_run
    /// # use hirelings::*;
    /// # use std::process::Command;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Square(u64);
    /// # impl Job for Square { type Output = u64; type Progress = f32; type Error = String; }
    /// # fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let hosts = ["build1", "build2"].map(hirelings::ssh);
    /// let pool = Pool::<Square>::builder_with(move |slot| hosts[slot.index() % 2].command(&Command::new("worker")))
    ///     .max_processes(8)
    ///     .build()?;
    /// # Ok(()) }
    /// ```
    pub fn command(&self, worker: &Command) -> Command {
        let script = script(worker);
        match &self.carrier {
            Carrier::Ssh { host } => {
                let mut ssh = Command::new("ssh");
                // The first value that ssh is given for an option counts.
                ssh.args(&self.arguments).args(["-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10"]);
                ssh.args(["-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"]);
                ssh.args(["-o", "ClearAllForwardings=yes", "--"]).arg(host).arg(script);
                ssh
            }
            Carrier::Srun => {
                let mut srun = Command::new("srun");
                srun.args(["--ntasks=1", "--unbuffered"]).args(&self.arguments).args(["/bin/sh", "-c"]).arg(script);
                srun
            }
        }
    }

    /// What a site that is reached so is called, where it is given no name.
    pub(crate) fn place(&self) -> String {
        match &self.carrier {
            Carrier::Ssh { host } => host.to_string_lossy().into_owned(),
            Carrier::Srun => "slurm".into(),
        }
    }
}

/// What a shell is to do so that it becomes the program.
fn script(worker: &Command) -> OsString {
    let mut script = Vec::new();
    if let Some(folder) = worker.get_current_dir() {
        // With CDPATH, cd could go elsewhere and print where to.
        script.extend_from_slice(b"CDPATH= cd -- ");
        quote(folder.as_os_str(), &mut script);
        script.extend_from_slice(b" && ");
    }
    script.extend_from_slice(b"exec");
    let mut word = |text: &OsStr| {
        script.push(b' ');
        quote(text, &mut script);
    };
    let program = worker.get_program();
    if worker.get_envs().len() > 0 {
        // Not the shell's own assignment: a name may be none for a shell.
        word("env".as_ref());
        for (name, _) in worker.get_envs().filter(|(_, value)| value.is_none()) {
            word("-u".as_ref());
            word(name);
        }
        for (name, value) in worker.get_envs() {
            if let Some(value) = value {
                word(&OsString::from_vec([name.as_bytes(), b"=", value.as_bytes()].concat()));
            }
        }
        if program.as_bytes().contains(&b'=') {
            // To env that would be one more variable.
            ["sh", "-c", "exec \"$0\" \"$@\""].iter().for_each(|part| word(part.as_ref()));
        }
    }
    word(program);
    worker.get_args().for_each(word);
    OsString::from_vec(script)
}

/// Writes `text` as one word of a POSIX shell: as it is where no character of it means anything to a shell, else in single
/// quotes, within which only a single quote does.
fn quote(text: &OsStr, out: &mut Vec<u8>) {
    let text = text.as_bytes();
    let is_plain = |&byte: &u8| byte.is_ascii_alphanumeric() || b"_-./:=,+@%".contains(&byte);
    if !text.is_empty() && text.iter().all(is_plain) {
        return out.extend_from_slice(text);
    }
    out.push(b'\'');
    for &byte in text {
        match byte {
            b'\'' => out.extend_from_slice(br"'\''"),
            byte => out.push(byte),
        }
    }
    out.push(b'\'');
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    fn words(command: &Command) -> Vec<String> {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        words.map(|word| word.to_string_lossy().into_owned()).collect()
    }

    /// What a shell makes of the script: `printf` tells its arguments.
    #[allow(clippy::disallowed_methods)]
    fn said(worker: &Command) -> Vec<u8> {
        Command::new("/bin/sh").arg("-c").arg(script(worker)).output().unwrap().stdout
    }

    #[test]
    fn each_word_comes_through_a_shell_unchanged() {
        let odd = OsStr::from_bytes(b"\xff\xfe not UTF-8");
        let texts = [
            "",
            " ",
            "a b",
            "it's",
            "''",
            "$HOME",
            "`id`",
            "\\",
            "\n\n",
            "*",
            "!x",
            "-n",
            "ü",
            "~",
            "#",
            "a=b",
            "a;b&|<>()",
        ];
        let mut worker = Command::new("printf");
        worker.arg("%s\\0").args(texts).arg(odd);
        let mut expected: Vec<u8> = texts.iter().flat_map(|text| [text.as_bytes(), b"\0"].concat()).collect();
        expected.extend_from_slice(&[odd.as_bytes(), b"\0"].concat());
        assert_eq!(said(&worker), expected);
    }

    #[test]
    fn the_environment_and_the_folder_are_set() {
        let mut worker = Command::new("sh");
        worker.args(["-c", "pwd; env | grep A_odd; echo ${HOME-gone}"]);
        worker.env("A_odd", "it's $HOME\\").env_remove("HOME").current_dir("/usr/share");
        assert_eq!(said(&worker), b"/usr/share\nA_odd=it's $HOME\\\ngone\n");
    }

    #[test]
    fn a_program_that_looks_like_a_variable_is_started() {
        let mut worker = Command::new("/bin/no=such");
        worker.env("A", "b");
        let mut sh = Command::new("/bin/sh");
        sh.arg("-c").arg(script(&worker));
        #[allow(clippy::disallowed_methods)]
        let ended = sh.output().unwrap();
        assert!(String::from_utf8_lossy(&ended.stderr).contains("/bin/no=such"), "{ended:?}");
    }

    #[test]
    fn the_users_options_come_first() {
        let command = ssh("build1").option("ConnectTimeout=1").arg("-4").command(&Command::new("worker"));
        let words = words(&command);
        assert_eq!(words[..5], ["ssh", "-o", "ConnectTimeout=1", "-4", "-T"]);
        assert_eq!(words[words.len() - 3..], ["--", "build1", "exec worker"]);
        let command = srun(["--mem=1G"]).option("--time=1").command(&Command::new("worker"));
        assert_eq!(
            self::words(&command),
            ["srun", "--ntasks=1", "--unbuffered", "--mem=1G", "--time=1", "/bin/sh", "-c", "exec worker"]
        );
    }
}
