//! Damage: torn ends are cut and kept aside, rot is never cut, a full disk still takes flags, two processes do not share.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

mod common;

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use common::*;
use store::{Batch, Came, CommitError, Intent, Mode, OpenError, Outcome, RetainedFilter, Store};
use wire::flag::{FlagNames, SystemFlag};

fn segment(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("log/{number:08}.seg"))
}

/// Where groups begin in a segment.
fn groups(dir: &Path, number: u32) -> Vec<u64> {
    let octets = std::fs::read(segment(dir, number)).unwrap();
    octets
        .chunks(4096)
        .enumerate()
        .filter(|(_, page)| page.starts_with(b"PFGROUP1"))
        .map(|(n, _)| n as u64 * 4096)
        .collect()
}

fn overwrite(path: &Path, at: u64, octets: &[u8]) {
    OpenOptions::new().write(true).open(path).unwrap().write_all_at(octets, at).unwrap();
}

/// A store with `n` messages, each in a group of its own, left as by a dead process.
fn filled(dir: &Path, n: u32) -> String {
    let (store, _) = open(dir);
    let account = furnish(&store);
    let inbox = inbox(&store, account);
    for n in 1..=n {
        append(&store, inbox, n);
    }
    picture(&store)
}

fn rebuilt(dir: &Path) -> (Store, store::Opening) {
    let _ = std::fs::remove_dir_all(dir.join("index"));
    open(dir)
}

#[test]
fn a_torn_end_is_cut_and_kept_aside() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 5);
    let (store, _) = open(dir.path());
    let mailbox = inbox(&store, store.directory().login("alice").unwrap().id);
    let mut batch = Batch::new();
    let octets = batch.body([body(1), body(2)].concat());
    batch.push(Intent::Append {
        mailbox,
        body: octets,
        prefix: prefix(6),
        flags: FlagNames::default(),
        date: None,
    });
    store.done(batch).unwrap();
    let before = picture(&store);
    drop(store);
    // It is of two pages.
    let last = *groups(dir.path(), 1).last().unwrap();
    let whole = std::fs::read(segment(dir.path(), 1)).unwrap();
    let group = &whole[last as usize..last as usize + 8192];
    // A further group of which the second page never reached the disk, and one of which the first did not.
    for torn in
        [[&group[..4096], &[0; 4096]].concat(), [&[0; 4096], &group[4096..]].concat(), b"junk".to_vec()]
    {
        let end = last + 8192;
        overwrite(&segment(dir.path(), 1), end, &torn);
        let (store, opening) = rebuilt(dir.path());
        let aside = std::fs::read(dir.path().join(opening.torn.unwrap())).unwrap();
        let length = torn.iter().rposition(|&b| b != 0).unwrap() + 1;
        assert!(aside.starts_with(&torn[..length]) && opening.rot.is_empty());
        assert_eq!(picture(&store), before);
        drop(store);
        let now = std::fs::read(segment(dir.path(), 1)).unwrap();
        assert!(now[end as usize..].iter().all(|&b| b == 0) && now.len() == whole.len());
        let (store, opening) = rebuilt(dir.path());
        assert_eq!((opening.torn, picture(&store)), (None, before.clone()));
    }
    // What comes next goes where the torn group was.
    let (store, _) = open(dir.path());
    append(&store, mailbox, 6);
    let before = picture(&store);
    drop(store);
    assert_eq!(picture(&rebuilt(dir.path()).0), before);
}

