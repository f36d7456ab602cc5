//! A disk in trouble: when there is room again, service goes on by itself; what the disk fails to read is said, and a log
//! of which the disk does not give a part is not taken for a torn one.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

mod common;
#[path = "common/full.rs"]
mod full;

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use common::*;
use full::*;
use store::index::model::ModelHost;
use store::salvage::{Books, Lost, People, Salvaged, Sink, Taken, salvage};
use store::vfs::sim::SimDisk;
use store::vfs::{File, Lock, Open, Space, Vfs};
use store::{Batch, CommitError, Intent, Mode, OpenError, Options, RealVfs, Store};
use wire::flag::{FlagNames, SystemFlag};

fn try_append(store: &Store, mailbox: store::MailboxId, n: u32) -> Result<(), CommitError> {
    let mut batch = Batch::new();
    let body = batch.body(body(n));
    batch.push(Intent::Append { mailbox, body, prefix: prefix(n), flags: FlagNames::default(), date: None });
    store.done(batch).map(|_| ())
}

#[test]
fn when_there_is_room_again_mail_is_taken_again_without_a_restart() {
    let disk = SimDisk::new(5);
    let vfs = disk.vfs();
    let index = Arc::new(ModelHost::new(vfs.clone()));
    let dir = tempfile::tempdir().unwrap();
    let mut options: Options = options(dir.path());
    small(&mut options, 14);
    options.tuning.reserve = 1 << 20;
    let (store, _) = Store::open(Options { vfs, index, ..options }).unwrap();
    let mailbox = inbox(&store, furnish(&store));
    settle(&store);
    disk.room(Some(20 << 10));
    disk.report_free(Some(20 << 10));
    let mut taken = 0;
    let refused = loop {
        match try_append(&store, mailbox, taken + 1) {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
        assert!(taken < 1_000, "it is never full");
        if taken > 5 {
            store.step_apply();
        }
    };
    assert_eq!((refused, store.health().mode), (CommitError::Full, Mode::LowSpace));
    // Flags go on meanwhile, in the segments that were made ahead of need.
    for round in 0..20 {
        let flags = if round % 2 == 0 { SystemFlag::Flagged } else { SystemFlag::Seen };
        flag(&store, mailbox, &[(1 + round % taken, taken)], &[flags], &[&format!("round{round}")]);
        store.step_apply();
    }
    assert_eq!(try_append(&store, mailbox, 999), Err(CommitError::Full));
    disk.room(None);
    disk.report_free(None);
    store.step_apply();
    assert_eq!(store.health().mode, Mode::Serving);
    assert_eq!(store.health().disk_errors, [], "a full disk is no broken one");
    for n in taken + 1..taken + 30 {
        try_append(&store, mailbox, n).unwrap();
    }
    let rows: Vec<_> = store.view(mailbox).unwrap().rows().collect();
    assert_eq!(rows.len() as u32, taken + 29);
    rows.iter().zip(1..).for_each(|(row, n)| assert_eq!(read(&store, row), served(n)));
}

/// A disk that does not give some sectors of some files.
#[derive(Debug)]
struct Failing {
    below: RealVfs,
    bad: Arc<Mutex<Vec<(String, u64)>>>,
    failed: Arc<AtomicU64>,
}

#[derive(Debug)]
struct FailingFile {
    below: Arc<dyn File>,
    path: String,
    bad: Arc<Mutex<Vec<(String, u64)>>>,
    failed: Arc<AtomicU64>,
}

impl Vfs for Failing {
    fn open(&self, path: &str, how: Open) -> io::Result<Arc<dyn File>> {
        let (bad, failed) = (self.bad.clone(), self.failed.clone());
        Ok(Arc::new(FailingFile { below: self.below.open(path, how)?, path: path.to_owned(), bad, failed }))
    }
    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.below.list(dir)
    }
    fn exists(&self, path: &str) -> io::Result<bool> {
        self.below.exists(path)
    }
    fn len(&self, path: &str) -> io::Result<u64> {
        self.below.len(path)
    }
    fn create_dir_all(&self, dir: &str) -> io::Result<()> {
        self.below.create_dir_all(dir)
    }
    fn remove_file(&self, path: &str) -> io::Result<()> {
        self.below.remove_file(path)
    }
    fn remove_dir_all(&self, dir: &str) -> io::Result<()> {
        self.below.remove_dir_all(dir)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.below.rename(from, to)
    }
    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.below.sync_dir(dir)
    }
    fn free_space(&self) -> io::Result<Space> {
        self.below.free_space()
    }
    fn lock(&self, path: &str) -> io::Result<Box<dyn Lock>> {
        self.below.lock(path)
    }
}

