//! Salvage: whatever happens to a data directory, every message of which the record and the body are intact comes out,
//! once, with its octets, and nothing comes out that is not one.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

mod common;
#[path = "common/full.rs"]
mod full;
#[path = "salvage/queue.rs"]
mod queue;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::*;
use full::*;
use queue::Found;
use store::salvage::{Books, Folder, Lost, People, Salvaged, Sink, Taken, Tally, salvage};
use store::{OpenError, RealVfs, Store};

/// A message that came out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Out {
    account: String,
    folder: String,
    octets: Vec<u8>,
    flags: String,
}

#[derive(Default)]
struct Collect {
    people: People,
    out: Vec<Out>,
    lost: Vec<Lost>,
    notes: Vec<String>,
    books: Found,
}

impl Sink for Collect {
    fn people(&mut self, people: &People) -> io::Result<()> {
        self.people = people.clone();
        Ok(())
    }
    fn message(&mut self, message: &Salvaged<'_>) -> io::Result<()> {
        let mut octets = Vec::new();
        message.each_piece(&mut |piece| {
            octets.extend_from_slice(piece);
            Ok(())
        })?;
        assert_eq!(octets.len() as u64, message.len());
        let mut flags: Vec<String> = message.flags.iter().map(|f| f.name().to_owned()).collect();
        flags.extend(message.keywords.iter().map(|k| k.as_str().to_owned()));
        self.out.push(Out {
            account: message.account.unwrap_or("-").to_owned(),
            folder: match message.folder {
                Folder::Mailbox(path) => path.to_owned(),
                Folder::Recovered => "(recovered)".to_owned(),
                Folder::Damaged => "(damaged)".to_owned(),
            },
            octets,
            flags: flags.join(" "),
        });
        Ok(())
    }
    fn lost(&mut self, lost: &Lost) -> io::Result<()> {
        self.lost.push(lost.clone());
        Ok(())
    }
    fn books(&mut self, books: &mut Books<'_>) -> io::Result<Taken> {
        self.books = Found::of(books);
        Ok(self.books.taken)
    }
    fn note(&mut self, text: &str) -> io::Result<()> {
        self.notes.push(text.to_owned());
        Ok(())
    }
}

fn salvaged(dir: &Path) -> (Collect, Tally) {
    let mut sink = Collect::default();
    let tally = salvage(Arc::new(RealVfs::new(dir)), &|_| {}, &mut sink).unwrap();
    sink.out.sort();
    assert_eq!(
        tally.messages + tally.recovered + tally.damaged,
        sink.out.len() as u64,
        "what is counted is what is given"
    );
    (sink, tally)
}

fn contents(store: &Store) -> Vec<Out> {
    let directory = store.directory();
    let mut all = Vec::new();
    for account in directory.accounts() {
        for info in directory.mailboxes_of(account.id) {
            let view = store.view(info.id).unwrap();
            for row in view.rows() {
                let mut flags: Vec<String> = row.flags.iter().map(|f| f.name().to_owned()).collect();
                flags.extend(view.keywords_of(&row).map(|k| k.as_str().to_owned()));
                all.push(Out {
                    account: account.login.clone(),
                    folder: info.path.clone(),
                    octets: read(store, &row),
                    flags: flags.join(" "),
                });
            }
        }
    }
    all.sort();
    all
}

fn without(dir: &Path, what: &str) {
    fs::remove_dir_all(dir.join(what)).unwrap();
}

fn summary(out: &[Out]) -> Vec<String> {
    let subject = |o: &Out| {
        let text = String::from_utf8_lossy(&o.octets).into_owned();
        text.lines().find(|l| l.starts_with("Subject")).unwrap_or("?").to_owned()
    };
    out.iter().map(|o| format!("{} {} {} [{}]", o.account, o.folder, subject(o), o.flags)).collect()
}

#[track_caller]
fn assert_same(is: &[Out], must: &[Out]) {
    assert_eq!(summary(is), summary(must));
    assert!(is == must, "octets differ");
}

#[test]
fn a_sound_directory_gives_what_it_shows_and_nothing_else() {
    for days in [0, 14] {
        let dir = tempfile::tempdir().unwrap();
        let must = contents(&filled(dir.path(), days));
        let before = picture(&open_with(dir.path(), |o| small(o, days)).0);
        let (got, tally) = salvaged(dir.path());
        let (recovered, there): (Vec<Out>, Vec<Out>) =
            got.out.into_iter().partition(|o| o.folder == "(recovered)");
        assert_same(&there, &must);
        assert_eq!((got.lost, tally.damaged, tally.bad_sectors), (vec![], 0, 0));
        // What was expunged can be brought back for two weeks; then it is gone on purpose. What was copied is there.
        let again: BTreeSet<&[u8]> = there.iter().map(|o| o.octets.as_slice()).collect();
        assert!(recovered.iter().all(|o| !again.contains(o.octets.as_slice()) && o.account == "alice"));
        assert_eq!(recovered.len(), if days == 0 { 0 } else { 60 - 6 });
        assert_eq!(got.people.domains, ["example.org"]);
        let alice = &got.people.accounts[0];
        assert_eq!((alice.login.as_str(), alice.password.as_deref()), ("alice", Some("$hash$")));
        assert!(alice.known && alice.addresses == ["alice@example.org"]);
        assert!(alice.mailboxes.iter().any(|(path, _)| path == "Work/Ä & B.c"));
        assert_eq!(picture(&open_with(dir.path(), |o| small(o, days)).0), before, "nothing was changed");
    }
}