#[test]
fn rot_in_the_middle_is_kept_reported_and_costs_only_itself() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 9);
    let starts = groups(dir.path(), 1);
    let victim = starts[starts.len() - 4];
    // An octet of a body: the group's chain breaks, its records are intact.
    overwrite(&segment(dir.path(), 1), victim + 600, b"\xff\xfe");
    let spoilt = std::fs::read(segment(dir.path(), 1)).unwrap();
    let (store, opening) = rebuilt(dir.path());
    assert_eq!(opening.rot.len(), 1, "{opening:?}");
    assert_eq!((opening.rot[0].offset, opening.torn), (victim, None));
    assert_eq!(
        opening.renewed, None,
        "a spoilt octet of a body is missed when it is read; nothing else is lost"
    );
    let mailbox = inbox(&store, store.directory().login("alice").unwrap().id);
    let view = store.view(mailbox).unwrap();
    assert_eq!(view.exists(), 9);
    for (n, row) in (1..).zip(view.rows()) {
        let octets = store.message(&row).and_then(|m| m.to_vec());
        match n {
            6 => {
                assert!(matches!(octets, Err(store::ReadError::Damaged(_))), "what is damaged is not served")
            }
            _ => assert_eq!(octets.unwrap(), served(n)),
        }
    }
    assert_eq!(append(&store, mailbox, 10).get(), 10);
    drop(store);
    let now = std::fs::read(segment(dir.path(), 1)).unwrap();
    assert_eq!(now[..victim as usize + 8192], spoilt[..victim as usize + 8192], "never cut, never written");
    // A header is gone: so is what only that group said, and nothing else.
    overwrite(&segment(dir.path(), 1), starts[starts.len() - 2], &[0; 64]);
    let (store, opening) = rebuilt(dir.path());
    assert_eq!(opening.rot.len(), 2, "{opening:?}");
    assert!(opening.renewed.is_some(), "who knows what else was there: {opening:?}");
    assert_eq!(store.view(mailbox).unwrap().exists(), 10, "the records behind a lost header are still found");
    overwrite(&segment(dir.path(), 1), starts[starts.len() - 2], &[0; 4096]);
    drop(store);
    let (store, opening) = rebuilt(dir.path());
    assert_eq!(opening.renewed, None, "the epoch that was begun for the lost header settles this");
    let view = store.view(mailbox).unwrap();
    assert_eq!(view.rows().map(|r| r.uid.get()).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7, 9, 10]);
}

#[test]
fn messages_of_a_mailbox_whose_making_is_lost_are_not_lost() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let account = furnish(&store);
    let create = Intent::CreateMailbox { account, path: "Work".into(), special_use: None, subscribe: true };
    let Outcome::Created(work) = store.ask(create).unwrap() else { panic!() };
    append(&store, work, 1);
    append(&store, work, 2);
    drop(store);
    let starts = groups(dir.path(), 1);
    overwrite(&segment(dir.path(), 1), starts[starts.len() - 3], &[0; 4096]);
    let (store, opening) = rebuilt(dir.path());
    assert_eq!((opening.rot.len(), opening.orphans), (1, 0));
    assert!(opening.renewed.is_some());
    let again = store.directory().mailbox_at(account, "Work").unwrap().id;
    assert_eq!(again, work);
    let rows: Vec<_> = store.view(work).unwrap().rows().collect();
    assert_eq!(rows.iter().map(|r| read(&store, r)).collect::<Vec<_>>(), [served(1), served(2)]);
}

/// The whole group reads as zeros, the index remembers it, and cannot be used: its loss is told all the same.
#[test]
fn an_acknowledged_group_that_becomes_zeros_is_not_forgotten_in_silence() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let account = furnish(&store);
    let inbox = inbox(&store, account);
    append(&store, inbox, 1);
    append(&store, inbox, 2);
    store.close().unwrap();
    drop(store);
    let last = *groups(dir.path(), 1).last().unwrap();
    overwrite(&segment(dir.path(), 1), last, &[0; 4096]);
    let (store, opening) = open(dir.path());
    assert_eq!(opening.rot.len(), 1, "{opening:?}");
    assert_eq!(store.view(inbox).unwrap().exists(), 1);
    // And nothing is written over the place.
    append(&store, inbox, 3);
    assert!(groups(dir.path(), 1).iter().all(|at| *at < last));
}

#[test]
fn an_acknowledged_group_that_rots_at_the_end_is_not_taken_for_torn() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let account = furnish(&store);
    let inbox = inbox(&store, account);
    append(&store, inbox, 1);
    append(&store, inbox, 2);
    store.close().unwrap();
    drop(store);
    let last = *groups(dir.path(), 1).last().unwrap();
    overwrite(&segment(dir.path(), 1), last + 700, b"\xff\xff\xff");
    let (store, opening) = open(dir.path());
    assert!(matches!(opening.came, Came::Rebuilt { .. }));
    assert_eq!((opening.torn, opening.rot.len(), opening.renewed), (None, 1, None));
    // The rest of that file is left alone: what comes next is in a new one.
    assert_eq!(append(&store, inbox, 3).get(), 3);
    let before = store.view(inbox).unwrap().rows().collect::<Vec<_>>();
    drop(store);
    assert_eq!(groups(dir.path(), 2).len(), 1);
    let (store, _) = rebuilt(dir.path());
    assert_eq!(store.view(inbox).unwrap().rows().collect::<Vec<_>>(), before);
    assert_eq!(read(&store, &before[2]), served(3));
}

