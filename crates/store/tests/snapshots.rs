//! Snapshots: a store without an index opens from the newest good one and shows the same as ever; a bad one is never
//! relied upon, nothing older goes before there is something newer, and a crash while one is made costs nothing.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use common::*;
use store::index::model::{Fate, ModelHost};
use store::index::{Each, Index, IndexError, IndexHost, Pair, Writes};
use store::vfs::sim::{Rot, SimDisk};
use store::vfs::{ReadOnly, Source, Tree, Vfs};
use store::{
    AccountId, Batch, Book, Came, Intent, MailboxId, OpenError, Opening, Options, Outcome, Reader, RealVfs,
    SnapshotError, Start, Store,
};
use wire::flag::{FlagNames, SystemFlag};

/// Something of everything that a store can hold.
fn live(store: &Store, account: AccountId, from: u32) {
    let inbox = inbox(store, account);
    for n in from..from + 8 {
        append(store, inbox, n);
    }
    let last = store.view(inbox).unwrap().last_uid().unwrap().get();
    flag(store, inbox, &[(last - 3, last)], &[SystemFlag::Seen], &[&format!("word{from}")]);
    flag(store, inbox, &[(last - 1, last - 1)], &[SystemFlag::Deleted], &["$Junk"]);
    let path = format!("Work/{from}");
    let make = Intent::CreateMailbox { account, path, special_use: None, subscribe: true };
    let Outcome::Created(work) = store.ask(make).unwrap() else { panic!() };
    store.ask(Intent::Copy { from: inbox, uids: runs(&[(last - 6, last - 2)]), to: work }).unwrap();
    store.ask(Intent::Move { from: inbox, uids: runs(&[(last - 7, last - 7)]), to: work }).unwrap();
    store
        .ask(Intent::Expunge { mailbox: inbox, uids: runs(&[(last - 5, last - 4)]), only_deleted: false })
        .unwrap();
    let mut batch = Batch::new();
    let body = batch.body(vec![b'x'; 300 << 10]);
    batch.push(Intent::Append {
        mailbox: work,
        body,
        prefix: prefix(from),
        flags: FlagNames::default(),
        date: None,
    });
    store.done(batch).unwrap();
    let path = format!("not/there/{from}");
    store.ask(Intent::Subscribe { account, path, on: true }).unwrap();
    let address = format!("a{from}@example.org");
    store.ask(Intent::AddAlias { address, to: vec!["alice@example.org".into()] }).unwrap();
    store.ask(Intent::SetPassword { account, password: format!("$hash{from}$") }).unwrap();
}

/// A store with two snapshots and something after each; how many groups come after the newer.
fn with_two(dir: &Path) -> (String, [PathBuf; 2], u64) {
    let (store, _) = open(dir);
    let account = furnish(&store);
    live(&store, account, 1);
    let older = store.snapshot().unwrap();
    live(&store, account, 21);
    let newer = store.snapshot().unwrap();
    let before = store.health().groups;
    live(&store, account, 41);
    let groups = store.health().groups - before;
    assert!(older.seq < newer.seq && newer.rows > older.rows && newer.octets > 4096, "{newer:?}");
    assert_eq!(store.health().snapshot, Some(newer.clone()));
    (picture(&store), [dir.join(older.file), dir.join(newer.file)], groups)
}

fn spoil(path: &Path) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(b"\xff\xfe\xfd", file.metadata().unwrap().len() / 2).unwrap();
}

fn without_index(dir: &Path) -> (Store, Opening) {
    fs::remove_dir_all(dir.join("index")).unwrap();
    open(dir)
}

fn reader(dir: &Path, start: Start) -> Reader {
    Reader::open(Arc::new(RealVfs::new(dir)), start, &|_| {}).unwrap()
}

fn name(path: &Path) -> String {
    format!("snapshot/{}", path.file_name().unwrap().to_str().unwrap())
}

