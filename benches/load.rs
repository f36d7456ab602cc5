//! The load generator: starts the release binary on a real disk, drives it over loopback, and prints what it saw.
//!
//! `cargo bench --bench load -- [--dir DIR] [--messages N] [part ...]`, parts being `deliver append read idle memory
//! login`. Beside the durable figures stands a bare loop of `pwrite(12 KiB)` + `fdatasync` on the same disk in the
//! same run: ratios hold, absolute figures do not.
//!
//! `--peer smtp=ADDR,imap=ADDR,pop3=ADDR,user=NAME,password=WORD,to=ADDRESS` drives another server that runs already
//! (plain, on loopback) through the parts `deliver append read idle`, for a table side by side. Its INBOX should be
//! empty. It measures and prints; it asserts nothing about speed.

#![allow(clippy::unwrap_used, reason = "a benchmark stops at what it does not expect")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use support::client::{Lines, message, trusting};
use support::server::Demo;

const BINARY: &str = env!("CARGO_BIN_EXE_penfold");

fn main() {
    let mut args = std::env::args().skip(1).filter(|a| a != "--bench");
    let mut dir = PathBuf::from("target/load");
    let mut messages = 20_000;
    let mut parts = Vec::new();
    let mut peer = None;
    while let Some(a) = args.next() {
        match a.as_str() {
            "--dir" => dir = args.next().expect("--dir DIR").into(),
            "--messages" => messages = args.next().and_then(|n| n.parse().ok()).expect("--messages N"),
            "--peer" => peer = Some(args.next().expect("--peer smtp=...,imap=...,user=...")),
            part => parts.push(part.to_owned()),
        }
    }
    std::fs::create_dir_all(&dir).unwrap();
    let dir = dir.canonicalize().unwrap();
    println!("disk       {}", file_system(&dir));
    println!("commit     {}", output("git", &["describe", "--always", "--dirty"]));
    println!("processor  {} cores, kernel {}", cores(), output("uname", &["-r"]));
    let wanted = |p: &str| parts.is_empty() || parts.iter().any(|x| x == p);
    let target = |part: &str| match &peer {
        Some(settings) => Target::peer(settings),
        None => Target::ours(Demo::start(BINARY, Some(&fresh(&dir, part)), &[])),
    };
    if wanted("deliver") {
        deliver(&dir, target("deliver"));
    }
    if wanted("append") {
        append(&dir, target("append"));
    }
    if wanted("read") {
        read(&dir, target("read"), messages);
    }
    if wanted("idle") {
        idle(target("idle"));
    }
    if peer.is_some() {
        return;
    }
    if wanted("memory") {
        memory(&dir);
    }
    if wanted("login") {
        login(&dir);
    }
}

/// The server that is driven: ours, or another one.
struct Target {
    demo: Option<Demo>,
    smtp: SocketAddr,
    imap: SocketAddr,
    pop3: SocketAddr,
    user: String,
    password: String,
    to: String,
}

impl Target {
    fn ours(demo: Demo) -> Target {
        let (user, password) = demo.account(0);
        Target {
            smtp: demo.addr("smtp"),
            imap: demo.addr("imap"),
            pop3: demo.addr("pop3"),
            to: user.clone(),
            user,
            password,
            demo: Some(demo),
        }
    }

    fn peer(settings: &str) -> Target {
        let get = |key: &str| {
            let found = settings.split(',').find_map(|s| s.strip_prefix(key)?.strip_prefix('='));
            found.unwrap_or_else(|| panic!("--peer needs {key}=")).to_owned()
        };
        let addr = |key: &str| get(key).parse().unwrap();
        Target {
            demo: None,
            smtp: addr("smtp"),
            imap: addr("imap"),
            pop3: addr("pop3"),
            user: get("user"),
            password: get("password"),
            to: get("to"),
        }
    }

    fn cpu_ms(&self) -> Option<u64> {
        self.demo.as_ref().map(Demo::cpu_ms)
    }

    fn imap(&self) -> io::Result<Lines> {
        let mut s = Lines::plain(self.imap)?;
        s.imap_login(&self.user, &self.password);
        Ok(s)
    }

    fn memory(&self, since: &str) {
        if let Some(demo) = &self.demo {
            let (rss, peak) = (demo.memory_kib("VmRSS") / 1024, demo.memory_kib("VmHWM") / 1024);
            row("memory", &format!("{since}{rss} MiB, peak {peak} MiB"));
        }
    }

    fn stop(self) {
        if let Some(demo) = self.demo {
            demo.stop();
        }
    }
}

fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
    Instant::now()
}

fn output(program: &str, args: &[&str]) -> String {
    let out = std::process::Command::new(program).args(args).output();
    out.map_or_else(|_| "unknown".into(), |o| String::from_utf8_lossy(&o.stdout).trim().to_owned())
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// The mount point's device and type, from the longest matching line of /proc/mounts.
fn file_system(dir: &Path) -> String {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let best = mounts
        .lines()
        .filter_map(|l| {
            let f: Vec<&str> = l.split(' ').collect();
            dir.starts_with(f.get(1)?).then(|| (f[1].len(), format!("{} on {} ({})", f[2], f[0], f[3])))
        })
        .max();
    best.map_or_else(|| "unknown".into(), |b| b.1)
}

fn row(what: &str, figures: &str) {
    println!("{what:<52} {figures}");
}

/// Durable writes a second of the bare disk, one after another.
fn bare_loop(dir: &Path) -> f64 {
    let path = dir.join("bare");
    let file = std::fs::File::create(&path).unwrap();
    let block = vec![7; 12 * 1024];
    let n = 400;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, n * block.len() as u64).unwrap();
    file.sync_all().unwrap();
    let t = now();
    for i in 0..n {
        file.write_all_at(&block, i * block.len() as u64).unwrap();
        file.sync_data().unwrap();
    }
    let rate = n as f64 / t.elapsed().as_secs_f64();
    std::fs::remove_file(path).unwrap();
    rate
}

fn fresh(dir: &Path, name: &str) -> PathBuf {
    let d = dir.join(name);
    let _ = std::fs::remove_dir_all(&d);
    d
}

/// Runs `each` on `n` connections at once, `count` operations in all; operations a second and server CPU ms each.
fn at_once(
    target: &Target,
    n: usize,
    count: usize,
    each: impl Fn(usize, usize) -> io::Result<()> + Sync,
) -> (f64, String) {
    let barrier = Barrier::new(n + 1);
    let cpu = target.cpu_ms();
    let (spent, failed) = std::thread::scope(|s| {
        let handles: Vec<_> = (0..n)
            .map(|c| {
                let (barrier, each) = (&barrier, &each);
                s.spawn(move || {
                    barrier.wait();
                    each(c, count / n)
                })
            })
            .collect();
        barrier.wait();
        let t = now();
        let failed = handles.into_iter().filter_map(|h| h.join().unwrap().err()).count();
        (t.elapsed(), failed)
    });
    if failed > 0 {
        println!(
            "  {failed} connections failed; log:\n{}",
            target.demo.as_ref().map_or_else(String::new, Demo::log)
        );
    }
    let cpu = match (cpu, target.cpu_ms()) {
        (Some(before), Some(after)) => {
            format!(", server CPU {:.2} ms each", (after - before) as f64 / count as f64)
        }
        _ => String::new(),
    };
    (count as f64 / spent.as_secs_f64(), cpu)
}

fn deliver(dir: &Path, target: Target) {
    println!("\nSMTP in, 10 KB, each acknowledged before the next, plain");
    let idle = target.demo.as_ref().map_or(0, |d| d.memory_kib("VmRSS") / 1024);
    let mut single = 0.0;
    for (n, count) in [(1, 2_000), (8, 12_000)] {
        let bare = bare_loop(dir);
        let (rate, cpu) = at_once(&target, n, count, |c, count| {
            let mut s = Lines::plain(target.smtp)?;
            s.smtp_reply()?;
            s.smtp("EHLO bench.example")?;
            for i in 0..count {
                let m = message(&format!("{n}-{c}-{i}"), 10_240);
                let r = s.deliver("sender@example.net", &target.to, &m)?;
                if !r.starts_with("250") {
                    return Err(io::Error::other(r));
                }
            }
            Ok(())
        });
        let ratio = if n == 1 {
            single = rate;
            format!("{:.0}% of the bare loop", 100.0 * rate / bare)
        } else {
            format!("{:.1} x one connection", rate / single)
        };
        row(&format!("{n} connection(s)"), &format!("{rate:.0}/s, {ratio} ({bare:.0}/s){cpu}"));
    }
    target.memory(&format!("idle {idle} MiB, after the load "));
    target.stop();
}

fn append_all(target: &Target, name: &str, count: usize) -> io::Result<()> {
    let mut s = target.imap()?;
    for i in 0..count {
        let r = s.append("a", "INBOX", &message(&format!("{name}-{i}"), 10_240))?;
        if !r.starts_with("a OK") {
            return Err(io::Error::other(r));
        }
    }
    Ok(())
}

