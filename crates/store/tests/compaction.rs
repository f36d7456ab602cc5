//! Compaction: dead octets go, and nothing else changes: the same messages under the same names, however the store is
//! opened, whoever reads meanwhile, wherever the power fails.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::*;
use store::index::model::{Fate, ModelHost};
use store::vfs::sim::SimDisk;
use store::{
    Batch, Intent, MailboxId, NoDigest, Opening, Options, Reader, RealVfs, Row, Start, Store, Tuning,
};
use wire::flag::{FlagNames, SystemFlag};

/// Nothing expunged is kept, and space is wanted back at once.
fn eager(options: &mut Options) {
    options.threads = false;
    options.tuning = Tuning {
        segment: 64 << 10,
        undelete_days: 0,
        compact_octets: 1,
        compact_every: Duration::ZERO,
        snapshot_at_close: u64::MAX,
        ..options.tuning.clone()
    };
}

fn eager_at(dir: &Path) -> (Store, Opening) {
    open_with(dir, eager)
}

/// Everything that the store does by itself, until there is nothing left to do.
fn rest(store: &Store) {
    let mut idle = 0;
    for _ in 0..500 {
        idle += 1;
        while store.step_apply() || store.step_commit() {
            idle = 0;
        }
        if store.step_compact() {
            idle = 0;
        }
        // What it asked itself for comes with the next steps.
        if idle > 3 {
            return;
        }
    }
    panic!("it never rests");
}

fn expunge(store: &Store, mailbox: MailboxId, uids: &[(u32, u32)]) {
    store.ask(Intent::Expunge { mailbox, uids: runs(uids), only_deleted: false }).unwrap();
}

fn large(store: &Store, mailboxes: &[MailboxId], n: u32) {
    let mut batch = Batch::new();
    let body = batch.body([body(n), vec![b'x'; 300 << 10]].concat());
    for &mailbox in mailboxes {
        batch.push(Intent::Append {
            mailbox,
            body,
            prefix: prefix(n),
            flags: FlagNames::default(),
            date: None,
        });
    }
    store.done(batch).unwrap();
}

/// Mailboxes whose messages are partly gone, in several segments; large ones too.
fn worn(store: &Store) -> [MailboxId; 2] {
    let account = furnish(store);
    let inbox = inbox(store, account);
    let sent = store.directory().mailbox_at(account, "Sent").unwrap().id;
    for n in 1..=60 {
        append(store, inbox, n);
        if n % 20 == 0 {
            large(store, &[inbox, sent], n);
            large(store, &[inbox], n + 1);
        }
    }
    // Of what waits to be sent one in three stays, too; a large one goes and another stays.
    for n in 1..=9 {
        keep(store, n, body(n));
    }
    for n in 10..=11 {
        keep(store, n, [body(n), vec![b'x'; 300 << 10]].concat());
    }
    (1..=10).filter(|n| n % 3 != 0).for_each(|n| strike(store, n));
    flag(store, inbox, &[(1, 40)], &[SystemFlag::Seen], &["$Junk"]);
    store.ask(Intent::Copy { from: inbox, uids: runs(&[(3, 3), (30, 31)]), to: sent }).unwrap();
    // Two of three go, so that something survives everywhere; of each large one that two mailboxes have, one is left.
    let gone: Vec<(u32, u32)> = (0..22).map(|n| (n * 3 + 1, n * 3 + 2)).collect();
    expunge(store, inbox, &gone);
    [inbox, sent]
}

fn names(dir: &Path, ending: &str) -> BTreeSet<String> {
    let names = fs::read_dir(dir.join("log")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains(ending)).collect()
}

fn log_octets(dir: &Path) -> u64 {
    fs::read_dir(dir.join("log")).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum()
}

