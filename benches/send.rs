//! What sending costs: fills the queue of a release binary while nobody answers, then lets a sink on loopback answer.
//!
//! `cargo bench --bench send -- [--dir DIR] [--messages N]`. The sink is plain, acknowledges at once and keeps nothing; each
//! message has 10 KB and both signatures. It measures and prints; it asserts nothing about speed.

#![allow(clippy::unwrap_used, reason = "a benchmark stops at what it does not expect")]
#![allow(clippy::disallowed_methods, reason = "a benchmark looks at the clock")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

const BINARY: &str = env!("CARGO_BIN_EXE_penfold");
const SECRET: &str = "correct horse battery";
const SINK: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const CONNECTIONS: usize = 8;

fn main() {
    let mut args = std::env::args().skip(1).filter(|a| a != "--bench");
    let (mut dir, mut messages) = (PathBuf::from("target/send"), 10_000);
    while let Some(a) = args.next() {
        match a.as_str() {
            "--dir" => dir = args.next().expect("--dir DIR").into(),
            "--messages" => messages = args.next().and_then(|n| n.parse().ok()).expect("--messages N"),
            other => panic!("{other}?"),
        }
    }
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    let dir = dir.canonicalize().unwrap();
    let port = TcpListener::bind((SINK, 0)).unwrap().local_addr().unwrap().port();
    let server = Server::start(&dir, port);

    let begun = Instant::now();
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let to = server.submission;
            std::thread::spawn(move || {
                let mut client = Client::connect(to);
                (0..messages / CONNECTIONS).for_each(|_| client.send());
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    let sent = messages / CONNECTIONS * CONNECTIONS;
    rate("submitted with both signatures, 8 connections", sent, begun.elapsed());
    println!("resident with {sent} waiting: {} MiB", server.memory_kib() / 1024);

    let sink = Sink::start(port);
    let begun = Instant::now();
    server.command(&["queue", "flush"]);
    sink.wait(sent);
    rate("drained into the sink, the flush included", sent, begun.elapsed());

    let mut client = Client::connect(server.submission);
    let mut times: Vec<Duration> = (1..=200)
        .map(|n| {
            client.send();
            let said = Instant::now();
            sink.wait(sent + n);
            said.elapsed()
        })
        .collect();
    times.sort_unstable();
    println!("from the client's 250 to the sink's: p50 {:?}, p99 {:?}", times[100], times[198]);
    println!("resident at the end: {} MiB", server.memory_kib() / 1024);
}

fn rate(what: &str, n: usize, took: Duration) {
    println!("{what}: {n} in {:.2} s, {:.0}/s", took.as_secs_f64(), n as f64 / took.as_secs_f64());
}

struct Server {
    child: Child,
    config: PathBuf,
    submission: SocketAddr,
}

impl Server {
    fn start(dir: &Path, port: u16) -> Server {
        let config = dir.join("config.toml");
        let mut text =
            "hostname = \"mail.home.test\"\ndata_dir = \"data\"\ncontrol = \"control.sock\"\n".to_owned();
        text.push_str("[listen]\nsmtp = []\nsubmissions = []\nsubmission = [\"127.0.0.1:0\"]\n");
        text.push_str("imaps = []\nimap = []\npop3s = []\npop3 = []\n[tls]\noptional_on_loopback = true\n");
        text.push_str(&format!("[outbound]\nsmtp_port = {port}\n[limits]\nmessages_a_day = 1000000\n"));
        text.push_str("new_recipients_a_day = 1000000\n[log]\nlevel = \"error\"\n");
        std::fs::write(&config, text).unwrap();
        run(&config, &["domain", "add", "home.test"], "");
        run(&config, &["account", "add", "anna@home.test", "--password-stdin"], SECRET);
        let mut command = Command::new(BINARY);
        command.arg("--config").arg(&config).arg("serve").stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut page = BufReader::new(child.stdout.take().unwrap());
        let submission = loop {
            let mut line = String::new();
            assert!(page.read_line(&mut line).unwrap() > 0, "it did not start");
            if let Some(address) = line.trim().strip_prefix("submission ") {
                break address.trim().parse().unwrap();
            }
        };
        std::thread::spawn(move || std::io::copy(&mut page, &mut std::io::sink()));
        Server { child, config, submission }
    }

    fn command(&self, args: &[&str]) {
        run(&self.config, args, "");
    }

    fn memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(config: &Path, args: &[&str], input: &str) {
    let mut command = Command::new(BINARY);
    command.arg("--config").arg(config).args(args).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{args:?}");
}

/// Somebody who submits.
struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(to: SocketAddr) -> Client {
        let stream = TcpStream::connect(to).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut client = Client(BufReader::new(stream));
        client.expect("220");
        client.say("EHLO bench.test", "250");
        let login = data_encoding::BASE64.encode(format!("\0anna@home.test\0{SECRET}").as_bytes());
        client.say(&format!("AUTH PLAIN {login}"), "235");
        client
    }

    fn say(&mut self, line: &str, code: &str) {
        self.0.get_mut().write_all(format!("{line}\r\n").as_bytes()).unwrap();
        self.expect(code);
    }

    fn expect(&mut self, code: &str) {
        let mut line = String::new();
        loop {
            line.clear();
            self.0.read_line(&mut line).unwrap();
            assert!(line.starts_with(code), "{line}");
            if line.as_bytes().get(3) == Some(&b' ') {
                return;
            }
        }
    }

    fn send(&mut self) {
        self.say("MAIL FROM:<anna@home.test>", "250");
        self.say(&format!("RCPT TO:<bob@[{SINK}]>"), "250");
        self.say("DATA", "354");
        let line = "x".repeat(76) + "\r\n";
        let text = format!("From: anna@home.test\r\nTo: x\r\nSubject: bench\r\n\r\n{}.", line.repeat(131));
        self.say(&text, "250");
    }
}

/// Takes everything, keeps nothing, counts.
struct Sink(Arc<(Mutex<usize>, Condvar)>);

impl Sink {
    fn start(port: u16) -> Sink {
        let listener = TcpListener::bind((SINK, port)).unwrap();
        let count = Arc::new((Mutex::new(0), Condvar::new()));
        let counts = Arc::clone(&count);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, count) = (stream.unwrap(), Arc::clone(&counts));
                std::thread::spawn(move || serve(stream, &count));
            }
        });
        Sink(count)
    }

    fn wait(&self, n: usize) {
        let count = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(count, |count| *count < n).unwrap());
    }
}

