//! Books: lines and the messages that they name are as durable as mail, found by key, and given up when they are struck.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use common::*;
use store::{Batch, Book, CommitError, Intent, Line, Outcome, Prefix, Reader, Refused, Start, Store, Tuning};

fn write(store: &Store, book: Book, key: &[u8], value: &[u8]) {
    store.ask(Intent::Write { book, key: key.to_vec(), value: value.to_vec() }).unwrap();
}

fn line(store: &Store, book: Book, key: &[u8]) -> Option<Line> {
    store.line(book, key).unwrap()
}

fn filled(store: &Store) {
    furnish(store);
    keep(store, 1, body(1));
    keep(store, 2, [body(2), vec![b'y'; 600 << 10]].concat());
    keep(store, 3, body(3));
    write(store, Book::Recipients, b"1/0", b"waits");
    write(store, Book::Recipients, b"1/1", b"waits");
    write(store, Book::Recipients, b"1/0", b"went");
    strike(store, 3);
    // A line that names a message goes on naming it.
    write(store, Book::Queue, &1u32.to_be_bytes(), b"tried once");
}

fn is_filled(store: &Store) {
    let first = line(store, Book::Queue, &1u32.to_be_bytes()).unwrap();
    assert_eq!(first.value, b"tried once");
    assert_eq!(store.content(first.content.unwrap()).unwrap().to_vec().unwrap(), served(1));
    let second = line(store, Book::Queue, &2u32.to_be_bytes()).unwrap();
    let octets = store.content(second.content.unwrap()).unwrap().to_vec().unwrap();
    assert_eq!(octets.len(), second.content.unwrap().size as usize);
    assert!(octets.starts_with(&served(2)) && octets.ends_with(b"yyyy"));
    assert_eq!(line(store, Book::Queue, &3u32.to_be_bytes()), None);
    assert_eq!(line(store, Book::Recipients, b"1/0").unwrap().value, b"went");
    assert_eq!(line(store, Book::Fates, b"1/0"), None);
    let keys: Vec<_> = store.lines(Book::Recipients, b"1/", Some(b"1/~"), 9).unwrap();
    assert_eq!(keys.iter().map(|(key, _)| &key[..]).collect::<Vec<_>>(), [b"1/0", b"1/1"]);
}

#[test]
fn lines_and_their_messages_are_there_however_the_store_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    filled(&store);
    is_filled(&store);
    let before = picture(&store);
    store.close().unwrap();
    drop(store);
    // By the index.
    let (store, _) = open(dir.path());
    is_filled(&store);
    store.close().unwrap();
    drop(store);
    // By the log.
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    let (store, opening) = open(dir.path());
    assert_eq!(opening.snapshot, None);
    is_filled(&store);
    store.snapshot().unwrap();
    write(&store, Book::Policies, b"example.net", b"enforce");
    store.close().unwrap();
    drop(store);
    // By a snapshot and the log.
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    let (store, opening) = open(dir.path());
    assert!(opening.snapshot.is_some(), "{opening:?}");
    is_filled(&store);
    assert_eq!(line(&store, Book::Policies, b"example.net").unwrap().value, b"enforce");
    strike_all(&store, Book::Policies);
    assert_eq!(picture(&store), before);
    store.close().unwrap();
    drop(store);
    let reader = Reader::open(std::sync::Arc::new(store::RealVfs::new(dir.path())), Start::Snapshot, &|_| {});
    assert_eq!(picture(&reader.unwrap()), before);
}

fn strike_all(store: &Store, book: Book) {
    for (key, _) in store.lines(book, &[], None, usize::MAX).unwrap() {
        store.ask(Intent::Strike { book, key }).unwrap();
    }
}

#[test]
fn a_batch_with_a_wrong_line_does_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    filled(&store);
    let refused = |intent: Intent| {
        let mut batch = Batch::new();
        batch.push(Intent::Write { book: Book::Fates, key: b"never".to_vec(), value: Vec::new() });
        let body = batch.body(body(9));
        let intent = match intent {
            Intent::Keep { book, key, prefix, value, .. } => Intent::Keep { book, key, prefix, value, body },
            other => other,
        };
        batch.push(intent);
        let refused = store.done(batch).unwrap_err();
        assert_eq!(line(&store, Book::Fates, b"never"), None, "{refused}");
        refused
    };
    let mut other = Batch::new();
    let body = other.body(b"x".to_vec());
    let keep = |key: &[u8], prefix: Prefix, value: Vec<u8>| Intent::Keep {
        book: Book::Queue,
        key: key.to_vec(),
        body,
        prefix,
        value,
    };
    let there = refused(keep(&1u32.to_be_bytes(), Prefix::default(), Vec::new()));
    assert_eq!(there, CommitError::Refused(Refused::AlreadyExists));
    let whole = Prefix { octets: Vec::new(), replaces: common::body(9).len() as u32 };
    assert_eq!(refused(keep(b"9", whole, Vec::new())), CommitError::Refused(Refused::BadBatch));
    let more = Prefix { octets: Vec::new(), replaces: common::body(9).len() as u32 + 1 };
    assert_eq!(refused(keep(b"9", more, Vec::new())), CommitError::Refused(Refused::BadBatch));
    let long = |error: CommitError| matches!(error, CommitError::Refused(Refused::Limit(_)));
    assert!(long(refused(keep(&[1; 256], Prefix::default(), Vec::new()))));
    assert!(long(refused(keep(b"9", Prefix::default(), vec![0; 3_501]))));
    assert!(long(refused(Intent::Write { book: Book::Keys, key: vec![1; 256], value: Vec::new() })));
    assert!(long(refused(Intent::Strike { book: Book::Keys, key: vec![1; 256] })));
    // The longest that can be is kept.
    let key = vec![0xff; 255];
    store.ask(Intent::Write { book: Book::Keys, key: key.clone(), value: vec![7; 3_500] }).unwrap();
    store.close().unwrap();
    drop(store);
    let (store, _) = open(dir.path());
    assert_eq!(line(&store, Book::Keys, &key).unwrap().value, vec![7; 3_500]);
}

