//! What readers hold: a mailbox as it was at one moment, and what happened since another.

use wire::flag::Keyword;
use wire::ids::{ModSeq, Runs, Uid, UidValidity};

use super::block::Row;
use super::mailbox::{Head, Mailbox, Rows};
use crate::id::MailboxId;

/// A mailbox as it was at one moment. Cheap to clone; it stays as it is however the mailbox changes.
#[derive(Clone, Debug)]
pub struct View {
    pub(crate) id: MailboxId,
    pub(crate) head: Head,
    pub(crate) rows: Rows,
}

/// What happened to a mailbox after a mod-sequence.
#[derive(Clone, Debug)]
pub struct Changes {
    /// Rows new or changed, as they are now, in the order of UIDs.
    pub rows: Vec<Row>,
    /// UIDs that were removed (some of which the asker may never have known).
    pub vanished: Runs,
    /// Whether `vanished` is all of them. If not, every UID that the asker knows and that is not in `view` is gone
    /// (RFC 7162 s.3.2.6).
    pub vanished_complete: bool,
    /// The mod-sequence up to which this tells everything.
    pub upto: ModSeq,
    /// The mailbox at that point.
    pub view: View,
}

impl View {
    /// Of a mailbox whose rows are in memory.
    pub(crate) fn of(mailbox: &Mailbox) -> View {
        View { id: mailbox.id, head: mailbox.head, rows: mailbox.rows.clone().unwrap_or_default() }
    }

    /// What happened after a mod-sequence.
    pub(crate) fn changes_since(self, since: ModSeq) -> Changes {
        let upto = self.head.highest_modseq;
        if since >= upto {
            return Changes {
                rows: Vec::new(),
                vanished: Runs::default(),
                vanished_complete: true,
                upto,
                view: self,
            };
        }
        let rows = self.rows_since(since).collect();
        let (vanished, vanished_complete) = self.rows.vanished.since(since);
        Changes { rows, vanished, vanished_complete, upto, view: self }
    }

    /// Which mailbox.
    #[must_use]
    pub fn id(&self) -> MailboxId {
        self.id
    }
    /// Counts and numbers.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }
    /// How many messages.
    #[must_use]
    pub fn exists(&self) -> u32 {
        self.head.exists
    }
    /// RFC 3501 s.2.3.1.1.
    #[must_use]
    pub fn uid_validity(&self) -> UidValidity {
        self.head.uid_validity
    }
    /// The next message's UID; `None` when they are used up.
    #[must_use]
    pub fn uid_next(&self) -> Option<Uid> {
        self.head.uid_next
    }
    /// RFC 7162 s.3.1.2.
    #[must_use]
    pub fn highest_modseq(&self) -> ModSeq {
        self.head.highest_modseq
    }
    /// The keywords that this mailbox has names for; a row's bit n means the n-th.
    #[must_use]
    pub fn keywords(&self) -> &[Keyword] {
        &self.rows.keywords
    }
    /// The bit of a keyword, if the mailbox has a name for it.
    #[must_use]
    pub fn keyword_bit(&self, keyword: &Keyword) -> Option<u32> {
        self.rows.keywords.iter().position(|k| k == keyword).and_then(|i| u32::try_from(i).ok())
    }
    /// A row's keywords.
    pub fn keywords_of(&self, row: &Row) -> impl Iterator<Item = &Keyword> {
        let set = row.keywords;
        self.rows.keywords.iter().enumerate().filter_map(move |(i, k)| (set >> i & 1 == 1).then_some(k))
    }
    /// The message with a UID.
    #[must_use]
    pub fn row(&self, uid: Uid) -> Option<Row> {
        self.rows.table.row(uid.get())
    }
    /// The message at a position; the first is 0.
    #[must_use]
    pub fn at(&self, position: u32) -> Option<Row> {
        self.rows.table.at(position)
    }
    /// The position of a UID; the first is 0.
    #[must_use]
    pub fn position(&self, uid: Uid) -> Option<u32> {
        self.rows.table.position(uid.get())
    }
    /// All messages, in the order of UIDs.
    pub fn rows(&self) -> impl Iterator<Item = Row> + '_ {
        self.rows.table.rows()
    }
    /// Those messages whose UIDs are in a set: O(log n) a run, and then as many as there are.
    pub fn rows_in<'a>(&'a self, uids: &'a Runs) -> impl Iterator<Item = Row> + 'a {
        uids.as_slice().iter().flat_map(|&(from, to)| self.rows.table.rows_between(from, to))
    }
    /// Messages changed after a mod-sequence: blocks without any are passed over.
    pub fn rows_since(&self, since: ModSeq) -> impl Iterator<Item = Row> + '_ {
        self.rows.table.rows_since(since.0)
    }
    /// The last message's UID.
    #[must_use]
    pub fn last_uid(&self) -> Option<Uid> {
        self.rows.table.last_uid()
    }
}