#[test]
fn without_an_index_the_newest_snapshot_and_the_tail_give_everything() {
    let dir = tempfile::tempdir().unwrap();
    let (before, [older, newer], groups) = with_two(dir.path());
    let (store, opening) = without_index(dir.path());
    assert!(matches!(opening.came, Came::Rebuilt { .. }));
    assert_eq!((opening.snapshot, opening.groups), (Some(name(&newer)), groups), "only the tail is replayed");
    assert_eq!((opening.bad_snapshots, picture(&store)), (vec![], before.clone()));
    assert_eq!(store.health().snapshot.unwrap().file, name(&newer));
    drop(store);
    // The index that was built from it is one like any other.
    let (store, opening) = open(dir.path());
    assert_eq!((opening.came, opening.snapshot, picture(&store)), (Came::Resumed, None, before.clone()));
    drop(store);
    spoil(&newer);
    let (store, opening) = without_index(dir.path());
    assert_eq!((opening.snapshot, picture(&store)), (Some(name(&older)), before.clone()));
    assert_eq!(opening.bad_snapshots.iter().map(|b| &b.file).collect::<Vec<_>>(), [&name(&newer)]);
    assert!(opening.groups > groups);
    assert_eq!(store.health().bad_snapshots, opening.bad_snapshots);
    drop(store);
    // Nothing has ever been dropped from the log, so it is enough by itself.
    spoil(&older);
    let (store, opening) = without_index(dir.path());
    assert_eq!((opening.snapshot, opening.bad_snapshots.len(), picture(&store)), (None, 2, before));
}

#[test]
fn a_log_without_its_beginning_and_no_good_snapshot_is_refused_with_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let (_, snapshots, _) = with_two(dir.path());
    let (store, _) = open(dir.path());
    let mailbox = inbox(&store, store.directory().login("alice").unwrap().id);
    (0..300).for_each(|n| assert!(append(&store, mailbox, n).get() > 0));
    drop(store);
    fs::remove_file(dir.path().join("log/00000001.seg")).unwrap();
    snapshots.iter().for_each(|path| spoil(path));
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    let files = |at: &str| fs::read_dir(dir.path().join(at)).unwrap().count();
    let before = (files("log"), files("snapshot"));
    let refused = Store::open(options(dir.path()));
    let text = refused.as_ref().unwrap_err().to_string();
    assert!(matches!(refused, Err(OpenError::Missing(_))) && text.contains("penfold salvage"), "{text}");
    assert_eq!((files("log"), files("snapshot")), before);
    // Nor does a store begin anew where there is a snapshot and no log.
    fs::remove_dir_all(dir.path().join("log")).unwrap();
    assert!(matches!(Store::open(options(dir.path())), Err(OpenError::NotAStore(_))));
}

#[test]
fn snapshots_are_made_when_it_is_time_and_two_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let tuned = |options: &mut Options| {
        options.threads = false;
        options.tuning.snapshot_commits = 10;
        options.tuning.snapshot_at_close = 4;
    };
    let there = || fs::read_dir(dir.path().join("snapshot")).map_or(0, Iterator::count);
    let (store, _) = open_with(dir.path(), tuned);
    let account = furnish(&store);
    let mailbox = inbox(&store, account);
    let mut seen = vec![];
    for n in 1..=45 {
        append(&store, mailbox, n);
        store.step_apply();
        if let Some(last) = store.health().snapshot
            && seen.last() != Some(&last.commit.0)
        {
            seen.push(last.commit.0);
            assert_eq!(there(), seen.len().min(2));
        }
    }
    // Two commits furnished it.
    assert_eq!(seen, [10, 20, 30, 40]);
    let made = store.health().snapshot.unwrap();
    append(&store, mailbox, 46);
    store.close().unwrap();
    assert!(dir.path().join(&made.file).exists() && there() == 2);
    let newest = |dir: &Path| reader(dir, Start::Snapshot).groups();
    assert_eq!(newest(dir.path()), 0, "more than four commits since the last: the close made one");
    let (store, opening) = open_with(dir.path(), tuned);
    assert_eq!(opening.came, Came::Clean);
    let more = |store: &Store, from: u32, to: u32| (from..=to).map(|n| append(store, mailbox, n).get()).max();
    more(&store, 47, 50);
    store.close().unwrap();
    assert_eq!(newest(dir.path()), 4, "four are not worth one");
    // What was written before the opening counts, too.
    let (store, _) = open_with(dir.path(), tuned);
    more(&store, 51, 56);
    store.step_apply();
    assert_eq!(store.health().snapshot.unwrap().commit.0, 58);
    more(&store, 57, 57);
    drop(store);
    let (store, _) = open_with(dir.path(), |options| {
        options.threads = false;
        options.tuning.snapshot_octets = 4 * 4096;
    });
    more(&store, 58, 59);
    store.step_apply();
    assert_eq!(store.health().snapshot.unwrap().commit.0, 58);
    more(&store, 60, 60);
    store.step_apply();
    assert_eq!(store.health().snapshot.unwrap().commit.0, 62, "four groups, one of them before the opening");
}

