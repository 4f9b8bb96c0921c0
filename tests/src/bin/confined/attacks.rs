//! Each attack of docs/hostile-input.md, as an attacker would write it once the worker is theirs: by raw system calls where
//! the library would do more than that call.

use hirelings_tests::confined::Target;
use hirelings_tests::within;
use libc::{c_int, c_long};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::mem::zeroed;
use std::net::{TcpStream, UdpSocket};
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;
use std::time::Duration;

type Attack = fn(&Target) -> io::Result<()>;

/// The names are those of the page.
pub const ATTACKS: &[(&str, Attack)] = &[
    ("read `/etc/passwd`", |_| File::open("/etc/passwd").map(drop)),
    ("read it through `/proc/self/root`", |_| File::open(concat!("/proc/self/", "root", "/etc/passwd")).map(drop)),
    ("read it through a link of its own in the folder to write", |on| {
        let link = on.base.join("scratch/link");
        let _ = fs::remove_file(&link);
        symlink("/etc/passwd", &link)?;
        File::open(link).map(drop)
    }),
    ("read it in a thread of its own", |_| thread::spawn(|| File::open("/etc/passwd").map(drop)).join().unwrap()),
    ("read it in the guard's thread", |_| in_the_guard()),
    ("list a folder", |_| fs::read_dir("/").map(drop)),
    ("write beside its folder", |on| {
        let file = on.base.join("beside");
        fs::write(&file, "")?;
        fs::remove_file(file)
    }),
    ("write into a folder that it may read", |on| {
        let file = on.base.join("readable/new");
        fs::write(&file, "")?;
        fs::remove_file(file)
    }),
    ("truncate a file that it may read", |on| {
        File::options().write(true).truncate(true).open(on.base.join("readable/file")).map(drop)
    }),
    ("truncate it by opening it to read", |on| {
        let path = c_path(&on.base.join("readable/file"));
        number(unsafe { libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_TRUNC) }.into()).map(close)
    }),
    ("move a file of its own out of its folder", |on| {
        let (from, to) = (on.base.join("scratch/mine"), on.base.join("moved"));
        fs::write(&from, "")?;
        fs::rename(from, &to)?;
        fs::remove_file(to)
    }),
    ("link a file that it may read into its folder", |on| {
        let link = on.base.join("scratch/linked");
        fs::hard_link(on.base.join("readable/file"), &link)?;
        fs::remove_file(link)
    }),
    ("change the mode of a file that it may read", |on| {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(on.base.join("readable/file"), fs::Permissions::from_mode(0o755))
    }),
    ("change it through a descriptor", |on| {
        let file = File::open(on.base.join("readable/file"))?;
        number(unsafe { libc::fchmod(std::os::fd::AsRawFd::as_raw_fd(&file), 0o755) }.into()).map(drop)
    }),
    ("keep others from opening a file that it may read", |on| {
        let file = File::open(on.base.join("readable/file"))?;
        let lease = |kind: c_int| unsafe {
            number(libc::fcntl(std::os::fd::AsRawFd::as_raw_fd(&file), libc::F_SETLEASE, kind).into())
        };
        lease(libc::F_RDLCK)?;
        lease(libc::F_UNLCK).map(drop)
    }),
    ("watch what others do with files", |_| {
        let watch = number(unsafe { libc::inotify_init1(libc::IN_CLOEXEC) }.into())?;
        let watched = unsafe { libc::inotify_add_watch(watch as c_int, c"/etc".as_ptr(), libc::IN_OPEN) };
        close(watch);
        number(watched.into()).map(drop)
    }),
    ("connect by TCP", |on| TcpStream::connect(("127.0.0.1", on.port)).map(drop)),
    ("send by UDP", |_| UdpSocket::bind("127.0.0.1:0")?.send_to(b"x", "127.0.0.1:9").map(drop)),
    ("connect to a Unix socket", |on| UnixStream::connect(on.base.join("socket")).map(drop)),
    ("send to one from a pair of its own", |on| {
        UnixDatagram::pair()?.0.send_to(b"x", on.base.join("datagrams")).map(drop)
    }),
    ("fork", |_| child(unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD as c_long, 0, 0, 0, 0) })),
    ("fork by `clone3`", |_| {
        let mut arguments: libc::clone_args = unsafe { zeroed() };
        arguments.exit_signal = libc::SIGCHLD as u64;
        child(unsafe { libc::syscall(libc::SYS_clone3, &arguments, size_of::<libc::clone_args>()) })
    }),
    ("run a program in its place", |on| {
        let arguments = [c"program".as_ptr(), null()];
        // Without a confinement this would be the worker's end: the file there is no program.
        let path = if on.deadly { c_path("/proc/self/exe".as_ref()) } else { c_path(&on.base.join("readable/file")) };
        match number(unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), [null()].as_ptr()) }.into()) {
            Err(error) if error.raw_os_error() == Some(libc::ENOEXEC) => Ok(()),
            other => other.map(drop),
        }
    }),
    ("run a program that it has in memory", |on| {
        let file = number(unsafe { libc::memfd_create(c"program".as_ptr(), 0) }.into())? as c_int;
        if on.deadly {
            io::copy(&mut File::open("/proc/self/exe")?, &mut OpenOptions::new().write(true).open(own_fd(file))?)?;
        } else {
            fs::write(own_fd(file), "no program")?;
            unsafe { libc::fchmod(file, 0o700) };
        }
        let (arguments, none) = ([c"program".as_ptr(), null()], [null::<libc::c_char>()]);
        let executed = unsafe {
            libc::syscall(
                libc::SYS_execveat,
                file,
                c"".as_ptr(),
                arguments.as_ptr(),
                none.as_ptr(),
                libc::AT_EMPTY_PATH,
            )
        };
        match number(executed) {
            Err(error) if error.raw_os_error() == Some(libc::ENOEXEC) => Ok(()),
            other => other.map(drop),
        }
    }),
    ("kill the pool", |on| number(unsafe { libc::kill(pool(), signal(on)) }.into()).map(drop)),
    ("kill it by a number with more bits", |on| {
        number(unsafe { libc::syscall(libc::SYS_kill, (1i64 << 32) | i64::from(pool()), signal(on)) }).map(drop)
    }),
    ("kill one of its threads", |on| {
        number(unsafe { libc::syscall(libc::SYS_tgkill, pool(), pool(), signal(on)) }).map(drop)
    }),
    ("kill it through a descriptor", |on| {
        let pool = number(unsafe { libc::syscall(libc::SYS_pidfd_open, pool(), 0) })?;
        let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pool, signal(on), null::<()>(), 0) };
        close(pool);
        number(sent).map(drop)
    }),
    ("queue a signal for it", |on| {
        let mut info: libc::siginfo_t = unsafe { zeroed() };
        info.si_code = -1;
        number(unsafe { libc::syscall(libc::SYS_rt_sigqueueinfo, pool(), signal(on), &info) }).map(drop)
    }),
    ("go to its group and kill that", |on| unsafe {
        number(libc::setpgid(0, libc::getpgid(pool())).into())?;
        let killed = number(libc::kill(0, signal(on)).into()).map(drop);
        libc::setpgid(0, 0);
        killed
    }),
    ("have the kernel signal it when a pipe can be read", |_| {
        let mut pipe = [0; 2];
        number(unsafe { libc::pipe(pipe.as_mut_ptr()) }.into())?;
        let owned = number(unsafe { libc::fcntl(pipe[0], libc::F_SETOWN, pool()) }.into());
        pipe.into_iter().for_each(|end| close(end.into()));
        owned.map(drop)
    }),
    ("kill another worker", |on| number(unsafe { libc::kill(on.sibling, signal(on)) }.into()).map(drop)),
    // Only asked: as root this would be the machine's end, where the filter fails.
    ("kill all that it may", |_| number(unsafe { libc::kill(-1, 0) }.into()).map(drop)),
    ("trace the pool", |_| unsafe {
        number(libc::ptrace(libc::PTRACE_SEIZE, pool(), 0, 0))?;
        libc::ptrace(libc::PTRACE_INTERRUPT, pool(), 0, 0);
        libc::waitpid(pool(), null_mut(), libc::__WALL);
        number(libc::ptrace(libc::PTRACE_DETACH, pool(), 0, 0)).map(drop)
    }),
    ("read its memory", |_| {
        let mut byte = 0u8;
        let here = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
        let there = libc::iovec { iov_base: std::ptr::dangling_mut::<u8>().cast(), iov_len: 1 };
        match number(unsafe { libc::process_vm_readv(pool(), &here, 1, &there, 1, 0) } as c_long) {
            // It was allowed to look where there is nothing.
            Err(error) if error.raw_os_error() == Some(libc::EFAULT) => Ok(()),
            other => other.map(drop),
        }
    }),
    ("write its memory through `/proc`", |_| {
        OpenOptions::new().write(true).open(format!("/proc/{}/mem", pool())).map(drop)
    }),
    ("read its environment", |_| File::open(format!("/proc/{}/environ", pool())).map(drop)),
    ("change its limits", |_| unsafe {
        let mut limit: libc::rlimit = zeroed();
        number(libc::prlimit(pool(), libc::RLIMIT_NOFILE, null(), &mut limit).into())?;
        number(libc::prlimit(pool(), libc::RLIMIT_NOFILE, &limit, null_mut()).into()).map(drop)
    }),
    ("change its priority", |_| unsafe {
        let before = libc::getpriority(libc::PRIO_PROCESS, pool() as u32);
        number(libc::setpriority(libc::PRIO_PROCESS, pool() as u32, before).into()).map(drop)
    }),
    ("change its processors", |_| unsafe {
        let mut set: libc::cpu_set_t = zeroed();
        number(libc::sched_getaffinity(pool(), size_of_val(&set), &mut set).into())?;
        number(libc::sched_setaffinity(pool(), size_of_val(&set), &set).into()).map(drop)
    }),
    ("raise a limit of its own", |_| unsafe {
        let mut limit: libc::rlimit = zeroed();
        number(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit).into())?;
        limit.rlim_cur = limit.rlim_max;
        number(libc::setrlimit(libc::RLIMIT_NOFILE, &limit).into()).map(drop)
    }),
    ("choose its own processors", |_| unsafe {
        let mut set: libc::cpu_set_t = zeroed();
        number(libc::sched_getaffinity(0, size_of_val(&set), &mut set).into())?;
        number(libc::sched_setaffinity(0, size_of_val(&set), &set).into()).map(drop)
    }),
    ("use io_uring", |_| {
        let mut parameters = [0u8; 120];
        number(unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, parameters.as_mut_ptr()) }).map(close)
    }),
    ("share memory by System V", |_| unsafe {
        let memory = number(libc::shmget(libc::IPC_PRIVATE, 4096, 0o600).into())?;
        number(libc::shmctl(memory as c_int, libc::IPC_RMID, null_mut()).into()).map(drop)
    }),
    // Of root.
    ("make a device in its folder", |on| {
        let path = c_path(&on.base.join("scratch/device"));
        number(unsafe { libc::mknod(path.as_ptr(), libc::S_IFBLK | 0o600, libc::makedev(7, 0)) }.into())?;
        fs::remove_file(on.base.join("scratch/device"))
    }),
    ("mount over its folder", |on| unsafe {
        let path = c_path(&on.base.join("scratch"));
        number(libc::mount(c"none".as_ptr(), path.as_ptr(), c"tmpfs".as_ptr(), 0, null()).into())?;
        number(libc::umount2(path.as_ptr(), libc::MNT_DETACH).into()).map(drop)
    }),
    ("change its root", |_| number(unsafe { libc::chroot(c"/".as_ptr()) }.into()).map(drop)),
    ("rename the host", |_| unsafe {
        let mut name = [0; 65];
        number(libc::gethostname(name.as_mut_ptr(), name.len()).into())?;
        number(libc::sethostname(name.as_ptr(), libc::strlen(name.as_ptr())).into()).map(drop)
    }),
    ("raise the most that a limit may be", |_| unsafe {
        let mut limit: libc::rlimit = zeroed();
        number(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit).into())?;
        limit.rlim_max -= 1;
        limit.rlim_cur = limit.rlim_max;
        number(libc::setrlimit(libc::RLIMIT_NOFILE, &limit).into())?;
        limit.rlim_max += 1;
        number(libc::setrlimit(libc::RLIMIT_NOFILE, &limit).into()).map(drop)
    }),
    // What is not stopped.
    ("learn that a file exists, its size and its times", |_| fs::metadata("/etc/passwd").map(drop)),
    ("learn which processes there are", |_| {
        // Signal 0 to itself; priorities can be read of anybody.
        number(unsafe { libc::syscall(libc::SYS_sched_getscheduler, pool()) }).map(drop)
    }),
    ("lock a file that it may read, for those who ask", |on| {
        File::open(on.base.join("readable/file"))?.try_lock().map_err(io::Error::other)
    }),
    ("start threads", |_| thread::Builder::new().spawn(|| ())?.join().map_err(|_| io::ErrorKind::Other.into())),
    ("fill its folder", |on| {
        fs::write(on.base.join("scratch/large"), vec![0; 1 << 20])?;
        fs::remove_file(on.base.join("scratch/large"))
    }),
    ("leave its process group", |_| unsafe {
        number(libc::setpgid(0, libc::getpgid(pool())).into())?;
        number(libc::setpgid(0, 0).into()).map(drop)
    }),
];

