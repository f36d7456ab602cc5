//! What was expunged, in the index: `x` + time + commit + mailbox + piece says whose it was, `y` + time + commit +
//! mailbox + first UID is a block of its rows. Heads and rows stand apart, so that a list need not pass over all rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use wire::flag::Keyword;
use wire::ids::ModSeq;

use super::{PIECE, corrupt, pieces};
use crate::codec::{Put, Take};
use crate::id::{AccountId, MailboxId};
use crate::index::{Index, IndexError, Writes};
use crate::record::special_use;
use crate::state::block::Block;
use crate::state::retained::{Change, Recent, Retained, RetainedId};
use crate::state::table::Table;

pub(super) const HEAD: u8 = b'x';
pub(super) const ROWS: u8 = b'y';
/// Octets of a key without what comes after the mailbox.
const PREFIX: usize = 21;

fn prefix(letter: u8, id: &RetainedId) -> Vec<u8> {
    let mut key = Vec::with_capacity(PREFIX + 4);
    key.push(letter);
    key.extend_from_slice(&id.time.to_be_bytes());
    key.extend_from_slice(&id.commit.0.to_be_bytes());
    key.extend_from_slice(&id.mailbox.0.to_be_bytes());
    key
}

fn moment(letter: u8, time: u64) -> Vec<u8> {
    let mut key = vec![letter];
    key.extend_from_slice(&time.to_be_bytes());
    key
}

/// The id and what comes after it.
fn split(key: &[u8]) -> Option<(RetainedId, &[u8])> {
    let (front, rest) = key.split_at_checked(PREFIX)?;
    let number =
        |from: usize, to: usize| Some(front.get(from..to)?.iter().fold(0, |n, &b| n << 8 | u64::from(b)));
    let id = RetainedId {
        time: number(1, 9)?,
        commit: ModSeq(number(9, 17)?),
        mailbox: MailboxId(u32::try_from(number(17, 21)?).ok()?),
    };
    Some((id, rest))
}

/// Puts an entry that the index does not have.
pub(crate) fn put_retained(to: &mut Writes, entry: &Retained) {
    let mut head = Vec::new();
    head.u32(entry.account.0);
    head.u8(u8::from(entry.mailbox_gone));
    head.u8(entry.special_use.map_or(0, |s| s as u8));
    head.u32(entry.rows.len());
    head.str(&entry.path);
    entry.keywords.iter().for_each(|k| head.str(k.as_str()));
    for n in 0..pieces(&head) {
        let mut key = prefix(HEAD, &entry.id);
        key.extend_from_slice(&(n as u16).to_be_bytes());
        to.put(key, head.get(n * PIECE..((n + 1) * PIECE).min(head.len())).unwrap_or_default());
    }
    for block in entry.rows.blocks() {
        let mut key = prefix(ROWS, &entry.id);
        key.extend_from_slice(&block.uid_at(0).to_be_bytes());
        to.put(key, block.octets());
    }
}

/// What makes the index know what is recent. Says how many octets of messages were given up.
pub(crate) fn put_recent(to: &mut Writes, index: &dyn Index, recent: &Recent) -> Result<u64, IndexError> {
    let mut forgotten = 0;
    if recent.forgotten > 0 {
        for letter in [HEAD, ROWS] {
            let end = moment(letter, recent.forgotten);
            index.range(&[letter], &end, &mut |key, value| {
                let rows = retained_block(key, value);
                forgotten += rows.iter().flat_map(Block::rows).map(|row| u64::from(row.size)).sum::<u64>();
                to.delete(key);
            })?;
        }
    }
    for (id, change) in &recent.entries {
        if let Change::Changed(_) = change {
            for letter in [HEAD, ROWS] {
                index.scan(&prefix(letter, id), &mut |key, _| to.delete(key))?;
            }
        }
        if let Some(entry) = change.now() {
            put_retained(to, entry);
        }
    }
    Ok(forgotten)
}

/// A head; the rows are still to be loaded. With it comes how many they are.
fn decode(id: RetainedId, head: &[u8]) -> Option<(Retained, u32)> {
    let mut take = Take::new(head);
    let account = AccountId(take.u32()?);
    let mailbox_gone = match take.u8()? {
        0 => false,
        1 => true,
        _ => return None,
    };
    let special_use = special_use(take.u8()?)?;
    let rows = take.u32()?;
    let path = take.string()?;
    let mut keywords = Vec::new();
    while !take.is_empty() {
        keywords.push(Keyword::parse(take.bytes()?)?);
    }
    let keywords = Arc::new(keywords);
    Some((Retained { id, account, path, mailbox_gone, special_use, keywords, rows: Table::default() }, rows))
}

