//! Backups and restores on a disk that fails: a crash at any step of either costs no backup, nothing passes for one that is
//! none, and the next run finishes.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

mod common;
#[path = "common/backups.rs"]
mod helpers;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use common::*;
use helpers::*;
use store::index::model::{Fate, ModelHost};
use store::vfs::sim::SimDisk;
use store::{BackupError, Backups, Clock, Intent, OpenError, Options, Reader, Start, Store, UnixTime};

fn simulated(disk: &SimDisk) -> Options {
    let mut options = options(Path::new("/nowhere"));
    options.vfs = disk.vfs();
    options.index = Arc::new(ModelHost::new(disk.vfs()));
    options.threads = false;
    options
}

/// A store with a backup of its beginning, and something since.
fn with_one(to: &SimDisk) -> (Store, String) {
    let (store, _) = Store::open(simulated(&SimDisk::new(1))).unwrap();
    let account = furnish(&store);
    live(&store, account, 1, true);
    backup_to(&store, to.vfs(), 2, &mut |_| true).unwrap();
    let first = picture(&store);
    live(&store, account, 21, true);
    store.snapshot().unwrap();
    (store, first)
}

fn on(disk: &SimDisk) -> Backups {
    Backups::open(disk.vfs(), &sums()).unwrap()
}

#[test]
fn a_crash_at_any_step_of_a_backup_costs_no_backup_and_the_next_run_finishes() {
    for power_lost in [false, true] {
        let mut n = 0;
        loop {
            let disk = SimDisk::new(100 + n);
            let (store, first) = with_one(&disk);
            // So that the one that crashes also removes.
            append(&store, inbox(&store, store.directory().login("alice").unwrap().id), 50);
            backup_to(&store, disk.vfs(), 2, &mut |_| true).unwrap();
            append(&store, inbox(&store, store.directory().login("alice").unwrap().id), 51);
            let second = picture(&read_back(&on(&disk)));
            let what = format!("step {n}, power lost: {power_lost}");
            disk.crash_in(n);
            let made = backup_to(&store, disk.vfs(), 2, &mut |_| true);
            let off = disk.is_off();
            assert_eq!(made.is_err(), off, "{what}: {made:?}");
            disk.restart(power_lost);
            let there = on(&disk);
            assert_eq!(there.damaged().count(), 0, "{what}");
            assert_whole(&there, &what);
            let shown = picture(&read_back(&there));
            let newest = there.manifests()[0].file.ends_with("-000003");
            assert_eq!(shown, if newest { picture(&store) } else { second.clone() }, "{what}");
            assert!(newest || there.good().count() == 2, "{what}");
            assert!(there.good().all(|m| m.number != 1) || there.manifests().len() >= 2, "{what}");
            // The next run, and what it leaves.
            drop(there);
            let made = backup_to(&store, disk.vfs(), 2, &mut |_| true).unwrap();
            let there = on(&disk);
            assert_eq!((picture(&read_back(&there)), there.good().count()), (picture(&store), 2), "{what}");
            assert_whole(&there, &what);
            assert!(made.warnings.is_empty() && !first.is_empty(), "{what}: {made:?}");
            let vfs = disk.vfs();
            assert_eq!(vfs.list("tmp").unwrap(), Vec::<String>::new(), "{what}");
            assert!(!vfs.exists("UNFINISHED").unwrap(), "{what}");
            n += 1;
            if !off {
                break;
            }
        }
        assert!(n > 15, "a backup has more than {n} steps");
    }
}

#[test]
fn a_crash_at_any_step_of_a_first_backup_leaves_nothing_that_passes_for_one() {
    for power_lost in [false, true] {
        for n in 0.. {
            let disk = SimDisk::new(300 + n);
            let (store, _) = Store::open(simulated(&SimDisk::new(1))).unwrap();
            live(&store, furnish(&store), 1, true);
            disk.crash_in(n);
            let made = backup_to(&store, disk.vfs(), 7, &mut |_| true);
            let off = disk.is_off();
            disk.restart(power_lost);
            let what = format!("step {n}, power lost: {power_lost}");
            if let Ok(there) = Backups::open(disk.vfs(), &sums())
                && !there.manifests().is_empty()
            {
                assert_whole(&there, &what);
            } else {
                assert!(made.is_err(), "{what}");
            }
            backup_to(&store, disk.vfs(), 7, &mut |_| true).unwrap();
            assert_eq!(picture(&read_back(&on(&disk))), picture(&store), "{what}");
            if !off {
                break;
            }
        }
    }
}

