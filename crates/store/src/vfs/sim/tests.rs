//! The simulated disk is believed only as far as it is tested itself.

use super::*;
use crate::vfs::{read_full, write_full};

fn content(disk: &SimDisk, path: &str) -> Option<Vec<u8>> {
    disk.vfs().read(path).ok()
}

/// A disk with a durable, empty directory `log`.
fn with_log(seed: u64) -> SimDisk {
    let disk = SimDisk::new(seed);
    disk.vfs().create_dir_all("log").unwrap();
    disk.vfs().sync_dir("").unwrap();
    disk
}

#[test]
fn what_was_synced_is_never_lost() {
    for seed in 0..300 {
        let disk = with_log(seed);
        let vfs = disk.vfs();
        let file = vfs.open("log/a", Open::CreateNew).unwrap();
        let octets: Vec<u8> = (0..3_000_u32).map(|i| (i % 251) as u8).collect();
        write_full(&*file, &octets, 100).unwrap();
        file.sync_data().unwrap();
        vfs.sync_dir("log").unwrap();
        // Not synced: neither may harm what is above.
        write_full(&*file, &[7; 5_000], 3_100).unwrap();
        vfs.open("log/b", Open::CreateNew).unwrap();
        disk.restart(true);
        let after = content(&disk, "log/a").unwrap();
        assert_eq!(&after[..100], [0; 100]);
        assert_eq!(&after[100..3_100], octets, "seed {seed}");
    }
}

#[test]
fn what_was_not_synced_is_lost_or_kept_or_torn_at_sectors() {
    let (mut lost, mut kept, mut torn, mut reordered) = (0, 0, 0, 0);
    for seed in 0..300 {
        let disk = with_log(seed);
        let vfs = disk.vfs();
        let file = vfs.open("log/a", Open::CreateNew).unwrap();
        file.preallocate(8 * 512).unwrap();
        file.sync_data().unwrap();
        vfs.sync_dir("log").unwrap();
        for n in 0..8_u8 {
            write_full(&*file, &[n + 1; 512], u64::from(n) * 512).unwrap();
        }
        disk.restart(true);
        let after = content(&disk, "log/a").unwrap();
        assert_eq!(after.len(), 8 * 512);
        let there: Vec<bool> = after
            .chunks(512)
            .zip(1_u8..)
            .map(|(sector, n)| {
                assert!(sector.iter().all(|o| *o == sector[0]) && (sector[0] == 0 || sector[0] == n));
                sector[0] == n
            })
            .collect();
        match there.iter().filter(|t| **t).count() {
            0 => lost += 1,
            8 => kept += 1,
            _ => torn += 1,
        }
        reordered += u32::from(there.windows(2).any(|pair| pair == [false, true]));
    }
    assert!(lost > 30 && kept > 15 && torn > 50 && reordered > 50, "{lost} {kept} {torn} {reordered}");
}

#[test]
fn a_killed_process_loses_nothing() {
    let disk = with_log(1);
    let vfs = disk.vfs();
    let file = vfs.open("log/a", Open::CreateNew).unwrap();
    write_full(&*file, b"in the page cache", 0).unwrap();
    disk.restart(false);
    assert!(is_off(&file.read_at(&mut [0; 1], 0).unwrap_err()));
    assert!(is_off(&vfs.list("log").unwrap_err()));
    assert_eq!(content(&disk, "log/a").unwrap(), b"in the page cache");
    // A removal that was not synced outlives the kill, and may be undone by the next power cut.
    let back = (0..50).any(|seed| {
        let disk = with_log(seed);
        disk.vfs().replace("log/a", b"x").unwrap();
        disk.vfs().remove_file("log/a").unwrap();
        disk.restart(false);
        assert_eq!(content(&disk, "log/a"), None);
        disk.restart(true);
        content(&disk, "log/a") == Some(b"x".to_vec())
    });
    assert!(back);
    // And the next power cut may still take what was written.
    let gone = (0..50).any(|seed| {
        let disk = with_log(seed);
        write_full(&*disk.vfs().open("log/a", Open::CreateNew).unwrap(), b"x", 0).unwrap();
        disk.restart(false);
        disk.restart(true);
        content(&disk, "log/a") != Some(b"x".to_vec())
    });
    assert!(gone);
}

