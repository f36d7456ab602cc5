//! What is published: what every reader sees, and what the index has still to be told.
//!
//! One writer (the committer, or a replay before anyone is served) publishes; readers take what they need under a short
//! lock. Rows of a mailbox that nobody used lately are only in the index, and are loaded when needed.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use wire::ids::ModSeq;

use super::book::{Line, Lines, Tally};
use super::directory::Directory;
use super::mailbox::Mailbox;
use super::retained::{Known, Recent, Retained, RetainedId};
use super::usage::Totals;
use crate::id::{AccountId, Location, MailboxId, UnixTime};
use crate::index::{Index, IndexError};
use crate::keys;

/// Numbers that are given out once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) account: u32,
    pub(crate) mailbox: u32,
    pub(crate) uid_validity: u32,
}

/// How far the log has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    /// The last group.
    pub(crate) seq: u64,
    pub(crate) chain: u128,
    pub(crate) segment: u32,
    /// Where that group begins...
    pub(crate) offset: u64,
    /// ... and where the next one would.
    pub(crate) end: u64,
    /// The last commit.
    pub(crate) commit: ModSeq,
    pub(crate) time: UnixTime,
}

/// A side segment that a commit adopted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Side {
    pub(crate) octets: u64,
    /// The deliveries that name it are in the commit that adopted it: none of them lies before this place, none behind
    /// the other. `None` as long as there is none.
    pub(crate) named: Option<(Location, Location)>,
}

/// What has changed since the index was last told.
#[derive(Debug, Default)]
pub(crate) struct Dirty {
    /// Mailboxes as the index has them; `None` if it has none.
    pub(crate) mailboxes: HashMap<MailboxId, Option<Arc<Mailbox>>>,
    /// The directory as the index has it.
    pub(crate) directory: Option<Arc<Directory>>,
    /// Side segments adopted, or given up.
    pub(crate) sides: BTreeMap<u32, Option<Side>>,
    /// What was expunged, brought back and forgotten.
    pub(crate) retained: Recent,
    /// Lines of books.
    pub(crate) lines: Lines,
    /// Roughly how many octets all this will be.
    pub(crate) octets: usize,
}

impl Dirty {
    pub(crate) fn is_empty(&self) -> bool {
        self.mailboxes.is_empty()
            && self.directory.is_none()
            && self.sides.is_empty()
            && self.retained.is_empty()
            && self.lines.is_empty()
    }
}

#[derive(Debug, Default)]
pub(crate) struct Published {
    pub(crate) directory: Arc<Directory>,
    pub(crate) mailboxes: HashMap<MailboxId, Arc<Mailbox>>,
    /// What accounts hold: the sum of the heads above.
    pub(crate) totals: Totals,
    pub(crate) counters: Counters,
    pub(crate) position: Position,
    pub(crate) sides: BTreeMap<u32, Side>,
    /// Of the lines in the index, not of what it has still to be told.
    pub(crate) books: Tally,
    pub(crate) dirty: Dirty,
    /// What the applier has taken and not yet written, in octets.
    pub(crate) in_flight: usize,
    /// ... and what was expunged of it: readable here until it can be read in the index.
    pub(crate) retained_in_flight: Arc<Recent>,
    /// ... and the lines of books.
    pub(crate) lines_in_flight: Arc<Lines>,
}

#[derive(Debug, Default)]
pub(crate) struct World {
    published: RwLock<Published>,
    /// Held while a mailbox's rows are loaded, so that it happens once.
    loading: Mutex<()>,
    index: OnceLock<Arc<dyn Index>>,
    /// Steps of the applier.
    pub(crate) tick: AtomicU64,
    /// Octets of messages that lines of books named, and none does any longer, before the index heard of them.
    pub(crate) forgotten: AtomicU64,
}

/// What a draft changed, for publishing.
#[derive(Debug, Default)]
pub(crate) struct Changed {
    pub(crate) mailboxes: HashMap<MailboxId, Option<Mailbox>>,
    pub(crate) directory: Option<Directory>,
    pub(crate) counters: Option<Counters>,
    pub(crate) accounts: std::collections::BTreeSet<AccountId>,
    pub(crate) sides: BTreeMap<u32, Option<Side>>,
    pub(crate) retained: Recent,
    pub(crate) lines: Lines,
    /// Octets of messages that a line named, and none does any longer.
    pub(crate) forgotten: u64,
    pub(crate) cost: usize,
}

impl World {
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Published> {
        self.published.read().unwrap_or_else(PoisonError::into_inner)
    }
    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Published> {
        self.published.write().unwrap_or_else(PoisonError::into_inner)
    }
    /// Gives it the index from which rows are loaded.
    pub(crate) fn set_index(&self, index: Arc<dyn Index>) {
        let _ = self.index.set(index);
    }
    pub(crate) fn index(&self) -> Option<&Arc<dyn Index>> {
        self.index.get()
    }

