//! Workers that confine themselves, and what they try. The tables are those of `docs/hostile-input.md`.
#![cfg(target_os = "linux")]

use hirelings::{JobError, Limits, Pool, Stderr};
use hirelings_tests::confined::{Host, Layer, Outwit, Setup, Target, Try, crash, host, pool, users, worker};
use hirelings_tests::processes::{is_alive, kill};
use hirelings_tests::{Do, Scratch, WATCHDOG, eventually, program, settled};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// The rows of the page's tables whose first column is called so.
fn rows(first: &str) -> Vec<[String; 4]> {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/hostile-input.md")).unwrap();
    let rows = |table: &str| -> Vec<[String; 4]> {
        let lines = table.lines().skip(1).take_while(|line| line.starts_with('|'));
        let cells =
            |line: &str| line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
        lines.map(|line| cells(line).try_into().unwrap_or_else(|_| panic!("{line}: four cells"))).collect()
    };
    let header = format!("| {first} | without | confined | no Landlock |\n");
    let tables: Vec<_> = page.split(&header).skip(1).flat_map(rows).collect();
    assert!(!tables.is_empty(), "the page has no table of what {first}");
    tables
}

/// What an unconfined worker may is the system's to say: one that allows less is no failure.
fn holds(user: &str, name: &str, is: &str, expected: &str) {
    if expected == "works" && ["EPERM", "ENOSYS", "EACCES"].contains(&is) {
        eprintln!("NOT SEEN: without a confinement, {user} could {name} elsewhere; here it is {is}");
    } else {
        assert_eq!(is, expected, "without a confinement, {user}: {name}");
    }
}

#[test]
fn each_attack_comes_to_what_the_page_says() {
    let (of_all, of_root) = (rows("a worker tries to"), rows("a worker of root tries to"));
    for user in users() {
        let outcomes = ["without", "confined", "no-landlock"].map(|layer| host(user, &format!("attacks {layer}")));
        assert_eq!(outcomes[0].len(), of_all.len() + of_root.len(), "each attack has a row");
        for [name, without, confined, no_landlock] in &of_all {
            let [is_without, is_confined, is_no_landlock] = outcomes.each_ref().map(|of| of[name].as_str());
            holds(user, name, is_without, without);
            assert_eq!(is_confined, confined, "confined, {user}: {name}");
            assert_eq!(is_no_landlock, no_landlock, "without Landlock, {user}: {name}");
        }
        for [name, without, confined, no_landlock] in &of_root {
            let [is_without, is_confined, is_no_landlock] = outcomes.each_ref().map(|of| of[name].as_str());
            assert_eq!(is_confined, confined, "confined, {user}: {name}");
            if user == "root" {
                holds(user, name, is_without, without);
                assert_eq!(is_no_landlock, no_landlock, "without Landlock, {user}: {name}");
            } else {
                assert!(is_without != "works" && is_no_landlock != "works", "{user}: {name}");
            }
        }
    }
}

#[test]
fn what_a_worker_needs_works_however_it_is_confined() {
    for user in users() {
        for layer in ["without", "confined", "killing", "no-landlock"] {
            let needs = host(user, &format!("needs {layer}"));
            assert_eq!(needs.len(), 12);
            for (name, outcome) in needs {
                assert_eq!(outcome, "works", "{layer}, {user}: {name}");
            }
        }
    }
}

/// Starts a host whose worker is busy, and gives it, its process and the worker's number.
fn holding(user: &str, layer: &str) -> (Host, Child, u32) {
    let mut host = Host::new(user, &format!("hold {layer}"));
    let mut process = host.command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let (_, worker) = line.trim().split_once('\t').unwrap();
    (host, process, worker.parse().unwrap())
}

#[test]
fn nobody_is_left_when_the_pool_is_killed() {
    for user in users() {
        for layer in ["confined", "killing", "no-landlock", "spawning"] {
            let (_host, mut process, worker) = holding(user, layer);
            // One that may run programs has run one, which is in its group.
            let members = if layer == "spawning" { 2 } else { 1 };
            let group = || hirelings_tests::processes::of_group(worker);
            eventually("the worker is busy", || group().len() == members);
            kill(process.id());
            process.wait().unwrap();
            eventually("the worker and its group end", || group().is_empty() && !is_alive(worker));
        }
    }
}

