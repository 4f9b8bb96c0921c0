//! A program that has a pool and something to do with signals: what, is its first argument.

use hirelings::{Pool, Stderr};
use hirelings_tests::{Do, WATCHDOG, settled, worker};
use nix::sys::signal::{SigSet, Signal};
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::{env, thread};

fn main() {
    match env::args().nth(1).unwrap_or_default().as_str() {
        "crashes" => crashes(),
        "handler" => handler(),
        "handler blocked" => handler_blocked(),
        "named" => waited_for(libc::SIGUSR1),
        "without a name" => waited_for(libc::SIGRTMIN()),
        other => panic!("what is {other:?}?"),
    }
}

/// As a C program: SIGPIPE kills it. Two hundred workers crash while jobs are on the way to them.
fn crashes() {
    // SAFETY: no handler is installed.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    let pool = hirelings_tests::builder::<Do>(worker()).stderr(Stderr::Null).max_processes(2).build().unwrap();
    let crash = |n| if n % 2 == 0 { Do::Abort } else { Do::Exit(1) };
    let jobs: Vec<_> = (0..200)
        .flat_map(|n| {
            [pool.enqueue(Do::Echo("x".repeat(n % 7 * 30_000))), pool.enqueue(crash(n)), pool.enqueue(Do::Pid)]
        })
        .collect();
    println!("{}", jobs.into_iter().map(settled).filter(Result::is_err).count());
}

/// How often the handler ran, and how often on a thread of the pool.
static RUNS: AtomicUsize = AtomicUsize::new(0);
static RUNS_ON_POOL: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count(_: i32) {
    let mut name = [0u8; 16];
    // SAFETY: there is room for the 16 bytes of a thread's name.
    unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
    RUNS.fetch_add(1, Ordering::SeqCst);
    if name.starts_with(b"hireling") {
        RUNS_ON_POOL.fetch_add(1, Ordering::SeqCst);
    }
}

fn install() {
    // SAFETY: the handler makes one system call and changes two atomics.
    unsafe { libc::signal(libc::SIGUSR1, count as extern "C" fn(i32) as libc::sighandler_t) };
}

/// Sends this process a signal, from a thread that blocks it, again and again until `work` is done.
fn flooded(signal: i32, work: impl FnOnce()) {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            SigSet::all().thread_set_mask().unwrap();
            while !over.load(Ordering::SeqCst) {
                // SAFETY: a system call without pointers.
                unsafe { libc::kill(libc::getpid(), signal) };
            }
        });
        work();
        over.store(true, Ordering::SeqCst);
    });
}

/// The handler may run on any thread that does not block the signal: the pool works, and starts nothing meanwhile.
fn handler() {
    let pool =
        hirelings_tests::builder::<Do>(worker()).max_processes(2).min_processes(2).max_jobs_per_process(u64::MAX);
    let pool = pool.on_event(|_| {}).build().unwrap();
    pool.wait_ready(WATCHDOG).unwrap();
    install();
    // No thread but the pool's would take it now, did those not block it.
    SigSet::from(Signal::SIGUSR1).thread_block().unwrap();
    let spawned = pool.stats().spawned;
    flooded(libc::SIGUSR1, || {
        let jobs: Vec<_> = (0..3000).map(|n| pool.request(Do::Progress(n % 3)).on_progress(|_| {}).enqueue()).collect();
        jobs.into_iter().for_each(|job| drop(settled(job).unwrap()));
    });
    assert_eq!(pool.stats().spawned, spawned);
    SigSet::from(Signal::SIGUSR1).thread_unblock().unwrap();
    println!("{} {}", RUNS.load(Ordering::SeqCst) > 0, RUNS_ON_POOL.load(Ordering::SeqCst));
}

/// The same where workers crash and are started all the time: the thread that builds the pool blocks the signal.
fn handler_blocked() {
    install();
    SigSet::from(Signal::SIGUSR1).thread_block().unwrap();
    let pool = hirelings_tests::builder::<Do>(worker()).stderr(Stderr::Null).max_processes(2).build().unwrap();
    SigSet::from(Signal::SIGUSR1).thread_unblock().unwrap();
    flooded(libc::SIGUSR1, || crash(&pool));
    println!("{} {}", RUNS.load(Ordering::SeqCst) > 0, RUNS_ON_POOL.load(Ordering::SeqCst));
}

/// A signal that all threads block, for one that would wait for it: its default action would kill this process.
fn waited_for(signal: i32) {
    let mut set = MaybeUninit::uninit();
    // SAFETY: the set is made empty before anything else is done with it.
    let set = unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), signal);
        SigSet::from_sigset_t_unchecked(set.assume_init())
    };
    set.thread_block().unwrap();
    let pool = hirelings_tests::builder::<Do>(worker()).stderr(Stderr::Null).max_processes(2).build().unwrap();
    flooded(signal, || crash(&pool));
    let mut taken = 0;
    // SAFETY: both pointers are to what lives as long as the call.
    assert_eq!(unsafe { libc::sigwait(set.as_ref(), &mut taken) }, 0);
    println!("{}", taken == signal);
}

/// A hundred workers crash, and as many are started.
fn crash(pool: &Pool<Do>) {
    let jobs: Vec<_> = (0..100).map(|_| pool.enqueue(Do::Exit(1))).collect();
    jobs.into_iter().for_each(|job| assert!(settled(job).is_err()));
}
