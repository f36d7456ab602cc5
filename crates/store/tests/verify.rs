//! Verify: a sound directory is sound, with and without a server on it; each kind of damage is found and named, with what
//! it costs and what mends it, and nothing else is; what is derived is made again.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

mod common;
#[path = "common/full.rs"]
mod full;

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::*;
use full::*;
use store::index::sled::SledHost;
use store::verify::{IndexAccess, Mend, Problem, Verified, forget_derived, verify};
use store::{Came, RealVfs, Store};
use wire::ids::Uid;

fn verified(dir: &Path) -> Verified {
    let host = SledHost::new(dir);
    let access = IndexAccess { host: &host, boot_id: Some("this boot") };
    verify(Arc::new(RealVfs::new(dir)), Some(access), &|_, _| {}).unwrap()
}

fn closed(days: u16) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), days).close().unwrap();
    dir
}

/// Every file with its octets, but for the lock.
fn all(dir: &Path, below: &[&str]) -> Vec<(PathBuf, Vec<u8>)> {
    let files = below.iter().flat_map(|below| files_in(dir, below, ""));
    files.filter(|path| path.is_file()).map(|path| (path.clone(), fs::read(&path).unwrap())).collect()
}

fn flip(path: &Path, at: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut octet = [0];
    file.read_exact_at(&mut octet, at).unwrap();
    file.write_all_at(&[octet[0] ^ 0x10], at).unwrap();
}

fn find(path: &Path, what: &[u8]) -> u64 {
    let octets = fs::read(path).unwrap();
    octets.windows(what.len()).position(|w| w == what).unwrap() as u64
}

/// The file of the log in which something stands.
fn file_with(dir: &Path, what: &[u8]) -> PathBuf {
    let has = |path: &&PathBuf| fs::read(path).unwrap().windows(what.len()).any(|w| w == what);
    files_in(dir, "log", "").iter().find(has).unwrap().clone()
}

fn names_of(problem: &Problem) -> Vec<(&str, u32, bool)> {
    problem.messages.iter().map(|m| (m.mailbox.as_str(), m.uid, m.expunged)).collect()
}

#[track_caller]
fn only(verified: &Verified) -> &Problem {
    assert_eq!(verified.problems.len(), 1, "{:#?}", verified.problems);
    &verified.problems[0]
}

#[test]
fn a_sound_directory_is_sound_and_stays_as_it_is() {
    for days in [0, 14] {
        let dir = closed(days);
        let before = all(dir.path(), &["log", "snapshot", "digest", "tmp", ""]);
        let v = verified(dir.path());
        assert_eq!((&v.problems[..], &v.notes[..], v.running), (&[][..], &[][..], false));
        assert_eq!(v.index_skipped, None, "nobody has it open");
        let figures = v.figures;
        assert!(figures.segments > 5 && figures.groups > 50 && figures.bodies > 60, "{figures:?}");
        assert_eq!((figures.sides, figures.snapshots, figures.compacted > 0), (2, 2, days == 0));
        let state = Store::open(with_small(dir.path(), days)).unwrap();
        assert_eq!(state.1.came, Came::Clean, "the index is as it was left");
        let rows: u64 = state.1.rows;
        assert_eq!((figures.messages, figures.retained > 0), (rows, days > 0));
        state.0.close().unwrap();
        let same = |(path, octets): &(PathBuf, Vec<u8>)| {
            path.ends_with("lock") || !path.exists() || fs::read(path).unwrap() == *octets
        };
        assert!(before.iter().all(same));
    }
}

fn with_small(dir: &Path, days: u16) -> store::Options {
    let mut options = options(dir);
    small(&mut options, days);
    options
}