#[test]
fn one_that_is_asked_for_is_made_once_for_each_state() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let empty = store.snapshot().unwrap();
    assert_eq!((empty.seq, empty.rows, empty.took.is_some()), (0, 0, true));
    let account = furnish(&store);
    let first = store.snapshot().unwrap();
    assert!(first.seq > 0 && first.commit == store.health().snapshot.unwrap().commit);
    assert_eq!(store.snapshot().unwrap(), first);
    drop(store);
    // An earlier process's is as good, once it has been read.
    let (store, _) = open(dir.path());
    assert_eq!(store.snapshot().unwrap().file, first.file);
    spoil(&dir.path().join(&first.file));
    append(&store, inbox(&store, account), 1);
    store.snapshot().unwrap();
    drop(store);
    let (store, _) = without_index(dir.path());
    assert_eq!(store.view(inbox(&store, account)).unwrap().exists(), 1);
    spoil(&dir.path().join(&store.snapshot().unwrap().file));
    drop(store);
    let (store, _) = open(dir.path());
    let again = store.snapshot().unwrap();
    assert!(again.took.is_some(), "what an earlier process left is bad, so it is made again");
    assert_eq!(reader(dir.path(), Start::Snapshot).snapshot(), Some(&*again.file));
    store.close().unwrap();
    assert_eq!(store.snapshot(), Err(SnapshotError::Closed));
}

/// A bad one does not count as one of the two.
#[test]
fn what_is_older_goes_only_when_two_good_ones_are_newer() {
    let dir = tempfile::tempdir().unwrap();
    let (before, [older, newer], _) = with_two(dir.path());
    spoil(&newer);
    let (store, _) = open(dir.path());
    let third = dir.path().join(store.snapshot().unwrap().file);
    assert!(older.exists() && third.exists(), "the older one is the only other good one");
    assert!(!newer.exists(), "what is bad goes once there are two");
    assert_eq!(picture(&store), before);
    drop(store);
    spoil(&older);
    let (store, _) = open(dir.path());
    let account = store.directory().login("alice").unwrap().id;
    append(&store, inbox(&store, account), 99);
    let fourth = dir.path().join(store.snapshot().unwrap().file);
    assert!(third.exists() && fourth.exists() && !older.exists());
}

// ---- on the simulated disk ----------------------------------------------------------------------------------------

fn simulated(disk: &SimDisk, index: Arc<dyn IndexHost>) -> Options {
    let mut options = options(Path::new("nowhere"));
    options.vfs = disk.vfs();
    options.index = index;
    options.threads = false;
    options.tuning.segment = 128 << 10;
    options.tuning.side_above = 20 << 10;
    options
}

/// A small store with a snapshot, and something after it.
fn small(disk: &SimDisk) -> (Store, String, Arc<ModelHost>) {
    let model = Arc::new(ModelHost::new(disk.vfs()));
    let (store, _) = Store::open(simulated(disk, model.clone())).unwrap();
    let account = furnish(&store);
    let mailbox = inbox(&store, account);
    append(&store, mailbox, 1);
    append(&store, mailbox, 2);
    for n in [1, 2] {
        store.snapshot().unwrap();
        flag(&store, mailbox, &[(1, 1)], &[SystemFlag::Seen], &[&format!("word{n}")]);
        append(&store, mailbox, 2 + n);
    }
    let picture = picture(&store);
    (store, picture, model)
}

