//! Backup and restore with the real program: with a server and without one, interrupted and begun again.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::port::{ANNA, BEN, export, held, household, import, mbox, tree};
use super::{Done, Host};

impl Host {
    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn backup(&self, dir: &Path, more: &[&str]) -> Done {
        self.run(&[&["backup", dir.to_str().unwrap(), "--json"], more].concat())
    }

    fn restore(&self, dir: &Path, more: &[&str]) -> Done {
        self.run(&[&["restore", dir.to_str().unwrap()], more].concat())
    }
}

#[track_caller]
fn fine(done: &Done) {
    assert_eq!(done.code, 0, "{} {}", done.out, done.err);
}

fn verify(dir: &Path) -> Done {
    super::run(&["backup", "verify", dir.to_str().unwrap(), "--json"])
}

/// All of an account's mail, as files.
fn mail(host: &Host, account: &str, name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let out = host.at(name);
    export(host, &out, account, &[]);
    let mut files = tree(&out);
    files.retain(|(path, _)| path.extension().is_some_and(|e| e == "mbox"));
    files
}

/// A host with mail in several mailboxes of two accounts.
fn furnished() -> Host {
    let host = household();
    mbox(&host.at("a.mbox"), 60, 3_000);
    mbox(&host.at("b.mbox"), 3, 400_000);
    fine(&import(&host, &host.at("a.mbox"), ANNA, &["--into", "Work/A"]));
    fine(&import(&host, &host.at("b.mbox"), ANNA, &["--into", "Large"]));
    fine(&import(&host, &host.at("a.mbox"), BEN, &["--into", "INBOX"]));
    host
}

#[test]
fn what_was_backed_up_with_or_without_a_server_comes_back_on_another_host() {
    let host = furnished();
    for (name, serves) in [("offline", false), ("online", true)] {
        let server = serves.then(|| host.serve());
        let dir = host.at(name);
        let first = host.backup(&dir, &[]);
        fine(&first);
        let first = first.json();
        assert_eq!(first["backup"]["octets"], first["backup"]["new_octets"], "{first}");
        assert_eq!(first["backup"]["warnings"], serde_json::json!([]));
        // Another hundred: little more is copied.
        mbox(&host.at("c.mbox"), 100, 1_000);
        fine(&import(&host, &host.at("c.mbox"), ANNA, &["--into", name]));
        let second = host.backup(&dir, &[]).json();
        let new = second["backup"]["new_octets"].as_u64().unwrap();
        assert!(new > 100_000 && new < 600_000, "{second}");
        let verified = verify(&dir);
        fine(&verified);
        assert_eq!(verified.json()["backups"].as_array().unwrap().len(), 2);
        assert_eq!(verified.json()["newest"]["messages"], held(&host, ANNA) + held(&host, BEN));
        let expected = (mail(&host, ANNA, &format!("{name}-a")), mail(&host, BEN, &format!("{name}-b")));
        if let Some(server) = server {
            // The keys that the server made for itself are in it.
            assert!(dir.join("tls/self-signed.key").exists());
            assert!(server.stop().success());
        }

        let other = Host::new();
        fs::remove_file(other.config()).unwrap();
        let done = other.restore(&dir, &["--with-config"]);
        fine(&done);
        for word in ["config.toml is the backup's", ANNA, BEN, "Passwords are those of 20", "new UIDVALIDITY"]
        {
            assert!(done.out.contains(word), "{word}: {}", done.out);
        }
        let server = other.serve();
        assert!(server.log().contains("restored from a backup"), "{}", server.log());
        assert_eq!(mail(&other, ANNA, "x-a"), expected.0);
        assert_eq!(mail(&other, BEN, "x-b"), expected.1);
        assert!(server.stop().success());
        // Everything is in place: a second restore touches nothing.
        let again = other.restore(&dir, &[]);
        assert!(
            again.code == 4 && again.err.contains("not empty") && again.err.contains("mv "),
            "{}",
            again.err
        );
    }
}

