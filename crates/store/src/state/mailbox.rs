//! A mailbox as the log has made it, and the steps by which a record changes it.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use wire::flag::{Keyword, SystemFlag, SystemFlags};
use wire::ids::{ModSeq, Runs, Uid, UidValidity};

use super::block::Row;
use super::table::{Edit, Table};
use super::vanished::Vanished;
use crate::id::MailboxId;

/// Counts and numbers of a mailbox: always in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// RFC 3501 s.2.3.1.1.
    pub uid_validity: UidValidity,
    /// The UID that the next message gets; `None` when they are used up.
    pub uid_next: Option<Uid>,
    /// The commit that last changed anything in it (RFC 7162 s.3.1.2).
    pub highest_modseq: ModSeq,
    /// Messages.
    pub exists: u32,
    /// Messages without `\Seen`.
    pub unseen: u32,
    /// Messages with `\Deleted`.
    pub deleted: u32,
    /// The sum of RFC822.SIZE.
    pub octets: u64,
    /// The sum of all UIDs, wrapping: holds the index against the log.
    pub(crate) uid_sum: u64,
}

/// What is loaded from the index when a mailbox is first looked into.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rows {
    pub(crate) table: Table,
    pub(crate) keywords: Arc<Vec<Keyword>>,
    pub(crate) vanished: Vanished,
    /// When anybody last wanted them, in steps of the applier.
    pub(crate) used: Arc<AtomicU64>,
}

/// Rows that were taken away, and what their keywords' bits mean.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    pub(crate) rows: Table,
    pub(crate) keywords: Arc<Vec<Keyword>>,
}

/// A mailbox. Without rows its head is right all the same: they are in the index, unchanged.
#[derive(Clone, Debug)]
pub(crate) struct Mailbox {
    pub(crate) id: MailboxId,
    pub(crate) head: Head,
    pub(crate) rows: Option<Rows>,
}

impl Head {
    /// Of a mailbox without messages.
    pub(crate) fn new(uid_validity: UidValidity, at: ModSeq) -> Head {
        Head {
            uid_validity,
            uid_next: Some(Uid::FIRST),
            highest_modseq: at,
            exists: 0,
            unseen: 0,
            deleted: 0,
            octets: 0,
            uid_sum: 0,
        }
    }

    fn count(&mut self, row: &Row) {
        self.exists = self.exists.saturating_add(1);
        self.octets = self.octets.saturating_add(u64::from(row.size));
        self.uid_sum = self.uid_sum.wrapping_add(u64::from(row.uid.get()));
        self.unseen += u32::from(!row.flags.has(SystemFlag::Seen));
        self.deleted += u32::from(row.flags.has(SystemFlag::Deleted));
    }

    fn uncount(&mut self, row: &Row) {
        self.exists = self.exists.saturating_sub(1);
        self.octets = self.octets.saturating_sub(u64::from(row.size));
        self.uid_sum = self.uid_sum.wrapping_sub(u64::from(row.uid.get()));
        self.unseen = self.unseen.saturating_sub(u32::from(!row.flags.has(SystemFlag::Seen)));
        self.deleted = self.deleted.saturating_sub(u32::from(row.flags.has(SystemFlag::Deleted)));
    }

    /// Whether rows loaded from the index are those that this head counts.
    pub(crate) fn agrees(&self, table: &Table) -> bool {
        let mut tally = Tally::new(self);
        table.rows().for_each(|row| tally.add(&row));
        tally.agrees()
    }
}

/// Rows counted as they come by, to be held against their mailbox's head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tally {
    head: Head,
    counted: Head,
    last: Option<Uid>,
    rising: bool,
}

impl Tally {
    /// Of the mailbox with this head.
    pub(crate) fn new(head: &Head) -> Tally {
        let counted = Head { uid_next: head.uid_next, ..Head::new(head.uid_validity, head.highest_modseq) };
        Tally { head: *head, counted, last: None, rising: true }
    }

    /// The next row.
    pub(crate) fn add(&mut self, row: &Row) {
        self.rising &= self.last < Some(row.uid);
        self.last = Some(row.uid);
        self.counted.count(row);
    }

    /// Whether these were all, each once.
    pub(crate) fn agrees(&self) -> bool {
        self.rising && self.counted == self.head && self.last < self.head.uid_next.or(Uid::new(u32::MAX))
    }
}