/// Whatever becomes of the index, the store is as it was; whatever it starts from.
fn is_as_before(disk: &SimDisk, model: &ModelHost, before: &str, what: &str) -> Opening {
    disk.vfs().remove_dir_all("index").unwrap();
    let model = Arc::new(model.restart(disk.vfs(), Fate::Kept));
    let (store, opening) = Store::open(simulated(disk, model)).unwrap_or_else(|e| panic!("{what}: {e}"));
    assert_eq!(picture(&store), before, "{what}");
    assert_eq!((&opening.rot, &opening.bad_snapshots), (&vec![], &vec![]), "{what}");
    for start in [Start::Snapshot, Start::Beginning] {
        let reader = Reader::open(disk.vfs(), start, &|_| {}).unwrap();
        assert_eq!(picture(&reader), before, "{what}: {start:?}");
    }
    opening
}

#[test]
fn a_crash_at_any_step_of_making_one_costs_nothing() {
    let mut steps = 0;
    for power_lost in [false, true] {
        for n in 0.. {
            // Several fates of what was not synced.
            for seed in 0..if power_lost { 4 } else { 1 } {
                let disk = SimDisk::new(1_000 * n + seed);
                let (store, before, model) = small(&disk);
                disk.crash_in(n);
                let made = store.snapshot();
                let off = disk.is_off();
                assert!(off || made.is_ok(), "{made:?}");
                disk.restart(power_lost);
                drop(store);
                let what = format!("step {n}, power lost: {power_lost}, seed {seed}");
                let opening = is_as_before(&disk, &model, &before, &what);
                assert!(opening.snapshot.is_some(), "{what}: there were two, and one at least stays");
                steps = if off { n + 1 } else { u64::MAX };
            }
            if steps == u64::MAX {
                assert!(n > 8, "making one has more than {n} steps");
                break;
            }
        }
    }
}

#[test]
fn a_snapshot_that_is_something_else_when_read_back_is_not_relied_upon() {
    let disk = SimDisk::new(3);
    let (store, before, model) = small(&disk);
    let there = disk.vfs().list("snapshot").unwrap();
    disk.garble("tmp/");
    let made = store.snapshot();
    assert!(matches!(made, Err(SnapshotError::Bad(_))), "{made:?}");
    assert!(store.health().snapshot_failed.unwrap().contains("read back"));
    assert_eq!(disk.vfs().list("snapshot").unwrap(), there, "and nothing older went");
    assert!(disk.vfs().list("tmp").unwrap().iter().all(|name| !name.ends_with("snap")));
    disk.restart(true);
    drop(store);
    is_as_before(&disk, &model, &before, "garbled");
}

#[test]
fn a_disk_that_fails_or_fills_costs_the_snapshot_and_nothing_else() {
    for kind in 0..3 {
        let disk = SimDisk::new(5);
        let (store, before, model) = small(&disk);
        store.step_apply();
        match kind {
            0 => disk.fail_sync_in(0),
            1 => disk.fail_write_in(0),
            _ => disk.room(Some(4000)),
        }
        let made = store.snapshot();
        assert_eq!(matches!(made, Err(SnapshotError::Full)), kind == 2, "{made:?}");
        assert!(made.is_err() && store.health().snapshot_failed.is_some());
        assert!(disk.vfs().list("tmp").unwrap().iter().all(|name| !name.ends_with("snap")));
        disk.room(None);
        assert_eq!(picture(&store), before);
        let made = store.snapshot().unwrap();
        assert_eq!((store.health().snapshot_failed, disk.vfs().list("snapshot").unwrap().len()), (None, 2));
        disk.restart(true);
        drop(store);
        let opening = is_as_before(&disk, &model, &before, "after it");
        assert_eq!((opening.snapshot, opening.groups), (Some(made.file), 0));
    }
}

