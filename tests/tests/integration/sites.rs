//! Pools of sites, with an sshd of the test's own: each test of it is skipped, and says so, where there is none.

use super::node_kit::node_is_missing;
use super::python_kit::{has_python, script};
use super::transport::sockets_of;
use crossbeam_channel::bounded;
use hirelings::{
    Begun, BuildErrorKind, Codec, CrashCause, EventKind, JobError, JobHandle, Limits, Pool, PoolBuilder, Site,
    StartMethod, Stderr, Transport,
};
use hirelings_tests::processes::{group_of, is_alive, kill, of_group};
use hirelings_tests::sshd::{Proxy, Sshd, has_sshd};
use hirelings_tests::{
    Do, Gate, Scratch, WATCHDOG, begun, eventually, settled, spawned, stubborn_worker, within, worker,
};
use std::collections::HashSet;
use std::fs;
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Long enough for heartbeats that are late on a machine under load.
const SILENCE: Duration = Duration::from_secs(2);

fn pool_on<const N: usize>(sites: [Site; N], program: Command) -> PoolBuilder<Do> {
    Pool::<Do>::builder_on(sites, program).stderr(Stderr::Null).timeout_working(None)
}

/// One worker at a far site, with that limit of silence.
fn far(sshd: &Sshd, port: u16, program: Command) -> PoolBuilder<Do> {
    pool_on([sshd.site(port, 1).silence(SILENCE)], program)
}

/// The parent of a process.
fn parent_of(pid: u32) -> u32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(')').unwrap();
    rest.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn local_sites_are_slots_with_names() {
    let sites = [Site::local(1).name("one").env("PLACE", "first"), Site::local(1).name("two").env("PLACE", "second")];
    let pool = pool_on(sites, worker()).build().unwrap();
    pool.wait_ready(WATCHDOG).unwrap();
    let names: Vec<_> =
        pool.workers().iter().map(|worker| (worker.slot.index(), worker.site.clone().unwrap())).collect();
    assert_eq!(names, [(0, "one".into()), (1, "two".into())]);
    let (tell, told) = mpsc::channel();
    pool.on(EventKind::JobFailure, move |event| drop(tell.send(event.site().map(str::to_owned))));
    let error = settled(pool.enqueue(Do::Exit(3))).unwrap_err();
    let site = told.recv_timeout(WATCHDOG).unwrap().unwrap();
    assert!(error.to_string().contains(&format!("at site {site}")), "{error}");
    let sites = pool.stats().sites;
    assert_eq!(sites.iter().map(|site| (&*site.name, site.slots)).collect::<Vec<_>>(), [("one", 1), ("two", 1)]);
}

#[test]
fn what_cannot_be_done_far_away_is_refused() {
    let site = || Site::ssh("build1", 2);
    let refused = |builder: PoolBuilder<Do>| {
        let error = builder.build().unwrap_err();
        assert_eq!(error.kind(), BuildErrorKind::Options);
        error.to_string()
    };
    let builder = || pool_on([site()], worker());
    for (builder, says) in [
        (builder().limits(Limits::new().cpu_time(Duration::from_secs(9))), "limits cannot be set on other machines"),
        (builder().max_memory_hard(1 << 30), "max_memory cannot be had on other machines"),
        (builder().start_method(StartMethod::ForkServer), "cannot fork on other machines"),
        (builder().max_processes(3), "the sites have 2 slots"),
        (pool_on([], worker()), "given no sites"),
        (pool_on([Site::local(0)], worker()), "has 0 slots"),
        (pool_on([Site::local(1).option("x")], worker()), "is this machine and has no option"),
        (pool_on([Site::local(1), Site::local(2)], worker()), "two sites are called local"),
        (pool_on([site().silence(Duration::from_millis(1))], worker()), "at least 500ms is needed"),
        (pool_on([site().name("")], worker()), "empty name"),
        (pool_on([site()], hirelings::self_exec::<Do>()), "give the site a program"),
    ] {
        let said = refused(builder);
        assert!(said.contains(says), "{said}");
    }
    let pool = pool_on([Site::local(1)], worker()).build().unwrap();
    assert!(pool.set_max_processes(2).unwrap_err().to_string().contains("sum of their slots"));
}

