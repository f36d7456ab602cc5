//! The store on a disk that fails: thousands of small lives, each decided by one number.
//!
//! A life opens a store, does random work on it, and ends by a power cut, a kill, a failed disk or a clean close, again
//! and again; a model of what must be there is held against what is. `PENFOLD_SEED=n` replays the one life n;
//! `PENFOLD_SEEDS=a..b` runs others than the usual ones.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

mod kept;
mod life;
mod snapshots;
mod work;
mod world;

use life::Life;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use store::Sabotage;

const SEEDS: Range<u64> = 0..500;

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

/// One life; what went wrong, if anything did.
fn live(seed: u64, sabotage: Sabotage) -> Result<(), String> {
    match catch_unwind(AssertUnwindSafe(|| Life::new(seed, sabotage).run())) {
        Ok(lived) => lived,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|t| (*t).to_owned()));
            Err(format!("panicked: {}", text.unwrap_or_default()))
        }
    }
}

/// The panics that a life asks for itself, and those that are reported with their seed, need no backtrace each.
fn quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let default = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if panic.payload().downcast_ref::<&str>() != Some(&"a panic, as asked") {
                default(panic);
            }
        }));
    });
}

/// Failures of some seeds, or only the first one found.
fn failures(seeds: Range<u64>, sabotage: Sabotage, only_first: bool) -> Vec<(u64, String)> {
    quiet();
    let next = AtomicU64::new(seeds.start);
    let enough = AtomicBool::new(false);
    let threads = thread::available_parallelism().map_or(2, usize::from).min(8);
    let mut failed: Vec<(u64, String)> = thread::scope(|scope| {
        let work = || {
            let mut failed = Vec::new();
            while !enough.load(Ordering::Relaxed) {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds.end {
                    break;
                }
                if let Err(what) = live(seed, sabotage) {
                    if sabotage == Sabotage::None {
                        eprintln!("PENFOLD_SEED={seed} fails: {what}");
                    }
                    failed.push((seed, what));
                    enough.store(only_first || failed.len() > 20, Ordering::Relaxed);
                }
            }
            failed
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|w| w.join().expect("a worker")).collect()
    });
    failed.sort();
    failed
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
    let failed = failures(SEEDS, sabotage, true);
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
