//! `penfold undelete`: mail deleted over IMAP is listed, and comes back while the server runs, and without one.

#[path = "../../support/client.rs"]
#[allow(dead_code, reason = "this test uses a part of it")]
pub(super) mod client;

use std::net::SocketAddr;
use std::path::PathBuf;

use client::Lines;

use super::{Done, Serving, penfold, run};

/// A demo in a directory of its own, so that its commands work when it has ended.
pub(super) struct Demo {
    pub(super) serving: Serving,
    pub(super) ready: serde_json::Value,
    config: PathBuf,
    _directory: tempfile::TempDir,
}

pub(super) const ALICE: &str = "alice@demo.test";

impl Demo {
    pub(super) fn new() -> Demo {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("d");
        let mut command = penfold(&["demo", "--port-base", "0", "--json", "--dir"]);
        command.arg(&data);
        let serving = Serving::start(command);
        let ready = serde_json::from_str(&serving.page).unwrap();
        Demo { serving, ready, config: data.join("config.toml"), _directory: directory }
    }

    pub(super) fn run(&self, args: &[&str]) -> Done {
        run(&[args, &["--config", self.config.to_str().unwrap()]].concat())
    }

    fn list(&self, more: &[&str]) -> Vec<serde_json::Value> {
        let done = self.run(&[&["undelete", "list", "--account", ALICE, "--json"], more].concat());
        assert_eq!(done.code, 0, "{}", done.err);
        done.json()["rows"].as_array().unwrap().clone()
    }

