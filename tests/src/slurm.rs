//! A Slurm cluster of a test's own: `munged`, `slurmctld` and `slurmd`, with one node of 64 processors, as far as Slurm knows.
//!
//! It has a key, files and ports of its own, needs no root and no cgroups, and ends with the process that started it.

use crate::{Scratch, eventually, processes, within};
use std::fs;
use std::io::{self, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// What has to be installed: Debian's `slurm-wlm` and `munge`.
const PROGRAMS: [&str; 6] = ["munged", "slurmctld", "slurmd", "srun", "squeue", "scancel"];

/// How long a cluster waits for its steps when it ends.
const GRACE: Duration = Duration::from_secs(5);

/// A cluster that is up. It ends when this is dropped.
#[derive(Debug)]
pub struct Cluster {
    folder: PathBuf,
    keeper: Child,
}

/// Has a process find a cluster: for [`alone!`](crate::alone!). `None` where Slurm is not installed, which is said.
///
/// # Panics
///
/// Where it is not installed and nothing is to be skipped; where it is installed and does not come up, with its logs.
pub fn cluster(command: &mut Command) -> Option<Cluster> {
    if let Some(missing) = PROGRAMS.iter().find(|program| path_of(program).is_none()) {
        assert!(std::env::var_os("HIRELINGS_SKIP_NOTHING").is_none(), "there is no {missing}: run .ci/setup tests");
        // Past the harness, which keeps what a test prints to itself.
        let _ = writeln!(io::stderr(), "skipped: a test of Slurm, since there is no {missing} on this machine");
        return None;
    }
    let cluster = Cluster::start();
    command.env("SLURM_CONF", cluster.conf());
    Some(cluster)
}

/// The steps that the cluster which `SLURM_CONF` names is at.
///
/// # Panics
///
/// Where it does not answer.
pub fn steps() -> Vec<String> {
    steps_of(Path::new(&std::env::var_os("SLURM_CONF").expect("a cluster")))
}

fn steps_of(conf: &Path) -> Vec<String> {
    let mut squeue = Command::new("squeue");
    let said = squeue.args(["--noheader", "--steps", "--format=%i"]).env("SLURM_CONF", conf).output().expect("squeue");
    let said = String::from_utf8_lossy(&said.stdout);
    said.lines().filter(|step| step.ends_with(".0")).map(str::to_owned).collect()
}

fn path_of(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Daemons lie where users do not look for them.
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// Starts the daemons, and ends them once its standard input has ended: so they outlive nobody.
const KEEPER: &str = "
    folder=$1
    # It returns once its socket is there.
    \"$2\" --key-file=$folder/key --socket=$folder/socket --pid-file=$folder/munged.pid \\
        --log-file=$folder/munged.log --seed-file=$folder/seed || exit
    \"$3\" -D -f $folder/slurm.conf & controller=$!
    \"$4\" -D -f $folder/slurm.conf -N node & node=$!
    read -r _
    # slurmd would wait for its steps.
    kill -KILL $node $controller $(cat $folder/munged.pid)
    wait
";

impl Cluster {
    fn start() -> Self {
        let folder = Scratch::new().path();
        fs::create_dir(&folder).expect("a folder in the temporary folder");
        // munged refuses a folder that others may write to.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("it is ours");
        for part in ["state", "spool"] {
            fs::create_dir(folder.join(part)).expect("a folder in our own");
        }
        let mut key = vec![0; 128];
        io::Read::read_exact(&mut fs::File::open("/dev/urandom").expect("random bytes"), &mut key)
            .expect("128 of them");
        fs::write(folder.join("key"), key).expect("a file in our folder");
        fs::set_permissions(folder.join("key"), fs::Permissions::from_mode(0o600)).expect("it is ours");
        fs::write(folder.join("slurm.conf"), configuration(&folder)).expect("a file in our folder");
        // The oldest plug-in does nothing where nobody asks for cgroups, and no version of Slurm does without one.
        fs::write(folder.join("cgroup.conf"), "CgroupPlugin=cgroup/v1\n").expect("a file in our folder");

        let log = fs::File::create(folder.join("daemons.log")).expect("a file in our folder");
        let errors = log.try_clone().expect("a descriptor");
        let daemons = ["munged", "slurmctld", "slurmd"].map(|program| path_of(program).expect("it is installed"));
        let mut keeper = Command::new("/bin/sh");
        keeper.args(["-c", KEEPER, "keeper"]).arg(&folder).args(daemons);
        let keeper = keeper.stdin(Stdio::piped()).stdout(log).stderr(errors).spawn().expect("a shell");
        let cluster = Cluster { folder, keeper };
        eventually(&format!("the cluster in {} is up", cluster.folder.display()), || cluster.is_up());
        cluster
    }

    /// Its configuration, to which `SLURM_CONF` points those who use it.
    pub fn conf(&self) -> PathBuf {
        self.folder.join("slurm.conf")
    }

    fn is_up(&self) -> bool {
        let mut sinfo = Command::new("sinfo");
        let said = sinfo.args(["--noheader", "--format=%T"]).env("SLURM_CONF", self.conf()).output();
        said.is_ok_and(|said| said.stdout == b"idle\n")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.folder.join("daemons.log")).unwrap_or_default();
            let _ = writeln!(io::stderr(), "the daemons of Slurm said:\n{log}");
        }
        // What Slurm still runs has inherited the variable, and ends the steps with it while there is somebody to tell.
        let tasks = || processes::with_variable("SLURM_CONF", &self.conf().to_string_lossy());
        tasks().into_iter().for_each(processes::kill);
        within(GRACE, || tasks().is_empty() && steps_of(&self.conf()).is_empty());
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Two ports that nobody had a moment ago.
fn ports() -> [u16; 2] {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
    listeners.map(|listener| listener.local_addr().expect("its address").port())
}

fn configuration(folder: &Path) -> String {
    let folder = folder.display();
    let name = fs::read_to_string("/proc/sys/kernel/hostname").expect("the name of this machine");
    let host = name.trim().split('.').next().unwrap_or_default();
    let [controller, node] = ports();
    let user = rustix::process::getuid().as_raw();
    format!(
        "ClusterName=hirelings
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
MailProg=/bin/true
KillWait=2
SlurmdParameters=config_overrides
NodeName=node NodeHostname={host} NodeAddr=127.0.0.1 CPUs=64
PartitionName=all Nodes=node Default=YES
"
    )
}
