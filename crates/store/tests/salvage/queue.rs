//! What a salvage makes of the books: messages in no mailbox come out with their lines, or without them if those are lost;
//! what was struck does not; and no message's sender writes a line.

use std::collections::BTreeMap;

use store::salvage::FoundLine;
use store::{Book, Line};

use super::*;

/// Lines by book and key.
type Lines = BTreeMap<(u8, Vec<u8>), Option<Vec<u8>>>;
/// Octets by key.
type Messages = BTreeMap<Vec<u8>, Vec<u8>>;
/// A message's octets if they are as they were, and whether all lines of its commit are known.
type Came = (Result<Vec<u8>, String>, bool);

/// What came out of the books.
#[derive(Debug, Default)]
pub struct Found {
    pub lines: Lines,
    /// By key.
    pub messages: BTreeMap<Vec<u8>, Came>,
    /// Messages whose lines are not known.
    pub loose: Vec<Vec<u8>>,
    pub whole: bool,
    pub taken: Taken,
}

fn octets(found: &store::salvage::FoundOctets) -> Result<Vec<u8>, String> {
    let mut octets = Vec::new();
    let each = found.each_piece(&mut |piece| {
        octets.extend_from_slice(piece);
        Ok(())
    });
    each.unwrap();
    assert_eq!(octets.len() as u64, found.len());
    if found.spoilt() > 0 { Err(format!("{} octets are spoilt", found.spoilt())) } else { Ok(octets) }
}

impl Found {
    pub fn of(books: &mut Books<'_>) -> Found {
        let mut found = Found { whole: books.is_whole(), ..Found::default() };
        for book in Book::ALL {
            let mut from = Vec::new();
            loop {
                // A few at a time.
                let page = books.lines(book, &from, None, 3);
                let Some(last) = page.last() else { break };
                from = [&last.key[..], &[0]].concat();
                for FoundLine { key, value, message } in page {
                    if let Some(message) = message {
                        let octets = books.message(book, &key).and_then(|found| octets(&found));
                        assert!(
                            octets.as_ref().is_ok_and(|o| o.len() == message.size as usize)
                                || octets.is_err()
                        );
                        found.messages.insert(key.clone(), (octets, message.complete));
                    }
                    found.lines.insert((book as u8, key), value);
                }
            }
        }
        while let Some(loose) = books.loose() {
            found.loose.extend(octets(&loose.octets));
        }
        let read = found.messages.values().filter(|(octets, _)| octets.is_ok()).count();
        found.taken.waiting = (read + found.loose.len()) as u64;
        found.taken.lost = (found.messages.len() - read) as u64;
        found
    }

    /// The messages that can be read.
    fn readable(&self) -> Messages {
        let all = self.messages.iter();
        all.filter_map(|(key, (octets, _))| Some((key.clone(), octets.clone().ok()?))).collect()
    }
}

fn key(n: u32) -> Vec<u8> {
    format!("m{n:04}").into_bytes()
}

/// A message for two recipients.
fn send(store: &Store, n: u32, octets: Vec<u8>) {
    store.done(message(n, octets)).unwrap();
}

/// Many of them at a time: they share groups.
fn send_together(store: &Store, numbers: std::ops::Range<u32>) {
    let commits: Vec<store::Commit> = numbers.map(|n| store.commit(message(n, body(n)))).collect();
    settle(store);
    commits.into_iter().for_each(|commit| drop(commit.wait().unwrap()));
}

fn message(n: u32, octets: Vec<u8>) -> store::Batch {
    let mut batch = store::Batch::new();
    let body = batch.body(octets);
    let value = format!("from {n}").into_bytes();
    batch.push(store::Intent::Keep { book: Book::Queue, key: key(n), body, prefix: prefix(n), value });
    for to in [b"/0", b"/1"] {
        let key = [&key(n)[..], to].concat();
        batch.push(store::Intent::Write { book: Book::Recipients, key, value: b"waits".to_vec() });
    }
    batch
}

