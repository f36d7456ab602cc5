//! The queue as its keeper sees it: what waits and why, held, released, tried, taken out, and what became of it.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use serde_json::Value;

use super::{Host, Serving};

pub(super) const SECRET: &str = "correct horse battery";

/// A host with b.test and anna@b.test, whose submission takes passwords on loopback without TLS.
pub(super) fn host() -> Host {
    let host = Host::new();
    let text = std::fs::read_to_string(host.config()).unwrap();
    host.configure(&format!("{text}[tls]\noptional_on_loopback = true\n"));
    assert_eq!(host.run(&["domain", "add", "b.test"]).code, 0);
    let added = host.run_with(&["account", "add", "anna@b.test", "--password-stdin"], SECRET);
    assert_eq!(added.code, 0, "{}", added.err);
    host
}

/// Where a server listens for submission.
fn submission(serving: &Serving) -> String {
    let line = serving.page.lines().find(|line| line.trim_start().starts_with("submission "));
    line.unwrap_or_else(|| panic!("{}", serving.page)).split_whitespace().last().unwrap().to_owned()
}

/// Sends a message from anna, with what more is said of the envelope; gives its name.
pub(super) fn send(serving: &Serving, more: &str, to: &[&str]) -> String {
    let stream = TcpStream::connect(submission(serving)).unwrap();
    let mut reader = BufReader::new(stream);
    let reply = |reader: &mut BufReader<TcpStream>| {
        let mut last = String::new();
        loop {
            last.clear();
            reader.read_line(&mut last).unwrap();
            if last.as_bytes().get(3) != Some(&b'-') {
                return last.clone();
            }
        }
    };
    reply(&mut reader);
    let mut say = |line: &str, code: &str| {
        reader.get_mut().write_all(format!("{line}\r\n").as_bytes()).unwrap();
        let said = reply(&mut reader);
        assert!(said.starts_with(code), "{line}: {said}");
        said
    };
    say("EHLO client.test", "250");
    let login = data_encoding::BASE64.encode(format!("\0anna@b.test\0{SECRET}").as_bytes());
    say(&format!("AUTH PLAIN {login}"), "235");
    say(&format!("MAIL FROM:<anna@b.test>{more}"), "250");
    for to in to {
        say(&format!("RCPT TO:<{to}>"), "250");
    }
    say("DATA", "354");
    let text = "From: anna@b.test\r\nTo: x\r\nSubject: Later\r\nMessage-ID: <one@b.test>\r\n\r\nhello\r\n.";
    let said = say(text, "250");
    say("QUIT", "221");
    said.trim_end().rsplit(' ').next().unwrap().to_owned()
}

pub(super) fn listed(host: &Host, more: &[&str]) -> Vec<Value> {
    let done = host.run(&[&["queue", "list", "--json"], more].concat());
    assert_eq!(done.code, 0, "{}", done.err);
    done.json()["rows"].as_array().unwrap().clone()
}

/// What must hold of a message that is to be sent later, with a server and without.
fn looked_at(host: &Host, id: &str) {
    let rows = listed(host, &[]);
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!((&rows[0]["id"], &rows[0]["subject"]), (&Value::from(id), &Value::from("Later")));
    assert_eq!(rows[0]["recipients"].as_array().unwrap().len(), 2);
    let page = host.run(&["queue", "list"]).out;
    assert!(page.contains(id) && page.contains("bob@[127.0.0.77]  to be sent in"), "{page}");
    assert_eq!(listed(host, &["--domain", "[127.0.0.78]"])[0]["recipients"].as_array().unwrap().len(), 1);
    assert!(listed(host, &["--to", "nobody"]).is_empty() && listed(host, &["--from", "ben@"]).is_empty());
    assert_eq!(listed(host, &["--from", "ANNA@b.test"]).len(), 1);
    let shown = host.run(&["queue", "show", id]);
    assert!(shown.out.contains("DKIM-Signature:") && shown.out.contains("Subject: Later"), "{}", shown.out);
    let traced = host.run(&["trace", "<one@b.test>", "--json"]).json();
    assert_eq!(traced["waits"].as_array().unwrap().len(), 1, "{traced}");
    for (args, code) in [
        (&["queue", "show", "none"][..], 3),
        (&["queue", "retry", "none"], 3),
        (&["queue", "hold"], 2),
        (&["queue", "drop", "--domain", "x.test"], 2),
        (&["trace", "nobody@c.test"], 3),
    ] {
        let done = host.run(args);
        assert_eq!(done.code, code, "{args:?}: {}{}", done.out, done.err);
        assert!(done.err.contains("What to do"), "{}", done.err);
    }
    assert!(host.run(&["queue", "hold", id]).out.contains("2 recipients are held."));
    assert_eq!(listed(host, &["--held"]).len(), 1);
    assert!(host.run(&["queue", "list"]).out.contains("held"));
    assert!(host.run(&["queue", "retry", id]).out.contains("Nothing in the queue was changed."));
}

