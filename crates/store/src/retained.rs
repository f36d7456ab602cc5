//! Listing what can be brought back.
//!
//! Newest first, an entry at a time: the list of entries is in memory, their rows are loaded as they are reached. What has
//! not been given to the index yet is looked at first, and wins.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::id::{AccountId, Location, UnixTime};
use crate::index::IndexError;
use crate::keys;
use crate::read::ReadError;
use crate::shared::Shared;
use crate::state::block::Row;
use crate::state::directory::canonical;
use crate::state::retained::{Retained, RetainedId, seconds};
use crate::state::table::Table;

/// Which of the retained messages are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetainedFilter {
    /// Only this account's, whether it still exists or not.
    pub account: Option<AccountId>,
    /// Only those of mailboxes that had this name when the messages went.
    pub path: Option<String>,
    /// Only what went at this time or later (whole seconds).
    pub since: Option<UnixTime>,
    /// Only what went before this time (whole seconds).
    pub until: Option<UnixTime>,
    /// Also what still exists elsewhere in the account because it was moved or copied, and what went more than once.
    pub all: bool,
}

/// A message that can be brought back.
#[derive(Clone, Debug)]
pub struct RetainedMessage {
    /// What took it away: when, from where, and what its keywords' bits mean.
    pub from: Arc<Retained>,
    /// As it was in its mailbox. [`crate::Store::message`] reads it.
    pub row: Row,
}

/// Reads while the applier writes: what does not fit together may just be changing.
const TRIES: usize = 3;

/// See [`crate::Store::retained`].
#[derive(Debug)]
pub struct RetainedMessages<'a> {
    shared: &'a Shared,
    all: bool,
    /// Oldest first, taken from the end. Those from the index have no rows yet.
    entries: Vec<(Arc<Retained>, bool)>,
    current: Option<(Arc<Retained>, Vec<Row>)>,
    /// For each account: what still exists, or was listed.
    known: HashMap<AccountId, HashSet<Location>>,
}

impl RetainedFilter {
    fn takes(&self, entry: &Retained) -> bool {
        self.account.is_none_or(|account| account == entry.account)
            && self.path.as_ref().is_none_or(|path| canonical(path) == entry.path)
    }
}

impl<'a> RetainedMessages<'a> {
    pub(crate) fn new(
        shared: &'a Shared,
        filter: &RetainedFilter,
    ) -> Result<RetainedMessages<'a>, ReadError> {
        let from = filter.since.map_or(0, seconds);
        let to = filter.until.map_or(u64::MAX, seconds);
        let entries = attempt(|| heads(shared, filter, from, to)).map_err(|e| shared.index_failed(e))?;
        Ok(RetainedMessages { shared, all: filter.all, entries, current: None, known: HashMap::new() })
    }

    /// Rows of the next entry, in falling order of UIDs, those left out that are not wanted.
    fn load(&mut self, entry: &Arc<Retained>, whole: bool) -> Result<(Arc<Retained>, Vec<Row>), ReadError> {
        let entry = if whole {
            entry.clone()
        } else {
            let found = attempt(|| self.shared.world.retained(&entry.id));
            match found.map_err(|e| self.shared.index_failed(e))? {
                Some(loaded) => loaded,
                // Brought back or forgotten meanwhile.
                None => return Ok((entry.clone(), Vec::new())),
            }
        };
        let mut rows: Vec<Row> = entry.rows().collect();
        if !self.all {
            let known = match self.known.entry(entry.account) {
                std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
                std::collections::hash_map::Entry::Vacant(free) => {
                    free.insert(living(self.shared, entry.account)?)
                }
            };
            rows.retain(|row| known.insert(row.content));
        }
        Ok((entry, rows))
    }
}

impl Iterator for RetainedMessages<'_> {
    type Item = Result<RetainedMessage, ReadError>;
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((from, rows)) = &mut self.current
                && let Some(row) = rows.pop()
            {
                return Some(Ok(RetainedMessage { from: from.clone(), row }));
            }
            let (entry, whole) = self.entries.pop()?;
            match self.load(&entry, whole) {
                Ok(loaded) => self.current = Some(loaded),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

fn attempt<T>(read: impl Fn() -> Result<T, IndexError>) -> Result<T, IndexError> {
    let mut tries = 1;
    loop {
        match read() {
            Err(_) if tries < TRIES => tries += 1,
            done => return done,
        }
    }
}

/// Entries in a stretch of time, oldest first, each with whether it has its rows.
fn heads(
    shared: &Shared,
    filter: &RetainedFilter,
    from: u64,
    to: u64,
) -> Result<Vec<(Arc<Retained>, bool)>, IndexError> {
    let mut found: BTreeMap<RetainedId, Option<(Arc<Retained>, bool)>> = BTreeMap::new();
    let mut forgotten = 0;
    {
        let published = shared.world.read();
        // Upper layers first: what they say counts.
        for layer in [&published.dirty.retained, &*published.retained_in_flight] {
            for (id, change) in &layer.entries {
                if (from..to).contains(&id.time) && id.time >= forgotten {
                    found.entry(*id).or_insert_with(|| change.now().map(|entry| (entry.clone(), true)));
                }
            }
            forgotten = forgotten.max(layer.forgotten);
        }
    }
    let index = shared.world.index().ok_or(IndexError::Closed)?;
    for entry in keys::retained_heads(&**index, from.max(forgotten), to)? {
        found.entry(entry.id).or_insert_with(|| Some((Arc::new(entry), false)));
    }
    Ok(found.into_values().flatten().filter(|(entry, _)| filter.takes(entry)).collect())
}

/// What every row of an account's mailboxes is.
fn living(shared: &Shared, account: AccountId) -> Result<HashSet<Location>, ReadError> {
    let directory = shared.world.read().directory.clone();
    let mut known = HashSet::new();
    for info in directory.mailboxes_of(account) {
        let mailbox = shared.world.resident(info.id).map_err(|e| shared.index_failed(e))?;
        let table: Option<&Table> = mailbox.as_ref().and_then(|m| m.rows.as_ref()).map(|rows| &rows.table);
        known.extend(table.into_iter().flat_map(Table::rows).map(|row| row.content));
    }
    Ok(known)
}