#[test]
fn what_is_dead_goes_and_everything_else_is_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = eager_at(dir.path());
    let mailboxes = worn(&store);
    let before = picture(&store);
    let (segments, sides, octets) =
        (names(dir.path(), ".seg"), names(dir.path(), ".side"), log_octets(dir.path()));
    assert!(segments.len() > 3 && sides.len() == 8, "{segments:?} {sides:?}");
    // Somebody who reads an older state all the time.
    let views: Vec<_> = mailboxes.iter().map(|&id| store.view(id).unwrap()).collect();
    rest(&store);
    let health = store.health();
    assert!(health.compacted_segments >= 2, "{health:?}");
    assert_eq!(health.compaction_failed, None);
    assert_eq!(picture(&store), before);
    assert!(log_octets(dir.path()) < octets * 3 / 4, "{} of {octets}", log_octets(dir.path()));
    assert!(names(dir.path(), ".g2").len() >= 2);
    let left = names(dir.path(), ".side");
    assert!(left.is_subset(&sides) && left.len() < sides.len(), "{left:?}");
    // All at once, neighbours together.
    for view in &views {
        let rows: Vec<Row> = view.rows().collect();
        for (row, message) in store.messages(&rows) {
            assert_eq!(message.unwrap().to_vec().unwrap(), read(&store, &row));
        }
    }
    // Once more: what is left goes too, generation after generation.
    let inbox = mailboxes[0];
    expunge(&store, inbox, &[(1, 40)]);
    rest(&store);
    let before = picture(&store);
    assert!(!names(dir.path(), ".g3").is_empty());
    drop(store);
    for drop_index in [false, true] {
        if drop_index {
            fs::remove_dir_all(dir.path().join("index")).unwrap();
        }
        let (store, opening) = eager_at(dir.path());
        assert!(opening.rot.is_empty() && opening.missing_bodies.is_empty(), "{opening:?}");
        assert_eq!(without_numbers(&picture(&store)), without_numbers(&before));
        append(&store, inbox, 7);
        assert_eq!(append(&store, inbox, 8), store.view(inbox).unwrap().last_uid().unwrap());
        expunge(&store, inbox, &[(67, u32::MAX)]);
        assert_eq!(without_numbers(&picture(&store)), without_numbers(&before));
        store.close().unwrap();
    }
    let reader = Reader::open(Arc::new(RealVfs::new(dir.path())), Start::Snapshot, &|_| {}).unwrap();
    assert_eq!(without_numbers(&picture(&reader)), without_numbers(&before));
}

/// The messages of a picture, without what a further message and its end change.
fn without_numbers(picture: &str) -> Vec<&str> {
    picture.lines().filter(|line| line.starts_with("    Row")).collect()
}

#[test]
fn nothing_is_compacted_on_the_word_of_one_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open_with(dir.path(), |o| {
        eager(o);
        o.tuning.compact_every = Duration::MAX;
    });
    worn(&store);
    while store.step_apply() || store.step_commit() {}
    store.snapshot().unwrap();
    while store.step_compact() {}
    assert_eq!(store.health().compacted_segments, 0);
    append(&store, inbox(&store, store.directory().login("alice").unwrap().id), 9);
    while store.step_apply() {}
    store.snapshot().unwrap();
    while store.step_compact() {}
    assert!(store.health().compacted_segments > 0);
}

#[test]
fn what_can_be_brought_back_is_not_dead() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open_with(dir.path(), |o| {
        eager(o);
        o.tuning.undelete_days = 14;
    });
    worn(&store);
    let all = |store: &Store| -> Vec<Vec<u8>> {
        let filter = store::RetainedFilter { all: true, ..Default::default() };
        store.retained(&filter).unwrap().map(|m| read(store, &m.unwrap().row)).collect()
    };
    let before = (picture(&store), all(&store));
    assert!(before.1.len() > 40);
    rest(&store);
    store.snapshot().unwrap();
    rest(&store);
    assert_eq!((picture(&store), all(&store)), before);
    // Those of what was expunged, and of what waits to be sent; not that of what was sent.
    assert_eq!(names(dir.path(), ".side").len(), 7);
}

// ---- on a disk whose power fails ------------------------------------------------------------------------------------

fn sim_options(disk: &SimDisk, model: &Arc<ModelHost>, boot: u32) -> Options {
    let mut options = options(Path::new("/nowhere"));
    eager(&mut options);
    options.vfs = disk.vfs();
    options.index = model.clone();
    options.derive = Arc::new(NoDigest);
    options.boot_id = Some(format!("boot-{boot}"));
    options
}