    /// A mailbox with its rows; loads them if need be.
    pub(crate) fn resident(&self, id: MailboxId) -> Result<Option<Arc<Mailbox>>, IndexError> {
        let tick = self.tick.load(Ordering::Relaxed);
        let there = |mailbox: Option<&Arc<Mailbox>>| match mailbox {
            None => Some(None),
            Some(m) => m.rows.as_ref().map(|rows| {
                rows.used.store(tick, Ordering::Relaxed);
                Some(m.clone())
            }),
        };
        if let Some(found) = there(self.read().mailboxes.get(&id)) {
            return Ok(found);
        }
        let _one = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        let head = match self.read().mailboxes.get(&id) {
            None => return Ok(None),
            Some(m) if m.rows.is_some() => return Ok(Some(m.clone())),
            Some(m) => m.head,
        };
        let index = self.index().ok_or(IndexError::Closed)?;
        let rows = keys::load_rows(&**index, id)?;
        rows.used.store(tick, Ordering::Relaxed);
        if !head.agrees(&rows.table) {
            return Err(IndexError::Condemned(
                format!("mailbox {id}: rows do not add up to its head").into(),
            ));
        }
        let loaded = Arc::new(Mailbox { id, head, rows: Some(rows) });
        // It cannot have changed meanwhile (whoever changes it loads it first, here), but it can be gone.
        match self.write().mailboxes.get_mut(&id) {
            None => Ok(None),
            Some(there) => {
                if there.rows.is_none() {
                    *there = loaded;
                }
                Ok(Some(there.clone()))
            }
        }
    }

    /// What is left of an expunge: in memory, else in the index. Before there is an index, memory has everything.
    pub(crate) fn retained(&self, id: &RetainedId) -> Result<Option<Arc<Retained>>, IndexError> {
        {
            let published = self.read();
            for layer in [&published.dirty.retained, &*published.retained_in_flight] {
                if let Known::Now(entry) = layer.get(id) {
                    return Ok(entry);
                }
            }
        }
        match self.index() {
            Some(index) => Ok(keys::retained(&**index, *id)?.map(Arc::new)),
            None => Ok(None),
        }
    }

    /// A line of a book: in memory, else in the index.
    pub(crate) fn line(&self, name: &[u8]) -> Result<Option<Arc<Line>>, IndexError> {
        {
            let published = self.read();
            let known = published.dirty.lines.get(name).or_else(|| published.lines_in_flight.get(name));
            if let Some(line) = known {
                return Ok(line);
            }
        }
        match self.index() {
            Some(index) => Ok(keys::get_line(&**index, name)?.map(Arc::new)),
            None => Ok(None),
        }
    }

    /// Lines with `from <= name < to`, at most `most`.
    pub(crate) fn lines(
        &self,
        from: &[u8],
        to: &[u8],
        most: usize,
    ) -> Result<Vec<(Vec<u8>, Line)>, IndexError> {
        let range = || from.to_vec()..to.to_vec();
        // Before the index is read: what goes there meanwhile is in both.
        let memory: BTreeMap<_, _> = {
            let published = self.read();
            let in_flight = published.lines_in_flight.changed.range(range());
            let lines = in_flight.chain(published.dirty.lines.changed.range(range()));
            lines.map(|(name, line)| (name.clone(), line.clone())).collect()
        };
        keys::lines_between(self.index().map(|index| &**index), memory, from, to, most)
    }

    /// Makes a draft's changes what every reader sees. Returns the mailboxes that changed, with their new level.
    pub(crate) fn publish(&self, changed: Changed, position: Position) -> Vec<(MailboxId, ModSeq)> {
        let mut risen = Vec::with_capacity(changed.mailboxes.len());
        // What is replaced is dropped after the lock.
        let mut old = Vec::with_capacity(changed.mailboxes.len());
        let mut published = self.write();
        let published = &mut *published;
        for (id, mailbox) in changed.mailboxes {
            let level = mailbox.as_ref().map_or(position.commit, |m| m.head.highest_modseq);
            let after = mailbox.as_ref().map(|m| m.head);
            let before = match mailbox {
                Some(mailbox) => published.mailboxes.insert(id, Arc::new(mailbox)),
                None => published.mailboxes.remove(&id),
            };
            // Of one that goes with its account only the old directory knows whose it was.
            let new = changed.directory.as_ref().and_then(|d| d.mailbox(id));
            if let Some(info) = new.or_else(|| published.directory.mailbox(id)) {
                published.totals.change(info.account, before.as_ref().map(|m| &m.head), after.as_ref());
            }
            risen.push((id, level));
            published.dirty.mailboxes.entry(id).or_insert_with(|| before.clone());
            old.push(before);
        }
        if let Some(directory) = changed.directory {
            let before = std::mem::replace(&mut published.directory, Arc::new(directory));
            published.dirty.directory.get_or_insert(before);
        }
        if let Some(counters) = changed.counters {
            published.counters = counters;
        }
        for (number, side) in changed.sides {
            match side {
                Some(side) => published.sides.insert(number, side),
                None => published.sides.remove(&number),
            };
            published.dirty.sides.insert(number, side);
        }
        published.dirty.retained.lay(changed.retained);
        let forgotten = published.dirty.lines.lay(changed.lines);
        self.forgotten.fetch_add(changed.forgotten + forgotten, Ordering::Relaxed);
        published.dirty.octets += changed.cost;
        published.position = position;
        risen
    }
}
