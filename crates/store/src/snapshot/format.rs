//! What a snapshot's file holds. Pure encoding and decoding.
//!
//! A first page, then records framed as the log's (`crate::record`), then one record that ends it:
//!
//! ```text
//! 0 magic "PFSNAP01" · 8 format u32 · 12 epoch tag u32 · 16 store u128 · 32 seq u64 · 40 chain u128 · 56 segment u32
//! 60 time ns u32 · 64 offset u64 · 72 end u64 · 80 commit u64 · 88 time s i64 · 96 last account u32 · 100 last mailbox u32
//! 104 last UIDVALIDITY u32 · 108 mailboxes u32 · 112 rows u64 · 120 zeros · 4092 crc32c of the 4092 octets before
//! ```
//!
//! What the log has words for is said in them: domains, accounts, aliases, mailboxes' names, keywords. What it says only
//! bit by bit (a mailbox's head, its rows with their mod-sequences, what vanished) has records of its own, which no log
//! holds. State that is kept under keys of the index and nowhere else goes in as those keys and values
//! (`crate::keys::PLAIN`), whose form is thereby fixed as well as a record's.

use std::sync::Arc;

use wire::ids::{ModSeq, Uid, UidValidity};

use crate::codec::{Put, Take};
use crate::id::{MailboxId, UnixTime};
use crate::record::{self, Header, Record, frame, kind};
use crate::segment::Bad;
use crate::state::block::Block;
use crate::state::mailbox::Head;
use crate::state::vanished::{Chunk, Vanished};
use crate::state::world::{Counters, Position};

/// The first page.
pub(crate) const PAGE: usize = 4096;
/// Blocks in one record of rows.
pub(crate) const BLOCKS: usize = 32;
const MAGIC: &[u8; 8] = b"PFSNAP01";
const FORMAT: u32 = 1;

/// What the first page says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct First {
    pub(crate) store: u128,
    /// The epoch that was written then.
    pub(crate) tag: u32,
    /// The state is the one right after this group.
    pub(crate) position: Position,
    pub(crate) counters: Counters,
    pub(crate) mailboxes: u32,
    pub(crate) rows: u64,
}

impl First {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let p = &self.position;
        let mut to = Vec::with_capacity(PAGE);
        to.extend_from_slice(MAGIC);
        to.u32(FORMAT);
        to.u32(self.tag);
        to.u128(self.store);
        to.u64(p.seq);
        to.u128(p.chain);
        to.u32(p.segment);
        to.u32(p.time.nanos);
        to.u64(p.offset);
        to.u64(p.end);
        to.u64(p.commit.0);
        to.i64(p.time.secs);
        to.u32(self.counters.account);
        to.u32(self.counters.mailbox);
        to.u32(self.counters.uid_validity);
        to.u32(self.mailboxes);
        to.u64(self.rows);
        to.resize(PAGE - 4, 0);
        let crc = crc32c::crc32c(&to);
        to.u32(crc);
        to
    }

    pub(crate) fn decode(page: &[u8]) -> Result<First, Bad> {
        let page = page.get(..PAGE).ok_or(Bad::Damaged)?;
        let (front, crc) = page.split_at(PAGE - 4);
        let mut take = Take::new(front);
        if crc != crc32c::crc32c(front).to_le_bytes() || take.slice(8) != Some(MAGIC) {
            return Err(Bad::Damaged);
        }
        match take.u32() {
            Some(FORMAT) => First::fields(&mut take).ok_or(Bad::Damaged),
            Some(newer) => Err(Bad::Newer(newer)),
            None => Err(Bad::Damaged),
        }
    }

    fn fields(take: &mut Take<'_>) -> Option<First> {
        let (tag, store) = (take.u32()?, take.u128()?);
        let (seq, chain, segment, nanos) = (take.u64()?, take.u128()?, take.u32()?, take.u32()?);
        let (offset, end, commit) = (take.u64()?, take.u64()?, ModSeq(take.u64()?));
        let time = UnixTime { secs: take.i64()?, nanos };
        let position = Position { seq, chain, segment, offset, end, commit, time };
        let counters = Counters { account: take.u32()?, mailbox: take.u32()?, uid_validity: take.u32()? };
        Some(First { store, tag, position, counters, mailboxes: take.u32()?, rows: take.u64()? })
    }
}