#[test]
fn a_configuration_is_never_overwritten_unasked() {
    let host = household();
    let dir = host.at("backup");
    fine(&host.backup(&dir, &[]));
    let theirs = fs::read_to_string(host.config()).unwrap();
    let other = Host::new();
    other.configure(&theirs.replace("mail.b.test", "other.b.test"));
    let left = other.restore(&dir, &[]);
    fine(&left);
    assert!(left.out.contains("was left alone") && left.out.contains("--with-config"), "{}", left.out);
    assert!(fs::read_to_string(other.config()).unwrap().contains("other.b.test"));
    fs::remove_dir_all(other.data()).unwrap();
    fine(&other.restore(&dir, &["--with-config"]));
    assert_eq!(fs::read_to_string(other.config()).unwrap(), theirs);
    assert!(fs::read_to_string(other.at("config.toml.old")).unwrap().contains("other.b.test"));
}

#[test]
fn mail_of_one_account_comes_back_beside_what_is_there() {
    let host = furnished();
    let dir = host.at("backup");
    fine(&host.backup(&dir, &[]));
    let before = mail(&host, ANNA, "before");
    let server = host.serve();
    fine(&host.run(&["account", "remove", ANNA, "--yes"]));
    let gone = host.restore(&dir, &["--account", ANNA]);
    assert!(gone.code == 3 && gone.err.contains("no account"), "{}", gone.err);
    fine(&host.run_with(&["account", "add", ANNA, "--password-stdin"], "another password\n"));
    // One message, one mailbox, everything; nothing twice.
    let counts = |done: &Done| {
        let report = done.json();
        (report["messages"].as_u64().unwrap(), report["duplicates"].as_u64().unwrap())
    };
    let one =
        host.restore(&dir, &["--account", ANNA, "--message", "<7@b.test>", "--mailbox", "Work/A", "--json"]);
    fine(&one);
    assert_eq!(counts(&one), (1, 0));
    let some = host.restore(&dir, &["--account", ANNA, "--mailbox", "Large", "--json"]);
    assert_eq!(counts(&some), (3, 0));
    let elsewhere =
        host.restore(&dir, &["--account", ANNA, "--mailbox", "Large", "--to", "Old/Big", "--json"]);
    assert_eq!(counts(&elsewhere), (3, 0));
    let all = host.restore(&dir, &["--account", ANNA, "--json"]);
    assert_eq!(counts(&all), (59, 4));
    assert_eq!(counts(&host.restore(&dir, &["--account", ANNA, "--json"])), (0, 63));
    let after = mail(&host, ANNA, "after");
    let (old, back): (Vec<_>, Vec<_>) =
        after.into_iter().partition(|(path, _)| path.to_str().unwrap().starts_with("Old"));
    let old: Vec<_> = old.into_iter().filter(|(path, _)| path.ends_with("Big.mbox")).collect();
    // The one that came alone stands in front now: sort the messages of a file.
    let sorted = |files: Vec<(PathBuf, Vec<u8>)>| {
        let each = files.into_iter().map(|(path, text)| {
            let text = "\n".to_owned() + &String::from_utf8(text).unwrap();
            let mut messages: Vec<String> = text.split("\nFrom ").map(|m| m.trim().to_owned()).collect();
            messages.sort();
            (path, messages)
        });
        each.collect::<Vec<_>>()
    };
    let (back, before) = (sorted(back), sorted(before));
    assert!(back.iter().any(|(path, messages)| path.ends_with("Work/A.mbox") && messages.len() == 61));
    assert!(back == before);
    assert_eq!(sorted(old)[0].1.len(), 4);
    let wrong = host.restore(&dir, &["--account", ANNA, "--mailbox", "Nowhere"]);
    assert!(wrong.code == 1 && format!("{}{}", wrong.out, wrong.err).contains("Work/A"), "{}", wrong.err);
    assert!(server.stop().success());
    // Without a server as well.
    assert_eq!(counts(&host.restore(&dir, &["--account", BEN, "--json"])), (0, 60));
}

