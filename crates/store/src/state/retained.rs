//! What was expunged and can still be brought back: rows under the commit that took them away, and what has changed of
//! them since the index was last told.
//!
//! A message is octets in the log and a row. Expunging takes the row out of its mailbox; here it stays until the log says
//! that it is forgotten. Whether it may be forgotten is nobody's business here: replay decides nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use wire::flag::{Keyword, SpecialUse};
use wire::ids::{ModSeq, Runs};

use super::block::Row;
use super::table::{Edit, Table};
use crate::id::{AccountId, MailboxId, UnixTime};

/// Names what one commit took away from one mailbox, in the order of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RetainedId {
    /// The group's time, in seconds since 1970.
    pub(crate) time: u64,
    pub(crate) commit: ModSeq,
    pub(crate) mailbox: MailboxId,
}

impl RetainedId {
    /// When.
    #[must_use]
    pub fn at(&self) -> UnixTime {
        UnixTime { secs: i64::try_from(self.time).unwrap_or(i64::MAX), nanos: 0 }
    }
    /// By which commit.
    #[must_use]
    pub fn commit(&self) -> ModSeq {
        self.commit
    }
    /// From which mailbox, whether it is still there or not.
    #[must_use]
    pub fn mailbox(&self) -> MailboxId {
        self.mailbox
    }
}

/// Seconds of a group's time as they stand in a [`RetainedId`].
pub(crate) fn seconds(time: UnixTime) -> u64 {
    u64::try_from(time.secs).unwrap_or(0)
}

/// What one commit took away from one mailbox, as far as it was not brought back.
#[derive(Clone, Debug)]
pub struct Retained {
    /// Its name.
    pub id: RetainedId,
    /// Whose mailbox it was. The account may be gone too.
    pub account: AccountId,
    /// The mailbox's name at that moment.
    pub path: String,
    /// Whether the mailbox itself went with them.
    pub mailbox_gone: bool,
    /// The special use that went with it.
    pub special_use: Option<SpecialUse>,
    /// The keywords that the mailbox had names for; a row's bit n means the n-th.
    pub keywords: Arc<Vec<Keyword>>,
    pub(crate) rows: Table,
}

impl Retained {
    /// How many messages.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.rows.len()
    }
    /// Whether everything was brought back.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.len() == 0
    }
    /// The messages as they were in the mailbox, in the order of UIDs.
    pub fn rows(&self) -> impl Iterator<Item = Row> + '_ {
        self.rows.rows()
    }
    /// Those messages whose UIDs are in a set.
    pub fn rows_in<'a>(&'a self, uids: &'a Runs) -> impl Iterator<Item = Row> + 'a {
        uids.as_slice().iter().flat_map(|&(from, to)| self.rows.rows_between(from, to))
    }
    /// A row's keywords.
    pub fn keywords_of(&self, row: &Row) -> impl Iterator<Item = &Keyword> {
        let set = row.keywords;
        self.keywords.iter().enumerate().filter_map(move |(i, k)| (set >> i & 1 == 1).then_some(k))
    }

    /// The same commit took more from the same mailbox.
    pub(crate) fn join(&mut self, more: Retained) {
        let last = self.rows.last_uid();
        let added: Vec<Row> = more.rows.rows().collect();
        if added.first().is_some_and(|row| last < Some(row.uid)) {
            self.rows.append(&added);
        } else {
            let mut all: BTreeMap<_, Row> = self.rows.rows().map(|row| (row.uid, row)).collect();
            all.extend(added.into_iter().map(|row| (row.uid, row)));
            self.rows = Table::of(&all.into_values().collect::<Vec<_>>());
        }
        *self = Retained { rows: std::mem::take(&mut self.rows), ..more };
    }

    /// Takes out what was brought back.
    pub(crate) fn take(&mut self, uids: &Runs) {
        self.rows.edit(uids.as_slice(), |_| Edit::Remove);
    }
}

/// One entry, as it is newer than what lies below.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// What lies below has never heard of it.
    New(Arc<Retained>),
    /// It is otherwise below; `None`: nothing is left of it.
    Changed(Option<Arc<Retained>>),
}

impl Change {
    pub(crate) fn now(&self) -> Option<&Arc<Retained>> {
        match self {
            Change::New(entry) => Some(entry),
            Change::Changed(entry) => entry.as_ref(),
        }
    }
}

/// What one layer knows of an entry.
#[derive(Debug)]
pub(crate) enum Known {
    /// This is how it is, or it is gone.
    Now(Option<Arc<Retained>>),
    /// Nothing: ask the layer below.
    Below,
}

/// Changes that lie over an older state: a batch over its group, a group over what is published, what is published over
/// the index. First everything below with a time before `forgotten` went; then came the entries.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recent {
    pub(crate) entries: BTreeMap<RetainedId, Change>,
    pub(crate) forgotten: u64,
}

