//! Backups: what comes back is what was there, a second one copies only what is new, a run that is stopped
//! is finished by the next one, and what is damaged is found. `backup_faults` is about disks that fail.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

mod common;
#[path = "common/backups.rs"]
mod helpers;

use std::fs;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::*;
use helpers::*;
// These make the directory, too.
use helpers::{open, open_with};
use store::vfs::{ReadOnly, Vfs};
use store::{
    BackupError, Backups, Batch, Intent, MailboxId, OpenError, Options, Prefix, Reader, RealVfs, Start,
    Store, UnixTime,
};
use wire::flag::FlagNames;

#[test]
fn a_restored_backup_is_what_was_there_with_new_uidvalidities() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (store, _) = open(&at("data"));
    let account = furnish(&store);
    live(&store, account, 1, true);
    let made = backup(&store, &at("backup"));
    assert_eq!(made.octets, made.new_octets);
    // What comes later is not in it.
    let before = (contents(&store), picture(&store), validities(&store));
    live(&store, account, 21, true);
    let there = backups(&at("backup"));
    assert_eq!(picture(&read_back(&there)), before.1, "a backup is read as if it were the store");
    let verified = there.verify(false, &mut |_| true).unwrap();
    assert!(verified.is_whole(), "{verified:?}");
    assert!(verified.newest.unwrap().messages > 5 && verified.octets >= made.octets);

    restore(&at("backup"), &at("again"));
    assert!(at("again/restored").exists() && !at("again/restoring").exists());
    assert_eq!(fs::read_to_string(at("again/tls/key.pem")).unwrap(), "a key\n");
    let manifest = there.good().next().unwrap();
    assert_eq!(there.small(manifest, "config.toml").unwrap().unwrap(), extras()[0].octets);
    assert_eq!(there.small(manifest, "tls/none").unwrap(), None);
    let (again, opening) = open(&at("again"));
    assert!(opening.renewed.is_some_and(|why| why.contains("restored")) && opening.rot.is_empty());
    assert_eq!(contents(&again), before.0);
    for (mailbox, validity) in validities(&again) {
        assert!(before.2.get(&mailbox).is_some_and(|old| *old < validity), "{mailbox}");
        let (new, old) = (again.head(mailbox).unwrap(), store.head(mailbox).unwrap());
        assert!(new.highest_modseq > old.highest_modseq, "beyond all that was given out since");
    }
    assert!(!at("again/restored").exists());
    // It lives on, and its backups join the others.
    live(&again, account, 41, true);
    let more = backup(&again, &at("backup"));
    assert!(more.new_octets < more.octets, "{more:?}");
    let there = backups(&at("backup"));
    assert_eq!(picture(&read_back(&there)), picture(&again));
    assert_whole(&there, "two lives");
    // So does the life that was thought to be lost: the same numbers, other octets.
    backup(&store, &at("backup"));
    let there = backups(&at("backup"));
    assert_eq!(picture(&read_back(&there)), picture(&store));
    assert_whole(&there, "three");
}

#[test]
fn a_second_backup_copies_only_what_is_new() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (store, _) = open(&at("data"));
    let account = furnish(&store);
    let mailbox = inbox(&store, account);
    (0..700).for_each(|n| assert!(append(&store, mailbox, n).get() > 0));
    live(&store, account, 1_000, true);
    let first = backup(&store, &at("backup"));
    assert!(first.new_octets > 2_000_000 && first.new_files >= 5, "{first:?}");
    let before = files(&at("backup"));
    // Nothing at all.
    let second = backup(&store, &at("backup"));
    assert_eq!((second.new_files, second.new_octets, second.octets), (0, 0, first.octets));
    assert_ne!(second.manifest, first.manifest);
    (0..5).for_each(|n| assert!(append(&store, mailbox, 2_000 + n).get() > 0));
    let third = backup(&store, &at("backup"));
    assert_eq!(third.new_files, 1, "a piece of the last segment");
    assert!((15_000..60_000).contains(&third.new_octets), "{third:?}");
    let after = files(&at("backup"));
    for (name, len) in before.iter().filter(|(name, _)| name.contains('/')) {
        assert_eq!(after.get(name), Some(len), "files that a manifest names stay as they are");
    }
    // Segments that are full since: their last pieces, and what is new.
    (0..700).for_each(|n| assert!(append(&store, mailbox, 3_000 + n).get() > 0));
    let fourth = backup(&store, &at("backup"));
    assert!(fourth.new_octets < 4_000_000 && fourth.octets > fourth.new_octets + 2_000_000, "{fourth:?}");
    let there = backups(&at("backup"));
    assert_eq!((there.good().count(), picture(&read_back(&there))), (4, picture(&store)));
    assert_whole(&there, "four");
}