/// `works`, or the error's name.
pub fn outcome(name: &str, on: &Target) -> String {
    let attack = ATTACKS.iter().find(|(known, _)| *known == name);
    let Some((_, attack)) = attack else { return format!("there is no attack called {name:?}") };
    attack(on).map_or_else(|error| name_of(&error), |()| "works".into())
}

pub fn name_of(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EACCES) => "EACCES".into(),
        Some(libc::EPERM) => "EPERM".into(),
        Some(libc::ENOSYS) => "ENOSYS".into(),
        Some(libc::EXDEV) => "EXDEV".into(),
        Some(libc::EAGAIN) => "EAGAIN".into(),
        _ => error.to_string(),
    }
}

/// One system call: its result or the error's name. Where it makes a process, that ends at once.
pub fn call(number_of_it: i64, a: [u64; 6]) -> String {
    // SAFETY: none, on purpose: what these calls would do is what is tried. They are denied, or their arguments make no sense.
    let result = unsafe { libc::syscall(number_of_it, a[0], a[1], a[2], a[3], a[4], a[5]) };
    let made_a_process = matches!(number_of_it, libc::SYS_clone | libc::SYS_clone3) || is_fork(number_of_it);
    if result == 0 && made_a_process {
        // SAFETY: this is the child.
        unsafe { libc::_exit(0) };
    }
    number(result).map_or_else(|error| name_of(&error), |result| result.to_string())
}

