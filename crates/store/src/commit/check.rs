//! From intents to records: preconditions are checked against what the log will say, and results are written down.
//!
//! Each record is applied to the draft as soon as it is made, so that the next intent sees it.

use std::collections::BTreeMap;

use wire::flag::{FlagNames, Keyword, SystemFlag, SystemFlags};
use wire::ids::{ModSeq, Runs, Uid};

use super::builder::Builder;
use crate::id::{AccountId, InternalDate, Location, MailboxId, UnixTime};
use crate::index::IndexError;
use crate::intent::{BodyRef, FlagChange, Intent, Outcome, Prefix, Refused};
use crate::record::{Delivery, Record};
use crate::side;
use crate::spool::{Body, Spooled};
use crate::state::block::Row;
use crate::state::draft::Draft;
use crate::state::mailbox::{Mailbox, Rows};
use crate::state::usage::{Quota, Usage};

/// Octets that may stand before a body.
pub(super) const PREFIX: usize = 4 << 20;

/// Why a batch stops.
#[derive(Debug)]
pub(crate) enum Stop {
    /// A precondition does not hold.
    Refused(Refused),
    /// A mailbox's rows could not be loaded.
    Index(IndexError),
}

impl From<Refused> for Stop {
    fn from(refused: Refused) -> Stop {
        Stop::Refused(refused)
    }
}
impl From<IndexError> for Stop {
    fn from(error: IndexError) -> Stop {
        Stop::Index(error)
    }
}

/// Rows that come into a mailbox.
#[derive(Debug, Default)]
pub(super) struct Arrived {
    pub(super) placed: Vec<Row>,
    /// UIDs that they had...
    pub(super) old: Runs,
    /// ...and those that they get.
    pub(super) new: Runs,
}

/// Checks one batch.
#[derive(Debug)]
pub(crate) struct Check<'a, 'w> {
    pub(crate) draft: &'a mut Draft<'w>,
    pub(crate) builder: &'a mut Builder,
    pub(crate) bodies: &'a [Spooled],
    /// Where each body lies, once it is in the group.
    pub(crate) placed: Vec<Option<Location>>,
    /// Deliveries of bodies in memory, for their digests.
    pub(crate) delivered: Vec<(Location, BodyRef, Prefix)>,
    /// Which request of the group this is.
    pub(crate) request: usize,
    pub(crate) commit: ModSeq,
    /// The group's time, which never goes back: what is given up is decided by it.
    pub(crate) now: UnixTime,
    /// What the clock shows: what people see of a message's time. After a clock was once far ahead, it is less.
    pub(crate) wall: UnixTime,
    /// The clock cannot be believed: nothing is given up.
    pub(crate) frozen: bool,
    /// What is appended was accepted before: no quota refuses it.
    pub(crate) accepted: bool,
    /// Whether anything was recorded.
    pub(crate) records: bool,
}

impl Check<'_, '_> {
    pub(crate) fn emit(&mut self, record: &Record) -> Result<Location, IndexError> {
        self.begin();
        let at = self.builder.record(record);
        self.draft.apply(record, self.commit, at)?;
        Ok(at)
    }

    /// Before a commit's first record stands its number.
    fn begin(&mut self) {
        if !self.records {
            self.records = true;
            self.builder.record(&Record::Commit { number: self.commit });
        }
    }

    pub(crate) fn save_date(&self) -> u32 {
        u32::try_from(self.wall.secs.max(0)).unwrap_or(u32::MAX)
    }

