//! A store that holds everything a store can hold, in many small segments, and ways to spoil its files.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]
#![allow(dead_code, reason = "each test binary uses some of it")]

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::common::*;
use store::{Batch, Intent, MailboxId, Options, Outcome, Store};
use wire::flag::{FlagNames, SystemFlag};

pub fn small(options: &mut Options, days: u16) {
    options.tuning.segment = 64 << 10;
    options.tuning.undelete_days = days;
    options.threads = false;
}

pub fn settle(store: &Store) {
    while store.step_commit() | store.step_apply() | store.step_compact() {}
}

pub const SIDE: u32 = 9_000;

pub fn large(n: u32) -> Vec<u8> {
    let mut octets = format!("Subject: large {n}\r\n\r\n").into_bytes();
    (0..20_000).for_each(|line| octets.extend_from_slice(format!("large {n} line {line}\r\n").as_bytes()));
    octets
}

pub fn append_octets(store: &Store, mailbox: MailboxId, n: u32, octets: Vec<u8>) {
    let mut batch = Batch::new();
    let body = batch.body(octets);
    let prefix = prefix(n);
    batch.push(Intent::Append { mailbox, body, prefix, flags: FlagNames::default(), date: None });
    store.done(batch).unwrap();
}

/// Everything a store can hold: many segments, some compacted, two snapshots and something after them, a side segment,
/// copies, keywords, what was expunged.
pub fn filled(dir: &Path, days: u16) -> Store {
    let (store, _) = open_with(dir, |o| small(o, days));
    let account = furnish(&store);
    let inbox = inbox(&store, account);
    let make = |path: &str| {
        let path = path.to_owned();
        match store.ask(Intent::CreateMailbox { account, path, special_use: None, subscribe: true }) {
            Ok(Outcome::Created(id)) => id,
            other => panic!("{other:?}"),
        }
    };
    let (work, deep) = (make("Work"), make("Work/Ä & B.c"));
    (1..=120).for_each(|n| _ = append(&store, inbox, n));
    flag(&store, inbox, &[(1, 50)], &[SystemFlag::Seen], &[]);
    flag(&store, inbox, &[(8, 12)], &[SystemFlag::Flagged], &["todo", "$Junk"]);
    let gone: Vec<(u32, u32)> = (1..=80).filter(|n| n % 4 != 0).map(|n| (n, n)).collect();
    store.ask(Intent::Copy { from: inbox, uids: runs(&[(4, 12)]), to: work }).unwrap();
    store.ask(Intent::Expunge { mailbox: inbox, uids: runs(&gone), only_deleted: false }).unwrap();
    store.ask(Intent::Move { from: inbox, uids: runs(&[(90, 95)]), to: deep }).unwrap();
    append_octets(&store, work, SIDE, large(1));
    settle(&store);
    for n in 0..2 {
        store.snapshot().unwrap();
        (121 + n * 10..130 + n * 10).for_each(|n| _ = append(&store, inbox, n));
        settle(&store);
    }
    store.snapshot().unwrap();
    settle(&store);
    assert_eq!(store.health().compacted_segments > 2, days == 0, "{:?}", store.health());
    (201..=220).for_each(|n| _ = append(&store, inbox, n));
    flag(&store, inbox, &[(40, 44), (121, 125)], &[SystemFlag::Answered], &["late"]);
    append_octets(&store, deep, SIDE + 1, large(2));
    settle(&store);
    store
}

pub fn files_in(dir: &Path, below: &str, end: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(dir.join(below))
        .map(|entries| entries.map(|e| e.unwrap().path()).collect())
        .unwrap_or_default();
    found.retain(|path| path.to_str().unwrap().ends_with(end));
    found.sort();
    found
}

pub fn zero(path: &Path, at: u64, octets: usize) {
    fs::OpenOptions::new().write(true).open(path).unwrap().write_all_at(&vec![0; octets], at).unwrap();
}

/// A directory that takes a while to fill, once.
pub fn copy_of(dir: &Path) -> tempfile::TempDir {
    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let to = to.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                copy(&entry.path(), &to);
            } else {
                fs::copy(entry.path(), to).unwrap();
            }
        }
    }
    let to = tempfile::tempdir().unwrap();
    copy(dir, to.path());
    to
}