#[test]
fn a_directory_that_is_served_can_be_verified_meanwhile() {
    let dir = closed(14);
    let (store, _) = open_with(dir.path(), |o| {
        small(o, 14);
        o.threads = true;
    });
    let mailbox = inbox(&store, store.directory().login("alice").unwrap().id);
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| (301..400).for_each(|n| _ = append(&store, mailbox, n)));
        let mut rounds = 0;
        while !writing.is_finished() || rounds == 0 {
            let v = verified(dir.path());
            assert_eq!((&v.problems[..], v.running), (&[][..], true));
            assert!(v.index_skipped.is_some_and(|why| why.contains("server runs")));
            rounds += 1;
        }
    });
}

#[test]
fn after_a_kill_the_index_is_compared_with_what_it_has_still_to_be_told() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path(), 14);
    let mailbox = inbox(&store, store.directory().login("alice").unwrap().id);
    append(&store, mailbox, 500);
    flag(&store, mailbox, &[(4, 4)], &[wire::flag::SystemFlag::Draft], &[]);
    drop(store);
    let v = verified(dir.path());
    assert_eq!((&v.problems[..], v.index_skipped), (&[][..], None));
}

#[test]
fn a_spoilt_body_is_named_with_its_message() {
    let dir = closed(14);
    for (n, uid) in [(100, 100), (205, 205 - 201 + 139)] {
        let dir = copy_of(dir.path());
        let line = format!("line {n} 40");
        let path = file_with(dir.path(), format!("Subject: {n}\r\n").as_bytes());
        let start = find(&path, format!("Subject: {n}\r\n").as_bytes());
        flip(&path, start + 500);
        let v = verified(dir.path());
        let problem = only(&v);
        assert_eq!((problem.what.as_str(), problem.mend), ("a group is damaged", Mend::Restore), "{line}");
        assert_eq!(path, dir.path().join(&problem.file));
        let (from, octets) = problem.place.unwrap();
        assert!((from..from + octets).contains(&(start + 500)));
        assert_eq!(problem.messages.len(), 1, "{problem:?}");
        assert_eq!(problem.messages[0].account, "alice");
        let _ = uid;
        assert!(!v.is_derived_only());
    }
}

#[test]
fn what_was_expunged_and_lies_in_a_compacted_or_a_side_segment_is_looked_at_too() {
    let dir = closed(14);
    // Message 7 was expunged, and its copy in Work was not.
    let path = file_with(dir.path(), b"Subject: 7\r\n");
    flip(&path, find(&path, b"Subject: 7\r\n") + 300);
    let v = verified(dir.path());
    let mut named = names_of(only(&v));
    named.sort_unstable();
    assert_eq!(named, [("INBOX", 7, true), ("Work", 4, false)]);
    let dir = closed(0);
    let compacted = files_in(dir.path(), "log", ".g2").remove(0);
    let at = fs::metadata(&compacted).unwrap().len() / 3;
    flip(&compacted, at);
    let v = verified(dir.path());
    let problem = only(&v);
    assert!(problem.file.ends_with(".g2") && !problem.messages.is_empty(), "{problem:?}");
    let dir = closed(14);
    let side = files_in(dir.path(), "log", ".side").remove(0);
    flip(&side, 200_000);
    let v = verified(dir.path());
    let problem = only(&v);
    assert!(problem.file.ends_with(".side") && problem.what.contains("octets are damaged"));
    let victim = &problem.messages[0];
    assert_eq!((victim.mailbox.as_str(), victim.subject.as_deref()), ("Work", Some(&b"large 1"[..])));
    fs::remove_file(side).unwrap();
    let v = verified(dir.path());
    assert_eq!((only(&v).what.as_str(), names_of(only(&v)).len()), ("it is missing", 1));
}