    pub(super) fn address(&self, service: &str) -> SocketAddr {
        let port = u16::try_from(self.ready["ports"][service].as_u64().unwrap()).unwrap();
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn deliver(&self, subject: &str) {
        let mut smtp = Lines::plain(self.address("smtp")).unwrap();
        assert!(smtp.smtp_reply().unwrap().starts_with("220 "));
        assert!(smtp.smtp("EHLO c.test").unwrap().starts_with("250 "));
        let message =
            format!("From: =?utf-8?q?J=C3=B6rg?= <joerg@c.test>\r\nSubject: {subject}\r\n\r\nHello\r\n");
        assert!(smtp.deliver("joerg@c.test", ALICE, message.as_bytes()).unwrap().starts_with("250 "));
    }

    pub(super) fn imap(&self) -> Imap {
        let mut lines = Lines::plain(self.address("imap")).unwrap();
        lines.imap_login(ALICE, self.ready["accounts"][0]["password"].as_str().unwrap());
        Imap(lines)
    }
}

pub(super) struct Imap(pub(super) Lines);

impl Imap {
    /// What a command answers before its OK.
    pub(super) fn ok(&mut self, command: &str) -> String {
        let (lines, end) = self.0.imap("a", command).unwrap();
        assert!(end.starts_with("a OK"), "{command}: {lines:?} {end}");
        lines.join("\n")
    }
}

#[test]
fn a_message_deleted_over_imap_is_back_with_its_flags_while_the_server_runs() {
    let demo = Demo::new();
    demo.deliver("Invoice 7");
    demo.deliver("Something else");
    let mut imap = demo.imap();
    imap.ok("SELECT INBOX");
    let before = imap.ok("FETCH 2 (UID INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER.FIELDS (SUBJECT)])");
    assert!(before.contains("Invoice 7"), "{before}");
    imap.ok(r"STORE 2 +FLAGS (\Seen \Flagged $Work \Deleted)");
    imap.ok("EXPUNGE");
    // Moved mail is not gone, so it is not listed.
    imap.ok("MOVE 1 Archive");

    let rows = demo.list(&[]);
    assert_eq!(rows.len(), 1, "{rows:?}");
    let row = &rows[0];
    assert_eq!(
        (&row["mailbox"], &row["from"], &row["subject"]),
        (&"INBOX".into(), &"Jörg".into(), &"Invoice 7".into())
    );
    assert_eq!(demo.list(&["--all"]).len(), 2);
    for (filter, found) in [
        (&["--subject", "INVOICE"][..], 1),
        (&["--subject", "else"], 0),
        (&["--from", "jörg"], 1),
        (&["--from", "joerg@c.test", "--subject", "7"], 1),
        (&["--mailbox", "inbox", "--since", "1h"], 1),
        (&["--mailbox", "Archive"], 0),
        (&["--until", "1h"], 0),
        (&["--since", "2026-01-01", "--until", "2999-01-01T10:00"], 1),
        (&["--whole"], 0),
    ] {
        assert_eq!(demo.list(filter).len(), found, "{filter:?}");
    }
    let id = row["id"].as_str().unwrap();
    let page = demo.run(&["undelete", "list"]);
    assert!(page.out.contains(id) && page.out.contains("SUBJECT"), "{}", page.out);

    let restored = demo.run(&["undelete", "restore", id]);
    assert_eq!(restored.code, 0, "{}", restored.err);
    assert_eq!(restored.out, "1 message back in INBOX of alice@demo.test.\n");
    // The client that has the mailbox open is told.
    assert!(imap.ok("NOOP").contains("* 2 EXISTS"));
    let flags = imap.ok("FETCH 2 (UID FLAGS)");
    for flag in [r"\Seen", r"\Flagged", "$Work", "UID 4"] {
        assert!(flags.contains(flag), "{flag} is missing: {flags}");
    }
    assert!(!flags.contains(r"\Deleted"), "{flags}");
    let after = imap.ok("FETCH 2 (UID INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER.FIELDS (SUBJECT)])");
    assert_eq!(after, before.replace("UID 2", "UID 4"));

    // It is back, so it cannot be brought back.
    let again = demo.run(&["undelete", "restore", id]);
    assert!(again.code == 3 && again.err.contains("nothing to bring back"), "{} {}", again.code, again.err);
    assert_eq!(demo.list(&[]).len(), 0);
}

#[test]
fn a_deleted_mailbox_comes_back_whole() {
    let demo = Demo::new();
    let mut imap = demo.imap();
    imap.ok("CREATE Lists/rust");
    for n in 1..=40 {
        let message = format!("From: a@c.test\r\nSubject: {n}\r\n\r\nHello\r\n");
        assert!(imap.0.append("a", "Lists/rust", message.as_bytes()).unwrap().starts_with("a OK"));
    }
    imap.ok("SELECT Lists/rust");
    imap.ok(r"STORE 40 +FLAGS.SILENT (\Deleted)");
    imap.ok("EXPUNGE");
    imap.ok(r"STORE 7 +FLAGS.SILENT (\Answered)");
    imap.ok("UNSELECT");
    imap.ok("DELETE Lists/rust");
    assert!(!imap.ok(r#"LIST "" *"#).contains("rust"));

    let rows = demo.list(&["--mailbox", "Lists/rust"]);
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert_eq!((&rows[0]["whole"], &rows[0]["messages"]), (&true.into(), &39.into()));
    let page = demo.run(&["undelete", "list"]);
    assert!(page.out.contains("39 messages") && page.out.contains("(the whole mailbox)"), "{}", page.out);

    let args = ["undelete", "restore", "--account", ALICE, "--mailbox", "Lists/rust", "--whole"];
    let asks = demo.run(&args);
    assert!(asks.code == 2 && asks.err.contains("39 messages") && asks.err.contains("--yes"), "{}", asks.err);
    let restored = demo.run(&[&args[..], &["--yes", "--json"]].concat());
    assert_eq!(
        restored.json(),
        serde_json::json!([{"account": ALICE, "mailbox": "Lists/rust", "messages": 39}])
    );
    assert!(imap.ok(r#"LSUB "" *"#).contains("Lists/rust"));
    assert!(imap.ok("SELECT Lists/rust").contains("* 39 EXISTS"));
    assert!(imap.ok("SEARCH ANSWERED").contains("* SEARCH 7"));
    let subjects = imap.ok("FETCH 1:* BODY.PEEK[HEADER.FIELDS (SUBJECT)]");
    let order: Vec<&str> = subjects.lines().filter(|line| line.starts_with("Subject: ")).collect();
    assert_eq!(order, (1..=39).map(|n| format!("Subject: {n}")).collect::<Vec<_>>());

    // What was deleted before it, into another mailbox.
    let more = ["undelete", "restore", "--account", ALICE, "--mailbox", "Lists/rust", "--yes", "--to"];
    let nowhere = demo.run(&[&more[..], &["Nowhere"]].concat());
    assert!(nowhere.code == 3 && nowhere.err.contains("no mailbox Nowhere"), "{}", nowhere.err);
    assert_eq!(
        demo.run(&[&more[..], &["INBOX"]].concat()).out,
        format!("1 message back in INBOX of {ALICE}.\n")
    );
}

#[test]
fn mail_of_a_removed_account_comes_back_to_another_without_a_server() {
    let demo = Demo::new();
    demo.deliver("For the successor");
    let removed = demo.run(&["account", "remove", ALICE, "--yes"]);
    assert!(removed.code == 0 && removed.out.contains("2 messages"), "{} {}", removed.out, removed.err);
    demo.serving.signal(rustix::process::Signal::TERM);
    let config = demo.config.to_str().unwrap().to_owned();
    let Demo { mut serving, _directory, .. } = demo;
    assert!(serving.child.wait().unwrap().success());
    let run = |args: &[&str]| run(&[args, &["--config", &config]].concat());
    let rows = run(&["undelete", "list", "--json"]).json();
    let account = rows["rows"][0]["account"].as_str().unwrap().to_owned();
    assert_eq!((&rows["messages"], &account[..1]), (&2.into(), "#"));
    let restore = ["undelete", "restore", "--account", &account, "--yes"];
    let gone = run(&restore);
    assert!(gone.code == 3 && gone.err.contains("--to-account"), "{} {}", gone.code, gone.err);
    let back = run(&[&restore[..], &["--to-account", "bob@demo.test"]].concat());
    assert_eq!((back.code, back.out.as_str()), (0, "2 messages back in INBOX of bob@demo.test.\n"));
}

#[test]
fn what_is_typed_wrong_is_told() {
    let demo = Demo::new();
    for (args, code, word) in [
        (&["undelete", "restore"][..], 2, "nothing says which"),
        (&["undelete", "restore", "seven"], 2, "does not name deleted mail"),
        (&["undelete", "restore", "7.7.7"], 3, "nothing to bring back"),
        (&["undelete", "list", "--since", "yesterday"], 2, "not a time"),
        (&["undelete", "list", "--account", "nobody@demo.test"], 3, "no account"),
        (&["undelete", "list"], 0, "There is no deleted mail"),
    ] {
        let done = demo.run(args);
        let all = format!("{}{}", done.out, done.err);
        assert!(done.code == code && all.contains(word), "{args:?}: {} {all}", done.code);
    }
}