impl File for FailingFile {
    fn write_at(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        self.below.write_at(slices, offset)
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let end = offset + buf.len() as u64;
        let hit = |(path, at): &(String, u64)| *path == self.path && offset < at + 512 && *at < end;
        if self.bad.lock().unwrap().iter().any(hit) {
            self.failed.fetch_add(1, Ordering::Relaxed);
            return Err(io::Error::from_raw_os_error(5));
        }
        self.below.read_at(buf, offset)
    }
    fn preallocate(&self, len: u64) -> io::Result<()> {
        self.below.preallocate(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.below.sync_data()
    }
    fn sync_all(&self) -> io::Result<()> {
        self.below.sync_all()
    }
    fn len(&self) -> io::Result<u64> {
        self.below.len()
    }
    fn truncate(&self, len: u64) -> io::Result<()> {
        self.below.truncate(len)
    }
}

/// A message's place in the log: the file, and a whole sector of its body.
fn sector_of(dir: &Path, n: u32) -> (String, u64) {
    let subject = format!("Subject: {n}\r\n");
    for path in files_in(dir, "log", ".seg") {
        let octets = std::fs::read(&path).unwrap();
        if let Some(at) = octets.windows(subject.len()).position(|w| w == subject.as_bytes()) {
            let name = format!("log/{}", path.file_name().unwrap().to_str().unwrap());
            return (name, (at as u64 + 600) / 512 * 512);
        }
    }
    panic!("message {n} is nowhere");
}

fn open_failing(dir: &Path, bad: Vec<(String, u64)>) -> Result<(Store, store::Opening), OpenError> {
    let _ = std::fs::remove_dir_all(dir.join("index"));
    let mut options = options(dir);
    small(&mut options, 14);
    options.vfs = Arc::new(Failing {
        below: RealVfs::new(dir),
        bad: Arc::new(Mutex::new(bad)),
        failed: Arc::default(),
    });
    Store::open(options)
}

fn plain(dir: &Path, messages: u32) {
    let (store, _) = open_with(dir, |o| small(o, 14));
    let mailbox = inbox(&store, furnish(&store));
    (1..=messages).for_each(|n| _ = append(&store, mailbox, n));
    flag(&store, mailbox, &[(2, 3)], &[SystemFlag::Seen], &[]);
}

#[test]
fn a_sector_that_cannot_be_read_costs_one_message_if_it_holds_nothing_but_octets_of_it() {
    let dir = tempfile::tempdir().unwrap();
    plain(dir.path(), 12);
    let bad = sector_of(dir.path(), 6);
    let (store, opening) = open_failing(dir.path(), vec![bad.clone()]).unwrap();
    assert_eq!((opening.rot.len(), &opening.renewed), (1, &None), "{opening:?}");
    let mailbox = inbox(&store, store.directory().login("alice").unwrap().id);
    let rows: Vec<_> = store.view(mailbox).unwrap().rows().collect();
    assert_eq!(rows.len(), 12);
    for (row, n) in rows.iter().zip(1..) {
        match store.message(row).and_then(|m| m.to_vec()) {
            Ok(octets) => assert!(octets == served(n) && n != 6),
            Err(_) => assert_eq!(n, 6),
        }
    }
    let errors = store.health().disk_errors;
    assert_eq!((errors.len(), &errors[0].file, errors[0].count), (1, &bad.0, 1), "{errors:?}");
    assert!(errors[0].what.contains("os error 5") && errors[0].since.secs >= 1_800_000_000);
    assert_eq!(append(&store, mailbox, 13).get(), 13);
    drop(store);
    // The disk gives it again: the replay comes to the same, and the message is back.
    let (store, _) = open_failing(dir.path(), Vec::new()).unwrap();
    let rows: Vec<_> = store.view(mailbox).unwrap().rows().collect();
    rows.iter().zip(1..).for_each(|(row, n)| assert_eq!(read(&store, row), served(n)));
    assert_eq!(rows.len(), 13);
}

#[test]
fn a_bad_sector_beside_a_message_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    plain(dir.path(), 12);
    let bad = Arc::new(Mutex::new(Vec::new()));
    let failing = Failing { below: RealVfs::new(dir.path()), bad: bad.clone(), failed: Arc::default() };
    let failed = failing.failed.clone();
    let mut options = options(dir.path());
    small(&mut options, 14);
    let (store, _) = Store::open(Options { vfs: Arc::new(failing), ..options }).unwrap();
    let mailbox = inbox(&store, store.directory().login("alice").unwrap().id);
    let rows: Vec<_> = store.view(mailbox).unwrap().rows().collect();
    for (row, n) in rows.iter().zip(1u32..) {
        // Its group has whole pages; those before and behind it are its neighbours'.
        let (file, at) = sector_of(dir.path(), n);
        let octets = std::fs::read(dir.path().join(&file)).unwrap();
        let is_group = |page: &u64| octets[*page as usize..].starts_with(b"PFGROUP1");
        let begin = (1..=at / 4096).rev().map(|n| n * 4096).find(is_group).unwrap();
        let end = (at / 4096 + 1..octets.len() as u64 / 4096).map(|n| n * 4096).find(is_group).unwrap();
        for sector in (begin - 4096..begin).chain(end..end + 4096).step_by(512) {
            *bad.lock().unwrap() = vec![(file.clone(), sector)];
            assert_eq!(
                read(&store, row),
                served(n),
                "message {n} lies at {begin}, the bad sector at {sector}"
            );
            // Whoever reads several at once meets it, and gets all that are whole.
            let whole = store.messages(&rows).filter(|(_, message)| message.is_ok()).count();
            assert!(whole >= rows.len() - 1, "{whole}");
        }
    }
    assert!(failed.load(Ordering::Relaxed) > 100, "no read met one");
    let errors = store.health().disk_errors;
    assert!(errors.iter().any(|error| error.what.contains("os error 5")), "{errors:?}");
}