#[test]
fn a_lost_header_a_missing_segment_and_a_torn_end_are_told_apart() {
    let dir = closed(14);
    let segments = files_in(dir.path(), "log", ".seg");
    let last = segments.last().unwrap();
    let octets = fs::read(&segments[2]).unwrap();
    let group =
        (1..octets.len() / 4096).rev().map(|n| n * 4096).find(|&at| octets[at..].starts_with(b"PFGROUP1"));
    let group = group.unwrap() as u64;
    let torn = copy_of(dir.path());
    let end = {
        let octets = fs::read(last).unwrap();
        (octets.iter().rposition(|&b| b != 0).unwrap() as u64).next_multiple_of(4096)
    };
    let at = |dir: &Path, path: &Path| dir.join("log").join(path.file_name().unwrap());
    fs::OpenOptions::new()
        .write(true)
        .open(at(torn.path(), last))
        .unwrap()
        .write_all_at(b"half a group", end)
        .unwrap();
    let v = verified(torn.path());
    assert_eq!(v.problems, []);
    assert!(v.notes.iter().any(|n| n.contains("never finished")), "{:?}", v.notes);
    let header = copy_of(dir.path());
    zero(&at(header.path(), &segments[2]), group, 64);
    let v = verified(header.path());
    assert_eq!((only(&v).what.as_str(), only(&v).place.unwrap().0), ("a group's header is damaged", group));
    fs::remove_file(at(dir.path(), &segments[2])).unwrap();
    let v = verified(dir.path());
    assert_eq!(only(&v).mend, Mend::Salvage);
    assert!(only(&v).what.contains("penfold salvage"));
}

#[test]
fn what_is_derived_is_found_to_be_wrong_and_made_again() {
    let dir = closed(14);
    let before = picture(&Store::open(with_small(dir.path(), 14)).unwrap().0);
    // That was no clean close: the index is believed on this boot only.
    Store::open(with_small(dir.path(), 14)).unwrap().0.close().unwrap();
    for snapshot in files_in(dir.path(), "snapshot", ".snap") {
        let middle = fs::metadata(&snapshot).unwrap().len() / 2;
        flip(&snapshot, middle);
    }
    fs::write(dir.path().join("index/STATE"), "something else").unwrap();
    let v = verified(dir.path());
    let mends: Vec<Mend> = v.problems.iter().map(|p| p.mend).collect();
    assert_eq!(mends, [Mend::Snapshot, Mend::Snapshot, Mend::Rebuild], "{:?}", v.problems);
    assert!(v.is_derived_only());
    forget_derived(&RealVfs::new(dir.path())).unwrap();
    let (store, opening) = Store::open(with_small(dir.path(), 14)).unwrap();
    assert!(matches!(opening.came, Came::Rebuilt { .. }));
    store.renew_snapshots().unwrap();
    assert_eq!(picture(&store), before);
    store.close().unwrap();
    let v = verified(dir.path());
    assert_eq!((&v.problems[..], v.figures.snapshots), (&[][..], 2));
}

#[test]
fn an_index_that_says_something_else_than_the_log_is_found() {
    let dir = closed(14);
    // An index that is older than it says, in one mailbox: taken from a copy, with the state of the newer one.
    let other = copy_of(dir.path());
    let (store, _) = Store::open(with_small(other.path(), 14)).unwrap();
    let mailbox = inbox(&store, store.directory().login("alice").unwrap().id);
    let view = store.view(mailbox).unwrap();
    assert!(view.row(Uid::new(100).unwrap()).is_some());
    store.close().unwrap();
    let host = SledHost::new(dir.path());
    {
        use store::index::{IndexHost, Writes};
        let index = host.open("index").unwrap();
        let mut key = vec![b'h'];
        key.extend_from_slice(&mailbox.get().to_be_bytes());
        let mut head = index.get(&key).unwrap().unwrap();
        head[4] ^= 1;
        let mut writes = Writes::new();
        writes.put(key, head);
        index.apply(writes).unwrap();
        index.close().unwrap();
    }
    let v = verified(dir.path());
    let problem = only(&v);
    assert_eq!((problem.file.as_str(), problem.mend), ("index", Mend::Rebuild));
    assert!(problem.what.contains("mailbox INBOX"), "{problem:?}");
}

#[test]
fn no_store_is_no_sound_store() {
    let dir = tempfile::tempdir().unwrap();
    assert!(verify(Arc::new(RealVfs::new(dir.path())), None, &|_, _| {}).is_err());
}