/// What the log has lost, a snapshot remembers: it says so once, and is then out of the way.
#[test]
fn a_snapshot_beyond_the_end_of_the_log_is_a_witness_of_loss() {
    let disk = SimDisk::new(6);
    let (store, _, model) = small(&disk);
    let seq = store.snapshot().unwrap().seq;
    let exists = store.view(inbox(&store, store.directory().login("alice").unwrap().id)).unwrap().exists();
    drop(store);
    let log = disk.vfs().read("log/00000001.seg").unwrap();
    let mut pages = log.chunks(4096).enumerate();
    let last = pages.rfind(|(_, page)| page.starts_with(b"PFGROUP1")).unwrap().0 as u64;
    (0..8).for_each(|n| assert!(disk.rot("log/00000001.seg", last * 4096 + n * 512, Rot::ZeroSector)));
    disk.restart(false);
    disk.vfs().remove_dir_all("index").unwrap();
    let model = Arc::new(model.restart(disk.vfs(), Fate::Kept));
    let (store, opening) = Store::open(simulated(&disk, model.clone())).unwrap();
    assert!(opening.rot.len() == 1 && opening.torn.is_none(), "{opening:?}");
    assert!(opening.bad_snapshots.iter().any(|bad| bad.file.ends_with(&format!("{seq:016x}.snap"))));
    let mailbox = inbox(&store, store.directory().login("alice").unwrap().id);
    assert_eq!(store.view(mailbox).unwrap().exists(), exists - 1);
    let aside = format!("lost-{seq:016x}.snap");
    assert!(disk.vfs().list("tmp").unwrap().contains(&aside), "for a salvage");
    append(&store, mailbox, 9);
    drop(store);
    disk.restart(false);
    let model = Arc::new(model.restart(disk.vfs(), Fate::Kept));
    let (_, opening) = Store::open(simulated(&disk, model)).unwrap();
    assert_eq!(opening.bad_snapshots, []);
    assert!(disk.vfs().list("tmp").unwrap().contains(&aside));
}

// ---- an index that is watched -------------------------------------------------------------------------------------

#[derive(Debug, Default)]
struct Watched {
    /// The most octets that were handed out in one call.
    most: AtomicUsize,
    /// Forget a line of a book, or hand out an old one.
    forget: AtomicBool,
    stale: AtomicBool,
    /// Hand out blocks with another row in them than was put there.
    lie: AtomicBool,
}

#[derive(Debug)]
struct Host(Arc<ModelHost>, Arc<Watched>);

#[derive(Debug)]
struct Through(Arc<dyn Index>, Arc<Watched>);

impl IndexHost for Host {
    fn open(&self, dir: &str) -> Result<Arc<dyn Index>, IndexError> {
        Ok(Arc::new(Through(self.0.open(dir)?, self.1.clone())))
    }
}

impl Index for Through {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        self.0.get(key)
    }
    fn scan(&self, prefix: &[u8], each: Each<'_>) -> Result<(), IndexError> {
        let mut octets = 0;
        self.0.scan(prefix, &mut |key, value| {
            octets += value.len();
            each(key, value);
        })?;
        self.1.most.fetch_max(octets, Ordering::Relaxed);
        Ok(())
    }
    fn range(&self, from: &[u8], to: &[u8], each: Each<'_>) -> Result<(), IndexError> {
        self.0.range(from, to, each)
    }
    fn page(&self, from: &[u8], to: &[u8], octets: usize) -> Result<Vec<Pair>, IndexError> {
        let mut page = self.0.page(from, to, octets)?;
        self.1.most.fetch_max(page.iter().map(|(_, v)| v.len()).sum(), Ordering::Relaxed);
        if self.1.lie.load(Ordering::Relaxed) && from.starts_with(b"b") && page.len() > 1 {
            page.remove(1);
        }
        if self.1.forget.load(Ordering::Relaxed) && from.starts_with(b"q") {
            page.pop();
        }
        if self.1.stale.load(Ordering::Relaxed) && from.starts_with(b"q") {
            page.iter_mut().for_each(|(_, value)| value.truncate(12));
        }
        Ok(page)
    }
    fn apply(&self, writes: Writes) -> Result<(), IndexError> {
        self.0.apply(writes)
    }
    fn flush(&self) -> Result<(), IndexError> {
        self.0.flush()
    }
    fn close(&self) -> Result<(), IndexError> {
        self.0.close()
    }
}

