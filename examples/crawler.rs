//! Fetches a page, and all pages that it leads to, of several hosts at once: of each host at most two at a time, however many
//! workers there are. (Over HTTP without TLS, which std can speak by itself.)
//!
//! ```text
//! cargo run --example crawler -- http://127.0.0.1:8000/
//! ```

#![allow(clippy::print_stdout, reason = "a program may speak")]

use hirelings::{Job, Pool, RetryPolicy, worker};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::channel;
use std::time::Duration;
use std::{env, io};

/// How many pages of one host are fetched at once.
const AT_ONCE: usize = 2;

#[derive(Serialize, Deserialize)]
struct Fetch(String);

impl Job for Fetch {
    /// The links of the page.
    type Output = Vec<String>;
    type Progress = ();
    type Error = String;

    fn label(&self) -> Option<String> {
        Some(self.0.clone())
    }
}

/// The host of an address, and the path.
fn parts(url: &str) -> Option<(&str, &str)> {
    let rest = url.strip_prefix("http://")?;
    Some(rest.split_at(rest.find('/').unwrap_or(rest.len())))
}

/// What parses a page of somebody else may crash: that costs this page.
fn fetch(url: &str) -> io::Result<Vec<String>> {
    let (host, path) = parts(url).ok_or_else(|| io::Error::other("it does not begin with http://"))?;
    let address = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    let mut stream = TcpStream::connect(address)?;
    let path = if path.is_empty() { "/" } else { path };
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n")?;
    let mut page = String::new();
    stream.read_to_string(&mut page)?;
    if page.split_whitespace().nth(1) != Some("200") {
        return Err(io::Error::other(page.lines().next().unwrap_or("no answer").to_owned()));
    }
    let links = page.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next());
    let absolute = |link: &str| if link.starts_with('/') { format!("http://{host}{link}") } else { link.to_owned() };
    Ok(links.map(absolute).filter(|link| parts(link).is_some()).collect())
}

fn main() -> Result<(), Box<dyn Error>> {
    worker::init(|Fetch(url), _| fetch(&url).map_err(|error| error.to_string()));

    let patient = RetryPolicy::new(2).backoff(Duration::from_millis(100), Duration::from_secs(10));
    let pool = Pool::<Fetch>::self_exec().max_processes(8).retry(patient).build()?;
    let (done, fetched) = channel();
    let enqueue = |url: &str| {
        let done = done.clone();
        let host = parts(url).map_or(url, |(host, _)| host).to_owned();
        let request = pool.request(Fetch(url.to_owned())).limit(host, AT_ONCE);
        let url = url.to_owned();
        request.on_done(move |result| drop(done.send((url, result)))).enqueue();
    };
    let mut seen: BTreeSet<String> = env::args().skip(1).collect();
    seen.iter().for_each(|url| enqueue(url));
    let (mut open, mut failed) = (seen.len(), 0);
    while open > 0 {
        let (url, result) = fetched.recv()?;
        open -= 1;
        match result {
            Ok(links) => {
                println!("{url}: {} links", links.len());
                for link in links.into_iter().filter(|link| seen.insert(link.clone())).collect::<Vec<_>>() {
                    open += 1;
                    enqueue(&link);
                }
            }
            Err(error) => {
                failed += 1;
                println!("{url}: {error}");
            }
        }
    }
    println!("{} pages, {failed} failed", seen.len());
    Ok(())
}