    /// Does one intent.
    pub(crate) fn intent(&mut self, intent: &Intent) -> Result<Outcome, Stop> {
        match intent {
            Intent::Append { mailbox, body, prefix, flags, date } => {
                self.append(*mailbox, *body, prefix, flags, *date)
            }
            Intent::Flags { mailbox, uids, change, unchanged_since } => {
                self.flags(*mailbox, uids, change, *unchanged_since)
            }
            Intent::Expunge { mailbox, uids, only_deleted } => self.expunge(*mailbox, uids, *only_deleted),
            Intent::Copy { from, uids, to } => self.copy(*from, uids, *to, false),
            Intent::Move { from, uids, to } => self.copy(*from, uids, *to, true),
            Intent::Undelete { from, uids, to } => self.undelete(*from, uids, to),
            Intent::Keep { book, key, body, prefix, value } => self.keep(*book, key, *body, prefix, value),
            Intent::Write { book, key, value } => self.write(*book, key, value),
            Intent::Strike { book, key } => self.strike(*book, key),
            other => self.directory_intent(other),
        }
    }

    /// Gives up side segments that no living message names.
    pub(crate) fn drop_sides(&mut self, numbers: &[u32]) -> Result<Outcome, Stop> {
        for &number in numbers {
            self.emit(&Record::SideGone { number })?;
        }
        Ok(Outcome::Done)
    }

    pub(super) fn mailbox(&self, id: MailboxId) -> Result<(Mailbox, Rows), Stop> {
        let mut mailbox = self.draft.mailbox(id)?.ok_or(Refused::NoSuchMailbox)?;
        let rows = mailbox.rows.take().unwrap_or_default();
        Ok((mailbox, rows))
    }

    /// The mailbox's account and name, as deliveries record them.
    pub(super) fn whereabouts(&self, id: MailboxId) -> Result<(AccountId, String), Stop> {
        let info = self.draft.directory().mailbox(id).ok_or(Refused::NoSuchMailbox)?;
        Ok((info.account, info.path.clone()))
    }

    pub(super) fn place_body(&mut self, body: BodyRef) -> Result<Location, Stop> {
        let spooled = self.bodies.get(body.0).ok_or(Refused::BadBatch)?;
        if let Some(Some(at)) = self.placed.get(body.0) {
            return Ok(*at);
        }
        let at = match &spooled.body {
            Body::Memory { octets, crcs, .. } => {
                self.begin();
                self.builder.body((self.request, body.0), octets.len(), crcs)
            }
            Body::Side(side) => {
                self.emit(&Record::Side { number: side.number, octets: side.octets })?;
                side::location(side.number)
            }
        };
        if let Some(slot) = self.placed.get_mut(body.0) {
            *slot = Some(at);
        }
        Ok(at)
    }

    fn append(
        &mut self,
        id: MailboxId,
        body: BodyRef,
        prefix: &Prefix,
        flags: &FlagNames,
        date: Option<InternalDate>,
    ) -> Result<Outcome, Stop> {
        let (mailbox, rows) = self.mailbox(id)?;
        let uid = mailbox.head.uid_next.ok_or(Refused::Limit("the mailbox's UIDs are used up"))?;
        let (account, path) = self.whereabouts(id)?;
        if prefix.octets.len() > PREFIX {
            return Err(Refused::Limit("the prefix is too long").into());
        }
        let octets = self.bodies.get(body.0).ok_or(Refused::BadBatch)?.len();
        let served = octets.checked_sub(u64::from(prefix.replaces)).ok_or(Refused::BadBatch)?;
        let size = u32::try_from(served + prefix.octets.len() as u64).map_err(|_| Refused::Limit("size"))?;
        if !self.accepted {
            self.within_quota(account, Usage { storage: u64::from(size), messages: 1 })?;
        }
        let keywords = self.keyword_bits(id, &rows, &flags.keywords)?;
        let at = self.place_body(body)?;
        let delivery = Delivery {
            body: at,
            replaces: prefix.replaces,
            account,
            mailbox: id,
            uid,
            flags: flags.system,
            keywords,
            size,
            date: date.unwrap_or(InternalDate { unix: self.wall.secs, zone_minutes: 0 }),
            save_date: self.save_date(),
            thread: None,
            path,
            prefix: prefix.octets.clone(),
        };
        let content = self.emit(&Record::Delivery(Box::new(delivery)))?;
        if at.segment == content.segment {
            self.delivered.push((content, body, prefix.clone()));
        }
        Ok(Outcome::Placed { mailbox: id, uid, uid_validity: mailbox.head.uid_validity })
    }

