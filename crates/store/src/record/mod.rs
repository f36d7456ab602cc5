//! Records: what a commit is made of in the log. Pure encoding and decoding.
//!
//! Every record begins on an 8-octet border of its segment with a header of 24 octets, little-endian:
//!
//! ```text
//! 0 magic "PfRc" · 4 kind u16 · 6 version u8 · 7 bits u8 (1: critical) · 8 meta length u32 · 12 data length u32
//! 16 crc32c of the meta · 20 crc32c of the 20 octets before
//! ```
//!
//! then the meta, padded with zeros to 8, then the data, padded too. Only bodies have data; their meta is a crc32c for
//! each 64 KiB of it. A reader passes over unknown kinds and versions that are not critical, and refuses the store on
//! one that is. Records hold results: a replay decides nothing.

mod meta;

pub(crate) use meta::{decode_quota, encode_quota, read_placement, special_use};

use wire::flag::{Keyword, SpecialUse, SystemFlags};
use wire::ids::{ModSeq, Runs, Uid, UidValidity};

use crate::codec::{Put, Take, pad8};
use crate::id::{AccountId, InternalDate, Location, MailboxId, ThreadId};
use crate::state::block::Row;
use crate::state::book::Content;
use crate::state::retained::RetainedId;
use crate::state::usage::Quota;
use crate::state::world::Counters;

/// Octets of a record's header.
pub(crate) const HEADER: usize = 24;
/// A body's octets are checked in pieces of this size.
pub(crate) const PIECE: usize = 64 * 1024;
const MAGIC: u32 = u32::from_le_bytes(*b"PfRc");
const CRITICAL: u8 = 1;

/// Kinds of records.
pub(crate) mod kind {
    pub(crate) const COMMIT: u16 = 1;
    pub(crate) const BODY: u16 = 2;
    pub(crate) const DELIVERY: u16 = 3;
    pub(crate) const PLACED: u16 = 4;
    pub(crate) const FLAGS: u16 = 5;
    pub(crate) const EXPUNGED: u16 = 6;
    pub(crate) const KEYWORD: u16 = 7;
    pub(crate) const SIDE: u16 = 8;
    pub(crate) const EPOCH: u16 = 9;
    pub(crate) const UNDELETED: u16 = 10;
    pub(crate) const FORGOTTEN: u16 = 11;
    pub(crate) const SIDE_GONE: u16 = 12;
    pub(crate) const MAILBOX: u16 = 16;
    pub(crate) const MAILBOX_GONE: u16 = 17;
    pub(crate) const MAILBOX_PATH: u16 = 18;
    pub(crate) const SUBSCRIBED: u16 = 19;
    // In snapshots only (`crate::snapshot`).
    pub(crate) const HEAD: u16 = 24;
    pub(crate) const ROWS: u16 = 25;
    pub(crate) const VANISHED: u16 = 26;
    pub(crate) const ENTRY: u16 = 27;
    pub(crate) const END: u16 = 31;
    pub(crate) const DOMAIN: u16 = 32;
    pub(crate) const DOMAIN_GONE: u16 = 33;
    pub(crate) const ACCOUNT: u16 = 34;
    pub(crate) const ACCOUNT_GONE: u16 = 35;
    pub(crate) const PASSWORD: u16 = 36;
    pub(crate) const ADDRESS: u16 = 37;
    pub(crate) const ADDRESS_GONE: u16 = 38;
    pub(crate) const ALIAS: u16 = 39;
    pub(crate) const ALIAS_GONE: u16 = 40;
    pub(crate) const QUOTA: u16 = 41;
    pub(crate) const KEPT: u16 = 48;
    pub(crate) const LINE: u16 = 49;
    pub(crate) const LINE_GONE: u16 = 50;
}