/// One record of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// In the log's words.
    Said(Record),
    /// A mailbox's numbers; what follows up to the next head is in that mailbox.
    Head { mailbox: MailboxId, head: Head },
    /// What vanished from it.
    Vanished { mailbox: MailboxId, vanished: Vanished },
    /// Some of its rows.
    Rows { mailbox: MailboxId, blocks: Vec<Arc<Block>> },
    /// An entry of the index.
    Entry { key: Vec<u8>, value: Vec<u8> },
    /// There is no more.
    End(End),
}

/// What the last record says of all before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// Records, without this one.
    pub(crate) items: u64,
    pub(crate) rows: u64,
    /// SipHash-2-4-128 of all octets before this record, keyed with the store's id.
    pub(crate) sum: u128,
}

impl Item {
    /// Writes the record at the end of `to`, which must be on an 8-octet border.
    pub(crate) fn encode(&self, to: &mut Vec<u8>) {
        match self {
            Item::Said(record) => record.encode(to),
            Item::Head { mailbox, head } => frame(to, kind::HEAD, true, 0, |to| {
                to.u32(mailbox.0);
                to.u32(head.uid_validity.get());
                to.u32(head.uid_next.map_or(0, Uid::get));
                to.u32(head.exists);
                to.u32(head.unseen);
                to.u32(head.deleted);
                to.u64(head.highest_modseq.0);
                to.u64(head.octets);
                to.u64(head.uid_sum);
            }),
            Item::Vanished { mailbox, vanished } => frame(to, kind::VANISHED, true, 0, |to| {
                to.u32(mailbox.0);
                to.u32(vanished.first());
                to.u64(vanished.floor());
                vanished.chunks().for_each(|(_, chunk)| to.bytes(&chunk.encode()));
            }),
            Item::Rows { mailbox, blocks } => frame(to, kind::ROWS, true, 0, |to| {
                to.u32(mailbox.0);
                blocks.iter().for_each(|block| to.bytes(block.octets()));
            }),
            Item::Entry { key, value } => frame(to, kind::ENTRY, true, 0, |to| {
                to.bytes(key);
                to.bytes(value);
            }),
            Item::End(end) => frame(to, kind::END, true, 0, |to| {
                to.u64(end.items);
                to.u64(end.rows);
                to.u128(end.sum);
            }),
        }
    }

    /// Reads a record's meta. `Ok(None)` for what is unknown and not critical.
    pub(crate) fn decode(header: &Header, meta: &[u8]) -> Result<Option<Item>, record::Bad> {
        if !matches!(header.kind, kind::HEAD..=kind::ENTRY | kind::END) || header.version != 1 {
            return Ok(Record::decode(header, meta)?.map(Item::Said));
        }
        let mut take = Take::new(meta);
        let item = fields(header.kind, &mut take).ok_or(record::Bad::Damaged)?;
        if take.is_empty() { Ok(Some(item)) } else { Err(record::Bad::Damaged) }
    }
}

fn fields(kind: u16, take: &mut Take<'_>) -> Option<Item> {
    Some(match kind {
        kind::HEAD => {
            let mailbox = MailboxId(take.u32()?);
            let (uid_validity, uid_next) = (UidValidity::new(take.u32()?)?, Uid::new(take.u32()?));
            let (exists, unseen, deleted) = (take.u32()?, take.u32()?, take.u32()?);
            let (highest_modseq, octets, uid_sum) = (ModSeq(take.u64()?), take.u64()?, take.u64()?);
            let head =
                Head { uid_validity, uid_next, highest_modseq, exists, unseen, deleted, octets, uid_sum };
            Item::Head { mailbox, head }
        }
        kind::VANISHED => {
            let (mailbox, first, floor) = (MailboxId(take.u32()?), take.u32()?, take.u64()?);
            let mut chunks = Vec::new();
            while !take.is_empty() {
                chunks.push(Arc::new(Chunk::decode(take.bytes()?)?));
            }
            Item::Vanished { mailbox, vanished: Vanished::from_parts(floor, first, chunks) }
        }
        kind::ROWS => {
            let mailbox = MailboxId(take.u32()?);
            let mut blocks = Vec::new();
            while !take.is_empty() {
                blocks.push(Arc::new(Block::from_octets(take.bytes()?)?));
            }
            Item::Rows { mailbox, blocks }
        }
        kind::ENTRY => Item::Entry { key: take.bytes()?.to_vec(), value: take.bytes()?.to_vec() },
        _ => Item::End(End { items: take.u64()?, rows: take.u64()?, sum: take.u128()? }),
    })
}
