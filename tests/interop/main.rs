//! Real clients against the real binary, on loopback.
//!
//! A client that is not installed is skipped with a line that says so; with `PENFOLD_NO_SKIP=1` a skip is a failure.
#![allow(clippy::unwrap_used, reason = "a test stops at what it does not expect")]

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/nameserver.rs"]
#[allow(dead_code, reason = "the unit tests use the rest of it")]
mod nameserver;

mod dkim;
mod dsn;
mod edges;
mod fetch;
mod import;
mod outbound;
mod python;
mod send;
mod sync;
mod tls;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use support::client::Lines;
use support::server::Demo;

/// The server under test.
fn demo() -> Demo {
    Demo::start(env!("CARGO_BIN_EXE_penfold"), None, &[])
}

/// A line that is seen although the test passes: the test runner keeps what is printed by macros only.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Whether `program` is there. Prints its version; says how to get it when it is missing.
fn have(program: &str, version: &[&str], package: &str) -> bool {
    match Command::new(program).args(version).stdin(Stdio::null()).output() {
        Ok(o) => {
            let text = [o.stdout, o.stderr].concat();
            let text = String::from_utf8_lossy(&text);
            say(&format!(
                "{program}: {}",
                text.lines().find(|l| !l.trim().is_empty()).unwrap_or("(no version)")
            ));
            true
        }
        Err(e) => {
            assert!(
                std::env::var_os("PENFOLD_NO_SKIP").is_none_or(|v| v != "1"),
                "{program} is missing ({e}) and nothing may be skipped: apt-get install {package}"
            );
            say(&format!("SKIPPED: {program} is not installed (apt-get install {package})"));
            false
        }
    }
}

/// Runs a client to its end within a minute; its output.
fn run(command: &mut Command) -> Output {
    let program = command.get_program().to_owned();
    let args: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let mut limited = Command::new("timeout");
    limited.arg("60").arg(&program).args(&args);
    if let Some(dir) = command.get_current_dir() {
        limited.current_dir(dir);
    }
    for (k, v) in command.get_envs() {
        if let Some(v) = v {
            limited.env(k, v);
        }
    }
    limited.stdin(Stdio::null()).output().unwrap()
}

/// Runs a client that must succeed; what it printed on both streams.
fn ok(command: &mut Command, demo: &Demo) -> String {
    let o = run(command);
    let text = format!("{}{}", String::from_utf8_lossy(&o.stdout), String::from_utf8_lossy(&o.stderr));
    assert!(o.status.success(), "{command:?}: {}\n{text}\nserver:\n{}", o.status, demo.log());
    text
}

/// A file with one message in it, with the line ends of this system: clients make CRLF of them.
fn message_file(dir: &Path, name: &str, from: &str, to: &str) -> std::path::PathBuf {
    let path = dir.join(name);
    let text =
        format!("From: <{from}>\nTo: <{to}>\nSubject: {name}\n\nHello from {name}.\n.a line with a dot\n");
    std::fs::write(&path, text).unwrap();
    path
}

/// The INBOX of account `n` as one text: every message, whole.
fn inbox(demo: &Demo, n: usize) -> String {
    let (user, password) = demo.account(n);
    let mut s = Lines::plain(demo.addr("imap")).unwrap();
    s.imap_login(&user, &password);
    s.imap("a", "EXAMINE INBOX").unwrap();
    s.imap("b", "FETCH 1:* (BODY.PEEK[])").unwrap().0.join("\n")
}