impl Recent {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.forgotten == 0
    }

    pub(crate) fn get(&self, id: &RetainedId) -> Known {
        match self.entries.get(id) {
            Some(change) => Known::Now(change.now().cloned()),
            None if id.time < self.forgotten => Known::Now(None),
            None => Known::Below,
        }
    }

    /// Something was expunged just now.
    pub(crate) fn add(&mut self, entry: Retained) {
        let id = entry.id;
        let entry = match self.entries.remove(&id) {
            Some(Change::New(there)) => {
                let mut there = Arc::unwrap_or_clone(there);
                there.join(entry);
                there
            }
            _ => entry,
        };
        self.entries.insert(id, Change::New(Arc::new(entry)));
    }

    /// An entry is otherwise now; an empty one is gone.
    pub(crate) fn change(&mut self, entry: Retained) {
        let id = entry.id;
        let left = (!entry.is_empty()).then(|| Arc::new(entry));
        self.set(id, Change::Changed(left));
    }

    fn set(&mut self, id: RetainedId, change: Change) {
        let new = matches!(self.entries.get(&id), Some(Change::New(_)));
        match change {
            // Below it never was, so nothing has to be said of it.
            Change::Changed(None) if new => drop(self.entries.remove(&id)),
            Change::Changed(Some(entry)) if new => drop(self.entries.insert(id, Change::New(entry))),
            change => drop(self.entries.insert(id, change)),
        }
    }

    /// Everything with a time before this is gone.
    pub(crate) fn forget(&mut self, before: u64) {
        self.forgotten = self.forgotten.max(before);
        self.entries.retain(|id, _| id.time >= before);
    }

    /// Lays another layer over this one: both become one.
    pub(crate) fn lay(&mut self, over: Recent) {
        if over.forgotten > 0 {
            self.forget(over.forgotten);
        }
        for (id, change) in over.entries {
            self.set(id, change);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{InternalDate, Location, ThreadId};
    use wire::flag::SystemFlags;
    use wire::ids::Uid;

    fn id(time: u64, commit: u64) -> RetainedId {
        RetainedId { time, commit: ModSeq(commit), mailbox: MailboxId(3) }
    }

    fn entry(id: RetainedId, uids: &[u32]) -> Retained {
        let row = |&n: &u32| Row {
            uid: Uid::new(n).unwrap(),
            modseq: ModSeq(1),
            flags: SystemFlags::NONE,
            keywords: 0,
            size: 1,
            date: InternalDate::default(),
            save_date: 0,
            thread: ThreadId(1),
            content: Location { segment: 1, ordinal: n },
        };
        let rows: Vec<Row> = uids.iter().map(row).collect();
        Retained {
            id,
            account: AccountId(1),
            path: "INBOX".into(),
            mailbox_gone: false,
            special_use: None,
            keywords: Arc::default(),
            rows: Table::of(&rows),
        }
    }

    fn uids(recent: &Recent, id: RetainedId) -> Option<Vec<u32>> {
        match recent.get(&id) {
            Known::Now(Some(entry)) => Some(entry.rows().map(|row| row.uid.get()).collect()),
            _ => None,
        }
    }

    #[test]
    fn two_expunges_of_one_commit_are_one_entry() {
        let mut recent = Recent::default();
        recent.add(entry(id(5, 1), &[4, 6]));
        recent.add(entry(id(5, 1), &[7]));
        recent.add(Retained { mailbox_gone: true, ..entry(id(5, 1), &[5]) });
        assert_eq!(uids(&recent, id(5, 1)), Some(vec![4, 5, 6, 7]));
        assert!(recent.entries[&id(5, 1)].now().unwrap().mailbox_gone);
    }

    #[test]
    fn what_the_index_never_had_leaves_no_trace_and_what_it_has_does() {
        let mut recent = Recent::default();
        recent.add(entry(id(5, 1), &[4, 6]));
        recent.change(entry(id(5, 1), &[6]));
        assert!(matches!(recent.entries[&id(5, 1)], Change::New(_)));
        recent.change(entry(id(5, 1), &[]));
        assert!(recent.is_empty());
        recent.change(entry(id(4, 1), &[]));
        assert!(matches!(recent.get(&id(4, 1)), Known::Now(None)));
        assert!(matches!(recent.get(&id(4, 2)), Known::Below));
    }

    #[test]
    fn what_is_forgotten_is_gone_below_and_what_comes_later_is_not() {
        let mut lower = Recent::default();
        lower.add(entry(id(5, 1), &[1]));
        lower.add(entry(id(9, 2), &[2]));
        let mut over = Recent::default();
        over.forget(8);
        // In the same second, after it.
        over.add(entry(id(7, 3), &[3]));
        lower.lay(over);
        assert_eq!(uids(&lower, id(5, 1)), None);
        assert!(matches!(lower.get(&id(2, 9)), Known::Now(None)));
        assert_eq!(uids(&lower, id(7, 3)), Some(vec![3]));
        assert_eq!(uids(&lower, id(9, 2)), Some(vec![2]));
    }
}