impl Mailbox {
    pub(crate) fn new(id: MailboxId, uid_validity: UidValidity, at: ModSeq) -> Mailbox {
        Mailbox { id, head: Head::new(uid_validity, at), rows: Some(Rows::default()) }
    }

    fn rows_mut(&mut self) -> &mut Rows {
        debug_assert!(self.rows.is_some(), "a mailbox is loaded before it changes");
        self.rows.get_or_insert_default()
    }

    /// Adds rows above all there are; others (which only a damaged log can hold) are passed over.
    pub(crate) fn append(&mut self, rows: &[Row], at: ModSeq) {
        let mut last = self.rows_mut().table.last_uid().map_or(0, Uid::get);
        let mut rising = |row: &&Row| {
            let rises = row.uid.get() > last;
            last = last.max(row.uid.get());
            rises
        };
        let rows: Vec<Row> = rows.iter().filter(|row| rising(row)).copied().collect();
        self.rows_mut().table.append(&rows);
        for row in &rows {
            self.head.count(row);
        }
        if let Some(last) = rows.last()
            && self.head.uid_next.is_some_and(|next| next <= last.uid)
        {
            self.head.uid_next = last.uid.next();
        }
        self.head.highest_modseq = at;
    }

    /// Gives messages other flags.
    pub(crate) fn set_flags(&mut self, flags: SystemFlags, keywords: u128, uids: &Runs, at: ModSeq) -> usize {
        let mut head = self.head;
        let changed = self.rows_mut().table.edit(uids.as_slice(), |row| {
            let new = Row { flags, keywords, modseq: at, ..*row };
            head.uncount(row);
            head.count(&new);
            Edit::Put(new)
        });
        self.head = Head { highest_modseq: at, ..head };
        changed
    }

    /// Removes messages. Says how many blocks are new, and what was removed.
    pub(crate) fn expunge(&mut self, uids: &Runs, at: ModSeq) -> (usize, Taken) {
        let mut head = self.head;
        let mut removed = Vec::new();
        let rows = self.rows_mut();
        let changed = rows.table.edit(uids.as_slice(), |row| {
            head.uncount(row);
            removed.push(*row);
            Edit::Remove
        });
        rows.vanished.add(at, uids);
        let taken = Taken { rows: Table::of(&removed), keywords: rows.keywords.clone() };
        self.head = Head { highest_modseq: at, ..head };
        (changed, taken)
    }

    /// Everything, as it is taken away with the mailbox.
    pub(crate) fn into_taken(self) -> Taken {
        let rows = self.rows.unwrap_or_default();
        Taken { rows: rows.table, keywords: rows.keywords }
    }

    /// Gives it another UIDVALIDITY and the UID to go on with. What vanished under the old one is nobody's concern.
    pub(crate) fn renew(&mut self, uid_validity: UidValidity, uid_next: Option<Uid>, at: ModSeq) {
        let rows = self.rows_mut();
        rows.vanished.forget(at);
        // Names of keywords may be among what was lost: their bits must not become another keyword's.
        let used = rows.table.rows().fold(0u128, |all, row| all | row.keywords);
        if let Some(bit) = u8::try_from(128 - used.leading_zeros()).ok().and_then(|n| n.checked_sub(1)) {
            self.name_lost_keywords(usize::from(bit) + 1);
        }
        self.head = Head { uid_validity, uid_next, highest_modseq: at, ..self.head };
    }

    /// Sees to it that so many keyword bits have names.
    fn name_lost_keywords(&mut self, bits: usize) {
        let rows = self.rows_mut();
        if rows.keywords.len() >= bits {
            return;
        }
        let keywords = Arc::make_mut(&mut rows.keywords);
        while keywords.len() < bits {
            let Some(lost) = Keyword::parse(format!("$Lost{}", keywords.len()).as_bytes()) else { return };
            keywords.push(lost);
        }
    }

    /// Names the next keyword bit. A number that is not the next comes only from a damaged log: the bits between get
    /// names that no client can have given.
    pub(crate) fn name_keyword(&mut self, bit: u8, keyword: Keyword) {
        let bit = usize::from(bit);
        self.name_lost_keywords(bit);
        let keywords = Arc::make_mut(&mut self.rows_mut().keywords);
        match keywords.get_mut(bit) {
            Some(there) => *there = keyword,
            None => keywords.push(keyword),
        }
    }
}