/// The rows of a block of something that was expunged; `None` if the key is another's.
pub(crate) fn retained_block(key: &[u8], value: &[u8]) -> Option<Block> {
    if key.first() != Some(&ROWS) {
        return None;
    }
    let block = Block::from_octets(value)?;
    let (_, first) = split(key)?;
    (first == block.uid_at(0).to_be_bytes()).then_some(block)
}

/// Heads and rows as they lie here, put together.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    heads: BTreeMap<RetainedId, Vec<u8>>,
    /// How many, the last UID, and the blocks, if they are wanted.
    rows: BTreeMap<RetainedId, (u32, u32, Vec<Arc<Block>>)>,
}

impl Entries {
    /// Takes an entry of the index, in the order of keys; `None` if it is not what was written.
    pub(crate) fn take(&mut self, key: &[u8], value: &[u8], keep: bool) -> Option<()> {
        let (id, _) = split(key)?;
        if key.first() == Some(&HEAD) {
            self.heads.entry(id).or_default().extend_from_slice(value);
            return Some(());
        }
        let block = retained_block(key, value)?;
        let (count, last, blocks) = self.rows.entry(id).or_default();
        if block.uid_at(0) <= *last {
            return None;
        }
        *last = block.uid_at(block.len() - 1);
        *count += block.len() as u32;
        if keep {
            blocks.push(Arc::new(block));
        }
        Some(())
    }

    /// All of them; `None` unless each has as many rows as its head says.
    pub(crate) fn finish(mut self) -> Option<Vec<Retained>> {
        let mut all = Vec::with_capacity(self.heads.len());
        for (id, head) in &self.heads {
            let (mut entry, wanted) = decode(*id, head)?;
            let (count, _, blocks) = self.rows.remove(id).unwrap_or_default();
            if count != wanted {
                return None;
            }
            entry.rows = Table::from_blocks(blocks);
            all.push(entry);
        }
        self.rows.is_empty().then_some(all)
    }
}

/// An entry with its rows.
pub(crate) fn retained(index: &dyn Index, id: RetainedId) -> Result<Option<Retained>, IndexError> {
    let mut head = Vec::new();
    index.scan(&prefix(HEAD, &id), &mut |_, value| head.extend_from_slice(value))?;
    if head.is_empty() {
        return Ok(None);
    }
    let (mut entry, count) = decode(id, &head).ok_or_else(|| corrupt("what was expunged"))?;
    let (mut blocks, mut last, mut bad) = (Vec::new(), 0, false);
    index.scan(&prefix(ROWS, &id), &mut |_, value| match Block::from_octets(value) {
        Some(block) if block.uid_at(0) > last => {
            last = block.uid_at(block.len() - 1);
            blocks.push(Arc::new(block));
        }
        _ => bad = true,
    })?;
    entry.rows = Table::from_blocks(blocks);
    if bad || entry.rows.len() != count { Err(corrupt("what was expunged")) } else { Ok(Some(entry)) }
}

/// Entries with `from <= time < to`, without their rows.
pub(crate) fn retained_heads(index: &dyn Index, from: u64, to: u64) -> Result<Vec<Retained>, IndexError> {
    let mut heads: Vec<(RetainedId, Vec<u8>)> = Vec::new();
    let mut bad = false;
    let end = if to == u64::MAX { vec![HEAD + 1] } else { moment(HEAD, to) };
    index.range(&moment(HEAD, from), &end, &mut |key, value| match (split(key), heads.last_mut()) {
        (Some((id, [0, 0])), _) => heads.push((id, value.to_vec())),
        (Some((id, _)), Some((last, head))) if id == *last => head.extend_from_slice(value),
        _ => bad = true,
    })?;
    let decoded = heads.iter().map(|(id, head)| decode(*id, head).map(|(entry, _)| entry)).collect();
    match decoded {
        Some(heads) if !bad => Ok(heads),
        _ => Err(corrupt("what was expunged")),
    }
}

/// The time of what was expunged first, of all that can still be brought back.
pub(crate) fn oldest_retained(index: &dyn Index) -> Result<Option<u64>, IndexError> {
    let page = index.page(&[HEAD], &[HEAD + 1], 1)?;
    match page.first() {
        None => Ok(None),
        Some((key, _)) => split(key).map(|(id, _)| Some(id.time)).ok_or_else(|| corrupt("what was expunged")),
    }
}

/// Whether anything was expunged before a time.
pub(crate) fn any_retained_before(index: &dyn Index, before: u64) -> Result<bool, IndexError> {
    let mut any = false;
    index.range(&[HEAD], &moment(HEAD, before), &mut |_, _| any = true)?;
    Ok(any)
}
