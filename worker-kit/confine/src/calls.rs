//! The deny-list: which system calls, and with which arguments.
//!
//! Numbers and masks are compared in the width that the kernel reads: a process id is 32 bits of a register whose other half
//! may hold anything.

use crate::Confinement;
use libc::{c_int, c_long};
use seccompiler::SeccompCmpArgLen::{Dword, Qword};
use seccompiler::SeccompCmpOp::{Eq, MaskedEq, Ne};
use seccompiler::{BackendError, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

/// One argument and what it must be like: its index, its width, the comparison, the value.
type Condition = (u8, SeccompCmpArgLen, SeccompCmpOp, u64);

/// A call that is denied: always, or where all conditions of one of the rules hold.
pub(crate) struct Denied {
    pub(crate) name: &'static str,
    pub(crate) number: c_long,
    rules: Vec<Vec<Condition>>,
}

impl Denied {
    pub(crate) fn rules(&self) -> Result<Vec<SeccompRule>, BackendError> {
        let rule = |conditions: &Vec<Condition>| {
            let conditions = conditions.iter().cloned();
            let conditions = conditions.map(|(index, len, op, value)| SeccompCondition::new(index, len, op, value));
            SeccompRule::new(conditions.collect::<Result<_, _>>()?)
        };
        self.rules.iter().map(rule).collect()
    }
}

/// Calls that are denied whatever their arguments are.
type Calls = &'static [(&'static str, c_long)];

/// By the names of their numbers in libc.
macro_rules! calls { ($($number:ident)*) => { &[$((stringify!($number), libc::$number)),*] } }

const ALWAYS: [Calls; 9] = [
    // Mode, owner, times and attributes, which Landlock leaves alone.
    calls! { SYS_fchmod SYS_fchmodat SYS_fchown SYS_fchownat SYS_utimensat SYS_setxattr SYS_lsetxattr SYS_fsetxattr
    SYS_removexattr SYS_lremovexattr SYS_fremovexattr },
    // Files by another way than a path, and the news of them.
    calls! { SYS_open_by_handle_at SYS_fanotify_init SYS_inotify_init1 SYS_chroot },
    // Other processes.
    calls! { SYS_ptrace SYS_process_vm_readv SYS_process_vm_writev SYS_process_madvise SYS_process_mrelease SYS_kcmp
    SYS_pidfd_getfd SYS_move_pages SYS_migrate_pages },
    // What the pool has set.
    calls! { SYS_setpriority SYS_ioprio_set SYS_sched_setaffinity SYS_sched_setscheduler SYS_sched_setparam
    SYS_sched_setattr },
    // System V IPC and message queues: no file, no socket, and they outlive the process.
    calls! { SYS_shmget SYS_shmat SYS_shmctl SYS_msgget SYS_msgsnd SYS_msgrcv SYS_msgctl SYS_semget SYS_semop
    SYS_semtimedop SYS_semctl SYS_mq_open SYS_mq_unlink },
    // Wide corners of the kernel.
    calls! { SYS_io_uring_setup SYS_io_uring_enter SYS_io_uring_register SYS_bpf SYS_perf_event_open SYS_userfaultfd
    SYS_keyctl SYS_add_key SYS_request_key },
    // Mounts and namespaces.
    calls! { SYS_mount SYS_umount2 SYS_pivot_root SYS_fsopen SYS_fsconfig SYS_fsmount SYS_fspick SYS_move_mount
    SYS_open_tree SYS_mount_setattr SYS_unshare SYS_setns },
    // What only root may: the machine.
    calls! { SYS_init_module SYS_finit_module SYS_delete_module SYS_kexec_load SYS_reboot SYS_swapon SYS_swapoff SYS_acct
    SYS_quotactl SYS_quotactl_fd SYS_syslog SYS_vhangup SYS_settimeofday SYS_clock_settime SYS_clock_adjtime SYS_adjtimex
    SYS_sethostname SYS_setdomainname },
    // Later than libc knows them for every system; since Linux 5.1 a new call has one number on all of them.
    &[
        ("kexec_file_load", KEXEC_FILE_LOAD),
        ("setrlimit", SETRLIMIT),
        ("fchmodat2", 452),
        ("setxattrat", 463),
        ("removexattrat", 466),
        ("open_tree_attr", 467),
        ("file_setattr", 469),
    ],
];

