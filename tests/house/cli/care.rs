//! Looking after the disk: verify, salvage, a new store of what was salvaged, a disk that fails under the server, and a
//! clock that jumped.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::index::{Broken, connect, deliver, inbox, set_up};
use super::{Host, queue, run};

/// Leaves nothing but the log, and that without its beginning.
fn ruin(data: &Path) {
    for part in ["index", "snapshot"] {
        let _ = fs::remove_dir_all(data.join(part));
    }
    let first = fs::OpenOptions::new().write(true).open(&log_files(data)[0]).unwrap();
    first.write_all_at(&[0; 4096], 0).unwrap();
}

fn log_files(data: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = fs::read_dir(data.join("log")).unwrap().map(|e| e.unwrap().path()).collect();
    all.sort();
    all
}

/// Octets of a file of the log become others, at a text that stands in it.
fn spoil(data: &Path, text: &str) {
    for path in log_files(data) {
        let octets = fs::read(&path).unwrap();
        if let Some(at) = octets.windows(text.len()).position(|w| w == text.as_bytes()) {
            let file = fs::OpenOptions::new().write(true).open(path).unwrap();
            return file.write_all_at(&vec![b'#'; text.len()], at as u64).unwrap();
        }
    }
    panic!("{text} is nowhere");
}

/// A host with ten messages, whose server has ended.
fn filled() -> Host {
    let host = set_up();
    let server = host.serve();
    assert_eq!(deliver(&server, 1, |n| n == 10), 10);
    super::index::flag(&server);
    assert!(server.stop().success());
    host
}

/// What is in INBOX, without what another store gives other numbers.
fn bodies(server: &super::Serving) -> BTreeSet<String> {
    let mut s = connect(server, "imap");
    s.get_mut()
        .write_all(
            b"a LOGIN anna@b.test \"a good password\"\r\nb EXAMINE INBOX\r\nc UID FETCH 1:* (FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])\r\n",
        )
        .unwrap();
    let (mut all, mut one) = (BTreeSet::new(), String::new());
    loop {
        let mut line = String::new();
        assert!(std::io::BufRead::read_line(&mut s, &mut line).unwrap() > 0);
        if line.starts_with("c ") {
            return all;
        }
        if line.contains("FETCH") {
            let flags = line.split("FLAGS (").nth(1).and_then(|rest| rest.split(')').next()).unwrap_or("");
            one =
                flags.split(' ').filter(|f| !f.is_empty() && *f != "\\Recent").collect::<Vec<_>>().join(" ");
        } else if line.starts_with("Subject") {
            all.insert(format!("{} [{one}]", line.trim()));
        }
    }
}

#[test]
fn verify_says_whether_all_is_sound_and_what_a_spoilt_octet_costs() {
    let host = filled();
    let sound = host.run(&["verify"]);
    assert_eq!(
        (sound.code, sound.err.as_str().contains("verifying")),
        (0, true),
        "{}{}",
        sound.out,
        sound.err
    );
    assert!(sound.out.starts_with("Everything is as it was written"), "{}", sound.out);
    assert!(sound.out.contains("Index      compared with the log"), "{}", sound.out);
    let server = host.serve();
    let meanwhile = host.run(&["verify", "--json"]);
    let json = meanwhile.json();
    assert_eq!(
        (meanwhile.code, &json["running"], &json["index"]),
        (0, &Value::Bool(true), &"skipped".into())
    );
    assert_eq!(json["messages"], 9);
    let refused = host.run(&["verify", "--repair"]);
    assert!(refused.code == 5 && refused.err.contains("a server runs on"), "{}", refused.err);
    assert!(server.stop().success());
    spoil(&host.data(), "Subject: message 4\r\n");
    let found = host.run(&["verify"]);
    assert_eq!(found.code, 1);
    assert!(
        found.out.contains("WRONG: log/00000001.seg") && found.out.contains("anna@b.test, INBOX, UID 4"),
        "{}",
        found.out
    );
    assert!(found.out.contains("backup") && found.out.contains("1 problem"), "{}", found.out);
    let json = host.run(&["verify", "--json"]).json();
    assert_eq!(
        (&json["sound"], &json["problems"][0]["messages"][0]["uid"]),
        (&Value::Bool(false), &4.into())
    );
    assert_eq!(json["problems"][0]["mend"], "restore");
    let nowhere = host.run(&["verify", "/nonexistent/data"]);
    assert_eq!(nowhere.code, 5, "{}", nowhere.err);
}