fn is_fork(number: i64) -> bool {
    #[cfg(target_arch = "x86_64")]
    return number == libc::SYS_fork || number == libc::SYS_vfork;
    #[cfg(not(target_arch = "x86_64"))]
    return number < 0;
}

/// What `int 0x80` with this number returns.
#[cfg(target_arch = "x86_64")]
pub fn call32(number: u32) -> String {
    let result: u64;
    // SAFETY: the call is one without arguments, and what it may change is said. (`rbx`, its first argument, stays as it is.)
    unsafe {
        std::arch::asm!("int 0x80", inlateout("rax") u64::from(number) => result, out("r8") _, out("r9") _, out("r10") _,
            out("r11") _);
    }
    result.to_string()
}

#[cfg(not(target_arch = "x86_64"))]
pub fn call32(_: u32) -> String {
    "there are no such calls".into()
}

fn number(result: c_long) -> io::Result<c_long> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn close(descriptor: c_long) {
    unsafe { libc::close(descriptor as c_int) };
}

fn pool() -> libc::pid_t {
    unsafe { libc::getppid() }
}

fn signal(on: &Target) -> c_int {
    if on.deadly { libc::SIGKILL } else { 0 }
}

/// What came of a fork: the child ends at once, and is waited for.
fn child(forked: c_long) -> io::Result<()> {
    let child = number(forked)?;
    unsafe {
        if child == 0 {
            libc::_exit(0);
        }
        libc::waitpid(child as c_int, null_mut(), 0);
    }
    Ok(())
}

