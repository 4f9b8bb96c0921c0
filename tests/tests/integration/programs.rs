//! Whole programs, as somebody writes them who is new to the library: each is an example, run here.

use super::examples::{example, output, said};
use hirelings_tests::{Scratch, eventually, processes};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use std::{fs, thread};

#[test]
fn words_are_counted_with_progress() {
    let [first, second] = [Scratch::new(), Scratch::new()];
    fs::write(first.path(), "the cat\nand The dog\nand the bird\nfly\n").unwrap();
    fs::write(second.path(), "the end\n").unwrap();
    let said = said(example("word_count").args([first.path(), second.path()]).arg("/no/such/file"));
    let [first, second] = [&first, &second].map(|file| file.path().display().to_string());
    for line in [25, 50, 75, 100].map(|done| format!("{first}: {done} %")).iter().chain([&format!("{second}: 100 %")]) {
        assert!(said.lines().any(|said| said == line), "no {line:?} in:\n{said}");
    }
    assert!(said.contains("/no/such/file: No such file or directory (os error 2)\n"), "{said}");
    assert!(said.ends_with("11 words, 7 of them different\n     4 the\n     2 and\n     1 bird\n"), "{said}");
}

#[test]
fn tests_run_in_processes_and_slow_ones_are_told_of() {
    let done = output(&mut example("test_runner"));
    let said = String::from_utf8(done.stdout).unwrap();
    assert_eq!(done.status.code(), Some(1), "{said}");
    for line in ["ok   adds", "ok   adds too", "ok   is slow", "SLOW is slow", "SLOW hangs", "7 tests, 4 failed"] {
        assert!(said.lines().any(|said| said == line), "no {line:?} in:\n{said}");
    }
    for (test, why) in [
        ("does not add", "one and one"),
        ("aborts", "SIGABRT"),
        ("ends the process", "exited with status 0"),
        ("hangs", "working for more than 3s"),
    ] {
        let failed = said.lines().any(|line| line.starts_with(&format!("FAIL {test}: ")));
        assert!(failed && said.contains(why), "{test}: {why:?} in:\n{said}");
    }
}

#[test]
fn a_search_ends_with_the_first_prime() {
    let said = said(&mut example("first_prime"));
    let lines: Vec<&str> = said.lines().collect();
    let last = lines.len() - 1;
    assert!(lines[..last - 1].iter().all(|line| line.contains(" is divisible by ")), "{said}");
    // The quick one, unless the machine has kept it waiting for long.
    assert!(["2147483647 is a prime", "1000000000039 is a prime"].contains(&lines[last - 1]), "{said}");
    let given_up: usize = lines[last].strip_suffix(" numbers were not looked at").unwrap().parse().unwrap();
    assert!((300..503).contains(&given_up), "{said}");
}

#[test]
fn hostile_handlers_cost_their_own_jobs() {
    let said = said(&mut example("hostile"));
    let line = |deed: &str| said.lines().find(|line| line.starts_with(&format!("{deed}: "))).unwrap_or_default();
    for (deed, kind, why) in [
        ("Panic", "Panicked", "an index out of bounds, say"),
        ("Abort", "Crashed", "SIGABRT"),
        ("OverflowTheStack", "Crashed", "overflowed its stack"),
        ("ExitAsIfDone", "Crashed", "exited with status 0"),
        ("NeverEnd", "TimedOut", "for more than 5s"),
        ("TakeAllMemory", "Crashed", "probably for want of memory"),
        ("KillYourself", "Crashed", "SIGKILL"),
    ] {
        let line = line(deed);
        assert!(line.starts_with(&format!("{deed}: {kind}: ")) && said.contains(why), "{deed}: {why:?} in:\n{said}");
    }
    assert_eq!((line("FloodTheTerminal"), line("Behave")), ("FloodTheTerminal: done", "Behave: done"));
    let child = line("LeaveAChild").rsplit(' ').next().unwrap().parse().unwrap();
    eventually("the child ends", || !processes::is_alive(child));
    assert!(said.ends_with("\n3 of 10 are done\n"), "{said}");
}

#[test]
fn a_module_of_node_hirelings_runs_as_it_stands() {
    if Command::new("node").arg("--version").output().is_err() {
        println!("skipped: there is no node on this machine");
        return;
    }
    let said = said(&mut example("node_hirelings"));
    for line in ["\"Ada\": 50 %", "\"Ada\": hello, Ada", "\"Grace\": hello, Grace", "\"\": failed: a name is needed"] {
        assert!(said.lines().any(|said| said == line), "no {line:?} in:\n{said}");
    }
    assert!(said.ends_with("\n2 done, 1 failed, 1 tried again\n"), "{said}");
}

