//! The simulation with any number of seeds:
//!
//!     cargo run --release --example simulate -- --seeds 100000
//!
//! `--from N` begins at another seed than 0. A seed that fails is printed at once, and replays exactly: `--seed N` tells its
//! story, as `PENFOLD_SEED=N cargo test -p penfold-store --test simulation` does. The lives themselves are those of the test.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

#[path = "../tests/simulation/books.rs"]
mod books;
#[path = "../tests/simulation/kept.rs"]
mod kept;
#[path = "../tests/simulation/life.rs"]
mod life;
#[path = "../tests/simulation/lives.rs"]
mod lives;
#[path = "../tests/simulation/snapshots.rs"]
mod snapshots;
#[path = "../tests/simulation/work.rs"]
mod work;
#[path = "../tests/simulation/world.rs"]
mod world;

use std::process::ExitCode;
use store::Sabotage;

/// So many at a time, so that somebody who waits sees that it goes on.
const PART: u64 = 1_000;

const USAGE: &str = "simulate [--seeds N] [--from N] | --seed N";

fn main() -> ExitCode {
    let (mut seeds, mut from, mut one) = (2_000, 0, None);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let number = words.next().and_then(|n| n.parse::<u64>().ok());
        match (word.as_str(), number) {
            ("--seeds", Some(n)) => seeds = n,
            ("--from", Some(n)) => from = n,
            ("--seed", Some(n)) => one = Some(n),
            _ => {
                eprintln!("{USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    if let Some(seed) = one {
        let mut life = life::Life::new(seed, Sabotage::None);
        let lived = life.run();
        print!("{}", life.story());
        return match lived {
            Ok(()) => ExitCode::SUCCESS,
            Err(what) => {
                println!("{what}");
                ExitCode::FAILURE
            }
        };
    }
    let end = from.saturating_add(seeds);
    let mut failed = 0;
    let mut begin = from;
    while begin < end {
        let part = begin..end.min(begin.saturating_add(PART));
        begin = part.end;
        failed += lives::failures(part, Sabotage::None, false).len();
        println!("seeds {from} to {}: {failed} failed", begin - 1);
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
