//! `penfold demo`: what it prints, that the printed lines work, and that nothing is left of it.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use super::{Done, Serving, penfold, run, shown_by};

fn demo(args: &[&str]) -> Serving {
    Serving::start(penfold(&[&["demo", "--port-base", "0"], args].concat()))
}

#[test]
fn the_ready_line_has_everything_a_script_needs() {
    let demo = demo(&["--json"]);
    let ready: serde_json::Value = serde_json::from_str(&demo.page).unwrap();
    assert_eq!(demo.page.lines().count(), 1);
    assert_eq!(ready["host"], "127.0.0.1");
    assert_eq!(ready["pid"], demo.pid());
    let ports = ready["ports"].as_object().unwrap();
    let names: Vec<&str> = ports.keys().map(String::as_str).collect();
    for name in ["smtp", "submissions", "submission", "imap", "imaps", "pop3", "pop3s"] {
        assert!(names.contains(&name), "{name} is missing: {names:?}");
    }
    for (name, port) in ports {
        let port = u16::try_from(port.as_u64().unwrap()).unwrap();
        std::net::TcpStream::connect(("127.0.0.1", port)).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
    let addresses: Vec<&str> =
        ready["accounts"].as_array().unwrap().iter().map(|a| a["address"].as_str().unwrap()).collect();
    assert_eq!(addresses, ["alice@demo.test", "bob@demo.test", "world@demo.test"]);
    let pem = std::fs::read_to_string(ready["certificate"].as_str().unwrap()).unwrap();
    assert!(pem.contains("BEGIN CERTIFICATE") && !pem.contains("PRIVATE"), "{pem}");
    let shown = format!("{}{}", shown_by(demo.pid()), demo.log());
    for account in ready["accounts"].as_array().unwrap() {
        assert!(!shown.contains(account["password"].as_str().unwrap()), "{shown}");
    }
}

#[test]
fn a_fresh_directory_goes_however_it_is_asked_to_end() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let mut demo = demo(&["--json"]);
        let ready: serde_json::Value = serde_json::from_str(&demo.page).unwrap();
        let data = std::path::PathBuf::from(ready["data"].as_str().unwrap());
        assert!(data.join("log").is_dir());
        demo.signal(signal);
        assert!(demo.child.wait().unwrap().success(), "{}", demo.log());
        assert!(!data.exists());
    }
}

#[test]
fn a_named_directory_stays_with_its_mail() {
    let directory = tempfile::tempdir().unwrap();
    let named = directory.path().join("d");
    let args = ["--json", "--dir", named.to_str().unwrap()];
    let first = demo(&args);
    let ready: serde_json::Value = serde_json::from_str(&first.page).unwrap();
    assert_eq!(ready["data"].as_str().unwrap(), named.canonicalize().unwrap().to_str().unwrap());
    assert!(first.stop().success());
    let second = demo(&args);
    let again: serde_json::Value = serde_json::from_str(&second.page).unwrap();
    assert_ne!(ready["accounts"][0]["password"], again["accounts"][0]["password"]);

    // The file it wrote lets the other commands reach it; each has its one welcome still.
    let config = named.join("config.toml");
    let accounts = run(&["account", "list", "--json", "--config", config.to_str().unwrap()]);
    assert_eq!(accounts.code, 0, "{}", accounts.err);
    assert_eq!((&accounts.json()[0]["messages"], &accounts.json()[1]["messages"]), (&1.into(), &1.into()));
    assert!(second.stop().success());
    assert!(named.join("log").is_dir());
}

#[test]
fn the_two_lines_it_prints_work_when_pasted() {
    let curl = Command::new("curl").arg("--version").output();
    if !curl.is_ok_and(|o| o.status.success()) {
        assert!(std::env::var_os("PENFOLD_NO_SKIP").is_none(), "curl is missing: apt install curl");
        return println!("skipped: curl is not installed (apt install curl)");
    }
    let demo = demo(&[]);
    let lines: Vec<&str> = demo.page.lines().filter(|line| line.trim_start().starts_with("curl ")).collect();
    let [send, read] = lines[..] else { panic!("two lines to try:\n{}", demo.page) };
    let paste = |line: &str| {
        let mut shell = Command::new("timeout");
        Done::of(shell.args(["60", "sh", "-c", line]).stdin(Stdio::null()).output().unwrap())
    };
    let welcome = paste(read);
    assert!(welcome.code == 0 && welcome.out.contains("Subject: Welcome"), "{} {}", welcome.out, welcome.err);
    let sent = paste(send);
    assert_eq!(sent.code, 0, "{} {}\n{}", sent.out, sent.err, demo.log());
    let arrived = paste(read);
    assert!(
        arrived.code == 0
            && arrived.out.contains("Subject: It works")
            && arrived.out.contains("Received: from example.org ("),
        "{} {}",
        arrived.out,
        arrived.err
    );
}

#[test]
fn the_table_has_what_thunderbird_asks_for() {
    let demo = demo(&[]);
    for needle in
        ["alice@demo.test", "bob@demo.test", "SSL/TLS", "STARTTLS", "SHA-256", "127.0.0.1", "Ctrl-C"]
    {
        assert!(demo.page.contains(needle), "{needle} is missing:\n{}", demo.page);
    }
    assert!(demo.stop().success());
}

#[test]
fn a_port_in_use_names_the_way_out() {
    // The port above which the first one is taken: the listener's own.
    let (taken, base) = loop {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        if (1_025..=64_000).contains(&port) {
            break (taken, port - 25);
        }
    };
    let done = run(&["demo", "--port-base", &base.to_string()]);
    drop(taken);
    assert_eq!(done.code, 1, "{}", done.err);
    for needle in [&format!("127.0.0.1:{}", base + 25), "in use", "--port-base"] {
        assert!(done.err.contains(needle), "{needle} is missing: {}", done.err);
    }
    assert!(!done.err.contains("postfix"), "a demo is no reason to stop another server: {}", done.err);
}

#[test]
fn nothing_leaves_loopback() {
    let demo = demo(&["--json"]);
    let fds = std::fs::read_dir(format!("/proc/{}/fd", demo.pid())).unwrap();
    let sockets: Vec<String> = fds
        .filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok())
        .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let mut listening = 0;
    for table in ["tcp", "tcp6", "udp", "udp6"] {
        let file = std::fs::File::open(format!("/proc/{}/net/{table}", demo.pid())).unwrap();
        for line in BufReader::new(file.take(16 << 20)).lines().skip(1) {
            let line = line.unwrap();
            let fields: Vec<&str> = line.split_whitespace().collect();
            if sockets.iter().any(|inode| inode == fields[9]) {
                // 127.0.0.1 as /proc writes it.
                assert!(table == "tcp" && fields[1].starts_with("0100007F:"), "{table}: {line}");
                listening += 1;
            }
        }
    }
    assert_eq!(listening, 7);
}