/// A data directory that was copied lives on twice, in segments of the same names, without a new epoch between them.
#[test]
fn two_lives_of_one_directory_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (store, _) = open(&at("one"));
    live(&store, furnish(&store), 1, true);
    backup(&store, &at("backup"));
    store.close().unwrap();
    drop(store);
    for name in files(&at("one")).into_keys() {
        fs::create_dir_all(at("two").join(&name).parent().unwrap()).unwrap();
        fs::copy(at("one").join(&name), at("two").join(&name)).unwrap();
    }
    let mut pictures = Vec::new();
    for (name, messages) in [("one", 100..102), ("two", 200..210), ("one", 300..320)] {
        let (store, opening) = open(&at(name));
        assert!(opening.renewed.is_none(), "{opening:?}");
        let mailbox = inbox(&store, store.directory().login("alice").unwrap().id);
        messages.for_each(|n| assert!(append(&store, mailbox, n).get() > 0));
        let made = backup(&store, &at("backup"));
        assert!(made.new_octets > 0 && made.new_octets < made.octets / 2, "{made:?}");
        pictures.insert(0, picture(&store));
        store.close().unwrap();
    }
    let there = backups(&at("backup"));
    assert_whole(&there, "both");
    for (manifest, expected) in there.good().zip(pictures) {
        let reader =
            Reader::open(Arc::new(ReadOnly(there.tree(manifest))), Start::Snapshot, &|_| {}).unwrap();
        assert_eq!(picture(&reader), expected);
    }
}

/// Many small backups do not leave a segment in any number of pieces.
#[test]
fn pieces_become_one_again_when_there_are_many() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (store, _) = open(&at("data"));
    let mailbox = inbox(&store, furnish(&store));
    for n in 0..70 {
        append(&store, mailbox, n);
        let to: Arc<dyn Vfs> = Arc::new(RealVfs::new(at("backup")));
        backup_to(&store, to, 2, &mut |_| true).unwrap();
    }
    let pieces = files(&at("backup")).keys().filter(|name| name.contains(".seg.")).count();
    assert!(pieces < 64, "{pieces}");
    let there = backups(&at("backup"));
    assert_eq!((there.good().count(), picture(&read_back(&there))), (2, picture(&store)));
    assert_whole(&there, "many");
}

fn stepped(options: &mut Options) {
    options.threads = false;
    options.tuning.undelete_days = 0;
    options.tuning.compact_octets = 1;
    options.tuning.segment = 256 << 10;
}

/// Compacts whatever can be.
fn compact(store: &Store, mailbox: MailboxId) {
    for n in 0..4 {
        append(store, mailbox, 9_000 + n);
        while store.step_apply() {}
        store.snapshot().unwrap();
        while store.step_compact() {
            while store.step_commit() || store.step_apply() {}
        }
    }
}

#[test]
fn nothing_that_a_backup_reads_goes_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (store, _) = open_with(&at("data"), stepped);
    let account = furnish(&store);
    let mailbox = inbox(&store, account);
    (0..400).for_each(|n| assert!(append(&store, mailbox, n).get() > 0));
    live(&store, account, 1_000, true);
    store.snapshot().unwrap();
    let before = picture(&store);
    let mut steps = 0;
    let to: Arc<dyn Vfs> = Arc::new(RealVfs::new(at("backup")));
    let made = backup_to(&store, to, 7, &mut |progress| {
        steps += 1;
        if steps == 2 {
            assert!(progress.done < progress.total);
            // Everything goes, and the compactor would give its space back.
            let all = runs(&[(1, u32::MAX)]);
            for info in store.directory().mailboxes_of(account) {
                let expunge = Intent::Expunge { mailbox: info.id, uids: all.clone(), only_deleted: false };
                store.ask(expunge).unwrap();
            }
            compact(&store, mailbox);
            assert_eq!(store.health().compacted_segments, 0, "the backup holds them");
            assert!(fs::read_dir(at("data/snapshot")).unwrap().count() > 2, "and the snapshots");
        }
        true
    });
    let made = made.unwrap();
    assert!(steps > 2 && made.warnings.is_empty(), "{made:?}");
    assert_eq!(picture(&read_back(&backups(&at("backup")))), before);
    // Now they go; the next backup has other files, and the first one keeps its own.
    compact(&store, mailbox);
    assert!(store.health().compacted_segments > 0);
    assert_eq!(fs::read_dir(at("data/snapshot")).unwrap().count(), 2);
    let second = backup(&store, &at("backup"));
    assert!(second.octets < made.octets / 2, "{second:?}");
    let there = backups(&at("backup"));
    assert_eq!(picture(&read_back(&there)), picture(&store));
    assert_whole(&there, "before and after");
    let old = there.tree(there.good().nth(1).unwrap());
    let old = Reader::open(Arc::new(ReadOnly(old)), Start::Snapshot, &|_| {}).unwrap();
    assert_eq!(picture(&old), before);
    // What was compacted is restored as well.
    restore(&at("backup"), &at("again"));
    let (again, _) = open(&at("again"));
    assert_eq!(contents(&again), contents(&store));
}

