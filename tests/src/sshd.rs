//! An sshd of a test's own, on a loopback port with keys of its own, and a proxy in front of it that delays or stalls.

use hirelings::Site;
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

const SSHD: &str = "/usr/sbin/sshd";

/// Whether there is an sshd; says so where there is none.
///
/// # Panics
///
/// Where there is none and nothing may be skipped.
pub fn has_sshd() -> bool {
    let found = Path::new(SSHD).exists();
    if !found {
        assert!(env::var_os("HIRELINGS_SKIP_NOTHING").is_none(), "there is no sshd");
        println!("skipped: there is no sshd on this machine");
    }
    found
}

/// Keys, and a configuration; the server runs once it is started.
#[derive(Debug)]
pub struct Sshd {
    folder: PathBuf,
    pub port: u16,
    server: Option<Child>,
}

impl Sshd {
    /// # Panics
    ///
    /// Where a key cannot be made.
    pub fn new() -> Self {
        let port = free_port();
        let folder = env::temp_dir().join(format!("hirelings-sshd-{}-{port}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        for key in ["host", "user"] {
            let mut keygen = Command::new("ssh-keygen");
            keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(folder.join(key));
            assert!(keygen.status().expect("ssh-keygen").success(), "no key");
        }
        fs::copy(folder.join("user.pub"), folder.join("authorized")).expect("a file");
        // As root it wants this folder, which the system's service would have made.
        let _ = fs::create_dir_all("/run/sshd");
        let at = |name: &str| format!("\"{}\"", folder.join(name).display());
        let config = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nUsePAM no\n\
             StrictModes no\nPermitRootLogin yes\nPasswordAuthentication no\nMaxStartups 100\n",
            at("host"),
            at("authorized"),
        );
        fs::write(folder.join("config"), config).expect("a file");
        Sshd { folder, port, server: None }
    }

    /// The same, and it runs.
    pub fn running() -> Self {
        let mut sshd = Sshd::new();
        sshd.start();
        sshd
    }

    /// Starts the server, and waits until it listens.
    ///
    /// # Panics
    ///
    /// Where it does not.
    pub fn start(&mut self) {
        let mut command = Command::new(SSHD);
        command.args(["-D", "-f"]).arg(self.folder.join("config")).arg("-E").arg(self.folder.join("log"));
        command.stdin(Stdio::null());
        self.server = Some(command.spawn().expect("sshd starts"));
        crate::eventually("sshd listens", || TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok());
    }

    /// A site of so many slots that is reached at this port, by these keys: it is called `far`.
    pub fn site(&self, port: u16, slots: usize) -> Site {
        let option = |name: &str, file: &str| format!("{name}=\"{}\"", self.folder.join(file).display());
        Site::ssh("127.0.0.1", slots)
            .name("far")
            .arg("-F")
            .arg(OsStr::new("/dev/null"))
            .option(format!("Port={port}"))
            .option("IdentitiesOnly=yes")
            .option(option("IdentityFile", "user"))
            .option("StrictHostKeyChecking=no")
            .option(option("UserKnownHostsFile", "known"))
            .option("LogLevel=ERROR")
    }
}

impl Default for Sshd {
    fn default() -> Self {
        Sshd::new()
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            let _ = server.kill();
            let _ = server.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("its number").port()
}

/// Passes connections on to a port, each byte later by a delay, until it stalls: then they stay open and nothing passes.
#[derive(Debug)]
pub struct Proxy {
    pub port: u16,
    stalled: Arc<AtomicBool>,
}

impl Proxy {
    /// # Panics
    ///
    /// Where there is no port for it.
    pub fn new(to: u16, delay: Duration) -> Self {
        Self::with(to, delay, None)
    }

    /// One that passes so many bytes a second to the far side, and all that comes back.
    ///
    /// # Panics
    ///
    /// Where there is no port for it.
    pub fn slow(to: u16, bytes: u32) -> Self {
        Self::with(to, Duration::ZERO, Some(bytes))
    }

    fn with(to: u16, delay: Duration, bytes: Option<u32>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("its number").port();
        let stalled = Arc::new(AtomicBool::new(false));
        let stalls = Arc::clone(&stalled);
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let Ok(far) = TcpStream::connect((Ipv4Addr::LOCALHOST, to)) else { continue };
                for (from, to, bytes) in [(&near, &far, bytes), (&far, &near, None)] {
                    let _ = to.set_nodelay(true);
                    pass(from.try_clone().expect("a socket"), to.try_clone().expect("a socket"), delay, bytes, &stalls);
                }
            }
        });
        Proxy { port, stalled }
    }

    /// From now on nothing passes, and no connection is closed.
    pub fn stall(&self) {
        self.stalled.store(true, Ordering::SeqCst);
    }

    /// New connections pass again. Those that were stalled stay so.
    pub fn resume(&self) {
        self.stalled.store(false, Ordering::SeqCst);
    }
}

fn pass(mut from: TcpStream, to: TcpStream, delay: Duration, bytes: Option<u32>, stalled: &Arc<AtomicBool>) {
    let (queue, queued) = channel();
    let (reading, writing) = (Arc::clone(stalled), Arc::clone(stalled));
    thread::spawn(move || deliver(to, &queued, &writing));
    thread::spawn(move || {
        let mut buffer = [0; 64 * 1024];
        loop {
            let read = from.read(&mut buffer).unwrap_or(0);
            if let Some(bytes) = bytes {
                thread::sleep(Duration::from_secs_f64(read as f64 / f64::from(bytes)));
            }
            if reading.load(Ordering::SeqCst) {
                // For as long as the test runs: what is dropped would be closed.
                loop {
                    thread::park();
                }
            }
            if queue.send((Instant::now() + delay, buffer[..read].to_vec())).is_err() || read == 0 {
                return;
            }
        }
    });
}

fn deliver(mut to: TcpStream, queued: &Receiver<(Instant, Vec<u8>)>, stalled: &AtomicBool) {
    while let Ok((at, bytes)) = queued.recv() {
        while let Some(left) = at.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            thread::park_timeout(left);
        }
        if stalled.load(Ordering::SeqCst) {
            loop {
                thread::park();
            }
        }
        if bytes.is_empty() || to.write_all(&bytes).is_err() {
            let _ = to.shutdown(Shutdown::Write);
            return;
        }
    }
}