fn watched(disk: &SimDisk) -> (Store, MailboxId, Arc<Watched>, Arc<Mutex<String>>) {
    let seen = Arc::new(Watched::default());
    let model = Arc::new(ModelHost::new(disk.vfs()));
    let condemned = Arc::new(Mutex::new(String::new()));
    let told = condemned.clone();
    let mut options = simulated(disk, Arc::new(Host(model, seen.clone())));
    options.tuning.segment = 4 << 20;
    options.condemned = Arc::new(move |why| *told.lock().unwrap() = why.to_owned());
    let (store, _) = Store::open(options).unwrap();
    let account = furnish(&store);
    let mailbox = inbox(&store, account);
    append(&store, mailbox, 1);
    (store, mailbox, seen, condemned)
}

#[test]
fn however_large_the_store_is_a_little_of_it_is_in_memory_at_a_time() {
    let disk = SimDisk::new(7);
    let (store, mailbox, seen, _) = watched(&disk);
    for doubling in 0..15 {
        let uids = runs(&[(1, 1 << doubling)]);
        store.ask(Intent::Copy { from: mailbox, uids, to: mailbox }).unwrap();
        store.step_apply();
    }
    seen.most.store(0, Ordering::Relaxed);
    let made = store.snapshot().unwrap();
    assert_eq!(made.rows, 1 << 15);
    assert!(made.octets > 44 << 15);
    let most = seen.most.load(Ordering::Relaxed);
    assert!(most > 0 && most < 300 << 10, "{most} of {} octets in one piece", made.octets);
}

