//! What is salvaged from a ruined data directory, put where people can use it: Maildir++ or mbox files, or a new store.
//!
//! `store::salvage` finds it; here it is written. What waits to be sent is known by its lines in the store's books, which
//! `flow::queue` reads. Nothing of the ruined directory is touched, and nothing that is there
//! already is written over. Each writer keeps `REPORT.txt`: what came out, what did not and why.

mod files;
mod rebuild;
mod report;
mod waiting;

pub use files::{Files, Format};
pub use rebuild::Rebuild;
pub use report::Report;

use std::collections::BTreeSet;
use std::io;

/// Gives a message's octets, a piece at a time.
type Pieces<'a> = &'a dyn Fn(&mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()>;

/// A name for what has no mailbox that none of the mailboxes has.
fn free_name(wanted: &str, taken: &BTreeSet<String>) -> String {
    let mut name = wanted.to_owned();
    while taken.contains(&name) {
        name.push_str(" (salvaged)");
    }
    name
}