#[test]
fn what_waits_is_seen_held_tried_and_taken_out() {
    let host = host();
    assert!(host.run(&["queue", "list"]).out.contains("Nothing of this kind waits."));
    let serving = host.serve();
    let id = send(&serving, " HOLDFOR=3600", &["bob@[127.0.0.77]", "carol@[127.0.0.78]"]);
    looked_at(&host, &id);
    assert!(serving.stop().success());

    // It is all there without a server, and with the next one.
    assert_eq!(listed(&host, &["--held"]).len(), 1);
    let only_one = ["queue", "release", &id, "--to", "carol", "--json"];
    assert_eq!(host.run(&only_one).json()["recipients"], 1);
    assert!(host.run(&["queue", "drop", &id, "--to", "carol"]).out.contains("1 recipient was taken out."));
    let serving = host.serve();
    assert!(host.run(&["queue", "release", &id]).out.contains("1 recipient was released."));
    // Nobody listens there: it is tried, and put off with the reason.
    let waits = loop {
        let rows = listed(&host, &[]);
        if rows[0]["recipients"][0]["tries"] == 1 {
            break rows;
        }
    };
    assert!(waits[0]["recipients"][0]["why"].as_str().unwrap().contains("127.0.0.77:25"), "{waits:?}");
    let page = host.run(&["queue", "list"]).out;
    assert!(page.contains("next try in") && page.contains("1 try so far"), "{page}");
    let status = host.run(&["status"]).out;
    assert!(status.contains("1 recipient waits, 0 of them being tried: [127.0.0.77] 1"), "{status}");
    assert!(host.run(&["queue", "drop", &id]).out.contains("1 recipient was taken out."));
    assert!(listed(&host, &[]).is_empty());
    assert_eq!(host.run(&["queue", "show", &id]).code, 3, "the message went with its last recipient");
    let fates = host.run(&["trace", &id, "--json"]).json();
    let text = |fate: &Value, name: &str| fate[name].as_str().unwrap().to_owned();
    let mut fates: Vec<_> =
        fates["fates"].as_array().unwrap().iter().map(|f| text(f, "to") + " " + &text(f, "action")).collect();
    fates.sort();
    assert_eq!(fates, ["bob@[127.0.0.77] dropped", "carol@[127.0.0.78] dropped"]);
    assert!(host.run(&["trace", "bob@[127.0.0.77]"]).out.contains("dropped"));
    assert!(serving.stop().success());
}

/// What waited when a backup was made may have been sent since.
#[test]
fn what_waits_in_a_backup_that_is_restored_is_held() {
    let host = host();
    let serving = host.serve();
    let id = send(&serving, " HOLDFOR=3600", &["bob@[127.0.0.77]"]);
    let backups = tempfile::tempdir().unwrap();
    let made = host.run(&["backup", backups.path().to_str().unwrap()]);
    assert_eq!(made.code, 0, "{}", made.err);
    assert!(serving.stop().success());

    let other = Host::new();
    let restored = other.run(&["restore", backups.path().to_str().unwrap()]);
    assert_eq!(restored.code, 0, "{}", restored.err);
    let serving = other.serve();
    let rows = listed(&other, &["--held"]);
    assert_eq!((rows.len(), &rows[0]["id"]), (1, &Value::from(id.clone())), "{rows:?}");
    assert!(serving.log().contains("penfold queue release"), "{}", serving.log());
    assert!(serving.stop().success());
    let serving = other.serve();
    assert!(!serving.log().contains("penfold queue release"), "once is enough: {}", serving.log());
    assert_eq!(listed(&other, &["--held"]).len(), 1);
    assert!(serving.stop().success());

    // Whoever opens it first, and although that process may die before it has held anything.
    let other = Host::new();
    assert_eq!(other.run(&["restore", backups.path().to_str().unwrap()]).code, 0);
    assert_eq!(other.run(&["domain", "list"]).code, 0);
    assert!(!other.data().join("restored").exists() && !other.data().join("hold").exists());
    assert_eq!(listed(&other, &["--held"]).len(), 1, "a command opened it before the server");
    assert_eq!(other.run(&["queue", "release", &id]).code, 0);
    assert_eq!(listed(&other, &["--held"]).len(), 0);
    std::fs::write(other.data().join("hold"), "").unwrap();
    assert_eq!(listed(&other, &["--held"]).len(), 1, "what was begun is ended");
    assert!(!other.data().join("hold").exists());
}