#[test]
fn what_cannot_be_read_and_may_be_more_is_neither_passed_over_nor_cut() {
    let dir = tempfile::tempdir().unwrap();
    plain(dir.path(), 12);
    let log = |dir: &Path| {
        files_in(dir, "log", "").into_iter().map(|p| std::fs::read(p).unwrap()).collect::<Vec<_>>()
    };
    let before = log(dir.path());
    let (file, at) = sector_of(dir.path(), 6);
    let group = at / 4096 * 4096;
    // The group's header; a record of flags at the end of the log, with nothing behind it.
    let octets = std::fs::read(dir.path().join(&file)).unwrap();
    let last =
        (1..octets.len() / 4096).rev().map(|n| n * 4096).find(|&at| octets[at..].starts_with(b"PFGROUP1"));
    for sector in [group, last.unwrap() as u64] {
        match open_failing(dir.path(), vec![(file.clone(), sector)]) {
            Err(OpenError::Unreadable { file: named, offset, .. }) => {
                assert_eq!((named, offset), (file.clone(), sector));
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(log(dir.path()) == before);
    let (store, opening) = open_failing(dir.path(), Vec::new()).unwrap();
    assert_eq!((opening.rot, opening.torn, opening.renewed), (vec![], None, None));
    let mailbox = inbox(&store, store.directory().login("alice").unwrap().id);
    assert_eq!(store.head(mailbox).unwrap().unseen, 10);
}

#[derive(Default)]
struct Count(Vec<Vec<u8>>, Vec<String>);

impl Sink for Count {
    fn people(&mut self, _: &People) -> io::Result<()> {
        Ok(())
    }
    fn message(&mut self, message: &Salvaged<'_>) -> io::Result<()> {
        let mut octets = Vec::new();
        message.each_piece(&mut |piece| {
            octets.extend_from_slice(piece);
            Ok(())
        })?;
        self.0.push(octets);
        Ok(())
    }
    fn lost(&mut self, _: &Lost) -> io::Result<()> {
        Ok(())
    }
    fn books(&mut self, _: &mut Books<'_>) -> io::Result<Taken> {
        Ok(Taken::default())
    }
    fn note(&mut self, text: &str) -> io::Result<()> {
        self.1.push(text.to_owned());
        Ok(())
    }
}

#[test]
fn a_salvage_reads_around_bad_sectors() {
    let dir = tempfile::tempdir().unwrap();
    plain(dir.path(), 12);
    let (file, at) = sector_of(dir.path(), 6);
    // A header of a group, with the octets of the one before, and the log's own first page.
    let bad = vec![(file.clone(), at / 4096 * 4096), (file.clone(), 0), sector_of(dir.path(), 9)];
    let failing =
        Failing { below: RealVfs::new(dir.path()), bad: Arc::new(Mutex::new(bad)), failed: Arc::default() };
    let mut sink = Count::default();
    let tally = salvage(Arc::new(failing), &|_| {}, &mut sink).unwrap();
    assert_eq!((tally.bad_sectors, tally.lost), (3, 0), "{:?}", sink.1);
    let out: std::collections::BTreeSet<Vec<u8>> = sink.0.into_iter().collect();
    for n in (1..=12).filter(|n| ![6, 9].contains(n)) {
        assert!(out.contains(&served(n)), "message {n}");
    }
    assert!(
        sink.1.contains(&format!("{file}: the disk does not give 3 sectors of 512 octets")),
        "{:?}",
        sink.1
    );
}