#[test]
fn a_store_that_lost_its_log_does_not_start_empty() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 400);
    assert!(segment(dir.path(), 2).exists(), "a segment of 1 MiB rolls over");
    let aside = dir.path().join("aside");
    std::fs::rename(segment(dir.path(), 1), &aside).unwrap();
    let refused = Store::open(options(dir.path()));
    assert!(matches!(refused, Err(OpenError::Missing(_))), "{refused:?}");
    std::fs::rename(&aside, segment(dir.path(), 1)).unwrap();
    assert!(rebuilt(dir.path()).1.rot.is_empty());
    std::fs::remove_dir_all(dir.path().join("log")).unwrap();
    assert!(matches!(Store::open(options(dir.path())), Err(OpenError::NotAStore(_))));
}

#[test]
fn one_process_holds_the_lock_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    match Store::open(options(dir.path())) {
        Err(OpenError::Locked { holder }) => assert_eq!(holder, Some(std::process::id())),
        other => panic!("{other:?}"),
    }
    store.close().unwrap();
    open(dir.path());
}

#[test]
fn a_full_disk_still_takes_flags() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open_with(dir.path(), |o| {
        o.threads = false;
        o.tuning.reserve_percent = 0;
    });
    let account = furnish(&store);
    let mailbox = inbox(&store, account);
    append(&store, mailbox, 1);
    drop(store);
    let (store, _) = open_with(dir.path(), |o| {
        o.threads = false;
        o.tuning.reserve = u64::MAX;
    });
    assert_eq!(store.health().mode, Mode::LowSpace);
    let mut batch = Batch::new();
    let body = batch.body(body(2));
    batch.push(Intent::Append { mailbox, body, prefix: prefix(2), flags: FlagNames::default(), date: None });
    assert_eq!(store.done(batch), Err(CommitError::Full));
    let mut spool = store.spool();
    assert!(matches!(spool.push(&vec![0; 300 << 10]), Err(store::SpoolError::Full)));
    flag(&store, mailbox, &[(1, 1)], &[SystemFlag::Seen], &[]);
    assert_eq!(store.head(mailbox).unwrap().unseen, 0);
}

#[test]
fn a_clock_that_jumps_freezes_what_destroys() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};
    struct Set(AtomicI64);
    impl store::Clock for Set {
        fn wall(&self) -> store::UnixTime {
            store::UnixTime { secs: self.0.load(Ordering::SeqCst), nanos: 0 }
        }
        fn monotonic(&self) -> std::time::Duration {
            std::time::Duration::ZERO
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let start = 1_800_000_000;
    let with = |secs: i64| {
        let clock = Arc::new(Set(AtomicI64::new(secs)));
        let theirs = clock.clone();
        (open_with(dir.path(), move |o| o.clock = theirs).0, clock)
    };
    let (store, clock) = with(start);
    let account = furnish(&store);
    let mailbox = inbox(&store, account);
    clock.0.fetch_add(3_000, Ordering::SeqCst);
    append(&store, mailbox, 1);
    assert!(!store.health().time_frozen);
    clock.0.fetch_sub(9_000, Ordering::SeqCst);
    append(&store, mailbox, 2);
    assert!(store.health().time_frozen);
    let rows: Vec<_> = store.view(mailbox).unwrap().rows().collect();
    let dates: Vec<i64> = rows.iter().map(|row| row.date.unix).collect();
    assert_eq!(dates, [start + 3_000, start - 6_000], "a message's date is what the clock shows");
    assert_eq!(i64::from(rows[1].save_date), start - 6_000);
    // The log's own time never goes back, or what is expunged now would be given up before what went earlier.
    let uids = runs(&[(1, 2)]);
    store.ask(Intent::Expunge { mailbox, uids, only_deleted: false }).unwrap();
    let all = RetainedFilter { all: true, ..RetainedFilter::default() };
    let gone: Vec<i64> = store.retained(&all).unwrap().map(|m| m.unwrap().from.id.at().secs).collect();
    assert_eq!(gone, [start + 3_000; 2]);
    drop(store);
    for (later, frozen) in [(86_400, false), (40 * 86_400, true)] {
        assert_eq!(with(start + later).0.health().time_frozen, frozen);
    }
}