    /// Whether an account may hold so much more.
    pub(super) fn within_quota(&self, account: AccountId, more: Usage) -> Result<(), Refused> {
        let quota = self.draft.directory().account(account).map_or(Quota::default(), |a| a.quota);
        let allowed = quota.is_none() || quota.allows(self.draft.usage(account), more);
        if allowed { Ok(()) } else { Err(Refused::OverQuota) }
    }

    /// The bits of keywords in a mailbox; those that it has no name for get one.
    fn keyword_bits(&mut self, id: MailboxId, rows: &Rows, keywords: &[Keyword]) -> Result<u128, Stop> {
        let mut bits = 0;
        let mut next = rows.keywords.len();
        for keyword in keywords {
            let bit = match rows.keywords.iter().position(|k| k == keyword) {
                Some(bit) => bit,
                None if next < wire::limits::KEYWORDS_PER_MAILBOX => {
                    let bit = next as u8;
                    self.emit(&Record::Keyword { mailbox: id, bit, keyword: keyword.clone() })?;
                    next += 1;
                    usize::from(bit)
                }
                None => return Err(Refused::KeywordLimit.into()),
            };
            bits |= 1u128 << bit;
        }
        Ok(bits)
    }

    fn flags(
        &mut self,
        id: MailboxId,
        uids: &Runs,
        change: &FlagChange,
        unchanged_since: Option<ModSeq>,
    ) -> Result<Outcome, Stop> {
        let (_, rows) = self.mailbox(id)?;
        let view = in_runs(&rows, uids);
        let mut modified = Runs::default();
        let stale = |row: &Row| unchanged_since.is_some_and(|since| row.modseq > since);
        let (names, adds) = match change {
            FlagChange::Add(names) | FlagChange::Set(names) => (names, true),
            FlagChange::Remove(names) => (names, false),
        };
        let any = view.iter().any(|row| !stale(row));
        let keywords = if adds && any {
            self.keyword_bits(id, &rows, &names.keywords)?
        } else {
            let known = |k| rows.keywords.iter().position(|x| x == k);
            names.keywords.iter().filter_map(known).fold(0, |bits, bit| bits | 1u128 << bit)
        };
        let mut sets: BTreeMap<(u8, u128), Runs> = BTreeMap::new();
        let mut changed = Runs::default();
        for row in &view {
            let uid = row.uid.get();
            if stale(row) {
                modified.insert(uid);
                continue;
            }
            let (system, words) = match change {
                FlagChange::Add(_) => (row.flags.union(names.system), row.keywords | keywords),
                FlagChange::Remove(_) => (row.flags.without(names.system), row.keywords & !keywords),
                FlagChange::Set(_) => (names.system, keywords),
            };
            if (system, words) != (row.flags, row.keywords) {
                changed.insert(uid);
                sets.entry((system.bits(), words)).or_default().insert(uid);
            }
        }
        if !sets.is_empty() {
            let sets = sets.into_iter().map(|((f, k), runs)| (SystemFlags::from_bits(f), k, runs)).collect();
            self.emit(&Record::Flags { mailbox: id, sets })?;
        }
        Ok(Outcome::Flagged { changed, modified, modseq: self.commit })
    }

    fn expunge(&mut self, id: MailboxId, uids: &Runs, only_deleted: bool) -> Result<Outcome, Stop> {
        let (_, rows) = self.mailbox(id)?;
        let gone: Runs = in_runs(&rows, uids)
            .iter()
            .filter(|row| !only_deleted || row.flags.has(SystemFlag::Deleted))
            .map(|row| row.uid.get())
            .collect();
        if !gone.is_empty() {
            self.emit(&Record::Expunged { mailbox: id, uids: gone.clone() })?;
        }
        Ok(Outcome::Expunged(gone))
    }

