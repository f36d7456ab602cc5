//! Import and export with the real program: with a server and without one, interrupted and begun again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::{Done, Host};

pub(super) const ANNA: &str = "anna@b.test";
pub(super) const BEN: &str = "ben@b.test";

/// A host with two accounts.
pub(super) fn household() -> Host {
    let host = Host::new();
    assert_eq!(host.run(&["domain", "add", "b.test"]).code, 0);
    for account in [ANNA, BEN] {
        let made = host.run_with(&["account", "add", account, "--password-stdin"], "a good password\n");
        assert_eq!(made.code, 0, "{}", made.err);
    }
    host
}

/// A mbox of `n` messages of about `size` octets, no two alike.
pub(super) fn mbox(path: &Path, n: usize, size: usize) {
    let line = "some words that fill a line of a message, as messages have them\n";
    let mut text = String::new();
    for i in 0..n {
        text.push_str(&format!(
            "From a@b.test Fri Jul  8 12:{:02}:{:02} 2011\nSubject: number {i}\nMessage-ID: <{i}@b.test>\nStatus: {}\n\n",
            i / 60 % 60,
            i % 60,
            if i % 2 == 0 { "RO" } else { "O" },
        ));
        for _ in 0..size / line.len() {
            text.push_str(line);
        }
        text.push_str(">From me\n\n");
    }
    fs::write(path, text).unwrap();
}

/// Every file below a directory, with its octets; but for what names the account.
pub(super) fn tree(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let text = fs::read(&path).unwrap();
                let text = String::from_utf8_lossy(&text).replace(BEN, ANNA).into_bytes();
                files.push((path.strip_prefix(root).unwrap().to_owned(), text));
            }
        }
    }
    files.sort();
    files
}

pub(super) fn import(host: &Host, path: &Path, account: &str, more: &[&str]) -> Done {
    host.run(&[&["import", path.to_str().unwrap(), "--account", account], more].concat())
}

pub(super) fn export(host: &Host, path: &Path, account: &str, more: &[&str]) {
    let done = host.run(&[&["export", path.to_str().unwrap(), "--account", account], more].concat());
    assert_eq!(done.code, 0, "{} {}", done.out, done.err);
}

/// The messages of an account.
pub(super) fn held(host: &Host, account: &str) -> u64 {
    let accounts = host.run(&["account", "list", "--json"]).json();
    let found = accounts.as_array().unwrap().iter().find(|a| a["login"] == account).unwrap();
    found["messages"].as_u64().unwrap()
}