#[cfg(target_arch = "x86_64")]
const KEXEC_FILE_LOAD: c_long = libc::SYS_kexec_file_load;
#[cfg(target_arch = "x86_64")]
const SETRLIMIT: c_long = libc::SYS_setrlimit;
#[cfg(not(target_arch = "x86_64"))]
const KEXEC_FILE_LOAD: c_long = 294;
#[cfg(not(target_arch = "x86_64"))]
const SETRLIMIT: c_long = 164;

/// Calls that newer systems have never had.
#[cfg(target_arch = "x86_64")]
const OLD: Calls = calls! { SYS_chmod SYS_chown SYS_lchown SYS_utime SYS_utimes SYS_futimesat SYS_inotify_init SYS_iopl
SYS_ioperm SYS_modify_ldt };
#[cfg(not(target_arch = "x86_64"))]
const OLD: Calls = &[];

#[cfg(target_arch = "x86_64")]
const PROGRAMS: Calls = calls! { SYS_execve SYS_execveat SYS_fork SYS_vfork };
#[cfg(not(target_arch = "x86_64"))]
const PROGRAMS: Calls = calls! { SYS_execve SYS_execveat };

const PIDFD: Calls = calls! { SYS_pidfd_open SYS_pidfd_send_signal };

/// `fcntl` and `ioctl` by which a process has signals sent to another when there is something to read.
const F_SETOWN_EX: u64 = 15;
const F_SETSIG: u64 = 10;
const FIOSETOWN: u64 = 0x8901;
const SIOCSPGRP: u64 = 0x8902;
/// `ioctl` that types into a terminal, and the one of the console that does.
const TIOCSTI: u64 = 0x5412;
const TIOCLINUX: u64 = 0x541c;
/// `ioctl` that change a file's attributes, for which it need not be open to write.
const FS_IOC_SETFLAGS: u64 = 0x4008_6602;
const FS_IOC_FSSETXATTR: u64 = 0x401c_5820;
const SOCK_TYPE_MASK: u64 = 0xf;

/// All that `wish` denies, for the process of that number.
pub(crate) fn deny_list(wish: &Confinement, pid: c_int) -> Vec<Denied> {
    let mut list = Vec::new();
    let mut all = |calls: Calls| {
        list.extend(calls.iter().map(|&(name, number)| Denied {
            name: name.strip_prefix("SYS_").unwrap_or(name),
            number,
            rules: Vec::new(),
        }));
    };
    ALWAYS.into_iter().for_each(&mut all);
    all(OLD);
    if !wish.spawn {
        all(PROGRAMS);
    }
    if !wish.outside_signals {
        all(PIDFD);
    }
    list.push(clone(wish));
    list.extend(signals(wish, pid));
    list.push(fcntl(wish));
    list.push(ioctl(wish));
    list.extend(sockets(wish));
    // Another process's limits, and setting one's own: what the pool has set would be no limit to root.
    list.push(Denied {
        name: "prlimit64",
        number: libc::SYS_prlimit64,
        rules: vec![vec![not(0, 0), not(0, pid)], vec![(2, Qword, Ne, 0)]],
    });
    list
}

/// The name and number of each call that a confinement without exceptions denies, always or with some arguments.
pub fn denied_calls() -> Vec<(&'static str, c_long)> {
    deny_list(&Confinement::new(), 1).into_iter().map(|denied| (denied.name, denied.number)).collect()
}

/// An argument of 32 bits that is not this number.
fn not(index: u8, value: c_int) -> Condition {
    (index, Dword, Ne, u64::from(value.cast_unsigned()))
}