    fn copy(&mut self, from: MailboxId, uids: &Runs, to: MailboxId, remove: bool) -> Result<Outcome, Stop> {
        let (_, source) = self.mailbox(from)?;
        let (target, there) = self.mailbox(to)?;
        let (account, path) = self.whereabouts(to)?;
        let rows = in_runs(&source, uids);
        // A move within the account takes up no more room, and nothing takes up none.
        let more = !remove || self.whereabouts(from)?.0 != account;
        if more && !rows.is_empty() {
            self.within_quota(account, Usage::of(rows.iter().map(|row| row.size)))?;
        }
        let Arrived { placed, old, new } = self.arrive(&rows, &source.keywords, to, &target, &there)?;
        if !placed.is_empty() {
            self.emit(&Record::Placed { account, mailbox: to, path, rows: placed })?;
            if remove {
                self.emit(&Record::Expunged { mailbox: from, uids: old.clone() })?;
            }
        }
        Ok(Outcome::Copied { uid_validity: target.head.uid_validity, from: old, to: new })
    }

    /// Rows that were somewhere else as they come into a mailbox: the same messages with UIDs, keywords and dates of it.
    pub(super) fn arrive(
        &mut self,
        rows: &[Row],
        keywords: &[Keyword],
        to: MailboxId,
        target: &Mailbox,
        there: &Rows,
    ) -> Result<Arrived, Stop> {
        let bits = self.map_keywords(keywords, to, there, rows)?;
        let mut next = target.head.uid_next;
        let mut arrived = Arrived::default();
        for row in rows {
            let uid = next.ok_or(Refused::Limit("the mailbox's UIDs are used up"))?;
            next = uid.next();
            arrived.old.insert(row.uid.get());
            arrived.new.insert(uid.get());
            let (modseq, keywords) = (self.commit, mapped(row.keywords, &bits));
            arrived.placed.push(Row { uid, modseq, keywords, save_date: self.save_date(), ..*row });
        }
        Ok(arrived)
    }

    /// Which bit of one mailbox is which of the other, for those in use. Keywords for which the other has no room are
    /// lost (RFC 3501 s.6.4.7: flags SHOULD be kept); refusing the copy would help nobody.
    fn map_keywords(
        &mut self,
        source: &[Keyword],
        to: MailboxId,
        there: &Rows,
        rows: &[Row],
    ) -> Result<Vec<(usize, usize)>, Stop> {
        let used = rows.iter().fold(0u128, |all, row| all | row.keywords);
        let mut next = there.keywords.len();
        let mut bits = Vec::new();
        for (bit, keyword) in source.iter().enumerate().filter(|&(bit, _)| used >> bit & 1 == 1) {
            if let Some(known) = there.keywords.iter().position(|k| k == keyword) {
                bits.push((bit, known));
            } else if next < wire::limits::KEYWORDS_PER_MAILBOX {
                self.emit(&Record::Keyword { mailbox: to, bit: next as u8, keyword: keyword.clone() })?;
                bits.push((bit, next));
                next += 1;
            }
        }
        Ok(bits)
    }
}

/// A keyword set of one mailbox as one of another.
fn mapped(keywords: u128, bits: &[(usize, usize)]) -> u128 {
    bits.iter().filter(|&&(b, _)| keywords >> b & 1 == 1).fold(0, |k, &(_, b)| k | 1 << b)
}

fn in_runs(rows: &Rows, uids: &Runs) -> Vec<Row> {
    let mut found = Vec::new();
    for &(from, to) in uids.as_slice() {
        found.extend(rows.table.rows_between(from, to));
    }
    debug_assert!(found.is_sorted_by_key(|r: &Row| r.uid.max(Uid::FIRST)), "runs are sorted");
    found
}