#[test]
fn damage_is_told_and_what_is_whole_can_be_restored() {
    let host = furnished();
    let dir = host.at("backup");
    fine(&host.backup(&dir, &[]));
    fine(&import(&host, &host.at("b.mbox"), BEN, &["--into", "More"]));
    fine(&host.backup(&dir, &[]));
    fine(&super::run(&["backup", "verify", dir.to_str().unwrap()]));
    // One octet of the newest backup's own piece.
    let log = dir.join("log");
    let mut sides: Vec<PathBuf> = fs::read_dir(&log).unwrap().map(|entry| entry.unwrap().path()).collect();
    sides.retain(|path| path.extension().is_some_and(|e| e == "side"));
    sides.sort();
    let newest = sides.last().unwrap();
    let file = fs::OpenOptions::new().write(true).open(newest).unwrap();
    file.write_all_at(b"\xff", 20_000).unwrap();
    let told = super::run(&["backup", "verify", dir.to_str().unwrap()]);
    let name = newest.file_name().unwrap().to_str().unwrap();
    assert_eq!(told.code, 1);
    for word in ["DAMAGED", name, "CANNOT BE READ", "can be restored whole", "--at MANIFEST-"] {
        assert!(told.out.contains(word), "{word}: {}", told.out);
    }
    let other = Host::new();
    let refused = other.restore(&dir, &[]);
    assert!(
        refused.code == 1 && refused.err.contains(name) && refused.err.contains("--at"),
        "{}",
        refused.err
    );
    let serve = other.run(&["serve"]);
    assert!(serve.code != 0 && serve.err.contains("penfold restore"), "{}", serve.err);
    // The older one is whole.
    let at = told.out.split("--at ").nth(1).unwrap().split('`').next().unwrap();
    fine(&other.restore(&dir, &["--at", at]));
    assert_eq!(held(&other, ANNA), 63);
    for (at, code) in [("1999-01-01", 3), ("yesterday", 2), ("MANIFEST-none", 3)] {
        assert_eq!(host.restore(&dir, &["--at", at]).code, code, "{at}");
    }
}

#[test]
fn where_a_backup_cannot_be_it_says_so() {
    let host = Host::new();
    let none = host.backup(&host.at("backup"), &[]);
    assert!(none.code == 5 && !host.at("backup").exists(), "{} {}", none.code, none.err);
    let host = household();
    fs::create_dir(host.at("full")).unwrap();
    fs::write(host.at("full/mine.txt"), "mine").unwrap();
    for server in [None, Some(host.serve())] {
        for (dir, code, word) in [
            ("data/backup", 2, "within each other"),
            ("full", 2, "mine.txt"),
            ("full/mine.txt/deep", 1, "cannot be"),
        ] {
            let refused = host.backup(&host.at(dir), &[]);
            assert!(
                refused.code == code && refused.err.contains(word),
                "{dir}: {} {}",
                refused.code,
                refused.err
            );
        }
        assert!(server.is_none_or(|server| server.stop().success()));
    }
    assert_eq!(verify(&host.at("nowhere")).code, 3);
    assert_eq!(verify(&host.at("full")).code, 3);
    assert_eq!(host.restore(&host.at("nowhere"), &[]).code, 3);
}

