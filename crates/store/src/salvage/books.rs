//! The books of a ruined store, given to a sink that knows what lines mean: read where they lie, a few at a time, as
//! [`crate::Store::lines`] gives those of a store that is served.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::sync::Arc;

use super::content::{self, Content, Spot, Why};
use super::ledger::{Ledger, Loose, Named, Place};
use super::shelf::Shelf;
use super::window::Window;
use crate::keys;
use crate::record::{Kept, Record, kind};
use crate::snapshot::format::Item;
use crate::state::book::{self, Book};

/// A line of a book, as far as it can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundLine {
    /// Its key.
    pub key: Vec<u8>,
    /// What its writer put there; `None` if that is damaged, and only the message that it names is known.
    pub value: Option<Vec<u8>>,
    /// It names a message.
    pub message: Option<FoundMessage>,
}

/// What is known of a message that a line names, before its octets are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundMessage {
    /// Its octets; 0 if nobody knows.
    pub size: u32,
    /// When it came, in seconds since 1970, if its own record says so.
    pub time: Option<i64>,
    /// Every line that was written in the same commit is here, unless it was struck since.
    pub complete: bool,
}

/// A message that is in no mailbox, and can be read.
#[derive(Debug)]
pub struct FoundOctets {
    content: Content,
    spoilt: u64,
}

impl FoundOctets {
    /// How many octets it has.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.content.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many of them are not what was written, or nobody knows.
    #[must_use]
    pub fn spoilt(&self) -> u64 {
        self.spoilt
    }

    /// Reads it from the beginning, up to 64 KiB at a time.
    ///
    /// # Errors
    /// Those of `each`; a disk that fails gives zeros.
    pub fn each_piece(&self, each: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        self.content.each_piece(each)
    }
}

/// A message whose line is not known: only its own record was found, where nobody knows who wrote it.
#[derive(Debug)]
pub struct LooseMessage {
    /// When it came, in seconds since 1970, if its record is true.
    pub time: i64,
    /// Its octets.
    pub octets: FoundOctets,
}

/// What a sink made of the books.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Messages of which nobody knows that they were sent.
    pub waiting: u64,
    /// Such messages that cannot be read.
    pub lost: u64,
    /// Octets of those that can be.
    pub octets: u64,
}

/// The books.
#[derive(Debug)]
pub struct Books<'a> {
    shelf: &'a mut Shelf,
    ledger: &'a mut Ledger,
    /// Side segments that a message names.
    named: &'a mut BTreeSet<u32>,
    whole: bool,
    /// Where the last line was read.
    window: Option<(Arc<str>, Window)>,
    /// Names the octets of the messages that were given.
    sums: HashSet<u128>,
}

