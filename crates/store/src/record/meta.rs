//! What records hold: the fields of each kind, written and read.

use wire::flag::{Keyword, SpecialUse, SystemFlags};
use wire::ids::{ModSeq, Uid, UidValidity};

use super::{Delivery, Kept, Record, kind};
use crate::codec::{Put, Take};
use crate::id::{AccountId, InternalDate, Location, MailboxId, ThreadId};
use crate::keys::{decode_content, encode_content};
use crate::state::block::{BLOCK_ROWS, Block, Row};
use crate::state::book;
use crate::state::retained::RetainedId;
use crate::state::usage::Quota;
use crate::state::world::Counters;

impl Record {
    pub(super) fn encode_meta(&self, to: &mut Vec<u8>) {
        match self {
            Record::Commit { number } => to.u64(number.0),
            Record::Delivery(d) => encode_delivery(d, to),
            Record::Placed { account, mailbox, path, rows } => {
                to.u32(account.0);
                to.u32(mailbox.0);
                to.str(path);
                for rows in rows.chunks(BLOCK_ROWS) {
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
            Record::SideGone { number } => to.u32(*number),
            Record::Epoch { tag, counters, mailboxes } => {
                to.u32(*tag);
                to.u32(counters.account);
                to.u32(counters.mailbox);
                to.u32(counters.uid_validity);
                for (id, uid_validity, uid_next) in mailboxes {
                    to.u32(id.0);
                    to.u32(uid_validity.get());
                    to.u32(*uid_next);
                }
            }
            Record::Undeleted { from, uids } => {
                to.u64(from.time);
                to.u64(from.commit.0);
                to.u32(from.mailbox.0);
                to.runs(uids);
            }
            Record::Forgotten { before } => to.u64(*before),
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
            Record::Quota { account, quota } => {
                to.u32(account.0);
                encode_quota(quota, to);
            }
            Record::Kept(k) => {
                to.u32(k.body.segment);
                to.u32(k.body.ordinal);
                to.u32(k.replaces);
                to.u32(k.size);
                to.i64(k.time);
                to.bytes(&k.name);
                to.bytes(&k.prefix);
            }
            Record::Line { name, content, value } => {
                to.bytes(name);
                encode_content(*content, to);
                to.bytes(value);
            }
            Record::LineGone { name } => to.bytes(name),
        }
    }
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

/// Octets of a kept message between what it replaces and its line.
const KEPT_FIXED: usize = 12;

/// What reading a message needs of its delivery, or of what else says which octets it is: the body, what the prefix
/// stands for, the prefix. `None` for records of other kinds.
pub(crate) fn read_placement(kind: u16, meta: &[u8]) -> Option<(Location, u32, &[u8])> {
    let fixed = match kind {
        kind::DELIVERY => DELIVERY_FIXED,
        kind::KEPT => KEPT_FIXED,
        _ => return None,
    };
    let mut take = Take::new(meta);
    let body = Location { segment: take.u32()?, ordinal: take.u32()? };
    let replaces = take.u32()?;
    take.slice(fixed)?;
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

/// Which limits there are (1 storage, 2 messages), and both; a limit that is not there is 0.
pub(crate) fn encode_quota(quota: &Quota, to: &mut Vec<u8>) {
    let limits = [quota.storage, quota.messages];
    to.u8(u8::from(limits[0].is_some()) | u8::from(limits[1].is_some()) << 1);
    limits.iter().for_each(|limit| to.u64(limit.unwrap_or(0)));
}

pub(crate) fn decode_quota(take: &mut Take<'_>) -> Option<Quota> {
    let there = take.u8().filter(|&bits| bits < 4)?;
    let mut limit = |bit: u8| -> Option<Option<u64>> {
        match (there >> bit & 1, take.u64()?) {
            (1, limit) => Some(Some(limit)),
            (_, 0) => Some(None),
            _ => None,
        }
    };
    Some(Quota { storage: limit(0)?, messages: limit(1)? })
}

fn flags(bits: u8) -> Option<SystemFlags> {
    let flags = SystemFlags::from_bits(bits);
    (flags.bits() == bits).then_some(flags)
}

fn line_name(take: &mut Take<'_>) -> Option<Vec<u8>> {
    take.bytes().filter(|name| book::is_name(name)).map(<[u8]>::to_vec)
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

pub(super) fn decode_meta(kind: u16, take: &mut Take<'_>) -> Option<Record> {
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
        kind::SIDE_GONE => Record::SideGone { number: take.u32()? },
        kind::EPOCH => {
            let tag = take.u32()?;
            let counters = Counters { account: take.u32()?, mailbox: take.u32()?, uid_validity: take.u32()? };
            let mut mailboxes = Vec::new();
            while !take.is_empty() {
                mailboxes.push((MailboxId(take.u32()?), UidValidity::new(take.u32()?)?, take.u32()?));
            }
            Record::Epoch { tag, counters, mailboxes }
        }
        kind::UNDELETED => Record::Undeleted {
            from: RetainedId {
                time: take.u64()?,
                commit: ModSeq(take.u64()?),
                mailbox: MailboxId(take.u32()?),
            },
            uids: take.runs()?,
        },
        kind::FORGOTTEN => Record::Forgotten { before: take.u64()? },
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
        kind::KEPT => Record::Kept(Box::new(Kept {
            body: Location { segment: take.u32()?, ordinal: take.u32()? },
            replaces: take.u32()?,
            size: take.u32()?,
            time: take.i64()?,
            name: line_name(take)?,
            prefix: take.bytes()?.to_vec(),
        })),
        kind::LINE => Record::Line {
            name: line_name(take)?,
            content: decode_content(take)?,
            value: take.bytes()?.to_vec(),
        },
        kind::LINE_GONE => Record::LineGone { name: line_name(take)? },
        kind::QUOTA => Record::Quota { account: AccountId(take.u32()?), quota: decode_quota(take)? },
        _ => return None,
    })
}
