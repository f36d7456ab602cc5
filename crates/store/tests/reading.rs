//! Octets on their way back: in parts, in company, checked as read; digests, which may be lost at any time.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

mod common;

use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use common::*;
use store::{Batch, Derive, FlagChange, Intent, MailboxId, Octets, Outcome, Prefix, ReadError, Row, Store};
use wire::flag::{FlagNames, Keyword, SpecialUse};

fn place(store: &Store, mailbox: MailboxId, octets: Vec<u8>, prefix: Prefix) -> Row {
    let mut batch = Batch::new();
    let body = batch.body(octets);
    batch.push(Intent::Append { mailbox, body, prefix, flags: FlagNames::default(), date: None });
    match store.done(batch).unwrap().outcomes[0] {
        Outcome::Placed { uid, .. } => store.view(mailbox).unwrap().row(uid).unwrap(),
        ref other => panic!("{other:?}"),
    }
}

/// Octets that differ from place to place.
fn noise(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

#[test]
fn every_part_of_every_size_reads_as_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open_with(dir.path(), |o| o.tuning.segment = 8 << 20);
    let account = furnish(&store);
    let mailbox = inbox(&store, account);
    let sizes = [0, 1, 7, 8, 4096, 65_535, 65_536, 65_537, 200_000, 262_144, 262_145, 1_500_000, 5_000_000];
    for (n, size) in (0u32..).zip(sizes) {
        for prefix in
            [Prefix::default(), prefix(n), Prefix { octets: noise(70_000), replaces: (size / 3) as u32 }]
        {
            let whole = [&prefix.octets[..], &noise(size)[prefix.replaces as usize..]].concat();
            let row = place(&store, mailbox, noise(size), prefix);
            let message = store.message(&row).unwrap();
            assert_eq!((message.len(), row.size as usize), (whole.len() as u64, whole.len()));
            assert!(message.to_vec().unwrap() == whole, "{size}");
            if let Some(parts) = message.whole() {
                assert!(parts.concat() == whole);
            }
            for (at, n) in [
                (0, 10),
                (size / 2, 70_000),
                (65_530, 20),
                (whole.len().saturating_sub(3), 10),
                (size + 90_000, 1),
            ] {
                let mut buf = vec![0; n];
                let read = message.read_at(at as u64, &mut buf).unwrap();
                let wanted = whole.get(at..whole.len().min(at + n)).unwrap_or_default();
                assert!(buf[..read] == *wanted, "{size} from {at}");
            }
        }
    }
    let rows: Vec<Row> = store.view(mailbox).unwrap().rows().collect();
    let mut backwards = rows.clone();
    backwards.reverse();
    for rows in [rows, backwards] {
        let mut n = 0;
        for (row, message) in store.messages(&rows) {
            assert!(message.unwrap().to_vec().unwrap() == read(&store, &row));
            n += 1;
        }
        assert_eq!(n, rows.len());
    }
}

#[test]
fn a_damaged_piece_is_not_served_and_the_others_are() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let account = furnish(&store);
    let row = place(&store, inbox(&store, account), noise(1_000_000), Prefix::default());
    let side = std::fs::read_dir(dir.path().join("log")).unwrap().map(|e| e.unwrap().path());
    let side = side.into_iter().find(|p| p.extension().unwrap() == "side").unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&side).unwrap();
    file.write_all_at(b"\0\0\0", 4096 + 3 * 65_536 + 77).unwrap();
    let message = store.message(&row).unwrap();
    let mut buf = vec![0; 100];
    assert_eq!(message.read_at(2 * 65_536, &mut buf).unwrap(), 100);
    assert!(matches!(message.read_at(3 * 65_536, &mut buf), Err(ReadError::Damaged(_))));
    assert_eq!(message.read_at(4 * 65_536, &mut buf).unwrap(), 100);
    assert!(message.to_vec().is_err());
    std::fs::remove_file(&side).unwrap();
    drop(store);
    let (store, opening) = open(dir.path());
    assert_eq!(opening.missing_bodies.len(), 1);
    assert!(store.message(&row).is_err());
}

#[test]
fn the_header_ends_with_its_empty_line() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let account = furnish(&store);
    let mailbox = inbox(&store, account);
    let header = |octets: &[u8]| {
        let row = place(&store, mailbox, octets.to_vec(), Prefix::default());
        store.message(&row).unwrap().header().unwrap()
    };
    assert_eq!(header(b"A: b\r\nC: d\r\n\r\nbody\r\n\r\nmore"), b"A: b\r\nC: d\r\n\r\n");
    assert_eq!(header(b"\r\nbody"), b"\r\n");
    assert_eq!(header(b"A: b\r\n"), b"A: b\r\n");
    let long = [&b"X: "[..], &vec![b'x'; 8 * 1024 - 5], b"\r\n\r\nbody"].concat();
    assert_eq!(header(&long).len(), 8 * 1024 + 2, "the end lies across two readings");
}

/// Counts, and says how long the message is.
struct Lengths(AtomicU32, u32);
impl Derive for Lengths {
    fn version(&self) -> u32 {
        self.1
    }
    fn derive(&self, message: &mut dyn Octets) -> Vec<u8> {
        self.0.fetch_add(1, Ordering::SeqCst);
        let mut buf = [0; 6];
        let n = message.read_at(0, &mut buf).unwrap();
        [message.len().to_string().as_bytes(), &buf[..n]].concat()
    }
}