/// A message's arrival: which octets it is, and its row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delivery {
    /// The body's record, or a side segment.
    pub(crate) body: Location,
    /// Leading octets of the body that the prefix stands for.
    pub(crate) replaces: u32,
    pub(crate) account: AccountId,
    pub(crate) mailbox: MailboxId,
    pub(crate) uid: Uid,
    pub(crate) flags: SystemFlags,
    pub(crate) keywords: u128,
    pub(crate) size: u32,
    pub(crate) date: InternalDate,
    pub(crate) save_date: u32,
    /// `None`: it begins a conversation of its own.
    pub(crate) thread: Option<ThreadId>,
    /// Where it went, by name: for a salvage that has nothing else.
    pub(crate) path: String,
    pub(crate) prefix: Vec<u8>,
}

impl Delivery {
    /// Its row, once it is known where the record lies and which commit it belongs to.
    pub(crate) fn row(&self, at: Location, commit: ModSeq) -> Row {
        let own = u64::from(at.segment) << 32 | u64::from(at.ordinal);
        Row {
            uid: self.uid,
            modseq: commit,
            flags: self.flags,
            keywords: self.keywords,
            size: self.size,
            date: self.date,
            save_date: self.save_date,
            thread: self.thread.unwrap_or(ThreadId(own)),
            content: at,
        }
    }
}

/// A message that is in no mailbox: which octets it is, and the line of a book that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    /// The body's record, or a side segment.
    pub(crate) body: Location,
    /// Leading octets of the body that the prefix stands for.
    pub(crate) replaces: u32,
    pub(crate) size: u32,
    /// When it came, in seconds since 1970.
    pub(crate) time: i64,
    /// The line: for a salvage that has nothing else.
    pub(crate) name: Vec<u8>,
    pub(crate) prefix: Vec<u8>,
}

/// One step of what a commit did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    /// What follows belongs to this commit.
    Commit { number: ModSeq },
    /// A message arrived.
    Delivery(Box<Delivery>),
    /// Messages were copied into a mailbox. The rows' mod-sequence is the commit's.
    Placed { account: AccountId, mailbox: MailboxId, path: String, rows: Vec<Row> },
    /// Messages have these flags now.
    Flags { mailbox: MailboxId, sets: Vec<(SystemFlags, u128, Runs)> },
    /// Messages are gone.
    Expunged { mailbox: MailboxId, uids: Runs },
    /// A mailbox's next keyword bit has this name.
    Keyword { mailbox: MailboxId, bit: u8, keyword: Keyword },
    /// A side segment is part of the log.
    Side { number: u32, octets: u64 },
    /// A side segment is part of the log no longer: nothing names it.
    SideGone { number: u32 },
    /// Acknowledged groups were lost, or the store was restored: from here on every mailbox has another UIDVALIDITY and
    /// goes on with this UID (0: none left), and numbers are given out from these on. Nothing that was lost before it
    /// can be taken for something else.
    Epoch { tag: u32, counters: Counters, mailboxes: Vec<(MailboxId, UidValidity, u32)> },
    /// Messages that were expunged are back, or elsewhere: see the `Placed` before it.
    Undeleted { from: RetainedId, uids: Runs },
    /// What was expunged before this time (seconds since 1970) cannot be brought back any more.
    Forgotten { before: u64 },
    /// A mailbox is made.
    Mailbox {
        id: MailboxId,
        account: AccountId,
        path: String,
        uid_validity: UidValidity,
        special_use: Option<SpecialUse>,
    },
    /// A mailbox is gone with all in it.
    MailboxGone { id: MailboxId },
    /// A mailbox has another name.
    MailboxPath { id: MailboxId, path: String },
    /// A name is subscribed, or no longer.
    Subscribed { account: AccountId, path: String, on: bool },
    /// A domain is ours.
    Domain { name: String },
    /// ... no longer.
    DomainGone { name: String },
    /// An account is made.
    Account { id: AccountId, login: String, password: String, created: i64 },
    /// An account is gone with its addresses and mailboxes.
    AccountGone { id: AccountId },
    /// An account has another password.
    Password { id: AccountId, password: String, credentials: u64 },
    /// An account has an address.
    Address { account: AccountId, address: String },
    /// ... no longer.
    AddressGone { account: AccountId, address: String },
    /// An alias is made.
    Alias { address: String, to: Vec<String> },
    /// ... is gone.
    AliasGone { address: String },
    /// An account may hold so much.
    Quota { account: AccountId, quota: Quota },
    /// A message that is in no mailbox.
    Kept(Box<Kept>),
    /// A line of a book says this now.
    Line { name: Vec<u8>, content: Option<Content>, value: Vec<u8> },
    /// ... is gone.
    LineGone { name: Vec<u8> },
}