/// Namespaces always; processes, which is what has no CLONE_THREAD, with the programs. (The flags of clone3 are in memory,
/// where no filter sees them: it is not there at all, and the C library falls back to this one.)
fn clone(wish: &Confinement) -> Denied {
    let namespaces = [
        libc::CLONE_NEWNS,
        libc::CLONE_NEWCGROUP,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWNET,
    ];
    let flag = |flag: c_int, set: bool| {
        let flag = u64::from(flag.cast_unsigned());
        vec![(0, Dword, MaskedEq(flag), if set { flag } else { 0 })]
    };
    let mut rules: Vec<_> = namespaces.into_iter().map(|namespace| flag(namespace, true)).collect();
    if !wish.spawn {
        rules.push(flag(libc::CLONE_THREAD, false));
    }
    Denied { name: "clone", number: libc::SYS_clone, rules }
}

/// Signals to others. With programs of its own a process may signal numbers that are not known yet: what is outside is then
/// Landlock's to tell.
fn signals(wish: &Confinement, pid: c_int) -> Vec<Denied> {
    if wish.outside_signals || wish.spawn {
        return Vec::new();
    }
    let denied = |name, number, rules| Denied { name, number, rules };
    let others = || vec![vec![not(0, pid)]];
    vec![
        // The group that it leads, but not 0: the one that it is in now may be one that it has gone to, the pool's for example.
        denied("kill", libc::SYS_kill, vec![vec![not(0, pid), not(0, -pid)]]),
        denied("tgkill", libc::SYS_tgkill, others()),
        // Of threads only the first, whose number is the process's: that is how musl aborts.
        denied("tkill", libc::SYS_tkill, others()),
        denied("rt_sigqueueinfo", libc::SYS_rt_sigqueueinfo, others()),
        denied("rt_tgsigqueueinfo", libc::SYS_rt_tgsigqueueinfo, others()),
    ]
}

/// Leases, which keep others from opening a file, and news of folders; and the owner of a descriptor, by which a signal goes
/// to others without a call of its own.
fn fcntl(wish: &Confinement) -> Denied {
    let mut commands = vec![libc::F_SETLEASE as u64, libc::F_NOTIFY as u64];
    if !wish.outside_signals {
        commands.extend([libc::F_SETOWN as u64, F_SETOWN_EX, F_SETSIG]);
    }
    Denied { name: "fcntl", number: libc::SYS_fcntl, rules: of_commands(commands) }
}

fn ioctl(wish: &Confinement) -> Denied {
    let mut commands = vec![TIOCSTI, TIOCLINUX, FS_IOC_SETFLAGS, FS_IOC_FSSETXATTR];
    if !wish.outside_signals {
        commands.extend([FIOSETOWN, SIOCSPGRP]);
    }
    Denied { name: "ioctl", number: libc::SYS_ioctl, rules: of_commands(commands) }
}

/// One rule a command, which is the second argument and has 32 bits.
fn of_commands(commands: Vec<u64>) -> Vec<Vec<Condition>> {
    commands.into_iter().map(|command| vec![(1, Dword, Eq, command)]).collect()
}

/// Without a network: no socket but pairs of Unix sockets that stay connected, since one of datagrams may be sent anywhere.
/// With one: IPv4 and IPv6, no raw ones.
fn sockets(wish: &Confinement) -> [Denied; 2] {
    let kind = |kind: c_int| (1, Dword, MaskedEq(SOCK_TYPE_MASK), u64::from(kind.cast_unsigned()));
    // A raw Unix socket is one of datagrams by another name.
    let pair = vec![vec![not(0, libc::AF_UNIX)], vec![kind(libc::SOCK_DGRAM)], vec![kind(libc::SOCK_RAW)]];
    let socket = if wish.network {
        const SOCK_PACKET: c_int = 10;
        let other = vec![not(0, libc::AF_INET), not(0, libc::AF_INET6)];
        vec![other, vec![kind(libc::SOCK_RAW)], vec![kind(SOCK_PACKET)]]
    } else {
        Vec::new()
    };
    [
        Denied { name: "socket", number: libc::SYS_socket, rules: socket },
        Denied { name: "socketpair", number: libc::SYS_socketpair, rules: pair },
    ]
}