#[test]
fn a_book_of_many_lines_is_read_in_order_wherever_each_of_them_is() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open_with(dir.path(), |options| options.threads = false);
    let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let mut n = 7u64;
    let mut random = |below: u64| {
        n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (n >> 33) % below
    };
    for round in 0..60 {
        let mut batch = Batch::new();
        for _ in 0..40 {
            let key = (random(600) as u32).to_be_bytes().to_vec();
            if random(3) == 0 {
                model.remove(&key);
                batch.push(Intent::Strike { book: Book::Fates, key });
            } else {
                let value = vec![round; random(400) as usize];
                model.insert(key.clone(), value.clone());
                batch.push(Intent::Write { book: Book::Fates, key, value });
            }
        }
        store.done(batch).unwrap();
        // Neighbours in other books are not seen.
        write(&store, Book::Policies, b"", &[round]);
        write(&store, Book::Recipients, &[0xff; 9], &[round]);
        if random(3) == 0 {
            while store.step_apply() {}
        }
        for most in [1, 7, 100, usize::MAX] {
            let from = (random(700) as u32).to_be_bytes();
            let to = (random(2) == 0).then(|| (random(700) as u32).to_be_bytes().to_vec());
            let to = to.filter(|to| to[..] > from[..]);
            let found = store.lines(Book::Fates, &from, to.as_deref(), most).unwrap();
            let after =
                model.range(from.to_vec()..).filter(|(key, _)| to.as_ref().is_none_or(|to| *key < to));
            let wanted: Vec<_> = after.take(most).map(|(k, v)| (k.clone(), v.clone())).collect();
            assert_eq!(found.into_iter().map(|(k, l)| (k, l.value)).collect::<Vec<_>>(), wanted);
        }
    }
    assert!(model.len() > 200, "{}", model.len());
}

#[test]
fn what_was_sent_gives_its_space_back() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open_with(dir.path(), |options| {
        options.threads = false;
        options.tuning = Tuning {
            segment: 256 << 10,
            undelete_days: 0,
            compact_octets: 1,
            compact_every: std::time::Duration::ZERO,
            ..options.tuning.clone()
        };
    });
    furnish(&store);
    for n in 0..400 {
        keep(&store, n, body(n));
    }
    (0..400).filter(|n| n % 40 != 0).for_each(|n| strike(&store, n));
    let full = log_octets(dir.path());
    for _ in 0..100 {
        while store.step_apply() || store.step_commit() || store.step_compact() {}
    }
    let now = log_octets(dir.path());
    assert!(now < full / 2, "{now} of {full}: {:?}", store.health());
    for n in (0..400u32).step_by(40) {
        let content = line(&store, Book::Queue, &n.to_be_bytes()).unwrap().content.unwrap();
        assert_eq!(store.content(content).unwrap().to_vec().unwrap(), served(n));
    }
}

fn log_octets(dir: &Path) -> u64 {
    fs::read_dir(dir.join("log")).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum()
}

#[test]
fn a_message_and_its_way_out_are_one_commit() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let account = furnish(&store);
    let inbox = inbox(&store, account);
    let mut batch = Batch::new();
    let body = batch.body(body(5));
    batch.push(Intent::Append {
        mailbox: inbox,
        body,
        prefix: prefix(5),
        flags: Default::default(),
        date: None,
    });
    let (key, value) = (b"id".to_vec(), b"to the world".to_vec());
    batch.push(Intent::Keep { book: Book::Queue, key, body, prefix: Prefix::default(), value });
    batch.push(Intent::Write {
        book: Book::Recipients,
        key: b"id/0".to_vec(),
        value: b"b@example.net".to_vec(),
    });
    let before = store.health().log_octets;
    let committed = store.done(batch).unwrap();
    assert!(store.health().log_octets - before < 2 * 4096, "one body, once");
    let Outcome::Kept(content) = committed.outcomes[1] else { panic!("{committed:?}") };
    assert_eq!(store.content(content).unwrap().to_vec().unwrap(), common::body(5));
}