#[test]
fn names_need_a_sync_of_their_directory() {
    let (mut made, mut renamed, mut removed) = ([0; 2], [0; 2], [0; 2]);
    for seed in 0..200 {
        let disk = with_log(seed);
        let vfs = disk.vfs();
        for name in ["log/old", "log/gone", "log/stays"] {
            vfs.open(name, Open::CreateNew).unwrap().sync_all().unwrap();
        }
        vfs.sync_dir("log").unwrap();
        vfs.open("log/new", Open::CreateNew).unwrap().sync_all().unwrap();
        vfs.rename("log/old", "log/moved").unwrap();
        vfs.remove_file("log/gone").unwrap();
        disk.restart(true);
        let names = disk.vfs().list("log").unwrap();
        let has = |name: &str| names.iter().any(|n| n == name);
        assert!(has("stays"));
        assert!(has("old") != has("moved"), "a rename is whole: {names:?}");
        made[usize::from(has("new"))] += 1;
        renamed[usize::from(has("moved"))] += 1;
        removed[usize::from(!has("gone"))] += 1;
    }
    for both in [made, renamed, removed] {
        assert!(both.iter().all(|n| *n > 20), "{both:?}");
    }
    let disk = with_log(0);
    let vfs = disk.vfs();
    vfs.open("log/a", Open::CreateNew).unwrap();
    vfs.sync_dir("log").unwrap();
    vfs.rename("log/a", "log/b").unwrap();
    vfs.sync_dir("log").unwrap();
    disk.restart(true);
    assert_eq!(disk.vfs().list("log").unwrap(), ["b"]);
}

#[test]
fn replacing_a_file_is_all_or_nothing_wherever_it_is_cut() {
    let mut seen = [0; 2];
    for seed in 0..400 {
        let disk = with_log(seed);
        disk.vfs().replace("log/x", &[1; 700]).unwrap();
        disk.crash_in(seed % 5);
        assert!(is_off(&disk.vfs().replace("log/x", &[2; 900]).unwrap_err()));
        assert!(disk.is_off());
        disk.restart(seed % 2 == 0);
        let after = content(&disk, "log/x").unwrap();
        let new = after == [2; 900];
        assert!(new || after == [1; 700], "seed {seed}: {} octets", after.len());
        seen[usize::from(new)] += 1;
    }
    assert!(seen.iter().all(|n| *n > 10), "{seen:?}");
}

#[test]
fn a_failed_sync_is_told_once_and_what_it_dropped_stays_dropped() {
    let (mut vanished_later, mut vanished_now) = (0, 0);
    for seed in 0..200 {
        let disk = with_log(seed);
        let vfs = disk.vfs();
        let file = vfs.open("log/a", Open::CreateNew).unwrap();
        file.preallocate(1_024).unwrap();
        file.sync_data().unwrap();
        vfs.sync_dir("log").unwrap();
        disk.fail_sync_in(0);
        write_full(&*file, &[5; 512], 0).unwrap();
        assert!(file.sync_data().is_err());
        let mut seen = [0; 512];
        read_full(&*file, &mut seen, 0).unwrap();
        file.sync_data().unwrap();
        write_full(&*file, &[6; 512], 512).unwrap();
        file.sync_data().unwrap();
        disk.restart(true);
        let after = content(&disk, "log/a").unwrap();
        assert_eq!(&after[512..], [6; 512]);
        vanished_later += u32::from(seen == [5; 512] && after[0] == 0);
        vanished_now += u32::from(seen == [0; 512]);
    }
    assert!(vanished_later > 20 && vanished_now > 20, "{vanished_later} {vanished_now}");
}

#[test]
fn a_full_disk_takes_what_fits_and_gives_back_what_is_removed() {
    let disk = with_log(3);
    let vfs = disk.vfs();
    let file = vfs.open("log/a", Open::CreateNew).unwrap();
    file.preallocate(1_000).unwrap();
    disk.room(Some(300));
    assert_eq!(vfs.free_space().unwrap().free, 300);
    assert_eq!(file.write_at(&[IoSlice::new(&[1; 200])], 0).unwrap(), 200, "it has that room already");
    assert_eq!(file.write_at(&[IoSlice::new(&[1; 900])], 900).unwrap(), 400);
    assert_eq!(file.write_at(&[IoSlice::new(&[1; 1])], 1_300).unwrap_err().kind(), ErrorKind::StorageFull);
    let other = vfs.open("log/b", Open::CreateNew).unwrap();
    assert_eq!(other.preallocate(1).unwrap_err().kind(), ErrorKind::StorageFull);
    vfs.remove_file("log/a").unwrap();
    other.preallocate(1_300).unwrap();
    assert!(other.preallocate(1_301).is_err());
    disk.room(None);
    other.preallocate(5_000).unwrap();
    disk.report_free(Some(17));
    assert_eq!(vfs.free_space().unwrap().free, 17);
}