#[test]
fn an_index_that_does_not_add_up_is_condemned_and_makes_no_snapshot() {
    let disk = SimDisk::new(8);
    let (store, mailbox, seen, condemned) = watched(&disk);
    store.ask(Intent::Copy { from: mailbox, uids: runs(&[(1, 1)]), to: mailbox }).unwrap();
    (0..7).for_each(|n| {
        store.ask(Intent::Copy { from: mailbox, uids: runs(&[(1, 2 << n)]), to: mailbox }).unwrap();
    });
    seen.lie.store(true, Ordering::Relaxed);
    let made = store.snapshot();
    match made {
        Err(SnapshotError::Index(_)) => {
            assert!(condemned.lock().unwrap().contains("add up") && store.health().condemned.is_some());
            assert!(!disk.vfs().exists("snapshot").unwrap());
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_index_that_lost_a_line_of_a_book_or_has_an_old_one_is_condemned_and_makes_no_snapshot() {
    for stale in [false, true] {
        let disk = SimDisk::new(9);
        let (store, _, seen, condemned) = watched(&disk);
        let write = |value: &[u8]| {
            for key in [b"1", b"2", b"3"] {
                let (key, value) = (key.to_vec(), value.to_vec());
                store.ask(Intent::Write { book: Book::Fates, key, value }).unwrap();
            }
        };
        write(b"");
        store.step_apply();
        // What was there before is taken off, and what goes.
        write(b"sent");
        store.ask(Intent::Strike { book: Book::Fates, key: b"2".to_vec() }).unwrap();
        store.step_apply();
        store.snapshot().unwrap();
        write(b"lost");
        (if stale { &seen.stale } else { &seen.forget }).store(true, Ordering::Relaxed);
        match store.snapshot() {
            Err(SnapshotError::Index(_)) => {
                let why = condemned.lock().unwrap().clone();
                assert!(why.contains("lines of books do not add up"), "{why}");
                assert_eq!(disk.vfs().list("snapshot").unwrap().len(), 1);
            }
            other => panic!("{other:?}"),
        }
    }
}

// ---- while commits go on ------------------------------------------------------------------------------------------

/// Zeros from the group after this one on, as if the log had never gone further.
fn cut_after(dir: &Path, seq: u64) {
    let path = dir.join("log/00000001.seg");
    let mut octets = fs::read(&path).unwrap();
    let number = |page: &[u8]| u64::from_le_bytes(page[48..56].try_into().unwrap());
    let after = octets
        .chunks(4096)
        .position(|page| page.starts_with(b"PFGROUP1") && number(page) == seq + 1)
        .unwrap_or(octets.len() / 4096);
    octets[after * 4096..].fill(0);
    fs::write(&path, octets).unwrap();
}

#[test]
fn one_that_is_made_while_commits_go_on_is_at_exactly_its_group() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    let (store, _) = open_with(&data, |options| {
        options.tuning.segment = 64 << 20;
        options.tuning.resident_rows = 0;
    });
    let account = furnish(&store);
    let mailbox = inbox(&store, account);
    let stop = AtomicBool::new(false);
    let mut kept = Vec::new();
    thread::scope(|scope| {
        for writer in 0..3u32 {
            let (store, stop) = (&store, &stop);
            scope.spawn(move || {
                for n in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let uid = append(store, mailbox, writer * 10_000 + n).get();
                    match n % 3 {
                        0 => drop(flag(store, mailbox, &[(1, uid)], &[SystemFlag::Seen], &["busy"])),
                        1 => {
                            let uids = runs(&[(uid.saturating_sub(4).max(1), uid.saturating_sub(3).max(1))]);
                            store.ask(Intent::Expunge { mailbox, uids, only_deleted: false }).unwrap();
                        }
                        _ => {}
                    }
                }
            });
        }
        // Whether they fail or not, the writers end.
        let made = (0..6).map(|n| {
            let made = store.snapshot()?;
            let aside = dir.path().join(format!("{n}.snap"));
            fs::copy(data.join(&made.file), &aside).unwrap();
            Ok::<_, SnapshotError>((made, aside))
        });
        let made: Result<Vec<_>, _> = made.collect();
        stop.store(true, Ordering::Relaxed);
        kept = made.unwrap();
    });
    let now = picture(&store);
    drop(store);
    for start in [Start::Snapshot, Start::Beginning] {
        assert_eq!(picture(&reader(&data, start)), now, "{start:?}");
    }
    let mut grew = 0;
    for (n, (made, aside)) in kept.iter().enumerate() {
        let copy = dir.path().join(format!("copy{n}"));
        fs::create_dir_all(copy.join("log")).unwrap();
        fs::create_dir_all(copy.join("snapshot")).unwrap();
        fs::copy(data.join("log/00000001.seg"), copy.join("log/00000001.seg")).unwrap();
        fs::copy(aside, copy.join(&made.file)).unwrap();
        let whole = reader(&copy, Start::Snapshot);
        assert_eq!(picture(&whole), now);
        grew += whole.groups();
        cut_after(&copy, made.seq);
        let (from, all) = (reader(&copy, Start::Snapshot), reader(&copy, Start::Beginning));
        assert_eq!((from.groups(), from.reached()), (0, all.reached()));
        assert_eq!((from.reached().seq, from.reached().commit), (made.seq, made.commit));
        assert_eq!(picture(&from), picture(&all));
    }
    assert!(grew > 0, "commits went on");
}

// ---- reading only -------------------------------------------------------------------------------------------------

fn every_file(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(every_file(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

#[test]
fn a_reader_needs_no_lock_and_no_index_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (before, [older, newer], groups) = with_two(dir.path());
    let files = every_file(dir.path());
    let from = reader(dir.path(), Start::Snapshot);
    assert_eq!((from.snapshot(), from.groups()), (Some(&*name(&newer)), groups));
    assert_eq!((picture(&from), from.damage()), (before.clone(), &store::Damage::default()));
    assert_eq!(from.large_bodies().count(), 3);
    let all = reader(dir.path(), Start::Beginning);
    assert_eq!((all.snapshot(), picture(&all), all.reached()), (None, before.clone(), from.reached()));
    assert_eq!(every_file(dir.path()), files);
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    fs::remove_file(dir.path().join("lock")).unwrap();
    let files = every_file(dir.path());
    // While somebody serves it.
    let (store, _) = open(dir.path());
    assert_eq!(picture(&reader(dir.path(), Start::Snapshot)), before);
    drop(store);
    // What is amiss is said, and left as it is.
    drop(files);
    spoil(&newer);
    let log = dir.path().join("log/00000001.seg");
    let octets = fs::read(&log).unwrap();
    let pages: Vec<usize> =
        (0..octets.len() / 4096).filter(|n| octets[n * 4096..].starts_with(b"PFGROUP1")).collect();
    let file = fs::OpenOptions::new().write(true).open(&log).unwrap();
    file.write_all_at(b"junk", (pages[pages.len() - 1] as u64 + 1) * 4096).unwrap();
    file.write_all_at(b"\xff\xff", pages[1] as u64 * 4096 + 130).unwrap();
    let side = from.large_bodies().next().unwrap().0;
    fs::remove_file(dir.path().join(&side)).unwrap();
    let files = every_file(dir.path());
    let from = reader(dir.path(), Start::Snapshot);
    let damage = from.damage();
    assert_eq!(from.snapshot(), Some(&*name(&older)));
    assert_eq!(
        (damage.rot.len(), damage.bad_snapshots.len()),
        (0, 1),
        "the rot is in what the snapshot holds"
    );
    assert_eq!((damage.missing_bodies.clone(), damage.is_loss()), (vec![side], true));
    let all = reader(dir.path(), Start::Beginning);
    assert!(all.damage().rot.len() == 1 && all.damage().is_loss(), "{:?}", all.damage());
    assert_eq!(every_file(dir.path()), files);
    let torn = [from.damage().torn.clone(), all.damage().torn.clone()];
    assert!(torn.iter().all(|torn| torn.as_ref().is_some_and(|t| t.octets == 4096)), "{torn:?}");
}

/// A tree that is no directory, as a backup may be.
#[derive(Debug)]
struct InMemory(BTreeMap<String, Arc<Vec<u8>>>);

#[derive(Debug)]
struct Octets(Arc<Vec<u8>>);

impl Tree for InMemory {
    fn open(&self, path: &str) -> io::Result<Arc<dyn Source>> {
        let found = self.0.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(Octets(found.clone())))
    }
    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let below = |path: &String| path.strip_prefix(dir)?.strip_prefix('/').map(str::to_owned);
        let names: Vec<String> = self.0.keys().filter_map(below).collect();
        if names.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(names) }
    }
}