/// Makes that many processes at once: how many there were, and why there were no more.
pub fn fork(count: u32) -> String {
    let (mut children, mut refused) = (Vec::new(), String::from("no error"));
    for _ in 0..count {
        // SAFETY: the child does nothing but wait, until it is killed.
        match unsafe { libc::fork() } {
            0 => loop {
                unsafe { libc::pause() };
            },
            -1 => {
                refused = name_of(&io::Error::last_os_error());
                break;
            }
            child => children.push(child),
        }
    }
    for &child in &children {
        unsafe {
            libc::kill(child, libc::SIGKILL);
            libc::waitpid(child, null_mut(), 0);
        }
    }
    format!("{} {refused}", children.len())
}

fn c_path(path: &std::path::Path) -> std::ffi::CString {
    std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).unwrap()
}

fn own_fd(descriptor: c_int) -> String {
    format!("/proc/self/fd/{descriptor}")
}

/// What came of opening the file in the guard's thread: an error, or 0.
static IN_THE_GUARD: AtomicI32 = AtomicI32::new(-1);

extern "C" fn open_in_handler(_: c_int) {
    let opened = unsafe { libc::open(c"/etc/passwd".as_ptr(), libc::O_RDONLY) };
    let error = if opened >= 0 { 0 } else { io::Error::last_os_error().raw_os_error().unwrap_or(-1) };
    IN_THE_GUARD.store(error, Ordering::SeqCst);
}