/// A program that is killed in the end.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_service_changes_its_number_of_workers() {
    let mut service = Running(example("service").stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(service.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on ").unwrap().to_owned();
    let ask = |lines: &str| {
        let mut client = TcpStream::connect(&address).unwrap();
        client.write_all(lines.as_bytes()).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answers = String::new();
        client.read_to_string(&mut answers).unwrap();
        answers
    };
    assert_eq!(ask("square 12\nsquare 4294967296\n"), "144\nerror: 4294967296 squared is too large\n");
    assert_eq!(ask("workers 0\n"), "error: max_processes is 0: a pool needs at least one worker\n");
    let workers = || processes::children_of(service.0.id()).len();
    eventually("two workers", || workers() == 2);
    assert_eq!(ask("workers 1\n"), "ok\n");
    eventually("one worker", || workers() == 1);
    // Of many clients at once none waits for ever, and none is lost.
    let clients: Vec<_> = (0..20)
        .map(|_| {
            thread::spawn({
                let address = address.clone();
                move || {
                    let mut client = TcpStream::connect(address).unwrap();
                    client.write_all(b"square 3\n").unwrap();
                    let mut answer = String::new();
                    BufReader::new(client).read_line(&mut answer).unwrap();
                    answer
                }
            })
        })
        .collect();
    assert!(clients.into_iter().all(|client| client.join().unwrap() == "9\n"));
    assert_eq!(ask("workers 2\n"), "ok\n");
    eventually("two workers again", || workers() == 2);
    assert!(ask("stats\n").ends_with(", 22 done\n"), "{}", ask("stats\n"));
}

/// A host whose pages lead to each other. A page is answered once another is asked for beside it, or all others were: so the
/// most that are asked for at once is seen.
#[derive(Default)]
struct Host {
    state: Mutex<Asked>,
    changed: Condvar,
}

#[derive(Default)]
struct Asked {
    now: usize,
    most: usize,
    pages: BTreeMap<String, usize>,
}

const PAGES: usize = 12;

impl Host {
    /// Gives its address, and what is asked of it.
    fn start(elsewhere: Option<String>) -> (String, Arc<Host>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let host = Arc::new(Host::default());
        let serving = Arc::clone(&host);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (host, elsewhere) = (Arc::clone(&serving), elsewhere.clone());
                thread::spawn(move || host.answer(stream.unwrap(), elsewhere));
            }
        });
        (address, host)
    }

    fn answer(&self, mut stream: TcpStream, elsewhere: Option<String>) {
        // To its end: a connection is reset where something of it is not read.
        let lines = BufReader::new(&stream).lines().map(Result::unwrap);
        let request: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
        let path = request[0].split(' ').nth(1).unwrap().to_owned();
        let page = if path == "/missing" {
            "HTTP/1.0 404 Not Found\r\n\r\n".to_owned()
        } else {
            let links = (1..PAGES)
                .map(|n| format!("<a href=\"/{n}\">"))
                .chain(elsewhere.map(|url| format!("<a href=\"{url}/\">")));
            format!("HTTP/1.0 200 OK\r\n\r\n{}<a href=\"/missing\">", links.collect::<String>())
        };
        let mut state = self.state.lock().unwrap();
        state.now += 1;
        state.most = state.most.max(state.now);
        *state.pages.entry(path).or_default() += 1;
        self.changed.notify_all();
        // The first page is asked for alone, and perhaps the last.
        let alone = |state: &mut Asked| state.now < 2 && (2..PAGES).contains(&state.pages.len());
        let (mut state, _) = self.changed.wait_timeout_while(state, Duration::from_millis(100), alone).unwrap();
        state.now -= 1;
        drop(state);
        stream.write_all(page.as_bytes()).unwrap();
    }
}

#[test]
fn a_crawler_asks_each_host_for_two_pages_at_a_time() {
    let (second_address, second) = Host::start(None);
    let (first_address, first) = Host::start(Some(second_address));
    let said = said(example("crawler").arg(format!("{first_address}/")));
    for host in [first, second] {
        let state = host.state.lock().unwrap();
        assert_eq!(state.most, 2, "at once");
        assert_eq!(state.pages.len(), PAGES + 1, "{:?}", state.pages);
        // One that is missing is tried again.
        assert!(
            state.pages.iter().all(|(page, &times)| times == if page == "/missing" { 3 } else { 1 }),
            "{:?}",
            state.pages
        );
    }
    assert!(said.contains("/missing: HTTP/1.0 404 Not Found\n"), "{said}");
    assert!(said.ends_with(&format!("\n{} pages, 2 failed\n", 2 * (PAGES + 1))), "{said}");
}