#[test]
fn a_limit_of_processes_does_not_hold_root() {
    for user in users() {
        let outcome = &host(user, "processes without")["forked"];
        let (forked, why) = outcome.split_once(' ').unwrap();
        match user {
            "root" => assert_eq!(outcome, "400 no error"),
            _ => assert!(why == "EAGAIN" && forked.parse::<u32>().unwrap() < 200, "{outcome}"),
        }
    }
}

// ---------------------------------------------------------------- system calls, one by one

/// What the list must hold, by other words than its own: what each call is denied for.
const DENIED: &str = "
    fchmod fchmodat fchmodat2 fchown fchownat utimensat setxattr lsetxattr fsetxattr setxattrat removexattr lremovexattr
    fremovexattr removexattrat file_setattr open_by_handle_at fanotify_init inotify_init1 chroot ptrace process_vm_readv
    process_vm_writev process_madvise process_mrelease kcmp pidfd_getfd pidfd_open pidfd_send_signal move_pages
    migrate_pages setpriority ioprio_set sched_setaffinity sched_setscheduler sched_setparam sched_setattr setrlimit
    prlimit64 shmget shmat shmctl msgget msgsnd msgrcv msgctl semget semop semtimedop semctl mq_open mq_unlink
    io_uring_setup io_uring_enter io_uring_register bpf perf_event_open userfaultfd keyctl add_key request_key mount umount2
    pivot_root fsopen fsconfig fsmount fspick move_mount open_tree open_tree_attr mount_setattr unshare setns init_module
    finit_module delete_module kexec_load kexec_file_load reboot swapon swapoff acct quotactl quotactl_fd syslog vhangup
    settimeofday clock_settime clock_adjtime adjtimex sethostname setdomainname execve execveat clone fcntl kill tgkill tkill
    rt_sigqueueinfo rt_tgsigqueueinfo ioctl socket socketpair";
const DENIED_ON_X86: &str = "chmod chown lchown utime utimes futimesat inotify_init iopl ioperm modify_ldt fork vfork";

/// Arguments that make no sense, so that a call that is let through does nothing.
const NONSENSE: [u64; 6] = [u64::MAX; 6];

/// The calls that are denied with these arguments.
fn denied_calls() -> Vec<(&'static str, i64, [u64; 6])> {
    let with = |name: &str| match name {
        // Signals to a process that there is not.
        "kill" | "tgkill" | "tkill" | "rt_sigqueueinfo" | "rt_tgsigqueueinfo" => [0x3fff_fff0, 0, 0, 0, 0, 0],
        "clone" => [libc::SIGCHLD as u64, 0, 0, 0, 0, 0],
        "fcntl" => [0, libc::F_SETOWN as u64, 0, 0, 0, 0],
        "ioctl" => [0, libc::TIOCSTI, 0, 0, 0, 0],
        "socket" => [libc::AF_INET as u64, libc::SOCK_STREAM as u64, 0, 0, 0, 0],
        "prlimit64" => [0x3fff_fff0, 0, 0, 0, 0, 0],
        _ => NONSENSE,
    };
    hirelings_confine::denied_calls().into_iter().map(|(name, number)| (name, number, with(name))).collect()
}

fn confined() -> Pool<Try> {
    pool(&Setup::new(Layer::Confined)).build().unwrap()
}

#[test]
fn the_deny_list_is_what_it_should_be() {
    let mut listed: Vec<_> = hirelings_confine::denied_calls().into_iter().map(|(name, _)| name).collect();
    let old = if cfg!(target_arch = "x86_64") { DENIED_ON_X86 } else { "" };
    let mut expected: Vec<_> = DENIED.split_whitespace().chain(old.split_whitespace()).collect();
    listed.sort_unstable();
    expected.sort_unstable();
    assert_eq!(listed, expected);
}

#[test]
fn each_call_of_the_deny_list_is_refused() {
    let pool = confined();
    for (name, number, arguments) in denied_calls() {
        let outcome = settled(pool.enqueue(Try::Call(number, arguments))).unwrap();
        assert_eq!(outcome, "EACCES", "{name} ({number})");
    }
    assert_eq!(settled(pool.enqueue(Try::Call(libc::SYS_clone3, [0, 0, 0, 0, 0, 0]))).unwrap(), "ENOSYS");
}

#[test]
fn kill_on_violation_names_each_call_of_the_list() {
    let pool = pool(&Setup::new(Layer::Killing)).start_failures(5).build().unwrap();
    for (name, number, arguments) in denied_calls() {
        let crash = crash(&pool, &Try::Call(number, arguments));
        assert_eq!(crash.forbidden_call(), Some(name), "{crash}");
        let sentence = format!("was killed by SIGSYS (a forbidden system call: {name}) while it did job");
        assert!(crash.to_string().contains(&sentence), "{crash}");
    }
}

