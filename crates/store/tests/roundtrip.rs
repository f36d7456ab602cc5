//! What is done to a store is there afterwards, however it was left: closed, dropped as if the process had died, or with
//! its index gone.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

mod common;

use common::*;
use store::{Batch, Came, FlagChange, Intent, Mode, Outcome, Refused, Spooled};
use wire::flag::{FlagNames, SpecialUse, SystemFlag};
use wire::ids::{ModSeq, Uid};

/// Some of everything.
fn live(store: &store::Store) {
    let account = furnish(store);
    let inbox = inbox(store, account);
    let sent = store.directory().special(account, SpecialUse::Sent).unwrap().id;
    for n in 1..=70 {
        assert_eq!(append(store, inbox, n).get(), n);
    }
    flag(store, inbox, &[(1, 40)], &[SystemFlag::Seen], &["$Work"]);
    flag(store, inbox, &[(5, 9)], &[SystemFlag::Deleted], &["urgent", "$work"]);
    let copied = store.ask(Intent::Copy { from: inbox, uids: runs(&[(3, 7), (69, 90)]), to: sent }).unwrap();
    assert!(
        matches!(&copied, Outcome::Copied { from, to, .. } if from.to_string() == "3:7,69:70" && to.to_string() == "1:7"),
        "{copied:?}"
    );
    let gone =
        store.ask(Intent::Expunge { mailbox: inbox, uids: runs(&[(1, 8)]), only_deleted: true }).unwrap();
    assert_eq!(gone, Outcome::Expunged(runs(&[(5, 8)])));
    store.ask(Intent::Move { from: inbox, uids: runs(&[(10, 50)]), to: sent }).unwrap();
    let create =
        Intent::CreateMailbox { account, path: "Work/2026/Ä".into(), special_use: None, subscribe: true };
    let Outcome::Created(work) = store.ask(create).unwrap() else { panic!() };
    append(store, work, 100);
    let parent = store.directory().mailbox_at(account, "Work").unwrap().id;
    store.ask(Intent::RenameMailbox { mailbox: parent, to: "Jobs/Old".into() }).unwrap();
    store.ask(Intent::SetPassword { account, password: "$other$".into() }).unwrap();
    store
        .ask(Intent::AddAlias { address: "team@example.org".into(), to: vec!["x@y.z".into(); 400] })
        .unwrap();
    store
        .ask(Intent::DeleteMailbox {
            mailbox: store.directory().special(account, SpecialUse::Junk).unwrap().id,
        })
        .unwrap();
    // One body, two mailboxes, two prefixes, one of which replaces part of it.
    let mut batch = Batch::new();
    let both = batch.body(body(7));
    for (mailbox, n, replaces) in [(inbox, 1, 0), (sent, 2, 21)] {
        let prefix = store::Prefix { replaces, ..prefix(n) };
        batch.push(Intent::Append { mailbox, body: both, prefix, flags: names(&[], &["new"]), date: None });
    }
    store.done(batch).unwrap();
    // A large one, and an empty one.
    let mut spool = store.spool();
    for n in 0..200 {
        spool.push(&body(n)).unwrap();
    }
    assert!(spool.is_large());
    let mut batch = Batch::new();
    let large = batch.body(spool.finish().unwrap());
    let empty = batch.body(Vec::new());
    for body in [large, empty] {
        batch.push(Intent::Append {
            mailbox: work,
            body,
            prefix: prefix(1),
            flags: FlagNames::default(),
            date: None,
        });
    }
    store.done(batch).unwrap();
}

#[test]
fn a_clean_close_keeps_everything() {
    let dir = tempfile::tempdir().unwrap();
    let (store, opening) = open(dir.path());
    assert_eq!(opening.came, Came::New);
    live(&store);
    let before = picture(&store);
    store.close().unwrap();
    assert_eq!(store.health().mode, Mode::Closed);
    assert!(matches!(store.ask(Intent::AddDomain { name: "b.org".into() }), Err(store::CommitError::Closed)));
    drop(store);
    let (store, opening) = open_with(dir.path(), |o| o.boot_id = Some("another boot".into()));
    assert_eq!((opening.came, opening.groups), (Came::Clean, 0));
    assert_eq!(picture(&store), before);
}

#[test]
fn a_dead_process_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    live(&store);
    let before = picture(&store);
    drop(store);
    let (store, opening) = open(dir.path());
    assert!(matches!(opening.came, Came::Resumed), "{opening:?}");
    assert_eq!(picture(&store), before);
    // And again, with more.
    let account = store.directory().login("alice").unwrap().id;
    let inbox = inbox(&store, account);
    let uid = append(&store, inbox, 5);
    assert_eq!(uid, Uid::new(72).unwrap());
    let before = picture(&store);
    drop(store);
    assert_eq!(picture(&open(dir.path()).0), before);
}