fn serve(mut stream: TcpStream, count: &(Mutex<usize>, Condvar)) {
    stream.set_nodelay(true).unwrap();
    let _ = stream.write_all(b"220 sink\r\n");
    let (mut buffer, mut unread, mut data) = (vec![0; 64 << 10], Vec::new(), false);
    while let Ok(n @ 1..) = stream.read(&mut buffer) {
        unread.extend_from_slice(&buffer[..n]);
        let mut replies = Vec::new();
        loop {
            let end: &[u8] = if data { b"\r\n.\r\n" } else { b"\r\n" };
            let Some(at) = memchr::memmem::find(&unread, end) else { break };
            let line = unread.drain(..at + end.len()).take(4).collect::<Vec<u8>>().to_ascii_uppercase();
            if data {
                data = false;
                *count.0.lock().unwrap() += 1;
                count.1.notify_all();
                replies.extend_from_slice(b"250 taken\r\n");
                continue;
            }
            match line.as_slice() {
                b"EHLO" => replies.extend_from_slice(b"250-sink\r\n250-PIPELINING\r\n250 8BITMIME\r\n"),
                b"DATA" => {
                    data = true;
                    replies.extend_from_slice(b"354 go\r\n");
                }
                b"QUIT" => {
                    let _ = stream.write_all(b"221 bye\r\n");
                    return;
                }
                _ => replies.extend_from_slice(b"250 ok\r\n"),
            }
        }
        if stream.write_all(&replies).is_err() {
            return;
        }
    }
}