#[test]
fn short_and_failing_writes() {
    let disk = with_log(4);
    let vfs = disk.vfs();
    let file = vfs.open("log/a", Open::CreateNew).unwrap();
    disk.short_writes(100);
    let written = file.write_at(&[IoSlice::new(&[1; 100])], 0).unwrap();
    assert!((1..=100).contains(&written));
    let octets: Vec<u8> = (0..200).collect();
    write_full(&*file, &octets, 0).unwrap();
    assert_eq!(content(&disk, "log/a").unwrap(), octets);
    disk.fail_write_in(1);
    assert!(file.write_at(&[IoSlice::new(b"x")], 0).is_ok());
    assert!(file.write_at(&[IoSlice::new(b"x")], 0).is_err());
    assert!(file.write_at(&[IoSlice::new(b"x")], 0).is_ok());
    assert!(vfs.open("log/a", Open::Read).unwrap().write_at(&[IoSlice::new(b"x")], 0).is_err());
}

#[test]
fn rot_reaches_what_was_synced() {
    let disk = with_log(5);
    let vfs = disk.vfs();
    let file = vfs.open("log/a", Open::CreateNew).unwrap();
    write_full(&*file, &[0xff; 2_000], 0).unwrap();
    file.sync_data().unwrap();
    vfs.sync_dir("log").unwrap();
    assert!(disk.rot("log/a", 1_999, Rot::Flip(0)));
    assert!(disk.rot("log/a", 600, Rot::ZeroSector));
    assert!(!disk.rot("log/a", 2_000, Rot::Flip(0)));
    assert!(!disk.rot("log/b", 0, Rot::Flip(0)));
    disk.restart(true);
    let after = content(&disk, "log/a").unwrap();
    let zeros: Vec<usize> = (0..2_000).filter(|i| after[*i] != 0xff).collect();
    assert_eq!(zeros, (512..1_024).chain([1_999]).collect::<Vec<_>>());
    assert_eq!(after[1_999], 0xfe);
}

#[test]
fn locks_end_with_their_process() {
    let disk = with_log(6);
    let vfs = disk.vfs();
    let held = vfs.lock("lock").unwrap();
    assert_eq!(vfs.lock("lock").unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(vfs.lock_holder("lock"), Some(1));
    disk.restart(false);
    let next = disk.vfs().lock("lock").unwrap();
    drop(held);
    assert!(disk.vfs().lock("lock").is_err(), "the dead process's lock is not this one's");
    drop(next);
    disk.vfs().lock("lock").unwrap();
}

#[test]
fn directories_move_and_go_with_what_is_in_them() {
    let disk = with_log(7);
    let vfs = disk.vfs();
    vfs.create_dir_all("index.new/blobs").unwrap();
    vfs.replace("index.new/STATE", b"new").unwrap();
    vfs.create_dir_all("index").unwrap();
    vfs.replace("index/STATE", b"old").unwrap();
    assert!(vfs.rename("index.new", "index").is_err(), "a directory with something in it is in the way");
    vfs.remove_dir_all("index").unwrap();
    vfs.remove_dir_all("index").unwrap();
    vfs.rename("index.new", "index").unwrap();
    assert_eq!(content(&disk, "index/STATE").unwrap(), b"new");
    vfs.rename("index/STATE", "log/STATE").unwrap();
    assert_eq!(vfs.list("log").unwrap(), ["STATE"]);
    assert_eq!(vfs.list("").unwrap(), ["index", "log"]);
    assert_eq!(disk.files(), [("log/STATE".to_owned(), 3)]);
}

#[test]
fn the_same_seed_is_the_same_disk() {
    let run = |seed| {
        let disk = with_log(seed);
        let vfs = disk.vfs();
        disk.short_writes(50);
        let file = vfs.open("log/a", Open::CreateNew).unwrap();
        for n in 0..40_u8 {
            let _ = file.write_at(&[IoSlice::new(&[n; 700])], u64::from(n) * 333);
            if n % 9 == 0 {
                file.sync_data().unwrap();
                vfs.sync_dir("log").unwrap();
            }
        }
        disk.restart(true);
        content(&disk, "log/a")
    };
    assert_eq!(run(11), run(11));
    assert_ne!(run(11), run(12));
}

#[test]
fn a_garbled_file_keeps_something_else() {
    let disk = with_log(8);
    let vfs = disk.vfs();
    disk.garble("log/g");
    for (name, is_other) in [("log/g", true), ("log/h", false)] {
        let file = vfs.open(name, Open::CreateNew).unwrap();
        write_full(&*file, &[0; 1_000], 0).unwrap();
        file.sync_data().unwrap();
        let changed = content(&disk, name).unwrap().iter().map(|octet| octet.count_ones()).sum::<u32>();
        assert_eq!(changed, u32::from(is_other), "{name}");
    }
}