fn append(dir: &Path, target: Target) {
    println!("\nIMAP APPEND, 10 KB, each acknowledged before the next, plain");
    for (n, count) in [(1, 2_000), (8, 12_000)] {
        let bare = bare_loop(dir);
        let (rate, cpu) =
            at_once(&target, n, count, |c, count| append_all(&target, &format!("{n}-{c}"), count));
        row(&format!("{n} connection(s), one mailbox"), &format!("{rate:.0}/s (bare loop {bare:.0}/s){cpu}"));
    }
    target.stop();
}

fn timed<T>(f: impl FnOnce() -> T) -> (f64, T) {
    let t = now();
    let x = f();
    (t.elapsed().as_secs_f64(), x)
}

fn read(dir: &Path, target: Target, count: usize) {
    println!("\nreading a mailbox of {count} x 10 KB");
    let (seconds, _) =
        timed(|| at_once(&target, 8, count, |c, n| append_all(&target, &format!("fill-{c}"), n)));
    row("filled", &format!("{seconds:.1} s"));
    let mut s = target.imap().unwrap();
    let mut go = |what: &str, command: &str| {
        let (t, r) = timed(|| s.imap_drain("a", command));
        match r {
            Ok((octets, lines)) => row(
                what,
                &format!("{:.4} s, {:.0} lines/s, {:.0} MB/s", t, lines as f64 / t, octets as f64 / t / 1e6),
            ),
            Err(e) => row(what, &format!("failed: {e}")),
        }
    };
    go("SELECT first", "SELECT INBOX");
    go("SELECT warm", "SELECT INBOX");
    go("UID FETCH 1:* (FLAGS)", "UID FETCH 1:* (FLAGS)");
    go("UID FETCH 1:* (FLAGS) again", "UID FETCH 1:* (FLAGS)");
    let all = "FETCH 1:* (FLAGS UID RFC822.SIZE ENVELOPE BODYSTRUCTURE)";
    go("FETCH envelope and structure, first", all);
    go("FETCH envelope and structure, warm", all);
    go("FETCH 1:* BODY.PEEK[]", "FETCH 1:* BODY.PEEK[]");
    go("FETCH 1:* BODY.PEEK[] again", "FETCH 1:* BODY.PEEK[]");
    go("SEARCH HEADER SUBJECT (miss)", "SEARCH HEADER SUBJECT nowhere-to-be-found");
    go("SEARCH TEXT (miss)", "SEARCH TEXT nowhere-to-be-found");
    go("STORE 1:* +FLAGS.SILENT (\\Flagged)", "STORE 1:* +FLAGS.SILENT (\\Flagged)");
    go("COPY 1:1000 Archive", "COPY 1:1000 Archive");
    go("MOVE 1:1000 Trash", "MOVE 1:1000 Trash");
    drop(s);
    // A thousand have been moved away.
    pop3(&target, count.saturating_sub(1_000).min(5_000) / 100 * 100);
    target.memory("");
    let Some(demo) = target.demo else { return };
    let config = trusting(&demo.certificate());
    let mut tls = Lines::tls_from(1, demo.addr("imaps"), &config).unwrap();
    tls.imap_login(&target.user, &target.password);
    tls.imap_drain("b", "SELECT INBOX").unwrap();
    let (t, r) = timed(|| tls.imap_drain("b", "FETCH 1:* BODY.PEEK[]").unwrap());
    row("FETCH 1:* BODY.PEEK[] over TLS", &format!("{t:.2} s, {:.0} MB/s", r.0 as f64 / t / 1e6));
    drop(tls);
    restarts(&dir.join("read"), demo);
}

/// Start to greeting, and the first SELECT, after a clean stop and after a kill.
fn restarts(data: &Path, mut demo: Demo) {
    for how in ["clean stop", "kill -9"] {
        if how == "kill -9" {
            demo.kill();
        } else {
            demo.stop();
        }
        let (t, next) = timed(|| {
            let d = Demo::start(BINARY, Some(data), &[]);
            Lines::plain(d.addr("smtp")).unwrap().smtp_reply().unwrap();
            d
        });
        row(&format!("start to greeting after {how}"), &format!("{:.0} ms", t * 1e3));
        let (user, password) = next.account(0);
        let mut s = Lines::plain(next.addr("imap")).unwrap();
        s.imap_login(&user, &password);
        let (t, _) = timed(|| s.imap_drain("a", "SELECT INBOX").unwrap());
        row(&format!("first SELECT after {how}"), &format!("{:.1} ms", t * 1e3));
        demo = next;
    }
    demo.stop();
}