/// ... and they have it.
fn sent(store: &Store, n: u32) {
    let mut batch = store::Batch::new();
    for to in [b"/0", b"/1"] {
        batch.push(store::Intent::Strike { book: Book::Recipients, key: [&key(n)[..], to].concat() });
    }
    batch.push(store::Intent::Strike { book: Book::Queue, key: key(n) });
    let fate = format!("{n} went").into_bytes();
    batch.push(store::Intent::Write { book: Book::Fates, key: key(n), value: fate });
    store.done(batch).unwrap();
}

/// All lines of a store, and its messages.
fn truth(store: &Store) -> (Lines, Messages) {
    let (mut lines, mut messages) = (BTreeMap::new(), BTreeMap::new());
    for book in Book::ALL {
        for (key, Line { content, value }) in store.lines(book, &[], None, usize::MAX).unwrap() {
            if let Some(content) = content {
                let octets = store.content(content).unwrap().to_vec().unwrap();
                messages.insert(key.clone(), octets);
            }
            lines.insert((book as u8, key), Some(value));
        }
    }
    (lines, messages)
}

fn big(n: u32) -> Vec<u8> {
    [body(n), vec![b'y'; 600 << 10]].concat()
}

fn write(store: &Store, book: Book, key: &[u8], value: &[u8]) {
    store.ask(store::Intent::Write { book, key: key.to_vec(), value: value.to_vec() }).unwrap();
}

#[test]
fn books_come_out_as_they_were_by_a_snapshot_and_by_the_log_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let account = furnish(&store);
    for n in 0..5 {
        send(&store, n, if n == 4 { big(n) } else { body(n) });
    }
    // Its large body is of no use any more, and still there.
    send(&store, 6, big(6));
    sent(&store, 6);
    sent(&store, 1);
    append(&store, inbox(&store, account), 9);
    write(&store, Book::Keys, b"example.org\0one", b"a key");
    write(&store, Book::Policies, b"example.net", b"enforce");
    store.snapshot().unwrap();
    sent(&store, 2);
    send(&store, 5, big(5));
    write(&store, Book::Recipients, &[&key(3)[..], b"/0"].concat(), b"tried once");
    write(&store, Book::Keys, b"example.org\0one", b"retired");
    write(&store, Book::Allowances, b"\0\0\0\x01\0", b"spent");
    let (lines, messages) = truth(&store);
    assert_eq!(messages.keys().cloned().collect::<Vec<_>>(), [key(0), key(3), key(4), key(5)]);
    store.close().unwrap();
    drop(store);
    for without_snapshot in [false, true] {
        if without_snapshot {
            without(dir.path(), "snapshot");
        }
        let (got, tally) = salvaged(dir.path());
        assert_eq!(got.books.lines, lines);
        assert_eq!(got.books.readable(), messages);
        assert!(got.books.whole && tally.whole, "{:?}", got.notes);
        assert!(got.books.messages.values().all(|(_, complete)| *complete));
        assert_eq!((tally.waiting, tally.waiting_lost, got.books.loose.len()), (4, 0, 0));
        // No body of the queue is anybody's.
        assert_eq!(summary(&got.out), ["alice INBOX Subject: 9 []"]);
    }
}

#[test]
fn the_end_of_the_log_that_is_wiped_out_is_missed() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    furnish(&store);
    send(&store, 1, body(1));
    store.snapshot().unwrap();
    sent(&store, 1);
    store.close().unwrap();
    drop(store);
    let segment = &files_in(dir.path(), "log", ".seg")[0];
    let octets = fs::read(segment).unwrap();
    let last = memchr_all(&octets, b"1 went").last().unwrap();
    let group = last / 4096 * 4096;
    zero(segment, group as u64, octets.len() - group);
    let (got, tally) = salvaged(dir.path());
    assert_eq!(got.books.readable().into_keys().collect::<Vec<_>>(), [key(1)]);
    assert!(!tally.whole, "the snapshot of the clean close, or the index, knows better: {:?}", got.notes);
}