#[test]
fn digests_are_made_once_and_again_when_they_are_lost() {
    let dir = tempfile::tempdir().unwrap();
    let with = |version: u32| {
        let derive = Arc::new(Lengths(AtomicU32::new(0), version));
        let theirs = derive.clone();
        let (store, _) = open_with(dir.path(), move |o| {
            o.derive = theirs;
            o.threads = false;
        });
        (store, derive)
    };
    let (store, derive) = with(1);
    let account = furnish(&store);
    let mailbox = inbox(&store, account);
    let rows: Vec<Row> = (1..=5).map(|n| place(&store, mailbox, body(n), prefix(n))).collect();
    assert_eq!(&*store.digest(&rows[0]).unwrap(), format!("{}Return", served(1).len()).as_bytes());
    store.step_apply();
    assert_eq!(derive.0.load(Ordering::SeqCst), 5, "made at arrival, the first one already");
    let large = place(&store, mailbox, noise(400_000), Prefix::default());
    let all: Vec<_> = rows.iter().chain([&large]).map(|r| store.digest(r).unwrap()).collect();
    assert_eq!(derive.0.load(Ordering::SeqCst), 6);
    // A copy is the same message.
    store.ask(Intent::Copy { from: mailbox, uids: runs(&[(1, 1)]), to: mailbox }).unwrap();
    let copy = store.view(mailbox).unwrap().rows().last().unwrap();
    assert_eq!(store.digest(&copy).unwrap(), all[0]);
    assert_eq!(derive.0.load(Ordering::SeqCst), 6);
    store.close().unwrap();
    drop(store);

    let (store, derive) = with(1);
    assert_eq!(rows.iter().map(|r| store.digest(r).unwrap()).collect::<Vec<_>>(), all[..5]);
    assert_eq!(derive.0.load(Ordering::SeqCst), 0, "kept over a clean close");
    store.close().unwrap();
    drop(store);
    // One octet of the sidecar rots: that digest is made anew. Another version makes all anew.
    let sidecar = dir.path().join("digest/00000001");
    std::fs::OpenOptions::new().write(true).open(&sidecar).unwrap().write_all_at(b"\xff", 26).unwrap();
    let (store, derive) = with(1);
    assert_eq!(rows.iter().map(|r| store.digest(r).unwrap()).collect::<Vec<_>>(), all[..5]);
    assert_eq!(derive.0.load(Ordering::SeqCst), 1);
    drop(store);
    let (store, derive) = with(2);
    assert_eq!(rows.iter().map(|r| store.digest(r).unwrap()).collect::<Vec<_>>(), all[..5]);
    assert_eq!(derive.0.load(Ordering::SeqCst), 5);
}

#[test]
fn keywords_have_a_limit_and_copies_take_theirs_along() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let account = furnish(&store);
    let mailbox = inbox(&store, account);
    let sent = store.directory().special(account, SpecialUse::Sent).unwrap().id;
    append(&store, mailbox, 1);
    let add = |n: u32| {
        let change = FlagChange::Add(names(&[], &[&format!("key{n}")]));
        store.ask(Intent::Flags { mailbox, uids: runs(&[(1, 1)]), change, unchanged_since: None })
    };
    for n in 0..128 {
        add(n).unwrap();
    }
    let limit = add(128);
    assert!(matches!(limit, Err(store::CommitError::Refused(store::Refused::KeywordLimit))), "{limit:?}");
    append(&store, sent, 2);
    flag(&store, sent, &[(1, 1)], &[], &["KEY5", "other"]);
    store.ask(Intent::Copy { from: mailbox, uids: runs(&[(1, 1)]), to: sent }).unwrap();
    let view = store.view(sent).unwrap();
    let row = view.rows().last().unwrap();
    // One name was taken already, so one of the 128 finds no room.
    assert_eq!((view.keywords().len(), view.keywords_of(&row).count()), (128, 127));
    assert!(view.keywords_of(&row).any(|k| k.as_str() == "KEY5"), "as first written in that mailbox");
    assert!(!view.keywords_of(&row).any(|k| *k == Keyword::parse(b"other").unwrap()));
}

#[test]
fn bodies_in_memory_have_a_limit_for_all_together() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open_with(dir.path(), |o| o.tuning.memory_bodies = 10_000);
    let mut first = store.spool();
    first.push(&[1; 9_000]).unwrap();
    let mut second = store.spool();
    second.push(&[2; 500]).unwrap();
    assert!(!second.is_large());
    second.push(&[3; 600]).unwrap();
    assert!(second.is_large() && !first.is_large());
    let second = second.finish().unwrap();
    let mut buf = [0; 1_200];
    assert_eq!((second.read_at(0, &mut buf).unwrap(), buf[499], buf[500]), (1_100, 2, 3));
    assert_eq!(store.health().memory_bodies, 9_000);
    drop((first, second));
    assert_eq!(store.health().memory_bodies, 0);
    let mut huge = store.spool();
    let piece = vec![0; 1 << 20];
    let refused = (0..60).find_map(|_| huge.push(&piece).err());
    assert!(matches!(refused, Some(store::SpoolError::TooLarge)));
}

#[test]
fn commits_wait_for_the_index_only_when_it_is_far_behind() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open_with(dir.path(), |o| o.tuning.overlay = 5_000);
    let account = furnish(&store);
    let mailbox = inbox(&store, account);
    for n in 1..=30 {
        append(&store, mailbox, n);
    }
    assert!(store.health().overlay_waits > 0);
    assert_eq!(store.view(mailbox).unwrap().exists(), 30);
}