#[test]
fn both_snapshots_ruined_the_store_refuses_and_everything_comes_out() {
    let dir = tempfile::tempdir().unwrap();
    let must = contents(&filled(dir.path(), 0));
    without(dir.path(), "index");
    let snapshots = files_in(dir.path(), "snapshot", ".snap");
    assert_eq!(snapshots.len(), 2);
    for ruined in ["the middle of each is", "the first page of each is", "they are"] {
        let dir = copy_of(dir.path());
        for path in files_in(dir.path(), "snapshot", ".snap") {
            match ruined {
                "they are" => fs::remove_file(path).unwrap(),
                "the first page of each is" => zero(&path, 0, 512),
                _ => zero(&path, fs::metadata(&path).unwrap().len() / 2, 512),
            }
        }
        let mut options = options(dir.path());
        small(&mut options, 0);
        let refused = Store::open(options);
        let Err(error @ OpenError::NoBase(_)) = refused else { panic!("{ruined}: {refused:?}") };
        assert!(error.to_string().contains("penfold salvage"), "{error}");
        let (got, tally) = salvaged(dir.path());
        assert_eq!((got.lost.as_slice(), tally.damaged), (&[][..], 0), "{ruined} gone");
        let there: Vec<Out> = got.out.into_iter().filter(|o| o.folder != "(recovered)").collect();
        assert_same(&there, &must);
    }
}

#[test]
fn a_segment_without_its_first_page_and_one_that_is_missing_cost_only_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let must = contents(&filled(dir.path(), 14));
    without(dir.path(), "index");
    let segments = files_in(dir.path(), "log", ".seg");
    assert!(segments.len() > 6);
    let whole = copy_of(dir.path());
    for path in &segments {
        zero(path, 0, 4096);
    }
    let (got, _) = salvaged(dir.path());
    let there: Vec<Out> = got.out.into_iter().filter(|o| o.folder != "(recovered)").collect();
    assert_same(&there, &must);
    assert_eq!(got.lost, vec![]);
    // Nor do the snapshots help any more.
    without(dir.path(), "snapshot");
    let (got, _) = salvaged(dir.path());
    let there: Vec<Out> = got.out.into_iter().filter(|o| o.folder != "(recovered)").collect();
    assert_same(&there, &must);
    let lies_in = |path: &Path, o: &Out| {
        memchr_all(&fs::read(path).unwrap(), &o.octets[o.octets.len() - 60..]).next().is_some()
    };
    let busy = |path: &&PathBuf| must.iter().filter(|o| lies_in(path, o)).count() >= 5;
    let middle = segments[2..].iter().find(busy).unwrap();
    let spared: Vec<Out> = must.iter().filter(|o| !lies_in(middle, o)).cloned().collect();
    let number: u32 = middle.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    without(whole.path(), "snapshot");
    fs::remove_file(whole.path().join("log").join(middle.file_name().unwrap())).unwrap();
    let (got, tally) = salvaged(whole.path());
    let octets = |all: &[Out]| all.iter().map(|o| (o.folder.clone(), o.octets.clone())).collect::<Vec<_>>();
    let there: Vec<Out> = got.out.into_iter().filter(|o| o.folder != "(recovered)").collect();
    assert_eq!(octets(&there), octets(&spared));
    assert!(got.notes.contains(&format!("segment {number} is missing")), "{:?}", got.notes);
    assert_eq!(tally.damaged, 0);
}

/// A random number.
fn next(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

/// Where in the directory's files the records of a message lie: its body with its own header, and its delivery.
fn records_of(files: &BTreeMap<PathBuf, Vec<u8>>, octets: &[u8]) -> Vec<(PathBuf, u64, u64)> {
    let split = octets.windows(5).position(|w| w == b"From:" || w == b"Subje").unwrap();
    let (prefix, body) = octets.split_at(split);
    let mut found = Vec::new();
    for (path, content) in files {
        let begins = memchr_all(content, &body[..64.min(body.len())]);
        for at in begins.filter(|&at| content[at..].starts_with(body)) {
            found.push((path.clone(), at as u64 - 64, (at + body.len()) as u64 + 64));
        }
        for at in memchr_all(content, prefix) {
            found.push((path.clone(), at as u64 - 128, (at + prefix.len()) as u64));
        }
    }
    found
}

fn memchr_all<'a>(content: &'a [u8], what: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    content.windows(what.len()).enumerate().filter(move |(_, w)| *w == what).map(|(at, _)| at)
}