/// Who runs the server writes the backup, and nobody else reads it.
#[test]
fn a_directory_that_the_owner_of_the_data_may_not_write_is_refused_with_the_remedy() {
    use std::os::unix::fs::{MetadataExt, chown};
    if !rustix::process::geteuid().is_root() {
        return super::skipped("only root can become another user");
    }
    let host = household();
    let nobody = 65_534;
    let give = |root: &Path| {
        let mut open = vec![root.to_owned()];
        while let Some(path) = open.pop() {
            chown(&path, Some(nobody), Some(nobody)).unwrap();
            if path.is_dir() {
                open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
        }
    };
    give(&host.data());
    fs::set_permissions(host.directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
    fs::create_dir(host.at("backup")).unwrap();
    let refused = host.backup(&host.at("backup"), &[]);
    for word in ["65534", "chown penfold:", "ReadWritePaths="] {
        assert!(refused.code == 1 && refused.err.contains(word), "{word}: {}", refused.err);
    }
    give(&host.at("backup"));
    fine(&host.backup(&host.at("backup"), &[]));
    let owner = |path: &Path| fs::metadata(path).unwrap().uid();
    assert_eq!(owner(&host.at("backup/log")), nobody);
    // What root restores belongs to whoever owns the directory.
    let other = Host::new();
    fs::create_dir(other.data()).unwrap();
    fs::set_permissions(other.data(), PermissionsExt::from_mode(0o700)).unwrap();
    give(&other.data());
    fine(&other.restore(&host.at("backup"), &["--with-config"]));
    let mut open = vec![other.data()];
    while let Some(path) = open.pop() {
        let found = fs::symlink_metadata(&path).unwrap();
        assert_eq!((found.uid(), found.mode() & 0o077), (nobody, 0), "{}", path.display());
        if path.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    assert_eq!(fs::metadata(other.config()).unwrap().mode() & 0o777, 0o640);
}

/// Kills whoever makes the backup, or waits for it, once it has copied something; then the next run has a whole one.
#[test]
fn a_backup_that_is_killed_is_finished_by_the_next() {
    let host = household();
    mbox(&host.at("a.mbox"), 300, 400_000);
    fine(&import(&host, &host.at("a.mbox"), ANNA, &["--into", "A"]));
    let dir = host.at("backup");
    // Copied so far, whole or in part.
    let copied = || -> u64 {
        let octets = |below: &str| -> u64 {
            let entries = fs::read_dir(dir.join(below)).into_iter().flatten();
            entries.filter_map(|entry| entry.ok()?.metadata().ok()).map(|found| found.len()).sum()
        };
        octets("log") + octets("tmp")
    };
    let mut server = None;
    for round in 0..4 {
        if round == 2 {
            server = Some(host.serve());
        }
        let before = copied();
        let mut command = host.command(&["backup", dir.to_str().unwrap()]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while copied() < before + 5_000_000 && child.try_wait().unwrap().is_none() {}
        if round == 3
            && let Some(mut serving) = server.take()
        {
            serving.child.kill().unwrap();
            serving.child.wait().unwrap();
            let _ = child.wait().unwrap();
        } else {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        if let Some(serving) = &mut server {
            // The server notices and stops; it serves on.
            assert_eq!(host.run(&["status"]).code, 0);
            assert!(serving.child.try_wait().unwrap().is_none());
        }
    }
    // A killed server may have left it to the next one that holds the lock.
    let made = host.backup(&dir, &[]);
    fine(&made);
    assert!(!dir.join("UNFINISHED").exists() && fs::read_dir(dir.join("tmp")).unwrap().count() == 0);
    let verified = verify(&dir);
    fine(&verified);
    assert_eq!(verified.json()["newest"]["messages"], 300);
}

#[test]
fn a_restore_that_is_killed_is_finished_by_the_next_and_no_server_starts_before() {
    let host = household();
    mbox(&host.at("a.mbox"), 300, 400_000);
    fine(&import(&host, &host.at("a.mbox"), ANNA, &["--into", "A"]));
    let dir = host.at("backup");
    fine(&host.backup(&dir, &[]));
    let expected = mail(&host, ANNA, "before");
    let other = Host::new();
    let mut killed = 0;
    for _ in 0..3 {
        let before = copied(&other.data());
        let mut command = other.command(&["restore", dir.to_str().unwrap()]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while copied(&other.data()) < before + 5_000_000 && child.try_wait().unwrap().is_none() {}
        child.kill().unwrap();
        child.wait().unwrap();
        if other.data().join("restoring").exists() {
            killed += 1;
            let serve = other.run(&["serve"]);
            assert!(serve.code != 0 && serve.err.contains("restore"), "{}", serve.err);
            let list = other.run(&["account", "list"]);
            assert!(list.code != 0 && list.err.contains("penfold restore"), "{}", list.err);
        }
    }
    assert!(killed > 0, "none of three was quick enough to be killed in time");
    if other.data().join("restoring").exists() {
        fine(&other.restore(&dir, &[]));
    }
    assert_eq!(mail(&other, ANNA, "after"), expected);
}

fn copied(data: &Path) -> u64 {
    let entries = fs::read_dir(data.join("log")).into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.metadata().ok()).map(|found| found.len()).sum()
}
