//! The format gate: a store that a newer version wrote is refused in a plain sentence, and nothing of it is touched.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

mod common;
#[path = "common/full.rs"]
mod full;

use std::collections::BTreeMap;
use std::fs;
use std::hash::Hasher as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use common::*;
use full::*;
use siphasher::sip128::{Hasher128 as _, SipHasher24};
use store::{OpenError, Store};

/// A page's own CRC, in its last four octets, is put right.
fn seal(octets: &mut [u8]) {
    let end = octets.len() - 4;
    let crc = crc32c::crc32c(&octets[..end]).to_le_bytes();
    octets[end..].copy_from_slice(&crc);
}

fn change(path: &Path, at: u64, length: usize, edit: impl FnOnce(&mut Vec<u8>)) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut octets = vec![0; length];
    file.read_exact_at(&mut octets, at).unwrap();
    edit(&mut octets);
    file.write_all_at(&octets, at).unwrap();
}

/// Where the last group of the last segment begins.
fn last_group(dir: &Path) -> (PathBuf, u64) {
    let path = files_in(dir, "log", ".seg").pop().unwrap();
    let octets = fs::read(&path).unwrap();
    let starts = octets.chunks(4096).enumerate().filter(|(_, page)| page.starts_with(b"PFGROUP1"));
    let at = starts.map(|(n, _)| n as u64 * 4096).next_back().unwrap();
    (path, at)
}

/// Makes the first record of a kind in the last group another one, in a group that is whole.
fn other_record(dir: &Path, edit: impl FnOnce(&mut [u8])) {
    let (path, at) = last_group(dir);
    let octets = fs::read(&path).unwrap();
    let length = u64::from_le_bytes(octets[at as usize + 80..at as usize + 88].try_into().unwrap());
    change(&path, at, 128 + length as usize + 16, |group| {
        let (front, chain) = group.split_at_mut(128 + length as usize);
        edit(&mut front[128..152]);
        let crc = crc32c::crc32c(&front[128..148]).to_le_bytes();
        front[148..152].copy_from_slice(&crc);
        let mut hasher = SipHasher24::new_with_key(front[16..32].try_into().unwrap());
        hasher.write(front);
        chain.copy_from_slice(&hasher.finish128().as_u128().to_le_bytes());
    });
}

/// All that there is, but for the lock.
fn everything(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let all = ["log", "snapshot", "index", "digest", "tmp"].iter().flat_map(|below| files_in(dir, below, ""));
    all.filter(|p| p.is_file()).map(|p| (p.clone(), fs::read(&p).unwrap())).collect()
}

#[track_caller]
fn refused(dir: &Path, says: &str) {
    let before = everything(dir);
    let mut options = options(dir);
    small(&mut options, 0);
    match Store::open(options) {
        Err(error @ OpenError::Newer(_)) => {
            let text = error.to_string();
            assert!(
                text.starts_with("the store was written by a newer version: ") && text.contains(says),
                "{text}"
            );
        }
        other => panic!("{other:?}"),
    }
    let after = everything(dir);
    assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    assert!(after == before, "something was touched");
    let v = store::verify::verify(std::sync::Arc::new(store::RealVfs::new(dir)), None, &|_, _| {}).unwrap();
    assert!(v.wants(store::verify::Mend::Newer), "{:?}", v.problems);
}

#[test]
fn each_newer_format_is_refused_and_nothing_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    drop(filled(dir.path(), 0));
    for part in ["index", "tmp", "digest"] {
        fs::remove_dir_all(dir.path().join(part)).unwrap();
        fs::create_dir(dir.path().join(part)).unwrap();
    }
    fs::remove_dir(dir.path().join("index")).unwrap();
    let before = {
        let dir = copy_of(dir.path());
        let (store, _) = open_with(dir.path(), |o| small(o, 0));
        picture(&store)
    };

    let segment = copy_of(dir.path());
    let path = files_in(segment.path(), "log", ".seg").pop().unwrap();
    change(&path, 0, 4096, |page| {
        page[8] = 2;
        seal(page);
    });
    refused(segment.path(), "has format 2");

    let group = copy_of(dir.path());
    let (path, at) = last_group(group.path());
    change(&path, at, 128, |header| {
        header[8] = 2;
        seal(header);
    });
    refused(group.path(), "has groups of format 2");

    for kind in [60u8, 200] {
        let record = copy_of(dir.path());
        other_record(record.path(), |header| header[4] = kind);
        refused(record.path(), &format!("a record of kind {kind}, version 1"));
    }
    let version = copy_of(dir.path());
    other_record(version.path(), |header| header[6] = 2);
    refused(version.path(), "version 2");

    for which in 0..2 {
        let snapshot = copy_of(dir.path());
        change(&files_in(snapshot.path(), "snapshot", ".snap")[which], 0, 4096, |page| {
            page[8] = 2;
            seal(page);
        });
        refused(snapshot.path(), "format 2");
    }

    let compacted = copy_of(dir.path());
    change(&files_in(compacted.path(), "log", ".g2")[0], 0, 4096, |page| {
        page[8] = 2;
        seal(page);
    });
    refused(compacted.path(), "has format 2");

    // Of a kind that is not critical an older version need know nothing: the commit's own record goes unread here.
    let skipped = copy_of(dir.path());
    other_record(skipped.path(), |header| (header[4], header[7]) = (60, 0));
    let (store, opening) = open_with(skipped.path(), |o| small(o, 0));
    assert_eq!((opening.rot.len(), picture(&store)), (0, before));
}