#[test]
fn a_power_cut_at_each_step_of_a_compaction_changes_nothing() {
    let mut step = 0u64;
    loop {
        let disk = SimDisk::new(step);
        let model = Arc::new(ModelHost::new(disk.vfs()));
        let (store, _) = Store::open(sim_options(&disk, &model, 0)).unwrap();
        worn(&store);
        let before = picture(&store);
        while store.step_apply() || store.step_commit() {}
        store.snapshot().unwrap();
        flag(&store, inbox(&store, store.directory().login("alice").unwrap().id), &[(3, 3)], &[], &[]);
        disk.crash_in(step);
        rest(&store);
        let done = !disk.is_off();
        let health = store.health();
        drop(store);
        disk.restart(true);
        let model = Arc::new(
            model.restart(disk.vfs(), if step.is_multiple_of(2) { Fate::Kept } else { Fate::Ruined }),
        );
        let (store, opening) = Store::open(sim_options(&disk, &model, 1)).unwrap();
        assert!(opening.rot.is_empty() && opening.missing_bodies.is_empty(), "step {step}: {opening:?}");
        assert_eq!(picture(&store), before, "step {step}");
        rest(&store);
        assert!(disk.files().iter().any(|(path, _)| path.ends_with(".g2")), "step {step}");
        assert_eq!(picture(&store), before, "step {step}");
        if done {
            // The life that nothing cut short went all the way: segments were compacted, one step after another.
            assert!(health.compacted_segments >= 2 && step > 40, "step {step}: {health:?}");
            return;
        }
        step += 1;
    }
}

/// What the mail of years comes to: half of a gigabyte is deleted, and comes back to the file system.
#[test]
fn half_of_a_gigabyte_comes_back() {
    const MESSAGE: usize = 200 << 10;
    const COUNT: u32 = 5_120;
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open_with(dir.path(), |o| {
        o.tuning = Tuning {
            undelete_days: 0,
            compact_every: Duration::ZERO,
            reserve: 0,
            reserve_percent: 0,
            ..Tuning::default()
        };
    });
    let account = furnish(&store);
    let mailbox = inbox(&store, account);
    let text = |n: u32| {
        let mut octets = format!("Subject: {n}\r\n\r\n").into_bytes();
        octets.resize(MESSAGE, b'a' + (n % 26) as u8);
        octets
    };
    for first in (0..COUNT).step_by(16) {
        let mut batch = Batch::new();
        for n in first..first + 16 {
            let body = batch.body(text(n));
            batch.push(Intent::Append {
                mailbox,
                body,
                prefix: store::Prefix::default(),
                flags: FlagNames::default(),
                date: None,
            });
        }
        store.done(batch).unwrap();
    }
    let full = tree_octets(dir.path());
    assert!(full > 1 << 30, "{full}");
    let gone: Vec<(u32, u32)> = (0..COUNT / 2).map(|n| (n * 2 + 1, n * 2 + 1)).collect();
    expunge(&store, mailbox, &gone);
    let mut now = full;
    for looks in 0.. {
        now = tree_octets(dir.path());
        if full.saturating_sub(now) >= 450 << 20 {
            break;
        }
        // Nobody tells when space comes back, so it is looked for, five minutes at most.
        assert!(looks < 3_000, "{now} of {full}: {:?}", store.health());
        std::thread::sleep(Duration::from_millis(100));
    }
    for row in store.view(mailbox).unwrap().rows().step_by(97) {
        assert!(read(&store, &row) == text(row.uid.get() - 1), "message {}", row.uid);
    }
    eprintln!("{} MiB of {} MiB came back", full.saturating_sub(now) >> 20, full >> 20);
    store.close().unwrap();
}

/// Octets that a directory takes on its disk.
fn tree_octets(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => tree_octets(&entry.path()),
        Ok(found) => found.blocks() * 512,
        // It went while we looked.
        Err(_) => 0,
    };
    entries.filter_map(Result::ok).map(of).sum()
}