/// A record's header, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: u16,
    pub(crate) version: u8,
    pub(crate) critical: bool,
    pub(crate) meta_len: u32,
    pub(crate) data_len: u32,
    pub(crate) meta_crc: u32,
}

impl Header {
    /// The header at the front of `octets`; `None` if there is none that is whole.
    pub(crate) fn read(octets: &[u8]) -> Option<Header> {
        let whole = octets.get(..HEADER)?;
        let mut take = Take::new(whole);
        if take.u32()? != MAGIC {
            return None;
        }
        let header = Header {
            kind: take.u16()?,
            version: take.u8()?,
            critical: take.u8()? & CRITICAL != 0,
            meta_len: take.u32()?,
            data_len: take.u32()?,
            meta_crc: take.u32()?,
        };
        (take.u32()? == crc32c::crc32c(&whole[..HEADER - 4])).then_some(header)
    }
    /// From the record's start to its data.
    pub(crate) fn data_at(&self) -> u64 {
        HEADER as u64 + pad8(u64::from(self.meta_len))
    }
    /// From the record's start to the next one's.
    pub(crate) fn total(&self) -> u64 {
        self.data_at() + pad8(u64::from(self.data_len))
    }
    /// The meta of the record that `octets` begins with, if it is there and unharmed.
    pub(crate) fn meta<'a>(&self, octets: &'a [u8]) -> Option<&'a [u8]> {
        let meta = octets.get(HEADER..HEADER.checked_add(usize::try_from(self.meta_len).ok()?)?)?;
        (crc32c::crc32c(meta) == self.meta_crc).then_some(meta)
    }
}

/// Writes a record without data at the end of `to`, which must be on an 8-octet border.
pub(crate) fn frame(
    to: &mut Vec<u8>,
    kind: u16,
    critical: bool,
    data_len: u32,
    meta: impl FnOnce(&mut Vec<u8>),
) {
    let start = to.len();
    to.resize(start + HEADER, 0);
    meta(to);
    let meta_len = to.len() - start - HEADER;
    to.resize(start + pad8((HEADER + meta_len) as u64) as usize, 0);
    let meta_crc = crc32c::crc32c(&to[start + HEADER..start + HEADER + meta_len]);
    let header = &mut to[start..start + HEADER];
    header[0..4].copy_from_slice(&MAGIC.to_le_bytes());
    header[4..6].copy_from_slice(&kind.to_le_bytes());
    header[6] = 1;
    header[7] = if critical { CRITICAL } else { 0 };
    header[8..12].copy_from_slice(&(meta_len as u32).to_le_bytes());
    header[12..16].copy_from_slice(&data_len.to_le_bytes());
    header[16..20].copy_from_slice(&meta_crc.to_le_bytes());
    let crc = crc32c::crc32c(&header[..20]);
    header[20..24].copy_from_slice(&crc.to_le_bytes());
}

/// Writes all of a body's record that comes before its octets. They follow, and zeros up to the next 8-octet border.
pub(crate) fn encode_body(to: &mut Vec<u8>, octets: u32, crcs: &[u32]) {
    frame(to, kind::BODY, true, octets, |to| crcs.iter().for_each(|&crc| to.u32(crc)));
}

/// The CRCs of a body's pieces.
pub(crate) fn piece_crcs(octets: &[u8]) -> Vec<u32> {
    octets.chunks(PIECE).map(crc32c::crc32c).collect()
}