#[test]
fn a_worker_that_may_start_no_process_exits_by_itself() {
    // One that has had a child ends its group as it exits, with calls that are forbidden by then.
    let pool = pool(&Setup { child_before: true, ..Setup::new(Layer::Killing) }).build().unwrap();
    let crash = crash(&pool, &Try::Exit(3));
    let status = crash.status.and_then(|status| status.code());
    assert_eq!((status, crash.forbidden_call()), (Some(3), None), "{crash}");
}

#[test]
fn numbers_that_are_almost_right_are_told_apart() {
    let pool = confined();
    let pid: u64 = settled(pool.enqueue(Try::Pid)).unwrap().parse().unwrap();
    let parent = u64::from(std::process::id());
    let high = 1 << 32;
    let minus = |pid: u64| u64::from((pid as u32).wrapping_neg());
    let (thread, unix) = (libc::CLONE_THREAD as u64, libc::AF_UNIX as u64);
    let (stream, datagram, raw) = (libc::SOCK_STREAM as u64, libc::SOCK_DGRAM as u64, libc::SOCK_RAW as u64);
    let cloexec = libc::SOCK_CLOEXEC as u64;
    for (number, [first, second, third], expected) in [
        // Itself, by its number and as the leader of its group; the upper half of the register is not looked at.
        (libc::SYS_kill, [pid, 0, 0], "0"),
        (libc::SYS_kill, [pid | high, 0, 0], "0"),
        (libc::SYS_kill, [minus(pid), 0, 0], "0"),
        (libc::SYS_kill, [parent, 0, 0], "EACCES"),
        (libc::SYS_kill, [parent | high, 0, 0], "EACCES"),
        (libc::SYS_kill, [minus(parent), 0, 0], "EACCES"),
        (libc::SYS_kill, [minus(1), 0, 0], "EACCES"),
        (libc::SYS_kill, [0, 0, 0], "EACCES"),
        (libc::SYS_tgkill, [pid, pid, 0], "0"),
        (libc::SYS_tgkill, [parent, parent, 0], "EACCES"),
        (libc::SYS_tkill, [pid, 0, 0], "0"),
        (libc::SYS_tkill, [parent, 0, 0], "EACCES"),
        // A process is what has no CLONE_THREAD. (A thread needs other flags as well, without which it makes no sense.)
        (libc::SYS_clone, [thread, 0, 0], "Invalid argument (os error 22)"),
        (libc::SYS_clone, [thread << 32, 0, 0], "EACCES"),
        (libc::SYS_clone, [thread | libc::CLONE_NEWNET as u64, 0, 0], "EACCES"),
        (libc::SYS_clone, [thread | libc::CLONE_NEWNS as u64 | high, 0, 0], "EACCES"),
        // Reading its own limits, not setting them, not reading another's.
        (libc::SYS_prlimit64, [0, 7, 0], "0"),
        (libc::SYS_prlimit64, [pid, 7, 0], "0"),
        (libc::SYS_prlimit64, [0, 7, high], "EACCES"),
        (libc::SYS_prlimit64, [parent, 7, 0], "EACCES"),
        // A pair that stays connected has nowhere to be stored here: it was allowed.
        (libc::SYS_socketpair, [unix, stream | cloexec, 0], "Bad address (os error 14)"),
        (libc::SYS_socketpair, [unix, datagram | cloexec, 0], "EACCES"),
        (libc::SYS_socketpair, [unix, raw, 0], "EACCES"),
        (libc::SYS_socketpair, [unix | high, datagram | high, 0], "EACCES"),
        // Commands are 32 bits too.
        (libc::SYS_ioctl, [0, libc::TIOCSTI | high, 0], "EACCES"),
        (libc::SYS_ioctl, [0, 0x541c, 0], "EACCES"),
        (libc::SYS_ioctl, [0, 0x8901, 0], "EACCES"),
        (libc::SYS_ioctl, [0, 0x8902, 0], "EACCES"),
        (libc::SYS_ioctl, [0, 0x4008_6602, 0], "EACCES"),
        (libc::SYS_ioctl, [0, 0x401c_5820, 0], "EACCES"),
        (libc::SYS_fcntl, [0, libc::F_SETOWN as u64 | high, 0], "EACCES"),
        (libc::SYS_fcntl, [0, libc::F_SETLEASE as u64, 0], "EACCES"),
        (libc::SYS_fcntl, [0, libc::F_NOTIFY as u64, 0], "EACCES"),
        (libc::SYS_fcntl, [0, 15, 0], "EACCES"),
        (libc::SYS_fcntl, [0, 10, 0], "EACCES"),
        (libc::SYS_fcntl, [0, libc::F_GETFD as u64, 0], "0"),
    ] {
        let outcome = settled(pool.enqueue(Try::Call(number, [first, second, third, 0, 0, 0]))).unwrap();
        assert_eq!(outcome, expected, "call {number} with {first:#x}, {second:#x}, {third:#x}");
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn the_processors_other_calls_are_no_way_round() {
    let pool = confined();
    // fork by x32: as on a kernel without it.
    assert_eq!(settled(pool.enqueue(Try::Call(0x4000_0000 | 57, [0; 6]))).unwrap(), "ENOSYS");
    assert_eq!(settled(pool.enqueue(Try::Call(0x4000_0000 | 520, [0; 6]))).unwrap(), "ENOSYS");
    // getpid by the numbers of 32 bits. Without a confinement it works, where the kernel has them.
    let crash = crash(&pool, &Try::Call32(20));
    let free =
        Pool::<Try>::builder(worker()).options(&Setup::new(Layer::Without)).stderr(Stderr::Null).build().unwrap();
    let signal = crash.status.and_then(|status| status.signal());
    match settled(free.enqueue(Try::Call32(20))) {
        Ok(_) => assert_eq!(signal, Some(libc::SIGSYS), "{crash}"),
        Err(_) => eprintln!("NOT SEEN: this kernel has no calls of 32 bits; the worker died of signal {signal:?}"),
    }
}

#[test]
fn the_handler_that_names_calls_cannot_be_evaded() {
    let pool = pool(&Setup::new(Layer::Killing)).start_failures(5).build().unwrap();
    for how in [Outwit::Replace, Outwit::Block] {
        let crash = crash(&pool, &Try::OutwitTheHandler(how));
        assert_eq!(crash.forbidden_call(), None);
        assert!(crash.to_string().contains("SIGSYS (a forbidden system call) while"), "{how:?}: {crash}");
    }
}

/// The C library blocks signals while it starts a program, so that nobody can be told.
#[test]
fn a_program_of_the_librarys_ends_the_worker_too() {
    let pool = pool(&Setup::new(Layer::Killing)).start_failures(5).build().unwrap();
    let crash = crash(&pool, &Try::Run("true".into(), Vec::new()));
    assert!(crash.to_string().contains("SIGSYS (a forbidden system call"), "{crash}");
}

// ---------------------------------------------------------------- what it is told

fn start_failure(setup: &Setup) -> String {
    match settled(pool(setup).build().unwrap().enqueue(Try::Pid)) {
        Err(error @ JobError::NoWorker(_)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn no_landlock_is_a_start_failure_unless_allowed() {
    let sentence = start_failure(&Setup::new(Layer::Refused));
    assert!(sentence.contains("the worker cannot be confined: files: this kernel has no Landlock"), "{sentence}");
    let pool = pool(&Setup::new(Layer::NoLandlock)).build().unwrap();
    let enforced = settled(pool.enqueue(Try::Enforced)).unwrap();
    assert!(enforced.contains("landlock_abi: 0, files: false, system_calls: true, all_threads: true"), "{enforced}");
    assert!(enforced.contains("missing: [\"files: this kernel has no Landlock"), "{enforced}");
}

#[test]
fn what_is_enforced_is_said() {
    let enforced = settled(confined().enqueue(Try::Enforced)).unwrap();
    assert!(enforced.contains("files: true, system_calls: true, all_threads: true, missing: []"), "{enforced}");
}

#[test]
fn a_missing_path_is_a_start_failure_that_names_it() {
    let setup = Setup { read: vec![PathBuf::from("/no/such/fonts")], ..Setup::new(Layer::Confined) };
    let sentence = start_failure(&setup);
    assert!(sentence.contains("/no/such/fonts cannot be opened: No such file or directory"), "{sentence}");
}

#[test]
fn a_thread_started_before_is_refused_or_admitted() {
    let with = |best_effort| Setup { thread_before: Some(best_effort), ..Setup::new(Layer::Confined) };
    let pool_of = |best_effort| pool(&with(best_effort)).build().unwrap();
    let read = || Try::ReadByThreadBefore("/etc/passwd".into());
    let refused = settled(pool_of(false).enqueue(Try::Pid));
    let pool = pool_of(true);
    let enforced = settled(pool.enqueue(Try::Enforced)).unwrap();
    if enforced.contains("all_threads: true") {
        eprintln!("this kernel confines all threads at once");
        refused.unwrap();
        assert_eq!(settled(pool.enqueue(read())).unwrap(), "EACCES");
        return;
    }
    let sentence = refused.unwrap_err().to_string();
    assert!(
        sentence.contains("it has started other threads") && sentence.contains("before you start any"),
        "{sentence}"
    );
    assert!(enforced.contains("all_threads: false, missing: [\"it has started other threads"), "{enforced}");
    // That thread can still open files, which is what is admitted.
    assert_eq!(settled(pool.enqueue(read())).unwrap(), "works");
    let itself = settled(pool.enqueue(Try::Attack("read `/etc/passwd`".into(), Target::default()))).unwrap();
    assert_eq!(itself, "EACCES");
}

#[test]
fn a_worker_may_confine_itself_in_main() {
    let mut command = Command::new(program("confined"));
    command.arg("early");
    let pool = Pool::<Try>::builder(command).max_processes(1).stderr(Stderr::Null).build().unwrap();
    settled(pool.enqueue(Try::Thread)).unwrap();
    for attack in ["read `/etc/passwd`", "read it in the guard's thread", "fork", "kill the pool"] {
        let outcome = settled(pool.enqueue(Try::Attack(attack.into(), Target::default()))).unwrap();
        assert_eq!(outcome, "EACCES", "{attack}");
    }
    settled(pool.enqueue(Try::Retire)).unwrap();
    settled(pool.enqueue(Try::Pid)).unwrap();
}

#[test]
fn a_file_is_copied_without_its_mode() {
    let folder = Scratch::new();
    fs::create_dir(folder.path()).unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    fs::write(&from, "text").unwrap();
    let setup = Setup { write: vec![folder.path()], ..Setup::new(Layer::Confined) };
    let pool = pool(&setup).build().unwrap();
    assert_eq!(settled(pool.enqueue(Try::Copy(from, to.clone()))).unwrap(), "EACCES");
    assert_eq!(fs::read_to_string(to).unwrap(), "text");
    drop(pool);
    fs::remove_dir_all(folder.path()).unwrap();
}

// ---------------------------------------------------------------- what may be asked for

fn attack(pool: &Pool<Try>, name: &str, target: &Target) -> String {
    settled(pool.enqueue(Try::Attack(name.into(), target.clone()))).unwrap()
}

#[test]
fn programs_that_may_be_run_are_confined_too() {
    let paths = ["/usr", "/lib", "/lib64", "/bin"].map(PathBuf::from);
    let read = paths.into_iter().filter(|path| path.exists()).collect();
    let folder = Scratch::new();
    fs::create_dir(folder.path()).unwrap();
    let write = vec![folder.path()];
    let pool = pool(&Setup { read, write, ..Setup::new(Layer::Spawning) }).build().unwrap();
    let shell = |line: &str| settled(pool.enqueue(Try::Run("/bin/sh".into(), vec!["-c".into(), line.into()])));
    assert_eq!(shell("echo well").unwrap(), "well\n");
    let said = shell("cat /etc/passwd").unwrap();
    assert!(said.contains("Permission denied") && !said.contains("root:"), "{said}");
    // Its own children it may signal; the pool it may not.
    assert_eq!(shell("sleep 1000 & kill $! && echo killed").unwrap(), "killed\n");
    let said = shell(&format!("kill -0 {}", std::process::id())).unwrap();
    assert!(said.contains("ot permitted"), "{said}");
    let target = Target::default();
    assert_eq!(attack(&pool, "kill the pool", &target), "EPERM", "Landlock's own");
    assert_eq!(attack(&pool, "kill it through a descriptor", &target), "EACCES");
    assert_eq!(attack(&pool, "connect by TCP", &target), "EACCES");
    assert_eq!(attack(&pool, "fork by `clone3`", &target), "ENOSYS");
    // What it may write it may not run; memory is below no path.
    let program = folder.path().join("program");
    fs::copy("/bin/true", &program).unwrap();
    let refused = settled(pool.enqueue(Try::Run(program, Vec::new()))).unwrap_err().to_string();
    assert!(refused.contains("Permission denied"), "{refused}");
    assert_eq!(attack(&pool, "run a program that it has in memory", &Target::default()), "works");
    drop(pool);
    fs::remove_dir_all(folder.path()).unwrap();
}

#[test]
fn a_network_is_ipv4_and_ipv6_and_no_other_socket() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let target = Target { port: listener.local_addr().unwrap().port(), ..Target::default() };
    let pool = pool(&Setup::new(Layer::Network)).build().unwrap();
    assert_eq!(attack(&pool, "connect by TCP", &target), "works");
    assert_eq!(attack(&pool, "send by UDP", &target), "works");
    assert_eq!(attack(&pool, "connect to a Unix socket", &target), "EACCES");
    assert_eq!(attack(&pool, "read `/etc/passwd`", &target), "EACCES");
    let socket = |family: i32, kind: i32| {
        settled(pool.enqueue(Try::Call(libc::SYS_socket, [family as u64, kind as u64, 0, 0, 0, 0]))).unwrap()
    };
    for (family, kind) in [
        (libc::AF_INET, libc::SOCK_RAW),
        (libc::AF_INET6, libc::SOCK_RAW | libc::SOCK_CLOEXEC),
        (libc::AF_INET, 10),
        (libc::AF_PACKET, libc::SOCK_DGRAM),
        (libc::AF_NETLINK, libc::SOCK_DGRAM),
        (libc::AF_VSOCK, libc::SOCK_STREAM),
        (libc::AF_ALG, libc::SOCK_SEQPACKET),
    ] {
        assert_eq!(socket(family, kind), "EACCES", "family {family}, kind {kind}");
    }
    assert!(socket(libc::AF_INET6, libc::SOCK_STREAM).parse::<i32>().is_ok());
}

#[test]
fn signals_to_others_may_be_asked_for() {
    let pool = pool(&Setup::new(Layer::OutsideSignals)).build().unwrap();
    let target = Target::default();
    for attack_by in
        ["kill the pool", "kill one of its threads", "kill it through a descriptor", "queue a signal for it"]
    {
        assert_eq!(attack(&pool, attack_by, &target), "works", "{attack_by}");
    }
    assert_eq!(attack(&pool, "change its limits", &target), "EACCES");
    assert_eq!(attack(&pool, "fork", &target), "EACCES");
}

// ---------------------------------------------------------------- other layers, and what is not stopped

#[test]
fn namespaces_of_the_command_take_the_network() {
    let mut command = Command::new("unshare");
    command.args(["--net", "--ipc", "--uts", "--mount"]);
    if !command.arg("true").status().is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: no namespaces can be had here (unshare, as root)");
        return;
    }
    let mut command = Command::new("unshare");
    command.args(["--net", "--ipc", "--uts", "--mount"]).arg(program("confined")).arg("worker");
    let builder = Pool::<Try>::builder(command).options(&Setup::new(Layer::Without)).stderr(Stderr::Null);
    let pool = builder.max_processes(1).build().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let target = Target { port: listener.local_addr().unwrap().port(), ..Target::default() };
    assert_eq!(attack(&pool, "connect by TCP", &target), "Network is unreachable (os error 101)");
    assert_eq!(attack(&pool, "read `/etc/passwd`", &target), "works");
    settled(pool.enqueue(Try::Retire)).unwrap();
    settled(pool.enqueue(Try::Pid)).unwrap();
}

#[test]
fn a_worker_of_roots_keeps_the_pools_limits() {
    let setup = Setup::new(Layer::Confined);
    let pool = pool(&setup).limits(Limits::new().open_files(64).niceness(19)).build().unwrap();
    let target = Target::default();
    for attack_by in ["raise a limit of its own", "raise the most that a limit may be", "choose its own processors"] {
        assert_eq!(attack(&pool, attack_by, &target), "EACCES", "{attack_by}");
    }
}

#[test]
fn standard_error_is_quoted_as_it_is() {
    let pool = hirelings_tests::pool().max_processes(1).build().unwrap();
    let error = settled(pool.enqueue(Do::SayAndDie("\x1b[2Jall is well".into()))).unwrap_err();
    assert!(error.to_string().contains("\x1b[2Jall is well"), "{error}");
    // So a worker may say of itself what it likes, but for its signal.
    let said = "hirelings-confine: forbidden system call: reboot (169)";
    let error = settled(pool.enqueue(Do::SayAndDie(said.into()))).unwrap_err();
    assert!(
        error.to_string().contains("exited with status 3") && !error.to_string().contains("(a forbidden"),
        "{error}"
    );
    pool.drain(WATCHDOG);
}
