//! An index whose disk fails while the server runs: the process ends or starts anew, and no mail is lost or changed.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use super::{Host, Serving};

/// What the server of these tests is started with.
pub(super) struct Broken {
    library: PathBuf,
    when: PathBuf,
    what: &'static str,
}

impl Broken {
    /// A library that breaks writes to files with `what` in their path. Builds with the C compiler that the server
    /// itself needed.
    pub(super) fn build(host: &Host, what: &'static str) -> Broken {
        let library = host.directory.path().join("broken_disk.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/house/cli/broken_disk.c");
        let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
        let built =
            Command::new(compiler).args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).status();
        assert!(built.unwrap().success());
        Broken { library, when: host.directory.path().join("broken"), what }
    }

    pub(super) fn serve(&self, host: &Host, supervised: bool) -> Serving {
        let mut command = host.command(&["serve"]);
        command.env("LD_PRELOAD", &self.library).env("BROKEN", self.what).env("BROKEN_WHEN", &self.when);
        if supervised {
            command.env("INVOCATION_ID", "as under systemd");
        }
        Serving::start(command)
    }

    pub(super) fn now(&self) {
        std::fs::write(&self.when, "").unwrap();
    }
}

pub(super) fn connect(server: &Serving, service: &str) -> BufReader<TcpStream> {
    let mut words = server.page.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let at = words.find(|w| w.first() == Some(&service)).unwrap();
    let stream = TcpStream::connect(at.last().unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    BufReader::new(stream)
}

/// Delivers messages one by one until `enough` says so or the connection breaks; how many were acknowledged.
pub(super) fn deliver(server: &Serving, from: usize, mut enough: impl FnMut(usize) -> bool) -> usize {
    let mut s = connect(server, "smtp");
    let mut acknowledged = 0;
    let mut say = |text: &str, code: &str| -> Option<()> {
        s.get_mut().write_all(text.as_bytes()).ok()?;
        loop {
            let mut line = String::new();
            if s.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if line.as_bytes().get(3) == Some(&b' ') {
                assert!(line.starts_with(code), "{line}");
                return Some(());
            }
        }
    };
    let mut one = |text: &str, code| say(text, code);
    if one("", "220").and_then(|()| one("HELO x\r\n", "250")).is_none() {
        return 0;
    }
    while !enough(acknowledged) {
        let n = from + acknowledged;
        let message = format!("Subject: message {n}\r\n\r\n{}\r\n.\r\n", "text ".repeat(100));
        let done = one("MAIL FROM:<>\r\n", "250")
            .and_then(|()| one("RCPT TO:<anna@b.test>\r\n", "250"))
            .and_then(|()| one("DATA\r\n", "354"))
            .and_then(|()| one(&message, "250"));
        if done.is_none() {
            break;
        }
        acknowledged += 1;
    }
    acknowledged
}

/// All that IMAP tells of INBOX.
pub(super) fn inbox(server: &Serving) -> Vec<String> {
    let mut s = connect(server, "imap");
    s.get_mut()
        .write_all(
            b"a LOGIN anna@b.test \"a good password\"\r\nb EXAMINE INBOX\r\nc UID FETCH 1:* (FLAGS BODY.PEEK[])\r\n",
        )
        .unwrap();
    let mut all = Vec::new();
    loop {
        let mut line = String::new();
        assert!(s.read_line(&mut line).unwrap() > 0, "{all:?}");
        if line.starts_with("c ") {
            assert!(line.starts_with("c OK"), "{line}");
            break;
        }
        all.push(line);
    }
    // Greeting and login aside; RECENT tells of sessions.
    let from = all.iter().position(|line| line.starts_with("a OK")).unwrap();
    all.split_off(from + 1).into_iter().filter(|line| !line.contains("RECENT")).collect()
}

pub(super) fn set_up() -> Host {
    let host = Host::new();
    let text = std::fs::read_to_string(host.config()).unwrap();
    host.configure(&format!("{text}[tls]\noptional_on_loopback = true\n"));
    assert_eq!(host.run(&["domain", "add", "b.test"]).code, 0);
    let added = host.run_with(&["account", "add", "anna@b.test", "--password-stdin"], "a good password\n");
    assert_eq!(added.code, 0);
    host
}

/// Sets flags, so that there is more than messages to keep.
pub(super) fn flag(server: &Serving) {
    let mut s = connect(server, "imap");
    s.get_mut()
        .write_all(
            b"a LOGIN anna@b.test \"a good password\"\r\nb SELECT INBOX\r\nc STORE 2:9 +FLAGS.SILENT (\\Seen $Work)\r\n\
              d STORE 3 +FLAGS.SILENT (\\Deleted)\r\ne EXPUNGE\r\n",
        )
        .unwrap();
    let mut line = String::new();
    while !line.starts_with("e ") {
        line.clear();
        assert!(s.read_line(&mut line).unwrap() > 0);
    }
    assert!(line.starts_with("e OK"), "{line}");
}

/// Mail goes on until the server has ended.
fn until_it_ends(server: Serving, from: usize) -> (usize, ExitStatus, String) {
    let acknowledged = deliver(&server, from, |n| {
        assert!(n < 200_000, "the index never failed: {}", server.log());
        false
    });
    let (status, log) = server.ended();
    (acknowledged, status, log)
}

/// A server whose writes to files with `what` in their path fail, and what the next start on a disk that works finds.
/// Returns what that start logged.
fn a_failing_index(what: &'static str) -> String {
    let host = set_up();
    let broken = Broken::build(&host, what);
    let server = broken.serve(&host, true);
    assert_eq!(deliver(&server, 0, |n| n == 20), 20);
    flag(&server);
    let before = inbox(&server);
    broken.now();
    let (acknowledged, status, log) = until_it_ends(server, 20);
    assert_eq!(status.code(), Some(75), "{log}");
    assert!(log.contains("the index failed"), "{log}");
    // As systemd would start it again, on a disk that works.
    let server = host.serve();
    let after = inbox(&server);
    let messages = |lines: &[String]| lines.iter().filter(|line| line.contains("FETCH (UID ")).count();
    let known = before.iter().filter(|line| !line.contains("EXISTS") && !line.contains("UIDNEXT"));
    let mut rest = after.iter();
    for line in known {
        assert!(rest.any(|after| after == line), "{line:?} is missing, or out of order");
    }
    let more = messages(&after) - messages(&before);
    // What was under way when the process ended may be there: it was not acknowledged.
    assert!(more == acknowledged || more == acknowledged + 1, "{more} of {acknowledged}");
    for n in 20..20 + acknowledged {
        let subject = format!("Subject: message {n}\r\n");
        assert_eq!(after.iter().filter(|line| **line == subject).count(), 1, "message {n}");
    }
    server.signal(rustix::process::Signal::TERM);
    let (status, log) = server.ended();
    assert!(status.success(), "{log}");
    log
}

#[test]
fn an_index_that_fails_ends_the_server_with_75_and_is_rebuilt() {
    let log = a_failing_index("/index/db");
    assert!(log.contains("its index was rebuilt"), "{log}");
}

#[test]
fn an_index_that_fails_and_cannot_even_be_marked_ends_the_server_with_75_too() {
    // The next start does not know of it. It finds an index that is behind, and the log has the rest.
    a_failing_index("/index/");
}

#[test]
fn without_a_supervisor_the_server_starts_anew_by_itself() {
    let host = set_up();
    let broken = Broken::build(&host, "/index/db");
    let server = broken.serve(&host, false);
    assert_eq!(deliver(&server, 0, |n| n == 20), 20);
    flag(&server);
    let before = inbox(&server);
    let pid = server.pid();
    broken.now();
    let acknowledged = deliver(&server, 20, |n| {
        assert!(n < 200_000, "the index never failed: {}", server.log());
        false
    });
    // The ports are new ones: the configuration leaves them to the system.
    // Each question is a process of its own: a minute's worth of them, at the least.
    let status = (0..3_000).map(|_| host.run(&["status", "--json"])).find(|status| status.code == 0);
    let status = status.unwrap_or_else(|| panic!("{}", server.log())).json();
    assert_eq!(status["server"]["pid"], pid);
    let listeners = status["server"]["listeners"].as_array().unwrap();
    let mut page = String::new();
    for listener in listeners {
        let word = |key: &str| listener[key].as_str().unwrap().to_owned();
        page.push_str(&format!("{} {}\n", word("protocol"), word("address")));
    }
    let mut server = server;
    server.page = page;
    let after = inbox(&server);
    let kept = before.iter().filter(|line| line.starts_with("Subject: ") || line.contains("FETCH (UID "));
    for line in kept {
        assert!(after.contains(line), "{line:?} is missing");
    }
    let count = after.iter().filter(|line| line.starts_with("Subject: message ")).count();
    assert!(count == 19 + acknowledged || count == 20 + acknowledged, "{count} of {acknowledged}");
    assert!(server.log().contains("its index was rebuilt"), "{}", server.log());
    assert!(server.stop().success());
}

/// A small file system of its own, which goes with it.
struct Small(PathBuf);

impl Small {
    /// `None` where this process may not make one.
    fn mount(at: PathBuf) -> Option<Small> {
        std::fs::create_dir_all(&at).unwrap();
        let options = ["-t", "tmpfs", "-o", "size=200m,mode=0700", "tmpfs"];
        let mounted = Command::new("mount").args(options).arg(&at).output();
        mounted.is_ok_and(|out| out.status.success()).then_some(Small(at))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_disk_that_is_full_ends_no_server_and_service_comes_back_with_the_space() {
    let host = Host::new();
    let Some(_small) = Small::mount(host.data()) else {
        return super::skipped("only root can make a small file system");
    };
    let text = std::fs::read_to_string(host.config()).unwrap();
    host.configure(&format!("{text}[tls]\noptional_on_loopback = true\n"));
    assert_eq!(host.run(&["domain", "add", "b.test"]).code, 0);
    let added = host.run_with(&["account", "add", "anna@b.test", "--password-stdin"], "a good password\n");
    assert_eq!(added.code, 0);
    let mut server = host.serve();
    let pid = server.pid();
    // Somebody else fills the disk to its last octet.
    let fill = host.data().join("fill");
    let mut filling = std::fs::File::create(&fill).unwrap();
    let piece = vec![0; 1 << 20];
    for size in [1 << 20, 1 << 10, 1] {
        while filling.write_all(&piece[..size]).is_ok() {}
    }
    drop(filling);
    let mut imap = connect(&server, "imap");
    let mut ask = |command: String| {
        imap.get_mut().write_all(command.as_bytes()).unwrap();
        let mut line = String::new();
        while !line.starts_with("a ") {
            line.clear();
            assert!(imap.read_line(&mut line).unwrap() > 0, "the server has gone");
        }
        line
    };
    assert!(ask("a LOGIN anna@b.test \"a good password\"\r\n".into()).starts_with("a OK"));
    // What needs little room goes on, in the log; the index takes it no more.
    let mut made = 0;
    while !server.log().contains("the disk is full, and the index failed by it") {
        assert!(made < 20_000, "{}", server.log());
        assert!(ask(format!("a CREATE made{made}\r\n")).starts_with("a OK"));
        made += 1;
    }
    assert!(ask("a NOOP\r\n".into()).starts_with("a OK"));
    assert!(server.child.try_wait().unwrap().is_none());
    drop(std::fs::remove_file(&fill));
    // It becomes a new process, on other ports; each question is a process of its own.
    let come_back = |_| {
        let status = host.run(&["status", "--json"]);
        // 1: so small a disk is always nearly full.
        (status.code == 1 && server.log().matches("store open").count() == 2).then(|| status.json())
    };
    let status = (0..3_000).find_map(come_back).unwrap_or_else(|| panic!("{}", server.log()));
    assert_eq!(status["server"]["pid"], pid);
    let listeners = status["server"]["listeners"].as_array().unwrap();
    let imap = listeners.iter().find(|l| l["protocol"] == "imap").unwrap();
    server.page = format!("imap {}\n", imap["address"].as_str().unwrap());
    let mut imap = connect(&server, "imap");
    imap.get_mut()
        .write_all(b"a LOGIN anna@b.test \"a good password\"\r\nb LIST \"\" made*\r\nc LOGOUT\r\n")
        .unwrap();
    let all: Vec<String> = imap.lines().map_while(Result::ok).collect();
    assert_eq!(all.iter().filter(|line| line.starts_with("* LIST ")).count(), made, "{all:?}");
    assert!(server.stop().success());
}