#[test]
fn of_a_directory_with_one_octet_in_a_hundred_wiped_out_every_intact_message_comes_out_once() {
    for days in [0, 14] {
        let dir = tempfile::tempdir().unwrap();
        let must = contents(&filled(dir.path(), days));
        let mut files = BTreeMap::new();
        for below in ["log", "snapshot", "index", "digest", "tmp"] {
            for path in files_in(dir.path(), below, "").into_iter().filter(|p| p.is_file()) {
                files.insert(path.strip_prefix(dir.path()).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
        let distinct: BTreeSet<&Vec<u8>> = must.iter().map(|o| &o.octets).collect();
        let places: BTreeMap<&Vec<u8>, Vec<(PathBuf, u64, u64)>> =
            distinct.iter().map(|octets| (*octets, records_of(&files, octets))).collect();
        assert!(places.values().all(|p| p.len() >= 2), "every message lies somewhere");
        // `PENFOLD_SEEDS=a..b` runs others than the usual ones.
        let seeds = std::env::var("PENFOLD_SEEDS").unwrap_or_else(|_| "1..13".into());
        let (from, to) = seeds.split_once("..").unwrap();
        for seed in from.parse::<u64>().unwrap()..to.parse().unwrap() {
            one_in_a_hundred(dir.path(), &files, &places, seed * 77 + u64::from(days));
        }
    }
}

/// Wipes out one octet in a hundred, by sectors and by pages, as disks fail. Gives the sectors of each file.
fn wipe(dir: &Path, files: &BTreeMap<PathBuf, Vec<u8>>, seed: u64) -> BTreeMap<PathBuf, BTreeSet<u64>> {
    let mut random = seed;
    let total: u64 = files.values().map(|f| f.len() as u64).sum();
    let mut wiped: BTreeMap<PathBuf, BTreeSet<u64>> = BTreeMap::new();
    let unit = if seed.is_multiple_of(2) { 512 } else { 4096 };
    let mut left = total / 100 / unit;
    while left > 0 {
        let mut at = next(&mut random) % total;
        for (path, octets) in files {
            match at.checked_sub(octets.len() as u64) {
                Some(rest) => at = rest,
                None => {
                    let start = at / unit * unit;
                    let length = (octets.len() as u64 - start).min(unit) as usize;
                    zero(&dir.join(path), start, length);
                    let sectors = start / 512..(start + unit) / 512;
                    wiped.entry(path.clone()).or_default().extend(sectors);
                    left -= 1;
                    break;
                }
            }
        }
    }
    wiped
}

fn one_in_a_hundred(
    dir: &Path,
    files: &BTreeMap<PathBuf, Vec<u8>>,
    places: &BTreeMap<&Vec<u8>, Vec<(PathBuf, u64, u64)>>,
    seed: u64,
) {
    let dir = copy_of(dir);
    let wiped = wipe(dir.path(), files, seed);
    let (got, _) = salvaged(dir.path());
    let is_hit = |(path, from, to): &(PathBuf, u64, u64)| {
        wiped.get(path).is_some_and(|w| w.range(from / 512..=(to - 1) / 512).next().is_some())
    };
    let mut by_octets: BTreeMap<&[u8], Vec<&Out>> = BTreeMap::new();
    got.out.iter().for_each(|o| by_octets.entry(&o.octets).or_default().push(o));
    let (mut intact, mut spoilt) = (0, 0);
    for (octets, places) in places {
        let found = by_octets.remove(octets.as_slice()).unwrap_or_default();
        if places.iter().any(is_hit) {
            spoilt += 1;
        } else {
            intact += 1;
            let why: Vec<_> = got.lost.iter().map(|l| (&l.mailbox, l.uid, &l.why)).collect();
            assert!(
                found.iter().any(|o| o.folder != "(damaged)"),
                "seed {seed}: a message is missing: {}\nlies in {places:?}\n{why:?}\n{:?}",
                String::from_utf8_lossy(&octets[..octets.len().min(80)]),
                got.notes
            );
        }
        let folders: Vec<(&str, &str)> = found.iter().map(|o| (&*o.account, &*o.folder)).collect();
        let once: BTreeSet<_> = folders.iter().collect();
        assert_eq!(once.len(), folders.len(), "seed {seed}: twice in one folder");
        assert!(!folders.contains(&("alice", "(recovered)")) || folders.len() == 1, "{folders:?}");
    }
    assert!(intact > 40, "seed {seed}: {intact} intact, {spoilt} spoilt");
    // What is left is what was expunged, and what is known to be damaged: never anything that was not a message.
    for (octets, out) in by_octets {
        let text = String::from_utf8_lossy(octets).into_owned();
        let number = text.lines().find_map(|l| l.strip_prefix("Subject: ")).and_then(|n| n.parse().ok());
        let known = number.is_some_and(|n: u32| octets == served(n) || octets == body(n));
        let known = known || [1, 2].iter().any(|&n| octets == large(n));
        assert!(known || out.iter().all(|o| o.folder == "(damaged)"), "seed {seed}: {out:?}");
    }
}