/// Has the guard's thread open a file: in a handler of a signal that is sent to it.
fn in_the_guard() -> io::Result<()> {
    IN_THE_GUARD.store(-1, Ordering::SeqCst);
    let is_guard = |comm: io::Result<String>| comm.is_ok_and(|comm| comm.trim() == "hireling-guard");
    let find = || {
        let mut tasks = fs::read_dir("/proc/self/task").ok()?.flatten();
        tasks.find(|task| is_guard(fs::read_to_string(task.path().join("comm"))))
    };
    // A thread gives itself its name, once it runs.
    let mut guard = find();
    within(Duration::from_secs(5), || {
        guard.is_some() || {
            guard = find();
            false
        }
    });
    let guard: i64 = guard.ok_or(io::ErrorKind::NotFound)?.file_name().to_str().unwrap().parse().unwrap();
    unsafe {
        let mut action: libc::sigaction = zeroed();
        action.sa_sigaction = open_in_handler as *const () as usize;
        // A fault: the guard blocks every other signal.
        libc::sigaction(libc::SIGTRAP, &action, null_mut());
        number(libc::syscall(libc::SYS_tgkill, libc::getpid(), guard, libc::SIGTRAP))?;
    }
    loop {
        match IN_THE_GUARD.load(Ordering::SeqCst) {
            -1 => thread::yield_now(),
            0 => return Ok(()),
            error => return Err(io::Error::from_raw_os_error(error)),
        }
    }
}