/// A body's CRCs as its meta has them; `None` if they are not one for each piece.
pub(crate) fn body_crcs(meta: &[u8], octets: u64) -> Option<Vec<u32>> {
    let mut take = Take::new(meta);
    let mut crcs = Vec::with_capacity(meta.len() / 4);
    while !take.is_empty() {
        crcs.push(take.u32()?);
    }
    (crcs.len() as u64 == octets.div_ceil(PIECE as u64)).then_some(crcs)
}

impl Record {
    /// Writes the record at the end of `to`, which must be on an 8-octet border.
    pub(crate) fn encode(&self, to: &mut Vec<u8>) {
        let kind = self.kind();
        frame(to, kind, true, 0, |to| self.encode_meta(to));
    }

    fn kind(&self) -> u16 {
        match self {
            Record::Commit { .. } => kind::COMMIT,
            Record::Delivery(_) => kind::DELIVERY,
            Record::Placed { .. } => kind::PLACED,
            Record::Flags { .. } => kind::FLAGS,
            Record::Expunged { .. } => kind::EXPUNGED,
            Record::Keyword { .. } => kind::KEYWORD,
            Record::Side { .. } => kind::SIDE,
            Record::SideGone { .. } => kind::SIDE_GONE,
            Record::Epoch { .. } => kind::EPOCH,
            Record::Undeleted { .. } => kind::UNDELETED,
            Record::Forgotten { .. } => kind::FORGOTTEN,
            Record::Mailbox { .. } => kind::MAILBOX,
            Record::MailboxGone { .. } => kind::MAILBOX_GONE,
            Record::MailboxPath { .. } => kind::MAILBOX_PATH,
            Record::Subscribed { .. } => kind::SUBSCRIBED,
            Record::Domain { .. } => kind::DOMAIN,
            Record::DomainGone { .. } => kind::DOMAIN_GONE,
            Record::Account { .. } => kind::ACCOUNT,
            Record::AccountGone { .. } => kind::ACCOUNT_GONE,
            Record::Password { .. } => kind::PASSWORD,
            Record::Address { .. } => kind::ADDRESS,
            Record::AddressGone { .. } => kind::ADDRESS_GONE,
            Record::Alias { .. } => kind::ALIAS,
            Record::AliasGone { .. } => kind::ALIAS_GONE,
            Record::Quota { .. } => kind::QUOTA,
            Record::Kept(_) => kind::KEPT,
            Record::Line { .. } => kind::LINE,
            Record::LineGone { .. } => kind::LINE_GONE,
        }
    }

    /// Reads a record's meta. `Ok(None)` for a body, and for what is unknown and not critical.
    pub(crate) fn decode(header: &Header, meta: &[u8]) -> Result<Option<Record>, Bad> {
        if header.kind == kind::BODY {
            return Ok(None);
        }
        if header.version != 1 || !known(header.kind) {
            return if header.critical { Err(Bad::Newer(header.kind, header.version)) } else { Ok(None) };
        }
        let mut take = Take::new(meta);
        let record = meta::decode_meta(header.kind, &mut take).ok_or(Bad::Damaged)?;
        if take.is_empty() { Ok(Some(record)) } else { Err(Bad::Damaged) }
    }
}

/// Why a record cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bad {
    /// Not what any version wrote.
    Damaged,
    /// Critical, of a kind or version that this program does not know.
    Newer(u16, u8),
}

fn known(kind: u16) -> bool {
    matches!(
        kind,
        kind::COMMIT..=kind::SIDE_GONE
            | kind::MAILBOX..=kind::SUBSCRIBED
            | kind::DOMAIN..=kind::QUOTA
            | kind::KEPT..=kind::LINE_GONE
    )
}

/// The records that `octets` is made of, one after another, each with its offset; ends at the first whose header is
/// not whole. What is inside a body is never looked at: it could be anything that a sender wrote.
pub(crate) fn walk(octets: &[u8]) -> impl Iterator<Item = (usize, Header, &[u8])> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = octets.get(at..)?;
        let header = Header::read(rest)?;
        let here = at;
        at = at.checked_add(usize::try_from(header.total()).ok()?)?;
        Some((here, header, rest))
    })
}

#[cfg(test)]
mod tests;