#[test]
fn on_a_full_disk_the_oldest_deleted_mail_makes_room() {
    let disk = SimDisk::new(5);
    let model = Arc::new(ModelHost::new(disk.vfs()));
    let mut options = sim_options(&disk, &model, 0);
    let clock = Arc::new(Slow::default());
    options.clock = clock.clone();
    options.tuning.undelete_days = 14;
    options.tuning.reserve = 256 << 10;
    options.tuning.compact_every = Duration::from_secs(600);
    disk.report_free(Some(1 << 30));
    let (store, _) = Store::open(options).unwrap();
    let [inbox, _] = worn(&store);
    rest(&store);
    let kept = |store: &Store| {
        let filter = store::RetainedFilter { all: true, ..Default::default() };
        store.retained(&filter).unwrap().count()
    };
    let first = kept(&store);
    clock.0.fetch_add(3 * 24 * 3_600, std::sync::atomic::Ordering::Relaxed);
    expunge(&store, inbox, &[(3, 3), (6, 6)]);
    rest(&store);
    assert_eq!(kept(&store), first + 2, "nothing goes while there is room");
    disk.report_free(Some(200 << 10));
    store.step_apply();
    assert_eq!(store.health().mode, store::Mode::LowSpace);
    let sides = disk.files().iter().filter(|(path, _)| path.ends_with(".side")).count();
    for _ in 0..20 {
        clock.0.fetch_add(11, std::sync::atomic::Ordering::Relaxed);
        rest(&store);
        if store.health().compacted_segments > 0 {
            break;
        }
    }
    assert!(store.health().compacted_segments > 0, "{:?}", store.health());
    assert!(disk.files().iter().filter(|(path, _)| path.ends_with(".side")).count() < sides);
    assert_eq!(kept(&store), 2, "the older day has gone, the newer one has not");
    disk.report_free(Some(1 << 30));
    clock.0.fetch_add(11, std::sync::atomic::Ordering::Relaxed);
    rest(&store);
    assert_eq!((kept(&store), store.health().mode), (2, store::Mode::Serving));
}

/// A clock that goes on when it is told to.
#[derive(Debug, Default)]
struct Slow(std::sync::atomic::AtomicU64);

impl store::Clock for Slow {
    fn wall(&self) -> store::UnixTime {
        let secs = 1_800_000_000 + self.0.load(std::sync::atomic::Ordering::Relaxed).cast_signed();
        store::UnixTime { secs, nanos: 0 }
    }
    fn monotonic(&self) -> Duration {
        Duration::from_secs(self.0.load(std::sync::atomic::Ordering::Relaxed))
    }
}

#[test]
fn a_password_that_is_good_no_longer_goes_first() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open_with(dir.path(), |o| {
        eager(o);
        o.tuning.undelete_days = 14;
    });
    let account = furnish(&store);
    let inbox = inbox(&store, account);
    store.ask(Intent::SetPassword { account, password: "$argon2id$the-old-one".into() }).unwrap();
    (1..=40).for_each(|n| {
        append(&store, inbox, n);
    });
    store.ask(Intent::SetPassword { account, password: "$argon2id$the-new-one".into() }).unwrap();
    (41..=80).for_each(|n| {
        append(&store, inbox, n);
    });
    let holds = |what: &[u8]| -> Vec<String> {
        ["log", "snapshot"]
            .iter()
            .flat_map(|part| fs::read_dir(dir.path().join(part)).into_iter().flatten())
            .map(|entry| entry.unwrap().path())
            .filter(|path| fs::read(path).unwrap().windows(what.len()).any(|w| w == what))
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
            .collect()
    };
    assert_eq!(holds(b"the-old-one"), ["00000001.seg"]);
    let before = picture(&store);
    for n in 81..=82 {
        while store.step_apply() {}
        store.snapshot().unwrap();
        append(&store, inbox, n);
    }
    rest(&store);
    assert_eq!(store.health().compacted_segments, 1, "everything else is alive");
    assert_eq!(holds(b"the-old-one"), Vec::<String>::new());
    assert!(!holds(b"the-new-one").is_empty());
    assert!(without_numbers(&picture(&store)).starts_with(&without_numbers(&before)[..80]));
    // It is remembered in whatever way the store is opened, and not done again.
    drop(store);
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    let (store, _) = eager_at(dir.path());
    rest(&store);
    assert_eq!((store.health().compacted_segments, names(dir.path(), ".g3").len()), (0, 0));
}