/// The octets of one of [`queued`].
fn octets_of(n: u32) -> Vec<u8> {
    if n < 100 && n % 40 == 8 { big(n) } else { body(n) }
}

/// Many messages in many small segments, of which most were sent, and some of those segments compacted.
fn queued(dir: &Path) -> Store {
    let (store, _) = open_with(dir, |o| small(o, 0));
    furnish(&store);
    for n in 0..100 {
        send(&store, n, octets_of(n));
    }
    (0..80).filter(|n| n % 8 != 0).for_each(|n| sent(&store, n));
    settle(&store);
    for n in 0..3 {
        store.snapshot().unwrap();
        send_together(&store, 100 + 10 * n..110 + 10 * n);
    }
    send_together(&store, 130..200);
    (100..105).for_each(|n| sent(&store, n));
    write(&store, Book::Keys, b"example.org\0one", b"a key");
    settle(&store);
    assert!(store.health().compacted_segments > 2, "{:?}", store.health());
    store
}

#[test]
fn messages_of_compacted_segments_come_out_without_snapshots_and_without_tables() {
    let dir = tempfile::tempdir().unwrap();
    let store = queued(dir.path());
    let (lines, messages) = truth(&store);
    store.close().unwrap();
    drop(store);
    without(dir.path(), "index");
    let sound = salvaged(dir.path()).0.books;
    assert_eq!((&sound.lines, sound.readable()), (&lines, messages.clone()));
    let compacted: Vec<PathBuf> = files_in(dir.path(), "log", "")
        .into_iter()
        .filter(|path| path.to_str().unwrap().contains(".g"))
        .collect();
    assert!(compacted.len() > 2, "{compacted:?}");
    for ruined in ["nothing", "first pages of snapshots", "snapshots"] {
        for tables in [false, true] {
            let dir = copy_of(dir.path());
            for path in files_in(dir.path(), "snapshot", ".snap") {
                match ruined {
                    "first pages of snapshots" => zero(&path, 0, 512),
                    "snapshots" => fs::remove_file(path).unwrap(),
                    _ => {}
                }
            }
            for path in compacted.iter().filter(|_| tables) {
                let path = dir.path().join("log").join(path.file_name().unwrap());
                zero(&path, fs::metadata(&path).unwrap().len() - 16, 16);
                zero(&path, 0, 512);
            }
            let (got, tally) = salvaged(dir.path());
            let readable = got.books.readable();
            let what = format!("{ruined}, tables too: {tables}");
            // Whatever is to be sent is there. Without a snapshot nobody knows that some were sent.
            for (key, octets) in &messages {
                assert_eq!(readable.get(key), Some(octets), "{what}: {}", String::from_utf8_lossy(key));
            }
            assert_eq!(tally.whole, ruined == "nothing", "{what}");
            if ruined == "snapshots" {
                let known = |n: u32| [prefix(n).octets, octets_of(n)].concat();
                for (key, octets) in readable {
                    let n = String::from_utf8_lossy(&key[1..]).parse().unwrap();
                    assert!(octets == known(n), "{what}: {n}");
                }
            } else {
                assert!((readable.len(), &got.books.lines) == (messages.len(), &lines), "{what}");
            }
        }
    }
}

