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

use wire::flag::{Keyword, SpecialUse, SystemFlags};
use wire::ids::{ModSeq, Runs, Uid, UidValidity};

use crate::codec::{Put, Take, pad8};
use crate::id::{AccountId, InternalDate, Location, MailboxId, ThreadId};
use crate::state::block::{Block, Row};

/// Octets of a record's header.
pub(crate) const HEADER: usize = 24;
/// A body's octets are checked in pieces of this size.
pub(crate) const PIECE: usize = 64 * 1024;
const MAGIC: u32 = u32::from_le_bytes(*b"PfRc");
const CRITICAL: u8 = 1;

/// Kinds of records. Those of the queue (48 to 63) are reserved: they come with the delivery to other hosts, and point
/// at a body with a prefix as deliveries do.
pub(crate) mod kind {
    pub(crate) const COMMIT: u16 = 1;
    pub(crate) const BODY: u16 = 2;
    pub(crate) const DELIVERY: u16 = 3;
    pub(crate) const PLACED: u16 = 4;
    pub(crate) const FLAGS: u16 = 5;
    pub(crate) const EXPUNGED: u16 = 6;
    pub(crate) const KEYWORD: u16 = 7;
    pub(crate) const SIDE: u16 = 8;
    pub(crate) const MAILBOX: u16 = 16;
    pub(crate) const MAILBOX_GONE: u16 = 17;
    pub(crate) const MAILBOX_PATH: u16 = 18;
    pub(crate) const SUBSCRIBED: u16 = 19;
    pub(crate) const DOMAIN: u16 = 32;
    pub(crate) const DOMAIN_GONE: u16 = 33;
    pub(crate) const ACCOUNT: u16 = 34;
    pub(crate) const ACCOUNT_GONE: u16 = 35;
    pub(crate) const PASSWORD: u16 = 36;
    pub(crate) const ADDRESS: u16 = 37;
    pub(crate) const ADDRESS_GONE: u16 = 38;
    pub(crate) const ALIAS: u16 = 39;
    pub(crate) const ALIAS_GONE: u16 = 40;
    /// The first of the queue's reserved kinds.
    #[cfg(test)]
    pub(crate) const QUEUE: u16 = 48;
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
fn frame(to: &mut Vec<u8>, kind: u16, critical: bool, data_len: u32, meta: impl FnOnce(&mut Vec<u8>)) {
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
        }
    }

    fn encode_meta(&self, to: &mut Vec<u8>) {
        match self {
            Record::Commit { number } => to.u64(number.0),
            Record::Delivery(d) => encode_delivery(d, to),
            Record::Placed { account, mailbox, path, rows } => {
                to.u32(account.0);
                to.u32(mailbox.0);
                to.str(path);
                for rows in rows.chunks(crate::state::block::BLOCK_ROWS) {
                    to.bytes(Block::pack(rows).octets());
                }
            }
            Record::Flags { mailbox, sets } => {
                to.u32(mailbox.0);
                for (flags, keywords, uids) in sets {
                    to.u8(flags.bits());
                    to.u128(*keywords);
                    to.runs(uids);
                }
            }
            Record::Expunged { mailbox, uids } => {
                to.u32(mailbox.0);
                to.runs(uids);
            }
            Record::Keyword { mailbox, bit, keyword } => {
                to.u32(mailbox.0);
                to.u8(*bit);
                to.str(keyword.as_str());
            }
            Record::Side { number, octets } => {
                to.u32(*number);
                to.u64(*octets);
            }
            Record::Mailbox { id, account, path, uid_validity, special_use } => {
                to.u32(id.0);
                to.u32(account.0);
                to.str(path);
                to.u32(uid_validity.get());
                to.u8(special_use.map_or(0, |s| s as u8));
            }
            Record::MailboxGone { id } => to.u32(id.0),
            Record::MailboxPath { id, path } => {
                to.u32(id.0);
                to.str(path);
            }
            Record::Subscribed { account, path, on } => {
                to.u32(account.0);
                to.str(path);
                to.u8(u8::from(*on));
            }
            Record::Domain { name } | Record::DomainGone { name } => to.str(name),
            Record::Account { id, login, password, created } => {
                to.u32(id.0);
                to.str(login);
                to.str(password);
                to.i64(*created);
            }
            Record::AccountGone { id } => to.u32(id.0),
            Record::Password { id, password, credentials } => {
                to.u32(id.0);
                to.str(password);
                to.u64(*credentials);
            }
            Record::Address { account, address } | Record::AddressGone { account, address } => {
                to.u32(account.0);
                to.str(address);
            }
            Record::Alias { address, to: targets } => {
                to.str(address);
                targets.iter().for_each(|t| to.str(t));
            }
            Record::AliasGone { address } => to.str(address),
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
        let record = decode_meta(header.kind, &mut take).ok_or(Bad::Damaged)?;
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
        kind::COMMIT..=kind::SIDE | kind::MAILBOX..=kind::SUBSCRIBED | kind::DOMAIN..=kind::ALIAS_GONE
    )
}

fn encode_delivery(d: &Delivery, to: &mut Vec<u8>) {
    to.u32(d.body.segment);
    to.u32(d.body.ordinal);
    to.u32(d.replaces);
    to.u32(d.account.0);
    to.u32(d.mailbox.0);
    to.u32(d.uid.get());
    to.u8(d.flags.bits());
    to.u8(u8::from(d.thread.is_some()));
    to.i16(d.date.zone_minutes);
    to.u32(d.size);
    to.i64(d.date.unix);
    to.u32(d.save_date);
    to.u128(d.keywords);
    to.u64(d.thread.map_or(0, |t| t.0));
    to.str(&d.path);
    to.bytes(&d.prefix);
}

