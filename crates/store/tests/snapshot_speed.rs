//! How long snapshots take and what they cost, on the disk that the temporary directory is on. Not run by default:
//! `cargo test --release -p penfold-store --test snapshot_speed -- --ignored --nocapture --test-threads=1`.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]
#![allow(clippy::disallowed_methods, reason = "it measures")]

mod common;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::*;
use store::{Batch, Intent, MailboxId, Opening, Options, Outcome, Prefix, Store, Tuning};
use wire::flag::FlagNames;

fn as_served(options: &mut Options) {
    options.tuning = Tuning { snapshot_commits: u64::MAX, snapshot_octets: u64::MAX, ..Tuning::default() };
}

fn deliver(store: &Store, mailbox: MailboxId, octets: Vec<u8>) {
    let mut batch = Batch::new();
    let body = batch.body(octets);
    let (flags, prefix) = (FlagNames::default(), Prefix::default());
    batch.push(Intent::Append { mailbox, body, prefix, flags, date: None });
    store.done(batch).unwrap();
}

/// From `/proc/self/status`, in KiB.
fn memory(what: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(what)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn rebuilt(dir: &Path) -> (Opening, Duration) {
    fs::remove_dir_all(dir.join("index")).unwrap();
    let begun = Instant::now();
    let (_store, opening) = open_with(dir, as_served);
    (opening, begun.elapsed())
}

#[test]
#[ignore = "it measures: some minutes, and a gigabyte of disk"]
fn rebuilding_from_a_snapshot_and_from_the_whole_log() {
    const MESSAGES: u32 = 100_000;
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open_with(dir.path(), as_served);
    let account = furnish(&store);
    let mailbox = inbox(&store, account);
    thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| (0..MESSAGES / 32).for_each(|_| deliver(&store, mailbox, vec![b'x'; 4096])));
        }
    });
    let made = store.snapshot().unwrap();
    assert_eq!(made.rows, u64::from(MESSAGES));
    (0..100).for_each(|_| deliver(&store, mailbox, vec![b'x'; 4096]));
    drop(store);
    let (opening, from_snapshot) = rebuilt(dir.path());
    assert!(opening.snapshot.is_some() && opening.groups == 100, "{opening:?}");
    fs::remove_dir_all(dir.path().join("snapshot")).unwrap();
    let (opening, from_log) = rebuilt(dir.path());
    assert_eq!((opening.snapshot, opening.rows), (None, u64::from(MESSAGES) + 100));
    eprintln!(
        "{MESSAGES} messages of 4 KiB: from a snapshot {from_snapshot:?}, from the whole log {from_log:?}"
    );
    eprintln!("  ({} groups; the snapshot: {} octets in {:?})", opening.groups, made.octets, made.took);
}

#[test]
#[ignore = "it measures: a minute"]
fn making_one_of_200_000_rows_while_mail_comes() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open_with(dir.path(), |options| {
        as_served(options);
        options.tuning.resident_rows = 0;
    });
    let account = furnish(&store);
    let mailbox = inbox(&store, account);
    deliver(&store, mailbox, vec![b'x'; 4096]);
    for n in 0..12 {
        store.ask(Intent::Copy { from: mailbox, uids: runs(&[(1, 1 << n)]), to: mailbox }).unwrap();
    }
    for n in 0..48 {
        let path = format!("Box{n}");
        let make = Intent::CreateMailbox { account, path, special_use: None, subscribe: true };
        let Outcome::Created(to) = store.ask(make).unwrap() else { panic!() };
        store.ask(Intent::Copy { from: mailbox, uids: runs(&[(1, 4096)]), to }).unwrap();
    }
    drop(store);
    let (store, _) = open_with(dir.path(), |options| {
        as_served(options);
        options.tuning.resident_rows = 0;
    });
    let (before, peak) = (memory("VmRSS"), memory("VmHWM"));
    let begun = Instant::now();
    let made = store.snapshot().unwrap();
    eprintln!("{} rows: {} octets in {:?}", made.rows, made.octets, begun.elapsed());
    let (after, peak_after) = (memory("VmRSS"), memory("VmHWM"));
    eprintln!(
        "  resident {before} KiB before, {after} KiB after; peak {peak} KiB before, {peak_after} KiB after"
    );
    // How long a delivery waits, with and without one being made.
    let making = AtomicBool::new(false);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let work = scope.spawn(|| {
            let mut waits: [Vec<Duration>; 2] = [vec![], vec![]];
            while !stop.load(Ordering::Relaxed) {
                let was = making.load(Ordering::Relaxed);
                let begun = Instant::now();
                deliver(&store, mailbox, vec![b'x'; 4096]);
                waits[usize::from(was)].push(begun.elapsed());
            }
            waits
        });
        for _ in 0..8 {
            thread::sleep(Duration::from_millis(500));
            making.store(true, Ordering::Relaxed);
            store.snapshot().unwrap();
            making.store(false, Ordering::Relaxed);
        }
        stop.store(true, Ordering::Relaxed);
        for (what, mut waits) in ["without", "with"].into_iter().zip(work.join().unwrap()) {
            waits.sort_unstable();
            let at = |percent: usize| waits[(waits.len() - 1) * percent / 100];
            eprintln!(
                "  a delivery {what}: {} of them, median {:?}, 99% {:?}, most {:?}",
                waits.len(),
                at(50),
                at(99),
                at(100)
            );
        }
    });
    eprintln!("  commits waited for the index {} times", store.health().overlay_waits);
}