impl<'a> Books<'a> {
    pub(crate) fn new(
        shelf: &'a mut Shelf,
        ledger: &'a mut Ledger,
        named: &'a mut BTreeSet<u32>,
        whole: bool,
    ) -> Books<'a> {
        Books { shelf, ledger, named, whole, window: None, sums: HashSet::new() }
    }

    /// Whether all that was written since the snapshot that is believed is there, undamaged: then no line is missing, and
    /// none is here that was struck.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// Lines of a book with `from <= key`, and `key < to` if that is said, in the order of keys, at most `most`.
    #[must_use]
    pub fn lines(&mut self, book: Book, from: &[u8], to: Option<&[u8]>, most: usize) -> Vec<FoundLine> {
        let from = book::name(book, from);
        let to = to.map_or_else(|| vec![book as u8 + 1], |to| book::name(book, to));
        if from >= to {
            return Vec::new();
        }
        let window = &mut self.window;
        let shelf = &*self.shelf;
        let found = self.ledger.lines.range(from..to).take(most).map(|(name, told)| FoundLine {
            key: name.get(1..).unwrap_or_default().to_vec(),
            value: told.said.as_ref().and_then(|place| value(shelf, window, place, name)),
            message: told.message.as_ref().map(|named| FoundMessage {
                size: named.content.map(|c| c.size).or(named.own.map(|(size, _)| size)).unwrap_or(0),
                time: named.own.map(|(_, time)| time),
                complete: named.complete,
            }),
        });
        found.collect()
    }

    /// The octets of the message that a line names.
    ///
    /// # Errors
    /// Why they cannot be had, in words.
    pub fn message(&mut self, book: Book, key: &[u8]) -> Result<FoundOctets, String> {
        let name = book::name(book, key);
        let named = self.ledger.lines.get(&name).and_then(|told| told.message.clone());
        let named = named.ok_or("nothing says where it is")?;
        let spot = self.ledger.spots.get(&name).cloned();
        let octets = self.octets(&name, &named, spot.as_ref()).map_err(|Why(why)| why)?;
        self.checked(octets).map(|(found, _)| found).map_err(|error| error.to_string())
    }

    /// The next of the messages whose lines are not known, those left out that were given as another line's.
    pub fn loose(&mut self) -> Option<LooseMessage> {
        while let Some(mut entry) = self.ledger.loose.first_entry() {
            let next = entry.get_mut().pop();
            let name = entry.key().clone();
            let Some(Loose { spot, time }) = next else {
                entry.remove();
                continue;
            };
            let Ok(content) = self.octets(&name, &Named::default(), Some(&spot)) else { continue };
            if let Ok((octets, true)) = self.checked(content) {
                return Some(LooseMessage { time, octets });
            }
        }
        None
    }

    /// Reads all of it. Says whether it was not given before.
    fn checked(&mut self, content: Content) -> io::Result<(FoundOctets, bool)> {
        let checked = content.check()?;
        let new = self.sums.insert(checked.sum);
        Ok((FoundOctets { content, spoilt: checked.spoilt }, new))
    }

    /// Where its line says, or where its record was found.
    fn octets(&mut self, name: &[u8], named: &Named, spot: Option<&Spot>) -> Result<Content, Why> {
        let at = named.content.map(|content| content.at).filter(|at| at.segment != 0);
        let mut found = Err(Why("its record is lost".into()));
        if let Some(at) = at {
            found = content::kept_at(self.shelf, at).and_then(|kept| self.open(name, named, kept, None));
        }
        match spot.filter(|_| found.is_err()) {
            Some(spot) => {
                let file = self.shelf.file(&spot.path)?;
                let kept = content::kept_in(&file, spot.delivery)?;
                self.open(name, named, kept, spot.body.map(|at| (&file, at)))
            }
            None => found,
        }
    }

    fn open(
        &mut self,
        name: &[u8],
        named: &Named,
        kept: Kept,
        near: Option<(&Arc<dyn crate::vfs::File>, u64)>,
    ) -> Result<Content, Why> {
        if !named.is(name, &kept) {
            return Err(Why("another message lies in its place".into()));
        }
        self.named.insert(kept.body.segment);
        content::open(self.shelf, (&kept).into(), near)
    }
}

/// A line's value, read where it was last written; `None` if something else is there now.
fn value(
    shelf: &Shelf,
    window: &mut Option<(Arc<str>, Window)>,
    place: &Place,
    name: &[u8],
) -> Option<Vec<u8>> {
    if window.as_ref().is_none_or(|(path, _)| *path != place.path) {
        let file = shelf.file(&place.path).ok()?;
        *window = Some((place.path.clone(), Window::small(file).ok()?));
    }
    let (_, window) = window.as_mut()?;
    let header = window.header(place.at).ok()??;
    let meta = window.meta(place.at, &header).ok()??;
    let (there, value) = if header.kind == kind::ENTRY {
        match Item::decode(&header, meta) {
            Ok(Some(Item::Entry { key, value })) => {
                keys::line(&key, &value).map(|(name, line)| (name, line.value))?
            }
            _ => return None,
        }
    } else {
        match Record::decode(&header, meta) {
            Ok(Some(Record::Line { name, value, .. })) => (name, value),
            _ => return None,
        }
    };
    (there == name).then_some(value)
}