/// Octets of a delivery between what it replaces and its path.
const DELIVERY_FIXED: usize = 56;

/// What reading a message needs of its delivery: the body, what the prefix stands for, the prefix.
pub(crate) fn read_delivery(meta: &[u8]) -> Option<(Location, u32, &[u8])> {
    let mut take = Take::new(meta);
    let body = Location { segment: take.u32()?, ordinal: take.u32()? };
    let replaces = take.u32()?;
    take.slice(DELIVERY_FIXED)?;
    take.bytes()?;
    Some((body, replaces, take.bytes()?))
}

fn decode_delivery(take: &mut Take<'_>) -> Option<Record> {
    let body = Location { segment: take.u32()?, ordinal: take.u32()? };
    let replaces = take.u32()?;
    let account = AccountId(take.u32()?);
    let mailbox = MailboxId(take.u32()?);
    let uid = Uid::new(take.u32()?)?;
    let flags = flags(take.u8()?)?;
    let threaded = boolean(take.u8()?)?;
    let zone_minutes = take.i16()?;
    let size = take.u32()?;
    let date = InternalDate { unix: take.i64()?, zone_minutes };
    let save_date = take.u32()?;
    let keywords = take.u128()?;
    let thread = take.u64()?;
    if !threaded && thread != 0 {
        return None;
    }
    let thread = threaded.then_some(ThreadId(thread));
    let path = take.string()?;
    let prefix = take.bytes()?.to_vec();
    Some(Record::Delivery(Box::new(Delivery {
        body,
        replaces,
        account,
        mailbox,
        uid,
        flags,
        keywords,
        size,
        date,
        save_date,
        thread,
        path,
        prefix,
    })))
}

fn flags(bits: u8) -> Option<SystemFlags> {
    let flags = SystemFlags::from_bits(bits);
    (flags.bits() == bits).then_some(flags)
}

fn boolean(n: u8) -> Option<bool> {
    match n {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

/// A special use as its number; 0 is none, anything unknown is no number of ours.
pub(crate) fn special_use(n: u8) -> Option<Option<SpecialUse>> {
    match n {
        0 => Some(None),
        n => SpecialUse::ALL.into_iter().find(|&s| s as u8 == n).map(Some),
    }
}

fn decode_meta(kind: u16, take: &mut Take<'_>) -> Option<Record> {
    Some(match kind {
        kind::COMMIT => Record::Commit { number: ModSeq(take.u64()?) },
        kind::DELIVERY => decode_delivery(take)?,
        kind::PLACED => {
            let (account, mailbox, path) = (AccountId(take.u32()?), MailboxId(take.u32()?), take.string()?);
            let mut rows: Vec<Row> = Vec::new();
            while !take.is_empty() {
                rows.extend(Block::from_octets(take.bytes()?)?.rows());
            }
            if !rows.windows(2).all(|w| w[0].uid < w[1].uid) {
                return None;
            }
            Record::Placed { account, mailbox, path, rows }
        }
        kind::FLAGS => {
            let mailbox = MailboxId(take.u32()?);
            let mut sets = Vec::new();
            while !take.is_empty() {
                sets.push((flags(take.u8()?)?, take.u128()?, take.runs()?));
            }
            Record::Flags { mailbox, sets }
        }
        kind::EXPUNGED => Record::Expunged { mailbox: MailboxId(take.u32()?), uids: take.runs()? },
        kind::KEYWORD => Record::Keyword {
            mailbox: MailboxId(take.u32()?),
            bit: take.u8().filter(|&b| b < 128)?,
            keyword: Keyword::parse(take.bytes()?)?,
        },
        kind::SIDE => Record::Side { number: take.u32()?, octets: take.u64()? },
        kind::MAILBOX => Record::Mailbox {
            id: MailboxId(take.u32()?),
            account: AccountId(take.u32()?),
            path: take.string()?,
            uid_validity: UidValidity::new(take.u32()?)?,
            special_use: special_use(take.u8()?)?,
        },
        kind::MAILBOX_GONE => Record::MailboxGone { id: MailboxId(take.u32()?) },
        kind::MAILBOX_PATH => Record::MailboxPath { id: MailboxId(take.u32()?), path: take.string()? },
        kind::SUBSCRIBED => Record::Subscribed {
            account: AccountId(take.u32()?),
            path: take.string()?,
            on: boolean(take.u8()?)?,
        },
        kind::DOMAIN => Record::Domain { name: take.string()? },
        kind::DOMAIN_GONE => Record::DomainGone { name: take.string()? },
        kind::ACCOUNT => Record::Account {
            id: AccountId(take.u32()?),
            login: take.string()?,
            password: take.string()?,
            created: take.i64()?,
        },
        kind::ACCOUNT_GONE => Record::AccountGone { id: AccountId(take.u32()?) },
        kind::PASSWORD => Record::Password {
            id: AccountId(take.u32()?),
            password: take.string()?,
            credentials: take.u64()?,
        },
        kind::ADDRESS => Record::Address { account: AccountId(take.u32()?), address: take.string()? },
        kind::ADDRESS_GONE => {
            Record::AddressGone { account: AccountId(take.u32()?), address: take.string()? }
        }
        kind::ALIAS => {
            let address = take.string()?;
            let mut to = Vec::new();
            while !take.is_empty() {
                to.push(take.string()?);
            }
            Record::Alias { address, to }
        }
        kind::ALIAS_GONE => Record::AliasGone { address: take.string()? },
        _ => return None,
    })
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
#[path = "record_tests.rs"]
mod tests;
