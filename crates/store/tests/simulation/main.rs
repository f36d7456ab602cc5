//! The store on a disk that fails: thousands of small lives, each decided by one number.
//!
//! A life opens a store, does random work on it, and ends by a power cut, a kill, a failed disk or a clean close, again
//! and again; a model of what must be there is held against what is. `PENFOLD_SEED=n` replays the one life n;
//! `PENFOLD_SEEDS=a..b` runs others than the usual ones; `examples/simulate.rs` any number of them.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

mod books;
mod kept;
mod life;
mod lives;
mod snapshots;
mod work;
mod world;

use life::Life;
use lives::failures;
use std::ops::Range;
use store::Sabotage;

const SEEDS: Range<u64> = 0..2_000;
/// Within these each way to break the store is found.
const FEW: Range<u64> = 0..500;

fn seeds() -> Range<u64> {
    let number = |text: &str| text.trim().parse::<u64>().expect("a seed is a number");
    if let Ok(one) = std::env::var("PENFOLD_SEED") {
        let one = number(&one);
        return one..one + 1;
    }
    match std::env::var("PENFOLD_SEEDS") {
        Ok(range) => {
            let (from, to) = range.split_once("..").expect("PENFOLD_SEEDS is like 500..900");
            number(from)..number(to)
        }
        Err(_) => SEEDS,
    }
}

#[test]
fn what_was_acknowledged_is_there_once_and_whole() {
    let failed = failures(seeds(), Sabotage::None, false);
    assert!(failed.is_empty(), "{} seeds fail; the first: PENFOLD_SEED={}", failed.len(), failed[0].0);
}

/// A failing seed is worth something only if it fails again.
#[test]
fn the_same_seed_is_the_same_life() {
    for seed in 0..6 {
        let story = || {
            let mut life = Life::new(seed, Sabotage::None);
            let _ = life.run();
            life.story().to_owned()
        };
        let (one, other) = (story(), story());
        let differs = one.lines().zip(other.lines()).find(|(one, other)| one != other);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(one.len(), other.len(), "seed {seed}");
    }
}

/// A simulation that finds nothing proves nothing: each way to break the store must be found.
fn finds(sabotage: Sabotage) {
    let failed = failures(FEW, sabotage, true);
    assert!(!failed.is_empty(), "{sabotage:?} is not found by any seed");
    eprintln!("{sabotage:?}: seed {}: {}", failed[0].0, failed[0].1);
}

#[test]
fn a_store_that_does_not_sync_is_found() {
    finds(Sabotage::NoSync);
}

#[test]
fn a_store_that_acknowledges_before_the_sync_is_found() {
    finds(Sabotage::AckBeforeSync);
}

#[test]
fn a_store_that_checks_no_sums_is_found() {
    finds(Sabotage::NoCrc);
}

#[test]
fn a_snapshot_that_nobody_read_back_is_found() {
    finds(Sabotage::SnapshotNotVerified);
}

#[test]
fn a_snapshot_that_leaves_something_out_is_found() {
    finds(Sabotage::SnapshotWithoutVanished);
}

#[test]
fn a_store_that_leaves_the_torn_tail_is_found() {
    finds(Sabotage::TailNotCut);
}

#[test]
fn a_store_that_begins_no_new_epoch_after_a_loss_is_found() {
    finds(Sabotage::NoEpoch);
}

#[test]
fn a_store_that_cuts_rot_off_is_found() {
    finds(Sabotage::RotCut);
}

#[test]
fn a_compaction_that_goes_by_counts_is_found() {
    finds(Sabotage::LivenessFromCounters);
}

#[test]
fn a_compaction_that_forgets_books_is_found() {
    finds(Sabotage::LivenessWithoutBooks);
}

#[test]
fn a_backup_whose_files_may_go_meanwhile_is_found() {
    finds(Sabotage::BackupWithoutHold);
}

#[test]
fn a_backup_whose_names_are_not_durable_is_found() {
    finds(Sabotage::BackupNamesNotSynced);
}