impl Source for Octets {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = self.0.get(offset as usize..).unwrap_or_default();
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }
}

#[test]
fn a_tree_that_is_no_directory_is_read_like_one() {
    let dir = tempfile::tempdir().unwrap();
    let (before, ..) = with_two(dir.path());
    let files = every_file(dir.path()).into_iter().map(|(path, octets)| {
        (path.strip_prefix(dir.path()).unwrap().to_str().unwrap().to_owned(), Arc::new(octets))
    });
    let tree: Arc<dyn Vfs> = Arc::new(ReadOnly(InMemory(files.collect())));
    for start in [Start::Snapshot, Start::Beginning] {
        let reader = Reader::open(tree.clone(), start, &|_| {}).unwrap();
        assert_eq!(
            (reader.snapshot().is_some(), picture(&reader)),
            (start == Start::Snapshot, before.clone())
        );
    }
    assert_eq!(tree.remove_file("lock").unwrap_err().kind(), io::ErrorKind::ReadOnlyFilesystem);
    assert!(Store::open(Options { vfs: tree, ..options(dir.path()) }).is_err());
    let empty: Arc<dyn Vfs> = Arc::new(ReadOnly(InMemory(BTreeMap::new())));
    assert!(matches!(Reader::open(empty, Start::Snapshot, &|_| {}), Err(OpenError::NotAStore(_))));
}