#[test]
fn words_go_over_ssh_unchanged() {
    if !has_sshd() {
        return;
    }
    let sshd = Sshd::running();
    let odd = "it's $HOME \\ \"x\" `id`\n*";
    let folder = std::env::temp_dir().join(format!("a folder's {}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let site = sshd.site(sshd.port, 2).env("ODD", odd).current_dir(&folder);
    let pool = pool_on([site], worker()).build().unwrap();
    let said = settled(pool.enqueue(Do::Shell("printf '%s|%s' \"$PWD\" \"$ODD\"".into()))).unwrap();
    assert_eq!(said, format!("{}|{odd}", folder.display()));
    let workers = pool.workers();
    let far = &workers[0];
    assert!(far.is_far && far.resident.is_none() && far.site.as_deref() == Some("far"), "{far:?}");
    pool.exit();
    fs::remove_dir(&folder).unwrap();
}

/// What a site starts here, the worker or its ssh, has sockets: payloads of each size pass, and so does the end.
#[test]
fn sockets_reach_workers_here_and_far_away() {
    let text = "0123456789abcde,".repeat(1 << 18);
    let echoes = |pool: &Pool<Do>, sockets: usize| {
        for text in ["", &text[..70_000], &text] {
            let job = pool.request(Do::Echo(text.into())).timeout(None).enqueue();
            assert!(settled(job).unwrap() == text, "{} bytes", text.len());
        }
        let here = pool.workers()[0].pid;
        assert!(sockets_of(&here.to_string()) >= sockets);
    };
    let here = pool_on([Site::local(1)], worker()).transport(Transport::Sockets).build().unwrap();
    echoes(&here, 2);
    if has_sshd() {
        let sshd = Sshd::running();
        let pool = far(&sshd, sshd.port, stubborn_worker()).transport(Transport::Sockets).build().unwrap();
        // The third is the connection.
        echoes(&pool, 3);
        lost(&pool, |ssh, _| kill(ssh));
    }
}

/// What a lost connection costs: the job is charged, says that it had begun, and nothing far goes on for long.
fn lost(pool: &Pool<Do>, kill_it: impl FnOnce(u32, u32)) {
    let gate = Gate::new();
    let job = Do::Then(vec![Do::Spawn("sleep 1000".into()), Do::Wait(gate.path())]);
    let (handle, sleeper) = spawned(pool.request(job));
    let group = group_of(sleeper).unwrap();
    kill_it(pool.workers()[0].pid, group);
    let error = settled(handle).unwrap_err();
    assert_eq!(error.begun(), Begun::Yes, "{error}");
    match &error {
        JobError::Crashed(crash) => assert_eq!(crash.cause, CrashCause::ConnectionLost),
        other => panic!("{other}"),
    }
    assert!(error.to_string().contains("at site far was lost with its connection"), "{error}");
    eventually("the far group is gone", || of_group(group).is_empty());
    assert!(!is_alive(sleeper));
    pool.wait_idle();
}

#[test]
fn the_far_group_ends_when_the_local_ssh_is_killed() {
    if has_sshd() {
        let sshd = Sshd::running();
        lost(&far(&sshd, sshd.port, stubborn_worker()).build().unwrap(), |ssh, _| kill(ssh));
    }
}

#[test]
fn the_far_group_ends_when_sshds_child_is_killed() {
    if has_sshd() {
        let sshd = Sshd::running();
        lost(&far(&sshd, sshd.port, stubborn_worker()).build().unwrap(), |_, worker| kill(parent_of(worker)));
    }
}

/// What a far worker has started ends with it where it leaves by itself too: no pool kills a group over there.
fn leaves_nothing_behind(pool: &Pool<Do>) {
    let (handle, sleeper) = spawned(pool.request(Do::Then(vec![Do::Spawn("sleep 1000".into()), Do::Retire])));
    settled(handle).unwrap();
    eventually("what the worker has started is gone", || !is_alive(sleeper));
}

#[test]
fn a_far_worker_that_leaves_ends_its_group() {
    if has_sshd() {
        let sshd = Sshd::running();
        let pool = far(&sshd, sshd.port, worker()).build().unwrap();
        leaves_nothing_behind(&pool);
        assert_eq!(pool.stats().crashed, 0);
    }
}

/// What a worker of a kit does over there: jobs, an error, and the end of its group.
fn far_kit(program: Command) {
    let sshd = Sshd::running();
    let pool = far(&sshd, sshd.port, program).codec(Codec::Json).build().unwrap();
    let pids: HashSet<_> = (0..20).map(|_| settled(pool.enqueue(Do::Pid)).unwrap()).collect();
    assert!(pids.len() == 1 && !pids.contains(&pool.workers()[0].pid.to_string()), "{pids:?}");
    match settled(pool.enqueue(Do::Recurse)).unwrap_err() {
        JobError::Failed(error) => assert!(error.contains("this worker does no Recurse"), "{error}"),
        other => panic!("{other}"),
    }
    // Longer than the limit of silence: the guard answers heartbeats while the handler runs.
    settled(pool.enqueue(Do::Run("sleep 3".into()))).unwrap();
    leaves_nothing_behind(&pool);
    lost(&pool, |ssh, _| kill(ssh));
    assert_eq!(pool.stats().crashed, 1);
}

#[test]
fn a_far_worker_in_python_ends_with_its_connection() {
    if has_sshd() && has_python() {
        far_kit(script("do.py"));
    }
}

/// Its standard input is a socket there, so it starts itself once more.
#[test]
fn a_far_worker_in_node_ends_with_its_connection() {
    if has_sshd() && !node_is_missing() {
        let mut program = Command::new("node");
        program.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/workers/node/do.js"));
        far_kit(program);
    }
}

/// No end of input ever comes: only the guard's own limit ends it, though it ignores SIGTERM and hangs.
#[test]
fn a_half_open_connection_ends_both_sides_by_silence() {
    if !has_sshd() {
        return;
    }
    let sshd = Sshd::running();
    let proxy = Proxy::new(sshd.port, Duration::ZERO);
    let pool = far(&sshd, proxy.port, stubborn_worker()).build().unwrap();
    let gate = Gate::new();
    let job = Do::Then(vec![Do::Spawn("sleep 1000".into()), Do::Wait(gate.path())]);
    let (handle, sleeper) = spawned(pool.request(job));
    let group = group_of(sleeper).unwrap();
    proxy.stall();
    let error = settled(handle).unwrap_err();
    assert!(matches!(&error, JobError::Crashed(crash) if crash.cause == CrashCause::ConnectionLost), "{error}");
    eventually("the far group is gone", || of_group(group).is_empty());
}

/// What is on its way to a worker says that the connection is there, though the worker has nothing to say.
#[test]
fn a_job_that_takes_long_to_carry_arrives() {
    if !has_sshd() {
        return;
    }
    let sshd = Sshd::running();
    let proxy = Proxy::slow(sshd.port, 8 << 20);
    let pool = far(&sshd, proxy.port, worker()).build().unwrap();
    let began = Instant::now();
    assert_eq!(settled(pool.enqueue(Do::Echo("x".repeat(32 << 20)))).unwrap().len(), 32 << 20);
    assert!(began.elapsed() > SILENCE, "that was no test");
    assert_eq!(pool.stats().crashed, 0);
}

/// A far worker whose progress nobody takes is read no further, and not given up for that.
#[test]
fn one_that_waits_for_its_listener_is_not_silent() {
    if !has_sshd() {
        return;
    }
    let sshd = Sshd::running();
    let pool = far(&sshd, sshd.port, worker()).build().unwrap();
    let (release, blocked) = bounded::<()>(0);
    let (tell, told) = mpsc::channel();
    let request = pool.request(Do::Then(vec![Do::Tell(3_000, 20_000), Do::Echo("told".into())]));
    let request = request.on_progress(move |_| {
        let _ = tell.send(());
        let _ = blocked.recv();
    });
    let job = request.enqueue();
    told.recv_timeout(WATCHDOG).unwrap();
    let began = Instant::now();
    eventually("it would have been given up", || began.elapsed() > 3 * SILENCE || job.is_finished());
    drop(release);
    assert_eq!(settled(job).unwrap(), "told");
    assert_eq!((pool.stats().spawned, pool.stats().crashed), (1, 0));
}

/// A job behind one whose progress nobody takes comes back once another worker is free: what lies before the answer to its
/// recall is read.
#[test]
fn a_job_behind_untaken_progress_comes_back() {
    if has_sshd() {
        // More than may lie about, and less than what is on its way beside it.
        comes_back(860, 20_000);
        comes_back(40_000, 8);
    }
}

fn comes_back(full: u32, bytes: usize) {
    let sshd = Sshd::running();
    let pool = pool_on([sshd.site(sshd.port, 2).prefetch(4)], worker()).build().unwrap();
    pool.wait_ready(WATCHDOG).unwrap();
    let mut gate = Gate::new();
    let other = begun(pool.request(Do::Wait(gate.path())));
    let notes = Scratch::new();
    let note = Do::Append(notes.path(), "full".into());
    let tell = Do::Then(vec![Do::Tell(full, bytes), note, Do::Tell(4 * full, bytes)]);
    let (release, blocked) = bounded::<()>(0);
    pool.pause();
    let job = pool.request(tell).on_progress(move |_| blocked.recv().unwrap_or(())).enqueue();
    let behind = pool.enqueue(Do::Echo("behind".into()));
    pool.resume();
    eventually("nothing more is read", || notes.lines() == ["full"]);
    let began = Instant::now();
    gate.open();
    settled(other).unwrap();
    assert_eq!(settled(behind).unwrap(), "behind");
    // A worker that has not answered a recall for ten seconds is killed.
    let back = Instant::now();
    assert!(back - began < Duration::from_secs(10), "{:?}", back - began);
    eventually("all would have been read", || back.elapsed() > SILENCE || job.is_finished());
    assert!(!job.is_finished(), "it is read without an end");
    drop(release);
    settled(job).unwrap();
    assert_eq!((pool.stats().spawned, pool.stats().crashed), (2, 0));
}

/// The far handler hangs, and the local ssh is killed at once: the retry begins after the far one's end.
#[test]
fn a_retry_waits_for_the_end_of_the_far_attempt() {
    if !has_sshd() {
        return;
    }
    let sshd = Sshd::running();
    let proxy = Proxy::new(sshd.port, Duration::ZERO);
    let sites = [sshd.site(proxy.port, 1).silence(SILENCE)];
    let pool = pool_on(sites, stubborn_worker()).retries(1).build().unwrap();
    let notes = Scratch::new();
    let gate = Gate::new();
    let wait = Do::Before(2, Box::new(Do::Wait(gate.path())));
    let handle = begun(pool.request(Do::Alone(notes.path(), Box::new(wait))));
    let (tell, told) = mpsc::channel();
    handle.on_retry(move |error| {
        let _ = tell.send((Instant::now(), error.begun()));
    });
    proxy.stall();
    let ssh = pool.workers()[0].pid;
    let killed = Instant::now();
    // A new connection would not pass the proxy that stalls; this pool has no other way, so the retry is not to be seen
    // before the site is reached again.
    kill(ssh);
    let (at, how) = told.recv_timeout(WATCHDOG).unwrap();
    assert!(how != Begun::No && at >= killed);
    proxy.resume();
    settled(handle).unwrap();
    assert!(killed.elapsed() >= SILENCE + SILENCE / 2, "{:?}", killed.elapsed());
    assert!(!notes.lines().contains(&"two at once".into()), "{:?}", notes.lines());
}

#[test]
fn a_site_that_is_down_costs_its_slots_and_heals() {
    if !has_sshd() {
        return;
    }
    let mut sshd = Sshd::new();
    let pool = pool_on([Site::local(1), sshd.site(sshd.port, 1)], worker()).start_failures(2).build().unwrap();
    for _ in 0..20 {
        settled(pool.enqueue(Do::Pid)).unwrap();
    }
    let error = pool.wait_ready(Duration::from_secs(3)).unwrap_err();
    let failure = error.start_failure().unwrap();
    assert_eq!(failure.site.as_deref(), Some("far"), "{error}");
    assert!(error.to_string().contains("at site far: ssh exited with status 255"), "{error}");
    sshd.start();
    pool.wait_ready(WATCHDOG).unwrap();
    let sites: Vec<_> = pool.stats().sites.iter().map(|site| site.workers).collect();
    assert_eq!(sites, [1, 1]);
}

#[test]
fn a_far_worker_of_another_job_type_is_refused() {
    if !has_sshd() {
        return;
    }
    let sshd = Sshd::running();
    let other = Command::new(hirelings_tests::program("shapes"));
    let pool = far(&sshd, sshd.port, other).start_failures(1).build().unwrap();
    let error = settled(pool.enqueue(Do::Pid)).unwrap_err();
    let said = error.to_string();
    assert!(said.contains("at site far") && said.contains("does jobs of type"), "{said}");
}

/// It could not end itself where its connection is lost, or not while a job runs.
#[test]
fn a_far_worker_without_heartbeats_is_refused() {
    if !has_sshd() {
        return;
    }
    let sshd = Sshd::running();
    for (version, flags, says) in [("001", "003", "needs version 2"), ("002", "001", "does not answer the pool while")]
    {
        let hello = format!(r"\020\000\000\000hireling\001\000\{version}\000\{flags}\000\000\000");
        let mut old = Command::new("/bin/sh");
        old.arg("-c").arg(format!("printf '{hello}'; exec sleep 1000"));
        let pool = far(&sshd, sshd.port, old).start_failures(1).build().unwrap();
        let said = settled(pool.enqueue(Do::Pid)).unwrap_err().to_string();
        assert!(said.contains("at site far") && said.contains(says), "{said}");
    }
}

/// Jobs of a millisecond over a connection of 20 ms: what is prefetched keeps the worker at work.
#[test]
fn prefetched_jobs_keep_a_far_worker_busy() {
    if !has_sshd() {
        return;
    }
    let sshd = Sshd::running();
    let [far, near] = [Duration::from_millis(10), Duration::ZERO].map(|delay| {
        let proxy = Proxy::new(sshd.port, delay);
        let site = sshd.site(proxy.port, 1).prefetch(64);
        let pool = pool_on([site], worker()).max_jobs_per_process(100_000).build().unwrap();
        settled(pool.enqueue(Do::Pid)).unwrap();
        (pool, proxy)
    });
    // A machine that has other things to do lowers both.
    let mut shares = Vec::new();
    let is_busy = within(WATCHDOG, || {
        let (far, near) = (share_at_work(&far.0), share_at_work(&near.0));
        shares.push((far, near));
        far >= 90 || far * 100 >= near * 90
    });
    assert!(is_busy, "at work for so many hundredths of the time, far and near: {shares:?}");
}

/// For how many hundredths of the time a thousand jobs of a millisecond keep the only worker at work, by its own clock.
fn share_at_work(pool: &Pool<Do>) -> u128 {
    let handles: Vec<_> = (0..1000).map(|_| pool.enqueue(Do::Nap(1000))).collect();
    let nap = |handle: JobHandle<Do>| {
        let said = settled(handle).unwrap();
        let (begun, ended) = said.split_once(' ').unwrap();
        (begun.parse::<u128>().unwrap(), ended.parse::<u128>().unwrap())
    };
    let naps: Vec<(u128, u128)> = handles.into_iter().map(nap).collect();
    let at_work: u128 = naps.iter().map(|(begun, ended)| ended - begun).sum();
    at_work * 100 / (naps[999].1 - naps[0].0)
}