#[test]
fn old_backups_go_with_the_files_that_only_they_name() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (store, _) = open(&at("data"));
    let account = furnish(&store);
    let run = |keep| backup_to(&store, Arc::new(RealVfs::new(at("backup"))), keep, &mut |_| true).unwrap();
    for n in 0..5 {
        live(&store, account, n * 10 + 1, n == 0);
        store.snapshot().unwrap();
        let made = run(3);
        assert_eq!(made.removed.len(), usize::from(n >= 3), "{made:?}");
        assert_eq!(backups(&at("backup")).good().count(), 3.min(n as usize + 1));
    }
    let snapshots = || files(&at("backup")).keys().filter(|n| n.starts_with("snapshot/")).count();
    assert_eq!(snapshots(), 4, "two of each of three backups, shared");
    // A manifest that is damaged might name anything: nothing goes until it is older than the ones to be kept.
    let names: Vec<String> = backups(&at("backup")).manifests().iter().map(|m| m.file.clone()).collect();
    let newest = at("backup").join(&names[0]);
    let text = fs::read_to_string(&newest).unwrap();
    fs::write(&newest, &text[..text.len() / 2]).unwrap();
    let there = backups(&at("backup"));
    assert_eq!((there.good().count(), there.damaged().count()), (2, 1));
    let verified = there.verify(false, &mut |_| true).unwrap();
    assert!(!verified.is_whole() && verified.backups[0].problems[0].contains("not whole"), "{verified:?}");
    assert_eq!(verified.newest.unwrap().file, names[1], "half a backup is never taken for a whole one");
    drop(there);
    let made = run(7);
    assert_eq!((made.removed.len(), made.removed_octets), (0, 0), "{made:?}");
    fs::write(&newest, &text).unwrap();
    assert_whole(&backups(&at("backup")), "it was legible again");
    fs::write(&newest, &text[..text.len() / 2]).unwrap();
    let made = run(1);
    assert!(made.warnings.iter().any(|w| w.contains(&names[0])), "{made:?}");
    assert_eq!((made.removed.len(), backups(&at("backup")).manifests().len()), (4, 1));
    assert!(made.removed_octets > 0);
    assert_eq!(snapshots(), 2);
    assert_whole(&backups(&at("backup")), "the last");
}

#[test]
fn files_and_directories_are_for_their_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (store, _) = open(&at("data"));
    live(&store, furnish(&store), 1, true);
    backup(&store, &at("new/backup"));
    restore(&at("new/backup"), &at("again"));
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    for root in [at("new/backup"), at("again")] {
        assert_eq!(mode(&root), 0o700);
        for name in files(&root).keys() {
            let path = root.join(name);
            assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700), "{name}");
        }
    }
}