/// A Maildir with what mailboxes can have.
fn maildir(root: &Path) {
    for (name, text) in [
        ("cur/1310000001.a:2,FS", "Subject: one\n\nx\n"),
        ("new/1310000002.a", "Subject: two\n\nno end"),
        (".Entw&APw-rfe/cur/1:2,Da", "Subject: three\r\n\r\nFrom x\r\n"),
        (".Entw&APw-rfe/dovecot-keywords", "0 $Forwarded\n"),
        (".A.B.C/cur/1:2,RT", "Subject: four\n\n\n\n"),
        (".Sent/cur/1:2,S", "Subject: five\n\n\0\n"),
    ] {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

#[test]
fn export_and_import_are_the_identity_with_and_without_a_server() {
    let host = household();
    let at = |name: &str| host.directory.path().join(name);
    maildir(&at("source"));
    let mut server = None;
    for round in 0..2 {
        let done = import(&host, &at("source"), ANNA, &["--json"]);
        assert_eq!(done.code, 0, "{} {}", done.out, done.err);
        let report = done.json();
        assert_eq!(report["messages"], if round == 0 { 5 } else { 0 });
        assert_eq!(report["duplicates"], if round == 0 { 0 } else { 5 });
        for format in ["mbox", "maildir"] {
            let (first, second) = (at(&format!("{format}{round}-a")), at(&format!("{format}{round}-b")));
            export(&host, &first, ANNA, &["--format", format]);
            assert_eq!(import(&host, &first, BEN, &[]).code, 0);
            export(&host, &second, BEN, &["--format", format]);
            let (first, second) = (tree(&first), tree(&second));
            // Maildir's names say when they were written.
            let texts = |tree: &[(PathBuf, Vec<u8>)]| {
                let name = |path: &Path| match path.to_str().unwrap().split_once(".Q") {
                    Some((_, rest)) => rest.to_owned(),
                    None => path.display().to_string(),
                };
                let mut texts: Vec<(String, Vec<u8>)> =
                    tree.iter().map(|(p, t)| (name(p), t.clone())).collect();
                texts.sort();
                texts
            };
            assert_eq!(texts(&first), texts(&second), "{format}, round {round}");
            assert!(first.len() >= 6);
        }
        assert_eq!((held(&host, ANNA), held(&host, BEN)), (5, 5));
        // The second round with a server.
        if round == 0 {
            server = Some(host.serve());
        }
    }
    assert!(server.unwrap().stop().success());
}

#[test]
fn an_import_is_told_and_a_dry_run_changes_nothing() {
    let host = household();
    let at = |name: &str| host.directory.path().join(name);
    mbox(&at("Old Mail.mbox"), 20, 200);
    fs::write(at("picture.jpg"), [0xff, 0xd8]).unwrap();
    let dry = import(&host, &at("Old Mail.mbox"), ANNA, &["--dry-run"]);
    assert!(dry.code == 0 && dry.out.contains("20 messages would come over"), "{} {}", dry.out, dry.err);
    assert_eq!(held(&host, ANNA), 0);
    let _server = host.serve();
    let dry = import(&host, &at("Old Mail.mbox"), ANNA, &["--dry-run", "--json"]).json();
    assert_eq!((&dry["dry_run"], &dry["messages"]), (&true.into(), &20.into()));
    assert_eq!(held(&host, ANNA), 0);

    let done = import(&host, &at("Old Mail.mbox"), ANNA, &["--into", "Archive/Old"]);
    assert_eq!(done.code, 0, "{}", done.err);
    for needle in ["20 messages came over", "Archive/Old", "new mailbox"] {
        assert!(done.out.contains(needle), "{needle} is missing: {}", done.out);
    }
    for (path, code, word) in
        [("picture.jpg", 1, "does not begin like mail"), ("nowhere", 3, "nowhere cannot be read")]
    {
        let done = import(&host, &at(path), ANNA, &[]);
        assert!(
            done.code == code && format!("{}{}", done.out, done.err).contains(word),
            "{} {}",
            done.out,
            done.err
        );
    }
    let nobody = import(&host, &at("Old Mail.mbox"), "nobody@b.test", &[]);
    assert!(nobody.code == 3 && nobody.err.contains("no account nobody@b.test"), "{}", nobody.err);
    let full = host.run(&["export", host.directory.path().to_str().unwrap(), "--account", ANNA]);
    assert!(full.code == 1 && full.err.contains("not empty"), "{}", full.err);
    let all = host.run(&["export", at("all").to_str().unwrap(), "--all", "--json"]);
    assert_eq!((all.code, all.out.lines().count()), (0, 2), "{}", all.err);
    assert!(
        at("all/anna@b.test/Archive/Old.mbox").exists() && at("all/ben@b.test/penfold-export.json").exists()
    );
}

#[test]
fn two_imports_of_the_same_at_once_take_nothing_twice() {
    let host = household();
    let path = host.directory.path().join("a.mbox");
    mbox(&path, 2_000, 500);
    let _server = host.serve();
    let args = ["import", path.to_str().unwrap(), "--account", ANNA];
    let start = || host.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let (mut first, mut second) = (start(), start());
    assert!(first.wait().unwrap().success() && second.wait().unwrap().success());
    assert_eq!(held(&host, ANNA), 2_000);
}

#[test]
fn an_import_for_nobody_makes_no_data_directory() {
    let host = Host::new();
    let path = host.directory.path().join("a.mbox");
    mbox(&path, 1, 10);
    let done = import(&host, &path, ANNA, &[]);
    assert!(done.code == 3 && done.err.contains("no account"), "{} {}", done.code, done.err);
    assert!(!host.data().exists());
}

/// Runs an import and kills something once some of it is there, until it has come over; nothing twice, nothing missing.
#[test]
fn an_interrupted_import_is_begun_again_and_nothing_is_there_twice_or_missing() {
    const MESSAGES: u64 = 6_000;
    let host = household();
    let path = host.directory.path().join("big.mbox");
    mbox(&path, usize::try_from(MESSAGES).unwrap(), 2_000);
    let args = ["import", path.to_str().unwrap(), "--account", ANNA, "--into", "Big"];
    let mut server = host.serve();
    for kill_server in [false, true, false] {
        let before = held(&host, ANNA);
        let mut command = host.command(&args);
        let mut import = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Until something has come; a quick machine may have finished.
        while held(&host, ANNA) == before && import.try_wait().unwrap().is_none() {}
        if kill_server {
            server.child.kill().unwrap();
            server.child.wait().unwrap();
            assert!(!import.wait().unwrap().success() || held(&host, ANNA) == MESSAGES);
            server = host.serve();
        } else {
            import.kill().unwrap();
            import.wait().unwrap();
        }
    }
    let last = host.run(&[&args[..], &["--json"]].concat());
    assert_eq!(last.code, 0, "{} {}", last.out, last.err);
    let report = last.json();
    let all = report["messages"].as_u64().unwrap() + report["duplicates"].as_u64().unwrap();
    assert_eq!((all, held(&host, ANNA)), (MESSAGES, MESSAGES));
    let out = host.directory.path().join("out");
    export(&host, &out, ANNA, &[]);
    let text = fs::read_to_string(out.join("Big.mbox")).unwrap();
    for n in 0..MESSAGES {
        assert_eq!(text.matches(&format!("\nSubject: number {n}\n")).count(), 1, "number {n}");
    }
}

#[test]
fn root_reads_what_the_owner_of_the_data_cannot() {
    use std::os::unix::fs::{PermissionsExt, chown};
    if !rustix::process::geteuid().is_root() {
        return super::skipped("only root can become another user");
    }
    let host = household();
    let nobody = 65_534;
    let mut open = vec![host.data()];
    while let Some(path) = open.pop() {
        chown(&path, Some(nobody), Some(nobody)).unwrap();
        if path.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    fs::set_permissions(host.directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let path = host.directory.path().join("private.mbox");
    mbox(&path, 3, 10);
    fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    let done = import(&host, &path, ANNA, &[]);
    assert_eq!(done.code, 0, "{} {}", done.out, done.err);
    let out = host.directory.path().join("out");
    export(&host, &out, ANNA, &["--format", "maildir"]);
    use std::os::unix::fs::MetadataExt;
    let found = fs::metadata(out.join("penfold-export.json")).unwrap();
    assert_eq!((found.uid(), found.mode() & 0o077), (0, 0));
    let mut open = vec![host.data()];
    while let Some(path) = open.pop() {
        assert_eq!(fs::symlink_metadata(&path).unwrap().uid(), nobody, "{}", path.display());
        if path.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
}

#[test]
fn an_import_fills_an_account_up_to_its_quota_and_says_what_had_no_room() {
    let host = household();
    let source = host.directory.path().join("q.mbox");
    mbox(&source, 40, 500);
    assert_eq!(host.run(&["account", "quota", ANNA, "--messages", "25"]).code, 0);
    let done = host.run(&["import", source.to_str().unwrap(), "--account", ANNA, "--json"]);
    assert_ne!(done.code, 0, "not everything came over");
    let list = host.run(&["account", "list", "--json"]);
    assert!(list.out.contains("\"messages\":25,"), "{}", list.out);
    assert!((done.out.clone() + &done.err).contains("quota"), "{} {}", done.out, done.err);
    // With more room, the rest comes, and nothing twice.
    assert_eq!(host.run(&["account", "quota", ANNA, "--none"]).code, 0);
    assert_eq!(host.run(&["import", source.to_str().unwrap(), "--account", ANNA]).code, 0);
    let list = host.run(&["account", "list", "--json"]);
    assert!(list.out.contains("\"messages\":40,"), "{}", list.out);
}

#[test]
fn an_import_fills_a_quota_up_to_its_last_message_and_not_only_to_the_last_batch() {
    let host = household();
    let path = host.directory.path().join("much");
    mbox(&path, 300, 2_000);
    for (quota, fit) in [(&["--messages", "100"], 100), (&["--messages", "280"], 280)] {
        assert_eq!(host.run(&[&["account", "quota", ANNA], &quota[..]].concat()).code, 0);
        let done = import(&host, &path, ANNA, &["--json"]);
        assert_eq!(done.code, 1, "{} {}", done.out, done.err);
        assert_eq!(held(&host, ANNA), fit);
        let report = done.json();
        assert_eq!(report["refused"].as_u64().unwrap(), 300 - fit, "{report}");
        assert!(report["refusals"][0]["why"].as_str().unwrap().contains("quota"), "{report}");
    }
    // By octets: as many as there is room for, whatever their number.
    assert_eq!(host.run(&["account", "quota", BEN, "--storage", "100k"]).code, 0);
    assert_eq!(import(&host, &path, BEN, &[]).code, 1);
    let octets = host.run(&["account", "list", "--json"]).json();
    let ben = octets.as_array().unwrap().iter().find(|a| a["login"] == BEN).unwrap();
    let octets = ben["octets"].as_u64().unwrap();
    assert!((95_000..=100_000).contains(&octets), "{octets}");
}

#[test]
fn keywords_that_a_mailbox_has_no_room_for_are_counted_and_told() {
    let host = household();
    let path = host.directory.path().join("keywords.mbox");
    let mut text = String::new();
    for i in 0..150 {
        text.push_str(&format!(
            "From a@b.test Fri Jul  8 12:00:00 2011\nX-Keywords: word{i} common\nSubject: {i}\n\nx\n\n"
        ));
    }
    fs::write(&path, text).unwrap();
    // 128 different ones: the common one and 127 others.
    let dry = import(&host, &path, ANNA, &["--dry-run", "--json"]).json();
    assert_eq!(dry["mailboxes"]["keywords"]["keywords_left_out"], 23, "{dry}");
    let done = import(&host, &path, ANNA, &[]);
    assert_eq!(done.code, 0, "{} {}", done.out, done.err);
    assert!(done.out.contains("Keywords were left out of 23 messages in keywords"), "{}", done.out);
    assert_eq!(held(&host, ANNA), 150);
    let _server = host.serve();
    let done = import(&host, &path, BEN, &["--json"]).json();
    assert_eq!(done["mailboxes"]["keywords"]["keywords_left_out"], 23, "{done}");
}

#[test]
fn an_import_into_a_mailbox_without_a_name_is_refused() {
    let host = household();
    let path = host.directory.path().join("a.mbox");
    mbox(&path, 1, 10);
    for name in ["", "Old//2019", "/Old", " ", "a\tb"] {
        let done = import(&host, &path, ANNA, &["--into", name]);
        assert_eq!(done.code, 2, "{name:?}: {} {}", done.out, done.err);
        assert!(done.err.contains("--into") && done.err.contains("name a mailbox"), "{}", done.err);
    }
    assert_eq!(import(&host, &path, ANNA, &["--into", "Old/\u{e4} 2019"]).code, 0);
    assert_eq!(held(&host, ANNA), 1);
}

#[test]
fn an_import_says_that_the_server_is_being_stopped_and_how_to_go_on() {
    const MESSAGES: u64 = 20_000;
    let host = household();
    let path = host.directory.path().join("much.mbox");
    mbox(&path, usize::try_from(MESSAGES).unwrap(), 2_000);
    let server = host.serve();
    let args = ["import", path.to_str().unwrap(), "--account", ANNA];
    let mut command = host.command(&args);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while held(&host, ANNA) == 0 {}
    assert!(server.stop().success());
    let done = Done::of(child.wait_with_output().unwrap());
    // A quick machine may have finished.
    if done.code != 0 {
        assert_eq!(done.code, 5, "{} {}", done.out, done.err);
        assert!(done.err.contains("the server is being stopped"), "{}", done.err);
        assert!(done.err.contains("run the same command again"), "{}", done.err);
        // What it says is there is there.
        let told: u64 = done.out.split_whitespace().nth(1).unwrap().replace(',', "").parse().unwrap();
        assert_eq!(told, held(&host, ANNA), "{}", done.out);
    }
    assert_eq!(host.run(&args).code, 0);
    assert_eq!(held(&host, ANNA), MESSAGES);
}

#[test]
fn a_dry_run_says_what_the_quota_has_no_room_for() {
    let host = household();
    let path = host.directory.path().join("q.mbox");
    mbox(&path, 40, 500);
    assert_eq!(host.run(&["account", "quota", ANNA, "--messages", "25"]).code, 0);
    let dry = import(&host, &path, ANNA, &["--dry-run"]);
    assert_eq!(dry.code, 1, "{} {}", dry.out, dry.err);
    assert!(dry.out.contains("NOT ALL OF IT WOULD FIT") && dry.out.contains("by 15 messages"), "{}", dry.out);
    let _server = host.serve();
    let dry = import(&host, &path, ANNA, &["--dry-run", "--json"]);
    assert_eq!((dry.code, &dry.json()["over_quota"]["messages"]), (1, &15.into()), "{}", dry.out);
    assert_eq!(host.run(&["account", "quota", ANNA, "--none"]).code, 0);
    let dry = import(&host, &path, ANNA, &["--dry-run", "--json"]);
    assert_eq!((dry.code, &dry.json()["over_quota"]), (0, &serde_json::Value::Null), "{}", dry.out);
}

#[test]
fn a_message_of_the_largest_size_comes_back_with_what_it_got_on_its_way() {
    use std::io::{BufRead, Write};
    let host = household();
    let server = host.serve();
    let mut s = super::index::connect(&server, "smtp");
    let mut say = |text: &[u8]| {
        s.get_mut().write_all(text).unwrap();
        let mut line = String::new();
        s.read_line(&mut line).unwrap();
        line
    };
    // The greeting.
    assert!(say(b"").starts_with("220"));
    say(b"HELO x.example\r\n");
    say(b"MAIL FROM:<x@x.example>\r\n");
    say(format!("RCPT TO:<{ANNA}>\r\n").as_bytes());
    say(b"DATA\r\n");
    let mut message = b"Subject: largest\r\n\r\n".to_vec();
    let size = usize::try_from(wire::limits::MESSAGE).unwrap();
    while message.len() < size - 1_000 {
        message.extend_from_slice(&[b'x'; 98]);
        message.extend_from_slice(b"\r\n");
    }
    message.resize(size - 2, b'y');
    message.extend_from_slice(b"\r\n.\r\n");
    let done = say(&message);
    assert!(done.starts_with("250"), "{done}");
    let size_of = |account: &str| {
        let accounts = host.run(&["account", "list", "--json"]).json();
        let found = accounts.as_array().unwrap().iter().find(|a| a["login"] == account).unwrap();
        found["octets"].as_u64().unwrap()
    };
    let octets = size_of(ANNA);
    assert!(octets > wire::limits::MESSAGE, "{octets}");
    let at = |name: &str| host.directory.path().join(name).to_str().unwrap().to_owned();
    assert_eq!(host.run(&["backup", &at("backup")]).code, 0);
    export(&host, Path::new(&at("out")), ANNA, &[]);
    assert_eq!(import(&host, Path::new(&at("out")), BEN, &[]).code, 0);
    assert_eq!(size_of(BEN), octets);
    assert_eq!(host.run(&["account", "remove", ANNA, "--yes"]).code, 0);
    assert_eq!(host.run_with(&["account", "add", ANNA, "--password-stdin"], "a good password\n").code, 0);
    let back = host.run(&["restore", &at("backup"), "--account", ANNA]);
    assert_eq!(back.code, 0, "{} {}", back.out, back.err);
    assert_eq!(size_of(ANNA), octets);
}