fn pop3(target: &Target, n: usize) {
    let mut s = Lines::plain(target.pop3).unwrap();
    s.line().unwrap();
    s.send(format!("USER {}\r\nPASS {}\r\n", target.user, target.password).as_bytes()).unwrap();
    s.line().unwrap();
    assert!(s.line().unwrap().starts_with("+OK"), "POP3 login");
    for (how, batch) in [("one by one", 1), ("pipelined", 100)] {
        let (t, ()) = timed(|| {
            for first in (1..=n).step_by(batch) {
                let commands: String = (first..first + batch).map(|i| format!("RETR {i}\r\n")).collect();
                s.send(commands.as_bytes()).unwrap();
                for _ in 0..batch {
                    assert!(s.line().unwrap().starts_with("+OK"), "RETR");
                    while s.line().unwrap() != "." {}
                }
            }
        });
        row(&format!("POP3 RETR {how}"), &format!("{:.0} messages/s", n as f64 / t));
    }
}

fn idle(target: Target) {
    println!("\nfrom the final dot to EXISTS in IDLE");
    let mut reader = target.imap().unwrap();
    reader.imap("a", "SELECT INBOX").unwrap();
    reader.send(b"b IDLE\r\n").unwrap();
    assert!(reader.line().unwrap().starts_with('+'), "IDLE begins");
    let mut sender = Lines::plain(target.smtp).unwrap();
    sender.smtp_reply().unwrap();
    sender.smtp("EHLO bench.example").unwrap();
    let mut took: Vec<Duration> = (0..300)
        .map(|i| {
            let m = message(&format!("idle-{i}"), 10_240);
            sender
                .send(format!("MAIL FROM:<x@example.net>\r\nRCPT TO:<{}>\r\nDATA\r\n", target.to).as_bytes())
                .unwrap();
            for _ in 0..3 {
                sender.smtp_reply().unwrap();
            }
            sender.send(&m).unwrap();
            let t = now();
            sender.send(b".\r\n").unwrap();
            while !reader.line().unwrap().ends_with("EXISTS") {}
            let d = t.elapsed();
            sender.smtp_reply().unwrap();
            d
        })
        .collect();
    took.sort();
    row("300 deliveries", &format!("p50 {:.2?}, p99 {:.2?}", took[150], took[296]));
    target.stop();
}

fn memory(dir: &Path) {
    println!("\n1,000 IMAP connections inside TLS, logged in, in IDLE");
    let demo = Demo::start(BINARY, Some(&fresh(dir, "memory")), &[]);
    let before = demo.memory_kib("VmRSS");
    let (user, password) = demo.account(0);
    let config: Arc<rustls::ClientConfig> = trusting(&demo.certificate());
    let mut all = Vec::new();
    for i in 0..1_000u32 {
        let last = u8::try_from(2 + i / 40).unwrap();
        let mut s = match Lines::tls_from(last, demo.addr("imaps"), &config) {
            Ok(s) => s,
            Err(e) => {
                row("stopped", &format!("at {i}: {e}"));
                break;
            }
        };
        s.imap_login(&user, &password);
        s.imap("a", "SELECT INBOX").unwrap();
        s.send(b"b IDLE\r\n").unwrap();
        assert!(s.line().unwrap().starts_with('+'), "IDLE begins");
        all.push(s);
    }
    row(
        "memory",
        &format!(
            "idle {} MiB, with {} in IDLE {} MiB, peak {} MiB",
            before / 1024,
            all.len(),
            demo.memory_kib("VmRSS") / 1024,
            demo.memory_kib("VmHWM") / 1024
        ),
    );
    drop(all);
    demo.stop();
}

fn login(dir: &Path) {
    println!("\nIMAP logins over TLS, 16 connections");
    let demo = Demo::start(BINARY, Some(&fresh(dir, "login")), &[]);
    let config = trusting(&demo.certificate());
    let target = Target::ours(demo);
    let imaps = target.demo.as_ref().unwrap().addr("imaps");
    let (rate, cpu) = at_once(&target, 16, 1_600, |c, count| {
        for _ in 0..count {
            let mut s = Lines::tls_from(u8::try_from(2 + c).unwrap(), imaps, &config)?;
            s.imap_login(&target.user, &target.password);
        }
        Ok(())
    });
    row("connect, handshake, LOGIN", &format!("{rate:.0}/s{cpu}"));
    target.stop();
}
