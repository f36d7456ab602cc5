//! What snapshots and segments say of the books, put together as `pile` does for mailboxes: where each line was last
//! written, and where the message is that it names.
//!
//! A line's value is not kept in memory, only where it lies. A message is worth more than its line: one whose own record is
//! there is known even if its line is lost, as long as nothing says that the line was struck.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::content::{Placement, Spot};
use crate::id::Location;
use crate::record::Kept;
use crate::state::book::Content;

/// Where a record lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) path: Arc<str>,
    pub(crate) at: u64,
}

/// A message that a line names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Named {
    /// Where it is said to be.
    pub(crate) content: Option<Content>,
    /// Its octets, and when it came, as its own record says.
    pub(crate) own: Option<(u32, i64)>,
    /// Every line that was written with it is known, or was struck since.
    pub(crate) complete: bool,
}

/// A line, as far as anything says it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    /// The record that said it last; `None` if only its message is known.
    pub(crate) said: Option<Place>,
    pub(crate) message: Option<Box<Named>>,
}

/// A message of which nothing but its own record is known, and that is believed in nothing but its octets.
#[derive(Clone, Debug)]
pub(crate) struct Loose {
    pub(crate) spot: Spot,
    pub(crate) time: i64,
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) lines: BTreeMap<Vec<u8>, Told>,
    pub(crate) loose: BTreeMap<Vec<u8>, Vec<Loose>>,
    /// Where the messages of lines are in compacted segments, for when their locations do not lead there.
    pub(crate) spots: BTreeMap<Vec<u8>, Spot>,
    /// Lines of the commit at hand that name messages.
    open: Vec<Vec<u8>>,
    /// Something of the commit at hand may be missing.
    flawed: bool,
}

impl Ledger {
    /// A commit begins.
    pub(crate) fn commit(&mut self) {
        self.open.clear();
        self.flawed = false;
    }

    /// Something of the commit at hand cannot be read, or nobody knows where the next begins.
    pub(crate) fn flaw(&mut self) {
        self.flawed = true;
        for name in self.open.drain(..) {
            if let Some(named) = self.lines.get_mut(&name).and_then(|told| told.message.as_mut()) {
                named.complete = false;
            }
        }
    }

    /// A message's own record.
    pub(crate) fn kept(&mut self, kept: Kept, at: Location) {
        let named = Named {
            content: Some(Content { at, size: kept.size }),
            own: Some((kept.size, kept.time)),
            complete: !self.flawed,
        };
        self.open.push(kept.name.clone());
        self.lines.insert(kept.name, Told { said: None, message: Some(Box::new(named)) });
    }

    /// A message's own record in a segment that was compacted: it was alive then. `at` if its ordinal is known.
    pub(crate) fn survivor(&mut self, kept: &Kept, at: Option<Location>, spot: Spot) {
        let told = self.lines.entry(kept.name.clone()).or_default();
        let named = told.message.get_or_insert_default();
        named.own = Some((kept.size, kept.time));
        named.content = named.content.or(at.map(|at| Content { at, size: kept.size }));
        self.spots.insert(kept.name.clone(), spot);
    }

    /// Where the message of a line is whose segment has lost its table, if the line is known.
    pub(crate) fn found(&mut self, kept: Kept, spot: Spot) {
        if self.lines.contains_key(&kept.name) {
            self.spots.insert(kept.name, spot);
        }
    }

    /// What a line says.
    pub(crate) fn line(&mut self, name: Vec<u8>, content: Option<Content>, said: Place) {
        let told = self.lines.entry(name).or_default();
        told.said = Some(said);
        if let Some(content) = content {
            told.message.get_or_insert_default().content = Some(content);
        }
    }

    /// A snapshot has all there is.
    pub(crate) fn clear(&mut self) {
        *self = Ledger { spots: std::mem::take(&mut self.spots), ..Ledger::default() };
    }

    /// What a line of a snapshot says that has all of them.
    pub(crate) fn exact(&mut self, name: Vec<u8>, content: Option<Content>, said: Place) {
        let named = Named { content, complete: true, ..Named::default() };
        let message = content.map(|_| Box::new(named));
        self.lines.insert(name, Told { said: Some(said), message });
    }

    pub(crate) fn gone(&mut self, name: &[u8]) {
        self.lines.remove(name);
        self.loose.remove(name);
    }

    pub(crate) fn loose(&mut self, kept: Kept, spot: Spot) {
        self.loose.entry(kept.name).or_default().push(Loose { spot, time: kept.time });
    }
}

impl Named {
    /// Whether a record is that of this line's message.
    pub(crate) fn is(&self, name: &[u8], kept: &Kept) -> bool {
        let size = self.content.map(|content| content.size).or(self.own.map(|(size, _)| size));
        kept.name == name && size.is_none_or(|size| size == kept.size)
    }
}

/// The body right before a message's record, if it is as long as that one says. `last`: where it lies, its octets, and
/// whether it was searched for.
pub(crate) fn near(last: Option<(u64, u64, bool)>, placed: &Placement, searched: bool) -> Option<u64> {
    let (at, octets, body_searched) = last?;
    (placed.expected() == Some(octets) && (!searched || body_searched)).then_some(at)
}