#[test]
fn verify_repair_makes_the_index_anew() {
    let host = filled();
    fs::write(host.data().join("index/STATE"), "nonsense").unwrap();
    let found = host.run(&["verify"]);
    assert!(found.code == 1 && found.out.contains("--repair"), "{}", found.out);
    let mended = host.run(&["verify", "--repair"]);
    assert!(mended.code == 0 && mended.out.starts_with("Made anew"), "{}{}", mended.out, mended.err);
    assert_eq!(host.run(&["verify", "--json"]).json()["index"], "compared");
}

#[test]
fn salvage_writes_maildir_and_mbox_with_flags_and_never_over_anything() {
    let host = filled();
    let (data, out) = (host.data(), host.directory.path().join("out"));
    spoil(&data, "Subject: message 7\r\n");
    // The first page of the log: the store does not open any more.
    fs::OpenOptions::new()
        .write(true)
        .open(&log_files(&data)[0])
        .unwrap()
        .write_all_at(&[0; 4096], 0)
        .unwrap();
    let dead = host.run(&["account", "list"]);
    assert!(dead.code == 1 && dead.err.contains("penfold salvage"), "{}", dead.err);
    let (from, to) = (data.to_str().unwrap(), out.to_str().unwrap());
    let done = run(&["salvage", from, "--to", to]);
    assert!(done.code == 0 && done.out.contains("8 messages in their mailboxes"), "{}{}", done.out, done.err);
    let account = out.join("anna@b.test");
    let files: Vec<String> = fs::read_dir(account.join("cur"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(files.len(), 8);
    // STORE 2:9 set \Seen and a keyword; message 3 was expunged; message 7 is damaged.
    assert_eq!(files.iter().filter(|name| name.ends_with(":2,Sa")).count(), 6, "{files:?}");
    assert_eq!(fs::read_to_string(account.join("dovecot-keywords")).unwrap(), "0 $Work\n");
    for (folder, count) in [(".Recovered", 1), (".Damaged", 1), (".Sent", 0)] {
        assert_eq!(fs::read_dir(account.join(folder).join("cur")).unwrap().count(), count, "{folder}");
    }
    let report = fs::read_to_string(out.join("REPORT.txt")).unwrap();
    assert!(
        report.contains("anna@b.test, INBOX, UID 7") && report.contains("octets are damaged"),
        "{report}"
    );
    assert!(report.contains("its first page cannot be read"), "{report}");
    let again = run(&["salvage", from, "--to", to]);
    assert!(again.code == 4 && again.err.contains("is not empty"), "{}", again.err);
    let inside = format!("{from}/out");
    assert_eq!(run(&["salvage", from, "--to", &inside]).code, 2);
    assert_eq!(run(&["salvage", to, "--to", &format!("{to}2")]).code, 3);
    let mbox = format!("{to}.mbox");
    let done = run(&["salvage", from, "--to", &mbox, "--format", "mbox", "--json"]);
    assert_eq!((done.code, &done.json()["messages"]), (0, &8.into()), "{}", done.err);
    let text = fs::read_to_string(Path::new(&mbox).join("anna@b.test/INBOX.mbox")).unwrap();
    assert_eq!(text.matches("From MAILER-DAEMON ").count(), 8);
    assert_eq!(text.matches("Status: RO\nX-Keywords: $Work\n").count(), 6, "{text}");
    assert!(text.contains("Subject: message 10\n\ntext text"));
}

#[test]
fn what_was_salvaged_as_files_can_be_imported_with_its_flags() {
    let host = filled();
    let server = host.serve();
    let before = bodies(&server);
    assert!(server.stop().success());
    let data = host.data();
    fs::OpenOptions::new()
        .write(true)
        .open(&log_files(&data)[0])
        .unwrap()
        .write_all_at(&[0; 4096], 0)
        .unwrap();
    for format in ["maildir", "mbox"] {
        let out = host.directory.path().join(format);
        let done =
            run(&["salvage", data.to_str().unwrap(), "--to", out.to_str().unwrap(), "--format", format]);
        assert_eq!(done.code, 0, "{} {}", done.out, done.err);
        let fresh = set_up();
        let from = out.join("anna@b.test");
        let done = fresh.run(&["import", from.to_str().unwrap(), "--account", "anna@b.test"]);
        assert_eq!(done.code, 0, "{} {}", done.out, done.err);
        let server = fresh.serve();
        assert_eq!(bodies(&server), before, "{format}: {}", done.out);
        let all = fresh.run(&["account", "list", "--json"]).json();
        // The nine, and the one that had been expunged, in a mailbox of its own.
        assert_eq!(all[0]["messages"], 10, "{format}: {}", done.out);
    }
}

#[test]
fn a_new_store_of_what_was_salvaged_serves_the_same_mail_to_the_same_people() {
    let host = filled();
    assert_eq!(host.run(&["alias", "add", "info@b.test", "anna@b.test"]).code, 0);
    let server = host.serve();
    let before = bodies(&server);
    assert_eq!(before.len(), 9);
    let (data, fresh) = (host.data(), host.directory.path().join("fresh"));
    let served = run(&["salvage", data.to_str().unwrap(), "--to", fresh.to_str().unwrap(), "--rebuild"]);
    assert_eq!(served.code, 5, "a server runs on it: {}", served.err);
    assert!(server.stop().success());
    ruin(&data);
    let done = run(&["salvage", data.to_str().unwrap(), "--to", fresh.to_str().unwrap(), "--rebuild"]);
    assert!(done.code == 0 && done.out.contains("is a new store"), "{}{}", done.out, done.err);
    let text = fs::read_to_string(host.config()).unwrap();
    host.configure(&text.replace("data_dir = \"data\"", "data_dir = \"fresh\""));
    let aliases = host.run(&["alias", "list"]);
    assert!(aliases.out.contains("info@b.test"), "{}", aliases.out);
    let server = host.serve();
    // The password is the one that it was, and so are flags and keywords.
    assert_eq!(bodies(&server), before);
    assert_eq!(deliver(&server, 11, |n| n == 1), 1);
    assert_eq!(inbox(&server).iter().filter(|line| line.contains("FETCH")).count(), 10);
    assert!(server.stop().success());
    assert_eq!(host.run(&["verify"]).code, 0);
}

/// Names of what is in a directory.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap_or_else(|why| panic!("{}: {why}", directory.display()));
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn what_waits_to_be_sent_is_salvaged_and_waits_in_a_new_store_until_it_is_released() {
    let host = queue::host();
    let server = host.serve();
    let later = " HOLDFOR=3600";
    let two = queue::send(&server, later, &["bob@[127.0.0.77]", "carol@[127.0.0.78]"]);
    let gone = queue::send(&server, later, &["dan@[127.0.0.77]"]);
    let unknown = queue::send(&server, later, &["eve@[127.0.0.77]"]);
    let one = queue::send(&server, later, &["frank@[127.0.0.79]"]);
    assert_eq!(host.run(&["account", "limit", "anna@b.test", "--messages-a-day", "77"]).code, 0);
    assert_eq!(host.run(&["queue", "drop", &gone]).code, 0);
    assert_eq!(host.run(&["queue", "drop", &two, "--to", "carol"]).code, 0);
    let (keys, limit) = (host.run(&["dkim", "show"]).out, host.run(&["account", "limit", "anna@b.test"]).out);
    assert!(keys.contains("_domainkey.b.test") && limit.contains("77"), "{keys}{limit}");
    let fates = host.run(&["trace", &gone, "--json"]).out;
    assert!(server.stop().success());
    let (data, out) = (host.data(), host.directory.path().join("out"));
    let (from, to) = (data.to_str().unwrap(), out.to_str().unwrap());
    // Nothing is damaged yet: the number is exact.
    let done = run(&["salvage", from, "--to", to]);
    assert!(
        done.code == 0 && done.out.contains("\n3 messages that waited to be sent.\n"),
        "{}{}",
        done.out,
        done.err
    );
    spoil(&data, "\"to\":\"eve@");
    ruin(&data);
    let out = host.directory.path().join("out2");
    let done = run(&["salvage", from, "--to", out.to_str().unwrap()]);
    assert!(
        done.code == 0 && done.out.contains("At most 3 messages that waited to be sent."),
        "{}{}",
        done.out,
        done.err
    );
    let files = names(&out.join("Waiting to be sent/cur"));
    assert_eq!(files.len(), 3);
    for file in &files {
        let text = fs::read_to_string(out.join("Waiting to be sent/cur").join(file)).unwrap();
        assert!(text.starts_with("DKIM-Signature:") && text.ends_with("\r\n\r\nhello\r\n"), "{text}");
    }
    let list = fs::read_to_string(out.join("Waiting to be sent.txt")).unwrap();
    assert!(files.iter().all(|file| list.contains(file)) && !list.contains(&gone), "{list}");
    assert_eq!(list.matches("from <anna@b.test>\n").count(), 3, "{list}");
    assert!(list.contains("to bob@[127.0.0.77], not tried yet") && !list.contains("carol"), "{list}");
    assert!(list.contains(&unknown) && list.contains("to: lost; look at the message's header"), "{list}");
    let report = fs::read_to_string(out.join("REPORT.txt")).unwrap();
    assert!(
        report.contains("at most 3 messages that waited to be sent to other hosts, and 0 more"),
        "{report}"
    );
    assert_eq!(names(&out).len(), 4, "no body of the queue is anybody's: {:?}", names(&out));
    let mbox = host.directory.path().join("mbox");
    let done = run(&["salvage", from, "--to", mbox.to_str().unwrap(), "--format", "mbox", "--json"]);
    let json = done.json();
    assert_eq!((&json["waiting"], &json["whole"]), (&3.into(), &Value::Bool(false)), "{json}");
    let text = fs::read_to_string(mbox.join("Waiting to be sent.mbox")).unwrap();
    assert_eq!(text.matches("\nSubject: Later\n").count(), 3, "{text}");
    assert!(fs::read_to_string(mbox.join("Waiting to be sent.txt")).unwrap().contains("\nnumber 3\n"));

    let fresh = host.directory.path().join("fresh");
    let done = run(&["salvage", from, "--to", fresh.to_str().unwrap(), "--rebuild"]);
    assert!(done.code == 0 && done.out.contains("penfold queue release"), "{}{}", done.out, done.err);
    // Whom it is for is lost: nothing that could be sent.
    let beside = fresh.join("unattributed/Waiting to be sent");
    assert_eq!(names(&beside.join("cur")).len(), 1);
    assert!(
        fs::read_to_string(fresh.join("unattributed/Waiting to be sent.txt")).unwrap().contains(&unknown)
    );
    let text = fs::read_to_string(host.config()).unwrap();
    host.configure(&text.replace("data_dir = \"data\"", "data_dir = \"fresh\""));
    let waits = || -> BTreeSet<String> {
        let rows = queue::listed(&host, &["--held"]);
        rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
    };
    let both = BTreeSet::from([two.clone(), one.clone()]);
    assert_eq!(waits(), both, "without a server, whatever opens it first");
    let server = host.serve();
    assert_eq!(waits(), both);
    assert_eq!(host.run(&["dkim", "show"]).out, keys);
    assert_eq!(host.run(&["account", "limit", "anna@b.test"]).out, limit);
    assert_eq!(host.run(&["trace", &gone, "--json"]).out, fates);
    assert!(host.run(&["queue", "release", &two]).out.contains("1 recipient was released."));
    // Nobody listens there: it is tried.
    while queue::listed(&host, &["--to", "bob"])[0]["recipients"][0]["tries"] != 1 {}
    assert_eq!(waits(), BTreeSet::from([one]));
    assert!(server.stop().success());
    assert_eq!(host.run(&["verify"]).code, 0);
}

#[test]
fn octets_that_cannot_be_read_are_shouted() {
    let host = filled();
    spoil(&host.data(), "Subject: message 5\r\n");
    let server = host.serve();
    let quiet = host.run(&["status", "--json"]);
    assert_eq!((quiet.code, &quiet.json()["store"]["trouble"]), (0, &Value::Bool(false)));
    let mut s = connect(&server, "imap");
    s.get_mut()
        .write_all(b"a LOGIN anna@b.test \"a good password\"\r\nb EXAMINE INBOX\r\nc UID FETCH 5 BODY.PEEK[]\r\nd NOOP\r\n")
        .unwrap();
    let mut line = String::new();
    while !line.starts_with("d ") {
        line.clear();
        assert!(std::io::BufRead::read_line(&mut s, &mut line).unwrap() > 0);
    }
    let status = host.run(&["status"]);
    assert!(status.code == 1 && status.out.contains("DISK ERROR: log/00000001.seg"), "{}", status.out);
    let json = host.run(&["status", "--json"]).json();
    assert_eq!(json["store"]["trouble"], Value::Bool(true));
    assert_eq!(json["store"]["disk_errors"][0]["file"], "log/00000001.seg");
    assert!(json["store"]["disk_errors"][0]["count"].as_u64() >= Some(1));
    while !server.log().contains("THE DISK FAILED") {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(server.stop().success());
}

#[test]
fn a_log_that_cannot_be_synced_is_shouted_and_nothing_that_was_acknowledged_is_lost() {
    let host = set_up();
    let broken = Broken::build(&host, "/log/");
    let server = broken.serve(&host, true);
    assert_eq!(deliver(&server, 1, |n| n == 3), 3);
    broken.now();
    let mut s = connect(&server, "imap");
    s.get_mut()
        .write_all(
            b"a LOGIN anna@b.test \"a good password\"\r\nb SELECT INBOX\r\nc STORE 1 +FLAGS (\\Seen)\r\n",
        )
        .unwrap();
    let mut line = String::new();
    while !line.starts_with("c ") {
        line.clear();
        assert!(std::io::BufRead::read_line(&mut s, &mut line).unwrap() > 0);
    }
    assert!(line.starts_with("c NO"), "{line}");
    let status = host.run(&["status"]);
    assert_eq!(status.code, 1, "{}", status.out);
    assert!(
        status.out.contains("FAILED WRITES") && status.out.contains("DISK ERROR: log/"),
        "{}",
        status.out
    );
    drop(server);
    let server = host.serve();
    assert_eq!(inbox(&server).iter().filter(|line| line.contains("FETCH")).count(), 3);
}

#[test]
fn a_clock_that_jumped_freezes_what_destroys_until_it_is_accepted() {
    /// Forty days behind.
    struct Behind;
    impl store::Clock for Behind {
        fn wall(&self) -> store::UnixTime {
            store::UnixTime { secs: penfold::clock::wall().seconds - 40 * 86_400, nanos: 0 }
        }
        fn monotonic(&self) -> Duration {
            penfold::clock::monotonic()
        }
    }
    let host = Host::new();
    let data = host.data();
    let accepted = host.run(&["clock", "accept"]);
    assert_eq!(accepted.code, 5, "no server runs: {}", accepted.err);
    fs::create_dir(&data).unwrap();
    let (store, _) = store::Store::open(store::Options {
        vfs: Arc::new(store::RealVfs::new(&data)),
        index: Arc::new(store::index::sled::SledHost::new(&data)),
        derive: Arc::new(store::NoDigest),
        clock: Arc::new(Behind),
        random: Arc::new(|octets| octets.fill(7)),
        progress: Arc::new(|_| {}),
        condemned: Arc::new(|why| panic!("{why}")),
        boot_id: None,
        tuning: store::Tuning::default(),
        threads: true,
    })
    .unwrap();
    let domain = store::Intent::AddDomain { name: "c.test".into() };
    store.commit(store::Batch::of(domain)).wait().unwrap();
    store.close().unwrap();
    let server = host.serve();
    let frozen = host.run(&["status"]);
    assert!(
        frozen.out.contains("THE CLOCK JUMPED") && frozen.out.contains("penfold clock accept"),
        "{}",
        frozen.out
    );
    let json = host.run(&["status", "--json"]).json();
    assert_eq!(json["store"]["time_frozen"], Value::Bool(true));
    assert!(json["store"]["frozen_seconds"].as_u64() > Some(80_000));
    let accepted = host.run(&["clock", "accept"]);
    assert!(
        accepted.code == 0 && accepted.out.contains("taken to be right"),
        "{}{}",
        accepted.out,
        accepted.err
    );
    assert_eq!(host.run(&["status", "--json"]).json()["store"]["time_frozen"], Value::Bool(false));
    assert_eq!(host.run(&["clock", "accept", "--json"]).json()["was_frozen"], Value::Bool(false));
    assert!(server.stop().success());
}
