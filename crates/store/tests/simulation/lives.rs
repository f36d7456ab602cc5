//! Many lives at once, and those that failed.

use crate::life::Life;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use store::Sabotage;

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
pub fn failures(seeds: Range<u64>, sabotage: Sabotage, only_first: bool) -> Vec<(u64, String)> {
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