#[test]
fn of_a_queue_with_one_octet_in_a_hundred_wiped_out_every_intact_message_comes_out_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = queued(dir.path());
    let (lines, messages) = truth(&store);
    store.close().unwrap();
    drop(store);
    without(dir.path(), "index");
    let mut files = BTreeMap::new();
    for below in ["log", "snapshot"] {
        for path in files_in(dir.path(), below, "") {
            files.insert(path.strip_prefix(dir.path()).unwrap().to_owned(), fs::read(&path).unwrap());
        }
    }
    let places: BTreeMap<&Vec<u8>, _> =
        messages.iter().map(|(key, octets)| (key, records_of(&files, octets))).collect();
    assert!(places.values().all(|p| p.len() >= 2), "every message lies somewhere");
    let (mut loose, mut without_line) = (0, 0);
    for seed in 1..25u64 {
        let copy = copy_of(dir.path());
        let wiped = wipe(copy.path(), &files, seed * 91);
        if seed % 3 == 0 {
            without(copy.path(), "snapshot");
        }
        let (got, tally) = salvaged(copy.path());
        let is_hit = |(path, from, to): &(PathBuf, u64, u64)| {
            wiped.get(path).is_some_and(|w| w.range(from / 512..=(to - 1) / 512).next().is_some())
        };
        let readable = got.books.readable();
        for (key, octets) in &messages {
            if places[key].iter().any(is_hit) {
                continue;
            }
            let found = readable.get(key) == Some(octets);
            let by_itself = got.books.loose.iter().filter(|o| *o == octets).count();
            assert_eq!(
                usize::from(found) + by_itself,
                1,
                "seed {seed}: {} in {:?}: {:?}\n{:?}",
                String::from_utf8_lossy(key),
                places[key],
                got.books.messages.get(key).map(|(o, _)| o.as_ref().map(Vec::len)),
                got.notes
            );
            loose += by_itself;
            let unsaid = found && got.books.lines[&(Book::Queue as u8, key.clone())].is_none();
            let complete = got.books.messages.get(key).is_some_and(|(_, complete)| *complete);
            assert!(!(unsaid && complete), "seed {seed}: its line is lost, and nobody is told");
            without_line += usize::from(unsaid);
        }
        // What is said to be whole is exact; a line that is not, is one that was there once.
        if tally.whole {
            assert_eq!(
                got.books.lines.keys().collect::<Vec<_>>(),
                lines.keys().collect::<Vec<_>>(),
                "seed {seed}"
            );
        }
        for (key, octets) in &readable {
            let n: u32 = String::from_utf8_lossy(&key[1..]).parse().unwrap();
            let known = [prefix(n).octets, octets_of(n)].concat();
            assert!(*octets == known, "seed {seed}: {n} has other octets");
        }
    }
    eprintln!("{loose} came out without a name, {without_line} without their line");
    assert!(loose > 0 && without_line > 0, "no case of the hard kind");
}

#[test]
fn no_line_is_what_a_sender_wrote_into_a_message() {
    let forger = tempfile::tempdir().unwrap();
    let (store, _) = open(forger.path());
    furnish(&store);
    send(&store, 7, body(7));
    write(&store, Book::Keys, b"example.org\0evil", b"a key");
    store.close().unwrap();
    drop(store);
    let log = fs::read(&files_in(forger.path(), "log", ".seg")[0]).unwrap();
    let records = memchr_all(&log, b"PfRc").next().unwrap();
    let last = memchr_all(&log, b"a key").last().unwrap() + 8;
    let mut forged = log[records..last.next_multiple_of(8)].to_vec();
    forged.extend_from_slice(b"\r\nthe end\r\n");

    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    furnish(&store);
    send(&store, 1, forged.clone());
    send(&store, 2, body(2));
    store.close().unwrap();
    drop(store);
    without(dir.path(), "index");
    let _ = fs::remove_dir_all(dir.path().join("snapshot"));
    let segment = &files_in(dir.path(), "log", ".seg")[0];
    let at = memchr_all(&fs::read(segment).unwrap(), &forged).next().unwrap();
    zero(segment, at as u64 - 32, 24);
    let (got, tally) = salvaged(dir.path());
    assert_eq!(
        got.books.lines.keys().map(|(book, _)| *book).collect::<Vec<_>>(),
        [1, 2, 2],
        "{:?}",
        got.books
    );
    assert_eq!(got.books.readable().into_values().collect::<Vec<_>>(), [served(2)]);
    assert!(!tally.whole);
    let text = format!("{:?}", got.books);
    assert!(!text.contains("a key") && !text.contains("from 7"), "{text}");
}