#[test]
fn other_directories_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (store, _) = open(&at("data"));
    live(&store, furnish(&store), 1, false);
    let run = |to: &Path| backup_to(&store, Arc::new(RealVfs::new(to)), 7, &mut |_| true);
    fs::create_dir_all(at("other/log")).unwrap();
    fs::write(at("other/log/mine.txt"), "mine").unwrap();
    assert!(matches!(run(&at("other")), Err(BackupError::NotABackup(what)) if what.contains("log")));
    assert_eq!(files(&at("other")).len(), 1);
    assert!(matches!(
        Backups::open(Arc::new(RealVfs::new(at("other"))), &sums()),
        Err(BackupError::NotABackup(_))
    ));
    backup(&store, &at("backup"));
    let (another, _) = open(&at("another"));
    furnish(&another);
    let to = || -> Arc<dyn Vfs> { Arc::new(RealVfs::new(at("backup"))) };
    let refused = backup_to(&another, to(), 1, &mut |_| true);
    assert!(matches!(refused, Err(BackupError::OfAnotherStore)), "{refused:?}");
    assert_whole(&backups(&at("backup")), "untouched");
    // A restore overwrites nothing.
    let there = backups(&at("backup"));
    let manifest = there.good().next().unwrap();
    let full = there.restore(manifest, Arc::new(RealVfs::new(at("data"))), &mut |_| true);
    assert!(matches!(full, Err(BackupError::NotEmpty(_))), "{full:?}");
    // One at a time.
    let mut inner = None;
    let outer = backup_to(&store, to(), 7, &mut |_| {
        inner.get_or_insert_with(|| backup_to(&store, to(), 7, &mut |_| true));
        true
    });
    assert!(outer.is_ok() && matches!(inner, Some(Err(BackupError::Busy { .. }))), "{inner:?}");
}

/// One octet in every file, one after another.
#[test]
fn a_flipped_octet_is_found_and_not_restored() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (store, _) = open_with(&at("data"), stepped);
    let account = furnish(&store);
    let mailbox = inbox(&store, account);
    (0..250).for_each(|n| assert!(append(&store, mailbox, n).get() > 0));
    store.ask(Intent::Expunge { mailbox, uids: runs(&[(1, 150)]), only_deleted: false }).unwrap();
    compact(&store, mailbox);
    live(&store, account, 1_000, true);
    backup(&store, &at("backup"));
    append(&store, mailbox, 5);
    backup(&store, &at("backup"));
    let kinds = [".g2", ".seg.0-", ".side", ".snap", "key.pem", "MANIFEST", "config.toml"];
    let names: Vec<String> = files(&at("backup")).into_keys().collect();
    assert!(kinds.iter().all(|kind| names.iter().any(|name| name.contains(kind))), "{names:?}");
    for name in names.iter().filter(|name| kinds.iter().any(|kind| name.contains(kind))) {
        let file = fs::OpenOptions::new().read(true).write(true).open(at("backup").join(name)).unwrap();
        let middle = file.metadata().unwrap().len() / 2;
        let mut octet = [0];
        file.read_exact_at(&mut octet, middle).unwrap();
        file.write_all_at(&[octet[0] ^ 4], middle).unwrap();
        let there = backups(&at("backup"));
        let verified = there.verify(false, &mut |_| true).unwrap();
        let told = verified.backups.iter().any(|backup| {
            !backup.problems.is_empty() && format!("{}{:?}", backup.file, backup.problems).contains(name)
        });
        assert!(told && !verified.is_whole(), "{name}: {verified:?}");
        let to = at("again");
        let manifest = there.good().next().unwrap();
        let needs = verified.backups.iter().any(|b| {
            b.manifest.as_ref() == Some(manifest) && !b.problems.is_empty() && !name.contains("config")
        });
        let restored = there.restore(manifest, Arc::new(RealVfs::new(&to)), &mut |_| true);
        assert_eq!(restored.is_err(), needs, "{name}: {restored:?}");
        if restored.is_err() {
            assert!(matches!(&restored, Err(BackupError::Damaged { file, .. }) if file == name));
            assert!(matches!(Store::open(options(&to)), Err(OpenError::HalfRestored)));
            assert!(matches!(
                Reader::open(Arc::new(RealVfs::new(&to)), Start::Snapshot, &|_| {}),
                Err(OpenError::HalfRestored)
            ));
        }
        fs::remove_dir_all(&to).unwrap();
        let small = there.small(manifest, "config.toml");
        assert_eq!(small.is_err(), name == "config.toml", "{name}");
        file.write_all_at(&octet, middle).unwrap();
    }
    // A file that is missing, or too short.
    let side = names.iter().find(|name| name.ends_with(".side")).unwrap();
    let path = at("backup").join(side);
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(5000).unwrap();
    let verified = backups(&at("backup")).verify(true, &mut |_| true).unwrap();
    assert!(verified.backups[0].problems[0].contains("it has 5000 octets"), "{verified:?}");
    assert_eq!(verified.newest.unwrap().damaged, 1, "and everything else can be read");
    // The next backup copies it anew.
    let made = backup(&store, &at("backup"));
    assert_eq!((made.new_files, made.new_octets > 300_000), (1, true), "{made:?}");
    let verified = backups(&at("backup")).verify(true, &mut |_| true).unwrap();
    assert!(verified.is_whole(), "{verified:?}");
}