#[test]
fn the_index_is_made_again_with_the_same_everything() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    live(&store);
    let before = picture(&store);
    store.close().unwrap();
    drop(store);
    std::fs::remove_dir_all(dir.path().join("index")).unwrap();
    std::fs::remove_dir_all(dir.path().join("digest")).unwrap();
    let (store, opening) = open(dir.path());
    assert!(matches!(opening.came, Came::Rebuilt { .. }), "{opening:?}");
    assert!(opening.groups > 80 && opening.rot.is_empty() && opening.torn.is_none());
    assert_eq!(picture(&store), before);
    store.close().unwrap();
    drop(store);
    let (store, opening) = open(dir.path());
    assert_eq!(opening.came, Came::Clean);
    assert_eq!(picture(&store), before);
    let blobs = dir.path().join("index/blobs");
    assert!(!blobs.exists() || std::fs::read_dir(blobs).unwrap().count() == 0, "no value is large");
}

#[test]
fn another_boot_without_a_close_is_a_power_cut() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    live(&store);
    let before = picture(&store);
    drop(store);
    let (store, opening) = open_with(dir.path(), |o| o.boot_id = Some("another boot".into()));
    assert!(matches!(opening.came, Came::Rebuilt { .. }), "{opening:?}");
    assert_eq!(picture(&store), before);
}

#[test]
fn rows_that_were_let_go_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open_with(dir.path(), |o| {
        o.threads = false;
        o.tuning.resident_rows = 0;
    });
    let account = furnish(&store);
    let inbox = inbox(&store, account);
    for n in 1..=100 {
        append(&store, inbox, n);
    }
    for _ in 0..60 {
        store.step_apply();
    }
    assert_eq!(store.health().resident_rows, 0);
    assert_eq!(store.head(inbox).unwrap().exists, 100);
    assert_eq!(read(&store, &store.view(inbox).unwrap().at(41).unwrap()), served(42));
    assert_eq!(store.health().resident_rows, 100);
}

#[test]
fn a_batch_is_all_or_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let account = furnish(&store);
    let inbox = inbox(&store, account);
    let before = picture(&store);
    let mut batch = Batch::new();
    let one = batch.body(body(1));
    batch.push(Intent::Append {
        mailbox: inbox,
        body: one,
        prefix: prefix(1),
        flags: names(&[], &["k"]),
        date: None,
    });
    batch.push(Intent::CreateMailbox { account, path: "inBOX".into(), special_use: None, subscribe: false });
    assert!(matches!(store.done(batch), Err(store::CommitError::Refused(Refused::AlreadyExists))));
    assert_eq!(picture(&store), before);
    assert_eq!(append(&store, inbox, 1), Uid::FIRST);
}

#[test]
fn unchanged_since_leaves_alone_what_changed_later() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let account = furnish(&store);
    let inbox = inbox(&store, account);
    for n in 1..=3 {
        append(&store, inbox, n);
    }
    let since = store.head(inbox).unwrap().highest_modseq;
    flag(&store, inbox, &[(2, 2)], &[SystemFlag::Flagged], &[]);
    let change = FlagChange::Set(names(&[SystemFlag::Seen], &[]));
    let store_it =
        Intent::Flags { mailbox: inbox, uids: runs(&[(1, 9)]), change, unchanged_since: Some(since) };
    let Outcome::Flagged { changed, modified, modseq } = store.ask(store_it).unwrap() else { panic!() };
    assert_eq!((changed.to_string().as_str(), modified.to_string().as_str()), ("1,3", "2"));
    assert_eq!(store.head(inbox).unwrap().highest_modseq, modseq);
    let changes = store.changes_since(inbox, since).unwrap();
    assert_eq!(changes.rows.iter().map(|r| r.uid.get()).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(store.changes_since(inbox, modseq).unwrap().rows.len(), 0);
    // Nothing changes: nothing is written, and no number is used up.
    let groups = store.health().groups;
    flag(&store, inbox, &[(1, 3)], &[SystemFlag::Seen], &[]);
    flag(&store, inbox, &[(1, 3)], &[SystemFlag::Seen], &[]);
    assert_eq!(store.health().groups, groups + 1);
    assert!(store.head(inbox).unwrap().highest_modseq > ModSeq(0));
}

#[test]
fn what_is_not_committed_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let sides = || {
        std::fs::read_dir(dir.path().join("log"))
            .unwrap()
            .filter(|e| e.as_ref().unwrap().path().extension().unwrap() == "side")
            .count()
    };
    let large = || -> Spooled {
        let mut spool = store.spool();
        (0..300).for_each(|n| spool.push(&body(n)).unwrap());
        spool.finish().unwrap()
    };
    let spooled = large();
    assert_eq!(sides(), 1);
    drop(spooled);
    assert_eq!(sides(), 0);
    // One that a dead process left behind goes at the next start; an adopted one stays.
    let account = furnish(&store);
    let mut batch = Batch::new();
    let body = batch.body(large());
    let mailbox = inbox(&store, account);
    batch.push(Intent::Append { mailbox, body, prefix: prefix(1), flags: FlagNames::default(), date: None });
    store.done(batch).unwrap();
    std::mem::forget(large());
    assert_eq!(sides(), 2);
    let before = picture(&store);
    store.close().unwrap();
    drop(store);
    let (store, opening) = open(dir.path());
    assert!(opening.missing_bodies.is_empty());
    assert_eq!(std::fs::read_dir(dir.path().join("log")).unwrap().count(), 2);
    assert_eq!(picture(&store), before);
}