#[test]
fn a_crash_at_any_step_of_a_restore_is_refused_until_the_next_run_has_finished_it() {
    let from = SimDisk::new(7);
    let (store, _) = with_one(&from);
    backup_to(&store, from.vfs(), 7, &mut |_| true).unwrap();
    let (expected, there) = (contents(&store), on(&from));
    let newest = there.good().next().unwrap();
    for power_lost in [false, true] {
        let mut refused = 0;
        for n in 0.. {
            let disk = SimDisk::new(500 + n);
            // Now and then another backup was to be restored at first.
            let wanted = if n % 3 == 0 { there.good().nth(1).unwrap() } else { newest };
            disk.crash_in(n);
            let restored = there.restore(wanted, disk.vfs(), &mut |_| true);
            let off = disk.is_off();
            assert_eq!(restored.is_err(), off);
            disk.restart(power_lost);
            let what = format!("step {n}, power lost: {power_lost}");
            let vfs = disk.vfs();
            let finished = vfs.exists("restored").unwrap() && !vfs.exists("restoring").unwrap();
            if !finished {
                // As long as nothing was written there is nothing to refuse for.
                if vfs.list("log").is_ok_and(|names| !names.is_empty()) {
                    let opened = Reader::open(disk.vfs(), Start::Snapshot, &|_| {});
                    assert!(matches!(opened, Err(OpenError::HalfRestored)), "{what}");
                    refused += 1;
                }
                there.restore(newest, disk.vfs(), &mut |_| true).unwrap();
                let (again, opening) = Store::open(simulated(&disk)).unwrap();
                assert!(opening.renewed.is_some() && opening.rot.is_empty(), "{what}: {opening:?}");
                assert_eq!(contents(&again), expected, "{what}");
            } else {
                let (again, opening) = Store::open(simulated(&disk)).unwrap();
                assert!(opening.renewed.is_some(), "{what}");
                assert!(wanted != newest || contents(&again) == expected, "{what}");
            }
            if !off {
                break;
            }
        }
        assert!(refused > 5);
    }
}

/// The process dies at any step of the first opening after a restore, another one opens the store, and then the power goes.
/// The marker that was just removed must not come back, or all mail programs would fetch everything once more.
#[test]
fn a_store_that_was_restored_once_begins_one_new_epoch() {
    let from = SimDisk::new(8);
    let (store, _) = with_one(&from);
    backup_to(&store, from.vfs(), 7, &mut |_| true).unwrap();
    let there = on(&from);
    let newest = there.good().next().unwrap();
    let mut met = 0;
    for (seed, n) in (0..20).flat_map(|seed| (30..42).map(move |n| (seed, n))) {
        let disk = SimDisk::new(700 + seed);
        there.restore(newest, disk.vfs(), &mut |_| true).unwrap();
        let index = Arc::new(ModelHost::new(disk.vfs()));
        disk.crash_in(n);
        drop(Store::open(Options { index: index.clone(), ..simulated(&disk) }));
        let off = disk.is_off();
        disk.restart(false);
        if !off || disk.vfs().exists("restored").unwrap() {
            continue;
        }
        met += 1;
        // The index is good: nothing else makes names durable.
        let index = Arc::new(index.restart(disk.vfs(), Fate::Kept));
        let (again, _) = Store::open(Options { index, ..simulated(&disk) }).unwrap();
        let before = validities(&again);
        drop(again);
        disk.restart(true);
        let (again, opening) = Store::open(simulated(&disk)).unwrap();
        assert_eq!((&opening.renewed, validities(&again)), (&None, before), "step {n}: {opening:?}");
    }
    assert!(met >= 20, "no more than {met} died in that moment");
}

/// A clock that stands still unless it is set.
#[derive(Default)]
struct Still(AtomicI64);

impl Clock for Still {
    fn wall(&self) -> UnixTime {
        UnixTime { secs: 1_800_000_000 + self.0.load(Ordering::Relaxed), nanos: 0 }
    }
    fn monotonic(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::Relaxed).unsigned_abs())
    }
}

/// Many mailboxes were made at once: they have UIDVALIDITIES ahead of the clock, and none of these comes again when a
/// backup from before is restored soon after.
#[test]
fn uidvalidity_of_what_was_made_a_moment_ago_does_not_come_again_after_a_restore() {
    let disk = SimDisk::new(3);
    let clock = Arc::new(Still::default());
    let with = |disk: &SimDisk| Options { clock: clock.clone(), ..simulated(disk) };
    let (store, _) = Store::open(with(&SimDisk::new(1))).unwrap();
    live(&store, furnish(&store), 1, false);
    backup_to(&store, disk.vfs(), 7, &mut |_| true).unwrap();
    clock.0.store(86_400, Ordering::Relaxed);
    let account = store.directory().login("alice").unwrap().id;
    for n in 0..100 {
        let path = format!("many/{n}");
        store.ask(Intent::CreateMailbox { account, path, special_use: None, subscribe: false }).unwrap();
    }
    let seen: Vec<u32> = validities(&store).into_values().collect();
    let there = on(&disk);
    let again = SimDisk::new(4);
    there.restore(there.good().next().unwrap(), again.vfs(), &mut |_| true).unwrap();
    let (again, _) = Store::open(with(&again)).unwrap();
    for validity in validities(&again).values() {
        assert!(!seen.contains(validity), "{validity} comes again");
    }
}

#[test]
fn a_full_or_failing_target_costs_this_backup_and_nothing_else() {
    for kind in 0..3 {
        let disk = SimDisk::new(9);
        let (store, first) = with_one(&disk);
        match kind {
            0 => disk.room(Some(100_000)),
            1 => disk.fail_write_in(1),
            _ => disk.fail_sync_in(1),
        }
        let made = backup_to(&store, disk.vfs(), 2, &mut |_| true);
        assert!(matches!(made, Err(BackupError::Write { .. })), "{made:?}");
        disk.room(None);
        assert_eq!(picture(&read_back(&on(&disk))), first);
        append(&store, inbox(&store, store.directory().login("alice").unwrap().id), 60);
        backup_to(&store, disk.vfs(), 2, &mut |_| true).unwrap();
        assert_eq!(picture(&read_back(&on(&disk))), picture(&store));
        assert_whole(&on(&disk), "after it");
    }
}