#[test]
fn a_run_that_is_stopped_leaves_nothing_to_be_copied_twice() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (store, _) = open_with(&at("data"), |o| o.tuning.segment = 16 << 20);
    let mailbox = inbox(&store, furnish(&store));
    for n in 0..90u8 {
        let mut batch = Batch::new();
        let body = batch.body(vec![n; 1 << 20]);
        let (flags, prefix) = (FlagNames::default(), Prefix::default());
        batch.push(Intent::Append { mailbox, body, prefix, flags, date: None });
        store.done(batch).unwrap();
    }
    let to = || -> Arc<dyn Vfs> { Arc::new(RealVfs::new(at("backup"))) };
    let stopped = backup_to(&store, to(), 7, &mut |progress| progress.done < 80 << 20);
    assert!(matches!(stopped, Err(BackupError::Stopped)), "{stopped:?}");
    let there = backups(&at("backup"));
    assert_eq!(there.manifests().len(), 0);
    let verified = there.verify(false, &mut |_| true).unwrap();
    assert!(!verified.is_whole(), "nothing is no backup");
    let made = backup(&store, &at("backup"));
    assert!(made.octets > 90 << 20 && made.new_octets < 40 << 20, "{made:?}");
    assert!(!at("backup/UNFINISHED").exists());
    let there = backups(&at("backup"));
    assert_whole(&there, "after it");
    // So does a restore.
    let manifest = there.good().next().unwrap();
    let to = || -> Arc<dyn Vfs> { Arc::new(RealVfs::new(at("again"))) };
    let stopped = there.restore(manifest, to(), &mut |progress| progress.done < 50 << 20);
    assert!(matches!(stopped, Err(BackupError::Stopped)));
    assert!(matches!(Store::open(options(&at("again"))), Err(OpenError::HalfRestored)));
    let restored = there.restore(manifest, to(), &mut |_| true).unwrap();
    assert!(restored.found > 40 << 20 && restored.octets > 90 << 20, "{restored:?}");
    let (again, _) = open(&at("again"));
    assert_eq!(contents(&again), contents(&store));
}

/// Whoever reads backups keeps them: a run meanwhile removes none, and says so; the next one does.
#[test]
fn backups_that_are_being_read_stay() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| -> PathBuf { dir.path().join(name) };
    let (store, _) = open(&at("data"));
    live(&store, furnish(&store), 1, true);
    let run = || {
        append(&store, inbox(&store, store.directory().login("alice").unwrap().id), 60);
        backup_to(&store, Arc::new(RealVfs::new(at("backup"))), 1, &mut |_| true).unwrap()
    };
    let first = run();
    let reader = backups(&at("backup"));
    let more = run();
    assert!(more.removed.is_empty() && more.warnings[0].contains("somebody reads"), "{more:?}");
    assert_whole(&reader, "read while another was made");
    reader.restore(reader.good().next().unwrap(), Arc::new(RealVfs::new(at("x"))), &mut |_| true).unwrap();
    drop(reader);
    let last = run();
    assert_eq!(last.removed, [more.manifest, first.manifest]);
    assert_eq!(backups(&at("backup")).good().count(), 1);
    // A directory that an older version made has no such lock, and one on a read-only disk may not have any.
    fs::remove_file(at("backup/readers")).unwrap();
    assert_whole(&backups(&at("backup")), "without the lock");
}

#[test]
fn the_newest_backup_of_a_time_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| -> PathBuf { dir.path().join(name) };
    let (store, _) = open(&at("data"));
    let mailbox = inbox(&store, furnish(&store));
    let mut taken = Vec::new();
    for n in 0..3 {
        append(&store, mailbox, n);
        backup(&store, &at("backup"));
        taken.push(backups(&at("backup")).good().next().unwrap().taken.secs);
        // The clock goes on whenever it is looked at.
        (0..5).for_each(|_| drop(store.health()));
        (0..5).for_each(|_| assert!(store.step_apply() || append(&store, mailbox, 9).get() > 0));
    }
    assert!(taken.is_sorted_by(|a, b| a < b), "{taken:?}");
    let there = backups(&at("backup"));
    let number = |secs| there.at(UnixTime { secs, nanos: 0 }).map(|manifest| manifest.number);
    assert_eq!(number(taken[0] - 1), None);
    assert_eq!((number(taken[0]), number(taken[1] - 1), number(taken[1])), (Some(1), Some(1), Some(2)));
    assert_eq!(number(i64::MAX), Some(3));
}
