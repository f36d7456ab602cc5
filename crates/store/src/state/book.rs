//! The server's own books: what the rooms above the store want kept with the same promises as mail, in the same commits.
//!
//! A [`Line`] has a key, a value that only its writer understands, and maybe a *content*: a message that is in no mailbox,
//! such as one that waits for its way out. The store keeps lines, finds them by key, and knows that a content is alive as
//! long as a line names it; what they mean is nobody's business here.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::id::Location;

/// Which book a line is in. The numbers stand in the log for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Book {
    /// Messages on their way to other hosts; their lines have the contents.
    Queue = 1,
    /// ... their recipients.
    Recipients = 2,
    /// What became of messages.
    Fates = 3,
    /// Policies of other domains, as they were fetched (MTA-STS).
    Policies = 4,
    /// Keys that sign our domains' mail (DKIM).
    Keys = 5,
    /// What accounts may send.
    Allowances = 6,
}

impl Book {
    /// All of them.
    pub const ALL: [Book; 6] =
        [Book::Queue, Book::Recipients, Book::Fates, Book::Policies, Book::Keys, Book::Allowances];
}

/// A message's octets that a line names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// Where they are said to be.
    pub at: Location,
    /// How many.
    pub size: u32,
}

/// A line of a book.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// The message that it names, if it does.
    pub content: Option<Content>,
    /// What its writer put there.
    pub value: Vec<u8>,
}

/// Octets of a key, and of a value: both fit a value of the index with room to spare.
pub(crate) const KEY: usize = 255;
pub(crate) const VALUE: usize = 3_500;
/// What a line costs the index beyond its octets, roughly.
const COST: usize = 48;

/// A line's name among all books: the book's number, then its key.
pub(crate) fn name(book: Book, key: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(1 + key.len());
    name.push(book as u8);
    name.extend_from_slice(key);
    name
}

/// Whether octets can be a line's name.
pub(crate) fn is_name(name: &[u8]) -> bool {
    name.len() <= 1 + KEY && name.first().is_some_and(|&n| Book::ALL.iter().any(|&book| book as u8 == n))
}

/// How many lines an index must have, and the sum of their weights: one that lost a line, or has an old one in its place,
/// has another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) lines: u64,
    pub(crate) sum: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, weight: u64) {
        self.lines = self.lines.wrapping_add(1);
        self.sum = self.sum.wrapping_add(weight);
    }

    pub(crate) fn take(&mut self, weight: u64) {
        self.lines = self.lines.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(weight);
    }
}

/// Lines that have changed since something below was last told: new or other, or gone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lines {
    pub(crate) changed: BTreeMap<Vec<u8>, Option<Arc<Line>>>,
}

impl Lines {
    pub(crate) fn is_empty(&self) -> bool {
        self.changed.is_empty()
    }

    /// What this layer says of a line, if anything.
    pub(crate) fn get(&self, name: &[u8]) -> Option<Option<Arc<Line>>> {
        self.changed.get(name).cloned()
    }

    /// Sets a line, or takes it away. Returns what it costs.
    pub(crate) fn set(&mut self, name: Vec<u8>, line: Option<Arc<Line>>) -> usize {
        let cost = COST + name.len() + line.as_ref().map_or(0, |l| l.value.len());
        self.changed.insert(name, line);
        cost
    }

    /// Lays another layer over this one. Returns the octets of contents that are named no longer, as far as this layer
    /// knows.
    pub(crate) fn lay(&mut self, over: Lines) -> u64 {
        let mut forgotten = 0;
        for (name, line) in over.changed {
            let gone = line.is_none();
            let before = self.changed.insert(name, line);
            if let Some(Some(before)) = before.filter(|_| gone) {
                forgotten += before.content.map_or(0, |content| u64::from(content.size));
            }
        }
        forgotten
    }
}
